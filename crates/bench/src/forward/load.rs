//! Plays a scene in real time on the calling thread, and counts.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::time::{Duration, Instant, SystemTime};

use base::MediaKind;
use client::{Arrival, Endpoint};
use rtc::Peer;
use udp::Slab;
use wire::rtp::is_rtcp;

use super::floor::Cost;
use super::pattern::Pattern;
use super::rig::Rig;
use super::scene::{Role, Scene, Subscriber};
use super::source::{self, Source};

/// Of a bad line's packets every so many-th is lost on average.
const LOSE_ONE_IN: u64 = 33;
/// Sockets that are read between two looks at what is to be sent.
const READ_AT_ONCE: usize = 8;
/// Nothing is measured before the worker sends this share of all that was published to those who want it; so many times in
/// a row, each for so long.
const COMPLETE: f64 = 0.97;
const COMPLETE_WINDOWS: usize = 2;
const WINDOW: Duration = Duration::from_secs(1);
/// Sources of long patterns begin within this time, those of short ones within one turn of theirs.
const FRAME: Duration = Duration::from_millis(33);
/// After a rest.
const RESUMING: Duration = Duration::from_millis(200);
const WARM_UP_WITHIN: Duration = Duration::from_secs(45);
/// A load generator that reads less than this share of what is sent to it is too slow for anything to count.
const ARRIVED: f64 = 0.99;
/// Trials in which the rate is looked for that makes the worker as busy as it is to be; the share of it that may be missed.
const TRIALS: usize = 5;
const TRIAL: Duration = Duration::from_secs(1);
const TRIAL_WARM_UP: Duration = Duration::from_secs(10);
const MISSED: f64 = 0.06;
/// The load generator keeps up with this share of a rate with which it does not.
const SLOWER: f64 = 0.85;

/// A scene that can be played.
pub struct Load {
    pub rig: Rig,
    publishers: Vec<Publisher>,
    listeners: Vec<Listener>,
    /// Which source of which publisher is due when.
    due: BinaryHeap<Reverse<(Instant, usize, usize)>>,
    slab: Slab,
    tally: Tally,
    next: usize,
}

struct Publisher {
    connection: usize,
    sources: Vec<Source>,
    /// It plays.
    active: bool,
}

/// A receiving connection.
struct Listener {
    connection: usize,
    lossy: bool,
    random: u64,
    /// The peer's time never goes back.
    last: Instant,
}

/// What came in.
#[derive(Default)]
struct Tally {
    arrived: u64,
    /// Bytes before the payload in the newest packet: header and extensions.
    header: usize,
    audio: Vec<Duration>,
    video: Vec<Duration>,
}

/// What one measurement found.
#[derive(Clone, Debug, Default)]
pub struct Round {
    pub cost: Cost,
    pub length: Duration,
    /// From leaving the publisher to arriving at a subscriber, sorted.
    pub audio: Vec<Duration>,
    pub video: Vec<Duration>,
    /// Share of what should have been forwarded that was.
    pub complete: f64,
    /// Share of what the worker sent that the load generator has read.
    pub arrived: f64,
    /// Bytes that the worker sent.
    pub bytes: u64,
}

impl Round {
    /// Share of one core that the worker used.
    pub fn load(&self) -> f64 {
        self.cost.cpu.as_secs_f64() / self.length.as_secs_f64()
    }
}

/// The value below which so many per cent of the sorted ones lie.
pub fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}

