//! What `status` makes of what was seen: by a node, by a consumer, and by who is no instance at all.

use etcd_bootstrap::decide::health::{Cause, Unsound};
use etcd_bootstrap::decide::{Standing, health_of_members, soundness};
use etcd_bootstrap::model::{Absence, Blind, ClientView, Member, MemberId, OwnData, PeerAnswer, Seen};

use super::scene::Scene;
use super::{added, id, learner, no_answer, peer, voter};

/// A sound cluster of 1, 2 and 3, as who is no instance sees it.
fn from_outside() -> Scene {
    let list = [voter(1), voter(2), voter(3)];
    let mut scene = Scene::group(3);
    scene.o.me = Seen::No(Blind::not_asked());
    scene.o.own_data = OwnData::Empty;
    scene.serving(&list, 1..=3)
}

/// The same by client ports alone: the peer ports let nobody in.
fn by_clients(mut scene: Scene) -> Scene {
    for probe in &mut scene.o.probes {
        probe.peer = PeerAnswer::Absent(no_answer());
    }
    scene
}

fn view(mut scene: Scene, n: u64, change: impl FnOnce(&mut ClientView)) -> Scene {
    let probe = scene.o.probes.iter_mut().find(|probe| probe.asked == peer(n)).expect("it was asked");
    let Some(Ok(view)) = &mut probe.client else { panic!("{n} has told nothing") };
    change(view);
    scene
}

/// The cause; None where the cluster is sound.
fn cause(scene: &Scene) -> Option<Cause> {
    soundness(&scene.o, &scene.p).err().and_then(|unsound| unsound.cause())
}

fn is_unknown(scene: &Scene) -> bool {
    matches!(soundness(&scene.o, &scene.p), Err(Unsound::Unknown(_)))
}

fn standing(scene: &Scene, n: u64) -> Standing {
    let members = health_of_members(&scene.o, &scene.p);
    members.iter().find(|health| health.member.id == MemberId(n)).expect("it is listed").standing
}

fn each_way() -> [Scene; 2] {
    [from_outside(), by_clients(from_outside())]
}

#[test]
fn who_is_no_instance_sees_that_a_cluster_is_sound() {
    for scene in each_way() {
        assert_eq!(soundness(&scene.o, &scene.p), Ok("sound: cluster c1, 3 of 3 members serve".to_owned()));
        let members = health_of_members(&scene.o, &scene.p);
        let told: Vec<_> = members.iter().map(|m| (m.instance.clone(), m.standing, m.leads)).collect();
        let expected = [(1, true), (2, false), (3, false)].map(|(n, leads)| (Some(id(n)), Standing::Ok, leads));
        assert_eq!(told, expected);
    }
}

#[test]
fn an_alarm_and_a_lag_are_seen_at_the_client_ports_alone() {
    for scene in each_way() {
        let full = view(scene.clone(), 2, |view| view.faults = vec!["memberID:2 alarm:NOSPACE ".to_owned()]);
        assert_eq!((cause(&full), standing(&full, 2)), (Some(Cause::Alarm), Standing::Ill));
        let other_fault = view(scene.clone(), 2, |view| view.faults = vec!["etcdserver: no leader".to_owned()]);
        assert_eq!((cause(&other_fault), standing(&other_fault, 2)), (Some(Cause::MemberIll), Standing::Ill));
        let ahead = view(scene, 1, |view| view.applied = Some(10_000));
        let close = view(ahead.clone(), 2, |view| view.applied = Some(5_000));
        assert_eq!((cause(&close), standing(&close, 2)), (None, Standing::Ok));
        let far = view(ahead, 2, |view| view.applied = Some(4_999));
        assert_eq!((cause(&far), standing(&far, 2)), (Some(Cause::MemberBehind), Standing::Ill));
        let lags = health_of_members(&far.o, &far.p).iter().map(|m| m.behind).collect::<Vec<_>>();
        assert_eq!(lags, [Some(0), Some(5_001), None]);
    }
}

