//! One pass over everything outside: metadata, Auto Scaling, EC2, every node's etcd ports, the own data directory.
//!
//! Owns what is asked and in which order; only reads. What could not be seen is said in the observation.
//! Next: `decide.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime};

use aws_sdk_autoscaling::config::SharedHttpClient;
use tokio::sync::{OnceCell, watch};
use tokio::task::JoinSet;

use crate::model::{
    Absence, After, Before, Blind, BlindKind, ClientView, Ec2, EtcdVersion, Group, Identity, Instance, InstanceId,
    Member, MemberId, MemberUrl, Observation, OwnData, PeerAnswer, PeerView, Policy, Probe, Record, Role, Seen,
    Statement,
};
use crate::program;
use crate::remote::{aws, etcd, imds, peer};
use crate::tls::Tls;
use crate::{agreement, disk, record};

/// A node with data waits this long for AWS in all, then starts without (F51).
const CLOUD_TIMEOUT_WITH_DATA: Duration = Duration::from_secs(5);

/// Two members that confirmed the list can tell all there is to tell, whichever of them is to be removed. The others get
/// this much longer: the client port of an etcd that has joined just now may be silent for 7 s, and both of a host that
/// has died are for ever.
const TIME_FOR_A_THIRD: Duration = Duration::from_millis(200);

/// A founder's etcd serves after tens of milliseconds.
const TURN_PAUSE: Duration = Duration::from_millis(10);

/// Whether a pass asks AWS again or works with the last reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    Fresh,
    LastReply,
}

/// Whether a node looks at its own ports too. The main job never does: its own answers prove nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Own {
    LeftOut,
    Included,
}

/// Where the version of the etcd comes from that this node will start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnEtcd {
    /// The program says it.
    Program(PathBuf),
    /// It is told, or is not to be known.
    Told(Seen<EtcdVersion>),
}

/// Where to look.
pub struct Places {
    pub policy: Policy,
    /// None: the group that this instance is in.
    pub group_name: Option<String>,
    pub data_dir: PathBuf,
    pub wal_dir: Option<PathBuf>,
    pub etcd: OwnEtcd,
    /// The identity as last read, for a node with data whose metadata is unreachable; None on the first boot.
    pub saved_identity: Option<Identity>,
    pub own: Own,
}

/// Looks, and keeps what does not change between passes.
pub struct Observer {
    places: Places,
    ports: Arc<Ports>,
    /// Asked once: etcd does not start before this program has ended.
    etcd: Arc<OnceCell<Seen<EtcdVersion>>>,
    http: SharedHttpClient,
    imds: aws_config::imds::Client,
    aws: Option<aws::Aws>,
    identity: Option<Identity>,
    group_name: Option<String>,
    cloud: Option<(Seen<Group>, Seen<Ec2>)>,
    /// Where an etcd answered in the last pass.
    heard: BTreeSet<MemberUrl>,
}

/// How the etcd ports are asked.
struct Ports {
    policy: Policy,
    peer: reqwest::Client,
    client_tls: Option<Arc<Tls>>,
}

impl Observer {
    /// A port without TLS needs none.
    pub fn new(places: Places, peer_tls: Option<&Tls>, client_tls: Option<Arc<Tls>>) -> Self {
        let http = aws::http_client();
        let ports = Ports { policy: places.policy.clone(), peer: peer::client(peer_tls), client_tls };
        Self {
            imds: imds::client(http.clone()),
            group_name: places.group_name.clone(),
            places,
            ports: Arc::new(ports),
            etcd: Arc::default(),
            http,
            aws: None,
            identity: None,
            cloud: None,
            heard: BTreeSet::new(),
        }
    }

    /// Makes one pass. `said` is what this node tells the founders that it asks; None tells nothing.
    pub async fn observe(&mut self, before: Option<Before>, fresh: Freshness, said: Option<&Statement>) -> Observation {
        let own_data = match self.places.policy.role {
            Role::Member => disk::read_own_data(&self.places.data_dir, self.places.wal_dir.as_deref()),
            Role::Consumer => OwnData::Empty,
        };
        // Before anybody is asked: the log of a member that runs may be ahead of what was answered a moment ago.
        let own_commit = match &own_data {
            OwnData::Log { had_leader: true, .. } => {
                disk::read_commit(&self.places.data_dir, self.places.wal_dir.as_deref())
            }
            OwnData::Log { .. } | OwnData::Empty | OwnData::NoLog | OwnData::Unreadable { .. } => None,
        };
        let version = self.etcd_version(&own_data);
        let outside = self.look_outside(own_data, before, fresh, said);
        // Side by side: neither waits for the other.
        let (etcd, observation) = tokio::join!(version, outside);
        Observation { own_commit, etcd, ..observation }
    }

