//! Files, pipes, and what becomes of their numbers. Every new fd is close-on-exec.

use crate::{Result, errno, raw};
use core::ffi::CStr;
use doula_model::plan::Errno;
pub use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

/// `pipe2(O_CLOEXEC)`—a pipe: the end to read from, the end to write to. Both block.
///
/// <https://man7.org/linux/man-pages/man2/pipe2.2.html>
#[doc(alias = "pipe2")]
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(errno)
}

/// `read(fd, buffer)`—the number of bytes read; 0 at the end. EAGAIN when a non-blocking fd has nothing.
///
/// <https://man7.org/linux/man-pages/man2/read.2.html>
pub fn read(fd: impl AsFd, buffer: &mut [u8]) -> Result<usize> {
    rustix::io::read(fd, buffer).map_err(errno)
}

/// `pread(fd, buffer, offset)`—the number of bytes read from this place on, without moving anybody's place.
///
/// <https://man7.org/linux/man-pages/man2/pread.2.html>
#[doc(alias = "pread")]
pub fn read_at(fd: impl AsFd, buffer: &mut [u8], offset: u64) -> Result<usize> {
    rustix::io::pread(fd, buffer, offset).map_err(errno)
}

/// `write(fd, bytes)`—the number of bytes written, which may be fewer than asked for. Writing to a pipe that
/// nobody reads also raises SIGPIPE.
///
/// <https://man7.org/linux/man-pages/man2/write.2.html>
pub fn write(fd: impl AsFd, bytes: &[u8]) -> Result<usize> {
    rustix::io::write(fd, bytes).map_err(errno)
}

/// `ioctl(fd, FIONREAD)`—how many bytes of a pipe nobody has read yet; either end may ask.
///
/// <https://man7.org/linux/man-pages/man7/pipe.7.html>
#[doc(alias = "FIONREAD")]
pub fn unread(pipe: impl AsFd) -> Result<u64> {
    rustix::io::ioctl_fionread(pipe).map_err(errno)
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To read.
    Read,
    /// To write what exists.
    Write,
    /// To write what exists, without ever waiting, neither now nor later: ENXIO for a FIFO that nobody reads.
    WriteNow,
    /// To read and write what exists.
    ReadWrite,
    /// To write at the end; created with mode 0640 (less the umask) if missing.
    Append,
    /// To write; created with mode 0640 (less the umask) or emptied.
    Create,
    /// A directory, to read it and to name files in it.
    Directory,
    /// A directory, only to name it and files in it (`O_PATH`): the cheapest.
    Place,
}

/// `openat(AT_FDCWD, path)`—opens a file. A terminal does not become ours by it.
///
/// <https://man7.org/linux/man-pages/man2/open.2.html>
pub fn open(path: &CStr, access: Access) -> Result<OwnedFd> {
    open_at(CWD, path, access)
}

/// `openat(directory, path)`—opens a file whose path begins in a directory.
///
/// <https://man7.org/linux/man-pages/man2/open.2.html>
pub fn open_at(directory: impl AsFd, path: &CStr, access: Access) -> Result<OwnedFd> {
    let flags = match access {
        Access::Read => OFlags::RDONLY,
        Access::Write => OFlags::WRONLY,
        Access::WriteNow => OFlags::WRONLY | OFlags::NONBLOCK,
        Access::ReadWrite => OFlags::RDWR,
        Access::Append => OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE,
        Access::Create => OFlags::WRONLY | OFlags::TRUNC | OFlags::CREATE,
        Access::Directory => OFlags::RDONLY | OFlags::DIRECTORY,
        Access::Place => OFlags::PATH | OFlags::DIRECTORY,
    };
    let mode = Mode::from_raw_mode(0o640);
    rustix::fs::openat(directory, path, flags | OFlags::CLOEXEC | OFlags::NOCTTY, mode).map_err(errno)
}

/// `openat2(root, path, O_PATH, RESOLVE_IN_ROOT | RESOLVE_CACHED)`—only names what is there, of what the kernel knows without
/// asking a file system: EAGAIN where it would have to (Linux 5.12; before, EINVAL). The root of the path is this directory.
///
/// <https://man7.org/linux/man-pages/man2/openat2.2.html>
#[doc(alias = "openat2")]
pub fn name_known(root: impl AsFd, path: &CStr) -> Result<OwnedFd> {
    let how = ResolveFlags::IN_ROOT | ResolveFlags::CACHED | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), how).map_err(errno)
}

