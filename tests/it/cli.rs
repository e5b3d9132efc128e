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
        // Should a command use its default store, it is none of the developer's; nor are profiles of BTrDBs.
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .env("HOME", env!("CARGO_TARGET_TMPDIR"))
        .stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("BTRDB_")) {
        command.env_remove(name);
    }
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
    /// What it said of its store.
    store: String,
    /// What it said before.
    greeting: String,
    stderr: BufReader<std::process::ChildStderr>,
}

impl Server {
    /// A server over a store in memory.
    fn start(arguments: &[&str]) -> Self {
        let server = Self::on("memory:", arguments);
        assert!(
            server.store.starts_with("memory: (in memory only"),
            "{}",
            server.store
        );
        server
    }

    /// A server over the store at `data`.
    fn on(data: &str, arguments: &[&str]) -> Self {
        let mut command = command(&["serve", "--listen", "127.0.0.1:0", "--data", data]);
        Self::spawn(command.args(arguments))
    }

    fn spawn(command: &mut Command) -> Self {
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(process.stderr.take().unwrap());
        let mut greeting = String::new();
        let (address, store) = loop {
            let mut line = String::new();
            assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "{greeting}");
            if let Some((_, rest)) = line.split_once("listening on ") {
                let (address, store) = rest.trim_end().split_once(", store ").unwrap();
                break (address.to_owned(), store.to_owned());
            }
            greeting += &line;
        };
        Self {
            process,
            address: format!("grpc://{address}"),
            store,
            greeting,
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

    /// Imports one point of the stream lab/temp for each of `seconds`.
    #[track_caller]
    fn import_seconds(&self, folder: &Path, seconds: std::ops::Range<u32>) {
        let rows: String = seconds
            .map(|second| format!("lab,temp,{second},{second}.5\n"))
            .collect();
        let text = format!("collection,name,time,value\n{rows}");
        let file = write(folder, "seconds.csv", &text);
        assert_ok(&self.import(&["--time-unit", "s", file.to_str().unwrap()]));
    }

    /// Ends the server as a power switch would.
    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
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
    for word in ["serve", "sql", "import", "check", "stats", "Exit codes:"] {
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
    for data in ["nonsense://x", "memory:x"] {
        for command in ["serve", "sql", "check", "stats"] {
            let output = run(&[command, "--data", data]);
            assert_fails(&output, 8, "a kind of store that is not supported");
        }
    }
    let output = run(&["sql", "--connect", "grpc://127.0.0.1:1", "-c", "SELECT 1"]);
    assert_fails(&output, 5, "no server answers at grpc://127.0.0.1:1");
}

#[test]
fn who_takes_one_port_for_the_other_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let signed = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = write(folder.path(), "cert.pem", &signed.cert.pem());
    let key = write(
        folder.path(),
        "key.pem",
        &signed.signing_key.serialize_pem(),
    );
    let (certificate, key) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    let mut server = Server::start(&[
        "--tls-listen",
        "127.0.0.1:0",
        "--tls-cert",
        certificate,
        "--tls-key",
        key,
    ]);
    let mut line = String::new();
    server.stderr.read_line(&mut line).unwrap();
    let (_, rest) = line.split_once("listening on ").expect(&line);
    let tls = rest.split([' ', ',']).next().unwrap();
    let plain = server.address.trim_start_matches("grpc://");
    let ask = |scheme: &str, address: &str| {
        let address = format!("{scheme}://{address}");
        let select = ["sql", "--connect", &address, "-c", "SELECT 1"];
        run(&[&select[..], &["--ca-file", certificate]].concat())
    };
    assert_ok(&ask("grpc", plain));
    assert_ok(&ask("grpc+tls", tls));
    assert_fails(&ask("grpc+tls", plain), 5, "does not speak TLS");
    assert_fails(&ask("grpc", tls), 5, "use grpc+tls://");
}

#[test]
fn flags_that_would_leave_a_server_open_or_contradict_are_refused() {
    let memory = ["serve", "--data", "memory:", "--listen", "127.0.0.1:0"];
    for (flags, message) in [
        (["--require-api-key", ""], "cannot be empty"),
        (["--require-api-key", " "], "cannot be empty"),
        (["--api-key", "k"], "use --require-api-key"),
        (["--btrdb", "127.0.0.1:1"], "there is one store"),
        (["--tls-listen", "127.0.0.1:0"], "--tls-cert"),
    ] {
        assert_fails(&run(&[&memory[..], &flags].concat()), 2, message);
    }
    let both = [
        "sql",
        "--data",
        "x",
        "--btrdb",
        "127.0.0.1:1",
        "-c",
        "SELECT 1",
    ];
    assert_fails(&run(&both), 2, "there is one store");
    // Nobody is there, and that is found out in spite of a store in the environment.
    let mut elsewhere = command(&["serve", "--btrdb", "127.0.0.1:1"]);
    let output = elsewhere.env("BTRDB_FLIGHT_DATA", "x").output().unwrap();
    assert_fails(&output, 5, "btrdb at 127.0.0.1:1 does not answer");
}

#[test]
fn a_server_with_a_key_answers_who_has_it() {
    let server = Server::start(&["--require-api-key", "one", "--require-api-key", "two"]);
    let bare = server.address.trim_start_matches("grpc://");
    let sql = ["-c", "SELECT count(*) AS n FROM streams", "--format", "csv"];
    for place in [["--connect", &server.address], ["--btrdb", bare]] {
        let ask = |key: &[&str]| run(&[&["sql"], &place[..], &sql, key].concat());
        for key in ["one", "two"] {
            let output = ask(&["--api-key", key]);
            assert_ok(&output);
            assert_eq!(stdout(&output), "n\n0\n");
        }
        assert_fails(&ask(&["--api-key", "three"]), 7, "invalid api key");
        assert_fails(&ask(&[]), 7, "invalid api key");
    }
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

const COUNT: &str = "SELECT count(*) AS n FROM lab.temp";

/// A folder for a store and for files beside it, and where the store will be.
fn place() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("store");
    (folder, data.to_str().unwrap().to_owned())
}

#[cfg(unix)]
#[test]
fn data_survives_the_end_of_a_server_and_its_death() {
    let (folder, data) = place();
    let mut server = Server::on(&data, &[]);
    assert_eq!(
        server.store,
        std::fs::canonicalize(&data).unwrap().display().to_string()
    );
    server.import_seconds(folder.path(), 0..1000);
    server.terminate();

    let mut server = Server::on(&data, &["--node-cache", "0", "--write-buffer", "1MiB"]);
    assert_eq!(server.csv(COUNT), "n\n1000\n");
    server.import_seconds(folder.path(), 1000..1500);
    server.kill();

    let server = Server::on(&data, &[]);
    assert_eq!(server.csv(COUNT), "n\n1500\n");
    assert_eq!(
        server.csv("SELECT version, point_count FROM streams"),
        "version,point_count\n12,1500\n"
    );
    assert_eq!(
        server.csv("SELECT count(*) AS n FROM lab.\"temp@11\""),
        "n\n1000\n"
    );
    assert_eq!(
        server.csv("SELECT min(value) AS a, max(value) AS b FROM lab.temp WHERE time >= '1970-01-01T00:16:40Z'"),
        "a,b\n1000.5,1499.5\n"
    );
}

#[test]
fn a_store_has_one_writer_and_any_number_of_onlookers() {
    let (folder, data) = place();
    let server = Server::on(&data, &[]);
    server.import_seconds(folder.path(), 0..10);
    let holder = format!("is open for writing in process {}", server.process.id());
    assert_fails(
        &run(&["serve", "--listen", "127.0.0.1:0", "--data", &data]),
        4,
        &holder,
    );
    assert_fails(&run(&["sql", "--data", &data, "-c", COUNT]), 4, &holder);
    let output = run(&["check", "--data", &data]);
    assert_ok(&output);
    assert!(
        stdout(&output).starts_with("1 streams, 10 points"),
        "{}",
        stdout(&output)
    );
    assert_ok(&run(&["stats", "--data", &data]));
    // Nobody disturbed it.
    server.import_seconds(folder.path(), 10..20);
    assert_eq!(server.csv(COUNT), "n\n20\n");
}

#[cfg(unix)]
#[test]
fn a_socket_is_not_left_behind_when_the_store_does_not_open() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("btrdb.sock");
    let address = format!("unix:{}", socket.display());
    let output = run(&["serve", "--listen", &address, "--data", "nonsense://x"]);
    assert_fails(&output, 8, "nonsense");
    assert!(!socket.exists());
}

