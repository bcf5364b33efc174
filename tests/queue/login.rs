//! Who gets in: files of credentials, nkeys, and addresses that are none.

use super::*;

/// An operator, an account with JetStream and a user of it, all of them made for this test.
const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/queue/login/server.conf");
const CREDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/queue/login/user.creds");

/// The nkey of a user, and its seed, made for this test.
const NKEY: &str = "UCV5LKPTXHNG4EE36HZC46P3AVCJLL2SH74UQ7EDDXWISUDE5UXE3BQF";
const SEED: &str = "SUAA525DVAFB7PVDT64XKV7IUNDBRDQLJRASKW5JW3LCWZFXVM4BGHKQEA";

/// With these options a job is done; without them, and with `wrong` ones, the login is refused.
fn assert_opened_by(server: &Server, option: &str, file: &str, variable: &str) {
    let _worker = server.worker(&["-j", "1", option, file]);
    let said = server.submit(&[option, file, "echo", ":::", "in"]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "in\n"), "{}", said.err);
    let mut by_variable = Command::new(DOULA);
    by_variable.env(variable, file).args(["run", "--submit", "--queue", &server.url(), "echo", ":::", "too"]);
    let said = run(&mut by_variable).expect("doula starts");
    assert_eq!((said.code, said.out.as_str()), (Some(0), "too\n"), "{}", said.err);
    let said = server.submit(&["echo", ":::", "out"]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("refused the login") && said.err.lines().count() == 1, "{}", said.err);
    let said = server.submit(&[option, "/nowhere/at-all", "echo", ":::", "out"]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("/nowhere/at-all"), "{}", said.err);
}

#[test]
fn a_file_of_credentials_opens_the_queue_of_its_account() {
    let Some(server) = Server::new("creds", &["-c", SERVER]) else { return };
    assert_opened_by(&server, "--creds", CREDS, "NATS_CREDS");
    let scratch = Scratch::new("creds-empty");
    std::fs::write(scratch.path("empty"), "").expect("a file");
    let said = server.submit(&["--creds", &scratch.path("empty"), "echo", ":::", "out"]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("has no credentials"), "{}", said.err);
}

#[test]
fn the_seed_of_an_nkey_opens_a_queue() {
    let scratch = Scratch::new("nkey-files");
    let (config, seed) = (scratch.path("server.conf"), scratch.path("seed"));
    std::fs::write(&config, format!("authorization {{ users: [ {{ nkey: {NKEY} }} ] }}\n")).expect("a file");
    std::fs::write(&seed, format!("{SEED}\n")).expect("a file");
    let Some(server) = Server::new("nkey", &["-c", &config]) else { return };
    assert_opened_by(&server, "--nkey", &seed, "NATS_NKEY");
}

#[test]
fn a_wrong_scheme_is_named_with_the_right_ones() {
    for url in ["htp://127.0.0.1:4222", "http://127.0.0.1/q", "nats://a,redis://b"] {
        let said = run(doula().args(["worker", "--queue", url])).expect("doula starts");
        assert_eq!(said.code, Some(2));
        let scheme = url.rsplit(',').next().and_then(|url| url.split_once("://")).expect("a scheme").0;
        assert!(
            said.err.starts_with(&format!("error: `{scheme}://` is no address of a NATS server")),
            "{}",
            said.err
        );
        assert!(said.err.contains("nats://") && said.err.contains("tls://"), "{}", said.err);
    }
}
