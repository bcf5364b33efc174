//! Limits of a whole service: by the controllers of cgroup v2 in its leaf, else by those of v1 in a group of
//! its own in each hierarchy, into which its processes write themselves when they are born.

use super::{Cgroups, Leaf, find, open, plain, write};
use crate::sweep;
use doula_model::id::Pid;
use doula_model::plan::{Resource, Rlimit};
use doula_model::recipe::Limits;
use doula_model::words::Size;
use doula_sys::fd::{self, AsRawFd as _, OwnedFd};
use std::io;
use std::path::{Path, PathBuf};

/// What can be limited, by the name of its controller.
const CONTROLLERS: [&str; 3] = ["pids", "memory", "cpu"];

/// The period over which CPU time is measured out, in microseconds: the kernel's default.
const CPU_PERIOD_US: u64 = 100_000;

/// Where limits can be set on this machine.
///
/// ```
/// use doula_host::cgroup::Limiters;
/// let limiters = Limiters::discover("example");
/// for controller in ["pids", "memory", "cpu"] {
///     match limiters.version(controller) {
///         Some(version) => println!("{controller}: by cgroup v{version}"),
///         None => println!("{controller} cannot be limited"),
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Limiters {
    /// Our own v1 directories, in the order of [`CONTROLLERS`].
    v1: [Option<PathBuf>; 3],
    /// What stands before the service's name in the names of its groups.
    prefix: String,
    /// What stands behind it, where stale groups are told by.
    signature: String,
}

/// The limits that hold for a service. Its v1 groups are removed when this is dropped, if they are empty.
///
/// ```
/// use doula_host::cgroup::Limiters;
/// use doula_model::recipe::Limits;
/// let limits = Limits { pids: Some(100), ..Limits::default() };
/// let limited = Limiters::discover("example").apply(None, None, "web", limits)?;
/// for controller in &limited.missing {
///     println!("the limit of {controller} does not hold");
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Limited {
    /// Open `cgroup.procs` files of v1 groups.
    procs: Vec<OwnedFd>,
    groups: Vec<PathBuf>,
    /// The controllers that were wanted and are not to be had: the caller may fall back to rlimits, and must
    /// say so.
    pub missing: Vec<&'static str>,
}

impl Limited {
    /// For [`doula_model::plan::ChildPlan::cgroup_procs`].
    ///
    /// ```
    /// use doula_host::cgroup::Limiters;
    /// use doula_model::plan::ChildPlan;
    /// use doula_model::recipe::Limits;
    /// let limits = Limits { pids: Some(100), ..Limits::default() };
    /// let limited = Limiters::discover("example").apply(None, None, "web", limits)?;
    /// // Each child writes itself into these; they are open as long as `limited` is there.
    /// let plan = ChildPlan { cgroup_procs: limited.cgroup_procs(), ..ChildPlan::default() };
    /// # assert_eq!(plan.cgroup_procs.len(), limited.groups().count());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn cgroup_procs(&self) -> Vec<i32> {
        self.procs.iter().map(|fd| fd.as_raw_fd()).collect()
    }

    /// The v1 groups of the service.
    ///
    /// ```
    /// use doula_host::cgroup::Limiters;
    /// use doula_model::recipe::Limits;
    /// let limits = Limits { memory: Some(64 << 20), ..Limits::default() };
    /// let limited = Limiters::discover("example").apply(None, None, "web", limits)?;
    /// assert!(limited.groups().all(|group| group.is_dir()));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn groups(&self) -> impl Iterator<Item = &Path> {
        self.groups.iter().map(PathBuf::as_path)
    }

    /// Hierarchies can have several controllers: one entry each is enough.
    fn enter(&mut self, group: PathBuf) -> io::Result<()> {
        if !self.groups.contains(&group) {
            self.procs.push(open(&group.join("cgroup.procs"), fd::Access::Write)?);
            self.groups.push(group);
        }
        Ok(())
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        for group in &self.groups {
            let _ = std::fs::remove_dir(group);
        }
    }
}

