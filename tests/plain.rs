//! Instances that no Auto Scaling group launches, on real etcd: a tag is their group, and each of them is marked.

use std::time::Duration;

use crate::cli::rig;
use crate::scenario::{cluster_id, intact, on_both_ends, put, tagged, whole};
use crate::support::aws::{Action, Fault, Often};
use crate::support::cloud::{Ec2State, InstanceId, REGION};
use crate::support::node::Node;
use crate::support::rig::Rig;

on_both_ends! {
    f116_tagged_instances_form_and_are_replaced_and_found_no_second_cluster,
}

const MARK: &str = "etcd-bootstrap/cluster-id";

/// Where an instance is that is none of ours.
const ELSEWHERE: &str = "vpc-0f0f0f0f";

/// For all that are launched from now on.
fn discover(rig: &mut Rig, size: usize) {
    rig.setup.agent_arguments.extend(["--discover-tag=etcd=main".into(), format!("--cluster-size={size}")]);
}

fn tag(rig: &Rig, instance: &str, key: &str, value: &str) {
    rig.cloud.change(|world| world.instance_mut(instance).tags.insert(key.into(), value.into()));
}

/// Instances that are tagged at launch; their machines are off.
fn launch(rig: &Rig, count: usize) -> Vec<Node> {
    let nodes: Vec<Node> = (0..count).map(|_| rig.launch(None).unwrap()).collect();
    nodes.iter().for_each(|node| tag(rig, &node.instance, "etcd", "main"));
    nodes
}

/// A tagged instance that runs nothing.
fn stranger(rig: &Rig) -> InstanceId {
    let address = rig.fresh_address();
    let instance = rig.cloud.change(|world| world.launch(None, address));
    tag(rig, &instance, "etcd", "main");
    instance
}

fn mark(rig: &Rig, node: &Node) -> Option<String> {
    rig.cloud.now().instance(&node.instance).unwrap().tags.get(MARK).cloned()
}

async fn form(rig: &mut Rig, size: usize) -> Vec<Node> {
    discover(rig, size);
    let nodes = launch(rig, size);
    nodes.iter().for_each(Node::boot);
    whole(rig, &nodes).await;
    nodes
}

async fn f116_tagged_instances_form_and_are_replaced_and_found_no_second_cluster(mut rig: Rig) {
    let mut nodes = form(&mut rig, 3).await;
    let mut client = put(&rig, &nodes[1..]).await;
    tagged(&nodes).await;
    let cluster = cluster_id(&rig, &nodes).await;
    let calls: Vec<String> = rig.aws.calls().into_iter().map(|call| call.action).collect();
    assert!(calls.iter().all(|call| ["DescribeInstances", "CreateTags"].contains(&call.as_str())), "{calls:?}");

    rig.terminate(&nodes.remove(0)).await;
    nodes.extend(launch(&rig, 1));
    nodes[2].boot();
    whole(&rig, &nodes).await;
    intact(&mut client).await;
    tagged(&nodes[2..]).await;
    assert!(nodes.iter().all(|node| mark(&rig, node).as_ref() == Some(&cluster)), "a new one is marked too");

    // All of them at once: the mark outlives them.
    for node in &nodes {
        rig.terminate(node).await;
    }
    let fresh = launch(&rig, 3);
    let runs = fresh.iter().map(|node| node.agent("run", &["--deadline=3s"]));
    let [a, b, c] = <[_; 3]>::try_from(runs.collect::<Vec<_>>()).unwrap_or_else(|_| panic!("three"));
    let (a, b, c) = tokio::join!(a, b, c);
    for run in [a, b, c].map(Result::unwrap) {
        assert_eq!(run.code, 75, "{}", run.stderr);
        assert!(run.stderr.contains(&cluster), "{}", run.stderr);
    }
}

