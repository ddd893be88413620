//! All instances are gone, and a snapshot is left.

use etcd_client::WatchOptions;

use super::{BUMP, cluster_tag, counted, fill, lose_all, recover, tag};
use crate::scenario::{cluster_id, form, on_every_etcd, tagged, whole};
use crate::support::node::Node;
use crate::support::rig::{Rig, addresses};

on_every_etcd!(r01_r22_a_snapshot_becomes_a_new_cluster_and_all_others_join_it);

async fn r01_r22_a_snapshot_becomes_a_new_cluster_and_all_others_join_it(rig: Rig) {
    let nodes = form(&rig, 3).await;
    tagged(&nodes).await;
    let old = cluster_id(&rig, &nodes).await;
    let mut client = fill(&rig, &nodes, 100).await;
    let (keys, revision) = counted(&mut client).await;
    // As the timer takes it, by whose turn it is; a follower is among two.
    let place = rig.directory.path().join("snapshots");
    std::fs::create_dir(&place).unwrap();
    let place = format!("--snapshot-to={}", place.display());
    for node in &nodes[..2] {
        let run = node.agent("snapshot", &[&place]).await.unwrap();
        assert_eq!(run.code, 0, "{}", run.stderr);
    }
    let nodes = lose_all(&rig, nodes).await;
    let (from, place) = ("latest", [place.as_str()]);

    // The plan changes nothing, and says what stands in the way: etcd's unit runs, and its agent waits on the port.
    let plan = recover(&nodes[0], from, &place).await;
    assert_eq!(plan.code, 0, "{}", plan.stderr);
    for word in [&old, &format!("revision {revision}"), "in the way: ", "etcd's unit"] {
        assert!(plan.stdout.contains(word), "{word}: {}", plan.stdout);
    }
    nodes[0].shut_down().await;
    let plan = recover(&nodes[0], from, &place).await;
    assert!(plan.stdout.contains(&format!("nothing stands in the way. What is written after revision {revision}")));
    assert_eq!((cluster_tag(&rig), tag(&rig, "etcd-bootstrap/replaced")), (old.clone(), None));

    let yes = format!("--yes={old}");
    let run = recover(&nodes[0], from, &[place[0], &yes]).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    nodes[0].boot();
    whole(&rig, &nodes).await;
    let new = cluster_id(&rig, &nodes).await;
    assert_eq!((cluster_tag(&rig), tag(&rig, "etcd-bootstrap/replaced")), (new.clone(), Some(old.clone())));
    assert_ne!(new, old);

    let mut client = rig.judge.client(&addresses(&nodes)).await.unwrap();
    let (kept, now) = counted(&mut client).await;
    assert_eq!(kept, keys);
    assert!(now >= revision + BUMP, "{now} after {revision}");
    // Who watches from a revision of before is told to read anew (kubernetes#107457).
    let options = WatchOptions::new().with_start_revision(revision - 10);
    let mut stream = client.watch("key-", Some(options.with_prefix())).await.unwrap();
    let reply = loop {
        let reply = stream.message().await.unwrap().expect("the stream lives");
        if !reply.created() || reply.canceled() {
            break reply;
        }
    };
    assert!(reply.canceled() && reply.compact_revision() >= revision, "{reply:?}");
    client.put("key-after", "written", None).await.unwrap();
    assert_again(&rig, &nodes, place[0], &new).await;
}

/// While the new cluster lives, nothing is recovered any more.
async fn assert_again(rig: &Rig, nodes: &[Node], place: &str, new: &str) {
    let run = recover(&nodes[1], "latest", &[place, &format!("--yes={new}")]).await;
    assert_eq!(run.code, 78, "{}", run.stderr);
    assert!(run.stderr.contains("cluster-lives"), "{}", run.stderr);
    assert_eq!(cluster_tag(rig), *new);
}
