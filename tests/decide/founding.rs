//! A founding is one of its own: its disks, its record, its tag.

use std::time::Duration;

use etcd_bootstrap::decide::statement;
use etcd_bootstrap::exit::Exit;
use etcd_bootstrap::model::ClusterState::{Existing, New};
use etcd_bootstrap::model::{
    Action, Agreement, BlindKind, CLUSTER_TAG, Change, FOUNDING_TAG, InitialCluster, Member, Observation, OwnData,
    Reason, Seen, Statement, render_initial_cluster,
};

use super::scene::Scene;
use super::{OTHER, OURS, at, blind, founder, founders_text, founding_of, id, log, said_by, voter};

#[test]
fn b02_f84_a_founding_by_other_disks_has_another_token() {
    let token = |scene: Scene| scene.creates("founders-agree").token;
    let again =
        Scene::founders(3).says(3, Statement { nonce: "beef".into(), ..said_by(3, Some(founders_text(1..=3))) });
    assert_ne!(token(Scene::founders(3)), token(again));
    assert_ne!(token(Scene::founders(3)), token(Scene::founders(3).record(|record| record.nonce = "beef".into())));
}

#[test]
fn f84_a_disk_without_a_record_gets_one_before_it_says_anything() {
    let mut scene = Scene::founders(3);
    scene.o.record = Seen::No(blind(BlindKind::Absent));
    assert_eq!(statement(&scene.o, &scene.p), None);
    assert_eq!(scene.because(Reason::NothingOnRecord), Action::Change(Change::BeginRecord));
    scene.step();
    scene.creates("founders-agree");
    scene.o.record = Seen::No(blind(BlindKind::Malformed));
    scene.refuses("record-unusable");
    assert_eq!(scene.decide().reason.exit(), Exit::NeedsOperator);
}

/// Scenario A of the disk that comes back: its cluster was given up and founded again meanwhile.
#[test]
fn b02_f84_the_disk_of_a_lost_cluster_is_no_member_of_the_one_founded_after_it() {
    let scene = Scene::group(3).data(log(1, true));
    let list: Vec<Member> = (1..=3).map(voter).collect();
    let formed = |s: Scene| (2..=3).fold(s, |s, n| s.member_of(OTHER, n, &list, Seen::Yes(list.clone())));
    formed(scene).refuses(Reason::OtherClustersData { mine: OURS, formed: OTHER });
}

#[test]
fn b03_f85_founders_of_a_year_ago_do_not_found_by_majority() {
    let founders = |age: u64, date: Option<u64>| {
        let scene = Scene::one_silent(3);
        let now = scene.o.taken_at;
        let launched = now - Duration::from_secs(age);
        let scene = scene.ec2(|ec2| ec2.found.values_mut().for_each(|i| i.launched = Some(launched)));
        scene.asg(|g| g.date = date.map(|after| launched + Duration::from_secs(after)))
    };
    const YEAR: u64 = 365 * 24 * 3600;
    founders(YEAR, Some(YEAR)).waits("founders-silent");
    founders(901, Some(901)).waits("founders-silent");
    founders(900, Some(900)).creates("founders-majority");
    // This node's own clock does not matter, and without AWS's there is none.
    founders(YEAR, Some(100)).creates("founders-majority");
    founders(100, Some(YEAR)).waits("founders-silent");
    founders(100, None).waits("founders-silent");
    // When all speak, the age does not matter.
    let all = Scene::founders(3).ec2(|ec2| {
        ec2.found.values_mut().for_each(|i| i.launched = i.launched.map(|at| at - Duration::from_secs(900_000)));
    });
    all.creates("founders-agree");
}

/// The tag is the word of all: whoever's disk it names needs nobody's answer.
#[test]
fn f87_a_founding_that_was_tagged_is_completed_by_each_of_its_founders() {
    let founding = founding_of(1..=3);
    let others_gone = (2..=3).fold(Scene::group(3).tagged(&founding), Scene::silent);
    let mut completing = others_gone.clone();
    let reason = Reason::AgreedFounding { cluster: founding.cluster };
    assert_eq!(
        completing.because(reason.clone()),
        Action::Change(Change::Agree(founding.clone())),
        "for when it has data"
    );
    completing.step();
    let start = completing.starts(New, reason);
    assert_eq!(render_initial_cluster(&start.initial_cluster), founders_text(1..=3));
    // Where EC2 has given an address to another instance since, the own record still has the list.
    let moved = others_gone.ec2(|ec2| ec2.found.get_mut(&id(2)).expect("it is there").addresses = at(9));
    moved.waits("others-founding");
    moved.record(|record| record.agreed = Some(founding)).starts(New, "agreed-founding");
}

