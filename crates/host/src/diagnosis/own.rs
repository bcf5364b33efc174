//! What this kernel, its cgroups and our permissions offer, found by trying where that harms nobody.

use crate::cgroup::{Cgroups, Limiters};
use crate::fork::{Threads, fork};
use crate::procfs::{Accounts, Reader, Want};
use doula_model::id::Pid;
use doula_model::plan::Errno;
use doula_sys::connector::Connector;
use doula_sys::diag::UnixPeers;
use doula_sys::fd::{self, AsFd as _};
use doula_sys::{adopt, group, pidfd};
use std::fs;
use std::path::Path;

/// Something that doula uses where it is there.
///
/// ```
/// for offer in doula_host::diagnosis::offers() {
///     if !offer.has {
///         println!("no {}: {}", offer.name, offer.without);
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// What.
    pub name: &'static str,
    /// Whether it is there.
    pub has: bool,
    /// What was seen; may be empty.
    pub detail: String,
    /// What is lost without it.
    pub without: &'static str,
    /// Whether doula does not work without it.
    pub needed: bool,
}

fn offer(name: &'static str, has: bool, detail: impl Into<String>, without: &'static str) -> Offer {
    Offer { name, has, detail: detail.into(), without, needed: false }
}

/// All of them.
///
/// ```
/// let offers = doula_host::diagnosis::offers();
/// assert!(offers.iter().any(|offer| offer.name == "pidfd" && offer.has));
/// ```
#[must_use]
pub fn offers() -> Vec<Offer> {
    let mut all = handles().to_vec();
    all.extend(cgroups());
    all.extend(permissions());
    all.extend(sights());
    all
}

