//! Both etcd ports of one node at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::etcd::user::Access;
use crate::etcd::{client, peer};
use crate::model::{
    Absence, ClientView, Ec2State, Instance, InstanceId, Member, MemberId, MemberUrl, PeerAnswer, PeerView, Policy,
    Predecessors, Probe, Seen, Statement, Until,
};
use crate::tls::Tls;

/// Two members that confirmed the list can tell all there is to tell, whichever of them is to be removed. The others get
/// this much longer: the client port of an etcd that has joined just now may be silent for 7 s, and both of a host that
/// has died are for ever.
const GRACE_AFTER_TWO: Duration = Duration::from_millis(200);

/// A founder's etcd serves after tens of milliseconds.
const TURN_PAUSE: Duration = Duration::from_millis(10);

/// The members that have told a list which a quorum stands behind, in one pass; one may have several URLs.
pub(super) type Confirmed = Arc<watch::Sender<BTreeSet<MemberId>>>;

/// How the etcd ports are asked.
pub struct Ports {
    policy: Policy,
    peer: reqwest::Client,
    client: Access,
}

/// What is asked for etcd.
pub(super) struct Target {
    /// None for a member that is listed only.
    pub instance: Option<InstanceId>,
    /// Its peer URL.
    pub url: MemberUrl,
    /// How long its ports are waited for when two others have confirmed the list. None where the answer counts, or that
    /// there is none: EC2 does not know the instance, or calls one terminated that has answered (F88).
    pub third: Option<Duration>,
}

/// What one that is shutting down may still say changes nothing, and on AWS its address soon answers nobody.
pub(super) fn patience(instance: &Instance) -> Duration {
    if instance.state == Ec2State::ShuttingDown { Duration::ZERO } else { GRACE_AFTER_TWO }
}

impl Ports {
    /// A port without TLS needs none.
    pub fn new(policy: Policy, peer_tls: Option<&Tls>, client: Access) -> Self {
        Self { policy, peer: peer::client(peer_tls), client }
    }

    /// What one peer port says.
    pub async fn ask_peer(&self, url: &MemberUrl) -> PeerAnswer {
        peer::fetch_peer(&self.peer, url, None).await
    }

    /// What one client port says.
    ///
    /// # Errors
    /// Why it says nothing of use.
    pub async fn ask_client(&self, url: &MemberUrl) -> Result<ClientView, Absence> {
        client::fetch_client_view(&self.client, url).await
    }

    /// Until when the certificates are valid that these client ports show.
    pub async fn certificate_ends(&self, urls: BTreeMap<MemberId, MemberUrl>) -> BTreeMap<MemberId, SystemTime> {
        let mut asked = JoinSet::new();
        for (member, url) in urls {
            let tls = self.client.tls.clone();
            asked.spawn(async move { Some((member, client::fetch_certificate_end(tls.as_deref(), &url).await?)) });
        }
        asked.join_all().await.into_iter().flatten().collect()
    }

    /// Waits until enough of those before this one serve, and returns whether they do; false when their turns are over.
    ///
    /// Where one is enough, the second one's turn begins when that of the first is over, and so on: as a rule the first
    /// alone is asked.
    pub async fn wait_for_turn(self: &Arc<Self>, after: &Predecessors) -> bool {
        let mut asked = JoinSet::new();
        for (turns, url) in (0..).zip(after.peer_urls.iter().cloned()) {
            let ports = self.clone();
            let before = match after.until {
                Until::OneServes => after.turn * turns,
                Until::AllServe => Duration::ZERO,
            };
            asked.spawn(async move {
                tokio::time::sleep(before).await;
                while !matches!(ports.ask_peer(&url).await, PeerAnswer::Etcd(_)) {
                    tokio::time::sleep(TURN_PAUSE).await;
                }
            });
        }
        let turns = u32::try_from(after.peer_urls.len()).unwrap_or(1);
        match after.until {
            Until::OneServes => tokio::time::timeout(after.turn * turns, asked.join_next()).await.is_ok(),
            Until::AllServe => tokio::time::timeout(after.turn, asked.join_all()).await.is_ok(),
        }
    }

