//! Authorities and certificates, without anybody else.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use etcd_bootstrap::certificate::{Authority, Draft, Purpose, Wanted};
use etcd_bootstrap::tls::{self, Usage};
use rcgen::{PublicKeyData, SigningKey};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};

/// A key as KMS has it.
struct Key(rcgen::KeyPair);

impl Key {
    fn new() -> Self {
        Self(rcgen::KeyPair::generate().unwrap())
    }

    fn authority(&self, id: &str) -> Authority {
        Authority::new("alias/etcd-members", id, self.0.subject_public_key_info()).unwrap()
    }

    fn issue(&self, wanted: &Wanted) -> String {
        let authority = self.authority("k1");
        let mut draft = Draft::new(wanted).unwrap();
        let signature = self.0.sign(&draft.to_be_signed(&authority).unwrap()).unwrap();
        draft.signed(&authority, &signature).unwrap()
    }
}

fn wanted(purpose: Purpose) -> Wanted {
    let now = SystemTime::now();
    Wanted {
        purpose,
        names: ["10.0.0.1", "ip-10-0-0-1.ec2.internal"].map(str::to_owned).into(),
        not_before: now - Duration::from_secs(3600),
        not_after: now + Duration::from_secs(3600),
    }
}

fn in_minutes(minutes: u64) -> SystemTime {
    SystemTime::now() + Duration::from_secs(60 * minutes)
}

#[test]
fn an_authority_is_a_function_of_its_key() {
    let key = Key::new();
    let anchor = key.authority("k1").anchor().unwrap();
    assert_eq!(anchor, key.authority("k1").anchor().unwrap());
    assert_ne!(anchor, Key::new().authority("k1").anchor().unwrap());
    assert_ne!(anchor, key.authority("k2").anchor().unwrap(), "its name is its key's id");
}

#[test]
fn c21_a_key_on_another_curve_makes_no_authority() {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let why = Authority::new("k", "k", key.subject_public_key_info()).unwrap_err();
    assert!(why.contains("ECC_NIST_P256"), "{why}");
    assert!(Authority::new("k", "k", Vec::new()).is_err());
}

#[test]
fn a_certificate_is_good_for_its_names_its_dates_and_its_purpose() {
    let key = Key::new();
    let anchor = key.authority("k1").anchor().unwrap();
    let member = key.issue(&wanted(Purpose::Member));
    for name in ["10.0.0.1", "ip-10-0-0-1.ec2.internal"] {
        assert_eq!(tls::check(&member, &anchor, Usage::Both(name), SystemTime::now()), Ok(()), "{name}");
    }
    let refused = |node: &str, anchor: &str, usage, at| tls::check(node, anchor, usage, at).unwrap_err();
    let now = SystemTime::now();
    assert!(refused(&member, &anchor, Usage::Both("10.0.0.2"), now).contains("not valid for"), "another host");
    assert!(refused(&member, &anchor, Usage::Client, in_minutes(61)).contains("expired"));
    let client = key.issue(&wanted(Purpose::Client));
    assert_eq!(tls::check(&client, &anchor, Usage::Client, now), Ok(()));
    refused(&client, &anchor, Usage::Both("10.0.0.1"), now);
    // Of a key that has the same id, and is another one.
    refused(&member, &Key::new().authority("k1").anchor().unwrap(), Usage::Client, now);
}

/// rustls by itself takes it: of an anchor it does not know that nothing may be between.
#[test]
fn c14_what_is_signed_below_a_certificate_is_refused() {
    let key = Key::new();
    let anchor = key.authority("k1").anchor().unwrap();
    let server = serve(&below(&key.0, "k1", "10.0.0.1"));
    let node = key.issue(&wanted(Purpose::Member));
    let client = |direct| tls::of_texts(&anchor, &node, direct).unwrap().client;
    assert_eq!(handshake(client(false), &server), Ok(()), "the trap is one");
    let refused = handshake(client(true), &server).unwrap_err();
    assert!(refused.contains("UnknownIssuer"), "{refused}");
    assert_eq!(handshake(client(true), &serve(&node)), Ok(()));
}

/// Key and certificate of somebody who could sign once, and made himself an authority of his own.
pub fn below(key: &rcgen::KeyPair, id: &str, name: &str) -> String {
    let mut parameters = rcgen::CertificateParams::default();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let between_key = rcgen::KeyPair::generate().unwrap();
    let mut name_of_it = rcgen::CertificateParams::default();
    name_of_it.distinguished_name = rcgen::DistinguishedName::new();
    name_of_it.distinguished_name.push(rcgen::DnType::CommonName, format!("etcd-bootstrap {id}"));
    let above = rcgen::Issuer::new(name_of_it, key);
    let between = parameters.signed_by(&between_key, &above).unwrap().pem();
    let own_key = rcgen::KeyPair::generate().unwrap();
    let own = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
    let own = own.signed_by(&own_key, &rcgen::Issuer::new(parameters, between_key)).unwrap().pem();
    format!("{}{own}{between}", own_key.serialize_pem())
}

fn serve(node: &str) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_slice_iter(node.as_bytes()).collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(node.as_bytes()).unwrap();
    let builder = ServerConfig::builder_with_provider(tls::provider()).with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).unwrap())
}

/// Both sides of a handshake, in memory.
fn handshake(client: ClientConfig, server: &Arc<ServerConfig>) -> Result<(), String> {
    let name = ServerName::try_from("10.0.0.1").unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets().map_err(|e| e.to_string())?;
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets().map_err(|e| e.to_string())?;
    }
    Ok(())
}
