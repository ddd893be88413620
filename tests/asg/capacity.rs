//! Whom a group launches and sends away, and what happens to it from outside.

use super::*;
use crate::support::asg::WarmPool;
use crate::support::imds::{MAINTENANCE, REBALANCE, SPOT};

#[tokio::test]
async fn too_few_are_launched_at_once_also_while_others_wait() {
    let lab = Lab::begin(2, both_hooks());
    lab.step();
    lab.change(|world| world.set_desired(GROUP, 4));
    lab.step();
    assert_eq!(lab.lifecycles(), ["Pending:Wait"; 4]);
}

#[tokio::test]
async fn too_many_go_by_the_oldest_template_then_by_the_oldest_launch() {
    let lab = Lab::settled(2, Scaling { template: 2, ..Scaling::default() });
    lab.change(|world| {
        world.scaling_mut(GROUP).template = 1;
        world.set_desired(GROUP, 4);
    });
    lab.advance(seconds(1));
    let ids = lab.members();
    lab.change(|world| world.set_desired(GROUP, 3));
    lab.advance(seconds(1));
    assert_eq!(lab.members(), [&ids[..2], &ids[3..]].concat());
    lab.change(|world| world.set_desired(GROUP, 1));
    lab.advance(seconds(1));
    assert_eq!(lab.members(), ids[1..2]);
}

/// With a hook the replacement does not wait for the one that leaves.
#[tokio::test]
async fn who_terminates_or_stands_by_does_not_count() {
    let lab = Lab::settled(3, both_hooks());
    let ids = lab.members();
    lab.change(|world| {
        world.terminate_in_group(&ids[0]);
        world.set_lifecycle(&ids[1], "Standby");
    });
    lab.step();
    assert_eq!(lab.lifecycles(), ["Terminating:Wait", "Standby", "InService", "Pending:Wait", "Pending:Wait"]);
}

#[tokio::test]
async fn who_is_terminated_by_hand_is_gone_for_ec2_first_and_its_hook_still_waits() {
    let lab = Lab::settled(1, both_hooks());
    let id = &lab.members()[0];
    lab.change(|world| world.terminate_by_hand(id));
    assert_eq!((lab.described().await, lab.ec2(id)), (vec!["InService".to_owned()], Ec2State::Terminated));
    lab.step();
    assert_eq!(lab.described().await, ["Terminating:Wait", "Pending:Wait"]);
    // Any node of the group may complete it.
    assert_eq!(lab.complete(TERMINATE, id, "CONTINUE").await, Ok(()));
    lab.step();
    assert_eq!(lab.described().await, ["Pending:Wait"]);
}

#[tokio::test]
async fn a_stopped_instance_is_unhealthy_and_replaced() {
    let lab = Lab::settled(2, both_hooks());
    let id = &lab.members()[0];
    lab.change(|world| world.stop(id));
    lab.step();
    assert_eq!(lab.lifecycles(), ["Terminating:Wait", "InService", "Pending:Wait"]);
}

#[tokio::test]
async fn a_spot_notice_is_in_the_metadata_for_two_minutes_and_no_hook_stops_it() {
    let lab = Lab::settled(1, Scaling { rebalances: true, ..both_hooks() });
    let node = lab.rig.arrivals().unwrap().remove(0);
    let id = &node.instance;
    for (path, expected) in [(SPOT, None), (REBALANCE, None), (MAINTENANCE, Some("[]"))] {
        assert_eq!(metadata(&node, path).await.as_deref(), expected, "{path}");
    }
    lab.change(|world| world.announce_interruption(id, "terminate"));
    let notice: serde_json::Value = serde_json::from_str(&metadata(&node, SPOT).await.unwrap()).unwrap();
    assert_eq!(notice["action"], "terminate");
    assert_eq!(target(&node).await.as_deref(), Some("Terminated"), "the group acts at the notice");
    lab.step();
    assert_eq!(lab.described().await, ["Terminating:Wait", "Pending:Wait"]);
    assert_eq!(lab.heartbeat(TERMINATE, id).await, Ok(()));
    // The hook is held all the time.
    lab.advance(seconds(50));
    assert_eq!(lab.heartbeat(TERMINATE, id).await, Ok(()));
    lab.advance(seconds(50));
    assert_eq!((lab.heartbeat(TERMINATE, id).await, lab.ec2(id)), (Ok(()), Ec2State::Running));
    lab.advance(seconds(20));
    assert_eq!((lab.lifecycles().remove(0), lab.ec2(id)), ("Terminating:Wait".to_owned(), Ec2State::Terminated));
    assert_eq!(lab.complete(TERMINATE, id, "CONTINUE").await, Ok(()));
}

