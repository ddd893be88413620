//! The dead are removed though nobody joins, each by one of those that stay; and nobody holds the group up.

use std::time::Duration;

use etcd_bootstrap::decide::LEAVING_GRACE;
use etcd_bootstrap::model::{Member, OwnData, Proof, Prune, Reason, Seen, Transition};

use super::{Scene, hook, id, same};
use crate::decide::scene::Learning;
use crate::decide::{OURS, added, dead, learner, log, peer, unstarted, unusable, voter};

const PRUNES: &str = "remove 5: proven-dead";
const WAITS: &str = "wait: proven-dead";

/// Node n of five watches, the last of whom EC2 calls terminated.
fn nth(n: u64) -> Scene {
    let list: Vec<Member> = (1..=5).map(voter).collect();
    let scene = Scene::voters(5).me(n).data(log(n, true)).listing(&list).led_by(2);
    scene.known(5, "terminated").asg(|g| drop(g.instances.remove(&id(5)))).silent(5)
}

#[test]
fn f74_the_dead_are_removed_by_one_after_another_of_those_that_stay() {
    same(nth(1).watch(), PRUNES);
    for n in 2..=4 {
        let turn = 5 * (n - 1);
        assert_eq!(nth(n).watch(), WAITS);
        assert_eq!(nth(n).again(turn - 1).watch(), WAITS, "{n}");
        assert_eq!(nth(n).again(turn).watch(), PRUNES, "{n}");
    }
    // Who leaves, does not answer, or has no vote, has no turn.
    same(nth(2).state(1, "Terminating:Wait").watch(), PRUNES);
    same(nth(2).silent(1).watch(), PRUNES);
    let list = [learner(1), voter(2), voter(3), voter(4), voter(5)];
    same(nth(2).listing(&list).led_by(2).silent(5).watch(), PRUNES);
    let asked = nth(1).asked_to_remove().expect("it is removed");
    assert!(!asked.contains("10.0.0.5:"), "{asked}");
}

/// EC2's word is enough for its ports not to be asked any more.
#[test]
fn f74_a_turn_comes_for_a_dead_member_that_nobody_asks() {
    let unasked = |n| {
        let mut scene = nth(n);
        scene.o.probes.retain(|probe| probe.asked != peer(5));
        scene
    };
    same(unasked(1).watch(), PRUNES);
    same(unasked(3).again(9).watch(), WAITS);
    same(unasked(3).again(10).watch(), PRUNES);
    same(unasked(3).again(5).again(5).watch(), PRUNES);
}

#[test]
fn f74_only_a_published_voter_that_is_in_service_removes_anybody() {
    for state in ["InService", "Pending", "Pending:Wait", "Pending:Proceed"] {
        same(nth(1).state(1, state).watch(), PRUNES);
    }
    for state in ["Standby", "EnteringStandby", "Detaching", "Detached", "Quarantined"] {
        same(nth(1).state(1, state).again(60).watch(), "wait: aside");
    }
    let list = |me: Member| [me, voter(2), voter(3), voter(4), voter(5)];
    let mine = |me: Member| nth(1).listing(&list(me)).led_by(2).silent(5).again(60);
    same(mine(learner(1)).watch(), "wait: not-serving");
    same(mine(unstarted(1)).watch(), "wait: not-serving");
    for data in [OwnData::Empty, OwnData::NoLog, OwnData::Unreadable { why: "no".into() }] {
        same(nth(1).data(data).again(60).watch(), "wait: not-serving");
    }
    let stranger = nth(1).listing(&[voter(2), voter(3), voter(4), voter(5)]).led_by(2).silent(5).again(60);
    same(stranger.watch(), "wait: not-serving");
    same(nth(1).policy(|p| p.prune = Prune::Never).again(60).watch(), "wait: watching");
    same(nth(1).unconfirmed(etcd_bootstrap::model::BlindKind::Unreachable).again(60).watch(), "wait: no-quorum");
    // Who leaves has other things to do.
    same(nth(1).state(1, "Terminating:Wait").watch(), "remove 1: leaves");
}

