//! What cannot be done is said once, clearly, and with the right exit code.

use crate::family::{Family, Home};

#[test]
fn bad_input_is_refused_with_all_its_problems_before_anything_starts() {
    for (configuration, parts) in [
        (
            "[service.a]\ncommand = \"true\"\nrestart = \"sometimes\"\nnice = 99\n[service.b]\ncomand = \"true\"\n",
            &["sometimes", "nice", "comand"][..],
        ),
        (
            "[service.a]\ncommand = \"true\"\nrequires = [\"b\"]\n[service.b]\ncommand = \"true\"\nrequires = [\"a\"]\n",
            &["a", "b", "circle"],
        ),
        ("[service.a]\ncommand = \"true\"\nuser = \"nobody-of-this-name\"\n", &["nobody-of-this-name"]),
    ] {
        let home = Home::new(configuration);
        let said = home.doula(&["up"]);
        assert_eq!((said.code, &*said.out), (Some(2), ""), "{said:?}");
        for part in parts {
            assert!(said.err.contains(part), "no `{part}` in {}", said.err);
        }
        home.expect_nothing_left();
    }
}

#[test]
fn a_program_that_cannot_be_executed_is_named_with_the_reason() {
    for (command, reason) in [
        ("/nowhere/at-all", "`/nowhere/at-all` does not exist"),
        ("/etc/passwd", "`/etc/passwd` is not executable"),
    ] {
        let (code, lines) =
            Family::up(&format!("[service.web]\ncommand = \"{command}\"\nrestart = \"never\"\n")).end();
        assert!(lines.iter().any(|line| line.contains(reason)), "{}", lines.join("\n"));
        assert_eq!(code, Some(1));
    }
}

#[test]
fn of_two_supervisors_with_one_name_the_second_is_refused() {
    let mut family = Family::up("[service.web]\ncommand = \"ACTORS/polite\"\n");
    family.expect("polite: ready");
    let said = family.home.doula(&["up"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains(&family.home.name), "{said:?}");
    assert_eq!(family.status("web")["state"], "up");
    family.shut_down();
}

#[test]
fn a_port_that_is_in_use_is_refused_with_its_holder() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = holder.local_addr().expect("its address").port();
    let home = Home::new(&format!(
        "[service.web]\ncommand = \"true\"\nsockets = [{{ name = \"http\", tcp = \"127.0.0.1:{port}\" }}]\n"
    ));
    let said = home.doula(&["up"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    let us = std::process::id().to_string();
    assert!(said.err.contains(&port.to_string()) && said.err.contains(&us), "{said:?}");
    home.expect_nothing_left();
}
