//! What happens to the fleet, and what has to hold.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use etcd_bootstrap::model::ConsumerRecord;

use crate::fleet::Files;
use crate::support::aws::{Action, Fault, Often};
use crate::support::child::{Child, Signal};
use crate::support::node::{Node, Programs};
use crate::support::rig::{Rig, addresses};

const GROUP: &str = "etcd-a";
const MEMBERS: usize = 5;
const PATIENCE: Duration = Duration::from_secs(60);
/// A consumer's period, and the time in which a fleet of them is served by a machine of two cores.
const FOLLOW: Duration = Duration::from_secs(90);
/// EC2's own example of a limit: 100 at once and 20 a second for `DescribeInstances` and the like ("Request throttling for
/// the Amazon EC2 API", EC2 developer guide, read 2026-11-27).
const LIMIT: (f64, f64) = (100.0, 20.0);
/// A fleet that starts at once without any knowledge takes two calls a consumer out of that.
const COLD: Duration = Duration::from_secs(45 * 60);

/// What one scene showed.
struct Row {
    scene: &'static str,
    took: Duration,
    half: Duration,
    calls: usize,
    most: usize,
    joins: Vec<Duration>,
}

struct Story {
    rig: Rig,
    nodes: Vec<Node>,
    consumer: Node,
    count: usize,
    /// The fleet's files: in memory, for each of so many nodes would have a disk of its own.
    directory: tempfile::TempDir,
}

/// Tells it all; returns the table.
pub async fn tell(programs: Programs, count: usize) -> Result<String, String> {
    let said = |error: std::io::Error| error.to_string();
    let rig = Rig::start(programs).map_err(said)?;
    rig.group(GROUP, MEMBERS as u32);
    rig.group("consumers", 1);
    let nodes = rig.launch_many(GROUP, MEMBERS).map_err(said)?;
    nodes.iter().for_each(Node::boot);
    let consumer = rig.launch(Some("consumers")).map_err(said)?;
    for action in [Action::DescribeAutoScalingGroups, Action::DescribeInstances] {
        rig.aws.inject(action, Fault::Throttle, Often::beyond(LIMIT.0, LIMIT.1));
    }
    let directory = tempfile::tempdir_in("/dev/shm").map_err(said)?;
    let mut story = Story { rig, nodes, consumer, count, directory };
    story.whole().await?;
    let mut rows = Vec::new();
    for scene in [Scene::Alone, Scene::Endpoints, Scene::Rotation, Scene::Cold] {
        rows.push(story.play(scene).await?);
        println!("{}", table(&rows[rows.len() - 1..]));
    }
    Ok(table(&rows))
}

/// What is told, in its order.
enum Scene {
    Alone,
    Endpoints,
    Rotation,
    Cold,
}

impl Story {
    async fn play(&mut self, scene: Scene) -> Result<Row, String> {
        match scene {
            Scene::Alone => self.without_a_fleet().await,
            Scene::Endpoints => self.first_boot_with_endpoints().await,
            Scene::Rotation => self.rotation().await,
            Scene::Cold => self.first_boot().await,
        }
    }

    /// What a member's join takes.
    async fn without_a_fleet(&mut self) -> Result<Row, String> {
        let (began, mut joins) = (self.begin("Nobody looks on"), Vec::new());
        for _ in 0..3 {
            joins.push(self.replace().await?);
        }
        Ok(self.row("members are replaced, no fleet", began, Duration::ZERO, joins))
    }

    async fn first_boot_with_endpoints(&mut self) -> Result<Row, String> {
        let began = self.begin("All start at once, with --endpoints");
        let seeds: Vec<String> = addresses(&self.nodes).iter().map(|a| format!("http://{a}:2379")).collect();
        let fleet = self.fleet("endpoints", &[format!("--endpoints={}", seeds.join(","))])?;
        let half = self.followed(&fleet, self.count / 2, FOLLOW).await?;
        self.followed(&fleet, self.count, FOLLOW).await?;
        let row = self.row("first boot of all, --endpoints", began, half, Vec::new());
        fleet.end().await;
        Ok(row)
    }

    /// The fleet has been there for hours: each knows the cluster, and its hourly look at AWS is somewhere in the next. The
    /// next member goes when all follow the last one, as in a refresh whose warm-up is what the README says.
    async fn rotation(&mut self) -> Result<Row, String> {
        self.begin("The fleet knows the cluster, and each member is replaced");
        let directory = self.directory.path().join("rotation");
        let group = [format!("--scaling-group-name={GROUP}")];
        self.remember(&directory, &group).await?;
        let fleet = self.fleet("rotation", &group)?;
        self.followed(&fleet, self.count, FOLLOW).await?;
        self.rig.aws.forget_calls();
        let (began, mut joins, mut last) = (Instant::now(), Vec::new(), (Duration::ZERO, Duration::ZERO));
        for _ in 0..MEMBERS {
            joins.push(self.replace().await?);
            let half = self.followed(&fleet, self.count / 2, FOLLOW).await?;
            last = (half, half + self.followed(&fleet, self.count, FOLLOW).await?);
        }
        let row = self.row("all members replaced", began, last.0, joins);
        fleet.end().await;
        Ok(Row { took: last.1, ..row })
    }

    async fn first_boot(&mut self) -> Result<Row, String> {
        let began = self.begin("All start at once, and know the group's name alone; a member is replaced meanwhile");
        let fleet = self.fleet("cold", &[format!("--scaling-group-name={GROUP}")])?;
        tokio::time::sleep(Duration::from_secs(15)).await;
        let join = self.replace().await?;
        println!("  a member joined in {:.1} s", join.as_secs_f64());
        let half = self.followed(&fleet, self.count / 2, COLD).await?;
        self.followed(&fleet, self.count, COLD).await?;
        let row = self.row("first boot of all, by the group", began, half, vec![join]);
        fleet.end().await;
        Ok(row)
    }

