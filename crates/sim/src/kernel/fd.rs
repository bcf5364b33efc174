//! Descriptors: a table of each process, and open file descriptions that tables share.
//!
//! fs/file.c, fs/open.c. A file system is here as far as programs are to be executed from it: files by their
//! whole path, with a mode and bytes; no links, no directories to go through.

use super::Kernel;
use super::call::{Access, Reply, Value};
use super::mutant::Mutant;
use super::pair::Side;
use super::slab::{FilesId, NodeId, OpenId, PidId, PipeId, SocketId, TaskId, TerminalId};
use alloc::string::String;
use alloc::vec::Vec;
use doula_model::plan::Errno;

/// RLIMIT_NOFILE as it is by default.
const MOST_FILES: usize = 1024;

/// The table of a process; threads share one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Files {
    pub(crate) users: u32,
    slots: Vec<Option<Slot>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Slot {
    open: OpenId,
    close_on_exec: bool,
}

/// What open(2), pipe(2) and pidfd_open(2) make (`struct file`): shared by all descriptors that were copied from
/// one, also across fork(2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Open {
    users: u32,
    pub(crate) what: What,
    pub(crate) nonblocking: bool,
    pub(crate) offset: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum What {
    ReadEnd(PipeId),
    WriteEnd(PipeId),
    File(NodeId, Access),
    Pidfd(PidId),
    Master(TerminalId),
    Slave(TerminalId),
    Listener(SocketId),
    /// By its number; nobody else can have it.
    Connection(u64),
    /// Of two sockets that are connected.
    End(Side),
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub(crate) path: String,
    pub(crate) directory: bool,
    pub(crate) executable: bool,
    pub(crate) bytes: Vec<u8>,
    /// How many have it open for writing.
    pub(crate) writers: u32,
}

impl Kernel {
    /// Puts a file on the disk, in place of one by the same path.
    pub fn install(&mut self, path: &str, executable: bool, bytes: &[u8]) {
        let node = Node { path: path.into(), directory: false, executable, bytes: bytes.into(), writers: 0 };
        match self.find_node(path) {
            Some(old) => self.nodes[old] = node,
            None => drop(self.nodes.insert(node)),
        }
    }

    /// Makes a directory.
    pub fn make_directory(&mut self, path: &str) {
        let bytes = Vec::new();
        self.nodes.insert(Node { path: path.into(), directory: true, executable: true, bytes, writers: 0 });
    }

    pub(crate) fn find_node(&self, path: &str) -> Option<NodeId> {
        self.nodes.iter().find(|(_, node)| node.path == path).map(|(key, _)| key)
    }

    fn slots(&mut self, task: TaskId) -> &mut Vec<Option<Slot>> {
        let files = self.tasks[task].files.expect("only the dying have no table");
        &mut self.files[files].slots
    }

    /// What a descriptor means.
    pub(crate) fn open_of(&self, task: TaskId, fd: i32) -> Result<OpenId, Errno> {
        let files = &self.files[self.tasks[task].files.ok_or(Errno::EBADF)?];
        let slot = usize::try_from(fd).ok().and_then(|fd| files.slots.get(fd).copied().flatten());
        slot.map(|slot| slot.open).ok_or(Errno::EBADF)
    }

    /// A new open file with its first descriptor, the lowest that is free.
    pub(crate) fn add_open(&mut self, task: TaskId, what: What, cloexec: bool) -> Result<i32, Errno> {
        let open = self.open.insert(Open { users: 0, what, nonblocking: false, offset: 0 });
        let fd = self.add_fd(task, open, cloexec, 0);
        if fd.is_err() {
            self.open.remove(open);
        }
        fd
    }

    fn add_fd(&mut self, task: TaskId, open: OpenId, cloexec: bool, from: usize) -> Result<i32, Errno> {
        let last = self.bent(Mutant::DescriptorAfterTheLast);
        let slots = self.slots(task);
        let from = if last { from.max(slots.len()) } else { from };
        let at = (from..).find(|at| slots.get(*at).is_none_or(Option::is_none)).unwrap_or(MOST_FILES);
        if at >= MOST_FILES {
            return Err(Errno::EMFILE);
        }
        if at >= slots.len() {
            slots.resize(at + 1, None);
        }
        slots[at] = Some(Slot { open, close_on_exec: cloexec });
        self.open[open].users += 1;
        Ok(at as i32)
    }

    /// Keeps an open file while a call sleeps on it.
    pub(crate) fn hold_open(&mut self, open: OpenId) {
        self.open[open].users += 1;
    }

    /// One less who has it; the last one closes it (`fput`).
    pub(crate) fn put_open(&mut self, open: OpenId) {
        self.open[open].users -= 1;
        if self.open[open].users > 0 {
            return;
        }
        let Open { what, offset, .. } = self.open.remove(open);
        match what {
            What::ReadEnd(pipe) => self.close_end(pipe, true),
            What::WriteEnd(pipe) => self.close_end(pipe, false),
            What::File(node, Access::Write) => self.nodes[node].writers -= 1,
            What::File(_, Access::Read) => {}
            What::Pidfd(pid) => self.let_go_of_pid(pid),
            What::Master(terminal) => self.close_terminal(terminal, true),
            What::Slave(terminal) => self.close_terminal(terminal, false),
            What::Listener(socket) => self.close_listener(socket),
            What::Connection(connection) => self.close_connection(connection, offset > 0),
            What::End(side) => self.close_side(side),
        }
    }

