//! When founders create a cluster, and when nobody does.

use std::time::Duration;

use etcd_bootstrap::model::ClusterState::Existing;
use etcd_bootstrap::model::agreement;
use etcd_bootstrap::model::{
    Absence, Action, BlindKind, CLUSTER_TAG, Change, ClusterId, FoundingRule, InitialCluster, PeerAnswer, Reason, Seen,
    Statement, render_initial_cluster,
};

use super::scene::{Learning, Scene};
use super::{
    ARN, OTHER, OURS, added, blind, dead, founder, founders_text, founding_of, id, is, no_answer, peer, said_by,
    unstarted, unusable, voter,
};

#[test]
fn founders_that_agree_create_the_cluster() {
    let start = Scene::founders(3).creates(Reason::FoundersAgree { founders: 3 });
    assert_eq!(render_initial_cluster(&start.initial_cluster), founders_text(1..=3));
    Scene::group(1).again(1).creates(Reason::FoundersAgree { founders: 1 });
}

#[test]
fn f11_every_founder_writes_the_same_line_and_starts_in_its_turn() {
    for n in 1..=3 {
        let scene = (1..=3).filter(|m| *m != n).fold(Scene::group(3).me(n), |s, m| s.founding(m, 1..=3)).again(1);
        let start = scene.creates("founders-agree");
        assert_eq!(render_initial_cluster(&start.initial_cluster), founders_text(1..=3));
        assert_eq!(start.token, agreement::token(ARN, &founding_of(1..=3).founders));
        let before = start.after.map(|after| after.peer_urls).unwrap_or_default();
        assert_eq!(before, (1..n).map(peer).collect::<Vec<_>>());
    }
}

/// As text http://10.0.0.10:2380 comes before http://10.0.0.1:2380 and http://10.0.0.2:2380.
#[test]
fn f11_founders_start_in_the_order_in_which_etcd_asks_them() {
    let scene = (1..=11).filter(|m| *m != 2).fold(Scene::group(11).me(2), |s, m| s.founding(m, 1..=11));
    let after = scene.again(1).creates("founders-agree").after.expect("it is not the first");
    assert_eq!(after.peer_urls, [peer(10), peer(11), peer(1)]);
}

#[test]
fn f02_a_list_has_to_stand_for_two_reads_of_aws() {
    let once = (2..=3).fold(Scene::group(3), |s, n| s.founding(n, 1..=3));
    once.waits("second-read");
    once.clone().later(30).waits("second-read");
    once.clone().again(1).creates("founders-agree");
    // A change in between begins the count anew.
    let changed = once.clone().asg(|g| g.desired = 4).again(1).asg(|g| g.desired = 3).again(1);
    changed.creates("founders-agree");
    let mut between = once.asg(|g| g.desired = 4).again(1).asg(|g| g.desired = 3);
    between.waits("second-read");
    between = between.again(1);
    between.creates("founders-agree");
}

#[test]
fn f06_pending_instances_are_founders() {
    for state in ["Pending", "Pending:Wait", "Pending:Proceed", "InService"] {
        Scene::founders(3).instance(2, state, "pending").creates("founders-agree");
    }
}

#[test]
fn f06_f43_an_unsettled_group_creates_nothing() {
    for state in ["Terminating", "Terminating:Wait", "Terminating:Proceed", "Terminated", "Standby", "Detaching", "New"]
    {
        Scene::founders(3).instance(4, state, "running").waits(Reason::GroupUnsettled {
            eligible: 3,
            desired: 3,
            other: vec![format!("{} is {state}", id(4))],
        });
    }
    // Warm instances are no founders, and the group is settled without them.
    Scene::founders(3).instance(4, "Warmed:Stopped", "stopped").creates("founders-agree");
}

#[test]
fn f71_more_or_fewer_than_desired_creates_nothing() {
    for desired in [2, 4] {
        let other = Vec::new();
        let scene = Scene::founders(3).asg(|g| g.desired = desired);
        scene.waits(Reason::GroupUnsettled { eligible: 3, desired, other });
    }
}

#[test]
fn a_founder_is_one_of_the_group_and_has_an_address() {
    Scene::founders(3).instance(1, "Standby", "running").asg(|g| g.desired = 2).waits("group-unsettled");
    Scene::founders(3).asg(|g| drop(g.instances.remove(&id(1)))).waits("not-in-group");
    Scene::founders(3).ec2(|ec2| drop(ec2.found.remove(&id(1)))).waits("not-in-group");
    let unaddressed = [
        Scene::founders(3).ec2(|ec2| drop(ec2.found.remove(&id(2)))),
        Scene::founders(3).instance(2, "InService", "terminated"),
        Scene::founders(3).instance(2, "InService", "stopped"),
    ];
    for scene in unaddressed {
        scene.waits(Reason::FounderWithoutAddress { instance: id(2) });
    }
    Scene::founders(3).cloud_down().waits("group-blind");
    let mut scene = Scene::founders(3);
    scene.o.ec2 = Seen::No(blind(BlindKind::Throttled));
    scene.waits("ec2-blind");
}

