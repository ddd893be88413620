//! The words of this project as plain data: ids, what was observed, the policy, and the decision.
//!
//! Owns no behaviour beyond parsing and printing its own words; imports nothing of ours.
//! Next: `observe.rs` fills an [`Observation`], `decide.rs` turns it into a [`Decision`].
#![deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// An EC2 instance id, `i-` and hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(String);

impl InstanceId {
    /// Takes any text: ids that come from AWS are not checked again.
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// The instance that a member's name stands for; None where the name is not an instance id.
    pub fn from_member_name(name: &str) -> Option<Self> {
        let digits = name.strip_prefix("i-")?;
        let shape = digits.len() >= 8 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        shape.then(|| Self(name.to_owned()))
    }

    /// The id as AWS writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A 64-bit etcd id, written in lower-case hexadecimal as etcdctl does.
///
/// JSON numbers lose digits above 2^53, so it is a string there too.
macro_rules! etcd_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:x}", self.0)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }

        impl TryFrom<String> for $name {
            type Error = std::num::ParseIntError;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                u64::from_str_radix(&text, 16).map(Self)
            }
        }
    };
}

etcd_id!(
    /// The id of an entry in etcd's member list.
    MemberId
);
etcd_id!(
    /// The id of an etcd cluster.
    ClusterId
);

impl ClusterId {
    /// Whether a text that people may have written, such as the value of the group's tag, means this cluster:
    /// hexadecimal as etcdctl's table and etcd's log have it, in any case, with or without `0x` and leading zeros, or
    /// decimal as `etcdctl -w json` has it. A text that is both means both: no two ids of one group are that alike.
    pub fn is_meant_by(self, text: &str) -> bool {
        let text = text.trim();
        let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
        let hexadecimal = u64::from_str_radix(digits.unwrap_or(text), 16);
        let decimal = text.parse::<u64>();
        hexadecimal == Ok(self.0) || decimal == Ok(self.0)
    }
}

/// A peer or client URL of etcd: scheme, host and port, and nothing else.
///
/// Two spellings of one URL are equal, as etcd compares them after parsing (F29).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct MemberUrl {
    scheme: Scheme,
    host: String,
    port: u16,
}

impl MemberUrl {
    /// Joins the parts; the host is a name or an address without brackets.
    pub fn new(scheme: Scheme, host: &str, port: u16) -> Self {
        Self { scheme, host: host.to_ascii_lowercase(), port }
    }

    /// The host: a name, or an address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The host as an address; None where it is a name.
    pub fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// Plain or TLS.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Host and port as a socket address is written, an IPv6 address in brackets (F30).
    pub fn authority(&self) -> String {
        match self.address() {
            Some(IpAddr::V6(address)) => format!("[{address}]:{}", self.port),
            Some(IpAddr::V4(_)) | None => format!("{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for MemberUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority())
    }
}

impl From<MemberUrl> for String {
    fn from(url: MemberUrl) -> Self {
        url.to_string()
    }
}

impl TryFrom<String> for MemberUrl {
    type Error = String;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl FromStr for MemberUrl {
    type Err = String;

    /// Takes what etcd takes: `http` or `https`, a host and a port (client/pkg/types/urls.go, v3.7.1).
    fn from_str(text: &str) -> Result<Self, String> {
        let url = url::Url::parse(text).map_err(|e| format!("'{text}' is not a URL: {e}"))?;
        let scheme = url.scheme().parse().map_err(|e: String| format!("'{text}': {e}"))?;
        let host = url.host().ok_or_else(|| format!("'{text}' has no host"))?;
        let host = match host {
            url::Host::Domain(name) => name.to_owned(),
            url::Host::Ipv4(address) => address.to_string(),
            url::Host::Ipv6(address) => address.to_string(),
        };
        // Go allows more in a host than an initial cluster can carry.
        if let Some(c) = host.chars().find(|c| !in_initial_cluster(*c)) {
            return Err(format!("'{text}' holds {c:?}, which no initial cluster can carry"));
        }
        let port = url.port_or_known_default().ok_or_else(|| format!("'{text}' has no port"))?;
        Ok(Self::new(scheme, &host, port))
    }
}

/// Whether a bare value of an environment file may hold this character. systemd takes quotes and backslashes away and
/// ends a bare value's trailing spaces, docker keeps all of them (systemd.exec(5), EnvironmentFile=; E10).
pub fn is_bare(c: char) -> bool {
    !c.is_whitespace() && !c.is_control() && !matches!(c, '"' | '\'' | '`' | '\\')
}

/// Whether a name or a host in an initial cluster may hold this character: etcd splits it at commas and equals signs.
pub fn in_initial_cluster(c: char) -> bool {
    is_bare(c) && !matches!(c, ',' | '=')
}

/// How a port is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    Http,
    Https,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

impl FromStr for Scheme {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "http" => Ok(Self::Http),
            "https" => Ok(Self::Https),
            other => Err(format!("scheme '{other}' is neither http nor https")),
        }
    }
}

/// An etcd's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct EtcdVersion {
    pub major: u32,
    pub minor: u32,
    pub patch: u32,
}

