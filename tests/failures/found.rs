//! How a cluster begins, where a part of the founders is late, silent or wiped.

use std::time::Duration;

use crate::founding::agreed;
use crate::scenario::{GROUP, PATIENCE, agent, cluster_id, form, members, on_both_ends, on_every_etcd, tagged, whole};
use crate::support::child::Signal;
use crate::support::etcd::until;
use crate::support::node::Node;
use crate::support::rig::{Rig, addresses};

on_every_etcd!(
    f04_f46_a_lost_disk_after_a_power_cut_founds_nothing_again,
    f12b_f12c_late_founders_start_what_was_agreed,
);

on_both_ends!(
    f03_f08_f09_a_silent_cluster_without_a_tag_is_no_absent_one,
    f11_another_group_on_the_same_addresses_is_another_cluster,
);

async fn f03_f08_f09_a_silent_cluster_without_a_tag_is_no_absent_one(mut rig: Rig) {
    let mut nodes = form(&rig, 3).await;
    tagged(&nodes).await;
    for dead in nodes.drain(1..) {
        rig.terminate(&dead).await;
    }
    rig.cloud.change(|world| {
        world.groups.get_mut(GROUP).expect("it was made").tags.clear();
        world.instance_mut(&nodes[0].instance).launched -= Duration::from_secs(3600);
    });
    // The last survivor is frozen: its ports accept and say nothing, as those of an early founder do.
    nodes[0].signal(Signal::Freeze);
    rig.setup.agent_arguments = vec!["--founding-grace=0s".into()];
    let fresh = rig.launch_many(GROUP, 2).unwrap();
    let (a, b) = tokio::join!(fresh[0].agent("run", &["--deadline=6s"]), fresh[1].agent("run", &["--deadline=6s"]));
    for run in [a, b].map(Result::unwrap) {
        assert_eq!(run.code, 75, "{}", run.stderr);
        assert!(run.stderr.contains(&nodes[0].instance), "the silent one is named: {}", run.stderr);
    }
    assert!(fresh.iter().all(|node| node.environment() == Ok(None)));
    // Launched with the others, it would be a founder that never came up, and two of three are enough.
    rig.cloud.change(|world| world.instance_mut(&nodes[0].instance).launched += Duration::from_secs(3600));
    fresh.iter().for_each(Node::boot);
    rig.judge.all_healthy(&addresses(&fresh), PATIENCE).await.unwrap();
}

/// Up to 3.5, an idle cluster's member that comes back alone says `not_decided` and lists founders without client URLs.
async fn f04_f46_a_lost_disk_after_a_power_cut_founds_nothing_again(rig: Rig) {
    let nodes = form(&rig, 3).await;
    let id = cluster_id(&rig, &nodes).await;
    tagged(&nodes).await;
    for node in &nodes {
        node.cut_power().await;
    }
    nodes[0].wipe_disk().unwrap();
    // As /run is after a reboot.
    std::fs::remove_file(nodes[0].environment_file()).unwrap();
    nodes[1].boot();
    until(PATIENCE, async || members(&rig, &nodes[1]).await.map(|_| ())).await.unwrap();
    let run = agent(&nodes[0], &["--deadline=3s"]).await;
    assert_eq!(run.code, 75, "{}", run.stderr);
    assert_eq!(nodes[0].environment(), Ok(None));
    nodes[2].boot();
    nodes[0].boot();
    whole(&rig, &nodes).await;
    assert_eq!(cluster_id(&rig, &nodes).await, id);
}

async fn f11_another_group_on_the_same_addresses_is_another_cluster(rig: Rig) {
    let node = form(&rig, 1).await.remove(0);
    let first = cluster_id(&rig, std::slice::from_ref(&node)).await;
    rig.terminate(&node).await;
    rig.group("etcd-b", 1);
    let nodes = [rig.launch_at(Some("etcd-b"), node.address).unwrap()];
    nodes[0].boot();
    whole(&rig, &nodes).await;
    assert_ne!(cluster_id(&rig, &nodes).await, first, "a member that was left behind cannot slip in");
}

async fn f12b_f12c_late_founders_start_what_was_agreed(rig: Rig) {
    let (nodes, _) = agreed(&rig).await;
    nodes[0].boot();
    until(PATIENCE, async || members(&rig, &nodes[0]).await.map(|_| ())).await.unwrap();
    assert!(!rig.judge.is_healthy(nodes[0].address).await, "its client port says nothing (E17)");

    let run = agent(&nodes[1], &["--deadline=10s"]).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    let record = std::fs::read(nodes[1].environment_file().with_extension("observation.json")).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    let mut probes = record["observation"]["probes"].as_array().unwrap().iter();
    let early = probes.find(|probe| probe["instance"] == nodes[0].instance).unwrap();
    assert!(early["client"].is_null(), "nobody waits for its client port: {early}");
    let written = nodes[1].environment().unwrap().unwrap();
    assert_eq!(written["ETCD_INITIAL_CLUSTER_STATE"], "new", "there is no cluster yet that it could join");
    nodes[1].boot();
    rig.judge.all_healthy(&addresses(&nodes[..2]), PATIENCE).await.unwrap();
    // Now there is one, and the last founder has missed its founding.
    nodes[2].boot();
    whole(&rig, &nodes).await;
    assert_eq!(nodes[2].environment().unwrap().unwrap()["ETCD_INITIAL_CLUSTER_STATE"], "existing");
}
