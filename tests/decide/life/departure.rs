//! Which words of AWS make a member leave, hand over, or stay.

use etcd_bootstrap::model::{Action, BlindKind, Notices, Seen};

use super::{Scene, blind, id, same};

const GOES: &str = "remove 1: leaves";
const HANDS_OVER: &str = "move to 2: hands-over";

/// Node 2 leads, so that a leave is the removal itself.
fn follower() -> Scene {
    Scene::voters(3).led_by(2)
}

fn leader() -> Scene {
    Scene::voters(3).state(3, "Standby")
}

#[test]
fn f72_who_goes_for_good_leaves_by_either_word() {
    for state in [
        "Terminating",
        "Terminating:Wait",
        "Terminating:Proceed",
        "Terminating:Retained",
        "Terminated",
        "Warmed:Pending",
        "Warmed:Pending:Wait",
        "Warmed:Pending:Proceed",
        "Warmed:Running",
        "Warmed:Stopped",
        "Warmed:Hibernated",
        "Warmed:Terminating",
        "Warmed:Terminating:Wait",
        "Warmed:Terminated",
    ] {
        assert_eq!(follower().state(1, state).watch(), GOES, "{state}");
        assert_eq!(leader().state(1, state).watch(), "move to 2: leaves", "{state}");
    }
    // The metadata are ahead of the group.
    for target in ["Terminated", "Warmed:Stopped", "Warmed:Running", "Warmed:Hibernated", "Warmed:Terminated"] {
        assert_eq!(follower().target(target).watch(), GOES, "{target}");
    }
    // A group that answers and does not list this instance any more, or EC2 down, changes nothing of it.
    same(follower().target("Terminated").asg(|g| drop(g.instances.remove(&id(1)))).watch(), GOES);
    let mut blinded = follower().state(1, "Terminating:Wait");
    blinded.o.ec2 = Seen::No(blind(BlindKind::Throttled));
    same(blinded.watch(), GOES);
}

#[test]
fn t19_f40_f43_who_is_set_aside_or_of_whom_nothing_is_known_changes_nothing() {
    for state in [
        "Standby",
        "EnteringStandby",
        "Detached",
        "Detaching",
        "Quarantined",
        "Terminable",
        "Termination-Protected",
        "",
    ] {
        for scene in [leader(), follower(), follower().known(3, "terminated")] {
            let scene = scene.state(1, state).passes(4, 60);
            assert_eq!(scene.watch(), "wait: aside", "{state:?}");
        }
    }
    for target in ["Standby", "Detached"] {
        for scene in [leader(), follower(), follower().known(3, "terminated").passes(4, 60)] {
            assert_eq!(scene.target(target).watch(), "wait: aside", "{target}");
        }
        // A detached instance is in no group's list any more.
        let detached = follower().target(target).asg(|g| drop(g.instances.remove(&id(1))));
        assert_eq!(detached.watch(), "wait: aside", "{target}");
    }
    for target in ["InService", "Quarantined"] {
        assert_eq!(leader().state(3, "InService").target(target).passes(4, 60).watch(), "wait: watching", "{target}");
    }
}

#[test]
fn t19_f40_who_cannot_see_changes_nothing() {
    let dead = || follower().known(3, "terminated").silent(3).passes(4, 60);
    same(dead().watch(), "remove 3: proven-dead");
    let mut no_metadata = dead();
    no_metadata.o.me = Seen::No(blind(BlindKind::Unreachable));
    same(no_metadata.watch(), "wait: metadata-blind");
    same(dead().asg(|g| drop(g.instances.remove(&id(1)))).watch(), "wait: not-in-group");
    same(dead().ec2(|ec2| drop(ec2.found.remove(&id(1)))).watch(), "wait: not-in-group");
    same(dead().cloud_down().watch(), "wait: group-blind");
    same(leader().cloud_down().watch(), "wait: group-blind");
    // Of a stop, a reboot, or `systemctl stop etcd` nobody tells, and what EC2 says of this node is no word of its group.
    for state in ["stopping", "stopped", "shutting-down"] {
        same(leader().state(3, "InService").known(1, state).silent(1).watch(), "wait: watching");
    }
    // A metadata error is no signal.
    let mut deaf = leader().state(3, "InService");
    deaf.o.notices = Seen::No(blind(BlindKind::Unreachable));
    same(deaf.watch(), "wait: watching");
}