/// Two agreements with the same disks, in a smaller and a larger company; the tag has the last word.
#[test]
fn f87_never_led_data_of_another_founding_than_the_tags_is_given_up() {
    let scene = Scene::group(3).agreed(OURS).data(log(1, false)).tagged(&founding_of(1..=3));
    let tagged = founding_of(1..=3).cluster.to_string();
    let mut scene = scene.silent(2).silent(3);
    scene.sets_aside(Reason::NeverLedOtherFounding { mine: OURS, tagged });
    scene.step();
    assert_eq!(scene.o.record.ok().expect("it was begun").given_up, [OURS]);
    // The same where the group has a cluster already; who had a leader keeps its data.
    let of_another = |led| Scene::group(3).agreed(OURS).data(log(1, led)).tag(OTHER).silent(2).silent(3);
    of_another(false).sets_aside("never-led-other-founding");
    of_another(true).starts(Existing, "own-data-nobody-objects");
}

#[test]
fn f87_who_was_wiped_after_the_tag_founds_nothing() {
    let scene = Scene::founders(3).tagged(&founding_of(1..=3)).record(|record| record.nonce = "beef".into());
    scene.waits("others-founding");
}

/// B24: two founders whose etcds take long, and three instances that came meanwhile.
#[test]
fn b24_f109_founders_that_left_to_start_are_not_outvoted_by_a_larger_group() {
    let scene = (1..=5).fold(Scene::group(5).me(4), Scene::silent).founding(3, 1..=5).founding(5, 1..=5).me(4);
    let scene = scene.tagged(&founding_of(1..=3)).again(60);
    scene.waits(Reason::OthersFounding {
        cluster: founding_of(1..=3).cluster,
        why: format!("{}, {}, {} may hold it", id(1), id(2), id(3)),
    });
    // Without the tag it takes the word of all.
    let mut untagged = scene.asg(|g| g.founding_tag = None).again(60);
    untagged.creates("founders-majority");
    untagged.o.history.as_mut().expect("it is a later pass").deeds.untaggable = true;
    untagged.waits("founders-silent");
}

#[test]
fn f87_a_founding_that_lost_its_quorum_is_given_up_and_replaced() {
    let founding = founding_of(1..=3);
    let mut scene = Scene::group(3).tagged(&founding).known(2, "terminated").known(3, "terminated");
    let lost = vec![format!("{} (terminated)", id(2)), format!("{} (terminated)", id(3))];
    let action = scene.because(Reason::FoundingLost { cluster: founding.cluster, lost });
    assert_eq!(action, Action::Change(Change::GiveUp { cluster: founding.cluster }));
    scene.step();
    let scene = scene.asg(|g| g.instances.retain(|instance, _| *instance == id(1))).asg(|g| g.desired = 1).again(1);
    let start = scene.creates("founders-agree");
    assert_eq!(render_initial_cluster(&start.initial_cluster), founders_text(1..=1));
}

/// An etcd in the place of its agent would not hear that the others have lost their disks.
#[test]
fn f87_data_that_never_had_a_leader_waits_for_a_quorum_of_its_founders() {
    let founding = founding_of(1..=3);
    let OwnData::Log { member_id, founders, .. } = log(1, false) else { unreachable!("it is a log") };
    let data = OwnData::Log { cluster_id: founding.cluster, member_id, had_leader: false, founders };
    let scene = Scene::group(3).tagged(&founding).record(|r| r.agreed = Some(founding.clone())).data(data.clone());
    let alone = scene.clone().silent(2).silent(3);
    alone.waits(Reason::FoundersNotBack { mine: founding.cluster, waiting_for: vec![id(2), id(3)] });
    assert_eq!(statement(&alone.o, &alone.p).expect("it speaks").founders, None, "it agrees to nothing else");
    // The disk of a founder that has not started yet, or its etcd.
    alone.clone().says(2, said_by(2, None)).starts(Existing, "own-data-nobody-objects");
    let list: Vec<Member> = (1..=3).map(founder).collect();
    alone.clone().forming(founding.cluster, &list, [2]).starts(Existing, "own-data-nobody-objects");
    alone.clone().forming(OTHER, &list, [2]).waits("founders-not-back");
    let wiped = |n| Statement { nonce: "beef".into(), ..said_by(n, None) };
    // In a group that is not tagged, who has agreed again since will not start this one.
    let again = |n| Statement { agreed: Some(OTHER), ..said_by(n, None) };
    alone.clone().says(2, again(2)).starts(Existing, "own-data-nobody-objects");
    let untagged = alone.clone().asg(|g| g.founding_tag = None);
    untagged.clone().says(2, again(2)).waits("founders-not-back");
    untagged.says(2, again(2)).says(3, wiped(3)).sets_aside("never-led-founders-lost");
    let mut hopeless = alone.clone().says(2, wiped(2)).says(3, wiped(3));
    let lost = (2..=3).map(|n| format!("{} (has another disk)", id(n))).collect();
    hopeless.sets_aside(Reason::NeverLedFoundersLost { mine: founding.cluster, lost });
    hopeless.step();
    hopeless.waits("second-read");
    // F51: blind, or with a leader behind it, it starts.
    alone.clone().cloud_down().starts(Existing, "own-data-nobody-objects");
    alone.data(log(1, true)).starts(Existing, "own-data-nobody-objects");
}

