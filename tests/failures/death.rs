//! Members that are silent, dead or forgotten, and those that only seem to be.

use super::change::holds;
use crate::scenario::{
    GROUP, PATIENCE, add, agent, form, intact, members, on_both_ends, on_every_etcd, on_one_etcd, put,
    replace_a_forgotten_one, tagged, whole,
};
use crate::support::aws::{Action, Fault, Often};
use crate::support::cloud::Ec2State;
use crate::support::etcd::until;
use crate::support::node::Event;
use crate::support::rig::{Rig, addresses, environment_by_hand};

on_every_etcd!(f21_f33_f37_f38_silence_is_no_death_and_a_refused_add_no_success, f83_one_node_reboots_in_any_phase);

on_both_ends!(
    f41_a_removal_that_costs_the_quorum_waits,
    b06_f91_another_groups_cluster_on_a_dead_members_address_blocks_no_join,
);

on_one_etcd!(
    f36_f67_a_member_that_ec2_has_forgotten_is_replaced,
    f61_a_silent_client_port_is_not_waited_for_once_two_members_confirm_the_list,
    f45_a_member_from_elsewhere_stays,
);

async fn f21_f33_f37_f38_silence_is_no_death_and_a_refused_add_no_success(rig: Rig) {
    let mut nodes = form(&rig, 3).await;
    tagged(&nodes).await;
    let silent = nodes.remove(0);
    silent.cut_power().await;
    let before = members(&rig, &nodes[0]).await.unwrap();
    let joiner = rig.launch(Some(GROUP)).unwrap();
    let missing = Fault::Without([silent.instance.clone()].into());
    rig.aws.inject(Action::DescribeAutoScalingGroups, missing, Often::Always);
    for state in [Ec2State::Running, Ec2State::Stopping, Ec2State::Stopped] {
        rig.cloud.change(|world| world.instance_mut(&silent.instance).state = state);
        let run = agent(&joiner, &["--deadline=3s"]).await;
        // With a silent voter among three, etcd takes nobody.
        assert_eq!(run.code, 75, "{}", run.stderr);
        assert!(run.stderr.contains("the change is not taken now"), "{state:?}: {}", run.stderr);
        assert_eq!(joiner.environment(), Ok(None));
        assert_eq!(members(&rig, &nodes[0]).await.unwrap(), before, "{state:?}");
    }
    rig.aws.heal();
    rig.cloud.change(|world| world.begin_termination(&silent.instance));
    joiner.boot();
    nodes.push(joiner);
    whole(&rig, &nodes).await;
}

async fn f41_a_removal_that_costs_the_quorum_waits(rig: Rig) {
    let mut nodes = form(&rig, 3).await;
    let mut client = put(&rig, &nodes).await;
    // One is down for maintenance, the other on its way out and still needed.
    nodes[1].cut_power().await;
    rig.cloud.change(|world| {
        world.stop(&nodes[1].instance);
        world.begin_termination(&nodes[2].instance);
    });
    let before = members(&rig, &nodes[0]).await.unwrap();
    let joiner = rig.launch(Some(GROUP)).unwrap();
    let run = agent(&joiner, &["--deadline=4s"]).await;
    assert_eq!(run.code, 75, "{}", run.stderr);
    assert!(run.stderr.contains("would leave 1 reachable voters where 2 are needed"), "{}", run.stderr);
    assert_eq!(members(&rig, &nodes[0]).await.unwrap(), before);
    client.put("still", "written", None).await.expect("the cluster goes on");

    rig.cloud.change(|world| world.instance_mut(&nodes[1].instance).state = Ec2State::Running);
    nodes[1].boot();
    joiner.boot();
    nodes[2] = joiner;
    whole(&rig, &nodes).await;
    intact(&mut rig.judge.client(&addresses(&nodes)).await.unwrap()).await;
}

async fn f83_one_node_reboots_in_any_phase(rig: Rig) {
    let mut nodes = form(&rig, 3).await;
    let mut client = put(&rig, &nodes[1..]).await;
    let dead = nodes.remove(0);
    rig.terminate(&dead).await;
    let joiner = rig.launch(Some(GROUP)).unwrap();
    joiner.boot();
    joiner.wait_for(PATIENCE, |event| *event == Event::AgentStarted).await.unwrap();
    nodes[0].reboot().await;
    let added = async || members(&rig, &nodes[1]).await.and_then(|list| holds(&list, &joiner));
    until(PATIENCE, added).await.unwrap();
    joiner.shut_down().await;
    joiner.boot();
    joiner.wait_for(PATIENCE, |event| *event == Event::EtcdStarted).await.unwrap();
    nodes[1].reboot().await;
    nodes.push(joiner);
    whole(&rig, &nodes).await;
    nodes[2].reboot().await;
    whole(&rig, &nodes).await;
    intact(&mut client).await;
}

