//! The command line and the environment, parsed in full before anything is touched.
//!
//! Owns every option, its variable and its default; nobody else reads the environment. Pure but for that.
//! gambol99/etcd-discovery's flags work here too, in Go's single-dash form.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::model::{AddressForm, EtcdVersion, Founding, InitialCluster, JoinAs, Policy, Role, Scheme, is_bare};

/// Bootstraps etcd on an EC2 Auto Scaling group: reads the group, removes members whose instance is proven dead,
/// joins the cluster or creates it, and writes the EnvironmentFile that etcd starts with.
#[derive(Debug, Parser)]
// As with Go's flags, the last of several wins: a drop-in may append to a command line.
#[command(name = "etcd-bootstrap", version, max_term_width = 110, after_help = EXIT_CODES, args_override_self = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub options: Options,
}

const EXIT_CODES: &str = "\
Exit codes: 0 the file is written (or the dry run printed), 64 usage, 69 AWS or the metadata unavailable,
75 not now, try again, 78 a person must look.
gambol99/etcd-discovery's flags are accepted too, with one dash or two.";

#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Join or create the cluster and write the environment file (the default)
    Run,
    /// Print what is seen of each instance and member, and whether the cluster is sound
    Status,
    /// Decide a saved observation again and print why
    Explain {
        /// An observation.json
        file: PathBuf,
    },
    /// Beside etcd's start: promote the member from learner, wait until it serves, tag the group
    Ready,
}

