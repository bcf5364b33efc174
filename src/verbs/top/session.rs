//! A person at a terminal: looks at the processes, hands what happens to the state, does what it asks, and shows it.

use super::aside::Aside;
use super::draw::draw;
use super::pages;
use super::pools;
use super::record::{Player, Recorder};
use super::runs;
use super::settings::Theme;
use super::state::{Effect, Event, Look, Mode, Tab, Top};
use super::watch::Watcher;
use super::why::Why;
use crate::error::{Exit, Failure, Outcome};
use crate::ui::{Key, Keys, Screen};
use doula_host::Signal;
use doula_host::aim::{Missed, Target};
use doula_host::procfs::Live;
use doula_host::terminal::{self, Desk, Happened};
use doula_model::process::Identity;
use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

/// So long after an Escape nothing that belongs to it comes any more.
const ESCAPE: Duration = Duration::from_millis(40);

/// What is waited for beside the terminal.
const LIVES: u32 = 0;
const WHY: u32 = 1;
const POOLS: u32 = 2;
const RUNS: u32 = 3;

/// Where looks come from.
pub(super) enum Source {
    /// This machine; perhaps kept for later.
    Live(Box<Watcher>, Option<Recorder>),
    /// A record.
    Record(Player),
}

/// Everything of one session.
pub(super) struct Session {
    pub(super) top: Top,
    pub(super) theme: Theme,
    pub(super) source: Source,
    pub(super) interval: Duration,
    /// A handle of everybody on the screen, since it was drawn first.
    handles: BTreeMap<Identity, Result<Target, Missed>>,
    /// What the doctor is asked just now.
    why: Option<Why>,
    /// What the families are asked just now.
    pools: Option<Aside>,
    /// Who looks for runs just now.
    runs: Option<Aside>,
}

impl Session {
    pub(super) fn new(top: Top, theme: Theme, source: Source, interval: Duration) -> Session {
        Session { top, theme, source, interval, handles: BTreeMap::new(), why: None, pools: None, runs: None }
    }

