//! Why a process waits, as `doula doctor` says it: asked in a process of its own, which may look at everybody's descriptors for as long
//! as that takes while the screen goes on.

use super::aside::Aside;
use crate::processes::printable;
use doula_model::process::Identity;
use std::io;

/// What stands on the page until the answer is there.
pub(super) const ASKING: &str = "why it waits: asking the doctor …";

/// More lines are left to the doctor: a process can have hundreds of threads.
const SHOWN: usize = 8;

/// A question that is open.
pub(super) struct Why {
    pub(super) of: Identity,
    pub(super) aside: Aside,
}

impl Why {
    pub(super) fn ask(of: Identity) -> io::Result<Why> {
        Ok(Why { of, aside: Aside::ask(&["doctor", &of.pid.to_string()])? })
    }

    /// The answer, when it is whole.
    pub(super) fn hear(&mut self) -> Option<Vec<String>> {
        self.aside.hear().map(|text| lines(&text))
    }
}

/// Without the first line, which says what the page says itself.
fn lines(text: &[u8]) -> Vec<String> {
    let mut lines = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).map(printable);
    match lines.next() {
        None => vec!["why it waits: the doctor does not find it any more".to_owned()],
        Some(_) => {
            let mut told: Vec<String> = lines.map(|line| format!("why it waits: {line}")).collect();
            let more = told.len().saturating_sub(SHOWN);
            if more > 0 {
                told.truncate(SHOWN);
                told.push(format!("why it waits: and {more} lines more, which `doula doctor` shows"));
            }
            if told.is_empty() { vec!["why it waits: it waits for nobody".to_owned()] } else { told }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_doctor_says_is_told_line_by_line_without_its_first() {
        let told = lines(b"7 (x) is sleeping\n7 (x) [S] waits\n    SIGKILL works\n");
        assert_eq!(told, ["why it waits: 7 (x) [S] waits", "why it waits:     SIGKILL works"]);
        assert_eq!(lines(b"7 (x) is running\n"), ["why it waits: it waits for nobody"]);
        let many = lines("line\n".repeat(20).as_bytes());
        assert_eq!((many.len(), many[8].contains("and 11 lines more")), (9, true), "{many:?}");
        assert_eq!(lines(b""), ["why it waits: the doctor does not find it any more"]);
    }
}
