//! The decision: a pure function of an [`Observation`] and a [`Policy`].
//!
//! Owns every rule. Must not wait, log, look at a clock, a disk or a network: what it needs is in the observation.
//! The rules are named after failure catalogue entries (F..) and measured behaviour of etcd (E..), see ARCHITECTURE.md.
//! Next: `apply.rs` carries a decision out, `commands/drive.rs` looks again.
#![deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

mod confirmed;
mod consumer;
mod data;
mod death;
pub mod doctor;
mod found;
mod founders;
pub mod health;
mod ill;
mod join;
pub mod leave;
pub mod life;
mod members;
pub mod ready;
mod recover;
pub mod snapshot;
mod sound;
mod start;
mod version;
mod view;
mod watch;

pub use consumer::consumer_record;
pub use death::{FORGOTTEN_GRACE, LEAVING_GRACE, NEVER_STARTED_GRACE, Verdict, judge};
pub use founders::holds_port;
pub use health::{doubts, soundness};
pub use members::{Health, Standing, health_of_members};
pub use recover::recover;
pub use view::{is_stranger, listed_members, members_of_own_cluster};
pub use watch::watch;

use std::collections::{BTreeMap, BTreeSet};

use self::consumer::follow;
use self::data::{OwnLog, with_data};
use self::death::{gone_leaver, silent, suspicion};
use self::found::{before_any_leader, settled_founders};
use self::founders::{forgotten, founders_sighting, own_founders, tagged};
use self::join::join;
use self::sound::check_sound;
use self::start::{refuse, starting_point, wait};
use self::version::own_version;
use self::view::{client_views, continued, formed_clusters, own_group, peer_views};
use crate::model::{
    Action, Change, ClusterState, Decision, Deeds, History, Identity, InstanceId, LifecycleState, Member, MemberId,
    Observation, OwnData, Policy, Reason, Role, Seen, Sighting, Start, Statement, render_initial_cluster,
};

/// Decides what to do next.
pub fn decide(o: &Observation, p: &Policy) -> Decision {
    match p.role {
        Role::Consumer => follow(o, p),
        Role::Member => with_what_is_here(o, member(o, p)),
    }
}

/// What this node itself lacks for a decision: a peer port, and a reply of AWS of this very moment.
fn with_what_is_here(o: &Observation, decision: Decision) -> Decision {
    let Decision { action, .. } = &decision;
    match &o.port_trouble {
        // Whoever holds the port may be this node's own etcd, on a data directory that was not looked at.
        Some(why) if concerns_others(action) => wait(Reason::PortTaken { why: why.clone() }),
        Some(_) | None => on_a_fresh_reply(o, decision),
    }
}

/// The decision, where what it rests on is of this very moment.
fn on_a_fresh_reply(o: &Observation, decision: Decision) -> Decision {
    let stale = !o.asked_aws && needs_fresh_reply(&decision.action);
    if stale { wait(Reason::FreshReplyNeeded) } else { decision }
}

/// Whether an action starts an etcd, or changes what others see.
fn concerns_others(action: &Action) -> bool {
    match action {
        Action::Start(_) => true,
        Action::Change(change) => match change {
            Change::Add { .. }
            | Change::Remove { .. }
            | Change::TagGroup { .. }
            | Change::Promote { .. }
            | Change::MoveLeader { .. }
            | Change::CompleteHook { .. }
            | Change::KeepWaiting { .. } => true,
            Change::SetDataAside { .. }
            | Change::BeginRecord
            | Change::Agree(_)
            | Change::GiveUp { .. }
            | Change::MarkLeft(_) => false,
        },
        Action::Wait | Action::Refuse | Action::Follow(_) | Action::Serve { .. } | Action::Rest => false,
    }
}

/// Whether an action rests on what AWS says of this very moment. A node with data starts without (F51).
fn needs_fresh_reply(action: &Action) -> bool {
    match action {
        Action::Start(start) => start.state == ClusterState::New,
        Action::Change(change) => match change {
            Change::Add { .. } | Change::Remove { .. } | Change::Agree(_) => true,
            // Each rests on the pass in which it was agreed, or on this disk alone.
            Change::TagGroup { .. } | Change::SetDataAside { .. } | Change::BeginRecord | Change::GiveUp { .. } => {
                false
            }
            Change::Promote { .. } | Change::MoveLeader { .. } | Change::MarkLeft(_) => false,
            // AWS refuses what is not so any more.
            Change::CompleteHook { .. } | Change::KeepWaiting { .. } => false,
        },
        Action::Wait | Action::Refuse | Action::Follow(_) | Action::Serve { .. } | Action::Rest => false,
    }
}

fn member(o: &Observation, p: &Policy) -> Decision {
    let me = match &o.me {
        Seen::Yes(me) => me,
        Seen::No(blind) => return wait(Reason::MetadataBlind(blind.clone())),
    };
    if let Some(state) = me.target_lifecycle_state.as_ref().filter(|state| state.is_warm()) {
        return refuse(Reason::WarmPool { state: state.clone() });
    }
    let Some(start) = starting_point(o, me, p) else { return refuse(Reason::NoOwnAddress) };
    match &o.own_data {
        OwnData::Unreadable { why } => refuse(Reason::DataUnreadable { why: why.clone() }),
        OwnData::Log { cluster_id, member_id, had_leader, founders } => {
            let mine = OwnLog { cluster: *cluster_id, member: *member_id, had_leader: *had_leader, founders };
            with_data(o, p, me, &mine, start)
        }
        OwnData::NoLog | OwnData::Empty => {
            let decision = without_data(o, p, me, start);
            match &o.certificate_trouble {
                // History any waiting too: the others would look silent for ever (F80).
                Some(why) if decision.action != Action::Refuse => refuse(Reason::CertificateUnfit { why: why.clone() }),
                Some(_) | None => decision,
            }
        }
    }
}

