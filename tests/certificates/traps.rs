//! What AWS, the clock, the names and what lies on the disk can do to a node's certificate, without an etcd. The numbers
//! are those of the design's traps.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, SystemTime};

use etcd_bootstrap::certificate::Purpose;
use etcd_bootstrap::files::write;
use serde_json::Value;

use super::certified;
use super::common::{good_for, issues, node_pem, snapshot, some, wrong_with};
use crate::cli;
use crate::scenario::{GROUP, PATIENCE, on_one_etcd, told_systemd, whole};
use crate::status::valid;
use crate::support::aws::{Action, Fault, Often, Only};
use crate::support::cloud::World;
use crate::support::node::Run;
use crate::support::rig::Rig;
use crate::support::skip;
use crate::support::tls::{self, KEYS};

on_one_etcd!(c22_an_alias_that_leads_elsewhere_changes_nothing_until_the_others_go_along);

const LOCAL_HOSTNAME: &str = "/latest/meta-data/local-hostname";
const DAY: i32 = 24 * 3600;

// ---------------------------------------------------------------- AWS

#[tokio::test]
async fn c06_without_kms_a_node_without_a_certificate_waits_and_says_what_is_missing() {
    let (rig, nodes) = some(1);
    let node = &nodes[0];
    let actions = [(Action::GetPublicKey, "kms:GetPublicKey"), (Action::Sign, "kms:Sign")];
    let faults = [
        (Fault::Drop, 69, "certificate-unavailable"),
        (Fault::Throttle, 69, "certificate-unavailable"),
        (Fault::Deny, 78, "certificate-denied"),
    ];
    for (action, name) in actions {
        for (fault, code, reason) in &faults {
            rig.aws.inject(action, fault.clone(), Often::Always);
            let error = cli::refuses(node, &["--deadline=1s"], *code, &[name, KEYS[0], reason]).await;
            let advised = error.contains(&format!("allow {name} in the instance's role"));
            assert_eq!(advised, *code == 78, "{fault:?}: {error}");
            rig.aws.heal();
        }
    }
    // Which of the keys it is, is said too.
    let clients = rig.cloud.now().aliases[KEYS[1]].clone();
    rig.aws.inject_only(Action::GetPublicKey, Only::with(&clients), Fault::Deny, Often::Always);
    cli::refuses(node, &[], 78, &["kms:GetPublicKey", KEYS[1]]).await;
    rig.aws.heal();
    // The rest of AWS was not even looked at.
    let asked: BTreeSet<String> = rig.aws.counts().into_keys().collect();
    assert_eq!(asked, ["GetPublicKey", "Sign"].map(str::to_owned).into());
    assert!(!node.certificates().exists(), "no file of it either");
}

#[tokio::test]
async fn c06_kms_that_comes_back_within_the_deadline_is_waited_for() {
    let (rig, nodes) = some(1);
    rig.aws.inject(Action::Sign, Fault::Drop, Often::Times(2));
    let run = nodes[0].agent("run", &["--deadline=30s"]).await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("trying again"), "{}", run.stderr);
    assert_eq!(good_for(&nodes[0]), Ok(()));
}

#[tokio::test]
async fn systemd_is_told_that_kms_is_waited_for() {
    let (rig, nodes) = some(1);
    rig.aws.inject(Action::Sign, Fault::Drop, Often::Times(2));
    let (code, told) = told_systemd(&nodes[0], "run", &["--deadline=30s"]).await;
    let tells = told.contains("kms:Sign") && told.matches(" (for ").count() == 2;
    assert!(code == Some(0) && tells, "{code:?} {told}");
    let (code, told) = told_systemd(&nodes[0], "certificate", &["--force"]).await;
    assert!(code == Some(0) && told.contains("STATUS=looks whether"), "{code:?} {told}");
}

type Break = fn(&mut World, &str);

