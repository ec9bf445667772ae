//! Who owns what.

use std::future::Future;

use crate::Failed;

/// Longest key and longest name of a node, in bytes.
pub const NAME_BYTES: usize = 256;
/// Most keys. Partitions and rooms' homes have one each.
pub const KEYS: usize = 65_536;

/// Records of who owns what, each changed by compare-and-set. Clones are the same records; any number of tasks may use them at a time.
///
/// - **One winner.** Of any number of changes that expect the same version, at most one is made, wherever they come from and however
///   late they arrive.
/// - **Versions** of a record rise with every change and are never used again, over a crash of any process. The version with which a node
///   took a record is its *incarnation*: no other owner, and not the same node later, ever has it.
/// - **Durability.** A change that was answered lasts, and so does what a read or a watcher has shown.
/// - **Nobody is expired.** A record stays as it is until somebody changes it; an outage changes nothing.
pub trait Ownership: Clone + Send + Sync + 'static {
    /// See [`Ownership::watch`].
    type Watcher: Watcher;

    /// The record of a key. [`Record::default`]: it was never changed.
    fn get(&self, key: &str) -> impl Future<Output = Result<Record, Failed>> + Send;

    /// Gives the record an owner, or none, if its version is `expected` (0: it was never changed).
    fn change(&self, key: &str, expected: u64, owner: Option<&str>) -> impl Future<Output = Changed> + Send;

    /// Shows the record of a key whenever it is another one than `known`.
    fn watch(&self, key: &str, known: u64) -> Self::Watcher;
}

/// Shows changes of one record.
pub trait Watcher: Send + 'static {
    /// The record, once its version is higher than that which was shown before. Changes in between are left out. It may be given up and
    /// called again.
    fn changed(&mut self) -> impl Future<Output = Result<Record, Failed>> + Send;
}

/// Who owns something.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Record {
    /// The node. `None`: nobody.
    pub owner: Option<String>,
    /// Rises with every change; 0: there was none.
    pub version: u64,
}

/// What became of a change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Changed {
    /// It is made; this is the record's version.
    Done(u64),
    /// It is not, and never will be: the record is this one.
    Conflict(Record),
    /// It may be made, or be later. Reading the record shows it.
    Unknown(Failed),
    /// It is not, and never will be: names are too long, there are too many keys, or the store is closed.
    Refused(Failed),
}
