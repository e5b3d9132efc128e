//! Statistics of a set of values, and their sum.
//!
//! The second moment is carried as the sum of squared deviations from the mean, so that statistics of neighbouring windows
//! combine without cancellation (Chan, Golub, LeVeque 1979). The sum is carried beside the mean, with the rounding error of
//! its additions (Knuth's two-sum): `mean * count` of flags would not be a whole number.

/// Count, extremes, mean, second moment and sum of some values.
///
/// Of no values: count 0, the other fields without meaning.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stat {
    /// How many values.
    pub count: u64,
    /// The least, in IEEE total order: -0.0 is below 0.0.
    pub min: f64,
    /// The greatest, in IEEE total order.
    pub max: f64,
    /// The arithmetic mean.
    pub mean: f64,
    /// Sum of squared deviations from the mean.
    pub m2: f64,
    /// The sum, rounded.
    pub sum: f64,
    /// What rounding lost of the sum.
    pub sum_error: f64,
}

/// Width of the lanes that sums run in: fixed, so that the same values always give the same bits.
const LANES: usize = 8;

impl Stat {
    /// Of no values.
    pub const EMPTY: Self = Self {
        count: 0,
        min: f64::INFINITY,
        max: f64::NEG_INFINITY,
        mean: 0.0,
        m2: 0.0,
        sum: 0.0,
        sum_error: 0.0,
    };

    /// Of `values`: a pure function of them and their order.
    #[must_use]
    #[inline]
    pub fn of(values: &[f64]) -> Self {
        if values.is_empty() {
            return Self::EMPTY;
        }
        let count = values.len() as f64;
        let sum = lane_sum(values, |value| value);
        let mut mean = sum / count;
        if !mean.is_finite() {
            mean = lane_sum(values, |value| value / count);
        }
        let m2 = lane_sum(values, |value| (value - mean) * (value - mean));
        let (min, max) = extremes(values);
        Self {
            count: values.len() as u64,
            min,
            max,
            mean,
            m2,
            sum,
            sum_error: 0.0,
        }
    }

    /// Adds the values that `other` stands for.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = *other;
            return;
        }
        let (own, theirs) = (self.count as f64, other.count as f64);
        let count = own + theirs;
        let delta = other.mean - self.mean;
        // Two means of opposite sign near the end of the scale are further apart than the scale is long.
        if delta.is_finite() {
            self.mean += delta * (theirs / count);
        } else {
            self.mean = self.mean * (own / count) + other.mean * (theirs / count);
        }
        self.m2 += other.m2 + delta * delta * (own * theirs / count);
        self.count += other.count;
        self.min = total_min(self.min, other.min);
        self.max = total_max(self.max, other.max);
        self.add_sum(other.sum, other.sum_error);
    }

    /// Of all values that `parts` stand for, each by its `stat`: as merging them one by one would have it, but for rounding, and
    /// several times as fast, because no step waits for the one before.
    #[must_use]
    #[inline]
    pub fn fold<T>(parts: &[T], stat: impl Fn(&T) -> &Self) -> Self {
        const WIDTH: usize = 4;
        let (chunks, rest) = parts.as_chunks::<WIDTH>();
        let mut lanes = [Lane::NOTHING; WIDTH];
        for chunk in chunks {
            for place in 0..WIDTH {
                lanes[place].add(stat(&chunk[place]));
            }
        }
        for (lane, part) in lanes.iter_mut().zip(rest) {
            lane.add(stat(part));
        }
        let mut folded = lanes[0].stat();
        for lane in &lanes[1..] {
            let lane = lane.stat();
            folded.count += lane.count;
            folded.min = total_min(folded.min, lane.min);
            folded.max = total_max(folded.max, lane.max);
            folded.add_sum(lane.sum, lane.sum_error);
        }
        folded.mean = folded.total() / folded.count as f64;
        if folded.count == 0 || !folded.mean.is_finite() {
            return parts.iter().fold(Self::EMPTY, |mut merged, part| {
                merged.merge(stat(part));
                merged
            });
        }
        let mut m2 = [0.0; WIDTH];
        let spread = |part: &Self| {
            let distance = part.mean - folded.mean;
            part.m2 + part.count as f64 * (distance * distance)
        };
        for chunk in chunks {
            for place in 0..WIDTH {
                m2[place] += spread(stat(&chunk[place]));
            }
        }
        for (lane, part) in m2.iter_mut().zip(rest) {
            *lane += spread(stat(part));
        }
        folded.m2 = (m2[0] + m2[2]) + (m2[1] + m2[3]);
        folded
    }

    /// The sum of the values.
    pub fn total(&self) -> f64 {
        self.sum + self.sum_error
    }

    /// Population variance (divided by n), as BTrDB defines its `stddev`: 0 for one value.
    pub fn variance_population(&self) -> f64 {
        self.deviations() / self.count as f64
    }

    /// Population standard deviation.
    pub fn stddev(&self) -> f64 {
        self.variance_population().sqrt()
    }

    /// Sample variance (divided by n - 1), as SQL's `var_samp`; none for fewer than two values.
    pub fn variance_sample(&self) -> Option<f64> {
        (self.count > 1).then(|| self.deviations() / (self.count - 1) as f64)
    }

    /// The squared deviations without what rounding alone made of them.
    fn deviations(&self) -> f64 {
        if self.min == self.max {
            return 0.0;
        }
        self.m2.max(0.0)
    }

    fn add_sum(&mut self, sum: f64, error: f64) {
        let total = self.sum + sum;
        let shadow = total - self.sum;
        let lost = (self.sum - (total - shadow)) + (sum - shadow);
        self.sum = total;
        self.sum_error = if total.is_finite() {
            self.sum_error + error + lost
        } else {
            0.0
        };
    }
}

