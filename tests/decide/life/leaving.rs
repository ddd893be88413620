//! The rows of a leave, one by one.

use etcd_bootstrap::model::{Absence, BlindKind, Leave, Member, Seen, Transition};

use super::mark::of as mark;
use super::{Scene, TERMINATE, both_hooks, hook, id, same, without_log};
use crate::decide::{added, blind, client, founder, learner, log, no_answer, unstarted, voter};

/// Off the list of the other n - 1, its own etcd still heard or not.
fn removed(n: u64) -> Scene {
    let list: Vec<Member> = (2..=n).map(voter).collect();
    Scene::leaver(n).listing(&list)
}

fn marked(n: u64) -> Scene {
    let mut scene = removed(n).silent(1);
    scene.o.left = Some(mark(1));
    scene
}

#[test]
fn t14_f73_off_the_list_comes_the_mark_then_silence_then_the_hook() {
    same(removed(3).silent(1).watch(), "mark 1: left");
    // The etcd that was removed is on its way out, and still answers.
    let list: Vec<Member> = (2..=3).map(voter).collect();
    let heard = removed(3).member_of(crate::decide::OURS, 1, &list, Seen::No(blind(BlindKind::Unreachable)));
    same(heard.watch(), "mark 1: left");
    let mut heard = heard;
    heard.o.left = Some(mark(1));
    heard.o.left.as_mut().expect("just made").at = heard.o.taken_at;
    same(heard.watch(), "keep terminate of 1: left");
    let at = heard.o.taken_at;
    let beaten = heard.deeds(|deeds| deeds.heartbeat = Some(at));
    same(beaten.clone().again(9).watch(), "wait: left");
    same(beaten.clone().again(10).watch(), "complete terminate of 1: left");
    same(beaten.silent(1).watch(), "complete terminate of 1: left");
    // Another's mark, or an older one of this disk, is not this one.
    for other in [mark(9), etcd_bootstrap::model::LeftMember { cluster: crate::decide::OTHER, ..mark(1) }] {
        let mut scene = removed(3).silent(1);
        scene.o.left = Some(other);
        same(scene.watch(), "mark 1: left");
    }
}

#[test]
fn f73_a_hook_is_completed_once_and_only_where_it_is_waited_for() {
    same(marked(3).watch(), "complete terminate of 1: left");
    let completed = marked(3).completed(1);
    same(completed.watch(), "wait: left");
    same(completed.clone().passes(5, 30).watch(), "wait: left");
    for state in ["Terminating", "Terminating:Proceed", "Terminating:Retained", "Terminated"] {
        same(marked(3).state(1, state).watch(), "wait: left");
    }
    // It counts for the one waiting: a later one is another matter.
    let again = completed.state(1, "Terminating:Proceed").again(5).state(1, "Terminating:Wait").again(5);
    same(again.watch(), "complete terminate of 1: left");
    // Not known to be missing.
    same(marked(3).hooks_hidden().watch(), "complete terminate of 1: left");
}

#[test]
fn t03_a_hook_of_another_name_is_somebody_elses() {
    for hooks in [
        Vec::new(),
        vec![hook("log-shipping", Transition::Terminating, 300)],
        vec![hook(TERMINATE, Transition::Launching, 300)],
    ] {
        same(marked(3).hooks(hooks.clone()).watch(), "wait: left");
        // Nor is it kept waiting.
        same(Scene::leaver(3).silent(2).silent(3).led_by(2).hooks(hooks).watch(), "wait: removal-costs-quorum");
    }
    let named = |name: &str| marked(3).policy(|p| name.clone_into(&mut p.terminate_hook));
    same(named("ours").hooks(vec![hook("ours", Transition::Terminating, 300)]).watch(), "complete ours of 1: left");
    same(named("ours").watch(), "wait: left");
}

#[test]
fn f73_who_was_never_a_member_has_nothing_to_leave() {
    for data in without_log() {
        let list = [voter(2), voter(3)];
        let scene = Scene::leaver(3).data(data.clone()).listing(&list).silent(1);
        same(scene.watch(), "complete terminate of 1: left");
        same(scene.by_hand(), "rest: left");
        // Nor where there is no cluster yet.
        let alone = Scene::group(3).state(1, "Terminating:Wait").data(data).silent(2).silent(3).hooks(both_hooks());
        same(alone.watch(), "complete terminate of 1: left");
    }
}

