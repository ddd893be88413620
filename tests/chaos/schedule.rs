//! What happens to a cluster in one round: faults, drawn by a seed, as steps in time. Plain data; `weather` does it.

use std::fmt;
use std::time::Duration;

use fastrand::Rng;

/// The place of a node in its cluster. It stays when the instance in it is replaced.
pub type Slot = usize;

/// One thing that is done to the cluster.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    Terminate(Slot),
    /// A new instance, on an address that nobody had.
    Launch(Slot),
    /// A new instance, on the address of the one before it.
    LaunchOnSameAddress(Slot),
    ShutDown(Slot),
    CutPower(Slot),
    /// Takes the power away, and the disk.
    LoseDisk(Slot),
    Boot(Slot),
    /// SIGKILL for whatever runs: agent, etcd, or both.
    Kill(Slot),
    Freeze(Slot),
    Thaw(Slot),
    /// What the first sends does not reach the second.
    Cut(Slot, Slot),
    /// The node reaches neither AWS nor the clients.
    CutFromCloud(Slot),
    Mend(Slot),
    Aws(Cloud),
    MetadataFails(Slot),
    MetadataHangs(Slot),
    /// The agent's clock is so many seconds off.
    SetClock(Slot, i32),
}

impl Step {
    /// The slot whose data is gone after it.
    pub fn destroys(self) -> Option<Slot> {
        match self {
            Self::Terminate(slot) | Self::LoseDisk(slot) => Some(slot),
            _ => None,
        }
    }
}

/// How the AWS calls misbehave, until the round's weather is over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cloud {
    Throttles,
    Fails,
    Drops,
    Hangs,
    /// Every answer is that of so long ago.
    Lags(Duration),
    /// Only the group's answers are; EC2's are not.
    GroupLags(Duration),
}

/// The kinds of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    Replaced,
    ReplacedOnSameAddress,
    ReplacedTwice,
    DiskLost,
    Rebooted,
    AllRebooted,
    Killed,
    Frozen,
    Slow,
    CutOneWay,
    Isolated,
    Split,
    CutFromCloud,
    AwsUnwell,
    AwsStale,
    MetadataUnwell,
    ClockSet,
    /// Its disk is an older copy of itself.
    DiskRestored,
    /// The role of the group's instances has no `CreateOrUpdateTags`, in the calm too.
    MayNotTag,
}

impl Fault {
    /// With how often each is drawn, compared to the others; [`may_tag`] draws the one that is not here.
    const ODDS: [(Self, u32); 18] = [
        (Self::Replaced, 12),
        (Self::ReplacedOnSameAddress, 6),
        // Rare, because it may leave a member that is removed only after a minute of silence.
        (Self::ReplacedTwice, 2),
        (Self::DiskLost, 6),
        (Self::Rebooted, 6),
        (Self::AllRebooted, 2),
        (Self::Killed, 8),
        (Self::Frozen, 6),
        (Self::Slow, 5),
        (Self::CutOneWay, 6),
        (Self::Isolated, 5),
        (Self::Split, 4),
        (Self::CutFromCloud, 3),
        (Self::AwsUnwell, 6),
        (Self::AwsStale, 6),
        (Self::MetadataUnwell, 3),
        (Self::ClockSet, 4),
        (Self::DiskRestored, 8),
    ];

    fn draw(rng: &mut Rng) -> Self {
        let all: u32 = Self::ODDS.iter().map(|(_, odds)| odds).sum();
        let mut left = rng.u32(..all);
        for (fault, odds) in Self::ODDS {
            if left < odds {
                return fault;
            }
            left -= odds;
        }
        Self::Killed
    }

    /// Whether a voter's data is gone for good. A restored disk counts: a person may have to wipe it.
    fn destroys(self) -> bool {
        let replaced = matches!(self, Self::Replaced | Self::ReplacedOnSameAddress | Self::ReplacedTwice);
        replaced || matches!(self, Self::DiskLost | Self::DiskRestored)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Replaced => "replaced",
            Self::ReplacedOnSameAddress => "replaced on the same address",
            Self::ReplacedTwice => "replaced, and again while joining",
            Self::DiskLost => "disk lost",
            Self::Rebooted => "rebooted",
            Self::AllRebooted => "power cut for all",
            Self::Killed => "killed",
            Self::Frozen => "frozen",
            Self::Slow => "slow",
            Self::CutOneWay => "cut one way",
            Self::Isolated => "isolated",
            Self::Split => "split",
            Self::CutFromCloud => "cut from the cloud",
            Self::AwsUnwell => "AWS unwell",
            Self::AwsStale => "AWS stale",
            Self::MetadataUnwell => "metadata unwell",
            Self::ClockSet => "clock set",
            Self::DiskRestored => "disk restored",
            Self::MayNotTag => "may not tag",
        })
    }
}

