//! Sections and keys of supervisord.conf and of systemd's units.
//!
//! Two dialects of one idea; they differ in how a value goes on over several lines and where comments begin.

/// Which dialect.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Dialect {
    /// Python's configparser: indented lines continue a value, ` ;` begins a comment.
    Supervisor,
    /// systemd.syntax(7): a backslash at the end of a line continues it, comments have their own lines.
    Systemd,
}

/// One section with its keys in their order, repeated ones included.
#[derive(Debug, PartialEq)]
pub(super) struct Section {
    /// What stands between the brackets.
    pub(super) name: String,
    /// Keys and values, without the spaces around them.
    pub(super) keys: Vec<(String, String)>,
}

impl Section {
    /// The last value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.keys.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// All values of a key; an empty one forgets those before it, as in systemd.
    pub(super) fn all(&self, key: &str) -> Vec<&str> {
        let values = self.keys.iter().filter(|(name, _)| name == key).map(|(_, value)| value.as_str());
        values.fold(Vec::new(), |mut all, value| {
            if value.is_empty() {
                all.clear();
            } else {
                all.push(value);
            }
            all
        })
    }
}

/// The sections of a file; what belongs to none is left out.
pub(super) fn parse(text: &str, dialect: Dialect) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut continued = false;
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.starts_with(['#', ';']) {
            continue;
        }
        let value = sections.last_mut().and_then(|section| section.keys.last_mut()).map(|(_, value)| value);
        if let (Some(value), true) = (value, continues(line, dialect, continued)) {
            value.push(if dialect == Dialect::Supervisor { '\n' } else { ' ' });
            value.push_str(end(trimmed, dialect));
        } else if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            sections.push(Section { name: name.trim().to_owned(), keys: Vec::new() });
        } else if let (Some((key, value)), Some(section)) = (trimmed.split_once('='), sections.last_mut()) {
            section.keys.push((key.trim().to_owned(), end(value.trim(), dialect).to_owned()));
        }
        continued = dialect == Dialect::Systemd && trimmed.ends_with('\\');
    }
    for (_, value) in sections.iter_mut().flat_map(|section| &mut section.keys) {
        *value = value.trim().to_owned();
    }
    sections
}

/// Whether a line goes on with the value before it.
fn continues(line: &str, dialect: Dialect, continued: bool) -> bool {
    match dialect {
        Dialect::Systemd => continued,
        Dialect::Supervisor => line.starts_with([' ', '\t']) && !line.trim().is_empty(),
    }
}

/// A value without the comment or the backslash at its end.
fn end(value: &str, dialect: Dialect) -> &str {
    match dialect {
        Dialect::Systemd => value.strip_suffix('\\').unwrap_or(value).trim_end(),
        Dialect::Supervisor => value.split(" ;").next().unwrap_or(value).trim_end(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dialect_continues_lines_in_its_own_way() {
        let supervisor = parse(
            "[program:a]\ncommand = x ; why\nenvironment=A=\"1\",\n  B=\"2\"\n; no\n",
            Dialect::Supervisor,
        );
        assert_eq!(supervisor[0].get("command"), Some("x"));
        assert_eq!(supervisor[0].get("environment"), Some("A=\"1\",\nB=\"2\""));
        let systemd = parse(
            "x=y\n[Service]\nExecStart=a \\\n# no\n  b ;c\nEnvironment=A=1\nEnvironment=\nEnvironment=B=2\n",
            Dialect::Systemd,
        );
        assert_eq!(systemd[0].get("ExecStart"), Some("a b ;c"));
        assert_eq!(systemd[0].all("Environment"), ["B=2"]);
    }
}
