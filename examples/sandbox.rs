//! The main job on one machine without an AWS account: a fake cloud that speaks the real protocols,
//! the real agent, real etcds. It tells the story of a cluster and ends with a table; it fails when
//! anything is not as it must be.
//!
//!     cargo run --example sandbox -- --nodes 5 --json report.json
//!
//! The cloud is `tests/support`; here is only the story. `--help` lists what can be changed.

#[path = "sandbox/report.rs"]
mod report;
#[path = "sandbox/stage.rs"]
mod stage;
#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use clap::Parser;

use report::{Benchmark, Report, rounded};
use stage::Stage;
use support::aws::{Action, Fault, Often};
use support::etcd;
use support::node::{Event, Node, Programs};
use support::rig::{Rig, addresses, environment_by_hand};

/// Plays the life of an etcd cluster in a fake cloud on this machine.
#[derive(Clone, Debug, Parser)]
struct Options {
    /// Instances in the group at first; of fewer than three, none may be lost
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(3..=60))]
    nodes: u32,

    /// Leave everything running at the end, until Ctrl-C, and say how to look at it
    #[arg(long)]
    keep: bool,

    /// Write the numbers to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Etcd to run [default: $ETCD, the newest in target/etcd/, or the one on PATH]
    #[arg(long, value_name = "PATH")]
    etcd: Option<PathBuf>,

    /// Agent to run [default: etcd-bootstrap of this build]
    #[arg(long, value_name = "PATH")]
    agent: Option<PathBuf>,

    /// Only form and replace, so many times, and print medians
    #[arg(long, value_name = "N")]
    runs: Option<usize>,

    /// Boot the first instances this far apart
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = humantime::parse_duration)]
    skew: Duration,

    /// Wait this long before a change that is measured: etcd refuses changes in its first 5 s
    #[arg(long, value_name = "DURATION", default_value = "6s", value_parser = humantime::parse_duration)]
    settle: Duration,

    /// How long each scene may take
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = humantime::parse_duration)]
    patience: Duration,

    /// The agents' deadline
    #[arg(long, value_name = "DURATION", default_value = "infinity")]
    deadline: String,

    /// Option passed on to every run of the agent (repeatable)
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    agent_option: Vec<String>,

    /// AWS throttles this part of the calls, 0 to 1
    #[arg(long, value_name = "PART", help_heading = "Faults")]
    throttle: Option<f64>,

    /// AWS closes the connection on this part of the calls
    #[arg(long, value_name = "PART", help_heading = "Faults")]
    drop: Option<f64>,

    /// AWS answers this part of the calls with HTTP 500
    #[arg(long, value_name = "PART", help_heading = "Faults")]
    fail: Option<f64>,

    /// AWS answers this much later
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, help_heading = "Faults")]
    delay: Option<Duration>,

    /// AWS shows the groups as they were this long ago
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, help_heading = "Faults")]
    stale: Option<Duration>,

    /// AWS gives at most so many entries a page
    #[arg(long, value_name = "N", help_heading = "Faults")]
    page_size: Option<usize>,

    /// The role may not call this action (repeatable)
    #[arg(long, value_name = "ACTION", value_parser = parse_action, help_heading = "Faults")]
    deny: Vec<Action>,
}

