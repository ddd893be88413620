//! What `status` tells programs: of real clusters, on a node and on a machine that is no instance, held against the schema
//! that is published.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use boon::{Compiler, SchemaIndex, Schemas};
use etcd_bootstrap::certificate::Purpose;
use etcd_bootstrap::decide::health::Cause;
use etcd_bootstrap::decide::{Standing, health_of_members, soundness};
use etcd_bootstrap::files::saved::{Record, read_record};
use etcd_bootstrap::report::Status;
use etcd_client::{AlarmAction, AlarmType};
use serde_json::{Map, Value, json};

use crate::scenario::{GROUP, form, on_one_etcd, tagged, whole};
use crate::support::aws::Action;
use crate::support::child::{Child, exit_code};
use crate::support::cloud::REGION;
use crate::support::node::{Node, Run};
use crate::support::rig::{Rig, addresses};
use crate::support::tls::{KEYS, signed_by};

on_one_etcd!(
    a_sound_cluster_is_told_by_a_node_and_from_outside,
    an_alarm_a_silent_member_and_a_dead_one_are_told_by_name,
    who_cannot_look_says_why_and_ends_with_69,
);

// ---------------------------------------------------------------- real clusters

async fn a_sound_cluster_is_told_by_a_node_and_from_outside(mut rig: Rig) {
    rig.certify();
    rig.group(GROUP, 3);
    let nodes = rig.launch_many(GROUP, 3).unwrap();
    nodes.iter().for_each(Node::boot);
    whole(&rig, &nodes).await;
    tagged(&nodes).await;
    let id = rig.judge.members(nodes[0].address).await.unwrap().cluster_id;

    let run = nodes[0].agent("status", &["--output=json"]).await.unwrap();
    let told = valid(&run);
    assert_eq!((run.code, &told["sound"], &told["reason"]), (0, &json!(true), &json!(null)), "{told:#}");
    assert_eq!((&told["cluster_id"], &told["group"], &told["desired"]), (&json!(id), &json!(GROUP), &json!(3)));
    let members = told["members"].as_array().unwrap();
    let instances: BTreeSet<&str> = members.iter().filter_map(|m| m["instance"].as_str()).collect();
    assert_eq!(instances, nodes.iter().map(|node| node.instance.as_str()).collect());
    assert_eq!(members.iter().filter(|m| m["leads"] == true).count(), 1, "{told:#}");
    for member in members {
        let words = ["role", "verdict", "ec2_state", "lifecycle_state"].map(|word| member[word].as_str().unwrap());
        assert_eq!(words, ["voter", "ok", "running", "InService"], "{member:#}");
        let database = &member["database"];
        let sizes = ["size", "size_in_use", "quota"].map(|size| database[size].as_u64().unwrap());
        assert!(sizes[0] >= sizes[1] && sizes[1] > 0 && sizes[2] == 2 << 30, "{member:#}");
        assert!(member["lag"].as_u64().unwrap() < 100 && member["version"].as_str().unwrap().starts_with("3."));
        // A node's certificate is valid for two weeks.
        let until = humantime::parse_rfc3339(member["certificate_until"].as_str().unwrap()).unwrap();
        let days = until.duration_since(std::time::SystemTime::now()).unwrap().as_secs() / 86_400;
        assert_eq!(days, 13, "{member:#}");
    }

    // A client's certificate opens the client ports alone.
    let laptop = Laptop::new(&rig);
    let tls = laptop.client_certificate(&rig);
    let tls: Vec<&str> = tls.iter().map(String::as_str).collect();
    rig.aws.forget_calls();
    let run = laptop.status(&[&["--region", REGION], tls.as_slice()].concat(), &KEYS_OF_A_PERSON).await;
    let outside = valid(&run);
    assert_eq!((run.code, &outside["sound"]), (0, &json!(true)), "{outside:#} {}", run.stderr);
    assert_eq!(outside["cluster_id"], told["cluster_id"]);
    let part = |told: &Value| -> Vec<Value> {
        let members = told["members"].as_array().unwrap().iter();
        let names = ["id", "name", "instance", "role", "verdict", "leads", "certificate_until"];
        members.map(|m| names.iter().map(|name| m[name].clone()).collect()).collect()
    };
    assert_eq!(part(&outside), part(&told));
    let reads = ["DescribeAutoScalingGroups", "DescribeInstances"].map(str::to_owned);
    let calls: BTreeSet<String> = rig.aws.calls().into_iter().map(|call| call.action).collect();
    assert_eq!(calls, reads.into(), "nothing but reads");
    assert!(laptop.asked_no_metadata(), "{}", run.stderr);
    println!("status from outside took {:?}", run.took);

    // Without a certificate there is nothing to be seen, and nobody is called ill.
    let run = laptop.status(&["--region", REGION], &KEYS_OF_A_PERSON).await;
    let told = valid(&run);
    assert_eq!((run.code, &told["sound"], &told["reason"]), (69, &json!(null), &json!("cut-off")), "{told:#}");
    assert!(told["summary"].as_str().unwrap().starts_with("not known: no member can be reached"), "{told:#}");
}

