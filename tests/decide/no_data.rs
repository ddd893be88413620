//! The table of decisions for a node that has no data of its own.

use etcd_bootstrap::exit::Exit;
use etcd_bootstrap::model::ClusterState::{Existing, New};
use etcd_bootstrap::model::{
    Absence, Action, AddressForm, BlindKind, Change, ClusterId, Decision, InitialCluster, JoinAs, Lack, Member,
    MemberId, MemberRef, Reason, Seen, Start, Until, render_initial_cluster,
};

use super::scene::Learning;
use super::scene::{ADDED, Scene};
use super::{
    OTHER, OURS, UNSAFE, added, blind, dead, founder, founders_text, founding_of, id, is, log, named, no_answer, peer,
    unstarted, voter,
};

#[test]
fn formed_and_not_listed_prunes_then_adds_then_starts_with_the_reply() {
    let fourth = voter(4);
    let mut scene = Scene::replacing(fourth.clone()).known(4, "terminated");
    scene.removes(4, dead(&fourth, is(4, "terminated")));
    scene.step();
    scene.adds(Learning);
    scene.step();
    let start = scene.starts(Existing, Reason::Resume { member: ADDED });
    assert_eq!(render_initial_cluster(&start.initial_cluster), founders_text(1..=3));
    assert_eq!(scene.because("resume"), Action::Start(start), "deciding again gives the same");
}

#[test]
fn f27_listed_and_unstarted_resumes_without_a_second_add() {
    let list = [added(1), voter(2), voter(3)];
    let start = Scene::group(3).serving(&list, 2..=3).starts(Existing, Reason::Resume { member: MemberId(1) });
    assert_eq!(render_initial_cluster(&start.initial_cluster), founders_text(1..=3));
    assert_eq!(start.name, id(1));
    // AWS has no say in it.
    Scene::group(3).serving(&list, 2..=3).cloud_down().starts(Existing, "resume");
    let voter_added = || Scene::group(3).version(UNSAFE).serving(&[unstarted(1), voter(2), voter(3)], 2..=3);
    voter_added().starts(Existing, "resume");
    voter_added().policy(|p| p.join_as = JoinAs::Voter).starts(Existing, "resume");
}

/// Members that were added at the same moment, and late founders, in the order of their peer URLs.
#[test]
fn f124_who_starts_for_the_first_time_waits_for_those_before_it() {
    let after = |n: u64, list: &[Member]| {
        let start = Scene::group(5).me(n).version(UNSAFE).serving(list, 4..=5).starts(Existing, "resume");
        start.after.map(|after| (after.peer_urls, after.until))
    };
    let list = [unstarted(1), unstarted(2), unstarted(3), voter(4), voter(5)];
    assert_eq!(after(1, &list), None);
    assert_eq!(after(2, &list), Some((vec![peer(1)], Until::AllServe)));
    assert_eq!(after(3, &list), Some((vec![peer(1), peer(2)], Until::AllServe)));
    let list = [voter(1), founder(2), unstarted(3), voter(4), voter(5)];
    assert_eq!(after(3, &list), Some((vec![peer(2)], Until::AllServe)));
}

/// Member 1 was removed, for its disk was lost. Member 2 is cut off, and has not heard of that.
#[test]
fn f130_no_etcd_starts_while_a_member_lists_whom_its_node_was_before() {
    let old = [voter(1), voter(2), voter(3), voter(4), voter(5)];
    let outdated = |list: &[Member]| {
        let unheard = Seen::No(blind(BlindKind::Unreachable));
        Scene::group(5).serving(list, 3..=5).member_of(OURS, 2, &old, unheard)
    };
    let waits = Reason::OutdatedMember { at: peer(2).to_string(), former: MemberId(1) };
    outdated(&[voter(2), voter(3), voter(4), voter(5)]).waits(waits.clone());
    let added = Member { id: MemberId(9), ..added(1) };
    let list = [added, voter(2), voter(3), voter(4), voter(5)];
    outdated(&list).waits(waits);
    Scene::group(5).serving(&list, 2..=5).starts(Existing, "resume");
}

