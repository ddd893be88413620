//! etcd's rules of membership, as far as agents can run into them; each with its source (etcd v3.7.1) or
//! its experiment (E..).
//!
//! A cluster is what its leader's side has committed. Members that the leader does not reach keep their last list.

use super::memory::Agent;
use super::spell;
use super::world::{Act, Address, Broken, Disk, Id, Log, Member, Node, Nonce, World};

/// Ids of members added at run time start here, above all addresses.
pub const FIRST_ADDED: Member = 100;

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Cluster {
    pub id: Id,
    /// Which disks have begun it as `new`.
    pub begun: Vec<(Node, Nonce)>,
    /// As the first founder's log has it.
    pub founding_list: Vec<Row>,
    /// It had a leader, and from then on acknowledges writes.
    pub formed: bool,
    /// As committed; before the first leader, as the founders begin.
    pub list: Vec<Row>,
}

/// An entry of the member list.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Row {
    pub id: Member,
    pub address: Address,
    /// None until a member added at run time has published its name; founders have one from the start (E17).
    pub name: Option<Node>,
    /// Has client URLs.
    pub published: bool,
    pub learner: bool,
    /// A leader has heard this member's log acknowledge entries. Nobody can see that from outside.
    pub ran: bool,
}

/// etcd's strict reconfiguration check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Strict {
    /// Before 3.5.30, 3.6.11: all voters must be connected for an add.
    AllVoters,
    /// Since then: a quorum of the list with the new member must be.
    Quorum,
    /// `--strict-reconfig-check=false`.
    Off,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    Add { address: Address, learner: bool },
    Remove(Member),
    Promote(Member),
}

/// The part of a cluster that has a leader.
pub struct Quorate {
    pub cluster: usize,
    /// The leader, and the members that are linked to it.
    pub nodes: Vec<Node>,
}

pub fn quorum(voters: usize) -> usize {
    voters / 2 + 1
}

impl Cluster {
    pub fn row(&self, member: Member) -> Option<&Row> {
        self.list.iter().find(|row| row.id == member)
    }

    fn row_mut(&mut self, member: Member) -> Option<&mut Row> {
        self.list.iter_mut().find(|row| row.id == member)
    }

    pub fn voters(&self) -> usize {
        self.list.iter().filter(|row| !row.learner).count()
    }
}

// ---------------------------------------------------------------- leaders

/// Nodes whose etcd runs as a listed member.
fn members(world: &World, cluster: usize) -> impl Iterator<Item = (Node, &Log, &Row)> {
    world.running().filter(|(_, m)| m.etcd_runs).filter_map(move |(n, m)| {
        let log = m.log().filter(|log| log.cluster == cluster)?;
        Some((n, log, world.clusters[cluster].row(log.member)?))
    })
}

/// Who can have a quorum behind it. Raft elects only whom a quorum of logs is not ahead of: of a formed cluster, one
/// that holds all that was acknowledged.
pub fn quorate(world: &World, cluster: usize) -> Option<Quorate> {
    let needed = quorum(world.clusters[cluster].voters());
    let formed = world.clusters[cluster].formed;
    let followers =
        |leader: Node| members(world, cluster).filter(move |(n, ..)| *n == leader || world.linked(leader, *n));
    let voters = |leader: Node| followers(leader).filter(|(.., row)| !row.learner).count();
    let candidates = members(world, cluster).filter(|(_, log, row)| !row.learner && (log.fresh || !formed));
    let candidates = candidates.map(|(n, ..)| (n, voters(n))).filter(|(_, votes)| *votes >= needed);
    let (leader, _) = candidates.max_by_key(|(n, votes)| (*votes, u8::MAX - n))?;
    Some(Quorate { cluster, nodes: followers(leader).map(|(n, ..)| n).collect() })
}

/// The part with a leader that a node belongs to.
pub fn quorate_with(world: &World, n: Node) -> Option<Quorate> {
    let machine = world.machine(n);
    let log = machine.log().filter(|_| machine.etcd_runs)?;
    quorate(world, log.cluster).filter(|part| part.nodes.contains(&n))
}

