//! Old log files: their names, how many of them are kept, and their compression.
//!
//! A file that is full becomes `NAME.log.20260131T120000.000000Z` (the time of the change, in UTC), so that a name
//! never changes again and their order is that of the alphabet. A child process makes `….gz` of it.

use core::time::Duration;
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// The ending of compressed files.
const COMPRESSED: &str = ".gz";

/// The ending of a file that is being compressed; one that is left over was not finished.
const UNFINISHED: &str = ".gz.part";

/// The length of the time in a name: `20260131T120000.000000Z`.
const TIME_LENGTH: usize = 23;

/// Why a file could not be compressed. The original stays as it was.
#[derive(Debug, thiserror::Error)]
#[error("failed to {step} {path}: {source}")]
pub struct CompressError {
    step: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Compresses one file that is no longer written to: `path` becomes `path.gz`, with the same mode. It takes
/// its time, so it is for a child process; being killed in the middle loses nothing.
///
/// # Errors
/// When a file cannot be read or written. The original is removed only after everything is safely on disk.
pub fn compress_file(path: &Path) -> Result<PathBuf, CompressError> {
    let fail = |step, path: &Path| {
        let path = path.to_path_buf();
        move |source| CompressError { step, path, source }
    };
    let (part, done) = (with_ending(path, UNFINISHED), with_ending(path, COMPRESSED));
    let mut from = File::open(path).map_err(fail("open", path))?;
    let mode = from.metadata().map_err(fail("look at", path))?.mode() & 0o7777;
    let written = write_compressed(&mut from, &part, mode).and_then(|()| fs::rename(&part, &done));
    if let Err(source) = written {
        // A part that stays behind is removed when the next supervisor starts.
        fs::remove_file(&part).unwrap_or_default();
        return Err(fail("write", &part)(source));
    }
    fs::remove_file(path).map_err(fail("remove", path))?;
    Ok(done)
}

fn write_compressed(from: &mut File, part: &Path, mode: u32) -> io::Result<()> {
    match fs::remove_file(part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(part)?;
    to.set_permissions(fs::Permissions::from_mode(mode))?;
    let mut encoder = GzEncoder::new(to, Compression::default());
    io::copy(from, &mut encoder)?;
    encoder.finish()?.sync_all()
}

/// The name that a full file gets: one that does not exist yet.
pub(crate) fn rotated_name(current: &Path, wall: Duration) -> PathBuf {
    let micros = i64::try_from(wall.as_micros()).unwrap_or(i64::MAX);
    let time = Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX).strftime("%Y%m%dT%H%M%S%.6fZ");
    let base = with_ending(current, &format!(".{time}"));
    let free = |path: &PathBuf| !path.exists() && !with_ending(path, COMPRESSED).exists();
    // Two changes in one microsecond happen when both belong to one read.
    let more = (1u32..).map(|number| with_ending(&base, &format!("-{number:04}")));
    core::iter::once(base.clone()).chain(more).find(free).unwrap_or(base)
}

/// Removes the oldest rotated files of `current` until at most `keep` are left; returns the first error.
pub(crate) fn prune(current: &Path, keep: usize) -> io::Result<()> {
    let Some((directory, name)) = current.parent().zip(current.file_name()) else { return Ok(()) };
    let prefix = name.to_string_lossy();
    let mut old: Vec<String> = names(directory)?
        .filter(|found| {
            rotated_of(found).is_some_and(|owner| owner == prefix) && !found.ends_with(UNFINISHED)
        })
        .collect();
    old.sort_unstable();
    for name in old.iter().take(old.len().saturating_sub(keep)) {
        match fs::remove_file(directory.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// What an earlier supervisor has left undone: removes unfinished files, returns those to be compressed.
pub(crate) fn leftovers(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for name in names(directory)?.filter(|name| rotated_of(name).is_some()) {
        if name.ends_with(UNFINISHED) {
            fs::remove_file(directory.join(name))?;
        } else if !name.ends_with(COMPRESSED) {
            found.push(directory.join(name));
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn names(directory: &Path) -> io::Result<impl Iterator<Item = String> + use<>> {
    Ok(fs::read_dir(directory)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok()))
}

/// The current file that this rotated file belongs to: `web.log` for `web.log.20260131T120000.000000Z.gz`.
fn rotated_of(name: &str) -> Option<&str> {
    let (at, _) = name.rmatch_indices(".log.").next()?;
    let rest = name.get(at + ".log.".len()..)?;
    let (time, ending) = rest.split_at_checked(TIME_LENGTH)?;
    let plain = ending.strip_suffix(UNFINISHED).or_else(|| ending.strip_suffix(COMPRESSED)).unwrap_or(ending);
    let number = plain.is_empty() || plain.strip_prefix('-').is_some_and(digits);
    let (date, clock) = time.strip_suffix('Z')?.split_once('T')?;
    (number && digits(date) && clock.split('.').all(digits)).then(|| &name[..at + ".log".len()])
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::super::files::tests::Scratch;
    use super::*;
    use std::io::Read as _;

    #[test]
    fn a_compressed_file_has_the_same_bytes_and_mode_and_replaces_the_original() {
        let scratch = Scratch::new();
        let path = scratch.path("web.log.20260131T120000.000000Z");
        let text = b"a line\n".repeat(10_000);
        fs::write(&path, &text).expect("write");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("chmod");
        fs::write(with_ending(&path, UNFINISHED), "rubbish of an earlier attempt").expect("write");
        let done = compress_file(&path).expect("compress");
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(File::open(&done).expect("open"))
            .read_to_end(&mut back)
            .expect("gunzip");
        assert_eq!(back, text);
        assert_eq!(fs::metadata(&done).expect("stat").mode() & 0o777, 0o640);
        assert_eq!(scratch.names(), ["web.log.20260131T120000.000000Z.gz"]);
    }

    #[test]
    fn a_file_that_is_not_there_is_an_error_that_names_it() {
        let error = compress_file(Path::new("/nonexistent/a.log")).expect_err("no file");
        assert!(error.to_string().starts_with("failed to open /nonexistent/a.log: "), "{error}");
    }

    #[test]
    fn names_of_rotated_files_are_told_apart_from_those_of_services() {
        let cases = [
            ("web.log.20260131T120000.000000Z", Some("web.log")),
            ("web.log.20260131T120000.000000Z.gz", Some("web.log")),
            ("web.log.20260131T120000.000000Z-0002.gz.part", Some("web.log")),
            ("a.log.b.log.20260131T120000.000000Z", Some("a.log.b.log")),
            ("web.log", None),
            ("web.log.1", None),
            ("web.log.20260131T120000.000000Zx", None),
            ("web.log.2026", None),
        ];
        for (name, owner) in cases {
            assert_eq!(rotated_of(name), owner, "{name}");
        }
    }

    #[test]
    fn unfinished_files_are_removed_and_uncompressed_ones_found() {
        let scratch = Scratch::new();
        for name in [
            "a.log",
            "a.log.20260131T120000.000000Z",
            "a.log.20260130T120000.000000Z.gz",
            "a.log.20260131T120000.000000Z.gz.part",
        ] {
            fs::write(scratch.path(name), "x").expect("write");
        }
        assert_eq!(leftovers(scratch.dir()).expect("list"), [scratch.path("a.log.20260131T120000.000000Z")]);
        assert_eq!(scratch.names().len(), 3);
    }
}
