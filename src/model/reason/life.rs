//! What is told of the reasons that go along with an instance's life.

use super::told::{goes_on, unseen, waits};
use super::{Reason, Told, join};

impl Reason {
    /// All that is told of it; None where it is none of these.
    #[allow(clippy::wildcard_enum_match_arm, reason = "the others are in blocks.rs")]
    pub(super) fn told_of_life(&self) -> Option<Told> {
        Some(match self {
            // Leaving with the instance, and going along with its life
            Self::Leaves { why } => goes_on(format!("this node's member leaves the cluster: {why}")),
            Self::HandsOver { why } => goes_on(format!("this node leads no cluster any more: {why}")),
            Self::LeaverGone { instance, proof } => {
                goes_on(format!("{instance} holds its group up and cannot end that itself: {proof}"))
            }
            Self::Watching { voters, desired, leader, ills } => goes_on({
                let leader = leader.as_ref().map_or("no leader".to_owned(), |leader| format!("leader {leader}"));
                let ills: String = ills.iter().map(|ill| format!("; {ill}")).collect();
                format!("watching: {voters} voters where {desired} instances are desired, {leader}{ills}")
            }),
            Self::Aside { state } => waits(
                format!("this instance is {state} in its group; its member stays as it is"),
                "`watch`: a person has taken the instance aside, and nothing is removed for that",
                "Nothing in standby. A detached instance that is to go: `etcd-bootstrap leave` on it first.",
            ),
            Self::Left { why } => waits(
                format!("this node's member has left the cluster: {why}"),
                "the instance goes for good, and its member is off the list already",
                "Nothing: it will be terminated, or join afresh when it is taken back.",
            ),
            Self::LastMember { member } => waits(
                format!("member {member} is the last of its cluster, and stays listed"),
                "the last member does not leave: a cluster without members would be an empty one",
                "Nothing where the group is to be empty. Its data goes with its volume: take a snapshot before.",
            ),
            Self::TooFewToLeave { reachable, needed } => waits(
                format!("without this node {reachable} voters could be reached, and {needed} are needed to leave"),
                "the member does not leave yet: the others would be fewer than a quorum of the desired size",
                "Wait for the replacement, which joins meanwhile. Does it? See its log, and the group's activities.",
            ),
            Self::OtherLeaving { member } => waits(
                format!("member {member} leaves first"),
                "another member of a lower instance id leaves at the same time, and goes first",
                "Nothing; after a minute this one goes anyway.",
            ),
            // What `ready` lets the group wait for
            Self::InSync => goes_on("this node's member is a voter, and the cluster is sound"),
            Self::InService => goes_on("the group waits for nothing of this node"),
            Self::NotInService { state } => waits(
                format!("this instance is {state} in its group"),
                "`ready`: the group has not come to its lifecycle hooks yet",
                "Nothing, it takes seconds.",
            ),
            Self::ClusterUnsound { why } => waits(
                why.join("; "),
                "`ready`: the group has to wait before it goes on, for a member of the cluster is ill",
                "The log names the member and what it lacks: start it, or disarm its alarm. The lifecycle hook is \
                 kept waiting meanwhile, up to 48 hours.",
            ),
            Self::HookUnknown { wanted, seen } => waits(
                format!("this instance waits for the lifecycle hooks {}; none is named {wanted}", join(seen)),
                "`ready`: the instance waits for a lifecycle hook of another name, which somebody else completes",
                "Nothing, or name the hook as `--launch-hook` says.",
            )
            .advising(format!("name the group's launch hook '{wanted}', or say --launch-hook")),
            Self::HookRefused(blind) => unseen(
                blind,
                blind.why.clone(),
                "the group's lifecycle hook could not be answered",
                "78: allow `autoscaling:CompleteLifecycleAction` and `autoscaling:RecordLifecycleActionHeartbeat` in \
                 the role; until then the hook's own result strikes. 69: AWS is throttling or down; wait.",
            ),
            _ => return None,
        })
    }
}
