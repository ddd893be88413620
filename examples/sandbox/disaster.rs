//! The story of two losses: of every instance, with a snapshot left; then of the quorum, with one member left.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::report::rounded;
use crate::stage::Stage;
use crate::support::etcd::until;
use crate::support::node::{Node, Programs};
use crate::support::rig::{Rig, addresses};
use crate::{Options, Scheme};

const GROUP: &str = "etcd-sandbox";

/// As many as are written before each of the losses.
const KEYS: usize = 200;

/// What it measured of one loss.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Loss {
    /// From the order to recover until a client is served.
    pub serves_seconds: f64,
    /// From the order until every instance is listed as a voter.
    pub recovered_seconds: f64,
    /// Until each serves too: an etcd that misses the word of its publication asks again after 7 s.
    pub whole_seconds: f64,
    pub keys_lost: i64,
    pub revision_before: i64,
    pub revision_after: i64,
}

/// What it measured.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Disaster {
    pub etcd_version: String,
    pub nodes: usize,
    pub snapshot_seconds: f64,
    pub snapshot_peak_rss_bytes: u64,
    pub everything: Loss,
    pub quorum: Loss,
    /// One after the other.
    pub cluster_ids: Vec<String>,
}

impl fmt::Display for Disaster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {:<18} {}", "etcd", self.etcd_version)?;
        let mebibytes = self.snapshot_peak_rss_bytes as f64 / f64::from(1 << 20);
        writeln!(f, "  {:<18} {:.2} s, peak {mebibytes:.1} MiB", "snapshot", self.snapshot_seconds)?;
        for (name, loss) in [("all lost", &self.everything), ("quorum lost", &self.quorum)] {
            writeln!(
                f,
                "  {name:<18} serves after {:.1} s, all vote after {:.1} s, all serve after {:.1} s; {} keys lost; revision {} to {}",
                loss.serves_seconds,
                loss.recovered_seconds,
                loss.whole_seconds,
                loss.keys_lost,
                loss.revision_before,
                loss.revision_after
            )?;
        }
        writeln!(f, "  {:<18} {}", "cluster ids", self.cluster_ids.join(", then "))
    }
}

/// Forms a cluster, loses it twice, and recovers it.
pub async fn play(options: &Options, programs: &Programs, version: String) -> Result<Disaster, String> {
    let mut rig = Rig::start(programs.clone()).map_err(|error| format!("start the cloud: {error}"))?;
    let (stage, ear) = Stage::new(false);
    rig.setup.reports = Some(ear);
    rig.setup.agent_arguments.clone_from(&options.agent_option);
    if options.scheme == Scheme::Https {
        rig.certify();
    }
    let size = options.nodes as usize;
    rig.group(GROUP, options.nodes);
    let tool = restore_tool()?;
    let scene = Scene { rig: &rig, stage: &stage, tool: &tool, patience: options.patience };

    stage.scene(&format!("{size} instances boot and form a cluster"));
    let mut nodes = rig.launch_many(GROUP, size).map_err(|error| error.to_string())?;
    scene.boot(&nodes);
    scene.whole(&nodes).await?;
    let mut disaster = Disaster { etcd_version: version, nodes: size, ..Disaster::default() };
    disaster.cluster_ids.push(scene.cluster(&nodes).await?);

    stage.scene("All instances are terminated, and a snapshot is left");
    let place = rig.directory.path().join("snapshots");
    let before = scene.fill(&nodes).await?;
    (disaster.snapshot_seconds, disaster.snapshot_peak_rss_bytes) = scene.save(&nodes, &place).await?;
    for node in &nodes {
        rig.terminate(node).await;
    }
    nodes = rig.launch_many(GROUP, size).map_err(|error| error.to_string())?;
    scene.boot(&nodes);
    for node in &nodes {
        scene.says(node, "cluster-tagged").await?;
    }
    stage.say("new ones have booted, and wait");
    nodes[0].shut_down().await;
    disaster.everything = scene.recover(&nodes, &place, "latest", before).await?;
    disaster.cluster_ids.push(scene.cluster(&nodes).await?);

    stage.scene("All but one are terminated");
    let before = scene.fill(&nodes).await?;
    nodes[0].shut_down().await;
    for node in nodes.drain(1..) {
        rig.terminate(&node).await;
    }
    nodes.extend(rig.launch_many(GROUP, size - 1).map_err(|error| error.to_string())?);
    scene.boot(&nodes[1..]);
    for node in &nodes[1..] {
        scene.says(node, "cluster-tagged").await?;
    }
    disaster.quorum = scene.recover(&nodes, &place, "this-node", before).await?;
    disaster.cluster_ids.push(scene.cluster(&nodes).await?);

    println!("\n{disaster}");
    disaster.judge().map(|()| disaster)
}

impl Disaster {
    /// What must hold on a machine of any speed.
    fn judge(&self) -> Result<(), String> {
        let losses = [&self.everything, &self.quorum];
        let faults = [
            (losses.iter().all(|loss| loss.keys_lost == 0), "keys are lost"),
            (losses.iter().all(|loss| loss.revision_after > loss.revision_before), "a revision was given twice"),
            (self.cluster_ids.iter().collect::<BTreeSet<_>>().len() == 3, "two clusters have one id"),
        ];
        faults.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, fault)| Err((*fault).to_owned()))
    }
}

