//! `doula tree`: shape, marks, forms of output.

use super::{Made, doula, objects, soon};
use serde_json::json;

#[test]
fn children_stand_below_their_parents_and_those_that_are_alike_in_one_line() {
    let made = Made::shell("sleep 1000 & sleep 1000 & sh -c 'sleep 1000 & echo here; wait' & wait");
    // The shells have forked, but their children may not have become what they will be.
    let said = soon(|| {
        let said = doula(&["tree", &made.pid()]);
        let shape: String = said.out.chars().filter(|c| !c.is_ascii_digit()).collect();
        (shape == " S sh\n├─  × S sleep (, )\n└─  S sh\n   └─  S sleep\n").then_some(said)
    });
    assert!(said.out.contains("├─ 2 × S sleep ("), "{said:?}");
    let said = doula(&["tree", &made.pid(), "--expand", "--ascii"]);
    assert_eq!((said.out.lines().count(), said.out.is_ascii()), (5, true), "{said:?}");
    assert_eq!(said.out.matches("|- ").count(), 2, "{said:?}");
}

#[test]
fn whoever_is_above_is_shown_when_asked() {
    let made = Made::shell("sleep 1000 & echo $!; wait");
    let above = [format!("{} S sh", made.pid()), format!("{} S sleep", made.first)];
    // The shell has forked, but its child may not have become what it will be.
    soon(|| {
        let said = doula(&["tree", &made.first, "--up"]);
        let lines: Vec<&str> =
            said.out.lines().map(|line| line.trim_start_matches(['│', '├', '└', '─', ' '])).collect();
        (lines.len() > 2 && lines.ends_with(&above.each_ref().map(String::as_str))).then_some(())
    });
    let (named, plain) = (doula(&["tree", "--from", &made.pid()]), doula(&["tree", &made.pid()]));
    assert_eq!(named.out, plain.out);
}

#[test]
fn a_zombie_and_a_stopped_process_are_marked() {
    let parent = Made::actor("leak_zombie", &["2", "3"]);
    let stopped = Made::shell("echo here; kill -STOP $$");
    soon(|| {
        let zombies = doula(&["tree", &parent.pid()]).out;
        let told = zombies.contains("└─ 2 × Z leak_zombie (exited with code 3) (");
        (told && doula(&["tree", &stopped.pid()]).out.ends_with(" T sh\n")).then_some(())
    });
}

#[test]
fn orphans_are_marked_and_who_adopted_them() {
    // The subreaper makes a session in which a child is left behind when its leader ends.
    let script = "import ctypes, os, sys, time
libc = ctypes.CDLL(None)
assert libc.prctl(36, 1, 0, 0, 0) == 0
gone, left = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.close(left)
        while os.getppid() == int(sys.argv[1]): pass
        os.read(gone, 1)
    os._exit(0)
os.wait()
print('here', flush=True)
sys.stdin.read()
";
    let mut command = std::process::Command::new("python3");
    // A number that is nobody's parent: the loop ends at once.
    let made = Made::new(command.args(["-c", script, "0"]));
    if made.first != "here" {
        return super::skipped("there is no python3 here");
    }
    let rows = objects(&doula(&["tree", &made.pid(), "--json"]));
    let marks: Vec<_> = rows.iter().map(|row| (&row["depth"], &row["orphan"], &row["adopts"])).collect();
    assert_eq!(
        marks,
        [(&json!(0), &json!(false), &json!(true)), (&json!(1), &json!(true), &json!(false))],
        "{rows:?}"
    );
    let said = doula(&["tree", &made.pid()]);
    assert!(said.out.contains("(adopts orphans)") && said.out.contains("(orphan)"), "{said:?}");
}

#[test]
fn memory_is_summed_over_subtrees() {
    let made = Made::shell("sleep 1000 & echo here; wait");
    let rows = objects(&doula(&["tree", &made.pid(), "--pss", "--json"]));
    let number = |row: usize, name: &str| rows[row][name].as_u64().expect("a number");
    assert_eq!(number(0, "subtree_pss"), number(0, "pss") + number(1, "pss"), "{rows:?}");
    assert_eq!(number(1, "subtree_pss"), number(1, "pss"), "{rows:?}");
}

#[test]
fn groups_sessions_and_threads_are_shown_when_asked() {
    let made = Made::shell("echo here; read x");
    let said = doula(&["tree", &made.pid(), "--ids"]);
    assert!(said.out.contains(&format!("pgid {}", made.pid())), "{said:?}");
    let said = doula(&["tree", &std::process::id().to_string(), "--threads", "--expand"]);
    assert!(said.out.contains(" {"), "threads stand in braces: {said:?}");
}

#[test]
fn a_picture_has_a_line_for_each_and_names_are_text_in_it() {
    let folder = std::env::temp_dir().join(format!("doula-svg-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let made = super::odd::called(&folder, b"<b>&\"\x1b");
    std::fs::remove_dir_all(&folder).expect("our folder");
    let said = doula(&["tree", &made.pid(), "--svg"]);
    assert!(said.out.starts_with("<svg xmlns=") && said.out.ends_with("</svg>\n"), "{said:?}");
    assert!(said.out.contains("&lt;b&gt;&amp;&quot;\\x1b") && !said.out.contains("<b>"), "{said:?}");
    let made = Made::shell("sleep 1000 & echo here; wait");
    let said = doula(&["tree", &made.pid(), "--svg"]);
    let count = |part: &str| said.out.matches(part).count();
    assert_eq!((count("<text "), count("<path ")), (2, 1), "the shell and its child: {said:?}");
}

#[test]
fn nobody_that_was_asked_for_is_code_1() {
    let said = doula(&["tree", "no-such-name-of-a-process"]);
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
    assert_eq!(doula(&["tree", "("]).code, Some(2));
}