#[test]
fn f12c_a_late_founder_of_a_led_cluster_resumes() {
    let list = [founder(1), voter(2), voter(3)];
    let scene = Scene::group(3).agreed(OURS).serving(&list, 2..=3);
    scene.starts(Existing, Reason::Resume { member: MemberId(1) });
}

#[test]
fn f46_a_lost_disk_removes_its_own_member_first() {
    let scene = Scene::group(3).serving(&[voter(1), voter(2), voter(3)], 2..=3);
    scene.removes(1, Reason::ReplacesOwnLostDisk { member: MemberRef::from(&voter(1)) });
    // A member with the host's name for a name, as on Flatcar, at this node's own address.
    let mine = named("ip-10-0-0-1", voter(1));
    let scene = Scene::group(3).serving(&[mine.clone(), voter(2), voter(3)], 2..=3);
    scene.removes(1, Reason::ReplacesOwnLostDisk { member: MemberRef::from(&mine) });
}

/// `ready` promotes a learner before it is published: as a voter it may have acknowledged what is lost with its disk.
#[test]
fn f46_a_promoted_learner_that_lost_its_disk_is_removed_though_it_was_never_published() {
    let list = [unstarted(1), voter(2), voter(3)];
    Scene::group(3).serving(&list, 2..=3).removes(1, "replaces-own-lost-disk");
    let by_order = Scene::group(3).version(UNSAFE).policy(|p| p.join_as = JoinAs::Learner);
    by_order.serving(&list, 2..=3).removes(1, "replaces-own-lost-disk");
}

#[test]
fn f28_reused_address_of_a_dead_member_is_removed_first() {
    let former = Member { peer_urls: vec![peer(1)], ..voter(4) };
    let scene = Scene::replacing(former.clone());
    let member = MemberRef::from(&former);
    scene.clone().known(4, "terminated").removes(4, Reason::AddressReused { member, proof: is(4, "terminated") });
    // EC2 has forgotten it: that takes the second read and the grace as anywhere else.
    scene.clone().asked(4).waits("owner-unknown");
    scene.clone().asked(4).again(10).removes(4, "address-reused");
    scene.waits("owner-unknown");
}

#[test]
fn f32_the_address_of_another_live_instance_is_refused() {
    let theirs = Member { peer_urls: vec![peer(1)], ..voter(4) };
    for state in ["pending", "running", "stopping", "stopped"] {
        let scene = Scene::replacing(theirs.clone()).known(4, state);
        scene.refuses(Reason::AddressTaken { member: MemberRef::from(&theirs) });
    }
}

#[test]
fn a_member_that_answers_on_another_of_its_urls_is_not_this_nodes_lost_disk() {
    let two = Member { peer_urls: vec![peer(1), peer(4)], ..named("hand-made", voter(4)) };
    let list = [voter(2), voter(3), two];
    let scene = Scene::group(3).serving(&list, 2..=4);
    assert!(!matches!(scene.decide().action, Action::Change(Change::Remove { .. })), "{:?}", scene.decide());
}

/// This node has agreed to found the cluster that node 2's etcd forms; node 3 is silent.
pub fn forming_as_agreed() -> Scene {
    let agreed = founding_of(1..=3);
    let list: Vec<Member> = (1..=3).map(founder).collect();
    let scene = Scene::group(3).record(|record| record.agreed = Some(agreed.clone()));
    scene.forming(agreed.cluster, &list, [2])
}

#[test]
fn f02_f12b_who_has_agreed_starts_what_another_founder_has_started_already() {
    // And does not wait for the client port of the early one, nor for the founder that is silent.
    let start = forming_as_agreed().starts(New, Reason::AgreedFounding { cluster: founding_of(1..=3).cluster });
    assert_eq!(render_initial_cluster(&start.initial_cluster), founders_text(1..=3));
}

