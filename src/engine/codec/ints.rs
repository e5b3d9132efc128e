//! Integer columns: flattened, against a line or against the values before, then blocks of what is left.
//!
//! Steps may be taken several times: the steps of the steps of a smooth curve are smaller still, though those of noise
//! are larger. A column is tried in several shapes on a few of its blocks, and written in the one that is smallest there.

use super::bits::{BLOCK, Unpacker};
use super::block;
use super::line::Line;
use super::wire::{self, Damage};

const PLAIN: u8 = 0;
const STEPS: u8 = 1;
const EXACT_LINE: u8 = 2;
const ALONG_LINE: u8 = 3;
const STEPS_ALONG_LINE: u8 = 4;

/// Times that steps are taken: a curve that needs more is rarer than the bytes it saves.
const DEPTH_MAX: usize = 6;
/// Blocks on which a shape is tried. All of a short column, a good part of a page.
const BLOCKS_SAMPLED: usize = 5;
/// The longest varint.
const HEAD_BYTES_MAX: usize = 10;
/// What the numbers of a line may take.
const LINE_BYTES: usize = 20;

/// How to write a column, and about how many bytes that takes.
#[derive(Debug)]
pub(super) struct Plan {
    shape: Shape,
    /// 0 if the line meets every value, so that no blocks follow.
    bytes: usize,
}

/// What is taken off the values before they are packed: first the line, then steps, `depth` times.
#[derive(Debug, Clone, Copy)]
struct Shape {
    line: Option<Line>,
    depth: usize,
}

impl Plan {
    pub(super) fn new(values: &[i64]) -> Self {
        let mean = Line::through_ends(values);
        if mean.meets(values) {
            return Self {
                shape: Shape {
                    line: Some(mean),
                    depth: 0,
                },
                bytes: 0,
            };
        }
        let attempt = |line, depth| {
            let shape = Shape { line, depth };
            Self {
                shape,
                bytes: shape.cost(values),
            }
        };
        let plain = attempt(None, 0);
        let mut best = attempt(None, 1);
        // Where steps are no smaller than values there is noise, and a line will not help.
        if best.bytes >= plain.bytes {
            return plain;
        }
        for depth in 2..=DEPTH_MAX.min(values.len() - 1) {
            let deeper = attempt(None, depth);
            if deeper.bytes >= best.bytes {
                break;
            }
            best = deeper;
        }
        let usual = Line::by_usual_step(values);
        let mut lines = vec![attempt(Some(mean), 0)];
        if usual != mean {
            // Equal, these two differ where it was not tried: steps take a gap better.
            lines.extend([attempt(Some(usual), 1), attempt(Some(usual), 0)]);
        }
        lines.into_iter().fold(
            best,
            |best, line| if line.bytes < best.bytes { line } else { best },
        )
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends `values`, the ones this plan was made for.
    pub(super) fn write(&self, values: &[i64], out: &mut Vec<u8>) {
        let Shape { line, depth } = self.shape;
        out.push(match (line, depth) {
            (None, 0) => PLAIN,
            (None, _) => STEPS,
            (Some(_), 0) if self.bytes == 0 => EXACT_LINE,
            (Some(_), 0) => ALONG_LINE,
            (Some(_), _) => STEPS_ALONG_LINE,
        });
        if let Some(line) = line {
            line.put(out);
        }
        if self.bytes == 0 {
            return;
        }
        if depth > 0 {
            out.push(depth as u8);
            self.shape.put_heads(values, out);
        }
        let (mut base, mut left) = (0, [0; DEPTH_MAX + BLOCK]);
        for at in (0..values.len()).step_by(BLOCK) {
            block::put(self.shape.flatten(values, at, &mut left), &mut base, out);
        }
    }
}

impl Shape {
    /// Bytes of the column, judged by evenly spaced blocks. Never 0.
    fn cost(self, values: &[i64]) -> usize {
        let blocks = values.len().div_ceil(BLOCK);
        let sampled = blocks.min(BLOCKS_SAMPLED);
        let mut left = [0; DEPTH_MAX + BLOCK];
        let samples = (0..sampled).map(|sample| sample * blocks / sampled * BLOCK);
        let bytes: usize = samples
            .map(|at| block::cost(self.flatten(values, at, &mut left)))
            .sum();
        // The first head is no more than the first block's base would be without steps.
        let mut heads = Vec::new();
        self.put_heads(values, &mut heads);
        let heads = heads.len().saturating_sub(HEAD_BYTES_MAX);
        let line = if self.line.is_some() { LINE_BYTES } else { 0 };
        line + heads + bytes * blocks / sampled.max(1)
    }

