//! How a cluster begins, and begins again: the real agent on real etcd, stopped half-way, wiped, and with an old disk put
//! back. etcd derives the ids alike in every version, so the oldest and the newest must do.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::scenario::{GROUP, PATIENCE, agent, cluster_id, form, intact, on_both_ends, put, tagged, whole};
use crate::support::aws::{Action, Fault, Often};
use crate::support::etcd::until;
use crate::support::node::{Event, Node};
use crate::support::rig::Rig;

on_both_ends!(
    b02_f84_a_disk_of_the_lost_cluster_is_refused_by_the_one_founded_after_it,
    b03_f85_founders_of_an_old_generation_wait_for_the_silent_one,
    f87_a_founding_that_stopped_after_its_tag_is_finished_by_whoever_is_left,
    f87_a_founding_that_lost_its_founders_after_its_tag_is_replaced,
    f87_a_founding_whose_disks_were_lost_after_its_tag_is_replaced,
    f87_a_founding_that_never_led_makes_room_for_another,
    f87_without_the_right_to_tag_a_cluster_forms_with_the_word_of_all,
);

async fn b02_f84_a_disk_of_the_lost_cluster_is_refused_by_the_one_founded_after_it(rig: Rig) {
    let nodes = form(&rig, 3).await;
    put(&rig, &nodes).await;
    let lost = cluster_id(&rig, &nodes).await;
    tagged(&nodes).await;
    for node in &nodes {
        node.cut_power().await;
    }
    // A snapshot of the third disk is all that is left; the operator, who thinks that all is lost, deletes the tags.
    let snapshot = nodes[2].dir().join("snapshot");
    copy(&nodes[2].data_dir(), &snapshot);
    for node in &nodes {
        node.wipe_disk().unwrap();
    }
    untag(&rig);
    nodes.iter().for_each(Node::boot);
    whole(&rig, &nodes).await;
    let mut client = put(&rig, &nodes[..2]).await;
    assert_ne!(cluster_id(&rig, &nodes).await, lost, "the same founders, and another founding");

    nodes[2].cut_power().await;
    nodes[2].wipe_disk().unwrap();
    copy(&snapshot, &nodes[2].data_dir());
    let run = agent(&nodes[2], &["--deadline=10s"]).await;
    assert_eq!(run.code, 78, "{}", run.stderr);
    assert!(run.stderr.contains("other-clusters-data"), "{}", run.stderr);
    intact(&mut client).await;
}

async fn b03_f85_founders_of_an_old_generation_wait_for_the_silent_one(mut rig: Rig) {
    rig.setup.agent_arguments = vec!["--founding-grace=0s".into()];
    let nodes = form(&rig, 3).await;
    for node in &nodes {
        node.cut_power().await;
    }
    // The third has its data and is slow to come back; the tag is gone, and with it all that could tell.
    nodes[0].wipe_disk().unwrap();
    nodes[1].wipe_disk().unwrap();
    untag(&rig);
    let launched = |ago: u64| {
        rig.cloud.change(|world| {
            for node in &nodes {
                world.instance_mut(&node.instance).launched -= Duration::from_secs(ago);
            }
        });
    };
    launched(365 * 24 * 3600);
    let (one, other) = tokio::join!(agent(&nodes[0], &["--deadline=6s"]), agent(&nodes[1], &["--deadline=6s"]));
    for run in [one, other] {
        assert_eq!(run.code, 75, "{}", run.stderr);
        assert!(run.stderr.contains("founders-silent"), "{}", run.stderr);
    }
    // With its data back, the third goes on as a member that lacks its quorum; a person decides.
    nodes[2].boot();
    nodes[2].wait_for(PATIENCE, |event| *event == Event::EtcdStarted).await.unwrap();
}

