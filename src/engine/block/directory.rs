//! The directory at the end of a segment: which blocks it holds, and whose they are.

use super::inner::ints;
use super::{Kind, at_end, open, seal};
use crate::engine::codec::wire::{Reader, put_varint};
use crate::engine::codec::{Damage, encode_ints};

/// The blocks of a segment, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Directory {
    pub(crate) entries: Vec<Entry>,
}

/// One block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) length: u32,
    /// The store's number of the stream it belongs to.
    pub(crate) stream: u32,
}

impl Directory {
    /// Appends the directory as a block.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        seal(Kind::Directory, out, |out| {
            put_varint(out, self.entries.len() as u64);
            let mut column = |of: &dyn Fn(&Entry) -> i64| {
                encode_ints(&self.entries.iter().map(of).collect::<Vec<_>>(), out);
            };
            column(&|entry| entry.kind as i64);
            column(&|entry| entry.length.into());
            column(&|entry| entry.stream.into());
        });
    }

    pub(crate) fn decode(block: &[u8]) -> Result<Self, Damage> {
        let mut reader = Reader::new(open(Kind::Directory, block)?);
        let count = usize::try_from(reader.varint()?).map_err(|_| Damage("too many blocks"))?;
        let (kinds, lengths, streams) = (
            ints(&mut reader, count)?,
            ints(&mut reader, count)?,
            ints(&mut reader, count)?,
        );
        at_end(&reader)?;
        let damage = Damage("directory names what no segment holds");
        let entries = (0..count).map(|i| {
            let kind = u8::try_from(kinds[i]).ok().and_then(Kind::from_byte);
            Ok(Entry {
                kind: kind.ok_or(damage)?,
                length: u32::try_from(lengths[i]).map_err(|_| damage)?,
                stream: u32::try_from(streams[i]).map_err(|_| damage)?,
            })
        });
        Ok(Self {
            entries: entries.collect::<Result<_, _>>()?,
        })
    }
}

/// Bytes of a trailer.
pub(crate) const TRAILER_BYTES: usize = 20;

const MAGIC: [u8; 8] = *b"BTRFSEGE";

/// Appends the end of a segment: where its directory lies.
pub(crate) fn encode_trailer(offset: u32, length: u32, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&offset.to_le_bytes());
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&MAGIC);
    let sum = crc32c::crc32c(&out[start..]);
    out.extend_from_slice(&sum.to_le_bytes());
}

/// Where the directory of a segment lies.
pub(crate) fn decode_trailer(trailer: &[u8]) -> Result<(u32, u32), Damage> {
    let mut reader = Reader::new(trailer);
    let (offset, length) = (reader.u32()?, reader.u32()?);
    if reader.take(8)? != MAGIC {
        return Err(Damage("segment does not end as one"));
    }
    if reader.u32()? != crc32c::crc32c(&trailer[..16]) || !reader.is_empty() {
        return Err(Damage("checksum does not match"));
    }
    Ok((offset, length))
}
