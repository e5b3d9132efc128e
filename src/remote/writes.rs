//! Inserts: a write is as many calls as it takes, in order; writes of different streams run side by side.
//!
//! A call whose answer is lost may have been carried out. Points that are merged into what is there (equal, retain, replace) can
//! be sent again without harm. With [`MergePolicy::Never`] they would be stored twice, so that is left to whoever can look.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::{FutureExt, StreamExt, stream};

use super::calls::{ArrowInsert, Insert};
use super::failure::{Failure, reworded};
use super::link::{Link, Repeat};
use super::versions::current;
use crate::error::{Code, Error, Result};
use crate::model::point::check_points;
use crate::model::{InsertOptions, MergePolicy, StreamId, Version, Write};
use crate::wire::{arrow as wire_arrow, points, proto, streams};

/// Points of one call that every server takes.
const POINTS_MIN: usize = 1000;

/// Bits of a mantissa.
const MANTISSA_BITS: u8 = 52;

/// Adds points; one answer a write, in order.
pub(super) async fn insert(
    link: &Arc<Link>,
    writes: Vec<Write>,
    options: InsertOptions,
) -> Vec<Result<Version>> {
    let count = writes.len();
    let mut by_stream: BTreeMap<StreamId, Vec<(usize, Write)>> = BTreeMap::new();
    for (place, write) in writes.into_iter().enumerate() {
        by_stream
            .entry(write.stream)
            .or_default()
            .push((place, write));
    }
    let streams = by_stream.into_values().map(|writes| {
        let link = Arc::clone(link);
        async move {
            let mut answers = Vec::with_capacity(writes.len());
            for (place, write) in writes {
                answers.push((place, apply(&link, &write, options).await));
            }
            answers
        }
        .boxed()
    });
    let mut answers: Vec<(usize, Result<Version>)> = stream::iter(streams.collect::<Vec<_>>())
        .buffer_unordered(link.settings.calls_in_flight.max(1))
        .flat_map(stream::iter)
        .collect()
        .await;
    assert_eq!(answers.len(), count);
    answers.sort_unstable_by_key(|(place, _)| *place);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// Refuses what no part of may be applied.
fn check(write: &Write, options: InsertOptions) -> Result<()> {
    if options.rounding_bits > MANTISSA_BITS {
        return Err(Error::invalid(format!(
            "rounding by {} bits is not between 0 and {MANTISSA_BITS}",
            options.rounding_bits
        ))
        .with_code(Code::InvalidParameter));
    }
    check_points(&write.times, &write.values)?;
    let overflows = |value: &f64| !rounded(*value, options.rounding_bits).is_finite();
    match write.values.iter().position(overflows) {
        None => Ok(()),
        Some(row) => Err(Error::invalid(format!(
            "insert contains Inf values: row {row} when rounded by {} bits",
            options.rounding_bits
        ))
        .with_code(Code::BadValue)),
    }
}

/// The value with so many low bits of the mantissa rounded away, to nearest even.
fn rounded(value: f64, bits: u8) -> f64 {
    if bits == 0 {
        return value;
    }
    let (raw, half) = (value.to_bits(), 1_u64 << (bits - 1));
    let is_odd = (raw >> bits) & 1;
    f64::from_bits((raw + half - 1 + is_odd) & !((1 << bits) - 1))
}

/// One write, call by call.
async fn apply(link: &Link, write: &Write, options: InsertOptions) -> Result<Version> {
    check(write, options)?;
    if write.times.is_empty() {
        return Ok(current(link, write.stream).await?.version(None));
    }
    let (mut done, mut version) = (0, Version::default());
    while done < write.times.len() {
        let size = link.insert_points.load(Ordering::Relaxed).max(1);
        let rows = done..write.times.len().min(done + size);
        let len = rows.len();
        match send(link, write, rows, options).await {
            Ok(major) => {
                done += len;
                version = Version(major);
            }
            Err(failure)
                if failure.error.code() == Some(Code::InsertTooBig) && len > POINTS_MIN =>
            {
                let smaller = (len / 2).max(POINTS_MIN);
                link.insert_points.fetch_min(smaller, Ordering::Relaxed);
            }
            Err(failure) => return Err(explained(failure, write, done, len, version, options)),
        }
    }
    match version {
        Version(0) => Ok(current(link, write.stream).await?.version(None)),
        version => Ok(version),
    }
}

/// Sends some rows; answers the version that has them.
async fn send(
    link: &Link,
    write: &Write,
    rows: Range<usize>,
    options: InsertOptions,
) -> Result<u64, Failure> {
    let repeat = match options.merge {
        MergePolicy::Never => Repeat::IfUnsent,
        MergePolicy::Equal | MergePolicy::Retain | MergePolicy::Replace => Repeat::Always,
    };
    let uuid = streams::uuid(write.stream);
    let (merge_policy, rounding) = points::insert_options(options);
    let times = write.times.slice(rows.start, rows.len());
    let values = write.values.slice(rows.start, rows.len());
    let answer = if link.has_arrow().await? {
        let batch = wire_arrow::points_batch(wire_arrow::points_schema(), times, values)?;
        let ask = proto::ArrowInsertParams {
            uuid,
            sync: false,
            merge_policy,
            rounding,
            arrow_bytes: wire_arrow::encode(&batch)?,
        };
        link.ask::<ArrowInsert>(ask, repeat).await?
    } else {
        let ask = proto::InsertParams {
            uuid,
            sync: false,
            values: points::rows(&times, &values),
            merge_policy,
            rounding,
        };
        link.ask::<Insert>(ask, repeat).await?
    };
    Ok(answer.version_major)
}

/// The error of a write that failed, with what is known about its points.
fn explained(
    failure: Failure,
    write: &Write,
    done: usize,
    len: usize,
    version: Version,
    options: InsertOptions,
) -> Error {
    let again = match options.merge {
        MergePolicy::Never => ", and sending them again could store them twice",
        MergePolicy::Equal | MergePolicy::Retain | MergePolicy::Replace => "",
    };
    let again = if failure.is_unknown() { again } else { "" };
    let error = failure.of_change(format_args!(
        "{len} points of stream {} were inserted",
        write.stream
    ));
    let before = match done {
        0 => String::new(),
        done => format!(
            "; the first {done} of {} points were inserted, versions up to {version}",
            write.times.len()
        ),
    };
    reworded(&error, format!("{}{again}{before}", error.message()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_nearest_even() {
        let ulps = |n: u64| f64::from_bits(1.0_f64.to_bits() + n);
        for (bits, from, to) in [
            (0, 3, 3),
            (1, 1, 0),
            (1, 3, 4),
            (2, 2, 0),
            (2, 6, 8),
            (10, 512, 0),
        ] {
            assert_eq!(rounded(ulps(from), bits), ulps(to), "{from} by {bits} bits");
        }
        assert_eq!(rounded(-5.0, 52), -4.0);
        assert!(rounded(f64::MAX, 20).is_infinite());
    }
}
