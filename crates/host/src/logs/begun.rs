//! Where the beginning of a line waits for its end: in a pipe of its own, which outlives us.
//!
//! In our memory it would die with us. In the pipe of the service it cannot stay: we would be woken for it without end, or,
//! asked to be told of what is new only, not at all, for who writes more than fits into a pipe that was not empty wakes
//! nobody before it waits for room. So its bytes are moved by splice(2), which a death cannot tear: each of them is in one of
//! the two pipes. There is such a pipe only as long as a line is begun. What goes where is decided in [`doula_core::begun`].

use super::lines::Splitter;
use crate::keeper::{Held, Ledger, Tag};
use doula_core::begun::{Copied, moves};
use doula_model::id::{Generation, ServiceId};
use doula_model::plan::Errno;
use doula_sys::fd::{self, Access, AsRawFd as _, OwnedFd};
use std::ffi::CString;

/// Room for the longest line in pieces that leave half of each page empty. Half of what a pipe has by itself: what an ordinary
/// user may have in all its pipes is limited (pipe(7)).
const SIZE: usize = 32 * 1024;

/// So many empty pipes are kept for the next lines.
const SPARE_MOST: usize = 4;

/// Both ends of a pipe, first the one to read from.
type Pipe = (OwnedFd, OwnedFd);

/// Pipes that nothing waits in.
#[derive(Debug, Default)]
pub(super) struct Spare(Vec<Pipe>);

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Begun {
    reader: Held,
    /// None can be had for one that was inherited, if there is no `/proc`.
    writer: Option<OwnedFd>,
    /// So many bytes of it were given out, whole lines among them.
    length: usize,
}

impl Begun {
    /// An empty one for a line of this life; `continued`: it goes on where a longer one was cut.
    pub(super) fn new(spare: &mut Spare, ledger: Ledger, tag: Tag) -> Result<Begun, Errno> {
        let (reader, writer) = spare.0.pop().map_or_else(pipe, Ok)?;
        Ok(Begun { reader: ledger.hold(reader, tag), writer: Some(writer), length: 0 })
    }

    /// One in which somebody before us has left the beginning of a line, and what is in it.
    pub(super) fn inherit(reader: Held, bytes: usize) -> Begun {
        let path = CString::new(format!("/proc/self/fd/{}", reader.as_raw_fd()));
        let writer = path.ok().and_then(|path| fd::open(&path, Access::Write).ok());
        let writer = writer.filter(|writer| fd::set_nonblocking(writer, true).is_ok());
        Begun { reader, writer, length: bytes }
    }

    /// Moves bytes from the pipe of the service to here; how many.
    fn take(&mut self, from: &Held, most: usize) -> usize {
        let Some(writer) = &self.writer else { return 0 };
        let mut moved = 0;
        while moved < most {
            match fd::splice(from, writer, most - moved) {
                Ok(count) if count > 0 => moved += count,
                Err(Errno::EINTR) => {}
                Ok(_) | Err(_) => break,
            }
        }
        self.length += moved;
        moved
    }

    /// Drops what comes first: it was written out.
    fn drop_first(&mut self, count: usize, buffer: &mut [u8]) {
        discard(&self.reader, count, buffer);
        self.length -= count;
    }

    /// Nothing waits in it any more.
    fn leave_to(self, spare: &mut Spare) {
        if let (0, Some(writer)) = (self.length, self.writer)
            && spare.0.len() < SPARE_MOST
        {
            spare.0.push((self.reader.release(), writer));
        }
    }
}

/// What of a source was given out, and where it is.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// The beginning of a line that waits.
    begun: Option<Begun>,
    /// So many bytes are in the pipe of the service still.
    copied: usize,
    /// So many of them end the line that was begun before.
    tail: usize,
    /// The source is no pipe: what was given out is only in our memory.
    is_bare: bool,
}

/// Where the pipes of beginnings come from, what they are called, and room for what is dropped.
pub(super) struct Place<'a> {
    pub(super) spare: &'a mut Spare,
    pub(super) buffer: &'a mut [u8],
    pub(super) life: (ServiceId, Generation),
}

impl Given {
    /// Goes on with what somebody before us has left.
    pub(super) fn inherit(&mut self, begun: Begun) {
        self.begun = Some(begun);
    }

