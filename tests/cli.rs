//! The command line and bad input: the real binary against the fakes, where it matters beside a real etcd. What it
//! says, its exit code, and what it must not have done.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use etcd_bootstrap::cli;
use serde_json::Value;

use crate::e2e::{form, rig as rig_with};
use crate::support::aws::{Action, Fault, Often};
use crate::support::cloud::Place;
use crate::support::etcd::{MemberList, find};
use crate::support::http::{self, Answer, Request};
use crate::support::imds::{self, CREDENTIALS, IDENTITY};
use crate::support::node::{Event, Node, Run};
use crate::support::rig::Rig;
use crate::support::tls::{Authority, P521_KEY, TlsFiles};

pub const GROUP: &str = "etcd-a";

/// The actions of a pass, as policies name them.
const READS: [(Action, &str); 3] = [
    (Action::DescribeAutoScalingInstances, "autoscaling:DescribeAutoScalingInstances"),
    (Action::DescribeAutoScalingGroups, "autoscaling:DescribeAutoScalingGroups"),
    (Action::DescribeInstances, "ec2:DescribeInstances"),
];

// ---------------------------------------------------------------- usage

#[tokio::test]
async fn an_unknown_option_or_value_is_a_usage_error() {
    let (rig, node) = alone();
    let cases: [(&[&str], &str); 10] = [
        (&["--bogus"], "--bogus"),
        (&["-bogus=1"], "--bogus"),
        (&["frobnicate"], "frobnicate"),
        (&["-etcd-client-schema=ftp"], "'ftp' is neither http nor https"),
        (&["--deadline=soon"], "--deadline"),
        (&["-proxy-mode=maybe"], "'maybe' is neither true nor false"),
        (&["-etcd-client-port=70000"], "--etcd-client-port"),
        (&["--proxy-mode"], "--scaling-group-name"),
        (&["--peer-cert-file=/x"], "--peer-key-file"),
        (&["--etcd-version=3.6"], "'3.6' is no version such as 3.6.16"),
    ];
    for (arguments, word) in cases {
        refuses(&node, arguments, 64, &[word]).await;
    }
    assert!(node.imds.exchanges().is_empty() && rig.aws.calls().is_empty(), "nothing was asked");
}

#[tokio::test]
async fn f78_a_config_file_that_hides_the_environment_is_refused() {
    let mut rig = rig();
    rig.group(GROUP, 1);
    rig.setup.agent_environment.insert("ETCD_CONFIG_FILE".into(), "/etc/etcd.yaml".into());
    let node = rig.launch(Some(GROUP)).unwrap();
    refuses(&node, &[], 64, &["ETCD_CONFIG_FILE=/etc/etcd.yaml", "unset it"]).await;
}

#[tokio::test]
async fn b23_f101_a_misspelt_variable_is_a_usage_error_that_names_the_nearest_option() {
    let cases = [
        ("INITIAL_CLUSTER", "never", "--initial-cluster-policy"),
        ("FOUNDNG", "unanimous", "--founding"),
        ("XYZZY", "1", "see --help"),
    ];
    for (name, value, meant) in cases {
        let mut rig = rig();
        rig.group(GROUP, 1);
        rig.setup.agent_environment.insert(format!("ETCD_BOOTSTRAP_{name}"), value.into());
        let node = rig.launch(Some(GROUP)).unwrap();
        refuses(&node, &[], 64, &[&format!("there is no variable ETCD_BOOTSTRAP_{name}"), meant]).await;
        assert!(rig.aws.calls().is_empty(), "nothing was asked");
    }
}

#[tokio::test]
async fn b23_f101_an_empty_variable_is_none_for_every_option() {
    let mut rig = rig();
    rig.group(GROUP, 1);
    let empty = cli::variables().into_iter().map(|variable| (variable, String::new()));
    rig.setup.agent_environment.extend(empty);
    for name in ["ETCD_BOOTSTRAP_XYZZY", "ETCD_CONFIG_FILE", "ETCD_DISCOVERY"] {
        rig.setup.agent_environment.insert(name.into(), String::new());
    }
    let node = rig.launch(Some(GROUP)).unwrap();
    let run = node.agent("run", &[]).await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(!run.stderr.contains("ETCD_DISCOVERY"), "an empty variable is not warned of: {}", run.stderr);
}

#[tokio::test]
async fn b23_f101_both_spellings_of_a_scheme_are_variables() {
    for (client, peer) in [("ETCD_CLIENT_SCHEME", "ETCD_PEER_SCHEMA"), ("ETCD_CLIENT_SCHEMA", "ETCD_PEER_SCHEME")] {
        let mut rig = discovery_rig("");
        for variable in [client, peer] {
            rig.setup.agent_environment.insert(format!("ETCD_BOOTSTRAP_{variable}"), "http".into());
        }
        rig.group(GROUP, 1);
        let node = rig.launch(Some(GROUP)).unwrap();
        let file = node.dir().join("written");
        let run = exactly(&node, &format!("-environment-file={}", file.display())).await;
        assert_eq!(run.code, 0, "{}", run.stderr);
        let written = fs::read_to_string(&file).unwrap();
        assert!(written.contains("=http://") && !written.contains("https://"), "{client}, {peer}: {written}");
    }
}

#[tokio::test]
async fn b27_a_deadline_that_no_clock_can_hold_is_none() {
    let (_rig, node) = with_data().await;
    starts(&node, &["--deadline=500000000000y", "--founding-grace=500000000000y"]).await;
    for command in ["status", "ready"] {
        let run = node.agent(command, &["--deadline=500000000000y", "--dry-run"]).await.unwrap();
        assert!(!run.stderr.contains("panicked"), "{command}: {}", run.stderr);
    }
}

#[tokio::test]
async fn b32_a_deadline_that_no_majority_can_wait_for_is_warned_of() {
    let (_rig, node) = with_data().await;
    let warns = async |more: &[&str]| starts(&node, more).await.stderr.contains("is not longer than --founding-grace=");
    assert!(warns(&["--deadline=60s"]).await);
    assert!(!warns(&["--deadline=61s"]).await);
    assert!(!warns(&["--deadline=infinity"]).await);
    assert!(!warns(&["--deadline=20s", "--founding-grace=10s"]).await);
    assert!(!warns(&["--deadline=60s", "--founding=unanimous"]).await);
}

#[tokio::test]
async fn b18_f99_paths_that_the_file_cannot_hold_are_usage_errors() {
    let (rig, node) = alone();
    for option in ["data-dir", "wal-dir", "trusted-ca-file", "peer-trusted-ca-file"] {
        refuses(&node, &[&format!("--{option}=/var/lib/my etcd")], 64, &[&format!("--{option}"), "' '"]).await;
    }
    assert!(rig.aws.calls().is_empty(), "nothing was asked");
}

// ---------------------------------------------------------------- metadata

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

// ---------------------------------------------------------------- AWS

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