#[test]
fn a_silent_member_is_told_from_a_dead_one() {
    for (n, scene) in each_way().into_iter().enumerate() {
        let silent = scene.silent(3);
        assert_eq!((cause(&silent), standing(&silent, 3)), (Some(Cause::MemberSilent), Standing::Silent), "{n}");
        let dead = silent.known(3, "terminated");
        assert_eq!((cause(&dead), standing(&dead, 3)), (Some(Cause::ProvenDead), Standing::Dead), "{n}");
    }
}

#[test]
fn what_is_no_voter_yet_joins_and_what_is_nobodys_is_foreign() {
    let elsewhere = Member { name: "etcd-x".to_owned(), ..voter(9) };
    for (member, expected) in
        [(learner(3), Standing::Joining), (added(3), Standing::Joining), (elsewhere.clone(), Standing::Foreign)]
    {
        let mut scene = Scene::group(3);
        scene.o.me = Seen::No(Blind::not_asked());
        let scene = scene.serving(&[voter(1), voter(2), member.clone()], 1..=2);
        let scene = if member == learner(3) {
            scene.member_of(super::OURS, 3, &[voter(1), voter(2), learner(3)], Seen::No(Blind::default()))
        } else {
            scene
        };
        assert_eq!(standing(&scene, member.id.0), expected, "{member}");
    }
}

/// A monitor must tell a cluster that is ill from a network in which it cannot look.
#[test]
fn who_is_let_to_no_port_calls_nobody_ill_unless_somebody_refuses() {
    let lost = [no_answer(), Absence::NoName("x".into()), Absence::Tls("x".into()), Absence::Denied("x".into())];
    for absence in lost {
        let scene = (1..=3).fold(from_outside(), |scene, n| scene.absent(n, absence.clone()));
        assert!(is_unknown(&scene) && cause(&scene) == Some(Cause::CutOff), "{absence}");
        let refused = scene.clone().absent(2, Absence::Refused);
        assert!(!is_unknown(&refused) && cause(&refused) == Some(Cause::NoQuorum), "{absence}");
        // Who is an instance of the group is where its members are.
        let inside = scene.me(1);
        assert!(!is_unknown(&inside) && cause(&inside) == Some(Cause::NoQuorum), "{absence}");
    }
    let mut nobody = from_outside();
    nobody.o.probes.clear();
    assert_eq!(cause(&nobody), Some(Cause::NoQuorum), "no instance has an address");
}

#[test]
fn what_could_not_be_read_is_named() {
    let mut scene = from_outside().cloud_down();
    assert!(is_unknown(&scene) && cause(&scene) == Some(Cause::GroupBlind));
    scene.o.me = Seen::No(Blind::default());
    assert_eq!(cause(&scene), Some(Cause::MetadataBlind));
    let mut scene = from_outside();
    scene.o.ec2 = Seen::No(Blind::default());
    assert!(is_unknown(&scene) && cause(&scene) == Some(Cause::Ec2Blind));
}

#[test]
fn of_several_ills_the_one_that_weighs_most_is_the_reason() {
    let scene = view(from_outside(), 1, |view| view.faults = vec!["memberID:1 alarm:CORRUPT ".to_owned()]);
    let scene = scene.silent(3).known(3, "terminated").untagged();
    let Err(unsound) = soundness(&scene.o, &scene.p) else { panic!("it is not sound") };
    assert_eq!((unsound.cause(), unsound.ills().len()), (Some(Cause::Alarm), 4), "{unsound}");
    assert_eq!(cause(&from_outside().untagged()), Some(Cause::Untagged));
    assert_eq!(cause(&from_outside().tag(super::OTHER)), Some(Cause::NotTheTaggedCluster));
    assert_eq!(cause(&from_outside().asg(|group| group.desired = 5)), Some(Cause::WrongSize));
}

/// Nothing is removed on the word of who is no instance: it decides nothing.
#[test]
fn f34_a_decision_without_an_identity_waits_for_the_metadata() {
    let scene = from_outside().silent(3).known(3, "terminated");
    let later = scene.again(3600);
    assert_eq!(later.decide().reason.code(), "metadata-blind");
}
