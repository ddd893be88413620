//! One file a command, and the loop that they share.

mod certificate;
mod doctor;
mod drive;
mod dry_run;
mod explain;
mod leave;
mod pace;
mod ready;
mod recover;
mod run;
mod snapshot;
mod status;
mod tell;
mod watch;

pub use certificate::{authority, certificate};
pub use doctor::{Checks, doctor};
pub use dry_run::dry_run;
pub use explain::explain;
pub use leave::{COURSE as LEAVE, leave};
pub use ready::ready;
pub use recover::recover;
pub use run::{course, run};
pub use snapshot::{Ask, snapshot};
pub use status::status;
pub use watch::watch;
