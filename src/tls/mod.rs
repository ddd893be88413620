//! Certificates: read once, checked before anything is sent, shared by every port that is spoken to.
//!
//! Owns the one TLS configuration of each port (rustls with ring, the only provider in the tree).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, ClientConfig, Error, RootCertStore, ServerConfig};

use crate::errors::Failed;
use crate::model::{Identity, Policy, Scheme};

/// The files of one port, under etcd's option names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// None: the system's certificate authorities.
    pub ca: Option<PathBuf>,
    /// The certificate and its key; None: no certificate is shown.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl Files {
    /// When each was written last; None for one that is not there.
    pub fn written(&self) -> Vec<Option<SystemTime>> {
        let pair = self.identity.iter().flat_map(|(cert, key)| [cert, key]);
        let files = self.ca.iter().chain(pair);
        files.map(|file| std::fs::metadata(file).and_then(|file| file.modified()).ok()).collect()
    }
}

/// One port's TLS, ready to use.
pub struct Tls {
    /// For who asks others.
    pub client: ClientConfig,
    /// None without a certificate: then nothing can be served.
    pub server: Option<Arc<ServerConfig>>,
    /// The files' content, for the gRPC client, which takes PEM only.
    pub ca_pem: Option<Vec<u8>>,
    /// The certificate and its key.
    pub identity_pem: Option<(Vec<u8>, Vec<u8>)>,
    /// Those of the CA file; the system's are not kept.
    authorities: Vec<CertificateDer<'static>>,
    chain: Vec<CertificateDer<'static>>,
}

/// The certificates of both ports, read once.
#[derive(Clone, Default)]
pub struct Certificates {
    /// None on a port of plain HTTP, and where there is trouble.
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
        let load = |scheme, files| match scheme {
            Scheme::Http => Ok(None),
            Scheme::Https => load(files).map(|tls| Some(Arc::new(tls))),
        };
        let (peer, client) = (load(policy.peer_scheme, peer)?, load(policy.client_scheme, client)?);
        Ok(Self { peer, client, unusable: None })
    }

    /// Certificates that cannot be used.
    pub fn useless(why: String) -> Self {
        Self { unusable: Some(why), ..Self::default() }
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
            let url = url?;
            let why = tls.as_ref()?.check_own_certificate(url.host(), now).err()?;
            Some(format!("the other nodes will refuse the own certificate for {url}: {why}"))
        })
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
        Some(path) => trust(&authorities).map_err(|e| Failed::new("use the CA", path.display(), e))?,
    });
    let client = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let client = client.map_err(|e| Failed::new("use", "TLS", e))?.with_root_certificates(roots.clone());
    let Some((cert, key)) = &files.identity else {
        let client = client.with_no_client_auth();
        let ca_pem = files.ca.as_deref().map(read).transpose()?;
        return Ok(Tls { client, server: None, ca_pem, identity_pem: None, authorities, chain: Vec::new() });
    };
    let chain = read_certificates(cert)?;
    let private = || PrivateKeyDer::from_pem_file(key).map_err(|e| Failed::new("read the key", key.display(), e));
    let pair = |e: Error| Failed::new("use", format!("{} with {}", cert.display(), key.display()), e);
    Ok(Tls {
        client: client.with_client_auth_cert(chain.clone(), private()?).map_err(pair)?,
        server: Some(Arc::new(server_config(files, &roots, chain.clone(), private()?).map_err(pair)?)),
        ca_pem: files.ca.as_deref().map(read).transpose()?,
        identity_pem: Some((read(cert)?, read(key)?)),
        authorities,
        chain,
    })
}

impl Tls {
    /// Checks one's own certificate as the others will check it: its authority, its dates, the host that it is for, and
    /// both usages, for every node is server and client (F80, F102). Nothing to check without a certificate, or without
    /// a CA file to check it by.
    ///
    /// # Errors
    /// A sentence that says what the others would refuse.
    pub fn check_own_certificate(&self, host: &str, now: SystemTime) -> Result<(), String> {
        if self.chain.is_empty() || self.ca_pem.is_none() {
            return Ok(());
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|e| format!("host '{host}': {e}"))?;
        let now = UnixTime::since_unix_epoch(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO));
        verify(&self.authorities, &self.chain, &name, now).map_err(|e| e.to_string())?;
        let valid = self.authorities.iter().filter(|authority| !is_out_of_date(authority, &name, now));
        let valid: Vec<_> = valid.cloned().collect();
        verify(&valid, &self.chain, &name, now).map_err(|_| "its authority has expired or is not valid yet".to_owned())
    }
}

/// Verifies a chain as servers and clients do that trust these authorities.
fn verify(
    authorities: &[CertificateDer<'static>],
    chain: &[CertificateDer<'static>],
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<(), Error> {
    let Some((own, intermediates)) = chain.split_first() else { return Ok(()) };
    let roots = Arc::new(trust(authorities)?);
    let unusable = |e: rustls::client::VerifierBuilderError| Error::General(e.to_string());
    let server = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider()).build().map_err(unusable)?;
    server.verify_server_cert(own, intermediates, name, &[], now)?;
    let client = WebPkiClientVerifier::builder_with_provider(roots, provider()).build().map_err(unusable)?;
    client.verify_client_cert(own, intermediates, now)?;
    Ok(())
}

/// Go refuses what an authority has signed outside of its dates (crypto/x509/verify.go, go1.25); webpki does not look at
/// an authority's dates. Of a certificate that is presented as a server's, it looks at them before anything else
/// (`check_issuer_independent_properties`, rustls-webpki 0.103.16).
fn is_out_of_date(authority: &CertificateDer<'static>, name: &ServerName<'_>, now: UnixTime) -> bool {
    let error = verify(std::slice::from_ref(authority), std::slice::from_ref(authority), name, now).err();
    matches!(
        error,
        Some(Error::InvalidCertificate(
            CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. }
        ))
    )
}

/// Serves as etcd does: with a CA given, only to those who show a certificate of it
/// (client/pkg/transport/listener.go, v3.7.1).
fn server_config(
    files: &Files,
    roots: &Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, Error> {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match files.ca {
        None => builder.with_no_client_auth(),
        Some(_) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider()).build();
            builder.with_client_cert_verifier(verifier.map_err(|e| Error::General(e.to_string()))?)
        }
    };
    builder.with_single_cert(chain, key)
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// All of them or none: etcd does not start with a CA file of which it cannot read one certificate
/// (`NewCertPool`, client/pkg/tlsutil/tlsutil.go, v3.7.1).
fn trust(authorities: &[CertificateDer<'static>]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone())?;
    }
    Ok(roots)
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

fn read(path: &Path) -> Result<Vec<u8>, Failed> {
    std::fs::read(path).map_err(|e| Failed::new("read", path.display(), e))
}

/// The configuration of a client that speaks plain HTTP only: it trusts nobody.
pub fn unused() -> ClientConfig {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default versions")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth()
}
