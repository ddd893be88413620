//! What a real etcd makes of the file, and of the directories and names that others have left on the node.

use std::fs;

use etcd_client::Client;

use crate::consumers::forget;
use crate::scenario::{GROUP, form, intact, on_both_ends, on_one_etcd, put, whole};
use crate::support::node::{Node, Run};
use crate::support::rig::{Rig, addresses, environment_by_hand};
use crate::support::tls::Authority;

on_both_ends!(b18_f99_what_stands_in_etcds_unit_is_undone);

on_one_etcd!(
    b08_f97_data_below_the_data_directory_makes_no_new_cluster,
    b13_f98_a_members_name_that_no_file_can_hold_keeps_nobody_out,
    b18_f99_a_log_directory_of_its_own_is_told_to_etcd,
    b21_f100_tls_that_the_list_does_not_know_of_is_told_and_waits_for_the_list,
    b26_f107_a_member_that_left_the_group_alive_keeps_its_endpoint,
);

// ---------------------------------------------------------------- the data directory

/// As Debian's package has it: the data in `default` below the directory that the agent looks at.
async fn b08_f97_data_below_the_data_directory_makes_no_new_cluster(rig: Rig) {
    rig.group(GROUP, 3);
    let nodes = rig.launch_many(GROUP, 3).unwrap();
    for node in &nodes {
        let directory = node.data_dir().join("default");
        fs::create_dir_all(&directory).unwrap();
        let environment = environment_by_hand(node, &nodes);
        node.boot_by_hand(&format!("{environment}ETCD_DATA_DIR={}\n", directory.display()));
    }
    whole(&rig, &nodes).await;
    put(&rig, &nodes).await;
    for node in &nodes {
        node.shut_down().await;
        fs::remove_file(node.environment_file()).unwrap();
    }
    let [a, b, c] = &nodes[..] else { panic!("three were launched") };
    let runs = tokio::join!(agent(a, &[]), agent(b, &[]), agent(c, &[]));
    for (run, node) in [runs.0, runs.1, runs.2].iter().zip(&nodes) {
        assert_eq!(run.code, 78, "{}", run.stderr);
        let other = node.data_dir().join("default").display().to_string();
        for said in ["another etcd data directory lies here", &other, "--data-dir"] {
            assert!(run.stderr.contains(said), "{said}: {}", run.stderr);
        }
        assert_eq!(node.environment(), Ok(None));
    }
    // Told where it is, the agent starts each on what it has.
    for node in &nodes {
        let directory = node.data_dir().join("default").display().to_string();
        let run = agent(node, &[&format!("--data-dir={directory}")]).await;
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert_eq!(node.environment().unwrap().unwrap()["ETCD_DATA_DIR"], directory);
        node.boot_by_hand(&fs::read_to_string(node.environment_file()).unwrap());
    }
    whole(&rig, &nodes).await;
    intact(&mut rig.judge.client(&addresses(&nodes)).await.unwrap()).await;
}

// ---------------------------------------------------------------- names

async fn b13_f98_a_members_name_that_no_file_can_hold_keeps_nobody_out(mut rig: Rig) {
    rig.group(GROUP, 1);
    let address = rig.fresh_address();
    let by_hand = [("NAME", "bob's-etcd".to_owned()), ("INITIAL_CLUSTER", format!("bob's-etcd=http://{address}:2380"))];
    rig.setup.etcd_environment.extend(by_hand.map(|(name, value)| (format!("ETCD_{name}"), value)));
    let bob = rig.launch_at(Some(GROUP), address).unwrap();
    let environment = environment_by_hand(&bob, std::slice::from_ref(&bob));
    let mine = |line: &&str| !line.starts_with("ETCD_NAME=") && !line.starts_with("ETCD_INITIAL_CLUSTER=");
    bob.boot_by_hand(&environment.lines().filter(mine).map(|line| format!("{line}\n")).collect::<String>());
    let mut nodes = vec![bob];
    whole(&rig, &nodes).await;
    rig.setup.etcd_environment.clear();
    rig.cloud.change(|world| world.set_desired(GROUP, 2));
    nodes.push(rig.launch(Some(GROUP)).unwrap());
    nodes[1].boot();
    whole(&rig, &nodes).await;
    let list = rig.judge.members(nodes[1].address).await.unwrap();
    assert!(list.voters().contains("bob's-etcd"), "{list:?}");
    let written = nodes[1].environment().unwrap().unwrap().remove("ETCD_INITIAL_CLUSTER").unwrap();
    assert!(written.contains(&format!("=http://{address}:2380")) && written.contains("member-"), "{written}");
}

// ---------------------------------------------------------------- what else etcd is told

