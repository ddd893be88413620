//! The group's life cycle, on real etcd: groups that act launch, refresh and terminate, and the agents beside etcd pace
//! them. Named after the traps of a life cycle (T1 to T28) where a scenario is about one.

mod coming;
mod going;
mod refresh;

use std::time::Duration;

use crate::scenario::GROUP;
use crate::support::asg::{Hook, Outcome, Scaling};
use crate::support::living::Living;
use crate::support::node::Node;
use crate::support::rig::{Rig, addresses};

/// As long as anything of this may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);

const LAUNCH: &str = "etcd-bootstrap-launch";
const TERMINATE: &str = "etcd-bootstrap-terminate";

/// The hooks that the README asks for.
fn hooks() -> Scaling {
    let launch = Hook::launching(LAUNCH, Duration::from_mins(30), Outcome::Abandon);
    let terminate = Hook::terminating(TERMINATE, Duration::from_mins(2), Outcome::Continue);
    Scaling { hooks: vec![launch, terminate], ..Scaling::default() }
}

/// A group whose instances are in service and form a whole cluster, watched.
async fn formed(rig: &mut Rig, desired: u32, scaling: Scaling) -> Living<'_> {
    rig.setup.watches = true;
    let mut group = Living::begin(rig, GROUP, (desired, 40), scaling);
    in_service(&mut group, desired as usize).await;
    group
}

/// Lets the group act until so many instances are in service, and nothing else is going on, and their nodes are one
/// whole cluster.
async fn in_service(group: &mut Living<'_>, size: usize) {
    group.until(PATIENCE, async |group| is_in_service(group, size).await).await;
}

async fn is_in_service(group: &Living<'_>, size: usize) -> Result<(), String> {
    let world = group.rig.cloud.now();
    let lifecycles = world.lifecycles(GROUP);
    if lifecycles.len() != size || lifecycles.iter().any(|state| *state != "InService") {
        return Err(format!("the group has {lifecycles:?}"));
    }
    let (nodes, no_time) = (addresses(&group.nodes), Duration::ZERO);
    group.rig.judge.whole_cluster(&nodes, no_time).await.map(|_| ())
}

/// How many voters the cluster has, by the first node that tells.
async fn voters(rig: &Rig, nodes: &[Node]) -> Option<usize> {
    for node in nodes {
        if let Some(list) = rig.judge.members(node.address).await {
            return Some(list.voters().len());
        }
    }
    None
}

fn lifecycle(rig: &Rig, node: &Node) -> String {
    let world = rig.cloud.now();
    let place = world.instance(&node.instance).and_then(|instance| instance.place.clone());
    place.map_or_else(|| "gone".to_owned(), |place| place.lifecycle)
}

/// Whether a node's member is on the list of another one.
async fn is_listed(rig: &Rig, node: &Node, by: &Node) -> Result<bool, String> {
    let list = rig.judge.members(by.address).await.ok_or_else(|| format!("{} tells no members", by.address))?;
    Ok(list.member(&node.instance).is_some())
}