#[tokio::test]
async fn c21_a_key_that_cannot_sign_needs_a_person_and_the_certificate_of_before_lives_on() {
    let (rig, nodes) = some(1);
    // In no group, so that the other one has nobody to found with.
    let (node, fresh) = (&nodes[0], &rig.launch(None).unwrap());
    issues(node, &[]).await;
    let before = snapshot(node);
    let cases: [(Break, Break, &str); 3] = [
        (World::disable_key, World::enable_key, "is disabled"),
        (World::schedule_deletion, World::enable_key, "is pending deletion"),
        (|world, _| world.delete_alias(KEYS[0]), |world, key| world.point_alias(KEYS[0], key), "is not found"),
    ];
    let key = rig.cloud.now().aliases[KEYS[0]].clone();
    for (breaks, heals, said) in cases {
        rig.cloud.change(|world| breaks(world, &key));
        cli::refuses(fresh, &[], 78, &["certificate-denied", "kms:GetPublicKey", KEYS[0], said]).await;
        let run = node.agent("certificate", &[]).await.unwrap();
        assert_eq!(run.code, 0, "{said}: {}", run.stderr);
        assert!(warned(&run, said) && warned(&run, "more than a third"), "{said}: {}", run.stderr);
        let run = node.agent("run", &[]).await.unwrap();
        assert_eq!(run.code, 0, "{said}: {}", run.stderr);
        // Also one that is due, by its names for example. Where the alias alone is gone, the record still knows the key.
        if rig.cloud.now().aliases.contains_key(KEYS[0]) {
            let run = node.agent("run", &["--certificate-names=balancer"]).await.unwrap();
            assert_eq!(run.code, 0, "{said}: {}", run.stderr);
            assert!(warned(&run, said) && warned(&run, "going on"), "{said}: {}", run.stderr);
        }
        // Whoever asks for a new one is told that there is none.
        let run = node.agent("certificate", &["--force"]).await.unwrap();
        assert_eq!(run.code, 78, "{said}: {}", run.stderr);
        assert_eq!(snapshot(node), before, "{said}");
        rig.cloud.change(|world| heals(world, &key));
    }
    issues(fresh, &[]).await;
}

#[tokio::test]
async fn c21_a_key_of_another_kind_needs_a_person() {
    let mut rig = cli::rig();
    rig.setup.schemes = ("https", "https");
    rig.group(GROUP, 1);
    let node = rig.launch(Some(GROUP)).unwrap();
    let kinds = [World::create_rsa_key, World::create_agreement_key, World::create_symmetric_key];
    let [rsa, agreement, symmetric] = kinds.map(|kind| rig.cloud.change(|world| kind(world, "alias/another")));
    let elsewhere = "arn:aws:kms:us-test-2:123456789012:key/11111111-2222-4333-8444-555555555555";
    let unknown = "11111111-2222-4333-8444-555555555555";
    let cases = [
        (rsa.as_str(), "ECC_NIST_P256"),
        (&agreement, "--key-usage SIGN_VERIFY"),
        (&symmetric, "UnsupportedOperationException"),
        (elsewhere, "NotFoundException"),
        (unknown, "does not exist"),
        ("alias/mistyped", "is not found"),
    ];
    for (key, said) in cases {
        let option = format!("--member-authority={key}");
        cli::refuses(&node, &[&option], 78, &["certificate-denied", key, said]).await;
    }
    assert_eq!(rig.aws.count(Action::Sign), 0, "it was known before");
    assert!(!node.certificates().exists());
}

/// `kms:Sign` and `GetPublicKey` are limited to some hundreds a second for all of an account.
#[tokio::test]
async fn c26_a_group_that_boots_at_once_is_throttled_and_gets_its_certificates() {
    let (rig, nodes) = some(7);
    for node in &nodes {
        for action in [Action::GetPublicKey, Action::Sign] {
            rig.aws.inject_only(action, Only::by(&node.instance), Fault::Throttle, Often::Times(2));
        }
    }
    let mut tries = tokio::task::JoinSet::new();
    let nodes: Vec<_> = nodes.into_iter().map(std::sync::Arc::new).collect();
    for node in nodes.clone() {
        tries.spawn(async move { node.agent("run", &["--deadline=60s"]).await.unwrap() });
    }
    for run in tries.join_all().await {
        assert_eq!(run.code, 0, "{}", run.stderr);
    }
    let mut shown = BTreeSet::new();
    for node in &nodes {
        assert_eq!(good_for(node), Ok(()));
        shown.insert(node_pem(node));
        let calls = rig.aws.calls();
        let own = |action: Action| {
            calls.iter().filter(|call| call.caller == node.instance && call.action == action.name()).count()
        };
        // Two of each were refused; nobody signs again what he has.
        assert_eq!(own(Action::Sign), 3, "{}", node.instance);
        assert!(own(Action::GetPublicKey) <= 2 * 5, "{}", node.instance);
    }
    assert_eq!(shown.len(), 7, "each has its own");
}

