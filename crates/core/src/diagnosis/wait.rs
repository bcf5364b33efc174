//! What a thread waits for, on whom, and whether SIGKILL would end it.
//!
//! The letter alone tells little: a reader of a dead FUSE server is S until somebody kills it, and from then on D for ever; a
//! parent in vfork(2) is D and dies at once. What tells is where in the kernel it waits, in which call, and on which file.

use super::{Party, list, list_of};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use doula_model::id::Pid;
use doula_model::process::ProcState;

/// A system call in which a thread is (`/proc/PID/syscall`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its name, as in its manual page.
    pub name: &'static str,
    /// Its arguments.
    pub args: [u64; 6],
}

/// A mounted file system (`/proc/PID/mountinfo`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where.
    pub point: Vec<u8>,
    /// Its type, such as `ext4`, `fuse.sshfs`, `nfs4`.
    pub kind: String,
    /// What is mounted: a device, `server:/path`, or a name without a meaning.
    pub source: Vec<u8>,
    /// Major and minor number.
    pub device: (u32, u32),
}

impl Mount {
    /// Whether a process serves it.
    pub fn is_fuse(&self) -> bool {
        matches!(self.kind.as_str(), "fuse" | "fuseblk") || self.kind.starts_with("fuse.")
    }

    /// Whether a server in the network serves it.
    pub fn is_nfs(&self) -> bool {
        matches!(self.kind.as_str(), "nfs" | "nfs4")
    }

    /// The server in the network: what stands before the path in `server:/path`, at its first `:/`.
    pub fn server(&self) -> Option<&[u8]> {
        let end = self.source.windows(2).position(|pair| pair == b":/")?;
        self.is_nfs().then(|| &self.source[..end])
    }
}

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", String::from_utf8_lossy(&self.point), self.kind)
    }
}

/// What a descriptor names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Open {
    /// A pipe, by its inode.
    Pipe(u64),
    /// A socket, by its inode.
    Socket(u64),
    /// A file by its path, and its mount.
    File(Vec<u8>, Option<Mount>),
    /// Something else, as `/proc` calls it.
    Other(Vec<u8>),
}

/// A cgroup that is frozen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freezer {
    /// Its directory.
    pub path: Vec<u8>,
    /// Whether by the freezer of v1, which also SIGKILL waits for.
    pub is_v1: bool,
}

/// Who waits for a file lock, and who has it (`/proc/locks`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileLock {
    /// `FLOCK`, `POSIX`, `OFDLCK`, `LEASE`.
    pub kind: String,
    /// Device and inode, as there.
    pub file: String,
}

/// What was seen of a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The process.
    pub pid: Pid,
    /// The thread.
    pub thread: Pid,
    /// What the thread calls itself.
    pub name: Vec<u8>,
    /// What it does.
    pub state: ProcState,
    /// Whether SIGKILL is on its way to it, or it is ending.
    pub dying: bool,
    /// The function of the kernel in which it waits.
    pub wchan: Option<String>,
    /// The call in which it is; `None` also for a page fault.
    pub call: Option<Call>,
    /// Whether we may see its call.
    pub hidden: bool,
    /// What the call is about: what its descriptor names, or its path.
    pub open: Option<Open>,
    /// Whether it sees other mounts than whoever asks, so that a path of it means nothing to them.
    pub elsewhere: bool,
    /// The frozen cgroup that it is in.
    pub freezer: Option<Freezer>,
    /// The lock that it waits for.
    pub lock: Option<FileLock>,
    /// FUSE file systems that it sees with requests that nobody has answered.
    pub unanswered: Vec<Mount>,
}

