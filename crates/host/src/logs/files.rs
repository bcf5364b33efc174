//! One log file for each service in a directory, changed when it is large or old.
//!
//! Nothing is buffered: the lines of one read are one write(2), so that what was taken in is in the file. When
//! a write fails (disk full, I/O error) the file is cut back to the end of its last whole line, then or before the next write; what
//! becomes of the lines is decided by [`doula_core::arrears`].

use super::rotate;
use super::text::Clock;
use super::{Mark, Stamp, errno};
use core::time::Duration;
use doula_core::arrears::{Arrears, Owed};
use doula_model::id::ServiceId;
use doula_model::plan::Errno;
use doula_model::time::Time;
use doula_sys::fd;
use std::collections::{BTreeMap, VecDeque};
use std::ffi::CString;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

/// What all files together may keep in memory while they cannot be written.
const BACKLOG: usize = 256 * 1024;

/// Longer file names are cut (NAME_MAX is 255), with room for `.log`, the time and `.gz.part`.
const LONGEST_NAME: usize = 180;

/// The name of the supervisor's own file, without its ending.
const OWN_NAME: &str = "doula";

/// When a file is changed for a new one, and what becomes of the old ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// A file that would get larger than this, in bytes.
    pub max_size: u64,
    /// A file whose first line is older than this; `None`: never because of its age. It is looked at when
    /// something is written, so that an idle service causes no wake-up.
    pub max_age: Option<Duration>,
    /// How many old files of a service are kept.
    pub keep: usize,
    /// Whether old files are compressed.
    pub compress: bool,
}

impl Default for Rotation {
    fn default() -> Rotation {
        Rotation { max_size: 10 * 1024 * 1024, max_age: None, keep: 5, compress: true }
    }
}

/// What is worth telling the other sinks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FilesNews {
    /// Files cannot be written: this was the first.
    Refused(PathBuf, Errno),
    /// All can be written again; so many lines are missing in them.
    Works(u64),
    /// A full file could not be changed for a new one; it grows on.
    Unrotated(PathBuf, Errno),
}

/// The sink.
#[derive(Debug)]
pub(crate) struct Files {
    directory: PathBuf,
    rotation: Rotation,
    logs: BTreeMap<Option<ServiceId>, Log>,
    clock: Clock,
    arrears: Arrears<Option<ServiceId>>,
    pub(crate) jobs: VecDeque<PathBuf>,
    pub(crate) news: VecDeque<FilesNews>,
}

#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: Option<File>,
    size: u64,
    /// There may be a piece of a line behind `size`, which could not be cut off.
    torn: bool,
    /// The time of the first line.
    begun: Duration,
    /// Its service is gone; it is closed when nothing is owed to it.
    forgotten: bool,
    /// After a rotation that failed none is tried before this size.
    rotate_above: u64,
}

impl Files {
    /// Opens the directory and makes it if it is missing. Also finds what an earlier supervisor left undone.
    pub(crate) fn open(directory: &Path, rotation: Rotation) -> std::io::Result<Files> {
        std::fs::create_dir_all(directory)?;
        let left = rotate::leftovers(directory)?;
        let jobs = if rotation.compress { VecDeque::from(left) } else { VecDeque::new() };
        Ok(Files {
            directory: directory.to_path_buf(),
            rotation,
            logs: BTreeMap::new(),
            clock: Clock::utc(),
            arrears: Arrears::new(BACKLOG),
            jobs,
            news: VecDeque::new(),
        })
    }

    /// Formats one record: `2026-01-31T12:00:00.000Z text`, with `+` or `!` instead of the space for a further
    /// piece of a long line and for a word of the supervisor.
    pub(crate) fn format(&mut self, stamp: Stamp, mark: Mark, bytes: &[u8], out: &mut Vec<u8>) {
        self.clock.write(stamp.wall, out);
        out.push(mark.in_file());
        out.extend_from_slice(bytes);
        out.push(b'\n');
    }

