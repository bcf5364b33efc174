//! Who is meant.

use crate::error::Failure;
use crate::processes::in_short;
use doula_host::aim::ourselves;
use doula_host::procfs::{Reader, Stat, Want};
use regex::bytes::Regex;

/// Who is meant.
#[derive(Debug, clap::Args)]
pub(super) struct Whom {
    /// Numbers, or regular expressions for names
    #[arg(value_name = "PID|PATTERN", required = true)]
    whom: Vec<String>,

    /// The numbers are of process groups: all their members
    #[arg(short, long, conflicts_with_all = ["session", "tree"])]
    group: bool,

    /// The numbers are of sessions: all their members
    #[arg(short, long, conflicts_with = "tree")]
    session: bool,

    /// Whoever descends from them too
    #[arg(short, long)]
    pub(super) tree: bool,

    /// Only say who would be signalled
    #[arg(short = 'n', long)]
    pub(super) dry_run: bool,

    /// One JSON object a process
    #[arg(long)]
    pub(super) json: bool,
}

impl Whom {
    /// Looks them up, without those that descend from them. Zombies are dead.
    pub(super) fn find(&self, reader: &mut Reader) -> Result<Vec<Stat>, Failure> {
        let (numbers, patterns) = self.read()?;
        let processes = reader.scan(&Want::default()).map_err(super::failed)?;
        let ours = ourselves(&processes);
        let named = |stat: &Stat| {
            let number = match (self.group, self.session) {
                (true, _) => stat.pgid,
                (_, true) => stat.sid,
                _ => stat.pid.get(),
            };
            let by_name = || patterns.iter().any(|pattern| pattern.is_match(&stat.name));
            numbers.contains(&number) || (!ours.contains(&stat.pid) && !stat.is_kernel() && by_name())
        };
        let stats = processes.into_iter().map(|process| process.stat);
        Ok(stats.filter(|stat| named(stat) && !stat.is_zombie()).collect())
    }

    fn read(&self) -> Result<(Vec<i32>, Vec<Regex>), Failure> {
        let (mut numbers, mut patterns) = (Vec::new(), Vec::new());
        for text in &self.whom {
            match (text.parse::<i32>(), Regex::new(text)) {
                (Ok(number), _) if number > 0 => numbers.push(number),
                (Ok(number), _) if number < -1 => {
                    let text = format!("{number} is no number of a process");
                    return Err(Failure::usage(text)
                        .hint(format!("a group is meant by `--group {}`", -i64::from(number))));
                }
                (Ok(number), _) => return Err(Failure::usage(format!("{number} is no number of a process"))),
                (Err(_), _) if self.group || self.session => {
                    return Err(Failure::usage(format!("`{text}` is no number of a group or session")));
                }
                (Err(_), Ok(pattern)) => patterns.push(pattern),
                (Err(_), Err(error)) => {
                    let text =
                        format!("`{text}` is no number and no regular expression: {}", in_short(&error));
                    return Err(Failure::usage(text));
                }
            }
        }
        Ok((numbers, patterns))
    }
}
