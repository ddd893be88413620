//! Who goes first of several, whom a leaver lets in, and who leads after it.

use etcd_bootstrap::model::{BlindKind, Member, MemberId, Seen};

use super::{Scene, blind, id, same};
use crate::decide::{added, founder, learner, log, named, unstarted, voter};

const LEAVES: &str = "remove 3: leaves";
const WAITS: &str = "keep terminate of 3: other-leaving";

/// Node 3 of five, led by 5, waits for its hook.
fn third() -> Scene {
    let list: Vec<Member> = (1..=5).map(voter).collect();
    let scene = Scene::voters(5).me(3).data(log(3, true)).listing(&list).led_by(5);
    scene.state(3, "Terminating:Wait").target("Terminated").desired(3)
}

#[test]
fn t10_two_leave_at_once_and_take_turns() {
    same(third().watch(), LEAVES);
    for state in ["Terminating", "Terminating:Wait", "Terminating:Proceed", "Terminating:Retained"] {
        same(third().state(1, state).watch(), WAITS);
        // The higher id lets the lower go first, not the other way round.
        same(third().state(4, state).watch(), LEAVES);
    }
    // One that is silent goes nowhere.
    same(third().state(1, "Terminating:Wait").silent(1).watch(), LEAVES);
    // Nor does one that is not on the list.
    let gone: Vec<Member> = (2..=5).map(voter).collect();
    same(third().listing(&gone).led_by(5).state(1, "Terminating:Wait").watch(), LEAVES);
    for state in ["Standby", "Pending:Wait", "Warmed:Stopped", "ReplacingRootVolume:Wait", "Quarantined"] {
        same(third().state(1, state).watch(), LEAVES);
    }
}

#[test]
fn t10_a_turn_that_is_not_taken_ends_after_a_minute() {
    let waiting = third().state(1, "Terminating:Wait");
    same(waiting.clone().again(59).watch(), WAITS);
    same(waiting.clone().again(60).watch(), LEAVES);
    same(waiting.clone().again(30).again(30).watch(), LEAVES);
    // A minute of waiting, not of the other's leaving.
    let before = third().state(3, "InService").target("InService").state(1, "Terminating:Wait").passes(20, 30);
    same(before.watch(), "wait: watching");
    let begins = before.state(3, "Terminating:Wait").target("Terminated");
    same(begins.watch(), WAITS);
    same(begins.clone().again(59).watch(), WAITS);
    same(begins.again(1).again(60).watch(), LEAVES);
    // Another one after it has a minute of its own.
    let two = waiting.again(60).silent(1).state(2, "Terminating:Wait");
    same(two.watch(), WAITS);
}

#[test]
fn t09_one_that_joins_is_waited_for_a_minute() {
    let joining = |new: Member| {
        let list: Vec<Member> = (1..=5).map(voter).chain([new]).collect();
        let scene = third().instance(6, "Pending:Wait", "running").listing(&list).led_by(5);
        scene.state(3, "Terminating:Wait").target("Terminated")
    };
    for (new, reason) in [
        (learner(6), "learner-not-promoted"),
        (added(6), "other-joining"),
        (unstarted(6), "other-joining"),
        (founder(6), "other-joining"),
    ] {
        let waits = format!("keep terminate of 3: {reason}");
        let named = !new.name.is_empty();
        let scene = joining(new);
        same(scene.watch(), &waits);
        same(scene.clone().again(59).watch(), &waits);
        same(scene.clone().again(60).watch(), LEAVES);
        // It may have been at it for long: this node has not waited for it yet.
        let before = scene.clone().state(3, "InService").target("InService").passes(20, 30);
        same(before.clone().state(3, "Terminating:Wait").watch(), &waits);
        same(before.state(3, "Terminating:Wait").again(1).again(58).watch(), &waits);
        // One that is gone, or leaves as well, is not waited for.
        same(scene.clone().known(6, "shutting-down").silent(6).watch(), LEAVES);
        if named {
            same(scene.clone().state(6, "Terminating:Wait").watch(), LEAVES);
        }
        // Not by what cannot wait.
        same(scene.spot("terminate").watch(), LEAVES);
    }
}

#[test]
fn t09_patience_ends_though_aws_does_not_show_this_node() {
    let list: Vec<Member> = (1..=5).map(voter).chain([learner(6)]).collect();
    let scene = third().instance(6, "Pending:Wait", "running").listing(&list).led_by(5).state(3, "Terminating:Wait");
    let mut blinded = scene.clone();
    blinded.o.ec2 = Seen::No(blind(BlindKind::Denied));
    same(blinded.watch(), "keep terminate of 3: learner-not-promoted");
    same(blinded.again(60).watch(), LEAVES);
    let detached = scene.target("Detached").asg(|g| drop(g.instances.remove(&id(3))));
    same(detached.by_hand(), "wait: learner-not-promoted");
    same(detached.again(60).by_hand(), LEAVES);
}

