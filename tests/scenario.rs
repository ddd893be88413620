//! What scenarios are made of: the real agent, real etcd processes and the fake cloud, and the macros that run a scenario
//! on several etcds.

use std::path::PathBuf;
use std::time::Duration;

use etcd_client::{Client, MemberAddOptions};
use tokio::net::UnixDatagram;

use crate::support::etcd::{self, MemberList, built, until, version_of};
use crate::support::node::{Event, Node, Programs, Run};
use crate::support::rig::{Rig, addresses};
use crate::support::skip;

/// Far more than any scenario takes on two busy cores: what is slow is not wrong here, what hangs is.
pub const PATIENCE: Duration = Duration::from_secs(60);
pub const GROUP: &str = "etcd-a";

/// Each scenario on every line of etcd, as one test a line, `SCENARIO::v3_6`. For those in which it matters what that
/// version of etcd does: learners and their promotion, the checks of a change, what a start and a restart show.
macro_rules! on_every_etcd {
    ($($scenario:ident),+ $(,)?) => { $(
        mod $scenario {
            crate::scenario::tests_of! { $scenario:
                v3_4 "3.4", v3_5_lax "3.5 before 3.5.30", v3_5 "3.5", v3_6 "3.6", v3_7 "3.7"
            }
        }
    )+ };
}
pub(crate) use on_every_etcd;

/// Each scenario on the oldest and the newest etcd; on those between by `make catalogue`. For those in which etcd does
/// what it does in every version.
macro_rules! on_both_ends {
    ($($scenario:ident),+ $(,)?) => { $(
        mod $scenario {
            crate::scenario::tests_of! { $scenario:
                v3_4 "3.4",
                #[ignore = "the oldest and the newest etcd do: make catalogue"] v3_5_lax "3.5 before 3.5.30",
                #[ignore = "the oldest and the newest etcd do: make catalogue"] v3_5 "3.5",
                #[ignore = "the oldest and the newest etcd do: make catalogue"] v3_6 "3.6",
                v3_7 "3.7"
            }
        }
    )+ };
}
pub(crate) use on_both_ends;

/// Each scenario on one etcd, that most people run: it has no part in it.
macro_rules! on_one_etcd {
    ($($scenario:ident),+ $(,)?) => { $(
        mod $scenario {
            crate::scenario::tests_of! { $scenario: v3_6 "3.6" }
        }
    )+ };
}
pub(crate) use on_one_etcd;

