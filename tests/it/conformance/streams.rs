//! Streams and what is said about them: creation, look-up, collections, tags, annotations, property versions.

use btrdb_flight::error::Code;
use btrdb_flight::model::{
    AnnotationUpdate, Annotations, CollectionMatch, StreamDescriptor, StreamFilter, StreamId,
    TagKey, TagUpdate, Tags, TimeRange, Version,
};
use tokio::task::JoinSet;

use super::{Subject, assert_refused, descriptor, fresh_id};

checks! {
    a_new_stream_is_what_was_asked_for,
    collections_take_1_to_256_characters,
    tag_values_take_0_to_255_characters,
    annotation_keys_take_1_to_255_characters,
    annotation_values_take_0_to_255_characters,
    a_live_uuid_is_refused_in_exact_words,
    an_obliterated_uuid_is_burned,
    the_same_collection_and_tags_are_refused,
    one_different_tag_makes_another_stream,
    refusals_of_create_have_an_order,
    a_refused_stream_leaves_no_trace,
    find_by_collection,
    find_by_tags,
    find_by_annotations,
    find_wants_all_conditions_together,
    find_answers_by_collection_name_and_uuid,
    describe_keeps_the_order_asked,
    collections_are_distinct_and_ascending,
    collections_vanish_with_their_last_stream,
    collections_refuse_impossible_prefixes,
    metadata_usage_counts_annotation_keys,
    tags_not_named_stay,
    streams_move_between_collections,
    a_stream_may_be_renamed_to_itself,
    a_name_left_behind_is_free,
    refusals_of_set_tags_have_an_order,
    annotations_are_changed_then_removed,
    annotations_follow_the_documented_sequence,
    refusals_of_set_annotations_have_an_order,
    empty_updates_count_too,
    data_and_properties_have_separate_versions,
    of_equal_expectations_one_succeeds,
    of_equal_names_created_at_once_one_succeeds,
    of_equal_uuids_created_at_once_one_succeeds,
    names_are_free_again_right_after_obliterate,
}

fn tag(key: TagKey, value: &str) -> (TagKey, String) {
    (key, value.to_owned())
}

fn annotations(pairs: &[(&str, Option<&str>)]) -> Annotations {
    let owned = |(key, value): &(&str, Option<&str>)| ((*key).to_owned(), value.map(str::to_owned));
    pairs.iter().map(owned).collect()
}

fn retag(stream: StreamId, tags: &[(TagKey, &str)]) -> TagUpdate {
    TagUpdate {
        stream,
        expected: None,
        collection: None,
        tags: tags.iter().map(|&(key, value)| tag(key, value)).collect(),
    }
}

fn annotate(
    stream: StreamId,
    changes: &[(&str, Option<&str>)],
    removals: &[&str],
) -> AnnotationUpdate {
    AnnotationUpdate {
        stream,
        expected: None,
        changes: annotations(changes),
        removals: removals.iter().map(|&key| key.to_owned()).collect(),
    }
}

async fn names(db: &Subject, filter: StreamFilter) -> Vec<String> {
    let found = db.find(filter).await.expect("found");
    found.iter().map(|stream| stream.path()).collect()
}

async fn a_new_stream_is_what_was_asked_for(db: Subject) {
    let asked = StreamDescriptor {
        id: fresh_id(),
        collection: "/odd//path/[x]-!/".to_owned(),
        tags: Tags {
            name: "L1 mag/ü".to_owned(),
            unit: "volts".to_owned(),
            ingress: "gepDirect".to_owned(),
            distiller: "identity".to_owned(),
        },
        annotations: annotations(&[
            ("EventId", Some("17")),
            ("empty", Some("")),
            ("null", None),
            ("json", Some("{\"a\": [1]}")),
        ]),
        property_version: 77,
    };
    db.create(asked.clone()).await.expect("created");
    let expected = StreamDescriptor {
        property_version: 1,
        ..asked
    };
    assert_eq!(db.descriptor(expected.id).await, expected);
    assert_eq!(db.version(expected.id).await, Version(10));
    assert!(db.read(expected.id).await.is_empty());
}