async fn f87_a_founding_that_stopped_after_its_tag_is_finished_by_whoever_is_left(rig: Rig) {
    let (mut nodes, tagged) = agreed(&rig).await;
    // All are cut off before any etcd has started, and one of them is replaced.
    let lost = nodes.pop().unwrap();
    rig.terminate(&lost).await;
    nodes.push(rig.launch(Some(GROUP)).unwrap());
    nodes.iter().for_each(Node::boot);
    whole(&rig, &nodes).await;
    assert_eq!(founding_tag(&rig), tagged, "it is the same founding");
}

async fn f87_a_founding_that_lost_its_founders_after_its_tag_is_replaced(rig: Rig) {
    let (mut nodes, tagged) = agreed(&rig).await;
    for lost in nodes.drain(1..) {
        rig.terminate(&lost).await;
    }
    nodes.extend(rig.launch_many(GROUP, 2).unwrap());
    nodes.iter().for_each(Node::boot);
    whole(&rig, &nodes).await;
    assert_ne!(founding_tag(&rig), tagged);
    assert!(nodes[0].log("agent.log").contains("gave up the founding"), "{}", nodes[0].log("agent.log"));
}

async fn f87_a_founding_whose_disks_were_lost_after_its_tag_is_replaced(rig: Rig) {
    let (nodes, tagged) = agreed(&rig).await;
    for node in &nodes {
        node.wipe_disk().unwrap();
    }
    nodes.iter().for_each(Node::boot);
    whole(&rig, &nodes).await;
    assert_ne!(founding_tag(&rig), tagged);
}

async fn f87_a_founding_that_never_led_makes_room_for_another(rig: Rig) {
    let (nodes, _) = agreed(&rig).await;
    nodes[0].boot();
    until(PATIENCE, async || rig.judge.members(nodes[0].address).await.map(|_| ()).ok_or("no answer".into()))
        .await
        .unwrap();
    for node in &nodes[1..] {
        node.wipe_disk().unwrap();
    }
    nodes[0].cut_power().await;
    nodes.iter().for_each(Node::boot);
    whole(&rig, &nodes).await;
    let log = nodes[0].log("agent.log");
    assert!(log.contains("never-led-founders-lost"), "{log}");
}

async fn f87_without_the_right_to_tag_a_cluster_forms_with_the_word_of_all(mut rig: Rig) {
    rig.aws.inject(Action::CreateOrUpdateTags, Fault::Deny, Often::Always);
    rig.setup.agent_arguments = vec!["--founding-grace=0s".into()];
    rig.group(GROUP, 3);
    let nodes = rig.launch_many(GROUP, 3).unwrap();
    let (one, other) = tokio::join!(agent(&nodes[0], &["--deadline=4s"]), agent(&nodes[1], &["--deadline=4s"]));
    for run in [one, other] {
        assert_eq!(run.code, 75, "a majority is not enough: {}", run.stderr);
    }
    nodes.iter().for_each(Node::boot);
    whole(&rig, &nodes).await;
    assert!(rig.cloud.now().groups[GROUP].tags.is_empty());
}

/// Three nodes that have agreed, tagged the group and written their files; no etcd has started.
pub async fn agreed(rig: &Rig) -> (Vec<Node>, Option<String>) {
    rig.group(GROUP, 3);
    let nodes = rig.launch_many(GROUP, 3).unwrap();
    let [one, two, three] = &nodes[..] else { unreachable!("three were launched") };
    let runs = tokio::join!(agent(one, &[]), agent(two, &[]), agent(three, &[]));
    for run in [runs.0, runs.1, runs.2] {
        assert_eq!(run.code, 0, "{}", run.stderr);
    }
    let tag = founding_tag(rig);
    assert!(tag.is_some());
    (nodes, tag)
}

fn founding_tag(rig: &Rig) -> Option<String> {
    rig.cloud.now().groups[GROUP].tags.get("etcd-bootstrap/founding").cloned()
}

fn untag(rig: &Rig) {
    rig.cloud.change(|world| world.groups.get_mut(GROUP).expect("it was made").tags.clear());
}

pub fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status().expect("cp runs");
    assert!(copied.success());
}
