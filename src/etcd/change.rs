//! The calls that change a cluster: its member list, and who leads it.

use std::time::Duration;

use etcd_client::{Client, Error, MemberAddOptions};

use super::client::{connect, text};
use super::user::{Access, is_denied};
use crate::model::{MemberId, MemberUrl, Vote};

/// A change goes through a quorum; one that another change has displaced is never answered at all (E6, F15).
const CHANGE_TIMEOUT: Duration = Duration::from_secs(5);

/// How a membership call that did not succeed is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeError {
    /// etcd says "not now", or gave no answer: look again.
    NotNow(String),
    /// What was wanted is the case already: look again.
    AlreadyDone(String),
    /// A learner that has not come far enough to be promoted: look again.
    NotInSync(String),
    /// The rights are missing (F59).
    Denied(String),
}

/// Asks the member at `via` to remove another.
///
/// # Errors
/// See [`ChangeError`]; after `NotNow` only a fresh list tells whether it happened (F16).
pub async fn remove_member(access: &Access, via: &MemberUrl, member: MemberId) -> Result<(), ChangeError> {
    change(access, via, async |mut client| client.member_remove(member.0).await.map(|_| ())).await
}

/// Asks the member at `via` to add a member with this peer URL.
///
/// # Errors
/// As [`remove_member`].
pub async fn add_member(access: &Access, via: &MemberUrl, peer_url: &MemberUrl, vote: Vote) -> Result<(), ChangeError> {
    change(access, via, async |mut client| {
        let options = (vote == Vote::Learner).then(|| MemberAddOptions::new().with_is_learner());
        client.member_add([peer_url.to_string()], options).await.map(|_| ())
    })
    .await
}

/// Asks the voter at `via` to promote a learner; the learner itself refuses to (F54).
///
/// # Errors
/// As [`remove_member`].
pub async fn promote_member(access: &Access, via: &MemberUrl, member: MemberId) -> Result<(), ChangeError> {
    change(access, via, async |mut client| client.member_promote(member.0).await.map(|_| ())).await
}

/// Asks the leader at `via` to hand its leadership over; nobody else takes the call.
///
/// # Errors
/// As [`remove_member`]; `AlreadyDone` where the member at `via` leads no more.
pub async fn move_leader(access: &Access, via: &MemberUrl, to: MemberId) -> Result<(), ChangeError> {
    change(access, via, async |mut client| client.move_leader(to.0).await.map(|_| ())).await
}

async fn change(
    access: &Access,
    via: &MemberUrl,
    call: impl AsyncFn(Client) -> Result<(), Error>,
) -> Result<(), ChangeError> {
    let mut client =
        connect(access, via, CHANGE_TIMEOUT).await.map_err(|absence| ChangeError::NotNow(absence.to_string()))?;
    match tokio::time::timeout(CHANGE_TIMEOUT, access.call(&mut client, call)).await {
        Err(_) => Err(ChangeError::NotNow(format!("no answer within {} s", CHANGE_TIMEOUT.as_secs()))),
        Ok(Ok(())) => Ok(()),
        Ok(Err(e)) => Err(refusal(&e)),
    }
}

/// etcd's answers to a change (server/etcdserver/api/v3rpc/rpctypes/error.go, v3.7.1).
fn refusal(error: &Error) -> ChangeError {
    let text = text(error);
    let so = [
        "Peer URLs already exists",
        "member not found",
        "can only promote a learner member",
        "member ID already exist",
        "not leader",
    ];
    if is_denied(error) {
        ChangeError::Denied(text)
    } else if text.contains("in sync with leader") {
        ChangeError::NotInSync(text)
    } else if so.iter().any(|so| text.contains(so)) {
        ChangeError::AlreadyDone(text)
    } else {
        ChangeError::NotNow(text)
    }
}
