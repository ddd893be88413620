//! What must hold of every decision, worked out in another way than in `decide`.

use std::collections::BTreeSet;

use etcd_bootstrap::decide::decide;
use etcd_bootstrap::model::ClusterState::Existing;
use etcd_bootstrap::model::{
    Absence, Action, CLUSTER_TAG, Change, Decision, EtcdVersion, FOUNDING_TAG, InitialCluster, InstanceId, Member,
    MemberId, MemberUrl, Observation, OwnData, PeerAnswer, PeerView, Probe, Role, Seen, Vote,
};

use super::scene::{Scene, carry_out};
use super::{ARN, id, peer};

/// What must hold of every decision, worked out here in another way than there.
pub fn never(scene: &Scene, decision: &Decision) -> Result<(), String> {
    let o = &scene.o;
    let broken = |rule: &str, holds: bool| if holds { Ok(()) } else { Err(rule.to_owned()) };
    let quiet = matches!(decision.action, Action::Wait | Action::Refuse | Action::Follow(_));
    broken("S5: a consumer changes nothing", scene.p.role == Role::Member || quiet)?;
    let mine = o.etcd.as_ref().and_then(|seen| Some(seen.ok()?.minor));
    let lowest = views(o).filter_map(|(_, v)| Some(v.server_version.parse::<EtcdVersion>().ok()?.minor)).min();
    let apart = mine.zip(lowest).is_some_and(|(mine, lowest)| mine > lowest + 1);
    let without_data = matches!(o.own_data, OwnData::Empty | OwnData::NoLog);
    let enters = matches!(decision.action, Action::Change(Change::Add { .. }) | Action::Start(_));
    broken("F89: no etcd two minors above a member", !enters || !apart || !without_data)?;
    match &decision.action {
        Action::Wait | Action::Refuse => {}
        Action::Change(
            Change::Promote { .. }
            | Change::MoveLeader { .. }
            | Change::MarkLeft(_)
            | Change::CompleteHook { .. }
            | Change::KeepWaiting { .. },
        )
        | Action::Serve { .. }
        | Action::Rest => unreachable!("`run` decides none of those"),
        Action::Follow(_) => broken("a member follows nobody", scene.p.role == Role::Consumer)?,
        Action::Change(Change::BeginRecord)
        | Action::Change(Change::Agree(_))
        | Action::Change(Change::GiveUp { .. }) => {
            broken("S1: who has data founds nothing", matches!(o.own_data, OwnData::Empty | OwnData::NoLog))?;
        }
        Action::Change(Change::TagGroup { tags, .. }) => {
            let agreed =
                o.record.ok().and_then(|record| record.agreed.as_ref()).map(|agreed| agreed.cluster.to_string());
            let named = tags.get(FOUNDING_TAG).and_then(|tag| tag.split(' ').next());
            broken("F87: only what was agreed to is tagged", named.is_none() || agreed.as_deref() == named)?;
            let formed: Vec<String> = views(o).map(|(_, view)| view.cluster_id.to_string()).collect();
            let new = tags.get(CLUSTER_TAG);
            let named = named.map(str::to_owned);
            broken(
                "F94: the tag names a cluster that answers or begins",
                new.is_none_or(|id| formed.contains(id) || named.as_ref() == Some(id)),
            )?;
            let old = o.group.ok().and_then(|group| group.cluster_tag.as_ref());
            let forced = scene.p.initial_cluster == InitialCluster::Force;
            broken("F94: only by force is a tag written over", new.is_none() || old.is_none() || forced)?;
        }
        Action::Change(Change::SetDataAside { .. }) => {
            let something = matches!(o.own_data, OwnData::NoLog | OwnData::Log { .. });
            broken("only what is there is set aside", something)?;
        }
        Action::Start(start) => {
            let formed = views(o).any(|(_, v)| v.cluster_version.is_some() || v.members.iter().any(Member::published));
            let fresh = o.own_data == OwnData::Empty;
            broken("S1: no new cluster beside a formed one", start.state == Existing || !formed)?;
            broken("S1: no new cluster over old data", start.state == Existing || fresh)?;
            let own_token = start.token.strip_prefix(ARN).is_some_and(|rest| rest.len() == 17);
            broken("F11, F84: a new cluster has a token of its own", start.state == Existing || own_token)?;
            broken("F87: a new cluster is one that this disk agreed to", start.state == Existing || is_agreed(o))?;
            let urls: BTreeSet<&MemberUrl> = start.initial_cluster.iter().map(|(_, url)| url).collect();
            broken("F29: the list holds the own URL", urls.contains(&start.peer_url))?;
            broken("F17: no URL is listed twice", urls.len() == start.initial_cluster.len())?;
        }
        Action::Change(Change::Remove { member, .. }) => {
            let gone = listed(o).into_iter().find(|m| m.id == *member).ok_or("it is not listed")?;
            broken("S2: no member of a living instance is removed", !owner_lives(o, gone))?;
            let rest = quorum_list(o).iter().filter(|m| m.id != *member && !m.learner).count();
            let enough = reachable(o, Some(*member)) > rest / 2;
            broken("S3: a removal leaves a quorum", gone.learner || enough)?;
        }
        Action::Change(Change::Add { vote, .. }) => {
            let list = quorum_list(o);
            let voters = list.iter().filter(|m| !m.learner).count();
            let enough = reachable(o, None) > voters.div_ceil(2);
            broken("S3: a voter is not needed before it starts", *vote == Vote::Learner || enough)?;
            broken("F14: one join at a time", list.iter().all(|m| m.published() && !m.learner))?;
            broken("F32: no URL is added twice", list.iter().all(|m| !m.peer_urls.contains(&peer(1))))?;
        }
    }
    let mut next = o.clone();
    carry_out(&mut next, &decision.action);
    let again = decide(&next, &scene.p);
    let changes = !matches!(decision.action, Action::Start(_)) && !quiet;
    let onward = if changes { again.action != decision.action } else { again == *decision };
    broken("after a change comes the next step, else the same", onward)
}

