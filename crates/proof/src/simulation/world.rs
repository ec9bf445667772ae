//! Everything together, in virtual time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::{ChannelId, DeviceId, UnixMillis};
use messaging::causal::Delivery;
use messaging::command::{Answer, Ask, Code, Command, Now, Origin};
use messaging::event::{Content, Entry, Event, Kind, Record, Settings};
use messaging::fold::Item;
use messaging::limits::Limits;
use messaging::partition::{Append, Appended, Output, Partition, State};
use messaging::place::{Lineage, Region, Vector};
use messaging::roles::Role;
use messaging::session::{self, Frame, Session, View};
use sim::Random;

use super::client::{Client, message, message_of, sender, user};
use super::node::{Node, Stream};
use super::{Broken, Tally};
use crate::history::{Act, End, Got, Line};

const REGIONS: usize = 3;
const NODES: usize = 2 * REGIONS;
const CLIENTS: usize = 6;

/// Until when there are faults and messages, and until when what heals has time: in milliseconds.
const TROUBLE: u64 = 25_000;
const END: u64 = 50_000;

/// What happens at a time.
enum Happening {
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
}

pub struct World {
    random: Random,
    broken: Broken,
    start: Instant,
    now: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    happenings: u64,
    logs: Vec<Vec<Record>>,
    nodes: Vec<Node>,
    /// By region: who owns its partition, and how often that changed.
    claims: Vec<(Option<usize>, u64)>,
    clients: Vec<Client>,
    connections: BTreeMap<u64, (usize, usize)>,
    cut: Option<usize>,
    lineage: Lineage,
    pub lines: Vec<Line>,
    pub tally: Tally,
}

fn region(index: usize) -> Region {
    ["eu", "us", "ap"][index].parse().expect("these are names of regions")
}

