//! `--limit`: what jobs and workers may have with all their descendants, what is told of who wanted more, and where it does not hold.

use super::actors::actor;
use super::bounded::{end_of, line, lines, wait};
use super::scope::Scope;
use super::{DOULA, Said, Scratch, run, start};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Whether this said that something of it does not hold by a cgroup; then nothing more can be shown here.
#[expect(clippy::print_stdout, reason = "a test that cannot run says so")]
fn holds(said: &Said) -> bool {
    let missing = said.err.lines().find(|line| line.contains("can be used here"));
    missing.inspect(|why| println!("skipped: {why}")).is_none()
}

fn eater() -> String {
    actor("memory_eater").display().to_string()
}

/// The cgroups of the run that had this number.
fn groups(pid: u32) -> Vec<PathBuf> {
    fn below(folder: &Path, name: &str, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name().to_string_lossy().contains(name) {
                    found.push(entry.path());
                }
                below(&entry.path(), name, found);
            }
        }
    }
    let mut found = Vec::new();
    below(Path::new("/sys/fs/cgroup"), &format!(".{pid}."), &mut found);
    found.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("doula-")));
    found
}

#[test]
fn a_job_that_eats_more_memory_than_its_limit_is_named_with_the_count_of_the_kernel_and_others_are_not() {
    let job = format!("case {{}} in 1) exec {0} 256;; 2) kill -KILL $$;; 3) {0} 256; exit 7;; esac", eater());
    let said = run(&["-j3", "--limit", "memory=32M", "--shell", &job, ":::", "1", "2", "3", "4"]);
    if !holds(&said) {
        return;
    }
    assert_eq!(said.code, Some(1), "{said:?}");
    let told = |job: &str| said.err.lines().find(|line| line.starts_with(job)).expect("it failed").to_owned();
    assert!(
        told("job 1 ").ends_with("was killed for want of memory (its cgroup counts 1: oom_kill)"),
        "{said:?}"
    );
    assert!(told("job 2 ").ends_with("was killed by SIGKILL"), "by itself: {said:?}");
    assert!(
        told("job 3 ").ends_with("was killed for want of memory (its cgroup counts 1: oom_kill)"),
        "{said:?}"
    );
    assert!(!said.err.contains("job 4 "), "{said:?}");
}

#[test]
fn retries_by_kind_see_that_it_was_want_of_memory() {
    let scratch = Scratch::new("oom");
    let tries = |on: &str| {
        let name = scratch.path(on);
        let job = format!("echo {{}} >>{name}; exec {} 256", eater());
        let said =
            run(&["--retries", "1", "--retry-on", on, "--limit", "memory=32M", "--shell", &job, ":::", "1"]);
        holds(&said).then(|| scratch.read(on).lines().count())
    };
    let Some(once) = tries("signal") else { return };
    assert_eq!((once, tries("oom")), (1, Some(2)));
}

#[test]
fn a_job_cannot_have_more_processes_or_cpu_time_than_its_limit_and_its_groups_go_with_the_run() {
    // Each in its slot, one after the other; the third looks what holds for it.
    let look = "for f in $(sed -n 's/.*:\\([a-z,]*\\):\\(.*\\)/\\/sys\\/fs\\/cgroup\\/\\1\\2/p' /proc/self/cgroup); do \
                cat $f/cpu.max $f/cpu.cfs_quota_us 2>/dev/null; done; true";
    let forks = "sleep 100 & sleep 100 & sleep 100 & sleep 100 & sleep 100 & sleep 100 & true";
    let job = format!("case {{}} in 3) {look};; *) {forks};; esac");
    let args = ["-j1", "--limit", "pids=4,cpu=50%", "--shell", &job, ":::", "1", "2", "3"];
    let doula = start(&args);
    let pid = doula.id();
    let said = end_of(doula);
    assert_eq!(groups(pid), Vec::<PathBuf>::new());
    if holds(&said) {
        assert_eq!(said.err.matches("Cannot fork").count(), 2, "{said:?}");
        assert!(said.err.contains("job 1 left processes behind: they were ended"), "{said:?}");
        assert!(said.out == "50000\n" || said.out == "50000 100000\n", "{said:?}");
    }
}

#[test]
fn a_worker_that_eats_more_memory_than_its_limit_is_named_with_its_job_and_the_others_work_on() {
    let reads = "while read l; do id=${l#*:}; id=${id%%,*}; [ $id = 3 ] &&";
    let worker =
        format!("{reads} exec {} 256; echo \"{{\\\"id\\\":$id,\\\"output\\\":$id}}\"; done", eater());
    let args = ["-j2", "-k", "--workers", "lines", "--limit", "memory=32M", "sh", "-c", &worker, ":::"];
    let doula = start(&[&args[..], &["1", "2", "3", "4", "5"]].concat());
    let pid = doula.id();
    let said = end_of(doula);
    assert_eq!(groups(pid), Vec::<PathBuf>::new());
    if holds(&said) {
        assert_eq!((said.code, said.out.as_str()), (Some(1), "1\n2\n4\n5\n"), "{said:?}");
        let told = "job 3 (3) ended 2 workers, and is not tried again: the last one was killed for want of memory \
                    (its cgroup counts 1: oom_kill)\n";
        assert_eq!(said.err, told);
    }
}