#[test]
fn f41_a_removal_by_a_watch_leaves_a_quorum() {
    same(nth(1).silent(4).watch(), PRUNES);
    same(nth(1).silent(4).silent(3).watch(), "wait: removal-costs-quorum");
}

#[test]
fn f13_nobody_is_removed_while_another_starts_with_the_list_as_it_is() {
    for new in [unstarted(6), added(6), Member { client_urls: Vec::new(), ..voter(6) }] {
        let list: Vec<Member> = (1..=5).map(voter).chain([new]).collect();
        let joining = nth(1).instance(6, "Pending:Wait", "running").listing(&list).led_by(2).silent(5);
        same(joining.watch(), "wait: other-joining");
        same(joining.clone().again(59).watch(), "wait: other-joining");
        same(joining.clone().again(60).watch(), PRUNES);
        // One that is dead itself is no reason to wait.
        let both = joining.known(6, "shutting-down").asg(|g| drop(g.instances.remove(&id(6)))).silent(6);
        assert!(both.watch().ends_with(": proven-dead"), "{}", both.watch());
    }
    // A learner that runs has counted already.
    let list: Vec<Member> = (1..=5).map(voter).chain([learner(6)]).collect();
    same(nth(1).instance(6, "Pending:Wait", "running").listing(&list).led_by(2).silent(5).watch(), PRUNES);
}

/// Node 3 hangs, and its group waits for it: this node has found it silent once.
fn hung() -> Scene {
    Scene::voters(3).led_by(2).state(3, "Terminating:Wait").silent(3)
}

fn leaving(seconds: u64) -> Reason {
    dead(&voter(3), Proof::Leaving { instance: id(3), silent_for: Duration::from_secs(seconds) })
}

#[test]
fn t06_a_leaver_that_hangs_is_dead_after_thirty_seconds_of_silence_and_two_reads() {
    assert_eq!(LEAVING_GRACE, Duration::from_secs(30));
    same(hung().watch(), "wait: watching");
    same(hung().again(29).watch(), "wait: watching");
    same(hung().later(30).watch(), "wait: watching");
    let proven = hung().again(30);
    same(proven.watch(), "remove 3: proven-dead");
    assert_eq!(etcd_bootstrap::decide::watch(&proven.o, &proven.p).reason, leaving(30));
    for state in ["Terminating", "Terminating:Proceed", "Terminating:Retained"] {
        same(hung().state(3, state).again(30).watch(), "remove 3: proven-dead");
    }
    // A word in between, of either port, begins the count anew.
    let list: Vec<Member> = (1..=3).map(voter).collect();
    let heard = hung().again(20).listing(&list).led_by(2).again(5).silent(3).again(20);
    same(heard.watch(), "wait: watching");
    same(heard.again(30).watch(), "remove 3: proven-dead");
}

#[test]
fn t06_only_a_leaver_that_is_silent_is_dead() {
    for state in [
        "ReplacingRootVolume",
        "ReplacingRootVolume:Wait",
        "Standby",
        "Detaching",
        "InService",
        "Warmed:Stopped",
        "New",
    ] {
        assert_eq!(hung().state(3, state).passes(9, 60).watch(), "wait: watching", "{state}");
    }
    for ec2 in ["stopped", "stopping"] {
        same(hung().state(3, "InService").known(3, ec2).passes(9, 60).watch(), "wait: watching");
    }
    for absence in unusable() {
        assert_eq!(hung().absent(3, absence.clone()).passes(9, 60).watch(), "wait: watching", "{absence:?}");
    }
    // It leaves by itself.
    let answers = Scene::voters(3).led_by(2).state(3, "Terminating:Wait").passes(9, 60);
    same(answers.watch(), "wait: watching");
    // Its client port answers; or nobody has asked it.
    let mut client_port = hung();
    let view = Scene::voters(3).o.probes.into_iter().find(|probe| probe.instance == Some(id(3))).expect("it was asked");
    for probe in &mut client_port.o.probes {
        if probe.instance == Some(id(3)) {
            probe.client.clone_from(&view.client);
        }
    }
    same(client_port.passes(9, 60).watch(), "wait: watching");
    let mut not_asked = hung();
    not_asked.o.probes.retain(|probe| probe.instance != Some(id(3)));
    same(not_asked.passes(9, 60).watch(), "wait: watching");
}