impl Load {
    /// Connects everybody; nothing is played yet.
    pub fn start(scene: &Scene) -> Result<Self, String> {
        let rig = Rig::start(scene)?;
        let now = Instant::now();
        let (mut publishers, mut listeners) = (Vec::new(), Vec::new());
        for (connection, each) in scene.connections.iter().enumerate() {
            match &each.role {
                Role::Publishes(published) => {
                    let layers = published.iter().enumerate().flat_map(|(index, published)| {
                        let mids = rig::mids(index, published.patterns.len());
                        published.patterns.iter().zip(mids).enumerate().map(|(layer, (pattern, mid))| {
                            let receivers = scene.receivers(published.track.id, layer);
                            Source::new(pattern.clone(), published.track.kind, mid, receivers, now)
                        })
                    });
                    let sources = layers.collect();
                    publishers.push(Publisher { connection, sources, active: true });
                }
                Role::Subscribes(Subscriber { lossy, .. }) => {
                    let (lossy, random) = (*lossy, connection as u64);
                    listeners.push(Listener { connection, lossy, random, last: now });
                }
            }
        }
        let (due, slab) = (BinaryHeap::new(), Slab::new());
        let mut load = Self { rig, publishers, listeners, due, slab, tally: Tally::default(), next: 0 };
        load.restart();
        Ok(load)
    }

    /// So many of the publishers play, the first ones.
    pub fn set_active(&mut self, count: usize) {
        for (number, publisher) in self.publishers.iter_mut().enumerate() {
            publisher.active = number < count;
        }
        self.restart();
    }

    /// Every source plays this from now on.
    pub fn play(&mut self, pattern: &Pattern) {
        let now = Instant::now();
        self.publishers.iter_mut().flat_map(|p| &mut p.sources).for_each(|s| s.play(pattern.clone(), now));
        self.restart();
    }

    /// All sources begin anew, each at another moment: publishers do not know of each other.
    fn restart(&mut self) {
        let now = Instant::now();
        self.due.clear();
        let count: usize = self.publishers.iter().map(|publisher| publisher.sources.len()).sum();
        let mut number = 0;
        for (at, publisher) in self.publishers.iter_mut().enumerate() {
            for (index, source) in publisher.sources.iter_mut().enumerate() {
                number += 1;
                let apart = Some(source.pattern().length).filter(|length| *length <= WINDOW).unwrap_or(FRAME);
                source.restart(now + apart * (number * 7 % count as u32) / count as u32);
                if publisher.active {
                    self.due.push(Reverse((source.due(), at, index)));
                }
            }
        }
    }

    /// Plays until estimates are high enough for everything that is wanted.
    pub fn warm_up(&mut self) -> Result<(), String> {
        self.warm_up_within(WARM_UP_WITHIN)
    }

    fn warm_up_within(&mut self, length: Duration) -> Result<(), String> {
        let deadline = Instant::now() + length;
        self.restart();
        let mut complete = 0;
        let mut share = 0.0;
        while complete < COMPLETE_WINDOWS {
            share = self.completeness(WINDOW)?;
            complete = if share >= COMPLETE { complete + 1 } else { 0 };
            if Instant::now() > deadline {
                break;
            }
        }
        if complete < COMPLETE_WINDOWS {
            return Err(format!(
                "after {length:?} only {:.1} % of what is wanted is forwarded",
                share * 100.0
            ));
        }
        self.tally.audio.clear();
        self.tally.video.clear();
        Ok(())
    }

    /// Finds by trial how many frames a second make the worker as busy as `share` of a core, from `rate` on, or how many the load
    /// generator keeps up with; plays them, and returns the rate. `pattern` makes what is played of the rate.
    pub fn find_rate(
        &mut self,
        rate: u32,
        share: f64,
        pattern: impl Fn(u32) -> Pattern,
    ) -> Result<u32, String> {
        let (mut rate, mut most) = (f64::from(rate), f64::INFINITY);
        for trial in 1.. {
            self.play(&pattern(rate as u32));
            let warm = self.warm_up_within(TRIAL_WARM_UP).is_ok();
            let round = self.try_out(TRIAL)?;
            let kept_up = warm && round.arrived >= ARRIVED && round.complete >= COMPLETE;
            if !kept_up {
                most = rate * SLOWER;
            }
            println!(
                "    trial with {rate:.0} a second: load {:.2}, {:.1} % forwarded, {:.1} % read",
                round.load(),
                round.complete * 100.0,
                round.arrived * 100.0
            );
            let next = (rate * share / round.load().max(0.01)).min(most);
            if kept_up && (trial == TRIALS || (next - rate).abs() < MISSED * rate) {
                break;
            }
            if trial > TRIALS {
                return Err(format!("the load generator keeps up with no rate; the last was {rate:.0}"));
            }
            rate = next;
        }
        Ok(rate as u32)
    }

