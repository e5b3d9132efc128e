//! Statistics of windows, row by row.

use super::proto::StatPoint;
use crate::model::{Stat, Timestamp};

/// A window as it travels; an empty one is all zeros.
pub fn row(time: Timestamp, stat: &Stat) -> StatPoint {
    if stat.count == 0 {
        return StatPoint {
            time,
            ..StatPoint::default()
        };
    }
    StatPoint {
        time,
        min: Some(stat.min),
        mean: Some(stat.mean),
        max: Some(stat.max),
        count: stat.count,
        stddev: Some(stat.stddev()),
    }
}

/// A window as it arrives.
///
/// The wire has neither second moment nor sum: they are what the deviation and the mean make of them, to a rounding error. A
/// deviation that the server does not know (NaN, over points that it has buffered) makes the moment NaN.
pub fn stat(row: &StatPoint) -> Stat {
    if row.count == 0 {
        return Stat::EMPTY;
    }
    told(row.count, row.min(), row.mean(), row.max(), row.stddev())
}

/// The same from the numbers.
pub fn told(count: u64, min: f64, mean: f64, max: f64, stddev: f64) -> Stat {
    let points = count as f64;
    Stat {
        count,
        min,
        max,
        mean,
        m2: moment(points, stddev),
        sum: mean * points,
        sum_error: 0.0,
    }
}

/// The second moment whose deviation is `stddev` to the last bit, so that windows are passed on as they came; where floats are
/// too far apart to have one, the deviation is off by that bit.
fn moment(count: f64, stddev: f64) -> f64 {
    let near = stddev * stddev * count;
    let (above, below) = (near.next_up(), near.next_down());
    [near, above, below, above.next_up(), below.next_down()]
        .into_iter()
        .find(|m2| (m2 / count).sqrt() == stddev)
        .unwrap_or(near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deviations_survive_almost_always_to_the_last_bit() {
        let mut exact = 0;
        for count in 1..2000_u32 {
            let stddev = f64::from(count).sin().abs() * 10.0_f64.powi(count as i32 % 40 - 20);
            let told = told(count.into(), -1.0, 0.0, 1.0, stddev).stddev();
            assert!(told.to_bits().abs_diff(stddev.to_bits()) <= 1, "{count}");
            exact += u32::from(told == stddev);
        }
        assert!(exact > 1900, "{exact} of 1999");
        assert!(told(5, -1.0, 0.0, 1.0, f64::NAN).m2.is_nan());
        assert_eq!(told(5, 0.0, 0.0, 0.0, 0.0).m2, 0.0);
    }

    #[test]
    fn windows_survive_the_wire() {
        let stat_of = Stat::of(&[2.0, 3.0, 4.0]);
        let told = row(5, &stat_of);
        assert_eq!(told.stddev(), 0.816496580927726);
        let back = stat(&told);
        assert_eq!(
            (back.count, back.min, back.max, back.mean),
            (3, 2.0, 4.0, 3.0)
        );
        assert!((back.m2 - stat_of.m2).abs() < 1e-12);
        assert_eq!(row(7, &Stat::EMPTY).min(), 0.0, "no infinities of nothing");
    }
}
