//! A TCP link that carries so much and then fails: it is cut, stands still, or garbles one byte.

use std::io;
use std::net::{SocketAddr, TcpListener};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::{JoinHandle, JoinSet};

/// What happens to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    Cut,
    Stall,
    Garble,
}

/// In which direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// What the client sends.
    There,
    /// What the server sends.
    Back,
}

/// A running link; dropping it ends it with every connection.
pub struct Link(JoinHandle<()>);

impl Link {
    /// Listens on `address` and leads to `to`. Each connection meets the trouble after so many bytes in one direction.
    ///
    /// # Errors
    /// When the address is not free.
    pub fn start(address: SocketAddr, to: SocketAddr, way: Way, after: u64, trouble: Trouble) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        Ok(Self(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(async move {
                    let server = TcpStream::connect(to).await?;
                    let ((from_client, to_client), (from_server, to_server)) =
                        (client.into_split(), server.into_split());
                    let met = |here| (way == here).then_some((after, trouble));
                    // Where one ends both do.
                    tokio::select! {
                        ended = carry(from_client, to_server, met(Way::There)) => ended,
                        ended = carry(from_server, to_client, met(Way::Back)) => ended,
                    }
                });
            }
        })))
    }
}

impl Link {
    /// Ends it, and returns when its address is free again.
    pub async fn close(mut self) {
        self.0.abort();
        let _ = (&mut self.0).await;
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, met: Option<(u64, Trouble)>) -> io::Result<()> {
    let mut carried = 0;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        let next = carried + read as u64;
        if let Some((after, trouble)) = met
            && after < next
        {
            match trouble {
                Trouble::Cut => return Ok(()),
                Trouble::Stall => std::future::pending().await,
                Trouble::Garble if after >= carried => buffer[usize::try_from(after - carried).unwrap_or(0)] ^= 1,
                Trouble::Garble => {}
            }
        }
        to.write_all(&buffer[..read]).await?;
        carried = next;
    }
}
