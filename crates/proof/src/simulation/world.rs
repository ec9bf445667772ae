//! Everything together, in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::{ChannelId, DeviceId, UnixMillis};
use messaging::command::{Answer, Ask, Command, Now, Origin};
use messaging::event::{Content, Event, Kind, Settings};
use messaging::limits::Limits;
use messaging::partition::{Append, Appended, Output, Partition};
use messaging::place::{Cursor, Lineage, Region};
use messaging::roles::Role;
use messaging::session::Frame;
use sim::Random;

use super::client::{Client, user};
use super::log::RegionLog;
use super::node::Node;
use super::{Broken, Engine, Tally};
use crate::history::{End, Line};

pub(super) const REGIONS: usize = 3;
pub(super) const NODES: usize = 2 * REGIONS;
pub(super) const CLIENTS: usize = 6;

/// Until when there are faults and messages, and until when what heals has time: in milliseconds.
pub(super) const TROUBLE: u64 = 25_000;
const END: u64 = 50_000;

/// What happens at a time.
pub(super) enum Happening {
    /// An append reaches the log; `tell`: somebody waits for the answer.
    Append {
        node: usize,
        life: u64,
        append: Append,
        tell: bool,
    },
    Appended {
        node: usize,
        life: u64,
        incarnation: u64,
        answer: Appended,
    },
    Learn {
        node: usize,
        life: u64,
        event: Arc<Event>,
    },
    /// A node reads what it misses; `again`: and will do so later, whatever it misses.
    Read {
        node: usize,
        again: bool,
    },
    Tick {
        node: usize,
    },
    Command {
        node: usize,
        connection: u64,
        command: Command,
    },
    Answer {
        connection: u64,
        request: u64,
        answer: Answer,
    },
    Frame {
        connection: u64,
        frame: Frame,
    },
    Client {
        client: usize,
    },
    Fault,
    Restart {
        node: usize,
    },
    Heal,
    /// What waits for a region's log is written and synced.
    Flush {
        region: usize,
    },
    /// The process of a region's log begins again.
    Open {
        region: usize,
    },
    /// The owner's state is saved.
    Checkpoint {
        region: usize,
    },
    /// What every region's checkpoint covers is wanted no more.
    Trim {
        region: usize,
        first: u64,
    },
    /// Something is wrong with a disk.
    DiskFault,
    /// Nothing is wrong with it any more.
    Cure {
        region: usize,
    },
}

pub struct World {
    pub(super) random: Random,
    pub(super) engine: Engine,
    pub(super) broken: Broken,
    start: Instant,
    pub(super) now: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    pub(super) happenings: u64,
    pub(super) logs: Vec<RegionLog>,
    /// Regions whose log is about to be committed.
    pub(super) flushing: BTreeSet<usize>,
    /// Regions in which the power goes with the next sync.
    pub(super) failing: BTreeSet<usize>,
    pub(super) nodes: Vec<Node>,
    /// By region: who owns its partition, and how often that changed.
    pub(super) claims: Vec<(Option<usize>, u64)>,
    pub(super) clients: Vec<Client>,
    pub(super) connections: BTreeMap<u64, (usize, usize)>,
    pub(super) cut: Option<usize>,
    pub(super) lineage: Lineage,
    /// A log that did not come back.
    pub(super) failed: Option<String>,
    pub lines: Vec<Line>,
    pub tally: Tally,
}

pub(super) fn room() -> ChannelId {
    ChannelId::new("room")
}

pub(super) fn region(index: usize) -> Region {
    ["eu", "us", "ap"][index].parse().expect("these are names of regions")
}

