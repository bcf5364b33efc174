//! The program that copies fields of each task into a record: one that walks over the tasks itself and writes into memory of ours (Linux 6.7
//! and later), or one that the kernel runs at each step of a walk of its own, and that writes into a file.
//!
//! It is assembled here, for the kernel that runs: where each field stands is asked of the kernel's types. A field is a path from the
//! task; each `->` follows a pointer, and a pointer that leads nowhere gives zeros (the kernel sees to that).

use super::NoIterator;
use super::btf::Btf;
use crate::procfs::Spare;

/// Defines what is in a record: for each word what it is part of, and its paths, of which the first is taken that this kernel has. `?`: zero
/// where it has none.
macro_rules! record {
    ($($(#[$doc:meta])* $name:ident $part:ident $($optional:literal)?: $($path:literal)|+;)*) => {
        /// The words of a record.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub(super) enum Word { $($(#[$doc])* $name),* }

        const FIELDS: &[Field] = &[$(Field {
            part: Part::$part,
            paths: &[$($path),+],
            optional: !matches!([$($optional,)? ' '], [' ', ..]),
        }),*];
    };
}

struct Field {
    part: Part,
    paths: &'static [&'static str],
    optional: bool,
}

/// What is left out together.
#[derive(Clone, Copy)]
enum Part {
    Always,
    Times,
    Memory,
    Rest,
}

record! {
    Tid Always: "pid";
    Tgid Always: "tgid";
    State Always: "__state" | "state";
    ExitState Always: "exit_state";
    Flags Always: "flags";
    Ppid Always: "real_parent->tgid";
    Start Always: "start_boottime" | "real_start_time";
    Priority Rest: "prio";
    StaticPriority Rest: "static_prio";
    RealtimePriority Rest: "rt_priority";
    Policy Rest: "policy";
    Processor Rest: "thread_info.cpu" | "cpu";
    ExitCode Rest: "exit_code";
    MinorFaults Rest: "min_flt";
    MajorFaults Rest: "maj_flt";
    User Times: "utime";
    System Times: "stime";
    Ran Times: "se.sum_exec_runtime";
    ToldUser Times '?': "prev_cputime.utime";
    ToldSystem Times '?': "prev_cputime.stime";
    DiskDelay Rest '?': "delays->blkio_delay";
    /// The name, in this word and the next.
    Name Always: "comm";
    NameEnd Always: "comm";
    Group Rest: "signal->pids[2]->numbers[0].nr";
    Session Rest: "signal->pids[3]->numbers[0].nr";
    Threads Always: "signal->nr_threads";
    GroupFlags Rest: "signal->flags";
    GroupExitCode Rest: "signal->group_exit_code";
    /// What its threads that have ended left behind, and what `/proc` told of all last.
    DeadMinorFaults Rest: "signal->min_flt";
    DeadMajorFaults Rest: "signal->maj_flt";
    DeadUser Times: "signal->utime";
    DeadSystem Times: "signal->stime";
    DeadRan Times: "signal->sum_sched_runtime";
    AllToldUser Times '?': "signal->prev_cputime.utime";
    AllToldSystem Times '?': "signal->prev_cputime.stime";
    BuriedUser Rest: "signal->cutime";
    BuriedSystem Rest: "signal->cstime";
    TtyIndex Rest: "signal->tty->index";
    TtyMajor Rest: "signal->tty->driver->major";
    TtyMinor Rest: "signal->tty->driver->minor_start";
    TtyGroup Rest: "signal->tty->ctrl.pgrp->numbers[0].nr" | "signal->tty->pgrp->numbers[0].nr";
    VirtualPages Memory: "mm->total_vm";
    FilePages Memory: "mm->rss_stat[0].count" | "mm->rss_stat.count[0].counter";
    AnonymousPages Memory: "mm->rss_stat[1].count" | "mm->rss_stat.count[1].counter";
    SharedPages Memory: "mm->rss_stat[3].count" | "mm->rss_stat.count[3].counter";
}

/// The words that are written when this is spared, in their order.
pub(super) fn words(spare: Spare) -> Vec<usize> {
    let is_wanted = |at: &usize| match FIELDS[*at].part {
        Part::Always => true,
        Part::Times => !spare.times,
        Part::Memory => !spare.memory,
        Part::Rest => !spare.rest,
    };
    (0..WORDS).filter(is_wanted).collect()
}

/// So many words are a record.
pub(super) const WORDS: usize = FIELDS.len();
/// What of the kernel must be known by name.
pub(super) const STRUCTURES: [&str; 2] = ["task_struct", "bpf_iter_meta"];
pub(super) const FUNCTIONS: [&str; 7] = [
    "bpf_iter_task",
    "bpf_rdonly_cast",
    "bpf_rcu_read_lock",
    "bpf_rcu_read_unlock",
    "bpf_iter_task_new",
    "bpf_iter_task_next",
    "bpf_iter_task_destroy",
];

// The program has 512 bytes of stack.
const _: () = assert!(WORDS * 8 <= 512);

/// Registers: the answer, the arguments, which are spare until the call, and those that calls leave alone.
const R0: u8 = 0;
const R1: u8 = 1;
const R2: u8 = 2;
const R3: u8 = 3;
const SPARE: [u8; 4] = [1, 2, 3, 4];
const ROW: u8 = 5;
const TASK: u8 = 6;
/// Where is written: the file, or the slate.
pub(super) const OUT: u8 = 7;
const SIGNAL: u8 = 8;
const MEMORY: u8 = 9;
const STACK: u8 = 10;
/// `bpf_seq_write` (include/uapi/linux/bpf.h).
const SEQ_WRITE: i32 = 127;
/// `BPF_PSEUDO_KFUNC_CALL`: a call of a function of the kernel by its number among the types.
const KERNEL_FUNCTION: u8 = 2;
/// `BPF_TASK_ITER_ALL_THREADS`, and where on the stack the kernel keeps its place (`struct bpf_iter_task`).
const ALL_THREADS: i32 = 1;
const PLACE: i32 = -24;
/// Instructions: to a register from a register or a number, into memory, a sum, a product, jumps, a call, the end.
const MOVE: u8 = 0xbf;
const SET: u8 = 0xb7;
const STORE: u8 = 0x7b;
const ADD: u8 = 0x0f;
const ADD_NUMBER: u8 = 0x07;
const TIMES_NUMBER: u8 = 0x27;
const JUMP: u8 = 0x05;
const JUMP_IF_IS: u8 = 0x15;
const JUMP_FROM: u8 = 0x35;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;

/// A slate has the number of records first, also of those for which it has no room, and the records from here on.
pub(super) const HEADER: usize = 8;

/// The program for the kernel with these types, which it runs at each step of a walk of its own, and the function at which it does. It writes
/// these words into the file that is read.
pub(super) fn at_each_step(btf: &Btf, words: &[usize]) -> Result<(Vec<u64>, u32), NoIterator> {
    let function = Named::BpfIterTask.number(btf)?;
    let task = btf.named(0).ok_or(NoIterator::Field("task_struct"))?;
    let meta = btf.named(1).and_then(|meta| Walk::along(btf, meta, "seq"));
    let file = meta.ok_or(NoIterator::Field("seq"))?;
    let mut code = Code::default();
    // The context is two pointers: of the walk, and of the task, which is none at the end.
    code.load(8, TASK, R1, 8);
    code.load(8, R1, R1, 0);
    code.load(8, OUT, R1, file.offset);
    let to_end = code.words.len();
    code.op(JUMP_IF_IS, (TASK, 0), 0, 0);
    if let Ok(cast) = Named::Cast.number(btf) {
        code.distrust(TASK, task, cast);
    }
    let size = (words.len() * 8) as i16;
    code.record(btf, task, words, (STACK, -size))?;
    code.op(MOVE, (R1, OUT), 0, 0);
    code.op(MOVE, (R2, STACK), 0, 0);
    code.op(ADD_NUMBER, (R2, 0), 0, i32::from(-size));
    code.op(SET, (R3, 0), 0, i32::from(size));
    code.op(CALL, (0, 0), 0, SEQ_WRITE);
    code.jump_from(to_end, code.words.len());
    code.op(SET, (R0, 0), 0, 0);
    code.op(EXIT, (0, 0), 0, 0);
    Ok((code.words, function))
}

/// The program for the kernel with these types that walks over all tasks itself, and writes these words of each on a slate with room for so many.
/// `slate` brings its address into [`OUT`].
pub(super) fn by_itself(
    btf: &Btf,
    words: &[usize],
    slate: [u64; 2],
    room: u32,
) -> Result<Vec<u64>, NoIterator> {
    let task = btf.named(0).ok_or(NoIterator::Field("task_struct"))?;
    let tgid = Walk::along(btf, task, "tgid").ok_or(NoIterator::Field("tgid"))?;
    let [cast, lock, unlock, new, next, destroy] =
        [Named::Cast, Named::Lock, Named::Unlock, Named::New, Named::Next, Named::Destroy]
            .map(|function| function.number(btf));
    let mut code = Code { words: slate.to_vec(), ..Code::default() };
    code.op(SET, (R0, 0), 0, 0);
    code.op(STORE, (OUT, R0), 0, 0);
    // While this is held, no task that was met can be freed.
    code.call(lock?);
    code.place();
    code.op(SET, (R2, 0), 0, 0);
    code.op(SET, (R3, 0), 0, ALL_THREADS);
    code.call(new?);
    let top = code.words.len();
    code.place();
    code.call(next?);
    let to_end = code.words.len();
    code.op(JUMP_IF_IS, (R0, 0), 0, 0);
    code.op(MOVE, (TASK, R0), 0, 0);
    code.distrust(TASK, task, cast?);
    // The first is that of a CPU with nothing to do.
    code.load(4, R0, TASK, tgid.offset);
    code.jump_back(JUMP_IF_IS, R0, 0, top);
    // The kernel loses track of a number that it keeps in memory, and can prove that the loop ends.
    code.load(8, R1, OUT, 0);
    code.op(MOVE, (R2, R1), 0, 0);
    code.op(ADD_NUMBER, (R2, 0), 0, 1);
    code.op(STORE, (OUT, R2), 0, 0);
    code.jump_back(JUMP_FROM, R1, room as i32, top);
    code.op(TIMES_NUMBER, (R1, 0), 0, (words.len() * 8) as i32);
    code.op(MOVE, (ROW, OUT), 0, 0);
    code.op(ADD, (ROW, R1), 0, 0);
    code.record(btf, task, words, (ROW, HEADER as i16))?;
    code.jump_back(JUMP, 0, 0, top);
    code.jump_from(to_end, code.words.len());
    code.place();
    code.call(destroy?);
    code.call(unlock?);
    code.op(SET, (R0, 0), 0, 0);
    code.op(EXIT, (0, 0), 0, 0);
    Ok(code.words)
}

/// Functions of the kernel, in the order of [`FUNCTIONS`].
#[derive(Clone, Copy)]
enum Named {
    BpfIterTask,
    Cast,
    Lock,
    Unlock,
    New,
    Next,
    Destroy,
}

impl Named {
    fn number(self, btf: &Btf) -> Result<u32, NoIterator> {
        let found = btf.named(STRUCTURES.len() + self as usize);
        found.ok_or(NoIterator::Field(FUNCTIONS[self as usize]))
    }
}

/// How a field is come by: the register that is nearest, the pointers that are followed, and what is read at last.
#[derive(Debug, Default, PartialEq, Eq)]
struct Walk {
    from: u8,
    pointers: Vec<u32>,
    offset: u32,
    /// 0: there is no such field.
    size: u32,
}

impl Walk {
    fn along(btf: &Btf, task: u32, path: &str) -> Option<Walk> {
        let mut walk = Walk { from: TASK, ..Walk::default() };
        let mut structure = task;
        let mut steps = path.split("->").peekable();
        while let Some(step) = steps.next() {
            let place = btf.place(structure, step)?;
            if steps.peek().is_none() {
                walk.offset = place.offset;
                walk.size = btf.size(place.kind)?;
                break;
            }
            structure = btf.behind(place.kind)?;
            match (step, walk.from) {
                ("signal", TASK) => walk.from = SIGNAL,
                ("mm", TASK) => walk.from = MEMORY,
                _ => walk.pointers.push(place.offset),
            }
        }
        // What lies further is out of reach of one instruction.
        if walk.pointers.iter().chain([&(walk.offset + 8)]).any(|offset| *offset > i16::MAX as u32) {
            return None;
        }
        // A name is read as words.
        if walk.size == 16 {
            walk.size = 8;
        }
        matches!(walk.size, 4 | 8).then_some(walk)
    }
}

/// Instructions (Documentation/bpf/standardization/instruction-set.rst).
#[derive(Default)]
struct Code {
    words: Vec<u64>,
    /// The pointers that are in spare registers: each by where its path begins, and its path.
    held: Vec<(u8, Vec<u32>, u8)>,
    /// So many were loaded.
    loaded: usize,
}

impl Code {
    fn op(&mut self, code: u8, (to, from): (u8, u8), offset: i16, number: i32) {
        let word = u64::from(code)
            | u64::from(to) << 8
            | u64::from(from) << 12
            | u64::from(offset as u16) << 16
            | u64::from(number as u32) << 32;
        self.words.push(word);
    }

    fn load(&mut self, size: u32, to: u8, from: u8, offset: u32) {
        let code = if size == 8 { 0x79 } else { 0x61 };
        self.op(code, (to, from), offset as i16, 0);
    }

    fn call(&mut self, function: u32) {
        self.op(CALL, (0, KERNEL_FUNCTION), 0, function as i32);
    }

    /// The first argument of all that concerns the place in the walk.
    fn place(&mut self) {
        self.op(MOVE, (R1, STACK), 0, 0);
        self.op(ADD_NUMBER, (R1, 0), 0, PLACE);
    }

    /// Lets a jump that was written before lead here.
    fn jump_from(&mut self, at: usize, to: usize) {
        self.words[at] |= ((to - at - 1) as u64 & 0xffff) << 16;
    }

    fn jump_back(&mut self, code: u8, register: u8, number: i32, to: usize) {
        let offset = to as i64 - self.words.len() as i64 - 1;
        self.op(code, (register, 0), offset as i16, number);
    }

    /// The same task, which the kernel does not trust any more: of what is trusted, Linux 6.4 to 6.18 search all types for rules at each
    /// pointer, which takes longer than all else here.
    fn distrust(&mut self, register: u8, kind: u32, cast: u32) {
        self.op(MOVE, (R1, register), 0, 0);
        self.op(SET, (R2, 0), 0, kind as i32);
        self.call(cast);
        self.op(MOVE, (register, R0), 0, 0);
    }

    /// Copies these words of the task to where a register points, and so much further.
    fn record(
        &mut self,
        btf: &Btf,
        task: u32,
        words: &[usize],
        (to, further): (u8, i16),
    ) -> Result<(), NoIterator> {
        for (register, path) in [(SIGNAL, "signal"), (MEMORY, "mm")] {
            let place = btf.place(task, path).ok_or(NoIterator::Field(path))?;
            self.load(8, register, TASK, place.offset);
        }
        for (place, &at) in words.iter().enumerate() {
            let field = &FIELDS[at];
            let found = field.paths.iter().find_map(|path| Walk::along(btf, task, path));
            let walk = match found {
                Some(walk) => walk,
                None if field.optional => Walk::default(),
                None => return Err(NoIterator::Field(field.paths[0])),
            };
            self.field(&walk, if at == Word::NameEnd as usize { 8 } else { 0 });
            self.op(STORE, (to, R0), (place * 8) as i16 + further, 0);
        }
        Ok(())
    }

    /// Brings a field into the first register.
    fn field(&mut self, walk: &Walk, further: u32) {
        if walk.size == 0 {
            return self.op(SET, (R0, 0), 0, 0);
        }
        let mut from = walk.from;
        for (at, offset) in walk.pointers.iter().enumerate() {
            from = self.pointer((walk.from, &walk.pointers[..=at]), from, *offset);
        }
        self.load(walk.size, R0, from, walk.offset + further);
    }

    /// The register with the pointer that stands at the end of a path; it is loaded, unless it is in one already.
    fn pointer(&mut self, (base, path): (u8, &[u32]), from: u8, offset: u32) -> u8 {
        if let Some(held) = self.held.iter().find(|held| held.0 == base && held.1 == path) {
            return held.2;
        }
        let register = SPARE[self.loaded % SPARE.len()];
        self.loaded += 1;
        self.load(8, register, from, offset);
        self.held.retain(|held| held.2 != register);
        self.held.push((base, path.to_vec(), register));
        register
    }
}
