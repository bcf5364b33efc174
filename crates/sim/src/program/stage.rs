//! Plays scripts on the kernel on paper, in one fixed order and in a time of its own: what a script does when it is
//! alone, without waiting for it.
//!
//! The scene is a PID namespace: its init plays the first script, and the host, which is outside and plays
//! nothing, sends signals into it and reads what it writes. So the same scene can be set up on Linux.

use super::player::{Player, Step};
use super::script::Script;
use crate::kernel::call::{Access, Call, Caught, Clone, Look, Reply, Value};
use crate::kernel::{Kernel, Outcome, Program, TaskId};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_model::time::Time;

/// A round in which somebody made a call takes this long, so that also those who never rest let time pass.
const ROUND: Duration = Duration::from_micros(1);
/// The descriptor by which the host reads what is written to 1 and 2.
const OUTPUT: i32 = 3;

/// No script has this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoScript(pub String);

impl fmt::Display for NoScript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no script is called `{}`: add one to those that the stage was made with", self.0)
    }
}

impl core::error::Error for NoScript {}

/// A PID namespace on paper whose processes play scripts.
///
/// ```
/// use core::time::Duration;
/// use doula_sim::program::Stage;
/// let mut stage = Stage::new(&[("first", "fork { sleep 1s\n exit 3 }\npause")]).expect("scripts");
/// stage.pass(Duration::from_secs(2));
/// assert_eq!(stage.look(2).expect("a zombie").state, 'Z');
/// ```
#[derive(Clone, Debug)]
pub struct Stage {
    kernel: Kernel,
    init: TaskId,
    now: Time,
    scripts: Vec<(String, Arc<Script>)>,
    cast: Vec<Role>,
    told: Vec<(i32, Arc<str>)>,
}

/// A task and its player.
#[derive(Clone, Debug)]
struct Role {
    task: TaskId,
    birth: u64,
    player: Player,
    /// What its call is for, while it is under way.
    awaited: Option<Awaited>,
    until: Time,
}

#[derive(Clone, Debug)]
enum Awaited {
    Reply,
    Exec(Arc<Script>),
}

impl Stage {
    /// A namespace whose init plays the first of these scripts, each a name and a text. Nothing has happened yet.
    pub fn new(scripts: &[(&str, &str)]) -> Result<Stage, super::BadScript> {
        let read = scripts.iter().map(|(name, text)| Ok((String::from(*name), Arc::new(text.parse()?))));
        let scripts = read.collect::<Result<Vec<(String, Arc<Script>)>, _>>()?;
        let mut kernel = Kernel::new();
        for (name, _) in &scripts {
            kernel.install(&path_of(name), true, &PROGRAM);
        }
        let host = kernel.init();
        open_output(&mut kernel, host);
        done(&mut kernel, host, Call::Clone(Clone::INIT));
        let init = kernel.tasks().find(|task| *task != host).expect("an init");
        kernel.take_reply(init);
        done(&mut kernel, init, Call::Close(OUTPUT));
        done(&mut kernel, init, Call::Setsid);
        for fd in [1, 2] {
            done(&mut kernel, host, Call::Close(fd));
        }
        let mut stage = Stage { kernel, init, now: Time::ZERO, scripts, cast: Vec::new(), told: Vec::new() };
        let first = stage.scripts.first().map(|(_, script)| Arc::clone(script));
        stage.cast.extend(first.map(|script| stage.role(init, Player::new(script))));
        Ok(stage)
    }

    fn role(&self, task: TaskId, player: Player) -> Role {
        Role { task, birth: self.kernel.birth(task), player, awaited: None, until: Time::ZERO }
    }

