//! The main job against moto's server as the AWS API, so that our own fake is not the only judge of the calls. The
//! group, its instances, their addresses and the replacement are moto's; only the metadata services are ours, and
//! tell what moto's API tells. And the two calls to KMS, whose answers are held against the fake's.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use aws_sdk_kms::config::Credentials;

use crate::kms;
use crate::support::awscli::REGION;
use crate::support::child::Child;
use crate::support::cloud::{Cloud, Ec2State, Instance, Place};
use crate::support::etcd::{Judge, built, until};
use crate::support::ground::{Block, Directory};
use crate::support::imds::{IDENTITY, Imds};
use crate::support::node::{Event, Node, Programs, Setup};
use crate::support::rig::addresses;
use crate::support::skip;

/// Far more than it takes: moto alone needs seconds to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
const ZONE: &str = "eu-west-1a";
const GROUP: &str = "etcd-a";
const SERVER: &str = "target/venv/bin/moto_server";

#[tokio::test]
async fn f24_forms_and_replaces_a_terminated_instance_with_moto_as_aws() {
    let Some(moto) = Moto::start_if_there().await else { return };
    let mut nodes: Vec<Node> = moto.launch_group(3).await.iter().map(|found| moto.machine(found)).collect();
    nodes.iter().for_each(Node::boot);
    let judge = Judge::new();
    judge.whole_cluster(&addresses(&nodes), PATIENCE).await.unwrap();
    let cluster = moto.one_cluster(&judge, &nodes).await;
    let mut client = judge.client(&addresses(&nodes[1..])).await.unwrap();
    client.put("kept", "safe", None).await.unwrap();
    nodes[0].wait_for(PATIENCE, |event| matches!(event, Event::ReadyExited { code: 0 })).await.unwrap();

    let dead = nodes.remove(0);
    dead.cut_power().await;
    dead.imds.unplug().await;
    moto.terminate(&dead.instance).await;
    let fresh = moto.instances().await.into_iter().filter(|found| found.state == "running");
    let fresh: Vec<_> = fresh.filter(|found| nodes.iter().all(|node| node.instance != found.id)).collect();
    assert_eq!(fresh.len(), 1, "moto replaces a terminated instance by itself: {fresh:?}");
    nodes.push(moto.machine(&fresh[0]));
    nodes[2].boot();
    judge.whole_cluster(&addresses(&nodes), PATIENCE).await.unwrap();

    assert_eq!(moto.one_cluster(&judge, &nodes).await, cluster);
    let reply = client.get("kept", None).await.unwrap();
    assert_eq!(reply.kvs().iter().map(|kv| kv.value()).collect::<Vec<_>>(), [b"safe"]);
    let group = moto.ask("autoscaling", &[("Action", "DescribeAutoScalingGroups")]).await;
    let tags: BTreeMap<_, _> = values(&group, "Key").into_iter().zip(values(&group, "Value")).collect();
    assert_eq!(tags.keys().collect::<Vec<_>>(), ["etcd-bootstrap/cluster-id", "etcd-bootstrap/founding"]);
    assert_eq!(tags["etcd-bootstrap/cluster-id"], cluster, "moto has taken the tag of ready");
    assert!(tags["etcd-bootstrap/founding"].starts_with(&format!("{cluster} ")), "{tags:?}");
}

#[tokio::test]
async fn f116_tagged_instances_form_and_one_is_replaced_with_moto_as_aws() {
    let Some(mut moto) = Moto::start_if_there().await else { return };
    moto.setup.agent_arguments = ["--discover-tag=etcd=main", "--cluster-size=3"].map(str::to_owned).to_vec();
    let subnet = moto.create_subnet().await;
    let mut nodes: Vec<Node> = moto.run_instances(&subnet, 3).await.iter().map(|found| moto.machine(found)).collect();
    nodes.iter().for_each(Node::boot);
    let judge = Judge::new();
    judge.whole_cluster(&addresses(&nodes), PATIENCE).await.unwrap();
    let cluster = moto.one_cluster(&judge, &nodes).await;
    nodes[0].wait_for(PATIENCE, |event| matches!(event, Event::ReadyExited { code: 0 })).await.unwrap();

    let dead = nodes.remove(0);
    dead.cut_power().await;
    dead.imds.unplug().await;
    moto.ask("ec2", &[("Action", "TerminateInstances"), ("InstanceId.1", &dead.instance)]).await;
    nodes.push(moto.machine(&moto.run_instances(&subnet, 1).await[0]));
    nodes[2].boot();
    judge.whole_cluster(&addresses(&nodes), PATIENCE).await.unwrap();
    assert_eq!(moto.one_cluster(&judge, &nodes).await, cluster);
    nodes[2].wait_for(PATIENCE, |event| matches!(event, Event::ReadyExited { code: 0 })).await.unwrap();
    let mark = [("Filter.1.Name", "tag:etcd-bootstrap/cluster-id"), ("Filter.1.Value.1", cluster.as_str())];
    let marked = moto.ask("ec2", &[&[("Action", "DescribeInstances")], &mark[..]].concat()).await;
    assert_eq!(values(&marked, "instanceId").len(), 4, "the dead one keeps its mark, the new one has got it: {marked}");
}