fn without_data(o: &Observation, p: &Policy, me: &Identity, start: Start) -> Decision {
    let formed = formed_clusters(o);
    let mut ids = formed.keys();
    match (ids.next(), ids.next()) {
        (Some(one), Some(other)) => refuse(Reason::TwoClusters { one: *one, other: *other }),
        (Some(id), None) => join(o, p, me, &formed[id], start),
        (None, _) => before_any_leader(o, p, me, start),
    }
}

/// What the next observation has to know of this one.
pub fn remember(o: &Observation, p: &Policy) -> History {
    let settled = settled_founders(o, p).ok();
    let founders = settled.and_then(|list| founders_sighting(o, render_initial_cluster(&list)));
    let listed = listed_members(o);
    let gone = listed.values().filter(|m| looks_gone(o, p, m));
    let suspects = gone.filter_map(|m| Some((m.id, suspicion(o, m)?))).collect();
    // A consumer asks no peer port, and knows what a quorum confirms only.
    let confirmed = client_views(o).filter_map(|(_, view)| view.quorum_list.ok()).flatten();
    let members = listed.values().copied().chain(confirmed);
    let mut member_instances: BTreeSet<InstanceId> = members.filter_map(Member::instance).collect();
    let tag = o.group.ok().and_then(tagged);
    let mut founding: Vec<InstanceId> = tag.into_iter().flat_map(|t| t.founders).map(|(id, _)| id).collect();
    founding.extend(own_founders(o));
    member_instances.extend(founding.iter().cloned());
    let forgotten_founders = founding.into_iter().filter_map(|id| Some((id.clone(), forgotten(o, &id)?))).collect();
    let leavers = o.group.ok().into_iter().flat_map(|group| group.instances.keys());
    let silent_leavers = leavers.filter_map(|id| Some((id.clone(), gone_leaver(o, id)?))).collect();
    let before = o.history.as_ref();
    let sound_since = check_sound(o, p).ok().map(|()| before.and_then(|b| b.sound_since).unwrap_or(o.taken_at));
    History {
        founders,
        suspects,
        member_instances,
        forgotten_founders,
        sound_since,
        awaited: awaited(o, p),
        leaving_since: leave::since(o),
        silent_leavers,
        deeds: before.map(|b| deeds_that_count(&b.deeds, o)).unwrap_or_default(),
    }
}

fn awaited(o: &Observation, p: &Policy) -> BTreeMap<MemberId, Sighting<()>> {
    let Some(group) = o.group.ok() else { return BTreeMap::new() };
    let earlier = |id| o.history.as_ref().and_then(|before| before.awaited.get(&id));
    let awaited = leave::awaited(o, p).into_iter();
    awaited.map(|id| (id, continued(earlier(id), (), o.taken_at, group.read_at))).collect()
}

/// What the run has done, less what is over: who waits for a hook again later is another matter.
pub fn deeds_that_count(deeds: &Deeds, o: &Observation) -> Deeds {
    let mut deeds = deeds.clone();
    let waits = |id: &InstanceId| {
        o.group.ok().is_none_or(|group| group.instances.get(id).is_some_and(LifecycleState::waits_for_hook))
    };
    deeds.completed.retain(waits);
    deeds
}

fn looks_gone(o: &Observation, p: &Policy, m: &Member) -> bool {
    match judge(o, p, m) {
        // Whose instance EC2 calls terminated is not asked any more, and so never heard to be silent. Who joins removes it at
        // once; a member's watch gives others their turn first.
        Verdict::Dead(_) => silent(o, p, m) || matches!(o.own_data, OwnData::Log { .. }),
        Verdict::Unknown(_) => {
            silent(o, p, m)
                && own_group(o).is_ok_and(|(_, _, ec2)| m.instance().is_some_and(|owner| ec2.asked.contains(&owner)))
        }
        Verdict::Foreign(_) => silent(o, p, m),
        Verdict::Me | Verdict::Alive(_) => false,
    }
}

/// What this node tells the other founders: the list only when its group is settled and nobody answers as etcd; None
/// while it does not know who or where it is, or cannot keep its word.
pub fn statement(o: &Observation, p: &Policy) -> Option<Statement> {
    // Who has data, or sees an etcd, formed or forming, agrees to no new cluster.
    let free = matches!(o.own_data, OwnData::Empty | OwnData::NoLog) && peer_views(o).next().is_none();
    let founders = settled_founders(o, p).ok().filter(|_| free).map(|list| render_initial_cluster(&list));
    let (me, group, record) = (o.me.ok()?, o.group.ok()?, o.record.ok()?);
    Some(Statement {
        instance: me.instance.clone(),
        group: group.arn.clone(),
        founders,
        etcd: own_version(o),
        nonce: record.nonce.clone(),
        given_up: record.given_up.clone(),
        agreed: record.agreed.as_ref().map(|agreed| agreed.cluster),
        recovers: false,
    })
}