    /// These bytes are given out; whether they are in the pipe of the service still.
    pub(super) fn look(&mut self, bytes: &[u8], stay: bool) {
        self.is_bare = !stay;
        if stay {
            self.copied = bytes.len();
            self.tail = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| end + 1);
        }
    }

    /// What was given out is written out: it is taken out of the pipe of the service, but the beginning of a line goes on waiting.
    pub(super) fn take_out(&mut self, from: &Held, splitter: &Splitter, place: &mut Place<'_>) {
        if std::mem::take(&mut self.is_bare) {
            self.begun = splitter.rest().and_then(|_| place.again(from, splitter, 0));
            return;
        }
        let count = std::mem::take(&mut self.copied);
        let rest = splitter.rest().map(|(bytes, _)| bytes.len());
        let is_begun = self.begun.is_some();
        let plan = moves(Copied { count, tail: self.tail, rest, is_begun });
        let mut left = count;
        // A line that was begun goes as a whole, by one read(2).
        if let Some(joins) = plan.joins
            && let Some(mut begun) = self.begun.take()
        {
            left -= begun.take(from, joins);
            begun.drop_first(begun.length, place.buffer);
            begun.leave_to(place.spare);
        }
        discard(from, left - plan.stays, place.buffer);
        let Some(keeps) = plan.keeps else { return };
        if plan.begins {
            self.begun = place.new_pipe(from, splitter);
        }
        self.move_here(from, plan.stays, splitter, place);
        if let Some(begun) = &mut self.begun {
            begun.drop_first(begun.length.saturating_sub(keeps), place.buffer);
        }
    }

    /// Moves the newest bytes of the begun line to the others. If there is no room, others take the place of that pipe, in which
    /// all these bytes need less of it, or the line is in our memory only.
    fn move_here(&mut self, from: &Held, count: usize, splitter: &Splitter, place: &mut Place<'_>) {
        let mut left = count;
        for _ in 0..2 {
            let Some(begun) = &mut self.begun else { break };
            left -= begun.take(from, left);
            if left == 0 {
                return;
            }
            self.begun = place.again(from, splitter, left);
        }
        self.begun = None;
        discard(from, left, place.buffer);
    }
}

impl Place<'_> {
    fn new_pipe(&mut self, from: &Held, splitter: &Splitter) -> Option<Begun> {
        let continued = splitter.rest().is_some_and(|(_, continued)| continued);
        Begun::new(self.spare, from.ledger()?, Tag::Begun(self.life.0, self.life.1, continued)).ok()
    }

    /// Another pipe with what is there of a line, but for the last bytes of it.
    fn again(&mut self, from: &Held, splitter: &Splitter, but: usize) -> Option<Begun> {
        let (bytes, _) = splitter.rest()?;
        let bytes = &bytes[..bytes.len() - but];
        let mut begun = self.new_pipe(from, splitter)?;
        let written = fd::write(begun.writer.as_ref()?, bytes);
        begun.length = bytes.len();
        (written == Ok(bytes.len())).then_some(begun)
    }
}

fn pipe() -> Result<Pipe, Errno> {
    let pipe = fd::pipe()?;
    fd::set_nonblocking(&pipe.0, true)?;
    fd::set_nonblocking(&pipe.1, true)?;
    // One of another size is as good.
    let _ = fd::set_pipe_size(&pipe.0, SIZE);
    Ok(pipe)
}

