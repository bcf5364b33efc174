//! Output that is kept until its job has ended: in a file in memory, because nobody has to read that meanwhile.

use crate::child::os_error;
use doula_sys::fd::{self, OwnedFd};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

/// Up to this size it is copied, and the file is used again.
const SMALL: u64 = 1 << 20;

/// What a job wrote to one stream.
///
/// ```
/// use doula_host::jobs::Kept;
/// let kept = Kept::from(b"said\n".to_vec());
/// kept.write_to(&mut std::io::stdout())?;
/// assert_eq!(kept.bytes()?, b"said\n", "it can be had again");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Kept(Content);

#[derive(Debug, Default)]
enum Content {
    #[default]
    Nothing,
    Bytes(Vec<u8>),
    File(File, u64),
}

impl From<Vec<u8>> for Kept {
    fn from(bytes: Vec<u8>) -> Kept {
        Kept(Content::Bytes(bytes))
    }
}

impl Kept {
    /// What is in a file.
    ///
    /// # Errors
    /// Those of fstat(2).
    ///
    /// ```
    /// use doula_host::{jobs::Kept, shutdown::TempFile};
    /// use std::{fs::File, io::Write as _};
    /// let mut file = TempFile::new_in(std::env::temp_dir(), "said")?;
    /// file.file().write_all(b"said\n")?;
    /// assert_eq!(Kept::of(File::open(file.path())?)?.bytes()?, b"said\n");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn of(file: File) -> io::Result<Kept> {
        let length = file.metadata()?.len();
        Ok(Kept(if length == 0 { Content::Nothing } else { Content::File(file, length) }))
    }

    /// How many bytes.
    ///
    /// ```
    /// use doula_host::jobs::Kept;
    /// assert_eq!(Kept::from(b"said\n".to_vec()).len(), 5);
    /// ```
    #[must_use]
    pub fn len(&self) -> u64 {
        match &self.0 {
            Content::Nothing => 0,
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::File(_, length) => *length,
        }
    }

    /// Whether there are none.
    ///
    /// ```
    /// use doula_host::jobs::Kept;
    /// assert!(Kept::default().is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// Those of writing.
    ///
    /// ```
    /// use doula_host::jobs::Kept;
    /// let mut all = Vec::new();
    /// for kept in [Kept::from(b"one\n".to_vec()), Kept::default(), Kept::from(b"two\n".to_vec())] {
    ///     kept.write_to(&mut all)?;
    /// }
    /// assert_eq!(all, b"one\ntwo\n");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn write_to(&self, to: &mut impl Write) -> io::Result<()> {
        match &self.0 {
            Content::Nothing => Ok(()),
            Content::Bytes(bytes) => to.write_all(bytes),
            Content::File(file, length) => {
                let mut file = file;
                file.rewind()?;
                io::copy(&mut file.take(*length), to).map(drop)
            }
        }
    }

    /// All of it.
    ///
    /// # Errors
    /// Those of reading.
    ///
    /// ```
    /// use doula_host::jobs::Kept;
    /// assert_eq!(Kept::from(b"said\n".to_vec()).bytes()?, b"said\n");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.write_to(&mut bytes)?;
        Ok(bytes)
    }
}

/// The file of one stream of one slot.
#[derive(Debug)]
pub(super) struct Spool {
    file: File,
    /// The same, for the children.
    theirs: Arc<OwnedFd>,
}

impl Spool {
    pub(super) fn new() -> io::Result<Spool> {
        let theirs = fd::memory(c"doula job").map_err(os_error)?;
        Ok(Spool { file: File::from(theirs.try_clone()?), theirs: Arc::new(theirs) })
    }

    /// For the child.
    pub(super) fn fd(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.theirs)
    }

    /// What was written. The file is used again only if it is certain that nobody else has it.
    pub(super) fn take(&mut self, certain: bool) -> io::Result<Kept> {
        let length = self.file.metadata()?.len();
        if length > SMALL || !certain {
            let file = std::mem::replace(self, Spool::new()?).file;
            return Ok(Kept(if length == 0 { Content::Nothing } else { Content::File(file, length) }));
        }
        if length == 0 {
            return Ok(Kept::default());
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        self.file.read_exact_at(&mut bytes, 0)?;
        self.file.set_len(0)?;
        self.file.rewind()?;
        Ok(Kept(Content::Bytes(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_given_once_small_or_large() {
        let mut spool = Spool::new().expect("memory");
        for (certain, size) in [(true, 0), (true, 5), (false, 7), (true, SMALL + 3), (true, 9)] {
            let mut child = File::from(spool.fd().try_clone().expect("a copy"));
            child.write_all(&vec![b'x'; size as usize]).expect("written");
            let kept = spool.take(certain).expect("kept");
            assert_eq!((kept.len(), kept.is_empty()), (size, size == 0));
            assert_eq!(kept.bytes().expect("read").len() as u64, size);
        }
    }
}
