//! The mounts that a process sees (`/proc/PID/mountinfo`, proc_pid_mountinfo(5)).

use super::Mount;
use crate::cgroup::unescape;
use doula_model::id::Pid;
use std::fs;

/// The mount with this number.
pub(super) fn by_number(pid: Pid, number: u32) -> Option<Mount> {
    let text = fs::read(format!("/proc/{pid}/mountinfo")).ok()?;
    lines(&text).find(|(found, _)| *found == number).map(|(_, mount)| mount)
}

/// The mount in which a path is by its text alone: the last one at the longest beginning of it.
pub(super) fn by_path(pid: Pid, path: &[u8]) -> Option<Mount> {
    let text = fs::read(format!("/proc/{pid}/mountinfo")).ok()?;
    holds(&text, path)
}

fn holds(text: &[u8], path: &[u8]) -> Option<Mount> {
    let is_in = |mount: &Mount| {
        let rest = path.strip_prefix(mount.point.strip_suffix(b"/").unwrap_or(&mount.point));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    };
    lines(text).map(|(_, mount)| mount).filter(is_in).max_by_key(|mount| mount.point.len())
}

/// Whether a process sees other mounts than we do.
pub(super) fn are_others(pid: Pid) -> bool {
    let namespace = |of: &str| fs::read_link(format!("/proc/{of}/ns/mnt")).ok();
    namespace(&pid.to_string()).is_some_and(|theirs| namespace("self") != Some(theirs))
}

/// Those of FUSE that have requests which nobody has answered; where the kernel does not count them for us
/// (`/sys/fs/fuse/connections`), all of FUSE.
pub(super) fn unanswered(pid: Pid) -> Vec<Mount> {
    let Ok(text) = fs::read(format!("/proc/{pid}/mountinfo")) else { return Vec::new() };
    let waits = |mount: &Mount| {
        let file = format!("/sys/fs/fuse/connections/{}/waiting", mount.device.1);
        fs::read_to_string(file).map_or(true, |count| count.trim() != "0")
    };
    lines(&text).map(|(_, mount)| mount).filter(Mount::is_fuse).filter(waits).collect()
}

fn lines(text: &[u8]) -> impl Iterator<Item = (u32, Mount)> {
    text.split(|&byte| byte == b'\n').filter_map(line)
}

/// `36 35 98:0 /root /mount/point options [optional fields] - type source super-options`.
fn line(line: &[u8]) -> Option<(u32, Mount)> {
    let fields: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    let dash = fields.iter().position(|field| *field == b"-")?;
    let text = |at: usize| std::str::from_utf8(fields.get(at)?).ok();
    let (major, minor) = text(2)?.split_once(':')?;
    let mount = Mount {
        point: unescape(fields.get(4)?),
        kind: text(dash + 1)?.to_owned(),
        source: unescape(fields.get(dash + 2)?),
        device: (major.parse().ok()?, minor.parse().ok()?),
    };
    Some((text(0)?.parse().ok()?, mount))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_read_with_its_escapes_undone_and_broken_lines_are_passed_over() {
        let text =
            b"36 35 0:39 / /mnt/a\\040b rw,nosuid shared:1 - fuse.sshfs host:/x rw\n- x\n1 2 3 - a b\n\n";
        let found: Vec<_> = lines(text).collect();
        assert_eq!(found.len(), 1);
        let (number, mount) = &found[0];
        assert_eq!((*number, mount.point.as_slice(), mount.device), (36, b"/mnt/a b".as_slice(), (0, 39)));
        assert!(mount.is_fuse() && !mount.is_nfs());
    }

    #[test]
    fn a_path_is_in_the_mount_at_its_longest_beginning() {
        let text = b"1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 8:2 / /mnt rw - ext4 /dev/b rw\n\
                     3 2 8:3 / /mnt/in rw - xfs /dev/c rw\n4 1 8:4 / /mnt rw - ext4 /dev/d rw\n";
        let of = |path: &[u8]| holds(text, path).map(|mount| mount.device);
        assert_eq!(
            (of(b"/mnt/in/x"), of(b"/mnt/inner"), of(b"/mntx")),
            (Some((8, 3)), Some((8, 4)), Some((8, 1)))
        );
        assert_eq!((of(b"/mnt"), of(b"x")), (Some((8, 4)), None));
    }

    #[test]
    fn a_mount_of_nfs_names_its_server() {
        let text = b"40 1 0:50 / /data rw - nfs4 filer.example:/export rw,vers=4.2,addr=10.0.0.1\n\
                     41 1 0:51 / /old rw - nfs [fd00::1]:/a:/b rw\n42 1 0:52 / /loc rw - ext4 a:/b rw\n";
        let servers: Vec<_> = lines(text).map(|(_, mount)| mount.server().map(<[u8]>::to_vec)).collect();
        assert_eq!(servers, [Some(b"filer.example".to_vec()), Some(b"[fd00::1]".to_vec()), None]);
    }

    #[test]
    fn our_own_root_is_mounted() {
        let us = doula_sys::group::pid();
        let text = fs::read(format!("/proc/{us}/mountinfo")).expect("/proc");
        let (number, _) = lines(&text).find(|(_, mount)| mount.point == b"/").expect("a root");
        assert_eq!(by_number(us, number).map(|mount| mount.point), Some(b"/".to_vec()));
    }
}