async fn f36_f67_a_member_that_ec2_has_forgotten_is_replaced(rig: Rig) {
    let (dead, nodes) = replace_a_forgotten_one(&rig).await;
    whole(&rig, &nodes).await;
    let log = nodes[2].log("agent.log");
    assert!(log.contains("is unknown to EC2"), "{log}");
    let asked = rig.aws.calls().into_iter().filter(|call| call.action == Action::DescribeInstances.name());
    let by_name = |parameters: &std::collections::BTreeMap<String, String>| {
        parameters.keys().all(|key| !key.starts_with("InstanceId")) && parameters.values().any(|v| *v == dead.instance)
    };
    assert!(asked.into_iter().any(|call| by_name(&call.parameters)), "one unknown id fails no other");
}

/// As that of an etcd that has joined just now and waits for the answer to its own publication.
async fn f61_a_silent_client_port_is_not_waited_for_once_two_members_confirm_the_list(rig: Rig) {
    rig.group(GROUP, 4);
    let mut nodes = rig.launch_many(GROUP, 4).unwrap();
    let joiner = nodes.remove(3);
    let _silent = std::net::TcpListener::bind((nodes[2].address, 2379)).unwrap();
    for node in &nodes {
        let environment = environment_by_hand(node, &nodes);
        let own_port = format!("LISTEN_CLIENT_URLS=http://{}:2379", nodes[2].address);
        node.boot_by_hand(&environment.replace(&own_port, &own_port.replace("2379", "2399")));
    }
    rig.judge.all_healthy(&addresses(&nodes[..2]), PATIENCE).await.unwrap();
    let run = agent(&joiner, &["--deadline=20s"]).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    let record = std::fs::read(joiner.environment_file().with_extension("observation.json")).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    let answers = record["observation"]["probes"].as_array().unwrap();
    let silent: Vec<_> = answers.iter().filter_map(|probe| probe["client"]["Err"]["no-answer"].as_object()).collect();
    assert!(silent.len() == 1 && silent[0]["secs"] == 0, "{answers:?}");
}

async fn f45_a_member_from_elsewhere_stays(rig: Rig) {
    let mut nodes = form(&rig, 2).await;
    let mut client = put(&rig, &nodes).await;
    let foreign = rig.launch(None).unwrap();
    add(&mut client, &foreign, None).await;
    let all = [&nodes[0], &nodes[1], &foreign].map(|node| format!("{}=http://{}:2380", node.instance, node.address));
    let environment = environment_by_hand(&foreign, std::slice::from_ref(&foreign)).replace("=new", "=existing");
    let own = format!("ETCD_INITIAL_CLUSTER={}=http://{}:2380", foreign.instance, foreign.address);
    let joined = environment.replace(&own, &format!("ETCD_INITIAL_CLUSTER={}", all.join(",")));
    // Its name is nobody's, as that of a member that a person has added.
    foreign.boot_by_hand(&joined.replace(&foreign.instance, "by-hand"));
    nodes.push(foreign);
    whole(&rig, &nodes).await;
    let dead = nodes.remove(0);
    rig.terminate(&dead).await;
    nodes.push(rig.launch(Some(GROUP)).unwrap());
    nodes[2].boot();
    whole(&rig, &nodes).await;
    assert!(members(&rig, &nodes[0]).await.unwrap().member("by-hand").is_some());
    intact(&mut client).await;
}

/// Two groups in one small subnet, and AWS gives the address of one's dead node to the other.
async fn b06_f91_another_groups_cluster_on_a_dead_members_address_blocks_no_join(rig: Rig) {
    let mut nodes = form(&rig, 3).await;
    let mut client = put(&rig, &nodes[1..]).await;
    let dead = nodes.remove(0);
    rig.terminate(&dead).await;
    rig.group("etcd-b", 1);
    let theirs = [rig.launch_at(Some("etcd-b"), dead.address).unwrap()];
    theirs[0].boot();
    whole(&rig, &theirs).await;
    nodes.push(rig.launch(Some(GROUP)).unwrap());
    nodes[2].boot();
    whole(&rig, &nodes).await;
    whole(&rig, &theirs).await;
    intact(&mut client).await;
}
