//! AWS: who this node is, its group, and the group's instances.
//!
//! Owns the clients and the last replies; SDK types stay in this room. One try a call: the loop looks again.

mod autoscaling;
mod aws;
mod ec2;
mod imds;
mod kms;
mod plain;
mod s3;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::time::Duration;

use aws_sdk_autoscaling::config::SharedHttpClient;

use self::autoscaling::AutoScaling;
pub use self::aws::{CallError, calls};
use self::ec2::Instances;
pub use self::imds::{Texts, parse_identity};
use self::kms::Kms;
pub use self::s3::{Bucket, Download, Object, Stored, elements};
use crate::certificate::Authority;
use crate::clock::now;
use crate::model::{
    Blind, BlindKind, Ec2, Group, Hook, Identity, InstanceId, InstanceTag, LifecycleState, Notices, Seen, Settings,
    WhichGroup,
};

/// "We recommend that you check for interruption notices every 5 seconds" (EC2 user guide, "Spot Instance interruption
/// notices", read 2026-11-26).
const NOTICES: Duration = Duration::from_secs(5);

/// Whether a pass asks AWS again or works with the last reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Ask.
    Fresh,
    /// Work with what was said last.
    LastReply,
}

/// AWS as this node sees it. Keeps what does not change while the instance runs, and the last reply.
pub struct Cloud {
    /// Made when it is needed: it reads all of the system's authorities, and a consumer's run hardly ever asks.
    ways: OnceLock<Ways>,
    group: WhichGroup,
    /// None: this instance's.
    region: Option<String>,
    identity: Option<Identity>,
    services: Option<Services>,
    last: Option<(Seen<Group>, Seen<Ec2>)>,
    last_group: Option<Seen<Group>>,
    last_hooks: Option<Seen<Vec<Hook>>>,
}

/// How AWS and the metadata are reached.
struct Ways {
    http: SharedHttpClient,
    imds: aws_config::imds::Client,
}

/// Where this is.
struct Place {
    region: String,
    /// None on a machine that is no instance.
    instance: Option<InstanceId>,
}

/// The services of one region.
#[derive(Clone)]
struct Services {
    autoscaling: AutoScaling,
    instances: Instances,
    kms: Kms,
}

impl Cloud {
    /// Has not asked yet.
    pub fn new(group: WhichGroup) -> Self {
        Self {
            ways: OnceLock::new(),
            group,
            region: None,
            identity: None,
            services: None,
            last: None,
            last_group: None,
            last_hooks: None,
        }
    }

    /// The same of a region, for who is no instance of it.
    #[must_use]
    pub fn in_region(self, region: Option<String>) -> Self {
        Self { region, ..self }
    }

    fn ways(&self) -> &Ways {
        self.ways.get_or_init(|| {
            let http = aws::http_client();
            Ways { imds: imds::client(http.clone()), http }
        })
    }

    /// Who this node is.
    ///
    /// # Errors
    /// Why the metadata could not be read.
    pub async fn identity(&mut self) -> Result<Identity, Blind> {
        match &self.identity {
            Some(me) => Ok(me.clone()),
            None => {
                let me = imds::fetch_identity(&self.ways().imds).await?;
                Ok(self.identity.insert(me).clone())
            }
        }
    }

    /// Who this node is now: where the group wants it may have changed, all else stays as it is while the instance runs.
    pub async fn identify(&mut self, fresh: Freshness) -> Seen<Identity> {
        if fresh == Freshness::Fresh
            && self.identity.is_some()
            && let Ok(state) = imds::fetch_target_lifecycle_state(&self.ways().imds).await
            && let Some(me) = &mut self.identity
        {
            me.target_lifecycle_state = state.map(Into::into);
        }
        self.identity().await.map_or_else(Seen::No, Seen::Yes)
    }

    /// What the metadata tells of this instance's future.
    pub async fn fetch_notices(&self) -> Seen<Notices> {
        imds::fetch_notices(&self.ways().imds).await.map_or_else(|why| Seen::No(why.into()), Seen::Yes)
    }

    /// Waits until the metadata tells another future of this instance than is known. No answer is no news.
    pub async fn wait_for_notice(&self, target: Option<&LifecycleState>, known: &Seen<Notices>) {
        loop {
            tokio::time::sleep(NOTICES).await;
            let now = imds::fetch_target_lifecycle_state(&self.ways().imds);
            let (now, notices) = tokio::join!(now, self.fetch_notices());
            let told = now.ok().flatten().map(LifecycleState::from);
            let is_new = |notices: &Notices| known.ok().is_none_or(|known| known != notices);
            if told.is_some_and(|told| Some(&told) != target) || notices.ok().is_some_and(is_new) {
                return;
            }
        }
    }

