//! Plain values: time, points, statistics, windows, streams, versions, and requests about them.
//!
//! Data with arithmetic. Nothing here does I/O, awaits, or knows a protocol or a storage format.

pub mod point;
pub mod probe;
pub mod query;
pub mod stat;
pub mod stream;
pub mod time;
pub mod value;
pub mod window;

pub use point::{Point, PointBatch, StatBatch};
pub use probe::{Probe, Taken};
pub use query::{
    AnnotationUpdate, ChangedRange, Changes, ChangesQuery, Direction, InsertOptions, MergePolicy,
    MultiBatch, MultiQuery, NearestQuery, PointQuery, Snapshot, StatQuery, StreamFilter,
    StreamRead, SubscriptionUpdate, TagUpdate, Write,
};
pub use stat::Stat;
pub use stream::{
    Annotations, CollectionMatch, MetadataUsage, StreamDescriptor, StreamId, TagKey, Tags, Version,
};
pub use time::{TimeRange, Timestamp};
pub use value::ValueBounds;
pub use window::{Cuts, PointWidth};
