//! What holds for every call.

use tonic::codec::CompressionEncoding;

use super::*;

/// Each call with a uuid of `uuid`; answers the code it failed with, 0 if it did not.
async fn codes(server: &Server, uuid: &Bytes) -> Vec<(&'static str, u32)> {
    fn code<T>(outcome: Outcome<T>) -> u32 {
        outcome.err().map_or(0, |(code, _)| code)
    }
    let mut client = server.client();
    let uuid = || uuid.clone();
    let info = StreamInfoParams {
        uuid: uuid(),
        ..StreamInfoParams::default()
    };
    let tags = SetStreamTagsParams {
        uuid: uuid(),
        ..SetStreamTagsParams::default()
    };
    let annotations = SetStreamAnnotationsParams {
        uuid: uuid(),
        ..SetStreamAnnotationsParams::default()
    };
    let nearest = NearestParams {
        uuid: uuid(),
        ..NearestParams::default()
    };
    let changes = ChangesParams {
        uuid: uuid(),
        ..ChangesParams::default()
    };
    let insert = InsertParams {
        uuid: uuid(),
        values: rows(&[(5, 5.0)]),
        ..InsertParams::default()
    };
    let arrow_insert = ArrowInsertParams {
        uuid: uuid(),
        arrow_bytes: ipc(&points_schema(), &[points_batch(&[(6, 6.0)])]),
        ..ArrowInsertParams::default()
    };
    let delete = DeleteParams {
        uuid: uuid(),
        start: 6,
        end: 7,
    };
    let multi = ArrowMultiValuesParams {
        uuid: vec![uuid()],
        version_major: vec![0],
        end: 10,
        ..ArrowMultiValuesParams::default()
    };
    let csv = GenerateCsvParams {
        query_type: generate_csv_params::QueryType::RawQuery.into(),
        end_time: 10,
        streams: vec![StreamCsvConfig {
            uuid: uuid(),
            ..StreamCsvConfig::default()
        }],
        ..GenerateCsvParams::default()
    };
    vec![
        ("StreamInfo", code(one(client.stream_info(info).await))),
        (
            "SetStreamTags",
            code(one(client.set_stream_tags(tags).await)),
        ),
        (
            "SetStreamAnnotations",
            code(one(client.set_stream_annotations(annotations).await)),
        ),
        ("Insert", code(one(client.insert(insert).await))),
        (
            "ArrowInsert",
            code(one(client.arrow_insert(arrow_insert).await)),
        ),
        ("Delete", code(one(client.delete(delete).await))),
        (
            "Flush",
            code(one(client.flush(FlushParams { uuid: uuid() }).await)),
        ),
        ("Nearest", code(one(client.nearest(nearest).await))),
        ("Changes", code(many(client.changes(changes).await).await)),
        (
            "RawValues",
            code(many(client.raw_values(raw(&uuid(), 0, 10, 0)).await).await),
        ),
        (
            "ArrowRawValues",
            code(
                many(
                    client
                        .arrow_raw_values(arrow_raw(&uuid(), 0, 10, Bytes::new()))
                        .await,
                )
                .await,
            ),
        ),
        (
            "ArrowMultiValues",
            code(many(client.arrow_multi_values(multi).await).await),
        ),
        (
            "AlignedWindows",
            code(many(client.aligned_windows(aligned(&uuid(), 0, 10, 1)).await).await),
        ),
        (
            "ArrowAlignedWindows",
            code(
                many(
                    client
                        .arrow_aligned_windows(aligned(&uuid(), 0, 10, 1))
                        .await,
                )
                .await,
            ),
        ),
        (
            "Windows",
            code(many(client.windows(regular(&uuid(), 0, 10, 1)).await).await),
        ),
        (
            "ArrowWindows",
            code(many(client.arrow_windows(regular(&uuid(), 0, 10, 1)).await).await),
        ),
        (
            "GenerateCSV",
            code(many(client.generate_csv(csv).await).await),
        ),
        (
            "Obliterate",
            code(one(client
                .obliterate(ObliterateParams { uuid: uuid() })
                .await)),
        ),
    ]
}

/// `one` and `many` take any `stat` for a failure, also one of code 0: some clients do.
#[tokio::test]
async fn success_has_no_stat() {
    let server = Server::start().await;
    let uuid = server.stream(1).await;
    for (call, code) in codes(&server, &uuid).await {
        assert_eq!(code, 0, "{call}");
    }
    let mut client = server.client();
    one(client.info(InfoParams {}).await).expect("info");
    one(client
        .get_metadata_usage(MetadataUsageParams::default())
        .await)
    .expect("usage");
    many(
        client
            .list_collections(ListCollectionsParams::default())
            .await,
    )
    .await
    .expect("collections");
    many(client.lookup_streams(LookupStreamsParams::default()).await)
        .await
        .expect("streams");
}

