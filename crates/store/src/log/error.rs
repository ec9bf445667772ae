//! What can go wrong with a log that is open.

use std::{fmt, io};

use super::Position;

/// Why nothing was staged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The partition's head is another one than was expected: somebody else appended, or an epoch began.
    Conflict {
        /// Its head, with what is staged.
        head: Position,
    },
    /// A payload is longer than it may be, all of them together are, or there is none.
    Size,
    /// The log has no such partition.
    NoPartition,
    /// Much is staged: commit, then try again.
    CommitFirst,
    /// What is to go is not covered by a checkpoint that reaches up to this number, or the number was never given.
    Uncovered {
        /// The last number that the partition's checkpoint covers; 0: it has none.
        upto: u64,
    },
    /// A commit failed in such a way that nobody knows what is on the disk; see [`CommitError::Stopped`].
    Stopped,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict { head } => write!(f, "the partition's head is {head}, not what was expected"),
            Self::Size => f.write_str("there is nothing to append, or more than may be at once"),
            Self::NoPartition => f.write_str("the log has no such partition"),
            Self::CommitFirst => f.write_str("much is staged: commit first"),
            Self::Uncovered { upto } => {
                write!(f, "a checkpoint covers the partition up to {upto}: nothing above can go")
            }
            Self::Stopped => {
                f.write_str("the log stopped when the disk failed: end this process, and look at the disk")
            }
        }
    }
}

impl std::error::Error for Refused {}

/// A commit that failed.
#[derive(Debug)]
pub enum CommitError {
    /// Nothing of it is there, nor will be. The log goes on: later there may be room again.
    NotTaken(io::Error),
    /// Whether it is there shows only when the log is opened again: a sync failed, and no later sync would say more (Linux forgets
    /// which pages it could not write). The log takes nothing any more.
    Stopped(io::Error),
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTaken(error) => write!(f, "the disk did not take it: {error}"),
            Self::Stopped(error) => {
                write!(
                    f,
                    "the disk failed ({error}), and the log stopped: end this process, and look at the disk"
                )
            }
        }
    }
}

impl std::error::Error for CommitError {}
