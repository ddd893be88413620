//! The own certificate: issued where it is due, before anything is observed and beside an etcd that runs.
//!
//! Owns when it is due, and the order: ask who the authorities are, make a key, have it signed, check what came, try it
//! on the others where the authorities are other ones, and only then replace the files. `decide` does not know of it.

mod due;
mod program;
mod state;
mod trial;
mod trust;

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use self::due::Check;
use self::trust::Trust;
use crate::certificate::{Authority, Draft, Purpose, Wanted};
use crate::clock::now;
use crate::cloud::Cloud;
use crate::config::{Config, Issuing};
use crate::etcd::data;
use crate::files::saved;
use crate::files::write::{self, Changed};
use crate::model::{AddressForm, Blind, BlindKind, Identity, Role};

pub use self::state::{State, state};
pub use self::trust::{Authorities, print as print_authorities};

/// Clocks differ: a certificate is valid from so long before it is made.
const NOT_BEFORE: Duration = Duration::from_secs(3600);

/// etcd listens on loopback too.
const LOOPBACK: [&str; 2] = ["127.0.0.1", "localhost"];

/// Why the certificate is looked after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// etcd is about to start: AWS is asked only where something is due.
    Start,
    /// The timer: what an alias means now, and what EC2 calls this node, is asked in any case.
    Timer,
    /// A person wants a new one, whatever the others say.
    Force,
}

/// What was done.
#[derive(Debug)]
pub struct Outcome {
    /// Why a new certificate was issued; None: that of before is good.
    pub issued: Option<String>,
    /// Whether the files of authorities are other ones now. etcd reads them at its start only.
    pub trust: Changed,
}

/// Why there is no certificate.
#[derive(Debug)]
pub enum Trouble {
    /// AWS, or the program, gives none now.
    Unavailable(String),
    /// A person must look.
    Wrong(String),
    /// Another node would refuse it, or it the other: all stays as it was.
    Refused(String),
}

impl Trouble {
    /// The sentence.
    pub fn why(&self) -> &str {
        match self {
            Self::Unavailable(why) | Self::Wrong(why) | Self::Refused(why) => why,
        }
    }
}

impl From<Blind> for Trouble {
    fn from(blind: Blind) -> Self {
        match blind.kind {
            BlindKind::Denied | BlindKind::Absent | BlindKind::Ambiguous => Self::Wrong(blind.to_string()),
            BlindKind::Unreachable | BlindKind::Throttled | BlindKind::Malformed | BlindKind::NotAsked => {
                Self::Unavailable(blind.to_string())
            }
        }
    }
}

/// Issues a certificate where one is due, and brings the files of authorities up to date.
///
/// # Errors
/// Why that cannot be. The files are those of before then.
pub async fn issue(config: &Config, issuing: &Issuing, occasion: Occasion) -> Result<Outcome, Trouble> {
    let mut cloud = Cloud::new(config.group.clone());
    let me = identify(&mut cloud, config).await?;
    let known = trust::read_record(config);
    let authorities = match &known {
        Some(known) if occasion == Occasion::Start && known.are_of(issuing) => known.clone(),
        Some(_) | None => Authorities::fetch(&mut cloud, issuing).await?,
    };
    let trust = Trust::of(&authorities, issuing).map_err(Trouble::Wrong)?;
    let mut signing = Signing::new(config, issuing, &authorities, &me)?;

    let before = fs::read_to_string(issuing.node()).ok();
    let mut due = signing.due(before.as_deref());
    let joins = occasion == Occasion::Start && !data::has_log(&config.data_dir, config.wal_dir.as_deref());
    let by_name = config.policy.role == Role::Member && config.policy.address_form == AddressForm::DnsNames;
    if by_name && (due.is_some() || occasion != Occasion::Start || joins) {
        // By that name the others know this node until it is listed.
        match cloud.fetch_dns_name().await {
            Ok(name) => signing.check.names.extend(name),
            // A certificate without it would keep this node out, which asks EC2 anyway.
            Err(why) if joins => return Err(why.into()),
            // The metadata's name has to do, until the next time.
            Err(_) => {}
        }
        due = due.or_else(|| signing.due(before.as_deref()));
    }
    if occasion == Occasion::Force {
        due = Some("it is asked for".to_owned());
    }
    let node = match (&due, &before) {
        (None, Some(node)) => node.clone(),
        (Some(_), _) | (None, None) => signing.sign(&mut cloud, &me).await?,
    };
    let others = known.is_some_and(|known| known != authorities);
    if others && before.is_some() && occasion != Occasion::Force {
        trial::on_the_others(config, &mut cloud, &me, &trust, &node).await?;
    }
    // In this order: what is cut off in the middle is begun anew by the next run.
    let changed = trust.write().map_err(Trouble::Wrong)?;
    put(&issuing.node(), &node, 0o600).map_err(Trouble::Wrong)?;
    trust::write_record(config, &authorities).map_err(Trouble::Wrong)?;
    Ok(Outcome { issued: due, trust: changed })
}

