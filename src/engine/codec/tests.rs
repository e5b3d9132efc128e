//! Columns as the callers see them: what goes in comes out, and bad bytes are errors.

use super::*;
use rand::{Rng, SeedableRng, rngs::StdRng};

const LENGTHS: [usize; 12] = [0, 1, 2, 3, 5, 100, 127, 128, 129, 300, 2048, 5000];

/// Bytes the column took.
fn roundtrip_ints(values: &[i64]) -> usize {
    let mut bytes = Vec::new();
    encode_ints(values, &mut bytes);
    let len = bytes.len();
    bytes.push(0xee);
    let (mut input, mut out) = (&bytes[..], vec![42]);
    decode_ints(&mut input, values.len(), &mut out).unwrap();
    assert_eq!(input, [0xee], "all of the column is read, and nothing else");
    assert_eq!(out[0], 42);
    assert_eq!(out[1..], *values);
    len
}

/// Bytes the column took.
fn roundtrip_floats(values: &[f64]) -> usize {
    let bits = |values: &[f64]| {
        values
            .iter()
            .map(|value| value.to_bits())
            .collect::<Vec<_>>()
    };
    let mut bytes = Vec::new();
    encode_floats(values, &mut bytes);
    let len = bytes.len();
    bytes.push(0xee);
    let (mut input, mut out) = (&bytes[..], vec![42.0]);
    decode_floats(&mut input, values.len(), &mut out).unwrap();
    assert_eq!(input, [0xee], "all of the column is read, and nothing else");
    assert_eq!(bits(&out[1..]), bits(values));
    len
}

/// Integer columns of every kind: noise of every width, extremes, clocks, ramps with spikes.
fn int_columns(rng: &mut StdRng) -> Vec<Vec<i64>> {
    let mut columns = Vec::new();
    for length in LENGTHS {
        let bits = rng.random_range(0..64);
        let level = rng.random::<i64>() >> rng.random_range(0..63);
        let step = rng.random::<i64>() >> rng.random_range(1..63);
        columns.push((0..length).map(|_| rng.random::<i64>() >> bits).collect());
        columns.push(
            (0..length)
                .map(|_| [i64::MIN, -1, 0, 1, i64::MAX][rng.random_range(0..5)])
                .collect(),
        );
        columns.push(
            (0..length as i64)
                .map(|i| level.wrapping_add(step.wrapping_mul(i)))
                .collect(),
        );
        columns.push(
            (0..length as i64)
                .map(|i| i * 1_000_000_000 / 120 + rng.random_range(-300..=300))
                .collect(),
        );
        let spike = |rng: &mut StdRng| {
            if rng.random_ratio(1, 60) {
                rng.random()
            } else {
                rng.random_range(0..9)
            }
        };
        columns.push(
            (0..length as i64)
                .map(|i| {
                    level
                        .wrapping_add(step.wrapping_mul(i))
                        .wrapping_add(spike(rng))
                })
                .collect(),
        );
    }
    columns
}

fn float_columns(rng: &mut StdRng) -> Vec<Vec<f64>> {
    let nasty = [
        0.0,
        -0.0,
        1.0,
        -1.5,
        f64::MIN,
        f64::MAX,
        f64::MIN_POSITIVE,
        5e-324,
        -5e-324,
        0.1,
        1e300,
        f64::EPSILON,
    ];
    let beyond = [
        f64::NAN,
        -f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::from_bits(0x7ff0_0000_0000_0001),
        1e-40,
        2.0,
    ];
    let mut columns = Vec::new();
    for length in LENGTHS {
        let scale = 10f64.powi(rng.random_range(0..16));
        columns.push(vec![nasty[length % nasty.len()]; length]);
        columns.push(
            (0..length)
                .map(|_| nasty[rng.random_range(0..nasty.len())])
                .collect(),
        );
        columns.push(
            (0..length)
                .map(|_| beyond[rng.random_range(0..beyond.len())])
                .collect(),
        );
        columns.push((0..length).map(|_| f64::from_bits(rng.random())).collect());
        columns.push(
            (0..length)
                .map(|_| f64::from(f32::from_bits(rng.random())))
                .collect(),
        );
        columns.push(
            (0..length)
                .map(|_| (rng.random_range(-700.0..700.0) * scale).round() / scale)
                .collect(),
        );
        let odd = |rng: &mut StdRng| {
            if rng.random_ratio(1, 80) {
                beyond[rng.random_range(0..7)]
            } else {
                59.9
            }
        };
        columns.push((0..length).map(|i| odd(rng) + (i % 7) as f64).collect());
        columns.push((0..length).map(|_| odd(rng)).collect());
        columns.push(
            (0..length)
                .map(|i| (i as f64 * 0.01).sin() * 170.0)
                .collect(),
        );
    }
    columns
}