#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Print what was seen, the decision and the file; write nothing, change nothing
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_DRY_RUN", value_parser = go_bool, action = ArgAction::Set,
        num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true")]
    pub dry_run: bool,

    /// How --dry-run, status and explain print
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_OUTPUT", value_enum, default_value = "text")]
    pub output: Output,

    /// Write a consumer's file: the endpoints of the cluster of --scaling-group-name; changes nothing in etcd
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_PROXY_MODE", value_parser = go_bool, action = ArgAction::Set,
        num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true")]
    pub proxy_mode: bool,

    /// The consumer's variables: `v3` ETCD_ENDPOINTS and ETCDCTL_ENDPOINTS, `v2` ETCD_PROXY for etcd 3.5 and older
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_PROXY_STYLE", value_enum, default_value = "v3")]
    pub proxy_style: ProxyStyle,

    /// The Auto Scaling group [default: this instance's own]
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_SCALING_GROUP_NAME", value_name = "NAME")]
    pub scaling_group_name: Option<String>,

    /// The file that etcd's unit reads
    #[arg(
        long,
        global = true,
        env = "ETCD_BOOTSTRAP_ENVIRONMENT_FILE",
        value_name = "PATH",
        default_value = "/run/etcd-bootstrap/etcd.env"
    )]
    pub environment_file: PathBuf,

    /// What the file holds: `all` of etcd's addresses and files, or only the name and the `initial` cluster
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_EMIT", value_enum, default_value = "all")]
    pub emit: Emit,

    /// etcd's data directory
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_DATA_DIR", value_name = "PATH", default_value = "/var/lib/etcd",
        value_parser = portable_path)]
    pub data_dir: PathBuf,

    /// etcd's write-ahead log, where it is not in the data directory
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_WAL_DIR", value_name = "PATH", value_parser = portable_path)]
    pub wal_dir: Option<PathBuf>,

    /// Where the identity is kept across reboots, for a node with data whose metadata is unreachable
    #[arg(
        long,
        global = true,
        env = "ETCD_BOOTSTRAP_STATE_DIR",
        value_name = "PATH",
        default_value = "/var/lib/etcd-bootstrap"
    )]
    pub state_dir: PathBuf,

    /// The version of the etcd that this node will start, so that it joins no cluster that it does not fit: `auto` asks
    /// --etcd-binary, `unknown` goes on without, X.Y.Z says it
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_ETCD_VERSION", value_name = "VERSION", default_value = "auto",
        value_parser = which_etcd)]
    pub etcd_version: WhichEtcd,

    /// The etcd that `auto` asks
    #[arg(
        long,
        global = true,
        env = "ETCD_BOOTSTRAP_ETCD_BINARY",
        value_name = "PATH",
        default_value = "/usr/bin/etcd"
    )]
    pub etcd_binary: PathBuf,

    /// Give up after this long, e.g. 90s or 5m; `infinity` never
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_DEADLINE", value_name = "DURATION", default_value = "5m",
        value_parser = deadline)]
    pub deadline: Deadline,

    /// etcd's client port
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_ETCD_CLIENT_PORT", value_name = "PORT", default_value = "2379")]
    pub etcd_client_port: u16,

    /// http or https on the client port
    #[arg(
        long,
        global = true,
        env = "ETCD_BOOTSTRAP_ETCD_CLIENT_SCHEMA",
        value_name = "SCHEME",
        alias = "etcd-client-scheme",
        default_value = "https"
    )]
    pub etcd_client_schema: Scheme,

    /// etcd's peer port
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_ETCD_PEER_PORT", value_name = "PORT", default_value = "2380")]
    pub etcd_peer_port: u16,

    /// http or https on the peer port
    #[arg(
        long,
        global = true,
        env = "ETCD_BOOTSTRAP_ETCD_PEER_SCHEME",
        value_name = "SCHEME",
        alias = "etcd-peer-schema",
        default_value = "https"
    )]
    pub etcd_peer_scheme: Scheme,

    /// Advertise private addresses instead of private DNS names
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_PRIVATE_ADDRESSES", value_parser = go_bool,
        action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true")]
    pub private_addresses: bool,

    /// Advertise private DNS names (the default; --private-addresses alone is enough to switch)
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_PRIVATE_HOSTNAMES", value_parser = go_bool,
        action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub private_hostnames: Option<bool>,

    /// Who must agree before a cluster is created: after the grace a `majority` is enough in a new group
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_FOUNDING", value_enum, default_value = "majority")]
    pub founding: Founding,

    /// How long silent founders are waited for
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_FOUNDING_GRACE", value_name = "DURATION", default_value = "60s",
        value_parser = humantime::parse_duration)]
    pub founding_grace: Duration,

    /// Whether a cluster may be created: `auto` unless the group's tag says there is one, `never`, or `force`
    /// in spite of the tag
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_INITIAL_CLUSTER_POLICY", value_enum, default_value = "auto")]
    pub initial_cluster_policy: InitialCluster,

    /// Join as learner where the etcd version is safe for it (`auto`), always, or as voter
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_JOIN_AS", value_enum, default_value = "auto")]
    pub join_as: JoinAs,

    /// Set the data of a removed member aside and join as a new one
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_REJOIN", value_parser = go_bool, action = ArgAction::Set,
        num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true")]
    pub rejoin: bool,

    /// Remove silent members that belong to no instance of the group, after a minute
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_PRUNE_FOREIGN", value_parser = go_bool, action = ArgAction::Set,
        num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true")]
    pub prune_foreign: bool,

    #[command(flatten, next_help_heading = "TLS, as etcd names it")]
    pub tls: TlsOptions,

    /// glog lines, JSON lines, or lines with journald's priority prefix, on stderr
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_LOG_FORMAT", value_enum, default_value = "glog")]
    pub log_format: crate::log::Format,

    /// Log verbosity, as glog counts: 2 says more of this program, 10 of its libraries too
    #[arg(long = "v", short = 'v', global = true, env = "ETCD_BOOTSTRAP_V", value_name = "N", default_value = "0")]
    pub v: u8,

    #[command(flatten)]
    pub glog: GlogFlags,
}

#[derive(Debug, Clone, Default, Args)]
pub struct TlsOptions {
    /// CA of the client port
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_TRUSTED_CA_FILE", value_name = "PATH", value_parser = portable_path)]
    pub trusted_ca_file: Option<PathBuf>,
    /// Certificate of the client port
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_CERT_FILE", value_name = "PATH", value_parser = portable_path,
        requires = "key_file")]
    pub cert_file: Option<PathBuf>,
    /// Key of the client port
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_KEY_FILE", value_name = "PATH", value_parser = portable_path,
        requires = "cert_file")]
    pub key_file: Option<PathBuf>,
    /// CA of the peer port
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_PEER_TRUSTED_CA_FILE", value_name = "PATH", value_parser = portable_path)]
    pub peer_trusted_ca_file: Option<PathBuf>,
    /// Certificate of the peer port
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_PEER_CERT_FILE", value_name = "PATH", value_parser = portable_path,
        requires = "peer_key_file")]
    pub peer_cert_file: Option<PathBuf>,
    /// Key of the peer port
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_PEER_KEY_FILE", value_name = "PATH", value_parser = portable_path,
        requires = "peer_cert_file")]
    pub peer_key_file: Option<PathBuf>,
}

