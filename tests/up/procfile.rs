//! A `Procfile` as it is, with the conventions of foreman.

use crate::family::{Family, Home, with_actors};

/// A folder with a Procfile, and an environment file if there is one.
fn home(procfile: &str, env: Option<&str>) -> Home {
    let home = Home::new("");
    std::fs::remove_file(home.dir.join("doula.toml")).expect("the configuration that is not wanted");
    std::fs::write(home.dir.join("Procfile"), with_actors(procfile)).expect("the Procfile");
    if let Some(env) = env {
        std::fs::write(home.dir.join(".env"), env).expect("the environment file");
    }
    home
}

fn up(home: Home) -> Family {
    let name = home.name.clone();
    Family::start(home, &["--name", &name])
}

#[test]
fn a_procfile_is_started_with_its_ports_its_numbers_and_its_environment_file() {
    for (env, ports) in [(None, [5000, 5100]), (Some("PORT=7000\nGREETING='good day'\n"), [7000, 7100])] {
        let mut family = up(home(
            "# two processes\nweb: echo \"$PS listens on $PORT\"; exec ACTORS/polite\n\
             worker: echo \"$PS on $PORT says ${GREETING:-nothing}\"; exec ACTORS/polite\n",
            env,
        ));
        family.expect("polite: ready");
        family.expect("polite: ready");
        let (code, lines) = family.shut_down();
        let said = if env.is_some() { "good day" } else { "nothing" };
        for line in [
            format!("web | web.1 listens on {}", ports[0]),
            format!("worker | worker.1 on {} says {said}", ports[1]),
            "web | polite: bye".to_owned(),
        ] {
            assert!(lines.iter().any(|told| told.starts_with(&line)), "no `{line}` in\n{}", lines.join("\n"));
        }
        assert_eq!(code, Some(0));
    }
}

#[test]
fn the_end_of_one_process_of_a_procfile_ends_all_with_its_code() {
    let (code, lines) = up(home("web: exec ACTORS/polite\ntask: exit 3\n", None)).end();
    assert_eq!(code, Some(3), "{}", lines.join("\n"));
}

#[test]
fn a_procfile_with_mistakes_is_refused_with_all_of_them() {
    let home = home("web: true\nno process\nweb: false\n", None);
    let said = home.doula(&["up"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    for part in ["Procfile:2:1", "name: command", "Procfile:3:1", "two processes have the name `web`"] {
        assert!(said.err.contains(part), "no `{part}` in {}", said.err);
    }
}
