//! What can go wrong.

use std::{fmt, io};

/// Why an entry was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The queue has all the bytes that it may have.
    Full,
    /// The payload is longer than it may be.
    TooLarge,
    /// Much is staged: commit, then try again.
    CommitFirst,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "the queue holds as much as it may",
            Self::TooLarge => "the entry is larger than it may be",
            Self::CommitFirst => "much is staged: commit first",
        })
    }
}

impl std::error::Error for Refused {}

/// The disk did not take a commit.
#[derive(Debug)]
pub struct CommitError(pub io::Error);

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the disk did not take it: {}", self.0)
    }
}

impl std::error::Error for CommitError {}

/// What opening has found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Recovered {
    /// Entries that are not finished.
    pub pending: usize,
    /// Bytes that were cut off: a commit that was interrupted.
    pub torn: u64,
}
