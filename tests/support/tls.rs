//! A certificate authority of a test's own, and the files that a node gets from it.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use std::{fs, io};

use etcd_bootstrap::certificate::{self, Draft, Purpose, Wanted};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::etcd::Judge;
use super::keys::Key;

/// A key on P-521, as openssl makes it: ring can neither make nor use one.
pub const P521_KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIHuAgEAMBAGByqGSM49AgEGBSuBBAAjBIHWMIHTAgEBBEIAj4B2JUJxkpKXbuA9
bKuAhVGkFBxJIfr3zFj/LjbYHdiIC6QxfQS56YsFPQg1gEo1XfXplUn7Xtlw8GAt
TJmfr+WhgYkDgYYABAFbJ4DHD4zpN6RBJt3EAnIAJPLfeDWWB3BU3DKzXW68MMAw
oFs/2NcyTHlajXyt75sP3MCEeW2rLKpwDQoNb/eP2AC7Hk+uWiJe2s0f02/cXkK3
ovhimW8fIaVOifyz3xJJn0Inch0YfePWPuWMNcm2u/Bb8bDXq35HVrOEdcKVHjq9
RQ==
-----END PRIVATE KEY-----
";

pub struct Authority {
    certificate: String,
    key: String,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        Self::until(2099)
    }

    /// One that is valid until the end of a year.
    pub fn until(last_year: i32) -> Self {
        let key = new_key();
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).expect("no name is a good name");
        parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(last_year, 12, 31);
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).expect("its own key signs it").pem();
        Self { certificate, key: key.serialize_pem(), issuer: rcgen::Issuer::new(parameters, key) }
    }

    /// A certificate for all these addresses, for servers and clients, with its key and the authority's own: `ca.pem`,
    /// `ca-key.pem`, `node.pem` and `node-key.pem`.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn write(&self, dir: &Path, names: &[&str]) -> io::Result<TlsFiles> {
        self.write_until(dir, names, 2099)
    }

    /// The same, valid until the end of a year.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn write_until(&self, dir: &Path, names: &[&str], last_year: i32) -> io::Result<TlsFiles> {
        self.write_for(dir, names, last_year, Vec::new())
    }

    /// A certificate for servers alone.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn write_for_servers(&self, dir: &Path, names: &[&str]) -> io::Result<TlsFiles> {
        self.write_for(dir, names, 2099, vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth])
    }

    fn write_for(
        &self,
        dir: &Path,
        names: &[&str],
        last_year: i32,
        usages: Vec<rcgen::ExtendedKeyUsagePurpose>,
    ) -> io::Result<TlsFiles> {
        let key = new_key();
        let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut parameters = rcgen::CertificateParams::new(names).expect("the names are addresses");
        parameters.extended_key_usages = usages;
        parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(last_year, 12, 31);
        let certificate = parameters.signed_by(&key, &self.issuer).expect("the authority signs");
        let files = TlsFiles { ca: dir.join("ca.pem"), cert: dir.join("node.pem"), key: dir.join("node-key.pem") };
        fs::write(&files.ca, &self.certificate)?;
        fs::write(dir.join("ca-key.pem"), &self.key)?;
        fs::write(&files.cert, certificate.pem())?;
        fs::write(&files.key, key.serialize_pem())?;
        Ok(files)
    }
}

/// The aliases that the configs name: of the members' key and of the clients'.
pub const KEYS: [&str; 2] = ["alias/etcd-members", "alias/etcd-clients"];

/// A certificate by a key of KMS, and its own key, in one text; and the authority's.
///
/// # Panics
/// When the key signs nothing.
pub fn signed_by(key: &Key, purpose: Purpose, names: &[&str]) -> (String, String) {
    let public_key = key.public_key().expect("the key has one");
    let authority = certificate::Authority::new(&key.id, &key.id, public_key).expect("a key on P-256");
    let now = SystemTime::now();
    let wanted = Wanted {
        purpose,
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        not_before: now - Duration::from_secs(3600),
        not_after: now + Duration::from_secs(24 * 3600),
    };
    let mut draft = Draft::new(&wanted).expect("the names are good");
    let message = draft.to_be_signed(&authority).expect("the names are good");
    let node = draft.signed(&authority, &key.sign(&message).expect("the key signs")).expect("it was signed");
    (node, authority.anchor().expect("the id is good"))
}

/// A judge that is a member by the first of these keys of KMS, trusts all of them, and asks from this address.
///
/// # Panics
/// When a key signs nothing.
pub fn judge_of(keys: &[&Key], from: Ipv4Addr) -> Judge {
    let made: Vec<_> = keys.iter().map(|key| signed_by(key, Purpose::Member, &[&from.to_string()])).collect();
    let anchors: String = made.iter().map(|(_, anchor)| anchor.as_str()).collect();
    let node = made[0].0.as_bytes();
    Judge::with_certificate(anchors.as_bytes(), node, node).expect("it was made just now")
}

fn new_key() -> rcgen::KeyPair {
    rcgen::KeyPair::generate().expect("ring makes keys")
}

#[derive(Clone)]
pub struct TlsFiles {
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl TlsFiles {
    /// The same files for both ports, under etcd's names.
    pub fn options(&self) -> Vec<String> {
        [self.options_of(""), self.options_of("peer-")].concat()
    }

    /// The options of one port: `peer-`, or nothing for the client port.
    pub fn options_of(&self, port: &str) -> Vec<String> {
        [("trusted-ca-file", &self.ca), ("cert-file", &self.cert), ("key-file", &self.key)]
            .map(|(name, path)| format!("--{port}{name}={}", path.display()))
            .into()
    }

    /// A server's side of TLS with the certificate, which asks callers for none.
    ///
    /// # Errors
    /// When the files cannot be read, or are no certificate and its key.
    pub fn acceptor(&self) -> io::Result<TlsAcceptor> {
        let chain = CertificateDer::pem_file_iter(&self.cert).and_then(Iterator::collect).map_err(io::Error::other)?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(io::Error::other)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(io::Error::other)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// A judge that shows the certificate.
    ///
    /// # Errors
    /// When the files cannot be read, or are no certificates.
    pub fn judge(&self) -> io::Result<Judge> {
        let (ca, cert, key) = (fs::read(&self.ca)?, fs::read(&self.cert)?, fs::read(&self.key)?);
        Judge::with_certificate(&ca, &cert, &key).map_err(io::Error::other)
    }
}