#[test]
fn f02_a_forming_cluster_that_this_disk_has_not_agreed_to_is_waited_for() {
    let list: Vec<Member> = (1..=4).map(founder).collect();
    Scene::group(3).forming(OURS, &list, [2]).waits(Reason::FormingWithoutMe { cluster: OURS });
    let other = founding_of(1..=2);
    Scene::group(3).record(|record| record.agreed = Some(other)).forming(OURS, &list, [2]).waits("forming-without-me");
}

#[test]
fn f04_a_published_row_is_never_new() {
    // A client URL is published through raft: there was a leader, whatever the version says yet.
    let list = [voter(1), voter(2), founder(3)];
    let scene = Scene::group(3).forming(OURS, &list, [2]);
    assert!(!matches!(scene.decide().action, Action::Start(Start { state: New, .. })), "{:?}", scene.decide());
}

#[test]
fn f04_a_tagged_cluster_that_looks_as_if_it_formed_is_not_founded_again() {
    // As an idle cluster up to 3.5 looks after a power cut to a founder whose disk is lost.
    let tagged = forming_as_agreed().asg(|g| g.cluster_tag = Some("c1".into()));
    tagged.waits("cluster-tagged");
    tagged.policy(|p| p.initial_cluster = InitialCluster::Force).starts(New, "agreed-founding");
    forming_as_agreed().policy(|p| p.initial_cluster = InitialCluster::Never).waits("creation-forbidden");
}

#[test]
fn f11_a_new_cluster_never_starts_without_its_token() {
    forming_as_agreed().cloud_down().waits("group-blind");
}

#[test]
fn forming_without_this_node_waits() {
    let list = [founder(2), founder(3)];
    Scene::group(3).forming(OURS, &list, [2]).waits(Reason::FormingWithoutMe { cluster: OURS });
}

#[test]
fn of_two_forming_clusters_the_agreed_one_is_started() {
    let list: Vec<Member> = (1..=3).map(founder).collect();
    let agreed = forming_as_agreed();
    let view = agreed.view(ClusterId(0), &list[..2], None);
    agreed.probe(peer(3), view.clone(), None).starts(New, "agreed-founding");
    Scene::group(3).forming(OURS, &list, [2]).probe(peer(3), view, None).waits("forming-without-me");
}

#[test]
fn formed_without_quorum_waits_and_names_the_survivors() {
    let list = [voter(1), voter(2), voter(3)];
    let scene = Scene::group(3).hesitant(BlindKind::Unreachable, &list, [2]);
    let Decision { action: Action::Wait, reason } = scene.decide() else { panic!("{:?}", scene.decide()) };
    let Reason::NoQuorum { cluster: OURS, answering, .. } = &reason else { panic!("{reason:?}") };
    assert_eq!(*answering, [peer(2).to_string()]);
    assert_eq!(reason.exit(), Exit::TryAgain);
    assert!(reason.advice().is_some());
    // Whatever the policy and the founders say, there are survivors.
    let forced = Scene::founders(3).hesitant(BlindKind::Unreachable, &[voter(2)], [2]);
    forced.policy(|p| p.initial_cluster = InitialCluster::Force).waits("no-quorum");
}

