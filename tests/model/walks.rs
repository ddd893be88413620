//! Random walks where there are too many states to visit all: five and seven nodes, and everything goes wrong.

use super::etcd::{self, Strict};
use super::happen::Event;
use super::world::{Left, Node, World};
use super::{Scenario, properties, tell};

/// Steps of all walks together; `make model STEPS=...` takes more, and `SEED=n` begins with the n-th, as a failure names it.
const STEPS: u64 = 100_000;
/// A walk is long enough for all that may go wrong in it.
const WALK: u64 = 400;

#[test]
fn random_walks_of_five_and_seven_nodes() {
    let number = |name: &str, otherwise| {
        std::env::var(name).map_or(otherwise, |said| said.parse().unwrap_or_else(|_| panic!("{name} is a number")))
    };
    let (first, walks) = (number("SEED", 0), number("STEPS", STEPS) / WALK);
    let mut sometimes = [false; 4];
    for seed in first..first + walks {
        let walk = Walk::new(seed).run();
        sometimes = std::array::from_fn(|i| sometimes[i] || walk[i]);
    }
    assert_eq!(sometimes, [true; 4], "some of it never comes about");
}

struct Walk {
    rng: fastrand::Rng,
    seed: u64,
    scenario: Scenario,
}

impl Walk {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let left = Left {
            reboots: rng.u8(..4),
            wipes: rng.u8(..3),
            log_losses: rng.u8(..2),
            terminations: rng.u8(..5),
            forgotten: rng.u8(..3),
            cuts: rng.u8(..4),
            odd_reads: rng.u8(..4),
            scale_ins: rng.u8(..2),
            scale_outs: rng.u8(..3),
            restores: rng.u8(..2),
            untags: rng.u8(..2),
            denials: rng.u8(..3),
            recoveries: 0,
            dead_watches: rng.u8(..2),
            damages: 0,
        };
        // Who puts an old disk back has lost writes of himself, whatever else happens.
        let some = |of| u8::from(left.restores == 0 && seed % 4 == of);
        let left = Left { recoveries: some(0), damages: some(1), ..left };
        let nodes = [5, 7][rng.usize(..2)];
        let begin = match rng.u8(..6) {
            0 => World::fresh(nodes, left),
            1 => World::tagged(nodes, left),
            2 => World::majority(nodes, left),
            3 => World::led(nodes, nodes, left),
            4 => World::formed(nodes, nodes, rng.bool(), left),
            _ => World::formed(nodes - 2, nodes, true, left),
        };
        let everywhere: Vec<Node> = (0..).take(if rng.u8(..4) == 0 { begin.nodes.len() } else { 0 }).collect();
        let scenario = Scenario::new(begin).watched_on(&everywhere).rules(|rules| {
            rules.watched = !everywhere.is_empty();
            rules.addresses_are_reused = rng.bool();
            rules.leaves_slowly = rng.bool();
            rules.tag = rng.bool();
            rules.strict = [Strict::AllVoters, Strict::Quorum][rng.usize(..2)];
        });
        Self { rng, seed, scenario }
    }

    /// Walks on, and tells what came about.
    fn run(mut self) -> [bool; 4] {
        let mut world = self.scenario.begin.clone();
        let mut past: Vec<(World, Option<Event>)> = Vec::new();
        let mut sometimes = [false; 4];
        for step in 0..WALK {
            let event = self.choose(&world);
            let next = self.scenario.step(&world, &event);
            past.push((std::mem::replace(&mut world, next), Some(event)));
            let well = step % 8 != 0 || properties::ends_well(&self.scenario, &world);
            if world.broken.is_some() || !well {
                let (broken, end) = (world.broken, properties::tell_the_end(&self.scenario, &world));
                let past = tell(&self.scenario, past.into_iter().chain([(world, None)]));
                panic!("walk {}: {broken:?}, ends well: {well}, after\n{past}\n{end}", self.seed);
            }
            let seen =
                [properties::ALL_JOINED, properties::REPLACED, properties::WIPED_RETURNS, properties::LATE_FOUNDER];
            sometimes = std::array::from_fn(|i| sometimes[i] || seen[i].1(&self.scenario, &world));
        }
        sometimes
    }

    /// Mostly nodes do what is theirs to do: faults are rare.
    fn choose(&mut self, world: &World) -> Event {
        // A person who puts a disk back without which there is no quorum loses what that disk lacks, whatever anybody decides.
        // One who takes the tag away from a founding that is under way has to put it back, where a founder is lost as well;
        // and one who scales in then may take the very founder whom the quorum needs in the moment in which it forms.
        let harmless = |event: &Event| match event {
            Event::Restore(n) => etcd::is_whole_without(world, *n),
            Event::Untag | Event::ScaleIn(_) | Event::Leave(_) => world.formed_cluster().is_some(),
            _ => true,
        };
        let mut events = world.events(&self.scenario.rules);
        events.retain(harmless);
        let own = |event: &&Event| {
            matches!(event, Event::Look(..) | Event::Carry(_) | Event::Publish(_) | Event::Promote(_) | Event::Tag(_))
                || matches!(event, Event::Watch(..) | Event::WatchDoes(_))
        };
        let steps: Vec<&Event> = events.iter().filter(own).collect();
        let pick: Vec<&Event> = if steps.is_empty() || self.rng.u8(..6) == 0 { events.iter().collect() } else { steps };
        pick[self.rng.usize(..pick.len())].clone()
    }
}
