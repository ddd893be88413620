//! What AWS denies, throttles, cuts or leaves out.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{GROUP, READS, Scene, alone, dry_run, group_of, refuses};
use crate::support::aws::{Action, Fault, Often};

#[tokio::test]
async fn f10_an_instance_outside_of_the_group_needs_a_person() {
    let scene = Scene::new().await;
    let mut rig = scene.rig;
    rig.setup.deadline = "2s".into();
    let outside = rig.launch(None).unwrap();
    refuses(&outside, &[], 78, &[&outside.instance, "is in no Auto Scaling group"]).await;
    // A name that begins as the group's does is another name.
    for name in ["etcd", "etcd-ab", "ETCD-A"] {
        let option = format!("--scaling-group-name={name}");
        refuses(&scene.node, &[&option], 78, &["no Auto Scaling group named", name]).await;
    }
    rig.cloud.change(|world| {
        let twin = world.groups[GROUP].clone();
        world.groups.insert("twin".into(), twin);
    });
    // The fake filters by the name, as AWS does: both are in the answer.
    refuses(&scene.node, &[], 78, &["2 Auto Scaling groups are named", GROUP]).await;
    assert_eq!(rig.judge.members(scene.member.address).await.unwrap(), scene.before);
}

#[tokio::test]
async fn access_denied_names_the_action_and_needs_a_person() {
    let scene = Scene::new().await;
    for (action, name) in READS {
        scene.rig.aws.inject(action, Fault::Deny, Often::Always);
        scene.refuses(78, &[name, "allow", "role"]).await;
        scene.rig.aws.heal();
    }
}

#[tokio::test]
async fn f66_throttling_to_the_deadline_is_unavailable() {
    let scene = Scene::new().await;
    for (action, name) in READS {
        let code = if action == Action::DescribeInstances { "RequestLimitExceeded" } else { "Throttling" };
        scene.rig.aws.inject(action, Fault::Throttle, Often::Always);
        scene.refuses(69, &[name, code]).await;
        scene.rig.aws.heal();
    }
}

#[tokio::test]
async fn malformed_xml_to_the_deadline_is_unavailable() {
    let scene = Scene::new().await;
    for (action, name) in READS {
        scene.rig.aws.inject(action, Fault::Malform, Often::Always);
        scene.refuses(69, &[name]).await;
        scene.rig.aws.heal();
    }
}

#[tokio::test]
async fn dropped_connections_and_inner_faults_of_aws_to_the_deadline_are_unavailable() {
    let scene = Scene::new().await;
    for ((action, name), fault) in READS.into_iter().zip([Fault::Drop, Fault::Fail, Fault::Drop]) {
        scene.rig.aws.inject(action, fault, Often::Always);
        scene.refuses(69, &[name]).await;
        scene.rig.aws.heal();
    }
}

#[tokio::test]
async fn f35_endless_pages_are_unavailable_and_short_ones_are_all_read() {
    let scene = Scene::new().await;
    for (action, name) in &READS[1..] {
        scene.rig.aws.inject(*action, Fault::EndlessPages, Often::Always);
        scene.refuses(69, &[name, "did not end after 50 pages"]).await;
        scene.rig.aws.heal();
    }
    for (action, _) in READS {
        scene.rig.aws.inject(action, Fault::ShortPages(1), Often::Always);
    }
    let report = dry_run(&scene.node).await;
    let rows = report["instances"].as_array().unwrap();
    let running = rows.iter().filter(|row| row["ec2_state"] == "running").count();
    assert_eq!((running, &report["decision"]), (2, &"add".into()), "{report:#}");
}

#[tokio::test]
async fn f61_an_aws_that_hangs_costs_one_deadline_a_call() {
    let scene = Scene::new().await;
    scene.rig.aws.inject_everywhere(&Fault::Hang, Often::Always);
    scene.refuses_with(&["--deadline=6s"], 69, &["autoscaling:DescribeAutoScalingInstances"]).await;
}

#[tokio::test]
async fn f61_a_deadline_in_the_middle_of_the_first_look_is_no_fault_of_configuration() {
    let scene = Scene::new().await;
    scene.rig.aws.inject_everywhere(&Fault::Hang, Often::Always);
    // 78 says that a person must look.
    scene.refuses_with(&["--deadline=1s"], 69, &["deadline"]).await;
}

