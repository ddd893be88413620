//! What a consumer follows, and when it asks AWS.

use std::time::{Duration, SystemTime};

use etcd_bootstrap::decide::{consumer_record, remember};
use etcd_bootstrap::model::{
    Absence, Action, Blind, BlindKind, ConsumerRecord, Followed, MemberUrl, OwnData, PeerAnswer, Reason, Rest, Role,
    Scheme, Seen,
};

use super::scene::Scene;
use super::{OTHER, OURS, blind, client, founder, id, learner, log, unstarted, voter};

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
        assert!(matches!(action, Action::Wait | Action::Follow(_)), "{action:?}");
    }
}

// ---------------------------------------------------------------- without AWS

const MINUTE: Duration = Duration::from_secs(60);

/// A consumer that has followed nodes 2 to 4, is not to ask AWS for a while, and hears this on their client ports.
fn knowing(scene: Scene) -> Scene {
    let mut scene = without_aws(consumer(scene), Blind::not_asked());
    scene.o.consumer = Some(ConsumerRecord {
        of: "the group etcd".into(),
        followed: Some(Followed {
            cluster: OURS,
            endpoints: (2..=4).map(client).collect(),
            ports: (2..=4).map(client).collect(),
            base: (2..=4).map(client).collect(),
            gone: [].into(),
        }),
        check_at: scene.o.taken_at + MINUTE,
        rest: None,
    });
    scene
}

fn without_aws(mut scene: Scene, why: Blind) -> Scene {
    scene.o.asked_aws = why.kind != BlindKind::NotAsked;
    (scene.o.group, scene.o.ec2) = (Seen::No(why.clone()), Seen::No(why));
    for probe in &mut scene.o.probes {
        probe.instance = None;
    }
    scene
}

fn seeded(mut scene: Scene) -> Scene {
    scene.p.seeds = vec!["http://etcd.example.internal:2379".parse().expect("a URL")];
    scene
}

fn remembers(mut scene: Scene, change: impl FnOnce(&mut ConsumerRecord, SystemTime)) -> Scene {
    let now = scene.o.taken_at;
    change(scene.o.consumer.as_mut().expect("it remembers something"), now);
    scene
}

#[track_caller]
fn asks_aws(scene: &Scene) {
    assert_eq!(scene.because("asks-aws"), Action::Rest);
}

#[test]
fn f104_f115_aws_is_not_asked_while_the_cluster_answers() {
    knowing(Scene::cluster(3)).follows(2..=4);
    let list = [voter(3), voter(4), voter(5)];
    knowing(Scene::group(5).serving(&list, [3])).follows(3..=5);
}

#[test]
fn f115_aws_is_asked_where_nobody_answers_or_another_cluster_does() {
    asks_aws(&knowing(Scene::group(4).silent(2).silent(3).silent(4)));
    asks_aws(&knowing(Scene::group(4).hesitant(BlindKind::Unreachable, &[voter(2), voter(3)], 2..=3)));
    let other = Scene::group(3).member_of(OTHER, 3, &[voter(3)], Seen::Yes(vec![voter(3)]));
    asks_aws(&knowing(other.clone()));
    // What it says decides: the group's own cluster.
    let mut told = knowing(Scene::cluster(3));
    told.o = Scene { p: told.p.clone(), ..consumer(Scene::cluster(3)) }.o;
    told.follows(2..=4);
    // And without it nobody else is followed.
    let mut blinded = without_aws(knowing(other), blind(BlindKind::Unreachable));
    blinded.o.consumer = knowing(Scene::cluster(3)).o.consumer;
    blinded.waits("group-blind");
    let unknown = remembers(knowing(Scene::cluster(3)), |record, _| record.followed = None);
    asks_aws(&unknown);
}

#[test]
fn f115_aws_is_asked_about_once_an_hour_and_not_needed() {
    let due = |record: &mut ConsumerRecord, now| record.check_at = now;
    asks_aws(&remembers(knowing(Scene::cluster(3)), due));
    for kind in [BlindKind::Throttled, BlindKind::Unreachable, BlindKind::Denied] {
        without_aws(remembers(knowing(Scene::cluster(3)), due), blind(kind)).follows(2..=4);
    }
    // A clock that was wrong when it was written down.
    asks_aws(&remembers(knowing(Scene::cluster(3)), |record, now| record.check_at = now + 300 * MINUTE));
}

#[test]
fn f115_who_is_throttled_leaves_aws_alone() {
    let rests = |scene: Scene, left: Duration| {
        remembers(scene, |record, now| record.rest = Some(Rest { until: now + left, length: MINUTE }))
    };
    let silent = || knowing(Scene::group(4).silent(2).silent(3).silent(4));
    rests(silent(), MINUTE).waits(Reason::AwsRests { left: MINUTE });
    rests(knowing(Scene::cluster(3)), MINUTE).follows(2..=4);
    asks_aws(&rests(silent(), Duration::ZERO));
    // Longer than it ever rests: another clock's time.
    asks_aws(&rests(silent(), 300 * MINUTE));
}

#[test]
fn f107_f115_who_is_gone_stays_gone_when_aws_is_not_asked() {
    let gone = |record: &mut ConsumerRecord, _| {
        record.followed.as_mut().expect("it follows").gone.insert(voter(4).id);
    };
    let scene = remembers(knowing(Scene::cluster(3)), gone);
    scene.follows(2..=3);
    let Action::Follow(followed) = scene.decide().action else { panic!("it follows") };
    assert_eq!(followed.gone, [voter(4).id].into());
    // EC2 has forgotten it meanwhile, which is no word.
    let mut forgotten = consumer(Scene::cluster(3).asked(4));
    forgotten.o.consumer = scene.o.consumer;
    forgotten.follows(2..=3);
}