async fn collections_take_1_to_256_characters(db: Subject) {
    for collection in ["", "a\0b", &"x".repeat(257), &"é".repeat(257)] {
        let mut stream = descriptor("c/name");
        stream.collection = collection.to_owned();
        let what = format!("{collection:?}");
        assert_refused(db.create(stream).await, Code::InvalidCollection, &what);
    }
    for collection in ["x", "/", " ", "a/", "ends/with/", &"é".repeat(256)] {
        let mut stream = descriptor("c/name");
        stream.collection = collection.to_owned();
        db.create(stream).await.expect("an ordinary collection");
    }
}

async fn tag_values_take_0_to_255_characters(db: Subject) {
    for key in TagKey::ALL {
        for value in ["a\0b", &"x".repeat(256)] {
            let mut stream = descriptor("c/name");
            stream.tags.set(key, value.to_owned());
            let what = format!("{key:?}");
            assert_refused(db.create(stream).await, Code::InvalidTagValue, &what);
        }
        let mut stream = descriptor("c/name");
        stream.tags.set(key, "é".repeat(255));
        db.create(stream).await.expect("255 characters");
    }
    let mut nameless = descriptor("c/");
    nameless.tags = Tags::default();
    db.create(nameless).await.expect("no tag is set");
}

async fn annotation_keys_take_1_to_255_characters(db: Subject) {
    for key in ["", "a\0b", &"x".repeat(256)] {
        let mut stream = descriptor("c/name");
        stream.annotations = annotations(&[(key, None)]);
        assert_refused(db.create(stream).await, Code::InvalidTagKey, key);
    }
    let mut stream = descriptor("c/name");
    stream.annotations = annotations(&[(&"é".repeat(255), None), ("with space", None)]);
    db.create(stream).await.expect("255 characters");
}

async fn annotation_values_take_0_to_255_characters(db: Subject) {
    for value in ["a\0b", &"x".repeat(256)] {
        let mut stream = descriptor("c/name");
        stream.annotations = annotations(&[("key", Some(value))]);
        assert_refused(db.create(stream).await, Code::InvalidTagValue, value);
    }
    let mut stream = descriptor("c/name");
    stream.annotations = annotations(&[("long", Some(&"é".repeat(255))), ("short", Some(""))]);
    db.create(stream).await.expect("255 characters");
}

async fn a_live_uuid_is_refused_in_exact_words(db: Subject) {
    let id: StreamId = "0A1B2C3D-4E5F-4061-8273-8495A6B7C8D9"
        .parse()
        .expect("a uuid");
    let stream = StreamDescriptor {
        id,
        ..descriptor("c/first")
    };
    db.create(stream).await.expect("created");
    for path in ["c/first", "other/name"] {
        let again = StreamDescriptor {
            id,
            ..descriptor(path)
        };
        let error = db.create(again).await.expect_err("the uuid lives");
        assert_eq!(
            error.message(),
            "a stream already exists with uuid 0a1b2c3d-4e5f-4061-8273-8495a6b7c8d9"
        );
        assert_refused(Err::<(), _>(error), Code::SameStream, path);
    }
}

async fn an_obliterated_uuid_is_burned(db: Subject) {
    let id = db.stream("c/name").await;
    db.obliterate(id).await.expect("obliterated");
    for path in ["c/name", "d/other"] {
        let again = StreamDescriptor {
            id,
            ..descriptor(path)
        };
        assert_refused(db.create(again).await, Code::ReusedUuid, path);
    }
    assert!(
        db.find(StreamFilter::all())
            .await
            .expect("found")
            .is_empty()
    );
}

async fn the_same_collection_and_tags_are_refused(db: Subject) {
    let first = StreamDescriptor {
        annotations: annotations(&[("key", Some("value"))]),
        ..descriptor("c/name")
    };
    db.create(first).await.expect("created");
    let second = db.create(descriptor("c/name")).await;
    assert_refused(
        second,
        Code::AmbiguousStream,
        "annotations make no difference",
    );
}

async fn one_different_tag_makes_another_stream(db: Subject) {
    db.stream("c/name").await;
    for key in TagKey::ALL {
        let mut stream = descriptor("c/name");
        stream.tags.set(key, "other".to_owned());
        db.create(stream).await.expect("another tag");
    }
    db.create(descriptor("c/Name")).await.expect("another case");
    db.create(descriptor("c//name"))
        .await
        .expect("another collection");
}

