//! The options.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};

use super::compat::go_bool;
use super::is_set;
use super::snapshots::SnapshotOptions;
use crate::config::{Config, Emit, Issuing, Output, OwnEtcd, ProxyStyle};
use crate::model::{
    AddressForm, Blind, BlindKind, EtcdVersion, FoundingRule, InitialCluster, JoinAs, Leave, MemberUrl, Policy, Prune,
    Role, Scheme, Seen, is_bare, launch_hook, terminate_hook,
};
use crate::{log, tls};

#[derive(Debug, Clone, Args)]
#[allow(missing_docs, reason = "clap prints what stands here")]
pub struct Options {
    /// Print what was seen, the decision and the file; write nothing, change nothing
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_DRY_RUN", value_parser = go_bool, action = ArgAction::Set,
        num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true")]
    pub dry_run: bool,

    /// How --dry-run, status and explain print: `text` or `json`
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_OUTPUT", value_enum, default_value = "text")]
    pub output: Output,

    /// Write a consumer's file: the endpoints of the cluster of --scaling-group-name; changes nothing in etcd
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_PROXY_MODE", value_parser = go_bool, action = ArgAction::Set,
        num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true")]
    pub proxy_mode: bool,

    /// The consumer's variables: `v3` for ETCD_ENDPOINTS and ETCDCTL_ENDPOINTS, `v2` for the ETCD_PROXY of etcd 3.5
    /// and before
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_PROXY_STYLE", value_enum, default_value = "v3")]
    pub proxy_style: ProxyStyle,

    /// The Auto Scaling group, by its exact name [default: this instance's own]
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_SCALING_GROUP_NAME", value_name = "NAME")]
    pub scaling_group_name: Option<String>,

    /// Endpoints of the cluster that a consumer begins with, in place of AWS and --scaling-group-name: it then needs no
    /// right of AWS at all. Their scheme is that of the client port
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_ENDPOINTS", value_name = "URL,...", value_delimiter = ',')]
    pub endpoints: Vec<MemberUrl>,

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
    ///
    /// Another one needs a drop-in of the agent's unit. Paths that are told to etcd hold no blanks, quotes or
    /// backslashes.
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_DATA_DIR", value_name = "PATH", default_value = "/var/lib/etcd",
        value_parser = portable_path)]
    pub data_dir: PathBuf,

    /// etcd's write-ahead log, where it has a directory of its own [default: in the data directory]
    ///
    /// It needs a drop-in of the agent's unit too.
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

    /// The etcd that `auto` asks for its version
    ///
    /// It must be the one that the unit starts.
    #[arg(
        long,
        global = true,
        env = "ETCD_BOOTSTRAP_ETCD_BINARY",
        value_name = "PATH",
        default_value = "/usr/bin/etcd"
    )]
    pub etcd_binary: PathBuf,

    /// Give up after this long, e.g. 90s or 5m; `infinity` never
    ///
    /// Stay above --founding-grace, or no majority ever founds, and below TimeoutStartSec= of etcd's drop-in (2
    /// hours).
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_DEADLINE", value_name = "DURATION", default_value = "5m",
        value_parser = deadline)]
    pub deadline: Deadline,

    /// etcd's client port
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_ETCD_CLIENT_PORT", value_name = "PORT", default_value = "2379")]
    pub etcd_client_port: u16,

    /// `http` or `https` on the client port; --etcd-client-scheme (ETCD_BOOTSTRAP_ETCD_CLIENT_SCHEME) is the same
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

    /// `http` or `https` on the peer port; --etcd-peer-schema (ETCD_BOOTSTRAP_ETCD_PEER_SCHEMA) is the same
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

    /// Advertise private DNS names; --private-addresses alone switches it off [default: true]
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_PRIVATE_HOSTNAMES", value_parser = go_bool,
        action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub private_hostnames: Option<bool>,

    /// Who must agree before a cluster is created: all (`unanimous`), or after the grace a `majority` in a new group
    ///
    /// The silent ones must have been launched together with this node, and just now.
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_FOUNDING", value_enum, default_value = "majority")]
    pub founding: FoundingRule,

    /// How long silent founders are waited for
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_FOUNDING_GRACE", value_name = "DURATION", default_value = "60s",
        value_parser = humantime::parse_duration)]
    pub founding_grace: Duration,

    /// Whether a cluster may be created: `auto` unless the group's tag says there is one, `never`, or `force` in
    /// spite of the tag
    ///
    /// With `force` the tag gets the new cluster's id: take it out of the options again.
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_INITIAL_CLUSTER_POLICY", value_enum, default_value = "auto")]
    pub initial_cluster_policy: InitialCluster,

    /// Join as `learner` or `voter`; `auto`: as learner where the etcd version is safe for it
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_JOIN_AS", value_enum, default_value = "auto")]
    pub join_as: JoinAs,

    /// Set the data of a removed member aside and join as a new one
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_REJOIN", value_parser = go_bool, action = ArgAction::Set,
        num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true")]
    pub rejoin: bool,

    /// Also remove members that belong to no instance of the group, after a minute of silence
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_PRUNE_FOREIGN", value_parser = go_bool, action = ArgAction::Set,
        num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true")]
    pub prune_foreign: bool,

    /// The lifecycle hook of the launch that `ready` completes
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_LAUNCH_HOOK", value_name = "NAME",
        default_value_t = launch_hook())]
    pub launch_hook: String,

    /// The lifecycle hook of the termination that `watch` completes
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_TERMINATE_HOOK", value_name = "NAME",
        default_value_t = terminate_hook())]
    pub terminate_hook: String,

    /// Whether `watch` takes the member out of its cluster when its instance goes for good: `auto` or `never`
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_LEAVE", value_enum, default_value = "auto")]
    pub leave: Leave,

    /// Whether `watch` removes members that are proven dead: `auto` or `never`
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_PRUNE", value_enum, default_value = "auto")]
    pub prune: Prune,

    /// Where `watch` writes metrics, as Prometheus's textfile collector reads them; `run`, `ready` and a consumer write theirs
    /// beside it, as NAME.run.prom and the like [default: nowhere]
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_METRICS_FILE", value_name = "PATH")]
    pub metrics_file: Option<PathBuf>,

    #[command(flatten, next_help_heading = "TLS, as etcd names it")]
    pub tls: TlsOptions,

    #[command(flatten, next_help_heading = "Certificates by themselves")]
    pub certificates: CertificateOptions,

    #[command(flatten, next_help_heading = "Snapshots and recovery")]
    pub snapshots: SnapshotOptions,

    /// `glog` lines, `json` lines, or lines with the priority prefix of `journald`, on stderr
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_LOG_FORMAT", value_enum, default_value = "glog")]
    pub log_format: log::Format,

    /// Verbosity, as glog counts: 2 says more of this program, 10 of its libraries too; never a token or a key
    #[arg(long = "v", short = 'v', global = true, env = "ETCD_BOOTSTRAP_V", value_name = "N", default_value = "0")]
    pub v: u8,

    #[command(flatten)]
    pub glog: GlogFlags,
}

