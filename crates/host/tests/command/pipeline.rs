//! Pipelines: who failed, who is left, and that nobody waits for ever.

use crate::{LONG, actors::actor, is_dead, tree};
use doula_host::cgroup::Cgroups;
use doula_host::{
    Capture, Child, Command, Errno, ExitStatus, OnDrop, Pid, Pipeline, PipelineEnd, PipelineError, Proof,
    Signal, Stdio,
};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

/// So short that only what never ends is longer.
const SHORT: Duration = Duration::from_millis(300);

fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

fn sleeper() -> Command {
    Command::exact(actor("sleeper"))
}

fn output(pipeline: &Pipeline) -> PipelineEnd {
    pipeline.output().unwrap_or_else(|error| panic!("{error}"))
}

/// A handle that outlives the child's own.
fn handle_of(child: &Child) -> OwnedFd {
    child.as_fd().try_clone_to_owned().expect("a number")
}

fn ends(handle: &OwnedFd) -> bool {
    doula_sys::poll::readable(handle, Some(LONG)) == Ok(true)
}

/// Whether all copies of the writing end are closed: whoever had one is gone.
fn is_closed(reader: &OwnedFd) -> bool {
    doula_sys::poll::readable(reader, Some(LONG)) == Ok(true)
        && doula_sys::fd::read(reader, &mut [0]) == Ok(0)
}

fn file(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("doula-pipeline-{}-{name}", std::process::id()))
}

#[test]
fn ten_megabytes_go_through_five_stages_counted_or_not() {
    const BYTES: u64 = 10 << 20;
    let mut pipeline = Pipeline::new(Command::new("head").args(["-c", &BYTES.to_string(), "/dev/zero"]));
    for _ in 0..3 {
        pipeline.pipe(Command::new("cat"));
    }
    pipeline.pipe(Command::new("wc").arg("-c"));
    let end = output(&pipeline);
    assert_eq!((end.stdout_text().trim(), end.success()), (BYTES.to_string().as_str(), true));
    assert!(end.stages.iter().all(|stage| stage.passed.is_none() && stage.wall > Duration::ZERO));
    let end = output(pipeline.count_pipes().pipe_size(1 << 20));
    let passed: Vec<_> = end.stages.iter().map(|stage| stage.passed).collect();
    assert_eq!(passed, [Some(BYTES), Some(BYTES), Some(BYTES), Some(BYTES), None]);
    assert_eq!(end.stdout_text().trim(), BYTES.to_string());
}

#[test]
fn a_reader_that_ends_early_excuses_who_writes_counted_or_not() {
    let mut pipeline = Pipeline::new(Command::new("yes"));
    pipeline.pipe(sh("yes; exit $?")).pipe(Command::new("head").arg("-1"));
    for counted in [false, true] {
        if counted {
            pipeline.count_pipes();
        }
        let end = output(&pipeline);
        assert_eq!((end.stdout_text().as_str(), end.success(), end.shell_code()), ("y\n", true, 0));
        assert_eq!(end.stages[0].status, ExitStatus::signal(Signal::PIPE));
        assert_eq!(end.stages[1].status, ExitStatus::code(141), "a shell passes it on");
        assert!(end.stages[0].excused && end.stages[1].excused && !end.stages[2].excused);
    }
}

#[test]
fn a_writer_hears_that_nobody_reads_also_while_the_reader_lives() {
    let script = "head -1; exec <&-; read never <&9";
    let (never, writer) = doula_sys::fd::pipe().expect("a pipe");
    let mut children = Pipeline::new(Command::new("yes"))
        .pipe(sh(script).fd(9, never))
        .count_pipes()
        .spawn()
        .expect("births");
    let first = handle_of(&children.stages()[0]);
    assert!(children.wait_beside(&first).expect("waits").is_none());
    drop(writer);
    assert!(children.wait().expect("an end").stages[0].excused);
}

