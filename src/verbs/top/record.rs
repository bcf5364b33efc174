//! Looks kept in a file, and played again. The format is told in docs/top.md: one JSON object a line, the first about the
//! machine, each other about one look and what changed since the one before.
//!
//! A file whose end is missing is played as far as its lines are whole. Absent on purpose: what only a live process can
//! answer (files, environment, users), and what was on nobody's screen.

use super::meters::Meters;
use super::state::Look;
use crate::error::Failure;
use crate::processes::Context;
use doula_host::procfs::{Answer, Machine, ProcState, Process, Stat, Want};
use doula_model::id::Pid;
use doula_model::process::Identity;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::time::Duration;

/// Of the format.
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    doula_top: u32,
    boot_id: String,
    ticks_per_second: u64,
    page_size: u64,
    memory: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    /// The wall clock and the time since the machine started, in seconds.
    at: f64,
    uptime: f64,
    /// Since the look before.
    interval: Option<f64>,
    meters: Meters,
    /// Who is new or has changed.
    changed: Vec<Kept>,
    /// Who is gone.
    gone: Vec<i32>,
}

/// What is kept of a process: its name, its state, 24 numbers in the order of [`numbers`], its arguments if they were seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Kept(Bytes, char, Vec<i64>, Option<Bytes>);

/// Text as it is, other bytes in hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Bytes {
    Text(String),
    Hex { hex: String },
}

impl Bytes {
    fn new(bytes: &[u8]) -> Bytes {
        match std::str::from_utf8(bytes) {
            Ok(text) => Bytes::Text(text.to_owned()),
            Err(_) => Bytes::Hex { hex: bytes.iter().map(|byte| format!("{byte:02x}")).collect() },
        }
    }

    fn bytes(&self) -> Option<Vec<u8>> {
        match self {
            Bytes::Text(text) => Some(text.clone().into_bytes()),
            Bytes::Hex { hex } => {
                let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
                hex.as_bytes().chunks(2).map(pair).collect()
            }
        }
    }
}

/// The numbers of `stat`, as proc_pid_stat(5) orders and counts them.
fn numbers(stat: &Stat) -> Vec<i64> {
    let unsigned = |number: u64| number as i64;
    vec![
        stat.pid.get().into(),
        stat.ppid.into(),
        stat.pgid.into(),
        stat.sid.into(),
        stat.tty.into(),
        stat.tpgid.into(),
        stat.flags.into(),
        unsigned(stat.faults.0),
        unsigned(stat.faults.1),
        unsigned(stat.cpu.0),
        unsigned(stat.cpu.1),
        unsigned(stat.buried_cpu.0),
        unsigned(stat.buried_cpu.1),
        stat.priority.into(),
        stat.nice.into(),
        stat.threads.into(),
        unsigned(stat.start_ticks),
        unsigned(stat.virtual_bytes),
        unsigned(stat.resident_pages),
        stat.processor.into(),
        stat.rt_priority.into(),
        stat.policy.into(),
        unsigned(stat.io_delay),
        stat.exit_code.into(),
    ]
}

impl Kept {
    fn new(process: &Process) -> Kept {
        let args = process.args.known().map(|args| Bytes::new(args));
        Kept(Bytes::new(&process.stat.name), process.stat.state.letter(), numbers(&process.stat), args)
    }

    /// `None` for what no recorder writes.
    fn process(&self) -> Option<Process> {
        let Kept(name, state, numbers, args) = self;
        let numbers: [i64; 24] = numbers.as_slice().try_into().ok()?;
        let [pid, ppid, pgid, sid, tty, tpgid, flags, minor, major, user, system, rest @ ..] = numbers;
        let [buried_user, buried_system, priority, nice, threads, start, room, pages, rest @ ..] = rest;
        let [processor, rt_priority, policy, io_delay, exit_code] = rest;
        let stat = Stat {
            pid: Pid::new(i32::try_from(pid).ok()?)?,
            name: name.bytes()?,
            state: ProcState::from_letter(u8::try_from(*state).ok()?),
            ppid: ppid as i32,
            pgid: pgid as i32,
            sid: sid as i32,
            tty: tty as u32,
            tpgid: tpgid as i32,
            flags: flags as u32,
            faults: (minor as u64, major as u64),
            cpu: (user as u64, system as u64),
            buried_cpu: (buried_user as u64, buried_system as u64),
            priority: priority as i32,
            nice: nice as i32,
            threads: threads as u32,
            start_ticks: start as u64,
            virtual_bytes: room as u64,
            resident_pages: pages as u64,
            processor: processor as u32,
            rt_priority: rt_priority as u32,
            policy: policy as u32,
            io_delay: io_delay as u64,
            exit_code: exit_code as i32,
        };
        let args = args.as_ref().and_then(Bytes::bytes).map_or(Answer::None, Answer::Is);
        Some(Process { args, ..Process::new(stat) })
    }
}

