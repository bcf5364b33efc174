//! Workers that say their frames byte by byte, right and wrong.

use doula_host::Command;
use doula_host::jobs::Failure;
use doula_host::pool::{Pool, PoolError, Protocol};

/// HELLO, and functions that read the head of a task and answer: `take` leaves its number in `$id`.
const SHELL: &str = r#"
    frame() { printf "\\$(printf %03o $1)\\0\\0\\0\\$(printf %03o $2)\\0\\0\\0\\$(printf %03o $3)\\0\\0\\0\\0\\0\\0\\0" >&3; }
    say() { frame ${#3} $1 $2; printf %s "$3" >&3; }
    take() {
        set -- $(dd bs=1 count=16 status=none <&3 | od -An -v -tu1 | tr '\n' ' ')
        [ $# = 16 ] || exit 0
        id=$9
        input=$(dd bs=1 count=$1 status=none <&3)
    }
    frame 0 1 1
"#;

fn shell(workers: u32, rest: &str) -> Pool<impl FnMut() -> Command + use<>> {
    let program = format!("{SHELL}{rest}");
    let mut pool = Pool::new(workers, move || {
        let mut command = Command::new("sh");
        command.args(["-c", &program]);
        command
    });
    pool.rules().protocol = Protocol::Frames;
    pool
}

/// What came for the inputs 1 to 9, and what is said of those that failed.
fn answers(pool: &mut Pool<impl FnMut() -> Command>) -> Vec<Result<String, String>> {
    let inputs = (1..=9).map(|number: u32| number.to_string().into_bytes());
    let answers = pool.map(inputs).expect("a pool");
    let told = answers.map(|answer| match answer {
        Ok(answer) => Ok(String::from_utf8_lossy(&answer).into_owned()),
        Err(PoolError::Failed { failure: Failure::Protocol, deaths, .. }) => {
            Err(deaths.last().and_then(|death| death.why.clone()).unwrap_or_default())
        }
        Err(error) => Err(error.to_string()),
    });
    told.collect()
}

fn all_but_7(answers: &[Result<String, String>]) -> &str {
    for (answer, number) in answers.iter().zip(1..=9).filter(|(_, number)| *number != 7) {
        assert_eq!(answer, &Ok(format!("<{number}>")));
    }
    assert_eq!(answers.len(), 9);
    answers[6].as_ref().expect_err("it failed")
}

pub(crate) fn a_shell_that_says_the_bytes_of_frames_is_a_worker() {
    let answers = answers(&mut shell(
        2,
        "while take; do [ $input = 7 ] && say 4 $id 'not this one' || say 3 $id \"<$input>\"; done",
    ));
    assert_eq!(all_but_7(&answers), "task 6 failed: not this one");
}

pub(crate) fn whoever_says_what_is_no_frame_fails_its_task_and_is_replaced() {
    let wrong = [
        ("say 99 $id x", "unknown kind 99"),
        ("say 2 $id x", "only we send"),
        ("frame 0 1 1", "only we send"),
        ("printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3", "it sent a frame"),
    ];
    for (saying, told) in wrong {
        let line = format!(
            "while take; do [ $input = 7 ] && {{ {saying}; continue; }}; say 3 $id \"<$input>\"; done"
        );
        let answers = answers(&mut shell(2, &line));
        assert!(all_but_7(&answers).contains(told), "{saying}: {answers:?}");
    }
    // Half of a frame, and then the end of its socket.
    for end in ["exit 0", "exec 3>&-; sleep 1000"] {
        let line = format!(
            "while take; do [ $input = 7 ] && {{ printf half >&3; {end}; }}; say 3 $id \"<$input>\"; done"
        );
        let answers = answers(&mut shell(2, &line));
        assert!(all_but_7(&answers).contains("ended 2 workers"), "{end}: {answers:?}");
    }
}

pub(crate) fn a_worker_that_leaves_gives_back_what_it_has_not_done() {
    let mut pool = shell(2, "take; say 3 $id \"<$input>\"; frame 0 7 0; sleep 1000");
    pool.rules().settings.policy.grace = std::time::Duration::from_millis(10);
    pool.at_once(4, 1);
    let expected: Vec<_> = (1..=9).map(|number| Ok(format!("<{number}>"))).collect();
    assert_eq!(answers(&mut pool), expected);
    // One that leaves at once, again and again, is no worker.
    let answers = answers(&mut shell(1, "frame 0 7 0; sleep 1000"));
    let last = answers.last().and_then(|answer| answer.as_ref().err()).expect("an error");
    assert!(last.contains("before they take a task"), "{last}");
}

pub(crate) fn a_worker_that_is_killed_between_two_tasks_costs_none_and_nobody_is_blamed() {
    // The next task may be in its socket then, or only half of it.
    let expected: Vec<_> = (1..=9).map(|number| Ok(format!("<{number}>"))).collect();
    for rest in ["kill -KILL $$", "dd bs=1 count=3 status=none <&3 >/dev/null; kill -KILL $$"] {
        let mut pool = shell(2, &format!("take; say 3 $id \"<$input>\"; {rest}"));
        assert_eq!(answers(&mut pool), expected, "{rest}");
    }
}

pub(crate) fn an_answer_to_a_task_that_the_worker_does_not_have_is_given_to_nobody() {
    let line = "while take; do [ $input = 7 ] && say 3 99 stolen; say 3 $id \"<$input>\"; done";
    assert!(all_but_7(&answers(&mut shell(2, line))).contains("answered task 99"));
    // Once more the same is not held against the next.
    let line = "while take; do say 3 $id \"<$input>\"; [ $input = 7 ] && say 3 $id again; done";
    let expected: Vec<_> = (1..=9).map(|number| Ok(format!("<{number}>"))).collect();
    assert_eq!(answers(&mut shell(1, line)), expected);
}
