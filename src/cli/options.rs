//! The options, topic by topic, and what a run needs of them.

use std::path::PathBuf;

use clap::Args;

use super::certificates::{CertificateOptions, TlsOptions};
use super::cluster::{GroupOptions, JoiningOptions, LifeOptions};
use super::is_set;
use super::node::{NodeOptions, PortOptions, WhichEtcd};
use super::output::{GlogFlags, OutputOptions};
use super::snapshots::SnapshotOptions;
use crate::config::{Config, OwnEtcd};
use crate::model::{AddressForm, Blind, BlindKind, FoundingRule, MemberUrl, Policy, Role, Seen};
use crate::tls;

/// In the order of the help. A topic is a heading there.
#[derive(Debug, Clone, Args)]
#[allow(missing_docs, reason = "clap prints what stands here")]
pub struct Options {
    #[command(flatten, next_help_heading = "Group and consumers")]
    pub group: GroupOptions,

    #[command(flatten, next_help_heading = "etcd on this node")]
    pub node: NodeOptions,

    #[command(flatten, next_help_heading = "Ports and addresses")]
    pub ports: PortOptions,

    #[command(flatten, next_help_heading = "Creating and joining a cluster")]
    pub joining: JoiningOptions,

    #[command(flatten, next_help_heading = "Life cycle")]
    pub life: LifeOptions,

    #[command(flatten, next_help_heading = "TLS, as etcd names it")]
    pub tls: TlsOptions,

    #[command(flatten, next_help_heading = "Certificates by themselves")]
    pub certificates: CertificateOptions,

    #[command(flatten, next_help_heading = "Snapshots and recovery")]
    pub snapshots: SnapshotOptions,

    #[command(flatten, next_help_heading = "Output and log")]
    pub output: OutputOptions,

    #[command(flatten)]
    pub glog: GlogFlags,
}

impl Options {
    /// All that a run needs of them.
    pub fn config(&self) -> Config {
        let files = |ca: &Option<PathBuf>, cert: &Option<PathBuf>, key: &Option<PathBuf>| tls::Files {
            ca: ca.clone(),
            identity: cert.clone().zip(key.clone()),
            ..tls::Files::default()
        };
        let Self { group, node, tls: t, .. } = self;
        let issuing = self.certificates.issuing(t);
        Config {
            policy: self.policy(),
            group: group.which(),
            region: group.region_from_outside(),
            environment_file: node.environment_file.clone(),
            emit: node.emit,
            proxy_style: group.proxy_style,
            data_dir: node.data_dir.clone(),
            wal_dir: node.wal_dir.clone(),
            state_dir: node.state_dir.clone(),
            etcd: match node.etcd_version {
                WhichEtcd::Auto => OwnEtcd::Program(node.etcd_binary.clone()),
                WhichEtcd::Version(version) => OwnEtcd::Told(Seen::Yes(version)),
                WhichEtcd::Unknown => {
                    let why = "--etcd-version is unknown".to_owned();
                    OwnEtcd::Told(Seen::No(Blind { kind: BlindKind::Absent, why }))
                }
            },
            snapshots: self.snapshots.snapshots().unwrap_or_default(),
            restore: self.snapshots.restore(),
            metrics_file: self.output.metrics_file.clone(),
            deadline: self.joining.deadline.0,
            peer_tls: match &issuing {
                Some(issuing) => issuing.peer_files(),
                None => files(&t.peer_trusted_ca_file, &t.peer_cert_file, &t.peer_key_file),
            },
            client_tls: match &issuing {
                Some(issuing) => issuing.client_files(),
                None => files(&t.trusted_ca_file, &t.cert_file, &t.key_file),
            },
            user: self.ports.user(),
            issuing,
            output: self.output.output,
        }
    }

    /// The part of the options that the decision depends on.
    pub fn policy(&self) -> Policy {
        let Self { group, ports, joining, life, .. } = self;
        Policy {
            role: if group.proxy_mode { Role::Consumer } else { Role::Member },
            address_form: if ports.private_addresses || ports.private_hostnames == Some(false) {
                AddressForm::Addresses
            } else {
                AddressForm::DnsNames
            },
            peer_scheme: ports.etcd_peer_scheme,
            peer_port: ports.etcd_peer_port,
            client_scheme: group.endpoints.first().map_or(ports.etcd_client_schema, MemberUrl::scheme),
            client_port: ports.etcd_client_port,
            founding: joining.founding,
            founding_grace: joining.founding_grace,
            initial_cluster: joining.initial_cluster_policy,
            join_as: joining.join_as,
            rejoin: joining.rejoin,
            prune_foreign: joining.prune_foreign,
            launch_hook: life.launch_hook.clone(),
            terminate_hook: life.terminate_hook.clone(),
            leave: life.leave,
            prune: life.prune,
            seeds: group.endpoints.clone(),
        }
    }

    /// What is set and does not do what its name says, one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        // etcd 3.6 and 3.7 only warn of them and start a cluster of their own (F58).
        let dead = ["ETCD_PROXY", "ETCD_DISCOVERY"].into_iter().filter(|name| is_set(name));
        let dead = dead.map(|name| format!("{name} is set in the environment; newer etcds ignore it"));
        // etcd reads it of its own environment, and goes on alone, at every start (S8).
        let force = is_set("ETCD_FORCE_NEW_CLUSTER").then(|| {
            "ETCD_FORCE_NEW_CLUSTER is set in the environment; no file of this program passes it on: see recover"
                .to_owned()
        });
        let snapshots = self.snapshots.snapshots().err().map(|why| format!("{why}: going on without snapshots"));
        self.glog.ignored().chain(dead).chain(force).chain(snapshots).collect()
    }

    /// What is wrong with a deadline within the founding grace, which begins anew in each run; None where nothing is.
    pub fn too_short_a_deadline(&self) -> Option<String> {
        let Self { group, joining, .. } = self;
        let deadline = joining.deadline.0.filter(|deadline| *deadline <= joining.founding_grace)?;
        let matters = !group.proxy_mode && joining.founding == FoundingRule::Majority;
        let [deadline, grace] = [deadline, joining.founding_grace].map(humantime::format_duration);
        let said = format!(
            "--deadline={deadline} is not longer than --founding-grace={grace}: \
             no run lasts until a majority may create the cluster"
        );
        matters.then_some(said)
    }
}
