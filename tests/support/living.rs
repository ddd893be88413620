//! A group that acts, and the machines of its instances: what it launches is booted, what EC2 shuts down is shut down. Its
//! clock is the wall's, from one turn to the next.

use std::time::{Duration, Instant};

use super::asg::Scaling;
use super::cloud::Ec2State;
use super::node::{Node, Programs};
use super::rig::Rig;

/// How often the group moves on. EC2 and Auto Scaling are no faster than that.
const TURN: Duration = Duration::from_millis(50);

/// Such a group.
pub struct Living<'a> {
    pub rig: &'a Rig,
    /// What instances that are launched from now on run.
    pub programs: Programs,
    /// The machines of all instances that are not terminated, in the order of their launch.
    pub nodes: Vec<Node>,
    /// Those of the terminated ones.
    pub gone: Vec<Node>,
    since: Instant,
}

impl<'a> Living<'a> {
    /// A group that launches its first instances at the next turn, and `launches` at most in all.
    pub fn begin(rig: &'a Rig, name: &str, (desired, launches): (u32, usize), scaling: Scaling) -> Self {
        rig.acting_group(name, desired, launches, scaling);
        Self { rig, programs: rig.programs.clone(), nodes: Vec::new(), gone: Vec::new(), since: Instant::now() }
    }

    /// Lets happen what is due.
    ///
    /// # Panics
    /// When a machine cannot be made.
    pub async fn turn(&mut self) {
        let gone_by = self.since.elapsed();
        self.since += gone_by;
        self.rig.cloud.change(|world| world.advance(gone_by));
        self.nodes.extend(self.rig.arrivals_with(&self.programs).expect("a machine for each launch"));
        let mut kept = Vec::new();
        for node in std::mem::take(&mut self.nodes) {
            let state = self.rig.cloud.now().instance(&node.instance).map(|instance| instance.state);
            match state {
                Some(Ec2State::Running) if !node.is_on() => node.boot(),
                Some(Ec2State::ShuttingDown | Ec2State::Stopping | Ec2State::Stopped) if node.is_on() => {
                    node.shut_down().await;
                }
                Some(Ec2State::Terminated) | None => {
                    node.cut_power().await;
                    self.rig.unplug(&node).await;
                    self.gone.push(node);
                    continue;
                }
                Some(_) => {}
            }
            kept.push(node);
        }
        self.nodes = kept;
    }

    /// Lets happen what is due until it is well; returns when that was.
    ///
    /// # Panics
    /// After `within`, with the last answer and what the machines did.
    pub async fn until(&mut self, within: Duration, look: impl AsyncFnMut(&Self) -> Result<(), String>) -> Instant {
        self.try_until(within, look).await.unwrap_or_else(|why| panic!("{why}\n{}", self.story()))
    }

    /// The same for who does not panic.
    ///
    /// # Errors
    /// After `within`, with the last answer.
    pub async fn try_until(
        &mut self,
        within: Duration,
        mut look: impl AsyncFnMut(&Self) -> Result<(), String>,
    ) -> Result<Instant, String> {
        let end = Instant::now() + within;
        loop {
            self.turn().await;
            match look(self).await {
                Ok(()) => return Ok(Instant::now()),
                Err(why) if Instant::now() > end => return Err(format!("not within {within:?}: {why}")),
                Err(_) => tokio::time::sleep(TURN).await,
            }
        }
    }

    /// What the machines did.
    pub fn story(&self) -> String {
        self.gone.iter().chain(&self.nodes).map(Node::story).collect()
    }
}