/// `readlinkat(directory, path)`—where a symbolic link leads: how many bytes of the buffer it fills. What does not fit is cut off.
///
/// <https://man7.org/linux/man-pages/man2/readlink.2.html>
#[doc(alias = "readlinkat")]
pub fn read_link_at(directory: impl AsFd, path: &CStr, buffer: &mut [u8]) -> Result<usize> {
    rustix::fs::readlinkat_raw(directory, path, buffer).map_err(errno)
}

/// `mkdirat(directory, path, 0777)`—makes a directory, less the umask.
///
/// <https://man7.org/linux/man-pages/man2/mkdir.2.html>
#[doc(alias = "mkdirat")]
pub fn make_directory_at(directory: impl AsFd, path: &CStr) -> Result<()> {
    rustix::fs::mkdirat(directory, path, Mode::from_raw_mode(0o777)).map_err(errno)
}

/// `fcntl(F_SETFL)`—whether reading and writing wait. This belongs to the open file, so that everybody who
/// shares it is concerned: never do it to an fd that was inherited.
///
/// <https://man7.org/linux/man-pages/man2/F_SETFL.2const.html>
pub fn set_nonblocking(fd: impl AsFd, on: bool) -> Result<()> {
    let fd = fd.as_fd();
    let mut flags = rustix::fs::fcntl_getfl(fd).map_err(errno)?;
    flags.set(OFlags::NONBLOCK, on);
    rustix::fs::fcntl_setfl(fd, flags).map_err(errno)
}

/// `fcntl(F_SETFD)`—whether execve closes it.
///
/// <https://man7.org/linux/man-pages/man2/F_SETFD.2const.html>
pub fn set_cloexec(fd: impl AsFd, on: bool) -> Result<()> {
    let flags = if on { rustix::io::FdFlags::CLOEXEC } else { rustix::io::FdFlags::empty() };
    rustix::io::fcntl_setfd(fd, flags).map_err(errno)
}

/// `fcntl(F_DUPFD_CLOEXEC, least)`—a second number for the same open file, `least` or above.
///
/// <https://man7.org/linux/man-pages/man2/F_DUPFD.2const.html>
pub fn duplicate(fd: impl AsFd, least: RawFd) -> Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(fd, least).map_err(errno)
}

/// `dup3(fd, to, O_CLOEXEC)`—makes the number `to` another name of this open file; what it named before is
/// closed.
///
/// The caller must own the number `to`: an [`OwnedFd`] of somebody else with this number would name another
/// file from now on. EINVAL when both numbers are the same.
///
/// <https://man7.org/linux/man-pages/man2/dup3.2.html>
pub fn duplicate_onto(fd: impl AsFd, to: RawFd, cloexec: bool) -> Result<()> {
    let flags = if cloexec { libc::O_CLOEXEC } else { 0 };
    let args = [fd.as_fd().as_raw_fd() as usize, to as usize, flags as usize, 0, 0, 0];
    // SAFETY: dup3 takes numbers only.
    unsafe { raw::call(libc::SYS_dup3, args) }.map(drop)
}

/// `fcntl(F_GETFD)`—whether this number names an open file.
pub fn is_open(fd: RawFd) -> bool {
    let args = [fd as usize, libc::F_GETFD as usize, 0, 0, 0, 0];
    // SAFETY: F_GETFD takes numbers only.
    unsafe { raw::call(libc::SYS_fcntl, args) }.is_ok()
}

/// `close_range(first, last, CLOSE_RANGE_CLOEXEC)`—marks all fds of a range close-on-exec (Linux 5.11).
///
/// <https://man7.org/linux/man-pages/man2/close_range.2.html>
#[doc(alias = "close_range")]
pub fn set_cloexec_range(first: u32, last: u32) -> Result<()> {
    const CLOSE_RANGE_CLOEXEC: usize = 4;
    // SAFETY: close_range takes numbers only, and with this flag it closes nothing.
    unsafe { raw::call(libc::SYS_close_range, [first as usize, last as usize, CLOSE_RANGE_CLOEXEC, 0, 0, 0]) }
        .map(drop)
}

/// `close_range(first, last)`—closes all fds but these. For a process that has taken over the fd table of another one and
/// knows by number what it needs of it: whoever owns another fd here must not use it any more, nor close it.
///
/// <https://man7.org/linux/man-pages/man2/close_range.2.html>
#[doc(alias = "close_range")]
pub fn close_all_but(kept: &[RawFd]) -> Result<()> {
    let mut kept: alloc::vec::Vec<usize> = kept.iter().filter_map(|fd| usize::try_from(*fd).ok()).collect();
    kept.sort_unstable();
    let mut first = 0;
    for number in kept.into_iter().chain([u32::MAX as usize]) {
        if first < number {
            // SAFETY: takes numbers only; that nobody uses what is closed is the caller's promise.
            unsafe { raw::call(libc::SYS_close_range, [first, number - 1, 0, 0, 0, 0]) }?;
        }
        first = number + 1;
    }
    Ok(())
}

