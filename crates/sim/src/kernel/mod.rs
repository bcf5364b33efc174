//! The kernel: tables of tasks, processes and numbers, and the calls that change them.
//!
//! A call has up to three parts. [`Kernel::enter`] does what the call itself does; [`Kernel::step`] lets one
//! task do the next thing that it has to do in the kernel: wake up, take a signal, die, return to its
//! program. [`Kernel::settle`] does so until nobody has anything to do, [`Kernel::successors`] in every order.
//! Read `fork`, `exec`, `signal`, `deliver`, `exit`, `adopt` and `wait` in this order: a life.
//!
//! Absent on purpose: clocks, chance and I/O. Who plays the programs brings those.

pub mod call;
pub mod mutant;
pub mod sigset;
pub mod version;

mod adopt;
mod cgroup;
mod deliver;
mod dump;
mod exec;
mod exit;
mod fd;
mod fork;
mod group;
mod hash;
mod kthread;
mod load;
mod memory;
mod pair;
mod pid;
mod pidfd;
mod pipe;
mod sched;
mod signal;
mod slab;
mod socket;
mod task;
mod terminal;
mod trace;
mod wait;

pub use call::Outcome;
pub use exec::Program;
pub use exit::ExitStep;
pub use fork::ForkStep;
pub use load::{BadSnapshot, Loaded};
pub use memory::{PAGE_BYTES, Usage};
pub use sched::TooMany;
pub use slab::{
    CgroupId, FilesId, FrameId, MemoryId, NodeId, ObjectId, OpenId, PairId, PidId, PipeId, ProcessId,
    SocketId, SpaceId, TaskId, TerminalId,
};
pub use socket::HungUp;
pub use trace::Trace;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use call::{Call, Caught, Look, Reply, Value};
use cgroup::Cgroup;
use core::hash::{Hash, Hasher};
use doula_model::plan::Errno;
use doula_model::signal::Signal;
use fd::{Files, Node, Open};
pub(crate) use hash::StableHasher;
use memory::{Frame, Memory, Object};
use mutant::Mutant;
use pair::Pair;
use pid::{Pid, Space};
use pipe::Pipe;
use sched::Ready;
use slab::Slab;
use socket::Socket;
use task::{Place, Process, Return, Sleep, Task};
use terminal::Terminal;
use version::{Config, KernelVersion};

/// A machine's processes and all that the kernel knows of them.
#[derive(Clone, Debug)]
pub struct Kernel {
    config: Config,
    tasks: Slab<TaskId, Task>,
    processes: Slab<ProcessId, Process>,
    pids: Slab<PidId, Pid>,
    spaces: Slab<SpaceId, Space>,
    files: Slab<FilesId, Files>,
    open: Slab<OpenId, Open>,
    pipes: Slab<PipeId, Pipe>,
    terminals: Slab<TerminalId, Terminal>,
    sockets: Slab<SocketId, Socket>,
    pairs: Slab<PairId, Pair>,
    /// How many connections there have been.
    connections: u64,
    /// Those whose client was a process here, which has closed its end, and the socket that they came to while it is open.
    gone: BTreeMap<u64, Option<SocketId>>,
    nodes: Slab<NodeId, Node>,
    memories: Slab<MemoryId, Memory>,
    frames: Slab<FrameId, Frame>,
    objects: Slab<ObjectId, Object>,
    cgroups: Slab<CgroupId, Cgroup>,
    /// Who is traced, the last one last.
    traces: Vec<trace::Traced>,
    /// Those whom tracers let go on from the delivery of a signal.
    resumed: Vec<trace::Resumed>,
    /// Signals whose handlers those who are traced have yet to run: until then they are blocked.
    handling: Vec<(TaskId, Signal)>,
    /// What is to go wrong, each once.
    faults: Vec<Fault>,
    root: SpaceId,
    init: TaskId,
    /// How many threads each user has.
    users: Vec<(u32, u32)>,
    threads: u32,
    births: u64,
    /// Replies that their callers did not live to be asked for, since the last call.
    last_words: Vec<(u64, Reply)>,
    /// A member of each orphaned group that was told, since the last call. For those who watch: nothing follows from it.
    hung_up: Vec<TaskId>,
    /// The connections that were closed, for who asks.
    closed: Vec<(u64, HungUp)>,
    /// Who has something to do; follows from the tasks.
    ready: Ready,
    /// A core takes its time.
    dumps: bool,
}

