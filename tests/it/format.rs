//! The bytes of a store: what `src/engine/FORMAT.md` says of them is what the engine writes, reads, and refuses.
//!
//! ```text
//! fixtures   a store of each format version, as files: opens, says what it said when it was written, and goes on
//! example    the document's hex dump is a store, and what the engine writes
//! damage     every byte of every object is covered: flipped, cut off or gone, it is told, and never a panic
//! ```
//!
//! A fixture is never written again once its format was released: it is what stores out there look like. Of a format that was
//! not, `BTRDB_FIXTURE=tests/fixtures/store-1 cargo test --test it format::write_the_fixture -- --ignored --exact` makes one.
//! With `BTRDB_DUMP` set, the comparison with the dump prints the objects that the engine writes in hex.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use btrdb_flight::backend::Backend;
use btrdb_flight::engine::{Engine, Settings};
use btrdb_flight::error::{Code, Error, ErrorKind};
use btrdb_flight::model::time::{MAX_POINT_TIME, MIN_TIME};
use btrdb_flight::model::{
    AnnotationUpdate, Annotations, Cuts, InsertOptions, MergePolicy, PointQuery, Snapshot, Stat,
    StatQuery, StreamDescriptor, StreamFilter, StreamId, StreamRead, TagKey, TagUpdate, Tags,
    TimeRange, Version, Write,
};
use futures::TryStreamExt;
use futures::future::join_all;
use tempfile::TempDir;
use uuid::Uuid;

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/store-1");

/// The folders of a store.
const FOLDERS: [&str; 3] = ["checkpoint", "data", "log"];

/// Bytes before the records of a log entry.
const ENTRY_HEADER_BYTES: usize = 48;

/// One point, as tests like to write it: time and value.
type Row = (i64, f64);

/// One call.
enum Step {
    Create(StreamDescriptor),
    SetTags(TagUpdate),
    SetAnnotations(AnnotationUpdate),
    /// Several writes in one call are one commit, and a version each.
    Insert(MergePolicy, Vec<(StreamId, Vec<Row>)>),
    Delete(StreamId, TimeRange),
    Obliterate(StreamId),
    Fold,
    Checkpoint,
    /// The writer ends, and another takes over.
    Reopen,
}

/// What a stream has been told: version 11 is after the first of these.
enum Mutation {
    Insert(MergePolicy, Vec<Row>),
    Delete(TimeRange),
}

/// What a story leaves behind, worked out by hand.
#[derive(Default)]
struct Expected {
    streams: BTreeMap<StreamId, (StreamDescriptor, Vec<Mutation>)>,
    burned: Vec<StreamId>,
}

impl Expected {
    fn of(steps: Vec<Step>) -> Self {
        let mut expected = Self::default();
        for step in steps {
            expected.take(step);
        }
        expected
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Create(stream) => drop(self.streams.insert(stream.id, (stream, Vec::new()))),
            Step::SetTags(update) => {
                let (stream, _) = self.stream(update.stream);
                stream.collection = update.collection.unwrap_or(stream.collection.clone());
                for (key, value) in update.tags {
                    stream.tags.set(key, value);
                }
                stream.property_version += 1;
            }
            Step::SetAnnotations(update) => {
                let (stream, _) = self.stream(update.stream);
                stream.annotations.extend(update.changes);
                for key in update.removals {
                    stream.annotations.remove(&key);
                }
                stream.property_version += 1;
            }
            Step::Insert(merge, writes) => {
                for (id, rows) in writes {
                    self.stream(id).1.push(Mutation::Insert(merge, rows));
                }
            }
            Step::Delete(id, range) => self.stream(id).1.push(Mutation::Delete(range)),
            Step::Obliterate(id) => {
                self.streams.remove(&id);
                self.burned.push(id);
            }
            Step::Fold | Step::Checkpoint | Step::Reopen => {}
        }
    }

    fn stream(&mut self, id: StreamId) -> &mut (StreamDescriptor, Vec<Mutation>) {
        self.streams.get_mut(&id).expect("the story knows it")
    }

    fn latest(&self, id: StreamId) -> u64 {
        Version::CREATED.0 + self.streams[&id].1.len() as u64
    }

    fn rows(&self, id: StreamId, version: u64) -> Vec<Row> {
        let mut rows = Vec::new();
        for mutation in &self.streams[&id].1[..(version - Version::CREATED.0) as usize] {
            match mutation {
                Mutation::Delete(range) => rows.retain(|&(time, _)| !range.contains(time)),
                Mutation::Insert(merge, new) => insert(&mut rows, *merge, new),
            }
        }
        rows
    }
}

/// The merge policies, one point at a time. Nothing here has equal points in one batch.
fn insert(rows: &mut Vec<Row>, merge: MergePolicy, new: &[Row]) {
    for &(time, value) in new {
        let from = rows.partition_point(|row| row.0 < time);
        let to = rows.partition_point(|row| row.0 <= time);
        let stored = &rows[from..to];
        let is_dropped = match merge {
            MergePolicy::Never | MergePolicy::Replace => false,
            MergePolicy::Equal => stored.iter().any(|row| row.1 == value),
            MergePolicy::Retain => !stored.is_empty(),
        };
        if merge == MergePolicy::Replace {
            rows.splice(from..to, [(time, value)]);
        } else if !is_dropped {
            rows.insert(to, (time, value));
        }
    }
}

