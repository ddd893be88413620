//! What `doctor` finds on real nodes: before the first boot, in a cluster that runs, and where something is in the way.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use etcd_bootstrap::model::Check;
use serde_json::{Value, json};

use crate::docs::section;
use crate::scenario::{GROUP, on_one_etcd, tagged, whole};
use crate::status::valid_by;
use crate::support::aws::{Action, Fault, Often};
use crate::support::node::{Node, Run};
use crate::support::rig::Rig;

on_one_etcd!(
    f128_before_the_first_boot_nothing_is_changed_and_what_is_in_the_way_is_found,
    f129_in_a_cluster_a_silent_node_is_told_from_one_that_refuses,
    on_a_node_whose_certificate_is_still_to_be_issued_nothing_fails,
    where_the_metadata_or_aws_cannot_be_reached_it_ends_with_69,
);

const SCHEMA: &str = "docs/doctor.schema.json";

/// A group as README.md has it, but for its one zone, which every fake group has.
fn group(rig: &Rig, size: u32) {
    rig.group(GROUP, size);
    rig.cloud.change(|world| {
        let group = world.groups.get_mut(GROUP).unwrap();
        (group.max, group.min_healthy_percentage) = (size + 1, Some(100));
    });
}

async fn doctor(node: &Node, more: &[&str]) -> (i32, Value, Run) {
    let run = node.agent("doctor", &[&["--output=json"], more].concat()).await.unwrap();
    let told = valid_by(SCHEMA, &run);
    let ids: Vec<&str> =
        told["findings"].as_array().unwrap().iter().map(|found| found["id"].as_str().unwrap()).collect();
    let checks: BTreeSet<&str> = Check::ALL.iter().map(|check| check.id()).collect();
    assert_eq!(ids.into_iter().collect::<BTreeSet<_>>(), checks, "{told:#}");
    (run.code, told, run)
}

/// The checks that fail.
fn failed(told: &Value) -> BTreeSet<&str> {
    of(told, "failure")
}

fn of<'a>(told: &'a Value, severity: &str) -> BTreeSet<&'a str> {
    let findings = told["findings"].as_array().unwrap().iter();
    findings.filter(|found| found["severity"] == severity).map(|found| found["id"].as_str().unwrap()).collect()
}

fn all_of(told: &Value, id: &str) -> String {
    let findings = told["findings"].as_array().unwrap().iter().filter(|found| found["id"] == id);
    findings.map(|found| format!("{} -> {}", found["says"], found["fix"])).collect()
}

fn prepare(node: &Node) {
    fs::create_dir_all(node.data_dir()).unwrap();
    fs::set_permissions(node.data_dir(), fs::Permissions::from_mode(0o700)).unwrap();
}

