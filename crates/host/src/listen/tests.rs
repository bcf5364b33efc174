//! Sockets on loopback and in directories of their own.
#![expect(clippy::print_stdout, reason = "a test that is skipped says why")]

use super::*;
use crate::logs::test_directory::Scratch;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};

fn tcp(address: impl ToString) -> Socket {
    Socket { name: "web".into(), address: SocketAddress::Tcp(address.to_string()), backlog: 16 }
}

fn unix(path: &Path, mode: u32) -> Socket {
    let path = path.to_str().expect("UTF-8").to_owned();
    Socket { name: "control".into(), address: SocketAddress::Unix { path, mode }, backlog: 16 }
}

fn opened(list: &[Socket]) -> Result<Sockets, ListenError> {
    let mut sockets = Sockets::default();
    sockets.apply(list).map(|()| sockets)
}

/// A port of loopback that is free now.
fn free_port(host: &str) -> Option<u16> {
    Some(TcpListener::bind((host, 0)).ok()?.local_addr().ok()?.port())
}

#[test]
fn a_tcp_socket_takes_connections_over_both_kinds_of_addresses() {
    for host in ["127.0.0.1", "::1"] {
        let Some(port) = free_port(host) else {
            println!("skipped: no {host} here");
            continue;
        };
        let place = SocketAddr::new(host.parse().expect("an address"), port);
        let sockets = opened(&[tcp(place)]).expect("listen");
        let (name, fd) = sockets.fds().next().expect("one");
        assert_eq!(name, "web");
        let listener = TcpListener::from(fd.try_clone_to_owned().expect("dup"));
        TcpStream::connect(place).expect("connect").write_all(b"hello").expect("write");
        let mut text = String::new();
        listener.accept().expect("accept").0.read_to_string(&mut text).expect("read");
        assert_eq!(text, "hello");
    }
}

#[test]
fn a_port_that_is_taken_is_told_with_the_one_who_has_it() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = taken.local_addr().expect("address").to_string();
    let error = opened(&[tcp(&address)]).expect_err("taken").to_string();
    let by_us = format!("{address} is in use by pid {} (", std::process::id());
    assert!(error.starts_with(&by_us), "{error}");

    let taken = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let address = taken.local_addr().expect("address").to_string();
    let udp = Socket { address: SocketAddress::Udp(address.clone()), ..tcp("") };
    let error = opened(core::slice::from_ref(&udp)).expect_err("taken").to_string();
    assert!(error.starts_with(&format!("{address} is in use by pid ")), "{error}");
    drop(taken);
    assert_eq!(opened(&[udp]).expect("free now").fds().count(), 1);
}

#[test]
fn addresses_are_understood_without_asking_a_name_server() {
    let hosts = "127.0.0.1 localhost # here\n::1 localhost ip6-localhost\n10.0.0.1\tBox box.example\n";
    assert_eq!(in_hosts(hosts, "box"), ["10.0.0.1".parse::<IpAddr>().expect("an address")]);
    assert_eq!(in_hosts(hosts, "localhost").len(), 2);
    assert_eq!(in_hosts(hosts, "here"), Vec::<IpAddr>::new());
    assert_eq!(resolve("*:80").expect("any").len(), 2);
    assert_eq!(resolve("[::1]:80").expect("IPv6").len(), 1);
    for (address, reason) in [
        ("80", "want host:port"),
        ("localhost:http", "want a port"),
        ("no.such.host.example:80", "/etc/hosts"),
    ] {
        let error = resolve(address).expect_err(address).to_string();
        assert!(error.contains(address) && error.contains(reason), "{error}");
    }
    let error = opened(&[tcp("192.0.2.1:80")]).expect_err("not ours").to_string();
    assert!(error.contains("192.0.2.1:80: EADDRNOTAVAIL"), "{error}");
}

#[test]
fn a_socket_file_has_its_mode_and_goes_with_the_socket() {
    let scratch = Scratch::new();
    let path = scratch.path("web.sock");
    let sockets = opened(&[unix(&path, 0o620)]).expect("listen");
    assert_eq!(fs::metadata(&path).expect("stat").mode() & 0o777, 0o620);
    UnixStream::connect(&path).expect("connect");
    drop(sockets);
    assert!(scratch.names().is_empty());
}

