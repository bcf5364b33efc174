//! The collector as a whole, with real pipes.
#![expect(clippy::print_stdout, reason = "a test that is skipped says why")]

use super::files::tests::Scratch;
use super::*;
use doula_model::id::{Generation, ServiceId};
use doula_model::recipe::LogPolicy;
use doula_sys::fd::{self, AsFd as _, AsRawFd as _, OwnedFd};
use doula_sys::{poll, socket};
use regex::bytes::Regex;
use std::io::Read as _;

const WEB: ServiceId = ServiceId(0);
const DB: ServiceId = ServiceId(1);

/// Larger than everything that a test writes.
const RING: usize = 1 << 20;

fn at(millis: u64) -> Stamp {
    Stamp { now: Time::from_nanos(millis * 1_000_000), wall: Duration::from_millis(millis) }
}

fn plain() -> Style {
    Style { colours: false, time: false, tags: true }
}

fn collector(options: Options) -> Collector {
    let mut collector = Collector::new(options).expect("sinks");
    collector.introduce(at(0), WEB, "web", LogPolicy { flood: None });
    collector.introduce(at(0), DB, "db", LogPolicy { flood: None });
    collector
}

#[test]
fn an_earlier_moment_is_as_much_earlier_on_both_clocks() {
    assert_eq!(at(5_000).back_at(at(4_250).now), at(4_250));
}

/// A service's pipe: its source, and the end that it writes to.
fn pipe(collector: &mut Collector, service: ServiceId, ready: Option<&str>) -> (SourceId, OwnedFd) {
    let (output, writer) = fd::pipe().expect("pipe");
    let ready = ready.map(|pattern| Regex::new(pattern).expect("pattern"));
    let source = Source { service, generation: Generation(1), output: output.into(), ready };
    (collector.attach(source).expect("attach"), writer)
}

fn texts(collector: &mut Collector) -> Vec<String> {
    let follower = collector.follow(Filter::default(), None, false);
    let followed = core::iter::from_fn(|| collector.next_followed(follower)).map(|followed| match followed {
        Followed::Record(record) => String::from_utf8_lossy(&record.bytes).into_owned(),
        Followed::Missed(count) => panic!("missed {count}"),
    });
    let texts = followed.collect();
    collector.unfollow(follower);
    texts
}

fn news(collector: &mut Collector) -> Vec<News> {
    core::iter::from_fn(|| collector.next_news()).collect()
}

fn open_fds() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("procfs").count()
}

#[test]
fn lines_torn_by_the_service_come_out_whole_and_the_last_one_at_the_end() {
    let mut collector = collector(Options { ring: RING, ..Options::default() });
    let (web, to_web) = pipe(&mut collector, WEB, None);
    let (_, to_db) = pipe(&mut collector, DB, None);
    for (to, bytes) in [(&to_web, "fir"), (&to_db, "db 1\ndb"), (&to_web, "st\nlast"), (&to_db, " 2\n")] {
        fd::write(to, bytes.as_bytes()).expect("write");
        collector.turn(at(1));
    }
    assert_eq!(texts(&mut collector), ["db 1", "first", "db 2"]);
    drop(to_web);
    assert!(poll::readable(&collector, Some(Duration::ZERO)).expect("poll"));
    collector.turn(at(2));
    assert_eq!(texts(&mut collector)[3], "last");
    assert_eq!(news(&mut collector), [News::Ended { source: web }]);
    assert!(!poll::readable(&collector, Some(Duration::ZERO)).expect("poll"), "nothing wakes us any more");
}

