//! `doula doctor --load`: the load average, taken apart.

use super::failed;
use crate::error::{Exit, Outcome};
use crate::processes::printable;
use crate::ui::{Cell, Style, Table, Ui};
use doula_host::diagnosis::{Doctor, Load, Waiting};
use serde_json::{Value, json};

/// More places and cgroups are only in the JSON.
const SHOWN: usize = 20;

pub(super) fn run(doctor: &mut Doctor, as_json: bool, ui: &mut Ui) -> Outcome {
    let load = doctor.load().map_err(failed)?;
    if as_json {
        ui.json(&json(&load))?;
        return Ok(Exit::OK);
    }
    ui.line(&headline(&load))?;
    ui.line(&pressure(&load))?;
    let mut table = Table::new(&["THREADS", "STATE", "LOAD", "CGROUP", "WAITS IN", "PROCESSES"]);
    for (cgroup, count) in load.running.iter().take(SHOWN) {
        table.row(row(*count, "R", "counted", cgroup.as_deref(), ("-".to_owned(), "-".to_owned())));
    }
    for one in load.blocked.iter().take(SHOWN) {
        let counted = if one.counted { "counted" } else { "not counted" };
        let wchan = one.wchan.as_deref().map_or_else(|| "?".to_owned(), printable);
        table.row(row(one.threads.len(), "D", counted, one.cgroup.as_deref(), (wchan, pids(one))));
    }
    ui.print(&table.render(ui.color(), ui.width()))?;
    Ok(Exit::OK)
}

fn row(count: usize, state: &str, counted: &str, cgroup: Option<&[u8]>, rest: (String, String)) -> Vec<Cell> {
    let style = if state == "D" { Style::Bad } else { Style::Plain };
    vec![
        Cell::new(count.to_string()).right(),
        Cell::new(state).style(style),
        Cell::new(counted),
        Cell::new(cgroup.map_or_else(|| "?".to_owned(), printable)),
        Cell::new(rest.0),
        Cell::new(rest.1),
    ]
}

/// The processes of the threads, the first few.
fn pids(one: &Waiting) -> String {
    const NAMED: usize = 4;
    let mut pids: Vec<i32> = one.threads.iter().map(|(_, process)| process.get()).collect();
    pids.dedup();
    let mut text = pids.iter().take(NAMED).map(i32::to_string).collect::<Vec<_>>().join(" ");
    if pids.len() > NAMED {
        text.push_str(" …");
    }
    text
}

fn headline(load: &Load) -> String {
    let averages = load.averages.map_or_else(
        || "the averages are not to be had here".to_owned(),
        |[one, five, fifteen]| format!("load {one:.2} {five:.2} {fifteen:.2} (1, 5, 15 min)"),
    );
    let (cpus, counted, frozen) = (load.cpus, load.blocked(true), load.blocked(false));
    let now = load.runnable() + counted;
    let verdict = match (load.runnable() > cpus, counted > 0) {
        (true, true) => "CPUs are short, and threads are blocked",
        (true, false) => "CPUs are short",
        (false, true) => "CPUs are not short: it is blocked threads that make the load",
        (false, false) => "nothing is short just now",
    };
    format!(
        "{averages} with {cpus} CPUs; just now {now}: {} runnable, {counted} blocked and counted \
         ({frozen} blocked and not counted): {verdict}",
        load.runnable()
    )
}

fn pressure(load: &Load) -> String {
    if load.pressure.is_empty() {
        return "pressure: this kernel does not tell (/proc/pressure)".to_owned();
    }
    let tell = |one: &doula_host::diagnosis::Pressure| {
        let full = one.full.map_or_else(String::new, |full| format!(", all at once {full:.1} %"));
        format!("{} {:.1} %{full}", one.what, one.some)
    };
    let all: Vec<String> = load.pressure.iter().map(tell).collect();
    format!("time lost by waiting over the last 10 s: {}", all.join("; "))
}

fn json(load: &Load) -> Value {
    let text = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(printable);
    let running: Vec<Value> = load
        .running
        .iter()
        .map(|(cgroup, count)| json!({ "cgroup": text(cgroup), "threads": count }))
        .collect();
    let blocked: Vec<Value> = load
        .blocked
        .iter()
        .map(|one| {
            let threads: Vec<_> = one.threads.iter().map(|(thread, pid)| [thread.get(), pid.get()]).collect();
            json!({ "wchan": text(&one.wchan), "cgroup": text(&one.cgroup), "counted": one.counted,
                "threads": threads })
        })
        .collect();
    let pressure: Vec<Value> = load
        .pressure
        .iter()
        .map(|one| json!({ "what": one.what, "some": one.some, "full": one.full }))
        .collect();
    json!({ "averages": load.averages, "cpus": load.cpus, "runnable": load.runnable(), "running": running,
        "blocked": blocked, "pressure": pressure })
}
