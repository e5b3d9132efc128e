//! What is checked of writes before any lock is taken, and what is made of them: points in order, rounded, each time once if the
//! merge policy says so.

use std::sync::Arc;

use arrow::buffer::ScalarBuffer;

use super::Store;
use super::catalogue::Stream;
use super::tree::{Chunk, Piece, dedupe};
use super::work_out::compute;
use crate::error::{Code, Error, ErrorKind, Result};
use crate::model::point::check_points;
use crate::model::{InsertOptions, Version, Write};

/// Points that one write may bring: 256 MiB of them. Callers with more send several.
const WRITE_POINTS_MAX: usize = 16 << 20;

/// A write that passed every check which does not need the stream's history.
pub(super) struct Ready {
    /// Its place in the call.
    pub(super) index: usize,
    pub(super) stream: Arc<Stream>,
    pub(super) points: Option<Piece>,
}

impl Store {
    /// Checks, sorts and deduplicates writes; those that fail are answered.
    pub(super) async fn make_ready(
        self: &Arc<Self>,
        writes: &[Write],
        options: InsertOptions,
        answers: &mut [Option<Result<Version>>],
    ) -> Result<Vec<Ready>> {
        let points = writes.iter().map(|write| write.times.len()).sum();
        let store = Arc::clone(self);
        let writes = writes.to_vec();
        let each = compute(points, move || -> Vec<Result<Ready>> {
            let each = writes.iter().enumerate();
            each.map(|(index, write)| store.make_one_ready(index, write, options))
                .collect()
        })
        .await?;
        let mut ready = Vec::with_capacity(each.len());
        for (index, one) in each.into_iter().enumerate() {
            match one {
                Ok(one) => ready.push(one),
                Err(error) => answers[index] = Some(Err(error)),
            }
        }
        Ok(ready)
    }

    fn make_one_ready(&self, index: usize, write: &Write, options: InsertOptions) -> Result<Ready> {
        if write.times.len() > WRITE_POINTS_MAX {
            let message = format!(
                "insert too big: {} points, {WRITE_POINTS_MAX} at most",
                write.times.len()
            );
            return Err(Error::new(ErrorKind::Exhausted, message).with_code(Code::InsertTooBig));
        }
        check_points(&write.times, &write.values)?;
        let stream = self.catalogue.stream(write.stream)?;
        let points = (!write.times.is_empty())
            .then(|| -> Result<Piece> {
                Ok(dedupe(
                    sorted(rounded(write, options.rounding_bits)?),
                    options.merge,
                ))
            })
            .transpose()?;
        Ok(Ready {
            index,
            stream,
            points,
        })
    }
}

/// The points of a write, ascending; equal times in the order they came.
fn sorted((times, values): (ScalarBuffer<i64>, ScalarBuffer<f64>)) -> Piece {
    let chunk = if times.is_sorted() {
        Chunk { times, values }
    } else {
        let mut order: Vec<u32> = (0..times.len() as u32).collect();
        order.sort_by_key(|&row| times[row as usize]);
        let (times, values) = order
            .into_iter()
            .map(|row| (times[row as usize], values[row as usize]))
            .unzip();
        Chunk::new(times, values)
    };
    Piece::whole(Arc::new(chunk))
}

/// Values with so many low bits of the mantissa rounded away, to nearest even.
fn rounded(write: &Write, bits: u8) -> Result<(ScalarBuffer<i64>, ScalarBuffer<f64>)> {
    let times = write.times.clone();
    if bits == 0 {
        return Ok((times, write.values.clone()));
    }
    if bits > 52 {
        return Err(
            Error::invalid(format!("rounding to {bits} bits is not between 0 and 52"))
                .with_code(Code::InvalidParameter),
        );
    }
    let values: Vec<f64> = write
        .values
        .iter()
        .map(|&value| round(value, bits))
        .collect();
    check_points(&times, &values)?;
    Ok((times, values.into()))
}

fn round(value: f64, bits: u8) -> f64 {
    let raw = value.to_bits();
    let half = 1_u64 << (bits - 1);
    let odd = raw >> bits & 1;
    // Carries run into the exponent as they should: the next power of two has a mantissa of zeros.
    f64::from_bits((raw + (half - 1) + odd) >> bits << bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_goes_to_the_nearest_even() {
        assert_eq!(round(1.0, 52), 1.0);
        assert_eq!(round(1.5, 52), 2.0);
        assert_eq!(round(-1.4, 52), -1.0);
        assert_eq!(round(1.0 + f64::EPSILON, 1), 1.0);
        assert_eq!(round(1.0 + 3.0 * f64::EPSILON, 1), 1.0 + 4.0 * f64::EPSILON);
        assert!(round(f64::MAX, 10).is_infinite());
    }
}