#[test]
fn b10_f96_without_a_quorum_the_advice_is_by_cause() {
    let advises = |scene: &Scene, lacks: Lack, words: &str| {
        let Decision { action: Action::Wait, reason } = scene.decide() else { panic!("{:?}", scene.decide()) };
        let Reason::NoQuorum { lack, .. } = &reason else { panic!("{reason:?}") };
        let advice = reason.advice().expect("a person must do something");
        assert!(*lack == lacks && advice.contains(words), "{lack:?}: {advice}");
        assert!(!advice.contains("force-new-cluster"), "it keeps the cluster's id and splits a healthy one");
        assert!(lacks == Lack::Instances || !advice.contains("recover"), "{advice}");
    };
    let list = [voter(2), voter(3), voter(4)];
    let shut = [Absence::Tls("certificate expired".into()), no_answer(), Absence::Refused];
    for absence in shut {
        let scene = (2..=4).fold(Scene::group(4), |s, n| {
            let view = s.view(OURS, &list, Some("3.6.0"));
            s.probe(peer(n), view, Some(Err(absence.clone())))
        });
        advises(&scene, Lack::ClientPort, "make their client port answer");
    }
    let hesitant = |nodes| Scene::group(4).hesitant(BlindKind::Unreachable, &list, nodes);
    advises(&hesitant(2..=3), Lack::Leader, "wait");
    advises(&hesitant(2..=2), Lack::Etcds, "start the stopped members");
    let lost = |n: u64| hesitant(2..=2).known(n, "terminated");
    advises(&lost(3), Lack::Etcds, "start the stopped members");
    advises(&lost(3).known(4, "terminated"), Lack::Instances, "recover --from=this-node");
    // This node's own disk is one of them.
    let wiped = Scene::group(3).hesitant(BlindKind::Unreachable, &[voter(1), voter(2), voter(3)], [2]);
    advises(&wiped, Lack::Etcds, "start the stopped members");
    advises(&wiped.known(3, "terminated"), Lack::Instances, "recover --from=this-node");
}

#[test]
fn f59_a_hidden_member_list_is_refused_and_never_new() {
    let scene = Scene::group(3).hesitant(BlindKind::Denied, &[voter(2), voter(3)], 2..=3);
    scene.refuses("denied");
    assert_eq!(scene.decide().reason.exit(), Exit::NeedsOperator);
}

#[test]
fn two_formed_clusters_are_refused_and_named() {
    let scene = Scene::cluster(2).member_of(OTHER, 3, &[voter(3)], Seen::Yes(vec![voter(3)]));
    scene.refuses(Reason::TwoClusters { one: OURS, other: OTHER });
    assert_eq!(scene.decide().reason.exit(), Exit::NeedsOperator);
}

#[test]
fn f10_a_cluster_that_is_not_the_tagged_one_is_refused() {
    let tagged = |tag: &str| Scene::cluster(3).asg(|g| g.cluster_tag = Some(tag.to_owned()));
    tagged("c2").refuses(Reason::NotTheTaggedCluster { tag: "c2".into(), seen: OURS });
    tagged("c1").adds(Learning);
}

#[test]
fn f69_an_instance_for_the_warm_pool_joins_nothing() {
    for scene in [Scene::cluster(3), Scene::founders(3), Scene::group(3).data(log(1, true))] {
        let scene = scene.identity(|me| me.target_lifecycle_state = Some("Warmed:Stopped".into()));
        scene.refuses(Reason::WarmPool { state: "Warmed:Stopped".into() });
        assert_eq!(scene.decide().reason.exit(), Exit::TryAgain);
    }
    // The group's word counts where the metadata does not say.
    Scene::cluster(3)
        .instance(1, "Warmed:Pending", "running")
        .waits(Reason::Leaving { state: "Warmed:Pending".into() });
}

#[test]
fn an_instance_that_leaves_the_group_joins_nothing() {
    for state in ["Terminating:Wait", "Standby", "Detaching", "SomethingNew"] {
        Scene::cluster(3).instance(1, state, "running").waits(Reason::Leaving { state: state.into() });
    }
}

#[test]
fn without_metadata_or_an_address_of_the_form_asked_for_nothing_is_done() {
    let mut scene = Scene::cluster(3);
    scene.o.me = Seen::No(blind(BlindKind::Unreachable));
    scene.waits("metadata-blind");
    let nameless = Scene::cluster(3).identity(|me| me.addresses.dns_name = None);
    nameless.policy(|p| p.address_form = AddressForm::DnsNames).refuses(Reason::NoOwnAddress);
}
