//! Lifecycle states, and how each waiting ends.

use super::*;

#[tokio::test]
async fn a_launch_waits_for_its_hook_and_proceeds_into_service() {
    let lab = Lab::begin(1, both_hooks());
    lab.advance(Duration::ZERO);
    let node = lab.rig.arrivals().unwrap().remove(0);
    let id = &node.instance;
    assert_eq!((lab.described().await, lab.ec2(id)), (vec!["Pending".to_owned()], Ec2State::Pending));
    assert_eq!(target(&node).await.as_deref(), Some("InService"), "told from the first");
    assert_eq!(lab.complete(LAUNCH, id, "CONTINUE").await, no_action(id), "too early");
    lab.step();
    assert_eq!((lab.described().await, lab.ec2(id)), (vec!["Pending:Wait".to_owned()], Ec2State::Running));
    lab.advance(seconds(30));
    assert_eq!(lab.described().await, ["Pending:Wait"]);
    assert_eq!(lab.complete(LAUNCH, id, "CONTINUE").await, Ok(()));
    assert_eq!(lab.described().await, ["Pending:Proceed"]);
    lab.step();
    assert_eq!(lab.described().await, ["InService"]);
    assert_eq!(target(&node).await.as_deref(), Some("InService"));
    assert!(lab.rig.arrivals().unwrap().is_empty(), "a machine is made once");
}

#[tokio::test]
async fn a_termination_waits_for_its_hook_and_leaves_the_group_when_ec2_is_done() {
    let lab = Lab::settled(1, both_hooks());
    let node = lab.rig.arrivals().unwrap().remove(0);
    let id = &node.instance;
    lab.change(|world| world.set_desired(GROUP, 0));
    lab.advance(Duration::ZERO);
    assert_eq!((lab.described().await, lab.ec2(id)), (vec!["Terminating".to_owned()], Ec2State::Running));
    assert_eq!(target(&node).await.as_deref(), Some("Terminated"), "told from the first");
    lab.step();
    assert_eq!((lab.described().await, lab.ec2(id)), (vec!["Terminating:Wait".to_owned()], Ec2State::Running));
    assert_eq!(lab.complete(TERMINATE, id, "CONTINUE").await, Ok(()));
    assert_eq!((lab.described().await, lab.ec2(id)), (vec!["Terminating:Proceed".to_owned()], Ec2State::Running));
    lab.step();
    assert_eq!((lab.described().await, lab.ec2(id)), (vec!["Terminating:Proceed".to_owned()], Ec2State::ShuttingDown));
    lab.step();
    assert_eq!((lab.described().await, lab.ec2(id)), (vec![], Ec2State::Terminated));
    assert_eq!(target(&node).await, None);
}

#[tokio::test]
async fn without_a_hook_nobody_waits() {
    let lab = Lab::begin(1, Scaling::default());
    let mut seen = vec![];
    for _ in 0..2 {
        lab.change(World::step);
        seen.extend(lab.lifecycles());
    }
    lab.change(|world| world.set_desired(GROUP, 0));
    while lab.change(World::step) {
        seen.extend(lab.lifecycles());
    }
    assert_eq!(seen, ["Pending", "InService", "Terminating", "Terminating"], "the last while EC2 shuts it down");
}

#[tokio::test]
async fn every_hook_of_a_transition_has_to_continue() {
    let mut scaling = both_hooks();
    scaling.hooks.push(Hook::launching("ssm", seconds(60), Outcome::Abandon));
    let lab = Lab::begin(1, scaling);
    lab.step();
    let id = &lab.members()[0];
    assert_eq!(lab.complete("ssm", id, "CONTINUE").await, Ok(()));
    lab.step();
    assert_eq!(lab.described().await, ["Pending:Wait"]);
    assert_eq!(lab.complete(LAUNCH, id, "CONTINUE").await, Ok(()));
    assert_eq!(lab.described().await, ["Pending:Proceed"]);
}

#[tokio::test]
async fn an_abandoned_launch_is_terminated_with_its_hooks_and_replaced() {
    let mut scaling = both_hooks();
    scaling.hooks.push(Hook::launching("ssm", seconds(60), Outcome::Continue));
    let lab = Lab::begin(1, scaling);
    lab.step();
    let id = &lab.members()[0];
    assert_eq!(lab.complete(LAUNCH, id, "ABANDON").await, Ok(()));
    assert_eq!(lab.complete("ssm", id, "CONTINUE").await, no_action(id), "no other hook is waited for");
    lab.step();
    assert_eq!(lab.described().await, ["Terminating:Wait", "Pending:Wait"]);
    assert_eq!(lab.complete(TERMINATE, id, "CONTINUE").await, Ok(()));
    lab.advance(STEP * 2);
    assert_eq!((lab.described().await, lab.ec2(id)), (vec!["Pending:Wait".to_owned()], Ec2State::Terminated));
}

#[tokio::test]
async fn of_an_abandoned_termination_no_other_hook_is_waited_for_and_of_a_continued_one_it_is() {
    for (result, expected) in [("ABANDON", "Terminating:Proceed"), ("CONTINUE", "Terminating:Wait")] {
        let mut scaling = both_hooks();
        scaling.hooks.push(Hook::terminating("logs", seconds(60), Outcome::Continue));
        let lab = Lab::settled(1, scaling);
        let id = &lab.members()[0];
        lab.change(|world| world.set_desired(GROUP, 0));
        lab.step();
        assert_eq!(lab.complete(TERMINATE, id, result).await, Ok(()));
        assert_eq!(lab.described().await, [expected], "{result}");
    }
}