/// Writes looks to a file.
pub(super) struct Recorder {
    file: BufWriter<File>,
    name: String,
    known: BTreeMap<Pid, Kept>,
    begun: bool,
}

impl Recorder {
    /// Begins a file. One that exists is left alone.
    pub(super) fn create(path: &Path) -> Result<Recorder, Failure> {
        let name = path.display().to_string();
        let file = File::create_new(path).map_err(|error| {
            Failure::usage(format!("failed to create the record `{name}`: {error}"))
                .hint("a file that exists is not overwritten: give another name")
        })?;
        Ok(Recorder { file: BufWriter::new(file), name, known: BTreeMap::new(), begun: false })
    }

    /// Keeps one look.
    pub(super) fn keep(&mut self, look: &Look) -> Result<(), Failure> {
        let machine = &look.context.machine;
        if !std::mem::replace(&mut self.begun, true) {
            let head = Head {
                doula_top: VERSION,
                boot_id: machine.boot_id.clone(),
                ticks_per_second: machine.ticks_per_second,
                page_size: machine.page_size,
                memory: look.context.memory,
            };
            self.write(&head)?;
        }
        let mut now = BTreeMap::new();
        let mut changed = Vec::new();
        for process in &look.processes {
            let kept = Kept::new(process);
            if self.known.get(&process.stat.pid) != Some(&kept) {
                changed.push(kept.clone());
            }
            now.insert(process.stat.pid, kept);
        }
        let gone = self.known.keys().filter(|pid| !now.contains_key(pid)).map(|pid| pid.get()).collect();
        self.known = now;
        self.write(&Line {
            at: machine.wall.as_secs_f64(),
            uptime: machine.uptime.as_secs_f64(),
            interval: look.context.interval.map(|interval| interval.as_secs_f64()),
            meters: look.meters.clone(),
            changed,
            gone,
        })
    }

    fn write(&mut self, line: &impl Serialize) -> Result<(), Failure> {
        let failed =
            |error: std::io::Error| Failure::doula(format!("failed to write `{}`: {error}", self.name));
        let text = serde_json::to_string(line).map_err(|error| failed(error.into()))?;
        let written = writeln!(self.file, "{text}").and_then(|()| self.file.flush());
        written.map_err(|error| Failure::doula(format!("failed to write `{}`: {error}", self.name)))
    }
}

/// Plays a file.
pub(super) struct Player {
    head: Head,
    lines: Vec<Line>,
    /// So many looks were played.
    at: usize,
    processes: BTreeMap<Pid, Process>,
    /// Why not all of the file is played.
    cut: Option<String>,
}

impl Player {
    /// Reads a file.
    pub(super) fn open(path: &Path) -> Result<Player, Failure> {
        let name = path.display();
        let bytes = std::fs::read(path)
            .map_err(|error| Failure::usage(format!("failed to read the record `{name}`: {error}")))?;
        Player::parse(&bytes).map_err(|error| Failure::usage(format!("`{name}`: {error}")))
    }

    /// The looks of a text, as far as they are whole.
    fn parse(bytes: &[u8]) -> Result<Player, String> {
        let mut texts = bytes.split(|&byte| byte == b'\n');
        let head: Head = serde_json::from_slice(texts.next().unwrap_or_default())
            .map_err(|_| "this is no record of `doula top`".to_owned())?;
        if head.doula_top != VERSION || head.ticks_per_second == 0 {
            return Err(format!(
                "this record has version {}, and only {VERSION} can be played",
                head.doula_top
            ));
        }
        let (mut lines, mut cut) = (Vec::new(), None);
        for (number, text) in texts.enumerate().filter(|(_, text)| !text.is_empty()) {
            match serde_json::from_slice::<Line>(text) {
                Ok(line) if line.is_sound() => lines.push(line),
                Ok(_) | Err(_) => {
                    cut = Some(format!("line {} is not whole: what follows is not played", number + 2));
                    break;
                }
            }
        }
        if lines.is_empty() {
            return Err("not one look of this record is whole".to_owned());
        }
        Ok(Player { head, lines, at: 0, processes: BTreeMap::new(), cut })
    }

    /// Why not all of the file is played; nothing when all of it is.
    pub(super) fn cut(&self) -> Option<&str> {
        self.cut.as_deref()
    }

    /// So many looks on, or back; nothing at the end.
    pub(super) fn step(&mut self, steps: i32) -> Option<Look> {
        let steps = isize::try_from(steps).unwrap_or(0);
        let wanted = self.at.saturating_add_signed(steps).clamp(1, self.lines.len());
        if wanted == self.at {
            return None;
        }
        if wanted < self.at {
            (self.at, self.processes) = (0, BTreeMap::new());
        }
        let mut look = None;
        while self.at < wanted {
            look = Some(self.next());
        }
        look
    }

