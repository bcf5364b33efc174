//! How a pipeline ended, for people and for programs.

use super::line::Stage;
use super::{Args, When};
use crate::error::Failure;
use crate::ui::{Cell, Style, Table, Ui};
use doula_host::child::shared_rss_kb;
use doula_host::{CommandError, PipelineEnd, Signal, StageEnd};
use doula_model::words::{Size, Span};
use serde::Serialize;
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

/// A stage's text is cut to so many columns.
const STAGE_WIDTH: usize = 40;

/// What is told, and where.
pub(super) struct Report<'a> {
    stages: &'a [Stage],
    line: &'a str,
    form: Form,
    timeout: Option<Duration>,
    counted: bool,
}

enum Form {
    Table(When),
    Json(Option<(PathBuf, File)>),
}

impl<'a> Report<'a> {
    /// Opens the file for it, so that nothing is started in vain.
    pub(super) fn open(args: &'a Args, stages: &'a [Stage]) -> Result<Report<'a>, Failure> {
        let form = match &args.json {
            None if args.quiet => Form::Table(When::Never),
            None => Form::Table(args.table),
            Some(None) => Form::Json(None),
            Some(Some(path)) => {
                let file = File::create(path).map_err(|error| unwritable(path, &error))?;
                Form::Json(Some((path.clone(), file)))
            }
        };
        Ok(Report { stages, line: &args.line, form, timeout: args.timeout, counted: args.count })
    }

    /// A stage could not be born, and those before it are gone again.
    pub(super) fn not_born(
        &mut self,
        stage: usize,
        error: &CommandError,
        code: u8,
        ui: &mut Ui,
    ) -> Result<(), Failure> {
        let text =
            format!("stage {} of {} (`{}`): {error}", stage + 1, self.stages.len(), self.stages[stage].text);
        if let Form::Json(_) = self.form {
            let answer =
                Answer { error: Some(text), failed: Some(stage + 1), ..Answer::new(self.line, code) };
            return self.json(&answer, ui);
        }
        ui.failure(&Failure::doula(text));
        Ok(())
    }

    /// All stages have ended.
    pub(super) fn end(
        &mut self,
        end: &PipelineEnd,
        asked: Option<Signal>,
        code: u8,
        ui: &mut Ui,
    ) -> Result<(), Failure> {
        if let Form::Json(_) = self.form {
            return self.json(&self.answer(end, asked, code), ui);
        }
        let wanted = match self.form {
            Form::Table(When::Always) => true,
            Form::Table(When::Failure) => !end.success(),
            Form::Table(When::Never) | Form::Json(_) => false,
        };
        if wanted {
            let table = self.table(end).render(ui.err_color(), ui.err_width());
            ui.diagnosis(&table);
            self.remarks(end).iter().for_each(|remark| ui.note(remark));
        }
        Ok(())
    }

    fn table(&self, end: &PipelineEnd) -> Table {
        let mut heads = vec!["STAGE", "TIME", "CPU", "MEMORY", "READ", "WRITTEN"];
        if self.counted {
            heads.push("PASSED");
        }
        heads.push("STATUS");
        let mut table = Table::new(&heads).first_most(Some(STAGE_WIDTH));
        let shared = shared_rss_kb();
        for (stage, ended) in self.stages.iter().zip(&end.stages) {
            let number = |text: String| Cell::new(text).right();
            let bytes =
                |count: Option<u64>| number(count.map_or("-".to_owned(), |count| Size(count).to_string()));
            let mut cells = vec![
                Cell::new(&stage.text).style(Style::Name),
                number(Span(ended.wall).to_string()),
                number(Span(ended.usage.user + ended.usage.system).to_string()),
                number(memory(ended, shared)),
                bytes(ended.io.map(|io| io.read)),
                bytes(ended.io.map(|io| io.written)),
            ];
            if self.counted {
                cells.push(bytes(ended.passed));
            }
            cells.push(status(ended, end.timed_out));
            table.row(cells);
        }
        table
    }

    /// What the table does not say.
    fn remarks(&self, end: &PipelineEnd) -> Vec<String> {
        let mut remarks = Vec::new();
        if let Some(time) = self.timeout.filter(|_| end.timed_out) {
            remarks.push(format!("time was over after {}", Span(time)));
        }
        if let Some(proof) = end.proof {
            remarks.push(format!("nobody is left, proven by {proof}"));
        }
        for holder in &end.holders {
            remarks.push(format!("{holder} held a pipe open"));
        }
        for survivor in &end.survivors {
            remarks.push(format!("{survivor} lives still"));
        }
        remarks
    }

    fn answer<'b>(&'b self, end: &'b PipelineEnd, asked: Option<Signal>, code: u8) -> Answer<'b> {
        let shared = shared_rss_kb();
        let rows = self.stages.iter().zip(&end.stages);
        Answer {
            timed_out: end.timed_out,
            failed: end.failure().map(|place| place + 1),
            signal: asked.map(|signal| signal.to_string()),
            proof: end.proof.map(|proof| proof.to_string()),
            holders: end.holders.iter().map(ToString::to_string).collect(),
            survivors: end.survivors.iter().map(ToString::to_string).collect(),
            stages: rows.map(|(stage, end)| Row::new(stage, end, shared)).collect(),
            ..Answer::new(self.line, code)
        }
    }

    fn json(&self, answer: &Answer<'_>, ui: &mut Ui) -> Result<(), Failure> {
        use std::io::Write as _;
        let text = serde_json::to_string(answer)
            .map_err(|error| Failure::doula(format!("failed to write the answer as JSON: {error}")))?;
        match &self.form {
            Form::Json(Some((path, file))) => {
                let mut file = file;
                writeln!(file, "{text}").map_err(|error| unwritable(path, &error))
            }
            Form::Json(None) | Form::Table(_) => {
                ui.diagnosis(&format!("{text}\n"));
                Ok(())
            }
        }
    }
}

