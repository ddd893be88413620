//! A model of groups of agents, and every state that it can reach.
//!
//! N agents run the shipped `decide`, `remember` and `statement` step by step in a world of instances that die, reboot,
//! lose their disks and are replaced, of AWS replies that lag, of links that fail, and of etcd's rules of membership.
//! The crate stateright visits every state within the bounds that each test gives; random walks go where there are too
//! many.
//!
//! - `world.rs`: the state, AWS, faults and time, and what is taken for granted (`Rules`).
//! - `etcd.rs`: etcd's rules, each with its source.
//! - `agent.rs`: what a node sees, what it does with a decision, and what must hold of one.
//! - `properties.rs`: what never happens, what sometimes must, and what always ends well.
//! - `mutations.rs`: wrong rules and dropped assumptions, each of which must be found.
//! - `walks.rs`: random walks with more nodes.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, RwLock};

use etcd_bootstrap::model::Policy;
use stateright::{Checker, Model, Path, Property};

mod agent;
mod etcd;
mod mutations;
mod properties;
mod walks;
mod world;

use crate::decide::policy;
use agent::{Outcome, Sight};
use etcd::Strict;
use mutations::Mutation;
use properties::Sometimes;
use world::{Event, Left, Rules, World};

/// A world to begin with, and what may happen in it.
pub struct Scenario {
    begin: World,
    rules: Rules,
    policy: Policy,
    mutation: Option<&'static Mutation>,
    sometimes: &'static [Sometimes],
    /// Decisions are functions of what is seen, and the same sights come again and again.
    decided: RwLock<HashMap<Sight, Outcome>>,
    /// Every action with its reason that was decided on.
    said: Mutex<BTreeSet<String>>,
    /// States, by hash, from which all ends well.
    ends_well: Mutex<HashSet<u64>>,
}

impl Scenario {
    fn new(begin: World) -> Self {
        Self {
            begin,
            rules: Rules::USUAL,
            policy: policy(),
            mutation: None,
            sometimes: &[],
            decided: RwLock::default(),
            said: Mutex::default(),
            ends_well: Mutex::default(),
        }
    }

    fn rules(mut self, change: impl FnOnce(&mut Rules)) -> Self {
        change(&mut self.rules);
        self
    }

    fn sometimes(mut self, sometimes: &'static [Sometimes]) -> Self {
        self.sometimes = sometimes;
        self
    }

    fn think(&self, sight: Sight) -> Outcome {
        if let Some(known) = self.decided.read().expect("no thread panics").get(&sight) {
            return known.clone();
        }
        let outcome = agent::think(&sight, &self.policy, self.mutation);
        self.said.lock().expect("no thread panics").insert(outcome.said.clone());
        self.decided.write().expect("no thread panics").insert(sight, outcome.clone());
        outcome
    }

    /// The world after an event.
    fn step(&self, world: &World, event: &Event) -> World {
        let mut next = world.clone();
        match event {
            Event::Look(n, read) => agent::look(&mut next, *n, *read, &self.rules, |sight| self.think(sight)),
            Event::Carry(n) => agent::carry_out(&mut next, *n, &self.rules),
            event => next.happen(event, &self.rules),
        }
        next
    }

    /// Visits every state. Fails where one is wrong, where something never comes about, and where the number of states
    /// has changed: a model that shrinks proves less.
    fn explore(self, states: usize, decisions: &[&str]) {
        let checker = self.checker().threads(2).spawn_bfs().join();
        for sometimes in checker.model().sometimes {
            assert!(checker.discovery(sometimes.0).is_some(), "it never comes about that {}", sometimes.0);
        }
        for property in properties::never() {
            if let Some(path) = checker.discovery(property.name) {
                panic!("{} is broken:\n{}", property.name, self::tell(checker.model(), path));
            }
        }
        let said = checker.model().said.lock().expect("no thread panics");
        let missing: Vec<_> = decisions.iter().filter(|decision| !said.contains(**decision)).collect();
        assert!(missing.is_empty(), "never decided: {missing:?}; decided: {said:#?}");
        assert_eq!(checker.unique_state_count(), states, "the model's size has changed");
    }
}

/// The trace for people: each event, and what the agent made of what it saw.
fn tell(scenario: &Scenario, path: Path<World, Event>) -> String {
    let mut lines = Vec::new();
    for (world, event) in path.into_vec() {
        match event {
            Some(event @ Event::Look(n, read)) => {
                let outcome = scenario.think(agent::see(&world, n, read, &scenario.rules));
                lines.push(format!("  {event:?}: {} {:?}", outcome.said, outcome.act));
            }
            Some(event) => lines.push(format!("  {event:?}")),
            None => lines.push(format!("{world:?}")),
        }
    }
    lines.join("\n")
}