    /// Which etcd this node will start. One with data starts whatever it is, and is not kept waiting for it.
    fn etcd_version(&self, own_data: &OwnData) -> impl Future<Output = Option<Seen<EtcdVersion>>> + use<> {
        let joins = match own_data {
            OwnData::Empty | OwnData::NoLog => self.places.policy.role == Role::Member,
            OwnData::Log { .. } | OwnData::Unreadable { .. } => false,
        };
        let (etcd, place) = (self.etcd.clone(), self.places.etcd.clone());
        let fetch = async move || match place {
            OwnEtcd::Told(version) => version,
            OwnEtcd::Program(path) => program::fetch_version(&path).await.map_or_else(Seen::No, Seen::Yes),
        };
        async move { if joins { Some(etcd.get_or_init(fetch).await.clone()) } else { None } }
    }

    async fn look_outside(
        &mut self,
        own_data: OwnData,
        before: Option<Before>,
        fresh: Freshness,
        said: Option<&Statement>,
    ) -> Observation {
        let mut me = self.identify(fresh).await;
        let (group, ec2) = self.look_at_cloud(&me, before.as_ref(), fresh, &own_data).await;
        if let (Seen::No(_), OwnData::Log { .. }, Some(saved)) = (&me, &own_data, &self.places.saved_identity) {
            me = Seen::Yes(saved.clone());
        }
        if let (Seen::Yes(me), Seen::Yes(ec2)) = (&mut me, &ec2) {
            // The others know this node by EC2's name for it. The metadata's differs where DHCP sets another domain.
            let name = ec2.found.get(&me.instance).and_then(|i| i.addresses.dns_name.clone());
            me.addresses.dns_name = name.or(me.addresses.dns_name.take());
        }
        let probes = self.probe(&me, &group, &ec2, said).await;
        let heard = probes.iter().filter(|probe| matches!(probe.peer, PeerAnswer::Member(_)));
        self.heard = heard.map(|probe| probe.url.clone()).collect();
        let record = self.read_record();
        Observation { at: now(), me, own_data, own_commit: None, etcd: None, record, group, ec2, probes, before }
    }

    fn read_record(&self) -> Seen<Record> {
        let read = match self.places.policy.role {
            Role::Member => record::read(&self.places.data_dir),
            Role::Consumer => Ok(None),
        };
        match read {
            Ok(Some(record)) => Seen::Yes(record),
            Ok(None) => Seen::No(Blind { kind: BlindKind::Absent, why: "this disk has agreed to nothing".into() }),
            Err(why) => Seen::No(Blind { kind: BlindKind::Malformed, why }),
        }
    }

    /// Who this node is.
    ///
    /// # Errors
    /// Why the metadata could not be read.
    pub async fn identity(&mut self) -> Result<Identity, Blind> {
        match self.identify(Freshness::LastReply).await {
            Seen::Yes(me) => Ok(me),
            Seen::No(blind) => Err(blind),
        }
    }

    /// What one peer port says.
    pub async fn ask_peer(&self, url: &MemberUrl) -> PeerAnswer {
        peer::fetch_peer(&self.ports.peer, url, None).await
    }

    /// Waits until one of some founders serves, and returns its peer URL; None when all their turns are over.
    ///
    /// The second one's turn begins when that of the first is over, and so on: as a rule the first alone is asked.
    pub async fn wait_for_turn(&self, after: &After) -> Option<MemberUrl> {
        let mut asked = JoinSet::new();
        for (turns, url) in (0..).zip(after.peer_urls.iter().cloned()) {
            let (ports, before) = (self.ports.clone(), after.turn * turns);
            asked.spawn(async move {
                tokio::time::sleep(before).await;
                while !matches!(peer::fetch_peer(&ports.peer, &url, None).await, PeerAnswer::Member(_)) {
                    tokio::time::sleep(TURN_PAUSE).await;
                }
                url
            });
        }
        let all = after.turn * u32::try_from(after.peer_urls.len()).unwrap_or(1);
        tokio::time::timeout(all, asked.join_next()).await.ok()??.ok()
    }

    /// The group as Auto Scaling has it now.
    ///
    /// # Errors
    /// Why it could not be read.
    pub async fn fetch_group(&mut self) -> Result<Group, Blind> {
        let name = self.group_name().await?;
        self.aws().await?.0.fetch_group(&name, now()).await
    }

