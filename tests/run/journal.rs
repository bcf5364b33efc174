//! Runs that are killed and go on: no job is lost, none is run twice, and what was said is shown once.

use super::bounded::{end_of, line, lines, wait};
use super::ending::signal;
use super::{DOULA, Said, Scratch, has_cgroups, run, start};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::time::Duration;

/// A journal in a folder.
fn journal(scratch: &Scratch) -> String {
    scratch.path("journal")
}

/// Kills a run alone, and not its jobs.
fn kill(mut doula: Child) {
    doula.kill().expect("it lives");
    assert!(wait(&mut doula).is_some(), "it was killed");
}

/// Handles of those who look after jobs, by what the journal says of them.
fn shims(scratch: &Scratch) -> Vec<OwnedFd> {
    let text = scratch.read("journal");
    let pids = text.lines().filter_map(|line| line.split_once("\"started\"")?.1.split_once("\"pid\":"));
    let pids = pids.filter_map(|(_, rest)| rest.split(',').next()?.parse().ok());
    pids.filter_map(|pid| pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()).collect()
}

pub(super) fn await_gone(handle: &OwnedFd) {
    let minute = Timespec { tv_sec: 60, tv_nsec: 0 };
    let ready = poll(&mut [PollFd::new(handle, PollFlags::IN)], Some(&minute)).expect("a handle");
    assert_eq!(ready, 1, "it does not end");
}

/// Whether it ends within this time.
pub(super) fn ends_within(doula: &Child, time: Duration) -> bool {
    let handle = pidfd_open(Pid::from_child(doula), PidfdFlags::empty()).expect("a handle");
    let time = Timespec::try_from(time).expect("short");
    poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&time)).expect("a handle") > 0
}

/// A job that tells that it begun, and goes on when it is told to.
fn held(scratch: &Scratch, then: &str) -> (String, impl FnMut(), File) {
    let (said, both) = scratch.fifo("said");
    let (go, hold) = scratch.fifo("go");
    let mut reader = lines(both);
    let job = format!("echo out {{}}; echo begun >{said}; read x <{go}; {then}");
    (job, move || assert_eq!(line(&mut reader), "begun\n"), hold)
}

#[test]
fn a_run_that_is_killed_again_and_again_loses_no_job_and_runs_none_twice() {
    let scratch = Scratch::new("killed");
    let (journal, ran) = (journal(&scratch), scratch.path("ran"));
    let job = format!("echo {{}} >>{ran}; sleep 0.0$(({{}} % 4)); echo {{}}");
    let numbers: Vec<String> = (1..=200).map(|number| number.to_string()).collect();
    let numbers: Vec<&str> = numbers.iter().map(String::as_str).collect();
    let args = [&["-j8", "--journal", &journal, "--resume", "--shell", &job, ":::"], &numbers[..]].concat();
    // No two runs of this test kill at the same moments.
    let mut random = u64::from(std::process::id());
    let (mut out, mut kills) = (String::new(), 0);
    let last = loop {
        let doula = start(&args);
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let moment = Duration::from_millis(random >> 33 & 0xff);
        if kills == 30 || ends_within(&doula, moment) {
            break end_of(doula);
        }
        signal(&doula, Signal::KILL);
        out.push_str(&end_of(doula).out);
        kills += 1;
    };
    assert_eq!(last.code, Some(0), "{last:?}");
    let ran = scratch.read("ran");
    let mut ran: Vec<&str> = ran.lines().collect();
    let by_number = |number: &&str| number.parse::<u32>().expect("a number");
    ran.sort_unstable_by_key(by_number);
    assert_eq!(ran, numbers, "after {kills} kills: each was run once");
    out.push_str(&last.out);
    let mut said: Vec<&str> = out.lines().collect();
    said.sort_unstable_by_key(by_number);
    said.dedup();
    assert_eq!(said, numbers, "after {kills} kills: each was heard");
}

#[test]
fn a_job_that_outlives_its_run_is_adopted_with_its_words_and_its_end() {
    let scratch = Scratch::new("adopted");
    let (job, mut begun, mut go) = held(&scratch, "echo went on; exit 3");
    let journal = journal(&scratch);
    let args = ["-j1", "--journal", &journal, "--resume", "--shell", &job, ":::", "1", "2"];
    let doula = start(&args);
    begun();
    kill(doula);
    let mut doula = start(&args);
    let mut told = lines(doula.stderr.take().expect("a pipe"));
    assert_eq!(line(&mut told), "the journal goes on: 0 jobs done before, 1 run still and are adopted\n");
    writeln!(go, "on").expect("written");
    begun();
    writeln!(go, "on").expect("written");
    let said = end_of(doula);
    assert_eq!((said.code, said.out.as_str()), (Some(1), "out 1\nwent on\nout 2\nwent on\n"));
    let failed = line(&mut told);
    assert!(failed.starts_with("job 1 (") && failed.ends_with("exited with code 3\n"), "{failed}");
    let said = run(&args);
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "all was shown: {said:?}");
    assert!(!scratch.0.join("journal.d").exists(), "nothing is left of what was shown");
}

