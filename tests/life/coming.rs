//! Instances that come: what the group waits for before it goes on to its next one.

use std::time::Duration;

use etcd_client::{AlarmAction, AlarmOptions, AlarmType};

use super::{LAUNCH, PATIENCE, formed, hooks, in_service, lifecycle, voters};
use crate::scenario::{GROUP, intact, on_both_ends, on_one_etcd, put};
use crate::support::asg::refresh::Preferences;
use crate::support::asg::{Hook, Outcome, Scaling};
use crate::support::aws::{Action, Fault, Often};
use crate::support::child::Signal;
use crate::support::living::Living;
use crate::support::node::{Event, Node};
use crate::support::rig::{Rig, addresses};
use crate::support::skip;

on_both_ends!(t04_the_group_waits_while_a_voter_is_ill_and_goes_on_by_itself);
on_one_etcd!(
    t02_a_hook_that_is_refused_at_first_is_completed_in_the_end,
    t05_a_broken_image_takes_no_more_voters_than_the_others_can_spare,
    t26_a_clock_that_is_set_back_holds_no_heartbeat_up,
    t03_a_hook_of_another_name_is_told_of_and_left_alone,
    f132_a_tag_that_is_refused_holds_no_instance_up_and_comes_later,
    t13_a_launch_that_is_rolled_back_leaves_no_member,
    t22_the_group_waits_while_a_voter_has_an_alarm,
    t25_a_group_of_one_survives_its_own_replacement,
);

/// Waits until the last node's ready has said something.
async fn ready_says(group: &mut Living<'_>, text: &str) {
    group
        .until(PATIENCE, async |group| {
            let log = group.nodes.last().ok_or("no node")?.log("ready.log");
            if log.contains(text) { Ok(()) } else { Err(log) }
        })
        .await;
}

async fn t04_the_group_waits_while_a_voter_is_ill_and_goes_on_by_itself(mut rig: Rig) {
    // The shortest that there is: a heartbeat every 10 s.
    let launch = Hook::launching(LAUNCH, Duration::from_secs(30), Outcome::Abandon);
    let scaling = Scaling { hooks: vec![launch], ..Scaling::default() };
    let mut group = formed(&mut rig, 3, scaling).await;
    let ill = group.nodes[0].instance.clone();
    group.rig.cloud.change(|world| world.set_desired(GROUP, 4));
    // Before the cluster has been sound for five seconds.
    ready_says(&mut group, "the member is a voter").await;
    group.nodes[0].signal(Signal::Freeze);
    ready_says(&mut group, "reason=cluster-unsound").await;
    group.rig.aws.forget_calls();
    // Beyond the hook's own timeout.
    let until = std::time::Instant::now() + Duration::from_secs(40);
    group.until(PATIENCE, async |_| if std::time::Instant::now() > until { Ok(()) } else { Err(String::new()) }).await;
    let newest = group.nodes.last().expect("there are four");
    assert_eq!(lifecycle(group.rig, newest), "Pending:Wait", "{}", newest.story());
    assert!(newest.log("ready.log").matches("the group waits on").count() >= 3, "{}", newest.log("ready.log"));
    let counts = group.rig.aws.counts();
    let (hooks, groups) = (counts["DescribeLifecycleHooks"], counts["DescribeAutoScalingGroups"]);
    assert!(hooks <= groups, "the hooks are asked for {hooks} times, and the group {groups} times");
    group.nodes.iter().filter(|node| node.instance == ill).for_each(|node| node.signal(Signal::Thaw));
    in_service(&mut group, 4).await;
}

async fn t05_a_broken_image_takes_no_more_voters_than_the_others_can_spare(mut rig: Rig) {
    // The group believes each new instance after half a minute, whatever became of it.
    let mut scaling = hooks();
    scaling.hooks[0] = Hook::launching(LAUNCH, Duration::from_secs(30), Outcome::Continue);
    let mut group = formed(&mut rig, 3, scaling).await;
    let mut client = put(group.rig, &group.nodes).await;
    group.programs.etcd = "/bin/false".into();
    group.rig.cloud.change(|world| world.start_refresh(GROUP, Preferences::LAUNCH_FIRST));
    let mut least = 3;
    group
        .until(PATIENCE * 6, async |group| {
            least = least.min(voters(group.rig, &group.nodes).await.unwrap_or(least));
            let waits = |node: &Node| node.log("watch.log").contains("reason=too-few-to-leave");
            let both = least < 3 && group.nodes.iter().any(waits);
            if both { Ok(()) } else { Err(format!("{least} voters, and nobody waits to leave")) }
        })
        .await;
    assert_eq!(least, 2);
    intact(&mut client).await;
}

async fn t26_a_clock_that_is_set_back_holds_no_heartbeat_up(mut rig: Rig) {
    if let Err(why) = rig.setup.with_clocks("target".as_ref()) {
        return skip(why);
    }
    // A heartbeat every 10 s.
    let launch = Hook::launching(LAUNCH, Duration::from_secs(30), Outcome::Abandon);
    let mut group = formed(&mut rig, 3, Scaling { hooks: vec![launch], ..Scaling::default() }).await;
    group.rig.cloud.change(|world| world.set_desired(GROUP, 4));
    ready_says(&mut group, "the member is a voter").await;
    group.nodes[0].signal(Signal::Freeze);
    ready_says(&mut group, "the group waits on").await;
    let newest = group.nodes.last().expect("there are four");
    newest.set_clock(-3600).unwrap();
    let beats = newest.log("ready.log").matches("the group waits on").count();
    group
        .until(PATIENCE, async |group| {
            let log = group.nodes.last().ok_or("no node")?.log("ready.log");
            if log.matches("the group waits on").count() >= beats + 3 { Ok(()) } else { Err(log) }
        })
        .await;
    assert_eq!(lifecycle(group.rig, group.nodes.last().expect("there are four")), "Pending:Wait");
}

