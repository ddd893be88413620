//! The doing: one cluster, its clients, and the steps of a schedule; then calm, and what must hold.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::support::aws::{Action, Fault, Often};
use crate::support::child::Signal;
use crate::support::etcd;
use crate::support::imds;
use crate::support::lock;
use crate::support::node::{Node, Programs};
use crate::support::rig::{Rig, addresses};

use super::clients::Clients;
use super::schedule::{Cloud, Schedule, Slot, Step};

const GROUP: &str = "etcd-chaos";

/// Within this time of calm all must be well. A node that died between its add and its start is removed after 60 s of
/// silence, and an etcd that hangs is given up after its start timeout; the rest is a few elections.
const CALM: Duration = Duration::from_secs(150);

/// One cluster in the weather.
pub struct Weather {
    /// None between a termination and the next launch.
    slots: Vec<Option<Node>>,
    /// Where each slot's last instance was.
    last_address: Vec<Ipv4Addr>,
    cluster_ids: BTreeSet<String>,
    clients: Clients,
    // Dropped last: the nodes' files and addresses are its.
    rig: Rig,
}

impl Weather {
    /// A group of so many nodes, which begin to form a cluster.
    ///
    /// # Errors
    /// When no cloud can be had.
    pub fn begin(programs: &Programs, nodes: usize) -> Result<Self, String> {
        let describe = |error: std::io::Error| format!("start the cloud: {error}");
        let mut rig =
            Rig::start_with_network(programs.clone()).or_else(|_| Rig::start(programs.clone())).map_err(describe)?;
        if rig.network.is_none() {
            println!("no network of its own (root, or `unshare -r`): nothing is cut in this run");
        }
        rig.setup.start_timeout = Duration::from_secs(20);
        // Joiners shall get snapshots too, and not always the whole log. One etcd knows one of the last two names.
        let old = etcd::version_of(&programs.etcd)?.starts_with("3.5.");
        let catch_up = if old { "EXPERIMENTAL_SNAPSHOT_CATCHUP_ENTRIES" } else { "SNAPSHOT_CATCHUP_ENTRIES" };
        for name in ["SNAPSHOT_COUNT", catch_up] {
            rig.setup.etcd_environment.insert(format!("ETCD_{name}"), "50".to_owned());
        }
        if let Err(why) = rig.setup.with_clocks("target".as_ref()) {
            println!("{why}: no clock is set in this run");
        }
        rig.group(GROUP, u32::try_from(nodes).expect("a cluster is small"));
        let launched = rig.launch_many(GROUP, nodes).map_err(describe)?;
        let weather = Self {
            last_address: addresses(&launched),
            slots: launched.into_iter().map(Some).collect(),
            cluster_ids: BTreeSet::new(),
            clients: Clients::start(&rig.judge),
            rig,
        };
        weather.nodes().for_each(Node::boot);
        weather.tell_clients();
        Ok(weather)
    }

    /// One round: the weather, then calm. Returns how long it took until all was well again, and what the clients did.
    ///
    /// # Errors
    /// What does not hold.
    pub async fn round(&mut self, schedule: &Schedule) -> Result<Duration, String> {
        let began = Instant::now();
        for (at, step) in &schedule.steps {
            tokio::time::sleep(at.saturating_sub(began.elapsed())).await;
            self.step(*step).await.map_err(|error| format!("{step:?}: {error}"))?;
        }
        self.calm().map_err(|error| format!("calm: {error}"))?;
        let calm = Instant::now();
        self.until_well().await?;
        let well = calm.elapsed();
        self.check().await?;
        Ok(well)
    }

    /// How many operations were acknowledged, and how many were not.
    pub fn counts(&self) -> (usize, usize) {
        self.clients.counts()
    }

    /// What a person needs to find the reason; the logs are kept.
    pub fn explain(&mut self) -> String {
        self.rig.directory.keep();
        // What a failure has cut short is not to be reported as a second one.
        self.rig.aws.forgive();
        let mut story = format!("all logs are in {}\n", self.rig.directory.path().display());
        for (slot, node) in self.slots.iter().enumerate() {
            let _ = match node {
                Some(node) => write!(story, "slot {slot}: {}", node.story()),
                None => writeln!(story, "slot {slot} is empty"),
            };
        }
        story
    }

    fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.slots.iter().flatten()
    }

    fn tell_clients(&self) {
        *lock(&self.clients.nodes) = addresses(self.nodes());
    }

    async fn step(&mut self, step: Step) -> std::io::Result<()> {
        match step {
            Step::Terminate(slot) => self.terminate(slot).await,
            Step::Launch(slot) => self.launch(slot, self.rig.fresh_address())?,
            Step::LaunchOnSameAddress(slot) => self.launch(slot, self.last_address[slot])?,
            Step::Boot(slot) => self.boot(slot),
            Step::Aws(cloud) => self.cloud_misbehaves(cloud),
            Step::ShutDown(slot)
            | Step::CutPower(slot)
            | Step::LoseDisk(slot)
            | Step::Kill(slot)
            | Step::Freeze(slot)
            | Step::Thaw(slot)
            | Step::Cut(slot, _)
            | Step::CutFromCloud(slot)
            | Step::Mend(slot)
            | Step::MetadataFails(slot)
            | Step::MetadataHangs(slot)
            | Step::SetClock(slot, _) => {
                if let Some(node) = &self.slots[slot] {
                    self.step_on(node, step).await?;
                }
            }
        }
        Ok(())
    }

    async fn step_on(&self, node: &Node, step: Step) -> std::io::Result<()> {
        match step {
            Step::ShutDown(_) => {
                node.signal(Signal::Thaw);
                node.shut_down().await;
            }
            Step::CutPower(_) => node.cut_power().await,
            Step::LoseDisk(_) => {
                node.cut_power().await;
                node.wipe_disk()?;
            }
            Step::Kill(_) => node.signal(Signal::Kill),
            Step::Freeze(_) => node.signal(Signal::Freeze),
            Step::Thaw(_) => node.signal(Signal::Thaw),
            Step::Cut(_, other) => self.cut(node, self.last_address[other])?,
            Step::CutFromCloud(_) => self.cut(node, self.rig.cloud_address())?,
            Step::Mend(_) => mend(node)?,
            Step::MetadataFails(_) => node.imds.inject(imds::Fault::Fail(5)),
            Step::MetadataHangs(_) => node.imds.inject(imds::Fault::Hang),
            Step::SetClock(_, seconds) => node.set_clock(seconds)?,
            Step::Terminate(_) | Step::Launch(_) | Step::LaunchOnSameAddress(_) | Step::Boot(_) | Step::Aws(_) => {}
        }
        Ok(())
    }

    async fn terminate(&mut self, slot: Slot) {
        let Some(node) = self.slots[slot].take() else { return };
        self.rig.terminate(&node).await;
        // etcd reserves some 100 MB for each node; the logs stay.
        let _ = std::fs::remove_dir_all(node.data_dir());
        drop(node);
        self.tell_clients();
    }

    fn launch(&mut self, slot: Slot, address: Ipv4Addr) -> std::io::Result<()> {
        let node = self.rig.launch_at(Some(GROUP), address)?;
        node.boot();
        self.last_address[slot] = address;
        self.slots[slot] = Some(node);
        self.tell_clients();
        Ok(())
    }

    fn boot(&self, slot: Slot) {
        if let Some(node) = self.slots[slot].as_ref().filter(|node| !node.is_on()) {
            node.boot();
        }
    }

    fn cut(&self, node: &Node, to: Ipv4Addr) -> std::io::Result<()> {
        match &node.imds.host {
            Some(host) if to != node.address => host.cut(to),
            Some(_) | None => Ok(()),
        }
    }

    fn cloud_misbehaves(&self, cloud: Cloud) {
        let (fault, often) = match cloud {
            Cloud::Throttles => (Fault::Throttle, Often::Chance(0.7)),
            Cloud::Fails => (Fault::Fail, Often::Chance(0.7)),
            Cloud::Drops => (Fault::Drop, Often::Chance(0.7)),
            Cloud::Hangs => (Fault::Hang, Often::Chance(0.3)),
            Cloud::Lags(lag) => (Fault::Lag(lag), Often::Always),
            Cloud::GroupLags(lag) => {
                for action in [Action::DescribeAutoScalingGroups, Action::DescribeAutoScalingInstances] {
                    self.rig.aws.inject(action, Fault::Lag(lag), Often::Always);
                }
                return;
            }
        };
        self.rig.aws.inject_everywhere(&fault, often);
    }

    /// Every fault ends, and whatever is off goes on.
    fn calm(&mut self) -> std::io::Result<()> {
        self.rig.aws.heal();
        for slot in 0..self.slots.len() {
            if self.slots[slot].is_none() {
                self.launch(slot, self.rig.fresh_address())?;
            }
            self.boot(slot);
        }
        for node in self.nodes() {
            node.signal(Signal::Thaw);
            node.imds.heal();
            mend(node)?;
        }
        Ok(())
    }

    /// Waits until exactly the group's instances are the voters of one cluster.
    async fn until_well(&self) -> Result<(), String> {
        let given_up = async {
            while !self.nodes().any(Node::has_given_up) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::select! {
            well = etcd::until(CALM, async || self.is_well().await) => well.map(|_| ()),
            () = given_up => Err("a node has given up".to_owned()),
        }
    }

    async fn is_well(&self) -> Result<(), String> {
        self.rig.judge.whole_cluster(&addresses(self.nodes()), Duration::ZERO).await?;
        let instances: BTreeSet<&str> = self.nodes().map(|node| node.instance.as_str()).collect();
        for node in self.nodes() {
            let list = self.rig.judge.members(node.address).await;
            let list = list.ok_or_else(|| format!("{} tells no members", node.instance))?;
            if list.voters() != instances {
                return Err(format!("{} lists {:?}, the group has {instances:?}", node.instance, list.voters()));
            }
        }
        Ok(())
    }

    /// What must hold of all the time so far.
    async fn check(&mut self) -> Result<(), String> {
        self.cluster_ids.extend(self.rig.judge.cluster_ids(&addresses(self.nodes())).await);
        if self.cluster_ids.len() != 1 {
            return Err(format!("there was more than one cluster: {:?}", self.cluster_ids));
        }
        self.clients.check().await
    }
}

fn mend(node: &Node) -> std::io::Result<()> {
    node.imds.host.as_ref().map_or(Ok(()), |host| host.mend())
}
