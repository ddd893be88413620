//! The main job on real etcd: the real agent, real etcd processes, the fake cloud.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::consumers::forget;
use crate::scenario::{
    GROUP, PATIENCE, cluster_id, form, intact, on_both_ends, on_every_etcd, on_one_etcd, patch, put, remove,
    replace_a_forgotten_one, tagged, whole,
};
use crate::support::aws::{Action, Fault, Often};
use crate::support::etcd::{until, version_of};
use crate::support::node::{Event, Node};
use crate::support::rig::{Rig, addresses};
use crate::support::skip;
use crate::support::tls::Authority;

on_every_etcd!(
    f05_f24_f50_f74_forms_and_replaces_a_terminated_instance,
    f13_f14_f54_f55_f56_grows_from_one_to_three_to_five_at_once,
    f04_f40_f46_f51_reboots_with_its_data_and_with_its_disk_wiped,
    f51_f52_all_nodes_come_back_from_a_power_cut_while_aws_is_down,
    f47_f48_a_removed_member_is_refused_and_may_rejoin,
);

on_both_ends!(
    f28_a_new_instance_takes_a_dead_ones_address,
    f02_f06_f07_f23_instances_that_boot_apart_form_one_cluster,
    f08_a_group_replaced_as_a_whole_never_becomes_a_second_cluster,
    f44_two_of_five_are_replaced_at_once,
    f39_f81_f82_a_consumer_follows_a_rotation,
    b10_f41_f70_f96_without_a_quorum_nothing_is_changed_and_nobody_is_ready,
    f59_authentication_ends_the_join_with_a_name,
    f79_f80_tls_on_every_port,
);

on_one_etcd!(
    f36_a_clock_that_is_set_back_prolongs_no_grace,
    f05_f66_who_is_dead_is_known_in_the_first_pass,
    f66_one_pass_asks_aws_three_times_whatever_the_size,
);

async fn f05_f24_f50_f74_forms_and_replaces_a_terminated_instance(rig: Rig) {
    let mut nodes = form(&rig, 3).await;
    let mut client = put(&rig, &nodes).await;
    let id = cluster_id(&rig, &nodes).await;
    let dead = nodes.remove(0);
    rig.terminate(&dead).await;
    nodes.push(rig.launch(Some(GROUP)).unwrap());
    nodes[2].boot();
    whole(&rig, &nodes).await;

    // The file of a node that has one is written afresh, though etcd has its log and would not look at it.
    let run = nodes[0].agent("run", &[]).await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let written = nodes[0].environment().unwrap().unwrap().remove("ETCD_INITIAL_CLUSTER").unwrap();
    assert!(written.contains(&nodes[2].instance) && !written.contains(&dead.instance), "{written}");

    // etcd itself would let a member that was added at run time found a cluster of its own: its id is another one.
    nodes[2].cut_power().await;
    nodes[2].wipe_disk().unwrap();
    nodes[2].boot();
    whole(&rig, &nodes).await;
    assert_eq!(cluster_id(&rig, &nodes).await, id);
    intact(&mut client).await;
}

async fn f13_f14_f54_f55_f56_grows_from_one_to_three_to_five_at_once(rig: Rig) {
    let mut nodes = form(&rig, 1).await;
    let id = cluster_id(&rig, &nodes).await;
    for size in [3, 5] {
        rig.cloud.change(|world| world.set_desired(GROUP, size));
        let more = rig.launch_many(GROUP, 2).unwrap();
        more.iter().for_each(Node::boot);
        nodes.extend(more);
        whole(&rig, &nodes).await;
    }
    assert_eq!(cluster_id(&rig, &nodes).await, id);
    let version = version_of(&rig.programs.etcd).unwrap();
    let learners = !version.starts_with("3.4.") && (!version.starts_with("3.5.") || patch(&version) >= 26);
    for node in &nodes[3..] {
        let role = if learners { "it joins as a learner" } else { "it joins as a voter" };
        assert!(node.log("agent.log").contains(role), "{version}: {}", node.log("agent.log"));
    }
}

