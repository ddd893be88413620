//! Ways back from a loss, on real etcd and with etcd's own tool: the traps R01 to R27 of ARCHITECTURE.md's table.

mod halfway;
mod refused;
mod survivor;
mod total;

use std::path::{Path, PathBuf};
use std::time::Duration;

use etcd_client::Client;

use crate::scenario::{GROUP, PATIENCE};
use crate::support::etcd::until;
use crate::support::node::{Node, Run};
use crate::support::rig::{Rig, addresses};

/// How much the revision is raised, unless somebody says otherwise.
pub const BUMP: i64 = 1_000_000_000;

/// The tool that `make test` built; `etcdctl` is too old to raise a revision.
pub fn tool(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools").join(name);
    assert!(path.exists(), "tests/tools/install restore");
    format!("--restore-tool={}", path.display())
}

/// Writes so many keys, `key-N`, and returns the client.
pub async fn fill(rig: &Rig, nodes: &[Node], keys: usize) -> Client {
    let mut client = rig.judge.client(&addresses(nodes)).await.unwrap();
    for n in 0..keys {
        client.put(format!("key-{n}"), n.to_string(), None).await.unwrap();
    }
    client
}

/// How many keys there are, and the revision.
pub async fn counted(client: &mut Client) -> (i64, i64) {
    let options = etcd_client::GetOptions::new().with_prefix().with_count_only();
    let reply = client.get("key-", Some(options)).await.unwrap();
    (reply.count(), reply.header().unwrap().revision())
}

/// A snapshot, as `etcdctl snapshot save` takes it.
async fn save(client: &mut Client, file: &Path) {
    let mut stream = client.snapshot().await.unwrap();
    let mut bytes = Vec::new();
    while let Some(part) = stream.message().await.unwrap() {
        bytes.extend_from_slice(part.blob());
    }
    std::fs::write(file, bytes).unwrap();
}

/// All instances are terminated, and as many new ones boot and wait for the cluster that the tag names.
pub async fn lose_all(rig: &Rig, nodes: Vec<Node>) -> Vec<Node> {
    let size = nodes.len();
    for node in nodes {
        rig.terminate(&node).await;
    }
    let new = rig.launch_many(GROUP, size).unwrap();
    new.iter().for_each(Node::boot);
    for node in &new {
        let waits = async || {
            let log = node.log("agent.log");
            if log.contains("cluster-tagged") { Ok(()) } else { Err(log) }
        };
        until(PATIENCE, waits).await.unwrap();
    }
    new
}

/// Runs `recover` from a file, with etcdutl.
async fn recover(node: &Node, from: &str, more: &[&str]) -> Run {
    let (from, tool) = (format!("--from={from}"), tool("etcdutl"));
    node.agent("recover", &[&[from.as_str(), tool.as_str()], more].concat()).await.unwrap()
}

fn tag(rig: &Rig, key: &str) -> Option<String> {
    rig.cloud.now().groups[GROUP].tags.get(key).cloned()
}

pub fn cluster_tag(rig: &Rig) -> String {
    tag(rig, "etcd-bootstrap/cluster-id").expect("the group is tagged")
}

fn snapshot_file(rig: &Rig) -> PathBuf {
    rig.directory.path().join("snapshot.db")
}

/// Waits until a node's log says this.
async fn says(node: &Node, log: &str, word: &str, within: Duration) {
    let said = async || {
        let text = node.log(log);
        if text.contains(word) { Ok(()) } else { Err(text) }
    };
    until(within, said).await.unwrap();
}
