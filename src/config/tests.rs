//! What a configuration means, and what is said about one that is wrong.

use super::*;
use doula_model::pool::{Bounds, Leak, Policy, Spare};
use doula_model::recipe::{Probe, ReadySign, SocketAddress};
use doula_model::service::{DependencyKind, Kind, Overlap, ReadyBy, RestartWhen};
use doula_model::signal::Signal;
use std::time::Duration;

/// The environment of every test.
fn inherited() -> Variables {
    let pairs = [("HOME", "/root"), ("PATH", "/usr/bin:/bin"), ("LC_ALL", "C"), ("SECRET", "s")];
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn parsed(text: &str) -> Result<FamilySpec, Problems> {
    let source = Source { name: "doula.toml".to_owned(), text: text.to_owned() };
    parse(source, Path::new("/srv/shop"), &inherited())
}

fn good(text: &str) -> FamilySpec {
    parsed(text).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn the_first_example_means_what_it_says() {
    let family = good(include_str!("../../examples/shop.toml"));
    assert_eq!(family.name, "shop");
    let names: Vec<&str> = family.services.iter().map(|(spec, _)| spec.name.as_str()).collect();
    assert_eq!(names, ["db", "web@1", "web@2", "nightly"]);
    let (db, recipe) = &family.services[0];
    assert_eq!(recipe.command, ["postgres", "-D", "data"]);
    assert_eq!(recipe.dir.as_deref(), Some("/srv/shop"));
    assert_eq!(recipe.ready, ReadySign::Probe(Probe::Tcp("127.0.0.1:5432".to_owned())));
    assert!(matches!(db.ready.by, ReadyBy::Probe(_)));
    assert_eq!((db.stop.signal, db.stop.grace), (Signal::INT, Duration::from_secs(30)));
    let (web, recipe) = &family.services[2];
    assert_eq!(web.restart.when, RestartWhen::Always);
    assert_eq!((web.deps[0].on.as_str(), web.deps[0].kind), ("db", DependencyKind::Requires));
    assert_eq!(recipe.sockets[0].address, SocketAddress::Tcp("127.0.0.1:8080".to_owned()));
    assert_eq!(recipe.env.get("DOULA_INSTANCE"), Some("2"));
    assert_eq!(recipe.env.get("RUST_LOG"), Some("info"));
    let (nightly, recipe) = &family.services[3];
    assert_eq!(nightly.kind, Kind::Scheduled { overlap: Overlap::Skip });
    assert_eq!(recipe.schedule.as_deref(), Some("0 3 * * * Europe/Berlin"));
}

#[test]
fn another_shell_makes_no_other_service_of_the_same_file() {
    let print = |text: &str, variables: &Variables| {
        let source = Source { name: "doula.toml".to_owned(), text: text.to_owned() };
        let family = parse(source, Path::new("/srv/shop"), variables);
        family.unwrap_or_else(|problems| panic!("{problems}")).services[0].0.fingerprint
    };
    let mut other = inherited();
    other.insert("PATH".to_owned(), "/elsewhere".to_owned());
    let file = |more: &str| format!("[service.a]\ncommand = 'b'\n{more}\n");
    for more in ["", "env-inherit = ['PATH']", "env = { A = 'x' }"] {
        assert_eq!(print(&file(more), &inherited()), print(&file(more), &other), "{more}");
    }
    let with_path = file("env = { A = '${PATH}' }");
    assert_ne!(print(&with_path, &inherited()), print(&with_path, &other));
    let prints = ["", "env-inherit = ['PATH']", "env-inherit = []", "env = { A = 'x' }"];
    let prints: std::collections::BTreeSet<u64> =
        prints.iter().map(|more| print(&file(more), &inherited())).collect();
    assert_eq!(prints.len(), 4);
}

#[test]
fn every_problem_of_a_file_is_told_at_once() {
    let problems =
        parsed("nmae = 1\n[service.a]\ncomand = 3\nnice = 99\n[service.1]\ncommand = 'b'\n").unwrap_err();
    let places: Vec<_> = problems.iter().filter_map(Problem::position).map(|(_, line, _)| line).collect();
    assert_eq!(places, [1, 2, 3, 4, 5], "{problems}");
}

#[test]
fn a_wrong_schedule_is_told_with_its_reason() {
    for (schedule, reason) in [
        ("61 * * * *", "value must be in range 0..=59; found 61"),
        ("0 3 * * * Mars/Base", "timezone Mars/Base"),
    ] {
        let text = format!("[service.a]\ncommand = 'b'\nschedule = '{schedule}'\n");
        let problems = parsed(&text).unwrap_err().to_string();
        assert!(problems.contains(reason) && !problems.contains("Wikipedia"), "{problems}");
    }
}

#[test]
fn a_procfile_runs_as_foreman_runs_it() {
    let text = "# shop\nweb: ./server -p $PORT\n\nworker:  sleep 100 # \n";
    let source = Source { name: "Procfile".to_owned(), text: text.to_owned() };
    let family =
        parse(source, Path::new("/srv/shop"), &inherited()).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(family.name, "shop");
    let (spec, recipe) = &family.services[1];
    assert_eq!((spec.name.as_str(), spec.essential, spec.restart.when), ("worker", true, RestartWhen::Never));
    assert_eq!(recipe.command, ["/bin/sh", "-c", "sleep 100 #"]);
    for variable in [("PORT", "5100"), ("PS", "worker.1"), ("HOME", "/root")] {
        assert_eq!(recipe.env.get(variable.0), Some(variable.1));
    }
}

#[test]
fn a_circle_is_printed_where_it_is_written() {
    let text = "[service.a]\ncommand='a'\nrequires=['b']\n[service.b]\ncommand='b'\nafter=['a']\n";
    let problems = parsed(text).unwrap_err();
    let problem = problems.iter().next().expect("a problem");
    assert_eq!(problem.title(), "services need each other in a circle: a -> b -> a");
    assert_eq!(problem.position(), Some(("doula.toml", 3, 11)));
}

#[test]
fn the_published_schema_is_up_to_date() {
    let published = include_str!("../../schema/doula.schema.json");
    assert!(published == schema(), "`doula check --schema > schema/doula.schema.json` writes it anew");
}

#[test]
fn a_pool_is_workers_of_one_kind_with_the_rules_of_their_pool() {
    let family = good(
        "[defaults]\nkind = 'oneshot'\n[pool.web]\ncommand = 'w'\nmin = 2\nmax = 9\nsurge = 2\npin = true\nscoreboard = true\n\
         max-leak = { memory = '1M' }\n\
         sockets = [{ tcp = '127.0.0.1:0' }]\npolicy = { by = 'apache', min-spare = 3 }\n\
         [service.proxy]\ncommand = 'p'\nrequires = ['web']\nkind = 'daemon'\n",
    );
    let (worker, recipe) = &family.services[0];
    let pool = worker.pool.as_ref().expect("its pool");
    assert_eq!((worker.name.as_str(), family.services.len()), ("web@1", 9 + 2 + 1));
    assert_eq!(pool.policy, Policy::Apache(Spare { min: 3, max: 10 }));
    assert_eq!((pool.bounds, pool.min_ready), (Bounds { start: 2, max: 9 }, Duration::from_secs(1)));
    assert_eq!((worker.kind, worker.restart.when), (Kind::Daemon, RestartWhen::Always));
    assert_eq!((worker.restart.limit, worker.autostart), (None, false));
    assert!(recipe.seat.is_some_and(|seat| seat.pin && !seat.own_sockets && seat.scoreboard));
    let leak = Leak { memory: 1 << 20, within: Duration::from_secs(3600) };
    assert_eq!((pool.recycle.leak, pool.scoreboard), (Some(leak), true));
    assert_eq!(family.services[11].0.deps.len(), 11, "on each of them");
}

#[test]
fn what_contradicts_itself_in_a_pool_is_told_where_it_stands() {
    for (keys, line, title) in [
        ("", 1, "a pool needs `workers` or `max`"),
        ("workers = 2\nmax = 3\n", 4, "`workers` is a fixed number, `max` is for one that follows the work"),
        ("min = 5\nmax = 3\nsockets = [{ tcp = ':0' }]\n", 3, "`min` is 5 and `max` is 3"),
        ("max = 3\n", 3, "nothing can be seen of the work of a pool without `sockets`"),
        (
            "max = 3\nreuseport = true\nsockets = [{ unix = 'a' }]\n",
            4,
            "a slot of its own for each socket needs",
        ),
        ("workers = 2\ninstances = 2\n", 4, "unknown key `instances`"),
        ("workers = 'many'\n", 3, "`many` means nothing here"),
        ("max = 2\npolicy = { by = 'apach' }\nsockets = [{ unix = 'a' }]\n", 4, "`apach` means nothing here"),
    ] {
        let problems = parsed(&format!("[pool.a]\ncommand = 'b'\n{keys}")).unwrap_err();
        let found = problems.iter().find(|problem| problem.title().starts_with(title));
        let place = found.and_then(Problem::position).map(|(_, line, _)| line);
        assert_eq!(place, Some(line), "{keys}: {problems}");
    }
    let twice = parsed("[service.a]\ncommand = 'b'\n[pool.a]\ncommand = 'b'\nworkers = 1\n").unwrap_err();
    assert!(twice.to_string().contains("`a` is a service already"), "{twice}");
}
