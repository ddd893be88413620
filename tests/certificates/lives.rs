//! Certificates of 20 seconds, over several lives, under writes.

use std::time::{Duration, Instant};

use super::{certified, never_restarted, shown};
use crate::scenario::{GROUP, PATIENCE, cluster_id, intact, on_both_ends, put, whole};
use crate::support::aws::{Action, Fault, Often};
use crate::support::node::Event;
use crate::support::rig::{Rig, addresses};

on_both_ends!(
    c01_c02_three_lives_under_writes_with_the_same_etcds,
    c04_all_have_expired_and_heal_when_kms_is_back,
    c05_a_group_forms_is_replaced_and_starts_again_without_aws,
);

const LIFE: &str = "20s";

async fn c05_a_group_forms_is_replaced_and_starts_again_without_aws(mut rig: Rig) {
    let mut nodes = certified(&mut rig, 3, "14d").await;
    let mut client = put(&rig, &nodes).await;
    let id = cluster_id(&rig, &nodes).await;
    assert_eq!((rig.aws.count(Action::GetPublicKey), rig.aws.count(Action::Sign)), (6, 3));
    let dead = nodes.remove(0);
    rig.terminate(&dead).await;
    nodes.push(rig.launch(Some(GROUP)).unwrap());
    nodes[2].boot();
    whole(&rig, &nodes).await;
    // One that has a certificate asks AWS for nothing.
    rig.aws.inject_everywhere(&Fault::Drop, Often::Always);
    rig.aws.forget_calls();
    nodes[1].reboot().await;
    whole(&rig, &nodes).await;
    assert_eq!((rig.aws.count(Action::GetPublicKey), rig.aws.count(Action::Sign)), (0, 0));
    assert_eq!(cluster_id(&rig, &nodes).await, id);
    intact(&mut client).await;
}

async fn c01_c02_three_lives_under_writes_with_the_same_etcds(mut rig: Rig) {
    let nodes = certified(&mut rig, 3, LIFE).await;
    let mut client = rig.judge.client(&addresses(&nodes)).await.unwrap();
    let before = (shown(&nodes[0], 2379).await, shown(&nodes[0], 2380).await);
    let began = Instant::now();
    let mut written = 0;
    while began.elapsed() < Duration::from_secs(65) {
        for node in &nodes {
            let run = node.agent("certificate", &[]).await.unwrap();
            assert_eq!(run.code, 0, "{}", run.stderr);
        }
        client.put("lives", written.to_string(), None).await.expect("writes go on");
        written += 1;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let after = (shown(&nodes[0], 2379).await, shown(&nodes[0], 2380).await);
    assert_ne!(before.0, after.0, "the client port shows the new one");
    assert_ne!(before.1, after.1, "the peer port shows the new one");
    whole(&rig, &nodes).await;
    assert!(nodes.iter().all(never_restarted), "the same processes all the time");
    let signed = rig.aws.count(Action::Sign);
    assert!(signed >= 3 * 4, "each node has had a new one three times at least: {signed}");
}

async fn c04_all_have_expired_and_heal_when_kms_is_back(mut rig: Rig) {
    let nodes = certified(&mut rig, 3, LIFE).await;
    put(&rig, &nodes).await;
    for action in [Action::Sign, Action::GetPublicKey] {
        rig.aws.inject(action, Fault::Drop, Often::Always);
    }
    tokio::time::sleep(Duration::from_secs(45)).await;
    // It starts with what it has, and rejoins when that is good again.
    nodes[2].reboot().await;
    nodes[2].wait_for(PATIENCE, |event| *event == Event::EtcdStarted).await.unwrap();
    let run = nodes[0].agent("certificate", &[]).await.unwrap();
    assert_eq!(run.code, 69, "less than a third is left: {}", run.stderr);
    rig.aws.heal();
    let began = Instant::now();
    for node in &nodes {
        let run = node.agent("certificate", &[]).await.unwrap();
        assert_eq!(run.code, 0, "{}", run.stderr);
    }
    whole(&rig, &nodes).await;
    println!("whole {:.1} s after KMS was back", began.elapsed().as_secs_f64());
    assert!(nodes[..2].iter().all(never_restarted), "only the one that was rebooted");
    intact(&mut rig.judge.client(&addresses(&nodes)).await.unwrap()).await;
}
