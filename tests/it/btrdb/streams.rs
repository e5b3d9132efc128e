//! What streams are called: creation, look-ups, tags, annotations, collections, and the end of streams.

use super::*;

fn create(
    number: u128,
    collection: &str,
    tags: &[(&str, Option<&str>)],
    annotations: &[(&str, Option<&str>)],
) -> CreateParams {
    let pairs = |pairs: &[(&str, Option<&str>)]| -> Vec<KeyOptValue> {
        pairs.iter().map(|(key, value)| pair(key, *value)).collect()
    };
    CreateParams {
        uuid: id(number),
        collection: collection.to_owned(),
        tags: pairs(tags),
        annotations: pairs(annotations),
    }
}

async fn info(server: &Server, number: u128) -> Outcome<StreamInfoResponse> {
    let params = StreamInfoParams {
        uuid: id(number),
        omit_version: false,
        omit_descriptor: false,
        role: None,
    };
    one(server.client().stream_info(params).await)
}

async fn descriptor(server: &Server, number: u128) -> StreamDescriptor {
    let answer = info(server, number).await.expect("a stream");
    answer.descriptor.expect("a descriptor")
}

async fn set_tags(server: &Server, params: SetStreamTagsParams) -> Outcome<SetStreamTagsResponse> {
    one(server.client().set_stream_tags(params).await)
}

fn tag_update(number: u128) -> SetStreamTagsParams {
    SetStreamTagsParams {
        uuid: id(number),
        ..SetStreamTagsParams::default()
    }
}

fn annotation_update(number: u128) -> SetStreamAnnotationsParams {
    SetStreamAnnotationsParams {
        uuid: id(number),
        ..SetStreamAnnotationsParams::default()
    }
}

/// Numbers of the streams found.
async fn lookup(server: &Server, params: LookupStreamsParams) -> Outcome<Vec<u128>> {
    let answers = many(server.client().lookup_streams(params).await).await?;
    assert!(answers.iter().all(|answer| answer.results.len() <= 200));
    let found = answers.into_iter().flat_map(|answer| answer.results);
    Ok(found
        .map(|stream| {
            assert_eq!(stream.tags.len(), 4);
            Uuid::from_slice(&stream.uuid).expect("16 bytes").as_u128()
        })
        .collect())
}

fn exactly(collection: &str) -> LookupStreamsParams {
    LookupStreamsParams {
        collection: collection.to_owned(),
        ..LookupStreamsParams::default()
    }
}

fn beginning(collection: &str) -> LookupStreamsParams {
    LookupStreamsParams {
        is_collection_prefix: true,
        ..exactly(collection)
    }
}

async fn collections(server: &Server, prefix: &str) -> Outcome<Vec<String>> {
    let params = ListCollectionsParams {
        prefix: prefix.to_owned(),
        role: None,
    };
    let answers = many(server.client().list_collections(params).await).await?;
    Ok(answers
        .into_iter()
        .flat_map(|answer| answer.collections)
        .collect())
}

