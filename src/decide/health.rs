//! What makes a cluster sound, and what a person should know though it goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::confirmed::Confirmed;
use super::death::{Verdict, judge};
use super::sound::{ills, is_terminating};
use super::view::{formed_clusters, is_stranger, listed_members};
use crate::model::{
    Action, Blind, CLUSTER_TAG, Change, ClientView, ClusterId, Decision, Member, Observation, OwnData, Policy, Reason,
    Role, Seen, UNTAGGED,
};

/// What speaks against a decision without being in its way, a sentence each.
pub fn doubts(o: &Observation, p: &Policy, decision: &Decision) -> Vec<String> {
    let mut doubts = Vec::new();
    match &decision.action {
        Action::Start(_) => {
            if let OwnData::Log { .. } = o.own_data {
                // A node with data starts in spite of both (F51).
                doubts.extend(tag_fault(o).map(|fault| format!("{fault}: {UNTAGGED}")));
                doubts.extend(o.certificate_trouble.clone());
            }
            doubts.extend(other_scheme(o, p));
        }
        Action::Change(Change::TagGroup { tags, .. }) if tags.contains_key(CLUSTER_TAG) => {
            let named = o.group.ok().and_then(|group| group.cluster_tag.as_ref());
            doubts.extend(named.map(|tag| format!("the group's tag '{CLUSTER_TAG}' names cluster {tag} now")));
        }
        Action::Wait | Action::Refuse | Action::Change(_) | Action::Follow(_) | Action::Serve { .. } | Action::Rest => {
        }
    }
    if let Reason::Joining { caution, .. } = &decision.reason {
        doubts.extend(caution.clone());
    }
    if let Reason::OwnDataTagged { .. } | Reason::HookUnknown { .. } = &decision.reason {
        doubts.extend(decision.reason.advice());
    }
    doubts
}

/// Why a cluster is not called sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsound {
    /// Too little could be looked at to tell.
    Unknown(String),
    /// A sentence for each thing that is not as it must be.
    Ill(Vec<String>),
}

impl fmt::Display for Unsound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(why) => write!(f, "not known: {why}"),
            Self::Ill(ills) => write!(f, "not sound: {}", ills.join("; ")),
        }
    }
}

/// Sound: one cluster with a quorum, every instance of the group a voter that keeps up and has no alarm, no member without
/// a living instance, and the group's tag names it. Who is about to go is one more for a while.
///
/// # Errors
/// Why it is not, or why that is not known.
pub fn soundness(o: &Observation, p: &Policy) -> Result<String, Unsound> {
    let blind = |blind: &Blind| Unsound::Unknown(blind.to_string());
    let ill = |why: String| Unsound::Ill(vec![why]);
    let group = match &o.group {
        Seen::Yes(group) => group,
        Seen::No(why) => return Err(blind(why)),
    };
    if let Seen::No(why) = &o.ec2 {
        return Err(blind(why));
    }
    let views = views(o);
    let ids = clusters(o);
    let Some(list) = views.iter().find_map(|view| view.quorum_list.ok()) else {
        return Err(ill("no member answers with a quorum".into()));
    };
    if ids.len() > 1 {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        return Err(ill(format!("several clusters answer: {}", ids.join(", "))));
    }
    let unfit = list.iter().filter(|m| m.learner || !m.published()).map(ToString::to_string);
    let dead = list.iter().filter(|m| matches!(judge(o, p, m), Verdict::Dead(_))).map(ToString::to_string);
    let serving = views.iter().filter(|view| view.quorum_list.ok().is_some()).count();
    let desired = group.desired;
    let formed = formed_clusters(o);
    let behind = formed.values().find_map(|cluster| Confirmed::of(o, p, cluster).ok()).map(|seen| ills(&seen));
    let faults: Vec<String> = unfit
        .map(|m| format!("{m} is no voter yet"))
        .chain(dead.map(|m| format!("{m} is dead")))
        .chain(behind.unwrap_or_default())
        .chain(tag_fault(o))
        .collect();
    if !faults.is_empty() {
        return Err(Unsound::Ill(faults));
    }
    let leaving = list.iter().filter(|m| is_terminating(o, m)).count();
    if list.len() != desired + leaving || serving != list.len() {
        return Err(ill(format!("{serving} of {} members serve, {desired} instances are desired", list.len())));
    }
    let id = ids.first().map(ToString::to_string).unwrap_or_default();
    Ok(format!("sound: cluster {id}, {serving} of {desired} members serve"))
}

/// The clusters whose members answer clients, but for strangers.
pub fn clusters(o: &Observation) -> BTreeSet<ClusterId> {
    views(o).iter().map(|view| view.cluster_id).collect()
}

fn views(o: &Observation) -> Vec<&ClientView> {
    let ours = o.probes.iter().filter(|probe| !is_stranger(o, probe));
    ours.filter_map(|probe| probe.client.as_ref()?.as_ref().ok()).collect()
}

/// What is wrong with the group's tag: that there is none though a cluster is formed, or that it names another; None
/// where it is as it must be, or nothing is known of group or cluster. Without it, a group that loses its disks or is
/// replaced as a whole gets a second, empty cluster.
pub fn tag_fault(o: &Observation) -> Option<String> {
    let answering = o.probes.iter().filter_map(|probe| probe.client.as_ref()?.as_ref().ok());
    let confirmed = answering.filter(|view| view.quorum_list.ok().is_some()).map(|view| view.cluster_id);
    let cluster = match &o.own_data {
        OwnData::Log { cluster_id, had_leader: true, .. } => *cluster_id,
        OwnData::Log { .. } | OwnData::Empty | OwnData::NoLog | OwnData::Unreadable { .. } => confirmed.min()?,
    };
    match &o.group.ok()?.cluster_tag {
        None => Some(format!("the group has no tag '{CLUSTER_TAG}', which must name its cluster {cluster}")),
        Some(tag) if !cluster.is_meant_by(tag) => {
            Some(format!("the group's tag '{CLUSTER_TAG}' names cluster {tag}, and its cluster is {cluster}"))
        }
        Some(_) => None,
    }
}

/// What a person must know where the cluster lists members by another scheme than the options have: switching TLS on
/// by the options alone switches nothing on (F100). None where all is as the options say.
pub fn other_scheme(o: &Observation, p: &Policy) -> Option<String> {
    let other = |m: &&Member| m.peer_urls.iter().any(|url| url.scheme() != p.peer_scheme);
    let views = o.probes.iter().filter_map(|probe| probe.client.as_ref()?.as_ref().ok());
    let confirmed = views.filter_map(|view| view.quorum_list.ok()).flatten().map(|m| (m.id, m));
    let all: BTreeMap<_, _> = confirmed.chain(listed_members(o)).collect();
    let listed: Vec<String> = all.into_values().filter(other).map(ToString::to_string).collect();
    let said = format!(
        "--etcd-peer-scheme is {}, but the cluster lists {}: their etcds listen as they are listed, whatever the options \
         say. For one member after another: `etcdctl member update ID --peer-urls=URL`, then restart its node",
        p.peer_scheme,
        listed.join(", "),
    );
    (p.role == Role::Member && !listed.is_empty()).then_some(said)
}