/// One of several sums that run beside each other.
#[derive(Clone, Copy)]
struct Lane {
    count: u64,
    min: i64,
    max: i64,
    sum: f64,
    sum_error: f64,
}

impl Lane {
    const NOTHING: Self = Self {
        count: 0,
        min: i64::MAX,
        max: i64::MIN,
        sum: 0.0,
        sum_error: 0.0,
    };

    #[inline]
    fn add(&mut self, part: &Stat) {
        let total = self.sum + part.sum;
        let shadow = total - self.sum;
        self.sum_error += part.sum_error + ((self.sum - (total - shadow)) + (part.sum - shadow));
        self.sum = total;
        self.count += part.count;
        self.min = self.min.min(order_key(part.min));
        self.max = self.max.max(order_key(part.max));
    }

    /// Without mean and second moment. What saw nothing has the ends of the order, and so does not count in an extreme.
    fn stat(&self) -> Stat {
        Stat {
            count: self.count,
            min: from_order_key(self.min),
            max: from_order_key(self.max),
            sum: self.sum,
            sum_error: self.sum_error,
            ..Stat::EMPTY
        }
    }
}

impl Default for Stat {
    fn default() -> Self {
        Self::EMPTY
    }
}

#[inline]
fn lane_sum(values: &[f64], term: impl Fn(f64) -> f64) -> f64 {
    let mut lanes = [0.0; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] += term(chunk[lane]);
        }
    }
    let folded = ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6]))
        + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
    rest.iter().fold(folded, |sum, &value| sum + term(value))
}

/// Total order of IEEE 754 as an order of integers.
#[inline]
fn order_key(value: f64) -> i64 {
    let bits = value.to_bits() as i64;
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

fn from_order_key(key: i64) -> f64 {
    f64::from_bits((key ^ (((key >> 63) as u64) >> 1) as i64) as u64)
}

#[inline]
fn extremes(values: &[f64]) -> (f64, f64) {
    // Few values are not worth the folding of lanes.
    if values.len() < 2 * LANES {
        let ends = (i64::MAX, i64::MIN);
        let (low, high) = values.iter().fold(ends, |(low, high), &value| {
            let key = order_key(value);
            (low.min(key), high.max(key))
        });
        return (from_order_key(low), from_order_key(high));
    }
    // By number first, which the processor has instructions for; the two zeros are told apart afterwards.
    let (mut low, mut high) = ([f64::INFINITY; LANES], [f64::NEG_INFINITY; LANES]);
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            let value = chunk[lane];
            low[lane] = if value < low[lane] { value } else { low[lane] };
            high[lane] = if value > high[lane] {
                value
            } else {
                high[lane]
            };
        }
    }
    let all = |lanes: [f64; LANES]| lanes.into_iter().chain(rest.iter().copied());
    let min = all(low).fold(f64::INFINITY, |a, b| if b < a { b } else { a });
    let max = all(high).fold(f64::NEG_INFINITY, |a, b| if b > a { b } else { a });
    let has = |zero: f64| values.iter().any(|value| value.to_bits() == zero.to_bits());
    (
        if min == 0.0 && has(-0.0) { -0.0 } else { min },
        if max == 0.0 && has(0.0) { 0.0 } else { max },
    )
}

