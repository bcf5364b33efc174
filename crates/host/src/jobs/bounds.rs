//! The limits of each job or worker, whoever descends from it: by groups that hold it alone, of cgroup v2 or v1, else by an rlimit.
//!
//! Where a group limits memory, the kernel counts there whom it killed for want of it: so a death is told apart for sure, also
//! that of a descendant.

use super::Settings;
use super::fence::Fence;
use crate::Command;
use crate::cgroup::{self, Cgroups, Leaf, Limited, Limiters, memory};
use doula_model::plan::Rlimit;
use doula_model::recipe::Limits;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How all of them are limited.
#[derive(Debug)]
pub(super) struct Bounds {
    contain: bool,
    limits: Limits,
    means: Option<Means>,
}

#[derive(Debug)]
struct Means {
    limiters: Limiters,
    /// Where leaves with limits are made.
    family: Option<Cgroups>,
    /// What no group limits here, and what does instead.
    missing: Vec<&'static str>,
    rlimits: Arc<[Rlimit]>,
    count: AtomicU64,
}

impl Bounds {
    /// Finds out what can be limited here, and what is to be said about that.
    ///
    /// # Errors
    /// What the kernel says to a value.
    pub(super) fn new(settings: &Settings) -> io::Result<(Arc<Bounds>, Vec<String>)> {
        static RUNS: AtomicU64 = AtomicU64::new(0);
        let Settings { contain, limits, .. } = *settings;
        if limits.is_empty() {
            return Ok((Arc::new(Bounds { contain, limits, means: None }), Vec::new()));
        }
        // A program may have several runs at once.
        let name = format!("run{}", RUNS.fetch_add(1, Ordering::Relaxed));
        let limiters = Limiters::discover(&name);
        let mut family = if contain { Cgroups::discover(&name) } else { None };
        let leaf = family.as_ref().map(Cgroups::single).transpose()?;
        let tried = limiters.apply(family.as_mut(), leaf.as_ref(), "try", limits).map_err(refused);
        if let Some(leaf) = leaf {
            leaf.try_remove();
        }
        let is_root = doula_sys::group::users().0 == 0;
        let missing = tried?.missing.clone();
        let instead = missing.iter().map(|name| cgroup::instead("each job's", name, limits, is_root));
        let (rlimits, notes): (Vec<_>, Vec<_>) = instead.unzip();
        let rlimits = rlimits.into_iter().flatten().collect();
        let means = Some(Means { limiters, family, missing, rlimits, count: AtomicU64::new(0) });
        Ok((Arc::new(Bounds { contain, limits, means }), notes))
    }

    /// Where a job or a worker is to run, one after the other.
    ///
    /// # Errors
    /// There is no group for one more.
    pub(super) fn place(&self) -> io::Result<(Option<Fence>, Bound)> {
        let Some(means) = &self.means else {
            return Ok((if self.contain { Fence::new() } else { None }, Bound::default()));
        };
        let leaf = means.family.as_ref().map(Cgroups::single).transpose()?;
        let name = means.count.fetch_add(1, Ordering::Relaxed).to_string();
        let limited = means.limiters.apply(None, leaf.as_ref(), &name, self.limits).map_err(refused)?;
        if limited.missing != means.missing {
            return Err(no_group());
        }
        let fence = match &leaf {
            Some(leaf) => Some(Fence::of(leaf.clone()).ok_or_else(no_group)?),
            None if self.contain => Fence::new(),
            None => None,
        };
        let seen = memory::killed(leaf.as_ref(), limited.groups()).unwrap_or_default();
        Ok((fence, Bound { limited, leaf, rlimits: Arc::clone(&means.rlimits), seen }))
    }
}

/// What holds one job after the other, or one worker.
#[derive(Debug, Default)]
pub(super) struct Bound {
    limited: Limited,
    leaf: Option<Leaf>,
    rlimits: Arc<[Rlimit]>,
    /// So many the kernel had killed in it when we looked last.
    seen: u64,
}

impl Bound {
    /// Has whoever runs this command be born within the limits.
    pub(super) fn hold(&self, command: &mut Command) {
        if self.leaf.is_some() {
            command.contain_for_sure();
        }
        command.enter(self.limited.cgroup_procs());
        for rlimit in &*self.rlimits {
            command.limits_else(*rlimit);
        }
    }

    /// How many the kernel has killed in it for want of memory since the last look; `None` where nobody counts.
    pub(super) fn newly_killed(&mut self) -> Option<u64> {
        let count = memory::killed(self.leaf.as_ref(), self.limited.groups())?;
        Some(count.saturating_sub(std::mem::replace(&mut self.seen, count)))
    }
}

fn refused(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("failed to limit jobs: {error}"))
}

fn no_group() -> io::Error {
    io::Error::other("no cgroup can be made for one more job")
}
