//! Bytes in and out, checked: the alphabet of every format in the engine.
//!
//! Writers append to a `Vec<u8>`. Readers exist twice, for one reason: the free `get_*` functions move a plain slice
//! forward, so that a codec can work on `&mut reader.rest`, and [`Reader`] offers the same as methods. Fixed-width
//! numbers are little-endian. Nothing here panics, and nothing is allocated: `bytes` and `text` borrow from the input.

use std::fmt;

/// What is wrong with some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Damage(pub(crate) &'static str);

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Damage {}

/// The sign moves to the lowest bit, so that small numbers of either sign are short.
pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(code: u64) -> i64 {
    (code >> 1) as i64 ^ -((code & 1) as i64)
}

/// Bytes [`put_varint`] writes for `value`.
pub(crate) fn varint_len(value: u64) -> usize {
    (70 - (value | 1).leading_zeros() as usize) / 7
}

/// Appends `value` as LEB128: seven bits a byte, lowest first, the high bit says that more follow. 1 to 10 bytes.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a signed number as the varint of its zigzag code.
pub(crate) fn put_zigzag(out: &mut Vec<u8>, value: i64) {
    put_varint(out, zigzag(value));
}

/// Appends a varint length and then `bytes`.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Takes the next `count` bytes off `input`.
pub(crate) fn get<'a>(input: &mut &'a [u8], count: usize) -> Result<&'a [u8], Damage> {
    let (head, rest) = input
        .split_at_checked(count)
        .ok_or(Damage("bytes end too early"))?;
    *input = rest;
    Ok(head)
}

/// Takes the next `N` bytes off `input`, as an array.
pub(crate) fn get_array<const N: usize>(input: &mut &[u8]) -> Result<[u8; N], Damage> {
    let (head, rest) = input
        .split_first_chunk()
        .ok_or(Damage("bytes end too early"))?;
    *input = rest;
    Ok(*head)
}

pub(crate) fn get_u8(input: &mut &[u8]) -> Result<u8, Damage> {
    get_array::<1>(input).map(|[byte]| byte)
}

pub(crate) fn get_varint(input: &mut &[u8]) -> Result<u64, Damage> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = get_u8(input)?;
        // Nine bytes carry 63 bits, so the tenth has room for one.
        if shift == 63 && byte > 1 {
            break;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Damage("variable-length number exceeds 64 bits"))
}

pub(crate) fn get_zigzag(input: &mut &[u8]) -> Result<i64, Damage> {
    get_varint(input).map(unzigzag)
}

/// A cursor over bytes nobody vouches for.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    /// What is still unread.
    pub(crate) rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Damage> {
        get_u8(&mut self.rest)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Damage> {
        get_array(&mut self.rest).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Damage> {
        get_array(&mut self.rest).map(u64::from_le_bytes)
    }

    pub(crate) fn u128(&mut self) -> Result<u128, Damage> {
        get_array(&mut self.rest).map(u128::from_le_bytes)
    }

    pub(crate) fn f64(&mut self) -> Result<f64, Damage> {
        get_array(&mut self.rest).map(f64::from_le_bytes)
    }

    pub(crate) fn varint(&mut self) -> Result<u64, Damage> {
        get_varint(&mut self.rest)
    }

    pub(crate) fn zigzag(&mut self) -> Result<i64, Damage> {
        get_zigzag(&mut self.rest)
    }

    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Damage> {
        get(&mut self.rest, count)
    }

    /// A varint length and that many bytes.
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Damage> {
        let count = usize::try_from(self.varint()?).map_err(|_| Damage("length exceeds memory"))?;
        self.take(count)
    }

    /// Like [`Reader::bytes`], and UTF-8.
    pub(crate) fn text(&mut self) -> Result<&'a str, Damage> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Damage("text is not utf-8"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_roundtrip_at_every_length() {
        for bits in 0..=64u32 {
            for value in [
                u64::MAX.checked_shr(64 - bits).unwrap_or(0),
                1u64.checked_shl(bits).unwrap_or(0),
            ] {
                let mut bytes = Vec::new();
                put_varint(&mut bytes, value);
                assert_eq!(bytes.len(), varint_len(value));
                put_zigzag(&mut bytes, value as i64);
                let mut reader = Reader::new(&bytes);
                assert_eq!(reader.varint(), Ok(value));
                assert_eq!(reader.zigzag(), Ok(value as i64));
                assert!(reader.is_empty());
                for end in 0..varint_len(value) {
                    assert!(Reader::new(&bytes[..end]).varint().is_err());
                }
            }
        }
    }

    #[test]
    fn varint_beyond_64_bits_is_damage() {
        let mut bytes = [0xff; 10];
        bytes[9] = 2;
        assert!(Reader::new(&bytes).varint().is_err());
        assert!(Reader::new(&[0x80; 11]).varint().is_err());
    }

    #[test]
    fn fields_come_back_in_order() {
        let mut bytes = vec![7];
        bytes.extend(8u32.to_le_bytes());
        bytes.extend(9u64.to_le_bytes());
        bytes.extend(10u128.to_le_bytes());
        bytes.extend((-0.5f64).to_le_bytes());
        put_bytes(&mut bytes, "zürich".as_bytes());
        put_bytes(&mut bytes, &[0xff]);
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.u8(), Ok(7));
        assert_eq!(reader.u32(), Ok(8));
        assert_eq!(reader.u64(), Ok(9));
        assert_eq!(reader.u128(), Ok(10));
        assert_eq!(reader.f64(), Ok(-0.5));
        assert_eq!(reader.text(), Ok("zürich"));
        assert_eq!(reader.text(), Err(Damage("text is not utf-8")));
        assert_eq!(reader.take(1), Err(Damage("bytes end too early")));
    }

    #[test]
    fn length_beyond_the_input_is_damage() {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, u64::MAX);
        assert!(Reader::new(&bytes).bytes().is_err());
    }
}