#[test]
fn the_last_stages_sigpipe_is_a_failure() {
    let end = output(Pipeline::new(Command::new("true")).pipe(sh("kill -PIPE $$")));
    assert_eq!((end.failure(), end.shell_code(), end.stages[1].excused), (Some(1), 141, false));
    assert_eq!(end.to_string(), "stage 2 (`sh`) was killed by SIGPIPE");
}

#[test]
fn the_last_stage_that_failed_gives_the_code() {
    let end =
        output(Pipeline::new(sh("exit 3")).pipe(sh("cat >/dev/null; exit 4")).pipe(Command::new("cat")));
    let codes: Vec<_> = end.stages.iter().map(|stage| stage.status.exit_code()).collect();
    assert_eq!((codes, end.failure(), end.shell_code()), (vec![Some(3), Some(4), Some(0)], Some(1), 4));
    let end = output(Pipeline::new(sh("exit 3")).pipe(sh("kill -KILL $$")));
    assert_eq!((end.failure(), end.shell_code()), (Some(1), 137));
}

#[test]
fn a_stage_that_does_not_read_its_input_keeps_nobody() {
    let million = vec![b'x'; 1 << 20];
    let end = Pipeline::new(Command::new("cat")).pipe(Command::new("true")).output_of(&million);
    assert!(end.is_ok_and(|end| end.success()));
    let end = Pipeline::new(Command::new("true")).pipe(Command::new("cat")).output_of(&million);
    assert!(end.is_ok_and(|end| end.success() && end.stdout().is_empty()));
}

#[test]
fn no_stage_holds_an_end_of_anothers_pipe() {
    let dump = actor("env_dump");
    let second = sh("cat >/dev/null; exec \"$0\" >&2");
    let mut pipeline = Pipeline::new(Command::new("true"));
    pipeline.pipe({ second }.arg(&dump)).pipe(Command::new("cat")).pipe(Command::exact(&dump)).count_pipes();
    let end = output(&pipeline);
    for text in [end.stages[1].stderr_text(), end.stdout_text()] {
        let fds: Vec<_> =
            text.lines().filter_map(|line| line.strip_prefix("fd.")?.split(' ').next()).collect();
        assert_eq!(fds, ["0", "1", "2"], "{text}");
    }
}

#[test]
fn a_stage_that_cannot_be_born_is_named_and_those_before_it_are_gone() {
    let (reader, writer) = doula_sys::fd::pipe().expect("a pipe");
    let mut first = sleeper();
    // Even one that was to live on.
    first.fd(9, writer).on_drop(OnDrop::Leave);
    let mut pipeline = Pipeline::new(first);
    pipeline.pipe(Command::new("cat")).pipe(Command::exact("/no/such/program")).pipe(Command::new("cat"));
    let error = pipeline.spawn().expect_err("no such program");
    assert_eq!(error.to_string(), "stage 3: `/no/such/program` does not exist");
    assert!(matches!(error, PipelineError::Birth { stage: 2, error } if error.errno() == Errno::ENOENT));
    drop(pipeline);
    assert!(is_closed(&reader));
}

#[test]
fn an_fd_that_is_given_twice_is_an_error() {
    let error = Pipeline::new(Command::new("ls").stdout(Stdio::null())).pipe(Command::new("wc")).run();
    let wanted = "stage 1: fd 1 of `ls` is an end of a pipe of its pipeline, and something else too";
    assert_eq!(error.expect_err("two outputs").to_string(), wanted);
    let error = Pipeline::new(Command::new("ls")).pipe(Command::new("wc").stdin(Stdio::null())).run();
    assert!(error.expect_err("two inputs").to_string().starts_with("stage 2: fd 0 of `wc`"));
}

#[test]
fn any_fds_can_be_joined_and_standard_error_too() {
    let script = "echo out; echo err >&2; echo five >&5";
    let end = output(Pipeline::new(sh(script)).join([1, 5], 6, sh("sort <&6")));
    assert_eq!((end.stdout_text().as_str(), end.stages[0].stderr_text().as_str()), ("five\nout\n", "err\n"));
    let end = output(Pipeline::new(sh(script).fd(5, Stdio::null())).pipe_both(Command::new("sort")));
    assert_eq!((end.stdout_text().as_str(), end.stages[0].stderr.len()), ("err\nout\n", 0));
}