impl EtcdVersion {
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    /// The version without its patch, by which etcds understand each other.
    pub fn line(self) -> (u32, u32) {
        (self.major, self.minor)
    }
}

impl fmt::Display for EtcdVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl From<EtcdVersion> for String {
    fn from(version: EtcdVersion) -> Self {
        version.to_string()
    }
}

impl TryFrom<String> for EtcdVersion {
    type Error = String;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl FromStr for EtcdVersion {
    type Err = String;

    /// Takes what etcd says of itself, `3.6.0-rc.1` too, and what its images are tagged with: `v3.6.16`.
    fn from_str(text: &str) -> Result<Self, String> {
        let plain = text.strip_prefix('v').unwrap_or(text).split(['-', '+']).next().unwrap_or_default();
        let numbers: Result<Vec<u32>, _> = plain.split('.').map(str::parse).collect();
        match numbers.as_deref() {
            Ok([major, minor, patch]) => Ok(Self::new(*major, *minor, *patch)),
            Ok(_) | Err(_) => Err(format!("'{text}' is no version such as 3.6.16")),
        }
    }
}

// ---------------------------------------------------------------- what was seen

/// Something that was looked at, or why it could not be: never an empty list in its place (F03, F34).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seen<T> {
    Yes(T),
    No(Blind),
}

impl<T> Seen<T> {
    /// What was seen; None where it could not be looked at.
    pub fn ok(&self) -> Option<&T> {
        match self {
            Self::Yes(value) => Some(value),
            Self::No(_) => None,
        }
    }

    /// Why it could not be looked at; None where it was seen.
    pub fn blind(&self) -> Option<&Blind> {
        match self {
            Self::Yes(_) => None,
            Self::No(blind) => Some(blind),
        }
    }
}

/// Why something outside could not be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blind {
    pub kind: BlindKind,
    /// The operation, its target and the chain of causes, ready to print.
    pub why: String,
}

/// The kinds of failure that make a difference to what happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BlindKind {
    Unreachable,
    Denied,
    Throttled,
    Absent,
    Ambiguous,
    Malformed,
}

/// All that one pass saw. Plain data: the same observation always gives the same decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// When the pass ended.
    #[serde(with = "rfc3339")]
    pub at: SystemTime,
    pub me: Seen<Identity>,
    pub own_data: OwnData,
    /// Up to which index of raft's log the own data's member knew all to be committed, read before anybody was asked;
    /// None without such data, and where it cannot be read.
    #[serde(default)]
    pub own_commit: Option<u64>,
    /// The etcd that this node will start; None where it was not asked: by a node with data, and by a consumer.
    pub etcd: Option<Seen<EtcdVersion>>,
    /// What this disk has agreed to; No, `Absent`, before it is asked for the first time.
    pub record: Seen<Record>,
    pub group: Seen<Group>,
    pub ec2: Seen<Ec2>,
    /// One for each instance of the group that has an address and for each listed member; never oneself.
    pub probes: Vec<Probe>,
    /// What earlier passes of this run leave to this one; None on the first.
    pub before: Option<Before>,
}

