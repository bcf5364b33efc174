//! The process pool of textbooks: workers that share a pipe of tasks and a pipe of results, and a master that hands
//! out all tasks and then collects all results. Its flaws are states that can be reached.
//!
//! Tasks and results are records of half a kilobyte unless said otherwise. A worker ends when the tasks do.

use crate::{after_a_second, has_ended, told, zombies};

/// Three workers by the textbook. `BEFORE` is what a worker does with a task.
const WORKERS: &str = "
    pipe as tasks to_workers
    pipe as results from_workers
    repeat 3 {
        fork as worker {
            close $to_workers
            close $results
            loop {
                read $tasks 512
                if none { exit 0 }
                BEFORE
                write $from_workers 512 bytes
            }
        }
    }
    close $tasks
    close $from_workers";

fn master(before: &str, rest: &str) -> String {
    format!("{}\n{rest}\nnotify done\nexit 0", WORKERS.replace("BEFORE", before))
}

const DISTRIBUTE: &str = "repeat N { write $to_workers 512 bytes }
    repeat N { read $results 512 }";

#[test]
fn few_tasks_are_done() {
    let mut stage = after_a_second(&master("", &DISTRIBUTE.replace('N', "100")));
    assert_eq!((told(&mut stage), has_ended(&stage)), (vec!["done".into()], true));
}

#[test]
fn more_tasks_than_both_pipes_hold_stop_everybody_for_ever() {
    let stage = after_a_second(&master("", &DISTRIBUTE.replace('N', "300")));
    let states: String = stage.everybody().iter().map(|look| look.state).collect();
    assert_eq!(states, "SSSS", "the master writes tasks, and each worker a result, that nobody reads");
    let never_more_than_fit = "repeat 300 { write $to_workers 512 bytes\n read $results 512 }";
    assert!(has_ended(&after_a_second(&master("", never_more_than_fit))));
}

#[test]
fn the_task_of_a_worker_that_crashes_is_awaited_for_ever() {
    let crash = master("if $self is 2 { kill $self SEGV }", &DISTRIBUTE.replace('N', "3"));
    let mut flawed = after_a_second(&crash);
    assert!(
        told(&mut flawed).is_empty() && !has_ended(&flawed),
        "the master sleeps: the others keep the pipe of results open"
    );
    // With a pipe for each worker, and no other who can write to it, its end is the end of the pipe.
    let own_pipes = "
        repeat 3 {
            pipe as result into
            fork as worker {
                close $result
                kill $self SEGV
                write $into 512 bytes
            }
            close $into
            read $result 512
            if none { wait4 pid $worker as dead status
                      notify lost the task of $dead with $status }
            close $result
        }";
    let lost = ["lost the task of 2 with 11", "lost the task of 3 with 11", "lost the task of 4 with 11"];
    assert_eq!(told(&mut after_a_second(own_pipes)), lost);
}

#[test]
fn workers_that_nobody_waits_for_stay_as_zombies() {
    let rest = |end: &str| {
        let workers = WORKERS.replace("BEFORE", "");
        format!(
            "{workers}\nwrite $to_workers 512 bytes\nread $results 512\nclose $to_workers\n{end}\nloop {{ pause }}"
        )
    };
    assert_eq!(zombies(&after_a_second(&rest(""))), 3);
    assert_eq!(zombies(&after_a_second(&rest("repeat 3 { wait4 any }"))), 0);
}

/// Two workers that write records of so many bytes, one of `a` and one of `b`, into a pipe that is nearly full, and
/// a host that reads them slowly: whether each record came in one piece.
fn are_whole(record: usize) -> bool {
    let writer = |letter: &str| format!("fork {{ repeat 20 {{ write 1 {} }} }}", letter.repeat(record));
    let init = format!("{}\n{}\nloop {{ wait4 any }}", writer("a"), writer("b"));
    let mut stage = after_a_second(&init);
    let mut text = Vec::new();
    while let Some(bytes) = stage.read(1000) {
        text.extend(bytes);
        stage.pass(std::time::Duration::from_millis(1));
    }
    assert_eq!(text.len(), 40 * record, "all was written");
    text.chunks(record).all(|record| record.iter().all(|byte| *byte == record[0]))
}

#[test]
fn records_longer_than_pipe_buf_are_mixed_and_shorter_ones_never() {
    assert!(!are_whole(6000));
    assert!(are_whole(4096));
    assert!(are_whole(1000));
}