#[test]
fn f87_a_tag_is_void_only_when_nobody_can_hold_what_it_names() {
    let founding = founding_of(1..=3);
    let gave_up = |n| Statement { given_up: vec![founding.cluster], ..said_by(n, Some(founders_text(1..=3))) };
    let scene = Scene::founders(3).tagged(&founding).record(|record| record.nonce = "beef".into());
    scene.clone().silent(2).silent(3).waits("others-founding");
    // One founder less than a quorum cannot tell whether the others had a leader.
    scene.clone().says(2, gave_up(2)).waits("others-founding");
    scene.clone().says(2, gave_up(2)).says(3, gave_up(3)).again(1).creates("founders-agree");
    let mine = scene.clone().record(|record| record.given_up = vec![founding.cluster]);
    mine.says(2, gave_up(2)).creates("founders-agree");
    // Nobody has the disk any more that it had then.
    let wiped = |n| Statement { nonce: "beef".into(), ..said_by(n, Some(founders_text(1..=3))) };
    scene.clone().says(2, wiped(2)).waits("others-founding");
    scene.clone().says(2, wiped(2)).says(3, wiped(3)).creates("founders-agree");
    // All are gone, and no joiner has left the cluster's tag. An instance that shuts down may still serve.
    let gone = |state| {
        let scene = Scene::group(3).me(4).instance(4, "InService", "running").asg(|g| g.desired = 1);
        let scene = (1..=3).fold(scene, |s, n| s.known(n, state).asg(|g| drop(g.instances.remove(&id(n)))));
        Scene { o: Observation { probes: Vec::new(), ..scene.o }, ..scene }.tagged(&founding).again(1)
    };
    gone("terminated").creates("founders-agree");
    gone("shutting-down").waits("others-founding");
}

#[test]
fn f87_a_tag_that_nobody_can_read_is_never_void() {
    let scene = Scene::founders(3).asg(|g| g.founding_tag = Some("by hand".into()));
    scene.waits(Reason::FoundingTagUnreadable { tag: "by hand".into() });
    scene.policy(|p| p.initial_cluster = InitialCluster::Force).creates("founders-agree");
}

#[test]
fn f87_where_the_group_cannot_be_tagged_every_founder_must_have_agreed() {
    let untaggable = |scene: Scene| {
        let mut scene = scene.record(|record| record.agreed = Some(founding_of(1..=3)));
        scene.o.history.as_mut().expect("it is a later pass").deeds.untaggable = true;
        scene
    };
    let agreed = |n| {
        let agreed = Some(founding_of(1..=3).cluster);
        Statement { agreed, ..said_by(n, Some(founders_text(1..=3))) }
    };
    let scene = untaggable(Scene::founders(3)).says(2, agreed(2));
    scene.waits(Reason::FoundersAgreeing { cluster: founding_of(1..=3).cluster, waiting_for: vec![id(3)] });
    scene.says(3, agreed(3)).starts(New, "agreed-founding");
    untaggable(Scene::one_silent(3)).says(2, agreed(2)).waits("founders-silent");
}

#[test]
fn f87_what_was_tagged_is_waited_for_until_aws_shows_it() {
    let mut scene = Scene::founders(3);
    scene.step();
    let Action::Change(Change::TagGroup { group, tags }) = scene.because("founders-agree") else {
        panic!("{:?}", scene.decide())
    };
    assert_eq!((group.as_str(), tags.keys().collect::<Vec<_>>()), ("etcd", vec![&FOUNDING_TAG.to_owned()]));
    scene.o.history.as_mut().expect("it is a later pass").deeds.tagged = tags;
    scene.waits("second-read");
    // By force the new cluster's id takes the place of the old one's, so that all can join it.
    let forced = Scene::founders(3).asg(|g| g.cluster_tag = Some("c1".into()));
    let mut forced = forced.policy(|p| p.initial_cluster = InitialCluster::Force);
    forced.step();
    let Action::Change(Change::TagGroup { tags, .. }) = forced.because("founders-agree") else {
        panic!("{:?}", forced.decide())
    };
    assert_eq!(tags.get(CLUSTER_TAG), Some(&founding_of(1..=3).cluster.to_string()));
}

/// A founder that was wiped before the first leader may have voted: it is replaced, and not resumed.
#[test]
fn f84_a_founder_with_another_disk_is_not_resumed() {
    let list = [founder(1), voter(2), voter(3)];
    let scene = || Scene::group(3).serving(&list, 2..=3);
    scene().agreed(OURS).starts(Existing, "resume");
    scene().removes(1, "replaces-own-lost-disk");
    scene().agreed(OTHER).removes(1, "replaces-own-lost-disk");
    // One that was silent has not run before there was a leader.
    let mut silent = Agreement { cluster: OURS, ..founding_of(1..=3) };
    scene().tagged(&silent).removes(1, "replaces-own-lost-disk");
    silent.founders[0].nonce = None;
    scene().tagged(&silent).starts(Existing, "resume");
}