#[derive(Debug, Clone, Default, Args)]
#[allow(missing_docs, reason = "clap prints what stands here")]
pub struct TlsOptions {
    /// CA of the client port [default: the system's authorities]
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
    /// CA of the peer port [default: the system's authorities]
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_PEER_TRUSTED_CA_FILE", value_name = "PATH", value_parser = portable_path)]
    pub peer_trusted_ca_file: Option<PathBuf>,
    /// Certificate of the peer port; without it no other founder can ask this node
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_PEER_CERT_FILE", value_name = "PATH", value_parser = portable_path,
        requires = "peer_key_file")]
    pub peer_cert_file: Option<PathBuf>,
    /// Key of the peer port
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_PEER_KEY_FILE", value_name = "PATH", value_parser = portable_path,
        requires = "peer_cert_file")]
    pub peer_key_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
#[allow(missing_docs, reason = "clap prints what stands here")]
pub struct CertificateOptions {
    /// The KMS key whose signature makes a member: id, ARN or alias; of several, with commas, the first signs, all are
    /// trusted
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_MEMBER_AUTHORITY", value_name = "KEY", value_delimiter = ',',
        conflicts_with_all = BROUGHT)]
    pub member_authority: Vec<String>,
    /// The same for clients of the cluster: a member trusts them, a consumer has its own certificate signed
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_CLIENT_AUTHORITY", value_name = "KEY", value_delimiter = ',',
        conflicts_with_all = BROUGHT)]
    pub client_authority: Vec<String>,
    /// A program that signs instead of KMS, with its arguments: the request on its standard input, the certificate on its
    /// standard output
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_CERTIFICATE_COMMAND", value_name = "COMMAND",
        conflicts_with_all = BROUGHT, conflicts_with = "member_authority")]
    pub certificate_command: Option<String>,
    /// Where the certificates are that are made here: node.pem, members.pem, servers.pem, clients.pem
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_CERTIFICATE_DIR", value_name = "PATH",
        default_value = "/etc/ssl/certs/etcd", value_parser = portable_path)]
    pub certificate_dir: PathBuf,
    /// How long a certificate is valid; it is renewed when half of that is over
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_CERTIFICATE_LIFE", value_name = "DURATION", default_value = "14d",
        value_parser = humantime::parse_duration)]
    pub certificate_life: Duration,
    /// Names and addresses that the certificate is for besides this node's own, with commas
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_CERTIFICATE_NAMES", value_name = "NAME", value_delimiter = ',')]
    pub certificate_names: Vec<String>,
}

/// The options of certificates that are brought.
const BROUGHT: [&str; 4] = ["cert_file", "key_file", "peer_cert_file", "peer_key_file"];

impl CertificateOptions {
    fn issuing(&self, tls: &TlsOptions) -> Option<Issuing> {
        let asked_for = !self.member_authority.is_empty()
            || !self.client_authority.is_empty()
            || self.certificate_command.is_some();
        asked_for.then(|| Issuing {
            members: self.member_authority.clone(),
            clients: self.client_authority.clone(),
            program: self.certificate_command.as_ref().map(|text| text.split_whitespace().map(str::to_owned).collect()),
            directory: self.certificate_dir.clone(),
            life: self.certificate_life,
            names: self.certificate_names.clone(),
            trusted: tls.trusted_ca_file.clone(),
            peer_trusted: tls.peer_trusted_ca_file.clone(),
        })
    }

