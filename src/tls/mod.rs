//! Certificates: read once, checked before anything is sent, shared by every port that is spoken to.
//!
//! Owns the one TLS configuration of each port (rustls with ring, the only provider in the tree).

mod end;
mod shown;
mod verify;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, Error, RootCertStore, ServerConfig};

pub use self::end::end_of;
use self::shown::Shown;
pub use self::verify::Usage;
use self::verify::{client_verifier, direct_server_verifier, trust, verify};
use crate::errors::{Failed, chain};
use crate::model::{Identity, Policy, Role, Scheme};

/// The files of one port, under etcd's option names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// The authorities of those who answer on the port. None: the system's.
    pub ca: Option<PathBuf>,
    /// The authorities of those who ask on it. None: those of `ca`, where that is given.
    pub callers: Option<PathBuf>,
    /// The certificate and its key; None: no certificate is shown.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Whether the authorities sign what is shown themselves: then a longer chain is refused.
    pub direct: bool,
}

impl Files {
    /// etcd's trusted CA file of the port; None where callers are not verified.
    pub fn trusted_ca(&self) -> Option<&Path> {
        self.callers.as_deref().or(self.ca.as_deref())
    }

    /// When each was written last; None for one that is not there.
    pub fn written(&self) -> Vec<Option<SystemTime>> {
        let pair = self.identity.iter().flat_map(|(cert, key)| [cert, key]);
        self.ca.iter().chain(&self.callers).chain(pair).map(|file| written(file)).collect()
    }
}

/// One port's TLS, ready to use.
pub struct Tls {
    /// For who asks others.
    pub client: ClientConfig,
    /// None without a certificate: then nothing can be served.
    pub server: Option<Arc<ServerConfig>>,
    /// Those of the CA file; empty where there is none, for the system's are not kept.
    authorities: Vec<CertificateDer<'static>>,
    /// None: no certificate is shown.
    shown: Option<Arc<Shown>>,
}

/// The certificates of both ports, read once.
#[derive(Clone, Default)]
pub struct Certificates {
    /// None where there is trouble, and on a port of plain HTTP for which no files are given.
    pub peer: Option<Arc<Tls>>,
    /// As `peer`.
    pub client: Option<Arc<Tls>>,
    /// Why they cannot be used; etcd may well be able to (F103). Nobody answers over TLS then.
    unusable: Option<String>,
}

impl Certificates {
    /// Reads the certificates of the ports that use TLS.
    ///
    /// # Errors
    /// Which file it is, and what is wrong with it.
    pub fn load(policy: &Policy, peer: &Files, client: &Files) -> Result<Self, Failed> {
        let load = |scheme, files: &Files| match scheme {
            // On the way to TLS the others may be asked over it already.
            Scheme::Http => Ok(files.ca.as_ref().and_then(|_| load(files).ok()).map(Arc::new)),
            Scheme::Https => load(files).map(|tls| Some(Arc::new(tls))),
        };
        let peer = match policy.role {
            Role::Member => load(policy.peer_scheme, peer)?,
            // It asks no peer port.
            Role::Consumer => None,
        };
        let client = load(policy.client_scheme, client)?;
        Ok(Self { peer, client, ..Self::default() })
    }

    /// Certificates that cannot be used.
    pub fn useless(why: String) -> Self {
        Self { unusable: Some(why), ..Self::default() }
    }

    /// When the first of those that are shown ends; None where none is, and where that cannot be read.
    pub fn until(&self) -> Option<SystemTime> {
        let shown = [&self.peer, &self.client].into_iter().flatten().filter_map(|tls| tls.shown.as_ref());
        shown.filter_map(|shown| end_of(shown.pair().cert.first()?)).min()
    }

    /// Why they cannot be used; None where they can.
    pub fn unusable(&self) -> Option<&str> {
        self.unusable.as_deref()
    }

    /// Why the other nodes will refuse this one, which must keep a new node out before it is added (F80); None where
    /// nothing speaks against its certificates, or where it does not know its address yet.
    pub fn trouble(&self, policy: &Policy, me: Option<&Identity>, now: SystemTime) -> Option<String> {
        if self.unusable.is_some() {
            return self.unusable.clone();
        }
        let me = me?;
        let peer = (&self.peer, policy.peer_url(&me.addresses));
        let client = (&self.client, policy.client_url(&me.addresses));
        [peer, client].into_iter().find_map(|(tls, url)| {
            let url = url.filter(|url| url.scheme() == Scheme::Https)?;
            let why = tls.as_ref()?.check_own_certificate(Usage::Both(url.host()), now).err()?;
            Some(format!("the other nodes will refuse the own certificate for {url}: {why}"))
        })
    }

    /// What a port of https without a certificate means; None where each has one. It may be meant: etcd's unit may have one
    /// of its own, as with etcd-discovery.
    pub fn missing(&self, policy: &Policy) -> Option<String> {
        let without = |scheme, tls: &Option<Arc<Tls>>| {
            scheme == Scheme::Https && tls.as_ref().is_some_and(|tls| tls.shown.is_none())
        };
        // "cannot listen on TLS for ...: KeyFile and CertFile are not presented" (server/embed/etcd.go, v3.6.16).
        let end = "etcd ends at its start unless its unit has one: see --member-authority";
        if without(policy.peer_scheme, &self.peer) {
            let what = "without --peer-cert-file no other founder can ask this node, and";
            return Some(format!("{what} {end}, --etcd-peer-scheme=http"));
        }
        let client = without(policy.client_scheme, &self.client);
        client.then(|| format!("without --cert-file {end}, --etcd-client-scheme=http"))
    }
}

