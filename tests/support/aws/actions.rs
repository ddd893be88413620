//! The actions. What their answers hold is what the agent's SDK reads of them.

use std::collections::BTreeMap;

use super::faults::Effect;
use super::wire::{Form, Refusal, element, text, timestamp};
use crate::support::cloud::{ACCOUNT, Cloud, Group, Instance, World};

pub fn describe_auto_scaling_instances(world: &World, form: &mut Form, effect: &Effect) -> Result<String, Refusal> {
    const MOST: usize = 50;
    let wanted = form.take_list("InstanceIds.member");
    if wanted.len() > MOST {
        return Err(form.service.mistake("ValidationError", "more than 50 instance ids"));
    }
    let placed = world.instances.iter().filter_map(|instance| {
        let place = instance.place.as_ref()?;
        (wanted.is_empty() || wanted.contains(&instance.id))
            .then(|| element("member", &[member_of_group(instance), text("AutoScalingGroupName", &place.group)]))
    });
    let page = form.take_page("MaxRecords", MOST, effect)?.cut(placed.collect());
    Ok(element("AutoScalingInstances", &page.entries) + &page.next_token("NextToken"))
}

pub fn describe_auto_scaling_groups(world: &World, form: &mut Form, effect: &Effect) -> Result<String, Refusal> {
    let wanted = form.take_list("AutoScalingGroupNames.member");
    let with_instances = form.take("IncludeInstances").is_none_or(|value| value == "true");
    let groups = world
        .groups
        .values()
        .filter(|group| wanted.is_empty() || wanted.contains(&group.name))
        .map(|group| describe_group(world, group, with_instances));
    let page = form.take_page("MaxRecords", 50, effect)?.cut(groups.collect());
    Ok(element("AutoScalingGroups", &page.entries) + &page.next_token("NextToken"))
}

fn describe_group(world: &World, group: &Group, with_instances: bool) -> String {
    let of_this_group = |instance: &&Instance| instance.place.as_ref().is_some_and(|place| place.group == group.name);
    let instances = world.instances.iter().filter(of_this_group);
    let instances = instances.map(|instance| element("member", &[member_of_group(instance)]));
    let tags = group.tags.iter().map(|(key, value)| {
        element(
            "member",
            &[
                text("ResourceId", &group.name),
                text("ResourceType", "auto-scaling-group"),
                text("Key", key),
                text("Value", value),
                text("PropagateAtLaunch", "false"),
            ],
        )
    });
    let suspended = group.suspended.iter().map(|process| element("member", &[text("ProcessName", process)]));
    let policy = group.min_healthy_percentage.map(|least| {
        let percents = [text("MinHealthyPercentage", least), text("MaxHealthyPercentage", 110)];
        element("InstanceMaintenancePolicy", &percents)
    });
    element(
        "member",
        &[
            text("AutoScalingGroupName", &group.name),
            text("AutoScalingGroupARN", &group.arn),
            text("MinSize", group.min),
            text("MaxSize", group.max),
            text("DesiredCapacity", group.desired),
            text("DefaultCooldown", 300),
            element("AvailabilityZones", &[text("member", "eu-test-1a")]),
            text("HealthCheckType", group.health_check),
            element("SuspendedProcesses", &suspended.collect::<Vec<_>>()),
            policy.unwrap_or_default(),
            text("HealthCheckGracePeriod", 0),
            if with_instances { element("Instances", &instances.collect::<Vec<_>>()) } else { String::new() },
            text("CreatedTime", timestamp(group.created)),
            element("Tags", &tags.collect::<Vec<_>>()),
        ],
    )
}

/// What both Auto Scaling actions say of an instance.
fn member_of_group(instance: &Instance) -> String {
    let lifecycle = instance.place.as_ref().map_or("", |place| &place.lifecycle);
    [
        text("InstanceId", &instance.id),
        text("InstanceType", "t4g.small"),
        text("AvailabilityZone", &instance.zone),
        text("LifecycleState", lifecycle),
        text("HealthStatus", "Healthy"),
        text("ProtectedFromScaleIn", "false"),
    ]
    .concat()
}

