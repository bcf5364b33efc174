//! From the kernel's own fields to what `/proc/PID/stat` says: as `do_task_stat` in fs/proc/array.c works it out.

use super::program::{WORDS, Word};
use doula_model::id::Pid;
use doula_model::process::{ProcState, Process, Stat};
use std::num::NonZeroU8;

/// Bits of a task's state and of its end (include/linux/sched.h), and the letters of those that are reported, by bit.
const REPORTED: u64 = 0x7f;
const IDLE: u64 = 0x402;
const WAITS_FOR_LOCK: u64 = 0x1000;
const FROZEN: u64 = 0x8000;
const LETTERS: &[u8; 8] = b"RSDTtXZP";
/// Of the flags of a whole process (include/linux/sched/signal.h): stopped, ending.
const STOPPED_OR_ENDING: u64 = 0x5;
/// Of [`Stat::flags`].
const KERNEL_THREAD: u32 = 0x0020_0000;
/// The least number of a real priority, and of a nice value, of the kernel's numbers.
const FIRST_PRIORITY: i32 = 100;
const NICE_0: i32 = 120;

/// Where each word stands in a record, and the kernel's units.
#[derive(Debug)]
pub(super) struct Layout {
    places: [Option<NonZeroU8>; WORDS],
    tick: u64,
    page_size: u64,
}

impl Layout {
    /// Of records of these words.
    pub(super) fn of(words: &[usize]) -> Layout {
        let mut places = [None; WORDS];
        for (place, &word) in (1..).zip(words) {
            places[word] = NonZeroU8::new(place);
        }
        let tick = 1_000_000_000 / doula_sys::time::clock_ticks().max(1);
        Layout { places, tick, page_size: doula_sys::limits::page_size() }
    }

    /// Nanoseconds in clock ticks.
    fn ticks(&self, nanoseconds: u64) -> u64 {
        // Most have slept all their lives, and a division takes long.
        if nanoseconds < self.tick { 0 } else { nanoseconds / self.tick }
    }
}

/// What the program wrote of a task.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    bytes: &'a [u8],
    layout: &'a Layout,
}