/// `kcmp(getpid(), getpid(), KCMP_FILE, one, other)`—whether both are the same open file (not only the same
/// file): duplicates of each other, perhaps by way of another process. ENOSYS in a kernel built without it.
///
/// <https://man7.org/linux/man-pages/man2/kcmp.2.html>
#[doc(alias = "kcmp")]
pub fn same_open_file(one: impl AsFd, other: impl AsFd) -> Result<bool> {
    const KCMP_FILE: usize = 0;
    let pid = crate::group::pid().get() as usize;
    let (one, other) = (one.as_fd().as_raw_fd() as usize, other.as_fd().as_raw_fd() as usize);
    // SAFETY: kcmp takes numbers only.
    unsafe { raw::call(libc::SYS_kcmp, [pid, pid, KCMP_FILE, one, other, 0]) }.map(|order| order == 0)
}

/// `memfd_create(name, MFD_CLOEXEC)`—a file in memory. The name is for `/proc` only.
///
/// <https://man7.org/linux/man-pages/man2/memfd_create.2.html>
pub fn memory(name: &CStr) -> Result<OwnedFd> {
    rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC).map_err(errno)
}

/// `memfd_create`, `ftruncate` and `fcntl(F_ADD_SEALS)`—a file in memory that has this length for good, whoever writes to it.
///
/// <https://man7.org/linux/man-pages/man2/memfd_create.2.html>
pub fn memory_of(name: &CStr, length: u64) -> Result<OwnedFd> {
    use rustix::fs::{MemfdFlags, SealFlags};
    let file =
        rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).map_err(errno)?;
    rustix::fs::ftruncate(&file, length).map_err(errno)?;
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals).map_err(errno)?;
    Ok(file)
}

/// `memfd_create`, `write` and `fcntl(F_ADD_SEALS)`—a file in memory with these bytes, which nobody can change any more.
///
/// <https://man7.org/linux/man-pages/man2/memfd_create.2.html>
pub fn frozen(name: &CStr, bytes: &[u8]) -> Result<OwnedFd> {
    use rustix::fs::{MemfdFlags, SealFlags};
    let file =
        rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).map_err(errno)?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let written = write(&file, rest)?;
        rest = rest.get(written..).unwrap_or_default();
    }
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals).map_err(errno)?;
    Ok(file)
}

/// `fcntl(F_GET_SEALS)` and `fstat`—the length of a file in memory that cannot become shorter; EINVAL if it can.
///
/// <https://man7.org/linux/man-pages/man2/fcntl.2.html>
pub fn sealed_length(file: impl AsFd) -> Result<u64> {
    length_with(file, rustix::fs::SealFlags::SHRINK)
}

/// The same of one whose bytes cannot change either.
///
/// <https://man7.org/linux/man-pages/man2/fcntl.2.html>
pub fn frozen_length(file: impl AsFd) -> Result<u64> {
    length_with(file, rustix::fs::SealFlags::SHRINK | rustix::fs::SealFlags::WRITE)
}

fn length_with(file: impl AsFd, wanted: rustix::fs::SealFlags) -> Result<u64> {
    let has = rustix::fs::fcntl_get_seals(&file).map_err(errno)?;
    if !has.contains(wanted) {
        return Err(Errno::EINVAL);
    }
    let stat = rustix::fs::fstat(&file).map_err(errno)?;
    u64::try_from(stat.st_size).map_err(|_| Errno::EINVAL)
}

/// `fallocate(file, FALLOC_FL_KEEP_SIZE, from, bytes)`—takes room on the disk, also behind the end of the file, which does not
/// move. ENOSPC when there is not so much; EOPNOTSUPP where the file system cannot.
///
/// <https://man7.org/linux/man-pages/man2/fallocate.2.html>
pub fn allocate(file: impl AsFd, from: u64, bytes: u64) -> Result<()> {
    rustix::fs::fallocate(file, rustix::fs::FallocateFlags::KEEP_SIZE, from, bytes).map_err(errno)
}

/// `fcntl(F_SETPIPE_SZ)`—asks for a pipe that holds at least this many bytes. EPERM above
/// `/proc/sys/fs/pipe-max-size`.
///
/// <https://man7.org/linux/man-pages/man2/F_GETPIPE_SZ.2const.html>
pub fn set_pipe_size(pipe: impl AsFd, bytes: usize) -> Result<usize> {
    rustix::pipe::fcntl_setpipe_size(pipe, bytes).map_err(errno)
}

