//! One channel of a device: where its stream stands, what it sends, what it has seen.

use std::collections::BTreeMap;
use std::time::Instant;

use wire::messaging::{From, Item, Resume, Subscribe, Subscribed};

use super::outbox::Outbox;

/// Tokens that a send presents at most.
const SEEN: usize = 8;

/// From where a channel is opened for the first time; afterwards it goes on where it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Begin {
    /// Behind everything.
    Head,
    /// So many messages before that.
    Last(u32),
}

/// What is asked of a channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub begin: Begin,
    pub open: bool,
}

#[derive(Debug, Default)]
pub(super) struct Channel {
    pub wanted: Option<Wanted>,
    pub cursor: Option<String>,
    pub outbox: Outbox,
    /// A subscription that was refused for a time is tried again then.
    pub retry: Option<Instant>,
    /// Where this connection's sends were accepted; "": not known.
    pub region: String,
    /// When the stream moved last, in the order of all channels.
    pub moved: u64,
    /// Answers proved these since the last send.
    seen: Vec<String>,
    /// After a reconnect: the cursor, until it was presented.
    resumed: Option<String>,
    /// By region, the id of the last item: what the next has to follow.
    reached: BTreeMap<String, String>,
    gaps: u32,
}

impl Channel {
    pub fn resume(&self, name: &str) -> Option<Resume> {
        let (wanted, cursor) = (self.wanted?, self.cursor.clone()?);
        Some(Resume { channel: name.to_owned(), cursor, open: Some(wanted.open) })
    }

    pub fn subscribe(&self, name: &str) -> Option<Subscribe> {
        let wanted = self.wanted?;
        let from = match (&self.cursor, wanted.begin) {
            (Some(cursor), _) => From::Cursor(cursor.clone()),
            (None, Begin::Head) => From::Head,
            (None, Begin::Last(n)) => From::Last(n),
        };
        Some(Subscribe { channel: name.to_owned(), from: Some(from), open: Some(wanted.open) })
    }

    /// The stream begins, or goes on.
    pub fn begin(&mut self, subscribed: &Subscribed) {
        self.resumed = self.cursor.take();
        self.cursor = Some(subscribed.cursor.clone());
        self.reached.clear();
        self.retry = None;
        self.outbox.sync(subscribed.csn);
    }

    /// Takes up to eight tokens to present.
    pub fn presented(&self) -> Vec<String> {
        self.resumed.iter().chain(&self.seen).take(SEEN).cloned().collect()
    }

    /// An answer's token covers those presented.
    pub fn covered(&mut self, presented: &[String], token: &str) {
        self.seen.retain(|token| !presented.contains(token));
        self.resumed = self.resumed.take().filter(|cursor| !presented.contains(cursor));
        self.saw(token);
    }

    /// A page, or an answer, proves this.
    pub fn saw(&mut self, token: &str) {
        self.seen.retain(|known| known != token);
        if self.seen.len() == SEEN - 1 {
            self.seen.remove(0);
        }
        self.seen.push(token.to_owned());
    }

    /// Nothing of the stream before counts any more.
    pub fn reset(&mut self, cursor: Option<String>) {
        self.cursor = cursor;
        self.seen.clear();
        self.resumed = None;
        self.reached.clear();
    }

    /// Takes the stream's next item. [`Next::Gap`] comes once: a stream that has it twice is taken as it is.
    pub fn next(&mut self, item: &Item) -> Next {
        let region = item.id.split('.').next().unwrap_or_default();
        let before = self.reached.get(region);
        if before.is_some_and(|before| !is_after(&item.id, before)) {
            return Next::Known;
        }
        if before.is_some() && item.prev.as_ref() != before && self.gaps == 0 {
            self.gaps += 1;
            return Next::Gap;
        }
        self.reached.insert(region.to_owned(), item.id.clone());
        Next::New
    }
}

/// What an item is to a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// The next one.
    New,
    /// Delivered before.
    Known,
    /// Something before it is missing.
    Gap,
}

/// Of one region: is this id behind that one?
fn is_after(id: &str, other: &str) -> bool {
    let place = |id: &str| {
        let mut parts = id.rsplitn(3, '.').map(|part| part.parse::<u64>().unwrap_or(0));
        let (n, epoch) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
        (epoch, n)
    };
    place(id) > place(other)
}
