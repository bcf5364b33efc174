//! Walks through a script: says what comes next, and is told what came of it.

use super::names::{self, PARENT, SELF};
use super::script::{Line, Script, Test, What};
use crate::kernel::call::{Call, Reply, Value};
use crate::kernel::sigset::{Action, SigInfo};
use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;
use doula_model::plan::Errno;
use doula_model::signal::Signal;
use doula_model::time::Time;

/// A round of a loop in which nothing is done takes this long: whoever spins, lets time pass.
const SPIN: Duration = Duration::from_millis(1);

/// What a process does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Makes this call: its reply goes to [`Player::reply`] before the next step is asked for.
    Call(Call),
    /// Does nothing until this time, or until a signal was caught. Then, or any earlier, the next step is asked for.
    Sleep(Time),
    /// Tells this, and goes on.
    Notify(Arc<str>),
    /// Goes on as the script of this name. Whoever plays it begins a new [`Player`] with that script, or gives a
    /// [`Player::reply`] that says why not.
    Exec(Arc<str>),
}

/// A place in a script, with all that its process knows: names, open blocks, handlers.
///
/// It is played so:
/// 1. Signals that handlers took go to [`Player::catch`].
/// 2. [`Player::next`] says what to do. A call is made, and its reply given to [`Player::reply`].
/// 3. For a birth, the child's player is a clone that is given the reply 0; the parent's is given the number.
///
/// A call that was interrupted (EINTR) is made again when the handler's block is over, as with SA_RESTART, but not
/// pause(2). While the block of a signal runs, the same signal waits, as it does during a handler.
///
/// ```
/// use doula_sim::kernel::call::{Call, Value};
/// use doula_sim::program::{Player, Script, Step};
/// use doula_model::time::Time;
/// let script: Script = "fork as it { exit 3 }\nkill $it 9".parse().expect("a script");
/// let mut parent = Player::new(script.into());
/// assert!(matches!(parent.next(Time::ZERO), Step::Call(Call::Clone(_))));
/// let mut child = parent.clone();
/// parent.reply(&Ok(Value::Number(7)));
/// child.reply(&Ok(Value::Number(0)));
/// assert_eq!(parent.next(Time::ZERO), Step::Call(Call::Kill(7, 9)));
/// assert_eq!(child.next(Time::ZERO), Step::Call(Call::ExitGroup(3)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Player {
    script: Arc<Script>,
    /// The line that comes next, or whose reply is awaited.
    at: usize,
    /// The numbers of the names.
    values: Vec<Option<i32>>,
    blocks: Vec<Block>,
    /// Signals and the lines that say what is done about them.
    handlers: Vec<(Signal, usize)>,
    /// Caught, and not begun.
    caught: Vec<SigInfo>,
    last: Last,
    asked: Asked,
    /// A sleep: until when, and the line that follows it.
    sleep: Option<(Time, usize)>,
    /// The call of this line came back with EINTR.
    interrupted: bool,
    /// Nothing was done since the last loop began anew.
    idle: bool,
}

/// A block that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Block {
    Loop,
    /// So many rounds are left after this one.
    Repeat(u32),
    If,
    Child,
    /// Of a signal, and where it came in between.
    Handler(Signal, usize),
}

/// What the last call came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Last {
    Done,
    Nothing,
    Failed(Errno),
}

/// Whose reply is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Asked {
    Nobody,
    Line,
    /// The number of a name that is known without being given.
    Name(usize),
    /// The exit at the end of the script.
    End,
}

impl Player {
    /// At the beginning of a script.
    pub fn new(script: Arc<Script>) -> Player {
        let values = vec![None; script.names.len()];
        Player {
            script,
            at: 0,
            values,
            blocks: Vec::new(),
            handlers: Vec::new(),
            caught: Vec::new(),
            last: Last::Done,
            asked: Asked::Nobody,
            sleep: None,
            interrupted: false,
            idle: false,
        }
    }

    /// A handler took this signal. Those for which the script has no block do nothing.
    pub fn catch(&mut self, signal: SigInfo) {
        if self.handlers.iter().any(|(known, _)| *known == signal.signal) {
            self.caught.push(signal);
        }
    }

    /// What the process does now.
    ///
    /// # Panics
    /// When the reply of a call is still due.
    pub fn next(&mut self, now: Time) -> Step {
        assert!(self.asked == Asked::Nobody, "a step follows the reply of the call before");
        let script = Arc::clone(&self.script);
        loop {
            self.begin_handler(&script);
            if let Some((until, behind)) = self.sleep {
                if now < until {
                    return Step::Sleep(until);
                }
                self.sleep = None;
                self.at = behind;
            }
            let step = match script.lines.get(self.at) {
                Some(line) => self.line(&script, line, now),
                None => Some(self.end()),
            };
            if let Some(step) = step {
                self.idle = false;
                return step;
            }
        }
    }

