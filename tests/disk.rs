//! Reads data directories that real etcds have written, each version that is on this machine.
//!
//! What the code under test says is compared with what the running etcd says of itself.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant, SystemTime};

use etcd_bootstrap::disk::{read_own_data, set_aside};
use etcd_bootstrap::model::{FounderEntry, OwnData};
use serde_json::Value;
use tempfile::TempDir;

/// etcd refuses membership changes for five seconds after a leader has started.
const PATIENCE: Duration = Duration::from_secs(40);

/// The etcds of this machine: the distribution's, and those that the tools directory builds.
fn etcds() -> Vec<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/etcd");
    let mut found = vec![PathBuf::from("/usr/bin/etcd")];
    if let Ok(entries) = fs::read_dir(built) {
        found.extend(entries.flatten().map(|entry| entry.path().join("etcd")));
    }
    // The distribution's may be among the built ones under another name; a broken link is none.
    let mut found: Vec<PathBuf> = found.into_iter().filter_map(|path| path.canonicalize().ok()).collect();
    found.sort();
    found.dedup();
    assert!(!found.is_empty(), "no etcd on this machine");
    found
}

/// An address of the loopback network that no other test of this machine uses.
fn unique_address() -> String {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let pid = std::process::id();
    let last = NEXT.fetch_add(1, Ordering::Relaxed);
    assert!(last < 255, "more etcds than addresses");
    format!("127.{}.{}.{last}", 100 + pid / 256 % 100, pid % 256)
}

/// Killed when dropped, as by kill -9.
struct Etcd {
    process: Child,
    address: String,
    peer_url: String,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Node {
    binary: PathBuf,
    name: &'static str,
    address: String,
    data_dir: PathBuf,
    wal_dir: Option<PathBuf>,
}

impl Node {
    fn new(binary: &Path, scratch: &TempDir, name: &'static str) -> Self {
        let data_dir = scratch.path().join(name);
        Self { binary: binary.to_owned(), name, address: unique_address(), data_dir, wal_dir: None }
    }

    fn peer_url(&self) -> String {
        format!("http://{}:2380", self.address)
    }

    fn entry(&self) -> String {
        format!("{}={}", self.name, self.peer_url())
    }

    fn founder(&self) -> FounderEntry {
        FounderEntry { name: self.name.to_owned(), peer_urls: vec![self.peer_url()] }
    }

    fn start(&self, state: &str, cluster: &[&Node]) -> Etcd {
        let entries: Vec<String> = cluster.iter().map(|node| node.entry()).collect();
        let (peer, client) = (self.peer_url(), format!("http://{}:2379", self.address));
        let mut command = Command::new(&self.binary);
        command.args(["--name", self.name, "--initial-cluster-state", state]);
        command.args(["--initial-cluster", &entries.join(",")]);
        command.args(["--initial-advertise-peer-urls", &peer, "--listen-peer-urls", &peer]);
        command.args(["--advertise-client-urls", &client, "--listen-client-urls", &client]);
        command.arg("--data-dir").arg(&self.data_dir);
        if let Some(wal_dir) = &self.wal_dir {
            command.arg("--wal-dir").arg(wal_dir);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("etcd is executable");
        Etcd { process, address: self.address.clone(), peer_url: peer }
    }

    fn read(&self) -> OwnData {
        read_own_data(&self.data_dir, self.wal_dir.as_deref())
    }
}

impl Etcd {
    /// Cluster id and own member id, by the peer port, which answers without a leader too.
    fn ids(&self) -> (u64, u64) {
        eventually("the peer port answers", || {
            let (head, body) = ask(&self.address, 2380, "GET", "/members", "")?;
            let header = head.lines().find_map(|line| line.strip_prefix("X-Etcd-Cluster-Id: "))?;
            let cluster = u64::from_str_radix(header.trim(), 16).ok()?;
            let members: Value = serde_json::from_str(&body).ok()?;
            let mine = |member: &&Value| member["peerURLs"][0] == self.peer_url.as_str();
            Some((cluster, members.as_array()?.iter().find(mine)?["id"].as_u64()?))
        })
    }

