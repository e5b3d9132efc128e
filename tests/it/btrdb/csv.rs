//! Points and windows as rows of text.

use btrdb_flight::wire::proto::generate_csv_params::QueryType;

use super::*;

const START: i64 = 1_500_000_000_000_000_000;

fn params(query_type: QueryType, streams: &[(&Bytes, &str)]) -> GenerateCsvParams {
    GenerateCsvParams {
        query_type: query_type.into(),
        start_time: START,
        end_time: START + 4_000_000_000,
        window_size: 0,
        depth: 0,
        include_versions: false,
        streams: streams
            .iter()
            .map(|(uuid, label)| StreamCsvConfig {
                version: 0,
                label: (*label).to_owned(),
                uuid: (*uuid).clone(),
            })
            .collect(),
    }
}

/// The rows, the header first, cells with commas between them.
async fn rows(server: &Server, params: GenerateCsvParams) -> Outcome<Vec<String>> {
    let answers = many(server.client().generate_csv(params).await).await?;
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(answer.is_header, number == 0);
        assert_eq!(answer.row.len(), answers[0].row.len());
    }
    Ok(answers.iter().map(|answer| answer.row.join(",")).collect())
}

async fn two(server: &Server) -> (Bytes, Bytes) {
    let a = [
        (START, 1.0),
        (START + 1_500_000_000, -2.5),
        (START + 1_500_000_000, 1e9 / 3.0),
    ];
    let b = [(START + 1_500_000_000, -0.0), (START + 3_000_000_000, 1e21)];
    (server.stream_of(1, &a).await, server.stream_of(2, &b).await)
}

#[tokio::test]
async fn points_are_joined_on_time() {
    let server = Server::start().await;
    let (a, b) = two(&server).await;
    let found = rows(
        &server,
        params(QueryType::RawQuery, &[(&a, "a"), (&b, "b, too")]),
    )
    .await;
    assert_eq!(
        found.expect("rows"),
        [
            "Timestamp (ns),Human-Readable Time (UTC),a,b, too",
            "1500000000000000000,2017-07-14T02:40:00Z,1.000000,",
            "1500000001500000000,2017-07-14T02:40:01Z,-2.500000,-0.000000",
            "1500000001500000000,2017-07-14T02:40:01Z,333333333.333333,",
            "1500000003000000000,2017-07-14T02:40:03Z,,1000000000000000000000.000000",
        ]
    );
}

#[tokio::test]
async fn versions_are_part_of_labels_on_request() {
    let server = Server::start().await;
    let (a, b) = two(&server).await;
    let mut params = params(QueryType::RawQuery, &[(&a, "a"), (&b, "b")]);
    params.include_versions = true;
    params.streams[0].version = 10;
    let found = rows(&server, params).await.expect("rows");
    assert_eq!(
        found[0],
        "Timestamp (ns),Human-Readable Time (UTC),a, ver. 10,b, ver. 11"
    );
    assert_eq!(found.len(), 3, "the first stream was empty then");
}

#[tokio::test]
async fn windows_have_four_cells() {
    let server = Server::start().await;
    let (a, b) = two(&server).await;
    let mut regular = params(QueryType::WindowsQuery, &[(&a, "a"), (&b, "b")]);
    regular.window_size = 1_500_000_000;
    regular.include_versions = true;
    assert_eq!(
        rows(&server, regular).await.expect("rows"),
        [
            "Timestamp (ns),Human-Readable Time (UTC),\
             a, ver. 11 (Min),a, ver. 11 (Mean),a, ver. 11 (Max),a, ver. 11 (Count),\
             b, ver. 11 (Min),b, ver. 11 (Mean),b, ver. 11 (Max),b, ver. 11 (Count)",
            "1500000000000000000,2017-07-14T02:40:00Z,1.000000,1.000000,1.000000,1,0.000000,0.000000,0.000000,0",
            "1500000001500000000,2017-07-14T02:40:01Z,-2.500000,166666665.416667,333333333.333333,2,-0.000000,0.000000,-0.000000,1",
        ],
        "every window, the empty ones of zeros"
    );
    let mut aligned = params(QueryType::AlignedWindowsQuery, &[(&b, "b"), (&a, "a")]);
    aligned.depth = 30;
    let found = rows(&server, aligned).await.expect("rows");
    assert_eq!(
        found,
        [
            "Timestamp (ns),Human-Readable Time (UTC),b (Min),b (Mean),b (Max),b (Count),a (Min),a (Mean),a (Max),a (Count)",
            "1499999999008702464,2017-07-14T02:39:59Z,,,,,1.000000,1.000000,1.000000,1",
            "1500000001156186112,2017-07-14T02:40:01Z,-0.000000,0.000000,-0.000000,1,-2.500000,166666665.416667,333333333.333333,2",
            "1500000002229927936,2017-07-14T02:40:02Z,1000000000000000000000.000000,1000000000000000000000.000000,1000000000000000000000.000000,1,,,,",
        ],
        "windows without points in any stream are left out"
    );
}