async fn refusals_of_create_have_an_order(db: Subject) {
    let live = db.stream("c/live").await;
    let burned = db.stream("c/burned").await;
    db.obliterate(burned).await.expect("obliterated");

    let mut stream = StreamDescriptor {
        id: live,
        collection: String::new(),
        tags: Tags {
            name: "a\0b".to_owned(),
            ..Tags::default()
        },
        annotations: annotations(&[("", None), ("key", Some("a\0b"))]),
        property_version: 0,
    };
    assert_refused(
        db.create(stream.clone()).await,
        Code::InvalidCollection,
        "collection",
    );
    stream.collection = "c".to_owned();
    assert_refused(
        db.create(stream.clone()).await,
        Code::InvalidTagValue,
        "tag",
    );
    stream.tags.name = "live".to_owned();
    assert_refused(
        db.create(stream.clone()).await,
        Code::InvalidTagKey,
        "annotation key",
    );
    stream.annotations.remove("");
    assert_refused(
        db.create(stream.clone()).await,
        Code::InvalidTagValue,
        "annotation value",
    );
    stream.annotations.clear();
    assert_refused(
        db.create(stream.clone()).await,
        Code::SameStream,
        "live uuid",
    );
    stream.id = burned;
    assert_refused(
        db.create(stream.clone()).await,
        Code::ReusedUuid,
        "burned uuid",
    );
    stream.id = fresh_id();
    assert_refused(
        db.create(stream.clone()).await,
        Code::AmbiguousStream,
        "taken name",
    );
    stream.tags.unit = "volts".to_owned();
    db.create(stream).await.expect("nothing is wrong any more");
}

async fn a_refused_stream_leaves_no_trace(db: Subject) {
    db.stream("c/taken").await;
    let same_names = descriptor("c/taken");
    let id = same_names.id;
    db.create(same_names).await.expect_err("the name is taken");
    let elsewhere = StreamDescriptor {
        id,
        ..descriptor("d/free")
    };
    db.create(elsewhere).await.expect("the uuid was never used");
    let mut bad = descriptor("e/name");
    bad.annotations = annotations(&[("", None)]);
    db.create(bad).await.expect_err("a bad key");
    assert_eq!(db.collections("").await.expect("collections"), ["c", "d"]);
}

async fn find_by_collection(db: Subject) {
    for path in ["a/x", "a/b/x", "ab/x", "A/x"] {
        db.stream(path).await;
    }
    let prefix = |text: &str| StreamFilter::collection(CollectionMatch::Prefix(text.to_owned()));
    let exact = |text: &str| StreamFilter::collection(CollectionMatch::Exact(text.to_owned()));
    assert_eq!(names(&db, StreamFilter::all()).await.len(), 4);
    assert_eq!(names(&db, prefix("")).await.len(), 4);
    assert_eq!(names(&db, prefix("a")).await, ["a/x", "a/b/x", "ab/x"]);
    assert_eq!(names(&db, prefix("a/")).await, ["a/b/x"]);
    assert_eq!(names(&db, exact("a")).await, ["a/x"]);
    assert!(names(&db, exact("a/")).await.is_empty());
    assert!(names(&db, exact("")).await.is_empty());
    for pattern in ["%", "a%", "_", "a*", ".*"] {
        assert!(
            names(&db, prefix(pattern)).await.is_empty(),
            "{pattern} is no pattern"
        );
    }
}

async fn find_by_tags(db: Subject) {
    let mut stream = descriptor("c/x");
    stream.tags.unit = "volts".to_owned();
    db.create(stream).await.expect("created");
    db.stream("c/y").await;
    let by = |key, value: Option<&str>| StreamFilter {
        tags: vec![(key, value.map(str::to_owned))],
        ..StreamFilter::all()
    };
    assert_eq!(names(&db, by(TagKey::Name, Some("x"))).await, ["c/x"]);
    assert_eq!(names(&db, by(TagKey::Unit, Some("volts"))).await, ["c/x"]);
    assert!(names(&db, by(TagKey::Unit, Some("Volts"))).await.is_empty());
    assert!(names(&db, by(TagKey::Unit, Some("volt"))).await.is_empty());
    assert_eq!(
        names(&db, by(TagKey::Unit, Some(""))).await,
        ["c/y"],
        "never set is empty"
    );
    assert_eq!(
        names(&db, by(TagKey::Distiller, None)).await.len(),
        2,
        "all four exist"
    );
    assert_eq!(names(&db, StreamFilter::path("c", "y")).await, ["c/y"]);
}

