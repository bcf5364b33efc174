//! The families of programs: what most of their calls are about.

use super::script::{Maker, name};
use crate::kernel::Program;
use crate::kernel::call::{Access, Advice, Call, Clone, Mask, Wait, Who};
use crate::kernel::sigset::{Action, SigSet};
use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::vec::Vec;
use alloc::{format, vec};
use core::fmt;
use doula_model::signal::Signal;

/// What most calls of a program are about. The others are about births, deaths, waits, signals and groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Births, deaths, waits, signals, groups and adoptions.
    Lives,
    /// Descriptors, pipes, and offsets that several share.
    Files,
    /// Sockets that listen: who waits there, who takes whom, and clients that are gone.
    Sockets,
    /// Handles of processes (pidfds).
    Handles,
    /// Signals that queue, that wait, and that are for one thread.
    Signals,
    /// execve(2), its errors, and what a program inherits.
    Programs,
    /// Several threads in a process.
    Threads,
    /// Pages: copy-on-write and what it costs.
    Memory,
    /// PID namespaces within the namespace.
    Spaces,
    /// Controlling terminals: whose they are, who is in the foreground, and what the others hear.
    Terminals,
    /// Users, their rights and their limit of processes. Only root can play it.
    Users,
    /// Who stops for whom, and who hears of it.
    Tracing,
}

impl Family {
    /// All of them.
    pub const ALL: [Family; 12] = [
        Family::Lives,
        Family::Files,
        Family::Handles,
        Family::Signals,
        Family::Programs,
        Family::Threads,
        Family::Memory,
        Family::Spaces,
        Family::Terminals,
        Family::Users,
        Family::Sockets,
        Family::Tracing,
    ];

    /// Whether births with a chosen number are in it.
    pub fn chooses_numbers(self) -> bool {
        matches!(self, Family::Memory | Family::Spaces)
    }

