//! What is different between two recipes, in the words of the configuration.

use doula_model::recipe::Recipe;
use serde_json::{Map, Value};

/// One line for each key that differs: `limits.pids: 8 → 5`.
pub(super) fn differences(old: &Recipe, new: &Recipe) -> Vec<String> {
    let (old, new) = (fields(old), fields(new));
    let mut lines = Vec::new();
    for (key, before) in &old {
        compare(&key.replace('_', "-"), before, new.get(key).unwrap_or(&Value::Null), &mut lines);
    }
    lines
}

fn fields(recipe: &Recipe) -> Map<String, Value> {
    match serde_json::to_value(recipe) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) | Err(_) => Map::new(),
    }
}

/// Tables are compared key by key, everything else as a whole.
fn compare(key: &str, before: &Value, after: &Value, lines: &mut Vec<String>) {
    if before == after {
        return;
    }
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        return lines.push(format!("{key}: {} → {}", shown(before), shown(after)));
    };
    for (name, before) in old {
        let after = new.get(name).unwrap_or(&Value::Null);
        compare(&format!("{key}.{}", part(key, name)), before, after, lines);
    }
    for (name, after) in new.iter().filter(|(name, _)| !old.contains_key(*name)) {
        compare(&format!("{key}.{}", part(key, name)), &Value::Null, after, lines);
    }
}

/// Names of variables are as the user wrote them; those of keys have dashes.
fn part(key: &str, name: &str) -> String {
    if key == "env" { name.to_owned() } else { name.replace('_', "-") }
}

fn shown(value: &Value) -> String {
    if value.is_null() { "none".to_owned() } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use doula_model::recipe::Limits;

    #[test]
    fn each_key_that_differs_has_a_line_with_both_values() {
        let mut old = Recipe { command: vec!["a".to_owned()], ..Recipe::default() };
        old.limits = Limits { pids: Some(8), ..Limits::default() };
        let mut new = Recipe { command: vec!["b".to_owned(), "c".to_owned()], ..Recipe::default() };
        new.limits = Limits { cpu_milli: Some(500), ..Limits::default() };
        for (name, value) in [("SAME", "x"), ("MY_NAME", "old"), ("GONE", "1")] {
            old.env.set(name, value);
        }
        for (name, value) in [("SAME", "x"), ("MY_NAME", "new"), ("ADDED", "2")] {
            new.env.set(name, value);
        }
        let mut lines = differences(&old, &new);
        lines.sort();
        let wanted = [
            r#"command: ["a"] → ["b","c"]"#,
            r#"env.ADDED: none → "2""#,
            r#"env.GONE: "1" → none"#,
            r#"env.MY_NAME: "old" → "new""#,
            "limits.cpu-milli: none → 500",
            "limits.pids: 8 → none",
        ];
        assert_eq!(lines, wanted);
        assert_eq!(differences(&old, &old), [""; 0]);
    }
}
