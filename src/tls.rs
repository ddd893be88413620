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

/// The files of one port, under etcd's option names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// None: the system's certificate authorities.
    pub ca: Option<PathBuf>,
    /// The certificate and its key; None: no certificate is shown.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// One port's TLS, ready to use.
pub struct Tls {
    pub client: ClientConfig,
    /// None without a certificate: then nothing can be served.
    pub server: Option<Arc<ServerConfig>>,
    /// The files' content, for the gRPC client, which takes PEM only.
    pub ca_pem: Option<Vec<u8>>,
    pub identity_pem: Option<(Vec<u8>, Vec<u8>)>,
    /// Those of the CA file; the system's are not kept.
    authorities: Vec<CertificateDer<'static>>,
    chain: Vec<CertificateDer<'static>>,
}

/// The one crypto provider.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Reads the files of one port.
///
/// # Errors
/// A sentence that names the file and what is wrong with it.
pub fn load(files: &Files) -> Result<Tls, String> {
    let authorities = files.ca.as_deref().map(read_certificates).transpose()?.unwrap_or_default();
    let roots = Arc::new(match &files.ca {
        None => system_roots(),
        Some(path) => trust(&authorities).map_err(|e| format!("use the CA {}: {e}", path.display()))?,
    });
    let client = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let client = client.map_err(|e| e.to_string())?.with_root_certificates(roots.clone());
    let Some((cert, key)) = &files.identity else {
        let client = client.with_no_client_auth();
        let ca_pem = files.ca.as_deref().map(read).transpose()?;
        return Ok(Tls { client, server: None, ca_pem, identity_pem: None, authorities, chain: Vec::new() });
    };
    let chain = read_certificates(cert)?;
    let private = || PrivateKeyDer::from_pem_file(key).map_err(|e| format!("read the key {}: {e}", key.display()));
    let pair = |e: Error| format!("use {} with {}: {e}", cert.display(), key.display());
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

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let failed = |e: rustls::pki_types::pem::Error| format!("read the certificate {}: {e}", path.display());
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(failed)?.collect();
    let certificates = certificates.map_err(failed)?;
    if certificates.is_empty() {
        return Err(format!("read the certificate {}: there is none in it", path.display()));
    }
    Ok(certificates)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|e| format!("read {}: {e}", path.display()))
}

/// The configuration of a client that speaks plain HTTP only: it trusts nobody.
pub fn unused() -> ClientConfig {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default versions")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth()
}