/// `tee(from, to, most, SPLICE_F_NONBLOCK)`—copies bytes from one pipe to another and leaves them in the first; the number of
/// bytes, 0 at the end of the first. EAGAIN when the first is empty or the second is full, EINVAL when one is no pipe.
///
/// <https://man7.org/linux/man-pages/man2/tee.2.html>
pub fn tee(from: impl AsFd, to: impl AsFd, most: usize) -> Result<usize> {
    rustix::pipe::tee(from, to, most, rustix::pipe::SpliceFlags::NONBLOCK).map_err(errno)
}

/// `splice(from, to, most, SPLICE_F_NONBLOCK)`—moves bytes from one pipe to another without copying them; the number of
/// bytes, 0 at the end of the first. EAGAIN when the first is empty or the second is full. Moving to a pipe that nobody reads
/// also raises SIGPIPE.
///
/// <https://man7.org/linux/man-pages/man2/splice.2.html>
pub fn splice(from: impl AsFd, to: impl AsFd, most: usize) -> Result<usize> {
    let flags = rustix::pipe::SpliceFlags::NONBLOCK | rustix::pipe::SpliceFlags::MOVE;
    rustix::pipe::splice(from, None, to, None, most, flags).map_err(errno)
}

/// `getdents64(fd)`—calls `entry` with the name of each entry of an open directory, `.` and `..` included.
///
/// <https://man7.org/linux/man-pages/man2/getdents.2.html>
#[doc(alias = "getdents64")]
pub fn entries(directory: impl AsFd, mut entry: impl FnMut(&[u8])) -> Result<()> {
    let mut buffer = [core::mem::MaybeUninit::uninit(); 4096];
    let mut entries = rustix::fs::RawDir::new(directory, &mut buffer);
    while let Some(next) = entries.next() {
        entry(next.map_err(errno)?.file_name().to_bytes());
    }
    Ok(())
}

/// `chdir(path)`—our working directory from now on.
///
/// <https://man7.org/linux/man-pages/man2/chdir.2.html>
#[doc(alias = "chdir")]
pub fn change_directory(path: &CStr) -> Result<()> {
    rustix::process::chdir(path).map_err(errno)
}

/// `renameat2(from, to, RENAME_NOREPLACE)`—gives a file another name. EEXIST if that is taken, EINVAL on a file system that cannot
/// do it at once.
///
/// <https://man7.org/linux/man-pages/man2/rename.2.html>
#[doc(alias = "renameat2")]
pub fn rename_new(from: &CStr, to: &CStr) -> Result<()> {
    rustix::fs::renameat_with(CWD, from, CWD, to, rustix::fs::RenameFlags::NOREPLACE).map_err(errno)
}

/// `umask(mask)`—what is taken from the mode of every new file of ours; returns what it was.
///
/// <https://man7.org/linux/man-pages/man2/umask.2.html>
#[doc(alias = "umask")]
pub fn set_umask(mask: u32) -> u32 {
    rustix::process::umask(Mode::from_raw_mode(mask)).as_raw_mode()
}

/// The fds 0, 1 and 2 to be borrowed; any other number is the caller's business.
pub fn standard(number: Standard) -> BorrowedFd<'static> {
    // SAFETY: a closed standard fd gives EBADF and nothing worse: nobody here closes one, or opens a file
    // that would get its number while it is missing and trusts it to be another.
    unsafe { BorrowedFd::borrow_raw(number as RawFd) }
}

/// Which standard fd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standard {
    /// Standard input.
    In = 0,
    /// Standard output.
    Out = 1,
    /// Standard error.
    Err = 2,
}