async fn an_alarm_a_silent_member_and_a_dead_one_are_told_by_name(rig: Rig) {
    let nodes = form(&rig, 3).await;
    tagged(&nodes).await;
    let list = rig.judge.members(nodes[0].address).await.unwrap();
    let laptop = Laptop::new(&rig);
    laptop.write_profile("etcd");
    let (node, profile) = (&nodes[0], [("AWS_PROFILE", "etcd"), ("AWS_REGION", REGION)]);
    let both = async || {
        let http = ["--etcd-client-schema=http", "--etcd-peer-scheme=http"];
        let runs = [node.agent("status", &["--output=json"]).await.unwrap(), laptop.status(&http, &profile).await];
        runs.map(|run| (run.code, valid(&run)))
    };

    let full = list.member(&nodes[1].instance).unwrap().id;
    let mut client = rig.judge.client(&addresses(&nodes)).await.unwrap();
    client.alarm(AlarmAction::Activate, AlarmType::Nospace, Some(alarm_of(full))).await.unwrap();
    for (code, told) in both().await {
        assert_eq!((code, &told["reason"]), (75, &json!("alarm")), "{told:#}");
        for member in told["members"].as_array().unwrap() {
            let expected = if member["id"] == format!("{full:x}") { json!(["NOSPACE"]) } else { json!([]) };
            assert_eq!(member["alarms"], expected, "{told:#}");
        }
    }
    client.alarm(AlarmAction::Deactivate, AlarmType::Nospace, Some(alarm_of(full))).await.unwrap();

    nodes[2].cut_power().await;
    rig.unplug(&nodes[2]).await;
    for (code, told) in both().await {
        assert_eq!((code, &told["sound"], &told["reason"]), (75, &json!(false), &json!("member-silent")), "{told:#}");
        assert_eq!(member(&told, &nodes[2])["verdict"], "silent", "{told:#}");
    }
    rig.cloud.change(|world| world.terminate(&nodes[2].instance));
    for (code, told) in both().await {
        assert_eq!((code, &told["reason"]), (75, &json!("proven-dead")), "{told:#}");
        let dead = member(&told, &nodes[2]);
        assert_eq!((&dead["verdict"], &dead["ec2_state"]), (&json!("dead"), &json!("terminated")), "{told:#}");
        assert_eq!((&dead["lifecycle_state"], &dead["database"]), (&json!(null), &json!(null)), "{told:#}");
        assert_eq!(member(&told, &nodes[0])["verdict"], "ok", "{told:#}");
    }
    assert!(laptop.asked_no_metadata());
}

async fn who_cannot_look_says_why_and_ends_with_69(rig: Rig) {
    rig.group(GROUP, 1);
    let laptop = Laptop::new(&rig);
    let unknown = |run: &Run, reason: &str, word: &str| {
        let told = valid(run);
        assert_eq!((run.code, &told["sound"], &told["reason"]), (69, &json!(null), &json!(reason)), "{told:#}");
        assert!(told["summary"].as_str().unwrap().contains(word), "{told:#}");
        assert_eq!((&told["cluster_id"], &told["members"], &told["ills"]), (&json!(null), &json!([]), &json!([])));
    };
    let of_another = ["--region", REGION, "--scaling-group-name=nobodys"];
    let run = laptop.status(&of_another, &KEYS_OF_A_PERSON).await;
    unknown(&run, "group-blind", "nobodys");
    assert!(laptop.asked_no_metadata() && run.took < Duration::from_secs(5), "{:?}", run.took);

    // The group is there, and not one instance.
    let run = laptop.status(&["--region", REGION], &KEYS_OF_A_PERSON).await;
    let told = valid(&run);
    assert_eq!((run.code, &told["reason"], &told["group"]), (75, &json!("no-quorum"), &json!(GROUP)), "{told:#}");

    // The SDK looks for credentials at the metadata last of all, and so says who has none.
    let run = laptop.status(&["--region", REGION], &[]).await;
    unknown(&run, "group-blind", "DescribeAutoScalingGroups");
    println!("status without credentials took {:?}: {}", run.took, valid(&run)["summary"]);

    let laptop = Laptop::new(&rig);
    let run = laptop.status(&[], &KEYS_OF_A_PERSON).await;
    unknown(&run, "metadata-blind", "instance metadata");
    assert!(run.stderr.contains("give status --scaling-group-name or --discover-tag, and --region"), "{}", run.stderr);
    assert_eq!(rig.aws.count(Action::DescribeAutoScalingInstances), 0);
}

