//! Whether a person may make a new cluster of what is left of an old one (S8): the guard of `recover`.

use std::collections::BTreeSet;

use super::death::is_quiet;
use super::founders::statement_of;
use super::version::own_version;
use super::view::{client_views, etcds, is_given_up, own_group};
use crate::model::{
    Absence, ClusterId, Ec2, Ec2State, EtcdVersion, GivenUp, Group, Identity, InstanceId, Member, MemberUrl,
    Observation, Order, OwnData, PeerAnswer, Policy, Probe, Reason,
};

/// All that speaks against a recovery, the gravest first; empty where nothing does. One look is not enough: AWS's replies
/// lag, so a caller wants two.
pub fn recover(o: &Observation, p: &Policy, order: &Order) -> Vec<Reason> {
    let (me, group, ec2) = match own_group(o) {
        Ok(seen) => seen,
        Err(blind) => return vec![blind],
    };
    let lives = with_leader(o);
    let runs = survivors(o);
    let unaccounted = unaccounted(o, (me, group, ec2), order);
    let reasons = [
        (!lives.is_empty()).then_some(Reason::ClusterLives { at: lives.clone() }),
        (lives.is_empty() && !runs.is_empty()).then_some(Reason::SurvivorRuns { at: runs }),
        other(o, me),
        (!unaccounted.is_empty()).then_some(Reason::Unaccounted { who: unaccounted }),
        given_up(group, order),
        foreign(group, order),
        own_data(o, p, order),
        too_new(o, order),
        (order.contents.behind > 0).then_some(Reason::DataBehindLog { writes: order.contents.behind }),
        o.port_trouble.clone().map(|why| Reason::RecoveryUnready { why }),
    ];
    reasons.into_iter().flatten().collect()
}

/// Whoever has a leader lives, whichever cluster it is.
fn with_leader(o: &Observation) -> Vec<String> {
    let led = client_views(o).filter(|(_, view)| view.leader.is_some());
    led.map(|(url, view)| format!("{url} of cluster {}", view.cluster_id)).collect()
}

/// Of two persons who recover at once, the one at the lower instance id goes on. The tag alone would not do: AWS's replies
/// may lag behind either's.
fn other(o: &Observation, me: &Identity) -> Option<Reason> {
    o.probes.iter().find_map(|probe| match &probe.peer {
        PeerAnswer::Agent(theirs) if theirs.recovers && theirs.instance < me.instance => {
            Some(Reason::OtherRecovers { instance: theirs.instance.clone() })
        }
        PeerAnswer::Agent(_) | PeerAnswer::Etcd(_) | PeerAnswer::Absent(_) => None,
    })
}

/// A member that runs without a leader goes on as soon as enough others come back, beside the new cluster (S8).
fn survivors(o: &Observation) -> Vec<String> {
    let told = |url: &MemberUrl| {
        let mut views = o.probes.iter().filter(|probe| probe.asked == *url);
        let applied = views.find_map(|probe| probe.client.as_ref()?.as_ref().ok()?.applied);
        applied.map_or_else(|| "index unknown".to_owned(), |index| format!("index {index}"))
    };
    let answers = etcds(o).map(|(url, view)| format!("{url} of cluster {} ({})", view.cluster_id, told(url)));
    answers.chain(unclear(o).map(|(probe, absence)| format!("{} ({absence})", probe.asked))).collect()
}

/// Ports that are open and say nothing that is understood: an etcd without a quorum that still reads its log, or one whose
/// TLS this node does not share.
fn unclear(o: &Observation) -> impl Iterator<Item = (&Probe, &Absence)> {
    o.probes.iter().filter_map(|probe| match &probe.peer {
        PeerAnswer::Absent(absence) if !is_quiet(&probe.peer) => Some((probe, absence)),
        PeerAnswer::Absent(_) | PeerAnswer::Etcd(_) | PeerAnswer::Agent(_) => None,
    })
}

/// Who may have the old cluster's data and is neither proven dead nor says that it has none.
fn unaccounted(o: &Observation, seen: (&Identity, &Group, &Ec2), order: &Order) -> Vec<String> {
    let (me, group, ec2) = seen;
    let named = |m: &Member| InstanceId::from_member_name(&m.name).or_else(|| holder(ec2, m));
    let members = order.contents.members.iter();
    let mut instances: BTreeSet<InstanceId> = group.instances.keys().cloned().collect();
    instances.extend(members.clone().filter_map(named));
    instances.remove(&me.instance);
    let instances = instances.into_iter().filter(|id| !order.despite.contains(id.as_str()));
    let vouched = |m: &Member| order.despite.contains(&m.name) || order.despite.contains(&m.id.to_string());
    let strangers = members.filter(|m| named(m).is_none() && !vouched(m));
    let strangers = strangers.map(|m| format!("member {m}, which belongs to no instance"));
    instances
        .filter_map(|id| founds(o, &id, order).or_else(|| still_there(o, group, ec2, &id)))
        .chain(strangers)
        .collect()
}

