//! Inner nodes: columns over the occupied slots.

use super::{COLUMN_MAX, Kind, open, seal};
use crate::engine::codec::wire::{Reader, put_varint};
use crate::engine::codec::{Damage, decode_floats, decode_ints, encode_floats, encode_ints};
use crate::engine::tree::{Address, Inner, LeafRef, Link, Slot, Span, place_leaves};
use crate::model::{Stat, Version};

/// Appends a node, all of whose children are in the store.
pub(crate) fn encode_inner(inner: &Inner, out: &mut Vec<u8>) {
    let slots: Vec<&Slot> = inner.slots().map(|(_, slot)| slot).collect();
    let mask_of = |chosen: &dyn Fn(&Slot) -> bool| {
        let chosen = inner.slots().filter(|(_, slot)| chosen(slot));
        chosen.fold(0_u64, |mask, (number, _)| mask | 1 << number)
    };
    seal(Kind::Inner, out, |out| {
        out.extend_from_slice(&inner.span.start.to_le_bytes());
        out.push(inner.span.level());
        put_varint(out, inner.born.0);
        out.extend_from_slice(&mask_of(&|_| true).to_le_bytes());
        out.extend_from_slice(
            &mask_of(&|slot| matches!(slot.link, Some(Link::Inner(_)))).to_le_bytes(),
        );
        out.extend_from_slice(
            &mask_of(&|slot| matches!(slot.link, Some(Link::Leaf(_)))).to_le_bytes(),
        );
        let ints = |out: &mut Vec<u8>, of: &dyn Fn(&Slot) -> i64| {
            encode_ints(&slots.iter().map(|slot| of(slot)).collect::<Vec<_>>(), out);
        };
        ints(out, &|slot| slot.generation.0 as i64);
        ints(out, &|slot| slot.stat.count as i64);
        let floats = |out: &mut Vec<u8>, of: &dyn Fn(&Stat) -> f64| {
            let column: Vec<f64> = slots.iter().map(|slot| of(&slot.stat)).collect();
            encode_floats(&column, out);
        };
        floats(out, &|stat| stat.min);
        floats(out, &|stat| stat.max);
        floats(out, &|stat| stat.mean);
        floats(out, &|stat| stat.m2);
        floats(out, &|stat| stat.sum);
        floats(out, &|stat| stat.sum_error);
        let children = slots.iter().filter_map(|slot| match slot.link {
            Some(Link::Inner(address)) => Some(address),
            _ => None,
        });
        encode_addresses(&children.collect::<Vec<_>>(), out);
        let mut pages: Vec<(Address, i64)> = Vec::new();
        for slot in &slots {
            if let Some(Link::Leaf(leaf)) = &slot.link {
                let address = leaf.page().address;
                match pages.last_mut() {
                    Some((last, leaves)) if *last == address => *leaves += 1,
                    _ => pages.push((address, 1)),
                }
            }
        }
        put_varint(out, pages.len() as u64);
        let (addresses, leaves): (Vec<_>, Vec<_>) = pages.into_iter().unzip();
        encode_addresses(&addresses, out);
        encode_ints(&leaves, out);
    });
}

