//! What must hold of what agents and watches decide.

use super::etcd::{self, Change, Row, quorum};
use super::sight::{Answer, answer};
use super::world::{Act, Address, Broken, Life, Log, Machine, Member, Node, World};

/// What must hold of a decision at the moment of its look, judged by the world as it is and not as it was seen.
pub fn judge(world: &mut World, n: Node, act: &Act) {
    let broken = match act {
        Act::Wait | Act::Refuse | Act::Start { .. } | Act::Tag { .. } => None,
        Act::BeginRecord | Act::Agree(_) | Act::GiveUp(_) | Act::MarkLeft(..) => None,
        Act::Complete(instance) => judge_completion(world, n, *instance),
        Act::SetAside { .. } => {
            let damaged = world.machine(n).damaged;
            // An etcd that does not run is in no quorum.
            let lives = |cluster| damaged && etcd::quorate(world, cluster).is_some();
            let needed = |log: &&Log| log.led && !makes_room(world, log.cluster) && !lives(log.cluster);
            let kept = world.machine(n).log().filter(needed);
            kept.map(|_| Broken::DataSetAside)
        }
        Act::Remove { member, via } => {
            let live = lives(world, n, *member) || is_heard(world, n, *member);
            let live = live.then_some(Broken::LiveMemberRemoved);
            live.or(judge_leave(world, n, *member))
                .or((!survives(world, *via, Change::Remove(*member))).then_some(Broken::QuorumAtRisk))
        }
        Act::Add { learner: true, .. } => None,
        Act::Add { learner: false, via } => {
            let change = Change::Add { address: world.machine(n).address, learner: false };
            (!survives(world, *via, change)).then_some(Broken::QuorumAtRisk)
        }
    };
    world.broken = world.broken.or(broken);
}

/// Whether a cluster was given up, and its successor has a quorum.
fn makes_room(world: &World, cluster: usize) -> bool {
    let successor = world.formed_cluster().filter(|c| Some(world.clusters[*c].id) == world.tags.cluster);
    world.is_given_up(cluster) && successor.is_some_and(|c| etcd::quorate(world, c).is_some())
}

/// Whether a member belongs to another machine that is there and stays: one with its log, or one at its address that was
/// added and is about to start.
pub fn lives(world: &World, remover: Node, member: Member) -> bool {
    world.all().filter(|(_, machine)| machine.life == Life::InService).any(|(n, machine)| {
        let owner = machine.log().is_some_and(|log| log.member == member && world.clusters[log.cluster].formed);
        let row = world.formed_cluster().and_then(|c| world.clusters[c].row(member));
        let joining = n != remover
            && machine.log().is_none()
            && row.is_some_and(|row| row.address == machine.address && row.name.is_none_or(|name| name == n));
        owner || joining
    })
}

/// Whether the voters that run are a quorum of the list after a change, one that is added counted as down: etcd's own
/// check may be off. Who of them is linked to whom, no agent can see; etcd's check does, see `carry_out`.
fn survives(world: &World, via: Address, change: Change) -> bool {
    let Some(part) = world.at(via).and_then(|speaker| etcd::quorate_with(world, speaker)) else { return true };
    let list = &world.clusters[part.cluster].list;
    let runs = |row: &&Row| {
        let is = |m: &Machine| m.log().is_some_and(|log| log.cluster == part.cluster && log.member == row.id);
        world.running().any(|(_, m)| m.etcd_runs && is(m))
    };
    let rest = || list.iter().filter(|row| !row.learner && change != Change::Remove(row.id));
    let added = usize::from(matches!(change, Change::Add { .. }));
    let learner = list.iter().any(|row| row.learner && change == Change::Remove(row.id));
    learner || rest().filter(runs).count() >= etcd::quorum(rest().count() + added)
}

/// Whether a member is that of an instance which its group terminates, and anything answers there.
fn is_heard(world: &World, remover: Node, member: Member) -> bool {
    let row = world.formed_cluster().and_then(|cluster| world.clusters[cluster].row(member));
    let added = |m: &Machine| m.log().is_none() && row.is_some_and(|row| row.address == m.address);
    let theirs = |n: Node, m: &Machine| n != remover && (owns(world, n, member) || added(m));
    let answers = |m: &Machine| matches!(answer(world, remover, m.address), Answer::Etcd { .. } | Answer::Founding(..));
    world.all().any(|(n, m)| m.life == Life::Leaving && theirs(n, m) && answers(m))
}

pub fn owns(world: &World, n: Node, member: Member) -> bool {
    let log = world.machine(n).log();
    log.is_some_and(|log| log.member == member && Some(log.cluster) == world.formed_cluster())
}

/// S7: who leaves by choice leaves a quorum of what the group wants behind.
fn judge_leave(world: &World, n: Node, member: Member) -> Option<Broken> {
    if world.machine(n).life != Life::Leaving || !owns(world, n, member) {
        return None;
    }
    let list = &world.clusters[world.formed_cluster()?].list;
    let own = list.iter().find(|row| row.id == member)?;
    let runs = |row: &Row| world.staying().any(|(other, m)| m.etcd_runs && owns(world, other, row.id));
    let stay = list.iter().filter(|row| row.id != member && !row.learner && row.published && runs(row)).count();
    (!own.learner && stay < quorum(world.desired)).then_some(Broken::TooFewStay)
}

/// L4: who completes its own hook is off the list, but for the last member.
fn judge_completion(world: &World, n: Node, instance: Node) -> Option<Broken> {
    let cluster = world.formed_cluster().filter(|c| n == instance && etcd::quorate(world, *c).is_some())?;
    let listed = world.clusters[cluster].list.iter().any(|row| owns(world, n, row.id));
    (listed && world.clusters[cluster].voters() > 1).then_some(Broken::HookOfAMember)
}
