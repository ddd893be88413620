//! Instances that go: scaled in, interrupted, hung, terminated past their group, or only away for a while.

use std::time::Duration;

use super::{PATIENCE, TERMINATE, formed, hooks, in_service, is_listed, lifecycle, voters};
use crate::scenario::{GROUP, intact, on_both_ends, on_one_etcd, put};
use crate::support::asg::{Hook, Outcome, Scaling, WarmPool};
use crate::support::aws::{Action, Fault, Often};
use crate::support::child::Signal;
use crate::support::cloud::Ec2State;
use crate::support::living::Living;
use crate::support::node::Event;
use crate::support::rig::{Rig, addresses};

on_both_ends!(t10_f72_from_five_to_three_two_leave_one_after_the_other_and_the_leader_moves);
on_one_etcd!(
    t06_who_hangs_is_removed_by_the_others_and_its_hook_is_completed,
    t11_two_spot_notices_take_two_of_three_out_at_once,
    t12_the_last_member_stays_listed_and_no_second_cluster_is_made,
    t14_a_watch_that_is_killed_again_and_again_still_gets_its_member_out,
    t15_a_member_whose_etcd_is_stopped_leaves_through_the_others,
    t17_t18_into_the_warm_pool_a_member_leaves_and_out_of_it_one_joins,
    t19_f40_aside_stopped_rebooted_or_blind_nothing_is_removed,
    t21_who_is_terminated_past_its_group_is_removed_and_released_by_the_others,
    t23_where_authentication_hides_the_members_the_hooks_own_result_strikes,
    t24_a_leave_that_etcd_refuses_at_first_is_made_in_the_end,
    t28_without_the_right_for_hooks_members_leave_all_the_same,
    f74_the_dead_are_removed_though_nobody_joins,
    f74_the_next_in_turn_removes_the_dead_where_the_first_hangs,
    who_leaves_by_hand_stays_out,
);

async fn t10_f72_from_five_to_three_two_leave_one_after_the_other_and_the_leader_moves(mut rig: Rig) {
    let mut group = formed(&mut rig, 5, hooks()).await;
    let mut client = put(group.rig, &group.nodes).await;
    // The oldest go; the leader may be one of them.
    group.rig.cloud.change(|world| world.set_desired(GROUP, 3));
    let mut least = 5;
    group
        .until(PATIENCE, async |group| {
            least = least.min(voters(group.rig, &group.nodes).await.unwrap_or(least));
            super::is_in_service(group, 3).await
        })
        .await;
    assert_eq!(least, 3);
    for node in &group.gone {
        let log = node.log("watch.log");
        assert!(log.contains("completed the lifecycle hook"), "{log}");
    }
    intact(&mut client).await;
}

async fn t06_who_hangs_is_removed_by_the_others_and_its_hook_is_completed(mut rig: Rig) {
    let mut group = formed(&mut rig, 3, hooks()).await;
    let hung = group.nodes[0].instance.clone();
    group.nodes[0].signal(Signal::Freeze);
    group.rig.cloud.change(|world| world.terminate_in_group(&hung));
    // Long before the hook's own two minutes, and its replacement did not have to wait for that.
    in_service(&mut group, 3).await;
    assert!(group.nodes.iter().all(|node| node.instance != hung));
    let told = |text: &str| group.nodes.iter().any(|node| node.log("watch.log").contains(text));
    assert!(told("completed the lifecycle hook"), "{}", group.story());
}

async fn t11_two_spot_notices_take_two_of_three_out_at_once(mut rig: Rig) {
    let mut group = formed(&mut rig, 3, hooks()).await;
    let stays = group.nodes[2].instance.clone();
    let two = [group.nodes[0].instance.clone(), group.nodes[1].instance.clone()];
    group.rig.cloud.change(|world| two.iter().for_each(|id| world.announce_interruption(id, "terminate")));
    // With two minutes left, the third is alone and serves.
    group
        .until(Duration::from_secs(60), async |group| {
            let stays = group.nodes.iter().find(|node| node.instance == stays).ok_or("the third is gone")?;
            let list = group.rig.judge.members(stays.address).await.ok_or("the third tells no members")?;
            let alone = list.voters().len() == 1 && group.rig.judge.is_healthy(stays.address).await;
            if alone { Ok(()) } else { Err(format!("{list:?}")) }
        })
        .await;
    let runs = |id: &String| group.rig.cloud.now().instance(id).map(|one| one.state) == Some(Ec2State::Running);
    assert!(two.iter().all(runs), "both ran until then");
}

