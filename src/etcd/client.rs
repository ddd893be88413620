//! etcd's client port, over gRPC: a member's state, and the member list as a quorum confirms it.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use etcd_client::{Client, Error, GetOptions, StatusResponse};
use tokio::task::JoinSet;

use super::channel;
use super::user::{Access, is_denied};
use crate::errors::{cause, chain};
use crate::model::{
    Absence, Blind, BlindKind, ClientView, ClusterId, Database, Member, MemberId, MemberUrl, Scheme, Seen,
};
use crate::names;
use crate::tls::{self, Tls};

/// A founding etcd's client port accepts and stays silent for as long as it has no quorum (E17).
const READ_TIMEOUT: Duration = Duration::from_millis(1500);

/// Read to be sure of the quorum, never written.
const BARRIER_KEY: &str = "etcd-bootstrap/barrier";

/// Looks at one member's client port.
///
/// # Errors
/// Why there was no usable answer.
pub async fn fetch_client_view(access: &Access, url: &MemberUrl) -> Result<ClientView, Absence> {
    let status = tokio::time::timeout(READ_TIMEOUT, fetch_status(access, url)).await;
    let (client, mut view) = status.unwrap_or(Err(Absence::NoAnswer(READ_TIMEOUT)))?;
    if view.leader.is_some() {
        view.quorum_list = fetch_quorum_list(access, client.clone()).await;
    }
    if let Seen::Yes(_) = &view.quorum_list {
        view.commit = fetch_commit(client).await;
    }
    Ok(view)
}

/// Up to where this member knows the log to be committed. After a linearizable read that is at least all that was
/// committed before it: the member has waited for that (raft's read index; server/etcdserver/v3_server.go, v3.7.1).
async fn fetch_commit(mut client: Client) -> Option<u64> {
    let status = tokio::time::timeout(READ_TIMEOUT, client.status()).await.ok()?.ok()?;
    Some(status.raft_index())
}

/// Of the first that answers, where a name has several addresses: those of all members, as a rule, and one may be gone.
async fn fetch_status(access: &Access, url: &MemberUrl) -> Result<(Client, ClientView), Absence> {
    let addresses = addresses(url).await?.into_iter();
    let mut asked: JoinSet<_> =
        addresses.map(|address| fetch_status_at(access.clone(), url.clone(), address)).collect();
    let mut answer = Err(without_address(url));
    while answer.is_err()
        && let Some(next) = asked.join_next().await
    {
        answer = next.expect("it does not panic");
    }
    answer
}

async fn fetch_status_at(access: Access, url: MemberUrl, address: IpAddr) -> Result<(Client, ClientView), Absence> {
    let client = channel::connect(access.tls.as_deref(), &url, address, READ_TIMEOUT).await;
    let mut client = client.map_err(|e| absence(&e))?;
    // The state of a member is told to users alone by the newest etcds.
    let status = access.call(&mut client, async |mut client| client.status().await).await.map_err(|e| absence(&e))?;
    let header = status.header().ok_or_else(|| Absence::NotUnderstood("a status without a header".into()))?;
    let view = ClientView {
        cluster_id: ClusterId(header.cluster_id()),
        member_id: MemberId(header.member_id()),
        version: status.version().to_owned(),
        leader: Some(status.leader()).filter(|id| *id != 0).map(MemberId),
        learner: status.is_learner(),
        quorum_list: unseen(BlindKind::Unreachable, "there is no leader".into()),
        commit: None,
        applied: Some(status.raft_applied_index()).filter(|index| *index != 0),
        faults: status.errors().to_vec(),
        database: database(&status),
    };
    Ok((client, view))
}

/// None where there is none yet: a database has two pages at least.
fn database(status: &StatusResponse) -> Option<Database> {
    let bytes = |size: i64| u64::try_from(size).ok().filter(|bytes| *bytes > 0);
    Some(Database {
        size: bytes(status.db_size())?,
        size_in_use: bytes(status.raft_used_db_size())?,
        quota: bytes(status.db_size_quota()),
    })
}

/// Until when the certificate is valid that a client port shows, in a handshake of its own: gRPC tells nothing of its
/// handshakes. None in the clear, and where there is none.
pub async fn fetch_certificate_end(tls: Option<&Tls>, url: &MemberUrl) -> Option<SystemTime> {
    if url.scheme() == Scheme::Http {
        return None;
    }
    let shake_hands = async {
        let address = *addresses(url).await.ok()?.first()?;
        let stream = channel::shake_hands(channel::config(tls), url, address).await.ok()?;
        tls::end_of(stream.get_ref().1.peer_certificates()?.first()?)
    };
    tokio::time::timeout(READ_TIMEOUT, shake_hands).await.ok()?
}

