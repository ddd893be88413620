//! What is told of the reasons that have to do with recovery: by whom a person is stopped, and what became of the old data.

use std::time::Duration;

use super::told::{goes_on, stops, unseen, waits};
use super::{Reason, Told, join};
use crate::model::CLUSTER_TAG;

impl Reason {
    /// All that is told of it; None where it is none of these.
    #[allow(clippy::wildcard_enum_match_arm, reason = "the others are in blocks.rs and life.rs")]
    pub(super) fn told_of_recovery(&self) -> Option<Told> {
        Some(match self {
            Self::ClusterTagged { cluster, unclear } => waits(
                {
                    let unclear = if unclear.is_empty() {
                        String::new()
                    } else {
                        format!("; not understood: {}", unclear.join("; "))
                    };
                    format!(
                        "no formed cluster answers, but the group's tag says that cluster {cluster} exists{unclear}"
                    )
                },
                "no formed cluster answers, but the group's tag says that there is a cluster",
                "Start the stopped instances again. If all is lost: `recover --from=` a snapshot on one \
                 node; or, for an empty cluster, first terminate every old instance, then delete the \
                 group's tags or set `--initial-cluster-policy=force`.",
            )
            .advising(if unclear.is_empty() {
                format!(
                    "if cluster {cluster} is lost for good, stop etcd's unit on one of these nodes and run there: \
                 etcd-bootstrap recover --from=SNAPSHOT; or, for an empty cluster, delete the group's tag \
                 '{CLUSTER_TAG}' or run with --initial-cluster-policy=force"
                )
            } else {
                "make these instances answer first: they may be that cluster".to_owned()
            }),
            Self::ReplacedByRecovery { mine, by } => goes_on(format!(
                "the data is of cluster {mine}, which cluster {by} has been recovered from: this node joins that one"
            )),
            Self::ClusterReplaced { mine, by } => waits(
                format!(
                    "the data is of cluster {mine}, which another one has been recovered from, and that, {by}, has no \
                     quorum yet"
                ),
                "this node's data is of a cluster that has been given up, and its successor has no quorum yet",
                "Start etcd where `recover` was run. Then this node sets its data aside and joins.",
            )
            .advising("start etcd where `recover` was run: then this node sets its data aside and joins"),
            Self::DamagedLogAside { member, why } => goes_on(format!(
                "the log of member {member} is damaged, and a quorum of its cluster lives without it: {why}"
            )),
            Self::LogDamaged { why } => waits(
                format!("the write-ahead log is damaged, so that no etcd starts on it: {why}"),
                "this node's log is damaged, and no quorum of its cluster confirms that it can do without",
                "Start the others: with a quorum of them this node sets its data aside and joins afresh. If there is \
                 none any more, `recover --rejoin --from=` its `member/snap/db`.",
            )
            .advising(
                "start the others, with a quorum of them this node joins afresh; without, run: \
                 etcd-bootstrap recover --rejoin --from=DATA_DIR/member/snap/db",
            ),
            Self::ClusterLives { at } => stops(
                format!("a cluster with a leader answers: {}", join(at)),
                "`recover`: a cluster of this group lives",
                "Nothing is lost: let this node join it.",
            )
            .advising("nothing is lost: let this node join it"),
            Self::SurvivorRuns { at } => stops(
                format!("etcd runs on other nodes: {}", join(at)),
                "`recover`: an etcd of the group runs elsewhere, and would go on beside the new cluster",
                "Take the survivor with the highest index. Terminate the others, or stop etcd on them and say \
                 `--despite=` for each.",
            )
            .advising(
                "recover where the index is highest; terminate the other instances, or stop etcd there and add \
                 --despite=i-... for each",
            ),
            Self::OtherRecovers { instance } => stops(
                format!("{instance} recovers this group just now"),
                "`recover`: somebody recovers on another node at the same time",
                "Let one of them end. If it does not, stop it there and run it here again.",
            )
            .advising("let it end there; if it does not, stop it there and run it here again"),
            Self::Unaccounted { who } => stops(
                format!("nobody can tell what became of {}", who.join("; ")),
                "`recover`: an instance or member may still have the cluster's data, and run again",
                "Terminate it, or, if it has no data, have it boot and wait. If you are certain that it never runs again: \
                 `--despite=` with its name or id.",
            )
            .advising(
                "terminate them, or, where they have no data, boot them so that they wait; or vouch for each: \
                 --despite=NAME",
            ),
            Self::NotGivenUp { named, said } => stops(
                format!("the group's tag names cluster {named}, and --yes={said} gives up another"),
                "`recover`: `--yes` does not name the cluster that the group's tag names",
                "Look at the plan, which `recover` prints without `--yes`.",
            )
            .advising("look at the plan again: run it without --yes"),
            Self::ForeignSnapshot { given_up, of } => stops(
                format!("the data is of cluster {of}, and {given_up} is given up"),
                "`recover`: the data is of another cluster than the one given up",
                "Look for the right one. To take over another cluster's data on purpose: `--foreign-snapshot`.",
            )
            .advising("look for the right one; to take another cluster's data on purpose: --foreign-snapshot"),
            Self::OwnDataInTheWay { mine } => stops(
                format!("this node has data of its own: {mine}"),
                "`recover`: the node has data, and it is not what the new cluster is to begin with",
                "`--from=this-node` takes it; `--rejoin` sets it aside.",
            )
            .advising("take it by --from=this-node, or say --rejoin to set it aside"),
            Self::DataBehindLog { writes } => stops(
                format!("{writes} committed writes are in this node's log and not in its database yet"),
                "`recover`: writes would be lost that the own log still has",
                "Start etcd for five seconds, it writes them back without a quorum too; then stop it.",
            )
            .advising("start etcd here for five seconds, without a quorum too, and stop it: then they are in it"),
            Self::RecoveryUnready { why } => stops(
                why,
                "`recover`: something is missing on this node",
                "The log names it: etcd's unit to be stopped, the user to run it as, `etcdutl` or `etcdctl`.",
            ),
            Self::SnapshotKept { name } => goes_on(format!("there is a snapshot of this slot: {name}")),
            Self::SnapshotLeftToFollowers => {
                goes_on("this node's member leads, and leaves the snapshot to a follower for half of the slot")
            }
            Self::SnapshotOverdue { newest, age, every } => waits(
                {
                    let (age, every) = (whole(*age), whole(*every));
                    match newest {
                        Some(newest) => {
                            format!("the newest snapshot is from {age} ago, and one is due every {every}: {newest}")
                        }
                        None => format!("there is no snapshot after {age}, and one is due every {every}"),
                    }
                },
                "`snapshot`: there is no new snapshot, whoever is to blame",
                "Look at the log of `etcd-bootstrap-snapshot` on every member: the one that tries says what is in its way.",
            ),
            Self::SnapshotBrokeOff { why } => waits(
                why,
                "`snapshot`: it broke off, and nothing of it is kept",
                "Nothing, as a rule: the next run tries again, on this node or another.",
            ),
            Self::SnapshotsBlind(blind) => unseen(
                blind,
                blind.to_string(),
                "`snapshot`, `recover`: the snapshots could not be read or written",
                "69: the store or the way to it is down; the next run tries again. 78: the log names the right, the \
                 bucket, the region or the directory.",
            ),
            Self::ClusterCorrupt { faults } => stops(
                format!("etcd says that its data is corrupt: {}", join(faults)),
                "`snapshot`: a member's data differs from the others', and none is taken of it",
                "Find the member by etcd's alarm list, stop it, and have its instance replaced. Keep the snapshots of before.",
            )
            .advising("replace the member that the alarm names, and keep the snapshots of before"),
            _ => return None,
        })
    }
}

/// A time in whole seconds, as people say it.
fn whole(time: Duration) -> impl std::fmt::Display {
    humantime::format_duration(Duration::from_secs(time.as_secs()))
}
