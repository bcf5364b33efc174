//! Which processes are shown, in which order, and under whom.

use crate::processes::{Column, Condition, Context, Value};
use doula_host::procfs::{Spare, Want};
use doula_model::process::{Identity, Process};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// How people want to see them.
#[derive(Clone, Debug)]
pub(super) struct View {
    /// What is shown of each.
    pub(super) columns: Vec<&'static Column>,
    /// What they are sorted by.
    pub(super) sort: &'static Column,
    /// The largest first.
    pub(super) falling: bool,
    /// Who is whose child.
    pub(super) tree: bool,
    /// In the tree: numbers of whole subtrees.
    pub(super) sums: bool,
    /// Threads of the kernel too.
    pub(super) kernel: bool,
    /// Only of whom all of these hold.
    pub(super) conditions: Vec<Condition>,
    /// In the tree: those whose children are not shown.
    pub(super) folded: BTreeSet<Identity>,
}

impl View {
    /// What must be asked of each to know who is shown and in which order, and of `stat` to show it. Of more those are asked who are visible.
    pub(super) fn wants(&self) -> Want {
        let mut want = Want { spare: Spare::ALL, ..Want::default() };
        self.columns.iter().for_each(|column| column.want(&mut want));
        // CPU use of the chosen one has its curve, whatever is shown.
        let mut want = Want { spare: Spare { times: false, ..want.spare }, ..Want::default() };
        self.sort.want(&mut want);
        self.conditions.iter().for_each(|condition| condition.want(&mut want));
        if self.tree && self.sums {
            self.columns.iter().filter(|column| column.name == "swap").for_each(|one| one.want(&mut want));
        }
        want
    }
}

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// The place of its process in the look; `None` for the chosen one when it is gone.
    pub(super) at: Option<usize>,
    /// The lines of the tree before its last column.
    pub(super) branch: String,
    /// How many are folded away below it.
    pub(super) folded: usize,
}

/// What subtrees come to, for columns that can be summed up; by the name of the column and the place of the process.
pub(super) type Sums = BTreeMap<&'static str, Vec<Value<'static>>>;

/// The rows, and the sums if they are wanted.
pub(super) fn rows(view: &View, processes: &[Process], context: &Context) -> (Vec<Row>, Sums) {
    let shown = |at: &usize| {
        let process = &processes[*at];
        (view.kernel || !process.stat.is_kernel())
            && view.conditions.iter().all(|condition| condition.holds(process, context))
    };
    let mut chosen: Vec<usize> = (0..processes.len()).filter(shown).collect();
    let children = if view.tree { children(processes, &chosen) } else { BTreeMap::new() };
    let sums = if view.tree && view.sums { sums(view, processes, context, &children) } else { Sums::new() };
    let keys: Vec<Value<'_>> = match sums.get(view.sort.name) {
        Some(sums) => sums.clone(),
        None => processes.iter().map(|process| view.sort.value(process, context)).collect(),
    };
    let order = |one: &usize, two: &usize| compare(view, &keys, *one, *two);
    if !view.tree {
        chosen.sort_by(order);
        let row = |at| Row { at: Some(at), branch: String::new(), folded: 0 };
        return (chosen.into_iter().map(row).collect(), sums);
    }
    let mut grown = Grown { view, processes, children, order: &order, rows: Vec::new() };
    grown.grow();
    (grown.rows, sums)
}

/// What is not known comes last in either direction; among equals, in the order of numbers.
fn compare(view: &View, keys: &[Value<'_>], one: usize, two: usize) -> Ordering {
    let (first, second) = (&keys[one], &keys[two]);
    let known = !first.is_unknown() && !second.is_unknown();
    let order = if view.falling && known { second.order(first) } else { first.order(second) };
    order.then(one.cmp(&two))
}

/// The children of each place; `usize::MAX` has those whose parent is not shown.
fn children(processes: &[Process], chosen: &[usize]) -> BTreeMap<usize, Vec<usize>> {
    let places: BTreeMap<i32, usize> = chosen.iter().map(|&at| (processes[at].stat.pid.get(), at)).collect();
    let mut children: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for &at in chosen {
        let parent = places.get(&processes[at].stat.ppid).copied().filter(|parent| *parent != at);
        children.entry(parent.unwrap_or(usize::MAX)).or_default().push(at);
    }
    children
}

struct Grown<'a, F: Fn(&usize, &usize) -> Ordering> {
    view: &'a View,
    processes: &'a [Process],
    children: BTreeMap<usize, Vec<usize>>,
    order: &'a F,
    rows: Vec<Row>,
}