#[test]
fn f115_a_seed_is_believed_in_the_place_of_aws() {
    seeded(without_aws(consumer(Scene::cluster(3)), Blind::not_asked())).follows(2..=4);
    seeded(knowing(Scene::cluster(3))).follows(2..=4);
    let due = |record: &mut ConsumerRecord, now| record.check_at = now;
    seeded(remembers(knowing(Scene::cluster(3)), due)).follows(2..=4);
    seeded(knowing(Scene::group(4).silent(2).silent(3).silent(4))).waits(Reason::NoMemberAnswers { asked: 3 });
    // Another cluster, where the one that was followed is silent; and two, of which neither was.
    let other = Scene::group(3).member_of(OTHER, 3, &[voter(3)], Seen::Yes(vec![voter(3)]));
    let action = seeded(knowing(other)).because(Reason::Endpoints { cluster: OTHER });
    assert!(matches!(action, Action::Follow(followed) if followed.cluster == OTHER));
    let both = Scene::cluster(2).member_of(OTHER, 3, &[voter(3)], Seen::Yes(vec![voter(3)]));
    seeded(without_aws(consumer(both.clone()), Blind::not_asked()))
        .refuses(Reason::TwoClusters { one: OURS, other: OTHER });
    seeded(knowing(both)).follows(2..=3);
}

#[test]
fn f115_a_proxy_that_finds_the_members_by_itself_is_told_when_it_cannot() {
    let base = |scene: &Scene| match scene.decide().action {
        Action::Follow(followed) => followed.base,
        other => panic!("{other:?}"),
    };
    let of = |nodes: std::ops::RangeInclusive<u64>| nodes.map(client).collect::<Vec<_>>();
    let serving = |nodes: std::ops::RangeInclusive<u64>| {
        let list: Vec<_> = nodes.clone().map(voter).collect();
        knowing(Scene::group(9).serving(&list, nodes))
    };
    assert_eq!(base(&serving(2..=4)), of(2..=4));
    assert_eq!(base(&serving(4..=6)), of(2..=4), "it knew node 4");
    // What it knew after that counts, not what it began with.
    let later = |record: &mut ConsumerRecord, _| record.followed.as_mut().expect("it follows").endpoints = of(4..=6);
    assert_eq!(base(&remembers(serving(6..=8), later)), of(2..=4));
    assert_eq!(base(&serving(5..=7)), of(5..=7), "none is left of those that it knew");
    let other = |record: &mut ConsumerRecord, _| record.followed.as_mut().expect("it follows").cluster = OTHER;
    let mut elsewhere = consumer(Scene::group(5).serving(&[voter(2), voter(3), voter(5)], 2..=3).known(5, "running"));
    elsewhere.o.consumer = remembers(knowing(Scene::cluster(3)), other).o.consumer;
    assert_eq!(base(&elsewhere), [2, 3, 5].map(client), "another cluster, though at the same addresses");
}

#[test]
fn f115_what_a_consumer_remembers() {
    let record = |scene: &Scene, chance| consumer_record(&scene.o, &scene.decide(), "the group etcd", chance);
    let first = consumer(Scene::cluster(3).known(4, "terminated"));
    let now = first.o.taken_at;
    for (chance, minutes) in [(0.0, 40), (1.0, 60)] {
        let told = record(&first, chance);
        assert_eq!(told.check_at, now + minutes * MINUTE);
        let followed = told.followed.expect("it follows");
        assert_eq!((followed.ports, followed.gone), ((2..=3).map(client).collect(), [voter(4).id].into()));
    }
    // Without AWS only the list is news.
    let knows = knowing(Scene::cluster(3));
    let same = record(&knows, 1.0);
    assert_eq!(Some(&same), knows.o.consumer.as_ref());
    // A pass that finds nobody forgets nobody.
    let silent = without_aws(knowing(Scene::group(4).silent(2).silent(3)), blind(BlindKind::Unreachable));
    assert_eq!(record(&silent, 0.0).followed, same.followed);
    assert_eq!(record(&silent, 0.0).rest, None);
}

#[test]
fn f115_each_throttling_in_a_row_makes_a_longer_rest() {
    let mut scene = without_aws(knowing(Scene::group(4).silent(2)), blind(BlindKind::Throttled));
    let mut lengths = Vec::new();
    for _ in 0..4 {
        for (chance, part) in [(0.0, 0.5), (1.0, 1.5)] {
            let rest = consumer_record(&scene.o, &scene.decide(), "", chance).rest.expect("it rests");
            assert_eq!(rest.until, scene.o.taken_at + rest.length.mul_f64(part));
        }
        let record = consumer_record(&scene.o, &scene.decide(), "", 1.0);
        lengths.extend(record.rest.as_ref().map(|rest| rest.length.as_secs() / 60));
        scene.o.consumer = Some(record);
    }
    assert_eq!(lengths, [1, 4, 15, 15]);
    let scene = without_aws(scene, blind(BlindKind::Unreachable));
    assert_eq!(consumer_record(&scene.o, &scene.decide(), "", 1.0).rest, None);
}
