//! What `ps` shows of this process: its short name, and its command line.

use crate::{Result, raw};
use core::ffi::CStr;
use std::fs;

/// `prctl(PR_SET_NAME)`—the short name of this thread, at most 15 bytes of it.
///
/// <https://man7.org/linux/man-pages/man2/PR_SET_NAME.2const.html>
#[doc(alias = "PR_SET_NAME")]
pub fn set_name(name: &CStr) -> Result<()> {
    // SAFETY: the kernel reads at most 16 bytes of a text that ends with NUL.
    unsafe { raw::call(libc::SYS_prctl, [libc::PR_SET_NAME as usize, name.as_ptr() as usize, 0, 0, 0, 0]) }
        .map(drop)
}

/// Writes another text over the arguments of this process, where `/proc` shows them, as much as there is room. For a copy
/// of a program that is something else than the program (`pkill -f` goes by this text); its own arguments are gone then.
/// Nothing happens where the place is not told.
pub fn set_command_line(text: &str) {
    let stat = fs::read("/proc/self/stat").unwrap_or_default();
    let Some((start, end)) = place(&stat) else { return };
    for (at, byte) in (start..end).zip(text.bytes().chain(core::iter::repeat(0))) {
        // SAFETY: the kernel put the arguments there, into pages of our stack that are ours to write to, and whoever reads them
        // reads bytes up to a NUL, of which there is one more behind them.
        unsafe { core::ptr::with_exposed_provenance_mut::<u8>(at).write_volatile(byte) };
    }
}

/// `arg_start` and `arg_end` of proc_pid_stat(5): the 48th and 49th field, the second of which may have blanks in it.
fn place(stat: &[u8]) -> Option<(usize, usize)> {
    let rest = &stat[stat.iter().rposition(|byte| *byte == b')')? + 1..];
    let mut fields = core::str::from_utf8(rest).ok()?.split_ascii_whitespace().skip(48 - 3);
    let mut address = || fields.next()?.parse::<usize>().ok().filter(|address| *address != 0);
    let (start, end) = (address()?, address()?);
    (start < end).then_some((start, end - 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fd::AsFd as _;
    use crate::fork::copy::{Threads, fork};
    use crate::wait::{self, Who};
    use doula_model::exit::ExitStatus;

    #[test]
    fn a_copy_can_look_like_something_else() {
        let copy = fork(Threads::Accept, || {
            set_command_line("else");
            let named = set_name(c"something").is_ok();
            let shown = |file: &str| fs::read(std::format!("/proc/self/{file}")).unwrap_or_default();
            u8::from(!named || shown("comm") != b"something\n" || !shown("cmdline").starts_with(b"else\0"))
        });
        let copy = copy.expect("fork");
        assert_eq!(wait::end(Who::Pidfd(copy.pidfd.as_fd())), Ok(ExitStatus::code(0)));
    }

    #[test]
    fn a_stat_without_the_place_is_no_place() {
        for text in [&b""[..], b"1 (a) S 1", b"1 (a b) c) S"] {
            assert_eq!(place(text), None);
        }
    }
}
