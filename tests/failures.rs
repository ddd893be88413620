//! Entries of the failure catalogue that rest on what etcd does when something goes wrong at a bad moment: the real
//! agent and real etcds, of every version where etcd's own behaviour is part of the entry. The main job is in `e2e`.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use etcd_client::{Client, MemberAddOptions};

use crate::e2e::{
    GROUP, PATIENCE, cluster_id, etcd_of, form, intact, on_every_etcd, put, replace_a_forgotten_one, rig, whole,
};
use crate::founding::agreed;
use crate::founding::copy;
use crate::support::aws::{Action, Fault, Often};
use crate::support::child::Signal;
use crate::support::cloud::Ec2State;
use crate::support::etcd::{MemberList, until};
use crate::support::node::{Event, Node, Run};
use crate::support::relay::{Fate, Relay};
use crate::support::rig::{Rig, addresses, environment_by_hand};

on_every_etcd!(
    f04_f46_a_lost_disk_after_a_power_cut_founds_nothing_again,
    f03_f08_f09_a_silent_cluster_without_a_tag_is_no_absent_one,
    f11_another_group_on_the_same_addresses_is_another_cluster,
    f12b_f12c_late_founders_start_what_was_agreed,
    f14_f27_f56_a_second_join_waits_for_the_first,
    f15_f16_a_change_without_an_answer_is_looked_for_before_it_is_asked_again,
    f17_f18_f19_members_of_all_kinds_are_in_the_initial_cluster,
    f20_a_members_own_old_list_is_no_authority,
    f21_f33_f37_f38_silence_is_no_death_and_a_refused_add_no_success,
    f22_f25_f26_f42_what_others_have_done_meanwhile_is_done,
    f32_the_address_of_another_live_member_is_refused,
    f41_a_removal_that_costs_the_quorum_waits,
    f48_another_clusters_data_is_refused_and_kept,
    f53_f54_a_learner_that_nobody_promotes_is_waited_for_and_pruned_when_dead,
    f57_f60_an_etcd_without_its_http_gateway_is_understood,
    f75_a_unit_with_flags_of_its_own_gets_the_initial_cluster_alone,
    f83_one_node_reboots_in_any_phase,
);

async fn f03_f08_f09_a_silent_cluster_without_a_tag_is_no_absent_one(mut rig: Rig) {
    let mut nodes = form(&rig, 3).await;
    for node in &nodes {
        node.wait_for(PATIENCE, |event| *event == Event::ReadyExited { code: 0 }).await.unwrap();
    }
    for dead in nodes.drain(1..) {
        rig.terminate(&dead).await;
    }
    rig.cloud.change(|world| {
        world.groups.get_mut(GROUP).expect("it was made").tags.clear();
        world.instance_mut(&nodes[0].instance).launched -= Duration::from_secs(3600);
    });
    // The last survivor is frozen: its ports accept and say nothing, as those of an early founder do.
    nodes[0].signal(Signal::Freeze);
    rig.setup.agent_arguments = vec!["--founding-grace=0s".into()];
    let fresh = rig.launch_many(GROUP, 2).unwrap();
    let (a, b) = tokio::join!(fresh[0].agent("run", &["--deadline=6s"]), fresh[1].agent("run", &["--deadline=6s"]));
    for run in [a, b].map(Result::unwrap) {
        assert_eq!(run.code, 75, "{}", run.stderr);
        assert!(run.stderr.contains(&nodes[0].instance), "the silent one is named: {}", run.stderr);
    }
    assert!(fresh.iter().all(|node| node.environment() == Ok(None)));
    // Launched with the others, it would be a founder that never came up, and two of three are enough.
    rig.cloud.change(|world| world.instance_mut(&nodes[0].instance).launched += Duration::from_secs(3600));
    fresh.iter().for_each(Node::boot);
    rig.judge.all_healthy(&addresses(&fresh), PATIENCE).await.unwrap();
}

