//! Leaving with the instance, as `watch` decides it.

use etcd_bootstrap::decide::watch;
use etcd_bootstrap::model::{Action, Change, Decision, Reason};

use super::scene::Scene;
use super::{log, voter};

#[test]
fn f73_two_leavers_whose_floor_holds_at_the_same_moment_do_not_both_go() {
    // Both have waited for a replacement for longer than one waits for the other, and now node 3 votes.
    let list = [voter(1), voter(2), voter(3)];
    let scene = Scene::group(3).me(2).data(log(2, true)).serving(&list, [1, 3]);
    let scene = [1, 2].into_iter().fold(scene, |s, n| s.instance(n, "Terminating:Wait", "running"));
    let Decision { action, reason } = watch(&scene.again(61).o, &super::policy());
    assert_eq!(reason, Reason::TooFewToLeave { reachable: 1, needed: 2 });
    assert!(matches!(action, Action::Change(Change::KeepWaiting { .. })), "{action:?}");
}
