//! What the agent asks of others while something is down, and what others can do to it: AWS's calls are counted, a
//! neighbour floods the founders' port, names do not resolve, a proxy stands in the way.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use etcd_bootstrap::etcd::peer;
use etcd_bootstrap::founders::Listener;
use etcd_bootstrap::model::{InstanceId, MemberUrl, PeerAnswer, Scheme, Statement};
use etcd_bootstrap::model::{PATH, STATEMENT_HEADER};
use etcd_bootstrap::tls;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use crate::cli::{GROUP, Peer, alone, group_of, refuses, reply, rig, with_data};
use crate::scenario::form;
use crate::support::aws::{Action, Fault, Often};
use crate::support::cloud::REGION;
use crate::support::imds::{CREDENTIALS, IDENTITY};
use crate::support::node::Event;
use crate::support::rig::Rig;
use crate::support::skip;
use crate::support::tls::Authority;

/// The reads of AWS so far: each pass that asks makes one.
fn reads(rig: &Rig) -> usize {
    rig.aws.count(Action::DescribeAutoScalingGroups)
}

// ---------------------------------------------------------------- an outage

#[tokio::test]
async fn b14_f104_a_consumer_leaves_an_outage_to_its_timer() {
    let (rig, nodes) = group_of(2);
    rig.group("consumers", 1);
    let consumer = rig.launch(Some("consumers")).unwrap();
    let group = format!("--scaling-group-name={GROUP}");
    let options = ["--proxy-mode", &group, "--deadline=infinity"];
    drop(nodes);
    // `refuses` runs it twice at once, and looks that the last file is kept.
    refuses(&consumer, &options, 75, &["none of 2 instances answers"]).await;
    assert!(reads(&rig) <= 4, "{:?}", rig.aws.counts());
    rig.aws.forget_calls();
    rig.aws.inject(Action::DescribeInstances, Fault::Throttle, Often::Always);
    refuses(&consumer, &options, 69, &["RequestLimitExceeded"]).await;
    assert!(reads(&rig) <= 2, "{:?}", rig.aws.counts());
}

#[tokio::test]
async fn b14_f66_f104_a_node_that_is_throttled_asks_ever_less() {
    let (rig, node) = alone();
    rig.aws.inject(Action::DescribeAutoScalingGroups, Fault::Throttle, Often::Always);
    let run = node.agent("run", &["--deadline=8s"]).await.unwrap();
    assert_eq!(run.code, 69, "{}", run.stderr);
    // Twice as long a pause each time would make it seven at least.
    assert!(reads(&rig) <= 5, "{:?}", rig.aws.counts());
}

#[tokio::test]
async fn b15_f104_a_change_that_etcd_refuses_is_asked_for_less_and_less() {
    let rig = rig();
    let members = form(&rig, 3).await;
    // Its instance runs, so it is not dead; and while it is away etcd takes no new member ("unhealthy cluster").
    members[2].shut_down().await;
    rig.cloud.change(|world| world.set_desired(GROUP, 4));
    let node = rig.launch(Some(GROUP)).unwrap();
    rig.aws.forget_calls();
    let run = node.agent("run", &["--deadline=12s", "--join-as=learner"]).await.unwrap();
    assert_eq!(run.code, 75, "{}", run.stderr);
    let refusals: Vec<_> = run.stderr.lines().filter(|line| line.contains("the change is not taken")).collect();
    assert_eq!(refusals.len(), 1, "one line a reason: {}", run.stderr);
    assert!(refusals[0].contains("unhealthy cluster"), "{refusals:?}");
    assert!(reads(&rig) <= 20, "{:?}", rig.aws.counts());
}

#[tokio::test]
async fn b34_f104_ready_asks_less_and_less_for_a_promotion() {
    let (_rig, node) = with_data().await;
    let peer = Peer::start(node.address, |_| reply(404, ""));
    let run = node.agent("ready", &["--deadline=6s"]).await.unwrap();
    assert_eq!(run.code, 75, "{}", run.stderr);
    let looks = peer.seen().iter().filter(|(_, _, path)| path == "/members").count();
    // A small learner is promoted within the first second, so nothing changes there.
    assert!((8..40).contains(&looks), "{looks} looks in 6 s");
}

// ---------------------------------------------------------------- the end