impl World {
    pub fn new(seed: u64, engine: Engine, broken: Broken) -> Self {
        let mut random = Random::new(seed);
        let skews: Vec<i64> = (0..NODES).map(|_| (random.share() * 6_000.0) as i64 - 3_000).collect();
        let nodes = skews.into_iter().enumerate().map(|(index, skew)| Node::new(index / 2, skew)).collect();
        let lies = broken == Broken::SyncsLie;
        let logs = (0..REGIONS).map(|index| RegionLog::new(region(index), engine, lies)).collect();
        let mut world = Self {
            random,
            engine,
            broken,
            start: Instant::now(),
            now: 0,
            queue: BTreeMap::new(),
            happenings: 0,
            logs,
            flushing: BTreeSet::new(),
            failing: BTreeSet::new(),
            nodes,
            claims: vec![(None, 0); REGIONS],
            clients: (0..CLIENTS).map(Client::new).collect(),
            connections: BTreeMap::new(),
            cut: None,
            lineage: Lineage::default(),
            failed: None,
            lines: Vec::new(),
            tally: Tally::default(),
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for node in 0..NODES {
            self.at(node as u64, Happening::Tick { node });
            self.at(300 + node as u64, Happening::Read { node, again: true });
        }
        for index in 0..REGIONS {
            self.take_over(index * 2);
        }
        let members = (0..CLIENTS).map(|index| (user(index), Role::Member)).collect();
        let settings = Settings { active_active: true, ..Settings::default() };
        let origin = Origin { connection: 0, request: 0, user: None, device: DeviceId::new("server") };
        let ask = Ask::Create { kind: Kind::Group, settings, members };
        let command = Command { origin, channel: room(), ask };
        self.at(20, Happening::Command { node: 0, connection: 0, command });
        if self.engine == Engine::Segments {
            (0..REGIONS).for_each(|region| self.at(2_500, Happening::Checkpoint { region }));
            self.at(3_500, Happening::DiskFault);
        }
        (0..CLIENTS).for_each(|client| self.at(1_000 + client as u64, Happening::Client { client }));
        self.at(3_000, Happening::Fault);
    }

    pub fn run(&mut self) {
        while let Some(((at, _), happening)) = self.queue.pop_first() {
            if at > END || self.failed.is_some() {
                return;
            }
            self.now = at;
            self.happen(happening);
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Append { node, life, append, tell } => self.arrive(node, life, &append, tell),
            Happening::Appended { node, life, incarnation, answer } => {
                self.appended(node, life, incarnation, answer)
            }
            Happening::Learn { node, life, event } => {
                if self.nodes[node].life == life && self.nodes[node].alive {
                    self.learn(node, &event);
                }
            }
            Happening::Read { node, again } => self.read(node, again),
            Happening::Tick { node } => self.tick(node),
            Happening::Command { node, connection, command } => self.command(node, connection, command),
            Happening::Answer { connection, request, answer } => self.answer(connection, request, &answer),
            Happening::Frame { connection, frame } => self.frame(connection, frame),
            Happening::Client { client } => self.act(client),
            Happening::Fault => self.fault(),
            Happening::Restart { node } => self.revive(node),
            Happening::Heal => self.cut = None,
            Happening::Flush { region } => self.flush(region),
            Happening::Open { region } => self.open(region),
            Happening::Checkpoint { region } => self.checkpoint(region),
            Happening::Trim { region, first } => {
                self.tally.trims += u64::from(self.logs[region].trim(first));
                self.flush_soon(region);
            }
            Happening::DiskFault => self.disk_fault(),
            Happening::Cure { region } => self.cure(region),
        }
    }

    pub(super) fn at(&mut self, time: u64, happening: Happening) {
        self.happenings += 1;
        self.queue.insert((time, self.happenings), happening);
    }

    pub(super) fn after(&mut self, low: u64, high: u64, happening: Happening) {
        let delay = self.between(low, high);
        self.at(self.now + delay, happening);
    }

    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.random.number() % (high - low + 1)
    }

    pub(super) fn pick(&mut self, count: usize) -> usize {
        (self.random.number() % count as u64) as usize
    }

    pub(super) fn moment(&self, node: usize) -> Now {
        let wall = 1_700_000_000_000i64 + self.now as i64 + self.nodes[node].skew;
        Now { at: self.start + Duration::from_millis(self.now), wall: UnixMillis(wall as u64) }
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.now >= TROUBLE
    }

    pub(super) fn connected(&self, one: usize, other: usize) -> bool {
        one == other || (self.cut != Some(one) && self.cut != Some(other))
    }

    // The log.

    /// What an owner has to append goes to the log, or gets lost, or its answer does.
    pub(super) fn launch(&mut self, node: usize, append: Append) {
        let (life, incarnation) = (self.nodes[node].life, self.nodes[node].incarnation);
        let unknown = Happening::Appended { node, life, incarnation, answer: Appended::Unknown };
        let luck = if self.is_quiet() { 0.0 } else { self.random.share() };
        let tell = luck < 0.88;
        if luck < 0.95 {
            self.after(1, 8, Happening::Append { node, life, append, tell });
        } else if luck < 0.97 {
            // It arrives when it has long been tried again, perhaps by somebody else.
            self.after(100, 4_000, Happening::Append { node, life, append, tell });
        }
        if !tell {
            self.tally.unknown += 1;
            self.after(30, 60, unknown);
        }
    }

    fn arrive(&mut self, node: usize, life: u64, append: &Append, tell: bool) {
        let index = self.nodes[node].region;
        if self.engine == Engine::Segments {
            return self.stage(node, life, append, tell);
        }
        let (answer, events) = self.logs[index].append(append, self.broken != Broken::NoCompare);
        self.publish(index, &events);
        let incarnation = append.records.first().map_or(0, |record| record.incarnation);
        if tell {
            self.after(1, 8, Happening::Appended { node, life, incarnation, answer });
        }
    }

