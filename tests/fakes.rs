//! The fakes are only worth what they share with the real thing: here the real SDKs talk to them, a
//! real etcd runs under a stand-in for the agent, and every fault is seen as the SDK shows it.

use std::io::ErrorKind::ConnectionRefused;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_autoscaling::error::ProvideErrorMetadata;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use tokio::net::TcpStream;

use crate::support::aws::{Action, Fault, Often};
use crate::support::child::Signal;
use crate::support::cloud::REGION;
use crate::support::node::{Event, Node, Programs};
use crate::support::rig::{Rig, addresses, environment_by_hand};
use crate::support::{etcd, imds};

const PATIENCE: Duration = Duration::from_secs(20);

fn rig() -> Rig {
    let etcd = etcd::find("target".as_ref()).expect("the tests need an etcd");
    let agent = "/bin/false".into();
    Rig::start(Programs { agent, etcd }).expect("a rig needs nothing special")
}

/// The SDK as it finds itself on the instance: region and credentials from its metadata service.
pub async fn sdk(rig: &Rig, node: &Node) -> SdkConfig {
    let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let provider = aws_config::provider_config::ProviderConfig::without_region().with_http_client(http.clone());
    let metadata = aws_config::imds::Client::builder()
        .configure(&provider)
        .endpoint(node.imds.url())
        .expect("the URL is one")
        .build();
    let credentials = aws_config::imds::credentials::ImdsCredentialsProvider::builder()
        .configure(&provider)
        .imds_client(metadata)
        .build();
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .http_client(http)
        .credentials_provider(credentials)
        .endpoint_url(rig.aws.url())
        .retry_config(aws_config::retry::RetryConfig::disabled())
        .load()
        .await
}

#[tokio::test]
async fn the_sdk_reads_the_group_and_its_instances_as_they_are() {
    let rig = rig();
    rig.group("other", 0);
    rig.group("etcd <&> a", 3);
    let nodes = rig.launch_many("etcd <&> a", 3).unwrap();
    rig.cloud.change(|world| world.begin_termination(&nodes[2].instance));
    let config = sdk(&rig, &nodes[0]).await;
    let scaling = aws_sdk_autoscaling::Client::new(&config);

    let own = scaling.describe_auto_scaling_instances().instance_ids(&nodes[0].instance).send().await.unwrap();
    let [own] = own.auto_scaling_instances() else { panic!("{own:?}") };
    assert_eq!(own.auto_scaling_group_name(), Some("etcd <&> a"));

    let groups = scaling.describe_auto_scaling_groups().auto_scaling_group_names("etcd <&> a").send().await.unwrap();
    let [group] = groups.auto_scaling_groups() else { panic!("{groups:?}") };
    assert_eq!(group.desired_capacity(), Some(3));
    assert!(group.auto_scaling_group_arn().unwrap().ends_with(":autoScalingGroupName/etcd <&> a"));
    let states: Vec<_> = group.instances().iter().map(|i| i.lifecycle_state().unwrap().as_str()).collect();
    assert_eq!(states, ["InService", "InService", "Terminating"]);

    let ec2 = aws_sdk_ec2::Client::new(&config);
    let ids = nodes.iter().map(|node| node.instance.clone()).chain(["i-00000000000000000".to_owned()]);
    let by_id = aws_sdk_ec2::types::Filter::builder().name("instance-id").set_values(Some(ids.collect())).build();
    let found = ec2.describe_instances().filters(by_id).send().await.unwrap();
    let found: Vec<_> = found.reservations().iter().flat_map(|reservation| reservation.instances()).collect();
    let seen: Vec<_> =
        found.iter().map(|i| (i.instance_id().unwrap(), i.private_ip_address().unwrap().to_owned())).collect();
    let are: Vec<_> = nodes.iter().map(|node| (node.instance.as_str(), node.address.to_string())).collect();
    assert_eq!(seen, are);
    assert_eq!(found[2].state().unwrap().name().unwrap().as_str(), "shutting-down");
    assert!(found[0].launch_time().is_some());

    assert!(rig.aws.calls().iter().all(|call| call.caller == nodes[0].instance));
}

