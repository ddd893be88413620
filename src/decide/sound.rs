//! Whether the cluster can spare a member: what must hold before the group may go on to its next one.

use std::time::Duration;

use super::confirmed::Confirmed;
use super::ill::{Cause, Ill};
use super::view::{Cluster, elapsed, formed_clusters, other_tag};
use crate::model::{
    Blind, BlindKind, ClientView, InitialCluster, InstanceId, Member, MemberId, MemberUrl, Observation, OwnData,
    Policy, Reason, Seen,
};

/// How long it must hold in a row: etcd itself takes a member for connected after this long (`HealthInterval`,
/// server/etcdserver/server.go, v3.7.1).
const SOUND_FOR: Duration = Duration::from_secs(5);

/// A member this close to the leader is fed from the log, not by a snapshot (etcd's default of
/// `--snapshot-catchup-entries`, v3.6).
const CLOSE: u64 = 5000;

/// Whether the cluster has been sound for long enough, by what passes before this one found.
pub(super) fn has_been_sound(o: &Observation) -> bool {
    let since = o.history.as_ref().and_then(|before| before.sound_since);
    since.is_some_and(|since| elapsed(since, o.taken_at) >= SOUND_FOR)
}

/// Whether the own member is a voter of a cluster that is sound.
///
/// # Errors
/// The reason to wait, or to refuse: two clusters, or another than the tag names.
pub(super) fn check_sound(o: &Observation, p: &Policy) -> Result<(), Reason> {
    let formed = formed_clusters(o);
    let mut ids = formed.keys();
    if let (Some(one), Some(other)) = (ids.next(), ids.next()) {
        return Err(Reason::TwoClusters { one: *one, other: *other });
    }
    let no_voter = || Reason::NotServing { why: "this node's member is no published voter".to_owned() };
    let OwnData::Log { cluster_id, member_id, .. } = &o.own_data else { return Err(no_voter()) };
    let cluster = formed.get(cluster_id).ok_or_else(no_voter)?;
    if let Some(tag) = other_tag(o, *cluster_id).filter(|_| p.initial_cluster != InitialCluster::Force) {
        return Err(Reason::NotTheTaggedCluster { tag: tag.to_owned(), seen: *cluster_id });
    }
    let seen = match Confirmed::of(o, p, cluster) {
        Ok(seen) => seen,
        // What authentication hides is not held against anybody: the own member's list is as good for this.
        Err(decision) => match (decision.reason, own_list(cluster, *member_id)) {
            (Reason::Denied { .. }, Some(list)) => Confirmed { o, p, cluster, list },
            (reason, _) => return Err(reason),
        },
    };
    let own = seen.list.iter().find(|m| m.id == *member_id);
    own.filter(|own| own.published() && !own.learner).ok_or_else(no_voter)?;
    let why: Vec<String> = ills(&seen).into_iter().map(|ill| ill.why).collect();
    if why.is_empty() { Ok(()) } else { Err(Reason::ClusterUnsound { why }) }
}

/// A member's list as one that answers has it.
fn own_list<'a>(cluster: &Cluster<'a>, member: MemberId) -> Option<&'a [Member]> {
    let mut lists = cluster.views.iter().map(|(_, view)| view.members.as_slice());
    lists.find(|list| list.iter().any(|m| m.id == member))
}

/// What each voter lacks. One that is about to go, and still answers, is not counted on; learners and
/// members that have not started are not looked at, or two that join at once would wait for each other.
pub(super) fn ills(seen: &Confirmed<'_>) -> Vec<Ill> {
    let voters = seen.list.iter().filter(|m| !m.learner && m.published() && !is_going(seen.o, seen.cluster, m));
    let named = |m: &Member| ill(seen.cluster, m).map(|ill| Ill { why: format!("{m} {}", ill.why), ..ill });
    voters.filter_map(named).collect()
}

/// Whether a member is about to go, and still answers.
pub(super) fn is_going(o: &Observation, cluster: &Cluster<'_>, m: &Member) -> bool {
    is_terminating(o, m) && cluster.answers(m)
}

/// What a voter lacks, without its name; None where nothing is known to.
pub(super) fn ill(cluster: &Cluster<'_>, m: &Member) -> Option<Ill> {
    let ill = |cause, why: String| Some(Ill { cause, why });
    let by_peers = !cluster.views.is_empty();
    if by_peers && !cluster.answers(m) {
        return ill(Cause::MemberSilent, "does not answer at its peer port".to_owned());
    }
    let Some(view) = view_of(cluster, m.id) else {
        let here = |url: &MemberUrl| m.peer_urls.contains(url) || m.client_urls.contains(url);
        return match cluster.client_failures().find(|(url, _)| here(url)) {
            // What authentication hides is not held against anybody.
            Some((_, Blind { kind: BlindKind::Denied, .. })) => None,
            Some((_, failure)) => ill(Cause::MemberSilent, format!("does not answer at its client port: {failure}")),
            None if by_peers => None,
            None => ill(Cause::MemberSilent, "does not answer at its client port".to_owned()),
        };
    };
    if let Some(fault) = view.faults.first() {
        let cause = if fault.contains("alarm:") { Cause::Alarm } else { Cause::MemberIll };
        return ill(cause, format!("says: {fault}"));
    }
    if view.leader.is_none() || view.leader != leader(cluster) {
        return ill(Cause::MemberIll, "does not follow the leader".to_owned());
    }
    if let Seen::No(blind) = view.quorum_list.clone()
        && blind.kind != BlindKind::Denied
    {
        return ill(Cause::MemberIll, format!("confirms no member list: {blind}"));
    }
    let behind = behind(cluster, m.id).filter(|behind| *behind > CLOSE)?;
    ill(Cause::MemberBehind, format!("is {behind} entries behind the leader"))
}

/// Who leads, by the first that says it.
pub(super) fn leader(cluster: &Cluster<'_>) -> Option<MemberId> {
    cluster.serving().find_map(|(_, view)| view.leader)
}

/// How many entries of the log a member has yet to apply; None where it, or the leader, did not say.
pub(super) fn behind(cluster: &Cluster<'_>, member: MemberId) -> Option<u64> {
    let applied = |member| view_of(cluster, member)?.applied;
    Some(applied(leader(cluster)?)?.saturating_sub(applied(member)?))
}

pub(super) fn view_of<'a>(cluster: &Cluster<'a>, member: MemberId) -> Option<&'a ClientView> {
    cluster.serving().find(|(_, view)| view.member_id == member).map(|(_, view)| view)
}

/// Whether the group terminates the instance that a member is named after.
pub(super) fn is_terminating(o: &Observation, m: &Member) -> bool {
    let owner = InstanceId::from_member_name(&m.name);
    owner.is_some_and(|owner| {
        o.group.ok().and_then(|group| group.instances.get(&owner)).is_some_and(|s| s.is_terminating())
    })
}
