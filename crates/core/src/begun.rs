//! Where the bytes of a line are that has a beginning and no end yet, so that the death of the supervisor tears no line.
//!
//! Bytes that were copied from the pipe of a service stay in it until their lines are written out. Then they are taken out, but the
//! beginning of a line must outlive us: it is moved to a pipe of its own, and the end of the line is moved behind it before
//! the whole is dropped. So at every moment each byte of a line that is not written is in one of the two, and in order.
//!
//! Absent on purpose: the pipes (the world has them), and that there may be no room in one.

/// What was copied from the pipe of a service, and what is known of the line at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// So many bytes were copied, and all lines that they end are written out.
    pub count: usize,
    /// So many of them end the line that was begun before.
    pub tail: usize,
    /// So many bytes of a line are there that has no end, older ones among them; `None` between two lines.
    pub rest: Option<usize>,
    /// A beginning waits in a pipe of its own.
    pub is_begun: bool,
}

/// What is to be done with them, in this order.
///
/// ```
/// use doula_core::begun::{Copied, Moves, moves};
/// // `half` waits, and ` a line\nand` was copied: the end goes to its beginning, and what begins then is moved.
/// let copied = Copied { count: 11, tail: 8, rest: Some(3), is_begun: true };
/// assert_eq!(moves(copied), Moves { joins: Some(8), stays: 3, begins: true, keeps: Some(3) });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moves {
    /// So many bytes are moved to the beginning that waits; then all that is there is dropped.
    pub joins: Option<usize>,
    /// All that is left of the copied bytes is dropped, but for so many.
    pub stays: usize,
    /// Those begin a line: there is to be a pipe for it.
    pub begins: bool,
    /// Those are moved to the beginning, of which so many bytes are kept, the newest ones; `None`: no line is begun.
    pub keeps: Option<usize>,
}

/// What is to be done with bytes that were copied and are written out.
#[must_use]
pub fn moves(copied: Copied) -> Moves {
    let Copied { count, tail, rest, is_begun } = copied;
    let stays = rest.unwrap_or(0).min(count);
    // A line that was begun goes as a whole: first its end is moved to its beginning.
    let ended = rest.is_none_or(|rest| rest <= count);
    let joins = (is_begun && ended).then(|| tail.min(count - stays));
    let waits = is_begun && !ended;
    Moves { joins, stays, begins: !waits && rest == Some(stays), keeps: rest }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Copied = Copied { count: 6, tail: 6, rest: None, is_begun: false };

    #[test]
    fn whole_lines_are_dropped_and_no_pipe_is_made() {
        assert_eq!(moves(WHOLE), Moves { joins: None, stays: 0, begins: false, keeps: None });
    }

    #[test]
    fn the_beginning_of_a_line_is_moved_to_a_pipe_of_its_own() {
        let begins = Copied { rest: Some(6), ..WHOLE };
        assert_eq!(moves(begins), Moves { joins: None, stays: 6, begins: true, keeps: Some(6) });
    }

    #[test]
    fn the_middle_of_a_line_is_moved_to_its_beginning_and_the_end_too_before_all_is_dropped() {
        let middle = Copied { rest: Some(10), is_begun: true, ..WHOLE };
        assert_eq!(moves(middle), Moves { joins: None, stays: 6, begins: false, keeps: Some(10) });
        let end = Copied { is_begun: true, ..WHOLE };
        assert_eq!(moves(end), Moves { joins: Some(6), stays: 0, begins: false, keeps: None });
    }

    #[test]
    fn one_that_was_found_whole_is_dropped() {
        let found = Copied { count: 0, tail: 0, rest: None, is_begun: true };
        assert_eq!(moves(found), Moves { joins: Some(0), stays: 0, begins: false, keeps: None });
    }
}
