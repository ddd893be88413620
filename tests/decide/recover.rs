//! Whether a person may give a cluster up: a row of the guard each, and what becomes of the data that is given up.

use std::collections::BTreeSet;

use etcd_bootstrap::decide::recover;
use etcd_bootstrap::model::{
    Absence, Action, BlindKind, Contents, GivenUp, Order, OwnData, Reason, Role, Seen, Statement,
};

use super::scene::Scene;
use super::{OTHER, OURS, blind, id, log, said_by, voter};

const NEW: etcd_bootstrap::model::ClusterId = OTHER;

/// Node 1 recovers a cluster of 1, 4 and 5 from a snapshot: 4 and 5 are terminated, 2 and 3 have taken their places and
/// wait.
fn lost() -> Scene {
    let scene = Scene::group(3).tag(OURS).known(4, "terminated").known(5, "terminated");
    (2..=3).fold(scene, |s, n| s.says(n, said_by(n, None)))
}

fn from_a_snapshot() -> Order {
    let contents = Contents { members: vec![voter(1), voter(4), voter(5)], ..Contents::default() };
    Order {
        gives_up: Some(GivenUp::Cluster(OURS)),
        despite: BTreeSet::new(),
        foreign: false,
        own: false,
        cluster: Some(OURS),
        contents,
    }
}

fn codes(scene: &Scene, order: &Order) -> Vec<&'static str> {
    recover(&scene.o, &scene.p, order).iter().map(Reason::code).collect()
}

fn stops(scene: &Scene, order: &Order, code: &str) {
    assert_eq!(codes(scene, order), [code]);
    for reason in recover(&scene.o, &scene.p, order) {
        assert_eq!(reason.exit() as u8, 78, "{reason}");
    }
}

#[test]
fn a_cluster_of_which_nothing_is_left_may_be_given_up() {
    assert_eq!(codes(&lost(), &from_a_snapshot()), [] as [&str; 0]);
    let own = Order { own: true, ..from_a_snapshot() };
    assert_eq!(codes(&lost().data(log(1, true)), &own), [] as [&str; 0]);
    // Its instances are forgotten by EC2 within the hour.
    let forgotten = Scene::group(3).tag(OURS).asked(4).asked(5);
    let forgotten = (2..=3).fold(forgotten, |s, n| s.says(n, said_by(n, None)));
    assert_eq!(codes(&forgotten, &from_a_snapshot()), [] as [&str; 0]);
}

#[test]
fn r16_who_lives_is_not_given_up() {
    let list = [voter(1), voter(4), voter(5)];
    let lives = lost().member_of(OURS, 2, &list, Seen::Yes(list.to_vec()));
    stops(&lives, &from_a_snapshot(), "cluster-lives");
    // Nor by another cluster's leader, nor where rights hide the list.
    let other = lost().member_of(OTHER, 2, &list, Seen::No(blind(BlindKind::Denied)));
    stops(&other, &from_a_snapshot(), "cluster-lives");
}

#[test]
fn r04_an_etcd_that_runs_without_a_leader_would_go_on_beside_it() {
    let list = [voter(1), voter(2), voter(3)];
    let survivor = lost().member_of(OURS, 2, &list, Seen::No(blind(BlindKind::Unreachable)));
    stops(&lost().forming(OURS, &[voter(3)], [3]), &from_a_snapshot(), "survivor-runs");
    // One that still reads its log, or whose TLS is another, may be one too.
    let unclear = [Absence::NotUnderstood("still reads its log".into()), Absence::Tls("no handshake".into())];
    let unclear = unclear.map(|absence| lost().absent(2, absence));
    for scene in [survivor].iter().chain(&unclear) {
        let vouched = Order { despite: ["i-00000002".to_owned()].into(), ..from_a_snapshot() };
        stops(scene, &from_a_snapshot(), "survivor-runs");
        stops(scene, &vouched, "survivor-runs");
    }
}