    /// Events go to every node, and some do not arrive.
    pub(super) fn publish(&mut self, from: usize, events: &[Arc<Event>]) {
        for event in events {
            for node in 0..NODES {
                let Node { region, life, .. } = self.nodes[node];
                let copies = match self.random.share() {
                    lost if lost < 0.08 => 0,
                    twice if twice < 0.12 => 2,
                    _ => 1,
                };
                for _ in 0..if self.connected(from, region) { copies } else { 0 } {
                    let (low, high) = if from == region { (1, 15) } else { (40, 140) };
                    self.after(low, high, Happening::Learn { node, life, event: Arc::clone(event) });
                }
            }
        }
    }

    fn appended(&mut self, node: usize, life: u64, incarnation: u64, answer: Appended) {
        let there = &mut self.nodes[node];
        if there.life == life
            && there.incarnation == incarnation
            && let Some(owner) = &mut there.owner
        {
            owner.appended(answer);
            self.pump(node);
        }
    }

    // Nodes.

    fn tick(&mut self, node: usize) {
        self.at(self.now + 40, Happening::Tick { node });
        if !self.nodes[node].alive {
            return;
        }
        let index = self.nodes[node].region;
        let vacant = match self.claims[index].0 {
            None => true,
            Some(other) => !self.nodes[other].alive && self.now > self.nodes[other].died + 3_000,
        };
        // A node that crashed and is back owns nothing that it remembers.
        let forgotten = self.claims[index].0 == Some(node) && self.nodes[node].owner.is_none();
        if (vacant || forgotten) && self.logs[index].is_open() {
            self.take_over(node);
        }
        let now = self.moment(node);
        if let Some(owner) = &mut self.nodes[node].owner {
            owner.start();
            if owner.poll_timeout().is_some_and(|due| due <= now.at) {
                owner.handle_timeout(now);
            }
            self.pump(node);
        }
    }

    /// A new owner reads the log, or what a lagging copy has of it, from a checkpoint on, or whole.
    pub(super) fn take_over(&mut self, node: usize) {
        let index = self.nodes[node].region;
        self.claims[index].1 += 1;
        self.claims[index].0 = Some(node);
        let incarnation = self.claims[index].1;
        let lag = if self.random.chance(0.3) && !self.is_quiet() { 1 + self.pick(2) } else { 0 };
        let (state, rest) = self.logs[index].read(lag as u64);
        let mut owner = Partition::new(state, incarnation, false, Limits::default());
        rest.iter().for_each(|record| owner.replay(record));
        let now = self.moment(node);
        let there = &mut self.nodes[node];
        for event in there.known.values().filter(|event| event.id.region != region(index)) {
            owner.remote(now, Arc::clone(event));
        }
        owner.start();
        (there.owner, there.incarnation) = (Some(owner), incarnation);
        self.pump(node);
    }

    /// Carries out what an owner wants.
    pub(super) fn pump(&mut self, node: usize) {
        while let Some(output) = self.nodes[node].owner.as_mut().and_then(Partition::poll_output) {
            match output {
                Output::Answer { connection, request, answer } => {
                    self.after(1, 6, Happening::Answer { connection, request, answer });
                }
                Output::Deliver(event) => {
                    let hole = matches!(event.content, Content::Hole { .. });
                    self.tally.holes += u64::from(hole);
                    self.tally.messages += u64::from(event.content.is_countable());
                }
                Output::Deposed => self.depose(node),
                Output::Marks { .. } | Output::Ephemeral { .. } | Output::BeyondHead { .. } => {}
            }
        }
        if let Some(append) = self.nodes[node].owner.as_mut().and_then(Partition::poll_append) {
            self.launch(node, append);
        }
    }

    pub(super) fn depose(&mut self, node: usize) {
        self.tally.fences += 1;
        let there = &mut self.nodes[node];
        there.owner = None;
        let claim = &mut self.claims[there.region];
        if *claim == (Some(node), there.incarnation) {
            claim.0 = None;
        }
    }

    pub(super) fn learn(&mut self, node: usize, event: &Arc<Event>) {
        let there = &mut self.nodes[node];
        if !there.learn(&self.lineage, event) {
            return;
        }
        let waits = there.causal.holds(event.id);
        let gap = there.causal.gaps().next().is_some();
        self.tally.causal_waits += u64::from(waits && !gap);
        if gap && !there.repairing {
            there.repairing = true;
            self.tally.gap_repairs += 1;
            self.after(20, 50, Happening::Read { node, again: false });
        }
        let connections: Vec<u64> = self.nodes[node].streams.keys().copied().collect();
        connections.into_iter().for_each(|connection| self.feed(node, connection));
        let now = self.moment(node);
        let there = &mut self.nodes[node];
        if let Some(owner) = there.owner.as_mut().filter(|owner| owner.region() != event.id.region) {
            owner.remote(now, Arc::clone(event));
            self.pump(node);
        }
    }

