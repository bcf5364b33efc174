//! The reader on processes that these tests make, and on ourselves.

use super::live_tests::{seen, sleeper, soon};
use super::*;
use crate::{Command, Signal};
use doula_model::id::Pid;
use doula_model::process::{Answer, ProcState};

const ALL: Want = Want {
    status: true,
    args: true,
    share: true,
    traffic: true,
    wchan: true,
    cgroup: true,
    oom_score: true,
    namespaces: true,
    delays: true,
    threads: false,
    spare: Spare { times: false, memory: false, rest: false },
};

fn us() -> Pid {
    Pid::new(std::process::id() as i32).expect("a number")
}

#[test]
fn everything_that_was_asked_is_answered_of_ourselves() {
    let mut reader = Reader::open().expect("/proc");
    let found = reader.some(&[us()], &ALL).expect("to ask");
    let [process] = found.as_slice() else { panic!("{found:?}") };
    let args: Vec<u8> = std::fs::read("/proc/self/cmdline").expect("/proc");
    assert_eq!(process.args, Answer::Is(args));
    assert_eq!(process.stat.ppid, std::os::unix::process::parent_id() as i32);
    assert!(
        process.share.known().is_some_and(|share| share.pss >= share.uss && share.uss > 0),
        "{process:?}"
    );
    assert!(process.traffic.known().is_some() && process.cgroup.known().is_some(), "{process:?}");
    assert!(process.oom_score.known().is_some(), "{process:?}");
    let network = std::fs::read_link("/proc/self/ns/net").expect("/proc");
    let namespaces = process.namespaces.known().expect("ours");
    assert_eq!(namespaces.net.map(|net| format!("net:[{net}]").into()), Some(network));
    assert!(namespaces.pid.is_some() && namespaces.user.is_some() && namespaces.mount.is_some());
    let status = process.status.known().expect("a status");
    assert_eq!(status.ns_pids.first(), Some(&us().get()));
}

#[test]
fn nothing_that_was_not_asked_is_read() {
    let found = Reader::open().and_then(|mut reader| reader.some(&[us()], &Want::default())).expect("to ask");
    let process = &found[0];
    assert_eq!((&process.args, &process.share), (&Answer::Unasked, &Answer::Unasked));
    assert_eq!((&process.cgroup, &process.wchan), (&Answer::Unasked, &Answer::Unasked));
    assert_eq!(process.status, Answer::Unasked);
}

#[test]
fn a_scan_finds_children_with_their_arguments_and_leaves_the_buried_out() {
    let mut child = Command::new("sh").args(["-c", "kill -STOP $$", "a b\nc"]).spawn().expect("sh");
    let pid = child.pid();
    let mut reader = Reader::open().expect("/proc");
    let find = |reader: &mut Reader| {
        let found = reader.scan(&Want { args: true, ..Want::default() }).expect("to ask");
        found.into_iter().find(|process| process.stat.pid == pid)
    };
    let process = find(&mut reader).expect("it lives");
    assert_eq!(process.args, Answer::Is(b"sh\0-c\0kill -STOP $$\0a b\nc\0".to_vec()));
    assert_eq!(process.stat.ppid, us().get());
    child.kill().expect("our child");
    child.wait();
    assert_eq!(find(&mut reader), None);
}

#[test]
fn a_zombie_tells_how_it_ended_and_has_no_arguments() {
    let child = Command::new("sh").args(["-c", "exit 9"]).spawn().expect("sh");
    let pid = child.pid();
    // Its end can be awaited without burying it.
    doula_sys::poll::readable(&child, None).expect("a handle");
    let found = Reader::open().and_then(|mut reader| reader.some(&[pid], &ALL)).expect("to ask");
    assert_eq!(found[0].stat.state, ProcState::Zombie);
    assert!(found[0].stat.is_zombie() && found[0].stat.is_exiting());
    assert_eq!(found[0].stat.end().and_then(|end| end.exit_code()), Some(9));
    assert_eq!(found[0].args, Answer::Unasked);
}

#[test]
fn the_letter_of_a_stopped_process_is_t() {
    let child = Command::new("sleep").arg("1000").spawn().expect("sleep");
    child.signal(Signal::STOP).expect("our child");
    let stopped = doula_sys::wait::For::STOPS.blocking();
    doula_sys::wait::waitid(doula_sys::wait::Who::Pid(child.pid()), stopped).expect("a stop");
    let stat = Reader::open().expect("/proc").stat(child.pid()).expect("it lives");
    assert_eq!(stat.state, ProcState::Stopped);
}

