//! `udp_echo`: answers each datagram at the socket of LISTEN_FDS with its slot and what it got. On SIGTERM it answers those
//! that wait, and ends with 0.

use actors::{Inbox, notify, say};
use doula_sys::poll::{Epoll, Happening, Interest};
use std::net::UdpSocket;

const SIGNALS: u64 = 1;
const SOCKET: u64 = 2;

fn main() {
    let inbox = Inbox::holding(&["TERM"]);
    let socket = UdpSocket::from(doula_sys::fd::inherited(3).expect("a socket"));
    socket.set_nonblocking(true).expect("a socket that does not block");
    let epoll = Epoll::new().expect("an epoll");
    epoll.add(inbox.fd(), Interest::READ, SIGNALS).expect("signals to wait for");
    epoll.add(&socket, Interest::READ, SOCKET).expect("datagrams to wait for");
    notify("READY=1", &[]);
    let mut room = [Happening::EMPTY; 2];
    loop {
        let happened = epoll.wait(&mut room, None).expect("something to happen");
        let over = happened.iter().any(|happening| happening.token() == SIGNALS);
        answer(&socket);
        if over {
            return say("udp_echo: bye");
        }
    }
}

/// Answers all that wait.
fn answer(socket: &UdpSocket) {
    let slot = std::env::var("DOULA_SLOT").unwrap_or_default();
    let mut buffer = [0; 2048];
    while let Ok((length, client)) = socket.recv_from(&mut buffer) {
        let answer = [slot.as_bytes(), b" ", &buffer[..length]].concat();
        // Whoever asked may be gone.
        let _gone = socket.send_to(&answer, client);
    }
}
