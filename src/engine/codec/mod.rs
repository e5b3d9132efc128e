//! Columns of integers and floats as bytes: what pages of points are made of.
//!
//! Lossless for every bit of every value, and small where measurements are regular: a steady clock costs nothing, a
//! jittery one its jitter, a voltage its noise. Each column stands alone, in blocks of 128 values with their own level
//! and width, so a decoder is a few shifts per value and one outlier spoils little.
//!
//! It is not a container: it knows no counts, checksums or versions. The caller stores the number of values and checks
//! the bytes; still, no bytes whatever make a decoder panic or produce more than the values asked for. A column of no
//! values takes no bytes.
//!
//! ```text
//! floats   u8 tag   0 constant  f64                      every value
//!                   1 decimal   u8 power, integers,      value = integer / 10^power, power at most 14
//!                               varint n, n times: varint position, f64
//!                   2 single    integers                 ordered bits of an f32
//!                   3 double    integers                 ordered bits of an f64
//!                   4 fixed     like decimal             value = integer / 2^power
//! integers u8 tag   0 plain     blocks
//!                   1 steps     heads, blocks            value = the one before + block's
//!                   2 exact     line                     value = line's
//!                   3 along     line, blocks             value = line's + block's
//!                   4 both      line, heads, blocks      value = line's + the one before, less line's + block's
//! heads    u8 depth, at most 6; as often: zigzag         where the sums of that depth begin    see `ints`
//! line     zigzag start, zigzag step, varint fraction, varint phase                            see `line`
//! block    zigzag base, u8 width, patches, packed offsets                                      see `block`
//! ```
//!
//! Bits are ordered by flipping all but the sign of negative numbers, read as a signed integer. Other tags are damage
//! today, and room for codecs to come.

mod bits;
mod block;
mod floats;
mod ints;
mod line;
#[cfg(test)]
mod tests;
pub(crate) mod wire;

pub(crate) use wire::Damage;

/// Appends a column of integers.
pub(crate) fn encode_ints(values: &[i64], out: &mut Vec<u8>) {
    if !values.is_empty() {
        ints::Plan::new(values).write(values, out);
    }
}

/// Appends to `out` exactly the `count` integers of the column at the head of `input`, and moves past it.
///
/// # Errors
/// [`Damage`] if the bytes are no such column; `out` is then as before.
pub(crate) fn decode_ints(
    input: &mut &[u8],
    count: usize,
    out: &mut Vec<i64>,
) -> Result<(), Damage> {
    let start = out.len();
    out.reserve(count);
    ints::read(input, count, |block| out.extend_from_slice(block))
        .inspect_err(|_| out.truncate(start))
}

/// Appends a column of floats.
pub(crate) fn encode_floats(values: &[f64], out: &mut Vec<u8>) {
    floats::write(values, out);
}

/// Appends to `out` exactly the `count` floats of the column at the head of `input`, and moves past it.
///
/// # Errors
/// [`Damage`] if the bytes are no such column; `out` is then as before.
pub(crate) fn decode_floats(
    input: &mut &[u8],
    count: usize,
    out: &mut Vec<f64>,
) -> Result<(), Damage> {
    let start = out.len();
    out.reserve(count);
    floats::read(input, count, out).inspect_err(|_| out.truncate(start))
}
