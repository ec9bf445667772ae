//! The file system of the machine.

use std::fmt;
use std::fs::{self, OpenOptions, TryLockError};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, File};

/// Held as long as somebody uses the directory.
const LOCK: &str = "lock";

/// A directory, locked against other processes as long as there is a clone.
#[derive(Clone)]
pub struct Directory {
    path: PathBuf,
    /// The lock goes with it.
    _lock: Arc<fs::File>,
}

/// Why a directory cannot be used: a sentence that says what to do.
#[derive(Debug)]
pub struct DirectoryError(String);

impl fmt::Display for DirectoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DirectoryError {}

impl Directory {
    /// Opens `path`, and makes it where it is absent.
    ///
    /// # Errors
    /// When it cannot be made or written to, or somebody else uses it.
    pub fn open(path: &Path) -> Result<Self, DirectoryError> {
        let shown = path.display();
        let failed = |error: io::Error| {
            DirectoryError(format!(
                "the directory {shown} cannot be used ({error}): give this user the right to write to it, or name another"
            ))
        };
        fs::create_dir_all(path).map_err(failed)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path.join(LOCK));
        let lock = lock.map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: Arc::new(lock) }),
            Err(TryLockError::WouldBlock) => Err(DirectoryError(format!(
                "the directory {shown} is in use by another process: stop it, or name another directory"
            ))),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}

impl Disk for Directory {
    type File = RealFile;

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            // What has no text for a name, and what is no file, is not ours.
            if let Ok(name) = entry.file_name().into_string()
                && name != LOCK
                && entry.file_type()?.is_file()
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&mut self, name: &str) -> io::Result<RealFile> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(self.path.join(name))?;
        Ok(RealFile(file))
    }

    fn open(&mut self, name: &str) -> io::Result<RealFile> {
        Ok(RealFile(OpenOptions::new().read(true).write(true).open(self.path.join(name))?))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync(&mut self) -> io::Result<()> {
        fs::File::open(&self.path)?.sync_all()
    }
}

/// A file of the machine.
pub struct RealFile(fs::File);

impl File for RealFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(into, offset)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.seek(SeekFrom::End(0))?;
        self.0.write_all(bytes)
    }

    fn truncate(&mut self, size: u64) -> io::Result<()> {
        self.0.set_len(size)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}