#[tokio::test]
async fn create_checks_in_its_documented_order() {
    let server = Server::start().await;
    let mut client = server.client();
    let long = "e".repeat(257);
    let longer_value = "v".repeat(256);
    one(client
        .create(create(1, "c", &[("name", Some("n"))], &[]))
        .await)
    .expect("new");
    one(client.create(create(2, "gone", &[], &[])).await).expect("new");
    one(client.obliterate(ObliterateParams { uuid: id(2) }).await).expect("obliterated");
    let bad_tag = ("colour", Some("red"));
    let bad_value = ("unit", Some(longer_value.as_str()));
    for (params, code, words) in [
        (
            create(1, "", &[bad_tag], &[]),
            407,
            "collection \"\" is invalid",
        ),
        (create(1, &long, &[bad_tag], &[]), 407, "collection \""),
        (create(1, "a\0b", &[bad_tag], &[]), 407, "collection \""),
        (
            create(1, "c", &[bad_value, bad_tag], &[]),
            408,
            "tag key \"colour\" is invalid",
        ),
        (
            create(1, "c", &[bad_value], &[("", None)]),
            409,
            "tag value for key \"unit\" is invalid",
        ),
        (
            create(1, "c", &[("unit", Some("a\0b"))], &[("", None)]),
            409,
            "tag value for key \"unit\"",
        ),
        (
            create(1, "c", &[], &[("", None)]),
            408,
            "annotation key \"\" is invalid",
        ),
        (
            create(1, "c", &[], &[("k", Some(&longer_value))]),
            409,
            "annotation value for key \"k\" is invalid",
        ),
        (
            create(2, "c", &[("name", Some("n"))], &[]),
            429,
            "uuid \"00000000-0000-0000-0000-000000000002\" has been used before with a (now deleted) stream",
        ),
        (
            create(3, "c", &[("name", Some("n"))], &[]),
            418,
            "a stream already exists in that collection with identical tags",
        ),
        (
            create(3, "c", &[("name", Some("n")), ("unit", None)], &[]),
            418,
            "a stream already exists in that collection",
        ),
    ] {
        let (number, message) = one(client.create(params).await).expect_err("refused");
        assert_eq!(number, code, "{message}");
        assert!(message.starts_with(words), "{message}");
    }
    let same = one(client.create(create(1, "elsewhere", &[], &[])).await);
    let words = "a stream already exists with uuid 00000000-0000-0000-0000-000000000001";
    assert_eq!(same, Err((417, words.to_owned())));
    let short = CreateParams {
        uuid: Bytes::from_static(b"short"),
        ..create(1, "", &[], &[])
    };
    assert_eq!(one(client.create(short).await).expect_err("refused").0, 438);
    one(client
        .create(create(
            3,
            &"é".repeat(256),
            &[("name", Some(""))],
            &[("Ключ", None)],
        ))
        .await)
    .expect("all storable");
}

#[tokio::test]
async fn streams_are_told_with_all_four_tags() {
    let server = Server::start().await;
    let mut client = server.client();
    let annotations = [("EventId", Some("7")), ("empty", Some("")), ("null", None)];
    let params = create(
        1,
        "a/",
        &[("name", Some("n")), ("unit", None)],
        &annotations,
    );
    one(client.create(params).await).expect("new");
    let answer = info(&server, 1).await.expect("a stream");
    assert_eq!((answer.version_major, answer.version_minor), (10, 0));
    let expected = StreamDescriptor {
        uuid: id(1),
        collection: "a/".to_owned(),
        tags: [
            ("name", "n"),
            ("unit", ""),
            ("ingress", ""),
            ("distiller", ""),
        ]
        .map(|(key, value)| pair(key, Some(value)))
        .to_vec(),
        annotations: annotations.map(|(key, value)| pair(key, value)).to_vec(),
        property_version: 1,
    };
    assert_eq!(answer.descriptor, Some(expected.clone()));
    let ask = async |omit_version, omit_descriptor, number| {
        let params = StreamInfoParams {
            uuid: id(number),
            omit_version,
            omit_descriptor,
            role: Some(Role::default()),
        };
        one(server.client().stream_info(params).await)
    };
    let answer = ask(true, false, 1).await.expect("a stream");
    assert_eq!(
        (answer.version_major, answer.descriptor),
        (0, Some(expected))
    );
    server.insert(&id(1), &[(1, 1.0)]).await.expect("inserted");
    let answer = ask(false, true, 1).await.expect("a stream");
    let bare = answer.descriptor.unwrap_or_default();
    assert_eq!((answer.version_major, bare.property_version), (11, 0));
    assert!(bare.tags.is_empty());
    let neither = ask(true, true, 1).await;
    assert_eq!(
        neither,
        Err((421, "you cannot omit descriptor and version".to_owned()))
    );
    for (omit_version, omit_descriptor) in [(false, false), (true, false), (false, true)] {
        let unknown = ask(omit_version, omit_descriptor, 9).await;
        assert_eq!(unknown, Err((404, "stream does not exist".to_owned())));
    }
}