fn total_min(a: f64, b: f64) -> f64 {
    if a.total_cmp(&b).is_le() { a } else { b }
}

fn total_max(a: f64, b: f64) -> f64 {
    if a.total_cmp(&b).is_ge() { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_windows_combine_as_documented() {
        let mut stat = Stat::of(&[2.0, 3.0, 4.0]);
        assert!((stat.stddev() - 0.816496580927726).abs() < 1e-15);
        stat.merge(&Stat::of(&[5.0, 6.0, 7.0]));
        assert_eq!(
            (stat.count, stat.mean, stat.m2, stat.min, stat.max),
            (6, 4.5, 17.5, 2.0, 7.0)
        );
        assert_eq!(stat.total(), 27.0);
    }

    #[test]
    fn nothing_is_neutral() {
        let some = Stat::of(&[1.0, -0.0]);
        let mut left = some;
        left.merge(&Stat::EMPTY);
        let mut right = Stat::EMPTY;
        right.merge(&some);
        assert_eq!((left, right), (some, some));
        assert!(some.min.is_sign_negative());
    }

    #[test]
    fn folding_is_merging() {
        let parts: Vec<Stat> = (1..70_u32)
            .map(|i| Stat::of(&[f64::from(i).sin(), 1e6 * f64::from(i % 7)]))
            .chain([Stat::EMPTY])
            .collect();
        for len in 0..parts.len() {
            let folded = Stat::fold(&parts[..len], |part| part);
            let mut merged = Stat::EMPTY;
            parts[..len].iter().for_each(|part| merged.merge(part));
            assert_eq!(
                (folded.count, folded.min, folded.max),
                (merged.count, merged.min, merged.max)
            );
            assert!((folded.mean - merged.mean).abs() <= 1e-12 * 6e6);
            assert!((folded.stddev() - merged.stddev()).abs() <= 1e-12 * 6e6 || len == 0);
            assert_eq!(folded.total(), merged.total());
        }
        let huge = [Stat::of(&[f64::MAX]), Stat::of(&[f64::MAX, f64::MIN])];
        assert!(Stat::fold(&huge, |part| part).mean.is_finite());
    }

    #[test]
    fn sums_of_flags_are_whole() {
        let flags: Vec<f64> = (0..10_000_u32).map(|i| f64::from(i % 3 == 0)).collect();
        let mut stat = Stat::EMPTY;
        for chunk in flags.chunks(7) {
            stat.merge(&Stat::of(chunk));
        }
        assert_eq!(stat.total(), 3334.0);
    }

    #[test]
    fn the_mean_survives_where_the_sum_overflows() {
        let stat = Stat::of(&[1e308, 1e308, 1.5e308]);
        assert!(stat.mean.is_finite() && stat.sum.is_infinite());
        let mut merged = Stat::of(&[f64::MAX]);
        merged.merge(&Stat::of(&[f64::MIN]));
        assert_eq!(merged.mean, 0.0);
    }

    #[test]
    fn order_keys_keep_total_order() {
        let ordered = [
            f64::NEG_INFINITY,
            -1.0,
            -f64::MIN_POSITIVE,
            -0.0,
            0.0,
            f64::MIN_POSITIVE,
            1.0,
            f64::INFINITY,
        ];
        assert!(
            ordered
                .windows(2)
                .all(|pair| order_key(pair[0]) < order_key(pair[1]))
        );
        assert!(
            ordered
                .iter()
                .all(|&value| from_order_key(order_key(value)).to_bits() == value.to_bits())
        );
    }
}