#[test]
fn the_ready_line_is_told_once_and_taps_get_the_bytes() {
    let mut collector = collector(Options::default());
    let (web, to_web) = pipe(&mut collector, WEB, Some("^listening on [0-9]+$"));
    collector.tap(web, true);
    fd::write(&to_web, b"not listening\nlistening on 80\r\nlistening on 81\n$ ").expect("write");
    collector.turn(at(1));
    let raw = b"not listening\nlistening on 80\r\nlistening on 81\n$ ".to_vec();
    let ready = News::Ready { service: WEB, generation: Generation(1) };
    assert_eq!(news(&mut collector), [News::Raw { source: web, bytes: raw }, ready]);
}

#[test]
fn a_dead_generation_is_read_to_its_last_word_at_once() {
    let mut collector = collector(Options { ring: 4 << 20, ..Options::default() });
    let (web, to_web) = pipe(&mut collector, WEB, None);
    fd::set_nonblocking(&to_web, true).expect("fcntl");
    let written = fd::write(&to_web, &b"0123456\n".repeat(100_000)).expect("fill the pipe");
    drop(to_web);
    collector.finish(at(1), WEB, Generation(2));
    assert!(news(&mut collector).is_empty(), "of another life");
    collector.finish(at(1), WEB, Generation(1));
    assert_eq!(texts(&mut collector).len(), written.div_ceil(8));
    assert_eq!(news(&mut collector), [News::Ended { source: web }]);
}

#[test]
fn a_flood_is_dropped_counted_and_told_without_touching_others() {
    let mut collector = collector(Options { ring: RING, ..Options::default() });
    collector.introduce(at(0), WEB, "web", LogPolicy { flood: Some(10) });
    let (_, to_web) = pipe(&mut collector, WEB, None);
    let (_, to_db) = pipe(&mut collector, DB, None);
    fd::write(&to_web, &b"x\n".repeat(150)).expect("write");
    fd::write(&to_db, &b"y\n".repeat(150)).expect("write");
    collector.turn(at(0));
    let of = |collector: &mut Collector, text| texts(collector).iter().filter(|line| *line == text).count();
    assert_eq!((of(&mut collector, "x"), of(&mut collector, "y")), (100, 150));
    assert_eq!(collector.deadline(), Some(at(2000).now));
    collector.turn(at(2000));
    assert_eq!(texts(&mut collector).last().map(String::as_str), Some("dropped 50 lines in 2 s"));
    assert_eq!(collector.deadline(), None);
}

#[test]
fn a_long_line_is_passed_on_in_marked_pieces_and_said_to_be_so_once() {
    let (reader, writer) = fd::pipe().expect("pipe");
    fd::set_pipe_size(&reader, 1 << 20).expect("a large pipe");
    let mut collector = collector(Options { output: Some(writer), style: plain(), ..Options::default() });
    let (_, to_web) = pipe(&mut collector, WEB, None);
    fd::write(&to_web, &[vec![b'a'; MAX_LINE], vec![b'b'; 10], b"\n".to_vec()].concat()).expect("write");
    collector.turn(at(1));
    drop(collector);
    let mut text = String::new();
    std::fs::File::from(reader).read_to_string(&mut text).expect("read");
    let lines: Vec<_> = text.lines().map(|line| &line[..16]).collect();
    assert_eq!(lines, ["web   ! lines of", "web   | aaaaaaaa", "web   + bbbbbbbb"]);
}