/// The member list that a quorum stands behind (F20): a linearizable read first brings this member up to all that was
/// committed before; its own list right after it holds every change of that time. The client crate asks for the list
/// with `linearizable: false`, and etcd 3.4 knows no other (etcd#11198); this way works on every version.
async fn fetch_quorum_list(access: &Access, mut client: Client) -> Seen<Vec<Member>> {
    let read = access.call(&mut client, async |mut client| {
        let keys_only = GetOptions::new().with_keys_only();
        client.get(BARRIER_KEY, Some(keys_only)).await?;
        client.member_list().await
    });
    match tokio::time::timeout(READ_TIMEOUT, read).await {
        Err(_) => unseen(BlindKind::Unreachable, "no quorum answered in time".into()),
        Ok(Err(e)) if is_denied(&e) => unseen(BlindKind::Denied, text(&e)),
        Ok(Err(e)) => unseen(BlindKind::Unreachable, text(&e)),
        Ok(Ok(reply)) => match super::peer::member_list(reply.members().iter().map(listed)) {
            Ok(list) => Seen::Yes(list),
            Err(why) => unseen(BlindKind::Malformed, why),
        },
    }
}

pub(super) async fn connect(access: &Access, url: &MemberUrl, timeout: Duration) -> Result<Client, Absence> {
    let found = tokio::time::timeout(timeout, addresses(url)).await.unwrap_or(Err(Absence::NoAnswer(timeout)))?;
    let first = found.first().ok_or_else(|| without_address(url))?;
    channel::connect(access.tls.as_deref(), url, *first, timeout).await.map_err(|e| absence(&e))
}

/// IPv6 only where there is nothing else, as `names` orders them.
async fn addresses(url: &MemberUrl) -> Result<Vec<IpAddr>, Absence> {
    if let Some(address) = url.address() {
        return Ok(vec![address]);
    }
    let addresses = names::lookup(url.host()).await.map_err(|e| Absence::NoName(e.to_string()))?;
    let first = addresses.first().map(IpAddr::is_ipv4);
    Ok(addresses.into_iter().filter(|address| Some(address.is_ipv4()) == first).collect())
}

fn without_address(url: &MemberUrl) -> Absence {
    Absence::NoName(format!("{} has no address", url.host()))
}

#[allow(clippy::wildcard_enum_match_arm, reason = "the crate has a dozen errors, and more with each version")]
pub(super) fn absence(error: &Error) -> Absence {
    let source: &(dyn std::error::Error + 'static) = match error {
        Error::TransportError(e) => e,
        Error::GRpcStatus(e) => e,
        Error::IoError(e) => e,
        other => other,
    };
    if let Some(tls) = cause::<rustls::Error>(source) {
        return Absence::Tls(tls.to_string());
    }
    let io = cause::<std::io::Error>(source).map(std::io::Error::kind);
    match io {
        Some(std::io::ErrorKind::ConnectionRefused) => Absence::Refused,
        Some(
            std::io::ErrorKind::TimedOut | std::io::ErrorKind::HostUnreachable | std::io::ErrorKind::NetworkUnreachable,
        ) => Absence::NoAnswer(READ_TIMEOUT),
        _ if is_denied(error) => Absence::Denied(text(error)),
        _ => Absence::NotUnderstood(text(error)),
    }
}

/// The crate's error has no source, so the cause is taken out of it.
#[allow(clippy::wildcard_enum_match_arm, reason = "the crate has a dozen errors, and more with each version")]
pub(super) fn text(error: &Error) -> String {
    match error {
        Error::GRpcStatus(status) => status.message().to_owned(),
        Error::TransportError(e) => chain(e),
        Error::InvalidArgs(why) => why.clone(),
        other => other.to_string(),
    }
}

fn listed(m: &etcd_client::Member) -> Result<Member, String> {
    super::peer::member(m.id(), m.name().to_owned(), m.peer_urls(), m.client_urls(), m.is_learner())
}

fn unseen(kind: BlindKind, why: String) -> Seen<Vec<Member>> {
    Seen::No(Blind { kind, why })
}
