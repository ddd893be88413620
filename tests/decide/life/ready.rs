//! When the group may go on to its next instance: the gate, each condition of it broken alone.

use etcd_bootstrap::decide::doubts;
use etcd_bootstrap::decide::ready::released;
use etcd_bootstrap::exit::Exit;
use etcd_bootstrap::model::{Absence, BlindKind, InitialCluster, Member, OwnData, Reason, Seen, Transition};

use super::{LAUNCH, Scene, blind, hook, id, same};
use crate::decide::{OTHER, added, founder, learner, no_answer, peer, unstarted, voter};

const COMPLETES: &str = "complete launch of 1: in-sync";
const UNSOUND: &str = "keep launch of 1: cluster-unsound";
const SERVES_NOT: &str = "wait: not-serving";

/// This node is a voter, led by 2, and its group waits for it.
fn newcomer() -> Scene {
    let scene = Scene::voters(3).led_by(2).state(1, "Pending:Wait").target("InService");
    scene.clients(|view| view.applied = Some(10_000))
}

fn with(list: &[Member]) -> Scene {
    newcomer().listing(list).led_by(2).clients(|view| view.applied = Some(10_000))
}

/// What comes of it in the end, where nothing changes.
fn in_the_end(scene: Scene) -> String {
    scene.passes(9, 5).released()
}

#[test]
fn f70_each_own_state_in_the_group_has_its_answer() {
    same(newcomer().state(1, "Pending").released(), "wait: not-in-service");
    for state in ["Pending:Proceed", "InService", "Standby", "EnteringStandby", "Detaching", "Quarantined"] {
        assert_eq!(newcomer().state(1, state).released(), "rest: in-service", "{state}");
    }
    for state in ["Terminating", "Terminating:Wait", "Terminating:Proceed", "Terminating:Retained"] {
        let scene = newcomer().state(1, state);
        assert_eq!(scene.released(), "refuse: leaving", "{state}");
        assert_eq!(released(&scene.o, &scene.p).reason.exit(), Exit::TryAgain);
    }
    // Outside of a group no hook can be meant; in one whose list lags, one may.
    let mut outside = newcomer().asg(|g| drop(g.instances.remove(&id(1))));
    same(outside.released(), "wait: not-in-group");
    outside = outside.identity(|me| me.target_lifecycle_state = None);
    same(outside.released(), "rest: in-service");
    same(newcomer().cloud_down().released(), "wait: group-blind");
    let mut no_metadata = newcomer();
    no_metadata.o.me = Seen::No(blind(BlindKind::Unreachable));
    same(no_metadata.released(), "wait: metadata-blind");
}

#[test]
fn f70_f73_the_gate_opens_after_five_seconds_in_a_row() {
    same(newcomer().released(), "wait: in-sync");
    same(newcomer().again(4).released(), "wait: in-sync");
    same(newcomer().again(5).released(), COMPLETES);
    same(newcomer().again(2).again(3).released(), COMPLETES);
    let ill = newcomer().again(4).silent(3);
    same(ill.released(), UNSOUND);
    let well = |scene: Scene| {
        let list: Vec<Member> = (1..=3).map(voter).collect();
        scene.listing(&list).led_by(2)
    };
    let again = well(ill.again(1)).again(1);
    same(again.released(), "wait: in-sync");
    same(again.clone().again(3).released(), "wait: in-sync");
    same(again.again(4).released(), COMPLETES);
}

#[test]
fn t02_the_hook_is_completed_until_the_group_has_taken_it_and_once() {
    // A refusal changes nothing of what is decided.
    same(newcomer().again(5).deeds(|deeds| deeds.refusals = 7).again(5).released(), COMPLETES);
    let completed = newcomer().again(5).completed(1);
    same(completed.released(), "rest: in-service");
    same(completed.again(5).released(), "rest: in-service");
}

#[test]
fn t03_f73_a_hook_of_another_name_is_told_and_left_alone() {
    let hooks = [
        hook("ssm", Transition::Launching, 60),
        hook("other", Transition::Launching, 60),
        hook(LAUNCH, Transition::Terminating, 60),
    ];
    let scene = newcomer().again(5).hooks(hooks.to_vec());
    same(scene.released(), "rest: hook-unknown");
    let decision = released(&scene.o, &scene.p);
    let seen = vec!["ssm".to_owned(), "other".to_owned()];
    assert_eq!(decision.reason, Reason::HookUnknown { wanted: LAUNCH.to_owned(), seen });
    let told = doubts(&scene.o, &scene.p, &decision).join("\n");
    assert!(told.contains(LAUNCH), "{told}");
    assert!(decision.reason.to_string().contains("ssm, other"), "{}", decision.reason);
    // Beside ours they do not matter; and what may not be described is not unknown.
    let mut both = hooks.to_vec();
    both.push(hook(LAUNCH, Transition::Launching, 1800));
    same(newcomer().again(5).hooks(both).released(), COMPLETES);
    same(newcomer().again(5).hooks_hidden().released(), COMPLETES);
    let named = newcomer().again(5).policy(|p| "ssm".clone_into(&mut p.launch_hook)).hooks(hooks.to_vec());
    same(named.released(), "complete ssm of 1: in-sync");
}

