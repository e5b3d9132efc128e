//! The shell over a store in a directory: streams, statistics, and files beside them.

use std::path::Path;
use std::process::Command;

use btrdb_flight::backend::Backend;
use btrdb_flight::engine::{Engine, Settings};
use btrdb_flight::model::{InsertOptions, StreamDescriptor, StreamId, Tags, Write};
use uuid::Uuid;

const SECOND: i64 = 1_000_000_000;

async fn fill(folder: &Path) {
    let location = folder.to_str().expect("a path in text");
    let engine = Engine::open(location, Settings::default())
        .await
        .expect("opens");
    let stream = StreamId(Uuid::from_u128(1));
    let descriptor = StreamDescriptor {
        id: stream,
        collection: "pmu/north".to_owned(),
        tags: Tags {
            name: "voltage".to_owned(),
            unit: "V".to_owned(),
            ..Tags::default()
        },
        annotations: Default::default(),
        property_version: 0,
    };
    engine.create(descriptor).await.expect("creates");
    let write = Write {
        stream,
        times: (0..600).map(|i| i * SECOND).collect::<Vec<_>>().into(),
        values: (0..600).map(f64::from).collect::<Vec<_>>().into(),
    };
    for answer in engine.insert(vec![write], InsertOptions::default()).await {
        answer.expect("inserts");
    }
    engine.close().await.expect("closes");
}

fn run(folder: &Path, statements: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_btrdb-datafusion-cli"));
    command
        .arg("--quiet")
        .args(["--format", "csv"])
        .arg("--data")
        .arg(folder);
    for statement in statements {
        command.args(["-c", statement]);
    }
    let output = command.output().expect("runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).expect("text")
}

#[tokio::test]
async fn streams_are_tables_beside_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    fill(&store).await;
    let limits = folder.path().join("limits.csv");
    std::fs::write(&limits, "name,most\nvoltage,250\n").expect("writes");
    let text = run(
        &store,
        &[
            "SELECT count(*), avg(value), max(time) FROM btrdb.\"pmu/north\".voltage",
            "EXPLAIN SELECT date_trunc('minute', time), max(value) FROM btrdb.\"pmu/north\".voltage GROUP BY 1",
            &format!(
                "SELECT count(*) AS over FROM btrdb.public.points JOIN '{}' AS limits USING (name) WHERE value > most",
                limits.display()
            ),
            "SELECT mean FROM windows('pmu/north/voltage', INTERVAL '5 minutes')",
        ],
    );
    for expected in [
        "600,299.5,1970-01-01T00:09:59Z",
        "BtrdbScanExec: Windows, streams=1 [pmu/north/voltage]",
        "over\n349\n",
        "149.5\n449.5\n",
    ] {
        assert!(text.contains(expected), "{expected} in\n{text}");
    }
}
