//! Holds a parsed TOML table against the table of keys: unknown keys, wrong types, values that mean nothing.
//!
//! Everything is looked at, and every problem is noted. What is read afterwards ([`super::view`]) can rely on
//! it: whatever does not parse there was reported here. Deliberately absent: rules over several services.

use super::keys::{Key, Kind, NOT_IN_DEFAULTS, SERVICE, Section};
use super::problem::{Complaint, Report, did_you_mean};
use super::value;
use super::view::{Item, Table, float, integer, regex};
use toml::de::DeValue;

/// Notes everything that is wrong with this table by itself.
pub(crate) fn section(section: &'static Section, table: &Table<'_>, report: &Report) {
    for (key, item) in table.iter() {
        let name: &str = key.get_ref();
        match section.keys.iter().find(|known| known.name == name) {
            Some(known) => check(&known.kind, item, report),
            None => {
                let known = section.keys.iter().map(|key| key.name);
                report.note(&key.span(), unknown(name, section, known));
            }
        }
    }
}

/// Notes a missing or a superfluous key of those of which there must be exactly one.
pub(crate) fn one_of(section: &'static Section, table: &Table<'_>, item: &Item<'_>, report: &Report) {
    let given: Vec<_> = section.one_of.iter().filter_map(|name| table.get_key_value(*name)).collect();
    match given.as_slice() {
        [] => {
            let list = section.one_of.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let which = if section.one_of.len() == 1 { "is required" } else { "must be one of" };
            let title = match which {
                "is required" => format!("{} needs the key {list}", section.what),
                _ => format!("{} needs one of the keys {list}", section.what),
            };
            report.note(&item.span(), Complaint::new(title, "missing here"));
        }
        [_] => {}
        [(first, _), rest @ ..] => {
            for (key, _) in rest {
                let title = format!(
                    "{} cannot have both `{}` and `{}`",
                    section.what,
                    first.get_ref(),
                    key.get_ref()
                );
                report.note(&key.span(), Complaint::new(title, "one of them is too much"));
            }
        }
    }
}

fn unknown<'a>(name: &str, section: &Section, known: impl Iterator<Item = &'a str>) -> Complaint {
    let known: Vec<&str> = known.collect();
    // People bring `env_file` and `envFile` from elsewhere; ours are written with a hyphen.
    let plain = name.replace('_', "-").to_ascii_lowercase();
    let help = did_you_mean(&plain, known.iter().copied());
    let complaint = Complaint::new(format!("unknown key `{name}`"), format!("not a key of {}", section.what));
    complaint.help(help.unwrap_or_else(|| format!("its keys are: {}", known.join(", "))))
}

/// Notes everything that is wrong with this value.
fn check(kind: &'static Kind, item: &Item<'_>, report: &Report) {
    if !fits(kind, item.get_ref()) {
        let is = type_name(item.get_ref());
        let title = format!("expected {}, found {is}", expected(kind));
        return report.note(&item.span(), Complaint::new(title, is).help(format!("write {}", sample(kind))));
    }
    match (kind, item.get_ref()) {
        (Kind::Either(kinds), value) => {
            if let Some(kind) = kinds.iter().find(|kind| fits(kind, value)) {
                check(kind, item, report);
            }
        }
        (Kind::Table(inner), DeValue::Table(table)) => {
            section(inner, table, report);
            if !inner.one_of.is_empty() {
                one_of(inner, table, item, report);
            }
        }
        (Kind::Defaults, DeValue::Table(table)) => defaults(table, report),
        (Kind::Map(kind), DeValue::Table(table)) => {
            table.iter().for_each(|(_, item)| check(kind, item, report));
        }
        (Kind::Env, DeValue::Table(table)) => environment(table, report),
        (Kind::List(kind), DeValue::Array(list)) => list.iter().for_each(|item| check(kind, item, report)),
        (Kind::Cpus, DeValue::Array(list)) => list.iter().for_each(|item| check(&CPU, item, report)),
        (Kind::Command, DeValue::Array(list)) => command(list, item, report),
        (_, value) => {
            if let Err(complaint) = scalar(kind, value) {
                report.note(&item.span(), complaint);
            }
        }
    }
}

static CPU: Kind = Kind::Whole(0, 8191);
static WORD: Kind = Kind::Text;

/// Notes what is wrong with the table of defaults.
fn defaults(table: &Table<'_>, report: &Report) {
    for (key, item) in table.iter() {
        let name: &str = key.get_ref();
        let known = || SERVICE.keys.iter().filter(|key| !NOT_IN_DEFAULTS.contains(&key.name));
        if let Some(known) = known().find(|known| known.name == name) {
            check(&known.kind, item, report);
        } else if NOT_IN_DEFAULTS.contains(&name) {
            let title = format!("`{name}` cannot be the same for every service");
            report.note(
                &key.span(),
                Complaint::new(title, "not a default").help("write it into each `[service.…]`"),
            );
        } else {
            report.note(&key.span(), unknown(name, &SERVICE, known().map(|key| key.name)));
        }
    }
}

