//! Pools of workers that take datagrams, from one socket or from one for each slot.

use crate::bounded::PATIENCE;
use crate::family::Family;
use rustix::process::{Signal, pidfd_send_signal};
use std::collections::BTreeSet;
use std::net::UdpSocket;

fn free_port() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("its address").port()
}

/// A socket of its own, from which this text was sent.
fn client(port: u16, text: &str) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(("127.0.0.1", port)).expect("an address");
    socket.set_read_timeout(Some(PATIENCE)).expect("a limit");
    socket.send(text.as_bytes()).expect("room in the queue");
    socket
}

/// What it was answered: the slot, and the same text.
fn answer(client: &UdpSocket) -> (String, String) {
    let mut buffer = [0; 2048];
    let length = client.recv(&mut buffer).expect("an answer");
    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
    let (slot, text) = text.split_once(' ').expect("a slot and a text");
    (slot.to_owned(), text.to_owned())
}

fn pool(port: u16, more: &str) -> Family {
    let mut family = Family::up(&format!(
        "[pool.echo]\ncommand = \"ACTORS/udp_echo\"\nworkers = 2\nready = \"notify\"\n{more}\
         sockets = [{{ udp = \"127.0.0.1:{port}\" }}]\nrestart = {{ delay = \"10ms\" }}\n"
    ));
    family.expect("echo@1 started");
    assert_eq!(family.home.ctl(&["wait", "echo", "--until", "ready"]).code, Some(0));
    family
}

/// Sends one datagram after the other while the pool is rolled; each is answered.
fn roll(family: &mut Family, port: u16) {
    let under_way = std::thread::scope(|scope| {
        let rolled = scope.spawn(|| family.home.ctl(&["restart", "echo"]));
        let mut count = 0;
        while !rolled.is_finished() {
            assert_eq!(answer(&client(port, &count.to_string())).1, count.to_string());
            count += 1;
        }
        assert_eq!(rolled.join().expect("it ran").code, Some(0));
        count
    });
    assert!(under_way > 0);
    family.expect("echo has replaced 2 in ");
}

#[test]
fn workers_that_share_a_socket_answer_each_datagram_also_while_they_are_replaced() {
    let port = free_port();
    let mut family = pool(port, "");
    roll(&mut family, port);
    assert_eq!(family.shut_down().0, Some(0));
}

#[test]
fn datagrams_that_wait_in_a_slots_own_socket_are_answered_by_the_next_worker_of_that_slot() {
    let port = free_port();
    let mut family = pool(port, "reuseport = true\n");
    let workers = ["echo@1", "echo@2"].map(|name| family.main_of(name));
    workers.iter().for_each(|worker| pidfd_send_signal(worker, Signal::STOP).expect("to stop it"));
    // The kernel deals them out by the address of who sends.
    let clients: Vec<UdpSocket> = (0..24).map(|number| client(port, &number.to_string())).collect();
    workers.iter().for_each(|worker| pidfd_send_signal(worker, Signal::KILL).expect("to kill it"));
    let answers: Vec<(String, String)> = clients.iter().map(answer).collect();
    for (number, (_, text)) in answers.iter().enumerate() {
        assert_eq!(*text, number.to_string());
    }
    let slots: BTreeSet<&str> = answers.iter().map(|(slot, _)| slot.as_str()).collect();
    assert_eq!(slots, BTreeSet::from(["1", "2"]), "each slot has a queue of its own");
    roll(&mut family, port);
    family.shut_down();
}

#[test]
fn a_datagram_that_nobody_takes_brings_one_more_worker() {
    let port = free_port();
    let mut family = Family::up(&format!(
        "[pool.echo]\nshell = true\ncommand = \"exec sleep 1000\"\nmin = 1\nmax = 2\nmin-ready = \"0s\"\n\
         sockets = [{{ udp = \"127.0.0.1:{port}\" }}]\n"
    ));
    family.expect("echo@1 started");
    let _waits = client(port, "anybody?");
    family.expect("echo grows from 1 to 2 workers, because connections wait");
    family.shut_down();
}
