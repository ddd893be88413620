//! A database that takes a while to arrive: a node joins over a slow link, loses its power half-way, and loses the leader
//! that sends, while the leader's own replacement waits. Nobody takes the learner for dead, and it stays one member.
//!
//!     make large

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::scenario::{GROUP, PATIENCE, cluster_id, etcd_of, form, rig_with_network};
use crate::snapshots::files;
use crate::support::etcd::until;
use crate::support::node::{Node, Programs, Run};
use crate::support::rig::{Rig, addresses};

/// As long as the largest story may take on a busy machine: what is slow is not wrong here.
const VERY_PATIENT: Duration = Duration::from_secs(900);

const MIB: u64 = 1 << 20;

/// What `snapshot` and `recover` may take, in MiB: by the binary that ships, which `AGENT` names, and by a debug build.
const MOST: f64 = 16.0;
const MOST_IN_DEBUG: f64 = 36.0;

/// How much there is to be sent, and how fast the joiner's link is.
#[derive(Clone, Copy)]
struct Load {
    mebibytes: u64,
    megabits_a_second: u32,
}

/// Sent in some six seconds.
const SMALL: Load = Load { mebibytes: 48, megabits_a_second: 64 };

/// 1 GiB over a link of 20 MB/s, in a bit less than a minute.
const LARGE: Load = Load { mebibytes: 1024, megabits_a_second: 160 };

#[tokio::test]
async fn f14_f83_a_learner_that_takes_long_is_waited_for_and_stays_one_member() {
    play("3.6", SMALL).await;
}

#[tokio::test]
#[ignore = "takes minutes: make large"]
async fn one_gibibyte_on_3_6() {
    play("3.6", LARGE).await;
}

#[tokio::test]
#[ignore = "takes minutes: make large"]
async fn one_gibibyte_on_3_7() {
    play("3.7", LARGE).await;
}

async fn play(line: &str, load: Load) {
    let Some(etcd) = etcd_of(line) else { return };
    let agent = shipped().unwrap_or_else(|| env!("CARGO_BIN_EXE_etcd-bootstrap").into());
    let programs = Programs { agent, etcd };
    if let Some(rig) = rig_with_network(programs) {
        story(rig, load).await;
    }
}

async fn story(mut rig: Rig, load: Load) {
    // So that a joiner gets a snapshot, as from any cluster that has lived, and not the whole log.
    for name in ["ETCD_SNAPSHOT_COUNT", "ETCD_SNAPSHOT_CATCHUP_ENTRIES"] {
        rig.setup.etcd_environment.insert(name.to_owned(), "10".to_owned());
    }
    let unsafe_but_fast = ("ETCD_UNSAFE_NO_FSYNC".to_owned(), "true".to_owned());
    rig.setup.etcd_environment.extend([unsafe_but_fast]);
    rig.setup.start_timeout = VERY_PATIENT;
    let mut nodes = form(&rig, 3).await;
    let cluster = cluster_id(&rig, &nodes).await;
    fill(&rig, &nodes, load).await;

    rig.cloud.change(|world| world.set_desired(GROUP, 4));
    let joiner = rig.launch(Some(GROUP)).unwrap();
    joiner.imds.host.as_ref().unwrap().slow_down(load.megabits_a_second).unwrap();
    joiner.boot();
    half_way(&joiner, load).await;
    let learner = member_at(&rig, &nodes[0], &joiner).await;
    assert!(
        joiner.log("ready.log").contains("waits for its quorum or for the leader's snapshot"),
        "{}",
        joiner.log("ready.log")
    );
    let status = nodes[0].agent("status", &[]).await.unwrap();
    assert!(status.stdout.contains("learner"), "{}", status.stdout);

    joiner.cut_power().await;
    joiner.boot();
    half_way(&joiner, load).await;
    assert_eq!(member_at(&rig, &nodes[0], &joiner).await, learner, "after a reboot it is the same member");

    // The leader, so that the snapshot has to be sent by another one, from its beginning.
    let leader = leader_of(&rig, &nodes).await;
    rig.terminate(&nodes.remove(leader)).await;
    let replacement = rig.launch(Some(GROUP)).unwrap();
    replacement.boot();
    let waits = async || match replacement.log("agent.log") {
        log if log.contains("reason=other-joining") || log.contains("reason=learner-not-promoted") => Ok(()),
        log => Err(log),
    };
    until(PATIENCE, waits).await.unwrap();

    nodes.extend([joiner, replacement]);
    if let Err(why) = rig.judge.whole_cluster(&addresses(&nodes), VERY_PATIENT).await {
        panic!("{why}\n{}", nodes.iter().map(Node::story).collect::<String>());
    }
    assert_eq!(member_at(&rig, &nodes[0], &nodes[2]).await, learner, "nobody removed it meanwhile");
    assert_eq!(cluster_id(&rig, &nodes).await, cluster);
    same_data(&rig, &nodes, load).await;
    snapshot_in_constant_memory(&rig, &nodes[0]).await;
}