async fn find_by_annotations(db: Subject) {
    for (path, value) in [
        ("c/text", Some("v")),
        ("c/empty", Some("")),
        ("c/null", None),
    ] {
        let stream = StreamDescriptor {
            annotations: annotations(&[("Key", value)]),
            ..descriptor(path)
        };
        db.create(stream).await.expect("created");
    }
    db.stream("c/none").await;
    let by = |key: &str, value: Option<&str>| StreamFilter {
        annotations: vec![(key.to_owned(), value.map(str::to_owned))],
        ..StreamFilter::all()
    };
    assert_eq!(names(&db, by("Key", Some("v"))).await, ["c/text"]);
    assert_eq!(
        names(&db, by("Key", Some(""))).await,
        ["c/empty"],
        "null is not empty"
    );
    assert_eq!(
        names(&db, by("Key", None)).await,
        ["c/empty", "c/null", "c/text"]
    );
    assert!(
        names(&db, by("key", None)).await.is_empty(),
        "keys have a case"
    );
    assert!(
        names(&db, by("Key", Some("V"))).await.is_empty(),
        "values have a case"
    );
}

async fn find_wants_all_conditions_together(db: Subject) {
    for (path, value) in [("c/x", "1"), ("c/y", "1"), ("d/x", "1"), ("c/x", "2")] {
        let mut stream = descriptor(path);
        stream.tags.unit = format!("unit {value}");
        stream.annotations = annotations(&[("k", Some(value)), ("l", None)]);
        db.create(stream).await.expect("created");
    }
    let filter = StreamFilter {
        collection: CollectionMatch::Exact("c".to_owned()),
        tags: vec![(TagKey::Name, Some("x".to_owned())), (TagKey::Unit, None)],
        annotations: vec![
            ("k".to_owned(), Some("1".to_owned())),
            ("l".to_owned(), None),
        ],
    };
    let found = db.find(filter).await.expect("found");
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].path(), &*found[0].tags.unit),
        ("c/x".to_owned(), "unit 1")
    );
}

async fn find_answers_by_collection_name_and_uuid(db: Subject) {
    let mut created = Vec::new();
    for path in ["b/x", "a/z", "a/b/c", "a/é", "a/Z", "a b/x"] {
        for unit in ["1", "2", "3"] {
            let mut stream = descriptor(path);
            stream.tags.unit = unit.to_owned();
            created.push((
                stream.collection.clone(),
                stream.tags.name.clone(),
                stream.id,
            ));
            db.create(stream).await.expect("created");
        }
    }
    created.sort();
    let found = db.find(StreamFilter::all()).await.expect("found");
    let found: Vec<_> = found
        .iter()
        .map(|stream| {
            (
                stream.collection.clone(),
                stream.tags.name.clone(),
                stream.id,
            )
        })
        .collect();
    assert_eq!(found, created);
}

async fn describe_keeps_the_order_asked(db: Subject) {
    let (a, b) = (db.stream("c/a").await, db.stream("c/b").await);
    let described = db.describe(&[b, a, b]).await.expect("described");
    let ids: Vec<_> = described.iter().map(|stream| stream.id).collect();
    assert_eq!(ids, [b, a, b]);
}

async fn collections_are_distinct_and_ascending(db: Subject) {
    for path in ["b/x", "a/x", "a/y", "a/b/x", "A/x", "é/x", "ab/x", "a /x"] {
        db.stream(path).await;
    }
    let all = db.collections("").await.expect("collections");
    assert_eq!(all, ["A", "a", "a ", "a/b", "ab", "b", "é"]);
    assert_eq!(db.collections("a/").await.expect("collections"), ["a/b"]);
    assert_eq!(db.collections("ab").await.expect("collections"), ["ab"]);
    assert!(db.collections("zz").await.expect("collections").is_empty());
}

