//! One pass over everything outside: metadata, Auto Scaling, EC2, every node's etcd ports, the own data directory.
//!
//! Owns what is asked and in which order; only reads. What could not be seen is said in the observation.
//! Next: `decide`.

mod consumer;
mod ports;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::task::JoinSet;

pub use self::ports::Ports;
use self::ports::{Confirmed, Target};
use crate::clock::now;
use crate::cloud::{Cloud, Freshness};
use crate::config::OwnEtcd;
use crate::etcd::{data, program};
use crate::files::{record, saved};
use crate::model::{
    Blind, BlindKind, ConsumerRecord, Ec2, Ec2State, EtcdVersion, Group, History, Hook, Identity, Instance, InstanceId,
    LifecycleState, Member, MemberUrl, Observation, OwnData, PeerAnswer, Policy, Probe, Record, Role, Seen, Statement,
    agreement,
};
use crate::tls::Certificates;

/// A node with data waits this long for AWS in all, then starts without (F51).
const CLOUD_TIMEOUT_WITH_DATA: Duration = Duration::from_secs(5);

/// Whether a node looks at its own ports too. The main job never does: its own answers prove nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnPorts {
    /// Leave them alone.
    Skip,
    /// Ask them as any other.
    Ask,
}

/// How much of the outside a pass looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All of it.
    Everything,
    /// The own ports; nothing of AWS but the metadata.
    Myself,
    /// The group; no ports.
    Group,
    /// Nothing of AWS, the metadata included: those that a consumer followed last, and its seeds.
    Last,
    /// All of it, and what is told of this instance's future and waited for in its group.
    LifeCycle,
    /// All that who is no instance can look at: nothing of this machine, the metadata included.
    Outside,
}

/// Where to look.
pub struct Sources {
    /// What the options say.
    pub policy: Policy,
    /// etcd's data directory.
    pub data_dir: PathBuf,
    /// etcd's log, where it is elsewhere.
    pub wal_dir: Option<PathBuf>,
    /// Which etcd this node will start.
    pub etcd: OwnEtcd,
    /// This program's own directory.
    pub state_dir: PathBuf,
    /// The identity as last read, for a node with data whose metadata is unreachable; None on the first boot.
    pub saved_identity: Option<Identity>,
    /// What this consumer remembers; None on a member, and before it has asked anybody.
    pub consumer: Option<ConsumerRecord>,
    /// To be checked as the others will.
    pub certificates: Certificates,
    /// Whether this node is asked too.
    pub own_ports: OwnPorts,
}

/// Looks, and keeps what does not change between passes.
pub struct Observer {
    sources: Sources,
    ports: Arc<Ports>,
    /// Asked once: etcd does not start history this program has ended.
    etcd: Arc<OnceCell<Seen<EtcdVersion>>>,
    /// Looked for once.
    damage: OnceLock<Option<String>>,
    /// Where an etcd answered in the last pass.
    heard: BTreeSet<MemberUrl>,
}

/// What a node knows without asking others.
pub struct Inside {
    /// Who it is.
    pub me: Seen<Identity>,
    /// What its data directory holds.
    pub own_data: OwnData,
    own_commit: Option<u64>,
    log_damage: Option<String>,
}

/// What the loop gives to a pass.
pub struct Given<'a> {
    /// What earlier passes leave to this one; None on the first.
    pub history: Option<History>,
    /// What this node tells the founders that it asks; None tells nothing.
    pub statement: Option<&'a Statement>,
    /// See [`Observation::port_trouble`].
    pub port_trouble: Option<String>,
}

impl Observer {
    /// Has not looked yet.
    pub fn new(sources: Sources, ports: Arc<Ports>) -> Self {
        Self { sources, ports, etcd: Arc::default(), damage: OnceLock::new(), heard: BTreeSet::new() }
    }

