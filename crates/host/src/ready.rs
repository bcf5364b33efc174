//! Waiting for one of several descriptors, where there is no loop of ours.

use crate::child::os_error;
use doula_model::plan::Errno;
use doula_sys::fd::BorrowedFd;
use doula_sys::poll::{Epoll, Happening, Interest};
use std::io;
use std::time::Duration;

/// Waits until one of these can be read, or the time is over; which of them can be. A regular file always can, what is `None`
/// never.
///
/// ```
/// use doula_host::ready::readable;
/// use std::{io::Write as _, os::fd::AsFd as _, time::Duration};
/// let (silent, _writer) = std::io::pipe()?;
/// let (loud, mut writer) = std::io::pipe()?;
/// writer.write_all(b"x")?;
/// let fds = [Some(silent.as_fd()), None, Some(loud.as_fd())];
/// assert_eq!(readable(fds, Some(Duration::from_secs(60)))?, [false, false, true]);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// EMFILE. An interruption is none: then nothing can be read.
pub fn readable<const N: usize>(
    fds: [Option<BorrowedFd<'_>>; N],
    time: Option<Duration>,
) -> io::Result<[bool; N]> {
    let epoll = Epoll::new().map_err(os_error)?;
    let mut ready = [false; N];
    for (fd, (token, ready)) in fds.into_iter().zip((0..).zip(&mut ready)) {
        let Some(fd) = fd else { continue };
        match epoll.add(fd, Interest::READ, token) {
            Ok(()) => {}
            Err(Errno::EPERM) => *ready = true,
            Err(errno) => return Err(os_error(errno)),
        }
    }
    let time = if ready.contains(&true) { Some(Duration::ZERO) } else { time };
    let mut happened = [Happening::EMPTY; N];
    match epoll.wait(&mut happened, time) {
        Ok(happened) => {
            for happening in happened {
                let at = usize::try_from(happening.token()).ok();
                if let Some(ready) = at.and_then(|at| ready.get_mut(at)) {
                    *ready = true;
                }
            }
        }
        Err(Errno::EINTR) => {}
        Err(errno) => return Err(os_error(errno)),
    }
    Ok(ready)
}