/// The one crypto provider.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Reads the files of one port.
///
/// # Errors
/// A sentence that names the file and what is wrong with it.
pub fn load(files: &Files) -> Result<Tls, Failed> {
    let authorities = files.ca.as_deref().map(read_certificates).transpose()?.unwrap_or_default();
    let roots = Arc::new(match &files.ca {
        None => system_roots(),
        Some(path) => trusted(path, &authorities)?,
    });
    let shown = files.identity.clone().map(|(certificate, key)| Shown::read(certificate, key)).transpose()?;
    let shown = shown.map(Arc::new);
    let server = shown.clone().map(|shown| server_config(files, shown)).transpose()?;
    Ok(Tls {
        client: client_config(roots, files.direct, shown.clone()).map_err(unusable)?,
        server: server.map(Arc::new),
        authorities,
        shown,
    })
}

/// TLS for who asks others, of texts that are in no file yet.
///
/// # Errors
/// Which of them is none.
pub fn of_texts(authorities: &str, node: &str, direct: bool) -> Result<Tls, Failed> {
    let parsed = parse_certificates(authorities)?;
    let roots = Arc::new(trust(&parsed).map_err(unusable)?);
    let shown = Arc::new(Shown::of_text(node)?);
    Ok(Tls {
        client: client_config(roots, direct, Some(shown.clone())).map_err(unusable)?,
        server: None,
        authorities: parsed,
        shown: Some(shown),
    })
}

/// Checks a certificate and its key in one text as those who trust these authorities will.
///
/// # Errors
/// A sentence that says what they would refuse.
pub fn check(node: &str, authorities: &str, usage: Usage<'_>, at: SystemTime) -> Result<(), String> {
    let said = |e: Failed| chain(&e);
    let pair = Shown::of_text(node).map_err(said)?.pair();
    verify(&parse_certificates(authorities).map_err(said)?, &pair.cert, usage, at)
}

impl Tls {
    /// Checks one's own certificate as the others will check it: its authority, its dates, the host that it is for, and
    /// both usages, for every node is server and client (F80, F102). Nothing to check without a certificate, or without
    /// a CA file to check it by.
    ///
    /// # Errors
    /// A sentence that says what the others would refuse.
    pub fn check_own_certificate(&self, usage: Usage<'_>, at: SystemTime) -> Result<(), String> {
        match &self.shown {
            Some(shown) if !self.authorities.is_empty() => verify(&self.authorities, &shown.pair().cert, usage, at),
            Some(_) | None => Ok(()),
        }
    }
}

fn client_config(roots: Arc<RootCertStore>, direct: bool, shown: Option<Arc<Shown>>) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = if direct {
        builder.dangerous().with_custom_certificate_verifier(direct_server_verifier(roots)?)
    } else {
        // Where nobody is trusted, as by a container's bare image, rustls takes that; the builder of its verifier does not.
        builder.with_root_certificates(roots)
    };
    Ok(match shown {
        None => builder.with_no_client_auth(),
        Some(shown) => builder.with_client_cert_resolver(shown),
    })
}

/// Serves as etcd does: with a CA given, only to those who show a certificate of it
/// (client/pkg/transport/listener.go, v3.7.1).
fn server_config(files: &Files, shown: Arc<Shown>) -> Result<ServerConfig, Failed> {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.map_err(unusable)?;
    let builder = match files.trusted_ca() {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(trusted(path, &read_certificates(path)?)?);
            builder.with_client_cert_verifier(client_verifier(roots, files.direct).map_err(unusable)?)
        }
    };
    Ok(builder.with_cert_resolver(shown))
}

fn trusted(path: &Path, authorities: &[CertificateDer<'static>]) -> Result<RootCertStore, Failed> {
    trust(authorities).map_err(|e| Failed::new("use the CA", path.display(), e))
}

fn unusable(error: Error) -> Failed {
    Failed::new("use", "TLS", error)
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn parse_certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, Failed> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    certificates.map_err(|e| Failed::new("read", "the certificate", e))
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failed> {
    let failed = |e: Box<dyn std::error::Error + Send + Sync>| Failed::new("read the certificate", path.display(), e);
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(|e| failed(e.into()))?.collect();
    let certificates = certificates.map_err(|e| failed(e.into()))?;
    if certificates.is_empty() {
        return Err(failed("there is none in it".into()));
    }
    Ok(certificates)
}

/// When a file was written last; None where it is not there.
fn written(file: &Path) -> Option<SystemTime> {
    std::fs::metadata(file).and_then(|file| file.modified()).ok()
}

/// The configuration of a client that asks whom the system trusts, and shows nothing.
pub fn of_the_system() -> ClientConfig {
    client_config(Arc::new(system_roots()), false, None).expect("the provider supports the default versions")
}

/// The configuration of a client that speaks plain HTTP only: it trusts nobody.
pub fn unused() -> ClientConfig {
    client_config(Arc::new(RootCertStore::empty()), false, None).expect("the provider supports the default versions")
}
