//! Consumers that know their cluster: what they ask of AWS, and what they follow without it. On real etcd.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::cli::{GROUP, alone, group_of};
use crate::scenario::{form, on_both_ends, on_one_etcd, whole};
use crate::support::aws::{Action, Fault, Often};
use crate::support::child::Child;
use crate::support::node::{Node, Run};
use crate::support::rig::Rig;
use crate::support::skip;

const FOLLOW: [&str; 3] = ["--proxy-mode", "--scaling-group-name", GROUP];

on_both_ends!(f115_a_consumer_that_knows_its_cluster_asks_nothing_of_aws);
on_one_etcd!(
    f115_with_all_members_replaced_aws_tells_who_they_are,
    f115_about_once_an_hour_aws_is_asked_and_not_needed,
    f115_another_cluster_on_the_known_addresses_is_not_followed_without_aws,
    f115_with_endpoints_to_begin_with_nothing_is_asked_of_aws,
    f115_what_cannot_be_kept_is_told_and_stops_nobody,
    f30_an_endpoint_may_be_an_ipv6_address,
);

async fn f115_a_consumer_that_knows_its_cluster_asks_nothing_of_aws(rig: Rig) {
    let mut nodes = form(&rig, 3).await;
    let consumer = outside(&rig);
    follows(&consumer, &FOLLOW, &nodes).await;
    assert_eq!(calls_of(&rig, &consumer), ["DescribeAutoScalingGroups", "DescribeInstances"]);
    silence(&rig, &consumer).await;
    for _ in 0..3 {
        follows(&consumer, &FOLLOW, &nodes).await;
    }
    // Not one of those that it knows stays: each pass finds the next.
    for _ in 0..3 {
        rig.aws.heal();
        rig.terminate(&nodes.remove(0)).await;
        nodes.push(rig.launch(Some(GROUP)).unwrap());
        nodes[2].boot();
        whole(&rig, &nodes).await;
        silence_aws(&rig);
        follows(&consumer, &FOLLOW, &nodes).await;
    }
    assert_eq!(calls_of(&rig, &consumer), Vec::<String>::new());
}

async fn f115_with_all_members_replaced_aws_tells_who_they_are(rig: Rig) {
    let mut nodes = form(&rig, 3).await;
    let consumer = outside(&rig);
    follows(&consumer, &FOLLOW, &nodes).await;
    for _ in 0..3 {
        rig.terminate(&nodes.remove(0)).await;
        nodes.push(rig.launch(Some(GROUP)).unwrap());
        nodes[2].boot();
        whole(&rig, &nodes).await;
    }
    rig.aws.forget_calls();
    let run = follows(&consumer, &FOLLOW, &nodes).await;
    assert!(run.stderr.contains("AWS is asked: none of 3 instances answers"), "{}", run.stderr);
    assert_eq!(calls_of(&rig, &consumer), ["DescribeAutoScalingGroups", "DescribeInstances"]);
}

async fn f115_about_once_an_hour_aws_is_asked_and_not_needed(rig: Rig) {
    let nodes = form(&rig, 3).await;
    let consumer = outside(&rig);
    follows(&consumer, &FOLLOW, &nodes).await;
    let checks = || remembered(&consumer)["check_at"].as_str().unwrap().to_owned();
    let is_due = || {
        let mut record = remembered(&consumer);
        record["check_at"] = "2026-01-01T00:00:00Z".into();
        fs::write(record_of(&consumer), record.to_string()).unwrap();
        rig.aws.forget_calls();
    };
    is_due();
    follows(&consumer, &FOLLOW, &nodes).await;
    assert_eq!(calls_of(&rig, &consumer), ["DescribeAutoScalingGroups", "DescribeInstances"]);
    assert!(checks().as_str() > "2026-02", "{}", checks());
    // A dead member that the cluster still lists is noticed, and stays known as such.
    rig.terminate(&nodes[2]).await;
    follows(&consumer, &FOLLOW, &nodes).await;
    is_due();
    follows(&consumer, &FOLLOW, &nodes[..2]).await;
    follows(&consumer, &FOLLOW, &nodes[..2]).await;
    is_due();
    silence_aws(&rig);
    follows(&consumer, &FOLLOW, &nodes[..2]).await;
    assert!(checks().as_str() > "2026-02", "the next run does not ask again");
}

