//! A directory that all nodes share.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{ONE_SLOT, assert_whole, files, fill, leader, snapshot};
use crate::scenario::{PATIENCE, cluster_id, form, on_every_etcd, on_one_etcd, told_systemd};
use crate::status::valid;
use crate::support::etcd::until;
use crate::support::node::Node;
use crate::support::rig::Rig;

on_every_etcd!(one_is_taken_by_whoever_comes_first);

on_one_etcd!(
    systemd_is_told_which_snapshot_is_on_its_way,
    r11_a_killed_upload_leaves_its_slot_to_the_others,
    r13_silence_is_seen_on_every_node_and_ends_by_itself,
    monitors_see_the_newest,
    a_wrong_option_of_snapshots_keeps_no_etcd_from_starting,
    a_survivor_is_taken_before_it_is_touched,
    what_a_directory_may_lack_is_named,
);

fn shared(rig: &Rig) -> String {
    let directory = rig.directory.path().join("shared");
    std::fs::create_dir_all(&directory).unwrap();
    directory.display().to_string()
}

async fn one_is_taken_by_whoever_comes_first(rig: Rig) {
    let nodes = form(&rig, 3).await;
    fill(&rig, &nodes, 2).await;
    let (cluster, to) = (cluster_id(&rig, &nodes).await, shared(&rig));
    let leader = leader(&rig.judge, &nodes).await;
    let dry = snapshot(&nodes[(leader + 1) % 3], &to, &["--dry-run"]).await;
    assert!(dry.code == 0 && dry.stderr.contains("would take the snapshot"), "{}", dry.stderr);
    assert_eq!(files(Path::new(&to)), [] as [&str; 0]);

    // All at once: of the followers one writes it, and the leader is not in a hurry, or it is late in the slot.
    let run = async |node: &Node| snapshot(node, &to, &[ONE_SLOT]).await;
    let runs = tokio::join!(run(&nodes[0]), run(&nodes[1]), run(&nodes[2]));
    for run in [&runs.0, &runs.1, &runs.2] {
        assert_eq!(run.code, 0, "{}", run.stderr);
    }
    let there = files(Path::new(&to));
    assert!(there.len() == 1 && there[0].starts_with(&format!("daily/{cluster}/")), "{there:?}");
    let path = Path::new(&to).join(&there[0]);
    assert_whole(&std::fs::read(&path).unwrap(), &there[0]);
    let before = std::fs::metadata(&path).unwrap().modified().unwrap();
    for node in &nodes {
        let run = run(node).await;
        assert!(run.code == 0 && run.stderr.contains("reason=snapshot-kept"), "{}", run.stderr);
    }
    assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), before);

    // By hand there is one more, whatever is there.
    let run = snapshot(&nodes[leader], &to, &["--now"]).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    let there = files(Path::new(&to));
    assert!(there.len() == 2 && there[1].starts_with(&format!("manual/{cluster}/")), "{there:?}");
    assert_whole(&std::fs::read(Path::new(&to).join(&there[1])).unwrap(), &there[1]);
}

/// Sets the agents' clocks so many seconds ahead, to the first of a slot of this length, whatever the time is.
fn at_the_beginning_of_a_slot<'a>(nodes: impl IntoIterator<Item = &'a Node>, ahead: i32, every: u64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    for node in nodes {
        node.set_clock(ahead - i32::try_from(now % every).unwrap()).unwrap();
    }
}

