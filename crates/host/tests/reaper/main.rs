//! Burials: orphans are buried, and nobody's child is stolen. Each program under test is a subreaper of its own.
#![expect(clippy::print_stdout, reason = "it is its own harness, and what is printed is looked at")]

#[path = "../../../../tests/common/actors.rs"]
mod actors;
mod cures;
#[path = "../harness/mod.rs"]
mod harness;

use doula_host::reaper::{Evidence, Orphan, Reaper, Unknown};
use doula_host::{Child, Command, Errno, ExitStatus, OnDrop, Pid, Stdio};
use doula_sys::fd::{AsFd, OwnedFd};
use doula_sys::{pidfd, poll};
use harness::{Actor, compile, role, say, tests};
use std::io::{self, BufRead as _, BufReader};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn main() -> ExitCode {
    let tests = tests![
        an_orphan_that_was_seen_with_its_parent_is_buried_and_reported,
        an_orphan_in_a_session_of_others_is_buried_though_nobody_saw_its_parent,
        a_child_of_the_standard_library_is_not_stolen,
        an_unknown_child_is_left_or_buried_after_its_grace_as_it_was_chosen,
        who_was_claimed_or_born_by_the_library_is_not_taken_even_where_all_unknown_are,
        many_orphans_that_die_at_once_are_all_buried,
        births_of_many_threads_keep_their_children_beside_a_greedy_reaper,
        a_child_that_was_left_is_buried_without_another_birth,
        a_wait_with_a_limit_is_not_cut_short_by_the_deaths_of_others,
        who_lives_no_longer_than_a_birth_takes_is_ended_at_the_end_of_a_family,
        cures::a_handler_that_takes_every_child_takes_also_those_that_somebody_waits_for,
        cures::who_ignores_sigchld_loses_every_status,
        cures::a_double_fork_loses_the_status_and_may_gain_a_terminal,
    ];
    harness::run(tests, play)
}

fn play(role: &str) -> io::Result<u8> {
    let mut reaper = Reaper::new()?;
    match role {
        "seen" => seen(&mut reaper),
        "session" => session(&mut reaper),
        "std" => std_child(&mut reaper),
        "unknown" => unknown(&mut reaper),
        "claimed" => claimed(&mut reaper),
        "many" => many(&mut reaper),
        "births" => births(reaper),
        "left" => left(&mut reaper),
        "patient" => patient(),
        "runaway" => runaway(),
        unknown => panic!("{unknown} is no role"),
    }
}

/// The role said so and ended well.
fn plays(name: &str, expected: &[&str]) {
    let mut actor = Actor::of(&role(name));
    expected.iter().for_each(|line| actor.expect(line));
    assert_eq!(actor.end(), (vec![], ExitStatus::code(0)));
}

/// Lines of processes that each bear the next and end, without a mark and each second one in a session of its own.
fn runaway() -> io::Result<u8> {
    let mut command = Command::exact(actors::actor("runaway"));
    let mut child = command.arg("4").env_clear().stdout(Stdio::pipe_out()).on_drop(OnDrop::Leave).spawn()?;
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut String::new())?;
    child.kill()?;
    child.wait();
    let strangers = doula_host::sweep::end_strangers(Duration::from_secs(60));
    say(&format!("{} are left", strangers.left.len()))?;
    Ok(u8::from(strangers.ended == 0))
}

fn who_lives_no_longer_than_a_birth_takes_is_ended_at_the_end_of_a_family() {
    plays("runaway", &["0 are left"]);
}

/// A shell that leaves a process behind when its input ends; and the number and a handle of that one, which ends with the code
/// 7 when the fd 3 of both is closed on our side.
struct Family {
    shell: Child,
    orphan: Pid,
    handle: OwnedFd,
    end: io::PipeWriter,
}

fn family(command: &mut Command) -> io::Result<Family> {
    let script = "{ read line <&3; exit 7; } & echo $!; exec 3<&-; read line";
    command.args(["-c", script]).stdin(Stdio::pipe_in()).stdout(Stdio::pipe_out()).fd(3, Stdio::pipe_in());
    let mut shell = command.spawn()?;
    let mut number = String::new();
    BufReader::new(shell.stdout.take().expect("a pipe")).read_line(&mut number)?;
    let orphan = number.trim().parse().ok().and_then(Pid::new).expect("a number");
    let handle = pidfd::open(orphan).map_err(harness::os_error)?;
    let end = shell.take_writer(3).expect("a pipe");
    Ok(Family { shell, orphan, handle, end })
}