impl World {
    pub fn new(seed: u64, broken: Broken) -> Self {
        let mut random = Random::new(seed);
        let skews: Vec<i64> = (0..NODES).map(|_| (random.share() * 6_000.0) as i64 - 3_000).collect();
        let nodes = skews.into_iter().enumerate().map(|(index, skew)| Node::new(index / 2, skew)).collect();
        let mut world = Self {
            random,
            broken,
            start: Instant::now(),
            now: 0,
            queue: BTreeMap::new(),
            happenings: 0,
            logs: vec![Vec::new(); REGIONS],
            nodes,
            claims: vec![(None, 0); REGIONS],
            clients: (0..CLIENTS).map(Client::new).collect(),
            connections: BTreeMap::new(),
            cut: None,
            lineage: Lineage::default(),
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
        let command = Command { origin, channel: ChannelId::new("room"), ask };
        self.at(20, Happening::Command { node: 0, connection: 0, command });
        (0..CLIENTS).for_each(|client| self.at(1_000 + client as u64, Happening::Client { client }));
        self.at(3_000, Happening::Fault);
    }

    pub fn run(&mut self) {
        while let Some(((at, _), happening)) = self.queue.pop_first() {
            if at > END {
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
            Happening::Restart { node } => self.nodes[node].alive = true,
            Happening::Heal => self.cut = None,
        }
    }

    fn at(&mut self, time: u64, happening: Happening) {
        self.happenings += 1;
        self.queue.insert((time, self.happenings), happening);
    }

    fn after(&mut self, low: u64, high: u64, happening: Happening) {
        let delay = self.between(low, high);
        self.at(self.now + delay, happening);
    }

    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.random.number() % (high - low + 1)
    }

    fn pick(&mut self, count: usize) -> usize {
        (self.random.number() % count as u64) as usize
    }

    fn moment(&self, node: usize) -> Now {
        let wall = 1_700_000_000_000i64 + self.now as i64 + self.nodes[node].skew;
        Now { at: self.start + Duration::from_millis(self.now), wall: UnixMillis(wall as u64) }
    }

    fn is_quiet(&self) -> bool {
        self.now >= TROUBLE
    }

    fn connected(&self, one: usize, other: usize) -> bool {
        one == other || (self.cut != Some(one) && self.cut != Some(other))
    }

    // The log.

    /// What an owner has to append goes to the log, or gets lost, or its answer does.
    fn launch(&mut self, node: usize, append: Append) {
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
        let length = self.logs[index].len() as u64;
        let fits =
            length == append.expected || (self.broken == Broken::NoCompare && length > append.expected);
        let answer = if fits {
            self.logs[index].extend(append.records.iter().cloned());
            self.publish(index, length as usize);
            Appended::Committed
        } else {
            let there = self.logs[index].get(append.expected as usize);
            Appended::Conflict { found: there.map(|record| (record.incarnation, record.append)) }
        };
        let incarnation = append.records.first().map_or(0, |record| record.incarnation);
        if tell {
            self.after(1, 8, Happening::Appended { node, life, incarnation, answer });
        }
    }

    /// The events from an entry on go to every node, and some do not arrive.
    fn publish(&mut self, from: usize, entry: usize) {
        let events: Vec<Arc<Event>> = self.logs[from][entry..].iter().filter_map(event_of).cloned().collect();
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
                    self.after(low, high, Happening::Learn { node, life, event: Arc::clone(&event) });
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
        if vacant || forgotten {
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
    fn take_over(&mut self, node: usize) {
        let index = self.nodes[node].region;
        self.claims[index].1 += 1;
        self.claims[index].0 = Some(node);
        let incarnation = self.claims[index].1;
        let lag = if self.random.chance(0.3) && !self.is_quiet() { 1 + self.pick(2) } else { 0 };
        let log = &self.logs[index][..self.logs[index].len().saturating_sub(lag)];
        let (early, rest) = log.split_at(log.len() / 2);
        let mut state = State::new(region(index), 1);
        early.iter().for_each(|record| state.replay(record));
        let state = State::restore(&state.checkpoint()).expect("a checkpoint that was just written is read");
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
    fn pump(&mut self, node: usize) {
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

    fn depose(&mut self, node: usize) {
        self.tally.fences += 1;
        let there = &mut self.nodes[node];
        there.owner = None;
        let claim = &mut self.claims[there.region];
        if *claim == (Some(node), there.incarnation) {
            claim.0 = None;
        }
    }

    fn learn(&mut self, node: usize, event: &Arc<Event>) {
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
            found.extend(self.logs[log].iter().filter_map(event_of).cloned());
        }
        for other in self.nodes.iter().filter(|other| other.alive && self.connected(other.region, here)) {
            found.extend(other.known.values().cloned());
        }
        let known = &self.nodes[node].known;
        found.retain(|event| !known.contains_key(&event.id));
        found.iter().for_each(|event| self.learn(node, event));
    }

    /// Hands a session what the node delivered and it has not got.
    fn feed(&mut self, node: usize, connection: u64) {
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

    fn command(&mut self, node: usize, connection: u64, mut command: Command) {
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

    // Clients.

    fn act(&mut self, client: usize) {
        self.after(120, 280, Happening::Client { client });
        let luck = self.random.share();
        let Some(connection) = self.clients[client].connection else {
            if self.now >= self.clients[client].ready {
                self.connect(client);
            }
            return;
        };
        let oldest = self.clients[client].pending.front().map(|pending| pending.since);
        if !self.is_quiet() && luck < 0.05 {
            self.disconnect(client);
        } else if oldest.is_some_and(|since| self.now > since + 1_500) {
            self.resend(client, connection);
        } else if !self.is_quiet() && luck < 0.25 && self.clients[client].pending.len() < 3 {
            let csn = self.clients[client].compose(self.now);
            self.lines.push(Line { client, act: Act::Sent(message(client, csn)) });
            let last = self.clients[client].pending.len() - 1;
            self.transmit(client, connection, last);
        }
    }

    fn transmit(&mut self, client: usize, connection: u64, at: usize) {
        let Some((_, node)) = self.connections.get(&connection).copied() else { return };
        let forget = self.broken == Broken::ForgetSeen;
        let who = &self.clients[client];
        let command = who.command(connection, &who.pending[at], forget);
        // A connection keeps the order of what is sent on it.
        let delay = 5 + at as u64;
        self.at(self.now + delay, Happening::Command { node, connection, command });
    }

    fn resend(&mut self, client: usize, connection: u64) {
        let now = self.now;
        let count = self.clients[client].pending.len();
        self.tally.retries += count as u64;
        self.clients[client].pending.iter_mut().for_each(|pending| pending.since = now);
        (0..count).for_each(|at| self.transmit(client, connection, at));
    }

    /// To any node that is alive, of another region often enough.
    fn connect(&mut self, client: usize) {
        let node = self.pick(NODES);
        if !self.nodes[node].alive {
            return;
        }
        let who = &self.clients[client];
        let mut session = Session::new(user(client), session::Limits::default());
        let (floor, head) = (Vector::default(), self.nodes[node].causal.cursor());
        let view = View { lineage: &self.lineage, floor: &floor, head: &head, members: CLIENTS };
        session.subscribe(self.moment(node).at, &ChannelId::new("room"), &who.cursor, true, view);
        self.happenings += 1;
        let connection = self.happenings;
        self.tally.moves += u64::from(who.node.is_some_and(|last| last != node));
        let stream = Stream { client, session, next: 0, arrives: self.now };
        self.nodes[node].streams.insert(connection, stream);
        self.connections.insert(connection, (client, node));
        let who = &mut self.clients[client];
        (who.connection, who.node) = (Some(connection), Some(node));
        self.lines.push(Line { client, act: Act::Stream });
        self.feed(node, connection);
        self.resend(client, connection);
    }

    fn disconnect(&mut self, client: usize) {
        let pause = self.between(20, 900);
        let who = &mut self.clients[client];
        who.ready = self.now + pause;
        if let Some(connection) = who.connection.take()
            && let Some((_, node)) = self.connections.remove(&connection)
        {
            self.nodes[node].streams.remove(&connection);
        }
    }

    fn answer(&mut self, connection: u64, request: u64, answer: &Answer) {
        let Some((client, _)) = self.connections.get(&connection).copied() else { return };
        match answer {
            Answer::Sent { event, token } => {
                if self.clients[client].accepted(request, token) {
                    self.lines.push(Line { client, act: Act::Accepted(message(client, request), *event) });
                }
            }
            Answer::Refused(refusal) => {
                if let Code::CsnGap(last) = refusal.code {
                    let gap =
                        self.clients[client].pending.front().is_some_and(|pending| pending.csn == request);
                    self.clients[client].gap(last);
                    // The first of several says it all.
                    if gap {
                        self.resend(client, connection);
                    }
                } else if refusal.retry_after.is_none() {
                    panic!("client {client} was refused for good, and did nothing wrong: {refusal:?}");
                }
            }
            Answer::Done | Answer::Marked(_) => {}
        }
    }

    fn frame(&mut self, connection: u64, frame: Frame) {
        let Some((client, _)) = self.connections.get(&connection).copied() else { return };
        match frame {
            Frame::Items { items, cursor, .. } => {
                for item in &items {
                    match item {
                        Item::Event(delivery) => self.got(client, delivery),
                        Item::Fold(fold) => {
                            panic!("nothing is sent that would be folded, and {} was", fold.id)
                        }
                    }
                }
                self.clients[client].cursor = cursor;
            }
            Frame::Reset { .. } | Frame::Removed { .. } | Frame::Goaway { .. } => {
                self.lines.push(Line { client, act: Act::Reset });
            }
            Frame::Soft(_) => {}
        }
    }

    fn got(&mut self, client: usize, delivery: &Delivery) {
        self.tally.deliveries += 1;
        self.tally.late += u64::from(delivery.late);
        let event = &delivery.event;
        let hole = match event.content {
            Content::Hole { region, upto, .. } if delivery.shown => Some((region, upto)),
            _ => None,
        };
        let message = message_of(event).filter(|message| sender(*message) < CLIENTS);
        let (prev, clock, late) = (event.prev, event.clock, delivery.late);
        let got = Got { id: event.id, prev, clock, message, hole, late };
        self.lines.push(Line { client, act: Act::Got(got) });
    }

    // Faults.

    fn fault(&mut self) {
        if self.now + 4_000 >= TROUBLE {
            return self.heal();
        }
        self.after(800, 3_000, Happening::Fault);
        match self.pick(5) {
            0 | 1 => self.crash(),
            2 => {
                // Somebody is taken for dead, and is not.
                let node = self.pick(NODES);
                if self.nodes[node].alive && self.claims[self.nodes[node].region].0 != Some(node) {
                    self.take_over(node);
                }
            }
            3 if self.cut.is_none() => {
                self.cut = Some(self.pick(REGIONS));
                self.after(1_000, 9_000, Happening::Heal);
            }
            _ => (0..CLIENTS / 2).for_each(|client| self.disconnect(client)),
        }
    }

    fn crash(&mut self) {
        let node = self.pick(NODES);
        if !self.nodes[node].alive {
            return;
        }
        self.tally.crashes += 1;
        let clients: Vec<usize> = self.nodes[node].streams.values().map(|stream| stream.client).collect();
        clients.into_iter().for_each(|client| self.disconnect(client));
        let was_owner = self.nodes[node].owner.is_some();
        self.nodes[node].crash(self.now);
        if self.broken == Broken::LosesTail && was_owner {
            self.logs[self.nodes[node].region].pop();
        }
        self.after(500, 5_000, Happening::Restart { node });
    }

    fn heal(&mut self) {
        self.cut = None;
        (0..NODES).for_each(|node| self.nodes[node].alive = true);
    }

    // The end.

    pub fn end(&self) -> End {
        let committed = self.logs.iter().flatten().filter_map(event_of).map(|event| event.id).collect();
        let connected =
            self.clients.iter().filter(|client| client.connection.is_some()).map(|client| client.index);
        End { committed, connected: connected.collect(), lineage: self.lineage.clone() }
    }

    /// Guarantee 8 to senders: nobody waits for an answer any more.
    pub fn unanswered(&self) -> Result<(), String> {
        match self.clients.iter().find(|client| !client.pending.is_empty()) {
            Some(client) => Err(format!("8: client {} still waits for an answer", client.index)),
            None => Ok(()),
        }
    }
}

fn event_of(record: &Record) -> Option<&Arc<Event>> {
    match &record.entry {
        Entry::Event { event } => Some(event),
        _ => None,
    }
}
