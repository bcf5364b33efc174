//! The screen without a terminal: keys in, frames out.

use super::draw::draw;
use super::fixtures::{look, process};
use super::meters::Meters;
use super::pools::tests::answer;
use super::settings::{Settings, Theme};
use super::short::Ended;
use super::state::{Detail, Effect, Event, Look, Mode, Prompt, Tab, Top};
use crate::processes::COLUMNS;
use crate::running::tests::runs;
use crate::ui::Key;
use doula_host::lives::Life;
use doula_host::{ExitStatus, Pid, Signal};
use doula_model::process::ProcState;
use std::path::PathBuf;
use std::time::Duration;

fn family() -> Look {
    let mut zombie = process(40, 20, "dead");
    zombie.stat.state = ProcState::Zombie;
    let mut odd = process(50, 1, "odd");
    odd.stat.name = b"\x1b[2J\n\xff".to_vec();
    odd.args = doula_host::procfs::Answer::None;
    let all = vec![process(1, 0, "init"), process(20, 1, "server"), process(30, 20, "worker"), zombie, odd];
    let mut kernel = process(60, 2, "kworker");
    kernel.stat.flags |= 0x0020_0000;
    look(all.into_iter().chain([kernel]).collect())
}

fn top(columns: u16, rows: u16) -> Top {
    // Names of users are those of whoever runs the test.
    let mut settings = Settings::default();
    settings.columns("pid,ppid,state,cpu,rss,time,args").expect("columns");
    let mut top = Top::new(settings.view);
    top.handle(Event::Size(columns, rows));
    let mut before = family();
    before.meters = Meters { cpus: vec![(0, 0); 4], ..before.meters };
    top.handle(Event::Look(Box::new(before)));
    top.handle(Event::Look(Box::new(family())));
    top
}

fn press(top: &mut Top, keys: &str) -> Option<Effect> {
    keys.chars().map(|key| top.handle(Event::Key(Key::Char(key)))).last().flatten()
}

/// The frame as text.
fn frame(top: &Top) -> String {
    let buffer = draw(top, &Theme::named("plain").expect("a theme"));
    let width = usize::from(buffer.area.width);
    let line = |cells: &[ratatui_core::buffer::Cell]| {
        let text: String = cells.iter().map(ratatui_core::buffer::Cell::symbol).collect();
        format!("{}\n", text.trim_end())
    };
    buffer.content.chunks(width).map(line).collect()
}

/// Compares a frame with the one that is kept; `UPDATE_FRAMES=1` keeps the new one, to be looked at by people.
fn kept(name: &str, top: &Top) {
    let (columns, rows) = top.size;
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/verbs/top/frames");
    let path = path.join(format!("{name}-{columns}x{rows}.txt"));
    let frame = frame(top);
    if std::env::var_os("UPDATE_FRAMES").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder");
        std::fs::write(&path, &frame).expect("the frame");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == frame, "{} is another frame:\n{frame}", path.display());
}

fn chosen(top: &Top) -> i32 {
    top.chosen.expect("somebody is chosen").pid.get()
}

