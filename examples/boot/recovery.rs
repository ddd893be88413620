//! The scenes in which a person recovers, command by command as README.md has them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{PATIENCE, Story};
use crate::machine::{AGENT, Machine, SNAPSHOT};
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
                let status = machine.property(AGENT, "StatusText").await?;
                let waits = ["cluster-tagged", "no-quorum"]
                    .iter()
                    .any(|reason| said.contains(reason) && status.contains(&format!("({reason}, for ")));
                if waits { Ok(()) } else { Err(format!("it does not wait, with the status '{status}': {said}")) }
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

    /// What the unit has taken of whichever member's turn it was, in its own sandbox. The nodes share no directory, so that
    /// each follower takes one.
    async fn snapshot(&self) -> Result<Vec<u8>, String> {
        self.write_key().await?;
        for node in &self.machines {
            let drop_in = readme_drop_in()?;
            let prepare = format!(
                "mkdir -p {SNAPSHOTS} /etc/systemd/system/{SNAPSHOT}.d && chown etcd {SNAPSHOTS} &&\
                 printf '{drop_in}' >/etc/systemd/system/{SNAPSHOT}.d/10-directory.conf && systemctl daemon-reload"
            );
            node.inside(&["bash", "-ec", &prepare]).await?;
            node.inside(&["systemctl", "start", SNAPSHOT]).await?;
            let taken = node.inside(&["find", SNAPSHOTS, "-name", "*.db"]).await?;
            let taken: Vec<&str> = taken.lines().collect();
            match taken.as_slice() {
                // The leader leaves it to the others.
                [] => {}
                [one] => {
                    let path = node.root().join(one.trim_start_matches('/'));
                    return std::fs::read(&path).map_err(|error| format!("read {}: {error}", path.display()));
                }
                more => return Err(format!("one slot and several snapshots: {more:?}")),
            }
        }
        Err("no member has taken a snapshot".to_owned())
    }
}

/// Where README.md's example keeps them.
pub(super) const SNAPSHOTS: &str = "/mnt/snapshots";

/// What lets the unit write there, as README.md has it.
fn readme_drop_in() -> Result<String, String> {
    let lines = ["[Unit]", "RequiresMountsFor=/mnt/snapshots", "[Service]", "ReadWritePaths=/mnt/snapshots"];
    let text: String = lines.iter().map(|line| format!("    {line}\n")).collect();
    if README.contains(&text) { Ok(lines.join("\\n")) } else { Err(format!("README.md has no\n{text}")) }
}

/// The commands of a runbook, a line each.
pub(super) fn commands(name: &str) -> Result<Vec<String>, String> {
    let marker = format!("<!-- runbook: {name} -->\n\n");
    let text = README.split(&marker).nth(1).ok_or_else(|| format!("README.md has no {marker}"))?;
    let lines = text.lines().take_while(|line| line.starts_with("    "));
    Ok(lines.map(|line| line.split(" #").next().unwrap_or_default().trim().to_owned()).collect())
}

/// The shell function of this name, as README.md defines it.
pub(super) fn function(name: &str) -> Result<&'static str, String> {
    let begin = README.find(&format!("    {name}() {{\n")).ok_or_else(|| format!("README.md has no {name}()"))?;
    let end = README[begin..].find("\n    }\n").ok_or_else(|| format!("{name}() does not end"))?;
    Ok(&README[begin..begin + end + "\n    }".len()])
}
