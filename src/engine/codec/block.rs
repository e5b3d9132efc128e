//! Up to 128 integers as a frame of reference: a base, and offsets of a fixed width above it.
//!
//! ```text
//! zigzag  base - base of the block before (wrapping; the first block's predecessor is 0)
//! u8      width of an offset in bits, 0 to 64; plus 128 if patches follow
//! [u8     number of patches, then for each: u8 position in the block, zigzag (value - base), wrapping]
//! bits    one offset per value, patched values too (their offset says nothing)
//! ```
//!
//! Patches hold the values far outside the frame: a sample lost, a sensor reading zero for a moment. They are worth
//! looking for only then, which a cheap test of the spread tells: ordinary noise never pays for patches, because
//! saving its last bit would take a fifth of the values.

use super::bits::{self, BLOCK, Unpacker};
use super::wire::{self, Damage};

/// Set in the byte of the width.
const PATCHED: u8 = 0x80;
/// More patches than this, and the block has two levels rather than outliers.
const PATCHES_MAX: usize = 16;

/// Where most of a block lies.
struct Frame {
    base: i64,
    width: u32,
    patches: usize,
    bytes: usize,
}

/// Bytes a block of `values` takes, up to a byte or two for its base.
pub(super) fn cost(values: &[i64]) -> usize {
    frame(values).bytes + 2
}

/// Appends `values`, 1 to [`BLOCK`] of them. `base` is that of the block before, and becomes this one's.
pub(super) fn put(values: &[i64], base: &mut i64, out: &mut Vec<u8>) {
    let frame = frame(values);
    wire::put_zigzag(out, frame.base.wrapping_sub(*base));
    *base = frame.base;
    let mut offsets = [0; BLOCK];
    for (offset, value) in offsets.iter_mut().zip(values) {
        *offset = value.wrapping_sub(frame.base) as u64;
    }
    let offsets = &mut offsets[..values.len()];
    if frame.patches == 0 {
        out.push(frame.width as u8);
    } else {
        out.push(frame.width as u8 | PATCHED);
        out.push(frame.patches as u8);
        let mask = bits::mask(frame.width);
        assert_eq!(
            offsets.iter().filter(|offset| **offset > mask).count(),
            frame.patches
        );
        for (position, offset) in offsets
            .iter_mut()
            .enumerate()
            .filter(|(_, offset)| **offset > mask)
        {
            out.push(position as u8);
            wire::put_zigzag(out, *offset as i64);
            *offset = 0;
        }
    }
    bits::pack(offsets, frame.width, out);
}

/// Fills `out`, 1 to [`BLOCK`] values, from the next block of `input`.
pub(super) fn get(
    input: &mut &[u8],
    base: &mut i64,
    unpacker: &mut Unpacker,
    out: &mut [i64],
) -> Result<(), Damage> {
    *base = base.wrapping_add(wire::get_zigzag(input)?);
    let width = wire::get_u8(input)?;
    let mut patches: &[u8] = &[];
    let mut count = 0;
    if width & PATCHED != 0 {
        count = wire::get_u8(input)?;
        patches = input;
        for _ in 0..count {
            wire::get_u8(input)?;
            wire::get_varint(input)?;
        }
    }
    let width = u32::from(width & !PATCHED);
    if width > u64::BITS {
        return Err(Damage("block of integers wider than 64 bits"));
    }
    unpacker.unpack(input, width, *base, out)?;
    for _ in 0..count {
        let position = usize::from(wire::get_u8(&mut patches)?);
        let value = base.wrapping_add(wire::get_zigzag(&mut patches)?);
        *out.get_mut(position)
            .ok_or(Damage("patch outside its block"))? = value;
    }
    Ok(())
}

fn frame(values: &[i64]) -> Frame {
    let (mut low, mut high) = (i64::MAX, i64::MIN);
    for &value in values {
        low = low.min(value);
        high = high.max(value);
    }
    let range = high.wrapping_sub(low) as u64;
    let width = bits::width_of(range);
    let whole = Frame {
        base: low,
        width,
        patches: 0,
        bytes: bits::packed_len(values.len(), width),
    };
    if width > 2 && has_outliers(values, low, range) {
        patched(values, whole)
    } else {
        whole
    }
}

/// Whether the range is many times the mean deviation: 4 for even noise, 7 for normal noise, 64 for a single outlier.
fn has_outliers(values: &[i64], low: i64, range: u64) -> bool {
    // Shifted if need be, so that 128 of them add up below 2^64.
    let shift = bits::width_of(range).saturating_sub(57);
    let count = values.len() as u64;
    let offset = |value: &i64| (value.wrapping_sub(low) as u64) >> shift;
    let mean = values.iter().map(offset).sum::<u64>() / count;
    let deviation = values
        .iter()
        .map(|value| offset(value).abs_diff(mean))
        .sum::<u64>()
        / count;
    range >> shift > 8 * (deviation + 1)
}

