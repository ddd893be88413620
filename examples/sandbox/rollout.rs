//! The story of an instance refresh: every instance of the group is replaced while clients write.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::crowd::{Clients, Watcher};
use crate::report::rounded;
use crate::stage::Stage;
use crate::support::asg::refresh::{Preferences, Status};
use crate::support::asg::{Hook, Outcome, Scaling};
use crate::support::child::Signal;
use crate::support::etcd::version_of;
use crate::support::living::Living;
use crate::support::node::Programs;
use crate::support::rig::{Rig, addresses};
use crate::{Options, Scheme};

const GROUP: &str = "etcd-sandbox";

/// What a rollout does to a cluster.
#[derive(Clone, Debug, clap::Args)]
pub struct RolloutOptions {
    /// Terminate before a launch, as AWS does by default: of three voters two are left meanwhile
    #[arg(long, help_heading = "Rollout")]
    terminate_first: bool,

    /// The etcd of the new instances [default: the same]
    #[arg(long, value_name = "PATH", help_heading = "Rollout")]
    to: Option<PathBuf>,

    /// Kill `watch` on one leaver, as soon as it has moved or removed something
    #[arg(long, help_heading = "Rollout")]
    kill_watch: bool,
}

/// What it measured.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Rollout {
    pub etcd_version: String,
    pub etcd_version_after: String,
    pub nodes: usize,
    pub order: &'static str,
    /// From the start of the refresh until the last instance is replaced.
    pub rollout_seconds: f64,
    pub seconds_per_node: f64,
    pub requests: usize,
    pub failed_requests: usize,
    pub slowest_request_seconds: f64,
    pub p999_request_seconds: f64,
    /// What became of the tries of the slowest one before it was answered.
    pub tries_of_the_slowest: Vec<String>,
    pub leader_changes: usize,
    pub lowest_voters: usize,
    pub data_intact: bool,
    pub cluster_ids: BTreeSet<String>,
    pub aws_calls: BTreeMap<String, usize>,
}

impl fmt::Display for Rollout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<_> = self.cluster_ids.iter().map(String::as_str).collect();
        let rows = [
            ("etcd", format!("{} to {}", self.etcd_version, self.etcd_version_after)),
            ("order", self.order.to_owned()),
            ("rollout", format!("{:.1} s, {:.1} s a node", self.rollout_seconds, self.seconds_per_node)),
            ("requests", format!("{}, {} failed", self.requests, self.failed_requests)),
            (
                "slowest",
                format!("{:.3} s; 99.9 % within {:.3} s", self.slowest_request_seconds, self.p999_request_seconds),
            ),
            ("its tries", self.tries_of_the_slowest.join("; ")),
            ("leader changes", self.leader_changes.to_string()),
            ("lowest voters", self.lowest_voters.to_string()),
            ("cluster id", ids.join(", ")),
            ("data intact", if self.data_intact { "yes" } else { "NO" }.to_owned()),
        ];
        rows.iter().try_for_each(|(name, value)| writeln!(f, "  {name:<18} {value}"))
    }
}

/// Forms a cluster, refreshes its group, and says what its clients saw.
pub async fn play(options: &Options, programs: &Programs, version: String) -> Result<Rollout, String> {
    let mut rig = Rig::start(programs.clone()).map_err(|error| format!("start the cloud: {error}"))?;
    let (stage, ear) = Stage::new(false);
    (rig.setup.reports, rig.setup.watches) = (Some(ear), true);
    rig.setup.agent_arguments.clone_from(&options.agent_option);
    if options.scheme == Scheme::Https {
        rig.certify();
    }
    let size = options.nodes as usize;
    let mut group = Living::begin(&rig, GROUP, (options.nodes, 3 * size), hooks());
    stage.scene(&format!("{size} instances boot, form a cluster, and are in service once it is sound"));
    in_service(&mut group, &stage, size, options.patience).await?;
    let ids = rig.judge.cluster_ids(&addresses(&group.nodes)).await;

    let clients = Clients::start(&rig.judge, &addresses(&group.nodes));
    let watcher = Watcher::start(&rig.judge, &clients);
    let first = options.rollout.terminate_first;
    let (order, preferences) = match first {
        true => ("terminate first", Preferences::default()),
        false => ("launch first", Preferences::LAUNCH_FIRST),
    };
    if let Some(etcd) = &options.rollout.to {
        group.programs.etcd.clone_from(etcd);
    }
    stage.scene(&format!("An instance refresh replaces them all, {order}, while clients write"));
    rig.aws.forget_calls();
    let began = Instant::now();
    rig.cloud.change(|world| world.start_refresh(GROUP, preferences));
    refreshed(&mut group, &stage, &clients, options).await?;
    in_service(&mut group, &stage, size, options.patience).await?;
    let took = began.elapsed();
    stage.done("all replaced", took);

    let (seen, written) = (watcher.stop(), clients.stop());
    let nodes = addresses(&group.nodes);
    let rollout = Rollout {
        etcd_version_after: version_of(&group.programs.etcd)?,
        etcd_version: version,
        nodes: size,
        order,
        rollout_seconds: rounded(took),
        seconds_per_node: rounded(took / options.nodes),
        requests: written.requests(),
        failed_requests: written.failed,
        slowest_request_seconds: rounded(written.slowest.0),
        p999_request_seconds: rounded(written.within(0.999)),
        tries_of_the_slowest: written.slowest.1.clone(),
        leader_changes: seen.leaders.len().saturating_sub(1),
        lowest_voters: seen.lowest_voters,
        data_intact: written.missing(&rig.judge, &nodes).await? == 0,
        cluster_ids: rig.judge.cluster_ids(&nodes).await.union(&ids).cloned().collect(),
        aws_calls: rig.aws.counts(),
    };
    println!("\n{rollout}");
    rollout.judge(first).map(|()| rollout)
}

