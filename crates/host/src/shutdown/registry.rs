//! What is to be done when this process ends, however it ends by itself: once, and by the process that said so.
//!
//! atexit(3) alone does not know that: a copy of a process (fork(2)) that ends by exit(3) runs the handlers of its original.
//! Here every entry belongs to the process that made it ([`mark::identity`]); a copy starts with none.

use doula_sys::catch;
use doula_sys::fork::mark;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(super) type Work = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// One thing to be done.
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) run: Work,
    id: u64,
}

struct Registry {
    owner: u64,
    last: u64,
    /// Whether exit(3) knows of us. Copies inherit that.
    at_exit: bool,
    entries: Vec<Entry>,
    /// What our original wants done: not ours to do, and not ours to drop either, for a destructor may do it.
    of_our_original: Vec<Entry>,
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry {
    owner: 0,
    last: 0,
    at_exit: false,
    entries: Vec::new(),
    of_our_original: Vec::new(),
});

/// The process that has registered something, known without the lock.
static OWNER: AtomicU64 = AtomicU64::new(0);

/// That nobody of this process can register anything meanwhile.
pub(crate) struct Still(#[expect(dead_code, reason = "held, not read")] MutexGuard<'static, Registry>);

/// Keeps the registry as it is, so that a copy of this process finds it in order.
pub(crate) fn still() -> Still {
    Still(lock())
}

fn lock() -> MutexGuard<'static, Registry> {
    // Nobody panics while holding it.
    let mut registry = REGISTRY.lock().unwrap_or_else(PoisonError::into_inner);
    let us = mark::identity();
    if registry.owner != us {
        let kept = std::mem::take(&mut registry.entries);
        registry.of_our_original.extend(kept);
        registry.owner = us;
    }
    registry
}

/// Something that is to be done at the end of this process. See [`on_exit`].
///
/// ```
/// use doula_host::shutdown::on_exit;
/// let hook = on_exit("never", || unreachable!("it was cancelled"))?;
/// assert!(hook.cancel());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct OnExit {
    id: u64,
    owner: u64,
}

impl OnExit {
    /// It is not to be done any more. `false` when it was done, and in a copy of the process that registered it.
    ///
    /// ```
    /// use doula_host::shutdown::on_exit;
    /// assert!(on_exit("nothing", || Ok(()))?.cancel());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn cancel(self) -> bool {
        take(&self).is_some()
    }

    /// It is done now, and not again. Nothing happens when it was done, and in a copy of the process that registered it.
    ///
    /// # Errors
    /// What it says itself.
    ///
    /// ```
    /// use doula_host::shutdown::on_exit;
    /// let hook = on_exit("told", || Err(std::io::Error::other("no")))?;
    /// assert_eq!(hook.run().unwrap_err().to_string(), "no");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn run(self) -> io::Result<()> {
        take(&self).map_or(Ok(()), |entry| (entry.run)())
    }

    /// Whether this is the process that registered it.
    pub(super) fn is_ours(&self) -> bool {
        self.owner == mark::identity()
    }
}

fn take(hook: &OnExit) -> Option<Entry> {
    let mut registry = lock();
    let at = registry.entries.iter().position(|entry| entry.id == hook.id && registry.owner == hook.owner)?;
    Some(registry.entries.remove(at))
}

/// Registers something to be done at the end of this process: in the last phase of a [`crate::shutdown::Shutdown`]; at exit(3)
/// or the return from `main`; or at the end of the copy that [`crate::fork`] made, if it was registered there. Later ones come
/// first; each is done once, and never in a copy of this process. Nothing is done when the process is killed.
///
/// As atexit(3), but for copies; <https://man7.org/linux/man-pages/man3/atexit.3.html>.
///
/// # Errors
/// ENOMEM.
///
/// ```
/// use doula_host::fork::{Threads, fork};
/// use doula_host::shutdown::on_exit;
///
/// let lock = std::env::temp_dir().join(format!("doula-on-exit-{}", std::process::id()));
/// std::fs::write(&lock, "")?;
/// let file = lock.clone();
/// let hook = on_exit("lock", move || std::fs::remove_file(file))?;
/// # if false {
/// fork(Threads::Refuse, || 0)?.wait();    // a copy of us ends: the file is there still
/// # }
/// assert!(lock.exists());
/// hook.run()?;
/// assert!(!lock.exists());
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn on_exit(name: &str, run: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<OnExit> {
    let mut registry = lock();
    if !registry.at_exit {
        catch::at_exit(at_exit).map_err(crate::child::os_error)?;
        registry.at_exit = true;
    }
    registry.last += 1;
    let (id, owner) = (registry.last, registry.owner);
    OWNER.store(owner, Ordering::Release);
    registry.entries.push(Entry { name: name.to_owned(), run: Box::new(run), id });
    Ok(OnExit { id, owner })
}

/// The last one that was registered and not done.
pub(super) fn last() -> Option<Entry> {
    lock().entries.pop()
}

/// Does all that this process has to do at its end.
pub(crate) fn finish() {
    while let Some(entry) = last() {
        // Nobody is left to be told; and the others must be done.
        drop(catch_unwind(AssertUnwindSafe(entry.run)));
    }
}

extern "C" fn at_exit() {
    // A copy that somebody else made may have the registry as another thread held it, for ever.
    if OWNER.load(Ordering::Acquire) == mark::identity() {
        finish();
    }
}
