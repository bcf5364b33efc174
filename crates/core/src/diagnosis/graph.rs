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
    /// Whose wait others could end, too, who are not in the graph.
    open: BTreeSet<Pid>,
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
            if wait.more > 0 {
                graph.open.insert(wait.task.pid);
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
        let mut circles: Vec<Circle> =
            self.components().into_iter().filter_map(|of| self.circle(of)).collect();
        circles.sort_by(|one, two| one.members.cmp(&two.members));
        circles
    }

    /// The circle of these, who all reach each other; one alone is none unless it waits for itself.
    fn circle(&self, of: BTreeSet<Pid>) -> Option<Circle> {
        let leaves = |pid: &Pid| self.open.contains(pid) || self.next(*pid).any(|next| !of.contains(&next));
        let is_circle = of.len() > 1 || of.iter().any(|pid| self.next(*pid).any(|next| next == *pid));
        let closed = !of.iter().any(leaves);
        is_circle.then(|| Circle { closed, members: of.into_iter().collect() })
    }

    /// Those who reach each other, together: from the one who is left last, whoever reaches it (Kosaraju and Sharir). Without
    /// recursion, and in as many steps as there are edges: ten thousand can wait at one pipe.
    fn components(&self) -> Vec<BTreeSet<Pid>> {
        let mut back: BTreeMap<Pid, Vec<Pid>> = BTreeMap::new();
        for (from, to) in &self.edges {
            to.iter().for_each(|to| back.entry(*to).or_default().push(*from));
        }
        let (mut done, mut components) = (BTreeSet::new(), Vec::new());
        for pid in self.left().into_iter().rev() {
            let (mut component, mut open) = (BTreeSet::new(), Vec::from([pid]));
            while let Some(pid) = open.pop() {
                if done.insert(pid) {
                    component.insert(pid);
                    open.extend(back.get(&pid).into_iter().flatten());
                }
            }
            components.push(component);
        }
        components
    }

    /// All who wait, each after whom it leads to.
    fn left(&self) -> Vec<Pid> {
        let (mut seen, mut left) = (BTreeSet::new(), Vec::new());
        for begin in self.edges.keys() {
            // Each with whether all behind it were seen.
            let mut open = Vec::from([(*begin, false)]);
            while let Some((pid, is_over)) = open.pop() {
                if is_over {
                    left.push(pid);
                } else if seen.insert(pid) {
                    open.push((pid, true));
                    open.extend(self.next(pid).map(|next| (next, false)));
                }
            }
        }
        left
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

    #[test]
    fn a_circle_is_not_closed_when_somebody_who_is_not_listed_could_end_it() {
        let mut graph = graph(&[(1, 2), (2, 1)]);
        assert!(graph.circles()[0].closed);
        graph.open.insert(pid(2));
        assert!(!graph.circles()[0].closed);
    }

    #[test]
    fn ten_thousand_who_wait_for_each_other_are_one_circle() {
        let edges = |from: i32| (1..=32).map(move |step| (from, (from + step) % 10_000 + 1));
        let all: Vec<(i32, i32)> = (1..=10_000).flat_map(edges).collect();
        let circles = graph(&all).circles();
        assert_eq!((circles.len(), circles[0].members.len(), circles[0].closed), (1, 10_000, true));
    }

    proptest! {
        #[test]
        fn circles_are_those_who_reach_each_other(edges in proptest::collection::vec((1..9_i32, 1..9_i32), 1..20)) {
            let graph = graph(&edges);
            let reached = |from: i32| graph.reached(pid(from));
            let mut expected = BTreeSet::new();
            for one in 1..9 {
                let others = (1..9).filter(|other| reached(one).contains(&pid(*other)) && reached(*other).contains(&pid(one)));
                let members: Vec<Pid> = others.map(pid).collect();
                if !members.is_empty() {
                    expected.insert((members.len() == reached(one).len(), members));
                }
            }
            let found: BTreeSet<_> = graph.circles().into_iter().map(|circle| (circle.closed, circle.members)).collect();
            prop_assert_eq!(found, expected);
        }

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
