//! What the jobs get.

use super::bounded::{end_of, line, lines};
use super::{Scratch, run, run_of, start};
use std::io::Write as _;

#[test]
fn each_line_of_standard_input_is_a_job() {
    let said = run_of(b"x\ny y\n\nit's", &["-k", "printf", "<%s>\\n"]);
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (Some(0), "<x>\n<y y>\n<it's>\n", ""));
    assert_eq!(run(&["echo"]).out, "");
}

#[test]
fn lists_are_combined_or_go_in_step_and_places_name_their_columns() {
    let said = run(&["-k", "echo", "{2}-{1.}", ":::", "a.c", "b.c", ":::", "1", "2"]);
    assert_eq!(said.out, "1-a\n2-a\n1-b\n2-b\n");
    assert_eq!(run(&["-k", "echo", "{2}{1}", ":::", "a", "b", ":::+", "1", "2"]).out, "1a\n2b\n");
    let scratch = Scratch::new("lists");
    std::fs::write(scratch.path("list"), "one\ntwo\n").expect("written");
    assert_eq!(run(&["-k", "echo", "{}", "::::", &scratch.path("list")]).out, "one\ntwo\n");
    assert_eq!(run(&["-k", "-a", &scratch.path("list"), "echo", "{#}"]).out, "1\n2\n");
    assert_eq!(run(&["-k", "-C", ",\\s*", "echo", "{2} {1}", ":::", "a, b", "c,d"]).out, "b a\nd c\n");
}

#[test]
fn names_of_any_bytes_arrive_as_they_are() {
    let said = run_of(b"a\nb\0 \xff'\0", &["-0", "-k", "sh", "-c", "printf %s \"$0\" | od -An -tx1"]);
    assert_eq!(said.out, " 61 0a 62\n 20 ff 27\n");
    let said = run_of(b"a b\0", &["-0", "--shell", "printf '<%s>' {} {}x"]);
    assert_eq!(said.out, "<a b><a bx>");
    assert_eq!(run_of(b"1:2:3", &["-k", "-d", ":", "echo"]).out, "1\n2\n3\n");
}

#[test]
fn several_inputs_go_into_one_command() {
    assert_eq!(run(&["-k", "-n", "2", "echo", ":::", "1", "2", "3"]).out, "1 2\n3\n");
    let many: String = (0..30_000).map(|number| format!("{number}\n")).collect();
    let said = run_of(many.as_bytes(), &["-k", "-X", "sh", "-c", "echo $#", "sh"]);
    let counts: Vec<u32> = said.out.lines().map(|line| line.parse().expect("a number")).collect();
    assert!(counts.len() > 1 && counts.iter().sum::<u32>() == 30_000, "{counts:?}");
}

#[test]
fn as_many_inputs_as_fit_are_spread_over_the_slots_with_what_stands_around_their_place() {
    let inputs = ["1", "2", "3", "4", "5", "6", "7"];
    let all = |options: &[&'static str], command: &[&'static str]| {
        let args: Vec<&str> = options.iter().chain(command).chain(&[":::"]).chain(&inputs).copied().collect();
        run(&args).out
    };
    let echo = ["echo", "pic{}.x", "{}b"];
    assert_eq!(
        all(&["-k", "-j3", "-X"], &echo),
        "pic1.x pic2.x pic3.x 1b 2b 3b\npic4.x pic5.x pic6.x 4b 5b 6b\npic7.x 7b\n"
    );
    assert_eq!(all(&["-k", "-j3", "-m"], &echo), "pic1 2 3.x 1 2 3b\npic4 5 6.x 4 5 6b\npic7.x 7b\n");
    assert_eq!(all(&["-k", "-j3", "--xargs"], &["echo"]), "1 2 3 4 5 6 7\n");
    assert_eq!(
        all(&["-k", "-j2", "-X", "--shell"], &["echo a{}; echo {}"]),
        "a1 a2 a3 a4\n1 2 3 4\na5 a6 a7\n5 6 7\n"
    );
    let said = run_of(b"1\n2\n3\n", &["-k", "-j2", "-X", "echo"]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "1 2\n3\n"));
}

