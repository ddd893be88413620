//! The doing: one cluster, its clients, and the steps of a schedule; then calm, and what must hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::snapshots::{assert_whole, files};
use crate::support::aws::{Action, Fault, Often};
use crate::support::child::Signal;
use crate::support::etcd;
use crate::support::imds;
use crate::support::lock;
use crate::support::node::{Event, Node, Programs};
use crate::support::rig::{Rig, addresses};

use super::clients::Clients;
use super::schedule::{Cloud, Restored, Schedule, Slot, Step};

const GROUP: &str = "etcd-chaos";

/// Within this time of calm all must be well. A node that died between its add and its start is removed after 60 s of
/// silence, and an etcd that hangs is given up after its start timeout; the rest is a few elections.
const CALM: Duration = Duration::from_secs(150);

/// With one node off and nothing else amiss all others have everything after an election and a read.
const CATCHING_UP: Duration = Duration::from_secs(30);

/// One cluster in the weather.
pub struct Weather {
    /// None between a termination and the next launch.
    slots: Vec<Option<Node>>,
    /// Where each slot's last instance was.
    last_address: Vec<Ipv4Addr>,
    cluster_ids: BTreeSet<String>,
    may_tag: bool,
    /// For the round that restores it: whose disk was copied.
    copies: BTreeMap<usize, String>,
    /// What the log says of this round beyond its faults.
    pub notes: Vec<String>,
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
            may_tag: true,
            copies: BTreeMap::new(),
            notes: Vec::new(),
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
        self.notes.clear();
        self.may_tag = schedule.may_tag();
        self.heal_cloud();
        if let Some(restored) = schedule.restored {
            self.restore(schedule.round, restored).await.map_err(|error| format!("{restored:?}: {error}"))?;
        }
        let began = Instant::now();
        for (at, step) in &schedule.steps {
            tokio::time::sleep(at.saturating_sub(began.elapsed())).await;
            self.step(*step).await.map_err(|error| format!("{step:?}: {error}"))?;
        }
        self.calm().map_err(|error| format!("calm: {error}"))?;
        let calm = Instant::now();
        self.until_well_with_help(schedule.restored).await?;
        let well = calm.elapsed();
        self.check().await?;
        self.take_snapshots().await?;
        for &(round, slot) in &schedule.copied {
            self.copy(round, slot).await.map_err(|error| format!("copy the disk of slot {slot}: {error}"))?;
        }
        Ok(well)
    }

    /// Every member's, while the clients go on; whether that costs them anything the next round's registers show.
    async fn take_snapshots(&self) -> Result<(), String> {
        let directory = self.rig.directory.path().join("snapshots");
        std::fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
        let place = format!("--snapshot-to={}", directory.display());
        for node in self.nodes() {
            let run = node.agent("snapshot", &["--now", &place]).await.map_err(|error| error.to_string())?;
            if run.code != 0 {
                return Err(format!("the snapshot of {}: {}", node.instance, run.stderr));
            }
        }
        for name in files(&directory) {
            assert_whole(&std::fs::read(directory.join(&name)).map_err(|error| error.to_string())?, &name);
        }
        Ok(())
    }

    /// Copies a disk, with its node off, and waits until all is well again.
    async fn copy(&mut self, round: usize, slot: Slot) -> Result<(), String> {
        let node = self.node(slot)?;
        node.cut_power().await;
        node.copy_disk(&self.copy_dir(round)).map_err(|error| error.to_string())?;
        node.boot();
        let instance = node.instance.clone();
        self.copies.insert(round, instance);
        self.until_well().await
    }

    /// Puts an older copy of its own disk in the place of a node's disk; [`Restored`] says why nothing may be lost.
    async fn restore(&mut self, round: usize, Restored { slot, age }: Restored) -> Result<(), String> {
        let copied =
            self.copies.remove(&round).is_some_and(|instance| Ok(&instance) == self.node(slot).map(|n| &n.instance));
        let when = if copied { format!("after round {}", round - age) } else { "just now".to_owned() };
        if !copied {
            self.copy(round, slot).await?;
            self.copies.remove(&round);
        }
        self.notes.push(format!("slot {slot} restored, copied {when}"));
        let node = self.node(slot)?;
        node.cut_power().await;
        etcd::until(CATCHING_UP, async || self.others_have_all(slot).await.map_err(|error| error.to_string())).await?;
        let dir = self.copy_dir(round);
        let restored = node.restore_disk(&dir).and_then(|()| std::fs::remove_dir_all(dir));
        restored.map_err(|error| error.to_string())?;
        node.boot();
        Ok(())
    }

    /// A write is the last of all entries, and a linearizable read is answered only with all before it.
    async fn others_have_all(&self, off: Slot) -> Result<(), etcd_client::Error> {
        let others = self.slots.iter().enumerate().filter(|(slot, _)| *slot != off);
        let others = addresses(others.filter_map(|(_, node)| node.as_ref()));
        self.rig.judge.client(&others[..1]).await?.put("restored", "", None).await?;
        for node in others {
            self.rig.judge.client(&[node]).await?.get("restored", None).await?;
        }
        Ok(())
    }

    fn node(&self, slot: Slot) -> Result<&Node, String> {
        self.slots[slot].as_ref().ok_or_else(|| format!("slot {slot} is empty"))
    }

    fn copy_dir(&self, round: usize) -> PathBuf {
        self.rig.directory.path().join(format!("copy-for-round-{round}"))
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
        self.notes.iter().for_each(|note| story.extend([note, "\n"]));
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
        self.heal_cloud();
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

    /// AWS is well, and as generous as the role.
    fn heal_cloud(&self) {
        self.rig.aws.heal();
        if !self.may_tag {
            self.rig.aws.inject(Action::CreateOrUpdateTags, Fault::Deny, Often::Always);
        }
    }

    /// As [`Weather::until_well`], with a person who wipes the restored disk once it is shown to be unfit. That is as
    /// a lost disk, and no more of them than a round may lose.
    async fn until_well_with_help(&mut self, restored: Option<Restored>) -> Result<(), String> {
        let Some(Restored { slot, .. }) = restored else { return self.until_well().await };
        let node = self.node(slot)?;
        let unfit = tokio::select! {
            well = self.until_well() => return well,
            why = unfit(node) => why,
        };
        node.cut_power().await;
        node.wipe_disk().map_err(|error| error.to_string())?;
        node.boot();
        self.notes.push(format!("slot {slot} wiped by hand: {unfit}"));
        self.until_well().await
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

/// Waits until the node shows, from now on, that its disk can be that of no member, and says why: etcd panics on a
/// leader that knows it to have more, again at each restart while that leader leads, or the agent refuses for good.
async fn unfit(node: &Node) -> String {
    let began = Instant::now();
    let last = |log: &str, begin: &str| {
        node.log(log).lines().rev().find(|line| line.starts_with(begin)).map(ToOwned::to_owned)
    };
    loop {
        let events = node.events();
        let new = events.iter().filter(|(at, _)| *at > began);
        let mut why = new.filter_map(|(_, event)| match event {
            Event::AgentExited { code: 78, .. } => last("agent.log", ""),
            // Of Go's runtime, after a panic.
            Event::EtcdExited { code: 2 } => last("etcd.log", "panic: ").filter(|why| why.contains("out of range")),
            _ => None,
        });
        if let Some(why) = why.next_back() {
            return why;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn mend(node: &Node) -> std::io::Result<()> {
    node.imds.host.as_ref().map_or(Ok(()), |host| host.mend())
}