async fn t12_the_last_member_stays_listed_and_no_second_cluster_is_made(mut rig: Rig) {
    let mut group = formed(&mut rig, 1, hooks()).await;
    group.rig.cloud.change(|world| world.set_desired(GROUP, 0));
    group
        .until(
            PATIENCE,
            async |group| if group.nodes.is_empty() { Ok(()) } else { Err("it is still there".to_owned()) },
        )
        .await;
    let log = group.gone[0].log("watch.log");
    assert!(log.contains("reason=last-member") && log.contains("completed the lifecycle hook"), "{log}");
    group.rig.cloud.change(|world| world.set_desired(GROUP, 3));
    group
        .until(PATIENCE, async |group| {
            let waits = |node: &crate::support::node::Node| node.log("agent.log").contains("reason=cluster-tagged");
            if group.nodes.len() == 3 && group.nodes.iter().all(waits) { Ok(()) } else { Err("not yet".to_owned()) }
        })
        .await;
    assert!(group.nodes.iter().all(|node| node.log("etcd.log").is_empty()), "no etcd was started");
}

async fn t14_a_watch_that_is_killed_again_and_again_still_gets_its_member_out(mut rig: Rig) {
    let mut group = formed(&mut rig, 3, hooks()).await;
    let leader = group.rig.judge.leader(&addresses(&group.nodes)).await.expect("there is a leader");
    let leaver = group.nodes.iter().find(|node| node.address == leader).expect("it is one of them").instance.clone();
    group.rig.cloud.change(|world| world.terminate_in_group(&leaver));
    let steps = ["member", "removed member", "has left"];
    let mut killed = 0;
    group
        .until(PATIENCE, async |group| {
            if let Some(node) = group.nodes.iter().find(|node| node.instance == leaver)
                && steps.get(killed).is_some_and(|step| node.log("watch.log").matches(step).count() > killed)
            {
                node.signal_watch(Signal::Kill);
                killed += 1;
            }
            super::is_in_service(group, 3).await
        })
        .await;
    assert!(killed > 0 && group.gone.iter().any(|node| node.instance == leaver), "{}", group.story());
}

async fn t15_a_member_whose_etcd_is_stopped_leaves_through_the_others(mut rig: Rig) {
    let mut group = formed(&mut rig, 3, hooks()).await;
    group.nodes[0].stop_etcd().await;
    let id = group.nodes[0].instance.clone();
    group.rig.cloud.change(|world| world.terminate_in_group(&id));
    in_service(&mut group, 3).await;
    assert!(group.gone.iter().any(|node| node.instance == id), "{}", group.story());
}

async fn t17_t18_into_the_warm_pool_a_member_leaves_and_out_of_it_one_joins(mut rig: Rig) {
    let pool = WarmPool { prepared: 3, running: false, reuses: true };
    let mut group = formed(&mut rig, 3, hooks()).await;
    let mut client = put(group.rig, &group.nodes[1..]).await;
    group.rig.cloud.change(|world| {
        world.scaling_mut(GROUP).warm_pool = Some(pool);
        world.set_desired(GROUP, 2);
    });
    group
        .until(PATIENCE, async |group| {
            let mut states = group.rig.cloud.now().lifecycles(GROUP).join(" ");
            states += &format!(" {:?}", voters(group.rig, &group.nodes[1..]).await);
            if states == "Warmed:Stopped InService InService Some(2)" { Ok(()) } else { Err(states) }
        })
        .await;
    // The same instance, with the data of a member that is none any more.
    group.rig.cloud.change(|world| world.set_desired(GROUP, 3));
    in_service(&mut group, 3).await;
    assert!(group.gone.is_empty());
    let log = group.nodes[0].log("agent.log");
    assert!(log.contains("reason=rejoin-after-removal"), "{log}");
    intact(&mut client).await;
}

