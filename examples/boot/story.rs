//! What happens to the machines, and what has to hold afterwards. Each scene returns how long it took until all was
//! healthy; what holds after every scene is in [`Story::sound`].

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::lab::{GROUP, Lab};
use crate::machine::{AGENT, Machine, READY};
use crate::support::aws::{Fault, Often};
use crate::support::etcd::until;
use crate::{OK, Options, Plan, Play, Row};

/// The longest that any of it may take.
const PATIENCE: Duration = Duration::from_secs(90);
/// etcd refuses changes of its members for so long after a leader's start.
const SETTLE: Duration = Duration::from_secs(6);
const KEY: &str = "story";

pub struct Story<'a> {
    plan: &'a Plan,
    lab: Lab,
    machines: Vec<Arc<Machine>>,
    /// Terminated ones: what their journals say has to hold as well.
    gone: Vec<Arc<Machine>>,
    rows: Vec<Row>,
    cluster: Option<String>,
    etcd: String,
    logs: PathBuf,
}

/// Tells the story of this plan to its end, or to the first scene that fails.
///
/// # Errors
/// With what failed; the rows tell it too.
pub async fn tell(plan: &Plan, options: &Options) -> Result<(), String> {
    let desired = if plan.play == Play::Failing { 5 } else { 3 };
    let mut story = Story {
        plan,
        lab: Lab::build(plan.image(&options.dist)?, &options.cgroup, desired).await?,
        machines: Vec::new(),
        gone: Vec::new(),
        rows: Vec::new(),
        cluster: None,
        etcd: String::new(),
        logs: plan.logs(),
    };
    std::fs::create_dir_all(&story.logs).map_err(|error| error.to_string())?;
    let told = match plan.play {
        Play::Life => story.life().await,
        Play::Failing => story.failing().await,
        Play::Consumer => story.consumer().await,
    };
    for machine in story.machines.iter().chain(&story.gone) {
        machine.leave_traces(&story.logs).await;
        machine.cut_power().await;
    }
    let complaints = story.lab.aws.complaints();
    if complaints.is_empty() { told } else { Err(format!("calls that AWS would refuse: {}", complaints.join("; "))) }
}