    /// Takes whole formatted lines of one service in.
    pub(crate) fn append(&mut self, stamp: Stamp, who: (Option<ServiceId>, &str), lines: &[u8]) {
        let directory = &self.directory;
        let log = self.logs.entry(who.0).or_insert_with(|| Log {
            path: directory.join(file_name(who.0, who.1)),
            file: None,
            size: 0,
            torn: false,
            begun: stamp.wall,
            forgotten: false,
            rotate_above: 0,
        });
        log.forgotten = false;
        if self.arrears.is_behind(who.0) {
            return self.arrears.owe(who.0, lines);
        }
        if let Err(errno) = self.write(stamp, who.0, lines) {
            if self.arrears.refused(stamp.now) {
                let path = self.logs.get(&who.0).map(|log| log.path.clone()).unwrap_or_default();
                self.news.push_back(FilesNews::Refused(path, errno));
            }
            self.arrears.owe(who.0, lines);
        }
    }

    /// The service is no longer there; its file is closed as soon as nothing is owed to it.
    pub(crate) fn forget(&mut self, service: ServiceId) {
        let who = Some(service);
        if self.arrears.is_behind(who) {
            self.logs.entry(who).and_modify(|log| log.forgotten = true);
        } else {
            self.logs.remove(&who);
        }
    }

    /// When [`Files::retry`] wants to be called.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.arrears.deadline()
    }

    /// Tries to write what was kept.
    pub(crate) fn retry(&mut self, stamp: Stamp) {
        let Some(behind) = self.arrears.due(stamp.now) else { return };
        behind.into_iter().for_each(|who| self.catch_up(stamp, who));
        self.news.extend(self.arrears.is_over().map(FilesNews::Works));
    }

    /// The next [`Files::retry`] shall not wait.
    pub(crate) fn hurry(&mut self) {
        self.arrears.hurry();
    }

    /// How many lines would be lost if this were the end.
    pub(crate) fn unwritten(&self) -> u64 {
        self.arrears.unwritten()
    }

    /// Writes what is owed to a file, if it can.
    fn catch_up(&mut self, stamp: Stamp, who: Option<ServiceId>) {
        let Some(Owed { lines, lost }) = self.arrears.owed(who) else { return };
        let (mut text, lost) = (lines.clone(), *lost);
        if lost > 0 {
            let note = format!("{lost} lines are missing here: they could not be written");
            self.format(stamp, Mark::Note, note.as_bytes(), &mut text);
        }
        if self.write(stamp, who, &text).is_ok() {
            self.arrears.paid(who);
            self.logs.retain(|id, log| *id != who || !log.forgotten);
        }
    }

    fn write(&mut self, stamp: Stamp, who: Option<ServiceId>, lines: &[u8]) -> Result<(), Errno> {
        self.open_log(stamp, who)?;
        self.rotate(stamp, who, lines.len() as u64)?;
        let Some(log) = self.logs.get_mut(&who) else { return Err(Errno::ENOENT) };
        let Some(file) = &mut log.file else { return Err(Errno::EBADF) };
        if let Err(error) = file.write_all(lines) {
            // Half a line in the file would be a torn line: take back what this write has done.
            log.torn = file.set_len(log.size).is_err();
            log.file = None;
            return Err(errno(&error));
        }
        log.size += lines.len() as u64;
        Ok(())
    }

    fn open_log(&mut self, stamp: Stamp, who: Option<ServiceId>) -> Result<(), Errno> {
        let Some(log) = self.logs.get(&who) else { return Err(Errno::ENOENT) };
        if log.file.is_some() {
            return Ok(());
        }
        let path = log.path.clone();
        let file = match open(&path) {
            Err(Errno::EMFILE | Errno::ENFILE) => {
                self.logs.values_mut().for_each(|log| log.file = None);
                open(&path)?
            }
            Err(Errno::ENOENT) => {
                std::fs::create_dir_all(&self.directory).map_err(|error| errno(&error))?;
                open(&path)?
            }
            other => other?,
        };
        let about = file.metadata().map_err(|error| errno(&error))?;
        if !about.is_file() {
            return Err(Errno::EEXIST);
        }
        let Some(log) = self.logs.get_mut(&who) else { return Err(Errno::ENOENT) };
        let mut size = about.len();
        if log.torn && size > log.size {
            file.set_len(log.size).map_err(|error| errno(&error))?;
            size = log.size;
        }
        log.torn = false;
        log.begun = if size > 0 { first_time(&path).unwrap_or(stamp.wall) } else { stamp.wall };
        (log.size, log.file) = (size, Some(file));
        Ok(())
    }

    /// Changes a file that is full or old for a new one.
    fn rotate(&mut self, stamp: Stamp, who: Option<ServiceId>, more: u64) -> Result<(), Errno> {
        let Rotation { max_size, max_age, keep, compress } = self.rotation;
        let Some(log) = self.logs.get_mut(&who) else { return Err(Errno::ENOENT) };
        let large = log.size + more > max_size.max(log.rotate_above);
        let old = max_age.is_some_and(|age| stamp.wall.saturating_sub(log.begun) >= age);
        if log.size == 0 || !(large || old) {
            return Ok(());
        }
        let rotated = rotate::rotated_name(&log.path, stamp.wall);
        if let Err(error) = std::fs::rename(&log.path, &rotated) {
            self.news.push_back(FilesNews::Unrotated(log.path.clone(), errno(&error)));
            (log.rotate_above, log.begun) = (log.size + max_size, stamp.wall);
            return Ok(());
        }
        (log.file, log.rotate_above) = (None, 0);
        if let Err(error) = rotate::prune(&log.path, keep) {
            self.news.push_back(FilesNews::Unrotated(log.path.clone(), errno(&error)));
        }
        if compress && keep > 0 {
            self.jobs.push_back(rotated);
        }
        self.open_log(stamp, who)
    }
}