/// Members that lack acknowledged data and could elect one of themselves.
fn forgetful_quorum(world: &World, cluster: usize) -> bool {
    let needed = quorum(world.clusters[cluster].voters());
    let lacking = || members(world, cluster).filter(|(_, log, row)| !log.fresh && !row.learner).map(|(n, ..)| n);
    world.clusters[cluster].formed
        && lacking().any(|leader| lacking().filter(|n| *n == leader || world.linked(leader, *n)).count() >= needed)
}

/// Whether a quorum of voters has all that was acknowledged, without one node.
pub fn is_whole_without(world: &World, without: Node) -> bool {
    let Some(cluster) = world.formed_cluster() else { return true };
    let whole = members(world, cluster).filter(|(n, log, row)| *n != without && log.fresh && !row.learner);
    whole.count() >= quorum(world.clusters[cluster].voters())
}

/// What follows from any event at once: elections, replication, and the end of removed members.
pub fn settle(world: &mut World) {
    for cluster in 0..world.clusters.len() {
        if forgetful_quorum(world, cluster) && anything_left(world, cluster, |log| log.fresh) {
            world.broken = world.broken.or(Some(Broken::DataLost));
        }
        if let Some(part) = quorate(world, cluster) {
            if !world.clusters[cluster].formed {
                form(world, cluster);
            }
            replicate(world, &part);
            stop_removed(world, &part);
        }
    }
    // Such as one whose disks were put back.
    if (0..world.clusters.len()).filter(|cluster| quorate(world, *cluster).is_some()).count() > 1 {
        world.broken = world.broken.or(Some(Broken::SecondCluster));
    }
}

/// Whether any disk, or a copy of one, is left of a cluster.
fn exists(world: &World, cluster: usize) -> bool {
    let logs = world.running().flat_map(|(_, m)| m.log().into_iter().chain(m.saved.iter().map(|(log, _)| log)));
    logs.into_iter().any(|log| log.cluster == cluster)
}

/// Whether such data of a cluster is left on any instance, or the group's tag says that a cluster exists.
fn anything_left(world: &World, cluster: usize, which: impl Fn(&Log) -> bool) -> bool {
    let holds = |log: &Log| log.cluster == cluster && which(log);
    world.running().filter_map(|(_, m)| m.log()).any(holds) || world.tags.cluster.is_some()
}

fn form(world: &mut World, cluster: usize) {
    let others = |c: &usize| *c != cluster && world.clusters[*c].formed;
    if (0..world.clusters.len()).filter(others).any(|c| world.is_held(c)) || world.tags.cluster.is_some() {
        world.broken = world.broken.or(Some(Broken::SecondCluster));
    }
    world.clusters[cluster].formed = true;
}

/// The leader's side acknowledges writes all the time: whoever is not part of it falls behind.
fn replicate(world: &mut World, part: &Quorate) {
    for n in 0..world.nodes.len() {
        let Disk::Log(log) = &mut world.nodes[n].disk else { continue };
        if log.cluster != part.cluster {
            continue;
        }
        let follows = part.nodes.iter().any(|node| usize::from(*node) == n);
        log.fresh = follows;
        if follows {
            log.led = true;
            log.stale = None;
            let member = log.member;
            world.clusters[part.cluster].row_mut(member).expect("who follows is listed").ran = true;
        }
    }
}

/// Peers answer a removed member 410, and it ends itself with exit code 0 (E5, rafthttp/http.go:405); systemd starts
/// its unit again, the agent first.
fn stop_removed(world: &mut World, part: &Quorate) {
    for n in 0..u8::try_from(world.nodes.len()).expect("few nodes") {
        let machine = world.machine(n);
        let Some(log) = machine.log().filter(|log| log.cluster == part.cluster && machine.etcd_runs) else { continue };
        let removed = world.clusters[part.cluster].row(log.member).is_none();
        if removed && part.nodes.iter().any(|peer| world.linked(n, *peer)) {
            world.machine_mut(n).etcd_runs = false;
        }
    }
}

// ---------------------------------------------------------------- starting