#[test]
fn f02_founders_that_see_another_list_are_waited_for() {
    let mine = founders_text(1..=3);
    Scene::founders(3).founding(2, 1..=2).waits(Reason::FoundersDisagree {
        instance: id(2),
        theirs: Some(founders_text(1..=2)),
        mine: mine.clone(),
    });
    let unsettled = said_by(2, None);
    Scene::founders(3).says(2, unsettled).waits(Reason::FoundersDisagree {
        instance: id(2),
        theirs: None,
        mine: mine.clone(),
    });
    let stranger = Statement { group: "arn:other".into(), ..said_by(2, Some(mine)) };
    Scene::one_silent(3).says(2, stranger).waits("founders-disagree");
}

#[test]
fn a_founders_word_is_its_own() {
    // An address that leads elsewhere: node 3 answers in the place of node 2.
    let third = said_by(3, Some(founders_text(1..=3)));
    let scene = Scene::founders(3).says(2, third);
    assert_eq!(scene.decide().action, Action::Wait, "{:?}", scene.decide());
}

#[test]
fn f07_a_silent_founder_is_waited_for_until_the_grace_is_over() {
    Scene::founders(3).silent(3).waits(Reason::FoundersSilent {
        silent: vec![format!("{}: no answer within 1.0 s", id(3))],
        agreed: 2,
        founders: 3,
    });
    Scene::founders(3).silent(3).again(58).waits("founders-silent");
    Scene::one_silent(3).creates(Reason::FoundersMajority { agreed: 2, silent: vec![id(3)] });
    Scene::one_silent(3).absent(3, Absence::Refused).creates("founders-majority");
}

#[test]
fn f03_only_silence_on_both_ports_is_silence() {
    let no_name = Absence::NoName("NXDOMAIN".into());
    for absence in unusable().into_iter().chain([no_name]) {
        Scene::one_silent(3).absent(3, absence.clone()).waits("founders-silent");
        let silent_peer = PeerAnswer::Absent(no_answer());
        Scene::one_silent(3).probe(peer(3), silent_peer.clone(), Some(Err(absence.clone()))).waits("founders-silent");
        Scene::one_silent(3).probe(peer(3), silent_peer, None).waits("founders-silent");
        let peer_only = PeerAnswer::Absent(absence);
        Scene::one_silent(3).probe(peer(3), peer_only, Some(Err(no_answer()))).waits("founders-silent");
    }
    let mut unasked = Scene::one_silent(3);
    unasked.o.probes.retain(|probe| probe.instance != Some(id(3)));
    unasked.waits("founders-silent");
}

#[test]
fn f08_a_silent_founder_of_another_generation_is_no_founder() {
    let launched = |seconds: Option<i64>| {
        Scene::one_silent(3).ec2(|ec2| {
            let mine = ec2.found[&id(1)].launched;
            let third = ec2.found.get_mut(&id(3)).expect("the scene has it");
            third.launched = seconds.and_then(|s| Some(mine? - Duration::from_secs(s.unsigned_abs())));
        })
    };
    launched(Some(60)).creates("founders-majority");
    launched(Some(61)).waits("founders-silent");
    launched(None).waits("founders-silent");
}

#[test]
fn unanimous_founding_never_takes_a_majority() {
    Scene::one_silent(3).policy(|p| p.founding = FoundingRule::Unanimous).again(3600).waits("founders-silent");
    Scene::founders(3).policy(|p| p.founding = FoundingRule::Unanimous).creates("founders-agree");
}

#[test]
fn half_of_the_founders_is_no_majority() {
    let silent =
        |n: u64, silent: std::ops::RangeInclusive<u64>| silent.fold(Scene::founders(n), Scene::silent).again(60);
    silent(2, 2..=2).waits("founders-silent");
    silent(4, 3..=4).waits("founders-silent");
    silent(5, 3..=5).waits("founders-silent");
    silent(5, 4..=5).creates("founders-majority");
}