/// Reads until the end or until the buffer is full, over interruptions: for small files of `/proc` and
/// cgroups, which come in one piece.
pub fn read_full(fd: impl AsFd, buffer: &mut [u8]) -> Result<usize> {
    let fd = fd.as_fd();
    let mut filled = 0;
    while filled < buffer.len() {
        match read(fd, &mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(filled)
}

/// An fd of ours out of a number that a system call has just given to us.
pub(crate) fn adopt(fd: usize) -> OwnedFd {
    // SAFETY: the kernel made this fd for the caller, and nobody else has seen its number.
    unsafe { OwnedFd::from_raw_fd(fd as RawFd) }
}

/// `fcntl(F_GETFD)`—takes over an fd that was passed to this process by its parent (a socket of
/// sd_listen_fds(3), a stored fd), and makes it close-on-exec. EBADF if there is none.
///
/// The caller must be the only one to take this number, once.
pub fn inherited(fd: RawFd) -> Result<OwnedFd> {
    if fd < 3 || !is_open(fd) {
        return Err(Errno::EBADF);
    }
    let owned = adopt(fd as usize);
    set_cloexec(&owned, true)?;
    Ok(owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_behind_the_end_of_a_file_does_not_move_its_end() {
        let file = memory(c"room").expect("memory");
        write(&file, b"abc").expect("write");
        assert_eq!(allocate(&file, 3, 1 << 16), Ok(()));
        assert_eq!(read_at(&file, &mut [0; 8], 0), Ok(3));
        assert!(allocate(pipe().expect("pipe").0, 0, 1).is_err());
    }

    #[test]
    fn what_is_copied_from_a_pipe_stays_in_it() {
        let (one, other) = (pipe().expect("pipe"), pipe().expect("pipe"));
        assert_eq!(tee(&one.0, &other.1, 8), Err(Errno::EAGAIN));
        write(&one.1, b"abc").expect("write");
        let mut buffer = [0; 8];
        for pipe in [&other.0, &one.0] {
            if core::ptr::eq(pipe, &other.0) {
                assert_eq!(tee(&one.0, &other.1, 8), Ok(3));
            }
            assert_eq!(read(pipe, &mut buffer), Ok(3));
            assert_eq!(&buffer[..3], b"abc");
        }
        drop(one.1);
        assert_eq!(tee(&one.0, &other.1, 8), Ok(0));
    }

    #[test]
    fn what_nobody_read_is_counted_also_when_nobody_can_read_it_any_more() {
        let (reader, writer) = pipe().expect("pipe");
        write(&writer, b"abc").expect("write");
        assert_eq!((unread(&writer), unread(&reader)), (Ok(3), Ok(3)));
        assert_eq!(read(&reader, &mut [0; 2]), Ok(2));
        drop(reader);
        assert_eq!(unread(&writer), Ok(1));
    }

    #[test]
    fn what_goes_into_a_pipe_comes_out_and_the_end_is_seen() {
        let (reader, writer) = pipe().expect("pipe");
        assert_eq!(write(&writer, b"abc"), Ok(3));
        drop(writer);
        let mut buffer = [0; 8];
        assert_eq!(read_full(&reader, &mut buffer), Ok(3));
        assert_eq!(&buffer[..3], b"abc");
    }

    #[test]
    fn bytes_are_moved_from_pipe_to_pipe_until_the_end_is_moved_too() {
        let ((from, first), (last, to)) = (pipe().expect("pipe"), pipe().expect("pipe"));
        assert_eq!(splice(&from, &to, 100), Err(Errno::EAGAIN), "nothing to move");
        assert_eq!(write(&first, b"abc"), Ok(3));
        drop(first);
        assert_eq!((splice(&from, &to, 100), splice(&from, &to, 100)), (Ok(3), Ok(0)));
        let mut buffer = [0; 8];
        assert_eq!(read(&last, &mut buffer), Ok(3));
        assert_eq!(&buffer[..3], b"abc");
    }

    #[test]
    fn a_nonblocking_pipe_with_nothing_in_it_says_not_now() {
        let (reader, _writer) = pipe().expect("pipe");
        set_nonblocking(&reader, true).expect("fcntl");
        assert_eq!(read(&reader, &mut [0; 1]), Err(Errno::EAGAIN));
    }

    #[test]
    fn duplicates_are_the_same_open_file_and_both_ends_of_a_pipe_are_not() {
        let (reader, writer) = pipe().expect("pipe");
        let copy = duplicate(&reader, 3).expect("fcntl");
        match same_open_file(&reader, &copy) {
            Err(Errno::ENOSYS) => std::println!("skipped: the kernel has no kcmp(2)"),
            same => assert_eq!((same, same_open_file(&reader, &writer)), (Ok(true), Ok(false))),
        }
    }

    #[test]
    fn a_duplicate_lives_at_or_above_the_least_number() {
        let (reader, _writer) = pipe().expect("pipe");
        let copy = duplicate(&reader, 200).expect("fcntl");
        assert!(copy.as_raw_fd() >= 200);
        let memory = memory(c"test").expect("memfd");
        duplicate_onto(&memory, copy.as_raw_fd(), true).expect("dup3");
        assert_eq!(write(&copy, b"x"), Ok(1), "the number now names the memory file");
        assert_eq!(inherited(100_000).map(drop), Err(Errno::EBADF));
    }
}
