//! Instance metadata that does not answer, comes late or is malformed.

use std::time::Duration;

use super::{GROUP, alone, refuses, rig};
use crate::support::aws::Action;
use crate::support::cloud::Place;
use crate::support::imds::{self, IDENTITY};

#[tokio::test]
async fn f62_f63_f64_metadata_that_does_not_answer_is_unavailable() {
    let (_rig, node) = alone();
    node.imds.inject(imds::Fault::V1Only);
    refuses(&node, &[], 69, &["instance metadata", "version 2"]).await;
    let read = node.imds.exchanges().into_iter().find(|exchange| exchange.method == "GET");
    assert_eq!(read, None, "version 1 is never used");
    for fault in [imds::Fault::HopLimit, imds::Fault::Hang] {
        node.imds.heal();
        node.imds.inject(fault);
        refuses(&node, &["--deadline=4s"], 69, &["instance metadata", "HttpPutResponseHopLimit 2"]).await;
    }
    node.imds.heal();
    node.imds.inject(imds::Fault::Fail(u32::MAX));
    refuses(&node, &[], 69, &["instance metadata"]).await;
    node.imds.unplug().await;
    let error = refuses(&node, &[], 69, &["instance metadata", "refused", "is this an EC2 instance"]).await;
    assert!(!error.contains("version 2"), "no wrong hint: {error}");
}

#[tokio::test]
async fn f64_f68_metadata_and_group_that_come_late_are_waited_for() {
    let mut rig = rig();
    rig.group(GROUP, 1);
    rig.setup.deadline = "60s".into();
    let node = rig.launch(None).unwrap();
    node.imds.unplug().await;
    let late = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        node.imds.plug().unwrap();
        let asked = || rig.aws.count(Action::DescribeAutoScalingInstances);
        // The second call: the first one may be on its way to its answer still.
        while asked() < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let (lifecycle, target) = ("InService".to_owned(), "InService".to_owned());
        let place = Place { group: GROUP.into(), lifecycle, target };
        rig.cloud.change(|world| world.instance_mut(&node.instance).place = Some(place));
    };
    let (run, ()) = tokio::join!(node.agent("run", &[]), late);
    let run = run.unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
    for waited_for in ["instance metadata", "is in no Auto Scaling group"] {
        assert!(run.stderr.contains(waited_for), "{waited_for}: {}", run.stderr);
    }
}

#[tokio::test]
async fn f65_what_the_metadata_does_not_have_is_no_fault() {
    let (_rig, node) = alone();
    for path in ["autoscaling/target-lifecycle-state", "local-hostname", "ipv6", "mac"] {
        node.imds.answer(&format!("/latest/meta-data/{path}"), 404, "");
    }
    let run = node.agent("run", &["--deadline=30s"]).await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let asked = node.imds.exchanges();
    assert!(asked.iter().any(|exchange| exchange.status == Some(404)), "{asked:?}");
    assert!(asked.iter().all(|exchange| !exchange.path.contains("/tags")), "tags are off by default: {asked:?}");
}

#[tokio::test]
async fn metadata_switched_off_needs_a_person() {
    let (_rig, node) = alone();
    node.imds.inject(imds::Fault::Disabled);
    refuses(&node, &[], 78, &["instance metadata", "switched off"]).await;
}

#[tokio::test]
async fn a_malformed_identity_document_is_unavailable() {
    let (_rig, node) = alone();
    for document in ["{\"instanceId\": ", "", "<html>", "{\"instanceId\": \"i-0\"}"] {
        node.imds.answer(IDENTITY, 200, document);
        refuses(&node, &[], 69, &["instance identity document"]).await;
    }
}
