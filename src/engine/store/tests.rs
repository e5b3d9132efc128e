#![allow(
    clippy::single_range_in_vec_init,
    reason = "one range is a list of ranges here"
)]

use std::collections::VecDeque;
use std::fs;

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::PutMode;
use object_store::{
    CopyOptions, Error as StoreError, GetOptions, GetResult, ListResult, MultipartUpload,
    ObjectMeta, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as StoreResult,
};
use parking_lot::Mutex;
use tokio::time::sleep;

use super::*;

/// What becomes of one put.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// It fails with nothing stored.
    Before,
    /// It is stored, and fails.
    After,
    /// It is stored, and reported as stored before: the client had retried it.
    OwnSuccess,
    /// HTTP 409: reported as there, with nothing stored.
    Conflict,
    /// It never answers, and is stored when the next put arrives.
    Late,
    Denied,
    /// It is stored over whatever is there.
    Overwrite,
    /// The same, and it is reported as refused.
    Replaced,
    NotImplemented,
}

/// Memory that treats each put as the next of `faults` says, and fails as many reads as told.
#[derive(Debug)]
struct Faulty {
    inner: InMemory,
    faults: Mutex<VecDeque<Fault>>,
    late: Mutex<Option<(Path, PutPayload)>>,
    failing_reads: Mutex<u32>,
    puts: Mutex<u32>,
}

fn faulty(faults: impl IntoIterator<Item = Fault>) -> Arc<Faulty> {
    Arc::new(Faulty {
        inner: InMemory::new(),
        faults: Mutex::new(faults.into_iter().collect()),
        late: Mutex::default(),
        failing_reads: Mutex::default(),
        puts: Mutex::default(),
    })
}

fn objects(store: &Arc<Faulty>) -> Objects {
    Objects::over(Arc::clone(store) as Arc<dyn ObjectStore>)
        .with_patience(Duration::from_millis(100))
}

