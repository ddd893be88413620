//! The code and ARCHITECTURE.md's table agree on who imports whom, and what fences there are stand.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The crates that the table's third column is about, by the name that it gives them.
const CRATES: [(&str, &str); 15] = [
    ("aws_config", "aws"),
    ("aws_credential_types", "aws"),
    ("aws_sdk_autoscaling", "aws"),
    ("aws_sdk_ec2", "aws"),
    ("aws_smithy_http_client", "aws"),
    ("etcd_client", "etcd_client"),
    ("hyper", "hyper"),
    ("hyper_util", "hyper"),
    ("reqwest", "reqwest"),
    ("rustls", "rustls"),
    ("rustls_native_certs", "rustls"),
    ("tokio", "tokio"),
    ("tokio_rustls", "rustls"),
    ("tracing", "tracing"),
    ("tracing_subscriber", "tracing"),
];

#[derive(Debug, PartialEq, Eq)]
struct Row {
    imports: BTreeSet<String>,
    crates: BTreeSet<String>,
}

#[test]
fn every_room_imports_what_the_table_says_and_nothing_else() {
    let (table, code) = (table(), code());
    assert_eq!(table.keys().collect::<Vec<_>>(), code.keys().collect::<Vec<_>>(), "ARCHITECTURE.md has other rooms");
    for (room, row) in &code {
        assert_eq!(&table[room], row, "ARCHITECTURE.md (left) and src/{room}.rs (right) differ");
    }
}

#[test]
fn no_two_rooms_import_each_other() {
    let code = code();
    for (room, row) in &code {
        // What a room reaches through others must not lead back to it.
        let mut reached = row.imports.clone();
        let mut next: Vec<String> = reached.iter().cloned().collect();
        while let Some(via) = next.pop() {
            next.extend(code[&via].imports.iter().filter(|room| reached.insert((*room).clone())).cloned());
        }
        assert!(!reached.contains(room), "{room} imports itself by way of others: {reached:?}");
    }
}

#[test]
fn what_is_pure_is_fenced() {
    let fence = "#![deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]";
    for room in ["agreement", "decide", "model"] {
        let text = fs::read_to_string(src().join(format!("{room}.rs"))).expect("the room is there");
        assert!(text.lines().any(|line| line == fence), "src/{room}.rs lacks {fence}");
    }
}

#[test]
fn f49_nothing_but_write_deletes_anything() {
    for (room, text) in rooms() {
        let deletes = ["remove_file", "remove_dir"].iter().any(|call| text.contains(call));
        assert!(!deletes || room == "write", "src/{room}.rs deletes files");
    }
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The table under "Who may import whom".
fn table() -> BTreeMap<String, Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md");
    let text = fs::read_to_string(path).expect("ARCHITECTURE.md is there");
    let section = text.split("## Who may import whom").nth(1).expect("it has the section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let rows = section.lines().filter(|line| line.starts_with("| `")).map(cells);
    rows.map(|row| (words(&row[1]).pop_first().expect("a row has a room"), row))
        .map(|(room, row)| (room, Row { imports: words(&row[2]), crates: words(&row[3]) }))
        .collect()
}

fn words(cell: &str) -> BTreeSet<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn code() -> BTreeMap<String, Row> {
    let rooms = rooms();
    let names: BTreeSet<String> = rooms.keys().cloned().collect();
    rooms.into_iter().map(|(room, text)| (room.clone(), row(&room, &text, &names))).collect()
}

/// Each room's code, without its tests, comments and strings. `lib.rs` only lists them.
fn rooms() -> BTreeMap<String, String> {
    let mut rooms = BTreeMap::new();
    for directory in [src(), src().join("remote")] {
        for file in fs::read_dir(&directory).expect("the directory is there") {
            let path = file.expect("it can be listed").path();
            let Some(name) = path.strip_prefix(src()).ok().and_then(|p| p.to_str()?.strip_suffix(".rs")) else {
                continue;
            };
            let room = name.strip_suffix("/mod").unwrap_or(name).to_owned();
            let text = fs::read_to_string(&path).expect("it can be read");
            let text = text.split("#[cfg(test)]").next().unwrap_or_default();
            if room != "lib" {
                rooms.insert(room, bare(text));
            }
        }
    }
    rooms
}

fn bare(text: &str) -> String {
    let mut bare = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if c == '"' {
            string_length(rest)
        } else if rest.starts_with("'\"'") {
            3
        } else {
            bare.push(c);
            c.len_utf8()
        };
        rest = &rest[skipped..];
    }
    bare
}

/// The length of the string literal that `text` begins with, its quotes included.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

fn row(room: &str, text: &str, rooms: &BTreeSet<String>) -> Row {
    let mut imports = BTreeSet::new();
    // The program imports its own library by name.
    for root in ["crate", "etcd_bootstrap"] {
        imports.extend(roots(text, root).into_iter().flat_map(|rest| resolve("", rest, rooms)));
    }
    if room.starts_with("remote/") {
        imports.extend(roots(text, "super").into_iter().flat_map(|rest| resolve("remote", rest, rooms)));
    }
    let used = CRATES.iter().filter(|(name, _)| !roots(text, name).is_empty());
    let crates = used.map(|(_, column)| (*column).to_owned()).collect();
    Row { imports, crates }
}

/// What follows each `root::` that begins a path.
fn roots<'a>(text: &'a str, root: &str) -> Vec<&'a str> {
    let prefix = format!("{root}::");
    let begins = |at: &usize| !text[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
    text.match_indices(&prefix).map(|(at, _)| at).filter(begins).map(|at| &text[at + prefix.len()..]).collect()
}

/// The rooms that a path below `base` leads to; a path that names no room leads to `base` itself.
fn resolve(base: &str, rest: &str, rooms: &BTreeSet<String>) -> Vec<String> {
    if let Some(group) = rest.strip_prefix('{') {
        // Commas of inner groups separate items of a room, which name no room themselves.
        let group = group.split("};").next().unwrap_or_default();
        let parts = group.split(',').map(str::trim).filter(|part| !part.is_empty());
        return parts.flat_map(|part| resolve(base, part, rooms)).collect();
    }
    let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let full = if base.is_empty() { name.clone() } else { format!("{base}/{name}") };
    if !rooms.contains(&full) {
        return if base.is_empty() { Vec::new() } else { vec![base.to_owned()] };
    }
    match rest[name.len()..].strip_prefix("::") {
        Some(further) if full == "remote" => resolve("remote", further, rooms),
        Some(_) | None => vec![full],
    }
}
