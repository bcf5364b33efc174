//! A state as a frame. Nothing is decided here.

use super::settings::Theme;
use super::state::{Mode, Prompt, Tab, Top};
use crate::processes::{COLUMNS, Column, Value, name_of};
use crate::ui::escape;
use doula_host::Signal;
use doula_model::process::{ProcState, Process};
use doula_model::words::{ShortSpan, Size};
use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_core::style::Style;
use std::collections::VecDeque;
use unicode_width::UnicodeWidthStr;

/// A meter of a CPU is so wide.
const METER: u16 = 25;
/// At most so many rows for CPUs; above, they are told together.
const CPU_ROWS: u16 = 4;
/// Below this height only the list is shown, and one line above it.
const LOW: u16 = 14;
/// From this height on, a page stands below the list instead of over it.
const TALL: u16 = 34;

/// What each key does.
const HELP: [(&str, &str); 21] = [
    ("Up Down PgUp PgDn Home End, wheel", "choose a process"),
    ("Enter, click", "all about it; Tab for the next page, Esc back"),
    ("/  n", "search in names and arguments; the next one"),
    ("f", "filter: conditions as in `doula ps -w`, such as state=D rss>100M; Esc takes it away"),
    ("t", "tree of parents and children, or a list"),
    ("Space", "in the tree: fold what is below"),
    ("S", "in the tree: numbers of whole subtrees"),
    ("s, click on a heading", "sort by a column"),
    ("P M T N", "sort by CPU, memory, time, number"),
    ("r", "turn the order round"),
    ("K", "threads of the kernel too"),
    ("k", "send it a signal"),
    ("e  a", "renice it; say on which CPUs it may run"),
    ("b", "who was born and has ended between two looks"),
    ("w  j", "workers of doula's pools; runs of jobs"),
    ("p", "hold the picture; again: go on"),
    ("Left Right", "in a record: a look back, a look on"),
    ("Ctrl-Z", "leave it for a while; `fg` comes back"),
    ("h ? F1", "this help"),
    ("q F10 Ctrl-C", "leave"),
    (
        "",
        "What is done is done to the process that is shown: a number that was given to another hits nobody.",
    ),
];

/// The frame.
pub(super) fn draw(top: &Top, theme: &Theme) -> Buffer {
    let area = Rect::new(0, 0, top.size.0, top.size.1);
    let mut page = Page { buffer: Buffer::empty(area), theme };
    if area.width < 20 || area.height < 5 {
        page.put(0, 0, "too small", theme.plain);
        return page.buffer;
    }
    head(top, &mut page);
    list(top, &mut page);
    match &top.mode {
        Mode::List | Mode::Line(..) => {}
        Mode::Help => help(top, &mut page),
        Mode::Signals(of, at) => {
            let names: Vec<String> =
                Signal::all().map(|signal| format!("{:>2} {signal}", signal.number())).collect();
            page.menu(&format!("signal to {}", top.name(*of)), &names, *at);
        }
        Mode::Sort(at) => {
            let names: Vec<String> =
                COLUMNS.iter().map(|one| format!("{:12} {}", one.name, one.what)).collect();
            page.menu("sort by", &names, *at);
        }
        Mode::Detail(..) => detail(top, &mut page),
        Mode::Short(first) => short(top, *first, &mut page),
        Mode::Pools(first) => lines(top, ("pools", *first), &mut page),
        Mode::Runs(first) => lines(top, ("runs of jobs", *first), &mut page),
    }
    foot(top, &mut page);
    page.buffer
}

impl Top {
    /// The row of the screen where the list begins, below its headings.
    pub(super) fn list_top(&self) -> u16 {
        head_height(self) + 1
    }

    /// So many rows of the list fit.
    pub(super) fn page(&self) -> usize {
        let whole = self.size.1.saturating_sub(self.list_top() + 1);
        let split = matches!(self.mode, Mode::Detail(..)) && self.size.1 >= TALL;
        usize::from(if split { whole / 2 } else { whole })
    }

    /// The column that a heading at this place belongs to.
    pub(super) fn column_at(&self, x: u16) -> Option<&'static str> {
        let mut begin = 0;
        for (column, width) in self.view.columns.iter().zip(widths(self)) {
            if (begin..=begin + width).contains(&x) {
                return Some(column.name);
            }
            begin += width + 1;
        }
        None
    }
}

/// A buffer and how it is coloured.
struct Page<'a> {
    buffer: Buffer,
    theme: &'a Theme,
}

