//! What an event causes in other partitions: mentions and missed calls go into people's inboxes.
//!
//! The effects of an event follow from the event, so that nothing but the event has to last: the index notes which events have any, and forgets
//! the note when all are done. Each effect is a send to the inbox whose device is this partition's outbox and whose number is that of the
//! event: one that is tried again, because nobody knows whether it arrived, is stored once.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use base::{ChannelId, DeviceId, UserId};
use messaging::command::{Answer, Refusal};
use messaging::event::{Body, CallStage, Content, Event};
use messaging::format::fingerprint;
use store::index::Name;
use tokio::sync::oneshot;

use crate::handle::{Handle, Shared, wall};
use crate::keys;
use crate::owner::Order;

/// Events that are looked at in one turn of a partition.
const TURN: usize = 64;
/// Between two looks when nobody says that there is something, and after what did not go.
const PAUSE: Duration = Duration::from_secs(2);
/// Effects of events that are older have no meaning any more, in milliseconds: an index that was made anew names them all again, and an
/// inbox forgets after 30 days what it has taken.
const OLDEST: u64 = 7 * 24 * 3_600 * 1_000;
/// Longest name of a channel that is made of a person's, in bytes.
const INBOX: usize = 128;

/// Something for somebody's inbox.
pub(crate) struct Effect {
    /// Whose.
    pub user: UserId,
    /// Of which log and epoch.
    pub source: DeviceId,
    /// Of which event.
    pub n: u64,
    /// What it says.
    pub body: Body,
    /// What became of it.
    pub reply: oneshot::Sender<Answer>,
}

/// The channel in which a person finds what concerns them.
pub fn inbox_of(user: &UserId) -> ChannelId {
    let name = format!("inbox:{}", user.as_str());
    if name.len() <= INBOX {
        return ChannelId::new(name);
    }
    ChannelId::new(format!("inbox:#{:016x}", fingerprint(user.as_str().as_bytes())))
}

/// Carries effects out, for ever.
pub(crate) async fn run(shared: Arc<Shared>) {
    let partitions = shared.desks.len() as u16;
    // After a start there may be some anywhere.
    let mut waiting: BTreeSet<u16> = (0..partitions).collect();
    loop {
        waiting.append(&mut shared.effects.take());
        let mut left = BTreeSet::new();
        for partition in std::mem::take(&mut waiting) {
            if !carry_out(&shared, partition).await {
                left.insert(partition);
            }
        }
        waiting = left;
        let pause = if waiting.is_empty() { None } else { Some(PAUSE) };
        shared.effects.wait(pause).await;
    }
}

/// Those of one partition. False: some are left.
async fn carry_out(shared: &Arc<Shared>, partition: u16) -> bool {
    loop {
        let numbers = match noted(shared, partition).await {
            Ok(numbers) if numbers.is_empty() => return true,
            Ok(numbers) => numbers,
            Err(_) => return false,
        };
        let Ok(events) = shared.fetch(partition, &numbers).await else { return false };
        for event in &events {
            if !send_all(shared, partition, event).await {
                return false;
            }
        }
        // What is not there any more has no effects either.
        if forget(shared, partition, numbers).await.is_err() {
            return false;
        }
    }
}

async fn noted(shared: &Arc<Shared>, partition: u16) -> Result<Vec<u64>, Refusal> {
    let prefix = keys::effects(partition);
    let found = shared.look_up(move |index| match Name::new(&prefix.0) {
        Some(prefix) => index.scan(prefix, (Bound::Unbounded, Bound::Unbounded), false, TURN),
        None => Ok(Vec::new()),
    });
    Ok(found.await?.iter().filter_map(|(key, _)| keys::number(key)).collect())
}

async fn forget(shared: &Arc<Shared>, partition: u16, numbers: Vec<u64>) -> Result<(), Refusal> {
    let done = move |index: &store::Index| {
        index.note(|changes| {
            for n in &numbers {
                let key = keys::effect(partition, *n);
                if let Some(key) = Name::new(&key.0) {
                    changes.remove(key);
                }
            }
        })
    };
    shared.look_up(done).await
}

/// False: one did not go, and all of the event are tried again.
async fn send_all(shared: &Arc<Shared>, partition: u16, event: &Arc<Event>) -> bool {
    if event.clock.millis().0.saturating_add(OLDEST) < wall().0 {
        return true;
    }
    let (users, body) = effects(event);
    let (name, handle) = (event.channel.clone(), Handle::new(Arc::clone(shared)));
    let members = handle.view(partition, move |partition| {
        let Some(channel) = partition.channel(&name) else { return Vec::new() };
        users.into_iter().filter(|user| channel.members().contains_key(user)).collect::<Vec<UserId>>()
    });
    let Ok(members) = members.await else { return false };
    let source = DeviceId::new(format!("outbox.{partition}.{}", event.id.place.epoch));
    for user in members {
        let (reply, answer) = oneshot::channel();
        let inbox = inbox_of(&user);
        let (body, source, n) = (Arc::clone(&body), source.clone(), event.id.place.n);
        let effect = Effect { user, source, n, body, reply };
        if shared.desk(&inbox).inbox.send(Order::Effect(Box::new(effect))).await.is_err() {
            return false;
        }
        match answer.await {
            Ok(Answer::Refused(Refusal { retry_after: Some(_), .. })) | Err(_) => return false,
            Ok(Answer::Refused(refusal)) => {
                tracing::warn!(event = %event.id, why = refusal.reason, "an inbox does not take what happened");
            }
            Ok(_) => {}
        }
    }
    true
}

/// Who is to find what in their inbox.
fn effects(event: &Event) -> (BTreeSet<UserId>, Body) {
    let mut what = serde_json::json!({ "channel": event.channel.as_str(), "event": event.id.to_string() });
    if let Some(from) = event.user() {
        what["from"] = from.as_str().into();
    }
    let (mut users, kind): (BTreeSet<UserId>, &str) = match &event.content {
        Content::Message { mentions, .. } => (mentions.iter().cloned().collect(), "mention"),
        Content::Call { call, stage: CallStage::Missed { users } } => {
            what["call"] = call.as_str().into();
            (users.iter().cloned().collect(), "missed")
        }
        _ => (BTreeSet::new(), "none"),
    };
    if let Some(from) = event.user() {
        users.remove(from);
    }
    (users, serde_json::json!({ kind: what }).to_string().into_bytes().into())
}

/// Which partitions have effects that nobody has seen.
#[derive(Default)]
pub(crate) struct Bell {
    rung: std::sync::Mutex<BTreeSet<u16>>,
    bell: tokio::sync::Notify,
}

impl Bell {
    /// The index has effects of this partition.
    pub fn ring(&self, partition: u16) {
        crate::listen::lock(&self.rung).insert(partition);
        self.bell.notify_one();
    }

    fn take(&self) -> BTreeSet<u16> {
        std::mem::take(&mut *crate::listen::lock(&self.rung))
    }

    async fn wait(&self, pause: Option<Duration>) {
        let pause = async {
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.bell.notified() => {}
            () = pause => {}
        }
    }
}

/// Has an event effects in other partitions?
pub(crate) fn has_effects(event: &Event) -> bool {
    match &event.content {
        Content::Message { mentions, .. } => !mentions.is_empty(),
        Content::Call { stage: CallStage::Missed { .. }, .. } => true,
        _ => false,
    }
}