    fn begin(&self, headline: &str) -> Instant {
        println!("{headline}");
        self.rig.aws.forget_calls();
        Instant::now()
    }

    fn row(&self, scene: &'static str, began: Instant, half: Duration, joins: Vec<Duration>) -> Row {
        let calls = self.rig.aws.calls().into_iter().filter(|call| call.caller == self.consumer.instance);
        let seconds: Vec<u64> = calls.map(|call| (call.at - began).as_secs()).collect();
        let most = seconds.iter().map(|second| seconds.iter().filter(|other| *other == second).count()).max();
        Row { scene, took: began.elapsed(), half, calls: seconds.len(), most: most.unwrap_or_default(), joins }
    }

    async fn whole(&self) -> Result<Instant, String> {
        self.rig.judge.whole_cluster(&addresses(&self.nodes), PATIENCE * 10).await
    }

    /// Replaces the oldest member; returns how long after its boot the new one serves.
    async fn replace(&mut self) -> Result<Duration, String> {
        let dead = self.nodes.remove(0);
        self.rig.terminate(&dead).await;
        self.nodes.push(self.rig.launch(Some(GROUP)).map_err(|error| error.to_string())?);
        let booted = Instant::now();
        self.nodes.last().expect("it was pushed").boot();
        Ok(self.whole().await? - booted)
    }

    /// Writes down for each consumer what one real run of it has learnt.
    async fn remember(&self, directory: &Path, options: &[String]) -> Result<(), String> {
        let one = self.fleet_of(1, "one", options)?;
        self.followed(&one, 1, FOLLOW).await?;
        let said = |error: std::io::Error| error.to_string();
        let text = fs::read_to_string(Files::of(&one.directory, 0).record()).map_err(said)?;
        one.end().await;
        let mut record: ConsumerRecord = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let hour = record.check_at.elapsed().map_or_else(|left| left.duration(), |_| Duration::ZERO);
        let now = record.check_at - hour;
        for number in 0..self.count {
            let file = Files::of(directory, number).record();
            record.check_at = now + hour.mul_f64(fastrand::f64());
            fs::create_dir_all(file.parent().expect("it has a directory")).map_err(said)?;
            fs::write(file, serde_json::to_string(&record).expect("plain data")).map_err(said)?;
        }
        Ok(())
    }

    fn fleet(&self, name: &str, options: &[String]) -> Result<Fleet, String> {
        self.fleet_of(self.count, name, options)
    }

    fn fleet_of(&self, count: usize, name: &str, options: &[String]) -> Result<Fleet, String> {
        let directory = self.directory.path().join(name);
        let said = |error: std::io::Error| error.to_string();
        for number in 0..count {
            let file = Files::of(&directory, number).environment();
            fs::create_dir_all(file.parent().expect("it has a directory")).map_err(said)?;
        }
        let mut command = Command::new(std::env::current_exe().map_err(said)?);
        command.arg("--fleet").arg(&directory).args(["--count", &count.to_string(), "--"]).args(options);
        command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", self.consumer.imds.url());
        for service in ["AUTO_SCALING", "EC2"] {
            command.env(format!("AWS_ENDPOINT_URL_{service}"), self.rig.aws.url());
        }
        Ok(Fleet { child: Child::spawn(command).map_err(said)?, directory })
    }

    /// Waits until so many follow exactly the members that there are; returns how long that took.
    async fn followed(&self, fleet: &Fleet, wanted: usize, within: Duration) -> Result<Duration, String> {
        let living = addresses(&self.nodes).into_iter().map(|address| format!("http://{address}:2379"));
        let (living, began, mut told) = (living.collect::<BTreeSet<_>>(), Instant::now(), 0);
        let follows = |number: &usize| {
            let text = fs::read_to_string(Files::of(&fleet.directory, *number).environment()).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("ETCD_ENDPOINTS=")).unwrap_or_default();
            line.split(',').map(str::to_owned).collect::<BTreeSet<_>>() == living
        };
        loop {
            let following = (0..self.count).filter(follows).count();
            if following >= wanted.min(self.count) {
                return Ok(began.elapsed());
            }
            let (elapsed, minutes) = (began.elapsed(), began.elapsed().as_secs() / 60);
            if minutes > told {
                told = minutes;
                println!("  {following} follow after {minutes} min, {} calls", self.rig.aws.calls().len());
            }
            if elapsed > within {
                return Err(format!("only {following} of {wanted} consumers follow {living:?} after {elapsed:?}"));
            }
            if !fleet.child.is_running() {
                return Err("the fleet has ended".to_owned());
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

/// A process of consumers.
struct Fleet {
    child: Child,
    directory: PathBuf,
}

impl Fleet {
    async fn end(self) {
        self.child.end(Signal::Kill).await;
    }
}

fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<33} {:>9} {:>9} {:>9} {:>9}  a member joins in\n",
        "", "half, s", "all, s", "AWS calls", "most in 1 s"
    );
    for Row { scene, took, half, calls, most, joins } in rows {
        let joins: Vec<String> = joins.iter().map(|join| format!("{:.2} s", join.as_secs_f64())).collect();
        let (half, took) = (half.as_secs_f64(), took.as_secs_f64());
        let _ = writeln!(text, "{scene:<33} {half:>9.1} {took:>9.1} {calls:>9} {most:>9}  {}", joins.join(", "));
    }
    text
}
