//! Exit codes and reasons.

use std::collections::{BTreeMap, BTreeSet};

use etcd_bootstrap::cli;
use etcd_bootstrap::exit::Exit;
use etcd_bootstrap::model::Reason;

use super::{is_generated, read, table, words};

/// The exit codes, from the text of the enum: it cannot be walked.
fn exits() -> BTreeMap<String, String> {
    let text = read("src/exit.rs");
    let body = text.split("pub enum Exit {").nth(1).and_then(|rest| rest.split('}').next()).expect("there is Exit");
    let pair = |line: &str| line.trim().trim_end_matches(',').split_once(" = ").map(|(n, c)| (c.into(), n.into()));
    body.lines().filter_map(pair).collect()
}

#[test]
fn the_table_of_exit_codes_is_the_enum() {
    let rows = table("## Exit codes");
    let documented: BTreeMap<String, String> =
        rows.iter().map(|row| (row[0].clone(), words(&row[1]).concat())).collect();
    assert_eq!(documented, exits());
    let help = cli::command().render_long_help().to_string();
    for code in exits().into_keys() {
        assert!(help.contains(&format!("{code} ")), "--help does not name the exit code {code}");
    }
}

/// Every reason that somebody has to look up, with the exit codes that it leads to.
#[test]
fn the_table_of_reasons_is_the_programs() {
    let rows: Vec<[String; 4]> = Reason::each().iter().filter_map(row).collect();
    is_generated("## Troubleshooting", ["Reason", "Exit", "Meaning", "What to do"], &rows);
    for reason in Reason::each() {
        let stops = reason.exit() == Exit::NeedsOperator;
        assert!(!stops || reason.told().row.is_some(), "who ends with 78 for {} finds nothing", reason.code());
    }
}

fn row(reason: &Reason) -> Option<[String; 4]> {
    let (meaning, remedy) = reason.told().row?;
    let exits: BTreeSet<u8> = of_each_kind(reason).iter().map(|reason| reason.exit() as u8).collect();
    let exits = exits.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
    Some([format!("`{}`", reason.code()), exits, meaning.to_owned(), remedy.to_owned()])
}

/// A reason that holds a failure, with each kind of it.
fn of_each_kind(reason: &Reason) -> Vec<Reason> {
    let text = serde_json::to_string(reason).expect("a reason is plain data");
    let kinds = ["unreachable", "denied", "throttled", "absent", "ambiguous", "malformed"];
    let with = |kind| text.replace(r#""kind":"unreachable""#, &format!(r#""kind":"{kind}""#));
    kinds.map(|kind| serde_json::from_str(&with(kind)).expect("it was written so")).to_vec()
}

/// What the program advises, the table may not contradict: an option in the one is in the other.
#[test]
fn the_table_of_reasons_gives_the_programs_advice() {
    let named = |text: &str| -> BTreeSet<String> {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        words.filter(|word| word.starts_with("--") && word.len() > 2).map(str::to_owned).collect()
    };
    for reason in Reason::each() {
        let (Some(advice), Some((meaning, remedy))) = (reason.advice(), reason.told().row) else { continue };
        // A row may give an option's value alone where its meaning has named the option.
        let known = &named(meaning) | &named(remedy);
        assert!(named(&advice).is_subset(&known), "{}: advice says {:?}", reason.code(), named(&advice));
    }
}

#[test]
fn the_exit_codes_in_the_text_are_the_compiled_ones() {
    let compiled = [Exit::Done, Exit::Usage, Exit::Unavailable, Exit::TryAgain, Exit::NeedsOperator];
    let numbers: Vec<String> = compiled.iter().map(|exit| (*exit as u8).to_string()).collect();
    assert_eq!(numbers, exits().into_keys().collect::<Vec<_>>());
}
