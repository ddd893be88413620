//! What a consumer follows.

use etcd_bootstrap::decide::remember;
use etcd_bootstrap::model::{Absence, Action, BlindKind, MemberUrl, OwnData, PeerAnswer, Reason, Role, Scheme, Seen};

use super::scene::Scene;
use super::{OTHER, OURS, blind, founder, id, learner, log, unstarted, voter};

/// A consumer asks the client ports only.
pub fn consumer(scene: Scene) -> Scene {
    let mut scene = scene.policy(|p| p.role = Role::Consumer);
    for probe in &mut scene.o.probes {
        probe.asked = MemberUrl::new(Scheme::Http, probe.asked.host(), 2379);
        probe.peer = PeerAnswer::Absent(Absence::NotAsked);
    }
    scene
}

#[test]
fn f82_endpoints_are_the_published_voters_that_live() {
    consumer(Scene::cluster(3)).follows(2..=4);
    let list = [voter(2), voter(3), voter(4), learner(5), unstarted(6), founder(7)];
    consumer(Scene::group(5).serving(&list, 2..=4)).follows(2..=4);
    for state in ["shutting-down", "terminated"] {
        consumer(Scene::group(5).serving(&list, 2..=4).known(4, state)).follows(2..=3);
    }
    consumer(Scene::group(5).serving(&list, 2..=3).known(4, "stopped")).follows(2..=4);
}

#[test]
fn f81_a_consumer_waits_where_nobody_serves() {
    consumer(Scene::group(3).silent(2).silent(3)).waits(Reason::NoMemberAnswers { asked: 2 });
    let list = [voter(2), voter(3)];
    consumer(Scene::group(3).hesitant(BlindKind::Unreachable, &list, 2..=3)).waits("no-member-answers");
    consumer(Scene::group(3).hesitant(BlindKind::Denied, &list, 2..=3)).waits("denied");
    consumer(Scene::cluster(3)).cloud_down().waits("group-blind");
    let mut scene = consumer(Scene::cluster(3));
    scene.o.ec2 = Seen::No(blind(BlindKind::Throttled));
    scene.waits("ec2-blind");
}

#[test]
fn f82_a_consumer_is_never_given_an_empty_list() {
    let scene = consumer(Scene::group(2).serving(&[voter(2)], [2]).known(2, "shutting-down"));
    assert_eq!(scene.decide().action, Action::Wait, "{:?}", scene.decide());
}

#[test]
fn b26_f107_a_consumer_drops_only_whom_ec2_calls_gone() {
    // In no list of the named group: EC2 is asked before anything is said of them.
    let list = [voter(2), voter(3), voter(4)];
    let outside = consumer(Scene::group(2).serving(&list, [2]));
    outside.waits("second-read");
    let before = remember(&outside.o, &outside.p);
    assert!([2, 3, 4].iter().all(|n| before.member_instances.contains(&id(*n))), "{before:?}");
    for state in ["pending", "running", "stopping", "stopped"] {
        outside.clone().known(3, state).known(4, state).follows(2..=4);
    }
    // A reply that lacks them is no word on them.
    outside.clone().asked(3).asked(4).follows(2..=4);
    outside.clone().asked(3).known(4, "terminated").follows(2..=3);
}

#[test]
fn b26_f107_a_consumer_never_writes_less_than_a_quorum_of_endpoints() {
    let list = [voter(2), voter(3), voter(4)];
    let scene = consumer(Scene::group(4).serving(&list, 2..=4).known(3, "shutting-down").known(4, "shutting-down"));
    scene.waits(Reason::TooFewEndpoints { living: 1, voters: 3 });
}

#[test]
fn f10_a_consumer_refuses_two_clusters() {
    let scene = Scene::cluster(2).member_of(OTHER, 3, &[voter(3)], Seen::Yes(vec![voter(3)]));
    consumer(scene).refuses(Reason::TwoClusters { one: OURS, other: OTHER });
}

#[test]
fn f39_a_consumer_changes_nothing() {
    let list = [voter(1), voter(2), voter(3), voter(4)];
    let scenes = [
        Scene::founders(3),
        Scene::replacing(voter(4)).known(4, "terminated"),
        Scene::group(4).serving(&list, 2..=3).known(4, "terminated"),
        Scene::cluster(3).data(OwnData::NoLog),
        Scene::cluster(3).data(log(1, false)),
    ];
    for scene in scenes {
        let action = consumer(scene).decide().action;
        assert!(matches!(action, Action::Wait | Action::Follow { .. }), "{action:?}");
    }
}
