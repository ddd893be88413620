//! What answers on etcd's ports and is no etcd, or not yet.

use std::fs;
use std::net::TcpListener;

use serde_json::Value;

use super::{Peer, group_of, refuses, reply, silence, version};

#[tokio::test]
async fn f03_f60_a_peer_that_cannot_be_understood_is_no_absence() {
    let (_rig, nodes) = group_of(2);
    let named = nodes[1].instance.as_str();
    let list = |urls: &str| format!("[{{\"id\":7,\"name\":\"a\",\"peerURLs\":[{urls}],\"clientURLs\":[]}}]");
    let cases: [(&str, u16, String, &str); 7] = [
        ("no URL", 200, list("\"not a url\""), "'not a url' is not a URL"),
        ("no scheme", 200, list("\"10.0.0.1:2380\""), "10.0.0.1:2380"),
        ("another scheme", 200, list("\"unix://a:1\""), "'unix' is neither http nor https"),
        ("half a list", 200, "[{\"id\":7,".into(), "unreadable reply"),
        ("no list", 200, "<html>".into(), "unreadable reply"),
        ("404", 404, String::new(), "404"),
        ("500", 500, String::new(), "500"),
    ];
    for (what, status, body, word) in cases {
        let peer = Peer::start(nodes[1].address, move |path| match path {
            "/version" => version(),
            _ => reply(status, &body),
        });
        let error = refuses(&nodes[0], &[], 75, &[named, word]).await;
        let asked = peer.seen();
        assert!(!asked.is_empty() && asked.iter().all(|(_, method, _)| method == "GET"), "{what}: {error} {asked:?}");
        peer.stop().await;
    }
}

#[tokio::test]
async fn f61_silent_peers_cost_one_deadline_and_are_named() {
    let (_rig, nodes) = group_of(2);
    let _silent = silence(nodes[1].address);
    refuses(&nodes[0], &["--deadline=8s"], 75, &[&nodes[1].instance, "no answer within"]).await;
}

/// Its client port accepts and says nothing until then, for 7 s at times.
#[tokio::test]
async fn the_client_port_of_an_etcd_that_is_not_published_yet_is_not_waited_for() {
    let (_rig, nodes) = group_of(2);
    let _silent = TcpListener::bind((nodes[1].address, 2379)).unwrap();
    for (client_urls, awaited) in [("", false), ("http://10.0.0.1:2379", true)] {
        let list = format!(
            "[{{\"id\":1,\"peerURLs\":[\"http://{}:2380\"],\"clientURLs\":[{client_urls:?}]}}]",
            nodes[1].address
        );
        let list = list.replace("[\"\"]", "[]");
        let peer = Peer::start(nodes[1].address, move |path| match path {
            "/version" => version(),
            "/members" => reply(200, &list),
            _ => reply(404, ""),
        });
        refuses(&nodes[0], &["--deadline=4s"], 75, &["no quorum"]).await;
        let record = fs::read(nodes[0].environment_file().with_extension("observation.json")).unwrap();
        let record: Value = serde_json::from_slice(&record).unwrap();
        let probe = &record["observation"]["probes"][0];
        assert_eq!(!probe["client"].is_null(), awaited, "{probe}");
        peer.stop().await;
    }
}
