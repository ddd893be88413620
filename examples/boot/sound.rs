//! What holds after every scene.

use super::{KEY, PATIENCE, Story};
use crate::machine::{AGENT, Machine, READY};
use crate::support::etcd::{Member, until};

impl Story<'_> {
    /// What holds after every scene: one cluster since the beginning, its data on every node, every unit content, and
    /// the agent before every start of etcd.
    pub(super) async fn sound(&mut self) -> Result<(), String> {
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
        if self.lab.scheme() == "http" {
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