impl Family {
    /// The orphan is ours, and dead.
    fn bereave(mut self) -> io::Result<(Pid, OwnedFd)> {
        // Its input ends by that.
        assert!(self.shell.wait().exit_code().is_some());
        drop(self.end);
        readable(&self.handle)?;
        Ok((self.orphan, self.handle))
    }
}

fn until_one(reaper: &mut Reaper) -> io::Result<Orphan> {
    loop {
        if let Some(orphan) = reaper.wait()?.pop() {
            return Ok(orphan);
        }
    }
}

fn an_orphan_that_was_seen_with_its_parent_is_buried_and_reported() {
    plays(
        "seen",
        &["exited with code 7, because it had another parent before: the sh", "and nothing is left of it"],
    );
}

fn seen(reaper: &mut Reaper) -> io::Result<u8> {
    let family = family(&mut Command::new("sh"))?;
    let shell = family.shell.pid();
    assert!(reaper.bury()?.is_empty());
    let (pid, handle) = family.bereave()?;
    let orphan = until_one(reaper)?;
    let parent = orphan.parent.expect("it was seen");
    assert_eq!((orphan.pid, parent.pid), (pid, shell));
    say(&format!("{}, because {}: the {}", orphan.status, orphan.evidence, parent.name))?;
    assert!(!pidfd::exists(&handle));
    say("and nothing is left of it")?;
    Ok(0)
}

fn an_orphan_in_a_session_of_others_is_buried_though_nobody_saw_its_parent() {
    plays("session", &["exited with code 7, because it is in a session of others"]);
}

fn session(reaper: &mut Reaper) -> io::Result<u8> {
    let (pid, _) = family(Command::new("sh").new_session())?.bereave()?;
    let orphan = until_one(reaper)?;
    assert_eq!((orphan.pid, orphan.parent), (pid, None));
    say(&format!("{}, because {}", orphan.status, orphan.evidence))?;
    Ok(0)
}

fn a_child_of_the_standard_library_is_not_stolen() {
    plays("std", &["nothing was buried", "exit status: 42"]);
}

fn std_child(reaper: &mut Reaper) -> io::Result<u8> {
    let mut child = std::process::Command::new("sh").args(["-c", "exit 42"]).spawn()?;
    await_death(&child)?;
    for _ in 0..3 {
        assert!(reaper.bury()?.is_empty());
    }
    say("nothing was buried")?;
    say(&child.wait()?.to_string())?;
    Ok(0)
}

fn await_death(child: &std::process::Child) -> io::Result<()> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::new).expect("a number");
    let handle = pidfd::open(pid).map_err(harness::os_error)?;
    readable(&handle)
}

/// Waits, over the interruptions by SIGCHLD.
fn readable(fd: &impl AsFd) -> io::Result<()> {
    loop {
        match poll::readable(fd, None) {
            Err(Errno::EINTR) => {}
            answer => return answer.map(drop).map_err(harness::os_error),
        }
    }
}

fn an_unknown_child_is_left_or_buried_after_its_grace_as_it_was_chosen() {
    plays("unknown", &["left", "waited for", "nobody claimed it", "no child of ours any more"]);
}

fn unknown(reaper: &mut Reaper) -> io::Result<u8> {
    // In our session, and never seen before it came to us.
    let (pid, handle) = family(&mut Command::new("sh"))?.bereave()?;
    assert!(reaper.bury()?.is_empty() && pidfd::exists(&handle));
    say("left")?;
    reaper.unknown(Unknown::After(Duration::from_secs(600)));
    assert!(reaper.bury()?.is_empty() && pidfd::exists(&handle));
    say("waited for")?;
    reaper.unknown(Unknown::After(Duration::from_millis(30)));
    let orphan = until_one(reaper)?;
    assert_eq!((orphan.pid, orphan.evidence), (pid, Evidence::Unclaimed));
    say(&orphan.evidence.to_string())?;
    // The price, for children of others.
    reaper.unknown(Unknown::Bury);
    let mut child = std::process::Command::new("true").spawn()?;
    await_death(&child)?;
    assert_eq!(until_one(reaper)?.pid.to_string(), child.id().to_string());
    assert!(child.wait().is_err_and(|error| error.raw_os_error() == Some(Errno::ECHILD.0)));
    say("no child of ours any more")?;
    Ok(0)
}

fn who_was_claimed_or_born_by_the_library_is_not_taken_even_where_all_unknown_are() {
    plays("claimed", &["nothing was buried", "exit status: 1", "exited with code 1"]);
}

