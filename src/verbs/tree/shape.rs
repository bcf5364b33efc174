//! The processes as a tree: who is whose child, who was adopted, and which children are alike.

use doula_model::process::Process;
use std::collections::{BTreeMap, BTreeSet};

/// One place in the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Node {
    /// By their places in the list of processes.
    pub(super) children: Vec<usize>,
    pub(super) parent: Option<usize>,
    /// It did not make its session, and nobody above is in it: its parent is not the one that it was born to.
    pub(super) is_orphan: bool,
    /// It is not PID 1 and has orphans: a subreaper.
    pub(super) adopts: bool,
}

/// The whole of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// As many as there are processes, at the same places.
    pub(super) nodes: Vec<Node>,
    pub(super) roots: Vec<usize>,
}

/// One line: a process at its depth, with those of its siblings that are like it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) at: usize,
    /// Those that stand in the same line.
    pub(super) alike: Vec<usize>,
    /// For each level down to it, whether something follows there.
    pub(super) follows: Vec<bool>,
}

impl Shape {
    /// The tree of these. Whoever has no parent among them is a root; threads stand below their process.
    pub(super) fn of(processes: &[Process]) -> Shape {
        let places: BTreeMap<i32, usize> =
            processes.iter().enumerate().map(|(at, process)| (process.stat.pid.get(), at)).collect();
        let parent = |process: &Process| {
            let is_thread = process.tgid != process.stat.pid;
            let number = if is_thread { process.tgid.get() } else { process.stat.ppid };
            places.get(&number).copied()
        };
        let mut nodes: Vec<Node> =
            processes.iter().map(|process| Node { parent: parent(process), ..Node::default() }).collect();
        break_circles(&mut nodes);
        let mut roots = Vec::new();
        for at in 0..nodes.len() {
            match nodes[at].parent {
                Some(parent) => nodes[parent].children.push(at),
                None => roots.push(at),
            }
        }
        let mut shape = Shape { nodes, roots };
        shape.find_orphans(processes);
        shape
    }

    /// A child is in the session of its parent unless it makes one itself. So whoever did not make its session, and has nobody
    /// above in it, was born to somebody else.
    fn find_orphans(&mut self, processes: &[Process]) {
        for at in 0..processes.len() {
            let Some(parent) = self.nodes[at].parent else { continue };
            let process = &processes[at];
            let is_thread = process.tgid != process.stat.pid;
            let sid = process.stat.sid;
            let made_it = sid == process.stat.pid.get();
            // 0: made outside of our PID namespace.
            if sid == 0 || is_thread || made_it || self.above(at).any(|at| processes[at].stat.sid == sid) {
                continue;
            }
            self.nodes[at].is_orphan = true;
            self.nodes[parent].adopts = processes[parent].stat.pid.get() != 1;
        }
    }

    fn above(&self, at: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(self.nodes[at].parent, |at| self.nodes[*at].parent)
    }

    /// Only these and whatever is below them; with `up`, also those above them, but nothing else that is below those.
    pub(super) fn only(&mut self, wanted: &BTreeSet<usize>, up: bool) {
        let is_below = |shape: &Shape, at: usize| shape.above(at).any(|above| wanted.contains(&above));
        let tops: Vec<usize> = wanted.iter().copied().filter(|at| !is_below(self, *at)).collect();
        if !up {
            self.roots = tops;
            return;
        }
        let above: BTreeSet<usize> = tops.iter().flat_map(|at| self.above(*at)).collect();
        let kept = |at: &usize| wanted.contains(at) || above.contains(at);
        self.roots.retain(kept);
        for at in &above {
            self.nodes[*at].children.retain(kept);
        }
    }

    /// The lines from above. With `alike`, children without children for which it says the same stand in one line.
    pub(super) fn lines<K: Ord>(&self, alike: Option<&dyn Fn(usize) -> K>) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut open = self.grouped(&self.roots, &[], alike);
        open.reverse();
        while let Some(line) = open.pop() {
            let mut below = self.grouped(&self.nodes[line.at].children, &line.follows, alike);
            lines.push(line);
            below.reverse();
            open.append(&mut below);
        }
        lines
    }

    fn grouped<K: Ord>(
        &self,
        siblings: &[usize],
        follows: &[bool],
        alike: Option<&dyn Fn(usize) -> K>,
    ) -> Vec<Line> {
        let mut lines: Vec<Line> = Vec::new();
        let mut known: BTreeMap<K, usize> = BTreeMap::new();
        for &at in siblings {
            let is_leaf = self.nodes[at].children.is_empty();
            if let Some(key) = alike.filter(|_| is_leaf).map(|alike| alike(at)) {
                if let Some(&place) = known.get(&key) {
                    lines[place].alike.push(at);
                    continue;
                }
                known.insert(key, lines.len());
            }
            lines.push(Line { at, alike: Vec::new(), follows: follows.to_vec() });
        }
        let last = lines.len().saturating_sub(1);
        for (place, line) in lines.iter_mut().enumerate() {
            line.follows.push(place != last);
        }
        lines
    }

    /// What a value is of each subtree, summed from below.
    pub(super) fn sums(&self, value: impl Fn(usize) -> Option<u64>) -> Vec<Option<u64>> {
        let mut sums: Vec<Option<u64>> = (0..self.nodes.len()).map(value).collect();
        let order: Vec<usize> = self.lines::<()>(None).into_iter().map(|line| line.at).collect();
        for at in order.into_iter().rev() {
            if let Some((parent, sum)) = self.nodes[at].parent.zip(sums[at]) {
                sums[parent] = Some(sums[parent].unwrap_or(0) + sum);
            }
        }
        sums
    }
}

