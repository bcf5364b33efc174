//! Which frozen cgroup a process is in: of the v1 freezer, where SIGKILL waits too, or of v2.

use super::Freezer;
use crate::cgroup;
use doula_model::id::Pid;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The frozen cgroup of a process, if it is in one. Each place is looked at once.
pub(super) fn of(pid: Pid, known: &mut BTreeMap<Vec<u8>, Option<Freezer>>) -> Option<Freezer> {
    let places = fs::read(format!("/proc/{pid}/cgroup")).ok()?;
    let look = || frozen(&places, true).or_else(|| frozen(&places, false));
    known.entry(places.clone()).or_insert_with(look).clone()
}

fn frozen(places: &[u8], is_v1: bool) -> Option<Freezer> {
    let own = cgroup::directory_of(places, is_v1.then_some("freezer"))?;
    let says = |directory: &Path, file: &str, wanted: &str| {
        fs::read_to_string(directory.join(file)).is_ok_and(|text| text.lines().any(|line| line == wanted))
    };
    let is_frozen = if is_v1 {
        says(&own, "freezer.state", "FROZEN") || says(&own, "freezer.state", "FREEZING")
    } else {
        says(&own, "cgroup.events", "frozen 1")
    };
    is_frozen.then_some(())?;
    let (file, on) = if is_v1 { ("freezer.self_freezing", "1") } else { ("cgroup.freeze", "1") };
    // It may be one above that was frozen.
    let by = own.ancestors().find(|directory| says(directory, file, on)).unwrap_or(&own);
    Some(Freezer { path: text(by), is_v1 })
}

fn text(path: &Path) -> Vec<u8> {
    use std::os::unix::ffi::OsStringExt as _;
    PathBuf::from(path).into_os_string().into_vec()
}
