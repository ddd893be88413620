//! The command line and the environment, parsed in full before anything is touched.
//!
//! Owns every option, its variable and its default; nobody else reads the environment. Pure but for that.

mod certificates;
mod cluster;
mod compat;
mod help;
mod node;
mod options;
mod output;
mod snapshots;
mod values;

pub use help::USES;
pub use options::Options;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, CommandFactory, FromArgMatches, Parser, Subcommand};

use self::cluster::GroupOptions;
use self::compat::from_go_form;
use self::snapshots::from;
use self::values::check;
use crate::config::From;
use crate::model::{Check, GivenUp, WhichGroup};

/// Bootstraps etcd on an EC2 Auto Scaling group: reads the group, removes members whose instance is proven dead,
/// joins the cluster or creates it, and writes the EnvironmentFile that etcd starts with.
#[derive(Debug, Parser)]
// As with Go's flags, the last of several wins: a drop-in may append to a command line.
#[command(name = "etcd-bootstrap", version, max_term_width = 110, args_override_self = true)]
#[allow(missing_docs, reason = "clap prints what stands here")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub options: Options,
}

#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
#[allow(missing_docs, reason = "clap prints what stands here")]
pub enum Command {
    /// Join or create the cluster and write the environment file (the default)
    Run,
    /// Print what is seen of each instance and member, and whether the cluster is sound
    Status,
    /// Find what a first boot, or the next replacement, would fail on; changes nothing
    Doctor {
        /// Checks that do not count, by their ids
        #[arg(long, value_name = "ID,...", value_delimiter = ',', value_parser = check)]
        ignore: Vec<Check>,
        /// What `systemctl show` has printed of etcd's unit and the agent's; `-` reads it from the standard input
        #[arg(long, value_name = "FILE|-")]
        units_from: Option<PathBuf>,
    },
    /// Decide a saved observation again and print why
    Explain {
        /// An observation.json
        file: PathBuf,
    },
    /// Beside etcd's start: promote the member from learner, wait until it serves, tag the group, complete its launch hook
    Ready,
    /// As long as the instance runs: leave the cluster when it goes for good, remove dead members though nobody joins
    Watch,
    /// Take this node's member out of its cluster, without costing the quorum
    Leave,
    /// Make a new cluster of one out of a snapshot or of this node's data, after the old one is lost; without --yes, print
    /// the plan
    Recover {
        /// What it begins with: the `latest` snapshot, `this-node`, one in a bucket, or a snapshot or database file
        #[arg(long, value_name = "latest|this-node|s3://BUCKET/KEY|FILE", value_parser = from, default_value = "latest")]
        from: From,
        /// Do it: the id of the cluster that is given up for lost, as the plan shows it; `none` where there is none
        #[arg(long, value_name = "ID|none")]
        yes: Option<GivenUp>,
        /// An instance or member that never runs again, which this program cannot see
        #[arg(long, value_name = "NAME")]
        despite: Vec<String>,
        /// Take the data of another cluster than the one that is given up
        #[arg(long)]
        foreign_snapshot: bool,
    },
    /// Put a snapshot of the cluster into --snapshot-to, where one is due
    Snapshot {
        /// Take one in any case, which no rule of the store's is to delete
        #[arg(long)]
        now: bool,
        /// Take what this member has, though no quorum confirms that it is all: of a survivor, before it is touched
        #[arg(long, requires = "now")]
        without_quorum: bool,
    },
    /// Issue this node's certificate where it is due, beside an etcd that runs
    Certificate {
        /// Issue a new one in any case, and try it on nobody
        #[arg(long)]
        force: bool,
        /// Print the certificates of the authorities instead: no secret, and the same for as long as the keys live
        #[arg(long, conflicts_with = "force")]
        authority: bool,
    },
}

impl Command {
    /// As it is typed.
    pub fn name(&self) -> String {
        let variant = format!("{self:?}").to_lowercase();
        variant.split(' ').next().unwrap_or_default().to_owned()
    }
}

/// What every variable of an option begins with.
const PREFIX: &str = "ETCD_BOOTSTRAP_";

/// The variables of the options' other spellings, by the option's id.
const OTHER_SPELLINGS: [(&str, &str); 2] = [
    ("etcd_client_schema", "ETCD_BOOTSTRAP_ETCD_CLIENT_SCHEME"),
    ("etcd_peer_scheme", "ETCD_BOOTSTRAP_ETCD_PEER_SCHEMA"),
];

/// The command line as it is parsed and shown.
pub fn command() -> clap::Command {
    help::of_each_command(Cli::command().mut_args(with_its_variable))
}

/// Parses a command line whose first item is the program's name.
///
/// # Errors
/// clap's, which print themselves; help and version are among them.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let matches = command().try_get_matches_from(arguments.into_iter().map(from_go_form))?;
    let cli = Cli::from_arg_matches(&matches)?;
    if let Some((kind, why)) = contradiction(&cli) {
        return Err(Cli::command().error(kind, why));
    }
    if let Some(unknown) = unknown_variable() {
        return Err(Cli::command().error(ErrorKind::UnknownArgument, unknown));
    }
    if is_set("ETCD_CONFIG_FILE") {
        let file = std::env::var_os("ETCD_CONFIG_FILE").unwrap_or_default().to_string_lossy().into_owned();
        let ignored =
            format!("ETCD_CONFIG_FILE={file} is set: unset it, etcd ignores every other variable when it reads a file");
        return Err(Cli::command().error(ErrorKind::ArgumentConflict, ignored));
    }
    Ok(cli)
}

