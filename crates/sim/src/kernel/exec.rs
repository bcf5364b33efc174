//! execve(2): what is looked at while the old program can still go on, the point of no return, and what is left
//! of a process after it.
//!
//! fs/exec.c, fs/binfmt_script.c, fs/binfmt_elf.c. The header of an ELF file is read by the crate `object`; its
//! segments are not mapped: what matters here is whether Linux would take the file.

use super::call::Value;
use super::fd::Node;
use super::mutant::Mutant;
use super::slab::TaskId;
use super::task::{Place, Sleep};
use super::version::KernelVersion;
use super::{Fault, Kernel, Part};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use doula_model::plan::Errno;
use doula_model::signal::Signal;
use object::LittleEndian;
use object::elf::{EM_AARCH64, EM_X86_64, ET_DYN, ET_EXEC, FileHeader64, PT_INTERP, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};

/// The longest single argument, its NUL included (MAX_ARG_STRLEN).
const LONGEST: usize = 32 * 4096;
/// All arguments and variables together: at most three quarters of the usual 8 MiB stack, a quarter of the own.
const MOST: u64 = 6 << 20;
/// And never less than this (ARG_MAX).
const LEAST: u64 = 32 * 4096;
/// What of a file is looked at to know what it is (BINPRM_BUF_SIZE).
const HEAD: usize = 256;
/// How often an interpreter may itself be a script.
const DEEPEST: usize = 5;

/// Above this is the kernel (TASK_SIZE), wherever it begins exactly.
const END_OF_PROGRAMS: u64 = 1 << 63;

/// What execve(2) is given.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Program {
    /// The file.
    pub path: String,
    /// The arguments, the name first. None at all makes one that is empty.
    pub args: Vec<String>,
    /// The environment, `NAME=VALUE`.
    pub env: Vec<String>,
}

impl Program {
    /// A program with its name as its only argument.
    pub fn new(path: &str) -> Program {
        Program { path: path.into(), args: Vec::from([path.into()]), env: Vec::new() }
    }
}

impl Kernel {
    pub(crate) fn sys_execve(&mut self, task: TaskId, program: &Program) -> Part {
        match self.prepare_exec(task, program) {
            Ok(image) => self.begin_new_exec(task, image),
            Err(errno) => errno.into(),
        }
    }

    /// All that can fail with the old program as it was.
    fn prepare_exec(&self, task: TaskId, program: &Program) -> Result<Program, Errno> {
        let row = &self.tasks[task];
        if row.over_limit && self.threads_of_user(row.uid) > self.process(task).max_processes {
            return Err(Errno::EAGAIN);
        }
        let mut image = program.clone();
        let mut file = self.open_program(&image.path)?;
        if image.args.is_empty() && self.has(KernelVersion::EMPTY_ARGV) {
            image.args.push(String::new());
        }
        self.check_arguments(task, &image)?;
        let mut depth = 0;
        while let Some(line) = file.bytes.strip_prefix(b"#!") {
            let (interpreter, argument) = script(line)?;
            let mut args = Vec::from([interpreter.clone()]);
            if self.bent(Mutant::ScriptSplitsArguments) {
                let words = argument.iter().flat_map(|argument| argument.split(' '));
                args.extend(words.map(String::from));
            } else {
                args.extend(argument);
            }
            args.push(image.path);
            args.extend(image.args.drain(..).skip(usize::from(!self.bent(Mutant::ScriptKeepsFirstArgument))));
            (image.path, image.args) = (interpreter, args);
            file = self.open_program(&image.path)?;
            depth += 1;
            if depth > DEEPEST {
                return Err(Errno::ELOOP);
            }
        }
        self.check_elf(&file.bytes)?;
        Ok(image)
    }

    fn open_program(&self, path: &str) -> Result<&Node, Errno> {
        let node = &self.nodes[self.find_node(path).ok_or(Errno::ENOENT)?];
        if node.directory || !node.executable {
            Err(Errno::EACCES)
        } else if node.writers > 0 && !self.bent(Mutant::BusyProgramRuns) {
            Err(Errno::ETXTBSY)
        } else {
            Ok(node)
        }
    }