#[test]
fn threads_are_told_with_their_process_and_a_name_makes_nobody_a_thread_of_the_kernel() {
    let (stop, wait) = std::sync::mpsc::channel::<()>();
    let (tell, told) = std::sync::mpsc::channel();
    let named = std::thread::Builder::new().name("[kworker/0:0]".to_owned());
    let thread = named.spawn(move || {
        tell.send(std::fs::read_link("/proc/thread-self").expect("/proc")).expect("somebody listens");
        wait.recv()
    });
    let link = told.recv().expect("its number");
    let number = link.file_name().and_then(|name| name.to_str()?.parse().ok()).and_then(Pid::new);
    let want = Want { threads: true, status: true, ..Want::default() };
    let found = Reader::open().and_then(|mut reader| reader.scan(&want)).expect("to ask");
    let row = found.iter().find(|row| Some(row.stat.pid) == number).expect("our thread");
    assert_eq!((row.tgid, row.stat.name.as_slice()), (us(), b"[kworker/0:0]".as_slice()));
    assert!(row.status.known().is_some() && !row.stat.is_kernel());
    drop(stop);
    assert!(thread.expect("a thread").join().is_ok_and(|end| end.is_err()), "it ends when we let go");
}

#[test]
fn who_is_no_procfs_is_refused() {
    assert!(Reader::at(c"/tmp").is_err());
    assert!(Reader::at(c"/nonexistent").is_err());
}

/// Who differs between the files and the iterator though the files say the same before and after; and all who were compared.
fn differing(files: &mut Reader, tasks: &mut Reader, want: &Want) -> (Vec<String>, Vec<Pid>) {
    let before = files.scan(want).expect("to look");
    let between = tasks.scan(want).expect("to look");
    let after = files.scan(want).expect("to look");
    let stable: Vec<_> = before.into_iter().filter(|process| after.contains(process)).collect();
    let row = |wanted: &Process| {
        between.iter().find(|process| (process.tgid, process.stat.pid) == (wanted.tgid, wanted.stat.pid))
    };
    let differs = |process: &&Process| row(process) != Some(process);
    let told = stable.iter().filter(differs).map(|process| format!("{process:?}\n{:?}", row(process)));
    (told.collect(), stable.iter().map(|process| process.stat.pid).collect())
}

#[test]
#[expect(clippy::print_stdout, reason = "a test that cannot run says so")]
fn the_kernels_tasks_say_the_same_as_the_files_of_all_who_stay_as_they_are() {
    let mut tasks = Reader::open().expect("/proc");
    if let Err(why) = tasks.iterate() {
        assert_eq!(tasks.source(), Source::Files(why));
        println!("skipped: {why}");
        return;
    }
    let mut by_steps = Reader::open().expect("/proc");
    by_steps.iterate_by_steps().expect("older than the other way");
    let mut files = Reader::open().expect("/proc");
    files.only_files();
    let sleeps = Command::new("sleep").arg("1000").spawn().expect("sleep");
    let dead = Command::new("sh").args(["-c", "exit 9"]).spawn().expect("sh");
    doula_sys::poll::readable(&dead, None).expect("a handle");
    let stopped = Command::new("sleep").arg("1000").spawn().expect("sleep");
    stopped.signal(Signal::STOP).expect("our child");
    let stops = doula_sys::wait::For::STOPS.blocking();
    doula_sys::wait::waitid(doula_sys::wait::Who::Pid(stopped.pid()), stops).expect("a stop");
    for (by_itself, threads) in [(true, false), (true, true), (false, false), (false, true)] {
        let tasks = if by_itself { &mut tasks } else { &mut by_steps };
        let want = Want { threads, ..Want::default() };
        // Who ran between the looks and rests again is told otherwise in between, but not each time.
        let mut told = Vec::new();
        let rounds = (0..100).find(|_| {
            let (differing, compared) = differing(&mut files, tasks, &want);
            told = differing;
            let made = [sleeps.pid(), dead.pid(), stopped.pid()];
            told.is_empty() && made.iter().all(|pid| compared.contains(pid))
        });
        assert!(rounds.is_some(), "by itself: {by_itself}, threads: {threads}\n{}", told.join("\n"));
        assert_eq!(tasks.source(), Source::Iterator);
    }
    assert_eq!(files.source(), Source::Files(NoIterator::Unwanted));
}