#[tokio::test]
async fn times_before_1970_are_cut_off_towards_the_past() {
    let server = Server::start().await;
    let uuid = server.stream_of(1, &[(-1, 1.0), (MIN_TIME, 2.0)]).await;
    let mut params = params(QueryType::RawQuery, &[(&uuid, "a")]);
    (params.start_time, params.end_time) = (MIN_TIME, 0);
    let found = rows(&server, params).await.expect("rows");
    assert_eq!(
        found[1],
        "-1152921504606846976,1933-06-20T00:01:35Z,2.000000"
    );
    assert_eq!(found[2], "-1,1969-12-31T23:59:59Z,1.000000");
}

#[tokio::test]
async fn long_streams_are_joined_row_by_row() {
    let server = Server::start().await;
    let even: Vec<_> = (0..20_000).map(|i| (START + 2 * i, 0.0)).collect();
    let third: Vec<_> = (0..13_334).map(|i| (START + 3 * i, 1.0)).collect();
    let a = server.stream_of(1, &even).await;
    let b = server.stream_of(2, &third).await;
    let found = rows(
        &server,
        params(QueryType::RawQuery, &[(&a, "a"), (&b, "b")]),
    )
    .await;
    let found = found.expect("rows");
    let expected = (0..40_000).filter(|i| i % 2 == 0 || i % 3 == 0).count();
    assert_eq!(found.len(), 1 + expected);
    for row in &found[1..] {
        let cells: Vec<_> = row.split(',').collect();
        let offset = cells[0].parse::<i64>().expect("a time") - START;
        assert_eq!(cells[2] == "0.000000", offset % 2 == 0, "{row}");
        assert_eq!(cells[3] == "1.000000", offset % 3 == 0, "{row}");
    }
}

#[tokio::test]
async fn senseless_tables_are_refused() {
    let server = Server::start().await;
    let (a, _) = two(&server).await;
    let unknown = id(9);
    let code = async |params| rows(&server, params).await.expect_err("refused").0;
    let raw = |streams: &[(&Bytes, &str)]| params(QueryType::RawQuery, streams);
    assert_eq!(code(raw(&[(&a, "a"), (&unknown, "b")])).await, 404);
    let mut future = raw(&[(&a, "a")]);
    future.streams[0].version = 12;
    assert_eq!(code(future).await, 450);
    let mut reversed = raw(&[(&a, "a")]);
    reversed.end_time = reversed.start_time;
    assert_eq!(code(reversed).await, 413);
    assert_eq!(
        code(params(QueryType::WindowsQuery, &[(&a, "a")])).await,
        415
    );
    let mut wide = params(QueryType::AlignedWindowsQuery, &[(&a, "a")]);
    wide.depth = 64;
    assert_eq!(code(wide).await, 415);
    let mut strange = raw(&[(&a, "a")]);
    strange.query_type = 3;
    assert_eq!(code(strange).await, 438);
    let short = Bytes::from_static(b"short");
    assert_eq!(code(raw(&[(&short, "a")])).await, 438);
    let nothing = rows(&server, raw(&[])).await.expect("a header");
    assert_eq!(nothing, ["Timestamp (ns),Human-Readable Time (UTC)"]);
}
