//! Times as files write them.

use arrow::compute::kernels::cast_utils::string_to_datetime;
use chrono::Utc;
use clap::ValueEnum;

use super::rows::Reason;
use crate::error::{Error, Result};
use crate::model::Timestamp;
use crate::model::time::{MAX_POINT_TIME, MIN_TIME};

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum TimeUnit {
    /// Nanoseconds.
    Ns,
    /// Microseconds.
    Us,
    /// Milliseconds.
    Ms,
    /// Seconds.
    S,
}

impl TimeUnit {
    const ALL: [Self; 4] = [Self::Ns, Self::Us, Self::Ms, Self::S];

    pub(super) fn nanoseconds(self) -> i64 {
        match self {
            Self::Ns => 1,
            Self::Us => 1_000,
            Self::Ms => 1_000_000,
            Self::S => 1_000_000_000,
        }
    }

    /// Decimal digits of a fraction that are whole nanoseconds.
    fn digits(self) -> usize {
        match self {
            Self::Ns => 0,
            Self::Us => 3,
            Self::Ms => 6,
            Self::S => 9,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Ns => "ns",
            Self::Us => "us",
            Self::Ms => "ms",
            Self::S => "s",
        }
    }
}

/// A time, or why there is none.
pub(super) type Parsed = std::result::Result<Timestamp, Reason>;

/// Reads the times of one file. The unit of numbers is decided once: by flag, or by the first number.
pub(super) struct TimeParser {
    unit: Option<TimeUnit>,
}

/// 2001-09-09T01:46:40Z: in each unit, numbers from here to the end of BTrDB's time fit no other unit.
const OBVIOUS_FROM: i128 = 1_000_000_000_000_000_000;

impl TimeParser {
    pub(super) fn new(unit: Option<TimeUnit>) -> Self {
        Self { unit }
    }

    /// ISO 8601 (UTC, unless it says otherwise), or a number of units.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) for the first number, if its unit is neither known nor obvious.
    pub(super) fn text(&mut self, text: &str) -> Result<Parsed> {
        let text = text.trim();
        if text.is_empty() || text.eq_ignore_ascii_case("null") {
            return Ok(Err(Reason::TimeMissing));
        }
        if let Some(decimal) = Decimal::parse(text) {
            let unit = self.unit_for(decimal.whole, text)?;
            return Ok(in_range(decimal.nanoseconds(unit)));
        }
        if text.bytes().all(|byte| b"0123456789+-.eE".contains(&byte))
            && let Ok(number) = text.parse::<f64>()
        {
            return self.float(number);
        }
        Ok(match string_to_datetime(&Utc, text) {
            Ok(time) => match time.timestamp_nanos_opt() {
                Some(time) => in_range(time.into()),
                None => Err(Reason::TimeOutOfRange),
            },
            Err(_) => Err(Reason::TimeUnreadable),
        })
    }

    /// A whole number of units.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub(super) fn integer(&mut self, number: i64) -> Result<Parsed> {
        let unit = self.unit_for(number.into(), number)?;
        Ok(in_range(
            i128::from(number) * i128::from(unit.nanoseconds()),
        ))
    }

    /// A number of units, as exact as a float is.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub(super) fn float(&mut self, number: f64) -> Result<Parsed> {
        if !number.is_finite() {
            return Ok(Err(Reason::TimeUnreadable));
        }
        let unit = self.unit_for(number as i128, number)?;
        // Whole and fractional part apart: their sum in nanoseconds has more digits than a float keeps.
        let scale = unit.nanoseconds();
        let whole = (number.trunc() as i128).saturating_mul(scale.into());
        let fraction = (number.fract() * scale as f64).round() as i128;
        Ok(in_range(whole.saturating_add(fraction)))
    }

    fn unit_for(&mut self, whole: i128, shown: impl std::fmt::Display) -> Result<TimeUnit> {
        if let Some(unit) = self.unit {
            return Ok(unit);
        }
        let fits = |unit: &TimeUnit| {
            let time = whole.saturating_mul(unit.nanoseconds().into());
            (OBVIOUS_FROM..=MAX_POINT_TIME.into()).contains(&time)
        };
        let unit = TimeUnit::ALL.into_iter().find(fits).ok_or_else(|| {
            Error::invalid(format!(
                "what time {shown} counts is not obvious: say --time-unit ns, us, ms or s"
            ))
        })?;
        tracing::info!("times are taken to count {}", unit.as_str());
        self.unit = Some(unit);
        Ok(unit)
    }
}

