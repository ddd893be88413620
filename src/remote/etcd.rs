//! etcd's client port, over gRPC: the member list as a quorum confirms it, and the three calls that change it.

use std::time::Duration;

use etcd_client::{Certificate, Client, ConnectOptions, Error, GetOptions, Identity, MemberAddOptions, TlsOptions};

use super::{cause, chain};
use crate::model::{Absence, Blind, BlindKind, ClientView, ClusterId, Member, MemberId, MemberUrl, Scheme, Seen};
use crate::tls::Tls;

/// A founding etcd's client port accepts and stays silent for as long as it has no quorum (E17).
const READ_TIMEOUT: Duration = Duration::from_millis(1500);

/// A change goes through a quorum; one that another change has displaced is never answered at all (E6, F15).
const CHANGE_TIMEOUT: Duration = Duration::from_secs(5);

/// Read to be sure of the quorum, never written.
const BARRIER_KEY: &str = "etcd-bootstrap/barrier";

/// How a membership call that did not succeed is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// etcd says "not now", or gave no answer: look again.
    Later(String),
    /// What was wanted is the case already: look again.
    AlreadySo(String),
    /// The rights are missing (F59).
    Denied(String),
}

/// Looks at one member's client port.
///
/// # Errors
/// Why there was no usable answer.
pub async fn fetch_client_view(tls: Option<&Tls>, url: &MemberUrl) -> Result<ClientView, Absence> {
    let status = tokio::time::timeout(READ_TIMEOUT, fetch_status(tls, url)).await;
    let (client, mut view) = status.unwrap_or(Err(Absence::NoAnswer(READ_TIMEOUT)))?;
    if view.leader.is_some() {
        view.quorum_list = fetch_quorum_list(client.clone()).await;
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

async fn fetch_status(tls: Option<&Tls>, url: &MemberUrl) -> Result<(Client, ClientView), Absence> {
    let mut client = connect(tls, url, READ_TIMEOUT).await?;
    let status = client.status().await.map_err(|e| absence(&e))?;
    let header = status.header().ok_or_else(|| Absence::NotEtcd("a status without a header".into()))?;
    let view = ClientView {
        cluster_id: ClusterId(header.cluster_id()),
        member_id: MemberId(header.member_id()),
        version: status.version().to_owned(),
        leader: Some(status.leader()).filter(|id| *id != 0).map(MemberId),
        learner: status.is_learner(),
        quorum_list: unseen(BlindKind::Unreachable, "there is no leader".into()),
        commit: None,
    };
    Ok((client, view))
}

/// The member list that a quorum stands behind (F20): a linearizable read first brings this member up to all that was
/// committed before; its own list right after it holds every change of that time. The client crate asks for the list
/// with `linearizable: false`, and etcd 3.4 knows no other (etcd#11198); this way works on every version.
async fn fetch_quorum_list(mut client: Client) -> Seen<Vec<Member>> {
    let read = async {
        let keys_only = GetOptions::new().with_keys_only();
        client.get(BARRIER_KEY, Some(keys_only)).await?;
        client.member_list().await
    };
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

/// Asks the member at `via` to remove another.
///
/// # Errors
/// See [`Refusal`]; after `Later` only a fresh list tells whether it happened (F16).
pub async fn remove_member(tls: Option<&Tls>, via: &MemberUrl, member: MemberId) -> Result<(), Refusal> {
    change(tls, via, async |mut client: Client| client.member_remove(member.0).await.map(|_| ())).await
}

/// Asks the member at `via` to add a member with this peer URL.
///
/// # Errors
/// As [`remove_member`].
pub async fn add_member(
    tls: Option<&Tls>,
    via: &MemberUrl,
    peer_url: &MemberUrl,
    as_learner: bool,
) -> Result<(), Refusal> {
    change(tls, via, async |mut client: Client| {
        let options = as_learner.then(|| MemberAddOptions::new().with_is_learner());
        client.member_add([peer_url.to_string()], options).await.map(|_| ())
    })
    .await
}

/// Asks the voter at `via` to promote a learner; the learner itself refuses to (F54).
///
/// # Errors
/// As [`remove_member`]; "not in sync yet" is `Later`.
pub async fn promote_member(tls: Option<&Tls>, via: &MemberUrl, member: MemberId) -> Result<(), Refusal> {
    change(tls, via, async |mut client: Client| client.member_promote(member.0).await.map(|_| ())).await
}

async fn change(
    tls: Option<&Tls>,
    via: &MemberUrl,
    call: impl AsyncFnOnce(Client) -> Result<(), Error>,
) -> Result<(), Refusal> {
    let client = connect(tls, via, CHANGE_TIMEOUT).await.map_err(|absence| Refusal::Later(absence.to_string()))?;
    match tokio::time::timeout(CHANGE_TIMEOUT, call(client)).await {
        Err(_) => Err(Refusal::Later(format!("no answer within {} s", CHANGE_TIMEOUT.as_secs()))),
        Ok(Ok(())) => Ok(()),
        Ok(Err(e)) => Err(refusal(&e)),
    }
}

/// etcd's answers to a change (server/etcdserver/api/v3rpc/rpctypes/error.go, v3.7.1).
fn refusal(error: &Error) -> Refusal {
    let text = text(error);
    let so = [
        "Peer URLs already exists",
        "member not found",
        "can only promote a learner member",
        "member ID already exist",
    ];
    let in_sync = text.contains("in sync with leader");
    if is_denied(error) {
        Refusal::Denied(text)
    } else if so.iter().any(|so| text.contains(so)) && !in_sync {
        Refusal::AlreadySo(text)
    } else {
        Refusal::Later(text)
    }
}

async fn connect(tls: Option<&Tls>, url: &MemberUrl, timeout: Duration) -> Result<Client, Absence> {
    // No timeout of the crate's own for the call: it would race the caller's, and what it says is no etcd error (F61).
    let mut options = ConnectOptions::new().with_connect_timeout(timeout);
    if url.scheme() == Scheme::Https {
        options = options.with_tls(grpc_tls(tls));
    }
    Client::connect([url.to_string()], Some(options)).await.map_err(|e| absence(&e))
}

fn grpc_tls(tls: Option<&Tls>) -> TlsOptions {
    let mut options = TlsOptions::new();
    options = match tls.and_then(|tls| tls.ca_pem.as_ref()) {
        Some(pem) => options.ca_certificate(Certificate::from_pem(pem)),
        None => options.with_enabled_roots(),
    };
    match tls.and_then(|tls| tls.identity_pem.as_ref()) {
        Some((cert, key)) => options.identity(Identity::from_pem(cert, key)),
        None => options,
    }
}

fn absence(error: &Error) -> Absence {
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
        _ => Absence::NotEtcd(text(error)),
    }
}

/// Authentication answers of etcd: no user, a bad token, or a user without the right.
fn is_denied(error: &Error) -> bool {
    match error {
        Error::GRpcStatus(status) => {
            let said = status.message();
            said.contains("permission denied")
                || said.contains("user name is empty")
                || said.contains("invalid auth token")
        }
        _ => false,
    }
}

/// The crate's error has no source, so the cause is taken out of it.
fn text(error: &Error) -> String {
    match error {
        Error::GRpcStatus(status) => status.message().to_owned(),
        Error::TransportError(e) => chain(e),
        other => other.to_string(),
    }
}

fn listed(m: &etcd_client::Member) -> Result<Member, String> {
    super::peer::member(m.id(), m.name().to_owned(), m.peer_urls(), m.client_urls(), m.is_learner())
}

fn unseen(kind: BlindKind, why: String) -> Seen<Vec<Member>> {
    Seen::No(Blind { kind, why })
}