/// What the scenes are made of.
struct Scene<'a> {
    rig: &'a Rig,
    stage: &'a Stage,
    tool: &'a Path,
    patience: Duration,
}

impl Scene<'_> {
    fn boot(&self, nodes: &[Node]) {
        self.stage.introduce(nodes);
        nodes.iter().for_each(Node::boot);
    }

    async fn whole(&self, nodes: &[Node]) -> Result<(), String> {
        let whole = self.rig.judge.whole_cluster(&addresses(nodes), self.patience).await;
        whole.map(drop).map_err(|why| format!("{why}\n{}", nodes.iter().map(Node::story).collect::<String>()))
    }

    async fn cluster(&self, nodes: &[Node]) -> Result<String, String> {
        let ids: Vec<String> = self.rig.judge.cluster_ids(&addresses(nodes)).await.into_iter().collect();
        <[String; 1]>::try_from(ids).map(|[id]| id).map_err(|ids| format!("the nodes are in the clusters {ids:?}"))
    }

    /// Writes keys; returns how many there are then, and the revision.
    async fn fill(&self, nodes: &[Node]) -> Result<(i64, i64), String> {
        let mut client = self.rig.judge.client(&addresses(nodes)).await.map_err(|error| error.to_string())?;
        for _ in 0..KEYS {
            let key = format!("disaster/{:016x}", fastrand::u64(..));
            client.put(key, "written", None).await.map_err(|error| format!("write: {error}"))?;
        }
        self.count(nodes).await
    }

    async fn count(&self, nodes: &[Node]) -> Result<(i64, i64), String> {
        let mut client = self.rig.judge.client(&addresses(nodes)).await.map_err(|error| error.to_string())?;
        let all = etcd_client::GetOptions::new().with_prefix().with_count_only();
        let reply = client.get("disaster/", Some(all)).await.map_err(|error| format!("count: {error}"))?;
        Ok((reply.count(), reply.header().map_or(0, etcd_client::ResponseHeader::revision)))
    }

    /// As the timer does, on one after another: the first that it is the turn of takes it.
    async fn save(&self, nodes: &[Node], place: &Path) -> Result<(f64, u64), String> {
        std::fs::create_dir(place).map_err(|error| format!("make {}: {error}", place.display()))?;
        let option = format!("--snapshot-to={}", place.display());
        for node in nodes {
            let run = node.agent("snapshot", &[&option]).await.map_err(|error| error.to_string())?;
            if run.code != 0 {
                return Err(format!("snapshot ended with {}: {}", run.code, run.stderr));
            }
            if run.stderr.contains("took the snapshot") {
                self.stage.done("taken", run.took);
                return Ok((rounded(run.took), run.peak_rss));
            }
        }
        Err("it was nobody's turn to take the snapshot".to_owned())
    }

    async fn says(&self, node: &Node, word: &str) -> Result<(), String> {
        let said = async || {
            let log = node.log("agent.log");
            if log.contains(word) { Ok(()) } else { Err(format!("no {word}: {log}")) }
        };
        until(self.patience, said).await.map(drop)
    }

    /// A person recovers on the first node; all others join.
    async fn recover(
        &self,
        nodes: &[Node],
        place: &Path,
        from: &str,
        (keys, revision): (i64, i64),
    ) -> Result<Loss, String> {
        let tags = self.rig.cloud.now().groups[GROUP].tags.clone();
        let given_up = tags.get("etcd-bootstrap/cluster-id").ok_or("the group is not tagged")?;
        let options = [
            format!("--from={from}"),
            format!("--snapshot-to={}", place.display()),
            format!("--restore-tool={}", self.tool.display()),
            format!("--yes={given_up}"),
        ];
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        self.stage.say(&format!("a person: etcd-bootstrap recover --from={from} --yes={given_up}"));
        let began = Instant::now();
        let run = nodes[0].agent("recover", &options).await.map_err(|error| error.to_string())?;
        if run.code != 0 {
            return Err(format!("recover ended with {}: {}", run.code, run.stderr));
        }
        nodes[0].boot();
        let serves = self.rig.judge.all_healthy(&addresses(&nodes[..1]), self.patience).await? - began;
        for node in &nodes[1..] {
            self.rig.judge.votes(node.address, nodes[0].address, self.patience).await?;
        }
        let voters = began.elapsed();
        self.whole(nodes).await?;
        let whole = began.elapsed();
        self.stage.done("whole again", whole);
        let (kept, revision_after) = self.count(nodes).await?;
        Ok(Loss {
            serves_seconds: rounded(serves),
            recovered_seconds: rounded(voters),
            whole_seconds: rounded(whole),
            keys_lost: keys - kept,
            revision_before: revision,
            revision_after,
        })
    }
}

/// etcdutl, as `make sandbox` builds it.
fn restore_tool() -> Result<PathBuf, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/etcdutl");
    if path.exists() { Ok(path) } else { Err(format!("{} is not there: tests/tools/install restore", path.display())) }
}