/// Up to 3.5, an idle cluster's member that comes back alone says `not_decided` and lists founders without client URLs.
async fn f04_f46_a_lost_disk_after_a_power_cut_founds_nothing_again(rig: Rig) {
    let nodes = form(&rig, 3).await;
    let id = cluster_id(&rig, &nodes).await;
    for node in &nodes {
        node.wait_for(PATIENCE, |event| *event == Event::ReadyExited { code: 0 }).await.unwrap();
    }
    for node in &nodes {
        node.cut_power().await;
    }
    nodes[0].wipe_disk().unwrap();
    // As /run is after a reboot.
    std::fs::remove_file(nodes[0].environment_file()).unwrap();
    nodes[1].boot();
    until(PATIENCE, async || members(&rig, &nodes[1]).await.map(|_| ())).await.unwrap();
    let run = agent(&nodes[0], &["--deadline=3s"]).await;
    assert_eq!(run.code, 75, "{}", run.stderr);
    assert_eq!(nodes[0].environment(), Ok(None));
    nodes[2].boot();
    nodes[0].boot();
    whole(&rig, &nodes).await;
    assert_eq!(cluster_id(&rig, &nodes).await, id);
}

async fn f11_another_group_on_the_same_addresses_is_another_cluster(rig: Rig) {
    let node = form(&rig, 1).await.remove(0);
    let first = cluster_id(&rig, std::slice::from_ref(&node)).await;
    rig.terminate(&node).await;
    rig.group("etcd-b", 1);
    let nodes = [rig.launch_at(Some("etcd-b"), node.address).unwrap()];
    nodes[0].boot();
    whole(&rig, &nodes).await;
    assert_ne!(cluster_id(&rig, &nodes).await, first, "a member that was left behind cannot slip in");
}

async fn f12b_f12c_late_founders_start_what_was_agreed(rig: Rig) {
    let (nodes, _) = agreed(&rig).await;
    nodes[0].boot();
    until(PATIENCE, async || members(&rig, &nodes[0]).await.map(|_| ())).await.unwrap();
    assert!(!rig.judge.is_healthy(nodes[0].address).await, "its client port says nothing (E17)");

    let run = agent(&nodes[1], &["--deadline=10s"]).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.took < Duration::from_secs(5), "it waits for no client port: {:?}", run.took);
    let written = nodes[1].environment().unwrap().unwrap();
    assert_eq!(written["ETCD_INITIAL_CLUSTER_STATE"], "new", "there is no cluster yet that it could join");
    nodes[1].boot();
    rig.judge.all_healthy(&addresses(&nodes[..2]), PATIENCE).await.unwrap();
    // Now there is one, and the last founder has missed its founding.
    nodes[2].boot();
    whole(&rig, &nodes).await;
    assert_eq!(nodes[2].environment().unwrap().unwrap()["ETCD_INITIAL_CLUSTER_STATE"], "existing");
}

/// From 3.5.30 on etcd itself takes the second add, and the first joiner then finds a list that is not its own.
async fn f14_f27_f56_a_second_join_waits_for_the_first(rig: Rig) {
    let mut nodes = form(&rig, 3).await;
    rig.cloud.change(|world| world.set_desired(GROUP, 5));
    let joining = rig.launch_many(GROUP, 2).unwrap();
    let run = agent(&joining[0], &[]).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    let before = members(&rig, &nodes[0]).await.unwrap();
    let run = agent(&joining[1], &["--deadline=3s"]).await;
    assert_eq!(run.code, 75, "{}", run.stderr);
    assert!(run.stderr.contains("has been added and has not started yet"), "{}", run.stderr);
    assert_eq!(joining[1].environment(), Ok(None));
    assert_eq!(members(&rig, &nodes[0]).await.unwrap(), before);

    joining.iter().for_each(Node::boot);
    nodes.extend(joining);
    whole(&rig, &nodes).await;
    let log = nodes[3].log("agent.log");
    assert!(log.contains("reason=resume") && !log.contains("added http"), "it is not added twice: {log}");
}

async fn f15_f16_a_change_without_an_answer_is_looked_for_before_it_is_asked_again(mut rig: Rig) {
    // At the second time the same answer, or none, is a debug line.
    rig.setup.agent_arguments = vec!["-v=2".into()];
    let (first, relay, _) = behind_a_relay(&rig).await;
    rig.cloud.change(|world| world.set_desired(GROUP, 2));
    relay.meet_next([Fate::RequestLost, Fate::AnswerLost]);
    let joiner = rig.launch(Some(GROUP)).unwrap();
    joiner.boot();
    let nodes = [first, joiner];
    whole(&rig, &nodes).await;
    let log = nodes[1].log("agent.log");
    assert_eq!(log.matches("no answer within 5 s").count(), 2, "each change has a deadline: {log}");
    assert!(log.contains("reason=resume") && !log.contains("added http"), "there is no third add: {log}");
}