/// What stands in etcd's unit and in the files before the agent's: each of them alone would make a cluster of one, or
/// lose the data.
async fn b18_f99_what_stands_in_etcds_unit_is_undone(mut rig: Rig) {
    let elsewhere = rig.directory.path().join("elsewhere");
    let path = elsewhere.display().to_string();
    let variables = [
        ("CONFIG_FILE", path.as_str()),
        ("DATA_DIR", &path),
        ("DISCOVERY", "http://127.0.0.1:9/token"),
        ("DISCOVERY_ENDPOINTS", "http://127.0.0.1:9"),
        ("DISCOVERY_SRV", "example.invalid"),
        ("DISCOVERY_TOKEN", "token"),
        ("FORCE_NEW_CLUSTER", "true"),
        ("PROXY", "on"),
        ("WAL_DIR", &path),
    ];
    rig.setup.etcd_environment.extend(variables.map(|(name, value)| (format!("ETCD_{name}"), value.to_owned())));
    let nodes = form(&rig, 3).await;
    let mut client = put(&rig, &nodes).await;
    nodes[0].reboot().await;
    whole(&rig, &nodes).await;
    intact(&mut client).await;
    assert!(!elsewhere.exists(), "agent and etcd agree on the directories");
    assert!(nodes.iter().all(|node| node.data_dir().join("member/wal").is_dir()));
}

async fn b18_f99_a_log_directory_of_its_own_is_told_to_etcd(mut rig: Rig) {
    let wal = rig.directory.path().join("wal");
    rig.setup.agent_arguments = vec![format!("--wal-dir={}", wal.display())];
    let nodes = form(&rig, 1).await;
    let mut client = put(&rig, &nodes).await;
    assert!(wal.is_dir() && !nodes[0].data_dir().join("member/wal").exists());
    nodes[0].reboot().await;
    whole(&rig, &nodes).await;
    intact(&mut client).await;
}

// ---------------------------------------------------------------- the scheme

async fn b21_f100_tls_that_the_list_does_not_know_of_is_told_and_waits_for_the_list(rig: Rig) {
    let nodes = form(&rig, 3).await;
    let client = put(&rig, &nodes).await;
    let node = &nodes[0];
    node.shut_down().await;
    let dir = rig.directory.path().join("tls");
    fs::create_dir_all(&dir).unwrap();
    let address = node.address.to_string();
    let files = Authority::new().write(&dir, &[&address, "127.0.0.1"]).unwrap().options_of("peer-");
    let tls: Vec<&str> = files.iter().map(String::as_str).chain(["--etcd-peer-scheme=https"]).collect();
    let (listed, wanted) = (format!("http://{address}:2380"), format!("https://{address}:2380"));

    let run = agent(node, &tls).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(warns(&run, &node.instance, "etcdctl member update ID --peer-urls"), "{}", run.stderr);
    assert_eq!(listens(node), listed, "the others dial it as it is listed");

    update(&rig, client, &nodes, &wanted).await;
    let run = agent(node, &tls).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(!warns(&run, &node.instance, "etcdctl member update"), "{}", run.stderr);
    assert_eq!(listens(node), wanted);

    // Listed as https, an etcd without a certificate would not even start.
    let run = agent(node, &[]).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(warns(&run, &node.instance, "etcdctl member update"), "{}", run.stderr);
    assert_eq!(listens(node), listed);
}

/// Changes the first node's listed peer URL, by way of the others.
async fn update(rig: &Rig, mut client: Client, nodes: &[Node], url: &str) {
    let list = rig.judge.members(nodes[1].address).await.unwrap();
    let id = list.member(&nodes[0].instance).unwrap().id;
    client.member_update(id, [url.to_owned()]).await.unwrap();
}

fn listens(node: &Node) -> String {
    node.environment().unwrap().unwrap().remove("ETCD_LISTEN_PEER_URLS").unwrap()
}

fn warns(run: &Run, of: &str, advice: &str) -> bool {
    run.stderr.lines().any(|line| line.starts_with('W') && line.contains(of) && line.contains(advice))
}

// ---------------------------------------------------------------- a consumer's file

async fn b26_f107_a_member_that_left_the_group_alive_keeps_its_endpoint(rig: Rig) {
    let nodes = form(&rig, 3).await;
    rig.group("consumers", 1);
    let consumer = rig.launch(Some("consumers")).unwrap();
    let endpoints = async || {
        let run = agent(&consumer, &["--proxy-mode=true", "--scaling-group-name", GROUP]).await;
        assert_eq!(run.code, 0, "{}", run.stderr);
        consumer.environment().unwrap().unwrap()["ETCD_ENDPOINTS"].split(',').count()
    };
    // Detached, or the reply is a part of the truth: Auto Scaling does not tell one from the other.
    for gone in &nodes[..2] {
        rig.cloud.change(|world| world.instance_mut(&gone.instance).place = None);
    }
    assert_eq!(endpoints().await, 3);
    rig.terminate(&nodes[0]).await;
    forget(&consumer);
    assert_eq!(endpoints().await, 2, "EC2 calls it gone");
    assert_eq!(endpoints().await, 2, "and is not asked again");
}

// ---------------------------------------------------------------- what tests are made of

async fn agent(node: &Node, more: &[&str]) -> Run {
    node.agent("run", &[&["--deadline=20s"], more].concat()).await.unwrap()
}