    fn check_arguments(&self, task: TaskId, image: &Program) -> Result<(), Errno> {
        let strings = || image.args.iter().chain(&image.env);
        let stack =
            if self.bent(Mutant::StackLimitIgnored) { u64::MAX } else { self.process(task).stack_limit };
        let most = MOST.min(stack / 4).max(LEAST);
        let pointers = (image.args.len().max(1) + image.env.len()) as u64 * 8;
        let bytes: usize = strings().map(|text| text.len() + 1).sum::<usize>() + image.path.len() + 1;
        if strings().any(|text| text.len() + 1 > LONGEST) || pointers + bytes as u64 > most {
            return Err(Errno::E2BIG);
        }
        Ok(())
    }

    /// What `load_elf_binary` looks at before it lets the old program go.
    fn check_elf(&self, bytes: &[u8]) -> Result<(), Errno> {
        let (header, kind) = elf_header(bytes).ok_or(Errno::ENOEXEC)?;
        let machine = header.e_machine(LittleEndian);
        if !matches!(kind, ET_EXEC | ET_DYN) || !matches!(machine, EM_X86_64 | EM_AARCH64) {
            return Err(Errno::ENOEXEC);
        }
        let segments = header.program_headers(LittleEndian, bytes).map_err(|_| Errno::ENOEXEC)?;
        if segments.is_empty() {
            return Err(Errno::ENOEXEC);
        }
        if self.bent(Mutant::LateFailureReturns) && is_out_of_reach(bytes) {
            return Err(Errno::ENOMEM);
        }
        let Some(wish) = segments.iter().find(|segment| segment.p_type(LittleEndian) == PT_INTERP) else {
            return Ok(());
        };
        let name = wish.data(LittleEndian, bytes).map_err(|()| Errno::EIO)?;
        let Some((0, name)) = name.split_last().filter(|(_, name)| !name.is_empty()) else {
            return Err(Errno::ENOEXEC);
        };
        let loader = self.open_program(core::str::from_utf8(name).map_err(|_| Errno::ENOENT)?)?;
        if loader.bytes.len() < size_of::<FileHeader64<LittleEndian>>() {
            return Err(Errno::EIO);
        }
        elf_header(&loader.bytes).map(drop).ok_or(Errno::ELIBBAD)
    }

    /// From here on there is no way back: all other threads have to go first.
    fn begin_new_exec(&mut self, task: TaskId, image: Program) -> Part {
        let process = self.tasks[task].process;
        self.tasks[task].image = Some(image);
        if self.processes[process].live > 1 || self.processes[process].leader != task {
            self.processes[process].exec_task = Some(task);
            self.each_thread(process, |kernel, thread| {
                if thread != task {
                    kernel.tasks[thread].stop_pending = None;
                    kernel.signal_wake_up(thread, true);
                }
            });
        }
        self.exec_again(task)
    }

    /// Also after the sleep until this thread is alone.
    pub(crate) fn exec_again(&mut self, task: TaskId) -> Part {
        let process = self.tasks[task].process;
        let leader = self.processes[process].leader;
        let alone = if leader == task {
            self.processes[process].others.is_empty()
        } else {
            self.processes[process].others.len() == 1 && self.tasks[leader].is_zombie()
        };
        if self.processes[process].group_exit.is_some() {
            self.processes[process].exec_task = None;
            return Part::Done(Err(Errno::EAGAIN));
        }
        if !alone {
            return Part::Sleep(Sleep::Alone);
        }
        self.processes[process].exec_task = None;
        if leader != task {
            self.become_leader(task, leader);
        }
        self.flush_old_program(task);
        if self.take_fault(Fault::AfterNoReturn).is_some() || self.is_unloadable(task) {
            self.force_fatal(task, Signal::SEGV);
        }
        Part::Done(Ok(Value::ZERO))
    }

    /// Whether the program of a task cannot be mapped, which is known only when the old one is gone.
    fn is_unloadable(&self, task: TaskId) -> bool {
        let image = self.tasks[task].image.as_ref();
        let file = image.and_then(|image| self.find_node(&image.path));
        file.is_some_and(|file| is_out_of_reach(&self.nodes[file].bytes))
    }

    /// Wakes a thread that executes a program and waits to be alone.
    pub(crate) fn wake_exec(&mut self, process: super::ProcessId) {
        if let Some(task) = self.processes[process].exec_task
            && matches!(self.tasks[task].place, Place::Asleep { what: Sleep::Alone, .. })
        {
            self.wake(task);
        }
    }

