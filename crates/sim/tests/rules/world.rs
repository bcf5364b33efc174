//! Short words for what the tests do with a kernel.

use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_sim::kernel::call::{Call, Clone, Reply, Value, Wait, Waited};
use doula_sim::kernel::sigset::Action;
use doula_sim::kernel::{Kernel, Outcome, TaskId, Trace};
use std::ops::{Deref, DerefMut};

/// A kernel with words for tests.
#[derive(Clone)]
pub(crate) struct World(pub(crate) Kernel);

impl Deref for World {
    type Target = Kernel;
    fn deref(&self) -> &Kernel {
        &self.0
    }
}

impl DerefMut for World {
    fn deref_mut(&mut self) -> &mut Kernel {
        &mut self.0
    }
}

impl World {
    /// A machine with its init.
    pub(crate) fn new() -> (World, TaskId) {
        let kernel = Kernel::new();
        let init = kernel.init();
        (World(kernel), init)
    }

    /// What a call that comes back came back with.
    pub(crate) fn reply(&mut self, task: TaskId, call: Call) -> Reply {
        match self.call(task, call.clone()) {
            Outcome::Done(reply) => reply,
            Outcome::Blocked | Outcome::Gone => panic!("{call:?} should have come back"),
        }
    }

    /// The number that a call gave back.
    pub(crate) fn number(&mut self, task: TaskId, call: Call) -> i32 {
        match self.reply(task, call.clone()) {
            Ok(Value::Number(number)) => number,
            other => panic!("{call:?} should have given a number: {other:?}"),
        }
    }

    /// A call that has nothing to say.
    pub(crate) fn done(&mut self, task: TaskId, call: Call) {
        assert_eq!(self.number(task, call), 0);
    }

    /// Why a call failed.
    pub(crate) fn error(&mut self, task: TaskId, call: Call) -> Errno {
        self.reply(task, call.clone()).expect_err(&format!("{call:?} should have failed"))
    }

    pub(crate) fn clone_task(&mut self, task: TaskId, how: Clone) -> TaskId {
        let number = self.number(task, Call::Clone(how));
        self.find_as(task, number).expect("who was just born")
    }

    pub(crate) fn fork(&mut self, task: TaskId) -> TaskId {
        self.clone_task(task, Clone::FORK)
    }

    pub(crate) fn exit(&mut self, task: TaskId, code: i32) {
        assert_eq!(self.call(task, Call::ExitGroup(code)), Outcome::Gone);
    }

    pub(crate) fn kill(&mut self, by: TaskId, task: TaskId, signal: Signal) {
        let number = self.seen(by, task);
        self.done(by, Call::Kill(number, signal.number()));
    }

    pub(crate) fn ptrace(&mut self, task: TaskId, what: Trace) -> Reply {
        self.reply(task, Call::Ptrace(what))
    }

    pub(crate) fn act(&mut self, task: TaskId, signal: Signal, action: Action) {
        self.done(task, Call::Sigaction(signal, action));
    }

    /// A wait that finds something.
    pub(crate) fn wait(&mut self, task: TaskId, wait: Wait) -> (i32, i32) {
        match self.reply(task, Call::Waitid(wait)) {
            Ok(Value::Waited(Waited { pid, status })) => (pid, status),
            other => panic!("there should have been something to wait for: {other:?}"),
        }
    }

    /// A call that sleeps.
    pub(crate) fn sleeps(&mut self, task: TaskId, call: Call) {
        assert_eq!(self.call(task, call), Outcome::Blocked);
    }

    /// The number as the first namespace has it.
    pub(crate) fn pid(&self, task: TaskId) -> i32 {
        self.look(task).expect("a task").pid
    }

    pub(crate) fn seen(&self, by: TaskId, task: TaskId) -> i32 {
        self.look_as(by, task).expect("a task").pid
    }

    pub(crate) fn ppid(&self, task: TaskId) -> i32 {
        self.look(task).expect("a task").ppid
    }

    /// The letter; `-` when it is gone.
    pub(crate) fn state(&self, task: TaskId) -> char {
        self.look(task).map_or('-', |look| look.state)
    }

    pub(crate) fn caught(&mut self, task: TaskId) -> Vec<i32> {
        self.take_caught(task).iter().map(|info| info.signal.number()).collect()
    }

    /// What a sleeping call came back with meanwhile.
    pub(crate) fn woke_with(&mut self, task: TaskId) -> Option<Reply> {
        self.take_reply(task)
    }

    /// Every end that a call can have, over all orders.
    pub(crate) fn ends(&self, task: TaskId, call: Call) -> Vec<World> {
        let mut kernel = self.0.clone();
        kernel.enter(task, call);
        kernel.successors(100_000).expect("few orders").into_iter().map(World).collect()
    }
}

/// The waits that tests use.
pub(crate) const STOPPED: Wait = Wait { exited: false, stopped: true, ..Wait::any() };
pub(crate) const CONTINUED: Wait = Wait { exited: false, continued: true, ..Wait::any() };
