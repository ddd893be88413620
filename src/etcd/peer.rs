//! etcd's peer port, and the other agents that answer on it while they wait.
//!
//! It answers under peer TLS only, without a quorum and without client auth (E8): the best view of who lives.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use reqwest::tls::TlsInfo;
use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;

use crate::errors::{cause, chain};
use crate::model::agreement::cluster_id;
use crate::model::{Absence, ClusterId, Member, MemberId, MemberUrl, PeerAnswer, PeerView, Statement};
use crate::model::{PATH, STATEMENT_HEADER};
use crate::names::Names;
use crate::tls::Tls;

/// A peer in another zone answers in milliseconds; a founding etcd's client port never does (E17).
pub const TIMEOUT: Duration = Duration::from_secs(1);

/// Far more than any member list needs; a body beyond it is not etcd's.
const MAX_BODY: usize = 1 << 20;

/// etcd's own advice is seven members (<https://etcd.io/docs/v3.6/faq/>, read 2026-11-26). Each URL of a list is asked, with
/// this node's certificate: a member that lists thousands must not cost thousands of connections (F111).
const MAX_URLS: usize = 64;

/// A client for the peer port: nothing of proxies or redirects is meant for peers.
pub fn client(tls: Option<&Tls>) -> Client {
    Client::builder()
        .tls_backend_preconfigured(tls.map_or_else(crate::tls::unused, |tls| tls.client.clone()))
        .no_proxy()
        .dns_resolver(Names)
        .redirect(reqwest::redirect::Policy::none())
        .tls_info(true)
        .connect_timeout(TIMEOUT)
        .timeout(TIMEOUT)
        .build()
        .expect("a preconfigured client has nothing left that can fail")
}

/// Asks one peer URL what is there. `own` is told to another founder so that it looks again; None tells nothing.
pub async fn fetch_peer(client: &Client, url: &MemberUrl, own: Option<&Statement>) -> PeerAnswer {
    let (members, version, statement) =
        tokio::join!(fetch_members(client, url), fetch_version(client, url), fetch_statement(client, url, own));
    if let Ok(statement) = statement {
        return PeerAnswer::Agent(statement);
    }
    let view = members.and_then(|(certificate_until, cluster_id, members)| {
        let version = version?;
        let decided = version.etcdcluster.filter(|v| !v.is_empty() && v != "not_decided");
        if decided.is_none() && founders_id(&members) != cluster_id {
            return Err(not_etcd(
                "its member list is not that of a cluster being founded: it still reads its log, or waits for its quorum \
                 or for the leader's snapshot",
            ));
        }
        Ok(PeerView { cluster_id, members, server_version: version.etcdserver, cluster_version: decided, certificate_until })
    });
    view.map_or_else(PeerAnswer::Absent, PeerAnswer::Etcd)
}

/// The id of a cluster that never changed. An etcd up to 3.5 opens its peer port before it has read its log, and lists
/// fewer members for a moment; whoever took that list over would found another cluster (F02).
fn founders_id(members: &[Member]) -> ClusterId {
    cluster_id(&members.iter().map(|m| m.id).collect::<BTreeSet<_>>())
}

async fn fetch_members(
    client: &Client,
    url: &MemberUrl,
) -> Result<(Option<SystemTime>, ClusterId, Vec<Member>), Absence> {
    let reply = get(client, url, "/members", None).await?;
    let id = reply.headers().get("X-Etcd-Cluster-ID").and_then(|id| id.to_str().ok()).map(str::to_owned);
    let shown = reply.extensions().get::<TlsInfo>().and_then(TlsInfo::peer_certificate);
    let until = shown.and_then(crate::tls::end_of);
    let (cluster, members) = parse_members(id, &read_body(reply).await?)?;
    Ok((until, cluster, members))
}

/// Reads a reply to `GET /members` and its header with the cluster's id.
///
/// # Errors
/// Why no etcd can have said that.
pub fn parse_members(cluster_id: Option<String>, body: &[u8]) -> Result<(ClusterId, Vec<Member>), Absence> {
    let id = cluster_id.and_then(|id| ClusterId::try_from(id).ok());
    let id = id.ok_or_else(|| not_etcd("no X-Etcd-Cluster-ID header"))?;
    let list: Vec<ListedMember> = parse(body)?;
    let members = member_list(list.into_iter().map(ListedMember::member));
    Ok((id, members.map_err(|e| not_etcd(&e))?))
}

async fn fetch_version(client: &Client, url: &MemberUrl) -> Result<Version, Absence> {
    parse(&read_body(get(client, url, "/version", None).await?).await?)
}

async fn fetch_statement(client: &Client, url: &MemberUrl, own: Option<&Statement>) -> Result<Statement, Absence> {
    let own = own.and_then(|statement| serde_json::to_string(statement).ok());
    parse(&read_body(get(client, url, PATH, own).await?).await?)
}

