//! Clients that read and write while the weather rages, and what they may have seen: every key that was written and
//! acknowledged is kept, and every register is linearizable.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use etcd_client::{Client, GetOptions};
use stateright::semantics::register::{Register, RegisterOp, RegisterRet};
use stateright::semantics::{ConsistencyTester, LinearizabilityTester};
use tokio::task::JoinSet;

use crate::support::etcd::{Judge, until};
use crate::support::lock;

const CLIENTS: usize = 4;
const REGISTERS: usize = 2;

/// Registers are new ones after this long: the search for an order of a history must not get long.
const REGISTER_LIFE: Duration = Duration::from_secs(2);

/// As long as an election takes: who waits longer sees fewer faults.
const PATIENCE: Duration = Duration::from_secs(1);

/// A read of all keys may find no leader, for a moment.
const READING: Duration = Duration::from_secs(20);

type Op = RegisterOp<Option<u64>>;
type Ret = RegisterRet<Option<u64>>;

/// What one client did with one register, in the order of what all clients did.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Invoked(usize, Op),
    Returned(usize, Ret),
}

/// All that the clients did.
#[derive(Default)]
struct Book {
    registers: BTreeMap<String, Vec<Event>>,
    /// The keys of acknowledged writes.
    kept: BTreeSet<String>,
    next: u64,
    acknowledged: usize,
    unanswered: usize,
}

/// The running clients of one cluster; they stop when dropped.
pub struct Clients {
    judge: Judge,
    /// Where the nodes are.
    pub nodes: Arc<Mutex<Vec<Ipv4Addr>>>,
    book: Arc<Mutex<Book>>,
    _running: JoinSet<()>,
}

impl Clients {
    /// Starts the clients.
    pub fn start(judge: &Judge) -> Self {
        let (nodes, book) = <(Arc<Mutex<Vec<Ipv4Addr>>>, Arc<Mutex<Book>>)>::default();
        let one = |_| {
            let (judge, nodes, book) = (judge.clone(), Arc::clone(&nodes), Arc::clone(&book));
            One { judge, nodes, book, connections: BTreeMap::new(), number: 0 }.work()
        };
        let running = (0..CLIENTS).map(one).collect();
        Self { judge: judge.clone(), nodes, book, _running: running }
    }

    /// How many operations were acknowledged, and how many were not.
    pub fn counts(&self) -> (usize, usize) {
        let book = lock(&self.book);
        (book.acknowledged, book.unanswered)
    }

    /// Checks what was seen so far.
    ///
    /// # Errors
    /// What can not have happened.
    pub async fn check(&self) -> Result<(), String> {
        // What was acknowledged up to here must be read from here on.
        let (kept, finished) = {
            let mut book = lock(&self.book);
            // Those of this life and the one before it may be in use.
            let newest: BTreeSet<_> = book.registers.keys().rev().take(2 * REGISTERS).cloned().collect();
            let finished: Vec<_> = book.registers.extract_if(.., |key, _| !newest.contains(key)).collect();
            (book.kept.clone(), finished)
        };
        for (key, history) in finished {
            if !linearizable(&history) {
                return Err(format!("the history of {key} is not linearizable: {history:?}"));
            }
        }
        let nodes = lock(&self.nodes).clone();
        for node in nodes {
            let mut found = BTreeSet::new();
            let read = async || {
                found = keys_of(&self.judge, node).await.map_err(|e| format!("read from {node}: {e}"))?;
                Ok(())
            };
            until(READING, read).await?;
            if let Some(lost) = kept.difference(&found).next() {
                return Err(format!("{node} has lost the acknowledged {lost}"));
            }
        }
        Ok(())
    }
}

async fn keys_of(judge: &Judge, node: Ipv4Addr) -> Result<BTreeSet<String>, etcd_client::Error> {
    let options = GetOptions::new().with_prefix().with_keys_only();
    let reply = judge.client(&[node]).await?.get("kept/", Some(options)).await?;
    Ok(reply.kvs().iter().map(|kv| String::from_utf8_lossy(kv.key()).into_owned()).collect())
}