/// The disk that a round begins with restoring.
///
/// What is promised in spite of it: raft counts on each voter to keep what it has acknowledged and whom it has voted
/// for, and this one forgets both. A write that it and the leader alone had is lost with no other disk lost, if it then
/// elects the third node. So while it is off, before the copy is put in place, every other voter must have answered a
/// linearizable read of a write that is younger than whatever it acknowledged: see `Weather::others_have_all`. Then
/// all others have each entry that it has helped to commit, or that a leader may still count it for, and are in a term
/// not below any that it has voted in. From there on it is a voter that was cut off since the copy, which is honest: it
/// wins no election, has no second vote that counts, and may follow, panic on what it has forgotten, or be wiped.
///
/// It takes one of the disks that a round may lose, since a person may wipe it in the calm: of three nodes no other
/// disk is lost with it, of five one other is. The three others that are intact have everything from before it, and each
/// quorum of five, and of the four and three that a removal leaves, has one of them. Two restored disks of three would
/// be a quorum that forgot: that is no weather, that is data loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Restored {
    pub slot: Slot,
    /// The copy is made in the calm of so many rounds before.
    pub age: usize,
}

/// A copy is at most so many rounds old.
const OLDEST_COPY: usize = 3;

/// The faults of one round and their steps in the order of their times.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    pub round: usize,
    pub faults: Vec<Fault>,
    /// What comes before the steps.
    pub restored: Option<Restored>,
    pub steps: Vec<(Duration, Step)>,
    /// Whose disk is copied once all is well, and for which later round.
    pub copied: Vec<(usize, Slot)>,
}

impl Schedule {
    /// Draws the weather of a round for a cluster of so many nodes. The same seed gives the same weather.
    pub fn draw(seed: u64, round: usize, nodes: usize) -> Self {
        let later = |age: usize| {
            let restored = Self::draw_alone(seed, round + age, nodes).restored;
            restored.filter(|restored| restored.age == age).map(|restored| (round + age, restored.slot))
        };
        Self { copied: (1..=OLDEST_COPY).filter_map(later).collect(), ..Self::draw_alone(seed, round, nodes) }
    }

    /// Without what it has to prepare for later rounds.
    fn draw_alone(seed: u64, round: usize, nodes: usize) -> Self {
        let mut rng = rng(seed, round);
        let mut draw = Draw {
            round,
            steps: Vec::new(),
            faults: if may_tag(seed, round) { Vec::new() } else { vec![Fault::MayNotTag] },
            restored: None,
            intact: (0..nodes).collect(),
            joining: rng.usize(..nodes),
            nodes,
        };
        rng.shuffle(&mut draw.intact);
        for _ in 0..rng.usize(1..=3) {
            let fault = Fault::draw(&mut rng);
            draw.add(fault, &mut rng);
            // An agent that does not join asks AWS for little, and waits for nothing.
            if matches!(fault, Fault::AwsUnwell | Fault::AwsStale | Fault::MetadataUnwell | Fault::ClockSet) {
                draw.add(Fault::Replaced, &mut rng);
            }
        }
        draw.steps.sort_by_key(|(at, _)| *at);
        Self { round, faults: draw.faults, restored: draw.restored, steps: draw.steps, copied: Vec::new() }
    }

    /// Whether the group's role may tag in this round.
    pub fn may_tag(&self) -> bool {
        !self.faults.contains(&Fault::MayNotTag)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.may_tag() {
            f.write_str("may not tag, ")?;
        }
        if let Some(restored) = self.restored {
            write!(f, "first {restored:?}, ")?;
        }
        let steps = self.steps.iter().map(|(at, step)| format!("{:.2} s {step:?}", at.as_secs_f64()));
        f.write_str(&steps.collect::<Vec<_>>().join(", "))
    }
}

struct Draw {
    round: usize,
    faults: Vec<Fault>,
    restored: Option<Restored>,
    steps: Vec<(Duration, Step)>,
    /// Those whose data is not destroyed in this round.
    intact: Vec<Slot>,
    /// The last one whose data is.
    joining: Slot,
    nodes: usize,
}

impl Draw {
    /// Adds a fault, unless too much data would be lost: a majority of the voters keeps its own, always.
    fn add(&mut self, fault: Fault, rng: &mut Rng) {
        let destroyed = self.nodes - self.intact.len();
        let enough = !fault.destroys() || destroyed < (self.nodes - 1) / 2;
        if enough && (fault != Fault::DiskRestored || self.may_restore()) {
            self.fault(fault, rng);
            self.faults.push(fault);
        }
    }

    /// The first round has no copy, and no cluster yet that could have everything without the restored one.
    fn may_restore(&self) -> bool {
        self.round > 1 && self.restored.is_none()
    }

