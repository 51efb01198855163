//! Durations and sizes as an operator writes them: `"800ms"`, `"7d"`, `"64MiB"`.
//!
//! Owns the parsing and nothing else; knows no other part.

use std::{fmt, str::FromStr, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A length of time, written as a whole number and one of `ms`, `s`, `m`, `h`, `d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
pub struct Span(#[schemars(with = "String")] Duration);

impl Span {
    /// A span of this many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// A span of this many seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// A span of this many days of 86,400 s.
    pub const fn from_days(days: u64) -> Self {
        Self(Duration::from_secs(days * 86_400))
    }

    /// The same as the standard library's type.
    pub const fn get(self) -> Duration {
        self.0
    }
}

/// Why a text is not a span or a size; says what is expected.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct UnitError {
    text: String,
    expected: &'static str,
}

const SPAN_EXPECTED: &str = "a duration such as \"800ms\", \"30s\", \"5m\", \"24h\" or \"7d\"";
const SIZE_EXPECTED: &str = "a size such as \"512B\", \"64KiB\", \"1MiB\" or \"50GiB\"";

/// Splits `"64MiB"` into 64 and `"MiB"`.
fn split(text: &str, expected: &'static str) -> Result<(u64, String), UnitError> {
    let fail = || UnitError { text: text.to_owned(), expected };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number = text[..digits].parse().map_err(|_| fail())?;
    Ok((number, text[digits..].trim().to_ascii_lowercase()))
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let fail = || UnitError { text: text.to_owned(), expected: SPAN_EXPECTED };
        let (number, unit) = split(text, SPAN_EXPECTED)?;
        let millis = match unit.as_str() {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(fail()),
        };
        number.checked_mul(millis).map(Self::from_millis).ok_or_else(fail)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
            if millis > 0 && millis.is_multiple_of(size) {
                return write!(f, "{}{unit}", millis / size);
            }
        }
        write!(f, "{millis}ms")
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// A number of bytes, written with `B`, `KiB`, `MiB`, `GiB`, `TiB` (powers of 1,024) or `kB`, `MB`, `GB`, `TB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema, Serialize)]
#[serde(transparent)]
pub struct ByteSize(#[schemars(with = "String")] u64);

impl ByteSize {
    /// This many bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// This many units of 1,048,576 bytes.
    pub const fn from_mib(mib: u64) -> Self {
        Self(mib << 20)
    }

    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of bytes as an in-memory length (saturating on small platforms).
    pub fn len(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// Whether it is zero bytes.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let fail = || UnitError { text: text.to_owned(), expected: SIZE_EXPECTED };
        let (number, unit) = split(text, SIZE_EXPECTED)?;
        let bytes: u64 = match unit.as_str() {
            "b" => 1,
            "kib" => 1 << 10,
            "mib" => 1 << 20,
            "gib" => 1 << 30,
            "tib" => 1 << 40,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "tb" => 1_000_000_000_000,
            _ => return Err(fail()),
        };
        number.checked_mul(bytes).map(Self).ok_or_else(fail)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes_read_as_arithmetic_says() {
        for (text, millis) in
            [("800ms", 800), ("30s", 30_000), ("5m", 300_000), ("24h", 86_400_000), ("7d", 604_800_000)]
        {
            assert_eq!(text.parse::<Span>().unwrap().get().as_millis(), millis, "{text}");
        }
        for (text, bytes) in
            [("1B", 1), ("64KiB", 65_536), ("1MiB", 1_048_576), ("50GiB", 53_687_091_200), ("1kB", 1_000)]
        {
            assert_eq!(text.parse::<ByteSize>().unwrap().get(), bytes, "{text}");
        }
        for bad in ["", "7", "d", "-1s", "1.5h", "99999999999999999999d", "1 week", "é"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
    }
}
