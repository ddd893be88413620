//! An authority whose key is an asymmetric key of KMS and never leaves it.

use std::cell::RefCell;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, Error, IsCa, Issuer, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm, SigningKey, date_time_ymd,
};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// What comes before the 65 bytes of a point on P-256 in a `SubjectPublicKeyInfo` (RFC 5480, 2 and 2.2).
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const POINT: usize = 65;

/// The signature of every anchor, r = s = 1. Nobody verifies an anchor's own (RFC 5280, 6.1.1 d); a real one would differ
/// at each signing, and who may only ask for the public key could not make one.
const PLACEHOLDER: [u8; 8] = [0x30, 0x06, 0x02, 0x01, 0x01, 0x02, 0x01, 0x01];

/// One authority. Its certificate is a function of the public key, the same on every node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// As the option names it: an id, an ARN or an alias.
    pub name: String,
    /// The key's own id: an alias may point to another one tomorrow.
    pub key: String,
    /// `SubjectPublicKeyInfo`, DER.
    #[serde(deserialize_with = "on_p256")]
    public_key: Vec<u8>,
}

impl Authority {
    /// The authority of a public key in DER.
    ///
    /// # Errors
    /// Where the key is not on P-256.
    pub fn new(name: &str, key: &str, public_key: Vec<u8>) -> Result<Self, String> {
        if !is_on_p256(&public_key) {
            return Err("its public key is not on P-256: make it with --key-spec ECC_NIST_P256".to_owned());
        }
        Ok(Self { name: name.to_owned(), key: key.to_owned(), public_key })
    }

    /// The authority's certificate, PEM: it may sign certificates and no further authority (`pathlen:0`).
    ///
    /// # Errors
    /// Where the key's id cannot stand in a certificate.
    pub fn anchor(&self) -> Result<String, Error> {
        let signer = Signer { authority: self, signature: &PLACEHOLDER, signed: RefCell::default() };
        Ok(self.parameters().self_signed(&signer)?.pem())
    }

    /// Signs a certificate for `key` with an answer of KMS; also what KMS is to sign. With any other answer the bytes to
    /// be signed are the same.
    pub(super) fn sign(
        &self,
        parameters: &CertificateParams,
        key: &impl PublicKeyData,
        signature: &[u8],
    ) -> Result<(Vec<u8>, String), Error> {
        let signer = Signer { authority: self, signature, signed: RefCell::default() };
        let issuer = Issuer::new(self.parameters(), signer);
        let certificate = parameters.signed_by(key, &issuer)?;
        Ok((issuer.key().signed.take(), certificate.pem()))
    }

    fn parameters(&self) -> CertificateParams {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, format!("etcd-bootstrap {}", self.key));
        parameters.serial_number = Some(1.into());
        parameters.not_before = date_time_ymd(2020, 1, 1);
        // "No well-defined expiration date" (RFC 5280, 4.1.2.5) but for the time of day: it lives as long as the key.
        parameters.not_after = date_time_ymd(9999, 12, 31);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        parameters.use_authority_key_identifier_extension = true;
        parameters
    }
}

fn is_on_p256(public_key: &[u8]) -> bool {
    let point = public_key.strip_prefix(&P256_PREFIX);
    point.is_some_and(|point| point.len() == POINT && point.first() == Some(&0x04))
}

/// A saved authority may have been anything's: one of another key is none.
fn on_p256<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let public_key = Vec::deserialize(deserializer)?;
    if is_on_p256(&public_key) { Ok(public_key) } else { Err(D::Error::custom("its public key is not on P-256")) }
}

/// A key that is elsewhere: gives an answer that it has, and keeps what it was asked to sign.
struct Signer<'a> {
    authority: &'a Authority,
    signature: &'a [u8],
    signed: RefCell<Vec<u8>>,
}

impl PublicKeyData for Signer<'_> {
    fn der_bytes(&self) -> &[u8] {
        &self.authority.public_key[P256_PREFIX.len()..]
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for Signer<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.signed.replace(message.to_vec());
        Ok(self.signature.to_vec())
    }
}