#[tokio::test]
async fn f117_more_tagged_instances_than_the_size_create_no_cluster() {
    let mut rig = rig();
    discover(&mut rig, 1);
    let node = launch(&rig, 1).remove(0);
    let more = stranger(&rig);
    let run = node.agent("run", &[]).await.unwrap();
    assert_eq!((run.code, node.environment()), (75, Ok(None)), "{}", run.stderr);
    assert!(run.stderr.contains("group-unsettled"), "{}", run.stderr);

    // One that is stopped comes back.
    rig.cloud.change(|world| world.stop(&more));
    let run = node.agent("run", &[]).await.unwrap();
    assert_eq!((run.code, node.environment()), (75, Ok(None)), "{}", run.stderr);
    assert!(run.stderr.contains(&format!("{more} is stopped")), "{}", run.stderr);

    rig.cloud.change(|world| world.instance_mut(&more).tags.clear());
    let run = node.agent("run", &[]).await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
}

#[tokio::test]
async fn f118_a_tag_that_was_copied_to_a_stranger_makes_no_majority() {
    let mut rig = rig();
    discover(&mut rig, 3);
    let nodes = launch(&rig, 2);
    let stranger = stranger(&rig);
    let patience = ["--founding=majority", "--founding-grace=1s", "--deadline=6s"];
    let (one, other) = tokio::join!(nodes[0].agent("run", &patience), nodes[1].agent("run", &patience));
    for run in [one, other].map(Result::unwrap) {
        assert_eq!(run.code, 75, "{}", run.stderr);
        assert!(run.stderr.contains("founders-silent") && run.stderr.contains(&stranger), "{}", run.stderr);
    }
}

#[tokio::test]
async fn f119_the_same_tag_in_another_vpc_is_another_group() {
    let mut rig = rig();
    let mut nodes = form(&mut rig, 1).await;
    tagged(&nodes).await;
    let cluster = cluster_id(&rig, &nodes).await;
    // It has the very address of the member, and a mark of its own.
    let elsewhere = rig.cloud.change(|world| world.launch(None, nodes[0].address));
    rig.cloud.change(|world| world.instance_mut(&elsewhere).vpc = Some(ELSEWHERE.into()));
    tag(&rig, &elsewhere, "etcd", "main");
    tag(&rig, &elsewhere, MARK, "deadbeefdeadbeef");

    nodes.extend(launch(&rig, 1));
    nodes[1].boot();
    whole(&rig, &nodes).await;
    tagged(&nodes).await;
    assert_eq!(mark(&rig, &nodes[1]), Some(cluster));
    assert_eq!(rig.cloud.now().instance(&elsewhere).unwrap().tags[MARK], "deadbeefdeadbeef");

    // A consumer has no VPC to go by but its own instances'.
    rig.setup.agent_arguments.retain(|argument| !argument.starts_with("--cluster-size"));
    let consumer = rig.launch(None).unwrap();
    let run = consumer.agent("run", &["--proxy-mode"]).await.unwrap();
    assert_eq!(run.code, 78, "{}", run.stderr);
    assert!(run.stderr.contains(ELSEWHERE), "{}", run.stderr);
    // Nor has who is no instance.
    let look = async || nodes[0].agent("status", &["--region", REGION, "--cluster-size=2"]).await.unwrap();
    let run = look().await;
    assert_eq!(run.code, 69, "{}", run.stderr);
    rig.cloud.change(|world| world.terminate(&elsewhere));
    let run = look().await;
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    let run = consumer.agent("run", &["--proxy-mode"]).await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let endpoints = consumer.environment().unwrap().unwrap()["ETCD_ENDPOINTS"].clone();
    assert!(nodes.iter().all(|node| endpoints.contains(&node.address.to_string())), "{endpoints}");
}

#[tokio::test]
async fn f120_a_tag_that_comes_seconds_after_the_launch_is_waited_for() {
    let mut rig = rig();
    rig.setup.deadline = "60s".into();
    discover(&mut rig, 1);
    let node = rig.launch(None).unwrap();
    let run = node.agent("run", &["--deadline=2s"]).await.unwrap();
    assert_eq!(run.code, 78, "{}", run.stderr);
    assert!(run.stderr.contains("etcd=main"), "{}", run.stderr);
    let late = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        tag(&rig, &node.instance, "etcd", "main");
    };
    let (run, ()) = tokio::join!(node.agent("run", &[]), late);
    let run = run.unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
}

