//! What a consumer follows: the client URLs of the published voters.

use std::collections::{BTreeMap, BTreeSet};

use super::start::{refuse, wait};
use super::view::{client_views, is_given_up, quorum};
use crate::model::{
    Action, Blind, BlindKind, ClusterId, Decision, InstanceId, Member, MemberUrl, Observation, Reason, Seen,
};

/// The client URLs of the published voters (F81, F82). A consumer decides on no member and writes to none (F39).
pub(super) fn follow(o: &Observation) -> Decision {
    if let Seen::No(blind) = &o.group {
        return wait(Reason::GroupBlind(blind.clone()));
    }
    if let Seen::No(blind) = &o.ec2 {
        return wait(Reason::Ec2Blind(blind.clone()));
    }
    let mut lists: BTreeMap<ClusterId, &[Member]> = BTreeMap::new();
    for (_, view) in client_views(o).filter(|(_, view)| !is_given_up(o, view.cluster_id)) {
        if let Seen::Yes(list) = &view.quorum_list {
            lists.insert(view.cluster_id, list);
        }
    }
    let mut found = lists.iter();
    match (found.next(), found.next()) {
        (Some((one, _)), Some((other, _))) => refuse(Reason::TwoClusters { one: *one, other: *other }),
        (Some((cluster, list)), None) => match endpoints(o, list) {
            Ok(endpoints) => {
                Decision { action: Action::Follow { endpoints }, reason: Reason::Endpoints { cluster: *cluster } }
            }
            Err(reason) => wait(reason),
        },
        (None, _) => wait(nobody_serves(o)),
    }
}

fn nobody_serves(o: &Observation) -> Reason {
    let denied = client_views(o).filter_map(|(url, view)| match &view.quorum_list {
        Seen::No(Blind { kind: BlindKind::Denied, why }) => Some(format!("{url}: {why}")),
        Seen::No(_) | Seen::Yes(_) => None,
    });
    match denied.min() {
        Some(why) => Reason::Denied { why },
        None => Reason::NoMemberAnswers { asked: o.probes.len() },
    }
}

/// The published voters' client URLs, less those of instances that EC2 calls gone: a consumer must not wait for the
/// next member to prune them. That a reply lacks an instance is no word on it, so EC2 is asked for each by its id, and
/// what it says of most of them at once is not believed: they have just confirmed the list (F107).
fn endpoints(o: &Observation, list: &[Member]) -> Result<Vec<MemberUrl>, Reason> {
    let voters: Vec<&Member> = list.iter().filter(|m| !m.learner && m.published()).collect();
    if voters.is_empty() {
        return Err(nobody_serves(o));
    }
    let asked = |id: &InstanceId| o.ec2.ok().is_some_and(|ec2| ec2.asked.contains(id));
    let mut names = voters.iter().filter_map(|m| InstanceId::from_member_name(&m.name));
    if let Some(unasked) = names.find(|id| !asked(id)) {
        return Err(Reason::SecondRead { what: format!("whether {unasked} is gone") });
    }
    let living: Vec<&Member> = voters.iter().copied().filter(|m| !is_gone(o, m)).collect();
    if living.len() < quorum(voters.len()) {
        return Err(Reason::TooFewEndpoints { living: living.len(), voters: voters.len() });
    }
    let urls: BTreeSet<&MemberUrl> = living.iter().flat_map(|m| &m.client_urls).collect();
    Ok(urls.into_iter().cloned().collect())
}

fn is_gone(o: &Observation, m: &Member) -> bool {
    let found = InstanceId::from_member_name(&m.name).and_then(|id| o.ec2.ok()?.found.get(&id));
    found.is_some_and(|i| i.state.has_ended())
}
