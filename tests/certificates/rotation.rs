//! The runbooks of the README, carried out as they are written, under writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::never_restarted;
use crate::docs::read;
use crate::scenario::{GROUP, PATIENCE, cluster_id, intact, on_both_ends, on_every_etcd, put, whole};
use crate::support::etcd::{Judge, until};
use crate::support::node::Node;
use crate::support::rig::{Rig, addresses};
use crate::support::tls::{Authority, KEYS};

on_every_etcd!(an_authority_is_rotated_as_the_readme_says);
on_both_ends!(
    c08_an_authority_that_is_used_too_early_or_dropped_too_early_is_refused,
    c23_from_http_to_https_as_the_readme_says,
    from_certificates_that_were_brought_as_the_readme_says,
);

/// A step: what it says, and the options that it sets.
struct Step {
    says: String,
    options: String,
}

fn runbook(name: &str) -> Vec<Step> {
    let readme = read("README.md");
    let text = readme.split(&format!("<!-- runbook: {name} -->")).nth(1).expect("the README has it");
    let text = text.split("<!-- end -->").next().expect("it ends");
    let steps = text.split('\n').fold(Vec::<Step>::new(), |mut steps, line| {
        if line.starts_with(|c: char| c.is_ascii_digit()) {
            steps.push(Step { says: String::new(), options: String::new() });
        }
        if let Some(step) = steps.last_mut() {
            let part = if line.trim().starts_with("ETCD_BOOTSTRAP_") { &mut step.options } else { &mut step.says };
            part.push_str(&format!("{}\n", line.trim()));
        }
        steps
    });
    assert!(steps.iter().all(|step| !step.options.is_empty()), "each step sets something");
    steps
}

/// Two keys, a cluster by the first of them, and both judges: by the old one and by the new one.
async fn by_two_keys(rig: &mut Rig) -> (Vec<Node>, [String; 2]) {
    let keys = ["alias/old", "alias/new"].map(|alias| rig.cloud.change(|world| world.create_key(alias)));
    rig.setup.schemes = ("https", "https");
    rig.judge = rig.judge_of(&keys);
    rig.group(GROUP, 3);
    let nodes = rig.launch_many(GROUP, 3).unwrap();
    for node in &nodes {
        node.configure(&format!("ETCD_BOOTSTRAP_MEMBER_AUTHORITY={}", keys[0]));
        node.boot();
    }
    whole(rig, &nodes).await;
    (nodes, keys)
}

async fn an_authority_is_rotated_as_the_readme_says(mut rig: Rig) {
    let (nodes, keys) = by_two_keys(&mut rig).await;
    let mut client = put(&rig, &nodes).await;
    let id = cluster_id(&rig, &nodes).await;
    let [old, new] = [rig.judge.clone(), rig.judge_of(&[keys[1].clone(), keys[0].clone()])];
    let writes = Writes::begin(&[old.clone(), new.clone()], &nodes).await;
    for step in runbook("rotation") {
        let options = step.options.replace("OLD", &keys[0]).replace("NEW", &keys[1]);
        let restarts = step.says.contains("Restart the nodes one after another");
        for node in &nodes {
            node.configure(&options);
            if restarts {
                node.reboot().await;
                // Who trusts the new one alone asks for one of it.
                if !options.contains(&keys[0]) {
                    rig.judge = new.clone();
                }
                whole(&rig, &nodes).await;
            } else {
                let run = node.agent("certificate", &[]).await.unwrap();
                assert_eq!(run.code, 0, "{}", run.stderr);
            }
        }
        whole(&rig, &nodes).await;
        let text = nodes[0].agent("status", &[]).await.unwrap().stdout;
        assert!(!text.contains("restart etcd"), "after its step nothing is left to do: {text}");
    }
    writes.end().await;
    assert_eq!(cluster_id(&rig, &nodes).await, id);
    let refused = rig.judge_of(&keys[..1]).members(nodes[0].address).await;
    assert!(refused.is_none(), "a certificate of the old authority is not let in any more");
    drop(client.put("kept", "safe", None).await);
    intact(&mut new.client(&addresses(&nodes)).await.unwrap()).await;
}

