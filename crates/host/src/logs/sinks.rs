//! Where records go: the flood gate of each service, then ring, screen and files.

use super::files::{Files, FilesNews, Rotation};
use super::ring::Ring;
use super::screen::{Screen, ScreenNews, Style, Tag};
use super::{Mark, Stamp, text};
use doula_core::flood::{Flood, Verdict};
use doula_model::id::ServiceId;
use doula_model::plan::Errno;
use doula_model::recipe::LogPolicy;
use doula_model::time::Time;
use doula_sys::fd::OwnedFd;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// The name under which the supervisor speaks.
const OWN_NAME: &str = "doula";

/// The SGR parameter of its tag: bold.
const OWN_COLOUR: &str = "1";

/// Where records go.
#[derive(Debug, Default)]
pub struct Options {
    /// (A duplicate of) standard output; `None`: nothing is shown.
    pub output: Option<OwnedFd>,
    /// How it looks there.
    pub style: Style,
    /// The directory of the log files, if any.
    pub files: Option<(PathBuf, Rotation)>,
    /// How much memory the last records of the whole family may take, in bytes.
    pub ring: usize,
}

/// All sinks together.
#[derive(Debug)]
pub(crate) struct Sinks {
    pub(crate) ring: Ring,
    pub(crate) screen: Screen,
    pub(crate) files: Option<Files>,
    voices: BTreeMap<ServiceId, Voice>,
    /// Those whose dropped lines are not reported yet.
    gaps: BTreeSet<ServiceId>,
    /// The formatted lines of one read, for the file.
    batch: Vec<u8>,
}

#[derive(Debug)]
struct Voice {
    name: String,
    flood: Option<Flood>,
}

impl Sinks {
    pub(crate) fn open(options: Options) -> std::io::Result<Sinks> {
        let to_io = |errno: Errno| std::io::Error::from_raw_os_error(errno.0);
        let mut screen = match options.output {
            None => Screen::nowhere(),
            Some(output) => Screen::open(output, options.style).map_err(to_io)?,
        };
        screen.make_room(OWN_NAME);
        let files =
            options.files.map(|(directory, rotation)| Files::open(&directory, rotation)).transpose()?;
        let (voices, gaps, batch) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
        Ok(Sinks { ring: Ring::new(options.ring), screen, files, voices, gaps, batch })
    }

    /// A service gets its name and its limit; also when they change.
    pub(crate) fn introduce(&mut self, stamp: Stamp, service: ServiceId, name: &str, policy: LogPolicy) {
        self.end_gap(stamp, service);
        self.screen.make_room(name);
        let flood = policy.flood.map(|limit| Flood::new(limit, stamp.now));
        self.voices.insert(service, Voice { name: name.to_owned(), flood });
    }

    pub(crate) fn name(&self, service: Option<ServiceId>) -> &str {
        service.map_or(OWN_NAME, |id| self.voices.get(&id).map_or("?", |voice| &voice.name))
    }

    /// The names of all services that were ever introduced.
    pub(crate) fn names(&self) -> Vec<(ServiceId, String)> {
        self.voices.iter().map(|(id, voice)| (*id, voice.name.clone())).collect()
    }

    /// One line (or piece) of a service. [`Sinks::end_batch`] must follow before anybody else's line.
    pub(crate) fn line(&mut self, stamp: Stamp, service: ServiceId, mark: Mark, bytes: &[u8]) {
        let flood = self.voices.get_mut(&service).and_then(|voice| voice.flood.as_mut());
        match flood.map_or(Verdict::Pass, |flood| flood.admit(stamp.now)) {
            Verdict::Pass => {}
            Verdict::PassAfter(dropped) => {
                self.gaps.remove(&service);
                self.record(stamp, Some(service), Mark::Note, dropped.to_string().as_bytes());
            }
            Verdict::Drop => {
                self.gaps.insert(service);
                return;
            }
        }
        self.record(stamp, Some(service), mark, bytes);
    }

    /// A word of the supervisor at this place in the output of a service.
    pub(crate) fn note(&mut self, stamp: Stamp, service: ServiceId, text: &str) {
        self.record(stamp, Some(service), Mark::Note, text.as_bytes());
    }

    /// The lines of one read are complete: into the file with them.
    pub(crate) fn end_batch(&mut self, stamp: Stamp, service: Option<ServiceId>) {
        let Some(mut files) = self.files.take() else { return };
        if !self.batch.is_empty() {
            files.append(stamp, (service, self.name(service)), &self.batch);
            self.batch.clear();
        }
        self.files = Some(files);
    }

