//! Mistakes that only some orders show: all that Linux may choose are gone through.

use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_sim::kernel::call::{Call, Clone, Reply, Value, Wait};
use doula_sim::kernel::{Kernel, TaskId};
use std::collections::BTreeSet;

/// The replies that the last of these calls can have, when others are at work between them in every order. `None`
/// stands for no reply at all.
fn last_replies(kernel: &Kernel, task: TaskId, calls: &[Call]) -> Vec<Option<Reply>> {
    let (mut open, mut seen, mut ends) = (vec![(kernel.clone(), 0)], BTreeSet::new(), Vec::new());
    while let Some((state, made)) = open.pop() {
        let mut following: Vec<(Kernel, usize)> = state
            .ready()
            .map(|ready| {
                let mut next = state.clone();
                next.step(ready);
                (next, made)
            })
            .collect();
        let back = state.is_in_program(task);
        if back && made < calls.len() {
            let mut next = state.clone();
            next.enter(task, calls[made].clone());
            following.push((next, made + 1));
        }
        if made == calls.len() && (back || following.is_empty()) {
            let reply = state.clone().take_reply(task);
            if !ends.contains(&reply) {
                ends.push(reply);
            }
        }
        open.extend(following.into_iter().filter(|(next, made)| seen.insert((next.state_hash(), *made))));
    }
    ends
}

/// A supervisor and its child.
fn family() -> (Kernel, TaskId, i32) {
    let mut kernel = Kernel::new();
    let supervisor = kernel.init();
    kernel.call(supervisor, Call::Clone(Clone::FORK));
    let child = kernel.tasks().find(|task| *task != supervisor).expect("a child");
    let number = kernel.look(child).expect("a child").pid;
    (kernel, supervisor, number)
}

fn is_burial(reply: &Option<Reply>) -> bool {
    matches!(reply, Some(Ok(Value::Waited(_))))
}

#[test]
fn sbsh_412_a_last_look_without_waiting_may_come_before_the_killed_child_is_dead() {
    let (kernel, supervisor, child) = family();
    let kill = Call::Kill(child, Signal::KILL.number());
    let drain = [kill.clone(), Call::Wait4(Wait::any().no_hang())];
    let flawed = last_replies(&kernel, supervisor, &drain);
    assert!(flawed.contains(&Some(Ok(Value::ZERO))), "it may find nobody, and leave a zombie: {flawed:?}");
    assert!(flawed.iter().any(is_burial), "most often it does find it: {flawed:?}");
    let right = last_replies(&kernel, supervisor, &[kill, Call::Wait4(Wait::pid(child))]);
    assert!(right.iter().all(is_burial), "who waits for the child it killed always finds it: {right:?}");
}

#[test]
fn a_number_that_was_buried_may_mean_nobody_and_a_handle_never_means_a_stranger() {
    let (kernel, supervisor, child) = family();
    let bury = [Call::Kill(child, Signal::KILL.number()), Call::Wait4(Wait::pid(child))];
    let by_number = [bury.to_vec(), vec![Call::Kill(child, 0)]].concat();
    assert_eq!(last_replies(&kernel, supervisor, &by_number), [Some(Err(Errno::ESRCH))]);
    let mut again = kernel.clone();
    for call in bury {
        again.call(supervisor, call);
    }
    again.set_next_pid(supervisor, child);
    again.call(supervisor, Call::Clone(Clone::FORK));
    let hit = last_replies(&again, supervisor, &[Call::Kill(child, Signal::TERM.number())]);
    assert_eq!(hit, [Some(Ok(Value::ZERO))], "a stranger has the number, and takes the signal");
}