fn text(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn handles() -> [Offer; 3] {
    let handle = pidfd::open(group::pid());
    let needed = "nothing works: doula needs Linux 5.3 or later";
    let without = "an end that somebody else has taken is told as unknown (Linux 6.15 tells it)";
    [
        Offer { needed: true, ..offer("pidfd", handle.is_ok(), refusal(handle.err()), needed) },
        offer("pidfd tells ends", tells_ends(), "", without),
        offer("subreaper", adopt::is_subreaper().is_ok(), "", "orphans of services go to PID 1, unseen"),
    ]
}

fn refusal(errno: Option<Errno>) -> String {
    errno.map_or_else(String::new, |errno| errno.to_string())
}

/// Whether a handle tells how its process ended after that was buried.
fn tells_ends() -> bool {
    let Ok(mut child) = fork(Threads::Accept, || 0) else { return false };
    let Ok(handle) = pidfd::open(child.pid()) else { return false };
    child.wait();
    pidfd::exit_status(handle.as_fd()).is_some()
}

fn cgroups() -> Vec<Offer> {
    let sweep = "services are held by marks and sweeps instead: whoever changes its environment and its parent escapes";
    let found = Cgroups::discover("doctor-self");
    let place = found.as_ref().map(|cgroups| cgroups.path().display().to_string());
    let leaf = found.as_ref().and_then(|cgroups| cgroups.leaf("try").ok());
    let kill = leaf.as_ref().is_some_and(|leaf| leaf.path().join("cgroup.kill").exists());
    leaf.as_ref().map(crate::cgroup::Leaf::try_remove);
    let mut offers = vec![
        offer("cgroup v2 of our own", leaf.is_some(), place.unwrap_or_default(), sweep),
        offer(
            "cgroup.kill",
            kill,
            "",
            "a tree is killed by freezing it and signalling each (before Linux 5.14)",
        ),
    ];
    drop(found);
    let limiters = Limiters::discover("doctor-self");
    for (name, without) in [
        ("pids", "limits on processes fall back to those of the user (RLIMIT_NPROC)"),
        ("memory", "limits on memory fall back to the address space of each process"),
        ("cpu", "a service's share of CPUs cannot be limited"),
    ] {
        let by = limiters.version(name);
        let detail = by.map_or_else(String::new, |version| format!("v{version}"));
        offers.push(offer(name, by.is_some(), detail, without));
    }
    offers
}

fn permissions() -> Vec<Offer> {
    let scope = text("/proc/sys/kernel/yama/ptrace_scope");
    let may_trace = matches!(scope.as_deref(), None | Some("0"))
        || group::users().1 == 0 && scope.as_deref() != Some("3");
    let namespaces = text("/proc/sys/user/max_user_namespaces").is_some_and(|most| most != "0")
        && text("/proc/sys/kernel/unprivileged_userns_clone").is_none_or(|on| on == "1");
    let is_root = group::users().1 == 0;
    let scope = scope.map_or_else(|| "no Yama".to_owned(), |scope| format!("ptrace_scope {scope}"));
    vec![
        offer(
            "root",
            is_root,
            "",
            "what others wait for, their ends and their files are hidden; no signals for other users",
        ),
        offer(
            "ptrace of others",
            may_trace,
            scope,
            "`doula reap --inject` is refused; calls of others are hidden",
        ),
        offer("user namespaces", namespaces, "", "containers and fenced experiments need root"),
    ]
}

fn sights() -> Vec<Offer> {
    let exists = |path: &str| Path::new(path).exists();
    let (one, other) = (fd::memory(c"try"), fd::memory(c"try"));
    let kcmp = one.and_then(|one| fd::same_open_file(&one, other?)).is_ok();
    let init = Pid::INIT;
    let all = Reader::open()
        .is_ok_and(|mut reader| reader.some(&[init], &Want::default()).is_ok_and(|found| !found.is_empty()));
    vec![
        offer(
            "processes of others",
            all,
            "",
            "/proc is mounted with hidepid: only our own processes are seen",
        ),
        offer("pressure", exists("/proc/pressure/cpu"), "", "`doctor --load` cannot say where time is lost"),
        offer(
            "calls in /proc",
            exists("/proc/self/syscall"),
            "",
            "`doctor` cannot say in which call somebody waits",
        ),
        offer(
            "kernel types (BTF)",
            exists("/sys/kernel/btf/vmlinux"),
            "",
            "lists are read from /proc instead of by BPF",
        ),
        told_of_births(),
        delays(),
        offer("kcmp", kcmp, "", "whether two descriptors are the same open file is guessed"),
        offer(
            "Unix peers (sock_diag)",
            UnixPeers::work(),
            "",
            "`doctor` cannot say who has the other end of a Unix socket",
        ),
    ]
}

/// Whether the kernel tells of births and ends.
fn told_of_births() -> Offer {
    let detail = match Connector::open() {
        Ok(_) => None,
        Err(Errno::EPERM) => Some("CAP_NET_ADMIN is missing".to_owned()),
        Err(Errno::ENODATA) => Some("this is a PID or user namespace of its own".to_owned()),
        Err(Errno::ECONNREFUSED | Errno::EPROTONOSUPPORT) => {
            Some("no CONFIG_PROC_EVENTS, or a network namespace of its own".to_owned())
        }
        Err(errno) => Some(errno.to_string()),
    };
    let without = "`top` does not show who is born and dead between two looks";
    offer("births and ends (proc connector)", detail.is_none(), detail.unwrap_or_default(), without)
}

/// Whether it accounts for delays.
fn delays() -> Offer {
    let (has, detail) = match Accounts::open().offer() {
        Ok(true) => (true, String::new()),
        Ok(false) => (true, "those by CPUs only: kernel.task_delayacct is 0".to_owned()),
        Err(Errno::EPERM) => (false, "CAP_NET_ADMIN is missing".to_owned()),
        Err(Errno::ENOENT) => (false, "no CONFIG_TASKSTATS, or a network namespace of its own".to_owned()),
        Err(errno) => (false, errno.to_string()),
    };
    offer("delays (taskstats)", has, detail, "`ps -o delaycpu,delayio,delayswap,delaymem` tells nothing")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered_is_named_once_and_its_loss_is_told() {
        let offers = offers();
        let mut names: Vec<_> = offers.iter().map(|offer| offer.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), offers.len());
        assert!(offers.iter().all(|offer| !offer.without.is_empty()));
        assert!(offers.iter().filter(|offer| offer.needed).all(|offer| offer.has), "{offers:?}");
    }
}