/// Flags of glog that make no sense on stderr under journald: accepted, so that old unit files work, and named in a
/// warning.
#[derive(Debug, Clone, Args)]
pub struct GlogFlags {
    #[arg(long, global = true, hide = true, value_parser = go_bool, num_args = 0..=1, require_equals = true,
        default_missing_value = "true")]
    logtostderr: Option<bool>,
    #[arg(long, global = true, hide = true, value_parser = go_bool, num_args = 0..=1, require_equals = true,
        default_missing_value = "true")]
    alsologtostderr: Option<bool>,
    #[arg(long, global = true, hide = true)]
    vmodule: Option<String>,
    #[arg(long, global = true, hide = true)]
    stderrthreshold: Option<String>,
    #[arg(long = "log_dir", global = true, hide = true)]
    log_dir: Option<String>,
    #[arg(long = "log_backtrace_at", global = true, hide = true)]
    log_backtrace_at: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Emit {
    All,
    Initial,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProxyStyle {
    V2,
    V3,
}

/// Which etcd this node will start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhichEtcd {
    Auto,
    Unknown,
    Version(EtcdVersion),
}

/// How long the run may take; None for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline(pub Option<Duration>);

/// What every variable of an option begins with.
const PREFIX: &str = "ETCD_BOOTSTRAP_";

/// The variables of the options' other spellings, by the option's id.
const OTHER_SPELLINGS: [(&str, &str); 2] = [
    ("etcd_client_schema", "ETCD_BOOTSTRAP_ETCD_CLIENT_SCHEME"),
    ("etcd_peer_scheme", "ETCD_BOOTSTRAP_ETCD_PEER_SCHEMA"),
];

/// Parses a command line whose first item is the program's name.
///
/// # Errors
/// clap's, which print themselves; help and version are among them.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let command = Cli::command().mut_args(with_its_variable);
    let matches = command.try_get_matches_from(arguments.into_iter().map(from_go_form))?;
    let cli = Cli::from_arg_matches(&matches)?;
    if cli.options.proxy_mode && cli.options.scaling_group_name.is_none() {
        let missing = "--proxy-mode needs --scaling-group-name: a consumer is in no member's group";
        return Err(Cli::command().error(ErrorKind::MissingRequiredArgument, missing));
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

/// Every variable that an option is read from.
pub fn variables() -> Vec<String> {
    let command = Cli::command();
    let named = command.get_arguments().filter_map(|option| Some(option.get_env()?.to_string_lossy().into_owned()));
    named.chain(OTHER_SPELLINGS.map(|(_, variable)| variable.to_owned())).collect()
}

/// A variable without a value is none, as in etcd: a unit or a later file may undo one that way.
fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}

fn with_its_variable(option: Arg) -> Arg {
    let named = option.get_env().map(|name| name.to_string_lossy().into_owned());
    if named.is_none_or(|name| is_set(&name)) {
        return option;
    }
    let other = OTHER_SPELLINGS.iter().find(|(id, variable)| *id == option.get_id().as_str() && is_set(variable));
    match other {
        Some((_, variable)) => option.env(*variable),
        None => without_empty_variable(option),
    }
}

/// clap takes the empty value of a variable for a value. An unset one is kept for the help.
fn without_empty_variable(option: Arg) -> Arg {
    let present = option.get_env().is_some_and(|name| std::env::var_os(name).is_some());
    if present { option.env(Resettable::Reset) } else { option }
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
    match error.get(ContextKind::SuggestedArg)? {
        ContextValue::String(option) => Some(option.clone()),
        _ => None,
    }
}

