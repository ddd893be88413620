//! What one run has seen and done in its earlier passes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::address::{InstanceId, MemberId};
use super::rfc3339;
use super::seen::Blind;

/// What earlier passes of one run leave to the next. Made by `decide::remember`, which alone knows what it means.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The initial cluster that the group asked for, since when without a change, and in how many reads of AWS.
    pub founders: Option<Sighting<String>>,
    /// Members that look gone, and since when.
    pub suspects: BTreeMap<MemberId, Sighting<()>>,
    /// Names of members seen so far: EC2 is asked for them in the next pass.
    pub member_instances: BTreeSet<InstanceId>,
    /// Founders that neither EC2 nor the group knows any more, and since when.
    #[serde(default)]
    pub forgotten_founders: BTreeMap<InstanceId, Sighting<()>>,
    /// Since when each pass has found the cluster sound; None where this one did not.
    #[serde(with = "rfc3339::option", default)]
    pub sound_since: Option<SystemTime>,
    /// Members that a change of this node's had better wait for, and since when it could have.
    #[serde(default)]
    pub awaited: BTreeMap<MemberId, Sighting<()>>,
    /// Since when this node leaves for good; None while it stays.
    #[serde(with = "rfc3339::option", default)]
    pub leaving_since: Option<SystemTime>,
    /// Instances which the group terminates and whose ports are silent, and since when.
    #[serde(default)]
    pub silent_leavers: BTreeMap<InstanceId, Sighting<()>>,
    /// What this run has done. Set by the loop.
    #[serde(flatten)]
    pub deeds: Deeds,
}

/// What a run has done so far, and what was said to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deeds {
    /// The group's tags that it has written, which AWS may not show yet.
    #[serde(default)]
    pub tagged: BTreeMap<String, String>,
    /// Whether the group cannot be tagged, for want of the right as a rule.
    #[serde(default)]
    pub untaggable: bool,
    /// Why the group's tag could not be written the last time; None where it was, or nobody tried.
    #[serde(default)]
    pub tag_refused: Option<Blind>,
    /// How often in a row etcd refused the change that was asked for last.
    #[serde(default)]
    pub refusals: u32,
    /// When it last had the group wait on for a lifecycle hook of this instance; None before.
    #[serde(with = "rfc3339::option", default)]
    pub heartbeat: Option<SystemTime>,
    /// For whom it has completed a lifecycle hook, for as long as the group still says that they wait.
    #[serde(default)]
    pub completed: BTreeSet<InstanceId>,
}

/// A finding that has stood for some time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting<T> {
    /// What was found.
    pub value: T,
    /// The pass that found it first.
    #[serde(with = "rfc3339")]
    pub first_seen: SystemTime,
    /// The last read of AWS that it was found in.
    #[serde(with = "rfc3339")]
    pub last_read: SystemTime,
    /// How many different reads of AWS it was found in.
    pub reads: u32,
}
