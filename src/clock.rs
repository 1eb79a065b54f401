//! The time of day, whatever the clock says.
//!
//! A machine without a battery starts in 1970, a broken one in the year 30000, and the system's time may lie before its
//! epoch. Times are only shown and written here, so a time that can't be represented is moved to the nearest that can.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// Local time now.
#[must_use]
pub(crate) fn now() -> Zoned {
    timestamp(SystemTime::now()).to_zoned(TimeZone::system())
}

/// The time now, without a place.
#[must_use]
pub(crate) fn instant() -> Timestamp {
    timestamp(SystemTime::now())
}

/// Seconds since 1970, negative before.
#[must_use]
pub(crate) fn seconds() -> f64 {
    instant().as_duration().as_secs_f64()
}

/// A day is kept free at both ends for the time zone.
fn timestamp(time: SystemTime) -> Timestamp {
    const DAY: i64 = 86_400;
    let (least, most) = (Timestamp::MIN.as_second() + DAY, Timestamp::MAX.as_second() - DAY);
    let (seconds, nanoseconds) = match time.duration_since(UNIX_EPOCH) {
        Ok(since) => (i64::try_from(since.as_secs()).unwrap_or(i64::MAX), since.subsec_nanos().cast_signed()),
        Err(error) => {
            let before: Duration = error.duration();
            (i64::try_from(before.as_secs()).map_or(i64::MIN, |s| -s), -before.subsec_nanos().cast_signed())
        }
    };
    if seconds < least || seconds > most {
        return Timestamp::from_second(seconds.clamp(least, most)).unwrap_or(Timestamp::UNIX_EPOCH);
    }
    Timestamp::new(seconds, nanoseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_clock_gives_a_time_that_can_be_written() {
        let year = |time: SystemTime| timestamp(time).to_zoned(TimeZone::UTC).year();
        assert_eq!(year(UNIX_EPOCH), 1970);
        assert_eq!(year(UNIX_EPOCH - Duration::from_nanos(1)), 1969);
        assert_eq!(year(UNIX_EPOCH - Duration::from_secs(1 << 40)), -9999);
        assert_eq!(year(UNIX_EPOCH + Duration::from_secs(1 << 40)), 9999);
        assert_eq!(year(UNIX_EPOCH + Duration::from_secs(1_800_000_000)), 2027);
        let earliest = timestamp(UNIX_EPOCH - Duration::from_secs(1 << 40));
        for hours in [-25, 25] {
            let zone = jiff::tz::Offset::from_seconds(hours * 3600).unwrap().to_time_zone();
            let _ = earliest.to_zoned(zone).strftime("%Y").to_string();
        }
    }
}