    /// What came of the call or of the exec that was the last step.
    pub fn reply(&mut self, reply: &Reply) {
        match core::mem::replace(&mut self.asked, Asked::Nobody) {
            Asked::Nobody => {}
            Asked::End => self.at = self.script.lines.len(),
            Asked::Name(slot) => self.values[slot] = number(reply),
            Asked::Line if *reply == Err(Errno::EINTR) => {
                self.last = Last::Failed(Errno::EINTR);
                self.interrupted = true;
            }
            Asked::Line => self.came_back(reply),
        }
    }

    fn end(&mut self) -> Step {
        self.asked = Asked::End;
        Step::Call(Call::ExitGroup(0))
    }

    /// Goes into the block of the oldest signal that is not being handled already. Also decides how a call goes on
    /// that was interrupted.
    fn begin_handler(&mut self, script: &Script) {
        let interrupted = core::mem::take(&mut self.interrupted);
        let being_handled = |signal: Signal, blocks: &[Block]| {
            blocks.iter().any(|block| matches!(block, Block::Handler(busy, _) if *busy == signal))
        };
        let Some(place) = self.caught.iter().position(|info| !being_handled(info.signal, &self.blocks))
        else {
            // Somebody whose signal waits was not really interrupted.
            self.at += usize::from(interrupted && self.caught.is_empty());
            return;
        };
        let info = self.caught.remove(place);
        let pauses = matches!(
            script.lines.get(self.at),
            Some(Line { what: What::Call { call: Call::Pause, .. }, .. })
        );
        if interrupted && pauses {
            self.at += 1;
        }
        if let Some((_, behind)) = self.sleep.take() {
            self.at = behind;
        }
        let handler = self.handlers.iter().find(|(signal, _)| *signal == info.signal);
        let (_, line) = *handler.expect("only signals with a block are kept");
        if let What::On(_, Some(who)) = script.lines[line].what {
            self.values[who] = Some(info.pid);
        }
        self.blocks.push(Block::Handler(info.signal, self.at));
        self.at = line + 1;
    }

    /// Does one line; a step when somebody else has to do something.
    fn line(&mut self, script: &Script, line: &Line, now: Time) -> Option<Step> {
        if let Some(step) = self.ask_for_names(line) {
            return Some(step);
        }
        match &line.what {
            What::Call { call, named, .. } => return self.call(call.clone(), *named),
            What::Fill(fd, bytes) => {
                let mut text = vec![b'x'; *bytes];
                text.iter_mut().last().into_iter().for_each(|last| *last = b'\n');
                return self.call(Call::Write(*fd, text), true);
            }
            What::On(signal, _) => return self.call(Call::Sigaction(*signal, Action::HANDLER), false),
            What::Sleep(time) => self.sleep = Some((now.after(*time), self.at + 1)),
            What::Notify(text) => {
                self.at += 1;
                return Some(Step::Notify(self.with_values(script, text)));
            }
            What::Exec(name) => {
                self.asked = Asked::Line;
                return Some(Step::Exec(Arc::clone(name)));
            }
            What::Loop => self.enter(Block::Loop),
            What::Repeat(0) => self.at = line.end + 1,
            What::Repeat(times) => self.enter(Block::Repeat(times - 1)),
            What::If(test) if self.holds(*test) => self.enter(Block::If),
            What::If(_) => self.at = line.end + 1,
            What::Break => self.leave_loop(script),
            What::Close(opener) => return self.close(*opener, now),
        }
        None
    }

    /// `$self` is asked for once, `$parent` before each line that needs it: it changes.
    fn ask_for_names(&mut self, line: &Line) -> Option<Step> {
        let missing = [(line.own, SELF, Call::Getpid), (line.parent, PARENT, Call::Getppid)];
        let (_, slot, call) =
            missing.into_iter().find(|(needed, slot, _)| *needed && self.values[*slot].is_none())?;
        self.asked = Asked::Name(slot);
        Some(Step::Call(call))
    }

    /// A call with a name that has no number is not made: it fails as if the process had gone.
    fn call(&mut self, mut call: Call, named: bool) -> Option<Step> {
        let mut known = true;
        if named {
            names::each_number(&mut call, |number| match self.value(*number) {
                Some(value) => *number = value,
                None => known = false,
            });
        }
        self.asked = Asked::Line;
        if known {
            return Some(Step::Call(call));
        }
        self.reply(&Err(Errno::ESRCH));
        None
    }

    /// A notice with numbers in place of names.
    fn with_values(&self, script: &Script, text: &Arc<str>) -> Arc<str> {
        if !text.contains('$') {
            return Arc::clone(text);
        }
        let words = text.split(' ').map(|word| {
            let slot = word.strip_prefix('$').and_then(|name| script.slot(name))?;
            self.values[slot].map(|value| value.to_string())
        });
        let words: Vec<String> = words
            .zip(text.split(' '))
            .map(|(value, word)| value.unwrap_or_else(|| word.to_owned()))
            .collect();
        words.join(" ").into()
    }

