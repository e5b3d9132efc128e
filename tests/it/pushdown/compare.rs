//! Whether two answers are the same, as far as the order of additions allows.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::data::Stream;

/// How near two answers of a column must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Near {
    /// Equal; zeros of either sign are.
    Exactly,
    /// Averages and deviations: 1e-9 of the greatest absolute value.
    Mean,
    /// Variances: 1e-9 of its square.
    Square,
    /// Sums: 1e-9 of the sum of absolute values.
    Sum,
}

/// What values a query can read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scale {
    max: f64,
    sum: f64,
}

const TOLERANCE: f64 = 1e-9;

impl Scale {
    pub(super) fn new(max: f64, sum: f64) -> Self {
        Self { max, sum }
    }

    pub(super) fn of<'a>(streams: impl IntoIterator<Item = &'a Stream>) -> Self {
        streams.into_iter().fold(Self::default(), |scale, stream| {
            Self::new(
                scale.max.max(stream.max_abs()),
                scale.sum + stream.sum_abs(),
            )
        })
    }

    fn allows(self, near: Near, a: Option<f64>, b: Option<f64>) -> bool {
        let (Some(a), Some(b)) = (a, b) else {
            return a == b;
        };
        let scale = match near {
            Near::Exactly => 0.0,
            Near::Mean => self.max,
            Near::Square => self.max * self.max,
            Near::Sum => self.sum,
        };
        // Equal infinities have no difference that is a number.
        a == b || (a - b).abs() <= TOLERANCE * scale
    }
}

/// A row: first what must be equal, then the numbers that may differ in the last digits.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    exact: Vec<String>,
    near: Vec<(Near, Option<f64>)>,
}

/// The rows of `batches`; columns beyond `columns` must be equal.
pub(super) fn rows(batches: &[RecordBatch], columns: &[Near]) -> Vec<Row> {
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        let near_of = |position: usize| columns.get(position).copied().unwrap_or(Near::Exactly);
        let formats: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options).expect("printable"))
            .collect();
        for row in 0..batch.num_rows() {
            let (mut exact, mut near) = (Vec::new(), Vec::new());
            for (position, column) in batch.columns().iter().enumerate() {
                if *column.data_type() != DataType::Float64 {
                    exact.push(formats[position].value(row).to_string());
                    continue;
                }
                let numbers = column.as_primitive::<Float64Type>();
                // Zeros of either sign are equal to SQL, and adding one makes them so to us.
                let number = column.is_valid(row).then(|| numbers.value(row) + 0.0);
                match near_of(position) {
                    Near::Exactly => exact.push(format!("{number:?}")),
                    other => near.push((other, number)),
                }
            }
            rows.push(Row { exact, near });
        }
    }
    rows
}

/// Rows in an order of their own. It is the same on both sides, because rows with numbers that may differ are told apart by
/// something exact: the keys of their group.
pub(super) fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
    let number = |(_, number): &(Near, Option<f64>)| number.unwrap_or(f64::NEG_INFINITY);
    rows.sort_by(|a, b| {
        let numbers = |row: &Row| row.near.iter().map(number).collect::<Vec<_>>();
        a.exact.cmp(&b.exact).then_with(|| {
            numbers(a)
                .partial_cmp(&numbers(b))
                .unwrap_or(std::cmp::Ordering::Equal)
        })
    });
    rows
}

/// What tells the two apart, if they are not the same.
pub(super) fn difference(pushed: &[Row], plain: &[Row], scale: Scale) -> Option<String> {
    let same = |a: &Row, b: &Row| {
        a.exact == b.exact
            && a.near.len() == b.near.len()
            && a.near
                .iter()
                .zip(&b.near)
                .all(|((near, a), (_, b))| scale.allows(*near, *a, *b))
    };
    let first = pushed.iter().zip(plain).position(|(a, b)| !same(a, b));
    let at = match first {
        None if pushed.len() == plain.len() => return None,
        None => pushed.len().min(plain.len()),
        Some(at) => at,
    };
    Some(format!(
        "{} rows pushed and {} plain, of {scale:?}; first at row {at}\npushed: {:?}\nplain:  {:?}",
        pushed.len(),
        plain.len(),
        pushed.get(at),
        plain.get(at),
    ))
}