async fn c08_an_authority_that_is_used_too_early_or_dropped_too_early_is_refused(mut rig: Rig) {
    let (nodes, keys) = by_two_keys(&mut rig).await;
    let files = ["node.pem", "members.pem", "servers.pem", "clients.pem"].map(|f| nodes[0].certificates().join(f));
    let content = || files.each_ref().map(|file| std::fs::read(file).unwrap());
    let before = content();
    for options in [format!("{},{}", keys[1], keys[0]), keys[1].clone()] {
        nodes[0].configure(&format!("ETCD_BOOTSTRAP_MEMBER_AUTHORITY={options}"));
        let run = nodes[0].agent("certificate", &[]).await.unwrap();
        assert_eq!(run.code, 78, "{}", run.stderr);
        assert!(run.stderr.contains("certificate-refused"), "{}", run.stderr);
        assert!(content() == before, "all is as it was");
        // At its start it goes on with what works.
        nodes[0].reboot().await;
        whole(&rig, &nodes).await;
        assert!(content() == before, "all is as it was");
    }
    assert!(nodes[1..].iter().all(never_restarted));
}

async fn c23_from_http_to_https_as_the_readme_says(mut rig: Rig) {
    // A newcomer cannot catch up from the log, but of an etcd 3.4, which has no such option.
    rig.setup.etcd_environment.insert("ETCD_SNAPSHOT_COUNT".into(), "50".into());
    for name in ["ETCD_SNAPSHOT_CATCHUP_ENTRIES", "ETCD_EXPERIMENTAL_SNAPSHOT_CATCHUP_ENTRIES"] {
        rig.setup.etcd_environment.insert(name.into(), "10".into());
    }
    let keys = KEYS.map(|alias| rig.cloud.change(|world| world.create_key(alias)));
    rig.group(GROUP, 3);
    let mut nodes = rig.launch_many(GROUP, 3).unwrap();
    nodes.iter().for_each(Node::boot);
    whole(&rig, &nodes).await;
    let mut client = put(&rig, &nodes).await;
    for n in 0..200 {
        client.put("many", n.to_string(), None).await.unwrap();
    }
    let id = cluster_id(&rig, &nodes).await;
    let certified = rig.judge_of(&keys[..1]);
    let [first, second] = <[Step; 2]>::try_from(runbook("http")).ok().expect("two steps");
    let plain = rig.judge.clone();
    let writes = Writes::begin(&[plain.clone(), certified.clone()], &nodes).await;

    let client_port = certified.clone().over("https", "http");
    for node in &nodes {
        node.configure(&first.options);
        node.reboot().await;
        serve(&[&plain, &client_port], &nodes).await;
    }
    rig.judge = client_port;
    whole(&rig, &nodes).await;

    assert!(second.says.contains("etcdctl member update ID --peer-urls=https://ADDRESS:2380"));
    let update = async |node: &Node| {
        let list = certified.clone().over("https", "http").members(node.address).await.expect("it tells its members");
        let member = list.member(&node.instance).expect("it is one").id;
        let others: Vec<_> = addresses(&nodes);
        let mut client = certified.client(&others).await.unwrap();
        let url = [format!("https://{}:2380", node.address)];
        let ask = async || client.member_update(member, url.clone()).await.map(drop).map_err(|e| e.to_string());
        until(PATIENCE, ask).await.unwrap();
        node.configure(&second.options);
        node.reboot().await;
        serve(&[&certified], std::slice::from_ref(node)).await;
    };
    update(&nodes[0]).await;
    // In the middle of it an instance is replaced, and the new one is on https at once. It needs a snapshot.
    update(&nodes[1]).await;
    let dead = nodes.remove(2);
    rig.terminate(&dead).await;
    let fresh = rig.launch(Some(GROUP)).unwrap();
    fresh.configure(&second.options);
    fresh.boot();
    nodes.push(fresh);
    rig.judge = certified;
    whole(&rig, &nodes).await;
    writes.end().await;
    assert_eq!(cluster_id(&rig, &nodes).await, id);
    intact(&mut rig.judge.client(&addresses(&nodes)).await.unwrap()).await;
}

