//! etcds of several versions in one group, for real: how an upgrade goes, and who is refused before it does harm.

use std::path::PathBuf;

use etcd_client::DowngradeOptions;

use crate::scenario::{GROUP, PATIENCE, etcd_of, form, intact, put, rig, whole};
use crate::support::etcd::until;
use crate::support::node::{Event, Node};
use crate::support::rig::{Rig, addresses};

/// The newest etcd of each of these lines; None where the machine lacks one.
fn etcds<const N: usize>(lines: [&str; N]) -> Option<[PathBuf; N]> {
    lines.into_iter().map(etcd_of).collect::<Option<Vec<_>>>()?.try_into().ok()
}

/// Takes the oldest node away and lets one with the rig's present etcd take its place; that one is the last.
async fn replace(rig: &Rig, nodes: &mut Vec<Node>) {
    let dead = nodes.remove(0);
    rig.terminate(&dead).await;
    nodes.push(rig.launch(Some(GROUP)).unwrap());
    nodes.last().unwrap().boot();
    whole(rig, nodes).await;
}

/// The agent of a node that would start this etcd refuses for this reason, and nobody hears of it.
async fn is_refused(rig: &mut Rig, etcd: PathBuf, reason: &str, nodes: &[Node]) {
    let before = rig.judge.members(nodes[0].address).await.unwrap();
    rig.programs.etcd = etcd;
    let joiner = rig.launch(Some(GROUP)).unwrap();
    joiner.boot();
    joiner.wait_for(PATIENCE, |event| matches!(event, Event::AgentExited { code: 78, .. })).await.unwrap();
    let log = joiner.log("agent.log");
    assert!(log.contains(&format!("reason={reason}")), "{log}");
    assert_eq!(joiner.environment(), Ok(None));
    assert_eq!(rig.judge.members(nodes[0].address).await.unwrap(), before);
    rig.terminate(&joiner).await;
}

async fn has_version(rig: &Rig, nodes: &[Node], version: &str) {
    let look = async || match rig.judge.cluster_version(nodes[0].address).await {
        Some(told) if told == version => Ok(()),
        told => Err(format!("the cluster's version is {told:?}, not {version}")),
    };
    until(PATIENCE, look).await.unwrap();
}

/// Without the rule every 3.4 panics, and again at each restart.
#[tokio::test]
async fn t01_f89_an_etcd_two_minors_above_is_refused_before_its_add() {
    let Some([oldest, newer, newest]) = etcds(["3.4", "3.6", "3.7"]) else { return };
    let mut rig = rig(oldest);
    let nodes = form(&rig, 3).await;
    let mut client = put(&rig, &nodes).await;
    rig.cloud.change(|world| world.set_desired(GROUP, 4));
    for etcd in [newer, newest] {
        is_refused(&mut rig, etcd, "version-skips-a-minor", &nodes).await;
    }
    whole(&rig, &nodes).await;
    intact(&mut client).await;
}

#[tokio::test]
async fn f89_an_upgrade_by_replacement_goes_up_one_minor_after_another() {
    let Some([first, second, third]) = etcds(["3.5", "3.6", "3.7"]) else { return };
    let mut rig = rig(first);
    // etcd 3.7 does not understand what 3.5 has written into the log, so no member may still have that.
    for (name, value) in [("ETCD_SNAPSHOT_COUNT", "10"), ("ETCD_SNAPSHOT_CATCHUP_ENTRIES", "10")] {
        rig.setup.etcd_environment.insert(name.into(), value.into());
    }
    let mut nodes = form(&rig, 3).await;
    put(&rig, &nodes).await;
    for (etcd, version) in [(second, "3.6.0"), (third, "3.7.0")] {
        rig.programs.etcd = etcd;
        for _ in 0..3 {
            replace(&rig, &mut nodes).await;
        }
        let mut client = rig.judge.client(&addresses(&nodes)).await.unwrap();
        intact(&mut client).await;
        has_version(&rig, &nodes, version).await;
        for number in 0..30 {
            client.put("more", number.to_string(), None).await.unwrap();
        }
    }
}

/// Neither has data, so the one that is replaced loses nothing.
#[tokio::test]
async fn f89_founders_with_etcds_that_clash_create_no_cluster() {
    let Some([oldest, newest]) = etcds(["3.4", "3.6"]) else { return };
    let mut rig = rig(oldest);
    rig.group(GROUP, 2);
    let mut nodes = vec![rig.launch(Some(GROUP)).unwrap()];
    rig.programs.etcd = newest;
    nodes.push(rig.launch(Some(GROUP)).unwrap());
    nodes.iter().for_each(Node::boot);
    for node in &nodes {
        let told = async || match node.log("agent.log").contains("reason=version-skips-a-minor") {
            true => Ok(()),
            false => Err(node.log("agent.log")),
        };
        until(PATIENCE, told).await.unwrap();
        assert_eq!(node.environment(), Ok(None));
    }
    replace(&rig, &mut nodes).await;
}

#[tokio::test]
async fn f90_an_etcd_older_than_the_cluster_is_refused_before_its_add() {
    let Some([older, etcd]) = etcds(["3.5", "3.6"]) else { return };
    let mut rig = rig(etcd);
    let nodes = form(&rig, 3).await;
    rig.cloud.change(|world| world.set_desired(GROUP, 4));
    is_refused(&mut rig, older, "version-too-old", &nodes).await;
    whole(&rig, &nodes).await;
}

/// Neither the older etcd nor the newer would start, but exit with "incompatible with current running cluster".
#[tokio::test]
async fn f90_in_a_downgrade_nobody_is_added() {
    let Some([older, etcd]) = etcds(["3.5", "3.6"]) else { return };
    let mut rig = rig(etcd.clone());
    let nodes = form(&rig, 3).await;
    has_version(&rig, &nodes, "3.6.0").await;
    let mut maintenance = rig.judge.client(&addresses(&nodes)).await.unwrap().maintenance_client();
    maintenance.downgrade(DowngradeOptions::Enable("3.5.0".into())).await.unwrap();
    has_version(&rig, &nodes, "3.5.0").await;
    let before = rig.judge.members(nodes[0].address).await.unwrap();
    rig.cloud.change(|world| world.set_desired(GROUP, 4));
    for etcd in [older, etcd] {
        rig.programs.etcd = etcd;
        let joiner = rig.launch(Some(GROUP)).unwrap();
        let run = joiner.agent("run", &["--deadline=8s"]).await.unwrap();
        assert_eq!(run.code, 75, "{}", run.stderr);
        assert!(run.stderr.contains("reason=version-unsettled"), "{}", run.stderr);
        assert_eq!(rig.judge.members(nodes[0].address).await.unwrap(), before);
        rig.terminate(&joiner).await;
    }
    // Once it is over, the cluster's version rises again.
    maintenance.downgrade(DowngradeOptions::Cancel).await.unwrap();
    let joiner = rig.launch(Some(GROUP)).unwrap();
    joiner.boot();
    whole(&rig, &[nodes, vec![joiner]].into_iter().flatten().collect::<Vec<_>>()).await;
}