impl Limiters {
    /// Finds the v1 hierarchies, for a family of this name.
    ///
    /// ```
    /// use doula_host::cgroup::Limiters;
    /// assert_eq!(Limiters::discover("example").version("no such controller"), None);
    /// ```
    #[must_use]
    pub fn discover(name: &str) -> Limiters {
        let v1 = CONTROLLERS.map(find::own_v1);
        v1.iter().flatten().for_each(|own| super::remove_stale(own));
        let signature = super::signature().unwrap_or_default();
        Limiters { v1, prefix: format!("{}{}~", super::PREFIX, plain(name)), signature }
    }

    /// Sets the limits of a service: in its leaf where v2 has the controller, else in v1 groups of this
    /// service.
    ///
    /// # Errors
    /// What the kernel says to a value, or to the making of a group.
    ///
    /// ```
    /// use doula_host::cgroup::{Cgroups, Limiters};
    /// use doula_model::recipe::Limits;
    /// let Some(mut family) = Cgroups::discover("example") else { return Ok(()) };
    /// let (limiters, leaf) = (Limiters::discover("example"), family.leaf("web")?);
    /// let limits = Limits { pids: Some(100), ..Limits::default() };
    /// let limited = limiters.apply(Some(&mut family), Some(&leaf), "web", limits)?;
    /// assert!(limited.missing.iter().all(|controller| *controller == "pids"), "nothing else was asked");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn apply(
        &self,
        cgroups: Option<&mut Cgroups>,
        leaf: Option<&Leaf>,
        service: &str,
        limits: Limits,
    ) -> io::Result<Limited> {
        let mut limited = Limited::default();
        let wanted = [limits.pids.is_some(), limits.memory.is_some(), limits.cpu_milli.is_some()];
        let wanted: Vec<&'static str> =
            CONTROLLERS.into_iter().zip(wanted).filter_map(|(name, on)| on.then_some(name)).collect();
        if let Some(cgroups) = cgroups {
            switch_on(cgroups, &wanted);
        }
        for controller in wanted {
            let in_leaf = leaf.map(|leaf| leaf.path()).filter(|path| path.join(v2_file(controller)).exists());
            match (in_leaf, self.v1_of(controller)) {
                (Some(leaf), _) => set_v2(leaf, controller, limits)?,
                (None, Some(own)) => match self.group(own, service) {
                    Some(group) => {
                        write_v1(&group, controller, limits)?;
                        limited.enter(group)?;
                    }
                    None => limited.missing.push(controller),
                },
                (None, None) => limited.missing.push(controller),
            }
        }
        Ok(limited)
    }

    /// Takes the limits of a leaf away, before others are set.
    ///
    /// ```
    /// use doula_host::cgroup::{Cgroups, Limiters};
    /// let Some(family) = Cgroups::discover("example") else { return Ok(()) };
    /// let leaf = family.leaf("web")?;
    /// // Before the limits of a changed recipe: what it does not limit any more shall be free.
    /// Limiters::lift(&leaf);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn lift(leaf: &Leaf) {
        for controller in CONTROLLERS {
            // Without the controller there is no such file, and nothing to lift.
            let _ = write(&leaf.path().join(v2_file(controller)), "max");
        }
    }

    /// By which version of cgroups this controller is to be had: 2, 1, or not at all.
    ///
    /// ```
    /// use doula_host::cgroup::Limiters;
    /// let version = Limiters::discover("example").version("memory");
    /// assert!(version.is_none_or(|version| version == 1 || version == 2));
    /// ```
    #[must_use]
    pub fn version(&self, controller: &str) -> Option<u32> {
        let own = find::own_v2().map(|own| own.join("cgroup.controllers"));
        let has = own.and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
        let v2 = has.split_whitespace().any(|each| each == controller);
        if v2 { Some(2) } else { self.v1_of(controller).map(|_| 1) }
    }

    fn v1_of(&self, controller: &str) -> Option<&Path> {
        let index = CONTROLLERS.iter().position(|name| *name == controller)?;
        self.v1[index].as_deref()
    }

    /// The group of a service below our own v1 directory, made if it is not there; `None` if it cannot be.
    fn group(&self, own: &Path, service: &str) -> Option<PathBuf> {
        let group = own.join(format!("{}{}{}", self.prefix, plain(service), self.signature));
        match std::fs::create_dir(&group) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => None,
            _ => Some(group),
        }
    }
}