/// Who this node is, by the instance metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub instance: InstanceId,
    pub region: String,
    pub zone: String,
    #[serde(flatten)]
    pub addresses: Addresses,
    /// The address ranges of the VPC, as `10.0.0.0/16`; empty where the metadata did not say.
    pub vpc_ranges: Vec<String>,
    /// Where the Auto Scaling group wants this instance; None outside a group and before it is known (F65).
    pub target_lifecycle_state: Option<String>,
}

/// Where an instance is reached: its primary private addresses and name (F30), None where it has none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
    pub dns_name: Option<String>,
}

impl Addresses {
    /// The address to listen on.
    pub fn ip(&self) -> Option<IpAddr> {
        self.ipv4.map(IpAddr::V4).or(self.ipv6.map(IpAddr::V6))
    }

    /// Whether a URL leads to this host, in whichever form it is written (F29).
    pub fn hold(&self, url: &MemberUrl) -> bool {
        match url.address() {
            Some(IpAddr::V4(address)) => self.ipv4 == Some(address),
            Some(IpAddr::V6(address)) => self.ipv6 == Some(address),
            None => self.dns_name.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(url.host())),
        }
    }
}

/// The node's own etcd data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum OwnData {
    /// No data directory, or nothing of etcd's in it.
    Empty,
    /// A backend but no write-ahead log: etcd would start as a new member over old key-value data.
    NoLog,
    /// etcd's own log.
    Log {
        cluster_id: ClusterId,
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
    pub name: String,
    pub peer_urls: Vec<String>,
}

/// An Auto Scaling group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    pub name: String,
    pub arn: String,
    pub desired: usize,
    /// The value of the tag `etcd-bootstrap/cluster-id`; None where the group has no such tag.
    pub cluster_tag: Option<String>,
    /// The value of the tag `etcd-bootstrap/founding`; None where the group has no such tag.
    #[serde(default)]
    pub founding_tag: Option<String>,
    /// Each instance's lifecycle state, as AWS names it: the set of names grows (F43).
    pub instances: BTreeMap<InstanceId, String>,
    /// When AWS was asked; two observations with the same time rest on one read.
    #[serde(with = "rfc3339")]
    pub read_at: SystemTime,
    /// The `Date` of AWS's reply, which is right where this node's clock is not; None where it had none.
    #[serde(with = "rfc3339::option", default)]
    pub date: Option<SystemTime>,
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
    pub found: BTreeMap<InstanceId, Instance>,
}

/// An EC2 instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// `pending`, `running`, `shutting-down`, `terminated`, `stopping`, `stopped`.
    pub state: String,
    #[serde(flatten)]
    pub addresses: Addresses,
    /// Its further private addresses, of all its interfaces: containers have such.
    #[serde(default)]
    pub others: BTreeSet<IpAddr>,
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
    pub url: MemberUrl,
    pub peer: PeerAnswer,
    /// None where the client port was not asked because the peer port had said enough.
    pub client: Option<Result<ClientView, Absence>>,
}

/// What the peer port said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerAnswer {
    /// etcd answered with its own, local view: it needs neither a quorum nor client credentials (E8).
    Member(PeerView),
    /// Another agent that waits as we do.
    Founding(Statement),
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
    Tls(String),
    Denied(String),
    NotEtcd(String),
    /// This port is not asked by this kind of node.
    NotAsked,
}

/// A member's own view of its cluster, from `GET /members` and `GET /version` of its peer port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerView {
    pub cluster_id: ClusterId,
    pub members: Vec<Member>,
    pub server_version: String,
    /// None while the cluster is forming: etcd answers `not_decided` until it had a leader (E17).
    pub cluster_version: Option<String>,
}

/// What a member said on its client port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientView {
    pub cluster_id: ClusterId,
    pub member_id: MemberId,
    pub version: String,
    /// None while there is no leader.
    pub leader: Option<MemberId>,
    pub learner: bool,
    /// The list as a quorum confirms it; No where there was no quorum or no right to ask.
    pub quorum_list: Seen<Vec<Member>>,
    /// Up to which index of raft's log this member knew all to be committed, after a quorum had confirmed the list;
    /// None where none did.
    #[serde(default)]
    pub commit: Option<u64>,
}

