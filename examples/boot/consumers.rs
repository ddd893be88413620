//! The scenes in which another node uses the cluster.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::{CONSUMER_PERIOD, PATIENCE, Story};
use crate::client;
use crate::machine::Machine;
use crate::support::cloud::Instance;
use crate::support::etcd::until;

/// A name for all members, in the VPC's own zone. Certificates have to be for it.
pub(super) const ALL: &str = "etcd.example.internal";

impl Story<'_> {
    pub(super) async fn rotate_under_a_consumer(&mut self) -> Result<Duration, String> {
        self.beside_a_consumer(async |story, consumer| story.rotate(consumer).await).await
    }

    /// It knows one name, behind which somebody is silent, and asks AWS for nothing but its certificate.
    pub(super) async fn follow_by_one_name(&mut self) -> Result<Duration, String> {
        let mut addresses = self.addresses();
        addresses.push(self.lab.fresh_address());
        self.lab.resolver.record(ALL, addresses);
        let options = [
            format!("ETCD_BOOTSTRAP_ENDPOINTS=https://{ALL}:2379"),
            "ETCD_BOOTSTRAP_SCALING_GROUP_NAME=".to_owned(),
            "ETCD_BOOTSTRAP_PRIVATE_ADDRESSES=".to_owned(),
        ];
        let of_members = std::mem::replace(&mut self.lab.options, options.into());
        let play = async |story: &mut Self, consumer: &Machine| {
            let took = story.follows(consumer, story.dns_names()).await?;
            story.asked_for_its_certificate_alone(consumer)?;
            Ok(took)
        };
        let followed = self.beside_a_consumer(play).await;
        self.lab.options = of_members;
        followed
    }

    async fn beside_a_consumer(
        &mut self,
        play: impl AsyncFnOnce(&mut Self, &Machine) -> Result<Duration, String>,
    ) -> Result<Duration, String> {
        self.lab.cloud.change(|world| world.create_group("workers", 1));
        let config = self.lab.config("consumer.ign")?;
        let consumer = self.lab.launch("workers", self.lab.fresh_address(), &config).await?;
        consumer.first_boot().await?;
        let told = play(self, &consumer).await;
        consumer.leave_traces(&self.logs).await;
        let off = consumer.cut_power().await;
        told.and_then(|took| off.map(|()| took))
    }

    async fn rotate(&mut self, consumer: &Machine) -> Result<Duration, String> {
        let log = self.logs.join("client");
        let requests = async |more: usize| match client::record(&log) {
            Ok((succeeded, _)) if succeeded >= more => Ok(()),
            Ok((succeeded, _)) => Err(format!("{succeeded} requests of the client succeeded, not {more}")),
            Err(why) => Err(why),
        };
        let served = async || consumer.inside(&["systemctl", "is-active", "etcd-grpc-proxy.service"]).await;
        until(PATIENCE, async || if served().await? == "active" { Ok(()) } else { Err("no proxy".to_owned()) }).await?;
        let _client = client::start(consumer.in_its_network(), &log)?;
        until(PATIENCE, async || requests(10).await).await?;
        for _ in 0..self.machines.len() {
            let fresh = vec![self.lab.fresh_address()];
            self.replace(1, fresh).await?;
        }
        let began = Instant::now();
        let hosts = self.addresses().iter().map(ToString::to_string).collect();
        self.follows(consumer, hosts).await?;
        let (before, _) = client::record(&log)?;
        until(PATIENCE, async || requests(before + 10).await).await?;
        let back = began.elapsed();
        let (succeeded, longest) = client::record(&log)?;
        println!("{:<20} {succeeded} requests, the longest pause {:.1} s", self.plan.name(), longest.as_secs_f64());
        if longest > CONSUMER_PERIOD { Err(format!("the client waited {longest:?} for a request")) } else { Ok(back) }
    }

    /// Waits until these hosts are its endpoints.
    async fn follows(&self, consumer: &Machine, hosts: Vec<String>) -> Result<Duration, String> {
        let (began, scheme) = (Instant::now(), self.lab.scheme());
        let endpoints: BTreeSet<_> = hosts.iter().map(|host| format!("{scheme}://{host}:2379")).collect();
        let follows = async || {
            let file = consumer.inside(&["cat", "/run/etcd-bootstrap/consumer.env"]).await?;
            let line = file.lines().find_map(|line| line.strip_prefix("ETCD_ENDPOINTS=")).unwrap_or_default();
            let now: BTreeSet<_> = line.split(',').map(str::to_owned).collect();
            if now == endpoints { Ok(()) } else { Err(format!("the consumer has {now:?}")) }
        };
        until(PATIENCE, follows).await?;
        Ok(began.elapsed())
    }

    fn asked_for_its_certificate_alone(&self, consumer: &Machine) -> Result<(), String> {
        let calls = self.lab.aws.calls().into_iter().filter(|call| call.caller == consumer.instance);
        let asked: BTreeSet<_> = calls.map(|call| call.action).collect();
        let kms = BTreeSet::from(["GetPublicKey", "Sign"].map(str::to_owned));
        if asked == kms { Ok(()) } else { Err(format!("the consumer has asked AWS for {asked:?}")) }
    }

    /// The members' private DNS names.
    fn dns_names(&self) -> Vec<String> {
        let world = self.lab.cloud.now();
        let name = |machine: &Machine| world.instance(&machine.instance).and_then(Instance::dns_name);
        self.machines.iter().filter_map(|machine| name(machine)).collect()
    }
}