#[tokio::test]
async fn every_call_says_which_streams_there_are_not() {
    let server = Server::start().await;
    for (call, code) in codes(&server, &id(9)).await {
        assert_eq!(code, 404, "{call}");
    }
    for length in [0, 1, 15, 17, 1000] {
        for (call, code) in codes(&server, &Bytes::from(vec![7; length])).await {
            assert_eq!(code, 438, "{call}");
        }
    }
}

#[tokio::test]
async fn the_server_says_what_it_is() {
    let server = Server::start().await;
    let info = one(server.client().info(InfoParams {}).await).expect("info");
    assert_eq!(info.major_version, 5);
    assert!(info.minor_version >= 30, "clients use Arrow from there on");
    let build = format!("{}.{}.0", info.major_version, info.minor_version);
    assert_eq!(info.build, build);
    assert_eq!(info.proxy, Some(ProxyInfo::default()));
    assert_eq!(info.mash, None);
}

#[tokio::test]
async fn faults_are_injected_only_where_that_was_allowed() {
    let fault = async |server: &Server, r#type| {
        let params = FaultInjectParams {
            r#type,
            params: Bytes::new(),
        };
        one(server.client().fault_inject(params).await).expect_err("nothing is injected")
    };
    let server = Server::start().await;
    let words = "Fault injection is disabled on this node";
    assert_eq!(fault(&server, 3).await, (424, words.to_owned()));
    let server = Server::start_with(BtrdbSettings {
        allow_fault_injection: true,
        ..BtrdbSettings::default()
    })
    .await;
    for kind in [1, 2, 3, u64::MAX] {
        assert_eq!(fault(&server, kind).await.0, 501);
    }
}

#[tokio::test]
async fn requests_may_be_compressed_and_answers_are_not() {
    let server = Server::start().await;
    let uuid = server.stream(1).await;
    let mut client = server
        .client()
        .send_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Gzip);
    let points: Vec<_> = (0..20_000).map(|i| (i, 1.0)).collect();
    let params = InsertParams {
        uuid: uuid.clone(),
        values: rows(&points),
        ..InsertParams::default()
    };
    one(client.insert(params).await).expect("inserted");
    let answer = client
        .raw_values(raw(&uuid, 0, 20_000, 0))
        .await
        .expect("an answer");
    assert_eq!(answer.metadata().get("grpc-encoding"), None);
    let answers = many(Ok(answer)).await.expect("points");
    assert_eq!(
        answers
            .iter()
            .map(|answer| answer.values.len())
            .sum::<usize>(),
        20_000
    );
}

#[tokio::test]
async fn sql_is_answered_in_rows_of_json() {
    let server = Server::start().await;
    for (number, name) in [(1, "b"), (2, "a")] {
        let params = CreateParams {
            uuid: id(number),
            collection: "c".to_owned(),
            tags: vec![pair("name", Some(name))],
            annotations: Vec::new(),
        };
        one(server.client().create(params).await).expect("new");
    }
    let query = async |query: &str, params: &[&str]| {
        let params = SqlQueryParams {
            query: query.to_owned(),
            params: params.iter().map(|param| (*param).to_owned()).collect(),
            role: None,
        };
        let answers = many(server.client().sql_query(params).await).await?;
        let rows = answers.into_iter().flat_map(|answer| answer.sql_query_row);
        Ok::<_, Failure>(
            rows.map(|row| String::from_utf8(row.to_vec()).expect("UTF-8"))
                .collect::<Vec<_>>(),
        )
    };
    let rows = query(
        "select name from streams where collection = $1 order by name;",
        &["c"],
    )
    .await;
    assert_eq!(
        rows,
        Ok(vec![
            r#"{"name":"a"}"#.to_owned(),
            r#"{"name":"b"}"#.to_owned()
        ])
    );
    let rows = query("select uuid from streams where false", &[]).await;
    assert_eq!(rows, Ok(vec![]), "one message of no rows");
    assert_eq!(query("selec", &[]).await.expect_err("refused").0, 441);
}

/// What no call of the protocol takes is refused by gRPC, and the next call is answered.
#[tokio::test]
async fn messages_that_are_none_are_told_by_a_status() {
    let server = Server::start_with(BtrdbSettings {
        message_bytes_max: 1000,
        ..BtrdbSettings::default()
    })
    .await;
    let uuid = server.stream(1).await;
    let points: Vec<_> = (0..1000).map(|i| (i, 1.0)).collect();
    let params = InsertParams {
        uuid: uuid.clone(),
        values: rows(&points),
        ..InsertParams::default()
    };
    server.client().insert(params).await.expect_err("too large");
    assert_eq!(server.insert(&uuid, &points[..10]).await, Ok(11));
    let channel = Endpoint::from_shared(format!("http://{}", server.address)).expect("an address");
    let mut other = BTrDbClient::new(channel.connect().await.expect("a connection"));
    one(other.info(InfoParams {}).await).expect("still serving");
}
