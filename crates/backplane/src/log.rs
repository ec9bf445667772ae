//! The events of many partitions, each in one order.

use std::future::Future;

use bytes::Bytes;
use store::log::{Epoch, Position};

use crate::Failed;

/// Bytes of payloads after which one read brings no more events; it may bring one event beyond.
pub const READ_BYTES: usize = 1 << 20;

/// The logs of all partitions of one region. Clones are the same log; any number of tasks may use it at a time.
///
/// - **Order.** A partition's events have the numbers 1, 2, 3 … in the order of the appends; what one append brings follows each other
///   and is there as a whole or not at all. Nothing is promised between partitions.
/// - **Fencing.** An append names the head that it expects. Of any number of appends that expect the same head, at most one is
///   committed, wherever they come from and however late they arrive.
/// - **Durability.** What an append answered [`Appended::Committed`] for is there, over a crash of any process and machine that the
///   engine is made to survive; and so is whatever a read, a head or a follower has shown.
/// - **Epochs.** When a log was lost or restored, what is appended is in a new epoch, and says which position it follows; a head that
///   was seen before is then no longer expected, though its number may be the same.
/// - **Retention.** [`Log::trim`] removes from the beginning of a partition, and never what no checkpoint covers. What was removed is
///   left out of what is read.
/// - **Bounded.** Appends wait while much is on its way.
pub trait Log: Clone + Send + Sync + 'static {
    /// See [`Log::follow`].
    type Follower: Follower;

    /// How many partitions there are. Their numbers are those below.
    fn partitions(&self) -> u16;

    /// Appends events behind `expected`, if that is the head of the partition. Appends of one task that do not wait for each other may
    /// expect what the one before will make the head, and are tried in the order in which they were first polled.
    fn append(
        &self,
        partition: u16,
        expected: Position,
        payloads: Vec<Bytes>,
    ) -> impl Future<Output = Appended> + Send;

    /// Where the partition begins and ends. Two answers, to whomever, never go back in the order of asking.
    fn extent(&self, partition: u16) -> impl Future<Output = Result<Extent, Failed>> + Send;

    /// Committed events from number `from` on, in order, up to `events` of them and about [`READ_BYTES`]; at least one when there is
    /// one. Empty: there is none yet.
    fn read(
        &self,
        partition: u16,
        from: u64,
        events: usize,
    ) -> impl Future<Output = Result<Vec<Event>, Failed>> + Send;

    /// The committed events of these numbers, in the order given; those that retention removed, or that are not there yet, are left out.
    fn pick(
        &self,
        partition: u16,
        numbers: Vec<u64>,
    ) -> impl Future<Output = Result<Vec<Event>, Failed>> + Send {
        async move {
            let mut picked = Vec::with_capacity(numbers.len());
            for n in numbers {
                picked.extend(self.read(partition, n, 1).await?.into_iter().filter(|event| event.at.n == n));
            }
            Ok(picked)
        }
    }

    /// Follows a partition from the event after number `after` on.
    fn follow(&self, partition: u16, after: u64) -> Self::Follower;

    /// Keeps the state of the partition after its event `n`; the checkpoint before is forgotten once this one lasts. One that reaches no
    /// further than that fails.
    fn checkpoint(
        &self,
        partition: u16,
        n: u64,
        state: Bytes,
    ) -> impl Future<Output = Result<(), Failed>> + Send;

    /// The partition's checkpoint: the position that it covers, and the state there. `None`: it has none.
    fn latest_checkpoint(
        &self,
        partition: u16,
    ) -> impl Future<Output = Result<Option<(Position, Bytes)>, Failed>> + Send;

    /// The partition's events below number `first` are wanted no more. Fails, and removes nothing, when its checkpoint does not cover
    /// all of them.
    fn trim(&self, partition: u16, first: u64) -> impl Future<Output = Result<(), Failed>> + Send;

    /// Ends the log in this process: everything fails from now on.
    fn close(&self) -> impl Future<Output = ()> + Send;
}

/// Shows the events of one partition as they are committed.
pub trait Follower: Send + 'static {
    /// The next events: at least one, in order, without gaps, each once, all of them committed. What retention removed before it was
    /// shown is left out, which shows in the numbers. Waits while there is none. It may be given up and called again: nothing is lost.
    fn next(&mut self) -> impl Future<Output = Result<Vec<Event>, Failed>> + Send;
}

/// One event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// Where it is.
    pub at: Position,
    /// What was appended.
    pub payload: Bytes,
}

/// What became of an append.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Appended {
    /// It is there for good; this is the position of its last event.
    Committed(Position),
    /// It is not there, and never will be: the head is this one.
    Conflict(Position),
    /// It may be there, or come later. Nothing else may be tried before the same append, with the same expectation, has been tried
    /// again. A conflict then means that it was committed, if the event at its place is one's own.
    Unknown(Failed),
    /// It is not there, and never will be; the log could not take it. Trying again may help.
    Refused(Failed),
}

/// Where a partition begins and ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Extent {
    /// The number of the first event that is kept; one above the head: none is.
    pub first: u64,
    /// What an append has to expect: the number of the last event, 0 for none, in the epoch that the next will be in.
    pub head: Position,
    /// The position that the checkpoint covers.
    pub checkpoint: Option<Position>,
    /// The epochs that are known, oldest first.
    pub epochs: Vec<Epoch>,
}
