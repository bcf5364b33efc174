//! The file as it grows.

use super::line::put;
use super::{Entry, Head, Place};
use doula_core::journal::{Book, Page};
use doula_model::id::ServiceId;
use doula_model::record::Record;
use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hasher as _};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

/// A file that is smaller is never written anew.
const SMALL: usize = 256 * 1024;

/// A buffer that grew larger, when all of a large family began to live at once, is given back.
const KEPT: usize = 16 * 1024;

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    book: Book<Head, Place>,
    file: Option<File>,
    lines: Lines,
}

/// What is to be written next.
#[derive(Debug, Default)]
struct Lines {
    text: Vec<u8>,
    /// Where the last one begins.
    last: usize,
}

impl Page<Head, Place> for Lines {
    fn put(&mut self, entry: &Entry) -> u64 {
        self.last = self.text.len();
        put(&mut self.text, entry);
        hash(&self.text[self.last..])
    }

    fn take_back(&mut self) {
        self.text.truncate(self.last);
    }
}

impl Journal {
    /// A journal that is not there yet: [`Journal::begin`] makes it.
    pub(crate) fn new(path: PathBuf, head: Head) -> Journal {
        Journal { path, book: Book::new(head, SMALL), file: None, lines: Lines::default() }
    }

    /// Writes these services, if they are not as they were written last, and what was noted. Nothing is done before
    /// [`Journal::begin`].
    ///
    /// # Errors
    /// Those of write(2); then nothing of it counts, and [`Journal::is_full`] until all is written anew.
    pub(crate) fn write(&mut self, records: impl Iterator<Item = Record>) -> io::Result<()> {
        self.book.append(records, &mut self.lines);
        let mut text = std::mem::take(&mut self.lines.text);
        let counts = !text.is_empty() && !self.book.is_behind();
        let Some(file) = self.file.as_mut().filter(|_| counts) else { return Ok(()) };
        if let Err(error) = file.write_all(&text) {
            self.is_behind();
            return Err(error);
        }
        self.book.grew(text.len());
        if text.capacity() <= KEPT {
            text.clear();
            self.lines.text = text;
        }
        Ok(())
    }

    /// A service is no longer part of the family.
    pub(crate) fn forget(&mut self, id: ServiceId) {
        self.book.forget(id);
    }

    /// Remembers what is not of the engine's.
    pub(crate) fn note(&mut self, entry: Entry) {
        self.book.note(entry);
    }

    /// Whether it has grown so much that it should be written anew, by [`Journal::begin`], or could not be written.
    pub(crate) fn is_full(&self) -> bool {
        self.book.is_full()
    }

    /// Writes the whole file anew, and puts it in the place of the old one.
    ///
    /// # Errors
    /// Those of open(2), write(2) and rename(2); then the old one stays, and says that it is behind.
    pub(crate) fn begin(&mut self, records: Vec<Record>) -> io::Result<()> {
        self.lines.text.clear();
        self.book.anew(records.into_iter(), &mut self.lines);
        let text = std::mem::take(&mut self.lines.text);
        match self.put_in_place(&text) {
            Ok(file) => self.file = Some(file),
            Err(error) => {
                self.is_behind();
                return Err(error);
            }
        }
        self.book.begins(text.len());
        Ok(())
    }

    fn put_in_place(&self, text: &[u8]) -> io::Result<File> {
        let new = self.path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text)?;
        fs::rename(&new, &self.path)?;
        Ok(file)
    }

    /// What is in the file counts, but it is not all: the next one is told so by a line that is not whole. One byte more, which
    /// needs no room on the disk if nothing of it was written.
    fn is_behind(&mut self) {
        if let Some(file) = &self.file {
            let _ = file.set_len(self.book.size() as u64 + 1);
        }
        self.book.failed();
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}
