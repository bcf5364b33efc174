//! The lines that a worker answers, as they come in pieces. A line costs no allocation of its own.

use super::LONGEST_ANSWER;

/// What was read and not taken yet.
#[derive(Debug, Default)]
pub(super) struct Answers {
    bytes: Vec<u8>,
    /// What is before was taken.
    start: usize,
    /// Up to here there is no end of a line.
    seen: usize,
    /// Blank lines are none.
    skips_blank: bool,
}

impl Answers {
    pub(super) fn new(skips_blank: bool) -> Answers {
        Answers { skips_blank, ..Answers::default() }
    }

    pub(super) fn add(&mut self, piece: &[u8]) {
        self.bytes.drain(..self.start);
        self.seen -= self.start;
        self.start = 0;
        self.bytes.extend_from_slice(piece);
    }

    /// The next line, without its end. `Err`: it is too long.
    pub(super) fn line(&mut self) -> Result<Option<&[u8]>, String> {
        loop {
            let end = self.bytes[self.seen..].iter().position(|byte| *byte == b'\n').map(|at| at + self.seen);
            let length = end.unwrap_or(self.bytes.len()) - self.start;
            if length > LONGEST_ANSWER {
                return Err(format!("it answered a line of more than {LONGEST_ANSWER} bytes"));
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
    pub(super) fn is_empty(&self) -> bool {
        let rest = &self.bytes[self.start..];
        if self.skips_blank { rest.trim_ascii().is_empty() } else { rest.is_empty() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(answers: &mut Answers) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = answers.line().expect("short") {
            lines.push(String::from_utf8_lossy(line).into_owned());
        }
        lines
    }

    #[test]
    fn lines_come_whole_from_any_pieces_and_blank_ones_are_none_if_that_is_wanted() {
        let mut answers = Answers::new(true);
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
        let mut answers = Answers::new(false);
        answers.add(b"\n \n");
        assert_eq!(lines(&mut answers), ["", " "]);
    }

    #[test]
    fn a_line_that_never_ends_is_refused_before_it_fills_the_memory() {
        let mut answers = Answers::default();
        answers.add(&vec![b'x'; LONGEST_ANSWER]);
        assert_eq!(answers.line(), Ok(None));
        answers.add(b"x");
        assert!(answers.line().is_err());
    }
}
