//! Regressions from the field: mistakes that supervisors, inits and pools have really made, each named after the
//! report of it. The mistake, written as a script, reaches its bad state on paper; the right way does not.

mod driver;
mod inits;
mod orders;
mod pool;

use doula_sim::program::Stage;
use std::time::Duration;

/// What the scripts of this table do, as PID 1, after so long.
fn after(time: Duration, scripts: &[(&str, &str)]) -> Stage {
    let mut stage = Stage::new(scripts).unwrap_or_else(|error| panic!("{error}"));
    stage.pass(time);
    stage
}

fn after_a_second(init: &str) -> Stage {
    after(Duration::from_secs(1), &[("init", init)])
}

/// How many are dead and not buried.
fn zombies(stage: &Stage) -> usize {
    stage.everybody().iter().filter(|look| look.state == 'Z' && look.pid != 1).count()
}

/// Whether PID 1 has ended.
fn has_ended(stage: &Stage) -> bool {
    stage.look(1).is_some_and(|look| look.state == 'Z')
}

/// What was told, without the numbers of who told it.
fn told(stage: &mut Stage) -> Vec<String> {
    stage.take_told().iter().map(|(_, text)| text.to_string()).collect()
}