    /// Lets so much time pass, and everybody do what they do in it.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now.after(time);
        loop {
            if self.round() {
                self.now = self.now.after(ROUND);
                if self.now >= end {
                    return;
                }
                continue;
            }
            let next = self.cast.iter().map(|role| role.until).filter(|until| *until > self.now).min();
            self.now = next.unwrap_or(end).min(end);
            if self.now >= end && next.is_none_or(|next| next > end) {
                return;
            }
        }
    }

    /// Everybody who can does one step; whether anybody did.
    fn round(&mut self) -> bool {
        self.cast.retain(|role| is_alive(&self.kernel, role));
        let mut moved = false;
        for at in 0..self.cast.len() {
            moved |= self.act(at);
        }
        moved
    }

    fn act(&mut self, at: usize) -> bool {
        let (kernel, role) = (&mut self.kernel, &mut self.cast[at]);
        // Whoever died in this round is still in the cast.
        if !is_alive(kernel, role) || !kernel.is_in_program(role.task) {
            return false;
        }
        let caught = kernel.take_caught(role.task);
        if caught.is_empty() && role.awaited.is_none() && role.until > self.now {
            return false;
        }
        take_in(kernel, role, caught);
        let task = role.task;
        match role.player.next(self.now) {
            Step::Sleep(until) => role.until = until,
            Step::Notify(text) => {
                let number = kernel.look_as(self.init, task).map_or(0, |look| look.pid);
                self.told.push((number, text));
            }
            Step::Exec(name) => self.exec(at, &name),
            Step::Call(call) => self.call(at, call),
        }
        true
    }

    fn exec(&mut self, at: usize, name: &str) {
        let script = self.scripts.iter().find(|(known, _)| known == name);
        let Some((_, script)) = script else { return self.cast[at].player.reply(&Err(Errno::ENOENT)) };
        let awaited = Awaited::Exec(Arc::clone(script));
        self.make(at, Call::Execve(Box::new(Program::new(&path_of(name)))), awaited);
    }

    /// The reply may be there at once; it is taken when the task's turn comes.
    fn make(&mut self, at: usize, call: Call, awaited: Awaited) {
        let role = &mut self.cast[at];
        (role.awaited, role.until) = (Some(awaited), self.now);
        self.kernel.enter(role.task, call);
        self.kernel.settle();
    }

    fn call(&mut self, at: usize, call: Call) {
        let born = matches!(call, Call::Clone(_));
        let before: Vec<u64> = if born { self.births() } else { Vec::new() };
        self.make(at, call, Awaited::Reply);
        let child =
            self.kernel.tasks().filter(|_| born).find(|task| !before.contains(&self.kernel.birth(*task)));
        if let Some(child) = child {
            self.kernel.take_reply(child);
            let mut player = self.cast[at].player.clone();
            player.reply(&Ok(Value::ZERO));
            let role = self.role(child, player);
            self.cast.push(role);
        }
    }

    fn births(&self) -> Vec<u64> {
        self.kernel.tasks().map(|task| self.kernel.birth(task)).collect()
    }

    /// What is seen of a process, by its number inside; `None` when it is gone.
    pub fn look(&self, number: i32) -> Option<Look> {
        self.kernel.look_as(self.init, self.kernel.find_as(self.init, number)?)
    }

    /// What is seen of everybody inside, in the order of their numbers.
    pub fn everybody(&self) -> Vec<Look> {
        let looks = self.kernel.tasks().filter_map(|task| self.kernel.look_as(self.init, task));
        let mut looks: Vec<Look> = looks.filter(|look| look.pid > 0).collect();
        looks.sort_by_key(|look| look.pid);
        looks
    }

    /// Sends a signal from outside, by the number inside; everybody has taken it in when this comes back.
    ///
    /// # Errors
    /// As kill(2): ESRCH when nobody has this number.
    pub fn kill(&mut self, number: i32, signal: Signal) -> Result<(), Errno> {
        let task = self.kernel.find_as(self.init, number).ok_or(Errno::ESRCH)?;
        let outside = self.kernel.look(task).ok_or(Errno::ESRCH)?.pid;
        let host = self.kernel.init();
        match self.kernel.call(host, Call::Kill(outside, signal.number())) {
            Outcome::Done(Ok(_)) => Ok(()),
            Outcome::Done(Err(errno)) => Err(errno),
            Outcome::Blocked | Outcome::Gone => Err(Errno::ESRCH),
        }
    }

    /// Reads so much of what was written to the descriptors 1 and 2: nothing at all when no process has them any
    /// more, `None` when nothing is there.
    pub fn read(&mut self, most: usize) -> Option<Vec<u8>> {
        let host = self.kernel.init();
        match self.kernel.call(host, Call::Read(OUTPUT, most)) {
            Outcome::Done(Ok(Value::Bytes(bytes))) => Some(bytes),
            Outcome::Done(_) | Outcome::Blocked | Outcome::Gone => None,
        }
    }

    /// What was told by `notify` since this was asked last, with who told it.
    pub fn take_told(&mut self) -> Vec<(i32, Arc<str>)> {
        core::mem::take(&mut self.told)
    }

    /// The time since the beginning.
    pub const fn now(&self) -> Time {
        self.now
    }

    /// The kernel.
    pub const fn kernel(&self) -> &Kernel {
        &self.kernel
    }
}