/// A node that is no voter is the group's to replace: its hook is not kept waiting.
#[test]
fn f70_g1_the_own_member_is_a_published_voter_or_its_hook_is_not_kept_waiting() {
    for me in [learner(1), unstarted(1), added(1), founder(1)] {
        same(in_the_end(with(&[me.clone(), voter(2), voter(3)])), SERVES_NOT);
        // Whatever else there is to wait for.
        same(in_the_end(with(&[me, voter(2), voter(3)]).silent(3)), SERVES_NOT);
    }
    same(in_the_end(newcomer().listing(&[voter(2), voter(3)]).led_by(2).silent(1)), SERVES_NOT);
    for data in [OwnData::Empty, OwnData::NoLog, OwnData::Unreadable { why: "no".into() }] {
        same(in_the_end(newcomer().data(data)), SERVES_NOT);
    }
    same(in_the_end(newcomer().silent(1).silent(2).silent(3)), SERVES_NOT);
}

#[test]
fn f70_g2_a_node_whose_own_etcd_does_not_answer_is_not_kept_waiting_for() {
    for absence in [Absence::Refused, no_answer()] {
        let told = in_the_end(newcomer().absent(1, absence));
        assert!(told.starts_with("wait: "), "{told}");
    }
    // It answers, and cannot read.
    let told = in_the_end(newcomer().client(1, |v| v.quorum_list = Seen::No(blind(BlindKind::Unreachable))));
    assert!(!told.starts_with("complete"), "{told}");
}

#[test]
fn t04_g3_every_voter_answers_on_both_ports_and_follows_one_leader() {
    same(in_the_end(newcomer()), COMPLETES);
    for absence in [Absence::Refused, no_answer(), Absence::Tls("expired".into()), Absence::NotUnderstood("x".into())] {
        same(in_the_end(newcomer().absent(3, absence.clone())), UNSOUND);
        let mut client_port = newcomer();
        for probe in &mut client_port.o.probes {
            if probe.asked == peer(3) {
                probe.client = Some(Err(absence.clone()));
            }
        }
        same(in_the_end(client_port), UNSOUND);
    }
    let other_leader = Some(etcd_bootstrap::model::MemberId(3));
    same(in_the_end(newcomer().client(3, |view| view.leader = other_leader)), UNSOUND);
    same(in_the_end(newcomer().client(3, |view| view.leader = None)), UNSOUND);
    let unconfirmed = |kind| newcomer().client(3, move |view| view.quorum_list = Seen::No(blind(kind)));
    same(in_the_end(unconfirmed(BlindKind::Unreachable)), UNSOUND);
    same(in_the_end(newcomer().unconfirmed(BlindKind::Unreachable)), "keep launch of 1: no-quorum");
    // The log names the member.
    let ill = newcomer().silent(3);
    let told = released(&ill.o, &ill.p).reason.to_string();
    assert!(told.contains(id(3).as_str()), "{told}");
}

#[test]
fn f70_g4_no_voter_is_far_behind_the_leader() {
    let behind = |n, entries: u64| newcomer().client(n, move |view| view.applied = Some(10_000 - entries));
    same(in_the_end(behind(3, 5000)), COMPLETES);
    same(in_the_end(behind(3, 5001)), UNSOUND);
    same(in_the_end(behind(1, 5001)), UNSOUND);
    // Ahead of what the leader said a moment before, or not told.
    same(in_the_end(newcomer().client(3, |view| view.applied = Some(90_000))), COMPLETES);
    same(in_the_end(newcomer().client(3, |view| view.applied = None)), COMPLETES);
    same(in_the_end(newcomer().client(2, |view| view.applied = None)), COMPLETES);
}

