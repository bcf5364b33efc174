//! Answers as JSON for programs: the words of the control protocol, with times as RFC 3339 in UTC and spans
//! of time as seconds.

use super::times;
use crate::error::Failure;
use crate::ui::Ui;
use doula_model::control::Wall;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::{Map, Value};

/// The fields that hold a wall-clock time.
const TIMES: [&str; 2] = ["at", "since"];

/// Prints one value on a line.
pub(super) fn print(value: &impl Serialize, ui: &mut Ui) -> Result<(), Failure> {
    ui.json(&readable(value))
}

/// The value as programs get it.
pub(super) fn readable(value: &impl Serialize) -> Value {
    // The words of the protocol have string keys only, so that this cannot fail.
    convert(serde_json::to_value(value).unwrap_or(Value::Null))
}

fn convert(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(convert).collect(),
        Value::Object(fields) => seconds(&fields).unwrap_or_else(|| {
            fields.into_iter().map(|(key, value)| (key.clone(), field(&key, value))).collect()
        }),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => other,
    }
}

fn field(key: &str, value: Value) -> Value {
    match value.as_u64() {
        Some(micros) if TIMES.contains(&key) => times::rfc3339(Wall(micros), &TimeZone::UTC).into(),
        _ => convert(value),
    }
}

/// A `Duration` as serde writes it, in seconds.
fn seconds(fields: &Map<String, Value>) -> Option<Value> {
    let (secs, nanos) = (fields.get("secs")?.as_u64()?, fields.get("nanos")?.as_u64()?);
    (fields.len() == 2).then(|| Value::from(secs as f64 + nanos as f64 / 1e9))
}

#[cfg(test)]
mod tests {
    use super::*;
    use doula_model::action::News;
    use doula_model::control::EventRecord;
    use doula_model::id::Generation;
    use std::time::Duration;

    #[test]
    fn times_are_rfc_3339_and_spans_are_seconds() {
        let event = EventRecord {
            at: Wall(1_769_860_800_123_456),
            service: Some("web".into()),
            generation: Generation(2),
            news: News::Ready { after: Duration::from_millis(1_250) },
        };
        let text = readable(&event).to_string();
        let at = "2026-01-31T12:00:00.123+00:00";
        let wanted = format!(r#"{{"after":1.25,"at":"{at}","generation":2,"news":"ready","service":"web"}}"#);
        assert_eq!(text, wanted);
    }
}