async fn f04_f40_f46_f51_reboots_with_its_data_and_with_its_disk_wiped(rig: Rig) {
    let nodes = form(&rig, 3).await;
    let mut client = put(&rig, &nodes[1..]).await;
    let before = rig.judge.members(nodes[1].address).await.unwrap();
    nodes[0].reboot().await;
    whole(&rig, &nodes).await;
    let after = rig.judge.members(nodes[1].address).await.unwrap();
    assert_eq!(before, after, "a reboot changes no member");

    // ReplaceRootVolume: the same instance and address, an empty disk.
    nodes[0].cut_power().await;
    nodes[0].wipe_disk().unwrap();
    nodes[0].boot();
    whole(&rig, &nodes).await;
    let started_with = nodes[0].environment().unwrap().unwrap();
    assert_eq!(started_with["ETCD_INITIAL_CLUSTER_STATE"], "existing", "its name is listed: {started_with:?}");
    let wiped = rig.judge.members(nodes[1].address).await.unwrap();
    let ids = |list: &crate::support::etcd::MemberList| list.members.iter().map(|m| m.id).collect::<BTreeSet<_>>();
    assert_eq!(ids(&before).intersection(&ids(&wiped)).count(), 2, "the wiped node is a new member");
    intact(&mut client).await;
}

async fn f28_a_new_instance_takes_a_dead_ones_address(rig: Rig) {
    let mut nodes = form(&rig, 3).await;
    let mut client = put(&rig, &nodes[1..]).await;
    let dead = nodes.remove(0);
    rig.terminate(&dead).await;
    nodes.push(rig.launch_at(Some(GROUP), dead.address).unwrap());
    nodes[2].boot();
    whole(&rig, &nodes).await;
    intact(&mut client).await;
}

