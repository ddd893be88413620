//! Reading an observation: what answers, of which cluster it is, and whom it lists.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use crate::model::{
    Absence, Blind, BlindKind, ClientView, ClusterId, Ec2, Group, Identity, Member, MemberId, MemberUrl, Observation,
    OwnData, PeerAnswer, PeerView, Probe, Reason, Seen, Sighting,
};

pub(super) fn tag_names(o: &Observation, cluster: ClusterId) -> bool {
    let tag = o.group.ok().and_then(|group| group.cluster_tag.as_ref());
    tag.is_some_and(|tag| cluster.is_meant_by(tag))
}

/// The group's tag where it names another cluster than this one.
pub(super) fn other_tag(o: &Observation, cluster: ClusterId) -> Option<&str> {
    o.group.ok()?.cluster_tag.as_deref().filter(|tag| !cluster.is_meant_by(tag))
}

/// Whether a person has given a cluster up, and another was recovered from it: what comes back of it is nobody's to join or
/// to follow. Who writes its id to the group's tag again has taken that back.
pub(super) fn is_given_up(o: &Observation, cluster: ClusterId) -> bool {
    o.group.ok().is_some_and(|group| group.replaced.contains(&cluster)) && !tag_names(o, cluster)
}

/// A finding that an earlier pass may have made too, with this one counted.
pub(super) fn continued<T>(
    earlier: Option<&Sighting<T>>,
    value: T,
    at: SystemTime,
    last_read: SystemTime,
) -> Sighting<T> {
    match earlier {
        None => Sighting { value, first_seen: at, last_read, reads: 1 },
        Some(s) => {
            let reads = s.reads.saturating_add(u32::from(s.last_read != last_read));
            Sighting { value, first_seen: s.first_seen, last_read, reads }
        }
    }
}

/// Every member that anyone lists, the quorum's word first.
pub fn listed_members(o: &Observation) -> BTreeMap<MemberId, &Member> {
    let clusters = formed_clusters(o);
    let confirmed = clusters.values().filter_map(Cluster::confirmed_list).flatten();
    let local = peer_views(o).flat_map(|view| &view.members);
    let mut listed = BTreeMap::new();
    for member in confirmed.chain(local) {
        listed.entry(member.id).or_insert(member);
    }
    listed
}

/// The list of the cluster that this node's data is of, as a quorum confirms it; None where it has none, or nobody does.
pub fn members_of_own_cluster(o: &Observation) -> Option<&[Member]> {
    let OwnData::Log { cluster_id, .. } = &o.own_data else { return None };
    formed_clusters(o).get(cluster_id)?.confirmed_list()
}

/// A cluster that had a leader, and what its members said.
pub(super) struct Cluster<'a> {
    pub(super) id: ClusterId,
    /// By peer URL.
    pub(super) views: Vec<(&'a MemberUrl, &'a PeerView)>,
    pub(super) clients: Vec<(&'a MemberUrl, &'a Result<ClientView, Absence>)>,
}

