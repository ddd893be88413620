//! A model of groups of agents, and every state that it can reach.
//!
//! N agents run the shipped `decide`, `remember` and `statement` step by step in a world of instances that die, reboot,
//! lose their disks and are replaced, of AWS replies that lag, of links that fail, and of etcd's rules of membership.
//! The crate stateright visits every state within the bounds that each test gives; random walks go where there are too
//! many.
//!
//! - `world.rs`: the state, AWS, faults and time, and what is taken for granted (`Rules`).
//! - `memory.rs`: what an agent and a watch have in mind.
//! - `begin.rs`: the worlds to begin with.
//! - `etcd.rs`: etcd's rules, each with its source.
//! - `happen.rs`: what may happen in it.
//! - `agent.rs`: an agent's steps.
//! - `sight.rs`: what a node sees.
//! - `judge.rs`: what must hold of a decision.
//! - `spell.rs`: the same in the words of the shipped code.
//! - `properties.rs`: what never happens, what sometimes must, and what always ends well.
//! - `founding.rs`, `members.rs`: the scenarios.
//! - `watching.rs`: members that leave with their instances, and the scenarios of that.
//! - `recovering.rs`: a person who gives a cluster up, and the scenarios of that.
//! - `mutations.rs`: wrong rules and dropped assumptions, each of which must be found.
//! - `walks.rs`: random walks with more nodes.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, RwLock};

use etcd_bootstrap::model::Policy;
use stateright::{Checker, Model, Property};

mod agent;
mod begin;
mod etcd;
mod founding;
mod happen;
mod judge;
mod members;
mod memory;
mod mutations;
mod properties;
mod recovering;
mod sight;
mod spell;
mod walks;
mod watching;
mod world;

use crate::decide::policy;
use happen::Event;
use memory::Watch;
use mutations::{Done, Mutation};
use properties::Sometimes;
use sight::{Outcome, Sight, see};
use world::{Machine, Node, Read, Rules, World};

/// More disks than this no instance has had in a state that is visited.
const NONCES: u8 = 3;

/// A world to begin with, and what may happen in it.
pub struct Scenario {
    begin: World,
    rules: Rules,
    policy: Policy,
    mutation: Option<&'static Mutation>,
    /// The reason of the guard of `recover` that a person ignores.
    ignored: Option<&'static str>,
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
            ignored: None,
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

    /// `watch` goes along on these nodes.
    fn watched_on(mut self, nodes: &[Node]) -> Self {
        nodes.iter().for_each(|n| self.begin.machine_mut(*n).watch = Some(Watch::default()));
        self
    }

    fn policy(mut self, change: impl FnOnce(&mut Policy)) -> Self {
        change(&mut self.policy);
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
        let outcome = spell::think(&sight, &self.policy, self.mutation);
        self.said.lock().expect("no thread panics").insert(outcome.said.clone());
        self.decided.write().expect("no thread panics").insert(sight, outcome.clone());
        outcome
    }

    fn mutate_disk(&self, done: Done<'_>, machine: &mut Machine) {
        if let Some(mutation) = self.mutation {
            (mutation.disk)(done, machine);
        }
    }

    /// The world after an event.
    fn step(&self, world: &World, event: &Event) -> World {
        let mut next = world.clone();
        match event {
            Event::Look(n, read) => agent::look(&mut next, *n, *read, self),
            Event::Carry(n) => agent::carry_out(&mut next, *n, &self.rules),
            Event::Denied(n) => agent::denied(&mut next, *n, self),
            Event::Interrupted(n) => agent::interrupted(&mut next, *n, self),
            Event::Watch(n, read) => watching::look(&mut next, *n, *read, self),
            Event::WatchDoes(n) => watching::carry_out(&mut next, *n, &self.rules),
            Event::Recover(n, read) => recovering::tag(&mut next, *n, *read, self),
            Event::MoveIn(n) => recovering::move_in(&mut next, *n, self),
            event => next.happen(event, &self.rules),
        }
        if let Event::Interrupted(n) | Event::Reboot(n) = event {
            self.mutate_disk(Done::Boot, next.machine_mut(*n));
        }
        next
    }

    /// What an agent or a watch makes of what it sees in an event; nothing where none looks.
    fn comment(&self, world: &World, event: &Event) -> String {
        let sight = match *event {
            Event::Look(n, read) => see(world, n, read, &self.rules),
            Event::Denied(n) | Event::Interrupted(n) => see(world, n, Read::Now, &self.rules),
            Event::Watch(n, read) => watching::see(world, n, read, &self.rules),
            _ => return String::new(),
        };
        let outcome = self.think(sight);
        format!("{} {:?}", outcome.said, outcome.act)
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
                panic!("{} is broken:\n{}", property.name, tell(checker.model(), path.into_vec()));
            }
        }
        let said = checker.model().said.lock().expect("no thread panics");
        let missing: Vec<_> = decisions.iter().filter(|decision| !said.contains(**decision)).collect();
        assert!(missing.is_empty(), "never decided: {missing:?}; decided: {said:#?}");
        assert_eq!(checker.unique_state_count(), states, "the model's size has changed");
    }
}

/// A trace for people: each event, what the agent made of what it saw, and the world in the end.
fn tell(scenario: &Scenario, path: impl IntoIterator<Item = (World, Option<Event>)>) -> String {
    let line = |(world, event): (World, Option<Event>)| match event {
        Some(event) => format!("  {event:?}: {}", scenario.comment(&world, &event)),
        None => format!("{world:?}"),
    };
    path.into_iter().map(line).collect::<Vec<_>>().join("\n")
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

    /// Where tags cross again and again, founders give up foundings without end; only so many rounds are of interest.
    fn within_boundary(&self, world: &World) -> bool {
        world.nodes.iter().all(|m| m.nonces <= NONCES)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let sometimes = self.sometimes.iter().map(|(name, condition)| Property::sometimes(name, *condition));
        properties::never().into_iter().chain(sometimes).collect()
    }
}