/// An entry of etcd's member list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub id: MemberId,
    /// Empty for a member added at run time that has not started yet.
    pub name: String,
    pub peer_urls: Vec<MemberUrl>,
    /// Empty until its etcd has run inside the cluster: see [`Member::published`].
    pub client_urls: Vec<MemberUrl>,
    pub learner: bool,
}

impl Member {
    /// Whether its etcd has ever run inside the cluster. A name proves nothing: founders have one from the start.
    pub fn published(&self) -> bool {
        !self.client_urls.is_empty()
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.peer_urls.first().map(ToString::to_string).unwrap_or_default();
        match self.name.as_str() {
            "" => write!(f, "{} (no name, {url})", self.id),
            name => write!(f, "{} ({name}, {url})", self.id),
        }
    }
}

/// What a founder says of itself to the others while it waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    pub instance: InstanceId,
    /// The ARN of its group.
    pub group: String,
    /// The initial cluster as it would write it; None while its group is not settled.
    pub founders: Option<String>,
    /// The etcd that it will start; None where it does not know.
    pub etcd: Option<EtcdVersion>,
    /// See [`Record`].
    pub nonce: String,
    pub given_up: Vec<ClusterId>,
    /// The cluster that it has agreed to found; None before.
    pub agreed: Option<ClusterId>,
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
    pub cluster: ClusterId,
    /// Sorted by instance.
    pub founders: Vec<Founder>,
}

/// One founder of an [`Agreement`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founder {
    pub instance: InstanceId,
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

/// What earlier passes of one run leave to the next. Made by `decide::remember`, which alone knows what it means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// The initial cluster that the group asked for, since when without a change, and in how many reads of AWS.
    pub founders: Option<Standing<String>>,
    /// Members that look gone, and since when.
    pub suspects: BTreeMap<MemberId, Standing<()>>,
    /// Names of members seen so far: EC2 is asked for them in the next pass.
    pub member_instances: BTreeSet<InstanceId>,
    /// Founders that neither EC2 nor the group knows any more, and since when.
    #[serde(default)]
    pub forgotten_founders: BTreeMap<InstanceId, Standing<()>>,
    /// The group's tags that this run has written, which AWS may not show yet. Set by the loop.
    #[serde(default)]
    pub tagged: BTreeMap<String, String>,
    /// Whether the group cannot be tagged, for want of the right as a rule. Set by the loop.
    #[serde(default)]
    pub untaggable: bool,
    /// How often in a row etcd refused the change that was asked for last.
    #[serde(default)]
    pub refusals: u32,
}

/// A finding that has stood for some time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing<T> {
    pub what: T,
    #[serde(with = "rfc3339")]
    pub since: SystemTime,
    /// The last read of AWS that it was found in.
    #[serde(with = "rfc3339")]
    pub read_at: SystemTime,
    /// How many different reads of AWS it was found in.
    pub reads: u32,
}

// ---------------------------------------------------------------- what is wanted

/// The options that the decision depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    pub role: Role,
    pub address_form: AddressForm,
    pub peer_scheme: Scheme,
    pub peer_port: u16,
    pub client_scheme: Scheme,
    pub client_port: u16,
    pub founding: Founding,
    /// How long silent founders are waited for before a majority may be enough.
    pub founding_grace: Duration,
    pub initial_cluster: InitialCluster,
    pub join_as: JoinAs,
    /// Whether the data of a removed member may be set aside so that the node joins afresh.
    pub rejoin: bool,
    /// Whether silent members that belong to no instance of the group are removed.
    pub prune_foreign: bool,
}

impl Policy {
    /// An instance's peer URL in the form asked for; None where it has no such address.
    pub fn peer_url(&self, addresses: &Addresses) -> Option<MemberUrl> {
        Some(MemberUrl::new(self.peer_scheme, &self.host(addresses)?, self.peer_port))
    }

    /// An instance's client URL in the form asked for; None where it has no such address.
    pub fn client_url(&self, addresses: &Addresses) -> Option<MemberUrl> {
        Some(MemberUrl::new(self.client_scheme, &self.host(addresses)?, self.client_port))
    }

