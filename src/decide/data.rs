//! A node with data of its own: start on it, wait, refuse, or set it aside.

use std::collections::BTreeMap;

use super::death::{Verdict, judge, living_holder};
use super::founders::{Disk, Lost, gave_up, has_moved_on, lost_founders, own_founders, statement_of, tagged};
use super::life::{Departure, departure};
use super::recover::successor;
use super::start::{initial_cluster_of, refuse, set_aside, wait};
use super::view::{Cluster, client_views, etcds, formed_clusters, own_group, quorum, tag_names};
use crate::model::{
    Action, Agreement, Change, ClusterId, Decision, Founder, FounderEntry, Group, Identity, InstanceId, Member,
    MemberId, MemberUrl, Observation, Policy, Reason, Start,
};

pub(super) struct OwnLog<'a> {
    pub(super) cluster: ClusterId,
    pub(super) member: MemberId,
    pub(super) had_leader: bool,
    pub(super) founders: &'a [FounderEntry],
}

/// Waits for nobody: a whole cluster may be coming back from a power cut while AWS is down (F51, F52).
pub(super) fn with_data(o: &Observation, p: &Policy, me: &Identity, mine: &OwnLog<'_>, start: Start) -> Decision {
    let formed = formed_clusters(o);
    if let Some(by) = successor(o, mine.cluster) {
        return make_room(&formed, mine, by);
    }
    if let Some(why) = &o.log_damage {
        return without_its_log(&formed, mine, why);
    }
    let other = formed.keys().find(|id| **id != mine.cluster);
    match (formed.contains_key(&mine.cluster), other) {
        // The group's own word: the other is a stranger, and the rest of this cluster may be coming back as well. To
        // start is safe: etcds of different clusters do not talk to each other.
        (false, Some(other)) if tag_names(o, mine.cluster) => {
            let at = formed[other].views.iter().map(|(url, _)| url.to_string()).collect();
            restart(start, None, Reason::OwnDataTagged { mine: mine.cluster, other: *other, at })
        }
        (false, Some(other)) if mine.had_leader => {
            refuse(Reason::OtherClustersData { mine: mine.cluster, formed: *other })
        }
        (false, Some(other)) => set_aside(Reason::NeverLedOtherFormed { mine: mine.cluster, formed: *other }),
        (false, None) => alone_with_data(o, mine, start),
        (true, _) => {
            let cluster = &formed[&mine.cluster];
            let stopped = copied(o, p, me, cluster, mine).or_else(|| log_ahead(o, cluster).map(refuse));
            stopped.unwrap_or_else(|| among_own_cluster(o, p, cluster, mine, start))
        }
    }
}

/// A person has given this cluster up, and another was recovered from what was left of it. What comes back of the old one
/// must not run beside it, and is set aside once the new one has a quorum (S10).
fn make_room(formed: &BTreeMap<ClusterId, Cluster<'_>>, mine: &OwnLog<'_>, by: &str) -> Decision {
    let serves = |cluster: &&Cluster<'_>| cluster.id.is_meant_by(by) && cluster.confirmed_list().is_some();
    match formed.values().find(serves) {
        Some(cluster) => set_aside(Reason::ReplacedByRecovery { mine: mine.cluster, by: cluster.id }),
        None => wait(Reason::ClusterReplaced { mine: mine.cluster, by: by.to_owned() }),
    }
}

/// No etcd starts on a damaged log, again and again. What this node acknowledged is in the logs of those who confirm the list
/// without it, or was never committed: with them it may begin anew, under an id of its own. Alone it keeps what it has.
fn without_its_log(formed: &BTreeMap<ClusterId, Cluster<'_>>, mine: &OwnLog<'_>, why: &str) -> Decision {
    let why = why.to_owned();
    match formed.get(&mine.cluster).and_then(Cluster::confirmed_list) {
        Some(_) => set_aside(Reason::DamagedLogAside { member: mine.member, why }),
        None => wait(Reason::LogDamaged { why }),
    }
}