/// Takes so many bytes out of a pipe that are in it.
fn discard(from: &Held, count: usize, buffer: &mut [u8]) {
    let mut left = count;
    while left > 0 {
        let most = left.min(buffer.len());
        match fd::read(from, &mut buffer[..most]) {
            Ok(count) if count > 0 => left -= count,
            Err(Errno::EINTR) => {}
            // They were in the pipe, and nobody else reads it.
            Ok(_) | Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::keeper::{Ledger, Tag};
    use crate::logs::{Collector, Filter, Followed, MAX_LINE, Mark, Options, Source, Stamp};
    use doula_model::id::{Generation, ServiceId};
    use doula_model::recipe::LogPolicy;
    use doula_sys::fd::{self, OwnedFd};
    use proptest::prelude::*;
    use std::mem::ManuallyDrop;

    const LIFE: (ServiceId, Generation) = (ServiceId(3), Generation(7));

    /// A collector of one source, and what outlives it.
    struct Reading {
        collector: Collector,
        ledger: Ledger,
        /// The lines that it and those before it have given out.
        lines: Vec<Vec<u8>>,
    }

    impl Reading {
        fn new(output: OwnedFd, lines: Vec<Vec<u8>>) -> Reading {
            let ledger = Ledger::new().expect("memory");
            let options = Options { ring: 4 << 20, ..Options::default() };
            let mut collector = Collector::new(options).expect("sinks");
            collector.introduce(Stamp::default(), LIFE.0, "web", LogPolicy { flood: None });
            let output = ledger.hold(output, Tag::Output(LIFE.0, LIFE.1));
            let source = Source { service: LIFE.0, generation: LIFE.1, output, ready: None };
            collector.attach(source).expect("attach");
            Reading { collector, ledger, lines }
        }

        fn turn(&mut self) {
            self.collector.turn(Stamp::default());
        }

        /// Nothing is left of it but what a keeper holds; how many beginnings of lines that were.
        fn die(mut self) -> (Reading, usize) {
            self.take_lines();
            let held = self.ledger.all().into_iter().map(|(number, tag)| {
                let own = ManuallyDrop::new(fd::inherited(number).expect("it is open"));
                (fd::duplicate(&*own, 3).expect("dup"), tag)
            });
            let (outputs, begun): (Vec<_>, Vec<_>) =
                held.partition(|(_, tag)| matches!(tag, Tag::Output(..)));
            let Reading { collector, lines, .. } = self;
            drop(collector);
            let output = outputs.into_iter().next().expect("the output").0;
            let (mut next, count) = (Reading::new(output, lines), begun.len());
            for (fd, tag) in begun {
                let Tag::Begun(id, generation, continued) = tag else { panic!("{tag:?}") };
                next.collector.go_on_with(Stamp::default(), (id, generation), (fd, continued));
            }
            (next, count)
        }

        fn take_lines(&mut self) {
            let follower = self.collector.follow(Filter::default(), None, false);
            while let Some(followed) = self.collector.next_followed(follower) {
                match followed {
                    Followed::Missed(count) => panic!("missed {count}"),
                    Followed::Record(record) if record.mark == Mark::Note => {}
                    Followed::Record(record) if record.mark == Mark::Continued => {
                        self.lines.last_mut().expect("a line before").extend(record.bytes);
                    }
                    Followed::Record(record) => self.lines.push(record.bytes),
                }
            }
            self.collector.unfollow(follower);
        }

        fn end(mut self) -> Vec<Vec<u8>> {
            self.turn();
            self.take_lines();
            self.lines
        }
    }

    #[test]
    fn a_line_in_two_pieces_is_whole_and_there_once_whoever_dies_in_between() {
        let (output, writer) = fd::pipe().expect("pipe");
        let mut reading = Reading::new(output, Vec::new());
        fd::write(&writer, b"first\nhalf and ").expect("write");
        reading.turn();
        let (mut reading, count) = reading.die();
        assert_eq!(count, 1);
        reading.turn();
        let (mut reading, _) = reading.die();
        fd::write(&writer, b"half\nla").expect("write");
        reading.turn();
        let (mut reading, _) = reading.die();
        fd::write(&writer, b"st\n").expect("write");
        reading.turn();
        let (reading, count) = reading.die();
        assert_eq!(count, 0, "nothing is held between two lines");
        assert_eq!(reading.end(), [&b"first"[..], b"half and half", b"last"]);
    }

    #[test]
    fn a_line_that_comes_byte_by_byte_needs_no_more_room_than_another() {
        let (output, writer) = fd::pipe().expect("pipe");
        let mut reading = Reading::new(output, Vec::new());
        for number in 0..300 {
            fd::write(&writer, b"x").expect("write");
            reading.turn();
            if number % 50 == 0 {
                let (next, count) = reading.die();
                assert_eq!(count, 1, "after {number}");
                reading = next;
            }
        }
        drop(writer);
        assert_eq!(reading.end(), [vec![b'x'; 300]]);
    }

    #[test]
    fn of_two_pipes_of_one_line_the_longer_one_is_meant() {
        for order in [[&b"ab"[..], b""], [b"", b"ab"]] {
            let (output, writer) = fd::pipe().expect("pipe");
            let mut reading = Reading::new(output, Vec::new());
            for bytes in order {
                let (begun, to_begun) = fd::pipe().expect("pipe");
                fd::set_nonblocking(&begun, true).expect("fcntl");
                fd::write(&to_begun, bytes).expect("write");
                reading.collector.go_on_with(Stamp::default(), LIFE, (begun, false));
            }
            fd::write(&writer, b"c\n").expect("write");
            assert_eq!(reading.end(), [b"abc"]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn no_death_between_two_turns_loses_or_doubles_a_byte(
            parts in prop::collection::vec(
                (
                    prop_oneof![
                        prop::collection::vec(any::<u8>(), 1..40),
                        (1usize..2 * MAX_LINE).prop_map(|length| vec![b'a'; length]),
                        Just(b"\n".to_vec()),
                        Just(b"x\ny".to_vec()),
                    ],
                    any::<bool>(),
                    any::<bool>(),
                ),
                0..24,
            ),
        ) {
            let (output, writer) = fd::pipe().expect("pipe");
            let mut reading = Reading::new(output, Vec::new());
            let mut all = Vec::new();
            for (bytes, turns, dies) in parts {
                fd::write(&writer, &bytes).expect("there is room");
                all.extend(bytes);
                if turns || all.len() > MAX_LINE {
                    reading.turn();
                    reading.turn();
                }
                if dies {
                    reading = reading.die().0;
                }
            }
            drop(writer);
            reading.turn();
            reading.turn();
            let mut expected: Vec<_> = all.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            expected.pop_if(|last| last.is_empty());
            prop_assert_eq!(reading.end(), expected);
        }
    }
}