#[test]
fn a_job_that_ended_while_nobody_looked_is_taken_as_it_ended() {
    let scratch = Scratch::new("meanwhile");
    let (job, mut begun, mut go) = held(&scratch, "echo went on");
    let journal = journal(&scratch);
    let args = ["--journal", &journal, "--resume", "--shell", &job, ":::", "1"];
    let doula = start(&args);
    begun();
    let shims = shims(&scratch);
    kill(doula);
    writeln!(go, "on").expect("written");
    assert_eq!(shims.len(), 1);
    shims.iter().for_each(await_gone);
    let said = run(&args);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "out 1\nwent on\n"));
    assert_eq!(said.err, "the journal goes on: 0 jobs done before, 1 ended meanwhile\n");
}

/// A run whose job was killed with it, also who looked after that.
fn lost(scratch: &Scratch) -> [String; 2] {
    let (job, mut begun, _go) = held(scratch, ":");
    let journal = journal(scratch);
    let doula = start(&["--journal", &journal, "--shell", &job, ":::", "1"]);
    begun();
    let shims = shims(scratch);
    kill(doula);
    for shim in &shims {
        pidfd_send_signal(shim, Signal::KILL).expect("it lives");
        await_gone(shim);
    }
    [journal, job]
}

#[test]
fn a_job_whose_end_nobody_knows_has_failed_and_that_is_told() {
    let scratch = Scratch::new("unknown");
    let [journal, job] = lost(&scratch);
    let args = ["--journal", &journal, "--resume", "--shell", &job, ":::", "1"];
    let said = run(&args);
    assert_eq!((said.code, said.out.as_str()), (Some(1), "out 1\n"), "{said:?}");
    assert!(
        said.err.contains("1 began, and nobody knows how they ended: they are taken as failed"),
        "{said:?}"
    );
    assert!(said.err.contains("ended, nobody knows how"), "{said:?}");
    assert_eq!(run(&args).code, Some(1), "it stays so");
}

#[test]
fn a_job_whose_end_nobody_knows_is_run_again_if_that_is_asked_for() {
    let scratch = Scratch::new("again");
    let [journal, job] = lost(&scratch);
    let go = scratch.path("go");
    let mut hold = OpenOptions::new().read(true).write(true).open(go).expect("a FIFO");
    writeln!(hold, "on").expect("written");
    let _said = OpenOptions::new().read(true).write(true).open(scratch.path("said")).expect("a FIFO");
    let said = run(&["--journal", &journal, "--resume", "--unknown", "again", "--shell", &job, ":::", "1"]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "out 1\n"), "{said:?}");
    assert!(said.err.contains("they are run again"), "{said:?}");
}

#[test]
fn who_comes_after_the_next_run_began_ends_without_its_job() {
    let scratch = Scratch::new("late");
    let (journal, ran) = (journal(&scratch), scratch.path("ran"));
    let job = format!("echo {{}} >>{ran}");
    let args = ["--journal", &journal, "--resume", "--shell", &job, ":::", "1"];
    assert_eq!(run(&args).code, Some(0));
    let first = fs::read(&journal).expect("a journal");
    let begin = String::from_utf8_lossy(&first).find("\"started\"").expect("it started") - "12345678 {".len();
    fs::write(&journal, &first[..begin]).expect("cut");
    assert_eq!(run(&args).code, Some(0), "what never started is run");
    let file = OpenOptions::new().read(true).append(true).open(&journal).expect("a journal");
    let mut late = doula::Command::exact(DOULA);
    late.args(["tend-job", "1", "1", "1", &begin.to_string(), "sh", "-c", &format!("echo late >>{ran}")]);
    let mut late = late.fd(3, OwnedFd::from(file)).spawn().expect("it starts");
    let status = late.wait_timeout(Duration::from_secs(60)).expect("it ends");
    assert_eq!(status.exit_code(), Some(0));
    assert_eq!(scratch.read("ran"), "1\n1\n", "twice by us, and not by who came late");
    assert_eq!(run(&args).code, Some(0), "and its line misleads nobody");
    assert_eq!(scratch.read("ran"), "1\n1\n");
}

#[test]
fn one_run_at_a_time_works_at_a_journal() {
    let scratch = Scratch::new("two");
    let (job, mut begun, mut go) = held(&scratch, ":");
    let journal = journal(&scratch);
    let args = ["--journal", &journal, "--resume", "--shell", &job, ":::", "1"];
    let doula = start(&args);
    begun();
    let said = run(&args);
    assert_eq!(said.code, Some(2));
    let told = format!("error: another doula (PID {}) works at the journal `{journal}`\n", doula.id());
    assert!(said.err.starts_with(&told), "{said:?}");
    writeln!(go, "on").expect("written");
    assert_eq!(end_of(doula).code, Some(0));
}

