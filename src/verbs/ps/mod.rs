//! `doula ps`: the processes of this machine in columns.
//!
//! Three steps: what was asked for becomes columns, conditions and an order ([`Question`]); the reader looks at what they
//! need and no more; the rows leave as a table, as JSON or as CSV.

use crate::config;
use crate::error::{Exit, Failure, Outcome};
use crate::processes::{
    COLUMNS, Column, Condition, Context, Value, below, in_short, style_of, unknown_column, why_locked,
};
use crate::ui::{Cell, Style, Table, Ui};
use doula_host::procfs::{Reader, Spare, Want};
use doula_host::snapshot;
use doula_model::id::Pid;
use doula_model::process::{ProcState, Process};
use regex::bytes::Regex;
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeSet;
use std::io;
use std::time::{Duration, Instant};

/// What is shown unless told otherwise.
const DEFAULT: &str = "pid,ppid,user,state,threads,rss,time,age,args";

/// Shows the processes of this machine
///
/// All of them, or those with these numbers, or those whose name or arguments match a regular expression. Threads of
/// the kernel are left out unless asked for.
///
/// A process whose memory map is locked hangs whoever asks for its arguments, and with that most tools. Here it is
/// marked and explained, and the list comes all the same.
///
/// `-` stands for what there is not, `?` for what only others may see. CPU use is only shown over an interval.
///
/// Exit code 1 when processes were asked for and there is none.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  doula ps nginx                          whose name or arguments match
  doula ps -w state=D,Z -o +wchan         what is blocked or a zombie, and where it waits
  doula ps -o pid,pss,swap,args -s -pss   the largest first
  doula ps -i 1s -s -cpu -n 10            the ten busiest of the next second
  doula ps -w ignored=CHLD -o pid,user,ignored,name
  doula ps --under 1234 --threads --json
  doula ps --json --full > table.json     for `doula sim load`
  doula ps -o help                        all columns")]
pub(crate) struct Args {
    /// Numbers, or regular expressions for names and arguments
    #[arg(value_name = "PID|PATTERN")]
    whom: Vec<String>,

    /// Columns, with commas; `+a,b` adds some to those shown anyway; `help` lists all
    #[arg(short = 'o', long, value_name = "LIST", allow_hyphen_values = true)]
    columns: Option<String>,

    /// Only those of whom this holds, such as state=D,Z rss>100M age<5m user!=root name~^java; all of several
    #[arg(short = 'w', long = "where", value_name = "CONDITION", value_parser = Condition::parse)]
    condition: Vec<Condition>,

    /// In this order: columns, with commas; `-` before one turns it round
    #[arg(short, long, value_name = "LIST", allow_hyphen_values = true)]
    sort: Option<String>,

    /// Only so many of the first
    #[arg(short = 'n', long, value_name = "COUNT")]
    first: Option<usize>,

    /// Only this process and what descends from it
    #[arg(short, long, value_name = "PID")]
    under: Option<i32>,

    /// Measure CPU use over this time
    #[arg(short, long, value_name = "DURATION", value_parser = config::duration)]
    interval: Option<Duration>,

    /// Threads, each in a row of its own
    #[arg(short, long)]
    threads: bool,

    /// Threads of the kernel too
    #[arg(short, long)]
    kernel: bool,

    /// One JSON object a line: sizes in bytes, times in seconds, null for what is not known
    #[arg(long, conflicts_with = "csv")]
    json: bool,

    /// With --json: one object, with all that `doula sim load` can use, whatever the columns
    #[arg(long, requires = "json", conflicts_with_all = ["threads", "columns"])]
    full: bool,

    /// A table with commas, with values as in --json
    #[arg(long)]
    csv: bool,

    /// No line with the names of the columns
    #[arg(long)]
    no_heads: bool,
}

