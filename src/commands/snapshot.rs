//! A snapshot of the cluster, taken of the own member and put where snapshots are kept, while etcd runs.
//!
//! Neither Auto Scaling nor EC2 is asked, and etcd's start never waits for it.

use std::time::{Duration, SystemTime};

use sd_notify::NotifyState;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{info, warn};

use super::tell::{fail, fail_for, notify};
use crate::clock::now;
use crate::config::Place;
use crate::decide::snapshot::{Sight, Turn, by_hand, due, newest, overdue};
use crate::etcd::snapshot::{Broken, STALL, Stream};
use crate::exit::Exit;
use crate::files::saved;
use crate::model::{
    Absence, Blind, BlindKind, Class, ClientView, ClusterId, MemberUrl, Reason, Snapshot, SnapshotName, SnapshotRecord,
};
use crate::setup::Setup;
use crate::store::{Store, Stored};

/// What a timer takes.
const ON_A_TIMER: [Class; 2] = [Class::Recent, Class::Daily];

/// How long it may take after the last byte: a disk writes it back, S3 puts parts together.
const COMPLETION: Duration = Duration::from_secs(310);

/// How long a store has to clear up after what broke off.
const CLEARING: Duration = Duration::from_secs(5);

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    /// One by hand, whatever is there.
    pub now: bool,
    /// Also of a member that has no quorum.
    pub without_quorum: bool,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// Takes the snapshot of now, where it is this node's turn.
pub async fn snapshot(setup: &Setup, ask: Ask) -> Exit {
    let Some(place) = &setup.config.snapshots.to else { return Exit::Usage };
    if let Some(why) = setup.certificates.unusable() {
        return fail(why);
    }
    let before = saved::read_snapshot(&setup.config.state_dir).filter(|record| record.to == place.to_string());
    let mut run = Run { setup, place, ask, record: Known::since(before, now()) };
    let ended = run.take_turn().await;
    if ask.now || ask.dry_run {
        return ended.err().map_or(Exit::Done, |reason| fail_for(&reason));
    }
    let Known { newest, since, .. } = &run.record;
    let late = overdue(newest.as_ref(), *since, now(), setup.config.snapshots.every);
    run.remember(ended.as_ref().err().or(late.as_ref()).map(ToString::to_string));
    match (ended, late) {
        (Err(reason), late) => {
            late.iter().for_each(|late| warn!(reason = late.code(), "{late}"));
            fail_for(&reason)
        }
        (Ok(()), Some(late)) => fail_for(&late),
        (Ok(()), None) => Exit::Done,
    }
}

/// What this node knows of the snapshots.
struct Known {
    cluster: Option<ClusterId>,
    newest: Option<Snapshot>,
    /// Since when it has looked for any of this cluster.
    since: SystemTime,
}

impl Known {
    fn since(before: Option<SnapshotRecord>, now: SystemTime) -> Self {
        match before {
            Some(SnapshotRecord { cluster, newest, since, .. }) => Self { cluster, newest, since },
            None => Self { cluster: None, newest: None, since: now },
        }
    }

    /// What is there now; that of another cluster counts no more.
    fn see(&mut self, cluster: ClusterId, newest: Option<&Snapshot>, now: SystemTime) {
        if self.cluster.is_some_and(|before| before != cluster) {
            self.since = now;
        }
        (self.cluster, self.newest) = (Some(cluster), newest.cloned());
    }
}

struct Run<'a> {
    setup: &'a Setup,
    place: &'a Place,
    ask: Ask,
    record: Known,
}