    /// The first half of a pass: this node itself.
    pub async fn look_inside(&self, cloud: &mut Cloud, fresh: Freshness, scope: Scope) -> Inside {
        if scope == Scope::Outside {
            let me = Seen::No(Blind::not_asked());
            return Inside { me, own_data: OwnData::Empty, own_commit: None, log_damage: None };
        }
        let (data_dir, wal_dir) = (&self.sources.data_dir, self.sources.wal_dir.as_deref());
        let own_data = match self.sources.policy.role {
            Role::Member => data::read_own_data(data_dir, wal_dir),
            Role::Consumer => OwnData::Empty,
        };
        // History anybody is asked: the log of a member that runs may be ahead of what was answered a moment ago.
        let own_commit = match &own_data {
            OwnData::Log { had_leader: true, .. } => data::read_commit(data_dir, wal_dir),
            OwnData::Log { .. } | OwnData::Empty | OwnData::NoLog | OwnData::Unreadable { .. } => None,
        };
        let log_damage = matches!(own_data, OwnData::Log { .. }).then(|| self.find_damage()).flatten();
        // Where the group wants this instance concerns nobody else.
        let fresh = match scope {
            Scope::Everything | Scope::LifeCycle => fresh,
            Scope::Myself | Scope::Group | Scope::Last | Scope::Outside => Freshness::LastReply,
        };
        let me = match scope {
            Scope::Last | Scope::Outside => Seen::No(Blind::not_asked()),
            Scope::Everything | Scope::LifeCycle | Scope::Myself | Scope::Group => cloud.identify(fresh).await,
        };
        Inside { me, own_data, own_commit, log_damage }
    }

    /// Once: no etcd runs while the main job looks, and the log may be of some hundred MB.
    fn find_damage(&self) -> Option<String> {
        let Sources { data_dir, wal_dir, own_ports, .. } = &self.sources;
        let find = || data::read_damage(data_dir, wal_dir.as_deref());
        (*own_ports == OwnPorts::Skip).then(|| self.damage.get_or_init(find).clone()).flatten()
    }

    /// The second half: AWS and the others.
    pub async fn look_around(
        &mut self,
        cloud: &mut Cloud,
        fresh: Freshness,
        scope: Scope,
        inside: Inside,
        given: Given<'_>,
    ) -> Observation {
        let version = self.etcd_version(&inside.own_data, scope);
        let outside = self.look_outside(cloud, fresh, scope, inside, given);
        // Side by side: neither waits for the other.
        let (etcd, observation) = tokio::join!(version, outside);
        Observation { etcd, ..observation }
    }

    /// Which etcd this node will start. One with data starts whatever it is, and is not kept waiting for it.
    fn etcd_version(
        &self,
        own_data: &OwnData,
        scope: Scope,
    ) -> impl Future<Output = Option<Seen<EtcdVersion>>> + use<> {
        let joins = match own_data {
            OwnData::Empty | OwnData::NoLog => self.sources.policy.role == Role::Member && scope != Scope::Outside,
            OwnData::Log { .. } | OwnData::Unreadable { .. } => false,
        };
        let (etcd, place) = (self.etcd.clone(), self.sources.etcd.clone());
        let fetch = async move || program::version_of(&place).await;
        async move { if joins { Some(etcd.get_or_init(fetch).await.clone()) } else { None } }
    }

    async fn look_outside(
        &mut self,
        cloud: &mut Cloud,
        fresh: Freshness,
        scope: Scope,
        Inside { mut me, own_data, own_commit, log_damage }: Inside,
        Given { history, statement, port_trouble }: Given<'_>,
    ) -> Observation {
        let (group, ec2) = match scope {
            Scope::Everything | Scope::LifeCycle | Scope::Outside => {
                self.look_at_cloud(cloud, fresh, &me, history.as_ref(), &own_data).await
            }
            Scope::Group => (cloud.look_at_group(fresh).await, Seen::No(Blind::not_asked())),
            Scope::Myself | Scope::Last => (Seen::No(Blind::not_asked()), Seen::No(Blind::not_asked())),
        };
        me = match (me, &own_data, &self.sources.saved_identity) {
            (Seen::No(_), OwnData::Log { .. }, Some(saved)) => Seen::Yes(saved.clone()),
            (Seen::Yes(me), _, saved) => Seen::Yes(me.known_as(saved.as_ref())),
            (me, _, _) => me,
        };
        if let (Seen::Yes(me), Seen::Yes(ec2)) = (&mut me, &ec2) {
            let name = ec2.found.get(&me.instance).and_then(|i| i.addresses.dns_name.clone());
            me.addresses.dns_name = name.or(me.addresses.dns_name.take());
        }
        let (notices, hooks) = match scope {
            Scope::LifeCycle => (cloud.fetch_notices().await, look_at_hooks(cloud, fresh, &me, &group).await),
            Scope::Outside => (Seen::No(Blind::not_asked()), look_at_hooks(cloud, fresh, &me, &group).await),
            Scope::Everything | Scope::Myself | Scope::Group | Scope::Last => {
                (Seen::No(Blind::not_asked()), Seen::No(Blind::not_asked()))
            }
        };
        let probes = match (scope, self.sources.policy.role) {
            (Scope::Everything | Scope::LifeCycle | Scope::Outside, Role::Member) => {
                self.probe(&me, &group, &ec2, statement).await
            }
            (Scope::Everything | Scope::LifeCycle | Scope::Outside, Role::Consumer) => {
                self.probe_clients(&group, &ec2).await
            }
            (Scope::Myself, _) => self.probe_own_ports(&me).await,
            (Scope::Group, _) => Vec::new(),
            (Scope::Last, _) => self.probe_last().await,
        };
        let heard = probes.iter().filter(|probe| matches!(probe.peer, PeerAnswer::Etcd(_)));
        self.heard = heard.map(|probe| probe.asked.clone()).collect();
        let (record, taken_at) = (self.read_record(), now());
        let certificate_trouble = match self.sources.policy.role {
            Role::Member => self.sources.certificates.trouble(&self.sources.policy, me.ok(), taken_at),
            Role::Consumer => None,
        };
        let asked_aws = fresh == Freshness::Fresh && scope != Scope::Last;
        Observation {
            taken_at,
            me,
            own_data,
            own_commit,
            log_damage,
            etcd: None,
            record,
            port_trouble,
            certificate_trouble,
            left: saved::read_left(&self.sources.state_dir),
            consumer: self.sources.consumer.clone(),
            notices,
            group,
            hooks,
            ec2,
            asked_aws,
            probes,
            history,
        }
    }

