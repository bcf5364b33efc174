//! A line becomes stages. Where a shell is needed, the line is refused with the place and the cure: a character that only
//! a shell understands would otherwise silently become an argument.
//!
//! The characters are looked at here, with the quotes around them; words are made by the crate shell-words, by the same rules
//! of quoting.

use crate::config::{self, Complaint, Problems, Source};
use std::ops::Range;

/// One command of the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stage {
    /// As it was written.
    pub(super) text: String,
    /// Its words; at least one.
    pub(super) words: Vec<String>,
    /// Its standard error goes into the pipe too.
    pub(super) both: bool,
}

/// The stages of a line; at least one.
pub(super) fn parse(line: &str) -> Result<Vec<Stage>, Problems> {
    split(line).map_err(|(span, complaint)| {
        let report = config::Report::new(Source { name: "pipeline".to_owned(), text: line.to_owned() });
        report.note(&span, complaint);
        // There is a problem, so that this is one.
        report.finish(()).expect_err("noted")
    })
}

/// What is wrong, and where.
type Refusal = (Range<usize>, Complaint);

fn split(line: &str) -> Result<Vec<Stage>, Refusal> {
    let mut stages = Vec::new();
    let mut from = 0;
    for bar in bars(line)? {
        stages.push(stage(line, from..bar.start, line[bar.clone()].ends_with('&'))?);
        from = bar.end;
    }
    stages.push(stage(line, from..line.len(), false)?);
    Ok(stages)
}

fn stage(line: &str, span: Range<usize>, both: bool) -> Result<Stage, Refusal> {
    let text = line[span.clone()].trim();
    let start = span.start + line[span.clone()].find(text).unwrap_or(0);
    let span = if text.is_empty() { span } else { start..start + text.len() };
    let words = shell_words::split(text)
        .map_err(|_| (span.clone(), Complaint::new("a quote is never closed", "begins here")))?;
    let Some(first) = words.first() else {
        let complaint = Complaint::new("a stage is empty", "no program is named");
        return Err((span, complaint.help("write a command on both sides of each `|`")));
    };
    if first.is_empty() {
        let complaint = Complaint::new("a stage has no program", "its first word is empty");
        return Err((span, complaint.help("write the name of a program first")));
    }
    if first.split_once('=').is_some_and(|(name, _)| config::is_variable(name)) {
        let complaint = Complaint::new(format!("`{first}` is an assignment, not a program"), "no shell here");
        return Err((
            start..start + first.len().min(text.len()),
            complaint.help(format!("write `env {text}`")),
        ));
    }
    Ok(Stage { text: text.to_owned(), words, both })
}

/// The quotes around a character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quote {
    None,
    Single,
    Double,
}

/// Where the stages are divided.
fn bars(line: &str) -> Result<Vec<Range<usize>>, Refusal> {
    let mut bars = Vec::new();
    let (mut quote, mut opened, mut word_begins) = (Quote::None, 0, true);
    let mut characters = line.char_indices();
    while let Some((at, c)) = characters.next() {
        let rest = &line[at + c.len_utf8()..];
        match (quote, c) {
            (Quote::None | Quote::Double, '\\') => drop(characters.next()),
            (Quote::None, '\'') => (quote, opened) = (Quote::Single, at),
            (Quote::None, '"') => (quote, opened) = (Quote::Double, at),
            (Quote::Single, '\'') | (Quote::Double, '"') => quote = Quote::None,
            (Quote::None, '|') if !rest.starts_with('|') => {
                let end = at + if rest.starts_with('&') { 2 } else { 1 };
                if end == at + 2 {
                    characters.next();
                }
                bars.push(at..end);
            }
            (Quote::None | Quote::Double, _) => {
                if let Some((length, what)) = needs_a_shell(c, rest, quote, word_begins) {
                    return Err(refuse(line, at..at + length, what));
                }
            }
            (Quote::Single, _) => {}
        }
        word_begins = quote == Quote::None && (c.is_whitespace() || c == '|');
    }
    if quote != Quote::None {
        let complaint = Complaint::new("a quote is never closed", "begins here");
        return Err((opened..opened + 1, complaint.help("close it, or write it as `\\'` if it is no quote")));
    }
    Ok(bars)
}

fn refuse(line: &str, span: Range<usize>, what: &str) -> Refusal {
    let newline = |c: char| if c == '\n' { "\\n".to_owned() } else { c.to_string() };
    let written: String = line[span.clone()].chars().map(newline).collect();
    let complaint =
        Complaint::new(format!("`{written}` {what}, and no shell reads this line"), "needs a shell");
    let cure =
        "put it into single quotes if a program is to get it as it is; else have a shell read it: sh -c '…'";
    (span, complaint.help(cure))
}