    async fn group_name(&mut self) -> Result<String, Blind> {
        if let Some(name) = &self.group_name {
            return Ok(name.clone());
        }
        let (aws, me) = self.aws().await?;
        let name = aws.fetch_group_name(&me.instance).await?;
        Ok(self.group_name.insert(name).clone())
    }

    /// The AWS clients, once the region is known; the group's tag is written through them.
    ///
    /// # Errors
    /// Why the metadata, which names the region, could not be read.
    pub async fn aws(&mut self) -> Result<(&aws::Aws, Identity), Blind> {
        let me = self.identity().await?;
        if self.aws.is_none() {
            self.aws = Some(aws::Aws::new(self.http.clone(), &me.region).await);
        }
        Ok((self.aws.as_ref().expect("it was made above"), me))
    }

    async fn identify(&mut self, fresh: Freshness) -> Seen<Identity> {
        match (&mut self.identity, fresh) {
            (Some(me), Freshness::LastReply) => Seen::Yes(me.clone()),
            (Some(me), Freshness::Fresh) => {
                // All else stays as it is for as long as the instance runs.
                if let Ok(state) = imds::fetch_target_lifecycle_state(&self.imds).await {
                    me.target_lifecycle_state = state;
                }
                Seen::Yes(me.clone())
            }
            (None, _) => match imds::fetch_identity(&self.imds).await {
                Ok(me) => Seen::Yes(self.identity.insert(me).clone()),
                Err(blind) => Seen::No(blind),
            },
        }
    }

    async fn look_at_cloud(
        &mut self,
        me: &Seen<Identity>,
        before: Option<&Before>,
        fresh: Freshness,
        own_data: &OwnData,
    ) -> (Seen<Group>, Seen<Ec2>) {
        if let (Some(cloud), Freshness::LastReply) = (&self.cloud, fresh) {
            return cloud.clone();
        }
        if let Seen::No(blind) = me {
            return (Seen::No(blind.clone()), Seen::No(blind.clone()));
        }
        let look = self.fetch_cloud(before, own_data);
        let (group, ec2) = match own_data {
            OwnData::Log { .. } => match tokio::time::timeout(CLOUD_TIMEOUT_WITH_DATA, look).await {
                Ok(seen) => seen,
                Err(_) => {
                    let why = format!("AWS gave no answer within {} s", CLOUD_TIMEOUT_WITH_DATA.as_secs());
                    let blind = Blind { kind: BlindKind::Unreachable, why };
                    (Seen::No(blind.clone()), Seen::No(blind))
                }
            },
            OwnData::Empty | OwnData::NoLog | OwnData::Unreadable { .. } => look.await,
        };
        self.cloud.insert((group, ec2)).clone()
    }

    /// The group and its instances are asked for side by side. By the tag that Auto Scaling gives them EC2 tells of the
    /// terminated ones too, so that the first pass knows who is dead.
    async fn fetch_cloud(&mut self, before: Option<&Before>, own_data: &OwnData) -> (Seen<Group>, Seen<Ec2>) {
        let name = self.group_name().await;
        let (name, aws) = match (name, self.aws().await) {
            (Ok(name), Ok((aws, _))) => (name, aws.clone()),
            (Err(blind), _) | (_, Err(blind)) => return (Seen::No(blind.clone()), Seen::No(blind)),
        };
        let (group, tagged) = tokio::join!(aws.fetch_group(&name, now()), aws.fetch_instances_of(&name));
        let group = match group {
            Ok(group) => group,
            Err(blind) => return (Seen::No(blind.clone()), Seen::No(blind)),
        };
        let wanted = self.worth_asking_about(&group, before, own_data);
        let ec2 = match tagged {
            Ok(tagged) => and_the_others(&aws, tagged, wanted).await,
            Err(blind) => Err(blind),
        };
        (Seen::Yes(group), ec2.map_or_else(Seen::No, Seen::Yes))
    }

    fn worth_asking_about(&self, group: &Group, before: Option<&Before>, own_data: &OwnData) -> BTreeSet<InstanceId> {
        let mut ids: BTreeSet<InstanceId> = group.instances.keys().cloned().collect();
        ids.extend(before.iter().flat_map(|b| b.member_instances.iter().cloned()));
        if self.places.policy.role == Role::Member {
            ids.extend(self.identity.as_ref().map(|me| me.instance.clone()));
            // A node with data decides on its first pass: what became of its founders must be asked in that one.
            if let OwnData::Log { founders, .. } = own_data {
                ids.extend(founders.iter().filter_map(|f| InstanceId::from_member_name(&f.name)));
            }
            let tagged = group.founding_tag.as_deref().and_then(agreement::read_tag);
            ids.extend(tagged.into_iter().flat_map(|tagged| tagged.founders).map(|(id, _)| id));
        }
        ids
    }

