//! The protocol `frames`: what one side writes, and how the other finds it in the bytes that come.
//!
//! A frame is a head of 16 bytes, little-endian (the length of what follows in 4 bytes, the kind, flags, two zeros, the number of
//! the task in 8), and so many bytes.

use doula_sys::fd::{self, OwnedFd};
use doula_sys::shared::Frozen;
use std::collections::VecDeque;
use std::io;
use std::ops::Range;

/// What HELLO says.
pub(super) const VERSION: u64 = 1;
pub(super) const HEAD: usize = 16;
/// What is longer goes by a file in memory, where files can go along.
pub(super) const LARGE: usize = 128 << 10;
/// A longer frame is none: nobody may fill our memory.
const LONGEST: usize = 64 << 20;
/// And a longer file.
const LONGEST_FILE: u64 = 4 << 30;
/// So many files may have come before their frames.
const MOST_FILES: usize = 64;
/// The payload is in a file that came along, and says how long that is.
const IN_FILE: u8 = 1;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The first of a worker, with the version as number.
    Hello,
    /// A task, with its input.
    Task,
    /// It succeeded, with its output.
    Done,
    /// It failed, for this reason.
    Failed,
    /// Several tasks, with the numbers from this one on: each input behind its length in 4 bytes.
    Tasks,
    /// Their outputs, in the same way.
    DoneMany,
    /// The worker does no more; what it has not answered it has not done.
    Leave,
}

impl Kind {
    const ALL: [Kind; 7] =
        [Kind::Hello, Kind::Task, Kind::Done, Kind::Failed, Kind::Tasks, Kind::DoneMany, Kind::Leave];

    /// Its number on the wire, from 1.
    const fn number(self) -> u8 {
        self as u8 + 1
    }

    fn of(number: u8) -> Option<Kind> {
        Kind::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }
}

/// Frames that wait to be written.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    written: usize,
    /// Where the last frame begins.
    open: usize,
    /// Files, and before which byte each goes.
    files: VecDeque<(usize, OwnedFd)>,
}

impl Outbox {
    /// Adds a frame whose payload `fill` appends; a large one goes by a file if `files` can go along.
    pub(super) fn add<T>(
        &mut self,
        what: (Kind, u64),
        files: bool,
        fill: impl FnOnce(&mut Vec<u8>) -> T,
    ) -> io::Result<T> {
        self.open(what);
        let filled = fill(&mut self.bytes);
        self.close(files).map(|()| filled)
    }

    /// Begins a frame whose payload is what is appended to [`Outbox::bytes`] until [`Outbox::close`].
    pub(super) fn open(&mut self, (kind, id): (Kind, u64)) {
        self.open = self.bytes.len();
        self.bytes.extend_from_slice(&[0, 0, 0, 0, kind.number(), 0, 0, 0]);
        self.bytes.extend_from_slice(&id.to_le_bytes());
    }

    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Where the next byte goes.
    pub(super) fn place(&self) -> usize {
        self.bytes.len()
    }

    /// Takes away what was appended behind this place.
    pub(super) fn cut(&mut self, place: usize) {
        self.bytes.truncate(place);
    }

    /// Takes away the frame that is open.
    pub(super) fn drop_opened(&mut self) {
        self.bytes.truncate(self.open);
    }

    /// How long the payload is so far.
    pub(super) fn opened(&self) -> usize {
        self.bytes.len() - self.open - HEAD
    }

    /// Ends the frame that is open.
    pub(super) fn close(&mut self, files: bool) -> io::Result<()> {
        let (start, payload) = (self.open, self.open + HEAD);
        let mut flags = 0;
        if files && self.bytes.len() - payload > LARGE {
            let body = self.bytes.get(payload..).unwrap_or_default();
            let length = (body.len() as u64).to_le_bytes();
            let file = fd::frozen(c"doula payload", body).map_err(crate::child::os_error)?;
            self.files.push_back((start, file));
            self.bytes.truncate(payload);
            self.bytes.extend_from_slice(&length);
            flags = IN_FILE;
        }
        let length = u32::try_from(self.bytes.len() - payload)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a payload is too long"))?;
        let [a, b, c, d] = length.to_le_bytes();
        if let Some([w, x, y, z, _, flag, ..]) = self.bytes.get_mut(start..payload) {
            (*w, *x, *y, *z, *flag) = (a, b, c, d, flags);
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.written == self.bytes.len()
    }

    /// What may be written at once, and the file that goes with its first byte.
    pub(super) fn next(&self) -> (&[u8], Option<&OwnedFd>) {
        let (mut end, mut file) = (self.bytes.len(), None);
        for (at, with) in self.files.iter().take(2) {
            match *at == self.written && file.is_none() {
                true => file = Some(with),
                false => {
                    end = *at;
                    break;
                }
            }
        }
        (self.bytes.get(self.written..end).unwrap_or_default(), file)
    }

    /// So many bytes of [`Outbox::next`] were taken.
    pub(super) fn took(&mut self, count: usize) {
        if self.files.front().is_some_and(|(at, _)| *at == self.written && count > 0) {
            self.files.pop_front();
        }
        self.written += count;
        if self.written == self.bytes.len() {
            self.bytes.clear();
            self.written = 0;
        }
    }
}

/// Appends one item of several.
pub(super) fn add_item<T>(bytes: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    let filled = fill(bytes);
    let length = u32::try_from(bytes.len() - start - 4).unwrap_or(u32::MAX).to_le_bytes();
    if let Some(place) = bytes.get_mut(start..start + 4) {
        place.copy_from_slice(&length);
    }
    filled
}

/// Where the payload of a frame is.
#[derive(Debug)]
enum Body {
    Bytes(Range<usize>),
    File(Frozen),
}

/// Bytes that came, and the frames in them.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
    /// What is before was taken.
    start: usize,
    files: VecDeque<OwnedFd>,
    /// A frame of several that is being taken: the number of the next, and where it begins in the body.
    many: Option<(Kind, u64, usize, Body)>,
    /// The payload of the frame that was taken last.
    last: Option<Frozen>,
}

