//! Who is proven dead, and who only looks so.

use std::time::Duration;

use etcd_bootstrap::model::{Absence, Action, BlindKind, Change, Member, Proof, Seen};

use super::scene::{Learning, Scene};
use super::{OURS, at, blind, dead, id, is, named, peer, unstarted, unusable, url, voter};

#[test]
fn f37_only_shutting_down_and_terminated_are_dead() {
    for state in ["shutting-down", "terminated"] {
        Scene::replacing(voter(4)).known(4, state).removes(4, dead(&voter(4), is(4, state)));
    }
    for state in ["pending", "running", "stopping", "stopped", "something-new"] {
        // F38: not in the group, silent for an hour, and none of it is evidence.
        Scene::replacing(voter(4)).known(4, state).again(3600).again(3600).adds(Learning);
    }
}

#[test]
fn f33_f43_an_instance_of_the_group_is_alive_though_ec2_does_not_know_it() {
    for state in ["Pending", "Standby", "Terminating:Wait", "SomethingNew"] {
        let scene = Scene::replacing(voter(4)).asked(4).asg(|g| drop(g.instances.insert(id(4), state.into())));
        scene.again(3600).again(3600).adds(Learning);
    }
}

#[test]
fn f36_a_forgotten_instance_is_dead_after_two_reads_and_the_grace() {
    let scene = Scene::replacing(voter(4)).asked(4);
    scene.clone().again(10).removes(4, dead(&voter(4), forgotten(10)));
    let unproven = [scene.clone(), scene.clone().again(9), scene.clone().later(3600)];
    for scene in unproven {
        assert!(!matches!(scene.decide().action, Action::Change(Change::Remove { .. })), "{:?}", scene.decide());
    }
    // An answer in between begins the count anew.
    let list = [voter(2), voter(3), voter(4)];
    let back = scene.again(9).serving(&list, 2..=4).again(9).serving(&list, 2..=3).again(9);
    assert!(!matches!(back.decide().action, Action::Change(Change::Remove { .. })), "{:?}", back.decide());
}

pub fn forgotten(seconds: u64) -> Proof {
    Proof::Forgotten { instance: id(4), silent_for: Duration::from_secs(seconds) }
}

#[test]
fn f33_a_pass_in_which_ec2_did_not_say_so_is_no_read() {
    let not_asked = Scene::replacing(voter(4)).again(60).asked(4);
    assert!(!matches!(not_asked.decide().action, Action::Change(Change::Remove { .. })), "{:?}", not_asked.decide());
    let mut blind_first = Scene::replacing(voter(4)).asked(4);
    let ec2 = std::mem::replace(&mut blind_first.o.ec2, Seen::No(blind(BlindKind::Throttled)));
    blind_first = blind_first.again(60);
    blind_first.o.ec2 = ec2;
    assert!(
        !matches!(blind_first.decide().action, Action::Change(Change::Remove { .. })),
        "{:?}",
        blind_first.decide()
    );
}

#[test]
fn f24_nobody_is_added_before_every_member_has_been_asked_about() {
    // The first pass cannot have asked: it learns the names only now. Once added, this node never prunes again.
    let list: Vec<Member> = (2..=6).map(voter).collect();
    let scene = Scene::group(5).serving(&list, 2..=5);
    scene.waits("second-read");
    scene.clone().known(6, "terminated").again(1).removes(6, dead(&voter(6), is(6, "terminated")));
    scene.clone().known(6, "running").again(1).adds(Learning);
    // The same for one that EC2 has forgotten: it is dead in a moment.
    scene.asked(6).again(1).waits("second-read");
}

#[test]
fn f36_silence_is_of_all_kinds_but_a_word() {
    for absence in unusable() {
        let scene = Scene::replacing(voter(4)).asked(4).absent(4, absence).again(60).again(60);
        assert!(!matches!(scene.decide().action, Action::Change(Change::Remove { .. })), "{:?}", scene.decide());
    }
    let list = [voter(2), voter(3), voter(4)];
    Scene::group(3).asked(4).serving(&list, 2..=4).again(3600).adds(Learning);
    for absence in [Absence::Refused, Absence::NoName("NXDOMAIN".into())] {
        Scene::replacing(voter(4)).asked(4).absent(4, absence).again(10).removes(4, "proven-dead");
    }
}

#[test]
fn f34_a_reply_that_lacks_this_node_proves_nothing() {
    let scene = || Scene::replacing(voter(4)).known(4, "terminated");
    scene().asg(|g| drop(g.instances.remove(&id(1)))).waits("not-in-group");
    scene().ec2(|ec2| drop(ec2.found.remove(&id(1)))).waits("not-in-group");
    scene().asg(|g| g.instances.clear()).waits("not-in-group");
    scene().cloud_down().waits("group-blind");
    let mut blinded = scene();
    blinded.o.ec2 = Seen::No(blind(BlindKind::Denied));
    blinded.waits("ec2-blind");
}

#[test]
fn f26_a_nameless_member_is_known_by_its_address() {
    let dying = Scene::replacing(unstarted(4)).known(4, "shutting-down");
    dying.removes(4, dead(&unstarted(4), is(4, "shutting-down")));
    Scene::replacing(unstarted(4)).known(4, "running").again(3600).waits("other-joining");
    // A name that is no instance's is no name.
    let hand_named = named("etcd-4", voter(4));
    Scene::replacing(hand_named.clone())
        .known(4, "shutting-down")
        .removes(4, dead(&hand_named, is(4, "shutting-down")));
}