    fn next(&mut self) -> Look {
        let line = &self.lines[self.at];
        self.at += 1;
        let ticks = |process: &Process| process.stat.cpu.0 + process.stat.cpu.1;
        let before: Vec<(Identity, u64)> =
            self.processes.values().map(|process| (process.stat.identity(), ticks(process))).collect();
        self.processes.retain(|pid, _| !line.gone.contains(&pid.get()));
        let changed = line.changed.iter().filter_map(Kept::process);
        self.processes.extend(changed.map(|process| (process.stat.pid, process)));
        let machine = Machine {
            boot_id: self.head.boot_id.clone(),
            uptime: seconds(line.uptime),
            wall: seconds(line.at),
            ticks_per_second: self.head.ticks_per_second,
            page_size: self.head.page_size,
        };
        let interval = line.interval.map(seconds).filter(|interval| !interval.is_zero());
        let context = Context::measured(machine, self.head.memory, interval, before);
        Look {
            processes: self.processes.values().cloned().collect(),
            asked: Want::default(),
            context,
            meters: line.meters.clone(),
            ended: None,
        }
    }

    /// `record: look 3 of 20, 2026-11-29T08:00:00Z`.
    pub(super) fn place(&self) -> String {
        let at = self.at.checked_sub(1).and_then(|at| self.lines.get(at));
        let wall = at.and_then(|line| jiff::Timestamp::from_second(line.at as i64).ok());
        let wall = wall.map_or_else(String::new, |wall| format!(", {wall}"));
        let cut = self.cut.as_ref().map_or_else(String::new, |cut| format!("; {cut}"));
        format!("record: look {} of {}{wall}{cut}", self.at, self.lines.len())
    }
}

impl Line {
    fn is_sound(&self) -> bool {
        self.changed.iter().all(|kept| kept.process().is_some())
    }
}

/// Nothing that a file says can be too large or negative.
fn seconds(number: f64) -> Duration {
    Duration::try_from_secs_f64(number).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{look, process};
    use super::*;
    use proptest::prelude::*;

    /// Three looks, in which one process works, one is born and one goes, as a recorder writes them.
    fn recorded() -> Vec<u8> {
        let path = std::env::temp_dir().join(format!("doula-record-{:?}", std::thread::current().id()));
        let path = path.with_extension(std::process::id().to_string());
        let mut recorder = Recorder::create(&path).expect("a new file");
        assert!(Recorder::create(&path).is_err(), "what exists is left alone");
        let (mut works, sleeps, odd) = (process(7, 1, "works"), process(8, 7, "sleeps"), process(9, 7, "x"));
        recorder.keep(&look(vec![works.clone(), sleeps.clone()])).expect("to write");
        works.stat.cpu.0 += 50;
        let mut odd = odd;
        odd.stat.name = b"\xff)\n".to_vec();
        odd.args = Answer::Is(b"a\0b c\0".to_vec());
        recorder.keep(&look(vec![works.clone(), sleeps, odd.clone()])).expect("to write");
        recorder.keep(&look(vec![works, odd])).expect("to write");
        let bytes = std::fs::read(&path).expect("what was written");
        std::fs::remove_file(&path).expect("ours");
        bytes
    }

    fn pids(look: &Look) -> Vec<i32> {
        look.processes.iter().map(|process| process.stat.pid.get()).collect()
    }

    #[test]
    fn what_was_recorded_is_played_look_by_look_and_back() {
        let mut player = Player::parse(&recorded()).expect("a record");
        assert_eq!(player.cut(), None);
        assert_eq!(pids(&player.step(1).expect("the first")), [7, 8]);
        let second = player.step(1).expect("the second");
        assert_eq!(pids(&second), [7, 8, 9]);
        assert_eq!(second.processes[2].stat.name, b"\xff)\n");
        assert_eq!(second.processes[2].args, Answer::Is(b"a\0b c\0".to_vec()));
        let identity = second.processes[0].stat.identity();
        assert_eq!(second.context.before(identity), Some(second.processes[0].stat.cpu.0 + 2 - 50));
        assert_eq!(pids(&player.step(5).expect("the third")), [7, 9]);
        assert!(player.step(1).is_none() && player.place().starts_with("record: look 3 of 3"));
        assert_eq!(pids(&player.step(-2).expect("the first again")), [7, 8]);
    }

    #[test]
    fn a_record_without_its_end_is_played_as_far_as_it_is_whole() {
        let bytes = recorded();
        let mut player = Player::parse(&bytes[..bytes.len() - 20]).expect("two looks are whole");
        assert_eq!(player.cut(), Some("line 4 is not whole: what follows is not played"));
        player.step(9).expect("the last that is whole");
        assert!(player.place().contains("look 2 of 2"), "{}", player.place());
        assert!(Player::parse(b"{}").is_err() && Player::parse(b"").is_err());
    }

    proptest! {
        #[test]
        fn no_damage_makes_it_panic(at in 0usize..4000, byte: u8, end in 0usize..4000) {
            let mut bytes = recorded();
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(end.max(1));
            if let Ok(mut player) = Player::parse(&bytes) {
                while player.step(1).is_some() {}
            }
        }
    }
}