/// Tells an engine the story. Nothing is folded or checkpointed but where the story says so.
async fn tell(location: &str, steps: Vec<Step>) -> Arc<Engine> {
    let settings = Settings {
        fold_points: usize::MAX,
        direct_points: 512,
        checkpoints_kept: 2,
        fsync: false,
        ..Settings::default()
    };
    let open = || Engine::open(location, settings.clone());
    let mut engine = open().await.unwrap();
    for step in steps {
        match step {
            Step::Create(stream) => engine.create(stream).await.unwrap(),
            Step::SetTags(update) => drop(engine.set_tags(update).await.unwrap()),
            Step::SetAnnotations(update) => drop(engine.set_annotations(update).await.unwrap()),
            Step::Insert(merge, writes) => {
                let writes = writes.into_iter().map(|(id, rows)| write(id, &rows));
                let options = InsertOptions {
                    merge,
                    ..InsertOptions::default()
                };
                for answer in engine.insert(writes.collect(), options).await {
                    answer.unwrap();
                }
            }
            Step::Delete(id, range) => drop(engine.delete(id, range).await.unwrap()),
            Step::Obliterate(id) => engine.obliterate(id).await.unwrap(),
            Step::Fold => engine.fold().await.unwrap(),
            Step::Checkpoint => drop(engine.checkpoint().await.unwrap()),
            Step::Reopen => {
                engine.close().await.unwrap();
                engine = open().await.unwrap();
            }
        }
    }
    engine
}

fn write(stream: StreamId, rows: &[Row]) -> Write {
    let (times, values): (Vec<i64>, Vec<f64>) = rows.iter().copied().unzip();
    Write {
        stream,
        times: times.into(),
        values: values.into(),
    }
}

/// The stream with this number, as stories have it.
fn stream(number: u128, name: &str) -> StreamDescriptor {
    let text = |text: &str| Some(text.to_owned());
    StreamDescriptor {
        id: id(number),
        collection: format!("fixture/{}", number % 3),
        tags: Tags {
            name: name.into(),
            unit: "V".into(),
            ingress: "story".into(),
            distiller: String::new(),
        },
        annotations: Annotations::from([
            ("location".into(), text("Zürich")),
            ("number".into(), text(&number.to_string())),
            ("spare".into(), None),
        ]),
        property_version: 1,
    }
}

fn id(number: u128) -> StreamId {
    StreamId(Uuid::from_u128(
        0xb7d8_0000_0000_4000_8000_0000_0000_0000 + number,
    ))
}

/// Numbers that are the same for ever: of generators that a crate brings, only the present version says so.
struct Numbers(u64);

