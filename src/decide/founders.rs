//! What became of the founders of a cluster that has not had a leader, and what each says of itself.

use super::death::FORGOTTEN_GRACE;
use super::view::{continued, elapsed, own_group};
use crate::model::agreement;
use crate::model::agreement::Tagged;
use crate::model::{
    ClusterId, Group, InstanceId, Observation, OwnData, PeerAnswer, Reason, Record, Sighting, Statement,
};

/// Whether this node speaks on its peer port: while it has no data, or none that is worth an etcd. With data the port is
/// etcd's. `last` is the reason of its last decision.
pub fn holds_port(own_data: &OwnData, last: Option<&Reason>) -> bool {
    let without_data = matches!(own_data, OwnData::Empty | OwnData::NoLog);
    without_data || matches!(last, Some(Reason::FoundersNotBack { .. }))
}

/// Founders that will never take part in their founding, each with the reason; and those of which that is not sure yet.
pub(super) struct Lost {
    pub(super) all: Vec<String>,
    pub(super) unsure: Vec<String>,
}

/// Which disk a founder agreed with.
pub(super) enum Disk<'a> {
    Is(&'a str),
    /// It was silent when a majority agreed: it has no part before there is a leader.
    Silent,
    Untold,
}

impl<'a> Disk<'a> {
    pub(super) fn of(nonce: Option<&'a String>) -> Self {
        nonce.map_or(Self::Silent, |nonce| Self::Is(nonce))
    }
}

/// A founder is lost to its founding when its instance is gone, when it has given it up, when its disk is another, or
/// when it has agreed to another founding since and no tag leads it back.
pub(super) fn lost_founders(o: &Observation, cluster: ClusterId, founders: &[(InstanceId, Disk<'_>)]) -> Lost {
    let mut lost = Lost { all: Vec::new(), unsure: Vec::new() };
    for (id, disk) in founders {
        let said = statement_of(o, id);
        let why = match (instance_of(o, id), disk) {
            (_, Disk::Silent) => Some("was silent".to_owned()),
            (Lives::Gone(why), _) => Some(why),
            (Lives::Perhaps, _) => {
                lost.unsure.push(id.to_string());
                None
            }
            (Lives::Yes, _) if said.is_some_and(|s| s.given_up.contains(&cluster)) => Some("gave it up".to_owned()),
            (Lives::Yes, Disk::Is(nonce)) if said.is_some_and(|s| s.nonce != *nonce) => {
                Some("has another disk".to_owned())
            }
            (Lives::Yes, _) if said.is_some_and(|s| has_moved_on(o, s, cluster)) => {
                Some("agreed to another founding".to_owned())
            }
            (Lives::Yes, Disk::Is(_) | Disk::Untold) => None,
        };
        lost.all.extend(why.map(|why| format!("{id} ({why})")));
    }
    lost
}

/// Whether a founder has agreed to another founding, and nothing will make it start this one.
pub(super) fn has_moved_on(o: &Observation, theirs: &Statement, cluster: ClusterId) -> bool {
    let tagged = o.group.ok().and_then(tagged).is_some_and(|tagged| tagged.cluster == cluster);
    !tagged && theirs.agreed.is_some_and(|agreed| agreed != cluster)
}

/// What is known of an instance that founded.
pub(super) enum Lives {
    Yes,
    Gone(String),
    /// Neither EC2 nor the group knows it, and a later read must confirm that.
    Perhaps,
}

pub(super) fn instance_of(o: &Observation, id: &InstanceId) -> Lives {
    let Ok((_, _, ec2)) = own_group(o) else { return Lives::Yes };
    match ec2.found.get(id) {
        Some(i) if i.state.has_ended() => Lives::Gone(i.state.to_string()),
        Some(_) => Lives::Yes,
        None => match forgotten(o, id) {
            None => Lives::Yes,
            Some(s) if s.reads >= 2 && elapsed(s.first_seen, o.taken_at) >= FORGOTTEN_GRACE => {
                Lives::Gone("unknown to EC2".to_owned())
            }
            Some(_) => Lives::Perhaps,
        },
    }
}

/// The passes in which neither EC2 nor the group knew an instance, this one included; None where one of them does.
pub(super) fn forgotten(o: &Observation, id: &InstanceId) -> Option<Sighting<()>> {
    let (_, group, ec2) = own_group(o).ok()?;
    let unknown = ec2.asked.contains(id) && !ec2.found.contains_key(id) && !group.instances.contains_key(id);
    let earlier = o.history.as_ref().and_then(|b| b.forgotten_founders.get(id));
    unknown.then(|| continued(earlier, (), o.taken_at, group.read_at))
}

pub(super) fn statement_of<'a>(o: &'a Observation, id: &InstanceId) -> Option<&'a Statement> {
    o.probes.iter().find_map(|probe| match &probe.peer {
        PeerAnswer::Agent(theirs) if theirs.instance == *id && probe.instance.as_ref() == Some(id) => Some(theirs),
        PeerAnswer::Agent(_) | PeerAnswer::Etcd(_) | PeerAnswer::Absent(_) => None,
    })
}

pub(super) fn gave_up(record: Option<&Record>, cluster: ClusterId) -> bool {
    record.is_some_and(|record| record.given_up.contains(&cluster))
}

/// What the founding tag says; None where there is none, or none that this program wrote.
pub(super) fn tagged(group: &Group) -> Option<Tagged> {
    group.founding_tag.as_deref().and_then(agreement::read_tag)
}

/// The instances that the own log's initial cluster names.
pub(super) fn own_founders(o: &Observation) -> Vec<InstanceId> {
    match &o.own_data {
        OwnData::Log { founders, .. } => {
            founders.iter().filter_map(|f| InstanceId::from_member_name(&f.name)).collect()
        }
        OwnData::Empty | OwnData::NoLog | OwnData::Unreadable { .. } => Vec::new(),
    }
}

/// A list of founders with the passes counted that found it, this one included; None without a group.
pub(super) fn founders_sighting(o: &Observation, list: String) -> Option<Sighting<String>> {
    let read_at = o.group.ok()?.read_at;
    let earlier = o.history.as_ref().and_then(|b| b.founders.as_ref());
    Some(continued(earlier.filter(|s| s.value == list), list, o.taken_at, read_at))
}
