//! The table while it runs, and what is said at the end.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use client::Timing;
use serde_json::{Value, json};

use super::people::{Outcome, Person, Role};

/// Lines after which the head of the table is repeated.
const HEAD_EVERY: usize = 20;
/// Reasons of failures that are told.
const REASONS: usize = 5;

/// What all clients have seen together so far.
#[derive(Clone, Copy, Default)]
struct Totals {
    sent_packets: u64,
    sent_bytes: u64,
    packets: u64,
    bytes: u64,
    lost: u64,
    freezes: u64,
    tracks: u64,
    reconnects: u64,
    ended: u64,
}

/// Collects.
pub struct Summary {
    json: bool,
    started: Instant,
    lines: usize,
    joined: u64,
    publishers: u64,
    subscribers: u64,
    reasons: BTreeMap<String, u64>,
    failed: u64,
    before: (Instant, Totals),
    /// When everybody was in, and what had been seen by then.
    all_in: Option<(Instant, Totals)>,
    end: Option<(Instant, Totals)>,
    timings: Vec<(Role, Timing)>,
}

impl Summary {
    pub fn new(json: bool) -> Self {
        let now = Instant::now();
        Self {
            json,
            started: now,
            lines: 0,
            joined: 0,
            publishers: 0,
            subscribers: 0,
            reasons: BTreeMap::new(),
            failed: 0,
            before: (now, Totals::default()),
            all_in: None,
            end: None,
            timings: Vec::new(),
        }
    }

    /// A join ended, one way or the other.
    pub fn add(&mut self, outcome: Outcome) -> Option<Person> {
        match outcome.joined {
            Ok(person) => {
                self.joined += 1;
                *match person.role {
                    Role::Publisher => &mut self.publishers,
                    Role::Subscriber => &mut self.subscribers,
                } += 1;
                Some(person)
            }
            Err(error) => {
                self.failed += 1;
                *self.reasons.entry(error.to_string()).or_default() += 1;
                None
            }
        }
    }

    /// Everybody has joined who will.
    pub fn all_in(&mut self, people: &[Option<Person>]) {
        self.all_in = Some((Instant::now(), totals(people)));
    }

    /// The line of this second. With JSON wanted on the standard output it goes where errors go.
    pub fn second(&mut self, people: &[Option<Person>]) {
        let (now, totals) = (Instant::now(), totals(people));
        let (before, old) = std::mem::replace(&mut self.before, (now, totals));
        let time = now.saturating_duration_since(before).as_secs_f64().max(1e-3);
        if self.lines.is_multiple_of(HEAD_EVERY) {
            self.line("   time    in failed tracks    up Mbit/s  down Mbit/s    packets/s   loss %  freezes");
        }
        self.lines += 1;
        // What is forgotten of tracks that are long gone is missing in the later one.
        let since = |now: u64, then: u64| now.saturating_sub(then);
        let (packets, lost) = (since(totals.packets, old.packets), since(totals.lost, old.lost));
        self.line(&format!(
            "{:>6.0}s {:>5} {:>6} {:>6} {:>12.2} {:>12.2} {:>12.0} {:>8.2} {:>8}",
            now.saturating_duration_since(self.started).as_secs_f64(),
            self.joined,
            self.failed,
            totals.tracks,
            megabits(since(totals.sent_bytes, old.sent_bytes), time),
            megabits(since(totals.bytes, old.bytes), time),
            packets as f64 / time,
            percent(lost, packets),
            totals.freezes,
        ));
    }

    fn line(&self, line: &str) {
        if self.json { eprintln!("{line}") } else { println!("{line}") }
    }

    /// The time is over; the people are still in their rooms.
    pub fn finish(&mut self, people: &[Option<Person>]) {
        self.end = Some((Instant::now(), totals(people)));
        self.timings = people.iter().flatten().map(|person| (person.role, person.timing())).collect();
    }

