//! The certificate that this node shows: read again at the next handshake after its files were replaced, as etcd does
//! (client/pkg/transport/listener.go, v3.7.1), so that what outlives a renewal shows the new one.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::{parse_certificates, provider, read_certificates, written};
use crate::errors::Failed;

/// A certificate and its key, by their files.
#[derive(Debug)]
pub struct Shown {
    certificate: PathBuf,
    key: PathBuf,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    written: [Option<SystemTime>; 2],
    pair: Arc<CertifiedKey>,
}

impl Shown {
    pub fn read(certificate: PathBuf, key: PathBuf) -> Result<Self, Failed> {
        let current = Mutex::new(Current::read(&certificate, &key)?);
        Ok(Self { certificate, key, current })
    }

    /// A pair in one text, of no file.
    pub fn of_text(text: &str) -> Result<Self, Failed> {
        let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|e| Failed::new("read", "the key", e))?;
        let pair = CertifiedKey::from_der(parse_certificates(text)?, key, &provider());
        let pair = pair.map_err(|e| Failed::new("use", "the certificate with its key", e))?;
        let current = Mutex::new(Current { written: [None; 2], pair: Arc::new(pair) });
        Ok(Self { certificate: PathBuf::new(), key: PathBuf::new(), current })
    }

    /// The pair as the files have it now; as they had it before where they are no pair for the moment.
    pub fn pair(&self) -> Arc<CertifiedKey> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.written != [&self.certificate, &self.key].map(|file| written(file))
            && let Ok(new) = Current::read(&self.certificate, &self.key)
        {
            *current = new;
        }
        current.pair.clone()
    }
}

impl Current {
    fn read(certificate: &PathBuf, key: &PathBuf) -> Result<Self, Failed> {
        // Asked before they are read: what is replaced meanwhile is read once more.
        let written = [certificate, key].map(|file| written(file));
        let chain = read_certificates(certificate)?;
        let private = PrivateKeyDer::from_pem_file(key).map_err(|e| Failed::new("read the key", key.display(), e))?;
        let pair = CertifiedKey::from_der(chain, private, &provider())
            .map_err(|e| Failed::new("use", format!("{} with {}", certificate.display(), key.display()), e))?;
        Ok(Self { written, pair: Arc::new(pair) })
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.pair())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.pair())
    }
}