#[test]
fn a_large_pipe_holds_more_than_the_kernels_own_size() {
    let mut pipeline = Pipeline::new(Command::new("head").args(["-c", "500000", "/dev/zero"]));
    let mut children = pipeline.pipe(sleeper()).pipe_size(1 << 20).spawn().expect("births");
    assert!(children.stages_mut()[0].wait_timeout(LONG).is_some_and(ExitStatus::success), "nobody reads");
    drop(children);
    let error = pipeline.pipe_size(usize::MAX / 2).spawn().expect_err("too large");
    assert!(error.to_string().starts_with("stage 1: the pipe behind `head` cannot hold "), "{error}");
}

#[test]
fn the_first_failure_ends_the_others_if_asked() {
    let mut pipeline = Pipeline::new(sleeper());
    let end = output(pipeline.pipe(sh("exit 7")).pipe(sleeper()).kill_on_failure());
    let killed: Vec<_> = end.stages.iter().map(|stage| stage.killed).collect();
    assert_eq!((killed, end.failure(), end.shell_code()), (vec![true, false, true], Some(1), 7));
    assert!(end.stages[2].status.killed_by() == Some(Signal::KILL) && !end.timed_out);
}

#[test]
fn a_timeout_ends_also_who_ran_into_a_session_of_its_own_and_that_is_proven() {
    let mut daemon = Command::exact(actor("double_fork"));
    let mut pipeline = Pipeline::new(daemon.arg("stay"));
    let end = output(pipeline.pipe(Command::new("cat")).contained().count_io().timeout(SHORT));
    assert!(end.timed_out && end.proof.is_some() && end.survivors.is_empty());
    assert_eq!((end.success(), end.failure(), end.shell_code()), (false, None, 124));
    let text = end.stdout_text();
    let Some(number) = text.trim().rsplit(' ').next().and_then(|word| word.parse().ok()) else {
        println!("skipped: too slow a machine to see the daemon before the time was over");
        return;
    };
    assert!(is_dead(Pid::new(number).expect("a number")));
}

#[test]
fn a_grandchild_that_holds_a_pipe_between_stages_is_named_when_time_is_over() {
    for counted in [false, true] {
        let mut pipeline = Pipeline::new(Command::exact(actor("holds_pipe")));
        pipeline.pipe(Command::new("cat")).contained().timeout(SHORT);
        if counted {
            pipeline.count_pipes();
        }
        let end = output(&pipeline);
        assert!(end.timed_out && end.proof.is_some());
        if !end.stages[0].status.success() {
            println!("skipped: too slow a machine for the first stage to end in time");
            continue;
        }
        let names: Vec<_> = end.holders.iter().map(|holder| holder.name.as_str()).collect();
        assert_eq!((names, end.stdout_text().as_str()), (vec!["holds_pipe"], "holds_pipe: bye\n"));
    }
}

#[test]
fn a_grandchild_that_holds_the_output_after_the_last_end_is_named_and_nobody_hangs() {
    let end = output(Pipeline::new(Command::new("true")).pipe(Command::exact(actor("holds_pipe"))));
    let lives: Vec<_> = end.holders.iter().filter(|holder| !is_dead(holder.pid)).collect();
    lives.iter().for_each(|holder| crate::end(holder.pid));
    assert!(end.cut && end.success());
    assert_eq!(lives.iter().map(|holder| holder.name.as_str()).collect::<Vec<_>>(), ["holds_pipe"]);
}