/// Whether the certificate that is there is valid for so long yet.
pub fn holds_on(config: &Config, issuing: &Issuing, yet: Duration) -> bool {
    let node = fs::read_to_string(issuing.node()).ok();
    let trusted =
        config.peer_tls.ca.as_ref().or(config.client_tls.ca.as_ref()).and_then(|ca| fs::read_to_string(ca).ok());
    let (Some(node), Some(trusted)) = (node, trusted) else { return false };
    due::is_valid_at(&node, &trusted, now() + yet)
}

/// Who signs, and what is wanted of a certificate.
struct Signing<'a> {
    issuing: &'a Issuing,
    /// None: the program does.
    authority: Option<&'a Authority>,
    check: Check,
}

impl<'a> Signing<'a> {
    fn new(
        config: &Config,
        issuing: &'a Issuing,
        authorities: &'a Authorities,
        me: &Identity,
    ) -> Result<Self, Trouble> {
        let (purpose, own) = match config.policy.role {
            Role::Member => (Purpose::Member, &authorities.members),
            Role::Consumer => (Purpose::Client, &authorities.clients),
        };
        let authority = own.first().filter(|_| issuing.program.is_none());
        let anchors = match authority {
            Some(authority) => vec![authority.anchor().map_err(|e| Trouble::Wrong(e.to_string()))?],
            None => program::authorities(issuing, purpose).map_err(Trouble::Wrong)?,
        };
        let check = Check { purpose, names: names(issuing, me), life: issuing.life, anchors };
        Ok(Self { issuing, authority, check })
    }

    fn due(&self, node: Option<&str>) -> Option<String> {
        self.check.due(node, now())
    }

    /// A new key and its certificate, as one text.
    async fn sign(&self, cloud: &mut Cloud, me: &Identity) -> Result<String, Trouble> {
        let wanted = Wanted {
            purpose: self.check.purpose,
            names: self.check.names.iter().cloned().collect(),
            not_before: now() - NOT_BEFORE,
            not_after: now() + self.issuing.life,
        };
        let wrong = |e: rcgen::Error| Trouble::Wrong(format!("make a certificate for {:?}: {e}", wanted.names));
        let mut draft = Draft::new(&wanted).map_err(wrong)?;
        let node = match self.authority {
            Some(authority) => {
                let signature = cloud.sign(authority, draft.to_be_signed(authority).map_err(wrong)?).await?;
                draft.signed(authority, &signature).map_err(wrong)?
            }
            None => draft.with_chain(&program::sign(self.issuing, me, &draft.request().map_err(wrong)?).await?),
        };
        match self.due(Some(&node)) {
            None => Ok(node),
            Some(why) => Err(Trouble::Wrong(format!("the certificate that was signed cannot be used: {why}"))),
        }
    }
}

/// Without its metadata a node is who it was.
async fn identify(cloud: &mut Cloud, config: &Config) -> Result<Identity, Trouble> {
    cloud.identity().await.or_else(|blind| saved::read_identity(&config.state_dir).ok_or_else(|| blind.into()))
}

/// All that others, and the node itself, may call it.
fn names(issuing: &Issuing, me: &Identity) -> BTreeSet<String> {
    let addresses = [me.addresses.ipv4.map(|a| a.to_string()), me.addresses.ipv6.map(|a| a.to_string())];
    let own = addresses.into_iter().chain([me.addresses.dns_name.clone()]).flatten();
    own.chain(LOOPBACK.map(str::to_owned)).chain(issuing.names.iter().cloned()).collect()
}

fn put(file: &std::path::Path, text: &str, mode: u32) -> Result<Changed, String> {
    write::replace_if_changed(file, text, mode).map_err(|e| format!("write {}: {e}", file.display()))
}
