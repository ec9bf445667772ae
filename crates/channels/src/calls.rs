//! What people ask of calls, and hear of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use base::{CallId, ChannelId, DeviceId, UserId};
use messaging::ring::Callee;

use crate::listen::lock;

/// A step that somebody's device wants of a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallAsk {
    /// The call's channel.
    pub channel: ChannelId,
    /// The call.
    pub call: CallId,
    /// Who.
    pub user: UserId,
    /// On which device.
    pub device: DeviceId,
    /// What.
    pub step: CallStep,
}

/// What may be done about a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CallStep {
    /// To ring these members, or all. Asking again for the same call changes nothing.
    Invite {
        /// Whom; `None`: all members.
        users: Option<Vec<UserId>>,
        /// What the call is to be, in words of the application's, for whoever is rung.
        media: Option<Arc<str>>,
    },
    /// To answer.
    Accept,
    /// Not to answer.
    Decline,
    /// Not to answer because of another call.
    Busy,
    /// To stop ringing: the caller's.
    Cancel,
    /// To end it for all.
    End,
}

/// What a person's devices hear of a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CallTold {
    /// Ring.
    Ringing {
        /// What the call is to be.
        media: Option<Arc<str>>,
    },
    /// Ring no more.
    Stopped {
        /// This device goes on: it answered.
        but: Option<DeviceId>,
    },
    /// For the caller: where somebody stands.
    Stands {
        /// Who.
        user: UserId,
        /// Where.
        callee: Callee,
    },
    /// It is over.
    Ended,
}

/// A call as it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CallView {
    /// Its channel.
    pub channel: ChannelId,
    /// It.
    pub call: CallId,
    /// Who called.
    pub caller: UserId,
    /// What it is to be.
    pub media: Option<Arc<str>>,
    /// Who was rung, and where they stand.
    pub people: Vec<(UserId, Callee)>,
    /// Somebody answered.
    pub is_running: bool,
    /// It is over.
    pub is_over: bool,
}

type Key = (ChannelId, CallId);

/// The calls of everybody on this node.
#[derive(Default)]
pub(crate) struct CallsOf(Mutex<HashMap<UserId, BTreeMap<Key, Arc<CallView>>>>);

impl CallsOf {
    /// How a call stands now.
    pub fn note(&self, view: &Arc<CallView>) {
        let mut all = lock(&self.0);
        let people = view.people.iter().map(|(user, _)| user);
        for user in people.chain([&view.caller]) {
            let calls = all.entry(user.clone()).or_default();
            calls.insert((view.channel.clone(), view.call.clone()), Arc::clone(view));
        }
    }

    /// It is over.
    pub fn end(&self, key: &Key, people: &[UserId]) {
        let mut all = lock(&self.0);
        for user in people {
            if let Some(calls) = all.get_mut(user) {
                calls.remove(key);
                if calls.is_empty() {
                    all.remove(user);
                }
            }
        }
    }

    /// Does somebody talk in another call?
    pub fn is_busy(&self, user: &UserId, but: &Key) -> bool {
        let talks = |view: &CallView| {
            let answered =
                |(one, callee): &(UserId, Callee)| one == user && matches!(callee, Callee::Answered { .. });
            view.is_running && (view.caller == *user || view.people.iter().any(answered))
        };
        lock(&self.0).get(user).is_some_and(|calls| calls.iter().any(|(key, view)| key != but && talks(view)))
    }

    /// Those that ring for somebody, or run with them.
    pub fn of(&self, user: &UserId) -> Vec<Arc<CallView>> {
        lock(&self.0).get(user).map(|calls| calls.values().cloned().collect()).unwrap_or_default()
    }
}