/// In each of 20 slots one run is killed while it writes, and the next one of another node takes the slot: one whole
/// snapshot a slot, and nothing else in the end.
async fn r11_a_killed_upload_leaves_its_slot_to_the_others(mut rig: Rig) {
    rig.setup.with_clocks(Path::new("target")).unwrap();
    let nodes = form(&rig, 3).await;
    fill(&rig, &nodes, 24).await;
    let to = shared(&rig);
    let leader = leader(&rig.judge, &nodes).await;
    let followers = [&nodes[(leader + 1) % 3], &nodes[(leader + 2) % 3]];
    let more = ["--snapshot-every=20m"];
    let there = || -> (Vec<String>, Vec<String>) {
        files(Path::new(&to)).into_iter().partition(|name| name.ends_with(".part"))
    };
    for slot in 0..20 {
        at_the_beginning_of_a_slot(followers, slot * 1200, 1200);
        let (first, second) = (followers[slot as usize % 2], followers[(slot as usize + 1) % 2]);
        let (left, whole) = there();
        let is_writing = async {
            while there().0.iter().all(|part| left.contains(part)) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            run = snapshot(first, &to, &more) => panic!("it ended before it was killed: {}", run.stderr),
            () = is_writing => {}
        }
        assert_eq!(there().1, whole, "it was killed while it wrote");
        let run = snapshot(second, &to, &more).await;
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert_eq!(there().1.len(), whole.len() + 1, "{}", run.stderr);
    }
    let (rest, whole) = there();
    // What the last kill has left is the node's to clear away with its next one.
    assert!(rest.len() <= 2, "{rest:?}");
    assert_eq!(whole.len(), 20, "{whole:?}");
    for name in whole {
        assert_whole(&std::fs::read(Path::new(&to).join(&name)).unwrap(), &name);
    }
}

async fn r13_silence_is_seen_on_every_node_and_ends_by_itself(mut rig: Rig) {
    rig.setup.with_clocks(Path::new("target")).unwrap();
    let nodes = form(&rig, 3).await;
    let to = shared(&rig);
    let leader = leader(&rig.judge, &nodes).await;
    let follower = &nodes[(leader + 1) % 3];
    assert_eq!(snapshot(follower, &to, &[]).await.code, 0);
    let status = async |node: &Node| node.agent("status", &[&format!("--snapshot-to={to}")]).await.unwrap();
    let for_programs = async || {
        let place = format!("--snapshot-to={to}");
        let run = nodes[leader].agent("status", &[&place, "--output=json"]).await.unwrap();
        (run.code, valid(&run)["snapshots"].clone())
    };
    let (code, none) = for_programs().await;
    assert!(code == 75 && none["ill"].as_str().unwrap().starts_with("none was taken here yet"), "{none}");
    assert_eq!(snapshot(&nodes[leader], &to, &[]).await.code, 0);
    let sound = status(&nodes[leader]).await;
    assert!(sound.code == 0 && sound.stdout.contains("snapshot: daily/"), "{}{}", sound.stdout, sound.stderr);
    let (code, kept) = for_programs().await;
    assert!(code == 0 && kept["newest"]["bytes"].as_u64().unwrap() > 0 && kept["ill"].is_null(), "{kept}");

    // Three hours later nobody can write any more: a file is where the next one's directory would be.
    at_the_beginning_of_a_slot(&nodes, 3 * 3600, 3600);
    let closed = Path::new(&to).join("recent");
    std::fs::write(&closed, "").unwrap();
    for node in &nodes {
        let run = snapshot(node, &to, &[]).await;
        assert!(run.code != 0 && run.stderr.contains("snapshots-blind"), "{}", run.stderr);
        let late = status(node).await;
        assert!(late.code == 75 && late.stdout.contains("snapshot"), "{}{}", late.stdout, late.stderr);
    }
    std::fs::remove_file(&closed).unwrap();
    // A leader that leaves it to the others still sees that there is none.
    let first = snapshot(&nodes[leader], &to, &[]).await;
    assert!(first.code == 75 && first.stderr.contains("reason=snapshot-overdue"), "{}", first.stderr);
    assert!(first.stderr.contains("reason=snapshot-left-to-followers"), "{}", first.stderr);
    for node in [follower, &nodes[leader], &nodes[(leader + 2) % 3]] {
        let run = snapshot(node, &to, &[]).await;
        assert_eq!(run.code, 0, "{}", run.stderr);
        let sound = status(node).await;
        assert_eq!(sound.code, 0, "{}{}", sound.stdout, sound.stderr);
    }
}