impl Rollout {
    /// What must hold on a machine of any speed.
    fn judge(&self, terminate_first: bool) -> Result<(), String> {
        let least = self.nodes - usize::from(terminate_first);
        let faults = [
            (self.data_intact, "acknowledged data is lost"),
            (self.cluster_ids.len() == 1, "there is more than one cluster"),
            (self.lowest_voters >= least, "there were too few voters"),
            (self.failed_requests == 0, "requests failed"),
        ];
        faults.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, fault)| Err((*fault).to_owned()))
    }
}

/// As README.md asks for them.
fn hooks() -> Scaling {
    let launch = Hook::launching("etcd-bootstrap-launch", Duration::from_mins(30), Outcome::Abandon);
    let terminate = Hook::terminating("etcd-bootstrap-terminate", Duration::from_mins(2), Outcome::Continue);
    Scaling { hooks: vec![launch, terminate], ..Scaling::default() }
}

async fn in_service(group: &mut Living<'_>, stage: &Stage, size: usize, patience: Duration) -> Result<(), String> {
    let look = async |group: &Living<'_>| {
        stage.introduce(&group.nodes);
        let world = group.rig.cloud.now();
        let lifecycles = world.lifecycles(GROUP);
        if lifecycles.len() != size || lifecycles.iter().any(|state| *state != "InService") {
            return Err(format!("the group has {lifecycles:?}"));
        }
        group.rig.judge.whole_cluster(&addresses(&group.nodes), Duration::ZERO).await.map(|_| ())
    };
    let done = group.try_until(patience, look).await;
    done.map(|_| ()).map_err(|why| format!("{why}\n{}", group.story()))
}

/// What a consumer's file holds: the published voters. None while there is no leader who says who they are.
async fn endpoints(group: &Living<'_>) -> Option<Vec<Ipv4Addr>> {
    let leader = group.rig.judge.leader(&addresses(&group.nodes)).await?;
    let list = group.rig.judge.members(leader).await?;
    let voters = list.voters();
    Some(group.nodes.iter().filter(|node| voters.contains(node.instance.as_str())).map(|node| node.address).collect())
}

/// Lets the group act until the refresh is over.
async fn refreshed(group: &mut Living<'_>, stage: &Stage, clients: &Clients, options: &Options) -> Result<(), String> {
    let mut kills = options.rollout.kill_watch;
    let mut told = String::new();
    let look = async |group: &Living<'_>| {
        stage.introduce(&group.nodes);
        if let Some(endpoints) = endpoints(group).await {
            clients.follow(&endpoints);
        }
        let half_way = |log: String| log.contains("leads now") || log.contains("removed member");
        if let Some(leaver) = group.nodes.iter().find(|node| kills && half_way(node.log("watch.log"))) {
            leaver.signal_watch(Signal::Kill);
            stage.say(&format!("{}: its watch is killed half-way", leaver.instance));
            kills = false;
        }
        let world = group.rig.cloud.now();
        let lifecycles = world.lifecycles(GROUP).join(", ");
        if told != lifecycles {
            stage.say(&format!("the group: {lifecycles}"));
            told = lifecycles;
        }
        match world.scaling[GROUP].refresh.as_ref().map(|refresh| refresh.status) {
            Some(Status::Successful) => Ok(()),
            status => Err(format!("the refresh is {status:?}")),
        }
    };
    let done = group.try_until(options.patience * options.nodes * 2, look).await;
    done.map(|_| ()).map_err(|why| format!("{why}\n{}", group.story()))
}