impl<'a> Cluster<'a> {
    /// The list of a member that a quorum confirmed: the authority (F20).
    pub(super) fn confirmed_list(&self) -> Option<&'a [Member]> {
        self.serving().find_map(|(_, view)| view.quorum_list.ok()).map(Vec::as_slice)
    }

    /// Whether a member's etcd answers as one of this cluster: at its peer port, where those can be asked.
    pub(super) fn answers(&self, m: &Member) -> bool {
        match self.views.is_empty() {
            true => self.serving().any(|(_, view)| view.member_id == m.id),
            false => self.views.iter().any(|(url, _)| m.peer_urls.contains(url)),
        }
    }

    /// A member's entry, as confirmed or else as anyone lists it.
    pub(super) fn row(&self, member: MemberId) -> Option<&'a Member> {
        let local = self.views.iter().flat_map(|(_, view)| &view.members);
        self.confirmed_list().into_iter().flatten().chain(local).find(|m| m.id == member)
    }

    /// How far a quorum has committed, by the furthest of those that it confirmed the list to.
    pub(super) fn commit(&self) -> Option<u64> {
        let confirmed = self.serving().filter(|(_, view)| view.quorum_list.ok().is_some());
        confirmed.filter_map(|(_, view)| view.commit).max()
    }

    pub(super) fn serving(&self) -> impl Iterator<Item = (&'a MemberUrl, &'a ClientView)> {
        self.clients.iter().filter_map(|(url, view)| Some((*url, view.as_ref().ok()?)))
    }

    /// Whether a majority of this cluster's voters say each for itself that a member is not listed. The way to know
    /// it where client auth hides the confirmed list. One that knows no leader may still read its log, and has no say.
    pub(super) fn majority_lacks(&self, member: MemberId) -> bool {
        let led = |url: &MemberUrl| self.serving().any(|(of, client)| of == url && client.leader.is_some());
        let lacking = self.views.iter().filter(|(url, _)| led(url));
        let lacking = lacking.filter(|(_, view)| !view.members.iter().any(|m| m.id == member));
        lacking.clone().any(|(_, view)| {
            let voters = view.members.iter().filter(|m| !m.learner).count();
            let voices = view.members.iter().filter(|m| !m.learner);
            let voices = voices.filter(|m| lacking.clone().any(|(url, _)| m.peer_urls.contains(url))).count();
            voices >= quorum(voters)
        })
    }

    pub(super) fn client_failures(&self) -> impl Iterator<Item = (&'a MemberUrl, Blind)> {
        self.clients.iter().filter_map(|(url, view)| match view {
            Ok(view) => match &view.quorum_list {
                Seen::Yes(_) => None,
                Seen::No(blind) => Some((*url, blind.clone())),
            },
            Err(Absence::Denied(why)) => Some((*url, Blind { kind: BlindKind::Denied, why: why.clone() })),
            Err(absence) => Some((*url, Blind { kind: BlindKind::Unreachable, why: absence.to_string() })),
        })
    }
}

/// Whether an answer is none of this group's. On the address of a dead member may be anybody: what counts there is a
/// cluster that the group's own instances list it for (F91).
pub fn is_stranger(o: &Observation, probe: &Probe) -> bool {
    let lists_it = |lister: &Probe, cluster: ClusterId| {
        let local = match &lister.peer {
            PeerAnswer::Etcd(view) if view.cluster_id == cluster => view.members.as_slice(),
            PeerAnswer::Etcd(_) | PeerAnswer::Agent(_) | PeerAnswer::Absent(_) => &[],
        };
        let confirmed = match &lister.client {
            Some(Ok(view)) if view.cluster_id == cluster => {
                view.quorum_list.ok().map(Vec::as_slice).unwrap_or_default()
            }
            Some(Ok(_) | Err(_)) | None => &[],
        };
        lister.instance.is_some() && local.iter().chain(confirmed).any(|m| m.peer_urls.contains(&probe.asked))
    };
    probe.instance.is_none()
        && match &probe.peer {
            PeerAnswer::Etcd(view) => !o.probes.iter().any(|lister| lists_it(lister, view.cluster_id)),
            PeerAnswer::Agent(said) => o.group.ok().is_some_and(|group| group.arn != said.group),
            PeerAnswer::Absent(_) => false,
        }
}

pub(super) fn peer_views(o: &Observation) -> impl Iterator<Item = &PeerView> {
    etcds(o).map(|(_, view)| view)
}

/// What answers as etcd, with its URL, and is no stranger.
pub(super) fn etcds(o: &Observation) -> impl Iterator<Item = (&MemberUrl, &PeerView)> {
    o.probes.iter().filter(|probe| !is_stranger(o, probe)).filter_map(|probe| match &probe.peer {
        PeerAnswer::Etcd(view) => Some((&probe.asked, view)),
        PeerAnswer::Agent(_) | PeerAnswer::Absent(_) => None,
    })
}

pub(super) fn client_views(o: &Observation) -> impl Iterator<Item = (&MemberUrl, &ClientView)> {
    o.probes.iter().filter_map(client_view)
}

/// What a client port told, with its URL; None where it was not asked, or told nothing.
pub(super) fn client_view(probe: &Probe) -> Option<(&MemberUrl, &ClientView)> {
    Some((&probe.asked, probe.client.as_ref()?.as_ref().ok()?))
}

