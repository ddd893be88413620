//! The table of decisions for a node that has data of its own.

use etcd_bootstrap::decide::health::other_scheme;
use etcd_bootstrap::exit::Exit;
use etcd_bootstrap::model::ClusterState::Existing;
use etcd_bootstrap::model::{
    Absence, Action, BlindKind, Change, FounderEntry, Member, MemberId, OwnData, PeerAnswer, Policy, Reason, Role,
    Scheme, Seen, render_initial_cluster,
};

use super::no_data::forming_as_agreed;
use super::scene::{Learning, Scene};
use super::{OTHER, OURS, added, blind, founders_text, founding_of, id, log, no_answer, peer, voter};

#[test]
fn f51_own_data_starts_though_aws_is_down_and_nobody_answers() {
    for had_leader in [true, false] {
        let scene = Scene::group(3).data(log(1, had_leader));
        scene.starts(Existing, Reason::OwnDataNobodyObjects);
        scene.cloud_down().starts(Existing, Reason::OwnDataNobodyObjects);
    }
}

#[test]
fn b21_f100_a_listed_scheme_that_is_not_the_configured_one_is_followed_and_told() {
    let list = [voter(1), voter(2), voter(3)];
    let mut scene = Scene::group(3).data(log(1, true)).serving(&list, 2..=3);
    assert_eq!(other_scheme(&scene.o, &scene.p), None);
    // A peer port without TLS cannot be asked by an agent that has it, the client port can.
    scene.p.peer_scheme = Scheme::Https;
    for probe in &mut scene.o.probes {
        probe.peer = PeerAnswer::Absent(Absence::Tls("no handshake".into()));
    }
    let start = scene.starts(Existing, Reason::OwnDataNobodyObjects);
    assert_eq!((start.peer_url, start.initial_cluster.len()), (peer(1), 3));
    let told = other_scheme(&scene.o, &scene.p).expect("it is told");
    assert!(told.contains("--etcd-peer-scheme is https") && told.contains(&voter(1).to_string()), "{told}");
    assert_eq!(other_scheme(&scene.o, &Policy { role: Role::Consumer, ..scene.p }), None);
}

#[test]
fn f52_own_data_waits_for_no_quorum() {
    let list = [voter(1), voter(2), voter(3)];
    for kind in [BlindKind::Unreachable, BlindKind::Denied] {
        let scene = Scene::group(3).data(log(1, true)).hesitant(kind, &list, [2]);
        scene.starts(Existing, Reason::OwnDataNobodyObjects);
    }
    let scene = Scene::group(3).data(log(1, true)).serving(&list, 2..=3);
    let start = scene.starts(Existing, Reason::OwnDataListed { cluster: OURS });
    assert_eq!(render_initial_cluster(&start.initial_cluster), founders_text(1..=3));
    // A second cluster is somebody else's trouble.
    scene.member_of(OTHER, 3, &[voter(3)], Seen::Yes(vec![voter(3)])).starts(Existing, "own-data-listed");
}

#[test]
fn b02_f86_a_log_that_is_ahead_of_the_cluster_is_refused() {
    let list = [voter(1), voter(2), voter(3)];
    let ahead = |own: Option<u64>, theirs: [Option<u64>; 2], mut scene: Scene| {
        scene.o.own_commit = own;
        for (probe, index) in scene.o.probes.iter_mut().zip(theirs) {
            if let Some(Ok(view)) = &mut probe.client {
                view.commit = index;
            }
        }
        scene
    };
    let serving = || Scene::group(3).data(log(1, true)).serving(&list, 2..=3);
    let refused = Reason::LogAhead { cluster: OURS, mine: 100, theirs: 99 };
    assert_eq!(refused.exit(), Exit::NeedsOperator);
    ahead(Some(100), [Some(98), Some(99)], serving()).refuses(refused);
    // Nor is it set aside, removed member or not.
    let removed = Scene::group(3).data(log(1, true)).serving(&[voter(2), voter(3)], 2..=3);
    ahead(Some(100), [Some(99); 2], removed.policy(|p| p.rejoin = true)).refuses("log-ahead");

    // One that lags does not count, nor one that no quorum has confirmed, nor what is not known.
    ahead(Some(100), [Some(9), Some(100)], serving()).starts(Existing, "own-data-listed");
    ahead(Some(100), [None, None], serving()).starts(Existing, "own-data-listed");
    ahead(None, [Some(9), Some(9)], serving()).starts(Existing, "own-data-listed");
    let hesitant = Scene::group(3).data(log(1, true)).hesitant(BlindKind::Unreachable, &list, 2..=3);
    ahead(Some(100), [Some(9), Some(9)], hesitant).starts(Existing, "own-data-nobody-objects");
}