fn member<'a>(told: &'a Value, node: &Node) -> &'a Value {
    let members = told["members"].as_array().unwrap();
    members.iter().find(|m| m["name"] == node.instance).unwrap_or_else(|| panic!("{} in {told:#}", node.instance))
}

fn alarm_of(member: u64) -> etcd_client::AlarmOptions {
    let mut options = etcd_client::AlarmOptions::new();
    options.with_member(member);
    options
}

// ---------------------------------------------------------------- a machine that is no instance

/// A key that lasts, as people have it in their environment.
const KEYS_OF_A_PERSON: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "AKIAPERSON"), ("AWS_SECRET_ACCESS_KEY", "secret")];

/// A machine that is no instance: nobody answers where the metadata would.
struct Laptop {
    home: tempfile::TempDir,
    aws: String,
    metadata: TcpListener,
}

impl Laptop {
    fn new(rig: &Rig) -> Self {
        let metadata = TcpListener::bind((rig.fresh_address(), 1338)).unwrap();
        metadata.set_nonblocking(true).unwrap();
        Self { home: tempfile::tempdir().unwrap(), aws: rig.aws.url(), metadata }
    }

    /// Whether nobody has knocked at the metadata since the last time.
    fn asked_no_metadata(&self) -> bool {
        self.metadata.accept().is_err()
    }

    /// `status` of the group, for programs, with these options and variables and no others.
    async fn status(&self, options: &[&str], variables: &[(&str, &str)]) -> Run {
        let file = |name: &str| self.home.path().join(name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_etcd-bootstrap"));
        command
            .args(["status", "--output=json", "--private-addresses", "--scaling-group-name", GROUP])
            .args(options)
            .env_clear()
            .env("HOME", self.home.path())
            .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{}", self.metadata.local_addr().unwrap()))
            .envs(["AUTO_SCALING", "EC2"].map(|service| (format!("AWS_ENDPOINT_URL_{service}"), self.aws.clone())))
            .envs(variables.iter().copied())
            .stdout(fs::File::create(file("out")).unwrap())
            .stderr(fs::File::create(file("err")).unwrap());
        let began = Instant::now();
        let code = exit_code(Child::spawn(command).unwrap().exited().await);
        let read = |name: &str| fs::read_to_string(file(name)).unwrap();
        Run { code, stdout: read("out"), stderr: read("err"), took: began.elapsed(), peak_rss: 0 }
    }

    fn write_profile(&self, name: &str) {
        let directory = self.home.path().join(".aws");
        fs::create_dir_all(&directory).unwrap();
        let text = format!("[{name}]\naws_access_key_id = AKIAPROFILE\naws_secret_access_key = secret\n");
        fs::write(directory.join("credentials"), text).unwrap();
    }

    /// The options of a client's certificate that the cluster's members trust.
    fn client_certificate(&self, rig: &Rig) -> Vec<String> {
        let world = rig.cloud.now();
        let [members, clients] = KEYS.map(|alias| world.find_key(alias).unwrap().clone());
        let (_, anchor) = signed_by(&members, Purpose::Member, &["127.0.0.1"]);
        let (pair, _) = signed_by(&clients, Purpose::Client, &["127.0.0.1"]);
        let written = [("trusted-ca-file", &anchor), ("cert-file", &pair), ("key-file", &pair)];
        let option = |(option, text): (&str, &String)| {
            let path = self.home.path().join(option);
            fs::write(&path, text).unwrap();
            format!("--{option}={}", path.display())
        };
        written.map(option).into()
    }
}

// ---------------------------------------------------------------- the schema

const SCHEMA: &str = "docs/status.schema.json";

fn schema(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    serde_json::from_str(&fs::read_to_string(path).unwrap()).expect("the schema is JSON")
}

fn compiled(file: &str) -> (Schemas, SchemaIndex) {
    let (schema, mut schemas, mut compiler) = (schema(file), Schemas::new(), Compiler::new());
    let id = schema["$id"].as_str().unwrap().to_owned();
    compiler.add_resource(&id, schema).unwrap();
    let index = compiler.compile(&id, &mut schemas).unwrap_or_else(|e| panic!("{e}"));
    (schemas, index)
}

/// What `status` has printed, where it is what its schema says.
pub fn valid(run: &Run) -> Value {
    valid_by(SCHEMA, run)
}

/// What a run has printed, where it is what a schema says.
pub fn valid_by(file: &str, run: &Run) -> Value {
    let told: Value =
        serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{e}: {} {}", run.stdout, run.stderr));
    let (schemas, index) = compiled(file);
    if let Err(why) = schemas.validate(&told, index) {
        panic!("{why:#}\n{told:#}");
    }
    told
}

/// Every observation that was ever saved, as `status` would tell it.
fn all() -> Vec<Value> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/observations");
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let told = files.map(|file| {
        let Record { policy, observation, .. } = read_record(&file).unwrap();
        let (members, sound) = (health_of_members(&observation, &policy), soundness(&observation, &policy));
        let told = serde_json::to_value(Status::new(&observation, &members, &BTreeMap::new(), &sound)).unwrap();
        with(told, |told| told.extend([("certificate", json!(null)), ("snapshots", snapshots())].map(own)))
    });
    told.collect()
}

