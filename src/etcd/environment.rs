//! The variables that etcd, or a consumer, starts with, and how an environment file carries them. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use crate::config::{Config, Emit, ProxyStyle};
use crate::model::{ClusterState, InstanceId, MemberUrl, Scheme, Start, is_bare, render_initial_cluster};

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
pub fn of_member(start: &Start, config: &Config) -> BTreeMap<String, String> {
    let peer_listen = MemberUrl::new(listen_scheme(start, config), &start.listen.to_string(), config.policy.peer_port);
    let client_listen = client_listeners(start, config);
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
    if config.emit == Emit::Initial {
        return variables;
    }
    set("DATA_DIR", path(&config.data_dir));
    // Empty undoes one that the agent was not told of, and has not looked into.
    set("WAL_DIR", config.wal_dir.as_deref().map(path).unwrap_or_default());
    set("ADVERTISE_CLIENT_URLS", start.client_url.to_string());
    set("LISTEN_CLIENT_URLS", client_listen);
    set("LISTEN_PEER_URLS", peer_listen.to_string());
    for (port, files) in [("", &config.client_tls), ("PEER_", &config.peer_tls)] {
        if let Some(ca) = files.trusted_ca() {
            set(&format!("{port}TRUSTED_CA_FILE"), path(ca));
        }
        if let Some((certificate, key)) = &files.identity {
            set(&format!("{port}CERT_FILE"), path(certificate));
            set(&format!("{port}KEY_FILE"), path(key));
        }
    }
    // etcd asks for client certificates as soon as it has a CA; said outright, its own log says so too.
    if config.client_tls.trusted_ca().is_some() && config.policy.client_scheme == Scheme::Https {
        set("CLIENT_CERT_AUTH", "true".into());
    }
    if config.peer_tls.trusted_ca().is_some() && config.policy.peer_scheme == Scheme::Https {
        set("PEER_CLIENT_CERT_AUTH", "true".into());
    }
    variables
}

/// The variables that a member's file gives a value, whatever is decided.
pub fn names_of_member(config: &Config) -> BTreeSet<String> {
    let (scheme, host) = (config.policy.peer_scheme, IpAddr::V4(Ipv4Addr::LOCALHOST));
    let url = MemberUrl::new(scheme, &host.to_string(), config.policy.peer_port);
    let start = Start {
        name: InstanceId::new("name"),
        state: ClusterState::New,
        initial_cluster: vec![("name".to_owned(), url.clone())],
        token: "token".to_owned(),
        peer_url: url.clone(),
        client_url: url,
        listen: host,
        after: None,
    };
    of_member(&start, config).into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, _)| name).collect()
}

/// The others dial the URL that the cluster lists, so etcd listens by its scheme, whatever the options say (F100). But
/// without a certificate an etcd that listens by TLS does not start at all.
fn listen_scheme(start: &Start, config: &Config) -> Scheme {
    let listed = start.peer_url.scheme();
    let cannot = listed == Scheme::Https && config.peer_tls.identity.is_none();
    if cannot { config.policy.peer_scheme } else { listed }
}

/// etcd listens on the node's address, and on loopback for the tools on the node itself.
fn client_listeners(start: &Start, config: &Config) -> String {
    let own = MemberUrl::new(start.client_url.scheme(), &start.listen.to_string(), config.policy.client_port);
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    if start.listen.is_loopback() {
        return own.to_string();
    }
    let local = MemberUrl::new(start.client_url.scheme(), &loopback.to_string(), config.policy.client_port);
    format!("{own},{local}")
}

/// A consumer's variables.
pub fn of_consumer(endpoints: &[MemberUrl], config: &Config) -> BTreeMap<String, String> {
    let urls: Vec<String> = endpoints.iter().map(ToString::to_string).collect();
    let list = urls.join(",");
    match config.proxy_style {
        ProxyStyle::V3 => {
            let endpoints = [("ETCDCTL_ENDPOINTS", list.clone()), ("ETCD_ENDPOINTS", list)];
            let named = endpoints.into_iter().chain(own_certificate(config));
            named.map(|(name, value)| (name.to_owned(), value)).collect()
        }
        ProxyStyle::V2 => {
            // The v2 proxy of etcd 3.5 and older knows its members by their initial cluster only.
            let named = endpoints.iter().enumerate().map(|(i, url)| (format!("member-{i}"), url.clone()));
            let peers: Vec<(String, MemberUrl)> = named
                .map(|(name, url)| {
                    (name, MemberUrl::new(config.policy.peer_scheme, url.host(), config.policy.peer_port))
                })
                .collect();
            BTreeMap::from([
                ("ETCD_PROXY".to_owned(), "on".to_owned()),
                ("ETCD_INITIAL_CLUSTER".to_owned(), render_initial_cluster(&peers)),
            ])
        }
    }
}

