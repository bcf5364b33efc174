//! The process: its line to doula, and which of its two works it does.

use crate::wire::{self, Frames};
use crate::words::{Ask, Tell};
use crate::{submitter, worker};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net;
use std::process::ExitCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

/// A question, with its bytes.
pub(crate) type Asked = (Ask, Vec<u8>);

/// Where answers go.
#[derive(Clone, Debug)]
pub(crate) struct Tells(UnboundedSender<Vec<u8>>);

impl Tells {
    /// Tells doula; nobody hears it when doula is gone.
    pub(crate) fn tell(&self, tell: &Tell, body: &[u8]) {
        if let Ok(frame) = wire::frame(tell, body) {
            drop(self.0.send(frame));
        }
    }

    /// Something for people.
    pub(crate) fn note(&self, text: impl Into<String>) {
        self.tell(&Tell::Note(text.into()), b"");
    }
}

/// Does what doula asks for on standard input, until that ends.
///
/// # Panics
/// Never: the code is 125 when there is nobody to serve.
#[must_use]
pub fn serve() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let served = runtime.and_then(|runtime| runtime.block_on(talk()));
    if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(125) }
}

async fn talk() -> io::Result<()> {
    let (input, output) = (stream(io::stdin())?, stream(io::stdout())?);
    let (sender, mut asks) = unbounded_channel();
    let reader = tokio::spawn(read(input, sender));
    let (sender, frames) = unbounded_channel();
    let writer: JoinHandle<()> = tokio::spawn(write(output, frames));
    let tells = Tells(sender);
    let refused = match asks.recv().await {
        Some((Ask::Work { login, name, lease }, _)) => {
            worker::work(&login, (name, lease), asks, &tells).await
        }
        Some((Ask::Submit { login, run, most }, _)) => {
            submitter::submit(&login, (run, most), asks, &tells).await
        }
        _ => return Err(io::Error::other("doula-gateway is started by doula alone")),
    };
    if let Err(refused) = refused {
        tells.tell(&refused, b"");
    }
    drop(tells);
    reader.abort();
    writer.await.map_err(io::Error::other)
}

fn stream(end: impl AsFd) -> io::Result<UnixStream> {
    let stream = net::UnixStream::from(end.as_fd().try_clone_to_owned()?);
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

async fn read(mut from: UnixStream, to: UnboundedSender<Asked>) {
    let (mut frames, mut piece) = (Frames::default(), vec![0; 64 << 10]);
    loop {
        while let Ok(Some(asked)) = frames.next() {
            if to.send(asked).is_err() {
                return;
            }
        }
        match from.read(&mut piece).await {
            Ok(0) | Err(_) => return,
            Ok(read) => frames.push(piece.get(..read).unwrap_or_default()),
        }
    }
}

async fn write(mut to: UnixStream, mut frames: UnboundedReceiver<Vec<u8>>) {
    while let Some(mut frame) = frames.recv().await {
        // All that is ready goes out together.
        while let Ok(more) = frames.try_recv() {
            frame.extend_from_slice(&more);
        }
        if to.write_all(&frame).await.is_err() {
            return;
        }
    }
}