fn environment(table: &Table<'_>, report: &Report) {
    for (key, item) in table.iter() {
        let name: &str = key.get_ref();
        if name.is_empty() || name.contains(['=', '\0']) {
            let title = format!("`{name}` cannot be the name of an environment variable");
            report.note(&key.span(), Complaint::new(title, "empty, or with `=`"));
        }
        match item.get_ref() {
            DeValue::String(text) if text.contains('\0') => report.note(&item.span(), nul()),
            DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) => {}
            other @ (DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_)) => {
                let title = format!("a variable cannot be {}", type_name(other));
                report.note(&item.span(), Complaint::new(title, "not a text").help("put it between quotes"));
            }
        }
    }
}

fn command(list: &[Item<'_>], item: &Item<'_>, report: &Report) {
    list.iter().for_each(|word| check(&WORD, word, report));
    let program = list.first().map(toml::Spanned::get_ref);
    if matches!(program, None | Some(DeValue::String(std::borrow::Cow::Borrowed("")))) {
        report.note(&item.span(), Complaint::new("the command is empty", "no program is named"));
    }
}

fn nul() -> Complaint {
    Complaint::new("a NUL byte cannot be part of a text", "contains a NUL byte")
}

/// What is wrong with a value that is no table and no list and has the right type.
fn scalar(kind: &Kind, value: &DeValue<'_>) -> Result<(), Complaint> {
    match (kind, value) {
        (_, DeValue::String(text)) if text.contains('\0') => Err(nul()),
        (Kind::Name, DeValue::String(text)) => value::name(text),
        (Kind::Duration, DeValue::String(text)) => value::duration(text).map(drop),
        (Kind::Size, DeValue::String(text)) => value::size(text).map(drop),
        (Kind::LimitValue, DeValue::String(text)) => value::rlimit(text).map(drop),
        (Kind::Octal, DeValue::String(text)) => value::octal(text).map(drop),
        (Kind::Signal | Kind::Outcome, DeValue::String(text)) => value::signal(text).map(drop),
        (Kind::Cpus, DeValue::String(text)) => value::cpus(text).map(drop),
        (Kind::Capability, DeValue::String(text)) => value::capability(text).map(drop),
        (Kind::CpuShare, DeValue::String(text)) => value::cpu_share(text).map(drop),
        (Kind::Schedule, DeValue::String(text)) => value::schedule(text).map(drop),
        (Kind::Regex, DeValue::String(text)) => regex(text),
        (Kind::Choice(words), DeValue::String(text)) => choice(words, text),
        (Kind::Octal, DeValue::Integer(number)) if number.radix() != 8 => {
            Err(Complaint::new(format!("`{number}` is not octal"), "a decimal number")
                .help(format!("write \"{number}\" or 0o{number}")))
        }
        (Kind::Octal, DeValue::Integer(number)) => value::octal(number.as_str()).map(drop),
        (Kind::CpuShare, DeValue::Integer(_) | DeValue::Float(_)) => {
            value::cpu_share(&float(value).unwrap_or(f64::NAN).to_string()).map(drop)
        }
        (Kind::Whole(low, high), DeValue::Integer(_)) => range(*low, *high, integer(value)),
        (Kind::Outcome, DeValue::Integer(_)) => range(0, 255, integer(value)),
        (Kind::Account, DeValue::Integer(_)) => range(0, i64::from(u32::MAX) - 1, integer(value)),
        (Kind::Size | Kind::LimitValue, DeValue::Integer(_)) => range(0, i64::MAX, integer(value)),
        (Kind::Number(low, high), _)
            if !float(value).is_some_and(|number| (*low..=*high).contains(&number)) =>
        {
            Err(Complaint::new(format!("expected a number from {low} to {high}"), "out of range"))
        }
        (Kind::False, DeValue::Boolean(true)) => {
            Err(Complaint::new("`true` means nothing here", "a number or `false`"))
        }
        _ => Ok(()),
    }
}

fn range(low: i64, high: i64, number: Option<i64>) -> Result<(), Complaint> {
    if number.is_some_and(|number| (low..=high).contains(&number)) {
        return Ok(());
    }
    Err(Complaint::new(format!("expected a whole number from {low} to {high}"), "out of range"))
}

fn choice(words: &[&str], text: &str) -> Result<(), Complaint> {
    if words.contains(&text) {
        return Ok(());
    }
    let list = words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
    let plain = text.replace('_', "-").to_ascii_lowercase();
    let help = did_you_mean(&plain, words.iter().copied());
    let complaint = Complaint::new(format!("`{text}` means nothing here"), "unknown word");
    Err(complaint.help(help.unwrap_or_else(|| format!("write one of {list}"))))
}

/// Whether a value has the TOML type of this kind.
fn fits(kind: &Kind, value: &DeValue<'_>) -> bool {
    match kind {
        Kind::Text
        | Kind::Name
        | Kind::Signal
        | Kind::Capability
        | Kind::Schedule
        | Kind::Regex
        | Kind::Choice(_) => {
            matches!(value, DeValue::String(_))
        }
        // A bare number gets the complaint that the unit is missing.
        Kind::Duration => matches!(value, DeValue::String(_)),
        Kind::Bool | Kind::False => matches!(value, DeValue::Boolean(_)),
        Kind::Whole(..) => matches!(value, DeValue::Integer(_)),
        Kind::Number(..) => matches!(value, DeValue::Integer(_) | DeValue::Float(_)),
        Kind::Size | Kind::LimitValue | Kind::Octal | Kind::Account | Kind::Outcome => {
            matches!(value, DeValue::String(_) | DeValue::Integer(_))
        }
        Kind::CpuShare => matches!(value, DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_)),
        Kind::Cpus | Kind::Command => matches!(value, DeValue::String(_) | DeValue::Array(_)),
        Kind::List(_) => matches!(value, DeValue::Array(_)),
        Kind::Table(_) | Kind::Map(_) | Kind::Env | Kind::Defaults => matches!(value, DeValue::Table(_)),
        Kind::Either(kinds) => kinds.iter().any(|kind| fits(kind, value)),
    }
}

