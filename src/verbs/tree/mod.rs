//! `doula tree`: who is whose child.
//!
//! The reader looks, [`shape`] makes a tree of it, [`draw`] writes that for people.

mod draw;
mod shape;
mod svg;

use crate::error::{Exit, Failure, Outcome};
use crate::processes::{Context, Value, in_short, why_locked};
use crate::ui::Ui;
use doula_host::procfs::{Reader, Spare, Want};
use doula_model::process::Process;
use draw::Drawing;
use regex::bytes::Regex;
use serde_json::{Value as Json, json};
use shape::{Line, Shape};
use std::collections::BTreeSet;

/// Shows processes as a tree
///
/// Everything, or what is at and below the processes with these numbers or names. Children that are alike and have no
/// children stand in one line, with their numbers. Threads of the kernel are left out unless asked for.
///
/// Marked are zombies with how they ended, who is blocked or stopped, orphans (they did not make their session, and
/// nobody above them is in it) and who adopts them.
///
/// Exit code 1 when processes were asked for and there is none.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  doula tree
  doula tree nginx --args
  doula tree 1234 --ids --up
  doula tree --pss postgres               memory of whole subtrees, shared pages counted once
  doula tree --svg nginx > nginx.svg
  doula tree --json | jq 'select(.orphan)'")]
pub(crate) struct Args {
    /// Numbers, or regular expressions for names
    #[arg(value_name = "PID|PATTERN")]
    whom: Vec<String>,

    /// From this one on: the same as without the option's name
    #[arg(long, value_name = "PID|PATTERN")]
    from: Vec<String>,

    /// With arguments
    #[arg(short, long)]
    args: bool,

    /// With the process group, the session and the terminal where they differ from the parent's
    #[arg(short, long)]
    ids: bool,

    /// With the memory of each subtree (PSS: shared pages are counted once)
    #[arg(short, long)]
    pss: bool,

    /// With those above them
    #[arg(short = 'U', long)]
    up: bool,

    /// With threads
    #[arg(short, long)]
    threads: bool,

    /// With threads of the kernel
    #[arg(short, long)]
    kernel: bool,

    /// Each process in a line of its own
    #[arg(short, long)]
    expand: bool,

    /// Lines of characters that every terminal has
    #[arg(long)]
    ascii: bool,

    /// A picture, for documents
    #[arg(long, conflicts_with_all = ["json", "ascii"])]
    svg: bool,

    /// One JSON object a process, in the order of the tree
    #[arg(long)]
    json: bool,
}

/// What was looked at, and the tree of it.
struct Forest {
    processes: Vec<Process>,
    shape: Shape,
    context: Context,
    /// Memory of each subtree.
    sums: Vec<Option<u64>>,
}

/// Runs it.
pub(crate) fn run(mut args: Args, ui: &mut Ui) -> Outcome {
    args.whom.append(&mut args.from);
    let failed = |error: std::io::Error| Failure::doula(format!("failed to look at the processes: {error}"));
    let wanted = Wanted::new(&args.whom)?;
    let mut reader = Reader::open().map_err(failed)?;
    let want = Want {
        args: args.args || args.json,
        share: args.pss,
        threads: args.threads,
        spare: Spare { times: !args.json, memory: !args.json, rest: false },
        ..Want::default()
    };
    let mut processes = reader.scan(&want).map_err(failed)?;
    processes.retain(|process| args.kernel || !process.stat.is_kernel());
    let mut shape = Shape::of(&processes);
    if !args.whom.is_empty() {
        let found = wanted.among(&processes);
        if found.is_empty() {
            return Ok(Exit(1));
        }
        shape.only(&found, args.up);
    }
    let sums = shape.sums(|at| processes[at].share.known().map(|share| share.pss));
    let forest = Forest { processes, shape, context: Context::now(), sums };
    if args.json {
        return forest.json(&mut reader, ui);
    }
    let drawing = Drawing { forest: &forest, args: &args, color: ui.color(), width: ui.width() };
    ui.print(&if args.svg { svg::picture(&drawing) } else { drawing.text() })?;
    forest.locked(&mut reader, ui);
    Ok(Exit::OK)
}

/// Whose trees were asked for.
struct Wanted {
    pids: Vec<i32>,
    patterns: Vec<Regex>,
}

impl Wanted {
    fn new(whom: &[String]) -> Result<Wanted, Failure> {
        let mut wanted = Wanted { pids: Vec::new(), patterns: Vec::new() };
        for text in whom {
            match (text.parse(), Regex::new(text)) {
                (Ok(pid), _) => wanted.pids.push(pid),
                (Err(_), Ok(pattern)) => wanted.patterns.push(pattern),
                (Err(_), Err(error)) => {
                    let text =
                        format!("`{text}` is no number and no regular expression: {}", in_short(&error));
                    return Err(Failure::usage(text));
                }
            }
        }
        Ok(wanted)
    }

    fn among(&self, processes: &[Process]) -> BTreeSet<usize> {
        let wanted = |process: &Process| {
            self.pids.contains(&process.stat.pid.get())
                || self.patterns.iter().any(|pattern| pattern.is_match(&process.stat.name))
        };
        (0..processes.len()).filter(|at| wanted(&processes[*at])).collect()
    }
}

impl Forest {
    fn lines(&self, alike: Option<&dyn Fn(usize) -> Vec<u8>>) -> Vec<Line> {
        self.shape.lines(alike)
    }

    fn json(&self, reader: &mut Reader, ui: &mut Ui) -> Outcome {
        let mut text = String::new();
        for line in self.lines(None) {
            text.push_str(&self.object(&line, reader).to_string());
            text.push('\n');
        }
        ui.print(&text)?;
        Ok(Exit::OK)
    }

    fn object(&self, line: &Line, reader: &mut Reader) -> Json {
        let (process, node) = (&self.processes[line.at], &self.shape.nodes[line.at]);
        let column = |name| {
            crate::processes::Column::find(name)
                .map_or(Value::None, |c| c.value(process, &self.context))
                .json()
        };
        let mut object = json!({
            "depth": line.follows.len() - 1,
            "orphan": node.is_orphan,
            "adopts": node.adopts,
            "subtree_pss": self.sums[line.at],
        });
        for name in
            ["pid", "ppid", "tgid", "pgid", "sid", "tty", "state", "name", "args", "exit", "ticks", "pss"]
        {
            object[name] = column(name);
        }
        if process.is_locked() {
            object["locked"] = json!(why_locked(reader, process.tgid));
        }
        object
    }

    /// Explains whose arguments are missing.
    fn locked(&self, reader: &mut Reader, ui: &mut Ui) {
        for process in self.processes.iter().filter(|process| process.is_locked()) {
            ui.note(&why_locked(reader, process.tgid));
        }
    }
}
