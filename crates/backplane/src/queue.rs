//! A durable queue of things to do.

use std::future::Future;

use bytes::Bytes;

use crate::Failed;

/// A durable queue. Clones are the same queue; any number of tasks may use it at a time.
///
/// - **Order.** Numbers grow in the order of the appends; payloads of one append follow each other without others in between.
/// - **Durability.** What an append answered is there until it is finished, over a crash of the process and of the machine. An
///   append without an answer, or with an error, may or may not be there after a crash.
/// - **At least once.** That an entry is finished lasts soon after; a crash before brings the entry back.
/// - **Bounded.** A full queue takes nothing and loses nothing.
pub trait Queue: Clone + Send + Sync + 'static {
    /// Appends `payloads` and returns their numbers, once they last. Fewer numbers than payloads: the next one does not fit, and it and
    /// those after it were not taken.
    fn append(&self, payloads: Vec<Bytes>) -> impl Future<Output = Result<Vec<u64>, Failed>> + Send {
        self.exchange(payloads, Vec::new())
    }

    /// Appends, and finishes what the appended takes the place of. After a crash, of up to 16 MiB both have happened or neither.
    /// When not all was taken nothing was finished.
    fn exchange(
        &self,
        payloads: Vec<Bytes>,
        finished: Vec<u64>,
    ) -> impl Future<Output = Result<Vec<u64>, Failed>> + Send;

    /// An entry's payload. `None`: there is none of this number, or it is finished.
    fn read(&self, number: u64) -> impl Future<Output = Result<Option<Bytes>, Failed>> + Send;

    /// These entries are done with, and are not pending from now on. Others are ignored.
    fn finish(&self, numbers: Vec<u64>) -> impl Future<Output = Result<(), Failed>> + Send;

    /// The numbers of all entries that are not finished, oldest first.
    fn pending(&self) -> impl Future<Output = Result<Vec<u64>, Failed>> + Send;

    /// Waits until all that was finished lasts, and ends the queue: everything fails from now on.
    fn close(&self) -> impl Future<Output = ()> + Send;
}