fn parse_action(name: &str) -> Result<Action, String> {
    let names = Action::ALL.map(Action::name).join(", ");
    Action::named(name).ok_or_else(|| format!("not one of {names}"))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let options = Options::parse();
    let played = tokio::select! {
        played = play(&options) => played,
        _ = tokio::signal::ctrl_c() => Err("interrupted".to_owned()),
    };
    match played {
        Ok(story) => {
            println!("\nOK: everything is as it must be");
            if let Some(story) = story {
                story.keep().await;
            }
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("\nFAILED: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Plays what was asked for; returns the story where it is to be kept.
async fn play(options: &Options) -> Result<Option<Story<'_>>, String> {
    let programs = Programs { agent: find_agent(options)?, etcd: find_etcd(options)? };
    let version = etcd::version_of(&programs.etcd)?;
    println!("etcd {version} ({}), agent {}", programs.etcd.display(), programs.agent.display());
    if let Some(runs) = options.runs {
        write_json(options, &benchmark(options, &programs, version, runs).await?)?;
        return Ok(None);
    }
    let story = tell_story(options, &programs, version).await?;
    write_json(options, &story.report)?;
    Ok(options.keep.then_some(story))
}

fn write_json(options: &Options, report: &impl serde::Serialize) -> Result<(), String> {
    let Some(path) = &options.json else { return Ok(()) };
    let json = serde_json::to_string_pretty(report).expect("a report is plain data") + "\n";
    std::fs::write(path, json).map_err(|error| format!("write {}: {error}", path.display()))
}

async fn tell_story<'a>(options: &'a Options, programs: &Programs, version: String) -> Result<Story<'a>, String> {
    let mut story = Story::begin(options, programs, version)?;
    if let Err(why) = story.play_all().await {
        return Err(story.explain(&why));
    }
    println!("\n{}", story.report);
    Ok(story)
}

async fn benchmark(options: &Options, programs: &Programs, version: String, runs: usize) -> Result<Benchmark, String> {
    let mut reports = Vec::new();
    for run in 1..=runs {
        println!("\n--- run {run} of {runs}");
        let mut story = Story::begin(options, programs, version.clone())?;
        if let Err(why) = story.form_and_replace().await {
            return Err(format!("run {run}: {}", story.explain(&why)));
        }
        reports.push(story.report.clone());
    }
    let benchmark = Benchmark::of(reports);
    println!("\n{benchmark}");
    Ok(benchmark)
}

/// The group's name in the story.
const GROUP: &str = "etcd-sandbox";

/// The state of the story between two scenes.
struct Story<'a> {
    options: &'a Options,
    stage: Stage,
    report: Report,
    data: BTreeMap<String, String>,
    nodes: Vec<Node>,
    // Dropped last: the nodes' files are in it.
    rig: Rig,
}

impl<'a> Story<'a> {
    fn begin(options: &'a Options, programs: &Programs, etcd_version: String) -> Result<Self, String> {
        let mut rig = Rig::start(programs.clone()).map_err(|error| format!("start the cloud: {error}"))?;
        let (stage, ear) = Stage::new(false);
        rig.setup.reports = Some(ear);
        rig.setup.deadline.clone_from(&options.deadline);
        rig.setup.agent_arguments.clone_from(&options.agent_option);
        rig.group(GROUP, options.nodes);
        misbehave(&rig, options);
        Ok(Self {
            options,
            stage,
            report: Report { etcd_version, nodes: options.nodes as usize, ..Report::default() },
            data: (0..100).map(|number| (format!("story/{number:03}"), format!("{:x}", fastrand::u64(..)))).collect(),
            nodes: Vec::new(),
            rig,
        })
    }

    async fn play_all(&mut self) -> Result<(), String> {
        self.form_and_replace().await?;
        self.grow_by_two().await?;
        self.reboot_one().await?;
        self.wipe_one().await?;
        self.serve_a_consumer().await?;
        self.end()
    }

    async fn form_and_replace(&mut self) -> Result<(), String> {
        self.measure_the_floor().await?;
        self.form().await?;
        self.write_data().await?;
        self.replace_one().await?;
        self.take_stock().await
    }

    // The scenes.

    async fn measure_the_floor(&mut self) -> Result<(), String> {
        self.stage.scene("The floor: as many etcds with an environment written by hand");
        let founders = self.launch("by-hand", self.report.nodes)?;
        let began = Instant::now();
        for founder in &founders {
            founder.boot_by_hand(&environment_by_hand(founder, &founders));
        }
        let formed = self.rig.judge.all_healthy(&addresses(&founders), self.options.patience).await?;
        self.stage.done("formed", formed - began);
        self.report.floor_formed_seconds = Some(rounded(formed - began));
        self.report.floor_paused = any_paused(&founders);
        for founder in &founders {
            self.rig.terminate(founder).await;
        }
        Ok(())
    }

    async fn form(&mut self) -> Result<(), String> {
        self.stage.scene(&format!("{} instances boot and form a cluster", self.report.nodes));
        self.nodes = self.launch(GROUP, self.report.nodes)?;
        self.stage.introduce(&self.nodes);
        let began = Instant::now();
        let mut last = began;
        for (number, node) in self.nodes.iter().enumerate() {
            if number > 0 && !self.options.skew.is_zero() {
                tokio::time::sleep(self.options.skew).await;
            }
            last = Instant::now();
            node.boot();
        }
        let formed = self.rig.judge.all_healthy(&addresses(&self.nodes), self.options.patience).await?;
        self.whole().await?;
        self.stage.done("formed", formed - began);
        self.report.formed_seconds = Some(rounded(formed - began));
        self.report.formed_after_last_boot_seconds = Some(rounded(formed - last));
        self.report.formed_paused = any_paused(&self.nodes);
        Ok(())
    }

