//! What one pass saw, and why it did not see the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::address::{Addresses, ClusterId, InstanceId, MemberId, MemberUrl};
use super::consumer::ConsumerRecord;
use super::history::History;
use super::lifecycle::{Hook, LeftMember, Notices};
use super::rfc3339;
use super::seen::{Blind, BlindKind, Seen};
use super::state::{Ec2State, LifecycleState};
use super::statement::{Record, Statement};
use super::version::EtcdVersion;

/// All that one pass saw. Plain data: the same observation always gives the same decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// When the pass ended.
    #[serde(with = "rfc3339")]
    pub taken_at: SystemTime,
    /// Who this node is.
    pub me: Seen<Identity>,
    /// What is in etcd's data directory.
    pub own_data: OwnData,
    /// Up to which index of raft's log the own data's member knew all to be committed, read before anybody was asked;
    /// None without such data, and where it cannot be read.
    #[serde(default)]
    pub own_commit: Option<u64>,
    /// What of the own log is damaged, so that no etcd starts on it; None where all is well, and where nobody looked: only
    /// the main job does, before etcd runs.
    #[serde(default)]
    pub log_damage: Option<String>,
    /// The etcd that this node will start; None where it was not asked: by a node with data, and by a consumer.
    pub etcd: Option<Seen<EtcdVersion>>,
    /// What this disk has agreed to; No, `Absent`, before it is asked for the first time.
    pub record: Seen<Record>,
    /// Why etcd's peer port cannot be opened on this node, and what to do; None where it can, and where nobody tried: on
    /// a node with data, and in a run that only looks.
    #[serde(default)]
    pub port_trouble: Option<String>,
    /// Why the other nodes will refuse this node's certificates; None where nothing is known to speak against them.
    #[serde(default)]
    pub certificate_trouble: Option<String>,
    /// The mark of the member that this node has taken out of its cluster last; None where it never did.
    #[serde(default)]
    pub left: Option<LeftMember>,
    /// What this consumer remembers; None on a member, and before it has asked anybody.
    #[serde(default)]
    pub consumer: Option<ConsumerRecord>,
    /// What the metadata tells of this instance's future; only a run that goes along with its life asks.
    #[serde(default = "not_asked")]
    pub notices: Seen<Notices>,
    /// The group, by Auto Scaling.
    pub group: Seen<Group>,
    /// The group's lifecycle hooks; asked for while one may be waited for, by a run that goes along with it.
    #[serde(default = "not_asked")]
    pub hooks: Seen<Vec<Hook>>,
    /// The instances, by EC2.
    pub ec2: Seen<Ec2>,
    /// Whether AWS was asked in this pass; not where the pass works with the last reply.
    #[serde(default = "asked")]
    pub asked_aws: bool,
    /// One for each instance of the group that has an address and for each listed member; never oneself.
    pub probes: Vec<Probe>,
    /// What earlier passes of this run leave to this one; None on the first.
    pub history: Option<History>,
}

impl Observation {
    /// Whether this was seen from outside: by who asked for no identity of its own, for it has none.
    pub fn is_from_outside(&self) -> bool {
        self.me.blind().is_some_and(|blind| blind.kind == BlindKind::NotAsked)
    }

    /// Whether AWS asked for patience in this pass, at any of its answers.
    pub fn is_throttled(&self) -> bool {
        let blinds = [self.group.blind(), self.ec2.blind(), self.hooks.blind()];
        blinds.into_iter().flatten().any(|blind| blind.kind == BlindKind::Throttled)
    }
}

/// What observations were that do not say it.
fn asked() -> bool {
    true
}

fn not_asked<T>() -> Seen<T> {
    Seen::No(Blind::not_asked())
}

/// Who this node is, by the instance metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its instance.
    pub instance: InstanceId,
    /// Such as `eu-west-1`.
    pub region: String,
    /// Such as `eu-west-1a`; empty where the metadata did not say.
    pub zone: String,
    /// Where it is reached.
    #[serde(flatten)]
    pub addresses: Addresses,
    /// The address ranges of the VPC; empty where the metadata did not say.
    #[serde(with = "ranges")]
    pub vpc_ranges: Vec<IpNet>,
    /// Where the Auto Scaling group wants this instance; None outside a group and before it is known (F65).
    pub target_lifecycle_state: Option<LifecycleState>,
}

