//! What can go wrong with files.

use std::{fmt, io};

/// What was committed cannot be read.
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
    /// A record was written by a later version of this program.
    Newer {
        /// The file.
        file: String,
        /// The place in it, in bytes.
        offset: u64,
        /// The version of the record.
        version: u8,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(error) => write!(f, "the disk failed: {error}"),
            Self::Damaged { file, offset } => {
                write!(f, "{file} is damaged at byte {offset}: restore it, or restore a backup")
            }
            Self::Newer { file, offset, version } => write!(
                f,
                "{file} has a record of version {version} at byte {offset}: start the newer program that wrote it"
            ),
        }
    }
}

impl std::error::Error for ReadError {}

/// A queue or a log cannot be opened.
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
    /// A file between two others, or one that another names, is not there.
    Missing {
        /// Its name.
        file: String,
    },
    /// A file was written by a later version of this program, which may say what this one does not understand.
    Newer {
        /// The file.
        file: String,
        /// The version of its format.
        version: u8,
        /// The newest that this program knows.
        known: u8,
    },
    /// A log was made for another number of partitions, which decides which partition a channel is in.
    Partitions {
        /// That it was made for.
        made: u16,
        /// That was asked for.
        asked: u16,
    },
    /// The files are a backup, or of a restore that did not end; the sentence says which, and what to do.
    NotALog(&'static str),
    /// An epoch that is to be begun is not above all that were.
    OldEpoch {
        /// Asked for.
        asked: u32,
        /// The highest that was.
        highest: u32,
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
                write!(f, "{file} is missing; restore it, or move all files away to begin anew")
            }
            Self::Newer { file, version, known } => write!(
                f,
                "{file} is of format version {version}, and this program knows versions up to {known}: start the newer program that wrote it, or restore a backup of before"
            ),
            Self::Partitions { made, asked } => write!(
                f,
                "the log was made for {made} partitions, not for {asked}: set the number back to {made}, it cannot be changed"
            ),
            Self::NotALog(what) => f.write_str(what),
            Self::OldEpoch { asked, highest } => {
                write!(f, "epoch {asked} is not above {highest}, which was used: name a higher one")
            }
        }
    }
}

impl std::error::Error for OpenError {}