#[test]
fn a_full_standard_output_stops_reading_and_nothing_is_lost() {
    for output in ["pipe", "socket"] {
        let (reader, writer) = match output {
            "pipe" => fd::pipe().expect("pipe"),
            _ => socket::pair(socket::Kind::Stream).expect("socketpair"),
        };
        let style = Style { tags: false, ..plain() };
        let mut collector = collector(Options { output: Some(writer), style, ..Options::default() });
        let (_, to_web) = pipe(&mut collector, WEB, None);
        fd::set_nonblocking(&to_web, true).expect("fcntl");
        let line = [vec![b'x'; 999], b"\n".to_vec()].concat();
        let (mut sent, mut partial) = (0, 0);
        // The pipe of the service fills up only when we do not read any more.
        while let Ok(count) = fd::write(&to_web, &line[partial..]) {
            sent += count;
            partial = (partial + count) % line.len();
            collector.turn(at(1));
        }
        assert!(sent > 300_000, "{sent} bytes through a {output}");
        assert!(
            !poll::readable(&collector, Some(Duration::ZERO)).expect("poll"),
            "no wake-up while it is full"
        );
        drop(to_web);
        fd::set_nonblocking(&reader, true).expect("fcntl");
        let (mut text, mut buffer) = (Vec::new(), vec![0; 100_000]);
        while let Ok(count) = fd::read(&reader, &mut buffer) {
            text.extend_from_slice(&buffer[..count]);
            collector.turn(at(5000));
        }
        let (service, own): (Vec<_>, Vec<_>) =
            text.split(|byte| *byte == b'\n').partition(|line| line.iter().all(|byte| *byte == b'x'));
        assert_eq!(service.iter().map(|line| line.len()).sum::<usize>(), sent - sent.div_euclid(1000));
        let said = b"standard output was blocked for 4 s; services that write had to wait".as_slice();
        assert_eq!(own, [said]);
    }
}

#[test]
fn standard_output_that_nobody_reads_any_more_ends_nothing_else() {
    let (reader, writer) = fd::pipe().expect("pipe");
    drop(reader);
    let mut collector = collector(Options { output: Some(writer), ring: RING, ..Options::default() });
    let (_, to_web) = pipe(&mut collector, WEB, None);
    for number in 0..3 {
        fd::write(&to_web, format!("line {number}\n").as_bytes()).expect("write");
        collector.turn(at(number));
    }
    let texts = texts(&mut collector);
    assert_eq!(texts.len(), 4, "{texts:?}");
    assert!(texts.iter().any(|text| text.starts_with("standard output is gone: EPIPE")));
    assert_eq!(collector.close(Duration::ZERO), Lost::default());
}

#[test]
fn at_the_end_a_slow_reader_is_waited_for_and_a_dead_one_is_given_up() {
    let (reader, writer) = fd::pipe().expect("pipe");
    let style = Style { tags: false, ..plain() };
    let mut slow = collector(Options { output: Some(writer), style, ..Options::default() });
    for _ in 0..200 {
        slow.say(at(1), &"x".repeat(999));
    }
    let lost = slow.close(Duration::from_millis(20));
    assert_eq!((lost.screen, lost.unread), (200 - 64, 0), "a pipe holds 64 of them");
    drop(reader);

    let (reader, writer) = fd::pipe().expect("pipe");
    let mut read = collector(Options { output: Some(writer), style, ..Options::default() });
    let (_, to_web) = pipe(&mut read, WEB, None);
    fd::write(&to_web, b"unread and unfinished").expect("write");
    for _ in 0..200 {
        read.say(at(1), &"x".repeat(999));
    }
    let (mut half, _keep) = (std::fs::File::from(reader), to_web);
    let reading = std::thread::spawn(move || {
        let mut text = Vec::new();
        half.read_to_end(&mut text).map(|_| text)
    });
    assert_eq!(read.close(Duration::from_secs(20)), Lost::default());
    let text = reading.join().expect("reader").expect("read");
    assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), 201);
    assert!(text.ends_with(b"unread and unfinished\n"));
}

