//! fork(2), for those who must: a child that goes on with our own code, not with another program.
//!
//! [`crate::Command`] never needs it, and a [`crate::Zygote`] does it cheaply. It costs time and page tables in proportion to our memory, and it is only sound in a
//! process of one thread: the copy has that one thread only, and the locks of the others as they were, for ever. So a
//! process with more threads is refused unless that is accepted by name.
//!
//! ```
//! use doula_host::fork::{Threads, fork};
//! let mut child = fork(Threads::Refuse, || 42)?;
//! assert_eq!(child.wait().exit_code(), Some(42));
//! # Ok::<(), std::io::Error>(())
//! ```

use crate::child::{Child, OnDrop, Tree, os_error};
use crate::reaper::owners;
use crate::shutdown;
use doula_model::plan::Errno;
use doula_sys::fork::copy;
pub use doula_sys::fork::copy::Threads;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Write as _};

/// Runs `child` in a copy of this process; its answer is the exit code.
///
/// Standard output and the streams of C are flushed before, so that nothing is written twice. The copy ends by `_exit`: what
/// it wrote is flushed (not if there were other threads, whose locks would be waited for in vain), but no exit
/// handler of ours runs a second time; what the copy itself has registered ([`crate::shutdown::on_exit`]) is done. A panic ends it with code 101 or SIGABRT, never in our code.
///
/// # Errors
/// [`ErrorKind::ResourceBusy`] with the number of threads, when there are others and they are refused; EAGAIN and ENOMEM
/// of fork(2).
///
/// ```
/// use doula_host::fork::{Threads, fork};
/// use std::sync::mpsc::channel;
/// let (stop, wait) = channel::<()>();
/// let other = std::thread::spawn(move || wait.recv());
/// let error = fork(Threads::Refuse, || 0).unwrap_err();
/// assert_eq!(error.kind(), std::io::ErrorKind::ResourceBusy);
/// drop(stop);
/// # let _ = other.join();
/// ```
pub fn fork(threads: Threads, child: impl FnOnce() -> u8) -> io::Result<Child> {
    io::stdout().flush()?;
    // Nobody changes the registry while it is copied.
    let still = shutdown::still();
    let run = move || {
        drop(still);
        live(threads == Threads::Refuse, child)
    };
    let _birth = owners::birth();
    let born = copy::fork(threads, run).map_err(refusal)?;
    Ok(Child::new(born, BTreeMap::new(), Tree::Open, OnDrop::default()))
}

/// The life of a copy in which `child` runs.
pub(crate) fn live(flush: bool, child: impl FnOnce() -> u8) -> u8 {
    let finish = Finish;
    let code = child();
    drop(finish);
    if flush {
        // Whoever cannot be written to cannot be told so either.
        let _ = io::stdout().flush();
    }
    code
}

/// At its end, also by a panic, the copy does what it has registered itself ([`shutdown::on_exit`]).
struct Finish;

impl Drop for Finish {
    fn drop(&mut self) {
        shutdown::finish();
    }
}

fn refusal(errno: Errno) -> io::Error {
    if errno != Errno::EBUSY {
        return os_error(errno);
    }
    let count = copy::count_threads().unwrap_or_default();
    let what = format!(
        "this process has {count} threads: a copy of one of them could wait for ever for a lock of another"
    );
    io::Error::new(ErrorKind::ResourceBusy, what)
}
