//! Findings as lines for people. Control characters are escaped when they leave.

use doula_host::diagnosis::{Circle, Cure, Diagnosis, Finding, How, Report, Wait, Zombie};
use doula_host::procfs::ProcState;
use doula_model::words::ShortSpan;

/// More zombies of one parent are counted only.
const SHOWN: usize = 5;

/// All that was found.
pub(in crate::verbs) fn report(report: &Report) -> Vec<String> {
    let mut lines: Vec<String> = report.zombies.iter().flat_map(finding).collect();
    lines.extend(report.blocked.iter().flat_map(wait));
    lines.extend(report.circles.iter().map(circle));
    lines
}

/// All about one process.
pub(super) fn diagnosis(diagnosis: &Diagnosis) -> Vec<String> {
    let name = String::from_utf8_lossy(&diagnosis.stat.name);
    let mut lines = vec![format!("{} ({name}) is {}", diagnosis.stat.pid, diagnosis.stat.state)];
    lines.extend(diagnosis.zombies.iter().flat_map(finding));
    lines.extend(diagnosis.waits.iter().flat_map(wait));
    if !diagnosis.chain.is_empty() {
        lines.push("whom it waits for:".to_owned());
        lines.extend(diagnosis.chain.iter().flat_map(wait).map(|line| format!("    {line}")));
    }
    if !diagnosis.roots.is_empty() {
        let roots: Vec<String> = diagnosis.roots.iter().map(ToString::to_string).collect();
        lines.push(format!("at the end of it: {}", roots.join("; ")));
    }
    lines.extend(diagnosis.circles.iter().map(circle));
    lines
}

/// The zombies of one parent.
pub(in crate::verbs) fn finding(finding: &Finding) -> Vec<String> {
    let count = finding.zombies.len();
    let (noun, stay) = if count == 1 { ("zombie", "stays") } else { ("zombies", "stay") };
    let (who, cause) = (&finding.parent.who, &finding.cause);
    let mut lines = vec![format!("{count} {noun} of {who} {stay}, because {cause}")];
    lines.extend(finding.zombies.iter().take(SHOWN).map(|one| format!("    {}", zombie(one))));
    if count > SHOWN {
        lines.push(format!("    and {} more", count - SHOWN));
    }
    lines.extend(growth(finding).map(|line| format!("    {line}")));
    lines.extend(cures(finding.cures.iter().map(Cure::to_string)));
    lines
}

fn zombie(zombie: &Zombie) -> String {
    let name = String::from_utf8_lossy(&zombie.name);
    let end = match (zombie.living, zombie.end) {
        (0, Some(end)) => end.to_string(),
        (0, None) => "exited with code 0, or we may not see how it ended".to_owned(),
        (_, _) => "ended its first thread".to_owned(),
    };
    format!("{} ({name}) {end}; it was born {} ago", zombie.who.pid, ShortSpan(zombie.age))
}

fn growth(finding: &Finding) -> Option<String> {
    if let Some(since) = finding.too_early() {
        let early = "it is too early to say how fast they become more";
        return Some(format!(
            "{early}: the first was born {} ago (--interval 10s measures it)",
            ShortSpan(since)
        ));
    }
    let growth = finding.growth.filter(|growth| growth.per_hour > 0.0)?;
    let how = match growth.how {
        How::Measured => format!("measured over {}", ShortSpan(growth.over)),
        How::Births => format!("by the births of those that are there, over {}", ShortSpan(growth.over)),
    };
    let full = finding.full.as_ref().map_or_else(String::new, |(hours, room)| {
        let room = format!("{} ({})", room.name, room.most);
        if *hours > 0.0 {
            format!("; at that rate {room} is used up in {}", hours_text(*hours))
        } else {
            format!("; {room} is used up already")
        }
    });
    Some(format!("{:.1} more an hour, {how}{full}", growth.per_hour))
}

fn hours_text(hours: f64) -> String {
    const DAY: f64 = 24.0;
    const MINUTE: f64 = 1.0 / 60.0;
    if hours < MINUTE {
        format!("{:.0} s", hours * 3600.0)
    } else if hours < 1.0 {
        format!("{:.0} min", hours * 60.0)
    } else if hours < 2.0 * DAY {
        format!("{hours:.1} h")
    } else {
        format!("{:.0} days", hours / DAY)
    }
}

/// A thread that waits.
fn wait(wait: &Wait) -> Vec<String> {
    let task = &wait.task;
    let name = String::from_utf8_lossy(&task.name);
    let whose = if task.thread == task.pid { String::new() } else { format!("thread {} of ", task.thread) };
    let mut lines = vec![format!("{whose}{} ({name}) [{}] {wait}", task.pid, task.state.letter())];
    if wait.is_trouble() || task.state == ProcState::Blocked {
        lines.push(format!("    {}", wait.kill));
        lines.extend(cures(wait.cures().into_iter()));
    }
    lines
}

fn cures(cures: impl Iterator<Item = String>) -> Vec<String> {
    let lead = |at| if at == 0 { "cure" } else { "or" };
    cures.enumerate().map(|(at, cure)| format!("    {}: {cure}", lead(at))).collect()
}

fn circle(circle: &Circle) -> String {
    let members: Vec<String> = circle.members.iter().map(ToString::to_string).collect();
    let end = if circle.closed { ": nobody else can end that" } else { ", and for somebody outside" };
    format!("{} wait for each other{end}", members.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_until_something_is_used_up_is_told_in_the_unit_that_fits() {
        for (hours, text) in [
            (0.01, "36 s"),
            (0.5, "30 min"),
            (1.0, "1.0 h"),
            (47.9, "47.9 h"),
            (48.0, "2 days"),
            (552.0, "23 days"),
        ] {
            assert_eq!(hours_text(hours), text);
        }
    }
}