async fn a_survivor_is_taken_before_it_is_touched(rig: Rig) {
    let mut nodes = form(&rig, 3).await;
    fill(&rig, &nodes, 1).await;
    let to = shared(&rig);
    for node in nodes.split_off(1) {
        rig.terminate(&node).await;
    }
    let run = snapshot(&nodes[0], &to, &["--now"]).await;
    assert!(run.code == 75 && run.stderr.contains("not-serving"), "{}", run.stderr);
    assert_eq!(files(Path::new(&to)), [] as [&str; 0]);
    let run = snapshot(&nodes[0], &to, &["--now", "--without-quorum"]).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    let there = files(Path::new(&to));
    assert!(there.len() == 1 && there[0].starts_with("manual/"), "{there:?}");
    assert_whole(&std::fs::read(Path::new(&to).join(&there[0])).unwrap(), &there[0]);
}

async fn systemd_is_told_which_snapshot_is_on_its_way(rig: Rig) {
    let nodes = form(&rig, 1).await;
    let to = shared(&rig);
    let (code, told) = told_systemd(&nodes[0], "snapshot", &[&format!("--snapshot-to={to}"), "--now"]).await;
    let says = format!("STATUS=takes the snapshot {to}/manual/");
    assert!(code == Some(0) && told.contains(&says) && told.contains(" bytes"), "{code:?} {told}");
}

async fn what_a_directory_may_lack_is_named(rig: Rig) {
    let nodes = form(&rig, 1).await;
    let to = rig.directory.path().join("not-mounted").display().to_string();
    let run = snapshot(&nodes[0], &to, &[]).await;
    assert!(
        run.code == 78 && run.stderr.contains(&format!("there is no directory {to}: is it mounted?")),
        "{}",
        run.stderr
    );
    assert!(!Path::new(&to).exists(), "nothing is made in its place");
    nodes[0].shut_down().await;
    let run = snapshot(&nodes[0], &shared(&rig), &[]).await;
    assert!(run.code == 75 && run.stderr.contains("not-serving"), "{}", run.stderr);
}

async fn monitors_see_the_newest(mut rig: Rig) {
    let metrics = rig.directory.path().join("etcd-bootstrap.prom");
    rig.setup.agent_arguments.push(format!("--metrics-file={}", metrics.display()));
    rig.setup.watches = true;
    let nodes = form(&rig, 1).await;
    let to = shared(&rig);
    let run = snapshot(&nodes[0], &to, &[]).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    let bytes = std::fs::metadata(Path::new(&to).join(&files(Path::new(&to))[0])).unwrap().len();
    let shown = async || {
        let text = std::fs::read_to_string(&metrics).unwrap_or_default();
        let wanted =
            [format!("etcd_bootstrap_snapshot_bytes {bytes}\n"), "etcd_bootstrap_snapshot_run_failed 0\n".to_owned()];
        if wanted.iter().all(|line| text.contains(line)) { Ok(()) } else { Err(text) }
    };
    until(PATIENCE, shown).await.unwrap();
}

async fn a_wrong_option_of_snapshots_keeps_no_etcd_from_starting(mut rig: Rig) {
    rig.setup.agent_arguments.extend(["--snapshot-to=gs://bucket".to_owned(), "--snapshot-every=5m".to_owned()]);
    let nodes = form(&rig, 1).await;
    assert!(nodes[0].log("agent.log").contains("--snapshot-to: neither s3:// nor a path: going on without snapshots"));
    let run = nodes[0].agent("snapshot", &[]).await.unwrap();
    assert!(run.code == 64 && run.stderr.contains("--snapshot-to: neither s3:// nor a path"), "{}", run.stderr);
}