fn claimed(reaper: &mut Reaper) -> io::Result<u8> {
    reaper.unknown(Unknown::Bury);
    let mut stds =
        std::process::Command::new("cat").stdin(std::process::Stdio::piped()).arg("-").arg("/no").spawn()?;
    let claim = Reaper::claim(&stds);
    drop(stds.stdin.take());
    let mut ours = Command::new("false").spawn()?;
    await_death(&stds)?;
    readable(&ours)?;
    for _ in 0..3 {
        assert!(reaper.bury()?.is_empty());
    }
    say("nothing was buried")?;
    say(&stds.wait()?.to_string())?;
    drop(claim);
    say(&ours.wait().to_string())?;
    Ok(0)
}

const ORPHANS: usize = 200;

fn many_orphans_that_die_at_once_are_all_buried() {
    plays("many", &["all are buried"]);
}

fn many(reaper: &mut Reaper) -> io::Result<u8> {
    // In a session of its own each; all of them end with one pipe.
    let script = format!("for i in $(seq {ORPHANS}); do read line <&3 & done; echo $!; exec 3<&-");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).new_session().stdout(Stdio::pipe_out()).fd(3, Stdio::pipe_in());
    let mut shell = shell.spawn()?;
    let end = shell.take_writer(3).expect("a pipe");
    assert!(shell.wait().success());
    drop(end);
    let mut count = 0;
    while count < ORPHANS {
        let orphans = reaper.wait()?;
        assert!(orphans.iter().all(|orphan| orphan.evidence != Evidence::Unclaimed));
        count += orphans.len();
    }
    assert_eq!((count, reaper.bury()?.len()), (ORPHANS, 0));
    say("all are buried")?;
    Ok(0)
}

fn births_of_many_threads_keep_their_children_beside_a_greedy_reaper() {
    plays("births", &["every status arrived"]);
}

fn births(mut reaper: Reaper) -> io::Result<u8> {
    const THREADS: u8 = 4;
    const EACH: usize = 100;
    reaper.unknown(Unknown::Bury);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let bear = |code: u8| {
            let mut command = Command::new("sh");
            command.args(["-c", &format!("exit {code}")]);
            move || (0..EACH).all(|_| command.status().expect("a birth") == ExitStatus::code(code))
        };
        let parents: Vec<_> = (1..=THREADS).map(|code| scope.spawn(bear(code))).collect();
        let greedy = scope.spawn(|| {
            let mut stolen = 0;
            while !over.load(Ordering::Acquire) {
                stolen += reaper.bury().map_or(1, |orphans| orphans.len());
            }
            stolen
        });
        assert!(parents.into_iter().all(|parent| parent.join().expect("no panic")));
        over.store(true, Ordering::Release);
        assert_eq!(greedy.join().expect("no panic"), 0);
    });
    say("every status arrived")?;
    Ok(0)
}

fn a_child_that_was_left_is_buried_without_another_birth() {
    plays("left", &["buried"]);
}

fn left(reaper: &mut Reaper) -> io::Result<u8> {
    let child = Command::new("true").on_drop(OnDrop::Leave).spawn()?;
    let handle = pidfd::open(child.pid()).map_err(harness::os_error)?;
    readable(&handle)?;
    drop(child);
    while pidfd::exists(&handle) {
        reaper.bury()?;
    }
    say("buried")?;
    Ok(0)
}

/// The textbook's parent does "other work" by sleep(3), with SA_RESTART. One child of several is sure to die meanwhile.
const SLEEPS: &str = r#"
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static void handler(int signal) { while (waitpid(-1, NULL, WNOHANG) > 0); }

int main(void) {
    struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART };
    sigaction(SIGCHLD, &action, NULL);
    for (int i = 1; i <= 20; i++)
        if (fork() == 0) { usleep(i * 50000); _exit(0); }
    puts(sleep(1000) > 0 ? "cut short" : "slept");
    return 0;
}
"#;

fn a_wait_with_a_limit_is_not_cut_short_by_the_deaths_of_others() {
    if let Some(folder) = compile("sleeps", SLEEPS) {
        let output = Command::exact(folder.path().join("sleeps")).output().expect("a capture");
        assert_eq!(output.stdout_text(), "cut short\n", "the textbook's program does not sleep");
    }
    plays("patient", &[]);
}

fn patient() -> io::Result<u8> {
    const LIMIT: Duration = Duration::from_millis(300);
    let mut child = Command::new("sleep").arg("1000").spawn()?;
    let others = (1..10).map(|number| {
        let time = format!("0.0{number}");
        std::process::Command::new("sleep").arg(time).spawn()
    });
    let others: Vec<_> = others.collect::<io::Result<_>>()?;
    let began = Instant::now();
    assert_eq!(child.wait_timeout(LIMIT), None);
    assert!(began.elapsed() >= LIMIT, "{:?}", began.elapsed());
    for mut other in others {
        assert!(other.wait()?.success());
    }
    Ok(0)
}
