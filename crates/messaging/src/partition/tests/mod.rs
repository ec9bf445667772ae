//! An owner with a log in memory.

mod appending;
mod moderation;
mod numbers;
mod people;
mod regions;
mod unread;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::UnixMillis;

use super::*;
use crate::command::{Ask, Original, Send};
use crate::event::{Change, Kind, Settings};
use crate::place::{Cursor, Token};
use crate::roles::Role;
use crate::testing::{channel, device, id, region, text, user};

/// An owner, its log, and what it told.
struct Desk {
    owner: Partition,
    log: Vec<Record>,
    now: Now,
    requests: u64,
    answers: BTreeMap<u64, Answer>,
    told: Vec<Output>,
}

impl Desk {
    fn new(name: &str) -> Self {
        Self::on(name, Vec::new(), 1)
    }

    /// A new owner of this log.
    fn on(name: &str, log: Vec<Record>, incarnation: u64) -> Self {
        let now = Now { at: Instant::now(), wall: UnixMillis(1_000_000) };
        let state = State::new(region(name), 1);
        let mut owner = Partition::new(state, incarnation, true, Limits::default());
        log.iter().for_each(|record| owner.replay(record));
        let mut desk = Self { owner, log, now, requests: 0, answers: BTreeMap::new(), told: Vec::new() };
        desk.owner.start();
        desk.settle();
        desk
    }

    /// With a group of ann (owner), bob and eve (members).
    fn with_group(name: &str) -> Self {
        let mut desk = Self::new(name);
        desk.create(Settings::default());
        desk
    }

    fn create(&mut self, settings: Settings) {
        let members = vec![(user("bob"), Role::Member), (user("eve"), Role::Member)];
        let answer = self.ask("ann", Ask::Create { kind: Kind::Group, settings, members });
        assert_eq!(answer, Answer::Done);
    }

    /// Appends all that is staged, and hears what is told.
    fn settle(&mut self) {
        loop {
            while let Some(output) = self.owner.poll_output() {
                match output {
                    Output::Answer { request, answer, .. } => drop(self.answers.insert(request, answer)),
                    other => self.told.push(other),
                }
            }
            let Some(append) = self.owner.poll_append() else { break };
            assert_eq!(append.expected, self.log.len() as u64);
            self.log.extend(append.records);
            self.owner.appended(Appended::Committed);
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now.at += time;
        self.now.wall.0 += time.as_millis() as u64;
        self.owner.handle_timeout(self.now);
        self.settle();
    }

    /// Hands a command over; the number of the request.
    fn hand(&mut self, who: &str, ask: Ask) -> u64 {
        self.requests += 1;
        let name = (who != "server").then(|| user(who));
        let connection = who.bytes().map(u64::from).sum();
        let origin = Origin { connection, request: self.requests, user: name, device: device("phone") };
        self.owner.handle(self.now, Command { origin, channel: channel("room"), ask });
        self.requests
    }

    fn ask(&mut self, who: &str, ask: Ask) -> Answer {
        let request = self.hand(who, ask);
        self.settle();
        self.answers.get(&request).cloned().expect("it is answered at once")
    }

    fn send(&mut self, who: &str, csn: u64, content: Content) -> Answer {
        self.ask(who, Ask::Send(Box::new(numbered(csn, content))))
    }

    /// The event that a send became.
    fn sent(&mut self, who: &str, csn: u64, content: Content) -> EventId {
        match self.send(who, csn, content) {
            Answer::Sent { event, .. } => event,
            other => panic!("{who}'s send {csn} was not accepted: {other:?}"),
        }
    }

    fn refused(&mut self, who: &str, ask: Ask) -> Code {
        match self.ask(who, ask) {
            Answer::Refused(refusal) => refusal.code,
            other => panic!("it was not refused: {other:?}"),
        }
    }

    fn change(&mut self, who: &str, whom: &str, change: Change) -> Answer {
        self.ask(who, Ask::Member { user: user(whom), change })
    }

    fn room(&self) -> &Channel {
        self.owner.channel(&channel("room")).expect("it was created")
    }

    fn delivered(&self) -> Vec<EventId> {
        let ids = self.told.iter().filter_map(|output| match output {
            Output::Deliver(event) => Some(event.id),
            _ => None,
        });
        ids.collect()
    }

    /// The state read anew from the whole log, and from a checkpoint in its middle on, is the state there is.
    fn assert_rebuilds(&self) {
        let start = || State::new(self.owner.region(), 1);
        let mut whole = start();
        for at in 0..=self.log.len() {
            let mut state = State::restore(&whole.checkpoint()).expect("it was just written");
            self.log[at..].iter().for_each(|record| state.replay(record));
            assert_eq!(&state, self.owner.state(), "from a checkpoint at {at}");
            if let Some(record) = self.log.get(at) {
                whole.replay(record);
            }
        }
    }
}

fn numbered(csn: u64, content: Content) -> Send {
    let original = None;
    Send {
        csn,
        follows: None,
        content,
        seen: Vec::new(),
        delivered: Vector::default(),
        after: Vec::new(),
        original,
    }
}

/// A send that acts on a message of `author`.
fn acting(csn: u64, content: Content, author: &str) -> Ask {
    let event = content.target().expect("it names one");
    let original = Some(Original { event, author: Some(user(author)), is_message: true });
    Ask::Send(Box::new(Send { original, ..numbered(csn, content) }))
}