impl<'a> Record<'a> {
    pub(super) fn new(bytes: &'a [u8], layout: &'a Layout) -> Record<'a> {
        Record { bytes, layout }
    }

    /// A word; zero where it was not written.
    fn at(&self, word: Word) -> u64 {
        let Some(place) = self.layout.places[word as usize] else { return 0 };
        let bytes = self.bytes.get((usize::from(place.get()) - 1) * 8..).and_then(<[u8]>::first_chunk);
        bytes.copied().map_or(0, u64::from_ne_bytes)
    }

    fn int(&self, word: Word) -> i32 {
        self.at(word) as i32
    }

    fn times(&self) -> Times {
        Times {
            faults: (self.at(Word::MinorFaults), self.at(Word::MajorFaults)),
            user: self.at(Word::User),
            system: self.at(Word::System),
            ran: self.at(Word::Ran),
        }
    }

    /// As `task_state_index` in include/linux/sched.h.
    fn state(&self) -> ProcState {
        let (state, end) = (self.at(Word::State) & 0xffff_ffff, self.at(Word::ExitState));
        if state & IDLE == IDLE {
            return ProcState::Idle;
        }
        if state & (WAITS_FOR_LOCK | FROZEN) != 0 {
            return ProcState::Blocked;
        }
        // Zero is running; else the highest bit counts.
        let index = 64 - ((state | end) & REPORTED).leading_zeros();
        ProcState::from_letter(LETTERS[index as usize])
    }

    fn name(&self) -> Vec<u8> {
        let words = [self.at(Word::Name), self.at(Word::NameEnd)].map(u64::to_ne_bytes);
        let bytes = words.as_flattened();
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        bytes[..end].to_vec()
    }

    /// The device as user programs number it (`new_encode_dev`), and the foreground group.
    fn terminal(&self) -> (u32, i32) {
        let major = self.at(Word::TtyMajor) as u32;
        let minor = (self.at(Word::TtyMinor) as u32).wrapping_add(self.at(Word::TtyIndex) as u32);
        let device = minor & 0xff | major << 8 | (minor & !0xff) << 12;
        if major == 0 && minor == 0 { (0, -1) } else { (device, self.int(Word::TtyGroup)) }
    }

    /// In the kernel's pages; its own threads have none.
    fn memory(&self) -> (u64, u64) {
        if self.at(Word::Flags) as u32 & KERNEL_THREAD != 0 {
            return (0, 0);
        }
        let pages = [Word::FilePages, Word::AnonymousPages, Word::SharedPages];
        let resident =
            pages.iter().map(|word| (self.at(*word) as i64).max(0) as u64).fold(0, u64::saturating_add);
        (self.at(Word::VirtualPages), resident)
    }

    fn exit_code(&self, whole: bool) -> i32 {
        let together = whole && self.at(Word::GroupFlags) & STOPPED_OR_ENDING != 0;
        self.int(if together { Word::GroupExitCode } else { Word::ExitCode })
    }

    /// The line of a process, whose other threads have these times.
    fn of_all(&self, mut times: Times) -> Option<Stat> {
        times.add(self.times());
        times.add(Times {
            faults: (self.at(Word::DeadMinorFaults), self.at(Word::DeadMajorFaults)),
            user: self.at(Word::DeadUser),
            system: self.at(Word::DeadSystem),
            ran: self.at(Word::DeadRan),
        });
        self.stat(times, (Word::AllToldUser, Word::AllToldSystem), true)
    }

    /// The line of a process whose threads all together have these times, or of a thread.
    fn stat(&self, times: Times, told: (Word, Word), whole: bool) -> Option<Stat> {
        let ((tty, tpgid), (pages, resident_pages)) = (self.terminal(), self.memory());
        let (user, system) = times.adjusted(self.at(told.0), self.at(told.1));
        Some(Stat {
            pid: Pid::new(self.int(Word::Tid))?,
            name: self.name(),
            state: self.state(),
            ppid: self.int(Word::Ppid),
            pgid: self.int(Word::Group),
            sid: self.int(Word::Session),
            tty,
            tpgid,
            flags: self.at(Word::Flags) as u32,
            faults: times.faults,
            cpu: (self.layout.ticks(user), self.layout.ticks(system)),
            buried_cpu: (
                self.layout.ticks(self.at(Word::BuriedUser)),
                self.layout.ticks(self.at(Word::BuriedSystem)),
            ),
            priority: self.int(Word::Priority).wrapping_sub(FIRST_PRIORITY),
            nice: self.int(Word::StaticPriority).wrapping_sub(NICE_0),
            threads: self.at(Word::Threads) as u32,
            start_ticks: self.layout.ticks(self.at(Word::Start)),
            virtual_bytes: pages.saturating_mul(self.layout.page_size),
            resident_pages,
            processor: self.at(Word::Processor) as u32,
            rt_priority: self.at(Word::RealtimePriority) as u32,
            policy: self.at(Word::Policy) as u32,
            io_delay: self.layout.ticks(self.at(Word::DiskDelay)),
            exit_code: self.exit_code(whole),
        })
    }
}

/// What is added up over the threads of a process. Times in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    faults: (u64, u64),
    user: u64,
    system: u64,
    /// How long it was on a CPU, which is known exactly; the other two are samples.
    ran: u64,
}

impl Times {
    fn add(&mut self, other: Times) {
        for (sum, more) in [
            (&mut self.faults.0, other.faults.0),
            (&mut self.faults.1, other.faults.1),
            (&mut self.user, other.user),
            (&mut self.system, other.system),
            (&mut self.ran, other.ran),
        ] {
            *sum = sum.saturating_add(more);
        }
    }

    /// Time in the program and in the kernel as they are told: they share what was measured as the samples say, and neither
    /// ever falls below what was told before (`cputime_adjust` in kernel/sched/cputime.c).
    fn adjusted(&self, told_user: u64, told_system: u64) -> (u64, u64) {
        if told_user.saturating_add(told_system) >= self.ran {
            return (told_user, told_system);
        }
        let share = || {
            let samples = u128::from(self.user) + u128::from(self.system);
            let share = u128::from(self.system).saturating_mul(u128::from(self.ran)) / samples;
            share.min(u128::from(self.ran)) as u64
        };
        let system = match (self.user, self.system) {
            (_, 0) => 0,
            (0, _) => self.ran,
            _ => share(),
        };
        let system = system.max(told_system);
        let user = self.ran.saturating_sub(system);
        if user < told_user { (told_user, self.ran - told_user) } else { (user, system) }
    }
}

/// What was written in one walk: the records of each process together, in the order of the numbers of processes, then of threads. A walk
/// meets them by the numbers of threads, or in the order in which they were born.
#[derive(Debug)]
pub(in crate::procfs) struct Rows<'a> {
    /// By number of process, number of thread.
    records: Vec<((i32, i32), &'a [u8])>,
    words: &'a [usize],
    layout: Layout,
}

