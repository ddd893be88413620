//! The command line and bad input: the real binary against the fakes, where it matters beside a real etcd. What it
//! says, its exit code, and what it must not have done.

mod aws;
mod certificates;
mod data;
mod discovery;
mod disk;
mod etcd;
mod looks;
mod metadata;
mod ports;
mod secrets;
mod time;
mod usage;

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::scenario::{form, rig as rig_with};
use crate::support::aws::Action;
use crate::support::etcd::{MemberList, find};
use crate::support::http::{self, Answer, Rendezvous, Request};
use crate::support::node::{Event, Node, Run};
use crate::support::rig::Rig;
use crate::support::tls::TlsFiles;

pub const GROUP: &str = "etcd-a";

/// The actions of a pass, as policies name them.
const READS: [(Action, &str); 3] = [
    (Action::DescribeAutoScalingInstances, "autoscaling:DescribeAutoScalingInstances"),
    (Action::DescribeAutoScalingGroups, "autoscaling:DescribeAutoScalingGroups"),
    (Action::DescribeInstances, "ec2:DescribeInstances"),
];

pub fn rig() -> Rig {
    let mut rig = rig_with(find("target".as_ref()).expect("the tests need an etcd"));
    // Long enough for several looks on a busy machine.
    rig.setup.deadline = "2s".into();
    rig
}

/// Instances of a group that wants them all; their machines are off.
pub fn group_of(size: usize) -> (Rig, Vec<Node>) {
    let rig = rig();
    rig.group(GROUP, u32::try_from(size).unwrap());
    let nodes = rig.launch_many(GROUP, size).unwrap();
    (rig, nodes)
}

/// A group of one: but for what a test does to it, the node would create its cluster.
pub fn alone() -> (Rig, Node) {
    let (rig, mut nodes) = group_of(1);
    (rig, nodes.remove(0))
}

/// A group of one whose etcd has run, and is off.
pub async fn with_data() -> (Rig, Node) {
    let mut rig = rig();
    rig.setup.deadline = "30s".into();
    let node = form(&rig, 1).await.remove(0);
    node.shut_down().await;
    // As /run is after a reboot.
    fs::remove_file(node.environment_file()).unwrap();
    (rig, node)
}

/// A formed cluster of one in a group that wants two, and the second instance, off and empty: but for what a test
/// does to it, it would be added.
struct Scene {
    // In this order: nodes must not outlive their rig.
    node: Node,
    member: Node,
    before: MemberList,
    rig: Rig,
}

impl Scene {
    async fn new() -> Self {
        let rig = rig();
        let member = form(&rig, 1).await.remove(0);
        // Its `ready` tags the group; from here on nobody may.
        let is_ready = |event: &Event| matches!(event, Event::ReadyExited { code: 0 });
        member.wait_for(Duration::from_secs(60), is_ready).await.unwrap();
        rig.aws.forget_calls();
        let before = rig.judge.members(member.address).await.unwrap();
        rig.cloud.change(|world| world.set_desired(GROUP, 2));
        let node = rig.launch(Some(GROUP)).unwrap();
        Self { node, member, before, rig }
    }

    async fn members(&self) -> MemberList {
        self.rig.judge.members(self.member.address).await.unwrap()
    }

    async fn refuses(&self, code: i32, words: &[&str]) {
        self.refuses_with(&[], code, words).await;
    }

    async fn refuses_with(&self, more: &[&str], code: i32, words: &[&str]) {
        refuses(&self.node, more, code, words).await;
        assert_eq!(self.members().await, self.before, "nothing was sent to etcd");
        assert_eq!(self.rig.aws.count(Action::CreateOrUpdateTags), 0, "nothing was tagged");
    }
}

/// The agent ends with this code, says these words in its last error, and writes no environment file, nor touches one
/// that is there. Returns the error.
pub async fn refuses(node: &Node, more: &[&str], code: i32, words: &[&str]) -> String {
    let new = node.environment_file();
    let kept = new.with_file_name("kept.env");
    fs::create_dir_all(new.parent().unwrap()).unwrap();
    fs::write(&kept, "KEPT=yes\n").unwrap();
    let before = tree(&kept.with_file_name(""))[&kept];
    // Both at once: most cases wait for their deadline.
    let second = format!("--environment-file={}", kept.display());
    let second = [&[second.as_str()], more].concat();
    let runs = tokio::join!(node.agent("run", more), node.agent("run", &second));
    for run in [&runs.0, &runs.1].map(|run| run.as_ref().unwrap()) {
        assert_eq!(run.code, code, "{more:?}: {}", run.stderr);
        let error = error_of(run);
        for word in words {
            assert!(error.contains(word), "{more:?}: '{word}' is not in: {error}");
        }
        assert_eq!(run.stdout, "", "stdout is for answers");
    }
    assert!(!new.exists(), "{more:?}: nothing is written");
    assert_eq!(tree(&kept.with_file_name(""))[&kept], before, "{more:?}: not even touched");
    assert_eq!(fs::read_to_string(&kept).unwrap(), "KEPT=yes\n");
    error_of(&runs.0.unwrap())
}