/// The cheapest frame that leaves out a few of the lowest and highest values, or `whole`.
fn patched(values: &[i64], whole: Frame) -> Frame {
    let most = PATCHES_MAX.min(values.len() / 8);
    if most == 0 {
        return whole;
    }
    let (lowest, highest) = ends(values, most);
    let mut best = whole;
    // Doubling: a frame that leaves out one value too many, still covers it if it is near.
    for patches in (0..)
        .map(|power| 1 << power)
        .take_while(|&patches| patches <= most)
    {
        // The frame lies between the values below and those above it that are left out.
        let span = |below: usize| highest[patches - below].wrapping_sub(lowest[below]) as u64;
        let below = (0..=patches).min_by_key(|&below| span(below)).unwrap_or(0);
        let base = lowest[below];
        let width = bits::width_of(span(below));
        let outside = lowest[..below].iter().chain(&highest[..patches - below]);
        let outside = outside
            .map(|value| value.wrapping_sub(base))
            .filter(|&offset| offset as u64 > bits::mask(width));
        let (count, cost) = outside.fold((0, 1), |(count, cost), offset| {
            (count + 1, cost + 1 + wire::varint_len(wire::zigzag(offset)))
        });
        let bytes = bits::packed_len(values.len(), width) + cost;
        if bytes < best.bytes {
            best = Frame {
                base,
                width,
                patches: count,
                bytes,
            };
        }
    }
    best
}

/// The `most + 1` lowest values ascending, and as many of the highest descending. `most` is at most an eighth.
fn ends(values: &[i64], most: usize) -> ([i64; PATCHES_MAX + 1], [i64; PATCHES_MAX + 1]) {
    let mut sorted = [0; BLOCK];
    let sorted = &mut sorted[..values.len()];
    sorted.copy_from_slice(values);
    let end = sorted.len() - 1 - most;
    sorted.select_nth_unstable(most);
    sorted[most + 1..].select_nth_unstable(end - most - 1);
    sorted[..=most].sort_unstable();
    sorted[end..].sort_unstable();
    let (mut lowest, mut highest) = ([0; PATCHES_MAX + 1], [0; PATCHES_MAX + 1]);
    lowest[..=most].copy_from_slice(&sorted[..=most]);
    for (highest, value) in highest.iter_mut().zip(sorted[end..].iter().rev()) {
        *highest = *value;
    }
    (lowest, highest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng, rngs::StdRng};

    fn roundtrip(values: &[i64]) -> usize {
        let mut bytes = Vec::new();
        put(values, &mut 0, &mut bytes);
        let mut out = vec![0; values.len()];
        let mut input = &bytes[..];
        get(&mut input, &mut 0, &mut Unpacker::new(), &mut out).unwrap();
        assert_eq!(out, values);
        assert!(input.is_empty());
        bytes.len()
    }

    #[test]
    fn outliers_on_either_side_cost_only_themselves() {
        let mut values: Vec<i64> = (0..128).map(|i| 1000 + i % 4).collect();
        assert_eq!(roundtrip(&values), 2 + 1 + 32);
        values[17] = 0;
        assert_eq!(roundtrip(&values), 2 + 1 + 32 + 1 + 3);
        values[99] = i64::MAX;
        values[100] = i64::MIN;
        assert!(roundtrip(&values) < 70);
    }

    #[test]
    fn any_mixture_of_magnitudes_roundtrips() {
        let mut rng = StdRng::seed_from_u64(2);
        for _ in 0..20_000 {
            let (usual, rare) = (rng.random_range(0..64), rng.random_range(0..64));
            let values: Vec<i64> = (0..rng.random_range(1..=BLOCK))
                .map(|_| rng.random::<i64>() >> if rng.random_ratio(1, 20) { rare } else { usual })
                .collect();
            roundtrip(&values);
        }
    }

    #[test]
    fn the_lowest_and_highest_are_found() {
        let mut rng = StdRng::seed_from_u64(3);
        for _ in 0..2000 {
            let values: Vec<i64> = (0..rng.random_range(8..=BLOCK))
                .map(|_| rng.random_range(-50..50))
                .collect();
            let most = PATCHES_MAX.min(values.len() / 8);
            let (lowest, highest) = ends(&values, most);
            let mut sorted = values.clone();
            sorted.sort_unstable();
            assert_eq!(lowest[..=most], sorted[..=most]);
            sorted.reverse();
            assert_eq!(highest[..=most], sorted[..=most]);
        }
    }

    #[test]
    fn extremes_roundtrip() {
        roundtrip(&[i64::MIN, i64::MAX]);
        roundtrip(&[i64::MAX]);
        roundtrip(&[i64::MIN, 0, -1, 1, i64::MAX, i64::MIN]);
    }

    #[test]
    fn bad_headers_are_damage() {
        let mut out = [0; 8];
        let mut read = |bytes: &[u8]| get(&mut &bytes[..], &mut 0, &mut Unpacker::new(), &mut out);
        assert_eq!(
            read(&[0, 65]),
            Err(Damage("block of integers wider than 64 bits"))
        );
        assert_eq!(
            read(&[0, PATCHED, 1, 8, 0]),
            Err(Damage("patch outside its block"))
        );
        assert_eq!(read(&[0, PATCHED, 1, 7, 0]), Ok(()));
    }
}
