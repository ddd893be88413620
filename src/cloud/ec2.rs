//! EC2: the instances.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use aws_config::SdkConfig;
use aws_sdk_ec2::types::{Filter, InstanceNetworkInterface};

use super::aws::{CallError, MAX_PAGES, Whole, classify, endless};
use crate::model::{Addresses, Ec2, Instance, InstanceId};

/// The service in one region.
#[derive(Clone)]
pub struct Instances(aws_sdk_ec2::Client);

impl Instances {
    pub fn new(config: &SdkConfig) -> Self {
        let config = aws_sdk_ec2::config::Builder::from(config).interceptor(Whole).build();
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
        let found = self.describe("instance-id", values, &format!("{} instances", ids.len())).await?;
        Ok(Ec2 { asked: ids.clone(), found })
    }

    /// What EC2 says of the instances that a group has launched, the terminated ones among them (Auto Scaling user guide,
    /// "Tag Auto Scaling groups and instances", read 2026-11-26). One launched just now may not have its tag yet.
    ///
    /// # Errors
    /// As [`Instances::fetch`].
    pub async fn fetch_of_group(&self, group: &str) -> Result<Ec2, CallError> {
        let found = self.describe("tag:aws:autoscaling:groupName", vec![group.to_owned()], group).await?;
        Ok(Ec2 { asked: found.keys().cloned().collect(), found })
    }

    async fn describe(
        &self,
        filter: &str,
        values: Vec<String>,
        target: &str,
    ) -> Result<BTreeMap<InstanceId, Instance>, CallError> {
        let action = "ec2:DescribeInstances";
        let filter = Filter::builder().name(filter).set_values(Some(values)).build();
        let mut found = BTreeMap::new();
        let mut token = None;
        for _ in 0..MAX_PAGES {
            let call = self.0.describe_instances().filters(filter.clone()).set_next_token(token);
            let reply = call.send().await.map_err(|e| classify(action, target, &e))?;
            found.extend(reply.reservations().iter().flat_map(|r| r.instances()).filter_map(instance));
            token = reply.next_token.filter(|t| !t.is_empty());
            if token.is_none() {
                return Ok(found);
            }
        }
        Err(endless(action, target))
    }
}

fn instance(i: &aws_sdk_ec2::types::Instance) -> Option<(InstanceId, Instance)> {
    let named = |text: Option<&str>| text.filter(|t| !t.is_empty()).map(str::to_owned);
    let launched = i.launch_time().and_then(|t| SystemTime::try_from(*t).ok());
    let instance = Instance {
        state: i.state().and_then(|s| s.name()).map(|n| n.as_str()).unwrap_or_default().into(),
        addresses: Addresses {
            ipv4: i.private_ip_address().and_then(|a| a.parse().ok()),
            ipv6: i.ipv6_address().and_then(|a| a.parse().ok()),
            dns_name: named(i.private_dns_name()),
        },
        others: i.network_interfaces().iter().flat_map(addresses).filter_map(|a| a.parse().ok()).collect(),
        launched,
    };
    Some((InstanceId::new(i.instance_id()?), instance))
}

/// All private addresses of an interface (EC2 API reference, InstanceNetworkInterface, read 2026-11-26).
fn addresses(interface: &InstanceNetworkInterface) -> impl Iterator<Item = &str> {
    let v4 = interface.private_ip_addresses().iter().filter_map(|a| a.private_ip_address());
    v4.chain(interface.ipv6_addresses().iter().filter_map(|a| a.ipv6_address()))
}
