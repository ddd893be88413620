//! Where an instance is in its life: whether it is on its way out, and how lifecycle hooks are answered for it.

use std::time::Duration;

use super::view::elapsed;
use crate::model::{
    Action, Change, Decision, Group, Identity, InstanceId, Interruption, LifecycleState, Observation, OwnData, Reason,
    Transition,
};

/// Between two heartbeats lies a third of the hook's timeout, within these bounds (hooks have 30 to 7200 s; Auto Scaling
/// API reference, `PutLifecycleHook`, read 2026-11-26).
const HEARTBEATS: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));

/// The same where the hooks may not be described: it fits the shortest of them.
const HEARTBEAT_UNKNOWN: Duration = Duration::from_secs(20);

/// What becomes of this instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Departure {
    /// It goes for good. What is certain to happen within two minutes waits for nobody.
    ForGood { why: String, at_once: bool },
    /// It may be away for a while and comes back with its member.
    ForAWhile { why: String },
}

/// Whether this instance is on its way out, by any word of AWS. None for what a person takes aside and brings back, and
/// for a reboot or a stop, of which nobody tells beforehand (F40).
pub(super) fn departure(o: &Observation) -> Option<Departure> {
    let target = o.me.ok().and_then(|me| me.target_lifecycle_state.as_ref());
    let state = own_state(o);
    let mut told = state.into_iter().chain(target);
    let for_good = |why: String, at_once| Some(Departure::ForGood { why, at_once });
    let spot = o.notices.ok().and_then(|notices| notices.spot.as_ref());
    let interrupted = |by: &Interruption| format!("EC2 interrupts this spot instance: {by}");
    if let Some(terminate @ Interruption::Terminate) = spot {
        return for_good(interrupted(terminate), true);
    }
    if let Some(state) = told.clone().find(|state| state.is_terminating()) {
        return for_good(format!("its group says {state}"), false);
    }
    // Back into the warm pool: the group stops it for an unknown time, and a stopped one is never proven dead (F37).
    let has_member = matches!(o.own_data, OwnData::Log { .. });
    if let Some(state) = told.clone().find(|state| state.is_warm() && has_member) {
        return for_good(format!("its group says {state}"), false);
    }
    if let Some(stop) = spot {
        return Some(Departure::ForAWhile { why: interrupted(stop) });
    }
    let away = told.find(|state| state.replaces_root_volume())?;
    Some(Departure::ForAWhile { why: format!("its group says {away}") })
}

/// What a person should know of this instance's future, though nothing is done for it: with Capacity Rebalancing the group
/// launches a replacement first, and Auto Scaling replaces an instance itself when its maintenance comes.
pub fn warnings(o: &Observation) -> Vec<String> {
    let Some(notices) = o.notices.ok() else { return Vec::new() };
    let told = [
        (notices.rebalance, "EC2 recommends to rebalance this spot instance"),
        (notices.maintenance, "EC2 has scheduled a maintenance of this instance"),
    ];
    told.into_iter().filter(|(stands, _)| *stands).map(|(_, sentence)| sentence.to_owned()).collect()
}

/// What happens to this instance, or may; for a person who looks.
pub fn future(o: &Observation) -> Vec<String> {
    let going = departure(o).map(|departure| match departure {
        Departure::ForGood { why, .. } => format!("this instance goes for good: {why}"),
        Departure::ForAWhile { why } => format!("this instance may be away for a while: {why}"),
    });
    going.into_iter().chain(warnings(o)).collect()
}

/// This instance's state in its group, as Auto Scaling has it.
pub(super) fn own_state(o: &Observation) -> Option<&LifecycleState> {
    o.group.ok()?.instances.get(&o.me.ok()?.instance)
}

/// How an instance's waiting is ended, where it waits; None where nothing is left to do: it does not wait, its hook is
/// completed, or the group has no hook of that name.
pub(super) fn complete(
    o: &Observation,
    group: &Group,
    instance: &InstanceId,
    hook: (&str, &Transition),
    reason: Reason,
) -> Option<Decision> {
    let waits = group.instances.get(instance).is_some_and(|state| state.waits_for(hook.1));
    if !waits || is_completed(o, instance) || is_unknown(o, hook) {
        return None;
    }
    let change =
        Change::CompleteHook { group: group.name.clone(), hook: hook.0.to_owned(), instance: instance.clone() };
    Some(Decision { action: Action::Change(change), reason })
}

/// Whether this run has completed an instance's hook, though the group still says that it waits.
fn is_completed(o: &Observation, instance: &InstanceId) -> bool {
    o.history.as_ref().is_some_and(|before| before.deeds.completed.contains(instance))
}

/// Whether the group is known to have no such hook.
pub(super) fn is_unknown(o: &Observation, (name, transition): (&str, &Transition)) -> bool {
    let is_it = |hook: &crate::model::Hook| hook.name == name && hook.transition == *transition;
    o.hooks.ok().is_some_and(|hooks| !hooks.iter().any(is_it))
}

/// A decision to wait, or to have the group wait with it where that is due. What a person has to end is not kept alive:
/// then the hook's own result strikes.
pub(super) fn keep_waiting(o: &Observation, me: &Identity, hook: (&str, &Transition), decision: Decision) -> Decision {
    let waits = own_state(o).is_some_and(|state| state.waits_for(hook.1)) && !is_completed(o, &me.instance);
    let persons = matches!(decision.reason, Reason::Denied { .. } | Reason::TwoClusters { .. });
    let (true, false, Action::Wait, Some(group)) = (waits, persons, &decision.action, o.group.ok()) else {
        return decision;
    };
    if is_unknown(o, hook) || !heartbeat_is_due(o, hook.0) {
        return decision;
    }
    let (name, instance) = (hook.0.to_owned(), me.instance.clone());
    let change = Change::KeepWaiting { group: group.name.clone(), hook: name, instance };
    Decision { action: Action::Change(change), reason: decision.reason }
}

fn heartbeat_is_due(o: &Observation, name: &str) -> bool {
    let hook = o.hooks.ok().and_then(|hooks| hooks.iter().find(|hook| hook.name == name));
    let every = hook.map_or(HEARTBEAT_UNKNOWN, |hook| (hook.timeout / 3).clamp(HEARTBEATS.0, HEARTBEATS.1));
    let last = o.history.as_ref().and_then(|before| before.deeds.heartbeat);
    last.is_none_or(|last| elapsed(last, o.taken_at) >= every)
}
