//! How jobs fail, and what comes of it.

use super::bounded::{await_end, end_of, line, lines};
use super::{Scratch, has_cgroups, run};
use std::fs::File;

#[test]
fn one_job_that_dies_in_any_way_is_named_and_the_others_succeed() {
    let ends = [
        ("kill -KILL $$", "was killed by SIGKILL"),
        ("kill -SEGV $$", "was killed by SIGSEGV"),
        ("exit 7", "exited with code 7"),
        ("exec >&- 2>&-; exit 1", "exited with code 1"),
    ];
    let tasks: Vec<String> = (1..=20).map(|number| number.to_string()).collect();
    for (end, told) in ends {
        let line = format!("if [ {{}} = 7 ]; then {end}; fi; echo ok");
        let mut args = vec!["-j2", "--shell", &line, ":::"];
        args.extend(tasks.iter().map(String::as_str));
        let said = run(&args);
        assert_eq!((said.code, said.out.lines().count()), (Some(1), 19), "{said:?}");
        assert!(said.err.starts_with("job 7 (") && said.err.ends_with(&format!("{told}\n")), "{said:?}");
        assert_eq!(said.err.lines().count(), 1, "{said:?}");
    }
}

#[test]
fn a_program_that_does_not_exist_is_told_and_nothing_more_is_begun() {
    let tasks: Vec<String> = (1..=50).map(|number| number.to_string()).collect();
    let mut args = vec!["-j1", "/nowhere/at-all", ":::"];
    args.extend(tasks.iter().map(String::as_str));
    let said = run(&args);
    assert_eq!(said.code, Some(127));
    assert_eq!(said.err, "job 1 (/nowhere/at-all 1): `/nowhere/at-all` does not exist\n");
    let scratch = Scratch::new("plain");
    std::fs::write(scratch.path("file"), "no program").expect("written");
    assert_eq!(run(&[&scratch.path("file"), ":::", "1"]).code, Some(126));
    // Where each job has a program of its own, the others are begun.
    let said = run(&["-k", "-j1", "{}", "x", ":::", "/nowhere/at-all", "echo"]);
    assert_eq!((said.code, said.out.as_str()), (Some(1), "x\n"));
}

#[test]
#[expect(clippy::print_stdout, reason = "a test that cannot run says so")]
fn a_job_that_is_killed_for_want_of_memory_is_told_apart() {
    let group = std::path::PathBuf::from(format!("/sys/fs/cgroup/memory/doula-run-{}", std::process::id()));
    if std::fs::create_dir(&group).is_err() {
        return println!("skipped: no v1 memory group may be made here");
    }
    let _removed = Group(group.clone());
    std::fs::write(group.join("memory.limit_in_bytes"), "64M").expect("a limit");
    let procs = group.join("cgroup.procs");
    let line = format!(
        "echo $$ >{} && exec awk 'BEGIN {{ for (;;) x = x \"0123456789abcdef\" x }}' {{}}",
        procs.display()
    );
    let said = run(&["--retries", "3", "--retry-on", "1", "--shell", &line, ":::", "1"]);
    assert!(said.err.ends_with("was killed for want of memory\n"), "{said:?}");
}

/// A cgroup that is removed at the end.
pub(super) struct Group(pub(super) std::path::PathBuf);

impl Drop for Group {
    fn drop(&mut self) {
        drop(std::fs::remove_dir(&self.0));
    }
}

#[test]
fn a_job_that_takes_too_long_ends_with_all_its_descendants() {
    let scratch = Scratch::new("timeout");
    let (fifo, both) = scratch.fifo("fifo");
    // Each of them holds the FIFO open; the last ones left their group and their session, and do not hear SIGTERM.
    let line = format!(
        "exec 9<>{fifo}; trap '' TERM; setsid sh -c 'sleep 1000 & sleep 1000' & sleep 1000; sleep 1000"
    );
    let said = run(&["--timeout", "50ms", "--grace", "50ms", "--shell", &line, ":::", "1"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.ends_with("took too long\n"), "{said:?}");
    let reader = File::open(&fifo).expect("a FIFO");
    drop(both);
    await_end(reader);
}

#[test]
fn what_a_job_leaves_behind_is_ended_and_told_unless_it_may_stay() {
    if !has_cgroups() {
        return;
    }
    let scratch = Scratch::new("left");
    let (fifo, both) = scratch.fifo("fifo");
    let job = format!("setsid sleep 1000 9<>{fifo} & echo done {{}}");
    let said = run(&["--shell", &job, ":::", "1"]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "done 1\n"));
    assert_eq!(said.err, "job 1 left processes behind: they were ended\n");
    let reader = File::open(&fifo).expect("a FIFO");
    drop(both);
    await_end(reader);
    // One that may stay ends when it is told to.
    let (fifo, mut both) = scratch.fifo("stay");
    let job = format!("(read x <{fifo}; echo $x >{fifo}.answer) >/dev/null 2>&1 & echo done {{}}");
    let said = run(&["--leave", "--shell", &job, ":::", "1"]);
    assert_eq!((said.out.as_str(), said.err.as_str()), ("done 1\n", ""));
    let (answer, _held) = scratch.fifo("stay.answer");
    std::io::Write::write_all(&mut both, b"stayed\n").expect("written");
    assert_eq!(line(&mut lines(File::open(answer).expect("a FIFO"))), "stayed\n");
}

