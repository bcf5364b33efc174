//! Ways to be stuck in the kernel, for programs that show how that looks. Feature `classic`.

use crate::Result;
use crate::classic::{self, Copy};
use crate::fd::{AsFd, AsRawFd};
use crate::fork::copy::last_error;
use alloc::format;
use core::ffi::CStr;
use core::ptr;
use doula_model::signal::Signal;

/// `unshare(CLONE_NEWNS)` and `mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)`—from now on nobody else sees what we
/// mount. EPERM without privileges.
///
/// <https://man7.org/linux/man-pages/man7/mount_namespaces.7.html>
pub fn own_mounts() -> Result<()> {
    // SAFETY: takes a number.
    succeeded(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    let flags = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: both null pointers mean that nothing is said; the path outlives the call.
    succeeded(unsafe { libc::mount(ptr::null(), c"/".as_ptr(), ptr::null(), flags, ptr::null()) })
}

/// `mount("fuse", file, "fuse", MS_NOSUID | MS_NODEV, …)`—puts a file whose server is whoever answers at this `/dev/fuse`
/// over an existing one.
///
/// <https://man7.org/linux/man-pages/man4/fuse.4.html>
pub fn serve_file(device: impl AsFd, over: &CStr) -> Result<()> {
    let fd = device.as_fd().as_raw_fd();
    let options = format!("fd={fd},rootmode=100644,user_id=0,group_id=0\0");
    let flags = libc::MS_NOSUID | libc::MS_NODEV;
    // SAFETY: all texts end with a NUL byte and outlive the call.
    succeeded(unsafe {
        libc::mount(c"fuse".as_ptr(), over.as_ptr(), c"fuse".as_ptr(), flags, options.as_ptr().cast())
    })
}

/// `mount("127.0.0.1:/", over, "nfs", 0, …)`—mounts a file system of NFS 3 whose server listens at this port of the machine's own
/// address, and for as long as that does not answer, waits. ENODEV in a kernel without NFS.
///
/// <https://man7.org/linux/man-pages/man5/nfs.5.html>
pub fn mount_nfs(port: u16, over: &CStr) -> Result<()> {
    let options = format!(
        "vers=3,nolock,proto=tcp,mountproto=tcp,mountvers=3,addr=127.0.0.1,mountaddr=127.0.0.1,port={port},mountport={port}\0"
    );
    let options = options.as_ptr().cast();
    // SAFETY: all texts end with a NUL byte and outlive the call.
    succeeded(unsafe { libc::mount(c"127.0.0.1:/".as_ptr(), over.as_ptr(), c"nfs".as_ptr(), 0, options) })
}

/// Maps the first page of a file, writes a byte to it, and takes it out of the memory map again: munmap(2) writes the page
/// back, and holds the lock of the memory map (for reading) for as long as that takes.
///
/// <https://man7.org/linux/man-pages/man2/mmap.2.html>
pub fn dirty_a_page(file: impl AsFd) -> Result<()> {
    /// Less than any page.
    const LENGTH: usize = 1;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: a new mapping, which touches nothing that is there.
    let page = unsafe { libc::mmap(ptr::null_mut(), LENGTH, protection, libc::MAP_SHARED, fd, 0) };
    if page == libc::MAP_FAILED {
        return Err(last_error());
    }
    // SAFETY: the mapping may be written to, and nobody else knows of it.
    unsafe { ptr::write_volatile(page.cast::<u8>(), 1) };
    // SAFETY: the mapping of above, which nothing refers to.
    succeeded(unsafe { libc::munmap(page, LENGTH) })
}

/// Maps a page of memory and takes it away again. Whoever does so waits for all that hold the lock of the memory map, and
/// from then on whoever comes later waits too.
///
/// <https://man7.org/linux/man-pages/man2/mmap.2.html>
pub fn change_the_map() -> Result<()> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping, which touches nothing that is there.
    let page = unsafe { libc::mmap(ptr::null_mut(), 1, libc::PROT_READ, flags, -1, 0) };
    if page == libc::MAP_FAILED {
        return Err(last_error());
    }
    // SAFETY: the mapping of above, which nothing refers to.
    succeeded(unsafe { libc::munmap(page, 1) })
}

/// `clone(CLONE_VFORK | SIGCHLD)`—blocked (state D) until the child, a copy of us, has read standard input to its end.
/// EBUSY when there are other threads.
///
/// <https://man7.org/linux/man-pages/man2/vfork.2.html>
pub fn wait_in_vfork() -> Result<()> {
    let how = Copy { vfork: true, exit_signal: Some(Signal::CHLD), ..Copy::default() };
    if classic::copy(how)?.is_none() {
        let mut byte = [0];
        while crate::fd::read(crate::fd::standard(crate::fd::Standard::In), &mut byte)
            .is_ok_and(|count| count > 0)
        {}
        classic::exit(0);
    }
    Ok(())
}

/// `exit(0)`, of this thread alone: when it is the first one, its process looks like a zombie while others live on.
///
/// <https://man7.org/linux/man-pages/man2/_exit.2.html>
pub fn end_thread() -> ! {
    // SAFETY: takes a number, and does not return; what this thread has is not freed.
    let _ = unsafe { crate::raw::call(libc::SYS_exit, [0; 6]) };
    unreachable!("a thread that has ended")
}

fn succeeded(answer: libc::c_int) -> Result<()> {
    if answer == 0 { Ok(()) } else { Err(last_error()) }
}
