//! The lines between us and a worker: `{"id":7,"input":"…"}` is answered by `{"id":7,"output":…}` or `{"id":7,"error":"…"}`.
//!
//! An input that is no UTF-8 comes as `input_base64`. Where a job has several inputs (-n, -X, -C, several lists) they come as
//! `inputs` or `inputs_base64`, a list. An output that is a string is a line; `output_base64` is bytes as they are; any other
//! value is shown as JSON, and null not at all. What else an answer has is not looked at.

use super::template::Inputs;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use doula_host::jobs::workers::{Answer, NoAnswer};
use doula_model::task::TaskId;
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;

/// What a worker answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) id: u64,
    pub(super) output: Vec<u8>,
    pub(super) error: Option<String>,
}

#[derive(Deserialize)]
struct Line<'l> {
    id: u64,
    #[serde(default)]
    output: Value,
    #[serde(borrow)]
    output_base64: Option<Cow<'l, str>>,
    #[serde(default)]
    error: Value,
}

/// Appends the line that asks for a task; with `many` its inputs are a list, also where there is one.
pub(super) fn ask(id: u64, inputs: &Inputs, many: bool, line: &mut Vec<u8>) {
    let texts: Option<Vec<&str>> = inputs.iter().map(|input| std::str::from_utf8(input).ok()).collect();
    let encoded: Vec<String>;
    let (ending, texts) = match texts {
        Some(texts) => ("", texts),
        None => {
            encoded = inputs.iter().map(|input| BASE64_STANDARD.encode(input)).collect();
            ("_base64", encoded.iter().map(String::as_str).collect())
        }
    };
    let plural = if many { "s" } else { "" };
    line.extend_from_slice(format!("{{\"id\":{id},\"input{plural}{ending}\":").as_bytes());
    let written = match (many, texts.as_slice()) {
        (false, [text]) => serde_json::to_writer(&mut *line, text),
        (_, texts) => serde_json::to_writer(&mut *line, texts),
    };
    debug_assert!(written.is_ok(), "writing text into memory cannot fail");
    line.extend_from_slice(b"}\n");
}

/// Reads an answer; `None` if it is none.
pub(super) fn read(line: &[u8]) -> Option<Reply> {
    let Line { id, output, output_base64, error } = serde_json::from_slice(line).ok()?;
    let output = match (output, output_base64) {
        (Value::Null, None) => Vec::new(),
        (Value::Null, Some(bytes)) => BASE64_STANDARD.decode(bytes.as_bytes()).ok()?,
        (Value::String(text), None) => ended(text),
        (value, None) => ended(value.to_string()),
        (_, Some(_)) => return None,
    };
    let error = match &error {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Some(error.to_string()),
    };
    Some(Reply { id, output, error })
}

/// What was answered to a task, by lines or by bytes as they are.
///
/// # Errors
/// That is no answer to it.
pub(super) fn answer(task: TaskId, said: &[u8], by_lines: bool) -> Result<(Answer, Reply), NoAnswer> {
    let reply = match by_lines {
        true => read(said).ok_or_else(|| NoAnswer::garbage(said))?,
        false => Reply { id: task.0, output: said.to_vec(), error: None },
    };
    if reply.id != task.0 {
        let why = format!("it answered job {} instead", reply.id);
        return Err(NoAnswer { why, of: Some(TaskId(reply.id)) });
    }
    Ok((if reply.error.is_some() { Answer::Failed } else { Answer::Done }, reply))
}

/// Of whose task a line says that it is the answer.
pub(super) fn whose(line: &[u8]) -> Option<TaskId> {
    read(line).map(|reply| TaskId(reply.id))
}

/// What a worker by frames says of a task at which it failed.
pub(super) fn failed(task: TaskId, why: &[u8]) -> Reply {
    let error = Some(String::from_utf8_lossy(why).into_owned());
    Reply { id: task.0, output: Vec::new(), error }
}

fn ended(mut text: String) -> Vec<u8> {
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(inputs: &[&[u8]], many: bool) -> String {
        let mut line = Vec::new();
        ask(7, &inputs.iter().map(|input| input.to_vec()).collect(), many, &mut line);
        String::from_utf8(line).expect("text")
    }

    #[test]
    fn inputs_of_any_bytes_become_one_line() {
        assert_eq!(asked(&[b"a \"b\"\n"], false), "{\"id\":7,\"input\":\"a \\\"b\\\"\\n\"}\n");
        assert_eq!(asked(&[b"\xff"], false), "{\"id\":7,\"input_base64\":\"/w==\"}\n");
        assert_eq!(asked(&[b"a"], true), "{\"id\":7,\"inputs\":[\"a\"]}\n");
        assert_eq!(asked(&[b"a", b"\xff"], true), "{\"id\":7,\"inputs_base64\":[\"YQ==\",\"/w==\"]}\n");
    }

    #[test]
    fn answers_are_read_and_what_is_none_is_refused() {
        let reply = |line: &str| read(line.as_bytes()).map(|reply| (reply.output, reply.error));
        let output = |bytes: &[u8]| Some((bytes.to_vec(), None));
        assert_eq!(reply(r#"{"id":7,"output":"a"}"#), output(b"a\n"));
        assert_eq!(reply(r#"{"output":"a\n","id":7,"more":[1]}"#), output(b"a\n"));
        assert_eq!(reply(r#"{"id":7,"output":""}"#), output(b"\n"));
        assert_eq!(reply(r#"{"id":7}"#), output(b""));
        assert_eq!(reply(r#"{"id":7,"output":{"b":[1, 2]}}"#), output(b"{\"b\":[1,2]}\n"));
        assert_eq!(reply(r#"{"id":7,"output_base64":"/w=="}"#), output(b"\xff"));
        assert_eq!(reply(r#"{"id":7,"error":"no"}"#), Some((Vec::new(), Some("no".to_owned()))));
        assert_eq!(reply(r#"{"id":7,"error":null,"output":1}"#), output(b"1\n"));
        for wrong in
            ["", "hello", "7", "{}", r#"{"id":"7"}"#, r#"{"id":7"#, r#"{"id":7,"output_base64":"?"}"#]
        {
            assert_eq!(read(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn an_answer_is_to_its_own_task_and_bytes_are_always() {
        let lines = |said: &str| answer(TaskId(7), said.as_bytes(), true).map(|(answer, _)| answer);
        assert_eq!(lines(r#"{"id":7,"output":"a"}"#), Ok(Answer::Done));
        assert_eq!(lines(r#"{"id":7,"error":"no"}"#), Ok(Answer::Failed));
        let other = lines(r#"{"id":8,"output":"a"}"#).expect_err("of another one");
        assert_eq!((other.why.as_str(), other.of), ("it answered job 8 instead", Some(TaskId(8))));
        assert_eq!(lines("hm"), Err(NoAnswer::garbage(b"hm")));
        let (bytes, reply) = answer(TaskId(7), br#"{"id":8}"#, false).expect("bytes");
        assert_eq!((bytes, reply.output.as_slice()), (Answer::Done, &br#"{"id":8}"#[..]));
    }
}
