//! `top` for pipes: looks as text or as JSON.

use super::record::Player;
use super::rows::rows;
use super::settings::Settings;
use super::short::as_json;
use super::state::Look;
use super::watch::Watcher;
use super::{Args, failed, recorder};
use crate::error::{Exit, Failure, Outcome};
use crate::processes::Value;
use crate::ui::{Cell, Table, Ui};
use doula_host::procfs::Want;
use serde_json::{Map, Value as Json, json};
use std::time::Instant;

/// Prints looks until there are enough.
pub(super) fn run(args: &Args, settings: &Settings, ui: &mut Ui) -> Outcome {
    let count = if args.once { 1 } else { args.count.unwrap_or(u64::MAX) };
    if let Some(path) = &args.replay {
        let mut player = Player::open(path)?;
        for _ in 0..count {
            let Some(look) = player.step(1) else { break };
            print(&look, args, settings, ui)?;
        }
        if let Some(cut) = player.cut() {
            ui.note(cut);
        }
        return Ok(Exit::OK);
    }
    let mut want = Want::default();
    let view = &settings.view;
    view.columns.iter().chain([&view.sort]).for_each(|column| column.want(&mut want));
    view.conditions.iter().for_each(|condition| condition.want(&mut want));
    let mut watcher = Watcher::new().map_err(failed)?;
    let mut recorder = recorder(args)?;
    // CPU use is measured between two looks, of which the first is not printed.
    watcher.look_with(&Want::default(), Vec::new()).map_err(failed)?;
    let mut processes = Vec::new();
    for _ in 0..count {
        let due = Instant::now() + settings.interval;
        while let Some(left) = due.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            match watcher.lives() {
                Some(lives) => lives.hear_within(left),
                None => std::thread::park_timeout(left),
            }
        }
        let look = watcher.look_with(&want, processes).map_err(failed)?;
        if let Some(recorder) = &mut recorder {
            recorder.keep(&look)?;
        }
        print(&look, args, settings, ui)?;
        processes = look.processes;
    }
    Ok(Exit::OK)
}

fn print(look: &Look, args: &Args, settings: &Settings, ui: &mut Ui) -> Result<(), Failure> {
    let view = &settings.view;
    let (rows, sums) = rows(view, &look.processes, &look.context);
    let value = |at: usize, column: &'static crate::processes::Column| match sums.get(column.name) {
        Some(sums) => sums[at].clone(),
        None => column.value(&look.processes[at], &look.context),
    };
    if args.json {
        let one = |at: usize| {
            let cells = view.columns.iter().map(|column| (column.name.to_owned(), value(at, column).json()));
            Json::Object(cells.collect::<Map<_, _>>())
        };
        let processes: Vec<Json> = rows.iter().filter_map(|row| row.at.map(one)).collect();
        return ui.json(&json!({
            "at": Value::Moment(look.context.machine.wall).json(),
            "interval": look.context.interval.map(|interval| interval.as_secs_f64()),
            "load": look.meters.load,
            "memory": look.meters.memory.map(|(all, free)| json!({ "all": all, "available": free })),
            "swap": look.meters.swap.map(|(all, free)| json!({ "all": all, "free": free })),
            "pressure": look.meters.pressure,
            "ended": look.ended.as_ref().map(as_json),
            "processes": processes,
        }));
    }
    let heads: Vec<String> = view.columns.iter().map(|column| column.head(&look.context)).collect();
    let mut table = Table::new(&heads.iter().map(String::as_str).collect::<Vec<_>>());
    for row in &rows {
        let Some(at) = row.at else { continue };
        let last = view.columns.len() - 1;
        let cells = view.columns.iter().enumerate().map(|(number, column)| {
            let value = value(at, column);
            let text = if number == last { format!("{}{}", row.branch, value.show()) } else { value.show() };
            if value.is_number() { Cell::new(text).right() } else { Cell::new(text) }
        });
        table.row(cells);
    }
    let wall = Value::Moment(look.context.machine.wall).show();
    let load = look
        .meters
        .load
        .map_or_else(String::new, |[one, five, fifteen]| format!(", load {one:.2} {five:.2} {fifteen:.2}"));
    ui.line(&format!("{wall}: {} of {} processes{load}", rows.len(), look.processes.len()))?;
    ui.print(&table.render(ui.color(), ui.width()))?;
    if args.once { Ok(()) } else { ui.line("") }
}