async fn t19_f40_aside_stopped_rebooted_or_blind_nothing_is_removed(mut rig: Rig) {
    let mut group = formed(&mut rig, 3, hooks()).await;
    let before = group.rig.judge.members(group.nodes[1].address).await.unwrap();
    let id = group.nodes[0].instance.clone();
    // As `enter-standby --should-decrement-desired-capacity` does, and `exit-standby`.
    let set = |group: &Living<'_>, state: &str, desired: u32| {
        group.rig.cloud.change(|world| {
            world.set_lifecycle(&id, state);
            world.set_desired(GROUP, desired);
        });
    };
    set(&group, "Standby", 2);
    told(&mut group, "reason=aside").await;
    set(&group, "InService", 3);
    told(&mut group, "reason=watching").await;
    group.rig.aws.inject(Action::DescribeAutoScalingGroups, Fault::Empty, Often::Always);
    told(&mut group, "reason=group-blind").await;
    group.rig.aws.heal();
    group.nodes[0].signal_watch(Signal::Terminate);
    let stopped = |event: &Event| matches!(event, Event::WatchExited { code: 0 });
    group.nodes[0].wait_for(PATIENCE, stopped).await.unwrap();
    group.nodes[0].reboot().await;
    in_service(&mut group, 3).await;
    assert_eq!(group.rig.judge.members(group.nodes[1].address).await.unwrap(), before);
}

/// Waits until the first node's watch says something new.
async fn told(group: &mut Living<'_>, text: &str) {
    let before = group.nodes[0].log("watch.log").matches(text).count();
    group
        .until(PATIENCE, async |group| {
            let log = group.nodes[0].log("watch.log");
            if log.matches(text).count() > before { Ok(()) } else { Err(format!("no {text} in {log}")) }
        })
        .await;
}

async fn t21_who_is_terminated_past_its_group_is_removed_and_released_by_the_others(mut rig: Rig) {
    let mut group = formed(&mut rig, 3, hooks()).await;
    let gone = group.nodes[0].instance.clone();
    group.rig.cloud.change(|world| world.terminate_by_hand(&gone));
    group
        .until(PATIENCE, async |group| {
            let listed = is_listed(group.rig, &group.gone[0], &group.nodes[0]).await?;
            let state = lifecycle(group.rig, &group.gone[0]);
            if !listed && state == "gone" { Ok(()) } else { Err(format!("listed: {listed}, {state}")) }
        })
        .await;
    in_service(&mut group, 3).await;
}

async fn t23_where_authentication_hides_the_members_the_hooks_own_result_strikes(mut rig: Rig) {
    let mut scaling = hooks();
    scaling.hooks[1] = Hook::terminating(TERMINATE, Duration::from_secs(30), Outcome::Continue);
    let mut group = formed(&mut rig, 3, scaling).await;
    let mut client = group.rig.judge.client(&addresses(&group.nodes)).await.unwrap();
    client.user_add("root", "secret", None).await.unwrap();
    client.role_add("root").await.unwrap();
    client.user_grant_role("root", "root").await.unwrap();
    client.auth_enable().await.unwrap();
    let leaver = group.nodes[0].instance.clone();
    group.rig.cloud.change(|world| world.terminate_in_group(&leaver));
    group
        .until(PATIENCE, async |group| {
            let gone = group.gone.iter().any(|node| node.instance == leaver);
            if gone { Ok(()) } else { Err(group.nodes[0].log("watch.log")) }
        })
        .await;
    let log = group.gone[0].log("watch.log");
    assert!(log.contains("reason=denied") && !log.contains("waits on"), "{log}");
    let ended = |event: &Event| matches!(event, Event::WatchExited { .. });
    assert!(!group.gone[0].events().iter().any(|(_, event)| ended(event)), "nothing that is seen ends a watch");
    assert!(is_listed(group.rig, &group.gone[0], &group.nodes[0]).await.unwrap());
}

/// etcd's strict check wants most of the others connected for five seconds.
async fn t24_a_leave_that_etcd_refuses_at_first_is_made_in_the_end(mut rig: Rig) {
    let mut group = formed(&mut rig, 3, hooks()).await;
    group.nodes[1].reboot().await;
    let nodes = addresses(&group.nodes);
    group.rig.judge.whole_cluster(&nodes, PATIENCE).await.unwrap();
    let leaver = group.nodes[0].instance.clone();
    group.rig.cloud.change(|world| world.terminate_in_group(&leaver));
    in_service(&mut group, 3).await;
    let log = group.gone[0].log("watch.log");
    assert!(log.contains("unhealthy cluster") && log.contains("completed the lifecycle hook"), "{log}");
}

