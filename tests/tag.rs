//! The group's tag on real etcd: who writes it, when it is written again, and who is told that it is missing.

use std::time::Duration;

use tokio::net::UnixDatagram;

use crate::cli::{GROUP, alone, rig};
use crate::scenario::{PATIENCE, cluster_id, form, tagged, whole};
use crate::support::aws::{Action, Fault, Often};
use crate::support::node::Event;
use crate::support::rig::Rig;

const KEY: &str = "etcd-bootstrap/cluster-id";

fn tag(rig: &Rig) -> Option<String> {
    rig.cloud.now().groups[GROUP].tags.get(KEY).cloned()
}

fn set_tag(rig: &Rig, value: Option<&str>) {
    rig.cloud.change(|world| {
        let tags = &mut world.groups.get_mut(GROUP).expect("it was made").tags;
        match value {
            Some(value) => drop(tags.insert(KEY.to_owned(), value.to_owned())),
            None => drop(tags.remove(KEY)),
        }
    });
}

#[tokio::test]
async fn b07_f94_ready_says_so_and_then_tags_until_it_is_done() {
    let rig = rig();
    rig.aws.inject(Action::CreateOrUpdateTags, Fault::Throttle, Often::Times(2));
    let nodes = form(&rig, 1).await;
    tagged(&nodes).await;
    assert_eq!(tag(&rig), Some(cluster_id(&rig, &nodes).await));

    // What waits for a voter does not wait for AWS.
    set_tag(&rig, None);
    rig.aws.inject(Action::CreateOrUpdateTags, Fault::Throttle, Often::Always);
    let place = nodes[0].dir().join("ready");
    let socket = UnixDatagram::bind(&place).unwrap();
    let command = nodes[0].agent_command_line("ready").replace("--deadline=2s", "--deadline=60s");
    let mut words = vec![format!("NOTIFY_SOCKET={}", place.display())];
    words.extend(command.split(' ').map(str::to_owned));
    let mut ready = tokio::process::Command::new("env").args(words).kill_on_drop(true).spawn().unwrap();
    let next = async || {
        let mut said = [0; 4096];
        let size = tokio::time::timeout(PATIENCE, socket.recv(&mut said)).await.expect("it says more").unwrap();
        String::from_utf8_lossy(&said[..size]).trim_end().to_owned()
    };
    let mut status = String::new();
    let mut until_said = async |word: &str| {
        while !status.contains(word) {
            status = next().await;
        }
    };
    until_said("READY=1").await;
    assert_eq!((tag(&rig), ready.try_wait().unwrap()), (None, None));
    // Meanwhile `systemctl status` says what it is about.
    until_said("(untagged)").await;
    rig.aws.heal();
    let ended = async {
        // What nobody reads would stop it in the end.
        tokio::select! {
            ended = ready.wait() => ended,
            () = until_said("never") => unreachable!("it does not say that"),
        }
    };
    let ended = tokio::time::timeout(PATIENCE, ended).await.expect("nothing is in its way").unwrap();
    assert!(ended.success());
    assert_eq!(tag(&rig), Some(cluster_id(&rig, &nodes).await));
}

#[tokio::test]
async fn b07_f94_ready_that_may_not_tag_says_what_depends_on_it() {
    let rig = rig();
    let nodes = form(&rig, 1).await;
    tagged(&nodes).await;
    set_tag(&rig, None);
    rig.aws.inject(Action::CreateOrUpdateTags, Fault::Deny, Often::Always);
    let run = nodes[0].agent("ready", &["--deadline=3s"]).await.unwrap();
    assert_eq!(run.code, 78, "{}", run.stderr);
    let errors: Vec<&str> = run.stderr.lines().filter(|line| line.starts_with('E')).collect();
    assert_eq!(errors.len(), 1, "{}", run.stderr);
    for word in ["autoscaling:CreateOrUpdateTags", &cluster_id(&rig, &nodes).await, "second and empty cluster"] {
        assert!(errors[0].contains(word), "{word}: {}", errors[0]);
    }
}