impl Numbers {
    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

const START: i64 = 1_700_000_000_000_000_000;
const SECOND: i64 = 1_000_000_000;

/// One of everything that a store of version 1 can hold.
fn fixture_story() -> Vec<Step> {
    let [steady, late, bulk, gone, edges, empty, tail] = [1, 2, 3, 4, 5, 6, 7].map(id);
    let names = [
        (1, "steady"),
        (2, "late"),
        (3, "bulk"),
        (4, "gone"),
        (5, "edges"),
        (6, "empty"),
    ];
    let mut story: Vec<Step> = names
        .map(|(number, name)| Step::Create(stream(number, name)))
        .into();
    let never = MergePolicy::Never;
    let mut insert = |merge, id, rows| story.push(Step::Insert(merge, vec![(id, rows)]));

    // Bulk: a jittery clock at 120 Hz and decimals, into a tree at once.
    let mut numbers = Numbers(1);
    let mut sample = |at: i64| {
        let time = START + at * SECOND / 120 + numbers.below(600) as i64;
        (time, (600_000 + numbers.below(4000)) as f64 / 10_000.0)
    };
    let (first, second): (Vec<Row>, Vec<Row>) = (
        (0..2500).map(&mut sample).collect(),
        (2500..4000).map(&mut sample).collect(),
    );
    let replaced = first[1000..1020].iter().map(|&(time, _)| (time, 1.5));
    let (replaced, known): (Vec<Row>, Vec<Row>) = (replaced.collect(), second[7..9].to_vec());
    insert(never, bulk, first);
    insert(never, bulk, second);
    insert(
        never,
        bulk,
        vec![(START + 40 * SECOND, 61.0), (START + 41 * SECOND, 62.0)],
    );
    // What waits beside the tree is folded on the way of these.
    insert(MergePolicy::Replace, bulk, replaced);
    insert(
        MergePolicy::Retain,
        bulk,
        vec![known[0], (known[1].0, -1.0), (START + 5, 5.0)],
    );
    insert(
        MergePolicy::Equal,
        bulk,
        vec![known[0], (known[1].0, -1.0), (START + 6, 5.0)],
    );
    insert(never, bulk, vec![(START + 3 * SECOND, 7.0)]);
    // Now late points wait beside it.
    insert(
        MergePolicy::Replace,
        bulk,
        vec![(START + 3 * SECOND, 8.0), (START + 50 * SECOND, 9.0)],
    );
    story.push(Step::Delete(
        bulk,
        TimeRange::new(START + 10 * SECOND, START + 12 * SECOND),
    ));
    // Up to the end, so that the last time moves back; and nothing at all, which is a version too.
    story.push(Step::Delete(
        bulk,
        TimeRange::new(START + 30 * SECOND, START + 60 * SECOND),
    ));
    story.push(Step::Delete(bulk, TimeRange::new(0, 1)));

    // Small additive inserts, some of them late, some at one time.
    for round in 0..3 {
        for at in 0..40 {
            let time = START + (round * 40 + at) * SECOND;
            let back = if at % 7 == 3 { 90 * SECOND + 1 } else { 0 };
            let rows = vec![(time - back, at as f64), (time, 0.5 * round as f64)];
            story.push(Step::Insert(never, vec![(late, rows)]));
        }
        story.push(Step::Fold);
    }
    story.push(Step::Insert(
        never,
        vec![
            (gone, vec![(1, 1.0), (2, 2.0)]),
            (
                edges,
                vec![(MIN_TIME, f64::MAX), (MAX_POINT_TIME, f64::MIN)],
            ),
            (
                edges,
                vec![(-1, -0.0), (0, 0.0), (0, f64::MIN_POSITIVE / 8.0)],
            ),
        ],
    ));
    story.push(Step::Fold);
    story.push(Step::Obliterate(gone));

    // So many versions that their marks fill 64 blocks and an index.
    for round in 0..65 {
        let writes = (0..256).map(|at| {
            let time = START + (round * 256 + at) * SECOND / 50;
            (steady, vec![(time, 60.0)])
        });
        story.push(Step::Insert(never, writes.collect()));
        story.push(Step::Fold);
    }
    story.push(Step::Checkpoint);
    story.push(Step::Reopen);

    // Properties change; columns of every shape.
    story.push(Step::SetTags(TagUpdate {
        stream: empty,
        expected: Some(1),
        collection: Some("fixture/elsewhere".into()),
        tags: vec![(TagKey::Unit, "A".into())],
    }));
    story.push(Step::SetAnnotations(AnnotationUpdate {
        stream: empty,
        expected: None,
        changes: Annotations::from([("added".into(), Some("later".into()))]),
        removals: vec!["spare".into()],
    }));
    for (at, rows) in columns().into_iter().enumerate() {
        let codec = stream(10 + at as u128, &format!("codec {at}"));
        let rows = rows.into_iter().map(|(time, value)| (START + time, value));
        let insert = Step::Insert(never, vec![(codec.id, rows.collect())]);
        story.extend([Step::Create(codec), insert]);
    }
    story.push(Step::Insert(
        never,
        vec![
            (
                late,
                vec![(START - SECOND, 1.0), (START + 1000 * SECOND, 2.0)],
            ),
            (bulk, vec![(START + 31 * SECOND, 3.0)]),
        ],
    ));
    story.push(Step::Insert(
        never,
        vec![(late, vec![(START + 1001 * SECOND, 3.0)])],
    ));
    story.push(Step::Checkpoint);

    // The log behind the last checkpoint.
    story.push(Step::Create(stream(7, "tail")));
    for at in 0..5 {
        let rows = |value: f64| {
            vec![
                (START + at * SECOND, value),
                (START + at * SECOND + 7, -value),
            ]
        };
        story.push(Step::Insert(
            never,
            vec![
                (tail, rows(0.1)),
                (bulk, rows(1e300)),
                (late, rows(at as f64)),
            ],
        ));
    }
    story.push(Step::Delete(tail, TimeRange::new(START, START + SECOND)));
    // Marks and runs are written out, and live points of the checkpoint end up in trees.
    story.push(Step::Insert(
        never,
        vec![(steady, vec![(START + 400 * SECOND, 60.0)])],
    ));
    story.push(Step::Fold);
    story.push(Step::Create(stream(9, "gone, too")));
    story.push(Step::Obliterate(id(9)));
    story.push(Step::Insert(
        never,
        vec![(late, vec![(START, 0.25)]), (steady, vec![(START, 60.0)])],
    ));
    story.push(Step::Insert(
        never,
        vec![(tail, vec![(START + 9 * SECOND, 1.0)])],
    ));
    story
}

/// Times from 0 and values that take every codec of columns.
fn columns() -> Vec<Vec<Row>> {
    let mut numbers = Numbers(2);
    let mut noise = |end: u64| numbers.below(end) as i64;
    let clock = |at: i64| at * SECOND / 30;
    let single = |bits: i64| f64::from(f32::from_bits(0x4270_0000 + bits as u32));
    let double = |bits: i64| f64::from_bits(0x404e_0000_0000_0000 + bits as u64);
    vec![
        // On a line and constant; a clock with gaps, and singles.
        (0..600).map(|at| (clock(at), 0.25)).collect(),
        (0..600)
            .map(|at| (clock(at + at / 100 * 6), single(noise(99_999))))
            .collect(),
        // Jitter, and doubles of full depth; a drift, and a curve of fixed depth.
        (0..600)
            .map(|at| (clock(at) + noise(9999), double(noise(1 << 50))))
            .collect(),
        (0..600)
            .map(|at| {
                let curve = (at * at * at) as f64 / 3_000_000.0;
                (
                    clock(at) + at * at,
                    (curve * 2f64.powi(40)).floor() / 2f64.powi(40),
                )
            })
            .collect(),
        // A random walk of decimals with outliers and one value that is none.
        (0..600)
            .scan((0, 6000), |(time, level), at| {
                *time += 1 + noise(1 << 24);
                *level += noise(21) - 10;
                let value = match at {
                    100 => 0.1 + 0.2,
                    200 | 300 => 1e6,
                    _ => *level as f64 / 100.0,
                };
                Some((*time, value))
            })
            .collect(),
    ]
}

#[test]
#[ignore = "writes the fixture into the folder that BTRDB_FIXTURE names"]
fn write_the_fixture() {
    let Ok(folder) = std::env::var("BTRDB_FIXTURE") else {
        return;
    };
    run(async {
        for name in FOLDERS {
            let _ = fs::remove_dir_all(Path::new(&folder).join(name));
        }
        drop(tell(&folder, fixture_story()).await);
        // What belongs to a process, and not to the store.
        fs::remove_file(Path::new(&folder).join("LOCK")).unwrap();
        let _ = fs::remove_dir(Path::new(&folder).join("probe"));
    });
}

#[test]
fn a_store_of_version_1_opens_and_goes_on() {
    run(async {
        let (folder, location) = copy_of(Path::new(FIXTURE));
        let mut expected = Expected::of(fixture_story());
        let engine = Engine::open(&location, Settings::default()).await.unwrap();
        holds(&*engine, &expected).await;
        assert_whole(&engine, &expected).await;

        drop(engine);
        let more = || {
            [2, 3, 5, 6].map(|number| {
                let rows = vec![(START + 7, 7.0), (START + 5000 * SECOND, 8.0)];
                Step::Insert(MergePolicy::Never, vec![(id(number), rows)])
            })
        };
        let engine = tell(&location, more().into()).await;
        more().into_iter().for_each(|step| expected.take(step));
        holds(&*engine, &expected).await;
        engine.fold().await.unwrap();
        engine.checkpoint().await.unwrap();
        holds(&*engine, &expected).await;
        assert_whole(&engine, &expected).await;
        let burned = engine.create(stream(4, "again")).await;
        assert_eq!(burned.unwrap_err().code(), Some(Code::ReusedUuid));
        drop(folder);
    });
}

#[test]
fn a_store_of_version_1_can_be_looked_at_where_it_is() {
    run(async {
        let before = objects_of(Path::new(FIXTURE));
        let engine = Engine::inspect(FIXTURE, Settings::default()).await.unwrap();
        let expected = Expected::of(fixture_story());
        holds(&*engine, &expected).await;
        assert_whole(&engine, &expected).await;
        assert_eq!(objects_of(Path::new(FIXTURE)), before);
    });
}

/// Compares descriptors, and many versions of every stream.
async fn holds(engine: &dyn Backend, expected: &Expected) {
    let found = engine.find(StreamFilter::all()).await.unwrap();
    let mut found: Vec<StreamDescriptor> = found.iter().map(|one| one.as_ref().clone()).collect();
    found.sort_by_key(|stream| stream.id);
    let descriptors = expected.streams.values();
    assert_eq!(
        found,
        descriptors.map(|(one, _)| one.clone()).collect::<Vec<_>>()
    );
    for &id in &expected.burned {
        assert_eq!(
            engine.describe(&[id]).await.unwrap_err().code(),
            Some(Code::NoSuchStream)
        );
    }
    for &id in expected.streams.keys() {
        let latest = expected.latest(id);
        let versions = engine.versions(&[id], Snapshot::Latest).await.unwrap();
        assert_eq!(versions, [Version(latest)], "stream {id}");
        // All of them, or some from everywhere.
        let step = (latest - Version::CREATED.0).div_ceil(150).max(1) as usize;
        let some = (Version::CREATED.0..=latest).step_by(step);
        for version in some.chain([latest]) {
            holds_version(engine, id, version, &expected.rows(id, version)).await;
        }
        let beyond = points(engine, id, latest + 1).await.unwrap_err();
        assert_eq!(beyond.code(), Some(Code::VersionNotAvailable));
    }
}

async fn holds_version(engine: &dyn Backend, id: StreamId, version: u64, rows: &[Row]) {
    let what = format!("stream {id} at version {version}");
    let found = points(engine, id, version).await.expect(&what);
    let bits = |rows: &[Row]| -> Vec<(i64, u64)> {
        rows.iter().map(|row| (row.0, row.1.to_bits())).collect()
    };
    assert_eq!(bits(&found), bits(rows), "{what}");

    // Windows of half a minute, and all of it. (Sums of the largest double have no end to compare.)
    let cuts = [
        Cuts::whole(TimeRange::ALL),
        Cuts::Every {
            origin: 0,
            width: 30 * SECOND as u64,
        },
    ];
    for cuts in cuts {
        let mut windows: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
        for &(time, value) in rows.iter().filter(|row| row.0 > MIN_TIME) {
            let window = cuts.window_of(time).expect("cuts cover all of time");
            windows.entry(window.start).or_default().push(value);
        }
        let query = StatQuery::new(
            vec![read(id, version)],
            TimeRange::new(MIN_TIME + 1, TimeRange::ALL.end),
            cuts,
        );
        let batches: Vec<_> = engine.stats(query).try_collect().await.expect(&what);
        let found: Vec<(i64, Stat)> = batches
            .into_iter()
            .flat_map(|batch| batch.times.into_iter().zip(batch.stats))
            .collect();
        assert_eq!(found.len(), windows.len(), "{what}");
        for ((start, stat), (window, values)) in found.iter().zip(&windows) {
            assert_eq!(
                (*start, stat.count),
                (*window, values.len() as u64),
                "{what}"
            );
            let wanted = Stat::of(values);
            let exact = |stat: &Stat| (stat.min.to_bits(), stat.max.to_bits());
            assert_eq!(exact(stat), exact(&wanted), "{what} from {start}");
            let scale = wanted.min.abs().max(wanted.max.abs());
            assert!(
                (stat.mean / scale - wanted.mean / scale).abs() <= 1e-12 || scale == 0.0,
                "{what} from {start}: {} is not {}",
                stat.mean,
                wanted.mean
            );
        }
    }
}

async fn points(engine: &dyn Backend, id: StreamId, version: u64) -> Result<Vec<Row>, Error> {
    let query = PointQuery::new(vec![read(id, version)], TimeRange::ALL);
    let batches: Vec<_> = engine.points(query).try_collect().await?;
    let rows = batches.iter().flat_map(|batch| {
        let times = batch.times.iter().copied();
        times.zip(batch.values.iter().copied())
    });
    Ok(rows.collect())
}

fn read(id: StreamId, version: u64) -> StreamRead {
    StreamRead {
        id,
        version: Some(Version(version)),
    }
}

async fn assert_whole(engine: &Engine, expected: &Expected) {
    let report = engine.check().await.unwrap();
    assert_eq!(
        (report.problems.as_slice(), report.more_problems),
        (&[][..], 0)
    );
    assert_eq!(report.streams, expected.streams.len() as u64);
    assert_eq!(report.orphans, 0);
}

/// A stream, three points, a deletion, a point more, a checkpoint: what FORMAT.md shows byte by byte.
fn example_story() -> Vec<Step> {
    let example = StreamDescriptor {
        id: StreamId(Uuid::from_u128(0x6c0f_bd1f_8a5f_4a0d_9a2e_3a1f_6c2b_7d11)),
        collection: "grid".into(),
        tags: Tags {
            name: "volts".into(),
            unit: "V".into(),
            ..Tags::default()
        },
        annotations: Annotations::from([("site".into(), Some("A".into()))]),
        property_version: 1,
    };
    let id = example.id;
    let insert = |rows| Step::Insert(MergePolicy::Never, vec![(id, rows)]);
    vec![
        Step::Create(example),
        insert(vec![
            (START, 60.01),
            (START + SECOND, 60.02),
            (START + 2 * SECOND, 60.0),
        ]),
        Step::Delete(id, TimeRange::new(START + SECOND, START + SECOND + 1)),
        insert(vec![(START + 3 * SECOND, 59.99)]),
        Step::Checkpoint,
        Step::Reopen,
    ]
}

/// The objects of the document's example. Their lines read `offset  hex bytes  meaning`, under a line with the object's name.
fn dumped() -> BTreeMap<String, Vec<u8>> {
    let document = include_str!("../../src/engine/FORMAT.md");
    let (_, example) = document
        .split_once("## A worked example")
        .expect("there is an example");
    let mut objects: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut object = None;
    for line in example.lines() {
        if FOLDERS
            .iter()
            .any(|folder| line.starts_with(&format!("{folder}/")))
        {
            let name = line.split_whitespace().next().unwrap_or_default();
            object = Some(objects.entry(name.to_owned()).or_default());
            continue;
        }
        let mut parts = line.splitn(3, "  ");
        let (Some(offset), Some(bytes), Some(object)) =
            (parts.next(), parts.next(), object.as_mut())
        else {
            continue;
        };
        let Ok(offset) = usize::from_str_radix(offset, 16) else {
            continue;
        };
        assert_eq!(offset, object.len(), "{line}");
        let bytes = bytes.split(' ').map(|byte| u8::from_str_radix(byte, 16));
        object.extend(bytes.collect::<Result<Vec<u8>, _>>().expect(line));
    }
    objects
}

#[test]
fn the_dump_in_the_document_is_a_store() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in dumped() {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let location = folder.path().to_str().unwrap();
        let expected = Expected::of(example_story());
        let engine = Engine::inspect(location, Settings::default())
            .await
            .unwrap();
        holds(&*engine, &expected).await;
        assert_whole(&engine, &expected).await;
        let engine = Engine::open(location, Settings::default()).await.unwrap();
        engine.fold().await.unwrap();
        holds(&*engine, &expected).await;
        assert_whole(&engine, &expected).await;
    });
}

