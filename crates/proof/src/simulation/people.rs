//! What clients do, and what reaches them.

use messaging::causal::Delivery;
use messaging::command::{Answer, Code};
use messaging::event::Content;
use messaging::fold::Item;
use messaging::session::{self, Frame, Session, View};

use super::Broken;
use super::client::{message, message_of, sender, user};
use super::node::Stream;
use super::world::{CLIENTS, Happening, NODES, World, room};
use crate::history::{Act, Got, Line};

impl World {
    pub(super) fn act(&mut self, client: usize) {
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
        let (floor, head) = (self.nodes[node].base.clone(), self.nodes[node].causal.cursor());
        let view = View { lineage: &self.lineage, floor: &floor, head: &head, members: CLIENTS };
        session.subscribe(&room(), &who.cursor, true, view);
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

    pub(super) fn disconnect(&mut self, client: usize) {
        // Now and then somebody stays away for as long as logs are trimmed.
        let longest = if self.random.chance(0.1) { 9_000 } else { 900 };
        let pause = self.between(20, longest);
        let who = &mut self.clients[client];
        who.ready = self.now + pause;
        if let Some(connection) = who.connection.take()
            && let Some((_, node)) = self.connections.remove(&connection)
        {
            self.nodes[node].streams.remove(&connection);
        }
    }

    pub(super) fn answer(&mut self, connection: u64, request: u64, answer: &Answer) {
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

    pub(super) fn frame(&mut self, connection: u64, frame: Frame) {
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
            Frame::Reset { why, cursor, .. } => {
                self.tally.resets += 1;
                self.lines.push(Line { client, act: Act::Reset(why, cursor.clone()) });
                self.clients[client].reset(cursor);
            }
            Frame::Removed { .. } | Frame::Goaway { .. } => {
                panic!("nobody is removed, and no connection is slow: {frame:?}")
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
}
