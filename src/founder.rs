//! What a waiting agent answers on its own etcd peer address: the port is free until etcd starts, the security group
//! lets the other founders reach it, and peer TLS protects it as it protects etcd.
//!
//! Owns the port while the agent waits. Everything but the one path gets 404: an etcd that lists this node as a peer
//! asks here too, and takes 410 or 403 as "you have been removed" (rafthttp/stream.go:621, util.go:110, v3.7.1).

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::model::{InstanceId, Statement};

/// Where a founder says what it is.
pub const PATH: &str = "/etcd-bootstrap/founder";

/// What the one who asks says of itself, so that it need not be asked in turn.
pub const STATEMENT_HEADER: &str = "x-etcd-bootstrap-statement";

/// A caller that sends nothing must not hold a connection for ever.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// More than all founders and etcds of a large group at once; further callers wait for a place.
const MAX_CONNECTIONS: usize = 64;

/// The listening port; closed when dropped, with every connection on it.
pub struct Listener {
    said: Arc<Said>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Said {
    own: Mutex<Option<Statement>>,
    heard: Mutex<BTreeMap<InstanceId, Option<String>>>,
    news: Notify,
}

impl Listener {
    /// Opens the port.
    ///
    /// # Errors
    /// The system's, most likely that the port is in use.
    pub async fn bind(address: SocketAddr, tls: Option<Arc<ServerConfig>>) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let said = Arc::new(Said::default());
        let server = tokio::spawn(serve(listener, tls.map(TlsAcceptor::from), said.clone()));
        Ok(Self { said, server })
    }

    /// Answers this from now on; None answers nothing.
    pub fn say(&self, statement: Option<Statement>) {
        *lock(&self.said.own) = statement;
    }

    /// Waits until another founder shows up or says something new of itself. What it said is only a reason to look:
    /// a founder counts by what it answers at its own address.
    pub async fn news(&self) {
        self.said.news.notified().await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, said: Arc<Said>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, most likely: they come back.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        connections.spawn(converse(stream, tls.clone(), said.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn converse(stream: TcpStream, tls: Option<TlsAcceptor>, said: Arc<Said>) {
    match tls {
        None => answer_all(stream, said).await,
        Some(tls) => {
            if let Ok(Ok(stream)) = tokio::time::timeout(READ_TIMEOUT, tls.accept(stream)).await {
                answer_all(stream, said).await;
            }
        }
    }
}

async fn answer_all(stream: impl AsyncRead + AsyncWrite + Unpin, said: Arc<Said>) {
    let service = service_fn(move |request| {
        let reply = answer(&request, &said);
        async { Ok::<_, Infallible>(reply) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(READ_TIMEOUT).max_buf_size(64 * 1024);
    // A caller that goes away in the middle is its own affair.
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

fn answer(request: &Request<Incoming>, said: &Said) -> Response<Full<Bytes>> {
    let own = lock(&said.own).clone();
    let own = own.filter(|_| request.uri().path() == PATH).and_then(|own| serde_json::to_vec(&own).ok());
    let Some(own) = own else { return reply(StatusCode::NOT_FOUND, Vec::new()) };
    let theirs = request.headers().get(STATEMENT_HEADER);
    if let Some(theirs) = theirs.and_then(|text| serde_json::from_slice(text.as_bytes()).ok()) {
        hear(said, theirs);
    }
    reply(StatusCode::OK, own)
}

fn hear(said: &Said, theirs: Statement) {
    let mut heard = lock(&said.heard);
    let known = heard.len() < MAX_CONNECTIONS || heard.contains_key(&theirs.instance);
    if known && heard.insert(theirs.instance, theirs.founders.clone()) != Some(theirs.founders) {
        said.news.notify_one();
    }
}

fn reply(status: StatusCode, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut reply = Response::new(Full::new(Bytes::from(body)));
    *reply.status_mut() = status;
    reply
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