async fn t28_without_the_right_for_hooks_members_leave_all_the_same(mut rig: Rig) {
    let mut group = formed(&mut rig, 3, hooks()).await;
    for action in
        [Action::DescribeLifecycleHooks, Action::CompleteLifecycleAction, Action::RecordLifecycleActionHeartbeat]
    {
        group.rig.aws.inject(action, Fault::Deny, Often::Always);
    }
    let leaver = group.nodes[0].instance.clone();
    group.rig.aws.forget_calls();
    group.rig.cloud.change(|world| world.terminate_in_group(&leaver));
    group
        .until(PATIENCE, async |group| {
            let listed = is_listed(group.rig, &group.nodes[0], &group.nodes[1]).await?;
            let log = group.nodes[0].log("watch.log");
            if !listed && log.contains("allow autoscaling:CompleteLifecycleAction") { Ok(()) } else { Err(log) }
        })
        .await;
    // The new one says once what is missing, and ends.
    group
        .until(PATIENCE, async |group| {
            let newest = group.nodes.last().ok_or("no node")?;
            let gave_up = newest.events().iter().any(|(_, event)| *event == Event::ReadyExited { code: 78 });
            if newest.instance != leaver && gave_up { Ok(()) } else { Err(newest.story()) }
        })
        .await;
}

async fn f74_the_dead_are_removed_though_nobody_joins(mut rig: Rig) {
    one_dies_and_nobody_joins(formed(&mut rig, 3, Scaling::default()).await).await;
}

async fn f74_the_next_in_turn_removes_the_dead_where_the_first_hangs(mut rig: Rig) {
    let group = formed(&mut rig, 3, Scaling::default()).await;
    group.nodes[1].signal_watch(Signal::Freeze);
    one_dies_and_nobody_joins(group).await;
}

async fn one_dies_and_nobody_joins(mut group: Living<'_>) {
    // The group can launch nobody.
    let dead = group.nodes[0].instance.clone();
    group.rig.cloud.change(|world| {
        world.scaling_mut(GROUP).addresses.clear();
        world.terminate_by_hand(&dead);
    });
    group
        .until(PATIENCE, async |group| {
            let gone = group.gone.first().ok_or("it is still there")?;
            let listed = is_listed(group.rig, gone, &group.nodes[0]).await?;
            if listed { Err("it is still listed".to_owned()) } else { Ok(()) }
        })
        .await;
    let pruned: usize = group.nodes.iter().map(|node| node.log("watch.log").matches("decision=remove").count()).sum();
    assert_eq!(pruned, 1, "by one of them: {}", group.story());
}

async fn who_leaves_by_hand_stays_out(mut rig: Rig) {
    let mut group = formed(&mut rig, 3, hooks()).await;
    let leaver = &group.nodes[0];
    let dry = leaver.agent("leave", &["--dry-run"]).await.unwrap();
    assert!(dry.code == 0 && dry.stdout.contains("call       M"), "{}", dry.stdout);
    assert!(is_listed(group.rig, leaver, &group.nodes[1]).await.unwrap(), "that was a dry run");
    let left = leaver.agent("leave", &[]).await.unwrap();
    assert_eq!(left.code, 0, "{}", left.stderr);
    assert!(!is_listed(group.rig, leaver, &group.nodes[1]).await.unwrap());
    let again = leaver.agent("leave", &[]).await.unwrap();
    assert_eq!(again.code, 0, "{}", again.stderr);
    // etcd's unit runs the agent again, which refuses.
    group
        .until(PATIENCE, async |group| {
            let log = group.nodes[0].log("agent.log");
            if log.contains("reason=removed-member") { Ok(()) } else { Err(log) }
        })
        .await;
    // Three are desired and two are left: the next does not go.
    let second = group.nodes[1].agent("leave", &["--deadline=3s"]).await.unwrap();
    assert!(second.code == 75 && second.stderr.contains("too-few-to-leave"), "{}", second.stderr);
}