#[test]
fn t12_the_last_voter_stays_listed_where_the_group_is_to_be_empty() {
    same(Scene::leaver(1).desired(0).watch(), "complete terminate of 1: last-member");
    same(Scene::leaver(1).desired(0).by_hand(), "rest: last-member");
    same(Scene::leaver(1).desired(0).state(1, "Terminating").watch(), "wait: last-member");
    // 3 to 0: the others go in their turn first.
    same(Scene::leaver(3).desired(0).led_by(2).watch(), "remove 1: leaves");
    same(Scene::leaver(2).desired(0).led_by(2).watch(), "remove 1: leaves");
    // A learner beside it is no voter.
    let with_learner = Scene::leaver(1).desired(0).listing(&[voter(1), learner(2)]).led_by(1);
    same(with_learner.watch(), "complete terminate of 1: last-member");
    // What cannot wait does not.
    same(Scene::leaver(1).spot("terminate").watch(), "complete terminate of 1: last-member");
}

#[test]
fn t25_a_group_of_one_waits_for_its_replacement() {
    let one = Scene::leaver(1);
    same(one.watch(), "keep terminate of 1: too-few-to-leave");
    same(one.clone().passes(200, 30).watch(), "keep terminate of 1: too-few-to-leave");
    same(one.by_hand(), "wait: too-few-to-leave");
    // It comes: as a learner, then as a voter.
    let two = |list: &[Member]| Scene::leaver(2).desired(1).listing(list).led_by(1);
    same(two(&[voter(1), learner(2)]).watch(), "keep terminate of 1: too-few-to-leave");
    same(two(&[voter(1), voter(2)]).watch(), "move to 2: leaves");
    same(two(&[voter(1), voter(2)]).led_by(2).watch(), "remove 1: leaves");
}

#[test]
fn f72_without_a_confirmed_list_nobody_leaves() {
    let lost = Scene::leaver(3).unconfirmed(BlindKind::Unreachable);
    same(lost.watch(), "keep terminate of 1: no-quorum");
    same(lost.clone().spot("terminate").passes(9, 10).watch(), "keep terminate of 1: no-quorum");
    same(lost.by_hand(), "wait: no-quorum");
    let none = Scene::leaver(3).silent(1).silent(2).silent(3);
    same(none.watch(), "keep terminate of 1: no-member-answers");
    // Only another cluster answers.
    let list = [voter(2), voter(3)];
    let other = (2..=3).fold(none, |s, n| s.member_of(crate::decide::OTHER, n, &list, Seen::Yes(list.to_vec())));
    same(other.watch(), "keep terminate of 1: no-member-answers");
}

#[test]
fn t23_what_a_person_must_end_is_not_kept_alive_and_ends_no_watch() {
    let denied = Scene::leaver(3).unconfirmed(BlindKind::Denied);
    same(denied.watch(), "wait: denied");
    same(denied.clone().passes(9, 60).watch(), "wait: denied");
    // A person who asks is told.
    same(denied.by_hand(), "refuse: denied");
    same(denied.state(1, "InService").target("InService").watch(), "wait: denied");
}

#[test]
fn t13_a_learner_leaves_at_once() {
    let list = |me: Member| [me, voter(2), voter(3), voter(4)];
    let mine = |me: Member| Scene::leaver(4).listing(&list(me)).led_by(2);
    same(mine(learner(1)).watch(), "remove 1: leaves");
    // Whatever the others are: two of three are out.
    same(mine(learner(1)).silent(4).watch(), "remove 1: leaves");
    same(mine(learner(1)).desired(9).watch(), "remove 1: leaves");
    // Turns are for voters.
    let list = [voter(2), voter(3), learner(7)];
    let later = Scene::group(7).me(7).data(log(7, true)).listing(&list).led_by(2).state(7, "Terminating:Wait");
    same(later.state(3, "Terminating:Wait").watch(), "remove 7: leaves");
}

#[test]
fn t13_one_that_was_added_and_never_started_leaves_by_its_address() {
    for data in without_log() {
        for me in [added(1), unstarted(1), founder(1)] {
            let scene = Scene::leaver(4).data(data.clone()).silent(1);
            let scene = scene.listing(&[me, voter(2), voter(3), voter(4)]).led_by(2);
            same(scene.watch(), "remove 1: leaves");
            same(scene.by_hand(), "remove 1: leaves");
        }
    }
    // A voter whose first seconds these are.
    same(Scene::leaver(4).led_by(2).watch(), "remove 1: leaves");
}

