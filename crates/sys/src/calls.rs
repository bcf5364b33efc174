//! The names of system calls, for those that wait.

/// Makes the table from the numbers of this architecture.
macro_rules! table {
    ($($(#[$gate:meta])* $name:literal = $number:ident,)*) => {
        &[$($(#[$gate])* ($name, libc::$number),)*]
    };
}

/// Calls that can wait, with their numbers.
const TABLE: &[(&str, i64)] = table! {
    "read" = SYS_read, "pread64" = SYS_pread64, "readv" = SYS_readv, "preadv" = SYS_preadv, "preadv2" = SYS_preadv2,
    "write" = SYS_write, "pwrite64" = SYS_pwrite64, "writev" = SYS_writev, "pwritev" = SYS_pwritev,
    "pwritev2" = SYS_pwritev2, "sendfile" = SYS_sendfile, "splice" = SYS_splice, "recvfrom" = SYS_recvfrom,
    "recvmsg" = SYS_recvmsg, "recvmmsg" = SYS_recvmmsg, "sendto" = SYS_sendto, "sendmsg" = SYS_sendmsg,
    "sendmmsg" = SYS_sendmmsg, "connect" = SYS_connect, "accept" = SYS_accept, "accept4" = SYS_accept4,
    "openat" = SYS_openat, "openat2" = SYS_openat2, "close" = SYS_close, "fstat" = SYS_fstat, "statx" = SYS_statx,
    "newfstatat" = SYS_newfstatat, "getdents64" = SYS_getdents64, "fsync" = SYS_fsync, "fdatasync" = SYS_fdatasync,
    "sync" = SYS_sync, "syncfs" = SYS_syncfs, "ftruncate" = SYS_ftruncate, "flock" = SYS_flock, "fcntl" = SYS_fcntl,
    "ioctl" = SYS_ioctl, "unlinkat" = SYS_unlinkat, "mkdirat" = SYS_mkdirat, "renameat2" = SYS_renameat2,
    "mmap" = SYS_mmap, "munmap" = SYS_munmap, "mprotect" = SYS_mprotect, "msync" = SYS_msync,
    "wait4" = SYS_wait4, "waitid" = SYS_waitid, "clone" = SYS_clone, "clone3" = SYS_clone3, "execve" = SYS_execve,
    "exit" = SYS_exit, "exit_group" = SYS_exit_group, "futex" = SYS_futex, "ppoll" = SYS_ppoll,
    "pselect6" = SYS_pselect6, "epoll_pwait" = SYS_epoll_pwait, "nanosleep" = SYS_nanosleep,
    "clock_nanosleep" = SYS_clock_nanosleep, "restart_syscall" = SYS_restart_syscall,
    "rt_sigsuspend" = SYS_rt_sigsuspend, "rt_sigtimedwait" = SYS_rt_sigtimedwait, "mount" = SYS_mount,
    "umount2" = SYS_umount2, "truncate" = SYS_truncate, "fallocate" = SYS_fallocate, "fchmod" = SYS_fchmod,
    "fchown" = SYS_fchown, "fchmodat" = SYS_fchmodat, "fchownat" = SYS_fchownat, "utimensat" = SYS_utimensat,
    "mknodat" = SYS_mknodat, "symlinkat" = SYS_symlinkat, "linkat" = SYS_linkat, "setxattr" = SYS_setxattr,
    "lsetxattr" = SYS_lsetxattr, "fsetxattr" = SYS_fsetxattr, "copy_file_range" = SYS_copy_file_range,
    #[cfg(target_arch = "x86_64")] "vfork" = SYS_vfork,
    #[cfg(target_arch = "x86_64")] "open" = SYS_open,
    #[cfg(target_arch = "x86_64")] "creat" = SYS_creat,
    #[cfg(target_arch = "x86_64")] "mkdir" = SYS_mkdir,
    #[cfg(target_arch = "x86_64")] "mknod" = SYS_mknod,
    #[cfg(target_arch = "x86_64")] "rmdir" = SYS_rmdir,
    #[cfg(target_arch = "x86_64")] "unlink" = SYS_unlink,
    #[cfg(target_arch = "x86_64")] "rename" = SYS_rename,
    #[cfg(target_arch = "x86_64")] "renameat" = SYS_renameat,
    #[cfg(target_arch = "x86_64")] "link" = SYS_link,
    #[cfg(target_arch = "x86_64")] "symlink" = SYS_symlink,
    #[cfg(target_arch = "x86_64")] "chmod" = SYS_chmod,
    #[cfg(target_arch = "x86_64")] "chown" = SYS_chown,
    #[cfg(target_arch = "x86_64")] "lchown" = SYS_lchown,
    #[cfg(target_arch = "x86_64")] "stat" = SYS_stat,
    #[cfg(target_arch = "x86_64")] "lstat" = SYS_lstat,
    #[cfg(target_arch = "x86_64")] "poll" = SYS_poll,
    #[cfg(target_arch = "x86_64")] "select" = SYS_select,
    #[cfg(target_arch = "x86_64")] "epoll_wait" = SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")] "pause" = SYS_pause,
};

/// The name of the call with this number on this architecture; `None` for those that hardly ever wait.
///
/// <https://man7.org/linux/man-pages/man2/syscalls.2.html>
pub fn name(number: i64) -> Option<&'static str> {
    TABLE.iter().find(|(_, known)| *known == number).map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_its_name_and_no_two_calls_have_one_number() {
        assert_eq!((name(libc::SYS_wait4), name(-1), name(100_000)), (Some("wait4"), None, None));
        for (called, number) in TABLE {
            assert_eq!(name(*number), Some(*called));
        }
    }
}