// ---------------------------------------------------------------- etcd's ports

#[tokio::test]
async fn f03_f60_a_peer_that_cannot_be_understood_is_no_absence() {
    let (_rig, nodes) = group_of(2);
    let named = nodes[1].instance.as_str();
    let list = |urls: &str| format!("[{{\"id\":7,\"name\":\"a\",\"peerURLs\":[{urls}],\"clientURLs\":[]}}]");
    let cases: [(&str, u16, String, &str); 7] = [
        ("no URL", 200, list("\"not a url\""), "'not a url' is not a URL"),
        ("no scheme", 200, list("\"10.0.0.1:2380\""), "10.0.0.1:2380"),
        ("another scheme", 200, list("\"unix://a:1\""), "'unix' is neither http nor https"),
        ("half a list", 200, "[{\"id\":7,".into(), "unreadable reply"),
        ("no list", 200, "<html>".into(), "unreadable reply"),
        ("404", 404, String::new(), "404"),
        ("500", 500, String::new(), "500"),
    ];
    for (what, status, body, word) in cases {
        let peer = Peer::start(nodes[1].address, Duration::ZERO, move |path| match path {
            "/version" => version(),
            _ => reply(status, &body),
        });
        let error = refuses(&nodes[0], &[], 75, &[named, word]).await;
        let asked = peer.seen();
        assert!(!asked.is_empty() && asked.iter().all(|(_, method, _)| method == "GET"), "{what}: {error} {asked:?}");
        peer.stop().await;
    }
}

#[tokio::test]
async fn f61_silent_peers_cost_one_deadline_and_are_named() {
    let (_rig, nodes) = group_of(2);
    let _silent = silence(nodes[1].address);
    refuses(&nodes[0], &["--deadline=8s"], 75, &[&nodes[1].instance, "no answer within"]).await;
}

/// Its client port accepts and says nothing until then, for 7 s at times.
#[tokio::test]
async fn the_client_port_of_an_etcd_that_is_not_published_yet_is_not_waited_for() {
    let (_rig, nodes) = group_of(2);
    let _silent = TcpListener::bind((nodes[1].address, 2379)).unwrap();
    for (client_urls, awaited) in [("", false), ("http://10.0.0.1:2379", true)] {
        let list = format!(
            "[{{\"id\":1,\"peerURLs\":[\"http://{}:2380\"],\"clientURLs\":[{client_urls:?}]}}]",
            nodes[1].address
        );
        let list = list.replace("[\"\"]", "[]");
        let peer = Peer::start(nodes[1].address, Duration::ZERO, move |path| match path {
            "/version" => version(),
            "/members" => reply(200, &list),
            _ => reply(404, ""),
        });
        refuses(&nodes[0], &["--deadline=4s"], 75, &["no quorum"]).await;
        let record = fs::read(nodes[0].environment_file().with_extension("observation.json")).unwrap();
        let record: Value = serde_json::from_slice(&record).unwrap();
        let probe = &record["observation"]["probes"][0];
        assert_eq!(!probe["client"].is_null(), awaited, "{probe}");
        peer.stop().await;
    }
}

// ---------------------------------------------------------------- certificates

#[tokio::test]
async fn f79_certificates_that_cannot_be_used_are_found_before_anything_is_asked() {
    let (rig, node) = alone();
    let dir = rig.directory.path();
    let good = Authority::new().write(dir, &[&node.address.to_string()]).unwrap();
    let other_dir = dir.join("other");
    fs::create_dir(&other_dir).unwrap();
    let other = Authority::new().write(&other_dir, &[&node.address.to_string()]).unwrap();
    let (garbage, missing) = (dir.join("garbage.pem"), dir.join("missing.pem"));
    fs::write(&garbage, "no PEM").unwrap();
    let cases = [
        (TlsFiles { ca: missing.clone(), ..good.clone() }, &missing),
        (TlsFiles { ca: garbage.clone(), ..good.clone() }, &garbage),
        (TlsFiles { cert: missing.clone(), ..good.clone() }, &missing),
        (TlsFiles { cert: garbage.clone(), ..good.clone() }, &garbage),
        (TlsFiles { key: missing.clone(), ..good.clone() }, &missing),
        (TlsFiles { key: garbage.clone(), ..good.clone() }, &garbage),
        (TlsFiles { key: other.key.clone(), ..good }, &other.key),
    ];
    for (files, named) in cases {
        for port in ["", "peer-"] {
            let arguments = tls_options(port, &files);
            refuses(&node, &as_str(&arguments), 78, &[&named.display().to_string()]).await;
        }
    }
    assert!(node.imds.exchanges().is_empty() && rig.aws.calls().is_empty(), "nothing was asked");
}

#[tokio::test]
async fn f80_a_certificate_that_the_others_refuse_keeps_the_node_out_before_the_add() {
    let mut rig = rig();
    rig.group(GROUP, 1);
    let ca = Authority::new();
    rig.setup.schemes = ("http", "https");
    let address = rig.fresh_address();
    // etcd compares it with the address that a connection comes from too, which is 127.0.0.1 on every node here.
    let files = ca.write(rig.directory.path(), &[&address.to_string(), "127.0.0.1"]).unwrap();
    rig.setup.agent_arguments = files.options_of("peer-");
    let member = rig.launch_at(Some(GROUP), address).unwrap();
    member.boot();
    rig.judge.all_healthy(&[address], Duration::from_secs(60)).await.unwrap();
    let mut client = rig.judge.client(&[address]).await.unwrap();

    rig.cloud.change(|world| world.set_desired(GROUP, 2));
    rig.setup.agent_arguments = Vec::new();
    rig.setup.deadline = "2s".into();
    let node = rig.launch(Some(GROUP)).unwrap();
    let own = node.address.to_string();
    let dir = rig.directory.path().join("joining");
    fs::create_dir(&dir).unwrap();
    for (host, until, word) in
        [(own.as_str(), 2021, "expired"), ("127.0.0.99", 2099, "not valid for"), ("a.b", 2099, "not valid for")]
    {
        let arguments = tls_options("peer-", &ca.write_until(&dir, &[host, "127.0.0.1"], until).unwrap());
        refuses(&node, &as_str(&arguments), 78, &["own certificate", &own, word]).await;
        assert_eq!(client.member_list().await.unwrap().members().len(), 1);
    }
    let arguments = tls_options("peer-", &ca.write(&dir, &[&own, "127.0.0.1"]).unwrap());
    let good = [&["--dry-run", "--output=json"], &as_str(&arguments)[..]].concat();
    let run = node.agent("run", &good).await.unwrap();
    assert_eq!(json(&run)["decision"], "add", "a good one lets it in: {}", run.stdout);
}