#[test]
fn the_dump_in_the_document_is_what_the_engine_writes() {
    let written = run(async {
        let folder = tempfile::tempdir().unwrap();
        drop(tell(folder.path().to_str().unwrap(), example_story()).await);
        objects_of(folder.path())
    });
    if std::env::var("BTRDB_DUMP").is_ok() {
        for (name, bytes) in &written {
            println!(
                "{name} {}",
                bytes
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect::<String>()
            );
        }
    }
    let dumped = dumped();
    assert_eq!(
        written.keys().collect::<Vec<_>>(),
        dumped.keys().collect::<Vec<_>>()
    );
    for (name, bytes) in &written {
        let (mut bytes, mut dumped) = (bytes.clone(), dumped[name].clone());
        if name.starts_with("log/") {
            // Who wrote it and when, and so the checksum, differ.
            for bytes in [&mut bytes, &mut dumped] {
                bytes[24..ENTRY_HEADER_BYTES].fill(0);
                let end = bytes.len() - 4;
                bytes.truncate(end);
            }
        }
        assert!(bytes == dumped, "{name}:\n{bytes:02x?}\nnot\n{dumped:02x?}");
    }
}

/// A small store of two streams, whose trees lie in segments of their own.
fn damage_story() -> Vec<Step> {
    let rows = |of: i64| -> Vec<Row> {
        (0..520)
            .map(|at| (START + at * 7 * SECOND, (of * at % 97) as f64))
            .collect()
    };
    let insert = |number, rows| Step::Insert(MergePolicy::Never, vec![(id(number), rows)]);
    vec![
        Step::Create(stream(1, "one")),
        Step::Create(stream(2, "two")),
        insert(1, rows(5)),
        insert(2, rows(11)),
        Step::Checkpoint,
        insert(1, vec![(START + 3, 1.0)]),
        insert(1, vec![(START + 5, 2.0)]),
        Step::Fold,
        insert(2, vec![(START - 3, 1.0)]),
        Step::Checkpoint,
        insert(1, vec![(START + 9999 * SECOND, 3.0)]),
        Step::Delete(id(2), TimeRange::new(START, START + 60 * SECOND)),
    ]
}

