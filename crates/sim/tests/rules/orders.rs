//! That orders are enumerated, that states can be compared, and that nothing is left to chance.

use crate::world::World;
use doula_model::signal::Signal;
use doula_sim::kernel::call::{Call, Wait};
use doula_sim::kernel::sigset::Action;
use std::collections::BTreeSet;

#[test]
fn the_same_calls_give_the_same_hash_and_other_calls_another() {
    let run = |code| {
        let (mut world, init) = World::new();
        let child = world.fork(init);
        world.exit(child, code);
        world.state_hash()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn a_return_to_the_program_is_a_step_on_which_a_stop_can_still_come() {
    let (mut world, init) = World::new();
    let parent = world.fork(init);
    let child = world.fork(parent);
    world.done(child, Call::SetParentDeathSignal(Some(Signal::STOP)));
    let ends = world.ends(child, Call::Kill(world.pid(parent), Signal::KILL.number()));
    let back: BTreeSet<bool> = ends.into_iter().map(|mut end| end.take_reply(child).is_some()).collect();
    assert_eq!(back, BTreeSet::from([false, true]), "the call is over, and its caller may not know it yet");
}

#[test]
fn two_waiting_parents_and_two_deaths_have_every_legal_end_and_no_other() {
    let (mut world, init) = World::new();
    world.act(init, Signal::CHLD, Action::HANDLER);
    let children = [world.fork(init), world.fork(init)];
    let killer = world.fork(init);
    world.sleeps(init, Call::Wait4(Wait::any()));
    let ends = world.ends(killer, Call::Kill(-1, Signal::TERM.number()));
    let replies: BTreeSet<String> =
        ends.into_iter().map(|mut end| format!("{:?}", end.take_reply(init))).collect();
    assert_eq!(replies.len(), 2, "either may be the first: {replies:?}");
    assert_eq!(children.len(), 2);
}
