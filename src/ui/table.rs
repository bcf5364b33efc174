//! Aligned tables: each column as wide as its widest cell, counted in terminal columns.

use super::Style;
use super::escape::{escape, is_plain};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Blank columns between two columns of the table.
const GAP: usize = 2;

/// Blank columns before a line below a row.
const INDENT: usize = 4;

/// The last column is never cut to less than this, however narrow the terminal is.
const LAST_LEAST: usize = 16;

/// Lines are rarely longer than this, however wide one cell is.
const MOST_LIKELY: usize = 120;

/// One cell: text that is made safe for a terminal here, and what it means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    style: Style,
    right: bool,
}

impl Cell {
    /// A plain cell.
    pub(crate) fn new(text: impl AsRef<str>) -> Cell {
        Cell { text: escape(text.as_ref()), style: Style::Plain, right: false }
    }

    /// The same in a colour.
    pub(crate) fn style(mut self, style: Style) -> Cell {
        self.style = style;
        self
    }

    /// The same, aligned to the right: for numbers.
    pub(crate) fn right(mut self) -> Cell {
        self.right = true;
        self
    }

    /// Whether it has no text.
    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The text, cut to so many columns with `…` at its end if it is wider.
    pub(crate) fn cut(&self, columns: usize) -> Cow<'_, str> {
        cut(&self.text, columns)
    }
}

/// In columns of a terminal.
fn width(text: &str) -> usize {
    // Lists of ten thousand lines are nearly all of these.
    if text.is_ascii() { text.len() } else { text.width() }
}

fn cut(text: &str, columns: usize) -> Cow<'_, str> {
    if width(text) <= columns {
        return Cow::Borrowed(text);
    }
    let mut kept = String::new();
    let mut used = 1;
    for character in text.chars() {
        used += character.width().unwrap_or(0);
        if used > columns {
            break;
        }
        kept.push(character);
    }
    kept.push('…');
    Cow::Owned(kept)
}

/// A cell in its table: how long its text is, which begins at the end of the one before. Lists have many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Placed {
    bytes: u32,
    width: u32,
    style: Style,
    right: bool,
}

/// Rows under a heading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    /// The texts of all cells, row by row, the heads first. Lists can have tens of thousands.
    text: String,
    cells: Vec<Placed>,
    /// For each row, where its cells end.
    rows: Vec<usize>,
    /// What stands below a row, by its number.
    below: BTreeMap<usize, Cell>,
    /// The first column is cut to this.
    first_most: Option<usize>,
}

impl Table {
    /// A table with these column heads.
    pub(crate) fn new(heads: &[&str]) -> Table {
        let mut table = Table::default();
        heads.iter().for_each(|head| table.cell(head, Style::Head, false));
        table.end_row();
        table
    }

    /// Cuts names in the first column that are wider than this.
    pub(crate) fn first_most(mut self, columns: Option<usize>) -> Table {
        self.first_most = columns;
        self
    }

    /// Puts a line below the last row, indented.
    pub(crate) fn below(&mut self, cell: Cell) {
        self.below.insert(self.rows.len() - 1, cell);
    }