    /// Runs until the person leaves, the terminal is gone or a signal asks us to end.
    pub(super) fn run(mut self) -> Outcome {
        let mut desk = Desk::take(&io::stdin()).map_err(no_terminal)?;
        if let Some(modes) = desk.before() {
            let usual = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                Screen::leave();
                Desk::restore(&io::stdin(), &modes);
                usual(panic);
            }));
        }
        let mut screen = Screen::enter().map_err(lost)?;
        let ended = self.serve(&mut desk, &mut screen);
        drop(screen);
        drop(desk);
        ended
    }

    fn serve(&mut self, desk: &mut Desk, screen: &mut Screen) -> Outcome {
        let mut keys = Keys::default();
        let mut due = Instant::now();
        self.resize();
        self.listen(desk)?;
        let mut shown = false;
        loop {
            if Instant::now() >= due {
                self.look(Event::Look)?;
                self.give_up_on_doctor();
                self.ask_page(desk)?;
                due = Instant::now() + self.interval;
                shown = false;
            }
            if !shown {
                self.show(screen)?;
                // Tests see what a mistake of ours leaves of the terminal.
                debug_assert!(std::env::var_os("DOULA_TOP_FAILS").is_none(), "it was asked to fail");
            }
            shown = false;
            let left = due.saturating_duration_since(Instant::now());
            let happened = desk.next(if keys.are_waiting() { left.min(ESCAPE) } else { left });
            let pressed = match happened {
                Happened::Typed => match typed(desk, &mut keys) {
                    None => return Ok(Exit::OK),
                    Some(pressed) => pressed,
                },
                Happened::Signal(Signal::WINCH) => {
                    self.resize();
                    continue;
                }
                Happened::Signal(Signal::TSTP) => {
                    self.pause(desk, screen)?;
                    continue;
                }
                Happened::Signal(Signal::CONT) => {
                    screen.again().map_err(lost)?;
                    continue;
                }
                Happened::Signal(signal) => return Ok(Exit(128 + signal.number() as u8)),
                Happened::Beside(whom) => {
                    shown = !self.heard(whom);
                    continue;
                }
                Happened::Time => keys.give_up().into_iter().collect(),
            };
            for key in pressed {
                match self.top.handle(Event::Key(key)) {
                    Some(Effect::Quit) => return Ok(Exit::OK),
                    Some(Effect::Pause) => self.pause(desk, screen)?,
                    Some(Effect::AskPage) => self.ask_page(desk)?,
                    Some(effect) => {
                        let asked = matches!(effect, Effect::Ask(_, Tab::State));
                        self.act(effect)?;
                        if asked {
                            self.ask_why(desk)?;
                        }
                    }
                    None => {}
                }
            }
        }
    }

    /// Somebody beside the terminal has spoken; whether that changes what is shown.
    fn heard(&mut self, whom: u32) -> bool {
        match whom {
            LIVES => {
                self.hear();
                false
            }
            POOLS => {
                let answer = self.pools.as_mut().and_then(Aside::hear_json);
                let whole = answer.is_some();
                if let Some(answer) = answer {
                    self.pools = None;
                    self.top.handle(Event::Pools(answer.map(Box::new)));
                }
                whole
            }
            RUNS => {
                let answer = self.runs.as_mut().and_then(Aside::hear_json);
                let whole = answer.is_some();
                if let Some(answer) = answer {
                    self.runs = None;
                    self.top.handle(Event::Runs(answer));
                }
                whole
            }
            _ => {
                let lines = self.why.as_mut().and_then(Why::hear);
                let whole = lines.is_some();
                lines.into_iter().for_each(|lines| self.knows_why(lines));
                whole
            }
        }
    }

    fn resize(&mut self) {
        if let Some(size) = terminal::size(&io::stdout()).filter(|size| size.columns > 0 && size.rows > 0) {
            self.top.handle(Event::Size(size.columns, size.rows));
        }
    }

    fn pause(&mut self, desk: &mut Desk, screen: &mut Screen) -> Result<(), Failure> {
        Screen::leave();
        desk.pause().map_err(lost)?;
        self.resize();
        screen.again().map_err(lost)
    }

    fn look(&mut self, event: fn(Box<Look>) -> Event) -> Result<(), Failure> {
        let look = match &mut self.source {
            Source::Live(watcher, recorder) => {
                let used = std::mem::take(&mut self.top.used);
                let look = watcher.look(&self.top.view, used, recorder.is_some()).map_err(super::failed)?;
                if let Some(recorder) = recorder {
                    recorder.keep(&look)?;
                }
                Some(look)
            }
            Source::Record(player) => player.step(1),
        };
        self.sees(look.map(|look| event(Box::new(look))));
        Ok(())
    }

    /// Waits for births and ends beside the terminal, where somebody tells of them.
    fn listen(&mut self, desk: &Desk) -> Result<(), Failure> {
        match &mut self.source {
            Source::Live(watcher, _) => {
                watcher.lives().map_or(Ok(()), |lives| desk.beside(lives, LIVES).map_err(lost))
            }
            Source::Record(_) => Ok(()),
        }
    }

    fn give_up_on_doctor(&mut self) {
        if self.why.as_ref().is_some_and(|why| why.aside.is_overdue()) {
            self.knows_why(vec!["why it waits: the doctor did not come to an end".to_owned()]);
        }
    }

    /// Asks the doctor about the process whose page is shown; whoever was asked before is no longer.
    fn ask_why(&mut self, desk: &Desk) -> Result<(), Failure> {
        let (Mode::Detail(of, ..), Source::Live(..)) = (&self.top.mode, &self.source) else { return Ok(()) };
        match Why::ask(*of) {
            Ok(why) => {
                desk.beside(why.aside.answer(), WHY).map_err(lost)?;
                self.why = Some(why);
            }
            Err(error) => {
                let told = vec![format!("why it waits: the doctor could not be asked: {error}")];
                self.top.handle(Event::Why(*of, told));
            }
        }
        Ok(())
    }

    /// Asks for what the page that is shown shows, unless somebody is being asked already.
    fn ask_page(&mut self, desk: &Desk) -> Result<(), Failure> {
        let (pools, runs) = (matches!(self.top.mode, Mode::Pools(_)), matches!(self.top.mode, Mode::Runs(_)));
        if let Some(why) = ask(&mut self.pools, pools, (&pools::QUESTION, POOLS), desk)? {
            self.top.handle(Event::Pools(Err(why)));
        }
        if let Some(why) = ask(&mut self.runs, runs, (&runs::QUESTION, RUNS), desk)? {
            self.top.handle(Event::Runs(Err(why)));
        }
        Ok(())
    }

    /// The doctor has spoken, unless the number is somebody else's by now.
    fn knows_why(&mut self, lines: Vec<String>) {
        let (Some(why), Source::Live(watcher, _)) = (self.why.take(), &mut self.source) else { return };
        let now = watcher.live().reader().stat(why.of.pid);
        let lines = match now {
            Some(now) if now.identity() == why.of => lines,
            _ => vec!["why it waits: it is gone".to_owned()],
        };
        self.top.handle(Event::Why(why.of, lines));
    }

    /// Hears of births and ends.
    fn hear(&mut self) {
        if let Source::Live(watcher, _) = &mut self.source
            && let Some(lives) = watcher.lives()
        {
            lives.hear();
        }
    }

    fn sees(&mut self, look: Option<Event>) {
        if let Some(look) = look {
            self.top.handle(look);
        }
        if let Source::Record(player) = &self.source {
            self.top.note = player.place();
        }
    }

    /// Asks more of those who come on the screen, takes their handles, and draws.
    fn show(&mut self, screen: &mut Screen) -> Result<(), Failure> {
        if matches!(self.source, Source::Live(..)) && self.top.lacks() {
            self.look(Event::Renewed)?;
            if self.top.held {
                let told = "the held picture did not have that: this is a new one, held too";
                self.top.handle(Event::Told(told.to_owned()));
            }
        }
        if let Source::Live(watcher, _) = &mut self.source {
            let visible = self.top.visible();
            let more = watcher.more(&visible, &self.top.view).map_err(super::failed)?;
            self.top.handle(Event::More(more));
            take_handles(&mut self.handles, watcher.live(), &self.top, &visible);
        }
        screen.show(draw(&self.top, &self.theme)).map_err(lost)
    }

    fn act(&mut self, effect: Effect) -> Result<(), Failure> {
        let told = match effect {
            Effect::Quit | Effect::Pause | Effect::AskPage => None,
            Effect::Look => {
                self.look(Event::Look)?;
                None
            }
            Effect::Step(steps) => {
                let look = match &mut self.source {
                    Source::Record(player) => player.step(steps),
                    Source::Live(..) => None,
                };
                self.sees(look.map(|look| Event::Renewed(Box::new(look))));
                self.top.held = true;
                None
            }
            Effect::Ask(of, tab) => {
                let detail = match &mut self.source {
                    Source::Live(watcher, _) => pages::page(watcher.live().reader(), &self.top, of, tab),
                    Source::Record(_) => pages::of_record(&self.top, of, tab),
                };
                self.top.handle(Event::Detail(detail));
                None
            }
            Effect::Signal(of, signal) => {
                Some(self.reach(of, &format!("got {signal}"), |target, _| target.signal(signal)))
            }
            Effect::Nice(of, nice) => {
                let told = format!("has nice value {nice}");
                Some(self.reach(of, &told, |target, live| target.set_nice(live.reader(), nice)))
            }
            Effect::Cpus(of, cpus) => {
                let told = format!("runs on CPUs {cpus:?}");
                Some(self.reach(of, &told, |target, live| target.set_affinity(live.reader(), &cpus)))
            }
        };
        if let Some(told) = told {
            self.top.handle(Event::Told(told));
        }
        Ok(())
    }

    /// Does something to the process that was shown, by its handle, and to no other; tells what came of it.
    fn reach(
        &mut self,
        of: Identity,
        done: &str,
        act: impl FnOnce(&Target, &mut Live) -> Result<(), Missed>,
    ) -> String {
        let name = self.top.name(of);
        let Source::Live(watcher, _) = &mut self.source else { return "this is a record".to_owned() };
        let came = match self.handles.get(&of) {
            Some(Ok(target)) if target.has_ended() => Err(Missed::Gone),
            Some(Ok(target)) => act(target, watcher.live()),
            Some(Err(missed)) => Err(*missed),
            None => Err(Missed::Gone),
        };
        match came {
            Ok(()) => format!("{name} {done}"),
            Err(missed) => format!("{name}: nothing was done: {missed}"),
        }
    }
}