/// What was asked for.
struct Question {
    columns: Vec<&'static Column>,
    order: Vec<(&'static Column, bool)>,
    conditions: Vec<Condition>,
    pids: Vec<Pid>,
    patterns: Vec<Regex>,
    under: Option<Pid>,
    kernel: bool,
}

/// Runs it.
pub(crate) fn run(args: Args, ui: &mut Ui) -> Outcome {
    if args.columns.as_deref() == Some("help") {
        return help(ui);
    }
    let question = Question::new(&args)?;
    let mut reader =
        Reader::open().map_err(|error| Failure::doula(format!("failed to open /proc: {error}")))?;
    let mut want = question.want(args.threads);
    if args.full {
        snapshot::ask(&mut want);
    }
    if question.needs_no_list(&args, &want) {
        return stream(&mut reader, &question, &want, (!args.no_heads, ui));
    }
    let (context, processes) = look(&mut reader, &args, &want).map_err(failed)?;
    let mut rows = question.choose(processes, &context);
    let found = !rows.is_empty();
    rows.truncate(args.first.unwrap_or(usize::MAX));
    match (args.json, args.csv) {
        _ if args.full => ui.json(&snapshot::of(&rows).map_err(failed)?)?,
        (true, _) => as_json(&rows, &question.columns, &context, &mut reader, ui)?,
        (_, true) => as_csv(&rows, &question.columns, &context, !args.no_heads, ui)?,
        _ => as_table(&rows, &question, &context, &mut reader, (!args.no_heads, ui))?,
    }
    question.hint(args.interval, ui);
    Ok(question.exit(found))
}

/// A table whose rows come one after the other from the kernel: nothing else is kept of each.
fn stream(reader: &mut Reader, question: &Question, want: &Want, (heads, ui): (bool, &mut Ui)) -> Outcome {
    let context = Context::now();
    let (mut table, mut found) = (question.table(&context), false);
    let row = |process: Process| {
        if question.picks(&process, None, &context) {
            write_row(&mut table, &process, &question.columns, &context);
            found = true;
        }
    };
    reader.each(want, row).map_err(failed)?;
    print_table(&table, heads, ui)?;
    question.hint(None, ui);
    Ok(question.exit(found))
}

fn failed(error: io::Error) -> Failure {
    Failure::doula(format!("failed to look at the processes: {error}"))
}

/// Looks once, or before and after the interval.
fn look(reader: &mut Reader, args: &Args, want: &Want) -> io::Result<(Context, Vec<Process>)> {
    let Some(interval) = args.interval else {
        let processes = reader.scan(want)?;
        return Ok((Context::now(), processes));
    };
    let begin = Instant::now();
    let before = reader.scan(&Want { threads: args.threads, ..Want::default() })?;
    while let Some(left) = interval.checked_sub(begin.elapsed()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
    let measured = begin.elapsed();
    let processes = reader.scan(want)?;
    Ok((Context::after(measured, &before), processes))
}

impl Question {
    fn new(args: &Args) -> Result<Question, Failure> {
        let columns = match args.columns.as_deref() {
            None => columns(DEFAULT)?,
            Some(more) => match more.strip_prefix('+') {
                Some(more) => added(columns(DEFAULT)?, columns(more)?.into_iter()),
                None => columns(more)?,
            },
        };
        let order = args.sort.as_deref().map(order).transpose()?.unwrap_or_default();
        let all_named = args.columns.as_deref().is_some_and(|list| !list.starts_with('+'));
        let columns = if all_named { columns } else { added(columns, order.iter().map(|(by, _)| *by)) };
        let (mut pids, mut patterns) = (Vec::new(), Vec::new());
        for whom in &args.whom {
            match whom.parse() {
                Ok(number) => pids.push(pid(number)?),
                Err(_) => patterns.push(pattern(whom)?),
            }
        }
        let under = args.under.map(pid).transpose()?;
        Ok(Question {
            columns,
            order,
            conditions: args.condition.clone(),
            pids,
            patterns,
            under,
            kernel: args.kernel,
        })
    }

    /// Whether each process can be told of without the others, and without a second question.
    fn needs_no_list(&self, args: &Args, want: &Want) -> bool {
        let table = !args.json && !args.csv;
        let whole = args.first.is_none() && args.interval.is_none() && self.under.is_none();
        table && whole && self.order.is_empty() && !want.is_aside()
    }

    /// CPU use comes of two looks.
    fn hint(&self, interval: Option<Duration>, ui: &mut Ui) {
        if interval.is_none() && self.columns.iter().any(|column| column.name == "cpu") {
            ui.hint("CPU use is measured over an interval: add --interval 1s");
        }
    }

    /// Whoever asks for some wants to know that there are none.
    fn exit(&self, found: bool) -> Exit {
        let some = !self.pids.is_empty() || !self.patterns.is_empty() || self.under.is_some();
        if some && !found { Exit(1) } else { Exit::OK }
    }

    fn table(&self, context: &Context) -> Table {
        let names: Vec<String> = self.columns.iter().map(|column| column.head(context)).collect();
        Table::new(&names.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn want(&self, threads: bool) -> Want {
        let mut want =
            Want { threads, args: !self.patterns.is_empty(), spare: Spare::ALL, ..Want::default() };
        self.columns
            .iter()
            .chain(self.order.iter().map(|(column, _)| column))
            .for_each(|c| c.want(&mut want));
        self.conditions.iter().for_each(|condition| condition.want(&mut want));
        want
    }

    /// Those that were asked for, in the order that was asked for.
    fn choose(&self, mut processes: Vec<Process>, context: &Context) -> Vec<Process> {
        let family = self.under.map(|root| below(&processes, root));
        processes.retain(|process| self.picks(process, family.as_ref(), context));
        if !self.order.is_empty() {
            processes = self.sorted(processes, context);
        }
        processes
    }

    /// Whether one is meant; `family` are those below whom it must be.
    fn picks(&self, process: &Process, family: Option<&BTreeSet<Pid>>, context: &Context) -> bool {
        let named = (self.pids.is_empty() && self.patterns.is_empty()) || self.is_named(process);
        (self.kernel || !process.stat.is_kernel() || self.pids.contains(&process.tgid))
            && named
            && family.is_none_or(|family| family.contains(&process.tgid))
            && self.conditions.iter().all(|condition| condition.holds(process, context))
    }

    fn sorted(&self, processes: Vec<Process>, context: &Context) -> Vec<Process> {
        let key = |process| -> Vec<Value<'_>> {
            self.order.iter().map(|(column, _)| column.value(process, context)).collect()
        };
        let mut keyed: Vec<_> = processes.iter().map(key).zip(0..).collect();
        keyed.sort_by(|(one, _), (two, _)| self.compare(one, two));
        let order: Vec<usize> = keyed.into_iter().map(|(_, at)| at).collect();
        let mut processes: Vec<Option<Process>> = processes.into_iter().map(Some).collect();
        order.into_iter().filter_map(|at| processes[at].take()).collect()
    }

    fn compare(&self, one: &[Value<'_>], two: &[Value<'_>]) -> std::cmp::Ordering {
        let mut each = self.order.iter().zip(one.iter().zip(two)).map(|((_, falling), (one, two))| {
            // What is not known comes last in either direction.
            if *falling && !one.is_unknown() && !two.is_unknown() { two.order(one) } else { one.order(two) }
        });
        each.find(|order| order.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
    }

    /// By number, or by a pattern, which does not find itself in our own arguments.
    fn is_named(&self, process: &Process) -> bool {
        let line = || {
            let args = process.args.known().filter(|args| !args.is_empty())?;
            let args = args.strip_suffix(b"\0").unwrap_or(args);
            Some(args.iter().map(|&byte| if byte == 0 { b' ' } else { byte }).collect::<Vec<u8>>())
        };
        let matches = |pattern: &Regex| {
            pattern.is_match(&process.stat.name) || line().is_some_and(|line| pattern.is_match(&line))
        };
        let ours = process.tgid.get().unsigned_abs() == std::process::id();
        self.pids.contains(&process.tgid) || (!ours && self.patterns.iter().any(matches))
    }
}

fn columns(list: &str) -> Result<Vec<&'static Column>, Failure> {
    let find = |name: &str| Column::find(name).ok_or_else(|| Failure::usage(unknown_column(name)));
    list.split(',').map(|name| find(name.trim())).collect()
}

/// The columns with these too, the arguments still last, because they are the longest.
fn added(
    mut shown: Vec<&'static Column>,
    more: impl Iterator<Item = &'static Column>,
) -> Vec<&'static Column> {
    let last = shown.pop();
    for column in more {
        if !shown.iter().chain(&last).any(|known| known.name == column.name) {
            shown.push(column);
        }
    }
    shown.extend(last);
    shown
}

fn order(list: &str) -> Result<Vec<(&'static Column, bool)>, Failure> {
    let one = |name: &str| {
        let falling = name.starts_with('-');
        let found = columns(name.trim_start_matches(['-', '+']))?;
        Ok((found[0], falling))
    };
    list.split(',').map(|name| one(name.trim())).collect()
}

fn pid(number: i32) -> Result<Pid, Failure> {
    Pid::new(number).ok_or_else(|| Failure::usage(format!("{number} is no number of a process")))
}

fn pattern(text: &str) -> Result<Regex, Failure> {
    Regex::new(text).map_err(|error| {
        Failure::usage(format!("`{text}` is no number and no regular expression: {}", in_short(&error)))
            .hint("put a backslash before characters that are meant as they are")
    })
}

fn help(ui: &mut Ui) -> Outcome {
    let mut table = Table::new(&["COLUMN", "WHAT IT SHOWS"]);
    for column in COLUMNS {
        table.row(vec![Cell::new(column.name).style(Style::Name), Cell::new(column.what)]);
    }
    ui.print(&table.render(ui.color(), ui.width()))?;
    Ok(Exit::OK)
}

fn as_table(
    rows: &[Process],
    question: &Question,
    context: &Context,
    reader: &mut Reader,
    (heads, ui): (bool, &mut Ui),
) -> Result<(), Failure> {
    let mut table = question.table(context);
    for process in rows {
        write_row(&mut table, process, &question.columns, context);
        if process.is_locked() {
            table.below(Cell::new(why_locked(reader, process.tgid)).style(Style::Busy));
        }
    }
    print_table(&table, heads, ui)
}

fn write_row(table: &mut Table, process: &Process, columns: &[&Column], context: &Context) {
    for column in columns {
        let value = column.value(process, context);
        table.write_cell(style(column, process), value.is_number(), |text| value.write(text));
    }
    table.end_row();
}

fn print_table(table: &Table, heads: bool, ui: &mut Ui) -> Result<(), Failure> {
    let text = table.render(ui.color(), ui.width());
    let text = if heads { text.as_str() } else { text.split_once('\n').map_or("", |(_, rest)| rest) };
    ui.print(text)
}

fn style(column: &Column, process: &Process) -> Style {
    match (column.name, process.stat.state) {
        (_, ProcState::Zombie) | ("state", _) => style_of(process.stat.state),
        _ => Style::Plain,
    }
}

fn as_json(
    rows: &[Process],
    columns: &[&Column],
    context: &Context,
    reader: &mut Reader,
    ui: &mut Ui,
) -> Result<(), Failure> {
    let mut text = String::new();
    for process in rows {
        let value = |column: &&Column| (column.name.to_owned(), column.value(process, context).json());
        let mut object: Map<String, Json> = columns.iter().map(value).collect();
        if process.is_locked() {
            object.insert("locked".to_owned(), json!(why_locked(reader, process.tgid)));
        }
        text.push_str(&Json::Object(object).to_string());
        text.push('\n');
    }
    ui.print(&text)
}

fn as_csv(
    rows: &[Process],
    columns: &[&Column],
    context: &Context,
    heads: bool,
    ui: &mut Ui,
) -> Result<(), Failure> {
    let head = columns.iter().map(|column| column.name.to_owned()).collect();
    let cells = |process: &Process| columns.iter().map(|c| c.value(process, context).plain()).collect();
    let lines = heads.then_some(head).into_iter().chain(rows.iter().map(cells));
    let line =
        |cells: Vec<String>| cells.iter().map(|cell| quoted(cell)).collect::<Vec<_>>().join(",") + "\r\n";
    ui.print(&lines.map(line).collect::<String>())
}

/// As RFC 4180 wants it.
fn quoted(cell: &str) -> String {
    if cell.contains(['"', ',', '\r', '\n']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}
