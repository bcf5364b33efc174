//! Who needs whom: the order of a family, and what can be wrong with it.
//!
//! Every kind of dependency orders (`after` too), so every kind can close a cycle.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use doula_model::id::ServiceId;
use doula_model::service::{DependencyKind, ServiceSpec};

/// Services that need each other in a circle, in this order; the first is not repeated at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle(pub Vec<String>);

impl fmt::Display for Cycle {
    /// `a -> b -> a`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for name in &self.0 {
            write!(f, "{name} -> ")?;
        }
        f.write_str(self.0.first().map_or("", String::as_str))
    }
}

impl core::error::Error for Cycle {}

/// What is wrong with the names and dependencies of a family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Two services have the same name.
    Duplicate {
        /// The name.
        name: String,
    },
    /// A service needs one that does not exist (of whatever kind the dependency is).
    Unknown {
        /// Who needs.
        service: String,
        /// Whom.
        on: String,
    },
    /// Services need each other in a circle.
    Cycle(Cycle),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Duplicate { name } => write!(f, "two services have the name `{name}`"),
            Problem::Unknown { service, on } => write!(f, "`{service}` needs `{on}`, which does not exist"),
            Problem::Cycle(cycle) => write!(f, "services need each other in a circle: {cycle}"),
        }
    }
}

impl core::error::Error for Problem {}

/// Everything that is wrong with the names and dependencies of this family: duplicates and unknown names all at
/// once, and the first cycle.
pub fn check(family: &[ServiceSpec]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut seen = BTreeMap::new();
    for spec in family {
        let times = seen.entry(spec.name.as_str()).or_insert(0_u32);
        *times += 1;
        if *times == 2 {
            problems.push(Problem::Duplicate { name: spec.name.clone() });
        }
    }
    for spec in family {
        for dep in spec.deps.iter().filter(|dep| !seen.contains_key(dep.on.as_str())) {
            problems.push(Problem::Unknown { service: spec.name.clone(), on: dep.on.clone() });
        }
    }
    problems.extend(order(family).err().map(Problem::Cycle));
    problems
}

/// The places of the services in an order in which everybody comes after those it needs; otherwise in the order
/// given. Names that do not exist are left out of account ([`check`] reports them).
///
/// # Errors
/// The first [`Cycle`].
pub fn order(family: &[ServiceSpec]) -> Result<Vec<usize>, Cycle> {
    let places: BTreeMap<&str, usize> =
        family.iter().enumerate().map(|(place, spec)| (spec.name.as_str(), place)).collect();
    let needs: Vec<Vec<usize>> = family
        .iter()
        .map(|spec| spec.deps.iter().filter_map(|dep| places.get(dep.on.as_str()).copied()).collect())
        .collect();
    let mut marks = vec![Mark::New; family.len()];
    let mut sorted = Vec::with_capacity(family.len());
    for place in 0..family.len() {
        visit(place, &needs, &mut marks, &mut sorted)
            .map_err(|places| Cycle(places.into_iter().map(|place| family[place].name.clone()).collect()))?;
    }
    assert_eq!(sorted.len(), family.len(), "everybody has a place in the order");
    Ok(sorted)
}

#[derive(Clone, Copy, PartialEq)]
enum Mark {
    New,
    /// On the path from where the visit began.
    Open,
    Sorted,
}

/// Appends `start` to `sorted`, after everything it needs. A stack of our own, because the depth is the user's.
fn visit(
    start: usize,
    needs: &[Vec<usize>],
    marks: &mut [Mark],
    sorted: &mut Vec<usize>,
) -> Result<(), Vec<usize>> {
    if marks[start] == Mark::Sorted {
        return Ok(());
    }
    let mut path = vec![(start, 0)];
    marks[start] = Mark::Open;
    while let Some((place, next)) = path.last_mut() {
        let Some(&need) = needs[*place].get(*next) else {
            marks[*place] = Mark::Sorted;
            sorted.push(*place);
            path.pop();
            continue;
        };
        *next += 1;
        match marks[need] {
            Mark::Sorted => {}
            Mark::New => {
                marks[need] = Mark::Open;
                path.push((need, 0));
            }
            Mark::Open => {
                let from = path.iter().position(|(place, _)| *place == need).unwrap_or_default();
                return Err(path[from..].iter().map(|(place, _)| *place).collect());
            }
        }
    }
    Ok(())
}

/// One edge: the other service, and how much it is needed.
pub(crate) type Edge = (ServiceId, DependencyKind);

/// The dependencies of a running family by number, in both directions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Graph {
    needs: Vec<Vec<Edge>>,
    needed_by: Vec<Vec<Edge>>,
    /// Where the last search among the needs of each service ended.
    waits_at: Vec<usize>,
    /// The same among those who need it.
    held_at: Vec<usize>,
}

