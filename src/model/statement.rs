//! What founders tell each other, and what a disk keeps of it.

use serde::{Deserialize, Serialize};

use super::address::{ClusterId, InstanceId, MemberUrl};
use super::version::EtcdVersion;

/// Where a founder says what it is, on its etcd peer port.
pub const PATH: &str = "/etcd-bootstrap/founder";

/// What the one who asks says of itself, so that it need not be asked in turn.
pub const STATEMENT_HEADER: &str = "x-etcd-bootstrap-statement";

/// What a founder says of itself to the others while it waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// Whose it is.
    pub instance: InstanceId,
    /// The ARN of its group.
    pub group: String,
    /// The initial cluster as it would write it; None while its group is not settled.
    pub founders: Option<String>,
    /// The etcd that it will start; None where it does not know.
    pub etcd: Option<EtcdVersion>,
    /// See [`Record`].
    pub nonce: String,
    /// See [`Record`].
    pub given_up: Vec<ClusterId>,
    /// The cluster that it has agreed to found; None before.
    pub agreed: Option<ClusterId>,
    /// Whether a person recovers the group on this node just now.
    #[serde(default)]
    pub recovers: bool,
}

/// What a disk without etcd's log has agreed to. It lies where the log will be, and is lost with it: who does not have
/// it any more is not the founder that it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Stands for this disk for as long as it has no log; eight random hexadecimal digits.
    pub nonce: String,
    /// Clusters that this disk could have founded, that never had a leader here, and that it never will run again.
    pub given_up: Vec<ClusterId>,
    /// The last founding that this node has agreed to; None before.
    pub agreed: Option<Agreement>,
}

/// The founding of one cluster: its list of founders, each with the disk that agreed. Everything that makes the
/// cluster's id is in it, so the id is known before any etcd starts, and no two foundings have the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreement {
    /// Its id, which follows from the rest.
    pub cluster: ClusterId,
    /// Sorted by instance.
    pub founders: Vec<Founder>,
}

/// One founder of an [`Agreement`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founder {
    /// Whose it is.
    pub instance: InstanceId,
    /// Where it will be reached.
    pub peer_url: MemberUrl,
    /// None for one that was silent when a majority agreed.
    pub nonce: Option<String>,
}

impl Agreement {
    /// The initial cluster, as it is written.
    pub fn initial_cluster(&self) -> Vec<(String, MemberUrl)> {
        self.founders.iter().map(|f| (f.instance.to_string(), f.peer_url.clone())).collect()
    }
}
