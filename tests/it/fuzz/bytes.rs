//! Bytes and texts, changed a little.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// Longest that a change makes anything.
const LENGTH_MAX: usize = 64 << 10;

/// Words that mean something somewhere in a request.
pub(super) const TOKENS: &[&str] = &[
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP BY",
    "ORDER BY",
    "LIMIT",
    "INSERT INTO",
    "UPDATE",
    "DELETE FROM",
    "VALUES",
    "SET",
    "EXPLAIN",
    "WITH",
    "UNION ALL",
    "DISTINCT",
    "NULL",
    "points",
    "streams",
    "collections",
    "\"pmu/west\".\"voltage\"",
    "raw_values('pmu/west/voltage')",
    "windows",
    "nearest",
    "changes",
    "multi_values",
    "time",
    "value",
    "uuid",
    "collection",
    "name",
    "tags",
    "version",
    "date_bin",
    "date_trunc",
    "INTERVAL '1 second'",
    "count(*)",
    "avg(value)",
    "min",
    "max",
    "stddev",
    "first_value(value ORDER BY time)",
    "OVER (ORDER BY time)",
    "CASE WHEN",
    "CAST(",
    "::",
    "->",
    "@1",
    "@18446744073709551615",
    "$1",
    "?",
    "''",
    "\"",
    "(",
    ")",
    ",",
    ";",
    "--",
    "/*",
    "*",
    "=",
    "<",
    ">=",
    "'1970-01-01T00:00:00Z'",
    "9223372036854775807",
    "-9223372036854775808",
    "1e309",
    "NaN",
    "0",
    "-1",
    "btrdb.merge",
    "replace",
    "true",
    "%",
    "_",
    "\\",
    "\u{0}",
    "\u{fffd}",
    "é",
    "pmu/*",
    "/",
    "public",
    "information_schema",
    "{\"collection\": \"pmu\"}",
    "[]",
    "{}",
];

/// Numbers at which something ends.
pub(super) fn interesting(random: &mut StdRng) -> u64 {
    const ENDS: [u64; 14] = [
        0,
        1,
        2,
        7,
        8,
        63,
        64,
        127,
        128,
        1 << 16,
        1 << 31,
        1 << 48,
        1 << 62,
        1 << 63,
    ];
    let end = *ENDS.choose(random).expect("there are ends");
    match random.random_range(0..3) {
        0 => end,
        1 => end.wrapping_sub(1),
        _ => end.wrapping_neg(),
    }
}

/// One change. Texts get words, others get bits and numbers.
pub(super) fn mutate_bytes(bytes: &mut Vec<u8>, random: &mut StdRng) {
    let is_text = std::str::from_utf8(bytes).is_ok_and(|text| !text.contains('\0'));
    if is_text && random.random_ratio(3, 4) {
        mutate_text(bytes, random);
    } else {
        mutate_binary(bytes, random);
    }
    bytes.truncate(LENGTH_MAX);
}

fn mutate_text(bytes: &mut Vec<u8>, random: &mut StdRng) {
    // At a boundary between words, as far as there is one.
    let mut ends: Vec<usize> = (0..bytes.len())
        .filter(|&position| !bytes[position].is_ascii_alphanumeric() && bytes[position].is_ascii())
        .collect();
    ends.push(bytes.len());
    let at = *ends.choose(random).expect("there is an end");
    let to = *ends.choose(random).expect("there is an end");
    let (first, last) = (at.min(to), at.max(to));
    let token = TOKENS.choose(random).expect("there are tokens");
    match random.random_range(0..5) {
        0 => drop(bytes.drain(first..last)),
        1 => {
            let copy = bytes[first..last].to_vec();
            let end = *ends.choose(random).expect("there is an end");
            bytes.splice(end..end, copy);
        }
        2 => drop(bytes.splice(first..last, format!(" {token} ").into_bytes())),
        _ => drop(bytes.splice(at..at, format!(" {token} ").into_bytes())),
    }
}

fn mutate_binary(bytes: &mut Vec<u8>, random: &mut StdRng) {
    if bytes.is_empty() {
        let length = random.random_range(1..40);
        bytes.extend((0..length).map(|_| random.random::<u8>()));
        return;
    }
    let at = random.random_range(0..bytes.len());
    match random.random_range(0..8) {
        0 => bytes[at] ^= 1 << random.random_range(0..8),
        1 => bytes[at] = interesting(random) as u8,
        2 => {
            // A length or an offset of Arrow's is a whole word, at a place of its own size.
            let at = at & !3;
            let word = (interesting(random) as u32).to_le_bytes();
            let end = bytes.len().min(at + 4);
            bytes[at..end].copy_from_slice(&word[..end - at]);
        }
        3 => {
            let at = at & !7;
            let word = interesting(random).to_le_bytes();
            let end = bytes.len().min(at + 8);
            bytes[at..end].copy_from_slice(&word[..end - at]);
        }
        4 => bytes.truncate(at),
        5 => {
            let end = random.random_range(at..=bytes.len());
            bytes.drain(at..end);
        }
        6 => {
            let end = random.random_range(at..=bytes.len());
            let copy = bytes[at..end].to_vec();
            bytes.splice(at..at, copy);
        }
        _ => bytes.insert(at, random.random()),
    }
}
