//! BTrDB's SQL over metadata: the statements its clients send, PostgreSQL's words and names, and what is refused.

use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use btrdb_flight::backend::Backend;
use btrdb_flight::engine::Engine;
use btrdb_flight::error::{Code, Error, ErrorKind, Result};
use btrdb_flight::model::{
    AnnotationUpdate, Annotations, Changes, ChangesQuery, CollectionMatch, InsertOptions,
    MetadataUsage, MultiBatch, MultiQuery, NearestQuery, Point, PointBatch, PointQuery, Snapshot,
    StatBatch, StatQuery, StreamDescriptor, StreamFilter, StreamId, SubscriptionUpdate, TagKey,
    TagUpdate, Tags, TimeRange, Version, Write,
};
use btrdb_flight::query::{Gateway, GatewaySettings};
use futures::TryStreamExt;
use futures::stream::BoxStream;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

const WEST_A: &str = "a0000000-0000-4000-8000-00000000000a";
const WEST_V: &str = "b0000000-0000-4000-8000-00000000000b";
const EAST_V: &str = "c0000000-0000-4000-8000-00000000000c";
const LAB: &str = "d0000000-0000-4000-8000-00000000000d";

async fn create(
    store: &dyn Backend,
    id: &str,
    collection: &str,
    tags: [&str; 4],
    annotations: &[(&str, Option<&str>)],
) {
    let annotations: Annotations = annotations
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned)))
        .collect();
    let [name, unit, ingress, distiller] = tags.map(str::to_owned);
    let stream = StreamDescriptor {
        id: StreamId(Uuid::parse_str(id).unwrap()),
        collection: collection.to_owned(),
        tags: Tags {
            name,
            unit,
            ingress,
            distiller,
        },
        annotations,
        property_version: 0,
    };
    store.create(stream).await.expect("the stream is new");
}

/// Four streams in three collections. `LAB` has no annotations, `EAST_V` was annotated ten times.
async fn store() -> Arc<dyn Backend> {
    let engine: Arc<dyn Backend> = Engine::memory();
    let store = engine.as_ref();
    create(
        store,
        WEST_A,
        "grid/west",
        ["current", "amps", "feed", ""],
        &[
            ("Phase", Some("A")),
            ("acronym", Some("WA")),
            ("note", None),
        ],
    )
    .await;
    create(
        store,
        WEST_V,
        "grid/west",
        ["voltage", "volts", "feed", "angle"],
        &[
            ("acronym", Some("say \"hi\" \\ 'there'")),
            ("note", Some("größer 😀")),
        ],
    )
    .await;
    create(
        store,
        EAST_V,
        "grid/east",
        ["voltage", "volts", "", ""],
        &[("acronym", Some("EV"))],
    )
    .await;
    create(store, LAB, "lab", ["O'Brien_1", "", "", ""], &[]).await;
    for _ in 0..9 {
        let update = AnnotationUpdate {
            stream: StreamId(Uuid::parse_str(EAST_V).unwrap()),
            expected: None,
            changes: [("acronym".to_owned(), Some("EV".to_owned()))].into(),
            removals: Vec::new(),
        };
        store.set_annotations(update).await.unwrap();
    }
    engine
}

fn gateway_to(backend: Arc<dyn Backend>) -> Gateway {
    Gateway::new(backend, GatewaySettings::default()).unwrap()
}

async fn gateway() -> Gateway {
    gateway_to(store().await)
}

async fn rows_of(gateway: &Gateway, sql: &str, params: &[&str]) -> Result<Vec<String>> {
    let params: Vec<String> = params.iter().map(ToString::to_string).collect();
    let chunks: Vec<_> = gateway
        .metadata_sql(sql, &params)
        .await?
        .try_collect()
        .await?;
    let rows = chunks.into_iter().flatten();
    Ok(rows
        .map(|row| String::from_utf8(row.to_vec()).expect("JSON is UTF-8"))
        .collect())
}

/// Asserts the rows of each statement with its parameters.
async fn assert_rows(cases: &[(&str, &[&str], &[&str])]) {
    let gateway = gateway().await;
    for (sql, params, expected) in cases {
        let rows = rows_of(&gateway, sql, params).await;
        let rows = rows.unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert_eq!(rows, *expected, "{sql}");
    }
}