    async fn write_data(&mut self) -> Result<(), String> {
        let mut client = self.client().await?;
        for (key, value) in &self.data {
            client.put(key.as_str(), value.as_str(), None).await.map_err(|error| format!("write {key}: {error}"))?;
        }
        self.stage.say(&format!("{} keys are written", self.data.len()));
        Ok(())
    }

    async fn replace_one(&mut self) -> Result<(), String> {
        self.settle().await;
        self.stage.scene("One instance is terminated, a fresh one takes its place");
        let (votes, replaced) = self.replace(0).await?;
        self.stage.done("votes", votes);
        self.stage.done("replaced", replaced);
        self.report.replacement_votes_seconds = Some(rounded(votes));
        self.report.replaced_seconds = Some(rounded(replaced));
        Ok(())
    }

    async fn grow_by_two(&mut self) -> Result<(), String> {
        self.settle().await;
        self.stage.scene("The group grows by two at once");
        self.rig.cloud.change(|world| world.set_desired(GROUP, self.options.nodes + 2));
        let fresh = self.launch(GROUP, 2)?;
        self.stage.introduce(&fresh);
        let began = Instant::now();
        fresh.iter().for_each(Node::boot);
        self.nodes.extend(fresh);
        let grown = self.whole().await? - began;
        self.stage.done("grown", grown);
        self.report.grown_seconds = Some(rounded(grown));
        self.take_stock().await
    }

    async fn reboot_one(&mut self) -> Result<(), String> {
        let node = &self.nodes[1];
        self.stage.scene(&format!("{} reboots with its data", node.instance));
        let before = self.member_id(node).await?;
        node.shut_down().await;
        let began = Instant::now();
        node.boot();
        let back = self.whole().await? - began;
        if self.member_id(node).await? != before {
            return Err(format!("{} came back as another member though it has its data", node.instance));
        }
        self.stage.done("back as the same member", back);
        self.report.rebooted_seconds = Some(rounded(back));
        self.take_stock().await
    }

    async fn wipe_one(&mut self) -> Result<(), String> {
        let node = &self.nodes[2 % self.nodes.len()];
        self.stage.scene(&format!("{} reboots with an empty disk", node.instance));
        let before = self.member_id(node).await?;
        node.shut_down().await;
        node.wipe_disk().map_err(|error| format!("wipe the disk: {error}"))?;
        let began = Instant::now();
        node.boot();
        let rejoined = async || {
            self.rig.judge.whole_cluster(&addresses(&self.nodes), Duration::ZERO).await?;
            if self.member_id(node).await? == before { Err("it is still the old member".to_owned()) } else { Ok(()) }
        };
        let back = etcd::until(self.options.patience, rejoined).await? - began;
        self.whole().await?;
        self.stage.done("back as a new member", back);
        self.report.wiped_seconds = Some(rounded(back));
        self.take_stock().await
    }

    async fn serve_a_consumer(&mut self) -> Result<(), String> {
        self.stage.scene("A consumer in another group follows the cluster");
        self.rig.group("workers", 1);
        let consumer = self.rig.launch(Some("workers")).map_err(|error| format!("launch a consumer: {error}"))?;
        let first = self.endpoints_of(&consumer).await?;
        let (_, rotated) = self.replace(1).await?;
        self.stage.done("rotated", rotated);
        self.report.rotated_seconds = Some(rounded(rotated));
        if self.endpoints_of(&consumer).await? == first {
            return Err("the consumer's endpoints are still the old ones".to_owned());
        }
        self.take_stock().await
    }

    /// The last look: one cluster from the beginning, its data, and no call that AWS would refuse.
    fn end(&mut self) -> Result<(), String> {
        let cluster_ids = &self.report.cluster_ids;
        if cluster_ids.len() != 1 {
            return Err(format!("there is not one cluster id: {cluster_ids:?}"));
        }
        if !self.report.data_intact {
            return Err("data was lost".to_owned());
        }
        let complaints = self.rig.aws.complaints();
        self.rig.aws.forgive();
        if !complaints.is_empty() {
            return Err(format!("calls that AWS would refuse: {}", complaints.join("; ")));
        }
        Ok(())
    }

    // What the scenes are made of.

