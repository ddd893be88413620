//! Certificates that nodes have issued: what they are made of, on real etcd, and the traps.

mod common;
mod files;
mod lives;
mod made;
mod options;
mod ports;
mod program;
mod rotation;
mod traps;

use std::sync::Arc;

use crate::scenario::{GROUP, PATIENCE, whole};
use crate::support::node::{Event, Node};
use crate::support::rig::Rig;

/// A cluster of https whose certificates live for so long.
async fn certified(rig: &mut Rig, size: u32, life: &str) -> Vec<Node> {
    rig.certify();
    rig.setup.agent_arguments.push(format!("--certificate-life={life}"));
    rig.group(GROUP, size);
    let nodes = rig.launch_many(GROUP, size as usize).unwrap();
    nodes.iter().for_each(Node::boot);
    whole(rig, &nodes).await;
    nodes
}

/// Whether the node's etcd was started once since its boot.
fn never_restarted(node: &Node) -> bool {
    !node.events().iter().any(|(_, event)| matches!(event, Event::EtcdExited { .. }))
}

/// What a port shows: the bytes of the first certificate of a handshake that nobody finishes with one of his own.
async fn shown(node: &Node, port: u16) -> Vec<u8> {
    let config = rustls::ClientConfig::builder_with_provider(etcd_bootstrap::tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    let connect = async {
        let stream = tokio::net::TcpStream::connect((node.address, port)).await?;
        let name = rustls::pki_types::ServerName::from(std::net::IpAddr::from(node.address));
        tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await
    };
    let stream = tokio::time::timeout(PATIENCE, connect).await.unwrap().unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

/// Takes any certificate: what it is, is another question.
#[derive(Debug)]
struct Anybody;

impl rustls::client::danger::ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        etcd_bootstrap::tls::provider().signature_verification_algorithms.supported_schemes()
    }
}