impl Identity {
    /// The same under the private DNS name that EC2 gave this instance when it was saved. The others know it by that one;
    /// the metadata's is another where DHCP sets a domain of its own, and may not resolve.
    #[must_use]
    pub fn known_as(mut self, saved: Option<&Self>) -> Self {
        if let Some(saved) = saved.filter(|saved| saved.instance == self.instance) {
            self.addresses.dns_name = saved.addresses.dns_name.clone().or(self.addresses.dns_name);
        }
        self
    }
}

/// The node's own etcd data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the sentence of a variant names its fields")]
pub enum OwnData {
    /// No data directory, or nothing of etcd's in it.
    Empty,
    /// A backend but no write-ahead log: etcd would start as a new member over old key-value data.
    NoLog,
    /// etcd's own log.
    Log {
        /// The cluster that the log is of.
        cluster_id: ClusterId,
        /// The member that the log is of.
        member_id: MemberId,
        /// Whether this member has ever heard of a leader; without one there is nothing to lose.
        had_leader: bool,
        /// The initial cluster that this member was started with; empty where it joined a running one.
        founders: Vec<FounderEntry>,
    },
    /// Something is there and cannot be read; never the same as empty.
    Unreadable { why: String },
}

/// One member of the initial cluster, as the write-ahead log holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FounderEntry {
    /// Its name.
    pub name: String,
    /// As the log has them.
    pub peer_urls: Vec<String>,
}

/// An Auto Scaling group, or the instances with a tag that stand for one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// What no other group ever has.
    pub arn: String,
    /// How many instances the group is to have.
    pub desired: usize,
    /// The value of the tag `etcd-bootstrap/cluster-id`; None where the group has no such tag.
    pub cluster_tag: Option<String>,
    /// The value of the tag `etcd-bootstrap/founding`; None where the group has no such tag.
    #[serde(default)]
    pub founding_tag: Option<String>,
    /// The clusters that others have been recovered from, by the tag `etcd-bootstrap/replaced`.
    #[serde(default)]
    pub replaced: Vec<ClusterId>,
    /// Where each instance is in its life cycle.
    pub instances: BTreeMap<InstanceId, LifecycleState>,
    /// None for an Auto Scaling group.
    #[serde(default)]
    pub plain: Option<Plain>,
    /// When AWS was asked; two observations with the same time rest on one read.
    #[serde(with = "rfc3339")]
    pub read_at: SystemTime,
    /// The `Date` of AWS's reply, which is right where this node's clock is not; None where it had none.
    #[serde(with = "rfc3339::option", default)]
    pub date: Option<SystemTime>,
}

/// What is different where no Auto Scaling group launches the instances: the tags are on each of them, so that several
/// writers could leave a part of each. A founding is not tagged there, hence unanimous.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plain {
    /// Those without the tag `etcd-bootstrap/cluster-id`, which ends with the last instance that has it.
    pub unmarked: BTreeSet<InstanceId>,
}

/// The tag that names the group's cluster once it has had a leader: `ready` writes it, and `run` before it changes the
/// members of a cluster whose group has lost it.
pub const CLUSTER_TAG: &str = "etcd-bootstrap/cluster-id";

/// The tag that names a founding from the moment on which its founders agree: before any of their etcds starts.
pub const FOUNDING_TAG: &str = "etcd-bootstrap/founding";

/// What EC2 says of the instances that were asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ec2 {
    /// Ids in the question; one that is missing in `found` is unknown to EC2 (F67).
    pub asked: BTreeSet<InstanceId>,
    /// What EC2 knows of them, and of others of the group.
    pub found: BTreeMap<InstanceId, Instance>,
}

