//! A node with data starts, whatever is broken around it.

use super::{GROUP, Peer, as_str, reply, silence, starts, tls_options, with_data};
use crate::support::aws::{Action, Fault, Often};
use crate::support::imds::{self, IDENTITY};
use crate::support::tls::Authority;

#[tokio::test]
async fn f51_a_node_with_data_starts_without_metadata() {
    let (_rig, node) = with_data().await;
    let faults = [imds::Fault::Hang, imds::Fault::V1Only, imds::Fault::Disabled, imds::Fault::Fail(u32::MAX)];
    for fault in faults {
        node.imds.inject(fault);
        starts(&node, &[]).await;
        node.imds.heal();
    }
    node.imds.answer(IDENTITY, 200, "{");
    starts(&node, &[]).await;
    node.imds.unplug().await;
    starts(&node, &[]).await;
}

#[tokio::test]
async fn f51_a_node_with_data_starts_without_aws() {
    let (rig, node) = with_data().await;
    for fault in [Fault::Drop, Fault::Throttle, Fault::Deny, Fault::Malform, Fault::Fail, Fault::Empty, Fault::Hang] {
        rig.aws.inject_everywhere(&fault, Often::Always);
        starts(&node, &[]).await;
        rig.aws.heal();
    }
    for action in [Action::DescribeAutoScalingGroups, Action::DescribeInstances] {
        rig.aws.inject(action, Fault::EndlessPages, Often::Always);
        starts(&node, &[]).await;
        rig.aws.heal();
    }
    starts(&node, &["--scaling-group-name=nobody"]).await;
}

#[tokio::test]
async fn f51_f52_a_node_with_data_starts_without_its_peers() {
    let (rig, node) = with_data().await;
    rig.cloud.change(|world| world.set_desired(GROUP, 2));
    let peer = rig.launch(Some(GROUP)).unwrap();
    starts(&node, &[]).await;
    let silent = silence(peer.address);
    starts(&node, &[]).await;
    drop(silent);
    let _odd = Peer::start(peer.address, |_| reply(200, "[{\"id\":7,\"peerURLs\":[\"not a url\"]}]"));
    starts(&node, &[]).await;
}

#[tokio::test]
async fn f51_a_node_with_data_starts_with_an_expired_certificate_and_says_so() {
    let (rig, node) = with_data().await;
    let own = node.address.to_string();
    let expired = Authority::new().write_until(rig.directory.path(), &[&own], 2021).unwrap();
    let arguments = tls_options("peer-", &expired);
    let run = starts(&node, &as_str(&arguments)).await;
    assert!(run.stderr.lines().any(|l| l.starts_with('W') && l.contains("expired")), "{}", run.stderr);
}
