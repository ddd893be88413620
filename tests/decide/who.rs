//! Who it is that answers, and who is asked: copies of disks, strangers on old addresses, members that refuse.

use etcd_bootstrap::decide::remember;
use etcd_bootstrap::model::ClusterState::Existing;
use etcd_bootstrap::model::{Action, Change, Member, MemberId, MemberRef, Reason, Seen, Statement};

use super::death::forgotten;
use super::scene::{Learning, Scene};
use super::{OTHER, OURS, at, client, dead, id, is, learner, log, named, peer, said_by, unstarted, url, voter};

/// This node has the disk of member 4, which is listed under this name at this URL.
fn with_the_disk_of_four(name: &str, at: u64) -> (Scene, Vec<Member>) {
    let four = named(name, Member { peer_urls: vec![peer(at)], ..voter(4) });
    let list = vec![voter(2), voter(3), four];
    (Scene::group(3).data(log(4, true)).serving(&list, 2..=3), list)
}

#[test]
fn b04_f88_a_copy_of_a_living_members_disk_is_refused() {
    let of_four = || with_the_disk_of_four(id(4).as_str(), 4);
    // It answers itself, whatever AWS says or does not say.
    let (scene, list) = of_four();
    let serving = scene.serving(&list, 2..=4);
    for scene in [serving.clone(), serving.clone().known(4, "terminated"), serving.cloud_down()] {
        scene.refuses("disk-is-a-copy");
    }
    // Its instance is not gone, though it is silent now.
    for state in ["pending", "running", "stopping", "stopped"] {
        of_four().0.known(4, state).refuses("disk-is-a-copy");
    }
    // Nobody has said yet what became of it.
    of_four().0.waits("second-read");
    // A first start of the copy has renamed the member: its address is the original's.
    let (renamed, _) = with_the_disk_of_four(id(1).as_str(), 4);
    renamed.known(4, "running").refuses("disk-is-a-copy");
}

#[test]
fn b04_f88_a_disk_that_was_moved_from_a_dead_instance_starts() {
    for state in ["shutting-down", "terminated"] {
        let (scene, _) = with_the_disk_of_four(id(4).as_str(), 4);
        scene.known(4, state).starts(Existing, "own-data-listed");
    }
    // It is this node's own, under any name.
    with_the_disk_of_four("etcd-d", 1).0.starts(Existing, "own-data-listed");
    with_the_disk_of_four(id(1).as_str(), 1).0.cloud_down().starts(Existing, "own-data-listed");
}

#[test]
fn b04_f88_evidence_that_contradicts_itself_proves_no_death() {
    let list = [voter(2), voter(3), voter(4)];
    let answering = || Scene::group(3).serving(&list, 2..=4);
    answering().known(4, "terminated").adds(Learning);
    // One that shuts down answers for a while (F37).
    answering().known(4, "shutting-down").removes(4, dead(&voter(4), is(4, "shutting-down")));
    // The copy's name at the original's address, which is silent for now.
    let renamed = Member { peer_urls: vec![peer(5)], ..voter(4) };
    let scene = Scene::replacing(renamed.clone()).known(4, "terminated");
    scene.clone().instance(5, "InService", "running").adds(Learning);
    scene.clone().removes(4, dead(&renamed, is(4, "terminated")));
    // Who waits there without data is not the member, but the address's next owner (F28).
    let next_owner = scene.instance(5, "InService", "running").founding(5, 1..=3);
    next_owner.removes(4, dead(&renamed, is(4, "terminated")));
}

#[test]
fn b06_f91_a_stranger_on_a_dead_members_address_is_no_cluster() {
    let theirs = [voter(4)];
    let scene = || Scene::replacing(voter(4)).member_of(OTHER, 4, &theirs, Seen::Yes(theirs.to_vec()));
    scene().asked(4).again(10).removes(4, dead(&voter(4), forgotten(10)));
    scene().known(4, "terminated").removes(4, dead(&voter(4), is(4, "terminated")));
    scene().waits("second-read");
    // With this node's own data it says nothing either.
    scene().data(log(1, true)).refuses("removed-member");
    // So does a node of theirs that has no cluster yet.
    let theirs = Statement { group: "theirs".into(), ..said_by(4, None) };
    Scene::replacing(voter(4)).says(4, theirs).asked(4).again(10).removes(4, "proven-dead");
    // An instance of this group is no stranger.
    let two = Scene::group(3).member_of(OURS, 2, &[voter(2)], Seen::Yes(vec![voter(2)]));
    let two = two.member_of(OTHER, 3, &[voter(3)], Seen::Yes(vec![voter(3)]));
    two.refuses(Reason::TwoClusters { one: OURS, other: OTHER });
}

pub fn refused(mut scene: Scene, times: u32) -> Scene {
    scene.o.history = Some(remember(&scene.o, &scene.p));
    scene.o.history.as_mut().expect("it was set above").deeds.refusals = times;
    scene
}

#[test]
fn b09_f92_a_foreign_member_that_blocks_every_join_is_named() {
    let foreign = named("etcd-d", voter(4));
    let scene = || Scene::replacing(foreign.clone());
    scene().adds(Learning);
    let named = refused(scene(), 1).decide();
    assert_eq!(named.reason, Reason::ForeignInTheWay { member: MemberRef::from(&foreign) });
    assert!(matches!(named.action, Action::Change(Change::Add { .. })), "it goes on asking: {:?}", named.action);
    let advice = named.reason.advice().unwrap_or_default();
    assert!(advice.contains("etcdctl member remove") && advice.contains("--prune-foreign"), "{advice}");
    // One that answers is in nobody's way, and that a leader is new is no member's fault.
    let list = [voter(2), voter(3), foreign.clone()];
    assert_eq!(refused(Scene::group(3).serving(&list, 2..=4), 1).decide().reason.code(), "joining");
    assert_eq!(refused(Scene::cluster(3), 1).decide().reason.code(), "joining");
}

#[test]
fn f110_a_change_that_one_member_refuses_is_asked_of_another() {
    let via = |times| match refused(Scene::cluster(3), times).decide().action {
        Action::Change(Change::Add { via, .. }) => via,
        other => panic!("{other:?}"),
    };
    assert_eq!([0, 1, 2, 3].map(via), [2, 3, 4, 2].map(client));
    let removal = refused(Scene::replacing(voter(4)).known(4, "terminated"), 1).decide().action;
    assert_eq!(removal, Action::Change(Change::Remove { member: MemberId(4), via: client(3) }));
}

#[test]
fn b31_f108_a_member_on_this_host_at_another_port_is_another_one() {
    let beside = Member { peer_urls: vec![url("http://10.0.0.1:2390")], ..named("etcd-b", voter(4)) };
    Scene::replacing(beside).adds(Learning);
    let by_name = Member { peer_urls: vec![url("http://ip-10-0-0-1.ec2.internal:2390")], ..named("etcd-b", voter(4)) };
    Scene::replacing(by_name).adds(Learning);
}

#[test]
fn f53_a_dead_learner_goes_before_dead_voters() {
    let list = [voter(2), voter(3), voter(4), voter(5), unstarted(6), learner(7)];
    let dying =
        |s: Scene, n| s.known(n, "terminated").ec2(|ec2| ec2.found.get_mut(&id(n)).expect("known").addresses = at(n));
    let mut scene = (5..=7).fold(Scene::group(4).serving(&list, 2..=4), dying);
    for n in [7, 6, 5] {
        scene.removes(n, "proven-dead");
        scene.step();
    }
    scene.adds(Learning);
}
