//! `doula ctl attach`: the input and the terminal of a service.

use crate::family::{Family, Home};
use crate::terminal::Terminal;

/// `doula ctl attach` at a terminal of the user's.
fn attach(home: &Home, service: &str) -> Terminal {
    let mut command = home.command("setsid");
    command.args(["--ctty", "--wait", env!("CARGO_BIN_EXE_doula"), "ctl", "--name", &home.name]);
    command.args(["attach", service]);
    Terminal::run(command)
}

#[test]
fn a_new_size_of_the_users_terminal_reaches_the_service_at_once() {
    let mut family = Family::up(
        "[service.shell]\nshell = true\nstdin = \"terminal\"\n\
         command = \"trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done\"\n",
    );
    family.expect("shell | ready");
    let mut user = attach(&family.home, "shell");
    user.expect("attached; Ctrl-] detaches");
    user.expect("24 80");
    user.resize(33, 101);
    user.expect("33 101");
    user.types("\x1d");
    assert_eq!(user.end().1.code(), Some(0));
    assert_eq!(family.status("shell")["state"], "up", "the service goes on");
    family.shut_down();
}

#[test]
fn what_is_typed_reaches_the_terminal_or_the_pipe_of_a_service_and_its_answer_the_user() {
    for kind in ["terminal", "pipe"] {
        let mut family = Family::up(&format!(
            "[service.echo]\nshell = true\nstdin = \"{kind}\"\n\
             command = \"echo ready; while read -r line; do echo \\\"heard $line\\\"; done\"\n"
        ));
        family.expect("echo | ready");
        let mut user = attach(&family.home, "echo");
        user.expect("attached; Ctrl-] detaches");
        user.types("good day\n");
        user.expect("heard good day");
        family.expect("echo | heard good day");
        user.types("\x1d");
        assert_eq!(user.end().1.code(), Some(0), "{kind}");
        family.shut_down();
    }
}

#[test]
fn a_service_without_an_input_cannot_be_attached_to() {
    let mut family = Family::up("[service.web]\ncommand = \"ACTORS/polite\"\n");
    family.expect("polite: ready");
    let said = family.home.ctl(&["attach", "web"]);
    assert!(said.code == Some(2) && said.err.contains("stdin = \"pipe\""), "{said:?}");
    family.shut_down();
}
