//! A new cluster of one, made on the one node that a person picks, after the old one is lost; all others join it.
//!
//! Until the group's tag is written it can be stopped at any moment without effect; after that nobody can create a
//! cluster (S8). No `--force-new-cluster`: that keeps the cluster's id, and splits it when the others come back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, info, warn};

use super::drive::{Course, Drive};
use super::dry_run::BETWEEN_LOOKS;
use super::run::COURSE as RUN;
use super::tell::{fail, fail_for, print};
use crate::apply::{Applied, apply};
use crate::clock::now;
use crate::config::{From, Recovery};
use crate::decide::{recover as obstacles, statement};
use crate::errors::chain;
use crate::etcd::program;
use crate::exit::Exit;
use crate::founders::Voice;
use crate::model::{
    BlindKind, CLUSTER_TAG, Change, ClusterId, EtcdVersion, GivenUp, Group, InstanceId, Observation, Order,
    REPLACED_TAG, Reason, Seen, Snapshot, Statement, replaced_tag,
};
use crate::recover::{Found, Restoration, Source, Tool, find, unready};
use crate::report::Plan;
use crate::setup::Setup;

/// A restore may take longer than a deadline that was meant for a boot, and after the tag there is no way back: each call
/// has its own.
const COURSE: Course = Course { endless: true, ..RUN };

/// Two who recover at once see each other's tag in this time, if not before.
const TAG_SETTLES: Duration = Duration::from_secs(1);

/// How long AWS's replies may lag behind the tag, and agents that wait be between two tries (`RestartSec=`).
const PATIENCE: Duration = Duration::from_secs(60);

/// What holds the peer port.
const MOST_LIKELY: &str = "it is etcd's unit, most likely";

/// Prints the plan, or carries it out.
pub async fn recover(setup: &Setup, recovery: &Recovery) -> Exit {
    let mut voice = Voice::new(setup.peer_tls(), setup.config.policy.peer_port);
    let fetches = setup.config.fetches(&recovery.from);
    // First: an etcd that runs is writing to what is read next, or on the disk that is written to.
    if (recovery.from == From::ThisNode || fetches)
        && let Ok(me) = setup.cloud().identity().await
        && let Err(why) = voice.hold_port(&me).await
    {
        return fail_for(&Reason::RecoveryUnready { why: format!("{why}: {MOST_LIKELY}") });
    }
    if let (true, Some(why)) = (fetches, unready(&setup.config)) {
        return fail_for(&Reason::RecoveryUnready { why });
    }
    if let From::Latest | From::Object { .. } = recovery.from
        && let Err(exit) = nobody_lives(setup).await
    {
        return exit;
    }
    let (source, newest) = match open(setup, &recovery.from).await {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    let named = source.contents.members.iter().filter_map(|m| InstanceId::from_member_name(&m.name));
    let drive = Drive::new(setup, COURSE).asking_about(named.collect());
    let order = Order {
        gives_up: recovery.gives_up,
        despite: recovery.despite.iter().cloned().collect(),
        foreign: recovery.foreign,
        own: recovery.from == From::ThisNode,
        cluster: source.cluster,
        contents: source.contents.clone(),
    };
    let etcd = program::version_of(&setup.config.etcd).await;
    let mut steps = Steps { setup, drive, voice, etcd, source, newest, order };
    steps.take().await.unwrap_or_else(|exit| exit)
}

/// Where a cluster lives, no snapshot is looked for: it may have none yet, and nothing is lost.
async fn nobody_lives(setup: &Setup) -> Result<(), Exit> {
    let observation = Drive::new(setup, COURSE).look_anew().await.ok_or(Exit::Unavailable)?;
    let reasons = obstacles(&observation, &setup.config.policy, &Order::default());
    match reasons.iter().find(|reason| matches!(reason, Reason::ClusterLives { .. })) {
        Some(lives) => Err(fail_for(lives)),
        None => Ok(()),
    }
}

/// What it begins with, and which snapshots there are.
async fn open(setup: &Setup, from: &From) -> Result<(Source, Vec<Snapshot>), Exit> {
    let found = find(&setup.config, &mut setup.cloud(), from).await.map_err(|reason| fail_for(&reason))?;
    let (source, newest) = match found {
        None => (Source::own(&setup.config), Vec::new()),
        Some(Found { file, newest }) => (Source::file(file), newest),
    };
    Ok((source.map_err(|e| fail(&chain(&e)))?, newest))
}

struct Steps<'a> {
    setup: &'a Setup,
    drive: Drive<'a>,
    /// Holds the own peer port: neither etcd nor an agent can start here meanwhile.
    voice: Voice,
    /// Which etcd will start on the data.
    etcd: Seen<EtcdVersion>,
    source: Source,
    newest: Vec<Snapshot>,
    order: Order,
}

