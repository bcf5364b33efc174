//! What `top` knows and shows, and what a key means: events in, effects out. No terminal, no clock, no `/proc`.

use super::meters::Meters;
use super::pools::{Answer, Pools};
use super::rows::{Row, Sums, View, rows};
use super::runs::Known;
use super::short::{Ended, Short};
use super::why::ASKING;
use crate::config;
use crate::processes::{COLUMNS, Column, Condition, Context, Value, printable};
use crate::running::Runs;
use crate::scoreboard::Line;
use crate::ui::Key;
use doula_host::Signal;
use doula_host::procfs::Want;
use doula_model::process::{Identity, Process};
use std::collections::VecDeque;

/// Values that the curve of the CPUs and that of a process remember: a cell each on the widest of screens.
const REMEMBERED: usize = 240;

/// All processes at one moment.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub(super) processes: Vec<Process>,
    /// What was asked of each.
    pub(super) asked: Want,
    pub(super) context: Context,
    pub(super) meters: Meters,
    /// Who was born and has ended since the look before; `None` where nobody tells.
    pub(super) ended: Option<Ended>,
}

/// Something that happened.
#[derive(Debug)]
pub(super) enum Event {
    Key(Key),
    /// The terminal has so many columns and rows.
    Size(u16, u16),
    Look(Box<Look>),
    /// A look that was asked for, also while the picture is held.
    Renewed(Box<Look>),
    /// These visible processes were asked for more.
    More(Vec<Process>),
    /// The detail that was asked for.
    Detail(Detail),
    /// What the families say of their pools.
    Pools(Result<Box<Answer>, String>),
    /// What runs of jobs are at.
    Runs(Result<Runs, String>),
    /// Why this process waits.
    Why(Identity, Vec<String>),
    /// What came of an effect, or is to be known.
    Told(String),
}

/// What must be done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Effect {
    Quit,
    Pause,
    Signal(Identity, Signal),
    Nice(Identity, i32),
    Cpus(Identity, Vec<u16>),
    /// Tell more of this process.
    Ask(Identity, Tab),
    /// Ask for what the page that was opened shows.
    AskPage,
    /// Look now.
    Look,
    /// Of a record: so many looks on, or back.
    Step(i32),
}

/// A page about one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tab {
    State,
    Signals,
    Files,
    Limits,
    Environment,
    Stack,
}

impl Tab {
    pub(super) const ALL: [(Tab, &'static str); 6] = [
        (Tab::State, "state"),
        (Tab::Signals, "signals"),
        (Tab::Files, "files"),
        (Tab::Limits, "limits"),
        (Tab::Environment, "environment"),
        (Tab::Stack, "stack"),
    ];

    fn beside(self, step: usize) -> Tab {
        let at = Tab::ALL.iter().position(|(tab, _)| *tab == self).unwrap_or(0);
        Tab::ALL[(at + step) % Tab::ALL.len()].0
    }
}

/// What a page says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Detail {
    pub(super) of: Identity,
    pub(super) tab: Tab,
    pub(super) lines: Vec<String>,
}

/// What keys are meant for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Mode {
    List,
    Help,
    /// A line is typed.
    Line(Prompt, String),
    /// A signal is chosen for this process.
    Signals(Identity, usize),
    /// A column is chosen to sort by.
    Sort(usize),
    Detail(Identity, Tab, usize, Option<Detail>),
    /// Who was born and has ended between two looks, from this line on.
    Short(usize),
    /// What the workers of pools do, from this line on.
    Pools(usize),
    /// What runs of jobs are at, from this line on.
    Runs(usize),
}

/// What a typed line is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prompt {
    Search,
    Filter,
    Nice(Identity),
    Cpus(Identity),
}

/// Everything.
#[derive(Debug)]
pub(super) struct Top {
    pub(super) view: View,
    pub(super) mode: Mode,
    pub(super) size: (u16, u16),
    pub(super) look: Option<Look>,
    pub(super) rows: Vec<Row>,
    pub(super) sums: Sums,
    /// How busy each CPU was between the last two looks.
    pub(super) busy: Vec<Option<f64>>,
    /// How busy all together were, look by look.
    pub(super) history: VecDeque<f64>,
    /// The same of the chosen process.
    pub(super) own: VecDeque<f64>,
    /// The chosen process, and its row.
    pub(super) chosen: Option<Identity>,
    pub(super) row: usize,
    /// The first row that is shown.
    pub(super) first: usize,
    /// The chosen one as it was seen last, when it is gone.
    pub(super) lost: Option<Process>,
    /// The list of the look before this, whose room a later one may use.
    pub(super) used: Vec<Process>,
    pub(super) short: Option<Short>,
    pub(super) pools: Pools,
    pub(super) runs: Known,
    pub(super) filter: String,
    pub(super) search: String,
    pub(super) told: Option<String>,
    /// Looks change nothing until it is over.
    pub(super) held: bool,
    /// Where in a record this is.
    pub(super) note: String,
    /// Whether a record is played: nobody is there to be signalled.
    pub(super) replayed: bool,
}

