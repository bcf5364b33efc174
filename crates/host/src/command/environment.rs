//! The environment of a child: ours or none, and what is changed in it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

/// What is kept of our environment, and the changes in the order in which they were asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Environment {
    cleared: bool,
    changes: Vec<(OsString, Option<OsString>)>,
}

impl Environment {
    pub(super) fn set(&mut self, name: &OsStr, value: &OsStr) {
        self.changes.push((name.to_owned(), Some(value.to_owned())));
    }

    pub(super) fn remove(&mut self, name: &OsStr) {
        self.changes.push((name.to_owned(), None));
    }

    pub(super) fn clear(&mut self) {
        self.cleared = true;
        self.changes.clear();
    }

    /// As execve(2) takes it: kept variables in their place, new ones behind them. A name that cannot be one is the
    /// error.
    pub(super) fn list(&self) -> Result<Vec<Vec<u8>>, String> {
        let mut all: Vec<(OsString, OsString)> =
            if self.cleared { Vec::new() } else { std::env::vars_os().collect() };
        for (name, value) in &self.changes {
            let at = all.iter().position(|(known, _)| known == name);
            match (at, value) {
                (Some(at), Some(value)) => all[at].1.clone_from(value),
                (Some(at), None) => drop(all.remove(at)),
                (None, Some(value)) => {
                    if name.is_empty() || name.as_bytes().contains(&b'=') {
                        return Err(name.to_string_lossy().into_owned());
                    }
                    all.push((name.clone(), value.clone()));
                }
                (None, None) => {}
            }
        }
        Ok(all.into_iter().map(entry).collect())
    }
}

fn entry((name, value): (OsString, OsString)) -> Vec<u8> {
    let mut entry = name.into_vec();
    entry.push(b'=');
    entry.extend_from_slice(value.as_bytes());
    entry
}