    /// Adds a row; missing cells are empty.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        for cell in cells {
            self.cell(&cell.text, cell.style, cell.right);
        }
        self.end_row();
    }

    /// Adds a cell to the row that is being written.
    fn cell(&mut self, text: &str, style: Style, right: bool) {
        self.write_cell(style, right, |all| all.push_str(text));
    }

    /// Adds a cell whose text is written at the end of all: many, without a text of its own for each.
    pub(crate) fn write_cell(&mut self, style: Style, right: bool, write: impl FnOnce(&mut String)) {
        let begin = self.text.len();
        write(&mut self.text);
        let mut wide = self.text.len() - begin;
        if !is_plain(&self.text[begin..]) {
            let safe = escape(&self.text[begin..]);
            self.text.replace_range(begin.., &safe);
            wide = width(&self.text[begin..]);
        }
        let bytes = (self.text.len() - begin) as u32;
        self.cells.push(Placed { bytes, width: wide as u32, style, right });
    }

    /// Ends the row that is being written.
    pub(crate) fn end_row(&mut self) {
        let begin = self.rows.last().copied().unwrap_or(0);
        self.rows.push(self.cells.len());
        debug_assert!(self.cells.len() - begin <= self.rows[0], "a cell without a column head");
        let (before, cells) = self.cells.split_at_mut(begin);
        before.iter_mut().zip(cells).for_each(|(head, cell)| head.right |= cell.right);
    }

    /// The lines, each with its newline and without blanks at its end. The last column is never padded, so
    /// that a long text does not make every line long; it is cut so that lines fit into `columns`.
    pub(crate) fn render(&self, color: bool, columns: Option<usize>) -> String {
        let mut widths = self.widths();
        if let (Some(columns), Some((last, others))) = (columns, widths.split_last_mut()) {
            let before: usize = others.iter().map(|width| width + GAP).sum();
            *last = (*last).min(columns.saturating_sub(before).max(LAST_LEAST));
        }
        let line = widths.iter().map(|width| width + GAP).sum::<usize>() + 1;
        let mut text = String::with_capacity(self.rows.len() * line.min(MOST_LIKELY));
        let (mut begin, mut at) = (0, 0);
        for (number, end) in self.rows.iter().enumerate() {
            at = self.render_row(begin..*end, at, &widths, (color, &mut text));
            begin = *end;
            if !self.below.is_empty()
                && let Some(cell) = self.below.get(&number)
            {
                let most =
                    columns.map_or(usize::MAX, |columns| columns.saturating_sub(INDENT).max(LAST_LEAST));
                let (indent, cut) = (" ".repeat(INDENT), cell.cut(most));
                text.push_str(&format!("{indent}{}\n", cell.style.paint(&cut, color)));
            }
        }
        text
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths = vec![0; self.rows[0]];
        let mut begin = 0;
        for &end in &self.rows {
            for (widest, cell) in widths.iter_mut().zip(&self.cells[begin..end]) {
                *widest = cell.width.max(*widest);
            }
            begin = end;
        }
        let mut widths: Vec<usize> = widths.into_iter().map(|width| width as usize).collect();
        if let (Some(first), Some(most)) = (widths.first_mut(), self.first_most) {
            *first = most.min(*first);
        }
        widths
    }

    /// Writes a row whose texts begin here; gives where they end.
    fn render_row(
        &self,
        cells: Range<usize>,
        mut at: usize,
        widths: &[usize],
        (color, line): (bool, &mut String),
    ) -> usize {
        let mut blanks = 0;
        for (cell, &wide) in self.cells[cells].iter().zip(widths) {
            let end = at + cell.bytes as usize;
            let text = &self.text[at..end];
            at = end;
            let pad = wide.saturating_sub(cell.width as usize);
            let (before, after) = if cell.right { (pad, 0) } else { (0, pad) };
            blanks += before;
            if !text.is_empty() {
                indent(line, blanks);
                let text = if cell.width as usize > wide { cut(text, wide) } else { Cow::Borrowed(text) };
                if color {
                    line.push_str(&cell.style.paint(&text, true));
                } else {
                    line.push_str(&text);
                }
                blanks = 0;
            }
            blanks += after + GAP;
        }
        line.push('\n');
        at
    }
}

fn indent(line: &mut String, mut blanks: usize) {
    const BLANKS: &str = "                                ";
    while blanks > 0 {
        let some = blanks.min(BLANKS.len());
        line.push_str(&BLANKS[..some]);
        blanks -= some;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_what_a_terminal_shows() {
        let mut table = Table::new(&["SERVICE", "PID", "WHY"]);
        table.row(vec![Cell::new("웹"), Cell::new("7").right(), Cell::new("needed by x")]);
        table.row(vec![Cell::new("a\x1bb"), Cell::new("1234").right()]);
        let text = table.render(false, None);
        assert_eq!(text, "SERVICE   PID  WHY\n웹          7  needed by x\na\\x1bb   1234\n");
    }

    #[test]
    fn colour_does_not_change_the_alignment() {
        let mut table = Table::new(&["A", "B"]);
        table.row(vec![Cell::new("up").style(Style::Good), Cell::new("x")]);
        assert_eq!(table.render(true, None), "\x1b[1mA\x1b[0m   \x1b[1mB\x1b[0m\n\x1b[32mup\x1b[0m  x\n");
    }

    #[test]
    fn a_long_name_is_cut_and_a_line_below_a_row_is_indented_and_fits() {
        let mut table = Table::new(&["A", "B"]).first_most(Some(6));
        table.row(vec![Cell::new("a-long-name"), Cell::new("7").right()]);
        table.below(Cell::new("because the other one is not there"));
        table.row(vec![Cell::new("b"), Cell::new("1234").right()]);
        let wanted = "A          B\na-lon…     7\n    because the oth…\nb       1234\n";
        assert_eq!(table.render(false, Some(20)), wanted);
    }

    #[test]
    fn the_last_column_is_cut_to_the_width_of_the_terminal() {
        let mut table = Table::new(&["A", "B"]);
        table.row(vec![Cell::new("x"), Cell::new("a text that is 웹 too long")]);
        assert_eq!(table.render(false, Some(20)), "A  B\nx  a text that is …\n");
    }
}
