//! What an instance is told of its own future, and what its group's life cycle waits for.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::address::{ClusterId, MemberId};
use super::rfc3339;
use super::state::{Interruption, Transition};

/// A lifecycle hook of the group (Auto Scaling API reference, `LifecycleHook`, read 2026-11-26).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Its name, by which it is completed.
    pub name: String,
    /// What waits for it.
    pub transition: Transition,
    /// How long an instance waits for it without a heartbeat.
    pub timeout: Duration,
}

/// What the metadata tells of this instance's future, but for where its group wants it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notices {
    /// What EC2 will do to this spot instance within two minutes (EC2 user guide, "Spot Instance interruption notices",
    /// read 2026-11-26).
    pub spot: Option<Interruption>,
    /// Whether a rebalance recommendation stands. The group launches a replacement first, or does nothing.
    pub rebalance: bool,
    /// Whether EC2 has scheduled a maintenance of the host.
    pub maintenance: bool,
}

/// The mark of a member that its own node has taken out of the cluster: its data may be set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftMember {
    /// The cluster that it was a member of.
    pub cluster: ClusterId,
    /// The member, whose id no other ever has.
    pub member: MemberId,
    /// When the mark was made.
    #[serde(with = "rfc3339")]
    pub at: SystemTime,
}
