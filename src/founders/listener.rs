//! What a waiting agent answers on its own etcd peer address: the port is free until etcd starts, the security group
//! lets the other founders reach it, and peer TLS protects it as it protects etcd.
//!
//! Owns the port while the agent waits. Whoever reaches it may be anybody, also under TLS until the handshake is over:
//! no connection lives on, one host has its share of the places, and what is said here is believed of nobody (F106).
//! Everything but the one path gets 404: an etcd that lists this node as a peer asks here too, and takes 410 or 403 as
//! "you have been removed" (rafthttp/stream.go:621, util.go:110, v3.7.1).

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::model::{InstanceId, PATH, STATEMENT_HEADER, Statement};

/// How long a connection may live, handshake and answer included. Who asks has given up after a second
/// (`peer::TIMEOUT`).
const LIFE: Duration = Duration::from_secs(2);

/// More than all founders and etcds of a large group at once; beyond it the oldest connection makes room.
const MAX_CONNECTIONS: usize = 64;

/// What one host may hold of them. A founder asks three things at once; behind a relay, several have one address.
const MAX_FROM_ONE_ADDRESS: usize = 24;

/// How often one founder is a reason to look sooner: it shows up, its list settles, and it may change its mind twice.
const MAX_NEWS: u32 = 4;

/// The listening port; closed when dropped, with every connection on it.
pub struct Listener {
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    own: Mutex<Option<Statement>>,
    others: Mutex<BTreeSet<InstanceId>>,
    /// What each of the others said last, and how often that was news.
    heard: Mutex<BTreeMap<InstanceId, (Statement, u32)>>,
    news: Notify,
}

impl Listener {
    /// Opens the port.
    ///
    /// # Errors
    /// The system's, most likely that the port is in use.
    pub async fn bind(address: SocketAddr, tls: Option<Arc<ServerConfig>>) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let shared = Arc::new(Shared::default());
        let server = tokio::spawn(serve(listener, tls.map(TlsAcceptor::from), shared.clone()));
        Ok(Self { shared, server })
    }

    /// Answers this from now on; None answers nothing. What others than these say of themselves is no news.
    pub fn say(&self, statement: Option<Statement>, others: BTreeSet<InstanceId>) {
        *lock(&self.shared.own) = statement;
        *lock(&self.shared.others) = others;
    }

    /// Waits until another founder shows up or says something new of itself. What it said is only a reason to look:
    /// a founder counts by what it answers at its own address.
    pub async fn news(&self) {
        self.shared.news.notified().await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    let mut open: Vec<(IpAddr, AbortHandle)> = Vec::new();
    loop {
        let Ok((stream, from)) = listener.accept().await else {
            // Out of file descriptors, most likely: they come back.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        open.retain(|(_, connection)| !connection.is_finished());
        if open.iter().filter(|(address, _)| *address == from.ip()).count() >= MAX_FROM_ONE_ADDRESS {
            continue;
        }
        if open.len() >= MAX_CONNECTIONS {
            open.remove(0).1.abort();
        }
        let conversation = tokio::time::timeout(LIFE, converse(stream, tls.clone(), shared.clone()));
        open.push((from.ip(), connections.spawn(async { drop(conversation.await) })));
    }
}

async fn converse(stream: TcpStream, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    match tls {
        None => answer_one(stream, shared).await,
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                answer_one(stream, shared).await;
            }
        }
    }
}

async fn answer_one(stream: impl AsyncRead + AsyncWrite + Unpin, shared: Arc<Shared>) {
    let service = service_fn(move |request| {
        let reply = answer(&request, &shared);
        async { Ok::<_, Infallible>(reply) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.keep_alive(false).max_buf_size(64 * 1024);
    // A caller that goes away in the middle is its own affair.
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

fn answer(request: &Request<Incoming>, shared: &Shared) -> Response<Full<Bytes>> {
    let own = lock(&shared.own).clone();
    let own = own.filter(|_| request.uri().path() == PATH).and_then(|own| serde_json::to_vec(&own).ok());
    let Some(own) = own else { return reply(StatusCode::NOT_FOUND, Vec::new()) };
    let theirs = request.headers().get(STATEMENT_HEADER);
    if let Some(theirs) = theirs.and_then(|text| serde_json::from_slice(text.as_bytes()).ok()) {
        hear(shared, theirs);
    }
    reply(StatusCode::OK, own)
}

fn hear(shared: &Shared, theirs: Statement) {
    if !lock(&shared.others).contains(&theirs.instance) {
        return;
    }
    let mut heard = lock(&shared.heard);
    let news = match heard.get(&theirs.instance) {
        Some((last, news)) if *last == theirs || *news >= MAX_NEWS => return,
        Some((_, news)) => *news,
        None => 0,
    };
    heard.insert(theirs.instance.clone(), (theirs, news + 1));
    shared.news.notify_one();
}

fn reply(status: StatusCode, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut reply = Response::new(Full::new(Bytes::from(body)));
    *reply.status_mut() = status;
    reply
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
