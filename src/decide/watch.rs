//! What goes along with an instance's life after its etcd has started: it leaves when it goes for good, and the dead are
//! removed though nobody joins (F74).

use std::time::Duration;

use super::confirmed::Confirmed;
use super::death::{ec2_proof, gone_leaver, leaving_proof, suspicion};
use super::life::{Departure, complete, departure, own_state, warnings};
use super::on_a_fresh_reply;
use super::start::wait;
use super::view::{elapsed, formed_clusters, own_group};
use super::{leave, sound};
use crate::model::{
    Action, Decision, Group, Identity, InstanceId, LifecycleState, Member, Observation, OwnData, Policy, Prune, Reason,
    Seen, Transition,
};

/// The first of those who could remove a dead member does it at once, each other gives those before it so long.
const TURN: Duration = Duration::from_secs(5);

/// What is to be done now. It never refuses: nothing that is seen ends a watch.
pub fn watch(o: &Observation, p: &Policy) -> Decision {
    match on_a_fresh_reply(o, next(o, p)) {
        Decision { action: Action::Refuse, reason } => wait(reason),
        decision => decision,
    }
}

fn next(o: &Observation, p: &Policy) -> Decision {
    let me = match &o.me {
        Seen::Yes(me) => me,
        Seen::No(blind) => return wait(Reason::MetadataBlind(blind.clone())),
    };
    match departure(o) {
        Some(Departure::ForGood { why, at_once }) => leave::leave(o, p, &why, at_once),
        Some(Departure::ForAWhile { why }) => leave::hand_over(o, p, &why),
        None => stay(o, p, me).unwrap_or_else(wait),
    }
}

fn stay(o: &Observation, p: &Policy, me: &Identity) -> Result<Decision, Reason> {
    // One that is detached is in no group's list any more.
    let mut told = own_state(o).into_iter().chain(&me.target_lifecycle_state);
    if let Some(state) = told.find(|state| state.is_set_aside()) {
        return Err(Reason::Aside { state: state.clone() });
    }
    let (_, group, _) = own_group(o)?;
    match own_state(o) {
        // It joins when it is taken into service; until then the group has nothing to wait for.
        Some(state) if state.is_warm() => {
            let reason = Reason::WarmPool { state: state.clone() };
            let hook = match state.leaves_warm_pool() {
                true => (p.terminate_hook.as_str(), &Transition::Terminating),
                false => (p.launch_hook.as_str(), &Transition::Launching),
            };
            return complete(o, group, &me.instance, hook, reason.clone()).ok_or(reason);
        }
        Some(state) if !state.counts_for_group() => return Err(Reason::Aside { state: state.clone() }),
        Some(_) | None => {}
    }
    let OwnData::Log { cluster_id, member_id, .. } = &o.own_data else {
        return Err(Reason::NotServing { why: "etcd has not made its log yet".to_owned() });
    };
    let formed = formed_clusters(o);
    let cluster = formed.get(cluster_id).ok_or(Reason::NoMemberAnswers { asked: o.probes.len() })?;
    let seen = Confirmed::of(o, p, cluster).map_err(|decision| decision.reason)?;
    let own = seen.list.iter().find(|m| m.id == *member_id && m.published() && !m.learner);
    let own = own.ok_or_else(|| Reason::NotServing { why: "this node's member is no published voter".to_owned() })?;
    match prune(&seen, own).or_else(|| release(&seen, own, group)) {
        Some(decision) => Ok(decision),
        None => Err(watching(&seen, group)),
    }
}

/// Removes a member that is proven dead, once it is this node's turn.
fn prune(seen: &Confirmed<'_>, own: &Member) -> Option<Decision> {
    if seen.p.prune == Prune::Never {
        return None;
    }
    let (member, proof) = seen.first_dead()?;
    let reason = Reason::ProvenDead { member: member.into(), proof };
    // A node that comes in has counted this member already: its etcd would exit over the unequal count, and try again.
    let comes = |m: &&Member| !m.published() && !seen.is_dead(m) && !leave::has_waited_for(seen.o, m);
    if let Some(other) = seen.list.iter().find(comes) {
        return Some(wait(Reason::OtherJoining { member: other.into() }));
    }
    let since = suspicion(seen.o, member)?.first_seen;
    let my_turn = elapsed(since, seen.o.taken_at) >= TURN * turn(seen, own);
    Some(if my_turn { seen.remove(member, reason) } else { wait(reason) })
}

/// This node's place among the voters that answer and stay.
fn turn(seen: &Confirmed<'_>, own: &Member) -> u32 {
    let stays = |m: &&Member| !m.learner && m.published() && seen.answers(m) && !sound::is_terminating(seen.o, m);
    let before = seen.list.iter().filter(stays).filter(|m| m.name < own.name);
    u32::try_from(before.count()).unwrap_or(u32::MAX)
}

/// Completes the terminating hook of an instance that cannot do so itself: it would hold the group up for the hook's whole
/// timeout.
fn release(seen: &Confirmed<'_>, own: &Member, group: &Group) -> Option<Decision> {
    let o = seen.o;
    let listed = |id: &InstanceId| seen.list.iter().any(|m| m.name == id.as_str());
    let waits = |state: &LifecycleState| *state == LifecycleState::TerminatingWait;
    let waiting = group.instances.iter().filter(|(id, state)| waits(state) && !listed(id)).map(|(id, _)| id);
    let mine = TURN * turn(seen, own);
    let gone = |id: &InstanceId| {
        let since = gone_leaver(o, id)?.first_seen;
        let proof = ec2_proof(o.ec2.ok()?, id).or_else(|| leaving_proof(o, id))?;
        (elapsed(since, o.taken_at) >= mine).then_some(proof)
    };
    let hook = (seen.p.terminate_hook.as_str(), &Transition::Terminating);
    let mut released = waiting.filter_map(|id| {
        let reason = Reason::LeaverGone { instance: id.clone(), proof: gone(id)? };
        complete(o, group, id, hook, reason)
    });
    released.next()
}

/// What is told while there is nothing to do.
fn watching(seen: &Confirmed<'_>, group: &Group) -> Reason {
    let voters = seen.list.iter().filter(|m| !m.learner && m.published());
    let leader = seen.cluster.serving().find_map(|(_, view)| view.leader);
    let leader = leader.and_then(|id| seen.list.iter().find(|m| m.id == id)).map(|m| m.name.clone());
    let ills = sound::ills(seen).into_iter().map(|ill| ill.why).chain(warnings(seen.o)).collect();
    Reason::Watching { voters: voters.count(), desired: group.desired, leader, ills }
}