    /// Says what was seen. An error when not all got in, or stayed.
    pub fn tell(&self) -> Result<(), String> {
        let (end, totals) = self.end.unwrap_or(self.before);
        let (begin, old) = self.all_in.unwrap_or((self.started, Totals::default()));
        let time = end.saturating_duration_since(begin).as_secs_f64().max(1e-3);
        let up = megabits(totals.sent_bytes.saturating_sub(old.sent_bytes), time);
        let down = megabits(totals.bytes.saturating_sub(old.bytes), time);
        let joins = Times::of(self.timings.iter().filter_map(|(_, timing)| timing.ready));
        let subscribers = self.timings.iter().filter(|(role, _)| *role == Role::Subscriber);
        let media = Times::of(subscribers.clone().filter_map(|(_, timing)| timing.first_packet));
        let silent = if self.publishers == 0 {
            0
        } else {
            subscribers.filter(|(_, timing)| timing.first_packet.is_none()).count()
        };
        let loss = percent(totals.lost, totals.packets);
        if self.json {
            let reasons: Vec<Value> = self
                .reasons
                .iter()
                .map(|(reason, count)| json!({ "reason": reason, "count": count }))
                .collect();
            let summary = json!({
                "publishers": self.publishers, "subscribers": self.subscribers, "failed": self.failed,
                "reasons": reasons, "without_media": silent, "seconds": time,
                "join_ms": joins.json(), "first_media_ms": media.json(),
                "up_mbps": up, "down_mbps": down, "packets": totals.packets, "lost_packets": totals.lost,
                "loss_percent": loss, "freezes": totals.freezes, "reconnects": totals.reconnects,
                "ended": totals.ended,
            });
            println!("{summary}");
        } else {
            println!(
                "\n{} publishers and {} subscribers were in, {time:.0} s together",
                self.publishers, self.subscribers
            );
            println!("  join         {joins}");
            println!(
                "  first media  {media}{}",
                if silent > 0 { format!("; {silent} saw none") } else { String::new() }
            );
            println!("  bitrate      {up:.2} Mbit/s up, {down:.2} Mbit/s down");
            println!(
                "  loss         {loss:.3} % ({} of {} packets)",
                totals.lost,
                totals.packets + totals.lost
            );
            println!("  freezes      {} (nothing of a track for more than 500 ms)", totals.freezes);
            println!("  reconnects   {}; {} sessions ended", totals.reconnects, totals.ended);
            for (reason, count) in self.reasons.iter().take(REASONS) {
                println!("  failed       {count}: {reason}");
            }
        }
        match (self.failed, totals.ended, silent) {
            (0, 0, 0) => Ok(()),
            (failed, ended, silent) => {
                Err(format!("{failed} did not get in, {ended} did not stay, {silent} saw nothing"))
            }
        }
    }
}

fn totals(people: &[Option<Person>]) -> Totals {
    let mut totals = Totals::default();
    for person in people.iter().flatten() {
        let counters = person.counters();
        totals.sent_packets += counters.sent_packets;
        totals.sent_bytes += counters.sent_bytes;
        totals.reconnects += person.seen().reconnects.load(Relaxed);
        totals.ended += u64::from(person.seen().ended.load(Relaxed));
        for track in counters.tracks.values() {
            totals.tracks += 1;
            totals.packets += track.packets;
            totals.bytes += track.bytes;
            totals.lost += track.lost + track.missing;
            totals.freezes += track.freezes;
        }
    }
    totals
}

/// Median, 95th percentile and maximum, in milliseconds.
struct Times([f64; 3]);

impl Times {
    fn of(times: impl Iterator<Item = Duration>) -> Self {
        let mut times: Vec<Duration> = times.collect();
        times.sort_unstable();
        Self([50, 95, 100].map(|percent| {
            let index = (times.len() * percent).div_ceil(100).saturating_sub(1);
            times.get(index).map_or(0.0, |time| time.as_micros() as f64 / 1e3)
        }))
    }

    fn json(&self) -> Value {
        let [p50, p95, max] = self.0;
        json!({ "p50": p50, "p95": p95, "max": max })
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [p50, p95, max] = self.0;
        write!(f, "p50 {p50:.0} ms, p95 {p95:.0} ms, max {max:.0} ms")
    }
}

fn megabits(bytes: u64, seconds: f64) -> f64 {
    bytes as f64 * 8e-6 / seconds
}

/// Of what should have come.
fn percent(lost: u64, arrived: u64) -> f64 {
    100.0 * lost as f64 / ((lost + arrived) as f64).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_nothing_are_0_and_loss_is_of_what_should_have_come() {
        assert_eq!(Times::of(std::iter::empty()).0, [0.0; 3]);
        assert_eq!(Times::of((1..=100).map(Duration::from_millis)).0, [50.0, 95.0, 100.0]);
        assert_eq!((percent(1, 3), percent(0, 0)), (25.0, 0.0));
        assert_eq!(megabits(125_000, 2.0), 0.5);
    }
}
