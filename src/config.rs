//! What a run is told, parsed and checked: plain data, nothing of the command line.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::{EtcdVersion, GivenUp, Policy, Seen, SnapshotName, WhichGroup};
use crate::tls;

/// All that the options say.
#[derive(Debug, Clone)]
pub struct Config {
    /// What decisions depend on.
    pub policy: Policy,
    /// Whom this node belongs to, or follows.
    pub group: WhichGroup,
    /// Where the group is, for who looks from outside; None: by the metadata.
    pub region: Option<String>,
    /// The file that etcd's unit reads.
    pub environment_file: PathBuf,
    /// How much a member's file holds.
    pub emit: Emit,
    /// What a consumer's file holds.
    pub proxy_style: ProxyStyle,
    /// etcd's data directory.
    pub data_dir: PathBuf,
    /// None: in the data directory.
    pub wal_dir: Option<PathBuf>,
    /// Where the identity is kept across reboots.
    pub state_dir: PathBuf,
    /// Which etcd this node will start.
    pub etcd: OwnEtcd,
    /// Where snapshots are kept, and how often one is taken.
    pub snapshots: Snapshots,
    /// How snapshots are restored.
    pub restore: Restore,
    /// Where `watch` writes metrics, and beside which other commands do; None nowhere.
    pub metrics_file: Option<PathBuf>,
    /// How long the run may take; None for ever.
    pub deadline: Option<Duration>,
    /// The files of the peer port.
    pub peer_tls: tls::Files,
    /// The files of the client port.
    pub client_tls: tls::Files,
    /// Who to be for an etcd with authentication; None: whom the client certificate names.
    pub user: Option<User>,
    /// How this node comes by the certificate of both; None: it is brought.
    pub issuing: Option<Issuing>,
    /// How the commands that only look print.
    pub output: Output,
}

/// A user of etcd's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// As etcd knows it.
    pub name: String,
    /// Where the password is. It is nowhere else.
    pub password_file: PathBuf,
}

/// Where snapshots are kept, and how often one is taken. By default: nowhere.
#[derive(Debug, Clone, Default)]
pub struct Snapshots {
    /// None: there are none.
    pub to: Option<Place>,
    /// One is taken in each slot of this length.
    pub every: Duration,
    /// The region of the bucket; None: this instance's.
    pub region: Option<String>,
}

/// Where snapshots are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A directory, which several nodes may share.
    Directory(PathBuf),
    /// A bucket of S3.
    Bucket {
        /// Its name.
        name: String,
        /// What all keys begin with: empty, or ending in a slash.
        prefix: String,
    },
}

impl Place {
    /// Where something in it is, as `--from=` takes it.
    pub fn at(&self, name: &SnapshotName) -> String {
        match self {
            Self::Directory(directory) => directory.join(name.to_string()).display().to_string(),
            Self::Bucket { name: bucket, prefix } => format!("s3://{bucket}/{prefix}{name}"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(directory) => directory.display().fmt(f),
            Self::Bucket { name, prefix } => write!(f, "s3://{name}/{prefix}"),
        }
    }
}

/// How snapshots are restored.
#[derive(Debug, Clone)]
pub struct Restore {
    /// etcd's tool and its arguments, with blanks between them; None: whichever is there.
    pub tool: Option<String>,
    /// How much the revision is raised, so that no client has seen a later one; 0: not at all.
    pub bump: u64,
}

/// What a new cluster is to begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// The newest snapshot of the cluster that is given up.
    Latest,
    /// A snapshot in a bucket.
    Object {
        /// The bucket's name.
        bucket: String,
        /// The whole key.
        key: String,
    },
    /// A snapshot, or a database file of a member that does not run.
    File(PathBuf),
    /// This node's own data.
    ThisNode,
}

/// What a person orders of `recover`.
#[derive(Debug, Clone)]
pub struct Recovery {
    /// What the new cluster begins with.
    pub from: From,
    /// What is given up; None: the plan is printed and nothing is changed.
    pub gives_up: Option<GivenUp>,
    /// Instances and members that are vouched for.
    pub despite: Vec<String>,
    /// Whether the data may be of another cluster.
    pub foreign: bool,
}

