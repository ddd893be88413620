//! What makes a cluster sound, and what a person should know though it goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::confirmed::Confirmed;
use super::death::{Verdict, judge_from_anywhere};
pub use super::ill::{Cause, Ill};
use super::sound::{ills, is_terminating};
use super::view::{is_stranger, listed_members, seen_clusters};
use crate::model::{
    Absence, Action, Blind, CLUSTER_TAG, Change, ClientView, ClusterId, Decision, Member, Observation, OwnData,
    PeerAnswer, Policy, Probe, Reason, Role, Seen, UNTAGGED,
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
    Unknown(Ill),
    /// All that is not as it must be.
    Ill(Vec<Ill>),
}

impl Unsound {
    /// What weighs most.
    pub fn cause(&self) -> Option<Cause> {
        match self {
            Self::Unknown(ill) => Some(ill.cause),
            Self::Ill(ills) => ills.iter().map(|ill| ill.cause).min(),
        }
    }

    /// What is not as it must be, a sentence each; none where that is not known.
    pub fn ills(&self) -> Vec<&str> {
        match self {
            Self::Unknown(_) => Vec::new(),
            Self::Ill(ills) => ills.iter().map(|ill| ill.why.as_str()).collect(),
        }
    }
}

impl fmt::Display for Unsound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(ill) => write!(f, "not known: {}", ill.why),
            Self::Ill(_) => write!(f, "not sound: {}", self.ills().join("; ")),
        }
    }
}

/// Sound: one cluster with a quorum, every instance of the group a voter that keeps up and has no alarm, no member without
/// a living instance, and the group's tag names it. Who is about to go is one more for a while.
///
/// # Errors
/// Why it is not, or why that is not known.
pub fn soundness(o: &Observation, p: &Policy) -> Result<String, Unsound> {
    let unknown = |cause, blind: &Blind| Unsound::Unknown(Ill { cause, why: blind.to_string() });
    let ill = |cause, why: String| Unsound::Ill(vec![Ill { cause, why }]);
    let group = match (&o.group, &o.me) {
        (Seen::Yes(group), _) => group,
        (Seen::No(why), Seen::No(_)) if !o.is_from_outside() => return Err(unknown(Cause::MetadataBlind, why)),
        (Seen::No(why), Seen::Yes(_) | Seen::No(_)) => return Err(unknown(Cause::GroupBlind, why)),
    };
    if let Seen::No(why) = &o.ec2 {
        return Err(unknown(Cause::Ec2Blind, why));
    }
    if let Some(why) = cut_off(o) {
        return Err(Unsound::Unknown(Ill { cause: Cause::CutOff, why }));
    }
    let views = views(o);
    let ids = clusters(o);
    let Some(list) = views.iter().find_map(|view| view.quorum_list.ok()) else {
        return Err(ill(Cause::NoQuorum, "no member answers with a quorum".into()));
    };
    if ids.len() > 1 {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        return Err(ill(Cause::TwoClusters, format!("several clusters answer: {}", ids.join(", "))));
    }
    let ills = ills_of(o, p, list);
    if !ills.is_empty() {
        return Err(Unsound::Ill(ills));
    }
    let serving = views.iter().filter(|view| view.quorum_list.ok().is_some()).count();
    let (desired, leaving) = (group.desired, list.iter().filter(|m| is_terminating(o, m)).count());
    if list.len() != desired + leaving || serving != list.len() {
        let why = format!("{serving} of {} members serve, {desired} instances are desired", list.len());
        return Err(ill(Cause::WrongSize, why));
    }
    let id = ids.first().map(ToString::to_string).unwrap_or_default();
    Ok(format!("sound: cluster {id}, {serving} of {desired} members serve"))
}

/// What is not as it must be with members that a quorum confirms, and with the tag of their group.
fn ills_of(o: &Observation, p: &Policy, list: &[Member]) -> Vec<Ill> {
    let ill = |cause, why| Ill { cause, why };
    let unfit = list.iter().filter(|m| m.learner || !m.published());
    let dead = list.iter().filter(|m| matches!(judge_from_anywhere(o, p, m), Verdict::Dead(_)));
    let seen = seen_clusters(o);
    let voters = seen.values().find_map(|cluster| Confirmed::of(o, p, cluster).ok()).map(|seen| ills(&seen));
    let tag = tag_fault(o).map(|fault| {
        let tagged = o.group.ok().is_some_and(|group| group.cluster_tag.is_some());
        ill(if tagged { Cause::NotTheTaggedCluster } else { Cause::Untagged }, fault)
    });
    let unfit = unfit.map(|m| ill(Cause::NotVoting, format!("{m} is no voter yet")));
    let dead = dead.map(|m| ill(Cause::ProvenDead, format!("{m} is dead")));
    unfit.chain(dead).chain(voters.unwrap_or_default()).chain(tag).collect()
}

/// Why nothing is to be told of a cluster by its ports: none can be reached from here. Of a machine that is none of theirs
/// that says nothing of the members: a refusal would, for somebody refuses.
fn cut_off(o: &Observation) -> Option<String> {
    let lost = |absence: &Absence| match absence {
        Absence::NoAnswer(_) | Absence::NoName(_) | Absence::Tls(_) | Absence::Denied(_) | Absence::NotAsked => true,
        Absence::Refused | Absence::NotUnderstood(_) => false,
    };
    let is_lost = |probe: &Probe| {
        let client = probe.client.as_ref().is_none_or(|client| client.as_ref().is_err_and(lost));
        matches!(&probe.peer, PeerAnswer::Absent(absence) if lost(absence)) && client
    };
    let first = o.probes.first().filter(|_| o.is_from_outside() && o.probes.iter().all(is_lost))?;
    let why = match (&first.client, &first.peer) {
        (Some(Err(absence)), _) | (_, PeerAnswer::Absent(absence)) => absence.to_string(),
        (Some(Ok(_)) | None, PeerAnswer::Etcd(_) | PeerAnswer::Agent(_)) => return None,
    };
    Some(format!("no member can be reached from here: {}: {why}", first.asked))
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