    /// Asks every instance of the group, then every listed member that was not among them: two steps, each all at once.
    async fn probe(
        &self,
        me: &Seen<Identity>,
        group: &Seen<Group>,
        ec2: &Seen<Ec2>,
        said: Option<&Statement>,
    ) -> Vec<Probe> {
        let policy = &self.places.policy;
        let own_port = |url: &MemberUrl| me.ok().is_some_and(|me| policy.is_peer_url_of(&me.addresses, url));
        let mine = |url: &MemberUrl| self.places.own == Own::LeftOut && own_port(url);
        let targets = targets(policy, group, ec2).into_iter().filter(|target| !mine(&target.url)).collect();
        let mut probes = self.probe_all(targets, said).await;
        if policy.role == Role::Member {
            let asked: BTreeSet<MemberUrl> = probes.iter().map(|probe| probe.url.clone()).collect();
            // The address of a terminated instance answers nobody, and waiting for that costs a second a pass. One that
            // does answer is asked again: it speaks against EC2's word (F88).
            let instance = |m: &Member| ec2.ok()?.found.get(&InstanceId::from_member_name(&m.name)?);
            let worth_it =
                |m: &Member, url: &MemberUrl| !instance(m).is_some_and(is_terminated) || self.heard.contains(url);
            let listed = probes.iter().flat_map(listed_members);
            let listed = listed.flat_map(|m| m.peer_urls.iter().map(move |url| (url, m)));
            let further: BTreeMap<&MemberUrl, &Member> =
                listed.filter(|(url, m)| worth_it(m, url) && !asked.contains(*url) && !mine(url)).collect();
            let further = further.into_iter().map(|(url, m)| Target {
                instance: None,
                url: url.clone(),
                third: instance(m).filter(|i| !is_terminated(i)).map(patience),
            });
            probes.extend(self.probe_all(further.collect(), said).await);
        }
        probes.sort_by(|a, b| a.url.cmp(&b.url));
        probes
    }

    async fn probe_all(&self, targets: Vec<Target>, said: Option<&Statement>) -> Vec<Probe> {
        let mut probes = JoinSet::new();
        let confirmed = Arc::new(watch::Sender::default());
        for target in targets {
            let (ports, said, confirmed) = (self.ports.clone(), said.cloned(), confirmed.clone());
            probes.spawn(async move { ports.probe(target, said, &confirmed).await });
        }
        probes.join_all().await
    }
}

impl Ports {
    /// Asks both ports at once, and drops the client port as soon as the peer port makes it needless: that of an etcd
    /// accepts and says nothing before it has published itself (E17; embed/serve.go:136, v3.7.1).
    ///
    /// `confirmed` holds the members that have told a list which a quorum stands behind; one may have several URLs.
    async fn probe(
        &self,
        Target { instance, url, third }: Target,
        said: Option<Statement>,
        confirmed: &watch::Sender<BTreeSet<MemberId>>,
    ) -> Probe {
        let client_url = self.policy.client_url_beside(&url);
        let client = async {
            let view = etcd::fetch_client_view(self.client_tls.as_deref(), &client_url).await;
            if let Ok(ClientView { member_id, quorum_list: Seen::Yes(_), .. }) = &view {
                confirmed.send_if_modified(|members| members.insert(*member_id));
            }
            view
        };
        if self.policy.role == Role::Consumer {
            let client = Some(client.await);
            return Probe { instance, url: client_url, peer: PeerAnswer::Absent(Absence::NotAsked), client };
        }
        let mut client = std::pin::pin!(client);
        let mut early: Option<Result<ClientView, Absence>> = None;
        let peer = {
            let mut asked = std::pin::pin!(peer::fetch_peer(&self.peer, &url, said.as_ref()));
            let mut enough = std::pin::pin!(enough(confirmed, third));
            loop {
                tokio::select! {
                    peer = &mut asked => break peer,
                    view = &mut client, if early.is_none() => early = Some(view),
                    waited = &mut enough => break PeerAnswer::Absent(Absence::NoAnswer(waited)),
                }
            }
        };
        let client = match (&peer, early) {
            (PeerAnswer::Founding(_), _) => None,
            (PeerAnswer::Member(_) | PeerAnswer::Absent(_), Some(view)) => Some(view),
            (PeerAnswer::Member(view), None) if view.cluster_version.is_none() || is_unpublished(view, &url) => None,
            // An etcd that starts, as a rule; and whoever it is, no rule asks more of a port that speaks.
            (PeerAnswer::Absent(Absence::NotEtcd(_)), None) => None,
            (PeerAnswer::Member(_), None) => Some(tokio::select! {
                view = client => view,
                waited = enough(confirmed, third.or(Some(TIME_FOR_A_THIRD))) => Err(Absence::NoAnswer(waited)),
            }),
            (PeerAnswer::Absent(_), None) => Some(tokio::select! {
                view = client => view,
                waited = enough(confirmed, third) => Err(Absence::NoAnswer(waited)),
            }),
        };
        Probe { instance, url, peer, client }
    }
}