impl PartialEq for Kernel {
    fn eq(&self, other: &Kernel) -> bool {
        self.tasks == other.tasks
            && self.processes == other.processes
            && self.pids == other.pids
            && self.spaces == other.spaces
            && self.files == other.files
            && self.open == other.open
            && self.pipes == other.pipes
            && self.terminals == other.terminals
            && self.sockets == other.sockets
            && self.pairs == other.pairs
            && self.gone == other.gone
            && self.nodes == other.nodes
            && self.memories == other.memories
            && self.frames == other.frames
            && self.objects == other.objects
            && self.cgroups == other.cgroups
            && self.traces == other.traces
            && self.resumed == other.resumed
            && self.handling == other.handling
            && self.faults == other.faults
            && self.users == other.users
            && self.last_words == other.last_words
            && self.config == other.config
    }
}

impl Eq for Kernel {}

impl Hash for Kernel {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.tasks.hash(state);
        self.processes.hash(state);
        self.pids.hash(state);
        self.spaces.hash(state);
        self.files.hash(state);
        self.open.hash(state);
        self.pipes.hash(state);
        self.terminals.hash(state);
        self.sockets.hash(state);
        self.pairs.iter().for_each(|pair| pair.hash(state));
        self.gone.iter().for_each(|connection| connection.hash(state));
        self.nodes.hash(state);
        self.memories.hash(state);
        self.frames.hash(state);
        self.objects.hash(state);
        self.cgroups.hash(state);
        self.traces.iter().for_each(|traced| traced.hash(state));
        self.resumed.iter().for_each(|resumed| resumed.hash(state));
        self.handling.iter().for_each(|handling| handling.hash(state));
        self.faults.hash(state);
        self.users.hash(state);
        self.last_words.hash(state);
        self.config.hash(state);
    }
}

/// What can be made to go wrong ([`Kernel::inject`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The next birth fails at this step, with this reason.
    Fork(ForkStep, Errno),
    /// The next execve(2) fails where it can no longer come back: the program dies of SIGSEGV.
    AfterNoReturn,
}

/// What the kernel part of a call came to.
pub(crate) enum Part {
    /// It is over, with this.
    Done(Reply),
    /// It is over, unless a signal has no handler: then it begins again.
    Interrupted(task::Restart),
    /// It sleeps.
    Sleep(Sleep),
    /// The task is dying.
    Gone,
}

impl From<Errno> for Part {
    fn from(errno: Errno) -> Part {
        Part::Done(Err(errno))
    }
}

impl Default for Kernel {
    fn default() -> Kernel {
        Kernel::new()
    }
}

impl Kernel {
    /// A machine that has just started: PID 1, and nobody else.
    pub fn new() -> Kernel {
        Kernel::with(Config::default())
    }

    /// The same, of another kind.
    pub fn with(config: Config) -> Kernel {
        let mut spaces = Slab::default();
        let root = spaces.insert(Space::first());
        let mut kernel = Kernel {
            config,
            tasks: Slab::default(),
            processes: Slab::default(),
            pids: Slab::default(),
            spaces,
            files: Slab::default(),
            open: Slab::default(),
            pipes: Slab::default(),
            terminals: Slab::default(),
            sockets: Slab::default(),
            pairs: Slab::default(),
            connections: 0,
            gone: BTreeMap::new(),
            nodes: Slab::default(),
            memories: Slab::default(),
            frames: Slab::default(),
            objects: Slab::default(),
            cgroups: Slab::default(),
            traces: Vec::new(),
            resumed: Vec::new(),
            handling: Vec::new(),
            faults: Vec::new(),
            root,
            init: slab::Key::from_index(0),
            users: Vec::new(),
            threads: 0,
            births: 0,
            last_words: Vec::new(),
            hung_up: Vec::new(),
            closed: Vec::new(),
            ready: Ready::default(),
            dumps: false,
        };
        kernel.cgroups.insert(Cgroup::ROOT);
        kernel.init = kernel.make_init();
        kernel
    }

    /// The first process.
    pub const fn init(&self) -> TaskId {
        self.init
    }

    /// What this machine was made with.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Whether a rule is bent on purpose.
    pub(crate) fn bent(&self, mutant: Mutant) -> bool {
        self.config.mutant == Some(mutant)
    }

    pub(crate) fn has(&self, since: KernelVersion) -> bool {
        self.config.version >= since
    }

