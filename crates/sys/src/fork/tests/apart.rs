//! Births by a thread that stands apart: with fds, a user or a sandbox of its own, which end with it.

use super::*;
use crate::raw;
use crate::sandbox::{self, Rule};
use doula_model::plan::FdMapping;
use std::println;

/// Runs it on a thread of its own. Panics pass on.
pub(crate) fn apart<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    let ended = std::thread::scope(|scope| scope.spawn(body).join());
    ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Refuses calls to this thread; `false`, and a word about it, where that cannot be done.
pub(crate) fn refusing(rules: &[Rule]) -> bool {
    let done = sandbox::refuse(rules).or_else(|_| {
        sandbox::renounce_privileges()?;
        sandbox::refuse(rules)
    });
    if let Err(errno) = done {
        println!("skipped: no seccomp filter can be set here ({errno})");
    }
    done.is_ok()
}

/// Gives this thread fds of its own: whatever other tests open and close is not seen here.
pub(super) fn own_fds() {
    let way = Way { clone3: true, into_cgroup: true, shared_files: true };
    // The slots have one number in all tables: they must be there before the tables part.
    loop {
        let plan = shell("");
        let mut fds = Fds::new(&plan, way, Place::Slots);
        let ready = fds.shared_up_to.is_some();
        fds.give_back();
        if ready {
            break;
        }
        std::thread::yield_now();
    }
    // SAFETY: unshare takes a number only; the copy has the same fds.
    unsafe { raw::call(libc::SYS_unshare, [libc::CLONE_FILES as usize, 0, 0, 0, 0, 0]) }.expect("unshare");
}

/// The fds of this thread.
pub(super) fn open_fds() -> Vec<String> {
    let entries = std::fs::read_dir("/proc/thread-self/fd").expect("/proc");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an fd").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Makes this thread an ordinary user, if it is root.
pub(super) fn become_ordinary() {
    if crate::group::users().1 != 0 {
        return;
    }
    for (number, args) in [
        (libc::SYS_setgroups, [0, 0, 0]),
        (libc::SYS_setresgid, [NOBODY as usize; 3]),
        (libc::SYS_setresuid, [NOBODY as usize; 3]),
    ] {
        // SAFETY: an empty list of groups, and numbers; the kernel changes this thread only.
        unsafe { raw::call(number, [args[0], args[1], args[2], 0, 0, 0]) }.expect("root may");
    }
}

/// A user without any right.
pub(super) const NOBODY: u32 = 65534;

/// Whether this thread is root; a word about it if not.
pub(super) fn is_root(what: &str) -> bool {
    let root = crate::group::users().1 == 0;
    if !root {
        println!("skipped: only root can try {what}");
    }
    root
}

/// Whether this thread may do what needs this capability; a word about it if not. Root in a container lacks
/// some.
pub(super) fn holds(capability: u32, what: &str) -> bool {
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:\t")).expect("its line");
    let held = u64::from_str_radix(line, 16).expect("a set") >> capability & 1 == 1;
    if !held {
        println!("skipped: without capability {capability} nobody can try {what}");
    }
    held
}

/// Fails if this thread has a child.
pub(super) fn expect_no_child() {
    let what = (libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WNOTHREAD) as usize;
    // SAFETY: no information is asked for.
    let child = unsafe { raw::call(libc::SYS_waitid, [libc::P_ALL as usize, 0, 0, what, 0, 0]) };
    assert_eq!(child, Err(Errno::ECHILD), "a child is left");
}

/// The plan of a process in which the test with this path runs again; `None` in that process.
pub(crate) fn again(test: &str) -> Option<ChildPlan> {
    const MARK: &str = "DOULA_TEST_ALONE";
    if std::env::var_os(MARK).is_some() {
        return None;
    }
    let ourselves = std::env::current_exe().expect("/proc").into_os_string().into_encoded_bytes();
    let mut plan = shell("");
    plan.programs = [ourselves].into();
    plan.args = ["test", "--exact", test, "--nocapture"].map(|word| word.as_bytes().to_vec()).into();
    plan.env.push([MARK.as_bytes(), b"=1"].concat());
    Some(plan)
}

/// Runs `inner` in a process of its own that is born of a plan; `outer` is the path of the calling test.
pub(crate) fn alone(outer: &str, change: impl FnOnce(&mut ChildPlan), inner: impl FnOnce()) {
    let Some(mut plan) = again(outer) else { return inner() };
    let (reader, writer) = fd::pipe().expect("pipe");
    plan.fds = [1, 2].map(|to| FdMapping { from: writer.as_raw_fd(), to }).into();
    change(&mut plan);
    let born = run(&plan);
    drop(writer);
    let mut text = std::vec![0; 64 * 1024];
    let length = fd::read_full(&reader, &mut text).expect("read");
    let end = wait::end(Who::Pidfd(born.pidfd.as_fd()));
    assert_eq!(end, Ok(ExitStatus::code(0)), "{}", String::from_utf8_lossy(&text[..length]));
}