/// As `alias/…` in the options is no name of one key for ever.
async fn c22_an_alias_that_leads_elsewhere_changes_nothing_until_the_others_go_along(mut rig: Rig) {
    let nodes = certified(&mut rig, 3, "14d").await;
    let before = nodes.iter().map(snapshot).collect::<Vec<_>>();
    let old = rig.cloud.now().aliases[KEYS[0]].clone();
    rig.cloud.change(|world| {
        let new = world.create_key("alias/new");
        world.point_alias(KEYS[0], &new);
    });
    for node in &nodes {
        let run = node.agent("certificate", &[]).await.unwrap();
        assert_eq!(run.code, 78, "{}", run.stderr);
        let others = nodes.iter().filter(|other| other.instance != node.instance);
        let named = others.filter(|other| run.stderr.contains(&other.instance)).count();
        assert!(run.stderr.contains("certificate-refused") && named == 1, "who refuses is named: {}", run.stderr);
    }
    assert_eq!(nodes.iter().map(snapshot).collect::<Vec<_>>(), before);
    // At its start a node asks nobody who the authorities are.
    nodes[0].reboot().await;
    whole(&rig, &nodes).await;
    let run = nodes[1].agent("run", &["--deadline=20s"]).await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(nodes.iter().map(snapshot).collect::<Vec<_>>(), before);
    rig.cloud.change(|world| world.point_alias(KEYS[0], &old));
    for node in &nodes {
        issues(node, &[]).await;
    }
    whole(&rig, &nodes).await;
}

// ---------------------------------------------------------------- the clock

#[tokio::test]
async fn c07_a_certificate_of_tomorrow_is_replaced_and_fifty_minutes_are_no_matter() {
    let mut rig = cli::rig();
    if let Err(why) = rig.setup.with_clocks("target".as_ref()) {
        return skip(why);
    }
    rig.certify();
    rig.group(GROUP, 1);
    let node = rig.launch(Some(GROUP)).unwrap();
    node.set_clock(DAY).unwrap();
    issues(&node, &[]).await;
    let of_tomorrow = node_pem(&node);
    assert!(good_for(&node).unwrap_err().contains("not valid yet"), "{:?}", good_for(&node));
    node.set_clock(0).unwrap();
    let run = node.agent("run", &["--deadline=30s"]).await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(good_for(&node), Ok(()));
    assert_ne!(node_pem(&node), of_tomorrow);

    // Made by a clock that is fast, it is good for those whose clock is right, and by one that is right, for a slow one.
    for (made, looked_at) in [(50 * 60, 0), (0, -50 * 60)] {
        node.set_clock(made).unwrap();
        issues(&node, &["--force"]).await;
        let before = node_pem(&node);
        assert_eq!(good_for(&node), Ok(()));
        node.set_clock(looked_at).unwrap();
        for command in ["run", "certificate"] {
            let run = node.agent(command, &[]).await.unwrap();
            assert_eq!(run.code, 0, "{made} {looked_at}: {}", run.stderr);
        }
        assert_eq!(node_pem(&node), before, "{made} {looked_at}");
    }
}

// ---------------------------------------------------------------- what is shown

