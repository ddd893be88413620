//! The leaving of this node's member, once and by hand.

use tracing::info;

use super::drive::{Course, Drive, WithoutTag};
use super::pace::Rhythm;
use super::tell::fail_for;
use crate::decide::leave::by_hand;
use crate::exit::Exit;
use crate::model::Reason;
use crate::observe::{OwnPorts, Scope};
use crate::setup::Setup;

/// What it is about; the dry run looks alike.
pub const COURSE: Course = Course {
    decide: by_hand,
    scope: Scope::Everything,
    own_ports: OwnPorts::Ask,
    rhythm: Rhythm::Others,
    without_tag: WithoutTag::GoesOn,
    endless: false,
    after_pass: |_, _, _| (),
};

/// Takes this node's member out of its cluster.
pub async fn leave(setup: &Setup) -> Exit {
    match Drive::new(setup, COURSE).until_done().await {
        Ok((_, decision)) if matches!(decision.reason, Reason::Left { .. }) => {
            info!("this node's member has left; its data stays here, and etcd does not start on it again");
            Exit::Done
        }
        Ok((_, decision)) => fail_for(&decision.reason),
        Err(exit) => exit,
    }
}