/// What a thread waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum On {
    /// It was stopped by a signal.
    Stop,
    /// It was stopped by its tracer.
    Tracer,
    /// Its cgroup is frozen.
    Freezer(Option<Freezer>),
    /// The answer of the process that serves a FUSE file system.
    Fuse(Option<Mount>),
    /// A server in the network.
    Nfs(Option<Mount>),
    /// Whoever changes a file system waits while it is frozen (fsfreeze(8)).
    FrozenFileSystem(Option<Mount>),
    /// A child that was made by vfork(2), until it executes a program or ends.
    Vfork,
    /// The lock of a page of a file, or its being written.
    Page(Option<Mount>),
    /// The lock of its own memory map.
    MemoryMap,
    /// A file lock.
    Lock(FileLock),
    /// Something to read from a pipe.
    PipeData(u64),
    /// Room in a pipe.
    PipeRoom(u64),
    /// The other end of a socket.
    Socket(u64),
    /// The end of a child: of this one, or any.
    Child(Option<Pid>),
    /// Another thread, or a process that shares memory with it (futex(2)).
    Futex,
    /// One of several events (poll, select, epoll).
    Events,
    /// Time.
    Time,
    /// A signal.
    Signal,
    /// Input from this file: a terminal, an eventfd and the like.
    File(Vec<u8>),
    /// A disk, or whatever else answers by itself.
    Device,
    /// What only root sees, and who may trace it.
    Hidden,
    /// A function of the kernel that says nothing to us.
    Kernel(Option<String>),
}

/// Calls that wait for what their first argument names.
const READS: [&str; 10] = [
    "read",
    "pread64",
    "readv",
    "preadv",
    "preadv2",
    "recvfrom",
    "recvmsg",
    "recvmmsg",
    "getdents64",
    "splice",
];
const WRITES: [&str; 9] =
    ["write", "pwrite64", "writev", "pwritev", "pwritev2", "sendto", "sendmsg", "sendmmsg", "sendfile"];
const EVENTS: [&str; 7] =
    ["poll", "ppoll", "select", "pselect6", "epoll_wait", "epoll_pwait", "epoll_pwait2"];
const TIME: [&str; 3] = ["nanosleep", "clock_nanosleep", "restart_syscall"];
const SIGNALS: [&str; 4] = ["pause", "rt_sigsuspend", "rt_sigtimedwait", "sigsuspend"];
const BIRTHS: [&str; 3] = ["vfork", "clone", "clone3"];

/// Where threads stand that wait for the lock of a memory map.
const MEMORY_MAP: [&str; 7] = [
    "vm_mmap_pgoff",
    "__access_remote_vm",
    "rwsem_down_read_slowpath",
    "rwsem_down_write_slowpath",
    "lock_mm_and_find_vma",
    "__vm_munmap",
    "do_mprotect_pkey",
];

/// Whether the first argument of a call is a descriptor that says what is waited for.
pub fn takes_descriptor(name: &str) -> bool {
    /// Beside those that read and write.
    const OTHERS: [&str; 14] = [
        "fallocate",
        "fchmod",
        "fchown",
        "fsetxattr",
        "flock",
        "fcntl",
        "fsync",
        "fdatasync",
        "connect",
        "accept",
        "accept4",
        "ioctl",
        "fstat",
        "ftruncate",
    ];
    READS.contains(&name) || WRITES.contains(&name) || OTHERS.contains(&name)
}

/// Which arguments of a call are a path, and the descriptor of the directory where that begins (`None`: where the process is). Of
/// two paths it is the one that is made or changed.
///
/// ```
/// use doula_core::diagnosis::wait::takes_path;
/// assert_eq!(takes_path("openat"), Some((Some(0), 1)));
/// assert_eq!(takes_path("mkdir"), Some((None, 0)));
/// assert_eq!(takes_path("read"), None);
/// ```
pub fn takes_path(name: &str) -> Option<(Option<usize>, usize)> {
    match name {
        "open" | "creat" | "stat" | "lstat" | "mkdir" | "mknod" | "rmdir" | "unlink" | "truncate"
        | "chmod" | "chown" | "lchown" | "setxattr" | "lsetxattr" | "execve" => Some((None, 0)),
        "rename" | "link" | "symlink" | "mount" => Some((None, 1)),
        "openat" | "openat2" | "newfstatat" | "statx" | "mkdirat" | "mknodat" | "unlinkat" | "fchmodat"
        | "fchownat" | "utimensat" => Some((Some(0), 1)),
        "symlinkat" => Some((Some(1), 2)),
        "linkat" | "renameat" | "renameat2" => Some((Some(2), 3)),
        _ => None,
    }
}

