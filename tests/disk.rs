//! Reads data directories that real etcds have written, of every version.
//!
//! What the code under test says is compared with what the running etcd says of itself.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use etcd_bootstrap::etcd::data::{read_own_data, set_aside};
use etcd_bootstrap::model::{FounderEntry, OwnData};

use crate::scenario::{PATIENCE, add, members, on_every_etcd, put};
use crate::support::etcd::until;
use crate::support::node::{Event, Node};
use crate::support::rig::{Rig, addresses, environment_by_hand};

on_every_etcd!(
    a_single_node_had_a_leader_and_its_ids_are_those_it_tells,
    a_founder_left_alone_never_had_a_leader_and_lists_all_founders,
    founders_that_formed_a_cluster_all_had_a_leader,
    a_member_that_joined_had_a_leader_and_lists_no_founders,
    a_log_of_its_own_directory_is_found_there_only,
    a_first_start_that_failed_leaves_a_backend_without_a_log,
    data_set_aside_lets_etcd_start_afresh,
    a_real_log_cut_or_flipped_never_reads_as_empty_nor_as_another_member,
);

async fn a_single_node_had_a_leader_and_its_ids_are_those_it_tells(mut rig: Rig) {
    let nodes: [Node; 1] = machines(&mut rig);
    let [node] = &nodes;
    assert_eq!(read(node), OwnData::Empty);
    start(node, "new", &nodes);
    serve(&rig, &nodes).await;
    put(&rig, &nodes).await;
    let expected = Told { ids: ids(&rig, node).await, had_leader: true, founders: vec![founder(node)] };
    assert_eq!(told(read(node)), expected, "while it runs");
    node.cut_power().await;
    assert_eq!(told(read(node)), expected, "after kill -9");
    start(node, "new", &nodes);
    serve(&rig, &nodes).await;
    node.cut_power().await;
    assert_eq!(told(read(node)), expected, "after a restart");
}

async fn a_founder_left_alone_never_had_a_leader_and_lists_all_founders(mut rig: Rig) {
    let nodes: [Node; 3] = machines(&mut rig);
    let node = &nodes[1];
    start(node, "new", &nodes);
    let ids = ids(&rig, node).await;
    // As on a node that waited for its fellows.
    let elections = async || match node.log("etcd.log").matches("is starting a new election").count() {
        2.. => Ok(()),
        failed => Err(format!("{failed} elections have failed")),
    };
    until(PATIENCE, elections).await.unwrap();
    node.cut_power().await;
    let mut read = told(read(node));
    let mut founders: Vec<FounderEntry> = nodes.iter().map(founder).collect();
    for list in [&mut read.founders, &mut founders] {
        list.sort_by(|one, other| one.name.cmp(&other.name));
    }
    assert_eq!(read, Told { ids, had_leader: false, founders });
}

async fn founders_that_formed_a_cluster_all_had_a_leader(mut rig: Rig) {
    let nodes: [Node; 3] = machines(&mut rig);
    nodes.iter().for_each(|node| start(node, "new", &nodes));
    serve(&rig, &nodes).await;
    for node in &nodes {
        let read = told(read(node));
        assert_eq!((read.ids, read.had_leader, read.founders.len()), (ids(&rig, node).await, true, 3));
    }
}

async fn a_member_that_joined_had_a_leader_and_lists_no_founders(mut rig: Rig) {
    let nodes: [Node; 2] = machines(&mut rig);
    let [first, second] = &nodes;
    start(first, "new", &nodes[..1]);
    serve(&rig, &nodes[..1]).await;
    let mut client = rig.judge.client(&addresses(&nodes[..1])).await.unwrap();
    add(&mut client, second, None).await;
    start(second, "existing", &nodes);
    serve(&rig, &nodes).await;
    assert_eq!(ids(&rig, first).await.0, ids(&rig, second).await.0);
    let expected = Told { ids: ids(&rig, second).await, had_leader: true, founders: vec![] };
    for node in &nodes {
        node.cut_power().await;
    }
    assert_eq!(told(read(second)), expected);
}

async fn a_log_of_its_own_directory_is_found_there_only(mut rig: Rig) {
    let wal = rig.directory.path().join("log");
    rig.setup.etcd_environment.insert("ETCD_WAL_DIR".into(), wal.display().to_string());
    let nodes: [Node; 1] = machines(&mut rig);
    let [node] = &nodes;
    start(node, "new", &nodes);
    serve(&rig, &nodes).await;
    let ids = ids(&rig, node).await;
    node.cut_power().await;
    assert_eq!(told(read_own_data(&node.data_dir(), Some(&wal))).ids, ids);
    assert_eq!(read(node), OwnData::NoLog);
}