#[test]
fn r16_who_is_silent_and_not_proven_dead_has_to_be_vouched_for() {
    let cut_off = lost().silent(2);
    let stopped = lost().known(4, "stopped");
    let going = lost().known(4, "shutting-down");
    let detached = lost().known(4, "running");
    let unasked = Scene::group(3).tag(OURS).known(4, "terminated");
    let unasked = (2..=3).fold(unasked, |s, n| s.says(n, said_by(n, None)));
    for (scene, n) in [(cut_off, 2), (stopped, 4), (going, 4), (detached, 4), (unasked, 5)] {
        stops(&scene, &from_a_snapshot(), "unaccounted");
        let vouched = Order { despite: [id(n).to_string()].into(), ..from_a_snapshot() };
        assert_eq!(codes(&scene, &vouched), [] as [&str; 0], "{n}");
    }
    // A member that belongs to no instance, such as one on a plain machine.
    let mut order = from_a_snapshot();
    order.contents.members[2].name = "on-premises".into();
    order.contents.members[2].peer_urls = vec!["http://192.168.0.9:2380".parse().expect("a URL")];
    stops(&lost(), &order, "unaccounted");
    for name in ["on-premises".to_owned(), order.contents.members[2].id.to_string()] {
        order.despite = [name].into();
        assert_eq!(codes(&lost(), &order), [] as [&str; 0]);
    }
}

/// Between its agreement and its etcd's start a founder says that it has agreed, and has no data.
#[test]
fn s8_who_is_about_to_found_a_cluster_is_not_passed_over() {
    let founds = |agreed| lost().says(2, Statement { agreed: Some(agreed), ..said_by(2, None) });
    stops(&founds(OTHER), &from_a_snapshot(), "unaccounted");
    let vouched = Order { despite: [id(2).to_string()].into(), ..from_a_snapshot() };
    assert_eq!(codes(&founds(OTHER), &vouched), [] as [&str; 0]);
    assert_eq!(codes(&founds(OURS), &from_a_snapshot()), [] as [&str; 0], "what it once founded is given up");
}

#[test]
fn r01_of_two_who_recover_the_lower_one_goes_on() {
    let other = |n| lost().says(n, Statement { recovers: true, ..said_by(n, None) });
    stops(&other(2).me(3), &Order { despite: [id(1).to_string()].into(), ..from_a_snapshot() }, "other-recovers");
    assert_eq!(codes(&other(2), &from_a_snapshot()), [] as [&str; 0]);
}

#[test]
fn r16_nothing_is_given_up_blindly() {
    assert_eq!(codes(&lost().cloud_down(), &from_a_snapshot()), ["group-blind"]);
    let mut scene = lost();
    scene.o.ec2 = Seen::No(blind(BlindKind::Throttled));
    assert_eq!(codes(&scene, &from_a_snapshot()), ["ec2-blind"]);
    scene.o.me = Seen::No(blind(BlindKind::Unreachable));
    assert_eq!(codes(&scene, &from_a_snapshot()), ["metadata-blind"]);
}

#[test]
fn r15_what_is_given_up_is_what_the_tag_names_and_the_data_is_of() {
    stops(&lost().tag(OTHER), &Order { cluster: None, ..from_a_snapshot() }, "not-given-up");
    stops(&lost().untagged(), &from_a_snapshot(), "not-given-up");
    let nothing = Order { gives_up: Some(GivenUp::Nothing), cluster: None, ..from_a_snapshot() };
    stops(&lost(), &nothing, "not-given-up");
    assert_eq!(codes(&lost().untagged(), &nothing), [] as [&str; 0]);
    let foreign = Order { cluster: Some(OTHER), ..from_a_snapshot() };
    stops(&lost(), &foreign, "foreign-snapshot");
    assert_eq!(codes(&lost(), &Order { foreign: true, ..foreign }), [] as [&str; 0]);
    // What a recovery that did not end has given up, it had begun with.
    let again = Order { gives_up: Some(GivenUp::Cluster(OTHER)), own: true, ..from_a_snapshot() };
    let halfway = replaced(lost()).data(log(1, true));
    assert_eq!(codes(&halfway, &again), [] as [&str; 0]);
    stops(&lost().tag(OTHER).data(log(1, true)), &again, "foreign-snapshot");
    // A plan names nothing yet.
    assert_eq!(codes(&lost(), &Order { gives_up: None, ..from_a_snapshot() }), [] as [&str; 0]);
}

