//! What the agent asks of others while something is down, and what others can do to it: AWS's calls are counted, a
//! neighbour floods the founders' port, names do not resolve, a proxy stands in the way.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use etcd_bootstrap::founder::{Listener, PATH, STATEMENT_HEADER};
use etcd_bootstrap::model::{InstanceId, MemberUrl, PeerAnswer, Scheme, Statement};
use etcd_bootstrap::remote::peer;
use etcd_bootstrap::tls;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use crate::cli::{group_of, rig};
use crate::support::aws::Action;
use crate::support::rig::Rig;
use crate::support::tls::Authority;

/// The reads of AWS so far: each pass that asks makes one.
fn reads(rig: &Rig) -> usize {
    rig.aws.count(Action::DescribeAutoScalingGroups)
}

// ---------------------------------------------------------------- the founders' port

const WE: &str = "i-00000000000000001";
const THEY: &str = "i-00000000000000002";

fn statement(instance: &str, founders: &str) -> Statement {
    let instance = InstanceId::new(instance);
    Statement { instance, group: "arn".into(), founders: Some(founders.into()), etcd: None }
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
    let tls = tls::load(&tls::Files { ca: Some(files.ca), identity: Some((files.cert, files.key)) }).unwrap();
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
                while !matches!(peer::fetch_peer(&client, &url, None).await, PeerAnswer::Founding(_)) {}
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
