//! What every command starts from: the certificates, read and checked before anything is asked, and who looks where.

use std::sync::Arc;

use crate::apply::Directories;
use crate::cloud::Cloud;
use crate::config::Config;
use crate::errors::chain;
use crate::etcd::data;
use crate::etcd::user::{Access, password};
use crate::files::saved;
use crate::model::{Role, Scheme};
use crate::observe::{Observer, OwnPorts, Ports, Sources};
use crate::tls::{Certificates, Tls};

/// A configuration whose certificates are read.
pub struct Setup {
    /// What the options say.
    pub config: Config,
    /// Read and checked.
    pub certificates: Certificates,
}

impl Setup {
    /// Reads the certificates of the ports that use TLS, and whether the user's password can be read.
    ///
    /// # Errors
    /// A sentence that names the file, unless this is a node with data: it starts in spite of it (F51).
    pub fn new(config: Config) -> Result<Self, String> {
        if let Some(Err(why)) = config.user.as_ref().map(password)
            && !has_data(&config)
        {
            return Err(why);
        }
        let loaded = Certificates::load(&config.policy, &config.peer_tls, &config.client_tls);
        let certificates = match loaded {
            Err(failed) if has_data(&config) => Certificates::useless(chain(&failed)),
            loaded => loaded.map_err(|failed| chain(&failed))?,
        };
        Ok(Self { config, certificates })
    }

    /// The same where the certificates can be used, on a node with data too.
    ///
    /// # Errors
    /// As [`Setup::new`], and why they cannot.
    pub fn usable(config: Config) -> Result<Self, String> {
        let setup = Self::new(config)?;
        match setup.certificates.unusable() {
            None => Ok(setup),
            Some(why) => Err(why.to_owned()),
        }
    }

    /// For who only looks, whatever there is of certificates and passwords.
    pub fn tolerant(config: Config) -> Self {
        let loaded = Certificates::load(&config.policy, &config.peer_tls, &config.client_tls);
        let certificates = loaded.unwrap_or_else(|failed| Certificates::useless(chain(&failed)));
        Self { config, certificates }
    }

    /// AWS, as this run is told to see it.
    pub fn cloud(&self) -> Cloud {
        Cloud::new(self.config.group.clone())
    }

    /// How the etcd ports are asked.
    pub fn ports(&self) -> Arc<Ports> {
        Arc::new(Ports::new(self.config.policy.clone(), self.certificates.peer.as_deref(), self.access()))
    }

    /// How etcd's client ports are asked.
    pub fn access(&self) -> Access {
        Access { tls: self.certificates.client.clone(), user: self.config.user.clone() }
    }

    /// What the own peer port speaks; None in the clear.
    pub fn peer_tls(&self) -> Option<Arc<Tls>> {
        self.certificates.peer.clone().filter(|_| self.config.policy.peer_scheme == Scheme::Https)
    }

    /// Where this run looks.
    pub fn observer(&self, ports: Arc<Ports>, own_ports: OwnPorts) -> Observer {
        let config = &self.config;
        let sources = Sources {
            policy: config.policy.clone(),
            data_dir: config.data_dir.clone(),
            wal_dir: config.wal_dir.clone(),
            etcd: config.etcd.clone(),
            state_dir: config.state_dir.clone(),
            saved_identity: saved::read_identity(&config.state_dir),
            consumer: match config.policy.role {
                Role::Consumer => saved::read_consumer(&config.consumer_file(), &config.followed()),
                Role::Member => None,
            },
            certificates: self.certificates.clone(),
            own_ports,
        };
        Observer::new(sources, ports)
    }

    /// Where changes are made on this node.
    pub fn directories(&self) -> Directories<'_> {
        let Config { data_dir, wal_dir, state_dir, .. } = &self.config;
        Directories { data: data_dir, wal: wal_dir.as_deref(), state: state_dir }
    }
}

/// Whether this node is a member with data of its own.
pub fn has_data(config: &Config) -> bool {
    config.policy.role == Role::Member && data::has_log(&config.data_dir, config.wal_dir.as_deref())
}