    fn value(&self, number: i32) -> Option<i32> {
        match names::slot_of(number) {
            None => Some(number),
            Some(slot) => self.values[slot].map(|value| value * number.signum()),
        }
    }

    fn holds(&mut self, test: Test) -> bool {
        match test {
            Test::Failed(None) => matches!(self.last, Last::Failed(_)),
            Test::Failed(Some(errno)) => self.last == Last::Failed(errno),
            Test::None => self.last == Last::Nothing,
            Test::Same(one, other) => {
                let (one, other) = (self.value(one), self.value(other));
                self.values[PARENT] = None;
                one.is_some() && one == other
            }
        }
    }

    fn enter(&mut self, block: Block) {
        self.idle |= block != Block::If;
        self.blocks.push(block);
        self.at += 1;
    }

    /// Out of the innermost loop, which the reader has seen to be there.
    fn leave_loop(&mut self, script: &Script) {
        while let Some(block) = self.blocks.pop() {
            if matches!(block, Block::Loop | Block::Repeat(_)) {
                break;
            }
        }
        let mut depth = 1;
        while depth > 0 {
            self.at += 1;
            match script.lines[self.at].what {
                What::Close(opener) => depth -= usize::from(is_loop(&script.lines[opener])),
                What::Loop | What::Repeat(_) => depth += 1,
                What::Call { .. }
                | What::Fill(..)
                | What::Sleep(_)
                | What::Notify(_)
                | What::Exec(_)
                | What::On(..)
                | What::If(_)
                | What::Break => {}
            }
        }
        self.at += 1;
    }

    /// The end of the innermost block.
    fn close(&mut self, opener: usize, now: Time) -> Option<Step> {
        let again = match self.blocks.pop() {
            None | Some(Block::Child) => return Some(self.end()),
            Some(Block::If | Block::Repeat(0)) => {
                self.at += 1;
                return None;
            }
            Some(Block::Handler(_, back)) => {
                self.at = back;
                return None;
            }
            Some(Block::Loop) => Block::Loop,
            Some(Block::Repeat(left)) => Block::Repeat(left - 1),
        };
        self.blocks.push(again);
        if self.idle {
            self.sleep = Some((now.after(SPIN), opener + 1));
        }
        self.idle = true;
        self.at = opener + 1;
        None
    }

    fn came_back(&mut self, reply: &Reply) {
        let script = Arc::clone(&self.script);
        let line = &script.lines[self.at];
        self.values[PARENT] = None;
        self.last = match reply {
            Err(errno) => Last::Failed(*errno),
            Ok(Value::Number(0)) => Last::Nothing,
            Ok(Value::Bytes(bytes)) if bytes.is_empty() => Last::Nothing,
            Ok(_) => Last::Done,
        };
        match &line.what {
            What::Call { call, gives, .. } => {
                self.give(*gives, reply);
                let born = matches!(call, Call::Clone(_)) && self.last == Last::Nothing;
                if born {
                    self.values[SELF] = None;
                    self.caught.clear();
                }
                if born && line.end > self.at {
                    self.blocks = vec![Block::Child];
                    self.at += 1;
                    return;
                }
            }
            What::On(signal, _) if reply.is_ok() => {
                self.handlers.retain(|(known, _)| known != signal);
                self.handlers.push((*signal, self.at));
            }
            What::Fill(..)
            | What::Sleep(_)
            | What::Notify(_)
            | What::Exec(_)
            | What::On(..)
            | What::Loop
            | What::Repeat(_)
            | What::If(_)
            | What::Break
            | What::Close(_) => {}
        }
        self.at = line.end + 1;
    }

    fn give(&mut self, names: [Option<usize>; 2], reply: &Reply) {
        let values = match reply {
            Ok(Value::Number(number)) => [Some(*number), None],
            Ok(Value::Waited(waited)) => [Some(waited.pid), Some(waited.status)],
            Ok(Value::Pair(one, other)) => [Some(*one), Some(*other)],
            Ok(Value::Signals(_) | Value::Bytes(_) | Value::Pages(_)) | Err(_) => [None; 2],
        };
        for (name, value) in names.into_iter().zip(values) {
            if let Some(slot) = name {
                self.values[slot] = value;
            }
        }
    }
}

fn is_loop(line: &Line) -> bool {
    matches!(line.what, What::Loop | What::Repeat(_))
}

fn number(reply: &Reply) -> Option<i32> {
    match reply {
        Ok(Value::Number(number)) => Some(*number),
        Ok(Value::Waited(_) | Value::Signals(_) | Value::Pair(..) | Value::Bytes(_) | Value::Pages(_))
        | Err(_) => None,
    }
}