/// The clusters that had a leader, by what any member says (E17: `not_decided` before the first).
pub(super) fn formed_clusters(o: &Observation) -> BTreeMap<ClusterId, Cluster<'_>> {
    let mut formed: BTreeMap<ClusterId, Cluster<'_>> = BTreeMap::new();
    let mut probes: Vec<&Probe> = o.probes.iter().filter(|probe| !is_stranger(o, probe)).collect();
    probes.sort_by(|a, b| a.asked.cmp(&b.asked));
    for probe in probes {
        let view = match &probe.peer {
            PeerAnswer::Etcd(view) if !is_given_up(o, view.cluster_id) => view,
            PeerAnswer::Etcd(_) | PeerAnswer::Agent(_) | PeerAnswer::Absent(_) => continue,
        };
        let led = matches!(&probe.client, Some(Ok(client)) if client.leader.is_some());
        let ran = view.members.iter().any(Member::published);
        if view.cluster_version.is_none() && !led && !ran {
            continue;
        }
        let id = view.cluster_id;
        let cluster = formed.entry(id).or_insert(Cluster { id, views: Vec::new(), clients: Vec::new() });
        cluster.views.push((&probe.asked, view));
        cluster.clients.extend(probe.client.as_ref().map(|client| (&probe.asked, client)));
    }
    formed
}

/// The same for who only looks, and may be let to client ports alone: a consumer, and who looks from outside. Then a cluster
/// is what a quorum of it confirms there, and has no views.
pub(super) fn seen_clusters(o: &Observation) -> BTreeMap<ClusterId, Cluster<'_>> {
    if !o.probes.iter().all(|probe| matches!(probe.peer, PeerAnswer::Absent(_))) {
        return formed_clusters(o);
    }
    let mut seen: BTreeMap<ClusterId, Cluster<'_>> = BTreeMap::new();
    let clients = || o.probes.iter().filter_map(|probe| Some((&probe.asked, probe.client.as_ref()?)));
    for (url, client) in clients() {
        if let Ok(view) = client
            && !is_given_up(o, view.cluster_id)
        {
            let id = view.cluster_id;
            let cluster = seen.entry(id).or_insert(Cluster { id, views: Vec::new(), clients: Vec::new() });
            cluster.clients.push((url, client));
        }
    }
    for cluster in seen.values_mut() {
        let list = cluster.confirmed_list().unwrap_or_default();
        let listed = |url: &MemberUrl| list.iter().any(|m| m.peer_urls.contains(url) || m.client_urls.contains(url));
        cluster.clients.extend(clients().filter(|(url, client)| client.is_err() && listed(url)));
    }
    seen
}

/// This node and its group, each as it was seen.
pub(super) fn me_and_group(o: &Observation) -> Result<(&Identity, &Group), Reason> {
    match (&o.me, &o.group) {
        (Seen::Yes(me), Seen::Yes(group)) => Ok((me, group)),
        (Seen::No(blind), _) => Err(Reason::MetadataBlind(blind.clone())),
        (_, Seen::No(blind)) => Err(Reason::GroupBlind(blind.clone())),
    }
}

/// Why the group is not tagged with this cluster's id, where that was tried in vain.
pub(super) fn tag_refused(o: &Observation, cluster: ClusterId) -> Option<Reason> {
    let blind = o.history.as_ref()?.deeds.tag_refused.clone()?;
    Some(Reason::TagRefused { cluster, blind })
}

/// The group, EC2's reply and this node, where both replies hold this node: a reply that lacks the one who asks is
/// partial or another's, and proves nothing (F34).
pub(super) fn own_group(o: &Observation) -> Result<(&Identity, &Group, &Ec2), Reason> {
    let (me, group) = me_and_group(o)?;
    let ec2 = match &o.ec2 {
        Seen::Yes(ec2) => ec2,
        Seen::No(blind) => return Err(Reason::Ec2Blind(blind.clone())),
    };
    if !group.instances.contains_key(&me.instance) || !ec2.found.contains_key(&me.instance) {
        return Err(Reason::NotInGroup { group: group.name.clone() });
    }
    Ok((me, group, ec2))
}

pub(super) fn quorum(voters: usize) -> usize {
    voters / 2 + 1
}

/// The time between two moments; nothing where the clock went back.
pub(super) fn elapsed(from: SystemTime, to: SystemTime) -> Duration {
    to.duration_since(from).unwrap_or_default()
}

pub(super) fn describe(probe: Option<&Probe>) -> String {
    match probe.map(|probe| &probe.peer) {
        None => "has no address".to_owned(),
        Some(PeerAnswer::Absent(absence)) => absence.to_string(),
        Some(PeerAnswer::Etcd(_)) => "answers as etcd".to_owned(),
        Some(PeerAnswer::Agent(_)) => "waits too".to_owned(),
    }
}