async fn f02_f06_f07_f23_instances_that_boot_apart_form_one_cluster(rig: Rig) {
    rig.group(GROUP, 3);
    let nodes = rig.launch_many(GROUP, 3).unwrap();
    rig.cloud.change(|world| {
        for (node, state) in nodes.iter().zip(["Pending", "Pending:Wait", "InService"]) {
            world.set_lifecycle(&node.instance, state);
        }
    });
    for node in &nodes {
        node.boot();
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    whole(&rig, &nodes).await;
    let last_boot = nodes[2].wait_for(PATIENCE, |event| *event == Event::Booted).await.unwrap();
    for node in &nodes {
        let started = node.wait_for(PATIENCE, |event| *event == Event::EtcdStarted).await.unwrap();
        assert!(started > last_boot, "none is the first by its rank");
        let ends = node.events().into_iter().filter(|(_, event)| matches!(event, Event::AgentExited { .. }));
        let codes: Vec<Event> = ends.map(|(_, event)| event).collect();
        assert!(matches!(codes[..], [Event::AgentExited { code: 0, .. }]), "a first boot ends well: {codes:?}");
    }
}

async fn f51_f52_all_nodes_come_back_from_a_power_cut_while_aws_is_down(rig: Rig) {
    let nodes = form(&rig, 3).await;
    let id = cluster_id(&rig, &nodes).await;
    for node in &nodes {
        node.cut_power().await;
    }
    rig.aws.inject_everywhere(&Fault::Drop, Often::Always);
    nodes.iter().for_each(Node::boot);
    whole(&rig, &nodes).await;
    assert_eq!(cluster_id(&rig, &nodes).await, id);
}

async fn f47_f48_a_removed_member_is_refused_and_may_rejoin(rig: Rig) {
    let nodes = form(&rig, 3).await;
    let mut client = rig.judge.client(&addresses(&nodes[1..])).await.unwrap();
    let list = rig.judge.members(nodes[1].address).await.unwrap();
    let removed = list.member(&nodes[0].instance).unwrap().id;
    remove(&mut client, removed).await;
    // Its etcd ends well (E5), the agent runs before the next start, and there is none.
    nodes[0].wait_for(PATIENCE, |event| *event == Event::EtcdExited { code: 0 }).await.unwrap();
    nodes[0].wait_for(PATIENCE, |event| matches!(event, Event::AgentExited { code: 78, .. })).await.unwrap();
    nodes[0].shut_down().await;
    // Where it had led, the others elect first: while no quorum says that it was removed, it starts with its own data.
    put(&rig, &nodes[1..]).await;

    let before = nodes[0].environment();
    let run = nodes[0].agent("run", &[]).await.unwrap();
    assert_eq!(run.code, 78, "{}", run.stderr);
    assert!(run.stderr.contains("--rejoin"), "{}", run.stderr);
    assert_eq!(nodes[0].environment(), before, "nothing is written");

    let run = nodes[0].agent("run", &["--rejoin"]).await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let kept = std::fs::read_dir(nodes[0].data_dir()).unwrap().flatten();
    let kept: Vec<_> = kept.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    assert!(kept.iter().any(|name| name.starts_with("member.")), "the old data is kept: {kept:?}");
    nodes[0].boot();
    whole(&rig, &nodes).await;
}

async fn f08_a_group_replaced_as_a_whole_never_becomes_a_second_cluster(rig: Rig) {
    let nodes = form(&rig, 3).await;
    tagged(&nodes).await;
    for node in &nodes {
        rig.terminate(node).await;
    }
    let fresh = rig.launch_many(GROUP, 3).unwrap();
    let runs = fresh.iter().map(|node| node.agent("run", &["--deadline=3s"]));
    let [a, b, c] = <[_; 3]>::try_from(runs.collect::<Vec<_>>()).unwrap_or_else(|_| panic!("three"));
    let (a, b, c) = tokio::join!(a, b, c);
    for run in [a, b, c].map(Result::unwrap) {
        assert_eq!(run.code, 75, "{}", run.stderr);
        assert!(run.stderr.contains("the group's tag says"), "{}", run.stderr);
    }
    assert!(fresh.iter().all(|node| node.environment() == Ok(None)));
}

async fn f44_two_of_five_are_replaced_at_once(rig: Rig) {
    let mut nodes = form(&rig, 5).await;
    let mut client = put(&rig, &nodes[2..]).await;
    for dead in nodes.drain(..2) {
        rig.terminate(&dead).await;
    }
    let fresh = rig.launch_many(GROUP, 2).unwrap();
    fresh.iter().for_each(Node::boot);
    nodes.extend(fresh);
    whole(&rig, &nodes).await;
    intact(&mut client).await;
}

async fn f39_f81_f82_a_consumer_follows_a_rotation(rig: Rig) {
    let mut nodes = form(&rig, 3).await;
    rig.group("consumers", 1);
    let consumer = rig.launch(Some("consumers")).unwrap();
    let follow = ["--proxy-mode=true", "--scaling-group-name", GROUP];
    let endpoints = async |nodes: &[Node]| {
        // While the members elect a leader there is no list to follow, and the timer runs the agent again.
        let followed = async || {
            let run = consumer.agent("run", &follow).await.unwrap();
            assert!([0, 75].contains(&run.code), "{}", run.stderr);
            if run.code == 0 { Ok(()) } else { Err(run.stderr) }
        };
        until(PATIENCE, followed).await.unwrap();
        let variables = consumer.environment().unwrap().unwrap();
        let listed: BTreeSet<&str> = variables["ETCD_ENDPOINTS"].split(',').collect();
        let living: BTreeSet<String> = nodes.iter().map(|node| format!("http://{}:2379", node.address)).collect();
        assert_eq!(listed, living.iter().map(String::as_str).collect());
    };
    endpoints(&nodes).await;
    let written = std::fs::metadata(consumer.environment_file()).unwrap().modified().unwrap();
    endpoints(&nodes).await;
    let again = std::fs::metadata(consumer.environment_file()).unwrap().modified().unwrap();
    assert_eq!(written, again, "the file is touched only when it changes");

    let dead = nodes.remove(0);
    rig.terminate(&dead).await;
    let before = rig.judge.members(nodes[0].address).await.unwrap();
    // One that asks AWS need not wait until the members have removed it.
    forget(&consumer);
    endpoints(&nodes).await;
    assert_eq!(rig.judge.members(nodes[0].address).await.unwrap(), before, "a consumer removes nobody");
    nodes.push(rig.launch(Some(GROUP)).unwrap());
    nodes[2].boot();
    whole(&rig, &nodes).await;
    endpoints(&nodes).await;
}

async fn b10_f41_f70_f96_without_a_quorum_nothing_is_changed_and_nobody_is_ready(rig: Rig) {
    let mut nodes = form(&rig, 3).await;
    for dead in nodes.drain(..2) {
        rig.terminate(&dead).await;
    }
    let before = rig.judge.members(nodes[0].address).await.unwrap();
    let fresh = rig.launch(Some(GROUP)).unwrap();
    let run = fresh.agent("run", &["--deadline=5s"]).await.unwrap();
    assert_eq!(run.code, 75, "{}", run.stderr);
    assert!(run.stderr.contains(&nodes[0].address.to_string()), "the survivor is named: {}", run.stderr);
    assert!(
        run.stderr.contains("recover --from=this-node"),
        "two of three are gone, and the way out is named: {}",
        run.stderr
    );
    assert!(!run.stderr.contains("force-new-cluster"), "it keeps the cluster's id: {}", run.stderr);
    assert_eq!(fresh.environment(), Ok(None));
    assert_eq!(rig.judge.members(nodes[0].address).await.unwrap(), before);
    // A process that runs and an open port are no readiness.
    let run = nodes[0].agent("ready", &["--deadline=2s"]).await.unwrap();
    assert_eq!(run.code, 75, "{}", run.stderr);
}

async fn f59_authentication_ends_the_join_with_a_name(rig: Rig) {
    let nodes = form(&rig, 1).await;
    let mut client = rig.judge.client(&addresses(&nodes)).await.unwrap();
    client.user_add("root", "secret", None).await.unwrap();
    client.role_add("root").await.unwrap();
    client.user_grant_role("root", "root").await.unwrap();
    client.auth_enable().await.unwrap();
    let joiner = rig.launch(Some(GROUP)).unwrap();
    let run = joiner.agent("run", &["--deadline=20s"]).await.unwrap();
    assert_eq!(run.code, 78, "{}", run.stderr);
    assert!(run.stderr.contains("authentication"), "{}", run.stderr);
    assert_eq!(joiner.environment(), Ok(None));
    assert_eq!(rig.judge.members(nodes[0].address).await.unwrap().members.len(), 1);
    // The node with data needs no rights: it starts again in spite of them (F51).
    nodes[0].reboot().await;
    whole(&rig, &nodes).await;
}

async fn f79_f80_tls_on_every_port(mut rig: Rig) {
    let authority = Authority::new();
    let dir = rig.directory.path().join("tls");
    std::fs::create_dir_all(&dir).unwrap();
    let node_addresses: Vec<String> = (0..4).map(|_| rig.fresh_address().to_string()).collect();
    // etcd looks at the address that a peer comes from too, and here all come from the loopback's own.
    let names = node_addresses.iter().map(String::as_str).chain(["127.0.0.1"]).collect::<Vec<_>>();
    let files = authority.write(&dir, &names).unwrap();
    rig.setup.schemes = ("https", "https");
    rig.setup.agent_arguments = files.options();
    rig.judge = files.judge().unwrap();
    rig.group(GROUP, 3);
    let addresses: Vec<std::net::Ipv4Addr> = node_addresses.iter().map(|a| a.parse().unwrap()).collect();
    let launch = |address| rig.launch_at(Some(GROUP), address).unwrap();
    let mut nodes: Vec<Node> = addresses[..3].iter().copied().map(launch).collect();
    nodes.iter().for_each(Node::boot);
    whole(&rig, &nodes).await;
    let dead = nodes.remove(0);
    rig.terminate(&dead).await;
    nodes.push(launch(addresses[3]));
    nodes[2].boot();
    whole(&rig, &nodes).await;
    // One without a certificate is told nothing, and takes that for nothing (F03).
    let stranger = rig.launch(Some(GROUP)).unwrap();
    let bare = ["--peer-cert-file=", "--peer-key-file="];
    let run = stranger.agent("run", &[&bare[..], &["--deadline=3s"]].concat()).await.unwrap();
    assert_ne!(run.code, 0, "{}", run.stderr);
    assert_eq!(stranger.environment(), Ok(None));
}

/// EC2 has forgotten the dead member, so its grace has to pass; the clock is set in the middle of it, as a time service
/// does at a first boot.
async fn f36_a_clock_that_is_set_back_prolongs_no_grace(mut rig: Rig) {
    if let Err(why) = rig.setup.with_clocks("target".as_ref()) {
        return skip(why);
    }
    let (_, nodes) = replace_a_forgotten_one(&rig).await;
    let suspects = async || match nodes[2].log("agent.log").contains("what becomes of member") {
        true => Ok(()),
        false => Err("the member is not suspected yet".to_owned()),
    };
    until(PATIENCE, suspects).await.unwrap();
    // Well into the grace, which begins with the second look.
    tokio::time::sleep(Duration::from_secs(3)).await;
    nodes[2].set_clock(-3600).unwrap();
    whole(&rig, &nodes).await;
}

/// The address of a dead instance is silent, and waiting for it costs a second and a half. EC2's first reply tells of it.
async fn f05_f66_who_is_dead_is_known_in_the_first_pass(rig: Rig) {
    let mut nodes = form(&rig, 3).await;
    tagged(&nodes).await;
    // Not the leader: while the others elect a new one, the first pass has no quorum to ask.
    let leader = rig.judge.leader(&addresses(&nodes)).await;
    let follower = nodes.iter().position(|node| Some(node.address) != leader).unwrap();
    let dead = nodes.remove(follower);
    rig.terminate(&dead).await;
    nodes.push(rig.launch(Some(GROUP)).unwrap());
    rig.aws.forget_calls();
    nodes[2].boot();
    whole(&rig, &nodes).await;
    let log = nodes[2].log("agent.log");
    let first = log.lines().find(|line| line.contains("decision=")).unwrap_or_default();
    assert!(first.contains("decision=remove"), "{log}");
    let asked_for_ids = rig.aws.calls().into_iter().filter(|call| {
        call.action == Action::DescribeInstances.name() && call.parameters.values().any(|value| *value == dead.instance)
    });
    assert_eq!(asked_for_ids.count(), 0, "the group's tag tells of it");
}

async fn f66_one_pass_asks_aws_three_times_whatever_the_size(rig: Rig) {
    for size in [3, 5, 50] {
        let group = format!("of-{size}");
        rig.group(&group, size);
        let nodes = rig.launch_many(&group, size as usize).unwrap();
        rig.aws.forget_calls();
        // A dry run makes two passes.
        let run = nodes[0].agent("run", &["--dry-run"]).await.unwrap();
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert_eq!(rig.aws.count(Action::DescribeAutoScalingInstances), 1, "{size}");
        assert_eq!(rig.aws.count(Action::DescribeAutoScalingGroups), 2, "{size}");
        assert_eq!(rig.aws.count(Action::DescribeInstances), 2, "{size}");
    }
}
