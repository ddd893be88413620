//! A relay before a port that does to each connection what networks do: lose it, lose what comes back, or keep it
//! waiting until the test says so. It knows nothing of what is said.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{copy, copy_bidirectional, join, sink};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::lock;

/// What becomes of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Whole,
    /// What is sent never arrives.
    RequestLost,
    /// What is sent arrives, and nothing comes back.
    AnswerLost,
    /// Nothing arrives before [`Relay::release`]; then the connection is whole.
    Held,
}

/// A running relay; dropping it ends it with every connection.
pub struct Relay {
    pub address: SocketAddr,
    plan: Arc<Plan>,
    accepting: JoinHandle<()>,
}

struct Plan {
    next: Mutex<VecDeque<Fate>>,
    accepted: watch::Sender<usize>,
    released: Semaphore,
}

impl Relay {
    /// Listens on `address` and leads to `to`. Connections are whole until [`Relay::meet_next`] says otherwise.
    ///
    /// # Errors
    /// When the address is not free.
    pub fn start(address: SocketAddr, to: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let plan =
            Arc::new(Plan { next: Mutex::default(), accepted: watch::Sender::default(), released: Semaphore::new(0) });
        let for_connections = Arc::clone(&plan);
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(pass(stream, to, Arc::clone(&for_connections)));
            }
        });
        Ok(Self { address, plan, accepting })
    }

    /// What becomes of the next connections, in their order; those after them are whole. Counts them anew.
    pub fn meet_next(&self, fates: impl IntoIterator<Item = Fate>) {
        *lock(&self.plan.next) = fates.into_iter().collect();
        self.plan.accepted.send_replace(0);
    }

    /// Waits for the `nth` connection since [`Relay::meet_next`].
    ///
    /// # Errors
    /// After `within`, with the number of those that came.
    pub async fn accepted(&self, nth: usize, within: Duration) -> Result<(), String> {
        let mut accepted = self.plan.accepted.subscribe();
        let wait = tokio::time::timeout(within, accepted.wait_for(|count| *count >= nth)).await.map(|_| ());
        wait.map_err(|_| format!("only {} connections within {within:?}", *self.plan.accepted.borrow()))
    }

    /// Lets one held connection go on.
    pub fn release(&self) {
        self.plan.released.add_permits(1);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn pass(mut stream: TcpStream, to: SocketAddr, plan: Arc<Plan>) -> io::Result<()> {
    let fate = lock(&plan.next).pop_front().unwrap_or(Fate::Whole);
    plan.accepted.send_modify(|count| *count += 1);
    match fate {
        Fate::RequestLost => copy(&mut stream, &mut sink()).await.map(|_| ()),
        Fate::AnswerLost => {
            let deaf = &mut join(stream, sink());
            copy_bidirectional(deaf, &mut TcpStream::connect(to).await?).await.map(|_| ())
        }
        Fate::Held => {
            plan.released.acquire().await.map_err(io::Error::other)?.forget();
            copy_bidirectional(&mut stream, &mut TcpStream::connect(to).await?).await.map(|_| ())
        }
        Fate::Whole => copy_bidirectional(&mut stream, &mut TcpStream::connect(to).await?).await.map(|_| ()),
    }
}
