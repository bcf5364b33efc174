//! The order in which a family starts, as a small tree: each service below the last one it waits for.

use crate::ui::escape;
use doula_core::deps;
use doula_model::pool::{Policy, PoolSpec};
use doula_model::recipe::{FamilySpec, Recipe};
use doula_model::service::{Kind, ServiceSpec};
use std::collections::{BTreeMap, BTreeSet};

/// Deeper services are not indented further: the line would only be blank.
const MAX_INDENTED: usize = 30;

/// A service with all its instances.
struct Node<'a> {
    name: &'a str,
    instances: usize,
    spec: &'a ServiceSpec,
    schedule: Option<&'a str>,
    parent: Option<usize>,
    /// Whom it waits for beside its parent.
    others: Vec<&'a str>,
    depth: usize,
}

/// The lines of the tree.
pub(super) fn lines(family: &FamilySpec) -> Vec<String> {
    let nodes = nodes(family);
    let mut lines = Vec::new();
    let mut children: BTreeMap<Option<usize>, Vec<usize>> = BTreeMap::new();
    for (place, node) in nodes.iter().enumerate() {
        children.entry(node.parent).or_default().push(place);
    }
    let below = |parent: Option<usize>| children.get(&parent).map_or([].as_slice(), Vec::as_slice);
    // A stack of our own, because the depth is the user's: what is still to be shown, the next one last.
    let mut stack: Vec<(usize, String, &str, &str)> = Vec::new();
    stack.extend(below(None).iter().rev().map(|place| (*place, String::new(), "", "")));
    while let Some((place, indent, branch, rest)) = stack.pop() {
        lines.push(format!("{indent}{branch}{}", label(&nodes[place])));
        let indent = if nodes[place].depth < MAX_INDENTED { format!("{indent}{rest}") } else { indent };
        for (index, child) in below(Some(place)).iter().enumerate().rev() {
            let last = index + 1 == below(Some(place)).len();
            let (branch, rest) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            stack.push((*child, indent.clone(), branch, rest));
        }
    }
    lines
}

/// How many services there are; a pool is one.
pub(super) fn count(services: &[(ServiceSpec, Recipe)]) -> usize {
    let pools = services.iter().filter_map(|(spec, _)| Some(spec.pool.as_ref()?.name.as_str()));
    let pools: BTreeSet<&str> = pools.collect();
    services.iter().filter(|(spec, _)| spec.pool.is_none()).count() + pools.len()
}

/// The services in the order in which they start.
fn nodes(family: &FamilySpec) -> Vec<Node<'_>> {
    let specs: Vec<ServiceSpec> = family.services.iter().map(|(spec, _)| spec.clone()).collect();
    let order = deps::order(&specs).unwrap_or_default();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let mut nodes: Vec<Node<'_>> = Vec::new();
    for place in order {
        let (spec, recipe) = &family.services[place];
        let name = base(&spec.name);
        if let Some(known) = places.get(name) {
            nodes[*known].instances += 1;
            continue;
        }
        let mut on: Vec<usize> =
            spec.deps.iter().filter_map(|dep| places.get(base(&dep.on)).copied()).collect();
        on.sort_unstable();
        on.dedup();
        let parent = on.iter().copied().max_by_key(|place| (nodes[*place].depth, *place));
        let others = on.iter().filter(|place| Some(**place) != parent).map(|place| nodes[*place].name);
        let others = others.collect();
        let depth = parent.map_or(0, |parent| nodes[parent].depth + 1);
        places.insert(name, nodes.len());
        let schedule = recipe.schedule.as_deref();
        nodes.push(Node { name, instances: 1, spec, schedule, parent, others, depth });
    }
    nodes
}

/// The name without the number of the instance.
fn base(name: &str) -> &str {
    name.split('@').next().unwrap_or(name)
}

/// `5 to 100 workers by backlog`.
fn workers(pool: &PoolSpec) -> String {
    let PoolSpec { bounds, policy, .. } = pool;
    match bounds.max {
        1 if *policy == Policy::Fixed => "1 worker".to_owned(),
        max if *policy == Policy::Fixed => format!("{max} workers"),
        max => format!("{} to {max} workers by {}", bounds.start, policy.name()),
    }
}

fn label(node: &Node<'_>) -> String {
    let mut label = node.name.to_owned();
    if let Some(pool) = &node.spec.pool {
        label.push_str(&format!(" ({})", workers(pool)));
    } else if node.instances > 1 {
        label.push_str(&format!(" ×{}", node.instances));
    }
    match (node.spec.kind, node.schedule) {
        (Kind::Daemon, _) | (Kind::Scheduled { .. }, None) => {}
        (Kind::Oneshot, _) => label.push_str(" (runs once)"),
        (Kind::Scheduled { .. }, Some(schedule)) => {
            label.push_str(&format!(" (runs at {})", escape(schedule)));
        }
    }
    if !node.others.is_empty() {
        label.push_str(&format!(" (and after {})", node.others.join(", ")));
    }
    if !node.spec.pool.as_ref().map_or(node.spec.autostart, |pool| pool.autostart) {
        label.push_str(" (only when asked)");
    }
    label
}

#[cfg(test)]
mod tests {
    use super::*;
    use doula_model::service::{Dependency, DependencyKind};

    fn family(services: &[(&str, &[&str])]) -> FamilySpec {
        let one = |(name, on): &(&str, &[&str])| {
            let dep = |on: &&str| Dependency { on: (*on).to_owned(), kind: DependencyKind::Requires };
            let deps = on.iter().map(dep).collect();
            (ServiceSpec { deps, ..ServiceSpec::new(*name) }, Recipe::default())
        };
        FamilySpec { name: "shop".to_owned(), services: services.iter().map(one).collect() }
    }

    #[test]
    fn each_service_stands_below_the_last_one_it_waits_for() {
        let mut shop = family(&[
            ("web@1", &["db", "cache"]),
            ("web@2", &["db", "cache"]),
            ("proxy", &["web@1", "web@2"]),
            ("mail", &["db"]),
            ("cache", &["db"]),
            ("db", &[]),
            ("cron", &[]),
        ]);
        shop.services[6].0.autostart = false;
        let expected = [
            "db",
            "├─ cache",
            "│  └─ web ×2 (and after db)",
            "│     └─ proxy",
            "└─ mail",
            "cron (only when asked)",
        ];
        assert_eq!(lines(&shop), expected);
    }

    #[test]
    fn a_long_chain_is_shown_without_a_deep_stack() {
        let names: Vec<String> = (0..2000).map(|number| format!("s{number}")).collect();
        let needs: Vec<Vec<&str>> =
            (0..2000).map(|number| names.get(number + 1).map(String::as_str).into_iter().collect()).collect();
        let services: Vec<(&str, &[&str])> =
            names.iter().zip(&needs).map(|(name, on)| (name.as_str(), on.as_slice())).collect();
        assert_eq!(lines(&family(&services)).len(), 2000);
    }
}
