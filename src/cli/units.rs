//! Sizes and spans of time as people write them: `64MiB`, `15s`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// So many bytes. Written as a number, alone or with a unit of 1,024: `4096`, `64MiB`, `1 gib`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ByteSize(pub(super) u64);

/// Largest first.
const SIZES: [(&str, u64); 5] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split(text);
        let each = match unit {
            "" => Some(1),
            unit => (SIZES.iter())
                .find(|(name, _)| name.eq_ignore_ascii_case(unit))
                .map(|&(_, bytes)| bytes),
        };
        // Neither 1.5GiB nor 1GB, which some take for 10^9 and some for 2^30.
        let (Some(each), Ok(number)) = (each, number.parse::<u64>()) else {
            return Err(
                "a size is a whole number of bytes, or of KiB, MiB, GiB or TiB, such as 64MiB"
                    .to_owned(),
            );
        };
        match number.checked_mul(each) {
            Some(bytes) => Ok(Self(bytes)),
            None => Err("a size is less than 16777216TiB".to_owned()),
        }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |&&(_, each): &&(&str, u64)| self.0 >= each && self.0.is_multiple_of(each);
        match SIZES.iter().find(whole) {
            Some((unit, each)) => write!(f, "{}{unit}", self.0 / each),
            None => f.write_str("0B"),
        }
    }
}

/// A span of time, with its unit: `500ms`, `15s`, `2min`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeSpan(pub(super) Duration);

/// Longest first, in milliseconds.
const SPANS: [(&str, u64); 3] = [("min", 60_000), ("s", 1000), ("ms", 1)];

impl FromStr for TimeSpan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split(text);
        let each = SPANS.iter().find(|(name, _)| *name == unit);
        let millis = each.and_then(|(_, each)| number.parse::<u64>().ok()?.checked_mul(*each));
        match millis {
            Some(millis) => Ok(Self(Duration::from_millis(millis))),
            None => Err(
                "a span of time is a whole number of ms, s or min with its unit, such as 15s"
                    .to_owned(),
            ),
        }
    }
}

impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// The digits that `text` begins with, and the unit behind them.
fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bytes_or_units_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("512B", 512),
            ("1KiB", 1 << 10),
            ("64MiB", 64 << 20),
            ("64 mib", 64 << 20),
            (" 1GiB ", 1 << 30),
            ("2TiB", 2 << 40),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "",
            "MiB",
            "-1",
            "+1",
            "1.5GiB",
            "64M",
            "64MB",
            "64MiBs",
            "1e6",
            "16777216TiB",
            "18446744073709551616",
        ] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_printed_as_they_are_parsed() {
        for text in [
            "0B", "1B", "1023B", "1KiB", "1025B", "64MiB", "3GiB", "5TiB",
        ] {
            let size: ByteSize = text.parse().expect(text);
            assert_eq!(size.to_string(), text);
        }
    }

    #[test]
    fn spans_of_time_have_a_unit() {
        for (text, millis) in [
            ("0s", 0),
            ("500ms", 500),
            ("15s", 15_000),
            ("2 min", 120_000),
        ] {
            let span = TimeSpan(Duration::from_millis(millis));
            assert_eq!(text.parse(), Ok(span), "{text}");
        }
        for text in [
            "",
            "15",
            "s",
            "-1s",
            "1.5s",
            "1h",
            "18446744073709551615min",
        ] {
            assert!(text.parse::<TimeSpan>().is_err(), "{text}");
        }
        assert_eq!(TimeSpan(Duration::from_secs(15)).to_string(), "15s");
    }
}