/// What became of a store with damage.
#[derive(Debug)]
struct Diagnosis {
    /// Why it does not open.
    refusal: Option<Error>,
    /// Why some version of a stream cannot be read, or is not what it was.
    unreadable: BTreeMap<StreamId, Error>,
    problems: Vec<String>,
}

/// Opens a store, reads every version of every stream, and checks it. What is read is what was written.
async fn diagnose(location: &str, expected: &Expected) -> Diagnosis {
    let mut diagnosis = Diagnosis {
        refusal: None,
        unreadable: BTreeMap::new(),
        problems: Vec::new(),
    };
    let engine = match Engine::inspect(location, Settings::default()).await {
        Ok(engine) => engine,
        Err(refusal) => {
            diagnosis.refusal = Some(refusal);
            return diagnosis;
        }
    };
    for &id in expected.streams.keys() {
        for version in Version::CREATED.0..=expected.latest(id) {
            match points(&*engine, id, version).await {
                Ok(rows) => assert_eq!(rows, expected.rows(id, version), "{id} at {version}"),
                Err(error) => drop(diagnosis.unreadable.insert(id, error)),
            }
        }
    }
    diagnosis.problems = engine.check().await.unwrap().problems;
    diagnosis
}

/// Whether the damage was told of, by the name of its object.
fn is_told(diagnosis: &Diagnosis, object: &str) -> bool {
    if let Some(refusal) = &diagnosis.refusal {
        assert_eq!(refusal.kind(), ErrorKind::Corrupt, "{refusal:?}");
        return refusal.message().contains(object);
    }
    for (id, error) in &diagnosis.unreadable {
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
        let message = error.message();
        assert!(
            message.contains(object) && message.contains(&id.to_string()),
            "{message}"
        );
    }
    diagnosis
        .problems
        .iter()
        .any(|problem| problem.contains(object))
}