/// Go refuses both, and rustls notices neither of a certificate that it only presents.
#[tokio::test]
async fn b19_f102_an_expired_authority_and_a_certificate_for_servers_alone_are_found() {
    let (rig, node) = alone();
    let (own, dir) = (node.address.to_string(), rig.directory.path());
    let expired = || Authority::until(2021).write(dir, &[&own]);
    let for_servers = || Authority::new().write_for_servers(dir, &[&own]);
    let cases: [(&dyn Fn() -> std::io::Result<TlsFiles>, &str); 2] =
        [(&expired, "authority has expired"), (&for_servers, "usage")];
    for (write, word) in cases {
        let files = write().unwrap();
        for port in ["", "peer-"] {
            refuses(&node, &as_str(&tls_options(port, &files)), 78, &["own certificate", &own, word]).await;
        }
    }
}

/// Also while an old authority is still in the file, as in the middle of a change to another one.
#[tokio::test]
async fn b19_f102_an_expired_authority_beside_the_own_one_is_no_fault() {
    let (rig, node) = alone();
    let (own, dir) = (node.address.to_string(), rig.directory.path());
    let old = fs::read_to_string(Authority::until(2021).write(dir, &[&own]).unwrap().ca).unwrap();
    let files = Authority::new().write(dir, &[&own]).unwrap();
    let new = fs::read_to_string(&files.ca).unwrap();
    fs::write(&files.ca, old + &new).unwrap();
    let run = node.agent("run", &as_str(&tls_options("peer-", &files))).await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
}

#[tokio::test]
async fn b20_f51_f103_keys_and_authorities_that_the_agent_cannot_use_keep_no_data_down() {
    let (rig, node) = with_data().await;
    let (own, dir) = (node.address.to_string(), rig.directory.path());
    let good = Authority::new().write(dir, &[&own]).unwrap();
    let (key, bundle) = (dir.join("p521.pem"), dir.join("bundle.pem"));
    fs::write(&key, P521_KEY).unwrap();
    let broken = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n";
    fs::write(&bundle, fs::read_to_string(&good.ca).unwrap() + broken).unwrap();
    // A certificate that is its own authority: Go takes it, webpki does not.
    let itself = TlsFiles { cert: good.ca.clone(), key: dir.join("ca-key.pem"), ..good.clone() };
    let cases = [
        (TlsFiles { key, ..good.clone() }, "p521.pem"),
        (TlsFiles { ca: bundle, ..good }, "bundle.pem"),
        (itself, "own certificate"),
    ];
    let mut fresh_rig = self::rig();
    fresh_rig.setup.deadline = "2s".into();
    fresh_rig.group(GROUP, 1);
    let fresh = fresh_rig.launch(Some(GROUP)).unwrap();
    for (files, word) in cases {
        for port in ["", "peer-"] {
            let arguments = tls_options(port, &files);
            let run = starts(&node, &as_str(&arguments)).await;
            let warned = run.stderr.lines().any(|line| line.starts_with('W') && line.contains(word));
            assert!(warned, "{word}: {}", run.stderr);
            refuses(&fresh, &as_str(&arguments), 78, &[word]).await;
        }
    }
}

// ---------------------------------------------------------------- disk

#[tokio::test]
async fn f77_an_unwritable_environment_file_is_found_before_etcd_is_asked() {
    let scene = Scene::new().await;
    let file = scene.rig.directory.path().join("file");
    fs::write(&file, "a file").unwrap();
    let below_file = file.join("etcd.env");
    for place in [below_file.as_path(), Path::new("/proc/etcd.env"), scene.rig.directory.path()] {
        scene.node.imds.heal();
        let asked = scene.node.imds.exchanges().len();
        let option = format!("--environment-file={}", place.display());
        scene.refuses_with(&[&option], 78, &["write the environment file", &place.display().to_string()]).await;
        assert_eq!(scene.node.imds.exchanges().len(), asked, "nothing was asked");
    }
    let option = format!("--environment-file={}", below_file.display());
    scene.refuses_with(&[&option], 78, &["ot a directory"]).await;
}

#[tokio::test]
async fn f77_a_full_disk_is_found_before_etcd_is_asked() {
    let mut scene = Scene::new().await;
    let dir = scene.rig.directory.path().join("full");
    let agent = scene.rig.programs.agent.clone();
    // A file system of one page, which the old file fills; the namespace and the mount end with the script.
    let script = format!(
        "#!/bin/sh\nmkdir -p {dir} && mount -t tmpfs -o size=4k none {dir} || exit 99\necho KEPT=yes >{dir}/etcd.env\n\
         {agent} \"$@\"\ncode=$?\nls -A {dir}\ncat {dir}/etcd.env\nexit $code\n",
        dir = dir.display(),
        agent = agent.display(),
    );
    let inner = scene.rig.directory.script("inner", &script).unwrap();
    let outer = format!("#!/bin/sh\nexec unshare --mount {} \"$@\"\n", inner.display());
    scene.rig.programs.agent = scene.rig.directory.script("outer", &outer).unwrap();
    scene.rig.cloud.change(|world| world.set_desired(GROUP, 3));
    let node = scene.rig.launch(Some(GROUP)).unwrap();
    let option = format!("--environment-file={}/etcd.env", dir.display());
    let run = node.agent("run", &[&option]).await.unwrap();
    if run.code == 99 || run.stderr.contains("unshare") {
        eprintln!("skipped: this machine lets nobody mount a small file system: {}", run.stderr.trim());
        return;
    }
    assert_eq!(run.code, 78, "{}", run.stderr);
    assert!(run.stderr.contains("No space left on device"), "{}", run.stderr);
    assert_eq!(run.stdout, "etcd.env\nKEPT=yes\n");
    assert_eq!(scene.members().await, scene.before);
}

#[tokio::test]
async fn f46_an_unreadable_data_directory_is_never_an_empty_one() {
    let scene = Scene::new().await;
    let data = scene.node.data_dir();
    fs::write(&data, "no directory").unwrap();
    scene.refuses(78, &[&data.display().to_string(), "move it away"]).await;
    fs::remove_file(&data).unwrap();
    fs::create_dir_all(data.join("member")).unwrap();
    fs::write(data.join("member/wal"), "no directory").unwrap();
    scene.refuses(78, &[&data.display().to_string(), "move it away"]).await;
}

#[tokio::test]
async fn f46_a_torn_write_ahead_log_is_never_an_empty_one() {
    let (_rig, node) = with_data().await;
    let wal = node.data_dir().join("member/wal");
    let segment = fs::read_dir(&wal).unwrap().flatten().find(|e| e.file_name().to_string_lossy().ends_with(".wal"));
    let segment = segment.unwrap().path();
    let whole = fs::read(&segment).unwrap();
    for torn in [&whole[..0], &whole[..20], &[b"xxxxxxxxxxxxxxxx", &whole[16..]].concat()] {
        fs::write(&segment, torn).unwrap();
        refuses(&node, &[], 78, &[&wal.display().to_string(), "move it away"]).await;
        assert_eq!(fs::read(&segment).unwrap(), torn, "the data is as it was");
    }
}