pub fn create_or_update_tags(cloud: &Cloud, form: &mut Form) -> Result<String, Refusal> {
    for number in 1.. {
        let mut field = |name: &str| form.take(&format!("Tags.member.{number}.{name}"));
        let Some(key) = field("Key") else { break };
        let (group, kind) = (field("ResourceId"), field("ResourceType"));
        let value = field("Value").unwrap_or_default();
        let propagates = field("PropagateAtLaunch");
        if kind.as_deref() != Some("auto-scaling-group") || propagates.is_none() {
            return Err(form.service.mistake("ValidationError", "a tag without ResourceType or PropagateAtLaunch"));
        }
        let group = group.unwrap_or_default();
        let known = cloud.change(|world| {
            let group = world.groups.get_mut(&group);
            group.map(|group| group.tags.insert(key, value)).is_some()
        });
        if !known {
            return Err(form.service.refusal(400, "ValidationError", format!("no group '{group}'")));
        }
    }
    Ok(String::new())
}

pub fn describe_instances(world: &World, form: &mut Form, effect: &Effect) -> Result<String, Refusal> {
    let ids = form.take_list("InstanceId");
    if let Some(unknown) = ids.iter().find(|id| !world.instance(id).is_some_and(|instance| instance.known)) {
        let message = format!("The instance ID '{unknown}' does not exist");
        return Err(form.service.refusal(400, "InvalidInstanceID.NotFound", message));
    }
    if !ids.is_empty() && form.fields.contains_key("MaxResults") {
        return Err(form.service.mistake("InvalidParameterCombination", "InstanceId with MaxResults"));
    }
    let filters = Filter::take_all(form)?;
    let found = world
        .instances
        .iter()
        .filter(|instance| instance.known && (ids.is_empty() || ids.contains(&instance.id)))
        .filter(|instance| filters.iter().all(|filter| filter.passes(instance)))
        .map(describe_instance);
    let page = form.take_page("MaxResults", 1000, effect)?.cut(found.collect());
    Ok(element("reservationSet", &page.entries) + &page.next_token("nextToken"))
}

/// One instance, in a reservation of its own as Auto Scaling's launches are.
fn describe_instance(instance: &Instance) -> String {
    let address = instance.address.map(|address| address.to_string());
    // As on a node of containers: a second address, and a second interface. Neither is the instance's own.
    let interface = |index: u8, own: &str, second: &str| {
        let address = |address: &str, primary: &str| {
            element("item", &[text("privateIpAddress", address), text("primary", primary)])
        };
        let addresses = [address(own, "true"), address(second, "false")];
        element(
            "item",
            &[
                text("privateIpAddress", own),
                element("attachment", &[text("deviceIndex", index)]),
                element("privateIpAddressesSet", &addresses),
            ],
        )
    };
    let interfaces = address
        .as_deref()
        .map(|own| [interface(0, own, "10.255.0.1"), interface(1, "10.255.0.2", "10.255.0.3")].concat());
    let tags = tags_of(instance).map(|(key, value)| element("item", &[text("key", key), text("value", value)]));
    let fields = [
        text("instanceId", &instance.id),
        text("imageId", "ami-0123456789abcdef0"),
        element("instanceState", &[text("code", instance.state as u32), text("name", instance.state.name())]),
        text("privateDnsName", instance.dns_name().unwrap_or_default()),
        address.as_deref().map(|address| text("privateIpAddress", address)).unwrap_or_default(),
        text("instanceType", "t4g.small"),
        text("launchTime", timestamp(instance.launched)),
        element("placement", &[text("availabilityZone", &instance.zone)]),
        element("networkInterfaceSet", interfaces.as_slice()),
        instance.vpc.as_ref().map(|vpc| text("vpcId", vpc)).unwrap_or_default(),
        element("tagSet", &tags.collect::<Vec<_>>()),
    ];
    element(
        "item",
        &[
            text("reservationId", instance.id.replace("i-", "r-")),
            text("ownerId", ACCOUNT),
            element("instancesSet", &[element("item", &fields)]),
        ],
    )
}