#[test]
fn the_default_store_is_a_folder_of_the_working_directory() {
    let folder = tempfile::tempdir().unwrap();
    let server =
        Server::spawn(command(&["serve", "--listen", "127.0.0.1:0"]).current_dir(folder.path()));
    let data = std::fs::canonicalize(folder.path().join("btrdb-data")).unwrap();
    assert_eq!(server.store, data.display().to_string());
    for command_name in ["check", "stats"] {
        let output = command(&[command_name])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert_ok(&output);
    }
    let elsewhere = Server::spawn(
        command(&["serve", "--listen", "127.0.0.1:0"])
            .current_dir(folder.path())
            .env("BTRDB_FLIGHT_DATA", "memory:"),
    );
    assert!(elsewhere.store.starts_with("memory:"));
}

#[cfg(unix)]
#[test]
fn demo_data_is_written_once() {
    let (_folder, data) = place();
    let mut server = Server::on(&data, &["--demo"]);
    assert!(
        server.greeting.contains("17 streams"),
        "{}",
        server.greeting
    );
    let streams = "SELECT uuid, version, point_count FROM streams ORDER BY uuid";
    let first = server.csv(streams);
    server.terminate();
    let server = Server::on(&data, &["--demo"]);
    assert!(
        server.greeting.contains("the store holds it already"),
        "{}",
        server.greeting
    );
    assert_eq!(server.csv(streams), first);
}

