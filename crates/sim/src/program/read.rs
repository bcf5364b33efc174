//! Reads scripts, and says of a wrong one where it is wrong and what would be right.

use super::names;
use super::script::{Line, Script, Test, UNITS, What};
use crate::kernel::call::Call;
use crate::kernel::sigset::Action;
use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::mem;
use core::str::FromStr;
use core::time::Duration;
use doula_model::plan::Errno;
use doula_model::signal::Signal;

/// A text that is no script: where, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadScript {
    /// The line, counted from 1.
    pub line: usize,
    /// The character of the line, counted from 1.
    pub column: usize,
    /// Why.
    pub wrong: Wrong,
}

/// What can be wrong in a script. The text is the word in question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// No line begins so.
    Beginning(String),
    /// A word that cannot stand where it stands.
    Word(String),
    /// The line ends too early.
    Incomplete,
    /// A name that was given to no number before.
    NoValue(String),
    /// A name where there is no process, group or descriptor.
    NameHere(String),
    /// A word that cannot be a name.
    NoName(String),
    /// A number as large as those that stand for names.
    TooLarge(String),
    /// A line that needs a block has none.
    NoBlock,
    /// A block that nobody would do.
    Block,
    /// A block is not closed.
    Unclosed,
    /// Nothing is open here.
    Unopened,
    /// A break outside of loops.
    NoLoop,
}

impl fmt::Display for BadScript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: ", self.line, self.column)?;
        match &self.wrong {
            Wrong::Beginning(word) => write!(
                f,
                "`{word}` begins no line: write a call (`fork`, `kill 3 TERM`, `wait4 any`), or loop, repeat, \
                 break, if, on, ignore, sleep, notify, exec"
            ),
            Wrong::Word(word) => {
                write!(f, "`{word}` is not understood here: see the table of lines for what can follow")
            }
            Wrong::Incomplete => {
                f.write_str("something is missing: see the table of lines for what has to follow")
            }
            Wrong::NoValue(name) => {
                write!(f, "`${name}` is no number yet: name one before, as in `fork as {name}`")
            }
            Wrong::NameHere(word) => {
                write!(
                    f,
                    "`{word}` cannot stand here: a name is the number of a process, a group or a descriptor"
                )
            }
            Wrong::NoName(word) => write!(
                f,
                "`{word}` is no name: use letters, digits and `_`, a letter first, but not `self` or `parent`"
            ),
            Wrong::TooLarge(word) => write!(f, "{word} is too large: numbers end before {}", names::FIRST),
            Wrong::NoBlock => f.write_str("this line needs a block: end it with ` {`"),
            Wrong::Block => f.write_str("nobody would do this block: only births, loops, if and on have one"),
            Wrong::Unclosed => f.write_str("this block is not closed: add a `}`"),
            Wrong::Unopened => f.write_str("no block is open here: remove this `}`"),
            Wrong::NoLoop => f.write_str("there is no loop to leave here: remove the break"),
        }
    }
}

impl core::error::Error for BadScript {}

/// A word and where it stands.
#[derive(Clone, Copy)]
struct Word<'a> {
    text: &'a str,
    line: usize,
    column: usize,
}

impl Word<'_> {
    fn bad(&self, wrong: fn(String) -> Wrong) -> BadScript {
        self.but(wrong(self.text.to_owned()))
    }

    fn but(&self, wrong: Wrong) -> BadScript {
        BadScript { line: self.line, column: self.column, wrong }
    }

    /// Where the next word would have been.
    fn after(&self) -> BadScript {
        let column = self.column + self.text.chars().count() + 1;
        BadScript { line: self.line, column, wrong: Wrong::Incomplete }
    }
}

/// The words of a line up to its comment.
fn words(number: usize, line: &str) -> impl Iterator<Item = Word<'_>> {
    let all = line.split_whitespace().map(move |text| {
        let before = text.as_ptr() as usize - line.as_ptr() as usize;
        Word { text, line: number + 1, column: line[..before].chars().count() + 1 }
    });
    all.take_while(|word| !word.text.starts_with('#'))
}

