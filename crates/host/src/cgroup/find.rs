//! Where the cgroup hierarchies are mounted and where we stand in them: `/proc/self/mountinfo` and
//! `/proc/self/cgroup` (proc_pid_mountinfo(5), cgroups(7)).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// Our own cgroup directory of the v2 hierarchy, also of one without controllers beside v1 ones.
pub(super) fn own_v2() -> Option<PathBuf> {
    let (mounts, places) = texts()?;
    own_directory(&mounts, &places, None)
}

/// Our own cgroup directory of the v1 hierarchy with this controller.
pub(super) fn own_v1(controller: &str) -> Option<PathBuf> {
    let (mounts, places) = texts()?;
    own_directory(&mounts, &places, Some(controller))
}

/// The directory of whoever has these lines of `/proc/PID/cgroup`: of v2, or of v1 with this controller.
pub(crate) fn of(places: &[u8], controller: Option<&str>) -> Option<PathBuf> {
    own_directory(&std::fs::read("/proc/self/mountinfo").ok()?, places, controller)
}

fn texts() -> Option<(Vec<u8>, Vec<u8>)> {
    Some((std::fs::read("/proc/self/mountinfo").ok()?, std::fs::read("/proc/self/cgroup").ok()?))
}

fn own_directory(mounts: &[u8], places: &[u8], controller: Option<&str>) -> Option<PathBuf> {
    let place = lines(places).find_map(|line| place(line, controller))?;
    let mount = lines(mounts).find_map(|line| mount(line, controller))?;
    // A mount may show a part of the hierarchy only, and a cgroup namespace may lie below its root.
    let below = place.strip_prefix(&mount.root).unwrap_or(Path::new(""));
    Some(mount.point.join(below)).filter(|dir| dir.is_dir()).or(Some(mount.point))
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty())
}

/// The path behind `0::` or `4:pids:`, without its leading slash.
fn place(line: &[u8], controller: Option<&str>) -> Option<PathBuf> {
    let mut fields = line.splitn(3, |&byte| byte == b':');
    let (number, names, path) = (fields.next()?, fields.next()?, fields.next()?);
    let right = match controller {
        None => number == b"0" && names.is_empty(),
        Some(name) => names.split(|&byte| byte == b',').any(|each| each == name.as_bytes()),
    };
    right.then(|| relative(path.to_vec()))
}

fn relative(path: Vec<u8>) -> PathBuf {
    let path = PathBuf::from(OsString::from_vec(path));
    path.strip_prefix("/").map(Path::to_owned).unwrap_or(path)
}

struct Mount {
    /// Which directory of the hierarchy is mounted, without its leading slash.
    root: PathBuf,
    point: PathBuf,
}

/// `36 35 98:0 /root /mount/point options [optional fields] - type source super-options`.
fn mount(line: &[u8], controller: Option<&str>) -> Option<Mount> {
    let fields: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    let dash = fields.iter().position(|field| *field == b"-")?;
    let (kind, options) = (*fields.get(dash + 1)?, *fields.get(dash + 3)?);
    let right = match controller {
        None => kind == b"cgroup2",
        Some(name) => {
            kind == b"cgroup" && options.split(|&byte| byte == b',').any(|each| each == name.as_bytes())
        }
    };
    let path = |index: usize| fields.get(index).map(|field| unescape(field));
    right.then_some(())?;
    Some(Mount { root: relative(path(3)?), point: PathBuf::from(OsString::from_vec(path(4)?)) })
}

/// `\040` is a space: three octal digits behind a backslash.
pub(crate) fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let octal = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (first, code) {
            (b'\\', Some(code)) => {
                plain.push(code);
                rest = &after[3..];
            }
            _ => {
                plain.push(first);
                rest = after;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &[u8] = b"30 1 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
        31 30 0:27 / /sys/fs/cgroup/pids rw shared:9 - cgroup cgroup rw,pids\n\
        32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
        40 30 0:36 /inner /mnt/a\\040b rw,nosuid - cgroup2 cgroup2 rw\n";
    const PLACES: &[u8] = b"9:name=systemd:/x\n8:pids:/job\n2:cpu,cpuacct:/job\n0::/inner/me\n";

    fn found(controller: Option<&str>) -> Option<PathBuf> {
        own_directory(MOUNTS, PLACES, controller)
    }

    #[test]
    fn hierarchies_are_found_by_kind_and_controller_with_escapes_undone() {
        // The directories do not exist here, so that the mount point itself is what is left.
        assert_eq!(found(None), Some(PathBuf::from("/mnt/a b")));
        assert_eq!(found(Some("memory")), None);
        assert!(found(Some("pids")).is_some_and(|dir| dir.starts_with("/sys/fs/cgroup/pids")));
        assert!(found(Some("cpu")).is_some_and(|dir| dir.starts_with("/sys/fs/cgroup/cpu,cpuacct")));
    }

    #[test]
    fn broken_lines_are_passed_over() {
        for text in [&b""[..], b"- cgroup2", b"1 2 3 4 5 - cgroup2", b"\\", b"0:"] {
            assert_eq!(own_directory(text, PLACES, None), None);
            assert_eq!(own_directory(MOUNTS, text, None), None);
        }
        assert_eq!(unescape(b"a\\04"), b"a\\04");
    }
}
