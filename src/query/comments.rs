//! What tables and columns hold, in words: drivers show them beside the names.

use std::borrow::Cow;

use super::catalogue::StreamColumn;
use super::points::PointColumn;
use crate::model::StreamDescriptor;

/// Of a relation in `public`.
pub(super) fn of_relation(name: &str) -> &'static str {
    match name {
        "streams" => "every stream: what it is, and what its points say",
        "points" => "every point of every stream",
        _ => "every collection that holds a stream",
    }
}

/// Of the table of one stream.
pub(super) fn of_stream(stream: &StreamDescriptor) -> Cow<'static, str> {
    Cow::Owned(match stream.tags.unit.as_str() {
        "" => format!("the points of stream {}", stream.id),
        unit => format!("the points of stream {}, in {unit}", stream.id),
    })
}

/// Of a column of `collections`.
pub(super) fn of_collections(column: &str) -> Option<&'static str> {
    Some(match column {
        "collection" => "path of the collection",
        "stream_count" => "how many streams it holds",
        _ => return None,
    })
}

/// Of a column of points, whose unit is known where they are of one stream.
pub(super) fn of_point(column: PointColumn, unit: Option<&String>) -> Cow<'static, str> {
    match (column, unit.map(String::as_str)) {
        (PointColumn::Stream(column), _) => of_streams(column).into(),
        (PointColumn::Time, _) => "when it was measured, in UTC, to the nanosecond".into(),
        (PointColumn::Value, Some("")) => "what was measured".into(),
        (PointColumn::Value, Some(unit)) => format!("what was measured, in {unit}").into(),
        (PointColumn::Value, None) => "what was measured, in the unit of its stream".into(),
    }
}

/// Of a column of `streams`.
pub(super) fn of_streams(column: StreamColumn) -> &'static str {
    match column {
        StreamColumn::Uuid => "identity of the stream",
        StreamColumn::Collection => "path of the collection that the stream is in",
        StreamColumn::Name => "name of the stream in its collection",
        StreamColumn::Unit => "unit of its values",
        StreamColumn::Ingress => "what brought its points in",
        StreamColumn::Distiller => "what its points were computed by",
        StreamColumn::PropertyVersion => "number of the last change of tags and annotations",
        StreamColumn::Tags => "all tags, by name",
        StreamColumn::Annotations => "all annotations, by name",
        StreamColumn::Version => "number of the last change of its points; computed",
        StreamColumn::PointCount => "how many points it has; computed",
        StreamColumn::Earliest => "time of its first point, in UTC; computed",
        StreamColumn::Latest => "time of its last point, in UTC; computed",
    }
}
