//! What goes along with etcd's start: promote the own member from learner through a voter (F53, F54), wait until it is
//! published and in sync, say so to systemd, and write the cluster's id to the group's tag until it is there.
//!
//! Started beside etcd, not after it. Idempotent, and bounded by `--deadline`.

use std::collections::BTreeMap;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::disk;
use crate::model::{
    BlindKind, CLUSTER_TAG, ClusterId, Identity, InitialCluster, Member, MemberId, OwnData, PeerAnswer, Policy, Reason,
    Seen,
};
use crate::observe::{Observer, Own};
use crate::reason::Exit;
use crate::remote::etcd::{self, Refusal};
use crate::run::{Setup, UNTAGGED, fail_for};

/// A learner of a small cluster is in sync within a few of these. One that waits for a large snapshot looks again after
/// a tenth of the time that it has waited for the same thing, and at most after the last.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
const LOOK_AGAIN_LAST: Duration = Duration::from_secs(2);

/// A tag that could not be written is tried again after half to all of this at first, twice as long each time, and at
/// most of the last: some calls a minute of a whole group, which can go on for ever.
const TAG_AGAIN_FIRST: Duration = Duration::from_secs(1);
const TAG_AGAIN_LAST: Duration = Duration::from_secs(60);

/// Waits, promotes, tags.
pub async fn ready(setup: &Setup) -> Exit {
    if let Some(why) = &setup.trouble {
        error!("{why}");
        return Exit::Person;
    }
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
    // What comes after this unit must not wait for the tag. Outside of a unit of `Type=notify` nobody listens.
    if let Err(e) = sd_notify::notify(&[NotifyState::Ready]) {
        warn!("tell systemd that the member is ready: {e}, ignoring");
    }
    let force = setup.options.policy().initial_cluster == InitialCluster::Force;
    let until = setup.options.deadline.0.map(|deadline| started + deadline);
    tag_until(&mut observer, cluster, force, until).await
}

/// Looks until the member is a voter; `last` says what it waits for, and the exit code should it wait in vain.
async fn until_voter(setup: &Setup, observer: &mut Observer, last: &mut (String, Exit)) -> ClusterId {
    let mut since = Instant::now();
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
            since = Instant::now();
        }
        *last = waiting_for;
        tokio::time::sleep((since.elapsed() / 10).clamp(LOOK_AGAIN, LOOK_AGAIN_LAST)).await;
    }
}

/// One look at the own member, and one promotion where it is still a learner.
///
/// The peer port tells before the client port does. A joining etcd that gets its own publication in a snapshot never
/// sees the answer, and tries again 7 s later (5 s and two elections; server.go `publishV3`, v3.7.1). It can vote long
/// before.
async fn step(setup: &Setup, observer: &Observer, me: &Identity) -> Result<ClusterId, String> {
    let policy = setup.options.policy();
    let urls = policy.peer_url(&me.addresses).zip(policy.client_url(&me.addresses));
    let (peer_url, client_url) = urls.ok_or("the metadata gives this instance no address")?;
    let id = own_member(setup)?;
    let PeerAnswer::Member(peer) = observer.ask_peer(&peer_url).await else {
        return Err(format!("{peer_url} does not answer as etcd"));
    };
    // A joining etcd's list is empty until it has applied the leader's snapshot or log.
    let row = peer.members.iter().find(|m| m.id == id).ok_or("the member is not in its own list yet")?;
    if row.learner {
        promote(setup, &policy, id, &peer.members).await?;
    }
    let tls = setup.client_tls.as_deref();
    let view = etcd::fetch_client_view(tls, &client_url).await.map_err(|e| format!("{client_url}: {e}"))?;
    match &view.quorum_list {
        Seen::Yes(list) if is_voter(list, id) => Ok(view.cluster_id),
        Seen::Yes(_) => Err("the member is not listed as a published voter yet".into()),
        Seen::No(blind) if blind.kind == BlindKind::Denied && view.leader.is_some() && !view.learner => {
            Ok(view.cluster_id)
        }
        Seen::No(blind) => Err(blind.why.clone()),
    }
}

/// Which member this node is, as etcd's own log says.
fn own_member(setup: &Setup) -> Result<MemberId, String> {
    match disk::read_own_data(&setup.options.data_dir, setup.options.wal_dir.as_deref()) {
        OwnData::Log { member_id, .. } => Ok(member_id),
        OwnData::Empty | OwnData::NoLog => Err("etcd has not made its log yet".into()),
        OwnData::Unreadable { why } => Err(why),
    }
}

fn is_voter(list: &[Member], id: MemberId) -> bool {
    list.iter().any(|m| m.id == id && m.published() && !m.learner)
}

async fn promote(setup: &Setup, policy: &Policy, id: MemberId, list: &[Member]) -> Result<(), String> {
    let voters = list.iter().filter(|m| !m.learner && m.id != id);
    let mut why = "no voter is known that could promote it".to_owned();
    for url in voters.filter_map(|m| m.peer_urls.first()).map(|url| policy.client_url_beside(url)) {
        match etcd::promote_member(setup.client_tls.as_deref(), &url, id).await {
            Ok(()) => {
                info!(member = %id, via = %url, "promoted");
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

/// Writes the tag, again and again until it is there; `until` is the last moment, None for ever.
async fn tag_until(observer: &mut Observer, cluster: ClusterId, force: bool, until: Option<Instant>) -> Exit {
    let began = Instant::now();
    let mut pause = TAG_AGAIN_FIRST;
    loop {
        let reason = match tag(observer, cluster, force).await {
            Ok(()) => return Exit::Done,
            Err(Reason::GroupBlind(blind)) => Reason::GroupBlind(blind),
            Err(other) => return fail_for(&other),
        };
        // All nodes of a fresh group are here in the same second.
        let next = Instant::now() + pause.mul_f64(0.5 + fastrand::f64() / 2.0);
        let patient = reason.patience().is_none_or(|patience| began.elapsed() < patience);
        if !patient || until.is_some_and(|until| until <= next) {
            error!(reason = reason.code(), "{reason}: the group is not tagged with cluster {cluster}: {UNTAGGED}");
            return reason.exit();
        }
        if pause == TAG_AGAIN_FIRST {
            warn!("{reason}: the group is not tagged yet, trying again");
        }
        pause = (pause * 2).min(TAG_AGAIN_LAST);
        tokio::time::sleep_until(next).await;
    }
}

/// Writes the tag where it does not name this member's cluster; over another name only by `force`.
async fn tag(observer: &mut Observer, cluster: ClusterId, force: bool) -> Result<(), Reason> {
    let group = observer.fetch_group().await.map_err(Reason::GroupBlind)?;
    match group.cluster_tag {
        Some(tag) if cluster.is_meant_by(&tag) => return Ok(()),
        Some(tag) if !force => return Err(Reason::NotTheTaggedCluster { tag, seen: cluster }),
        Some(tag) => warn!("--initial-cluster-policy=force: the group's tag '{CLUSTER_TAG}' named cluster {tag}"),
        None => {}
    }
    let (aws, _) = observer.aws().await.map_err(Reason::GroupBlind)?;
    let tags = BTreeMap::from([(CLUSTER_TAG.to_owned(), cluster.to_string())]);
    aws.tag_group(&group.name, &tags).await.map_err(Reason::GroupBlind)?;
    info!(%cluster, group = group.name, "tagged the group");
    Ok(())
}
