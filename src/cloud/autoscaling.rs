//! Auto Scaling: the group, and its tags.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_sdk_autoscaling::types::AutoScalingGroup;

use super::aws::{CallError, Count, Date, MAX_PAGES, Whole, classify, endless};
use crate::errors::Failed;
use crate::model::{
    BlindKind, CLUSTER_TAG, FOUNDING_TAG, Group, Hook, InstanceId, REPLACED_TAG, Settings, read_replaced,
};

/// The service in one region.
#[derive(Clone)]
pub struct AutoScaling(aws_sdk_autoscaling::Client);

impl AutoScaling {
    pub fn new(config: &SdkConfig) -> Self {
        let config = aws_sdk_autoscaling::config::Builder::from(config)
            .interceptor(Whole)
            .interceptor(Count("autoscaling"))
            .build();
        Self(aws_sdk_autoscaling::Client::from_conf(config))
    }

    /// The name of the group that an instance is in.
    ///
    /// # Errors
    /// `Absent` when Auto Scaling does not know the instance (yet, F68).
    pub async fn fetch_group_name(&self, id: &InstanceId) -> Result<String, CallError> {
        let action = "autoscaling:DescribeAutoScalingInstances";
        let call = self.0.describe_auto_scaling_instances().instance_ids(id.as_str());
        let reply = call.send().await.map_err(|e| classify(action, id.as_str(), &e))?;
        let own = reply.auto_scaling_instances().iter().find(|i| i.instance_id() == Some(id.as_str()));
        own.and_then(|i| i.auto_scaling_group_name()).map(str::to_owned).ok_or_else(|| {
            let why = format!("instance {id} is in no Auto Scaling group");
            CallError::new(BlindKind::Absent, Failed::new(format!("{action} for"), id, why))
        })
    }

    /// A group by its exact name (F10).
    ///
    /// # Errors
    /// `Absent` when no group has that name, `Ambiguous` when several have.
    pub async fn fetch_group(&self, name: &str, read_at: SystemTime) -> Result<Group, CallError> {
        let (group, date) = self.describe(name).await?;
        Ok(group_of(&group, name, read_at, date))
    }

    /// What a group does with its instances.
    ///
    /// # Errors
    /// As [`AutoScaling::fetch_group`].
    pub async fn fetch_settings(&self, name: &str) -> Result<Settings, CallError> {
        Ok(settings_of(&self.describe(name).await?.0))
    }

    /// A group, and the `Date` of the reply.
    async fn describe(&self, name: &str) -> Result<(AutoScalingGroup, Option<SystemTime>), CallError> {
        let action = "autoscaling:DescribeAutoScalingGroups";
        let mut groups = Vec::new();
        let mut token = None;
        let date = Date::default();
        for _ in 0..MAX_PAGES {
            let call = self.0.describe_auto_scaling_groups().auto_scaling_group_names(name);
            let call = call.set_next_token(token).customize().interceptor(date.clone());
            let reply = call.send().await.map_err(|e| classify(action, name, &e))?;
            groups.extend(reply.auto_scaling_groups.unwrap_or_default());
            token = reply.next_token.filter(|t| !t.is_empty());
            if token.is_none() {
                return Ok((one_group(groups, name)?, date.read()));
            }
        }
        Err(endless(action, name))
    }

    /// The lifecycle hooks of a group.
    ///
    /// # Errors
    /// `Denied` where the role does not allow it.
    pub async fn fetch_hooks(&self, group: &str) -> Result<Vec<Hook>, CallError> {
        let call = self.0.describe_lifecycle_hooks().auto_scaling_group_name(group);
        let reply = call.send().await.map_err(|e| classify("autoscaling:DescribeLifecycleHooks", group, &e))?;
        Ok(reply.lifecycle_hooks().iter().filter_map(hook).collect())
    }

    /// Says that an instance need not wait for a hook any more. By the instance: the token of the notification is
    /// optional (Auto Scaling user guide, "Complete a lifecycle action", read 2026-11-26).
    ///
    /// # Errors
    /// `Denied` where the role does not allow it; `Absent` where the instance does not wait for that hook, or not yet.
    pub async fn complete_hook(&self, group: &str, hook: &str, instance: &InstanceId) -> Result<(), CallError> {
        let call = self.0.complete_lifecycle_action().auto_scaling_group_name(group).lifecycle_hook_name(hook);
        let call = call.instance_id(instance.as_str()).lifecycle_action_result("CONTINUE");
        call.send()
            .await
            .map(|_| ())
            .map_err(|e| classify("autoscaling:CompleteLifecycleAction", instance.as_str(), &e))
    }

