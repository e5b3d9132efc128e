//! Which values a reader has a use for.

use std::sync::atomic::{AtomicU64, Ordering};

/// An interval of values, both ends inside, which may narrow while a read goes on: a search for the ten greatest learns what
/// the tenth is.
///
/// Ends are compared as numbers, so that zeros of either sign are one value.
#[derive(Debug)]
pub struct ValueBounds {
    low: AtomicU64,
    high: AtomicU64,
}

impl ValueBounds {
    /// The values from `low` to `high`.
    pub fn new(low: f64, high: f64) -> Self {
        Self {
            low: AtomicU64::new(low.to_bits()),
            high: AtomicU64::new(high.to_bits()),
        }
    }

    /// Both ends.
    pub fn get(&self) -> (f64, f64) {
        let [low, high] =
            [&self.low, &self.high].map(|end| f64::from_bits(end.load(Ordering::Relaxed)));
        (low, high)
    }

    /// Moves the ends. Readers see the new ones when they look next, not necessarily both at once.
    pub fn set(&self, low: f64, high: f64) {
        self.low.store(low.to_bits(), Ordering::Relaxed);
        self.high.store(high.to_bits(), Ordering::Relaxed);
    }

    /// Whether no value from `min` to `max` is of use.
    pub fn excludes(&self, min: f64, max: f64) -> bool {
        let (low, high) = self.get();
        max < low || min > high
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_outside_is_excluded() {
        let bounds = ValueBounds::new(0.0, 5.0);
        assert!(!bounds.excludes(-1.0, -0.0), "zeros are equal");
        assert!(!bounds.excludes(5.0, 7.0) && !bounds.excludes(1.0, 2.0));
        assert!(bounds.excludes(-2.0, -1.0) && bounds.excludes(5.5, 7.0));
        bounds.set(4.0, f64::INFINITY);
        assert!(bounds.excludes(1.0, 2.0) && !bounds.excludes(1.0, 1e308));
    }
}