impl FromStr for Script {
    type Err = BadScript;

    fn from_str(text: &str) -> Result<Script, BadScript> {
        let mut reader = Reader {
            lines: Vec::new(),
            names: Vec::from(["self".to_owned(), "parent".to_owned()]),
            open: Vec::new(),
        };
        for (number, line) in text.lines().enumerate() {
            let mut statement = Vec::new();
            for word in words(number, line) {
                match word.text {
                    "{" => reader.open(word, &mem::take(&mut statement))?,
                    "}" => {
                        reader.plain(&mem::take(&mut statement))?;
                        reader.close(word)?;
                    }
                    _ => statement.push(word),
                }
            }
            reader.plain(&statement)?;
        }
        match reader.open.last() {
            Some((_, word)) => Err(word.but(Wrong::Unclosed)),
            None => Ok(Script { lines: reader.lines, names: reader.names }),
        }
    }
}

struct Reader<'a> {
    lines: Vec<Line>,
    names: Vec<String>,
    /// The lines whose blocks are open, and their `{`.
    open: Vec<(usize, Word<'a>)>,
}

impl<'a> Reader<'a> {
    /// A line that ends with `{`.
    fn open(&mut self, brace: Word<'a>, statement: &[Word<'_>]) -> Result<(), BadScript> {
        let Some(first) = statement.first() else { return Err(brace.but(Wrong::Block)) };
        let what = self.statement(first, &statement[1..])?;
        let may = match &what {
            What::Call { call, .. } => matches!(call, Call::Clone(_)),
            What::On(..) | What::Loop | What::Repeat(_) | What::If(_) => true,
            What::Fill(..)
            | What::Sleep(_)
            | What::Notify(_)
            | What::Exec(_)
            | What::Break
            | What::Close(_) => false,
        };
        if !may {
            return Err(brace.but(Wrong::Block));
        }
        self.open.push((self.lines.len(), brace));
        self.push(what);
        Ok(())
    }

    fn close(&mut self, brace: Word<'_>) -> Result<(), BadScript> {
        let (opener, _) = self.open.pop().ok_or_else(|| brace.but(Wrong::Unopened))?;
        self.lines[opener].end = self.lines.len();
        self.push(What::Close(opener));
        Ok(())
    }

    /// A line without a block, or no line at all.
    fn plain(&mut self, statement: &[Word<'_>]) -> Result<(), BadScript> {
        let (Some(first), Some(last)) = (statement.first(), statement.last()) else { return Ok(()) };
        let what = self.statement(first, &statement[1..])?;
        if matches!(what, What::On(..) | What::Loop | What::Repeat(_) | What::If(_)) {
            return Err(BadScript { wrong: Wrong::NoBlock, ..last.after() });
        }
        if what == What::Break && !self.is_in_loop() {
            return Err(first.but(Wrong::NoLoop));
        }
        self.push(what);
        Ok(())
    }

    /// A child and a handler cannot leave the loop around their block.
    fn is_in_loop(&self) -> bool {
        let around = self.open.iter().rev().map(|(opener, _)| &self.lines[*opener].what);
        let mut loops = around
            .take_while(|what| !matches!(what, What::Call { .. } | What::On(..)))
            .filter(|what| matches!(what, What::Loop | What::Repeat(_)));
        loops.next().is_some()
    }

    fn push(&mut self, what: What) {
        let mut line = Line { what, end: self.lines.len(), own: false, parent: false };
        let mut see = |number: i32| {
            line.own |= names::slot_of(number) == Some(names::SELF);
            line.parent |= names::slot_of(number) == Some(names::PARENT);
        };
        match &line.what {
            What::Call { call, .. } => names::each_number(&mut call.clone(), |number| see(*number)),
            What::Fill(fd, _) => see(*fd),
            What::If(Test::Same(one, other)) => {
                see(*one);
                see(*other);
            }
            What::Notify(text) => {
                line.own |= text.split(' ').any(|word| word == "$self");
                line.parent |= text.split(' ').any(|word| word == "$parent");
            }
            What::Sleep(_)
            | What::Exec(_)
            | What::On(..)
            | What::Loop
            | What::Repeat(_)
            | What::If(_)
            | What::Break
            | What::Close(_) => {}
        }
        self.lines.push(line);
    }

    fn statement(&mut self, first: &Word<'_>, rest: &[Word<'_>]) -> Result<What, BadScript> {
        let last = rest.last().unwrap_or(first);
        let single = || match rest {
            [] => Err(last.after()),
            [word] => Ok(word),
            [_, word, ..] => Err(word.bad(Wrong::Word)),
        };
        Ok(match first.text {
            "loop" => nothing(rest, What::Loop)?,
            "break" => nothing(rest, What::Break)?,
            "repeat" => What::Repeat(read(single()?, |word| word.parse().ok())?),
            "sleep" => What::Sleep(read(single()?, duration)?),
            "exec" => What::Exec(single()?.text.into()),
            "ignore" => {
                let signal = read(single()?, |word| word.parse::<Signal>().ok())?;
                self.action(Call::Sigaction(signal, Action::IGNORE))
            }
            "notify" if rest.is_empty() => return Err(last.after()),
            "notify" => {
                for name in rest.iter().filter(|word| word.text.starts_with('$')) {
                    self.number(name)?;
                }
                let words: Vec<&str> = rest.iter().map(|word| word.text).collect();
                What::Notify(words.join(" ").into())
            }
            "on" => self.on(last, rest)?,
            "if" => What::If(self.test(last, rest)?),
            "write" if matches!(rest, [_, _, bytes] if bytes.text == "bytes") => {
                let count = read(&rest[1], |word| word.parse().ok())?;
                What::Fill(self.number(&rest[0])?, count)
            }
            _ => self.call(first, rest)?,
        })
    }

    fn action(&self, call: Call) -> What {
        What::Call { call, named: false, gives: [None; 2] }
    }

    fn on(&mut self, last: &Word<'_>, rest: &[Word<'_>]) -> Result<What, BadScript> {
        let [signal, names @ ..] = rest else { return Err(last.after()) };
        let signal = read(signal, |word| word.parse().ok())?;
        match names {
            [] => Ok(What::On(signal, None)),
            [like] if like.text == "as" => Err(like.after()),
            [like, name] if like.text == "as" => Ok(What::On(signal, Some(self.name(name)?))),
            [like, _, word, ..] if like.text == "as" => Err(word.bad(Wrong::Word)),
            [word, ..] => Err(word.bad(Wrong::Word)),
        }
    }

    fn test(&self, last: &Word<'_>, rest: &[Word<'_>]) -> Result<Test, BadScript> {
        match rest {
            [] => Err(last.after()),
            [one] if one.text == "none" => Ok(Test::None),
            [one] if one.text == "failed" => Ok(Test::Failed(None)),
            [one, errno] if one.text == "failed" => Ok(Test::Failed(Some(read(errno, errno_of)?))),
            [one, is, other] if is.text == "is" => Ok(Test::Same(self.number(one)?, self.number(other)?)),
            [word] => {
                self.number(word)?;
                Err(word.after())
            }
            [_, is] if is.text == "is" => Err(is.after()),
            [one, .., word] if matches!(one.text, "none" | "failed") => Err(word.bad(Wrong::Word)),
            [_, word, ..] => Err(word.bad(Wrong::Word)),
        }
    }

    /// A call, and the names that its numbers shall have.
    fn call(&mut self, first: &Word<'_>, rest: &[Word<'_>]) -> Result<What, BadScript> {
        let like = rest.iter().position(|word| word.text == "as" && first.text != "execve");
        let (args, given) = rest.split_at(like.unwrap_or(rest.len()));
        let mut line = first.text.to_owned();
        let mut named = Vec::new();
        for word in args {
            line.push(' ');
            if word.text.trim_start_matches('-').starts_with('$') {
                named.push(*word);
                line.push_str(&self.number(word)?.to_string());
            } else {
                line.push_str(word.text);
            }
            let number = word.text.parse::<i32>().is_ok_and(|number| names::slot_of(number).is_some());
            if number {
                return Err(word.bad(Wrong::TooLarge));
            }
        }
        let mut call: Call =
            line.parse().map_err(|bad: super::BadCall| match (bad.at, args.get(bad.at.wrapping_sub(1))) {
                (0, _) => first.bad(Wrong::Beginning),
                (_, Some(word)) if !bad.word.is_empty() => word.bad(Wrong::Word),
                _ => args.last().unwrap_or(first).after(),
            })?;
        let mut places = 0;
        names::each_number(&mut call, |number| places += usize::from(names::slot_of(*number).is_some()));
        if let Some(word) = named.get(places) {
            return Err(word.bad(Wrong::NameHere));
        }
        let gives = self.gives(given)?;
        Ok(What::Call { call, named: places > 0, gives })
    }

    fn gives(&mut self, given: &[Word<'_>]) -> Result<[Option<usize>; 2], BadScript> {
        match given {
            [] => Ok([None; 2]),
            [like] => Err(like.after()),
            [_, one] => Ok([Some(self.name(one)?), None]),
            [_, one, other] => Ok([Some(self.name(one)?), Some(self.name(other)?)]),
            [_, _, _, word, ..] => Err(word.bad(Wrong::Word)),
        }
    }

    /// The slot of a name that is given here.
    fn name(&mut self, word: &Word<'_>) -> Result<usize, BadScript> {
        let name = word.text;
        let letters = name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
        if !letters || !name.starts_with(|first: char| first.is_ascii_alphabetic()) {
            return Err(word.bad(Wrong::NoName));
        }
        match self.names.iter().position(|known| known == name) {
            Some(names::SELF | names::PARENT) => Err(word.bad(Wrong::NoName)),
            Some(slot) => Ok(slot),
            None => {
                self.names.push(name.to_owned());
                Ok(self.names.len() - 1)
            }
        }
    }

    /// A number, `$name` or `-$name`.
    fn number(&self, word: &Word<'_>) -> Result<i32, BadScript> {
        let (sign, text) = word.text.strip_prefix('-').map_or((1, word.text), |text| (-1, text));
        let Some(name) = text.strip_prefix('$') else {
            let number = read(word, |word| word.parse().ok())?;
            return if names::slot_of(number).is_some() {
                Err(word.bad(Wrong::TooLarge))
            } else {
                Ok(number)
            };
        };
        let slot = self.names.iter().position(|known| known == name);
        Ok(sign * names::number_of(slot.ok_or_else(|| word.but(Wrong::NoValue(name.to_owned())))?))
    }
}

fn nothing(rest: &[Word<'_>], what: What) -> Result<What, BadScript> {
    rest.first().map_or(Ok(what), |word| Err(word.bad(Wrong::Word)))
}

fn read<T>(word: &Word<'_>, read: impl FnOnce(&str) -> Option<T>) -> Result<T, BadScript> {
    read(word.text).ok_or_else(|| word.bad(Wrong::Word))
}

fn duration(word: &str) -> Option<Duration> {
    let digits = word.find(|letter: char| !letter.is_ascii_digit())?;
    let (_, millis) = UNITS.iter().find(|(unit, _)| *unit == &word[digits..])?;
    Some(Duration::from_millis(word[..digits].parse::<u64>().ok()?.checked_mul(*millis)?))
}

fn errno_of(word: &str) -> Option<Errno> {
    (1..=MOST_ERRNO).map(Errno).find(|errno| errno.name() == Some(word))
}

/// The largest error number (EHWPOISON).
const MOST_ERRNO: i32 = 133;
