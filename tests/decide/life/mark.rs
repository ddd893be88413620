//! What becomes of the data of a member that its own node has taken out.

use std::time::SystemTime;

use etcd_bootstrap::exit::Exit;
use etcd_bootstrap::model::{LeftMember, MemberId, OwnData, Reason};

use super::Scene;
use crate::decide::scene::Learning;
use crate::decide::{OTHER, OURS, log, voter};

/// The mark that member n has left.
pub fn of(n: u64) -> LeftMember {
    LeftMember { cluster: OURS, member: MemberId(n), at: SystemTime::UNIX_EPOCH }
}

/// Two others serve, and list this node's member no more.
fn removed() -> Scene {
    Scene::group(3).data(log(1, true)).serving(&[voter(2), voter(3)], 2..=3)
}

fn left(mark: LeftMember) -> Scene {
    let mut scene = removed();
    scene.o.left = Some(mark);
    scene
}

#[test]
fn t18_who_left_and_comes_back_sets_its_data_aside_and_joins() {
    let mut scene = left(of(1));
    scene.sets_aside(Reason::RejoinAfterRemoval { member: MemberId(1) });
    scene.step();
    scene.adds(Learning);
    // Where client authentication hides the list, by the word of a majority.
    let mut hidden = Scene::group(4).data(log(1, true));
    hidden = hidden.hesitant(etcd_bootstrap::model::BlindKind::Denied, &[voter(2), voter(3), voter(4)], 2..=4);
    hidden.o.left = Some(of(1));
    hidden.sets_aside("rejoin-after-removal");
}

#[test]
fn t18_f47_without_the_mark_of_that_very_member_it_is_refused() {
    removed().refuses(Reason::RemovedMember { member: MemberId(1), cluster: OURS });
    left(of(9)).refuses("removed-member");
    left(LeftMember { cluster: OTHER, ..of(1) }).refuses("removed-member");
}

#[test]
fn t18_the_mark_alone_sets_nothing_aside() {
    let marked = |mut scene: Scene| {
        scene.o.left = Some(of(1));
        scene
    };
    // The member is listed, or nobody says that it is not.
    let list = [voter(1), voter(2), voter(3)];
    let existing = etcd_bootstrap::model::ClusterState::Existing;
    marked(Scene::group(3).data(log(1, true)).serving(&list, 2..=3)).starts(existing, "own-data-listed");
    marked(Scene::group(3).data(log(1, true))).starts(existing, "own-data-nobody-objects");
    marked(Scene::group(3).data(log(1, true)).cloud_down()).starts(existing, "own-data-nobody-objects");
    // Other data than the mark is of.
    let OwnData::Log { founders, .. } = log(1, true) else { unreachable!("a log") };
    let other = OwnData::Log { cluster_id: OTHER, member_id: MemberId(1), had_leader: true, founders };
    left(of(1)).data(other).refuses("other-clusters-data");
    // Nor does it hide that the log is ahead of the cluster (F86).
    let mut ahead = left(of(1));
    ahead.o.own_commit = Some(100);
    for probe in &mut ahead.o.probes {
        if let Some(Ok(view)) = &mut probe.client {
            view.commit = Some(99);
        }
    }
    ahead.refuses("log-ahead");
}

#[test]
fn t16_a_removed_etcd_that_restarts_while_its_instance_goes_adds_nobody() {
    for state in ["Terminating", "Terminating:Wait", "Terminating:Proceed", "Terminating:Retained"] {
        for rejoin in [false, true] {
            for scene in [removed(), left(of(1))] {
                let scene = scene.state(1, state).policy(|p| p.rejoin = rejoin);
                scene.refuses("left");
                assert_eq!(scene.decide().reason.exit(), Exit::TryAgain);
            }
        }
        // The data is gone, or was set aside a moment ago.
        removed().data(OwnData::Empty).state(1, state).waits("leaving");
    }
    removed().target("Terminated").policy(|p| p.rejoin = true).refuses("left");
    left(of(1)).target("Warmed:Stopped").refuses("warm-pool");
    // A member that has not left starts: it is needed until then (T14).
    let list = [voter(1), voter(2), voter(3)];
    let reboot = Scene::group(3).data(log(1, true)).serving(&list, 2..=3).state(1, "Terminating:Wait");
    reboot.starts(etcd_bootstrap::model::ClusterState::Existing, "own-data-listed");
}

#[test]
fn t19_f47_a_removed_member_in_standby_is_no_leaver() {
    for state in ["Standby", "InService", "Quarantined", "ReplacingRootVolume:Wait"] {
        removed().state(1, state).refuses("removed-member");
    }
}