/// How long the thing is that only a shell understands, and what it would do.
fn needs_a_shell(c: char, rest: &str, quote: Quote, word_begins: bool) -> Option<(usize, &'static str)> {
    let word = || rest.split(char::is_whitespace).next().unwrap_or_default();
    let expands = |next: char| next.is_alphanumeric() || "_{(@*#?$!-".contains(next);
    match c {
        '`' => return Some((1, "runs a command")),
        '$' if rest.starts_with('(') => return Some((2, "runs a command")),
        '$' if quote == Quote::None && rest.starts_with(['\'', '"']) => {
            return Some((2, "is a quote of some shells"));
        }
        '$' if rest.starts_with(expands) => return Some((1 + name(rest), "is a variable")),
        _ if quote == Quote::Double => return None,
        _ => {}
    }
    match c {
        '|' => Some((2, "is an alternative")),
        '<' | '>' => Some((1 + usize::from(rest.starts_with(['>', '<', '&'])), "is a redirection")),
        '&' if rest.starts_with('&') => Some((2, "is a condition")),
        '&' => Some((1, "starts a command in the background")),
        ';' => Some((1, "ends a command")),
        '\n' => Some((1, "ends a command")),
        '(' | ')' => Some((1, "is a subshell")),
        '*' | '?' => Some((1, "is a pattern for names of files")),
        '[' if word().contains(']') => Some((1, "is a pattern for names of files")),
        '{' if word().contains('}') && !rest.starts_with('}') => Some((1, "is a list of words")),
        '~' if word_begins => Some((1, "is a home directory")),
        '#' if word_begins => Some((1, "begins a comment")),
        _ => None,
    }
}

/// How long the name of a variable is that begins here.
fn name(rest: &str) -> usize {
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
    let first = rest.chars().next().map_or(0, char::len_utf8);
    end.max(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<Vec<String>> {
        let stages = parse(line).unwrap_or_else(|problems| panic!("{problems}"));
        stages.into_iter().map(|stage| stage.words).collect()
    }

    #[test]
    fn a_line_is_divided_at_bars_that_are_not_quoted() {
        for (line, wanted) in [
            ("ls", vec![vec!["ls"]]),
            ("ls | grep .txt | wc -l", vec![vec!["ls"], vec!["grep", ".txt"], vec!["wc", "-l"]]),
            ("ls|wc", vec![vec!["ls"], vec!["wc"]]),
            (
                "grep 'a|b' | tr \"|\" \\| | sh -c 'x | y'",
                vec![vec!["grep", "a|b"], vec!["tr", "|", "|"], vec!["sh", "-c", "x | y"]],
            ),
            ("a |& b", vec![vec!["a"], vec!["b"]]),
            (
                "grep foo$ '$x' \"$\" \\$x a~ a#b {} '*' \\*",
                vec![vec!["grep", "foo$", "$x", "$", "$x", "a~", "a#b", "{}", "*", "*"]],
            ),
            ("printf '안녕 %s\\n' \"웹\"|cat", vec![vec!["printf", "안녕 %s\\n", "웹"], vec!["cat"]]),
        ] {
            assert_eq!(words(line), wanted, "{line}");
        }
        let both: Vec<bool> = parse("a |& b|c").expect("stages").iter().map(|stage| stage.both).collect();
        assert_eq!(both, [true, false, false]);
        assert_eq!(parse(" ls  -l | wc ").expect("stages")[0].text, "ls  -l");
    }

    #[test]
    fn what_needs_a_shell_is_refused_with_its_place() {
        for (line, column, title) in [
            ("sort > out", 6, "`>` is a redirection"),
            ("make 2>&1 | tee log", 7, "`>&` is a redirection"),
            ("a || b", 3, "`||` is an alternative"),
            ("a && b", 3, "`&&` is a condition"),
            ("a &", 3, "`&` starts a command in the background"),
            ("a; b", 2, "`;` ends a command"),
            ("a | b\nc", 6, "`\\n` ends a command"),
            ("(a)", 1, "`(` is a subshell"),
            ("echo $HOME", 6, "`$HOME` is a variable"),
            ("echo \"a $HOME\"", 9, "`$HOME` is a variable"),
            ("echo ${HOME}", 6, "`${` is a variable"),
            ("echo $(date)", 6, "`$(` runs a command"),
            ("echo \"`date`\"", 7, "``` runs a command"),
            ("echo $'a\\tb'", 6, "`$'` is a quote of some shells"),
            ("echo $\"a\"", 6, "`$\"` is a quote of some shells"),
            ("ls *.txt", 4, "`*` is a pattern"),
            ("ls [a-z]x", 4, "`[` is a pattern"),
            ("ls ~/x", 4, "`~` is a home directory"),
            ("cp a.{b,c}", 6, "`{` is a list of words"),
            ("ls # all", 4, "`#` begins a comment"),
            ("echo 안녕 > x", 9, "`>` is a redirection"),
            ("echo 'a", 6, "a quote is never closed"),
            ("ls | | wc", 5, "a stage is empty"),
            ("ls |", 5, "a stage is empty"),
            ("", 1, "a stage is empty"),
            ("ls | '' x", 6, "a stage has no program"),
            ("cat | A=1 wc", 7, "`A=1` is an assignment"),
        ] {
            let problems = parse(line).expect_err(line);
            let problem = problems.iter().next().expect("one");
            assert!(problem.title().starts_with(title), "{line}: {}", problem.title());
            assert_eq!(problem.position(), Some(("pipeline", 1, column)), "{line}");
        }
    }

    #[test]
    fn a_refusal_shows_the_line_with_a_caret_and_the_cure() {
        let shown = parse("ls | sort > out").expect_err("a redirection").render(false);
        assert!(shown.contains("1 | ls | sort > out") && shown.contains("^ needs a shell"), "{shown}");
        assert!(shown.contains("sh -c '…'"), "{shown}");
    }
}