fn holder(ec2: &Ec2, m: &Member) -> Option<InstanceId> {
    let holds = |url: &MemberUrl| ec2.found.iter().find(|(_, i)| i.has(url)).map(|(id, _)| id.clone());
    m.peer_urls.iter().find_map(holds)
}

/// Whether an instance may start at any moment, as a founder of another cluster than the one that is given up.
fn founds(o: &Observation, id: &InstanceId, order: &Order) -> Option<String> {
    let agreed = statement_of(o, id)?.agreed?;
    let other = order.gives_up != Some(GivenUp::Cluster(agreed)) && !is_given_up(o, agreed);
    other.then(|| format!("{id}, which has agreed to found cluster {agreed}"))
}

/// Why an instance may still run the old cluster; None where it cannot, or waits without data.
fn still_there(o: &Observation, group: &Group, ec2: &Ec2, id: &InstanceId) -> Option<String> {
    // An etcd, or what may be one, is told of already.
    let told = |probe: &Probe| {
        etcds(o).any(|(url, _)| *url == probe.asked) || unclear(o).any(|(other, _)| other.asked == probe.asked)
    };
    let mut probes = o.probes.iter().filter(|probe| probe.instance.as_ref() == Some(id));
    if probes.any(|probe| matches!(probe.peer, PeerAnswer::Agent(_)) || told(probe)) {
        return None;
    }
    match (ec2.found.get(id), group.instances.get(id)) {
        // Until then it may still start what it has decided on.
        (Some(instance), _) if instance.state == Ec2State::Terminated => None,
        (Some(instance), _) => Some(format!("{id}, which EC2 calls {}", instance.state)),
        (None, Some(state)) => Some(format!("{id}, which the group calls {state}")),
        (None, None) if !ec2.asked.contains(id) => Some(format!("{id}, which EC2 has not been asked about yet")),
        (None, None) => None,
    }
}

/// The tag is the group's own word on which cluster there is. Without one there is nothing to give up.
fn given_up(group: &Group, order: &Order) -> Option<Reason> {
    let said = order.gives_up?;
    let named = match (&group.cluster_tag, said) {
        (Some(tag), GivenUp::Cluster(cluster)) if cluster.is_meant_by(tag) => return None,
        (None, GivenUp::Nothing) => return None,
        (tag, _) => tag.clone().unwrap_or_else(|| GivenUp::Nothing.to_string()),
    };
    Some(Reason::NotGivenUp { named, said: said.to_string() })
}

/// Where there is no tag, data is given up by nobody; and what was given up before, by a recovery that did not end, is
/// what that began with.
fn foreign(group: &Group, order: &Order) -> Option<Reason> {
    let of = order.cluster.filter(|of| !order.foreign && !group.replaced.contains(of))?;
    let tag = group.cluster_tag.as_ref().filter(|tag| !of.is_meant_by(tag))?;
    Some(Reason::ForeignSnapshot { given_up: tag.clone(), of })
}

/// From 3.6 on an etcd does not start on the data of a newer one (`schema.Validate`, server/storage/schema/schema.go,
/// v3.6.16), and the tag would name a cluster that never ran. Older ones do not look.
fn too_new(o: &Observation, order: &Order) -> Option<Reason> {
    let needed: EtcdVersion = order.contents.storage_version.as_ref()?.parse().ok()?;
    let mine = own_version(o).filter(|mine| mine.line() >= (3, 6) && mine.line() < needed.line())?;
    Some(Reason::RecoveryUnready { why: format!("the data is for etcd {needed} or newer, and this node's is {mine}") })
}

/// Data that nobody asked for is not set aside, and data that is asked for has to be there.
fn own_data(o: &Observation, p: &Policy, order: &Order) -> Option<Reason> {
    match &o.own_data {
        OwnData::Unreadable { why } if order.own || !p.rejoin => Some(Reason::DataUnreadable { why: why.clone() }),
        OwnData::Log { cluster_id, .. } if !order.own && !p.rejoin => {
            Some(Reason::OwnDataInTheWay { mine: format!("of cluster {cluster_id}") })
        }
        OwnData::Empty | OwnData::NoLog if order.own => {
            Some(Reason::RecoveryUnready { why: "this node has no data with a write-ahead log".to_owned() })
        }
        OwnData::NoLog if !p.rejoin => Some(Reason::OwnDataInTheWay { mine: "a database without a log".to_owned() }),
        OwnData::Empty | OwnData::NoLog | OwnData::Log { .. } | OwnData::Unreadable { .. } => None,
    }
}

/// The cluster that was recovered from the one that the own data is of; None where that was not given up.
pub(super) fn successor(o: &Observation, mine: ClusterId) -> Option<&str> {
    o.group.ok().filter(|_| is_given_up(o, mine))?.cluster_tag.as_deref()
}