// ---------------------------------------------------------------- a node with data starts in spite of it

#[tokio::test]
async fn f51_a_node_with_data_starts_without_metadata() {
    let (_rig, node) = with_data().await;
    let faults = [imds::Fault::Hang, imds::Fault::V1Only, imds::Fault::Disabled, imds::Fault::Fail(u32::MAX)];
    for fault in faults {
        node.imds.inject(fault);
        starts(&node, &[]).await;
        node.imds.heal();
    }
    node.imds.answer(IDENTITY, 200, "{");
    starts(&node, &[]).await;
    node.imds.unplug().await;
    starts(&node, &[]).await;
}

#[tokio::test]
async fn f51_a_node_with_data_starts_without_aws() {
    let (rig, node) = with_data().await;
    for fault in [Fault::Drop, Fault::Throttle, Fault::Deny, Fault::Malform, Fault::Fail, Fault::Empty, Fault::Hang] {
        rig.aws.inject_everywhere(&fault, Often::Always);
        starts(&node, &[]).await;
        rig.aws.heal();
    }
    for action in [Action::DescribeAutoScalingGroups, Action::DescribeInstances] {
        rig.aws.inject(action, Fault::EndlessPages, Often::Always);
        starts(&node, &[]).await;
        rig.aws.heal();
    }
    starts(&node, &["--scaling-group-name=nobody"]).await;
}

#[tokio::test]
async fn f51_f52_a_node_with_data_starts_without_its_peers() {
    let (rig, node) = with_data().await;
    rig.cloud.change(|world| world.set_desired(GROUP, 2));
    let peer = rig.launch(Some(GROUP)).unwrap();
    starts(&node, &[]).await;
    let silent = silence(peer.address);
    starts(&node, &[]).await;
    drop(silent);
    let _odd = Peer::start(peer.address, Duration::ZERO, |_| reply(200, "[{\"id\":7,\"peerURLs\":[\"not a url\"]}]"));
    starts(&node, &[]).await;
}

#[tokio::test]
async fn f51_a_node_with_data_starts_with_an_expired_certificate_and_says_so() {
    let (rig, node) = with_data().await;
    let own = node.address.to_string();
    let expired = Authority::new().write_until(rig.directory.path(), &[&own], 2021).unwrap();
    let arguments = tls_options("peer-", &expired);
    let run = starts(&node, &as_str(&arguments)).await;
    assert!(run.stderr.lines().any(|l| l.starts_with('W') && l.contains("expired")), "{}", run.stderr);
}

// ---------------------------------------------------------------- gambol99/etcd-discovery

/// Its flags (config.go and glog), each with a value that is not the default and what it sets.
const FLAGS: [(&str, &str); 16] = [
    ("environment-file", "/etc/sysconfig/etcd-discovery"),
    ("etcd-client-port", "4001"),
    ("etcd-client-schema", "http"),
    ("etcd-peer-port", "7001"),
    ("etcd-peer-scheme", "http"),
    ("private-addresses", "true"),
    ("private-hostnames", "false"),
    ("proxy-mode", "true"),
    ("scaling-group-name", "etcd-a"),
    ("logtostderr", "true"),
    ("alsologtostderr", "true"),
    ("v", "10"),
    ("vmodule", "aws=3"),
    ("stderrthreshold", "INFO"),
    ("log_dir", "/tmp"),
    ("log_backtrace_at", "a.go:1"),
];

fn parse(arguments: &[String]) -> cli::Options {
    let arguments = ["etcd-bootstrap".to_owned()].into_iter().chain(arguments.iter().cloned());
    cli::parse(arguments.map(Into::into)).unwrap_or_else(|e| panic!("{e}")).options
}

#[test]
fn every_flag_of_etcd_discovery_works_with_one_dash_and_with_two() {
    let forms: [fn(&str, &str) -> Vec<String>; 2] =
        [|flag, value| vec![format!("-{flag}={value}")], |flag, value| vec![format!("--{flag}={value}")]];
    let lines = forms.map(|form| FLAGS.iter().flat_map(|(flag, value)| form(flag, value)).collect::<Vec<_>>());
    // Go's flag package takes a value as the next argument too, but for those of a bool.
    let bools = ["private-addresses", "private-hostnames", "proxy-mode", "logtostderr", "alsologtostderr"];
    let apart = FLAGS.iter().flat_map(|(flag, value)| match bools.contains(flag) {
        true => vec![format!("-{flag}={value}")],
        false => vec![format!("-{flag}"), (*value).to_owned()],
    });
    for line in [lines[0].clone(), lines[1].clone(), apart.collect()] {
        let options = parse(&line);
        assert_eq!(options.environment_file, Path::new("/etc/sysconfig/etcd-discovery"));
        assert_eq!((options.etcd_client_port, options.etcd_peer_port), (4001, 7001));
        assert_eq!(options.etcd_client_schema.to_string(), "http");
        assert_eq!(options.etcd_peer_scheme.to_string(), "http");
        assert_eq!((options.private_addresses, options.private_hostnames), (true, Some(false)));
        assert_eq!((options.proxy_mode, options.scaling_group_name.as_deref()), (true, Some(GROUP)));
        assert_eq!(options.v, 10);
        // What does nothing here is said, each flag by its name; -logtostderr=true is what we do.
        let warnings = options.warnings().join("\n");
        for flag in ["-alsologtostderr", "-vmodule", "-stderrthreshold", "-log_dir", "-log_backtrace_at"] {
            assert!(warnings.contains(flag), "{flag}: {warnings}");
        }
        assert!(!warnings.contains("-logtostderr"), "{warnings}");
    }
}

#[test]
fn a_flag_given_twice_counts_as_it_was_given_last_as_in_go() {
    let options = parse(&["-v=2", "-proxy-mode", "-proxy-mode=false", "-v=10"].map(str::to_owned));
    assert_eq!((options.v, options.proxy_mode), (10, false));
}

#[test]
fn bools_take_the_words_of_go() {
    let truths = ["", "=true", "=1", "=t", "=T", "=TRUE", "=True"];
    let lies = ["=false", "=0", "=f", "=F", "=FALSE", "=False"];
    let given = truths.map(|word| (word, true)).into_iter().chain(lies.map(|word| (word, false)));
    for (word, expected) in given {
        for dash in ["-", "--"] {
            let options = parse(&[format!("{dash}private-addresses{word}"), format!("{dash}private-hostnames{word}")]);
            assert_eq!((options.private_addresses, options.private_hostnames), (expected, Some(expected)), "{word}");
        }
    }
}