    /// What is left of the block that starts at index `at`, in a buffer with room for the values before it.
    fn flatten<'a>(
        self,
        values: &[i64],
        at: usize,
        left: &'a mut [i64; DEPTH_MAX + BLOCK],
    ) -> &'a [i64] {
        let count = BLOCK.min(values.len() - at);
        let left = &mut left[..self.depth + count];
        if at == 0 {
            left[..self.depth].copy_from_slice(&self.lead(values)[..self.depth]);
            self.off_line(values, 0, &mut left[self.depth..]);
        } else {
            self.off_line(values, at - self.depth, left);
        }
        for pass in 1..=self.depth {
            take_steps(&mut left[pass - 1..]);
        }
        &left[self.depth..]
    }

    /// Fills `left` with values from index `at` on, less the line.
    fn off_line(self, values: &[i64], at: usize, left: &mut [i64]) {
        left.copy_from_slice(&values[at..at + left.len()]);
        if let Some(line) = self.line {
            for (value, predicted) in left.iter_mut().zip(line.from(at)) {
                *value = value.wrapping_sub(predicted);
            }
        }
    }

    /// Made-up values before the first, such that the first step of the last depth repeats, and fits its block.
    fn lead(self, values: &[i64]) -> [i64; DEPTH_MAX] {
        let (mut lead, mut steps) = ([0; DEPTH_MAX], [0; DEPTH_MAX + 1]);
        let steps = &mut steps[..=self.depth];
        self.off_line(values, 0, steps);
        for pass in 1..=self.depth {
            take_steps(&mut steps[pass - 1..]);
        }
        for value in lead[..self.depth].iter_mut().rev() {
            for depth in (0..self.depth).rev() {
                steps[depth] = steps[depth].wrapping_sub(steps[depth + 1]);
            }
            *value = steps[0];
        }
        lead
    }

    /// Appends, for each depth, the last step of the lead: where its sums begin.
    fn put_heads(self, values: &[i64], out: &mut Vec<u8>) {
        let mut lead = self.lead(values);
        for pass in 0..self.depth {
            wire::put_zigzag(out, lead[self.depth - 1]);
            take_steps(&mut lead[pass..self.depth]);
        }
    }
}

/// Replaces each value but the first by its step from the one before.
fn take_steps(values: &mut [i64]) {
    let Some((first, rest)) = values.split_first_mut() else {
        return;
    };
    let mut before = *first;
    for value in rest {
        let step = value.wrapping_sub(before);
        before = *value;
        *value = step;
    }
}

/// Reads a column of `count` integers and hands them on in order, a block or less at a time.
pub(super) fn read(
    input: &mut &[u8],
    count: usize,
    mut take: impl FnMut(&[i64]),
) -> Result<(), Damage> {
    if count == 0 {
        return Ok(());
    }
    let tag = wire::get_u8(input)?;
    let line = match tag {
        PLAIN | STEPS => None,
        EXACT_LINE | ALONG_LINE | STEPS_ALONG_LINE => Some(Line::get(input)?),
        _ => return Err(Damage("unknown codec of an integer column")),
    };
    let mut heads = [0; DEPTH_MAX];
    let depth = if matches!(tag, STEPS | STEPS_ALONG_LINE) {
        usize::from(wire::get_u8(input)?)
    } else {
        0
    };
    let heads = heads
        .get_mut(..depth)
        .ok_or(Damage("steps taken too many times"))?;
    for head in heads.iter_mut() {
        *head = wire::get_zigzag(input)?;
    }
    let (mut base, mut unpacker, mut block) = (0, Unpacker::new(), [0; BLOCK]);
    for at in (0..count).step_by(BLOCK) {
        let values = &mut block[..BLOCK.min(count - at)];
        if tag == EXACT_LINE {
            values.fill(0);
        } else {
            block::get(input, &mut base, &mut unpacker, values)?;
        }
        for head in heads.iter_mut().rev() {
            for value in values.iter_mut() {
                *head = head.wrapping_add(*value);
                *value = *head;
            }
        }
        if let Some(line) = line {
            for (value, predicted) in values.iter_mut().zip(line.from(at)) {
                *value = value.wrapping_add(predicted);
            }
        }
        take(values);
    }
    Ok(())
}