#[test]
fn own_data_is_taken_or_set_aside_by_order_only() {
    for data in [log(1, true), log(1, false), OwnData::NoLog, OwnData::Unreadable { why: "broken".into() }] {
        let scene = lost().data(data.clone());
        let found = codes(&scene, &from_a_snapshot());
        assert!(found == ["own-data-in-the-way"] || found == ["data-unreadable"], "{found:?}");
        let rejoin = scene.policy(|p| p.rejoin = true);
        assert_eq!(codes(&rejoin, &from_a_snapshot()), [] as [&str; 0], "{data:?}");
    }
    let own = Order { own: true, ..from_a_snapshot() };
    for data in [OwnData::Empty, OwnData::NoLog, OwnData::Unreadable { why: "broken".into() }] {
        let found = codes(&lost().policy(|p| p.rejoin = true).data(data.clone()), &own);
        assert!(found == ["recovery-unready"] || found == ["data-unreadable"], "{data:?}: {found:?}");
    }
}

#[test]
fn r05_writes_that_are_in_the_log_alone_are_not_lost() {
    let mut order = Order { own: true, ..from_a_snapshot() };
    order.contents.behind = 42;
    stops(&lost().data(log(1, true)), &order, "data-behind-log");
}

#[test]
fn r19_a_port_that_is_taken_stops_it() {
    let mut scene = lost();
    scene.o.port_trouble = Some("etcd's unit, most likely".into());
    stops(&scene, &from_a_snapshot(), "recovery-unready");
}

#[test]
fn r07_data_of_a_newer_etcd_is_not_begun_with() {
    let needs = |version: &str| {
        let mut order = from_a_snapshot();
        order.contents.storage_version = Some(version.to_owned());
        order
    };
    let scene = lost().etcd("3.6.16");
    stops(&scene, &needs("3.7.0"), "recovery-unready");
    for fits in ["3.6.0", "3.5.0", "not understood"] {
        assert_eq!(codes(&scene, &needs(fits)), [] as [&str; 0], "{fits}");
    }
    // It does not look.
    assert_eq!(codes(&lost().etcd("3.5.35"), &needs("3.7.0")), [] as [&str; 0]);
}

/// Another cluster was recovered from this one.
fn replaced(scene: Scene) -> Scene {
    scene.tag(NEW).asg(|g| g.replaced = vec![OURS])
}

#[test]
fn r04_data_that_was_given_up_makes_room_once_its_successor_has_a_quorum() {
    let list = [voter(2)];
    let scene = replaced(Scene::group(3).data(log(1, true)));
    let waits = Reason::ClusterReplaced { mine: OURS, by: NEW.to_string() };
    scene.waits(waits.clone());
    let led = |quorum| replaced(scene.clone().member_of(NEW, 2, &list, quorum));
    led(Seen::No(blind(BlindKind::Unreachable))).waits(waits);
    led(Seen::Yes(list.to_vec())).sets_aside(Reason::ReplacedByRecovery { mine: OURS, by: NEW });
    // Whoever else comes back of it changes nothing.
    let both = led(Seen::Yes(list.to_vec())).member_of(OURS, 3, &[voter(1), voter(3)], Seen::Yes(vec![voter(3)]));
    replaced(both.clone()).sets_aside(Reason::ReplacedByRecovery { mine: OURS, by: NEW });
    // Nor is it joined.
    let joins = replaced(both).data(OwnData::Empty).decide();
    assert!(!matches!(joins.action, Action::Refuse), "{}", joins.reason);
    // Who writes the old id to the tag again has taken it back.
    let back = scene.clone().tag(OURS).serving(&[voter(1), voter(2), voter(3)], 2..=3);
    assert!(matches!(back.decide().action, Action::Start(_)), "{}", back.decide().reason);
    // Without AWS nobody knows of it, and data starts (F51).
    assert!(matches!(scene.cloud_down().decide().action, Action::Start(_)));
}

#[test]
fn r23_a_consumer_follows_no_cluster_that_was_given_up() {
    let (old, new) = ([voter(4)], [voter(2)]);
    let scene = Scene::group(4).member_of(OTHER, 4, &old, Seen::Yes(old.to_vec()));
    let scene = scene.member_of(OURS, 2, &new, Seen::Yes(new.to_vec())).policy(|p| p.role = Role::Consumer);
    scene.refuses(Reason::TwoClusters { one: OURS, other: OTHER });
    scene.tag(OURS).asg(|g| g.replaced = vec![OTHER]).follows([2]);
}