async fn collections_vanish_with_their_last_stream(db: Subject) {
    let (x, y) = (db.stream("c/x").await, db.stream("c/y").await);
    db.obliterate(x).await.expect("obliterated");
    assert_eq!(db.collections("").await.expect("collections"), ["c"]);
    let update = TagUpdate {
        collection: Some("d".to_owned()),
        ..retag(y, &[])
    };
    db.set_tags(update).await.expect("moved");
    assert_eq!(db.collections("").await.expect("collections"), ["d"]);
    db.obliterate(y).await.expect("obliterated");
    assert!(db.collections("").await.expect("collections").is_empty());
}

async fn collections_refuse_impossible_prefixes(db: Subject) {
    for prefix in ["a\0b", &"x".repeat(257)] {
        assert_refused(
            db.collections(prefix).await,
            Code::InvalidCollection,
            prefix,
        );
    }
}

async fn metadata_usage_counts_annotation_keys(db: Subject) {
    for (path, pairs) in [
        ("a/x", &[("k", Some("1")), ("B", None)][..]),
        ("a/y", &[("k", Some("2"))]),
        ("ab/x", &[("k", None), ("z", Some(""))]),
        ("c/x", &[("k", Some("1")), ("other", Some("1"))]),
    ] {
        let stream = StreamDescriptor {
            annotations: annotations(pairs),
            ..descriptor(path)
        };
        db.create(stream).await.expect("created");
    }
    let usage = db.metadata_usage("a").await.expect("usage");
    assert_eq!(
        usage.tags,
        TagKey::ALL.map(|key| (key, 0)),
        "BTrDB never counts tags"
    );
    let counts = |pairs: &[(&str, u64)]| -> Vec<(String, u64)> {
        pairs
            .iter()
            .map(|&(key, count)| (key.to_owned(), count))
            .collect()
    };
    assert_eq!(usage.annotations, counts(&[("B", 1), ("k", 3), ("z", 1)]));
    let usage = db.metadata_usage("").await.expect("usage");
    assert_eq!(
        usage.annotations,
        counts(&[("B", 1), ("k", 4), ("other", 1), ("z", 1)])
    );
    let usage = db.metadata_usage("nowhere").await.expect("usage");
    assert_eq!(usage.tags, TagKey::ALL.map(|key| (key, 0)));
    assert!(usage.annotations.is_empty());
}

async fn tags_not_named_stay(db: Subject) {
    let id = db.stream("c/name").await;
    let version = db.set_tags(retag(
        id,
        &[(TagKey::Unit, "volts"), (TagKey::Distiller, "d")],
    ));
    assert_eq!(version.await.expect("set"), 2);
    let version = db.set_tags(retag(id, &[(TagKey::Distiller, "")]));
    assert_eq!(version.await.expect("set"), 3);
    let stream = db.descriptor(id).await;
    let tags = Tags {
        name: "name".to_owned(),
        unit: "volts".to_owned(),
        ..Tags::default()
    };
    assert_eq!((stream.tags, stream.property_version), (tags, 3));
    assert_eq!(stream.collection, "c");
}

async fn streams_move_between_collections(db: Subject) {
    let id = db.stream_of("c/name", &[(1, 1.0)]).await;
    let update = TagUpdate {
        collection: Some("d/".to_owned()),
        ..retag(id, &[])
    };
    assert_eq!(db.set_tags(update).await.expect("moved"), 2);
    assert_eq!(
        names(&db, StreamFilter::path("d/", "name")).await,
        ["d//name"]
    );
    assert!(names(&db, StreamFilter::path("c", "name")).await.is_empty());
    assert_eq!(db.read(id).await, [(1, 1.0)]);
}

async fn a_stream_may_be_renamed_to_itself(db: Subject) {
    let id = db.stream("c/name").await;
    let update = TagUpdate {
        collection: Some("c".to_owned()),
        ..retag(id, &[(TagKey::Name, "name")])
    };
    assert_eq!(
        db.set_tags(update).await.expect("nobody else has the name"),
        2
    );
}