#[test]
fn a_job_and_a_worker_have_the_limits_that_were_asked_for() {
    let limits = ["--rlimit", "nofile=64:128", "--rlimit", "core=0"];
    let all = |more: &[&'static str]| {
        let args: Vec<&str> = limits.iter().chain(more).copied().collect();
        run(&args)
    };
    let said = all(&["sh", "-c", "ulimit -Sn; ulimit -Hn; ulimit -c", ":::", "1"]);
    assert_eq!(said.out, "64\n128\n0\n", "{said:?}");
    let worker = r#"while read line; do echo "{\"id\":1,\"output\":$(ulimit -Sn)}"; done"#;
    let said = all(&["--workers", "lines", "-j1", "sh", "-c", worker, ":::", "1"]);
    assert_eq!(said.out, "64\n", "{said:?}");
    let said = run(&["--rlimit", "files=1", "true", ":::", "1"]);
    assert_eq!(said.code, Some(2));
    assert!(
        said.err.contains("`files` is no resource: there are") && said.err.contains("nofile"),
        "{said:?}"
    );
}

#[test]
fn without_a_command_each_input_is_one() {
    let said = run_of(b"echo 'a  b'\nsh -c 'exit 3'\necho 'x\n", &["-k"]);
    assert_eq!(said.out, "a  b\n");
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("job 2 (sh -c 'exit 3') exited with code 3"), "{said:?}");
    assert!(said.err.contains("job 3 (''): a quote is never closed in `echo 'x`"), "{said:?}");
    assert_eq!(run_of(b"echo a | tr a b", &["--shell"]).out, "b\n");
}

#[test]
fn jobs_begin_before_all_inputs_are_known() {
    let mut doula = start(&["echo", "got"]);
    let mut stdin = doula.stdin.take().expect("a pipe");
    let mut out = lines(doula.stdout.take().expect("a pipe"));
    for word in ["a", "b"] {
        writeln!(stdin, "{word}").expect("it reads");
        assert_eq!(line(&mut out), format!("got {word}\n"));
    }
    drop(stdin);
    assert_eq!(end_of(doula).code, Some(0));
}

#[test]
fn a_dry_run_shows_the_commands_as_a_shell_reads_them() {
    let said = run(&["--dry-run", "convert", "{}", "{.}.png", ":::", "a b.jpg", "$x.jpg"]);
    assert_eq!(said.out, "convert 'a b.jpg' 'a b.png'\nconvert '$x.jpg' '$x.png'\n");
}

#[test]
fn more_tasks_than_two_pipes_hold_all_come_to_their_end() {
    let many: String = (1..=2_500).map(|number| format!("{number}\n")).collect();
    let said = run_of(many.as_bytes(), &["-j", "4", "-k", "echo"]);
    assert_eq!(said.out, many);
}

#[test]
fn a_wrong_option_is_one_error_that_names_the_cure() {
    for (args, cure) in [
        (["-j", "many", "true"], "write 8, 50%, or 0"),
        (["--halt", "now", "true"], "as in now,fail=1"),
        (["--timeout", "5", "true"], "5s"),
        (["--retry-on", "bad", "true"], "write exit codes, code, signal"),
        (["-d", "ab", "true"], "one character"),
        (["-C", "(", "true"], "unclosed group"),
        (["--load", "x", "true"], "write 4, or 80%"),
    ] {
        let said = run(&args);
        assert!(said.code == Some(2) && said.err.contains(cure) && said.out.is_empty(), "{args:?}: {said:?}");
    }
    let said = run(&["echo", "::::", "/nowhere/list"]);
    assert!(
        said.code == Some(2) && said.err.contains("failed to read inputs from `/nowhere/list`"),
        "{said:?}"
    );
}