/// What was committed once is so in every later state of a cluster. One whose quorum has committed less than this node
/// was made of an older copy, or afresh with the same ids: etcd panics in it, or gives up its own log (F86).
fn log_ahead(o: &Observation, cluster: &Cluster<'_>) -> Option<Reason> {
    let (mine, theirs) = (o.own_commit?, cluster.commit()?);
    (mine > theirs).then_some(Reason::LogAhead { cluster: cluster.id, mine, theirs })
}

/// A log that never had a leader holds nothing. It is kept for as long as enough of its founders can still start; then
/// it makes room for another founding.
fn alone_with_data(o: &Observation, mine: &OwnLog<'_>, start: Start) -> Decision {
    if mine.had_leader || mine.founders.is_empty() {
        return restart(start, told_by_clients(o, mine), Reason::OwnDataNobodyObjects);
    }
    let agreed = o.record.ok().and_then(|r| r.agreed.as_ref()).filter(|agreed| agreed.cluster == mine.cluster);
    let founders = match agreed {
        Some(agreed) => agreed.founders.iter().map(|f| (f.instance.clone(), Disk::of(f.nonce.as_ref()))).collect(),
        // A founding of before there were records.
        None => own_founders(o).into_iter().map(|id| (id, Disk::Untold)).collect::<Vec<_>>(),
    };
    let Lost { all, unsure } = lost_founders(o, mine.cluster, &founders);
    let may_form = |lost: usize| founders.len().saturating_sub(lost) >= quorum(mine.founders.len());
    if gave_up(o.record.ok(), mine.cluster) || !may_form(all.len()) {
        return Decision {
            action: Action::Change(Change::SetDataAside { gives_up: Some(mine.cluster) }),
            reason: Reason::NeverLedFoundersLost { mine: mine.cluster, lost: all },
        };
    }
    if !may_form(all.len() + unsure.len()) {
        return wait(Reason::SecondRead { what: format!("that the founders {} are gone", unsure.join(", ")) });
    }
    // Founders may have agreed twice, in a smaller and a larger company. All go by the tag.
    if let Some(tagged) = o.group.ok().and_then(|group| other_cluster(group, mine.cluster)) {
        return Decision {
            action: Action::Change(Change::SetDataAside { gives_up: Some(mine.cluster) }),
            reason: Reason::NeverLedOtherFounding { mine: mine.cluster, tagged },
        };
    }
    match agreed.and_then(|agreed| founders_missing(o, agreed)) {
        Some(waiting_for) => wait(Reason::FoundersNotBack { mine: mine.cluster, waiting_for }),
        None => restart(start, None, Reason::OwnDataNobodyObjects),
    }
}

/// The own cluster's list, as the client ports have it, and the own entry. They still tell by which scheme this member is
/// listed where the peers' ports speak another one than the options say (F100).
fn told_by_clients<'a>(o: &'a Observation, mine: &OwnLog<'_>) -> Option<(&'a [Member], &'a Member)> {
    let lists = client_views(o).filter(|(_, view)| view.cluster_id == mine.cluster);
    let mut lists = lists.filter_map(|(_, view)| view.quorum_list.ok());
    lists.find_map(|list| Some((list.as_slice(), list.iter().find(|m| m.id == mine.member)?)))
}

/// The cluster that the group's tags name instead of this one; None where they name this one, or none.
fn other_cluster(group: &Group, mine: ClusterId) -> Option<String> {
    let formed = group.cluster_tag.clone().filter(|tag| !mine.is_meant_by(tag));
    formed.or_else(|| Some(tagged(group).filter(|tagged| tagged.cluster != mine)?.cluster.to_string()))
}

/// Whom the first leader of a founding waits for; None where a quorum of its founders is here to elect it.
///
/// An economy: an etcd that waits in the place of its agent hears of no founder that is lost before its start times out
/// (F87; `TimeoutStartSec=` of etcd's drop-in). Nothing is lost by waiting.
/// Without AWS nobody is seen, and whoever has data starts (F51).
fn founders_missing(o: &Observation, agreed: &Agreement) -> Option<Vec<InstanceId>> {
    let (me, _, _) = own_group(o).ok()?;
    let here = |f: &&Founder| {
        let says_so = statement_of(o, &f.instance)
            .is_some_and(|theirs| f.nonce.as_ref() == Some(&theirs.nonce) && !has_moved_on(o, theirs, agreed.cluster));
        let runs = etcds(o).any(|(url, view)| *url == f.peer_url && view.cluster_id == agreed.cluster);
        f.instance == me.instance || says_so || runs
    };
    let (here, missing): (Vec<&Founder>, Vec<&Founder>) = agreed.founders.iter().partition(here);
    let enough = here.len() >= quorum(agreed.founders.len());
    (!enough).then(|| missing.into_iter().map(|f| f.instance.clone()).collect())
}

