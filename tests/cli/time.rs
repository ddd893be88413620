//! What is asked at the same time.

use super::{Peer, READS, group_of, reply};
use crate::support::http::Rendezvous;
use crate::support::imds::{IDENTITY, TARGET_STATE};

/// What the identity is made of, as far as no answer is needed to ask for it.
const OF_THE_IDENTITY: [&str; 5] =
    [IDENTITY, TARGET_STATE, "/latest/meta-data/local-hostname", "/latest/meta-data/ipv6", "/latest/meta-data/mac"];

/// Nobody answers before all are there that need no answer: whoever asked one after the other would get none.
#[tokio::test]
async fn requests_that_do_not_need_each_other_are_made_at_the_same_time() {
    let (rig, nodes) = group_of(3);
    let identity = nodes[0].imds.gather(&OF_THE_IDENTITY);
    let [of_the_node, of_the_group @ ..] = READS.map(|(action, _)| action);
    let group = rig.aws.gather(&of_the_group);
    // Three of each peer, on one port.
    let ports = Rendezvous::of(6);
    let peers: Vec<Peer> =
        nodes[1..].iter().map(|node| Peer::start_at(&ports, node.address, |_| reply(404, ""))).collect();
    let run = nodes[0].agent("run", &["--dry-run", "--deadline=60s"]).await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);

    assert!(identity.happened(), "the identity in one go, not in five: {:?}", nodes[0].imds.exchanges());
    let calls = rig.aws.calls();
    assert!(group.happened(), "the group and its instances side by side: {calls:?}");
    let asked: Vec<_> = peers.iter().map(Peer::seen).collect();
    assert!(ports.happened(), "all ports of all peers at once: {asked:?}");
    assert_eq!(calls[0].action, of_the_node.name());
    let first_asked = asked.iter().flatten().map(|(at, ..)| *at).min().unwrap();
    assert!(calls[..3].iter().all(|call| call.at < first_asked), "who the peers are is known from AWS");
}
