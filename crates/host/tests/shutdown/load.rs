//! A server under load ends, and the next one goes on with its socket.

use crate::harness::{Actor, role};
use doula_host::{ExitStatus, Signal, Stdio};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;

const CLIENTS: usize = 8;
/// So many answers are awaited from each server before the next step.
const ANSWERS: u64 = 400;

pub(crate) fn no_request_is_lost_when_a_server_ends_and_the_next_one_begins() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = listener.local_addr().expect("an address");
    let socket = OwnedFd::from(listener);
    let (stop, answers) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut told = 0;
    thread::scope(|scope| {
        let (progress, steps) = channel();
        let mut server = start(&socket);
        for _ in 0..CLIENTS {
            let progress = progress.clone();
            scope.spawn(|| client(address, &stop, &answers, progress));
        }
        drop(progress);
        for _generation in 0..3 {
            steps.iter().take(ANSWERS as usize).for_each(drop);
            // The next one accepts before this one has answered all that it took.
            server.signal(Signal::TERM);
            let next = start(&socket);
            told += conclude(std::mem::replace(&mut server, next));
        }
        stop.store(true, Ordering::Release);
        steps.iter().for_each(drop);
        server.signal(Signal::TERM);
        told += conclude(server);
    });
    assert!(told >= 3 * ANSWERS);
    assert_eq!(
        told,
        answers.load(Ordering::Acquire),
        "each answer of a server has reached its client as a whole"
    );
}

fn start(socket: &OwnedFd) -> Actor {
    let socket = socket.try_clone().expect("a duplicate");
    let mut actor = Actor::of(role("server").fd(3, Stdio::from(socket)));
    actor.expect("ready");
    actor
}

/// How many requests it has answered.
fn conclude(server: Actor) -> u64 {
    let (lines, end) = server.end();
    assert_eq!(end, ExitStatus::code(0), "{lines:?}");
    let count = lines[0].strip_prefix("answered ").and_then(|count| count.parse().ok());
    count.unwrap_or_else(|| panic!("{lines:?}"))
}

/// Asks again and again, on one connection as long as the server wants. Any request that fails is one lost.
fn client(address: SocketAddr, stop: &AtomicBool, answers: &AtomicU64, progress: Sender<()>) {
    while !stop.load(Ordering::Acquire) {
        let stream = TcpStream::connect(address).expect("somebody listens");
        let mut reader = BufReader::new(&stream);
        loop {
            (&stream).write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").expect("a request is taken");
            let last = answer(&mut reader).expect("a request is answered as a whole");
            answers.fetch_add(1, Ordering::AcqRel);
            // Nobody counts any more at the end.
            let _ = progress.send(());
            if last || stop.load(Ordering::Acquire) {
                break;
            }
        }
    }
}

/// Reads one answer; whether it is the last on this connection.
fn answer(reader: &mut BufReader<&TcpStream>) -> io::Result<bool> {
    let (mut last, mut length, mut line) = (false, None, String::new());
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end().split_once(": ") {
            Some(("Connection", how)) => last = how == "close",
            Some(("Content-Length", count)) => length = count.parse().ok(),
            _ if line.trim_end().is_empty() => break,
            _ => {}
        }
    }
    let mut body = vec![0; length.ok_or(io::ErrorKind::InvalidData)?];
    reader.read_exact(&mut body)?;
    Ok(last)
}
