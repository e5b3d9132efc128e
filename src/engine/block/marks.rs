//! Marks: which commit made each version, and where a later tree is cut to read it.

use super::inner::{decode_addresses, encode_addresses, ints};
use super::{Kind, at_end, open, seal};
use crate::engine::codec::wire::{Reader, put_varint};
use crate::engine::codec::{Damage, encode_ints};
use crate::engine::tree::Address;
use crate::model::Version;

/// The marks of consecutive versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) first: Version,
    /// The commit of each version.
    pub(crate) commits: Vec<u64>,
    /// Points of the version's tree at or after this time belong to later versions.
    pub(crate) cuts: Vec<i64>,
}

/// Where marks lie: a block of them, or an index over such references.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MarkRef {
    /// The first version it is about.
    pub(crate) first: Version,
    /// How many versions it is about.
    pub(crate) count: u64,
    /// The commit of the first of them.
    pub(crate) first_commit: u64,
    pub(crate) address: Address,
}

/// Appends a block of marks.
pub(crate) fn encode_marks(marks: &Marks, out: &mut Vec<u8>) {
    seal(Kind::Marks, out, |out| put_marks(marks, out));
}

/// A block of marks.
pub(crate) fn decode_marks(block: &[u8]) -> Result<Marks, Damage> {
    let mut reader = Reader::new(open(Kind::Marks, block)?);
    let marks = get_marks(&mut reader)?;
    at_end(&reader)?;
    Ok(marks)
}

/// Appends marks without a frame.
pub(crate) fn put_marks(marks: &Marks, out: &mut Vec<u8>) {
    put_varint(out, marks.first.0);
    put_varint(out, marks.commits.len() as u64);
    let commits: Vec<i64> = marks.commits.iter().map(|&commit| commit as i64).collect();
    encode_ints(&commits, out);
    encode_ints(&marks.cuts, out);
}

/// Marks without a frame.
pub(crate) fn get_marks(reader: &mut Reader<'_>) -> Result<Marks, Damage> {
    let first = Version(reader.varint()?);
    let count = usize::try_from(reader.varint()?).map_err(|_| Damage("marks are too many"))?;
    if first <= Version::CREATED || first.0 > 1 << 62 {
        return Err(Damage("marks begin before the first mutation"));
    }
    let commits = ints(reader, count)?;
    let cuts = ints(reader, count)?;
    Ok(Marks {
        first,
        commits: commits.into_iter().map(|commit| commit as u64).collect(),
        cuts,
    })
}

/// Appends an index over marks.
pub(crate) fn encode_index(refs: &[MarkRef], out: &mut Vec<u8>) {
    seal(Kind::Index, out, |out| put_refs(refs, out));
}

/// An index over marks.
pub(crate) fn decode_index(block: &[u8]) -> Result<Vec<MarkRef>, Damage> {
    let mut reader = Reader::new(open(Kind::Index, block)?);
    let refs = get_refs(&mut reader)?;
    at_end(&reader)?;
    Ok(refs)
}

/// Appends references without a frame.
pub(crate) fn put_refs(refs: &[MarkRef], out: &mut Vec<u8>) {
    put_varint(out, refs.len() as u64);
    let mut column = |of: &dyn Fn(&MarkRef) -> u64| {
        let column: Vec<i64> = refs.iter().map(|mark| of(mark) as i64).collect();
        encode_ints(&column, out);
    };
    column(&|mark| mark.first.0);
    column(&|mark| mark.count);
    column(&|mark| mark.first_commit);
    let addresses: Vec<Address> = refs.iter().map(|mark| mark.address).collect();
    encode_addresses(&addresses, out);
}

/// References without a frame.
pub(crate) fn get_refs(reader: &mut Reader<'_>) -> Result<Vec<MarkRef>, Damage> {
    let count = usize::try_from(reader.varint()?).map_err(|_| Damage("references are too many"))?;
    let (first, counts, commits) = (
        ints(reader, count)?,
        ints(reader, count)?,
        ints(reader, count)?,
    );
    let addresses = decode_addresses(reader, count)?;
    Ok((0..count)
        .map(|i| MarkRef {
            first: Version(first[i] as u64),
            count: counts[i] as u64,
            first_commit: commits[i] as u64,
            address: addresses[i],
        })
        .collect())
}
