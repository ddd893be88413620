//! What a person orders who gives a cluster up for lost, and what the database tells that its successor begins with.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::address::{ClusterId, MemberId};
use super::observation::Member;

/// The tag that names the clusters which others have been recovered from, the newest first.
pub const REPLACED_TAG: &str = "etcd-bootstrap/replaced";

/// As many ids as fit into a tag's 256 characters (Auto Scaling user guide, "Tag naming and usage restrictions", read
/// 2026-11-25).
const REMEMBERED: usize = 15;

/// What a recovery is to take, and what a person vouches for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Order {
    /// What is given up for lost; None where only the plan is asked for.
    pub gives_up: Option<GivenUp>,
    /// Instances and members that somebody has made sure of.
    pub despite: BTreeSet<String>,
    /// Whether the data may be of another cluster than the one given up.
    pub foreign: bool,
    /// Whether the data is this node's own.
    pub own: bool,
    /// The cluster that the data is of; None where it does not say.
    pub cluster: Option<ClusterId>,
    /// What the data holds.
    pub contents: Contents,
}

/// What a recovery gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GivenUp {
    /// This cluster, which the group's tag names.
    Cluster(ClusterId),
    /// Nothing: the group's tag names no cluster.
    Nothing,
}

impl fmt::Display for GivenUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster(cluster) => cluster.fmt(f),
            Self::Nothing => f.write_str("none"),
        }
    }
}

impl FromStr for GivenUp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::Nothing);
        }
        // As the tag may have it: see `ClusterId::is_meant_by`.
        let hexadecimal = text.strip_prefix("0x").unwrap_or(text);
        let id = u64::from_str_radix(hexadecimal, 16).or_else(|_| text.parse());
        id.map(|id| Self::Cluster(ClusterId(id))).map_err(|e| format!("neither the id of a cluster nor `none`: {e}"))
    }
}

/// What an etcd database tells of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Contents {
    /// Its size, in bytes.
    pub bytes: u64,
    /// The revision of its newest key; 0 without one.
    pub revision: u64,
    /// Up to which index of raft's log it holds all.
    pub index: u64,
    /// The version of the etcd that its format needs, as `3.6.0`; None from before there was one (3.6).
    pub storage_version: Option<String>,
    /// Its member list.
    pub members: Vec<Member>,
    /// Alarms that are in it, and will be in whatever is made of it.
    pub alarms: Vec<Alarm>,
    /// Whether clients have to authenticate.
    pub auth: bool,
    /// How many writes its own log holds that are committed and not in it yet; always 0 of a snapshot.
    pub behind: u64,
}

/// An alarm of a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alarm {
    /// Whose it is.
    pub member: MemberId,
    /// `NOSPACE` or `CORRUPT` (etcdserverpb.AlarmType, api/etcdserverpb/rpc.proto, v3.7.1).
    pub kind: String,
}

/// The clusters that a `replaced` tag names. What is no id is not one.
pub fn read_replaced(tag: &str) -> Vec<ClusterId> {
    tag.split_ascii_whitespace().filter_map(|id| ClusterId::try_from(id.to_owned()).ok()).collect()
}

/// The tag, once these clusters are replaced too.
pub fn replaced_tag(clusters: &[ClusterId], before: &[ClusterId]) -> String {
    let mut ids: Vec<ClusterId> = Vec::new();
    for id in clusters.iter().chain(before) {
        if !ids.contains(id) {
            ids.push(*id);
        }
    }
    ids.iter().take(REMEMBERED).map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_holds_the_newest_and_fits() {
        let ids: Vec<ClusterId> = (1..=40).map(|n| ClusterId(u64::MAX - n)).collect();
        let tag = ids.iter().fold(String::new(), |tag, id| replaced_tag(&[*id], &read_replaced(&tag)));
        assert!(tag.len() <= 256, "{}", tag.len());
        assert_eq!(read_replaced(&tag)[..2], [ids[39], ids[38]]);
        assert_eq!(replaced_tag(&ids[..1], &[ids[1], ids[0]]), format!("{} {}", ids[0], ids[1]), "each once");
    }

    #[test]
    fn what_is_given_up_is_an_id_or_none() {
        assert_eq!("none".parse(), Ok(GivenUp::Nothing));
        for text in ["cdf818194e3a8c32", "0xcdf818194e3a8c32", "14841639068965178418"] {
            assert_eq!(text.parse(), Ok(GivenUp::Cluster(ClusterId(0xcdf8_1819_4e3a_8c32))), "{text}");
        }
        assert!("latest".parse::<GivenUp>().is_err());
    }
}