impl Run<'_> {
    /// Looks, decides and takes it.
    async fn take_turn(&mut self) -> Result<(), Reason> {
        let (config, place) = (&self.setup.config, self.place);
        let mut cloud = self.setup.cloud();
        let store = Store::open(place, &config.snapshots, &mut cloud).await.map_err(Reason::SnapshotsBlind)?;
        let saved = saved::read_identity(&config.state_dir);
        let me = match cloud.identity().await {
            Ok(me) => me.known_as(saved.as_ref()),
            Err(why) => saved.ok_or(Reason::MetadataBlind(why))?,
        };
        let url = config.policy.client_url(&me.addresses).ok_or(Reason::NoOwnAddress)?;
        let own = self.setup.ports().ask_client(&url).await;
        let turn = if self.ask.now {
            by_hand(&own, now(), self.ask.without_quorum)
        } else {
            // Where etcd does not answer, which cluster's are to be looked for is not known.
            let kept = match &own {
                Ok(view) => self.list(&store, view).await?,
                Err(_) => Vec::new(),
            };
            due(&Sight { own: &own, kept: &kept, now: now(), every: config.snapshots.every })
        };
        let (name, view) = match (turn, &own) {
            (Turn::Take(name), Ok(view)) => (name, view),
            (Turn::Rest(reason), _) => {
                info!(reason = reason.code(), "{reason}");
                return Ok(());
            }
            (Turn::Stop(reason), _) => return Err(reason),
            (Turn::Take(_), Err(absence)) => return Err(silent(&url, absence)),
        };
        if self.ask.dry_run {
            info!(%url, "would take the snapshot {}", place.at(&name));
            return Ok(());
        }
        let taken = self.take(&store, &url, &name, view).await;
        if let Err(reason) = &taken {
            warn!(reason = reason.code(), "{reason}; looking whether it is there");
        }
        // Somebody else may have been faster, or the answer be lost.
        let kept = self.list(&store, view).await?;
        let none = || Reason::SnapshotBrokeOff { why: format!("what is at {} is no whole snapshot", place.at(&name)) };
        if kept.iter().any(|kept| kept.name == name) { Ok(()) } else { taken.and(Err(none())) }
    }

    /// What is there of the kind that this run takes.
    async fn list(&mut self, store: &Store, view: &ClientView) -> Result<Vec<Snapshot>, Reason> {
        let classes: &[Class] = if self.ask.now { &[Class::Manual] } else { &ON_A_TIMER };
        let kept = store.list(view.cluster_id, classes).await.map_err(Reason::SnapshotsBlind)?;
        self.record.see(view.cluster_id, newest(&kept, now(), self.setup.config.snapshots.every), now());
        Ok(kept)
    }

    async fn take(&self, store: &Store, url: &MemberUrl, name: &SnapshotName, view: &ClientView) -> Result<(), Reason> {
        let began = Instant::now();
        let stream = Stream::open(&self.setup.access(), url).await.map_err(|absence| silent(url, &absence))?;
        let bytes = stream.bytes();
        let (sender, receiver) = mpsc::channel(1);
        let by = view.member_id.to_string();
        let mut kept = std::pin::pin!(store.put(name, bytes, receiver, &by));
        let target = self.place.at(name);
        notify(&[NotifyState::Status(&format!("takes the snapshot {target}, {bytes} bytes"))]);
        let hangs = |time: Duration, what: &str| {
            let why = format!("{target}: {what} for {} s", time.as_secs());
            Reason::SnapshotsBlind(Blind { kind: BlindKind::Unreachable, why })
        };
        let stored = tokio::select! {
            stored = &mut kept => stored,
            sent = stream.send(sender) => match sent {
                Ok(()) => tokio::time::timeout(COMPLETION, kept).await.map_err(|_| hangs(COMPLETION, "no answer"))?,
                Err(Broken::NotTaken) => return Err(hangs(STALL, "nothing was taken")),
                Err(Broken::Source(why)) => {
                    // It has noticed by now that no more comes.
                    let _ = tokio::time::timeout(CLEARING, kept).await;
                    return Err(Reason::SnapshotBrokeOff { why: format!("take a snapshot at {url}: {why}") });
                }
            }
        };
        match stored.map_err(Reason::SnapshotsBlind)? {
            Stored::Written => {
                let time = Duration::from_millis(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
                info!(bytes, time = %humantime::format_duration(time), "took the snapshot {target}");
            }
            Stored::Exists => info!("somebody else has taken the snapshot {target} meanwhile"),
        }
        Ok(())
    }

    /// For `status`, and for `watch`'s metrics.
    fn remember(&self, trouble: Option<String>) {
        let state_dir = &self.setup.config.state_dir;
        let Known { cluster, newest, since } = &self.record;
        let record = SnapshotRecord {
            at: now(),
            since: *since,
            cluster: *cluster,
            to: self.place.to_string(),
            every: self.setup.config.snapshots.every,
            newest: newest.clone(),
            trouble,
        };
        if let Err(e) = saved::write_snapshot(state_dir, &record) {
            warn!("write {}: {e}, ignoring", saved::snapshot_file(state_dir).display());
        }
    }
}

/// etcd answered a moment ago, and hides its snapshot, or has gone.
fn silent(url: &MemberUrl, absence: &Absence) -> Reason {
    let why = format!("take a snapshot at {url}: {absence}");
    match absence {
        Absence::Denied(_) => Reason::Denied { why },
        Absence::Refused
        | Absence::NoAnswer(_)
        | Absence::NoName(_)
        | Absence::Tls(_)
        | Absence::NotUnderstood(_)
        | Absence::NotAsked => Reason::SnapshotBrokeOff { why },
    }
}
