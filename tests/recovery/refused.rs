//! What stops a person before anything is changed, and what he is told of what he gets.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{cluster_tag, counted, fill, lose_all, recover, save, snapshot_file, tag, tool};
use crate::scenario::{cluster_id, etcd_of, form, on_one_etcd, rig_with_network, tagged, whole};
use crate::support::aws::{Action, Fault, Often};
use crate::support::node::{Node, Programs, Run};
use crate::support::rig::{Rig, addresses};

on_one_etcd!(
    r08_r09_r12_r17_r20_r27_what_is_not_whole_changes_nothing,
    r06_r21_alarms_and_authentication_are_in_the_data,
);

mod r08_an_old_tool_will_do_for_old_data_where_nobody_keeps_revisions {
    crate::scenario::tests_of! { r08_an_old_tool_will_do_for_old_data_where_nobody_keeps_revisions: v3_4 "3.4" }
}

/// One node sees AWS and none of the others, which are a quorum: whoever recovers there is told who may live.
#[tokio::test]
async fn r16_a_cluster_is_not_given_up_by_who_is_cut_off_from_it() {
    let Some(etcd) = etcd_of("3.6") else { return };
    let programs = Programs { agent: env!("CARGO_BIN_EXE_etcd-bootstrap").into(), etcd };
    let Some(rig) = rig_with_network(programs) else { return };
    let nodes = form(&rig, 3).await;
    tagged(&nodes).await;
    let old = cluster_id(&rig, &nodes).await;
    let host = |node: &Node| Arc::clone(node.imds.host.as_ref().expect("it has a network"));
    for other in &nodes[1..] {
        host(&nodes[0]).cut(other.address).unwrap();
        host(other).cut(nodes[0].address).unwrap();
    }
    nodes[0].shut_down().await;
    let before = state(&rig, &nodes[0]);
    let run = recover(&nodes[0], "this-node", &[&format!("--yes={old}")]).await;
    assert!(run.code == 78 && run.stderr.contains("reason=unaccounted"), "{} {}", run.code, run.stderr);
    for other in &nodes[1..] {
        assert!(run.stderr.contains(&format!("{}, which EC2 calls running", other.instance)), "{}", run.stderr);
    }
    assert_eq!(state(&rig, &nodes[0]), before);
    nodes.iter().for_each(|node| host(node).mend().unwrap());
    nodes[0].boot();
    whole(&rig, &nodes).await;
    assert_eq!(cluster_id(&rig, &nodes).await, old);
}

/// A group that has lost everything but a snapshot: its first node, switched off, and the id to be given up.
async fn lost(rig: &Rig, size: usize) -> (Vec<Node>, PathBuf, String) {
    let nodes = form(rig, size).await;
    tagged(&nodes).await;
    let old = cluster_id(rig, &nodes).await;
    let file = snapshot_file(rig);
    save(&mut fill(rig, &nodes, 20).await, &file).await;
    let nodes = lose_all(rig, nodes).await;
    nodes[0].shut_down().await;
    (nodes, file, old)
}

/// What etcd would find on a node's disk, and the group's tags.
fn state(rig: &Rig, node: &Node) -> (Vec<String>, String, Option<String>) {
    let entries = fs::read_dir(node.data_dir()).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
    names.retain(|name| !name.starts_with("recover."));
    names.sort();
    (names, cluster_tag(rig), tag(rig, "etcd-bootstrap/replaced"))
}

fn script(rig: &Rig, name: &str, text: &str) -> String {
    let path = rig.directory.path().join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    format!("--restore-tool={}", path.display())
}

async fn with_tool(node: &Node, file: &Path, tool: &str, more: &[&str]) -> Run {
    let from = format!("--from={}", file.display());
    // A second has one workspace.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    loop {
        let run = node.agent("recover", &[&[from.as_str(), tool], more].concat()).await.unwrap();
        // It looks once, and on a busy machine the metadata may be too slow for that.
        if !run.stderr.contains("reason=metadata-blind") {
            return run;
        }
    }
}

