//! Facts about command lines, routes, and the life of a family.

use super::*;
use alloc::string::ToString;
use doula_model::exit::ExitStatus;
use doula_model::id::Pid;
use doula_model::service::Scope;
use doula_model::time::Time;

fn words(line: &str) -> Vec<Vec<u8>> {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

fn run(line: &str, env: &[&str]) -> Options {
    let words = words(line);
    let env: Vec<_> = env.iter().map(|entry| entry.as_bytes().to_vec()).collect();
    match parse(Face::of(&words[0]), &words, &env) {
        Ok(options) => options,
        Err(say) => panic!("{line}: {}", say.text),
    }
}

fn say(line: &str) -> Say {
    let words = words(line);
    parse(Face::of(&words[0]), &words, &[]).expect_err(line)
}

fn signal(name: &str) -> Signal {
    name.parse().expect(name)
}

#[test]
fn the_name_chooses_the_dialect() {
    for (name, face) in [
        ("tini", Face::Tini),
        ("/sbin/tini-static", Face::Tini),
        ("/usr/bin/dumb-init", Face::DumbInit),
        ("/doula-init", Face::Native),
        ("", Face::Native),
    ] {
        assert_eq!(Face::of(name.as_bytes()), face, "{name}");
    }
}

#[test]
fn the_command_begins_at_the_first_word_that_is_no_option() {
    for line in [
        "doula-init ls -l --color",
        "doula-init -- ls -l --color",
        "tini ls -l --color",
        "dumb-init ls -l --color",
    ] {
        assert_eq!(run(line, &[]).command, words("ls -l --color"), "{line}");
    }
    assert_eq!(run("tini -- -- true", &[]).command, words("-- true"));
}

#[test]
fn by_default_only_sigterm_goes_to_everybody_and_the_leftovers_have_five_seconds() {
    let options = run("doula-init true", &[]);
    let scope = |name| options.routes.route(signal(name)).map(|delivery| delivery.scope);
    assert_eq!(scope("TERM"), Some(Scope::Tree));
    for name in ["HUP", "INT", "USR1", "WINCH", "CONT", "RTMIN+3"] {
        assert_eq!(scope(name), Some(Scope::Main), "{name}");
    }
    assert_eq!(options.patience, Patience { grace: None, leftovers: Some(LEFTOVER_GRACE) });
    assert!(options.subreaper && !options.keep_signals);
}

#[test]
fn every_option_of_our_own_is_understood() {
    let line = "doula-init --to all -r TERM:QUIT -r 1:0 --session group --grace 30s --leftovers=500ms -e 143 \
                --remap 3:4 --die-by-signal --no-subreaper -p KILL -wvv -- true";
    let options = run(line, &[]);
    let all = |signal| Some(Delivery { signal, scope: Scope::Tree, or_stop: false });
    assert_eq!(options.routes.route(Signal::TERM), all(Signal::QUIT));
    assert_eq!(options.routes.route(Signal::HUP), None);
    assert_eq!(options.routes.route(Signal::TSTP), all(Signal::TSTP), "a group needs no SIGSTOP instead");
    assert_eq!(options.standing, Standing::Group);
    assert_eq!(options.patience.grace, Some(Duration::from_secs(30)));
    assert_eq!(options.patience.leftovers, Some(Duration::from_millis(500)));
    assert_eq!(options.remap, [(143, 0), (3, 4)]);
    assert!(options.die_by_signal && !options.subreaper && options.tell_orphans);
    assert_eq!((options.parent_death_signal, options.verbosity), (Some(Signal::KILL), 3));
    assert_eq!(run("doula-init --leftovers off true", &[]).patience.leftovers, None);
    assert_eq!(run("doula-init --session keep -q true", &[]).standing, Standing::Ours);
}

#[test]
fn wrong_options_say_what_is_wrong_and_end_with_2() {
    for (line, what) in [
        ("doula-init", "the command is missing"),
        ("doula-init --", "the command is missing"),
        ("doula-init --yolo true", "unknown option `--yolo`"),
        ("doula-init -x true", "unknown option `-x`"),
        ("doula-init --to nobody true", "expected auto, main, group or all"),
        ("doula-init --grace soon true", "expected 30s, 500ms, 2m or off"),
        ("doula-init -e 256 true", "expected 0 to 255"),
        ("doula-init --remap 3 true", "expected FROM:TO"),
        ("doula-init -r KILL:TERM true", "never arrives here"),
        ("doula-init -r FOO:TERM true", "`FOO` is no signal"),
        ("doula-init -p", "needs a value"),
        ("doula-init --quiet=yes true", "takes no value"),
    ] {
        let say = say(line);
        assert!(say.text.contains(what), "{line}: {}", say.text);
        assert_eq!((say.stream, say.code), (Stream::Err, 2), "{line}");
    }
    assert_eq!(say("doula-init --help").code, 0);
    assert!(say("doula-init -V").text.starts_with("doula-init "));
    assert!(say("doula-init --licence").text.contains("MIT"));
}

#[test]
fn tini_is_spoken_as_tini_speaks() {
    let options = run("tini -s -g -w -vv -p SIGUSR1 -e 143 -e0 -- true", &[]);
    let group = |signal| Some(Delivery { signal, scope: Scope::Group, or_stop: false });
    assert_eq!(options.routes.route(Signal::TSTP), group(Signal::TSTP));
    assert!(options.subreaper && options.tell_orphans && options.keep_signals);
    assert_eq!((options.verbosity, options.parent_death_signal), (3, Some(Signal::USR1)));
    assert_eq!(options.remap, [(143, 0), (0, 0)]);
    assert_eq!(options.patience, Patience::default());
    let by_env = run("tini true", &["TINI_SUBREAPER=", "TINI_VERBOSITY=0", "TINI_KILL_PROCESS_GROUP=1"]);
    assert!(by_env.subreaper);
    assert_eq!((by_env.verbosity, by_env.routes.route(Signal::HUP)), (0, group(Signal::HUP)));
    for (line, code) in [
        ("tini", 1),
        ("tini -z", 1),
        ("tini -h", 0),
        ("tini -p TERM true", 1),
        ("tini -e x true", 1),
        ("tini -e", 1),
    ] {
        assert_eq!(say(line).code, code, "{line}");
    }
    assert!(say("tini --version").text.starts_with("tini version "));
}

#[test]
fn dumb_init_is_spoken_as_dumb_init_speaks() {
    let options = run("dumb-init -v -r 15:3 --rewrite 2:0 --rew=1:31 true", &[]);
    let group = |signal| Some(Delivery { signal, scope: Scope::Group, or_stop: false });
    assert_eq!(options.routes.route(Signal::TERM), group(Signal::QUIT));
    assert_eq!(options.routes.route(Signal::INT), None);
    assert_eq!(options.routes.route(Signal::TSTP), group(Signal::STOP));
    assert_eq!(options.standing, Standing::Session);
    for (line, env) in [
        ("dumb-init -c true", ""),
        ("dumb-init --single-child true", ""),
        ("dumb-init true", "DUMB_INIT_SETSID=0"),
        ("dumb-init true", "DUMB_INIT_SINGLE_CHILD=1"),
    ] {
        let single = run(line, &[env]);
        let main = Some(Delivery { signal: Signal::TSTP, scope: Scope::Main, or_stop: false });
        assert_eq!(
            (single.standing, single.routes.route(Signal::TSTP)),
            (Standing::Ours, main),
            "{line} {env}"
        );
    }
    for line in [
        "dumb-init -r 15 true",
        "dumb-init -r 1:32 true",
        "dumb-init -r a:b true",
        "dumb-init -r 15::12 true",
    ] {
        assert!(say(line).text.starts_with("Usage: -r option takes"), "{line}");
    }
    assert_eq!(say("dumb-init --yolo x").text, "dumb-init: unrecognized option '--yolo'\n");
}

#[test]
fn commands_are_looked_for_as_execvp_does() {
    let env = [b"PATH=/a::/b".to_vec()];
    assert_eq!(candidates(b"x", &env), [b"/a/x".to_vec(), b"./x".to_vec(), b"/b/x".to_vec()]);
    assert_eq!(candidates(b"./x", &env), [b"./x".to_vec()]);
    assert_eq!(candidates(b"", &env), [b"".to_vec()]);
    assert!(candidates(b"x", &[]).contains(&b"/usr/bin/x".to_vec()));
}

#[test]
fn sockets_are_passed_on_only_when_they_are_meant_for_us() {
    let seven = Pid::new(7).expect("a number");
    assert!(passes_sockets(&[b"LISTEN_PID=7".to_vec()], seven));
    assert!(!passes_sockets(&[b"LISTEN_PID=8".to_vec()], seven));
    assert!(!passes_sockets(&[], seven));
}

/// A family, and what it did.
struct Scene(Init, Vec<Act>);

impl Scene {
    fn new(line: &str, suspend: Suspend) -> Scene {
        Scene(Init::new(&run(line, &[]), suspend), Vec::new())
    }

    /// What is done after this, but for what is told.
    fn at(&mut self, millis: u64, what: Happened) -> Vec<Act> {
        self.0.handle(Time::from_nanos(millis * 1_000_000), what, &mut self.1);
        self.1.drain(..).filter(|act| !matches!(act, Act::Tell(_))).collect()
    }

    fn deadline(&self) -> Option<u64> {
        self.0.deadline().map(|time| time.as_nanos() / 1_000_000)
    }
}

fn to(signal: Signal, scope: Scope) -> Act {
    Act::Send(Delivery { signal, scope, or_stop: false })
}

fn over(code: u8) -> Vec<Act> {
    [Act::End(Ending { code, signal: None })].into()
}

const NOBODY: Happened = Happened::Drained { empty: true, look: Duration::ZERO };
const SOMEBODY: Happened = Happened::Drained { empty: false, look: Duration::ZERO };

#[test]
fn a_main_process_that_leaves_nobody_ends_the_family_with_its_code() {
    let mut scene = Scene::new("doula-init true", Suspend::Never);
    assert_eq!(scene.at(1, Happened::MainEnded(ExitStatus::code(7))), []);
    assert_eq!(scene.at(1, NOBODY), over(7));
}

#[test]
fn leftovers_are_asked_then_killed_until_nobody_is_left() {
    let mut scene = Scene::new("doula-init --leftovers 1s true", Suspend::Never);
    scene.at(0, Happened::MainEnded(ExitStatus::signal(Signal::TERM)));
    assert_eq!(scene.at(0, SOMEBODY), [to(Signal::TERM, Scope::Tree), to(Signal::CONT, Scope::Tree)]);
    assert_eq!(scene.deadline(), Some(1000));
    assert_eq!(scene.at(500, SOMEBODY), []);
    assert_eq!(scene.at(600, Happened::Signal(Signal::TERM)), [to(Signal::TERM, Scope::Tree)], "impatience");
    assert_eq!(scene.at(700, Happened::Signal(Signal::HUP)), []);
    assert_eq!(scene.at(1000, Happened::Tick), [to(Signal::KILL, Scope::Tree)]);
    assert_eq!(scene.at(1005, Happened::Tick), [], "not yet again");
    assert_eq!(scene.at(1010, Happened::Tick), [to(Signal::KILL, Scope::Tree)]);
    assert_eq!(scene.at(1011, NOBODY), over(143));
}

#[test]
fn somebody_who_survives_sigkill_cannot_hold_us_for_ever() {
    let mut scene = Scene::new("doula-init --leftovers 0 true", Suspend::Never);
    scene.at(0, Happened::MainEnded(ExitStatus::code(0)));
    scene.at(0, SOMEBODY);
    let mut now = 0;
    loop {
        let acts = scene.at(now, Happened::Tick);
        if acts == over(0) {
            break;
        }
        assert_eq!(acts, [to(Signal::KILL, Scope::Tree)]);
        now = scene.deadline().expect("always a way out");
    }
    assert_eq!((now, scene.deadline()), (10_000, None));
}

const fn looked(micros: u64) -> Happened {
    Happened::Drained { empty: false, look: Duration::from_micros(micros) }
}

#[test]
fn after_a_long_look_at_a_large_family_deaths_wait_for_a_while_and_signals_do_not() {
    let mut scene = Scene::new("doula-init true", Suspend::Never);
    scene.at(0, looked(3));
    assert_eq!((scene.0.listens_to_deaths(), scene.deadline()), (true, None), "nobody wakes us for nothing");
    scene.at(0, looked(10));
    assert_eq!((scene.0.listens_to_deaths(), scene.deadline()), (false, Some(1)));
    assert_eq!(scene.at(0, Happened::Signal(Signal::HUP)), [to(Signal::HUP, Scope::Main)]);
    assert_eq!(scene.at(0, Happened::Tick), []);
    assert!(!scene.0.listens_to_deaths());
    assert_eq!(scene.at(1, Happened::Tick), []);
    assert_eq!((scene.0.listens_to_deaths(), scene.deadline()), (true, None));
    scene.at(10, looked(1_000_000));
    assert_eq!(scene.deadline(), Some(12), "the end of the main process may be among them");
}

#[test]
fn what_is_left_of_a_family_is_not_kept_waiting_after_a_long_look() {
    let mut scene = Scene::new("doula-init --leftovers 1s true", Suspend::Never);
    scene.at(0, Happened::MainEnded(ExitStatus::code(0)));
    scene.at(0, looked(100));
    assert!(scene.0.listens_to_deaths());
    assert_eq!(scene.deadline(), Some(1000));
}

#[test]
fn a_grace_time_begins_with_the_first_request_and_ends_in_sigkill() {
    let mut scene = Scene::new("doula-init --grace 2s true", Suspend::Never);
    assert_eq!(scene.at(0, Happened::Signal(Signal::USR1)), [to(Signal::USR1, Scope::Main)]);
    assert_eq!(scene.deadline(), None);
    scene.at(100, Happened::Signal(Signal::TERM));
    assert_eq!(
        scene.at(200, Happened::Signal(Signal::TERM)),
        [to(Signal::TERM, Scope::Tree)],
        "a second one"
    );
    assert_eq!(scene.deadline(), Some(2100));
    assert_eq!(scene.at(2100, Happened::Tick), [to(Signal::KILL, Scope::Tree)]);
    scene.at(2101, Happened::MainEnded(ExitStatus::signal(Signal::KILL)));
    assert_eq!(scene.at(2101, NOBODY), over(137));
}

#[test]
fn without_a_grace_time_patience_has_no_end_while_the_main_process_lives() {
    let mut scene = Scene::new("doula-init true", Suspend::Never);
    scene.at(0, Happened::Signal(Signal::TERM));
    assert_eq!(scene.deadline(), None);
}

#[test]
fn exit_codes_are_remapped_and_deaths_by_signal_imitated_on_request() {
    let ended = |line: &str, status| {
        let mut scene = Scene::new(line, Suspend::Never);
        scene.at(0, Happened::MainEnded(status));
        scene.at(0, NOBODY)
    };
    let term = ExitStatus::signal(Signal::TERM);
    assert_eq!(ended("doula-init -e 143 true", term), over(0));
    assert_eq!(ended("doula-init --remap 3:4 --remap 3:5 true", ExitStatus::code(3)), over(5));
    let by_signal = [Act::End(Ending { code: 143, signal: Some(Signal::TERM) })];
    assert_eq!(ended("doula-init --die-by-signal true", term), by_signal);
    assert_eq!(ended("doula-init --die-by-signal -e 143 true", term), over(0));
}

#[test]
fn the_other_faces_do_not_wait_for_leftovers() {
    let mut tini = Scene::new("tini true", Suspend::Never);
    tini.at(0, Happened::MainEnded(ExitStatus::code(3)));
    assert_eq!(tini.at(0, SOMEBODY), over(3));
    let mut dumb = Scene::new("dumb-init -r 15:3 true", Suspend::OnSignal);
    let last_word = to(Signal::QUIT, Scope::Group);
    let acts = dumb.at(0, Happened::MainEnded(ExitStatus::code(3)));
    assert_eq!(acts, [last_word, over(3).remove(0)]);
}

#[test]
fn a_shell_above_sees_its_job_stop_and_go_on() {
    let mut scene = Scene::new("doula-init true", Suspend::WithMain);
    assert_eq!(scene.at(0, Happened::MainStopped), [Act::StopSelf]);
    let on = scene.at(0, Happened::Signal(Signal::CONT));
    assert_eq!(on, [Act::LendTerminal, to(Signal::CONT, Scope::Group)]);
    let mut one = Scene::new("doula-init true", Suspend::Never);
    assert_eq!(one.at(0, Happened::MainStopped), []);
    let stop = Delivery { signal: Signal::TSTP, scope: Scope::Main, or_stop: true };
    assert_eq!(one.at(0, Happened::Signal(Signal::TSTP)), [Act::Send(stop)]);
    let mut dumb = Scene::new("dumb-init true", Suspend::OnSignal);
    assert_eq!(dumb.at(0, Happened::Signal(Signal::TTIN)), [to(Signal::STOP, Scope::Group), Act::StopSelf]);
}

#[test]
fn each_face_has_its_own_words() {
    let five = Pid::new(5).expect("a number");
    let told = |face, verbosity, line: &Line| super::say(face, five, verbosity, line).map(|(_, text)| text);
    let orphan = Line::OrphanBuried(five);
    assert_eq!(
        told(Face::Tini, 1, &orphan).as_deref(),
        Some("[WARN  tini (5)] Reaped zombie process with pid=5\n")
    );
    assert_eq!(told(Face::Tini, 0, &orphan), None);
    assert_eq!(told(Face::DumbInit, 3, &orphan), None);
    let received = Line::Received(Signal::CHLD);
    assert_eq!(told(Face::DumbInit, 3, &received).as_deref(), Some("[dumb-init] Received signal 17.\n"));
    assert_eq!(told(Face::Tini, 3, &received).as_deref(), Some("[DEBUG tini (5)] Received SIGCHLD\n"));
    let native = told(Face::Native, 1, &Line::NoReaper).unwrap_or_default().to_string();
    assert!(native.contains("--no-subreaper"), "{native}");
}
