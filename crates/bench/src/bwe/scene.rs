//! Plays a case in virtual time.

use std::time::{Duration, Instant};

use base::Bitrate;
use rtc::cc::Config;
use sim::{Conditions, Duplex, EndpointId, LinkId, Path, Schedule, Setting, World, tcp};

use super::camera::Camera;
use super::case::{Case, Competitor, FlowSpec, Lane, Source};
use super::encoder::Encoder;
use super::forwarder::Forwarder;
use super::node::{Arrivals, Files, Node, SenderLog};
use super::trace::{FlowTrace, LaneTrace, Packet, STEPS_PER_SECOND, Trace};
use super::viewer::Viewer;
use super::{ours, reference};

/// Who estimates.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Engine {
    /// `rtc::cc`.
    Ours,
    /// `str0m`, for comparison.
    Reference,
}

impl Engine {
    pub const ALL: [Self; 2] = [Self::Ours, Self::Reference];

    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "stoa",
            Self::Reference => "str0m",
        }
    }
}

struct Scene<'a> {
    case: &'a Case,
    seed: u64,
    start: Instant,
    world: World<Node>,
    bottleneck: Duplex,
    /// Sender and receiver of each flow.
    flows: Vec<(EndpointId, EndpointId)>,
}

/// Plays it to its end.
///
/// # Errors
/// Conditions that `sim` does not understand.
pub fn play(case: &Case, engine: Engine, seed: u64) -> Result<Trace, String> {
    let mut scene = Scene::new(case, seed)?;
    for (index, flow) in case.flows.iter().enumerate() {
        scene.add_flow(engine, index as u64, flow)?;
    }
    scene.add_competitor();
    Ok(scene.run())
}

impl<'a> Scene<'a> {
    fn new(case: &'a Case, seed: u64) -> Result<Self, String> {
        // Some of what belongs to a case happens before it: connecting, and days of a receiver's clock.
        let start = Instant::now() + Duration::from_secs(30 * 24 * 3_600);
        let mut world = World::new(start, seed);
        let [forward, backward] = [&case.forward, &case.backward].map(conditions);
        let bottleneck = world.network().duplex(forward?, backward?);
        for (lane, link) in [(&case.forward, bottleneck.forward), (&case.backward, bottleneck.backward)] {
            world.network().follow(link, &Schedule::rates(&lane.rates));
        }
        Ok(Self { case, seed, start, world, bottleneck, flows: Vec::new() })
    }

    fn at(&self, seconds: f64) -> Instant {
        self.start + Duration::from_secs_f64(seconds)
    }

    fn add_flow(&mut self, engine: Engine, index: u64, spec: &FlowSpec) -> Result<(), String> {
        // Frames of different senders do not coincide.
        let begins = self.at(spec.begins) + Duration::from_millis(11) * index as u32;
        let pause = spec.pause.map(|(from, to)| (self.at(from), self.at(to)));
        let seed = self.seed.wrapping_mul(1_000).wrapping_add(index);
        let encoder = Encoder::new(begins, seed, spec.source, pause);
        let (sender, receiver) = match (engine, spec.source) {
            (_, Source::Layers(layering)) => {
                let server = Forwarder::new(begins, Camera::new(begins, seed, layering))?;
                (Node::Forwarder(Box::new(server)), Node::Viewer(Box::new(Viewer::new(self.start))))
            }
            (Engine::Ours, _) => (
                Node::Ours(Box::new(ours::Sender::new(self.start, begins, spec.habit, encoder))),
                Node::OurReceiver(Box::new(ours::Receiver::new(self.start, spec.habit))),
            ),
            (Engine::Reference, _) => {
                let (sender, receiver) = reference::pair(begins, Config::default().start, encoder);
                (Node::Reference(Box::new(sender)), Node::ReferenceReceiver(Box::new(receiver)))
            }
        };
        let ends = (self.world.add(sender), self.world.add(receiver));
        let path = self.path(spec);
        self.world.connect(ends.0, ends.1, path);
        self.flows.push(ends);
        Ok(())
    }

