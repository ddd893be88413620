//! How a node joins a formed cluster, and what neither a removal nor an addition may cost (S3).

use etcd_bootstrap::model::ClusterState::Existing;
use etcd_bootstrap::model::{Action, BlindKind, Change, JoinAs, Member, MemberRef, Reason, Seen};

use super::scene::Scene;
use super::scene::{AsVoter, Learning};
use super::{OURS, SAFE, UNSAFE, added, blind, client, founder, id, learner, unstarted, voter};

// ---------------------------------------------------------------- S3

#[test]
fn f41_a_removal_leaves_a_reachable_quorum() {
    // Voters listed, the last of them dead; answering ones among the rest; needed of the rest.
    for (voters, answering, needed) in [(2, 1, 1), (3, 2, 2), (3, 1, 2), (4, 2, 2), (4, 1, 2), (5, 3, 3), (5, 2, 3)] {
        let last = voters + 1;
        let list: Vec<Member> = (2..=last).map(voter).collect();
        let scene = Scene::group(voters).serving(&list, 2..=answering + 1).known(last, "terminated");
        if answering >= needed {
            scene.removes(last, "proven-dead");
        } else {
            let [reachable, needed] = [answering, needed].map(|n| usize::try_from(n).expect("n is small"));
            let member = MemberRef::from(&voter(last));
            scene.waits(Reason::RemovalCostsQuorum { member, reachable, needed });
        }
    }
}

#[test]
fn f41_the_removed_member_itself_is_not_counted() {
    let list = [voter(2), voter(3), voter(4)];
    let scene = Scene::group(3).serving(&list, [2, 4]).known(4, "shutting-down");
    scene.waits(Reason::RemovalCostsQuorum { member: MemberRef::from(&voter(4)), reachable: 1, needed: 2 });
    // Neither does this node get its lost disk's member back at the price of the quorum.
    let list = [voter(1), voter(2), voter(3)];
    Scene::group(3).serving(&list, [2]).waits("removal-costs-quorum");
}

#[test]
fn f41_of_two_dead_members_the_silent_one_goes_first() {
    // 3 still answers while it shuts down. Without 4 the cluster outlives it; in the other order it does not.
    let list = [voter(2), voter(3), voter(4)];
    let scene = Scene::group(3).serving(&list, 2..=3).known(3, "shutting-down").known(4, "terminated");
    let mut scene = scene.asg(|g| drop(g.instances.remove(&id(3))));
    for n in [4, 3] {
        scene.removes(n, "proven-dead");
        scene.step();
    }
    scene.adds(Learning);
}

#[test]
fn f53_removing_a_learner_costs_nothing() {
    let list = [voter(2), voter(3), learner(4)];
    Scene::group(3).serving(&list, [2]).known(4, "terminated").removes(4, "proven-dead");
}

#[test]
fn f25_a_voter_is_never_added_where_its_absence_would_cost_quorum() {
    let alone = Scene::cluster(1).version(UNSAFE);
    alone.adds(Learning);
    let voter_wanted = alone.policy(|p| p.join_as = JoinAs::Voter);
    voter_wanted.waits(Reason::AdditionRisksQuorum { reachable: 1, needed: 2 });
    Scene::cluster(2).version(UNSAFE).adds(AsVoter);
    Scene::cluster(3).version(UNSAFE).adds(AsVoter);
    let one_silent = || Scene::cluster(3).silent(4).version(UNSAFE);
    one_silent().adds(Learning);
    one_silent().policy(|p| p.join_as = JoinAs::Voter).waits(Reason::AdditionRisksQuorum { reachable: 2, needed: 3 });
    Scene::cluster(5).silent(6).policy(|p| p.join_as = JoinAs::Voter).adds(AsVoter);
}

// ---------------------------------------------------------------- joining

#[test]
fn f14_another_join_is_waited_for() {
    for other in [unstarted(4), founder(4), Member { learner: true, ..unstarted(4) }] {
        let list = [voter(2), voter(3), other.clone()];
        Scene::group(4).serving(&list, 2..=3).waits(Reason::OtherJoining { member: MemberRef::from(&other) });
    }
    let list = [voter(2), voter(3), learner(4)];
    Scene::group(4).serving(&list, 2..=4).waits(Reason::LearnerNotPromoted { member: MemberRef::from(&learner(4)) });
}

#[test]
fn f55_a_learner_where_the_version_keeps_its_promotion() {
    let table = [
        ("3.4.44", AsVoter),
        ("3.5.25", AsVoter),
        ("3.5.26", Learning),
        ("3.6.0", AsVoter),
        ("3.6.5", AsVoter),
        ("3.6.6", Learning),
        ("3.7.0", Learning),
        ("3.10.0", Learning),
        ("4.0.0", Learning),
        ("3.6.0-rc.4", AsVoter),
        ("", AsVoter),
        ("newest", AsVoter),
    ];
    for (version, expected) in table {
        Scene::cluster(3).version(version).adds(expected);
    }
    // One old member is enough to lose the promotion.
    let list: Vec<Member> = (2..=4).map(voter).collect();
    let mixed = Scene::cluster(3).version(UNSAFE).version(SAFE);
    let mut old = mixed.clone();
    old.version = UNSAFE.into();
    old.member_of(OURS, 3, &list, Seen::Yes(list.clone())).adds(AsVoter);
    mixed.adds(Learning);
}

#[test]
fn join_as_is_obeyed() {
    Scene::cluster(3).policy(|p| p.join_as = JoinAs::Voter).adds(AsVoter);
    Scene::cluster(3).version(UNSAFE).policy(|p| p.join_as = JoinAs::Learner).adds(Learning);
}

#[test]
fn f20_a_local_list_is_no_authority() {
    // Node 2 lags and does not list this node; the quorum does.
    let list = [added(1), voter(2), voter(3)];
    let scene = Scene::group(3).serving(&list, 2..=3);
    scene.member_of(OURS, 2, &list[1..], Seen::No(blind(BlindKind::Unreachable))).starts(Existing, "resume");
}

#[test]
fn f54_a_learner_is_not_asked_about_others() {
    let list = [learner(2), voter(3), voter(4), voter(5)];
    let scene = Scene::group(4).serving(&list, 2..=4).known(5, "terminated");
    let Action::Change(Change::Remove { via, .. }) = scene.decide().action else { panic!("{:?}", scene.decide()) };
    assert_eq!(via, client(3));
}
