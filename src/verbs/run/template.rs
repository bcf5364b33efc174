//! The words of a command with places for what each job gets: `{}`, `{.}`, `{2/}`, `{#}` and their like.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

/// What one job gets, column by column.
pub(super) type Inputs = Vec<Vec<u8>>;

/// A command with places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    words: Vec<Vec<Part>>,
    /// The words are one line for a shell.
    shell: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Vec<u8>),
    /// A column (`None`: all of them), and what of it.
    Input(Option<usize>, Form),
    /// `{#}`
    Number,
    /// `{%}`
    Slot,
    /// These, again for each input.
    Each(Vec<Part>),
}

/// What is taken of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Whole,
    /// `{.}`: without its extension.
    Stem,
    /// `{/}`: without its directory.
    Base,
    /// `{//}`: its directory.
    Directory,
    /// `{/.}`: without both.
    BaseStem,
}

/// Which job it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Its number, from 1.
    pub(super) number: u64,
    /// Its slot, from 1.
    pub(super) slot: u32,
}

impl Template {
    /// Finds the places; where there is none, the inputs come at the end. With `shell` all is one line for `sh -c`.
    /// `all` is what stands for all inputs: `{}`, or another word (`-I`).
    pub(super) fn new(words: &[OsString], all: &str, shell: bool) -> Template {
        let mut words: Vec<Vec<Part>> =
            words.iter().map(|word| parts(word.as_bytes(), all.as_bytes())).collect();
        let is_place = |part: &Part| !matches!(part, Part::Text(_));
        if !words.iter().flatten().any(is_place) {
            words.push(vec![Part::Input(None, Form::Whole)]);
        }
        Template { words, shell }
    }

    /// The same with what stands around a place for all inputs repeated for each of them: `pic{}.jpg` is `pic1.jpg pic2.jpg`. It
    /// reaches to the ends of the word, also of a word of a shell's line; one with a quote in it is not repeated.
    pub(super) fn repeated(mut self) -> Template {
        for word in &mut self.words {
            let parts = std::mem::take(word);
            *word = match self.shell {
                true => runs(parts)
                    .into_iter()
                    .flat_map(|run| if run.iter().any(is_quoting) { run } else { each(run) })
                    .collect(),
                false => each(parts),
            };
        }
        self
    }

    /// How many bytes of a command one input of so many takes at most, the end of each word with it.
    pub(super) fn weight(&self, input: usize) -> usize {
        let of = |part: &Part| match part {
            Part::Each(parts) => Some(parts.iter().map(|part| length(part, input)).sum::<usize>() + 1),
            Part::Input(None, _) => Some(input + 1),
            Part::Input(Some(_), _) | Part::Text(_) | Part::Number | Part::Slot => None,
        };
        self.words.iter().flatten().filter_map(of).sum::<usize>().max(input + 1)
    }

    /// A whole command that comes as an input.
    pub(super) fn of_line(shell: bool) -> Template {
        Template { words: Vec::new(), shell }
    }

    /// Whether each job has the same program.
    pub(super) fn has_one_program(&self) -> bool {
        self.shell || matches!(self.words.first().map(Vec::as_slice), Some([Part::Text(_)]))
    }

    /// The words of a job's command, at least one. `Err`: the input is no command.
    pub(super) fn fill(&self, inputs: &Inputs, place: Place) -> Result<Vec<OsString>, String> {
        if self.words.is_empty() {
            let line = inputs.join(&b' ');
            return if self.shell { Ok(shell(line)) } else { split(&line) };
        }
        if self.shell {
            let words = self.words.iter().map(|word| filled(word, Given::of(inputs, place, true)));
            return Ok(shell(words.collect::<Vec<_>>().join(&b' ')));
        }
        let mut words = Vec::new();
        for word in &self.words {
            match word.as_slice() {
                // Alone in its word, each input is a word.
                [Part::Input(None, form)] => words.extend(inputs.iter().map(|input| form.of(input).to_vec())),
                [Part::Each(parts)] => words.extend(inputs.iter().map(|input| {
                    let all = std::slice::from_ref(input);
                    filled(parts, Given { all, ..Given::of(inputs, place, false) })
                })),
                parts => words.push(filled(parts, Given::of(inputs, place, false))),
            }
        }
        match words.first() {
            Some(first) if !first.is_empty() => Ok(words.into_iter().map(OsString::from_vec).collect()),
            _ => Err("the command is empty".to_owned()),
        }
    }
}