/// Whether some order of the operations explains what they returned.
pub fn linearizable(history: &[Event]) -> bool {
    let mut tester = LinearizabilityTester::new(Register(None));
    for (place, event) in history.iter().enumerate() {
        let valid = match event {
            Event::Invoked(client, op) if may_have_had_effect(op, *client, &history[place..]) => {
                tester.on_invoke(*client, op.clone())
            }
            Event::Invoked(..) => continue,
            Event::Returned(client, ret) => tester.on_return(*client, ret.clone()),
        };
        valid.expect("a client does one thing at a time, and has another number after one without an answer");
    }
    tester.is_consistent()
}

/// A write without an answer may have happened or not. One that nobody saw explains nothing, and only makes the search
/// long.
fn may_have_had_effect(op: &Op, client: usize, rest: &[Event]) -> bool {
    let answered = rest.iter().any(|event| matches!(event, Event::Returned(by, _) if *by == client));
    let seen = |value| rest.iter().any(|event| matches!(event, Event::Returned(_, Ret::ReadOk(v)) if v == value));
    answered || matches!(op, Op::Write(value) if seen(value))
}

struct One {
    judge: Judge,
    nodes: Arc<Mutex<Vec<Ipv4Addr>>>,
    book: Arc<Mutex<Book>>,
    connections: BTreeMap<Ipv4Addr, Client>,
    /// A new one after each operation without an answer: that one may still happen.
    number: usize,
}

impl One {
    async fn work(mut self) {
        let began = Instant::now();
        self.renumber();
        loop {
            tokio::time::sleep(Duration::from_millis(fastrand::u64(10..50))).await;
            let nodes = lock(&self.nodes).clone();
            let Some(&node) = fastrand::choice(&nodes) else { continue };
            let Some(mut client) = self.connection(node).await else { continue };
            let life = began.elapsed().as_secs() / REGISTER_LIFE.as_secs();
            let register = format!("register/{life:06}/{}", fastrand::usize(..REGISTERS));
            let acknowledged = match fastrand::u8(..5) {
                0 => self.keep(&mut client).await,
                1 | 2 => self.write(&mut client, register).await,
                _ => self.read(&mut client, register).await,
            };
            if acknowledged.is_some() {
                lock(&self.book).acknowledged += 1;
            } else {
                lock(&self.book).unanswered += 1;
                self.connections.remove(&node);
                self.renumber();
            }
        }
    }

    async fn connection(&mut self, node: Ipv4Addr) -> Option<Client> {
        if !self.connections.contains_key(&node) {
            let client = self.judge.client(&[node]).await.ok()?;
            self.connections.insert(node, client);
        }
        self.connections.get(&node).cloned()
    }

    async fn keep(&self, client: &mut Client) -> Option<()> {
        let key = format!("kept/{:08}", self.unique());
        in_time(client.put(key.as_str(), "", None)).await?;
        lock(&self.book).kept.insert(key);
        Some(())
    }

    async fn write(&self, client: &mut Client, register: String) -> Option<()> {
        let value = self.unique();
        self.happened(&register, Event::Invoked(self.number, Op::Write(Some(value))));
        in_time(client.put(register.as_str(), value.to_string(), None)).await?;
        self.happened(&register, Event::Returned(self.number, Ret::WriteOk));
        Some(())
    }

    async fn read(&self, client: &mut Client, register: String) -> Option<()> {
        self.happened(&register, Event::Invoked(self.number, Op::Read));
        let reply = in_time(client.get(register.as_str(), None)).await?;
        let value = reply.kvs().first().map(|kv| kv.value_str().unwrap_or_default().parse().unwrap_or_default());
        self.happened(&register, Event::Returned(self.number, Ret::ReadOk(value)));
        Some(())
    }

    fn happened(&self, register: &str, event: Event) {
        lock(&self.book).registers.entry(register.to_owned()).or_default().push(event);
    }

    fn renumber(&mut self) {
        self.number = usize::try_from(self.unique()).expect("there are 64 bits");
    }

    fn unique(&self) -> u64 {
        let mut book = lock(&self.book);
        book.next += 1;
        book.next
    }
}

async fn in_time<T>(call: impl Future<Output = Result<T, etcd_client::Error>>) -> Option<T> {
    tokio::time::timeout(PATIENCE, call).await.ok()?.ok()
}
