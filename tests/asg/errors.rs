//! What the calls on hooks answer, and refuse.

use aws_sdk_autoscaling::operation::complete_lifecycle_action::CompleteLifecycleActionError;

use super::*;
use crate::support::aws::{Action, Fault, Often};

#[tokio::test]
async fn a_second_completion_finds_no_action() {
    let lab = Lab::begin(1, both_hooks());
    lab.step();
    let id = &lab.members()[0];
    assert_eq!(lab.complete(LAUNCH, id, "CONTINUE").await, Ok(()));
    for _ in 0..2 {
        assert_eq!(lab.complete(LAUNCH, id, "CONTINUE").await, no_action(id));
        assert_eq!(lab.heartbeat(LAUNCH, id).await, no_action(id));
        lab.step();
    }
    assert_eq!(lab.described().await, ["InService"]);
}

#[tokio::test]
async fn another_hooks_name_or_another_instance_has_no_action() {
    let lab = Lab::begin(1, both_hooks());
    lab.step();
    let id = &lab.members()[0];
    for hook in ["typo", TERMINATE] {
        assert_eq!(lab.complete(hook, id, "CONTINUE").await, no_action(id), "{hook}");
        assert_eq!(lab.heartbeat(hook, id).await, no_action(id), "{hook}");
    }
    let stranger = "i-00000000000000002";
    assert_eq!(lab.complete(LAUNCH, stranger, "CONTINUE").await, no_action(stranger));
    assert_eq!(lab.described().await, ["Pending:Wait"]);
}

#[tokio::test]
async fn an_unknown_group_is_named() {
    let lab = Lab::begin(0, both_hooks());
    let call = lab.client.complete_lifecycle_action().auto_scaling_group_name("h").lifecycle_hook_name(LAUNCH);
    let error = call.instance_id("i-1").lifecycle_action_result("CONTINUE").send().await.unwrap_err();
    let message = "AutoScalingGroup name not found - AutoScalingGroup h not found";
    assert_eq!(refused(error), ("ValidationError".to_owned(), message.to_owned()));
    let error = lab.client.describe_lifecycle_hooks().auto_scaling_group_name("h").send().await.unwrap_err();
    let message = "AutoScalingGroup name not found - AutoScalingGroup 'h' not found";
    assert_eq!(refused(error), ("ValidationError".to_owned(), message.to_owned()));
}

#[tokio::test]
async fn a_result_that_is_none_is_the_callers_mistake() {
    let lab = Lab::begin(1, both_hooks());
    lab.step();
    let (code, _) = lab.complete(LAUNCH, &lab.members()[0], "OK").await.unwrap_err();
    assert_eq!(code, "ValidationError");
    assert_eq!(lab.rig.aws.complaints().len(), 1);
    lab.rig.aws.forgive();
    assert_eq!(lab.described().await, ["Pending:Wait"]);
}

#[tokio::test]
async fn contention_is_the_error_that_the_sdk_knows() {
    let lab = Lab::begin(1, both_hooks());
    lab.step();
    let id = &lab.members()[0];
    lab.rig.aws.inject(Action::CompleteLifecycleAction, Fault::Contend, Often::Times(1));
    let call = lab.client.complete_lifecycle_action().auto_scaling_group_name(GROUP).lifecycle_hook_name(LAUNCH);
    let error = call.instance_id(id).lifecycle_action_result("CONTINUE").send().await.unwrap_err();
    assert!(matches!(error.into_service_error(), CompleteLifecycleActionError::ResourceContentionFault(_)));
    assert_eq!(lab.complete(LAUNCH, id, "CONTINUE").await, Ok(()), "it did not happen");
}

#[tokio::test]
async fn the_hooks_are_told_with_their_limits() {
    let lab = Lab::begin(0, both_hooks());
    lab.change(|world| {
        world.scaling_mut(GROUP).hooks.push(Hook::terminating("logs <&>", seconds(7200), Outcome::Abandon));
    });
    let told: Vec<_> = lab
        .hooks()
        .await
        .iter()
        .map(|hook| {
            let names = [hook.lifecycle_hook_name(), hook.auto_scaling_group_name(), hook.lifecycle_transition()];
            let limits = (hook.heartbeat_timeout().unwrap(), hook.global_timeout().unwrap());
            (names.map(|name| name.unwrap().to_owned()).join(" "), limits, hook.default_result().unwrap().to_owned())
        })
        .collect();
    let expected = [
        (format!("{LAUNCH} g autoscaling:EC2_INSTANCE_LAUNCHING"), (60, 6000), "ABANDON".to_owned()),
        (format!("{TERMINATE} g autoscaling:EC2_INSTANCE_TERMINATING"), (60, 6000), "CONTINUE".to_owned()),
        ("logs <&> g autoscaling:EC2_INSTANCE_TERMINATING".to_owned(), (7200, 172_800), "ABANDON".to_owned()),
    ];
    assert_eq!(told, expected);
    let one = lab.client.describe_lifecycle_hooks().auto_scaling_group_name(GROUP).lifecycle_hook_names(TERMINATE);
    let one = one.send().await.unwrap();
    assert_eq!(one.lifecycle_hooks().len(), 1);
    assert_eq!(one.lifecycle_hooks()[0].lifecycle_hook_name(), Some(TERMINATE));
}