#[tokio::test]
async fn a_terminated_instance_has_no_address_and_a_forgotten_one_is_not_found() {
    let rig = rig();
    rig.group("g", 2);
    let nodes = rig.launch_many("g", 2).unwrap();
    let ec2 = aws_sdk_ec2::Client::new(&sdk(&rig, &nodes[0]).await);
    let gone = &nodes[1].instance;
    rig.terminate(&nodes[1]).await;
    let reply = ec2.describe_instances().instance_ids(gone).send().await.unwrap();
    let instance = &reply.reservations()[0].instances()[0];
    assert_eq!(instance.state().unwrap().name().unwrap().as_str(), "terminated");
    assert_eq!(instance.private_ip_address(), None);
    rig.cloud.change(|world| world.forget(gone));
    let error = ec2.describe_instances().instance_ids(gone).send().await.unwrap_err();
    assert_eq!(error.code(), Some("InvalidInstanceID.NotFound"));
}

/// On AWS nobody answers for who is gone, not even to refuse; a machine that runs refuses where it does not listen.
#[tokio::test]
async fn a_terminated_instances_address_is_silent_until_another_one_has_it() {
    let rig = rig();
    rig.group("g", 1);
    let node = rig.launch(Some("g")).unwrap();
    let refuses = async |port| TcpStream::connect((node.address, port)).await.unwrap_err().kind() == ConnectionRefused;
    for port in [2379, 2380] {
        assert!(refuses(port).await, "{port}");
    }
    rig.terminate(&node).await;
    for port in [2379, 2380] {
        let answer = tokio::time::timeout(Duration::from_millis(500), TcpStream::connect((node.address, port))).await;
        assert!(answer.is_err(), "{port}: {answer:?}");
    }
    let _heir = rig.launch_at(Some("g"), node.address).unwrap();
    for port in [2379, 2380] {
        assert!(refuses(port).await, "{port}");
    }
}

#[tokio::test]
async fn a_tag_once_written_comes_with_the_group() {
    let rig = rig();
    rig.group("g", 1);
    let node = rig.launch(Some("g")).unwrap();
    let scaling = aws_sdk_autoscaling::Client::new(&sdk(&rig, &node).await);
    let tag = aws_sdk_autoscaling::types::Tag::builder()
        .resource_id("g")
        .resource_type("auto-scaling-group")
        .key("etcd-bootstrap/cluster-id")
        .value("cdf8")
        .propagate_at_launch(false);
    scaling.create_or_update_tags().tags(tag.build()).send().await.unwrap();
    let reply = scaling.describe_auto_scaling_groups().auto_scaling_group_names("g").send().await.unwrap();
    assert_eq!(reply.auto_scaling_groups()[0].tags()[0].value(), Some("cdf8"));
    assert_eq!(rig.aws.count(Action::CreateOrUpdateTags), 1);
}