#[test]
fn a_dead_socket_file_is_replaced_and_a_live_one_is_left_alone() {
    let scratch = Scratch::new();
    let path = scratch.path("web.sock");
    drop(UnixListener::bind(&path).expect("bind"));
    assert_eq!(scratch.names(), ["web.sock"], "it is left over");
    let sockets = opened(&[unix(&path, 0o600)]).expect("replaced");
    let error = opened(&[unix(&path, 0o600)]).expect_err("alive").to_string();
    let by_us = format!("{} is in use by pid {} (", path.display(), std::process::id());
    assert!(error.starts_with(&by_us), "{error}");
    UnixStream::connect(&path).expect("still there");
    drop(sockets);

    let datagram = UnixDatagram::bind(&path).expect("bind");
    assert!(matches!(opened(&[unix(&path, 0o600)]), Err(ListenError::InUse { .. })));
    drop(datagram);
    fs::remove_file(&path).expect("remove");
    fs::write(&path, "precious").expect("write");
    assert!(matches!(opened(&[unix(&path, 0o600)]), Err(ListenError::NotASocket { .. })));
    assert_eq!(scratch.text("web.sock"), "precious");
    let error = opened(&[unix(&scratch.path(&"x".repeat(200)), 0o600)]).expect_err("too long");
    assert!(error.to_string().contains("ENAMETOOLONG"), "{error}");
}

#[test]
fn a_socket_that_stays_in_the_configuration_keeps_its_connections() {
    let scratch = Scratch::new();
    let (one, two) = (scratch.path("one.sock"), scratch.path("two.sock"));
    let mut sockets = opened(&[unix(&one, 0o600)]).expect("listen");
    let mut waiting = UnixStream::connect(&one).expect("connect");
    let renamed = Socket { name: "renamed".into(), backlog: 1, ..unix(&one, 0o660) };
    sockets.apply(&[unix(&two, 0o600), renamed.clone()]).expect("apply");
    let names: Vec<_> = sockets.fds().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(names, ["control", "renamed"]);
    assert_eq!(fs::metadata(&one).expect("stat").mode() & 0o777, 0o660);
    let kept = sockets.fds().nth(1).expect("two").1.try_clone_to_owned().expect("dup");
    waiting.write_all(b"x").expect("write");
    UnixListener::from(kept).accept().expect("accept").0.read_exact(&mut [0]).expect("read");

    fs::write(scratch.path("file"), "").expect("write");
    assert!(sockets.apply(&[unix(&scratch.path("file"), 0o600)]).is_err());
    assert_eq!(sockets.fds().count(), 2, "everything is as before");
    sockets.apply(&[renamed]).expect("apply");
    assert_eq!(scratch.names(), ["file", "one.sock"]);
}

#[test]
fn the_variables_name_the_fds_in_their_order() {
    let [count, names] = variables(["web", "stored"].into_iter());
    assert_eq!(count, ("LISTEN_FDS".to_owned(), "2".to_owned()));
    assert_eq!(names, ("LISTEN_FDNAMES".to_owned(), "web:stored".to_owned()));
}

#[test]
fn instances_of_a_service_accept_from_one_queue() {
    let Some(port) = free_port("127.0.0.1") else { panic!("loopback has free ports") };
    let place = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
    let shared = Shared::default();
    let mut instances = [Sockets::sharing(&shared), Sockets::sharing(&shared)];
    for sockets in &mut instances {
        sockets.apply(&[tcp(place)]).expect("the same address is no conflict within the family");
    }
    let listeners = instances.map(|sockets| {
        let (_, fd) = sockets.fds().next().expect("one");
        TcpListener::from(fd.try_clone_to_owned().expect("dup"))
    });
    // The first connection is taken by the second instance: there is one queue.
    let _client = TcpStream::connect(place).expect("connect");
    listeners[1].accept().expect("it is in the queue of both");
    drop(listeners);
    TcpListener::bind(place).expect("with the last instance the socket is closed");
}
