//! Numbers of `width` bits each, one behind the other: value `i` occupies bits `i * width ..` of the bytes, lowest bit
//! first. Eight values fill exactly `width` bytes, so a full block has no padding.

use super::wire::{self, Damage};

/// Values in a full block. One outlier, or one step in the level, spoils the width of this many values and no more.
pub(super) const BLOCK: usize = 128;

/// Bits needed for every number up to `largest`.
pub(super) fn width_of(largest: u64) -> u32 {
    u64::BITS - largest.leading_zeros()
}

/// Bytes that `count` numbers of `width` bits take.
pub(super) fn packed_len(count: usize, width: u32) -> usize {
    (count * width as usize).div_ceil(8)
}

/// The low `width` bits.
pub(super) fn mask(width: u32) -> u64 {
    u64::MAX.checked_shr(u64::BITS - width).unwrap_or(0)
}

/// Appends `values`, each below `2^width`, to `out`; `width` is at most 64.
pub(super) fn pack(values: &[u64], width: u32, out: &mut Vec<u8>) {
    if width == 0 {
        return;
    }
    let end = out.len() + packed_len(values.len(), width);
    let (mut word, mut filled) = (0u64, 0);
    for &value in values {
        word |= value << filled;
        filled += width;
        if filled >= 64 {
            out.extend_from_slice(&word.to_le_bytes());
            filled -= 64;
            // What did not fit: nothing, if the word ended with the value. Two shifts, since one by 64 is not allowed.
            word = (value >> 1) >> (width - 1 - filled);
        }
    }
    out.extend_from_slice(&word.to_le_bytes());
    out.truncate(end);
}

/// Takes packed numbers off an input, a block at a time.
///
/// It reads whole words and masks, and the last words reach past the block; so each block is first copied to where that
/// is allowed. What lies behind it there is left over from earlier blocks, and masked away.
pub(super) struct Unpacker {
    bytes: [u8; BLOCK * 8 + 16],
}

impl Unpacker {
    pub(super) fn new() -> Self {
        Self {
            bytes: [0; BLOCK * 8 + 16],
        }
    }

    /// Fills `out`, at most [`BLOCK`] values, with numbers of `width` bits (at most 64), adding `base` to each.
    pub(super) fn unpack(
        &mut self,
        input: &mut &[u8],
        width: u32,
        base: i64,
        out: &mut [i64],
    ) -> Result<(), Damage> {
        let packed = wire::get(input, packed_len(out.len(), width))?;
        self.bytes[..packed.len()].copy_from_slice(packed);
        let mask = mask(width);
        let step = width as usize;
        // Within a byte a value starts at bit 0 to 7: up to 57 bits, one word holds all of it.
        if width <= 57 {
            for (i, value) in out.iter_mut().enumerate() {
                let word = u64::from_le_bytes(window(&self.bytes, i * step / 8));
                *value = base.wrapping_add((word >> (i * step % 8) & mask) as i64);
            }
        } else {
            for (i, value) in out.iter_mut().enumerate() {
                let word = u128::from_le_bytes(window(&self.bytes, i * step / 8));
                *value = base.wrapping_add(((word >> (i * step % 8)) as u64 & mask) as i64);
            }
        }
        Ok(())
    }
}

/// The `N` bytes at `at`, which the caller keeps inside the buffer.
#[inline(always)]
fn window<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut window = [0; N];
    window.copy_from_slice(&bytes[at..at + N]);
    window
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng, rngs::StdRng};

    #[test]
    fn every_width_and_length_roundtrips() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut unpacker = Unpacker::new();
        for width in 0..=64 {
            for count in [0, 1, 2, 7, 8, 9, 63, 64, 65, 127, BLOCK] {
                let values: Vec<u64> = (0..count)
                    .map(|_| rng.random::<u64>() & mask(width))
                    .collect();
                let mut bytes = vec![0xaa];
                pack(&values, width, &mut bytes);
                assert_eq!(bytes.len(), 1 + packed_len(count, width));
                bytes.push(0xbb);
                let (mut input, mut out) = (&bytes[1..], vec![0; count]);
                unpacker.unpack(&mut input, width, -5, &mut out).unwrap();
                assert_eq!(input, [0xbb]);
                assert!(
                    out.iter()
                        .zip(&values)
                        .all(|(&got, &want)| got == (want as i64).wrapping_sub(5))
                );
            }
        }
    }

    #[test]
    fn widths_are_tight() {
        assert_eq!(
            [0, 1, 2, 255, 256, u64::MAX].map(width_of),
            [0, 1, 2, 8, 9, 64]
        );
    }
}