#[test]
fn nobody_takes_the_end_of_a_killed_stage_for_the_end_of_its_input() {
    // Also where the one who would commit is a child of the stage, so far as the stages are contained.
    for (contained, through) in [(false, "exec"), (true, "exec"), (true, "")] {
        let file = file(&format!("half-{contained}-{through}"));
        let mut pipeline = Pipeline::new(sh("echo half; exec sleep 1000"));
        let program = actor("commits_at_end").display().to_string();
        let script = format!("{through} \"$0\" \"$1\"; exit");
        let stage = ["sh", "-c", &script, &program, &file.display().to_string()];
        pipeline.pipe(Command::new("sh").argv(stage).stderr(Stdio::pipe_out()));
        if contained {
            pipeline.contained();
        }
        let mut children = pipeline.timeout(SHORT).spawn().expect("births");
        let mut said = [0; 5];
        let stderr = children.stages_mut()[1].stderr.as_mut().expect("a pipe");
        std::io::Read::read_exact(stderr, &mut said).expect("it reads");
        let end = children.wait().expect("an end");
        assert!(end.timed_out && end.stages[1].killed);
        assert!(!file.exists(), "half of it was committed");
    }
}

#[test]
fn dropping_a_running_pipeline_does_with_each_stage_what_it_says() {
    let children = Pipeline::new(sleeper()).pipe(Command::new("cat")).spawn().expect("births");
    let handles: Vec<_> = children.stages().iter().map(handle_of).collect();
    drop(children);
    assert!(handles.iter().all(ends));
    let (mut stays, mut waits) = (sleeper(), Command::new("true"));
    let mut pipeline = Pipeline::new(stays.on_drop(OnDrop::Leave));
    let children = pipeline.pipe(waits.on_drop(OnDrop::Wait)).spawn().expect("births");
    let first = handle_of(&children.stages()[0]);
    drop(children);
    assert_eq!(doula_sys::poll::readable(&first, Some(Duration::ZERO)), Ok(false), "it lives on");
    doula_sys::pidfd::send(&first, Signal::KILL).expect("a process of ours");
    assert!(ends(&first));
}

#[test]
fn a_dropped_pipeline_whose_stages_are_waited_for_does_not_wait_for_its_own_pipes() {
    let mut flood = Command::new("head");
    flood.args(["-c", "300000", "/dev/zero"]).on_drop(OnDrop::Wait);
    let mut last = Command::new("cat");
    last.stdout(Stdio::pipe_out()).on_drop(OnDrop::Wait);
    for counted in [false, true] {
        let mut pipeline = Pipeline::new(&flood);
        pipeline.pipe(&last);
        if counted {
            pipeline.count_pipes();
        }
        drop(pipeline.spawn().expect("births"));
    }
}

#[test]
fn all_stages_end_with_their_trees_on_request() {
    let mut pipeline = Pipeline::new(sh("setsid sleep 1000 & wait"));
    let mut children = pipeline.pipe(Command::new("cat")).contained().spawn().expect("births");
    let ends = children.kill_tree(LONG).expect("nobody is left");
    assert_eq!(ends.len(), 2);
    let end = children.wait().expect("all have ended");
    assert_eq!(end.stages[0].status, ExitStatus::signal(Signal::KILL));
}

/// The cgroup of the v2 hierarchy in which each stage of `cat /proc/self/cgroup` is.
fn cgroups_of(end: &PipelineEnd) -> Vec<String> {
    let texts = end.stages.iter().map(|stage| stage.stderr_text());
    texts
        .filter_map(|text| Some(text.lines().find_map(|line| line.strip_prefix("0::"))?.to_owned()))
        .collect()
}

#[test]
fn the_stages_of_a_contained_pipeline_share_one_cgroup_that_is_removed_with_the_last() {
    let stage = sh("cat /proc/self/cgroup >&2");
    let end = output(Pipeline::new(&stage).pipe(&stage).pipe(&stage).contained());
    let own = std::fs::read_to_string("/proc/self/cgroup").expect("/proc");
    let [one, two, three] = &cgroups_of(&end)[..] else { return println!("skipped: no cgroup v2") };
    if own.lines().any(|line| line.strip_prefix("0::") == Some(one)) {
        return println!("skipped: no cgroup may be made here");
    }
    assert_eq!((one, one), (two, three));
    let Some(cgroups) = Cgroups::discover("test-row") else {
        return println!("skipped: no cgroup may be made here");
    };
    let own = cgroups.path().parent().expect("ours");
    assert!(!own.join(one.rsplit('/').next().expect("a name")).exists(), "it is removed");
}

