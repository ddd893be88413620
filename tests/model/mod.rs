//! A model of groups of agents, and every state that it can reach.
//!
//! N agents run the shipped `decide`, `remember` and `statement` step by step in a world of instances that die, reboot,
//! lose their disks and are replaced, of AWS replies that lag, of links that fail, and of etcd's rules of membership.
//! The crate stateright visits every state; random walks go where there are too many.
//!
//! - `world.rs`: the state, AWS, faults and time.
//! - `etcd.rs`: etcd's rules, each with its source.
//! - `agent.rs`: what a node sees, and what it does with a decision.
//! - `properties.rs`: what never happens, what sometimes must, and what always ends well.
//! - `mutations.rs`: wrong rules, each of which must be found.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, RwLock};
use std::time::Duration;

use etcd_bootstrap::model::{AddressForm, Founding, InitialCluster, JoinAs, Policy, Role, Scheme};
use stateright::{Checker, Model, Property};

mod agent;
mod etcd;
mod mutations;
mod properties;
mod world;

use agent::{Outcome, Sight};
use etcd::Strict;
use mutations::Mutation;
use world::{Event, Left, Rules, World};

/// A world to begin with, and what may happen in it.
pub struct Scenario {
    begin: World,
    rules: Rules,
    policy: Policy,
    mutation: Option<&'static Mutation>,
    sometimes: Vec<Property<Scenario>>,
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
            rules: Rules {
                addresses_are_reused: false,
                tag: true,
                leaves_slowly: false,
                disks_outlast_publication: true,
                replacements_are_late: true,
                calls_are_prompt: true,
                strict: Strict::Quorum,
            },
            policy: policy(),
            mutation: None,
            sometimes: Vec::new(),
            decided: RwLock::default(),
            said: Mutex::default(),
            ends_well: Mutex::default(),
        }
    }

    fn rules(mut self, change: impl FnOnce(&mut Rules)) -> Self {
        change(&mut self.rules);
        self
    }

    fn think(&self, sight: Sight) -> Outcome {
        if let Some(known) = self.decided.read().expect("no panic").get(&sight) {
            return known.clone();
        }
        let outcome = agent::think(&sight, &self.policy, self.mutation);
        self.said.lock().expect("no panic").insert(outcome.said.clone());
        self.decided.write().expect("no panic").insert(sight, outcome.clone());
        outcome
    }

    fn after_faults(&self, world: &World) -> Vec<String> {
        let mut seen = Vec::new();
        let mut now = World { cut: Vec::new(), aws_before: None, left: Left::default(), ..world.clone() };
        etcd::settle(&mut now);
        for _ in 0..4 {
            now = properties::round(self, now);
        }
        for (n, m) in now.all() {
            seen.push(format!("{n}: {m:?}\n"));
        }
        seen.push(format!("{:?}\n{:?}\n", now.tag, now.clusters));
        for (n, m) in now.running() {
            if !m.etcd_runs && m.agent != world::Agent::Refused {
                let sight = agent::see(&now, n, world::Read::Now);
                let o = agent::think(&sight, &self.policy, None);
                seen.push(format!("{n}: {} {:?}\n", o.said, o.act));
            }
        }
        seen
    }

    /// The world after an event.
    pub fn step(&self, world: &World, event: &Event) -> World {
        let mut next = world.clone();
        match event {
            Event::Look(n, read) => agent::look(&mut next, *n, *read, |sight| self.think(sight)),
            Event::Carry(n) => agent::carry_out(&mut next, *n, &self.rules),
            event => next.happen(event, &self.rules),
        }
        next
    }
}

fn policy() -> Policy {
    Policy {
        role: Role::Member,
        address_form: AddressForm::Addresses,
        peer_scheme: Scheme::Http,
        peer_port: 2380,
        client_scheme: Scheme::Http,
        client_port: 2379,
        founding: Founding::Majority,
        founding_grace: Duration::from_secs(60),
        initial_cluster: InitialCluster::Auto,
        join_as: JoinAs::Auto,
        rejoin: false,
        prune_foreign: false,
    }
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
        properties::never().into_iter().chain(self.sometimes.iter().cloned()).collect()
    }
}

#[test]
fn founders_probe() {
    let nodes = std::env::var("M_NODES").map_or(3, |n| n.parse().unwrap());
    let get = |k: &str| std::env::var(format!("M_{k}")).map_or(0, |n| n.parse().unwrap());
    let left = Left {
        reboots: get("REBOOTS"),
        wipes: get("WIPES"),
        terminations: get("TERM"),
        forgotten: get("FORGET"),
        cuts: get("CUTS"),
        odd_reads: get("ODD"),
        scale_ins: get("IN"),
        scale_outs: get("OUT"),
        log_losses: get("LOSE"),
    };
    let begin = match get("FORMED") {
        0 => World::fresh(nodes, left),
        n => World::formed(n, nodes, get("NOTAG") == 0, left),
    };
    let mut scenario = Scenario::new(begin);
    scenario = scenario.rules(|r| {
        r.addresses_are_reused = get("REUSE") > 0;
        r.leaves_slowly = get("SLOW") > 0;
        r.tag = get("NOTAG") == 0;
        r.replacements_are_late = get("SOON") == 0;
    });
    scenario.mutation = std::env::var("M_MUT").ok().map(|n| mutations::named(&n));
    let started = std::time::Instant::now();
    let checker = scenario.checker().threads(2).spawn_bfs();
    let checker = checker.join();
    println!(
        "{} states, {} unique, depth {}, {:?}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth(),
        started.elapsed()
    );
    for (name, path) in checker.discoveries() {
        println!("== {name}: {} steps", path.clone().into_actions().len());
        for (world, event) in path.into_vec() {
            let Some(event) = event else {
                checker.model().after_faults(&world).iter().for_each(|l| print!("{l}"));
                continue;
            };
            let next = checker.model().step(&world, &event);
            let who = match event {
                Event::Look(n, _) | Event::Carry(n) => format!("{:?}", next.machine(n).agent),
                _ => String::new(),
            };
            let who = who.replace("Standing ", "").replace("Memory ", "").replace("Before ", "");
            println!("  {event:?} {who}");
        }
    }
    println!("{:#?}", checker.model().said.lock().unwrap());
    println!("{} sights", checker.model().decided.read().unwrap().len());
}
