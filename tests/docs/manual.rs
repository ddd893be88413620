//! The man pages and the completions of the shells, as `make dist` makes them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::help::{commands, expected};

#[allow(dead_code, reason = "its main is the example's")]
#[path = "../../examples/manual.rs"]
mod example;

fn made() -> TempDir {
    let directory = tempfile::tempdir().expect("there is room");
    example::write(directory.path()).expect("they can be written");
    directory
}

fn names(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).expect("it is there").map(|entry| entry.expect("an entry").file_name());
    entries.map(|name| name.to_string_lossy().into_owned()).collect()
}

/// What a program writes on both streams about a file; None where this machine has no such program.
fn run(program: &str, arguments: &[&str], file: &Path) -> Option<(bool, String)> {
    let mut command = Command::new(program);
    let output = command.args(arguments).arg(file).env("LC_ALL", "C.UTF-8").stdin(Stdio::null()).output().ok()?;
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

#[test]
fn each_command_has_a_man_page_with_the_options_that_it_uses() {
    let made = made();
    let directory = made.path().join("man");
    let of_commands = commands().into_iter().map(|command| format!("etcd-bootstrap-{command}.1"));
    assert_eq!(names(&directory), of_commands.chain(["etcd-bootstrap.1".to_owned()]).collect());
    for command in commands() {
        let page = fs::read_to_string(directory.join(format!("etcd-bootstrap-{command}.1"))).expect("it is a text");
        // roff writes a minus as \-.
        let page = page.replace("\\-", "-");
        let entries =
            page.split("\n.TP\n").skip(1).filter_map(|entry| entry.split("\\fB--").nth(1)?.split("\\f").next());
        let entries: BTreeSet<String> = entries.map(|name| format!("--{name}")).collect();
        assert_eq!(entries, expected(&command), "{command}");
    }
}

#[test]
fn the_man_pages_are_sound_and_bear_no_date() {
    let made = made();
    let directory = made.path().join("man");
    for name in names(&directory) {
        let page = directory.join(&name);
        let text = fs::read_to_string(&page).expect("it is a text");
        let title = text.lines().find(|line| line.starts_with(".TH ")).expect("a page has a title");
        assert!(title.contains(" 1 \"\" ") || title.contains(" 1  "), "{name} has a date: {title}");
        for section in [".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION", ".SH OPTIONS", ".SH \"OUTPUT AND LOG\""] {
            assert!(text.contains(&format!("\n{section}\n")), "{name} has no {section}");
        }
        assert!(text.contains("ETCD_BOOTSTRAP_DATA_DIR"), "{name} does not tell of the variables");
        for (program, arguments) in
            [("groff", ["-man", "-ww", "-z"].as_slice()), ("mandoc", &["-T", "lint", "-W", "error"])]
        {
            if let Some((sound, said)) = run(program, arguments, &page) {
                assert!(sound && said.is_empty(), "{program} on {name}: {said}");
            }
        }
    }
    let page = fs::read_to_string(directory.join("etcd-bootstrap.1")).expect("it is a text");
    for said in ["Give up after this long", "How long silent founders are waited for", "Exit codes"] {
        assert!(page.contains(said), "the program's page lacks '{said}'");
    }
}

#[test]
fn the_completions_are_sound_and_offer_what_a_command_uses() {
    let made = made();
    let directory = made.path().join("completions");
    let files = ["_etcd-bootstrap", "etcd-bootstrap.bash", "etcd-bootstrap.fish"];
    assert_eq!(names(&directory), files.map(str::to_owned).into());
    for (shell, argument, file) in
        [("zsh", "-n", files[0]), ("bash", "-n", files[1]), ("fish", "--no-execute", files[2])]
    {
        let file = directory.join(file);
        if let Some((sound, said)) = run(shell, &[argument], &file) {
            assert!(sound && said.is_empty(), "{shell}: {said}");
        }
        let text = fs::read_to_string(&file).expect("it is a text");
        for command in commands() {
            assert!(text.contains(&command), "{shell} does not know {command}");
        }
        assert!(!text.contains("logtostderr"), "{shell} offers what only old units have");
    }
    for command in commands() {
        let script = r#"source "$1" && COMP_WORDS=(etcd-bootstrap "$0" --) COMP_CWORD=2 && _etcd__bootstrap etcd-bootstrap -- "$0" && printf "%s\n" "${COMPREPLY[@]}""#;
        let (done, said) = run("bash", &["-c", script, &command], &directory.join(files[1])).expect("there is a bash");
        assert!(done, "{command}: {said}");
        assert_eq!(said.lines().map(str::to_owned).collect::<BTreeSet<_>>(), expected(&command), "{command}");
    }
}
