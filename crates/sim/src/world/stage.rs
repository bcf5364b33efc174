//! The players: who plays which program, where in it, and until when it sleeps.

use super::log::Log;
use super::script::{Act, Part, Script};
use crate::kernel::call::{Call, Clone as How, Reply, Value, Wait};
use crate::kernel::sigset::Action;
use crate::kernel::{Kernel, Outcome, TaskId};
use alloc::vec::Vec;
use core::time::Duration;
use doula_model::event::{Event, Notice};
use doula_model::id::ChildKey;
use doula_model::signal::Signal;
use doula_model::time::Time;

/// How much one process does before others have their turn.
const ACTS_AT_ONCE: usize = 16;
/// How long a stranger lives.
const VISIT: Duration = Duration::from_secs(20);

/// On whose behalf a process speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Voice {
    /// Under which supervisor it was born.
    pub(crate) life: u32,
    pub(crate) key: ChildKey,
}

#[derive(Clone, Copy, Debug)]
struct Actor<'a> {
    task: TaskId,
    birth: u64,
    script: &'a [Part],
    part: usize,
    at: usize,
    wakes: Option<Time>,
    voice: Option<Voice>,
}

/// See the head of this file.
pub(crate) struct Stage<'a> {
    actors: Vec<Actor<'a>>,
    born: Vec<Actor<'a>>,
    /// The births of those who have nothing to do with the family.
    strangers: Vec<u64>,
    /// What was said, for [`Stage::play`] to fill.
    pub(crate) said: Vec<(u32, Event)>,
    newest_first: bool,
}

impl<'a> Stage<'a> {
    pub(crate) fn new(newest_first: bool) -> Stage<'a> {
        Stage { actors: Vec::new(), born: Vec::new(), strangers: Vec::new(), said: Vec::new(), newest_first }
    }

    /// A process has executed its program.
    pub(crate) fn enter(&mut self, kernel: &Kernel, task: TaskId, script: &'a Script, voice: Voice) {
        let birth = kernel.birth(task);
        let voice = Some(voice);
        self.actors.push(Actor { task, birth, script: &script.0, part: 0, at: 0, wakes: None, voice });
    }

    /// Somebody else on this machine has a child, which gets this number and leads a session.
    pub(crate) fn meet_stranger(&mut self, kernel: &mut Kernel, number: i32) {
        let init = kernel.init();
        kernel.set_next_pid(init, number);
        let Outcome::Done(Ok(Value::Number(number))) = kernel.call(init, Call::Clone(How::FORK)) else {
            return;
        };
        let Some(task) = kernel.find(number) else { return };
        kernel.call(task, Call::Setsid);
        self.strangers.push(kernel.birth(task));
        const STRANGER: &[Part] = &[];
        let birth = kernel.birth(task);
        self.actors.push(Actor { task, birth, script: STRANGER, part: 0, at: 0, wakes: None, voice: None });
    }

    pub(crate) fn is_stranger(&self, kernel: &Kernel, task: TaskId) -> bool {
        self.strangers.contains(&kernel.birth(task))
    }

    /// When somebody wakes up next. Who is stopped does not.
    pub(crate) fn next_wake(&self, kernel: &Kernel) -> Option<Time> {
        let runs = |actor: &&Actor<'_>| kernel.is_in_program(actor.task);
        self.actors.iter().filter(runs).filter_map(|actor| actor.wakes).min()
    }

    /// Everybody does what there is to do now.
    pub(crate) fn play(
        &mut self,
        kernel: &mut Kernel,
        now: Time,
        log: &mut Log,
        said: &mut Vec<(u32, Event)>,
    ) {
        loop {
            self.actors.retain(|actor| kernel.lives(actor.task, actor.birth));
            if self.newest_first {
                self.actors.sort_by_key(|actor| core::cmp::Reverse(actor.birth));
            }
            let mut moved = false;
            for actor in &mut self.actors {
                let mut turn = Turn { kernel, now, log, said, born: &mut self.born };
                moved |= turn.play(actor);
            }
            moved |= !self.born.is_empty();
            self.actors.append(&mut self.born);
            if !moved {
                return;
            }
        }
    }
}

/// One actor's turn, with all that it may touch.
struct Turn<'t, 'a> {
    kernel: &'t mut Kernel,
    now: Time,
    log: &'t mut Log,
    said: &'t mut Vec<(u32, Event)>,
    born: &'t mut Vec<Actor<'a>>,
}

