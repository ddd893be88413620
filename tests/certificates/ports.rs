//! Who is let in on which port, as etcd itself judges, and what a consumer has.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use etcd_bootstrap::certificate::Purpose;
use etcd_bootstrap::files::write;

use super::made::below;
use super::{certified, shown};
use crate::scenario::{GROUP, PATIENCE, intact, on_both_ends, on_every_etcd, on_one_etcd, put, whole};
use crate::support::aws::{Action, Fault, Often, Only};
use crate::support::child::Child;
use crate::support::etcd::{Judge, until};
use crate::support::keys::Kind;
use crate::support::node::Node;
use crate::support::rig::{Rig, addresses};
use crate::support::tls::{KEYS, signed_by};

on_every_etcd!(
    c12_c14_a_client_is_let_in_on_the_client_port_alone_and_an_intermediate_nowhere,
    c15_with_authentication_a_member_is_root_and_joins,
);

on_both_ends!(c16_a_consumer_has_a_certificate_without_a_name_and_its_proxy_goes_on);

on_one_etcd!(
    c03_while_the_file_is_replaced_nearly_every_handshake_succeeds,
    c14_who_could_sign_once_is_no_server,
    c24_a_founder_that_has_waited_for_two_lives_is_believed,
);

async fn c12_c14_a_client_is_let_in_on_the_client_port_alone_and_an_intermediate_nowhere(mut rig: Rig) {
    let nodes = certified(&mut rig, 1, "14d").await;
    let world = rig.cloud.now();
    let [members, clients] = KEYS.map(|alias| world.find_key(alias).unwrap().clone());
    let (_, anchor) = signed_by(&members, Purpose::Member, &["127.0.0.1"]);
    let with = |node: &str| Judge::with_certificate(anchor.as_bytes(), node.as_bytes(), node.as_bytes()).unwrap();

    let client = with(&signed_by(&clients, Purpose::Client, &["127.0.0.1"]).0);
    assert!(client.members(nodes[0].address).await.is_none(), "the peer port is for members");
    let mut writes = client.client(&addresses(&nodes)).await.unwrap();
    writes.put("kept", "safe", None).await.unwrap();
    intact(&mut writes).await;

    let Kind::Signing(pair) = &members.kind else { panic!("it signs") };
    let stranger = with(&below(pair, &members.id, "127.0.0.1"));
    assert!(stranger.members(nodes[0].address).await.is_none());
    assert!(!stranger.is_healthy(nodes[0].address).await, "pathlen:0");
    assert!(rig.judge.is_healthy(nodes[0].address).await && client.is_healthy(nodes[0].address).await);
}

async fn c15_with_authentication_a_member_is_root_and_joins(mut rig: Rig) {
    let mut nodes = certified(&mut rig, 3, "14d").await;
    let mut client = put(&rig, &nodes).await;
    client.user_add("root", "secret", None).await.unwrap();
    client.role_add("root").await.unwrap();
    client.user_grant_role("root", "root").await.unwrap();
    client.auth_enable().await.unwrap();
    let dead = nodes.remove(0);
    rig.terminate(&dead).await;
    nodes.push(rig.launch(Some(GROUP)).unwrap());
    nodes[2].boot();
    whole(&rig, &nodes).await;
    intact(&mut rig.judge.client(&addresses(&nodes)).await.unwrap()).await;
}

