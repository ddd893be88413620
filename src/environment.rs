//! The variables that etcd, or a consumer, starts with. Pure; `write.rs` puts them into the file.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use crate::cli::{Emit, Options, ProxyStyle};
use crate::model::{MemberUrl, Scheme, Start, render_initial_cluster};

/// What makes etcd ignore the file, or take its members from elsewhere. Written empty, which etcd takes for unset
/// (pkg/flags/flag.go, v3.4.23 to v3.7.3): where the file is the last one that etcd's unit reads, whatever stands in the
/// unit or in a file before it is undone (F99).
const OVERRULING: [&str; 8] = [
    "CONFIG_FILE",
    "DISCOVERY",
    "DISCOVERY_ENDPOINTS",
    "DISCOVERY_SRV",
    "DISCOVERY_SRV_NAME",
    "DISCOVERY_TOKEN",
    "FORCE_NEW_CLUSTER",
    "PROXY",
];

/// A member's variables (<https://etcd.io/docs/v3.6/op-guide/configuration/>, read 2026-11-21).
pub fn of_member(start: &Start, options: &Options) -> BTreeMap<String, String> {
    let peer_listen = MemberUrl::new(listen_scheme(start, options), &start.listen.to_string(), options.etcd_peer_port);
    let client_listen = client_listeners(start, options);
    let mut variables = BTreeMap::new();
    let mut set = |name: &str, value: String| variables.insert(format!("ETCD_{name}"), value);
    set("NAME", start.name.to_string());
    set("INITIAL_CLUSTER", render_initial_cluster(&start.initial_cluster));
    set("INITIAL_CLUSTER_STATE", start.state.to_string());
    set("INITIAL_ADVERTISE_PEER_URLS", start.peer_url.to_string());
    if !start.token.is_empty() {
        set("INITIAL_CLUSTER_TOKEN", start.token.clone());
    }
    for name in OVERRULING {
        set(name, String::new());
    }
    if options.emit == Emit::Initial {
        return variables;
    }
    set("DATA_DIR", path(&options.data_dir));
    // Empty undoes one that the agent was not told of, and has not looked into.
    set("WAL_DIR", options.wal_dir.as_deref().map(path).unwrap_or_default());
    set("ADVERTISE_CLIENT_URLS", start.client_url.to_string());
    set("LISTEN_CLIENT_URLS", client_listen);
    set("LISTEN_PEER_URLS", peer_listen.to_string());
    let tls = &options.tls;
    let files = [
        ("TRUSTED_CA_FILE", &tls.trusted_ca_file),
        ("CERT_FILE", &tls.cert_file),
        ("KEY_FILE", &tls.key_file),
        ("PEER_TRUSTED_CA_FILE", &tls.peer_trusted_ca_file),
        ("PEER_CERT_FILE", &tls.peer_cert_file),
        ("PEER_KEY_FILE", &tls.peer_key_file),
    ];
    for (name, file) in files {
        if let Some(file) = file {
            set(name, path(file));
        }
    }
    // etcd asks for client certificates as soon as it has a CA; said outright, its own log says so too.
    if tls.trusted_ca_file.is_some() && options.etcd_client_schema == Scheme::Https {
        set("CLIENT_CERT_AUTH", "true".into());
    }
    if tls.peer_trusted_ca_file.is_some() && options.etcd_peer_scheme == Scheme::Https {
        set("PEER_CLIENT_CERT_AUTH", "true".into());
    }
    variables
}

/// The others dial the URL that the cluster lists, so etcd listens by its scheme, whatever the options say (F100). But
/// without a certificate an etcd that listens by TLS does not start at all.
fn listen_scheme(start: &Start, options: &Options) -> Scheme {
    match start.peer_url.scheme() {
        Scheme::Https if options.tls.peer_cert_file.is_none() => options.etcd_peer_scheme,
        listed => listed,
    }
}

/// etcd listens on the node's address, and on loopback for the tools on the node itself.
fn client_listeners(start: &Start, options: &Options) -> String {
    let own = MemberUrl::new(start.client_url.scheme(), &start.listen.to_string(), options.etcd_client_port);
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    if start.listen.is_loopback() {
        return own.to_string();
    }
    let local = MemberUrl::new(start.client_url.scheme(), &loopback.to_string(), options.etcd_client_port);
    format!("{own},{local}")
}

/// A consumer's variables.
pub fn of_consumer(endpoints: &[MemberUrl], options: &Options) -> BTreeMap<String, String> {
    let urls: Vec<String> = endpoints.iter().map(ToString::to_string).collect();
    let list = urls.join(",");
    match options.proxy_style {
        ProxyStyle::V3 => {
            BTreeMap::from([("ETCDCTL_ENDPOINTS".to_owned(), list.clone()), ("ETCD_ENDPOINTS".to_owned(), list)])
        }
        ProxyStyle::V2 => {
            // The v2 proxy of etcd 3.5 and older knows its members by their initial cluster only.
            let named = endpoints.iter().enumerate().map(|(i, url)| (format!("member-{i}"), url.clone()));
            let peers: Vec<(String, MemberUrl)> = named
                .map(|(name, url)| (name, MemberUrl::new(options.etcd_peer_scheme, url.host(), options.etcd_peer_port)))
                .collect();
            BTreeMap::from([
                ("ETCD_PROXY".to_owned(), "on".to_owned()),
                ("ETCD_INITIAL_CLUSTER".to_owned(), render_initial_cluster(&peers)),
            ])
        }
    }
}

fn path(file: &Path) -> String {
    file.display().to_string()
}
