//! The fake against AWS's own mock of the metadata, and against moto.

use std::path::Path;
use std::process::Command;

use super::*;
use crate::support::child::Child;
use crate::support::etcd::until;
use crate::support::ground::{Block, Directory};
use crate::support::imds::{MAINTENANCE, PORT, REBALANCE, SPOT};
use crate::support::skip;

const MOCK: &str = "target/tools/ec2-metadata-mock";

/// amazon-ec2-metadata-mock at one address, told what to say.
struct Mock {
    url: String,
    _server: Child,
    _directory: Directory,
    _claim: std::net::TcpListener,
}

impl Mock {
    async fn start(arguments: &[&str]) -> Self {
        let (block, claim) = Block::claim().unwrap();
        let directory = Directory::new().unwrap();
        let (host, port) = (block.address(2).to_string(), PORT.to_string());
        let log = std::fs::File::create(directory.path().join("mock.log")).unwrap();
        let mut command = Command::new(MOCK);
        command.args(arguments).args(["--imdsv2", "--hostname", &host, "--port", &port]);
        command.env("HOME", directory.path()).stdout(log.try_clone().unwrap()).stderr(log);
        let server = Child::spawn(command).unwrap();
        let listens = async || match tokio::net::TcpStream::connect((host.as_str(), PORT)).await {
            Ok(_) => Ok(()),
            Err(e) => Err(e.to_string()),
        };
        until(seconds(60), listens).await.unwrap();
        Self { url: format!("http://{host}:{port}"), _server: server, _directory: directory, _claim: claim }
    }

    async fn get(&self, path: &str) -> Option<String> {
        metadata_at(&self.url, path).await
    }
}

/// Names and kinds of values, which is what both can agree on.
fn shape(text: Option<String>) -> Option<Vec<String>> {
    let value: serde_json::Value = serde_json::from_str(&text?).expect("it is JSON");
    let kind = |value: &serde_json::Value| match value.as_str() {
        Some(time) if humantime::parse_rfc3339(time).is_ok() => "time".to_owned(),
        _ => value.to_string(),
    };
    let fields = value.as_object().map(|fields| fields.iter().map(|(key, value)| format!("{key}={}", kind(value))));
    Some(fields.map_or_else(|| vec![value.to_string()], Iterator::collect))
}

#[tokio::test]
async fn the_metadata_mock_tells_what_is_coming_as_the_fake_does() {
    if !Path::new(MOCK).is_file() {
        return skip(format_args!("there is no {MOCK}: tests/tools/install metadata"));
    }
    let lab = Lab::settled(1, Scaling::default());
    let node = lab.rig.arrivals().unwrap().remove(0);
    for action in ["terminate", "stop"] {
        lab.change(|world| {
            world.announce_interruption(&node.instance, action);
            let notices = world.notices.entry(node.instance.clone()).or_default();
            notices.rebalance = Some(std::time::SystemTime::now());
        });
        let mock = Mock::start(&["spot", "--action", action]).await;
        for path in [SPOT, REBALANCE] {
            let (ours, theirs) = (metadata(&node, path).await, mock.get(path).await);
            assert!(ours.is_some(), "{path}");
            assert_eq!(shape(ours), shape(theirs), "{path}");
        }
    }
    // Without notices: the same 404.
    lab.change(|world| world.notices.clear());
    let mock = Mock::start(&["events"]).await;
    for path in [SPOT, REBALANCE] {
        assert_eq!((metadata(&node, path).await, mock.get(path).await), (None, None), "{path}");
    }
    // It tells of maintenance as a list.
    let list = |text: Option<String>| serde_json::from_str::<Vec<serde_json::Value>>(&text.unwrap()).unwrap();
    assert_eq!(list(metadata(&node, MAINTENANCE).await).len(), 0);
    let theirs = list(mock.get(MAINTENANCE).await);
    assert_eq!(theirs.len(), 1);
    lab.change(|world| {
        let notices = world.notices.entry(node.instance.clone()).or_default();
        notices.maintenance.clone_from(&theirs);
    });
    assert_eq!(list(metadata(&node, MAINTENANCE).await), theirs);
    // The state that it tells is that of a termination.
    let mock = Mock::start(&["asglifecycle"]).await;
    lab.change(|world| world.terminate_in_group(&node.instance));
    let ours = target(&node).await;
    assert!(ours.is_some());
    assert_eq!(ours, mock.get(TARGET_STATE).await);
}

const MOTO: &str = "target/venv/bin/moto_server";

/// moto knows hooks, and no action on them: there every instance is in service at once. It makes up a queue and a role, and
/// its global timeout is 48 hours for every hook.
#[tokio::test]
async fn moto_tells_the_hooks_as_the_fake_does() {
    if !Path::new(MOTO).is_file() {
        return skip(format_args!("there is no {MOTO}: tests/tools/install moto"));
    }
    let (block, _claim) = Block::claim().unwrap();
    let directory = Directory::new().unwrap();
    let (host, port) = (block.address(1).to_string(), "4567");
    let log = std::fs::File::create(directory.path().join("moto.log")).unwrap();
    let mut command = Command::new(MOTO);
    command.args(["-H", &host, "-p", port]).stdout(log.try_clone().unwrap()).stderr(log);
    let _server = Child::spawn(command).unwrap();
    let moto = client(&format!("http://{host}:{port}"), "eu-west-1");
    let up = async || moto.describe_auto_scaling_groups().send().await.map(|_| ()).map_err(|e| format!("{e:?}"));
    until(seconds(120), up).await.unwrap();
    let configuration = moto.create_launch_configuration().launch_configuration_name("c").image_id("ami-12345678");
    configuration.instance_type("t3.micro").send().await.unwrap();
    let group = moto.create_auto_scaling_group().auto_scaling_group_name(GROUP).launch_configuration_name("c");
    group.min_size(0).max_size(0).availability_zones("eu-west-1a").send().await.unwrap();

    let lab = Lab::begin(0, both_hooks());
    for hook in lab.hooks().await {
        let put = moto.put_lifecycle_hook().auto_scaling_group_name(GROUP);
        let put = put.set_lifecycle_hook_name(hook.lifecycle_hook_name().map(str::to_owned));
        let put = put.set_lifecycle_transition(hook.lifecycle_transition().map(str::to_owned));
        let put = put.set_heartbeat_timeout(hook.heartbeat_timeout());
        put.set_default_result(hook.default_result().map(str::to_owned)).send().await.unwrap();
    }
    let theirs = moto.describe_lifecycle_hooks().auto_scaling_group_name(GROUP).send().await.unwrap();
    let common = |hooks: &[LifecycleHook]| -> Vec<_> {
        let names = |hook: &LifecycleHook| {
            let texts = [hook.lifecycle_hook_name(), hook.auto_scaling_group_name(), hook.lifecycle_transition()];
            (
                texts.map(|text| text.map(str::to_owned)),
                hook.heartbeat_timeout(),
                hook.default_result().map(str::to_owned),
            )
        };
        hooks.iter().map(names).collect()
    };
    assert_eq!(common(&lab.hooks().await), common(theirs.lifecycle_hooks()));
}