fn is_alive(kernel: &Kernel, role: &Role) -> bool {
    kernel.look(role.task).is_some_and(|look| !matches!(look.state, 'Z' | 'X'))
        && kernel.birth(role.task) == role.birth
}

/// Gives a player what its task has got: the reply of its call first, for it came first.
fn take_in(kernel: &mut Kernel, role: &mut Role, caught: Caught) {
    if let Some(awaited) = role.awaited.take() {
        match (awaited, kernel.take_reply(role.task)) {
            (Awaited::Exec(script), Some(Ok(_))) => role.player = Player::new(script),
            (Awaited::Exec(_), Some(reply @ Err(_))) | (Awaited::Reply, Some(reply)) => {
                role.player.reply(&reply);
            }
            (_, None) => unreachable!("who is back in its program has its reply"),
        }
    }
    caught.into_iter().for_each(|signal| role.player.catch(signal));
}

/// Descriptors 0, 1 and 2 as a program expects them; 1 and 2 lead to a pipe whose other end is the host's.
fn open_output(kernel: &mut Kernel, host: TaskId) {
    const NULL: &str = "/dev/null";
    kernel.install(NULL, false, &[]);
    let calls = [
        Call::Open(NULL.into(), Access::Read),
        Call::Pipe(false),
        Call::Dup(1),
        Call::Dup2(2, 1),
        Call::SetNonblocking(OUTPUT, true),
    ];
    for call in calls {
        done(kernel, host, call);
    }
}

fn done(kernel: &mut Kernel, task: TaskId, call: Call) {
    let reply: Outcome = kernel.call(task, call);
    assert!(matches!(reply, Outcome::Done(Reply::Ok(_))), "a stage can always be set up: {reply:?}");
}

fn path_of(name: &str) -> String {
    alloc::format!("/{name}")
}

/// The smallest file that Linux takes for a program: the head of an ELF file and one segment of nothing.
const PROGRAM: [u8; 120] = {
    let mut file = [0; 120];
    let set: [(usize, u8); 22] = [
        (0, 0x7f),
        (1, b'E'),
        (2, b'L'),
        (3, b'F'),
        // 64 bits, least byte first, version 1; an executable of x86-64, version 1.
        (4, 2),
        (5, 1),
        (6, 1),
        (16, 2),
        (18, 62),
        (20, 1),
        // It begins at 0x400000, its segments are told of at 64.
        (26, 0x40),
        (32, 64),
        // The sizes of the head and of what is told of a segment, and how many there are.
        (52, 64),
        (54, 56),
        (56, 1),
        (58, 64),
        // A segment that is loaded (1), may be read and executed (5), and is at 120.
        (64, 1),
        (68, 5),
        (72, 120),
        (112, 1),
        (7, 0),
        (8, 0),
    ];
    let mut at = 0;
    while at < set.len() {
        file[set[at].0] = set[at].1;
        at += 1;
    }
    file
};