#[test]
fn t22_g5_an_alarm_of_any_voter_holds_the_group() {
    for n in 1..=3 {
        let ill = newcomer().client(n, |view| view.faults = vec!["memberID:3 alarm:NOSPACE".into()]);
        same(in_the_end(ill.clone()), UNSOUND);
        let told = released(&ill.o, &ill.p).reason.to_string();
        assert!(told.contains(id(n).as_str()) && told.contains("NOSPACE"), "{told}");
        // Disarmed, the group goes on.
        let well = ill.passes(9, 5).clients(|view| view.faults.clear());
        same(well.clone().again(1).again(3).released(), "wait: in-sync");
        same(well.again(1).again(4).released(), COMPLETES);
    }
    // Though nobody knows a leader for the moment.
    let lost = newcomer().clients(|view| (view.leader, view.faults) = (None, vec!["etcdserver: no leader".into()]));
    same(in_the_end(lost), UNSOUND);
}

#[test]
fn f73_g6_two_clusters_or_another_tag_are_a_persons() {
    let two = newcomer().member_of(OTHER, 3, &[voter(3)], Seen::Yes(vec![voter(3)]));
    same(in_the_end(two), "refuse: two-clusters");
    same(in_the_end(newcomer().tag(OTHER)), "refuse: not-the-tagged-cluster");
    same(in_the_end(newcomer().tag(OTHER).policy(|p| p.initial_cluster = InitialCluster::Force)), COMPLETES);
    // No tag is `ready`'s own to write, and not waited for.
    same(in_the_end(newcomer().untagged()), COMPLETES);
}

#[test]
fn f72_a_voter_that_goes_and_answers_is_not_counted_on() {
    let list: Vec<Member> = (1..=4).map(voter).collect();
    let four = || with(&list).instance(4, "Terminating:Wait", "running").desired(3);
    let four = || four().member_of(crate::decide::OURS, 4, &list, Seen::Yes(list.clone())).led_by(2);
    same(in_the_end(four()), COMPLETES);
    same(in_the_end(four().state(4, "InService")), COMPLETES);
    let ills: [fn(&mut etcd_bootstrap::model::ClientView); 4] = [
        |view| view.faults = vec!["alarm:NOSPACE".into()],
        |view| view.applied = Some(1),
        |view| view.leader = None,
        |view| view.quorum_list = Seen::No(blind(BlindKind::Unreachable)),
    ];
    for ill in ills {
        same(in_the_end(four().client(4, ill)), COMPLETES);
        same(in_the_end(four().client(4, ill).state(4, "InService")), UNSOUND);
    }
    // Until it is removed one that does not answer counts for the quorum.
    same(four().silent(4).again(5).released(), UNSOUND);
}

#[test]
fn t23_what_authentication_hides_is_held_against_nobody() {
    let denied = |kind| move |view: &mut etcd_bootstrap::model::ClientView| view.quorum_list = Seen::No(blind(kind));
    same(in_the_end(newcomer().client(3, denied(BlindKind::Denied))), COMPLETES);
    let mut client_port = newcomer();
    for probe in &mut client_port.o.probes {
        if probe.asked == peer(3) {
            probe.client = Some(Err(Absence::Denied("403".into())));
        }
    }
    same(in_the_end(client_port), COMPLETES);
    // Nor where nobody may see the list: what may be seen counts.
    let hidden = || newcomer().unconfirmed(BlindKind::Denied);
    same(in_the_end(hidden()), COMPLETES);
    same(in_the_end(hidden().client(3, |view| view.faults = vec!["alarm:NOSPACE".into()])), UNSOUND);
    same(in_the_end(hidden().client(3, |view| view.applied = Some(1))), UNSOUND);
    same(in_the_end(hidden().silent(3)), UNSOUND);
    let list = [learner(1), voter(2), voter(3)];
    same(in_the_end(with(&list).unconfirmed(BlindKind::Denied)), SERVES_NOT);
}

#[test]
fn f14_two_that_join_do_not_wait_for_each_other() {
    for other in [learner(4), added(4), unstarted(4), founder(4)] {
        let list = [voter(1), voter(2), voter(3), other];
        same(in_the_end(with(&list).instance(4, "Pending:Wait", "running")), COMPLETES);
    }
}

#[test]
fn t04_the_hook_is_kept_waiting_only_while_the_gate_is_shut() {
    let ill = newcomer().silent(3);
    same(ill.released(), UNSOUND);
    let at = ill.o.taken_at;
    let beaten = ill.deeds(|deeds| deeds.heartbeat = Some(at));
    same(beaten.clone().again(299).released(), "wait: cluster-unsound");
    same(beaten.clone().again(300).released(), UNSOUND);
    // Well for a moment, it waits without.
    let list: Vec<Member> = (1..=3).map(voter).collect();
    same(beaten.again(600).listing(&list).led_by(2).released(), "wait: in-sync");
    let hidden = newcomer().silent(3).hooks_hidden().deeds(|deeds| deeds.heartbeat = Some(at));
    same(hidden.clone().again(19).released(), "wait: cluster-unsound");
    same(hidden.again(20).released(), UNSOUND);
}