impl Steps<'_> {
    async fn take(&mut self) -> Result<Exit, Exit> {
        let config = &self.setup.config;
        let (_, mut reasons) = self.look().await?;
        tokio::time::sleep(BETWEEN_LOOKS).await;
        let (observation, more) = self.look().await?;
        add(&mut reasons, more);
        let (Some(me), Some(group)) = (observation.me.ok(), observation.group.ok()) else {
            return Err(stop(&reasons));
        };
        let restoration = Restoration::new(config, me, &group.arn, &self.source, now()).map_err(|why| fail(&why))?;
        let tool = Tool::find(config.restore.tool.as_deref()).await;
        add(&mut reasons, self.lacks(&tool, &restoration));
        let (Some(gives_up), Ok(tool)) = (self.order.gives_up, &tool) else {
            let plan = self.plan(&observation, &restoration, tool.as_ref().ok(), &reasons);
            print(config.output, &plan, || plan.text());
            return if self.order.gives_up.is_none() { Ok(Exit::Done) } else { Err(stop(&reasons)) };
        };
        if !reasons.is_empty() {
            return Err(stop(&reasons));
        }
        info!(workspace = %restoration.workspace().display(), "restoring: nothing else is changed until that is done");
        restoration.restore(&self.source, tool).await.map_err(|e| fail(&chain(&e)))?;
        let (observation, reasons) = self.look().await?;
        let Some(group) = observation.group.ok().filter(|_| reasons.is_empty()) else { return Err(stop(&reasons)) };
        self.tag(group, gives_up, restoration.cluster).await?;
        self.settle(restoration.cluster).await?;
        self.move_in(&restoration).await?;
        self.tell(&restoration);
        Ok(Exit::Done)
    }

    /// One look, and what speaks against going on.
    async fn look(&mut self) -> Result<(Observation, Vec<Reason>), Exit> {
        let mut observation = self.drive.look_anew().await.ok_or(Exit::Unavailable)?;
        let policy = &self.setup.config.policy;
        if let Some(me) = observation.me.ok() {
            let held = self.voice.hold_port(me).await;
            observation.port_trouble = held.err().map(|why| format!("{why}: {MOST_LIKELY}"));
            let silent = |s: Statement| Statement { founders: None, agreed: None, recovers: true, ..s };
            self.voice.say(statement(&observation, policy).map(silent), BTreeSet::new());
        }
        // The main job asks for it where there is no data only.
        observation.etcd = Some(self.etcd.clone());
        let reasons = obstacles(&observation, policy, &self.order);
        Ok((observation, reasons))
    }

    fn lacks(&self, tool: &Result<Tool, String>, restoration: &Restoration) -> Vec<Reason> {
        let bumps = match tool {
            // What etcdctl 3.4 makes of data of 3.6, an etcd panics on (seen with 3.4.23 and 3.6.16).
            Ok(tool) if !tool.bumps && self.source.contents.storage_version.is_some() => {
                Some("the tool is older than the data: take etcdutl".to_owned())
            }
            Ok(tool) if !tool.bumps && restoration.bump > 0 => Some(
                "the tool cannot raise the revision: take etcdutl, or etcdctl of 3.5.10 or later of 3.5; or, where no \
                 client keeps revisions, say --bump-revision=0"
                    .to_owned(),
            ),
            Ok(_) => None,
            Err(why) => Some(why.clone()),
        };
        let why = [unready(&self.setup.config), bumps].into_iter().flatten();
        why.map(|why| Reason::RecoveryUnready { why }).collect()
    }

    fn plan<'a>(
        &'a self,
        observation: &'a Observation,
        restoration: &'a Restoration,
        tool: Option<&Tool>,
        reasons: &'a [Reason],
    ) -> Plan<'a> {
        let arguments = restoration.arguments(&self.source);
        Plan {
            file: &self.source.file,
            is_snapshot: self.source.is_whole,
            contents: &self.source.contents,
            of: self.source.cluster,
            gives_up: observation.group.ok().and_then(|group| group.cluster_tag.clone()),
            cluster: restoration.cluster,
            command: tool.map(|tool| tool.command_line(&arguments)),
            newest: &self.newest,
            stops: reasons.iter().map(told).collect(),
        }
    }

    /// Both tags in one call: which cluster there is, and which it takes the place of.
    async fn tag(&mut self, group: &Group, gives_up: GivenUp, cluster: ClusterId) -> Result<(), Exit> {
        let given_up = match gives_up {
            GivenUp::Cluster(old) => Some(old),
            GivenUp::Nothing => None,
        };
        let replaced: Vec<ClusterId> = given_up.into_iter().chain(self.source.cluster).collect();
        let mut tags = BTreeMap::from([(CLUSTER_TAG.to_owned(), cluster.to_string())]);
        if !replaced.is_empty() {
            tags.insert(REPLACED_TAG.to_owned(), replaced_tag(&replaced, &group.replaced));
        }
        match self.apply(Change::TagGroup { group: group.name.clone(), tags }).await? {
            Applied::Done(what) => info!("{what}"),
            Applied::Refused(blind) if blind.kind == BlindKind::Denied => {
                error!("{blind}: nothing has changed");
                return Err(Reason::TagRefused { cluster, blind }.exit());
            }
            // A call without an answer may have been carried out.
            Applied::Refused(blind) => info!("{blind}; looking whether the tag is written"),
        }
        Ok(())
    }

    /// Looks until two looks in a row, some time apart, show the tag and nothing that speaks against it: somebody else may
    /// recover at the same time, and the later tag counts.
    async fn settle(&mut self, cluster: ClusterId) -> Result<(), Exit> {
        let before = self.order.gives_up.replace(GivenUp::Cluster(cluster));
        self.order.foreign = true;
        let began = Instant::now();
        let mut seen = 0;
        while seen < 2 {
            tokio::time::sleep(TAG_SETTLES).await;
            let (observation, reasons) = self.look().await?;
            seen = if reasons.is_empty() { seen + 1 } else { 0 };
            let tag = observation.group.ok().and_then(|group| group.cluster_tag.as_ref());
            let others = tag.is_some_and(|tag| !means(before, tag) && !cluster.is_meant_by(tag));
            let lasts = reasons.iter().any(|reason| {
                let lives = matches!(reason, Reason::ClusterLives { .. } | Reason::SurvivorRuns { .. });
                lives || matches!(reason, Reason::OtherRecovers { .. })
            });
            if !reasons.is_empty() && (others || lasts || began.elapsed() > PATIENCE) {
                error!("the tag may be written, and this node's data is as it was: look at the plan, and run it again");
                return Err(stop(&reasons));
            }
        }
        Ok(())
    }

    async fn move_in(&mut self, restoration: &Restoration) -> Result<(), Exit> {
        let member = self.setup.config.data_dir.join("member");
        let occupied = std::fs::symlink_metadata(&member).is_ok()
            || self.setup.config.wal_dir.as_ref().is_some_and(|wal| wal.exists());
        if occupied && let Applied::Done(what) = self.apply(Change::SetDataAside { gives_up: None }).await? {
            info!("{what}");
        }
        restoration.move_in().map_err(|e| fail(&chain(&e)))
    }

    async fn apply(&self, change: Change) -> Result<Applied, Exit> {
        let mut cloud = self.setup.cloud();
        apply(&change, &mut cloud, &self.setup.access(), self.setup.directories()).await.map_err(|why| fail(&why))
    }

    fn tell(&self, restoration: &Restoration) {
        let contents = &self.source.contents;
        info!(cluster = %restoration.cluster, revision = contents.revision + restoration.bump, "recovered: start etcd here now, all others join");
        for alarm in &contents.alarms {
            warn!(
                "alarm {} of member {} is in the data: no write is taken until etcdctl alarm disarm",
                alarm.kind, alarm.member
            );
        }
        if contents.auth {
            warn!(
                "the data has authentication switched on: the agents need a certificate of a user with the role root"
            );
        }
        info!("once all is well, {} may be removed by hand", restoration.workspace().display());
    }
}

fn means(given_up: Option<GivenUp>, tag: &str) -> bool {
    matches!(given_up, Some(GivenUp::Cluster(cluster)) if cluster.is_meant_by(tag))
}

fn told(reason: &Reason) -> String {
    let advice = reason.advice().map(|advice| format!(": {advice}")).unwrap_or_default();
    format!("{reason}{advice} ({})", reason.code())
}

/// Adds those that are not told yet: two looks find most things twice.
fn add(reasons: &mut Vec<Reason>, more: Vec<Reason>) {
    for reason in more {
        if !reasons.iter().any(|known| known.code() == reason.code() && known.to_string() == reason.to_string()) {
            reasons.push(reason);
        }
    }
}

/// Tells all that stands in the way; the gravest says how the program ends.
fn stop(reasons: &[Reason]) -> Exit {
    let exits: Vec<Exit> = reasons.iter().map(fail_for).collect();
    exits.first().copied().unwrap_or(Exit::NeedsOperator)
}
