//! The scenes in which a person recovers, command by command as README.md has them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{KEY, PATIENCE, Story};
use crate::machine::{AGENT, Machine};
use crate::support::etcd::until;

const README: &str = include_str!("../../README.md");

impl Story<'_> {
    pub(super) async fn recover_from_a_snapshot(&mut self) -> Result<Duration, String> {
        let snapshot = self.snapshot().await?;
        let size = self.machines.len();
        self.terminate_first(size).await?;
        self.boot_the_waiting(size).await?;
        let node = Arc::clone(&self.machines[0]);
        std::fs::write(node.root().join("var/tmp/snapshot.db"), snapshot).map_err(|error| error.to_string())?;
        self.carry_out("lost", &node).await
    }

    pub(super) async fn recover_from_a_survivor(&mut self) -> Result<Duration, String> {
        let survivor = self.machines.pop().ok_or("there are no machines")?;
        let size = self.machines.len();
        self.terminate_first(size).await?;
        self.machines.push(Arc::clone(&survivor));
        self.boot_the_waiting(size).await?;
        self.carry_out("survivor", &survivor).await
    }

    /// New machines, none of which can do anything but wait for the cluster that the group's tag names.
    async fn boot_the_waiting(&mut self, count: usize) -> Result<(), String> {
        let fresh = (0..count).map(|_| self.lab.fresh_address()).collect();
        self.boot_fresh(fresh).await?;
        for machine in &self.machines[self.machines.len() - count..] {
            let waits = async || {
                let said = machine.inside(&["journalctl", "--no-pager", "-u", AGENT]).await?;
                let waits = said.contains("cluster-tagged") || said.contains("no-quorum");
                if waits { Ok(()) } else { Err(format!("it does not wait: {said}")) }
            };
            until(PATIENCE, waits).await?;
        }
        Ok(())
    }

    async fn carry_out(&mut self, runbook: &str, node: &Machine) -> Result<Duration, String> {
        let began = Instant::now();
        let given_up = self.cluster.take().ok_or("there was no cluster")?;
        for command in commands(runbook)? {
            let command = command.replace("8c2f...", &given_up);
            let script =
                format!("exec 2>&1\nsudo() {{ \"$@\"; }}\n{}\n{command}\necho \"ended with $?\"", function("agent")?);
            let said = node.inside(&["bash", "-c", &script]).await?;
            if !said.ends_with("ended with 0") {
                return Err(format!("{command}: {said}"));
            }
        }
        Ok(self.whole().await? - began)
    }

    async fn snapshot(&self) -> Result<Vec<u8>, String> {
        self.write_key().await?;
        let failed = |error: etcd_client::Error| format!("take a snapshot with the key {KEY}: {error}");
        let mut client = self.lab.judge.client(&self.addresses()).await.map_err(failed)?;
        let (mut stream, mut bytes) = (client.snapshot().await.map_err(failed)?, Vec::new());
        while let Some(part) = stream.message().await.map_err(failed)? {
            bytes.extend_from_slice(part.blob());
        }
        Ok(bytes)
    }
}

/// The commands of a runbook, a line each.
fn commands(name: &str) -> Result<Vec<String>, String> {
    let marker = format!("<!-- runbook: {name} -->\n\n");
    let text = README.split(&marker).nth(1).ok_or_else(|| format!("README.md has no {marker}"))?;
    let lines = text.lines().take_while(|line| line.starts_with("    "));
    Ok(lines.map(|line| line.split(" #").next().unwrap_or_default().trim().to_owned()).collect())
}

/// The shell function of this name, as README.md defines it.
fn function(name: &str) -> Result<&'static str, String> {
    let begin = README.find(&format!("    {name}() {{\n")).ok_or_else(|| format!("README.md has no {name}()"))?;
    let end = README[begin..].find("\n    }\n").ok_or_else(|| format!("{name}() does not end"))?;
    Ok(&README[begin..begin + end + "\n    }".len()])
}