impl Top {
    pub(super) fn new(view: View) -> Top {
        Top {
            view,
            mode: Mode::List,
            size: (80, 24),
            look: None,
            rows: Vec::new(),
            sums: Sums::new(),
            busy: Vec::new(),
            history: VecDeque::new(),
            own: VecDeque::new(),
            chosen: None,
            row: 0,
            first: 0,
            lost: None,
            used: Vec::new(),
            short: None,
            pools: Pools::default(),
            runs: Known::default(),
            filter: String::new(),
            search: String::new(),
            told: None,
            held: false,
            note: String::new(),
            replayed: false,
        }
    }

    /// Something happened; what must be done for it.
    pub(super) fn handle(&mut self, event: Event) -> Option<Effect> {
        match event {
            Event::Key(key) => return self.key(key),
            Event::Size(columns, rows) => self.size = (columns, rows),
            Event::Look(look) if !self.held => self.sees(*look),
            Event::Look(_) => {}
            Event::Renewed(look) => self.sees(*look),
            Event::More(processes) => self.learns(processes),
            Event::Detail(detail) => {
                if let Mode::Detail(of, tab, _, known) = &mut self.mode
                    && (*of, *tab) == (detail.of, detail.tab)
                {
                    *known = Some(detail);
                }
            }
            Event::Pools(_) | Event::Runs(_) if self.held => {}
            Event::Runs(answer) => self.runs.sees(answer),
            Event::Pools(answer) => self.pools.sees(answer.map(|answer| *answer)),
            Event::Why(of, lines) => self.learns_why(of, lines),
            Event::Told(text) => self.told = Some(text),
        }
        self.scroll();
        None
    }

    /// Whether the look that is shown did not ask what is to be shown now.
    pub(super) fn lacks(&self) -> bool {
        self.look.as_ref().is_some_and(|look| !self.view.wants().is_within(&look.asked))
    }

    /// The process in a row, and whether it is gone.
    pub(super) fn process(&self, row: &Row) -> Option<(&Process, bool)> {
        match row.at {
            Some(at) => Some((self.look.as_ref()?.processes.get(at)?, false)),
            None => Some((self.lost.as_ref()?, true)),
        }
    }

