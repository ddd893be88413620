//! The stories: which scenes each consists of, and what the scenes are made of. The scenes themselves are in `scenes`,
//! what holds after each of them is in `sound`.

mod consumers;
mod group;
mod recovery;
mod scenes;
mod sound;
mod stack;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::lab::{GROUP, Lab, OWN};
use crate::machine::{AGENT, Machine};
use crate::names::Trouble;
use crate::support::etcd::until;
use crate::support::tls::Authority;
use crate::{OK, Options, Plan, Play, Row};

/// The longest that any of it may take.
const PATIENCE: Duration = Duration::from_secs(90);
/// The period of the consumer's timer, and one run.
const CONSUMER_PERIOD: Duration = Duration::from_secs(65);
const KEY: &str = "story";
/// Longer than a call to AWS or to a node waits for its connection, etcd's own first ones too.
const SLOW: Trouble = Trouble::Slow(Duration::from_secs(3));

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
    /// When the group acted last; None before it does by itself.
    acted: Option<Instant>,
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
        acted: None,
    };
    std::fs::create_dir_all(&story.logs).map_err(|error| error.to_string())?;
    let mut told = match plan.play {
        Play::Life => story.life().await,
        Play::Failing => story.failing().await,
        Play::Group => story.group().await,
        Play::Consumer => story.consumer().await,
        Play::Tls => story.tls().await,
        Play::Stack => story.stack().await,
        Play::Names => story.names().await,
    };
    for machine in story.machines.iter().chain(&story.gone) {
        machine.leave_traces(&story.logs).await;
        told = told.and(machine.cut_power().await);
    }
    let complaints = story.lab.aws.complaints();
    if complaints.is_empty() { told } else { Err(format!("calls that AWS would refuse: {}", complaints.join("; "))) }
}

impl Story<'_> {
    async fn life(&mut self) -> Result<(), String> {
        self.scene("3 nodes form a cluster at first boot", async |s| s.form(3).await).await?;
        self.scene("units: verify is silent, exposure 2.0 at most", async |s| s.check_units().await).await?;
        self.scene("doctor finds nothing in the units, and a drop-in that is", async |s| s.examine().await).await?;
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

    async fn group(&mut self) -> Result<(), String> {
        self.lab.certify();
        self.scene("3 nodes form a cluster with certificates by KMS, watched", async |s| s.form(3).await).await?;
        self.scene("the certificate is renewed beside etcd", async |s| s.renew().await).await?;
        self.scene("shut down and powered on: no member changes", async |s| s.shut_down_and_back().await).await?;
        self.scene("an instance refresh of 3, launch first", async |s| s.refresh().await).await?;
        self.scene("hung in Terminating:Wait, replaced", async |s| s.replace_a_hung_one().await).await?;
        self.scene("a spot notice, replaced", async |s| s.replace_an_interrupted_one().await).await?;
        self.scene("watch hangs, restarted by its watchdog", async |s| s.hang_watch().await).await
    }

    async fn consumer(&mut self) -> Result<(), String> {
        self.lab.certify();
        self.scene("3 Flatcar nodes form a cluster at first boot", async |s| s.form(3).await).await?;
        self.scene("units on Flatcar: verify is silent, exposure 2.0 at most", async |s| s.check_units().await).await?;
        self.scene("doctor on Flatcar: nothing in the units, and a drop-in that is", async |s| s.examine().await)
            .await?;
        self.scene("grpc-proxy through a complete rotation", async |s| s.rotate_under_a_consumer().await).await
    }

    async fn tls(&mut self) -> Result<(), String> {
        // etcd compares the certificate with the address that a connection comes from: the judge's too.
        let addresses = (0..10).map(|number| self.lab.address(number)).chain([OWN]);
        let names: Vec<_> = addresses.map(|address| address.to_string()).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let certified = Authority::new().write(&self.logs, &names).and_then(|files| self.lab.use_tls(&files));
        certified.map_err(|error| format!("make certificates: {error}"))?;
        self.lab.options.push(format!("ETCD_BOOTSTRAP_SNAPSHOT_TO={}", recovery::SNAPSHOTS));
        self.scene("3 Flatcar nodes with TLS form a cluster at first boot", async |s| s.form(3).await).await?;
        self.scene("one with TLS replaced by a fresh node", async |s| s.replace_with_a_new_address().await).await?;
        self.scene("one with TLS replaced: the resolver takes 3 s", async |s| s.replace_in(SLOW).await).await?;
        self.scene("all lost, recovered from the unit's snapshot as the README says", async |s| {
            s.recover_from_a_snapshot().await
        })
        .await?;
        self.scene("quorum lost, recovered from a survivor as the README says", async |s| {
            s.recover_from_a_survivor().await
        })
        .await
    }

    async fn names(&mut self) -> Result<(), String> {
        self.lab.certify();
        // As by default: the nodes know each other by their private DNS names. An empty variable is none.
        self.lab.options.push("ETCD_BOOTSTRAP_PRIVATE_ADDRESSES=".to_owned());
        self.lab.options.push(format!("ETCD_BOOTSTRAP_CERTIFICATE_NAMES={}", consumers::ALL));
        self.scene("3 nodes form a cluster by their host names", async |s| s.form_by_name().await).await?;
        self.scene("by name, one replaced", async |s| s.replace_by_name().await).await?;
        self.scene("by name, one replaced: etcd gives up on its names at first", async |s| {
            s.outlast_slow_names().await
        })
        .await?;
        let absent = Trouble::AbsentAtFirst;
        self.scene("by name, one replaced: NXDOMAIN at first", async |s| s.replace_by_name_in(absent).await).await?;
        let ipv6 = Trouble::Ipv6First;
        self.scene("by name, one replaced: IPv6 first, to nowhere", async |s| s.replace_by_name_in(ipv6).await).await?;
        self.scene("a consumer by one name for all and for a silent one", async |s| s.follow_by_one_name().await).await
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
        let config = self.lab.config(self.plan.play.member_config())?;
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
}