impl Page<'_> {
    /// Writes a text, without anything that a terminal would obey, as far as there is room; gives the next column.
    fn put(&mut self, x: u16, y: u16, text: &str, style: Style) -> u16 {
        let room = self.buffer.area.width.saturating_sub(x);
        self.put_within(x, y, (text, room), style)
    }

    fn put_within(&mut self, x: u16, y: u16, (text, room): (&str, u16), style: Style) -> u16 {
        if room == 0 || y >= self.buffer.area.height {
            return x;
        }
        self.buffer.set_stringn(x, y, escape(text), room.into(), style).0
    }

    /// A list over the middle of the screen, with one line of it chosen.
    fn menu(&mut self, title: &str, lines: &[String], chosen: usize) {
        let area = self.buffer.area;
        let longest = lines.iter().map(|line| line.width()).max().unwrap_or(0).max(title.width() + 2);
        let width = u16::try_from(longest + 4).unwrap_or(u16::MAX).min(area.width);
        let height = u16::try_from(lines.len() + 2).unwrap_or(u16::MAX).min(area.height.saturating_sub(2));
        let frame = Rect::new((area.width - width) / 2, (area.height - height) / 2, width, height);
        self.frame(frame, title);
        let shown = usize::from(height.saturating_sub(2));
        let first = chosen.saturating_sub(shown / 2).min(lines.len().saturating_sub(shown));
        for (at, line) in lines.iter().enumerate().skip(first).take(shown) {
            let style = if at == chosen { self.theme.chosen } else { self.theme.plain };
            let y = frame.y + 1 + (at - first) as u16;
            let text = format!(" {line:room$}", room = usize::from(width - 3));
            self.put_within(frame.x + 1, y, (&text, width - 2), style);
        }
    }

    /// A frame with nothing in it.
    fn frame(&mut self, area: Rect, title: &str) {
        let inside = usize::from(area.width.saturating_sub(2));
        let style = self.theme.dim;
        self.put(area.x, area.y, &format!("┌{}┐", "─".repeat(inside)), style);
        for y in area.y + 1..area.y + area.height - 1 {
            self.put(area.x, y, &format!("│{}│", " ".repeat(inside)), style);
        }
        self.put(area.x, area.y + area.height - 1, &format!("└{}┘", "─".repeat(inside)), style);
        self.put_within(
            area.x + 2,
            area.y,
            (&format!(" {title} "), area.width.saturating_sub(4)),
            self.theme.head,
        );
    }

    /// `name [||||    ] 12%`: the words say what the colour says.
    fn meter(&mut self, (x, y, width): (u16, u16, u16), name: &str, share: Option<f64>, text: &str) {
        let theme = self.theme;
        let x = self.put(x, y, name, theme.name);
        let room = width.saturating_sub(name.width() as u16 + text.width() as u16 + 4);
        let share = share.unwrap_or(0.0).clamp(0.0, 100.0);
        let filled = (f64::from(room) * share / 100.0).round() as usize;
        let style = match share {
            90.0.. => theme.bad,
            60.0.. => theme.busy,
            _ => theme.good,
        };
        let x = self.put(x, y, " [", theme.dim);
        let x = self.put(x, y, &"|".repeat(filled), style);
        let x = self.put(x, y, &" ".repeat(usize::from(room).saturating_sub(filled)), theme.plain);
        let x = self.put(x, y, "] ", theme.dim);
        self.put(x, y, text, theme.plain);
    }
}

fn cpus_a_row(top: &Top) -> u16 {
    (top.size.0 / METER).clamp(1, 8)
}

fn cpu_count(top: &Top) -> u16 {
    top.look.as_ref().map_or(0, |look| u16::try_from(look.meters.cpus.len()).unwrap_or(u16::MAX))
}

fn cpu_rows(top: &Top) -> u16 {
    let rows = cpu_count(top).div_ceil(cpus_a_row(top));
    if rows > CPU_ROWS { 1 } else { rows }
}

fn head_height(top: &Top) -> u16 {
    if top.size.1 < LOW { 1 } else { 3 + cpu_rows(top) + u16::from(top.short.is_some()) }
}

