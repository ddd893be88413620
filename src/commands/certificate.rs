//! The own certificate, before the main job and by itself beside a running etcd.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::pace::jitter;
use super::tell::notify;
use crate::config::{Config, Issuing};
use crate::exit::Exit;
use crate::files::write::Changed;
use crate::issue::{Occasion, Outcome, Trouble, holds_on, issue, print_authorities};

/// How long after a failed try the next one comes; a group that boots together must not ask KMS in step.
const PAUSE: Duration = Duration::from_secs(1);
const SPREAD: Duration = Duration::from_millis(500);

/// Issues the certificate before anything is observed, for as long as the options' deadline allows. With a certificate
/// that is valid, or on a node that has data, etcd starts in spite of what is in the way (F51).
///
/// # Errors
/// The exit code; why is logged.
pub async fn before_run(config: &Config) -> Result<(), Exit> {
    let Some(issuing) = &config.issuing else { return Ok(()) };
    let started = Instant::now();
    let mut told = String::new();
    loop {
        let trouble = match issue(config, issuing, Occasion::Start).await {
            Ok(outcome) => {
                tell(&outcome, issuing);
                return Ok(());
            }
            Err(trouble) => trouble,
        };
        if holds_on(config, issuing, Duration::ZERO) || (issuing.node().exists() && crate::setup::has_data(config)) {
            warn!("{}; going on with the certificate of before", trouble.why());
            return Ok(());
        }
        let over = config.deadline.is_some_and(|deadline| started.elapsed() >= deadline);
        if over || matches!(trouble, Trouble::Wrong(_) | Trouble::Refused(_)) {
            return Err(fail(&trouble));
        }
        if told != trouble.why() {
            info!("{}; trying again", trouble.why());
            trouble.why().clone_into(&mut told);
        }
        let stands = humantime::format_duration(Duration::from_secs(started.elapsed().as_secs()));
        notify(&[NotifyState::Status(&format!("{} (for {stands})", trouble.why()))]);
        tokio::time::sleep(PAUSE + jitter(SPREAD)).await;
    }
}

/// Issues the certificate where it is due. etcd and its clients show the new one at their next handshake.
pub async fn certificate(config: &Config, force: bool) -> Exit {
    let Some(issuing) = &config.issuing else {
        info!("the certificates are brought, none is issued here: see --member-authority");
        return Exit::Done;
    };
    notify(&[NotifyState::Status("looks whether a new certificate is due, and has it signed")]);
    match issue(config, issuing, if force { Occasion::Force } else { Occasion::Timer }).await {
        Ok(outcome) => {
            tell(&outcome, issuing);
            Exit::Done
        }
        // AWS may be down for hours, and a role be broken over a weekend: etcd does not notice.
        Err(trouble)
            if !force && !matches!(trouble, Trouble::Refused(_)) && holds_on(config, issuing, issuing.life / 3) =>
        {
            warn!("{}; more than a third of the certificate's life is left", trouble.why());
            Exit::Done
        }
        Err(trouble) => fail(&trouble),
    }
}

/// Prints the certificates of the authorities.
pub async fn authority(config: &Config) -> Exit {
    let Some(issuing) = &config.issuing else {
        error!("there is no authority: see --member-authority");
        return Exit::Usage;
    };
    match print_authorities(config, issuing).await {
        Ok(text) => {
            print!("{text}");
            Exit::Done
        }
        Err(trouble) => fail(&trouble),
    }
}

fn tell(outcome: &Outcome, issuing: &Issuing) {
    if let Some(why) = &outcome.issued {
        let life = humantime::format_duration(issuing.life);
        info!(file = %issuing.node().display(), %life, "issued a certificate: {why}");
    }
    if outcome.trust == Changed::Replaced {
        info!(directory = %issuing.directory.display(), "the authorities are other ones: etcd reads them when it starts");
    }
}

fn fail(trouble: &Trouble) -> Exit {
    let (code, exit) = match trouble {
        Trouble::Unavailable(_) => ("certificate-unavailable", Exit::Unavailable),
        Trouble::Wrong(_) => ("certificate-denied", Exit::NeedsOperator),
        Trouble::Refused(_) => ("certificate-refused", Exit::NeedsOperator),
    };
    error!(reason = code, "{}", trouble.why());
    exit
}
