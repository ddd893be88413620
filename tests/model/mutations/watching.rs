//! Wrong rules of `watch`.

use etcd_bootstrap::decide::remember;
use etcd_bootstrap::model::{
    Absence, Action, Change, Decision, InstanceId, Interruption, LifecycleState, Notices, Observation, OwnData,
    PeerAnswer, Reason, Seen,
};

use super::super::memory::Watch;
use super::super::world::{Left, Rules, World};
use super::{AS_DECIDED, KEPT, Mutation, SAME, USUAL, remove};

/// Who leaves waits for its hook.
const HOOKED: fn(&mut Rules) = |rules| rules.leaves_slowly = true;

pub const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "who leaves counts nobody who stays",
        input: SAME,
        output: |o, decision| match &decision.reason {
            Reason::TooFewToLeave { .. } => removes_itself(o, decision),
            _ => decision,
        },
        disk: KEPT,
        begin: || watched(2, 3, Left { terminations: 1, ..Left::default() }, &[0]),
        rules: HOOKED,
        breaks: ("S7", 2),
    },
    Mutation {
        name: "who leaves knows nobody else who does",
        input: |o, _| {
            let me = o.me.ok().map(|me| me.instance.clone());
            let Seen::Yes(group) = &mut o.group else { return };
            let others = group.instances.iter_mut().filter(|(id, _)| Some(*id) != me.as_ref());
            others.for_each(|(_, state)| *state = LifecycleState::InService);
        },
        output: AS_DECIDED,
        disk: KEPT,
        begin: || watched(3, 3, Left { terminations: 2, ..Left::default() }, &[1, 2]),
        rules: HOOKED,
        breaks: ("S7", 6),
    },
    Mutation {
        name: "all go as if there were two minutes left",
        input: |o, _| {
            let leaves = o.me.ok().is_some_and(|me| me.target_lifecycle_state.is_some());
            let spot = leaves.then_some(Interruption::Terminate);
            o.notices = Seen::Yes(Notices { spot, ..Notices::default() });
        },
        output: AS_DECIDED,
        disk: KEPT,
        begin: || watched(2, 3, Left { terminations: 1, ..Left::default() }, &[0]),
        rules: HOOKED,
        breaks: ("S7", 2),
    },
    Mutation {
        name: "the hook is completed before the member is out",
        input: SAME,
        output: |o, decision| match &decision.reason {
            Reason::Leaves { .. } => completes_own_hook(o, decision),
            _ => decision,
        },
        disk: KEPT,
        begin: || watched(3, 3, Left { terminations: 1, ..Left::default() }, &[0]),
        rules: HOOKED,
        breaks: ("L4", 2),
    },
    Mutation {
        name: "nobody completes a hook",
        input: SAME,
        output: |_, decision| match &decision.action {
            Action::Change(Change::CompleteHook { .. }) => waits(decision),
            _ => decision,
        },
        disk: KEPT,
        begin: || watched(3, 3, Left { terminations: 1, ..Left::default() }, &[0]),
        rules: HOOKED,
        breaks: ("L1", 2),
    },
    Mutation {
        name: "only who joins removes the dead",
        input: SAME,
        output: |_, decision| match (&decision.action, &decision.reason) {
            (Action::Change(Change::Remove { .. }), Reason::ProvenDead { .. }) => waits(decision),
            _ => decision,
        },
        disk: KEPT,
        begin: || watched(3, 3, Left { scale_ins: 1, ..Left::default() }, &[0, 1, 2]),
        rules: USUAL,
        breaks: ("L1", 1),
    },
    Mutation {
        name: "f74: a turn does not come for whom nobody hears",
        input: |o, _| o.history.iter_mut().for_each(|before| before.suspects.clear()),
        output: AS_DECIDED,
        disk: KEPT,
        begin: || watched(3, 3, Left { scale_ins: 1, ..Left::default() }, &[1, 2]),
        rules: USUAL,
        breaks: ("L1", 1),
    },
    Mutation {
        name: "a leaver is dead though it answers",
        input: |o, p| {
            let Seen::Yes(group) = &o.group else { return };
            let goes: Vec<InstanceId> =
                group.instances.iter().filter(|(_, state)| state.is_terminating()).map(|(id, _)| id.clone()).collect();
            let theirs =
                o.probes.iter_mut().filter(|probe| probe.instance.as_ref().is_some_and(|id| goes.contains(id)));
            theirs.for_each(|probe| (probe.peer, probe.client) = (PeerAnswer::Absent(Absence::Refused), None));
            o.history = Some(remember(o, p));
            let old = o.taken_at - p.founding_grace;
            let leavers = o.history.iter_mut().flat_map(|before| before.silent_leavers.values_mut());
            leavers.for_each(|standing| (standing.first_seen, standing.last_read) = (old, old));
        },
        output: AS_DECIDED,
        disk: KEPT,
        begin: || watched(3, 3, Left { terminations: 1, ..Left::default() }, &[1]),
        rules: HOOKED,
        breaks: ("S2", 2),
    },
];

/// A cluster in a group of so many, and the nodes on which `watch` goes along.
fn watched(members: u8, nodes: u8, left: Left, watched: &[u8]) -> World {
    let mut world = World::formed(members, nodes, true, left);
    watched.iter().for_each(|n| world.machine_mut(*n).watch = Some(Watch::default()));
    world
}

fn waits(decision: Decision) -> Decision {
    Decision { action: Action::Wait, reason: decision.reason }
}

/// The own member, of a node that watches.
fn removes_itself(o: &Observation, decision: Decision) -> Decision {
    match &o.own_data {
        OwnData::Log { member_id, .. } => remove(o, *member_id, decision),
        OwnData::Empty | OwnData::NoLog | OwnData::Unreadable { .. } => decision,
    }
}

fn completes_own_hook(o: &Observation, decision: Decision) -> Decision {
    let (Some(group), Some(me), Some(hook)) = (o.group.ok(), o.me.ok(), o.hooks.ok().and_then(|hooks| hooks.first()))
    else {
        return decision;
    };
    let change =
        Change::CompleteHook { group: group.name.clone(), hook: hook.name.clone(), instance: me.instance.clone() };
    Decision { action: Action::Change(change), reason: decision.reason }
}