/// What this thread waits for. `None` when it runs or has ended.
///
/// ```
/// use doula_core::diagnosis::wait::{Call, On, Open, Task, on};
/// use doula_model::{id::Pid, process::ProcState};
/// let pid = Pid::new(7).expect("a number");
/// let task = Task {
///     call: Some(Call { name: "read", args: [0; 6] }),
///     open: Some(Open::Pipe(4711)),
///     ..Task::new(pid, ProcState::Sleeping)
/// };
/// assert_eq!(on(&task), Some(On::PipeData(4711)));
/// ```
pub fn on(task: &Task) -> Option<On> {
    match task.state {
        ProcState::Running | ProcState::Zombie | ProcState::Dead | ProcState::Idle | ProcState::Parked => {
            return None;
        }
        ProcState::Stopped => return Some(On::Stop),
        ProcState::Traced => return Some(On::Tracer),
        ProcState::Sleeping | ProcState::Blocked | ProcState::Other(_) => {}
    }
    let wchan = task.wchan.as_deref().unwrap_or("");
    if task.freezer.is_some() || wchan.contains("refrigerator") {
        return Some(On::Freezer(task.freezer.clone()));
    }
    Some(in_file_system(task, wchan).or_else(|| in_call(task)).unwrap_or_else(|| unknown(task)))
}

fn unknown(task: &Task) -> On {
    match (task.state, task.hidden) {
        (_, true) => On::Hidden,
        (ProcState::Blocked, _) if task.wchan.as_deref().is_some_and(is_of_disks) => On::Device,
        _ => On::Kernel(task.wchan.clone()),
    }
}

fn is_of_disks(wchan: &str) -> bool {
    ["io_schedule", "blk_", "bio_", "jbd2_", "submit_bio", "wait_on_buffer", "bit_wait_io"]
        .iter()
        .any(|part| wchan.contains(part))
}

/// Where threads stand that wait for the lock of a page of a file, or until it is written.
pub fn is_of_pages(wchan: &str) -> bool {
    ["folio_wait", "folio_lock", "folio_put_wait", "wait_on_page", "lock_page"]
        .iter()
        .any(|part| wchan.contains(part))
}

/// Where threads stand that want to change a file system that is frozen.
pub fn is_of_frozen(wchan: &str) -> bool {
    wchan.starts_with("percpu_rwsem") || wchan.starts_with("__percpu_down")
}

/// What the place in the kernel tells.
fn in_file_system(task: &Task, wchan: &str) -> Option<On> {
    let mount = match &task.open {
        Some(Open::File(_, mount)) => mount.clone(),
        _ => None,
    };
    let fuse = || mount.clone().filter(Mount::is_fuse).or_else(|| task.unanswered.first().cloned());
    let blocked = task.state == ProcState::Blocked;
    // A server that waits for questions is in `fuse_dev_do_read`.
    if wchan == "request_wait_answer" || (wchan.starts_with("fuse_") && !wchan.starts_with("fuse_dev")) {
        return Some(On::Fuse(fuse()));
    }
    if wchan.starts_with("rpc_") || wchan.starts_with("nfs_") || wchan.starts_with("nfs4_") {
        return Some(On::Nfs(mount.filter(Mount::is_nfs)));
    }
    let bears = task.call.is_some_and(|call| BIRTHS.contains(&call.name));
    if blocked && is_of_frozen(wchan) {
        // A birth waits there while somebody moves threads between cgroups.
        return (!bears).then_some(On::FrozenFileSystem(mount));
    }
    if blocked && bears {
        return Some(On::Vfork);
    }
    if is_of_pages(wchan) {
        return Some(On::Page(fuse().or(mount)));
    }
    (blocked && MEMORY_MAP.contains(&wchan)).then_some(On::MemoryMap)
}

/// What the call tells.
fn in_call(task: &Task) -> Option<On> {
    if let Some(lock) = &task.lock {
        return Some(On::Lock(lock.clone()));
    }
    let call = task.call?;
    match call.name {
        "wait4" | "waitid" => return Some(On::Child(awaited(call))),
        "futex" | "futex_waitv" | "futex_wait" => return Some(On::Futex),
        name if EVENTS.contains(&name) => return Some(On::Events),
        name if TIME.contains(&name) => return Some(On::Time),
        name if SIGNALS.contains(&name) => return Some(On::Signal),
        _ => {}
    }
    match task.open.as_ref()? {
        Open::Pipe(inode) if WRITES.contains(&call.name) => Some(On::PipeRoom(*inode)),
        Open::Pipe(inode) => Some(On::PipeData(*inode)),
        Open::Socket(inode) => Some(On::Socket(*inode)),
        Open::File(path, _) | Open::Other(path) if task.state == ProcState::Sleeping => {
            Some(On::File(path.clone()))
        }
        Open::File(..) | Open::Other(_) => None,
    }
}