    /// Plays for `length`; the share of what is wanted that was forwarded meanwhile.
    fn completeness(&mut self, length: Duration) -> Result<f64, String> {
        let (sent, expected) = (self.sent(), self.expected());
        self.play_for(length)?;
        Ok((self.sent() - sent) as f64 / (self.expected() - expected).max(1) as f64)
    }

    /// Plays for `length` and tells what that cost.
    pub fn measure(&mut self, length: Duration) -> Result<Round, String> {
        let round = self.try_out(length)?;
        if round.arrived < ARRIVED {
            return Err(format!(
                "of {} packets sent only {:.1} % arrived: the load generator is too slow for the figure to count",
                round.cost.packets,
                round.arrived * 100.0
            ));
        }
        Ok(round)
    }

    /// As [`Self::measure`], also when the load generator does not keep up.
    pub fn try_out(&mut self, length: Duration) -> Result<Round, String> {
        let (before, bytes) = (self.cost(), self.value("stoa_worker_sent_bytes_total"));
        let (arrived, sent, expected) = (self.tally.arrived, self.sent(), self.expected());
        let began = Instant::now();
        self.play_for(length)?;
        let length = began.elapsed();
        // What is on its way counts.
        self.listen_while(|began| began.elapsed() < Duration::from_millis(20))?;
        let mut cost = self.cost();
        cost.cpu -= before.cpu;
        cost.packets -= before.packets;
        cost.messages -= before.messages;
        let arrived = (self.tally.arrived - arrived) as f64 / cost.packets.max(1) as f64;
        let sorted = |mut ages: Vec<Duration>| {
            ages.sort_unstable();
            ages
        };
        Ok(Round {
            cost,
            length,
            audio: sorted(std::mem::take(&mut self.tally.audio)),
            video: sorted(std::mem::take(&mut self.tally.video)),
            complete: (self.sent() - sent) as f64 / (self.expected() - expected).max(1) as f64,
            arrived,
            bytes: self.value("stoa_worker_sent_bytes_total") - bytes,
        })
    }

    /// Goes on after a rest: what is sent first is not measured.
    pub fn resume(&mut self) -> Result<(), String> {
        self.restart();
        self.play_for(RESUMING)
    }

    /// Those who receive.
    pub fn subscribers(&mut self) -> impl Iterator<Item = &mut Endpoint> {
        let connections: BTreeSet<usize> = self.listeners.iter().map(|each| each.connection).collect();
        let endpoints = self.rig.endpoints.iter_mut().enumerate();
        endpoints.filter(move |(at, _)| connections.contains(at)).map(|(_, endpoint)| endpoint)
    }

    /// Header and extensions of the newest packet, in bytes.
    pub fn header(&self) -> usize {
        self.tally.header
    }

    fn value(&self, name: &str) -> u64 {
        self.rig.metrics.value(name, None)
    }

    fn sent(&self) -> u64 {
        self.value("stoa_worker_media_packets_sent_total")
    }

    fn expected(&self) -> u64 {
        self.publishers.iter().flat_map(|publisher| &publisher.sources).map(Source::expected).sum()
    }

    fn cost(&self) -> Cost {
        Cost {
            cpu: self.rig.metrics.cpu_time().unwrap_or_default(),
            packets: self.sent() + self.value("stoa_worker_retransmissions_sent_total"),
            messages: self.value("stoa_worker_messages_sent_total"),
        }
    }

    /// Plays.
    pub fn play_for(&mut self, length: Duration) -> Result<(), String> {
        let until = Instant::now() + length;
        while Instant::now() < until {
            self.publish();
            self.read_some()?;
        }
        Ok(())
    }