async fn a_first_start_that_failed_leaves_a_backend_without_a_log(mut rig: Rig) {
    let nodes: [Node; 2] = machines(&mut rig);
    start(&nodes[1], "existing", &nodes);
    let failed = |event: &Event| matches!(event, Event::EtcdExited { code } if *code != 0);
    nodes[1].wait_for(PATIENCE, failed).await.unwrap();
    assert_eq!(read(&nodes[1]), OwnData::NoLog);
}

async fn data_set_aside_lets_etcd_start_afresh(mut rig: Rig) {
    let nodes: [Node; 1] = machines(&mut rig);
    let [node] = &nodes;
    let run = async || {
        start(node, "new", &nodes);
        serve(&rig, &nodes).await;
        let ids = ids(&rig, node).await;
        node.cut_power().await;
        ids
    };
    let ids = run().await;
    let aside = set_aside(&node.data_dir(), None, SystemTime::now()).expect("etcd is dead");
    assert_eq!(read(node), OwnData::Empty);
    assert_eq!(ids, run().await);
    // What was set aside is still a whole data directory.
    let copy = rig.directory.path().join("copy");
    fs::create_dir(&copy).expect("making a directory");
    fs::rename(&aside, copy.join("member")).expect("renaming");
    assert_eq!(told(read_own_data(&copy, None)).ids, ids);
}

async fn a_real_log_cut_or_flipped_never_reads_as_empty_nor_as_another_member(mut rig: Rig) {
    let nodes: [Node; 1] = machines(&mut rig);
    let [node] = &nodes;
    start(node, "new", &nodes);
    serve(&rig, &nodes).await;
    let ids = ids(&rig, node).await;
    node.cut_power().await;
    let segment = node.data_dir().join("member/wal/0000000000000000-0000000000000000.wal");
    let whole_log = fs::read(&segment).expect("etcd wrote it");
    let check = |contents: &[u8], what: &str| {
        fs::write(&segment, contents).expect("the directory is ours");
        match read(node) {
            OwnData::Unreadable { .. } => false,
            OwnData::Log { cluster_id, member_id, .. } => {
                assert_eq!((cluster_id.0, member_id.0), ids, "{what}");
                true
            }
            data @ (OwnData::Empty | OwnData::NoLog) => panic!("{what}: {data:?}"),
        }
    };
    let cut: Vec<bool> = (0..200).map(|length| check(&whole_log[..length], &format!("cut at {length}"))).collect();
    // Unreadable up to the end of the metadata, whole from there on.
    assert!(cut.contains(&true) && !cut[0] && cut.is_sorted(), "{cut:?}");
    let flips = 0..200 * 8;
    let readable = flips.filter(|bit| {
        let mut flipped = whole_log[..4096].to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        check(&flipped, &format!("bit {bit}"))
    });
    assert!(readable.count() > 0);
}

// ---------------------------------------------------------------- what tests are made of

/// Machines of which only the etcd runs. They are off.
fn machines<const N: usize>(rig: &mut Rig) -> [Node; N] {
    rig.programs.agent = PathBuf::new();
    std::array::from_fn(|_| rig.launch(None).expect("the rig has the address"))
}

fn start(node: &Node, state: &str, all: &[Node]) {
    node.boot_by_hand(&environment_by_hand(node, all).replace("STATE=new", &format!("STATE={state}")));
}

async fn serve(rig: &Rig, nodes: &[Node]) {
    rig.judge.all_healthy(&addresses(nodes), PATIENCE).await.unwrap();
}

fn read(node: &Node) -> OwnData {
    read_own_data(&node.data_dir(), None)
}

fn peer_url(node: &Node) -> String {
    format!("http://{}:2380", node.address)
}

fn founder(node: &Node) -> FounderEntry {
    FounderEntry { name: node.instance.clone(), peer_urls: vec![peer_url(node)] }
}

/// Cluster id and own member id, by the peer port, which answers without a leader too.
async fn ids(rig: &Rig, node: &Node) -> (u64, u64) {
    until(PATIENCE, async || members(rig, node).await.map(|_| ())).await.unwrap();
    let list = members(rig, node).await.expect("it answered just now");
    let mine = list.members.iter().find(|m| m.peer_urls == [peer_url(node)]).expect("it lists itself");
    (u64::from_str_radix(&list.cluster_id, 16).expect("etcd writes it in hexadecimal"), mine.id)
}

#[derive(Debug, PartialEq)]
struct Told {
    ids: (u64, u64),
    had_leader: bool,
    founders: Vec<FounderEntry>,
}

fn told(data: OwnData) -> Told {
    match data {
        OwnData::Log { cluster_id, member_id, had_leader, founders } => {
            Told { ids: (cluster_id.0, member_id.0), had_leader, founders }
        }
        OwnData::Empty | OwnData::NoLog | OwnData::Unreadable { .. } => {
            panic!("no log was read: {data:?}")
        }
    }
}