async fn f17_f18_f19_members_of_all_kinds_are_in_the_initial_cluster(mut rig: Rig) {
    // So many unstarted members at once are what etcd's own check is there to prevent.
    rig.setup.etcd_environment.insert("ETCD_STRICT_RECONFIG_CHECK".into(), "false".into());
    // Elsewhere a voter that was added and never published is added anew, as a learner.
    rig.setup.agent_arguments = vec!["--join-as=voter".into()];
    let nodes = form(&rig, 3).await;
    let mut client = rig.judge.client(&addresses(&nodes)).await.unwrap();
    rig.cloud.change(|world| world.set_desired(GROUP, 4));
    let node = rig.launch(Some(GROUP)).unwrap();
    let nowhere = [rig.fresh_address(), rig.fresh_address()];
    let two_urls = ["2380", "2381"].map(|port| format!("http://{}:{port}", nowhere[0]));
    client.member_add(two_urls.clone(), None).await.unwrap();
    let learner = [format!("http://{}:2380", nowhere[1])];
    client.member_add(learner.clone(), Some(MemberAddOptions::new().with_is_learner())).await.unwrap();
    add(&mut client, &node, None).await;

    node.boot();
    rig.judge.all_healthy(&[node.address], PATIENCE).await.unwrap();
    let listed = members(&rig, &node).await.unwrap();
    assert!(listed.members.len() == 6 && listed.voters().contains(node.instance.as_str()), "{listed:?}");
    let written = node.environment().unwrap().unwrap().remove("ETCD_INITIAL_CLUSTER").unwrap();
    let entries: Vec<(&str, &str)> = written.split(',').filter_map(|entry| entry.split_once('=')).collect();
    let names: BTreeSet<&str> = entries.iter().map(|(name, _)| *name).collect();
    assert_eq!((entries.len(), names.len()), (7, 6), "{written}");
    let name_of = |url: &String| entries.iter().find(|(_, listed)| listed == url).map(|(name, _)| *name);
    assert_eq!(name_of(&two_urls[0]), name_of(&two_urls[1]));
    assert!(name_of(&learner[0]).is_some_and(|name| !name.is_empty()), "{written}");
}

async fn f20_a_members_own_old_list_is_no_authority(mut rig: Rig) {
    rig.setup.etcd_environment.insert("ETCD_STRICT_RECONFIG_CHECK".into(), "false".into());
    let mut nodes = form(&rig, 3).await;
    let mut client = put(&rig, &nodes[..2]).await;
    nodes[2].cut_power().await;
    rig.cloud.change(|world| world.set_desired(GROUP, 4));
    let joiner = rig.launch(Some(GROUP)).unwrap();
    add(&mut client, &joiner, None).await;
    for node in &nodes[..2] {
        node.cut_power().await;
    }
    // The one that missed the change is the only one that answers.
    nodes[2].boot();
    let old = async || {
        // Up to 3.5 it answers before it has read its log.
        let listed = members(&rig, &nodes[2]).await?;
        if listed.members.len() == 3 { holds(&listed, &nodes[0]) } else { Err(format!("{listed:?}")) }
    };
    until(PATIENCE, old).await.unwrap();
    let run = agent(&joiner, &["--deadline=3s"]).await;
    assert_eq!(run.code, 75, "{}", run.stderr);
    assert!(run.stderr.contains("has no quorum that confirms its member list"), "{}", run.stderr);
    assert_eq!(joiner.environment(), Ok(None));

    nodes[..2].iter().for_each(Node::boot);
    joiner.boot();
    nodes.push(joiner);
    whole(&rig, &nodes).await;
    intact(&mut client).await;
}

