//! Commands: lists of words, strings split into words, strings for a shell; and hooks, which have a time limit.

use super::keys::Section;
use super::service::Texts;
use super::value;
use super::view::{Item, View};

/// The words of a command, with variables filled in.
///
/// A string is split first and filled in afterwards, so that a value with spaces stays one word. What the
/// shell will run is left to the shell.
pub(crate) fn read(item: &Item<'_>, shell: bool, texts: &Texts<'_>) -> Vec<String> {
    if let Some(list) = item.get_ref().as_array() {
        return list.iter().map(|word| texts.of(word)).collect();
    }
    let Some(line) = item.get_ref().as_str() else { return Vec::new() };
    if shell {
        return vec!["/bin/sh".to_owned(), "-c".to_owned(), line.to_owned()];
    }
    match value::words(line) {
        Ok(words) => words.iter().map(|word| texts.part(word, item)).collect(),
        Err(complaint) => {
            texts.note(item, complaint);
            Vec::new()
        }
    }
}

/// The command of a hook, written alone or with a time limit.
pub(crate) fn hook<'a>(service: &View<'a>, name: &str, section: &'static Section) -> Option<&'a Item<'a>> {
    match service.table(name, section) {
        Some(table) => table.item("command"),
        None => service.item(name),
    }
}