    /// The group's lifecycle hooks.
    pub async fn look_at_hooks(&mut self, fresh: Freshness, group: &str) -> Seen<Vec<Hook>> {
        if let (Some(last), Freshness::LastReply) = (&self.last_hooks, fresh) {
            return last.clone();
        }
        let hooks = match self.services().await {
            Ok(services) => services.autoscaling.fetch_hooks(group).await.map_err(Blind::from),
            Err(why) => Err(why),
        };
        self.last_hooks.insert(hooks.map_or_else(Seen::No, Seen::Yes)).clone()
    }

    /// Says that an instance need not wait for a lifecycle hook any more.
    ///
    /// # Errors
    /// `Denied` where the role does not allow it; what AWS says where the instance does not wait, or not yet.
    pub async fn complete_hook(&mut self, group: &str, hook: &str, instance: &InstanceId) -> Result<(), Blind> {
        Ok(self.services().await?.autoscaling.complete_hook(group, hook, instance).await?)
    }

    /// Starts the timeout of a lifecycle hook anew.
    ///
    /// # Errors
    /// As [`Cloud::complete_hook`].
    pub async fn keep_waiting(&mut self, group: &str, hook: &str, instance: &InstanceId) -> Result<(), Blind> {
        Ok(self.services().await?.autoscaling.keep_waiting(group, hook, instance).await?)
    }

    /// The authorities that these keys of KMS make, in their order; all are asked for at the same time.
    ///
    /// # Errors
    /// Why one of them is not to be had: `Absent` and `Denied` do not get better by themselves.
    pub async fn fetch_authorities(&mut self, names: &[String]) -> Result<Vec<Authority>, Blind> {
        let kms = self.services().await?.kms.clone();
        let asked: Vec<_> = names
            .iter()
            .cloned()
            .map(|name| {
                let kms = kms.clone();
                tokio::spawn(async move { kms.fetch_authority(&name).await })
            })
            .collect();
        let mut authorities = Vec::new();
        for answer in asked {
            authorities.push(answer.await.expect("it does not panic")?);
        }
        Ok(authorities)
    }

    /// Has an authority sign.
    ///
    /// # Errors
    /// As [`Cloud::fetch_authorities`].
    pub async fn sign(&mut self, authority: &Authority, message: Vec<u8>) -> Result<Vec<u8>, Blind> {
        Ok(self.services().await?.kms.sign(authority, message).await?)
    }

    /// A bucket of S3; `region` is None where it is this instance's.
    ///
    /// # Errors
    /// Why the region is not known.
    pub async fn bucket(&mut self, name: &str, region: Option<&str>) -> Result<Bucket, Blind> {
        let region = match region {
            Some(region) => region.to_owned(),
            None => self.identity().await?.region,
        };
        Ok(Bucket::new(&aws::config(self.ways().http.clone(), &region).await, name).await?)
    }

    /// The private DNS name that EC2 has for this instance; None where it has none, or does not know it yet.
    ///
    /// # Errors
    /// Why EC2 could not be asked.
    pub async fn fetch_dns_name(&mut self) -> Result<Option<String>, Blind> {
        let me = self.identity().await?.instance;
        let ec2 = self.services().await?.instances.fetch(&BTreeSet::from([me.clone()])).await?;
        Ok(ec2.found.get(&me).and_then(|instance| instance.addresses.dns_name.clone()))
    }

    /// The group alone.
    pub async fn look_at_group(&mut self, fresh: Freshness) -> Seen<Group> {
        if let (Some(last), Freshness::LastReply) = (&self.last_group, fresh) {
            return last.clone();
        }
        let group = self.fetch_group().await.map_or_else(Seen::No, Seen::Yes);
        self.last_group.insert(group).clone()
    }

    /// The group as it is now.
    ///
    /// # Errors
    /// Why it could not be read.
    pub async fn fetch_group(&mut self) -> Result<Group, Blind> {
        if let WhichGroup::Tagged { tag, size } = self.group.clone() {
            return Ok(self.fetch_tagged(&tag, size).await?.0);
        }
        let name = self.group_name().await?;
        Ok(self.services().await?.autoscaling.fetch_group(&name, now()).await?)
    }

    /// What the group does with its instances.
    ///
    /// # Errors
    /// `NotAsked` where no Auto Scaling group launches them; why it could not be read.
    pub async fn fetch_settings(&mut self) -> Result<Settings, Blind> {
        if let WhichGroup::Tagged { .. } = self.group {
            return Err(Blind::not_asked());
        }
        let name = self.group_name().await?;
        Ok(self.services().await?.autoscaling.fetch_settings(&name).await?)
    }

