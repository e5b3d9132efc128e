//! Pages: the points of some consecutive leaves, in two columns.

use super::{COLUMN_MAX, Kind, open, seal};
use crate::engine::codec::wire::{Reader, put_varint};
use crate::engine::codec::{Damage, decode_floats, decode_ints, encode_floats, encode_ints};

/// Appends a page.
pub(crate) fn encode_page(times: &[i64], values: &[f64], out: &mut Vec<u8>) {
    assert_eq!(times.len(), values.len());
    seal(Kind::Page, out, |out| {
        put_varint(out, times.len() as u64);
        encode_ints(times, out);
        encode_floats(values, out);
    });
}

/// Appends the points of a page that must hold `rows` of them, in order of time.
pub(crate) fn decode_page(
    block: &[u8],
    rows: u32,
    times: &mut Vec<i64>,
    values: &mut Vec<f64>,
) -> Result<(), Damage> {
    let mut reader = Reader::new(open(Kind::Page, block)?);
    if rows as usize > COLUMN_MAX {
        return Err(Damage("page is longer than any"));
    }
    if reader.varint()? != u64::from(rows) {
        return Err(Damage(
            "page has another number of points than its node says",
        ));
    }
    let first = times.len();
    decode_ints(&mut reader.rest, rows as usize, times)?;
    decode_floats(&mut reader.rest, rows as usize, values)?;
    if !reader.is_empty() {
        return Err(Damage("page is longer than its points"));
    }
    if !times[first..].is_sorted() {
        return Err(Damage("points are not in order of time"));
    }
    Ok(())
}
