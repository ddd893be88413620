//! Wrong rules, made on the input or the output of the shipped `decide`. The model must find each of them, by the
//! shortest way there is: one that it does not find is a rule without a reason, or a hole in the model.

use std::collections::BTreeSet;

use etcd_bootstrap::decide::remember;
use etcd_bootstrap::model::{
    Absence, Action, Addresses, Change, ClusterState, Decision, Ec2State, Instance, InstanceId, LifecycleState, Member,
    MemberId, MemberUrl, Observation, OwnData, PeerAnswer, PeerView, Policy, Reason, Seen, Start, Statement, Vote,
};
use stateright::{Checker, HasDiscoveries, Model};

use super::Scenario;
use super::etcd::Strict;
use super::world::{Act, Left, Machine, Rules, World};

mod founding;
mod watching;

/// A wrong rule, where it bites, and how soon.
pub struct Mutation {
    name: &'static str,
    pub input: fn(&mut Observation, &Policy),
    pub output: fn(&Observation, Decision) -> Decision,
    /// What becomes of the own disk after what was done to it.
    pub disk: fn(Done<'_>, &mut Machine),
    begin: fn() -> World,
    rules: fn(&mut Rules),
    /// The first words of the property that breaks, and the length of the shortest trace to it.
    breaks: (&'static str, usize),
}

/// What was done to a disk.
pub enum Done<'a> {
    Whole(&'a Act),
    /// The machine boots before the rest of it.
    Half(&'a Act),
    Boot,
}

const SAME: fn(&mut Observation, &Policy) = |_, _| {};
const AS_DECIDED: fn(&Observation, Decision) -> Decision = |_, decision| decision;
const KEPT: fn(Done<'_>, &mut Machine) = |_, _| {};
const USUAL: fn(&mut Rules) = |_| {};

/// Hides from a node that a member lists it under another id.
const UNWARNED: fn(&mut Observation, &Policy) = |o, p| {
    let Some(own) = o.me.ok().and_then(|me| p.peer_url(&me.addresses)) else { return };
    for probe in &mut o.probes {
        if let PeerAnswer::Etcd(view) = &mut probe.peer {
            view.members.retain(|m| !m.peer_urls.contains(&own));
        }
    }
};

const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "an etcd that took the id of before is refused for ever",
        input: UNWARNED,
        output: |_, decision| match decision.reason {
            Reason::NeverLedRemoved { .. } => Decision { action: Action::Refuse, ..decision },
            _ => decision,
        },
        disk: KEPT,
        begin: || World::one_cut_off(Left { wipes: 1, ..Left::default() }),
        rules: USUAL,
        breaks: ("L", 7),
    },
    Mutation {
        name: "a silent instance is dead",
        input: |o, _| {
            let silent = o.probes.iter().filter(|probe| matches!(probe.peer, PeerAnswer::Absent(_)));
            let silent = silent.filter_map(|probe| probe.instance.clone()).collect();
            terminate(o, silent);
        },
        output: AS_DECIDED,
        disk: KEPT,
        begin: || World::formed(3, 4, true, Left { reboots: 1, ..Left::default() }),
        rules: USUAL,
        breaks: ("S2", 2),
    },
    Mutation {
        name: "whoever is not in service is dead",
        input: |o, _| {
            let Seen::Yes(group) = &o.group else { return };
            let leaving = group.instances.iter().filter(|(_, state)| **state != LifecycleState::InService);
            let leaving = leaving.map(|(id, _)| id.clone()).collect();
            terminate(o, leaving);
        },
        output: AS_DECIDED,
        disk: KEPT,
        begin: || World::formed(3, 4, true, Left { terminations: 1, ..Left::default() }),
        rules: |rules| rules.leaves_slowly = true,
        breaks: ("S2", 5),
    },
    Mutation {
        name: "members belong to instances by name only",
        input: |o, _| {
            let nameless: Vec<MemberUrl> = views(o)
                .flat_map(|v| &v.members)
                .filter(|m| m.name.is_empty())
                .flat_map(|m| m.peer_urls.clone())
                .collect();
            each_instance(o, |_, instance| {
                if nameless.iter().any(|url| instance.addresses.hold(url)) {
                    instance.addresses = Addresses::default();
                }
            });
        },
        output: AS_DECIDED,
        disk: KEPT,
        begin: || World::formed(3, 5, true, Left { reboots: 1, ..Left::default() }),
        rules: USUAL,
        breaks: ("S2", 6),
    },
    Mutation {
        name: "a member that has not started is removed, not waited for",
        input: SAME,
        output: |o, decision| match &decision.reason {
            Reason::OtherJoining { member } => remove(o, member.id, decision.clone()),
            _ => decision,
        },
        disk: KEPT,
        begin: || World::formed(3, 5, true, Left::default()),
        rules: USUAL,
        breaks: ("S2", 3),
    },
    Mutation {
        name: "what EC2 has forgotten is dead at first sight",
        input: |o, p| {
            let mut before = remember(o, p);
            for standing in before.suspects.values_mut() {
                standing.first_seen -= p.founding_grace;
                standing.last_read -= p.founding_grace;
            }
            before.member_instances.extend(o.history.iter().flat_map(|b| b.member_instances.clone()));
            o.history = Some(before);
        },
        output: AS_DECIDED,
        disk: KEPT,
        begin: || World::formed(3, 4, true, Left { scale_outs: 1, odd_reads: 2, reboots: 1, ..Left::default() }),
        rules: USUAL,
        breaks: ("S2", 6),
    },
    Mutation {
        name: "a removal counts no quorum",
        input: SAME,
        output: |o, decision| match &decision.reason {
            Reason::RemovalCostsQuorum { member, .. } => remove(o, member.id, decision.clone()),
            _ => decision,
        },
        disk: KEPT,
        begin: || World::formed(3, 4, true, Left { terminations: 1, reboots: 1, ..Left::default() }),
        rules: |rules| rules.strict = Strict::Off,
        breaks: ("S3", 3),
    },
    Mutation {
        name: "every node joins as voter",
        input: SAME,
        output: |_, decision| match decision.action {
            Action::Change(Change::Add { peer_url, via, .. }) => Decision {
                action: Action::Change(Change::Add { peer_url, via, vote: Vote::Voter }),
                reason: decision.reason,
            },
            _ => decision,
        },
        disk: KEPT,
        begin: || World::formed(1, 2, true, Left::default()),
        rules: USUAL,
        breaks: ("S3", 1),
    },
    Mutation {
        name: "the file is written before the add",
        input: SAME,
        output: |o, decision| match &decision.action {
            Action::Change(Change::Add { .. }) => start_as_if_listed(o).unwrap_or(decision),
            _ => decision,
        },
        disk: KEPT,
        begin: || World::formed(3, 4, true, Left::default()),
        rules: USUAL,
        breaks: ("L1", 0),
    },
    Mutation {
        name: "an added member is resumed though it votes",
        input: |o, _| {
            let Seen::Yes(me) = o.me.clone() else { return };
            each_member(o, |m| {
                // The rule knows it by its vote.
                m.learner |= m.name.is_empty() && m.peer_urls.iter().any(|url| me.addresses.hold(url));
            });
        },
        output: AS_DECIDED,
        disk: KEPT,
        begin: || World::formed(3, 4, true, Left { wipes: 1, ..Left::default() }),
        rules: USUAL,
        breaks: ("S1 no id", 8),
    },
    Mutation {
        name: "a backend without its log is no data",
        input: |o, _| {
            if o.own_data == OwnData::NoLog {
                o.own_data = OwnData::Empty;
            }
        },
        output: AS_DECIDED,
        disk: KEPT,
        begin: || World::formed(3, 3, true, Left { log_losses: 1, ..Left::default() }),
        rules: USUAL,
        breaks: ("S4 no old", 7),
    },
    Mutation {
        name: "a founder's data counts as never led",
        input: |o, _| {
            if let OwnData::Log { had_leader, .. } = &mut o.own_data {
                *had_leader = false;
            }
        },
        output: AS_DECIDED,
        disk: KEPT,
        begin: || World::formed(3, 3, false, Left { terminations: 2, reboots: 1, ..Left::default() }),
        rules: USUAL,
        breaks: ("S4 no data", 6),
    },
    Mutation {
        name: "a damaged log makes room whoever else is there",
        input: SAME,
        output: |_, decision| match &decision.reason {
            Reason::LogDamaged { .. } => {
                Decision { action: Action::Change(Change::SetDataAside { gives_up: None }), ..decision }
            }
            _ => decision,
        },
        disk: KEPT,
        begin: || World::formed(3, 3, true, Left { damages: 1, reboots: 1, ..Left::default() }),
        rules: USUAL,
        breaks: ("S4 no data", 3),
    },
    Mutation {
        name: "data that was never led is kept",
        input: |o, _| {
            if let OwnData::Log { had_leader, .. } = &mut o.own_data {
                *had_leader = true;
            }
        },
        output: AS_DECIDED,
        disk: KEPT,
        begin: || World::fresh(3, Left { terminations: 2, ..Left::default() }),
        rules: USUAL,
        breaks: ("L1", 5),
    },
    Mutation {
        name: "the tag is not looked at",
        input: |o, _| {
            if let Seen::Yes(group) = &mut o.group {
                group.cluster_tag = None;
            }
        },
        output: AS_DECIDED,
        disk: KEPT,
        begin: || World::formed(2, 2, true, Left { terminations: 2, ..Left::default() }),
        rules: USUAL,
        breaks: ("S1 no second", 13),
    },
    Mutation {
        name: "silence is agreement",
        input: agree_for_the_silent,
        output: AS_DECIDED,
        disk: KEPT,
        begin: || World::formed(3, 3, false, Left { terminations: 2, cuts: 1, ..Left::default() }),
        rules: |rules| rules.tag = false,
        breaks: ("S1 no second", 13),
    },
    Mutation {
        name: "a forming cluster is not seen",
        input: |o, _| hide(o, |view| view.cluster_version.is_none()),
        output: AS_DECIDED,
        disk: KEPT,
        begin: || World::fresh(3, Left { terminations: 1, ..Left::default() }),
        rules: USUAL,
        breaks: ("L1", 8),
    },
];

// ---------------------------------------------------------------- words of the mutations

fn views(o: &Observation) -> impl Iterator<Item = &PeerView> {
    o.probes.iter().filter_map(|probe| match &probe.peer {
        PeerAnswer::Etcd(view) => Some(view),
        PeerAnswer::Agent(_) | PeerAnswer::Absent(_) => None,
    })
}

/// Takes away the etcds that tell such a view.
fn hide(o: &mut Observation, is_hidden: impl Fn(&PeerView) -> bool) {
    for probe in &mut o.probes {
        if matches!(&probe.peer, PeerAnswer::Etcd(view) if is_hidden(view)) {
            probe.peer = PeerAnswer::Absent(Absence::Refused);
            probe.client = Some(Err(Absence::Refused));
        }
    }
}

fn each_member(o: &mut Observation, change: impl Fn(&mut Member)) {
    for probe in &mut o.probes {
        if let PeerAnswer::Etcd(view) = &mut probe.peer {
            view.members.iter_mut().for_each(&change);
        }
        if let Some(Ok(client)) = &mut probe.client
            && let Seen::Yes(list) = &mut client.quorum_list
        {
            list.iter_mut().for_each(&change);
        }
    }
}

fn each_instance(o: &mut Observation, change: impl Fn(&InstanceId, &mut Instance)) {
    if let Seen::Yes(ec2) = &mut o.ec2 {
        ec2.found.iter_mut().for_each(|(id, instance)| change(id, instance));
    }
}

fn terminate(o: &mut Observation, ids: BTreeSet<InstanceId>) {
    each_instance(o, |id, instance| {
        if ids.contains(id) {
            instance.state = Ec2State::Terminated;
        }
    });
}

/// Puts the own statement into the mouths of those who are silent.
fn agree_for_the_silent(o: &mut Observation, p: &Policy) {
    let Some(own) = etcd_bootstrap::decide::statement(o, p).filter(|own| own.founders.is_some()) else { return };
    for probe in o.probes.iter_mut().filter(|probe| matches!(probe.peer, PeerAnswer::Absent(_))) {
        let Some(instance) = probe.instance.clone() else { continue };
        probe.peer = PeerAnswer::Agent(Statement { instance, ..own.clone() });
        probe.client = None;
    }
}

/// The member that a reason names, removed through a voter that serves.
fn remove(o: &Observation, member: MemberId, decision: Decision) -> Decision {
    let serving = o.probes.iter().find_map(|probe| match &probe.client {
        Some(Ok(client)) if client.quorum_list.ok().is_some() => Some(&probe.asked),
        _ => None,
    });
    match serving {
        Some(via) => Decision { action: Action::Change(Change::Remove { member, via: via.clone() }), ..decision },
        None => decision,
    }
}

/// What would be written if the add came later.
fn start_as_if_listed(o: &Observation) -> Option<Decision> {
    let me = o.me.ok()?;
    let list = o.probes.iter().find_map(|probe| probe.client.as_ref()?.as_ref().ok()?.quorum_list.ok())?;
    let peer_url = MemberUrl::new(list.first()?.peer_urls.first()?.scheme(), &me.addresses.ip()?.to_string(), 2380);
    let mut initial_cluster: Vec<(String, MemberUrl)> =
        list.iter().filter_map(|m| Some((m.name.clone(), m.peer_urls.first()?.clone()))).collect();
    initial_cluster.push((me.instance.to_string(), peer_url.clone()));
    let start = Start {
        name: me.instance.clone(),
        state: ClusterState::Existing,
        initial_cluster,
        token: String::new(),
        client_url: peer_url.clone(),
        peer_url,
        listen: me.addresses.ip()?,
        after: None,
    };
    Some(Decision { action: Action::Start(start), reason: Reason::OwnDataNobodyObjects })
}

// ---------------------------------------------------------------- the test

#[test]
fn every_wrong_rule_is_found_by_the_shortest_way() {
    all_break_as_they_say(MUTATIONS.iter().chain(founding::MUTATIONS));
}

#[test]
fn every_wrong_rule_of_a_watch_is_found_by_the_shortest_way() {
    all_break_as_they_say(watching::MUTATIONS);
}

#[test]
#[ignore = "many states: make model"]
fn what_is_called_an_economy_is_one() {
    all_break_as_they_say(founding::ECONOMIES.iter().chain(ECONOMIES));
}

const ECONOMIES: &[Mutation] = &[Mutation {
    name: "an etcd starts by the word of a member that is cut off",
    input: UNWARNED,
    output: AS_DECIDED,
    disk: KEPT,
    begin: || World::one_cut_off(Left { wipes: 1, ..Left::default() }),
    rules: USUAL,
    breaks: ("nothing", 0),
}];

fn all_break_as_they_say(mutations: impl IntoIterator<Item = &'static Mutation>) {
    let mut wrong = Vec::new();
    for mutation in mutations {
        let found = shortest(mutation);
        let (property, steps) = found.unwrap_or(("nothing", 0));
        println!("{:60} {:48} {steps:3}", mutation.name, property);
        if !property.starts_with(mutation.breaks.0) || steps != mutation.breaks.1 {
            wrong.push(mutation.name);
        }
    }
    assert!(wrong.is_empty(), "not found, or not as the table says: {wrong:#?}");
}

fn scenario(mutation: &'static Mutation) -> Scenario {
    let mut scenario = Scenario::new((mutation.begin)()).rules(mutation.rules);
    scenario.mutation = Some(mutation);
    scenario
}

/// The property that breaks first. A checker may find others of the same block of work sooner, so it is asked again for
/// shorter traces until there is none.
fn shortest(mutation: &'static Mutation) -> Option<(&'static str, usize)> {
    let mut best: Option<(&'static str, usize)> = None;
    loop {
        let checker = scenario(mutation).checker().threads(1).finish_when(HasDiscoveries::AnyFailures);
        let depth = best.map_or(usize::MAX, |(_, steps)| steps + 1);
        let checker = checker.target_max_depth(depth).spawn_bfs().join();
        let found = checker.discoveries().into_iter().map(|(name, path)| (name, path.into_actions().len()));
        match found.min_by_key(|(name, steps)| (*steps, *name)) {
            Some(found) => best = Some(found),
            None => return best,
        }
    }
}
