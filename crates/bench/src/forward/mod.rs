//! `bench forward`: what it costs the worker to forward one video stream to many receivers, held against a floor that
//! seals the same bytes and sends them to the same destinations in the same segment sizes, in alternating rounds of one run.

mod floor;
mod pattern;
mod rig;
mod source;

use std::time::{Duration, Instant};

use serde_json::json;
use udp::Slab;

use floor::{Cost, Floor};
use pattern::Pattern;
use rig::{IP, Rig};
use source::Source;

const SUBSCRIBERS: usize = 200;
const ROUND: Duration = Duration::from_secs(2);
const ROUNDS: usize = 5;
const WARM_UP: Duration = Duration::from_millis(1_500);
/// Every so many-th subscriber is a probe, read between all others, so that what the load generator itself takes to read
/// two hundred sockets is not counted as the server's latency.
const PROBE_EVERY: usize = 25;

/// A probe that was not looked at for longer than this tells the load generator's own pause, not the server's: what it then
/// reads is not counted as latency (how many were left out is printed).
const PROBE_PAUSE: Duration = Duration::from_micros(500);

/// What was measured with one pattern.
struct Outcome {
    forward: Cost,
    floor: Cost,
    ages: Vec<Duration>,
    late: usize,
}

/// Runs the bench and prints its result. No arguments.
pub fn run(mut args: impl Iterator<Item = String>) -> Result<(), String> {
    if let Some(arg) = args.next() {
        return Err(format!("`forward` takes no arguments, and got {arg:?}"));
    }
    let recorded = Pattern::recorded()?;
    eprintln!("forward: one publisher, {SUBSCRIBERS} subscribers, loopback, SRTP");
    let mut bench = Bench::start()?;
    eprintln!("frames of ten packets of 1,100 bytes, {ROUNDS} rounds of {ROUND:?} each way");
    let synthetic = bench.measure(&Pattern::frames_of_ten())?;
    eprintln!("recorded from a Chromium publisher, {ROUNDS} rounds of {ROUND:?} each way");
    let recorded = bench.measure(&recorded)?;
    report("frames of ten", &synthetic);
    report("recorded", &recorded);
    println!(
        "{}",
        json!({
            "bench": "forward",
            "pps_per_core": (synthetic.forward.packets as f64 / synthetic.forward.cpu.as_secs_f64()).round(),
            "floor_ratio": rounded(synthetic.ratio()),
            "subscribers": SUBSCRIBERS,
            "segments_per_send": rounded(synthetic.forward.segments()),
            "latency_p99_ms": rounded(synthetic.percentile(99).as_secs_f64() * 1e3),
            "recorded_floor_ratio": rounded(recorded.ratio()),
        })
    );
    Ok(())
}

fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

fn report(name: &str, outcome: &Outcome) {
    println!("{name}:");
    for (what, cost) in [("forward", &outcome.forward), ("floor", &outcome.floor)] {
        println!(
            "  {what:8} {:>8} packets, {:>6.0} ns of CPU each, {:.2} segments per send",
            cost.packets,
            cost.per_packet_ns(),
            cost.segments(),
        );
    }
    let ms = |percent| outcome.percentile(percent).as_secs_f64() * 1e3;
    println!(
        "  ratio {:.3}; publisher to subscriber {:.2} ms median, {:.2} ms p99 ({} of {} read too late to count)",
        outcome.ratio(),
        ms(50),
        ms(99),
        outcome.late,
        outcome.late + outcome.ages.len(),
    );
}

impl Cost {
    fn per_packet_ns(&self) -> f64 {
        self.cpu.as_nanos() as f64 / self.packets.max(1) as f64
    }

    fn segments(&self) -> f64 {
        self.packets as f64 / self.messages.max(1) as f64
    }

    fn add(&mut self, other: Cost) {
        self.cpu += other.cpu;
        self.packets += other.packets;
        self.messages += other.messages;
    }
}

impl Outcome {
    fn ratio(&self) -> f64 {
        self.forward.per_packet_ns() / self.floor.per_packet_ns()
    }