#[test]
fn every_byte_of_every_object_is_covered() {
    run(async {
        let (store, expected, objects) = damage_store().await;
        let each = objects.iter().map(async |(name, bytes)| {
            let (folder, location) = copy_of(store.path());
            let mut unreadable = 0;
            let mut numbers = Numbers(crc32c::crc32c(name.as_bytes()).into());
            let ends = [0, 7, 8, bytes.len() - 21, bytes.len() - 5, bytes.len() - 1];
            let anywhere = (0..24).map(|_| numbers.below(bytes.len() as u64) as usize);
            for at in anywhere.collect::<Vec<_>>().into_iter().chain(ends) {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << (at % 8);
                fs::write(folder.path().join(name), damaged).unwrap();
                let diagnosis = diagnose(&location, &expected).await;
                assert!(is_told(&diagnosis, name), "{name} at {at}: {diagnosis:?}");
                unreadable += diagnosis.unreadable.len();
                // A block is one stream's.
                assert!(
                    diagnosis.unreadable.len() <= 1,
                    "{name} at {at}: {diagnosis:?}"
                );
                if name.starts_with("data/") {
                    assert!(diagnosis.refusal.is_none(), "{name} at {at}: {diagnosis:?}");
                }
            }
            unreadable
        });
        let unreadable: usize = join_all(each).await.into_iter().sum();
        assert!(unreadable > 20, "{unreadable} reads met damage");
    });
}

