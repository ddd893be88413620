//! A relay before an etcd's client port that does to each request for a membership change what networks do: lose it,
//! lose what comes back, or keep it waiting until the test says so. All else passes as it is.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::lock;

/// etcd's calls that change the membership (api/etcdserverpb/rpc.proto); a promotion is the ready unit's.
const CHANGES: [&str; 2] = ["/etcdserverpb.Cluster/MemberAdd", "/etcdserverpb.Cluster/MemberRemove"];

/// What becomes of one change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Whole,
    /// What is sent never arrives.
    RequestLost,
    /// What is sent arrives, and nothing comes back.
    AnswerLost,
    /// Nothing arrives before [`Relay::release`]; then the change is whole.
    Held,
}

/// A running relay; dropping it ends it with every connection.
pub struct Relay {
    plan: Arc<Plan>,
    accepting: JoinHandle<()>,
}

struct Plan {
    next: Mutex<VecDeque<Fate>>,
    met: watch::Sender<usize>,
    released: Semaphore,
}

impl Relay {
    /// Listens on `address` and leads to `to`. Changes are whole until [`Relay::meet_next`] says otherwise.
    ///
    /// # Errors
    /// When the address is not free.
    pub fn start(address: SocketAddr, to: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let plan =
            Arc::new(Plan { next: Mutex::default(), met: watch::Sender::default(), released: Semaphore::new(0) });
        let for_connections = Arc::clone(&plan);
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(converse(stream, to, Arc::clone(&for_connections)));
            }
        });
        Ok(Self { plan, accepting })
    }

    /// What becomes of the next changes, in their order; those after them are whole. Counts them anew.
    pub fn meet_next(&self, fates: impl IntoIterator<Item = Fate>) {
        *lock(&self.plan.next) = fates.into_iter().collect();
        self.plan.met.send_replace(0);
    }

    /// Waits for the `nth` change since [`Relay::meet_next`].
    ///
    /// # Errors
    /// After `within`, with the number of those that came.
    pub async fn met(&self, nth: usize, within: Duration) -> Result<(), String> {
        let mut met = self.plan.met.subscribe();
        let wait = tokio::time::timeout(within, met.wait_for(|count| *count >= nth)).await.map(|_| ());
        wait.map_err(|_| format!("only {} changes within {within:?}", *self.plan.met.borrow()))
    }

    /// How many changes have come since [`Relay::meet_next`].
    pub fn changes(&self) -> usize {
        *self.plan.met.borrow()
    }

    /// Lets one held change go on.
    pub fn release(&self) {
        self.plan.released.add_permits(1);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn converse(mut stream: TcpStream, to: SocketAddr, plan: Arc<Plan>) -> io::Result<()> {
    let mut etcd = TcpStream::connect(to).await?;
    let mut preface = [0; 3];
    stream.peek(&mut preface).await?;
    if preface != *b"PRI" {
        return copy_bidirectional(&mut stream, &mut etcd).await.map(|_| ());
    }
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(etcd)).await;
    let (etcd, onwards) = handshake.map_err(io::Error::other)?;
    let service = service_fn(|request| pass(request, etcd.clone(), Arc::clone(&plan)));
    let back = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    let ended = tokio::select! {
        ended = back.serve_connection(TokioIo::new(stream), service) => ended,
        ended = onwards => ended,
    };
    ended.map_err(io::Error::other)
}

async fn pass(
    request: Request<Incoming>,
    mut etcd: SendRequest<Incoming>,
    plan: Arc<Plan>,
) -> hyper::Result<Response<Incoming>> {
    if !CHANGES.contains(&request.uri().path()) {
        return etcd.send_request(request).await;
    }
    let fate = lock(&plan.next).pop_front().unwrap_or(Fate::Whole);
    plan.met.send_modify(|count| *count += 1);
    match fate {
        Fate::RequestLost => std::future::pending().await,
        Fate::Held => plan.released.acquire().await.expect("nobody closes it").forget(),
        Fate::Whole | Fate::AnswerLost => {}
    }
    let answer = etcd.send_request(request).await;
    if fate == Fate::AnswerLost { std::future::pending().await } else { answer }
}
