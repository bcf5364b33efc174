//! A server of NFS that never answers.

use super::{Made, doctor, doula, skipped, soon};
use serde_json::{Value, json};
use std::io::Read as _;
use std::net::TcpListener;

/// The wait for the server, or what `mounts_nfs` said at its end.
fn wait(made: &mut Made) -> Result<Value, String> {
    soon(|| {
        if made.child.try_wait().expect("our child").is_some() {
            let mut why = String::new();
            made.child.stdout.as_mut().expect("a pipe").read_to_string(&mut why).expect("text");
            return Some(Err(why));
        }
        let said = doula(&["doctor", &made.pid(), "--json"]);
        let found: Value = serde_json::from_str(&said.out).ok()?;
        found["waits"].as_array()?.iter().find(|wait| wait["on"] == "nfs").cloned().map(Ok)
    })
}

#[test]
fn who_waits_for_a_server_of_nfs_is_told_which_one_and_sigkill_works() {
    // It takes connections, and says nothing.
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = server.local_addr().expect("its address").port().to_string();
    let mut made = Made::actor("mounts_nfs", &[&port]);
    let wait = match wait(&mut made) {
        Ok(wait) => wait,
        Err(why) => {
            return skipped(&format!("no NFS in this kernel, or none that we may mount: {}", why.trim()));
        }
    };
    assert_eq!((&wait["call"], &wait["kill"]), (&json!("mount"), &json!("works")), "{wait}");
    let told = wait["told"].as_str().expect("a sentence");
    assert!(told.starts_with("waits for the server 127.0.0.1 of the NFS mount / (nfs)"), "{told}");
    assert_eq!(doctor(&made.pid()).1["state"], json!("D"));
    let killed = doula(&["kill", "--now", &made.pid()]);
    assert!(killed.code == Some(0) && killed.out.contains("SIGKILL"), "{killed:?}");
}