/// One frame, or one of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'i> {
    pub(super) kind: Kind,
    pub(super) id: u64,
    pub(super) payload: &'i [u8],
}

impl Inbox {
    pub(super) fn add(&mut self, piece: &[u8], files: Vec<OwnedFd>) {
        if self.many.is_none() {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(piece);
        self.files.extend(files);
    }

    /// Whether there is no beginning of a frame.
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.bytes.len() && self.many.is_none()
    }

    /// The next frame that is whole; of several at once, the next of them. `Err`: it is none, and whoever sent it is not
    /// believed any more.
    pub(super) fn next(&mut self) -> Result<Option<Frame<'_>>, String> {
        loop {
            if self.many.is_some() {
                match self.next_item()? {
                    Some((kind, id, range)) => return Ok(Some(self.item(kind, id, range))),
                    None => self.many = None,
                }
            }
            let Some((kind, id, body)) = self.whole()? else { return Ok(None) };
            if matches!(kind, Kind::Tasks | Kind::DoneMany) {
                self.many = Some((kind, id, 0, body));
                continue;
            }
            return Ok(Some(self.single(kind, id, body)));
        }
    }

    fn single(&mut self, kind: Kind, id: u64, body: Body) -> Frame<'_> {
        let payload: &[u8] = match body {
            Body::Bytes(range) => self.bytes.get(range).unwrap_or_default(),
            Body::File(frozen) => self.last.insert(frozen),
        };
        Frame { kind, id, payload }
    }

    /// The whole frame in front, taken.
    fn whole(&mut self) -> Result<Option<(Kind, u64, Body)>, String> {
        let rest = self.bytes.get(self.start..).unwrap_or_default();
        let Some((head, rest)) = rest.split_first_chunk::<HEAD>() else { return Ok(None) };
        let [a, b, c, d, kind, flags, _, _, id @ ..] = *head;
        let (length, id) = (u32::from_le_bytes([a, b, c, d]) as usize, u64::from_le_bytes(id));
        let Some(kind) = Kind::of(kind).filter(|_| flags <= IN_FILE) else {
            return Err(format!("it sent a frame of the unknown kind {kind}"));
        };
        if length > LONGEST {
            return Err(format!("it sent a frame of more than {LONGEST} bytes"));
        }
        let Some(payload) = rest.get(..length) else { return Ok(None) };
        let body = if flags == IN_FILE { Some(in_file(payload, self.files.pop_front())?) } else { None };
        let from = self.start + HEAD;
        self.start = from + length;
        Ok(Some((kind, id, body.map_or(Body::Bytes(from..self.start), Body::File))))
    }

    /// The next of several: its number, and where it is.
    fn next_item(&mut self) -> Result<Option<(Kind, u64, Range<usize>)>, String> {
        let Some((kind, id, at, body)) = &mut self.many else { return Ok(None) };
        let whole: &[u8] = match body {
            Body::Bytes(range) => self.bytes.get(range.clone()).unwrap_or_default(),
            Body::File(frozen) => frozen,
        };
        let rest = whole.get(*at..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(None);
        }
        let torn = || "it sent several at once that do not fit into their frame".to_owned();
        let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(torn)?;
        let length = u32::from_le_bytes(*length) as usize;
        rest.get(..length).ok_or_else(torn)?;
        let (number, from) = (*id, *at + 4);
        (*id, *at) = (id.wrapping_add(1), from + length);
        Ok(Some((*kind, number, from..from + length)))
    }

    fn item(&self, kind: Kind, id: u64, range: Range<usize>) -> Frame<'_> {
        let whole: &[u8] = match &self.many {
            Some((.., Body::Bytes(whole))) => self.bytes.get(whole.clone()).unwrap_or_default(),
            Some((.., Body::File(frozen))) => frozen,
            None => &[],
        };
        let kind = if kind == Kind::Tasks { Kind::Task } else { Kind::Done };
        Frame { kind, id, payload: whole.get(range).unwrap_or_default() }
    }

    /// Whether there is one more behind the last, of those that came in one frame.
    pub(super) fn is_in_several(&self) -> bool {
        match &self.many {
            Some((_, _, at, Body::Bytes(range))) => *at < range.len(),
            Some((_, _, at, Body::File(frozen))) => *at < frozen.len(),
            None => false,
        }
    }

    /// Whether more came than anybody needs.
    pub(super) fn is_flooded(&self) -> bool {
        self.files.len() > MOST_FILES
    }
}