/// For etcdctl, where the agent has issued what it has to show (etcdctl README, "TLS", v3.6).
fn own_certificate(config: &Config) -> Vec<(&'static str, String)> {
    let (Some(_), files) = (&config.issuing, &config.client_tls) else { return Vec::new() };
    let ca = files.ca.iter().map(|ca| ("ETCDCTL_CACERT", path(ca)));
    let pair = files.identity.iter().flat_map(|(cert, key)| [("ETCDCTL_CERT", path(cert)), ("ETCDCTL_KEY", path(key))]);
    ca.chain(pair).collect()
}

fn path(file: &Path) -> String {
    file.display().to_string()
}

/// A variable that no environment file can carry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the sentence of a variant names its fields")]
pub enum Unrenderable {
    /// The name is not letters, digits and underscores, or begins with a digit.
    Key { key: String },
    /// The value holds a character that systemd, docker and a shell would each read in their own way.
    Value { key: String, character: char },
}

impl fmt::Display for Unrenderable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key { key } => write!(f, "'{key}' is no name for an environment variable"),
            Self::Value { key, character } => {
                write!(f, "value of {key} holds {character:?}, which an environment file cannot carry")
            }
        }
    }
}

impl std::error::Error for Unrenderable {}

/// Renders `KEY=value` lines in the order of the keys, without quotes, comments or blank lines (F76).
///
/// An empty map gives an empty text; an empty value gives `KEY=`, which etcd reads as unset.
///
/// # Errors
/// The first variable that cannot be written bare: see [`Unrenderable`].
pub fn render(vars: &BTreeMap<String, String>) -> Result<String, Unrenderable> {
    let mut text = String::new();
    for (key, value) in vars {
        check_key(key)?;
        check_value(key, value)?;
        text.extend([key, "=", value, "\n"]);
    }
    Ok(text)
}

fn check_key(key: &str) -> Result<(), Unrenderable> {
    let starts_well = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let goes_on_well = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if starts_well && goes_on_well { Ok(()) } else { Err(Unrenderable::Key { key: key.to_owned() }) }
}

fn check_value(key: &str, value: &str) -> Result<(), Unrenderable> {
    match value.chars().find(|c| !is_bare(*c)) {
        Some(character) => Err(Unrenderable::Value { key: key.to_owned(), character }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn f76_lines_are_bare_and_sorted() {
        let text = render(&vars(&[
            ("ETCD_NAME", "i-0123"),
            ("ETCD_INITIAL_CLUSTER", "a=https://10.0.0.1:2380,b=https://[fd00::1]:2380"),
            ("ETCD_PROXY", ""),
        ]));
        let expected = "ETCD_INITIAL_CLUSTER=a=https://10.0.0.1:2380,b=https://[fd00::1]:2380\n\
                        ETCD_NAME=i-0123\nETCD_PROXY=\n";
        assert_eq!(text.as_deref(), Ok(expected));
        assert_eq!(render(&BTreeMap::new()).as_deref(), Ok(""));
    }

    #[test]
    fn f76_values_that_readers_disagree_about_are_refused() {
        for value in ["a b", "a\nETCD_FORCE_NEW_CLUSTER=true", "\"a\"", "it's", "a\\", "a\tb", "a\r", "`a`", "\u{a0}"] {
            let refused = render(&vars(&[("A", value)]));
            assert!(matches!(refused, Err(Unrenderable::Value { .. })), "{value:?}");
        }
    }

    #[test]
    fn names_that_are_no_variables_are_refused() {
        for key in ["", "1A", "A B", "A=B", "A\nB", "Ä", "A-B"] {
            assert_eq!(render(&vars(&[(key, "v")])), Err(Unrenderable::Key { key: key.to_owned() }));
        }
        assert!(render(&vars(&[("_a1", "v")])).is_ok());
    }
}
