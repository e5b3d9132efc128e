//! Requests and answers as values: what crosses the seam between protocol and storage.

use std::fmt;
use std::sync::Arc;

use arrow::array::Float64Array;
use arrow::buffer::ScalarBuffer;

use super::probe::Probe;
use super::stream::{Annotations, CollectionMatch, StreamDescriptor, StreamId, TagKey, Version};
use super::time::{TimeRange, Timestamp};
use super::value::ValueBounds;
use super::window::Cuts;

/// Rows of one batch of points, where nothing else bounds it: 1 MiB of times and values.
pub const BATCH_ROWS: usize = 64 * 1024;

/// Which state of the store a read sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Snapshot {
    /// Whatever was acknowledged when the read began.
    #[default]
    Latest,
    /// Everything up to this commit of the store, and nothing after it.
    Commit(u64),
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Commit(commit) => write!(f, "commit {commit}"),
        }
    }
}

/// One stream of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamRead {
    /// Which stream.
    pub id: StreamId,
    /// This version, whatever the snapshot; none is the one of the snapshot.
    pub version: Option<Version>,
}

impl StreamRead {
    /// The stream as of the read's snapshot.
    pub fn latest(id: StreamId) -> Self {
        Self { id, version: None }
    }
}

/// Which way along time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Ascending; points of equal time in stored order.
    #[default]
    Forward,
    /// Descending; points of equal time in reverse stored order.
    Backward,
}

/// Points of some streams in some ranges.
///
/// Answers come stream by stream in the order of `streams`, each in `direction`.
#[derive(Clone, Debug)]
pub struct PointQuery {
    /// The streams; one may stand twice, at two versions.
    pub streams: Vec<StreamRead>,
    /// Ascending and disjoint.
    pub ranges: Vec<TimeRange>,
    /// Which way.
    pub direction: Direction,
    /// At most so many points of each stream, of those delivered: beside `values` it is of little use, because points that
    /// are of none may be among them.
    pub limit: Option<u64>,
    /// Which state.
    pub snapshot: Snapshot,
    /// At most so many rows a batch.
    pub batch_rows: usize,
    /// Values that are of use; none is all. Points of other values need not be delivered, and may be. Bounds that narrow while
    /// the read goes on are seen soon; that they widen is not.
    pub values: Option<Arc<ValueBounds>>,
    /// Who counts what the read takes.
    pub probe: Probe,
}

impl PointQuery {
    /// All points of `streams` in `range`, ascending, of the latest state.
    pub fn new(streams: Vec<StreamRead>, range: TimeRange) -> Self {
        Self {
            streams,
            ranges: vec![range],
            direction: Direction::Forward,
            limit: None,
            snapshot: Snapshot::Latest,
            batch_rows: BATCH_ROWS,
            values: None,
            probe: Probe::default(),
        }
    }
}

/// Statistics of some streams between cut points.
///
/// Each window counts the points that lie in it *and* in one of `ranges`. Windows without points are absent. Answers come
/// stream by stream in the order of `streams`, ascending by window.
#[derive(Clone, Debug)]
pub struct StatQuery {
    /// The streams.
    pub streams: Vec<StreamRead>,
    /// Ascending and disjoint; points outside count nowhere.
    pub ranges: Vec<TimeRange>,
    /// The windows.
    pub cuts: Cuts,
    /// At most so many windows of each stream.
    pub limit: Option<u64>,
    /// Which state.
    pub snapshot: Snapshot,
    /// Who counts what the read takes.
    pub probe: Probe,
}

impl StatQuery {
    /// The windows of `streams` in `range`, of the latest state.
    pub fn new(streams: Vec<StreamRead>, range: TimeRange, cuts: Cuts) -> Self {
        Self {
            streams,
            ranges: vec![range],
            cuts,
            limit: None,
            snapshot: Snapshot::Latest,
            probe: Probe::default(),
        }
    }
}

/// Many streams side by side, joined on time.
#[derive(Clone, Debug)]
pub struct MultiQuery {
    /// One column each.
    pub streams: Vec<StreamRead>,
    /// Which part of time.
    pub range: TimeRange,
    /// 0 joins on exact times. Otherwise nanoseconds of a grid that starts at the range's start, to whose nearest line values
    /// move, halves going forward.
    pub snap_period: u64,
    /// Which state.
    pub snapshot: Snapshot,
    /// Who counts what the read takes.
    pub probe: Probe,
}

impl MultiQuery {
    /// `streams` in `range`, of the latest state.
    pub fn new(streams: Vec<StreamRead>, range: TimeRange, snap_period: u64) -> Self {
        Self {
            streams,
            range,
            snap_period,
            snapshot: Snapshot::Latest,
            probe: Probe::default(),
        }
    }
}

/// Rows of many streams: ascending, distinct times; a column is null where its stream has no point.
///
/// Of several points of one stream at one time the last stored stands; of several snapped to one line the nearest, and of
/// equally near ones the earliest.
#[derive(Clone, Debug)]
pub struct MultiBatch {
    /// Times.
    pub times: ScalarBuffer<i64>,
    /// One column a stream, in the order of the query.
    pub columns: Vec<Float64Array>,
}

/// The nearest point to a time, of some streams.
#[derive(Clone, Debug)]
pub struct NearestQuery {
    /// The streams.
    pub streams: Vec<StreamRead>,
    /// From where.
    pub time: Timestamp,
    /// [`Direction::Forward`]: the first point at `time` or later. [`Direction::Backward`]: the last point before `time`.
    pub direction: Direction,
    /// Which state.
    pub snapshot: Snapshot,
    /// Who counts what the read takes.
    pub probe: Probe,
}