fn open(path: &Path) -> Result<File, Errno> {
    let path = CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| Errno::EINVAL)?;
    fd::open(&path, fd::Access::Append).map(File::from)
}

/// The time at the beginning of a log file, since 1970.
fn first_time(path: &Path) -> Option<Duration> {
    let mut text = [0; "2026-01-31T12:00:00.000Z".len()];
    File::open(path).ok()?.read_exact(&mut text).ok()?;
    let time: jiff::Timestamp = core::str::from_utf8(&text).ok()?.parse().ok()?;
    u64::try_from(time.as_millisecond()).ok().map(Duration::from_millis)
}

/// A file name that no service can misuse: everything unusual is written as `%XX`. The supervisor's own file
/// is `doula.log`; a service of that name gets another one.
fn file_name(service: Option<ServiceId>, name: &str) -> String {
    let mut safe = String::new();
    for (place, byte) in name.bytes().enumerate() {
        let usual = byte.is_ascii_alphanumeric() || b"_-@+".contains(&byte) || (byte == b'.' && place > 0);
        let taken = place == 0 && service.is_some() && name == OWN_NAME;
        if usual && !taken { safe.push(char::from(byte)) } else { safe.push_str(&format!("%{byte:02X}")) }
    }
    if safe.len() > LONGEST_NAME || safe.is_empty() {
        // Two long names may begin alike; the number tells them apart.
        safe.truncate(LONGEST_NAME);
        safe.push_str(&format!("%{}", service.map_or(0, |id| id.0)));
    }
    safe.push_str(".log");
    safe
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A directory that vanishes with the test.
    pub(crate) struct Scratch(PathBuf);

    impl Scratch {
        pub(crate) fn new() -> Scratch {
            use core::sync::atomic::{AtomicU32, Ordering};
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("doula-test-{}-{number}", std::process::id()));
            std::fs::create_dir(&path).expect("a new directory");
            Scratch(path)
        }

        pub(crate) fn dir(&self) -> &Path {
            &self.0
        }

        pub(crate) fn path(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }

        pub(crate) fn names(&self) -> Vec<String> {
            let mut names: Vec<_> = std::fs::read_dir(&self.0)
                .expect("list")
                .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
                .collect();
            names.sort();
            names
        }

        pub(crate) fn text(&self, name: &str) -> String {
            std::fs::read_to_string(self.path(name)).expect("a text file")
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap_or_default();
        }
    }

    const WEB: (Option<ServiceId>, &str) = (Some(ServiceId(0)), "web");

    fn at(second: u64) -> Stamp {
        Stamp { now: Time::from_nanos(second * 1_000_000_000), wall: Duration::from_secs(second) }
    }

    fn say(files: &mut Files, second: u64, text: &str) {
        let mut out = Vec::new();
        files.format(at(second), Mark::Line, text.as_bytes(), &mut out);
        files.append(at(second), WEB, &out);
    }

    #[test]
    fn names_of_services_become_harmless_file_names() {
        let cases = [
            ("web", "web.log"),
            ("web@1", "web@1.log"),
            ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd.log"),
            (".hidden", "%2Ehidden.log"),
            ("a b\n", "a%20b%0A.log"),
            ("doula", "%64oula.log"),
            ("", "%0.log"),
        ];
        for (name, file) in cases {
            assert_eq!(file_name(Some(ServiceId(0)), name), file);
        }
        assert_eq!(file_name(None, "doula"), "doula.log");
        let (one, two) = ("x".repeat(300), "x".repeat(301));
        assert_ne!(file_name(Some(ServiceId(1)), &one), file_name(Some(ServiceId(2)), &two));
    }

    #[test]
    fn a_file_is_changed_before_it_gets_too_large_and_old_ones_are_removed() {
        let scratch = Scratch::new();
        let rotation = Rotation { max_size: 60, keep: 2, ..Rotation::default() };
        let mut files = Files::open(scratch.dir(), rotation).expect("open");
        for second in 0..10 {
            say(&mut files, second, "0123456789");
        }
        let names = scratch.names();
        assert_eq!(
            names,
            ["web.log", "web.log.19700101T000008.000000Z", "web.log.19700101T000009.000000Z"],
            "{names:?}"
        );
        assert_eq!(scratch.text("web.log"), "1970-01-01T00:00:09.000Z 0123456789\n");
        assert_eq!(files.jobs.len(), 9);
        assert!(files.news.is_empty());
    }

    #[test]
    fn two_changes_at_the_same_time_overwrite_nothing() {
        let scratch = Scratch::new();
        let rotation = Rotation { max_size: 1, keep: 100, compress: false, ..Rotation::default() };
        let mut files = Files::open(scratch.dir(), rotation).expect("open");
        for number in 0..12 {
            say(&mut files, 5, &format!("line {number}"));
        }
        let mut names = scratch.names();
        let current = names.remove(0);
        names.push(current);
        let texts: Vec<_> = names.iter().map(|name| scratch.text(name)).collect();
        let expected: Vec<_> = (0..12).map(|n| format!("1970-01-01T00:00:05.000Z line {n}\n")).collect();
        assert_eq!(texts, expected, "in the order of their names");
    }

    #[test]
    fn a_file_is_changed_when_its_first_line_is_old_also_after_a_restart() {
        let scratch = Scratch::new();
        let rotation = Rotation { max_age: Some(Duration::from_secs(100)), ..Rotation::default() };
        let mut files = Files::open(scratch.dir(), rotation).expect("open");
        say(&mut files, 10, "old");
        let mut files = Files::open(scratch.dir(), rotation).expect("open");
        say(&mut files, 109, "not yet");
        assert_eq!(scratch.names(), ["web.log"]);
        say(&mut files, 110, "new");
        assert_eq!(scratch.names(), ["web.log", "web.log.19700101T000150.000000Z"]);
        assert!(scratch.text("web.log").ends_with(" new\n"));
    }

    #[test]
    fn lines_that_cannot_be_written_are_kept_and_then_counted_and_nothing_is_torn() {
        let scratch = Scratch::new();
        let logs = scratch.path("logs");
        let mut files = Files::open(&logs, Rotation::default()).expect("open");
        std::fs::remove_dir(&logs).expect("remove");
        std::fs::write(&logs, "not a directory").expect("write");
        say(&mut files, 1, "kept");
        assert!(matches!(files.news.pop_front(), Some(FilesNews::Refused(_, _))));
        say(&mut files, 1, &"x".repeat(BACKLOG));
        say(&mut files, 1, "small, but after a lost one");
        files.retry(at(2));
        assert!(files.news.is_empty(), "told once");
        assert_eq!((files.unwritten(), files.deadline()), (3, Some(at(3).now)));
        std::fs::remove_file(&logs).expect("remove");
        files.retry(at(3));
        assert_eq!(files.news.pop_front(), Some(FilesNews::Works(2)));
        assert_eq!((files.unwritten(), files.deadline()), (0, None));
        let text = std::fs::read_to_string(logs.join("web.log")).expect("read");
        let note = "1970-01-01T00:00:03.000Z!2 lines are missing here: they could not be written\n";
        assert_eq!(text, format!("1970-01-01T00:00:01.000Z kept\n{note}"));
    }

    #[test]
    fn a_piece_of_a_line_that_could_not_be_cut_off_is_cut_off_before_the_next_write() {
        let scratch = Scratch::new();
        let mut files = Files::open(scratch.dir(), Rotation::default()).expect("open");
        say(&mut files, 1, "whole");
        let log = files.logs.get_mut(&WEB.0).expect("it has said something");
        // What a write that failed in the middle leaves when ftruncate(2) fails as well.
        log.file.as_mut().expect("open").write_all(b"1970-01-01T00:00:02.000Z ha").expect("write");
        (log.torn, log.file) = (true, None);
        say(&mut files, 2, "half");
        let lines = "1970-01-01T00:00:01.000Z whole\n1970-01-01T00:00:02.000Z half\n";
        assert_eq!(scratch.text("web.log"), lines);
        // Nothing is cut off of a file that somebody else has made smaller meanwhile.
        std::fs::write(scratch.path("web.log"), "new\n").expect("write");
        files.logs.values_mut().for_each(|log| (log.torn, log.file) = (true, None));
        say(&mut files, 3, "more");
        assert_eq!(scratch.text("web.log"), "new\n1970-01-01T00:00:03.000Z more\n");
    }

    #[test]
    fn a_file_that_goes_on_refusing_holds_up_no_other_and_who_is_gone_is_closed_when_it_is_paid() {
        let scratch = Scratch::new();
        let logs = scratch.path("logs");
        let mut files = Files::open(&logs, Rotation::default()).expect("open");
        let other = (Some(ServiceId(1)), "other");
        std::fs::remove_dir(&logs).expect("remove");
        std::fs::write(&logs, "not a directory").expect("write");
        say(&mut files, 1, "kept");
        files.append(at(1), other, b"kept too\n");
        files.forget(ServiceId(1));
        std::fs::remove_file(&logs).expect("remove");
        std::fs::create_dir_all(logs.join("web.log")).expect("a directory in the place of a file");
        files.retry(at(2));
        assert_eq!(scratch.text("logs/other.log"), "kept too\n");
        assert_eq!((files.unwritten(), files.logs.keys().copied().collect::<Vec<_>>()), (1, vec![WEB.0]));
        std::fs::remove_dir(logs.join("web.log")).expect("remove");
        files.retry(at(3));
        assert_eq!(scratch.text("logs/web.log"), "1970-01-01T00:00:01.000Z kept\n");
        assert_eq!(files.news.pop_back(), Some(FilesNews::Works(0)));
    }
}
