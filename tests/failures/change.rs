//! Changes of the member list that cross each other, get lost, or meet members of all kinds.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use etcd_client::{Client, MemberAddOptions};
use tokio::net::TcpListener;

use crate::scenario::{
    GROUP, PATIENCE, add, agent, cluster_id, form, intact, members, on_both_ends, on_every_etcd, on_one_etcd, put,
    whole,
};
use crate::support::etcd::{MemberList, until};
use crate::support::node::{Event, Node};
use crate::support::relay::{Fate, Relay};
use crate::support::rig::{Rig, addresses, environment_by_hand};

on_every_etcd!(
    f14_f27_f56_a_second_join_waits_for_the_first,
    f20_a_members_own_old_list_is_no_authority,
    f22_f25_f26_f42_what_others_have_done_meanwhile_is_done,
    f53_f54_a_learner_that_nobody_promotes_is_waited_for_and_pruned_when_dead,
    f124_two_that_were_added_at_once_start_one_after_the_other,
);

on_both_ends!(
    f15_f16_a_change_without_an_answer_is_looked_for_before_it_is_asked_again,
    f17_f18_f19_members_of_all_kinds_are_in_the_initial_cluster,
    f32_the_address_of_another_live_member_is_refused,
    f57_f60_an_etcd_without_its_http_gateway_is_understood,
    f75_a_unit_with_flags_of_its_own_gets_the_initial_cluster_alone,
);

on_one_etcd!(
    b09_f92_a_hand_made_member_whose_instance_was_replaced_is_named,
    f54_a_learner_whose_client_port_is_silent_is_promoted_before_that_is_asked,
);

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
    // Not exactly: on a busy machine others may come late too.
    assert!(log.matches("no answer within 5 s").count() >= 2, "each change has a deadline: {log}");
    assert!(log.contains("reason=resume") && !log.contains("added http"), "{log}");
    assert_eq!(relay.changes(), 2, "there is no third add: {log}");
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

async fn f53_f54_a_learner_that_nobody_promotes_is_waited_for_and_pruned_when_dead(rig: Rig) {
    let first = form(&rig, 1).await.remove(0);
    rig.cloud.change(|world| world.set_desired(GROUP, 3));
    let stuck = rig.launch(Some(GROUP)).unwrap();
    let run = agent(&stuck, &[]).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    // Without metadata, and without what it knew of them, `ready` promotes nobody.
    stuck.imds.unplug().await;
    std::fs::remove_file(stuck.state_dir().join("identity.json")).unwrap();
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

/// Two changes at the same moment may both be taken, though etcd takes no second one while a member has not started.
async fn f124_two_that_were_added_at_once_start_one_after_the_other(mut rig: Rig) {
    rig.setup.agent_arguments.push("--join-as=voter".into());
    rig.setup.etcd_environment.insert("ETCD_STRICT_RECONFIG_CHECK".into(), "false".into());
    let mut nodes = form(&rig, 3).await;
    let mut client = rig.judge.client(&addresses(&nodes)).await.unwrap();
    rig.cloud.change(|world| world.set_desired(GROUP, 5));
    rig.programs.etcd = both_at_once(&rig);
    let joiners = rig.launch_many(GROUP, 2).unwrap();
    for joiner in &joiners {
        add(&mut client, joiner, None).await;
    }
    joiners.iter().for_each(Node::boot);
    nodes.extend(joiners);
    whole(&rig, &nodes).await;
}

/// An etcd that starts in the same moment as another one of its kind, where there is one within two seconds.
fn both_at_once(rig: &Rig) -> PathBuf {
    let (etcd, here) = (rig.programs.etcd.display(), rig.directory.path().join("started"));
    std::fs::create_dir(&here).unwrap();
    let script = format!(
        "#!/bin/bash\n\
         [ \"$1\" != --version ] || exec {etcd} --version\n\
         cd {}; touch $ETCD_NAME\n\
         started=(*)\n\
         while [ ${{#started[@]}} -lt 2 ] && [ $SECONDS -lt 3 ]; do sleep 0.01; started=(*); done\n\
         exec {etcd} \"$@\"\n",
        here.display()
    );
    rig.directory.script("etcd-in-company", &script).unwrap()
}

/// An etcd that has missed the word of its own publication leaves its client port silent for 7 s, and could vote.
async fn f54_a_learner_whose_client_port_is_silent_is_promoted_before_that_is_asked(rig: Rig) {
    let mut nodes = form(&rig, 1).await;
    let mut client = rig.judge.client(&addresses(&nodes)).await.unwrap();
    rig.cloud.change(|world| world.set_desired(GROUP, 2));
    let joiner = rig.launch(Some(GROUP)).unwrap();
    let address = joiner.address;
    add(&mut client, &joiner, Some(MemberAddOptions::new().with_is_learner())).await;
    let silent = TcpListener::bind((address, 2379)).await.unwrap();
    nodes.push(joiner);
    let environment = environment_by_hand(&nodes[1], &nodes).replace("STATE=new", "STATE=existing");
    nodes[1].boot_by_hand(&environment.replace(":2379", ":2479"));
    tokio::select! {
        asked = silent.accept() => drop(asked.unwrap()),
        run = nodes[1].agent("ready", &[]) => panic!("it ends: {}", run.unwrap().stderr),
    }
    rig.judge.votes(address, nodes[0].address, Duration::ZERO).await.unwrap();
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

async fn b09_f92_a_hand_made_member_whose_instance_was_replaced_is_named(rig: Rig) {
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
    // The dead one may have led, and it is silent: the others need their time to elect another.
    let run = agent(&rig.launch(Some(GROUP)).unwrap(), &["--deadline=15s"]).await;
    assert_eq!(run.code, 75, "{}", run.stderr);
    let last = run.stderr.lines().last().unwrap_or_default();
    let name = format!("etcd-{}", dead.address);
    assert!([&name, "foreign-in-the-way", "--prune-foreign"].iter().all(|word| last.contains(*word)), "{}", run.stderr);
    assert_eq!(members(&rig, &nodes[0]).await.unwrap(), before);
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

pub fn holds(list: &MemberList, node: &Node) -> Result<(), String> {
    let url = format!("http://{}:2380", node.address);
    let found = list.members.iter().any(|m| m.peer_urls.contains(&url));
    found.then_some(()).ok_or_else(|| format!("{url} is not in {list:?}"))
}