fn among_own_cluster(o: &Observation, p: &Policy, cluster: &Cluster<'_>, mine: &OwnLog<'_>, start: Start) -> Decision {
    let listed = Reason::OwnDataListed { cluster: mine.cluster };
    let confirmed = cluster.confirmed_list().map(|list| (list, list.iter().find(|m| m.id == mine.member)));
    match confirmed {
        Some((list, Some(row))) => restart(start, Some((list, row)), listed),
        None if !cluster.majority_lacks(mine.member) => restart(start, None, Reason::OwnDataNobodyObjects),
        Some((_, None)) | None => match departure(o) {
            Some(Departure::ForGood { why, .. }) => refuse(Reason::Left { why }),
            Some(Departure::ForAWhile { .. }) | None => removed(o, p, mine),
        },
    }
}

/// What becomes of the data of a member that is listed no more. What never had a leader acknowledged nothing. Its own node has left that mark when it took the member
/// out itself, and has come back: from the warm pool.
fn removed(o: &Observation, p: &Policy, mine: &OwnLog<'_>) -> Decision {
    let left = o.left.as_ref().is_some_and(|left| (left.cluster, left.member) == (mine.cluster, mine.member));
    if p.rejoin || left {
        return set_aside(Reason::RejoinAfterRemoval { member: mine.member });
    }
    // etcd took the id from a member that had not heard of the removal (F130): this log began after it.
    if !mine.had_leader {
        return set_aside(Reason::NeverLedRemoved { member: mine.member });
    }
    refuse(Reason::RemovedMember { member: mine.member, cluster: mine.cluster })
}

/// What to do on a disk whose member is another node's: two etcds with one id vote twice and cut each other off (F88).
/// None where the member is this node's, or was moved here from an instance that is gone.
pub(super) fn copied(
    o: &Observation,
    p: &Policy,
    me: &Identity,
    cluster: &Cluster<'_>,
    mine: &OwnLog<'_>,
) -> Option<Decision> {
    let here = o.ec2.ok().and_then(|ec2| ec2.found.get(&me.instance));
    let leads_here = |url: &MemberUrl| me.addresses.hold(url) || here.is_some_and(|i| i.has(url));
    let is_copy = |why: String| {
        let member = cluster.row(mine.member).map_or_else(|| mine.member.into(), Into::into);
        Some(refuse(Reason::DiskIsACopy { member, why }))
    };
    if let Some((url, _)) = cluster.serving().find(|(url, view)| view.member_id == mine.member && !leads_here(url)) {
        return is_copy(format!("it answers at {url}"));
    }
    let row = cluster.row(mine.member).filter(|row| !row.peer_urls.iter().any(leads_here))?;
    if let Some((holder, instance)) = o.ec2.ok().and_then(|ec2| living_holder(ec2, row, &[&me.instance])) {
        return is_copy(format!("it has the address of {holder}, which is {}", instance.state));
    }
    InstanceId::from_member_name(&row.name).filter(|owner| *owner != me.instance)?;
    match judge(o, p, row) {
        Verdict::Me | Verdict::Dead(_) => None,
        Verdict::Alive(why) | Verdict::Foreign(why) => is_copy(why),
        Verdict::Unknown(_) => Some(wait(Reason::SecondRead { what: format!("what becomes of member {row}") })),
    }
}

/// etcd ignores the initial cluster when it has a log (E11). `existing` with the list as known fails closed should
/// the data vanish before etcd starts: it can only join, never create.
fn restart(mut start: Start, own: Option<(&[Member], &Member)>, reason: Reason) -> Decision {
    start.initial_cluster = match own {
        Some((list, row)) => initial_cluster_of(list, row, &mut start),
        None => vec![(start.name.to_string(), start.peer_url.clone())],
    };
    Decision { action: Action::Start(start), reason }
}
