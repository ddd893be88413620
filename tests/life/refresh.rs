//! An instance refresh of the whole group: each instance is replaced, and the cluster stays.

use std::time::{Duration, Instant};

use super::{PATIENCE, formed, hooks, in_service, voters};
use crate::scenario::{GROUP, intact, on_one_etcd};
use crate::support::asg::Scaling;
use crate::support::asg::refresh::{Preferences, Status};
use crate::support::node::Node;
use crate::support::rig::{Rig, addresses};

on_one_etcd!(
    launch_before_terminate_replaces_all_of_three,
    the_default_order_replaces_all_of_three,
    t07_a_consumer_on_its_timer_always_has_a_living_endpoint,
);

/// Time is scaled: the timer's minute to two seconds, and the warm-up, twice that, to four.
async fn t07_a_consumer_on_its_timer_always_has_a_living_endpoint(mut rig: Rig) {
    let scaling = Scaling { warmup: Duration::from_secs(4), ..hooks() };
    let mut group = formed(&mut rig, 3, scaling).await;
    let consumer = group.rig.launch(None).unwrap();
    let command = ["--proxy-mode", "--scaling-group-name", GROUP];
    let mut read = None;
    group.rig.cloud.change(|world| world.start_refresh(GROUP, Preferences::LAUNCH_FIRST));
    group
        .until(PATIENCE * 3, async |group| {
            if read.is_none_or(|read: Instant| read.elapsed() > Duration::from_secs(2)) {
                let run = consumer.agent("run", &command).await.map_err(|error| error.to_string())?;
                assert_eq!(run.code, 0, "{}", run.stderr);
                read = Some(Instant::now());
            }
            let file = consumer.environment().unwrap().unwrap();
            let lives = |node: &&Node| file["ETCD_ENDPOINTS"].contains(&format!("{}:", node.address));
            let living = group.nodes.iter().filter(lives).count();
            assert!(living > 0, "{file:?}\n{}", group.story());
            match group.rig.cloud.now().scaling[GROUP].refresh.as_ref().map(|refresh| refresh.status) {
                Some(Status::Successful) => Ok(()),
                status => Err(format!("the refresh is {status:?}")),
            }
        })
        .await;
}

async fn launch_before_terminate_replaces_all_of_three(mut rig: Rig) {
    let least = refresh(&mut rig, 3, Preferences::LAUNCH_FIRST).await;
    assert_eq!(least, 3);
}

async fn the_default_order_replaces_all_of_three(mut rig: Rig) {
    let least = refresh(&mut rig, 3, Preferences::default()).await;
    assert!(least >= 2, "{least}");
}

/// Refreshes a whole group of this size; returns the lowest number of voters on the way.
async fn refresh(rig: &mut Rig, size: u32, preferences: Preferences) -> usize {
    let mut group = formed(rig, size, hooks()).await;
    let old: Vec<_> = group.nodes.iter().map(|node| node.instance.clone()).collect();
    let (judge, nodes) = (group.rig.judge.clone(), addresses(&group.nodes));
    let ids = judge.cluster_ids(&nodes).await;
    judge.client(&nodes).await.unwrap().put("kept", "safe", None).await.unwrap();
    group.rig.cloud.change(|world| world.start_refresh(GROUP, preferences));
    let mut least = size as usize;
    group
        .until(PATIENCE * 3, async |group| {
            least = least.min(voters(group.rig, &group.nodes).await.unwrap_or(least));
            let world = group.rig.cloud.now();
            match world.scaling[GROUP].refresh.as_ref().map(|refresh| refresh.status) {
                Some(Status::Successful) => Ok(()),
                status => Err(format!("the refresh is {status:?}: {:?}", world.lifecycles(GROUP))),
            }
        })
        .await;
    in_service(&mut group, size as usize).await;
    assert!(group.nodes.iter().all(|node| !old.contains(&node.instance)), "{}", group.story());
    let nodes = addresses(&group.nodes);
    assert_eq!(judge.cluster_ids(&nodes).await, ids);
    intact(&mut judge.client(&nodes).await.unwrap()).await;
    least
}
