//! What a person sees of the story while it is told: a headline a scene, and a line a node when it
//! serves or when something happens that should not. It also remembers the agents' memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::support::cloud::InstanceId;
use crate::support::node::{Event, Node};

/// The printer. Clones share it.
#[derive(Clone)]
pub struct Stage(Arc<Mutex<State>>);

struct State {
    scene_began: Instant,
    quiet: bool,
    peak_rss: u64,
    cast: BTreeMap<InstanceId, Actor>,
}

/// A node as the audience knows it.
struct Actor {
    name: String,
    booted: Instant,
    /// What it did since its boot, for its one line.
    trail: Vec<String>,
}

impl Stage {
    /// Returns the stage and the ear to give to the nodes. A quiet one prints only headlines.
    pub fn new(quiet: bool) -> (Self, mpsc::UnboundedSender<(InstanceId, Event)>) {
        let (ear, mut reports) = mpsc::unbounded_channel::<(InstanceId, Event)>();
        let stage = Self(Arc::new(Mutex::new(State {
            scene_began: Instant::now(),
            quiet,
            peak_rss: 0,
            cast: BTreeMap::new(),
        })));
        let listening = stage.clone();
        tokio::spawn(async move {
            while let Some((instance, event)) = reports.recv().await {
                listening.state().hear(&instance, &event);
            }
        });
        (stage, ear)
    }

    /// Begins a scene.
    pub fn scene(&self, headline: &str) {
        self.state().scene_began = Instant::now();
        println!("\n{headline}");
    }

    /// Says something within a scene.
    pub fn say(&self, text: &str) {
        println!("  {text}");
    }

    /// Ends a scene with its time; returns it.
    pub fn done(&self, what: &str, time: Duration) {
        println!("  {what} in {:.3} s", time.as_secs_f64());
    }

    /// Gives the nodes their names, those that have none yet.
    pub fn introduce(&self, nodes: &[Node]) {
        for node in nodes {
            let mut state = self.state();
            if state.cast.contains_key(&node.instance) {
                continue;
            }
            let number = state.cast.len() + 1;
            let actor = Actor {
                name: format!("node {number:<2} {} {:<14}", node.instance, node.address.to_string()),
                booted: Instant::now(),
                trail: Vec::new(),
            };
            state.cast.insert(node.instance.clone(), actor);
        }
    }

    /// The most memory that an agent took so far, in bytes.
    pub fn peak_rss(&self) -> u64 {
        self.state().peak_rss
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn hear(&mut self, instance: &str, event: &Event) {
        if let Event::AgentExited { peak_rss, .. } = event {
            self.peak_rss = self.peak_rss.max(*peak_rss);
        }
        let Some(actor) = self.cast.get_mut(instance) else {
            return;
        };
        let ends_the_line = match event {
            Event::Booted => {
                actor.booted = Instant::now();
                actor.trail.clear();
                false
            }
            Event::AgentStarted | Event::EtcdStarted | Event::PoweredOff => false,
            Event::AgentExited { code: 0, .. } | Event::EtcdReady => {
                actor.add(event);
                false
            }
            Event::AgentExited { .. }
            | Event::GaveUp(_)
            | Event::EtcdTooSlow
            | Event::EtcdExited { .. }
            | Event::ReadyExited { .. }
            | Event::WatchExited { .. } => {
                actor.add(event);
                true
            }
        };
        if ends_the_line && !self.quiet {
            let since = self.scene_began.elapsed().as_secs_f64();
            println!("  {since:>7.3}  {}  {}", actor.name, actor.trail.join(", "));
            actor.trail.clear();
        }
    }
}

impl Actor {
    fn add(&mut self, event: &Event) {
        let since = self.booted.elapsed().as_secs_f64();
        self.trail.push(match event {
            Event::AgentExited { .. } => event.to_string(),
            _ => format!("{event} at {since:.2} s"),
        });
    }
}
