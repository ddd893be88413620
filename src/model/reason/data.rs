//! What is told of the reasons that a node's own data gives.

use super::told::{goes_on, stops};
use super::{Reason, Told};
use crate::model::CLUSTER_TAG;

impl Reason {
    /// All that is told of it; None where it is none of these.
    #[allow(clippy::wildcard_enum_match_arm, reason = "the others are in blocks.rs")]
    pub(super) fn told_of_data(&self) -> Option<Told> {
        Some(match self {
            Self::OwnDataListed { cluster } => {
                goes_on(format!("this node has its own data and cluster {cluster} lists its member"))
            }
            Self::OwnDataNobodyObjects => goes_on("this node has its own data and no quorum says otherwise"),
            Self::OwnDataTagged { at, mine, other } => goes_on(format!(
                "this node's data is of cluster {mine}, which the group's tag names, though cluster {other} answers"
            ))
            .advising(format!(
                "stop the etcds of cluster {other}, which is not this group's ({}), or write its id to the tag \
                 '{CLUSTER_TAG}'; keep the data of both until it is clear which is the right one",
                at.join(", ")
            )),
            Self::BackendWithoutLog => {
                goes_on("the data directory holds a database without a write-ahead log: etcd must not open it")
            }
            Self::NeverLedOtherFormed { mine, formed } => goes_on(format!(
                "the data is of cluster {mine}, which never had a leader here, and cluster {formed} is formed: \
                 there is nothing in it"
            )),
            Self::NeverLedOtherFounding { mine, tagged } => goes_on(format!(
                "the data is of cluster {mine}, which never had a leader here, and the group's tag names cluster \
                 {tagged}: there is nothing in it"
            )),
            Self::NeverLedFoundersLost { mine, lost } => goes_on(format!(
                "the data is of cluster {mine}, which never had a leader here and never can: lost founders {}",
                lost.join(", ")
            )),
            Self::NeverLedRemoved { member } => goes_on(format!(
                "the data is of member {member}, which was removed and never had a leader here: there is nothing in it"
            )),
            Self::RejoinAfterRemoval { member } => {
                goes_on(format!("member {member} was removed and --rejoin is given"))
            }
            Self::OtherClustersData { mine, formed } => stops(
                format!("the data is of cluster {mine}, but this group's cluster is {formed}"),
                "this node's data is of another cluster than the group's",
                "The wrong disk, and maybe that cluster's last: attach it where it belongs, or move `member` \
                 away, and keep it, to join afresh. Where the group's tag names the cluster of this data, the \
                 node starts and warns instead: stop the other cluster's etcds.",
            )
            .advising(
                "this disk belongs to another cluster, and may be its last: attach it where it belongs, or move \
                 the data directory away, and keep it, to join afresh",
            ),
            Self::LogAhead { cluster, mine, theirs } => stops(
                format!(
                    "this node's log is ahead of the cluster that answers: of cluster {cluster}, entry {mine} is \
                 committed here, and a quorum has come to {theirs}"
                ),
                "this node's log holds committed entries that the cluster of the same id has not: it was \
                 restored from an older copy, or created again",
                "Nothing is lost yet, so keep this node's data. Find out which is the right one. If it is this \
                 node's: stop the others, and start their latest copies. If it is the cluster that answers: move \
                 `member` away, and keep it; the node joins afresh.",
            )
            .advising(
                "the cluster that answers was restored, or created again, from less than this node has: find out \
                 which is the right one, and keep this data; if it is the other, move the data directory away to \
                 join afresh",
            ),
            Self::RemovedMember { member, cluster } => stops(
                format!("cluster {cluster} has removed this node's member {member}"),
                "the cluster has removed this node's member",
                "`--rejoin` sets the data aside and joins as a new member. Or replace the instance.",
            )
            .advising("run with --rejoin to set the old data aside and join as a new member"),
            Self::DiskIsACopy { member, why } => stops(
                format!("member {member} of this disk is another node's: {why}"),
                "the member on this node's disk is that of another node which may live: the disk came from an \
                 image, a snapshot or a backup",
                "If this is the copy: move `member` away, keep it, and the node joins afresh. If the disk was \
                 moved here: terminate the other instance.",
            )
            .advising(
                "only one may run. If this is the copy: move the data directory away, and keep it, to join as a \
                 new member. If the disk was moved here: terminate the other instance",
            ),
            Self::DataUnreadable { why } => stops(
                why,
                "the data directory or its log cannot be read, or etcd's data is in another directory inside it \
                 or around it",
                "Owner and mount first. Data elsewhere: name that directory by `--data-dir` or `--wal-dir`, or \
                 move it to where the agent looks. A log that is damaged at its very begin: move `member` out of the \
                 data directory, and keep it; the node joins afresh while the others have a quorum.",
            )
            .advising(
                "if the data is elsewhere, name that directory by --data-dir or --wal-dir; else repair it, or, while the \
                 others have a quorum, move it away, and keep it, to join as a new member",
            ),
            _ => return None,
        })
    }
}
