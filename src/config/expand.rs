//! `${VAR}` and `${VAR:-default}` in values; `$$` is a dollar sign.
//!
//! A `$` before anything else stays as it is, so that `["sh", "-c", "echo $1"]` means what it says.
//! Deliberately absent: the rest of the shell's parameter expansion. It is an error and not passed through.

use super::problem::{Complaint, did_you_mean};
use std::collections::BTreeMap;

/// Where the values of variables are looked up.
pub(crate) trait Values {
    /// The value of a variable.
    fn value(&self, name: &str) -> Option<&str>;
    /// All names, to guess what was meant.
    fn names(&self) -> Vec<&str>;
}

impl Values for Variables {
    fn value(&self, name: &str) -> Option<&str> {
        self.get(name).map(String::as_str)
    }

    fn names(&self) -> Vec<&str> {
        self.keys().map(String::as_str).collect()
    }
}

/// The longest text that an expansion may give: more is a mistake or an attack (each variable doubling the last).
const MAX_EXPANDED: usize = 1 << 20;

/// Variables by name.
pub(crate) type Variables = BTreeMap<String, String>;

/// Whether a text can be the name of a variable.
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.as_bytes()[0].is_ascii_digit()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The text with its variables filled in.
pub(crate) fn expand(text: &str, variables: &impl Values) -> Result<String, Complaint> {
    let mut result = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        result.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            result.push('$');
            rest = after;
        } else if let Some(inside) = rest.strip_prefix('{') {
            let end = inside.find('}').ok_or_else(|| {
                Complaint::new("`${` without its `}`", "never closed").help("a dollar sign is written `$$`")
            })?;
            result.push_str(lookup(&inside[..end], variables)?);
            rest = &inside[end + 1..];
        } else {
            result.push('$');
        }
        if result.len() > MAX_EXPANDED {
            return Err(Complaint::new("the expanded text is longer than 1 MiB", "grows too long"));
        }
    }
    result.push_str(rest);
    Ok(result)
}

/// The value of what stands between `${` and `}`.
fn lookup<'a>(inside: &'a str, variables: &'a impl Values) -> Result<&'a str, Complaint> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    if !is_name(name) {
        return Err(Complaint::new(
            format!("`${{{inside}}}` cannot be expanded"),
            "not the name of a variable",
        )
        .help("`${VAR}` and `${VAR:-default}` are understood; a literal `${` is written `$${`"));
    }
    let value = variables.value(name);
    match (value, default) {
        (Some(""), Some(default)) | (None, Some(default)) => Ok(default),
        (Some(value), _) => Ok(value),
        (None, None) => {
            let close = did_you_mean(name, variables.names().into_iter());
            let help = close.unwrap_or_else(|| format!("set it, or give a default: `${{{name}:-…}}`"));
            Err(Complaint::new(format!("the variable `{name}` is not set"), "not set").help(help))
        }
    }
}
