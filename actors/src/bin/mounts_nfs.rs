//! `mounts_nfs PORT`: mounts a file system of NFS from a server at this port of the machine's own address, in a mount namespace of
//! its own. Says `mounts`, and why not when it does not, or no longer waits for the server. Needs root.

use actors::{number, say};
use doula_sys::stuck;

fn main() {
    let port = u16::try_from(number(1, 0)).expect("a port");
    say("mounts");
    if let Err(errno) = stuck::own_mounts().and_then(|()| stuck::mount_nfs(port, c"/")) {
        say(&errno.to_string());
    }
}