#[tokio::test]
async fn b07_f94_a_tag_that_is_gone_is_written_by_who_joins_and_keeps_nobody_out() {
    let mut rig = rig();
    rig.setup.deadline = "30s".into();
    let nodes = form(&rig, 1).await;
    tagged(&nodes).await;
    let id = cluster_id(&rig, &nodes).await;
    rig.cloud.change(|world| world.set_desired(GROUP, 2));
    let joiner = rig.launch(Some(GROUP)).unwrap();

    // As `terraform apply` leaves it.
    set_tag(&rig, None);
    let run = joiner.agent("run", &["--dry-run"]).await.unwrap();
    assert!(run.stdout.contains(&format!("CreateOrUpdateTags {KEY}='{id}'")), "{}", run.stdout);
    rig.aws.inject(Action::CreateOrUpdateTags, Fault::Throttle, Often::Times(1));
    let run = joiner.agent("run", &[]).await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(tag(&rig), Some(id));
    joiner.boot();

    let mut nodes = nodes;
    nodes.push(joiner);
    whole(&rig, &nodes).await;
    tagged(&nodes[1..]).await;
    set_tag(&rig, None);
    rig.aws.inject(Action::CreateOrUpdateTags, Fault::Deny, Often::Always);
    rig.cloud.change(|world| world.set_desired(GROUP, 3));
    let joiner = rig.launch(Some(GROUP)).unwrap();
    let run = joiner.agent("run", &[]).await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(run.stderr.matches("going on without it").count(), 1, "{}", run.stderr);
    assert_eq!(tag(&rig), None);
}

#[tokio::test]
async fn b07_f94_status_and_run_tell_of_a_tag_that_is_not_as_it_must_be() {
    let rig = rig();
    let nodes = form(&rig, 1).await;
    tagged(&nodes).await;
    let id = cluster_id(&rig, &nodes).await;
    let run = nodes[0].agent("status", &[]).await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stdout);
    for (value, words) in [(None, "the group has no tag"), (Some("beef"), "names cluster beef")] {
        set_tag(&rig, value);
        let run = nodes[0].agent("status", &[]).await.unwrap();
        assert_eq!(run.code, 75, "{}", run.stdout);
        assert!(run.stdout.contains("not sound") && run.stdout.contains(words), "{}", run.stdout);
        assert!(run.stdout.contains(&id), "{}", run.stdout);
    }
    nodes[0].shut_down().await;
    for (value, words) in [(None, "the group has no tag"), (Some("beef"), "names cluster beef")] {
        set_tag(&rig, value);
        let run = nodes[0].agent("run", &[]).await.unwrap();
        assert_eq!(run.code, 0, "{}", run.stderr);
        let warned = run.stderr.lines().filter(|line| line.starts_with('W') && line.contains(words)).count();
        assert_eq!(warned, 1, "{}", run.stderr);
    }
}

#[tokio::test]
async fn b12_f95_the_cluster_of_force_is_joined_without_force() {
    let mut rig = rig();
    rig.setup.deadline = "30s".into();
    rig.group(GROUP, 1);
    set_tag(&rig, Some("beef"));
    rig.setup.agent_arguments = vec!["--initial-cluster-policy=force".into()];
    let mut nodes = vec![rig.launch(Some(GROUP)).unwrap()];
    nodes[0].boot();
    whole(&rig, &nodes).await;
    tagged(&nodes).await;
    let id = cluster_id(&rig, &nodes).await;
    assert_eq!(tag(&rig), Some(id.clone()));

    rig.setup.agent_arguments.clear();
    // As people write it.
    let decimal = u64::from_str_radix(&id, 16).unwrap().to_string();
    set_tag(&rig, Some(&decimal));
    rig.cloud.change(|world| world.set_desired(GROUP, 2));
    let joiner = rig.launch(Some(GROUP)).unwrap();
    joiner.boot();
    let joined = joiner.wait_for(Duration::from_secs(60), |event| *event == Event::ReadyExited { code: 0 }).await;
    joined.unwrap();
    nodes.push(joiner);
    whole(&rig, &nodes).await;
    assert_eq!(tag(&rig), Some(decimal), "what names this cluster is left as it is");
}

/// Beside every start of etcd, on each node of an account that asks too much already.
#[tokio::test]
async fn f66_ready_asks_a_throttled_aws_for_the_tag_less_and_less_often() {
    let rig = rig();
    let nodes = form(&rig, 1).await;
    tagged(&nodes).await;
    rig.aws.inject(Action::DescribeAutoScalingGroups, Fault::Throttle, Often::Always);
    rig.aws.forget_calls();
    let run = nodes[0].agent("ready", &["--deadline=6s"]).await.unwrap();
    assert_eq!(run.code, 69, "{}", run.stderr);
    let asked = rig.aws.count(Action::DescribeAutoScalingGroups);
    assert!((2..=6).contains(&asked), "AWS was asked {asked} times in six seconds");
}

#[tokio::test]
async fn f94_a_founding_whose_tag_is_refused_says_so() {
    let (rig, node) = alone();
    rig.aws.inject(Action::CreateOrUpdateTags, Fault::Contend, Often::Always);
    let run = node.agent("run", &["--deadline=3s"]).await.unwrap();
    let error = run.stderr.lines().find(|line| line.starts_with('E')).unwrap_or_default();
    let says = ["reason=tag-refused", "ResourceContention"].iter().all(|word| error.contains(word));
    assert!(run.code == 69 && says, "{}", run.stderr);
    assert_eq!(node.environment(), Ok(None));
}