#[test]
fn every_integer_comes_back() {
    let mut rng = StdRng::seed_from_u64(3);
    for _ in 0..20 {
        for column in int_columns(&mut rng) {
            roundtrip_ints(&column);
        }
    }
    roundtrip_ints(
        &(0..70_000)
            .map(|_| rng.random_range(-999..999))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn every_bit_of_a_float_comes_back() {
    let mut rng = StdRng::seed_from_u64(4);
    for _ in 0..20 {
        for column in float_columns(&mut rng) {
            roundtrip_floats(&column);
        }
    }
    roundtrip_floats(
        &(0..70_000)
            .map(|_| rng.random_range(-1.0..1.0))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn a_column_cut_short_is_damage() {
    let mut rng = StdRng::seed_from_u64(5);
    for column in int_columns(&mut rng)
        .iter()
        .filter(|column| (1..=300).contains(&column.len()))
    {
        let mut bytes = Vec::new();
        encode_ints(column, &mut bytes);
        for end in 0..bytes.len() {
            let mut out = vec![7];
            assert!(decode_ints(&mut &bytes[..end], column.len(), &mut out).is_err());
            assert_eq!(out, [7]);
        }
    }
    for column in float_columns(&mut rng)
        .iter()
        .filter(|column| (1..=300).contains(&column.len()))
    {
        let mut bytes = Vec::new();
        encode_floats(column, &mut bytes);
        for end in 0..bytes.len() {
            let mut out = vec![7.0];
            assert!(decode_floats(&mut &bytes[..end], column.len(), &mut out).is_err());
            assert_eq!(out, [7.0]);
        }
    }
}

#[test]
fn flipped_bits_and_noise_never_panic() {
    let mut rng = StdRng::seed_from_u64(6);
    let (ints, floats) = (int_columns(&mut rng), float_columns(&mut rng));
    let read = |bytes: &[u8], count: usize| {
        let (mut ints, mut floats) = (Vec::new(), Vec::new());
        let whole = decode_ints(&mut &bytes[..], count, &mut ints).is_ok();
        assert_eq!(ints.len(), if whole { count } else { 0 });
        let whole = decode_floats(&mut &bytes[..], count, &mut floats).is_ok();
        assert_eq!(floats.len(), if whole { count } else { 0 });
    };
    let mut columns: Vec<(Vec<u8>, usize)> = Vec::new();
    for column in &ints {
        columns.push((Vec::new(), column.len()));
        encode_ints(column, &mut columns.last_mut().unwrap().0);
    }
    for column in &floats {
        columns.push((Vec::new(), column.len()));
        encode_floats(column, &mut columns.last_mut().unwrap().0);
    }
    for (bytes, count) in columns.iter_mut().filter(|(bytes, _)| !bytes.is_empty()) {
        for _ in 0..200 {
            // Headers matter most and are at the front.
            let reach = if rng.random() {
                12.min(bytes.len())
            } else {
                bytes.len()
            };
            let (at, flip) = (rng.random_range(0..reach), 1 << rng.random_range(0..8));
            bytes[at] ^= flip;
            read(bytes, *count);
            if rng.random() {
                bytes[at] ^= flip;
            }
        }
    }
    for _ in 0..5000 {
        let mut bytes: Vec<u8> = (0..rng.random_range(0..400))
            .map(|_| rng.random())
            .collect();
        if let Some(tag) = bytes.first_mut() {
            *tag %= 7;
        }
        read(&bytes, rng.random_range(0..1000));
    }
}

#[test]
fn unknown_tags_are_damage() {
    assert_eq!(
        decode_ints(&mut &[5, 0, 0][..], 1, &mut vec![]),
        Err(Damage("unknown codec of an integer column"))
    );
    assert_eq!(
        decode_floats(&mut &[5, 0, 0][..], 1, &mut vec![]),
        Err(Damage("unknown codec of a float column"))
    );
}

#[test]
fn columns_are_as_small_as_promised() {
    let mut rng = StdRng::seed_from_u64(7);
    let clock = |i: i64| 1_700_000_000_000_000_000 + (i * 1_000_000_000 + 60) / 120;
    let steady: Vec<i64> = (0..2048).map(clock).collect();
    assert!(roundtrip_ints(&steady) < 32);
    let gap: Vec<i64> = (0..2048)
        .map(|i| clock(i + if i > 700 { 3 } else { 0 }))
        .collect();
    assert!(roundtrip_ints(&gap) < 100);
    let jitter: Vec<i64> = steady
        .iter()
        .map(|time| time + rng.random_range(-300..=300))
        .collect();
    assert!(roundtrip_ints(&jitter) * 8 < 2048 * 103 / 10);
    let decimal: Vec<f64> = (0..2048)
        .map(|_| f64::from(rng.random_range(599_900..600_100)) / 1e4)
        .collect();
    assert!(roundtrip_floats(&decimal) * 8 < 2048 * 9);
    assert_eq!(roundtrip_floats(&[7200.25; 2048]), 9);
}

#[test]
fn an_empty_column_takes_no_bytes() {
    assert_eq!(roundtrip_ints(&[]), 0);
    assert_eq!(roundtrip_floats(&[]), 0);
}
