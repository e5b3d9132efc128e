//! The built binary, as a user runs it: text in, text and exit codes out.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use arrow::array::{Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::Float64Type;

const BINARY: &str = env!("CARGO_BIN_EXE_btrdb-flight");

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command
        .args(arguments)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

#[track_caller]
fn assert_ok(output: &Output) {
    assert!(
        output.status.success(),
        "{:?}: {}",
        output.status,
        stderr(output)
    );
}

#[track_caller]
fn assert_fails(output: &Output, code: i32, message: &str) {
    assert_eq!(output.status.code(), Some(code), "{}", stderr(output));
    assert!(stderr(output).contains(message), "{}", stderr(output));
}

/// A server on a port of its own; killed when dropped.
struct Server {
    process: Child,
    address: String,
    stderr: BufReader<std::process::ChildStderr>,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let mut process = command(&["serve", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(process.stderr.take().unwrap());
        let address = loop {
            let mut line = String::new();
            assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "the server ended");
            if let Some((_, rest)) = line.split_once("listening on ") {
                assert!(line.contains("store memory: (in memory only"), "{line}");
                break rest.split(',').next().unwrap().to_owned();
            }
        };
        Self {
            process,
            address: format!("grpc://{address}"),
            stderr,
        }
    }

    /// Rows of a query, as CSV.
    #[track_caller]
    fn csv(&self, sql: &str) -> String {
        let output = run(&[
            "sql",
            "--connect",
            &self.address,
            "--format",
            "csv",
            "-c",
            sql,
        ]);
        assert_ok(&output);
        stdout(&output).to_owned()
    }

    /// Asks the server to end, and sees that it ends well.
    #[track_caller]
    fn terminate(&mut self) {
        let id = self.process.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &id])
                .status()
                .unwrap()
                .success()
        );
        let status = self.process.wait().unwrap();
        let mut text = String::new();
        self.stderr.read_to_string(&mut text).unwrap();
        assert!(status.success(), "{status}: {text}");
    }

    fn import(&self, arguments: &[&str]) -> Output {
        let connect = ["import", "--connect", &self.address];
        run(&[&connect, arguments].concat())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already, in the tests that stop it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn help_names_commands_and_exit_codes() {
    let output = run(&["--help"]);
    assert_ok(&output);
    for word in ["serve", "sql", "import", "Exit codes:"] {
        assert!(stdout(&output).contains(word), "{word}");
    }
    assert_fails(&run(&["srve"]), 2, "unrecognized subcommand");
}

#[test]
fn statements_of_all_origins_run_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(
        folder.path(),
        "q.sql",
        "-- a comment;\nSELECT 'a;b' AS x;\nSELECT 2 AS x;",
    );
    let output = run(&[
        "sql",
        "--format",
        "csv",
        "-c",
        "SELECT 1 AS x; SELECT ';' AS x",
        "-f",
        file.to_str().unwrap(),
    ]);
    assert_ok(&output);
    assert_eq!(stdout(&output), "x\n1\nx\n;\nx\na;b\nx\n2\n");
}