    /// What stands in a column.
    pub(super) fn value(&self, row: &Row, column: &Column) -> Value<'_> {
        if let (Some(at), Some(sums)) = (row.at, self.sums.get(column.name)) {
            return sums[at].clone();
        }
        match (self.process(row), &self.look) {
            (Some((process, _)), Some(look)) => column.value(process, &look.context),
            _ => Value::None,
        }
    }

    /// Who is on the screen.
    pub(super) fn visible(&self) -> Vec<Identity> {
        let rows = self.rows.iter().skip(self.first).take(self.page());
        rows.filter_map(|row| Some(self.process(row)?.0.stat.identity())).collect()
    }

    /// `1234 name`.
    pub(super) fn name(&self, of: Identity) -> String {
        let known = self.look.iter().flat_map(|look| &look.processes).chain(&self.lost);
        let found = known.into_iter().find(|process| process.stat.identity() == of);
        let name = found.map_or_else(String::new, |process| printable(&process.stat.name));
        format!("{} {name}", of.pid)
    }

    fn sees(&mut self, mut look: Look) {
        if let Some(ended) = look.ended.take() {
            self.short.get_or_insert_default().sees(ended);
        }
        if let Some(before) = &self.look {
            self.busy = look.meters.busy(&before.meters);
        }
        let known: Vec<f64> = self.busy.iter().flatten().copied().collect();
        if !known.is_empty() {
            remember(&mut self.history, known.iter().sum::<f64>() / known.len() as f64);
        }
        let chosen = self.chosen;
        let still = |look: &Look| look.processes.iter().any(|one| Some(one.stat.identity()) == chosen);
        if chosen.is_some() && !still(&look) {
            let before = self.look.iter().flat_map(|look| &look.processes);
            let last = before.into_iter().find(|one| Some(one.stat.identity()) == chosen).cloned();
            self.lost = last.or(self.lost.take());
        } else {
            self.lost = None;
        }
        let context = match self.look.take() {
            Some(before) => {
                self.used = before.processes;
                look.context.with_names_of(before.context)
            }
            None => look.context,
        };
        self.look = Some(Look { context, ..look });
        self.arrange();
        let cpu = Column::find("cpu").zip(self.rows.get(self.row));
        if let Some(Value::Percent(percent)) = cpu.map(|(column, row)| self.value(row, column)) {
            remember(&mut self.own, percent);
        }
    }

    /// Answers to questions about those who are visible.
    fn learns(&mut self, processes: Vec<Process>) {
        let Some(look) = &mut self.look else { return };
        for process in processes {
            let place = look.processes.binary_search_by_key(&process.stat.pid, |known| known.stat.pid);
            if let Ok(at) = place
                && look.processes[at].stat.identity() == process.stat.identity()
            {
                look.processes[at] = process;
            }
        }
    }

    /// The answer stands where it was asked for, if that page is still there.
    fn learns_why(&mut self, of: Identity, why: Vec<String>) {
        if let Mode::Detail(shown, _, _, Some(detail)) = &mut self.mode
            && *shown == of
            && let Some(at) = detail.lines.iter().position(|line| line == ASKING)
        {
            detail.lines.splice(at..=at, why);
        }
    }

    /// Makes the rows anew; the chosen process stays chosen, in its row when it is gone.
    fn arrange(&mut self) {
        let Some(look) = &self.look else { return };
        (self.rows, self.sums) = rows(&self.view, &look.processes, &look.context);
        if self.lost.is_some() {
            let at = self.row.min(self.rows.len());
            self.rows.insert(at, Row { at: None, branch: String::new(), folded: 0 });
            self.row = at;
        } else {
            let is_chosen = |row: &Row| {
                let process = row.at.map(|at| &look.processes[at]);
                process.is_some_and(|process| Some(process.stat.identity()) == self.chosen)
            };
            let found = self.rows.iter().position(is_chosen);
            self.row = found.unwrap_or(self.row.min(self.rows.len().saturating_sub(1)));
            if found.is_none() || self.chosen.is_none() {
                self.choose(self.row);
            }
        }
        self.scroll();
    }

    fn choose(&mut self, row: usize) {
        let row = row.min(self.rows.len().saturating_sub(1));
        let chosen = self.rows.get(row).and_then(|row| Some(self.process(row)?.0.stat.identity()));
        if chosen != self.chosen {
            self.own.clear();
        }
        (self.row, self.chosen) = (row, chosen);
        if self.lost.as_ref().is_some_and(|lost| Some(lost.stat.identity()) != chosen) {
            self.lost = None;
            let gone = self.rows.iter().position(|row| row.at.is_none());
            if let Some(at) = gone {
                self.rows.remove(at);
                self.row -= usize::from(at < self.row);
            }
        }
        self.scroll();
    }

    fn scroll(&mut self) {
        let page = self.page().max(1);
        self.first = self.first.min(self.row).max((self.row + 1).saturating_sub(page));
        self.first = self.first.min(self.rows.len().saturating_sub(page));
    }

    fn key(&mut self, key: Key) -> Option<Effect> {
        if key == Key::Ctrl('c') {
            return Some(Effect::Quit);
        }
        if key == Key::Ctrl('z') {
            return Some(Effect::Pause);
        }
        self.told = None;
        match std::mem::replace(&mut self.mode, Mode::List) {
            Mode::List => self.list_key(key),
            Mode::Help => self.help_key(key),
            Mode::Line(prompt, text) => self.line_key(prompt, text, key),
            Mode::Signals(of, at) => self.signals_key(of, at, key),
            Mode::Sort(at) => self.sort_key(at, key),
            Mode::Short(first) => self.short_key(first, key),
            Mode::Pools(first) => self.page_key((Mode::Pools, 'w'), first, key),
            Mode::Runs(first) => self.page_key((Mode::Runs, 'j'), first, key),
            Mode::Detail(of, tab, first, known) => self.detail_key((of, tab), first, known, key),
        }
    }

    fn list_key(&mut self, key: Key) -> Option<Effect> {
        let page = self.page().max(1);
        match key {
            Key::Up => self.choose(self.row.saturating_sub(1)),
            Key::Down => self.choose(self.row + 1),
            Key::Wheel(up) => self.choose(if up { self.row.saturating_sub(3) } else { self.row + 3 }),
            Key::PageUp => self.choose(self.row.saturating_sub(page)),
            Key::PageDown => self.choose(self.row + page),
            Key::Home => self.choose(0),
            Key::End => self.choose(usize::MAX),
            Key::Click(column, row) => return self.click(column, row),
            Key::Enter => return self.detail(Tab::State),
            Key::Function(1) => self.mode = Mode::Help,
            Key::Function(10) => return Some(Effect::Quit),
            Key::Char(letter) => return self.letter(letter),
            Key::Left if self.replayed => return Some(Effect::Step(-1)),
            Key::Right if self.replayed => return Some(Effect::Step(1)),
            Key::Ctrl(_)
            | Key::Escape
            | Key::Tab
            | Key::BackTab
            | Key::Backspace
            | Key::Delete
            | Key::Left
            | Key::Right
            | Key::Function(_) => {}
        }
        None
    }

    fn letter(&mut self, letter: char) -> Option<Effect> {
        match letter {
            'q' => return Some(Effect::Quit),
            'h' | '?' => self.mode = Mode::Help,
            't' => self.turn(|view| view.tree = !view.tree),
            'S' => self.turn(|view| (view.sums, view.tree) = (!view.sums, true)),
            'K' => self.turn(|view| view.kernel = !view.kernel),
            'r' => self.turn(|view| view.falling = !view.falling),
            'P' => self.sort_by("cpu"),
            'M' => self.sort_by("rss"),
            'T' => self.sort_by("time"),
            'N' => self.sort_by("pid"),
            's' => {
                let now = COLUMNS.iter().position(|column| std::ptr::eq(column, self.view.sort));
                self.mode = Mode::Sort(now.unwrap_or(0));
            }
            '/' => self.mode = Mode::Line(Prompt::Search, String::new()),
            'n' => self.find(self.row + 1),
            'f' => self.mode = Mode::Line(Prompt::Filter, self.filter.clone()),
            ' ' => self.fold(),
            'b' if self.short.is_some() => self.mode = Mode::Short(0),
            'b' => {
                let why = "nobody tells us of births and ends: `doula doctor --self` says why";
                self.told = Some(why.to_owned());
            }
            'w' | 'j' if self.replayed => {
                self.told = Some("a record does not have pools and runs".to_owned());
            }
            'w' | 'j' => {
                self.mode = if letter == 'w' { Mode::Pools(0) } else { Mode::Runs(0) };
                return Some(Effect::AskPage);
            }
            'p' => {
                self.held = !self.held;
                return (!self.held).then_some(Effect::Look);
            }
            'k' => self.act(|of| Mode::Signals(of, signal_at(Signal::TERM))),
            'e' => self.act(|of| Mode::Line(Prompt::Nice(of), String::new())),
            'a' => self.act(|of| Mode::Line(Prompt::Cpus(of), String::new())),
            _ => {}
        }
        None
    }

    fn turn(&mut self, change: impl FnOnce(&mut View)) {
        change(&mut self.view);
        self.arrange();
    }

    fn sort_by(&mut self, name: &str) {
        if let Some(column) = Column::find(name) {
            self.turn(|view| {
                // The numbers of processes and names rise; the others have the largest first. Asked twice, the other way.
                let falling = !matches!(column.name, "pid" | "ppid" | "name" | "args" | "user");
                view.falling = if view.sort.name == column.name { !view.falling } else { falling };
                view.sort = column;
            });
        }
    }

    fn fold(&mut self) {
        if let Some(chosen) = self.chosen.filter(|_| self.view.tree) {
            self.turn(|view| {
                if !view.folded.remove(&chosen) {
                    view.folded.insert(chosen);
                }
            });
        }
    }

    /// Opens a menu for the chosen process, unless there is nobody any more.
    fn act(&mut self, mode: impl FnOnce(Identity) -> Mode) {
        match self.chosen {
            Some(_) if self.replayed => self.told = Some("this is a record: nobody is there".to_owned()),
            Some(of) if self.lost.is_some() => self.told = Some(format!("{} is gone", self.name(of))),
            Some(of) => self.mode = mode(of),
            None => {}
        }
    }

    fn detail(&mut self, tab: Tab) -> Option<Effect> {
        let of = self.chosen?;
        self.mode = Mode::Detail(of, tab, 0, None);
        self.scroll();
        Some(Effect::Ask(of, tab))
    }

    fn click(&mut self, column: u16, row: u16) -> Option<Effect> {
        let top = self.list_top();
        if row + 1 == top {
            if let Some(name) = self.column_at(column) {
                self.sort_by(name);
            }
        } else if row >= top && usize::from(row - top) < self.page() {
            let clicked = self.first + usize::from(row - top);
            if clicked == self.row {
                return self.detail(Tab::State);
            }
            if clicked < self.rows.len() {
                self.choose(clicked);
            }
        }
        None
    }

    fn help_key(&mut self, key: Key) -> Option<Effect> {
        // Any key leaves the help; only what scrolls or points stays in it.
        if matches!(key, Key::Wheel(_) | Key::Click(..)) {
            self.mode = Mode::Help;
        }
        None
    }

    fn line_key(&mut self, prompt: Prompt, mut text: String, key: Key) -> Option<Effect> {
        match key {
            Key::Escape => {
                if prompt == Prompt::Filter {
                    self.filter_by(String::new());
                }
                return None;
            }
            Key::Enter => return self.line(prompt, text),
            Key::Backspace => drop(text.pop()),
            Key::Ctrl('u') => text.clear(),
            Key::Char(letter) => text.push(letter),
            Key::Ctrl(_)
            | Key::Tab
            | Key::BackTab
            | Key::Delete
            | Key::Up
            | Key::Down
            | Key::Left
            | Key::Right
            | Key::PageUp
            | Key::PageDown
            | Key::Home
            | Key::End
            | Key::Function(_)
            | Key::Click(..)
            | Key::Wheel(_) => {}
        }
        if prompt == Prompt::Search {
            self.search.clone_from(&text);
            self.find(self.row);
        }
        self.mode = Mode::Line(prompt, text);
        None
    }

    fn line(&mut self, prompt: Prompt, text: String) -> Option<Effect> {
        match prompt {
            Prompt::Search => None,
            Prompt::Filter => {
                self.filter_by(text);
                None
            }
            Prompt::Nice(of) => match text.trim().parse::<i32>() {
                Ok(nice @ -20..=19) => Some(Effect::Nice(of, nice)),
                _ => {
                    self.told = Some(format!("`{text}` is no number from -20 to 19"));
                    None
                }
            },
            Prompt::Cpus(of) => match config::cpus(&text) {
                Ok(cpus) => Some(Effect::Cpus(of, cpus)),
                Err(error) => {
                    self.told = Some(error);
                    None
                }
            },
        }
    }

    /// Takes a filter, or tells what is wrong with it and lets it be mended.
    fn filter_by(&mut self, text: String) {
        match conditions(&text) {
            Ok(conditions) => {
                self.filter = text;
                self.turn(|view| view.conditions = conditions);
            }
            Err(error) => {
                self.told = Some(error);
                self.mode = Mode::Line(Prompt::Filter, text);
            }
        }
    }

    /// Chooses the next row, from this one on and around, whose name or arguments have the searched text.
    fn find(&mut self, from: usize) {
        if self.search.is_empty() {
            return;
        }
        let (count, text) = (self.rows.len(), self.search.to_lowercase());
        let has = |row: &Row| {
            let Some((process, _)) = self.process(row) else { return false };
            let args = process.args.known().map_or(&[][..], Vec::as_slice);
            let line = [&process.stat.name, b" ".as_slice(), args].concat();
            let line = printable(&line).replace('\0', " ").to_lowercase();
            line.contains(&text) || process.stat.pid.to_string() == text
        };
        match (0..count).map(|step| (from + step) % count).find(|at| has(&self.rows[*at])) {
            Some(found) => self.choose(found),
            None => self.told = Some(format!("nobody has `{}` in name or arguments", self.search)),
        }
    }

    fn signals_key(&mut self, of: Identity, at: usize, key: Key) -> Option<Effect> {
        let last = Signal::all().count() - 1;
        if matches!(key, Key::Escape | Key::Char('q')) {
            return None;
        }
        if key == Key::Enter {
            return Signal::all().nth(at).map(|signal| Effect::Signal(of, signal));
        }
        let next = if let Key::Char(letter) = key { starting(at, letter) } else { moved(at, last, key) };
        self.mode = Mode::Signals(of, next);
        None
    }

    fn sort_key(&mut self, at: usize, key: Key) -> Option<Effect> {
        if matches!(key, Key::Escape | Key::Char('q')) {
            return None;
        }
        if key == Key::Enter {
            self.sort_by(COLUMNS[at].name);
            return None;
        }
        self.mode = Mode::Sort(moved(at, COLUMNS.len() - 1, key));
        None
    }

    fn short_key(&mut self, first: usize, key: Key) -> Option<Effect> {
        if !matches!(key, Key::Escape | Key::Enter | Key::Char('q' | 'b')) {
            let count = self.short.as_ref().map_or(0, |short| short.lines().len());
            self.mode = Mode::Short(moved(first, count.saturating_sub(1), key));
        }
        None
    }

    /// A page of lines, that a letter opens and closes.
    fn page_key(&mut self, page: (fn(usize) -> Mode, char), first: usize, key: Key) -> Option<Effect> {
        let (mode, letter) = page;
        if matches!(key, Key::Escape | Key::Enter | Key::Char('q')) || key == Key::Char(letter) {
            return None;
        }
        let count = self.page_lines(&mode(first), usize::from(self.size.0)).len();
        self.mode = mode(moved(first, count.saturating_sub(1), key));
        if key == Key::Char('p') { self.letter('p') } else { None }
    }

    /// What a page of lines has.
    pub(super) fn page_lines(&self, mode: &Mode, columns: usize) -> Vec<Line> {
        if matches!(mode, Mode::Runs(_)) { self.runs.lines(columns) } else { self.pools.lines(columns) }
    }

    fn detail_key(
        &mut self,
        (of, tab): (Identity, Tab),
        first: usize,
        known: Option<Detail>,
        key: Key,
    ) -> Option<Effect> {
        let last = known.as_ref().map_or(0, |detail| detail.lines.len().saturating_sub(1));
        let next = match key {
            Key::Escape | Key::Enter | Key::Char('q') => return None,
            Key::Tab | Key::Right => return self.detail(tab.beside(1)),
            Key::BackTab | Key::Left => return self.detail(tab.beside(Tab::ALL.len() - 1)),
            Key::Up | Key::Wheel(true) => first.saturating_sub(1),
            Key::Down | Key::Wheel(false) => (first + 1).min(last),
            Key::PageUp => first.saturating_sub(10),
            Key::PageDown => (first + 10).min(last),
            Key::Home => 0,
            Key::Char('k' | 'e' | 'a') => {
                let Key::Char(letter) = key else { return None };
                return self.letter(letter);
            }
            Key::Char(_)
            | Key::Ctrl(_)
            | Key::Backspace
            | Key::Delete
            | Key::End
            | Key::Function(_)
            | Key::Click(..) => first,
        };
        self.mode = Mode::Detail(of, tab, next, known);
        None
    }
}