/// Starts etcd with what the agent wrote. An etcd that does not come up leaves no trace; its unit is started again.
pub fn start(world: &mut World, n: Node, new: Option<Id>, list: &[(Option<Node>, Address)]) {
    world.machine_mut(n).agent = Agent::Off;
    let up = match &world.machine(n).disk {
        // With a log, etcd ignores the initial cluster (E11).
        Disk::Log(_) => !world.machine(n).damaged,
        Disk::Empty | Disk::Backend => {
            if world.machine(n).disk == Disk::Backend {
                // etcd would open the old backend as a new member (F46).
                world.broken = Some(Broken::OldBackendOpened);
            }
            match new {
                Some(id) => found(world, n, id, list),
                None => join(world, n, list),
            }
        }
    };
    world.machine_mut(n).etcd_runs = up;
    settle(world);
}

/// `new` (bootstrap.go:351-386).
fn found(world: &mut World, n: Node, id: Id, list: &[(Option<Node>, Address)]) -> bool {
    let own = world.machine(n).address;
    let rows = rows_of(list);
    let fresh = Cluster { id, begun: Vec::new(), formed: false, list: rows.clone(), founding_list: rows.clone() };
    let is_left = |cluster: usize| exists(world, cluster);
    let lost = || (0..world.clusters.len()).find(|cluster| !is_left(*cluster));
    let cluster = match world.clusters.iter().position(|c| c.id == id).filter(|known| is_left(*known)).or_else(lost) {
        Some(known) if world.clusters[known].id == id && exists(world, known) => known,
        Some(lost) => {
            world.clusters[lost] = fresh;
            lost
        }
        None => {
            world.clusters.push(fresh);
            world.clusters.len() - 1
        }
    };
    let disk = (n, world.machine(n).record.as_ref().map_or(0, |record| record.nonce));
    let begun = &mut world.clusters[cluster].begun;
    let taken = begun.iter().any(|other| other.0 == n && *other != disk);
    begun.extend((!begun.contains(&disk)).then_some(disk));
    begun.sort_unstable();
    if taken || !is_founder(world, disk, id) {
        // The founders of before are taken for those of now, and their data for this cluster's (F84).
        world.broken = world.broken.or(Some(Broken::TwoFoundings));
    }
    if is_bootstrapped(world, n, cluster) {
        return false;
    }
    let stale = world.clusters[cluster].formed.then_some(rows);
    begin(world, n, Log { cluster, member: own, led: false, fresh: false, stale });
    true
}

/// Whether an id stands for an agreement of this very disk, as the tag or the record that it starts from has it.
fn is_founder(world: &World, (n, nonce): (Node, Nonce), id: Id) -> bool {
    let agreed = world.nodes.iter().filter_map(|m| m.record.as_ref()?.agreed.as_ref());
    let mut known = agreed.chain(&world.tags.founding).filter(|founders| spell::id_of(founders) == id);
    known.any(|founders| founders.iter().any(|founder| (founder.0, founder.2) == (n, Some(nonce))))
}

fn rows_of(list: &[(Option<Node>, Address)]) -> Vec<Row> {
    let row = |(name, address): &(Option<Node>, Address)| Row {
        id: *address,
        address: *address,
        name: *name,
        published: false,
        learner: false,
        ran: false,
    };
    let mut rows: Vec<Row> = list.iter().map(row).collect();
    rows.sort_unstable_by_key(|row| row.id);
    rows
}

/// etcd's own guard: a peer lists the same id with client URLs (E4b, cluster_util.go:42).
fn is_bootstrapped(world: &World, n: Node, cluster: usize) -> bool {
    let own = world.machine(n).address;
    members(world, cluster).any(|(peer, log, _)| {
        let list = log.stale.as_ref().unwrap_or(&world.clusters[cluster].list);
        world.reaches(n, peer) && list.iter().any(|row| row.id == own && row.published)
    })
}