#[test]
fn f47_a_removed_member_is_refused_or_rejoins() {
    let list = [voter(2), voter(3)];
    let scene = Scene::group(3).data(log(1, true)).serving(&list, 2..=3);
    scene.refuses(Reason::RemovedMember { member: MemberId(1), cluster: OURS });
    assert_eq!(scene.decide().reason.exit(), Exit::NeedsOperator);
    let mut scene = scene.policy(|p| p.rejoin = true);
    scene.sets_aside(Reason::RejoinAfterRemoval { member: MemberId(1) });
    scene.step();
    scene.adds(Learning);
}

#[test]
fn f130_what_never_had_a_leader_is_set_aside_where_its_member_was_removed() {
    let list = [added(1), voter(2), voter(3)];
    let scene = |had_leader| Scene::group(3).data(log(9, had_leader)).serving(&list, 2..=3);
    scene(true).refuses("removed-member");
    let mut scene = scene(false);
    scene.sets_aside(Reason::NeverLedRemoved { member: MemberId(9) });
    scene.step();
    scene.starts(Existing, Reason::Resume { member: MemberId(1) });
}

#[test]
fn f47_a_removed_member_is_known_where_the_quorums_list_is_hidden() {
    let list = [voter(2), voter(3), voter(4)];
    let removed = |nodes| Scene::group(4).data(log(1, true)).hesitant(BlindKind::Denied, &list, nodes);
    removed(2..=3).refuses("removed-member");
    removed(2..=2).starts(Existing, Reason::OwnDataNobodyObjects);
}

#[test]
fn f52_a_member_that_knows_no_leader_removes_nobody() {
    // Up to 3.5 an etcd answers while it reads its log, and lists itself alone for a moment.
    let scene = Scene::group(3).data(log(1, true));
    let scene = scene.member_of(OURS, 2, &[voter(2)], Seen::No(blind(BlindKind::Unreachable)));
    scene.starts(Existing, Reason::OwnDataNobodyObjects);
}

#[test]
fn f47_one_member_with_two_urls_is_one_voice() {
    let two = Member { peer_urls: vec![peer(2), peer(20)], ..voter(2) };
    let list = [two, voter(3)];
    let scene = Scene::group(3).data(log(1, true)).hesitant(BlindKind::Unreachable, &list, [2]);
    let view = scene.view(OURS, &list, Some("3.6.0"));
    scene.probe(peer(20), view, Some(Err(no_answer()))).starts(Existing, Reason::OwnDataNobodyObjects);
}

#[test]
fn b11_f96_data_of_the_tagged_cluster_starts_though_a_stranger_answers() {
    let list = [voter(2)];
    let stranger =
        |had_leader| Scene::group(3).data(log(1, had_leader)).member_of(OTHER, 2, &list, Seen::Yes(list.to_vec()));
    for had_leader in [true, false] {
        let scene = stranger(had_leader).tag(OURS);
        scene.starts(Existing, Reason::OwnDataTagged { mine: OURS, other: OTHER, at: vec![peer(2).to_string()] });
        let advice = scene.decide().reason.advice().expect("somebody must stop the other one");
        assert!(advice.contains(&peer(2).to_string()) && advice.contains("keep the data"), "{advice}");
    }
    for scene in [stranger(true).untagged(), stranger(true).tag(OTHER), stranger(true).cloud_down()] {
        scene.refuses(Reason::OtherClustersData { mine: OURS, formed: OTHER });
        assert!(scene.decide().reason.advice().expect("there is some").contains("keep it"));
    }
}

#[test]
fn f48_data_of_another_cluster_is_refused_and_kept() {
    let scene = Scene::cluster(3).data(OwnData::Log {
        cluster_id: OTHER,
        member_id: MemberId(1),
        had_leader: true,
        founders: Vec::new(),
    });
    scene.refuses(Reason::OtherClustersData { mine: OTHER, formed: OURS });
    scene.policy(|p| p.rejoin = true).refuses("other-clusters-data");
}

#[test]
fn data_that_never_had_a_leader_gives_way_to_a_formed_cluster() {
    let list = [voter(2), voter(3)];
    let formed = |s: Scene| (2..=3).fold(s, |s, n| s.member_of(OTHER, n, &list, Seen::Yes(list.to_vec()))).tag(OTHER);
    let mut scene = formed(Scene::group(3).data(log(1, false)));
    scene.sets_aside(Reason::NeverLedOtherFormed { mine: OURS, formed: OTHER });
    scene.step();
    scene.adds(Learning);
}

