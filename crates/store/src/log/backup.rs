//! Copies of a log, made while it is written to, and logs made of copies.
//!
//! ```text
//! file "backup"   head: magic "STOABAK", version 1 | 0 | number of partitions
//!                 frame, body: files (4) | length of the name (2), name, size (8), checksum (4) …
//! ```

use std::io;
use std::sync::PoisonError;
use std::{collections::BTreeSet, fmt};

use super::read::Reader;
use super::{Log, Opened, Settings, checkpoint, recover};
use crate::OpenError;
use crate::disk::{Disk, File};
use crate::frame::{self, FRAME, Format, HEAD, Head, digest, u16_at, u32_at, u64_at};

const FORMAT: Format = Format { magic: b"STOABAK", version: 1 };
/// The list of what is in a backup. Written last: without it there is none.
const LIST: &str = "backup";
/// There while a restore is under way.
const UNDER_WAY: &str = "restoring";
/// Bytes that are copied at once.
const PIECE: usize = 1 << 20;

/// What a backup holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BackedUp {
    /// Files.
    pub files: usize,
    /// In all of them together.
    pub bytes: u64,
}

/// No backup was made, or none restored.
#[derive(Debug)]
pub enum BackupError {
    /// One of the disks failed.
    Disk(io::Error),
    /// There are files where it was to be written.
    NotEmpty,
    /// What should be a backup is none, or not a whole one; the sentence says what to do.
    NotABackup(String),
    /// The log that was restored cannot be opened.
    Open(OpenError),
}

