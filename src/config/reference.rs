//! The reference of all keys, `docs/configuration.md`, written out of the one table of keys and held to it.

use super::keys::{FILE, Kind, SERVICE, Section};
use super::pool_keys::{NOT_IN_POOLS, OWN, POOL};
use std::fmt::Write;

const HEAD: &str = "\
# doula.toml

The reference of every key. It is written from the table that also drives what is accepted and the JSON schema
(`doula check --schema`); a test holds it (`UPDATE_GOLDEN=1 cargo test -p doula the_reference` writes it anew).

A command is a list of words, or a string that is split into words as a shell would, without a shell. Durations
have a unit (`500ms`, `10s`, `1m30s`), sizes may have one (`512M`, `1GiB`). `${NAME}` and `${NAME:-default}` in
values are replaced by the service's environment. `doula check` tells every problem of a file at once.

A `Procfile` is read as it is: each line is a service, run by `/bin/sh -c`, with `.env` beside it and `PORT` as foreman
counts it; the end of any of them ends the family.

```toml
";

/// The whole page. `example` is a complete file to begin with.
fn text(example: &str) -> String {
    let mut page = format!("{HEAD}{}\n```\n", example.trim_end());
    let mut sections: Vec<&'static Section> = Vec::new();
    collect(&FILE, &mut sections);
    collect(&SERVICE, &mut sections);
    collect(&POOL, &mut sections);
    // The file names pools before what services have: they are read better after it.
    sections.sort_by_key(|section| {
        std::ptr::eq(*section, &POOL) || std::ptr::eq(*section, &super::pool_keys::POLICY)
    });
    for section in sections {
        write_section(section, &mut page);
    }
    page
}

/// The section and those below it, each once, in the order of the file.
fn collect(section: &'static Section, into: &mut Vec<&'static Section>) {
    if into.iter().any(|known| std::ptr::eq(*known, section)) {
        return;
    }
    into.push(section);
    for key in section.keys {
        below(&key.kind, into);
    }
}

fn below(kind: &'static Kind, into: &mut Vec<&'static Section>) {
    match kind {
        Kind::Table(section) => collect(section, into),
        Kind::List(inner) | Kind::Map(inner) => below(inner, into),
        Kind::Either(kinds) => kinds.iter().for_each(|kind| below(kind, into)),
        Kind::Text
        | Kind::Name
        | Kind::Bool
        | Kind::Whole(..)
        | Kind::Number(..)
        | Kind::Duration
        | Kind::Size
        | Kind::Octal
        | Kind::Signal
        | Kind::Cpus
        | Kind::Capability
        | Kind::CpuShare
        | Kind::LimitValue
        | Kind::Command
        | Kind::Account
        | Kind::Schedule
        | Kind::Regex
        | Kind::Outcome
        | Kind::Choice(_)
        | Kind::False
        | Kind::Env
        | Kind::Defaults => {}
    }
}

fn write_section(section: &Section, page: &mut String) {
    let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
    let _ = write!(
        page,
        "\n## Keys of {}\n\n| key | what it means | default | example |\n|---|---|---|---|\n",
        section.what
    );
    let of_pool = std::ptr::eq(section, &POOL);
    for key in if of_pool { OWN } else { section.keys } {
        let mut words = String::new();
        if let Kind::Choice(choice) = key.kind {
            words = format!(" One of `{}`.", choice.join("`, `"));
        }
        let (doc, default, example) = (cell(key.doc), cell(key.default), cell(key.example));
        let _ = writeln!(page, "| `{}` | {doc}{words} | {default} | `{example}` |", key.name);
    }
    if of_pool {
        let left_out = NOT_IN_POOLS.join("`, `");
        let _ = write!(
            page,
            "\nAnd every key of a service but `{left_out}`. `restart` is `always` and has no limit if it says nothing.\n"
        );
    } else if !section.one_of.is_empty() {
        let _ = write!(page, "\nExactly one of `{}` must be there.\n", section.one_of.join("`, `"));
    }
}

#[test]
fn the_reference_says_what_the_table_of_keys_says() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let example = std::fs::read_to_string(root.join("examples/shop.toml")).expect("the example");
    let (page, path) = (text(&example), root.join("docs/configuration.md"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &page).expect("to write the page");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/configuration.md is old: UPDATE_GOLDEN=1 cargo test -p doula the_reference"
    );
}