fn head(top: &Top, page: &mut Page<'_>) {
    let Some(look) = &top.look else {
        page.put(0, 0, "looking …", page.theme.dim);
        return;
    };
    let of_state = |state| look.processes.iter().filter(|one| one.stat.state == state).count();
    // First, because a narrow screen cuts the end of the line.
    let held = if top.held { "  HELD" } else { "" };
    let mut title = format!("doula top{held}  {} processes", look.processes.len());
    for (state, name) in [
        (ProcState::Running, "running"),
        (ProcState::Blocked, "blocked"),
        (ProcState::Stopped, "stopped"),
        (ProcState::Zombie, "zombie"),
    ] {
        let count = of_state(state);
        if count > 0 {
            title.push_str(&format!(", {count} {name}"));
        }
    }
    let x = page.put(0, 0, &title, page.theme.head);
    let uptime = ShortSpan(look.context.machine.uptime);
    let load = look
        .meters
        .load
        .map_or_else(String::new, |[one, five, fifteen]| format!("  load {one:.2} {five:.2} {fifteen:.2}"));
    let interval = look
        .context
        .interval
        .map_or_else(String::new, |interval| format!("  CPU over {:.1}s", interval.as_secs_f64()));
    page.put(x, 0, &format!("{interval}{load}  up {uptime}"), page.theme.plain);
    if head_height(top) > 1 {
        cpus(top, page);
        let y = 1 + cpu_rows(top);
        memory(top, y, page);
        pressure(top, y + 1, page);
        if let Some(short) = &top.short {
            let x = page.put(0, y + 2, "short lives ", page.theme.name);
            page.put(x, y + 2, &short.line(), page.theme.plain);
        }
    }
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "   -".to_owned(), |share| format!("{share:3.0}%"))
}

fn cpus(top: &Top, page: &mut Page<'_>) {
    let (count, a_row) = (cpu_count(top), cpus_a_row(top));
    let busy = |at: u16| top.busy.get(usize::from(at)).copied().flatten();
    if count.div_ceil(a_row) > CPU_ROWS {
        let known: Vec<f64> = top.busy.iter().flatten().copied().collect();
        let mean = (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64);
        let most = known.iter().copied().reduce(f64::max);
        let text = format!("{}, busiest {}", percent(mean).trim(), percent(most).trim());
        page.meter((0, 1, top.size.0), &format!("{count} CPUs"), mean, &text);
        return;
    }
    let width = top.size.0 / a_row;
    for at in 0..count {
        let (x, y) = (at % a_row * width, 1 + at / a_row);
        page.meter((x, y, width - 1), &format!("cpu{at:<2}"), busy(at), &percent(busy(at)));
    }
}

fn memory(top: &Top, y: u16, page: &mut Page<'_>) {
    let Some(look) = &top.look else { return };
    let half = top.size.0 / 2;
    let used = |(all, free): (u64, u64)| (all, all.saturating_sub(free));
    let share = |(all, used): (u64, u64)| if all == 0 { 0.0 } else { 100.0 * used as f64 / all as f64 };
    let mut one = |x: u16, name: &str, pair: Option<(u64, u64)>| {
        let pair = pair.map(used);
        let text = match pair {
            Some((0, _)) => "none".to_owned(),
            Some((all, used)) => format!("{} of {}", Size(used), Size(all)),
            None => "-".to_owned(),
        };
        page.meter((x, y, half.saturating_sub(1)), name, pair.map(share), &text);
    };
    one(0, "mem ", look.meters.memory);
    one(half, "swap", look.meters.swap);
}

fn pressure(top: &Top, y: u16, page: &mut Page<'_>) {
    let Some(look) = &top.look else { return };
    let mut x = page.put(0, y, "pressure", page.theme.name);
    for (name, share) in ["cpu", "memory", "io"].iter().zip(look.meters.pressure) {
        let text = share.map_or_else(|| "-".to_owned(), |share| format!("{share:.1}%"));
        let style = if share.is_some_and(|share| share >= 10.0) { page.theme.bad } else { page.theme.plain };
        x = page.put(x, y, &format!(" {name} {text}"), style);
    }
    let half = top.size.0 / 2;
    if x < half {
        let x = page.put(half, y, "cpus ", page.theme.name);
        let room = usize::from(top.size.0.saturating_sub(x + 1));
        page.put(x, y, &curve(&top.history, room, 100.0), page.theme.good);
    }
}

/// The last values as a curve of so many cells.
fn curve(values: &VecDeque<f64>, room: usize, most: f64) -> String {
    const STEPS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let step = |value: &f64| STEPS[((value / most * 8.0) as usize).min(STEPS.len() - 1)];
    values.iter().skip(values.len().saturating_sub(room)).map(step).collect()
}

