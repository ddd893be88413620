//! EC2: the instances.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use aws_config::SdkConfig;
use aws_sdk_ec2::types::{Filter, InstanceNetworkInterface, Reservation, Tag};

use super::Place;
use super::aws::{CallError, Count, Date, MAX_PAGES, Whole, classify, endless};
use super::plain::{Tagged, id, state};
use crate::model::{Addresses, Ec2, Group, Instance, InstanceId, InstanceTag};

/// The service in one region.
#[derive(Clone)]
pub struct Instances(aws_sdk_ec2::Client);

impl Instances {
    pub fn new(config: &SdkConfig) -> Self {
        let config = aws_sdk_ec2::config::Builder::from(config).interceptor(Whole).interceptor(Count("ec2")).build();
        Self(aws_sdk_ec2::Client::from_conf(config))
    }

    /// A reply with those added that it should hold and does not: new ones whose tag is late, and members of elsewhere.
    pub async fn with_the_others(&self, mut ec2: Ec2, wanted: BTreeSet<InstanceId>) -> Result<Ec2, CallError> {
        let missing: BTreeSet<InstanceId> = wanted.difference(&ec2.asked).cloned().collect();
        // A filter without a value is an error to EC2.
        if !missing.is_empty() {
            let others = self.fetch(&missing).await?;
            ec2.asked.extend(others.asked);
            ec2.found.extend(others.found);
        }
        Ok(ec2)
    }

    /// What EC2 says of the given instances. Asked by filter: one unknown id must not fail them all (F67).
    ///
    /// # Errors
    /// When any page fails; a part is never returned as the whole.
    pub async fn fetch(&self, ids: &BTreeSet<InstanceId>) -> Result<Ec2, CallError> {
        let values = ids.iter().map(|id| id.as_str().to_owned()).collect();
        let reply = self.describe("instance-id", values, &format!("{} instances", ids.len()), &Date::default()).await?;
        Ok(Ec2 { asked: ids.clone(), found: found(instances(&reply)) })
    }

    /// What EC2 says of the instances that a group has launched, the terminated ones among them (Auto Scaling user guide,
    /// "Tag Auto Scaling groups and instances", read 2026-11-26). One launched just now may not have its tag yet.
    ///
    /// # Errors
    /// As [`Instances::fetch`].
    pub async fn fetch_of_group(&self, group: &str) -> Result<Ec2, CallError> {
        let (filter, name) = ("tag:aws:autoscaling:groupName", vec![group.to_owned()]);
        let reply = self.describe(filter, name, group, &Date::default()).await?;
        Ok(all_of(found(instances(&reply))))
    }

    /// The instances with a tag in the place of a group, and what EC2 says of them: one call for both.
    ///
    /// # Errors
    /// As [`Instances::fetch`]; `Absent` where no instance has the tag, `Ambiguous` where it is not clear which count, or
    /// what their group is marked with.
    pub async fn fetch_tagged(
        &self,
        tag: &InstanceTag,
        size: usize,
        place: &Place,
        read_at: SystemTime,
    ) -> Result<(Group, Ec2), CallError> {
        let date = Date::default();
        let reply = self.describe_tagged(tag, &date).await?;
        let tagged = Tagged::of(&reply, tag, place)?;
        Ok((tagged.group(size, read_at, date.read())?, all_of(found(tagged.instances()))))
    }

    /// Writes tags of the group that instances with a tag are: each of them that is not gone has all of them then, the
    /// new ones with those that others had before.
    ///
    /// # Errors
    /// `Denied` where the role does not allow it; as [`Instances::fetch_tagged`].
    pub async fn mark(
        &self,
        tag: &InstanceTag,
        place: &Place,
        marks: &BTreeMap<String, String>,
    ) -> Result<(), CallError> {
        let reply = self.describe_tagged(tag, &Date::default()).await?;
        let tagged = Tagged::of(&reply, tag, place)?;
        let mut all = tagged.marks()?;
        all.extend(marks.clone());
        let all = all.into_iter().map(|(key, value)| Tag::builder().key(key).value(value).build());
        let ids = tagged.staying().filter_map(|i| i.instance_id().map(str::to_owned));
        let call = self.0.create_tags().set_resources(Some(ids.collect())).set_tags(Some(all.collect()));
        call.send().await.map(|_| ()).map_err(|e| classify("ec2:CreateTags", &tag.to_string(), &e))
    }

    /// By a pattern that only this value fits (EC2 API reference, `DescribeInstances`, `Filter`, read 2026-11-27: a
    /// backslash escapes).
    async fn describe_tagged(&self, tag: &InstanceTag, date: &Date) -> Result<Vec<Reservation>, CallError> {
        let special = |c: char| matches!(c, '*' | '?' | '\\');
        let value = tag.value.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect();
        self.describe(&format!("tag:{}", tag.key), vec![value], &tag.to_string(), date).await
    }

    async fn describe(
        &self,
        filter: &str,
        values: Vec<String>,
        target: &str,
        date: &Date,
    ) -> Result<Vec<Reservation>, CallError> {
        let action = "ec2:DescribeInstances";
        let filter = Filter::builder().name(filter).set_values(Some(values)).build();
        let mut reservations = Vec::new();
        let mut token = None;
        for _ in 0..MAX_PAGES {
            let call = self.0.describe_instances().filters(filter.clone()).set_next_token(token);
            let call = call.customize().interceptor(date.clone());
            let reply = call.send().await.map_err(|e| classify(action, target, &e))?;
            reservations.extend(reply.reservations.unwrap_or_default());
            token = reply.next_token.filter(|t| !t.is_empty());
            if token.is_none() {
                return Ok(reservations);
            }
        }
        Err(endless(action, target))
    }
}

fn instances(reply: &[Reservation]) -> impl Iterator<Item = &aws_sdk_ec2::types::Instance> {
    reply.iter().flat_map(Reservation::instances)
}

fn found<'a>(instances: impl Iterator<Item = &'a aws_sdk_ec2::types::Instance>) -> BTreeMap<InstanceId, Instance> {
    instances.filter_map(instance).collect()
}

/// A reply to a question that named no instance.
fn all_of(found: BTreeMap<InstanceId, Instance>) -> Ec2 {
    Ec2 { asked: found.keys().cloned().collect(), found }
}

fn instance(i: &aws_sdk_ec2::types::Instance) -> Option<(InstanceId, Instance)> {
    let named = |text: Option<&str>| text.filter(|t| !t.is_empty()).map(str::to_owned);
    let launched = i.launch_time().and_then(|t| SystemTime::try_from(*t).ok());
    let instance = Instance {
        state: state(i),
        addresses: Addresses {
            ipv4: i.private_ip_address().and_then(|a| a.parse().ok()),
            ipv6: i.ipv6_address().and_then(|a| a.parse().ok()),
            dns_name: named(i.private_dns_name()),
        },
        others: i.network_interfaces().iter().flat_map(addresses).filter_map(|a| a.parse().ok()).collect(),
        launched,
    };
    Some((id(i)?, instance))
}

/// All private addresses of an interface (EC2 API reference, InstanceNetworkInterface, read 2026-11-26).
fn addresses(interface: &InstanceNetworkInterface) -> impl Iterator<Item = &str> {
    let v4 = interface.private_ip_addresses().iter().filter_map(|a| a.private_ip_address());
    v4.chain(interface.ipv6_addresses().iter().filter_map(|a| a.ipv6_address()))
}