#[test]
fn an_object_cut_short_is_told() {
    run(async {
        let (store, expected, objects) = damage_store().await;
        let each = objects.iter().map(async |(name, bytes)| {
            let (folder, location) = copy_of(store.path());
            for length in [0, 3, 8, bytes.len() / 2, bytes.len() - 1] {
                fs::write(folder.path().join(name), &bytes[..length]).unwrap();
                let diagnosis = diagnose(&location, &expected).await;
                assert!(
                    is_told(&diagnosis, name),
                    "{name} to {length}: {diagnosis:?}"
                );
            }
        });
        join_all(each).await;
    });
}

#[test]
fn an_object_that_is_gone_is_told_where_it_is_needed() {
    run(async {
        let (folder, expected, objects) = damage_store().await;
        let location = folder.path().to_str().unwrap();
        let last = |folder: &str| {
            let of_folder = objects.keys().filter(|name| name.starts_with(folder));
            of_folder.max().unwrap().clone()
        };
        let (last_entry, last_checkpoint) = (last("log/"), last("checkpoint/"));
        let covered = last_checkpoint.replace("checkpoint/", "log/");
        for (name, bytes) in &objects {
            fs::remove_file(folder.path().join(name)).unwrap();
            if *name == last_entry {
                // Nothing says that there ever was one: the store is as it was a commit ago.
                let engine = Engine::inspect(location, Settings::default())
                    .await
                    .unwrap();
                let versions = engine.versions(&[id(2)], Snapshot::Latest).await.unwrap();
                assert_eq!(versions, [Version(expected.latest(id(2)) - 1)]);
            } else {
                let diagnosis = diagnose(location, &expected).await;
                // What a later checkpoint says too is a spare, and so is an earlier checkpoint.
                let is_spare =
                    name.starts_with("checkpoint/") || *name <= covered && name.starts_with("log/");
                assert!(
                    is_told(&diagnosis, name) != is_spare,
                    "{name}: {diagnosis:?}"
                );
                if is_spare {
                    assert!(diagnosis.refusal.is_none() && diagnosis.unreadable.is_empty());
                }
            }
            fs::write(folder.path().join(name), bytes).unwrap();
        }
    });
}