fn unwritable(path: &std::path::Path, error: &std::io::Error) -> Failure {
    Failure::doula(format!("failed to write `{}`: {error}", path.display()))
}

/// Whether its largest memory may be ours.
fn is_bound(stage: &StageEnd, shared: Option<u64>) -> bool {
    shared.is_none_or(|shared| stage.usage.max_rss_kb <= shared)
}

/// As much as is known of it.
fn memory(stage: &StageEnd, shared: Option<u64>) -> String {
    let most = Size(stage.usage.max_rss_kb.saturating_mul(1024));
    if is_bound(stage, shared) { format!("≤ {most}") } else { most.to_string() }
}

fn status(stage: &StageEnd, timed_out: bool) -> Cell {
    let because = match stage {
        StageEnd { killed: true, .. } if timed_out => ": time was over",
        StageEnd { killed: true, .. } => ": another stage failed",
        StageEnd { excused: true, .. } => ": nobody reads on",
        StageEnd { .. } => "",
    };
    let style = match stage {
        StageEnd { killed: true, .. } => Style::Busy,
        StageEnd { excused: true, .. } => Style::Dim,
        failed if failed.failed() => Style::Bad,
        StageEnd { .. } => Style::Good,
    };
    Cell::new(format!("{}{because}", stage.status)).style(style)
}

/// The end, for programs. Times are in seconds, stages are counted from 1.
#[derive(Debug, Default, Serialize)]
struct Answer<'a> {
    line: &'a str,
    code: u8,
    ok: bool,
    /// Why no pipeline was started.
    error: Option<String>,
    /// Which stage failed last.
    failed: Option<usize>,
    timed_out: bool,
    /// Which signal we were asked to end by.
    signal: Option<String>,
    proof: Option<String>,
    holders: Vec<String>,
    survivors: Vec<String>,
    stages: Vec<Row<'a>>,
}

impl<'a> Answer<'a> {
    fn new(line: &'a str, code: u8) -> Answer<'a> {
        Answer { line, code, ok: code == 0, ..Answer::default() }
    }
}

/// One stage, for programs.
#[derive(Debug, Serialize)]
struct Row<'a> {
    command: &'a str,
    words: &'a [String],
    pid: i32,
    status: String,
    code: Option<u8>,
    signal: Option<String>,
    core: bool,
    failed: bool,
    excused: bool,
    killed: bool,
    seconds: f64,
    user_seconds: f64,
    system_seconds: f64,
    max_rss: u64,
    /// It is no more than this, and perhaps less.
    max_rss_is_a_bound: bool,
    read: Option<u64>,
    written: Option<u64>,
    passed: Option<u64>,
}

impl<'a> Row<'a> {
    fn new(stage: &'a Stage, end: &StageEnd, shared: Option<u64>) -> Row<'a> {
        Row {
            command: &stage.text,
            words: &stage.words,
            pid: end.pid.get(),
            status: end.status.to_string(),
            code: end.status.exit_code(),
            signal: end.status.killed_by().map(|signal| signal.to_string()),
            core: end.status.dumped_core(),
            failed: end.failed(),
            excused: end.excused,
            killed: end.killed,
            seconds: end.wall.as_secs_f64(),
            user_seconds: end.usage.user.as_secs_f64(),
            system_seconds: end.usage.system.as_secs_f64(),
            max_rss: end.usage.max_rss_kb.saturating_mul(1024),
            max_rss_is_a_bound: is_bound(end, shared),
            read: end.io.map(|io| io.read),
            written: end.io.map(|io| io.written),
            passed: end.passed,
        }
    }
}