#[test]
fn who_is_left_behind_and_writes_on_and_on_holds_nobody_up() {
    let said = run(&["--leave", "--line-buffer", "--shell", "yes & exit 0", ":::", "1"]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
}

#[test]
fn failures_are_tried_again_by_kind_and_only_the_last_output_is_shown() {
    let scratch = Scratch::new("retries");
    let file = scratch.path("tries");
    let line = format!("echo x >>{file}; n=$(wc -l <{file}); echo try $n; [ $n -ge 3 ] || exit 75");
    let said = run(&["--retries", "5", "--retry-on", "75", "--shell", &line, ":::", "1"]);
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (Some(0), "try 3\n", ""));
    let said = run(&["--retries", "2", "--shell", "exit 75", ":::", "1"]);
    assert!(said.err.ends_with("exited with code 75, 3 times\n"), "{said:?}");
    let said = run(&["--retries", "2", "--retry-on", "75,timeout", "--shell", "exit 1", ":::", "1"]);
    assert!(said.err.ends_with("exited with code 1\n"), "{said:?}");
}

#[test]
fn a_job_that_dies_twice_is_not_tried_again() {
    let said = run(&["--retries", "9", "--shell", "kill -SEGV $$", ":::", "1"]);
    assert!(said.err.ends_with("was killed by SIGSEGV, 2 times, and is not tried again\n"), "{said:?}");
    let said = run(&["--retries", "3", "--quarantine", "0", "--shell", "kill -SEGV $$", ":::", "1"]);
    assert!(said.err.ends_with("was killed by SIGSEGV, 4 times\n"), "{said:?}");
}

#[test]
fn a_run_is_given_up_by_its_rule() {
    let line = "if [ {} = 1 ]; then exit 1; else sleep 1000; fi";
    let said = run(&["-j2", "--halt", "now,fail=1", "--shell", line, ":::", "1", "2", "3"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("halted by the rule of --halt"), "{said:?}");
    assert!(said.out.is_empty() && !said.err.contains("job 2"), "{said:?}");
    let said = run(&["-j1", "--halt", "soon,success=2", "echo", ":::", "1", "2", "3", "4"]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "1\n2\n"));
}

#[test]
fn a_run_that_meets_a_limit_has_fewer_jobs_at_once_and_loses_none() {
    let tasks: Vec<String> = (1..=60).map(|number| number.to_string()).collect();
    // Each job waits until somebody says that it may go on: so all slots that there are get used.
    let scratch = Scratch::new("limit");
    let (go, mut hold) = scratch.fifo("go");
    let job = format!("read x <{go}; ulimit -Sn; echo {{}}");
    let shell = format!(
        "ulimit -Sn 40; ulimit -Hn 100; exec '{}' run -k -j0 --shell '{job}' ::: {}",
        super::DOULA,
        tasks.join(" ")
    );
    let mut doula = std::process::Command::new("sh");
    doula.args(["-c", &shell]).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut doula = doula.spawn().expect("sh");
    let mut err = lines(doula.stderr.take().expect("a pipe"));
    let told = line(&mut err);
    assert!(told.starts_with("fewer jobs at once than were asked for: "), "{told}");
    std::io::Write::write_all(&mut hold, "x\n".repeat(60).as_bytes()).expect("written");
    let said = end_of(doula);
    let expected: String = tasks.iter().map(|task| format!("40\n{task}\n")).collect();
    assert_eq!((said.code, said.out.as_str()), (Some(0), expected.as_str()));
}

/// Our own places in the second hierarchy of cgroups.
fn own_cgroups() -> Vec<String> {
    let mounts = std::fs::read_to_string("/proc/mounts").expect("mounts");
    let second = mounts.lines().filter(|line| line.split(' ').nth(2) == Some("cgroup2"));
    let places = std::fs::read_to_string("/proc/self/cgroup").expect("places");
    let own = places.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
    second.filter_map(|line| Some(format!("{}{own}", line.split(' ').nth(1)?))).collect()
}

/// The cgroups that this process made and left.
fn left_behind(pid: u32) -> Vec<String> {
    let folders = own_cgroups().into_iter().filter_map(|path| std::fs::read_dir(path).ok());
    let names = folders.flatten().flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("doula-") && name.contains(&format!(".{pid}."))).collect()
}

/// An empty cgroup that is named as if we, who live, had made it. `None` where none may be made.
fn empty_cgroup_of_ours() -> Option<std::path::PathBuf> {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("we live");
    let start = stat.rsplit(") ").next()?.split(' ').nth(19)?.to_owned();
    let link = std::fs::read_link("/proc/self/ns/pid").expect("a namespace").to_str()?.to_owned();
    let namespace = link.trim_matches(|c: char| !c.is_ascii_digit());
    let path = format!("{}/doula-held.{}.{start}.{namespace}", own_cgroups().first()?, std::process::id());
    std::fs::create_dir(&path).ok().map(|()| path.into())
}