#[test]
fn sql_is_read_from_stdin() {
    let mut process = command(&["sql", "--format", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = process.stdin.take().unwrap();
    stdin
        .write_all(b"SELECT 1 AS x, CAST(NULL AS DOUBLE) AS y")
        .unwrap();
    drop(stdin);
    let output = process.wait_with_output().unwrap();
    assert_ok(&output);
    assert_eq!(stdout(&output), "{\"x\":1,\"y\":null}\n");
}

#[test]
fn the_first_failure_ends_the_run() {
    let output = run(&["sql", "-c", "SELECT 1 AS x; SELEKT; SELECT 2 AS y"]);
    assert_fails(&output, 2, "error: ");
    assert!(stdout(&output).contains('x') && !stdout(&output).contains('y'));
    assert_fails(&run(&["sql", "-f", "/nowhere.sql"]), 3, "/nowhere.sql");
    assert_fails(
        &run(&["sql", "-c", "SET btrdb.nonsense = 1"]),
        2,
        "btrdb.nonsense",
    );
}

#[test]
fn settings_last_for_the_run() {
    let server = Server::start(&["--demo"]);
    let count = "EXPLAIN SELECT count(*) FROM \"demo/substation_a/pmu_1\".\"FREQ\"";
    let with = format!("{count}; SET btrdb.pushdown = false; SELECT 1; {count}");
    for place in [vec!["--demo"], vec!["--connect", server.address.as_str()]] {
        let output = run(&[&["sql", "-c", &with], place.as_slice()].concat());
        assert_ok(&output);
        let pushed = stdout(&output).find("Statistics, streams=1").unwrap();
        let scanned = stdout(&output).find("RawValues, streams=1").unwrap();
        assert!(pushed < scanned, "{}", stdout(&output));
        let bad = [
            &["sql", "-c", "SET btrdb.merge = 'sometimes'"],
            place.as_slice(),
        ]
        .concat();
        assert_fails(&run(&bad), 2, "never, equal, retain, replace");
    }
}

#[cfg(unix)]
#[test]
fn a_unix_socket_serves_and_is_cleaned_up() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("unix:{}", folder.path().join("btrdb.sock").display());
    // Left by a process that was killed.
    drop(std::os::unix::net::UnixListener::bind(&address["unix:".len()..]).unwrap());
    let mut server = Server::start(&["--listen", &address]);
    let output = run(&[
        "sql",
        "--format",
        "csv",
        "--connect",
        &address,
        "-c",
        "SELECT 1 AS x",
    ]);
    assert_ok(&output);
    assert_eq!(stdout(&output), "x\n1\n");
    assert_fails(
        &run(&["serve", "--listen", &address]),
        4,
        "another process has it",
    );
    server.terminate();
    assert!(!Path::new(&address["unix:".len()..]).exists());
}

#[test]
fn every_column_of_streams_can_be_printed() {
    for format in ["table", "csv", "json", "arrow"] {
        let sql = "SELECT * FROM streams ORDER BY uuid LIMIT 2";
        let output = run(&["sql", "--demo", "--format", format, "-c", sql]);
        assert_ok(&output);
        assert!(!output.stdout.is_empty());
    }
}

#[test]
fn tables_stop_at_max_rows() {
    let sql = "SELECT * FROM generate_series(1, 5000)";
    let output = run(&["sql", "-c", sql, "--max-rows", "3"]);
    assert_ok(&output);
    assert!(
        stderr(&output).contains("the first 3 rows"),
        "{}",
        stderr(&output)
    );
    assert_eq!(stdout(&output).lines().count(), 7);
}

#[test]
fn a_reader_that_leaves_ends_the_run_quietly() {
    let mut process = command(&[
        "sql",
        "--format",
        "csv",
        "-c",
        "SELECT * FROM generate_series(1, 50000000)",
    ])
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .unwrap();
    let mut first = [0; 6];
    process
        .stdout
        .take()
        .unwrap()
        .read_exact(&mut first)
        .unwrap();
    let output = process.wait_with_output().unwrap();
    assert_ok(&output);
    assert_eq!(stderr(&output), "");
}

#[test]
fn demo_data_is_there_to_query() {
    let output = run(&[
        "sql",
        "--demo",
        "--format",
        "csv",
        "-c",
        "SELECT count(*) AS streams FROM streams; SELECT min(value) < 59.75 AS dip FROM \"demo/substation_a/pmu_1\".\"FREQ\"",
    ]);
    assert_ok(&output);
    assert_eq!(stdout(&output), "streams\n17\ndip\ntrue\n");
    assert!(
        stderr(&output).contains("17 streams"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn arrow_output_is_a_stream() {
    let output = run(&["sql", "--format", "arrow", "-c", "SELECT 1.5 AS x"]);
    assert_ok(&output);
    let mut reader =
        arrow::ipc::reader::StreamReader::try_new(output.stdout.as_slice(), None).unwrap();
    let batch = reader.next().unwrap().unwrap();
    let values = arrow::array::cast::as_primitive_array::<Float64Type>(batch.column(0));
    assert_eq!(values.values().as_ref(), [1.5]);
}

#[test]
fn addresses_and_stores_that_do_not_work_are_refused() {
    let server = Server::start(&[]);
    let taken = server.address.trim_start_matches("grpc://");
    assert_fails(
        &run(&["serve", "--listen", taken]),
        4,
        "another process has it",
    );
    assert_fails(&run(&["serve", "--listen", "nowhere"]), 2, "HOST:PORT");
    let output = run(&["serve", "--listen", "127.0.0.1:0", "--data", "/tmp/x"]);
    assert_fails(&output, 8, "memory:");
    let output = run(&["sql", "--connect", "grpc://127.0.0.1:1", "-c", "SELECT 1"]);
    assert_fails(&output, 5, "no server answers at grpc://127.0.0.1:1");
}

#[test]
fn csv_rows_are_imported_and_bad_ones_counted() {
    let server = Server::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let file = write(
        folder.path(),
        "points.csv",
        "collection,name,unit,time,value\n\
         grid/west,VA,V,2026-01-01T00:00:00Z,1.5\n\
         grid/west,VA,V,2026-01-01T00:00:01Z,NaN\n\
         grid/west,VA,V,soon,2.5\n\
         grid/west,VA,V,2026-01-01T00:00:02Z,\n\
         grid/west,VA,V,1901-01-01T00:00:00Z,3.5\n\
         grid/west,VA,V\n\
         ,VA,V,2026-01-01T00:00:03Z,1\n\
         grid/west,VB,kV,2026-01-01T00:00:04Z,abc\n\
         grid/west,VB,kV,1767225605,4.5\n",
    );
    let file = file.to_str().unwrap();
    let output = server.import(&[file]);
    assert_fails(&output, 2, "7 rows were rejected");
    for part in [
        "9 points read, 2 accepted into 2 streams, 7 rejected",
        "1 rejected: value is NaN or infinite, first line 3",
        "1 rejected: time not understood, first line 4",
        "1 rejected: no value, first line 5",
        "1 rejected: time outside",
        "1 rejected: wrong number of fields",
        "1 rejected: no stream",
        "1 rejected: value is not a number, first line 9",
    ] {
        assert!(
            stderr(&output).contains(part),
            "{part}: {}",
            stderr(&output)
        );
    }
    let rows = server.csv("SELECT name, unit, time, value FROM points ORDER BY name");
    assert_eq!(
        rows,
        "name,unit,time,value\nVA,V,2026-01-01T00:00:00Z,1.5\nVB,kV,2026-01-01T00:00:05Z,4.5\n"
    );

    assert_ok(&server.import(&["--max-rejected", "7", "--merge", "replace", file]));
    assert_eq!(server.csv("SELECT count(*) AS n FROM points"), "n\n2\n");
}

#[test]
fn parquet_rows_are_imported_under_a_constant_path() {
    let server = Server::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("points.parquet");
    let rows = 100_000;
    let times = (0..rows).map(|row| 1_767_225_600_000_000 + row);
    let values = (0..rows).map(|row| (row != 7).then_some(row as f64));
    let batch = RecordBatch::try_from_iter([
        (
            "t",
            Arc::new(TimestampMicrosecondArray::from_iter_values(times)) as _,
        ),
        (
            "note",
            Arc::new(StringArray::from_iter_values((0..rows).map(|_| "x"))) as _,
        ),
        ("v", Arc::new(Float64Array::from_iter(values)) as _),
    ])
    .unwrap();
    let file = std::fs::File::create(&path).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let path = path.to_str().unwrap();
    let flags = [
        "--time-column",
        "t",
        "--value-column",
        "v",
        "--max-rejected",
        "1",
    ];

    let output = server.import(&[&flags[..], &[path]].concat());
    assert_fails(&output, 2, "the columns are t, note, v");
    let constant = ["--collection", "lab", "--name", "x", "--stream-unit", "A"];
    let output = server.import(&[&flags[..], &constant, &[path]].concat());
    assert_ok(&output);
    assert!(
        stderr(&output).contains("no value, first row 8"),
        "{}",
        stderr(&output)
    );
    assert_eq!(
        server.csv("SELECT count(*) AS n, max(value) AS m, max(time) AS t FROM lab.x"),
        "n,m,t\n99999,99999.0,2026-01-01T00:00:00.099999Z\n"
    );
}

#[test]
fn imports_that_cannot_be_are_refused() {
    let server = Server::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let text = "uuid,time,value\n6c0fbd1f-8a5f-4a0d-9a2e-3a1f6c2b7d11,5,1\n";
    let file = write(folder.path(), "points.csv", text);
    let file = file.to_str().unwrap();
    assert_fails(&server.import(&[file]), 2, "--time-unit");
    // A uuid names a stream that must exist.
    let output = server.import(&["--time-unit", "s", file]);
    assert_fails(&output, 3, "6c0fbd1f-8a5f-4a0d-9a2e-3a1f6c2b7d11");
    assert_fails(&server.import(&["/nowhere.csv"]), 3, "/nowhere.csv");
    let text = "collection,name,time,value\na,b,2026-01-01,1\n";
    let file = write(folder.path(), "paths.csv", text);
    let output = server.import(&["--no-create", file.to_str().unwrap()]);
    assert_fails(&output, 3, "a/b");
}

#[cfg(unix)]
#[test]
fn a_signal_ends_the_server_well() {
    Server::start(&[]).terminate();
}

#[test]
fn long_chains_of_operators_are_answered_or_refused() {
    for (terms, code) in [(900, 0), (100_000, 6)] {
        for operator in ["+", "OR", "||"] {
            let sql = vec!["1"; terms].join(&format!(" {operator} "));
            let sql = match operator {
                "OR" => format!("SELECT {}", sql.replace('1', "(1 > 2)")),
                "||" => format!("SELECT {}", sql.replace('1', "'1'")),
                _ => format!("SELECT {sql}"),
            };
            let mut file = tempfile::NamedTempFile::new().unwrap();
            std::io::Write::write_all(&mut file, sql.as_bytes()).unwrap();
            let done = run(&["sql", "-f", file.path().to_str().unwrap()]);
            let error = String::from_utf8_lossy(&done.stderr);
            assert_eq!(
                done.status.code(),
                Some(code),
                "{terms} {operator}: {error}"
            );
        }
    }
}