    /// The supervisor's own words, one record for each line.
    pub(crate) fn say(&mut self, stamp: Stamp, text: &str) {
        assert!(self.batch.is_empty(), "a service's lines are still waiting for their file");
        for line in text.lines() {
            self.record(stamp, None, Mark::Line, line.as_bytes());
        }
        self.end_batch(stamp, None);
    }

    /// No further line of this service is near: tells what was dropped.
    pub(crate) fn end_gap(&mut self, stamp: Stamp, service: ServiceId) {
        if !self.gaps.remove(&service) {
            return;
        }
        let flood = self.voices.get_mut(&service).and_then(|voice| voice.flood.as_mut());
        if let Some(dropped) = flood.and_then(|flood| flood.finish(stamp.now)) {
            self.note(stamp, service, &dropped.to_string());
            self.end_batch(stamp, Some(service));
        }
    }

    /// Those whose dropped lines are not reported yet.
    pub(crate) fn gaps(&self) -> Vec<ServiceId> {
        self.gaps.iter().copied().collect()
    }

    /// Gives back what a service that is gone has held.
    pub(crate) fn forget(&mut self, stamp: Stamp, service: ServiceId) {
        self.end_gap(stamp, service);
        if let Some(files) = &mut self.files {
            files.forget(service);
        }
        if let Some(voice) = self.voices.get_mut(&service) {
            // Its name stays: the ring may still hold lines of it.
            voice.flood = None;
        }
    }

    /// Writes what waits, and does what has come due.
    pub(crate) fn flush(&mut self, stamp: Stamp) {
        self.report_gaps(stamp);
        if let Some(files) = &mut self.files {
            files.retry(stamp);
        }
        while let Some(news) = self.files.as_mut().and_then(|files| files.news.pop_front()) {
            self.say(stamp, &files_text(&news));
        }
        if let Some(news) = self.screen.flush(stamp) {
            self.say(stamp, &screen_text(news));
        }
    }

    /// When [`Sinks::flush`] must be called although nothing happens.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let gaps =
            self.gaps.iter().filter_map(|service| self.voices.get(service)?.flood.as_ref()?.deadline());
        let files = self.files.as_ref().and_then(Files::deadline);
        gaps.chain(files).chain(self.screen.deadline()).min()
    }

    fn report_gaps(&mut self, stamp: Stamp) {
        let overdue = |service: &ServiceId| {
            let flood = self.voices.get_mut(service)?.flood.as_mut()?;
            flood.overdue(stamp.now).map(|dropped| (*service, dropped))
        };
        let found: Vec<_> = self.gaps.iter().filter_map(overdue).collect();
        for (service, dropped) in found {
            self.gaps.remove(&service);
            self.note(stamp, service, &dropped.to_string());
            self.end_batch(stamp, Some(service));
        }
    }

    fn record(&mut self, stamp: Stamp, service: Option<ServiceId>, mark: Mark, bytes: &[u8]) {
        self.ring.push(stamp, service, mark, bytes);
        let name = match service {
            None => OWN_NAME,
            Some(id) => self.voices.get(&id).map_or("?", |voice| &voice.name),
        };
        let colour = service.map_or(OWN_COLOUR, |id| text::colour(id.0));
        self.screen.line(stamp, Tag { name, colour }, mark, bytes);
        if let Some(files) = &mut self.files {
            files.format(stamp, mark, bytes, &mut self.batch);
        }
    }
}

fn files_text(news: &FilesNews) -> String {
    match news {
        FilesNews::Refused(path, errno) => {
            let path = path.display();
            format!(
                "error: failed to write {path}: {errno}; lines are kept in memory and then counted until it works"
            )
        }
        FilesNews::Works(0) => "log files are written again; no line was lost".to_owned(),
        FilesNews::Works(lost) => format!("log files are written again; {lost} lines are missing in them"),
        FilesNews::Unrotated(path, errno) => {
            format!("error: failed to change {} for a new file: {errno}; it grows on", path.display())
        }
    }
}

fn screen_text(news: ScreenNews) -> String {
    match news {
        ScreenNews::Refused(errno) => {
            format!("error: failed to write standard output: {errno}; lines are counted")
        }
        ScreenNews::Gone(errno) => format!("standard output is gone: {errno}; nothing more is written there"),
        ScreenNews::Works(lost) => format!("standard output works again; {lost} lines are missing in it"),
    }
}
