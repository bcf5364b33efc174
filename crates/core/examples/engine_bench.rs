//! How fast the engine decides, for `bench/engine/run`: families of several shapes on a world that answers at once.
//!
//! Prints a line for each family and phase: `SHAPE SERVICES PHASE EVENTS MICROSECONDS`. Time is made up, so that only
//! the engine's own work is measured, with the queue of a world that keeps nothing else.

use doula_core::engine::Engine;
use doula_model::action::Action;
use doula_model::event::{Command, Event, Haste};
use doula_model::exit::ExitStatus;
use doula_model::id::{ChildKey, Generation, Pid, Role, ServiceId};
use doula_model::service::{Dependency, DependencyKind, ServiceSpec};
use doula_model::time::Time;
use std::collections::VecDeque;
use std::io::Write as _;
use std::time::{Duration, Instant};

const SIZES: [usize; 3] = [1_000, 4_000, 16_000];
/// So often each family is measured; the best round counts, because nothing makes it faster than it is.
const ROUNDS: usize = 5;
/// In a crash storm, so many services of a family end by themselves.
const CRASHES: usize = 4_000;

/// Who needs whom.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// Nobody anybody.
    Flat,
    /// All of them the first.
    Star,
    /// The first all others.
    Fan,
    /// Each the one before.
    Chain,
    /// Groups of thirty, each member all of the group before.
    Layers,
}

impl Shape {
    const ALL: [Shape; 5] = [Shape::Flat, Shape::Star, Shape::Fan, Shape::Chain, Shape::Layers];

    fn needs(self, place: usize, size: usize) -> Vec<usize> {
        const LAYER: usize = 30;
        let layer = place / LAYER;
        match self {
            Shape::Star if place > 0 => vec![0],
            Shape::Fan if place == 0 => (1..size).collect(),
            Shape::Chain if place > 0 => vec![place - 1],
            Shape::Layers if layer > 0 => ((layer - 1) * LAYER..layer * LAYER).collect(),
            Shape::Flat | Shape::Star | Shape::Fan | Shape::Chain | Shape::Layers => Vec::new(),
        }
    }

    fn family(self, size: usize) -> Vec<ServiceSpec> {
        let kind = DependencyKind::Requires;
        let spec = |place: usize| {
            let mut spec = ServiceSpec::new(format!("s{place}"));
            let on = self.needs(place, size).into_iter();
            spec.deps = on.map(|on| Dependency { on: format!("s{on}"), kind }).collect();
            (spec.restart.limit, spec.restart.delay) = (None, Duration::ZERO);
            spec
        };
        (0..size).map(spec).collect()
    }
}

/// A world in which everything works at once.
struct World {
    engine: Engine,
    now: Time,
    answers: VecDeque<Event>,
    events: u64,
    lives: Vec<Generation>,
    over: bool,
}

impl World {
    fn tell(&mut self, event: Event) {
        self.events += 1;
        self.engine.handle(self.now, event);
    }

    fn ended(key: ChildKey) -> Event {
        Event::Exited { key, status: ExitStatus::code(1) }
    }

    /// Carries out what was decided until nothing is left to be done now.
    fn run(&mut self) {
        loop {
            while let Some(action) = self.engine.poll_action() {
                match action {
                    Action::Spawn { key } => {
                        self.lives[key.service.0 as usize] = key.generation;
                        self.answers.push_back(Event::Born { key, pid: Pid::INIT });
                    }
                    Action::Signal { service, generation, .. } => {
                        self.answers.push_back(World::ended(ChildKey {
                            service,
                            generation,
                            role: Role::Main,
                        }));
                    }
                    Action::Clear { service, generation, .. } => {
                        self.answers.push_back(Event::Emptied { service, generation, leftovers: 0 });
                    }
                    Action::Quit { .. } => self.over = true,
                    Action::Kill { .. }
                    | Action::ArmSchedule { .. }
                    | Action::Seat { .. }
                    | Action::Revert { .. }
                    | Action::Measure { .. }
                    | Action::CheckUp { .. }
                    | Action::AwaitConnection { .. }
                    | Action::Forget { .. }
                    | Action::Report(_) => {}
                }
            }
            match self.answers.pop_front() {
                Some(answer) => self.tell(answer),
                None if self.engine.deadline().is_some_and(|at| at <= self.now) && !self.over => {
                    self.tell(Event::Tick);
                }
                None => return,
            }
        }
    }

    /// Events and microseconds of a phase.
    fn measure(&mut self, phase: impl FnOnce(&mut World)) -> (u64, f64) {
        let (before, start) = (self.events, Instant::now());
        phase(self);
        (self.events - before, start.elapsed().as_secs_f64() * 1e6)
    }
}

fn round(shape: Shape, size: usize) -> [(u64, f64); 3] {
    let family = shape.family(size);
    let start = Instant::now();
    let engine = Engine::new(family, 1, Time::ZERO);
    let lives = vec![Generation::default(); size];
    let mut world =
        World { engine, now: Time::ZERO, answers: VecDeque::new(), events: 0, lives, over: false };
    world.run();
    let began = (world.events, start.elapsed().as_secs_f64() * 1e6);
    assert_eq!(world.engine.census().up, size, "{shape:?}: all run");
    let crashed = world.measure(|world| {
        for turn in 0..CRASHES {
            let place = turn * 7919 % size;
            let (service, generation) = (ServiceId(place as u32), world.lives[place]);
            world.now = world.now.after(Duration::from_millis(1));
            world.tell(World::ended(ChildKey { service, generation, role: Role::Main }));
            world.run();
        }
        world.now = world.now.after(Duration::from_secs(3600));
        world.run();
    });
    assert_eq!(world.engine.census().up, size, "{shape:?}: all run again");
    let ended = world.measure(|world| {
        world.tell(Event::Command(Command::Shutdown(Haste::Orderly)));
        world.run();
    });
    assert!(world.over, "{shape:?}: all is over");
    [began, crashed, ended]
}

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for shape in Shape::ALL {
        for size in SIZES {
            let rounds: Vec<_> = (0..ROUNDS).map(|_| round(shape, size)).collect();
            for (phase, name) in ["start", "crash", "stop"].iter().enumerate() {
                let best = rounds.iter().map(|round| round[phase]).min_by(|a, b| a.1.total_cmp(&b.1));
                if let Some((events, micros)) = best {
                    writeln!(out, "{shape:?} {size} {name} {events} {micros:.0}")?;
                }
            }
        }
    }
    Ok(())
}
