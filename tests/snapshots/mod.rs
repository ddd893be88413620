//! Snapshots of real etcd: in a directory, and in S3 as moto and versitygw have it.

mod bucket;
mod directory;
mod trouble;

use std::path::{Path, PathBuf};

use ring::digest::{SHA256, digest};

use crate::support::etcd::Judge;
use crate::support::node::{Node, Run};
use crate::support::rig::{Rig, addresses};

/// A slot that does not end while a test runs.
const ONE_SLOT: &str = "--snapshot-every=1000days";

/// Fills the cluster with so many MiB that do not compress.
async fn fill(rig: &Rig, nodes: &[Node], mebibytes: usize) {
    let mut client = rig.judge.client(&addresses(nodes)).await.unwrap();
    for n in 0..mebibytes {
        let value: Vec<u8> = (0..1 << 20).map(|_| fastrand::u8(..)).collect();
        client.put(format!("large-{n}"), value, None).await.unwrap();
    }
}

/// Which of the nodes leads.
async fn leader(judge: &Judge, nodes: &[Node]) -> usize {
    let mut client = judge.client(&addresses(&nodes[..1])).await.unwrap();
    let leader = client.status().await.unwrap().leader();
    for (n, node) in nodes.iter().enumerate() {
        let mut client = judge.client(&addresses([node])).await.unwrap();
        if client.status().await.unwrap().header().unwrap().member_id() == leader {
            return n;
        }
    }
    panic!("nobody leads")
}

/// `snapshot` on this node.
async fn snapshot(node: &Node, to: &str, more: &[&str]) -> Run {
    let to = format!("--snapshot-to={to}");
    node.agent("snapshot", &[&[to.as_str()], more].concat()).await.unwrap()
}

/// All files below a directory, by their names there.
pub fn files(directory: &Path) -> Vec<String> {
    fn below(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { below(&path, found) } else { found.push(path) }
        }
    }
    let mut found = Vec::new();
    below(directory, &mut found);
    let mut names: Vec<String> =
        found.iter().map(|path| path.strip_prefix(directory).unwrap().display().to_string()).collect();
    names.sort();
    names
}

/// Its end is the hash of the rest, as etcd's own tools have it.
pub fn assert_whole(bytes: &[u8], what: &str) {
    let (database, hash) = bytes.split_at(bytes.len() - 32);
    assert!(digest(&SHA256, database).as_ref() == hash, "{what} is whole");
}