fn broken() -> StoreError {
    StoreError::Generic {
        store: "Faulty",
        source: "connection reset".into(),
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        mut options: PutOptions,
    ) -> StoreResult<PutResult> {
        *self.puts.lock() += 1;
        let late = self.late.lock().take();
        if let Some((path, payload)) = late {
            self.inner
                .put_opts(&path, payload, PutMode::Create.into())
                .await?;
        }
        let source = || "injected".into();
        let location = path.to_string();
        let fault = self.faults.lock().pop_front();
        let Some(fault) = fault else {
            return self.inner.put_opts(path, payload, options).await;
        };
        match fault {
            Fault::Before => Err(broken()),
            Fault::Conflict => Err(StoreError::AlreadyExists {
                path: location,
                source: source(),
            }),
            Fault::Denied => Err(StoreError::PermissionDenied {
                path: location,
                source: source(),
            }),
            Fault::NotImplemented => Err(StoreError::NotImplemented {
                operation: "conditional put".into(),
                implementer: self.to_string(),
            }),
            Fault::After => {
                self.inner.put_opts(path, payload, options).await?;
                Err(broken())
            }
            Fault::OwnSuccess => {
                self.inner.put_opts(path, payload, options).await?;
                Err(StoreError::AlreadyExists {
                    path: location,
                    source: source(),
                })
            }
            Fault::Late => {
                *self.late.lock() = Some((path.clone(), payload));
                std::future::pending().await
            }
            Fault::Overwrite => {
                options.mode = PutMode::Overwrite;
                self.inner.put_opts(path, payload, options).await
            }
            Fault::Replaced => {
                options.mode = PutMode::Overwrite;
                self.inner.put_opts(path, payload, options).await?;
                Err(StoreError::AlreadyExists {
                    path: location,
                    source: source(),
                })
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> StoreResult<GetResult> {
        let failing = {
            let mut left = self.failing_reads.lock();
            let failing = *left > 0;
            *left = left.saturating_sub(1);
            failing
        };
        if failing {
            return Err(broken());
        }
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, StoreResult<Path>>,
    ) -> BoxStream<'static, StoreResult<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

const NAME: &str = "log/00000000000000000007";

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

async fn local(folder: &tempfile::TempDir) -> Objects {
    let path = folder.path().to_str().unwrap();
    Objects::open(path, Access::Write, true).await.unwrap()
}

/// Everything that must be the same in every kind of store.
async fn behaves(objects: &Objects) {
    objects.probe().await.unwrap();
    assert_eq!(objects.list("log", None).await.unwrap(), []);
    assert_eq!(
        objects.get(NAME).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    let absent = objects.get_ranges(NAME, &[0..1]).await.unwrap_err();
    assert_eq!(absent.kind(), ErrorKind::NotFound);

    for (name, content) in [
        ("log/3", "three"),
        ("log/1", "one"),
        ("log/2", "two"),
        ("data/1", "d"),
    ] {
        assert_eq!(
            objects.create(name, bytes(content)).await.unwrap(),
            Created::Now
        );
    }
    let again = objects.create("log/1", bytes("one")).await.unwrap();
    assert_eq!(again, Created::Now, "the same bytes are an earlier attempt");
    let other = objects.create("log/1", bytes("two")).await.unwrap();
    assert_eq!(other, Created::Taken(bytes("one")));
    assert_eq!(objects.get("log/1").await.unwrap(), bytes("one"));

    let parts = objects
        .get_ranges("log/3", &[3..5, 0..1, 1..4])
        .await
        .unwrap();
    assert_eq!(parts, [bytes("ee"), bytes("t"), bytes("hre")]);
    assert_eq!(
        objects.get_ranges("log/3", &[]).await.unwrap(),
        Vec::<Bytes>::new()
    );
    for ranges in [&[4..6][..], &[9..10], &[0..2, 4..9], &[0..1, 7..9]] {
        let error = objects.get_ranges("log/3", ranges).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{ranges:?}: {error:?}");
        let range = ranges.iter().find(|range| range.end > 5).unwrap();
        let (store, range) = (
            objects.to_string(),
            format!("{}..{}", range.start, range.end),
        );
        for evidence in ["log/3", &store, &range, "at 5"] {
            assert!(error.message().contains(evidence), "{evidence} in {error}");
        }
    }

    let names = |objects: Vec<Object>| {
        objects
            .into_iter()
            .map(|o| (o.name, o.bytes))
            .collect::<Vec<_>>()
    };
    let all = [
        ("log/1".into(), 3),
        ("log/2".into(), 3),
        ("log/3".into(), 5),
    ];
    assert_eq!(names(objects.list("log", None).await.unwrap()), all);
    assert_eq!(
        names(objects.list("log", Some("log/1")).await.unwrap()),
        all[1..]
    );
    assert_eq!(
        names(objects.list("log", Some("log/11")).await.unwrap()),
        all[1..]
    );
    assert_eq!(objects.list("", None).await.unwrap().len(), 4);

    let some = ["log/1", "log/absent", "log/3"].map(String::from).to_vec();
    objects.delete(some).await.unwrap();
    objects.delete(vec![]).await.unwrap();
    assert_eq!(names(objects.list("log", None).await.unwrap()), all[1..2]);
}

#[tokio::test]
async fn memory_behaves() {
    let objects = Objects::memory();
    behaves(&objects).await;
    assert_eq!(objects.to_string(), "memory:");
    assert!(!objects.is_shared());
}

#[tokio::test]
async fn a_given_store_behaves() {
    let objects = objects(&faulty([]));
    behaves(&objects).await;
    assert!(objects.is_shared());
}

#[tokio::test]
async fn a_directory_behaves() {
    let folder = tempfile::tempdir().unwrap();
    let objects = local(&folder).await;
    behaves(&objects).await;
    assert_eq!(
        objects.to_string(),
        fs::canonicalize(folder.path())
            .unwrap()
            .display()
            .to_string()
    );
    assert!(!objects.is_shared());
}

#[test]
fn a_bucket_shows_its_url_and_no_more() {
    let objects = Objects::bucket("b", "some/where").unwrap();
    assert_eq!(format!("{objects:?}"), "Objects(s3://b/some/where)");
    assert!(objects.is_shared());
}

#[tokio::test]
async fn a_directory_is_created_to_write_and_not_to_read() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("a/b");
    let url = format!("file://{}", inner.display());
    let missing = Objects::open(&url, Access::Read, true).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound, "{missing:?}");
    let writer = Objects::open(&url, Access::Write, true).await.unwrap();
    writer.create(NAME, bytes("x")).await.unwrap();
    let reader = Objects::open(&url, Access::Read, true).await.unwrap();
    assert_eq!(reader.get(NAME).await.unwrap(), bytes("x"));
}

#[tokio::test]
async fn a_file_in_the_way_is_invalid() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("beneath")] {
        for access in [Access::Read, Access::Write] {
            let error = Objects::open(path.to_str().unwrap(), access, true)
                .await
                .unwrap_err();
            assert_eq!(
                error.kind(),
                ErrorKind::Invalid,
                "{path:?} {access:?}: {error:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_second_writer_is_told_of_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let first = local(&folder).await;
    let error = Objects::open(path, Access::Write, true).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let holder = format!("process {}:", std::process::id());
    assert!(error.message().contains(&holder), "{error}");
    drop(first);
    local(&folder).await;
}

#[tokio::test]
async fn leftovers_of_interrupted_uploads_are_swept() {
    let folder = tempfile::tempdir().unwrap();
    let objects = local(&folder).await;
    objects.create("log/1", bytes("x")).await.unwrap();
    objects.create("data/1-1", bytes("x")).await.unwrap();
    drop(objects);
    let path = |name: &str| folder.path().join(name);
    let (staged, kept) = (["log/2#1", "log/1#12", "data/1-2#1"], ["log/2#", "log/2#a"]);
    for name in staged.iter().chain(&kept) {
        fs::write(path(name), "half").unwrap();
    }
    let read = Objects::open(folder.path().to_str().unwrap(), Access::Read, true)
        .await
        .unwrap();
    assert_eq!(read.list("log", None).await.unwrap().len(), 3);
    assert!(path(staged[0]).exists(), "a reader sweeps nothing");
    local(&folder).await;
    for name in staged {
        assert!(!path(name).exists(), "{name}");
    }
    for name in kept.iter().chain(&["log/1", "data/1-1"]) {
        assert!(path(name).exists(), "{name}");
    }
}

#[tokio::test]
async fn a_store_that_overwrites_is_refused() {
    let store = faulty([Fault::Overwrite, Fault::Overwrite]);
    let error = objects(&store).probe().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("Faulty"), "{error}");
    assert_eq!(
        objects(&store).list("", None).await.unwrap(),
        [],
        "nothing is left"
    );
}

#[tokio::test]
async fn a_store_that_overwrites_and_denies_it_is_refused() {
    let store = faulty([Fault::Overwrite, Fault::Replaced]);
    let error = objects(&store).probe().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
}

#[tokio::test]
async fn a_store_without_conditional_creates_is_refused() {
    for before in [vec![], vec![Fault::Overwrite]] {
        let store = faulty(before.into_iter().chain([Fault::NotImplemented]));
        let error = objects(&store).probe().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
        assert!(error.message().contains("overwrite each other"), "{error}");
    }
}

#[tokio::test]
async fn a_probe_sees_through_passing_trouble() {
    let faults = [
        Fault::Before,
        Fault::After,
        Fault::Before,
        Fault::Before,
        Fault::Overwrite,
    ];
    let error = objects(&faulty(faults)).probe().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
    objects(&faulty(faults[..4].iter().copied()))
        .probe()
        .await
        .unwrap();
}

#[tokio::test]
async fn every_ambiguous_put_is_resolved() {
    use Fault::{After, Before, Conflict, Denied, Late, OwnSuccess};
    for faults in [
        vec![Before],
        vec![After],
        vec![OwnSuccess],
        vec![Conflict],
        vec![Late],
        vec![Before, After],
        vec![Before, Conflict],
        vec![Late, Before],
        // A refusal settles nothing while an earlier attempt may land.
        vec![Before, Denied],
        vec![Late, Denied],
    ] {
        for failing_reads in [0, 1] {
            let store = faulty(faults.clone());
            *store.failing_reads.lock() = failing_reads;
            let created = objects(&store).create(NAME, bytes("mine")).await;
            assert_eq!(created.unwrap(), Created::Now, "{faults:?} {failing_reads}");
            let held = objects(&store).get(NAME).await.unwrap();
            assert_eq!(held, bytes("mine"), "{faults:?} {failing_reads}");
        }
    }
}

#[tokio::test]
async fn a_name_that_is_taken_stays_so_under_faults() {
    use Fault::{Before, Conflict, Denied, Late};
    for faults in [vec![], vec![Before], vec![Conflict], vec![Denied]] {
        let store = faulty([]);
        objects(&store).create(NAME, bytes("theirs")).await.unwrap();
        *store.faults.lock() = faults.into();
        let created = objects(&store).create(NAME, bytes("mine")).await.unwrap();
        assert_eq!(created, Created::Taken(bytes("theirs")));
    }
    // Ours never landed: theirs did, in between.
    let store = faulty([Late]);
    let objects = objects(&store);
    let (ours, ()) = tokio::join!(objects.create(NAME, bytes("mine")), async {
        sleep(Duration::from_millis(10)).await;
        store
            .inner
            .put(&NAME.into(), bytes("theirs").into())
            .await
            .unwrap();
    });
    assert_eq!(ours.unwrap(), Created::Taken(bytes("theirs")));
}

#[tokio::test]
async fn patience_ends_in_an_unknown_outcome_that_a_later_call_resolves() {
    let store = faulty([Fault::Before; 20]);
    let objects = objects(&store);
    let error = objects.create(NAME, bytes("mine")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let message = format!("the outcome of writing {NAME} to Faulty is unknown");
    assert_eq!(error.message(), message);
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("connection reset"), "{source}");
    let puts = *store.puts.lock();
    assert!((2..=4).contains(&puts), "{puts} attempts in 100 ms");
    store.faults.lock().clear();
    let created = objects.create(NAME, bytes("mine")).await.unwrap();
    assert_eq!(created, Created::Now);
}

#[tokio::test]
async fn a_refusal_ends_at_once_if_nothing_is_in_doubt() {
    let store = faulty([Fault::Denied]);
    let error = objects(&store)
        .create(NAME, bytes("mine"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!(*store.puts.lock(), 1);
    // Not being able to look is doubt.
    let store = faulty([Fault::Denied; 20]);
    *store.failing_reads.lock() = 20;
    let error = objects(&store)
        .create(NAME, bytes("mine"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn an_object_whose_entry_cannot_be_synced_is_not_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let directory = Directory::open(folder.path(), Access::Write, true).unwrap();
    let objects = Objects {
        store: faulty([Fault::After]),
        place: Place::Directory(Arc::new(directory)),
        patience: Patience::default(),
    };
    // The object is in memory, so there is no folder to sync.
    let error = objects.create(NAME, bytes("mine")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    fs::create_dir(folder.path().join("log")).unwrap();
    let created = objects.create(NAME, bytes("mine")).await.unwrap();
    assert_eq!(created, Created::Now);
}

#[tokio::test]
async fn reads_survive_passing_trouble_and_give_up_on_lasting() {
    let store = faulty([]);
    let objects = objects(&store);
    objects.create(NAME, bytes("mine")).await.unwrap();
    *store.failing_reads.lock() = 2;
    assert_eq!(objects.get(NAME).await.unwrap(), bytes("mine"));
    *store.failing_reads.lock() = 2;
    let parts = objects.get_ranges(NAME, &[0..1, 1..4]).await.unwrap();
    assert_eq!(parts, [bytes("m"), bytes("ine")]);
    *store.failing_reads.lock() = 100;
    let error = objects.get(NAME).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.message(), format!("cannot read {NAME} of Faulty"));
    *store.failing_reads.lock() = 100;
    let error = objects.get_ranges(NAME, &[0..9]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn names_that_are_none_are_invalid() {
    let objects = Objects::memory();
    for name in ["log//1", "../1"] {
        let error = objects.create(name, bytes("x")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{name}");
    }
}

/// The futures go to other threads.
#[test]
fn futures_are_send() {
    fn send(_: impl Send) {}
    let objects = Objects::memory();
    send(objects.probe());
    send(objects.create(NAME, Bytes::new()));
    send(objects.get(NAME));
    send(objects.get_ranges(NAME, &[]));
    send(objects.list("log", None));
    send(objects.delete(vec![]));
    send(Objects::open("memory:", Access::Read, false));
}