#[test]
fn every_screen_is_as_it_was_looked_at_in_both_sizes() {
    for (columns, rows) in [(80, 24), (200, 50)] {
        let mut state = top(columns, rows);
        kept("list", &state);
        press(&mut state, "t");
        kept("tree", &state);
        press(&mut state, "S");
        kept("sums", &state);
        let mut state = top(columns, rows);
        press(&mut state, "h");
        kept("help", &state);
        let mut state = top(columns, rows);
        press(&mut state, "k");
        kept("signals", &state);
        let mut state = top(columns, rows);
        press(&mut state, "s");
        kept("sort", &state);
        let mut state = top(columns, rows);
        press(&mut state, "fstate=Z");
        kept("filter", &state);
        let mut state = top(columns, rows);
        state.handle(Event::Key(Key::Enter));
        let of = state.chosen.expect("somebody");
        let lines = vec!["it is sleeping".to_owned(), "\x1b[31mred".to_owned()];
        state.handle(Event::Detail(Detail { of, tab: Tab::State, lines }));
        kept("detail", &state);
        let mut state = top(columns, rows);
        state.handle(Event::Look(Box::new(short_lives())));
        kept("short", &state);
        press(&mut state, "b");
        kept("short-page", &state);
        let mut state = top(columns, rows);
        press(&mut state, "w");
        state.handle(Event::Pools(Ok(Box::new(answer(10, 17)))));
        state.handle(Event::Pools(Ok(Box::new(answer(12, 42)))));
        kept("pools", &state);
        let mut state = top(columns, rows);
        press(&mut state, "j");
        state.handle(Event::Runs(Ok(runs(100.0, 120))));
        state.handle(Event::Runs(Ok(runs(102.0, 160))));
        kept("runs", &state);
    }
}

/// Two who lived between two looks, and more that were told too fast.
fn short_lives() -> Look {
    let pid = |number| Pid::new(number).expect("a number");
    let life = |number, name: Option<&[u8]>, status| Life {
        pid: pid(number),
        parent: pid(20),
        name: name.map(<[u8]>::to_vec),
        lived: Duration::from_micros(2500),
        status,
    };
    let lives = vec![
        life(71, Some(b"\x1b[2J"), ExitStatus::code(7)),
        life(72, None, ExitStatus::signal(Signal::SEGV)),
    ];
    Look { ended: Some(Ended { lives, missing: 3 }), ..family() }
}

#[test]
fn where_nobody_tells_of_births_and_ends_there_is_no_line_of_them_and_the_key_says_so() {
    let mut state = top(80, 24);
    assert!(!frame(&state).contains("short lives"));
    press(&mut state, "b");
    assert!(state.told.as_deref().is_some_and(|told| told.contains("doctor --self")), "{:?}", state.told);
    assert_eq!(state.mode, Mode::List);
}

#[test]
fn nothing_that_a_process_calls_itself_reaches_the_terminal_as_it_is() {
    let text = frame(&top(80, 24));
    assert!(text.contains("[\\x1b[2J\\n\\xff]"), "{text}");
    assert!(!text.contains('\x1b'));
}

#[test]
fn no_screen_is_too_small_and_no_key_makes_it_panic() {
    let keys = [Key::Up, Key::Down, Key::PageDown, Key::PageUp, Key::Home, Key::End, Key::Enter, Key::Escape];
    let keys = keys.into_iter().chain([Key::Tab, Key::Click(3, 3), Key::Wheel(true), Key::Wheel(false)]);
    let keys: Vec<Key> = keys.chain("htSKrPMTNs/nf pkeab?".chars().map(Key::Char)).collect();
    for (columns, rows) in [(1, 1), (20, 5), (21, 9), (40, 14), (80, 24)] {
        let mut state = top(columns, rows);
        for first in &keys {
            for second in &keys {
                state.handle(Event::Key(*first));
                state.handle(Event::Key(*second));
                draw(&state, &Theme::named("dark").expect("a theme"));
            }
            state.handle(Event::Look(Box::new(look(vec![process(20, 1, "server")]))));
            state.handle(Event::Look(Box::new(family())));
        }
    }
}

#[test]
fn a_signal_is_for_the_process_that_was_chosen_when_the_menu_was_opened() {
    let mut state = top(80, 24);
    let of = state.chosen.expect("somebody");
    press(&mut state, "k");
    // Meanwhile the list is another one, and the chosen row has somebody else.
    let mut others = family();
    others.processes.retain(|one| one.stat.identity() != of);
    state.handle(Event::Look(Box::new(others)));
    assert_eq!(state.handle(Event::Key(Key::Enter)), Some(Effect::Signal(of, Signal::TERM)));
}

