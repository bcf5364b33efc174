//! Waiting for a shutdown in tasks of tokio: its fds among those of the runtime, no thread, no signal handler of tokio's.

use super::{Report, Shutdown, Stop};
use crate::child::os_error;
use doula_sys::fd::{self, AsFd, OwnedFd};
use std::io;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

impl Shutdown {
    /// As [`Shutdown::wait`], in a task of tokio (feature `tokio`). It can be given up and begun again. The runtime must have its
    /// I/O driver switched on.
    ///
    /// # Errors
    /// As [`Shutdown::wait`]; and what the runtime says when it cannot watch the fd.
    ///
    /// ```
    /// use doula_host::shutdown::{Phase, Shutdown};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    /// let report = runtime.block_on(async {
    ///     let shutdown = Shutdown::settings().signals([]).install()?;
    ///     let (stop, hold) = (shutdown.stop(), shutdown.at(Phase::FinishPending).hold("a task"));
    ///     tokio::spawn(async move {
    ///         let reached = stop.reached().await;
    ///         drop(hold);                             // the last request is answered
    ///         reached
    ///     });
    ///     shutdown.ask()?;
    ///     shutdown.wait_async().await
    /// })?;
    /// assert!(report.is_clean());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn wait_async(&self) -> io::Result<Report> {
        let handle = watched(self)?;
        loop {
            self.inner.turn()?;
            if let Some(report) = self.inner.report() {
                return Ok(report);
            }
            handle.readable().await?.clear_ready();
        }
    }
}

impl Stop {
    /// As [`Stop::wait`], in a task of tokio (feature `tokio`).
    ///
    /// # Errors
    /// What the runtime says when it cannot watch the fd.
    ///
    /// ```
    /// # use doula_host::shutdown::Shutdown;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    /// let shutdown = Shutdown::settings().signals([]).install()?;
    /// shutdown.ask()?;
    /// shutdown.take_events()?;
    /// runtime.block_on(async { shutdown.stop().reached().await })?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn reached(&self) -> io::Result<()> {
        let handle = watched(self)?;
        handle.readable().await.map(drop)
    }
}

fn watched(fd: &impl AsFd) -> io::Result<AsyncFd<OwnedFd>> {
    let handle = fd::duplicate(fd, 0).map_err(os_error)?;
    #[expect(deprecated, reason = "unsound for a type that lies about its fd; an OwnedFd does not")]
    AsyncFd::with_interest(handle, Interest::READABLE)
}