/// How wide a column is; the last one has what is left.
fn widths(top: &Top) -> Vec<u16> {
    let shown = top.rows.iter().skip(top.first).take(top.page());
    let rows: Vec<_> = shown.collect();
    let one = |(at, column): (usize, &&'static Column)| {
        if at + 1 == top.view.columns.len() {
            return u16::MAX;
        }
        let least = match column.name {
            "pid" | "ppid" => 7,
            "user" => 8,
            "cpu" => 5,
            "rss" => 8,
            "time" => 7,
            _ => 1,
        };
        let cells = rows.iter().map(|row| escape(&top.value(row, column).show()).width());
        let widest = cells.max().unwrap_or(0).max(heading(top, column).width()).max(least);
        u16::try_from(widest.min(24)).unwrap_or(24)
    };
    let mut widths: Vec<u16> = top.view.columns.iter().enumerate().map(one).collect();
    if let Some((last, others)) = widths.split_last_mut() {
        let used: u16 = others.iter().map(|width| width + 1).sum();
        *last = top.size.0.saturating_sub(used);
    }
    widths
}

fn heading(top: &Top, column: &Column) -> String {
    let name = if column.name == "cpu" { "CPU%".to_owned() } else { column.name.to_ascii_uppercase() };
    let sign = match (std::ptr::eq(column, top.view.sort), top.view.falling) {
        (false, _) => "",
        (true, true) => "▼",
        (true, false) => "▲",
    };
    format!("{name}{sign}")
}

fn list(top: &Top, page: &mut Page<'_>) {
    let (widths, y) = (widths(top), top.list_top());
    page.put(0, y - 1, &" ".repeat(top.size.0.into()), page.theme.heading);
    let mut x = 0;
    for (column, width) in top.view.columns.iter().zip(&widths) {
        let text = heading(top, column);
        let text = if is_number(top, column) { format!("{text:>0$}", usize::from(*width)) } else { text };
        page.put_within(x, y - 1, (&text, *width), page.theme.heading);
        x += width + 1;
    }
    for (line, row) in top.rows.iter().enumerate().skip(top.first).take(top.page()) {
        let y = y + (line - top.first) as u16;
        let Some((process, gone)) = top.process(row) else { continue };
        let style = style_of(process, page.theme);
        let style = if line == top.row { page.theme.chosen } else { style };
        if line == top.row {
            page.put(0, y, &" ".repeat(top.size.0.into()), style);
        }
        let mut x = 0;
        for (at, (column, width)) in top.view.columns.iter().zip(&widths).enumerate() {
            let value = top.value(row, column);
            let last = at + 1 == widths.len();
            let text = if last { last_cell(top, row, process, &value, gone) } else { escape(&value.show()) };
            let text = if is_number(top, column) && !last {
                format!("{text:>0$}", usize::from(*width))
            } else {
                text
            };
            page.put_within(x, y, (&text, *width), style);
            x = x.saturating_add(width + 1);
        }
    }
}

/// Whether a column stands at the right: if what is shown in its first row that is known does.
fn is_number(top: &Top, column: &Column) -> bool {
    let shown = top.rows.iter().skip(top.first).take(top.page());
    let mut values = shown.map(|row| top.value(row, column));
    values.find(|value| !value.is_unknown()).is_some_and(|value| value.is_number())
}

fn last_cell(top: &Top, row: &super::rows::Row, process: &Process, value: &Value<'_>, gone: bool) -> String {
    // Arguments that nobody has asked for yet: the name stands for them.
    let value = if matches!(process.args, doula_model::process::Answer::Unasked) && value.is_unknown() {
        crate::processes::printable(&name_of(process))
    } else {
        value.show()
    };
    let folded = if row.folded > 0 { format!("[+{}] ", row.folded) } else { String::new() };
    let gone = if gone { "GONE " } else { "" };
    let branch = if top.view.tree { row.branch.as_str() } else { "" };
    format!("{gone}{branch}{folded}{}", escape(&value))
}

fn style_of(process: &Process, theme: &Theme) -> Style {
    match process.stat.state {
        ProcState::Zombie | ProcState::Blocked => theme.bad,
        ProcState::Stopped | ProcState::Traced => theme.busy,
        ProcState::Running => theme.good,
        ProcState::Sleeping | ProcState::Dead | ProcState::Idle | ProcState::Parked | ProcState::Other(_) => {
            theme.plain
        }
    }
}

