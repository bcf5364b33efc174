//! Aligned tables: each column as wide as its widest cell, counted in terminal columns.

use super::{Style, escape};
use std::borrow::Cow;
use std::collections::BTreeMap;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Blank columns between two columns of the table.
const GAP: usize = 2;

/// Blank columns before a line below a row.
const INDENT: usize = 4;

/// The last column is never cut to less than this, however narrow the terminal is.
const LAST_LEAST: usize = 16;

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

    fn width(&self) -> usize {
        // Lists of ten thousand lines are nearly all of these.
        if self.text.is_ascii() { self.text.len() } else { self.text.width() }
    }

    /// The text, cut to so many columns with `…` at its end if it is wider.
    pub(crate) fn cut(&self, columns: usize) -> Cow<'_, str> {
        if self.width() <= columns {
            return Cow::Borrowed(&self.text);
        }
        let mut kept = String::new();
        let mut used = 1;
        for character in self.text.chars() {
            used += character.width().unwrap_or(0);
            if used > columns {
                break;
            }
            kept.push(character);
        }
        kept.push('…');
        Cow::Owned(kept)
    }
}

/// Rows under a heading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    rows: Vec<Vec<Cell>>,
    /// What stands below a row, by its number.
    below: BTreeMap<usize, Cell>,
    /// The first column is cut to this.
    first_most: Option<usize>,
}

impl Table {
    /// A table with these column heads.
    pub(crate) fn new(heads: &[&str]) -> Table {
        let heads = heads.iter().map(|head| Cell::new(head).style(Style::Head)).collect();
        Table { rows: vec![heads], ..Table::default() }
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
    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        debug_assert!(cells.len() <= self.rows[0].len(), "a cell without a column head");
        for (head, cell) in self.rows[0].iter_mut().zip(&cells) {
            head.right |= cell.right;
        }
        self.rows.push(cells);
    }

    /// The lines, each with its newline and without blanks at its end. The last column is never padded, so
    /// that a long text does not make every line long; it is cut so that lines fit into `columns`.
    pub(crate) fn render(&self, color: bool, columns: Option<usize>) -> String {
        let mut widths = self.widths();
        if let (Some(columns), Some((last, others))) = (columns, widths.split_last_mut()) {
            let before: usize = others.iter().map(|width| width + GAP).sum();
            *last = (*last).min(columns.saturating_sub(before).max(LAST_LEAST));
        }
        let mut text = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            text.push_str(&render_row(row, &widths, color));
            if let Some(cell) = self.below.get(&number) {
                let most =
                    columns.map_or(usize::MAX, |columns| columns.saturating_sub(INDENT).max(LAST_LEAST));
                let (indent, cut) = (" ".repeat(INDENT), cell.cut(most));
                text.push_str(&format!("{indent}{}\n", cell.style.paint(&cut, color)));
            }
        }
        text
    }

    fn widths(&self) -> Vec<usize> {
        let widest =
            |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(Cell::width).max();
        let most = |column: usize| if column == 0 { self.first_most } else { None };
        let width = |column| widest(column).unwrap_or(0).min(most(column).unwrap_or(usize::MAX));
        (0..self.rows[0].len()).map(width).collect()
    }
}

fn render_row(row: &[Cell], widths: &[usize], color: bool) -> String {
    let mut line = String::new();
    let mut blanks = 0;
    for (cell, width) in row.iter().zip(widths) {
        let pad = width.saturating_sub(cell.width());
        let (before, after) = if cell.right { (pad, 0) } else { (0, pad) };
        blanks += before;
        if !cell.text.is_empty() {
            line.extend(std::iter::repeat_n(' ', blanks));
            let text = cell.cut(*width);
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
    line
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
