//! The scenes: what happens to the machines. Each returns how long it took until all was healthy, and leaves what holds
//! after every scene to `sound`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::recovery::{commands, function};
use super::{PATIENCE, SLOW, Story};
use crate::lab::{BINARY, GROUP, TAMPERED};
use crate::machine::{AGENT, CERTIFICATE, CERTIFICATE_TIMER, READY, SNAPSHOT, SNAPSHOT_TIMER, WATCH};
use crate::names::Trouble;
use crate::support::aws::{Fault, Often};
use crate::support::cloud::Instance;
use crate::support::etcd::{remove, until};

impl Story<'_> {
    pub(super) async fn form(&mut self, count: usize) -> Result<Duration, String> {
        let began = Instant::now();
        let addresses = (0..count).map(|_| self.lab.fresh_address()).collect();
        self.boot_fresh(addresses).await?;
        let formed = self.whole().await? - began;
        self.write_key().await?;
        Ok(formed)
    }

    /// What systemd's own checks of this version say of the units on the first machine.
    pub(super) async fn check_units(&mut self) -> Result<Option<Duration>, String> {
        let node = &self.machines[0];
        let ours = [AGENT, READY, WATCH, CERTIFICATE, SNAPSHOT];
        let verify = ["systemd-analyze", "verify", "--man=no", CERTIFICATE_TIMER, SNAPSHOT_TIMER, node.etcd_unit];
        let verify = [&verify[..], &ours].concat();
        let said = node.inside(&verify).await?;
        if !said.is_empty() {
            return Err(format!("systemd-analyze verify: {said}"));
        }
        for unit in ours {
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

    /// What systemd has loaded, to `doctor` as README.md hands it over: as it is shipped, and with a drop-in of somebody's.
    pub(super) async fn examine(&mut self) -> Result<Option<Duration>, String> {
        let node = &self.machines[0];
        let shown = node.inside(&["systemctl", "show", "etcd-member.service", "etcd.service", AGENT]).await?;
        // What tests/decide/units.txt is.
        std::fs::write(self.logs.join("units.txt"), shown).map_err(|error| error.to_string())?;
        let examine = format!("{}\n{}", function("agent")?, commands("doctor")?.join("\n"));
        let drop_in = format!("/etc/systemd/system/{}.d/20-mine.conf", node.etcd_unit);
        let undo = format!("rm {drop_in} && systemctl daemon-reload");
        let with = |line: &str| {
            format!("printf '[Service]\n{line}\n' >{drop_in} && systemctl daemon-reload && {{ {examine}\n}}")
        };
        for (script, expected) in [
            (examine.clone(), "no check fails\nended with 0"),
            (with("TimeoutStartSec=1min"), "1 of 13 checks fail: units\nended with 78"),
            (with("Environment=A=B"), "no check fails\nended with 0"),
        ] {
            let script = format!("exec 2>&1\nsudo() {{ \"$@\"; }}\n{script}\necho \"ended with $?\"");
            let said = node.inside(&["bash", "-c", &script]).await?;
            if !said.ends_with(expected) {
                return Err(format!("doctor: {said}"));
            }
        }
        node.inside(&["bash", "-ec", &undo]).await?;
        Ok(None)
    }

    /// The certificate is looked after beside etcd, in its own sandbox, and etcd does not notice a new one.
    pub(super) async fn renew(&mut self) -> Result<Option<Duration>, String> {
        let node = &self.machines[0];
        if node.inside(&["systemctl", "is-active", CERTIFICATE_TIMER]).await? != "active" {
            return Err(format!("{CERTIFICATE_TIMER} is not active"));
        }
        let before = node.property(node.etcd_unit, "MainPID").await?;
        let serial = async || node.inside(&["sha256sum", "/etc/ssl/certs/etcd/node.pem"]).await;
        let old = serial().await?;
        node.inside(&["systemctl", "start", CERTIFICATE]).await?;
        if serial().await? != old {
            return Err("a certificate of a minute ago was replaced".to_owned());
        }
        let renew = [
            "sed",
            "-i",
            "s,certificate$,certificate --force,",
            "/etc/systemd/system/etcd-bootstrap-certificate.service",
        ];
        node.inside(&renew).await?;
        node.inside(&["systemctl", "daemon-reload"]).await?;
        node.inside(&["systemctl", "start", CERTIFICATE]).await?;
        if serial().await? == old {
            return Err("there is no new certificate".to_owned());
        }
        self.whole().await?;
        let after = node.property(node.etcd_unit, "MainPID").await?;
        if after == before { Ok(None) } else { Err(format!("etcd was {before} and is {after}")) }
    }

    pub(super) async fn crash(&mut self) -> Result<Duration, String> {
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

    pub(super) async fn lose_power_of_one(&mut self) -> Result<Duration, String> {
        let members = self.member_ids().await?;
        let node = &self.machines[1];
        node.cut_power().await?;
        let others: Vec<_> = self.addresses().into_iter().filter(|address| *address != node.address).collect();
        self.lab.judge.all_healthy(&others, PATIENCE).await?;
        let began = Instant::now();
        node.power_on().await?;
        let back = self.whole().await? - began;
        self.same_members(&members).await?;
        Ok(back)
    }

    pub(super) async fn lose_power_of_all(&mut self) -> Result<Duration, String> {
        let members = self.member_ids().await?;
        for machine in &self.machines {
            machine.cut_power().await?;
            machine.imds.unplug().await;
        }
        self.lab.aws.inject_everywhere(&Fault::Drop, Often::Always);
        let began = Instant::now();
        for machine in &self.machines {
            machine.power_on().await?;
        }
        let back = self.whole().await? - began;
        self.same_members(&members).await?;
        self.lab.aws.heal();
        for machine in &self.machines {
            machine.imds.plug().map_err(|error| error.to_string())?;
        }
        Ok(back)
    }

    pub(super) async fn reboot(&mut self) -> Result<Duration, String> {
        let members = self.member_ids().await?;
        let began = Instant::now();
        self.machines[2].reboot().await?;
        let back = self.whole().await? - began;
        self.same_members(&members).await?;
        Ok(back)
    }

    pub(super) async fn replace_with_a_new_address(&mut self) -> Result<Duration, String> {
        let fresh = self.lab.fresh_address();
        self.replace(1, vec![fresh]).await
    }

    pub(super) async fn replace_with_the_same_address(&mut self) -> Result<Duration, String> {
        let same = self.machines[0].address;
        self.replace(1, vec![same]).await
    }

    pub(super) async fn replace_root_volume(&mut self) -> Result<Duration, String> {
        let node = Arc::clone(&self.machines[0]);
        let before = self.member_id(&node).await?;
        node.cut_power().await?;
        let began = Instant::now();
        node.new_disk().await?;
        node.first_boot().await?;
        let back = self.whole().await? - began;
        if self.member_id(&node).await? == before {
            return Err(format!("{} is still the member that it was, without its data", node.instance));
        }
        Ok(back)
    }

    pub(super) async fn come_back_removed(&mut self) -> Result<Duration, String> {
        let node = Arc::clone(&self.machines[0]);
        let before = self.member_id(&node).await?;
        node.cut_power().await?;
        let others = self.addresses()[1..].to_vec();
        let mut client = self.lab.judge.client(&others).await.map_err(|error| error.to_string())?;
        remove(&mut client, before, PATIENCE).await?;
        let starts = node.journal().await?.agent_before_each_start(node.etcd_unit)?;
        node.power_on().await?;
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

    pub(super) async fn grow_to_five(&mut self) -> Result<Duration, String> {
        self.lab.cloud.change(|world| world.set_desired(GROUP, 5));
        let began = Instant::now();
        let fresh = vec![self.lab.fresh_address(), self.lab.fresh_address()];
        self.boot_fresh(fresh).await?;
        Ok(self.whole().await? - began)
    }

    pub(super) async fn replace_two(&mut self) -> Result<Duration, String> {
        let fresh = vec![self.lab.fresh_address(), self.lab.fresh_address()];
        self.replace(2, fresh).await
    }

    pub(super) async fn lose_network_while_joining(&mut self) -> Result<Duration, String> {
        self.terminate_first(1).await?;
        let fresh = vec![self.lab.fresh_address()];
        self.boot_fresh(fresh).await?;
        let joining = Arc::clone(&self.machines[self.machines.len() - 1]);
        let witness = self.machines[0].address;
        let added = async || {
            let list = self.lab.judge.members(witness).await.ok_or("the witness tells no members")?;
            let url = format!("{}://{}:2380", self.lab.scheme(), joining.address);
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

    pub(super) async fn wrong_checksum(&mut self) -> Result<Option<Duration>, String> {
        let config = self.lab.config(self.plan.play.member_config())?.replace(BINARY, TAMPERED);
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

    pub(super) async fn fail_at_first_boot(&mut self) -> Result<Duration, String> {
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

    pub(super) async fn fail_on_restart(&mut self) -> Result<Duration, String> {
        let node = Arc::clone(&self.machines[0]);
        node.add_option("ETCD_BOOTSTRAP_DEADLINE=3s")?;
        let before = node.journal().await?.failures(AGENT);
        for absent in &self.machines[1..3] {
            absent.cut_power().await?;
        }
        let data = node.root().join("var/lib/etcd");
        std::fs::rename(data.join("member"), data.join("lost")).map_err(|error| error.to_string())?;
        node.inside(&["systemctl", "kill", "--signal=KILL", node.etcd_unit]).await?;
        let expected: Vec<_> = before.iter().map(String::as_str).chain(["75", "75"]).collect();
        self.exits_with(&node, &expected).await?;
        let began = Instant::now();
        for machine in &self.machines[1..3] {
            machine.power_on().await?;
        }
        Ok(self.whole().await? - began)
    }

    /// As [`Story::form`], where the nodes know each other by their private DNS names.
    pub(super) async fn form_by_name(&mut self) -> Result<Duration, String> {
        let formed = self.form(3).await?;
        self.members_are_named().await?;
        Ok(formed)
    }

    pub(super) async fn replace_by_name(&mut self) -> Result<Duration, String> {
        let replaced = self.replace_with_a_new_address().await?;
        self.members_are_named().await?;
        Ok(replaced)
    }

    pub(super) async fn replace_by_name_in(&mut self, trouble: Trouble) -> Result<Duration, String> {
        let replaced = self.replace_in(trouble).await?;
        self.members_are_named().await?;
        Ok(replaced)
    }

    /// An etcd that joins gives each peer 2 s for the lookup and the connection (`PeerDialTimeout`,
    /// server/config/config.go, v3.7.1) and ends where it gets none. It is tried again until names come in time.
    pub(super) async fn outlast_slow_names(&mut self) -> Result<Duration, String> {
        self.lab.resolver.misbehave(Some(SLOW));
        self.terminate_first(1).await?;
        let fresh = self.lab.fresh_address();
        self.boot_fresh(vec![fresh]).await?;
        let node = self.machines.last().ok_or("none was booted")?;
        let tried_again = async || match node.property(node.etcd_unit, "NRestarts").await?.as_str() {
            "0" => Err("etcd has not been tried again".to_owned()),
            _ => Ok(()),
        };
        let tried_again = until(PATIENCE, tried_again).await;
        self.lab.resolver.misbehave(None);
        tried_again?;
        let began = Instant::now();
        let back = self.whole().await? - began;
        self.members_are_named().await?;
        Ok(back)
    }

    /// One is replaced while names are hard to get, for the fresh node and for those that are there.
    pub(super) async fn replace_in(&mut self, trouble: Trouble) -> Result<Duration, String> {
        self.lab.resolver.misbehave(Some(trouble));
        let replaced = self.replace_with_a_new_address().await;
        let struck = self.lab.resolver.struck();
        self.lab.resolver.misbehave(None);
        match struck {
            0 => replaced.and(Err("the resolver's trouble struck nobody".to_owned())),
            _ => replaced,
        }
    }

    async fn members_are_named(&self) -> Result<(), String> {
        let list = self.lab.judge.members(self.machines[0].address).await.ok_or("node 0 tells no members")?;
        let (world, scheme) = (self.lab.cloud.now(), self.lab.scheme());
        let name = |id: &str| world.instance(id).and_then(Instance::dns_name).unwrap_or_default();
        match list.members.iter().find(|m| m.peer_urls != [format!("{scheme}://{}:2380", name(&m.name))]) {
            Some(member) => Err(format!("{} has the peer URLs {:?}", member.name, member.peer_urls)),
            None => Ok(()),
        }
    }
}