    /// That of a seed: of twenty tens two are about sockets and one is about tracing, and in the others each is about something else.
    pub const fn of(seed: u64) -> Family {
        match seed / 10 % 20 {
            9 | 19 => Family::Sockets,
            8 => Family::Tracing,
            _ => Family::ALL[(seed % 10) as usize],
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}

/// A file that programs find.
#[derive(Clone, Copy, Debug)]
pub struct File {
    /// Its name in the directory where all are.
    pub path: &'static str,
    /// Whether it may be executed.
    pub executable: bool,
    /// What is in it; `None` for a directory.
    pub bytes: Option<&'static [u8]>,
}

/// The name of the program that goes on with the part that was played: in a real world a link to the player itself.
pub const PLAYER: &str = "player";

/// The files of both worlds.
pub const FILES: [File; 12] = [
    File { path: PLAYER, executable: true, bytes: Some(&elf(0)) },
    // Nobody can have a segment where the kernel is.
    File { path: "broken", executable: true, bytes: Some(&elf(0xffff_8000_0000_0000)) },
    script("script", b"#!player one two \nrest"),
    script("nested", b"#! script\n"),
    script("loop", b"#!loop\n"),
    script("orphan", b"#!missing\n"),
    script("text", b"hello\n"),
    script("empty", b""),
    script("busy", b"#!player\n"),
    File { path: "plain", executable: false, bytes: Some(b"#!player\n") },
    File { path: "folder", executable: true, bytes: None },
    File { path: "data", executable: false, bytes: Some(b"0123456789abcdef") },
];

const fn script(path: &'static str, bytes: &'static [u8]) -> File {
    File { path, executable: true, bytes: Some(bytes) }
}

/// The smallest beginning of a program that execve(2) takes: a header and one segment of all that, at an address.
const fn elf(address: u64) -> [u8; 120] {
    let mut bytes = [0; 120];
    let head = [0x7f, b'E', b'L', b'F', 2, 1, 1];
    let mut at = 0;
    while at < head.len() {
        bytes[at] = head[at];
        at += 1;
    }
    // ET_EXEC, this machine, version 1; the program headers begin at 64; sizes 64 and 56; one of them, PT_LOAD.
    (bytes[16], bytes[18], bytes[20], bytes[32]) = (2, MACHINE, 1, 64);
    (bytes[52], bytes[54], bytes[56], bytes[64]) = (64, 56, 1, 1);
    // Readable and executable, 120 bytes of the file, a page of memory.
    (bytes[68], bytes[96], bytes[105], bytes[113]) = (5, 120, 0x10, 0x10);
    let mut at = 0;
    while at < 8 {
        bytes[80 + at] = address.to_le_bytes()[at];
        at += 1;
    }
    bytes
}

/// EM_AARCH64 or EM_X86_64.
const MACHINE: u8 = if cfg!(target_arch = "aarch64") { 183 } else { 62 };

/// A string that is too long for execve(2) (`MAX_ARG_STRLEN`).
const TOO_LONG: usize = 131_072;
/// No new namespace below so many ancestors: the model has numbers for a few levels only.
const DEEPEST: usize = 4;
/// Signals of real time, beyond those that the C library keeps.
const REAL_TIME: [i32; 3] = [34, 35, 36];

impl Maker {
    /// A call of the family's subject, for who is at a place.
    pub(super) fn family_call(&mut self, by: usize, place: usize) -> Option<Call> {
        match self.family {
            Family::Lives => None,
            Family::Files => self.about_files(by),
            Family::Sockets => self.about_sockets(by),
            Family::Handles => self.about_handles(by),
            Family::Signals => Some(self.about_signals(by)),
            Family::Programs => self.about_programs(by),
            Family::Threads => self.about_threads(by, place),
            Family::Memory => Some(self.about_memory()),
            Family::Spaces => self.about_spaces(by, place),
            Family::Terminals => self.about_terminals(by),
            Family::Users => self.about_users(by),
            Family::Tracing => self.about_tracing(by),
        }
    }

    /// A few calls of the family's subject that mean little alone: of a child, its parent, and who is born at places after this
    /// one.
    pub(super) fn family_motif(
        &mut self,
        child: usize,
        parent: usize,
        place: usize,
    ) -> Option<Vec<(usize, Call)>> {
        match self.family {
            Family::Lives | Family::Spaces | Family::Users => None,
            Family::Files => Some(match self.below(4) {
                0 => self.one_offset(child, place),
                1 => copy_across_execve(child),
                2 => writes_for_nobody(child),
                _ => a_pipe_that_does_not_block(child),
            }),
            Family::Sockets => Some(self.socket_motif(child, place)),
            Family::Handles => Some(self.end_by_handle(parent, place)),
            Family::Signals => Some(match self.below(3) {
                0 => self.two_alarms(child, place),
                _ => waiting_numbers(child, parent),
            }),
            Family::Programs => Some(match self.below(3) {
                0 => arguments_and_stack(child),
                _ => self.program_after_program(child, parent),
            }),
            Family::Threads => Some(match self.below(2) {
                0 => self.child_of_a_thread(parent, place),
                _ => self.early_leader(parent, place),
            }),
            Family::Terminals => Some(self.terminal_motif(child, parent, place)),
            Family::Memory => Some(self.pages_of_two(child, place)),
            Family::Tracing => Some(self.tracing_motif(child, parent, place)),
        }
    }

    /// What a program leaves to the next one, and what its parent can do then.
    fn program_after_program(&mut self, child: usize, parent: usize) -> Vec<(usize, Call)> {
        let first = match self.below(3) {
            0 => Call::Sigaction(Signal::USR1, Action::IGNORE),
            1 => Call::Sigaction(Signal::USR1, Action::HANDLER),
            _ => Call::Sigprocmask(Mask::Block, SigSet::of(&[Signal::USR1])),
        };
        vec![
            (child, first),
            (child, Call::Alarm(1000)),
            (child, execution_of_player()),
            (child, Call::Alarm(0)),
            (parent, Call::Kill(name(child), Signal::USR1.number())),
            (parent, Call::Setpgid(name(child), name(child))),
        ]
    }

    /// Two processes read by one open file.
    fn one_offset(&mut self, child: usize, place: usize) -> Vec<(usize, Call)> {
        let read = |by| (by, Call::Read(0, 3));
        vec![
            (child, Call::Close(0)),
            (child, Call::Open("data".to_owned(), Access::Read)),
            self.born_by(child, place + 2),
            read(place + 2),
            read(child),
            read(place + 2),
        ]
    }

    /// A handle before the end of its process, after it, and after the burial.
    fn end_by_handle(&mut self, parent: usize, place: usize) -> Vec<(usize, Call)> {
        let born = self.born_by(parent, place);
        self.alive.retain(|alive| *alive != place);
        let end = (parent, Call::PidfdEnd(0));
        vec![
            born,
            (parent, Call::Close(0)),
            (parent, Call::PidfdOpen(name(place))),
            end.clone(),
            (place, Call::ExitGroup(7)),
            end.clone(),
            (parent, Call::PidfdSend(0, 0)),
            (parent, Call::WaitidPidfd(0, Wait::any().no_hang())),
            end,
        ]
    }

    /// A first thread that ends before the others.
    fn early_leader(&mut self, parent: usize, place: usize) -> Vec<(usize, Call)> {
        let (leader, thread) = (place, place + 1);
        let born = self.born_by(parent, leader);
        self.alive.retain(|alive| *alive != leader);
        for one in [leader, thread] {
            self.threaded.insert(one, leader);
        }
        let wait = (parent, Call::Waitid(Wait { who: Who::Pid(name(leader)), ..Wait::any() }.no_hang()));
        vec![
            born,
            (leader, Call::Clone(Clone::THREAD)),
            (leader, Call::Exit(3)),
            wait.clone(),
            (thread, if self.one_in(2) { Call::ExitGroup(4) } else { self.execution("player") }),
            wait,
        ]
    }

    /// A process with two threads, one of which bears a child and ends before the other.
    fn child_of_a_thread(&mut self, parent: usize, place: usize) -> Vec<(usize, Call)> {
        let (leader, thread, child) = (place, place + 1, place + 2);
        let born = self.born_by(parent, leader);
        let bearer = self.pick(&[leader, thread]);
        let (_, birth) = self.born_by(bearer, child);
        self.alive.retain(|alive| ![leader, thread].contains(alive));
        for one in [leader, thread] {
            self.threaded.insert(one, leader);
        }
        let other = leader + thread - bearer;
        vec![
            born,
            (leader, Call::Clone(Clone::THREAD)),
            (bearer, birth),
            (child, Call::Sigaction(Signal::USR1, Action::HANDLER)),
            (child, Call::SetParentDeathSignal(Some(Signal::USR1))),
            (bearer, Call::Exit(0)),
            (child, Call::Getppid),
            (other, Call::ExitGroup(0)),
            (child, Call::Getppid),
        ]
    }

    /// Alarms of a parent and its child.
    fn two_alarms(&mut self, child: usize, place: usize) -> Vec<(usize, Call)> {
        let other = place + 1;
        let (end, later) = (Call::Alarm(0), Call::Alarm(2000));
        vec![
            (child, Call::Alarm(1000)),
            self.born_by(child, other),
            (other, end.clone()),
            (child, later),
            (child, end),
        ]
    }

    /// Pages of a process and its child: who has what, and what it costs to write.
    fn pages_of_two(&mut self, child: usize, place: usize) -> Vec<(usize, Call)> {
        let other = place + 4;
        let advice = self.pick(&[Advice::Normal, Advice::Normal, Advice::DontFork, Advice::WipeOnFork]);
        let look = |by| (by, Call::Resident(0));
        let between = if self.one_in(2) { look(child) } else { (child, Call::Clone(TOO_LATE)) };
        let plan = vec![
            (child, execution_of_player()),
            (child, Call::Mmap(4, self.one_in(4))),
            (child, Call::Touch(0, 4)),
            between,
            look(child),
            (child, Call::Madvise(0, advice)),
            self.born_by(child, other),
            look(other),
            (other, Call::Touch(0, 2)),
            look(child),
            (other, Call::ExitGroup(0)),
            (child, Call::Touch(0, 4)),
            look(child),
        ];
        self.alive.retain(|alive| *alive != other);
        plan
    }

    pub(super) fn fd(&mut self) -> i32 {
        self.below(6) as i32
    }

    fn about_files(&mut self, by: usize) -> Option<Call> {
        let fd = self.fd();
        Some(match self.below(20) {
            0..4 => Call::Pipe(self.one_in(4)),
            // A sleeping init can do little else.
            4..8 if by != 0 => Call::Read(fd, self.pick(&[0, 1, 3, 5000, 70_000])),
            8..11 => Call::Write(fd, vec![b'a' + by as u8 % 26; self.pick(&[0, 1, 2, 100])]),
            11 if by != 0 => Call::Write(fd, vec![b'z'; self.pick(&[4096, 5000, 65_536, 70_000])]),
            12 | 13 => Call::Close(fd),
            14 => Call::Dup(fd),
            15 => Call::Dup2(fd, self.fd()),
            16 => Call::SetNonblocking(fd, !self.one_in(3)),
            17 => Call::Open("data".to_owned(), Access::Read),
            18 if self.one_in(3) => Call::Open("busy".to_owned(), Access::Write),
            18 => Call::SetCloexec(fd, self.one_in(2)),
            19 if by != 0 && self.one_in(2) => self.execution("player"),
            _ => return None,
        })
    }

    fn about_handles(&mut self, by: usize) -> Option<Call> {
        let fd = self.fd();
        Some(match self.below(16) {
            0..5 => Call::PidfdOpen(self.process()),
            5..8 => Call::PidfdSend(fd, if self.one_in(6) { 0 } else { self.signal().number() }),
            8 | 9 if by != 0 => Call::PollPidfd(fd),
            10..12 => {
                let wait =
                    Wait { who: Who::Any, exited: !self.one_in(5), stopped: self.one_in(3), ..Wait::any() };
                let wait = Wait { no_hang: by == 0 || self.one_in(2), no_wait: self.one_in(4), ..wait };
                Call::WaitidPidfd(fd, wait)
            }
            12 | 13 => Call::PidfdEnd(fd),
            14 => Call::SetNonblocking(fd, !self.one_in(3)),
            15 => Call::Close(fd),
            _ => return None,
        })
    }

    fn about_signals(&mut self, by: usize) -> Call {
        let number = self.pick(&REAL_TIME);
        let signal = if self.one_in(4) { Signal::USR1 } else { Signal::new(number).unwrap_or(Signal::USR1) };
        match self.below(13) {
            12 => Call::Alarm(self.pick(&[0, 1000, 2000])),
            0..4 => Call::Sigqueue(self.process(), signal.number(), self.below(100) as i32),
            4 => Call::Kill(self.process(), signal.number()),
            5 => {
                let process = self.process();
                Call::Tgkill(process, if self.one_in(5) { self.process() } else { process }, signal.number())
            }
            6..8 => {
                let how = self.pick(&[Mask::Block, Mask::Block, Mask::Unblock]);
                let all: Vec<Signal> =
                    REAL_TIME.into_iter().filter_map(Signal::new).chain([Signal::USR1]).collect();
                let set = if self.one_in(2) { SigSet::of(&all) } else { SigSet::of(&[signal]) };
                Call::Sigprocmask(how, set)
            }
            8..10 => {
                let action = self.pick(&[Action::HANDLER, Action::HANDLER, Action::IGNORE, Action::DEFAULT]);
                Call::Sigaction(signal, Action { restart: self.one_in(2), ..action })
            }
            10 if by != 0 => Call::Pause,
            _ => Call::Sigpending,
        }
    }

    pub(super) fn execution(&mut self, path: &str) -> Call {
        let args = match self.below(8) {
            0 => vec!["player".to_owned(), "x".repeat(TOO_LONG)],
            1 => Vec::new(),
            2 => vec!["a b".to_owned(), "\u{e9}%".to_owned(), "".to_owned()],
            _ => vec!["player".to_owned(), "x".to_owned()],
        };
        Call::Execve(Box::new(Program { path: path.to_owned(), args, env: Vec::new() }))
    }

    fn about_programs(&mut self, by: usize) -> Option<Call> {
        if by == 0 {
            return None;
        }
        let wrong = ["missing", "orphan", "loop", "text", "empty", "plain", "folder", "broken"];
        let right = ["player", "player", "script", "nested", "busy"];
        Some(match self.below(12) {
            0..4 => {
                let path = self.pick(&right);
                self.execution(path)
            }
            4 | 5 => {
                let path = self.pick(&wrong);
                self.execution(path)
            }
            6 => Call::Open("busy".to_owned(), Access::Write),
            7 => Call::Pipe(self.one_in(2)),
            8 => self.mask(),
            9 => Call::SetCloexec(self.fd(), true),
            10 => Call::Sigaction(Signal::USR1, self.pick(&[Action::HANDLER, Action::IGNORE])),
            _ => Call::Close(self.fd()),
        })
    }

    fn about_threads(&mut self, by: usize, place: usize) -> Option<Call> {
        if by == 0 {
            return None;
        }
        let first = self.threaded.get(&by).copied().unwrap_or(by);
        Some(match self.below(10) {
            0..4 if self.alive.len() < 6 => {
                self.threaded.insert(by, first);
                self.threaded.insert(place, first);
                self.alive.push(place);
                Call::Clone(Clone::THREAD)
            }
            4 | 5 if first != by || self.one_in(2) => Call::Exit(self.below(8) as i32),
            6 if self.one_in(2) => self.execution("player"),
            7 => Call::Tgkill(name(first), self.process(), self.signal().number()),
            8 => Call::PidfdOpen(self.process()),
            9 if self.one_in(2) => Call::Pause,
            _ => return None,
        })
    }

    fn about_memory(&mut self) -> Call {
        let area = self.below(3);
        match self.below(10) {
            0 | 1 => Call::Mmap(self.below(6) as u32, self.one_in(4)),
            2..6 => Call::Touch(area, self.below(6) as u32),
            6 => {
                let advice = self.pick(&[Advice::Normal, Advice::DontFork, Advice::WipeOnFork]);
                Call::Madvise(area, advice)
            }
            _ => Call::Resident(area),
        }
    }

    fn about_spaces(&mut self, by: usize, place: usize) -> Option<Call> {
        Some(match self.below(8) {
            7 => Call::Clone(TOO_LATE),
            0..2 if self.may_bear() && self.depth(by) < DEEPEST => {
                self.alive.push(place);
                Call::Clone(Clone::INIT)
            }
            2 if by != 0 && self.depth(by) < DEEPEST => Call::UnsharePid,
            3 => Call::Kill(self.process(), self.pick(&[Signal::KILL, Signal::TERM, Signal::STOP]).number()),
            4 => Call::Getpid,
            5 => Call::Getppid,
            _ => return None,
        })
    }

    /// How many stand above somebody: namespaces are nested no deeper.
    fn depth(&self, by: usize) -> usize {
        core::iter::successors(Some(by), |one| self.parents.get(one).copied()).count()
    }

    fn about_users(&mut self, by: usize) -> Option<Call> {
        Some(match self.below(8) {
            0 | 1 if by != 0 => Call::Setuid(1 + self.below(2) as u32),
            2 | 3 if by != 0 => Call::LimitProcesses(self.below(4) as u32),
            4 => Call::Kill(self.process(), self.pick(&[0, 0, 10, 18])),
            _ => return None,
        })
    }
}

/// A birth that fails when all is copied, for its number is init's.
const TOO_LATE: Clone = Clone { set_tid: Some(name(0)), ..Clone::FORK };

/// Arguments that are too long only together, and only for a small stack: a quarter of it is theirs, but never less than 128 KiB.
fn arguments_and_stack(child: usize) -> Vec<(usize, Call)> {
    let long = "x".repeat(70_000);
    let args = vec![PLAYER.to_owned(), long.clone(), long];
    let program = Call::Execve(Box::new(Program { path: PLAYER.to_owned(), args, env: Vec::new() }));
    let limit = |bytes| (child, Call::LimitStack(bytes));
    vec![limit(512 << 10), (child, program.clone()), limit(1 << 20), (child, program)]
}

/// A descriptor that is closed by execve(2), and its copy.
fn copy_across_execve(child: usize) -> Vec<(usize, Call)> {
    let calls = [
        Call::Close(0),
        Call::Open("data".to_owned(), Access::Read),
        Call::SetCloexec(0, true),
        Call::Close(1),
        Call::Dup(0),
        execution_of_player(),
        Call::Read(1, 3),
        Call::Read(0, 3),
    ];
    calls.map(|call| (child, call)).into()
}

/// An execve(2) that succeeds, with the simplest arguments.
pub(super) fn execution_of_player() -> Call {
    let program = Program { path: PLAYER.to_owned(), args: vec![PLAYER.to_owned()], env: Vec::new() };
    Call::Execve(Box::new(program))
}

/// SIGPIPE with its handler.
fn writes_for_nobody(child: usize) -> Vec<(usize, Call)> {
    let calls = [
        Call::Close(0),
        Call::Close(1),
        Call::Pipe(false),
        Call::Close(0),
        Call::Sigaction(Signal::PIPE, Action::HANDLER),
        Call::Write(1, vec![b'x']),
        Call::Getpid,
    ];
    calls.map(|call| (child, call)).into()
}

/// How much fits, and when something fits again.
fn a_pipe_that_does_not_block(child: usize) -> Vec<(usize, Call)> {
    let calls = [
        Call::Close(0),
        Call::Close(1),
        Call::Pipe(false),
        Call::SetNonblocking(0, true),
        Call::Read(0, 1),
        Call::SetNonblocking(1, true),
        Call::Write(1, vec![b'x'; 100]),
        Call::Write(1, vec![b'y'; 70_000]),
        Call::Write(1, vec![b'z']),
        Call::Read(0, 3000),
        Call::Write(1, vec![b'z'; 5000]),
        Call::Read(0, 3000),
        Call::Write(1, vec![b'z'; 5000]),
    ];
    calls.map(|call| (child, call)).into()
}

/// Real-time signals that wait together.
fn waiting_numbers(child: usize, parent: usize) -> Vec<(usize, Call)> {
    let all: Vec<Signal> = REAL_TIME.into_iter().filter_map(Signal::new).chain([Signal::USR1]).collect();
    let mut plan = vec![(child, Call::Sigprocmask(Mask::Block, SigSet::of(&all)))];
    plan.extend(all.iter().map(|signal| (child, Call::Sigaction(*signal, Action::HANDLER))));
    for (number, signal) in [(1, 34), (2, 34), (3, 36), (4, 10), (5, 10)] {
        plan.push((parent, Call::Sigqueue(name(child), signal, number)));
    }
    plan.extend([
        (child, Call::Sigpending),
        (child, Call::Sigprocmask(Mask::Unblock, SigSet::of(&all))),
        (child, Call::Getpid),
    ]);
    plan
}
