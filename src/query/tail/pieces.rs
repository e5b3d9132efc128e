//! Rows as a subscription delivers them.

use std::sync::Arc;

use arrow::array::UInt32Array;
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::ArrowNativeType;

use crate::model::StreamDescriptor;

/// Rows of one stream that arrived together.
pub(super) struct Piece {
    pub(super) stream: Arc<StreamDescriptor>,
    pub(super) times: ScalarBuffer<i64>,
    pub(super) values: ScalarBuffer<f64>,
}

/// Copies nothing where there is one piece.
pub(super) fn joined<T: ArrowNativeType>(
    pieces: &[Piece],
    rows: usize,
    part: impl Fn(&Piece) -> &ScalarBuffer<T>,
) -> ScalarBuffer<T> {
    if let [piece] = pieces {
        return part(piece).clone();
    }
    let mut all = Vec::with_capacity(rows);
    for piece in pieces {
        all.extend_from_slice(part(piece));
    }
    all.into()
}

/// For each row the place of its piece.
pub(super) fn places_of(pieces: &[Piece]) -> UInt32Array {
    let places = pieces.iter().enumerate();
    places
        .flat_map(|(place, piece)| std::iter::repeat_n(place as u32, piece.times.len()))
        .collect::<Vec<_>>()
        .into()
}

impl Piece {
    /// The first `rows` of it, and the rest.
    pub(super) fn split(self, rows: usize) -> (Self, Option<Self>) {
        let count = self.times.len();
        if count <= rows {
            return (self, None);
        }
        let rest = Self {
            stream: Arc::clone(&self.stream),
            times: self.times.slice(rows, count - rows),
            values: self.values.slice(rows, count - rows),
        };
        let first = Self {
            stream: self.stream,
            times: self.times.slice(0, rows),
            values: self.values.slice(0, rows),
        };
        (first, Some(rest))
    }
}
