//! What goes along with etcd's start: when the own member serves, and that the group's tag names its cluster.

use std::collections::BTreeMap;

use super::life::{complete, is_unknown, keep_waiting};
use super::sound::{check_sound, has_been_sound};
use super::start::{refuse, wait};
use super::view::{me_and_group, tag_refused};
use crate::model::{
    Action, BlindKind, CLUSTER_TAG, Change, ClientView, ClusterId, Decision, Group, Hook, Identity, InitialCluster,
    LifecycleState, Member, MemberId, Observation, OwnData, PeerAnswer, Policy, Probe, Reason, Seen, Transition,
};

/// Whether the own member is a published voter, and what it takes to make it one (F53, F54, F70).
///
/// The peer port tells before the client port does. A joining etcd that gets its own publication in a snapshot never
/// sees the answer, and tries again 7 s later (5 s and two elections; server.go `publishV3`, v3.7.1). It can vote long
/// before.
pub fn serves(o: &Observation, p: &Policy) -> Decision {
    let me = match &o.me {
        Seen::Yes(me) => me,
        Seen::No(blind) => return wait(Reason::MetadataBlind(blind.clone())),
    };
    let Some(url) = p.peer_url(&me.addresses) else { return refuse(Reason::NoOwnAddress) };
    let id = match &o.own_data {
        OwnData::Log { member_id, .. } => *member_id,
        OwnData::Empty | OwnData::NoLog => return not_serving("etcd has not made its log yet".to_owned()),
        OwnData::Unreadable { why } => return not_serving(why.clone()),
    };
    let own = o.probes.iter().find(|probe| probe.asked == url);
    let view = match own.map(|probe| &probe.peer) {
        Some(PeerAnswer::Etcd(view)) => view,
        Some(PeerAnswer::Absent(why)) => return not_serving(format!("{url} does not answer as a member: {why}")),
        Some(PeerAnswer::Agent(_)) => return not_serving(format!("at {url} the agent still waits")),
        None => return not_serving(format!("{url} was not asked")),
    };
    // A joining etcd's list is empty until it has applied the leader's snapshot or log.
    let Some(row) = view.members.iter().find(|m| m.id == id) else {
        return not_serving("the member is not in its own list yet".to_owned());
    };
    if row.learner {
        let voters = view.members.iter().filter(|m| !m.learner && m.id != id);
        let via = voters.filter_map(|m| m.peer_urls.first()).map(|url| p.client_url_beside(url)).collect();
        let action = Action::Change(Change::Promote { member: id, via });
        return Decision { action, reason: Reason::LearnerHere { member: id } };
    }
    match own.and_then(as_client) {
        Some(view) if serves_as_voter(view, id) => {
            let (action, cluster) = (Action::Serve { cluster: view.cluster_id }, view.cluster_id);
            Decision { action, reason: Reason::OwnMemberServes { cluster } }
        }
        Some(ClientView { quorum_list: Seen::No(blind), .. }) => not_serving(blind.why.clone()),
        Some(_) | None => not_serving("the member is not listed as a published voter yet".to_owned()),
    }
}

/// Whether the group's tag names the own cluster; over another name it is written only by `force` (F94, F95).
pub fn tagged(o: &Observation, p: &Policy) -> Decision {
    let OwnData::Log { cluster_id: cluster, .. } = o.own_data else {
        return not_serving("etcd has not made its log yet".to_owned());
    };
    let group = match &o.group {
        Seen::Yes(group) => group,
        Seen::No(blind) => return wait(Reason::GroupBlind(blind.clone())),
    };
    let done = Decision { action: Action::Serve { cluster }, reason: Reason::OwnMemberServes { cluster } };
    let written = o.history.as_ref().and_then(|before| before.deeds.tagged.get(CLUSTER_TAG));
    // On plain instances it goes with the last one that has it.
    let is_whole = written.is_some() || group.plain.as_ref().is_none_or(|plain| plain.unmarked.is_empty());
    match written.or(group.cluster_tag.as_ref()) {
        Some(tag) if cluster.is_meant_by(tag) && is_whole => done,
        Some(tag) if !cluster.is_meant_by(tag) && p.initial_cluster != InitialCluster::Force => {
            refuse(Reason::NotTheTaggedCluster { tag: tag.clone(), seen: cluster })
        }
        Some(_) | None => {
            let reason = tag_refused(o, cluster).unwrap_or(Reason::Untagged { cluster });
            Decision { action: tag(&group.name, cluster), reason }
        }
    }
}