impl<'a> Rows<'a> {
    /// Of records of these words.
    pub(super) fn new(written: &'a [u8], words: &'a [usize]) -> Rows<'a> {
        let records = written.chunks_exact(words.len().max(1) * 8);
        let mut records: Vec<_> = records.map(|record| (numbers(record), record)).collect();
        records.sort_by_key(|(numbers, _)| *numbers);
        Rows { records, words, layout: Layout::of(words) }
    }

    /// How many threads were met.
    pub(in crate::procfs) fn met(&self) -> u64 {
        self.records.len() as u64
    }

    /// Whether this process was met.
    pub(in crate::procfs) fn has(&self, pid: Pid) -> bool {
        !self.records_of(pid).is_empty()
    }

    /// What `/proc/PID/stat` says of one process.
    pub(in crate::procfs) fn of(&self, pid: Pid) -> Option<Stat> {
        whole(self.records_of(pid).iter().map(|(_, bytes)| Record::new(bytes, &self.layout)))
    }

    fn records_of(&self, pid: Pid) -> &[((i32, i32), &'a [u8])] {
        let from = &self.records[self.records.partition_point(|((tgid, _), _)| *tgid < pid.get())..];
        &from[..from.partition_point(|((tgid, _), _)| *tgid == pid.get())]
    }

    /// What `/proc/PID/stat` says of all, of processes or of all threads.
    ///
    /// The names of the kernel's threads can be longer than they are told here.
    pub(in crate::procfs) fn processes(&self, threads: bool) -> impl Iterator<Item = Process> {
        let record = |(_, bytes): &(_, &'a [u8])| Record::new(bytes, &self.layout);
        let of_each = if threads { self.records.as_slice() } else { &[] };
        let of_all = if threads { &[] } else { self.records.as_slice() };
        let of_each = of_each.iter().filter_map(move |one| {
            let record = record(one);
            let stat = record.stat(record.times(), (Word::ToldUser, Word::ToldSystem), false)?;
            Some(Process { tgid: Pid::new(one.0.0)?, ..Process::new(stat) })
        });
        let of_all = of_all.chunk_by(|one, two| one.0.0 == two.0.0);
        let of_all = of_all.filter_map(move |process| whole(process.iter().map(record)).map(Process::new));
        of_each.chain(of_all)
    }
}

/// The line of a process whose threads have these records. Nothing without that of the first one.
fn whole<'a>(records: impl Iterator<Item = Record<'a>>) -> Option<Stat> {
    let (mut first, mut others) = (None, Times::default());
    for record in records {
        if record.int(Word::Tid) == record.int(Word::Tgid) {
            first = Some(record);
        } else {
            others.add(record.times());
        }
    }
    first?.of_all(others)
}

/// What was written in one walk, processes by rising numbers, each with its threads.
#[derive(Debug, Default)]
pub(in crate::procfs) struct Walked {
    pub(super) bytes: Vec<u8>,
    /// Which words a record has.
    pub(super) words: Vec<usize>,
}

impl Walked {
    /// Bytes of a record.
    pub(super) fn size(&self) -> usize {
        self.words.len().max(1) * 8
    }

    /// Whether both tell the same of everybody.
    pub(in crate::procfs) fn is_like(&self, other: &Walked) -> bool {
        self.words == other.words
    }

    /// The line of the process of which this was written.
    pub(in crate::procfs) fn line(&self, written: &[u8]) -> Option<Stat> {
        let layout = Layout::of(&self.words);
        whole(written.chunks_exact(self.size()).map(|record| Record::new(record, &layout)))
    }

    /// Keeps what was written.
    pub(in crate::procfs) fn take(&mut self, rows: &Rows<'_>) {
        self.bytes.clear();
        self.words.clear();
        self.words.extend_from_slice(rows.words);
        rows.records.iter().for_each(|(_, record)| self.bytes.extend_from_slice(record));
    }

    /// The numbers of the processes, and what was written of each.
    pub(in crate::procfs) fn processes(&self) -> impl Iterator<Item = (Pid, &[u8])> {
        let (mut left, size) = (self.bytes.as_slice(), self.size());
        std::iter::from_fn(move || {
            let first = left.get(..size).map(tgid)?;
            let others = left.chunks_exact(size).skip(1).take_while(|record| tgid(record) == first);
            let (written, rest) = left.split_at(size * (1 + others.count()));
            left = rest;
            Some((Pid::new(first)?, written))
        })
    }
}

/// The number of the process to which a record belongs: its place is the same in all records.
fn tgid(record: &[u8]) -> i32 {
    numbers(record).0
}

