//! Which CPU belongs to which slot: all that may be used, in turn, and from one node of memory after the other.
//!
//! On a machine with several nodes the first CPUs are all of one node, so that a few pinned workers in the order of their
//! numbers would share one node's memory and leave the others idle. Memory itself needs no word: the kernel gives a process
//! that of the node on which it runs.

use crate::room;
use std::fs;
use std::path::Path;

/// Where the kernel describes the nodes (Documentation/ABI/stable/sysfs-devices-node).
const NODES: &str = "/sys/devices/system/node";

/// The CPU that belongs to this slot: of these, or of all that we may use.
pub(crate) fn cpu_of_slot(slot: u32, among: &[u16]) -> Option<u16> {
    let allowed;
    let among = if among.is_empty() {
        allowed = room::allowed_cpus();
        &allowed
    } else {
        among
    };
    let place = usize::try_from(slot.checked_sub(1)?).ok()?;
    let among = spread(among, &nodes(Path::new(NODES)));
    among.get(place.checked_rem(among.len())?).copied()
}

/// The CPUs of each node, in the order of the nodes' numbers. Without such a description there is one.
fn nodes(folder: &Path) -> Vec<Vec<u16>> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut nodes: Vec<(u32, Vec<u16>)> = entries
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.strip_prefix("node")?.parse().ok()?;
            let list = fs::read_to_string(entry.path().join("cpulist")).ok()?;
            Some((number, room::cpu_list(&list)))
        })
        .collect();
    nodes.sort_unstable();
    nodes.into_iter().map(|(_, cpus)| cpus).collect()
}

/// These CPUs, from one node after the other; those of no known node at the end.
fn spread(cpus: &[u16], nodes: &[Vec<u16>]) -> Vec<u16> {
    let of = |node: &Vec<u16>| cpus.iter().copied().filter(|cpu| node.contains(cpu)).collect::<Vec<_>>();
    let groups: Vec<Vec<u16>> = nodes.iter().map(of).collect();
    let longest = groups.iter().map(Vec::len).max().unwrap_or(0);
    let mut order: Vec<u16> =
        (0..longest).flat_map(|row| groups.iter().filter_map(move |group| group.get(row).copied())).collect();
    order.extend(cpus.iter().filter(|cpu| !nodes.iter().any(|node| node.contains(cpu))));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_go_round_the_cpus_that_may_be_used() {
        let cpus = room::allowed_cpus();
        let round: Vec<_> = (1..=cpus.len() as u32).map(|slot| cpu_of_slot(slot, &[])).collect();
        assert!(cpus.iter().all(|cpu| round.contains(&Some(*cpu))), "each has its turn");
        assert_eq!(cpu_of_slot(cpus.len() as u32 + 1, &[]), round[0]);
        assert_eq!(cpu_of_slot(0, &[4]), None);
    }

    #[test]
    fn the_nodes_of_memory_have_their_turns_too() {
        let folder = std::env::temp_dir().join(format!("doula-nodes-{}", std::process::id()));
        // As a machine of two nodes with two threads for each core, and one node that has memory only.
        for (node, cpus) in [("node0", "0-3,8-11\n"), ("node1", "4-7,12-15\n"), ("node2", "\n")] {
            fs::create_dir_all(folder.join(node)).expect("a folder");
            fs::write(folder.join(node).join("cpulist"), cpus).expect("a file");
        }
        fs::create_dir_all(folder.join("power")).expect("what is there besides");
        let found = nodes(&folder);
        fs::remove_dir_all(&folder).expect("it was made");
        assert_eq!(found, [vec![0, 1, 2, 3, 8, 9, 10, 11], vec![4, 5, 6, 7, 12, 13, 14, 15], vec![]]);
        assert_eq!(spread(&[0, 1, 2, 3, 4, 5, 99], &found), [0, 4, 1, 5, 2, 3, 99]);
        assert_eq!(spread(&[6, 4], &nodes(&folder)), [6, 4], "as they are given where nothing is known");
    }
}