#[tokio::test]
async fn the_members_command_line_of_etcd_discovery_works_unchanged() {
    let rig = discovery_rig("https");
    rig.group(GROUP, 1);
    let node = rig.launch(Some(GROUP)).unwrap();
    let file = node.dir().join("sysconfig/etcd-discovery");
    let run = exactly(&node, &format!("-environment-file={} -logtostderr -v=10", file.display())).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    let world = rig.cloud.now();
    let (id, arn, ip) = (&node.instance, &world.groups[GROUP].arn, node.address);
    let host = world.instance(id).unwrap().dns_name().unwrap();
    let written = fs::read_to_string(&file).unwrap();
    let founding = written.split_once(&format!("{arn}/")).unwrap_or_else(|| panic!("{written}")).1;
    let founding = &founding[..16];
    let data = rig.directory.path().join("etcd").display().to_string();
    let expected = format!(
        "ETCD_ADVERTISE_CLIENT_URLS=https://{host}:2379\n\
         ETCD_CONFIG_FILE=\n\
         ETCD_DATA_DIR={data}\n\
         ETCD_DISCOVERY=\n\
         ETCD_DISCOVERY_ENDPOINTS=\n\
         ETCD_DISCOVERY_SRV=\n\
         ETCD_DISCOVERY_SRV_NAME=\n\
         ETCD_DISCOVERY_TOKEN=\n\
         ETCD_FORCE_NEW_CLUSTER=\n\
         ETCD_INITIAL_ADVERTISE_PEER_URLS=https://{host}:2380\n\
         ETCD_INITIAL_CLUSTER={id}=https://{host}:2380\n\
         ETCD_INITIAL_CLUSTER_STATE=new\n\
         ETCD_INITIAL_CLUSTER_TOKEN={arn}/{founding}\n\
         ETCD_LISTEN_CLIENT_URLS=https://{ip}:2379\n\
         ETCD_LISTEN_PEER_URLS=https://{ip}:2380\n\
         ETCD_NAME={id}\n\
         ETCD_PROXY=\n\
         ETCD_WAL_DIR=\n"
    );
    assert_eq!(written, expected);
    assert_eq!(run.stdout, "");
    assert!(run.stderr.lines().count() > 2 && run.stderr.lines().all(is_glog), "{}", run.stderr);
    let saved = file.with_extension("observation.json");
    assert!(saved.is_file(), "the observation is saved beside the file");
}

#[tokio::test]
async fn f81_the_consumers_command_line_of_etcd_discovery_works_unchanged() {
    let mut rig = discovery_rig("http");
    let members = form(&rig, 1).await;
    rig.setup.agent_environment.insert("ETCD_BOOTSTRAP_PRIVATE_ADDRESSES".into(), "true".into());
    rig.group("consumers", 1);
    let node = rig.launch(Some("consumers")).unwrap();
    let file = node.dir().join("sysconfig/etcd-discovery");
    let line =
        format!("-scaling-group-name={GROUP} -proxy-mode=true -environment-file={} -logtostderr -v=10", file.display());
    let run = exactly(&node, &line).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    let url = format!("http://{}:2379", members[0].address);
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("ETCDCTL_ENDPOINTS={url}\nETCD_ENDPOINTS={url}\n"));
    assert!(run.stderr.lines().all(is_glog), "{}", run.stderr);
    // For etcd 3.5 and older, the form that the old tool wrote.
    let run = exactly(&node, &format!("{line} --proxy-style=v2 --etcd-peer-scheme=http")).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    let peer = format!("http://{}:2380", members[0].address);
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("ETCD_INITIAL_CLUSTER=member-0={peer}\nETCD_PROXY=on\n"));
}

#[tokio::test]
async fn f29_private_addresses_alone_switch_and_so_does_no_to_hostnames() {
    let rig = discovery_rig("https");
    rig.group(GROUP, 1);
    let node = rig.launch(Some(GROUP)).unwrap();
    let host = rig.cloud.now().instance(&node.instance).unwrap().dns_name().unwrap();
    let address = node.address.to_string();
    let cases = [
        ("-private-addresses", &address),
        ("-private-hostnames=false", &address),
        ("-private-addresses=true -private-hostnames=false", &address),
        ("-private-addresses=true -private-hostnames=true", &address),
        ("-private-hostnames", &host),
        ("-private-addresses=false", &host),
    ];
    for (flags, expected) in cases {
        let run = exactly(&node, &format!("{flags} --dry-run --output=json")).await;
        let file = json(&run)["file"].as_str().unwrap_or_else(|| panic!("{flags}: {}", run.stdout)).to_owned();
        // One form for all of them.
        for key in
            ["INITIAL_ADVERTISE_PEER_URLS=", "ADVERTISE_CLIENT_URLS=", &format!("INITIAL_CLUSTER={}=", node.instance)]
        {
            assert!(file.contains(&format!("ETCD_{key}https://{expected}:")), "{flags}: {file}");
        }
    }
}

#[tokio::test]
async fn f58_variables_that_newer_etcds_ignore_are_warned_of_and_written_empty() {
    let mut rig = rig();
    rig.group(GROUP, 1);
    for name in ["ETCD_PROXY", "ETCD_DISCOVERY"] {
        rig.setup.agent_environment.insert(name.into(), "on".into());
    }
    let node = rig.launch(Some(GROUP)).unwrap();
    let run = node.agent("run", &["-log_dir=/tmp", "-vmodule=a=1"]).await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
    for name in ["ETCD_PROXY", "ETCD_DISCOVERY", "-log_dir", "-vmodule"] {
        assert!(run.stderr.lines().any(|l| l.starts_with('W') && l.contains(name)), "{name}: {}", run.stderr);
    }
    let written = node.environment().unwrap().unwrap();
    assert_eq!([&written["ETCD_PROXY"], &written["ETCD_DISCOVERY"]], ["", ""], "{written:?}");
}

// ---------------------------------------------------------------- which etcd will start

#[tokio::test]
async fn f61_an_etcd_that_does_not_tell_its_version_is_warned_of_once_and_costs_little() {
    let (_rig, node) = alone();
    let program = |name, script| program(&node, name, script);
    let cases = [
        ("--etcd-binary=/nowhere/etcd".to_owned(), "/nowhere/etcd for its version: No such file"),
        (program("other", "echo sleep 9.1; exit 1"), "it does not answer as an etcd"),
        (program("endless", "exec yes"), "it does not answer as an etcd"),
        (program("hangs", "exec sleep 600"), "no answer within 2 s"),
        ("--etcd-version=unknown".to_owned(), "--etcd-version is unknown"),
    ];
    for (option, why) in cases {
        let run = node.agent("run", &[&option, "--deadline=30s"]).await.unwrap();
        assert_eq!(run.code, 0, "{option}: {}", run.stderr);
        let warnings = run.stderr.lines().filter(|line| line.starts_with('W') && line.contains(why)).count();
        assert_eq!(warnings, 1, "{option}: {}", run.stderr);
    }
    for version in ["3.6.16", "v3.6.16", "3.7.0-rc.1"] {
        let option = format!("--etcd-version={version}");
        let report = json(&node.agent("run", &[&option, "--dry-run", "--output=json"]).await.unwrap());
        assert_eq!(report["etcd"], version.trim_start_matches('v').trim_end_matches("-rc.1"));
    }
}

