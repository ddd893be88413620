//! What the documents, the units and the Ignition sources say about the program is what the program does. Each test
//! derives one side from the code; what no test can know is left to their readers.

mod help;
mod manual;
mod options;
mod reasons;
mod references;
mod units;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// `F28`, `E17`, `F12b`, and the `f28` of a test's name.
pub fn citations(text: &str) -> BTreeSet<String> {
    let boundary = |c: Option<char>| !c.is_some_and(|c| c.is_ascii_alphanumeric());
    let mut cited = BTreeSet::new();
    for (at, c) in text.char_indices().filter(|(_, c)| matches!(c, 'F' | 'E' | 'f')) {
        let rest = &text[at + 1..];
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let letter = usize::from(rest[digits..].starts_with(['b', 'c']));
        let next = rest[digits + letter..].chars().next();
        let in_name = c == 'f' && next == Some('_') && (2..=3).contains(&digits);
        let in_comment = c != 'f' && boundary(next) && next != Some('_') && (1..=3).contains(&digits);
        if boundary(text[..at].chars().next_back()) && (in_name || in_comment) {
            cited.insert(format!("{}{}", c.to_ascii_uppercase(), &rest[..digits + letter]));
        }
    }
    cited
}

// ---------------------------------------------------------------- reading

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn read(file: &str) -> String {
    let bytes = fs::read(root().join(file)).unwrap_or_else(|e| panic!("read {file}: {e}"));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// All files of the repository, without what git ignores.
pub fn files() -> Vec<String> {
    let mut files = Vec::new();
    let mut directories: Vec<PathBuf> = vec![root().to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("the repository can be listed") {
            let path = entry.expect("the repository can be listed").path();
            let name = path.strip_prefix(root()).expect("it is below the root").to_string_lossy().into_owned();
            match path.is_dir() {
                true if ["target", ".git"].contains(&name.as_str()) => {}
                true => directories.push(path),
                false => files.push(name),
            }
        }
    }
    files.sort();
    files
}

/// What people and systemd are told: documents, units, Ignition's sources, the files around the build.
fn told() -> Vec<(String, String)> {
    let told = |file: &String| {
        file.starts_with("systemd/")
            || file.starts_with("docs/")
            || file.starts_with("cloudformation/")
            || file.starts_with("terraform/")
            || file.ends_with(".bu")
            || ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "Dockerfile", ".ci/run"].contains(&file.as_str())
    };
    files().into_iter().filter(told).map(|file| (file.clone(), read(&file))).collect()
}

/// README.md from a heading to the next one of its rank.
pub fn section(heading: &str) -> String {
    let readme = read("README.md");
    let rest = readme.split(&format!("\n{heading}\n")).nth(1).unwrap_or_else(|| panic!("README.md has no '{heading}'"));
    rest.split("\n## ").next().unwrap_or_default().to_owned()
}

/// The first table of a section of README.md, without its head.
fn table(heading: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| {
        let inner = line.trim_start_matches('|').trim_end_matches('|');
        inner.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<String>>()
    };
    let section = section(heading);
    let lines = section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let rows: Vec<Vec<String>> = lines.skip(2).map(cells).collect();
    assert!(rows.iter().all(|row| row.len() == rows[0].len()), "a row of '{heading}' has more cells than another");
    rows
}

/// The first table of a section of README.md is what the code says: with `UPDATE=1` it is written there.
fn is_generated(heading: &str, head: [&str; 4], rows: &[[String; 4]]) {
    let line = |cells: [&str; 4]| format!("| {} |", cells.join(" | "));
    let rows = rows.iter().map(|row| line(row.each_ref().map(String::as_str)));
    let lines: Vec<String> = [line(head), line(["---"; 4])].into_iter().chain(rows).collect();
    let section = section(heading);
    let written: Vec<&str> =
        section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|')).collect();
    if written == lines {
        return;
    }
    assert!(
        std::env::var_os("UPDATE").is_some(),
        "the table of '{heading}' is another one: UPDATE=1 cargo test docs::"
    );
    let readme = read("README.md").replacen(&written.join("\n"), &lines.join("\n"), 1);
    fs::write(root().join("README.md"), readme).expect("README.md can be written");
}

/// What stands in backquotes.
fn words(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(|word| word.replace('\n', " ")).collect()
}

/// The values of a key in a unit file, in their order.
fn values(unit: &str, key: &str) -> Vec<String> {
    let value = |line: &str| line.strip_prefix(key)?.strip_prefix('=').map(str::to_owned);
    unit.lines().filter_map(value).collect()
}

/// Every word that begins with a prefix, as far as names and paths go.
fn tokens(text: &str, prefix: &str) -> BTreeSet<String> {
    let of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    let starts = text.match_indices(prefix).map(|(at, _)| at);
    let starts = starts.filter(|at| !text[..*at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_'));
    starts
        .map(|at| {
            let end = text[at + prefix.len()..].find(|c| !of_name(c)).map_or(text.len(), |end| at + prefix.len() + end);
            text[at..end].to_owned()
        })
        .collect()
}
