//! Processes that do not let us read their environment, so that no mark tells whose they are: of another user, with capabilities that we
//! have not, or not dumpable (prctl(2), `PR_SET_DUMPABLE`). Their birth was written down, and when they began everybody may see.

use crate::sweep;
use doula_model::id::Pid;
use doula_model::time::Time;
use doula_sys::{group, time};
use std::io::ErrorKind;
use std::time::Duration;

/// A birth is written down so much later than the kernel notes it at most: births of a thousand services are one step. In this time no
/// number comes round again.
const NEAR: Duration = Duration::from_secs(2);

/// Whether a process of this number, which we hold, is the one that was born then, as far as can be seen of one that hides its mark.
pub(super) fn was_born(pid: Pid, at: Time) -> bool {
    let environment = std::fs::read(format!("/proc/{pid}/environ"));
    environment.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied) && began(pid, at)
}

/// Whether it leads a session, as all of ours do, and began at this time.
fn began(pid: Pid, at: Time) -> bool {
    let Some(ticks) = sweep::start_ticks(pid) else { return false };
    let second = u128::from(time::clock_ticks().max(1));
    let start = u64::try_from(u128::from(ticks) * 1_000_000_000 / second).unwrap_or(u64::MAX);
    // Ticks go on while the machine sleeps, and what is written down does not.
    let slept = time::boottime().since(time::monotonic());
    let at = at.after(slept);
    let start = Time::from_nanos(start);
    group::getsid(Some(pid)) == Ok(pid) && at.since(start).max(start.since(at)) <= NEAR
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Command;

    #[test]
    fn the_time_of_a_birth_tells_one_process_from_another() {
        let before = time::monotonic();
        let mut child = Command::new("sleep").arg("1000").new_session().spawn().expect("a child");
        assert!(began(child.pid(), before));
        let earlier = Time::from_nanos(before.as_nanos() - 10_000_000_000);
        assert!(!began(child.pid(), earlier), "another one had this number then");
        assert!(!began(child.pid(), before.after(Duration::from_secs(10))));
        assert!(!was_born(child.pid(), before), "its environment is there to read: the mark tells");
        child.kill().expect("it is ours");
        child.wait();
        let mut other = Command::new("sleep").arg("1000").spawn().expect("a child");
        assert!(!began(other.pid(), time::monotonic()), "it leads no session");
        other.kill().expect("it is ours");
        other.wait();
    }
}
