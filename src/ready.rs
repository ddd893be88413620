//! What has to follow etcd's start: wait until the own member is published and in sync, promote it from learner
//! through a voter (F53, F54), and write the cluster's id to the group's tag where the role allows it.
//!
//! Idempotent, and bounded by `--deadline`.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::model::{BlindKind, CLUSTER_TAG, ClientView, ClusterId, Identity, Member, PeerAnswer, Reason, Seen};
use crate::observe::{Observer, Own};
use crate::reason::Exit;
use crate::remote::etcd::{self, Refusal};
use crate::run::Setup;

/// A learner of a small cluster is in sync within a few of these.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The tag can wait for the next start; the ready unit should not wait long for it.
const TAG_TIMEOUT: Duration = Duration::from_secs(15);

/// Waits, promotes, tags.
pub async fn ready(setup: &Setup) -> Exit {
    let mut observer = setup.observer(Own::Included);
    let started = Instant::now();
    let mut last = (String::new(), Exit::NotNow);
    let voter = until_voter(setup, &mut observer, &mut last);
    let cluster = match setup.options.deadline.0 {
        None => Some(voter.await),
        Some(deadline) => tokio::time::timeout(deadline, voter).await.ok(),
    };
    let Some(cluster) = cluster else {
        let (waiting_for, exit) = last;
        error!("the member is not ready: {waiting_for}");
        return exit;
    };
    info!(%cluster, took = ?started.elapsed(), "the member is a voter and in sync");
    tokio::time::timeout(TAG_TIMEOUT, tag(&mut observer, cluster)).await.unwrap_or_else(|_| {
        warn!("AWS did not answer in time: the group is not tagged, ignoring");
        Exit::Done
    })
}

/// Looks until the member is a voter; `last` says what it waits for, and the exit code should it wait in vain.
async fn until_voter(setup: &Setup, observer: &mut Observer, last: &mut (String, Exit)) -> ClusterId {
    loop {
        let waiting_for = match observer.identity().await {
            Err(blind) => (blind.why.clone(), Reason::MetadataBlind(blind).exit()),
            Ok(me) => match step(setup, observer, &me).await {
                Ok(cluster) => return cluster,
                Err(waiting_for) => (waiting_for, Exit::NotNow),
            },
        };
        if last.0 != waiting_for.0 {
            info!("waiting: {}", waiting_for.0);
        }
        *last = waiting_for;
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// One look at the own member, and one promotion where it is still a learner.
async fn step(setup: &Setup, observer: &Observer, me: &Identity) -> Result<ClusterId, String> {
    let policy = setup.options.policy();
    let urls = policy.peer_url(&me.addresses).zip(policy.client_url(&me.addresses));
    let (peer_url, client_url) = urls.ok_or("the metadata gives this instance no address")?;
    let tls = setup.client_tls.as_deref();
    let view = etcd::fetch_client_view(tls, &client_url).await.map_err(|e| format!("{client_url}: {e}"))?;
    if view.learner {
        let list = match observer.ask_peer(&peer_url).await {
            PeerAnswer::Member(peer) => peer.members,
            PeerAnswer::Founding(_) | PeerAnswer::Absent(_) => return Err(format!("{peer_url} does not answer")),
        };
        // A voter that has run must be seen to have run: should its disk be lost at once, it would be started again
        // under the same id, without the entries that it had acknowledged.
        if !list.iter().any(|m| m.id == view.member_id && m.published()) {
            return Err("the learner has not published its client URLs yet".into());
        }
        promote(setup, &view, &list).await?;
    }
    match &view.quorum_list {
        Seen::Yes(list) if is_voter(list, &view) => Ok(view.cluster_id),
        Seen::Yes(_) => Err("the member is not listed as a published voter yet".into()),
        Seen::No(blind) if blind.kind == BlindKind::Denied && view.leader.is_some() && !view.learner => {
            Ok(view.cluster_id)
        }
        Seen::No(blind) => Err(blind.why.clone()),
    }
}

fn is_voter(list: &[Member], view: &ClientView) -> bool {
    list.iter().any(|m| m.id == view.member_id && m.published() && !m.learner)
}

async fn promote(setup: &Setup, view: &ClientView, list: &[Member]) -> Result<(), String> {
    let voters = list.iter().filter(|m| !m.learner && m.id != view.member_id);
    let mut why = "no voter is known that could promote it".to_owned();
    for url in voters.filter_map(|m| m.client_urls.first()) {
        match etcd::promote_member(setup.client_tls.as_deref(), url, view.member_id).await {
            Ok(()) => {
                info!(member = %view.member_id, via = %url, "promoted");
                return Ok(());
            }
            Err(Refusal::AlreadySo(_)) => return Ok(()),
            // etcd has answered: another voter would say the same.
            Err(Refusal::Later(text)) if text.contains("in sync") => return Err(text),
            Err(Refusal::Later(text) | Refusal::Denied(text)) => why = format!("{url}: {text}"),
        }
    }
    Err(why)
}

/// Writes the tag where it is not there yet. Without the right to do so the cluster works as well, only less guarded.
async fn tag(observer: &mut Observer, cluster: ClusterId) -> Exit {
    let group = match observer.fetch_group().await {
        Ok(group) => group,
        Err(blind) => {
            warn!("{blind}: the group is not tagged, ignoring");
            return Exit::Done;
        }
    };
    match &group.cluster_tag {
        Some(tag) if *tag == cluster.to_string() => return Exit::Done,
        Some(tag) => {
            error!(
                "this member's cluster is {cluster}, but the group's tag '{CLUSTER_TAG}' names {tag}: \
                 if the cluster was restored on purpose, change the tag"
            );
            return Exit::Person;
        }
        None => {}
    }
    let written = match observer.aws().await {
        Ok((aws, _)) => aws.tag_group(&group.name, &cluster.to_string()).await,
        Err(blind) => Err(blind),
    };
    match written {
        Ok(()) => info!(%cluster, group = group.name, "tagged the group"),
        Err(blind) => warn!("{blind}: the group is not tagged, ignoring"),
    }
    Exit::Done
}
