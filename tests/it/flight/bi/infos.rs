//! SqlInfo: drivers ask for all of it at once, and cast its values without looking.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, UnionArray};
use arrow::datatypes::{DataType, Int32Type, UInt32Type};

use super::drivers::fetched;
use super::*;

/// The value of each info: which child of the union it is in, and the value there.
async fn infos(client: &mut FlightSqlServiceClient<Channel>) -> BTreeMap<u32, (i8, ArrayRef)> {
    // No ids: both drivers ask for everything, once.
    let info = client.get_sql_info(Vec::new()).await;
    let batch = fetched(client, info).await;
    assert_eq!(*batch.schema().field(0).data_type(), DataType::UInt32);
    let names = batch.column(0).as_primitive::<UInt32Type>();
    let values: &UnionArray = batch.column(1).as_union();
    let rows = names.values().iter().enumerate();
    rows.map(|(row, name)| (*name, (values.type_id(row), values.value(row))))
        .collect()
}

const TEXT: i8 = 0;
const TRUTH: i8 = 1;
const INT64: i8 = 2;
const INT32: i8 = 3;
const TEXTS: i8 = 4;
const MAP: i8 = 5;

#[tokio::test]
async fn infos_have_the_types_that_drivers_cast_to_without_looking() {
    let server = site().await;
    let mut client = server.sql().await;
    let infos = infos(&mut client).await;
    let ids = |ranges: &[std::ops::RangeInclusive<u32>]| -> Vec<u32> {
        ranges.iter().cloned().flatten().collect()
    };
    let expected = [
        (TEXT, ids(&[0..=2, 6..=7, 504..=504, 513..=514, 529..=531])),
        (
            TRUTH,
            ids(&[
                3..=5,
                9..=11,
                500..=502,
                506..=506,
                515..=516,
                518..=521,
                523..=524,
                527..=527,
                532..=532,
                536..=537,
                539..=539,
                556..=556,
                563..=563,
                565..=566,
                572..=576,
            ]),
        ),
        (
            INT64,
            ids(&[503..=503, 505..=505, 507..=507, 541..=555, 557..=562]),
        ),
        (
            INT32,
            ids(&[
                8..=8,
                100..=101,
                522..=522,
                525..=526,
                528..=528,
                533..=535,
                538..=538,
                540..=540,
                564..=564,
                567..=571,
            ]),
        ),
        (TEXTS, ids(&[508..=512])),
        (MAP, ids(&[517..=517])),
    ];
    let expected: BTreeMap<u32, i8> = expected
        .into_iter()
        .flat_map(|(child, ids)| ids.into_iter().map(move |id| (id, child)))
        .collect();
    let found: BTreeMap<u32, i8> = infos.iter().map(|(id, (child, _))| (*id, *child)).collect();
    assert_eq!(found, expected);
    for (id, (child, value)) in &infos {
        let fits = match *child {
            TEXT => *value.data_type() == DataType::Utf8,
            TRUTH => *value.data_type() == DataType::Boolean,
            INT64 => *value.data_type() == DataType::Int64,
            INT32 => *value.data_type() == DataType::Int32,
            TEXTS => {
                matches!(value.data_type(), DataType::List(item) if *item.data_type() == DataType::Utf8)
            }
            _ => matches!(value.data_type(), DataType::Map(..)),
        };
        assert!(fits && value.is_valid(0), "{id}: {}", value.data_type());
    }
}

#[tokio::test]
async fn infos_say_what_the_server_does() {
    let server = site().await;
    let mut client = server.sql().await;
    let infos = infos(&mut client).await;
    let text = |id: u32| infos[&id].1.as_string::<i32>().value(0).to_owned();
    let truth = |id: u32| infos[&id].1.as_boolean().value(0);
    let number = |id: u32| infos[&id].1.as_primitive::<Int32Type>().value(0);
    assert_eq!(text(0), "btrdb-flight");
    // ODBC makes ##.##.#### of it: three numbers, two digits, two, four.
    let version = text(1);
    let parts: Vec<u32> = version
        .split('.')
        .map(|part| part.parse().expect("digits"))
        .collect();
    assert!(
        matches!(parts[..], [major, minor, patch] if major < 100 && minor < 100 && patch < 10_000)
    );
    assert_eq!(text(504), "\"");
    assert_eq!(text(513), "\\");
    assert_eq!(
        text(531),
        "catalog",
        "an empty term would mean that there are no catalogs"
    );
    for (id, expected) in [(3, false), (9, true), (10, true), (11, true)] {
        assert_eq!(truth(id), expected, "{id}");
    }
    assert_eq!(number(8), 1, "transactions");
    assert_eq!(number(100), 24 * 60 * 60 * 1000, "handles live a day");
}

#[tokio::test]
async fn functions_that_are_told_of_exist() {
    let server = site().await;
    let mut client = server.sql().await;
    let infos = infos(&mut client).await;
    let (_, rows) = cells(
        &mut client,
        "SELECT DISTINCT routine_name FROM information_schema.routines",
    )
    .await;
    let known: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    // Grammar rather than functions.
    let grammar = ["extract", "substring"];
    for id in 509..=512 {
        let names = infos[&id].1.as_list::<i32>().value(0);
        assert!(names.len() >= 5, "{id}");
        for name in names.as_string::<i32>().iter().flatten() {
            let name = name.to_lowercase();
            assert!(
                known.contains(&name.as_str()) || grammar.contains(&name.as_str()),
                "{name}"
            );
        }
    }
    for sql in [
        "SELECT EXTRACT(MINUTE FROM time), CURRENT_DATE, CURRENT_TIMESTAMP FROM points LIMIT 1",
        "SELECT SUBSTRING(name, 1, 2), CHAR_LENGTH(name), LEFT(name, 1) FROM streams",
        "SELECT version(), current_database(), current_schema(), current_catalog",
    ] {
        assert!(!cells(&mut client, sql).await.1.is_empty(), "{sql}");
    }
}

#[tokio::test]
async fn conversions_that_are_told_of_can_be_made() {
    let words = [
        (0, "BIGINT"),
        (2, "BOOLEAN"),
        (3, "CHAR"),
        (4, "DATE"),
        (5, "DECIMAL(20, 3)"),
        (6, "FLOAT"),
        (7, "INTEGER"),
        (12, "NUMERIC(20, 3)"),
        (13, "REAL"),
        (14, "SMALLINT"),
        (15, "TIME"),
        (16, "TIMESTAMP"),
        (17, "TINYINT"),
        (18, "BYTEA"),
        (19, "VARCHAR"),
    ];
    let words = BTreeMap::from(words);
    let server = site().await;
    let mut client = server.sql().await;
    let infos = infos(&mut client).await;
    let entries = infos[&517].1.as_map().value(0);
    let from = entries.column(0).as_primitive::<Int32Type>();
    let to = entries.column(1).as_list::<i32>();
    assert!(from.len() > 10);
    for (row, from) in from.values().iter().enumerate() {
        for to in to.value(row).as_primitive::<Int32Type>().values() {
            let sql = format!(
                "SELECT CAST(CAST(NULL AS {}) AS {})",
                words[from], words[to]
            );
            assert_eq!(cells(&mut client, &sql).await.1, [["NULL"]], "{sql}");
        }
    }
}
