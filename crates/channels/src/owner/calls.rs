//! Calls that ring or run in this partition's channels: decided here, by [`messaging::ring::Ring`], and remembered as events of the channel, so
//! that a new owner goes on ringing. People are told when the events that say so are committed.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backplane::Log;
use base::{CallId, ChannelId, UserId};
use messaging::channel::Right;
use messaging::command::{Ask, Code, Command, Origin, Refusal};
use messaging::event::{CallStage, Content};
use messaging::ring::{Callee, Notice, Refused, Ring};
use messaging::roles::Action;
use store::index::Name;
use tokio::sync::oneshot;

use super::{Asked, Service};
use crate::calls::{CallAsk, CallStep, CallTold, CallView};
use crate::handle::{busy, readable, wall};
use crate::keys;
use crate::listen::Told;

/// Calls of one partition at a time.
const CALLS: usize = 4_096;
/// A call that nobody has ended for so long is over.
const LONGEST: Duration = Duration::from_secs(24 * 3_600);

type Key = (ChannelId, CallId);

/// The calls of a partition.
#[derive(Default)]
pub struct Calls(BTreeMap<Key, Ongoing>);

struct Ongoing {
    ring: Ring,
    media: Option<Arc<str>>,
    since: Instant,
}

impl Calls {
    pub fn poll_timeout(&self) -> Option<Instant> {
        let due = |one: &Ongoing| one.ring.poll_timeout().unwrap_or(one.since + LONGEST);
        self.0.values().map(due).min()
    }
}