async fn a_name_left_behind_is_free(db: Subject) {
    let id = db.stream("c/old").await;
    db.set_tags(retag(id, &[(TagKey::Name, "new")]))
        .await
        .expect("renamed");
    db.create(descriptor("c/old"))
        .await
        .expect("the old name is free");
    let taken = db.create(descriptor("c/new")).await;
    assert_refused(taken, Code::AmbiguousStream, "the new name is taken");
}

async fn refusals_of_set_tags_have_an_order(db: Subject) {
    let id = db.stream("c/name").await;
    db.stream("d/taken").await;
    let mut update = TagUpdate {
        stream: fresh_id(),
        expected: Some(9),
        collection: Some("x".repeat(257)),
        tags: vec![tag(TagKey::Name, "a\0b")],
    };
    assert_refused(
        db.set_tags(update.clone()).await,
        Code::InvalidCollection,
        "collection",
    );
    update.collection = Some("d".to_owned());
    assert_refused(
        db.set_tags(update.clone()).await,
        Code::InvalidTagValue,
        "tag",
    );
    update.tags = vec![tag(TagKey::Name, "taken")];
    assert_refused(
        db.set_tags(update.clone()).await,
        Code::NoSuchStream,
        "stream",
    );
    update.stream = id;
    let stale = db.set_tags(update.clone()).await;
    assert_refused(stale, Code::AnnotationVersionMismatch, "property version");
    update.expected = Some(1);
    assert_refused(
        db.set_tags(update.clone()).await,
        Code::AmbiguousStream,
        "taken name",
    );
    let stream = db.descriptor(id).await;
    assert_eq!(
        (stream.path(), stream.property_version),
        ("c/name".to_owned(), 1),
        "untouched"
    );
    update.tags = vec![tag(TagKey::Name, "free")];
    assert_eq!(
        db.set_tags(update)
            .await
            .expect("nothing is wrong any more"),
        2
    );
}

async fn annotations_are_changed_then_removed(db: Subject) {
    let id = db.stream("c/name").await;
    let set = annotate(id, &[("a", Some("1")), ("b", None), ("c", Some("3"))], &[]);
    assert_eq!(db.set_annotations(set).await.expect("set"), 2);
    let update = annotate(
        id,
        &[("a", None), ("b", Some("2")), ("d", Some("4"))],
        &["c", "d", "absent"],
    );
    assert_eq!(db.set_annotations(update).await.expect("set"), 3);
    let stream = db.descriptor(id).await;
    assert_eq!(
        stream.annotations,
        annotations(&[("a", None), ("b", Some("2"))])
    );
    assert_eq!(stream.property_version, 3);
}

async fn annotations_follow_the_documented_sequence(db: Subject) {
    let stream = StreamDescriptor {
        annotations: annotations(&[("foo", Some("bar"))]),
        ..descriptor("c/name")
    };
    let id = stream.id;
    db.create(stream).await.expect("created");
    assert_eq!(db.descriptor(id).await.property_version, 1);
    db.set_annotations(annotate(id, &[("foo", Some("baz"))], &[]))
        .await
        .expect("set");
    assert_eq!(
        db.descriptor(id).await.annotations,
        annotations(&[("foo", Some("baz"))])
    );
    let version = db
        .set_annotations(annotate(id, &[], &["foo"]))
        .await
        .expect("removed");
    let stream = db.descriptor(id).await;
    assert_eq!((version, stream.property_version), (3, 3));
    assert!(stream.annotations.is_empty());
}

async fn refusals_of_set_annotations_have_an_order(db: Subject) {
    let id = db.stream("c/name").await;
    let mut update = annotate(fresh_id(), &[("", Some("a\0b"))], &[]);
    update.expected = Some(9);
    assert_refused(
        db.set_annotations(update.clone()).await,
        Code::InvalidTagKey,
        "key",
    );
    update.changes = annotations(&[("key", Some("a\0b"))]);
    assert_refused(
        db.set_annotations(update.clone()).await,
        Code::InvalidTagValue,
        "value",
    );
    update.changes = annotations(&[("key", Some("value"))]);
    assert_refused(
        db.set_annotations(update.clone()).await,
        Code::NoSuchStream,
        "stream",
    );
    update.stream = id;
    let stale = db.set_annotations(update.clone()).await;
    assert_refused(stale, Code::AnnotationVersionMismatch, "property version");
    let stream = db.descriptor(id).await;
    assert!(
        stream.annotations.is_empty() && stream.property_version == 1,
        "untouched"
    );
    update.expected = Some(1);
    assert_eq!(
        db.set_annotations(update)
            .await
            .expect("nothing is wrong any more"),
        2
    );
}