#[tokio::test]
async fn tags_are_set_one_by_one() {
    let server = Server::start().await;
    let mut client = server.client();
    let tags = [
        ("name", Some("n")),
        ("unit", Some("V")),
        ("ingress", Some("i")),
    ];
    one(client.create(create(1, "c", &tags, &[])).await).expect("new");
    one(client
        .create(create(2, "d", &[("name", Some("m"))], &[]))
        .await)
    .expect("new");
    let update = SetStreamTagsParams {
        tags: vec![pair("unit", Some("A")), pair("ingress", None)],
        remove: vec!["name".to_owned()],
        ..tag_update(1)
    };
    set_tags(&server, update)
        .await
        .expect("whatever its version is");
    let found = descriptor(&server, 1).await;
    let expected = [
        ("name", ""),
        ("unit", "A"),
        ("ingress", ""),
        ("distiller", ""),
    ];
    assert_eq!(
        found.tags,
        expected.map(|(key, value)| pair(key, Some(value)))
    );
    assert_eq!(
        (found.collection.as_str(), found.property_version),
        ("c", 2)
    );
    let update = SetStreamTagsParams {
        expected_property_version: 2,
        collection: "moved".to_owned(),
        ..tag_update(1)
    };
    set_tags(&server, update.clone()).await.expect("moved");
    let found = descriptor(&server, 1).await;
    assert_eq!(
        (found.collection.as_str(), found.property_version),
        ("moved", 3)
    );
    assert_eq!(
        collections(&server, "").await,
        Ok(vec!["d".to_owned(), "moved".to_owned()])
    );
    let (code, message) = set_tags(&server, update).await.expect_err("stale");
    assert_eq!(code, 423);
    assert!(
        message.starts_with("stream annotation version does not match"),
        "{message}"
    );
    let code = async |params| set_tags(&server, params).await.expect_err("refused").0;
    let tags = |key: &str, value: &str| SetStreamTagsParams {
        tags: vec![pair(key, Some(value))],
        ..tag_update(1)
    };
    assert_eq!(code(tags("colour", "red")).await, 408);
    let remove = vec!["colour".to_owned()];
    assert_eq!(
        code(SetStreamTagsParams {
            remove,
            ..tag_update(1)
        })
        .await,
        408
    );
    assert_eq!(code(tags("unit", &"v".repeat(256))).await, 409);
    let collection = "e".repeat(257);
    assert_eq!(
        code(SetStreamTagsParams {
            collection,
            ..tag_update(1)
        })
        .await,
        407
    );
    let clash = SetStreamTagsParams {
        collection: "d".to_owned(),
        tags: vec![pair("name", Some("m")), pair("unit", None)],
        ..tag_update(1)
    };
    assert_eq!(code(clash).await, 418);
    assert_eq!(code(tag_update(9)).await, 404);
    assert_eq!(
        descriptor(&server, 1).await.property_version,
        3,
        "failures change nothing"
    );
    set_tags(&server, tag_update(1))
        .await
        .expect("nothing to change");
    assert_eq!(
        descriptor(&server, 1).await.property_version,
        4,
        "one more with each call"
    );
}

#[tokio::test]
async fn annotations_are_changed_then_removed() {
    let server = Server::start().await;
    let mut client = server.client();
    one(client
        .create(create(1, "c", &[], &[("foo", Some("bar"))]))
        .await)
    .expect("new");
    let update = SetStreamAnnotationsParams {
        expected_property_version: 1,
        changes: vec![
            pair("foo", Some("baz")),
            pair("null", None),
            pair("both", Some("x")),
        ],
        removals: vec!["both".to_owned(), "absent".to_owned()],
        ..annotation_update(1)
    };
    one(client.set_stream_annotations(update.clone()).await).expect("changed");
    let found = descriptor(&server, 1).await;
    assert_eq!(
        found.annotations,
        [pair("foo", Some("baz")), pair("null", None)]
    );
    assert_eq!(found.property_version, 2);
    let (code, message) = one(client.set_stream_annotations(update).await).expect_err("stale");
    assert_eq!(code, 423);
    assert!(
        message.starts_with("stream annotation version does not match"),
        "{message}"
    );
    one(client.set_stream_annotations(annotation_update(1)).await).expect("nothing to change");
    let removals = vec!["foo".to_owned(), "null".to_owned()];
    let update = SetStreamAnnotationsParams {
        removals,
        ..annotation_update(1)
    };
    one(client.set_stream_annotations(update).await).expect("removed");
    let found = descriptor(&server, 1).await;
    assert!(found.annotations.is_empty());
    assert_eq!(found.property_version, 4);
    let changes = |key: &str, value: &str| SetStreamAnnotationsParams {
        changes: vec![pair(key, Some(value))],
        ..annotation_update(1)
    };
    let refused = one(client.set_stream_annotations(changes("", "v")).await);
    assert_eq!(refused.expect_err("refused").0, 408);
    let refused = one(client
        .set_stream_annotations(changes("k", &"v".repeat(256)))
        .await);
    assert_eq!(refused.expect_err("refused").0, 409);
    let refused = one(client.set_stream_annotations(annotation_update(9)).await);
    assert_eq!(refused.expect_err("refused").0, 404);
}