#[test]
fn f08_a_tagged_group_creates_nothing() {
    let tagged = |s: Scene| s.asg(|g| g.cluster_tag = Some("c1".into()));
    tagged(Scene::founders(3)).waits(Reason::ClusterTagged { cluster: "c1".into(), unclear: Vec::new() });
    assert!(tagged(Scene::founders(3)).decide().reason.advice().is_some());
    // By hand: the tag is overridden, and nothing else is.
    let forced = |s: Scene| tagged(s).policy(|p| p.initial_cluster = InitialCluster::Force);
    forced(Scene::founders(3)).again(1).again(1).creates("founders-agree");
    forced(Scene::founders(3).silent(3)).waits("founders-silent");
    forced(Scene::founders(3).instance(4, "Terminating", "running")).waits("group-unsettled");
    forced(Scene::cluster(3)).adds(Learning);
}

#[test]
fn b07_f94_a_tag_that_is_gone_is_written_before_anything_is_changed() {
    let tags = |scene: &Scene, cluster| {
        let action = scene.because(Reason::Untagged { cluster });
        assert_eq!(action, tagging(cluster));
    };
    let mut joins = Scene::cluster(3).untagged();
    tags(&joins, OURS);
    joins.step();
    joins.adds(Learning);
    let mut replaces = Scene::replacing(voter(4)).known(4, "terminated").untagged();
    tags(&replaces, OURS);
    replaces.step();
    replaces.removes(4, dead(&voter(4), is(4, "terminated")));
    let wiped = Scene::group(3).serving(&[voter(1), voter(2), voter(3)], 2..=3);
    tags(&wiped.untagged(), OURS);

    // Nothing is written where nothing would be changed, nor for a cluster without a quorum.
    let list = [added(1), voter(2), voter(3)];
    Scene::group(3).serving(&list, 2..=3).untagged().starts(Existing, "resume");
    Scene::replacing(unstarted(4)).untagged().waits("other-joining");
    Scene::group(3).hesitant(BlindKind::Unreachable, &[voter(2), voter(3)], [2]).waits("no-quorum");

    // Written already, or not to be written by this role: the join goes on, and the next pass knows it too.
    let mut settled = Scene::cluster(3).untagged().again(1);
    settled.o.history.as_mut().expect("it was the second pass").deeds.untaggable = true;
    settled.adds(Learning);
    let mut lagging = Scene::cluster(3).untagged().again(1);
    lagging.o.history.as_mut().expect("it was the second pass").deeds.tagged =
        [(CLUSTER_TAG.into(), "c1".into())].into();
    lagging.adds(Learning);
}

/// The call that gives the group this cluster's tag.
fn tagging(cluster: ClusterId) -> Action {
    Action::Change(Change::TagGroup {
        group: "etcd".into(),
        tags: [(CLUSTER_TAG.to_owned(), cluster.to_string())].into(),
    })
}

#[test]
fn b12_f95_the_cluster_of_force_can_be_joined_and_gets_the_tag() {
    let forced = |s: Scene| s.policy(|p| p.initial_cluster = InitialCluster::Force);
    Scene::cluster(3).tag(OTHER).refuses("not-the-tagged-cluster");
    let mut scene = forced(Scene::cluster(3)).tag(OTHER);
    assert_eq!(scene.decide().action, tagging(OURS));
    scene.step();
    scene.adds(Learning);
    // Whoever joins later needs no force.
    scene.policy(|p| p.initial_cluster = InitialCluster::Auto).adds(Learning);
    // The founder that comes second changes nothing, and starts.
    forced(Scene::group(3).agreed(OURS).serving(&[founder(1), voter(2), voter(3)], 2..=3))
        .tag(OTHER)
        .starts(Existing, "resume");
}

#[test]
fn b12_f95_the_tag_is_an_id_however_it_is_written() {
    let tagged = |tag: &str| Scene::cluster(3).asg(|g| g.cluster_tag = Some(tag.to_owned()));
    for same in ["c1", "C1", "0xc1", "0XC1", "00000000000000c1", "193", " c1 "] {
        tagged(same).adds(Learning);
    }
    for other in ["c2", "1c1", "194", "", "c1c1c1c1c1c1c1c1c1", "cluster c1"] {
        tagged(other).refuses(Reason::NotTheTaggedCluster { tag: other.into(), seen: OURS });
    }
    let big = ClusterId(0xcdf8_18f1_94e3_a8c1);
    assert!(big.is_meant_by("14841639997863602369") && big.is_meant_by("CDF818F194E3A8C1"));
}

#[test]
fn a_policy_of_never_creates_nothing() {
    Scene::founders(3).policy(|p| p.initial_cluster = InitialCluster::Never).waits(Reason::CreationForbidden);
    Scene::cluster(3).policy(|p| p.initial_cluster = InitialCluster::Never).adds(Learning);
}
