//! The options of the etcd that this node starts, and of everybody's ports.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use super::compat::go_bool;
use crate::config::{Emit, User};
use crate::model::{EtcdVersion, Scheme, is_bare};

#[derive(Debug, Clone, Args)]
#[allow(missing_docs, reason = "clap prints what stands here")]
pub struct NodeOptions {
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
}

#[derive(Debug, Clone, Args)]
#[allow(missing_docs, reason = "clap prints what stands here")]
pub struct PortOptions {
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

    /// Who to be for an etcd with authentication that the client certificate is not enough for: a user with the role root
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_USER", value_name = "NAME")]
    pub user: Option<String>,

    /// The file with that user's password
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_PASSWORD_FILE", value_name = "PATH")]
    pub password_file: Option<PathBuf>,

    /// Advertise private addresses instead of private DNS names
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_PRIVATE_ADDRESSES", value_name = "BOOL", value_parser = go_bool,
        action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true")]
    pub private_addresses: bool,

    /// Advertise private DNS names; --private-addresses alone switches it off [default: true]
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_PRIVATE_HOSTNAMES", value_name = "BOOL", value_parser = go_bool,
        action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub private_hostnames: Option<bool>,
}

impl PortOptions {
    /// Whom they name; None: nobody.
    pub(super) fn user(&self) -> Option<User> {
        let (name, password_file) = self.user.clone().zip(self.password_file.clone())?;
        Some(User { name, password_file })
    }
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

fn which_etcd(text: &str) -> Result<WhichEtcd, String> {
    match text {
        "auto" => Ok(WhichEtcd::Auto),
        "unknown" => Ok(WhichEtcd::Unknown),
        text => text.parse().map(WhichEtcd::Version),
    }
}

/// A path as the environment file can carry it, and absolute: etcd may run in another directory than the agent.
pub(super) fn portable_path(text: &str) -> Result<PathBuf, String> {
    match text.chars().find(|c| !is_bare(*c)) {
        Some(c) => {
            Err(format!("it holds {c:?}, which an environment file cannot carry: give it another name, or a link"))
        }
        None => std::path::absolute(text).map_err(|e| e.to_string()),
    }
}
