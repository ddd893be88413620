//! Which etcd will start, as far as it says.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::{alone, json, starts, with_data};
use crate::support::node::Node;

#[tokio::test]
async fn f61_an_etcd_that_does_not_tell_its_version_is_warned_of_once_and_costs_little() {
    let (_rig, node) = alone();
    let program = |name, script| program(&node, name, script);
    let cases = [
        ("--etcd-binary=/nowhere/etcd".to_owned(), "/nowhere/etcd for its version: No such file"),
        (program("other", "echo sleep 9.1; exit 1"), "it does not answer as an etcd"),
        (program("endless", "exec yes"), "it does not answer as an etcd"),
        (program("hangs", "exec sleep 600"), "no answer within 2 s"),
        ("--etcd-version=unknown".to_owned(), "--etcd-version is unknown"),
    ];
    for (option, why) in cases {
        let run = node.agent("run", &[&option, "--deadline=30s"]).await.unwrap();
        assert_eq!(run.code, 0, "{option}: {}", run.stderr);
        let warnings = run.stderr.lines().filter(|line| line.starts_with('W') && line.contains(why)).count();
        assert_eq!(warnings, 1, "{option}: {}", run.stderr);
    }
    for version in ["3.6.16", "v3.6.16", "3.7.0-rc.1"] {
        let option = format!("--etcd-version={version}");
        let report = json(&node.agent("run", &[&option, "--dry-run", "--output=json"]).await.unwrap());
        assert_eq!(report["etcd"], version.trim_start_matches('v').trim_end_matches("-rc.1"));
    }
}

#[tokio::test]
async fn f51_a_node_with_data_does_not_ask_its_etcd() {
    let (_rig, node) = with_data().await;
    let asked = node.dir().join("asked");
    let run = starts(&node, &[&program(&node, "tells", &format!("echo >{}; exec sleep 600", asked.display()))]).await;
    assert!(!asked.exists() && !run.stderr.contains("version"), "{}", run.stderr);
}

/// An etcd that is this script, as the option that names it.
fn program(node: &Node, name: &str, script: &str) -> String {
    let path = node.dir().join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    format!("--etcd-binary={}", path.display())
}
