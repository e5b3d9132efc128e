//! Points, row by row.

use arrow::buffer::ScalarBuffer;

use super::proto::{MergePolicy as Policy, RawPoint, RoundSpec, round_spec};
use crate::error::{Code, Error, Result};
use crate::model::{InsertOptions, MergePolicy, Point, Timestamp};

/// Rows of one message of points: 100 KB, well below the limit of clients that never raised it.
pub const MESSAGE_POINTS: usize = 5000;

/// Points as they travel.
pub fn rows(times: &[Timestamp], values: &[f64]) -> Vec<RawPoint> {
    times
        .iter()
        .zip(values)
        .map(|(&time, &value)| row(Point { time, value }))
        .collect()
}

/// A point as it travels.
pub fn row(point: Point) -> RawPoint {
    RawPoint {
        time: point.time,
        value: Some(point.value),
    }
}

/// A point as it arrives.
pub fn point(row: &RawPoint) -> Point {
    Point {
        time: row.time,
        value: row.value(),
    }
}

/// Points as they arrive.
pub fn columns(rows: &[RawPoint]) -> (ScalarBuffer<i64>, ScalarBuffer<f64>) {
    (
        rows.iter().map(|row| row.time).collect::<Vec<_>>().into(),
        rows.iter().map(RawPoint::value).collect::<Vec<_>>().into(),
    )
}

/// How an insert treats its points, as it travels.
pub fn insert_options(options: InsertOptions) -> (i32, Option<RoundSpec>) {
    let policy = match options.merge {
        MergePolicy::Never => Policy::Never,
        MergePolicy::Equal => Policy::Equal,
        MergePolicy::Retain => Policy::Retain,
        MergePolicy::Replace => Policy::Replace,
    };
    let rounding = (options.rounding_bits != 0).then(|| RoundSpec {
        spec: Some(round_spec::Spec::Bits(options.rounding_bits.into())),
    });
    (policy.into(), rounding)
}

/// How an insert treats its points, as it arrives.
///
/// # Errors
/// Code 438 for a policy that there is not, or bits outside 0 to 52.
pub fn into_insert_options(policy: i32, rounding: Option<RoundSpec>) -> Result<InsertOptions> {
    let refuse = |what: String| Err(Error::invalid(what).with_code(Code::InvalidParameter));
    let merge = match Policy::try_from(policy) {
        Ok(Policy::Never) => MergePolicy::Never,
        Ok(Policy::Equal) => MergePolicy::Equal,
        Ok(Policy::Retain) => MergePolicy::Retain,
        Ok(Policy::Replace) => MergePolicy::Replace,
        Err(_) => {
            return refuse(format!(
                "merge policy {policy} is unknown: 0 is never, 1 equal, 2 retain, 3 replace"
            ));
        }
    };
    let bits = match rounding.and_then(|rounding| rounding.spec) {
        None => 0,
        Some(round_spec::Spec::Bits(bits)) => bits,
    };
    match u8::try_from(bits) {
        Ok(rounding_bits) if rounding_bits <= 52 => Ok(InsertOptions {
            merge,
            rounding_bits,
        }),
        _ => refuse(format!("rounding by {bits} bits is not between 0 and 52")),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn zeros_keep_their_signs_on_the_wire() {
        let told = rows(&[1, 2], &[-0.0, 0.0])[0].encode_to_vec();
        let told = RawPoint::decode(told.as_slice()).expect("our own bytes");
        assert!(point(&told).value.is_sign_negative());
    }

    #[test]
    fn insert_options_survive_the_wire() {
        for merge in MergePolicy::ALL {
            for rounding_bits in [0, 1, 52] {
                let options = InsertOptions {
                    merge,
                    rounding_bits,
                };
                let (policy, rounding) = insert_options(options);
                assert_eq!(
                    into_insert_options(policy, rounding).expect("known"),
                    options
                );
            }
        }
        into_insert_options(4, None).expect_err("no such policy");
        let spec = Some(round_spec::Spec::Bits(-1));
        into_insert_options(0, Some(RoundSpec { spec })).expect_err("no such bits");
    }
}
