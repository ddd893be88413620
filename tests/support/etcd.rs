//! The judge: what etcd itself says of its health, its members and its data. It only asks; what the
//! answers should be is for the tests and the sandbox to say.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::task::JoinSet;

/// One member as `GET /members` of a peer port tells it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Member {
    pub id: u64,
    #[serde(default)]
    pub name: String,
    #[serde(default, rename = "peerURLs")]
    pub peer_urls: Vec<String>,
    #[serde(default, rename = "clientURLs")]
    pub client_urls: Vec<String>,
    #[serde(default, rename = "isLearner")]
    pub is_learner: bool,
}

/// The member list of one node, from its own point of view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberList {
    /// In hexadecimal, as etcd writes it.
    pub cluster_id: String,
    pub members: Vec<Member>,
}

impl MemberList {
    /// The names of all members that are published and vote.
    pub fn voters(&self) -> BTreeSet<&str> {
        let voters = self.members.iter().filter(|member| !member.is_learner && !member.client_urls.is_empty());
        voters.map(|member| member.name.as_str()).collect()
    }

    /// The member of that name.
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }
}

/// Asks etcd.
#[derive(Clone)]
pub struct Judge {
    http: reqwest::Client,
    /// The schemes of client and peer URLs.
    schemes: (&'static str, &'static str),
    tls: Option<etcd_client::TlsOptions>,
}

/// How often a waiting judge looks again.
const POLL: Duration = Duration::from_millis(20);

/// How long a probe that times a start may take: as in the baseline, so that the numbers compare.
const PROBE_TIMEOUT: Duration = Duration::from_millis(150);

/// How long an etcd on a busy machine may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

impl Judge {
    /// A judge for plain HTTP.
    pub fn new() -> Self {
        // The first caller decides; both the agent's library and the tests choose ring.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).tcp_nodelay(true);
        let http = http.build().expect("a client without certificates needs nothing");
        Self { http, schemes: ("http", "http"), tls: None }
    }

