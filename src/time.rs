//! The two instants a record carries, as whole numbers with one fixed text form each.
//!
//! Years 0001 to 9999, UTC, always `Z`. The width never varies, so texts sort as the instants do.

use std::{fmt, time::Duration};

use jiff::{
    SignedDuration, Timestamp,
    civil::{Date, DateTime},
};
use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Visitor},
};

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
/// 0001-01-01T00:00:00.000Z in milliseconds since 1970 (719,162 days before it).
pub const MILLIS_MIN: i64 = -719_162 * 86_400_000;
/// 9999-12-31T23:59:59.999Z in milliseconds since 1970 (2,932,897 days, less one millisecond).
pub const MILLIS_MAX: i64 = 2_932_897 * 86_400_000 - 1;

/// When the sender says it happened: milliseconds since 1970-01-01T00:00:00Z, text with 3 decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
pub struct EventTime(#[schemars(with = "String")] i64);

/// When the ledger admitted it: microseconds since 1970-01-01T00:00:00Z, text with 6 decimals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
pub struct ReceivedAt(#[schemars(with = "String")] i64);

impl EventTime {
    /// `None` outside the years 0001 to 9999.
    pub fn from_millis(millis: i64) -> Option<Self> {
        (MILLIS_MIN..=MILLIS_MAX).contains(&millis).then_some(Self(millis))
    }

    /// Milliseconds since 1970.
    pub const fn millis(self) -> i64 {
        self.0
    }
}

impl ReceivedAt {
    /// Clamped to the years 0001 to 9999.
    pub fn from_micros(micros: i64) -> Self {
        Self(micros.clamp(MILLIS_MIN * 1_000, MILLIS_MAX * 1_000))
    }

    /// An instant as people write it: a date, which is its begin in UTC, or an RFC 3339 time with offset.
    pub fn written(text: &str) -> Option<Self> {
        if let Some(date) = text.parse::<Date>().ok().filter(|_| !text.contains(['T', 't', ' '])) {
            let since = date.at(0, 0, 0, 0).duration_since(EPOCH);
            return Some(Self::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX)));
        }
        text.parse::<Timestamp>().ok().map(|at| Self::from_micros(at.as_microsecond()))
    }

    /// The machine's wall clock.
    pub fn wall() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    /// Microseconds since 1970.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// The same instant in whole milliseconds, rounded down.
    pub const fn event_time(self) -> EventTime {
        EventTime(self.0.div_euclid(1_000))
    }

    /// Later by `by`.
    pub fn plus(self, by: Duration) -> Self {
        Self::from_micros(self.0.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Whole seconds since 1970, as state keeps them.
    pub fn secs(self) -> u32 {
        u32::try_from(self.0.div_euclid(1_000_000).max(0)).unwrap_or(u32::MAX)
    }

    /// How much later than `earlier`; zero when it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

fn civil(seconds: i64, nanos: i32) -> DateTime {
    // In range by construction; the epoch stands in where it is not, rather than a panic.
    EPOCH.checked_add(SignedDuration::new(seconds, nanos)).unwrap_or(EPOCH)
}

/// Whole seconds and nanoseconds of an RFC 3339 text that ends in `Z`.
fn parse(text: &str) -> Option<SignedDuration> {
    let civil: DateTime = text.strip_suffix('Z')?.parse().ok()?;
    Some(civil.duration_since(EPOCH))
}

impl fmt::Display for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = i32::try_from(self.0.rem_euclid(1_000) * 1_000_000).unwrap_or(0);
        write!(f, "{:.3}Z", civil(self.0.div_euclid(1_000), nanos))
    }
}

impl fmt::Display for ReceivedAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = i32::try_from(self.0.rem_euclid(1_000_000) * 1_000).unwrap_or(0);
        write!(f, "{:.6}Z", civil(self.0.div_euclid(1_000_000), nanos))
    }
}

impl Serialize for EventTime {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl Serialize for ReceivedAt {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// Reads an instant from its text, which is not copied for it: what is wrong with another one, and what it is.
struct Text<T>(&'static str, fn(SignedDuration) -> Option<T>);

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an instant")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        parse(text).and_then(self.1).ok_or_else(|| E::custom(self.0))
    }
}

impl<'de> Deserialize<'de> for EventTime {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Text("not an instant such as 2019-08-26T18:08:28.643Z", |since| {
            Self::from_millis(i64::try_from(since.as_millis()).ok()?)
        }))
    }
}

impl<'de> Deserialize<'de> for ReceivedAt {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Text("not an instant such as 2026-11-22T06:40:00.123456Z", |since| {
            Some(Self::from_micros(i64::try_from(since.as_micros()).ok()?))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_have_one_text_form() {
        // Expected values by `date -u -d @SECONDS` (GNU coreutils).
        for (millis, text) in [
            (1_566_842_908_643, "2019-08-26T18:08:28.643Z"),
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (MILLIS_MIN, "0001-01-01T00:00:00.000Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        ] {
            let time = EventTime::from_millis(millis).unwrap();
            assert_eq!(time.to_string(), text);
            assert_eq!(serde_json::from_str::<EventTime>(&format!("\"{text}\"")).unwrap(), time);
        }
        assert_eq!(EventTime::from_millis(MILLIS_MAX + 1), None);
        assert_eq!(EventTime::from_millis(MILLIS_MIN - 1), None);
        assert_eq!(MILLIS_MAX, 253_402_300_799_999);
        let at = ReceivedAt::from_micros(1_795_329_600_123_456);
        assert_eq!(at.to_string(), "2026-11-22T06:40:00.123456Z");
        assert_eq!(serde_json::from_str::<ReceivedAt>("\"2026-11-22T06:40:00.123456Z\"").unwrap(), at);
    }
}