fn remember(values: &mut VecDeque<f64>, value: f64) {
    values.push_back(value);
    if values.len() > REMEMBERED {
        values.pop_front();
    }
}

/// The place of a signal among all.
fn signal_at(signal: Signal) -> usize {
    Signal::all().position(|known| known == signal).unwrap_or(0)
}

/// The next signal behind this place that begins with a letter.
fn starting(at: usize, letter: char) -> usize {
    let all: Vec<String> = Signal::all().map(|signal| signal.to_string()).collect();
    let begins = |at: &usize| all[*at].trim_start_matches("SIG").starts_with(letter.to_ascii_uppercase());
    (0..all.len()).map(|step| (at + 1 + step) % all.len()).find(begins).unwrap_or(at)
}

/// Conditions with blanks between; a word without an operator is looked for in the arguments.
pub(super) fn conditions(text: &str) -> Result<Vec<Condition>, String> {
    let words = shell_words::split(text).map_err(|error| format!("`{text}`: {error}"))?;
    let one = |word: String| {
        let plain = !word.contains(['=', '<', '>', '~']);
        Condition::parse(&if plain { format!("args~{word}") } else { word })
    };
    words.into_iter().map(one).collect()
}

/// Where a list of which this place was chosen stands after a key; the last place is `last`.
fn moved(at: usize, last: usize, key: Key) -> usize {
    match key {
        Key::Up | Key::Wheel(true) => at.saturating_sub(1),
        Key::Down | Key::Wheel(false) => (at + 1).min(last),
        Key::PageUp => at.saturating_sub(10),
        Key::PageDown => (at + 10).min(last),
        Key::Home => 0,
        Key::End => last,
        Key::Char(_)
        | Key::Ctrl(_)
        | Key::Enter
        | Key::Escape
        | Key::Tab
        | Key::BackTab
        | Key::Backspace
        | Key::Delete
        | Key::Left
        | Key::Right
        | Key::Function(_)
        | Key::Click(..) => at,
    }
}
