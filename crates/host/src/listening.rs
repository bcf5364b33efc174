//! The kernel's tables of sockets: which ones have an address for themselves.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// The states of `/proc/net/tcp` and `/proc/net/udp` in which a socket has its port for itself.
const TCP_LISTEN: &str = "0A";
#[cfg(feature = "supervisor")]
const UDP_UNCONNECTED: &str = "07";

/// The sockets that listen at one of these places, as `/proc/PID/fd` names them.
pub(crate) fn tcp(places: &[SocketAddr]) -> Vec<PathBuf> {
    of_net(&["/proc/net/tcp", "/proc/net/tcp6"], TCP_LISTEN, places)
}

/// The same for datagrams.
#[cfg(feature = "supervisor")]
pub(crate) fn udp(places: &[SocketAddr]) -> Vec<PathBuf> {
    of_net(&["/proc/net/udp", "/proc/net/udp6"], UDP_UNCONNECTED, places)
}

/// How `/proc/PID/fd` names a socket.
pub(crate) fn name(inode: &str) -> PathBuf {
    format!("socket:[{inode}]").into()
}

fn of_net(tables: &[&str], state: &str, places: &[SocketAddr]) -> Vec<PathBuf> {
    let tables: Vec<String> = tables.iter().filter_map(|table| fs::read_to_string(table).ok()).collect();
    let inodes = tables.iter().flat_map(|table| table.lines()).filter_map(|line| inode(line, state, places));
    inodes.map(name).collect()
}

/// The inode of the socket in this line, if it stands in the way of one of these places.
fn inode<'l>(line: &'l str, state: &str, places: &[SocketAddr]) -> Option<&'l str> {
    // sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode
    let words: Vec<&str> = line.split_whitespace().collect();
    let (local, found, inode) = (words.get(1)?, words.get(3)?, words.get(9)?);
    let (host, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let host = address(host)?;
    let in_the_way = |place: &SocketAddr| {
        let same = host.to_canonical() == place.ip().to_canonical();
        place.port() == port && (same || host.is_unspecified() || place.ip().is_unspecified())
    };
    (*found == state && places.iter().any(in_the_way)).then_some(*inode)
}

/// An address of `/proc/net`: words of four bytes, each in the order of the machine.
fn address(text: &str) -> Option<IpAddr> {
    let mut bytes = Vec::new();
    for place in (0..text.len()).step_by(8) {
        let word = u32::from_str_radix(text.get(place..place + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let four = <[u8; 4]>::try_from(bytes.as_slice()).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes.as_slice()).map(IpAddr::from)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_kernels_table_is_matched_by_port_and_address() {
        let line = |local: &str, state: &str| {
            format!(
                "   0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  0 0 4711 1 x"
            )
        };
        let loopback = format!("{:08X}:1F90", u32::from_ne_bytes([127, 0, 0, 1]));
        let any = "00000000:1F90";
        let cases = [
            (loopback.as_str(), "0A", "127.0.0.1:8080", true),
            (any, "0A", "127.0.0.1:8080", true),
            (&loopback, "0A", "[::]:8080", true),
            (&loopback, "0A", "127.0.0.2:8080", false),
            (&loopback, "0A", "127.0.0.1:8081", false),
            (&loopback, "01", "127.0.0.1:8080", false),
        ];
        for (local, state, place, matches) in cases {
            let place = place.parse().expect("an address");
            assert_eq!(
                inode(&line(local, state), TCP_LISTEN, &[place]).is_some(),
                matches,
                "{local} {place}"
            );
        }
        assert_eq!(inode("sl local_address", TCP_LISTEN, &[]), None);
    }
}
