//! Every entry of the failure catalogue in ARCHITECTURE.md has a test that bears its number, or says why not yet. The
//! table of both with the results is made by `make catalogue`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::Command;

use crate::docs::{citations, files, read};

/// What the catalogue began with, F01 to F83 and two more: none of them gets lost.
fn numbers() -> BTreeSet<String> {
    let later = ["F12b", "F12c"].map(str::to_owned);
    (1..=83).map(|n| format!("F{n:02}")).chain(later).collect()
}

/// The catalogue: what must hold, by number.
fn entries() -> BTreeMap<String, String> {
    let architecture = read("ARCHITECTURE.md");
    let rows = architecture.lines().filter_map(|line| line.strip_prefix("| F")?.strip_suffix(" |"));
    let rows = rows.filter(|row| row.starts_with(|c: char| c.is_ascii_digit()));
    rows.filter_map(|row| row.split_once(" | ")).map(|(n, title)| (format!("F{n}"), title.to_owned())).collect()
}

/// The tests of this binary, and the unit tests beside the code, which another one runs.
fn tests() -> Vec<String> {
    let own = std::env::current_exe().expect("a test runs");
    let listed = Command::new(own).args(["--list", "--format=terse"]).output().expect("it runs once more");
    let listed = String::from_utf8(listed.stdout).expect("names are text");
    let own = listed.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned);
    let sources = files().into_iter().filter(|file| file.starts_with("src/") && file.ends_with(".rs"));
    let beside = sources.flat_map(|file| {
        let text = read(&file);
        let after_attribute =
            text.split("test]\n").skip(1).filter_map(|rest| rest.split("fn ").nth(1)?.split('(').next());
        after_attribute.map(|name| format!("{file}::{name}")).collect::<Vec<_>>()
    });
    own.chain(beside).collect()
}

#[test]
fn every_entry_of_the_failure_catalogue_has_a_test_or_says_why_not_yet() {
    let entries = entries();
    let lost: Vec<_> = numbers().into_iter().filter(|number| !entries.contains_key(number)).collect();
    assert!(lost.is_empty(), "the catalogue has no {lost:?}");
    // `citations` knows a number in a name by what stands before it.
    let proven: BTreeSet<String> = tests().iter().flat_map(|name| citations(&name.replace("_f", "_ f"))).collect();
    let (not_yet, done): (Vec<_>, Vec<_>) = entries.iter().partition(|(_, title)| title.contains("not yet: "));
    // Not through println, which shows it only where the test fails.
    for (number, title) in &not_yet {
        let _ = writeln!(std::io::stdout(), "not yet: {number} {title}");
    }
    let missing: Vec<_> = done.iter().filter(|(number, _)| !proven.contains(*number)).collect();
    assert!(missing.is_empty(), "no test bears the number of {missing:#?}");
    let stale: Vec<_> = not_yet.iter().filter(|(number, _)| proven.contains(*number)).collect();
    assert!(stale.is_empty(), "there is a test of {stale:#?}");
}

#[test]
fn every_trap_of_a_life_cycle_has_a_test() {
    // Only a machine has a watchdog.
    traps_have_tests('T', 28, |title| title.contains("`make boot-test`"));
}

#[test]
fn every_trap_of_certificates_has_a_test() {
    traps_have_tests('C', 27, |_| false);
}

#[test]
fn every_trap_of_a_recovery_has_a_test_or_says_why_not_yet() {
    traps_have_tests('R', 27, |title| title.contains("(not yet: "));
}

fn traps_have_tests(letter: char, count: usize, elsewhere: impl Fn(&str) -> bool) {
    let architecture = read("ARCHITECTURE.md");
    let rows = architecture.lines().filter_map(|line| line.strip_prefix(&format!("| {letter}"))?.split_once(" | "));
    let rows: Vec<_> = rows.filter(|(number, _)| number.parse::<u8>().is_ok()).collect();
    assert_eq!(rows.len(), count, "{rows:?}");
    let (tests, letter) = (tests(), letter.to_ascii_lowercase());
    let bears = |number: &str| tests.iter().any(|name| name.contains(&format!("{letter}{number}_")));
    let missing: Vec<_> = rows.iter().filter(|(number, title)| !bears(number) && !elsewhere(title)).collect();
    assert!(missing.is_empty(), "no test bears the number of {missing:?}");
}