/// `existing` (bootstrap.go:319-349): the first listed peer that answers gives its local list, and that
/// must be the own one by URLs.
fn join(world: &mut World, n: Node, list: &[(Option<Node>, Address)]) -> bool {
    let own = world.machine(n).address;
    let mut addresses: Vec<Address> = list.iter().map(|(_, address)| *address).collect();
    addresses.sort_unstable();
    let asked = addresses.iter().filter(|a| **a != own).filter_map(|a| world.at(*a));
    let peer = asked.filter(|peer| world.reaches(n, *peer)).find(|peer| world.machine(*peer).etcd_runs);
    let Some(log) = peer.and_then(|peer| world.machine(peer).log()) else { return false };
    let current = &world.clusters[log.cluster].list;
    let theirs = log.stale.as_ref().unwrap_or(current);
    let mut urls: Vec<Address> = theirs.iter().map(|row| row.address).collect();
    urls.sort_unstable();
    // "member count is unequal", "incompatible with current running cluster" (E17)
    if urls != addresses || !log.led {
        return false;
    }
    let Some(row) = theirs.iter().find(|row| row.address == own) else { return false };
    let stale = (theirs != current).then(|| theirs.clone());
    let log = Log { cluster: log.cluster, member: row.id, led: false, fresh: false, stale };
    begin(world, n, log);
    true
}

/// A member with nothing on its disk. Under an id that has acknowledged entries before, it breaks Raft's promise, if it
/// does not panic first (E4a).
fn begin(world: &mut World, n: Node, log: Log) {
    if world.clusters[log.cluster].row(log.member).is_some_and(|row| row.ran) {
        world.broken = world.broken.or(Some(Broken::IdUsedTwice));
    }
    world.machine_mut(n).disk = Disk::Log(log);
}

// ---------------------------------------------------------------- changing the list

/// Asks the member at an address for a change of the list. Whether it was made is nobody's certainty (F16), so nothing
/// is answered.
pub fn change(world: &mut World, from: Node, via: Address, change: Change, strict: Strict) {
    let Some(speaker) = world.at(via).filter(|speaker| *speaker == from || world.reaches(from, *speaker)) else {
        return;
    };
    let Some(part) = quorate_with(world, speaker) else { return };
    let Some(list) = changed(world, &part, speaker, change, strict) else { return };
    commit(world, &part, list);
    settle(world);
}

/// The list after a change that etcd accepts.
fn changed(world: &World, part: &Quorate, speaker: Node, change: Change, strict: Strict) -> Option<Vec<Row>> {
    let cluster = &world.clusters[part.cluster];
    let mut list = cluster.list.clone();
    // Connected as the asked member sees it (server.go:1607).
    let connected = members(world, part.cluster)
        .filter(|(n, _, row)| !row.learner && (*n == speaker || world.linked(speaker, *n)))
        .count();
    let started = |rows: &[Row]| rows.iter().filter(|row| !row.learner && row.name.is_some()).count();
    match change {
        Change::Add { address, learner } => {
            if list.iter().any(|row| row.address == address) || (learner && list.iter().any(|row| row.learner)) {
                return None; // "Peer URLs already exists" (E16), "too many learner members"
            }
            let voters = cluster.voters();
            let enough_started =
                learner || started(&list) >= quorum(voters + 1) || (voters == 1 && started(&list) == 1);
            let enough_connected = match strict {
                Strict::AllVoters => connected == voters,
                Strict::Quorum => connected >= quorum(voters + 1) || (voters == 1 && connected == 1),
                Strict::Off => true,
            };
            if strict != Strict::Off && !(enough_started && enough_connected) {
                return None; // "unhealthy cluster", "not enough started members"
            }
            let id = free_id(world);
            list.push(Row { id, address, name: None, published: false, learner, ran: false });
        }
        Change::Remove(member) => {
            let row = cluster.row(member)?.clone();
            list.retain(|other| other.id != member);
            let rest = list.iter().filter(|row| !row.learner).count();
            let active =
                members(world, part.cluster).any(|(n, log, _)| log.member == member && world.linked(speaker, n));
            let enough = started(&list) >= quorum(rest) && (!active || connected > quorum(rest));
            if list.is_empty() || (strict != Strict::Off && !row.learner && !enough) {
                return None;
            }
        }
        Change::Promote(member) => {
            let voters = cluster.voters();
            if strict != Strict::Off && started(&list) + 1 < quorum(voters + 1) {
                return None;
            }
            list.iter_mut().filter(|row| row.id == member).for_each(|row| row.learner = false);
        }
    }
    Some(list)
}