#[tokio::test]
async fn short_pages_hold_everything_and_endless_ones_never_end() {
    let rig = rig();
    rig.group("g", 5);
    let nodes = rig.launch_many("g", 5).unwrap();
    let ec2 = aws_sdk_ec2::Client::new(&sdk(&rig, &nodes[0]).await);
    rig.aws.inject(Action::DescribeInstances, Fault::ShortPages(2), Often::Always);
    let pages = ec2.describe_instances().into_paginator().send().collect::<Vec<_>>().await;
    assert_eq!(pages.len(), 3);
    assert_eq!(pages.into_iter().map(|page| page.unwrap().reservations().len()).sum::<usize>(), 5);
    rig.aws.inject(Action::DescribeInstances, Fault::EndlessPages, Often::Always);
    let mut endless = ec2.describe_instances().into_paginator().stop_on_duplicate_token(false).send();
    for _ in 0..60 {
        assert!(endless.next().await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn each_fault_is_what_the_sdk_takes_it_for() {
    let rig = rig();
    rig.group("g", 1);
    let node = rig.launch(Some("g")).unwrap();
    let config = sdk(&rig, &node).await;
    let (scaling, ec2) = (aws_sdk_autoscaling::Client::new(&config), aws_sdk_ec2::Client::new(&config));
    for (fault, scaling_code, ec2_code) in [
        (Fault::Throttle, Some("Throttling"), Some("RequestLimitExceeded")),
        (Fault::Deny, Some("AccessDenied"), Some("UnauthorizedOperation")),
        (Fault::Fail, Some("InternalFailure"), Some("InternalFailure")),
        (Fault::Malform, None, None),
        (Fault::Drop, None, None),
    ] {
        rig.aws.inject_everywhere(&fault, Often::Times(1));
        let error = scaling.describe_auto_scaling_groups().send().await.unwrap_err();
        assert_eq!(error.code(), scaling_code, "{fault:?}");
        let error = ec2.describe_instances().send().await.unwrap_err();
        assert_eq!(error.code(), ec2_code, "{fault:?}");
        assert!(ec2.describe_instances().send().await.is_ok(), "{fault:?} strikes once only");
        rig.aws.heal();
    }
}

/// What the agent has to guard against, since the SDK does not.
#[tokio::test]
async fn an_answer_cut_in_half_looks_like_a_shorter_list_to_the_sdk() {
    let rig = rig();
    rig.group("g", 4);
    let nodes = rig.launch_many("g", 4).unwrap();
    let ec2 = aws_sdk_ec2::Client::new(&sdk(&rig, &nodes[0]).await);
    rig.aws.inject(Action::DescribeInstances, Fault::Cut, Often::Always);
    let reply = ec2.describe_instances().send().await.expect("the SDK sees no fault");
    assert!(reply.reservations().len() < 4);
}

#[tokio::test]
async fn a_stale_answer_shows_the_past_and_a_partial_one_lacks_what_it_was_told() {
    let rig = rig();
    rig.group("g", 2);
    let first = rig.launch(Some("g")).unwrap();
    let scaling = aws_sdk_autoscaling::Client::new(&sdk(&rig, &first).await);
    let listed = async || {
        let reply = scaling.describe_auto_scaling_groups().send().await.unwrap();
        reply.auto_scaling_groups().first().map(|group| group.instances().len())
    };
    let then = rig.cloud.now();
    let second = rig.launch(Some("g")).unwrap();
    let action = Action::DescribeAutoScalingGroups;
    assert_eq!(listed().await, Some(2));
    for (fault, expected) in [
        (Fault::Frozen(then), Some(1)),
        (Fault::Lag(Duration::from_secs(60)), None),
        (Fault::Without([second.instance.clone()].into()), Some(1)),
        (Fault::Empty, None),
    ] {
        rig.aws.inject(action, fault.clone(), Often::Times(1));
        assert_eq!(listed().await, expected, "{fault:?}");
    }
}

#[tokio::test]
async fn what_aws_would_refuse_is_refused_and_remembered() {
    let rig = rig();
    let node = rig.launch(None).unwrap();
    let scaling = aws_sdk_autoscaling::Client::new(&sdk(&rig, &node).await);
    assert!(scaling.describe_policies().send().await.is_err());
    let too_many = (0..51).map(|number| format!("i-{number}")).collect();
    let call = scaling.describe_auto_scaling_instances().set_instance_ids(Some(too_many));
    assert!(call.send().await.is_err());
    let unsigned = std::net::TcpStream::connect(rig.aws.url().trim_start_matches("http://")).unwrap();
    let answer = tokio::task::spawn_blocking(move || raw_exchange(unsigned, "POST / HTTP/1.1")).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert_eq!(rig.aws.complaints().len(), 3, "{:?}", rig.aws.complaints());
    rig.aws.forgive();
}

#[tokio::test]
async fn metadata_is_told_to_the_holder_of_a_token_only() {
    let rig = rig();
    rig.group("g", 1);
    let node = rig.launch(Some("g")).unwrap();
    let exchange = async |request: &str| {
        let stream = std::net::TcpStream::connect((node.address, imds::PORT)).unwrap();
        let request = request.to_owned();
        tokio::task::spawn_blocking(move || raw_exchange(stream, &request)).await.unwrap()
    };
    let get = |path: &str, token: &str| format!("GET {path} HTTP/1.1\r\nX-aws-ec2-metadata-token: {token}");
    assert!(exchange(&get(imds::IDENTITY, "guessed")).await.starts_with("HTTP/1.1 401"));
    assert!(exchange("PUT /latest/api/token HTTP/1.1").await.starts_with("HTTP/1.1 400"));
    let put = "PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 60";
    let token = exchange(put).await.lines().last().unwrap().to_owned();
    assert!(exchange(&get(imds::IDENTITY, &token)).await.contains(&node.instance));
    assert!(exchange(&get(imds::TARGET_STATE, &token)).await.ends_with("InService"));
    assert!(exchange(&get("/latest/meta-data/ipv6", &token)).await.starts_with("HTTP/1.1 404"));
    node.imds.inject(imds::Fault::V1Only);
    assert!(exchange(put).await.starts_with("HTTP/1.1 405"));
    assert!(exchange(&get(imds::IDENTITY, "")).await.starts_with("HTTP/1.1 200"));
    node.imds.heal();
    node.imds.inject(imds::Fault::Fail(1));
    assert!(exchange(put).await.starts_with("HTTP/1.1 500"));
    assert!(exchange(put).await.starts_with("HTTP/1.1 200"));
}

/// One request on a connection of its own; the whole answer.
fn raw_exchange(mut stream: std::net::TcpStream, head: &str) -> String {
    use std::io::{Read, Write};
    let mut answer = String::new();
    write!(stream, "{head}\r\nHost: fake\r\nConnection: close\r\n\r\n").unwrap();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test]
async fn the_address_of_a_terminated_instance_is_free_at_once() {
    let rig = rig();
    let mut node = rig.launch(None).unwrap();
    for _ in 0..20 {
        rig.terminate(&node).await;
        node = rig.launch_at(None, node.address).unwrap();
    }
}

#[tokio::test]
async fn etcds_started_by_hand_are_one_whole_cluster() {
    let rig = rig();
    rig.group("g", 3);
    let nodes = rig.launch_many("g", 3).unwrap();
    for node in &nodes {
        node.boot_by_hand(&environment_by_hand(node, &nodes));
    }
    rig.judge.whole_cluster(&addresses(&nodes), PATIENCE).await.unwrap();
    let mut client = rig.judge.client(&addresses(&nodes)).await.unwrap();
    client.put("key", "value", None).await.unwrap();
    assert_eq!(rig.judge.cluster_ids(&addresses(&nodes)).await.len(), 1);
    assert!(nodes.iter().all(|node| etcd::pause_before_start(&node.log("etcd.log")).is_some()));
    nodes[2].cut_power().await;
    rig.judge.whole_cluster(&addresses(&nodes), Duration::ZERO).await.unwrap_err();
    assert!(!rig.judge.is_healthy(nodes[2].address).await);
}

/// A stand-in for the agent that does what the script says; `$env` is the environment file.
fn stand_in(rig: &mut Rig, script: &str) {
    let begin = "#!/bin/sh\nfor o; do case $o in --environment-file=*) env=${o#*=};; esac; done\n";
    rig.programs.agent = rig.directory.script("agent", &format!("{begin}{script}")).unwrap();
}

/// Writes the environment of a cluster of one on `IP`.
const WRITE: &str = "mkdir -p ${env%/*}; cat >$env <<EOF
ETCD_NAME=one
ETCD_INITIAL_CLUSTER=one=http://$IP:2380
ETCD_INITIAL_ADVERTISE_PEER_URLS=http://$IP:2380
ETCD_ADVERTISE_CLIENT_URLS=http://$IP:2379
ETCD_LISTEN_PEER_URLS=http://$IP:2380
ETCD_LISTEN_CLIENT_URLS=http://$IP:2379
EOF
";

#[tokio::test]
async fn an_agent_that_refuses_or_says_not_now_is_run_again_and_etcd_starts_after_it() {
    let mut rig = rig();
    let address = rig.fresh_address();
    rig.setup.agent_environment.insert("IP".to_owned(), address.to_string());
    let twice = "[ $1 = ready ] && exit 0
        echo x >>$HOME/count; case $(wc -l <$HOME/count) in 1) exit 78;; 2) exit 75;; esac\n";
    stand_in(&mut rig, &format!("{twice}{WRITE}"));
    let node = rig.launch_at(None, address).unwrap();
    node.boot();
    node.wait_for(PATIENCE, |event| *event == Event::EtcdReady).await.unwrap();
    assert_eq!(exit_codes(&node), [78, 75, 0]);
    assert!(rig.judge.is_healthy(node.address).await);

    // Whenever etcd ends, the agent runs before it starts again.
    node.signal(Signal::Kill);
    let came_back = async || {
        let starts = node.events().iter().filter(|(_, event)| *event == Event::EtcdReady).count();
        if exit_codes(&node).len() == 4 && starts == 2 { Ok(()) } else { Err(format!("{:?}", node.events())) }
    };
    etcd::until(PATIENCE, came_back).await.unwrap();

    // A reboot empties /run and keeps the disk.
    node.shut_down().await;
    node.boot();
    assert_eq!(node.environment(), Ok(None));
    node.wait_for(PATIENCE, |event| *event == Event::EtcdReady).await.unwrap();
    assert!(node.data_dir().join("member/wal").is_dir());
    node.shut_down().await;
    node.wipe_disk().unwrap();
    assert!(!node.data_dir().exists());
}

fn exit_codes(node: &Node) -> Vec<i32> {
    let code = |event: &Event| match event {
        Event::AgentExited { code, .. } => Some(*code),
        _ => None,
    };
    node.events().iter().filter_map(|(_, event)| code(event)).collect()
}

#[tokio::test]
async fn an_etcd_that_never_gets_ready_is_stopped_and_the_agent_asked_again() {
    let mut rig = rig();
    let address = rig.fresh_address();
    rig.setup.start_timeout = Duration::from_millis(500);
    rig.setup.agent_environment.insert("IP".to_owned(), address.to_string());
    let lonely = WRITE.replace("one=http://$IP:2380", "one=http://$IP:2380,two=http://127.0.0.1:9");
    stand_in(&mut rig, &lonely);
    let node = rig.launch_at(None, address).unwrap();
    node.boot();
    node.wait_for(PATIENCE, |event| *event == Event::EtcdTooSlow).await.unwrap();
    let asked_again = async || match exit_codes(&node).len() {
        0 | 1 => Err(format!("{:?}", node.events())),
        _ => Ok(()),
    };
    etcd::until(PATIENCE, asked_again).await.unwrap();
}

#[tokio::test]
async fn a_run_by_hand_tells_code_output_and_memory() {
    let mut rig = rig();
    stand_in(&mut rig, "echo out; echo err >&2; echo $AWS_ENDPOINT_URL_EC2 $AWS_ENDPOINT_URL_KMS; sleep 0.1; exit 64");
    let node = rig.launch(None).unwrap();
    let run = node.agent("run", &["--dry-run"]).await.unwrap();
    let output = format!("out\n{0} {0}\n", rig.aws.url());
    assert_eq!((run.code, run.stdout, run.stderr), (64, output, "err\n".to_owned()));
    assert!((100_000..10_000_000).contains(&run.peak_rss), "{}", run.peak_rss);
}

#[tokio::test]
async fn a_rig_is_there_at_once_and_many_fit_beside_each_other() {
    let began = Instant::now();
    let rigs: Vec<_> = (0..10).map(|_| rig()).collect();
    for rig in &rigs {
        rig.group("g", 5);
        rig.launch_many("g", 5).unwrap();
    }
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    assert!(TcpListener::bind(rigs[0].aws.url().trim_start_matches("http://")).is_err());
}