#[test]
#[expect(clippy::print_stdout, reason = "a test that cannot run says so")]
fn delays_are_told_of_processes_and_threads_and_what_is_not_counted_is_not_known() {
    let counted = match Accounts::open().offer() {
        Ok(counted) => counted,
        Err(errno) => return println!("skipped: the kernel does not account for us ({errno})"),
    };
    let mut reader = Reader::open().expect("/proc");
    for threads in [false, true] {
        let found = reader.scan(&Want { delays: true, threads, ..Want::default() }).expect("to look");
        let us = found.iter().find(|one| one.stat.pid == us()).expect("we live");
        let delays = us.delays.known().expect("root is told");
        let rest = [delays.disk, delays.swap, delays.memory];
        assert!(rest.iter().all(|delay| delay.is_some() == counted), "{counted} {delays:?}");
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "a test that cannot run says so")]
fn what_is_spared_changes_nothing_else_and_comes_when_it_is_wanted_again() {
    let child = sleeper();
    let seen = |reader: &mut Reader, spare| {
        let want = Want { spare, ..Want::default() };
        // The first look may be too small for the kernel's tasks; of a second one more will follow.
        reader.scan(&want).expect("to look");
        let found = reader.scan(&want).expect("to look");
        found.into_iter().find(|one| one.stat.pid == child.pid()).expect("our child").stat
    };
    let mut files = Reader::open().expect("/proc");
    files.only_files();
    let whole = files.stat(child.pid()).expect("our child");
    for spare in [
        Spare::ALL,
        Spare { times: true, ..Spare::default() },
        Spare { memory: true, ..Spare::default() },
        Spare { rest: true, ..Spare::default() },
    ] {
        let mut tasks = Reader::open().expect("/proc");
        let told = seen(&mut tasks, spare);
        if let Source::Files(why) = tasks.source() {
            println!("skipped: {why}");
            return;
        }
        let who = |stat: &Stat| (stat.identity(), stat.name.clone(), stat.ppid, stat.threads);
        assert_eq!(who(&told), who(&whole));
        assert_eq!(told.virtual_bytes > 0, !spare.memory, "{spare:?}");
        assert_eq!((told.sid, told.faults.0 > 0), if spare.rest { (0, false) } else { (whole.sid, true) });
        assert!(!spare.times || told.cpu == (0, 0), "{spare:?}");
        assert_eq!(seen(&mut tasks, Spare::default()).sid, whole.sid, "{spare:?}");
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "a test that cannot run says so")]
fn a_look_that_spares_less_than_the_one_before_tells_the_rest_of_everybody() {
    let mut live = Live::open().expect("/proc");
    let narrow = Want { spare: Spare::ALL, ..Want::default() };
    // Of a second look more will follow, and they go through the kernel's tasks.
    live.reader().scan(&narrow).expect("to look");
    live.reader().scan(&narrow).expect("to look");
    if let Source::Files(why) = live.reader().source() {
        println!("skipped: {why}");
        return;
    }
    let child = sleeper();
    let sid = |live: &Live| seen(live, child.pid()).map(|process| process.stat.sid);
    live.look(&narrow).expect("to look");
    live.look(&narrow).expect("to look");
    assert_eq!(sid(&live), Some(0));
    live.look(&Want::default()).expect("to look");
    let file = Reader::open().expect("/proc").stat(child.pid()).expect("it sleeps");
    assert_eq!(sid(&live), Some(file.sid));
}

#[test]
fn an_earlier_copy_of_the_list_becomes_the_present_one_whoever_came_and_went() {
    let mut live = Live::open().expect("/proc");
    let mut child = sleeper();
    live.look(&Want::default()).expect("to look");
    let mut copy = live.processes().to_vec();
    child.signal(Signal::KILL).expect("ours");
    child.wait();
    let _other = [sleeper(), sleeper()];
    live.look(&Want::default()).expect("to look");
    live.copy_into(&mut copy);
    assert_eq!(copy, live.processes());
}

#[test]
#[expect(clippy::print_stdout, reason = "a test that cannot run says so")]
fn looks_through_the_kernels_tasks_say_the_same_as_the_files_of_all_who_stay_as_they_are() {
    let mut live = Live::open().expect("/proc");
    if let Err(why) = live.reader().iterate() {
        println!("skipped: {why}");
        return;
    }
    let mut files = Reader::open().expect("/proc");
    files.only_files();
    let mut child = sleeper();
    let pid = child.pid();
    for (signal, state) in [
        (Signal::STOP, ProcState::Stopped),
        (Signal::CONT, ProcState::Sleeping),
        (Signal::KILL, ProcState::Zombie),
    ] {
        child.signal(signal).expect("ours");
        soon(&mut live, |live| (seen(live, pid)?.stat.state == state).then_some(()));
        let mut told = Vec::new();
        // Who ran between the looks and rests again is told otherwise in between, but not each time.
        let rounds = (0..100).find(|_| {
            let before = files.scan(&Want::default()).expect("to look");
            live.look(&Want::default()).expect("to look");
            let after = files.scan(&Want::default()).expect("to look");
            let stays = |process: &&Process| after.contains(process);
            let differs = |process: &&Process| seen(&live, process.stat.pid) != Some(process);
            let both = |one: &Process| (one.clone(), seen(&live, one.stat.pid).cloned());
            told = before.iter().filter(stays).filter(differs).map(both).collect();
            let more = live.processes().iter().filter(|process| files.stat(process.stat.pid).is_some());
            told.is_empty() && more.count() >= before.iter().filter(stays).count()
        });
        assert!(rounds.is_some(), "{signal}: {told:#?}");
    }
    child.wait();
    live.look(&Want::default()).expect("to look");
    assert!(seen(&live, pid).is_none(), "it is buried");
    assert_eq!(live.reader().source(), Source::Iterator);
}