impl<F: Fn(&usize, &usize) -> Ordering> Grown<'_, F> {
    /// Without recursion: a chain of processes can be as long as there are numbers.
    fn grow(&mut self) {
        let mut open: Vec<(usize, String, String)> = Vec::new();
        let roots = self.sorted(usize::MAX);
        open.extend(roots.into_iter().rev().map(|at| (at, String::new(), String::new())));
        while let Some((at, branch, below)) = open.pop() {
            let children = self.sorted(at);
            let folded =
                !children.is_empty() && self.view.folded.contains(&self.processes[at].stat.identity());
            let hidden = if folded { self.count(&children) } else { 0 };
            self.rows.push(Row { at: Some(at), branch, folded: hidden });
            if folded {
                continue;
            }
            let last = children.len();
            for (number, child) in children.into_iter().enumerate().rev() {
                let (own, next) = if number + 1 == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
                open.push((child, format!("{below}{own}"), format!("{below}{next}")));
            }
        }
    }

    fn sorted(&mut self, parent: usize) -> Vec<usize> {
        let mut children = self.children.remove(&parent).unwrap_or_default();
        children.sort_by(self.order);
        children
    }

    /// How many these and those below them are; they are taken out, since nobody shows them.
    fn count(&mut self, roots: &[usize]) -> usize {
        let (mut open, mut count) = (roots.to_vec(), 0);
        while let Some(at) = open.pop() {
            count += 1;
            open.extend(self.children.remove(&at).unwrap_or_default());
        }
        count
    }
}

/// What a column comes to over a subtree.
fn sums(
    view: &View,
    processes: &[Process],
    context: &Context,
    children: &BTreeMap<usize, Vec<usize>>,
) -> Sums {
    const SUMMED: [&str; 6] = ["cpu", "rss", "mem", "time", "threads", "swap"];
    // Parents before their children; from the end, each is whole when it is added to its parent.
    let (mut order, mut open) = (Vec::new(), children.get(&usize::MAX).cloned().unwrap_or_default());
    while let Some(at) = open.pop() {
        order.push(at);
        open.extend(children.get(&at).into_iter().flatten());
    }
    let columns = view.columns.iter().chain([&view.sort]).filter(|column| SUMMED.contains(&column.name));
    let mut sums = Sums::new();
    for column in columns {
        let mut values: Vec<Value<'static>> =
            processes.iter().map(|one| number(&column.value(one, context))).collect();
        for &at in order.iter().rev() {
            for &child in children.get(&at).into_iter().flatten() {
                values[at] = add(&values[at], &values[child]);
            }
        }
        sums.insert(column.name, values);
    }
    sums
}

fn add(one: &Value<'static>, two: &Value<'static>) -> Value<'static> {
    match (one, two) {
        (Value::Number(one), Value::Number(two)) => Value::Number(one + two),
        (Value::Bytes(one), Value::Bytes(two)) => Value::Bytes(one + two),
        (Value::Span(one), Value::Span(two)) => Value::Span(*one + *two),
        (Value::Percent(one), Value::Percent(two)) => Value::Percent(one + two),
        (one, two) if one.is_unknown() => two.clone(),
        (one, _) => one.clone(),
    }
}

/// What can be summed up.
fn number(value: &Value<'_>) -> Value<'static> {
    match value {
        Value::Number(number) => Value::Number(*number),
        Value::Bytes(bytes) => Value::Bytes(*bytes),
        Value::Span(span) => Value::Span(*span),
        Value::Percent(percent) => Value::Percent(*percent),
        Value::None
        | Value::Denied
        | Value::Locked
        | Value::Moment(_)
        | Value::Bits(_)
        | Value::Text(_)
        | Value::Words(_)
        | Value::Signals(_) => Value::None,
    }
}