#[tokio::test]
async fn f51_a_node_with_data_does_not_ask_its_etcd() {
    let (_rig, node) = with_data().await;
    let asked = node.dir().join("asked");
    let run = starts(&node, &[&program(&node, "tells", &format!("echo >{}; exec sleep 600", asked.display()))]).await;
    assert!(!asked.exists() && !run.stderr.contains("version"), "{}", run.stderr);
}

/// An etcd that is this script, as the option that names it.
fn program(node: &Node, name: &str, script: &str) -> String {
    let path = node.dir().join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    format!("--etcd-binary={}", path.display())
}

// ---------------------------------------------------------------- what only looks

#[tokio::test]
async fn a_dry_run_explains_everything_and_does_nothing() {
    let scene = Scene::new().await;
    let disk = tree(scene.node.dir());
    let report = dry_run(&scene.node).await;
    assert_eq!(report["decision"], "add", "{report:#}");
    assert!(report["reason"].get("joining").is_some(), "{report:#}");
    let call = report["calls"][0].as_str().unwrap();
    assert!(call.starts_with(&format!("MemberAdd http://{}:2380", scene.node.address)), "{call}");
    assert_eq!((report["instances"].as_array().unwrap().len(), report["members"].as_array().unwrap().len()), (2, 1));
    assert_eq!(report["file"], Value::Null, "what it would hold is known after the add");

    let run = scene.node.agent("run", &["--dry-run"]).await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let member = &scene.member;
    for words in [&member.instance, &member.address.to_string(), "decision", "add (joining)", "MemberAdd", "stays"] {
        assert!(run.stdout.contains(words), "{words}: {}", run.stdout);
    }
    assert_eq!(tree(scene.node.dir()), disk, "nothing is written");
    assert_eq!(scene.members().await, scene.before);
    assert_eq!(scene.rig.aws.count(Action::CreateOrUpdateTags), 0);
}

#[tokio::test]
async fn a_dry_run_shows_the_very_file_that_the_run_writes() {
    let (rig, node) = alone();
    let disk = tree(node.dir());
    let report = dry_run(&node).await;
    assert_eq!(report["decision"], "start");
    let calls: Vec<&str> = report["calls"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let words = ["record", "is agreed", "CreateOrUpdateTags etcd-bootstrap/founding="];
    assert!(calls.len() == 3 && calls.iter().zip(words).all(|(call, word)| call.contains(word)), "{calls:?}");
    assert_eq!(tree(node.dir()), disk, "nothing is written");
    assert_eq!(rig.aws.count(Action::CreateOrUpdateTags), 0);
    let run = node.agent("run", &[]).await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
    // All but the token's end: each founding has its own.
    let but_token = |file: &str| {
        let end = file
            .split_once("ETCD_INITIAL_CLUSTER_TOKEN=")
            .and_then(|(_, rest)| rest.split_once('\n')?.0.split_once("/etcd-a/"));
        let (_, end) = end.unwrap_or_else(|| panic!("{file}"));
        assert_eq!(end.len(), 16, "{file}");
        file.replace(end, "")
    };
    let written = fs::read_to_string(node.environment_file()).unwrap();
    assert_eq!(but_token(report["file"].as_str().unwrap()), but_token(&written));
    // With the disk's record there, the run is repeated to the letter.
    assert_eq!(dry_run(&node).await["file"], written);
}

#[tokio::test]
async fn explain_decides_the_saved_observation_as_the_run_did() {
    let scene = Scene::new().await;
    scene.rig.aws.inject(Action::DescribeInstances, Fault::Deny, Often::Always);
    let (_lone_rig, lone) = alone();
    for (node, code, decision, reason) in
        [(&scene.node, 78, "wait", "ec2-blind"), (&lone, 0, "start", "agreed-founding")]
    {
        let run = node.agent("run", &[]).await.unwrap();
        assert_eq!(run.code, code, "{}", run.stderr);
        let said = format!("decision={decision} reason={reason}");
        assert!(run.stderr.contains(&said), "{}", run.stderr);
        let saved = node.environment_file().with_extension("observation.json");
        let saved = saved.display().to_string();
        let explained = json(&exactly(node, &format!("explain {saved} --output=json")).await);
        assert_eq!((&explained["decision"], explained["reason"].get(reason).is_some()), (&decision.into(), true));
        let text = exactly(node, &format!("explain {saved}")).await;
        assert!(text.stdout.contains(&format!("{decision} ({reason})")), "{}", text.stdout);
    }
    let run = exactly(&lone, "explain /nowhere/observation.json").await;
    assert_eq!(run.code, 64, "{}", run.stderr);
    assert!(run.stderr.contains("/nowhere/observation.json"), "{}", run.stderr);
}

#[tokio::test]
async fn status_says_in_one_line_whether_the_cluster_is_sound() {
    let scene = Scene::new().await;
    let disk = tree(scene.node.dir());
    let id = &scene.before.cluster_id;
    let run = scene.node.agent("status", &["--output=json"]).await.unwrap();
    assert_eq!(run.code, 75, "the group wants one more: {}", run.stdout);
    let status = json(&run);
    assert_eq!((&status["sound"], status["nodes"].as_array().unwrap().len()), (&false.into(), 2));

    scene.rig.cloud.change(|world| world.set_desired(GROUP, 1));
    let run = scene.node.agent("status", &["--output=json"]).await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stdout);
    let status = json(&run);
    assert_eq!(status["sound"], true);
    let rows = status["nodes"].as_array().unwrap();
    let member = rows.iter().find(|row| row["instance"] == scene.member.instance).unwrap();
    let expected = [("lifecycle", "InService"), ("role", "leader"), ("health", "healthy")];
    assert!(expected.iter().all(|(column, value)| member[column] == *value), "{member}");
    assert_eq!(member["member"], format!("{:x}", scene.before.members[0].id));

    let text = scene.node.agent("status", &[]).await.unwrap().stdout;
    assert!(text.starts_with("instance") && text.trim_end().ends_with("1 of 1 members serve"), "{text}");
    assert!(text.contains(&format!("sound: cluster {id}")), "{text}");
    assert_eq!((tree(scene.node.dir()), scene.members().await), (disk, scene.before.clone()));
}

// ---------------------------------------------------------------- secrets