async fn empty_updates_count_too(db: Subject) {
    let id = db.stream("c/name").await;
    assert_eq!(db.set_tags(retag(id, &[])).await.expect("set"), 2);
    assert_eq!(
        db.set_annotations(annotate(id, &[], &[]))
            .await
            .expect("set"),
        3
    );
}

async fn data_and_properties_have_separate_versions(db: Subject) {
    let id = db.stream_of("c/name", &[(1, 1.0)]).await;
    db.delete(id, TimeRange::new(0, 10)).await.expect("deleted");
    assert_eq!(db.descriptor(id).await.property_version, 1);
    db.set_tags(retag(id, &[(TagKey::Unit, "volts")]))
        .await
        .expect("set");
    db.set_annotations(annotate(id, &[("k", None)], &[]))
        .await
        .expect("set");
    assert_eq!(db.version(id).await, Version(12));
}

/// Runs ten tasks at once and counts what they answered.
async fn at_once<F>(task: impl Fn(usize) -> F) -> Vec<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let mut tasks: JoinSet<_> = (0..10).map(task).collect();
    let mut answers = Vec::new();
    while let Some(answer) = tasks.join_next().await {
        answers.push(answer.expect("no task panics"));
    }
    answers
}

#[track_caller]
fn assert_one_success<T>(answers: Vec<btrdb_flight::error::Result<T>>, code: Code) {
    let (successes, refusals): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!(successes.len(), 1, "exactly one task succeeds");
    for refusal in refusals {
        assert_refused(refusal, code, "the others");
    }
}

async fn of_equal_expectations_one_succeeds(db: Subject) {
    let id = db.stream("c/name").await;
    let answers = at_once(|i| {
        let db = db.clone();
        async move {
            let update = annotate(id, &[("winner", Some(&i.to_string()))], &[]);
            let update = AnnotationUpdate {
                expected: Some(1),
                ..update
            };
            db.set_annotations(update).await
        }
    });
    assert_one_success(answers.await, Code::AnnotationVersionMismatch);
    assert_eq!(db.descriptor(id).await.property_version, 2);
}

async fn of_equal_names_created_at_once_one_succeeds(db: Subject) {
    let answers = at_once(|_| {
        let db = db.clone();
        async move { db.create(descriptor("c/name")).await }
    });
    assert_one_success(answers.await, Code::AmbiguousStream);
    assert_eq!(names(&db, StreamFilter::all()).await, ["c/name"]);
}

async fn of_equal_uuids_created_at_once_one_succeeds(db: Subject) {
    let id = fresh_id();
    let answers = at_once(|i| {
        let db = db.clone();
        async move {
            let stream = StreamDescriptor {
                id,
                ..descriptor(&format!("c/{i}"))
            };
            db.create(stream).await
        }
    });
    assert_one_success(answers.await, Code::SameStream);
    assert_eq!(db.find(StreamFilter::all()).await.expect("found").len(), 1);
}

async fn names_are_free_again_right_after_obliterate(db: Subject) {
    let answers = at_once(|i| {
        let db = db.clone();
        async move {
            for _ in 0..20 {
                let id = db.stream(&format!("c/{i}")).await;
                db.write(id, &[(1, 1.0)]).await;
                db.obliterate(id).await.expect("obliterated");
            }
            db.stream(&format!("c/{i}")).await
        }
    });
    let mut created = answers.await;
    created.sort();
    let found = db.find(StreamFilter::all()).await.expect("found");
    let mut found: Vec<_> = found.iter().map(|stream| stream.id).collect();
    found.sort();
    assert_eq!(found, created);
    for id in created {
        assert_eq!(
            db.version(id).await,
            Version(10),
            "a new stream, not the old one"
        );
        assert!(db.read(id).await.is_empty());
    }
}