#[tokio::test]
async fn without_capacity_rebalancing_the_group_acts_after_the_interruption() {
    for (action, end) in [("terminate", Ec2State::Terminated), ("stop", Ec2State::Stopped)] {
        let lab = Lab::settled(1, both_hooks());
        let id = &lab.members()[0];
        lab.change(|world| world.announce_interruption(id, action));
        lab.advance(seconds(120) - Duration::from_millis(1));
        assert_eq!((lab.lifecycles(), lab.ec2(id)), (vec!["InService".to_owned()], Ec2State::Running));
        lab.advance(Duration::from_millis(1));
        assert_eq!((lab.lifecycles().remove(0), lab.ec2(id)), ("Terminating".to_owned(), end));
    }
}

const POOL: WarmPool = WarmPool { prepared: 2, running: false, reuses: true };

#[tokio::test]
async fn into_the_warm_pool_and_out_of_it_an_instance_waits_for_the_launch_hook() {
    let lab = Lab::settled(1, both_hooks());
    lab.change(|world| world.scaling_mut(GROUP).warm_pool = Some(POOL));
    lab.advance(Duration::ZERO);
    let node = lab.rig.arrivals().unwrap().remove(1);
    let id = &node.instance;
    assert_eq!(lab.described().await, ["InService", "Warmed:Pending"]);
    assert_eq!(target(&node).await.as_deref(), Some("Warmed:Stopped"));
    lab.step();
    assert_eq!(lab.described().await, ["InService", "Warmed:Pending:Wait"]);
    assert_eq!(lab.complete(LAUNCH, id, "CONTINUE").await, Ok(()));
    assert_eq!(lab.described().await, ["InService", "Warmed:Pending:Proceed"]);
    lab.step();
    assert_eq!((lab.lifecycles().remove(1), lab.ec2(id)), ("Warmed:Stopped".to_owned(), Ec2State::Stopped));

    lab.change(|world| world.set_desired(GROUP, 2));
    lab.step();
    assert_eq!(lab.described().await, ["InService", "Pending:Wait"], "and no new instance");
    assert_eq!((target(&node).await.as_deref(), lab.ec2(id)), (Some("InService"), Ec2State::Running));
    assert_eq!(lab.complete(LAUNCH, id, "CONTINUE").await, Ok(()));
    lab.step();
    assert_eq!(lab.described().await, ["InService", "InService"]);
}

#[tokio::test]
async fn back_into_the_warm_pool_an_instance_waits_for_the_terminating_hook() {
    let lab = Lab::settled(2, Scaling { warm_pool: Some(WarmPool { running: true, ..POOL }), ..both_hooks() });
    let node = lab.rig.arrivals().unwrap().remove(0);
    lab.change(|world| world.set_desired(GROUP, 1));
    lab.step();
    assert_eq!(lab.described().await, ["Warmed:Pending:Wait", "InService"]);
    assert_eq!(target(&node).await.as_deref(), Some("Warmed:Running"));
    assert_eq!(lab.complete(LAUNCH, &node.instance, "CONTINUE").await, no_action(&node.instance));
    assert_eq!(lab.complete(TERMINATE, &node.instance, "ABANDON").await, Ok(()));
    lab.step();
    assert_eq!(lab.described().await, ["Warmed:Running", "InService"], "an abandoned return is one all the same");

    lab.change(|world| world.scaling_mut(GROUP).warm_pool = Some(WarmPool { prepared: 1, ..POOL }));
    lab.step();
    assert_eq!(lab.described().await, ["Warmed:Terminating:Wait", "InService"]);
    assert_eq!(target(&node).await.as_deref(), Some("Warmed:Terminated"));
    assert_eq!(lab.complete(TERMINATE, &node.instance, "CONTINUE").await, Ok(()));
    lab.advance(STEP * 2);
    assert_eq!(lab.described().await, ["InService"]);
}

#[tokio::test]
async fn an_abandoned_launch_into_the_warm_pool_is_terminated_and_a_return_is_retained_where_the_group_says_so() {
    let lab = Lab::settled(1, Scaling { retains: true, ..both_hooks() });
    lab.change(|world| world.scaling_mut(GROUP).warm_pool = Some(POOL));
    lab.step();
    let id = &lab.members()[1];
    lab.change(|world| world.complete(GROUP, LAUNCH, id, Outcome::Abandon)).unwrap();
    lab.step();
    assert_eq!(lab.lifecycles(), ["InService", "Warmed:Terminating:Wait", "Warmed:Pending:Wait"]);

    let lab = Lab::settled(2, Scaling { retains: true, warm_pool: Some(POOL), ..both_hooks() });
    let id = &lab.members()[0];
    lab.change(|world| world.set_desired(GROUP, 1));
    lab.step();
    lab.change(|world| world.complete(GROUP, TERMINATE, id, Outcome::Abandon)).unwrap();
    lab.step();
    assert_eq!(lab.lifecycles()[0], "Warmed:Pending:Retained");
}
