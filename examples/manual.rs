//! The man pages and the completions of the shells, as `make dist` ships them.
//!
//!     cargo run --example manual -- DIRECTORY
//!
//! Made of the command line itself, and not by the binary, which would carry them to every node.

use std::fs;
use std::io;
use std::path::Path;

use clap::builder::Resettable;
use clap::{Arg, Command};
use clap_complete::{Generator, Shell};

fn main() -> io::Result<()> {
    let directory = std::env::args_os().nth(1).ok_or_else(|| io::Error::other("where to? DIRECTORY is missing"))?;
    write(Path::new(&directory))
}

/// Writes `man/` and `completions/` in a directory.
///
/// # Errors
/// Why they cannot be written.
pub fn write(directory: &Path) -> io::Result<()> {
    let [man, completions] = ["man", "completions"].map(|name| directory.join(name));
    for directory in [&man, &completions] {
        fs::create_dir_all(directory)?;
    }
    let command = etcd_bootstrap::cli::command();
    // A page has no short form: what `-h` leaves out belongs into it.
    clap_mangen::generate_to(command.clone().mut_args(|option| option.hide_short_help(false)), man)?;
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut shown(&command), command.get_name(), &mut script);
        // clap_complete 4.6.11 looks up in bash what a hyphen in the program's name makes it file under another name.
        let script = String::from_utf8_lossy(&script).replace("etcd__subcmd__bootstrap", "etcd__bootstrap");
        fs::write(completions.join(shell.file_name(command.get_name())), script)?;
    }
    Ok(())
}

/// A command without what its help hides: the shells would offer that too.
fn shown(command: &Command) -> Command {
    let options = command.get_arguments().filter(|option| !option.is_hide_set());
    // What is hidden may be a part of these relations, which no shell knows of.
    let alone =
        |option: &Arg| option.clone().global(false).requires(Resettable::Reset).conflicts_with(Resettable::Reset);
    let text = |text: &str| -> &'static str { text.to_owned().leak() };
    Command::new(text(command.get_name()))
        .version(command.get_version().map(text))
        .about(command.get_about().map(ToString::to_string).unwrap_or_default())
        .args(options.map(alone))
        .subcommands(command.get_subcommands().map(shown))
}
