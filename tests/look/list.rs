//! `doula ps`: columns, conditions, order, forms of output.

use super::{Made, doula, objects, soon};
use serde_json::{Value, json};

/// What `ps` says of one process in JSON.
fn one(pid: &str, columns: &str) -> Value {
    let said = doula(&["ps", pid, "--json", "-o", columns]);
    assert_eq!(said.code, Some(0), "{said:?}");
    objects(&said).into_iter().next().expect("a row")
}

#[test]
fn a_process_is_told_with_the_columns_that_were_asked_for() {
    let made = Made::shell("echo here; read x");
    let row = one(&made.pid(), "pid,ppid,pgid,state,name,args,threads,uid,nspid,tracer");
    let pid = made.child.id();
    assert_eq!(row["pid"], json!(pid));
    assert_eq!(row["ppid"], json!(std::process::id()));
    assert_eq!((&row["pgid"], &row["name"], &row["threads"]), (&json!(pid), &json!("sh"), &json!(1)));
    assert_eq!(row["args"], json!(["sh", "-c", "echo here; read x"]));
    assert_eq!((&row["tracer"], &row["nspid"]), (&Value::Null, &json!(pid.to_string())));
    assert_eq!(row.as_object().map(serde_json::Map::len), Some(10), "{row}");
}

#[test]
fn a_zombie_is_told_with_how_it_ended_and_a_condition_finds_it() {
    let made = Made::actor("leak_zombie", &["1", "9"]);
    let rows = soon(|| {
        let said = doula(&[
            "ps",
            "--under",
            &made.pid(),
            "-w",
            "state=Z",
            "-o",
            "ppid,state,exit,args,rss",
            "--json",
        ]);
        Some(objects(&said)).filter(|rows| !rows.is_empty())
    });
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!((&rows[0]["ppid"], &rows[0]["exit"]), (&json!(made.child.id()), &json!("exited with code 9")));
    assert_eq!((&rows[0]["args"], &rows[0]["rss"]), (&json!("[leak_zombie] zombie"), &Value::Null));
}

#[test]
fn patterns_find_names_and_arguments_and_not_the_search_itself() {
    let word = format!("a-word-of-{}", std::process::id());
    let made = Made::shell(&format!(": {word}; echo here; read x"));
    let said = doula(&["ps", &word, "-o", "pid", "--no-heads"]);
    assert_eq!((said.code, said.out.trim()), (Some(0), made.pid().as_str()), "{said:?}");
    let said = doula(&["ps", &format!("no-{word}"), "-o", "pid", "--no-heads"]);
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
}

#[test]
fn rows_come_in_the_order_that_was_asked_for_and_no_more_than_so_many() {
    let made = Made::shell("sleep 1000 & sleep 1000 & echo here; wait");
    let pids = |sort: &str| -> Vec<i64> {
        let said = doula(&["ps", "--under", &made.pid(), "--sort", sort, "-n", "2", "--json"]);
        objects(&said).iter().filter_map(|row| row["pid"].as_i64()).collect()
    };
    let (up, down) = (pids("pid"), pids("-pid"));
    assert!(up.len() == 2 && up[0] < up[1], "{up:?}");
    assert!(down.len() == 2 && down[0] > down[1] && down[0] > up[1], "{down:?}");
}

#[test]
fn conditions_compare_sizes_times_numbers_and_signals() {
    let made = Made::shell("trap '' HUP; echo here; read x");
    for (condition, holds) in [
        ("rss>100K", true),
        ("rss>100G", false),
        ("age<1h", true),
        ("threads=1", true),
        ("threads!=1", false),
        ("ignored=HUP", true),
        ("ignored=SIGTERM", false),
        ("name~^s.$", true),
        ("name!~sh", false),
        ("state=R,S,D", true),
        ("tracer=-", true),
    ] {
        let said = doula(&["ps", &made.pid(), "-w", condition, "-o", "pid"]);
        assert_eq!(said.code, Some(i32::from(!holds)), "{condition}: {said:?}");
    }
}