    /// Reads what a node has not got: from the logs that it reaches, of others what nodes that it reaches have.
    fn read(&mut self, node: usize, again: bool) {
        if again {
            self.at(self.now + 900, Happening::Read { node, again });
        }
        self.nodes[node].repairing = false;
        if !self.nodes[node].alive {
            return;
        }
        let here = self.nodes[node].region;
        let mut found: Vec<Arc<Event>> = Vec::new();
        for log in (0..REGIONS).filter(|log| self.connected(*log, here)) {
            found.extend(self.logs[log].events().cloned());
        }
        for other in self.nodes.iter().filter(|other| other.alive && self.connected(other.region, here)) {
            found.extend(other.known.values().cloned());
        }
        let known = &self.nodes[node].known;
        found.retain(|event| !known.contains_key(&event.id));
        found.iter().for_each(|event| self.learn(node, event));
        if self.is_overtaken(node) {
            self.end_node(node);
            self.revive(node);
        }
    }

    /// Was something trimmed that this node has not got from anywhere?
    fn is_overtaken(&self, node: usize) -> bool {
        let applied = self.nodes[node].causal.applied();
        let is_below = |(index, log): (usize, &RegionLog)| {
            log.floor().is_some_and(|floor| applied.place(region(index)).is_none_or(|place| place < floor))
        };
        self.logs.iter().enumerate().any(is_below)
    }

    /// A process begins: with what the logs have, or where they begin.
    pub(super) fn revive(&mut self, node: usize) {
        let log = &self.logs[self.nodes[node].region];
        if self.nodes[node].alive {
            return;
        }
        if !log.is_open() {
            return self.after(100, 300, Happening::Restart { node });
        }
        let is_trimmed = self.logs.iter().any(|log| log.floor().is_some());
        let base = if is_trimmed { log.base(&room()) } else { Cursor::default() };
        self.nodes[node].begin(&self.lineage, &base);
    }

    /// Hands a session what the node delivered and it has not got.
    pub(super) fn feed(&mut self, node: usize, connection: u64) {
        let now = self.moment(node).at;
        let there = &mut self.nodes[node];
        let Some(stream) = there.streams.get_mut(&connection) else { return };
        while let Some(event) = there.delivered.get(stream.next) {
            stream.next += 1;
            stream.session.offer(now, &self.lineage, Arc::clone(event));
        }
        let frames: Vec<Frame> = std::iter::from_fn(|| stream.session.poll_frame()).collect();
        for frame in frames {
            let latency = self.between(5, 60);
            let Some(stream) = self.nodes[node].streams.get_mut(&connection) else { return };
            stream.arrives = stream.arrives.max(self.now + latency);
            let arrives = stream.arrives;
            self.at(arrives, Happening::Frame { connection, frame });
        }
    }

    pub(super) fn command(&mut self, node: usize, connection: u64, mut command: Command) {
        let there = &self.nodes[node];
        let stream = there.streams.get(&connection);
        let delivered = stream.and_then(|stream| stream.session.delivered(&command.channel).cloned());
        if !there.alive || (connection > 0 && delivered.is_none()) {
            return;
        }
        if let (Ask::Send(send), true) = (&mut command.ask, self.broken != Broken::ForgetSeen) {
            send.delivered = delivered.unwrap_or_default();
        }
        let index = there.region;
        let Some(owner) = self.claims[index].0.filter(|owner| self.nodes[*owner].alive) else { return };
        let now = self.moment(owner);
        if let Some(partition) = &mut self.nodes[owner].owner {
            let before = partition.waiting();
            partition.handle(now, command);
            self.tally.causal_waits += u64::from(partition.waiting() > before);
            self.pump(owner);
        }
    }

    // The end.

    pub fn end(&self) -> End {
        let committed = self.logs.iter().flat_map(RegionLog::committed).collect();
        let connected =
            self.clients.iter().filter(|client| client.connection.is_some()).map(|client| client.index);
        let mut provoked = BTreeSet::new();
        if self.tally.trims > 0 {
            provoked.insert(messaging::causal::Reset::Retention);
        }
        End { committed, connected: connected.collect(), lineage: self.lineage.clone(), provoked }
    }

    /// Guarantee 8 to senders: nobody waits for an answer any more.
    pub fn unanswered(&self) -> Result<(), String> {
        match self.clients.iter().find(|client| !client.pending.is_empty()) {
            Some(client) => Err(format!("8: client {} still waits for an answer", client.index)),
            None => Ok(()),
        }
    }

    /// Guarantee 3 to logs: each came back.
    pub fn logs_came_back(&self) -> Result<(), String> {
        self.failed.clone().map_or(Ok(()), Err)
    }
}
