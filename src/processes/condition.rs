//! Conditions on columns: `state=D,Z`, `rss>100M`, `age<5m`, `name~^kworker`.

use super::columns::{Column, LETTERS};
use super::value::{Value, printable};
use super::{COLUMNS, Context, in_short};
use crate::config;
use doula_host::procfs::Want;
use doula_model::process::Process;
use doula_model::signal::Signal;
use regex::Regex;
use std::cmp::Ordering;

/// What a column must be.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    column: &'static Column,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    /// One of these, or none of them.
    Equal(Vec<String>, bool),
    /// Such an order to this.
    Order(fn(Ordering) -> bool, String),
    /// Such a text, or not such a one.
    Match(Regex, bool),
}

/// The longest first, so that `>=` is not taken for `>`.
const OPERATORS: [&str; 8] = ["!=", "!~", ">=", "<=", "=", "~", ">", "<"];

impl Condition {
    /// Reads one.
    pub(crate) fn parse(text: &str) -> Result<Condition, String> {
        let end = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let column = Column::find(name).ok_or_else(|| unknown_column(name))?;
        let operator = OPERATORS.iter().find(|operator| rest.starts_with(**operator)).ok_or_else(|| {
            format!("`{name}` is followed by none of = != < <= > >= ~ !~, as in `{name}={{value}}`")
        })?;
        let value = rest[operator.len()..].trim();
        let order = |test| Test::Order(test, value.to_owned());
        let test = match *operator {
            "~" | "!~" => Test::Match(
                Regex::new(value)
                    .map_err(|error| format!("`{value}` is no regular expression: {}", in_short(&error)))?,
                *operator == "~",
            ),
            "=" | "!=" => Test::Equal(value.split(',').map(str::to_owned).collect(), *operator == "="),
            ">" => order(Ordering::is_gt),
            ">=" => order(Ordering::is_ge),
            "<" => order(Ordering::is_lt),
            _ => order(Ordering::is_le),
        };
        let condition = Condition { column, test };
        condition.check()?;
        Ok(condition)
    }

    /// A condition whose value is nothing that the column could be is a mistake.
    fn check(&self) -> Result<(), String> {
        match &self.test {
            Test::Order(_, value) => is_amount(value),
            Test::Equal(values, _) => values.iter().try_for_each(|value| can_be(self.column.name, value)),
            Test::Match(..) => Ok(()),
        }
    }

    /// Asks for what it needs.
    pub(crate) fn want(&self, want: &mut Want) {
        self.column.want(want);
    }

    /// Whether a process is so. What is not known is nothing.
    pub(crate) fn holds(&self, process: &Process, context: &Context) -> bool {
        let value = self.column.value(process, context);
        match &self.test {
            Test::Equal(wanted, yes) => wanted.iter().any(|wanted| is(&value, wanted)) == *yes,
            Test::Order(test, limit) => compare(&value, limit).is_some_and(test),
            Test::Match(pattern, yes) => {
                let text = if value.is_unknown() { String::new() } else { value.show() };
                pattern.is_match(&text) == *yes
            }
        }
    }
}

fn is_amount(value: &str) -> Result<(), String> {
    let readable =
        value.parse::<f64>().is_ok() || config::size(value).is_ok() || config::duration(value).is_ok();
    if readable { Ok(()) } else { Err(format!("`{value}` is no number, size or time")) }
}

/// Whether there is such a value of this column, so that a slip does not look as if nobody were so.
fn can_be(column: &str, value: &str) -> Result<(), String> {
    /// Columns whose values are any text.
    const TEXTS: [&str; 14] = [
        "name",
        "args",
        "exit",
        "tty",
        "wchan",
        "cgroup",
        "container",
        "nspid",
        "policy",
        "start",
        "switches",
        "caps",
        "flags",
        "cpu",
    ];
    if matches!(value, "" | "-" | "locked") || TEXTS.contains(&column) {
        return Ok(());
    }
    let is_number = value.parse::<u32>().is_ok();
    match column {
        "state" if value.len() == 1 && LETTERS.contains(value) => Ok(()),
        "state" => Err(format!(
            "`{value}` is no state; states are R, S, D, T, t, Z, I, X and P (`doula ps -o help`)"
        )),
        "pending" | "blocked" | "ignored" | "caught" => value
            .parse::<Signal>()
            .map(drop)
            .map_err(|error| format!("{error}: write it as TERM, SIGHUP, 9 or RTMIN+1")),
        "user" | "ruser" if !is_number && uzers::get_user_by_name(value).is_none() => {
            Err(format!("there is no user `{value}` on this machine; a number may be written too"))
        }
        "group" if !is_number && uzers::get_group_by_name(value).is_none() => {
            Err(format!("there is no group `{value}` on this machine; a number may be written too"))
        }
        "user" | "ruser" | "group" => Ok(()),
        _ => is_amount(value),
    }
}

/// Whether a value is what people wrote.
fn is(value: &Value<'_>, wanted: &str) -> bool {
    match value {
        Value::None | Value::Denied => wanted.is_empty() || wanted == "-",
        Value::Locked => wanted == "locked",
        Value::Signals(signals) => wanted.parse::<Signal>().is_ok_and(|signal| signals.contains(signal)),
        Value::Text(text) => printable(text) == wanted,
        Value::Bits(_) | Value::Words(_) | Value::Moment(_) => value.show() == wanted,
        Value::Number(_) | Value::Bytes(_) | Value::Span(_) | Value::Percent(_) => {
            compare(value, wanted) == Some(Ordering::Equal)
        }
    }
}

/// How a value stands to a limit in words; nothing for what cannot be compared.
fn compare(value: &Value<'_>, limit: &str) -> Option<Ordering> {
    match value {
        Value::Number(number) => limit.parse().ok().and_then(|limit| (*number as f64).partial_cmp(&limit)),
        Value::Percent(percent) => limit.parse().ok().and_then(|limit| percent.partial_cmp(&limit)),
        Value::Bytes(bytes) => config::size(limit).ok().map(|limit| bytes.cmp(&(limit as u64))),
        Value::Span(span) => config::duration(limit).ok().map(|limit| span.cmp(&limit)),
        Value::Text(text) => Some(printable(text).as_str().cmp(limit)),
        Value::None
        | Value::Denied
        | Value::Locked
        | Value::Moment(_)
        | Value::Bits(_)
        | Value::Words(_)
        | Value::Signals(_) => None,
    }
}

/// What is said of a column that does not exist.
pub(crate) fn unknown_column(name: &str) -> String {
    let hint = config::did_you_mean(name, COLUMNS.iter().map(|column| column.name));
    let hint = hint.map_or_else(String::new, |hint| format!(" ({hint})"));
    format!("there is no column `{name}`{hint}; `doula ps -o help` lists all")
}