fn v2_file(controller: &str) -> &'static str {
    match controller {
        "pids" => "pids.max",
        "memory" => "memory.max",
        _ => "cpu.max",
    }
}

fn set_v2(leaf: &Path, controller: &str, limits: Limits) -> io::Result<()> {
    let value = match controller {
        "pids" => limits.pids.map(|count| count.to_string()),
        "memory" => limits.memory.map(|bytes| bytes.to_string()),
        _ => limits.cpu_milli.map(|milli| format!("{} {CPU_PERIOD_US}", quota(milli))),
    };
    value.map_or(Ok(()), |value| write(&leaf.join(v2_file(controller)), &value))
}

fn write_v1(group: &Path, controller: &str, limits: Limits) -> io::Result<()> {
    let set = |file: &str, value: u64| write(&group.join(file), &value.to_string());
    match (controller, limits) {
        ("pids", Limits { pids: Some(count), .. }) => set("pids.max", count),
        ("memory", Limits { memory: Some(bytes), .. }) => set("memory.limit_in_bytes", bytes),
        (_, Limits { cpu_milli: Some(milli), .. }) => {
            set("cpu.cfs_period_us", CPU_PERIOD_US)?;
            set("cpu.cfs_quota_us", quota(milli))
        }
        _ => Ok(()),
    }
}

/// Microseconds of CPU time in each period; the kernel takes no less than 1,000.
fn quota(milli: u64) -> u64 {
    milli.saturating_mul(CPU_PERIOD_US / 1000).max(1000)
}

/// Makes controllers of v2 available in the leaves, as far as our own cgroup has them.
///
/// A cgroup with controllers for its children may hold no process itself (but at the root). So if we are the
/// only ones in ours, we move into a leaf of our own; if we are not, it is not for us to do.
pub(super) fn switch_on(cgroups: &mut Cgroups, wanted: &[&'static str]) {
    let has = std::fs::read_to_string(cgroups.own.join("cgroup.controllers")).unwrap_or_default();
    let new: Vec<&'static str> = wanted
        .iter()
        .copied()
        .filter(|name| has.split_whitespace().any(|each| each == *name))
        .filter(|name| !cgroups.switched_on.contains(name))
        .collect();
    for controller in new {
        let text = format!("+{controller}");
        let control = cgroups.own.join("cgroup.subtree_control");
        let before = std::fs::read_to_string(&control).unwrap_or_default();
        let was_on = before.split_whitespace().any(|each| each == controller);
        let on = was_on || (is_vacant(cgroups) && write(&control, &text).is_ok());
        if !on {
            continue;
        }
        if !was_on {
            cgroups.switched_on.push(controller);
        }
        let _ = write(&cgroups.family.join("cgroup.subtree_control"), &text);
    }
}

/// Whether our own cgroup can have controllers for its children. It is not left to the kernel to refuse: some of them (`pids`,
/// `cpu`) it switches on among processes too, but then nobody can live in the children any more (cgroups(7), threaded mode).
fn is_vacant(cgroups: &Cgroups) -> bool {
    // Only the root of the hierarchy has no type.
    let is_root = !cgroups.own.join("cgroup.type").exists();
    let procs = std::fs::read_to_string(cgroups.own.join("cgroup.procs"));
    is_root || procs.is_ok_and(|procs| procs.trim().is_empty()) || step_aside(cgroups)
}

/// Moves us out of our own cgroup, with children of ours (as the keeper is), if nobody else is in it.
fn step_aside(cgroups: &Cgroups) -> bool {
    let us = doula_sys::group::pid();
    let is_ours = |pid: &Pid| *pid == us || sweep::stat(*pid).is_some_and(|stat| stat.parent == us);
    let procs = members(&cgroups.own);
    let aside = cgroups.family.join(OWN_LEAF);
    !procs.is_empty()
        && procs.iter().all(is_ours)
        && std::fs::create_dir(&aside).is_ok()
        && procs.iter().all(|pid| write(&aside.join("cgroup.procs"), &pid.to_string()).is_ok())
}

fn members(group: &Path) -> Vec<Pid> {
    let text = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| Pid::new(line.parse().ok()?)).collect()
}