#[test]
fn sql_runs_on_a_store_without_a_server() {
    let (folder, data) = place();
    let mut server = Server::on(&data, &[]);
    server.import_seconds(folder.path(), 0..10);
    server.kill();
    // The first leaves it so that the second can open it, however it ended.
    assert_fails(
        &run(&["sql", "--data", &data, "-c", "SELEKT"]),
        2,
        "error: ",
    );
    let output = run(&["sql", "--data", &data, "--format", "csv", "-c", COUNT]);
    assert_ok(&output);
    assert_eq!(stdout(&output), "n\n10\n");
    let output = run(&["sql", "--data", &data, "--demo", "-c", "SELECT 1"]);
    assert_ok(&output);
    assert!(
        stderr(&output).contains("only an empty one is filled"),
        "{}",
        stderr(&output)
    );
    let both = ["sql", "--data", &data, "--connect", "grpc://127.0.0.1:1"];
    assert_fails(&run(&both), 2, "cannot be used with");
}

/// Changes one bit in the middle of an object.
fn damage(object: &Path) {
    let mut bytes = std::fs::read(object).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(object, bytes).unwrap();
}

/// The objects in a folder of a store, in order.
fn objects(data: &str, folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(Path::new(data).join(folder)).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn check_finds_damage_and_names_it() {
    let (_folder, data) = place();
    assert_ok(&run(&["sql", "--data", &data, "--demo", "-c", "SELECT 1"]));
    let output = run(&["check", "--data", &data]);
    assert_ok(&output);
    assert!(
        stdout(&output).starts_with("17 streams, 2663080 points, "),
        "{}",
        stdout(&output)
    );
    assert!(stdout(&output).ends_with("no problem\n"));
    assert_eq!(stderr(&output), "");

    let object = objects(&data, "data").remove(3);
    damage(&object);
    let output = run(&["check", "--data", &data]);
    assert_fails(&output, 9, "is damaged");
    let name = object.file_name().unwrap().to_str().unwrap();
    let problem = format!("problem: object data/{name} is damaged");
    assert!(stdout(&output).contains(&problem), "{}", stdout(&output));
    // After the problems, the summary.
    let last = stdout(&output).lines().last().unwrap();
    assert!(last.starts_with("17 streams"), "{last}");
    let sum = "SELECT sum(value + 1) FROM points";
    let output = run(&["sql", "--data", &data, "-c", sum]);
    assert_fails(&output, 9, &format!("object data/{name}"));

    // Without its log a store does not open at all.
    let entry = objects(&data, "log").remove(3);
    damage(&entry);
    let name = entry.file_name().unwrap().to_str().unwrap();
    for command in ["check", "stats", "sql", "serve"] {
        let listen: &[&str] = match command {
            "serve" => &["--listen", "127.0.0.1:0"],
            _ => &[],
        };
        let output = run(&[&[command, "--data", &data], listen].concat());
        assert_fails(&output, 9, &format!("object log/{name}"));
    }
}

#[test]
fn what_only_looks_needs_a_store_that_exists() {
    let (folder, data) = place();
    for command in ["check", "stats"] {
        assert_fails(&run(&[command, "--data", &data]), 3, "there is no store");
        let empty = folder.path().to_str().unwrap();
        assert_fails(&run(&[command, "--data", empty]), 3, "there is no store");
        assert_fails(
            &run(&[command, "--data", "memory:"]),
            3,
            "there is no store",
        );
    }
    assert!(!Path::new(&data).exists());
}

#[test]
fn stats_say_where_the_bytes_are() {
    let (_folder, data) = place();
    assert_ok(&run(&["sql", "--data", &data, "--demo", "-c", "SELECT 1"]));
    let output = run(&["stats", "--data", &data]);
    assert_ok(&output);
    for part in ["17 streams, 2663080 points", "segments", "log entries"] {
        assert!(stdout(&output).contains(part), "{}", stdout(&output));
    }
    let output = run(&["stats", "--data", &data, "--format", "json"]);
    assert_ok(&output);
    let rows: Vec<serde_json::Value> = stdout(&output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let row = |what: &str| rows.iter().find(|row| row["what"] == what).unwrap();
    assert_eq!(row("points")["count"], 2_663_080);
    assert!(row("points")["bytes"].is_null());
    let on_disk: u64 = (objects(&data, "data").iter())
        .map(|path| path.metadata().unwrap().len())
        .sum();
    assert_eq!(row("segments")["bytes"], on_disk);
    let blocks: u64 = (rows.iter())
        .filter(|row| row["what"].as_str().unwrap().starts_with("segments: "))
        .map(|row| row["bytes"].as_u64().unwrap())
        .sum();
    assert!(
        blocks <= on_disk && blocks > on_disk / 2,
        "{blocks} of {on_disk}"
    );
}

#[test]
fn settings_of_the_store_have_units_and_limits() {
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    for (flag, value, message) in [
        ("--node-cache", "64MB", "KiB, MiB, GiB or TiB"),
        ("--chunk-cache", "-1", "KiB, MiB, GiB or TiB"),
        ("--live-points-memory", "4096", "1MiB at least"),
        ("--write-buffer", "0", "1MiB at least"),
        ("--fetch-buffer", "1023KiB", "1MiB at least"),
        ("--checkpoint-log", "1B", "1MiB at least"),
        ("--lease", "15", "ms, s or min"),
    ] {
        let flag = format!("{flag}={value}");
        let output = run(&[&serve[..], &["--data", "memory:", &flag]].concat());
        assert_fails(&output, 2, message);
    }
    let output = command(&serve)
        .args(["--data", "memory:"])
        .env("BTRDB_FLIGHT_NODE_CACHE", "lots")
        .output()
        .unwrap();
    assert_fails(&output, 2, "--node-cache");

    let (_folder, data) = place();
    for relaxed in [
        Server::on(
            &data,
            &["--no-fsync", "--chunk-cache=1GiB", "--lease=500ms"],
        ),
        Server::spawn(
            command(&serve)
                .args(["--data", &format!("{data}-2")])
                .env("BTRDB_FLIGHT_NO_FSYNC", "yes"),
        ),
    ] {
        assert!(
            relaxed.store.contains("a power loss may lose"),
            "{}",
            relaxed.store
        );
    }
}
