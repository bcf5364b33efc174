//! The other files of `/proc/PID`, which are lines of names and values.

use doula_model::process::{Share, Signals, Status, Traffic};

/// Reads `/proc/PID/status` (proc_pid_status(5)). What it does not say stays as it is.
///
/// ```
/// use doula_host::procfs::parse_status;
/// use doula_model::signal::Signal;
/// let status = parse_status(b"Name:\ta\nUid:\t1\t2\t3\t4\nSigIgn:\t0000000000010000\n");
/// assert_eq!(status.uids, [1, 2, 3, 4]);
/// assert!(status.ignored.contains(Signal::CHLD));
/// ```
pub fn parse_status(text: &[u8]) -> Status {
    let mut status = Status::default();
    let mut switches = (None, None);
    for (name, value) in lines(text) {
        match name {
            b"Uid" => status.uids = four(value),
            b"Gid" => status.gids = four(value),
            b"TracerPid" => status.tracer = number(value).unwrap_or(0) as i32,
            b"NSpid" => status.ns_pids = words(value).filter_map(number).map(|pid| pid as i32).collect(),
            b"SigPnd" => status.pending = signals(value),
            b"ShdPnd" => status.shared_pending = signals(value),
            b"SigBlk" => status.blocked = signals(value),
            b"SigIgn" => status.ignored = signals(value),
            b"SigCgt" => status.caught = signals(value),
            b"VmSwap" => status.swap = kilobytes(value),
            b"VmHWM" => status.peak = kilobytes(value),
            b"NoNewPrivs" => status.no_new_privs = number(value).map(|on| on != 0),
            b"Seccomp" => status.seccomp = number(value).map(|mode| mode as u32),
            b"CapEff" => status.capabilities = hexadecimal(value),
            b"voluntary_ctxt_switches" => switches.0 = number(value),
            b"nonvoluntary_ctxt_switches" => switches.1 = number(value),
            _ => {}
        }
    }
    status.switches = switches.0.zip(switches.1);
    status
}

/// Reads `/proc/PID/smaps_rollup`; `None` when it is empty.
pub(super) fn parse_share(text: &[u8]) -> Option<Share> {
    let mut share = Share::default();
    let mut seen = false;
    for (name, value) in lines(text) {
        let Some(bytes) = kilobytes(value) else { continue };
        match name {
            b"Pss" => (share.pss, seen) = (bytes, true),
            b"Private_Clean" | b"Private_Dirty" | b"Private_Hugetlb" => share.uss += bytes,
            b"SwapPss" => share.swap_pss = bytes,
            _ => {}
        }
    }
    seen.then_some(share)
}

/// Reads `/proc/PID/io`; `None` when something is missing.
pub(super) fn parse_traffic(text: &[u8]) -> Option<Traffic> {
    let find =
        |wanted: &[u8]| lines(text).find(|(name, _)| *name == wanted).and_then(|(_, value)| number(value));
    Some(Traffic {
        read: find(b"rchar")?,
        written: find(b"wchar")?,
        disk_read: find(b"read_bytes")?,
        disk_written: find(b"write_bytes")?,
    })
}

/// Of the lines of `/proc/PID/cgroup`, the place that tells most: that of v2 unless it is the root, else the deepest.
pub(super) fn parse_cgroup(text: &[u8]) -> Option<Vec<u8>> {
    let place = |line: &'_ [u8]| {
        let mut fields = line.splitn(3, |&byte| byte == b':');
        let (hierarchy, path) = (fields.next()?, fields.nth(1)?);
        Some((hierarchy == b"0", path.to_vec()))
    };
    let places: Vec<(bool, Vec<u8>)> = text.split(|&byte| byte == b'\n').filter_map(place).collect();
    let unified = places.iter().find(|(unified, path)| *unified && path.as_slice() != b"/");
    let depth = |path: &[u8]| path.iter().filter(|&&byte| byte == b'/').count() + usize::from(path != b"/");
    let deepest = places.iter().max_by_key(|(unified, path)| (depth(path), *unified));
    unified.or(deepest).map(|(_, path)| path.clone())
}

/// `name: value`, a line each.
fn lines(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    text.split(|&byte| byte == b'\n').filter_map(|line| {
        let colon = line.iter().position(|&byte| byte == b':')?;
        Some((&line[..colon], line[colon + 1..].trim_ascii()))
    })
}

fn words(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

fn number(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn hexadecimal(value: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(value).ok()?, 16).ok()
}

fn signals(value: &[u8]) -> Signals {
    Signals(hexadecimal(value).unwrap_or(0))
}

/// `12 kB`, in bytes.
fn kilobytes(value: &[u8]) -> Option<u64> {
    number(value.strip_suffix(b" kB")?.trim_ascii())?.checked_mul(1024)
}

fn four(value: &[u8]) -> [u32; 4] {
    let mut ids = [0; 4];
    for (id, word) in ids.iter_mut().zip(words(value)) {
        *id = number(word).and_then(|number| u32::try_from(number).ok()).unwrap_or(u32::MAX);
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;
    use doula_model::signal::Signal;
    use proptest::prelude::*;

    #[test]
    fn our_own_status_is_what_we_know_of_ourselves() {
        let status = parse_status(&std::fs::read("/proc/self/status").expect("/proc"));
        assert_eq!((status.uids[0], status.uids[1]), doula_sys::group::users());
        assert_eq!(status.ns_pids.first(), Some(&(std::process::id() as i32)));
        assert!(status.ignored.contains(Signal::PIPE), "the runtime of Rust ignores it");
        assert!(status.switches.is_some() && status.peak.is_some());
    }

    #[test]
    fn the_place_that_tells_most_is_taken() {
        for (text, place) in [
            ("0::/a/b\n", "/a/b"),
            ("5:pids:/docker/x\n4:cpu:/docker\n0::/\n", "/docker/x"),
            ("4:cpu:/\n0::/\n", "/"),
            ("4:name=a:b:/x:y\n0::/unit\n", "/unit"),
        ] {
            assert_eq!(parse_cgroup(text.as_bytes()).as_deref(), Some(place.as_bytes()), "{text}");
        }
        assert_eq!(parse_cgroup(b""), None);
    }

    #[test]
    fn memory_and_traffic_are_sums_in_bytes() {
        let text = b"00400000-7ffc ---p 00000000 00:00 0 [rollup]\nRss: 9 kB\nPss:   4 kB\nPss_Dirty: 1 kB\n\
                     Private_Clean: 1 kB\nPrivate_Dirty: 2 kB\nSwapPss: 8 kB\n";
        assert_eq!(parse_share(text), Some(Share { pss: 4096, uss: 3072, swap_pss: 8192 }));
        assert_eq!(parse_share(b""), None);
        let text = b"rchar: 1\nwchar: 2\nsyscr: 9\nread_bytes: 3\nwrite_bytes: 4\n";
        let traffic = Traffic { read: 1, written: 2, disk_read: 3, disk_written: 4 };
        assert_eq!(parse_traffic(text), Some(traffic));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse_status(&bytes);
            let _ = (parse_share(&bytes), parse_traffic(&bytes), parse_cgroup(&bytes));
        }
    }
}
