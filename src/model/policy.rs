//! What is wanted: the options that a decision depends on.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::address::{Addresses, MemberUrl, Scheme};

/// The options that the decision depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// What this node is to the cluster.
    pub role: Role,
    /// What it advertises.
    pub address_form: AddressForm,
    /// How peers speak to each other.
    pub peer_scheme: Scheme,
    /// etcd's peer port, the same on every node.
    pub peer_port: u16,
    /// How clients speak to etcd.
    pub client_scheme: Scheme,
    /// etcd's client port, the same on every node.
    pub client_port: u16,
    /// Who must agree to create a cluster.
    pub founding: FoundingRule,
    /// How long silent founders are waited for before a majority may be enough.
    pub founding_grace: Duration,
    /// Whether a cluster may be created.
    pub initial_cluster: InitialCluster,
    /// With or without a vote at first.
    pub join_as: JoinAs,
    /// Whether the data of a removed member may be set aside so that the node joins afresh.
    pub rejoin: bool,
    /// Whether silent members that belong to no instance of the group are removed.
    pub prune_foreign: bool,
    /// The lifecycle hook that holds an instance back from service until its member is in sync.
    #[serde(default = "launch_hook")]
    pub launch_hook: String,
    /// The lifecycle hook that holds an instance until its member has left.
    #[serde(default = "terminate_hook")]
    pub terminate_hook: String,
    /// Whether `watch` takes the own member out when the instance goes for good.
    #[serde(default)]
    pub leave: Leave,
    /// Whether `watch` removes members that are proven dead.
    #[serde(default)]
    pub prune: Prune,
    /// The endpoints that a consumer begins with, in AWS's place; empty: it asks AWS.
    #[serde(default)]
    pub seeds: Vec<MemberUrl>,
}

/// Unless an option says otherwise.
pub fn launch_hook() -> String {
    "etcd-bootstrap-launch".to_owned()
}

/// Unless an option says otherwise.
pub fn terminate_hook() -> String {
    "etcd-bootstrap-terminate".to_owned()
}

/// Whether a member leaves with its instance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Leave {
    /// It leaves, one at a time, and never below a quorum of the desired size.
    #[default]
    Auto,
    /// It hands its leadership over and stays listed.
    Never,
}

/// Whether the dead are removed while nobody joins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Prune {
    /// The first of the members that can removes them.
    #[default]
    Auto,
    /// Only the next that joins.
    Never,
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
        addresses.hold(url) && url.port() == self.peer_port
    }

    /// Where a member's client port is asked: beside its peer port. What it advertises may be for others only, such as
    /// localhost.
    pub fn client_url_beside(&self, peer_url: &MemberUrl) -> MemberUrl {
        MemberUrl::new(self.client_scheme, peer_url.host(), self.client_port)
    }

    pub(super) fn host(&self, addresses: &Addresses) -> Option<String> {
        match self.address_form {
            AddressForm::Addresses => addresses.ip().map(|ip| ip.to_string()),
            AddressForm::DnsNames => addresses.dns_name.clone(),
        }
    }
}

/// What a node is to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// It runs a member.
    Member,
    /// It only uses the cluster.
    Consumer,
}

/// What members advertise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AddressForm {
    /// Private addresses.
    Addresses,
    /// Private DNS names.
    DnsNames,
}

/// Who must agree before a cluster is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FoundingRule {
    /// After the grace, a majority of a new group.
    Majority,
    /// Every founder.
    Unanimous,
}

/// Whether a cluster may be created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InitialCluster {
    /// Unless the group's tag says that there is one.
    Auto,
    /// Not by this node.
    Never,
    /// Also where the group's tag says that there is one.
    Force,
}

/// How a node joins a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JoinAs {
    /// As learner where the etcd version is safe for it (F55).
    Auto,
    /// As learner on every version.
    Learner,
    /// As voter, wherever that costs no quorum.
    Voter,
}
