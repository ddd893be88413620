//! The version of the etcd that would start, beside those of its cluster.

use etcd_bootstrap::model::ClusterState::{Existing, New};
use etcd_bootstrap::model::{Action, BlindKind, JoinAs, Member, Reason, Seen, Statement};

use super::no_data::forming_as_agreed;
use super::scene::{Learning, Scene};
use super::{OURS, added, blind, etcd, founder, founders_text, said_by, voter};

#[test]
fn f89_an_etcd_joins_at_most_one_minor_above_the_lowest_member() {
    let table = [
        ("3.5.35", "3.4.23", "3.4.0", "joining"),
        ("3.6.16", "3.4.23", "3.4.0", "version-skips-a-minor"),
        ("3.7.3", "3.4.23", "3.4.0", "version-skips-a-minor"),
        ("3.6.16", "3.5.35", "3.5.0", "joining"),
        ("3.7.3", "3.5.35", "3.5.0", "version-skips-a-minor"),
        ("3.7.0-rc.1", "3.6.16", "3.6.0", "joining"),
        ("4.0.0", "3.7.3", "3.7.0", "version-skips-a-minor"),
    ];
    for (mine, theirs, cluster, code) in table {
        let scene = Scene::cluster(3).version(theirs).cluster_version(cluster).etcd(mine);
        scene.because(code);
        // What is dead may be what keeps the cluster's version back.
        let dead = Scene::replacing(voter(4)).known(4, "terminated").version(theirs).cluster_version(cluster);
        dead.etcd(mine).because("proven-dead");
    }
    // One member that is left behind is enough.
    let list: Vec<Member> = (2..=4).map(voter).collect();
    let mut scene = Scene::cluster(3).version("3.5.35").etcd("3.6.16");
    scene.version = "3.4.23".into();
    scene.member_of(OURS, 3, &list, Seen::Yes(list.clone())).cluster_version("3.4.0").refuses("version-skips-a-minor");
}

#[test]
fn f89_a_member_that_is_silent_counts_by_the_version_that_the_cluster_keeps_for_it() {
    let scene = Scene::replacing(voter(4)).known(4, "running").version("3.5.35").etcd("3.6.16");
    let resuming = Scene::group(3).serving(&[voter(2), voter(3), added(1)], 2..=3).version("3.5.35").etcd("3.6.16");
    for scene in [scene, resuming] {
        scene.clone().cluster_version("3.4.0").waits("version-skips-a-minor");
        // A cluster begins with 3.0 where not all founders answer.
        for version in ["3.5.0", "3.0.0"] {
            assert_ne!(scene.clone().cluster_version(version).decide().action, Action::Wait, "{version}");
        }
    }
}

#[test]
fn f89_a_listed_node_does_not_start_an_etcd_that_its_cluster_does_not_stand() {
    for row in [added(1), founder(1)] {
        let list = [voter(2), voter(3), row];
        let scene = Scene::group(3).agreed(OURS).serving(&list, 2..=3).version("3.4.23").cluster_version("3.4.0");
        scene.clone().etcd("3.6.16").refuses("version-skips-a-minor");
        scene.clone().policy(|p| p.join_as = JoinAs::Learner).etcd("3.5.35").starts(Existing, "resume");
    }
    for (mine, theirs) in [("3.6.16", "3.4.23"), ("3.4.23", "3.6.16")] {
        let forming = forming_as_agreed().version(theirs);
        forming.clone().etcd(mine).refuses("version-skips-a-minor");
        forming.etcd(theirs).starts(New, "agreed-founding");
    }
}

#[test]
fn f89_founders_with_etcds_that_clash_create_no_cluster() {
    for (mine, theirs) in [("3.6.16", "3.4.23"), ("3.4.23", "3.6.16")] {
        let founders = Some(founders_text(1..=3));
        let second = Statement { etcd: Some(etcd(theirs)), ..said_by(2, founders) };
        let scene = Scene::founders(3).etcd(mine).says(2, second.clone());
        scene.waits("version-skips-a-minor");
        // One minor apart, or not known, is no reason.
        scene.says(2, Statement { etcd: Some(etcd(mine)), ..second.clone() }).creates("founders-agree");
        Scene::founders(3).says(2, second).creates("founders-agree");
    }
}

#[test]
fn f90_an_etcd_older_than_the_cluster_is_told_before_it_is_added() {
    let table = [
        ("3.5.35", "3.6.16", "3.6.0", "version-too-old"),
        ("3.4.23", "3.7.3", "3.7.0", "version-too-old"),
        // A cluster's first seconds.
        ("3.5.35", "3.6.16", "3.0.0", "version-too-old"),
        ("3.6.6", "3.6.16", "3.6.0", "joining"),
    ];
    for (mine, theirs, cluster, code) in table {
        let scene = Scene::cluster(3).version(theirs).cluster_version(cluster);
        scene.clone().etcd(mine).because(code);
        let mut unknown = scene;
        unknown.o.etcd = Some(Seen::No(blind(BlindKind::Absent)));
        unknown.because("joining");
    }
}

#[test]
fn f90_half_way_up_old_and_new_join_and_in_a_downgrade_nobody_does() {
    let list: Vec<Member> = (2..=4).map(voter).collect();
    for mine in ["3.5.35", "3.6.16"] {
        let up = Scene::cluster(3).version("3.6.16").cluster_version("3.5.0").etcd(mine);
        up.waits("version-unsettled");
        // The old one answers, or may be the one that is silent.
        let mut half = up.clone();
        half.version = "3.5.35".into();
        half.member_of(OURS, 3, &list, Seen::Yes(list.clone())).cluster_version("3.5.0").adds(Learning);
        up.silent(3).adds(Learning);
    }
    // What is listed is what keeps the version from rising.
    let resuming = Scene::group(3).serving(&[voter(2), voter(3), added(1)], 2..=3).version("3.6.16");
    resuming.cluster_version("3.5.0").etcd("3.6.16").starts(Existing, "resume");
}

#[test]
fn f89_the_patches_that_an_upgrade_needs_are_told() {
    let table = [
        ("3.6.16", "3.5.25", Some("3.5.26")),
        ("3.6.16", "3.5.26", None),
        ("3.7.3", "3.6.10", Some("3.6.11")),
        ("3.7.3", "3.6.11", None),
        ("3.5.35", "3.4.23", None),
        ("3.5.35", "3.5.1", None),
    ];
    for (mine, theirs, needed) in table {
        let cluster = format!("{}.0", &theirs[..3]);
        let decision = Scene::cluster(3).version(theirs).cluster_version(&cluster).etcd(mine).decide();
        let Reason::Joining { caution, .. } = decision.reason else { panic!("{mine} in {theirs}: {decision:?}") };
        assert_eq!(caution.is_some(), needed.is_some(), "{mine} in {theirs}: {caution:?}");
        assert!(needed.is_none_or(|needed| caution.expect("as above").contains(needed)));
    }
}
