//! What stands in one cell of a list of processes: for people, for programs, and to be compared.

use doula_model::process::{Answer, Signals};
use doula_model::signal::Signal;
use doula_model::words::{ShortSpan, Size};
use serde_json::{Value as Json, json};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::{self, Write as _};
use std::time::Duration;

/// One fact about a process, as long as that is there: lists of ten thousands copy no names.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    /// There is none, or nobody can tell: `-`.
    None,
    /// We may not see it: `?`.
    Denied,
    /// Whoever asks hangs: `locked`.
    Locked,
    /// A count, an id.
    Number(i64),
    /// Memory.
    Bytes(u64),
    /// A span of time.
    Span(Duration),
    /// A point of time, since 1970.
    Moment(Duration),
    /// A share, in percent.
    Percent(f64),
    /// Bits.
    Bits(u64),
    /// A name, as it is.
    Text(Cow<'a, [u8]>),
    /// The arguments of a program, with a NUL byte between two.
    Words(&'a [u8]),
    /// A set of signals.
    Signals(Signals),
}

impl<'a> Value<'a> {
    /// A text of ours.
    pub(crate) fn text(text: impl Into<Cow<'a, str>>) -> Value<'a> {
        match text.into() {
            Cow::Borrowed(text) => Value::Text(Cow::Borrowed(text.as_bytes())),
            Cow::Owned(text) => Value::Text(Cow::Owned(text.into_bytes())),
        }
    }

    /// What an answer comes to.
    pub(crate) fn of<T>(answer: &'a Answer<T>, value: impl FnOnce(&'a T) -> Value<'a>) -> Value<'a> {
        match answer {
            Answer::Is(fact) => value(fact),
            Answer::Denied => Value::Denied,
            Answer::Locked => Value::Locked,
            Answer::Unasked | Answer::None => Value::None,
        }
    }

    /// The same of something that may be missing.
    pub(crate) fn some<T>(fact: Option<T>, value: impl FnOnce(T) -> Value<'a>) -> Value<'a> {
        fact.map_or(Value::None, value)
    }

    /// Whether it stands at the right of its column.
    pub(crate) const fn is_number(&self) -> bool {
        matches!(self, Value::Number(_) | Value::Bytes(_) | Value::Span(_) | Value::Percent(_))
    }

    /// For people; control characters in it are still as they are.
    pub(crate) fn show(&self) -> String {
        self.to_string()
    }

    /// The same, at the end of a text: what [`fmt::Display`] does, without its machinery for what lists have most of.
    pub(crate) fn write(&self, into: &mut String) {
        if let Value::Number(number) = self {
            write_number(*number, into);
        } else if let Value::Span(span) = self
            && span.as_secs() == 0
        {
            write_number(span.subsec_millis().into(), into);
            into.push_str("ms");
        } else if let Value::Text(text) = self
            && let Ok(text) = std::str::from_utf8(text)
        {
            into.push_str(text);
        } else {
            // Writing into a String cannot fail.
            let _ = write!(into, "{self}");
        }
    }

    /// For a table in which programs read: numbers without units, spans in seconds.
    pub(crate) fn plain(&self) -> String {
        match self {
            Value::None | Value::Denied | Value::Locked => String::new(),
            Value::Bytes(bytes) => bytes.to_string(),
            Value::Span(span) => format!("{:.3}", span.as_secs_f64()),
            Value::Signals(signals) => names(*signals).join(" "),
            Value::Number(_)
            | Value::Moment(_)
            | Value::Percent(_)
            | Value::Bits(_)
            | Value::Text(_)
            | Value::Words(_) => self.show(),
        }
    }

    /// For programs; bytes come back exactly.
    pub(crate) fn json(&self) -> Json {
        match self {
            Value::None | Value::Denied | Value::Locked => Json::Null,
            Value::Number(number) => json!(number),
            Value::Bytes(bytes) => json!(bytes),
            Value::Span(span) => json!(span.as_secs_f64()),
            Value::Percent(percent) => json!((percent * 10.0).round() / 10.0),
            Value::Moment(_) | Value::Bits(_) => json!(self.show()),
            Value::Text(text) => exact(text),
            Value::Words(words) => words.split(|&byte| byte == 0).map(exact).collect(),
            Value::Signals(signals) => json!(names(*signals)),
        }
    }

    /// The order of a sorted column: what is not known comes last.
    pub(crate) fn order(&self, other: &Value<'_>) -> Ordering {
        match (self, other) {
            (Value::Number(one), Value::Number(two)) => one.cmp(two),
            (Value::Bytes(one), Value::Bytes(two)) | (Value::Bits(one), Value::Bits(two)) => one.cmp(two),
            (Value::Span(one), Value::Span(two)) | (Value::Moment(one), Value::Moment(two)) => one.cmp(two),
            (Value::Percent(one), Value::Percent(two)) => one.total_cmp(two),
            (Value::Text(one), Value::Text(two)) => one.cmp(two),
            (Value::Words(one), Value::Words(two)) => one.cmp(two),
            (Value::Signals(one), Value::Signals(two)) => one.0.cmp(&two.0),
            _ => self.is_unknown().cmp(&other.is_unknown()),
        }
    }

    /// Whether it is no fact.
    pub(crate) const fn is_unknown(&self) -> bool {
        matches!(self, Value::None | Value::Denied | Value::Locked)
    }
}

/// As [`Value::show`].
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::None | Value::Signals(Signals(0)) => f.write_str("-"),
            Value::Denied => f.write_str("?"),
            Value::Locked => f.write_str("locked"),
            Value::Number(number) => number.fmt(f),
            Value::Bytes(bytes) => Size(*bytes).fmt(f),
            Value::Span(span) => ShortSpan(*span).fmt(f),
            Value::Moment(moment) => f.write_str(&rfc3339(*moment)),
            Value::Percent(percent) => write!(f, "{percent:.1}"),
            Value::Bits(bits) => write!(f, "{bits:x}"),
            Value::Text(text) => Printable(text).fmt(f),
            Value::Words(words) => {
                for (number, word) in words.split(|&byte| byte == 0).enumerate() {
                    f.write_str(if number > 0 { " " } else { "" })?;
                    Printable(word).fmt(f)?;
                }
                Ok(())
            }
            Value::Signals(signals) => f.write_str(&names(*signals).join(",")),
        }
    }
}

