//! Appending to the log: compare-and-set, one batch at a time, and what its answers mean.

use super::{Output, Partition, Standing};
use crate::event::{Entry, Record};

/// What is to be appended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Append {
    /// The last number that the log must have; otherwise nothing of this is appended.
    pub expected: u64,
    /// All of these, or none.
    pub records: Vec<Record>,
}

/// What the log answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Appended {
    /// It is there, and stays.
    Committed,
    /// The log does not end at the number expected. `found` is the incarnation and append of the entry right behind that number, if
    /// there is one.
    Conflict {
        /// Whose it is.
        found: Option<(u64, u64)>,
    },
    /// No answer came: it may be there or not.
    Unknown,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Flight {
    append: Append,
    /// Handed out and not answered.
    pending: bool,
    /// An answer was lost: the entries may be in the log.
    doubtful: bool,
}

impl Partition {
    pub(super) fn stage(&mut self, entry: Entry) {
        self.state.head.n += 1;
        self.staged_bytes += entry.weight();
        self.staged.push_back(entry);
    }

    /// What to append now; the same again after [`Appended::Unknown`]. `None` while an append is on its way.
    pub fn poll_append(&mut self) -> Option<Append> {
        if self.flight.is_none() && !self.staged.is_empty() {
            self.appends += 1;
            let count = self.fitting();
            let (incarnation, append) = (self.incarnation, self.appends);
            let entries: Vec<Entry> = self.staged.drain(..count).collect();
            self.staged_bytes -= entries.iter().map(Entry::weight).sum::<usize>();
            let records = entries.into_iter().map(|entry| Record { incarnation, append, entry }).collect();
            let append = Append { expected: self.committed, records };
            self.flight = Some(Flight { append, pending: false, doubtful: false });
        }
        let flight = self.flight.as_mut().filter(|flight| !flight.pending)?;
        flight.pending = true;
        Some(flight.append.clone())
    }

    /// How many entries the next append takes.
    fn fitting(&self) -> usize {
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            let before = bytes;
            bytes += entry.weight();
            before < self.limits.batch_bytes
        };
        self.staged.iter().take(self.limits.batch).take_while(fits).count()
    }

    /// The fate of what [`Self::poll_append`] gave.
    pub fn appended(&mut self, answer: Appended) {
        let Some(flight) = self.flight.as_mut().filter(|flight| flight.pending) else { return };
        let own = Some((self.incarnation, self.appends));
        match answer {
            Appended::Unknown => (flight.pending, flight.doubtful) = (false, true),
            Appended::Committed => self.settle(),
            // The retry met the first try: it had arrived.
            Appended::Conflict { found } if flight.doubtful && found == own => self.settle(),
            Appended::Conflict { .. } => self.depose(),
        }
    }

    fn settle(&mut self) {
        if let Some(flight) = self.flight.take() {
            self.committed += flight.append.records.len() as u64;
        }
    }

    /// Nothing that was not committed is told: whoever asked hears nothing and asks the next owner.
    fn depose(&mut self) {
        self.standing = Standing::Deposed;
        self.flight = None;
        self.staged.clear();
        self.staged_bytes = 0;
        let committed = self.committed;
        self.held.retain(|(n, _)| *n <= committed);
        self.state.head.n = committed;
        self.flush_at = None;
        self.waiting = Default::default();
        self.held.push_back((committed, Output::Deposed));
    }
}
