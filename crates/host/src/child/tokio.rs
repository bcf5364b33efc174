//! Waiting in a task of tokio: the handle of the child among the fds of the runtime, no thread, no SIGCHLD.

use super::{Child, os_error};
use doula_model::exit::ExitStatus;
use doula_sys::fd;
use std::io;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

impl Child {
    /// As [`Child::wait`], in a task of tokio (feature `tokio`). It can be given up at any point, and begun again. The runtime
    /// must have its I/O driver switched on.
    ///
    /// # Errors
    /// EMFILE, and what the runtime says when it cannot watch the handle.
    ///
    /// ```
    /// use doula_host::Command;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    /// let mut child = Command::new("sh").args(["-c", "exit 3"]).spawn()?;
    /// let status = runtime.block_on(child.wait_async())?;
    /// assert_eq!(status.exit_code(), Some(3));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn wait_async(&mut self) -> io::Result<ExitStatus> {
        drop(self.stdin.take());
        let handle = fd::duplicate(&self.handle, 0).map_err(os_error)?;
        #[expect(deprecated, reason = "unsound for a type that lies about its fd; an OwnedFd does not")]
        let handle = AsyncFd::with_interest(handle, Interest::READABLE)?;
        loop {
            if let Some(status) = self.try_wait() {
                return Ok(status);
            }
            handle.readable().await?.clear_ready();
        }
    }
}
