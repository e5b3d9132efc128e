//! The straight line a column runs along: for times, the clock behind them.
//!
//! Value `i` is predicted as `start + step * i + (phase + fraction * i) / 2^32`, rounded down and wrapping. The fraction
//! is there because the clocks of phasor measurement units rarely tick in whole nanoseconds: at 120 Hz a step is
//! 8,333,333 1/3 ns, and a column rounded to nanoseconds must still be met exactly, so that it costs nothing.

use super::wire::{self, Damage};

const NANOS_PER_SECOND: i128 = 1_000_000_000;
/// Steps looked at to find the usual one.
const STEPS_SAMPLED: usize = 63;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line {
    start: i64,
    step: i64,
    fraction: u32,
    phase: u32,
}

impl Line {
    /// The line from the first value to the last: right for a clock without gaps, jitter or not.
    pub(super) fn through_ends(values: &[i64]) -> Self {
        let [first, .., last] = *values else {
            return Self::new(values, 0);
        };
        let steps = values.len() as i128 - 1;
        let slope = ((i128::from(last) - i128::from(first)) << 32) / steps;
        // The ends are rounded, and so may be off by a nanosecond each.
        Self::new(values, snapped(slope, (2 << 32) / steps))
    }

    /// The line that climbs by the usual step: right for a clock with gaps.
    pub(super) fn by_usual_step(values: &[i64]) -> Self {
        let mut steps = [0; STEPS_SAMPLED];
        let count = STEPS_SAMPLED.min(values.len().saturating_sub(1));
        for (i, step) in steps[..count].iter_mut().enumerate() {
            let at = i * (values.len() - 1) / count;
            *step = values[at + 1].wrapping_sub(values[at]);
        }
        let steps = &mut steps[..count];
        steps.sort_unstable();
        let slope = i128::from(steps.get(count / 2).copied().unwrap_or(0)) << 32;
        // Jitter hides the rate, but rates are far apart.
        Self::new(values, snapped(slope, slope.abs() / 1000))
    }

    /// Chooses start and phase for a slope in units of 2^-32, so that as many values as can be are met exactly.
    fn new(values: &[i64], slope: i128) -> Self {
        let start = values.first().copied().unwrap_or(0);
        let mut line = Self {
            start,
            step: (slope >> 32) as i64,
            fraction: slope as u32,
            phase: 0,
        };
        if line.fraction == 0 {
            return line;
        }
        // How far the line without phase is above each value. Raising it by the deepest shortfall makes all of these
        // at least 0; where they stay below 1, rounding down meets the value. More than 1 is not the phase's to raise.
        let (mut whole, mut parts, mut lowest) = (start, 0i64, 0);
        for &value in values {
            let Ok(over) = i32::try_from(value.wrapping_sub(whole)) else {
                return line;
            };
            lowest = lowest.min(parts.wrapping_sub(i64::from(over) << 32));
            whole = whole.wrapping_add(line.step);
            parts = parts.wrapping_add(i64::from(line.fraction));
        }
        line.phase = lowest.wrapping_neg() as u32;
        line
    }

    /// Whether the line meets every value.
    pub(super) fn meets(&self, values: &[i64]) -> bool {
        self.from(0)
            .zip(values)
            .all(|(predicted, &value)| predicted == value)
    }

    /// Predictions for the values from index `at` on, without end.
    #[inline]
    pub(super) fn from(&self, at: usize) -> impl Iterator<Item = i64> + use<> {
        let (step, fraction) = (self.step, u64::from(self.fraction));
        let mut whole = self.start.wrapping_add(step.wrapping_mul(at as i64));
        let mut parts = u64::from(self.phase).wrapping_add(fraction.wrapping_mul(at as u64));
        std::iter::repeat_with(move || {
            let value = whole.wrapping_add((parts >> 32) as i64);
            whole = whole.wrapping_add(step);
            parts = parts.wrapping_add(fraction);
            value
        })
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        wire::put_zigzag(out, self.start);
        wire::put_zigzag(out, self.step);
        wire::put_varint(out, u64::from(self.fraction));
        wire::put_varint(out, u64::from(self.phase));
    }

    pub(super) fn get(input: &mut &[u8]) -> Result<Self, Damage> {
        let part =
            |value| u32::try_from(value).map_err(|_| Damage("fraction of a step exceeds 32 bits"));
        Ok(Self {
            start: wire::get_zigzag(input)?,
            step: wire::get_zigzag(input)?,
            fraction: part(wire::get_varint(input)?)?,
            phase: part(wire::get_varint(input)?)?,
        })
    }
}

/// The slope of the nearest whole number of ticks a second, if that is within `tolerance`: clocks are built that way.
fn snapped(slope: i128, tolerance: i128) -> i128 {
    let second = NANOS_PER_SECOND << 32;
    if slope <= 0 || slope > second {
        return slope;
    }
    let rate = (second + slope / 2) / slope;
    let exact = second / rate;
    if (exact - slope).abs() <= tolerance {
        exact
    } else {
        slope
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(rate: i64, first: i64, count: i64, round: i64) -> Vec<i64> {
        (first..first + count)
            .map(|tick| (tick * 1_000_000_000 + round).div_euclid(rate))
            .collect()
    }

    #[test]
    fn whole_rates_are_met_exactly_however_they_were_rounded() {
        for rate in [1, 7, 25, 30, 50, 60, 100, 120, 960, 14_400, 30_000] {
            for count in [1, 2, 3, 100, 2048, 70_000] {
                for first in [0, 5, 1_000_003, -9] {
                    for round in [0, rate / 2, rate - 1] {
                        let values = clock(rate, first, count, round);
                        assert!(
                            Line::through_ends(&values).meets(&values),
                            "{rate} {count} {first} {round}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_gap_does_not_bend_the_usual_step() {
        let mut values = clock(120, 77, 500, 60);
        values.drain(200..230);
        let line = Line::by_usual_step(&values);
        assert!(line.meets(&values[..200]));
        let over: Vec<i64> = values[200..]
            .iter()
            .zip(line.from(200))
            .map(|(value, on)| value - on)
            .collect();
        // Thirty ticks of 8,333,333 1/3 ns are whole nanoseconds, so the phase stays too.
        assert!(over.iter().all(|&each| each == over[0]));
    }

    #[test]
    fn extremes_do_not_overflow() {
        for values in [
            vec![i64::MIN, i64::MAX],
            vec![i64::MAX, i64::MIN],
            vec![i64::MIN, 0, i64::MAX],
            vec![0, 1, 3],
        ] {
            for line in [Line::through_ends(&values), Line::by_usual_step(&values)] {
                let mut bytes = Vec::new();
                line.put(&mut bytes);
                assert_eq!(Line::get(&mut &bytes[..]), Ok(line));
                assert_eq!(line.from(0).zip(&values).count(), values.len());
            }
        }
    }
}