#[tokio::test]
async fn lookups_combine_conditions() {
    let server = Server::start().await;
    let mut client = server.client();
    for params in [
        create(
            1,
            "a/b",
            &[("name", Some("x")), ("unit", Some("V"))],
            &[("k", Some("true")), ("null", None)],
        ),
        create(
            2,
            "a/b",
            &[("name", Some("y")), ("unit", Some("V"))],
            &[("k", Some("false"))],
        ),
        create(3, "a/bc", &[("name", Some("x"))], &[]),
        create(4, "A/b", &[("name", Some("x"))], &[]),
    ] {
        one(client.create(params).await).expect("new");
    }
    assert_eq!(lookup(&server, beginning("")).await, Ok(vec![4, 1, 2, 3]));
    assert_eq!(
        lookup(&server, exactly("")).await,
        Ok(vec![]),
        "no collection has no name"
    );
    assert_eq!(lookup(&server, exactly("a/b")).await, Ok(vec![1, 2]));
    assert_eq!(lookup(&server, beginning("a/b")).await, Ok(vec![1, 2, 3]));
    assert_eq!(lookup(&server, beginning("b")).await, Ok(vec![]));
    let with =
        |tags: &[(&str, Option<&str>)], annotations: &[(&str, Option<&str>)]| LookupStreamsParams {
            tags: tags.iter().map(|(key, value)| pair(key, *value)).collect(),
            annotations: annotations
                .iter()
                .map(|(key, value)| pair(key, *value))
                .collect(),
            ..beginning("")
        };
    let found = lookup(
        &server,
        with(&[("name", Some("x")), ("unit", Some("V"))], &[]),
    )
    .await;
    assert_eq!(found, Ok(vec![1]));
    let found = lookup(&server, with(&[("unit", None)], &[])).await;
    assert_eq!(found, Ok(vec![4, 1, 2, 3]), "every stream has every tag");
    assert_eq!(
        lookup(&server, with(&[("unit", Some("v"))], &[])).await,
        Ok(vec![])
    );
    assert_eq!(
        lookup(&server, with(&[], &[("k", None)])).await,
        Ok(vec![1, 2])
    );
    assert_eq!(
        lookup(&server, with(&[], &[("k", Some("true"))])).await,
        Ok(vec![1])
    );
    assert_eq!(
        lookup(&server, with(&[], &[("null", None)])).await,
        Ok(vec![1])
    );
    assert_eq!(
        lookup(&server, with(&[], &[("null", Some(""))])).await,
        Ok(vec![])
    );
    let refused = lookup(&server, with(&[("colour", None)], &[])).await;
    assert_eq!(refused.expect_err("refused").0, 408);
    let refused = lookup(&server, exactly("a\0b")).await;
    assert_eq!(refused.expect_err("refused").0, 407);
}

#[tokio::test]
async fn many_streams_come_in_many_messages() {
    let server = Server::start().await;
    for number in 0..450 {
        let collection = format!("c{:04}", number / 2);
        let name = format!("n{number}");
        let params = create(number, &collection, &[("name", Some(&name))], &[]);
        one(server.client().create(params).await).expect("new");
    }
    let answers = many(server.client().lookup_streams(beginning("")).await).await;
    let lengths: Vec<_> = answers
        .expect("streams")
        .iter()
        .map(|m| m.results.len())
        .collect();
    assert_eq!(lengths, [200, 200, 50]);
    assert_eq!(
        collections(&server, "").await.expect("collections").len(),
        225
    );
    assert_eq!(
        collections(&server, "c000")
            .await
            .expect("collections")
            .len(),
        10
    );
    assert_eq!(collections(&server, "d").await, Ok(vec![]));
    assert_eq!(
        collections(&server, "a\0").await.expect_err("refused").0,
        407
    );
}

