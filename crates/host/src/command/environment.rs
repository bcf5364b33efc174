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
        let all = if self.cleared { Vec::new() } else { std::env::vars_os().collect() };
        self.changed(all)
    }

    fn changed(&self, mut all: Vec<(OsString, OsString)>) -> Result<Vec<Vec<u8>>, String> {
        for (name, value) in &self.changes {
            let at = all.iter().position(|(known, _)| known == name);
            match (at, value) {
                // Whoever started us may have named it twice, and some programs take the one, some the other.
                (Some(at), Some(value)) => {
                    all[at].1.clone_from(value);
                    let mut place = 0..;
                    all.retain(|(known, _)| place.next() <= Some(at) || known != name);
                }
                (Some(_), None) => all.retain(|(known, _)| known != name),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_named_twice_is_set_once_and_removed_wholly() {
        let twice = || [("A", "1"), ("B", "2"), ("A", "3")].map(|(name, value)| (name.into(), value.into()));
        let mut environment = Environment::default();
        environment.set("A".as_ref(), "new".as_ref());
        assert_eq!(environment.changed(twice().into()), Ok(vec![b"A=new".to_vec(), b"B=2".to_vec()]));
        environment.remove("A".as_ref());
        assert_eq!(environment.changed(twice().into()), Ok(vec![b"B=2".to_vec()]));
    }
}
