//! `/proc/PID/stat` (proc_pid_stat(5)): one line, with a name in it that can be anything, also `) R 1 (` or a line break.

use doula_model::id::Pid;
use doula_model::process::{ProcState, Stat};

/// Reads the line. What counts begins behind the last parenthesis. `None` for what no kernel writes.
///
/// ```
/// use doula_host::procfs::parse_stat;
/// let line = b"7 (a) R 1 () S 3 7 7 0 -1 4194560 9 0 0 0 5 2 0 0 20 0 1 0 100 4096 11 0 0 0 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0";
/// let stat = parse_stat(line).expect("a line of a kernel");
/// assert_eq!((stat.name.as_slice(), stat.ppid, stat.state.letter()), (b"a) R 1 (".as_slice(), 3, 'S'));
/// ```
pub fn parse_stat(line: &[u8]) -> Option<Stat> {
    let begin = line.iter().position(|&byte| byte == b'(')?;
    let end = line.iter().rposition(|&byte| byte == b')')?;
    let number = Fields(&line[..begin]).number()?;
    let name = line.get(begin + 1..end)?.to_vec();
    let mut fields = Fields(&line[end + 1..]);
    // The first of these is field 3 of the manual page; a call of `skip` names those that nobody needs.
    let mut stat = Stat {
        pid: Pid::new(number as i32)?,
        name,
        state: ProcState::from_letter(*fields.word()?.first()?),
        ppid: fields.number()? as i32,
        pgid: fields.number()? as i32,
        sid: fields.number()? as i32,
        tty: fields.number()? as u32,
        tpgid: fields.number()? as i32,
        flags: fields.number()? as u32,
        faults: (fields.number()? as u64, fields.after("cminflt", 1)? as u64),
        cpu: (fields.after("cmajflt", 1)? as u64, fields.number()? as u64),
        buried_cpu: (fields.number()? as u64, fields.number()? as u64),
        priority: fields.number()? as i32,
        nice: fields.number()? as i32,
        threads: fields.number()? as u32,
        start_ticks: fields.after("itrealvalue", 1)? as u64,
        virtual_bytes: fields.number()? as u64,
        resident_pages: fields.number()?.max(0) as u64,
        processor: 0,
        rt_priority: 0,
        policy: 0,
        io_delay: 0,
        exit_code: 0,
    };
    stat.processor = fields.after("rsslim to exit_signal", 14)? as u32;
    stat.rt_priority = fields.number()? as u32;
    stat.policy = fields.number()? as u32;
    stat.io_delay = fields.number()? as u64;
    stat.exit_code = fields.after("guest_time to env_end", 9).unwrap_or(0) as i32;
    Some(stat)
}

/// Words between blanks, from the left.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn word(&mut self) -> Option<&'a [u8]> {
        let begin = self.0.iter().position(|byte| !byte.is_ascii_whitespace())?;
        let rest = &self.0[begin..];
        let length = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
        self.0 = &rest[length..];
        Some(&rest[..length])
    }

    /// The next one, with or without a sign. Numbers of 64 bits come as their bits.
    fn number(&mut self) -> Option<i64> {
        let word = self.word()?;
        let (negative, digits) = match word.split_first()? {
            (b'-', rest) => (true, rest),
            _ => (false, word),
        };
        let add = |sum: u64, digit: &u8| {
            let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
            sum.checked_mul(10)?.checked_add(digit)
        };
        let number = digits.iter().try_fold(0, add).filter(|_| !digits.is_empty())?;
        Some(if negative { (number as i64).wrapping_neg() } else { number as i64 })
    }

    /// The number behind so many others, which the caller names.
    fn after(&mut self, _names: &str, count: usize) -> Option<i64> {
        for _ in 0..count {
            self.word()?;
        }
        self.number()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REST: &str = "S 3 7 8 34816 9 4194560 101 102 103 104 105 106 107 108 20 -5 1 0 100 4096 11 \
                        18446744073709551615 1 2 3 4 5 6 7 8 9 10 11 12 17 1 40 2 55 0 0 1 2 3 4 5 6 7 2304";

    fn line(name: &[u8]) -> Vec<u8> {
        [b"42 (".as_slice(), name, b") ", REST.as_bytes(), b"\n"].concat()
    }

    #[test]
    fn each_field_is_that_of_the_manual_page() {
        let stat = parse_stat(&line(b"name")).expect("a line of a kernel");
        assert_eq!((stat.pid.get(), stat.ppid, stat.pgid, stat.sid), (42, 3, 7, 8));
        assert_eq!((stat.tty, stat.tpgid, stat.flags), (34816, 9, 4_194_560));
        assert_eq!((stat.faults, stat.cpu, stat.buried_cpu), ((101, 103), (105, 106), (107, 108)));
        assert_eq!((stat.priority, stat.nice, stat.threads, stat.start_ticks), (20, -5, 1, 100));
        assert_eq!((stat.virtual_bytes, stat.resident_pages), (4096, 11));
        assert_eq!((stat.processor, stat.rt_priority, stat.policy, stat.io_delay), (1, 40, 2, 55));
        assert_eq!(stat.exit_code, 2304);
    }

    #[test]
    fn a_name_can_be_anything() {
        for name in
            [b"a b".as_slice(), b") R 1 (", b"x) Z 1 1 1", b"a\nb", b"\x1b[2J", b"\xff\xfe", b"", b"(((("]
        {
            let stat = parse_stat(&line(name)).expect("a line of a kernel");
            assert_eq!((stat.name.as_slice(), stat.ppid), (name, 3));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse_stat(&bytes);
            let _ = parse_stat(&[b"1 (x) S 1 ".as_slice(), &bytes].concat());
        }

        #[test]
        fn every_name_comes_back(name in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(parse_stat(&line(&name)).expect("a line of a kernel").name, name);
        }
    }
}
