//! A certificate that is about to be signed, with its key.

use std::time::SystemTime;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, Error, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    SerialNumber,
};

use super::Authority;

/// The bytes of a serial number: 8 random ones, the first positive (RFC 5280, 4.1.2.2).
const SERIAL: usize = 8;

/// Who a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A member is server and client on both ports. Its name is `root`: without etcd's authentication a name means
    /// nothing, with it the agent must be root to list the members, and `root` is the one user that then exists.
    Member,
    /// A client alone, and nameless: `grpc-proxy` refuses a name (server/etcdmain/grpc_proxy.go, v3.7.1).
    Client,
}

/// What a certificate is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Who it is for.
    pub purpose: Purpose,
    /// Addresses and DNS names.
    pub names: Vec<String>,
    /// From when on it is valid, to the second.
    pub not_before: SystemTime,
    /// Until when.
    pub not_after: SystemTime,
}

/// A new key, and the certificate that it is to have.
pub struct Draft {
    key: KeyPair,
    parameters: CertificateParams,
}

impl Draft {
    /// Makes a key on P-256.
    ///
    /// # Errors
    /// A name that no certificate can carry, or no randomness.
    pub fn new(wanted: &Wanted) -> Result<Self, Error> {
        let mut parameters = CertificateParams::new(wanted.names.clone())?;
        parameters.distinguished_name = DistinguishedName::new();
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if wanted.purpose == Purpose::Member {
            parameters.distinguished_name.push(DnType::CommonName, "root");
            parameters.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.not_before = wanted.not_before.into();
        parameters.not_after = wanted.not_after.into();
        Ok(Self { key: KeyPair::generate()?, parameters })
    }

    /// The request for a certificate, PKCS#10 in PEM, for signers that are no key of KMS.
    ///
    /// # Errors
    /// None that is known: the parameters have been taken before.
    pub fn request(&self) -> Result<String, Error> {
        self.parameters.serialize_request(&self.key)?.pem()
    }

    /// The bytes that an authority is to sign, ECDSA with SHA-256.
    ///
    /// # Errors
    /// As [`Draft::request`].
    pub fn to_be_signed(&mut self, by: &Authority) -> Result<Vec<u8>, Error> {
        let mut serial: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(SERIAL).collect();
        serial[0] = serial[0] & 0x7f | 0x40;
        self.parameters.serial_number = Some(SerialNumber::from_slice(&serial));
        self.parameters.use_authority_key_identifier_extension = true;
        Ok(by.sign(&self.parameters, &self.key, &[])?.0)
    }

    /// Key and certificate as one text, PEM, with the authority's answer to [`Draft::to_be_signed`].
    ///
    /// # Errors
    /// As [`Draft::request`].
    pub fn signed(&self, by: &Authority, signature: &[u8]) -> Result<String, Error> {
        Ok(self.with_chain(&by.sign(&self.parameters, &self.key, signature)?.1))
    }

    /// Key and certificates as one text, PEM: one file is replaced at once, and two are not. The own certificate is first:
    /// `grpc-proxy` takes the first block for one (client/pkg/transport/listener.go, `EmptyCN`, v3.7.3).
    pub fn with_chain(&self, chain: &str) -> String {
        let end = if chain.ends_with('\n') { "" } else { "\n" };
        format!("{chain}{end}{}", self.key.serialize_pem())
    }
}