fn shell(line: Vec<u8>) -> Vec<OsString> {
    vec!["sh".into(), "-c".into(), OsString::from_vec(line)]
}

/// A line as a shell splits it, and nothing else of a shell.
fn split(line: &[u8]) -> Result<Vec<OsString>, String> {
    let text = std::str::from_utf8(line)
        .map_err(|_| "the line is no UTF-8: --shell takes it as it is".to_owned())?;
    let words = shell_words::split(text).map_err(|_| format!("a quote is never closed in `{text}`"))?;
    match words.first() {
        Some(first) if !first.is_empty() => Ok(words.into_iter().map(OsString::from).collect()),
        _ => Err("the line is empty".to_owned()),
    }
}

/// What places are filled with.
#[derive(Clone, Copy, Debug)]
struct Given<'a> {
    columns: &'a [Vec<u8>],
    all: &'a [Vec<u8>],
    place: Place,
    quoted: bool,
}

impl Given<'_> {
    fn of(inputs: &Inputs, place: Place, quoted: bool) -> Given<'_> {
        Given { columns: inputs, all: inputs, place, quoted }
    }

    fn put(self, word: &mut Vec<u8>, input: &[u8]) {
        match self.quoted {
            true => word.extend_from_slice(quote(OsStr::from_bytes(input)).as_bytes()),
            false => word.extend_from_slice(input),
        }
    }
}

fn filled(parts: &[Part], given: Given<'_>) -> Vec<u8> {
    let mut word = Vec::new();
    for part in parts {
        match part {
            Part::Text(text) => word.extend_from_slice(text),
            Part::Number => word.extend_from_slice(given.place.number.to_string().as_bytes()),
            Part::Slot => word.extend_from_slice(given.place.slot.to_string().as_bytes()),
            Part::Input(Some(column), form) => {
                given.put(&mut word, form.of(given.columns.get(column - 1).map_or(&[], Vec::as_slice)));
            }
            Part::Input(None, form) => {
                for (at, input) in given.all.iter().enumerate() {
                    word.extend((at > 0).then_some(b' '));
                    given.put(&mut word, form.of(input));
                }
            }
            Part::Each(parts) => {
                for (at, all) in given.all.chunks(1).enumerate() {
                    word.extend((at > 0).then_some(b' '));
                    word.extend(filled(parts, Given { all, ..given }));
                }
            }
        }
    }
    word
}

/// So many bytes at most, but for what is quoted.
fn length(part: &Part, input: usize) -> usize {
    match part {
        Part::Text(text) => text.len(),
        Part::Number | Part::Slot => 20,
        Part::Input(..) => input,
        Part::Each(parts) => parts.iter().map(|part| length(part, input)).sum(),
    }
}

/// What is to be repeated, as one part.
fn each(parts: Vec<Part>) -> Vec<Part> {
    let has_all = parts.iter().any(|part| matches!(part, Part::Input(None, _)));
    if has_all && parts.len() > 1 { vec![Part::Each(parts)] } else { parts }
}

fn is_quoting(part: &Part) -> bool {
    matches!(part, Part::Text(text) if text.iter().any(|byte| b"'\"`\\".contains(byte)))
}

/// A line for a shell, cut before and behind all that ends a word there.
fn runs(parts: Vec<Part>) -> Vec<Vec<Part>> {
    let ends = |byte: &u8| byte.is_ascii_whitespace() || b";|&<>()".contains(byte);
    let mut runs: Vec<Vec<Part>> = vec![Vec::new()];
    for part in parts {
        let Part::Text(text) = part else {
            runs.last_mut().into_iter().for_each(|run| run.push(part.clone()));
            continue;
        };
        for piece in text.chunk_by(|before, next| ends(before) == ends(next)) {
            match runs.last_mut().filter(|_| !piece.first().is_some_and(ends)) {
                Some(run) => run.push(Part::Text(piece.to_vec())),
                None => runs.extend([vec![Part::Text(piece.to_vec())], Vec::new()]),
            }
        }
    }
    runs
}

