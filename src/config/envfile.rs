//! Environment files: `NAME=value` lines, as docker, foreman and systemd read them.
//!
//! Understood: comments, blank lines, `export`, single quotes (literal), double quotes (with `\n`, `\"`,
//! `\\`, `\$`), and a comment after a value (` #`). Deliberately absent: values over several lines, and
//! expansion of variables, which these programs do in three different ways.

use super::expand::is_name;
use super::problem::{Complaint, Report};

/// The variables of the file in its order. What is no assignment is reported.
pub(crate) fn parse(report: &Report) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    let mut start = 0;
    for line in report.text().split_inclusive('\n') {
        let trimmed = line.trim();
        if !trimmed.is_empty() && !trimmed.starts_with('#') {
            match assignment(trimmed) {
                Ok(variable) => variables.push(variable),
                Err(complaint) => {
                    let indent = start + line.len() - line.trim_start().len();
                    report.note(&(indent..indent + trimmed.len()), complaint);
                }
            }
        }
        start += line.len();
    }
    variables
}

fn assignment(line: &str) -> Result<(String, String), Complaint> {
    let line = line.strip_prefix("export ").map_or(line, str::trim_start);
    let wrong = |label: &str| {
        Complaint::new("this line of the environment file is no assignment", label).help("write NAME=value")
    };
    let (name, value) = line.split_once('=').ok_or_else(|| wrong("no `=`"))?;
    let name = name.trim_end();
    if !is_name(name) {
        return Err(wrong("not a name of a variable before the `=`"));
    }
    let value = unquote(value.trim()).ok_or_else(|| wrong("a quote is never closed"))?;
    if value.contains('\0') {
        return Err(wrong("a NUL byte"));
    }
    Ok((name.to_owned(), value))
}

/// The value without its quotes; `None` if a quote is never closed.
fn unquote(value: &str) -> Option<String> {
    if let Some(inside) = value.strip_prefix('\'') {
        return inside.find('\'').map(|end| inside[..end].to_owned());
    }
    let Some(inside) = value.strip_prefix('"') else {
        return Some(value.split(" #").next().unwrap_or_default().trim_end().to_owned());
    };
    let mut text = String::new();
    let mut letters = inside.chars();
    loop {
        match letters.next()? {
            '"' => return Some(text),
            '\\' => match letters.next()? {
                'n' => text.push('\n'),
                't' => text.push('\t'),
                letter @ ('"' | '\\' | '$' | '`') => text.push(letter),
                letter => text.extend(['\\', letter]),
            },
            letter => text.push(letter),
        }
    }
}