#[test]
fn a_journal_goes_on_only_with_its_own_command_and_inputs() {
    let scratch = Scratch::new("same");
    let journal = journal(&scratch);
    assert_eq!(run(&["--journal", &journal, "echo", "{}", ":::", "a", "b"]).code, Some(0));
    let refused = |args: &[&str], why: &str| {
        let said = run(&[&["--journal", &journal], args].concat());
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{said:?}");
        assert!(said.err.contains(why), "{why}: {said:?}");
    };
    refused(&["echo", "{}", ":::", "a", "b"], "there is a journal");
    refused(&["--resume", "cat", "{}", ":::", "a", "b"], "is of `echo '{}' (in ");
    refused(&["--resume", "--shell", "echo", "{}", ":::", "a", "b"], "and this is `echo '{}' --shell (in ");
    refused(
        &["--resume", "echo", "{}", ":::", "a", "c"],
        "job 2 had the input `b` in the journal, and has `c` now",
    );
    refused(
        &["--resume", "echo", "{}", ":::", "a"],
        "the journal knows 2 jobs, and there are inputs for 1 only",
    );
    let said = run(&["--journal", &journal, "--resume", "echo", "{}", ":::", "a", "b", "c"]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "c\n"), "more inputs are more jobs");
    fs::write(&journal, "something else\n").expect("written");
    refused(&["--resume", "echo", "{}", ":::", "a"], "is no journal of doula");
}

#[test]
fn a_run_with_a_journal_shows_and_fails_as_one_without() {
    let scratch = Scratch::new("plain");
    let job = "echo out {}; echo err {} >&2; exit $(({} % 2))";
    let args = ["-k", "--tag", "--shell", job, ":::", "1", "2", "3"];
    let journal = journal(&scratch);
    let (with, without) = (run(&[&["--journal", &journal], &args[..]].concat()), run(&args));
    assert_eq!((with.code, &with.out, &with.err), (without.code, &without.out, &without.err));
    let said = run(&["-j1", "--journal", &scratch.path("other"), "no-such-program", ":::", "1", "2"]);
    assert_eq!(said.code, Some(127), "{said:?}");
    assert!(said.err.starts_with("job 1 (no-such-program 1): `no-such-program` was not found"), "{said:?}");
}

#[test]
fn jobs_of_a_journal_end_with_their_tree_when_time_is_over_or_they_are_given_up() {
    let scratch = Scratch::new("tree");
    if !has_cgroups() {
        return;
    }
    let (held_by, both) = scratch.fifo("held");
    // Whoever lives has the FIFO open for writing.
    let job = format!(
        "exec 9>{held_by}; setsid sleep 1000 & echo begun >&9; trap '' TERM; sleep 1000; sleep 1000; : {{}}"
    );
    let journal = journal(&scratch);
    let args = ["--timeout", "100ms", "--grace", "10ms", "--journal", &journal, "--shell", &job, ":::", "1"];
    let said = run(&args);
    assert!(said.err.ends_with("took too long\n"), "{said:?}");
    // An adopted one, when its run is asked to end.
    let journal = scratch.path("given-up");
    let args = ["--grace", "10ms", "--resume", "--journal", &journal, "--shell", &job, ":::", "1"];
    let doula = start(&args);
    let mut reader = lines(both);
    // Both said so.
    line(&mut reader);
    line(&mut reader);
    kill(doula);
    let mut doula = start(&args);
    let told = line(&mut lines(doula.stderr.take().expect("a pipe")));
    assert!(told.contains("1 run still and are adopted"), "{told}");
    signal(&doula, Signal::INT);
    assert_eq!(end_of(doula).code, Some(130));
    let rest = File::open(&held_by).expect("a FIFO");
    drop(reader);
    super::bounded::await_end(rest);
}

#[test]
#[expect(clippy::print_stdout, reason = "a test that cannot run says so")]
fn a_full_disk_ends_a_run_in_order_and_with_room_it_goes_on() {
    let scratch = Scratch::new("full");
    let args = "run -j2 --journal journal --resume --shell 'echo {} >>../ran' ::: $(seq 100)";
    let script = format!(
        "mount -t tmpfs -o size=48k none small && cd small || exit 77; \
         {DOULA} {args}; echo first $?; \
         mount -o remount,size=10m none . || exit 77; \
         {DOULA} {args}; echo second $?"
    );
    fs::create_dir(scratch.0.join("small")).expect("a folder");
    let mut doula = Command::new("unshare");
    doula.args(["-rm", "sh", "-c", &script]).current_dir(&scratch.0);
    let doula = doula.stdin(std::process::Stdio::null());
    let doula = doula.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let said = doula.spawn().map(end_of);
    let Ok(said @ Said { code: Some(0), .. }) = said else {
        return println!("skipped: nothing can be mounted here: {said:?}");
    };
    assert_eq!(said.out, "first 125\nsecond 0\n", "{said:?}");
    assert!(said.err.contains("failed to write the journal: No space left on device"), "{said:?}");
    let ran = scratch.read("ran");
    let mut ran: Vec<u32> = ran.lines().map(|number| number.parse().expect("a number")).collect();
    ran.sort_unstable();
    assert_eq!(ran, (1..=100).collect::<Vec<_>>());
}