fn foot(top: &Top, page: &mut Page<'_>) {
    let y = top.size.1 - 1;
    let text = match (&top.mode, &top.told) {
        (_, Some(told)) => {
            page.put(0, y, &format!("{told:0$}", usize::from(top.size.0)), page.theme.busy);
            return;
        }
        (Mode::Line(prompt, text), _) => {
            let ask = match prompt {
                Prompt::Search => "search: ".to_owned(),
                Prompt::Filter => "filter: ".to_owned(),
                Prompt::Nice(of) => format!("nice value of {} (-20 to 19): ", top.name(*of)),
                Prompt::Cpus(of) => format!("CPUs of {} (such as 0,2-3): ", top.name(*of)),
            };
            let x = page.put(0, y, &ask, page.theme.name);
            page.put(x, y, &format!("{text}_"), page.theme.plain);
            return;
        }
        (Mode::Signals(..) | Mode::Sort(_), _) => "Up Down choose  Enter take  Esc back",
        (Mode::Detail(..), _) => "Tab next page  Up Down scroll  k signal  e nice  a CPUs  Esc back",
        (Mode::Short(_), _) => "Up Down scroll  Esc back",
        (Mode::Pools(_) | Mode::Runs(_), _) => "Up Down scroll  p hold  Esc back",
        (Mode::Help, _) => "Esc back",
        (Mode::List, _) => "h help  / search  f filter  t tree  s sort  Enter more  k signal  q leave",
    };
    let filter = if top.filter.is_empty() { String::new() } else { format!("[{}]  ", top.filter) };
    let x = page.put(0, y, &filter, page.theme.busy);
    let x = page.put(x, y, text, page.theme.dim);
    if !top.note.is_empty() {
        page.put(x, y, &format!("  {}", top.note), page.theme.dim);
    }
}

fn over(top: &Top) -> Rect {
    let y = head_height(top);
    Rect::new(0, y, top.size.0, top.size.1 - y - 1)
}

fn help(top: &Top, page: &mut Page<'_>) {
    let area = Rect::new(0, 0, top.size.0, top.size.1 - 1);
    page.frame(area, "doula top");
    let shown = usize::from(area.height.saturating_sub(2));
    let skip = HELP.len().saturating_sub(shown).min(2);
    for (at, (keys, what)) in HELP.iter().take(HELP.len() - skip).enumerate().take(shown) {
        let y = area.y + 1 + at as u16;
        let room = area.width.saturating_sub(4);
        let x = page.put_within(2, y, (keys, room), page.theme.name);
        let x = if keys.is_empty() { 2 } else { x.max(22) + 1 };
        page.put_within(x, y, (what, (area.width - 1).saturating_sub(x)), page.theme.plain);
    }
}

fn short(top: &Top, first: usize, page: &mut Page<'_>) {
    let area = over(top);
    page.frame(area, "born and ended between two looks, the last first");
    let rows = usize::from(area.height.saturating_sub(2));
    let lines = top.short.as_ref().map_or_else(Vec::new, super::short::Short::lines);
    for (at, line) in lines.iter().skip(first).take(rows).enumerate() {
        page.put_within(2, area.y + 1 + at as u16, (line, area.width.saturating_sub(4)), page.theme.plain);
    }
}

/// All of the screen but its first line and its last: a large pool needs the room.
fn lines(top: &Top, (name, first): (&str, usize), page: &mut Page<'_>) {
    let area = Rect::new(0, 1, top.size.0, top.size.1 - 2);
    page.frame(area, name);
    let inside = area.width.saturating_sub(4);
    let rows = usize::from(area.height.saturating_sub(2));
    let lines = top.page_lines(&top.mode, usize::from(inside));
    for (at, line) in lines.iter().skip(first).take(rows).enumerate() {
        let mut x = 2;
        for (piece, style) in line {
            let room = (area.width - 2).saturating_sub(x);
            x = page.put_within(x, area.y + 1 + at as u16, (piece, room), page.theme.of(*style));
        }
    }
}

fn detail(top: &Top, page: &mut Page<'_>) {
    let Mode::Detail(of, shown, first, known) = &top.mode else { return };
    let list = top.list_top() + top.page() as u16;
    let area =
        if top.size.1 >= TALL { Rect::new(0, list, top.size.0, top.size.1 - list - 1) } else { over(top) };
    page.frame(area, &top.name(*of));
    let mut x = 2;
    for (tab, name) in Tab::ALL {
        let style = if tab == *shown { page.theme.chosen } else { page.theme.name };
        x = page.put_within(x, area.y + 1, (&format!(" {name} "), area.width.saturating_sub(x + 2)), style)
            + 1;
    }
    if *shown == Tab::State && x + 12 < area.width {
        let room = usize::from(area.width - x - 3);
        page.put(x + 1, area.y + 1, &curve(&top.own, room, 100.0), page.theme.good);
    }
    let rows = usize::from(area.height.saturating_sub(3));
    let lines: &[String] = known.as_ref().map_or(&[], |detail| &detail.lines);
    for (at, line) in lines.iter().skip(*first).take(rows).enumerate() {
        page.put_within(2, area.y + 2 + at as u16, (line, area.width.saturating_sub(4)), page.theme.plain);
    }
    if known.is_none() {
        page.put_within(2, area.y + 2, ("asking …", area.width.saturating_sub(4)), page.theme.dim);
    }
}