    fn launch(&self, group: &str, count: usize) -> Result<Vec<Node>, String> {
        if group != GROUP {
            self.rig.group(group, u32::try_from(count).unwrap_or_default());
        }
        self.rig.launch_many(group, count).map_err(|error| format!("launch {count} instances: {error}"))
    }

    /// Terminates a node and boots a fresh one instead; returns how long that one took to vote, and until the cluster
    /// was whole again.
    async fn replace(&mut self, which: usize) -> Result<(Duration, Duration), String> {
        let old = self.nodes.remove(which);
        self.rig.terminate(&old).await;
        self.stage.say(&format!("{} is terminated", old.instance));
        let fresh = self.launch(GROUP, 1)?;
        self.stage.introduce(&fresh);
        let began = Instant::now();
        fresh.iter().for_each(Node::boot);
        let (via, address) = (self.nodes[0].address, fresh[0].address);
        self.nodes.extend(fresh);
        let votes = self.rig.judge.votes(address, via, self.options.patience);
        let (votes, whole) = tokio::try_join!(votes, self.whole())?;
        // A whole cluster has it as a voter; one of the two judges looked first.
        Ok((votes.min(whole) - began, whole - began))
    }

    async fn endpoints_of(&self, consumer: &Node) -> Result<BTreeSet<String>, String> {
        let group = format!("--scaling-group-name={GROUP}");
        let run = consumer.agent("run", &["--proxy-mode", &group]).await.map_err(|error| error.to_string())?;
        if run.code != 0 {
            return Err(format!("the consumer's agent exits {}: {}", run.code, run.stderr));
        }
        let environment = consumer.environment()?.ok_or("the consumer has no file")?;
        let endpoints = environment.get("ETCDCTL_ENDPOINTS").ok_or("the consumer's file has no ETCDCTL_ENDPOINTS")?;
        let endpoints: BTreeSet<_> = endpoints.split(',').map(str::to_owned).collect();
        let expected = addresses(&self.nodes).iter().map(|address| format!("http://{address}:2379")).collect();
        self.stage.say(&format!(
            "the consumer has {} endpoints after {:.3} s",
            endpoints.len(),
            run.took.as_secs_f64()
        ));
        if endpoints == expected { Ok(endpoints) } else { Err(format!("it has {endpoints:?}, not {expected:?}")) }
    }

    /// Waits until exactly the present nodes are the cluster, and returns when they were; then until
    /// every node's ready unit has done its work.
    async fn whole(&self) -> Result<Instant, String> {
        let whole = self.rig.judge.whole_cluster(&addresses(&self.nodes), self.options.patience).await?;
        for node in &self.nodes {
            let done = |event: &Event| *event == Event::ReadyExited { code: 0 };
            node.wait_for(self.options.patience, done).await?;
        }
        Ok(whole)
    }

    async fn member_id(&self, node: &Node) -> Result<u64, String> {
        let list = self.rig.judge.members(self.nodes[0].address).await.ok_or("node 0 tells no members")?;
        list.member(&node.instance).map(|member| member.id).ok_or_else(|| format!("{} is no member", node.instance))
    }

    async fn client(&self) -> Result<etcd_client::Client, String> {
        self.rig.judge.client(&addresses(&self.nodes)).await.map_err(|error| format!("connect to etcd: {error}"))
    }

    async fn settle(&self) {
        if !self.options.settle.is_zero() {
            self.stage.say(&format!("(etcd takes no change in its first 5 s: waiting {:?})", self.options.settle));
            tokio::time::sleep(self.options.settle).await;
        }
    }

    /// Brings the report up to date, from what every node says.
    async fn take_stock(&mut self) -> Result<(), String> {
        let nodes = addresses(&self.nodes);
        self.report.cluster_ids.extend(self.rig.judge.cluster_ids(&nodes).await);
        self.report.members = self.nodes.len();
        self.report.aws_calls = self.rig.aws.counts();
        self.report.agent_peak_rss_bytes = self.stage.peak_rss();
        self.report.data_intact = true;
        for node in nodes {
            self.report.data_intact &= self.read_data(node).await? == self.data;
        }
        if self.report.data_intact { Ok(()) } else { Err("data was lost".to_owned()) }
    }

    async fn read_data(&self, node: std::net::Ipv4Addr) -> Result<BTreeMap<String, String>, String> {
        let describe = |error| format!("read from {node}: {error}");
        let mut client = self.rig.judge.client(&[node]).await.map_err(describe)?;
        let all = etcd_client::GetOptions::new().with_prefix();
        let reply = client.get("story/", Some(all)).await.map_err(describe)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(reply.kvs().iter().map(|pair| (text(pair.key()), text(pair.value()))).collect())
    }

