//! The page of runs: what every `doula run` and `doula worker` is at.
//!
//! They are asked by a process of its own, as pools are: `doula top --runs --once --json`.

use crate::error::{Exit, Failure, Outcome};
use crate::running::Runs;
use crate::scoreboard::Line;
use crate::ui::{Style, Ui};

/// How a copy of us is asked.
pub(super) const QUESTION: [&str; 4] = ["top", "--runs", "--once", "--json"];
/// How wide it is where nobody knows.
const WIDTH: usize = 100;

/// Prints what runs are at, once.
pub(super) fn print(as_json: bool, ui: &mut Ui) -> Outcome {
    let runs = Runs::now();
    if as_json {
        let value = serde_json::to_value(&runs).map_err(|error| Failure::doula(error.to_string()))?;
        ui.json(&value)?;
        return Ok(Exit::OK);
    }
    let color = ui.color();
    for line in runs.lines(None, ui.width().unwrap_or(WIDTH)) {
        ui.line(&line.iter().map(|(text, style)| style.paint(text, color)).collect::<String>())?;
    }
    Ok(Exit::OK)
}

/// What is known of runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    now: Option<Runs>,
    before: Option<Runs>,
    /// Why nothing is known.
    failed: Option<String>,
}

impl Known {
    pub(super) fn sees(&mut self, answer: Result<Runs, String>) {
        match answer {
            Ok(now) => {
                self.before = self.now.replace(now);
                self.failed = None;
            }
            Err(why) => self.failed = Some(why),
        }
    }

    /// All runs, one below the other.
    pub(super) fn lines(&self, columns: usize) -> Vec<Line> {
        match (&self.failed, &self.now) {
            (Some(why), _) => vec![vec![(why.clone(), Style::Bad)]],
            (None, None) => vec![vec![("asking …".to_owned(), Style::Dim)]],
            (None, Some(now)) => now.lines(self.before.as_ref(), columns),
        }
    }
}
