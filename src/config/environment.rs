//! The environment of a service: inherited, from files, of the family, its own; each layer over the last.
//!
//! What doula has itself is kept once for all services that inherit it.

use super::accounts::Account;
use super::envfile;
use super::expand::{self, Values, Variables};
use super::keys::ENV_FILE_TABLE;
use super::problem::{Complaint, Report, Source};
use super::view::{Item, Table, View, variable};
use doula_model::env;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// The largest file that is read: more is no configuration.
pub(crate) const MAX_FILE: u64 = 1 << 20;

/// What surrounds a configuration: everything that is not in the file.
pub(crate) struct Surroundings<'a> {
    /// The directory of the file, absolute.
    pub(crate) dir: &'a Path,
    /// doula's own environment.
    pub(crate) inherited: &'a Variables,
    /// The same as services share it.
    shared: Arc<env::Base>,
    /// Where problems go.
    pub(crate) report: &'a Report,
}

impl<'a> Surroundings<'a> {
    /// Everything outside of the file.
    pub(crate) fn new(dir: &'a Path, inherited: &'a Variables, report: &'a Report) -> Surroundings<'a> {
        let all: env::Variables =
            inherited.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        Surroundings { dir, inherited, shared: Arc::new(env::Base::new(all)), report }
    }

    /// A digest of what the file makes of an environment: of what is inherited only which names, if not all. Who takes a
    /// family over from another shell finds the same services there.
    pub(crate) fn digest(&self, env: &env::Environment) -> u64 {
        let names = |base: &env::Base| {
            let names = base.variables().iter().map(|(name, _)| name.as_bytes());
            names.fold(digest(b"only", DIGEST_START), |before, name| digest(b"\0", digest(name, before)))
        };
        let all = Arc::ptr_eq(&self.shared, env.base());
        digest_of(env.own(), if all { DIGEST_START } else { names(env.base()) })
    }

    /// A path, relative to the file.
    pub(crate) fn path(&self, path: &str) -> String {
        self.dir.join(path).to_string_lossy().into_owned()
    }

    /// The text with its variables filled in; as it is, and a problem noted, if that cannot be done.
    pub(crate) fn expand(&self, text: &str, variables: &impl Values, span: &Range<usize>) -> String {
        expand::expand(text, variables).unwrap_or_else(|complaint| {
            self.report.note(span, complaint);
            text.to_owned()
        })
    }
}

/// The variables of one service: those it gets, and behind them, for its values, all that doula has itself.
#[derive(Clone)]
pub(crate) struct Environment<'a> {
    /// What it inherits.
    base: Arc<env::Base>,
    /// What is set for it.
    own: BTreeMap<String, String>,
    around: &'a Variables,
}

impl Values for Environment<'_> {
    fn value(&self, name: &str) -> Option<&str> {
        self.own.get(name).or_else(|| self.around.get(name)).map(String::as_str)
    }

    fn names(&self) -> Vec<&str> {
        self.own.keys().chain(self.around.keys()).map(String::as_str).collect()
    }
}