#[test]
fn whoever_is_chosen_and_gone_says_so_in_its_row_and_no_menu_opens_for_it() {
    let mut state = top(80, 24);
    press(&mut state, "N");
    state.handle(Event::Key(Key::Home));
    state.handle(Event::Key(Key::Down));
    assert_eq!(chosen(&state), 20);
    let mut others = family();
    others.processes.retain(|one| one.stat.pid.get() != 20);
    state.handle(Event::Look(Box::new(others)));
    assert_eq!(chosen(&state), 20, "nobody else is chosen in its place");
    assert!(frame(&state).contains("GONE /bin/server"), "{}", frame(&state));
    press(&mut state, "k");
    assert_eq!((&state.mode, state.told.as_deref()), (&Mode::List, Some("20 server is gone")));
    state.handle(Event::Key(Key::Down));
    assert!(!frame(&state).contains("GONE"), "{}", frame(&state));
}

#[test]
fn a_number_that_passed_to_another_process_is_not_the_chosen_one() {
    let mut state = top(80, 24);
    press(&mut state, "/server");
    state.handle(Event::Key(Key::Enter));
    assert_eq!(chosen(&state), 20);
    let mut others = family();
    others.processes[1].stat.start_ticks += 1;
    state.handle(Event::Look(Box::new(others)));
    assert!(frame(&state).contains("GONE /bin/server"), "{}", frame(&state));
}

#[test]
fn an_order_that_the_held_picture_does_not_know_comes_with_a_new_one_that_is_held_too() {
    let mut state = top(80, 24);
    press(&mut state, "p");
    state.handle(Event::Look(Box::new(look(vec![process(20, 1, "server")]))));
    assert_eq!(state.rows.len(), 5, "it is held");
    assert!(frame(&state).lines().next().is_some_and(|line| line.contains("HELD")), "on a narrow screen too");
    press(&mut state, "M");
    assert!(!state.lacks(), "what is in memory was asked");
    press(&mut state, "s");
    let pss = COLUMNS.iter().position(|column| column.name == "pss").expect("a column");
    state.mode = Mode::Sort(pss);
    assert_eq!(state.handle(Event::Key(Key::Enter)), None);
    assert!(state.lacks(), "nobody has asked how the memory is shared");
    let new = Look { asked: state.view.wants(), ..look(vec![process(20, 1, "server")]) };
    state.handle(Event::Renewed(Box::new(new)));
    let shown = state.rows.iter().filter(|row| row.at.is_some()).count();
    assert_eq!((state.lacks(), shown, state.held), (false, 1, true));
    press(&mut state, "f");
    press(&mut state, "user=nobody");
    state.handle(Event::Key(Key::Enter));
    assert!(state.lacks(), "nobody has asked for users");
}

#[test]
fn the_page_of_pools_asks_when_it_opens_scrolls_and_can_be_held() {
    let mut state = top(80, 24);
    assert_eq!(press(&mut state, "w"), Some(Effect::AskPage));
    assert!(frame(&state).contains("asking …"), "{}", frame(&state));
    state.handle(Event::Pools(Ok(Box::new(answer(10, 17)))));
    assert!(frame(&state).contains("demo/web: 1 busy"), "{}", frame(&state));
    press(&mut state, "p");
    state.handle(Event::Pools(Ok(Box::new(answer(12, 42)))));
    assert!(frame(&state).contains("17 requests"), "it is held: {}", frame(&state));
    assert_eq!(press(&mut state, "p"), Some(Effect::Look));
    state.handle(Event::Key(Key::End));
    assert!(frame(&state).contains("web@2") && !frame(&state).contains("web@1"), "{}", frame(&state));
    state.handle(Event::Key(Key::Escape));
    assert_eq!(state.mode, Mode::List);
    state.replayed = true;
    assert_eq!((press(&mut state, "w"), state.mode == Mode::List), (None, true));
}

