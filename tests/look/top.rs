//! `doula top` in pipes.

use super::{Made, doula, objects};
use serde_json::json;

#[test]
fn what_is_no_terminal_is_told_with_the_cure() {
    let said = doula(&["top"]);
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{said:?}");
    assert!(said.err.contains("no terminal") && said.err.contains("--once"), "{said:?}");
}

#[test]
fn one_look_is_printed_for_programs_with_cpu_use_over_its_interval() {
    let made = Made::shell("echo here; read x");
    let filter = format!("pid={}", made.pid());
    let said = doula(&["top", "--once", "-i", "100ms", "-f", &filter, "-o", "pid,cpu,name", "--json"]);
    let looks = objects(&said);
    assert_eq!((said.code, looks.len()), (Some(0), 1), "{said:?}");
    assert_eq!(looks[0]["processes"], json!([{ "pid": made.child.id(), "cpu": 0.0, "name": "sh" }]));
    assert!(looks[0]["interval"].as_f64().is_some_and(|interval| interval >= 0.1), "{said:?}");
}

#[test]
fn a_record_is_played_and_one_without_its_end_is_played_as_far_as_it_is_whole() {
    let made = Made::shell("echo here; read x");
    let path = std::env::temp_dir().join(format!("doula-top-{}.top", made.pid()));
    let name = path.to_str().expect("a path");
    let filter = format!("pid={}", made.pid());
    let said = doula(&["top", "--batch", "-n", "2", "-i", "100ms", "-f", &filter, "--record", name]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let play = ["top", "--batch", "--replay", name, "-f", &filter, "-o", "pid,name", "--json"];
    let looks = objects(&doula(&play));
    assert_eq!(looks.len(), 2, "{looks:?}");
    assert!(looks.iter().all(|look| look["processes"] == json!([{ "pid": made.child.id(), "name": "sh" }])));
    let whole = std::fs::read(&path).expect("the record");
    std::fs::write(&path, &whole[..whole.len() - 9]).expect("to cut it");
    let said = doula(&play);
    assert_eq!((said.code, objects(&said).len()), (Some(0), 1), "{said:?}");
    assert!(said.err.contains("line 3 is not whole"), "{said:?}");
    std::fs::remove_file(&path).expect("ours");
}