    /// What is missing for a node of this kind to have a certificate; None where nothing is.
    pub fn missing(&self, consumer: bool, tls: &TlsOptions) -> Option<&'static str> {
        let signs = |keys: &[String]| !keys.is_empty() || self.certificate_command.is_some();
        if self.issuing(tls).is_none() {
            None
        } else if consumer && !signs(&self.client_authority) {
            Some("a consumer's certificate needs --client-authority: the members' key signs members only")
        } else if !consumer && !signs(&self.member_authority) {
            Some("--client-authority alone makes no member: it needs --member-authority or --certificate-command")
        } else if self.certificate_command.is_some() && tls.trusted_ca_file.is_none() {
            Some("--certificate-command needs --trusted-ca-file: by what its certificates are checked")
        } else if self.certificate_command.is_some() && !consumer && tls.peer_trusted_ca_file.is_none() {
            Some("--certificate-command needs --peer-trusted-ca-file: by what its certificates are checked")
        } else {
            None
        }
    }
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

/// Which etcd this node will start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhichEtcd {
    /// The program on the disk says it.
    Auto,
    /// It is not to be known.
    Unknown,
    /// It is told.
    Version(EtcdVersion),
}

/// How long the run may take; None for ever. clap takes an `Option` for an option that need not be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline(pub Option<Duration>);

impl Options {
    /// All that a run needs of them.
    pub fn config(&self) -> Config {
        let files = |ca: &Option<PathBuf>, cert: &Option<PathBuf>, key: &Option<PathBuf>| tls::Files {
            ca: ca.clone(),
            identity: cert.clone().zip(key.clone()),
            ..tls::Files::default()
        };
        let t = &self.tls;
        let issuing = self.certificates.issuing(t);
        Config {
            policy: self.policy(),
            group_name: self.scaling_group_name.clone(),
            environment_file: self.environment_file.clone(),
            emit: self.emit,
            proxy_style: self.proxy_style,
            data_dir: self.data_dir.clone(),
            wal_dir: self.wal_dir.clone(),
            state_dir: self.state_dir.clone(),
            etcd: match self.etcd_version {
                WhichEtcd::Auto => OwnEtcd::Program(self.etcd_binary.clone()),
                WhichEtcd::Version(version) => OwnEtcd::Told(Seen::Yes(version)),
                WhichEtcd::Unknown => {
                    let why = "--etcd-version is unknown".to_owned();
                    OwnEtcd::Told(Seen::No(Blind { kind: BlindKind::Absent, why }))
                }
            },
            snapshots: self.snapshots.snapshots().unwrap_or_default(),
            restore: self.snapshots.restore(),
            metrics_file: self.metrics_file.clone(),
            deadline: self.deadline.0,
            peer_tls: match &issuing {
                Some(issuing) => issuing.peer_files(),
                None => files(&t.peer_trusted_ca_file, &t.peer_cert_file, &t.peer_key_file),
            },
            client_tls: match &issuing {
                Some(issuing) => issuing.client_files(),
                None => files(&t.trusted_ca_file, &t.cert_file, &t.key_file),
            },
            issuing,
            output: self.output,
        }
    }

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
            client_scheme: self.endpoints.first().map_or(self.etcd_client_schema, MemberUrl::scheme),
            client_port: self.etcd_client_port,
            founding: self.founding,
            founding_grace: self.founding_grace,
            initial_cluster: self.initial_cluster_policy,
            join_as: self.join_as,
            rejoin: self.rejoin,
            prune_foreign: self.prune_foreign,
            launch_hook: self.launch_hook.clone(),
            terminate_hook: self.terminate_hook.clone(),
            leave: self.leave,
            prune: self.prune,
            seeds: self.endpoints.clone(),
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
        // etcd reads it of its own environment, and goes on alone, at every start (S8).
        let force = is_set("ETCD_FORCE_NEW_CLUSTER").then(|| {
            "ETCD_FORCE_NEW_CLUSTER is set in the environment; no file of this program passes it on: see recover"
                .to_owned()
        });
        let snapshots = self.snapshots.snapshots().err().map(|why| format!("{why}: going on without snapshots"));
        ignored.chain(dead).chain(force).chain(snapshots).collect()
    }

    /// What is wrong with a deadline within the founding grace, which begins anew in each run; None where nothing is.
    pub fn too_short_a_deadline(&self) -> Option<String> {
        let deadline = self.deadline.0.filter(|deadline| *deadline <= self.founding_grace)?;
        let matters = !self.proxy_mode && self.founding == FoundingRule::Majority;
        let [deadline, grace] = [deadline, self.founding_grace].map(humantime::format_duration);
        let said = format!(
            "--deadline={deadline} is not longer than --founding-grace={grace}: \
             no run lasts until a majority may create the cluster"
        );
        matters.then_some(said)
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