/// What the options lack, or cannot have together; None where they fit.
fn contradiction(Cli { command, options }: &Cli) -> Option<(ErrorKind, String)> {
    let missing = |why: &str| Some((ErrorKind::MissingRequiredArgument, why.to_owned()));
    let conflict = |why: &str| Some((ErrorKind::ArgumentConflict, why.to_owned()));
    let group = &options.group;
    if let Some((kind, why)) = group.contradiction() {
        return Some((kind, why.to_owned()));
    }
    if let Some(why) = misplaced_endpoints(command.as_ref(), group) {
        return conflict(why);
    }
    if command == &Some(Command::Status) && group.region.is_some() && group.which() == WhichGroup::Scaling(None) {
        return missing(
            "--region needs --scaling-group-name or --discover-tag: who is no instance has no group of its own",
        );
    }
    if options.ports.user.is_some() != options.ports.password_file.is_some() {
        return missing("--user and --password-file go together: etcd takes no user without a password");
    }
    if let Some(why) = options.certificates.missing(group.proxy_mode, &options.tls) {
        return missing(why);
    }
    if let (
        true,
        Some(
            command @ (Command::Ready
            | Command::Watch
            | Command::Leave
            | Command::Doctor { .. }
            | Command::Recover { .. }
            | Command::Snapshot { .. }),
        ),
    ) = (group.proxy_mode, command)
    {
        return conflict(&format!("--proxy-mode has no {}: a consumer runs no member", command.name()));
    }
    let about_snapshots = matches!(command, Some(Command::Snapshot { .. } | Command::Recover { .. }));
    if let (true, Err(why)) = (about_snapshots, options.snapshots.snapshots()) {
        return Some((ErrorKind::InvalidValue, why));
    }
    let nowhere = options.snapshots.snapshot_to.is_none();
    if matches!(command, Some(Command::Snapshot { .. })) && nowhere {
        return missing("snapshot needs --snapshot-to: where it is to be kept");
    }
    if matches!(command, Some(Command::Recover { from: From::Latest, .. })) && nowhere {
        return missing("recover needs --from=, or --snapshot-to= where the latest snapshot is");
    }
    None
}

/// Why `--endpoints` cannot be had with the rest; None where it can.
fn misplaced_endpoints(command: Option<&Command>, group: &GroupOptions) -> Option<&'static str> {
    let first = group.endpoints.first()?;
    if !group.proxy_mode {
        return Some("--endpoints is for --proxy-mode: a member asks its group");
    }
    if group.scaling_group_name.is_some() || group.discover_tag.is_some() {
        return Some("--endpoints and the name or tag of a group each say where a consumer begins: give one of them");
    }
    if command == Some(&Command::Status) {
        return Some("status tells of a group: give --scaling-group-name or --discover-tag in place of --endpoints");
    }
    let mixed = group.endpoints.iter().any(|url| url.scheme() != first.scheme());
    mixed.then_some("--endpoints are all http or all https: the client port of a cluster is the one or the other")
}

/// Every variable that an option is read from.
pub fn variables() -> Vec<String> {
    let command = Cli::command();
    let named = command.get_arguments().filter_map(|option| Some(option.get_env()?.to_string_lossy().into_owned()));
    named.chain(OTHER_SPELLINGS.map(|(_, variable)| variable.to_owned())).collect()
}

/// A variable without a value is none, as in etcd: a unit or a later file may undo one that way.
pub(super) fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}

fn with_its_variable(option: Arg) -> Arg {
    let named = option.get_env().map(|name| name.to_string_lossy().into_owned());
    if named.is_none_or(|name| is_set(&name)) {
        return option;
    }
    let other = OTHER_SPELLINGS.iter().find(|(id, variable)| *id == option.get_id().as_str() && is_set(variable));
    // clap takes the empty value of a variable for a value.
    option.env(other.map(|(_, variable)| *variable))
}

/// A variable that looks like an option's and is none would be a safety switch that is off (F101).
fn unknown_variable() -> Option<String> {
    let known = variables();
    let set = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    let unknown = set.filter(|name| name.starts_with(PREFIX) && !known.contains(name) && is_set(name)).min()?;
    let meant = nearest_option(unknown.trim_start_matches(PREFIX));
    let meant = meant.map(|option| format!(", the nearest is that of {option}")).unwrap_or_default();
    Some(format!("there is no variable {unknown}{meant}: see --help"))
}

/// The option that clap would suggest for this one.
fn nearest_option(name: &str) -> Option<String> {
    let option = format!("--{}", name.to_lowercase().replace('_', "-"));
    let error = Cli::command().try_get_matches_from(["etcd-bootstrap", &option]).err()?;
    let ContextValue::String(option) = error.get(ContextKind::SuggestedArg)? else { return None };
    Some(option.clone())
}