#[tokio::test]
async fn b16_f105_a_name_server_that_says_nothing_does_not_hold_the_end_up() {
    let mut rig = rig();
    rig.setup.deadline = "60s".into();
    let Ok(names) = UdpSocket::bind((rig.cloud_address(), 53)) else {
        return skip("this process may not open port 53");
    };
    // As soon as the file is there, a look-up takes minutes. The mount ends with its namespace.
    let conf = rig.directory.path().join("resolv.conf");
    let (file, agent) = (conf.display(), rig.programs.agent.display());
    let inner = format!("#!/bin/sh\nmount --bind {file} /etc/resolv.conf || exit 99\nexec {agent} \"$@\"\n");
    let inner = rig.directory.script("inner", &inner).unwrap();
    let outer = format!(
        "#!/bin/sh\n[ -e {file} ] || exec {agent} \"$@\"\n\
         export AWS_ENDPOINT_URL_AUTO_SCALING=http://aws.example.com AWS_ENDPOINT_URL_EC2=http://aws.example.com\n\
         exec unshare --mount {} \"$@\"\n",
        inner.display()
    );
    rig.programs.agent = rig.directory.script("outer", &outer).unwrap();
    let node = form(&rig, 1).await.remove(0);
    node.shut_down().await;
    fs::write(&conf, format!("nameserver {}\noptions timeout:30 attempts:5\n", rig.cloud_address())).unwrap();
    let run = node.agent("run", &[]).await.unwrap();
    if run.code == 99 || run.stderr.contains("unshare") {
        return skip(format_args!("this machine lets nobody mount a file: {}", run.stderr.trim()));
    }
    assert_eq!(run.code, 0, "{}", run.stderr);
    names.set_nonblocking(true).unwrap();
    assert!(names.recv(&mut [0; 512]).is_ok(), "the name server was asked");
    assert!(run.took < Duration::from_secs(25), "{:?}: {}", run.took, run.stderr);
}

// ---------------------------------------------------------------- the founders' port

const WE: &str = "i-00000000000000001";
const THEY: &str = "i-00000000000000002";

fn statement(instance: &str, founders: &str) -> Statement {
    let instance = InstanceId::new(instance);
    let (nonce, given_up, agreed, recovers) = ("1".to_owned(), Vec::new(), None, false);
    let (group, founders) = ("arn".into(), Some(founders.into()));
    Statement { instance, group, founders, etcd: None, nonce, given_up, agreed, recovers }
}

/// A founders' port that waits for one other.
async fn port(address: SocketAddr, tls: Option<Arc<tls::Tls>>) -> Listener {
    let server = tls.and_then(|tls| tls.server.clone());
    let listener = Listener::bind(address, server).await.unwrap();
    listener.say(Some(statement(WE, "all")), BTreeSet::from([InstanceId::new(THEY)]));
    listener
}

/// Connects from an address of its own, and says this again and again for as long as it is let.
async fn pester(from: IpAddr, to: SocketAddr, what: String, answered: Arc<AtomicUsize>) {
    loop {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(from, 0)).unwrap();
        let Ok(mut stream) = socket.connect(to).await else { continue };
        while stream.write_all(what.as_bytes()).await.is_ok() {
            match tokio::time::timeout(Duration::from_millis(500), stream.read(&mut [0; 4096])).await {
                Ok(Ok(0) | Err(_)) => break,
                Ok(Ok(_)) => answered.fetch_add(1, Ordering::Relaxed),
                Err(_) => 0,
            };
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        tokio::task::yield_now().await;
    }
}

fn request(statement: &Statement, host: SocketAddr) -> String {
    let statement = serde_json::to_string(statement).unwrap();
    format!("GET {PATH} HTTP/1.1\r\nHost: {host}\r\n{STATEMENT_HEADER}: {statement}\r\n\r\n")
}

#[tokio::test]
async fn b17_f106_one_host_cannot_hold_the_founders_port() {
    let rig = rig();
    let addresses = [rig.fresh_address(), rig.fresh_address()];
    let files = Authority::new().write(rig.directory.path(), &[&addresses[1].to_string()]).unwrap();
    let files = tls::Files { ca: Some(files.ca), identity: Some((files.cert, files.key)), ..tls::Files::default() };
    let tls = tls::load(&files).unwrap();
    let ports = [(Scheme::Http, None), (Scheme::Https, Some(Arc::new(tls)))];
    for ((scheme, tls), address) in ports.into_iter().zip(addresses) {
        let address = SocketAddr::new(address.into(), 2380);
        let _listener = port(address, tls.clone()).await;
        let flood = rig.fresh_address().into();
        // Over TLS it takes places without a word.
        let what = if tls.is_none() { request(&statement(THEY, "all"), address) } else { String::new() };
        let answered = Arc::new(AtomicUsize::new(0));
        let mut flooders = tokio::task::JoinSet::new();
        for _ in 0..200 {
            flooders.spawn(pester(flood, address, what.clone(), answered.clone()));
        }
        let client = peer::client(tls.as_deref());
        let url = MemberUrl::new(scheme, &address.ip().to_string(), address.port());
        let asked = async {
            for _ in 0..5 {
                while !matches!(peer::fetch_peer(&client, &url, None).await, PeerAnswer::Agent(_)) {}
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), asked).await.expect("another founder is answered");
        flooders.shutdown().await;
    }
}

