//! Spans of time for people.

use std::time::Duration;

/// `850 ms`, `3.2 s`, `3 m 12 s`, `2 h 5 m`, `4 d 1 h`: two figures that matter.
pub(crate) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 if time.subsec_millis() == 0 && !time.is_zero() => "< 1 ms".to_owned(),
        0 => format!("{} ms", time.subsec_millis()),
        1..=9 => format!("{}.{} s", seconds, time.subsec_millis() / 100),
        10..=59 => format!("{seconds} s"),
        60..=3_599 => format!("{} m {} s", seconds / 60, seconds % 60),
        3_600..=86_399 => format!("{} h {} m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_show_two_figures_that_matter() {
        for (millis, text) in [
            (0, "0 ms"),
            (850, "850 ms"),
            (3_260, "3.2 s"),
            (59_999, "59 s"),
            (192_000, "3 m 12 s"),
            (7_500_000, "2 h 5 m"),
            (349_200_000, "4 d 1 h"),
        ] {
            assert_eq!(span(Duration::from_millis(millis)), text);
        }
        assert_eq!(span(Duration::from_micros(30)), "< 1 ms");
        assert_eq!(span(Duration::MAX), "213503982334601 d 7 h");
    }
}