#[test]
fn files_get_every_line_with_its_time_and_the_supervisor_has_one_of_its_own() {
    let scratch = Scratch::new();
    let files = Some((scratch.path("logs"), Rotation::default()));
    let mut collector = collector(Options { files, ..Options::default() });
    let (_, to_web) = pipe(&mut collector, WEB, None);
    fd::write(&to_web, b"one\n\x1b[31mtwo\xff\nunfinished").expect("write");
    collector.turn(at(1500));
    collector.say(at(1500), "family is up\nall is well");
    assert_eq!(collector.close(Duration::ZERO), Lost::default());
    let web = std::fs::read(scratch.path("logs/web.log")).expect("read");
    let (first, rest) = web.split_at(b"1970-01-01T00:00:01.500Z one\n".len());
    assert_eq!(first, b"1970-01-01T00:00:01.500Z one\n");
    assert!(rest.starts_with(b"1970-01-01T00:00:01.500Z \x1b[31mtwo\xff\n"));
    assert!(rest.ends_with(b"Z unfinished\n"));
    let own = scratch.text("logs/doula.log");
    assert_eq!(own, "1970-01-01T00:00:01.500Z family is up\n1970-01-01T00:00:01.500Z all is well\n");
}

#[test]
fn full_files_are_given_to_a_child_one_after_the_other() {
    let scratch = Scratch::new();
    let rotation = Rotation { max_size: 100, ..Rotation::default() };
    let files = Some((scratch.dir().to_path_buf(), rotation));
    let mut collector = collector(Options { files, ring: RING, ..Options::default() });
    for number in 0..3 {
        collector.say(at(number), &"x".repeat(90));
    }
    for number in 0..2 {
        let told = news(&mut collector);
        let [News::Compress { path }] = told.as_slice() else { panic!("{told:?}") };
        compress_file(path).expect("compress");
        collector.compressed(at(10), Ok(()));
        assert_eq!(scratch.names().iter().filter(|name| name.ends_with(".gz")).count(), number + 1);
    }
    assert!(news(&mut collector).is_empty());
    collector.compressed(at(11), Err("killed by SIGKILL"));
    assert!(texts(&mut collector).last().is_some_and(|text| text.ends_with("killed by SIGKILL")));
}

#[test]
fn a_thousand_sources_come_and_go_without_leaving_an_fd() {
    let mut collector = collector(Options { ring: RING, ..Options::default() });
    let before = open_fds();
    for round in 0..20 {
        let pipes: Vec<_> = (0..50).map(|_| pipe(&mut collector, WEB, None)).collect();
        for (_, writer) in &pipes {
            fd::write(writer, b"here\nand gone").expect("write");
        }
        drop(pipes);
        while poll::readable(&collector, Some(Duration::ZERO)).expect("poll") {
            collector.turn(at(round));
        }
        assert_eq!(news(&mut collector).len(), 50);
    }
    let (_, _writer) = pipe(&mut collector, DB, None);
    collector.forget(at(30), DB);
    drop(_writer);
    assert_eq!(texts(&mut collector).len(), 2000);
    assert!(open_fds() <= before + OTHER_TESTS, "{} fds before, {} after", before, open_fds());
}

/// Other tests of this process open fds at the same time; a leak would be a thousand.
const OTHER_TESTS: usize = 100;

#[test]
fn the_open_file_that_others_share_keeps_its_mode() {
    let (reader, writer) = fd::pipe().expect("pipe");
    let shared = fd::duplicate(&writer, 3).expect("dup");
    let collector = collector(Options { output: Some(writer), ..Options::default() });
    let flags = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", shared.as_fd().as_raw_fd()));
    let flags = flags.expect("procfs");
    let flags = flags.lines().find_map(|line| line.strip_prefix("flags:\t")).expect("flags");
    let nonblocking = u32::from_str_radix(flags, 8).expect("octal") & 0o4000;
    assert_eq!(nonblocking, 0, "O_NONBLOCK is not on the shared open file");
    drop((collector, reader));
}

#[test]
fn standard_output_on_a_full_disk_counts_lines_instead_of_making_services_wait() {
    let full = fd::open(c"/dev/full", fd::Access::Write).expect("/dev/full");
    let mut collector = collector(Options { output: Some(full), ring: RING, ..Options::default() });
    let (_, to_web) = pipe(&mut collector, WEB, None);
    for number in 0..5 {
        fd::write(&to_web, b"one\ntwo\n").expect("write");
        collector.turn(at(number));
    }
    let all = texts(&mut collector);
    let errors = all.iter().filter(|text| text.contains("ENOSPC")).count();
    assert_eq!((errors, all.len()), (1, 11), "one error: {all:?}");
    assert_eq!(collector.deadline(), Some(at(1000).now));
    collector.turn(at(1000));
    assert_eq!(collector.close(Duration::ZERO).screen, 11);
}