#[tokio::test]
async fn b17_f106_a_founder_is_news_a_few_times_and_a_stranger_never() {
    let rig = rig();
    let address = SocketAddr::new(rig.cloud_address().into(), 2380);
    let listener = port(address, None).await;
    let mut news = 0;
    for (instance, most) in [("i-00000000000000003", 0), (THEY, 4)] {
        for change in 0..20 {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let words = request(&statement(instance, &format!("list {change}")), address);
            stream.write_all(words.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "the port closes after its answer: {answer}");
            news += usize::from(tokio::time::timeout(Duration::ZERO, listener.news()).await.is_ok());
        }
        assert_eq!(news, most, "of {instance}");
    }
}

#[tokio::test]
async fn b17_f106_changing_statements_drive_no_calls_of_aws() {
    let (rig, nodes) = group_of(2);
    let to = SocketAddr::new(nodes[0].address.into(), 2380);
    let they = nodes[1].instance.clone();
    let answered = Arc::new(AtomicUsize::new(0));
    let flood = tokio::spawn({
        let (from, answered): (IpAddr, _) = (rig.fresh_address().into(), answered.clone());
        async move {
            for change in 0.. {
                let once = pester(from, to, request(&statement(&they, &change.to_string()), to), answered.clone());
                let _ = tokio::time::timeout(Duration::from_millis(20), once).await;
            }
        }
    });
    let run = nodes[0].agent("run", &["--deadline=10s"]).await.unwrap();
    flood.abort();
    assert_eq!(run.code, 75, "{}", run.stderr);
    assert!(answered.load(Ordering::Relaxed) > 20, "the flood got through: {answered:?}");
    // In quiet it is some nine.
    assert!(reads(&rig) <= 20, "{:?}", rig.aws.counts());
}

#[tokio::test]
async fn b28_a_container_without_the_hosts_network_is_told_so() {
    let (_rig, node) = alone();
    let document = serde_json::json!({
        "instanceId": node.instance, "region": REGION,
        // Of a network for documentation (RFC 5737), so on no host.
        "privateIp": "192.0.2.1",
    });
    node.imds.answer(IDENTITY, 200, &document.to_string());
    let run = node.agent("run", &[]).await.unwrap();
    assert_ne!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("a container needs the host's network"), "{}", run.stderr);
    assert!(!run.stderr.contains("stop what holds the port"), "{}", run.stderr);
}

#[tokio::test]
async fn b33_f51_data_that_is_mounted_late_starts_in_the_same_run() {
    let (_rig, node) = with_data().await;
    let (data, elsewhere) = (node.data_dir(), node.dir().join("not-mounted-yet"));
    fs::rename(&data, &elsewhere).unwrap();
    let held = TcpListener::bind((node.address, 2380)).unwrap();
    node.boot();
    while !node.log("agent.log").contains("stop what holds the port") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // A mount hides what was written below it meanwhile.
    fs::remove_dir_all(&data).unwrap();
    fs::rename(&elsewhere, &data).unwrap();
    let exits = |event: &Event| matches!(event, Event::AgentExited { .. });
    node.wait_for(Duration::from_secs(60), exits).await.unwrap();
    let code = node.events().into_iter().find_map(|(_, event)| match event {
        Event::AgentExited { code, .. } => Some(code),
        _ => None,
    });
    assert_eq!(code, Some(0), "{}", node.story());
    drop(held);
}

// ---------------------------------------------------------------- AWS out of reach

#[tokio::test]
async fn b29_an_instance_without_a_profile_needs_a_person() {
    let (_rig, node) = alone();
    node.imds.answer(CREDENTIALS, 404, "");
    refuses(&node, &[], 78, &["autoscaling:DescribeAutoScalingInstances", "instance profile"]).await;
    let run = node.agent("run", &["--founding=unanimous"]).await.unwrap();
    assert!(run.stderr.lines().all(|line| !line.starts_with('W')), "the SDK says nothing beside: {}", run.stderr);
}

#[tokio::test]
async fn b30_aws_is_asked_by_way_of_the_proxy_for_https() {
    let proxy = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", proxy.local_addr().unwrap());
    let asked = std::thread::spawn(move || {
        use std::io::Read as _;
        let mut text = vec![0; 1024];
        let length = proxy.accept().and_then(|(mut stream, _)| stream.read(&mut text)).unwrap();
        String::from_utf8_lossy(&text[..length]).into_owned()
    });
    let mut rig = rig();
    rig.group(GROUP, 1);
    for service in ["AUTO_SCALING", "EC2"] {
        rig.setup.agent_environment.insert(format!("AWS_ENDPOINT_URL_{service}"), "https://aws.example.com".into());
    }
    // The metadata never go there: with it as a proxy, nothing would be known of this instance.
    rig.setup.agent_environment.extend(["HTTPS_PROXY", "HTTP_PROXY"].map(|name| (name.to_owned(), url.clone())));
    let node = rig.launch(Some(GROUP)).unwrap();
    refuses(&node, &[], 69, &["autoscaling:DescribeAutoScalingInstances", "HTTPS_PROXY is set"]).await;
    let asked = asked.join().unwrap();
    assert!(asked.starts_with("CONNECT aws.example.com:443 HTTP/1.1\r\n"), "{asked}");
    assert!(!node.imds.exchanges().is_empty());
}