    fn path(&mut self, spec: &FlowSpec) -> Path {
        let network = self.world.network();
        let delay = [Setting::Delay(Duration::from_millis(spec.access_ms))];
        let access = network.symmetric(Conditions::default().with(&delay));
        let path = network.path(&[access, self.bottleneck]);
        if spec.reverse { Path { forward: path.backward, backward: path.forward } } else { path }
    }

    fn add_competitor(&mut self) {
        match self.case.competitor {
            Competitor::Nothing => {}
            Competitor::LongTcp => {
                self.add_tcp(Node::Tcp(Box::new(tcp::Host::Sender(tcp::Sender::endless()))))
            }
            Competitor::ShortTcp => {
                for index in 0..10 {
                    let seed = self.seed.wrapping_mul(7_919).wrapping_add(index);
                    self.add_tcp(Node::ShortTcp(Box::new(Files::new(self.start, seed, index < 2))));
                }
            }
        }
    }

    fn add_tcp(&mut self, sender: Node) {
        let sender = self.world.add(sender);
        let receiver = self.world.add(Node::Tcp(Box::new(tcp::Host::Receiver(tcp::Receiver::new()))));
        let path = self.world.network().path(&[self.bottleneck]);
        self.world.connect(sender, receiver, path);
    }

    fn run(mut self) -> Trace {
        let links = [self.bottleneck.forward, self.bottleneck.backward];
        let mut statistics = [Vec::new(), Vec::new()];
        for step in 0..=self.case.seconds * STEPS_PER_SECOND {
            let now = self.start + Duration::from_secs(1) * step as u32 / STEPS_PER_SECOND as u32;
            self.world.run_until(now);
            for (link, kept) in links.into_iter().zip(&mut statistics) {
                kept.push(self.world.network().statistics(now, link));
            }
        }
        let [forward, backward] = statistics;
        Trace {
            seconds: self.case.seconds,
            forward: self.lane(&self.case.forward.clone(), links[0], forward),
            backward: self.lane(&self.case.backward.clone(), links[1], backward),
            flows: (0..self.flows.len()).map(|index| self.flow(index)).collect(),
        }
    }

    fn lane(&mut self, lane: &Lane, link: LinkId, statistics: Vec<sim::Statistics>) -> LaneTrace {
        let start = self.start;
        let samples = self.world.network().take_samples(link);
        LaneTrace {
            rates: lane.rates.iter().map(|(at, kbps)| (*at as f64, *kbps as f64 * 1e3)).collect(),
            queue: samples.map(|s| ((s.at - start).as_secs_f64(), s.delay.as_secs_f64() * 1e3)).collect(),
            statistics,
        }
    }

    fn flow(&self, index: usize) -> FlowTrace {
        let (sender, receiver) = self.flows[index];
        let (none, nothing) = (SenderLog::default(), Arrivals::new());
        let log = self.world[sender].log().unwrap_or(&none);
        let arrivals = self.world[receiver].arrivals().unwrap_or(&nothing);
        let seconds = |at: Instant| at.saturating_duration_since(self.start).as_secs_f64();
        let mut packets: Vec<Packet> = log
            .sent
            .iter()
            .map(|s| Packet {
                sent: seconds(s.at),
                bits: f64::from(s.size) * 8.0,
                kind: s.kind,
                arrived: None,
            })
            .collect();
        for (id, at) in arrivals {
            packets[*id as usize].arrived.get_or_insert(seconds(*at));
        }
        let targets = log.targets.iter().map(|(at, target)| (seconds(*at), target.0 as f64)).collect();
        let pictures = self.world[receiver].pictures();
        let pictures = pictures.map(|shown| shown.iter().map(|(at, layer)| (seconds(*at), *layer)).collect());
        FlowTrace { spec: self.case.flows[index], packets, targets, pictures }
    }
}

fn conditions(lane: &Lane) -> Result<Conditions, String> {
    let conditions: Conditions = lane.conditions.parse().map_err(|error| format!("{error}"))?;
    let first = lane.rates.first().map(|(_, kbps)| Setting::Rate(Some(Bitrate::kbps(*kbps))));
    Ok(conditions.with(first.as_slice()))
}