fn tags_of(instance: &Instance) -> impl Iterator<Item = (&str, &str)> {
    let by_group = instance.launched_by.as_ref().map(|group| (GROUP_TAG, group.as_str()));
    by_group.into_iter().chain(instance.tags.iter().map(|(key, value)| (key.as_str(), value.as_str())))
}

/// Tags instances, the terminated ones too for as long as they are known.
pub fn create_tags(cloud: &Cloud, form: &mut Form) -> Result<String, Refusal> {
    let ids = form.take_list("ResourceId");
    let mut tags = BTreeMap::new();
    while let Some(key) = form.take(&format!("Tag.{}.Key", tags.len() + 1)) {
        tags.insert(key, form.take(&format!("Tag.{}.Value", tags.len() + 1)).unwrap_or_default());
    }
    if ids.is_empty() || tags.is_empty() || tags.keys().any(|key| key.starts_with("aws:")) {
        return Err(form.service.mistake("InvalidParameterValue", "no resource, no tag, or one of AWS's own"));
    }
    let world = cloud.now();
    if let Some(unknown) = ids.iter().find(|id| !world.instance(id).is_some_and(|instance| instance.known)) {
        return Err(form.service.refusal(400, "InvalidID", format!("The ID '{unknown}' is not valid")));
    }
    cloud.change(|world| ids.iter().for_each(|id| world.instance_mut(id).tags.extend(tags.clone())));
    Ok(text("return", true))
}

const GROUP_TAG: &str = "aws:autoscaling:groupName";

/// A filter of `DescribeInstances`.
struct Filter {
    name: String,
    values: Vec<String>,
}

impl Filter {
    fn take_all(form: &mut Form) -> Result<Vec<Self>, Refusal> {
        let mut filters = Vec::new();
        while let Some(name) = form.take(&format!("Filter.{}.Name", filters.len() + 1)) {
            let values = form.take_list(&format!("Filter.{}.Value", filters.len() + 1));
            // https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstances.html
            if values.len() > 200 {
                return Err(form.service.mistake("FilterLimitExceeded", "more than 200 values in a filter"));
            }
            if !Self::KNOWN.contains(&name.as_str()) && !name.starts_with("tag:") {
                return Err(form.service.mistake("InvalidParameterValue", format!("no filter '{name}' here")));
            }
            filters.push(Self { name, values });
        }
        Ok(filters)
    }

    const KNOWN: [&str; 4] = ["instance-id", "instance-state-name", "private-ip-address", "private-dns-name"];

    fn passes(&self, instance: &Instance) -> bool {
        if let Some(wanted) = self.name.strip_prefix("tag:") {
            let fits = |value: &str| self.values.iter().any(|pattern| fits(pattern, value));
            return tags_of(instance).any(|(key, value)| key == wanted && fits(value));
        }
        let has = match self.name.as_str() {
            "instance-id" => Some(instance.id.clone()),
            "instance-state-name" => Some(instance.state.name().to_owned()),
            "private-ip-address" => instance.address.map(|address| address.to_string()),
            _ => instance.dns_name(),
        };
        has.is_some_and(|value| self.values.contains(&value))
    }
}

/// Whether a value fits a pattern of a filter: `*` and `?` are wildcards, and a backslash escapes them
/// (https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html).
fn fits(pattern: &str, value: &str) -> bool {
    let mut rest = pattern.chars();
    match (rest.next(), value.chars().next()) {
        (None, end) => end.is_none(),
        (Some('*'), _) => (0..=value.len()).filter_map(|at| value.get(at..)).any(|tail| fits(rest.as_str(), tail)),
        (Some(_), None) => false,
        (Some('\\'), Some(c)) => rest.next() == Some(c) && fits(rest.as_str(), &value[c.len_utf8()..]),
        (Some(wanted), Some(c)) => (wanted == '?' || wanted == c) && fits(rest.as_str(), &value[c.len_utf8()..]),
    }
}
