//! The actions on lifecycle hooks. An action is named by its instance, as the agent does it; tokens are nobody's here.

use super::wire::{Form, Refusal, element, text};
use crate::support::asg::{Hook, Outcome};
use crate::support::cloud::{Cloud, World};

/// <https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_DescribeLifecycleHooks.html>: no pages.
pub fn describe_lifecycle_hooks(world: &World, form: &mut Form) -> Result<String, Refusal> {
    let group = required(form, "AutoScalingGroupName")?;
    let wanted = form.take_list("LifecycleHookNames.member");
    if !world.groups.contains_key(&group) {
        let message = format!("AutoScalingGroup name not found - AutoScalingGroup '{group}' not found");
        return Err(form.service.refusal(400, "ValidationError", message));
    }
    let hooks = world.scaling.get(&group).into_iter().flat_map(|scaling| &scaling.hooks);
    let hooks = hooks.filter(|hook| wanted.is_empty() || wanted.contains(&hook.name));
    Ok(element("LifecycleHooks", &hooks.map(|hook| describe_hook(&group, hook)).collect::<Vec<_>>()))
}

fn describe_hook(group: &str, hook: &Hook) -> String {
    let fields = [
        text("LifecycleHookName", &hook.name),
        text("AutoScalingGroupName", group),
        text("LifecycleTransition", hook.transition.name()),
        text("HeartbeatTimeout", hook.heartbeat.as_secs()),
        text("GlobalTimeout", hook.global().as_secs()),
        text("DefaultResult", hook.default.name()),
    ];
    element("member", &fields)
}

pub fn complete_lifecycle_action(cloud: &Cloud, form: &mut Form) -> Result<String, Refusal> {
    let (group, hook, instance) = action(form)?;
    let result = required(form, "LifecycleActionResult")?;
    let outcome = Outcome::named(&result)
        .ok_or_else(|| form.service.mistake("ValidationError", format!("LifecycleActionResult={result}")))?;
    let completed = cloud.change(|world| world.complete(&group, &hook, &instance, outcome));
    completed.map_err(|message| form.service.refusal(400, "ValidationError", message))?;
    Ok(String::new())
}

pub fn record_lifecycle_action_heartbeat(cloud: &Cloud, form: &mut Form) -> Result<String, Refusal> {
    let (group, hook, instance) = action(form)?;
    let recorded = cloud.change(|world| world.heartbeat(&group, &hook, &instance));
    recorded.map_err(|message| form.service.refusal(400, "ValidationError", message))?;
    Ok(String::new())
}

/// Group, hook and instance.
fn action(form: &mut Form) -> Result<(String, String, String), Refusal> {
    let mut field = |name| required(form, name);
    Ok((field("AutoScalingGroupName")?, field("LifecycleHookName")?, field("InstanceId")?))
}

fn required(form: &mut Form, name: &str) -> Result<String, Refusal> {
    form.take(name).ok_or_else(|| form.service.mistake("ValidationError", format!("no {name}")))
}
