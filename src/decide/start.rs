//! What a start looks like, and the decisions that change nothing.

use std::collections::BTreeSet;

use crate::model::agreement;
use crate::model::{
    Action, Change, ClusterState, Decision, Identity, Member, MemberUrl, Observation, OwnData, Policy, Reason, Start,
    in_initial_cluster,
};

/// An old backend without its log must not be opened by a new member (F46).
pub(super) fn clear_backend(o: &Observation) -> Option<Decision> {
    matches!(o.own_data, OwnData::NoLog).then(|| set_aside(Reason::BackendWithoutLog))
}

/// What a start of this node has in common in all cases; None where it has no address.
pub(super) fn starting_point(o: &Observation, me: &Identity, p: &Policy) -> Option<Start> {
    Some(Start {
        name: me.instance.clone(),
        state: ClusterState::Existing,
        initial_cluster: Vec::new(),
        token: o.group.ok().map(|g| agreement::plain(&g.arn)).unwrap_or_default(),
        peer_url: p.peer_url(&me.addresses)?,
        client_url: p.client_url(&me.addresses)?,
        listen: me.addresses.ip()?,
        after: None,
    })
}

/// The member whose peer URL leads to this node's peer port, in whichever form the cluster lists it (F29).
pub(super) fn own_row<'a>(list: &'a [Member], me: &Identity, p: &Policy) -> Option<&'a Member> {
    list.iter().find(|m| m.peer_urls.iter().any(|url| p.is_peer_url_of(&me.addresses, url)))
}

/// Every member of a list as etcd wants it: learners and unstarted ones too (F18), one entry a URL (F19), a name of
/// its own for each (F17: equal names merge; etcd does not compare names). The own entry keeps the list's form of
/// the URL.
pub(super) fn initial_cluster_of(list: &[Member], own: &Member, start: &mut Start) -> Vec<(String, MemberUrl)> {
    if let Some(url) = own.peer_urls.first() {
        start.peer_url = url.clone();
    }
    let mut taken = BTreeSet::from([start.name.to_string()]);
    let mut entries = Vec::new();
    for m in list {
        let name = if m.id == own.id { start.name.to_string() } else { unique_name(m, &mut taken) };
        entries.extend(m.peer_urls.iter().map(|url| (name.clone(), url.clone())));
    }
    entries.sort();
    entries
}

/// Those of some peer URLs that come before the own one as text, which is how etcd sorts them.
pub(super) fn earlier<'a>(peer_urls: impl Iterator<Item = &'a MemberUrl>, own: &MemberUrl) -> Vec<MemberUrl> {
    let mut earlier: Vec<MemberUrl> = peer_urls.filter(|url| url.to_string() < own.to_string()).cloned().collect();
    earlier.sort_by_key(ToString::to_string);
    earlier
}

fn unique_name(m: &Member, taken: &mut BTreeSet<String>) -> String {
    let plain = !m.name.is_empty() && m.name.chars().all(|c| c.is_ascii() && in_initial_cluster(c));
    let name = if plain && !taken.contains(&m.name) { m.name.clone() } else { format!("member-{}", m.id) };
    taken.insert(name.clone());
    name
}

pub(super) fn wait(reason: Reason) -> Decision {
    Decision { action: Action::Wait, reason }
}

pub(super) fn refuse(reason: Reason) -> Decision {
    Decision { action: Action::Refuse, reason }
}

pub(super) fn set_aside(reason: Reason) -> Decision {
    Decision { action: Action::Change(Change::SetDataAside { gives_up: None }), reason }
}