async fn c16_a_consumer_has_a_certificate_without_a_name_and_its_proxy_goes_on(mut rig: Rig) {
    let nodes = certified(&mut rig, 3, "14d").await;
    rig.group("consumers", 1);
    let consumer = rig.launch(Some("consumers")).unwrap();
    // What the README gives a consumer's role.
    let members = rig.cloud.now().find_key(KEYS[0]).unwrap().id.clone();
    let only = Only { caller: Some(consumer.instance.clone()), ..Only::with(&members) };
    rig.aws.inject_only(Action::Sign, only, Fault::Deny, Often::Always);
    let follow = ["--proxy-mode=true", "--scaling-group-name", GROUP];
    let run = consumer.agent("run", &follow).await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let variables = consumer.environment().unwrap().unwrap();
    let file = |name: &str| variables[name].clone();

    let listen = format!("{}:2379", consumer.address);
    let mut proxy = Command::new(&rig.programs.etcd);
    proxy
        .args(["grpc-proxy", "start", &format!("--endpoints={}", file("ETCD_ENDPOINTS"))])
        .args([format!("--listen-addr={listen}"), format!("--cacert={}", file("ETCDCTL_CACERT"))])
        .args([format!("--cert={}", file("ETCDCTL_CERT")), format!("--key={}", file("ETCDCTL_KEY"))])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let _proxy = Child::spawn(proxy).unwrap();
    let serves = async |value: &str| {
        let put = async {
            let mut client = Judge::new().client(&[consumer.address]).await.map_err(|e| e.to_string())?;
            client.put("through", value, None).await.map(drop).map_err(|e| e.to_string())
        };
        tokio::time::timeout(Duration::from_secs(5), put).await.unwrap_or_else(|e| Err(e.to_string()))
    };
    until(PATIENCE, async || serves("the proxy").await).await.unwrap();

    let before = std::fs::read(file("ETCDCTL_CERT")).unwrap();
    let run =
        consumer.agent("certificate", &["--proxy-mode=true", "--scaling-group-name", GROUP, "--force"]).await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_ne!(std::fs::read(file("ETCDCTL_CERT")).unwrap(), before);
    // It has to connect anew to each of them, and does so with the new one.
    for node in &nodes {
        node.reboot().await;
        whole(&rig, &nodes).await;
        until(PATIENCE, async || serves("the renewal").await).await.unwrap();
    }
}

async fn c03_while_the_file_is_replaced_nearly_every_handshake_succeeds(mut rig: Rig) {
    let nodes = certified(&mut rig, 1, "14d").await;
    let node = &nodes[0];
    let key = rig.cloud.now().find_key(KEYS[0]).unwrap().clone();
    let name = node.address.to_string();
    let texts = [0; 2].map(|_| signed_by(&key, Purpose::Member, &[&name, "127.0.0.1"]).0);
    let file = node.certificates().join("node.pem");
    let replace = async {
        for n in 0..400 {
            write::replace(&file, &texts[n % 2], 0o600).unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let mut replacing = std::pin::pin!(replace);
    let (mut failed, mut all) = (0, 0);
    loop {
        tokio::select! {
            () = &mut replacing => break,
            healthy = rig.judge.handshake(node.address) => {
                all += 1;
                failed += usize::from(healthy.is_err());
            }
        }
    }
    assert!(all > 100 && failed * 100 <= all * 3, "{failed} of {all} handshakes failed");
    rig.judge.handshake(node.address).await.unwrap();
    shown(node, 2379).await;
}

/// etcd shows what its file holds now, and would itself believe that.
async fn c14_who_could_sign_once_is_no_server(mut rig: Rig) {
    let nodes = certified(&mut rig, 1, "14d").await;
    let key = rig.cloud.now().find_key(KEYS[0]).unwrap().clone();
    let Kind::Signing(pair) = &key.kind else { panic!("it signs") };
    rig.group("consumers", 1);
    let consumer = rig.launch(Some("consumers")).unwrap();
    let (file, name) = (nodes[0].certificates().join("node.pem"), nodes[0].address.to_string());
    let follow = ["--proxy-mode=true", "--scaling-group-name", GROUP, "--deadline=2s"];

    write::replace(&file, &below(pair, &key.id, &name), 0o600).unwrap();
    assert!(rig.judge.is_healthy(nodes[0].address).await, "the judge takes a chain of any length");
    let run = consumer.agent("run", &follow).await.unwrap();
    assert_ne!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("no-member-answers"), "{}", run.stderr);
    assert_eq!(consumer.environment(), Ok(None), "it was given no endpoint");

    write::replace(&file, &signed_by(&key, Purpose::Member, &[&name, "127.0.0.1"]).0, 0o600).unwrap();
    let run = consumer.agent("run", &follow).await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
}

async fn c24_a_founder_that_has_waited_for_two_lives_is_believed(mut rig: Rig) {
    rig.certify();
    rig.setup.agent_arguments.push("--certificate-life=10s".to_owned());
    rig.group(GROUP, 3);
    let nodes = rig.launch_many(GROUP, 3).unwrap();
    nodes[0].boot();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(22) {
        let run = nodes[0].agent("certificate", &[]).await.unwrap();
        assert_eq!(run.code, 0, "{}", run.stderr);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(nodes[0].environment(), Ok(None), "it waits for the others");
    nodes[1..].iter().for_each(Node::boot);
    whole(&rig, &nodes).await;
}