    /// What a person needs to find the reason: what each unfinished node did last, and the logs.
    fn explain(&mut self, why: &str) -> String {
        self.rig.directory.keep();
        // What the failure has cut short is not to be reported as a second one.
        self.rig.aws.forgive();
        for node in &self.nodes {
            match node.events().last() {
                None | Some((_, Event::ReadyExited { code: 0 })) => {}
                Some((_, event)) => {
                    let log = node.log("agent.log");
                    let said = log.lines().last().unwrap_or("nothing");
                    self.stage.say(&format!("{}: {event}; its agent said last: {said}", node.instance));
                }
            }
        }
        format!("{why}; all logs are in {}", self.rig.directory.path().display())
    }

    async fn keep(&self) {
        let endpoints: Vec<_> = addresses(&self.nodes).iter().map(|address| format!("http://{address}:2379")).collect();
        println!("\nEverything is still running. To look at it:\n");
        println!("  etcdctl --endpoints={} endpoint status", endpoints.join(","));
        println!("  {}", self.nodes[0].agent_command_line("status"));
        println!("  {} --dry-run", self.nodes[0].agent_command_line("run"));
        println!("  environment files, logs and data: {}\n", self.rig.directory.path().display());
        println!("Ctrl-C ends it.");
        let _ = tokio::signal::ctrl_c().await;
    }
}

/// Whether one of them asked its peers for a second or more before it started.
fn any_paused(nodes: &[Node]) -> bool {
    let pause = |node: &Node| etcd::pause_before_start(&node.log("etcd.log"));
    nodes.iter().filter_map(pause).any(|pause| pause > Duration::from_millis(900))
}

fn misbehave(rig: &Rig, options: &Options) {
    let parts = [(Fault::Throttle, options.throttle), (Fault::Drop, options.drop), (Fault::Fail, options.fail)];
    for (fault, part) in parts {
        if let Some(part) = part {
            rig.aws.inject_everywhere(&fault, Often::Chance(part));
        }
    }
    if let Some(delay) = options.delay {
        rig.aws.inject_everywhere(&Fault::Delay(delay), Often::Always);
    }
    if let Some(size) = options.page_size {
        rig.aws.inject_everywhere(&Fault::ShortPages(size), Often::Always);
    }
    if let Some(lag) = options.stale {
        rig.aws.inject(Action::DescribeAutoScalingInstances, Fault::Lag(lag), Often::Always);
        rig.aws.inject(Action::DescribeAutoScalingGroups, Fault::Lag(lag), Often::Always);
    }
    for &action in &options.deny {
        rig.aws.inject(action, Fault::Deny, Often::Always);
    }
}

fn find_etcd(options: &Options) -> Result<PathBuf, String> {
    match &options.etcd {
        Some(path) => Ok(path.clone()),
        None => etcd::find(&Path::new(env!("CARGO_MANIFEST_DIR")).join("target")),
    }
}

/// The agent beside this example. Under `cargo run` it is built first: cargo does that for tests,
/// not for examples, and an old one would tell an old story.
fn find_agent(options: &Options) -> Result<PathBuf, String> {
    if let Some(path) = &options.agent {
        return Ok(path.clone());
    }
    let own = std::env::current_exe().map_err(|error| format!("find this program: {error}"))?;
    let profile = own.ancestors().nth(2).ok_or("this program is not in target/PROFILE/examples")?;
    if let Some(cargo) = std::env::var_os("CARGO") {
        build_agent(Path::new(&cargo), profile.ends_with("release"))?;
    }
    let agent = profile.join("etcd-bootstrap");
    if agent.is_file() { Ok(agent) } else { Err(format!("there is no {}: cargo build --release", agent.display())) }
}

fn build_agent(cargo: &Path, release: bool) -> Result<(), String> {
    let mut build = Command::new(cargo);
    // Together with the example, so that dependencies are built with the same features, once.
    build.args(["build", "--quiet", "--bin", "etcd-bootstrap", "--example", "sandbox"]);
    build.args(release.then_some("--release")).current_dir(env!("CARGO_MANIFEST_DIR"));
    match build.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("build the agent: {status}")),
        Err(error) => Err(format!("build the agent: {error}")),
    }
}