#[tokio::test]
async fn c09_status_says_until_when_by_whom_and_that_etcd_has_to_be_restarted() {
    let (rig, nodes) = some(1);
    let node = &nodes[0];
    let status = async |more: &[&str]| {
        let text = node.agent("status", more).await.unwrap();
        let run = node.agent("status", &[more, &["--output=json"]].concat()).await.unwrap();
        (text.stdout, valid(&run)["certificate"].clone())
    };
    let run = node.agent("run", &[]).await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let (text, told) = status(&[]).await;
    let until = told["until"].as_str().expect("it is valid").to_owned();
    assert!(text.contains(&format!("certificate: valid until {until}, signed by {}\n", KEYS[0])), "{text}");
    assert_eq!((told["signed_by"].as_str(), &told["restart_needed"]), (Some(KEYS[0]), &Value::Bool(false)), "{told}");
    let left = humantime::parse_rfc3339(&until).unwrap().duration_since(SystemTime::now()).unwrap();
    let life = Duration::from_secs(14 * DAY as u64);
    assert!(left <= life && left + PATIENCE > life, "14 days: {until}");

    // One more key to trust: both files, or that of the clients alone.
    for (option, changed) in [("--client-authority", "clients.pem"), ("--member-authority", "members.pem")] {
        let alias = format!("alias/more-{changed}");
        rig.cloud.change(|world| world.create_key(&alias));
        let more = format!("{option}={alias}");
        let before = snapshot(node);
        issues(node, &[&more]).await;
        assert_ne!(before[changed], snapshot(node)[changed]);
        assert_eq!(before["node.pem"], snapshot(node)["node.pem"], "the certificate stays");
        let (text, told) = status(&[&more]).await;
        assert!(text.contains("; restart etcd"), "{text}");
        assert_eq!(told["restart_needed"], Value::Bool(true), "{told}");
        let run = node.agent("run", &[&more]).await.unwrap();
        assert_eq!(run.code, 0, "{}", run.stderr);
        let (text, told) = status(&[&more]).await;
        assert!(!text.contains("restart") && told["restart_needed"] == Value::Bool(false), "{text}{told}");
    }

    // One of an authority that is none of these, and what was never one.
    let foreign = cli::rig().cloud.change(|world| {
        let key = world.create_key("alias/foreign");
        tls::signed_by(&world.keys[&key], Purpose::Member, &[&node.address.to_string()]).0
    });
    fs::write(node.certificates().join("node.pem"), foreign).unwrap();
    let (text, told) = status(&[]).await;
    assert!(text.contains("none that is valid"), "{text}");
    assert_eq!((&told["until"], &told["signed_by"]), (&Value::Null, &Value::Null));
}

// ---------------------------------------------------------------- names

/// With a domain of one's own in the DHCP options, the metadata has another name than EC2, by which the others know the
/// node.
#[tokio::test]
async fn c10_the_certificate_has_the_metadatas_name_and_ec2s() {
    let (rig, nodes) = some(1);
    let node = &nodes[0];
    let names = ["--private-addresses=false"];
    let own = "etcd-1.corp.example";
    let of_ec2 = rig.cloud.now().instance(&node.instance).unwrap().dns_name().unwrap();
    node.imds.answer(LOCAL_HOSTNAME, 200, &format!("{own} etcd-1.another.example"));
    // EC2's answer is not to be had, and then does not know the instance yet.
    rig.aws.inject(Action::DescribeInstances, Fault::Deny, Often::Times(1));
    issues(node, &names).await;
    assert_eq!((wrong_with(node, own), wrong_with(node, &of_ec2).is_some()), (None, true));
    let before = node_pem(node);
    let first = before.clone();
    rig.aws.inject(Action::DescribeInstances, Fault::Empty, Often::Times(1));
    issues(node, &names).await;
    assert_eq!(node_pem(node), before);

    let run = issues(node, &names).await;
    assert!(run.stderr.contains(&of_ec2), "why is said: {}", run.stderr);
    for name in [own, &of_ec2, &node.address.to_string(), "127.0.0.1", "localhost"] {
        assert_eq!(wrong_with(node, name), None, "{name}");
    }
    assert!(wrong_with(node, "etcd-1.another.example").is_some());
    let before = node_pem(node);
    issues(node, &names).await;
    assert_eq!(node_pem(node), before, "and then it is good");

    // Before it joins it has both, or none: whoever lacks EC2's name is kept out by itself for as long as that lasts.
    fs::remove_file(node.certificates().join("node.pem")).unwrap();
    rig.aws.inject(Action::DescribeInstances, Fault::Fail, Often::Times(2));
    let run = node.agent("run", &[&names[..], &["--deadline=10s"]].concat()).await.unwrap();
    assert!(run.stderr.contains("ec2:DescribeInstances"), "{}", run.stderr);
    assert_eq!((wrong_with(node, own), wrong_with(node, &of_ec2)), (None, None));
    write::replace(&node.certificates().join("node.pem"), &first, 0o600).unwrap();
    let _ = node.agent("run", &[&names[..], &["--deadline=2s"]].concat()).await.unwrap();
    assert_eq!((wrong_with(node, own), wrong_with(node, &of_ec2)), (None, None));
}