#[test]
fn t08_the_leadership_goes_to_the_latest_launched_that_stays() {
    // 5 leads and goes; 2 is the youngest.
    let leader = || third().me(5).data(log(5, true)).member_of_all(5).led_by(5).state(3, "InService");
    let leader = || leader().state(5, "Terminating:Wait");
    let launched = || leader().launched(1, 10).launched(2, 90).launched(3, 80).launched(4, 70);
    same(launched().watch(), "move to 2: leaves");
    // Where the old go first, all that are in service may go next; the replacement is held back by its hook yet.
    same(launched().state(2, "Pending:Wait").watch(), "move to 2: leaves");
    // Never to one that leaves next, nor to one that is taken aside, while another is there.
    for state in ["Terminating", "Terminating:Wait", "Terminating:Retained", "Standby", "Detaching"] {
        let waits = state.starts_with("Terminating").then(|| launched().state(2, state).again(60));
        let scene = waits.unwrap_or_else(|| launched().state(2, state));
        assert_eq!(scene.watch(), "move to 3: leaves", "{state}");
    }
    // Who stays is better than who leaves, in service or not.
    let all_leave = |s: Scene| [1, 2, 3].into_iter().fold(s, |s, n| s.state(n, "Terminating:Wait"));
    let all_leave = |s: Scene| all_leave(s).spot("terminate");
    same(all_leave(launched()).state(4, "Standby").watch(), "move to 4: leaves");
    same(all_leave(launched()).state(4, "Terminating:Wait").watch(), "move to 2: leaves");
    // Who does not answer, has no vote, or no quorum, cannot lead.
    same(launched().silent(2).watch(), "move to 3: leaves");
    same(
        launched().client(2, |v| v.quorum_list = Seen::No(blind(BlindKind::Unreachable))).watch(),
        "move to 3: leaves",
    );
    let list = [voter(1), learner(2), voter(3), voter(4), voter(5)];
    same(launched().listing(&list).led_by(5).launched(3, 80).again(60).watch(), "move to 3: leaves");
    // One of which EC2 does not say when it was launched comes after the others, and one without an instance last.
    let untold = launched().ec2(|ec2| ec2.found.get_mut(&id(2)).expect("it is known").launched = None);
    same(untold.watch(), "move to 3: leaves");
    let list = [voter(1), named("etcd-2", voter(2)), voter(3), voter(4), voter(5)];
    same(launched().listing(&list).led_by(5).watch(), "move to 3: leaves");
}

#[test]
fn t08_a_leader_that_cannot_hand_over_goes_without() {
    let leader = || Scene::leaver(3);
    for refusals in 0..3 {
        same(leader().deeds(|deeds| deeds.refusals = refusals).watch(), "move to 3: leaves");
    }
    same(leader().deeds(|deeds| deeds.refusals = 3).watch(), "remove 1: leaves");
    // Nor does the one that is asked to hand over for a while insist.
    let away = || Scene::voters(3).state(1, "ReplacingRootVolume:Wait");
    same(away().watch(), "move to 3: hands-over");
    same(away().deeds(|deeds| deeds.refusals = 3).watch(), "complete terminate of 1: hands-over");
}

#[test]
fn t10_the_next_leaves_only_where_the_first_has_left_enough() {
    // Both of three are told to go; no replacement has come yet.
    let second = |list: &[Member]| {
        let scene = Scene::voters(3).me(3).data(log(3, true)).listing(list).led_by(2);
        scene.state(1, "Terminating:Wait").state(3, "Terminating:Wait")
    };
    same(second(&[voter(1), voter(2), voter(3)]).watch(), WAITS);
    same(second(&[voter(2), voter(3)]).watch(), "keep terminate of 3: too-few-to-leave");
    same(second(&[voter(2), voter(3), voter(4)]).known(4, "running").member_of_all(4).led_by(2).watch(), LEAVES);
}

impl Scene {
    /// Node n answers as all others do.
    fn member_of_all(self, n: u64) -> Self {
        let list = self.o.probes.iter().find_map(|probe| match &probe.client {
            Some(Ok(view)) => view.quorum_list.ok().cloned(),
            Some(Err(_)) | None => None,
        });
        let list = list.expect("somebody serves");
        assert!(list.iter().any(|m| m.id == MemberId(n)));
        self.member_of(crate::decide::OURS, n, &list, Seen::Yes(list.clone()))
    }
}