    /// A call with all that follows from it, in one fixed order: everybody who has something to do in the
    /// kernel does it, until all sleep or are in their programs.
    ///
    /// # Panics
    /// When the task is not in its program.
    pub fn call(&mut self, task: TaskId, call: Call) -> Outcome {
        let birth = self.birth(task);
        self.enter(task, call);
        self.settle();
        match self.tasks.get(task) {
            Some(row) if row.birth == birth && !row.exiting && !row.has_ended() => {
                self.take_reply(task).map_or(Outcome::Blocked, Outcome::Done)
            }
            _ => Outcome::Gone,
        }
    }

    /// What the call itself does. The task is then on its way back to its program, asleep, or dying.
    ///
    /// # Panics
    /// When the task is not in its program.
    pub fn enter(&mut self, task: TaskId, call: Call) {
        let row = &mut self.tasks[task];
        assert!(matches!(row.place, Place::User), "only who is in its program can make a call");
        row.reply = None;
        self.last_words.clear();
        self.hung_up.clear();
        self.perform(task, call);
    }

    /// Also at the restart of a call.
    fn perform(&mut self, task: TaskId, call: Call) {
        let part = self.dispatch(task, &call);
        match part {
            Part::Done(reply) => self.tasks[task].ret = Some(Return::Done(reply)),
            Part::Interrupted(restart) => {
                self.tasks[task].call = Some(call);
                self.tasks[task].ret = Some(Return::Restart(restart));
            }
            Part::Sleep(what) => {
                self.tasks[task].call = Some(call);
                return self.set_place(task, Place::Asleep { what, woken: false });
            }
            Part::Gone => return,
        }
        self.set_place(task, Place::Leaving);
    }

    fn dispatch(&mut self, task: TaskId, call: &Call) -> Part {
        Part::Done(match *call {
            Call::Clone(how) => return self.sys_clone(task, &how),
            Call::Exit(code) => return self.sys_exit(task, code),
            Call::ExitGroup(code) => return self.sys_exit_group(task, code),
            Call::Wait4(wait) => return self.sys_wait4(task, &wait),
            Call::Waitid(wait) => return self.sys_waitid(task, &wait),
            Call::Pause => return self.sys_pause(task),
            Call::Read(fd, most) => return self.sys_read(task, fd, most),
            Call::Write(fd, ref bytes) => return self.sys_write(task, fd, bytes),
            Call::PollPidfd(fd) => return self.sys_poll_pidfd(task, fd),
            Call::WaitidPidfd(fd, wait) => return self.sys_waitid_pidfd(task, fd, &wait),
            Call::Accept(fd) => return self.sys_accept(task, fd),
            Call::Execve(ref program) => return self.sys_execve(task, program),
            Call::Terminal(fd, call) => return self.sys_terminal(task, fd, call),
            Call::Pty => self.sys_pty(task),
            Call::OpenTty => self.sys_open_tty(task),
            Call::Kill(pid, signal) => self.sys_kill(task, pid, signal),
            Call::Tgkill(pid, tid, signal) => self.sys_tgkill(task, pid, tid, signal),
            Call::Sigqueue(pid, signal, number) => self.sys_sigqueue(task, pid, signal, number),
            Call::Sigaction(signal, action) => self.sys_sigaction(task, signal, action),
            Call::Sigprocmask(how, set) => self.sys_sigprocmask(task, how, set),
            Call::Sigpending => self.sys_sigpending(task),
            Call::Sigtake(set) => self.sys_sigtake(task, set),
            Call::Setpgid(pid, group) => self.sys_setpgid(task, pid, group),
            Call::Getpgid(pid) => self.sys_getpgid(task, pid),
            Call::Setsid => self.sys_setsid(task),
            Call::Getsid(pid) => self.sys_getsid(task, pid),
            Call::Getpid if self.bent(Mutant::NumbersAreGlobal) => {
                Ok(Value::Number(self.number_in(self.tasks[task].pid, self.root)))
            }
            Call::Getpid => Ok(Value::Number(self.own_number(task))),
            Call::Gettid => Ok(Value::Number(self.number_in(self.tasks[task].pid, self.space_of(task)))),
            Call::Getppid => Ok(Value::Number(self.parent_number(task))),
            Call::SetSubreaper(on) => self.sys_set_subreaper(task, on),
            Call::SetParentDeathSignal(signal) => self.sys_set_death_signal(task, signal),
            Call::GetParentDeathSignal => {
                Ok(Value::Number(self.tasks[task].death_signal.map_or(0, |signal| signal.number())))
            }
            Call::UnsharePid => self.sys_unshare_pid(task),
            Call::Setuid(uid) => self.sys_setuid(task, uid),
            Call::LimitProcesses(most) => {
                self.process_mut(task).max_processes = most;
                Ok(Value::ZERO)
            }
            Call::Pipe(cloexec) => self.sys_pipe(task, cloexec),
            Call::Open(ref path, access) => self.sys_open(task, path, access),
            Call::Close(fd) => self.sys_close(task, fd),
            Call::Dup(fd) => self.sys_dup(task, fd),
            Call::Dup2(fd, onto) => self.sys_dup2(task, fd, onto),
            Call::SetCloexec(fd, on) => self.sys_set_cloexec(task, fd, on),
            Call::SetNonblocking(fd, on) => self.sys_set_nonblocking(task, fd, on),
            Call::PidfdOpen(pid) => self.sys_pidfd_open(task, pid),
            Call::PidfdSend(fd, signal) => self.sys_pidfd_send(task, fd, signal),
            Call::PidfdEnd(fd) => self.sys_pidfd_end(task, fd),
            Call::Mmap(pages, shared) => self.sys_mmap(task, pages, shared),
            Call::Madvise(area, advice) => self.sys_madvise(task, area, advice),
            Call::Touch(area, pages) => self.touch(task, area, pages),
            Call::Resident(area) => self.resident(task, area),
            Call::LimitStack(bytes) => {
                self.process_mut(task).stack_limit = bytes;
                Ok(Value::ZERO)
            }
            Call::Alarm(seconds) => self.sys_alarm(task, seconds),
            Call::Listen(backlog) => self.sys_listen(task, backlog),
            Call::Connect(fd) => self.sys_connect(task, fd),
            Call::Ptrace(what) => self.sys_ptrace(task, what),
            Call::Socketpair => self.sys_socketpair(task),
        })
    }

