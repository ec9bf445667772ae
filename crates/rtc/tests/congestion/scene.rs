//! One bottleneck with flows over it, in virtual time, and what was measured.

use std::time::{Duration, Instant};

use base::Bitrate;
use rtc::cc::Config;
use sim::{Conditions, Duplex, EndpointId, Schedule, Statistics, World, percentile, tcp};

use crate::node::{Node, Receiver, Sender, Source};

pub const SECOND: Duration = Duration::from_secs(1);

pub struct Scene {
    pub start: Instant,
    pub world: World<Node>,
    pub bottleneck: Duplex,
}

#[derive(Clone, Copy)]
pub struct Flow {
    pub sender: EndpointId,
    pub receiver: EndpointId,
}

/// What happened on the bottleneck in a span of time.
#[derive(Debug)]
pub struct Report {
    pub utilisation: f64,
    pub loss: f64,
    pub queue_mean: Duration,
    pub queue_p95: Duration,
}

impl Scene {
    pub fn new(seed: u64, forward: &str, backward: &str) -> Self {
        let start = Instant::now();
        let mut world = World::new(start, seed);
        let conditions = |text: &str| -> Conditions { text.parse().expect(text) };
        let bottleneck = world.network().duplex(conditions(forward), conditions(backward));
        Self { start, world, bottleneck }
    }

    /// Rates in kbit/s, each from its second on.
    pub fn rates(&mut self, steps: &[(u64, u64)]) {
        self.world.network().follow(self.bottleneck.forward, &Schedule::rates(steps));
    }

    /// Other conditions of the way forward from now on.
    pub fn change(&mut self, settings: &str) {
        let (now, link) = (self.world.now(), self.bottleneck.forward);
        for setting in sim::parse_settings(settings).expect(settings) {
            self.world.network().set(now, link, setting);
        }
    }

    pub fn flow(&mut self, begins: Duration, source: Source, wanted_kbps: u64) -> Flow {
        self.flow_of(Config::default(), begins, source, wanted_kbps)
    }

    pub fn flow_of(&mut self, config: Config, begins: Duration, source: Source, wanted_kbps: u64) -> Flow {
        self.connect(config, begins, source, wanted_kbps, &[self.bottleneck])
    }

    fn connect(
        &mut self,
        config: Config,
        begins: Duration,
        source: Source,
        wanted_kbps: u64,
        links: &[Duplex],
    ) -> Flow {
        let mut sender = Sender::new(self.start, begins, config, source);
        sender.controller.set_wanted(self.start + begins, Bitrate::kbps(wanted_kbps));
        let sender = self.world.add(Node::Sender(sender));
        let receiver = self.world.add(Node::Receiver(Receiver::new(self.start)));
        let path = self.world.network().path(links);
        self.world.connect(sender, receiver, path);
        Flow { sender, receiver }
    }

    /// A flow that has a link of its own before the bottleneck, with so many milliseconds of delay each way.
    pub fn flow_delayed(
        &mut self,
        begins: Duration,
        source: Source,
        wanted_kbps: u64,
        delay_ms: u64,
    ) -> Flow {
        let delay = format!("delay={delay_ms}ms").parse().expect("conditions");
        let access = self.world.network().symmetric(delay);
        self.connect(Config::default(), begins, source, wanted_kbps, &[access, self.bottleneck])
    }

    /// A TCP flow of so many bytes, or for ever.
    pub fn tcp(&mut self, bytes: Option<u64>) {
        let mut sender = if bytes.is_some() { tcp::Sender::new() } else { tcp::Sender::endless() };
        sender.offer(bytes.unwrap_or(0));
        let sender = self.world.add(Node::Tcp(tcp::Host::Sender(sender)));
        let receiver = self.world.add(Node::Tcp(tcp::Host::Receiver(tcp::Receiver::new())));
        let path = self.world.network().path(&[self.bottleneck]);
        self.world.connect(sender, receiver, path);
    }

    pub fn at(&self) -> Duration {
        self.world.now() - self.start
    }

    pub fn run_to(&mut self, seconds: f64) {
        self.world.run_until(self.start + Duration::from_secs_f64(seconds));
    }

    pub fn target(&mut self, flow: Flow) -> f64 {
        self.world[flow.sender].sender().controller.target().0 as f64 / 1_000.0
    }

    pub fn sender(&mut self, flow: Flow) -> &mut Sender {
        self.world[flow.sender].sender()
    }

    fn statistics(&mut self) -> Statistics {
        let now = self.world.now();
        self.world.network().statistics(now, self.bottleneck.forward)
    }

    /// Runs until then and tells what happened.
    pub fn measure_to(&mut self, seconds: f64) -> Report {
        let before = self.statistics();
        self.world.network().take_samples(self.bottleneck.forward).for_each(drop);
        self.run_to(seconds);
        let statistics = self.statistics().since(&before);
        let samples = self.world.network().take_samples(self.bottleneck.forward);
        let mut delays: Vec<Duration> = samples.map(|sample| sample.delay).collect();
        let mean = delays.iter().sum::<Duration>() / delays.len().max(1) as u32;
        Report {
            utilisation: statistics.utilisation().unwrap_or(0.0),
            loss: statistics.loss(),
            queue_mean: mean,
            queue_p95: percentile(&mut delays, 0.95),
        }
    }

    /// When the target was first above (or below) so many kbit/s after a second of the scene, counted from then.
    pub fn reached(&mut self, flow: Flow, after: f64, hit: impl Fn(f64) -> bool) -> Option<f64> {
        let from = self.start + Duration::from_secs_f64(after);
        let log = &self.world[flow.sender].sender().log;
        let found = log.iter().find(|(at, target)| *at >= from && hit(target.0 as f64 / 1_000.0));
        found.map(|(at, _)| (*at - from).as_secs_f64())
    }
}