/// Set for the half of the next test that runs on a tiny file system: its directory.
const TINY: &str = "DOULA_TEST_TINY";

#[test]
fn on_a_full_disk_lines_are_kept_and_whole_when_there_is_room_again() {
    if let Some(directory) = std::env::var_os(TINY) {
        return fill_the_disk(std::path::Path::new(&directory));
    }
    let scratch = Scratch::new();
    let script = "mount -t tmpfs -o size=128k none \"$0\" || exit 77; exec \"$1\" --exact \"$2\"";
    let name = "logs::tests::on_a_full_disk_lines_are_kept_and_whole_when_there_is_room_again";
    let this = std::env::current_exe().expect("the test itself");
    let mut command = std::process::Command::new("unshare");
    command.args(["-m", "--", "sh", "-c", script]).arg(scratch.dir()).arg(this).arg(name);
    let done = match command.env(TINY, scratch.dir()).output() {
        Err(error) => return println!("skipped: unshare(1): {error}"),
        Ok(done) => done,
    };
    let said = String::from_utf8_lossy(&done.stderr);
    if done.status.code() == Some(77) || said.contains("unshare failed") {
        return println!("skipped: no file system of our own: {said}");
    }
    let shown = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && shown.contains("1 passed"), "{shown}{said}");
}

/// About 95 kB: more than is free at first, less than the whole disk.
const LINES: usize = 1000;

fn fill_the_disk(directory: &std::path::Path) {
    let filler = directory.join("filler");
    std::fs::write(&filler, vec![0; 64 * 1024]).expect("write");
    let files = Some((directory.to_path_buf(), Rotation::default()));
    let mut collector = collector(Options { files, ring: RING, ..Options::default() });
    let (_, to_web) = pipe(&mut collector, WEB, None);
    for number in 0..LINES {
        fd::write(&to_web, format!("line {number} {}\n", "x".repeat(60)).as_bytes()).expect("write");
        collector.turn(at(10));
    }
    let text = std::fs::read_to_string(directory.join("web.log")).expect("read");
    assert!(text.ends_with("x\n") && text.lines().count() < LINES, "no torn line on the full disk");
    assert_eq!(collector.deadline(), Some(at(1010).now));
    std::fs::remove_file(&filler).expect("remove");
    collector.turn(at(1010));
    assert_eq!(collector.deadline(), None, "it works again");
    let all = std::fs::read_to_string(directory.join("web.log")).expect("read");
    assert_eq!(all.lines().count(), LINES, "none is lost");
    for (number, line) in all.lines().enumerate() {
        assert!(line.contains(&format!("Z line {number} xxx")), "{line}");
    }
    let told = texts(&mut collector);
    assert_eq!(told.iter().filter(|text| text.contains("failed to write")).count(), 1);
    assert!(told.iter().any(|text| text.starts_with("log files are written again")));
}

#[test]
fn what_is_said_soon_is_written_with_one_call_and_in_order() {
    let (reader, writer) = fd::pipe().expect("pipe");
    let mut collector = collector(Options { output: Some(writer), style: plain(), ..Options::default() });
    collector.say_soon(at(0), "one");
    collector.say_soon(at(0), "two");
    assert_eq!(poll::readable(&reader, Some(Duration::ZERO)), Ok(false));
    collector.write_out(at(0));
    let mut text = [0; 256];
    let length = fd::read(&reader, &mut text).expect("read");
    assert_eq!(&text[..length], b"doula | one\ndoula | two\n");
}
