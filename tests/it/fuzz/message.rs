//! Protobuf without its schema: messages as fields within fields, so that changes keep the structure and reach what lies inside.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::bytes::{self, mutate_bytes};

/// Messages within messages that are taken apart; what lies deeper is bytes.
const DEPTH_MAX: usize = 6;

/// A field's value as the wire has it.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Varint(u64),
    Fixed64([u8; 8]),
    Fixed32([u8; 4]),
    Bytes(Vec<u8>),
    /// Bytes that read as a message.
    Message(Message),
}

/// The fields of a message in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Message(Vec<(u64, Value)>);

impl Message {
    /// The message that `bytes` are, if they are one to the last byte.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        Self::parse_at(bytes, 0)
    }

    fn parse_at(mut bytes: &[u8], depth: usize) -> Option<Self> {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let key = varint(&mut bytes)?;
            let number = key >> 3;
            if number == 0 {
                return None;
            }
            let value = match key & 7 {
                0 => Value::Varint(varint(&mut bytes)?),
                1 => Value::Fixed64(take(&mut bytes, 8)?.try_into().ok()?),
                5 => Value::Fixed32(take(&mut bytes, 4)?.try_into().ok()?),
                2 => {
                    let length = usize::try_from(varint(&mut bytes)?).ok()?;
                    let inner = take(&mut bytes, length)?;
                    match Self::parse_at(inner, depth + 1) {
                        Some(message) if depth < DEPTH_MAX && !inner.is_empty() => {
                            Value::Message(message)
                        }
                        _ => Value::Bytes(inner.to_vec()),
                    }
                }
                _ => return None,
            };
            fields.push((number, value));
        }
        Some(Self(fields))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (number, value) in &self.0 {
            let (kind, body) = match value {
                Value::Varint(value) => {
                    put_varint(&mut bytes, number << 3);
                    put_varint(&mut bytes, *value);
                    continue;
                }
                Value::Fixed64(value) => (1, value.to_vec()),
                Value::Fixed32(value) => (5, value.to_vec()),
                Value::Bytes(value) => (2, value.clone()),
                Value::Message(message) => (2, message.encode()),
            };
            put_varint(&mut bytes, number << 3 | kind);
            if kind == 2 {
                put_varint(&mut bytes, body.len() as u64);
            }
            bytes.extend(body);
        }
        bytes
    }

    /// One change, here or in a message within.
    pub(super) fn mutate(&mut self, random: &mut StdRng) {
        if self.0.is_empty() || random.random_ratio(1, 20) {
            let number = random.random_range(1..12);
            self.0.push((number, any_value(random)));
            return;
        }
        let position = random.random_range(0..self.0.len());
        match random.random_range(0..16) {
            0 => {
                self.0.remove(position);
            }
            1 => {
                let copy = self.0[position].clone();
                self.0.insert(position, copy);
            }
            2 => {
                let other = random.random_range(0..self.0.len());
                self.0.swap(position, other);
            }
            3 => self.0[position].0 = random.random_range(1..12),
            4 => self.0[position].1 = any_value(random),
            _ => self.0[position].1.mutate(random),
        }
    }
}

impl Value {
    fn mutate(&mut self, random: &mut StdRng) {
        match self {
            Self::Varint(value) => {
                *value = match random.random_range(0..3) {
                    0 => bytes::interesting(random),
                    1 => value
                        .wrapping_add(random.random_range(0..3))
                        .wrapping_sub(1),
                    _ => *value ^ (1 << random.random_range(0..64)),
                }
            }
            Self::Fixed64(value) => *value = bytes::interesting(random).to_le_bytes(),
            Self::Fixed32(value) => *value = (bytes::interesting(random) as u32).to_le_bytes(),
            Self::Bytes(value) => mutate_bytes(value, random),
            Self::Message(message) => {
                // What reads as a message may well be a text or a buffer.
                if random.random_ratio(1, 8) {
                    let mut inner = message.encode();
                    mutate_bytes(&mut inner, random);
                    *self = Self::Bytes(inner);
                } else {
                    message.mutate(random);
                }
            }
        }
    }
}

fn any_value(random: &mut StdRng) -> Value {
    match random.random_range(0..4) {
        0 => Value::Varint(bytes::interesting(random)),
        1 => Value::Fixed64(bytes::interesting(random).to_le_bytes()),
        _ => {
            let token = bytes::TOKENS.choose(random).expect("there are tokens");
            Value::Bytes(token.as_bytes().to_vec())
        }
    }
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(head)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

#[test]
fn messages_survive_being_taken_apart() {
    use arrow_flight::sql::{CommandStatementQuery, ProstMessageExt};
    use prost::Message as _;
    let command = CommandStatementQuery {
        query: "SELECT 1".into(),
        transaction_id: Some(vec![1, 2, 3].into()),
    };
    let bytes = command.as_any().encode_to_vec();
    let message = Message::parse(&bytes).expect("a message");
    assert_eq!(message.0.len(), 2, "a name and a body");
    assert_eq!(message.encode(), bytes);
    assert_eq!(Message::parse(&bytes[1..]), None);
}