    pub(crate) fn sys_open(&mut self, task: TaskId, path: &str, access: Access) -> Reply {
        let node = self.find_node(path).ok_or(Errno::ENOENT)?;
        if access == Access::Write {
            if self.nodes[node].directory {
                return Err(Errno::EISDIR);
            }
            self.nodes[node].writers += 1;
        }
        self.add_open(task, What::File(node, access), false).map(Value::Number)
    }

    pub(crate) fn sys_close(&mut self, task: TaskId, fd: i32) -> Reply {
        let open = self.open_of(task, fd)?;
        self.slots(task)[fd as usize] = None;
        self.put_open(open);
        Ok(Value::ZERO)
    }

    pub(crate) fn sys_dup(&mut self, task: TaskId, fd: i32) -> Reply {
        let open = self.open_of(task, fd)?;
        let cloexec = self.bent(Mutant::DupKeepsCloexec)
            && self.slots(task)[fd as usize].is_some_and(|slot| slot.close_on_exec);
        self.add_fd(task, open, cloexec, 0).map(Value::Number)
    }

    pub(crate) fn sys_dup2(&mut self, task: TaskId, fd: i32, onto: i32) -> Reply {
        let open = self.open_of(task, fd)?;
        if !usize::try_from(onto).is_ok_and(|onto| onto < MOST_FILES) {
            return Err(Errno::EBADF);
        }
        if fd != onto {
            let old = self.open_of(task, onto).ok();
            if old.is_some() {
                self.slots(task)[onto as usize] = None;
            }
            self.add_fd(task, open, false, onto as usize)?;
            old.into_iter().for_each(|old| self.put_open(old));
        }
        Ok(Value::Number(onto))
    }

    pub(crate) fn sys_set_cloexec(&mut self, task: TaskId, fd: i32, on: bool) -> Reply {
        self.open_of(task, fd)?;
        if let Some(slot) = &mut self.slots(task)[fd as usize] {
            slot.close_on_exec = on;
        }
        Ok(Value::ZERO)
    }

    pub(crate) fn sys_set_nonblocking(&mut self, task: TaskId, fd: i32, on: bool) -> Reply {
        let open = self.open_of(task, fd)?;
        self.open[open].nonblocking = on;
        Ok(Value::ZERO)
    }

    /// From the offset that all share who have this open file.
    pub(crate) fn read_file(&mut self, open: OpenId, node: NodeId, most: usize) -> Reply {
        if self.nodes[node].directory {
            return Err(Errno::EISDIR);
        }
        let bytes = &self.nodes[node].bytes;
        let from = self.open[open].offset.min(bytes.len());
        let bytes = bytes[from..(from + most).min(bytes.len())].to_vec();
        if !self.bent(Mutant::OffsetsNotShared) {
            self.open[open].offset = from + bytes.len();
        }
        Ok(Value::Bytes(bytes))
    }

    pub(crate) fn write_file(&mut self, open: OpenId, node: NodeId, bytes: &[u8]) -> Reply {
        let from = self.open[open].offset;
        let file = &mut self.nodes[node].bytes;
        if file.len() < from + bytes.len() {
            file.resize(from + bytes.len(), 0);
        }
        file[from..from + bytes.len()].copy_from_slice(bytes);
        self.open[open].offset += bytes.len();
        Ok(Value::Number(bytes.len() as i32))
    }

    /// A copy of the table: other descriptors, the same open files.
    pub(crate) fn copy_files(&mut self, files: FilesId) -> FilesId {
        let copy = Files { users: 1, ..self.files[files].clone() };
        for slot in copy.slots.iter().flatten() {
            self.open[slot.open].users += 1;
        }
        self.files.insert(copy)
    }

    /// One less who has the table; what the last one had in it.
    pub(crate) fn leave_files(&mut self, files: FilesId) -> Vec<OpenId> {
        self.files[files].users -= 1;
        if self.files[files].users > 0 {
            return Vec::new();
        }
        self.files.remove(files).slots.into_iter().flatten().map(|slot| slot.open).collect()
    }

    /// Closes what is not for the next program.
    pub(crate) fn close_on_exec(&mut self, task: TaskId) {
        for at in 0..self.slots(task).len() {
            let closes = !self.bent(Mutant::CloexecIgnored);
            let slot = self.slots(task)[at].filter(|slot| slot.close_on_exec && closes);
            if let Some(slot) = slot {
                self.slots(task)[at] = None;
                self.put_open(slot.open);
            }
        }
    }

    /// The numbers of the descriptors of a task.
    pub fn descriptors(&self, task: TaskId) -> Vec<i32> {
        let Some(files) = self.tasks[task].files else { return Vec::new() };
        let slots = self.files[files].slots.iter().enumerate();
        slots.filter(|(_, slot)| slot.is_some()).map(|(fd, _)| fd as i32).collect()
    }

    /// A descriptor of another task of the same open file, close-on-exec, as a message over a socket brings it (unix(7),
    /// `SCM_RIGHTS`); `None` when there is none, or no room.
    pub fn pass_descriptor(&mut self, (from, fd): (TaskId, i32), to: TaskId) -> Option<i32> {
        let open = self.open_of(from, fd).ok()?;
        self.add_fd(to, open, true, 0).ok()
    }

    pub(crate) fn first_files(&mut self) -> FilesId {
        self.files.insert(Files { users: 1, slots: Vec::new() })
    }
}