/// A word as a POSIX shell reads it back.
pub(super) fn quote(word: &OsStr) -> OsString {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-+=./:,@%".contains(byte);
    let bytes = word.as_bytes();
    if !bytes.is_empty() && bytes.iter().all(plain) {
        return word.to_owned();
    }
    let mut quoted = vec![b'\''];
    for byte in bytes {
        match byte {
            b'\'' => quoted.extend_from_slice(br"'\''"),
            byte => quoted.push(*byte),
        }
    }
    quoted.push(b'\'');
    OsString::from_vec(quoted)
}

/// Splits a word at its places.
fn parts(mut word: &[u8], all: &[u8]) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut text = Vec::new();
    while let Some((&first, rest)) = word.split_first() {
        let found = if !all.is_empty() && word.starts_with(all) {
            Some((Part::Input(None, Form::Whole), &word[all.len()..]))
        } else {
            placed(word)
        };
        match found {
            Some((part, rest)) => {
                if !text.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut text)));
                }
                parts.push(part);
                word = rest;
            }
            None => {
                text.push(first);
                word = rest;
            }
        }
    }
    if !text.is_empty() || parts.is_empty() {
        parts.push(Part::Text(text));
    }
    parts
}

/// The place at the beginning, and what comes behind it.
fn placed(word: &[u8]) -> Option<(Part, &[u8])> {
    let inner = word.strip_prefix(b"{")?;
    let end = inner.iter().position(|byte| *byte == b'}')?;
    let (inner, rest) = (&inner[..end], &inner[end + 1..]);
    let digits = inner.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, form) = inner.split_at(digits);
    let column = match number {
        [] => None,
        digits => Some(std::str::from_utf8(digits).ok()?.parse::<usize>().ok().filter(|column| *column > 0)?),
    };
    let part = match (form, column) {
        (b"#", None) => Part::Number,
        (b"%", None) => Part::Slot,
        (b".", _) => Part::Input(column, Form::Stem),
        (b"/", _) => Part::Input(column, Form::Base),
        (b"//", _) => Part::Input(column, Form::Directory),
        (b"/.", _) => Part::Input(column, Form::BaseStem),
        (b"", Some(_)) => Part::Input(column, Form::Whole),
        _ => return None,
    };
    Some((part, rest))
}

impl Form {
    fn of(self, input: &[u8]) -> &[u8] {
        let slash = input.iter().rposition(|byte| *byte == b'/');
        let base = &input[slash.map_or(0, |slash| slash + 1)..];
        match self {
            Form::Whole => input,
            Form::Base => base,
            Form::BaseStem => stem(base),
            Form::Stem => &input[..input.len() - (base.len() - stem(base).len())],
            Form::Directory => match slash {
                None => b".",
                Some(0) => b"/",
                Some(slash) => &input[..slash],
            },
        }
    }
}

