//! Capturing: no deadlock, no hang, no loss that is not told.

use crate::{actors::actor, end, is_dead};
use doula_host::{Capture, Command, Stdio};
use std::time::Duration;

#[test]
fn both_streams_and_the_input_may_be_larger_than_any_pipe() {
    let million = vec![b'x'; 3 << 20];
    let script = "tee /dev/stderr";
    let output = Command::new("sh").args(["-c", script]).output_of(&million).expect("a capture");
    assert!(output.status.success());
    assert!(output.stdout == million && output.stderr == million);
    assert_eq!((output.lost, output.cut), (0, false));
}

#[test]
fn a_child_that_does_not_read_its_input_is_no_failure() {
    let million = vec![b'x'; 1 << 20];
    let output = Command::new("true").output_of(&million).expect("a capture");
    assert!(output.status.success());
    let output =
        Command::new("sh").args(["-c", "exec <&-; echo done"]).output_of(&million).expect("a capture");
    assert_eq!(output.stdout_text(), "done\n");
}

#[test]
fn a_grandchild_that_holds_the_pipe_is_named_and_nobody_hangs() {
    let output = Command::exact(actor("holds_pipe")).output().expect("a capture");
    assert_eq!(output.stdout_text(), "holds_pipe: bye\n");
    assert!(output.cut);
    let lives = |holder: &doula_host::Holder| !is_dead(holder.pid);
    let found: Vec<(&str, bool)> =
        output.holders.iter().map(|holder| (holder.name.as_str(), lives(holder))).collect();
    output.holders.iter().filter(|holder| lives(holder)).for_each(|holder| end(holder.pid));
    assert_eq!(found, [("holds_pipe", true)]);
}

#[test]
fn a_grandchild_that_floods_the_pipe_cannot_keep_us_either() {
    let output = Command::new("sh").args(["-c", "echo first; yes &"]).output().expect("a capture");
    assert!(output.stdout.starts_with(b"first\n"));
    // It ends by itself once nobody reads; whoever looks first finds it or not.
    let names: Vec<&str> = output.holders.iter().map(|holder| holder.name.as_str()).collect();
    assert_eq!(names, ["yes"]);
}

#[test]
fn what_was_written_before_the_end_is_read_also_without_any_grace() {
    let script = "head -c 60000 /dev/zero; sleep 1000 & exit 0";
    let limits = Capture::new().grace(Duration::ZERO);
    let output = Command::new("sh").args(["-c", script]).capture(None, &limits).expect("a capture");
    assert_eq!(output.stdout.len(), 60_000);
    output.holders.iter().for_each(|holder| end(holder.pid));
}

#[test]
fn what_is_above_the_limit_is_counted_and_the_child_does_not_wait_for_a_reader() {
    let limits = Capture::new().limit(1000);
    let output = Command::new("head").args(["-c", "300000", "/dev/zero"]).capture(None, &limits);
    let output = output.expect("a capture");
    assert!(output.status.success());
    assert_eq!((output.stdout.len(), output.lost), (1000, 299_000));
}

#[test]
fn a_timeout_ends_the_whole_contained_tree_also_while_it_floods() {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' TERM; setsid sleep 1000 & echo $!; exec yes"]).contained();
    let limits = Capture::new().limit(20).timeout(Duration::from_millis(300)).grace(crate::LONG);
    let output = command.capture(None, &limits).expect("a capture");
    assert!(output.timed_out && output.lost > 0);
    assert_eq!(output.status.to_string(), "was killed by SIGKILL");
    let text = output.stdout_text();
    let number = text.lines().next().and_then(|line| line.parse().ok()).expect("a number");
    assert!(is_dead(doula_host::Pid::new(number).expect("a number")));
}

#[test]
fn streams_that_are_given_otherwise_are_left_alone() {
    let mut command = Command::new("sh");
    command.args(["-c", "echo out; echo err >&2"]).stdout(Stdio::null());
    let output = command.output().expect("a capture");
    assert_eq!((output.stdout_text().as_str(), output.stderr_text().as_str()), ("", "err\n"));
}

#[test]
fn control_characters_in_the_name_of_a_holder_are_escaped() {
    let script = "printf '\\033[2J' >/proc/self/comm; read never";
    let mut command = Command::new("bash");
    // The holder writes its own name, then keeps the pipe.
    command.args(["-c", &format!("({script}) <&9 & exit 0")]);
    let (input, _keeper) = doula_sys::fd::pipe().expect("a pipe");
    command.fd(9, input);
    let limits = Capture::new().grace(Duration::from_millis(500));
    let output = command.capture(None, &limits).expect("a capture");
    for holder in &output.holders {
        assert!(!holder.to_string().contains('\x1b'), "{holder}");
        end(holder.pid);
    }
    assert!(output.cut);
}

#[test]
fn who_can_only_read_the_pipe_is_no_holder() {
    let mut child = Command::exact(actor("holds_pipe")).stdout(Stdio::pipe_out()).spawn().expect("a birth");
    let reader = child.stdout.as_ref().expect("a pipe").try_clone().expect("a number");
    // Another child has the end to read from: as one has for a moment that is born meanwhile.
    let mut other = Command::new("sleep").arg("1000").fd(9, reader).spawn().expect("a birth");
    assert!(child.wait().success());
    let output = child.communicate(b"", &Capture::new()).expect("a capture");
    output.holders.iter().for_each(|holder| end(holder.pid));
    let names: Vec<&str> = output.holders.iter().map(|holder| holder.name.as_str()).collect();
    assert_eq!(names, ["holds_pipe"]);
    other.kill().expect("alive");
    other.wait();
}