macro_rules! tests_of {
    ($scenario:ident: $($(#[$ignored:meta])? $version:ident $line:literal),+) => { $(
        #[tokio::test]
        $(#[$ignored])?
        async fn $version() {
            if let Some(etcd) = crate::scenario::etcd_of($line) {
                super::$scenario(crate::scenario::rig(etcd)).await;
            }
        }
    )+ };
}
pub(crate) use tests_of;

/// The newest etcd of a line, as `make test` built it; None where the machine cannot have one, and the test is skipped.
pub fn etcd_of(line: &str) -> Option<PathBuf> {
    let fits = |version: &str| match line {
        "3.5 before 3.5.30" => version.starts_with("3.5.") && patch(version) < 30,
        "3.5" => version.starts_with("3.5.") && patch(version) >= 30,
        line => version.starts_with(&format!("{line}.")),
    };
    let found = built("target".as_ref()).into_iter().rfind(|(version, _)| fits(version));
    if found.is_none() {
        skip(format_args!("this machine has no etcd {line}"));
    }
    found.map(|(_, path)| path.canonicalize().expect("it was found"))
}

pub fn patch(version: &str) -> u32 {
    version.rsplit('.').next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// A rig with the real agent; says which etcd it has, which the table of the failure catalogue is made of.
pub fn rig(etcd: PathBuf) -> Rig {
    println!("etcd {}", version_of(&etcd).expect("etcd runs"));
    Rig::start(Programs { agent: env!("CARGO_BIN_EXE_etcd-bootstrap").into(), etcd }).expect("a rig")
}

/// A rig where hosts can be cut off and links be slow; None where this process may not make a network, and the test is
/// skipped.
pub fn rig_with_network(programs: Programs) -> Option<Rig> {
    match Rig::start_with_network(programs) {
        Ok(rig) => Some(rig),
        Err(why) => {
            skip(format_args!("no network of its own (root, or `unshare -r`): {why}"));
            None
        }
    }
}

/// A cluster of `size` nodes that were booted at the same moment, settled enough to take changes.
pub async fn form(rig: &Rig, size: usize) -> Vec<Node> {
    rig.group(GROUP, u32::try_from(size).unwrap());
    let nodes = rig.launch_many(GROUP, size).unwrap();
    nodes.iter().for_each(Node::boot);
    whole(rig, &nodes).await;
    nodes
}

/// Waits until every node serves and all agree on a list of exactly these voters; says what the nodes did instead.
pub async fn whole(rig: &Rig, nodes: &[Node]) {
    if let Err(why) = rig.judge.whole_cluster(&addresses(nodes), PATIENCE).await {
        panic!("{why}\n{}", nodes.iter().map(Node::story).collect::<String>());
    }
}

/// Waits until each node's `ready` has done all that it does: the group is tagged then.
pub async fn tagged(nodes: &[Node]) {
    for node in nodes {
        node.wait_for(PATIENCE, |event| *event == Event::ReadyExited { code: 0 }).await.unwrap();
    }
}

/// Writes what `intact` looks for, as soon as there is a leader to take it.
pub async fn put(rig: &Rig, nodes: &[Node]) -> Client {
    let mut client = rig.judge.client(&addresses(nodes)).await.unwrap();
    let ask = async || client.put("kept", "safe", None).await.map(drop).map_err(|error| error.to_string());
    until(PATIENCE, ask).await.unwrap();
    client
}

/// What `put` wrote is there. That a node of the client's has gone is found out by the next request on its connection.
pub async fn intact(client: &mut Client) {
    let mut values = Vec::new();
    let look = async || {
        let reply = client.get("kept", None).await.map_err(|error| error.to_string())?;
        values = reply.kvs().iter().map(|kv| kv.value().to_vec()).collect();
        Ok(())
    };
    until(PATIENCE, look).await.unwrap();
    assert_eq!(values, [b"safe"]);
}

pub async fn cluster_id(rig: &Rig, nodes: &[Node]) -> String {
    let mut ids: Vec<String> = rig.judge.cluster_ids(&addresses(nodes)).await.into_iter().collect();
    assert_eq!(ids.len(), 1, "one cluster: {ids:?}");
    ids.pop().unwrap()
}

/// Forms a cluster of three and boots the successor of one whose instance EC2 has forgotten; returns that and the rest.
pub async fn replace_a_forgotten_one(rig: &Rig) -> (Node, Vec<Node>) {
    let mut nodes = form(rig, 3).await;
    let dead = nodes.remove(0);
    rig.terminate(&dead).await;
    rig.cloud.change(|world| world.forget(&dead.instance));
    nodes.push(rig.launch(Some(GROUP)).unwrap());
    nodes[2].boot();
    (dead, nodes)
}

pub async fn agent(node: &Node, more: &[&str]) -> Run {
    node.agent("run", more).await.expect("the agent starts")
}

/// Runs a command as a unit does, and returns how it ends and all that systemd is told meanwhile.
pub async fn told_systemd(node: &Node, command: &str, more: &[&str]) -> (Option<i32>, String) {
    let place = node.dir().join(format!("{command}.notify"));
    let socket = UnixDatagram::bind(&place).unwrap();
    let line = node.agent_command_line(command);
    let words = line.split(' ').chain(more.iter().copied());
    let mut unit = tokio::process::Command::new("env");
    let mut unit = unit.env("NOTIFY_SOCKET", &place).args(words).kill_on_drop(true).spawn().unwrap();
    let (mut told, mut datagram) = (String::new(), [0; 4096]);
    let ended = loop {
        tokio::select! {
            size = socket.recv(&mut datagram) => {
                told.push_str(&String::from_utf8_lossy(&datagram[..size.unwrap()]));
            }
            ended = tokio::time::timeout(PATIENCE, unit.wait()) => break ended.expect("it ends").unwrap(),
        }
    };
    (ended.code(), told)
}

pub async fn members(rig: &Rig, node: &Node) -> Result<MemberList, String> {
    rig.judge.members(node.address).await.ok_or_else(|| format!("{} tells no members", node.address))
}

/// Removes a member, as a person would.
pub async fn remove(client: &mut Client, member: u64) {
    etcd::remove(client, member, PATIENCE).await.unwrap();
}

/// Adds a member with this node's peer URL, as a person would.
pub async fn add(client: &mut Client, node: &Node, options: Option<MemberAddOptions>) {
    let urls = [format!("http://{}:2380", node.address)];
    // In the first seconds after a leader has started, etcd takes no change.
    let ask = async || {
        let reply = client.member_add(urls.clone(), options.clone()).await;
        reply.map(|_| ()).map_err(|e| e.to_string())
    };
    until(PATIENCE, ask).await.unwrap();
}
