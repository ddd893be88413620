//! How certificates are verified: as etcd's Go does, where rustls is more lenient.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};

use super::provider;

/// Verifies servers by these authorities, of which there has to be one.
fn server_verifier(roots: Arc<RootCertStore>) -> Result<Arc<WebPkiServerVerifier>, Error> {
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider()).build();
    verifier.map_err(|e| Error::General(e.to_string()))
}

/// Verifies servers by authorities between which and a certificate no intermediate stands.
pub fn direct_server_verifier(roots: Arc<RootCertStore>) -> Result<Arc<dyn ServerCertVerifier>, Error> {
    Ok(Arc::new(Direct(server_verifier(roots)?)))
}

/// Verifies clients by these authorities. `direct`: no intermediate stands between one and a certificate.
pub fn client_verifier(roots: Arc<RootCertStore>, direct: bool) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
    let verifier = verifier.map_err(|e| Error::General(e.to_string()))?;
    Ok(if direct { Arc::new(Direct(verifier)) } else { verifier })
}

/// What a certificate is used for.
#[derive(Debug, Clone, Copy)]
pub enum Usage<'a> {
    /// For a server of this host, and for a client.
    Both(&'a str),
    /// For a client alone.
    Client,
}

/// Verifies a chain as the others will at that time: its authority, both of their dates, the host, and the usages.
pub fn verify(
    authorities: &[CertificateDer<'static>],
    chain: &[CertificateDer<'static>],
    usage: Usage<'_>,
    at: SystemTime,
) -> Result<(), String> {
    let at = UnixTime::since_unix_epoch(at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO));
    verify_leaf(authorities, chain, usage, at)?;
    let valid: Vec<_> = authorities.iter().filter(|authority| !is_out_of_date(authority, at)).cloned().collect();
    verify_leaf(&valid, chain, usage, at).map_err(|_| "its authority has expired or is not valid yet".to_owned())
}

fn verify_leaf(
    authorities: &[CertificateDer<'static>],
    chain: &[CertificateDer<'static>],
    usage: Usage<'_>,
    at: UnixTime,
) -> Result<(), String> {
    let Some((own, intermediates)) = chain.split_first() else { return Ok(()) };
    let said = |e: Error| e.to_string();
    let roots = Arc::new(trust(authorities).map_err(said)?);
    if let Usage::Both(host) = usage {
        let name = ServerName::try_from(host.to_owned()).map_err(|e| format!("host '{host}': {e}"))?;
        let verifier = server_verifier(roots.clone()).map_err(said)?;
        verifier.verify_server_cert(own, intermediates, &name, &[], at).map_err(said)?;
    }
    let verifier = client_verifier(roots, false).map_err(said)?;
    verifier.verify_client_cert(own, intermediates, at).map(drop).map_err(said)
}

/// Go refuses what an authority has signed outside of its dates (crypto/x509/verify.go, go1.25); webpki does not look at
/// an authority's dates. Of a certificate that is presented as a server's, it looks at them before anything else
/// (`check_issuer_independent_properties`, rustls-webpki 0.103.16).
fn is_out_of_date(authority: &CertificateDer<'static>, at: UnixTime) -> bool {
    let Ok(verifier) = trust(std::slice::from_ref(authority)).and_then(|roots| server_verifier(Arc::new(roots))) else {
        return false;
    };
    let any = ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
    matches!(
        verifier.verify_server_cert(authority, &[], &any, &[], at),
        Err(Error::InvalidCertificate(
            CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. }
        ))
    )
}

/// All of them or none: etcd does not start with a CA file of which it cannot read one certificate
/// (`NewCertPool`, client/pkg/tlsutil/tlsutil.go, v3.7.1).
pub fn trust(authorities: &[CertificateDer<'static>]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone())?;
    }
    Ok(roots)
}

/// Refuses a chain with an intermediate. An authority of ours forbids them (`pathlen:0`), but webpki keeps no such word of
/// an anchor: who could sign once could make himself an authority of which no trail is left (C14).
#[derive(Debug)]
struct Direct<V: ?Sized>(Arc<V>);

fn refuse_intermediates(intermediates: &[CertificateDer<'_>]) -> Result<(), Error> {
    if intermediates.is_empty() { Ok(()) } else { Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)) }
}

impl ServerCertVerifier for Direct<WebPkiServerVerifier> {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        refuse_intermediates(intermediates)?;
        self.0.verify_server_cert(own, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

impl ClientCertVerifier for Direct<dyn ClientCertVerifier> {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        refuse_intermediates(intermediates)?;
        self.0.verify_client_cert(own, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
