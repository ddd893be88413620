//! Disks that come back in the wrong place or in pieces.

use crate::founding::copy;
use crate::scenario::{
    GROUP, PATIENCE, agent, cluster_id, form, intact, members, on_both_ends, on_one_etcd, put, whole,
};
use crate::support::node::{Event, Node};
use crate::support::rig::{Rig, addresses, environment_by_hand};

on_both_ends!(
    f48_another_clusters_data_is_refused_and_kept,
    f114_a_damaged_log_is_set_aside_while_the_others_are_a_quorum,
    b02_f86_the_newest_log_is_no_member_of_a_cluster_of_older_copies,
);

on_one_etcd!(
    b04_f88_a_copy_of_a_members_disk_is_refused_while_the_member_lives,
    f46_f49_a_database_without_its_log_is_set_aside_and_kept,
);

async fn f48_another_clusters_data_is_refused_and_kept(rig: Rig) {
    let member = form(&rig, 1).await.remove(0);
    rig.cloud.change(|world| world.set_desired(GROUP, 2));
    let node = [rig.launch(Some(GROUP)).unwrap()];
    node[0].boot_by_hand(&environment_by_hand(&node[0], &node));
    whole(&rig, &node).await;
    let other = cluster_id(&rig, &node).await;
    node[0].cut_power().await;
    let before = members(&rig, &member).await.unwrap();
    for more in [&["--deadline=20s"][..], &["--deadline=20s", "--rejoin"]] {
        let run = agent(&node[0], more).await;
        assert_eq!(run.code, 78, "{}", run.stderr);
        assert!([&other, &before.cluster_id].iter().all(|id| run.stderr.contains(*id)), "{}", run.stderr);
    }
    assert_eq!(members(&rig, &member).await.unwrap(), before);
    node[0].boot_by_hand(&environment_by_hand(&node[0], &node));
    whole(&rig, &node).await;
    assert_eq!(cluster_id(&rig, &node).await, other, "its data is as it was");
}

/// An image of a running node, or a snapshot of its volume in the launch template.
async fn b04_f88_a_copy_of_a_members_disk_is_refused_while_the_member_lives(rig: Rig) {
    let nodes = form(&rig, 3).await;
    let before = members(&rig, &nodes[1]).await.unwrap();
    nodes[0].cut_power().await;
    rig.cloud.change(|world| world.set_desired(GROUP, 4));
    let copy = rig.launch(Some(GROUP)).unwrap();
    std::fs::create_dir_all(copy.data_dir()).unwrap();
    let (from, to) = (nodes[0].data_dir().join("member"), copy.data_dir());
    let copied = std::process::Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.unwrap().success());
    // The original is off, and runs again.
    for is_on in [false, true] {
        if is_on {
            nodes[0].boot();
            whole(&rig, &nodes).await;
        }
        let run = agent(&copy, &["--deadline=20s"]).await;
        assert_eq!(run.code, 78, "{}", run.stderr);
        assert!(run.stderr.contains("disk-is-a-copy") && run.stderr.contains(&nodes[0].instance), "{}", run.stderr);
        assert_eq!(copy.environment(), Ok(None));
    }
    assert_eq!(members(&rig, &nodes[1]).await.unwrap(), before);
    rig.terminate(&nodes[0]).await;
    let run = agent(&copy, &["--deadline=20s"]).await;
    assert_eq!(run.code, 0, "the only disk that is left is no copy any more: {}", run.stderr);
}

