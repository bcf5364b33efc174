//! How a script is played.

use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_model::time::Time;
use doula_sim::kernel::call::{Call, Reply, Value, Wait};
use doula_sim::kernel::sigset::{Action, Code, SigInfo};
use doula_sim::program::{Player, Script, Step};

const ZERO: Reply = Ok(Value::ZERO);
const SECOND: u64 = 1_000_000_000;

fn player(text: &str) -> Player {
    Player::new(text.parse::<Script>().expect(text).into())
}

fn at(seconds: u64) -> Time {
    Time::from_nanos(seconds * SECOND)
}

fn info(signal: Signal, pid: i32) -> SigInfo {
    SigInfo { signal, code: Code::User, pid }
}

/// The calls that come when each is answered so.
fn calls(player: &mut Player, replies: &[Reply]) -> Vec<Call> {
    let mut made = Vec::new();
    for reply in replies {
        made.push(next_call(player));
        player.reply(reply);
    }
    made
}

fn next_call(player: &mut Player) -> Call {
    let step = player.next(Time::ZERO);
    let Step::Call(call) = step else { panic!("{step:?} is no call") };
    call
}

#[test]
fn names_stand_for_the_numbers_that_calls_gave() {
    let mut player = player(
        "fork as a\nkill -$a TERM\npipe as from into\ndup2 $into 1\nwait4 pid $a as dead status\nif $dead is $a { close $from }",
    );
    let replies = [
        Ok(Value::Number(7)),
        ZERO,
        Ok(Value::Pair(3, 4)),
        ZERO,
        Ok(Value::Waited(doula_sim::kernel::call::Waited { pid: 7, status: 15 })),
        ZERO,
    ];
    let expected = [
        Call::Clone(doula_sim::kernel::call::Clone::FORK),
        Call::Kill(-7, 15),
        Call::Pipe(false),
        Call::Dup2(4, 1),
        Call::Wait4(Wait::pid(7)),
        Call::Close(3),
    ];
    assert_eq!(calls(&mut player, &replies), expected);
    assert_eq!(next_call(&mut player), Call::ExitGroup(0), "the end of a script is exit 0");
}

#[test]
fn a_call_about_somebody_who_was_never_born_is_not_made_and_has_failed() {
    let mut player = player("fork as a\nkill $a KILL\nif failed ESRCH { exit 4 }");
    let made = calls(&mut player, &[Err(Errno::EAGAIN)]);
    assert_eq!((made.len(), next_call(&mut player)), (1, Call::ExitGroup(4)));
}

#[test]
fn the_own_number_is_asked_for_once_and_the_parents_each_time() {
    let mut player = player("kill $self 0\nkill $self 0\nkill $parent 0\nkill $parent 0");
    let number = |number| Ok(Value::Number(number));
    let made = calls(&mut player, &[number(5), ZERO, ZERO, number(1), ZERO, number(9), ZERO]);
    let expected = [
        Call::Getpid,
        Call::Kill(5, 0),
        Call::Kill(5, 0),
        Call::Getppid,
        Call::Kill(1, 0),
        Call::Getppid,
        Call::Kill(9, 0),
    ];
    assert_eq!(made, expected);
}

#[test]
fn a_child_does_its_block_and_ends_and_knows_another_number_of_its_own() {
    let mut parent = player("kill $self 0\nloop { fork as it { kill $self 0 }\n pause }");
    calls(&mut parent, &[Ok(Value::Number(2)), ZERO]);
    assert!(matches!(next_call(&mut parent), Call::Clone(_)));
    let mut child = parent.clone();
    child.reply(&ZERO);
    parent.reply(&Ok(Value::Number(3)));
    let made = calls(&mut child, &[Ok(Value::Number(3)), ZERO]);
    assert_eq!(made, [Call::Getpid, Call::Kill(3, 0)]);
    assert_eq!(next_call(&mut child), Call::ExitGroup(0), "not another round of the parent's loop");
    assert_eq!(next_call(&mut parent), Call::Pause);
}

