//! What is killed half-way, two who do it at once, and what starts in the middle.

use std::time::Duration;

use super::{cluster_tag, counted, fill, lose_all, recover, save, snapshot_file, tag};
use crate::scenario::{PATIENCE, cluster_id, form, on_both_ends, on_one_etcd, tagged, whole};
use crate::support::aws::{Action, Fault, Often};
use crate::support::etcd::until;
use crate::support::node::Node;
use crate::support::rig::{Rig, addresses};

on_both_ends!(r09_r19_whatever_is_killed_half_way_is_done_again);

on_one_etcd!(r01_two_recoveries_at_once_are_one, r18_a_tag_that_is_read_late_is_waited_for);

async fn lost(rig: &Rig) -> (Vec<Node>, String, String) {
    let nodes = form(rig, 3).await;
    tagged(&nodes).await;
    let old = cluster_id(rig, &nodes).await;
    let file = snapshot_file(rig);
    save(&mut fill(rig, &nodes, 50).await, &file).await;
    (lose_all(rig, nodes).await, file.display().to_string(), old)
}

/// Kills `recover` with SIGKILL once this is so.
async fn killed_when(node: &Node, from: &str, yes: &str, is_so: impl AsyncFn() -> Result<(), String>) {
    let more = [yes];
    let run = recover(node, from, &more);
    tokio::select! {
        run = run => panic!("it ended before it was killed: {}", run.stderr),
        so = until(PATIENCE, is_so) => drop(so.unwrap()),
    }
}

async fn r09_r19_whatever_is_killed_half_way_is_done_again(rig: Rig) {
    let (nodes, from, old) = lost(&rig).await;
    let node = &nodes[0];
    node.shut_down().await;
    let workspace = || async {
        let entries = std::fs::read_dir(node.data_dir()).into_iter().flatten().flatten();
        let began = entries.map(|e| e.file_name()).any(|name| name.to_string_lossy().starts_with("recover."));
        if began { Ok(()) } else { Err("no workspace yet".to_owned()) }
    };
    killed_when(node, &from, &format!("--yes={old}"), workspace).await;
    assert_eq!((cluster_tag(&rig), tag(&rig, "etcd-bootstrap/replaced")), (old.clone(), None));

    // After the tag: its cluster never ran, all wait for it, and it is what is given up next.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let retagged = async || if cluster_tag(&rig) == old { Err("no tag yet".to_owned()) } else { Ok(()) };
    killed_when(node, &from, &format!("--yes={old}"), retagged).await;
    let never = cluster_tag(&rig);
    for node in &nodes[1..] {
        let run = node.agent("run", &["--dry-run"]).await.unwrap();
        assert!(run.stdout.contains("cluster-tagged"), "{}", run.stdout);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let run = recover(node, &from, &[&format!("--yes={old}")]).await;
    assert_eq!(run.code, 78, "the tag names another now: {}", run.stderr);

    // An agent that starts in the middle finds the port taken, and the data once it is there.
    let yes = format!("--yes={never}");
    let more = [yes.as_str()];
    let (run, ()) = tokio::join!(recover(node, &from, &more), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        node.boot();
    });
    assert_eq!(run.code, 0, "{}", run.stderr);
    whole(&rig, &nodes).await;
    let replaced = tag(&rig, "etcd-bootstrap/replaced");
    assert_eq!(replaced, Some(format!("{never} {old}")));
    assert!(![never, old].contains(&cluster_tag(&rig)));
    let (kept, _) = counted(&mut rig.judge.client(&addresses(&nodes)).await.unwrap()).await;
    assert_eq!(kept, 50);
}

async fn r01_two_recoveries_at_once_are_one(rig: Rig) {
    let (nodes, from, old) = lost(&rig).await;
    for node in &nodes[..2] {
        node.shut_down().await;
    }
    // Each is silent at the other's first look.
    let vouched = [&nodes[1], &nodes[0]].map(|node| format!("--despite={}", node.instance));
    let yes = format!("--yes={old}");
    let more = vouched.each_ref().map(|despite| [yes.as_str(), despite.as_str()]);
    let (one, other) = tokio::join!(recover(&nodes[0], &from, &more[0]), recover(&nodes[1], &from, &more[1]));
    let codes = [one.code, other.code];
    assert!(codes == [0, 78] || codes == [78, 0], "{}\n{}", one.stderr, other.stderr);
    let stopped = if one.code == 0 { &other } else { &one };
    let why = ["other-recovers", "not-given-up", "survivor-runs"];
    assert!(why.iter().any(|why| stopped.stderr.contains(why)), "{}", stopped.stderr);
    nodes.iter().take(2).for_each(Node::boot);
    whole(&rig, &nodes).await;
    assert_eq!(cluster_id(&rig, &nodes).await, cluster_tag(&rig));
}

async fn r18_a_tag_that_is_read_late_is_waited_for(rig: Rig) {
    let (nodes, from, old) = lost(&rig).await;
    nodes[0].shut_down().await;
    // By then the past is of this group too.
    tokio::time::sleep(Duration::from_secs(3)).await;
    rig.aws.inject(Action::DescribeAutoScalingGroups, Fault::Lag(Duration::from_secs(3)), Often::Always);
    let run = recover(&nodes[0], &from, &[&format!("--yes={old}")]).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    rig.aws.heal();
    nodes[0].boot();
    whole(&rig, &nodes).await;
}