impl<'a> Turn<'_, 'a> {
    /// Whether it did anything.
    fn play(&mut self, actor: &mut Actor<'a>) -> bool {
        for done in 0..ACTS_AT_ONCE {
            if !self.kernel.lives(actor.task, actor.birth) || !self.kernel.is_in_program(actor.task) {
                return done > 0;
            }
            if self.kernel.has_caught(actor.task) {
                self.kernel.take_caught(actor.task);
                (actor.part, actor.at, actor.wakes) = (actor.script[actor.part].on_term, 0, None);
            }
            if actor.wakes.is_some_and(|at| at > self.now) {
                return done > 0;
            }
            actor.wakes = None;
            self.act(actor);
        }
        true
    }

    fn act(&mut self, actor: &mut Actor<'a>) {
        let Some(act) = actor.script.get(actor.part).and_then(|part| part.acts.get(actor.at)).copied() else {
            return self.visit(actor);
        };
        actor.at += 1;
        match act {
            Act::Sleep(time) => actor.wakes = Some(self.now.after(time)),
            Act::Ready => self.say(actor, Notice::Ready),
            Act::Stopping => self.say(actor, Notice::Stopping),
            Act::Fork(part) => self.fork(actor, part),
            Act::Vfork(part) => self.vfork(actor, part),
            Act::Bury => drop(self.call(actor, Call::Wait4(Wait::any()))),
            Act::Exit(code) => drop(self.call(actor, Call::ExitGroup(i32::from(code)))),
            Act::Raise(signal) => {
                let own = self.kernel.look(actor.task).map_or(0, |look| look.pid);
                self.note(actor, "raise", own);
                self.kernel.signal_from_kernel(actor.task, signal);
            }
            Act::Catch => drop(self.call(actor, Call::Sigaction(Signal::TERM, Action::HANDLER))),
            Act::Ignore(signal) => drop(self.call(actor, Call::Sigaction(signal, Action::IGNORE))),
            Act::Setsid => drop(self.call(actor, Call::Setsid)),
            Act::Pause => {
                actor.at -= 1;
                drop(self.call(actor, Call::Pause));
            }
            Act::Goto(at) => actor.at = at,
        }
    }

    /// A stranger stays for a while, and whoever has nothing more to do ends.
    fn visit(&mut self, actor: &mut Actor<'a>) {
        if actor.script.is_empty() && actor.at == 0 {
            (actor.at, actor.wakes) = (1, Some(self.now.after(VISIT)));
        } else {
            drop(self.call(actor, Call::ExitGroup(0)));
        }
    }

    fn fork(&mut self, actor: &Actor<'a>, part: usize) {
        let Some(Ok(Value::Number(number))) = self.call(actor, Call::Clone(How::FORK)) else { return };
        if let Some(task) = self.kernel.find_as(actor.task, number) {
            let birth = self.kernel.birth(task);
            self.born.push(Actor { task, birth, part, at: 0, wakes: None, ..*actor });
        }
    }

    fn vfork(&mut self, actor: &Actor<'a>, part: usize) {
        if self.call(actor, Call::Clone(How::VFORK)).is_some() || !self.kernel.lives(actor.task, actor.birth)
        {
            return;
        }
        if let Some(task) = self.kernel.child_of_vfork(actor.task) {
            let birth = self.kernel.birth(task);
            self.born.push(Actor { task, birth, part, at: 0, wakes: None, ..*actor });
        }
    }

    fn say(&mut self, actor: &Actor<'a>, notice: Notice) {
        let Some(Voice { life, key }) = actor.voice else { return };
        self.note(actor, "says", key.service.0 as i32);
        self.said.push((life, Event::Noticed { service: key.service, generation: key.generation, notice }));
    }

    fn call(&mut self, actor: &Actor<'a>, call: Call) -> Option<Reply> {
        let text = self.log.is_read().then(|| (alloc::format!("{call}"), self.number(actor)));
        let reply = match self.kernel.call(actor.task, call) {
            Outcome::Done(reply) => Some(reply),
            Outcome::Blocked | Outcome::Gone => None,
        };
        self.log.note(self.now, &reply);
        if let Some((text, number)) = text {
            let said = reply.as_ref().map(|reply| alloc::format!(" -> {}", crate::program::Said(reply)));
            self.log.say(self.now, number, format_args!("{text}{}", said.unwrap_or_default()));
        }
        reply
    }

    fn note(&mut self, actor: &Actor<'a>, what: &'static str, number: i32) {
        self.log.note(self.now, (what, number));
        if self.log.is_read() {
            let who = self.number(actor);
            self.log.say(self.now, who, format_args!("{what} {number}"));
        }
    }

    fn number(&self, actor: &Actor<'a>) -> i32 {
        self.kernel.look(actor.task).map_or(0, |look| look.pid)
    }
}