    /// Asks a client port alone, as a consumer does.
    pub(super) async fn probe_client(&self, instance: Option<InstanceId>, url: MemberUrl) -> Probe {
        let client = Some(self.ask_client(&url).await);
        Probe { instance, asked: url, peer: PeerAnswer::Absent(Absence::NotAsked), client }
    }

    /// Asks the own peer port, and the client port once that of a published voter may speak: until then it accepts and says
    /// nothing, for 7 s where etcd has missed the word of its own publication, and who promotes a learner waits for that
    /// in vain.
    pub(super) async fn probe_own(&self, instance: InstanceId, url: MemberUrl) -> Probe {
        let peer = self.ask_peer(&url).await;
        let client = match &peer {
            PeerAnswer::Etcd(view) if lists_itself(view, &url, |m| m.learner || !m.published()) => None,
            PeerAnswer::Etcd(_) => Some(self.ask_client(&self.policy.client_url_beside(&url)).await),
            PeerAnswer::Agent(_) | PeerAnswer::Absent(_) => None,
        };
        Probe { instance: Some(instance), asked: url, peer, client }
    }

    /// Asks both ports at once, and drops the client port as soon as the peer port makes it needless: that of an etcd
    /// accepts and says nothing before it has published itself (E17; embed/serve.go:136, v3.7.1).
    pub(super) async fn probe(
        &self,
        Target { instance, url, third }: Target,
        statement: Option<Statement>,
        confirmed: &Confirmed,
    ) -> Probe {
        let client_url = self.policy.client_url_beside(&url);
        let client = async {
            let view = client::fetch_client_view(&self.client, &client_url).await;
            if let Ok(ClientView { member_id, quorum_list: Seen::Yes(_), .. }) = &view {
                confirmed.send_if_modified(|members| members.insert(*member_id));
            }
            view
        };
        let mut client = std::pin::pin!(client);
        let mut early: Option<Result<ClientView, Absence>> = None;
        let peer = {
            let mut asked = std::pin::pin!(peer::fetch_peer(&self.peer, &url, statement.as_ref()));
            let mut enough = std::pin::pin!(two_confirmed(confirmed, third));
            loop {
                tokio::select! {
                    peer = &mut asked => break peer,
                    view = &mut client, if early.is_none() => early = Some(view),
                    // Who speaks on the one port is heard on the other.
                    waited = &mut enough, if !matches!(early, Some(Ok(_))) => break PeerAnswer::Absent(Absence::NoAnswer(waited)),
                }
            }
        };
        let client = match (&peer, early) {
            (PeerAnswer::Agent(_), _) => None,
            (PeerAnswer::Etcd(_) | PeerAnswer::Absent(_), Some(view)) => Some(view),
            (PeerAnswer::Etcd(view), None)
                if view.cluster_version.is_none() || lists_itself(view, &url, |m| !m.published()) =>
            {
                None
            }
            // An etcd that starts, as a rule. No rule asks more of a port that speaks, whoever it is.
            (PeerAnswer::Absent(Absence::NotUnderstood(_)), None) => None,
            (PeerAnswer::Etcd(_), None) => Some(tokio::select! {
                view = client => view,
                waited = two_confirmed(confirmed, third.or(Some(GRACE_AFTER_TWO))) => Err(Absence::NoAnswer(waited)),
            }),
            (PeerAnswer::Absent(_), None) => Some(tokio::select! {
                view = client => view,
                waited = two_confirmed(confirmed, third) => Err(Absence::NoAnswer(waited)),
            }),
        };
        Probe { instance, asked: url, peer, client }
    }
}

/// Waits until two members have confirmed the list, and then as long as a third is worth waiting for; tells how long that
/// was. For ever where that is None.
async fn two_confirmed(confirmed: &Confirmed, third: Option<Duration>) -> Duration {
    let Some(third) = third else { return std::future::pending().await };
    // It fails when the sender is gone, and it is borrowed here.
    let _ = confirmed.subscribe().wait_for(|members| members.len() >= 2).await;
    tokio::time::sleep(third).await;
    third
}

/// Whether the etcd at this peer URL lists itself, and as such a member.
fn lists_itself(view: &PeerView, url: &MemberUrl, such: impl Fn(&Member) -> bool) -> bool {
    view.members.iter().any(|m| m.peer_urls.contains(url) && such(m))
}