    /// Whether a URL leads to the peer port at these addresses, in whichever form it is written (F29). Another port of the
    /// same host is another member's (F108).
    pub fn is_peer_url_of(&self, addresses: &Addresses, url: &MemberUrl) -> bool {
        addresses.hold(url) && url.port == self.peer_port
    }

    /// Where a member's client port is asked: beside its peer port. What it advertises may be for others only, such as
    /// localhost.
    pub fn client_url_beside(&self, peer_url: &MemberUrl) -> MemberUrl {
        MemberUrl::new(self.client_scheme, peer_url.host(), self.client_port)
    }

    fn host(&self, addresses: &Addresses) -> Option<String> {
        match self.address_form {
            AddressForm::Addresses => addresses.ip().map(|ip| ip.to_string()),
            AddressForm::DnsNames => addresses.dns_name.clone(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    Member,
    Consumer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AddressForm {
    Addresses,
    DnsNames,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Founding {
    Majority,
    Unanimous,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum InitialCluster {
    Auto,
    Never,
    Force,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum JoinAs {
    Auto,
    Learner,
    Voter,
}

// ---------------------------------------------------------------- what is decided

/// What to do next, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    pub action: Action,
    pub reason: Reason,
}

/// At most one change; the doing leaves no choice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Look again.
    Wait,
    /// Stop; looking again does not help.
    Refuse,
    /// Ask the member at `via` to remove another.
    Remove { member: MemberId, via: MemberUrl },
    /// Ask the member at `via` to add this node.
    Add { peer_url: MemberUrl, as_learner: bool, via: MemberUrl },
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
    /// Write the file and let etcd start.
    Start(Start),
    /// Write the consumer's file.
    Follow { endpoints: Vec<MemberUrl> },
}

/// What etcd is started with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    pub name: InstanceId,
    pub state: ClusterState,
    /// `name=url` in the order in which they are written.
    pub initial_cluster: Vec<(String, MemberUrl)>,
    pub token: String,
    pub peer_url: MemberUrl,
    pub client_url: MemberUrl,
    /// The address that etcd listens on.
    pub listen: IpAddr,
    /// The founder whose etcd should serve before the file is written, so that founders start one after another;
    /// None for the first, and for all who join.
    pub after: Option<After>,
}

/// The founders of which one should serve before this one starts, in the order of their turns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct After {
    pub peer_urls: Vec<MemberUrl>,
    /// How long each is waited for: a founder that never starts must not keep the others.
    pub turn: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClusterState {
    New,
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

/// What a cluster lacks that confirms no member list, as far as a look from outside tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lack {
    /// The etcds of a majority run, and a client port of theirs does not answer this node.
    ClientPort,
    /// The etcds of a majority run and answer, without a leader.
    Leader,
    /// The instances of a majority exist, and too few of their etcds run.
    Etcds,
    /// The instances of a majority, or their disks, are gone.
    Instances,
}

/// Why a decision is what it is. The variant's name is its code; Display says it to a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    // Starting with own data
    OwnDataListed { cluster: ClusterId },
    OwnDataNobodyObjects,
    OwnDataTagged { mine: ClusterId, other: ClusterId, at: Vec<String> },
    // Starting without
    FoundersAgree { founders: usize },
    FoundersMajority { agreed: usize, silent: Vec<InstanceId> },
    AgreedFounding { cluster: ClusterId },
    Resume { member: MemberId },
    // Changing the member list, or what must be so before
    Untagged { cluster: ClusterId },
    ProvenDead { member: String, proof: Proof },
    ReplacesOwnLostDisk { member: String },
    AddressReused { member: String, proof: Proof },
    Joining { cluster: ClusterId, members: usize, as_learner: bool, caution: Option<String> },
    // Setting data aside
    BackendWithoutLog,
    NeverLedOtherFormed { mine: ClusterId, formed: ClusterId },
    NeverLedOtherFounding { mine: ClusterId, tagged: String },
    NeverLedFoundersLost { mine: ClusterId, lost: Vec<String> },
    RejoinAfterRemoval { member: MemberId },
    // Keeping the record of a founding
    NothingOnRecord,
    FoundingLost { cluster: ClusterId, lost: Vec<String> },
    // Following
    Endpoints { cluster: ClusterId },
    // Waiting
    MetadataBlind(Blind),
    GroupBlind(Blind),
    Ec2Blind(Blind),
    NotInGroup { group: String },
    GroupUnsettled { eligible: usize, desired: usize, other: Vec<String> },
    FounderWithoutAddress { instance: InstanceId },
    SecondRead { what: String },
    FoundersDisagree { instance: InstanceId, theirs: Option<String>, mine: String },
    FoundersSilent { silent: Vec<String>, agreed: usize, founders: usize },
    ClusterTagged { cluster: String, unclear: Vec<String> },
    CreationForbidden,
    FormingWithoutMe { cluster: ClusterId },
    FoundersNotBack { mine: ClusterId, waiting_for: Vec<InstanceId> },
    FoundersAgreeing { cluster: ClusterId, waiting_for: Vec<InstanceId> },
    OthersFounding { cluster: ClusterId, why: String },
    FoundingTagUnreadable { tag: String },
    NoQuorum { cluster: ClusterId, answering: Vec<String>, why: Vec<String>, lack: Lack },
    OtherJoining { member: String },
    ForeignInTheWay { member: String },
    LearnerNotPromoted { member: String },
    RemovalCostsQuorum { member: String, reachable: usize, needed: usize },
    AdditionRisksQuorum { reachable: usize, needed: usize },
    VersionUnsettled { cluster: String, lowest: String },
    OwnerUnknown { member: String, why: String },
    NoMemberAnswers { asked: usize },
    TooFewEndpoints { living: usize, voters: usize },
    // Refusing
    WarmPool { state: String },
    Leaving { state: String },
    TwoClusters { one: ClusterId, other: ClusterId },
    OtherClustersData { mine: ClusterId, formed: ClusterId },
    LogAhead { cluster: ClusterId, mine: u64, theirs: u64 },
    RemovedMember { member: MemberId, cluster: ClusterId },
    DiskIsACopy { member: String, why: String },
    AddressTaken { member: String },
    DataUnreadable { why: String },
    Denied { why: String },
    NotTheTaggedCluster { tag: String, seen: ClusterId },
    NoOwnAddress,
    VersionSkipsAMinor { newer: String, older: String },
    VersionTooOld { mine: String, cluster: String },
    RecordUnusable { why: String },
}

/// The evidence that a member is gone for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// EC2 says `shutting-down` or `terminated`.
    Ec2State { instance: InstanceId, state: String },
    /// EC2 does not know the instance, no group lists it, and its port is silent, for this long.
    Forgotten { instance: InstanceId, silent_for: Duration },
    /// Added, never started, silent for this long, and no instance of the group holds its address.
    NeverStarted { silent_for: Duration },
    /// Belongs to nothing that is known, silent for this long, and `--prune-foreign` was given.
    Foreign { silent_for: Duration },
    /// It is this node's own former self.
    Myself,
}

/// Times as people read them, in saved observations.
mod rfc3339 {
    use super::{Deserialize, SystemTime};
    use serde::{Deserializer, Serializer};

    pub fn serialize<S: Serializer>(time: &SystemTime, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&humantime::format_rfc3339_millis(*time))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<SystemTime, D::Error> {
        let text = String::deserialize(d)?;
        humantime::parse_rfc3339(&text).map_err(serde::de::Error::custom)
    }

    pub mod option {
        use super::{Deserialize, Deserializer, Serializer, SystemTime};

        pub fn serialize<S: Serializer>(time: &Option<SystemTime>, s: S) -> Result<S::Ok, S::Error> {
            match time {
                Some(time) => super::serialize(time, s),
                None => s.serialize_none(),
            }
        }

        pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<SystemTime>, D::Error> {
            let text = Option::<String>::deserialize(d)?;
            text.map(|t| humantime::parse_rfc3339(&t).map_err(serde::de::Error::custom)).transpose()
        }
    }
}
