//! Float columns: each value becomes an integer that gives back every bit of it, and the integers become a column.
//!
//! Measurements are rarely 64 bits deep. Some were decimal numbers on their way here (60.0012), and as whole numbers of
//! ten-thousandths they are small; some were 32-bit floats. Whatever fits no such mould is taken by its bits, mapped so
//! that the order of the numbers is kept: neighbours in value are neighbours as integers. Bits bend at powers of two,
//! though, and a smooth curve stays smooth only as a multiple of one fixed fraction.

use super::ints::{self, Plan};
use super::wire::{self, Damage};

const CONSTANT: u8 = 0;
const DECIMAL: u8 = 1;
const SINGLE: u8 = 2;
const DOUBLE: u8 = 3;
const FIXED: u8 = 4;

/// Powers of ten a decimal may be scaled by. All are exact, so a quotient by one is what parsing the digits would give.
const SCALES: [f64; 15] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14,
];
/// Values looked at to find the scale.
const VALUES_SAMPLED: usize = 32;
/// One value in so many may fit no scale: it takes ten bytes of its own.
const VALUES_PER_EXCEPTION: usize = 32;
/// Adding this rounds to a whole number and leaves it in the low bits: exact up to 2^51, and much faster than `round`.
const ROUNDER: f64 = (3u64 << 51) as f64;
/// Bits of the largest integer of a fixed scale, so that steps between two of them fit as well.
const FIXED_BITS: i64 = 62;

pub(super) fn write(values: &[f64], out: &mut Vec<u8>) {
    let Some(first) = values.first() else { return };
    if values
        .iter()
        .all(|value| value.to_bits() == first.to_bits())
    {
        out.push(CONSTANT);
        out.extend_from_slice(&first.to_le_bytes());
        return;
    }
    let single = singles(values).map(|ints| Column::of_bits(SINGLE, ints));
    let decimal = decimals(values);
    let best = match (single, decimal) {
        (Some(single), Some(decimal)) => smaller(single, decimal),
        // Decimals lie further apart than doubles of their size, so there is nothing to gain from those.
        (Some(column), None) | (None, Some(column)) => column,
        (None, None) => {
            let bits = values.iter().map(|value| order(value.to_bits() as i64));
            let double = Column::of_bits(DOUBLE, bits.collect());
            match fixed(values) {
                Some(fixed) => smaller(double, fixed),
                None => double,
            }
        }
    };
    best.write(out);
}

/// Appends `count` values to `out`.
pub(super) fn read(input: &mut &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), Damage> {
    if count == 0 {
        return Ok(());
    }
    let start = out.len();
    match wire::get_u8(input)? {
        CONSTANT => out.resize(start + count, f64::from_le_bytes(wire::get_array(input)?)),
        tag @ (DECIMAL | FIXED) => {
            let scale = scale(tag, wire::get_u8(input)?)?;
            ints::read(input, count, |ints| {
                out.extend(ints.iter().map(|&int| int as f64 / scale));
            })?;
            read_exceptions(input, &mut out[start..])?;
        }
        SINGLE => ints::read(input, count, |ints| {
            let single = |&int: &i64| f32::from_bits(order_single(int as i32) as u32);
            out.extend(ints.iter().map(single).map(f64::from));
        })?,
        DOUBLE => ints::read(input, count, |ints| {
            out.extend(ints.iter().map(|&int| f64::from_bits(order(int) as u64)));
        })?,
        _ => return Err(Damage("unknown codec of a float column")),
    }
    Ok(())
}

/// Values as integers, and how those will be written.
struct Column {
    tag: u8,
    /// The power of ten or two the values were multiplied by, if they were.
    power: Option<u8>,
    ints: Vec<i64>,
    /// Position and value of those that fit no scale.
    exceptions: Vec<(usize, f64)>,
    plan: Plan,
}

impl Column {
    fn of_bits(tag: u8, ints: Vec<i64>) -> Self {
        let plan = Plan::new(&ints);
        Self {
            tag,
            power: None,
            ints,
            exceptions: Vec::new(),
            plan,
        }
    }

    /// The values as what `convert` makes of them, wherever dividing that by the scale gives them back; `None` if it
    /// too often does not.
    fn scaled(tag: u8, power: u8, values: &[f64], convert: impl Fn(f64) -> i64) -> Option<Self> {
        let scale = scale(tag, power).ok()?;
        let (mut ints, mut exceptions) = (Vec::with_capacity(values.len()), Vec::new());
        let mut before = 0;
        for (position, &value) in values.iter().enumerate() {
            let int = convert(value * scale);
            if !gives_back(int, scale, value) {
                if exceptions.len() == values.len() / VALUES_PER_EXCEPTION {
                    return None;
                }
                exceptions.push((position, value));
            }
            // For an exception any integer will do: the nearest if there is one, else whatever makes no stir.
            if (int as f64 / scale - value).abs() * scale <= 1.0 {
                before = int;
            }
            ints.push(before);
        }
        let plan = Plan::new(&ints);
        Some(Self {
            tag,
            power: Some(power),
            ints,
            exceptions,
            plan,
        })
    }