#[test]
fn the_page_of_runs_opens_and_closes_by_its_key_and_says_why_nothing_is_known() {
    let mut state = top(80, 24);
    assert_eq!(press(&mut state, "j"), Some(Effect::AskPage));
    assert!(frame(&state).contains("asking …"), "{}", frame(&state));
    state.handle(Event::Runs(Err("there was no answer".to_owned())));
    assert!(frame(&state).contains("there was no answer"), "{}", frame(&state));
    state.handle(Event::Runs(Ok(runs(100.0, 120))));
    assert!(frame(&state).contains("120 of 300 jobs ended"), "{}", frame(&state));
    assert!(!frame(&state).contains('\x1b'));
    assert_eq!((press(&mut state, "j"), &state.mode), (None, &Mode::List));
    state.replayed = true;
    assert_eq!((press(&mut state, "j"), &state.mode), (None, &Mode::List));
}

#[test]
fn a_filter_is_told_what_is_wrong_with_it_and_can_be_mended() {
    let mut state = top(80, 24);
    press(&mut state, "fstat=Z");
    state.handle(Event::Key(Key::Enter));
    assert!(
        state.told.as_deref().is_some_and(|told| told.contains("did you mean `state`?")),
        "{:?}",
        state.told
    );
    assert_eq!(state.mode, Mode::Line(Prompt::Filter, "stat=Z".to_owned()));
    state.handle(Event::Key(Key::Ctrl('u')));
    press(&mut state, "state=Z");
    state.handle(Event::Key(Key::Enter));
    assert_eq!((state.rows.len(), chosen(&state)), (1, 40));
    press(&mut state, "f");
    state.handle(Event::Key(Key::Escape));
    assert_eq!(state.rows.len(), 5);
}

#[test]
fn the_tree_sums_up_and_folds_and_the_order_can_be_turned() {
    let mut state = top(80, 24);
    press(&mut state, "NtS");
    // Of 20, 30 and the zombie 40, each a tick a second for ten of its number: 2 + 3 + 4 percent.
    let line = |state: &Top, name: &str| {
        let text = frame(state);
        text.lines().find(|line| line.contains(name)).map(str::to_owned).expect("its row")
    };
    assert!(line(&state, "/bin/server").contains("9.0"), "{}", frame(&state));
    press(&mut state, "/server");
    state.handle(Event::Key(Key::Enter));
    press(&mut state, " ");
    assert!(line(&state, "/bin/server").contains("[+2]"), "{}", frame(&state));
    assert!(!frame(&state).contains("/bin/worker"));
    press(&mut state, " K");
    assert!(frame(&state).contains("/bin/worker") && frame(&state).contains("kworker"));
    press(&mut state, "t");
    assert_eq!(state.rows.len(), 6);
}

#[test]
fn a_click_chooses_a_second_one_asks_and_a_heading_sorts() {
    let mut state = top(80, 24);
    let first = state.list_top();
    state.handle(Event::Key(Key::Click(5, first + 2)));
    assert_eq!(state.row, 2);
    let of = state.chosen.expect("somebody");
    assert_eq!(state.handle(Event::Key(Key::Click(5, first + 2))), Some(Effect::Ask(of, Tab::State)));
    state.handle(Event::Key(Key::Escape));
    state.handle(Event::Key(Key::Click(1, first - 1)));
    assert_eq!((state.view.sort.name, state.view.falling), ("pid", false));
}

#[test]
fn what_was_typed_wrong_for_nice_and_cpus_does_nothing() {
    let mut state = top(80, 24);
    let of = state.chosen.expect("somebody");
    for (keys, effect) in [
        ("e20", None),
        ("e-5", Some(Effect::Nice(of, -5))),
        ("a3-1", None),
        ("a0,2-3", Some(Effect::Cpus(of, vec![0, 2, 3]))),
    ] {
        press(&mut state, keys);
        assert_eq!(state.handle(Event::Key(Key::Enter)), effect, "{keys}");
        assert_eq!(state.told.is_some(), effect.is_none(), "{keys}");
    }
}