fn write_number(number: i64, into: &mut String) {
    let (mut digits, mut at, mut left) = ([0_u8; 20], 20, number.unsigned_abs());
    while at == digits.len() || left > 0 {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
    }
    into.push_str(if number < 0 { "-" } else { "" });
    into.push_str(std::str::from_utf8(&digits[at..]).unwrap_or(""));
}

/// Bytes as text, each that belongs to no character as `\xff`.
pub(crate) fn printable(bytes: &[u8]) -> String {
    Printable(bytes).to_string()
}

struct Printable<'a>(&'a [u8]);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            f.write_str(chunk.valid())?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// A string; bytes that are none as `{"hex": "…"}`.
fn exact(bytes: &[u8]) -> Json {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({ "hex": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() }),
    }
}

fn names(signals: Signals) -> Vec<String> {
    let name = |signal: Signal| signal.to_string().trim_start_matches("SIG").to_owned();
    signals.iter().map(name).collect()
}

fn rfc3339(moment: Duration) -> String {
    let moment =
        i64::try_from(moment.as_secs()).ok().and_then(|secs| jiff::Timestamp::from_second(secs).ok());
    moment.map_or_else(|| "-".to_owned(), |moment| moment.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_exactly_and_no_two_texts_look_the_same() {
        let value = Value::Text(Cow::Borrowed(b"a\xff\nb"));
        assert_eq!(value.json(), json!({ "hex": "61ff0a62" }));
        assert_eq!(value.show(), "a\\xff\nb");
        assert_eq!(Value::text("안\n").json(), json!("안\n"));
        let words = Value::Words(b"a b\0");
        assert_eq!((words.json(), words.show()), (json!(["a b", ""]), "a b ".to_owned()));
    }

    #[test]
    fn what_is_not_known_comes_last_and_is_no_zero() {
        let mut values = [Value::None, Value::Number(2), Value::Denied, Value::Number(-1)];
        values.sort_by(Value::order);
        assert_eq!(values[..2], [Value::Number(-1), Value::Number(2)]);
        assert_eq!(Value::Denied.json(), Json::Null);
        assert_eq!((Value::Denied.show(), Value::None.show()), ("?".to_owned(), "-".to_owned()));
        assert_eq!(Value::Locked.plain(), "");
    }

    #[test]
    fn what_is_written_into_a_text_is_what_is_shown() {
        for value in [
            Value::Number(0),
            Value::Number(-7),
            Value::Number(i64::MIN),
            Value::Number(i64::MAX),
            Value::Text(Cow::Borrowed(b"a\xffb")),
            Value::text("name"),
            Value::text("안"),
            Value::Bytes(1 << 20),
            Value::Span(Duration::from_micros(17_500)),
            Value::Span(Duration::from_secs(61)),
            Value::None,
        ] {
            let mut text = "before ".to_owned();
            value.write(&mut text);
            assert_eq!(text, format!("before {}", value.show()));
        }
    }

    #[test]
    fn numbers_have_units_for_people_and_none_for_programs() {
        let memory = Value::Bytes(3 << 20);
        assert_eq!((memory.show(), memory.plain()), ("3 MiB".to_owned(), "3145728".to_owned()));
        let span = Value::Span(Duration::from_millis(2500));
        assert_eq!(
            (span.show(), span.plain(), span.json()),
            ("2.5s".to_owned(), "2.500".to_owned(), json!(2.5))
        );
        assert_eq!(Value::Moment(Duration::from_secs(0)).show(), "1970-01-01T00:00:00Z");
        let signals = Value::Signals(Signals(1 << 16 | 1 << 33));
        assert_eq!((signals.show(), signals.json()), ("CHLD,RTMIN".to_owned(), json!(["CHLD", "RTMIN"])));
    }
}
