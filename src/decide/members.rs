//! How each member is, for who only looks.

use std::collections::BTreeMap;

use serde::Serialize;

use super::death::{Verdict, judge_from_anywhere, owner_of};
use super::ill::Cause;
use super::sound::{behind, ill, is_going, leader, view_of};
use super::view::{Cluster, client_views, etcds, listed_members, seen_clusters};
use crate::model::{ClientView, InstanceId, Member, MemberId, Observation, PeerView, Policy};

/// How a member is, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// A voter of which nothing is known that it lacks.
    Ok,
    /// It answers, and does not do what it should.
    Ill,
    /// Neither of its ports tells anything, and its instance is not known to be gone.
    Silent,
    /// Its instance is gone for good.
    Dead,
    /// It belongs to no instance of the group.
    Foreign,
    /// It is no voter yet.
    Joining,
    /// It answers, and the group terminates its instance.
    Leaving,
}

impl Standing {
    /// All.
    pub const ALL: [Self; 7] =
        [Self::Ok, Self::Ill, Self::Silent, Self::Dead, Self::Foreign, Self::Joining, Self::Leaving];
}

/// What is seen of a member.
pub struct Health<'a> {
    /// As it is listed.
    pub member: &'a Member,
    /// The instance that it stands for; None where it stands for none that is known.
    pub instance: Option<InstanceId>,
    /// How it is.
    pub standing: Standing,
    /// What speaks for that; None where nothing has to be said.
    pub why: Option<String>,
    /// Whether it leads its cluster.
    pub leads: bool,
    /// How many entries of the log it has yet to apply; None where it, or the leader, did not say.
    pub behind: Option<u64>,
    /// What its client port says; None where it says nothing.
    pub view: Option<&'a ClientView>,
    /// What its peer port says, where it answers as a member of a cluster that lists it.
    pub peer: Option<&'a PeerView>,
}

/// Every member that anyone lists, and how it is.
pub fn health_of_members<'a>(o: &'a Observation, p: &Policy) -> Vec<Health<'a>> {
    let clusters = seen_clusters(o);
    let confirmed = client_views(o).filter_map(|(_, view)| view.quorum_list.ok()).flatten();
    let mut listed: BTreeMap<MemberId, &Member> = confirmed.map(|m| (m.id, m)).collect();
    // The word of the clusters that had a leader is better than that of any port.
    listed.extend(listed_members(o));
    listed.into_values().map(|m| health(o, p, clusters.values().find(|c| c.row(m.id).is_some()), m)).collect()
}

fn health<'a>(o: &'a Observation, p: &Policy, cluster: Option<&Cluster<'a>>, member: &'a Member) -> Health<'a> {
    let (standing, why) = standing(o, p, cluster, member);
    let seen = o.ec2.ok().zip(o.group.ok());
    Health {
        member,
        instance: seen.and_then(|(ec2, group)| owner_of(member, ec2, group)),
        standing,
        why,
        leads: cluster.is_some_and(|cluster| leader(cluster) == Some(member.id)),
        behind: cluster.and_then(|cluster| behind(cluster, member.id)),
        view: cluster.and_then(|cluster| view_of(cluster, member.id)),
        peer: peer_view(o, member),
    }
}

fn peer_view<'a>(o: &'a Observation, member: &Member) -> Option<&'a PeerView> {
    let mut views = etcds(o).filter(|(url, _)| member.peer_urls.contains(url)).map(|(_, view)| view);
    views.find(|view| view.members.iter().any(|m| m.id == member.id))
}

fn standing(o: &Observation, p: &Policy, cluster: Option<&Cluster<'_>>, m: &Member) -> (Standing, Option<String>) {
    match judge_from_anywhere(o, p, m) {
        Verdict::Dead(proof) => return (Standing::Dead, Some(proof.to_string())),
        Verdict::Foreign(why) => return (Standing::Foreign, Some(why)),
        Verdict::Me | Verdict::Alive(_) | Verdict::Unknown(_) => {}
    }
    let Some(cluster) = cluster else { return (Standing::Joining, Some("its cluster has had no leader yet".into())) };
    if !m.published() {
        return (Standing::Joining, Some("it has not started yet".into()));
    }
    if is_going(o, cluster, m) {
        return (Standing::Leaving, Some("the group terminates its instance".into()));
    }
    match ill(cluster, m) {
        // A learner confirms no list.
        Some(ill) if m.learner && ill.cause == Cause::MemberIll => (Standing::Joining, None),
        Some(ill) if ill.cause == Cause::MemberSilent && view_of(cluster, m.id).is_none() && !cluster.answers(m) => {
            (Standing::Silent, Some(ill.why))
        }
        Some(ill) => (Standing::Ill, Some(ill.why)),
        None if m.learner => (Standing::Joining, None),
        None => (Standing::Ok, None),
    }
}