#[tokio::test]
async fn doctor_reads_what_moto_tells_of_a_group() {
    let Some(moto) = Moto::start_if_there().await else { return };
    let node = moto.machine(&moto.launch_group(3).await[0]);
    let change = [("HealthCheckType", "ELB"), ("MaxSize", "3")];
    moto.ask(
        "autoscaling",
        &[&[("Action", "UpdateAutoScalingGroup"), ("AutoScalingGroupName", GROUP)], &change[..]].concat(),
    )
    .await;
    let suspend =
        [("Action", "SuspendProcesses"), ("AutoScalingGroupName", GROUP), ("ScalingProcesses.member.1", "Launch")];
    moto.ask("autoscaling", &suspend).await;
    let run = node.agent("doctor", &[]).await.unwrap();
    for word in ["asks ELB", "MaxSize is 3", "suspended are Launch", "in eu-west-1a", "no hook etcd-bootstrap-launch"] {
        assert!(run.stdout.contains(word), "{word}: {}{}", run.stdout, run.stderr);
    }
    assert!(run.stdout.ends_with("1 of 13 checks fail: group\n"), "{}", run.stdout);
}

#[tokio::test]
async fn kms_is_answered_by_the_fake_as_by_moto() {
    let Some(moto) = Moto::start_if_there().await else { return };
    let theirs = kms::client(&moto.url, REGION, Credentials::new("test", "test", None, None, "test"));
    let create = serde_json::json!({ "KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY" });
    let created = moto.ask_kms("CreateKey", create).await;
    let (id, arn) = (&created["KeyMetadata"]["KeyId"], &created["KeyMetadata"]["Arn"]);
    moto.ask_kms("CreateAlias", serde_json::json!({ "AliasName": "alias/etcd-members", "TargetKeyId": id })).await;

    let (_rig, ours, own) = kms::fake_with_key("alias/etcd-members");
    for (their_name, our_name) in [
        (id.as_str().unwrap(), own.id.as_str()),
        (arn.as_str().unwrap(), &own.arn()),
        ("alias/etcd-members", "alias/etcd-members"),
    ] {
        let told = kms::told_and_signs(&theirs, their_name).await;
        assert_eq!(told, kms::told_and_signs(&ours, our_name).await, "{our_name}");
    }
    // moto signs with a disabled key too, and knows no roles: those refusals are the fake's alone.
    for name in ["alias/none", "00000000-0000-4000-8000-000000000000"] {
        let refused = kms::refused(&theirs, name).await;
        // moto is in another region.
        let refused = refused.map(|text| text.replace(REGION, kms::OUR_REGION));
        assert_eq!(refused, kms::refused(&ours, name).await);
    }
}

/// moto's server, on the ground of this test.
pub struct Moto {
    pub url: String,
    http: reqwest::Client,
    directory: Directory,
    block: Block,
    cloud: Cloud,
    /// Of its machines.
    setup: Setup,
    _server: Child,
    /// Holds the block of addresses.
    _claim: TcpListener,
}

/// What moto's EC2 tells of an instance.
#[derive(Debug)]
struct Found {
    id: String,
    address: Option<Ipv4Addr>,
    dns_name: String,
    state: String,
}

impl Moto {
    /// None where it is not installed, and the test is skipped.
    pub async fn start_if_there() -> Option<Self> {
        Self::start_with(&[]).await
    }