#[test]
fn f41_nobody_leaves_who_takes_the_quorum_with_it() {
    // 4 voters of which one other is silent: 2 of 3 would be left; with two silent 1 of 3.
    let four = || Scene::leaver(4).desired(1).led_by(2);
    same(four().silent(4).watch(), "remove 1: leaves");
    same(four().silent(4).silent(3).watch(), "keep terminate of 1: removal-costs-quorum");
    same(four().silent(4).silent(3).spot("terminate").watch(), "keep terminate of 1: removal-costs-quorum");
    // The leader is not moved for a leave that cannot be.
    same(four().silent(4).silent(3).led_by(1).watch(), "keep terminate of 1: removal-costs-quorum");
}

#[test]
fn f72_the_floor_is_a_quorum_of_the_desired_size() {
    let leaves = "remove 1: leaves";
    let waits = "keep terminate of 1: too-few-to-leave";
    for (voters, desired, expected) in [
        (3, 3, leaves),
        (2, 3, waits),
        (5, 3, leaves),
        (5, 5, leaves),
        (4, 5, leaves),
        (3, 5, waits),
        (4, 3, leaves),
        (3, 1, leaves),
        (2, 1, leaves),
        (2, 2, waits),
    ] {
        assert_eq!(Scene::leaver(voters).desired(desired).led_by(2).watch(), expected, "{voters} of {desired}");
    }
    // Those count that can be reached.
    same(Scene::leaver(4).desired(3).led_by(2).silent(4).watch(), leaves);
    same(Scene::leaver(3).desired(3).led_by(2).silent(3).watch(), waits);
    // One that EC2 ends already still answers.
    same(Scene::leaver(3).desired(3).led_by(2).known(3, "shutting-down").watch(), waits);
    same(Scene::leaver(4).desired(3).led_by(2).known(3, "shutting-down").watch(), leaves);
    // The desired size rises meanwhile.
    same(Scene::leaver(4).desired(7).led_by(2).watch(), waits);
    same(Scene::leaver(3).desired(5).led_by(2).by_hand(), "wait: too-few-to-leave");
}

#[test]
fn t11_a_spot_notice_knows_no_floor_and_no_turns() {
    let spot = |n| Scene::voters(n).led_by(2).desired(3).spot("terminate");
    same(spot(3).watch(), "remove 1: leaves");
    same(spot(2).watch(), "remove 1: leaves");
    same(spot(3).state(1, "Terminating:Wait").watch(), "remove 1: leaves");
    // The second of two: the first is on its way and answers.
    let second = Scene::voters(3).led_by(2).me(3).data(log(3, true)).member_of(
        crate::decide::OURS,
        1,
        &[voter(1), voter(2), voter(3)],
        Seen::Yes(vec![voter(1), voter(2), voter(3)]),
    );
    same(second.led_by(2).spot("terminate").state(1, "Terminating:Wait").watch(), "remove 3: leaves");
    let joining = spot(4).listing(&[voter(1), voter(2), voter(3), added(4)]).led_by(2);
    same(joining.watch(), "remove 1: leaves");
}

#[test]
fn f73_without_a_hook_of_ours_the_seconds_that_there_are_are_used() {
    let without = |n| Scene::leaver(n).desired(3).led_by(2).hooks(Vec::new());
    same(without(2).watch(), "remove 1: leaves");
    same(without(2).hooks_hidden().watch(), "keep terminate of 1: too-few-to-leave");
    same(without(3).silent(3).watch(), "wait: removal-costs-quorum");
    same(without(1).watch(), "wait: last-member");
}

#[test]
fn f72_leave_never_hands_over_completes_and_removes_nobody() {
    let never = |n| Scene::leaver(n).policy(|p| p.leave = Leave::Never);
    assert!(never(3).watch().starts_with("move to 3: "));
    same(never(3).led_by(2).watch(), "complete terminate of 1: hands-over");
    same(never(2).desired(3).led_by(2).watch(), "complete terminate of 1: hands-over");
    same(never(1).watch(), "complete terminate of 1: hands-over");
    same(never(3).led_by(2).state(1, "Terminating").passes(9, 60).watch(), "wait: hands-over");
    same(never(3).listing(&[learner(1), voter(2), voter(3)]).led_by(2).watch(), "complete terminate of 1: hands-over");
    let spot = Scene::voters(3).led_by(2).spot("terminate").policy(|p| p.leave = Leave::Never);
    same(spot.watch(), "wait: hands-over");
}

