//! What is decided.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::address::{ClusterId, InstanceId, MemberId, MemberUrl};
use super::consumer::Followed;
use super::lifecycle::LeftMember;
use super::observation::Vote;
use super::reason::Reason;
use super::statement::Agreement;

/// What to do next, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// What to do.
    pub action: Action,
    /// Why.
    pub reason: Reason,
}

/// At most one change; the doing leaves no choice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the sentence of a variant names its fields")]
pub enum Action {
    /// Look again.
    Wait,
    /// Stop; looking again does not help.
    Refuse,
    /// Change one thing, then look again.
    Change(Change),
    /// Write the file and let etcd start.
    Start(Start),
    /// Write the consumer's file.
    Follow(Followed),
    /// Tell systemd that this node's member serves the cluster.
    Serve { cluster: ClusterId },
    /// Nothing: what was to be done is done.
    Rest,
}

/// One change, of etcd, of the group's tags, or of this disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the sentence of a variant names its fields")]
pub enum Change {
    /// Ask the member at `via` to remove another.
    Remove { member: MemberId, via: MemberUrl },
    /// Ask the member at `via` to add this node.
    Add { peer_url: MemberUrl, vote: Vote, via: MemberUrl },
    /// Rename the data directory's content, and first put on record that this disk gives up a cluster that it never led.
    SetDataAside { gives_up: Option<ClusterId> },
    /// Begin a record.
    BeginRecord,
    /// Put on record that this node agrees to a founding.
    Agree(Agreement),
    /// Put on record that this node, which has started nothing, will not take part in a founding.
    GiveUp { cluster: ClusterId },
    /// Write tags of the group, by key.
    TagGroup { group: String, tags: BTreeMap<String, String> },
    /// Ask one of these voters after another to promote this node's learner.
    Promote { member: MemberId, via: Vec<MemberUrl> },
    /// Ask the leader, at `via`, to hand its leadership over.
    MoveLeader { to: MemberId, via: MemberUrl },
    /// Leave the mark that this node has taken its own member out of the cluster.
    MarkLeft(LeftMember),
    /// Tell the group that an instance need not wait for a lifecycle hook any more.
    CompleteHook { group: String, hook: String, instance: InstanceId },
    /// Ask the group to wait on for a lifecycle hook.
    KeepWaiting { group: String, hook: String, instance: InstanceId },
}

/// What etcd is started with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// etcd's `--name`.
    pub name: InstanceId,
    /// etcd's `--initial-cluster-state`.
    pub state: ClusterState,
    /// `name=url` in the order in which they are written.
    pub initial_cluster: Vec<(String, MemberUrl)>,
    /// etcd's `--initial-cluster-token`; empty where the group is not known, for a restart.
    pub token: String,
    /// What etcd advertises to its peers.
    pub peer_url: MemberUrl,
    /// What etcd advertises to clients.
    pub client_url: MemberUrl,
    /// The address that etcd listens on.
    pub listen: IpAddr,
    /// Whose etcd should serve before the file is written, of those that start for the first time as this one does; None
    /// where nobody comes before.
    pub after: Option<Predecessors>,
}

/// Who should serve before this one starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Predecessors {
    /// In the order of their turns.
    pub peer_urls: Vec<MemberUrl>,
    /// How many of them.
    pub until: Until,
    /// How long each is waited for: one that never starts must not keep the others.
    pub turn: Duration,
}

/// How many of those before it an etcd waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Until {
    /// Any of them, one turn after the other.
    #[default]
    OneServes,
    /// Each, all at the same time.
    AllServe,
}

/// etcd's `--initial-cluster-state` (<https://etcd.io/docs/v3.6/op-guide/configuration/>, read 2026-11-21).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClusterState {
    /// A cluster is created.
    New,
    /// A cluster is joined, or gone on in.
    Existing,
}

impl fmt::Display for ClusterState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::New => "new",
            Self::Existing => "existing",
        })
    }
}

/// The initial cluster as etcd reads it: `name=url,name=url`.
pub fn render_initial_cluster(entries: &[(String, MemberUrl)]) -> String {
    let entries: Vec<String> = entries.iter().map(|(name, url)| format!("{name}={url}")).collect();
    entries.join(",")
}
