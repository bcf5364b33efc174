//! From a command to the files to try, as execvp(3) does it, and whether sockets are passed on.

use super::variable;
use alloc::vec::Vec;
use doula_model::id::Pid;

/// Where programs are looked for when there is no `PATH`.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The files that may be meant by a command's name, in the order in which they are tried.
pub fn candidates(name: &[u8], env: &[Vec<u8>]) -> Vec<Vec<u8>> {
    if name.is_empty() || name.contains(&b'/') {
        return Vec::from([name.to_vec()]);
    }
    let path = variable(env, "PATH").unwrap_or(DEFAULT_PATH);
    path.split(|byte| *byte == b':')
        .map(|dir| {
            let mut file = if dir.is_empty() { b".".to_vec() } else { dir.to_vec() };
            file.push(b'/');
            file.extend_from_slice(name);
            file
        })
        .collect()
}

/// Whether sockets were passed to us (sd_listen_fds(3)) that are meant for the main process: `LISTEN_PID`
/// names us, and the main process takes our place.
pub fn passes_sockets(env: &[Vec<u8>], own: Pid) -> bool {
    let named = variable(env, "LISTEN_PID").and_then(|value| core::str::from_utf8(value).ok()?.parse().ok());
    named == Some(own.get())
}
