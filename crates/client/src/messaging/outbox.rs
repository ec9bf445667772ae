//! What a device sends in one channel, in order: numbers, what each follows, what is sent again, what is given up.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use wire::messaging::{Body, Command, Delete, Edit, Error, ErrorCode, React, Send, SendKind};

/// A send without an answer for so long is given up.
pub(super) const GIVEN_UP: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Sends of a channel that are on their way at a time; the server answers up to 256.
const FLYING: usize = 64;
/// Accepted numbers whose ids are remembered, for references to them, and refusals that may turn out.
const REMEMBERED: usize = 256;
/// A temporary refusal that does not say when to try again.
const RETRY: Duration = Duration::from_secs(1);

/// Which message is meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// By its id.
    Id(String),
    /// An own one of this channel, by its number: it may have no id yet.
    Own(u64),
}

/// Something to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Draft {
    /// A message.
    Message {
        /// What it says; by convention a map with a `text`.
        body: Body,
        /// The message that it answers.
        reply_to: Option<Target>,
        /// The message whose thread it is in.
        thread: Option<Target>,
        /// Who is named in it.
        mentions: Vec<String>,
        /// All members are named in it.
        everyone: bool,
    },
    /// An event of the application, kept as messages are.
    Custom {
        /// What it is called.
        name: String,
        /// What it says.
        body: Body,
    },
    /// A message says something else.
    Edit {
        /// Which.
        event: Target,
        /// What it says now.
        body: Body,
    },
    /// A message says nothing any more.
    Delete {
        /// Which.
        event: Target,
    },
    /// A reaction, given or taken back.
    React {
        /// To which message.
        event: Target,
        /// What is shown.
        emoji: String,
        /// Given.
        on: bool,
    },
}

impl Draft {
    /// A message that says this.
    pub fn text(text: &str) -> Self {
        let json = serde_json::json!({ "text": text }).to_string();
        let body = Body::parse(json.as_bytes()).expect("a map of one text is JSON, one level deep");
        Self::Message { body, reply_to: None, thread: None, mentions: Vec::new(), everyone: false }
    }

    fn targets(&mut self) -> Vec<&mut Target> {
        match self {
            Self::Message { reply_to, thread, .. } => reply_to.iter_mut().chain(thread).collect(),
            Self::Custom { .. } => Vec::new(),
            Self::Edit { event, .. } | Self::Delete { event } | Self::React { event, .. } => vec![event],
        }
    }
}

/// What became of a send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is stored, as this event.
    Accepted(String),
    /// It was not stored, and will not be.
    Refused(Error),
    /// A copy of it may be stored: one had no answer, and another was refused. [`Outcome::Refused`] may follow.
    Unknown(Error),
}

/// A send with its number.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub csn: u64,
    draft: Draft,
    after: Vec<(String, String)>,
    at: Instant,
    flying: bool,
    /// Regions in which a copy without an answer was tried; "": not known.
    lost: BTreeSet<String>,
}

/// A send that is to leave.
pub(super) struct Leaving {
    pub csn: u64,
    pub follows: u64,
    draft: Draft,
    after: Vec<(String, String)>,
}

/// What was settled: number and outcome.
pub(super) type Settled = Vec<(u64, Outcome)>;

#[derive(Debug, Default)]
pub(super) struct Outbox {
    entries: VecDeque<Entry>,
    /// The last number that the server accepted, as it said last.
    last: u64,
    highest: u64,
    held: Option<Instant>,
    ids: BTreeMap<u64, String>,
    unknown: Vec<(Entry, Error)>,
}

impl Outbox {
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// A new send; its number.
    pub fn compose(&mut self, now: Instant, mut draft: Draft, after: Vec<(String, String)>) -> u64 {
        self.highest += 1;
        for target in draft.targets() {
            resolve(target, &self.ids);
        }
        let lost = BTreeSet::new();
        self.entries.push_back(Entry { csn: self.highest, draft, after, at: now, flying: false, lost });
        self.highest
    }

    /// The server says which number it accepted last.
    pub fn sync(&mut self, last: u64) {
        self.last = last;
        self.highest = self.highest.max(last);
    }

    /// What is to leave now, in order.
    pub fn take(&mut self, now: Instant) -> Vec<Leaving> {
        let mut out = Vec::new();
        if self.held.is_some_and(|held| now < held) {
            return out;
        }
        let mut follows = self.last;
        for entry in self.entries.iter_mut().take(FLYING) {
            if entry.draft.targets().iter().any(|target| matches!(target, Target::Own(_))) {
                break;
            }
            if !entry.flying {
                entry.flying = true;
                let follows = if entry.csn > self.last { follows } else { entry.csn - 1 };
                let (draft, after) = (entry.draft.clone(), entry.after.clone());
                out.push(Leaving { csn: entry.csn, follows, draft, after });
            }
            follows = follows.max(entry.csn);
        }
        out
    }