/// An EC2 instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// What it is doing.
    pub state: Ec2State,
    /// Where it is reached.
    #[serde(flatten)]
    pub addresses: Addresses,
    /// Its further private addresses, of all its interfaces: containers have such.
    #[serde(default)]
    pub others: BTreeSet<IpAddr>,
    /// When it was launched or last started; None where EC2 did not say.
    #[serde(with = "rfc3339::option", default)]
    pub launched: Option<SystemTime>,
}

impl Instance {
    /// Whether a URL leads to one of its addresses, the further ones included.
    pub fn has(&self, url: &MemberUrl) -> bool {
        self.addresses.hold(url) || url.address().is_some_and(|address| self.others.contains(&address))
    }
}

/// What one node said on its etcd ports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// None for a listed member that belongs to no instance of the group.
    pub instance: Option<InstanceId>,
    /// The peer URL that was asked; by a consumer, which asks no peer port, the client URL.
    pub asked: MemberUrl,
    /// What the peer port said.
    pub peer: PeerAnswer,
    /// None where the client port was not asked because the peer port had said enough.
    pub client: Option<Result<ClientView, Absence>>,
}

/// What the peer port said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerAnswer {
    /// etcd answered with its own, local view: it needs neither a quorum nor client credentials (E8).
    Etcd(PeerView),
    /// Another agent that waits as we do.
    Agent(Statement),
    /// Neither, and why.
    Absent(Absence),
}

/// Why a port gave no usable answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Absence {
    /// Nothing listens there.
    Refused,
    /// No answer within this time.
    NoAnswer(Duration),
    /// The name does not resolve.
    NoName(String),
    /// The handshake failed.
    Tls(String),
    /// It asked for a right that this node does not have.
    Denied(String),
    /// Something speaks there that is no etcd, or not yet.
    NotUnderstood(String),
    /// This port is not asked by this kind of node.
    NotAsked,
}

/// A member's own view of its cluster, from `GET /members` and `GET /version` of its peer port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerView {
    /// Its cluster.
    pub cluster_id: ClusterId,
    /// Its member list.
    pub members: Vec<Member>,
    /// Its etcd's version, as it says it.
    pub server_version: String,
    /// None while the cluster is forming: etcd answers `not_decided` until it had a leader (E17).
    pub cluster_version: Option<String>,
    /// Until when the certificate is valid that it shows; None in the clear, and where that cannot be read.
    #[serde(with = "rfc3339::option", default)]
    pub certificate_until: Option<SystemTime>,
}

/// What a member said on its client port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientView {
    /// Its cluster.
    pub cluster_id: ClusterId,
    /// Which member it is.
    pub member_id: MemberId,
    /// Its etcd's version, as it says it.
    pub version: String,
    /// None while there is no leader.
    pub leader: Option<MemberId>,
    /// Whether it is a learner.
    pub learner: bool,
    /// The list as a quorum confirms it; No where there was no quorum or no right to ask.
    pub quorum_list: Seen<Vec<Member>>,
    /// Up to which index of raft's log this member knew all to be committed, after a quorum had confirmed the list;
    /// None where none did.
    #[serde(default)]
    pub commit: Option<u64>,
    /// Up to which index it has applied the log; None where it did not say.
    #[serde(default)]
    pub applied: Option<u64>,
    /// What etcd itself finds wrong: its alarms, `NOSPACE` and `CORRUPT`, and the lack of a leader (`errors` of
    /// `StatusResponse`; server/etcdserver/api/v3rpc/maintenance.go, v3.7.1).
    #[serde(default)]
    pub faults: Vec<String>,
    /// Its database; None in observations that do not say it.
    #[serde(default)]
    pub database: Option<Database>,
}

/// A member's database, in bytes (`StatusResponse`, api/etcdserverpb/rpc.proto, v3.7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// What it takes on the disk.
    pub size: u64,
    /// What of that is in use; a defragmentation gives the rest back.
    pub size_in_use: u64,
    /// What it may grow to; etcd says it from 3.6 on.
    pub quota: Option<u64>,
}

