//! The scenes in which the group acts: it launches, terminates and refreshes by itself, and waits for its hooks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::{PATIENCE, Story};
use crate::lab::GROUP;
use crate::machine::{Machine, WATCH};
use crate::support::asg::refresh::{Preferences, Status};
use crate::support::asg::{Hook, Outcome, Scaling};
use crate::support::cloud::Ec2State;
use crate::support::etcd::until;

/// Longer than the unit's `WatchdogSec=`.
const WATCHDOG: Duration = Duration::from_secs(180);

impl Story<'_> {
    pub(super) async fn shut_down_and_back(&mut self) -> Result<Duration, String> {
        let members = self.member_ids().await?;
        let node = Arc::clone(&self.machines[0]);
        if !node.power_off().await? {
            return Err("it did not shut down by itself".to_owned());
        }
        let began = Instant::now();
        node.power_on().await?;
        let back = self.whole().await? - began;
        self.same_members(&members).await?;
        Ok(back)
    }

    pub(super) async fn refresh(&mut self) -> Result<Duration, String> {
        self.begin_to_act();
        let old: Vec<_> = self.machines.iter().map(|machine| machine.instance.clone()).collect();
        self.lab.cloud.change(|world| world.start_refresh(GROUP, Preferences::LAUNCH_FIRST));
        let began = Instant::now();
        let refreshed = |story: &Self| match &story.lab.cloud.now().scaling[GROUP].refresh {
            Some(refresh) if refresh.status == Status::Successful => Ok(()),
            other => Err(format!("the refresh is {:?}", other.as_ref().map(|refresh| refresh.status))),
        };
        self.acts_until(PATIENCE * 3, refreshed).await?;
        self.in_service().await?;
        if self.machines.iter().any(|machine| old.contains(&machine.instance)) {
            return Err("an old instance is still there".to_owned());
        }
        Ok(began.elapsed())
    }

    pub(super) async fn replace_a_hung_one(&mut self) -> Result<Duration, String> {
        let hung = Arc::clone(&self.machines[0]);
        hung.hang()?;
        let began = Instant::now();
        self.lab.cloud.change(|world| world.terminate_in_group(&hung.instance));
        self.replaced(&hung).await?;
        Ok(began.elapsed())
    }

    pub(super) async fn replace_an_interrupted_one(&mut self) -> Result<Duration, String> {
        let node = Arc::clone(&self.machines[0]);
        let began = Instant::now();
        self.lab.cloud.change(|world| {
            // Else it stays for the two minutes of its notice.
            world.scaling_mut(GROUP).rebalances = true;
            world.announce_interruption(&node.instance, "terminate");
        });
        self.replaced(&node).await?;
        Ok(began.elapsed())
    }

    pub(super) async fn hang_watch(&mut self) -> Result<Option<Duration>, String> {
        let node = Arc::clone(&self.machines[0]);
        let says = async |start: &str| match node.property(WATCH, "StatusText").await? {
            text if text.starts_with(start) => Ok(()),
            text => Err(format!("its status is '{text}'")),
        };
        until(PATIENCE, async || says("watching: 3 voters").await).await?;
        node.inside(&["systemctl", "kill", "--signal=STOP", WATCH]).await?;
        let restarted = async || match node.property(WATCH, "NRestarts").await?.as_str() {
            "1" => Ok(()),
            other => Err(format!("systemd counts {other} restarts of watch, not 1")),
        };
        until(WATCHDOG, restarted).await?;
        until(PATIENCE, async || says("watching: 3 voters").await).await?;
        Ok(None)
    }

    // What the scenes are made of.

    fn begin_to_act(&mut self) {
        let launch = Hook::launching("etcd-bootstrap-launch", Duration::from_mins(30), Outcome::Abandon);
        let terminate = Hook::terminating("etcd-bootstrap-terminate", Duration::from_mins(10), Outcome::Continue);
        let scaling = Scaling {
            hooks: vec![launch, terminate],
            addresses: (0..20).map(|_| self.lab.fresh_address()).collect(),
            // A machine takes that long to shut down.
            delay: Duration::from_secs(2),
            ..Scaling::default()
        };
        self.lab.cloud.change(|world| world.act(GROUP, scaling));
        self.acted = Some(Instant::now());
    }

    /// Lets the group act until the instance is gone and three are in service.
    async fn replaced(&mut self, gone: &Machine) -> Result<(), String> {
        let is_gone = |story: &Self| {
            let gone = story.machines.iter().all(|machine| machine.instance != gone.instance);
            if gone { Ok(()) } else { Err("it is still there".to_owned()) }
        };
        self.acts_until(PATIENCE * 2, is_gone).await?;
        self.in_service().await
    }

    async fn in_service(&mut self) -> Result<(), String> {
        let in_service = |story: &Self| {
            let world = story.lab.cloud.now();
            let states = world.lifecycles(GROUP);
            if states == ["InService"; 3] { Ok(()) } else { Err(format!("the group has {states:?}")) }
        };
        self.acts_until(PATIENCE, in_service).await?;
        self.whole().await.map(drop)
    }

    async fn acts_until(&mut self, within: Duration, look: impl Fn(&Self) -> Result<(), String>) -> Result<(), String> {
        let end = Instant::now() + within;
        let mut booting = JoinSet::new();
        loop {
            self.act(&mut booting).await?;
            match look(self) {
                Ok(()) => return booting.join_all().await.into_iter().collect(),
                Err(why) if Instant::now() > end => return Err(format!("not within {within:?}: {why}")),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Lets happen what is due: what was launched is booted, what EC2 shuts down is shut down.
    async fn act(&mut self, booting: &mut JoinSet<Result<(), String>>) -> Result<(), String> {
        let acted = self.acted.expect("the group acts");
        let gone_by = acted.elapsed();
        self.acted = Some(acted + gone_by);
        self.lab.cloud.change(|world| world.advance(gone_by));
        let world = self.lab.cloud.now();
        let config = self.lab.config(self.plan.play.member_config())?;
        for instance in world.instances.iter().filter(|one| one.place.is_some() && one.state == Ec2State::Running) {
            let address = instance.address.filter(|_| self.machines.iter().all(|m| m.instance != instance.id));
            if let Some(address) = address {
                let machine = Arc::new(self.lab.machine(GROUP, (instance.id.clone(), address), &config).await?);
                self.machines.push(Arc::clone(&machine));
                booting.spawn(async move { machine.first_boot().await });
            }
        }
        for machine in self.machines.clone() {
            match world.instance(&machine.instance).map(|one| one.state) {
                Some(Ec2State::ShuttingDown) => {
                    machine.power_off().await?;
                }
                Some(Ec2State::Terminated) | None => {
                    self.lab.take_away(&machine).await?;
                    self.machines.retain(|one| one.instance != machine.instance);
                    self.gone.push(machine);
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}
