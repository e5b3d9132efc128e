//! The picture in `src/lib.rs`, checked: a module imports only from rows beneath it, never sideways.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The row of each module of the crate's top floor; strangers share a row.
const ROWS: [(&str, u8); 9] = [
    ("error", 0),
    ("model", 1),
    ("backend", 2),
    ("wire", 2),
    ("query", 3),
    ("engine", 3),
    ("remote", 3),
    ("serve", 4),
    ("cli", 5),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The first part of each `crate::` path in `text`, `crate::{a, b::c}` included. Comments are no code: documentation may
/// point anywhere.
fn imports(text: &str) -> Vec<String> {
    let code: String = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n");
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let is_word_before =
            code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '$');
        if is_word_before {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(group_heads(group)),
            None => found.push(word(rest)),
        }
    }
    found
}

fn word(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

/// The first word of each item of a group, whatever is nested in it.
fn group_heads(group: &str) -> Vec<String> {
    let (mut depth, mut heads, mut is_start) = (0, Vec::new(), true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => is_start = true,
            _ if is_start && depth == 0 && !c.is_whitespace() => {
                heads.push(word(&group[at..]));
                is_start = false;
            }
            _ => {}
        }
    }
    heads
}

#[test]
fn modules_import_only_from_rows_beneath() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let rows: BTreeMap<_, _> = ROWS.into_iter().collect();
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut offences = Vec::new();
    for file in &files {
        let inside = file.strip_prefix(&root).unwrap();
        let first = inside.components().next().unwrap();
        let module = Path::new(&first).file_stem().unwrap().to_str().unwrap();
        if module == "lib" || module == "main" {
            continue;
        }
        let row = *rows
            .get(module)
            .unwrap_or_else(|| panic!("{} is in no row: add it to ROWS", inside.display()));
        for import in imports(&fs::read_to_string(file).unwrap()) {
            if import == module {
                continue;
            }
            match rows.get(import.as_str()) {
                Some(other) if *other < row => {}
                Some(_) => offences.push(format!("{} imports {import}", inside.display())),
                None => offences.push(format!("{}: {import} is in no row", inside.display())),
            }
        }
    }
    assert!(offences.is_empty(), "{}", offences.join("\n"));
    assert!(files.len() > 10, "found only {} sources", files.len());
}

#[test]
fn imports_are_found_however_they_are_written() {
    let text = "use crate::error::Result;\nuse crate::{model::{Tags, Version}, backend};\n\
                // crate::cli\nlet x = crate::query::f(my_crate::g());";
    assert_eq!(imports(text), ["error", "model", "backend", "query"]);
}