#[test]
fn t06_its_replacement_removes_it_too() {
    // This node replaces 4, which hangs.
    let scene = || Scene::replacing(voter(4)).instance(4, "Terminating:Wait", "running").silent(4).desired(3);
    scene().again(29).adds(Learning);
    let proof = Proof::Leaving { instance: id(4), silent_for: Duration::from_secs(30) };
    scene().again(30).removes(4, dead(&voter(4), proof));
    scene().state(4, "ReplacingRootVolume:Wait").again(3600).adds(Learning);
    scene().state(4, "Standby").again(3600).adds(Learning);
}

/// Node 3 is off the list, and its group waits for it.
fn held_up() -> Scene {
    let list = [voter(1), voter(2)];
    Scene::voters(3).listing(&list).led_by(2).state(3, "Terminating:Wait").silent(3)
}

const COMPLETES: &str = "complete terminate of 3: leaver-gone";

#[test]
fn t21_f73_the_hook_of_a_dead_peer_is_completed() {
    // EC2 has terminated it first, by a person's word.
    for state in ["shutting-down", "terminated"] {
        let gone = held_up().known(3, state).silent(3);
        same(gone.watch(), COMPLETES);
        let completed = gone.clone().completed(3);
        same(completed.watch(), "wait: watching");
        let unnamed = gone.clone().hooks(vec![hook("theirs", Transition::Terminating, 60)]);
        same(unnamed.watch(), "wait: watching");
        let mut unprobed = gone;
        unprobed.o.probes.retain(|probe| probe.instance != Some(id(3)));
        same(unprobed.watch(), COMPLETES);
        // Removed or not: what is pruned never is not held up.
        let kept = held_up().known(3, state).policy(|p| p.prune = Prune::Never).silent(3);
        same(kept.watch(), COMPLETES);
    }
    // It hangs.
    same(held_up().watch(), "wait: watching");
    same(held_up().again(29).watch(), "wait: watching");
    same(held_up().later(30).watch(), "wait: watching");
    same(held_up().again(30).watch(), COMPLETES);
    same(held_up().hooks_hidden().again(30).watch(), COMPLETES);
}

#[test]
fn t21_the_second_of_those_that_stay_completes_it_five_seconds_later() {
    let second = || held_up().me(2).data(log(2, true)).listing(&[voter(1), voter(2)]).led_by(2).known(3, "terminated");
    let second = || second().silent(3);
    same(second().watch(), "wait: watching");
    same(second().again(4).watch(), "wait: watching");
    same(second().again(5).watch(), COMPLETES);
}

#[test]
fn t21_nobody_completes_the_hook_of_one_that_may_do_so_itself() {
    let list = [voter(1), voter(2)];
    let answering = held_up().member_of(OURS, 3, &list, Seen::Yes(list.to_vec()));
    same(answering.passes(9, 60).watch(), "wait: watching");
    for absence in unusable() {
        same(held_up().absent(3, absence).passes(9, 60).watch(), "wait: watching");
    }
    for state in
        ["Terminating", "Terminating:Proceed", "Pending:Wait", "ReplacingRootVolume:Wait", "Warmed:Pending:Wait"]
    {
        assert_eq!(held_up().state(3, state).passes(9, 60).watch(), "wait: watching", "{state}");
    }
    // One that is still listed is removed first.
    same(hung().known(3, "terminated").silent(3).watch(), "remove 3: proven-dead");
    same(hung().again(30).watch(), "remove 3: proven-dead");
    let kept = hung().policy(|p| p.prune = Prune::Never);
    same(kept.clone().again(60).watch(), "wait: watching");
    same(kept.known(3, "terminated").silent(3).watch(), "wait: watching");
    // Nor by one that is no voter in service.
    same(held_up().known(3, "terminated").silent(3).state(1, "Standby").watch(), "wait: aside");
}