#[test]
fn t15_a_member_whose_etcd_was_stopped_by_hand_leaves_through_the_others() {
    for absence in [Absence::Refused, no_answer()] {
        let scene = Scene::leaver(3).absent(1, absence).led_by(2);
        same(scene.watch(), "remove 1: leaves");
        assert_eq!(scene.asked_to_remove(), Some(client(2).to_string()));
        same(scene.by_hand(), "remove 1: leaves");
    }
    // It leads no more, whatever the others say yet.
    same(Scene::leaver(3).absent(1, Absence::Refused).led_by(1).watch(), "remove 1: leaves");
}

#[test]
fn f110_a_removal_is_asked_of_one_voter_after_another() {
    let scene = Scene::leaver(4).led_by(2);
    let asked = |refusals| scene.clone().deeds(|deeds| deeds.refusals = refusals).asked_to_remove();
    let asked: Vec<_> = (0..4).map(asked).collect();
    assert_eq!(asked, [2, 3, 4, 2].map(|n| Some(client(n).to_string())));
}

#[test]
fn t26_heartbeats_come_every_third_of_the_timeout_within_bounds() {
    let every = |timeout: Option<u64>| {
        let scene = Scene::leaver(2).desired(3).led_by(2);
        let scene = match timeout {
            Some(timeout) => scene.hooks(vec![hook(TERMINATE, Transition::Terminating, timeout)]),
            None => scene.hooks_hidden(),
        };
        assert_eq!(scene.watch(), "keep terminate of 1: too-few-to-leave", "the first at once");
        let at = scene.o.taken_at;
        let scene = scene.deeds(|deeds| deeds.heartbeat = Some(at));
        let due = |after: &u64| scene.clone().again(*after).watch().starts_with("keep");
        let first = (1..=400).find(due).expect("within the bounds");
        assert_eq!(scene.clone().again(first - 1).watch(), "wait: too-few-to-leave");
        first
    };
    assert_eq!(every(Some(120)), 40);
    assert_eq!(every(Some(30)), 10);
    assert_eq!(every(Some(60)), 20);
    assert_eq!(every(Some(15)), 10);
    assert_eq!(every(Some(900)), 300);
    assert_eq!(every(Some(7200)), 300);
    assert_eq!(every(None), 20);
    // Where nothing waits for a hook, nothing is kept.
    same(Scene::leaver(2).desired(3).led_by(2).state(1, "Terminating").watch(), "wait: too-few-to-leave");
    same(Scene::leaver(2).desired(3).led_by(2).state(1, "Terminating:Retained").watch(), "wait: too-few-to-leave");
}

#[test]
fn f33_a_removal_rests_on_a_fresh_reply() {
    let stale = |mut scene: Scene| {
        scene.o.asked_aws = false;
        scene
    };
    same(stale(Scene::leaver(3).led_by(2)).watch(), "wait: fresh-reply-needed");
    same(stale(Scene::leaver(3).led_by(2)).by_hand(), "wait: fresh-reply-needed");
    let dead = Scene::voters(3).known(3, "terminated").silent(3).again(60);
    same(dead.watch(), "remove 3: proven-dead");
    same(stale(dead).watch(), "wait: fresh-reply-needed");
}

#[test]
fn f72_by_hand_the_rows_are_the_same_and_no_hook_is_touched() {
    same(Scene::voters(3).led_by(2).by_hand(), "remove 1: leaves");
    same(Scene::voters(3).by_hand(), "move to 3: leaves");
    same(Scene::voters(2).desired(3).led_by(2).by_hand(), "wait: too-few-to-leave");
    same(removed(3).silent(1).by_hand(), "rest: left");
    same(Scene::leaver(3).silent(2).silent(3).silent(1).by_hand(), "wait: no-member-answers");
    // A detached instance is in nobody's list any more, and may go.
    let detached = Scene::voters(4).led_by(2).target("Detached").asg(|g| drop(g.instances.remove(&id(1))));
    same(detached.by_hand(), "remove 1: leaves");
}
