//! Who uses the cluster while it is refreshed: clients that write, and a watcher that looks at its members and leader.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use etcd_client::{GetOptions, KeyValue};
use tokio::task::{JoinHandle, JoinSet};

use crate::support::etcd::Judge;
use crate::support::lock;

const WRITERS: usize = 30;
/// Between two writes of a writer: all of them make some 700 a second.
const PAUSE: Duration = Duration::from_millis(40);
/// How long a try may take: a write on its way to a leader that goes is never answered (README.md, "Life cycle").
const TRY: Duration = Duration::from_secs(1);
/// A request has failed that found no answer in so long, in as many tries as that takes.
const REQUEST: Duration = Duration::from_secs(15);

type Nodes = Arc<Mutex<Vec<Ipv4Addr>>>;

/// What all writers did.
#[derive(Default)]
pub struct Written {
    acknowledged: Vec<String>,
    times: Vec<Duration>,
    pub failed: usize,
    /// How long the slowest answered request took, and what became of its tries before the last.
    pub slowest: (Duration, Vec<String>),
}

impl Written {
    pub fn requests(&self) -> usize {
        self.times.len() + self.failed
    }

    /// The time that this part of the answered requests did not exceed.
    pub fn within(&self, part: f64) -> Duration {
        let mut times = self.times.clone();
        times.sort_unstable();
        let last = times.len().saturating_sub(1) as f64;
        times.get((last * part).ceil() as usize).copied().unwrap_or_default()
    }

    /// How many acknowledged keys are not there.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn missing(&self, judge: &Judge, nodes: &[Ipv4Addr]) -> Result<usize, String> {
        let mut client = judge.client(nodes).await.map_err(|error| error.to_string())?;
        let options = GetOptions::new().with_prefix().with_keys_only();
        let reply = client.get("rollout/", Some(options)).await.map_err(|error| format!("read all keys: {error}"))?;
        let there: BTreeSet<&[u8]> = reply.kvs().iter().map(KeyValue::key).collect();
        Ok(self.acknowledged.iter().filter(|key| !there.contains(key.as_bytes())).count())
    }
}

/// Clients that write, each one key after another.
pub struct Clients {
    nodes: Nodes,
    written: Arc<Mutex<Written>>,
    running: JoinSet<()>,
}

impl Clients {
    pub fn start(judge: &Judge, nodes: &[Ipv4Addr]) -> Self {
        let (nodes, written) = (Arc::new(Mutex::new(nodes.to_vec())), Arc::<Mutex<Written>>::default());
        let writer = |number| {
            let (nodes, written) = (Arc::clone(&nodes), Arc::clone(&written));
            Writer { number, judge: judge.clone(), nodes, written, connection: None, passed_over: None }.work()
        };
        let running = (0..WRITERS).map(writer).collect();
        Self { nodes, written, running }
    }

    /// Tells them where the members are.
    pub fn follow(&self, nodes: &[Ipv4Addr]) {
        *lock(&self.nodes) = nodes.to_vec();
    }

    pub fn stop(self) -> Written {
        drop(self.running);
        std::mem::take(&mut lock(&self.written))
    }
}

struct Writer {
    number: usize,
    judge: Judge,
    nodes: Nodes,
    written: Arc<Mutex<Written>>,
    connection: Option<(Ipv4Addr, etcd_client::Client)>,
    /// Did not serve the last try: another one's turn, as in etcd's own client, whose balancer leaves out whom it has no
    /// connection to (client/v3/internal/resolver and gRPC's round_robin).
    passed_over: Option<Ipv4Addr>,
}

impl Writer {
    async fn work(mut self) {
        for number in 0.. {
            let key = format!("rollout/{}/{number}", self.number);
            let began = Instant::now();
            let (done, tries) = self.put(&key, began).await;
            {
                let mut written = lock(&self.written);
                if done {
                    let took = began.elapsed();
                    if took > written.slowest.0 {
                        written.slowest = (took, tries);
                    }
                    written.acknowledged.push(key);
                    written.times.push(took);
                } else {
                    written.failed += 1;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Tries at one node after another. Says whether one of them took it, and what became of the tries before.
    async fn put(&mut self, key: &str, began: Instant) -> (bool, Vec<String>) {
        let mut tries = Vec::new();
        while began.elapsed() < REQUEST {
            let (node, asked) = (self.next(), Instant::now());
            let why = match tokio::time::timeout(TRY, self.try_put(key, node)).await {
                Ok(Ok(())) => return (true, tries),
                Ok(Err(error)) => error,
                Err(_) => "no answer".to_owned(),
            };
            tries.push(format!("{node} after {:.2} s: {why}", asked.elapsed().as_secs_f64()));
            (self.connection, self.passed_over) = (None, Some(node));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        (false, tries)
    }

    /// Whom it is connected to as long as that is one of them.
    fn next(&self) -> Ipv4Addr {
        let nodes = lock(&self.nodes);
        match &self.connection {
            Some((node, _)) if nodes.contains(node) => *node,
            _ => {
                let others: Vec<_> = nodes.iter().filter(|node| Some(**node) != self.passed_over).collect();
                *fastrand::choice(others).unwrap_or(&nodes[0])
            }
        }
    }

    async fn try_put(&mut self, key: &str, node: Ipv4Addr) -> Result<(), String> {
        let mut client = match self.connection.take() {
            Some((connected, client)) if connected == node => client,
            _ => self.judge.client(&[node]).await.map_err(|error| error.to_string())?,
        };
        client.put(key, "kept", None).await.map_err(|error| error.to_string())?;
        self.connection = Some((node, client));
        Ok(())
    }
}

/// What was seen of the cluster from outside.
pub struct Sights {
    /// One after another.
    pub leaders: Vec<Ipv4Addr>,
    pub lowest_voters: usize,
}

/// Looks at the cluster all the time.
pub struct Watcher {
    seen: Arc<Mutex<Sights>>,
    running: JoinHandle<()>,
}

impl Watcher {
    pub fn start(judge: &Judge, clients: &Clients) -> Self {
        let seen = Arc::new(Mutex::new(Sights { leaders: Vec::new(), lowest_voters: usize::MAX }));
        let running = tokio::spawn(look(judge.clone(), Arc::clone(&clients.nodes), Arc::clone(&seen)));
        Self { seen, running }
    }

    pub fn stop(self) -> Sights {
        self.running.abort();
        let mut seen = lock(&self.seen);
        Sights { leaders: std::mem::take(&mut seen.leaders), lowest_voters: seen.lowest_voters }
    }
}

async fn look(judge: Judge, nodes: Nodes, seen: Arc<Mutex<Sights>>) {
    loop {
        let there = lock(&nodes).clone();
        // The leader's own list is the cluster's.
        if let Some(leader) = judge.leader(&there).await {
            let list = judge.members(leader).await;
            let mut seen = lock(&seen);
            if seen.leaders.last() != Some(&leader) {
                seen.leaders.push(leader);
            }
            seen.lowest_voters = seen.lowest_voters.min(list.map_or(usize::MAX, |list| list.voters().len()));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
