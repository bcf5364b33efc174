//! The players: who plays which script, and until when it sleeps.

use super::habit;
use super::log::Log;
use crate::kernel::call::{Call, Clone as How, Reply, Value};
use crate::kernel::{CgroupId, Kernel, Outcome, TaskId};
use crate::program::{Player, Script, Step};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use doula_model::event::{Event, Notice};
use doula_model::id::ChildKey;
use doula_model::plan::Errno;
use doula_model::time::Time;

/// How much one process does before others have their turn …
const STEPS_AT_ONCE: usize = 16;
/// … and if it has still not rested then, how long they have it.
const SLICE: Duration = Duration::from_millis(100);

/// So often one after the other may be missed by a kill, where Linux misses one of thousands.
const FORKS: u8 = 3;

/// On whose behalf a process speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Voice {
    /// Under which supervisor it was born.
    pub(crate) life: u32,
    /// The place of its service in the scenario.
    pub(crate) member: usize,
    pub(crate) key: ChildKey,
}

#[derive(Clone, Debug)]
struct Actor {
    task: TaskId,
    birth: u64,
    player: Player,
    /// A call that slept is to be answered.
    awaited: bool,
    wakes: Option<Time>,
    voice: Option<Voice>,
    /// It bears a copy of itself at any moment, and so do so many after it.
    forks: u8,
}

impl Actor {
    fn new(kernel: &Kernel, task: TaskId, player: Player, voice: Option<Voice>) -> Actor {
        let birth = kernel.birth(task);
        Actor { task, birth, player, awaited: false, wakes: None, voice, forks: 0 }
    }
}

/// See the head of this file.
pub(crate) struct Stage {
    actors: Vec<Actor>,
    born: Vec<Actor>,
    /// The births of those who have nothing to do with the family.
    strangers: Vec<u64>,
    /// What was said, for [`Stage::play`] to fill.
    pub(crate) said: Vec<(u32, Event)>,
    newest_first: bool,
}

impl Stage {
    pub(crate) fn new(newest_first: bool) -> Stage {
        Stage { actors: Vec::new(), born: Vec::new(), strangers: Vec::new(), said: Vec::new(), newest_first }
    }

    /// A process has executed its program.
    pub(crate) fn enter(&mut self, kernel: &Kernel, task: TaskId, script: &Arc<Script>, voice: Voice) {
        self.actors.push(Actor::new(kernel, task, Player::new(Arc::clone(script)), Some(voice)));
    }

    /// One that has just executed its program has a child beside all else, that forks at any moment.
    pub(crate) fn accompany(&mut self, kernel: &mut Kernel, task: TaskId) {
        let voice = self.voice_of(kernel, task);
        if let Some(child) = fork(kernel, task) {
            let player = Player::new(Arc::new(habit::known(habit::FORKS)));
            self.actors.push(Actor { forks: FORKS, ..Actor::new(kernel, child, player, voice) });
        }
    }

    /// The last of a group bears a copy of itself, if it is one that forks at any moment.
    pub(crate) fn bear_at_the_end(&mut self, kernel: &mut Kernel, group: CgroupId) {
        let Some(last) = kernel.cgroup_list(group).pop() else { return };
        let birth = kernel.birth(last);
        let forks = |actor: &&Actor| actor.forks > 0 && (actor.task, actor.birth) == (last, birth);
        let Some(mut copy) = self.actors.iter().find(forks).cloned() else { return };
        if let Some(child) = fork(kernel, last) {
            (copy.task, copy.birth, copy.forks) = (child, kernel.birth(child), copy.forks - 1);
            self.actors.push(copy);
        }
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
        let player = Player::new(Arc::new(habit::known(habit::STRANGER)));
        self.actors.push(Actor::new(kernel, task, player, None));
    }

    pub(crate) fn is_stranger(&self, kernel: &Kernel, task: TaskId) -> bool {
        self.strangers.contains(&kernel.birth(task))
    }

    /// On whose behalf this one speaks.
    pub(crate) fn voice_of(&self, kernel: &Kernel, task: TaskId) -> Option<Voice> {
        let birth = kernel.birth(task);
        self.actors.iter().find(|actor| (actor.task, actor.birth) == (task, birth))?.voice
    }

