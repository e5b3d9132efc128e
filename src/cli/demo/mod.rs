//! Demo data: an hour of synchrophasors from three made-up substations, the same at every run.
//!
//! It has what real recordings have and queries trip over: timestamps that jitter by some hundred nanoseconds, lost packets, an
//! outage, a unit that was commissioned half-way, angles that wrap, values no finer than the 32-bit floats that C37.118 carries,
//! and events that all sites see, each in its own way:
//!
//! | at | what | where |
//! | --- | --- | --- |
//! | 00:12:30 | voltage sag of phase A to 62 %, 150 ms | substation_a; 88 % at b |
//! | 00:17:00 | outage of the unit, two minutes | substation_b |
//! | 00:30:00 | first data of the unit | substation_c |
//! | 00:41:10 | loss of generation: frequency falls to 59.72 Hz and recovers | all, deepest at a |
//! | 00:48:00 | 0.4 Hz oscillation between areas, 90 s, damped | a and b against c |
//! | 00:55:20 | voltage sag of all phases to 71 %, 80 ms | substation_c |

use std::fmt;
use std::sync::Arc;

use arrow::buffer::ScalarBuffer;
use sha2::{Digest, Sha256};

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::model::time::Instant;
use crate::model::{
    Annotations, InsertOptions, StreamDescriptor, StreamFilter, StreamId, Tags, TimeRange, Write,
};

mod random;
mod signal;
mod site;

use signal::Channel;
use site::{SITES, Site};

/// Everything that was recorded lies in here.
pub const RANGE: TimeRange = TimeRange::new(START, START + 3600 * SECOND);

/// 2026-01-01T00:00:00Z.
const START: i64 = 1_767_225_600 * SECOND;

const SECOND: i64 = 1_000_000_000;

/// So many points of a stream are one write, and so one version: a stream has a history to look at.
const WRITE_POINTS: usize = 50_000;

/// Whether [`fill`] wrote anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// The store was empty, now it holds the demo data.
    Written(Summary),
    /// The store held all streams of the demo already and was left alone.
    Before,
    /// The store held other streams, or some of the demo only, and was left alone.
    NotEmpty,
}

/// What was written. Printed, it is one line for each unit and one for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many streams.
    pub streams: usize,
    /// How many points, of all streams together.
    pub points: usize,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for site in &SITES {
            let names: Vec<_> = site.channels.iter().map(|channel| channel.name()).collect();
            writeln!(
                f,
                "demo data: {} at {} Hz: {}",
                site.collection,
                site.rate_hz,
                names.join(", ")
            )?;
        }
        writeln!(
            f,
            "demo data: {} streams, {} points from {} to {}",
            self.streams,
            self.points,
            Instant(RANGE.start),
            Instant(RANGE.end)
        )
    }
}

/// Fills an empty store with the demo data; a store with streams is left alone.
///
/// # Errors
/// Whatever the backend answers.
pub async fn fill(backend: &dyn Backend) -> Result<Filled> {
    let found = backend.find(StreamFilter::all()).await?;
    if !found.is_empty() {
        let is_there = |id| found.iter().any(|stream| stream.id == id);
        let is_all_there = streams().iter().all(|stream| is_there(stream.id));
        return Ok(if is_all_there {
            Filled::Before
        } else {
            Filled::NotEmpty
        });
    }
    // Generation is all computing, so each site gets a thread of its own while earlier ones are written.
    let recordings: Vec<_> = (SITES.iter())
        .map(|site| tokio::task::spawn_blocking(|| Recording::of(site)))
        .collect();
    let mut summary = Summary::default();
    for recording in recordings {
        let recording = recording
            .await
            .map_err(|error| Error::internal("demo data cannot be made").with_source(error))?;
        recording.write(backend, &mut summary).await?;
    }
    Ok(Filled::Written(summary))
}

/// What one unit sent in the hour.
struct Recording {
    site: &'static Site,
    /// A frame carries all channels, so all of a unit's streams have these times.
    times: ScalarBuffer<i64>,
    columns: Vec<(Channel, ScalarBuffer<f64>)>,
}

impl Recording {
    fn of(site: &'static Site) -> Self {
        let frames = site.frames();
        let columns = (site.channels.iter())
            .map(|&channel| (channel, site.values(channel, &frames).into()))
            .collect();
        let times: Vec<i64> = frames.iter().map(|frame| frame.stamp).collect();
        Self {
            site,
            times: times.into(),
            columns,
        }
    }

    async fn write(self, backend: &dyn Backend, summary: &mut Summary) -> Result<()> {
        let mut ids = Vec::with_capacity(self.columns.len());
        for (channel, _) in &self.columns {
            let stream = descriptor(self.site, *channel);
            ids.push(stream.id);
            backend.create(stream).await?;
        }
        for start in (0..self.times.len()).step_by(WRITE_POINTS) {
            let count = WRITE_POINTS.min(self.times.len() - start);
            let writes = (ids.iter().zip(&self.columns))
                .map(|(&stream, (_, values))| Write {
                    stream,
                    times: self.times.slice(start, count),
                    values: values.slice(start, count),
                })
                .collect();
            let answers = backend.insert(writes, InsertOptions::default()).await;
            answers.into_iter().collect::<Result<Vec<_>>>()?;
        }
        summary.streams += self.columns.len();
        summary.points += self.columns.len() * self.times.len();
        Ok(())
    }
}

fn descriptor(site: &Site, channel: Channel) -> StreamDescriptor {
    let annotations = [
        ("nominal_voltage_kv", site.nominal_kv.to_string()),
        ("nominal_frequency_hz", "60".to_owned()),
        ("sample_rate_hz", site.rate_hz.to_string()),
        ("latitude", site.latitude.to_string()),
        ("longitude", site.longitude.to_string()),
        ("phase", channel.phase().to_owned()),
    ];
    let annotations: Annotations = (annotations.into_iter())
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| (key.to_owned(), Some(value)))
        .collect();
    StreamDescriptor {
        id: id(site.collection, channel.name()),
        collection: site.collection.to_owned(),
        tags: Tags {
            name: channel.name().to_owned(),
            unit: channel.unit().to_owned(),
            ingress: "demo".to_owned(),
            distiller: String::new(),
        },
        annotations,
        property_version: 1,
    }
}

/// A uuid (version 8) that depends on nothing but the path, so that bookmarks and examples keep working.
fn id(collection: &str, name: &str) -> StreamId {
    let hash = Sha256::digest(format!("btrdb-flight demo {collection}/{name}"));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    StreamId(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}

/// All demo streams, in the order in which they are made.
pub fn streams() -> Vec<Arc<StreamDescriptor>> {
    SITES
        .iter()
        .flat_map(|site| {
            site.channels
                .iter()
                .map(|&channel| Arc::new(descriptor(site, channel)))
        })
        .collect()
}

#[cfg(test)]
mod tests;
