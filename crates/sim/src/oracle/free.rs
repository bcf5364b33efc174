//! Processes that run as they like: everybody makes a call at the same time as all others, round after round, and nobody waits for
//! anybody's turn.
//!
//! What may come of it is too much to follow, so that only what must hold in every order is looked at: all descend from init, each
//! child is buried once, and with the status with which it ended.

use super::compare::World;
use super::paper::Observed;
use super::script::{Maker, Step};
use crate::kernel::call::{Call, Wait};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use alloc::{format, vec};

/// A world in which many make a call at once.
pub trait FreeWorld: World {
    /// The places of those who are in their programs.
    fn idle(&self) -> Vec<usize>;

    /// Lets all of them make their calls at once: who, the place of a child, the call. Looks when all are at rest again.
    fn perform_all(&mut self, orders: &[(usize, usize, Call)]) -> Observed;
}

/// How many calls were made; or what does not hold, and the calls so far.
pub fn run_freely(
    world: &mut impl FreeWorld,
    seed: u64,
    calls: usize,
) -> Result<usize, (Vec<String>, String)> {
    world.begin();
    let mut crowd = Crowd { maker: Maker::new(seed), ..Crowd::default() };
    let (mut done, mut place, mut told) = (0, 0, vec![]);
    while done < calls {
        let idle = world.idle();
        crowd.maker.alive.clone_from(&idle);
        let orders: Vec<(usize, usize, Call)> = idle
            .into_iter()
            .map(|by| {
                place += 1;
                let step = Step::new(place, by, crowd.maker.life(by, place));
                told.push(format!("{step}"));
                (by, place, step.call(|place| world.number(place)))
            })
            .collect();
        if orders.is_empty() {
            break;
        }
        done += orders.len();
        told.push("(all at rest)".into());
        let seen = world.perform_all(&orders);
        crowd.note(world, &orders);
        crowd.check(&seen).map_err(|what| (told.clone(), what))?;
    }
    Ok(done)
}

/// What is known of everybody.
#[derive(Default)]
struct Crowd {
    maker: Maker,
    /// With which code a process was told to end, by number.
    codes: BTreeMap<i32, i32>,
    /// Whose waits bury, by the number of the caller.
    burying: BTreeSet<i32>,
    buried: BTreeSet<i32>,
}

impl Crowd {
    fn note(&mut self, world: &impl World, orders: &[(usize, usize, Call)]) {
        for (by, _, call) in orders {
            let Some(number) = world.number(*by) else { continue };
            if let Call::ExitGroup(code) = call {
                self.codes.insert(number, *code);
            }
            if matches!(call, Call::Wait4(_) | Call::Waitid(Wait { no_wait: false, .. })) {
                self.burying.insert(number);
            } else {
                self.burying.remove(&number);
            }
        }
    }

    fn check(&mut self, observed: &Observed) -> Result<(), String> {
        for number in observed.seen.keys() {
            let mut above = *number;
            for _ in 0..observed.seen.len() {
                above = observed.seen.get(&above).map_or(0, |seen| seen.parent);
            }
            if above != 0 {
                return Err(format!("{number} does not descend from init"));
            }
            if self.buried.contains(number) {
                return Err(format!("{number} was buried and is there"));
            }
        }
        for (caller, said) in &observed.said {
            if let Some((number, status)) = end_of(said).filter(|_| self.burying.contains(caller)) {
                self.bury(number, status)?;
            }
        }
        Ok(())
    }

    fn bury(&mut self, number: i32, status: i32) -> Result<(), String> {
        if !self.buried.insert(number) {
            return Err(format!("{number} was buried twice"));
        }
        let killed = status & 0x7f != 0;
        match self.codes.get(&number) {
            Some(code) if !killed && status != (code & 0xff) << 8 => {
                Err(format!("{number} ended with {code}, and its parent was told {status:#x}"))
            }
            None if !killed => {
                Err(format!("{number} never ended by itself, and its parent was told {status:#x}"))
            }
            _ => Ok(()),
        }
    }
}

/// Whose end a reply of wait(2) tells, and its status: no stops, no continues.
fn end_of(said: &str) -> Option<(i32, i32)> {
    let mut words = said.split(' ');
    let number = words.next()?.parse().ok()?;
    let status = words.next().filter(|word| *word == "status").and(words.next())?;
    let status = i32::from_str_radix(status.strip_prefix("0x")?, 16).ok()?;
    (status & 0xff != 0x7f && status != 0xffff).then_some((number, status))
}
