//! The file as it grows.

use super::line::put;
use super::{Entry, Head};
use doula_model::id::ServiceId;
use doula_model::record::Record;
use doula_model::service::ServiceSpec;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hasher as _};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

/// A file that is smaller is never written anew.
const SMALL: usize = 256 * 1024;
/// So many times as large as what counts a file may be.
const GROWTH: usize = 4;

/// A buffer that grew larger, when all of a large family began to live at once, is given back.
const KEPT: usize = 16 * 1024;

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    head: Head,
    file: Option<File>,
    /// So many bytes of it are ours and whole.
    size: usize,
    /// From this size on it is written anew.
    limit: usize,
    known: BTreeMap<ServiceId, Known>,
    /// What is not of the engine's, line by line.
    fixed: BTreeMap<Fixed, Vec<u8>>,
    /// What is to be written next.
    buffer: Vec<u8>,
}

/// What was written of a service last.
#[derive(Debug)]
struct Known {
    spec: Arc<ServiceSpec>,
    next: Option<Arc<ServiceSpec>>,
    life: u64,
}

/// What one line is about, of those that are kept as they were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fixed {
    Held(ServiceId),
    Socket(u32),
    Stored(u32),
}

impl Journal {
    /// A journal that is not there yet: [`Journal::begin`] makes it.
    pub(crate) fn new(path: PathBuf, head: Head) -> Journal {
        Journal {
            path,
            head,
            file: None,
            size: 0,
            limit: 0,
            known: BTreeMap::new(),
            fixed: BTreeMap::new(),
            buffer: Vec::new(),
        }
    }

    /// Writes these services, if they are not as they were written last. Nothing is done before [`Journal::begin`].
    ///
    /// # Errors
    /// Those of write(2); then nothing of it counts, and [`Journal::is_full`] until all is written anew: what could not be
    /// written may concern services of which nothing more is to be told for long.
    pub(crate) fn write(&mut self, records: impl Iterator<Item = Record>) -> io::Result<()> {
        for record in records {
            self.add(record);
        }
        self.flush()
    }

    fn add(&mut self, record: Record) {
        let Record { id, spec, next, life } = record;
        let known = self.known.get(&id);
        let same = |one: &Arc<ServiceSpec>, other: &Arc<ServiceSpec>| Arc::ptr_eq(one, other);
        let same_spec = known.is_some_and(|known| same(&known.spec, &spec));
        let same_next = match (known.map(|known| &known.next), &next) {
            (None | Some(None), None) => true,
            (Some(Some(known)), Some(next)) => same(known, next),
            (None | Some(_), _) => false,
        };
        let before = known.map(|known| known.life);
        if !same_spec {
            put(&mut self.buffer, &Entry::Spec(id, spec.clone()));
        }
        if !same_next {
            put(&mut self.buffer, &Entry::Next(id, next.clone()));
        }
        let start = self.buffer.len();
        put(&mut self.buffer, &Entry::Life(id, Box::new(life)));
        let life = hash(&self.buffer[start..]);
        if before == Some(life) {
            self.buffer.truncate(start);
        }
        self.known.insert(id, Known { spec, next, life });
    }

    /// A service is no longer part of the family.
    pub(crate) fn forget(&mut self, id: ServiceId) {
        if self.known.remove(&id).is_some() {
            put(&mut self.buffer, &Entry::Gone(id));
        }
        self.fixed.remove(&Fixed::Held(id));
    }

    /// Remembers what is not of the engine's.
    pub(crate) fn note(&mut self, entry: &Entry) {
        let about = match entry {
            Entry::Held(id, _) => Fixed::Held(*id),
            Entry::Socket(number, ..) => Fixed::Socket(*number),
            Entry::Stored(number, _) => Fixed::Stored(*number),
            Entry::Head(_) | Entry::Spec(..) | Entry::Next(..) | Entry::Life(..) | Entry::Gone(_) => return,
        };
        let mut line = Vec::new();
        put(&mut line, entry);
        self.buffer.extend(&line);
        self.fixed.insert(about, line);
    }

    /// Whether it has grown so much that it should be written anew, by [`Journal::begin`], or could not be written.
    pub(crate) fn is_full(&self) -> bool {
        self.file.is_none() || self.size > self.limit
    }

    /// Writes the whole file anew, and puts it in the place of the old one.
    ///
    /// # Errors
    /// Those of open(2), write(2) and rename(2); then the old one goes on.
    pub(crate) fn begin(&mut self, records: Vec<Record>) -> io::Result<()> {
        self.known.clear();
        self.buffer.clear();
        put(&mut self.buffer, &Entry::Head(self.head.clone()));
        for line in self.fixed.values() {
            self.buffer.extend(line);
        }
        for record in records {
            self.add(record);
        }
        let new = self.path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        let text = std::mem::take(&mut self.buffer);
        file.write_all(&text)?;
        fs::rename(&new, &self.path)?;
        (self.file, self.size) = (Some(file), text.len());
        self.limit = (text.len() * GROWTH).max(SMALL);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let text = std::mem::take(&mut self.buffer);
        let Some(file) = self.file.as_mut().filter(|_| !text.is_empty()) else { return Ok(()) };
        if let Err(error) = file.write_all(&text) {
            // A torn line would hide all that come after it.
            let _ = file.set_len(self.size as u64);
            self.known.clear();
            self.limit = 0;
            return Err(error);
        }
        self.size += text.len();
        if text.capacity() <= KEPT {
            self.buffer = text;
            self.buffer.clear();
        }
        Ok(())
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}
