//! Copies of this process by the bare call: one that is a child of our parent, not of us, which is what a zygote makes; and
//! one that has our very fd table, which keeps all that is in it open when we are killed.
//!
//! The C library's fork(3) cannot say such things, so the call is made bare, and what fork(3) puts right in a child is done here: the
//! number of the thread that the C library keeps, and the list of robust mutexes. Its locks are free where there is one
//! thread. Handlers of pthread_atfork(3) do not run: nobody but fork(3) can call them.

use super::clone::{self, CloneArgs, SIZE_WITHOUT_CGROUP};
use super::{Born, copy};
use crate::{Result, raw};
use core::ptr::with_exposed_provenance;

/// `clone3(CLONE_PARENT | CLONE_PIDFD)`—runs `child` in a copy of this process, and ends it by `_exit` with the code
/// that comes back. Our parent gets SIGCHLD and must bury it; the handle is ours, to be handed over.
///
/// For a process of one thread ([`copy::count_threads`]): a lock of another would stay as it was, for ever. EINVAL for PID 1
/// of a namespace, which has no siblings.
///
/// <https://man7.org/linux/man-pages/man2/clone.2.html>
#[doc(alias = "clone3")]
#[doc(alias = "CLONE_PARENT")]
pub fn sibling(child: impl FnOnce() -> u8) -> Result<Born> {
    // The signal of its end is that of ours, and may not be given.
    copy_with(libc::CLONE_PARENT, 0, child)
}

/// `clone3(CLONE_FILES | CLONE_PIDFD)`—runs `child` in a copy of this process that has *our* fd table: what one of the two opens or
/// closes, it opens or closes for the other, and all stays open as long as one of them lives. `child` must not own
/// an fd of ours, or we lose it.
///
/// For a process of one thread ([`copy::count_threads`]).
///
/// <https://man7.org/linux/man-pages/man2/clone.2.html>
#[doc(alias = "CLONE_FILES")]
pub fn sharing_files(child: impl FnOnce() -> u8) -> Result<Born> {
    copy_with(libc::CLONE_FILES, libc::SIGCHLD, child)
}

fn copy_with(how: i32, end_signal: i32, child: impl FnOnce() -> u8) -> Result<Born> {
    copy::flush();
    let thread = Thread::ours();
    let mut pidfd: i32 = -1;
    let pid = match thread.clone3(how, end_signal, &mut pidfd) {
        Err(errno) if clone::is_refusal(errno) => thread.clone_old(how, &mut pidfd),
        answer => answer,
    }?;
    if pid == 0 {
        thread.settle();
        copy::run(child)
    }
    clone::handle(pid, pidfd)
}

/// What the C library and the kernel know of the calling thread together.
struct Thread {
    /// Where the C library keeps its number; 0 if we cannot know.
    number_at: usize,
    /// The head of its list of robust mutexes, and the size of that.
    robust: [usize; 2],
}

impl Thread {
    fn ours() -> Thread {
        let mut robust = [0usize; 2];
        let (head_at, size_at) = (&raw mut robust[0] as usize, &raw mut robust[1] as usize);
        // SAFETY: the kernel writes an address and a size where there is room for them.
        let known = unsafe { raw::call(libc::SYS_get_robust_list, [0, head_at, size_at, 0, 0, 0]) };
        Thread { number_at: number_at(), robust: if known.is_ok() { robust } else { [0; 2] } }
    }

    fn flags(&self, how: i32) -> i32 {
        let number =
            if self.number_at == 0 { 0 } else { libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID };
        how | libc::CLONE_PIDFD | number
    }

    fn clone3(&self, how: i32, end_signal: i32, pidfd: &mut i32) -> Result<usize> {
        let args = CloneArgs {
            flags: self.flags(how) as u64,
            exit_signal: end_signal as u64,
            pidfd: core::ptr::from_mut(pidfd) as u64,
            child_tid: self.number_at as u64,
            ..CloneArgs::default()
        };
        let list = [&raw const args as usize, SIZE_WITHOUT_CGROUP, 0, 0, 0, 0];
        // SAFETY: the child has a copy of our memory and goes on on its copy of our stack, as after fork(2).
        unsafe { raw::call(libc::SYS_clone3, list) }
    }

    fn clone_old(&self, how: i32, pidfd: &mut i32) -> Result<usize> {
        let mut list =
            [(self.flags(how) | libc::SIGCHLD) as usize, 0, core::ptr::from_mut(pidfd) as usize, 0, 0, 0];
        list[if cfg!(target_arch = "x86_64") { 3 } else { 4 }] = self.number_at;
        // SAFETY: as for clone3.
        unsafe { raw::call(libc::SYS_clone, list) }
    }

    /// In the child: the kernel has forgotten the list, which is empty or whose owner is our original.
    fn settle(&self) {
        let [head, size] = self.robust;
        if head != 0 {
            // SAFETY: the C library gave this very list to the kernel for this thread.
            let _ = unsafe { raw::call(libc::SYS_set_robust_list, [head, size, 0, 0, 0, 0]) };
        }
    }
}

