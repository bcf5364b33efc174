//! The lines that a worker answers, as they come in pieces. A line costs no allocation of its own.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// What was read and not taken yet.
///
/// ```
/// use doula_core::queue::Answers;
/// let mut answers = Answers::new(80, false);
/// answers.add(b"one\ntw");
/// assert_eq!(answers.line(), Ok(Some(b"one".as_slice())));
/// assert_eq!(answers.line(), Ok(None));
/// assert!(!answers.is_empty());
/// ```
#[derive(Clone, Debug)]
pub struct Answers {
    bytes: Vec<u8>,
    /// What is before was taken.
    start: usize,
    /// Up to here there is no end of a line.
    seen: usize,
    /// A line that is longer is no answer.
    longest: usize,
    /// Blank lines are none.
    skips_blank: bool,
}

impl Answers {
    /// Nothing yet. Lines may have so many bytes.
    pub const fn new(longest: usize, skips_blank: bool) -> Answers {
        Answers { bytes: Vec::new(), start: 0, seen: 0, longest, skips_blank }
    }

    /// This was read.
    pub fn add(&mut self, piece: &[u8]) {
        self.bytes.drain(..self.start);
        self.seen -= self.start;
        self.start = 0;
        self.bytes.extend_from_slice(piece);
    }

    /// The next line, without its end.
    ///
    /// # Errors
    /// It is too long: a sentence about the worker.
    pub fn line(&mut self) -> Result<Option<&[u8]>, String> {
        loop {
            let end = self.bytes[self.seen..].iter().position(|byte| *byte == b'\n').map(|at| at + self.seen);
            let length = end.unwrap_or(self.bytes.len()) - self.start;
            if length > self.longest {
                return Err(format!("it answered a line of more than {} bytes", self.longest));
            }
            let Some(end) = end else {
                self.seen = self.bytes.len();
                return Ok(None);
            };
            let line = self.start..end;
            (self.start, self.seen) = (end + 1, end + 1);
            if !self.skips_blank || !self.bytes[line.clone()].trim_ascii().is_empty() {
                return Ok(Some(&self.bytes[line]));
            }
        }
    }

    /// Whether nothing more was said.
    pub fn is_empty(&self) -> bool {
        let rest = &self.bytes[self.start..];
        if self.skips_blank { rest.trim_ascii().is_empty() } else { rest.is_empty() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;

    fn lines(answers: &mut Answers) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = answers.line().expect("short") {
            lines.push(String::from_utf8_lossy(line).to_string());
        }
        lines
    }

    #[test]
    fn lines_come_whole_from_any_pieces_and_blank_ones_are_none_if_that_is_wanted() {
        let mut answers = Answers::new(80, true);
        let mut heard = Vec::new();
        for byte in b"one\n\n \r\ntwo\nthr" {
            answers.add(&[*byte]);
            heard.extend(lines(&mut answers));
        }
        assert_eq!(heard, ["one", "two"]);
        assert!(!answers.is_empty());
        answers.add(b"ee\n  \n");
        assert_eq!(answers.line().expect("short"), Some(b"three".as_slice()));
        assert!(answers.is_empty());
        let mut answers = Answers::new(80, false);
        answers.add(b"\n \n");
        assert_eq!(lines(&mut answers), ["", " "]);
    }

    #[test]
    fn a_line_that_never_ends_is_refused_before_it_fills_the_memory() {
        let mut answers = Answers::new(8, false);
        answers.add(&[b'x'; 8]);
        assert_eq!(answers.line(), Ok(None));
        answers.add(b"x");
        assert!(answers.line().is_err());
    }
}