    fn bytes(&self) -> usize {
        self.plan.bytes() + 10 * self.exceptions.len()
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(self.tag);
        out.extend(self.power);
        self.plan.write(&self.ints, out);
        if self.power.is_some() {
            wire::put_varint(out, self.exceptions.len() as u64);
            for (position, value) in &self.exceptions {
                wire::put_varint(out, *position as u64);
                out.extend_from_slice(&value.to_le_bytes());
            }
        }
    }
}

fn smaller(one: Column, other: Column) -> Column {
    if other.bytes() <= one.bytes() {
        other
    } else {
        one
    }
}

fn read_exceptions(input: &mut &[u8], values: &mut [f64]) -> Result<(), Damage> {
    // A count too large runs out of bytes.
    for _ in 0..wire::get_varint(input)? {
        let position = usize::try_from(wire::get_varint(input)?).unwrap_or(usize::MAX);
        let value = values
            .get_mut(position)
            .ok_or(Damage("exception outside its column"))?;
        *value = f64::from_le_bytes(wire::get_array(input)?);
    }
    Ok(())
}

/// Negative numbers count their bits downwards; turning them round makes integers sort as floats do. Its own inverse.
fn order(bits: i64) -> i64 {
    bits ^ ((bits >> 63) as u64 >> 1) as i64
}

fn order_single(bits: i32) -> i32 {
    bits ^ ((bits >> 31) as u32 >> 1) as i32
}

/// The values as ordered 32-bit floats, if every one is one.
fn singles(values: &[f64]) -> Option<Vec<i64>> {
    let mut ints = Vec::with_capacity(values.len());
    for &value in values {
        let single = value as f32;
        // What becomes of the bits of a NaN in a conversion is not promised.
        if f64::from(single).to_bits() != value.to_bits() || value.is_nan() {
            return None;
        }
        ints.push(i64::from(order_single(single.to_bits() as i32)));
    }
    Some(ints)
}

/// What the values of a column are multiplied by: ten or two, to a power.
fn scale(tag: u8, power: u8) -> Result<f64, Damage> {
    if tag == FIXED {
        return Ok(f64::from_bits((1023 + u64::from(power)) << 52));
    }
    let scale = SCALES.get(usize::from(power)).copied();
    scale.ok_or(Damage("decimal column with too many digits"))
}

fn gives_back(int: i64, scale: f64, value: f64) -> bool {
    (int as f64 / scale).to_bits() == value.to_bits()
}

/// A few values from all over the column.
fn sample(values: &[f64]) -> impl Iterator<Item = f64> {
    let step = values.len().div_ceil(VALUES_SAMPLED).max(1);
    values.iter().step_by(step).copied()
}

/// The values as decimal numbers of a few digits after the point.
fn decimals(values: &[f64]) -> Option<Column> {
    // Beyond the reach of the rounder the integer is arbitrary, and does not give the value back.
    let convert = |scaled: f64| {
        let bits = (scaled + ROUNDER).to_bits() as i64;
        bits.wrapping_sub(ROUNDER.to_bits() as i64)
    };
    let (mut digits, mut misses) = (0, 0);
    for value in sample(values) {
        let fits =
            |&digits: &usize| gives_back(convert(value * SCALES[digits]), SCALES[digits], value);
        match (digits..SCALES.len()).find(fits) {
            Some(needed) => digits = needed,
            None => misses += 1,
        }
        if misses > VALUES_SAMPLED / 8 {
            return None;
        }
    }
    Column::scaled(DECIMAL, digits as u8, values, convert)
}

/// The values as multiples of the finest bit they need, as far as the largest of them leaves room for it.
fn fixed(values: &[f64]) -> Option<Column> {
    let exponent = |value: f64| (value.to_bits() >> 52 & 0x7ff) as i64 - 1023;
    let largest = values
        .iter()
        .fold(0.0, |largest: f64, value| largest.max(value.abs()));
    let needed = sample(values).map(|value| {
        let zeros = (value.to_bits() | 1 << 52).trailing_zeros();
        52 - exponent(value) - i64::from(zeros)
    });
    let power = needed.max()?.min(FIXED_BITS - 1 - exponent(largest));
    let power = u8::try_from(power.max(0)).ok()?;
    Column::scaled(FIXED, power, values, |scaled| scaled as i64)
}
