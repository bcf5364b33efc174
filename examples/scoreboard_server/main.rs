//! A worker of a pool that writes on its scoreboard: HTTP, one connection at a time, at the socket that doula opened.

use doula::{shutdown::Shutdown, worker::Worker};
use std::io::{self, Read as _, Write as _};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 6\r\n\r\nhello\n";

fn main() -> io::Result<()> {
    let (worker, shutdown) = (Worker::of_pool()?, Shutdown::new()?);
    let listener = worker.listeners()?.into_iter().next().ok_or(io::ErrorKind::NotConnected)?;
    let stop = shutdown.stop();
    std::thread::spawn(move || shutdown.wait());
    while let Some((mut client, _)) = stop.accept(&listener)? {
        let _work = worker.work();
        // A client that has gone needs no answer.
        let _gone = client.read(&mut [0; 65_536]).and_then(|_| client.write_all(ANSWER));
    }
    Ok(())
}
