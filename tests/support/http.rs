//! The HTTP/1.1 server under both fakes. A handler may answer, hang up or stay silent; it must not
//! know about sockets. What is answered belongs to `aws` and `imds`.

use std::convert::Infallible;
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::{fmt, io};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// What a handler sees of a request, with the body read to its end.
pub struct Request {
    pub method: String,
    /// Path and query, as sent.
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Request {
    /// The value of a header, if it is there and readable.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// What a handler does with a request.
pub enum Answer {
    Reply {
        status: u16,
        content_type: &'static str,
        headers: Vec<(&'static str, String)>,
        body: Bytes,
    },
    /// Close the connection without an answer.
    HangUp,
    /// Keep the connection and never answer.
    Silence,
}

impl Answer {
    /// A plain text answer.
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Self::Reply { status, content_type: "text/plain", headers: Vec::new(), body: body.into().into() }
    }
}

/// Where requests meet: each waits until so many are there at the same time. After that nobody waits any more.
pub struct Rendezvous {
    needed: usize,
    attending: watch::Sender<Attending>,
}

#[derive(Default)]
struct Attending {
    now: usize,
    most: usize,
}

impl Rendezvous {
    pub fn of(needed: usize) -> Arc<Self> {
        Arc::new(Self { needed, attending: watch::Sender::default() })
    }

    /// Waits for the others. Who gives up is not there any more.
    pub async fn attend(&self) {
        struct Leave<'a>(&'a Rendezvous);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.attending.send_modify(|attending| attending.now -= 1);
            }
        }
        self.attending.send_modify(|attending| {
            attending.now += 1;
            attending.most = attending.most.max(attending.now);
        });
        let _leave = Leave(self);
        let _ = self.attending.subscribe().wait_for(|attending| attending.most >= self.needed).await;
    }

    /// Whether all were there at the same time.
    pub fn happened(&self) -> bool {
        self.attending.borrow().most >= self.needed
    }
}

/// A running server; dropping it closes the listener and every connection.
pub struct Server {
    pub address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Closes the listener and every connection, and returns when that is done: only then is the
    /// address free again.
    pub async fn close(mut self) {
        self.accepting.abort();
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Serves `handler` on `listener` until the returned [`Server`] is dropped.
///
/// # Errors
/// When the listener cannot be handed to the runtime.
pub fn serve<H, F>(listener: TcpListener, handler: H) -> io::Result<Server>
where
    H: Fn(Request) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    serve_by(None, listener, handler)
}

/// As [`serve`], over TLS where there is an acceptor.
///
/// # Errors
/// As [`serve`].
pub fn serve_by<H, F>(tls: Option<TlsAcceptor>, listener: TcpListener, handler: H) -> io::Result<Server>
where
    H: Fn(Request) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    // Connections live in the accepting task, so that they end with it.
    let accepting = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                Ok((stream, _)) = listener.accept() => {
                    // Without it every kept-alive answer waits 40 ms for a delayed ACK.
                    let _ = stream.set_nodelay(true);
                    let (tls, handler) = (tls.clone(), handler.clone());
                    connections.spawn(async move {
                        match tls {
                            None => converse(stream, handler).await,
                            // Who does not trust the certificate goes away.
                            Some(tls) => {
                                if let Ok(stream) = tls.accept(stream).await {
                                    converse(stream, handler).await;
                                }
                            }
                        }
                    });
                }
                Some(_) = connections.join_next() => {}
            }
        }
    });
    Ok(Server { address, accepting })
}

async fn converse<S, H, F>(stream: S, handler: H)
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Fn(Request) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let handler = handler.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map_err(|_| HungUp)?.to_bytes();
            let request =
                Request { method: head.method.to_string(), path: head.uri.to_string(), headers: head.headers, body };
            render(handler(request).await).await
        }
    });
    // A client that goes away in the middle is no concern of the fakes.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn render(answer: Answer) -> Result<Response<Full<Bytes>>, HungUp> {
    match answer {
        Answer::Reply { status, content_type, headers, body } => {
            let mut response = Response::builder().status(status).header("content-type", content_type);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            Ok(response.body(Full::new(body)).expect("status and headers come from the fakes"))
        }
        Answer::HangUp => Err(HungUp),
        Answer::Silence => match std::future::pending::<Infallible>().await {},
    }
}

/// The error that makes hyper close a connection without an answer.
#[derive(Debug)]
struct HungUp;

impl fmt::Display for HungUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the fake hangs up")
    }
}

impl std::error::Error for HungUp {}