#[tokio::test]
async fn f31_f34_a_stale_partial_or_empty_reply_changes_nothing() {
    let scene = Scene::new().await;
    let hidden = |instance: &str| Fault::Without(BTreeSet::from([instance.to_owned()]));
    let (groups, instances) = (Action::DescribeAutoScalingGroups, Action::DescribeInstances);
    let cases: Vec<(Action, Fault, i32, &str)> = vec![
        (groups, Fault::Empty, 78, "no Auto Scaling group named"),
        (groups, Fault::Lag(Duration::from_secs(600)), 78, "no Auto Scaling group named"),
        (groups, hidden(&scene.node.instance), 78, "does not hold this instance"),
        (instances, Fault::Empty, 78, "does not hold this instance"),
        (instances, hidden(&scene.node.instance), 78, "does not hold this instance"),
        (groups, hidden(&scene.member.instance), 75, "the group's tag says"),
        (instances, hidden(&scene.member.instance), 75, "the group's tag says"),
    ];
    for (action, fault, code, word) in cases {
        scene.rig.aws.inject(action, fault, Often::Always);
        scene.refuses(code, &[word]).await;
        scene.rig.aws.heal();
    }
    // Without the tag, only the count of instances and their addresses speak against a second cluster.
    scene.rig.cloud.change(|world| world.groups.get_mut(GROUP).expect("it was made").tags.clear());
    for (action, word) in [(groups, "1 of 2 desired"), (instances, scene.member.instance.as_str())] {
        scene.rig.aws.inject(action, hidden(&scene.member.instance), Often::Always);
        scene.refuses(75, &[word]).await;
        scene.rig.aws.heal();
    }
    for action in [groups, instances] {
        scene.rig.aws.inject(action, Fault::Cut, Often::Always);
        let run = scene.node.agent("run", &[]).await.unwrap();
        assert!([69, 75, 78].contains(&run.code), "{}", run.stderr);
        assert_eq!((scene.node.environment(), scene.members().await), (Ok(None), scene.before.clone()));
        scene.rig.aws.heal();
    }
}

#[tokio::test]
async fn f31_an_instance_without_an_address_is_named() {
    let (rig, nodes) = group_of(2);
    rig.cloud.change(|world| world.instance_mut(&nodes[1].instance).address = None);
    refuses(&nodes[0], &[], 75, &["an address", &nodes[1].instance]).await;
    refuses(&nodes[1], &[], 78, &["no address"]).await;
}

/// In the fake, each instance has a second network interface, and a second address on the first.
#[tokio::test]
async fn f30_one_primary_address_of_each_instance_counts() {
    let (_rig, node) = alone();
    let report = dry_run(&node).await;
    let file = report["file"].as_str().unwrap();
    let own = format!("ETCD_INITIAL_CLUSTER={}=http://{}:2380\n", node.instance, node.address);
    assert!(file.contains(&own), "{file}");
    assert!(!report.to_string().contains("10.255."), "{report:#}");
}

#[tokio::test]
async fn f43_a_lifecycle_state_that_is_not_known_is_kept_and_not_counted() {
    let (rig, nodes) = group_of(2);
    rig.cloud.change(|world| world.set_lifecycle(&nodes[1].instance, "Quarantined:Anew"));
    let word = format!("{} is Quarantined:Anew", nodes[1].instance);
    refuses(&nodes[0], &[], 75, &["1 of 2 desired", &word]).await;
}

#[tokio::test]
async fn f69_a_warm_pool_boot_joins_nothing() {
    let scene = Scene::new().await;
    for state in ["Warmed:Pending", "Warmed:Running", "Warmed:Stopped"] {
        scene.rig.cloud.change(|world| {
            let place = world.instance_mut(&scene.node.instance).place.as_mut().unwrap();
            (place.lifecycle, place.target) = ("Warmed:Pending".into(), state.into());
        });
        // It does not wait for better times: the instance is about to be stopped.
        scene.refuses_with(&["--deadline=infinity"], 75, &["warm pool", state]).await;
    }
}