    fn read_record(&self) -> Seen<Record> {
        let read = match self.sources.policy.role {
            Role::Member => record::read(&self.sources.data_dir),
            Role::Consumer => Ok(None),
        };
        match read {
            Ok(Some(record)) => Seen::Yes(record),
            Ok(None) => Seen::No(Blind { kind: BlindKind::Absent, why: "this disk has agreed to nothing".into() }),
            Err(why) => Seen::No(Blind { kind: BlindKind::Malformed, why }),
        }
    }

    async fn look_at_cloud(
        &self,
        cloud: &mut Cloud,
        fresh: Freshness,
        me: &Seen<Identity>,
        history: Option<&History>,
        own_data: &OwnData,
    ) -> (Seen<Group>, Seen<Ec2>) {
        let me = match me {
            Seen::Yes(me) => Some(me),
            Seen::No(Blind { kind: BlindKind::NotAsked, .. }) => None,
            Seen::No(blind) => return (Seen::No(blind.clone()), Seen::No(blind.clone())),
        };
        let patience = match own_data {
            OwnData::Log { .. } => Some(CLOUD_TIMEOUT_WITH_DATA),
            OwnData::Empty | OwnData::NoLog | OwnData::Unreadable { .. } => None,
        };
        let role = self.sources.policy.role;
        cloud.look(fresh, |group| worth_asking_about(role, me, group, history, own_data), patience).await
    }

    /// Asks every instance of the group, then every listed member that was not among them: two steps, each all at once.
    async fn probe(
        &self,
        me: &Seen<Identity>,
        group: &Seen<Group>,
        ec2: &Seen<Ec2>,
        statement: Option<&Statement>,
    ) -> Vec<Probe> {
        let policy = &self.sources.policy;
        let own_port = |url: &MemberUrl| me.ok().is_some_and(|me| policy.is_peer_url_of(&me.addresses, url));
        let mine = |url: &MemberUrl| self.sources.own_ports == OwnPorts::Skip && own_port(url);
        let targets = targets(policy, group, ec2).into_iter().filter(|target| !mine(&target.url)).collect();
        let confirmed = Confirmed::default();
        let mut probes = self.probe_all(targets, statement, &confirmed).await;
        let asked: BTreeSet<MemberUrl> = probes.iter().map(|probe| probe.asked.clone()).collect();
        // The address of a terminated instance answers nobody, and waiting for that costs a second a pass. One that
        // does answer is asked again: it speaks against EC2's word (F88).
        let instance = |m: &Member| ec2.ok()?.found.get(&m.instance()?);
        let worth_it =
            |m: &Member, url: &MemberUrl| !instance(m).is_some_and(is_terminated) || self.heard.contains(url);
        let listed = probes.iter().flat_map(listed_by);
        let listed = listed.flat_map(|m| m.peer_urls.iter().map(move |url| (url, m)));
        let further: BTreeMap<&MemberUrl, &Member> =
            listed.filter(|(url, m)| worth_it(m, url) && !asked.contains(*url) && !mine(url)).collect();
        let further = further.into_iter().map(|(url, m)| {
            let third = instance(m).filter(|i| !is_terminated(i)).map(ports::patience);
            Target { instance: None, url: url.clone(), third }
        });
        probes.extend(self.probe_all(further.collect(), statement, &confirmed).await);
        probes.sort_by(|a, b| a.asked.cmp(&b.asked));
        probes
    }