/// Whoever the leader does not reach keeps the list of before.
fn commit(world: &mut World, part: &Quorate, list: Vec<Row>) {
    let before = std::mem::replace(&mut world.clusters[part.cluster].list, list);
    for n in 0..world.nodes.len() {
        let follows = part.nodes.iter().any(|node| usize::from(*node) == n);
        if let Disk::Log(log) = &mut world.nodes[n].disk
            && log.cluster == part.cluster
            && !follows
        {
            log.stale.get_or_insert_with(|| before.clone());
        }
    }
}

/// An id that nobody has, not on a disk or a copy of one, in a memory or in an order: etcd never gives one twice.
fn free_id(world: &World) -> Member {
    let mut taken: Vec<Member> = world.clusters.iter().flat_map(|c| &c.list).map(|row| row.id).collect();
    for machine in &world.nodes {
        for log in machine.log().into_iter().chain(machine.saved.iter().map(|(log, _)| log)) {
            taken.push(log.member);
            taken.extend(log.stale.iter().flatten().map(|row| row.id));
        }
        if let Agent::Waiting(memory) | Agent::Decided(memory, _) = &machine.agent {
            taken.extend(memory.before.suspects.iter().map(|(member, _)| *member));
        }
        if let Agent::Decided(_, Act::Remove { member, .. }) = machine.agent {
            taken.push(member);
        }
        if let Some(watch) = &machine.watch {
            taken.extend(watch.before.suspects.iter().map(|(member, _)| *member));
            if let Some(Act::Remove { member, .. }) = watch.act {
                taken.push(member);
            }
        }
    }
    (FIRST_ADDED..).find(|id| !taken.contains(id)).expect("few members")
}

// ---------------------------------------------------------------- after the start

fn own_row(world: &World, n: Node) -> Option<(usize, &Row)> {
    let part = quorate_with(world, n)?;
    let log = world.machine(n).log()?;
    Some((part.cluster, world.clusters[part.cluster].row(log.member)?))
}

/// A member publishes its name and client URLs through the leader.
pub fn may_publish(world: &World, n: Node) -> bool {
    own_row(world, n).is_some_and(|(_, row)| !row.published || row.name != Some(n))
}

pub fn publish(world: &mut World, n: Node) {
    let Some((cluster, row)) = own_row(world, n) else { return };
    let id = row.id;
    let mut list = world.clusters[cluster].list.clone();
    list.iter_mut().filter(|row| row.id == id).for_each(|row| (row.name, row.published) = (Some(n), true));
    let part = quorate(world, cluster).expect("the row was found through it");
    commit(world, &part, list);
}

/// `ready` promotes the own member through a voter (F53, F54), published or not; a learner that follows the leader is
/// in sync.
pub fn may_promote(world: &World, n: Node) -> bool {
    own_row(world, n).is_some_and(|(_, row)| row.learner)
}

pub fn promote(world: &mut World, n: Node) {
    let Some((cluster, row)) = own_row(world, n) else { return };
    let id = row.id;
    let part = quorate(world, cluster).expect("the row was found through it");
    let speaker = part.nodes[0];
    if let Some(list) = changed(world, &part, speaker, Change::Promote(id), Strict::Off) {
        commit(world, &part, list);
    }
}

/// `ready` tags once the own member is a published voter.
pub fn may_tag(world: &World, n: Node) -> bool {
    world.tags.cluster.is_none() && own_row(world, n).is_some_and(|(_, row)| row.published && !row.learner)
}

/// Whether a member at this address has acknowledged entries and nobody can see it by its row. Of a founder its record
/// tells, and of one that was added, being a voter.
pub fn ran_unseen(world: &World, address: Address) -> bool {
    let silent = |c: &Cluster, n: Node| {
        let founding = world.tags.founding.as_ref().filter(|founding| spell::id_of(founding) == c.id);
        founding.is_some_and(|founding| founding.iter().any(|(founder, _, nonce)| *founder == n && nonce.is_none()))
    };
    let unseen = |c: &Cluster, row: &Row| {
        let without_word = row.learner || row.name.is_some_and(|n| silent(c, n));
        row.address == address && row.ran && !row.published && without_word
    };
    world.clusters.iter().any(|c| c.list.iter().any(|row| unseen(c, row)))
}