/// A number can pass to another process while we look, so that two seem to be each other's parents.
fn break_circles(nodes: &mut [Node]) {
    let mut safe = vec![false; nodes.len()];
    for start in 0..nodes.len() {
        let (mut path, mut at) = (BTreeSet::new(), start);
        while !safe[at] && path.insert(at) {
            match nodes[at].parent {
                Some(parent) if path.contains(&parent) => nodes[at].parent = None,
                Some(parent) => at = parent,
                None => break,
            }
        }
        path.into_iter().for_each(|at| safe[at] = true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use doula_host::procfs::parse_stat;
    use proptest::prelude::*;

    fn process(pid: i32, ppid: i32, sid: i32) -> Process {
        let rest = "-1 0 0 0 0 0 0 0 0 0 20 0 1 0 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0";
        let line = format!("{pid} (p) S {ppid} {pid} {sid} 0 {rest}");
        Process::new(parse_stat(line.as_bytes()).expect("a line of a kernel"))
    }

    fn pids(processes: &[Process], places: &[usize]) -> Vec<i32> {
        places.iter().map(|at| processes[*at].stat.pid.get()).collect()
    }

    #[test]
    fn whoever_has_no_visible_parent_is_a_root() {
        let processes = [process(5, 1, 5), process(6, 5, 5), process(9, 4, 9)];
        let shape = Shape::of(&processes);
        assert_eq!(pids(&processes, &shape.roots), [5, 9]);
        assert_eq!(pids(&processes, &shape.nodes[0].children), [6]);
    }

    #[test]
    fn orphans_are_those_that_have_nobody_above_in_a_session_that_they_did_not_make() {
        let processes = [(1, 0, 1), (2, 1, 2), (3, 2, 2), (4, 2, 77), (5, 1, 78), (6, 5, 78)];
        let processes = processes.map(|(pid, ppid, sid)| process(pid, ppid, sid));
        let shape = Shape::of(&processes);
        let orphans: Vec<bool> = shape.nodes.iter().map(|node| node.is_orphan).collect();
        assert_eq!(orphans, [false, false, false, true, true, false]);
        assert!(shape.nodes[1].adopts && !shape.nodes[0].adopts);
    }

    #[test]
    fn children_that_are_alike_stand_in_one_line_unless_they_have_children() {
        let processes =
            [process(1, 0, 1), process(2, 1, 1), process(3, 1, 1), process(4, 3, 1), process(5, 1, 1)];
        let lines = Shape::of(&processes).lines(Some(&|_| ()));
        let told: Vec<(i32, Vec<i32>, Vec<bool>)> = lines
            .iter()
            .map(|line| {
                (processes[line.at].stat.pid.get(), pids(&processes, &line.alike), line.follows.clone())
            })
            .collect();
        assert_eq!(
            told,
            [
                (1, vec![], vec![false]),
                (2, vec![5], vec![false, true]),
                (3, vec![], vec![false, false]),
                (4, vec![], vec![false, false, false]),
            ]
        );
    }

    #[test]
    fn what_is_above_the_wanted_comes_without_its_other_children() {
        let processes =
            [process(1, 0, 1), process(2, 1, 1), process(3, 1, 1), process(4, 3, 1), process(5, 3, 1)];
        let told = |up: bool| {
            let mut shape = Shape::of(&processes);
            shape.only(&BTreeSet::from([3]), up);
            let lines = shape.lines::<()>(None);
            lines.iter().map(|line| processes[line.at].stat.pid.get()).collect::<Vec<_>>()
        };
        assert_eq!(told(false), [4]);
        assert_eq!(told(true), [1, 3, 4]);
    }

    #[test]
    fn sums_are_those_of_whole_subtrees() {
        let processes = [process(1, 0, 1), process(2, 1, 1), process(3, 2, 1)];
        let sums = Shape::of(&processes).sums(|at| (at != 1).then_some(10));
        assert_eq!(sums, [Some(20), Some(10), Some(10)]);
    }

    proptest! {
        #[test]
        fn every_process_has_one_line_whatever_parents_say(parents in proptest::collection::vec(0..20_i32, 1..20)) {
            let processes: Vec<Process> =
                parents.iter().zip(1..).map(|(parent, pid)| process(pid, *parent, 1)).collect();
            let mut seen: Vec<usize> = Shape::of(&processes).lines::<()>(None).iter().map(|line| line.at).collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..processes.len()).collect::<Vec<_>>());
        }
    }
}
