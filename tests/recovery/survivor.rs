//! The quorum is gone, and a member is left.

use std::time::Duration;

use super::{cluster_tag, counted, fill, recover, says, tag};
use crate::scenario::{PATIENCE, cluster_id, form, on_both_ends, on_every_etcd, tagged, whole};
use crate::support::cloud::Ec2State;
use crate::support::node::{Event, Node};
use crate::support::rig::{Rig, addresses};

on_both_ends!(r05_writes_that_are_in_the_log_alone_are_not_lost);

on_every_etcd!(r04_r22_a_survivor_becomes_a_new_cluster_and_who_comes_back_joins_it);

async fn r04_r22_a_survivor_becomes_a_new_cluster_and_who_comes_back_joins_it(rig: Rig) {
    let mut nodes = form(&rig, 3).await;
    tagged(&nodes).await;
    let old = cluster_id(&rig, &nodes).await;
    let mut client = fill(&rig, &nodes, 100).await;
    let (keys, revision) = counted(&mut client).await;
    // One is terminated, one is only switched off, and the third sees the quorum go.
    let gone = nodes.remove(0);
    rig.terminate(&gone).await;
    nodes[1].cut_power().await;
    rig.cloud.change(|world| world.stop(&nodes[1].instance));
    let yes = format!("--yes={old}");

    let run = recover(&nodes[0], "this-node", &[&yes]).await;
    assert_eq!(run.code, 78, "its own etcd runs: {}", run.stderr);
    nodes[0].shut_down().await;
    // It may come back any time: a person has to vouch for it.
    let run = recover(&nodes[0], "this-node", &[&yes]).await;
    assert_eq!(run.code, 78, "{}", run.stderr);
    assert!(run.stderr.contains("unaccounted") && run.stderr.contains(&nodes[1].instance), "{}", run.stderr);
    assert_eq!((cluster_tag(&rig), tag(&rig, "etcd-bootstrap/replaced")), (old.clone(), None));

    let despite = format!("--despite={}", nodes[1].instance);
    let run = recover(&nodes[0], "this-node", &[&yes, &despite]).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    nodes[0].boot();
    rig.judge.all_healthy(&addresses(&nodes[..1]), PATIENCE).await.unwrap();
    // Its data is of the cluster that is given up: it is set aside, and the node joins afresh.
    rig.cloud.change(|world| world.instance_mut(&nodes[1].instance).state = Ec2State::Running);
    nodes[1].boot();
    says(&nodes[1], "agent.log", "replaced-by-recovery", PATIENCE).await;
    nodes.push(rig.launch(Some(crate::scenario::GROUP)).unwrap());
    nodes[2].boot();
    whole(&rig, &nodes).await;
    assert_ne!(cluster_id(&rig, &nodes).await, old);
    let mut client = rig.judge.client(&addresses(&nodes)).await.unwrap();
    let (kept, now) = counted(&mut client).await;
    assert!(kept == keys && now > revision, "{kept} of {keys}, {now} after {revision}");
}

/// etcd puts into its database ten times a second what its log has, and all nodes lose their power in between.
async fn r05_writes_that_are_in_the_log_alone_are_not_lost(rig: Rig) {
    let nodes = form(&rig, 3).await;
    tagged(&nodes).await;
    let old = cluster_id(&rig, &nodes).await;
    let mut acknowledged = 0;
    let mut plan = String::new();
    for _ in 0..5 {
        whole(&rig, &nodes).await;
        let mut client = rig.judge.client(&addresses(&nodes)).await.unwrap();
        let writes = async {
            while client.put(format!("key-{acknowledged}"), "", None).await.is_ok() {
                acknowledged += 1;
            }
        };
        let outage = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            tokio::join!(nodes[0].cut_power(), nodes[1].cut_power(), nodes[2].cut_power());
        };
        tokio::select! { () = writes => {} () = outage => {} }
        plan = recover(&nodes[0], "this-node", &[]).await.stdout;
        if plan.contains("data-behind-log") {
            break;
        }
        nodes.iter().for_each(Node::boot);
    }
    assert!(plan.contains("data-behind-log"), "{plan}");
    for node in &nodes[1..] {
        rig.terminate(node).await;
    }
    let yes = format!("--yes={old}");
    let run = recover(&nodes[0], "this-node", &[&yes]).await;
    assert_eq!((run.code, cluster_tag(&rig)), (78, old), "{}", run.stderr);

    // As it advises.
    nodes[0].boot();
    nodes[0].wait_for(PATIENCE, |event| *event == Event::EtcdStarted).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    nodes[0].shut_down().await;
    let run = recover(&nodes[0], "this-node", &[&yes]).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    nodes[0].boot();
    rig.judge.all_healthy(&addresses(&nodes[..1]), PATIENCE).await.unwrap();
    let (kept, _) = counted(&mut rig.judge.client(&addresses(&nodes[..1])).await.unwrap()).await;
    // What only the others knew to be committed, nobody here can know.
    assert!(kept + 1 >= acknowledged, "{kept} of {acknowledged}");
}