#[test]
fn data_that_never_had_a_leader_gives_way_when_most_founders_are_dead() {
    let scene = |state| Scene::group(1).data(log(1, false)).known(2, state).known(3, "terminated");
    let lost = vec![format!("{} (shutting-down)", id(2)), format!("{} (terminated)", id(3))];
    scene("shutting-down").sets_aside(Reason::NeverLedFoundersLost { mine: OURS, lost });
    for state in ["pending", "running", "stopping", "stopped"] {
        scene(state).starts(Existing, Reason::OwnDataNobodyObjects);
    }
    scene("terminated").data(log(1, true)).starts(Existing, Reason::OwnDataNobodyObjects);
    // Not on a partial reply, or a blind moment.
    scene("terminated").ec2(|ec2| drop(ec2.found.remove(&id(1)))).starts(Existing, "own-data-nobody-objects");
    scene("terminated").cloud_down().starts(Existing, "own-data-nobody-objects");
}

#[test]
fn a_pair_of_founders_that_lost_one_before_its_first_leader_can_never_form() {
    let founders =
        (1..=2).map(|n| FounderEntry { name: id(n).to_string(), peer_urls: vec![peer(n).to_string()] }).collect();
    let data = OwnData::Log { cluster_id: OURS, member_id: MemberId(1), had_leader: false, founders };
    let scene = |state| Scene::group(1).data(data.clone()).known(2, state);
    let lost = vec![format!("{} (terminated)", id(2))];
    scene("terminated").sets_aside(Reason::NeverLedFoundersLost { mine: OURS, lost });
    scene("running").starts(Existing, Reason::OwnDataNobodyObjects);
}

/// EC2 forgets an instance about an hour after its end.
#[test]
fn f112_a_forgotten_founder_is_lost_after_a_second_read_and_the_grace() {
    let forgotten = Scene::group(1).data(log(1, false)).known(2, "terminated").asked(3);
    forgotten.waits("second-read");
    forgotten.clone().later(10).waits("second-read");
    forgotten.clone().again(9).waits("second-read");
    let mut scene = forgotten.again(10);
    let lost = vec![format!("{} (terminated)", id(2)), format!("{} (unknown to EC2)", id(3))];
    scene.sets_aside(Reason::NeverLedFoundersLost { mine: OURS, lost });
    scene.step();
    assert_eq!(scene.o.record.ok().expect("it was begun").given_up, [OURS]);
    // Who had a leader keeps its data.
    scene.data(log(1, true)).starts(Existing, "own-data-nobody-objects");
}

#[test]
fn f49_unreadable_data_is_not_no_data() {
    for scene in [Scene::founders(3), Scene::cluster(3)] {
        let why = "permission denied".to_owned();
        let scene = scene.data(OwnData::Unreadable { why: why.clone() });
        scene.refuses(Reason::DataUnreadable { why });
    }
}

#[test]
fn f46_a_database_without_its_log_is_set_aside_before_anything_starts() {
    let scenes =
        [Scene::founders(3), Scene::cluster(3), Scene::group(3).serving(&[added(1), voter(2), voter(3)], 2..=3)];
    for scene in scenes {
        let mut scene = scene.data(OwnData::NoLog);
        scene.sets_aside(Reason::BackendWithoutLog);
        scene.step();
        assert!(matches!(
            scene.decide().action,
            Action::Change(Change::Agree(_)) | Action::Start(_) | Action::Change(Change::Add { .. })
        ));
    }
    forming_as_agreed().data(OwnData::NoLog).sets_aside(Reason::BackendWithoutLog);
    let tagged = Scene::group(3).tagged(&founding_of(1..=3)).data(OwnData::NoLog);
    tagged.sets_aside(Reason::BackendWithoutLog);
    // It is not set aside for nothing.
    Scene::founders(3).silent(3).data(OwnData::NoLog).waits("founders-silent");
}

#[test]
fn f114_a_damaged_log_makes_room_where_the_others_are_a_quorum_only() {
    let list = [voter(1), voter(2), voter(3)];
    let damaged = |mut scene: Scene| {
        scene.o.log_damage = Some("near byte 7".into());
        scene
    };
    let aside = Reason::DamagedLogAside { member: MemberId(1), why: "near byte 7".into() };
    damaged(Scene::group(3).data(log(1, true)).serving(&list, 2..=3)).sets_aside(aside);
    let waits = Reason::LogDamaged { why: "near byte 7".into() };
    damaged(Scene::group(3).data(log(1, true))).waits(waits.clone());
    damaged(Scene::group(3).data(log(1, true)).cloud_down()).waits(waits.clone());
    damaged(Scene::group(3).data(log(1, true)).hesitant(BlindKind::Unreachable, &list, [2])).waits(waits.clone());
    // Another cluster's quorum is none of its own.
    let other = Scene::group(3).data(log(1, true)).member_of(OTHER, 2, &[voter(2)], Seen::Yes(vec![voter(2)]));
    damaged(other).waits(waits);
    // Afterwards its member is replaced as any whose disk is lost.
    let gone = damaged(Scene::group(3).serving(&list, 2..=3)).because("replaces-own-lost-disk");
    assert!(matches!(gone, Action::Change(Change::Remove { member: MemberId(1), .. })), "{gone:?}");
}