/// Waits until nothing more is worth waiting for, and tells how long a third member was waited for. For ever where that
/// is None.
async fn enough(confirmed: &watch::Sender<BTreeSet<MemberId>>, third: Option<Duration>) -> Duration {
    let Some(third) = third else { return std::future::pending().await };
    // It fails when the sender is gone, and it is borrowed here.
    let _ = confirmed.subscribe().wait_for(|members| members.len() >= 2).await;
    tokio::time::sleep(third).await;
    third
}

/// What is asked for etcd.
struct Target {
    /// None for a member that is listed only.
    instance: Option<InstanceId>,
    url: MemberUrl,
    /// How long its ports are waited for when two others have confirmed the list. None where the answer counts, or that
    /// there is none: EC2 does not know the instance, or calls one terminated that has answered (F88).
    third: Option<Duration>,
}

/// What one that is shutting down may still say changes nothing, and on AWS its address soon answers nobody.
fn patience(instance: &Instance) -> Duration {
    if instance.state == "shutting-down" { Duration::ZERO } else { TIME_FOR_A_THIRD }
}

/// EC2's reply with those added that it should hold and does not: new ones whose tag is late, and members of elsewhere.
async fn and_the_others(aws: &aws::Aws, mut ec2: Ec2, wanted: BTreeSet<InstanceId>) -> Result<Ec2, Blind> {
    let missing: BTreeSet<InstanceId> = wanted.difference(&ec2.asked).cloned().collect();
    // A filter without a value is an error to EC2.
    if !missing.is_empty() {
        let others = aws.fetch_instances(&missing).await?;
        ec2.asked.extend(others.asked);
        ec2.found.extend(others.found);
    }
    Ok(ec2)
}

/// The group's instances that can have an etcd.
fn targets(policy: &Policy, group: &Seen<Group>, ec2: &Seen<Ec2>) -> Vec<Target> {
    let (Seen::Yes(group), Seen::Yes(ec2)) = (group, ec2) else { return Vec::new() };
    let in_group = group.instances.iter().filter(|(_, state)| !state.starts_with("Warmed"));
    in_group
        .filter_map(|(id, _)| {
            let instance = ec2.found.get(id).filter(|i| !is_terminated(i) && i.state != "stopped")?;
            let url = policy.peer_url(&instance.addresses)?;
            Some(Target { instance: Some(id.clone()), url, third: Some(patience(instance)) })
        })
        .collect()
}

/// Whether the etcd at this peer URL lists itself as not published.
fn is_unpublished(view: &PeerView, url: &MemberUrl) -> bool {
    view.members.iter().any(|m| m.peer_urls.contains(url) && !m.published())
}

fn is_terminated(instance: &Instance) -> bool {
    instance.state == "terminated"
}

fn listed_members(probe: &Probe) -> impl Iterator<Item = &Member> {
    let local = match &probe.peer {
        PeerAnswer::Member(view) => view.members.as_slice(),
        PeerAnswer::Founding(_) | PeerAnswer::Absent(_) => &[],
    };
    let confirmed = match &probe.client {
        Some(Ok(view)) => view.quorum_list.ok().map(Vec::as_slice).unwrap_or_default(),
        Some(Err(_)) | None => &[],
    };
    local.iter().chain(confirmed)
}

/// The time to the millisecond, as a saved observation keeps it: decided again, it must give the same.
///
/// From the first call on the clock that nobody sets counts: a first boot is when the wall clock is often set, and that
/// must neither end a grace nor prolong it.
pub fn now() -> SystemTime {
    static FIRST: LazyLock<(SystemTime, Instant)> = LazyLock::new(|| (SystemTime::now(), Instant::now()));
    let (wall, first) = *FIRST;
    let since = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default() + first.elapsed();
    let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
}