impl<'a> Environment<'a> {
    /// What a service inherits.
    pub(crate) fn inherit(service: &View<'_>, around: &Surroundings<'a>) -> Environment<'a> {
        let all = match service.item("env-inherit").map(toml::Spanned::get_ref) {
            None => true,
            Some(value) => value.as_str() == Some("all"),
        };
        if all {
            return Environment::all(around);
        }
        let patterns: Vec<&str> =
            service.list("env-inherit").filter_map(|item| item.get_ref().as_str()).collect();
        let wanted = |name: &str| patterns.iter().any(|pattern| matches(pattern, name));
        let base = around.shared.variables().iter().filter(|(name, _)| wanted(name)).cloned().collect();
        Environment { base: Arc::new(env::Base::new(base)), ..Environment::all(around) }
    }

    /// Everything that doula has itself.
    pub(crate) fn all(around: &Surroundings<'a>) -> Environment<'a> {
        Environment { base: around.shared.clone(), own: BTreeMap::new(), around: around.inherited }
    }

    /// Sets a variable.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.own.insert(name.to_owned(), value.to_owned());
    }

    /// Sets the variables of a table in the order of the file, so that later ones can use earlier ones.
    pub(crate) fn table(&mut self, table: &Table<'_>, around: &Surroundings<'_>) {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, item) in entries {
            if let Some(text) = variable(item.get_ref()) {
                let text = around.expand(&text, self, &item.span());
                self.set(key.get_ref(), &text);
            }
        }
    }

    /// Sets what the environment files say.
    pub(crate) fn files(&mut self, item: Option<&Item<'_>>, around: &Surroundings<'_>) {
        let Some(item) = item else { return };
        match item.get_ref().as_array() {
            Some(list) => list.iter().for_each(|item| self.file(item, around)),
            None => self.file(item, around),
        }
    }

    fn file(&mut self, item: &Item<'_>, around: &Surroundings<'_>) {
        let table = View::new(&ENV_FILE_TABLE, item.get_ref().as_table(), None);
        let Some(path) = item.get_ref().as_str().or_else(|| table.text("path")) else { return };
        let path = around.path(&around.expand(path, self, &item.span()));
        if let Err(error) = self.assign(&path, around) {
            let missing = error.kind() == ErrorKind::NotFound;
            if missing && table.bool("optional") == Some(true) {
                return;
            }
            let complaint = Complaint::new(format!("failed to read `{path}`: {error}"), "cannot be read");
            let hint = "a file that may be missing is written { path = \"…\", optional = true }";
            around.report.note(&item.span(), if missing { complaint.help(hint) } else { complaint });
        }
    }

    /// Sets what an environment file says that need not be there.
    pub(crate) fn optional_file(&mut self, path: &str, around: &Surroundings<'_>) {
        let path = around.path(path);
        let result = self.assign(&path, around);
        if let Some(error) = result.err().filter(|error| error.kind() != ErrorKind::NotFound) {
            let complaint = Complaint::new(format!("failed to read `{path}`: {error}"), "needs it");
            around.report.note(&(0..0), complaint);
        }
    }

    fn assign(&mut self, path: &str, around: &Surroundings<'_>) -> std::io::Result<()> {
        let text = read(Path::new(path))?;
        let report = around.report.of_file(Source { name: path.to_owned(), text });
        envfile::parse(&report).iter().for_each(|(name, value)| self.set(name, value));
        Ok(())
    }

    /// What the service gets.
    pub(crate) fn finish(self) -> env::Environment {
        env::Environment::new(self.base, self.own.into_iter().collect())
    }
}

/// The whole environment of one service before its instance is known.
pub(crate) fn of_service<'a>(
    service: &View<'_>,
    family: &View<'_>,
    account: Option<&Account>,
    around: &Surroundings<'a>,
) -> Environment<'a> {
    let mut environment = Environment::inherit(service, around);
    for (name, value) in account.iter().flat_map(|account| &account.variables) {
        environment.set(name, value);
    }
    environment.files(family.item("env-file"), around);
    environment.files(service.item("env-file"), around);
    family.layers("env").for_each(|table| environment.table(table, around));
    environment
}

/// Where a digest begins (FNV-1a, 64 bits).
pub(crate) const DIGEST_START: u64 = 0xcbf2_9ce4_8422_2325;

/// A digest continued by these bytes: the same from one run of doula to the next, on every machine.
pub(crate) fn digest(bytes: &[u8], before: u64) -> u64 {
    const PRIME: u64 = 0x0100_0000_01b3;
    bytes.iter().fold(before, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

fn digest_of(variables: &[(String, String)], before: u64) -> u64 {
    variables.iter().fold(before, |hash, (name, value)| {
        // A NUL is in no name and no value, so that nothing can be mistaken for something else.
        let hash = digest(b"\0", digest(name.as_bytes(), hash));
        digest(b"\0", digest(value.as_bytes(), hash))
    })
}

/// Whether a name fits a pattern that may end with `*`.
fn matches(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start))
}

/// Reads a text file of at most [`MAX_FILE`] bytes.
pub(crate) fn read(path: &Path) -> std::io::Result<String> {
    if std::fs::metadata(path)?.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    let file = std::fs::File::open(path)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(std::io::Error::new(ErrorKind::FileTooLarge, "larger than 1 MiB"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        std::io::Error::new(ErrorKind::InvalidData, format!("not UTF-8 at byte {at}"))
    })
}