/// The numbers of the process and of the thread, which stand at the same places in all records.
fn numbers(record: &[u8]) -> (i32, i32) {
    let word = |word: Word| {
        let word = record.get(word as usize * 8..).and_then(<[u8]>::first_chunk);
        word.map_or(0, |word| u64::from_ne_bytes(*word) as i32)
    };
    (word(Word::Tgid), word(Word::Tid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn layout() -> Layout {
        Layout::of(&(0..WORDS).collect::<Vec<_>>())
    }

    fn record(words: &[(Word, u64)]) -> Vec<u8> {
        let mut all = [0; WORDS];
        words.iter().for_each(|(word, value)| all[*word as usize] = *value);
        all.iter().flat_map(|word: &u64| word.to_ne_bytes()).collect()
    }

    #[test]
    fn the_letter_is_that_of_the_kernel() {
        for (state, end, letter) in [
            (0, 0, 'R'),
            (1, 0, 'S'),
            (2, 0, 'D'),
            (4, 0, 'T'),
            (8, 0, 't'),
            (0x402, 0, 'I'),
            (0x2401, 0, 'S'),
            (0x8000, 0, 'D'),
            (0x80, 0x20, 'Z'),
            (0x80, 0x10, 'X'),
            (0x40, 0, 'P'),
        ] {
            let (record, layout) = (record(&[(Word::State, state), (Word::ExitState, end)]), layout());
            assert_eq!(Record::new(&record, &layout).state().letter(), letter, "{state:x} {end:x}");
        }
    }

    #[test]
    fn times_are_what_was_measured_in_the_share_of_the_samples_and_never_less_than_was_told() {
        let times = |user, system, ran| Times { user, system, ran, ..Times::default() };
        assert_eq!(times(3, 1, 400).adjusted(0, 0), (300, 100));
        assert_eq!(times(0, 0, 400).adjusted(0, 0), (400, 0));
        assert_eq!(times(0, 1, 400).adjusted(0, 0), (0, 400));
        assert_eq!(times(3, 1, 400).adjusted(100, 200), (200, 200));
        assert_eq!(times(3, 1, 400).adjusted(399, 0), (399, 1));
        assert_eq!(times(3, 1, 400).adjusted(300, 200), (300, 200));
    }

    #[test]
    fn threads_are_added_to_their_process_or_stand_for_themselves() {
        let thread =
            |tid| record(&[(Word::Tid, tid), (Word::Tgid, 5), (Word::Threads, 3), (Word::MinorFaults, tid)]);
        let (records, words) = ([7, 5, 6].map(thread).concat(), (0..WORDS).collect::<Vec<_>>());
        let rows = Rows::new(&records, &words);
        for (threads, expected) in [(false, vec![(5, 5, 18)]), (true, vec![(5, 5, 5), (5, 6, 6), (5, 7, 7)])]
        {
            let told = |one: Process| (one.tgid.get(), one.stat.pid.get(), one.stat.faults.0);
            assert_eq!((rows.processes(threads).map(told).collect(), rows.met()), (expected, 3));
        }
        assert!(rows.has(Pid::new(5).expect("a number")) && !rows.has(Pid::INIT));
    }

    #[test]
    fn a_thread_that_was_born_after_other_processes_still_counts_for_its_own() {
        let (mut walked, words) = (Walked::default(), (0..WORDS).collect::<Vec<_>>());
        let record = |(tid, tgid)| record(&[(Word::Tid, tid), (Word::Tgid, tgid), (Word::MinorFaults, tid)]);
        walked.take(&Rows::new(&[(6, 6), (5, 5), (7, 5)].map(record).concat(), &words));
        // Of several threads only the first says how many there are.
        let at = Word::Threads as usize * 8;
        walked.bytes[at..at + 8].copy_from_slice(&2_u64.to_ne_bytes());
        let told = |(pid, written): (Pid, &[u8])| (pid.get(), walked.line(written).map(|stat| stat.faults.0));
        assert_eq!(walked.processes().map(told).collect::<Vec<_>>(), [(5, Some(12)), (6, Some(6))]);
    }

    proptest! {
        #[test]
        fn no_words_make_it_panic(words in proptest::collection::vec(any::<u64>(), WORDS)) {
            let bytes: Vec<u8> = words.into_iter().flat_map(u64::to_ne_bytes).collect();
            let all: Vec<usize> = (0..WORDS).collect();
            for words in [&all, &all[..2], &all[..WORDS - 1], &[]] {
                let rows = Rows::new(&bytes, words);
                let _ = (rows.processes(false).count(), rows.processes(true).count());
            }
        }
    }
}