/// A name without its extension; a dot at its beginning begins none.
fn stem(base: &[u8]) -> &[u8] {
    let dot = base.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > 0);
    &base[..dot.unwrap_or(base.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(words: &[&str], inputs: &[&str], shell: bool) -> Vec<String> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let inputs = inputs.iter().map(|input| input.as_bytes().to_vec()).collect();
        let place = Place { number: 7, slot: 2 };
        let filled = Template::new(&words, "{}", shell).fill(&inputs, place).expect("a command");
        filled.into_iter().map(|word| word.into_string().expect("UTF-8")).collect()
    }

    #[test]
    fn each_place_is_filled_with_its_part_of_the_input() {
        let words = ["{}", "{.}", "{/}", "{//}", "{/.}", "{#}", "{%}", "a{}b{}", "{x}", "{", "}{"];
        let filled = ["d.x/f.tar.gz", "d.x/f.tar", "f.tar.gz", "d.x", "f.tar", "7", "2"];
        let last = ["ad.x/f.tar.gzbd.x/f.tar.gz", "{x}", "{", "}{"];
        assert_eq!(fill(&words, &["d.x/f.tar.gz"], false), [&filled[..], &last[..]].concat());
        assert_eq!(fill(&["{.}", "{//}"], &["d.x/f"], false), ["d.x/f", "d.x"]);
        assert_eq!(fill(&["{.}", "{//}"], &["/.hidden"], false), ["/.hidden", "/"]);
        assert_eq!(fill(&["{//}"], &["f"], false), ["."]);
    }

    #[test]
    fn columns_have_numbers_and_all_of_them_are_words_of_their_own_where_they_stand_alone() {
        assert_eq!(
            fill(&["mv", "{2}", "{1.}.old", "{3}"], &["a.c", "b c"], false),
            ["mv", "b c", "a.old", ""]
        );
        assert_eq!(fill(&["cat"], &["a b", "c"], false), ["cat", "a b", "c"]);
        assert_eq!(fill(&["echo", "x{}"], &["a b", "c"], false), ["echo", "xa b c"]);
        assert_eq!(fill(&["{1}{0}"], &["a"], false), ["a{0}"]);
    }

    #[test]
    fn a_shell_gets_one_line_in_which_inputs_are_quoted() {
        let line = fill(&["cat {} |", "wc -l >{.}.n"], &["it's; rm -rf *.x"], true);
        assert_eq!(line, ["sh", "-c", r"cat 'it'\''s; rm -rf *.x' | wc -l >'it'\''s; rm -rf *'.n"]);
    }

    #[test]
    fn what_stands_around_a_place_is_repeated_for_each_input() {
        let fill = |words: &[&str], inputs: &[&str], shell| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            let inputs = inputs.iter().map(|input| input.as_bytes().to_vec()).collect();
            let template = Template::new(&words, "{}", shell).repeated();
            let filled = template.fill(&inputs, Place { number: 7, slot: 2 }).expect("a command");
            filled.into_iter().map(|word| word.into_string().expect("UTF-8")).collect::<Vec<_>>()
        };
        assert_eq!(
            fill(&["cat", "a{}.{#}", "{1}{}", "{/}"], &["x/1", "2 3"], false),
            ["cat", "ax/1.7", "a2 3.7", "x/1x/1", "x/12 3", "1", "2 3"]
        );
        assert_eq!(fill(&["cat", "it's{}"], &["1", "2"], false), ["cat", "it's1", "it's2"]);
        let line = fill(&["cat  a{}.x\t{}|wc; echo 'a{}'"], &["1", "2 3"], true);
        assert_eq!(line[2], "cat  a1.x a'2 3'.x\t1 '2 3'|wc; echo 'a1 '2 3''");
    }

    #[test]
    fn an_input_weighs_as_much_as_all_its_places() {
        let weight = |words: &[&str], shell| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            let plain = Template::new(&words, "{}", shell);
            (plain.weight(10), plain.repeated().weight(10))
        };
        assert_eq!(weight(&["cat"], false), (11, 11));
        assert_eq!(weight(&["cp", "{}", "{}"], false), (22, 22));
        assert_eq!(weight(&["cat", "pic{}.jpg"], false), (11, 18));
        assert_eq!(weight(&["cat pic{}.jpg {}"], true), (22, 29));
    }

    #[test]
    fn a_line_can_be_the_whole_command() {
        let place = Place { number: 1, slot: 1 };
        let line = |text: &str, shell| Template::of_line(shell).fill(&vec![text.as_bytes().to_vec()], place);
        assert_eq!(line("echo 'a b' c", false), Ok(vec!["echo".into(), "a b".into(), "c".into()]));
        assert_eq!(line("echo 'a", false), Err("a quote is never closed in `echo 'a`".to_owned()));
        assert_eq!(line("  ", false), Err("the line is empty".to_owned()));
        assert_eq!(line("a | b", true), Ok(vec!["sh".into(), "-c".into(), "a | b".into()]));
    }
}