async fn f115_another_cluster_on_the_known_addresses_is_not_followed_without_aws(rig: Rig) {
    let nodes = form(&rig, 1).await;
    let consumer = outside(&rig);
    follows(&consumer, &FOLLOW, &nodes).await;
    let kept = consumer.environment();
    // A cluster of another group's on the address of the one that it knows.
    rig.terminate(&nodes[0]).await;
    rig.group("others", 1);
    let stranger = rig.launch_at(Some("others"), nodes[0].address).unwrap();
    stranger.boot();
    whole(&rig, std::slice::from_ref(&stranger)).await;
    let run = consumer.agent("run", &FOLLOW).await.unwrap();
    assert_eq!(run.code, 75, "{}", run.stderr);
    assert!(run.stderr.contains("in the place of the one that was followed"), "{}", run.stderr);
    assert_eq!(consumer.environment(), kept);
}

async fn f115_with_endpoints_to_begin_with_nothing_is_asked_of_aws(rig: Rig) {
    let mut nodes = form(&rig, 3).await;
    let consumer = outside(&rig);
    silence(&rig, &consumer).await;
    let seed = format!("--endpoints=http://{}:2379,http://{}:2379", nodes[0].address, nodes[1].address);
    let begins = ["--proxy-mode", seed.as_str()];
    follows(&consumer, &begins, &nodes).await;
    rig.aws.heal();
    for _ in 0..2 {
        rig.terminate(&nodes.remove(0)).await;
        nodes.push(rig.launch(Some(GROUP)).unwrap());
        nodes[2].boot();
        whole(&rig, &nodes).await;
    }
    silence_aws(&rig);
    // Nobody is left of those that it began with, and it knows better ones.
    follows(&consumer, &begins, &nodes).await;
    forget(&consumer);
    let run = consumer.agent("run", &begins).await.unwrap();
    assert_eq!(run.code, 75, "{}", run.stderr);
    assert!(run.stderr.contains("none of 2 instances answers") && !run.stderr.contains("AWS"), "{}", run.stderr);
    assert_eq!(calls_of(&rig, &consumer), Vec::<String>::new());
}

async fn f30_an_endpoint_may_be_an_ipv6_address(rig: Rig) {
    let free = || TcpListener::bind("[::1]:0").and_then(|listener| listener.local_addr());
    let (Ok(client), Ok(peer)) = (free(), free()) else { return skip("this machine has no IPv6") };
    let mut etcd = Command::new(&rig.programs.etcd);
    let data = rig.directory.path().join("six");
    etcd.args([
        "--name=six",
        &format!("--data-dir={}", data.display()),
        &format!("--initial-cluster=six=http://{peer}"),
    ])
    .args(["listen-client-urls", "advertise-client-urls"].map(|option| format!("--{option}=http://{client}")))
    .args(["listen-peer-urls", "initial-advertise-peer-urls"].map(|option| format!("--{option}=http://{peer}")))
    .stdout(Stdio::null())
    .stderr(Stdio::null());
    let _etcd = Child::spawn(etcd).unwrap();
    let consumer = outside(&rig);
    let endpoint = format!("http://{client}");
    let options =
        ["--proxy-mode", &format!("--endpoints={endpoint}"), &format!("--etcd-client-port={}", client.port())];
    let run = consumer.agent("run", &options.map(|option| option as &str)).await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(consumer.environment().unwrap().unwrap()["ETCD_ENDPOINTS"], endpoint);
}

async fn f115_what_cannot_be_kept_is_told_and_stops_nobody(rig: Rig) {
    let nodes = form(&rig, 1).await;
    let consumer = outside(&rig);
    // A directory is in the way of the file.
    fs::create_dir_all(record_of(&consumer)).unwrap();
    let run = follows(&consumer, &FOLLOW, &nodes).await;
    assert!(run.stderr.contains("AWS is asked in each run until that can be written"), "{}", run.stderr);
    fs::remove_dir(record_of(&consumer)).unwrap();
    fs::write(record_of(&consumer), "{").unwrap();
    follows(&consumer, &FOLLOW, &nodes).await;
    fs::write(record_of(&consumer), fs::read_to_string(record_of(&consumer)).unwrap().replace(GROUP, "another"))
        .unwrap();
    rig.aws.forget_calls();
    follows(&consumer, &FOLLOW, &nodes).await;
    assert_eq!(calls_of(&rig, &consumer).len(), 2, "what is known of another group counts for nothing");
}

