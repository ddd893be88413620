//! The voice of a waiting agent: holds etcd's peer port, and says there what this node has to say.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;

use super::Listener;
use crate::model::{Identity, InstanceId, Statement};
use crate::tls::Tls;

/// The peer port while no etcd has it; free again when dropped.
pub struct Voice {
    /// None where the port speaks plain HTTP.
    tls: Option<Arc<Tls>>,
    port: u16,
    listener: Option<Listener>,
    statement: Option<Statement>,
}

impl Voice {
    /// Says nothing yet, and holds no port.
    pub fn new(tls: Option<Arc<Tls>>, port: u16) -> Self {
        Self { tls, port, listener: None, statement: None }
    }

    /// What is said now; None where nothing is.
    pub fn statement(&self) -> Option<&Statement> {
        self.statement.as_ref()
    }

    /// Says this from now on; None says nothing. What others than these say of themselves is no news.
    pub fn say(&mut self, statement: Option<Statement>, others: BTreeSet<InstanceId>) {
        if let Some(listener) = &self.listener {
            listener.say(statement.clone(), others);
        }
        self.statement = statement;
    }

    /// Opens the port where it is not open yet.
    ///
    /// # Errors
    /// A sentence that says why etcd could not open it either, and what to do.
    pub async fn hold_port(&mut self, me: &Identity) -> Result<(), String> {
        let Some(address) = me.addresses.ip().filter(|_| self.listener.is_none()) else { return Ok(()) };
        let address = SocketAddr::new(address, self.port);
        self.listener = self.open(address).await.map_err(|e| {
            let advice = if e.kind() == ErrorKind::AddrNotAvailable {
                "the instance's address is not on this host: a container needs the host's network"
            } else {
                "stop what holds the port"
            };
            format!("listen on etcd's peer address {address}: {e}: {advice}")
        })?;
        Ok(())
    }

    /// Closes the port.
    pub fn free_port(&mut self) {
        (self.listener, self.statement) = (None, None);
    }

    /// Waits until another founder shows up or says something new of itself; for ever where nothing listens.
    pub async fn news(&self) {
        match &self.listener {
            Some(listener) => listener.news().await,
            None => std::future::pending().await,
        }
    }

    async fn open(&self, address: SocketAddr) -> io::Result<Option<Listener>> {
        match &self.tls {
            None => Listener::bind(address, None).await.map(Some),
            Some(tls) => match &tls.server {
                Some(server) => Listener::bind(address, Some(server.clone())).await.map(Some),
                // Nothing can be served without a certificate, but the port must be free all the same.
                None => TcpListener::bind(address).await.map(|_| None),
            },
        }
    }
}