fn in_file(payload: &[u8], file: Option<OwnedFd>) -> Result<Frozen, String> {
    let file = file.ok_or("it sent a frame whose file did not come along")?;
    let frozen = fd::frozen_length(&file).ok().filter(|length| *length <= LONGEST_FILE);
    let length = frozen.ok_or("it sent a file that is not sealed against changes, or too long")?;
    if payload != length.to_le_bytes() {
        return Err("it sent a file of another length than it said".to_owned());
    }
    Frozen::map(&file).map_err(|errno| format!("it sent a file that cannot be mapped: {errno}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(inbox: &mut Inbox) -> Vec<(Kind, u64, Vec<u8>)> {
        let mut taken = Vec::new();
        while let Some(frame) = inbox.next().expect("frames") {
            taken.push((frame.kind, frame.id, frame.payload.to_vec()));
        }
        taken
    }

    /// All that is in an outbox, as a stream with its files would bring it, so many bytes at a time.
    fn carried(outbox: &mut Outbox, piece: usize) -> Vec<(Kind, u64, Vec<u8>)> {
        let (mut inbox, mut all) = (Inbox::default(), Vec::new());
        while !outbox.is_empty() {
            let (bytes, file) = outbox.next();
            let bytes = &bytes[..bytes.len().min(piece)];
            let files = file.map(|file| file.try_clone().expect("a copy")).into_iter().collect();
            inbox.add(bytes, files);
            let count = bytes.len();
            outbox.took(count);
            all.extend(taken(&mut inbox));
        }
        assert!(inbox.is_empty());
        all
    }

    #[test]
    fn frames_come_whole_from_any_pieces_and_large_ones_by_files() {
        for (piece, files) in [(1, false), (7, true), (usize::MAX, true)] {
            let large = vec![b'l'; LARGE + 1];
            let mut outbox = Outbox::default();
            let mut add = |kind, id, bytes: &[u8]| {
                outbox.add((kind, id), files, |to| to.extend_from_slice(bytes)).expect("a frame");
            };
            add(Kind::Hello, VERSION, b"");
            add(Kind::Task, 7, b"seven");
            add(Kind::Done, 8, &large);
            add(Kind::Failed, 9, &large);
            let fill = |to: &mut Vec<u8>| {
                for item in [b"ten".as_slice(), b"", &large] {
                    add_item(to, |to| to.extend_from_slice(item));
                }
            };
            outbox.add((Kind::DoneMany, 10), files, fill).expect("a frame");
            outbox.add((Kind::Leave, 0), files, |_| ()).expect("a frame");
            let expected = [
                (Kind::Hello, VERSION, b"".to_vec()),
                (Kind::Task, 7, b"seven".to_vec()),
                (Kind::Done, 8, large.clone()),
                (Kind::Failed, 9, large.clone()),
                (Kind::Done, 10, b"ten".to_vec()),
                (Kind::Done, 11, Vec::new()),
                (Kind::Done, 12, large.clone()),
                (Kind::Leave, 0, Vec::new()),
            ];
            assert!(carried(&mut outbox, piece) == expected, "{piece}");
        }
    }

    #[test]
    fn what_is_no_frame_is_refused_and_nothing_of_it_is_believed() {
        let refused = |bytes: &[u8], files: Vec<OwnedFd>| {
            let mut inbox = Inbox::default();
            inbox.add(bytes, files);
            inbox.next().expect_err("no frame")
        };
        let head = |length: u32, kind: u8, flags: u8| {
            let [a, b, c, d] = length.to_le_bytes();
            [a, b, c, d, kind, flags, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]
        };
        assert!(refused(&head(0, 0, 0), Vec::new()).contains("unknown kind 0"));
        assert!(refused(&head(0, 99, 0), Vec::new()).contains("unknown kind 99"));
        assert!(refused(&head(u32::MAX, 3, 0), Vec::new()).contains("more than"));
        let with = |flags, payload: &[u8]| [&head(payload.len() as u32, 3, flags)[..], payload].concat();
        let many = |payload: &[u8]| [&head(payload.len() as u32, 6, 0)[..], payload].concat();
        assert!(refused(&many(&[1, 0]), Vec::new()).contains("do not fit"));
        assert!(refused(&many(&[9, 0, 0, 0, 1]), Vec::new()).contains("do not fit"));
        let eight = 8_u64.to_le_bytes();
        assert!(refused(&with(1, &eight), Vec::new()).contains("did not come along"));
        let loose = fd::memory_of(c"loose", 8).expect("a file");
        assert!(refused(&with(1, &eight), vec![loose]).contains("not sealed"));
        let other = fd::frozen(c"other", b"seven").expect("a file");
        assert!(refused(&with(1, &eight), vec![other]).contains("another length"));
        let (pipe, _) = fd::pipe().expect("a pipe");
        assert!(refused(&with(1, &eight), vec![pipe]).contains("not sealed"));
    }
}