#[tokio::test]
async fn secrets_never_reach_a_log_or_a_file() {
    let (rig, node) = alone();
    let secrets = ["secret-of-the-fake", "session-token-of-the-fake", "AQAEA", "AWS4-HMAC"];
    let quiet = async |what: &str, more: &[&str]| {
        for format in ["glog", "json", "journald"] {
            let format = format!("--log-format={format}");
            let run = node.agent("run", &[&["-v=10", &format], more].concat()).await.unwrap();
            assert!(run.stderr.lines().count() > 2, "{what}: it says something: {}", run.stderr);
            let files = contents(node.dir());
            for secret in secrets {
                assert!(!run.stderr.contains(secret), "{what}: {secret} in {}", run.stderr);
                assert!(!files.contains(secret), "{what}: {secret} on the disk");
            }
        }
    };
    quiet("a good run", &[]).await;
    for fault in [Fault::Deny, Fault::Malform, Fault::Drop] {
        rig.aws.inject_everywhere(&fault, Often::Always);
        quiet(&format!("{fault:?}"), &[]).await;
        rig.aws.heal();
    }
    let half =
        "{\"Code\":\"Success\",\"SecretAccessKey\":\"secret-of-the-fake\",\"Token\":\"session-token-of-the-fake\"";
    for document in [half.to_owned(), format!("{half}}}"), format!("{half},\"Expiration\":7}}")] {
        node.imds.answer(&format!("{CREDENTIALS}etcd-node"), 200, &document);
        quiet(&document, &[]).await;
    }
}

// ---------------------------------------------------------------- time

/// Long beside what two busy cores take for a request, so that what waits for another is told from what does not.
const DELAY: Duration = Duration::from_millis(400);

#[tokio::test]
async fn requests_that_do_not_need_each_other_are_made_at_the_same_time() {
    let (rig, nodes) = group_of(3);
    nodes[0].imds.inject(imds::Fault::Delay(DELAY));
    rig.aws.inject_everywhere(&Fault::Delay(DELAY), Often::Always);
    let peers: Vec<Peer> = nodes[1..].iter().map(|node| Peer::start(node.address, DELAY, |_| reply(404, ""))).collect();
    let began = Instant::now();
    let (told, run) = tokio::join!(watch(&nodes[0]), nodes[0].agent("run", &["--dry-run", "--deadline=60s"]));
    assert_eq!(run.unwrap().code, 0);

    let is_identity = |path: &str| {
        let meta = ["local-hostname", "ipv6", "autoscaling/target-lifecycle-state", "mac"];
        path == IDENTITY || meta.iter().any(|name| path == format!("/latest/meta-data/{name}"))
    };
    let answered: Vec<Instant> = told.iter().filter(|(_, path)| is_identity(path)).map(|(at, _)| *at).take(5).collect();
    assert_eq!(answered.len(), 5, "{told:?}");
    assert!(spread(&answered) < DELAY, "the identity in one go, not in five: {told:?}");

    let calls = rig.aws.calls();
    let first_pass: Vec<&str> = calls.iter().take(3).map(|call| call.action.as_str()).collect();
    assert_eq!(first_pass, READS.map(|(action, _)| action.name()));
    let (started, ended) = (calls[0].at, calls[2].at + DELAY);
    let asked: Vec<Instant> =
        peers.iter().flat_map(|peer| peer.seen().into_iter().take(3)).map(|(at, ..)| at).collect();
    assert_eq!(asked.len(), 6);
    assert!(spread(&asked) < DELAY, "all ports of all peers at once");
    let first_asked = *asked.iter().min().unwrap();
    assert!(first_asked >= ended && first_asked - ended < DELAY, "nothing waits that need not");

    // The longest chain: token, mac, ranges; token, role, credentials; three calls of AWS. The sum: every answer.
    let chain = first_asked - began;
    let answers = told.iter().filter(|(at, _)| *at < started).count() + first_pass.len();
    let sum = DELAY * u32::try_from(answers).unwrap();
    assert!(answers >= 13 && chain + 2 * DELAY < sum, "{chain:?} for {answers} answers of {DELAY:?} each: {told:?}");
}

fn spread(times: &[Instant]) -> Duration {
    *times.iter().max().unwrap() - *times.iter().min().unwrap()
}