#[test]
fn what_is_not_of_this_format_is_refused() {
    run(async {
        let (folder, expected, objects) = damage_store().await;
        let location = folder.path().to_str().unwrap();
        for (name, bytes) in &objects {
            let mut later = bytes.clone();
            later[7] = b'2';
            reseal(&mut later);
            fs::write(folder.path().join(name), &later).unwrap();
            let diagnosis = diagnose(location, &expected).await;
            assert!(is_told(&diagnosis, name), "{name}: {diagnosis:?}");
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        let (name, bytes) = objects
            .iter()
            .rev()
            .find(|(name, _)| name.starts_with("log/"))
            .unwrap();
        let mut unknown = bytes.clone();
        unknown.insert(bytes.len() - 4, 0x7f);
        reseal(&mut unknown);
        fs::write(folder.path().join(name), &unknown).unwrap();
        let diagnosis = diagnose(location, &expected).await;
        assert!(
            diagnosis.refusal.is_some() && is_told(&diagnosis, name),
            "{diagnosis:?}"
        );
    });
}

/// Checksums find accidents. What somebody has made on purpose, or a bug has, may be refused or read as what it says, but
/// brings nothing down.
#[test]
fn bytes_with_right_checksums_do_not_panic() {
    let (store, _, objects) = run(damage_store());
    let mut numbers =
        Numbers(std::env::var("BTRDB_TEST_SEED").map_or(4, |seed| seed.parse().unwrap()));
    let rounds = std::env::var("BTRDB_TEST_ROUNDS").map_or(12, |rounds| rounds.parse().unwrap());
    for (name, bytes) in &objects {
        let sealed = if name.starts_with("data/") {
            blocks_of(bytes)
        } else {
            std::iter::once(0..bytes.len()).collect()
        };
        for _ in 0..rounds {
            let part = sealed[numbers.below(sealed.len() as u64) as usize].clone();
            let mut changed = bytes.clone();
            let mut what = Vec::new();
            for _ in 0..=numbers.below(3) {
                let at = part.start + numbers.below(part.len() as u64 - 4) as usize;
                changed[at] = match numbers.below(4) {
                    0 => 0,
                    1 => 0xff,
                    2 => changed[at].wrapping_add(1),
                    _ => numbers.next() as u8,
                };
                what.push((at, changed[at]));
            }
            reseal(&mut changed[part]);
            let (folder, location) = copy_of(store.path());
            fs::write(folder.path().join(name), changed).unwrap();
            let used = std::panic::catch_unwind(|| run(use_all(&location)));
            assert!(used.is_ok(), "{name} with {what:?}");
        }
    }
}

/// Where the blocks of a segment lie, told by their checksums alone.
fn blocks_of(segment: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut blocks = Vec::new();
    let mut start = 8;
    while start < segment.len() {
        let is_end = |end: &usize| {
            let sum = crc32c::crc32c(&segment[start..end - 4]);
            segment[end - 4..*end] == sum.to_le_bytes()
        };
        let end = (start + 4..=segment.len())
            .find(is_end)
            .expect("blocks fill the segment");
        blocks.push(start..end);
        start = end;
    }
    blocks
}

/// Does what can be done with a store, whatever it answers.
async fn use_all(location: &str) {
    if let Ok(engine) = Engine::inspect(location, Settings::default()).await {
        let _ = engine.check().await;
        let _ = engine.usage().await;
        for id in [id(1), id(2)] {
            for version in 9..20 {
                let _ = points(&*engine, id, version).await;
            }
            let query = StatQuery {
                limit: Some(1000),
                ..StatQuery::new(
                    vec![StreamRead::latest(id)],
                    TimeRange::ALL,
                    Cuts::Every {
                        origin: 0,
                        width: 77 * SECOND as u64,
                    },
                )
            };
            let _ = engine.stats(query).try_collect::<Vec<_>>().await;
        }
    }
    let settings = Settings {
        fsync: false,
        ..Settings::default()
    };
    if let Ok(engine) = Engine::open(location, settings).await {
        for id in [id(1), id(2)] {
            let rows = [(START + SECOND, 1.0)];
            let _ = engine
                .insert(vec![write(id, &rows)], InsertOptions::default())
                .await;
            let _ = engine
                .delete(id, TimeRange::new(START, START + 30 * SECOND))
                .await;
            let _ = engine
                .insert(vec![write(id, &rows)], InsertOptions::default())
                .await;
        }
        let _ = engine.fold().await;
        let _ = engine.checkpoint().await;
        let _ = engine.check().await;
    }
}

#[test]
fn entries_of_an_older_epoch_behind_a_newer_one_are_void() {
    run(async {
        let (folder, location) = copy_of(Path::new(FIXTURE));
        let objects = objects_of(folder.path());
        let (name, bytes) = objects
            .iter()
            .rfind(|(name, _)| name.starts_with("log/"))
            .unwrap();
        let number = u64::from_le_bytes(bytes[8..16].try_into().unwrap()) + 1;
        assert_eq!(name, &format!("log/{:020}", number - 1));
        // By the first writer, which lost the store to the second; nobody looks at what it says.
        let mut void = bytes[..ENTRY_HEADER_BYTES].to_vec();
        void[8..16].copy_from_slice(&number.to_le_bytes());
        void[16..24].copy_from_slice(&1_u64.to_le_bytes());
        void.extend([0x7f, 0, 0, 0, 0]);
        reseal(&mut void);
        fs::write(folder.path().join(format!("log/{number:020}")), void).unwrap();
        let engine = Engine::open(&location, Settings::default()).await.unwrap();
        holds(&*engine, &Expected::of(fixture_story())).await;
        drop(engine);
        // Its number is used up.
        let taken = folder.path().join(format!("log/{:020}", number + 1));
        assert_eq!(fs::read(taken).unwrap()[16..24], 3_u64.to_le_bytes());
    });
}

/// Makes the checksum at the end of an object right.
fn reseal(bytes: &mut [u8]) {
    let end = bytes.len() - 4;
    let sum = crc32c::crc32c(&bytes[..end]);
    bytes[end..].copy_from_slice(&sum.to_le_bytes());
}

async fn damage_store() -> (TempDir, Expected, BTreeMap<String, Vec<u8>>) {
    let folder = tempfile::tempdir().unwrap();
    drop(tell(folder.path().to_str().unwrap(), damage_story()).await);
    let objects = objects_of(folder.path());
    (folder, Expected::of(damage_story()), objects)
}

/// Every object of a store, by its name.
fn objects_of(store: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = |folder: &'static str| -> Vec<PathBuf> {
        let entries = fs::read_dir(store.join(folder)).expect(folder);
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    let files = FOLDERS.into_iter().flat_map(files);
    files
        .map(|path| {
            let name = path.strip_prefix(store).unwrap().to_str().unwrap();
            (name.replace('\\', "/"), fs::read(&path).unwrap())
        })
        .collect()
}

fn copy_of(store: &Path) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in objects_of(store) {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let location = folder.path().to_str().unwrap().to_owned();
    (folder, location)
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let patience = Duration::from_secs(300);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        tokio::time::timeout(patience, test)
            .await
            .expect("the test does not hang")
    })
}