    /// The same with further environment.
    pub async fn start_with(environment: &[(&str, &str)]) -> Option<Self> {
        if !Path::new(SERVER).is_file() {
            skip(format_args!("there is no {SERVER}: tests/tools/install moto"));
            return None;
        }
        Some(Self::start(environment).await)
    }

    /// A bucket of S3, in its region.
    pub async fn create_bucket(&self, name: &str) {
        let place = format!(
            "<CreateBucketConfiguration><LocationConstraint>{REGION}</LocationConstraint></CreateBucketConfiguration>"
        );
        let scope = format!("AWS4-HMAC-SHA256 Credential=test/20261121/{REGION}/s3/aws4_request");
        let call = self.http.put(format!("{}/{name}", self.url)).body(place);
        answer(call.header("authorization", format!("{scope}, SignedHeaders=host, Signature=0"))).await;
    }

    pub fn address(&self) -> SocketAddr {
        self.url.trim_start_matches("http://").parse().unwrap()
    }

    async fn start(environment: &[(&str, &str)]) -> Self {
        let (block, claim) = Block::claim().unwrap();
        let directory = Directory::new().unwrap();
        // Not the port of the claim: moto cannot take over a listener.
        let (host, port) = (block.address(1).to_string(), "4567");
        let mut command = Command::new(SERVER);
        let log = std::fs::File::create(directory.path().join("moto.log")).unwrap();
        command.args(["-H", &host, "-p", port]).envs(environment.iter().copied());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let server = Child::spawn(command).unwrap();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        let url = format!("http://{host}:{port}");
        let cloud = Cloud::default();
        let setup = Setup::default();
        let moto = Self { url, http, directory, block, cloud, setup, _server: server, _claim: claim };
        let up = until(PATIENCE, async || {
            let answer = moto.http.get(format!("{}/moto-api/", moto.url)).send().await;
            answer.map(|_| ()).map_err(|e| e.to_string())
        });
        up.await.unwrap();
        moto
    }

    /// Makes a network inside the loopback range, so that its addresses can be bound here.
    async fn create_subnet(&self) -> String {
        let range = format!("{}/24", self.block.address(0));
        let vpc = self.ask("ec2", &[("Action", "CreateVpc"), ("CidrBlock", &range)]).await;
        let vpc = values(&vpc, "vpcId").remove(0);
        let subnet = [("Action", "CreateSubnet"), ("VpcId", &vpc), ("CidrBlock", &range), ("AvailabilityZone", ZONE)];
        values(&self.ask("ec2", &subnet).await, "subnetId").remove(0)
    }

    /// Makes a group in a network of its own.
    async fn launch_group(&self, size: usize) -> Vec<Found> {
        let subnet = self.create_subnet().await;
        let template = [
            ("Action", "CreateLaunchTemplate"),
            ("LaunchTemplateName", "etcd"),
            ("LaunchTemplateData.ImageId", "ami-12345678"),
            ("LaunchTemplateData.InstanceType", "t4g.small"),
        ];
        self.ask("ec2", &template).await;
        let size = size.to_string();
        let group = [
            ("Action", "CreateAutoScalingGroup"),
            ("AutoScalingGroupName", GROUP),
            ("LaunchTemplate.LaunchTemplateName", "etcd"),
            ("MinSize", "0"),
            ("MaxSize", "9"),
            ("DesiredCapacity", &size),
            ("VPCZoneIdentifier", &subnet),
        ];
        self.ask("autoscaling", &group).await;
        self.instances().await
    }

    /// Terminates an instance as Auto Scaling does: the group keeps its size.
    async fn terminate(&self, instance: &str) {
        let call = [
            ("Action", "TerminateInstanceInAutoScalingGroup"),
            ("InstanceId", instance),
            ("ShouldDecrementDesiredCapacity", "false"),
        ];
        self.ask("autoscaling", &call).await;
    }

    /// Launches tagged instances of no group.
    async fn run_instances(&self, subnet: &str, count: usize) -> Vec<Found> {
        let count = count.to_string();
        let call = [
            ("Action", "RunInstances"),
            ("ImageId", "ami-12345678"),
            ("InstanceType", "t4g.small"),
            ("MinCount", &count),
            ("MaxCount", &count),
            ("SubnetId", subnet),
            ("TagSpecification.1.ResourceType", "instance"),
            ("TagSpecification.1.Tag.1.Key", "etcd"),
            ("TagSpecification.1.Tag.1.Value", "main"),
        ];
        Self::found(&self.ask("ec2", &call).await)
    }