/// When the metadata service answered what, for two passes.
async fn watch(node: &Node) -> Vec<(Instant, String)> {
    let mut told = Vec::new();
    let end = Instant::now() + DELAY * 12;
    while Instant::now() < end {
        let new = node.imds.exchanges().into_iter().skip(told.len()).collect::<Vec<_>>();
        told.extend(new.into_iter().map(|exchange| (Instant::now(), exchange.path)));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    told
}

// ---------------------------------------------------------------- what tests are made of

pub fn rig() -> Rig {
    let mut rig = rig_with(find("target".as_ref()).expect("the tests need an etcd"));
    // Long enough for several looks on a busy machine.
    rig.setup.deadline = "2s".into();
    rig
}

/// Instances of a group that wants them all; their machines are off.
pub fn group_of(size: usize) -> (Rig, Vec<Node>) {
    let rig = rig();
    rig.group(GROUP, u32::try_from(size).unwrap());
    let nodes = rig.launch_many(GROUP, size).unwrap();
    (rig, nodes)
}

/// A group of one: but for what a test does to it, the node would create its cluster.
pub fn alone() -> (Rig, Node) {
    let (rig, mut nodes) = group_of(1);
    (rig, nodes.remove(0))
}

/// A group of one whose etcd has run, and is off.
pub async fn with_data() -> (Rig, Node) {
    let mut rig = rig();
    rig.setup.deadline = "30s".into();
    let node = form(&rig, 1).await.remove(0);
    node.shut_down().await;
    // As /run is after a reboot.
    fs::remove_file(node.environment_file()).unwrap();
    (rig, node)
}

/// A formed cluster of one in a group that wants two, and the second instance, off and empty: but for what a test
/// does to it, it would be added.
struct Scene {
    // In this order: nodes must not outlive their rig.
    node: Node,
    member: Node,
    before: MemberList,
    rig: Rig,
}

impl Scene {
    async fn new() -> Self {
        let rig = rig();
        let member = form(&rig, 1).await.remove(0);
        // Its `ready` tags the group; from here on nobody may.
        let is_ready = |event: &Event| matches!(event, Event::ReadyExited { code: 0 });
        member.wait_for(Duration::from_secs(60), is_ready).await.unwrap();
        rig.aws.forget_calls();
        let before = rig.judge.members(member.address).await.unwrap();
        rig.cloud.change(|world| world.set_desired(GROUP, 2));
        let node = rig.launch(Some(GROUP)).unwrap();
        Self { node, member, before, rig }
    }

    async fn members(&self) -> MemberList {
        self.rig.judge.members(self.member.address).await.unwrap()
    }

    async fn refuses(&self, code: i32, words: &[&str]) {
        self.refuses_with(&[], code, words).await;
    }

    async fn refuses_with(&self, more: &[&str], code: i32, words: &[&str]) {
        refuses(&self.node, more, code, words).await;
        assert_eq!(self.members().await, self.before, "nothing was sent to etcd");
        assert_eq!(self.rig.aws.count(Action::CreateOrUpdateTags), 0, "nothing was tagged");
    }
}

/// The agent ends with this code, says these words in its last error, and writes no environment file, nor touches one
/// that is there. Returns the error.
pub async fn refuses(node: &Node, more: &[&str], code: i32, words: &[&str]) -> String {
    let new = node.environment_file();
    let kept = new.with_file_name("kept.env");
    fs::create_dir_all(new.parent().unwrap()).unwrap();
    fs::write(&kept, "KEPT=yes\n").unwrap();
    let before = tree(&kept.with_file_name(""))[&kept];
    // Both at once: most cases wait for their deadline.
    let second = format!("--environment-file={}", kept.display());
    let second = [&[second.as_str()], more].concat();
    let runs = tokio::join!(node.agent("run", more), node.agent("run", &second));
    for run in [&runs.0, &runs.1].map(|run| run.as_ref().unwrap()) {
        assert_eq!(run.code, code, "{more:?}: {}", run.stderr);
        let error = error_of(run);
        for word in words {
            assert!(error.contains(word), "{more:?}: '{word}' is not in: {error}");
        }
        assert_eq!(run.stdout, "", "stdout is for answers");
    }
    assert!(!new.exists(), "{more:?}: nothing is written");
    assert_eq!(tree(&kept.with_file_name(""))[&kept], before, "{more:?}: not even touched");
    assert_eq!(fs::read_to_string(&kept).unwrap(), "KEPT=yes\n");
    error_of(&runs.0.unwrap())
}

/// What a person reads last: one line of the log, or the usage error.
fn error_of(run: &Run) -> String {
    let usage = || run.stderr.starts_with("error: ").then(|| run.stderr.clone());
    let line = run.stderr.lines().next_back().filter(|line| line.starts_with('E')).map(str::to_owned);
    line.or_else(usage).unwrap_or_else(|| panic!("no error: {}", run.stderr))
}

/// The agent lets etcd start with its own data: exit code 0 and a file that can only join.
async fn starts(node: &Node, more: &[&str]) -> Run {
    let _ = fs::remove_file(node.environment_file());
    let run = node.agent("run", more).await.unwrap();
    assert_eq!(run.code, 0, "{more:?}: {}", run.stderr);
    let written = node.environment().unwrap().unwrap();
    assert_eq!(written["ETCD_NAME"], node.instance);
    assert_eq!(written["ETCD_INITIAL_CLUSTER_STATE"], "existing", "{written:?}");
    run
}

async fn dry_run(node: &Node) -> Value {
    json(&node.agent("run", &["--dry-run", "--output=json"]).await.unwrap())
}

fn json(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{e}: {} {}", run.stdout, run.stderr))
}

/// A rig whose agents get from their environment what a test must redirect, and nothing else: the command lines stay
/// as they are.
fn discovery_rig(scheme: &str) -> Rig {
    let mut rig = rig();
    let dir = rig.directory.path().display().to_string();
    let variables = [
        ("DATA_DIR", format!("{dir}/etcd")),
        ("STATE_DIR", format!("{dir}/state")),
        ("ETCD_CLIENT_SCHEMA", scheme.to_owned()),
    ];
    let variables = variables.map(|(name, value)| (format!("ETCD_BOOTSTRAP_{name}"), value));
    rig.setup.agent_environment.extend(variables);
    rig
}

async fn exactly(node: &Node, line: &str) -> Run {
    let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
    node.agent_exactly(&arguments).await.unwrap()
}

/// `I1121 08:44:00.123456   1234 decide.rs:42] message`
fn is_glog(line: &str) -> bool {
    let shape = "L0000 00:00:00.000000 ";
    let fits = |(c, form): (char, char)| match form {
        'L' => "IWEF".contains(c),
        '0' => c.is_ascii_digit(),
        other => c == other,
    };
    let head = line.len() > shape.len() && line.chars().zip(shape.chars()).all(fits);
    let rest = line.get(shape.len()..).and_then(|rest| rest.split_once("] "));
    let Some((place, _)) = rest.filter(|_| head) else { return false };
    let mut words = place.split_whitespace();
    let process = words.next().is_some_and(|id| id.parse::<u32>().is_ok());
    let caller =
        words.next().and_then(|caller| caller.split_once(".rs:")).is_some_and(|(_, n)| n.parse::<u32>().is_ok());
    process && caller && words.next().is_none()
}

/// Every file below a directory with its size and time.
fn tree(dir: &Path) -> BTreeMap<PathBuf, (u64, std::time::SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() {
            found.extend(tree(&entry.path()));
        } else {
            found.insert(entry.path(), (metadata.len(), metadata.modified().unwrap()));
        }
    }
    found
}

/// All that is in the files below a directory.
fn contents(dir: &Path) -> String {
    let read = |path: PathBuf| fs::read(path).unwrap_or_default();
    tree(dir).into_keys().map(|path| String::from_utf8_lossy(&read(path)).into_owned()).collect()
}

/// Ports that accept and say nothing, as those of a forming or a frozen etcd; closed when dropped.
fn silence(address: Ipv4Addr) -> [TcpListener; 2] {
    [2379, 2380].map(|port| TcpListener::bind((address, port)).expect("the address is the test's own"))
}

/// A peer port that answers as a test says.
pub struct Peer {
    seen: Arc<Mutex<Vec<(Instant, String, String)>>>,
    server: http::Server,
}

impl Peer {
    pub fn start(address: Ipv4Addr, delay: Duration, answer: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        let seen: Arc<Mutex<Vec<(Instant, String, String)>>> = Arc::default();
        let listener = TcpListener::bind((address, 2380)).expect("the address is the test's own");
        let (record, answer) = (seen.clone(), Arc::new(answer));
        let server = http::serve(listener, move |request: Request| {
            record.lock().unwrap().push((Instant::now(), request.method, request.path.clone()));
            let answer = answer.clone();
            async move {
                tokio::time::sleep(delay).await;
                answer(&request.path)
            }
        });
        Self { seen, server: server.unwrap() }
    }

    /// Gives the port free.
    async fn stop(self) {
        self.server.close().await;
    }

    /// When what was asked: time, method, path.
    pub fn seen(&self) -> Vec<(Instant, String, String)> {
        self.seen.lock().unwrap().clone()
    }
}

fn version() -> Answer {
    reply(200, "{\"etcdserver\":\"3.6.6\",\"etcdcluster\":\"3.6.0\"}")
}

pub fn reply(status: u16, body: &str) -> Answer {
    let headers = vec![("X-Etcd-Cluster-ID", "cdf818194e3a8c32".to_owned())];
    Answer::Reply { status, content_type: "application/json", headers, body: body.to_owned().into() }
}

/// The options of one port with TLS; `port` is `peer-` or nothing.
fn tls_options(port: &str, files: &TlsFiles) -> Vec<String> {
    let scheme = if port.is_empty() { "--etcd-client-schema=https" } else { "--etcd-peer-scheme=https" };
    [vec![scheme.to_owned()], files.options_of(port)].concat()
}

fn as_str(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}
