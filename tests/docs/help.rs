//! The help of each command: what it uses, and no more.

use std::collections::BTreeSet;

use clap::error::ErrorKind;
use clap::{Arg, CommandFactory};
use etcd_bootstrap::cli::{self, Cli, USES};

use super::{told, words};

/// The commands, as they are typed.
pub fn commands() -> Vec<String> {
    Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect()
}

/// What the program prints for these arguments.
fn help(arguments: &[&str]) -> String {
    let line = [&["etcd-bootstrap"], arguments].concat();
    let asked = cli::parse(line.into_iter().map(Into::into)).expect_err("clap tells help as an error");
    assert_eq!(asked.kind(), ErrorKind::DisplayHelp, "{arguments:?}: {asked}");
    asked.to_string()
}

/// The options that a help or a page has an entry for, those of clap's own among them.
fn entries(help: &str) -> BTreeSet<String> {
    let entry = |line: &str| {
        let entry = line.trim_start().split("  ").next().unwrap_or_default();
        let entry = entry.strip_prefix("-h, ").or_else(|| entry.strip_prefix("-V, ")).unwrap_or(entry);
        let entry = entry.strip_prefix("-v, ").unwrap_or(entry);
        let name = entry.strip_prefix("--")?.split([' ', '[', '=']).next()?;
        Some(format!("--{name}"))
    };
    help.lines().filter_map(entry).collect()
}

/// The options that a command has for itself.
fn own(command: &str) -> BTreeSet<String> {
    let program = Cli::command();
    let command = program.find_subcommand(command).expect("it is a command");
    command.get_arguments().filter_map(|option| option.get_long().map(|name| format!("--{name}"))).collect()
}

/// What the help of a command has to show.
pub fn expected(command: &str) -> BTreeSet<String> {
    let program = Cli::command();
    let uses = |option: &&Arg| {
        let id = option.get_id().as_str();
        USES.iter().any(|(ids, names)| ids.split(' ').any(|i| i == id) && names.split(' ').any(|n| n == command))
    };
    let used = program.get_arguments().filter(uses).filter_map(Arg::get_long).map(|name| format!("--{name}"));
    used.chain(own(command)).chain(["--help".to_owned()]).collect()
}

#[test]
fn the_table_of_uses_names_each_option_once_and_commands_that_exist() {
    let program = Cli::command();
    let options = program.get_arguments().filter(|option| !option.is_hide_set());
    let mut options: Vec<&str> = options.map(|option| option.get_id().as_str()).collect();
    let mut listed: Vec<&str> = USES.iter().flat_map(|(ids, _)| ids.split(' ')).collect();
    options.sort_unstable();
    listed.sort_unstable();
    assert_eq!(listed, options, "each option has a row, and each row options");
    let commands = commands();
    for (ids, names) in USES {
        let names: Vec<&str> = names.split(' ').collect();
        assert!(names.iter().all(|name| commands.iter().any(|command| command == name)), "{ids}: {names:?}");
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{ids}: {names:?}");
    }
}

#[test]
fn a_command_shows_the_options_that_it_uses_in_each_form_of_its_help() {
    for command in commands() {
        for form in [[command.as_str(), "--help"], [&command, "-h"], ["help", &command]] {
            assert_eq!(entries(&help(&form)), expected(&command), "{form:?}");
        }
        let [short, long] = ["-h", "--help"].map(|form| help(&[&command, form]).lines().count());
        // One that fits on a screen has no need of another.
        assert!(short < long || long <= 50, "{command}: {short} lines, and {long}");
    }
}