#[tokio::test]
async fn f115_a_throttled_consumer_leaves_aws_alone_for_a_while() {
    let (rig, nodes) = group_of(2);
    let consumer = outside(&rig);
    drop(nodes);
    rig.aws.inject(Action::DescribeInstances, Fault::Throttle, Often::Always);
    let run = consumer.agent("run", &FOLLOW).await.unwrap();
    assert_eq!(run.code, 69, "{}", run.stderr);
    rig.aws.heal();
    rig.aws.forget_calls();
    let run = consumer.agent("run", &FOLLOW).await.unwrap();
    assert_eq!(run.code, 69, "{}", run.stderr);
    assert!(run.stderr.contains("left alone for another"), "{}", run.stderr);
    assert_eq!(rig.aws.counts(), [].into());
}

#[tokio::test]
async fn f115_a_consumer_begins_with_a_group_or_with_endpoints() {
    let (_rig, node) = alone();
    let cases = [
        (vec!["--endpoints=http://127.0.0.1:2379"], "--endpoints is for --proxy-mode"),
        (vec!["--proxy-mode"], "--proxy-mode needs --scaling-group-name, --discover-tag or --endpoints"),
        (vec!["--proxy-mode", "--scaling-group-name=a", "--endpoints=http://127.0.0.1:2379"], "give one of them"),
        (vec!["--proxy-mode", "--endpoints=http://127.0.0.1:2379,https://127.0.0.2:2379"], "all http or all https"),
        (vec!["--proxy-mode", "--endpoints=127.0.0.1:2379"], "invalid value '127.0.0.1:2379'"),
    ];
    for (options, why) in cases {
        let run = node.agent("run", &options).await.unwrap();
        assert_eq!(run.code, 64, "{options:?}: {}", run.stderr);
        assert!(run.stderr.contains(why), "{options:?}: {}", run.stderr);
    }
    let run = node.agent("status", &["--proxy-mode", "--endpoints=http://127.0.0.1:2379"]).await.unwrap();
    assert!(run.code == 64 && run.stderr.contains("status tells of a group"), "{}", run.stderr);
}

// ---------------------------------------------------------------- what these tests are made of

/// A node of another group.
fn outside(rig: &Rig) -> Node {
    rig.group("consumers", 1);
    rig.launch(Some("consumers")).unwrap()
}

/// What the consumer keeps of its cluster.
fn record_of(consumer: &Node) -> PathBuf {
    let name = consumer.environment_file().with_extension("cluster.json");
    consumer.state_dir().join(name.file_name().unwrap())
}

fn remembered(consumer: &Node) -> serde_json::Value {
    serde_json::from_str(&fs::read_to_string(record_of(consumer)).unwrap()).unwrap()
}

/// Makes it a consumer that has never run.
pub fn forget(consumer: &Node) {
    fs::remove_file(record_of(consumer)).unwrap();
}

/// What the consumer has asked of AWS; its members' agents ask too.
fn calls_of(rig: &Rig, consumer: &Node) -> Vec<String> {
    let calls = rig.aws.calls().into_iter().filter(|call| call.caller == consumer.instance);
    let mut actions: Vec<String> = calls.map(|call| call.action).collect();
    actions.sort();
    actions
}

/// Neither AWS nor the metadata of this node answer from now on.
async fn silence(rig: &Rig, consumer: &Node) {
    rig.aws.forget_calls();
    silence_aws(rig);
    consumer.imds.unplug().await;
}

fn silence_aws(rig: &Rig) {
    rig.aws.inject_everywhere(&Fault::Hang, Often::Always);
}

/// Runs the consumer, which must find exactly these nodes.
async fn follows(consumer: &Node, options: &[&str], nodes: &[Node]) -> Run {
    let run = consumer.agent("run", options).await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let variables = consumer.environment().unwrap().unwrap();
    let listed: BTreeSet<&str> = variables["ETCD_ENDPOINTS"].split(',').collect();
    let living: BTreeSet<String> = nodes.iter().map(|node| format!("http://{}:2379", node.address)).collect();
    assert_eq!(listed, living.iter().map(String::as_str).collect(), "{}", run.stderr);
    run
}