fn own((name, value): (&str, Value)) -> (String, Value) {
    (name.to_owned(), value)
}

fn snapshots() -> Value {
    let newest = json!({ "name": "recent/ab/20261124T120000Z.db", "bytes": 20_480 });
    let time = "2026-11-24T12:00:00.000Z";
    json!({ "at": time, "since": time, "cluster": "ab", "to": "s3://b/", "every": 3600, "newest": newest,
        "trouble": null, "ill": null })
}

fn with(mut told: Value, change: impl FnOnce(&mut Map<String, Value>)) -> Value {
    change(told.as_object_mut().unwrap());
    told
}

#[test]
fn what_is_told_of_each_saved_observation_is_what_the_schema_says() {
    let (schemas, index) = compiled(SCHEMA);
    let told = all();
    assert!(told.len() >= 40 && told.iter().any(|told| told["members"][2]["database"].is_null()));
    for told in told {
        if let Err(why) = schemas.validate(&told, index) {
            panic!("{why:#}\n{told:#}");
        }
    }
}

/// An added field, a missing one and one of another kind are noticed wherever they are.
#[test]
fn a_document_of_another_shape_is_refused() {
    let (schemas, index) = compiled(SCHEMA);
    let mut whole = all().into_iter().max_by_key(|told| told["members"].as_array().unwrap().len()).unwrap();
    whole["members"][0]["database"] = json!({ "size": 1, "size_in_use": 1, "quota": null });
    whole["certificate"] = json!({ "until": null, "signed_by": null, "restart_needed": false });
    assert!(schemas.validate(&whole, index).is_ok());
    let objects =
        ["", "/members/0", "/members/0/database", "/nodes/0", "/certificate", "/snapshots", "/snapshots/newest"];
    let mut changed = 0;
    for at in objects {
        let names: Vec<String> = whole.pointer(at).and_then(Value::as_object).unwrap().keys().cloned().collect();
        let mut refuses = |change: &dyn Fn(&mut Map<String, Value>), what: &str| {
            let mut other = whole.clone();
            change(other.pointer_mut(at).unwrap().as_object_mut().unwrap());
            assert!(schemas.validate(&other, index).is_err(), "{at}: {what}");
            changed += 1;
        };
        refuses(&|object| drop(object.insert("more".into(), json!(1))), "one more");
        for name in names {
            refuses(&|object| drop(object.remove(&name)), &name);
            refuses(&|object| drop(object.insert(name.clone(), json!({ "more": 1 }))), &name);
        }
    }
    assert!(changed > 80, "{changed}");
    for (at, value) in [
        ("/schema_version", json!(2)),
        ("/reason", json!("")),
        ("/cluster_id", json!("0xab")),
        ("/members/0/verdict", json!("well")),
        ("/members/0/role", json!("leader")),
        ("/members/0/lag", json!(-1)),
        ("/members/0/certificate_until", json!("tomorrow")),
        ("/snapshots/every", json!("1h")),
    ] {
        let mut other = whole.clone();
        *other.pointer_mut(at).unwrap() = value;
        assert!(schemas.validate(&other, index).is_err(), "{at}");
    }
}

#[test]
fn the_words_of_the_schema_and_of_the_readme_are_the_programs() {
    let schema = schema(SCHEMA);
    let causes: Vec<Value> = Cause::ALL.iter().map(|cause| json!(cause)).chain([Value::Null]).collect();
    assert_eq!(schema["properties"]["reason"]["enum"], Value::Array(causes));
    let verdicts = json!(Standing::ALL);
    assert_eq!(schema["$defs"]["member"]["properties"]["verdict"]["enum"], verdicts);
    let readme = crate::docs::section("## Looking at a node");
    for word in Cause::ALL.iter().map(|cause| json!(cause)).chain(Standing::ALL.map(|word| json!(word))) {
        let word = format!("`{}`", word.as_str().unwrap());
        assert!(readme.contains(&word), "the README does not tell of {word}");
    }
}
