//! What a send needs before its channel's owner can decide: the event that it acts on, and the application's word. Both take time, and the
//! sends of one connection for one channel wait for each other meanwhile, so that they keep their order.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use backplane::Log;
use base::ChannelId;
use messaging::command::{Answer, Ask, Command, Original, Refusal};
use messaging::event::Event;
use messaging::place::EventId;
use tokio::task::JoinSet;

use super::{Asked, Service};
use crate::handle::{Shared, busy};
use crate::hook::{self, Hook, Verdict};

/// Commands that wait for something, or for one that does.
const WAITING: usize = 4_096;
/// How long a hook may think.
const THINKING: Duration = Duration::from_secs(3);

type Lane = (u64, ChannelId);

/// Commands that are not ready.
#[derive(Default)]
pub struct Preparing {
    lanes: HashMap<Lane, VecDeque<Asked>>,
    waiting: usize,
    work: JoinSet<Prepared>,
}

/// A command that was made ready, or has to be refused.
pub type Prepared = (Lane, Asked, Result<(), Refusal>);

impl Preparing {
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// The next that is ready. Never, while none is being prepared.
    pub async fn next(&mut self) -> Prepared {
        match self.work.join_next().await {
            Some(Ok(prepared)) => prepared,
            // It ends only with the process.
            Some(Err(_)) | None => std::future::pending().await,
        }
    }
}

impl<L: Log> Service<'_, L> {
    /// The command, if it can be decided now.
    pub(super) fn prepare(&mut self, mut asked: Asked) -> Option<Asked> {
        let lane = (asked.command.origin.connection, asked.command.channel.clone());
        let is_behind = self.preparing.lanes.contains_key(&lane);
        if !is_behind && self.is_ready(&mut asked.command) {
            return Some(asked);
        }
        if self.preparing.waiting >= WAITING {
            let _ = asked.reply.send(Answer::Refused(busy("too much waits for what it acts on: try again")));
            return None;
        }
        self.preparing.waiting += 1;
        if is_behind {
            self.preparing.lanes.entry(lane).or_default().push_back(asked);
        } else {
            self.begin(lane, asked);
        }
        None
    }

    fn begin(&mut self, lane: Lane, mut asked: Asked) {
        self.preparing.lanes.entry(lane.clone()).or_default();
        let (shared, hook, partition) = (Arc::clone(&self.shared), self.settings.hook.clone(), self.number);
        self.preparing.work.spawn(async move {
            let ready = make_ready(&shared, partition, hook, &mut asked.command).await;
            (lane, asked, ready)
        });
    }

    /// Something is ready, and perhaps what waited behind it.
    pub(super) fn prepared(&mut self, prepared: Prepared) {
        let (lane, asked, ready) = prepared;
        self.preparing.waiting = self.preparing.waiting.saturating_sub(1);
        match ready {
            Ok(()) => self.hand(asked),
            Err(refusal) => drop(asked.reply.send(Answer::Refused(refusal))),
        }
        while let Some(mut next) = self.preparing.lanes.get_mut(&lane).and_then(VecDeque::pop_front) {
            if !self.is_ready(&mut next.command) {
                return self.begin(lane, next);
            }
            self.preparing.waiting = self.preparing.waiting.saturating_sub(1);
            self.hand(next);
        }
        self.preparing.lanes.remove(&lane);
    }

    /// Can it be decided now, with what is in memory?
    fn is_ready(&self, command: &mut Command) -> bool {
        let Ask::Send(send) = &mut command.ask else { return true };
        send.original = None;
        if let Some(target) = send.content.target() {
            let Some(event) = self.desk().tail.event(target.place.n) else { return !self.is_here(target) };
            send.original = original(&event, target, &command.channel);
        }
        let is_person = command.origin.user.is_some();
        !(is_person && self.settings.hook.is_some() && hook::concerns(&send.content))
    }

    /// Might there be such an event in this log?
    fn is_here(&self, id: EventId) -> bool {
        id.region == self.shared.region && id.place.n <= self.partition.committed()
    }
}

async fn make_ready(
    shared: &Shared,
    partition: u16,
    hook: Option<Arc<dyn Hook>>,
    command: &mut Command,
) -> Result<(), Refusal> {
    let Ask::Send(send) = &mut command.ask else { return Ok(()) };
    if let Some(target) = send.content.target().filter(|_| send.original.is_none()) {
        let found = shared.fetch(partition, &[target.place.n]).await?;
        send.original = found.first().and_then(|event| original(event, target, &command.channel));
    }
    let Some((hook, user)) = hook.zip(command.origin.user.clone()) else { return Ok(()) };
    if !hook::concerns(&send.content) {
        return Ok(());
    }
    let asked = hook::Asked { user, channel: command.channel.clone(), content: send.content.clone() };
    // In a task of its own: one that panics, or thinks for too long, has said nothing.
    let thinking = tokio::spawn(async move { tokio::time::timeout(THINKING, hook.judge(asked)).await });
    let verdict = thinking.await.ok().and_then(Result::ok).unwrap_or(Verdict::Later(1_000));
    hook::carry_out(verdict, &mut send.content)
}

/// What has to be known of an event to act on it; `None`: it is another, or not of this channel.
fn original(event: &Event, target: EventId, channel: &ChannelId) -> Option<Original> {
    (event.id == target && event.channel == *channel).then(|| Original {
        event: target,
        author: event.user().cloned(),
        is_message: event.content.is_countable(),
    })
}