impl Story<'_> {
    async fn life(&mut self) -> Result<(), String> {
        self.scene("3 nodes form a cluster at first boot", async |s| s.form(3).await).await?;
        self.scene("etcd killed, started again by systemd", async |s| s.crash().await).await?;
        self.scene("power loss of one node", async |s| s.lose_power_of_one().await).await?;
        self.scene("power loss of all at once, AWS and metadata down", async |s| s.lose_power_of_all().await).await?;
        self.scene("reboot", async |s| s.reboot().await).await
    }

    async fn failing(&mut self) -> Result<(), String> {
        Ok(())
    }

    async fn consumer(&mut self) -> Result<(), String> {
        self.scene("3 Flatcar nodes form a cluster at first boot", async |s| s.form(3).await).await
    }

    // The scenes.

    async fn form(&mut self, count: usize) -> Result<Duration, String> {
        let began = Instant::now();
        let addresses = (0..count).map(|_| self.lab.fresh_address()).collect();
        self.boot_fresh(addresses).await?;
        let formed = self.whole().await? - began;
        let mut client = self.lab.judge.client(&self.addresses()).await.map_err(|error| error.to_string())?;
        client.put(KEY, self.plan.name(), None).await.map_err(|error| format!("write a key: {error}"))?;
        Ok(formed)
    }

    async fn crash(&mut self) -> Result<Duration, String> {
        let node = &self.machines[0];
        let starts = node.journal().await?.agent_before_each_start(node.etcd_unit)?;
        let began = Instant::now();
        node.inside(&["systemctl", "kill", "--signal=KILL", node.etcd_unit]).await?;
        let restarted = async || match node.journal().await?.agent_before_each_start(node.etcd_unit)? {
            now if now == starts + 1 => Ok(()),
            now => Err(format!("etcd was started {} times after its crash", now - starts)),
        };
        until(PATIENCE, restarted).await?;
        let back = self.whole().await? - began;
        match self.machines[0].property(self.machines[0].etcd_unit, "NRestarts").await?.as_str() {
            "1" => Ok(back),
            other => Err(format!("systemd counts {other} automatic restarts, not 1")),
        }
    }

    async fn lose_power_of_one(&mut self) -> Result<Duration, String> {
        let members = self.member_ids().await?;
        let node = &self.machines[1];
        node.cut_power().await;
        let others: Vec<_> = self.addresses().into_iter().filter(|address| *address != node.address).collect();
        self.lab.judge.all_healthy(&others, PATIENCE).await?;
        let began = Instant::now();
        node.power_on()?;
        let back = self.whole().await? - began;
        self.same_members(&members).await?;
        Ok(back)
    }

    async fn lose_power_of_all(&mut self) -> Result<Duration, String> {
        let members = self.member_ids().await?;
        for machine in &self.machines {
            machine.cut_power().await;
            machine.imds.unplug().await;
        }
        self.lab.aws.inject_everywhere(&Fault::Drop, Often::Always);
        let began = Instant::now();
        self.machines.iter().try_for_each(|machine| machine.power_on())?;
        let back = self.whole().await? - began;
        self.same_members(&members).await?;
        self.lab.aws.heal();
        for machine in &self.machines {
            machine.imds.plug().map_err(|error| error.to_string())?;
        }
        Ok(back)
    }

    async fn reboot(&mut self) -> Result<Duration, String> {
        let members = self.member_ids().await?;
        let began = Instant::now();
        self.machines[2].reboot().await?;
        let back = self.whole().await? - began;
        self.same_members(&members).await?;
        Ok(back)
    }

    // What the scenes are made of.

    /// Plays one scene and looks at everything afterwards; remembers the result.
    async fn scene(
        &mut self,
        scenario: &str,
        play: impl AsyncFnOnce(&mut Self) -> Result<Duration, String>,
    ) -> Result<(), String> {
        let played = play(self).await;
        let sound = match &played {
            Ok(_) => self.sound().await,
            Err(why) => Err(why.clone()),
        };
        self.rows.push(Row {
            scenario: scenario.to_owned(),
            systemd: self.plan.systemd.to_owned(),
            etcd: self.etcd.clone(),
            seconds: played.ok().map(|took| took.as_secs_f64()),
            result: sound.as_ref().err().map_or_else(|| OK.to_owned(), |why| format!("FAILED: {why}")),
        });
        println!("{:<20} {}", self.plan.name(), self.rows[self.rows.len() - 1]);
        let json = serde_json::to_vec(&self.rows).expect("rows are plain data");
        std::fs::write(self.logs.join("rows.json"), json).map_err(|error| error.to_string())?;
        sound
    }

    /// Launches machines at these addresses and boots them at the same time: Ignition, then systemd.
    async fn boot_fresh(&mut self, addresses: Vec<Ipv4Addr>) -> Result<(), String> {
        let config = self.lab.config("member.ign")?;
        let mut booting = JoinSet::new();
        for address in addresses {
            let machine = Arc::new(self.lab.launch(GROUP, address, &config).await?);
            self.machines.push(Arc::clone(&machine));
            booting.spawn(async move { machine.first_boot().await });
        }
        booting.join_all().await.into_iter().collect()
    }

    fn addresses(&self) -> Vec<Ipv4Addr> {
        self.machines.iter().map(|machine| machine.address).collect()
    }

    /// Waits until exactly the present machines are the cluster, and returns when they were.
    async fn whole(&self) -> Result<Instant, String> {
        self.lab.judge.whole_cluster(&self.addresses(), PATIENCE).await
    }

    async fn member_ids(&self) -> Result<BTreeSet<u64>, String> {
        let list = self.lab.judge.members(self.machines[0].address).await.ok_or("node 0 tells no members")?;
        Ok(list.members.iter().map(|member| member.id).collect())
    }

    async fn same_members(&self, before: &BTreeSet<u64>) -> Result<(), String> {
        let now = self.member_ids().await?;
        if now == *before { Ok(()) } else { Err(format!("the members were {before:x?} and are {now:x?}")) }
    }

    /// What holds after every scene: one cluster since the beginning, its data on every node, every unit content, and
    /// the agent before every start of etcd.
    async fn sound(&mut self) -> Result<(), String> {
        let clusters = self.lab.judge.cluster_ids(&self.addresses()).await;
        let cluster = clusters.first().cloned().filter(|_| clusters.len() == 1);
        let cluster = cluster.ok_or_else(|| format!("there is not one cluster: {clusters:?}"))?;
        if self.cluster.get_or_insert_with(|| cluster.clone()) != &cluster {
            return Err(format!("the cluster was {:?}, and is {cluster}", self.cluster));
        }
        for machine in &self.machines {
            self.node_is_sound(machine).await.map_err(|why| format!("{}: {why}", machine.instance))?;
        }
        for machine in &self.gone {
            machine.journal().await?.agent_before_each_start(machine.etcd_unit)?;
        }
        if self.etcd.is_empty() {
            self.versions().await?;
        }
        Ok(())
    }

    async fn node_is_sound(&self, machine: &Machine) -> Result<(), String> {
        let mut client = self.lab.judge.client(&[machine.address]).await.map_err(|error| error.to_string())?;
        let reply = client.get(KEY, None).await.map_err(|error| format!("read a key: {error}"))?;
        if reply.kvs().first().is_none_or(|pair| pair.value() != self.plan.name().as_bytes()) {
            return Err("the data of the first boot is not there".to_owned());
        }
        let settled = async || {
            let (etcd, ready) = (machine.etcd_unit, machine.inside(&["systemctl", "is-active", READY]).await?);
            let ended_well = machine.property(READY, "Result").await? == "success" && ready == "inactive";
            let failed = machine.inside(&["systemctl", "--failed", "--plain", "--no-legend"]).await?;
            match machine.inside(&["systemctl", "is-active", etcd]).await?.as_str() {
                "active" if ended_well && failed.is_empty() => Ok(()),
                state => Err(format!("{etcd} is {state}, {READY} is {ready}, failed units: '{failed}'")),
            }
        };
        until(PATIENCE, settled).await?;
        let agent_ended = machine.property(AGENT, "ExecMainExitTimestampMonotonic").await?;
        let etcd_began = machine.property(machine.etcd_unit, "ExecMainStartTimestampMonotonic").await?;
        let number = |text: &str| text.parse::<u64>().map_err(|_| format!("systemd tells no time: '{text}'"));
        if number(&agent_ended)? > number(&etcd_began)? {
            return Err(format!("the agent ended at {agent_ended}, after etcd's start at {etcd_began}"));
        }
        machine.journal().await?.agent_before_each_start(machine.etcd_unit).map(drop)
    }

    /// The machines run what the plan says.
    async fn versions(&mut self) -> Result<(), String> {
        let systemd = self.machines[0].inside(&["systemctl", "--version"]).await?;
        if !systemd.starts_with(&format!("systemd {}", self.plan.systemd)) {
            return Err(format!("not systemd {}: {systemd}", self.plan.systemd));
        }
        let etcd = self.machines[0].inside(&["etcd", "--version"]).await?;
        let etcd = etcd.lines().find_map(|line| line.strip_prefix("etcd Version: ")).unwrap_or_default();
        if !etcd.starts_with(self.plan.etcd.unwrap_or_default()) {
            return Err(format!("not etcd {:?}: {etcd}", self.plan.etcd));
        }
        etcd.clone_into(&mut self.etcd);
        Ok(())
    }
}