impl fmt::Display for BackupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(error) => write!(f, "the disk failed: {error}"),
            Self::NotEmpty => {
                f.write_str("the directory is not empty: name one that is, or is not there yet")
            }
            Self::NotABackup(what) => f.write_str(what),
            Self::Open(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for BackupError {}

/// A file in a backup.
struct Listed {
    name: String,
    size: u64,
    sum: u32,
}

/// A directory that is not a log, though there are parts of one.
pub(super) fn refuse(names: &[String]) -> Result<(), OpenError> {
    if names.iter().any(|name| name == UNDER_WAY) {
        return Err(OpenError::NotALog(
            "a restore did not end here: remove all files of this directory, and restore again",
        ));
    }
    if names.iter().any(|name| name == LIST) {
        return Err(OpenError::NotALog("this is a backup: restore it into another directory, and open that"));
    }
    Ok(())
}

impl<D: Disk> Reader<D> {
    /// Copies all that is committed now to another disk, which has to be empty, while appends go on. No segment is removed meanwhile.
    /// It lasts when this returns.
    ///
    /// # Errors
    /// See [`BackupError`]. What was written until then is no backup.
    pub fn backup<T: Disk>(&mut self, into: &mut T) -> Result<BackedUp, BackupError> {
        if !into.names().map_err(BackupError::Disk)?.is_empty() {
            return Err(BackupError::NotEmpty);
        }
        let (files, partitions) = self.begin_copy();
        let copied = self.copy(&files, partitions, into);
        self.view().write().unwrap_or_else(PoisonError::into_inner).copies -= 1;
        copied.map_err(BackupError::Disk)
    }

    /// What is to be copied: names, and how many bytes of each; none of them is removed from now on.
    fn begin_copy(&self) -> (Vec<(String, u64)>, u64) {
        let mut view = self.view().write().unwrap_or_else(PoisonError::into_inner);
        view.copies += 1;
        let segments = view.state.segments.iter().copied().chain([(view.active, view.size)]);
        let mut files: Vec<(String, u64)> =
            segments.map(|(number, size)| (frame::name(number), size)).collect();
        let checkpoints =
            view.state.partitions.iter().filter_map(|(number, one)| Some((*number, one.checkpoint?)));
        files.extend(
            checkpoints.map(|(partition, one)| (checkpoint::name(partition, &one), one.size + HEAD as u64)),
        );
        (files, u64::from(self.partitions()))
    }

    fn copy<T: Disk>(
        &mut self,
        files: &[(String, u64)],
        partitions: u64,
        into: &mut T,
    ) -> io::Result<BackedUp> {
        let mut listed = Vec::with_capacity(files.len());
        for (name, size) in files {
            let sum = copy(self.disk(), into, name, *size)?;
            listed.push(Listed { name: name.clone(), size: *size, sum });
        }
        into.sync()?;
        let mut list = into.create(LIST)?;
        list.append(&FORMAT.head(0, partitions))?;
        list.append(&frame::frame(0, HEAD as u64, &list_bytes(&listed)))?;
        list.sync()?;
        into.sync()?;
        Ok(BackedUp { files: listed.len(), bytes: files.iter().map(|(_, size)| size).sum() })
    }
}

/// Makes a log of a backup, on a disk that has to be empty. What is appended to it is in the epoch of the settings, which must be above
/// all that were, and never have been used: positions that were given after the backup are known to be lost then.
///
/// # Errors
/// See [`BackupError`]. What was written until then cannot be opened as a log.
pub fn restore<S: Disk, D: Disk>(
    mut from: S,
    mut into: D,
    settings: Settings,
) -> Result<(Log<D>, Opened), BackupError> {
    if !into.names().map_err(BackupError::Disk)?.is_empty() {
        return Err(BackupError::NotEmpty);
    }
    let (listed, partitions) = read_list(&mut from)?;
    if partitions != u64::from(settings.partitions) {
        let (made, asked) = (partitions as u16, settings.partitions);
        return Err(BackupError::Open(OpenError::Partitions { made, asked }));
    }
    let disk = BackupError::Disk;
    into.create(UNDER_WAY).map_err(disk)?;
    into.sync().map_err(disk)?;
    for file in &listed {
        let sum = copy(&mut from, &mut into, &file.name, file.size).map_err(disk)?;
        if sum != file.sum {
            return Err(BackupError::NotABackup(format!(
                "{} of the backup is damaged: take another backup",
                file.name
            )));
        }
    }
    into.sync().map_err(disk)?;
    let log = recover::open(into.clone(), settings.clamped(), recover::Source::Backup)
        .map_err(BackupError::Open)?;
    into.remove(UNDER_WAY).map_err(disk)?;
    into.sync().map_err(disk)?;
    Ok(log)
}

/// Copies the first `size` bytes of a file and waits until they last. Returns their checksum.
fn copy<S: Disk, D: Disk>(from: &mut S, into: &mut D, name: &str, size: u64) -> io::Result<u32> {
    let (mut from, mut into) = (from.open(name)?, into.create(name)?);
    let mut sum = digest();
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    while at < size {
        let length = (size - at).min(PIECE as u64) as usize;
        from.read_at(at, &mut piece[..length])?;
        into.append(&piece[..length])?;
        sum.update(&piece[..length]);
        at += length as u64;
    }
    into.sync()?;
    Ok(sum.finalize())
}

fn list_bytes(listed: &[Listed]) -> Vec<u8> {
    let mut body = (listed.len() as u32).to_le_bytes().to_vec();
    for file in listed {
        body.extend_from_slice(&(file.name.len() as u16).to_le_bytes());
        body.extend_from_slice(file.name.as_bytes());
        body.extend_from_slice(&file.size.to_le_bytes());
        body.extend_from_slice(&file.sum.to_le_bytes());
    }
    body
}

/// What a backup lists, and for how many partitions it was made.
fn read_list<S: Disk>(from: &mut S) -> Result<(Vec<Listed>, u64), BackupError> {
    let no = |what: &str| BackupError::NotABackup(format!("{what}: take another backup"));
    let mut file = match from.open(LIST) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(no("this is no backup, or one that was not finished"));
        }
        file => file.map_err(BackupError::Disk)?,
    };
    let bytes = frame::read_all(&mut file).map_err(BackupError::Disk)?;
    let partitions = match FORMAT.read_head(&bytes, 0) {
        Head::Good(partitions) => partitions,
        Head::Newer(version) => {
            let error = OpenError::Newer { file: LIST.to_owned(), version, known: FORMAT.version };
            return Err(BackupError::Open(error));
        }
        Head::Bad => return Err(no("the list of the backup is damaged")),
    };
    let listed = frame::read_frame(0, &bytes, HEAD).filter(|body| HEAD + FRAME + body.len() == bytes.len());
    let listed = listed.and_then(parse_list).ok_or_else(|| no("the list of the backup is damaged"))?;
    Ok((listed, partitions))
}

fn parse_list(body: &[u8]) -> Option<Vec<Listed>> {
    let mut at = 4;
    let mut seen = BTreeSet::new();
    let mut listed = Vec::new();
    for _ in 0..u32_at(body, 0)? {
        let length = usize::from(u16_at(body, at)?);
        let name = std::str::from_utf8(body.get(at + 2..at + 2 + length)?).ok()?.to_owned();
        at += 2 + length;
        // Names of the log's own files alone: nothing outside the directory.
        if frame::number_of(&name).is_none() && !checkpoint::is_name(&name)
            || name.contains('/')
            || !seen.insert(name.clone())
        {
            return None;
        }
        listed.push(Listed { name, size: u64_at(body, at)?, sum: u32_at(body, at + 8)? });
        at += 12;
    }
    (at == body.len()).then_some(listed)
}