async fn b02_f86_the_newest_log_is_no_member_of_a_cluster_of_older_copies(mut rig: Rig) {
    rig.setup.deadline = "30s".into();
    let nodes = form(&rig, 3).await;
    let mut client = put(&rig, &nodes).await;
    let copies = nodes[..2].iter().map(|node| node.dir().join("older"));
    for (node, older) in nodes.iter().zip(copies.clone()) {
        node.shut_down().await;
        copy(&node.data_dir(), &older);
        node.boot();
        whole(&rig, &nodes).await;
    }
    for n in 0..100 {
        client.put(format!("later-{n}"), "acknowledged", None).await.unwrap();
    }
    for node in &nodes {
        node.shut_down().await;
    }
    // Alone and with its peers at its own state it is nobody's past.
    let run = agent(&nodes[2], &[]).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    nodes.iter().for_each(Node::boot);
    whole(&rig, &nodes).await;
    for node in &nodes {
        node.shut_down().await;
    }
    for (node, older) in nodes.iter().zip(copies) {
        std::fs::remove_dir_all(node.data_dir()).unwrap();
        std::fs::rename(&older, node.data_dir()).unwrap();
        node.boot();
    }
    rig.judge.all_healthy(&addresses(&nodes[..2]), PATIENCE).await.unwrap();
    let run = agent(&nodes[2], &[]).await;
    assert_eq!(run.code, 78, "{}", run.stderr);
    assert!(run.stderr.contains("reason=log-ahead"), "{}", run.stderr);
    let log = nodes[2].data_dir().join("member/wal");
    assert!(log.read_dir().unwrap().next().is_some(), "its data is where it was");
}

async fn f46_f49_a_database_without_its_log_is_set_aside_and_kept(rig: Rig) {
    let nodes = form(&rig, 3).await;
    let mut client = put(&rig, &nodes[1..]).await;
    nodes[0].cut_power().await;
    std::fs::remove_dir_all(nodes[0].data_dir().join("member/wal")).unwrap();
    nodes[0].boot();
    whole(&rig, &nodes).await;
    intact(&mut client).await;
    let kept = std::fs::read_dir(nodes[0].data_dir()).unwrap().flatten();
    let mut kept = kept.filter(|entry| entry.file_name().to_string_lossy().starts_with("member."));
    assert!(kept.any(|entry| entry.path().join("snap/db").is_file()), "the old database is still there");
}

async fn f114_a_damaged_log_is_set_aside_while_the_others_are_a_quorum(rig: Rig) {
    let nodes = form(&rig, 3).await;
    let mut client = put(&rig, &nodes).await;
    client.put("marker", "to be found in the log", None).await.unwrap();
    whole(&rig, &nodes).await;
    for node in &nodes {
        node.shut_down().await;
    }
    let files = std::fs::read_dir(nodes[0].data_dir().join("member/wal")).unwrap().map(|file| file.unwrap().path());
    let log = files.filter(|file| file.extension().is_some_and(|kind| kind == "wal")).max().unwrap();
    let mut bytes = std::fs::read(&log).unwrap();
    let at = bytes.windows(22).position(|part| part == b"to be found in the log").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&log, bytes).unwrap();

    // What etcd says to it, and goes on saying.
    nodes[0].boot_by_hand(&environment_by_hand(&nodes[0], &nodes));
    nodes[0].wait_for(PATIENCE, |event| matches!(event, Event::EtcdExited { code } if *code != 0)).await.unwrap();
    nodes[0].cut_power().await;
    // Alone it keeps what it has.
    let run = agent(&nodes[0], &["--deadline=3s"]).await;
    assert_eq!(run.code, 75, "{}", run.stderr);
    assert!(run.stderr.contains("log-damaged") && run.stderr.contains("checksum"), "{}", run.stderr);
    assert_eq!(set_aside(&nodes[0]), 0);

    nodes.iter().for_each(Node::boot);
    whole(&rig, &nodes).await;
    assert!(nodes[0].log("agent.log").contains("damaged-log-aside"));
    assert_eq!(nodes.iter().map(set_aside).collect::<Vec<_>>(), [1, 0, 0]);
    intact(&mut rig.judge.client(&addresses(&nodes[..1])).await.unwrap()).await;
}

/// How many directories of old data a node has.
fn set_aside(node: &Node) -> usize {
    let names = std::fs::read_dir(node.data_dir()).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().starts_with("member.")).count()
}
