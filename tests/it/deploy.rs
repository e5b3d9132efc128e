//! The files under `deploy/` name flags and paths: both must exist, or they rot.

use std::fs;
use std::path::Path;

use btrdb_flight::cli::{Cli, exit};
use btrdb_flight::error::ErrorKind;
use clap::CommandFactory;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn assert_accepted(arguments: &[&str], origin: &str) {
    if let Err(error) = Cli::command().try_get_matches_from(arguments) {
        panic!("{origin}: {arguments:?} is refused: {error}");
    }
}

/// The instructions of a Dockerfile, continued lines joined.
fn instructions(dockerfile: &str) -> Vec<(String, String)> {
    let joined = dockerfile
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .collect::<Vec<_>>()
        .join("\n")
        .replace("\\\n", " ");
    joined
        .lines()
        .filter_map(|line| line.trim().split_once(char::is_whitespace))
        .map(|(name, rest)| (name.to_ascii_uppercase(), rest.trim().to_owned()))
        .collect()
}

#[test]
fn the_image_runs_arguments_that_exist() {
    let instructions = instructions(&read("deploy/Dockerfile"));
    let list = |wanted: &str| -> Vec<String> {
        let (_, text) = instructions
            .iter()
            .rfind(|(name, _)| name == wanted)
            .unwrap_or_else(|| panic!("no {wanted}"));
        serde_json::from_str(text).unwrap()
    };
    let line: Vec<_> = [list("ENTRYPOINT"), list("CMD")].concat();
    assert!(line[0].ends_with("/btrdb-flight"), "{line:?}");
    let line: Vec<_> = line.iter().map(String::as_str).collect();
    assert_accepted(&line, "deploy/Dockerfile");

    let one = |wanted: &str| -> &str {
        let found = instructions.iter().find(|(name, _)| name == wanted);
        &found.unwrap_or_else(|| panic!("no {wanted}")).1
    };
    let port = one("EXPOSE");
    assert!(
        line.iter().any(|part| part.ends_with(&format!(":{port}"))),
        "{line:?}"
    );
    // The data outlives the container, and the user that is not root may write it.
    let data = data_of(&line);
    assert_eq!(one("VOLUME"), data);
    assert!(
        instructions.iter().any(|(name, text)| name == "COPY"
            && text.contains("--chown=nonroot")
            && text.ends_with(data)),
        "nobody owns {data}"
    );
}

/// What follows `--data`.
fn data_of<'a>(line: &[&'a str]) -> &'a str {
    let mut parts = line.iter().skip_while(|part| **part != "--data");
    parts
        .nth(1)
        .unwrap_or_else(|| panic!("no --data: {line:?}"))
}

#[test]
fn the_image_is_built_from_what_is_there() {
    let instructions = instructions(&read("deploy/Dockerfile"));
    let froms: Vec<_> = instructions
        .iter()
        .filter(|(name, _)| name == "FROM")
        .collect();
    assert!(froms.len() > 1, "one stage would ship the compiler");
    assert!(froms[0].1.starts_with("rust:1.95"), "{}", froms[0].1);
    assert!(
        instructions
            .iter()
            .any(|(name, text)| name == "RUN" && text.contains("cargo build --release --locked"))
    );
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (_, text) in instructions
        .iter()
        .filter(|(name, text)| name == "COPY" && !text.starts_with("--"))
    {
        let mut paths: Vec<_> = text.split_whitespace().collect();
        paths.pop();
        for path in paths {
            assert!(root.join(path).exists(), "COPY {path}: there is none");
        }
    }
}

#[test]
fn the_service_runs_arguments_that_exist() {
    let unit = read("deploy/btrdb-flight.service");
    let mut sections = Vec::new();
    let mut data = Vec::new();
    let mut folders = Vec::new();
    for line in unit.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(section) = line.strip_prefix('[') {
            sections.push(section.trim_end_matches(']').to_owned());
            continue;
        }
        let (key, value) = line
            .split_once('=')
            .unwrap_or_else(|| panic!("no setting: {line}"));
        if key == "StateDirectory" {
            folders.push(format!("/var/lib/{value}"));
        }
        if key == "RestartPreventExitStatus" {
            let codes = [
                ErrorKind::Invalid,
                ErrorKind::Unsupported,
                ErrorKind::Corrupt,
            ];
            let codes = codes.map(|kind| exit::code(kind).to_string());
            assert_eq!(value, codes.join(" "));
        }
        if key.starts_with("Exec") {
            let line: Vec<_> = value.split_whitespace().collect();
            assert!(
                line[0].starts_with('/') && line[0].ends_with("/btrdb-flight"),
                "{line:?}"
            );
            assert_accepted(&line, "deploy/btrdb-flight.service");
            data.push(data_of(&line).to_owned());
        }
    }
    assert_eq!(sections, ["Unit", "Service", "Install"]);
    assert_eq!(data.len(), 1);
    assert_eq!(data, folders, "systemd makes the folder of the store");
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}
