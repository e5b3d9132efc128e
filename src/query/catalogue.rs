//! What can be told of a stream, as columns: from the catalogue, and from its points where that is asked for.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int64Array, MapBuilder, MapFieldNames, StringBuilder, StringViewArray,
    TimestampNanosecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::error::Result;
use futures::TryStreamExt;

use super::errors::to_datafusion;
use super::points::{time_column, time_type};
use super::session::Frame;
use crate::model::time::{MAX_TIME, MIN_TIME};
use crate::model::{
    Cuts, Direction, NearestQuery, Probe, StatQuery, StreamDescriptor, StreamRead, TagKey,
    TimeRange, Timestamp,
};

/// A column of `streams`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamColumn {
    Uuid,
    Collection,
    Name,
    Unit,
    Ingress,
    Distiller,
    PropertyVersion,
    Tags,
    Annotations,
    Version,
    PointCount,
    Earliest,
    Latest,
}

impl StreamColumn {
    pub(super) const ALL: [Self; 13] = [
        Self::Uuid,
        Self::Collection,
        Self::Name,
        Self::Unit,
        Self::Ingress,
        Self::Distiller,
        Self::PropertyVersion,
        Self::Tags,
        Self::Annotations,
        Self::Version,
        Self::PointCount,
        Self::Earliest,
        Self::Latest,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Uuid => "uuid",
            Self::Collection => "collection",
            Self::Name => "name",
            Self::Unit => "unit",
            Self::Ingress => "ingress",
            Self::Distiller => "distiller",
            Self::PropertyVersion => "property_version",
            Self::Tags => "tags",
            Self::Annotations => "annotations",
            Self::Version => "version",
            Self::PointCount => "point_count",
            Self::Earliest => "earliest",
            Self::Latest => "latest",
        }
    }

    /// The column of that name, if the catalogue alone can tell it.
    pub(super) fn told(name: &str) -> Option<Self> {
        let mut columns = Self::ALL.into_iter();
        columns.find(|column| column.as_str() == name && column.is_told())
    }

    /// Whether the catalogue can tell it without a look at the points.
    pub(super) fn is_told(self) -> bool {
        !matches!(
            self,
            Self::Version | Self::PointCount | Self::Earliest | Self::Latest
        )
    }

    pub(super) fn field(self) -> Field {
        let (data_type, nullable) = match self {
            Self::Uuid
            | Self::Collection
            | Self::Name
            | Self::Unit
            | Self::Ingress
            | Self::Distiller => (DataType::Utf8View, false),
            Self::PropertyVersion | Self::Version => (DataType::UInt64, false),
            Self::Tags | Self::Annotations => (map_type(), false),
            Self::PointCount => (DataType::Int64, false),
            Self::Earliest | Self::Latest => (time_type(), true),
        };
        Field::new(self.as_str(), data_type, nullable)
    }

    /// The column over `streams`, for which the store is read as `reads` say unless the catalogue [can tell](Self::is_told).
    pub(super) async fn column(
        self,
        frame: &Frame,
        streams: &[Arc<StreamDescriptor>],
        reads: &[StreamRead],
    ) -> Result<ArrayRef> {
        let reads = || reads.to_vec();
        Ok(match self {
            Self::Version => Arc::new(UInt64Array::from(versions(frame, reads()).await?)),
            Self::PointCount => Arc::new(Int64Array::from(counts(frame, reads()).await?)),
            Self::Earliest => nearest(frame, reads(), MIN_TIME, Direction::Forward).await?,
            // Backward is before the time, and the last nanosecond of the domain holds no point.
            Self::Latest => nearest(frame, reads(), MAX_TIME - 1, Direction::Backward).await?,
            told => told.told_column(streams)?,
        })
    }

    /// The column over `streams`, which must be one that the catalogue [can tell](Self::is_told).
    pub(super) fn told_column(self, streams: &[Arc<StreamDescriptor>]) -> Result<ArrayRef> {
        let text = |text: fn(&StreamDescriptor) -> &str| -> ArrayRef {
            let values = streams.iter().map(|stream| Some(text(stream)));
            Arc::new(values.collect::<StringViewArray>())
        };
        Ok(match self {
            Self::Uuid => {
                let values = streams.iter().map(|stream| Some(stream.id.to_string()));
                Arc::new(values.collect::<StringViewArray>())
            }
            Self::Collection => text(|stream| &stream.collection),
            Self::Name => text(|stream| &stream.tags.name),
            Self::Unit => text(|stream| &stream.tags.unit),
            Self::Ingress => text(|stream| &stream.tags.ingress),
            Self::Distiller => text(|stream| &stream.tags.distiller),
            Self::PropertyVersion => Arc::new(UInt64Array::from_iter_values(
                streams.iter().map(|stream| stream.property_version),
            )),
            Self::Tags => {
                map_column(streams.iter().map(|stream| {
                    TagKey::ALL.map(|key| (key.as_str(), Some(stream.tags.get(key))))
                }))?
            }
            Self::Annotations => map_column(streams.iter().map(|stream| {
                stream
                    .annotations
                    .iter()
                    .map(|(key, value)| (key.as_str(), value.as_deref()))
            }))?,
            Self::Version | Self::PointCount | Self::Earliest | Self::Latest => {
                return Err(datafusion::error::DataFusionError::Internal(format!(
                    "the catalogue does not tell {}",
                    self.as_str()
                )));
            }
        })
    }
}