async fn from_certificates_that_were_brought_as_the_readme_says(mut rig: Rig) {
    let key = rig.cloud.change(|world| world.create_key("alias/etcd-members"));
    rig.setup.schemes = ("https", "https");
    rig.group(GROUP, 3);
    let nodes = rig.launch_many(GROUP, 3).unwrap();
    let brought = Authority::new();
    // Where the README has its directory, each node has its own here.
    let directory = |node: &Node| node.dir().join("brought");
    let options = |step: &Step, node: &Node| {
        step.options
            .replace("=KEY", &format!("={key}"))
            .replace("/etc/ssl/certs/etcd", &directory(node).display().to_string())
    };
    let steps = runbook("brought");
    for node in &nodes {
        let dir = directory(node);
        std::fs::create_dir_all(&dir).unwrap();
        let files = brought.write(&dir, &[&node.address.to_string(), "127.0.0.1"]).unwrap();
        for (from, to) in [(&files.cert, "server.pem"), (&files.key, "server-key.pem"), (&files.cert, "peer.pem")] {
            std::fs::copy(from, dir.join(to)).unwrap();
        }
        std::fs::copy(&files.key, dir.join("peer-key.pem")).unwrap();
        std::fs::copy(&files.ca, dir.join("peer-ca.pem")).unwrap();
        rig.judge = files.judge().unwrap();
        node.configure(&options(&steps[0], node));
        node.boot();
    }
    whole(&rig, &nodes).await;
    intact(&mut put(&rig, &nodes).await).await;
    let id = cluster_id(&rig, &nodes).await;
    let anchor = nodes[0].agent_exactly(&authority_of(&key)).await.unwrap().stdout;
    assert!(anchor.contains("BEGIN CERTIFICATE"), "{anchor}");

    let judge_dir = rig.directory.path().join("judge");
    std::fs::create_dir_all(&judge_dir).unwrap();
    let old = brought.write(&judge_dir, &["127.0.0.1"]).unwrap();
    append(&old.ca, &anchor);
    rig.judge = old.judge().unwrap();
    let new = rig.judge_of(std::slice::from_ref(&key));
    let writes = Writes::begin(&[rig.judge.clone(), new.clone()], &nodes).await;
    for (number, step) in steps.iter().enumerate() {
        for node in &nodes {
            if number == 0 {
                ["ca.pem", "peer-ca.pem"].iter().for_each(|file| append(&directory(node).join(file), &anchor));
            }
            node.configure(&options(step, node));
            node.reboot().await;
            if number == 2 {
                rig.judge = new.clone();
            }
            whole(&rig, &nodes).await;
        }
    }
    writes.end().await;
    assert_eq!(cluster_id(&rig, &nodes).await, id);
    assert!(
        old.judge().unwrap().members(nodes[0].address).await.is_none(),
        "the old authority is not trusted any more"
    );
    intact(&mut new.client(&addresses(&nodes)).await.unwrap()).await;
}

/// The command of the first step.
fn authority_of(key: &str) -> Vec<String> {
    let command = &runbook("brought")[0].says;
    let command =
        command.split("`etcd-bootstrap ").nth(1).and_then(|rest| rest.split('`').next()).expect("it is named");
    command.split_whitespace().map(|word| word.replace("KEY", key)).collect()
}

fn append(file: &std::path::Path, text: &str) {
    let old = std::fs::read_to_string(file).unwrap();
    std::fs::write(file, old + text).unwrap();
}

/// Waits until each node is healthy, as one of the judges sees it.
async fn serve(judges: &[&Judge], nodes: &[Node]) {
    for node in nodes {
        let healthy = async || {
            for judge in judges {
                if judge.is_healthy(node.address).await {
                    return Ok(());
                }
            }
            Err(format!("{} is not healthy\n{}", node.address, node.story()))
        };
        until(PATIENCE, healthy).await.unwrap();
    }
}

/// Somebody who writes all the time, by whichever judge is let in.
struct Writes {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<Duration>,
}

impl Writes {
    async fn begin(judges: &[Judge], nodes: &[Node]) -> Self {
        let (stop, written) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (judges, nodes) = (judges.to_vec(), addresses(nodes));
        let task = tokio::spawn(write(judges, nodes, Arc::clone(&stop), Arc::clone(&written)));
        Self { stop, written, task }
    }

    /// The group never stood still for longer than an election, a restart and the judge's own change of scheme take.
    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        let longest = self.task.await.unwrap();
        let written = self.written.load(Ordering::Relaxed);
        assert!(longest < Duration::from_secs(30) && written > 20, "{written} writes, the longest pause {longest:?}");
    }
}

/// Returns the longest time between two writes.
async fn write(
    judges: Vec<Judge>,
    nodes: Vec<std::net::Ipv4Addr>,
    stop: Arc<AtomicBool>,
    written: Arc<AtomicUsize>,
) -> Duration {
    let mut ways = Vec::new();
    for judge in judges {
        ways.extend(nodes.iter().map(|node| (judge.clone(), *node)));
    }
    let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
    while !stop.load(Ordering::Relaxed) {
        for (judge, node) in &ways {
            let put = async { judge.client(&[*node]).await.ok()?.put("writes", "go on", None).await.ok() };
            if let Ok(Some(_)) = tokio::time::timeout(Duration::from_secs(2), put).await {
                written.fetch_add(1, Ordering::Relaxed);
                longest = longest.max(last.elapsed());
                last = Instant::now();
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    longest
}
