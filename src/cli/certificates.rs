//! The options of TLS, and of certificates that are made here.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::node::portable_path;
use crate::config::Issuing;

#[derive(Debug, Clone, Default, Args)]
#[allow(missing_docs, reason = "clap prints what stands here")]
pub struct TlsOptions {
    /// CA of the client port [default: the system's authorities]
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_TRUSTED_CA_FILE", value_name = "PATH", value_parser = portable_path)]
    pub trusted_ca_file: Option<PathBuf>,
    /// Certificate of the client port
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_CERT_FILE", value_name = "PATH", value_parser = portable_path,
        requires = "key_file")]
    pub cert_file: Option<PathBuf>,
    /// Key of the client port
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_KEY_FILE", value_name = "PATH", value_parser = portable_path,
        requires = "cert_file")]
    pub key_file: Option<PathBuf>,
    /// CA of the peer port [default: the system's authorities]
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_PEER_TRUSTED_CA_FILE", value_name = "PATH", value_parser = portable_path)]
    pub peer_trusted_ca_file: Option<PathBuf>,
    /// Certificate of the peer port; without it no other founder can ask this node
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_PEER_CERT_FILE", value_name = "PATH", value_parser = portable_path,
        requires = "peer_key_file")]
    pub peer_cert_file: Option<PathBuf>,
    /// Key of the peer port
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_PEER_KEY_FILE", value_name = "PATH", value_parser = portable_path,
        requires = "peer_cert_file")]
    pub peer_key_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
#[allow(missing_docs, reason = "clap prints what stands here")]
pub struct CertificateOptions {
    /// The KMS key whose signature makes a member: id, ARN or alias; of several, with commas, the first signs, all are
    /// trusted
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_MEMBER_AUTHORITY", value_name = "KEY", value_delimiter = ',',
        conflicts_with_all = BROUGHT)]
    pub member_authority: Vec<String>,
    /// The same for clients of the cluster: a member trusts them, a consumer has its own certificate signed
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_CLIENT_AUTHORITY", value_name = "KEY", value_delimiter = ',',
        conflicts_with_all = BROUGHT)]
    pub client_authority: Vec<String>,
    /// A program that signs instead of KMS, with its arguments: the request on its standard input, the certificate on its
    /// standard output
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_CERTIFICATE_COMMAND", value_name = "COMMAND",
        conflicts_with_all = BROUGHT, conflicts_with = "member_authority")]
    pub certificate_command: Option<String>,
    /// Where the certificates are that are made here: node.pem, members.pem, servers.pem, clients.pem
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_CERTIFICATE_DIR", value_name = "PATH",
        default_value = "/etc/ssl/certs/etcd", value_parser = portable_path)]
    pub certificate_dir: PathBuf,
    /// How long a certificate is valid; it is renewed when half of that is over
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_CERTIFICATE_LIFE", value_name = "DURATION", default_value = "14d",
        value_parser = humantime::parse_duration)]
    pub certificate_life: Duration,
    /// Names and addresses that the certificate is for besides this node's own, with commas
    #[arg(long, global = true, env = "ETCD_BOOTSTRAP_CERTIFICATE_NAMES", value_name = "NAME", value_delimiter = ',')]
    pub certificate_names: Vec<String>,
}

/// The options of certificates that are brought.
const BROUGHT: [&str; 4] = ["cert_file", "key_file", "peer_cert_file", "peer_key_file"];

impl CertificateOptions {
    pub(super) fn issuing(&self, tls: &TlsOptions) -> Option<Issuing> {
        let asked_for = !self.member_authority.is_empty()
            || !self.client_authority.is_empty()
            || self.certificate_command.is_some();
        asked_for.then(|| Issuing {
            members: self.member_authority.clone(),
            clients: self.client_authority.clone(),
            program: self.certificate_command.as_ref().map(|text| text.split_whitespace().map(str::to_owned).collect()),
            directory: self.certificate_dir.clone(),
            life: self.certificate_life,
            names: self.certificate_names.clone(),
            trusted: tls.trusted_ca_file.clone(),
            peer_trusted: tls.peer_trusted_ca_file.clone(),
        })
    }

    /// What is missing for a node of this kind to have a certificate; None where nothing is.
    pub fn missing(&self, consumer: bool, tls: &TlsOptions) -> Option<&'static str> {
        let signs = |keys: &[String]| !keys.is_empty() || self.certificate_command.is_some();
        if self.issuing(tls).is_none() {
            None
        } else if consumer && !signs(&self.client_authority) {
            Some("a consumer's certificate needs --client-authority: the members' key signs members only")
        } else if !consumer && !signs(&self.member_authority) {
            Some("--client-authority alone makes no member: it needs --member-authority or --certificate-command")
        } else if self.certificate_command.is_some() && tls.trusted_ca_file.is_none() {
            Some("--certificate-command needs --trusted-ca-file: by what its certificates are checked")
        } else if self.certificate_command.is_some() && !consumer && tls.peer_trusted_ca_file.is_none() {
            Some("--certificate-command needs --peer-trusted-ca-file: by what its certificates are checked")
        } else {
            None
        }
    }
}