/// Asserts that each statement with its parameters is BTrDB's 441.
async fn assert_refused(cases: &[(&str, &[&str])]) {
    let gateway = gateway().await;
    for (sql, params) in cases {
        let error = rows_of(&gateway, sql, params).await.expect_err(sql);
        assert_eq!(
            (error.kind(), error.code()),
            (ErrorKind::Invalid, Some(Code::BadSqlValue)),
            "{sql}: {error}"
        );
    }
}

#[tokio::test]
async fn statements_of_clients_are_answered() {
    let east = format!(
        r#"{{"uuid":"{EAST_V}","collection":"grid/east","name":"voltage","unit":"volts","ingress":"","distiller":"","property_version":10,"annotations":{{"acronym":"EV"}}}}"#
    );
    let uuid = |id: &str| format!(r#"{{"uuid":"{id}"}}"#);
    let volts = |id: &str| format!(r#"{{"uuid":"{id}","name":"voltage","unit":"volts"}}"#);
    assert_rows(&[
        (
            "select uuid from streams where name = $1 or name = $2",
            &["voltage", "current"],
            &[&uuid(EAST_V), &uuid(WEST_A), &uuid(WEST_V)],
        ),
        (
            "select name from streams where collection = $1 order by name;",
            &["grid/west"],
            &[r#"{"name":"current"}"#, r#"{"name":"voltage"}"#],
        ),
        (
            "select name from streams where collection = $1 order by name;",
            &["nowhere"],
            &[],
        ),
        ("SELECT COUNT(uuid) FROM streams", &[], &[r#"{"count":4}"#]),
        (
            "SELECT COUNT(uuid) FROM streams WHERE collection=$1::text",
            &["grid/west"],
            &[r#"{"count":2}"#],
        ),
        (
            "SELECT COUNT(uuid) FROM streams WHERE annotations->$1::text IS NOT NULL",
            &["note"],
            &[r#"{"count":1}"#],
        ),
        (
            "select distinct(name) as name from streams where collection like $1",
            &["grid%"],
            &[r#"{"name":"voltage"}"#, r#"{"name":"current"}"#],
        ),
        (
            "select distinct(unit) as unit from streams where collection like $1",
            &["%"],
            &[r#"{"unit":"volts"}"#, r#"{"unit":"amps"}"#, r#"{"unit":""}"#],
        ),
        (
            "select distinct(skeys(annotations)) as annotations from streams",
            &[],
            &[
                r#"{"annotations":"acronym"}"#,
                r#"{"annotations":"Phase"}"#,
                r#"{"annotations":"note"}"#,
            ],
        ),
        (
            "select distinct(skeys(annotations)) as annotations from streams where collection like $1",
            &["grid/e%"],
            &[r#"{"annotations":"acronym"}"#],
        ),
        (
            "select * from streams where collection similar to $1 and name in ($2,$3) and annotations -> 'acronym' in ($4)",
            &["(grid|lab)/(e|w)%", "voltage", "current", "EV"],
            &[&east],
        ),
        (
            "SELECT uuid, name, unit from streams WHERE collection LIKE $1 and unit='volts'",
            &["grid%"],
            &[&volts(EAST_V), &volts(WEST_V)],
        ),
        ("select * from streams where uuid = $1", &[EAST_V], &[&east]),
        (
            "select * from streams where uuid = $1 and property_version > $2",
            &["C0000000-0000-4000-8000-00000000000C", "9"],
            &[&east],
        ),
    ])
    .await;
}

#[tokio::test]
async fn rows_are_exact_json() {
    assert_rows(&[
        (
            "select annotations from streams",
            &[],
            &[
                r#"{"annotations":{"acronym":"EV"}}"#,
                r#"{"annotations":{"Phase":"A","acronym":"WA","note":null}}"#,
                r#"{"annotations":{"acronym":"say \"hi\" \\ 'there'","note":"größer 😀"}}"#,
                r#"{"annotations":{}}"#,
            ],
        ),
        (
            "select 7, 1.5, 'a\n', null, true, 1e300 * 1e300, -1 as neg, array['a', null]",
            &[],
            &[
                r#"{"?column?":7,"?column?":1.5,"?column?":"a\n","?column?":null,"bool":true,"?column?":"Infinity","neg":-1,"array":["a",null]}"#,
            ],
        ),
        (
            "select property_version, avg(length(name)), count(*) from streams group by 1 order by 1",
            &[],
            &[
                r#"{"property_version":1,"avg":7.666666666666667,"count":3}"#,
                r#"{"property_version":10,"avg":7.0,"count":1}"#,
            ],
        ),
        ("select from streams limit 2", &[], &["{}", "{}"]),
        ("select name from streams where false", &[], &[]),
    ])
    .await;
}

#[tokio::test]
async fn columns_have_the_names_of_postgresql() {
    assert_rows(&[
        (
            "select Name, s.UNIT, \"name\" as \"Name\", lower(name), name::varchar, count(*)::text, '1'::int, \
             case when true then 1 end, annotations -> 'acronym', coalesce(unit, 'x') \
             from public.Streams s where s.collection = 'lab' group by name, unit, annotations",
            &[],
            &[
                r#"{"name":"O'Brien_1","unit":"","Name":"O'Brien_1","lower":"o'brien_1","name":"O'Brien_1","count":"1","int4":1,"case":1,"?column?":null,"coalesce":""}"#,
            ],
        ),
        (
            "select name, *, name from streams where uuid = $1",
            &[LAB],
            &[&format!(
                r#"{{"name":"O'Brien_1","uuid":"{LAB}","collection":"lab","name":"O'Brien_1","unit":"","ingress":"","distiller":"","property_version":1,"annotations":{{}},"name":"O'Brien_1"}}"#
            )],
        ),
        (
            "select count from (select count(uuid) from public.streams) t",
            &[],
            &[r#"{"count":4}"#],
        ),
        (
            "with volts as (select name n, max(unit) from streams where unit = 'volts' group by name) \
             select * from volts union all select lower(collection), unit from streams where unit = 'amps'",
            &[],
            &[
                r#"{"n":"voltage","max":"volts"}"#,
                r#"{"n":"grid/west","max":"amps"}"#,
            ],
        ),
    ])
    .await;
}

#[tokio::test]
async fn literals_are_read_as_what_they_stand_beside() {
    let ten: &[&str] = &[r#"{"name":"voltage"}"#];
    assert_rows(&[
        ("select name from streams where property_version > '9'", &[], ten),
        ("select name from streams where $1 < property_version", &["9"], ten),
        ("select name from streams where property_version in ($1, 11)", &[" 10 "], ten),
        (
            "select name from streams where property_version between $1 and $2",
            &["2", "10"],
            ten,
        ),
        ("select name from streams where property_version - $1 = 7", &["3"], ten),
        ("select name from streams where property_version::text = $1", &["10"], ten),
        (
            "select n from (select name as \"n\", property_version as v from streams) t where v > $1 limit $2",
            &["9", "5"],
            &[r#"{"n":"voltage"}"#],
        ),
        (
            "select collection from streams group by collection having count(*) > $1",
            &["1"],
            &[r#"{"collection":"grid/west"}"#],
        ),
        (
            "select name from streams where uuid in ($1, $2)",
            &["A0000000-0000-4000-8000-00000000000A", "d000000000004000800000000000000d"],
            &[r#"{"name":"current"}"#, r#"{"name":"O'Brien_1"}"#],
        ),
        (
            "select name from streams where uuid = $1::uuid",
            &["{D0000000-0000-4000-8000-00000000000D}"],
            &[r#"{"name":"O'Brien_1"}"#],
        ),
        // The text of a uuid is any text.
        ("select name from streams where uuid::text = $1", &["x"], &[]),
        (
            "select name from streams where uuid::text like $1",
            &["a%"],
            &[r#"{"name":"current"}"#],
        ),
        (
            "select substr(name, $1), left(name, $2), coalesce(property_version, $3) from streams limit $4",
            &["2", "3", "5", "1"],
            &[r#"{"substr":"oltage","left":"vol","coalesce":10}"#],
        ),
        (
            "select name from streams order by name offset $1 rows fetch next $2 rows only",
            &["1", "1"],
            &[r#"{"name":"current"}"#],
        ),
    ])
    .await;
    assert_refused(&[
        ("select name from streams where uuid = $1", &["nope"]),
        (
            "select name from streams where uuid in ($1, $2)",
            &[LAB, "nope"],
        ),
        ("select name from streams where uuid = $1::uuid", &["nope"]),
        (
            "select name from streams where property_version > $1",
            &["x"],
        ),
        (
            "select name from streams where property_version > $1",
            &["9.5"],
        ),
        (
            "select name from streams where property_version > $1",
            &[""],
        ),
        (
            "select name from streams where property_version > $1::text",
            &["9"],
        ),
        (
            "select name from streams where property_version like $1",
            &["1%"],
        ),
        ("select name from streams where name > 5", &[]),
        ("select name from streams where annotations like 'a%'", &[]),
        ("select name from streams limit $1", &["many"]),
        ("select name from streams limit $1", &["-1"]),
        ("select property_version + $1 from streams", &["x"]),
        ("select name::bigint from streams", &[]),
        ("select 1 / 0 from streams", &[]),
    ])
    .await;
}

#[tokio::test]
async fn annotations_are_an_hstore() {
    assert_rows(&[
        (
            "select annotations -> 'Phase' as phase, annotations -> 'phase' from streams where annotations ? 'Phase'",
            &[],
            &[r#"{"phase":"A","?column?":null}"#],
        ),
        // A key without a value is there, and has none.
        (
            "select name from streams where annotations ? $1 and annotations -> $1 is null",
            &["note"],
            &[r#"{"name":"current"}"#],
        ),
        (
            "select name from streams where not annotations ? 'note'",
            &[],
            &[r#"{"name":"voltage"}"#, r#"{"name":"O'Brien_1"}"#],
        ),
        (
            "select name, exist(annotations, 'note'), defined(annotations, 'note') from streams where collection like 'grid/west'",
            &[],
            &[
                r#"{"name":"current","exist":true,"defined":false}"#,
                r#"{"name":"voltage","exist":true,"defined":true}"#,
            ],
        ),
        (
            "select name from streams where annotations ?& array['note', 'Phase']",
            &[],
            &[r#"{"name":"current"}"#],
        ),
        (
            "select count(*) from streams where annotations ?| array['note', 'acronym']",
            &[],
            &[r#"{"count":3}"#],
        ),
        (
            "select akeys(annotations), avals(annotations) from streams where name = 'current'",
            &[],
            &[r#"{"akeys":["Phase","acronym","note"],"avals":["A","WA",null]}"#],
        ),
        (
            "select skeys, count(*) from (select skeys(annotations) from streams) t group by skeys order by count desc",
            &[],
            &[
                r#"{"skeys":"acronym","count":3}"#,
                r#"{"skeys":"note","count":2}"#,
                r#"{"skeys":"Phase","count":1}"#,
            ],
        ),
        (
            "select svals(annotations) from streams where name = 'current'",
            &[],
            &[r#"{"svals":"A"}"#, r#"{"svals":"WA"}"#, r#"{"svals":null}"#],
        ),
        (
            "select annotations::text from streams where name = 'current'",
            &[],
            &[r#"{"annotations":"\"Phase\"=>\"A\", \"acronym\"=>\"WA\", \"note\"=>NULL"}"#],
        ),
        (
            "select count(distinct annotations) from streams",
            &[],
            &[r#"{"count":4}"#],
        ),
        (
            "select distinct annotations -> 'acronym' from streams order by annotations -> 'acronym'",
            &[],
            &[
                r#"{"?column?":"EV"}"#,
                r#"{"?column?":"WA"}"#,
                r#"{"?column?":"say \"hi\" \\ 'there'"}"#,
                r#"{"?column?":null}"#,
            ],
        ),
    ])
    .await;
    assert_refused(&[
        ("select annotations -> 5 from streams", &[]),
        ("select name -> 'a' from streams", &[]),
        ("select annotations ->> 'a' from streams", &[]),
        ("select skeys(name) from streams", &[]),
        (
            "select name from streams where skeys(annotations) = 'a'",
            &[],
        ),
        ("select annotations ?& 'a' from streams", &[]),
    ])
    .await;
}

#[tokio::test]
async fn patterns_are_those_of_postgresql() {
    let gateway = gateway().await;
    for (condition, pattern, expected) in [
        ("name similar to $1", "volt%", 2),
        ("name similar to $1", "volt", 0),
        ("name similar to $1", "volt[a-z]{3}", 2),
        ("name similar to $1", "(volt|curr)(age|ent)", 3),
        ("name similar to $1", "O_Brien\\__", 1),
        ("name similar to $1", ".*", 0),
        ("name not similar to $1", "(v|c)%", 1),
        ("name similar to $1 escape '!'", "O_Brien!__", 1),
        ("name like $1", "%\\_1", 1),
        ("name like $1", "v_ltage", 2),
        ("name like $1 escape '!'", "%!_1", 1),
        ("name like $1", "VOLT%", 0),
        ("name ilike $1", "VOLT%", 2),
        ("name not ilike $1", "VOLT%", 2),
        ("name ~~ $1", "v%", 2),
        ("name ~ $1", "^v.*e$", 2),
        ("name ~* $1", "^V", 2),
        ("name !~ $1", "[oO]", 1),
    ] {
        let sql = format!("select count(*) from streams where {condition}");
        let rows = rows_of(&gateway, &sql, &[pattern]).await.expect(&sql);
        assert_eq!(
            rows,
            [format!(r#"{{"count":{expected}}}"#)],
            "{sql}, {pattern}"
        );
    }
    assert_refused(&[
        ("select * from streams where name similar to $1", &["(open"]),
        ("select * from streams where name ~ $1", &["(open"]),
        ("select * from streams where name ~ ('(' || name)", &[]),
        (
            "select * from streams where name similar to 'a' escape 'ab'",
            &[],
        ),
    ])
    .await;
}

#[tokio::test]
async fn what_is_no_such_select_is_refused() {
    assert_refused(&[
        ("", &[]),
        ("selec 1", &[]),
        ("select 'open", &[]),
        ("select 1; select 2", &[]),
        ("insert into streams values ('a')", &[]),
        ("update streams set name = 'a'", &[]),
        ("delete from streams", &[]),
        (
            "with gone as (delete from streams returning *) select * from gone",
            &[],
        ),
        ("drop table streams", &[]),
        ("create table t as select * from streams", &[]),
        ("copy streams to '/tmp/streams.csv'", &[]),
        (
            "create external table t stored as csv location '/etc/passwd'",
            &[],
        ),
        ("explain select * from streams", &[]),
        ("set datafusion.execution.batch_size = 1", &[]),
        ("show tables", &[]),
        ("select missing from streams", &[]),
        ("select \"Name\" from streams", &[]),
        ("select version, earliest, tags from streams", &[]),
        ("select * from points", &[]),
        ("select * from \"grid/west\".voltage", &[]),
        ("select * from information_schema.tables", &[]),
        ("select * from '/etc/passwd'", &[]),
        ("select * from raw_values('grid/west/voltage')", &[]),
        ("select * from generate_series(1, 1000000000000)", &[]),
        ("select repeat('x', 1000000000)", &[]),
        ("select missing(name) from streams", &[]),
        ("select lower(name, name) from streams", &[]),
        ("select sum(name) from streams", &[]),
        ("select name, count(*) from streams", &[]),
        ("select name from streams where name = $1", &[]),
        ("select name from streams where name = $1", &["a", "b"]),
        ("select name from streams where name = $2", &["a", "b"]),
        ("select name from streams", &["a"]),
        ("select name from streams where name = $1", &["a\0b"]),
    ])
    .await;
}

#[tokio::test]
async fn parameters_are_never_text_of_the_statement() {
    let gateway = gateway().await;
    for hostile in [
        "' or '1'='1",
        "'; delete from streams; --",
        "$1",
        "\\' or true --",
        "\"name\"",
        "name",
        "null",
        "E'\\x41'",
        "$$x$$",
    ] {
        for sql in [
            "select name from streams where name = $1",
            "select name from streams where collection like $1",
            "select name from streams where name in ($1, $1::text)",
            "select name from streams where annotations -> $1 = $1",
        ] {
            let rows = rows_of(&gateway, sql, &[hostile]).await.expect(sql);
            assert_eq!(rows, [""; 0], "{sql}, {hostile}");
        }
        let rows = rows_of(&gateway, "select $1 as given", &[hostile])
            .await
            .unwrap();
        let expected = json_text(hostile);
        assert_eq!(rows, [format!(r#"{{"given":{expected}}}"#)]);
    }
    let rows = rows_of(
        &gateway,
        "select name from streams where name = $1",
        &["O'Brien_1"],
    )
    .await;
    assert_eq!(rows.unwrap(), [r#"{"name":"O'Brien_1"}"#]);
}

/// Text in JSON, if there is nothing in it but quotes and backslashes to be escaped.
fn json_text(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[tokio::test]
async fn long_answers_come_in_chunks() {
    let engine: Arc<dyn Backend> = Engine::memory();
    for number in 0..2500_u128 {
        let id = Uuid::from_u128(number + 1).to_string();
        let note = "x".repeat(200);
        let tags = [&format!("s{number:04}"), "V", "", ""];
        create(engine.as_ref(), &id, "many", tags, &[("note", Some(&note))]).await;
    }
    let gateway = gateway_to(engine);
    let chunks = async |sql: &str| {
        let rows = gateway.metadata_sql(sql, &[]).await.unwrap();
        rows.try_collect::<Vec<_>>().await.unwrap()
    };
    let small = chunks("select name from streams order by name desc").await;
    assert!(
        small
            .iter()
            .all(|chunk| !chunk.is_empty() && chunk.len() <= 1000)
    );
    let rows: Vec<_> = small.concat();
    assert_eq!(rows.len(), 2500);
    assert_eq!(rows[0], r#"{"name":"s2499"}"#);
    let note = "(annotations -> 'note')";
    let sql = format!("select {} as n from streams", [note; 8].join(" || "));
    let large = chunks(&sql).await;
    let bytes = |chunk: &Vec<bytes::Bytes>| chunk.iter().map(|row| row.len()).sum::<usize>();
    assert!(large.iter().all(|chunk| bytes(chunk) < (1 << 20) + 4096));
    assert_eq!(large.concat().len(), 2500);
    assert!(large.len() > 3, "{} chunks", large.len());
}

#[tokio::test]
async fn what_conditions_name_is_all_that_is_fetched() {
    let watched = Arc::new(Watched::new(store().await));
    let gateway = gateway_to(watched.clone());
    let within = |collection| StreamFilter::collection(collection);
    let prefix = |text: &str| within(CollectionMatch::Prefix(text.to_owned()));
    let exact = |text: &str| within(CollectionMatch::Exact(text.to_owned()));
    for (sql, params, rows, expected) in [
        (
            "select count(*) from streams where collection = $1",
            &["grid/west"][..],
            1,
            Some(exact("grid/west")),
        ),
        (
            "select name from streams where collection like $1 and unit = 'volts'",
            &["grid/w%"],
            1,
            Some(StreamFilter {
                tags: vec![(TagKey::Unit, Some("volts".to_owned()))],
                ..prefix("grid/w")
            }),
        ),
        (
            "select distinct(skeys(annotations)) as annotations from streams where collection like $1",
            &["grid/e%"],
            1,
            Some(prefix("grid/e")),
        ),
        (
            "SELECT COUNT(uuid) FROM streams WHERE collection=$1::text AND annotations->$2::text IS NOT NULL",
            &["lab", "note"],
            1,
            Some(exact("lab")),
        ),
        (
            "select name from streams where collection like 'grid/%' or name = 'x'",
            &[],
            3,
            Some(StreamFilter::all()),
        ),
        ("select name from streams where uuid = $1", &[LAB], 1, None),
    ] {
        let found = rows_of(&gateway, sql, params).await.expect(sql);
        assert_eq!(found.len(), rows, "{sql}");
        let filters = std::mem::take(&mut *watched.filters.lock().unwrap());
        assert_eq!(filters, Vec::from_iter(expected), "{sql}");
    }
}

#[tokio::test]
async fn what_the_store_fails_with_stays_as_it_is() {
    for own in [
        Error::new(ErrorKind::Unavailable, "no way there").with_code(Code::MetadataConnection),
        Error::new(ErrorKind::Unavailable, "no way there"),
        Error::new(ErrorKind::Corrupt, "bytes are damaged"),
    ] {
        let expected = (own.kind(), own.code(), own.message().to_owned());
        let watched = Watched::new(store().await);
        *watched.failure.lock().unwrap() = Some(own);
        let gateway = gateway_to(Arc::new(watched));
        let error = rows_of(&gateway, "select * from streams", &[])
            .await
            .unwrap_err();
        let found = (error.kind(), error.code(), error.message().to_owned());
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn long_statements_run_or_are_refused() {
    let gateway = gateway().await;
    let chain = |count: usize| {
        let terms: Vec<String> = (0..count).map(|n| format!("name = 'n{n}'")).collect();
        format!(
            "select name from streams where name = 'current' or {}",
            terms.join(" or ")
        )
    };
    let rows = rows_of(&gateway, &chain(700), &[]).await.unwrap();
    assert_eq!(rows, [r#"{"name":"current"}"#]);
    let names: Vec<String> = (0..20_000).map(|n| format!("'n{n}'")).collect();
    let list = format!(
        "select name from streams where name in ('current', {})",
        names.join(", ")
    );
    assert_eq!(rows_of(&gateway, &list, &[]).await.unwrap().len(), 1);
    for sql in [
        chain(100_000 / 7),
        format!("select {}1{}", "(".repeat(5000), ")".repeat(5000)),
        format!(
            "select * from {}streams{}",
            "(".repeat(5000),
            ")".repeat(5000)
        ),
        format!("select {}1", "not ".repeat(5000)),
        format!("select 1{}", " + 1".repeat(5000)),
        format!("select 1{}", "::int".repeat(5000)),
    ] {
        let error = rows_of(&gateway, &sql, &[]).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.code()),
            (ErrorKind::Exhausted, Some(Code::BadSqlValue))
        );
    }
}

/// An expression of what statements are made of, whether it makes sense or not.
fn expression(random: &mut StdRng, depth: usize) -> String {
    const LEAVES: [&str; 16] = [
        "name",
        "uuid",
        "annotations",
        "property_version",
        "'a%'",
        "'('",
        "'5'",
        "''",
        "5",
        "1.5",
        "null",
        "true",
        "$1",
        "array['a', 'b']",
        "(select max(name) from streams)",
        "\"Q\"",
    ];
    const SHAPES: [&str; 32] = [
        "# = #",
        "# < #",
        "# and #",
        "# or #",
        "not #",
        "# is null",
        "# is not distinct from #",
        "# -> #",
        "# ? #",
        "# ?| #",
        "# || #",
        "# + #",
        "# / #",
        "# ~ #",
        "# like #",
        "# similar to #",
        "# not similar to # escape '!'",
        "# in (#, #)",
        "# between # and #",
        "#::text",
        "#::uuid",
        "#::bigint",
        "(#)",
        "(-#)",
        "lower(#)",
        "coalesce(#, #)",
        "case # when # then # else # end",
        "substring(# from #)",
        "skeys(#)",
        "akeys(#)",
        "count(#)",
        "max(#) over (order by #)",
    ];
    if depth == 0 {
        return LEAVES[random.random_range(0..LEAVES.len())].to_owned();
    }
    let shape = SHAPES[random.random_range(0..SHAPES.len())];
    let mut text = String::new();
    for part in shape.split_inclusive('#') {
        match part.strip_suffix('#') {
            Some(before) => {
                text.push_str(before);
                let depth = random.random_range(0..depth);
                text.push_str(&expression(random, depth));
            }
            None => text.push_str(part),
        }
    }
    text
}

#[tokio::test]
async fn no_text_breaks_it() {
    let gateway = gateway().await;
    let mut random = StdRng::seed_from_u64(7);
    let mut ran = 0;
    for round in 0..3000 {
        let depth = random.random_range(1..4);
        let [first, second] = [(); 2].map(|()| expression(&mut random, depth));
        let sql = match round % 6 {
            0 => format!("select {first}, {second} from streams"),
            1 => format!("select name from streams where {first} order by {second}"),
            2 => format!("select distinct {first} from streams order by {first} limit '3'"),
            3 => format!("select {first}, count(*) from streams group by {first} having {second}"),
            4 => format!("select {first} from streams union select {second} from streams"),
            // Cut off anywhere.
            _ => {
                let whole =
                    format!("with a as (select {first} as x from streams) select {second} from a");
                whole
                    .chars()
                    .take(random.random_range(0..whole.len()))
                    .collect()
            }
        };
        let params: &[&str] = if sql.contains("$1") { &["x"] } else { &[] };
        match rows_of(&gateway, &sql, params).await {
            Ok(_) => ran += 1,
            Err(error) => assert_eq!(error.code(), Some(Code::BadSqlValue), "{sql}: {error:?}"),
        }
    }
    assert!(ran > 100, "only {ran} of the texts were statements");
}

/// A store that remembers how it was searched, and fails where that is asked for.
#[derive(Debug)]
struct Watched {
    inner: Arc<dyn Backend>,
    filters: Mutex<Vec<StreamFilter>>,
    failure: Mutex<Option<Error>>,
}

impl Watched {
    fn new(inner: Arc<dyn Backend>) -> Self {
        Self {
            inner,
            filters: Mutex::default(),
            failure: Mutex::default(),
        }
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watched({})", self.inner)
    }
}

#[async_trait]
impl Backend for Watched {
    async fn find(&self, filter: StreamFilter) -> Result<Vec<Arc<StreamDescriptor>>> {
        if let Some(failure) = self.failure.lock().unwrap().take() {
            return Err(failure);
        }
        self.filters.lock().unwrap().push(filter.clone());
        self.inner.find(filter).await
    }

    async fn snapshot(&self) -> Result<Snapshot> {
        self.inner.snapshot().await
    }

    async fn create(&self, stream: StreamDescriptor) -> Result<()> {
        self.inner.create(stream).await
    }

    async fn describe(&self, streams: &[StreamId]) -> Result<Vec<Arc<StreamDescriptor>>> {
        self.inner.describe(streams).await
    }

    async fn versions(&self, streams: &[StreamId], snapshot: Snapshot) -> Result<Vec<Version>> {
        self.inner.versions(streams, snapshot).await
    }

    async fn set_tags(&self, update: TagUpdate) -> Result<u64> {
        self.inner.set_tags(update).await
    }

    async fn set_annotations(&self, update: AnnotationUpdate) -> Result<u64> {
        self.inner.set_annotations(update).await
    }

    async fn obliterate(&self, stream: StreamId) -> Result<()> {
        self.inner.obliterate(stream).await
    }

    async fn collections(&self, prefix: &str) -> Result<Vec<String>> {
        self.inner.collections(prefix).await
    }

    async fn metadata_usage(&self, prefix: &str) -> Result<MetadataUsage> {
        self.inner.metadata_usage(prefix).await
    }

    async fn insert(&self, writes: Vec<Write>, options: InsertOptions) -> Vec<Result<Version>> {
        self.inner.insert(writes, options).await
    }

    async fn delete(&self, stream: StreamId, range: TimeRange) -> Result<Version> {
        self.inner.delete(stream, range).await
    }

    async fn flush(&self, streams: &[StreamId]) -> Result<Vec<Version>> {
        self.inner.flush(streams).await
    }

    fn points(&self, query: PointQuery) -> BoxStream<'static, Result<PointBatch>> {
        self.inner.points(query)
    }

    fn stats(&self, query: StatQuery) -> BoxStream<'static, Result<StatBatch>> {
        self.inner.stats(query)
    }

    fn multi_values(&self, query: MultiQuery) -> BoxStream<'static, Result<MultiBatch>> {
        self.inner.multi_values(query)
    }

    async fn nearest(&self, query: NearestQuery) -> Result<Vec<(Version, Option<Point>)>> {
        self.inner.nearest(query).await
    }

    async fn changes(&self, query: ChangesQuery) -> Result<Changes> {
        self.inner.changes(query).await
    }

    fn subscribe(
        &self,
        updates: BoxStream<'static, SubscriptionUpdate>,
    ) -> BoxStream<'static, Result<Write>> {
        self.inner.subscribe(updates)
    }
}
