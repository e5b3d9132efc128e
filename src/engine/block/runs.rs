//! Runs: additive mutations in the order they came, where they cannot be read off a tree.

use super::inner::ints;
use super::{Kind, at_end, open, seal};
use crate::engine::codec::wire::{Reader, put_varint};
use crate::engine::codec::{Damage, decode_floats, encode_floats, encode_ints};

/// The points of consecutive additive mutations.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Runs {
    /// Times in the order they came.
    pub(crate) times: Vec<i64>,
    /// Values beside them.
    pub(crate) values: Vec<f64>,
    /// Where each mutation's points end.
    pub(crate) ends: Vec<u32>,
}

/// Appends a block of runs.
pub(crate) fn encode_runs(runs: &Runs, out: &mut Vec<u8>) {
    seal(Kind::Runs, out, |out| put_runs(runs, out));
}

/// A block of runs.
pub(crate) fn decode_runs(block: &[u8]) -> Result<Runs, Damage> {
    let mut reader = Reader::new(open(Kind::Runs, block)?);
    let runs = get_runs(&mut reader)?;
    at_end(&reader)?;
    Ok(runs)
}

/// Appends runs without a frame.
pub(crate) fn put_runs(runs: &Runs, out: &mut Vec<u8>) {
    put_varint(out, runs.ends.len() as u64);
    put_varint(out, runs.times.len() as u64);
    let ends: Vec<i64> = runs.ends.iter().map(|&end| end.into()).collect();
    encode_ints(&ends, out);
    encode_ints(&runs.times, out);
    encode_floats(&runs.values, out);
}

/// Runs without a frame.
pub(crate) fn get_runs(reader: &mut Reader<'_>) -> Result<Runs, Damage> {
    let too_many = |_| Damage("runs are too many");
    let count = usize::try_from(reader.varint()?).map_err(too_many)?;
    let points = usize::try_from(reader.varint()?).map_err(too_many)?;
    let ends: Vec<u32> = ints(reader, count)?
        .into_iter()
        .map(|end| u32::try_from(end).map_err(|_| Damage("runs end out of bounds")))
        .collect::<Result<_, _>>()?;
    let times = ints(reader, points)?;
    let mut values = Vec::with_capacity(points.min(1 << 16));
    decode_floats(&mut reader.rest, points, &mut values)?;
    let whole = ends.last().map_or(0, |&end| end as usize) == points;
    let each_has_points = ends.first() != Some(&0) && ends.is_sorted_by(|a, b| a < b);
    if !whole || !each_has_points {
        return Err(Damage("runs do not end with their points"));
    }
    Ok(Runs {
        times,
        values,
        ends,
    })
}