async fn t02_a_hook_that_is_refused_at_first_is_completed_in_the_end(mut rig: Rig) {
    let scaling = Scaling { lag: Duration::from_secs(12), ..hooks() };
    let group = formed(&mut rig, 1, scaling).await;
    let log = group.nodes[0].log("ready.log");
    assert!(log.contains("No active Lifecycle Action") && log.contains("completed the lifecycle hook"), "{log}");
}

async fn f132_a_tag_that_is_refused_holds_no_instance_up_and_comes_later(mut rig: Rig) {
    rig.setup.watches = true;
    let mut group = Living::begin(&rig, GROUP, (1, 2), hooks());
    // That of the founding is written: etcd is started after it.
    group
        .until(PATIENCE, async |group| match group.nodes.first().map(Node::environment) {
            Some(Ok(Some(_))) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    rig.aws.inject(Action::CreateOrUpdateTags, Fault::Contend, Often::Always);
    in_service(&mut group, 1).await;
    let log = group.nodes[0].log("ready.log");
    assert!(log.contains("reason=tag-refused") && log.contains("completed the lifecycle hook"), "{log}");
    rig.aws.heal();
    group
        .until(PATIENCE, async |group| {
            let tags = group.rig.cloud.now().groups[GROUP].tags.clone();
            if tags.contains_key("etcd-bootstrap/cluster-id") { Ok(()) } else { Err(format!("{tags:?}")) }
        })
        .await;
}

async fn t03_a_hook_of_another_name_is_told_of_and_left_alone(mut rig: Rig) {
    let other = Hook::launching("log-shipping", Duration::from_mins(5), Outcome::Continue);
    let mut scaling = Scaling { hooks: vec![other.clone()], ..Scaling::default() };
    rig.setup.watches = true;
    let mut group = Living::begin(&rig, GROUP, (1, 2), scaling.clone());
    ready_says(&mut group, "log-shipping").await;
    group.nodes[0].wait_for(PATIENCE, |event| *event == Event::ReadyExited { code: 0 }).await.unwrap();
    assert_eq!(lifecycle(group.rig, &group.nodes[0]), "Pending:Wait");

    // Both hooks: its own is completed, and the instance waits for the other's owner.
    scaling.hooks = hooks().hooks;
    scaling.hooks.push(other);
    group.rig.cloud.change(|world| {
        world.scaling_mut(GROUP).hooks = scaling.hooks;
        world.set_desired(GROUP, 2);
    });
    ready_says(&mut group, "completed the lifecycle hook etcd-bootstrap-launch").await;
    let second = group.nodes.last().expect("there are two");
    second.wait_for(PATIENCE, |event| *event == Event::ReadyExited { code: 0 }).await.unwrap();
    assert_eq!(lifecycle(group.rig, second), "Pending:Wait");
}

async fn t13_a_launch_that_is_rolled_back_leaves_no_member(mut rig: Rig) {
    let mut group = formed(&mut rig, 3, hooks()).await;
    group.rig.cloud.change(|world| world.set_desired(GROUP, 4));
    // As soon as the member is a voter, and long before the group may go on.
    ready_says(&mut group, "the member is a voter").await;
    let newest = group.nodes.last().expect("there are four").instance.clone();
    group.rig.cloud.change(|world| {
        world.set_desired(GROUP, 3);
        world.terminate_in_group(&newest);
    });
    in_service(&mut group, 3).await;
    assert!(group.gone.iter().any(|node| node.instance == newest));
}

async fn t22_the_group_waits_while_a_voter_has_an_alarm(mut rig: Rig) {
    let mut group = formed(&mut rig, 3, hooks()).await;
    let node = &group.nodes[0];
    let member = group.rig.judge.members(node.address).await.unwrap().member(&node.instance).unwrap().id;
    let mut client = put(group.rig, &group.nodes[..1]).await;
    let of_member = || {
        let mut options = AlarmOptions::new();
        options.with_member(member);
        Some(options)
    };
    client.alarm(AlarmAction::Activate, AlarmType::Nospace, of_member()).await.unwrap();
    group.rig.cloud.change(|world| world.set_desired(GROUP, 4));
    ready_says(&mut group, "NOSPACE").await;
    assert_eq!(lifecycle(group.rig, group.nodes.last().expect("there are four")), "Pending:Wait");
    client.alarm(AlarmAction::Deactivate, AlarmType::Nospace, of_member()).await.unwrap();
    in_service(&mut group, 4).await;
}

async fn t25_a_group_of_one_survives_its_own_replacement(mut rig: Rig) {
    let mut group = formed(&mut rig, 1, hooks()).await;
    put(group.rig, &group.nodes).await;
    let old = group.nodes[0].instance.clone();
    // AWS's own order: it is terminated, and its replacement launched, at the same time.
    group.rig.cloud.change(|world| world.terminate_in_group(&old));
    let mut least = 1;
    group
        .until(PATIENCE, async |group| {
            least = least.min(voters(group.rig, &group.nodes).await.unwrap_or(least));
            super::is_in_service(group, 1).await
        })
        .await;
    assert!(least == 1 && group.gone[0].instance == old, "{}", group.story());
    intact(&mut group.rig.judge.client(&addresses(&group.nodes)).await.unwrap()).await;
}