    fn sys_set_death_signal(&mut self, task: TaskId, signal: Option<Signal>) -> Reply {
        self.tasks[task].death_signal = signal;
        Ok(Value::ZERO)
    }

    /// Makes something go wrong, once: the next time that it could.
    pub fn inject(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    pub(crate) fn take_fault(&mut self, fault: Fault) -> Option<Fault> {
        let at = self.faults.iter().position(|found| *found == fault)?;
        Some(self.faults.remove(at))
    }

    /// What a call came back with, once: `None` while it is under way.
    pub fn take_reply(&mut self, task: TaskId) -> Option<Reply> {
        self.tasks[task].reply.take()
    }

    /// Replies of those who have begun to die since the last call, by [`Kernel::birth`]: their programs had them
    /// before death came.
    pub fn last_words(&self) -> &[(u64, Reply)] {
        &self.last_words
    }

    /// The signals that handlers of this task took since it was asked last, in the order of their delivery.
    pub fn take_caught(&mut self, task: TaskId) -> Caught {
        core::mem::take(&mut self.tasks[task].caught)
    }

    /// Whether the task is in its program and may make a call.
    pub fn is_in_program(&self, task: TaskId) -> bool {
        self.tasks.get(task).is_some_and(|row| matches!(row.place, Place::User))
    }

    /// Whether this is still the task of that life ([`Kernel::birth`]), and it has not ended.
    pub fn lives(&self, task: TaskId, birth: u64) -> bool {
        self.tasks.get(task).is_some_and(|row| row.birth == birth && !row.has_ended())
    }

    /// Whether handlers of this task took signals that nobody has asked for ([`Kernel::take_caught`]).
    pub fn has_caught(&self, task: TaskId) -> bool {
        !self.tasks[task].caught.is_empty()
    }

    /// The wait status of a process that has ended and is not buried.
    pub fn end_of(&self, task: TaskId) -> Option<i32> {
        let over = self.tasks.get(task)?.is_zombie() && self.process(task).others.is_empty();
        over.then(|| self.end_status(task))
    }

    /// The children of a task, oldest first, adopted ones after its own.
    pub fn children_of(&self, task: TaskId) -> impl Iterator<Item = TaskId> {
        self.tasks.get(task).into_iter().flat_map(move |_| self.children(task))
    }

    /// Whether a task has a parent that has not ended.
    pub fn has_living_parent(&self, task: TaskId) -> bool {
        let parent = self.tasks.get(task).and_then(|row| row.family.parent);
        parent.and_then(|parent| self.tasks.get(parent)).is_some_and(|parent| !parent.has_ended())
    }

    /// The first child that has ended and is not buried.
    pub fn dead_child(&self, task: TaskId) -> Option<TaskId> {
        self.children(task).find(|child| self.end_of(*child).is_some())
    }

    /// How many births there have been.
    pub const fn births(&self) -> u64 {
        self.births
    }

    /// The child for whose program the task waits in vfork(2).
    pub fn child_of_vfork(&self, task: TaskId) -> Option<TaskId> {
        let Place::Asleep { what: Sleep::Vfork { child, .. }, .. } = self.tasks.get(task)?.place else {
            return None;
        };
        Some(child)
    }

    /// Whether one of these signals waits to be taken by the task.
    pub fn has_pending(&self, task: TaskId, set: sigset::SigSet) -> bool {
        let waiting = self.tasks[task].pending.set.or(self.process(task).pending.set);
        !waiting.and(set).is_empty()
    }

    /// The mask of a task.
    pub fn blocked(&self, task: TaskId) -> sigset::SigSet {
        self.tasks[task].blocked
    }

    /// What a process ignores by its own wish.
    pub fn ignored(&self, task: TaskId) -> sigset::SigSet {
        self.process(task).actions.ignored()
    }

    /// Whether poll(2) would find a handle readable: its process has ended.
    pub fn pidfd_is_readable(&self, task: TaskId, fd: i32) -> bool {
        self.handle_has_ended(task, fd)
    }

    /// Sends a signal from outside of all that can be seen here, with all that follows.
    pub fn signal_from_kernel(&mut self, task: TaskId, signal: Signal) {
        self.send(signal::From::Kernel, task, signal, false);
        self.settle();
    }

    /// A number of this life: a [`TaskId`] may be given again, this is not.
    pub fn birth(&self, task: TaskId) -> u64 {
        self.tasks[task].birth
    }

    /// The task by a number of the first namespace.
    pub fn find(&self, number: i32) -> Option<TaskId> {
        self.pids[self.find_pid(self.root, number)?].task
    }

    /// The task by a number, as another one sees numbers.
    pub fn find_as(&self, viewer: TaskId, number: i32) -> Option<TaskId> {
        self.find_task(viewer, number)
    }

    /// What `/proc` shows of a task; `None` when it is gone.
    pub fn look(&self, task: TaskId) -> Option<Look> {
        self.look_as(self.init, task)
    }

    /// The same, in numbers of the namespace of `viewer`.
    pub fn look_as(&self, viewer: TaskId, task: TaskId) -> Option<Look> {
        let (row, space) = (self.tasks.get(task)?, self.space_of(viewer));
        let process = &self.processes[row.process];
        let parent = row.family.parent.map(|parent| self.processes[self.tasks[parent].process].leader);
        Some(Look {
            task,
            pid: self.number_in(row.pid, space),
            ppid: parent.map_or(0, |parent| self.number_in(self.tasks[parent].pid, space)),
            pgid: self.number_in(process.group, space),
            sid: self.number_in(process.session, space),
            state: row.letter(),
            foreground: self.foreground_number(viewer, task),
        })
    }

    /// All tasks that are not gone, zombies and threads included.
    pub fn tasks(&self) -> impl Iterator<Item = TaskId> {
        self.tasks.iter().map(|(task, _)| task)
    }

    /// A hash of the whole state: the same in every run, on every machine.
    pub fn state_hash(&self) -> u64 {
        let mut hasher = StableHasher::default();
        self.hash(&mut hasher);
        hasher.finish()
    }

    pub(crate) fn process(&self, task: TaskId) -> &Process {
        &self.processes[self.tasks[task].process]
    }

    /// Does something to each thread of a process that has not been released.
    pub(crate) fn each_thread(&mut self, process: ProcessId, mut what: impl FnMut(&mut Kernel, TaskId)) {
        what(self, self.processes[process].leader);
        for at in 0..self.processes[process].others.len() {
            what(self, self.processes[process].others[at]);
        }
    }

    pub(crate) fn process_mut(&mut self, task: TaskId) -> &mut Process {
        &mut self.processes[self.tasks[task].process]
    }
}