#[test]
fn loops_go_round_and_are_left_behind_their_end() {
    let mut player =
        player("repeat 2 { getpid\n loop { getsid 0\n if failed { break } } }\nrepeat 0 { pause }\nsetsid");
    let failed = Err(Errno::EPERM);
    let replies = [ZERO, ZERO, failed.clone(), ZERO, failed, ZERO];
    let (pid, sid) = (Call::Getpid, Call::Getsid(0));
    let expected = [pid.clone(), sid.clone(), sid.clone(), pid, sid, Call::Setsid];
    assert_eq!(calls(&mut player, &replies), expected);
}

#[test]
fn a_handler_runs_between_two_steps_and_a_call_that_it_interrupted_is_made_again() {
    let mut player = player("on USR1 as who { kill $who 0 }\nwait4 any\nexit 9");
    let made = calls(&mut player, &[ZERO]);
    assert_eq!(made, [Call::Sigaction(Signal::USR1, Action::HANDLER)]);
    let wait = Call::Wait4(Wait::any());
    assert_eq!(next_call(&mut player), wait);
    player.reply(&Err(Errno::EINTR));
    player.catch(info(Signal::USR1, 44));
    let made = calls(&mut player, &[ZERO, Err(Errno::EINTR)]);
    assert_eq!(made, [Call::Kill(44, 0), wait]);
    assert_eq!(
        next_call(&mut player),
        Call::ExitGroup(9),
        "an interruption by nobody who has a block is a failure"
    );
}

#[test]
fn a_pause_ends_with_the_handler_and_a_signal_that_is_being_handled_waits() {
    let mut player = player("on TERM { sleep 1s\n getpid }\npause\nexit 9");
    calls(&mut player, &[ZERO]);
    assert_eq!(next_call(&mut player), Call::Pause);
    player.reply(&Err(Errno::EINTR));
    player.catch(info(Signal::TERM, 0));
    assert_eq!(player.next(at(5)), Step::Sleep(at(6)));
    player.catch(info(Signal::TERM, 0));
    assert_eq!(player.next(at(5)), Step::Sleep(at(6)), "not interrupted by its own signal");
    assert_eq!(player.next(at(6)), Step::Call(Call::Getpid));
    player.reply(&ZERO);
    assert_eq!(player.next(at(6)), Step::Sleep(at(7)), "the second one comes when the first is done");
    assert_eq!(player.next(at(7)), Step::Call(Call::Getpid));
    player.reply(&ZERO);
    assert_eq!(player.next(at(7)), Step::Call(Call::ExitGroup(9)));
}

#[test]
fn a_sleep_is_ended_early_by_a_handler_and_not_by_looking_at_the_clock() {
    let mut player = player("on HUP { notify hup }\nsleep 10s\nexit 9");
    calls(&mut player, &[ZERO]);
    assert_eq!(player.next(at(1)), Step::Sleep(at(11)));
    assert_eq!(player.next(at(3)), Step::Sleep(at(11)));
    player.catch(info(Signal::USR1, 0));
    assert_eq!(player.next(at(3)), Step::Sleep(at(11)), "nobody handles that one");
    player.catch(info(Signal::HUP, 0));
    assert_eq!(player.next(at(3)), Step::Notify("hup".into()));
    assert_eq!(player.next(at(3)), Step::Call(Call::ExitGroup(9)));
}

#[test]
fn a_loop_in_which_nothing_is_done_lets_time_pass() {
    let mut player = player("loop { if none { pause } }");
    let first = player.next(Time::ZERO);
    let Step::Sleep(until) = first else { panic!("{first:?}") };
    assert!(until > Time::ZERO);
    assert!(matches!(player.next(until), Step::Sleep(later) if later > until));
}

#[test]
fn an_exec_that_fails_goes_on_and_notices_have_numbers_for_names() {
    let mut player = player("exec nobody\nif failed { notify no $self and $parent }");
    assert_eq!(player.next(Time::ZERO), Step::Exec("nobody".into()));
    player.reply(&Err(Errno::ENOENT));
    calls(&mut player, &[Ok(Value::Number(4)), Ok(Value::Number(1))]);
    assert_eq!(player.next(Time::ZERO), Step::Notify("no 4 and 1".into()));
}

#[test]
fn a_write_of_so_many_bytes_ends_a_line() {
    let mut player = player("write 1 3 bytes\nwrite 1 0 bytes");
    let made = calls(&mut player, &[Ok(Value::Number(3)), ZERO]);
    assert_eq!(made, [Call::Write(1, b"xx\n".to_vec()), Call::Write(1, Vec::new())]);
}
