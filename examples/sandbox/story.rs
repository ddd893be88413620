//! The story of a cluster, scene by scene.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::report::{Report, rounded};
use crate::stage::Stage;
use crate::support::aws::{Action, Fault, Often};
use crate::support::cloud::InstanceId;
use crate::support::etcd;
use crate::support::node::{Event, Node, Programs};
use crate::support::rig::{Rig, addresses, environment_by_hand};
use crate::{Measure, Options, Scheme};

/// The group's name in the story.
pub const GROUP: &str = "etcd-sandbox";

/// The state of the story between two scenes.
pub struct Story<'a> {
    pub options: &'a Options,
    pub stage: Stage,
    pub report: Report,
    data: BTreeMap<String, String>,
    pub nodes: Vec<Node>,
    /// Whose etcd has lost 7 s, as far as it was told.
    late: BTreeSet<InstanceId>,
    // Dropped last: the nodes' files are in it.
    pub rig: Rig,
}

impl<'a> Story<'a> {
    pub fn begin(options: &'a Options, programs: &Programs, etcd_version: String) -> Result<Self, String> {
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
            report: Report { etcd_version, nodes: options.nodes as usize, scheme: options.scheme, ..Report::default() },
            data: (0..100).map(|number| (format!("story/{number:03}"), format!("{:x}", fastrand::u64(..)))).collect(),
            nodes: Vec::new(),
            late: BTreeSet::new(),
            rig,
        })
    }

    pub async fn play_all(&mut self) -> Result<(), String> {
        self.form_beside_the_floor().await?;
        self.replace_one().await?;
        self.take_stock().await?;
        self.grow_by_two().await?;
        self.reboot_one().await?;
        self.wipe_one().await?;
        self.serve_a_consumer().await?;
        self.end()
    }

    /// For the benchmark, with what https costs, in the same run.
    pub async fn compare(&mut self) -> Result<(), String> {
        if self.options.scheme == Scheme::Https && self.options.measure == Measure::Replacements {
            self.form_over_http().await?;
        }
        self.form_beside_the_floor().await?;
        if self.options.measure == Measure::Formations {
            return self.take_stock().await;
        }
        self.replace_one().await?;
        self.take_stock().await?;
        self.lose_and_replace().await
    }

    async fn form_beside_the_floor(&mut self) -> Result<(), String> {
        self.measure_the_floor().await?;
        if self.options.scheme == Scheme::Https {
            self.rig.certify();
        }
        self.form().await?;
        self.write_data().await
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
        let measured = self.options.runs.is_some() && self.options.measure == Measure::Replacements;
        let nodes = if measured { self.replace_by_hand(founders).await? } else { founders };
        for node in &nodes {
            self.rig.terminate(node).await;
        }
        Ok(())
    }

    async fn form_over_http(&mut self) -> Result<(), String> {
        self.stage.scene("As many instances form a cluster in the clear");
        let nodes = self.launch("in-the-clear", self.report.nodes)?;
        let began = Instant::now();
        nodes.iter().for_each(Node::boot);
        let formed = self.rig.judge.all_healthy(&addresses(&nodes), self.options.patience).await?;
        self.stage.done("formed", formed - began);
        self.report.formed_over_http_seconds = Some(rounded(formed - began));
        for node in &nodes {
            self.rig.terminate(node).await;
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

    pub fn launch(&self, group: &str, count: usize) -> Result<Vec<Node>, String> {
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
        self.boot_instead(1).await
    }

    /// Boots fresh instances of the group; returns how long the last of them took to vote, and until the cluster was
    /// whole again.
    pub async fn boot_instead(&mut self, count: usize) -> Result<(Duration, Duration), String> {
        let via = self.nodes[0].address;
        let fresh = self.launch(GROUP, count)?;
        self.stage.introduce(&fresh);
        let began = Instant::now();
        fresh.iter().for_each(Node::boot);
        let news = addresses(&fresh);
        self.nodes.extend(fresh);
        let vote = async {
            let mut last = began;
            for address in news {
                last = self.rig.judge.votes(address, via, self.options.patience).await?;
            }
            Ok(last)
        };
        let (votes, whole) = tokio::try_join!(vote, self.whole())?;
        // A whole cluster has them as voters; one of the two judges looked first.
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
        let expected = self.client_urls().into_iter().collect();
        self.stage.say(&format!(
            "the consumer has {} endpoints after {:.3} s",
            endpoints.len(),
            run.took.as_secs_f64()
        ));
        if endpoints == expected { Ok(endpoints) } else { Err(format!("it has {endpoints:?}, not {expected:?}")) }
    }

    /// Waits until exactly the present nodes are the cluster, and returns when they were; then until
    /// every node's ready unit has done its work.
    pub async fn whole(&self) -> Result<Instant, String> {
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

    fn client_urls(&self) -> Vec<String> {
        let (scheme, _) = self.rig.setup.schemes;
        addresses(&self.nodes).iter().map(|address| format!("{scheme}://{address}:2379")).collect()
    }

    pub async fn settle(&self) {
        if !self.options.settle.is_zero() {
            self.stage.say(&format!("(etcd takes no change in its first 5 s: waiting {:?})", self.options.settle));
            tokio::time::sleep(self.options.settle).await;
        }
    }

    /// Brings the report up to date, from what every node says.
    pub async fn take_stock(&mut self) -> Result<(), String> {
        let nodes = addresses(&self.nodes);
        self.report.cluster_ids.extend(self.rig.judge.cluster_ids(&nodes).await);
        self.report.members = self.nodes.len();
        self.report.aws_calls = self.rig.aws.counts();
        self.report.agent_peak_rss_bytes = self.stage.peak_rss();
        self.report.data_intact = true;
        for late in self.nodes.iter().filter(|node| node.log("etcd.log").contains(PUBLISHED_LATE)) {
            if self.late.insert(late.instance.clone()) {
                self.stage.say(&format!(
                    "(etcd's own 7 s: {} votes, but its etcd missed the word that it is published, and asks again)",
                    late.instance
                ));
            }
        }
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
    pub fn explain(&mut self, why: &str) -> String {
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

    pub async fn keep(&self) {
        let files = self.nodes[0].certificates();
        let shown = match self.options.scheme {
            Scheme::Http => String::new(),
            Scheme::Https => {
                let file = |name: &str| files.join(name).display().to_string();
                format!(" --cacert={} --cert={node} --key={node}", file("servers.pem"), node = file("node.pem"))
            }
        };
        println!("\nEverything is still running. To look at it:\n");
        println!("  etcdctl --endpoints={}{shown} endpoint status", self.client_urls().join(","));
        println!("  {}", self.nodes[0].agent_command_line("status"));
        println!("  {} --dry-run", self.nodes[0].agent_command_line("run"));
        println!("  environment files, logs and data: {}\n", self.rig.directory.path().display());
        println!("Ctrl-C ends it.");
        let _ = tokio::signal::ctrl_c().await;
    }
}

/// What an etcd says whose publication came to it inside a snapshot of the database: that applies it, but tells nobody
/// who waits for it (`publishV3`, server/etcdserver/server.go, v3.7.1). It serves clients after the second try.
const PUBLISHED_LATE: &str = "failed to publish local member to cluster through raft";

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