async fn versions(frame: &Frame, reads: Vec<StreamRead>) -> Result<Vec<u64>> {
    let pinned: Option<Vec<u64>> = reads.iter().map(|read| Some(read.version?.0)).collect();
    if let Some(pinned) = pinned {
        return Ok(pinned);
    }
    let ids: Vec<_> = reads.iter().map(|read| read.id).collect();
    let versions = frame
        .backend
        .versions(&ids, frame.snapshot())
        .await
        .map_err(to_datafusion)?;
    // A transaction's own writes are newer than its snapshot.
    let pinned = reads.into_iter().zip(versions);
    Ok(pinned
        .map(|(read, version)| read.version.unwrap_or(version).0)
        .collect())
}

async fn counts(frame: &Frame, reads: Vec<StreamRead>) -> Result<Vec<i64>> {
    let mut counts = vec![0; reads.len()];
    if counts.is_empty() {
        return Ok(counts);
    }
    let mut batches = frame.backend.stats(StatQuery {
        snapshot: frame.snapshot(),
        ..StatQuery::new(reads, TimeRange::ALL, Cuts::whole(TimeRange::ALL))
    });
    while let Some(batch) = batches.try_next().await.map_err(to_datafusion)? {
        for stat in &batch.stats {
            counts[batch.stream] += stat.count as i64;
        }
    }
    Ok(counts)
}

async fn nearest(
    frame: &Frame,
    reads: Vec<StreamRead>,
    time: Timestamp,
    direction: Direction,
) -> Result<ArrayRef> {
    let points = if reads.is_empty() {
        Vec::new()
    } else {
        let query = NearestQuery {
            streams: reads,
            time,
            direction,
            snapshot: frame.snapshot(),
            probe: Probe::default(),
        };
        let answers = frame.backend.nearest(query).await;
        answers.map_err(to_datafusion)?
    };
    let times = points
        .into_iter()
        .map(|(_, point)| point.map(|point| point.time));
    Ok(time_column(times.collect::<TimestampNanosecondArray>()))
}

/// The type of tags and annotations: text to text, where a key may stand without a value.
fn map_type() -> DataType {
    let entries = Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Utf8, true),
    ]);
    DataType::Map(
        Arc::new(Field::new("entries", DataType::Struct(entries), false)),
        false,
    )
}

fn map_column<'a, Entries>(rows: impl Iterator<Item = Entries>) -> Result<ArrayRef>
where
    Entries: IntoIterator<Item = (&'a str, Option<&'a str>)>,
{
    let names = MapFieldNames {
        entry: "entries".to_owned(),
        key: "key".to_owned(),
        value: "value".to_owned(),
    };
    let mut builder = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for row in rows {
        for (key, value) in row {
            builder.keys().append_value(key);
            builder.values().append_option(value);
        }
        builder.append(true)?;
    }
    Ok(Arc::new(builder.finish()))
}
