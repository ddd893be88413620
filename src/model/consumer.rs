//! What a consumer follows, and what it remembers from run to run.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::address::{ClusterId, MemberId, MemberUrl};
use super::rfc3339;

/// A cluster as a quorum of it confirmed it to a consumer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Followed {
    /// Its id: whoever answers with another one is not followed without the word of AWS, or of a seed.
    pub cluster: ClusterId,
    /// Where clients reach its voters, in order: what the file holds.
    pub endpoints: Vec<MemberUrl>,
    /// The client ports of these voters, beside their peer ports: where they are asked the next time.
    pub ports: Vec<MemberUrl>,
    /// The endpoints as they were when the last of those before them was gone. A proxy that finds the members by itself has
    /// to be told of nothing that comes after, for it knew one of them at each time.
    pub base: Vec<MemberUrl>,
    /// Listed voters whose instances EC2 has called gone. No instance comes back from that, so they are endpoints no more.
    pub gone: BTreeSet<MemberId>,
}

/// What a consumer remembers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumerRecord {
    /// Whose cluster it is: the group's name, or the seeds. What was remembered of another one counts for nothing.
    pub of: String,
    /// What it followed last; None before it has found a cluster.
    pub followed: Option<Followed>,
    /// When AWS is asked again though the cluster answers.
    #[serde(with = "rfc3339")]
    pub check_at: SystemTime,
    /// None where AWS did not throttle when it was asked last.
    pub rest: Option<Rest>,
}

/// For how long a consumer leaves AWS alone after it was throttled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rest {
    /// Its end.
    #[serde(with = "rfc3339")]
    pub until: SystemTime,
    /// About how long it is: the next one in a row is longer.
    pub length: Duration,
}