async fn r08_r09_r12_r17_r20_r27_what_is_not_whole_changes_nothing(rig: Rig) {
    let (nodes, file, old) = lost(&rig, 1).await;
    let (node, yes) = (&nodes[0], format!("--yes={old}"));
    let before = state(&rig, node);
    let refuses = async |file: &Path, tool: &str, more: &[&str], word: &str| {
        let run = with_tool(node, file, tool, &[&[yes.as_str()], more].concat()).await;
        assert_eq!(run.code, 78, "{word}: {}", run.stderr);
        assert!(run.stderr.contains(word), "{word}: {}", run.stderr);
        assert_eq!(state(&rig, node), before, "{word}");
    };
    let good = tool("etcdutl");
    let path = good.trim_start_matches("--restore-tool=");

    // The file.
    let bytes = fs::read(&file).unwrap();
    let broken = rig.directory.path().join("broken.db");
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    for (content, word) in [
        (&flipped[..], "another hash"),
        (&bytes[..bytes.len() - 100], "cut off"),
        // Whole sectors, without the hash: as a database that somebody copied, but not all of it.
        (&bytes[..4 * 4096], "it is cut off"),
        (b"", "cut off"),
    ] {
        fs::write(&broken, content).unwrap();
        refuses(&broken, &good, &[], word).await;
    }
    refuses(Path::new("/nowhere/snapshot.db"), &good, &[], "/nowhere/snapshot.db").await;

    // The tool.
    refuses(&file, "--restore-tool=/nowhere/etcdutl", &[], "no tool of etcd's").await;
    refuses(&file, &tool("etcdctl"), &["--bump-revision=0"], "older than the data").await;
    let help = "echo --initial-cluster-token --bump-revision";
    refuses(&file, &script(&rig, "other", "echo usage"), &[], "no 'snapshot restore'").await;
    refuses(&file, &script(&rig, "idle", help), &[], "it is not a log of cluster").await;
    let dies = format!("case $* in *--help*) {help};; *) exec timeout -s KILL 0.005 {path} \"$@\";; esac");
    refuses(&file, &script(&rig, "dies", &dies), &[], "snapshot restore").await;
    let wrong = format!("case $* in *--help*) {help};; *) exec {path} \"$@\" --initial-cluster-token=another;; esac");
    refuses(&file, &script(&rig, "wrong", &wrong), &[], "it is not a log of cluster").await;
    let lazy = format!(
        "case $* in *--help*) {help};; *) exec {path} $(echo \"$@\" | sed 's/--bump-revision=[0-9]*//; s/--mark-compacted//');; \
         esac"
    );
    refuses(&file, &script(&rig, "lazy", &lazy), &[], "its revision is").await;
    // As on a full disk, the tool cannot write all of it.
    refuses(&file, &format!("--restore-tool=prlimit --fsize=65536 {path}"), &[], "snapshot restore").await;

    // The group's tag.
    rig.aws.inject(Action::CreateOrUpdateTags, Fault::Deny, Often::Always);
    refuses(&file, &good, &[], "nothing has changed").await;
    rig.aws.heal();

    // The user: etcd's data directory is etcd's.
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        chown(node.data_dir(), Some(65534), None).unwrap();
        refuses(&file, &good, &[], "is user 65534's").await;
        chown(node.data_dir(), Some(0), None).unwrap();
    }
}

async fn r08_an_old_tool_will_do_for_old_data_where_nobody_keeps_revisions(rig: Rig) {
    let (nodes, file, old) = lost(&rig, 1).await;
    let yes = format!("--yes={old}");
    let run = with_tool(&nodes[0], &file, &tool("etcdctl"), &[&yes]).await;
    assert!(run.code == 78 && run.stderr.contains("cannot raise the revision"), "{}", run.stderr);
    let run = with_tool(&nodes[0], &file, &tool("etcdctl"), &[&yes, "--bump-revision=0"]).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    nodes[0].boot();
    whole(&rig, &nodes).await;
    let (kept, revision) = counted(&mut rig.judge.client(&addresses(&nodes)).await.unwrap()).await;
    assert!(kept == 20 && revision < 100, "{kept}, {revision}");
}

async fn r06_r21_alarms_and_authentication_are_in_the_data(mut rig: Rig) {
    rig.setup.etcd_environment.insert("ETCD_QUOTA_BACKEND_BYTES".into(), "262144".into());
    let nodes = form(&rig, 1).await;
    tagged(&nodes).await;
    let old = cluster_id(&rig, &nodes).await;
    let mut client = rig.judge.client(&addresses(&nodes)).await.unwrap();
    client.role_add("root").await.unwrap();
    client.user_add("root", "secret", None).await.unwrap();
    client.user_grant_role("root", "root").await.unwrap();
    client.auth_enable().await.unwrap();
    let options = etcd_client::ConnectOptions::new().with_user("root", "secret");
    let endpoint = format!("http://{}:2379", nodes[0].address);
    let mut client = etcd_client::Client::connect([endpoint], Some(options)).await.unwrap();
    while client.put("filler", vec![b'x'; 100_000], None).await.is_ok() {}
    let file = snapshot_file(&rig);
    save(&mut client, &file).await;
    drop(client);
    let nodes = lose_all(&rig, nodes).await;
    nodes[0].shut_down().await;

    let from = file.display().to_string();
    let plan = recover(&nodes[0], &from, &[]).await;
    for word in ["alarm       NOSPACE of member", "with authentication"] {
        assert!(plan.stdout.contains(word), "{word}: {}", plan.stdout);
    }
    let run = recover(&nodes[0], &from, &[&format!("--yes={old}")]).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    for word in ["etcdctl alarm disarm", "a user with the role root"] {
        assert!(run.stderr.lines().any(|l| l.starts_with('W') && l.contains(word)), "{word}: {}", run.stderr);
    }
    rig.setup.etcd_environment.clear();
}