/// Where we are ourselves when we had to step aside. No name of a service can be this.
const OWN_LEAF: &str = "supervisor.self";

/// What [`switch_on`] has done when we were another program, as far as that can be seen: it is, if we stepped aside for it.
#[cfg(feature = "supervisor")]
pub(super) fn switched_on(own: &Path, family: &Path) -> Vec<&'static str> {
    let text = std::fs::read_to_string(own.join("cgroup.subtree_control")).unwrap_or_default();
    let on = |name: &&str| text.split_whitespace().any(|each| each == *name);
    let aside = family.join(OWN_LEAF).is_dir();
    CONTROLLERS.into_iter().filter(|name| aside && on(name)).collect()
}

/// Takes back what [`switch_on`] did, so that the family's directory can be removed.
pub(super) fn switch_off(cgroups: &Cgroups) {
    for controller in &cgroups.switched_on {
        // What a child hands on cannot be taken from it.
        for place in [&cgroups.family, &cgroups.own] {
            let _ = write(&place.join("cgroup.subtree_control"), &format!("-{controller}"));
        }
    }
    let aside = cgroups.family.join(OWN_LEAF);
    for pid in members(&aside) {
        let _ = write(&cgroups.own.join("cgroup.procs"), &pid.to_string());
    }
}

/// Removes what dead ones have left of groups, v1 and v2, where nobody lives in them; also where this leaf of such a one was.
pub(crate) fn sweep(leaf: Option<&Path>) {
    let beside = leaf.and_then(|leaf| leaf.parent()?.parent()).map(Path::to_owned);
    let places = CONTROLLERS.into_iter().filter_map(find::own_v1).chain(find::own_v2()).chain(beside);
    places.for_each(|own| super::remove_stale(&own));
}

/// What does instead of a missing controller, and what is to be said about it: a sentence that begins with `whose` limit it is.
pub(crate) fn instead(whose: &str, controller: &str, limits: Limits, root: bool) -> (Option<Rlimit>, String) {
    let rlimit = |resource, value| Some(Rlimit { resource, soft: value, hard: value });
    let none = format!("no cgroup controller `{controller}` can be used here");
    match (controller, limits) {
        ("pids", Limits { pids: Some(count), .. }) if root => (
            None,
            format!("{whose} limit of {count} processes does not hold: {none}, and no rlimit holds for root"),
        ),
        ("pids", Limits { pids: Some(count), .. }) => (
            rlimit(Resource::Nproc, count),
            format!(
                "{whose} limit of {count} processes holds by RLIMIT_NPROC, which counts all processes of its user: \
                 {none}"
            ),
        ),
        ("memory", Limits { memory: Some(bytes), .. }) => (
            rlimit(Resource::Data, bytes),
            format!(
                "{whose} limit of {} of memory holds by RLIMIT_DATA, for each process alone: {none}",
                Size(bytes)
            ),
        ),
        _ => (None, format!("{whose} limit of CPU time does not hold: {none}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_controller_holds_is_done_by_an_rlimit_or_told_not_to_hold() {
        let limits = Limits { pids: Some(7), memory: Some(1 << 20), cpu_milli: Some(500) };
        let data = Rlimit { resource: Resource::Data, soft: 1 << 20, hard: 1 << 20 };
        let nproc = Rlimit { resource: Resource::Nproc, soft: 7, hard: 7 };
        for (controller, root, rlimit, part) in [
            ("pids", false, Some(nproc), "7 processes holds by RLIMIT_NPROC"),
            ("pids", true, None, "7 processes does not hold"),
            ("memory", true, Some(data), "1 MiB of memory holds by RLIMIT_DATA"),
            ("cpu", false, None, "CPU time does not hold"),
        ] {
            let (found, note) = instead("its", controller, limits, root);
            assert_eq!(found, rlimit);
            assert!(note.contains(part), "{note}");
        }
    }
}
