//! What happens to the machines, and what has to hold afterwards. Each scene returns how long it took until all was
//! healthy; what holds after every scene is in [`Story::sound`].

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::lab::{BINARY, GROUP, Lab, OWN, TAMPERED};
use crate::machine::{AGENT, Machine, READY};
use crate::support::aws::{Fault, Often};
use crate::support::etcd::{Member, until};
use crate::support::tls::Authority;
use crate::{OK, Options, Plan, Play, Row, client};

/// The longest that any of it may take.
const PATIENCE: Duration = Duration::from_secs(90);
/// The period of the consumer's timer, and one run.
const CONSUMER_PERIOD: Duration = Duration::from_secs(65);
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
        Play::Tls => story.tls().await,
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
        self.scene("units: verify is silent, exposure 2.0 at most", async |s| s.check_units().await).await?;
        self.scene("etcd killed, started again by systemd", async |s| s.crash().await).await?;
        self.scene("power loss of one node", async |s| s.lose_power_of_one().await).await?;
        self.scene("power loss of all at once, AWS and metadata down", async |s| s.lose_power_of_all().await).await?;
        self.scene("reboot", async |s| s.reboot().await).await?;
        self.scene("replaced by a fresh node", async |s| s.replace_with_a_new_address().await).await?;
        self.scene("replaced by a fresh node with its address", async |s| s.replace_with_the_same_address().await)
            .await?;
        self.scene("root volume replaced, the id stays", async |s| s.replace_root_volume().await).await?;
        self.scene("removed member comes back with its data, then --rejoin", async |s| s.come_back_removed().await)
            .await?;
        self.scene("3 grow to 5", async |s| s.grow_to_five().await).await?;
        self.scene("2 of 5 replaced at once", async |s| s.replace_two().await).await?;
        self.scene("network lost for 8 s in the middle of a join", async |s| s.lose_network_while_joining().await).await
    }

    async fn failing(&mut self) -> Result<(), String> {
        self.scene("a binary that is not the one of the checksum", async |s| s.wrong_checksum().await).await?;
        // Longer than the pause between two tries: founders that are there do meet.
        self.lab.options.push("ETCD_BOOTSTRAP_DEADLINE=15s".to_owned());
        self.scene("first boot of 5, the last is late: 75 twice, one killed", async |s| s.fail_at_first_boot().await)
            .await?;
        self.scene("wiped node, no quorum: 75 twice on a restart", async |s| s.fail_on_restart().await).await
    }

    async fn consumer(&mut self) -> Result<(), String> {
        self.scene("3 Flatcar nodes form a cluster at first boot", async |s| s.form(3).await).await?;
        self.scene("units on Flatcar: verify is silent, exposure 2.0 at most", async |s| s.check_units().await).await?;
        self.scene("grpc-proxy through a complete rotation", async |s| s.rotate_under_a_consumer().await).await
    }

    async fn tls(&mut self) -> Result<(), String> {
        // etcd compares the certificate with the address that a connection comes from: the judge's too.
        let addresses = (0..4).map(|number| self.lab.address(number)).chain([OWN]);
        let names: Vec<_> = addresses.map(|address| address.to_string()).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let certified = Authority::new().write(&self.logs, &names).and_then(|files| self.lab.use_tls(&files));
        certified.map_err(|error| format!("make certificates: {error}"))?;
        self.scene("3 Flatcar nodes with TLS form a cluster at first boot", async |s| s.form(3).await).await?;
        self.scene("one with TLS replaced by a fresh node", async |s| s.replace_with_a_new_address().await).await
    }

    // The scenes.

    async fn form(&mut self, count: usize) -> Result<Duration, String> {
        let began = Instant::now();
        let addresses = (0..count).map(|_| self.lab.fresh_address()).collect();
        self.boot_fresh(addresses).await?;
        let formed = self.whole().await? - began;
        self.write_key().await?;
        Ok(formed)
    }

    /// What systemd's own checks of this version say of the units on the first machine.
    async fn check_units(&mut self) -> Result<Option<Duration>, String> {
        let node = &self.machines[0];
        let verify = ["systemd-analyze", "verify", "--man=no", AGENT, READY, node.etcd_unit];
        let said = node.inside(&verify).await?;
        if !said.is_empty() {
            return Err(format!("systemd-analyze verify: {said}"));
        }
        for unit in [AGENT, READY] {
            let path = format!("/etc/systemd/system/{unit}");
            let said = node.inside(&["systemd-analyze", "security", "--offline=yes", "--no-pager", &path]).await?;
            let exposure = said.lines().find(|line| line.contains("Overall exposure level")).unwrap_or(&said);
            let level = exposure.split_whitespace().rev().nth(2).and_then(|word| word.parse::<f32>().ok());
            match level {
                Some(level) if level <= 2.0 => println!("{:<20} {unit}: exposure {level}", self.plan.name()),
                _ => return Err(format!("systemd-analyze security {unit}: above 2.0, or no answer: {exposure}")),
            }
        }
        Ok(None)
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

    async fn replace_with_a_new_address(&mut self) -> Result<Duration, String> {
        let fresh = self.lab.fresh_address();
        self.replace(1, vec![fresh]).await
    }

    async fn replace_with_the_same_address(&mut self) -> Result<Duration, String> {
        let same = self.machines[0].address;
        self.replace(1, vec![same]).await
    }

    async fn replace_root_volume(&mut self) -> Result<Duration, String> {
        let node = Arc::clone(&self.machines[0]);
        let before = self.member_id(&node).await?;
        node.cut_power().await;
        let began = Instant::now();
        node.new_disk().await?;
        node.first_boot().await?;
        let back = self.whole().await? - began;
        if self.member_id(&node).await? == before {
            return Err(format!("{} is still the member that it was, without its data", node.instance));
        }
        Ok(back)
    }

    async fn come_back_removed(&mut self) -> Result<Duration, String> {
        let node = Arc::clone(&self.machines[0]);
        let before = self.member_id(&node).await?;
        node.cut_power().await;
        let others = self.addresses()[1..].to_vec();
        let remove = async || {
            let mut client = self.lab.judge.client(&others).await.map_err(|error| error.to_string())?;
            client.member_remove(before).await.map(drop).map_err(|error| format!("remove {before:x}: {error}"))
        };
        until(PATIENCE, remove).await?;
        let starts = node.journal().await?.agent_before_each_start(node.etcd_unit)?;
        node.power_on()?;
        // Refused, and refused again by the next try.
        self.exits_with(&node, &["78", "78"]).await?;
        if node.journal().await?.agent_before_each_start(node.etcd_unit)? != starts {
            return Err("etcd was started on the data of a removed member".to_owned());
        }
        let etcd = node.inside(&["systemctl", "status", "--no-pager", node.etcd_unit]).await?;
        let agent = node.inside(&["systemctl", "status", "--no-pager", "--full", AGENT]).await?;
        let leads_on = etcd.lines().any(|line| line.contains(AGENT) && line.contains("status=1/FAILURE"));
        let says_why = |line: &&str| line.contains(&format!("{before:x}")) && line.contains("run with --rejoin");
        if !leads_on || agent.lines().filter(says_why).count() != 1 {
            return Err(format!("the state does not say why in one line: {etcd}\n{agent}"));
        }
        let began = Instant::now();
        node.add_option("ETCD_BOOTSTRAP_REJOIN=true")?;
        Ok(self.whole().await? - began)
    }

    async fn grow_to_five(&mut self) -> Result<Duration, String> {
        self.lab.cloud.change(|world| world.set_desired(GROUP, 5));
        let began = Instant::now();
        let fresh = vec![self.lab.fresh_address(), self.lab.fresh_address()];
        self.boot_fresh(fresh).await?;
        Ok(self.whole().await? - began)
    }

    async fn replace_two(&mut self) -> Result<Duration, String> {
        let fresh = vec![self.lab.fresh_address(), self.lab.fresh_address()];
        self.replace(2, fresh).await
    }

    async fn lose_network_while_joining(&mut self) -> Result<Duration, String> {
        self.terminate_first(1).await?;
        let fresh = vec![self.lab.fresh_address()];
        self.boot_fresh(fresh).await?;
        let joining = Arc::clone(&self.machines[self.machines.len() - 1]);
        let witness = self.machines[0].address;
        let added = async || {
            let list = self.lab.judge.members(witness).await.ok_or("the witness tells no members")?;
            let url = format!("http://{}:2380", joining.address);
            if list.members.iter().any(|member| member.peer_urls.contains(&url)) {
                Ok(())
            } else {
                Err("not added".to_owned())
            }
        };
        until(PATIENCE, added).await?;
        joining.unplug().await?;
        tokio::time::sleep(Duration::from_secs(8)).await;
        let began = Instant::now();
        joining.plug().await?;
        Ok(self.whole().await? - began)
    }

    async fn wrong_checksum(&mut self) -> Result<Option<Duration>, String> {
        let config = self.lab.config("member.ign")?.replace(BINARY, TAMPERED);
        let address = self.lab.fresh_address();
        let machine = self.lab.launch(GROUP, address, &config).await?;
        let told = match machine.first_boot().await {
            Ok(()) => return Err("it booted".to_owned()),
            Err(why) => why,
        };
        if machine.root().join("opt/bin/etcd-bootstrap").exists() || !told.contains("hash verification failed") {
            return Err(format!("Ignition did not refuse the binary for its checksum: {told}"));
        }
        self.lab.terminate(&machine).await.map(|()| None)
    }

    async fn fail_at_first_boot(&mut self) -> Result<Duration, String> {
        let early = (0..4).map(|_| self.lab.fresh_address()).collect();
        self.boot_fresh(early).await?;
        for machine in &self.machines {
            self.exits_with(machine, &["75", "75"]).await?;
        }
        let victim = Arc::clone(&self.machines[0]);
        let running = async || match victim.property(AGENT, "MainPID").await?.as_str() {
            "0" => Err("the agent does not run again".to_owned()),
            _ => Ok(()),
        };
        until(PATIENCE, running).await?;
        victim.inside(&["systemctl", "kill", "--signal=KILL", AGENT]).await?;
        self.exits_with(&victim, &["75", "75", "9"]).await?;
        for machine in &self.machines {
            match machine.journal().await?.agent_before_each_start(machine.etcd_unit)? {
                0 => {}
                _ => return Err(format!("etcd of {} was started though its agent failed", machine.instance)),
            }
        }
        let began = Instant::now();
        let late = vec![self.lab.fresh_address()];
        self.boot_fresh(late).await?;
        let formed = self.whole().await? - began;
        self.write_key().await?;
        Ok(formed)
    }

    async fn fail_on_restart(&mut self) -> Result<Duration, String> {
        let node = Arc::clone(&self.machines[0]);
        node.add_option("ETCD_BOOTSTRAP_DEADLINE=3s")?;
        let before = node.journal().await?.failures(AGENT);
        for absent in &self.machines[1..3] {
            absent.cut_power().await;
        }
        let data = node.root().join("var/lib/etcd");
        std::fs::rename(data.join("member"), data.join("lost")).map_err(|error| error.to_string())?;
        node.inside(&["systemctl", "kill", "--signal=KILL", node.etcd_unit]).await?;
        let expected: Vec<_> = before.iter().map(String::as_str).chain(["75", "75"]).collect();
        self.exits_with(&node, &expected).await?;
        let began = Instant::now();
        self.machines[1..3].iter().try_for_each(|machine| machine.power_on())?;
        Ok(self.whole().await? - began)
    }

    async fn rotate_under_a_consumer(&mut self) -> Result<Duration, String> {
        self.lab.cloud.change(|world| world.create_group("workers", 1));
        let config = self.lab.config("consumer.ign")?;
        let consumer = self.lab.launch("workers", self.lab.fresh_address(), &config).await?;
        consumer.first_boot().await?;
        let told = self.rotate(&consumer).await;
        consumer.leave_traces(&self.logs).await;
        consumer.cut_power().await;
        told
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
        let endpoints =
            self.addresses().iter().map(|address| format!("http://{address}:2379")).collect::<BTreeSet<_>>();
        let follows = async || {
            let file = consumer.inside(&["cat", "/run/etcd-bootstrap/consumer.env"]).await?;
            let line = file.lines().find_map(|line| line.strip_prefix("ETCD_ENDPOINTS=")).unwrap_or_default();
            let now: BTreeSet<_> = line.split(',').map(str::to_owned).collect();
            if now == endpoints { Ok(()) } else { Err(format!("the consumer has {now:?}")) }
        };
        until(PATIENCE, follows).await?;
        let (before, _) = client::record(&log)?;
        until(PATIENCE, async || requests(before + 10).await).await?;
        let back = began.elapsed();
        let (succeeded, longest) = client::record(&log)?;
        println!("{:<20} {succeeded} requests, the longest pause {:.1} s", self.plan.name(), longest.as_secs_f64());
        if longest > CONSUMER_PERIOD { Err(format!("the client waited {longest:?} for a request")) } else { Ok(back) }
    }

    // What the scenes are made of.

    /// Terminates the first machines, as many as there are addresses, and boots fresh ones there.
    async fn replace(&mut self, count: usize, fresh: Vec<Ipv4Addr>) -> Result<Duration, String> {
        self.terminate_first(count).await?;
        let began = Instant::now();
        self.boot_fresh(fresh).await?;
        Ok(self.whole().await? - began)
    }

    async fn terminate_first(&mut self, count: usize) -> Result<(), String> {
        for machine in self.machines.drain(..count).collect::<Vec<_>>() {
            self.lab.terminate(&machine).await?;
            self.gone.push(machine);
        }
        Ok(())
    }

    /// Waits until the agent on this machine has failed so often, and so.
    async fn exits_with(&self, machine: &Machine, expected: &[&str]) -> Result<(), String> {
        let failed = async || {
            let failures = machine.journal().await?.failures(AGENT);
            if failures == expected {
                Ok(())
            } else {
                Err(format!("the agent ended with {failures:?}, not {expected:?}"))
            }
        };
        until(PATIENCE, failed).await.map(drop)
    }

    async fn write_key(&self) -> Result<(), String> {
        let mut client = self.lab.judge.client(&self.addresses()).await.map_err(|error| error.to_string())?;
        client.put(KEY, self.plan.name(), None).await.map(drop).map_err(|error| format!("write a key: {error}"))
    }

    /// Plays one scene and looks at everything afterwards; remembers the result, and the time where there is one.
    async fn scene<T: Into<Option<Duration>>>(
        &mut self,
        scenario: &str,
        play: impl AsyncFnOnce(&mut Self) -> Result<T, String>,
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
            seconds: played.ok().and_then(|took| took.into().map(|took| took.as_secs_f64())),
            result: sound.as_ref().err().map_or_else(|| OK.to_owned(), |why| format!("FAILED: {why}")),
        });
        println!("{:<20} {}", self.plan.name(), self.rows[self.rows.len() - 1]);
        let json = serde_json::to_vec(&self.rows).expect("rows are plain data");
        std::fs::write(self.logs.join("rows.json"), json).map_err(|error| error.to_string())?;
        sound
    }

    /// Launches machines at these addresses and boots them at the same time: Ignition, then systemd.
    async fn boot_fresh(&mut self, addresses: Vec<Ipv4Addr>) -> Result<(), String> {
        let config = self.lab.config(if self.plan.play == Play::Tls { "member-tls.ign" } else { "member.ign" })?;
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

    async fn member_id(&self, machine: &Machine) -> Result<u64, String> {
        let list = self.lab.judge.members(machine.address).await.ok_or("it tells no members")?;
        let own = list.member(&machine.instance).map(|member| member.id);
        own.ok_or_else(|| format!("{} is no member", machine.instance))
    }

    async fn same_members(&self, before: &BTreeSet<u64>) -> Result<(), String> {
        let now = self.member_ids().await?;
        if now == *before { Ok(()) } else { Err(format!("the members were {before:x?} and are {now:x?}")) }
    }

    /// What holds after every scene: one cluster since the beginning, its data on every node, every unit content, and
    /// the agent before every start of etcd.
    async fn sound(&mut self) -> Result<(), String> {
        if self.machines.is_empty() {
            return Ok(());
        }
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
        if self.plan.play != Play::Tls {
            until(PATIENCE, async || self.dependents_saw_a_voter(machine).await).await?;
        }
        let agent_ended = machine.property(AGENT, "ExecMainExitTimestampMonotonic").await?;
        let etcd_began = machine.property(machine.etcd_unit, "ExecMainStartTimestampMonotonic").await?;
        let number = |text: &str| text.parse::<u64>().map_err(|_| format!("systemd tells no time: '{text}'"));
        if number(&agent_ended)? > number(&etcd_began)? {
            return Err(format!("the agent ended at {agent_ended}, after etcd's start at {etcd_began}"));
        }
        machine.journal().await?.agent_before_each_start(machine.etcd_unit).map(drop)
    }

    /// A unit that depends on the ready unit found this member published and a voter, in the present boot.
    async fn dependents_saw_a_voter(&self, machine: &Machine) -> Result<(), String> {
        if machine.inside(&["systemctl", "is-active", "dependent.service"]).await? != "active" {
            return Err("a unit that depends on the ready unit is not active".to_owned());
        }
        let list = machine.inside(&["cat", "/run/members-at-start"]).await?;
        let members: Vec<Member> =
            serde_json::from_str(&list).map_err(|error| format!("a dependent saw '{list}': {error}"))?;
        let voter = |member: &&Member| !member.is_learner && !member.client_urls.is_empty();
        match members.iter().filter(voter).find(|member| member.name == machine.instance) {
            Some(_) => Ok(()),
            None => Err(format!("a dependent was started when the members were {list}")),
        }
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
