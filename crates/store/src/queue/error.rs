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

/// An entry cannot be read.
#[derive(Debug)]
pub enum ReadError {
    /// The disk failed.
    Disk(io::Error),
    /// What is there is not what was written.
    Damaged {
        /// The file.
        file: String,
        /// The place in it, in bytes.
        offset: u64,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(error) => write!(f, "the disk failed: {error}"),
            Self::Damaged { file, offset } => write!(f, "{file} is damaged at byte {offset}"),
        }
    }
}

impl std::error::Error for ReadError {}

/// A queue cannot be opened.
#[derive(Debug)]
pub enum OpenError {
    /// The disk failed.
    Disk(io::Error),
    /// A file is not as it was written, and not because a write was interrupted.
    Damaged {
        /// The file.
        file: String,
        /// The first place in it that is not right, in bytes.
        offset: u64,
        /// What is not right there.
        what: &'static str,
    },
    /// A file between two others is not there.
    Missing {
        /// Its name.
        file: String,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(error) => write!(f, "the disk failed: {error}"),
            Self::Damaged { file, offset, what } => {
                write!(
                    f,
                    "{file} is damaged at byte {offset}: {what}; restore it, or move all files away to begin anew"
                )
            }
            Self::Missing { file } => {
                write!(
                    f,
                    "{file} is missing between others; restore it, or move all files away to begin anew"
                )
            }
        }
    }
}

impl std::error::Error for OpenError {}

/// What opening has found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Recovered {
    /// Entries that are not finished.
    pub pending: usize,
    /// Bytes that were cut off: a commit that was interrupted.
    pub torn: u64,
}