async fn f128_before_the_first_boot_nothing_is_changed_and_what_is_in_the_way_is_found(rig: Rig) {
    group(&rig, 3);
    let nodes = rig.launch_many(GROUP, 3).unwrap();
    // Their data directory is not there yet.
    let (code, told, _) = doctor(&nodes[0], &[]).await;
    assert_eq!((code, failed(&told)), (0, BTreeSet::new()), "{told:#}");
    assert!(of(&told, "unknown").is_superset(&BTreeSet::from(["disk", "units", "iam-tag"])), "{told:#}");
    prepare(&nodes[0]);
    rig.aws.forget_calls();
    let (code, told, run) = doctor(&nodes[0], &[]).await;
    assert_eq!((code, failed(&told)), (0, BTreeSet::new()), "{told:#}");
    println!("doctor took {:?}", run.took);
    // In the clear, and in one zone.
    assert!(of(&told, "warning").is_subset(&BTreeSet::from(["certs", "group", "hooks", "disk"])), "{told:#}");
    assert!(all_of(&told, "run").contains("founders-silent"), "{told:#}");
    let calls = rig.aws.calls().into_iter().map(|call| call.action);
    assert!(calls.clone().all(|call| call.starts_with("Describe")), "{:?}", calls.collect::<Vec<_>>());
    assert_eq!(fs::read_dir(nodes[0].data_dir()).unwrap().count(), 0, "it leaves nothing");
    let kept = fs::read_dir(nodes[0].state_dir()).map_or(0, Iterator::count);
    assert!(kept == 0 && !nodes[0].environment_file().exists(), "it writes nothing");

    // What is wrong with the group.
    rig.cloud.change(|world| {
        let group = world.groups.get_mut(GROUP).unwrap();
        (group.health_check, group.suspended, group.min_healthy_percentage) = ("ELB", vec!["Launch"], None);
    });
    let (code, told, _) = doctor(&nodes[0], &[]).await;
    assert_eq!((code, failed(&told)), (78, BTreeSet::from(["group"])), "{told:#}");
    let says = all_of(&told, "group");
    assert!(
        ["asks ELB", "suspended are Launch", "MinHealthyPercentage=100"].iter().all(|word| says.contains(word)),
        "{says}"
    );
    assert_eq!(doctor(&nodes[0], &["--ignore=group"]).await.0, 0, "what a person ignores does not count");
    rig.cloud.change(|world| world.groups.get_mut(GROUP).unwrap().health_check = "EC2");

    // A right that is missing, by the right's name.
    for (action, right) in [
        (Action::DescribeAutoScalingGroups, "autoscaling:DescribeAutoScalingGroups"),
        (Action::DescribeInstances, "ec2:DescribeInstances"),
    ] {
        rig.aws.inject(action, Fault::Deny, Often::Always);
        let (code, told, _) = doctor(&nodes[0], &[]).await;
        assert_eq!((code, failed(&told)), (78, BTreeSet::from(["iam-read"])), "{told:#}");
        assert!(all_of(&told, "iam-read").contains(right), "{told:#}");
        rig.aws.heal();
    }
    rig.aws.inject(Action::DescribeLifecycleHooks, Fault::Deny, Often::Always);
    let (code, told, _) = doctor(&nodes[0], &[]).await;
    assert_eq!((code, of(&told, "warning").contains("iam-read")), (0, true), "{told:#}");
    rig.aws.heal();

    // Somebody else has the peer port.
    let holder = std::net::TcpListener::bind((nodes[0].address, 2380)).unwrap();
    let hold = std::thread::spawn(move || {
        while let Ok((mut caller, _)) = holder.accept() {
            use std::io::{Read, Write};
            let mut asked = [0; 1024];
            if caller.read(&mut asked).is_ok_and(|read| read == 0) {
                return;
            }
            let _ = caller.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    let (code, told, _) = doctor(&nodes[0], &[]).await;
    assert_eq!((code, failed(&told)), (78, BTreeSet::from(["ports"])), "{told:#}");
    assert!(all_of(&told, "ports").contains("port 2380 of this node"), "{told:#}");
    drop(std::net::TcpStream::connect((nodes[0].address, 2380)));
    hold.join().unwrap();

    // The disk is somebody else's, and the text for people says what to do.
    let text = nodes[0].agent("doctor", &["--ignore=imds"]).await.unwrap();
    assert!(text.stdout.contains("ignored  imds") && text.stdout.ends_with("no check fails\n"), "{}", text.stdout);
    let wrong = nodes[0].agent("doctor", &["--ignore=nothing"]).await.unwrap();
    assert!(wrong.code == 64 && wrong.stderr.contains("the checks are imds, aws,"), "{}", wrong.stderr);
}

async fn f129_in_a_cluster_a_silent_node_is_told_from_one_that_refuses(rig: Rig) {
    group(&rig, 3);
    let nodes = rig.launch_many(GROUP, 3).unwrap();
    nodes.iter().for_each(Node::boot);
    whole(&rig, &nodes).await;
    tagged(&nodes).await;
    let (code, told, _) = doctor(&nodes[0], &[]).await;
    assert_eq!((code, failed(&told)), (0, BTreeSet::new()), "{told:#}");
    assert!(all_of(&told, "etcd").contains("3 of 3 members serve"), "{told:#}");
    assert!(all_of(&told, "iam-tag").contains("names cluster"), "{told:#}");
    assert!(all_of(&told, "run").contains("own-data"), "its own ports prove nothing: {told:#}");

    // etcd is stopped there: the way is open, and the cluster is ill.
    nodes[2].cut_power().await;
    let (code, told, _) = doctor(&nodes[0], &[]).await;
    assert_eq!((code, failed(&told)), (78, BTreeSet::from(["etcd"])), "{told:#}");
    // Now nothing is heard of its address at all.
    rig.unplug(&nodes[2]).await;
    let (code, told, _) = doctor(&nodes[0], &[]).await;
    assert_eq!((code, failed(&told)), (78, BTreeSet::from(["etcd", "ports"])), "{told:#}");
    let says = all_of(&told, "ports");
    assert!(says.contains(&nodes[2].instance) && says.contains("2380/tcp"), "{says}");
}

async fn on_a_node_whose_certificate_is_still_to_be_issued_nothing_fails(mut rig: Rig) {
    rig.certify();
    group(&rig, 3);
    let nodes = rig.launch_many(GROUP, 3).unwrap();
    prepare(&nodes[0]);
    let (code, told, _) = doctor(&nodes[0], &[]).await;
    assert_eq!((code, failed(&told)), (0, BTreeSet::new()), "{told:#}");
    assert!(of(&told, "unknown").contains("certs"), "{told:#}");
    nodes.iter().for_each(Node::boot);
    whole(&rig, &nodes).await;
    tagged(&nodes).await;
    let (code, told, _) = doctor(&nodes[0], &[]).await;
    assert_eq!((code, failed(&told)), (0, BTreeSet::new()), "{told:#}");
    assert!(all_of(&told, "certs").contains("days") && of(&told, "ok").contains("certs"), "{told:#}");
}

async fn where_the_metadata_or_aws_cannot_be_reached_it_ends_with_69(rig: Rig) {
    group(&rig, 1);
    let node = &rig.launch_many(GROUP, 1).unwrap()[0];
    rig.aws.inject_everywhere(&Fault::Drop, Often::Always);
    let (code, told, run) = doctor(node, &[]).await;
    assert_eq!((code, failed(&told)), (69, BTreeSet::from(["aws"])), "{told:#}");
    println!("doctor without AWS took {:?}", run.took);
    node.imds.unplug().await;
    let (code, told, _) = doctor(node, &[]).await;
    assert_eq!((code, failed(&told)), (69, BTreeSet::from(["imds"])), "{told:#}");
    assert_eq!(told["severity"], json!("failure"), "{told:#}");
}

/// What README.md tells of the checks is by the ids that they have.
#[test]
fn the_readme_has_every_check_in_its_order() {
    let section = section("## Before the first boot");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let ids: Vec<&str> = Check::ALL.iter().map(|check| check.id()).collect();
    assert_eq!(rows.collect::<Vec<_>>(), ids);
}