    async fn instances(&self) -> Vec<Found> {
        Self::found(&self.ask("ec2", &[("Action", "DescribeInstances")]).await)
    }

    fn found(text: &str) -> Vec<Found> {
        let first = |part: &str, name: &str| values(part, name).into_iter().next().unwrap_or_default();
        let found = text.split("<instanceId>").skip(1).map(|part| Found {
            id: part.split('<').next().unwrap_or_default().to_owned(),
            address: first(part, "privateIpAddress").parse().ok(),
            dns_name: first(part, "privateDnsName"),
            state: first(part, "name"),
        });
        found.collect()
    }

    /// The machine of one of moto's instances. Its metadata service is ours, what it tells is moto's.
    fn machine(&self, found: &Found) -> Node {
        let address = found.address.expect("a running instance has an address");
        self.cloud.change(|world| {
            world.instances.push(Instance {
                id: found.id.clone(),
                state: Ec2State::Running,
                place: Some(Place { group: GROUP.into(), lifecycle: "InService".into(), target: "InService".into() }),
                launched_by: Some(GROUP.into()),
                tags: BTreeMap::new(),
                vpc: None,
                address: Some(address),
                zone: ZONE.into(),
                launched: SystemTime::now(),
                known: true,
            });
        });
        let imds = Imds::start(self.cloud.clone(), &found.id, address, None).unwrap();
        let document = serde_json::json!({
            "instanceId": found.id, "privateIp": address, "region": REGION, "availabilityZone": ZONE,
        });
        imds.answer(IDENTITY, 200, &document.to_string());
        imds.answer("/latest/meta-data/local-hostname", 200, &found.dns_name);
        let etcd = built("target".as_ref()).into_iter().rfind(|(version, _)| version.starts_with("3.6."));
        let etcd = etcd.map(|(_, path)| path).or_else(|| crate::support::etcd::find("target".as_ref()).ok());
        let programs = Programs {
            agent: env!("CARGO_BIN_EXE_etcd-bootstrap").into(),
            etcd: etcd.expect("the tests need an etcd"),
        };
        let place = (found.id.clone(), address);
        Node::new(&programs, &self.setup, place, imds, &self.url, self.directory.path()).unwrap()
    }

    async fn one_cluster(&self, judge: &Judge, nodes: &[Node]) -> String {
        let mut ids: Vec<String> = judge.cluster_ids(&addresses(nodes)).await.into_iter().collect();
        assert_eq!(ids.len(), 1, "one cluster: {ids:?}");
        ids.pop().unwrap()
    }

    /// One call of a query API. moto reads the service and the region from the signature's scope and checks no more.
    async fn ask(&self, service: &str, parameters: &[(&str, &str)]) -> String {
        let version = if service == "ec2" { "2016-11-15" } else { "2011-01-01" };
        let body = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("Version", version)
            .extend_pairs(parameters)
            .finish();
        let call = self.call(service).header("content-type", "application/x-www-form-urlencoded").body(body);
        answer(call).await
    }

    /// One call of KMS, for what the agent does not call.
    async fn ask_kms(&self, action: &str, parameters: serde_json::Value) -> serde_json::Value {
        let call = self.call("kms").header("content-type", "application/x-amz-json-1.1");
        let call = call.header("x-amz-target", format!("TrentService.{action}")).body(parameters.to_string());
        serde_json::from_str(&answer(call).await).unwrap()
    }

    fn call(&self, service: &str) -> reqwest::RequestBuilder {
        let scope = format!("AWS4-HMAC-SHA256 Credential=test/20261121/{REGION}/{service}/aws4_request");
        self.http.post(&self.url).header("authorization", format!("{scope}, SignedHeaders=host, Signature=0"))
    }
}

async fn answer(call: reqwest::RequestBuilder) -> String {
    let reply = call.send().await.unwrap();
    let (status, text) = (reply.status(), reply.text().await.unwrap());
    assert!(status.is_success(), "{status}: {text}");
    text
}

/// The texts of all elements of that name.
fn values(xml: &str, name: &str) -> Vec<String> {
    let start = format!("<{name}>");
    let texts = xml.split(&start).skip(1).filter_map(|part| part.split('<').next());
    texts.map(|text| text.trim().to_owned()).collect()
}