/// Also where what a job needs to begin is more than what one needs that runs: with each limit there is another part that
/// finds no room.
#[test]
fn with_any_limit_of_open_files_a_run_ends_and_leaves_nothing() {
    let tasks: Vec<String> = (1..=30).map(|number| number.to_string()).collect();
    let held = empty_cgroup_of_ours();
    let mut complete = 0;
    for limit in 6..50 {
        let shell =
            format!("ulimit -n {limit}; exec '{}' run -k -j0 echo ::: {}", super::DOULA, tasks.join(" "));
        let mut doula = std::process::Command::new("sh");
        doula.args(["-c", &format!("echo $$; {shell}")]).stdin(std::process::Stdio::null());
        doula.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let said = end_of(doula.spawn().expect("sh"));
        let (pid, out) = said.out.split_once('\n').expect("a number");
        match said.code {
            Some(0) => {
                assert_eq!(out.lines().collect::<Vec<_>>(), tasks, "limit {limit}: {said:?}");
                complete += 1;
            }
            code => assert!(code == Some(125) && said.err.contains("ulimit -n"), "limit {limit}: {said:?}"),
        }
        assert_eq!(left_behind(pid.parse().expect("a number")), [""; 0], "limit {limit}");
    }
    assert!(complete > 20, "{complete}");
    // Whoever has no fd left to look at /proc does not take others for dead.
    assert!(held.is_none_or(|path| std::fs::remove_dir(path).is_ok()));
}

#[test]
fn nothing_begins_while_the_machine_is_short_of_what_was_asked_for() {
    let mut doula = super::start(&["--memfree", "1000000T", "--events", "-", "echo", ":::", "1"]);
    let mut err = lines(doula.stderr.take().expect("a pipe"));
    let event = line(&mut err);
    assert!(event.contains("throttled"), "{event}");
    super::ending::signal(&doula, rustix::process::Signal::TERM);
    let said = end_of(doula);
    assert_eq!((said.code, said.out.as_str()), (Some(143), ""));
    assert_eq!(
        run(&["--memfree", "1", "--load", "100000", "--pressure", "100%", "echo", ":::", "1"]).out,
        "1\n"
    );
}

/// Words, environment, standard input, status and core of a job in quarantine, for commands with and without a journal, and workers.
#[test]
#[expect(clippy::print_stdout, reason = "a test that cannot run says so")]
fn a_bundle_has_all_that_it_takes_to_see_what_a_job_died_of() {
    let dies = "ulimit -c unlimited; kill -SEGV $$";
    let worker = format!("read line; {dies}");
    let manners: [(&[&str], &str, &str); 3] = [
        (&["--retries=1", "sh", "-c", dies, "x"], "", "command"),
        (&["--retries=1", "--journal=kept.j", "sh", "-c", dies, "x"], "", "journal"),
        (&["--workers=lines", "sh", "-c", &worker], "{\"id\":1,\"input\":\"a b\"}\n", "worker"),
    ];
    for (args, input, name) in manners {
        let scratch = Scratch::new("all-of-it");
        let mut doula = std::process::Command::new(super::DOULA);
        doula.args(["run", "-j1", "--bundle", "kept"]).args(args).args([":::", "a b"]);
        doula.current_dir(&scratch.0).env("SEEN", "it's here").stdin(std::process::Stdio::null());
        let said = doula.output().expect("doula");
        assert_eq!(said.status.code(), Some(1), "{name}: {said:?}");
        let kept = scratch.read("kept/job-1/job.json");
        let kept: serde_json::Value = serde_json::from_str(&kept).expect("JSON");
        let script = scratch.read("kept/job-1/run");
        assert!(script.contains("'SEEN=it'\\''s here'"), "{name}: {script}");
        let words = kept["command"].as_array().expect("words");
        assert_eq!((&words[0], &words[1]), (&"sh".into(), &"-c".into()), "{name}");
        assert_eq!(words.last() == Some(&"a b".into()), input.is_empty(), "{name}");
        assert_eq!(scratch.read("kept/job-1/input"), input, "{name}");
        let ends = kept["ends"].as_array().expect("a list");
        assert_eq!(ends.len(), 2, "{name}: {kept}");
        for end in ends {
            assert!(end["pid"].as_u64().is_some(), "{name}: {kept}");
            assert_eq!(
                (&end["signal"], &end["code"]),
                (&"SIGSEGV".into(), &serde_json::Value::Null),
                "{name}"
            );
            let Some(core) = end["core"].as_str() else {
                println!("skipped: cores are not dumped here");
                continue;
            };
            let place = core.starts_with('|') || core.contains('*');
            assert!(place || std::path::Path::new(core).exists(), "{name}: {kept}");
        }
    }
}
