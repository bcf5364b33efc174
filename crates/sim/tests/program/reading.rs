//! Text to scripts and back, and what is said of a text that is none.

use doula_sim::program::{Script, cast};

#[test]
fn what_is_printed_is_read_back_as_the_same_script() {
    let texts = cast::ALL.iter().map(|(_, text)| *text);
    let own = [
        "fork",
        "fork as it { exit 3 }\nkill -$it TERM\nwait4 group $it nohang as dead status\nsetpgid $self $parent",
        "pipe cloexec as from into\ndup2 $into 1\nclose $from\nread $from 10\nwrite $into 5 bytes\nwrite 1 %23%7b%24a",
        "loop { repeat 3 { if failed { break }\n if failed ECHILD { sleep 90s }\n if none { sleep 1500ms } }\n break }",
        "fork as a\nfork as b\nif $a is $b { exec other }\nif $a is 0 { sleep 2h }\nif -3 is -$b { sleep 0s }",
        "on CHLD as who { wait4 pid $who }\nignore HUP\nsigaction INT handler restart\nnotify READY=1 of $self",
        "clone vm vfork signal CHLD as c { execve /bin/x as c }",
    ];
    for text in texts.chain(own) {
        let script: Script = text.parse().expect(text);
        let printed = script.to_string();
        let again: Script = printed.parse().expect(&printed);
        assert_eq!(again, script, "{printed}");
    }
}

#[test]
fn a_script_is_printed_with_a_line_for_each_step_and_blocks_that_are_indented() {
    let script: Script =
        "on TERM as who { kill $who 0\n exit 0 } # ends\nloop { pause }".parse().expect("a script");
    let printed = "on TERM as who {\n    kill $who 0\n    exit 0\n}\nloop {\n    pause\n}\n";
    assert_eq!(script.to_string(), printed);
}

#[test]
fn a_wrong_script_is_told_by_line_column_and_cure() {
    for (text, told) in [
        ("fork\n  spoon 3", "line 2, column 3: `spoon` begins no line: write a call (`fork`, `kill 3 TERM`,"),
        ("kill 3 TERN", "line 1, column 8: `TERN` is not understood here"),
        ("kill kill TERM", "line 1, column 6: `kill` is not understood here"),
        ("kill 3", "line 1, column 8: something is missing"),
        ("fork now", "line 1, column 6: `now` is not understood here"),
        (
            "kill $worker TERM",
            "line 1, column 6: `$worker` is no number yet: name one before, as in `fork as worker`",
        ),
        ("sleep 5x", "line 1, column 7: `5x` is not understood here"),
        ("sleep", "line 1, column 7: something is missing"),
        ("sleep 5s 6s", "line 1, column 10: `6s` is not understood here"),
        ("fork as", "line 1, column 9: something is missing"),
        ("fork as self", "line 1, column 9: `self` is no name"),
        ("fork as 3", "line 1, column 9: `3` is no name"),
        ("fork as a b c", "line 1, column 13: `c` is not understood here"),
        ("fork as a\nsetuid $a", "line 2, column 8: `$a` cannot stand here"),
        ("fork as a\nkill 3 $a", "line 2, column 8: `$a` cannot stand here"),
        ("kill 1073741824 TERM", "line 1, column 6: 1073741824 is too large"),
        ("loop", "line 1, column 6: this line needs a block: end it with ` {`"),
        ("pause {\n}", "line 1, column 7: nobody would do this block"),
        ("{ }", "line 1, column 1: nobody would do this block"),
        ("loop {\n  loop { }\n", "line 1, column 6: this block is not closed: add a `}`"),
        ("pause\n}", "line 2, column 1: no block is open here: remove this `}`"),
        ("break", "line 1, column 1: there is no loop to leave here: remove the break"),
        ("loop { on TERM { break } }", "line 1, column 18: there is no loop to leave here"),
        ("if maybe { }", "line 1, column 4: `maybe` is not understood here"),
        ("if failed ESPOON { }", "line 1, column 11: `ESPOON` is not understood here"),
        ("if 3 is { }", "line 1, column 9: something is missing"),
        ("on TERM so { }", "line 1, column 9: `so` is not understood here"),
        ("ignore\u{a0}ü", "line 1, column 8: `ü` is not understood here"),
        ("notify $x", "line 1, column 8: `$x` is no number yet"),
    ] {
        let error = text.parse::<Script>().expect_err(text).to_string();
        assert!(error.starts_with(told), "{text:?}: {error}");
    }
}