    /// Reads without playing, while `go_on` says so of the time at which it began.
    pub fn listen_while(&mut self, go_on: impl Fn(Instant) -> bool) -> Result<(), String> {
        let began = Instant::now();
        while go_on(began) {
            self.read_some()?;
        }
        Ok(())
    }

    fn publish(&mut self) {
        let now = Instant::now();
        while let Some(Reverse((at, publisher, source))) = self.due.peek().copied()
            && at <= now
        {
            self.due.pop();
            let Publisher { connection, sources, .. } = &mut self.publishers[publisher];
            let endpoint = &mut self.rig.endpoints[*connection];
            let playing = &mut sources[source];
            playing.send(now, &self.rig.wall, endpoint);
            endpoint.flush(now);
            self.due.push(Reverse((playing.due(), publisher, source)));
        }
    }

    /// The next few sockets, one after the other.
    fn read_some(&mut self) -> Result<(), String> {
        for _ in 0..READ_AT_ONCE {
            self.next += 1;
            if self.next >= self.listeners.len() {
                self.next = 0;
                self.read_publishers()?;
            }
            if !self.listeners.is_empty() {
                self.read(self.next)?;
            }
        }
        Ok(())
    }

    fn read_publishers(&mut self) -> Result<(), String> {
        let now = Instant::now();
        for Publisher { connection, sources, .. } in &mut self.publishers {
            let endpoint = &mut self.rig.endpoints[*connection];
            endpoint.receive(now, &mut self.slab, |_, _| {}).map_err(|error| error.to_string())?;
            while let Some(event) = endpoint.peer().poll_event() {
                if let rtc::Event::KeyframeRequest { mid } = event {
                    sources.iter_mut().filter(|s| s.mid() == mid).for_each(Source::ask_for_keyframe);
                }
            }
        }
        self.rig.drain_events();
        Ok(())
    }

    fn read(&mut self, listener: usize) -> Result<(), String> {
        let (now, tally, wall) = (Instant::now(), &mut self.tally, (self.rig.wall.at, self.rig.since));
        let listener = &mut self.listeners[listener];
        let endpoint = &mut self.rig.endpoints[listener.connection];
        endpoint
            .receive_by(now, &mut self.slab, |peer, arrival| listener.take(now, wall, peer, arrival, tally))
            .map_err(|error| error.to_string())?;
        listener.last = now;
        while endpoint.peer().poll_event().is_some() {}
        Ok(())
    }
}

impl Listener {
    /// `wall`: one moment on both clocks.
    fn take(
        &mut self,
        now: Instant,
        wall: (Instant, SystemTime),
        peer: &mut Peer,
        arrival: Arrival<'_>,
        tally: &mut Tally,
    ) {
        let Arrival { at, datagram } = arrival;
        let arrived = at.unwrap_or_else(SystemTime::now);
        if self.lossy && self.loses(datagram.bytes) {
            tally.arrived += 1;
            return;
        }
        // What the feedback says is when it came, not when this program found the time to read it.
        let since = arrived.duration_since(wall.1).unwrap_or_default();
        self.last = (wall.0 + since).clamp(self.last, now.max(self.last));
        let received = peer.receive(self.last, datagram.source, datagram.bytes);
        let Some(received) = received else { return };
        tally.arrived += 1;
        tally.header = received.payload.start;
        let ages = match received.media {
            MediaKind::Audio => &mut tally.audio,
            MediaKind::Video => &mut tally.video,
        };
        if !received.retransmitted {
            ages.extend(source::age(&datagram.bytes[received.payload.clone()], arrived));
        }
    }

    /// Media alone is lost, so that connections stay up whatever happens.
    fn loses(&mut self, datagram: &[u8]) -> bool {
        let media = matches!(datagram.first(), Some(128..=191)) && !is_rtcp(datagram);
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        media && (self.random >> 33).is_multiple_of(LOSE_ONE_IN)
    }
}