/// What a person reads last: one line of the log, or the usage error.
fn error_of(run: &Run) -> String {
    let usage = || run.stderr.starts_with("error: ").then(|| run.stderr.clone());
    let line = run.stderr.lines().next_back().filter(|line| line.starts_with('E')).map(str::to_owned);
    line.or_else(usage).unwrap_or_else(|| panic!("no error: {}", run.stderr))
}

/// The agent lets etcd start with its own data: exit code 0 and a file that can only join.
async fn starts(node: &Node, more: &[&str]) -> Run {
    let _ = fs::remove_file(node.environment_file());
    let run = node.agent("run", more).await.unwrap();
    assert_eq!(run.code, 0, "{more:?}: {}", run.stderr);
    let written = node.environment().unwrap().unwrap();
    assert_eq!(written["ETCD_NAME"], node.instance);
    assert_eq!(written["ETCD_INITIAL_CLUSTER_STATE"], "existing", "{written:?}");
    run
}

async fn dry_run(node: &Node) -> Value {
    json(&node.agent("run", &["--dry-run", "--output=json"]).await.unwrap())
}

fn json(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{e}: {} {}", run.stdout, run.stderr))
}

/// Every file below a directory with its size and time.
fn tree(dir: &Path) -> BTreeMap<PathBuf, (u64, std::time::SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() {
            found.extend(tree(&entry.path()));
        } else {
            found.insert(entry.path(), (metadata.len(), metadata.modified().unwrap()));
        }
    }
    found
}

/// All that is in the files below a directory.
pub fn contents(dir: &Path) -> String {
    let read = |path: PathBuf| fs::read(path).unwrap_or_default();
    tree(dir).into_keys().map(|path| String::from_utf8_lossy(&read(path)).into_owned()).collect()
}

/// Ports that accept and say nothing, as those of a forming or a frozen etcd; closed when dropped.
fn silence(address: Ipv4Addr) -> [TcpListener; 2] {
    [2379, 2380].map(|port| TcpListener::bind((address, port)).expect("the address is the test's own"))
}

/// Listens on the peer port. A listener that the test had there a moment ago lives on in what another test starts just
/// then, between its fork and its exec.
fn listen(address: Ipv4Addr) -> TcpListener {
    let mut tries = (0..100)
        .map(|_| TcpListener::bind((address, 2380)).inspect_err(|_| std::thread::sleep(Duration::from_millis(10))));
    let free = tries.find(|bound| !matches!(bound, Err(e) if e.kind() == std::io::ErrorKind::AddrInUse));
    free.expect("it is free within a second").expect("the address is the test's own")
}

/// A peer port that answers as a test says.
pub struct Peer {
    seen: Arc<Mutex<Vec<(Instant, String, String)>>>,
    server: http::Server,
}

impl Peer {
    pub fn start(address: Ipv4Addr, answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_at(&Rendezvous::of(1), address, answer)
    }

    /// As [`Peer::start`], where no request is answered before the rendezvous has happened.
    pub fn start_at(
        rendezvous: &Arc<Rendezvous>,
        address: Ipv4Addr,
        answer: impl Fn(&str) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let seen: Arc<Mutex<Vec<(Instant, String, String)>>> = Arc::default();
        let listener = listen(address);
        let (record, rendezvous, answer) = (seen.clone(), rendezvous.clone(), Arc::new(answer));
        let server = http::serve(listener, move |request: Request| {
            record.lock().unwrap().push((Instant::now(), request.method, request.path.clone()));
            let (rendezvous, answer) = (rendezvous.clone(), answer.clone());
            async move {
                rendezvous.attend().await;
                answer(&request.path)
            }
        });
        Self { seen, server: server.unwrap() }
    }

    /// Gives the port free.
    async fn stop(self) {
        self.server.close().await;
    }

    /// When what was asked: time, method, path.
    pub fn seen(&self) -> Vec<(Instant, String, String)> {
        self.seen.lock().unwrap().clone()
    }
}

fn version() -> Answer {
    reply(200, "{\"etcdserver\":\"3.6.6\",\"etcdcluster\":\"3.6.0\"}")
}

pub fn reply(status: u16, body: &str) -> Answer {
    let headers = vec![("X-Etcd-Cluster-ID", "cdf818194e3a8c32".to_owned())];
    Answer::Reply { status, content_type: "application/json", headers, body: body.to_owned().into() }
}

/// The options of one port with TLS; `port` is `peer-` or nothing.
fn tls_options(port: &str, files: &TlsFiles) -> Vec<String> {
    let scheme = if port.is_empty() { "--etcd-client-schema=https" } else { "--etcd-peer-scheme=https" };
    [vec![scheme.to_owned()], files.options_of(port)].concat()
}

fn as_str(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}
