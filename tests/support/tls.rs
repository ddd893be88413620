//! A certificate authority of a test's own, and the files that a node gets from it.

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::etcd::Judge;

pub struct Authority {
    certificate: String,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let key = new_key();
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).expect("no name is a good name");
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).expect("its own key signs it").pem();
        Self { certificate, issuer: rcgen::Issuer::new(parameters, key) }
    }

    /// A certificate for all these addresses, for servers and clients, with its key and the authority's own: `ca.pem`,
    /// `node.pem` and `node-key.pem`.
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
        let key = new_key();
        let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut parameters = rcgen::CertificateParams::new(names).expect("the names are addresses");
        parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(last_year, 12, 31);
        let certificate = parameters.signed_by(&key, &self.issuer).expect("the authority signs");
        let files = TlsFiles { ca: dir.join("ca.pem"), cert: dir.join("node.pem"), key: dir.join("node-key.pem") };
        fs::write(&files.ca, &self.certificate)?;
        fs::write(&files.cert, certificate.pem())?;
        fs::write(&files.key, key.serialize_pem())?;
        Ok(files)
    }
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

    /// A judge that shows the certificate.
    ///
    /// # Errors
    /// When the files cannot be read, or are no certificates.
    pub fn judge(&self) -> io::Result<Judge> {
        let (ca, cert, key) = (fs::read(&self.ca)?, fs::read(&self.cert)?, fs::read(&self.key)?);
        Judge::with_certificate(&ca, &cert, &key).map_err(io::Error::other)
    }
}