#[test]
fn the_program_shows_all_options_by_topic_and_its_commands_in_short() {
    let (short, long) = (help(&["-h"]), help(&["--help"]));
    let program = Cli::command();
    let options = program.get_arguments().filter(|option| !option.is_hide_set());
    let all = options.filter_map(Arg::get_long).map(|name| format!("--{name}"));
    let by_clap = || ["--help", "--version"].map(str::to_owned);
    assert_eq!(entries(&long), all.chain(by_clap()).collect());
    assert_eq!(entries(&short), by_clap().into());
    for command in commands() {
        assert!(short.lines().any(|line| line.trim_start().starts_with(&format!("{command} "))), "{command}: {short}");
    }
    for option in program.get_arguments().filter(|option| !option.is_hide_set()) {
        let topic = option.get_help_heading().unwrap_or_else(|| panic!("{} has no topic", option.get_id()));
        let under =
            long.split(&format!("\n{topic}:\n")).nth(1).unwrap_or_else(|| panic!("{topic} stands once: {long}"));
        let under = under.lines().take_while(|line| line.is_empty() || line.starts_with(' '));
        let under = entries(&under.collect::<Vec<_>>().join("\n"));
        assert!(under.contains(&format!("--{}", option.get_long().unwrap_or_default())), "{topic}: {under:?}");
    }
}

/// What a member does in its life, and what a person does for it, are other commands'.
#[test]
fn run_shows_all_that_makes_a_member_or_a_consumer() {
    let shown = expected("run");
    for option in Cli::command().get_arguments().filter(|option| !option.is_hide_set()) {
        let topic = option.get_help_heading().unwrap_or_default();
        let of_others = ["Life cycle", "Snapshots and recovery"].contains(&topic);
        let name = format!("--{}", option.get_long().unwrap_or_default());
        // Who runs is an instance.
        assert_eq!(shown.contains(&name), !of_others && name != "--region", "{name}");
    }
}

#[test]
fn a_command_that_an_options_help_names_uses_it() {
    let commands = commands();
    let mut named = 0;
    for option in Cli::command().get_arguments() {
        let help = option.get_long_help().or(option.get_help()).map(ToString::to_string).unwrap_or_default();
        for command in words(&help).iter().filter(|word| commands.contains(word)) {
            let name = format!("--{}", option.get_long().unwrap_or_default());
            assert!(expected(command).contains(&name), "{name} is told to be of {command}: {help}");
            named += 1;
        }
    }
    assert!(named > 5, "{named} are named");
}

#[test]
fn a_command_line_that_is_documented_has_options_of_its_command_only() {
    let mut seen = 0;
    for (path, text) in told() {
        for line in ["/etcd-bootstrap ", "`etcd-bootstrap "].iter().flat_map(|begin| text.split(begin).skip(1)) {
            let line = line.split(['\n', '`']).next().unwrap_or_default();
            let line = line.split(" #").next().unwrap_or_default();
            let Some(command) = commands().into_iter().find(|command| line.split(' ').next() == Some(command)) else {
                continue;
            };
            let shown = expected(&command);
            for word in line.split(' ').filter(|word| word.starts_with("--")) {
                let name = word.split('=').next().unwrap_or_default();
                assert!(shown.contains(name), "{path}: {command} has no use for {name}: {line}");
                seen += 1;
            }
        }
    }
    assert!(seen > 5, "{seen} options are documented");
}

/// The units share one file of variables, and an old command line may have any option.
#[test]
fn every_command_accepts_every_option() {
    for command in commands() {
        for option in Cli::command().get_arguments() {
            let name = format!("--{}=1", option.get_long().expect("every option has a long name"));
            let kind = cli::command().try_get_matches_from(["etcd-bootstrap", &command, &name]).map_err(|e| e.kind());
            assert_ne!(kind.err(), Some(ErrorKind::UnknownArgument), "{command} {name}");
        }
    }
    let line = ["etcd-bootstrap", "explain", "--data-dir=/x", "file", "--emit=initial"];
    let cli = cli::parse(line.map(Into::into)).expect("both are hidden, and heard");
    let config = cli.options.config();
    assert_eq!((config.data_dir.to_str(), config.emit), (Some("/x"), etcd_bootstrap::config::Emit::Initial));
}
