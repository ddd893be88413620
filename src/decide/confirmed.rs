//! A cluster whose member list a quorum confirms: whom to ask, who is in the way, and how a member is removed.

use std::collections::BTreeMap;

use super::death::{Verdict, judge};
use super::start::{refuse, wait};
use super::view::{Cluster, quorum};
use crate::model::{
    Action, Blind, BlindKind, CLUSTER_TAG, Change, ClientView, Decision, History, Lack, Member, MemberId, MemberUrl,
    Observation, Policy, Proof, Reason,
};

/// Such a cluster, and where that was seen.
pub(super) struct Confirmed<'a> {
    pub(super) o: &'a Observation,
    pub(super) p: &'a Policy,
    pub(super) cluster: &'a Cluster<'a>,
    pub(super) list: &'a [Member],
}

impl<'a> Confirmed<'a> {
    /// # Errors
    /// What is decided where no quorum confirms the list.
    pub(super) fn of(o: &'a Observation, p: &'a Policy, cluster: &'a Cluster<'a>) -> Result<Self, Box<Decision>> {
        match cluster.confirmed_list() {
            Some(list) => Ok(Self { o, p, cluster, list }),
            None => Err(Box::new(without_quorum(o, p, cluster))),
        }
    }

    /// Whether a member's etcd answers as one of this cluster.
    pub(super) fn answers(&self, m: &Member) -> bool {
        self.cluster.answers(m)
    }

    /// Learners and members that never started go first: removing them costs nothing and they block every join (F53).
    pub(super) fn first_dead(&self) -> Option<(&Member, Proof)> {
        let mut dead: Vec<(&Member, Proof)> = self
            .list
            .iter()
            .filter_map(|m| match judge(self.o, self.p, m) {
                Verdict::Dead(proof) => Some((m, proof)),
                Verdict::Me | Verdict::Alive(_) | Verdict::Unknown(_) | Verdict::Foreign(_) => None,
            })
            .collect();
        dead.sort_by_key(|(m, _)| (!m.learner, m.published(), self.answers(m), m.id));
        dead.into_iter().next()
    }

    /// Removes a member, unless the rest would lose its quorum (S3, F41).
    pub(super) fn remove(&self, member: &Member, reason: Reason) -> Decision {
        let voters = self.list.iter().filter(|m| !m.learner && m.id != member.id).count();
        let reachable = self.reachable_voters(Some(member.id));
        let needed = quorum(voters);
        if !member.learner && reachable < needed {
            return wait(Reason::RemovalCostsQuorum { member: member.into(), reachable, needed });
        }
        let Some(via) = self.voter_to_ask(Some(member.id)) else { return self.without_quorum() };
        self.tag().unwrap_or(Decision { action: Action::Change(Change::Remove { member: member.id, via }), reason })
    }

    /// Writes the group's tag before the first change of a run where it does not name this cluster: a person or a tool
    /// has removed it (Terraform does), no `ready` of a member could write it, or the cluster is that of `force`.
    pub(super) fn tag(&self) -> Option<Decision> {
        let group = self.o.group.ok()?;
        let named = |tag: &String| self.cluster.id.is_meant_by(tag);
        let settled = |b: &History| b.deeds.untaggable || b.deeds.tagged.get(CLUSTER_TAG).is_some_and(named);
        if group.cluster_tag.as_ref().is_some_and(named) || self.o.history.as_ref().is_some_and(settled) {
            return None;
        }
        let tags = BTreeMap::from([(CLUSTER_TAG.to_owned(), self.cluster.id.to_string())]);
        let action = Action::Change(Change::TagGroup { group: group.name.clone(), tags });
        Some(Decision { action, reason: Reason::Untagged { cluster: self.cluster.id } })
    }

    pub(super) fn without_quorum(&self) -> Decision {
        without_quorum(self.o, self.p, self.cluster)
    }

    pub(super) fn refusals(&self) -> u32 {
        self.o.history.as_ref().map_or(0, |before| before.deeds.refusals)
    }

    /// The client URL of a voter to talk to about others: one that a quorum listens to and not the one in question. After
    /// a refusal the next one: etcd's strict check is the view of the member that is asked (F110).
    pub(super) fn voter_to_ask(&self, not: Option<MemberId>) -> Option<MemberUrl> {
        let fit = |view: &ClientView| !view.learner && Some(view.member_id) != not && view.quorum_list.ok().is_some();
        let fit: Vec<&MemberUrl> = self.cluster.serving().filter(|(_, view)| fit(view)).map(|(url, _)| url).collect();
        let turn = usize::try_from(self.refusals()).ok()?.checked_rem(fit.len())?;
        Some(self.p.client_url_beside(fit[turn]))
    }

    /// Whether a member's instance is proven to be gone for good.
    pub(super) fn is_dead(&self, m: &Member) -> bool {
        matches!(judge(self.o, self.p, m), Verdict::Dead(_))
    }

    /// Published voters whose etcd answered as a member of this cluster, without the given one.
    pub(super) fn answering_voters(&self, without: Option<MemberId>) -> impl Iterator<Item = &'a Member> {
        let voters = self.list.iter().filter(move |m| m.published() && !m.learner && Some(m.id) != without);
        voters.filter(|m| self.answers(m))
    }

    pub(super) fn reachable_voters(&self, without: Option<MemberId>) -> usize {
        self.answering_voters(without).count()
    }
}

fn without_quorum(o: &Observation, p: &Policy, cluster: &Cluster<'_>) -> Decision {
    let denied = cluster.client_failures().find_map(|(url, why)| match why {
        Blind { kind: BlindKind::Denied, why } => Some(format!("{url}: {why}")),
        _ => None,
    });
    if let Some(why) = denied {
        return refuse(Reason::Denied { why });
    }
    let answering = cluster.views.iter().map(|(url, _)| url.to_string()).collect();
    let why = cluster.client_failures().map(|(url, blind)| format!("{url}: {}", blind.why)).collect();
    wait(Reason::NoQuorum { cluster: cluster.id, answering, why, lack: lack(o, p, cluster) })
}

/// Why there is no quorum. A member's own list is no authority (F20), but good enough for advice.
fn lack(o: &Observation, p: &Policy, cluster: &Cluster<'_>) -> Lack {
    let listed = cluster.views.iter().flat_map(|(_, view)| &view.members);
    let voters: BTreeMap<MemberId, &Member> = listed.filter(|m| !m.learner).map(|m| (m.id, m)).collect();
    let needed = quorum(voters.len());
    let runs = |m: &&&Member| cluster.views.iter().any(|(url, _)| m.peer_urls.contains(url));
    // A member of this node's own has lost its data.
    let exists = |m: &&&Member| !matches!(judge(o, p, m), Verdict::Dead(_) | Verdict::Me);
    if voters.values().filter(runs).count() >= needed {
        let shut = cluster.clients.iter().any(|(_, client)| client.is_err());
        return if shut { Lack::ClientPort } else { Lack::Leader };
    }
    if voters.values().filter(exists).count() >= needed { Lack::Etcds } else { Lack::Instances }
}