#[test]
fn what_is_not_understood_is_one_error_with_its_cure() {
    for (args, part) in [
        (["-o", "pid,stat"], "there is no column `stat` (did you mean `state`?)"),
        (["-w", "rss>lots"], "`lots` is no number, size or time"),
        (["-w", "rss"], "`rss` is followed by none of"),
        (["-w", "name~("], "`(` is no regular expression: unclosed group"),
        (["-s", "nothing"], "there is no column `nothing`"),
        (["-w", "state=D,Q"], "`Q` is no state; states are R, S, D"),
        (["-w", "ignored=CHILD"], "unknown signal `CHILD`: write it as TERM"),
        (["-w", "user=no-such-user"], "there is no user `no-such-user` on this machine"),
        (["-w", "group!=no-such-group"], "there is no group `no-such-group` on this machine"),
        (["-w", "ppid=init"], "`init` is no number, size or time"),
    ] {
        let said = doula(&["ps", args[0], args[1]]);
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{said:?}");
        assert!(said.err.contains(part), "{said:?}");
    }
    let said = doula(&["ps", "("]);
    assert_eq!(said.code, Some(2), "{said:?}");
}

#[test]
fn csv_is_quoted_and_has_no_units() {
    let made = Made::shell("echo 'a,\"b\"'; read x");
    let said = doula(&["ps", &made.pid(), "--csv", "-o", "pid,rss,args"]);
    let lines: Vec<&str> = said.out.split("\r\n").collect();
    assert_eq!(lines[0], "pid,rss,args");
    let (numbers, args) = lines[1].split_once(",\"").expect("quoted arguments");
    assert!(numbers.split(',').all(|number| number.parse::<u64>().is_ok()), "{said:?}");
    assert_eq!(args, "sh -c echo 'a,\"\"b\"\"'; read x\"");
}

#[test]
fn cpu_use_is_measured_over_an_interval_or_not_told() {
    let made = Made::shell("echo here; while :; do :; done");
    let said = doula(&["ps", &made.pid(), "-o", "cpu", "--json"]);
    assert_eq!(objects(&said)[0]["cpu"], Value::Null);
    assert!(said.err.contains("--interval"), "{said:?}");
    let said = doula(&["ps", &made.pid(), "-o", "cpu,time", "--json", "-i", "300ms"]);
    let row = &objects(&said)[0];
    assert!(row["cpu"].as_f64().is_some_and(|percent| percent > 0.0), "{row}");
    assert_eq!(said.err, "");
}

#[test]
fn every_column_can_be_shown() {
    let said = doula(&["ps", "-o", "help"]);
    let names: Vec<&str> = said.out.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
    assert!(names.len() > 50, "{said:?}");
    let made = Made::shell("echo here; read x");
    let row = one(&made.pid(), &names.join(","));
    assert_eq!(row.as_object().map(serde_json::Map::len), Some(names.len()), "{row}");
    // Each of these is known of a child of our own.
    for name in ["pss", "uss", "read", "oom", "cgroup", "start", "switches", "user", "caught"] {
        assert!(!row[name].is_null(), "{name} of {row}");
    }
}

#[test]
fn threads_have_rows_of_their_own() {
    let said = doula(&["ps", "--threads", "--json", "-o", "pid,tgid,name", &std::process::id().to_string()]);
    let rows = objects(&said);
    assert!(rows.len() > 1, "the harness and this test are two threads: {said:?}");
    assert!(rows.iter().all(|row| row["tgid"] == json!(std::process::id())), "{rows:?}");
}

#[test]
fn the_full_table_is_that_which_sim_load_reads() {
    let made = Made::shell("sleep 1000 & echo $!; wait");
    let said = doula(&["ps", "--json", "--full"]);
    let table: Value = serde_json::from_str(&said.out).expect("one object");
    let taken: Value = serde_json::from_str(&doula(&["sim", "snapshot"]).out).expect("one object");
    let row = |table: &Value| {
        let rows = table["processes"].as_array().expect("rows");
        let sleeper = rows.iter().find(|row| row["pid"].as_u64() == made.first.parse().ok());
        let mut row = sleeper.and_then(Value::as_object).cloned().expect("the sleeper");
        // It may be on its way to sleep still.
        row.retain(|name, _| name != "state" && name != "waits");
        row
    };
    assert_eq!((&table["version"], row(&table)), (&taken["version"], row(&taken)));
    let path = std::env::temp_dir().join(format!("doula-full-{}", std::process::id()));
    std::fs::write(&path, &said.out).expect("a file");
    let told = doula(&["sim", "load", &path.to_string_lossy(), "--kill", &made.pid()]);
    std::fs::remove_file(&path).expect("our file");
    assert!(told.out.contains(&format!("adopts {}", made.first)), "{told:?}");
}