/// However large the database is, none of it is held.
async fn snapshot_in_constant_memory(rig: &Rig, node: &Node) {
    let directory = rig.directory.path().join("snapshots");
    std::fs::create_dir(&directory).unwrap();
    let run = node.agent("snapshot", &["--now", &format!("--snapshot-to={}", directory.display())]).await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_small("snapshot", &run);
    let taken = files(&directory).remove(0);
    // The plan alone reads it to its end.
    let run = node.agent("recover", &[&format!("--from={}", directory.join(taken).display())]).await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_small("recover", &run);
}

fn assert_small(command: &str, run: &Run) {
    let peak = run.peak_rss as f64 / MIB as f64;
    println!("{command}: {peak:.1} MiB at most, {:.1} s", run.took.as_secs_f64());
    assert!(peak < if shipped().is_some() { MOST } else { MOST_IN_DEBUG }, "{peak:.1} MiB");
}

/// `make large AGENT=target/dist/...`; None: the debug build.
fn shipped() -> Option<PathBuf> {
    let agent = std::env::var_os("AGENT").filter(|agent| !agent.is_empty())?;
    Some(PathBuf::from(agent).canonicalize().expect("AGENT is there"))
}

/// Puts values of 1 MiB, several at once.
async fn fill(rig: &Rig, nodes: &[Node], load: Load) {
    const WRITERS: u64 = 4;
    let client = rig.judge.client(&addresses(nodes)).await.unwrap();
    let write = async |writer: u64| {
        let mut client = client.clone();
        for number in (writer..load.mebibytes).step_by(WRITERS as usize) {
            let value = [number.to_le_bytes(); MIB as usize / 8].concat();
            let put = async || match client.put(format!("large/{number}"), value.clone(), None).await {
                Ok(_) => Ok(()),
                Err(why) => Err(why.to_string()),
            };
            until(PATIENCE, put).await.unwrap();
        }
    };
    tokio::join!(write(0), write(1), write(2), write(3));
}

/// Waits until half of the snapshot has arrived.
async fn half_way(node: &Node, load: Load) {
    let dir = node.data_dir().join("member/snap");
    let arrived = async || match arriving(&dir) {
        bytes if bytes > load.mebibytes * MIB / 2 => Ok(()),
        bytes => Err(format!("{bytes} bytes have arrived")),
    };
    if let Err(why) = until(VERY_PATIENT, arrived).await {
        panic!("{why}\n{}", node.story());
    }
}

/// The size of the snapshot that etcd receives (`tmp*`; snap/db.go, `SaveDBFrom`): the newest, for an etcd that lost its
/// power leaves one behind.
fn arriving(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let tmp = files.filter(|file| file.file_name().to_string_lossy().starts_with("tmp"));
    let newest = tmp.filter_map(|file| file.metadata().ok()).max_by_key(|file| file.modified().ok());
    newest.map_or(0, |file| file.len())
}

/// The id of the one member at a node's address, as another one lists it.
async fn member_at(rig: &Rig, via: &Node, node: &Node) -> u64 {
    let list = rig.judge.members(via.address).await.unwrap();
    let url = format!("http://{}:2380", node.address);
    let ids: Vec<u64> = list.members.iter().filter(|m| m.peer_urls.contains(&url)).map(|m| m.id).collect();
    assert_eq!(ids.len(), 1, "{list:?}");
    ids[0]
}

async fn leader_of(rig: &Rig, nodes: &[Node]) -> usize {
    let mut client = rig.judge.client(&addresses(&nodes[..1])).await.unwrap();
    let leader = client.status().await.unwrap().leader();
    let list = rig.judge.members(nodes[0].address).await.unwrap();
    let name = &list.members.iter().find(|m| m.id == leader).unwrap().name;
    nodes.iter().position(|node| node.instance == *name).unwrap()
}

async fn same_data(rig: &Rig, nodes: &[Node], load: Load) {
    let mut told = Vec::new();
    for node in nodes {
        let mut client = rig.judge.client(&[node.address]).await.unwrap();
        let keys = etcd_client::GetOptions::new().with_prefix().with_count_only();
        let count = client.get("large/", Some(keys)).await.unwrap().count();
        assert_eq!(u64::try_from(count).unwrap(), load.mebibytes);
        let reply = client.hash_kv(0).await.unwrap();
        told.push((reply.hash(), reply.header().unwrap().revision()));
    }
    assert!(told.iter().all(|one| *one == told[0]), "hash and revision of each: {told:?}");
}