/// An entry of etcd's member list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its id.
    pub id: MemberId,
    /// Empty for a member added at run time that has not started yet.
    pub name: String,
    /// Where its peers reach it.
    pub peer_urls: Vec<MemberUrl>,
    /// Empty until its etcd has run inside the cluster: see [`Member::published`].
    pub client_urls: Vec<MemberUrl>,
    /// Whether it is a learner.
    pub learner: bool,
}

impl Member {
    /// Whether its etcd has ever run inside the cluster. A name proves nothing: founders have one from the start.
    pub fn published(&self) -> bool {
        !self.client_urls.is_empty()
    }

    /// The instance that it says it is of: by its name, or, before it has one, by a resource name that it is reached at.
    /// None where neither is an instance's id.
    pub fn instance(&self) -> Option<InstanceId> {
        let host = |url: &MemberUrl| InstanceId::from_resource_name(url.host());
        InstanceId::from_member_name(&self.name).or_else(|| self.peer_urls.iter().find_map(host))
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        MemberRef::from(self).fmt(f)
    }
}

/// Whether a member counts for the quorum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Vote {
    /// It counts.
    #[default]
    Voter,
    /// It receives the log and does not vote until it is promoted (etcd.io, "Learner", v3.6).
    Learner,
}

impl fmt::Display for Vote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Voter => "voter",
            Self::Learner => "learner",
        })
    }
}

/// A member, as people are told of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRef {
    /// Its id.
    pub id: MemberId,
    /// Empty for one that has not started yet.
    pub name: String,
    /// Its first; None where only the id is known.
    pub peer_url: Option<MemberUrl>,
}

impl From<&Member> for MemberRef {
    fn from(m: &Member) -> Self {
        Self { id: m.id, name: m.name.clone(), peer_url: m.peer_urls.first().cloned() }
    }
}

impl From<MemberId> for MemberRef {
    fn from(id: MemberId) -> Self {
        Self { id, ..Self::default() }
    }
}

impl fmt::Display for MemberRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.name.is_empty() { "no name" } else { &self.name };
        match &self.peer_url {
            Some(url) => write!(f, "{} ({name}, {url})", self.id),
            None => write!(f, "{}", self.id),
        }
    }
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused"),
            Self::NoAnswer(after) => write!(f, "no answer within {}", seconds(*after)),
            Self::NoName(why) => write!(f, "the name does not resolve: {why}"),
            Self::Tls(why) => write!(f, "TLS: {why}"),
            Self::Denied(why) => write!(f, "denied: {why}"),
            Self::NotUnderstood(why) => write!(f, "not an etcd that can be understood: {why}"),
            Self::NotAsked => f.write_str("not asked"),
        }
    }
}

/// A time as people are told of it.
pub(super) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Address ranges as AWS writes them, `10.0.0.0/16`.
mod ranges {
    use ipnet::IpNet;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(ranges: &[IpNet], s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(ranges.iter().map(ToString::to_string))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<IpNet>, D::Error> {
        let texts = Vec::<String>::deserialize(d)?;
        texts.iter().map(|text| text.parse().map_err(serde::de::Error::custom)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f131_a_node_goes_by_the_name_that_ec2_had_for_it() {
        let named = |id: &str, name: Option<&str>| Identity {
            instance: InstanceId::new(id),
            region: "eu-west-1".to_owned(),
            zone: String::new(),
            addresses: Addresses { dns_name: name.map(str::to_owned), ..Addresses::default() },
            vpc_ranges: Vec::new(),
            target_lifecycle_state: None,
        };
        let metadata = || named("i-0000000a", Some("etcd-1.corp.example"));
        let goes_by = |saved: Option<&Identity>| metadata().known_as(saved).addresses.dns_name;
        let ec2 = named("i-0000000a", Some("ip-10-0-0-1.ec2.internal"));
        assert_eq!(goes_by(Some(&ec2)), ec2.addresses.dns_name);
        // Nothing saved, no name then, and the disk of another instance.
        for saved in
            [None, Some(named("i-0000000a", None)), Some(named("i-0000000b", Some("ip-10-0-0-2.ec2.internal")))]
        {
            assert_eq!(goes_by(saved.as_ref()), metadata().addresses.dns_name);
        }
    }
}
