//! The JSON schema of `doula.toml`, made from the table of keys: editors complete and check by it.
//!
//! It accepts whatever [`super::check`] accepts, and a little more where a schema cannot say it (whether a
//! regular expression compiles, whether a user exists).

use super::keys::{FILE, Key, Kind, NOT_IN_DEFAULTS, SERVICE, Section};
use serde_json::{Map, Value, json};

/// The schema as text, with a newline at the end.
pub(crate) fn text() -> String {
    let mut schema = object(FILE.keys.iter(), &[]);
    schema.insert("$schema".to_owned(), json!("http://json-schema.org/draft-07/schema#"));
    schema.insert("title".to_owned(), json!("doula.toml"));
    let description = "A family of processes for `doula up`. Reference: docs/configuration.md";
    schema.insert("description".to_owned(), json!(description));
    let mut text = serde_json::to_string_pretty(&Value::Object(schema)).unwrap_or_default();
    text.push('\n');
    text
}

fn object(keys: impl Iterator<Item = &'static Key>, one_of: &[&str]) -> Map<String, Value> {
    let properties: Map<String, Value> = keys.map(|key| (key.name.to_owned(), property(key))).collect();
    let mut schema = Map::new();
    schema.insert("type".to_owned(), json!("object"));
    schema.insert("additionalProperties".to_owned(), json!(false));
    schema.insert("properties".to_owned(), Value::Object(properties));
    match one_of {
        [] => {}
        [one] => drop(schema.insert("required".to_owned(), json!([one]))),
        many => {
            let each: Vec<Value> = many.iter().map(|name| json!({ "required": [name] })).collect();
            schema.insert("oneOf".to_owned(), Value::Array(each));
        }
    }
    schema
}

fn property(key: &'static Key) -> Value {
    let mut schema = of(&key.kind);
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("description".to_owned(), json!(format!("{} Default: {}.", key.doc, key.default)));
    }
    schema
}

fn section(section: &'static Section) -> Value {
    Value::Object(object(section.keys.iter(), section.one_of))
}

/// The schema of a kind of value.
fn of(kind: &'static Kind) -> Value {
    match kind {
        Kind::Text | Kind::Signal | Kind::Capability | Kind::Schedule | Kind::Regex => {
            json!({ "type": "string" })
        }
        Kind::Name => json!({ "type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$" }),
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::False => json!({ "const": false }),
        Kind::Whole(low, high) => json!({ "type": "integer", "minimum": low, "maximum": high }),
        Kind::Number(low, high) => json!({ "type": "number", "minimum": low, "maximum": high }),
        Kind::Duration => {
            json!({ "type": "string", "pattern": "[A-Za-zµ]", "examples": ["10s", "1m30s", "500ms"] })
        }
        Kind::Size => json!({ "type": ["string", "integer"], "minimum": 0, "examples": ["512M", "1GiB"] }),
        Kind::Octal => json!({ "type": ["string", "integer"], "examples": ["022"] }),
        Kind::Cpus => json!({ "type": ["string", "array"], "items": { "type": "integer", "minimum": 0 } }),
        Kind::CpuShare => json!({ "type": ["string", "number"], "examples": ["150%", 1.5] }),
        Kind::LimitValue => json!({ "type": ["string", "integer"], "minimum": 0, "examples": ["unlimited"] }),
        Kind::Command => json!({ "type": ["string", "array"], "items": { "type": "string" }, "minItems": 1 }),
        Kind::Account => json!({ "type": ["string", "integer"], "minimum": 0 }),
        Kind::Outcome => json!({ "type": ["string", "integer"], "minimum": 0, "maximum": 255 }),
        Kind::Choice(words) => json!({ "enum": words }),
        Kind::List(inner) => json!({ "type": "array", "items": of(inner) }),
        Kind::Table(inner) => section(inner),
        Kind::Map(inner) => json!({ "type": "object", "additionalProperties": of(inner) }),
        Kind::Env => {
            let value = json!({ "type": ["string", "number", "boolean"] });
            json!({ "type": "object", "additionalProperties": value })
        }
        Kind::Either(kinds) => json!({ "anyOf": kinds.iter().map(of).collect::<Vec<_>>() }),
        Kind::Defaults => {
            let keys = SERVICE.keys.iter().filter(|key| !NOT_IN_DEFAULTS.contains(&key.name));
            Value::Object(object(keys, &[]))
        }
    }
}