async fn get(client: &Client, url: &MemberUrl, path: &str, statement: Option<String>) -> Result<Response, Absence> {
    let mut request = client.get(format!("{url}{path}"));
    if let Some(statement) = statement {
        request = request.header(STATEMENT_HEADER, statement);
    }
    let reply = request.send().await.map_err(|e| classify(&e))?;
    match reply.status() {
        StatusCode::OK => Ok(reply),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Absence::Denied(reply.status().to_string())),
        // A 404 is unknown, not absent (F60).
        status => Err(not_etcd(&format!("{path} answers {status}"))),
    }
}

async fn read_body(mut reply: Response) -> Result<Vec<u8>, Absence> {
    let mut body = Vec::new();
    while let Some(chunk) = reply.chunk().await.map_err(|e| classify(&e))? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_BODY {
            return Err(not_etcd("the reply is too long"));
        }
    }
    Ok(body)
}

/// Reads a reply's body.
///
/// # Errors
/// Why no etcd and no founder can have said that.
pub fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Absence> {
    serde_json::from_slice(body).map_err(|e| not_etcd(&format!("unreadable reply: {e}")))
}

fn classify(error: &reqwest::Error) -> Absence {
    if let Some(tls) = cause::<rustls::Error>(error) {
        return Absence::Tls(tls.to_string());
    }
    let io = cause::<std::io::Error>(error).map(std::io::Error::kind);
    match io {
        Some(std::io::ErrorKind::ConnectionRefused) => Absence::Refused,
        Some(std::io::ErrorKind::HostUnreachable | std::io::ErrorKind::NetworkUnreachable) => {
            Absence::NoAnswer(TIMEOUT)
        }
        _ if error.is_timeout() => Absence::NoAnswer(TIMEOUT),
        // Neither hyper nor std has a kind for it; this is how std words a failed getaddrinfo.
        _ if chain(error).contains("failed to lookup address") => Absence::NoName(chain(error)),
        _ => Absence::NotUnderstood(chain(error)),
    }
}

fn not_etcd(why: &str) -> Absence {
    Absence::NotUnderstood(why.to_owned())
}

/// A reply to `GET /version`.
#[derive(Deserialize)]
pub struct Version {
    etcdserver: String,
    etcdcluster: Option<String>,
}

/// An entry of `GET /members`: ids are bare numbers above 2^53, and what has its default value is left out (E17).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListedMember {
    id: u64,
    #[serde(default)]
    name: String,
    #[serde(default, rename = "peerURLs")]
    peer_urls: Vec<String>,
    #[serde(default, rename = "clientURLs")]
    client_urls: Vec<String>,
    #[serde(default)]
    is_learner: bool,
}

impl ListedMember {
    pub(super) fn member(self) -> Result<Member, String> {
        member(self.id, self.name, &self.peer_urls, &self.client_urls, self.is_learner)
    }
}

/// A list from the members of either API, unless it is no real cluster's.
pub(super) fn member_list(members: impl Iterator<Item = Result<Member, String>>) -> Result<Vec<Member>, String> {
    let list = members.collect::<Result<Vec<Member>, String>>()?;
    let urls: usize = list.iter().map(|m| m.peer_urls.len()).sum();
    if urls > MAX_URLS {
        return Err(format!("it lists {urls} peer URLs, more than {MAX_URLS}"));
    }
    Ok(list)
}

/// A member from the words of either API.
pub(super) fn member(
    id: u64,
    name: String,
    peer_urls: &[String],
    client_urls: &[String],
    learner: bool,
) -> Result<Member, String> {
    let urls = |urls: &[String]| urls.iter().map(|url| url.parse()).collect::<Result<Vec<MemberUrl>, String>>();
    let of = |e: String| format!("member {id:x}: {e}");
    let (peer_urls, client_urls) = (urls(peer_urls).map_err(of)?, urls(client_urls).map_err(of)?);
    Ok(Member { id: MemberId(id), name, peer_urls, client_urls, learner })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Scheme;

    /// The DNS record of a member may have gone with its instance.
    #[tokio::test]
    async fn f36_a_name_that_does_not_resolve_is_not_a_port_that_speaks() {
        // A label may have 63 characters: this name fails without a question to any server.
        let url = MemberUrl::new(Scheme::Http, &"x".repeat(64), 2380);
        let answer = fetch_peer(&client(None), &url, None).await;
        assert!(matches!(answer, PeerAnswer::Absent(Absence::NoName(_))), "{answer:?}");
    }

    /// Each URL would be asked, with this node's certificate.
    #[test]
    fn f111_a_list_of_thousands_is_no_etcds() {
        let list = |urls: usize| {
            let urls: Vec<String> = (0..urls).map(|n| format!("http://10.0.{}.{}:2380", n / 256, n % 256)).collect();
            let body = serde_json::json!([{ "id": 1, "peerURLs": urls }]).to_string();
            parse_members(Some("c1".into()), body.as_bytes())
        };
        assert!(list(MAX_URLS).is_ok());
        let refused = list(6000).map(|_| ()).map_err(|absence| absence.to_string());
        assert!(refused.as_ref().is_err_and(|why| why.contains("6000 peer URLs")), "{refused:?}");
    }
}