    fn fault(&mut self, fault: Fault, rng: &mut Rng) {
        let at = between(rng, 0, 1500);
        let soon = at + between(rng, 0, 1000);
        let later = at + between(rng, 500, 3000);
        // The node that joins is worth half of all the bad luck.
        let any = if rng.bool() { self.joining } else { rng.usize(..self.nodes) };
        match fault {
            Fault::Replaced => {
                let slot = self.take();
                self.steps.extend([(at, Step::Terminate(slot)), (soon, Step::Launch(slot))]);
            }
            Fault::ReplacedOnSameAddress => {
                let slot = self.take();
                self.steps.extend([(at, Step::Terminate(slot)), (soon, Step::LaunchOnSameAddress(slot))]);
            }
            Fault::ReplacedTwice => {
                let slot = self.take();
                let again = soon + between(rng, 300, 2000);
                self.steps.extend([(at, Step::Terminate(slot)), (soon, Step::Launch(slot))]);
                self.steps.extend([(again, Step::Terminate(slot)), (again, Step::Launch(slot))]);
            }
            Fault::DiskLost => {
                let slot = self.take();
                self.steps.extend([(at, Step::LoseDisk(slot)), (soon, Step::Boot(slot))]);
            }
            Fault::Rebooted => {
                let off = if rng.bool() { Step::ShutDown(any) } else { Step::CutPower(any) };
                self.steps.extend([(at, off), (soon, Step::Boot(any))]);
            }
            Fault::AllRebooted => {
                for slot in 0..self.nodes {
                    self.steps.extend([(at, Step::CutPower(slot)), (at + between(rng, 0, 1000), Step::Boot(slot))]);
                }
            }
            Fault::Killed => {
                let kill = |rng: &mut Rng| (between(rng, 0, 2500), Step::Kill(any));
                self.steps.extend((0..rng.usize(1..=4)).map(|_| kill(rng)).collect::<Vec<_>>());
            }
            Fault::Frozen => self.steps.extend([(at, Step::Freeze(any)), (later, Step::Thaw(any))]),
            Fault::Slow => self.stutter(at, any, rng),
            Fault::CutOneWay => {
                let other = (any + rng.usize(1..self.nodes)) % self.nodes;
                self.steps.extend([(at, Step::Cut(any, other)), (later, Step::Mend(any))]);
            }
            Fault::Isolated => self.split(at, later, |slot| slot == any),
            Fault::Split => {
                let side: Vec<bool> = (0..self.nodes).map(|_| rng.bool()).collect();
                self.split(at, later, |slot| side[slot]);
            }
            Fault::CutFromCloud => self.steps.extend([(at, Step::CutFromCloud(any)), (later, Step::Mend(any))]),
            Fault::AwsUnwell => {
                let kinds = [Cloud::Throttles, Cloud::Fails, Cloud::Drops, Cloud::Hangs];
                self.steps.push((Duration::ZERO, Step::Aws(kinds[rng.usize(..kinds.len())])));
            }
            Fault::AwsStale => {
                let lag = between(rng, 500, 3000);
                let cloud = if rng.bool() { Cloud::Lags(lag) } else { Cloud::GroupLags(lag) };
                self.steps.push((Duration::ZERO, Step::Aws(cloud)));
            }
            Fault::MetadataUnwell => {
                let unwell = if rng.bool() { Step::MetadataFails(any) } else { Step::MetadataHangs(any) };
                self.steps.push((at, unwell));
            }
            Fault::ClockSet => {
                let day = 24 * 60 * 60;
                let seconds = rng.i32(-day..=day);
                self.steps.extend((0..self.nodes).map(|slot| (later, Step::SetClock(slot, seconds))));
            }
            Fault::DiskRestored => {
                self.restored = Some(Restored { slot: self.take(), age: rng.usize(1..=OLDEST_COPY) });
            }
            Fault::MayNotTag => {}
        }
    }

    /// A slot whose data may be destroyed, each once a round.
    fn take(&mut self) -> Slot {
        self.joining = self.intact.pop().expect("less than half of them are taken");
        self.joining
    }

    fn stutter(&mut self, mut at: Duration, slot: Slot, rng: &mut Rng) {
        for _ in 0..8 {
            self.steps.push((at, Step::Freeze(slot)));
            at += between(rng, 50, 300);
            self.steps.push((at, Step::Thaw(slot)));
            at += between(rng, 20, 150);
        }
    }

    fn split(&mut self, at: Duration, until: Duration, inside: impl Fn(Slot) -> bool) {
        for from in 0..self.nodes {
            let others = (0..self.nodes).filter(|&to| inside(from) != inside(to));
            self.steps.extend(others.map(|to| (at, Step::Cut(from, to))).collect::<Vec<_>>());
            self.steps.push((until, Step::Mend(from)));
        }
    }
}

fn rng(seed: u64, round: usize) -> Rng {
    Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ round as u64)
}

/// A quarter of the groups may never tag; of the others some may only up to a round, or from one on, as when a person
/// changes the role.
fn may_tag(seed: u64, round: usize) -> bool {
    // No round has this number.
    let mut rng = rng(seed, 0);
    let turn = rng.usize(2..=super::LIFE);
    match rng.u8(..8) {
        0 | 1 => false,
        2 => round < turn,
        3 => round >= turn,
        _ => true,
    }
}

fn between(rng: &mut Rng, least: u64, most: u64) -> Duration {
    Duration::from_millis(rng.u64(least..=most))
}
