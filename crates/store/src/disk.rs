//! What a queue and a log need of a file system.

use std::io;

/// One directory of files, owned by one queue or one log. Clones are the same directory.
///
/// Creating and removing a file lasts once [`Disk::sync`] has returned `Ok`; before, either may be undone by a crash.
pub trait Disk: Clone + Send + 'static {
    /// An open file.
    type File: File;

    /// The names of all files, in any order.
    ///
    /// # Errors
    /// Those of the system.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Makes an empty file.
    ///
    /// # Errors
    /// `AlreadyExists`, and those of the system.
    fn create(&mut self, name: &str) -> io::Result<Self::File>;

    /// Opens a file that is there.
    ///
    /// # Errors
    /// `NotFound`, and those of the system.
    fn open(&mut self, name: &str) -> io::Result<Self::File>;

    /// Removes a file.
    ///
    /// # Errors
    /// `NotFound`, and those of the system.
    fn remove(&mut self, name: &str) -> io::Result<()>;

    /// Makes what was created and removed last.
    ///
    /// # Errors
    /// Those of the system.
    fn sync(&mut self) -> io::Result<()>;
}

/// An open file. What is in it lasts once [`File::sync`] has returned `Ok`; of what was written after, a crash keeps any part. After
/// a sync that failed nothing is known of what was written since the last one that succeeded, and no later sync says more: that is how
/// Linux behaves.
pub trait File: Send + 'static {
    /// Its length in bytes.
    ///
    /// # Errors
    /// Those of the system.
    fn size(&self) -> io::Result<u64>;

    /// Fills `into` from `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file is shorter, and those of the system.
    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> io::Result<()>;

    /// Writes at the end.
    ///
    /// # Errors
    /// Those of the system; a part may have been written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Cuts it to `size` bytes.
    ///
    /// # Errors
    /// Those of the system.
    fn truncate(&mut self, size: u64) -> io::Result<()>;

    /// Makes what was written and cut last.
    ///
    /// # Errors
    /// Those of the system.
    fn sync(&mut self) -> io::Result<()>;
}