    /// A judge for TLS on both ports, that shows a certificate.
    ///
    /// # Errors
    /// When one of the three is not what it should be.
    pub fn with_certificate(ca: &[u8], certificate: &[u8], key: &[u8]) -> Result<Self, reqwest::Error> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let identity = reqwest::Identity::from_pem(&[certificate, key].concat())?;
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([reqwest::Certificate::from_pem(ca)?]);
        let tls = etcd_client::TlsOptions::new()
            .ca_certificate(etcd_client::Certificate::from_pem(ca))
            .identity(etcd_client::Identity::from_pem(certificate, key));
        Ok(Self { http: http.identity(identity).build()?, schemes: ("https", "https"), tls: Some(tls) })
    }

    /// The same, for other schemes of the client and the peer port.
    #[must_use]
    pub fn over(self, client: &'static str, peer: &'static str) -> Self {
        Self { schemes: (client, peer), ..self }
    }

    /// Whether the node's etcd serves and sees a leader.
    pub async fn is_healthy(&self, node: Ipv4Addr) -> bool {
        self.is_healthy_within(node, ANSWER_TIMEOUT).await
    }

    /// A new connection to the client port, and one request on it.
    ///
    /// # Errors
    /// Why that failed.
    pub async fn handshake(&self, node: Ipv4Addr) -> Result<(), reqwest::Error> {
        let url = format!("{}://{node}:2379/health", self.schemes.0);
        // Not kept for the next one.
        let answer = self.http.get(url).header("connection", "close").timeout(ANSWER_TIMEOUT).send().await;
        answer.map(drop)
    }

    async fn is_healthy_within(&self, node: Ipv4Addr, timeout: Duration) -> bool {
        let url = format!("{}://{node}:2379/health", self.schemes.0);
        let answer = self.http.get(url).timeout(timeout).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// The member list as the node sees it; None when it does not tell.
    pub async fn members(&self, node: Ipv4Addr) -> Option<MemberList> {
        let url = format!("{}://{node}:2380/members", self.schemes.1);
        let answer = self.http.get(url).timeout(ANSWER_TIMEOUT).send().await.ok()?;
        let answer = answer.error_for_status().ok()?;
        let cluster_id = answer.headers().get("x-etcd-cluster-id")?.to_str().ok()?.to_owned();
        let members = serde_json::from_slice(&answer.bytes().await.ok()?).ok()?;
        Some(MemberList { cluster_id, members })
    }

    /// The cluster's own version as the node tells it; None when it does not.
    pub async fn cluster_version(&self, node: Ipv4Addr) -> Option<String> {
        #[derive(Deserialize)]
        struct Version {
            etcdcluster: String,
        }
        let url = format!("{}://{node}:2380/version", self.schemes.1);
        let answer = self.http.get(url).timeout(ANSWER_TIMEOUT).send().await.ok()?;
        Some(serde_json::from_slice::<Version>(&answer.bytes().await.ok()?).ok()?.etcdcluster)
    }

    /// Every cluster id that these nodes are in.
    pub async fn cluster_ids(&self, nodes: &[Ipv4Addr]) -> BTreeSet<String> {
        let mut ids = BTreeSet::new();
        for &node in nodes {
            ids.extend(self.members(node).await.map(|list| list.cluster_id));
        }
        ids
    }

    /// Waits until each of the nodes is healthy; returns when the last one was found so.
    ///
    /// # Errors
    /// After `within`, with the nodes that are not.
    pub async fn all_healthy(&self, nodes: &[Ipv4Addr], within: Duration) -> Result<Instant, String> {
        // Each node in a task of its own: a silent one must not delay the look at the others.
        let mut waits: JoinSet<_> = nodes.iter().map(|&node| self.clone().one_healthy(node, within)).collect();
        let mut last = Instant::now();
        while let Some(healthy) = waits.join_next().await {
            last = last.max(healthy.map_err(|error| error.to_string())??);
        }
        Ok(last)
    }

    // Not through `until`: a future with an async closure in it is not known to be Send.
    async fn one_healthy(self, node: Ipv4Addr, within: Duration) -> Result<Instant, String> {
        let end = Instant::now() + within;
        while !self.is_healthy_within(node, PROBE_TIMEOUT).await {
            if Instant::now() > end {
                return Err(format!("not within {within:?}: {node} is not healthy"));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(Instant::now())
    }

    /// Waits until the nodes are one whole cluster: each is healthy, and each one's list holds
    /// exactly as many members as there are nodes, all published voters, of the same cluster.
    ///
    /// # Errors
    /// After `within`, with what is missing.
    pub async fn whole_cluster(&self, nodes: &[Ipv4Addr], within: Duration) -> Result<Instant, String> {
        until(within, async || self.check_whole(nodes).await).await
    }

    /// Which of the nodes leads, by the word of the first that answers and knows; None where nobody does.
    pub async fn leader(&self, nodes: &[Ipv4Addr]) -> Option<Ipv4Addr> {
        let mut ids = Vec::new();
        for &node in nodes {
            let status = async { self.client(&[node]).await.ok()?.status().await.ok() };
            if let Ok(Some(status)) = tokio::time::timeout(Duration::from_secs(1), status).await {
                ids.push((node, status.header()?.member_id(), status.leader()));
            }
        }
        let leads = |id: u64| ids.iter().find(|(_, own, _)| *own == id).map(|(node, ..)| *node);
        ids.iter().find_map(|(_, _, leader)| leads(*leader))
    }

    /// Waits until the member list of `via` has the node as a voter, published or not; returns when that was.
    ///
    /// # Errors
    /// After `within`.
    pub async fn votes(&self, node: Ipv4Addr, via: Ipv4Addr, within: Duration) -> Result<Instant, String> {
        let url = format!("{}://{node}:2380", self.schemes.1);
        let is_voter = |member: &Member| !member.is_learner && member.peer_urls.contains(&url);
        until(within, async || match self.members(via).await {
            Some(list) if list.members.iter().any(is_voter) => Ok(()),
            Some(_) | None => Err(format!("{via} does not list {node} as a voter")),
        })
        .await
    }

    async fn check_whole(&self, nodes: &[Ipv4Addr]) -> Result<(), String> {
        let mut lists = Vec::new();
        for &node in nodes {
            if !self.is_healthy(node).await {
                return Err(format!("{node} is not healthy"));
            }
            lists.push(self.members(node).await.ok_or_else(|| format!("{node} tells no members"))?);
        }
        for (node, list) in nodes.iter().zip(&lists) {
            if list.members.len() != nodes.len() || list.voters().len() != nodes.len() {
                let members: Vec<_> = list.members.iter().map(describe).collect();
                return Err(format!("{node} lists {}, not {} voters", members.join(", "), nodes.len()));
            }
            if list.cluster_id != lists[0].cluster_id {
                return Err(format!(
                    "{node} is in cluster {}, {} in {}",
                    list.cluster_id, nodes[0], lists[0].cluster_id
                ));
            }
        }
        Ok(())
    }

    /// A client of these nodes.
    ///
    /// # Errors
    /// When etcd-client takes the addresses for none.
    pub async fn client(&self, nodes: &[Ipv4Addr]) -> Result<etcd_client::Client, etcd_client::Error> {
        let endpoints: Vec<_> = nodes.iter().map(|node| format!("{}://{node}:2379", self.schemes.0)).collect();
        let options = etcd_client::ConnectOptions::new()
            .with_connect_timeout(Duration::from_secs(2))
            .with_timeout(Duration::from_secs(5));
        let options = match &self.tls {
            None => options,
            Some(tls) => options.with_tls(tls.clone()),
        };
        etcd_client::Client::connect(endpoints, Some(options)).await
    }
}

fn describe(member: &Member) -> String {
    let name = if member.name.is_empty() { "(no name)" } else { &member.name };
    let state = match (member.is_learner, member.client_urls.is_empty()) {
        (_, true) => " unpublished",
        (true, false) => " learner",
        (false, false) => "",
    };
    format!("{name}{state}")
}

/// Looks again until it is well; returns when that was.
///
/// # Errors
/// After `within`, with the last answer.
pub async fn until(within: Duration, mut look: impl AsyncFnMut() -> Result<(), String>) -> Result<Instant, String> {
    let end = Instant::now() + within;
    loop {
        match look().await {
            Ok(()) => return Ok(Instant::now()),
            Err(why) if Instant::now() > end => return Err(format!("not within {within:?}: {why}")),
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

/// Removes a member, and asks again until it is gone: in the first seconds after a leader has started, etcd takes no
/// change, and one that it takes may have no answer.
///
/// # Errors
/// After `within`, with etcd's last answer.
pub async fn remove(client: &mut etcd_client::Client, member: u64, within: Duration) -> Result<(), String> {
    let ask = async || match client.member_remove(member).await {
        Err(error) if !error.to_string().contains("member not found") => Err(format!("remove {member:x}: {error}")),
        Ok(_) | Err(_) => Ok(()),
    };
    until(within, ask).await.map(drop)
}

/// How long this etcd asked its peers, before it started, whether they are a cluster already: in a
/// fast start a few milliseconds. Read from the log of its last start in the format `zap`.
pub fn pause_before_start(log: &str) -> Option<Duration> {
    #[derive(Deserialize)]
    struct Line {
        ts: String,
        msg: String,
    }
    let lines = || log.lines().rev().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    let time = |message: &str| {
        let line = lines().find(|line| line.msg == message)?;
        humantime::parse_rfc3339(&line.ts).ok()
    };
    time("starting local member")?.duration_since(time("opened backend db")?).ok()
}

/// An etcd to use: `$ETCD`, else the newest under `target/etcd/`, else the one on `PATH`.
///
/// # Errors
/// When there is none.
pub fn find(target: &Path) -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os("ETCD") {
        return Ok(path.into());
    }
    let built = built(target).pop().map(|(_, path)| path);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|dir| dir.join("etcd"));
    let candidates = built.into_iter().chain(on_path).chain([PathBuf::from("/usr/bin/etcd")]);
    let found = candidates.into_iter().find(|path| path.is_file());
    found.ok_or_else(|| "there is no etcd: set ETCD, or install it on PATH".to_owned())
}

/// What the program says of itself.
///
/// # Errors
/// When it cannot be run or says something else.
pub fn version_of(etcd: &Path) -> Result<String, String> {
    let output = Command::new(etcd).arg("--version").output();
    let output = output.map_err(|error| format!("run {} --version: {error}", etcd.display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.lines().find_map(|line| line.strip_prefix("etcd Version: "));
    version.map(str::to_owned).ok_or_else(|| format!("{} tells no version", etcd.display()))
}

/// The versions under `target/etcd/VERSION/etcd`, the oldest first.
pub fn built(target: &Path) -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir(target.join("etcd")).into_iter().flatten().flatten();
    let mut built: Vec<_> = entries
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path().join("etcd")))
        .filter(|(_, path)| path.is_file())
        .collect();
    built.sort_by_key(|(version, _)| version.split('.').map(|part| part.parse().unwrap_or(0)).collect::<Vec<u32>>());
    built
}