    /// When somebody wakes up next. Who is stopped does not.
    pub(crate) fn next_wake(&self, kernel: &Kernel) -> Option<Time> {
        let runs = |actor: &&Actor| kernel.is_in_program(actor.task);
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

/// A child of this one, if it is in its program and there is room.
fn fork(kernel: &mut Kernel, task: TaskId) -> Option<TaskId> {
    if !kernel.is_in_program(task) {
        return None;
    }
    let Outcome::Done(Ok(Value::Number(number))) = kernel.call(task, Call::Clone(How::FORK)) else {
        return None;
    };
    let child = kernel.find_as(task, number)?;
    kernel.take_reply(child);
    Some(child)
}

/// One actor's turn, with all that it may touch.
struct Turn<'t> {
    kernel: &'t mut Kernel,
    now: Time,
    log: &'t mut Log,
    said: &'t mut Vec<(u32, Event)>,
    born: &'t mut Vec<Actor>,
}

impl Turn<'_> {
    /// Whether it did anything.
    fn play(&mut self, actor: &mut Actor) -> bool {
        for done in 0..STEPS_AT_ONCE {
            if !self.kernel.lives(actor.task, actor.birth) || !self.kernel.is_in_program(actor.task) {
                return done > 0;
            }
            self.take_in(actor);
            if actor.wakes.is_some_and(|at| at > self.now) {
                return done > 0;
            }
            actor.wakes = None;
            self.step(actor);
        }
        actor.wakes = actor.wakes.or(Some(self.now.after(SLICE)));
        true
    }

    /// The reply of a call that slept, and the signals that handlers took after it.
    fn take_in(&mut self, actor: &mut Actor) {
        if core::mem::take(&mut actor.awaited)
            && let Some(reply) = self.kernel.take_reply(actor.task)
        {
            actor.player.reply(&reply);
        }
        if self.kernel.has_caught(actor.task) {
            actor.wakes = None;
            for signal in self.kernel.take_caught(actor.task) {
                actor.player.catch(signal);
            }
        }
    }

    fn step(&mut self, actor: &mut Actor) {
        match actor.player.next(self.now) {
            Step::Sleep(until) => actor.wakes = Some(until),
            Step::Notify(text) => self.say(actor, &text),
            // No script of a world goes on as another one.
            Step::Exec(_) => actor.player.reply(&Err(Errno::ENOENT)),
            Step::Call(call) => self.call(actor, call),
        }
    }

    fn say(&mut self, actor: &Actor, text: &str) {
        let notice = match text {
            "READY=1" => Notice::Ready,
            "STOPPING=1" => Notice::Stopping,
            _ => return,
        };
        let Some(Voice { life, key, .. }) = actor.voice else { return };
        self.log.note(self.now, ("says", key.service.0));
        if self.log.is_read() {
            self.log.say(self.now, self.number(actor), format_args!("says {text}"));
        }
        self.said.push((life, Event::Noticed { service: key.service, generation: key.generation, notice }));
    }

    fn call(&mut self, actor: &mut Actor, call: Call) {
        let birth = if let Call::Clone(how) = &call { Some((how.vfork, actor.player.clone())) } else { None };
        let text = self.log.is_read().then(|| (alloc::format!("{call}"), self.number(actor)));
        let reply = match self.kernel.call(actor.task, call) {
            Outcome::Done(reply) => Some(reply),
            Outcome::Blocked | Outcome::Gone => None,
        };
        self.log.note(self.now, &reply);
        if let Some((text, number)) = text {
            let said = reply.as_ref().map(|reply| alloc::format!(" -> {}", crate::program::Said(reply)));
            self.log.say(self.now, number, format_args!("{text:.60}{}", said.unwrap_or_default()));
        }
        if let Some((vfork, player)) = birth {
            self.bear(actor, vfork, player, reply.as_ref());
        }
        actor.awaited = reply.is_none();
        if let Some(reply) = reply {
            actor.player.reply(&reply);
        }
    }

    /// A child plays on where its parent is, with the reply 0.
    fn bear(&mut self, actor: &Actor, vfork: bool, mut player: Player, reply: Option<&Reply>) {
        let child = match reply {
            Some(Ok(Value::Number(number))) => self.kernel.find_as(actor.task, *number),
            None if vfork && self.kernel.lives(actor.task, actor.birth) => {
                self.kernel.child_of_vfork(actor.task)
            }
            Some(_) | None => None,
        };
        let Some(task) = child else { return };
        self.kernel.take_reply(task);
        player.reply(&Ok(Value::ZERO));
        self.born.push(Actor::new(self.kernel, task, player, actor.voice));
    }

    fn number(&self, actor: &Actor) -> i32 {
        self.kernel.look(actor.task).map_or(0, |look| look.pid)
    }
}