/// The one child that a wait4(2) or waitid(2) is for; `None` when it is for several.
pub fn awaited(call: Call) -> Option<Pid> {
    /// `P_PID` of waitid(2).
    const ONE: u64 = 1;
    match call.name {
        "wait4" => Pid::new(call.args[0] as i32),
        "waitid" if call.args[0] == ONE => Pid::new(call.args[1] as i32),
        _ => None,
    }
}

impl Task {
    /// One of whom nothing is known but what it does.
    pub fn new(pid: Pid, state: ProcState) -> Task {
        Task {
            pid,
            thread: pid,
            name: Vec::new(),
            state,
            dying: false,
            wchan: None,
            call: None,
            hidden: false,
            open: None,
            elsewhere: false,
            freezer: None,
            lock: None,
            unanswered: Vec::new(),
        }
    }
}

/// What SIGKILL would do to the thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kill {
    /// It ends.
    Works,
    /// It ends as soon as this happens.
    When(String),
    /// It does not end before this happens, which may be never.
    NotUntil(String),
}

impl fmt::Display for Kill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kill::Works => f.write_str("SIGKILL works"),
            Kill::When(what) => write!(f, "SIGKILL works when {what}"),
            Kill::NotUntil(what) => write!(f, "SIGKILL never works until {what}"),
        }
    }
}

/// A thread that waits: for what, on whom, and what SIGKILL would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// What was seen.
    pub task: Task,
    /// For what it waits.
    pub on: On,
    /// Who could end the wait: one of them is enough, unless it needs all.
    pub parties: Vec<Party>,
    /// So many more could, who are not listed.
    pub more: usize,
    /// Who has asked for the page that it waits for, and has it locked meanwhile.
    pub holders: Vec<Party>,
    /// What SIGKILL would do.
    pub kill: Kill,
}

impl Wait {
    /// The verdict on a thread, once it is known who could end its wait.
    pub fn new(task: Task, on: On, parties: Vec<Party>) -> Wait {
        let kill = kill(&task, &on, &parties);
        Wait { task, on, parties, more: 0, holders: Vec::new(), kill }
    }

    /// The same where these have asked for the page that it waits for.
    #[must_use]
    pub fn held_by(self, holders: Vec<Party>) -> Wait {
        Wait { holders, ..self }
    }

    /// The same where so many more could end the wait, whom nobody would read a list of.
    #[must_use]
    pub fn and_more(self, more: usize) -> Wait {
        Wait { more, ..self }
    }

    /// Whether a person should hear of it: it is blocked, or would be once it is killed.
    pub fn is_trouble(&self) -> bool {
        self.task.state == ProcState::Blocked || self.kill != Kill::Works || matches!(self.on, On::Freezer(_))
    }

    /// What helps, in sentences; nothing when time does.
    pub fn cures(&self) -> Vec<String> {
        cures(&self.task, &self.on, &self.parties)
    }
}

