//! `--halt`: when to give up, as GNU parallel writes it.

use doula_core::queue::{Halt, HaltLimit, HaltOn};

/// `now,fail=1`, `soon,success=20%`; without a number it is 1.
pub(super) fn parse(text: &str) -> Result<Halt, String> {
    let wrong = || {
        format!(
            "`{text}` is no rule: write now or soon, then fail, success or done, then a number or a share, as in now,fail=1"
        )
    };
    let (when, rest) = text.split_once(',').ok_or_else(wrong)?;
    let now = match when {
        "now" => true,
        "soon" => false,
        _ => return Err(wrong()),
    };
    let (what, limit) = rest.split_once('=').unwrap_or((rest, "1"));
    let on = match what {
        "fail" => HaltOn::Fail,
        "success" => HaltOn::Success,
        "done" => HaltOn::Done,
        _ => return Err(wrong()),
    };
    let limit = match limit.strip_suffix('%') {
        Some(percent) => {
            percent.parse().ok().filter(|percent| (1..=100).contains(percent)).map(HaltLimit::Percent)
        }
        None => limit.parse().ok().filter(|count| *count > 0).map(HaltLimit::Count),
    };
    Ok(Halt { on, limit: limit.ok_or_else(wrong)?, now })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_and_wrong_ones_refused() {
        let rule = |on, limit, now| Ok(Halt { on, limit, now });
        assert_eq!(parse("now,fail=1"), rule(HaltOn::Fail, HaltLimit::Count(1), true));
        assert_eq!(parse("soon,success"), rule(HaltOn::Success, HaltLimit::Count(1), false));
        assert_eq!(parse("soon,done=30%"), rule(HaltOn::Done, HaltLimit::Percent(30), false));
        for wrong in ["now", "later,fail=1", "now,fails=1", "now,fail=0", "now,fail=101%", "now,fail="] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
