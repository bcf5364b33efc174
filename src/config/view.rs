//! Reads values out of a table that was checked: the own keys of a service, and behind them the defaults.
//!
//! Nothing is reported here: what does not parse was reported by [`super::check`], and is as if it were not
//! there.

use super::keys::Section;
use super::problem::Complaint;
use super::value;
use doula_model::signal::Signal;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A table of the file.
pub(crate) type Table<'a> = DeTable<'a>;
/// A value of the file, with its place.
pub(crate) type Item<'a> = Spanned<DeValue<'a>>;

/// The largest regular expression, compiled: it is matched against every line of output.
const MAX_REGEX: usize = 1 << 20;

/// A table, and one behind it.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    own: Option<&'a Table<'a>>,
    base: Option<&'a Table<'a>>,
    section: &'static Section,
}

impl<'a> View<'a> {
    /// A table by itself, or with defaults behind it.
    pub(crate) fn new(
        section: &'static Section,
        own: Option<&'a Table<'a>>,
        base: Option<&'a Table<'a>>,
    ) -> View<'a> {
        View { own, base, section }
    }

    /// The value of a key.
    pub(crate) fn item(&self, name: &str) -> Option<&'a Item<'a>> {
        // A search of all keys for each one: for whoever writes this program, not for who runs it.
        debug_assert!(
            self.section.keys.iter().any(|key| key.name == name),
            "`{name}` is in the table of keys"
        );
        self.own.and_then(|table| table.get(name)).or_else(|| self.base.and_then(|table| table.get(name)))
    }

    /// The tables under this key, of both layers if both are tables.
    pub(crate) fn joined(&self, name: &str, section: &'static Section) -> Option<View<'a>> {
        self.item(name)?;
        let inner = |table: Option<&'a Table<'a>>| table?.get(name)?.get_ref().as_table();
        let own = self.own.and_then(|table| table.get(name));
        let base = if own.is_some_and(|item| !item.get_ref().is_table()) { None } else { inner(self.base) };
        (inner(self.own).is_some() || base.is_some()).then(|| View::new(section, inner(self.own), base))
    }

    /// The table under this key, of the layer that counts.
    pub(crate) fn table(&self, name: &str, section: &'static Section) -> Option<View<'a>> {
        Some(View::new(section, Some(self.item(name)?.get_ref().as_table()?), None))
    }

    /// The layers that have a table under this key, the defaults first.
    pub(crate) fn layers(&self, name: &str) -> impl Iterator<Item = &'a Table<'a>> {
        let tables = [self.base, self.own].into_iter().flatten();
        tables.filter_map(move |table| table.get(name)?.get_ref().as_table())
    }

    /// A string.
    pub(crate) fn text(&self, name: &str) -> Option<&'a str> {
        self.item(name)?.get_ref().as_str()
    }

    /// A truth value.
    pub(crate) fn bool(&self, name: &str) -> Option<bool> {
        self.item(name)?.get_ref().as_bool()
    }

    /// A whole number that fits.
    pub(crate) fn whole<T: TryFrom<i64>>(&self, name: &str) -> Option<T> {
        T::try_from(integer(self.item(name)?.get_ref())?).ok()
    }

    /// A number.
    pub(crate) fn number(&self, name: &str) -> Option<f64> {
        float(self.item(name)?.get_ref())
    }

    /// A duration.
    pub(crate) fn duration(&self, name: &str) -> Option<Duration> {
        value::duration(self.text(name)?).ok()
    }

    /// A signal.
    pub(crate) fn signal(&self, name: &str) -> Option<Signal> {
        value::signal(self.text(name)?).ok()
    }

    /// An octal mode.
    pub(crate) fn octal(&self, name: &str) -> Option<u32> {
        let value = self.item(name)?.get_ref();
        let digits = value.as_str().or_else(|| value.as_integer().map(|number| number.as_str()))?;
        value::octal(digits).ok()
    }

    /// The values of a list; none if there is no list.
    pub(crate) fn list(&self, name: &str) -> impl Iterator<Item = &'a Item<'a>> + use<'a> {
        self.item(name).and_then(|item| item.get_ref().as_array()).into_iter().flatten()
    }
}

/// A whole number of 64 bits.
pub(crate) fn integer(value: &DeValue<'_>) -> Option<i64> {
    let number = value.as_integer()?;
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// A number, whole or not; never NaN or infinite.
pub(crate) fn float(value: &DeValue<'_>) -> Option<f64> {
    let number = match value.as_float() {
        Some(float) => float.as_str().parse().ok()?,
        None => integer(value)? as f64,
    };
    f64::is_finite(number).then_some(number)
}

/// A variable's value as text: numbers and truth values as they were written.
pub(crate) fn variable(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Boolean(value) => Some(value.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// Whether a regular expression can be compiled.
pub(crate) fn regex(text: &str) -> Result<(), Complaint> {
    match regex::RegexBuilder::new(text).size_limit(MAX_REGEX).build() {
        Ok(_) => Ok(()),
        Err(regex::Error::CompiledTooBig(_)) => {
            Err(Complaint::new("this regular expression becomes too big", "too big"))
        }
        Err(error) => {
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            Err(Complaint::new("this is no regular expression", reason))
        }
    }
}