    fn wait_until_healthy(&self) {
        eventually("etcd is healthy", || {
            let (_, body) = ask(&self.address, 2379, "GET", "/health", "")?;
            body.contains(r#""health":"true""#).then_some(())
        });
    }

    fn put(&self) {
        let body = r#"{"key":"YQ==","value":"Yg=="}"#;
        eventually("a key is written", || {
            let (head, _) = ask(&self.address, 2379, "POST", "/v3/kv/put", body)?;
            head.contains(" 200 ").then_some(())
        });
    }

    fn add(&self, node: &Node) {
        let body = format!(r#"{{"peerURLs":["{}"]}}"#, node.peer_url());
        eventually("the member is added", || {
            let (head, _) = ask(&self.address, 2379, "POST", "/v3/cluster/member/add", &body)?;
            head.contains(" 200 ").then_some(())
        });
    }
}

fn ask(address: &str, port: u16, method: &str, path: &str, body: &str) -> Option<(String, String)> {
    let mut stream = TcpStream::connect((address, port)).ok()?;
    // A client port without a leader accepts and stays silent (E17); a change asked twice is refused.
    let patience = Duration::from_secs(if method == "GET" { 1 } else { 10 });
    stream.set_read_timeout(Some(patience)).ok()?;
    let length = body.len();
    let request = format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.to_owned(), body.to_owned()))
}

/// Asks again until there is an answer: a real process on a real clock has no other sign to give.
fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[derive(Debug, PartialEq)]
struct Told {
    ids: (u64, u64),
    had_leader: bool,
    founders: Vec<FounderEntry>,
}

fn whole(data: OwnData) -> Told {
    match data {
        OwnData::Log { cluster_id, member_id, had_leader, founders } => {
            Told { ids: (cluster_id.0, member_id.0), had_leader, founders }
        }
        OwnData::Empty | OwnData::NoLog | OwnData::Unreadable { .. } => {
            panic!("no log was read: {data:?}")
        }
    }
}

/// All versions at the same time: they mostly wait.
fn for_each_etcd(test: impl Fn(&Path, &TempDir) + Sync) {
    std::thread::scope(|scope| {
        for binary in etcds() {
            let (name, test) = (binary.display().to_string(), &test);
            let run = move || test(&binary, &tempfile::tempdir().expect("a temporary directory"));
            // The thread's name is what a panic tells.
            std::thread::Builder::new().name(name).spawn_scoped(scope, run).expect("a thread");
        }
    });
}

fn only_segment(node: &Node) -> PathBuf {
    node.data_dir.join("member/wal/0000000000000000-0000000000000000.wal")
}

#[test]
fn a_single_node_had_a_leader_and_its_ids_are_those_it_tells() {
    for_each_etcd(|binary, scratch| {
        let node = Node::new(binary, scratch, "a");
        assert_eq!(node.read(), OwnData::Empty);
        let etcd = node.start("new", &[&node]);
        etcd.wait_until_healthy();
        etcd.put();
        let expected = Told { ids: etcd.ids(), had_leader: true, founders: vec![node.founder()] };
        assert_eq!(whole(node.read()), expected, "while it runs");
        drop(etcd);
        assert_eq!(whole(node.read()), expected, "after kill -9");
        let again = node.start("new", &[&node]);
        again.wait_until_healthy();
        drop(again);
        assert_eq!(whole(node.read()), expected, "after a restart");
    });
}

#[test]
fn a_founder_left_alone_never_had_a_leader_and_lists_all_founders() {
    for_each_etcd(|binary, scratch| {
        let [a, b, c] = ["a", "b", "c"].map(|name| Node::new(binary, scratch, name));
        let etcd = b.start("new", &[&a, &b, &c]);
        let ids = etcd.ids();
        // Several elections must have failed, as on a node that waited for its fellows.
        std::thread::sleep(Duration::from_secs(4));
        drop(etcd);
        let mut read = whole(b.read());
        read.founders.sort_by(|one, other| one.name.cmp(&other.name));
        let founders = vec![a.founder(), b.founder(), c.founder()];
        assert_eq!(read, Told { ids, had_leader: false, founders });
    });
}

#[test]
fn founders_that_formed_a_cluster_all_had_a_leader() {
    for_each_etcd(|binary, scratch| {
        let nodes = ["a", "b", "c"].map(|name| Node::new(binary, scratch, name));
        let all: Vec<&Node> = nodes.iter().collect();
        let etcds: Vec<Etcd> = nodes.iter().map(|node| node.start("new", &all)).collect();
        etcds.iter().for_each(Etcd::wait_until_healthy);
        for (node, etcd) in nodes.iter().zip(&etcds) {
            let read = whole(node.read());
            assert_eq!((read.ids, read.had_leader, read.founders.len()), (etcd.ids(), true, 3));
        }
    });
}

#[test]
fn a_member_that_joined_had_a_leader_and_lists_no_founders() {
    for_each_etcd(|binary, scratch| {
        let [a, b] = ["a", "b"].map(|name| Node::new(binary, scratch, name));
        let first = a.start("new", &[&a]);
        first.wait_until_healthy();
        first.add(&b);
        let second = b.start("existing", &[&a, &b]);
        second.wait_until_healthy();
        assert_eq!(first.ids().0, second.ids().0);
        let expected = Told { ids: second.ids(), had_leader: true, founders: vec![] };
        drop((first, second));
        assert_eq!(whole(b.read()), expected);
    });
}

#[test]
fn a_log_of_its_own_directory_is_found_there_only() {
    for_each_etcd(|binary, scratch| {
        let mut node = Node::new(binary, scratch, "a");
        node.wal_dir = Some(scratch.path().join("log"));
        let etcd = node.start("new", &[&node]);
        etcd.wait_until_healthy();
        let ids = etcd.ids();
        drop(etcd);
        assert_eq!(whole(node.read()).ids, ids);
        assert_eq!(read_own_data(&node.data_dir, None), OwnData::NoLog);
    });
}

#[test]
fn a_first_start_that_failed_leaves_a_backend_without_a_log() {
    for_each_etcd(|binary, scratch| {
        let [a, b] = ["a", "b"].map(|name| Node::new(binary, scratch, name));
        let mut etcd = b.start("existing", &[&a, &b]);
        let status = etcd.process.wait().expect("it is our child");
        assert!(!status.success());
        assert_eq!(b.read(), OwnData::NoLog);
    });
}

#[test]
fn data_set_aside_lets_etcd_start_afresh() {
    for_each_etcd(|binary, scratch| {
        let node = Node::new(binary, scratch, "a");
        let run = || {
            let etcd = node.start("new", &[&node]);
            etcd.wait_until_healthy();
            etcd.ids()
        };
        let ids = run();
        let aside = set_aside(&node.data_dir, None, SystemTime::now()).expect("etcd is dead");
        assert_eq!(node.read(), OwnData::Empty);
        assert_eq!(ids, run());
        // What was set aside is still a whole data directory.
        let copy = scratch.path().join("copy");
        fs::create_dir(&copy).expect("making a directory");
        fs::rename(&aside, copy.join("member")).expect("renaming");
        assert_eq!(whole(read_own_data(&copy, None)).ids, ids);
    });
}

#[test]
fn a_real_log_cut_or_flipped_never_reads_as_empty_nor_as_another_member() {
    for_each_etcd(|binary, scratch| {
        let node = Node::new(binary, scratch, "a");
        let etcd = node.start("new", &[&node]);
        etcd.wait_until_healthy();
        let ids = etcd.ids();
        drop(etcd);
        let whole_log = fs::read(only_segment(&node)).expect("etcd wrote it");
        let check = |contents: &[u8], what: &str| {
            fs::write(only_segment(&node), contents).expect("the directory is ours");
            match node.read() {
                OwnData::Unreadable { .. } => false,
                OwnData::Log { cluster_id, member_id, .. } => {
                    assert_eq!((cluster_id.0, member_id.0), ids, "{what}");
                    true
                }
                data @ (OwnData::Empty | OwnData::NoLog) => panic!("{what}: {data:?}"),
            }
        };
        let cut: Vec<bool> = (0..200).map(|length| check(&whole_log[..length], &format!("cut at {length}"))).collect();
        // Unreadable up to the end of the metadata, whole from there on.
        assert!(cut.contains(&true) && !cut[0] && cut.is_sorted(), "{cut:?}");
        let flips = 0..200 * 8;
        let readable = flips.filter(|bit| {
            let mut flipped = whole_log[..4096].to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            check(&flipped, &format!("bit {bit}"))
        });
        assert!(readable.count() > 0);
    });
}