    /// Writes tags of a group, all in one call.
    ///
    /// # Errors
    /// `Denied` where the role does not allow it; why the region is not known.
    pub async fn tag_group(&mut self, group: &str, tags: &BTreeMap<String, String>) -> Result<(), Blind> {
        if let WhichGroup::Tagged { tag, .. } = self.group.clone() {
            let place = self.place().await?;
            return Ok(self.services().await?.instances.mark(&tag, &place, tags).await?);
        }
        Ok(self.services().await?.autoscaling.tag_group(group, tags).await?)
    }

    /// The group and what EC2 says of its instances, and of those that `also` adds when it has seen the group. `patience`
    /// is how long all of that is waited for; None for as long as the calls take.
    pub async fn look(
        &mut self,
        fresh: Freshness,
        also: impl FnOnce(&Group) -> BTreeSet<InstanceId>,
        patience: Option<Duration>,
    ) -> (Seen<Group>, Seen<Ec2>) {
        if let (Some(last), Freshness::LastReply) = (&self.last, fresh) {
            return last.clone();
        }
        let look = self.fetch(also);
        let seen = match patience {
            None => look.await,
            Some(patience) => tokio::time::timeout(patience, look).await.unwrap_or_else(|_| {
                let why = format!("AWS gave no answer within {} s", patience.as_secs());
                blind(Blind { kind: BlindKind::Unreachable, why })
            }),
        };
        self.last.insert(seen).clone()
    }

    async fn fetch(&mut self, also: impl FnOnce(&Group) -> BTreeSet<InstanceId>) -> (Seen<Group>, Seen<Ec2>) {
        let instances = match self.services().await {
            Ok(services) => services.instances.clone(),
            Err(why) => return blind(why),
        };
        let fetched = match self.group.clone() {
            WhichGroup::Tagged { tag, size } => {
                self.fetch_tagged(&tag, size).await.map(|(group, ec2)| (group, Ok(ec2)))
            }
            WhichGroup::Scaling(_) => self.fetch_scaling().await,
        };
        let (group, known) = match fetched {
            Ok(fetched) => fetched,
            Err(why) => return blind(why),
        };
        let wanted = also(&group);
        let ec2 = match known {
            Ok(known) => instances.with_the_others(known, wanted).await,
            Err(why) => Err(why),
        };
        (Seen::Yes(group), ec2.map_or_else(|why| Seen::No(why.into()), Seen::Yes))
    }

    /// The group and its instances are asked for side by side. By the tag that Auto Scaling gives them EC2 tells of the
    /// terminated ones too, so that the first pass knows who is dead.
    async fn fetch_scaling(&mut self) -> Result<(Group, Result<Ec2, CallError>), Blind> {
        let name = self.group_name().await?;
        let Services { autoscaling, instances, .. } = self.services().await?;
        let (group, launched) = tokio::join!(autoscaling.fetch_group(&name, now()), instances.fetch_of_group(&name));
        Ok((group?, launched))
    }

    async fn fetch_tagged(&mut self, tag: &InstanceTag, size: usize) -> Result<(Group, Ec2), Blind> {
        let place = self.place().await?;
        Ok(self.services().await?.instances.fetch_tagged(tag, size, &place, now()).await?)
    }

    async fn group_name(&mut self) -> Result<String, Blind> {
        if let Some(name) = self.group.name() {
            return Ok(name);
        }
        let me = self.identity().await?;
        let name = self.services().await?.autoscaling.fetch_group_name(&me.instance).await?;
        self.group = WhichGroup::Scaling(Some(name.clone()));
        Ok(name)
    }

    /// By the metadata, where the region is not told.
    async fn place(&mut self) -> Result<Place, Blind> {
        match self.region.clone() {
            Some(region) => Ok(Place { region, instance: None }),
            None => self.identity().await.map(|me| Place { region: me.region, instance: Some(me.instance) }),
        }
    }

    /// The clients, once the region is known.
    async fn services(&mut self) -> Result<&Services, Blind> {
        let Place { region, .. } = self.place().await?;
        if self.services.is_none() {
            let config = aws::config(self.ways().http.clone(), &region).await;
            self.services = Some(Services {
                autoscaling: AutoScaling::new(&config),
                instances: Instances::new(&config),
                kms: Kms::new(&config),
            });
        }
        Ok(self.services.as_ref().expect("it was made above"))
    }
}

fn blind(why: Blind) -> (Seen<Group>, Seen<Ec2>) {
    (Seen::No(why.clone()), Seen::No(why))
}
