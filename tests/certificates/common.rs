//! What the tests of traps are made of: nodes whose etcd never runs, and their files.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::SystemTime;

use etcd_bootstrap::tls::{self, Usage};

use crate::cli;
use crate::scenario::GROUP;
use crate::support::node::{Node, Run};
use crate::support::rig::Rig;

/// Instances, off, of a group whose certificates two keys of KMS sign.
pub fn some(size: usize) -> (Rig, Vec<Node>) {
    let mut rig = cli::rig();
    rig.certify();
    rig.group(GROUP, u32::try_from(size).unwrap());
    let nodes = rig.launch_many(GROUP, size).unwrap();
    (rig, nodes)
}

pub fn node_pem(node: &Node) -> String {
    fs::read_to_string(node.certificates().join("node.pem")).unwrap()
}

/// `certificate` with these options, which ends well.
pub async fn issues(node: &Node, more: &[&str]) -> Run {
    let run = node.agent("certificate", more).await.unwrap();
    assert_eq!(run.code, 0, "{more:?}: {}", run.stderr);
    run
}

/// Whether node.pem is a pair, by the members' authorities, for this node, now.
pub fn good_for(node: &Node) -> Result<(), String> {
    let names = [node.address.to_string(), "127.0.0.1".to_owned(), "localhost".to_owned()];
    names.iter().find_map(|name| wrong_with(node, name)).map_or(Ok(()), Err)
}

/// What those who trust members.pem would refuse where they call the node so.
pub fn wrong_with(node: &Node, name: &str) -> Option<String> {
    let authorities = fs::read_to_string(node.certificates().join("members.pem")).unwrap();
    tls::check(&node_pem(node), &authorities, Usage::Both(name), SystemTime::now()).err()
}

/// The files that the agent issues, with the record of the authorities: their mode and what is in them.
pub fn snapshot(node: &Node) -> BTreeMap<String, (u32, String)> {
    let entries = fs::read_dir(node.certificates()).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.chain([node.state_dir().join("authorities.json")]);
    let read = |path: PathBuf| {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        (path.file_name().unwrap().to_string_lossy().into_owned(), (mode, fs::read_to_string(&path).unwrap()))
    };
    files.map(read).collect()
}