#[test]
fn a_stage_that_is_meant_alone_is_ended_with_its_tree_and_the_others_live_on() {
    let mut daemon = Command::exact(actor("double_fork"));
    let mut pipeline = Pipeline::new(daemon.arg("stay"));
    let mut children = pipeline
        .pipe(sh("read line; echo $line >&2; exec sleep 1000").stderr(Stdio::pipe_out()))
        .contained()
        .spawn()
        .expect("births");
    let mut line = String::new();
    let said = children.stages_mut()[1].stderr.as_mut().expect("a pipe");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(said), &mut line).expect("a line");
    let daemon =
        line.trim().rsplit(' ').next().and_then(|word| Pid::new(word.parse().ok()?)).expect("a number");
    let end = children.stages_mut()[0].kill_tree(LONG).expect("nobody is left");
    assert_eq!((end.proof, is_dead(daemon)), (Proof::Mark, true));
    let other = handle_of(&children.stages()[1]);
    assert_eq!(doula_sys::poll::readable(&other, Some(Duration::ZERO)), Ok(false), "it lives on");
    drop(children);
    assert!(ends(&other));
}

#[test]
fn who_forks_as_fast_as_he_can_is_ended_with_his_pipeline() {
    for name in ["runaway", "fork_storm"] {
        let mark = format!("DOULA_TEST=pipeline-{name}-{}", std::process::id());
        let (variable, value) = mark.split_once('=').expect("both");
        let mut storm = Command::exact(actor(name));
        let mut pipeline = Pipeline::new(storm.env(variable, value));
        pipeline.pipe(Command::new("cat").stdout(Stdio::pipe_out()));
        let mut children = pipeline.contained().spawn().expect("births");
        let said = children.stages_mut()[1].stdout.as_mut().expect("a pipe");
        std::io::Read::read_exact(said, &mut [0; 8]).expect("it has begun");
        let ends = children.kill_tree(LONG).expect("nobody is left");
        assert!(ends.iter().all(|end| end.proof != Proof::Parents), "{ends:?}");
        assert!(tree::marked(&mark).iter().all(|&pid| is_dead(pid)));
    }
}

#[test]
fn a_stage_in_a_cgroup_of_the_callers_is_ended_between_those_that_share_one() {
    let file = file("between");
    let cgroups = Cgroups::discover("test-between");
    let leaf = cgroups.as_ref().and_then(|cgroups| cgroups.leaf("one").ok());
    let mut middle = Command::exact(actor("commits_at_end"));
    middle.arg(&file).stderr(Stdio::pipe_out());
    match leaf.as_ref().and_then(|leaf| leaf.open().ok()) {
        Some(directory) => drop(middle.cgroup(directory)),
        None => println!("skipped: no cgroup may be made here, so that only marks were tried"),
    }
    let mut pipeline = Pipeline::new(sh("echo half; exec sleep 1000"));
    pipeline.pipe(&middle).pipe(Command::new("cat"));
    let mut children = pipeline.contained().spawn().expect("births");
    let said = children.stages_mut()[1].stderr.as_mut().expect("a pipe");
    std::io::Read::read_exact(said, &mut [0; 5]).expect("it reads");
    let ends = children.kill_tree(LONG).expect("nobody is left");
    assert!(ends.iter().all(|end| end.status == ExitStatus::signal(Signal::KILL)), "{ends:?}");
    assert!(!file.exists(), "half of it was committed");
}

#[test]
fn what_is_above_the_limit_is_counted_and_nobody_waits_for_a_reader() {
    let mut pipeline = Pipeline::new(sh("head -c 200000 /dev/zero >&2"));
    pipeline
        .pipe(Command::new("head").args(["-c", "300000", "/dev/zero"]))
        .limits(Capture::new().limit(1000));
    let end = output(&pipeline);
    let (kept, lost): (Vec<_>, Vec<_>) =
        end.stages.iter().map(|stage| (stage.stdout.len() + stage.stderr.len(), stage.lost)).unzip();
    assert_eq!((kept, lost), (vec![1000, 1000], vec![199_000, 299_000]));
}
