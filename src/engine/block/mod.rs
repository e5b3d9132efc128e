//! Blocks: what a segment is made of. A block is a kind, its content, and a checksum over both.
//!
//! ```text
//! kind u8 | content | CRC-32C u32        an address covers all three
//! ```
//!
//! Bytes come from outside: every decoder checks what it reads and answers [`Damage`], whatever it is given.

mod directory;
mod inner;
mod marks;
mod page;
mod runs;

pub(crate) use directory::{Directory, Entry, TRAILER_BYTES, decode_trailer, encode_trailer};
pub(crate) use inner::{decode_inner, encode_inner, ints};
pub(crate) use marks::{
    MarkRef, Marks, decode_index, decode_marks, encode_index, encode_marks, get_marks, get_refs,
    put_marks, put_refs,
};
pub(crate) use page::{decode_page, encode_page};
pub(crate) use runs::{Runs, decode_runs, encode_runs, get_runs, put_runs};

use super::codec::Damage;
use super::codec::wire::Reader;

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Points of some consecutive leaves.
    Page = 1,
    /// An inner node.
    Inner = 2,
    /// The commits and cuts of some versions.
    Marks = 3,
    /// Where the marks of more versions lie.
    Index = 4,
    /// Late points beside a tree, by version.
    Runs = 5,
    /// What a segment holds.
    Directory = 6,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] = [
        Self::Page,
        Self::Inner,
        Self::Marks,
        Self::Index,
        Self::Runs,
        Self::Directory,
    ];

    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// Values that one column may say it has: a regular column of any length takes no more than a few bytes.
pub(crate) const COLUMN_MAX: usize = 1 << 26;

/// Appends a block with the content that `encode` writes.
pub(crate) fn seal(kind: Kind, out: &mut Vec<u8>, encode: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.push(kind as u8);
    encode(out);
    let sum = crc32c::crc32c(&out[start..]);
    out.extend_from_slice(&sum.to_le_bytes());
}

/// Refuses bytes behind what a block should hold.
pub(crate) fn at_end(reader: &Reader<'_>) -> Result<(), Damage> {
    if reader.is_empty() {
        Ok(())
    } else {
        Err(Damage("block is longer than what it holds"))
    }
}

/// The content of a block, if it is of this kind and undamaged.
pub(crate) fn open(kind: Kind, block: &[u8]) -> Result<&[u8], Damage> {
    let Some((covered, sum)) = block.split_last_chunk::<4>() else {
        return Err(Damage("block is too short"));
    };
    if crc32c::crc32c(covered) != u32::from_le_bytes(*sum) {
        return Err(Damage("checksum does not match"));
    }
    match covered.split_first() {
        Some((&found, content)) if found == kind as u8 => Ok(content),
        _ => Err(Damage("block is of another kind")),
    }
}
