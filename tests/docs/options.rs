//! The command line: options, variables, flags of the old tool.

use std::collections::BTreeSet;

use clap::CommandFactory;
use etcd_bootstrap::cli::{self, Cli};

use super::{is_generated, section, tokens, told, words};

#[test]
fn the_table_of_options_is_the_command_line() {
    let command = Cli::command();
    let options = command.get_arguments().filter(|option| !option.is_hide_set() && option.get_env().is_some());
    let (mut rows, mut topic) = (Vec::new(), "");
    for option in options {
        let own = option.get_help_heading().expect("every option has a topic");
        if own != topic {
            rows.push([format!("**{own}**"), String::new(), String::new(), String::new()]);
            topic = own;
        }
        rows.push(row(option));
    }
    is_generated("## Options", ["Option", "Variable", "Default", "Meaning"], &rows);
}

fn row(option: &clap::Arg) -> [String; 4] {
    let name = option.get_long().expect("every option has a long name");
    let variable = option.get_env().expect("those without were left out").to_string_lossy();
    let help = option.get_long_help().or(option.get_help()).map(ToString::to_string).unwrap_or_default();
    // Where clap knows of no default, the help says what happens.
    let (help, told) = match help.split_once(" [default: ") {
        Some((before, rest)) => {
            rest.split_once(']').map(|(told, after)| (format!("{before}{after}"), told.to_owned())).expect("it ends")
        }
        None => (help, "none".to_owned()),
    };
    let defaults = option.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy()));
    let default = defaults.reduce(|all, one| format!("{all} {one}")).unwrap_or(told);
    // A paragraph ends without its point.
    let meaning = help.replace("\n\n", ". ");
    let meaning = meaning.split_whitespace().collect::<Vec<_>>().join(" ").trim_end_matches('.').to_owned();
    for value in option.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())) {
        assert!(default == value || meaning.contains(&value), "the help of --{name} does not say what {value} means");
    }
    [format!("`--{name}`"), format!("`{variable}`"), default, meaning]
}

/// Only command lines of ours are looked at: other programs' options stand in the documents too.
#[test]
fn every_option_and_variable_that_is_named_exists() {
    let command = Cli::command();
    let mut options: BTreeSet<String> = ["--help".to_owned(), "--version".to_owned()].into();
    let arguments = command.get_subcommands().flat_map(clap::Command::get_arguments).chain(command.get_arguments());
    for argument in arguments {
        options.extend(argument.get_long_and_visible_aliases().into_iter().flatten().map(|l| format!("--{l}")));
        options.extend(argument.get_all_aliases().into_iter().flatten().map(|alias| format!("--{alias}")));
    }
    let variables: BTreeSet<String> = cli::variables().into_iter().collect();
    for (path, text) in told() {
        for name in tokens(&text, "ETCD_BOOTSTRAP_").iter().filter(|name| *name != "ETCD_BOOTSTRAP_") {
            assert!(variables.contains(name), "{path}: there is no variable {name}");
        }
        let begins = ["/etcd-bootstrap ", "`etcd-bootstrap ", "    agent "];
        for line in begins.iter().flat_map(|begin| text.split(begin).skip(1)) {
            let line = line.split(['\n', '`']).next().unwrap_or_default();
            let line = line.split(" #").next().unwrap_or_default();
            for word in line.split(' ').filter(|word| word.starts_with('-')) {
                let name = format!("--{}", word.trim_start_matches('-').split('=').next().unwrap_or_default());
                let glog = GLOG.contains(&name.as_str());
                assert!(glog || options.contains(&name), "{path}: there is no option {word}");
            }
        }
    }
}

#[test]
fn b23_f101_every_spelling_of_an_option_is_a_variable_too() {
    let variables = cli::variables();
    for option in Cli::command().get_arguments().filter(|option| option.get_env().is_some()) {
        for spelling in option
            .get_long_and_visible_aliases()
            .into_iter()
            .flatten()
            .chain(option.get_all_aliases().into_iter().flatten())
        {
            let variable = format!("ETCD_BOOTSTRAP_{}", spelling.to_uppercase().replace('-', "_"));
            assert!(variables.contains(&variable), "--{spelling} is no variable {variable}");
        }
    }
}

/// Accepted for old unit files and hidden in the help.
const GLOG: [&str; 6] =
    ["--logtostderr", "--alsologtostderr", "--vmodule", "--stderrthreshold", "--log_dir", "--log_backtrace_at"];

#[test]
fn the_flags_of_the_old_tool_that_are_promised_are_parsed() {
    let section = section("## From gambol99/etcd-discovery");
    let promised: Vec<String> = words(&section).into_iter().filter(|word| is_go_flag(word)).collect();
    assert_eq!(promised.iter().collect::<BTreeSet<_>>().len(), 16, "etcd-discovery has 16 flags: {promised:?}");
    let command = Cli::command();
    for flag in &promised {
        let known = |a: &clap::Arg| a.get_long() == flag.strip_prefix('-');
        assert!(command.get_arguments().any(known), "{flag} is promised and not known");
    }
    let lines = section.lines().filter_map(|line| line.trim().strip_prefix("ExecStart=/opt/bin/"));
    let lines: Vec<Vec<_>> = lines.map(|line| line.split(' ').map(Into::into).collect()).collect();
    assert_eq!(lines.len(), 2, "a member's and a consumer's command line");
    for line in lines {
        etcd_bootstrap::cli::parse(line.clone()).unwrap_or_else(|e| panic!("{line:?}: {e}"));
    }
}

fn is_go_flag(word: &str) -> bool {
    word.strip_prefix('-').is_some_and(|name| name.starts_with(|c: char| c.is_ascii_lowercase()))
}