fn kill(task: &Task, on: &On, parties: &[Party]) -> Kill {
    match on {
        On::Fuse(mount) => {
            let server = if parties.is_empty() { String::from("its server") } else { list(parties) };
            let aborted =
                mount.as_ref().map(|mount| alloc::format!(", or connection {} is aborted", mount.device.1));
            Kill::NotUntil(alloc::format!("{server} answers or ends{}", aborted.unwrap_or_default()))
        }
        On::Freezer(Some(freezer)) if !freezer.is_v1 => Kill::Works,
        On::Freezer(freezer) => {
            let path = freezer.as_ref().map(|freezer| String::from_utf8_lossy(&freezer.path).into_owned());
            Kill::When(alloc::format!("the cgroup {} is thawed", path.unwrap_or_default()))
        }
        On::FrozenFileSystem(mount) => {
            let which = mount.as_ref().map_or_else(|| String::from("the file system"), Mount::point_text);
            Kill::NotUntil(alloc::format!("{which} is thawed (fsfreeze --unfreeze)"))
        }
        On::Page(_) if is_killable(task) || task.call.is_some_and(|call| READS.contains(&call.name)) => {
            Kill::Works
        }
        On::Page(Some(mount)) if mount.is_fuse() => {
            let server = if parties.is_empty() { String::from("the server") } else { list(parties) };
            Kill::NotUntil(alloc::format!("{server} of {mount} answers or ends"))
        }
        On::Page(None) => Kill::When(String::from("the page comes")),
        On::Page(_) | On::Device => Kill::When(String::from("the disk answers")),
        On::Nfs(_) if task.state == ProcState::Blocked && !is_killable(task) => {
            Kill::When(String::from("the server answers"))
        }
        On::Kernel(_) | On::Hidden if task.state == ProcState::Blocked && !is_killable(task) => {
            Kill::When(String::from("what it waits for comes"))
        }
        On::Stop
        | On::Tracer
        | On::Nfs(_)
        | On::Vfork
        | On::MemoryMap
        | On::Lock(_)
        | On::PipeData(_)
        | On::PipeRoom(_)
        | On::Socket(_)
        | On::Child(_)
        | On::Futex
        | On::Events
        | On::Time
        | On::Signal
        | On::File(_)
        | On::Hidden
        | On::Kernel(_) => Kill::Works,
    }
}

impl Mount {
    fn point_text(&self) -> String {
        String::from_utf8_lossy(&self.point).into_owned()
    }
}

/// Places where the kernel lets a deadly signal through, though the letter is D.
fn is_killable(task: &Task) -> bool {
    let wchan = task.wchan.as_deref().unwrap_or("");
    wchan.contains("killable") || MEMORY_MAP.contains(&wchan)
}

fn cures(task: &Task, on: &On, parties: &[Party]) -> Vec<String> {
    let stopped = parties.iter().filter(|party| party.state == ProcState::Stopped);
    let mut cures: Vec<String> =
        stopped.map(|party| alloc::format!("let {party} go on: `doula cont {}`", party.pid)).collect();
    if let On::Fuse(mount) | On::Page(mount) = on {
        for party in parties {
            cures.push(alloc::format!("see why {party} does not answer: `doula doctor {}`", party.pid));
        }
        if let Some(mount) = mount.as_ref().filter(|mount| mount.is_fuse()) {
            let abort = "give up all that is asked of it, with errors for those who wait";
            let file = alloc::format!("/sys/fs/fuse/connections/{}/abort", mount.device.1);
            cures.push(alloc::format!("{abort}: `echo 1 > {file}`"));
        }
    }
    if let On::Freezer(Some(freezer)) = on {
        let path = String::from_utf8_lossy(&freezer.path);
        let (value, file) = if freezer.is_v1 { ("THAWED", "freezer.state") } else { ("0", "cgroup.freeze") };
        cures.push(alloc::format!("thaw it: `echo {value} > {path}/{file}`"));
    }
    if let On::FrozenFileSystem(Some(mount)) = on {
        let there =
            if task.elsewhere { alloc::format!("nsenter -t {} -m ", task.pid) } else { String::new() };
        cures.push(alloc::format!("thaw it: `{there}fsfreeze --unfreeze {}`", mount.point_text()));
    }
    cures
}

impl fmt::Display for Wait {
    /// The rest of a sentence that begins with the thread.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.on)?;
        if !self.holders.is_empty() {
            write!(f, ", which {} has asked for", list(&self.holders))?;
        }
        if !self.parties.is_empty() {
            let links = [
                (matches!(self.on, On::Fuse(_) | On::Page(_)), "served by"),
                (matches!(self.on, On::Lock(_)), "held by"),
                (matches!(self.on, On::PipeData(_)), "written by"),
                (matches!(self.on, On::PipeRoom(_)), "read by"),
                (matches!(self.on, On::Socket(_)), "whose other end has"),
            ];
            let link = links.iter().find(|(fits, _)| *fits).map_or("namely", |(_, link)| link);
            write!(f, ", {link} {}", list_of(&self.parties, self.more))?;
        }
        if let Some(call) = self.task.call {
            write!(f, ", in {}(2)", call.name)?;
        }
        if let Some(wchan) = &self.task.wchan {
            write!(f, " [{wchan}]")?;
        }
        Ok(())
    }
}