/// A time that BTrDB can store.
pub(super) fn in_range(nanoseconds: i128) -> Parsed {
    i64::try_from(nanoseconds)
        .ok()
        .filter(|time| (MIN_TIME..=MAX_POINT_TIME).contains(time))
        .ok_or(Reason::TimeOutOfRange)
}

/// Digits, maybe with a fraction: read without a float in between, which would lose nanoseconds.
struct Decimal<'a> {
    is_negative: bool,
    whole: i128,
    fraction: &'a str,
}

impl<'a> Decimal<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (is_negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !is_digits(whole) || !is_digits(fraction) {
            return None;
        }
        // More digits than fit are far out of range, and stay so.
        let whole = whole.parse().unwrap_or(i128::from(i64::MAX));
        Some(Self {
            is_negative,
            whole: if is_negative { -whole } else { whole },
            fraction,
        })
    }

    fn nanoseconds(&self, unit: TimeUnit) -> i128 {
        let kept = &self.fraction[..self.fraction.len().min(unit.digits())];
        let mut fraction: i128 = 0;
        for place in 0..unit.digits() {
            let digit = kept.as_bytes().get(place).map_or(0, |byte| byte - b'0');
            fraction = fraction * 10 + i128::from(digit);
        }
        let next = self.fraction.as_bytes().get(unit.digits());
        if next.is_some_and(|&digit| digit >= b'5') {
            fraction += 1;
        }
        let whole = self.whole.saturating_mul(unit.nanoseconds().into());
        if self.is_negative {
            whole.saturating_sub(fraction)
        } else {
            whole.saturating_add(fraction)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(unit: Option<TimeUnit>, text: &str) -> Parsed {
        TimeParser::new(unit).text(text).expect("a known unit")
    }

    #[test]
    fn text_and_numbers_mean_the_same_time() {
        let time = Ok(1_767_225_600_033_333_333);
        for text in [
            "2026-01-01T00:00:00.033333333Z",
            "2026-01-01 00:00:00.033333333",
            "2026-01-01T01:00:00.033333333+01:00",
            "1767225600033333333",
            "1767225600033333.333",
            "1767225600033.333333",
            "1767225600.033333333",
            " 1767225600.0333333331 ",
        ] {
            assert_eq!(parse(None, text), time, "{text}");
        }
    }

    #[test]
    fn units_by_flag_reach_where_none_is_obvious() {
        assert_eq!(parse(Some(TimeUnit::S), "-1.5"), Ok(-1_500_000_000));
        assert_eq!(parse(Some(TimeUnit::Ms), "1.5e3"), Ok(1_500_000_000));
        assert_eq!(parse(Some(TimeUnit::Ns), "7.5"), Ok(8));
        for number in [1e38, -1e300] {
            let parsed = TimeParser::new(Some(TimeUnit::S)).float(number);
            assert_eq!(parsed.expect("a known unit"), Err(Reason::TimeOutOfRange));
        }
        let error = TimeParser::new(None).text("12345").expect_err("no unit");
        assert!(error.message().contains("--time-unit"), "{error}");
    }

    #[test]
    fn the_first_number_decides_for_all() {
        let mut times = TimeParser::new(None);
        assert!(times.integer(1_767_225_600_000).expect("ms").is_ok());
        assert_eq!(times.integer(5).expect("ms"), Ok(5_000_000));
    }

    #[test]
    fn what_is_no_time_has_a_reason() {
        for (text, reason) in [
            ("", Reason::TimeMissing),
            ("NULL", Reason::TimeMissing),
            ("yesterday", Reason::TimeUnreadable),
            ("2026-13-01", Reason::TimeUnreadable),
            ("1900-01-01T00:00:00Z", Reason::TimeOutOfRange),
            ("9999-01-01T00:00:00Z", Reason::TimeOutOfRange),
            (
                "99999999999999999999999999999999999999999999",
                Reason::TimeOutOfRange,
            ),
        ] {
            assert_eq!(parse(Some(TimeUnit::S), text), Err(reason), "{text}");
        }
    }
}
