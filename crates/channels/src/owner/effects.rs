//! What other partitions cause in this one: entries of people's inboxes.

use backplane::Log;
use base::{ChannelId, DeviceId, UserId};
use messaging::command::{Ask, Command, Origin, Send};
use messaging::event::{Content, Kind, Settings};
use messaging::place::Vector;
use messaging::roles::Role;
use tokio::sync::oneshot;

use super::{Asked, Service};
use crate::handle::wall;
use crate::outbox::{Effect, inbox_of};

/// Entries of an inbox that are kept: more than anybody reads, and a bound on what being named often costs.
const KEPT: u64 = 1_000;
/// Who sends what nobody sends.
const SERVER: &str = "server";

impl<L: Log> Service<'_, L> {
    /// Appends an entry, once, to an inbox that is made where there is none.
    pub(super) fn effect(&mut self, effect: Effect) {
        let Effect { user, source, n, body, reply } = effect;
        let inbox = inbox_of(&user);
        if self.partition.channel(&inbox).is_none_or(|channel| channel.kind().is_none()) {
            let members = vec![(user, Role::Member)];
            let settings = Settings { keep_newest: KEPT, ..Settings::default() };
            let ask = Ask::Create { kind: Kind::Inbox, settings, members };
            let (reply, _) = oneshot::channel();
            self.hand(Asked { command: by_server(&inbox, &source, ask), reply });
        }
        let sends =
            self.partition.channel(&inbox).and_then(|channel| channel.sends(&UserId::new(SERVER), &source));
        let last = sends.map_or(0, |sends| sends.last(wall()));
        if n <= last {
            let _ = reply.send(messaging::command::Answer::Done);
            return;
        }
        let content =
            Content::Message { body, reply_to: None, thread: None, mentions: Vec::new(), everyone: false };
        let (seen, after, delivered) = (Vec::new(), Vec::new(), Vector::default());
        let send = Send { csn: n, follows: Some(last), content, seen, delivered, after, original: None };
        self.hand(Asked { command: by_server(&inbox, &source, Ask::Send(Box::new(send))), reply });
    }
}

fn by_server(channel: &ChannelId, device: &DeviceId, ask: Ask) -> Command {
    let origin = Origin { connection: 0, request: 0, user: None, device: device.clone() };
    Command { origin, channel: channel.clone(), ask }
}