#[test]
fn f74_a_spot_notice_is_answered_as_its_action_says() {
    same(follower().spot("terminate").watch(), GOES);
    same(leader().spot("terminate").watch(), "move to 2: leaves");
    for action in ["stop", "hibernate", "something-new"] {
        same(leader().spot(action).watch(), HANDS_OVER);
        // Never removed, however long it takes.
        same(follower().spot(action).passes(9, 60).watch(), "wait: hands-over");
        // What is certain goes before.
        same(follower().spot(action).state(1, "Terminating:Wait").watch(), GOES);
        same(follower().spot(action).target("Terminated").watch(), GOES);
    }
    let mut told = leader().state(3, "InService");
    told.o.notices = Seen::Yes(Notices { spot: None, rebalance: true, maintenance: true });
    same(told.watch(), "wait: watching");
}

#[test]
fn t27_a_root_volume_that_is_replaced_takes_no_member_with_it() {
    for state in ["ReplacingRootVolume", "ReplacingRootVolume:Wait", "ReplacingRootVolume:Proceed"] {
        assert_eq!(leader().state(1, state).watch(), HANDS_OVER, "{state}");
    }
    let waiting = follower().state(1, "ReplacingRootVolume:Wait");
    same(waiting.watch(), "complete terminate of 1: hands-over");
    // Alone, or without a quorum, it has nobody to hand over to, and its hook does not wait for that.
    same(Scene::voters(1).state(1, "ReplacingRootVolume:Wait").watch(), "complete terminate of 1: hands-over");
    let lost = leader().unconfirmed(BlindKind::Unreachable).state(1, "ReplacingRootVolume:Wait");
    same(lost.watch(), "complete terminate of 1: hands-over");
    same(follower().state(1, "ReplacingRootVolume").passes(9, 60).watch(), "wait: hands-over");
    let completed = waiting.completed(1);
    same(completed.watch(), "wait: hands-over");
}

#[test]
fn t17_f73_the_hook_of_the_warm_pool_is_completed_for_an_instance_that_was_no_member() {
    for data in super::without_log() {
        let warm = |state| Scene::voters(3).data(data.clone()).silent(1).state(1, state).target("Warmed:Stopped");
        same(warm("Warmed:Pending:Wait").watch(), "complete launch of 1: warm-pool");
        same(warm("Warmed:Pending").watch(), "wait: warm-pool");
        same(warm("Warmed:Pending:Proceed").watch(), "wait: warm-pool");
        same(warm("Warmed:Running").watch(), "wait: warm-pool");
        let completed = warm("Warmed:Pending:Wait").completed(1);
        same(completed.watch(), "wait: warm-pool");
        // Out of the pool by way of the other hook.
        same(warm("Warmed:Terminating:Wait").watch(), "complete terminate of 1: warm-pool");
    }
}

#[test]
fn t18_a_member_that_goes_back_into_the_warm_pool_leaves_by_the_terminating_hook() {
    let scene = follower().state(1, "Warmed:Pending:Wait").target("Warmed:Stopped");
    same(scene.watch(), GOES);
    let gone = Scene::voters(3).listing(&[super::voter(2), super::voter(3)]).silent(1).state(1, "Warmed:Pending:Wait");
    same(gone.watch(), "mark 1: left");
    let mut marked = gone;
    let decided = etcd_bootstrap::decide::watch(&marked.o, &marked.p);
    let Action::Change(etcd_bootstrap::model::Change::MarkLeft(mark)) = decided.action else { panic!("{decided:?}") };
    marked.o.left = Some(mark);
    same(marked.watch(), "complete terminate of 1: left");
}

#[test]
fn t18_a_member_whose_group_takes_it_back_is_watched_again() {
    let back = Scene::voters(3).state(1, "InService").target("InService");
    same(back.watch(), "wait: watching");
}

#[test]
fn t13_a_launching_instance_is_not_asked_to_end_what_has_not_begun() {
    // Told to go, and the group still shows the launch: its terminating hook is not there yet.
    let gone = Scene::voters(3).listing(&[super::voter(2), super::voter(3)]).silent(1);
    let mut gone = gone.state(1, "Pending:Wait").target("Terminated");
    gone.o.left = Some(super::mark::of(1));
    same(gone.watch(), "wait: left");
    same(follower().spot("stop").state(1, "Pending:Wait").watch(), "wait: hands-over");
}