    /// The thread takes the number and the place of the leader, whose end nobody is told of.
    fn become_leader(&mut self, task: TaskId, leader: TaskId) {
        let process = self.tasks[task].process;
        self.take_place_of(leader, task);
        self.processes[process].leader = task;
        self.processes[process].others = Vec::from([leader]);
        let (old, new) = (self.tasks[task].pid, self.tasks[leader].pid);
        (self.tasks[task].pid, self.tasks[leader].pid) = (new, old);
        (self.pids[new].task, self.pids[old].task) = (Some(task), Some(leader));
        let init = self.spaces[self.space_of(task)].reaper == Some(leader);
        if init {
            let space = self.space_of(task);
            self.spaces[space].reaper = Some(task);
        }
        self.set_place(leader, Place::Dead);
        self.release(leader);
    }

    /// In Linux's order: timers, the table of descriptors, close-on-exec, the memory, the actions.
    fn flush_old_program(&mut self, task: TaskId) {
        if let Some(files) = self.tasks[task].files.filter(|files| self.files[*files].users > 1) {
            self.files[files].users -= 1;
            let own = self.copy_files(files);
            self.tasks[task].files = Some(own);
        }
        self.close_on_exec(task);
        self.new_memory(task);
        self.release_vfork_parent(task);
        if !self.bent(Mutant::ExecKeepsHandlers) {
            self.process_mut(task).actions.forget_handlers();
        }
        if self.bent(Mutant::ExecForgetsIgnored) {
            self.process_mut(task).actions = super::sigset::Actions::default();
        }
        if self.bent(Mutant::ExecClearsMask) {
            self.tasks[task].blocked = super::sigset::SigSet::EMPTY;
        }
        if self.bent(Mutant::AlarmLostByExec) {
            self.process_mut(task).alarm = 0;
        }
        let mutant = self.config.mutant;
        let row = &mut self.tasks[task];
        (row.no_exec, row.over_limit, row.exec_id) = (false, false, row.exec_id + 1);
        // Whatever it was born with: `de_thread`.
        if mutant != Some(Mutant::ExecKeepsExitSignal) {
            row.exit_signal = Some(Signal::CHLD);
        }
        row.caught.clear();
        self.trap_after_exec(task);
    }

    /// The program that a task executes, as it was found in the end: with its interpreter and arguments. `None`
    /// before its first execve(2).
    pub fn program(&self, task: TaskId) -> Option<&Program> {
        self.tasks.get(task)?.image.as_ref()
    }
}

/// Whether a segment of an ELF file is to be where no program can have anything.
fn is_out_of_reach(bytes: &[u8]) -> bool {
    let headers = elf_header(bytes).and_then(|(header, _)| header.program_headers(LittleEndian, bytes).ok());
    headers.into_iter().flatten().any(|segment| {
        segment.p_type(LittleEndian) == PT_LOAD && segment.p_vaddr(LittleEndian) >= END_OF_PROGRAMS
    })
}

fn elf_header(bytes: &[u8]) -> Option<(&FileHeader64<LittleEndian>, u16)> {
    let header = FileHeader64::<LittleEndian>::parse(bytes).ok()?;
    let little = header.endian().is_ok();
    (little && header.is_class_64()).then(|| (header, header.e_type(LittleEndian)))
}

/// The interpreter of a `#!` line, and the one argument that it may have.
fn script(line: &[u8]) -> Result<(String, Option<String>), Errno> {
    let head = &line[..line.len().min(HEAD - 2)];
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let (line, cut) = match head.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&head[..end], false),
        None => (head, line.len() > head.len()),
    };
    let from = line.iter().position(|byte| !blank(byte)).ok_or(Errno::ENOEXEC)?;
    let line = &line[from..];
    let end = line.iter().position(|byte| blank(byte) || *byte == 0);
    // A name that goes on beyond what is looked at would be another name.
    if cut && end.is_none() {
        return Err(Errno::ENOEXEC);
    }
    let (name, rest) = line.split_at(end.unwrap_or(line.len()));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_matches([' ', '\t']).to_string();
    let rest = text(rest.split(|byte| *byte == 0).next().unwrap_or_default());
    Ok((text(name), Some(rest).filter(|rest| !rest.is_empty())))
}