/// What should stand there, in words.
fn expected(kind: &Kind) -> String {
    match kind {
        Kind::Text | Kind::Name | Kind::Regex => "a string".to_owned(),
        Kind::Bool => "true or false".to_owned(),
        Kind::False => "false".to_owned(),
        Kind::Whole(..) => "a whole number".to_owned(),
        Kind::Number(..) => "a number".to_owned(),
        Kind::Duration => "a duration with its unit".to_owned(),
        Kind::Size => "a size".to_owned(),
        Kind::Octal => "an octal mode".to_owned(),
        Kind::Signal => "a signal".to_owned(),
        Kind::Cpus => "a list of CPUs".to_owned(),
        Kind::Capability => "the name of a capability".to_owned(),
        Kind::CpuShare => "a share of CPU time".to_owned(),
        Kind::LimitValue => "a limit".to_owned(),
        Kind::Command => "a command".to_owned(),
        Kind::Account => "a name or a number".to_owned(),
        Kind::Schedule => "a schedule".to_owned(),
        Kind::Outcome => "an exit code or a signal".to_owned(),
        Kind::Choice(words) => {
            words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ")
        }
        Kind::List(_) => "a list".to_owned(),
        Kind::Table(section) => format!("a table ({})", section.what),
        Kind::Map(_) | Kind::Env | Kind::Defaults => "a table".to_owned(),
        Kind::Either(kinds) => kinds.iter().map(expected).collect::<Vec<_>>().join(" or "),
    }
}

/// An example of what could stand there.
fn sample(kind: &Kind) -> String {
    match kind {
        Kind::Text | Kind::Name | Kind::Regex => "text between quotes".to_owned(),
        Kind::Bool => "true".to_owned(),
        Kind::False => "false".to_owned(),
        Kind::Whole(low, high) => format!("a number from {low} to {high}, without quotes"),
        Kind::Number(low, high) => format!("a number from {low} to {high}, without quotes"),
        Kind::Duration => "\"10s\", \"1m30s\" or \"500ms\"".to_owned(),
        Kind::Size => "\"512M\"".to_owned(),
        Kind::Octal => "\"022\"".to_owned(),
        Kind::Signal => "\"TERM\"".to_owned(),
        Kind::Cpus => "\"0-3,8\" or [0, 1]".to_owned(),
        Kind::Capability => "\"NET_BIND_SERVICE\"".to_owned(),
        Kind::CpuShare => "\"150%\" or 1.5".to_owned(),
        Kind::LimitValue => "4096, \"64M\" or \"unlimited\"".to_owned(),
        Kind::Command => "[\"program\", \"argument\"]".to_owned(),
        Kind::Account => "\"www-data\" or 33".to_owned(),
        Kind::Schedule => "\"0 3 * * * UTC\"".to_owned(),
        Kind::Outcome => "2 or \"HUP\"".to_owned(),
        Kind::Choice(words) => words.first().map(|word| format!("\"{word}\"")).unwrap_or_default(),
        Kind::List(inner) => format!("[{}]", sample(inner)),
        Kind::Table(section) => {
            let first =
                section.one_of.iter().find_map(|name| section.keys.iter().find(|key| key.name == *name));
            let first: Option<&Key> = first.or(section.keys.first());
            first.map(|key| format!("{{ {} = {} }}", key.name, key.example)).unwrap_or_default()
        }
        Kind::Map(_) | Kind::Defaults => "a table: { … }".to_owned(),
        Kind::Env => "{ NAME = \"value\" }".to_owned(),
        Kind::Either(kinds) => kinds.iter().map(sample).collect::<Vec<_>>().join(", or "),
    }
}

/// The type of a value, for people.
fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