impl Model for Scenario {
    type State = World;
    type Action = Event;

    fn init_states(&self) -> Vec<World> {
        vec![self.begin.clone()]
    }

    fn actions(&self, world: &World, events: &mut Vec<Event>) {
        *events = world.events(&self.rules);
    }

    fn next_state(&self, world: &World, event: Event) -> Option<World> {
        Some(self.step(world, &event)).filter(|next| next != world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let sometimes = self.sometimes.iter().map(|(name, condition)| Property::sometimes(name, *condition));
        properties::never().into_iter().chain(sometimes).collect()
    }
}

// ---------------------------------------------------------------- creating a cluster

#[test]
fn three_founders_one_of_them_replaced() {
    let left = Left { terminations: 1, ..Left::default() };
    Scenario::new(World::fresh(3, left))
        .rules(|rules| rules.leaves_slowly = true)
        .sometimes(&[properties::ALL_JOINED, properties::REPLACED, properties::LATE_FOUNDER])
        .explore(145_853, &["start-new agreed-founding"]);
}

#[test]
fn three_founders_one_replaced_and_one_rebooted() {
    let left = Left { terminations: 1, reboots: 1, ..Left::default() };
    Scenario::new(World::fresh(3, left))
        .sometimes(&[properties::ALL_JOINED, properties::REPLACED, properties::LATE_FOUNDER])
        .explore(451_693, &["start-new agreed-founding"]);
}

#[test]
fn three_founders_behind_failing_links_one_wiped() {
    let left = Left { cuts: 1, wipes: 1, ..Left::default() };
    Scenario::new(World::fresh(3, left))
        .sometimes(&[properties::ALL_JOINED, properties::WIPED_RETURNS])
        .explore(70_501, &["start-new agreed-founding"]);
}

#[test]
fn two_founders_replaced_before_or_after() {
    let left = Left { terminations: 1, odd_reads: 1, ..Left::default() };
    Scenario::new(World::fresh(2, left))
        .rules(|rules| rules.addresses_are_reused = true)
        .sometimes(&[properties::ALL_JOINED])
        .explore(15_566, &["start-new agreed-founding"]);
}

// ---------------------------------------------------------------- joining

#[test]
fn two_joiners_at_once_into_three() {
    let left = Left { terminations: 1, ..Left::default() };
    Scenario::new(World::formed(3, 5, true, left))
        .sometimes(&[properties::ALL_JOINED, properties::REPLACED])
        .explore(21_182, &["add joining"]);
}

#[test]
fn two_joiners_at_once_into_three_on_an_older_etcd() {
    let left = Left { reboots: 1, ..Left::default() };
    Scenario::new(World::formed(3, 5, true, left))
        .rules(|rules| rules.strict = Strict::AllVoters)
        .sometimes(&[properties::ALL_JOINED])
        .explore(1_740, &["add joining"]);
}

#[test]
fn two_joiners_at_once_into_one() {
    let left = Left { terminations: 1, wipes: 1, forgotten: 1, ..Left::default() };
    Scenario::new(World::formed(1, 3, true, left))
        .rules(|rules| rules.addresses_are_reused = true)
        .sometimes(&[properties::ALL_JOINED])
        .explore(124_612, &["add joining"]);
}

// ---------------------------------------------------------------- losing and removing

#[test]
fn two_of_three_replaced_one_of_them_unreachable_and_no_tag() {
    let left = Left { terminations: 2, cuts: 1, ..Left::default() };
    Scenario::new(World::formed(3, 3, false, left))
        .rules(|rules| rules.tag = false)
        .sometimes(&[properties::REPLACED])
        .explore(487_595, &["add joining"]);
}

#[test]
fn one_terminated_while_another_is_silent_or_wiped() {
    let left = Left { terminations: 1, reboots: 1, wipes: 1, forgotten: 1, ..Left::default() };
    Scenario::new(World::formed(3, 3, true, left))
        .rules(|rules| rules.addresses_are_reused = true)
        .sometimes(&[properties::REPLACED, properties::WIPED_RETURNS])
        .explore(115_710, &["add joining"]);
}

#[test]
fn scaled_in_and_out_while_aws_lags() {
    let left = Left { scale_ins: 1, scale_outs: 1, odd_reads: 1, ..Left::default() };
    Scenario::new(World::formed(3, 3, true, left))
        .rules(|rules| rules.leaves_slowly = true)
        .sometimes(&[properties::ALL_JOINED])
        .explore(811, &["add joining"]);
}

#[test]
fn all_replaced_finds_the_tag_and_creates_nothing() {
    let left = Left { terminations: 2, ..Left::default() };
    Scenario::new(World::formed(2, 2, true, left))
        .sometimes(&[properties::NOTHING_IS_LEFT])
        .explore(1_384, &["wait cluster-tagged"]);
}
