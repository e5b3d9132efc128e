//! Log entries: one object a group commit, and how it is named.
//!
//! ```text
//! magic | number u64 | epoch u64 | writer u128 | wall clock i64 | records | CRC-32C u32
//! ```

use crate::engine::codec::Damage;
use crate::engine::codec::wire::Reader;

const MAGIC: [u8; 8] = *b"BTRFLOG1";

/// The folder of the log.
pub(crate) const FOLDER: &str = "log";

/// Who wrote an entry, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The commit it is.
    pub(crate) number: u64,
    /// Goes up with each takeover.
    pub(crate) epoch: u64,
    /// Drawn at random by whoever opened the store.
    pub(crate) writer: u128,
    /// Nanoseconds since 1970 UTC by the writer's clock; for people, nothing depends on it.
    pub(crate) wall_clock: i64,
}

/// The name of an entry's object.
pub(crate) fn name(number: u64) -> String {
    format!("{FOLDER}/{number:020}")
}

/// The number in the name of an entry's object.
pub(crate) fn number(name: &str) -> Option<u64> {
    name.strip_prefix(FOLDER)?.strip_prefix('/')?.parse().ok()
}

/// An entry's bytes.
pub(crate) fn encode(header: Header, records: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(records.len() + 64);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&header.number.to_le_bytes());
    out.extend_from_slice(&header.epoch.to_le_bytes());
    out.extend_from_slice(&header.writer.to_le_bytes());
    out.extend_from_slice(&header.wall_clock.to_le_bytes());
    out.extend_from_slice(records);
    let sum = crc32c::crc32c(&out);
    out.extend_from_slice(&sum.to_le_bytes());
    out
}

/// The header and the records of an entry, if it is undamaged.
pub(crate) fn decode(bytes: &[u8]) -> Result<(Header, &[u8]), Damage> {
    let Some((covered, sum)) = bytes.split_last_chunk::<4>() else {
        return Err(Damage("log entry is too short"));
    };
    if crc32c::crc32c(covered) != u32::from_le_bytes(*sum) {
        return Err(Damage("checksum does not match"));
    }
    let mut reader = Reader::new(covered);
    if reader.take(8)? != MAGIC {
        return Err(Damage("not a log entry of this format"));
    }
    let header = Header {
        number: reader.u64()?,
        epoch: reader.u64()?,
        writer: reader.u128()?,
        wall_clock: reader.u64()? as i64,
    };
    Ok((header, reader.rest))
}