/// EC2 takes the name from who is terminated, and no address is in it.
#[test]
fn f26_a_nameless_member_at_a_resource_name_is_of_that_instance() {
    let at = |host: String| Member { peer_urls: vec![url(&format!("http://{host}:2380"))], ..unstarted(4) };
    let ours = at(format!("{}.eu-west-1.compute.internal", id(4)));
    Scene::replacing(ours.clone()).known(4, "terminated").removes(4, dead(&ours, is(4, "terminated")));
    Scene::replacing(ours).known(4, "running").again(3600).waits("other-joining");
    let no_name_of_ec2 = at(format!("{}.example.org", id(4)));
    Scene::replacing(no_name_of_ec2).known(4, "terminated").again(3600).waits("other-joining");
}

#[test]
fn f26_an_address_belongs_to_the_living_of_its_holders() {
    // EC2's words about the old holder lag; neither is listed by the group.
    let scene = Scene::replacing(unstarted(5)).known(4, "shutting-down").known(5, "running");
    let scene = scene.ec2(|ec2| ec2.found.get_mut(&id(4)).expect("it is known").addresses = at(5));
    scene.waits("other-joining");
}

#[test]
fn f26_a_member_that_never_started_is_dead_after_the_grace() {
    let ghost = unstarted(4);
    let proof = Proof::NeverStarted { silent_for: Duration::from_secs(60) };
    Scene::replacing(ghost.clone()).again(60).removes(4, dead(&ghost, proof));
    Scene::replacing(ghost.clone()).waits("other-joining");
    Scene::replacing(ghost.clone()).again(59).waits("other-joining");
    Scene::replacing(ghost.clone()).later(3600).waits("other-joining");
    Scene::replacing(ghost).absent(4, Absence::Tls("expired".into())).again(3600).waits("other-joining");
    let elsewhere = Member { peer_urls: vec![url("http://10.9.0.4:2380")], ..unstarted(4) };
    Scene::replacing(elsewhere).again(3600).waits("other-joining");
    let by_name = |name: &str| Member { peer_urls: vec![url(name)], ..unstarted(4) };
    Scene::replacing(by_name("http://ip-10-0-0-4.ec2.internal:2380")).again(60).removes(4, "proven-dead");
    Scene::replacing(by_name("http://etcd.example.org:2380")).again(3600).waits("other-joining");
}

#[test]
fn f45_a_foreign_member_stays() {
    let foreign = named("hand-made", voter(4));
    let scene = Scene::replacing(foreign.clone()).again(3600);
    scene.adds(Learning);
    let proof = Proof::Foreign { silent_for: Duration::from_secs(3600) };
    scene.policy(|p| p.prune_foreign = true).removes(4, dead(&foreign, proof));
    let list = [voter(2), voter(3), foreign.clone()];
    Scene::group(3).serving(&list, 2..=4).policy(|p| p.prune_foreign = true).again(3600).adds(Learning);
}

#[test]
fn f45_an_instance_of_another_vpc_is_foreign_though_ec2_does_not_know_it() {
    // Another region or account: this EC2 cannot know it, and the network between them can fail.
    let elsewhere = Member { peer_urls: vec![url("http://172.31.0.4:2380")], ..voter(4) };
    let scene = Scene::replacing(elsewhere).asked(4).again(3600);
    assert!(!matches!(scene.decide().action, Action::Change(Change::Remove { .. })), "{:?}", scene.decide());
}

#[test]
fn this_nodes_former_self_at_another_address_is_removed() {
    let former = Member { peer_urls: vec![peer(9)], ..voter(1) };
    let scene = Scene::group(3).serving(&[former.clone(), voter(2), voter(3)], 2..=3);
    scene.removes(1, dead(&former, Proof::Myself));
}

#[test]
fn a_former_self_that_answers_is_somebody() {
    let double = Member { peer_urls: vec![peer(9)], ..voter(1) };
    let list = [double, voter(2), voter(3)];
    let scene =
        Scene::group(3).serving(&list, 2..=3).probe(peer(9), Scene::group(3).view(OURS, &list, Some("3.6.0")), None);
    assert!(!matches!(scene.decide().action, Action::Change(Change::Remove { .. })), "{:?}", scene.decide());
}

#[test]
fn b22_f93_a_name_of_another_vpc_of_the_region_is_not_in_this_one() {
    // All VPCs of a region share the domain; their addresses differ where they are peered.
    let peered = Member { peer_urls: vec![url("http://ip-10-9-0-4.ec2.internal:2380")], ..unstarted(4) };
    Scene::replacing(peered).again(3600).waits("other-joining");
    let unknown = Member { peer_urls: vec![url("http://etcd-4.ec2.internal:2380")], ..unstarted(4) };
    Scene::replacing(unknown).again(3600).waits("other-joining");
}

#[test]
fn b22_f93_a_member_at_a_further_address_of_an_instance_was_left_behind_by_nobody() {
    let container = Member { peer_urls: vec![peer(44)], ..unstarted(4) };
    let other = "10.0.0.44".parse().expect("an address");
    let scene = Scene::replacing(container.clone());
    let held = scene.clone().ec2(|ec2| ec2.found.get_mut(&id(2)).expect("it is known").others = [other].into());
    held.again(3600).waits("other-joining");
    scene.again(60).removes(4, "proven-dead");
}