impl Options {
    /// The part of the options that the decision depends on.
    pub fn policy(&self) -> Policy {
        Policy {
            role: if self.proxy_mode { Role::Consumer } else { Role::Member },
            address_form: if self.private_addresses || self.private_hostnames == Some(false) {
                AddressForm::Addresses
            } else {
                AddressForm::DnsNames
            },
            peer_scheme: self.etcd_peer_scheme,
            peer_port: self.etcd_peer_port,
            client_scheme: self.etcd_client_schema,
            client_port: self.etcd_client_port,
            founding: self.founding,
            founding_grace: self.founding_grace,
            initial_cluster: self.initial_cluster_policy,
            join_as: self.join_as,
            rejoin: self.rejoin,
            prune_foreign: self.prune_foreign,
        }
    }

    /// What is set and does not do what its name says, one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let glog = &self.glog;
        let set = [
            (glog.alsologtostderr == Some(true), "-alsologtostderr"),
            (glog.logtostderr == Some(false), "-logtostderr=false"),
            (glog.vmodule.is_some(), "-vmodule"),
            (glog.stderrthreshold.is_some(), "-stderrthreshold"),
            (glog.log_dir.is_some(), "-log_dir"),
            (glog.log_backtrace_at.is_some(), "-log_backtrace_at"),
        ];
        let ignored = set.into_iter().filter(|(set, _)| *set);
        let ignored = ignored.map(|(_, flag)| format!("{flag} has no effect: the log goes to stderr, ignoring it"));
        // etcd 3.6 and 3.7 only warn of them and start a cluster of their own (F58).
        let dead = ["ETCD_PROXY", "ETCD_DISCOVERY"].into_iter().filter(|name| is_set(name));
        let dead = dead.map(|name| format!("{name} is set in the environment; newer etcds ignore it"));
        ignored.chain(dead).collect()
    }

    /// What is wrong with a deadline within the founding grace, which begins anew in each run; None where nothing is.
    pub fn too_short_a_deadline(&self) -> Option<String> {
        let deadline = self.deadline.0.filter(|deadline| *deadline <= self.founding_grace)?;
        let matters = !self.proxy_mode && self.founding == Founding::Majority;
        let [deadline, grace] = [deadline, self.founding_grace].map(humantime::format_duration);
        let said = format!(
            "--deadline={deadline} is not longer than --founding-grace={grace}: \
             no run lasts until a majority may create the cluster"
        );
        matters.then_some(said)
    }
}

/// Go's flag package takes one dash for long names: `-proxy-mode=true` is `--proxy-mode=true`.
fn from_go_form(argument: OsString) -> OsString {
    let Some(text) = argument.to_str() else { return argument };
    let Some(rest) = text.strip_prefix('-').filter(|rest| !rest.starts_with('-')) else { return argument };
    let name = rest.split('=').next().unwrap_or_default();
    let long = name.len() > 1 && name.starts_with(|c: char| c.is_ascii_alphabetic());
    // `-v10` is a short option with its value.
    let short_with_value = name.starts_with('v') && name[1..].bytes().all(|b| b.is_ascii_digit());
    if long && !short_with_value { format!("--{rest}").into() } else { argument }
}

/// The words that Go's strconv.ParseBool takes.
fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        other => Err(format!("'{other}' is neither true nor false")),
    }
}

fn which_etcd(text: &str) -> Result<WhichEtcd, String> {
    match text {
        "auto" => Ok(WhichEtcd::Auto),
        "unknown" => Ok(WhichEtcd::Unknown),
        text => text.parse().map(WhichEtcd::Version),
    }
}

/// A path as the environment file can carry it, and absolute: etcd may run in another directory than the agent.
fn portable_path(text: &str) -> Result<PathBuf, String> {
    match text.chars().find(|c| !is_bare(*c)) {
        Some(c) => {
            Err(format!("it holds {c:?}, which an environment file cannot carry: give it another name, or a link"))
        }
        None => std::path::absolute(text).map_err(|e| e.to_string()),
    }
}

fn deadline(text: &str) -> Result<Deadline, String> {
    match text {
        "infinity" => Ok(Deadline(None)),
        text => humantime::parse_duration(text).map(|time| Deadline(Some(time))).map_err(|e| e.to_string()),
    }
}