impl<L: Log> Service<'_, L> {
    /// Goes on with the calls that the index knows of, where another owner, or another life of this one, left them.
    pub(super) async fn resume_calls(&mut self) {
        let prefix = keys::calls(self.number);
        let scan = self.shared.look_up(move |index| match Name::new(&prefix.0) {
            Some(prefix) => index.scan(prefix, (Bound::Unbounded, Bound::Unbounded), false, CALLS),
            None => Ok(Vec::new()),
        });
        for (key, value) in scan.await.unwrap_or_default() {
            let [channel, call] = keys::names(&key)[..] else { continue };
            let (channel, call) = (ChannelId::new(channel), CallId::new(call));
            let numbers: Vec<u64> =
                value.chunks_exact(8).filter_map(keys::number).filter(|n| *n > 0).collect();
            let Ok(events) = self.shared.fetch(self.number, &numbers).await else { continue };
            let Some(Content::Call { stage: CallStage::Invited { users }, .. }) =
                events.first().map(|e| &e.content)
            else {
                continue;
            };
            let ago = |at: usize| {
                let event = events.get(at)?;
                Some(Duration::from_millis(wall().0.saturating_sub(event.clock.millis().0)))
            };
            let Some(caller) = events[0].user().cloned() else { continue };
            let now = Instant::now();
            let since = ago(0).unwrap_or_default();
            let ring = Ring::resume(now, call.clone(), caller, users.iter().cloned(), since, ago(1));
            let ongoing = Ongoing { ring, media: None, since: now.checked_sub(since).unwrap_or(now) };
            self.note_call(&channel, &ongoing);
            self.calls.0.insert((channel, call), ongoing);
        }
    }

    pub(super) fn call(&mut self, asked: CallAsk, reply: oneshot::Sender<Result<CallView, Refusal>>) {
        let answer = self.step(asked);
        let held = Box::new(move || drop(reply.send(answer)));
        self.views.push_back((self.partition.state().head.n, held));
    }

    fn step(&mut self, asked: CallAsk) -> Result<CallView, Refusal> {
        let key = (asked.channel.clone(), asked.call.clone());
        let now = Instant::now();
        readable(&self.partition, &asked.channel, Some(&asked.user))?;
        let forbidden = Err(Refusal::last(Code::Forbidden, "you are not in this call"));
        if let CallStep::Invite { users, media } = asked.step {
            match self.calls.0.get(&key) {
                Some(ongoing) if !is_in(&ongoing.ring, &asked.user) => return forbidden,
                Some(_) => {}
                None => self.invite(&key, &asked.user, users, media)?,
            }
            return self.view_call(&key);
        }
        let Some(ongoing) = self.calls.0.get_mut(&key) else {
            return Err(Refusal::last(Code::NoTarget, "this call is over, or never was"));
        };
        let ring = &mut ongoing.ring;
        let (is_caller, is_in) = (*ring.caller() == asked.user, is_in(ring, &asked.user));
        let notices = match asked.step {
            CallStep::Accept => ring.accept(now, &asked.user, &asked.device).map_err(refusal)?,
            CallStep::Decline if is_in => ring.decline(now, &asked.user),
            CallStep::Busy if is_in => ring.busy(now, &asked.user),
            CallStep::Cancel if is_caller => ring.end(now),
            CallStep::End if is_in => ring.end(now),
            _ => return forbidden,
        };
        let view = view(&key, ongoing);
        self.carry_out(&key, Some(asked.user), notices);
        Ok(self.view_call(&key).unwrap_or(CallView { is_over: true, ..view }))
    }

    fn invite(
        &mut self,
        key: &Key,
        caller: &UserId,
        users: Option<Vec<UserId>>,
        media: Option<Arc<str>>,
    ) -> Result<(), Refusal> {
        if self.calls.0.len() >= CALLS {
            return Err(busy("too many calls ring: try again"));
        }
        let (channel, call) = key;
        let state = readable(&self.partition, channel, Some(caller))?;
        if state.right(wall(), caller, Action::Send) != Right::Yes {
            return Err(Refusal::last(Code::Forbidden, "your role in this channel does not allow calls"));
        }
        if call.as_str().is_empty() || call.as_str().len() > self.settings.limits.name {
            return Err(Refusal::last(Code::TooLarge, "the call has no name, or one that is too long"));
        }
        let members = state.members();
        let callees: Vec<UserId> = match users {
            Some(users) => users.into_iter().filter(|user| members.contains_key(user)).collect(),
            None => members.keys().take(messaging::ring::RUNG + 2).cloned().collect(),
        };
        let calls = Arc::clone(&self.shared.calls);
        let is_busy = |user: &UserId| calls.is_busy(user, key);
        let (now, caller) = (Instant::now(), caller.clone());
        let rung = Ring::invite(now, call.clone(), caller.clone(), callees, is_busy);
        let nobody =
            || Refusal::last(Code::TooLarge, "there is nobody to ring, or there are too many: name fewer");
        let (ring, notices) = rung.ok_or_else(nobody)?;
        let ongoing = Ongoing { ring, media, since: now };
        self.calls.0.insert(key.clone(), ongoing);
        self.carry_out(key, Some(caller), notices);
        Ok(())
    }

    fn view_call(&self, key: &Key) -> Result<CallView, Refusal> {
        let ongoing = self.calls.0.get(key);
        ongoing.map(|one| view(key, one)).ok_or(Refusal::last(Code::NoTarget, "this call is over"))
    }

    /// Whose time to ring is over.
    pub(super) fn time_calls(&mut self) {
        let now = Instant::now();
        let is_due = |one: &Ongoing| one.ring.poll_timeout().unwrap_or(one.since + LONGEST) <= now;
        let due: Vec<Key> =
            self.calls.0.iter().filter(|(_, one)| is_due(one)).map(|(key, _)| key.clone()).collect();
        for key in due {
            let Some(ongoing) = self.calls.0.get_mut(&key) else { continue };
            let notices = match ongoing.ring.poll_timeout() {
                Some(_) => ongoing.ring.handle_timeout(now),
                None => ongoing.ring.end(now),
            };
            self.carry_out(&key, None, notices);
        }
    }

    /// Events are appended; people hear of them when they last.
    fn carry_out(&mut self, key: &Key, who: Option<UserId>, notices: Vec<Notice>) {
        let Some(ongoing) = self.calls.0.get(key) else { return };
        let (caller, media) = (ongoing.ring.caller().clone(), ongoing.media.clone());
        let mut told: Vec<(UserId, CallTold)> = Vec::new();
        let mut missed = Vec::new();
        let mut stages = Vec::new();
        for notice in notices {
            match notice {
                Notice::Ring { user } => told.push((user, CallTold::Ringing { media: media.clone() })),
                Notice::Stop { user, but } => told.push((user, CallTold::Stopped { but })),
                Notice::Caller { user, callee } => {
                    told.push((caller.clone(), CallTold::Stands { user, callee }))
                }
                Notice::Missed { user } => missed.push(user),
                Notice::Event { stage } => stages.push(stage),
            }
        }
        if let Some(CallStage::Ended { .. }) = stages.last() {
            told.extend(participants(&ongoing.ring).map(|user| (user, CallTold::Ended)));
        }
        if !missed.is_empty() {
            // What was missed stands before the end.
            let at = stages
                .iter()
                .position(|stage| matches!(stage, CallStage::Ended { .. }))
                .unwrap_or(stages.len());
            stages.insert(at, CallStage::Missed { users: missed });
        }
        for stage in stages {
            let by = match &stage {
                CallStage::Accepted => who.clone(),
                _ => Some(caller.clone()),
            };
            self.append_stage(key, by, stage);
        }
        self.tell_call(key, caller, told);
        self.settle_call(key);
    }

    fn append_stage(&mut self, (channel, call): &Key, user: Option<UserId>, stage: CallStage) {
        let ask = Ask::Call { call: call.clone(), stage };
        let origin = Origin { connection: 0, request: 0, user, device: base::DeviceId::new("call") };
        // What becomes of it is said by the event.
        let (reply, _) = oneshot::channel();
        self.hand(Asked { command: Command { origin, channel: channel.clone(), ask }, reply });
    }

    fn tell_call(&mut self, (channel, call): &Key, caller: UserId, told: Vec<(UserId, CallTold)>) {
        let (shared, channel, call) = (Arc::clone(&self.shared), channel.clone(), call.clone());
        let tell = move || {
            for (user, what) in told {
                let (channel, call, from) = (channel.clone(), call.clone(), caller.clone());
                shared.people.tell(&user, &Told::Call { user: user.clone(), channel, call, from, what });
            }
        };
        self.views.push_back((self.partition.state().head.n, Box::new(tell)));
    }

    fn settle_call(&mut self, key: &Key) {
        match self.calls.0.get(key) {
            Some(ongoing) if ongoing.ring.is_over() => {
                let people: Vec<UserId> = participants(&ongoing.ring).collect();
                self.shared.calls.end(key, &people);
                self.calls.0.remove(key);
            }
            Some(ongoing) => self.note_call(&key.0, ongoing),
            None => {}
        }
    }

    fn note_call(&self, channel: &ChannelId, ongoing: &Ongoing) {
        let key = (channel.clone(), ongoing.ring.call().clone());
        self.shared.calls.note(&Arc::new(view(&key, ongoing)));
    }
}

fn participants(ring: &Ring) -> impl Iterator<Item = UserId> + '_ {
    std::iter::once(ring.caller().clone()).chain(ring.people().keys().cloned())
}

/// Does somebody call, or are they called?
fn is_in(ring: &Ring, user: &UserId) -> bool {
    ring.caller() == user || ring.people().contains_key(user)
}

fn view((channel, call): &Key, ongoing: &Ongoing) -> CallView {
    let people: Vec<(UserId, Callee)> =
        ongoing.ring.people().iter().map(|(user, callee)| (user.clone(), callee.clone())).collect();
    CallView {
        channel: channel.clone(),
        call: call.clone(),
        caller: ongoing.ring.caller().clone(),
        media: ongoing.media.clone(),
        people,
        is_running: ongoing.ring.is_running(),
        is_over: ongoing.ring.is_over(),
    }
}

fn refusal(refused: Refused) -> Refusal {
    match refused {
        Refused::NotInvited => Refusal::last(Code::Forbidden, "you were not rung for this call"),
        Refused::AnsweredElsewhere => Refusal::last(Code::Exists, "another of your devices answered first"),
        Refused::Over => Refusal::last(Code::NoTarget, "nobody rings any more"),
    }
}
