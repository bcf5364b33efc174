//! A doula.toml in the making: services with their keys, and a remark on each thing that has no equal.

use crate::config;
use std::collections::BTreeSet;
use toml::{Table, Value};

/// A family read from elsewhere.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// The services, in the order of the files.
    pub(super) services: Vec<Service>,
    /// Remarks about the whole.
    pub(super) notes: Vec<String>,
    /// Variables of every service.
    pub(super) env: Table,
}

/// A service read from elsewhere.
#[derive(Debug)]
pub(super) struct Service {
    /// Its name, as doula accepts it.
    pub(super) name: String,
    /// Remarks, shown above it.
    pub(super) notes: Vec<String>,
    keys: Vec<(&'static str, Value)>,
}

impl Service {
    /// A service without keys; its name is made acceptable.
    pub(super) fn new(name: &str) -> Service {
        let usable = |letter: char| {
            if letter.is_ascii_alphanumeric() || "_.-".contains(letter) { letter } else { '-' }
        };
        let mut fitting: String = name.chars().map(usable).collect();
        fitting = fitting.trim_start_matches(['.', '-']).to_owned();
        fitting.truncate(config::MAX_NAME);
        if fitting.is_empty() || fitting.bytes().all(|byte| byte.is_ascii_digit()) {
            fitting = format!("service-{fitting}").trim_end_matches('-').to_owned();
        }
        let mut service = Service { name: fitting, notes: Vec::new(), keys: Vec::new() };
        if service.name != name {
            service.note(format!("was called `{name}`"));
        }
        service
    }

    /// Adds a remark.
    pub(super) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Remarks on something that has no equal.
    pub(super) fn lost(&mut self, what: &str, value: &str, why: &str) {
        self.note(format!("not carried over: {what}={value} ({why})"));
    }

    /// Sets a key; the last value holds.
    pub(super) fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        self.keys.retain(|(known, _)| *known != key);
        self.keys.push((key, value.into()));
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.keys.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    /// The table under a key, made if need be.
    pub(super) fn table(&mut self, key: &'static str) -> &mut Table {
        if !self.get(key).is_some_and(Value::is_table) {
            self.set(key, Table::new());
        }
        let found = self.keys.iter_mut().find(|(known, _)| *known == key);
        found.and_then(|(_, value)| value.as_table_mut()).expect("the key was just set to a table")
    }

    /// Forgets keys whose list is empty.
    pub(super) fn drop_empty_lists(&mut self) {
        self.keys.retain(|(_, value)| value.as_array().is_none_or(|list| !list.is_empty()));
    }

    /// Adds a word to the list under a key.
    pub(super) fn push(&mut self, key: &'static str, word: impl Into<Value>) {
        let mut list = self.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        list.push(word.into());
        self.set(key, list);
    }
}

impl Draft {
    /// The text of the doula.toml.
    pub(super) fn text(mut self, sources: &[String]) -> String {
        self.unique_names();
        let mut text = "#:schema doula.schema.json\n".to_owned();
        comment(&mut text, &format!("Written by `doula import {}`.", sources.join(" ")));
        for note in &self.notes {
            comment(&mut text, note);
        }
        if !self.env.is_empty() {
            text.push_str("\n[env]\n");
            for (name, value) in &self.env {
                text.push_str(&format!("{} = {value}\n", key(name)));
            }
        }
        for service in &self.services {
            text.push('\n');
            for note in &service.notes {
                comment(&mut text, note);
            }
            text.push_str(&format!("[service.{}]\n", key(&service.name)));
            for (name, value) in &service.keys {
                text.push_str(&format!("{name} = {value}\n"));
            }
        }
        text
    }

    fn unique_names(&mut self) {
        let mut seen = BTreeSet::new();
        for service in &mut self.services {
            let name = service.name.clone();
            let mut number = 2;
            while !seen.insert(service.name.clone()) {
                service.name = format!("{name}-{number}");
                number += 1;
            }
            if service.name != name {
                service.note(format!("there is more than one `{name}`"));
            }
        }
    }
}

fn comment(text: &mut String, note: &str) {
    for line in note.lines() {
        let shown: String =
            line.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
        text.push_str(format!("# {shown}").trim_end());
        text.push('\n');
    }
}

/// A key as TOML writes it: bare, or between quotes.
fn key(name: &str) -> String {
    let bare =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if bare { name.to_owned() } else { Value::from(name).to_string() }
}

/// A list of strings.
pub(super) fn list(words: impl IntoIterator<Item = impl Into<String>>) -> Value {
    Value::Array(words.into_iter().map(|word| Value::String(word.into())).collect())
}

/// A text in which no `$` means a variable.
pub(super) fn literal(text: &str) -> String {
    let mut result = String::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        result.push(letter);
        if letter == '$' && matches!(letters.peek(), Some('$' | '{')) {
            result.push('$');
        }
    }
    result
}

/// A text in which `$VAR` and `${VAR}` are variables that may be unset, as systemd, compose and shells have it.
pub(super) fn variables(text: &str) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        result.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            result.push_str("$$");
            rest = after;
        } else if let Some((name, default, after)) = braced(rest).or_else(|| bare(rest)) {
            result.push_str(&format!("${{{name}:-{default}}}"));
            rest = after;
        } else {
            result.push_str(if rest.starts_with('{') { "$$" } else { "$" });
        }
    }
    result.push_str(rest);
    result
}

/// `{VAR}`, `{VAR-default}`, `{VAR:-default}` and what follows.
fn braced(text: &str) -> Option<(&str, &str, &str)> {
    let (inside, after) = text.strip_prefix('{')?.split_once('}')?;
    let end =
        inside.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(inside.len());
    let (name, operator) = inside.split_at(end);
    let default = operator.strip_prefix(":-").or_else(|| operator.strip_prefix('-'));
    let known = operator.is_empty() || operator.starts_with(['?', ':']) || default.is_some();
    (config::is_variable(name) && known).then_some((name, default.unwrap_or_default(), after))
}

/// `VAR` and what follows.
fn bare(text: &str) -> Option<(&str, &str, &str)> {
    let end =
        text.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(text.len());
    config::is_variable(&text[..end]).then_some((&text[..end], "", &text[end..]))
}

/// Seconds, if the text is a bare number; else the text, if doula reads it; `None` for what it does not.
pub(super) fn duration(text: &str) -> Option<String> {
    let text = text.trim();
    let with_unit = if text.parse::<f64>().is_ok() { format!("{text}s") } else { text.to_owned() };
    config::is_duration(&with_unit).then_some(with_unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_variables_become_ours() {
        let cases = [
            ("a $B c", "a ${B:-} c"),
            ("${B}", "${B:-}"),
            ("${B:-x}${B-y}", "${B:-x}${B:-y}"),
            ("${B:?must be set}", "${B:-}"),
            ("$$x $1 $", "$$x $1 $"),
            ("${B%.*}", "$${B%.*}"),
        ];
        for (text, expected) in cases {
            assert_eq!(variables(text), expected, "{text}");
        }
        assert_eq!(literal("$$ ${A} $A $"), "$$$ $${A} $A $");
    }

    #[test]
    fn durations_without_a_unit_are_seconds() {
        for (text, expected) in
            [("5", Some("5s")), ("1min 30s", Some("1min 30s")), ("infinity", None), ("", None)]
        {
            assert_eq!(duration(text).as_deref(), expected, "{text}");
        }
    }
}
