//! Deaths for want of memory: the kernel's count of them, and its word that there was one.
//!
//! A main process whose end we see says it by its status; its descendants do not, so the controller has to be asked.

#[cfg(feature = "supervisor")]
mod alarm;

#[cfg(feature = "supervisor")]
pub(crate) use alarm::Alarm;

use super::Leaf;
use std::path::Path;

/// The file of v2 that counts.
const EVENTS: &str = "memory.events";
/// The file of v1 that counts, since Linux 4.13.
const OOM_CONTROL: &str = "memory.oom_control";

/// How many processes of the leaf, else of one of these v1 groups, were killed for want of memory; `None` where nobody
/// counts.
#[must_use]
pub(crate) fn killed<'a>(leaf: Option<&Leaf>, groups: impl Iterator<Item = &'a Path>) -> Option<u64> {
    let in_leaf = leaf.and_then(|leaf| count(&leaf.path().join(EVENTS)));
    in_leaf.or_else(|| groups.into_iter().find_map(|group| count(&group.join(OOM_CONTROL))))
}

/// The same of whoever has these lines of `/proc/PID/cgroup`, in the leaf and the group that he was put into for that.
#[cfg(feature = "supervisor")]
pub(crate) fn killed_of(places: &[u8]) -> Option<u64> {
    let leaf = super::single_in(places).map(Leaf::at);
    let is_ours = |line: &[u8]| {
        let text = String::from_utf8_lossy(line);
        text.contains("memory") && text.contains(&format!("/{}", super::PREFIX))
    };
    let grouped = places.split(|byte| *byte == b'\n').any(is_ours);
    let group = if grouped { super::find::of(places, Some("memory")) } else { None };
    killed(leaf.as_ref(), group.as_deref().into_iter())
}

/// The number behind `oom_kill`; `None` without such a file or line.
fn count(file: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deaths_are_counted_by_the_leaf_before_the_groups_and_nobody_counts_without_a_controller() {
        let scratch = std::env::temp_dir().join(format!("doula-memory-{}", std::process::id()));
        let (leaf, group) = (Leaf { path: scratch.join("leaf") }, scratch.join("group"));
        std::fs::create_dir_all(leaf.path()).and_then(|()| std::fs::create_dir_all(&group)).expect("folders");
        let killed = || killed(Some(&leaf), std::iter::once(group.as_path()));
        assert_eq!(killed(), None);
        #[cfg(feature = "supervisor")]
        assert!(Alarm::new(Some(&leaf), std::iter::once(group.as_path())).is_err());
        std::fs::write(group.join(OOM_CONTROL), "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
            .expect("a file");
        assert_eq!(killed(), Some(3));
        std::fs::write(leaf.path().join(EVENTS), "max 9\noom 2\noom_kill 1\noom_group_kill 0\n")
            .expect("a file");
        assert_eq!(killed(), Some(1));
        std::fs::remove_dir_all(&scratch).expect("to clean up");
    }
}