    /// When to ask again what is to leave, or is given up.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let first = self.entries.front()?;
        Some(self.held.unwrap_or(first.at + GIVEN_UP))
    }

    /// What is too old is given up, and what was held back is not any more.
    pub fn handle_timeout(&mut self, now: Instant) -> Settled {
        self.held = self.held.filter(|held| now < *held);
        let old = |entry: &&Entry| now >= entry.at + GIVEN_UP;
        let old: Vec<u64> = self.entries.iter().filter(old).map(|entry| entry.csn).collect();
        let late = Error::last(ErrorCode::Expired, "no answer within seven days");
        old.into_iter().flat_map(|csn| self.give_up(csn, &late)).collect()
    }

    /// The connection is gone, which stood in this region ("": not known).
    pub fn disconnected(&mut self, region: &str) {
        self.held = None;
        for entry in self.entries.iter_mut().filter(|entry| entry.flying) {
            entry.flying = false;
            entry.lost.insert(region.to_owned());
        }
    }

    /// A send was stored, as its answer says or the stream.
    pub fn accepted(&mut self, csn: u64, event: &str) -> Settled {
        self.last = self.last.max(csn);
        self.ids.insert(csn, event.to_owned());
        if self.ids.len() > REMEMBERED {
            self.ids.pop_first();
        }
        let mut settled = self.clear_up(csn, event.split('.').next().unwrap_or_default());
        let Some(at) = self.entries.iter().position(|entry| entry.csn == csn) else { return settled };
        self.entries.remove(at);
        for target in self.entries.iter_mut().flat_map(|entry| entry.draft.targets()) {
            resolve(target, &self.ids);
        }
        settled.push((csn, Outcome::Accepted(event.to_owned())));
        settled
    }

    /// A send was refused. Empty: it is to be sent again.
    pub fn refused(&mut self, now: Instant, csn: u64, error: &Error) -> Settled {
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.csn == csn) else { return Vec::new() };
        entry.flying = false;
        match error.code {
            ErrorCode::CsnGap => self.sync(error.last.unwrap_or(self.last)),
            _ if !error.is_final => {
                let until = now + error.retry_after.map_or(RETRY, Duration::from_millis);
                self.held = Some(self.held.map_or(until, |held| held.max(until)));
            }
            _ => return self.give_up(csn, error),
        }
        Vec::new()
    }

    /// Reports a send that is not tried any more, and those that name it.
    fn give_up(&mut self, csn: u64, error: &Error) -> Settled {
        let Some(at) = self.entries.iter().position(|entry| entry.csn == csn) else { return Vec::new() };
        let Some(entry) = self.entries.remove(at) else { return Vec::new() };
        let mut settled = if entry.lost.is_empty() {
            vec![(csn, Outcome::Refused(error.clone()))]
        } else {
            self.unknown.push((entry, error.clone()));
            if self.unknown.len() > REMEMBERED {
                self.unknown.remove(0);
            }
            vec![(csn, Outcome::Unknown(error.clone()))]
        };
        let lack = Error::last(ErrorCode::NoTarget, "what it names was not sent");
        let named = Target::Own(csn);
        let orphans = self.entries.iter_mut().filter_map(|entry| {
            let orphan = entry.draft.targets().iter().any(|target| **target == named);
            orphan.then_some(entry.csn)
        });
        for orphan in orphans.collect::<Vec<_>>() {
            settled.extend(self.give_up(orphan, &lack));
        }
        settled
    }

    /// A later number was accepted where the copies of these were tried: none of them was stored.
    fn clear_up(&mut self, csn: u64, region: &str) -> Settled {
        let mut settled = Vec::new();
        self.unknown.retain(|(entry, error)| {
            let clear = entry.csn < csn && entry.lost.iter().all(|tried| tried == region);
            if clear {
                settled.push((entry.csn, Outcome::Refused(error.clone())));
            }
            !clear && entry.csn != csn
        });
        settled
    }
}

/// The id of an own message that has one now.
fn resolve(target: &mut Target, ids: &BTreeMap<u64, String>) {
    if let Target::Own(csn) = target
        && let Some(id) = ids.get(csn)
    {
        *target = Target::Id(id.clone());
    }
}

impl Leaving {
    /// The command.
    pub fn command(self, channel: &str, seen: Vec<String>) -> Command {
        let (channel, csn, follows, after) = (channel.to_owned(), self.csn, Some(self.follows), self.after);
        match self.draft {
            Draft::Message { body, reply_to, thread, mentions, everyone } => {
                let (kind, name) = (SendKind::Message, None);
                let (reply_to, thread) = (reply_to.map(id), thread.map(id));
                Command::Send(Send {
                    channel,
                    csn,
                    follows,
                    body,
                    kind,
                    name,
                    reply_to,
                    thread,
                    mentions,
                    everyone,
                    seen,
                    after,
                })
            }
            Draft::Custom { name, body } => {
                let (kind, name, reply_to, thread) = (SendKind::Custom, Some(name), None, None);
                let (mentions, everyone) = (Vec::new(), false);
                Command::Send(Send {
                    channel,
                    csn,
                    follows,
                    body,
                    kind,
                    name,
                    reply_to,
                    thread,
                    mentions,
                    everyone,
                    seen,
                    after,
                })
            }
            Draft::Edit { event, body } => {
                Command::Edit(Edit { channel, csn, follows, event: id(event), body, seen, after })
            }
            Draft::Delete { event } => {
                Command::Delete(Delete { channel, csn, follows, event: id(event), seen, after })
            }
            Draft::React { event, emoji, on } => {
                Command::React(React { channel, csn, follows, event: id(event), emoji, on, seen, after })
            }
        }
    }
}

fn id(target: Target) -> String {
    match target {
        Target::Id(id) => id,
        // `take` stops at what names a number: the server refuses this with `no_target`.
        Target::Own(_) => String::new(),
    }
}