/// The same, but for a tag that is refused while the group waits for this instance: the group is not held up for that.
pub fn tagged_unless_held(o: &Observation, p: &Policy) -> Decision {
    let decision = tagged(o, p);
    let state = me_and_group(o).ok().and_then(|(me, group)| group.instances.get(&me.instance));
    let held = state == Some(&LifecycleState::PendingWait);
    match held && matches!(decision.reason, Reason::TagRefused { .. }) {
        true => Decision { action: Action::Rest, ..decision },
        false => decision,
    }
}

/// Whether the group need not hold this instance back from service any more, and what it takes: the cluster is sound for
/// some seconds in a row, so that the group does not go on to its next member while another one is ill.
///
/// Never given up from here: with a cause that is not this node's every replacement would fail too. Until the member is a
/// voter nothing keeps the hook waiting either, and its own result replaces a node that cannot join.
pub fn released(o: &Observation, p: &Policy) -> Decision {
    let (me, group) = match me_and_group(o) {
        Ok(seen) => seen,
        Err(reason) => return wait(reason),
    };
    match group.instances.get(&me.instance) {
        // In a group whose list lags it is there soon.
        None if me.target_lifecycle_state.is_some() => wait(Reason::NotInGroup { group: group.name.clone() }),
        Some(LifecycleState::Pending) => wait(Reason::NotInService { state: LifecycleState::Pending }),
        Some(LifecycleState::PendingWait) => release(o, p, me, group),
        Some(state) if state.is_terminating() => refuse(Reason::Leaving { state: state.clone() }),
        None | Some(_) => Decision { action: Action::Rest, reason: Reason::InService },
    }
}

fn release(o: &Observation, p: &Policy, me: &Identity, group: &Group) -> Decision {
    let hook = (p.launch_hook.as_str(), &Transition::Launching);
    if is_unknown(o, hook) {
        let launching = |hook: &&Hook| hook.transition == Transition::Launching;
        let seen = o.hooks.ok().into_iter().flatten().filter(launching).map(|hook| hook.name.clone()).collect();
        return Decision { action: Action::Rest, reason: Reason::HookUnknown { wanted: hook.0.to_owned(), seen } };
    }
    match check_sound(o, p) {
        Ok(()) if has_been_sound(o) => complete(o, group, &me.instance, hook, Reason::InSync)
            .unwrap_or(Decision { action: Action::Rest, reason: Reason::InService }),
        Ok(()) => wait(Reason::InSync),
        Err(reason @ (Reason::TwoClusters { .. } | Reason::NotTheTaggedCluster { .. })) => refuse(reason),
        Err(reason) if votes(o, me) => keep_waiting(o, me, hook, wait(reason)),
        Err(reason) => wait(reason),
    }
}

/// Whether the own etcd answers, as one that has a vote.
fn votes(o: &Observation, me: &Identity) -> bool {
    let OwnData::Log { cluster_id, member_id, .. } = &o.own_data else { return false };
    let is_voter = |m: &Member| m.id == *member_id && m.published() && !m.learner;
    o.probes.iter().filter(|probe| probe.instance.as_ref() == Some(&me.instance)).any(|probe| match &probe.peer {
        PeerAnswer::Etcd(view) => view.cluster_id == *cluster_id && view.members.iter().any(is_voter),
        PeerAnswer::Agent(_) | PeerAnswer::Absent(_) => false,
    })
}

fn tag(group: &str, cluster: ClusterId) -> Action {
    let tags = BTreeMap::from([(CLUSTER_TAG.to_owned(), cluster.to_string())]);
    Action::Change(Change::TagGroup { group: group.to_owned(), tags })
}

fn as_client(probe: &Probe) -> Option<&ClientView> {
    probe.client.as_ref()?.as_ref().ok()
}

/// Where client authentication hides the list, a leader that is known says as much.
fn serves_as_voter(view: &ClientView, id: MemberId) -> bool {
    let is_voter = |m: &Member| m.id == id && m.published() && !m.learner;
    match &view.quorum_list {
        Seen::Yes(list) => list.iter().any(is_voter),
        Seen::No(blind) => blind.kind == BlindKind::Denied && view.leader.is_some() && !view.learner,
    }
}

fn not_serving(why: String) -> Decision {
    wait(Reason::NotServing { why })
}
