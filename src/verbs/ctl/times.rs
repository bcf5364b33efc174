//! Times and spans on the command line and on the screen.

use crate::config;
use doula_model::control::Wall;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::time::Duration;

/// RFC 3339 with milliseconds, in this time zone: `2026-01-31T12:00:00.000+01:00`.
pub(super) fn rfc3339(wall: Wall, zone: &TimeZone) -> String {
    let micros = i64::try_from(wall.0).unwrap_or(i64::MAX);
    let time = Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX);
    time.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string()
}

/// A duration as in doula.toml: `10s`, `1m30s`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    config::duration(text)
}

/// A point in the past: a duration before now, or an RFC 3339 time.
pub(super) fn since(text: &str) -> Result<Wall, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(Wall(u64::try_from(time.as_microsecond()).unwrap_or(0)));
    }
    let ago = duration(text).map_err(|_| {
        format!("`{text}` is neither a time such as 2026-01-31T12:00:00Z nor a duration such as 10m")
    })?;
    let now = Timestamp::now().as_microsecond();
    let then = now.saturating_sub(i64::try_from(ago.as_micros()).unwrap_or(i64::MAX));
    Ok(Wall(u64::try_from(then).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        assert_eq!(since("2026-01-31T12:00:00Z"), Ok(Wall(1_769_860_800_000_000)));
        assert!(since("10m").expect("a duration") < since("1s").expect("a duration"));
        assert!(since("yesterday").is_err());
        let text = rfc3339(Wall(1_769_860_800_123_456), &TimeZone::UTC);
        assert_eq!(text, "2026-01-31T12:00:00.123+00:00");
        assert_eq!(since(&text), Ok(Wall(1_769_860_800_123_000)));
        assert!(rfc3339(Wall(u64::MAX), &TimeZone::UTC).starts_with("9999-"));
    }
}
