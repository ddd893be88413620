//! The floors of ARCHITECTURE.md and the code agree, and what fences there are stand.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Crates that do I/O, log, or speak for AWS and etcd, and the only rooms that may use each.
const CRATES: [(&str, &[&str]); 18] = [
    ("aws_config", &["cloud"]),
    ("aws_credential_types", &["cloud"]),
    ("aws_sdk_autoscaling", &["cloud"]),
    ("aws_sdk_ec2", &["cloud"]),
    ("aws_sdk_kms", &["cloud"]),
    ("aws_sigv4", &["cloud"]),
    ("aws_smithy_http_client", &["cloud"]),
    ("clap", &["cli"]),
    ("etcd_client", &["etcd"]),
    ("hyper", &["cloud", "founders"]),
    ("rcgen", &["certificate", "issue"]),
    ("reqwest", &["cloud", "etcd", "names", "observe"]),
    ("rustix", &["files"]),
    ("rustls_native_certs", &["cloud", "tls"]),
    ("tonic", &["etcd"]),
    ("tower", &["etcd"]),
    ("tracing", &["commands", "log", "main"]),
    ("tracing_subscriber", &["log"]),
];

/// Rooms that may do nothing but compute, and what they may import.
const PURE: [(&str, &[&str]); 2] = [("decide", &["model"]), ("model", &["exit"])];

#[test]
fn every_room_stands_on_a_floor_and_imports_from_those_below() {
    let (floors, code) = (floors(), imports());
    assert_eq!(floors.keys().collect::<Vec<_>>(), code.keys().collect::<Vec<_>>(), "ARCHITECTURE.md has other rooms");
    for (room, imported) in &code {
        for other in imported {
            assert!(floors[other] < floors[room], "src/{room} imports {other}, which is not on a floor below");
        }
    }
}

#[test]
fn a_crate_that_does_io_stays_in_its_rooms() {
    for (room, texts) in rooms() {
        for (name, allowed) in CRATES {
            let used = texts.iter().any(|text| !roots(text, name).is_empty());
            assert!(!used || allowed.contains(&room.as_str()), "src/{room} uses {name}, which is for {allowed:?}");
        }
    }
}

#[test]
fn what_is_pure_is_fenced() {
    let fence = "#![deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]";
    let code = imports();
    for (room, may_import) in PURE {
        // The fence of a module covers those in it.
        let text = fs::read_to_string(src().join(room).join("mod.rs")).expect("the room is there");
        assert!(text.lines().any(|line| line == fence), "src/{room}/mod.rs lacks {fence}");
        assert!(code[room].iter().all(|other| may_import.contains(&other.as_str())), "{room}: {:?}", code[room]);
    }
}

#[test]
fn f49_nothing_but_write_deletes_anything() {
    for file in files(&src()) {
        let text = code_of(&file);
        let deletes = ["remove_file", "remove_dir"].iter().any(|call| text.contains(call));
        assert!(!deletes || file.ends_with("files/write.rs"), "{} deletes files", file.display());
    }
}

#[test]
fn no_file_is_longer_than_five_hundred_lines() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in ["src", "tests", "examples", "fuzz"].iter().flat_map(|directory| files(&root.join(directory))) {
        let lines = fs::read_to_string(&file).expect("it can be read").lines().count();
        assert!(lines <= 500, "{} has {lines} lines", file.display());
    }
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The floor of each room, by the table under "The floors".
fn floors() -> BTreeMap<String, usize> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md");
    let text = fs::read_to_string(path).expect("ARCHITECTURE.md is there");
    let section = text.split("## The floors").nth(1).expect("it has the section");
    let rows = section.split("\n## ").next().unwrap_or_default().lines();
    let rows =
        rows.filter_map(|line| line.strip_prefix("| ")).filter(|row| row.starts_with(|c: char| c.is_ascii_digit()));
    let mut floors = BTreeMap::new();
    for row in rows {
        let mut cells = row.split('|').map(str::trim);
        let floor = cells.next().and_then(|cell| cell.parse().ok()).expect("a row begins with its floor");
        let names = cells.next().unwrap_or_default().split('`').skip(1).step_by(2);
        floors.extend(names.map(|name| (name.to_owned(), floor)));
    }
    floors
}

/// What each room imports of the others.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let rooms = rooms();
    let names: BTreeSet<String> = rooms.keys().cloned().collect();
    let of = |room: &str, texts: &[String]| {
        // The program imports its own library by name.
        let paths = texts.iter().flat_map(|text| [roots(text, "crate"), roots(text, "etcd_bootstrap")].concat());
        let imported = paths.flat_map(first_names).filter(|name| names.contains(name) && name != room);
        imported.collect()
    };
    rooms.iter().map(|(room, texts)| (room.clone(), of(room, texts))).collect()
}

/// The files of each room, which is a folder or a file of `src`. `lib.rs` only lists them.
fn rooms() -> BTreeMap<String, Vec<String>> {
    let mut rooms: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in files(&src()) {
        let path = file.strip_prefix(src()).expect("it is in there");
        let first = path.components().next().expect("it has a name").as_os_str().to_string_lossy();
        let room = first.trim_end_matches(".rs").to_owned();
        if room != "lib" {
            rooms.entry(room).or_default().push(code_of(&file));
        }
    }
    rooms
}

/// All Rust files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("the directory is there").map(|entry| entry.expect("an entry").path());
    let (directories, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let files = files.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    files.chain(directories.iter().flat_map(|directory| self::files(directory))).collect()
}

/// A file's code: no tests, no comments.
fn code_of(file: &Path) -> String {
    if file.ends_with("tests.rs") {
        return String::new();
    }
    let text = fs::read_to_string(file).expect("it can be read");
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// What follows each `root::` that begins a path.
fn roots<'a>(text: &'a str, root: &str) -> Vec<&'a str> {
    let prefix = format!("{root}::");
    let begins = |at: &usize| !text[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '"');
    text.match_indices(&prefix).map(|(at, _)| at).filter(begins).map(|at| &text[at + prefix.len()..]).collect()
}

/// The first name of a path, or of each path of a group.
fn first_names(path: &str) -> Vec<String> {
    let name = |path: &str| path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    match path.strip_prefix('{') {
        None => vec![name(path)],
        // Inner groups name no room: their commas are taken for ours, and their names are unknown.
        Some(group) => group.split("};").next().unwrap_or_default().split(',').map(|part| name(part.trim())).collect(),
    }
}