impl Graph {
    /// The graph of these services; `count` is one more than the largest number. Unknown names have no edge.
    pub(crate) fn new<'a>(
        count: usize,
        names: &BTreeMap<String, ServiceId>,
        family: impl Iterator<Item = (ServiceId, &'a ServiceSpec)>,
    ) -> Graph {
        let mut graph = Graph {
            needs: vec![Vec::new(); count],
            needed_by: vec![Vec::new(); count],
            waits_at: vec![0; count],
            held_at: vec![0; count],
        };
        for (id, spec) in family {
            for dep in &spec.deps {
                let Some(&on) = names.get(&dep.on) else { continue };
                graph.needs[id.0 as usize].push((on, dep.kind));
                graph.needed_by[on.0 as usize].push((id, dep.kind));
            }
        }
        graph
    }

    /// Whom this service needs.
    pub(crate) fn needs(&self, id: ServiceId) -> &[Edge] {
        self.needs.get(id.0 as usize).map_or(&[], Vec::as_slice)
    }

    /// Who needs this service.
    pub(crate) fn needed_by(&self, id: ServiceId) -> &[Edge] {
        self.needed_by.get(id.0 as usize).map_or(&[], Vec::as_slice)
    }

    /// One of those whom this service needs for whom this holds: the same as the last time, as long as it does.
    pub(crate) fn find_need(&mut self, id: ServiceId, holds: impl FnMut(Edge) -> bool) -> Option<ServiceId> {
        let place = id.0 as usize;
        search(self.needs.get(place)?, self.waits_at.get_mut(place)?, holds)
    }

    /// The same among those who need this service.
    pub(crate) fn find_needing(
        &mut self,
        id: ServiceId,
        holds: impl FnMut(Edge) -> bool,
    ) -> Option<ServiceId> {
        let place = id.0 as usize;
        search(self.needed_by.get(place)?, self.held_at.get_mut(place)?, holds)
    }
}

/// Searches in a circle from where the last search ended. Whoever waits for thousands, and is asked again whenever
/// one of them changes, comes round once and not thousands of times.
fn search(edges: &[Edge], from: &mut usize, mut holds: impl FnMut(Edge) -> bool) -> Option<ServiceId> {
    let (before, after) = edges.split_at_checked(*from)?;
    let found = after.iter().chain(before).position(|edge| holds(*edge))?;
    *from = (*from + found) % edges.len();
    Some(edges[*from].0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use doula_model::service::Dependency;

    fn family(edges: &[(&str, &[&str])]) -> Vec<ServiceSpec> {
        let spec = |(name, needs): &(&str, &[&str])| {
            let mut spec = ServiceSpec::new(*name);
            let kinds = [DependencyKind::Requires, DependencyKind::Wants, DependencyKind::After];
            let deps = needs.iter().zip(kinds.into_iter().cycle());
            spec.deps = deps.map(|(on, kind)| Dependency { on: (*on).into(), kind }).collect();
            spec
        };
        edges.iter().map(spec).collect()
    }

    #[test]
    fn everybody_comes_after_those_it_needs_and_else_in_the_order_given() {
        let family =
            family(&[("web", &["db", "cache"]), ("log", &[]), ("cache", &["log"]), ("db", &["log"])]);
        assert_eq!(order(&family), Ok(vec![1, 3, 2, 0]));
    }

    #[test]
    fn a_cycle_is_told_in_its_order() {
        for (edges, told) in [
            (family(&[("x", &["a"]), ("a", &["b"]), ("b", &["a"])]), "a -> b -> a"),
            (family(&[("a", &["b"]), ("b", &["c"]), ("c", &["a"])]), "a -> b -> c -> a"),
            (family(&[("self", &["self"])]), "self -> self"),
        ] {
            assert_eq!(order(&edges).unwrap_err().to_string(), told);
        }
    }

    #[test]
    fn all_wrong_names_are_told_at_once() {
        let family = family(&[("a", &["ghost"]), ("a", &[]), ("b", &["a", "spirit"]), ("a", &[])]);
        let told: Vec<String> = check(&family).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "two services have the name `a`",
                "`a` needs `ghost`, which does not exist",
                "`b` needs `spirit`, which does not exist"
            ]
        );
    }

    #[test]
    fn a_search_goes_on_where_the_last_one_ended_and_comes_round() {
        let edges: Vec<Edge> = (0..5).map(|id| (ServiceId(id), DependencyKind::After)).collect();
        let (mut from, mut looks) = (0, 0);
        let mut pending = [true; 5];
        let mut found = Vec::new();
        while let Some(id) = search(&edges, &mut from, |(id, _)| {
            looks += 1;
            pending[id.0 as usize]
        }) {
            found.push(id.0);
            pending[id.0 as usize] = false;
            if found == [0, 1, 2] {
                pending[0] = true;
            }
        }
        assert_eq!(found, [0, 1, 2, 3, 4, 0]);
        assert!(looks < 20, "{looks}");
        assert_eq!(search(&[], &mut 0, |_| true), None);
    }

    #[test]
    fn a_long_chain_does_not_exhaust_the_stack() {
        let names: Vec<String> = (0..100_000).map(|n| n.to_string()).collect();
        let mut family: Vec<ServiceSpec> = names.iter().map(ServiceSpec::new).collect();
        for place in 0..family.len() - 1 {
            let on = names[place + 1].clone();
            family[place].deps.push(Dependency { on, kind: DependencyKind::After });
        }
        assert_eq!(order(&family).map(|order| order[0]), Ok(99_999));
    }
}