/// `prctl(PR_GET_TID_ADDRESS)`—where the C library keeps the number of the calling thread, if that is (as with glibc) what the
/// kernel empties at its end. 0 with other libraries, and without CONFIG_CHECKPOINT_RESTORE.
fn number_at() -> usize {
    let mut address = 0usize;
    let args = [libc::PR_GET_TID_ADDRESS as usize, &raw mut address as usize, 0, 0, 0, 0];
    // SAFETY: the kernel writes one address where there is room for it.
    let known = unsafe { raw::call(libc::SYS_prctl, args) };
    if known.is_err() || address == 0 || !address.is_multiple_of(align_of::<i32>()) {
        return 0;
    }
    let ours = rustix::thread::gettid().as_raw_nonzero().get();
    // SAFETY: the kernel will write four bytes there when this thread ends, so they are ours to read.
    let kept = unsafe { with_exposed_provenance::<i32>(address).read_volatile() };
    if kept == ours { address } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fd;
    use crate::fd::{AsFd as _, AsRawFd as _};
    use crate::fork::copy::{Threads, fork};
    use crate::group;
    use crate::wait::{self, Who};
    use doula_model::exit::ExitStatus;
    use doula_model::id::Pid;

    /// A child of ours bears a sibling that ends with what `code` says; how that ended.
    fn end_of_a_sibling(bear: impl Fn(&dyn Fn() -> u8) -> Result<Born>, code: &dyn Fn() -> u8) -> ExitStatus {
        let (reader, writer) = fd::pipe().expect("pipe");
        let zygote = fork(Threads::Accept, || {
            let Ok(born) = bear(code) else { return 1 };
            u8::from(fd::write(&writer, &born.pid.get().to_ne_bytes()) != Ok(4))
        });
        let zygote = zygote.expect("fork");
        assert_eq!(wait::end(Who::Pidfd(zygote.pidfd.as_fd())), Ok(ExitStatus::code(0)));
        let mut number = [0; 4];
        assert_eq!(fd::read_full(&reader, &mut number), Ok(4));
        let pid = Pid::new(i32::from_ne_bytes(number)).expect("a number");
        wait::end(Who::Pid(pid)).expect("a child of ours")
    }

    #[test]
    fn a_sibling_is_a_child_of_our_parent_and_keeps_its_list_of_robust_mutexes() {
        let (us, robust) = (group::pid(), Thread::ours().robust);
        let code = || if group::parent() == Some(us) && Thread::ours().robust == robust { 42 } else { 1 };
        assert_eq!(end_of_a_sibling(|code| sibling(code), &code), ExitStatus::code(42));
    }

    #[test]
    fn the_old_call_makes_the_same_sibling() {
        let (us, unknown) = (group::pid(), number_at() == 0);
        let code = || if group::parent() == Some(us) && (unknown || knows_its_number()) { 43 } else { 1 };
        let bear = |code: &dyn Fn() -> u8| {
            let (thread, mut pidfd) = (Thread::ours(), -1);
            match thread.clone_old(libc::CLONE_PARENT, &mut pidfd)? {
                0 => copy::run(code),
                pid => clone::handle(pid, pidfd),
            }
        };
        assert_eq!(end_of_a_sibling(bear, &code), ExitStatus::code(43));
    }

    #[test]
    fn what_is_in_our_table_stays_open_in_a_copy_that_has_it_too_and_both_see_what_is_done_to_it() {
        let (asks, answers) = (fd::pipe().expect("pipe"), fd::pipe().expect("pipe"));
        let (asked, answer) = (asks.0.as_raw_fd(), answers.1.as_raw_fd());
        let keeper = sharing_files(move || {
            let asked = core::mem::ManuallyDrop::new(fd::inherited(asked).expect("it is open"));
            let answer = core::mem::ManuallyDrop::new(fd::inherited(answer).expect("it is open"));
            let mut number = [0; 4];
            if fd::read_full(&*asked, &mut number) != Ok(4) {
                return 1;
            }
            // Opened after the copy was made, and open in it.
            let open = fd::is_open(i32::from_ne_bytes(number));
            u8::from(fd::write(&*answer, &[u8::from(open)]) != Ok(1))
        });
        let keeper = keeper.expect("a copy");
        let late = fd::open(c"/", fd::Access::Directory).expect("open");
        fd::write(&asks.1, &late.as_raw_fd().to_ne_bytes()).expect("write");
        let mut open = [0];
        assert_eq!((fd::read_full(&answers.0, &mut open), open), (Ok(1), [1]));
        assert_eq!(wait::end(Who::Pidfd(keeper.pidfd.as_fd())), Ok(ExitStatus::code(0)));
        fd::write(&answers.1, b"x").expect("its end closes nothing of ours");
    }

    /// Whether the C library has the right number for this thread.
    fn knows_its_number() -> bool {
        let mut clock: libc::clockid_t = 0;
        // SAFETY: tells the address of this very thread.
        let thread = unsafe { libc::pthread_self() };
        // SAFETY: the thread lives, and the clock goes where there is room for it.
        let known = unsafe { libc::pthread_getcpuclockid(thread, &mut clock) };
        // The clock of a thread has its number in it, inverted, above three bits.
        known == 0 && !(clock >> 3) == rustix::thread::gettid().as_raw_nonzero().get()
    }

    #[test]
    fn the_c_library_knows_the_number_of_the_only_thread_of_a_sibling() {
        if number_at() == 0 {
            std::println!("skipped: where the C library keeps it is not told here");
            return;
        }
        let code = || if knows_its_number() { 44 } else { 1 };
        assert_eq!(end_of_a_sibling(|code| sibling(code), &code), ExitStatus::code(44));
    }
}
