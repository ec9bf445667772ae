//! Checkpoints: the state of one partition at a position, each in a file of its own. It counts once the log says so: a file of which
//! the log knows nothing is what a crash left.
//!
//! ```text
//! head     magic "STOACKP", version 1 | partition | n
//! payload  its size and checksum are in the log
//! ```

use std::io;
use std::sync::PoisonError;

use super::Position;
use super::read::Reader;
use super::state::Checkpoint;
use crate::ReadError;
use crate::disk::{Disk, File};
use crate::frame::{self, Format, HEAD, Head, checksum};

const FORMAT: Format = Format { magic: b"STOACKP", version: 1 };

/// The file of a checkpoint.
pub(super) fn name(partition: u16, checkpoint: &Checkpoint) -> String {
    format!("{partition:05}-{:020}-{:010}.ckp", checkpoint.at.n, checkpoint.attempt)
}

/// Is a file of this name a checkpoint?
pub(super) fn is_name(name: &str) -> bool {
    name.ends_with(".ckp")
}

/// A checkpoint that lasts, and is not yet in use: [`super::Log::checkpoint`] does that.
#[derive(Debug)]
pub struct Saved {
    pub(super) partition: u16,
    pub(super) checkpoint: Checkpoint,
}

impl<D: Disk> Reader<D> {
    /// Writes the state of a partition after its event `n` to a file and waits until it lasts, on the thread of the caller: the writer
    /// goes on meanwhile. What is not put to use is removed when the log is opened again.
    ///
    /// # Errors
    /// Those of the disk; and `InvalidInput` when the partition has no event `n`, or a checkpoint that reaches as far.
    pub fn save_checkpoint(&mut self, partition: u16, n: u64, state: &[u8]) -> io::Result<Saved> {
        let (at, attempt) = self.may_save(partition, n).ok_or(io::ErrorKind::InvalidInput)?;
        let checkpoint = Checkpoint { at, size: state.len() as u64, sum: checksum(&[state]), attempt };
        let disk = self.disk();
        let mut file = frame::create(disk, &name(partition, &checkpoint))?;
        file.append(&FORMAT.head(u64::from(partition), n))?;
        file.append(state)?;
        // Where this fails, another try has another file.
        file.sync()?;
        disk.sync()?;
        Ok(Saved { partition, checkpoint })
    }

    /// The partition's checkpoint: the position that it covers, and the state there. `None`: it has none.
    ///
    /// # Errors
    /// When the disk failed, or has not kept what was written.
    pub fn checkpoint(&mut self, partition: u16) -> Result<Option<(Position, Vec<u8>)>, ReadError> {
        loop {
            let Some(checkpoint) = self.checkpoint_of(partition) else { return Ok(None) };
            match self.read_checkpoint(partition, &checkpoint) {
                // A newer one took its place.
                Err(ReadError::Disk(error))
                    if error.kind() == io::ErrorKind::NotFound
                        && self.checkpoint_of(partition) != Some(checkpoint) => {}
                read => return Ok(Some((checkpoint.at, read?))),
            }
        }
    }

    fn may_save(&self, partition: u16, n: u64) -> Option<(Position, u32)> {
        let mut view = self.view().write().unwrap_or_else(PoisonError::into_inner);
        let one = view.state.partitions.get(&partition)?;
        let is_newer = one.checkpoint.is_none_or(|checkpoint| checkpoint.at.n < n);
        let at = (is_newer && n > 0 && n <= one.head).then(|| one.position(n))?;
        view.saves += 1;
        Some((at, view.saves))
    }

    fn checkpoint_of(&self, partition: u16) -> Option<Checkpoint> {
        let view = self.view().read().unwrap_or_else(PoisonError::into_inner);
        view.state.partitions.get(&partition)?.checkpoint
    }

    fn read_checkpoint(&mut self, partition: u16, checkpoint: &Checkpoint) -> Result<Vec<u8>, ReadError> {
        let name = name(partition, checkpoint);
        let mut bytes = self
            .disk()
            .open(&name)
            .and_then(|mut file| frame::read_all(&mut file))
            .map_err(ReadError::Disk)?;
        let damaged = |offset| ReadError::Damaged { file: name.clone(), offset };
        if FORMAT.read_head(&bytes, u64::from(partition)) != Head::Good(checkpoint.at.n) {
            return Err(damaged(0));
        }
        bytes.drain(..HEAD);
        let is_whole = bytes.len() as u64 == checkpoint.size && checksum(&[&bytes]) == checkpoint.sum;
        if is_whole { Ok(bytes) } else { Err(damaged(HEAD as u64)) }
    }
}

/// Is the file of a checkpoint there, as long as it should be?
pub(super) fn check<D: Disk>(
    disk: &mut D,
    partition: u16,
    checkpoint: &Checkpoint,
) -> Result<(), crate::OpenError> {
    let file = name(partition, checkpoint);
    let size = match disk.open(&file).and_then(|file| file.size()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(crate::OpenError::Missing { file });
        }
        size => size.map_err(crate::OpenError::Disk)?,
    };
    if size == checkpoint.size + HEAD as u64 {
        return Ok(());
    }
    Err(crate::OpenError::Damaged { file, offset: size, what: "a checkpoint does not end where it did" })
}