/// Descriptors may be large: a message ends before it outgrows what old clients take.
#[tokio::test]
async fn large_descriptors_come_in_more_messages() {
    let server = Server::start().await;
    let value = "v".repeat(255);
    let keys: Vec<String> = (0..2000).map(|key| format!("key{key}")).collect();
    let annotations: Vec<_> = keys
        .iter()
        .map(|key| (key.as_str(), Some(value.as_str())))
        .collect();
    for number in 0..8 {
        let name = format!("n{number}");
        let params = create(number, "c", &[("name", Some(&name))], &annotations);
        one(server.client().create(params).await).expect("new");
    }
    let answers = many(server.client().lookup_streams(exactly("c")).await).await;
    let lengths: Vec<_> = answers
        .expect("streams")
        .iter()
        .map(|m| m.results.len())
        .collect();
    assert_eq!(lengths.iter().sum::<usize>(), 8);
    assert!(lengths.iter().all(|&length| length <= 3), "{lengths:?}");
}

#[tokio::test]
async fn usage_counts_annotations_and_not_tags() {
    let server = Server::start().await;
    let mut client = server.client();
    for params in [
        create(
            1,
            "a/b",
            &[("name", Some("x"))],
            &[("z", Some("1")), ("b", None)],
        ),
        create(2, "a/c", &[("name", Some("x"))], &[("b", Some("2"))]),
        create(3, "d", &[("name", Some("x"))], &[("other", Some("3"))]),
    ] {
        one(client.create(params).await).expect("new");
    }
    let params = MetadataUsageParams {
        prefix: "a/".to_owned(),
        role: None,
    };
    let usage = one(client.get_metadata_usage(params).await).expect("usage");
    let counts = |counts: Vec<KeyCount>| -> Vec<(String, u64)> {
        counts
            .into_iter()
            .map(|count| (count.key, count.count))
            .collect()
    };
    let expected = ["name", "unit", "ingress", "distiller"].map(|key| (key.to_owned(), 0));
    assert_eq!(counts(usage.tags), expected);
    assert_eq!(
        counts(usage.annotations),
        [("b".to_owned(), 2), ("z".to_owned(), 1)]
    );
}

#[tokio::test]
async fn obliterated_streams_are_gone_and_their_names_free() {
    let server = Server::start().await;
    let uuid = server.stream_of(1, &[(1, 1.0)]).await;
    let mut client = server.client();
    one(client
        .obliterate(ObliterateParams { uuid: uuid.clone() })
        .await)
    .expect("obliterated");
    let gone = Err((404, "stream does not exist".to_owned()));
    assert_eq!(server.points(&uuid, 0).await, gone);
    assert_eq!(server.points(&uuid, 11).await, gone);
    assert_eq!(
        server.insert(&uuid, &[(1, 1.0)]).await.map(|_| vec![]),
        gone
    );
    let again = one(client.obliterate(ObliterateParams { uuid }).await);
    assert_eq!(again.map(|_| vec![]), gone);
    assert_eq!(collections(&server, "").await, Ok(vec![]));
    assert_eq!(lookup(&server, beginning("")).await, Ok(vec![]));
    one(client
        .create(create(2, "grid/west", &[("name", Some("s1"))], &[]))
        .await)
    .expect("the name is free");
    let refused = one(client.create(create(1, "grid/west", &[], &[])).await);
    assert_eq!(refused.expect_err("burned").0, 429);
}

#[tokio::test]
async fn obliterating_can_be_disabled() {
    let server = Server::start_with(BtrdbSettings {
        allow_obliterate: false,
        ..BtrdbSettings::default()
    })
    .await;
    let uuid = server.stream_of(1, &[(1, 1.0)]).await;
    let refused = one(server
        .client()
        .obliterate(ObliterateParams { uuid: uuid.clone() })
        .await);
    let words = "Obliterate is disabled on this node";
    assert_eq!(refused.expect_err("refused"), (431, words.to_owned()));
    assert_eq!(server.points(&uuid, 0).await, Ok(vec![(1, 1.0)]));
}
