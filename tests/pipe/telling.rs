//! What goes through, and what is told about it.

use crate::{Scratch, pipe, pipe_of, skipped};
use serde_json::Value;

/// The cells of the table, each row from its stage to its status.
fn rows(err: &str) -> Vec<Vec<&str>> {
    let cells = |line| str::split(line, "  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    err.lines().map(cells).collect()
}

#[test]
fn the_output_is_untouched_and_the_table_is_on_standard_error() {
    let said = pipe_of("pear\napple\n", &["sort | head -1|tr 'a-z' \"A-Z\""]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "APPLE\n"), "{said:?}");
    let rows = rows(&said.err);
    assert_eq!(rows[0], ["STAGE", "TIME", "CPU", "MEMORY", "READ", "WRITTEN", "STATUS"]);
    let shown: Vec<_> = rows[1..].iter().map(|row| (row[0], row[row.len() - 1])).collect();
    let well = "exited cleanly (code 0)";
    assert_eq!(shown, [("sort", well), ("head -1", well), ("tr 'a-z' \"A-Z\"", well)]);
    if rows[2].contains(&"-") {
        return skipped("the kernel does not count here, or not for us");
    }
    assert!(rows[2].contains(&"6 B"), "head wrote one line: {said:?}");
}

#[test]
fn the_table_is_shown_when_it_is_wanted() {
    for (args, shown) in [
        (vec!["--table", "failure", "true|true"], false),
        (vec!["--table", "failure", "false|true"], true),
        (vec!["--table", "never", "false|true"], false),
        (vec!["-q", "false|true"], false),
    ] {
        assert_eq!(pipe(&args).err.contains("STAGE"), shown, "{args:?}");
    }
}

#[test]
fn what_goes_through_each_pipe_is_counted_exactly_on_request() {
    let said = pipe(&["--count", "--json", "head -c 1000000 /dev/zero | cat | wc -c"]);
    assert_eq!((said.code, said.out.trim()), (Some(0), "1000000"));
    let answer: Value = serde_json::from_str(&said.err).expect("one object");
    let passed: Vec<_> = (0..3).map(|stage| answer["stages"][stage]["passed"].as_u64()).collect();
    assert_eq!(passed, [Some(1_000_000), Some(1_000_000), None]);
    let table = pipe(&["-c", "printf 12345 | cat"]).err;
    assert!(table.contains("PASSED") && table.contains("5 B"), "{table}");
}

#[test]
fn programs_get_one_object_on_standard_error_or_in_a_file() {
    let line = "yes | head -1 | sh -c 'cat; exit 3'";
    let said = pipe(&["--json", line]);
    assert_eq!((said.code, said.out.as_str()), (Some(3), "y\n"));
    let answer: Value = serde_json::from_str(&said.err).expect("one object");
    assert_eq!(
        (&answer["line"], &answer["code"], &answer["ok"], &answer["failed"]),
        (&line.into(), &3.into(), &false.into(), &3.into())
    );
    let [yes, head, sh] = [0, 1, 2].map(|stage| &answer["stages"][stage]);
    assert_eq!(
        (&yes["signal"], &yes["excused"], &yes["failed"]),
        (&"SIGPIPE".into(), &true.into(), &false.into())
    );
    assert_eq!((&head["code"], &head["words"][1]), (&0.into(), &"-1".into()));
    assert_eq!((&sh["command"], &sh["failed"]), (&"sh -c 'cat; exit 3'".into(), &true.into()));
    assert!(sh["seconds"].as_f64() > Some(0.0) && sh["max_rss"].as_u64() > Some(1000), "{answer}");

    let file = Scratch::new("json");
    let said = pipe(&[&format!("--json={}", file.0.display()), "true | false"]);
    assert_eq!((said.code, said.err.as_str()), (Some(1), ""));
    let text = std::fs::read_to_string(&file.0).expect("a file");
    assert_eq!(serde_json::from_str::<Value>(&text).expect("one object")["failed"], 2);
}

#[test]
fn a_file_that_cannot_be_written_is_told_before_anything_starts() {
    let said = pipe(&["--json=/no/such/folder/file", "echo started"]);
    assert_eq!((said.code, said.out.as_str()), (Some(125), ""));
    assert!(said.err.contains("/no/such/folder/file"), "{said:?}");
}

#[test]
fn what_needs_a_shell_is_refused_with_its_place() {
    let said = pipe(&["echo started | sort > out"]);
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""));
    assert!(said.err.contains("`>` is a redirection") && said.err.contains('^'), "{said:?}");
}

#[test]
fn standard_error_goes_into_the_pipe_on_request() {
    let said = pipe(&["-q", "sh -c 'echo out; echo err >&2' |& sort"]);
    assert_eq!((said.out.as_str(), said.err.as_str()), ("err\nout\n", ""));
}