    fn percentile(&self, percent: usize) -> Duration {
        self.ages
            .get((self.ages.len() * percent / 100).min(self.ages.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    }
}

struct Bench {
    rig: Rig,
    source: Source,
    slab: Slab,
    epoch: Instant,
    received: u64,
    /// Bytes before the payload in the newest packet: header and extensions.
    header: usize,
    ages: Vec<Duration>,
    /// When each probe was looked at last.
    probed: Vec<Instant>,
    /// Packets of probes that the load generator read too late to tell when they had arrived.
    late: usize,
}

impl Bench {
    fn start() -> Result<Self, String> {
        let rig = Rig::start(SUBSCRIBERS)?;
        let (epoch, slab) = (Instant::now(), Slab::new());
        let source = Source::new(Pattern::frames_of_ten(), rig::mid(), epoch, epoch);
        let probed = vec![epoch; SUBSCRIBERS.div_ceil(PROBE_EVERY)];
        Ok(Self { rig, source, slab, epoch, received: 0, header: 0, ages: Vec::new(), probed, late: 0 })
    }

    fn measure(&mut self, pattern: &Pattern) -> Result<Outcome, String> {
        self.source.play(pattern.clone(), Instant::now());
        self.forward_for(WARM_UP)?;
        self.ages.clear();
        self.late = 0;
        let floor = self.floor()?;
        let (mut forward_cost, mut floor_cost) = (Cost::default(), Cost::default());
        for round in 1..=ROUNDS {
            let forward = self.forward_round()?;
            let floor = self.floor_round(&floor, pattern)?;
            eprintln!(
                "  round {round}: forward {:.0} ns, floor {:.0} ns per packet",
                forward.per_packet_ns(),
                floor.per_packet_ns()
            );
            forward_cost.add(forward);
            floor_cost.add(floor);
            self.source.play(pattern.clone(), Instant::now());
            self.forward_for(Duration::from_millis(100))?;
        }
        let mut ages = std::mem::take(&mut self.ages);
        ages.sort_unstable();
        Ok(Outcome { forward: forward_cost, floor: floor_cost, ages, late: self.late })
    }

    /// The same destinations, cipher and sizes as the packets forwarded so far.
    fn floor(&mut self) -> Result<Floor, String> {
        if self.received == 0 {
            return Err("nothing was forwarded while warming up".to_owned());
        }
        let destinations = self.rig.subscribers.iter().map(|s| s.socket().local_addr()).collect();
        let cipher = match self.rig.publisher.peer().snapshot().profile {
            Some(rtc::srtp::Profile::AeadAes256Gcm) => &ring::aead::AES_256_GCM,
            Some(rtc::srtp::Profile::AeadAes128Gcm) => &ring::aead::AES_128_GCM,
            other => return Err(format!("the floor has no cipher for {other:?}")),
        };
        Ok(Floor { destinations, header: self.header, cipher })
    }

    fn forward_round(&mut self) -> Result<Cost, String> {
        let before = self.cost();
        let received = self.received;
        self.forward_for(ROUND)?;
        let after = self.cost();
        let packets = after.packets - before.packets;
        let arrived = self.received - received;
        if arrived * 100 < packets * 99 {
            return Err(format!(
                "of {packets} packets sent only {arrived} arrived: the figure would not count"
            ));
        }
        Ok(Cost { cpu: after.cpu - before.cpu, packets, messages: after.messages - before.messages })
    }

    fn cost(&self) -> Cost {
        let metrics = &self.rig.metrics;
        Cost {
            cpu: metrics.cpu_time().unwrap_or_default(),
            packets: metrics.value("stoa_worker_media_packets_sent_total", None),
            messages: metrics.value("stoa_worker_messages_sent_total", None),
        }
    }

    fn forward_for(&mut self, length: Duration) -> Result<(), String> {
        let until = Instant::now() + length;
        while Instant::now() < until {
            self.turn(true)?;
        }
        Ok(())
    }

    /// The floor on a thread of its own, while this one goes on reading the same sockets.
    fn floor_round(&mut self, floor: &Floor, pattern: &Pattern) -> Result<Cost, String> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| floor.run(IP, pattern, ROUND));
            while !thread.is_finished() {
                self.turn(false)?;
            }
            thread.join().map_err(|_| "the floor panicked".to_owned())?
        })
    }

    /// Reads every socket once, the probes between all others.
    fn turn(&mut self, publish: bool) -> Result<(), String> {
        for index in 0..SUBSCRIBERS {
            if !index.is_multiple_of(PROBE_EVERY) {
                self.read(index)?;
            }
            if index.is_multiple_of(4) {
                for probe in (0..SUBSCRIBERS).step_by(PROBE_EVERY) {
                    self.read(probe)?;
                }
                if publish {
                    self.source.send(Instant::now(), &mut self.rig.publisher);
                }
            }
        }
        let publisher = &mut self.rig.publisher;
        publisher.receive(Instant::now(), &mut self.slab, |_, _| {}).map_err(|error| error.to_string())?;
        while publisher.peer().poll_event().is_some() {}
        self.rig.drain_events();
        Ok(())
    }

    fn read(&mut self, index: usize) -> Result<(), String> {
        let (endpoint, epoch, now) = (&mut self.rig.subscribers[index], self.epoch, Instant::now());
        let (received, header) = (&mut self.received, &mut self.header);
        let (ages, late) = (&mut self.ages, &mut self.late);
        let probe = index.is_multiple_of(PROBE_EVERY).then(|| &mut self.probed[index / PROBE_EVERY]);
        let pause = probe.map(|last| now - std::mem::replace(last, now));
        endpoint
            .receive(now, &mut self.slab, |packet, payload| {
                *received += 1;
                *header = packet.payload.start;
                match pause {
                    Some(pause) if pause <= PROBE_PAUSE => ages.extend(source::age(payload, epoch)),
                    Some(_) => *late += 1,
                    None => {}
                }
            })
            .map_err(|error| error.to_string())?;
        while endpoint.peer().poll_event().is_some() {}
        Ok(())
    }
}