/// Asks a copy of us, if that is wanted and nobody is being asked; why there is no answer.
fn ask(
    asked: &mut Option<Aside>,
    wanted: bool,
    (question, token): (&[&str], u32),
    desk: &Desk,
) -> Result<Option<String>, Failure> {
    let overdue = asked.take_if(|asked| asked.is_overdue()).map(|_| "there was no answer".to_owned());
    if !wanted || asked.is_some() {
        return Ok(overdue);
    }
    match Aside::ask(question) {
        Ok(aside) => {
            desk.beside(aside.answer(), token).map_err(lost)?;
            *asked = Some(aside);
            Ok(overdue)
        }
        Err(error) => Ok(Some(format!("nobody could be asked: {error}"))),
    }
}

/// The keys that were pressed; nothing when the terminal is gone.
fn typed(desk: &Desk, keys: &mut Keys) -> Option<Vec<Key>> {
    let mut typed = [0; 1024];
    let count = desk.read(&mut typed);
    (count > 0).then(|| keys.typed(&typed[..count]))
}

/// Handles of those on the screen and of whom a menu is open for; nobody else's are kept.
fn take_handles(
    handles: &mut BTreeMap<Identity, Result<Target, Missed>>,
    live: &mut Live,
    top: &Top,
    visible: &[Identity],
) {
    let chosen = top.chosen;
    handles.retain(|of, _| visible.contains(of) || Some(*of) == chosen);
    for of in visible {
        if !handles.contains_key(of)
            && let Some(at) = live.place(of.pid)
        {
            let stat = live.processes()[at].stat.clone();
            if stat.identity() == *of {
                handles.insert(*of, Target::take(live.reader(), &stat));
            }
        }
    }
}

fn no_terminal(error: io::Error) -> Failure {
    Failure::usage(format!("standard input is no terminal: {error}"))
        .hint("`doula top --once` prints one look, `--batch` one after the other, `--json` for programs")
}

fn lost(error: io::Error) -> Failure {
    Failure::doula(format!("the terminal is gone: {error}"))
}