impl fmt::Display for On {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |mount: &Option<Mount>| {
            mount.as_ref().map_or_else(String::new, |mount| alloc::format!(" {mount}"))
        };
        match self {
            On::Stop => f.write_str("is stopped by a signal"),
            On::Tracer => f.write_str("is stopped by its tracer"),
            On::Freezer(None) => f.write_str("is in a frozen cgroup"),
            On::Freezer(Some(freezer)) => {
                let version = if freezer.is_v1 { "v1" } else { "v2" };
                write!(f, "is in the frozen cgroup {} ({version})", String::from_utf8_lossy(&freezer.path))
            }
            On::Fuse(mount) => write!(f, "waits for the answer of the FUSE file system{}", of(mount)),
            On::Nfs(mount) => {
                let server = mount.as_ref().and_then(Mount::server).map(String::from_utf8_lossy);
                let server = server.map_or_else(String::new, |server| alloc::format!(" {server}"));
                write!(f, "waits for the server{server} of the NFS mount{}", of(mount))
            }
            On::FrozenFileSystem(mount) => {
                write!(f, "waits until the frozen file system{} is thawed", of(mount))
            }
            On::Vfork => f.write_str("waits until its child of vfork(2) executes a program or ends"),
            On::Page(mount) => write!(f, "waits for a page of a file{}", of(mount)),
            On::MemoryMap => f.write_str("waits for the lock of its memory map"),
            On::Lock(lock) => write!(f, "waits for a file lock ({} of {})", lock.kind, lock.file),
            On::PipeData(_) => f.write_str("waits for bytes from a pipe"),
            On::PipeRoom(_) => f.write_str("waits for room in a pipe"),
            On::Socket(_) => f.write_str("waits for the other end of a socket"),
            On::Child(Some(pid)) => write!(f, "waits for the end of its child {pid}"),
            On::Child(None) => f.write_str("waits for the end of a child"),
            On::Futex => f.write_str("waits for another thread (futex)"),
            On::Events => f.write_str("waits for events"),
            On::Time => f.write_str("sleeps for a time"),
            On::Signal => f.write_str("waits for a signal"),
            On::File(path) => write!(f, "waits for {}", String::from_utf8_lossy(path)),
            On::Device => f.write_str("waits for a disk"),
            On::Hidden => f.write_str("waits for what only root sees, or who may trace it"),
            On::Kernel(_) => f.write_str("waits in the kernel"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;
    use alloc::vec;

    fn pid(number: i32) -> Pid {
        Pid::new(number).expect("a number")
    }

    fn task(state: ProcState, wchan: &str, call: Option<&'static str>) -> Task {
        let call = call.map(|name| Call { name, args: [0; 6] });
        Task { wchan: Some(wchan.to_string()), call, ..Task::new(pid(7), state) }
    }

    fn mount(kind: &str) -> Mount {
        Mount { point: b"/mnt".to_vec(), kind: kind.to_string(), source: b"x".to_vec(), device: (0, 39) }
    }

    fn verdict(task: Task, parties: Vec<Party>) -> Wait {
        let on = on(&task).expect("it waits");
        Wait::new(task, on, parties)
    }

    const D: ProcState = ProcState::Blocked;
    const S: ProcState = ProcState::Sleeping;

    #[test]
    fn a_reader_of_a_fuse_server_would_be_d_for_ever_after_sigkill_though_it_is_s() {
        let file = Some(Open::File(b"/mnt/x".to_vec(), Some(mount("fuse.sshfs"))));
        let server = Party { pid: pid(9), name: b"sshfs".to_vec(), state: ProcState::Stopped };
        let wait = verdict(Task { open: file, ..task(S, "request_wait_answer", Some("read")) }, vec![server]);
        assert_eq!(wait.on, On::Fuse(Some(mount("fuse.sshfs"))));
        let Kill::NotUntil(what) = &wait.kill else { panic!("{wait:?}") };
        assert!(what.starts_with("9 (sshfs), stopped answers or ends"), "{what}");
        assert!(wait.is_trouble() && wait.cures()[0].contains("doula cont 9"), "{:?}", wait.cures());
        let told = "waits for the answer of the FUSE file system /mnt (fuse.sshfs), served by 9 (sshfs), stopped, \
                    in read(2) [request_wait_answer]";
        assert_eq!(wait.to_string(), told);
    }

    #[test]
    fn of_a_page_fault_the_file_system_with_open_questions_is_named() {
        let fault = Task { unanswered: vec![mount("fuse")], ..task(S, "request_wait_answer", None) };
        assert_eq!(on(&fault), Some(On::Fuse(Some(mount("fuse")))));
        let page = Task { unanswered: vec![mount("fuse")], ..task(D, "folio_wait_bit", Some("munmap")) };
        assert!(matches!(verdict(page, Vec::new()).kill, Kill::NotUntil(_)));
        assert_eq!(
            verdict(task(D, "folio_wait_bit", None), Vec::new()).kill,
            Kill::When("the page comes".into())
        );
    }

    #[test]
    fn a_page_that_somebody_else_has_asked_for_names_him_and_a_reader_of_it_can_be_killed() {
        let file = |kind| Some(Open::File(b"/mnt/x".to_vec(), Some(mount(kind))));
        let server = || Party { pid: pid(9), name: b"sshfs".to_vec(), state: S };
        let asker = Party { pid: pid(8), name: b"first".to_vec(), state: S };
        let reads = Task { open: file("fuse"), ..task(D, "folio_wait_bit_common", Some("read")) };
        let wait = verdict(reads, vec![server()]).held_by(vec![asker]);
        assert_eq!((&wait.on, &wait.kill), (&On::Page(Some(mount("fuse"))), &Kill::Works));
        let told = "waits for a page of a file /mnt (fuse), which 8 (first) has asked for, served by 9 (sshfs), \
                    in read(2) [folio_wait_bit_common]";
        assert_eq!(wait.to_string(), told);
        for (wchan, call, kind, expected) in [
            (
                "__folio_lock",
                Some("openat"),
                "fuse",
                Kill::NotUntil("9 (sshfs) of /mnt (fuse) answers or ends".into()),
            ),
            ("__folio_lock_killable", None, "fuse", Kill::Works),
            ("__lock_page", Some("write"), "ext4", Kill::When("the disk answers".into())),
            ("wait_on_page_bit_killable", Some("read"), "ext4", Kill::Works),
        ] {
            let wait = verdict(Task { open: file(kind), ..task(D, wchan, call) }, vec![server()]);
            assert_eq!((wait.on, wait.kill), (On::Page(Some(mount(kind))), expected), "{wchan}");
        }
    }

    #[test]
    fn a_server_of_fuse_that_waits_for_questions_is_healthy() {
        let device = Some(Open::File(b"/dev/fuse".to_vec(), Some(mount("devtmpfs"))));
        let idle = verdict(Task { open: device, ..task(S, "fuse_dev_do_read", Some("read")) }, Vec::new());
        assert_eq!((&idle.on, &idle.kill), (&On::File(b"/dev/fuse".to_vec()), &Kill::Works));
        assert!(!idle.is_trouble());
        let asks = task(S, "fuse_get_req", Some("read"));
        assert_eq!(on(&asks), Some(On::Fuse(None)));
    }

    #[test]
    fn a_frozen_file_system_is_thawed_where_the_one_who_waits_sees_it() {
        let file = Some(Open::File(b"/mnt/x".to_vec(), Some(mount("ext4"))));
        let here = Task { open: file, ..task(D, "percpu_rwsem_wait", Some("mkdir")) };
        let there = Task { elsewhere: true, ..here.clone() };
        let wait = verdict(here, Vec::new());
        assert_eq!(
            wait.to_string(),
            "waits until the frozen file system /mnt (ext4) is thawed, in mkdir(2) [percpu_rwsem_wait]"
        );
        assert_eq!(wait.cures(), ["thaw it: `fsfreeze --unfreeze /mnt`"]);
        assert_eq!(
            verdict(there, Vec::new()).cures(),
            ["thaw it: `nsenter -t 7 -m fsfreeze --unfreeze /mnt`"]
        );
        let born = task(D, "percpu_rwsem_wait", Some("clone3"));
        assert_eq!(on(&born), Some(On::Kernel(Some("percpu_rwsem_wait".to_string()))), "of cgroups");
    }

    #[test]
    fn the_server_of_a_mount_of_nfs_is_named_and_a_killable_wait_ends_by_sigkill() {
        let nfs = Mount { source: b"filer:/export".to_vec(), ..mount("nfs4") };
        let file = Some(Open::File(b"/mnt/x".to_vec(), Some(nfs)));
        for (wchan, works) in
            [("rpc_wait_bit_killable", true), ("nfs_wait_on_request", false), ("nfs4_delay_killable", true)]
        {
            let wait = verdict(Task { open: file.clone(), ..task(D, wchan, Some("read")) }, Vec::new());
            let told = "waits for the server filer of the NFS mount /mnt (nfs4), in read(2)";
            assert!(wait.to_string().starts_with(told), "{wait}");
            assert_eq!(wait.kill == Kill::Works, works, "{wait:?}");
        }
    }

    #[test]
    fn the_letter_d_alone_does_not_say_whether_sigkill_works() {
        let v1 = Freezer { path: b"/a".to_vec(), is_v1: true };
        let v2 = Freezer { is_v1: false, ..v1.clone() };
        for (task, expected, works) in [
            (task(D, "kernel_clone", Some("vfork")), On::Vfork, true),
            (task(D, "vm_mmap_pgoff", Some("mmap")), On::MemoryMap, true),
            (
                Task { freezer: Some(v1.clone()), ..task(D, "__refrigerator", None) },
                On::Freezer(Some(v1)),
                false,
            ),
            (Task { freezer: Some(v2.clone()), ..task(S, "get_signal", None) }, On::Freezer(Some(v2)), true),
            (task(D, "percpu_rwsem_wait", Some("write")), On::FrozenFileSystem(None), false),
            (task(D, "rpc_wait_bit_killable", Some("read")), On::Nfs(None), true),
            (task(D, "io_schedule", Some("fsync")), On::Device, false),
            (task(D, "msleep", None), On::Kernel(Some("msleep".to_string())), false),
            (task(ProcState::Stopped, "do_signal_stop", None), On::Stop, true),
            (task(ProcState::Traced, "ptrace_stop", None), On::Tracer, true),
        ] {
            let wait = verdict(task, Vec::new());
            assert_eq!((&wait.on, wait.kill == Kill::Works), (&expected, works), "{wait:?}");
        }
    }

    #[test]
    fn what_a_call_waits_for_follows_from_its_name_and_its_descriptor() {
        let with = |name, open: Open| Task { open: Some(open), ..task(S, "x", Some(name)) };
        for (task, expected) in [
            (with("read", Open::Pipe(5)), On::PipeData(5)),
            (with("write", Open::Pipe(5)), On::PipeRoom(5)),
            (with("recvfrom", Open::Socket(6)), On::Socket(6)),
            (
                with("read", Open::Other(b"anon_inode:[eventfd]".to_vec())),
                On::File(b"anon_inode:[eventfd]".to_vec()),
            ),
            (task(S, "x", Some("futex")), On::Futex),
            (task(S, "x", Some("epoll_wait")), On::Events),
            (task(S, "x", Some("clock_nanosleep")), On::Time),
            (task(S, "x", Some("rt_sigsuspend")), On::Signal),
        ] {
            assert_eq!(on(&task), Some(expected));
        }
        let mut waits = task(S, "do_wait", Some("wait4"));
        waits.call = Some(Call { name: "wait4", args: [u64::from(u32::MAX), 0, 0, 0, 0, 0] });
        assert_eq!(on(&waits), Some(On::Child(None)));
        waits.call = Some(Call { name: "waitid", args: [1, 12, 0, 0, 0, 0] });
        assert_eq!(on(&waits), Some(On::Child(Some(pid(12)))));
        assert_eq!(on(&Task { hidden: true, ..Task::new(pid(7), S) }), Some(On::Hidden));
        assert_eq!(on(&Task::new(pid(7), ProcState::Running)), None);
    }
}
