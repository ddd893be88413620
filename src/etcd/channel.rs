//! The way to a client port: gRPC over the TLS of everything else here. The one of the crate takes no verifier, so that an
//! intermediate would be believed that `tls` refuses.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Channel, Client, Error};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::Endpoint;
use tower::service_fn;

use crate::model::{MemberUrl, Scheme};
use crate::tls::{self, Tls};

/// Connects to this address of the port's host. `timeout`: for the connection; a call waits as long as its caller does,
/// for one of the crate's own would race that, and what it says is no etcd error (F61).
///
/// # Errors
/// Why there is no connection.
pub async fn connect(tls: Option<&Tls>, url: &MemberUrl, address: IpAddr, timeout: Duration) -> Result<Client, Error> {
    let config = match url.scheme() {
        Scheme::Http => None,
        Scheme::Https => Some(config(tls)),
    };
    let to = url.clone();
    let dial = service_fn(move |_| dial(config.clone(), to.clone(), address));
    // What is encrypted is so below gRPC.
    let endpoint = Endpoint::from_shared(format!("http://{}", url.authority()))?.connect_timeout(timeout);
    let channel = endpoint.connect_with_connector(dial).await?;
    Client::from_channel(Channel::Tonic(channel), None).await
}

/// That of the port, for gRPC. No session is resumed: what a port shows now is what counts.
pub fn config(tls: Option<&Tls>) -> ClientConfig {
    let mut config = tls.map_or_else(tls::of_the_system, |tls| tls.client.clone());
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    config
}

/// A handshake at this address, with who has the name of the URL.
///
/// # Errors
/// Why it came to nothing.
pub async fn shake_hands(config: ClientConfig, url: &MemberUrl, address: IpAddr) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(url.host().to_owned()).map_err(io::Error::other)?;
    TlsConnector::from(Arc::new(config)).connect(name, reach(url, address).await?).await
}

/// Without a delay for small writes, of which gRPC's calls consist.
async fn reach(url: &MemberUrl, address: IpAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((address, url.port())).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn dial(config: Option<ClientConfig>, url: MemberUrl, address: IpAddr) -> io::Result<TokioIo<Box<dyn Stream>>> {
    let stream: Box<dyn Stream> = match config {
        None => Box::new(reach(&url, address).await?),
        Some(config) => Box::new(shake_hands(config, &url, address).await?),
    };
    Ok(TokioIo::new(stream))
}
