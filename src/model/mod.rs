//! The words of this project as plain data: ids, what was observed, the policy, and the decision.
//!
//! Owns no behaviour beyond parsing and printing its own words; imports nothing of ours but the exit codes.
//! Next: `observe` fills an [`Observation`], `decide` turns it into a [`Decision`].
#![deny(clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros)]

mod address;
pub mod agreement;
mod checkup;
mod consumer;
mod decision;
mod history;
mod lifecycle;
mod observation;
mod policy;
mod reason;
mod recovery;
mod rfc3339;
mod seen;
mod snapshot;
mod state;
mod statement;
mod version;
mod which_group;

pub use address::*;
pub use checkup::*;
pub use consumer::*;
pub use decision::*;
pub use history::*;
pub use lifecycle::*;
pub use observation::*;
pub use policy::*;
pub use reason::*;
pub use recovery::*;
pub use seen::*;
pub use snapshot::*;
pub use state::*;
pub use statement::*;
pub use version::*;
pub use which_group::*;
