//! What holds of decisions in every kind of situation.

use etcd_bootstrap::decide::{decide, remember, statement};
use etcd_bootstrap::model::{Action, BlindKind, Decision, Member, Observation, Policy, Seen, Statement};

use super::consumer::consumer;
use super::random::world;
use super::scene::{Scene, each_list};
use super::{OTHER, OURS, founder, founders_text, id, log, said_by, unstarted, voter};

/// One of each kind of situation, for what holds in all of them.
fn assorted() -> Vec<Scene> {
    let list = [voter(1), voter(2), voter(3)];
    let forming: Vec<Member> = (1..=3).map(founder).collect();
    vec![
        Scene::founders(3),
        Scene::one_silent(5),
        Scene::founders(3).founding(2, 1..=2).founding(3, 1..=2),
        Scene::group(3).forming(OURS, &forming, 2..=3),
        Scene::cluster(3),
        Scene::cluster(2).member_of(OTHER, 3, &[voter(3)], Seen::Yes(vec![voter(3)])),
        Scene::replacing(voter(4)).known(4, "terminated"),
        Scene::replacing(voter(4)).asked(4).again(10),
        Scene::replacing(unstarted(4)).again(60),
        Scene::group(3).serving(&list, 2..=3),
        Scene::group(3).hesitant(BlindKind::Unreachable, &list, 2..=3),
        Scene::group(3).hesitant(BlindKind::Denied, &list, 2..=3),
        Scene::group(3).data(log(1, true)).serving(&list, 2..=3),
        Scene::group(3).data(log(1, false)).cloud_down(),
        Scene::group(3).data(log(1, true)).serving(&list[1..], 2..=3),
        consumer(Scene::cluster(3)),
        consumer(Scene::group(3).hesitant(BlindKind::Denied, &list, 2..=3)),
    ]
}

#[test]
fn the_order_of_probes_does_not_matter() {
    for mut scene in assorted() {
        let sorted = scene.decide();
        scene.o.probes.reverse();
        assert_eq!(scene.decide(), sorted);
    }
}

/// etcd sorts its list by ids, and an id says nothing of its member. The first of several obstacles is named, and the
/// first of several members of one name keeps it.
#[test]
fn the_order_of_member_lists_does_not_matter() {
    for mut scene in assorted().into_iter().chain((0..2000).map(world)) {
        let sorted = scene.decide();
        each_list(&mut scene.o, |list| list.reverse());
        let reversed = scene.decide();
        assert_eq!(nameless(reversed.action), nameless(sorted.action), "{:#?}", scene.o);
        assert_eq!(reversed.reason.code(), sorted.reason.code(), "{:#?}", scene.o);
    }
}

/// The action, without the names that its initial cluster has for the members.
fn nameless(mut action: Action) -> Action {
    if let Action::Start(start) = &mut action {
        start.initial_cluster.iter_mut().for_each(|(name, _)| name.clear());
        start.initial_cluster.sort();
    }
    action
}

#[test]
fn a_saved_observation_is_decided_alike() {
    for scene in assorted() {
        let (o, p) = saved(&scene.o, &scene.p);
        assert_eq!((&o, &p), (&scene.o, &scene.p));
        let reread: Decision = through_json(&decide(&o, &p));
        assert_eq!(reread, scene.decide());
    }
}

fn saved(o: &Observation, p: &Policy) -> (Observation, Policy) {
    (through_json(o), through_json(p))
}

fn through_json<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    let text = serde_json::to_string(value).expect("it is plain data");
    serde_json::from_str(&text).expect("it was written by the same model")
}

#[test]
fn f02_what_is_said_to_the_others_is_what_is_decided_on() {
    let said = statement(&Scene::founders(3).o, &Scene::founders(3).p);
    let expected = said_by(1, Some(founders_text(1..=3)));
    assert_eq!(said, Some(expected.clone()));
    let unsettled = Scene::founders(3).asg(|g| g.desired = 4);
    assert_eq!(statement(&unsettled.o, &unsettled.p), Some(Statement { founders: None, ..expected }));
    assert_eq!(statement(&Scene::founders(3).cloud_down().o, &unsettled.p), None);
}

#[test]
fn the_next_pass_asks_ec2_about_every_member_and_founder() {
    let scene = Scene::replacing(voter(4)).data(log(1, false));
    let asked = remember(&scene.o, &scene.p).member_instances;
    assert_eq!(asked, (1..=4).map(id).collect());
}