#[tokio::test]
async fn f122_a_value_is_no_pattern() {
    let mut rig = rig();
    rig.setup.agent_arguments.extend(["--discover-tag=etcd=*".into(), "--cluster-size=1".into()]);
    let node = launch(&rig, 1).remove(0);
    let run = node.agent("run", &[]).await.unwrap();
    assert_eq!(run.code, 78, "{}", run.stderr);
    assert!(run.stderr.contains("no instance has this tag"), "{}", run.stderr);
    tag(&rig, &node.instance, "etcd", "*");
    stranger(&rig);
    let run = node.agent("run", &[]).await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
}

#[tokio::test]
async fn f123_a_stopped_member_stays_and_comes_back() {
    let mut rig = rig();
    rig.setup.deadline = "60s".into();
    let mut nodes = form(&mut rig, 3).await;
    nodes[0].cut_power().await;
    rig.cloud.change(|world| world.stop(&nodes[0].instance));
    // Whoever joins meanwhile leaves it alone, and waits: without it the cluster cannot spare a member.
    nodes.extend(launch(&rig, 1));
    let run = nodes[3].agent("run", &["--deadline=5s"]).await.unwrap();
    assert_eq!(run.code, 75, "{}", run.stderr);
    let list = rig.judge.members(nodes[1].address).await.unwrap();
    assert!(list.member(&nodes[0].instance).is_some(), "it is still a member");

    rig.cloud.change(|world| world.instance_mut(&nodes[0].instance).state = Ec2State::Running);
    nodes[0].boot();
    nodes[3].boot();
    whole(&rig, &nodes).await;
}

#[tokio::test]
async fn f121_marks_that_contradict_each_other_are_named_and_stop_no_member() {
    let mut rig = rig();
    let nodes = form(&mut rig, 2).await;
    tagged(&nodes).await;
    tag(&rig, &nodes[1].instance, MARK, "deadbeefdeadbeef");
    let joiner = launch(&rig, 1).remove(0);
    let run = joiner.agent("run", &[]).await.unwrap();
    assert_eq!(run.code, 78, "{}", run.stderr);
    for word in [MARK, "deadbeefdeadbeef", &nodes[0].instance, &nodes[1].instance] {
        assert!(run.stderr.contains(word), "{word}: {}", run.stderr);
    }
    nodes[0].shut_down().await;
    nodes[0].boot();
    whole(&rig, &nodes).await;
}

#[tokio::test]
async fn f94_instances_that_may_not_be_marked_form_and_say_what_depends_on_it() {
    let mut rig = rig();
    rig.aws.inject(Action::CreateTags, Fault::Deny, Often::Always);
    let nodes = form(&mut rig, 1).await;
    let run = nodes[0].agent("ready", &["--deadline=3s"]).await.unwrap();
    assert_eq!(run.code, 78, "{}", run.stderr);
    assert!(run.stderr.contains("ec2:CreateTags") && run.stderr.contains("second and empty cluster"), "{}", run.stderr);
    rig.aws.heal();
    let run = nodes[0].agent("ready", &["--deadline=30s"]).await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(mark(&rig, &nodes[0]), Some(cluster_id(&rig, &nodes).await));
}

#[tokio::test]
async fn the_options_of_tagged_instances_are_had_together_or_not_at_all() {
    let rig = rig();
    let node = rig.launch(None).unwrap();
    for (options, word) in [
        (vec!["--discover-tag=etcd=main"], "--cluster-size"),
        (vec!["--cluster-size=3"], "--discover-tag"),
        (vec!["--discover-tag=etcd=main", "--cluster-size=3", "--scaling-group-name=etcd"], "--scaling-group-name"),
        (vec!["--discover-tag=etcd=main", "--proxy-mode", "--endpoints=http://10.0.0.1:2379"], "--endpoints"),
        (vec!["--discover-tag=main", "--cluster-size=3"], "KEY=VALUE"),
        (vec!["--discover-tag=etcd=main", "--cluster-size=0"], "--cluster-size"),
    ] {
        let run = node.agent("run", &options).await.unwrap();
        assert_eq!(run.code, 64, "{options:?}: {}", run.stderr);
        assert!(run.stderr.contains(word), "{options:?}: {}", run.stderr);
    }
}