    async fn probe_own_ports(&self, me: &Seen<Identity>) -> Vec<Probe> {
        let Some(me) = me.ok() else { return Vec::new() };
        let Some(url) = self.sources.policy.peer_url(&me.addresses) else { return Vec::new() };
        vec![self.ports.probe_own(me.instance.clone(), url).await]
    }

    async fn probe_all(
        &self,
        targets: Vec<Target>,
        statement: Option<&Statement>,
        confirmed: &Confirmed,
    ) -> Vec<Probe> {
        let mut probes = JoinSet::new();
        for target in targets {
            let (ports, statement, confirmed) = (self.ports.clone(), statement.cloned(), confirmed.clone());
            probes.spawn(async move { ports.probe(target, statement, &confirmed).await });
        }
        probes.join_all().await
    }
}

/// The hooks are asked for only while an instance waits for one, or this one may.
async fn look_at_hooks(
    cloud: &mut Cloud,
    fresh: Freshness,
    me: &Seen<Identity>,
    group: &Seen<Group>,
) -> Seen<Vec<Hook>> {
    let target = me.ok().and_then(|me| me.target_lifecycle_state.as_ref());
    let goes = target.is_some_and(LifecycleState::is_terminating);
    match group.ok().filter(|group| goes || group.instances.values().any(LifecycleState::waits_for_hook)) {
        Some(group) => cloud.look_at_hooks(fresh, &group.name).await,
        None => Seen::No(Blind::not_asked()),
    }
}

/// The instances that EC2 is to be asked about beside those of the group.
fn worth_asking_about(
    role: Role,
    me: Option<&Identity>,
    group: &Group,
    history: Option<&History>,
    own_data: &OwnData,
) -> BTreeSet<InstanceId> {
    let mut ids: BTreeSet<InstanceId> = group.instances.keys().cloned().collect();
    ids.extend(history.iter().flat_map(|b| b.member_instances.iter().cloned()));
    if role == Role::Member {
        ids.extend(me.map(|me| me.instance.clone()));
        // A node with data decides on its first pass: what became of its founders must be asked in that one.
        if let OwnData::Log { founders, .. } = own_data {
            ids.extend(founders.iter().filter_map(|f| InstanceId::from_member_name(&f.name)));
        }
        let tagged = group.founding_tag.as_deref().and_then(agreement::read_tag);
        ids.extend(tagged.into_iter().flat_map(|tagged| tagged.founders).map(|(id, _)| id));
    }
    ids
}

/// The group's instances that can have an etcd.
fn targets(policy: &Policy, group: &Seen<Group>, ec2: &Seen<Ec2>) -> Vec<Target> {
    let (Seen::Yes(group), Seen::Yes(ec2)) = (group, ec2) else { return Vec::new() };
    let in_group = group.instances.iter().filter(|(_, state)| !state.is_warm());
    in_group
        .filter_map(|(id, _)| {
            let instance = ec2.found.get(id).filter(|i| !is_terminated(i) && i.state != Ec2State::Stopped)?;
            let url = policy.peer_url(&instance.addresses)?;
            Some(Target { instance: Some(id.clone()), url, third: Some(ports::patience(instance)) })
        })
        .collect()
}

fn is_terminated(instance: &Instance) -> bool {
    instance.state == Ec2State::Terminated
}

/// The members that a node lists, on either port.
fn listed_by(probe: &Probe) -> impl Iterator<Item = &Member> {
    let local = match &probe.peer {
        PeerAnswer::Etcd(view) => view.members.as_slice(),
        PeerAnswer::Agent(_) | PeerAnswer::Absent(_) => &[],
    };
    let confirmed = match &probe.client {
        Some(Ok(view)) => view.quorum_list.ok().map(Vec::as_slice).unwrap_or_default(),
        Some(Err(_)) | None => &[],
    };
    local.iter().chain(confirmed)
}