#[tokio::test]
async fn a_launch_hook_that_times_out_does_what_it_says() {
    for (default, expected) in
        [(Outcome::Continue, &["Pending:Proceed"][..]), (Outcome::Abandon, &["Terminating", "Pending"])]
    {
        let lab = Lab::begin(1, Scaling { hooks: vec![launch_hook(default)], ..Scaling::default() });
        lab.step();
        lab.advance(seconds(60) - Duration::from_millis(1));
        assert_eq!(lab.lifecycles(), ["Pending:Wait"]);
        lab.advance(Duration::from_millis(1));
        assert_eq!(lab.lifecycles(), expected, "{default:?}");
    }
}

#[tokio::test]
async fn a_terminating_hook_that_times_out_lets_the_instance_go_whatever_it_says() {
    for default in [Outcome::Continue, Outcome::Abandon] {
        let lab = Lab::settled(1, Scaling { hooks: vec![terminate_hook(default)], ..Scaling::default() });
        lab.change(|world| world.set_desired(GROUP, 0));
        lab.step();
        lab.advance(seconds(60));
        assert_eq!(lab.lifecycles(), ["Terminating:Proceed"], "{default:?}");
        lab.advance(STEP * 2);
        assert!(lab.lifecycles().is_empty());
    }
}

#[tokio::test]
async fn a_heartbeat_begins_the_timeout_anew_and_comes_too_late_after_it() {
    let lab = Lab::begin(1, both_hooks());
    lab.step();
    let id = &lab.members()[0];
    lab.advance(seconds(59));
    assert_eq!(lab.heartbeat(LAUNCH, id).await, Ok(()));
    // From now, not added to what was left.
    lab.advance(seconds(59));
    assert_eq!(lab.described().await, ["Pending:Wait"]);
    lab.advance(seconds(1));
    assert_eq!(lab.described().await, ["Terminating", "Pending"]);
    assert_eq!(lab.heartbeat(LAUNCH, id).await, no_action(id));
    assert_eq!(lab.complete(LAUNCH, id, "CONTINUE").await, no_action(id));
}

#[tokio::test]
async fn heartbeats_end_at_a_hundred_timeouts_or_at_48_hours() {
    for (timeout, end) in [(30, 3000), (7200, 48 * 3600)] {
        let hooks = vec![Hook::launching(LAUNCH, seconds(timeout), Outcome::Continue)];
        let lab = Lab::begin(1, Scaling { hooks, ..Scaling::default() });
        lab.step();
        let id = &lab.members()[0];
        let mut waited = 0;
        while lab.change(|world| world.heartbeat(GROUP, LAUNCH, id)).is_ok() {
            lab.advance(seconds(timeout / 2));
            waited += timeout / 2;
        }
        assert_eq!(waited, end);
        lab.step();
        assert_eq!(lab.lifecycles(), ["InService"]);
    }
}

#[tokio::test]
async fn while_calls_lag_behind_the_state_they_are_refused() {
    let lab = Lab::begin(1, Scaling { lag: seconds(12), ..both_hooks() });
    lab.step();
    let id = &lab.members()[0];
    for _ in 0..3 {
        assert_eq!(lab.described().await, ["Pending:Wait"]);
        assert_eq!(lab.complete(LAUNCH, id, "CONTINUE").await, no_action(id));
        assert_eq!(lab.heartbeat(LAUNCH, id).await, no_action(id));
        lab.advance(seconds(4));
    }
    assert_eq!(lab.heartbeat(LAUNCH, id).await, Ok(()));
    assert_eq!(lab.complete(LAUNCH, id, "CONTINUE").await, Ok(()));
}

#[tokio::test]
async fn a_deleted_hook_abandons_launches_and_continues_terminations() {
    let lab = Lab::begin(1, both_hooks());
    lab.step();
    lab.change(|world| world.delete_hook(GROUP, LAUNCH));
    lab.advance(STEP);
    assert_eq!(lab.lifecycles(), ["Terminating:Wait", "InService"], "the second meets no launch hook any more");
    lab.change(|world| world.delete_hook(GROUP, TERMINATE));
    assert_eq!(lab.lifecycles(), ["Terminating:Proceed", "InService"]);
}

#[tokio::test]
async fn an_abandoned_termination_is_retained_where_the_group_says_so_and_does_not_count() {
    let lab = Lab::settled(1, Scaling { retains: true, ..both_hooks() });
    let id = &lab.members()[0];
    lab.change(|world| world.terminate_in_group(id));
    lab.step();
    assert_eq!(lab.complete(TERMINATE, id, "ABANDON").await, Ok(()));
    assert_eq!(lab.described().await, ["Terminating:Proceed", "Pending:Wait"]);
    lab.step();
    assert_eq!(lab.described().await, ["Terminating:Retained", "Pending:Wait"]);
    assert_eq!(lab.complete(LAUNCH, &lab.members()[1], "CONTINUE").await, Ok(()));
    lab.advance(Duration::from_hours(72));
    assert_eq!(lab.described().await, ["Terminating:Retained", "InService"]);
    assert_eq!(lab.ec2(id), Ec2State::Running);
    lab.change(|world| world.terminate_in_group(id));
    lab.step();
    assert_eq!((lab.described().await, lab.ec2(id)), (vec!["InService".to_owned()], Ec2State::Terminated));
    // A termination that continues is not retained.
    let id = &lab.members()[0];
    lab.change(|world| world.terminate_in_group(id));
    lab.step();
    assert_eq!(lab.complete(TERMINATE, id, "CONTINUE").await, Ok(()));
    lab.advance(STEP * 2);
    assert_eq!(lab.described().await, ["Pending:Wait"]);
}