    /// Starts a hook's timeout anew.
    ///
    /// # Errors
    /// As [`AutoScaling::complete_hook`].
    pub async fn keep_waiting(&self, group: &str, hook: &str, instance: &InstanceId) -> Result<(), CallError> {
        let action = "autoscaling:RecordLifecycleActionHeartbeat";
        let call = self.0.record_lifecycle_action_heartbeat().auto_scaling_group_name(group).lifecycle_hook_name(hook);
        let call = call.instance_id(instance.as_str());
        call.send().await.map(|_| ()).map_err(|e| classify(action, instance.as_str(), &e))
    }

    /// Writes tags of a group, all in one call.
    ///
    /// # Errors
    /// `Denied` where the role does not allow it.
    pub async fn tag_group(&self, group: &str, tags: &BTreeMap<String, String>) -> Result<(), CallError> {
        let tags = tags.iter().map(|(key, value)| {
            let tag = aws_sdk_autoscaling::types::Tag::builder().resource_id(group).resource_type("auto-scaling-group");
            tag.key(key).value(value).propagate_at_launch(false).build()
        });
        let call = self.0.create_or_update_tags().set_tags(Some(tags.collect()));
        call.send().await.map(|_| ()).map_err(|e| classify("autoscaling:CreateOrUpdateTags", group, &e))
    }
}

fn hook(hook: &aws_sdk_autoscaling::types::LifecycleHook) -> Option<Hook> {
    // AWS's own default (Auto Scaling API reference, `PutLifecycleHook`, read 2026-11-26).
    let timeout = u64::try_from(hook.heartbeat_timeout().unwrap_or(3600)).unwrap_or_default();
    Some(Hook {
        name: hook.lifecycle_hook_name()?.to_owned(),
        transition: hook.lifecycle_transition().unwrap_or_default().into(),
        timeout: Duration::from_secs(timeout),
    })
}

fn one_group(groups: Vec<AutoScalingGroup>, name: &str) -> Result<AutoScalingGroup, CallError> {
    let mut named: Vec<_> = groups.into_iter().filter(|g| g.auto_scaling_group_name() == Some(name)).collect();
    match (named.pop(), named.len()) {
        (Some(group), 0) => Ok(group),
        (None, _) => {
            let why = format!("there is no Auto Scaling group named '{name}'");
            Err(CallError::new(BlindKind::Absent, Failed::new("look for the group", name, why)))
        }
        (Some(_), others) => {
            let why = format!("{} Auto Scaling groups are named '{name}'", others + 1);
            Err(CallError::new(BlindKind::Ambiguous, Failed::new("look for the group", name, why)))
        }
    }
}

fn group_of(group: &AutoScalingGroup, name: &str, read_at: SystemTime, date: Option<SystemTime>) -> Group {
    let instances = group.instances().iter();
    let tag = |key: &str| {
        let mut tags = group.tags().iter();
        tags.find(|t| t.key() == Some(key)).and_then(|t| t.value()).map(str::to_owned)
    };
    Group {
        name: name.to_owned(),
        arn: group.auto_scaling_group_arn().unwrap_or_default().to_owned(),
        desired: usize::try_from(group.desired_capacity().unwrap_or_default()).unwrap_or_default(),
        cluster_tag: tag(CLUSTER_TAG),
        founding_tag: tag(FOUNDING_TAG),
        replaced: tag(REPLACED_TAG).map(|tag| read_replaced(&tag)).unwrap_or_default(),
        instances: instances
            .filter_map(|i| {
                let state = i.lifecycle_state().map(|s| s.as_str()).unwrap_or_default();
                Some((InstanceId::new(i.instance_id()?), state.into()))
            })
            .collect(),
        plain: None,
        read_at,
        date,
    }
}

/// AWS says -1 for a percentage that a policy leaves out (Auto Scaling API reference, `InstanceMaintenancePolicy`, read
/// 2026-11-28).
fn settings_of(group: &AutoScalingGroup) -> Settings {
    let policy = group.instance_maintenance_policy();
    let words = |text: &str| text.split(',').map(|word| word.trim().to_owned()).collect();
    Settings {
        max: usize::try_from(group.max_size().unwrap_or_default()).unwrap_or_default(),
        health_checks: group.health_check_type().map(words).unwrap_or_default(),
        suspended: group.suspended_processes().iter().filter_map(|p| p.process_name().map(str::to_owned)).collect(),
        zones: group.availability_zones().iter().cloned().collect(),
        min_healthy_percentage: policy.and_then(|p| p.min_healthy_percentage()).filter(|percent| *percent >= 0),
    }
}