/// Whether the tag names this node's disk, or its record has an agreement.
fn is_agreed(o: &Observation) -> bool {
    let Seen::Yes(record) = &o.record else { return false };
    let founder = format!("{}={}", id(1), record.nonce);
    let tag = o.group.ok().and_then(|group| group.founding_tag.as_deref()).unwrap_or_default();
    tag.split(' ').any(|word| word == founder) || record.agreed.is_some()
}

/// The answers of the group's instances, and of those that they list for their own cluster (F91).
fn ours(o: &Observation) -> impl Iterator<Item = &Probe> {
    let of_group = o.probes.iter().filter(|probe| probe.instance.is_some());
    let lists: Vec<_> = of_group.filter_map(view).map(|v| (v.cluster_id, &v.members)).collect();
    let listed = move |probe: &Probe| {
        let theirs = view(probe).map(|v| v.cluster_id);
        let mut members = lists.iter().filter(|(id, _)| Some(*id) == theirs).flat_map(|(_, members)| *members);
        members.any(|m| m.peer_urls.contains(&probe.asked))
    };
    o.probes.iter().filter(move |probe| probe.instance.is_some() || listed(probe))
}

pub fn view(probe: &Probe) -> Option<&PeerView> {
    match &probe.peer {
        PeerAnswer::Etcd(view) => Some(view),
        PeerAnswer::Agent(_) | PeerAnswer::Absent(_) => None,
    }
}

fn views(o: &Observation) -> impl Iterator<Item = (&MemberUrl, &PeerView)> {
    ours(o).filter_map(|probe| Some((&probe.asked, view(probe)?)))
}

/// All lists of one random world's cluster are equal.
fn quorum_list(o: &Observation) -> &[Member] {
    let lists = ours(o).filter_map(|probe| match &probe.client {
        Some(Ok(view)) => view.quorum_list.ok(),
        Some(Err(_)) | None => None,
    });
    lists.map(Vec::as_slice).next().unwrap_or_default()
}

fn listed(o: &Observation) -> Vec<&Member> {
    quorum_list(o).iter().chain(views(o).flat_map(|(_, view)| &view.members)).collect()
}

pub fn reachable(o: &Observation, without: Option<MemberId>) -> usize {
    let voters = quorum_list(o).iter().filter(|m| m.published() && !m.learner && Some(m.id) != without);
    voters.filter(|m| views(o).any(|(url, _)| m.peer_urls.contains(url))).count()
}

fn is_silent(probe: &Probe) -> bool {
    matches!(&probe.peer, PeerAnswer::Absent(Absence::Refused | Absence::NoAnswer(_) | Absence::NoName(_)))
}

/// Whether EC2 gives the instance that a member stands for any chance to come back. This node knows about itself.
fn owner_lives(o: &Observation, m: &Member) -> bool {
    let Some(ec2) = o.ec2.ok() else { return false };
    let by_name = InstanceId::from_member_name(&m.name);
    let owners = ec2.found.iter().filter(|(owner, instance)| match &by_name {
        Some(name) => name == *owner,
        None => m.peer_urls.iter().any(|url| instance.addresses.hold(url)),
    });
    let others = owners.filter(|(owner, _)| **owner != id(1));
    let mut states = others.map(|(_, instance)| instance.state.as_str());
    let lives = states.any(|state| matches!(state, "pending" | "running" | "stopping" | "stopped"));
    // Who is terminated never serves again, whatever EC2 calls it until then.
    let silent = o.probes.iter().filter(|probe| m.peer_urls.contains(&probe.asked)).all(is_silent);
    let goes = |owner| o.group.ok().and_then(|group| group.instances.get(owner)).is_some_and(|s| s.is_terminating());
    lives && !(silent && by_name.as_ref().is_some_and(goes))
}