#[test]
fn a_limit_holds_for_a_job_that_outlives_its_run_and_its_groups_are_removed_by_the_next() {
    let scratch = Scratch::new("limited");
    let ((told, both), (go, mut hold)) = (scratch.fifo("told"), scratch.fifo("go"));
    let journal = scratch.path("journal");
    let job = format!("echo begun >{told}; read x <{go}; {} 256; : {{}}", eater());
    let args =
        ["-j1", "--journal", &journal, "--resume", "--limit", "memory=32M", "--shell", &job, ":::", "1"];
    let mut doula = start(&args);
    assert_eq!(line(&mut lines(both)), "begun\n");
    let first = doula.id();
    doula.kill().expect("it lives");
    assert!(wait(&mut doula).is_some(), "it was killed");
    let next = start(&args);
    let second = next.id();
    writeln!(hold, "on").expect("written");
    let said = end_of(next);
    assert_eq!([groups(first), groups(second)].concat(), Vec::<PathBuf>::new());
    if !holds(&said) {
        return;
    }
    assert_eq!(said.code, Some(0), "the shell ends well: {said:?}");
    let why = Command::new(DOULA).args(["why", "1", "--journal", &journal]).output().expect("doula");
    let why = String::from_utf8_lossy(&why.stdout).into_owned();
    assert!(why.contains("; its cgroup counts 1 killed for want of memory"), "{why}");
}

#[test]
fn groups_of_a_run_that_was_killed_with_its_jobs_are_removed_by_the_next() {
    let scratch = Scratch::new("swept");
    let (fifo, both) = scratch.fifo("fifo");
    let job = format!("echo $$ >{fifo}; exec sleep 1000");
    let mut doula = start(&["--limit", "pids=9", "--shell", &job, ":::", "1"]);
    let job = line(&mut lines(both)).trim().parse().ok().and_then(Pid::from_raw).expect("a number");
    let job = pidfd_open(job, PidfdFlags::empty());
    doula.kill().expect("it lives");
    let pid = doula.id();
    assert!(wait(&mut doula).is_some(), "it was killed");
    job.iter().for_each(super::journal::await_gone);
    // The kernel takes a moment more until it says that the group is empty.
    let begun = std::time::Instant::now();
    loop {
        assert_eq!(run(&["--limit", "pids=9", "true", ":::", "1"]).code, Some(0));
        if groups(pid).is_empty() {
            break;
        }
        assert!(begun.elapsed() < super::bounded::PATIENCE, "{:?}", groups(pid));
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "a test that cannot run says so")]
fn without_cgroups_rlimits_hold_what_they_can_and_the_rest_is_said_in_a_sentence_each() {
    let scratch = Scratch::new("rlimits");
    std::fs::set_permissions(&scratch.0, PermissionsExt::from_mode(0o755)).expect("our own");
    let user = ["--reuid=65534", "--regid=65534", "--clear-groups", DOULA];
    let limits = "memory=64M,pids=5000,cpu=50%";
    let job = "ulimit -d; case {} in 2) exit 3;; esac";
    let mut doula = Command::new("setpriv");
    doula.args(user).args(["run", "-k", "--limit", limits, "--shell", job, ":::", "1", "2"]);
    doula.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).current_dir("/");
    let said = end_of(doula.spawn().expect("setpriv"));
    if said.err.contains("setpriv:") || said.err.contains("Permission denied") {
        return println!("skipped: nobody else can run doula here");
    }
    assert_eq!((said.code, said.out.as_str()), (Some(1), "65536\n65536\n"), "{said:?}");
    for part in [
        "each job's limit of 5000 processes holds by RLIMIT_NPROC, which counts all processes of its user: \
         no cgroup controller `pids` can be used here\n",
        "each job's limit of 64 MiB of memory holds by RLIMIT_DATA, for each process alone: \
         no cgroup controller `memory` can be used here\n",
        "each job's limit of CPU time does not hold: no cgroup controller `cpu` can be used here\n",
    ] {
        assert!(said.err.contains(part), "no `{part}` in {said:?}");
    }
}

#[test]
fn a_limit_that_is_none_is_refused_before_anything_is_begun() {
    for wrong in ["memory=much", "disk=1G", "pids=0", "cpu"] {
        let said = run(&["--limit", wrong, "echo", ":::", "1"]);
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{said:?}");
    }
    let said = run(&["--limit", "pids=9", "--leave", "echo", ":::", "1"]);
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{said:?}");
    let why =
        "--limit and --leave do not go together: who is left behind would count towards the next job's limit";
    assert!(said.err.contains(why), "{said:?}");
}

#[test]
fn who_is_alone_in_a_cgroup_steps_aside_for_limits_and_leaves_it_as_it_was() {
    for (limits, files, told) in
        [("pids=8", "pids.max", "8\n"), ("memory=32M,pids=8", "memory.max pids.max", "33554432\n8\n")]
    {
        let Some(scope) = Scope::new(&["memory", "pids"]) else { return };
        let job = format!("cd /sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup); cat {files}; : ");
        let mut command = scope.around(Command::new("sh"));
        command.arg(DOULA).args(["run", "-j2", "--limit", limits, "--shell", &job, ":::", "1", "2"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let said = end_of(command.spawn().expect("a shell"));
        assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (Some(0), told.repeat(2).as_str(), ""));
        scope.remove();
    }
}