/// How a node comes by its certificate.
#[derive(Debug, Clone)]
pub struct Issuing {
    /// The keys of KMS that make the members' authorities: the first signs, all are trusted.
    pub members: Vec<String>,
    /// The same for clients.
    pub clients: Vec<String>,
    /// Who signs instead of KMS, a program and its arguments; None: KMS.
    pub program: Option<Vec<String>>,
    /// Where the files are.
    pub directory: PathBuf,
    /// How long a certificate is valid.
    pub life: Duration,
    /// Names and addresses besides the node's own.
    pub names: Vec<String>,
    /// Further authorities of the client port, in a file.
    pub trusted: Option<PathBuf>,
    /// Further authorities of the peer port.
    pub peer_trusted: Option<PathBuf>,
}

impl Issuing {
    /// The key and the certificate of this node, in one file: it is replaced at once.
    pub fn node(&self) -> PathBuf {
        self.directory.join("node.pem")
    }

    /// The authorities of the peer port.
    pub fn members_pem(&self) -> PathBuf {
        self.directory.join("members.pem")
    }

    /// The authorities of those who answer on the client port: the members', but not the clients'.
    pub fn servers_pem(&self) -> PathBuf {
        self.directory.join("servers.pem")
    }

    /// The authorities of those who ask on the client port.
    pub fn clients_pem(&self) -> PathBuf {
        self.directory.join("clients.pem")
    }

    /// What the peer port uses.
    pub fn peer_files(&self) -> tls::Files {
        let ours = !self.members.is_empty();
        tls::Files {
            ca: if ours { Some(self.members_pem()) } else { self.peer_trusted.clone() },
            callers: None,
            identity: Some((self.node(), self.node())),
            direct: ours && self.peer_trusted.is_none(),
        }
    }

    /// What the client port uses.
    pub fn client_files(&self) -> tls::Files {
        let ours = !self.members.is_empty();
        let known = ours || !self.clients.is_empty();
        tls::Files {
            ca: if ours { Some(self.servers_pem()) } else { self.trusted.clone() },
            callers: known.then(|| self.clients_pem()),
            identity: Some((self.node(), self.node())),
            direct: ours && self.trusted.is_none(),
        }
    }
}

/// What a member's file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emit {
    /// All of etcd's addresses and files.
    All,
    /// Only the name and the initial cluster.
    Initial,
}

/// What a consumer's file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyStyle {
    /// The variables of the proxy that etcd had until 3.5.
    V2,
    /// Endpoints.
    V3,
}

/// How the commands that only look print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Where the version of the etcd comes from that this node will start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnEtcd {
    /// The program says it.
    Program(PathBuf),
    /// It is told, or is not to be known.
    Told(Seen<EtcdVersion>),
}

impl Config {
    /// Whether what a recovery begins with has to be brought onto this disk first.
    pub fn fetches(&self, from: &From) -> bool {
        match from {
            From::Object { .. } => true,
            From::Latest => matches!(self.snapshots.to, Some(Place::Bucket { .. })),
            From::File(_) | From::ThisNode => false,
        }
    }

    /// Where a consumer keeps what it remembers. Several on one node have files of their own, as their variables have.
    pub fn consumer_file(&self) -> PathBuf {
        let name = self.environment_file.file_stem().unwrap_or_default();
        self.state_dir.join(name).with_extension("cluster.json")
    }

    /// What changes only when a proxy that finds the members by itself has to be started anew.
    pub fn moved_file(&self) -> PathBuf {
        self.environment_file.with_extension("moved")
    }

    /// Whose cluster a consumer follows, in words.
    pub fn followed(&self) -> String {
        let seeds: Vec<String> = self.policy.seeds.iter().map(ToString::to_string).collect();
        match &self.group.name() {
            Some(group) if seeds.is_empty() => format!("the group {group}"),
            Some(_) | None => seeds.join(","),
        }
    }

    /// Where the observation that led to the last decision is kept, beside the environment file.
    pub fn record_file(&self) -> PathBuf {
        self.environment_file.with_extension("observation.json")
    }
}