/// An image that was made of a node has that one's certificate, and perhaps its record.
#[tokio::test]
async fn c11_another_nodes_certificate_is_replaced_and_its_key_never_used() {
    let (rig, nodes) = some(3);
    let [node, other, image] = &nodes[..] else { panic!("three were launched") };
    issues(other, &[]).await;
    let foreign = node_pem(other);
    for (copy, record) in [(node, false), (image, true)] {
        fs::create_dir_all(copy.certificates()).unwrap();
        for name in snapshot(other).into_keys().filter(|name| name.ends_with(".pem")) {
            fs::copy(other.certificates().join(&name), copy.certificates().join(&name)).unwrap();
        }
        if record {
            for name in ["authorities.json", "identity.json"] {
                let _ = fs::copy(other.state_dir().join(name), copy.state_dir().join(name));
            }
        }
        assert!(good_for(copy).unwrap_err().contains("not valid for"));
        // One run after the other: of two that issue at once, as `refuses` makes them, either may be the last.
        let run = copy.agent("run", &["--dry-run"]).await.unwrap();
        assert_eq!((run.code, node_pem(copy)), (0, foreign.clone()), "a dry run issues nothing: {}", run.stderr);
        let _ = copy.agent("run", &["--deadline=1s"]).await.unwrap();
        assert_eq!(good_for(copy), Ok(()));
        let key = foreign.lines().nth(1).unwrap();
        assert!(!node_pem(copy).contains(key), "another key too");
    }
    let signed = rig.aws.calls().into_iter().filter(|call| call.action == Action::Sign.name());
    let signed: BTreeSet<_> = signed.map(|call| call.caller).collect();
    assert_eq!(signed.len(), 3, "each for itself");
}

/// etcd lets a peer in whose certificate has no name at all, from wherever it comes. Ours says who it is for.
#[tokio::test]
async fn c13_a_certificate_without_the_own_names_is_replaced() {
    let (rig, nodes) = some(1);
    let node = &nodes[0];
    let key = rig.cloud.now().keys[&rig.cloud.now().aliases[KEYS[0]]].clone();
    issues(node, &[]).await;
    let own = node.address.to_string();
    let name = rig.cloud.now().instance(&node.instance).unwrap().dns_name().unwrap();
    let all = [own.as_str(), &name, "127.0.0.1", "localhost"];
    let without: Vec<Vec<&str>> =
        all.iter().map(|left_out| all.iter().copied().filter(|name| name != left_out).collect()).collect();
    for names in [vec![Vec::new()], without].concat() {
        // The record's name of the authority is the key's id, and `signed_by` takes the same.
        let (text, _) = tls::signed_by(&key, Purpose::Member, &names);
        fs::write(node.certificates().join("node.pem"), &text).unwrap();
        for command in ["run", "certificate"] {
            fs::write(node.certificates().join("node.pem"), &text).unwrap();
            let run = node.agent(command, &["--certificate-life=1d"]).await.unwrap();
            assert_eq!(run.code, 0, "{names:?}: {}", run.stderr);
            assert!(run.stderr.contains("issued a certificate"), "{names:?}: {}", run.stderr);
            assert_eq!(good_for(node), Ok(()), "{names:?}");
            assert_ne!(node_pem(node), text, "{names:?}");
        }
    }
    // With all of them, and in another's hand, it is good: the test would notice one that is replaced for nothing.
    let (text, _) = tls::signed_by(&key, Purpose::Member, &all);
    fs::write(node.certificates().join("node.pem"), &text).unwrap();
    issues(node, &["--certificate-life=1d"]).await;
    assert_eq!(node_pem(node), text);
    // A client's is no member's, whatever its names.
    let (text, _) = tls::signed_by(&key, Purpose::Client, &all);
    fs::write(node.certificates().join("node.pem"), &text).unwrap();
    issues(node, &["--certificate-life=1d"]).await;
    assert_ne!(node_pem(node), text);
}

// ---------------------------------------------------------------- what tests are made of

/// Whether something is said in a warning.
fn warned(run: &Run, said: &str) -> bool {
    run.stderr.lines().any(|line| line.starts_with('W') && line.contains(said))
}
