//! Who waits for whom: the end of each chain, and circles that nobody leaves.
//!
//! An edge is "this process waits, and that one could end it"; where several could, one is enough. So a circle is only for ever
//! if nobody in it waits for somebody outside as well.

use super::wait::Wait;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use doula_model::id::Pid;

/// Who waits for whom, by process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    edges: BTreeMap<Pid, BTreeSet<Pid>>,
}

/// Processes that wait for each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Circle {
    /// Those in it, in ascending order.
    pub members: Vec<Pid>,
    /// Whether none of them waits for somebody outside, who could end it.
    pub closed: bool,
}

impl Graph {
    /// The graph of these waits.
    pub fn of<'a>(waits: impl IntoIterator<Item = &'a Wait>) -> Graph {
        let mut graph = Graph::default();
        for wait in waits {
            for party in wait.parties.iter().filter(|party| party.pid != wait.task.pid) {
                graph.add(wait.task.pid, party.pid);
            }
        }
        graph
    }

    /// Adds that one waits for another.
    pub fn add(&mut self, from: Pid, to: Pid) {
        self.edges.entry(from).or_default().insert(to);
    }

    /// For whom a process waits.
    pub fn next(&self, pid: Pid) -> impl Iterator<Item = Pid> + '_ {
        self.edges.get(&pid).into_iter().flatten().copied()
    }

    /// Whom all the waiting of a process leads to in the end: those reached who wait for nobody. Without itself; nobody when
    /// all lead into circles.
    ///
    /// ```
    /// use doula_core::diagnosis::graph::Graph;
    /// use doula_model::id::Pid;
    /// let pid = |number| Pid::new(number).expect("a number");
    /// let mut graph = Graph::default();
    /// graph.add(pid(1), pid(2));
    /// graph.add(pid(2), pid(3));
    /// assert_eq!(graph.roots(pid(1)), [pid(3)]);
    /// ```
    pub fn roots(&self, pid: Pid) -> Vec<Pid> {
        let ends = |found: &Pid| *found != pid && !self.edges.contains_key(found);
        self.reached(pid).into_iter().filter(ends).collect()
    }

    /// All whom a process waits for, also by way of others; itself only if it is in a circle.
    fn reached(&self, pid: Pid) -> BTreeSet<Pid> {
        let (mut seen, mut open) = (BTreeSet::new(), self.next(pid).collect::<Vec<_>>());
        while let Some(next) = open.pop() {
            if seen.insert(next) {
                open.extend(self.next(next));
            }
        }
        seen
    }

    /// Those who wait for each other, each circle once.
    ///
    /// ```
    /// use doula_core::diagnosis::graph::Graph;
    /// use doula_model::id::Pid;
    /// let pid = |number| Pid::new(number).expect("a number");
    /// let mut graph = Graph::default();
    /// for (from, to) in [(1, 2), (2, 3), (3, 1), (4, 1)] {
    ///     graph.add(pid(from), pid(to));
    /// }
    /// let circles = graph.circles();
    /// assert_eq!(circles.len(), 1);
    /// assert!(circles[0].closed && circles[0].members == [pid(1), pid(2), pid(3)]);
    /// ```
    pub fn circles(&self) -> Vec<Circle> {
        let reached: BTreeMap<Pid, BTreeSet<Pid>> =
            self.edges.keys().map(|pid| (*pid, self.reached(*pid))).collect();
        let meets = |one: Pid, other: Pid| reached.get(&one).is_some_and(|set| set.contains(&other));
        let (mut done, mut circles) = (BTreeSet::new(), Vec::new());
        for pid in self.edges.keys().copied().filter(|pid| meets(*pid, *pid)) {
            if done.contains(&pid) {
                continue;
            }
            let all = &reached[&pid];
            let members: Vec<Pid> = all.iter().copied().filter(|other| meets(*other, pid)).collect();
            done.extend(members.iter().copied());
            circles.push(Circle { closed: members.len() == all.len(), members });
        }
        circles
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pid(number: i32) -> Pid {
        Pid::new(number).expect("a number")
    }

    fn graph(edges: &[(i32, i32)]) -> Graph {
        let mut graph = Graph::default();
        edges.iter().for_each(|(from, to)| graph.add(pid(*from), pid(*to)));
        graph
    }

    #[test]
    fn a_circle_that_somebody_outside_can_end_is_not_closed() {
        let open = graph(&[(1, 2), (2, 1), (2, 9)]);
        assert_eq!(open.circles(), [Circle { members: [pid(1), pid(2)].to_vec(), closed: false }]);
        assert_eq!(open.roots(pid(1)), [pid(9)]);
        let closed = graph(&[(1, 2), (2, 1), (3, 1)]);
        assert!(closed.circles()[0].closed && closed.roots(pid(3)).is_empty());
    }

    #[test]
    fn two_circles_are_told_apart() {
        let both = graph(&[(1, 2), (2, 1), (2, 3), (3, 4), (4, 3)]);
        let members = |circle: &Circle| circle.members.iter().map(|pid| pid.get()).collect::<Vec<_>>();
        let found: Vec<_> = both.circles().iter().map(|circle| (members(circle), circle.closed)).collect();
        assert_eq!(found, [([1, 2].to_vec(), false), ([3, 4].to_vec(), true)]);
    }

    proptest! {
        #[test]
        fn whoever_waits_reaches_a_root_or_a_circle(edges in proptest::collection::vec((1..9_i32, 1..9_i32), 1..20)) {
            let graph = graph(&edges);
            let circles = graph.circles();
            for (from, _) in &edges {
                let reached = graph.reached(pid(*from));
                let circle = circles.iter().any(|circle| circle.members.iter().any(|member| reached.contains(member)));
                prop_assert!(circle || !graph.roots(pid(*from)).is_empty());
            }
        }
    }
}