/// A node.
pub(crate) fn decode_inner(block: &[u8]) -> Result<Inner, Damage> {
    let mut reader = Reader::new(open(Kind::Inner, block)?);
    let start = reader.u64()? as i64;
    let span = Span::checked(start, reader.u8()?).ok_or(Damage("node covers no span of time"))?;
    let born = Version(reader.varint()?);
    let (mask, inners, leaves) = (reader.u64()?, reader.u64()?, reader.u64()?);
    if (inners | leaves) & !mask != 0 || inners & leaves != 0 {
        return Err(Damage("slots of a node contradict each other"));
    }
    let count = mask.count_ones() as usize;
    let generations = ints(&mut reader, count)?;
    let counts = ints(&mut reader, count)?;
    let mut floats = Vec::with_capacity(6);
    for _ in 0..6 {
        let mut column = Vec::with_capacity(count);
        decode_floats(&mut reader.rest, count, &mut column)?;
        floats.push(column);
    }
    let children = decode_addresses(&mut reader, inners.count_ones() as usize)?;
    let page_count = reader.varint()? as usize;
    if page_count > leaves.count_ones() as usize {
        return Err(Damage("node has more pages than leaves"));
    }
    let pages = decode_addresses(&mut reader, page_count)?;
    let leaves_of = ints(&mut reader, page_count)?;
    if !reader.is_empty() {
        return Err(Damage("node is longer than its slots"));
    }

    let numbers = (0..64_usize).filter(|number| mask >> number & 1 == 1);
    let leaf_rows: Vec<i64> = numbers
        .clone()
        .zip(&counts)
        .filter(|(number, _)| leaves >> number & 1 == 1)
        .map(|(_, &rows)| rows)
        .collect();
    let mut leaf_links = leaf_links(&pages, &leaves_of, &leaf_rows)?.into_iter();
    let mut children = children.into_iter();
    let mut inner = Inner::empty(span, born);
    for (rank, number) in numbers.enumerate() {
        let link = if inners >> number & 1 == 1 {
            children.next().map(Link::Inner)
        } else if leaves >> number & 1 == 1 {
            leaf_links.next().map(Link::Leaf)
        } else {
            None
        };
        let count = u64::try_from(counts[rank])
            .ok()
            .filter(|&count| count < 1 << 62);
        let stat = Stat {
            count: count.ok_or(Damage("slot holds more points than any"))?,
            min: floats[0][rank],
            max: floats[1][rank],
            mean: floats[2][rank],
            m2: floats[3][rank],
            sum: floats[4][rank],
            sum_error: floats[5][rank],
        };
        let generation = Version(generations[rank] as u64);
        inner.set(
            number,
            Slot {
                generation,
                stat,
                link,
            },
        );
    }
    Ok(inner)
}

/// Which rows of which pages the leaves are.
fn leaf_links(
    pages: &[Address],
    leaves_of: &[i64],
    leaf_rows: &[i64],
) -> Result<Vec<LeafRef>, Damage> {
    let damage = Damage("pages of a node do not fit its leaves");
    let rows: Vec<u32> = leaf_rows
        .iter()
        .map(|&rows| u32::try_from(rows).map_err(|_| damage))
        .collect::<Result<_, _>>()?;
    let mut left = rows.as_slice();
    let mut sized = Vec::with_capacity(pages.len());
    for (&address, &leaves) in pages.iter().zip(leaves_of) {
        let leaves = usize::try_from(leaves).map_err(|_| damage)?;
        let (own, rest) = left.split_at_checked(leaves).ok_or(damage)?;
        left = rest;
        sized.push((address, own));
    }
    if !left.is_empty() {
        return Err(damage);
    }
    place_leaves(&sized).ok_or(damage)
}

/// Appends addresses, in columns.
pub(crate) fn encode_addresses(addresses: &[Address], out: &mut Vec<u8>) {
    let mut column = |of: &dyn Fn(&Address) -> u32| {
        let column: Vec<i64> = addresses.iter().map(|address| of(address).into()).collect();
        encode_ints(&column, out);
    };
    column(&|address| address.segment);
    column(&|address| address.offset);
    column(&|address| address.length);
}

/// So many addresses.
pub(crate) fn decode_addresses(
    reader: &mut Reader<'_>,
    count: usize,
) -> Result<Vec<Address>, Damage> {
    let columns = [
        ints(reader, count)?,
        ints(reader, count)?,
        ints(reader, count)?,
    ];
    let small = |value: i64| u32::try_from(value).map_err(|_| Damage("address is out of bounds"));
    (0..count)
        .map(|i| {
            Ok(Address {
                segment: small(columns[0][i])?,
                offset: small(columns[1][i])?,
                length: small(columns[2][i])?,
            })
        })
        .collect()
}

/// A column of integers.
pub(crate) fn ints(reader: &mut Reader<'_>, count: usize) -> Result<Vec<i64>, Damage> {
    if count > COLUMN_MAX {
        return Err(Damage("column is longer than any"));
    }
    let mut column = Vec::with_capacity(count.min(1 << 16));
    decode_ints(&mut reader.rest, count, &mut column)?;
    Ok(column)
}