impl NearestQuery {
    /// The points of `streams` next to `time`, of the latest state.
    pub fn new(streams: Vec<StreamRead>, time: Timestamp, direction: Direction) -> Self {
        Self {
            streams,
            time,
            direction,
            snapshot: Snapshot::Latest,
            probe: Probe::default(),
        }
    }
}

/// Which parts of time may differ between two versions of a stream.
#[derive(Clone, Copy, Debug)]
pub struct ChangesQuery {
    /// Which stream.
    pub stream: StreamId,
    /// Changes after this version; 0 is from the beginning.
    pub from: Version,
    /// Changes up to and with this version; none is the latest.
    pub to: Option<Version>,
    /// Stop at nodes whose slots are 2^resolution ns wide or less: 0 to 63, 0 the finest.
    pub resolution: u8,
}

/// A part of time whose content may differ.
pub type ChangedRange = TimeRange;

/// The answer to a [`ChangesQuery`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// The version that `to` stood for.
    pub version: Version,
    /// Ascending, disjoint, not adjacent. May be more than changed, never less.
    pub ranges: Vec<ChangedRange>,
}

/// What becomes of a new point whose time is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MergePolicy {
    /// Keep everything.
    #[default]
    Never,
    /// Drop a new point that equals one stored or earlier in the batch, time and value.
    Equal,
    /// Drop a new point whose time is stored or earlier in the batch.
    Retain,
    /// The last new point of a time replaces all stored ones of that time.
    Replace,
}

impl MergePolicy {
    /// All of them, in the order of BTrDB's numbers.
    pub const ALL: [Self; 4] = [Self::Never, Self::Equal, Self::Retain, Self::Replace];

    /// BTrDB's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Equal => "equal",
            Self::Retain => "retain",
            Self::Replace => "replace",
        }
    }
}

impl std::str::FromStr for MergePolicy {
    type Err = crate::error::Error;

    fn from_str(text: &str) -> crate::error::Result<Self> {
        Self::ALL
            .into_iter()
            .find(|policy| policy.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| {
                crate::error::Error::invalid(format!(
                    "merge policy \"{text}\" is unknown: policies are never, equal, retain, replace"
                ))
                .with_code(crate::error::Code::InvalidParameter)
            })
    }
}

/// How an insert treats its points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InsertOptions {
    /// What becomes of taken times.
    pub merge: MergePolicy,
    /// Round values to nearest even so that so many low bits of the mantissa are zero: 0 to 52, 0 is off.
    pub rounding_bits: u8,
}

/// Points for one stream, in any order of time.
#[derive(Clone, Debug)]
pub struct Write {
    /// Which stream.
    pub stream: StreamId,
    /// Times.
    pub times: ScalarBuffer<i64>,
    /// Values, beside their times.
    pub values: ScalarBuffer<f64>,
}

/// Which streams a look-up wants: all conditions hold together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamFilter {
    /// In these collections.
    pub collection: CollectionMatch,
    /// With these tag values; none is any value.
    pub tags: Vec<(TagKey, Option<String>)>,
    /// With these annotation values; none is any value, or the key alone.
    pub annotations: Vec<(String, Option<String>)>,
}

impl StreamFilter {
    /// Every stream.
    pub fn all() -> Self {
        Self::collection(CollectionMatch::Any)
    }

    /// Every stream of some collections.
    pub fn collection(collection: CollectionMatch) -> Self {
        Self {
            collection,
            tags: Vec::new(),
            annotations: Vec::new(),
        }
    }

    /// The streams with this collection and name.
    pub fn path(collection: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            collection: CollectionMatch::Exact(collection.into()),
            tags: vec![(TagKey::Name, Some(name.into()))],
            annotations: Vec::new(),
        }
    }

    /// Whether `stream` is wanted.
    pub fn matches(&self, stream: &StreamDescriptor) -> bool {
        self.collection.matches(&stream.collection)
            && self.tags.iter().all(|(key, value)| {
                value
                    .as_deref()
                    .is_none_or(|value| stream.tags.get(*key) == value)
            })
            && self.annotations.iter().all(|(key, value)| {
                match (stream.annotations.get(key), value) {
                    (None, _) => false,
                    (Some(_), None) => true,
                    (Some(stored), Some(value)) => stored.as_ref() == Some(value),
                }
            })
    }
}

/// A change of tags and collection.
#[derive(Clone, Debug)]
pub struct TagUpdate {
    /// Which stream.
    pub stream: StreamId,
    /// Only if this is its property version; none is whatever it is.
    pub expected: Option<u64>,
    /// To this collection; none stays.
    pub collection: Option<String>,
    /// These tags; others stay.
    pub tags: Vec<(TagKey, String)>,
}

/// A change of annotations: first `changes`, then `removals`.
#[derive(Clone, Debug)]
pub struct AnnotationUpdate {
    /// Which stream.
    pub stream: StreamId,
    /// Only if this is its property version; none is whatever it is.
    pub expected: Option<u64>,
    /// Set these.
    pub changes: Annotations,
    /// Remove these; absent ones are no error.
    pub removals: Vec<String>,
}

/// A change of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubscriptionUpdate {
    /// Deliver what is inserted into these from now on.
    Add(Vec<StreamId>),
    /// No longer deliver these.
    Remove(Vec<StreamId>),
}
