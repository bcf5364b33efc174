//! Who locks a memory map.

use super::Reader;
use doula_model::id::Pid;
use doula_model::process::ProcState;

/// Where threads stand that wait for the lock themselves, or that only read with it.
const WAITS_FOR_IT: [&[u8]; 8] = [
    b"vm_mmap_pgoff",
    b"__access_remote_vm",
    b"rwsem_down_read_slowpath",
    b"rwsem_down_write_slowpath",
    b"lock_mm_and_find_vma",
    b"__vm_munmap",
    b"do_mprotect_pkey",
    b"exit_mm",
];

/// The thread that seems to hold the lock of a memory map.
///
/// ```
/// use doula_host::{Pid, procfs::Locker};
/// let locker = Locker { thread: Pid::INIT, wchan: Some(b"folio_wait_bit".to_vec()) };
/// let wchan = locker.wchan.as_deref().map(String::from_utf8_lossy);
/// assert_eq!(wchan.as_deref(), Some("folio_wait_bit"), "it waits for a page from a disk");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locker {
    /// Which thread.
    pub thread: Pid,
    /// The function of the kernel in which it waits, where we may see that.
    pub wchan: Option<Vec<u8>>,
}

/// Of the threads of a process whose memory map is locked, the one that waits (state D) in something else than this lock.
/// `None` when there is none: it may hold the lock without waiting.
///
/// ```
/// use doula_host::procfs::{Reader, Want, locker};
/// let mut reader = Reader::open()?;
/// for process in reader.scan(&Want { args: true, ..Want::default() })? {
///     if process.is_locked() {
///         println!("{} hangs: {:?}", process.stat.pid, locker(&mut reader, process.stat.pid));
///     }
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use]
pub fn locker(reader: &mut Reader, pid: Pid) -> Option<Locker> {
    let waiting = |reader: &mut Reader, thread: Pid| {
        let stat = reader.thread_stat(pid, thread)?;
        (stat.state == ProcState::Blocked).then(|| Locker { thread, wchan: reader.thread_wchan(pid, thread) })
    };
    let found: Vec<Locker> =
        reader.threads(pid).into_iter().filter_map(|thread| waiting(reader, thread)).collect();
    let holds = |locker: &&Locker| !locker.wchan.as_deref().is_some_and(|name| WAITS_FOR_IT.contains(&name));
    found.iter().find(holds).or(found.first()).cloned()
}