async fn f21_f33_f37_f38_silence_is_no_death_and_a_refused_add_no_success(rig: Rig) {
    let mut nodes = form(&rig, 3).await;
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

/// A node that dies between its add and its start leaves a member without a name. Then each change of its successor is
/// made by somebody else a moment before it reaches etcd.
async fn f22_f25_f26_f42_what_others_have_done_meanwhile_is_done(rig: Rig) {
    let (first, relay, mut client) = behind_a_relay(&rig).await;
    rig.cloud.change(|world| world.set_desired(GROUP, 2));
    let ghost = rig.launch(Some(GROUP)).unwrap();
    let run = agent(&ghost, &[]).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    let listed = members(&rig, &first).await.unwrap();
    let ghosts: Vec<u64> = listed.members.iter().filter(|m| m.name.is_empty()).map(|m| m.id).collect();
    assert_eq!(ghosts.len(), 1, "{listed:?}");
    client.put("still", "written", None).await.expect("an unstarted member costs no quorum");

    rig.cloud.change(|world| world.begin_termination(&ghost.instance));
    relay.meet_next([Fate::Held, Fate::Held]);
    let joiner = rig.launch(Some(GROUP)).unwrap();
    joiner.boot();
    relay.met(1, PATIENCE).await.unwrap();
    client.member_remove(ghosts[0]).await.unwrap();
    relay.release();
    relay.met(2, PATIENCE).await.unwrap();
    add(&mut client, &joiner, Some(MemberAddOptions::new().with_is_learner())).await;
    assert_eq!(joiner.environment(), Ok(None), "no file before the last change is made");
    relay.release();
    let nodes = [first, joiner];
    whole(&rig, &nodes).await;
    let log = nodes[1].log("agent.log");
    // The ids of two adds of one URL are the same within a second.
    let already = ["Peer URLs already exists", "member ID already exist"].iter().any(|said| log.contains(said));
    assert!(log.contains("member not found") && already, "{log}");
}

async fn f32_the_address_of_another_live_member_is_refused(rig: Rig) {
    rig.group(GROUP, 4);
    let mut nodes = rig.launch_many(GROUP, 4).unwrap();
    let other = nodes.remove(3);
    // The third etcd bears the name of an instance that lives elsewhere.
    for node in &nodes {
        node.boot_by_hand(&environment_by_hand(node, &nodes).replace(&nodes[2].instance, &other.instance));
    }
    whole(&rig, &nodes).await;
    let before = members(&rig, &nodes[0]).await.unwrap();
    nodes[2].cut_power().await;
    nodes[2].wipe_disk().unwrap();
    let run = agent(&nodes[2], &["--deadline=20s"]).await;
    assert_eq!(run.code, 78, "{}", run.stderr);
    assert!(run.stderr.contains("of another live instance has this address"), "{}", run.stderr);
    assert!(run.stderr.contains(&other.instance), "{}", run.stderr);
    assert_eq!(members(&rig, &nodes[0]).await.unwrap(), before);
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

async fn f48_another_clusters_data_is_refused_and_kept(rig: Rig) {
    let member = form(&rig, 1).await.remove(0);
    rig.cloud.change(|world| world.set_desired(GROUP, 2));
    let node = [rig.launch(Some(GROUP)).unwrap()];
    node[0].boot_by_hand(&environment_by_hand(&node[0], &node));
    whole(&rig, &node).await;
    let other = cluster_id(&rig, &node).await;
    node[0].cut_power().await;
    let before = members(&rig, &member).await.unwrap();
    for more in [&["--deadline=20s"][..], &["--deadline=20s", "--rejoin"]] {
        let run = agent(&node[0], more).await;
        assert_eq!(run.code, 78, "{}", run.stderr);
        assert!([&other, &before.cluster_id].iter().all(|id| run.stderr.contains(*id)), "{}", run.stderr);
    }
    assert_eq!(members(&rig, &member).await.unwrap(), before);
    node[0].boot_by_hand(&environment_by_hand(&node[0], &node));
    whole(&rig, &node).await;
    assert_eq!(cluster_id(&rig, &node).await, other, "its data is as it was");
}

async fn f53_f54_a_learner_that_nobody_promotes_is_waited_for_and_pruned_when_dead(rig: Rig) {
    let first = form(&rig, 1).await.remove(0);
    rig.cloud.change(|world| world.set_desired(GROUP, 3));
    let stuck = rig.launch(Some(GROUP)).unwrap();
    let run = agent(&stuck, &[]).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    // Without metadata, `ready` promotes nobody.
    stuck.imds.unplug().await;
    let environment = std::fs::read_to_string(stuck.environment_file()).unwrap();
    stuck.boot_by_hand(&environment);
    let published = async || {
        let listed = members(&rig, &first).await?;
        let found = listed.member(&stuck.instance).is_some_and(|m| m.is_learner && !m.client_urls.is_empty());
        found.then_some(()).ok_or(format!("{listed:?}"))
    };
    until(PATIENCE, published).await.unwrap();
    let next = rig.launch(Some(GROUP)).unwrap();
    let run = agent(&next, &["--deadline=3s"]).await;
    assert_eq!(run.code, 75, "{}", run.stderr);
    assert!(run.stderr.contains("is not promoted yet"), "{}", run.stderr);
    assert_eq!(members(&rig, &first).await.unwrap().members.len(), 2);

    rig.terminate(&stuck).await;
    next.boot();
    whole(&rig, &[first, next]).await;
}

async fn f57_f60_an_etcd_without_its_http_gateway_is_understood(mut rig: Rig) {
    rig.setup.etcd_environment.insert("ETCD_ENABLE_GRPC_GATEWAY".into(), "false".into());
    let mut nodes = form(&rig, 1).await;
    let id = cluster_id(&rig, &nodes).await;
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    for path in ["v2/members", "v3/cluster/member/list"] {
        let answer = http.post(format!("http://{}:2379/{path}", nodes[0].address)).send().await.unwrap();
        assert_eq!(answer.status(), 404, "{path}");
    }
    rig.cloud.change(|world| world.set_desired(GROUP, 2));
    nodes.push(rig.launch(Some(GROUP)).unwrap());
    nodes[1].boot();
    whole(&rig, &nodes).await;
    assert_eq!(cluster_id(&rig, &nodes).await, id);
}

async fn f75_a_unit_with_flags_of_its_own_gets_the_initial_cluster_alone(mut rig: Rig) {
    let flags = "--listen-peer-urls=http://$IP:2380 --listen-client-urls=http://$IP:2379 \
                 --advertise-client-urls=http://$IP:2379";
    let script = format!("#!/bin/sh\nexec {} {flags}\n", rig.programs.etcd.display());
    rig.programs.etcd = rig.directory.script("etcd-with-flags", &script).unwrap();
    rig.group(GROUP, 1);
    let address = rig.fresh_address();
    rig.setup.etcd_environment.insert("IP".into(), address.to_string());
    let both = rig.launch_at(Some(GROUP), address).unwrap();
    both.boot();
    both.wait_for(PATIENCE, |event| *event == Event::EtcdExited { code: 1 }).await.unwrap();
    assert!(both.log("etcd.log").contains("is shadowed by corresponding command-line flag"), "etcd refuses both");
    rig.terminate(&both).await;

    rig.setup.agent_arguments = vec!["--emit=initial".into()];
    let nodes = [rig.launch_at(Some(GROUP), address).unwrap()];
    nodes[0].boot();
    whole(&rig, &nodes).await;
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

// ---------------------------------------------------------------- on one etcd: it has no part in it

#[tokio::test]
async fn f36_f67_a_member_that_ec2_has_forgotten_is_replaced() {
    let Some(etcd) = etcd_of("3.6") else { return };
    let rig = rig(etcd);
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
#[tokio::test]
async fn f61_a_silent_client_port_is_not_waited_for_once_two_members_confirm_the_list() {
    let Some(etcd) = etcd_of("3.6") else { return };
    let rig = rig(etcd);
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

#[tokio::test]
async fn f45_a_member_from_elsewhere_stays() {
    let Some(etcd) = etcd_of("3.6") else { return };
    let rig = rig(etcd);
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

/// An image of a running node, or a snapshot of its volume in the launch template.
#[tokio::test]
async fn b04_f88_a_copy_of_a_members_disk_is_refused_while_the_member_lives() {
    let Some(etcd) = etcd_of("3.6") else { return };
    let rig = rig(etcd);
    let nodes = form(&rig, 3).await;
    let before = members(&rig, &nodes[1]).await.unwrap();
    nodes[0].cut_power().await;
    rig.cloud.change(|world| world.set_desired(GROUP, 4));
    let copy = rig.launch(Some(GROUP)).unwrap();
    std::fs::create_dir_all(copy.data_dir()).unwrap();
    let (from, to) = (nodes[0].data_dir().join("member"), copy.data_dir());
    let copied = std::process::Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.unwrap().success());
    // The original is off, and runs again.
    for is_on in [false, true] {
        if is_on {
            nodes[0].boot();
            whole(&rig, &nodes).await;
        }
        let run = agent(&copy, &["--deadline=20s"]).await;
        assert_eq!(run.code, 78, "{}", run.stderr);
        assert!(run.stderr.contains("disk-is-a-copy") && run.stderr.contains(&nodes[0].instance), "{}", run.stderr);
        assert_eq!(copy.environment(), Ok(None));
    }
    assert_eq!(members(&rig, &nodes[1]).await.unwrap(), before);
    rig.terminate(&nodes[0]).await;
    let run = agent(&copy, &["--deadline=20s"]).await;
    assert_eq!(run.code, 0, "the only disk that is left is no copy any more: {}", run.stderr);
}

/// Two groups in one small subnet, and AWS gives the address of one's dead node to the other.
#[tokio::test]
async fn b06_f91_another_groups_cluster_on_a_dead_members_address_blocks_no_join() {
    for line in ["3.4", "3.7"] {
        let Some(etcd) = etcd_of(line) else { continue };
        let rig = rig(etcd);
        let mut nodes = form(&rig, 3).await;
        let mut client = put(&rig, &nodes[1..]).await;
        let dead = nodes.remove(0);
        rig.terminate(&dead).await;
        let address = dead.address;
        drop(dead);
        rig.group("etcd-b", 1);
        let theirs = [rig.launch_at(Some("etcd-b"), address).unwrap()];
        theirs[0].boot();
        whole(&rig, &theirs).await;
        nodes.push(rig.launch(Some(GROUP)).unwrap());
        nodes[2].boot();
        whole(&rig, &nodes).await;
        whole(&rig, &theirs).await;
        intact(&mut client).await;
    }
}

#[tokio::test]
async fn b09_f92_a_hand_made_member_whose_instance_was_replaced_is_named() {
    let Some(etcd) = etcd_of("3.6") else { return };
    let rig = rig(etcd);
    rig.group(GROUP, 3);
    let mut nodes = rig.launch_many(GROUP, 3).unwrap();
    for node in &nodes {
        let by_hand = |text: String, node: &Node| text.replace(&node.instance, &format!("etcd-{}", node.address));
        node.boot_by_hand(&nodes.iter().fold(environment_by_hand(node, &nodes), by_hand));
    }
    whole(&rig, &nodes).await;
    let dead = nodes.remove(0);
    rig.terminate(&dead).await;
    let before = members(&rig, &nodes[0]).await.unwrap();
    let run = agent(&rig.launch(Some(GROUP)).unwrap(), &["--deadline=6s"]).await;
    assert_eq!(run.code, 75, "{}", run.stderr);
    let last = run.stderr.lines().last().unwrap_or_default();
    let name = format!("etcd-{}", dead.address);
    assert!([&name, "foreign-in-the-way", "--prune-foreign"].iter().all(|word| last.contains(*word)), "{}", run.stderr);
    assert_eq!(members(&rig, &nodes[0]).await.unwrap(), before);
}

#[tokio::test]
async fn b02_f86_the_newest_log_is_no_member_of_a_cluster_of_older_copies() {
    for etcd in ["3.4", "3.7"].into_iter().filter_map(etcd_of) {
        let mut rig = rig(etcd);
        rig.setup.deadline = "30s".into();
        let nodes = form(&rig, 3).await;
        let mut client = put(&rig, &nodes).await;
        let copies = nodes[..2].iter().map(|node| node.dir().join("older"));
        for (node, older) in nodes.iter().zip(copies.clone()) {
            node.shut_down().await;
            copy(&node.data_dir(), &older);
            node.boot();
            whole(&rig, &nodes).await;
        }
        for n in 0..100 {
            client.put(format!("later-{n}"), "acknowledged", None).await.unwrap();
        }
        for node in &nodes {
            node.shut_down().await;
        }
        // Alone and with its peers at its own state it is nobody's past.
        let run = agent(&nodes[2], &[]).await;
        assert_eq!(run.code, 0, "{}", run.stderr);
        nodes.iter().for_each(Node::boot);
        whole(&rig, &nodes).await;
        for node in &nodes {
            node.shut_down().await;
        }
        for (node, older) in nodes.iter().zip(copies) {
            std::fs::remove_dir_all(node.data_dir()).unwrap();
            std::fs::rename(&older, node.data_dir()).unwrap();
            node.boot();
        }
        rig.judge.all_healthy(&addresses(&nodes[..2]), PATIENCE).await.unwrap();
        let run = agent(&nodes[2], &[]).await;
        assert_eq!(run.code, 78, "{}", run.stderr);
        assert!(run.stderr.contains("reason=log-ahead"), "{}", run.stderr);
        let log = nodes[2].data_dir().join("member/wal");
        assert!(log.read_dir().unwrap().next().is_some(), "its data is where it was");
    }
}

#[tokio::test]
async fn f46_f49_a_database_without_its_log_is_set_aside_and_kept() {
    let Some(etcd) = etcd_of("3.6") else { return };
    let rig = rig(etcd);
    let nodes = form(&rig, 3).await;
    let mut client = put(&rig, &nodes[1..]).await;
    nodes[0].cut_power().await;
    std::fs::remove_dir_all(nodes[0].data_dir().join("member/wal")).unwrap();
    nodes[0].boot();
    whole(&rig, &nodes).await;
    intact(&mut client).await;
    let kept = std::fs::read_dir(nodes[0].data_dir()).unwrap().flatten();
    let mut kept = kept.filter(|entry| entry.file_name().to_string_lossy().starts_with("member."));
    assert!(kept.any(|entry| entry.path().join("snap/db").is_file()), "the old database is still there");
}

/// The first scenario of all again, on a machine that has no network but its loopback.
#[test]
fn f12_nothing_but_aws_and_the_nodes_is_needed() {
    let Some(etcd) = etcd_of("3.6") else { return };
    let tests = std::env::current_exe().unwrap();
    let scenario = "e2e::v3_6::f05_f24_f50_f74_forms_and_replaces_a_terminated_instance";
    let script = "ip link set lo up || exit 99; [ -z \"$(ip route)\" ] || exit 98; exec \"$@\"";
    let mut command = std::process::Command::new("unshare");
    command.args(["--map-root-user", "--net", "sh", "-c", script, "sh"]).arg(tests);
    let Ok(output) = command.args(["--exact", scenario]).output() else {
        return println!("skipped: there is no unshare");
    };
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if said.contains("unshare failed") || output.status.code() == Some(99) {
        return println!("skipped: this machine lets nobody make a network: {}", said.trim());
    }
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    println!("etcd {}", crate::support::etcd::version_of(Path::new(&etcd)).unwrap());
}

// ---------------------------------------------------------------- what scenarios are made of

/// A cluster of one behind a relay, and a client that goes round it.
async fn behind_a_relay(rig: &Rig) -> (Node, Relay, Client) {
    rig.group(GROUP, 1);
    let node = rig.launch(Some(GROUP)).unwrap();
    let port = |port: u16| SocketAddr::from((node.address, port));
    let relay = Relay::start(port(2379), port(2399)).unwrap();
    let environment = environment_by_hand(&node, std::slice::from_ref(&node));
    let [usual, moved] = [2379, 2399].map(|number| format!("ETCD_LISTEN_CLIENT_URLS=http://{}", port(number)));
    node.boot_by_hand(&environment.replace(&usual, &moved));
    whole(rig, std::slice::from_ref(&node)).await;
    let client = Client::connect([format!("http://{}", port(2399))], None).await.unwrap();
    (node, relay, client)
}

async fn agent(node: &Node, more: &[&str]) -> Run {
    node.agent("run", more).await.expect("the agent starts")
}

async fn members(rig: &Rig, node: &Node) -> Result<MemberList, String> {
    rig.judge.members(node.address).await.ok_or_else(|| format!("{} tells no members", node.address))
}

fn holds(list: &MemberList, node: &Node) -> Result<(), String> {
    let url = format!("http://{}:2380", node.address);
    let found = list.members.iter().any(|m| m.peer_urls.contains(&url));
    found.then_some(()).ok_or_else(|| format!("{url} is not in {list:?}"))
}

/// Adds a member with this node's peer URL, as a person would.
async fn add(client: &mut Client, node: &Node, options: Option<MemberAddOptions>) {
    let urls = [format!("http://{}:2380", node.address)];
    // In the first seconds after a leader has started, etcd takes no change.
    let ask = async || {
        let reply = client.member_add(urls.clone(), options.clone()).await;
        reply.map(|_| ()).map_err(|e| e.to_string())
    };
    until(PATIENCE, ask).await.unwrap();
}
