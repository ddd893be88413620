//! The files of authorities, and the record of which keys they were made of.
//!
//! An authority's certificate follows from its public key, so a node that has the record asks nobody.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Trouble, put};
use crate::certificate::Authority;
use crate::cloud::Cloud;
use crate::config::{Config, Issuing};
use crate::files::write::Changed;

/// Whom this node trusts, by the options' order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorities {
    /// The first signs members.
    pub members: Vec<Authority>,
    /// The first signs consumers.
    pub clients: Vec<Authority>,
}

impl Authorities {
    pub(super) async fn fetch(cloud: &mut Cloud, issuing: &Issuing) -> Result<Self, Trouble> {
        let all = [issuing.members.as_slice(), &issuing.clients].concat();
        if all.is_empty() {
            return Ok(Self { members: Vec::new(), clients: Vec::new() });
        }
        let mut members = cloud.fetch_authorities(&all).await?;
        let clients = members.split_off(issuing.members.len());
        Ok(Self { members, clients })
    }

    /// Whether they are those that the options name.
    pub(super) fn are_of(&self, issuing: &Issuing) -> bool {
        let named = |authorities: &[Authority], names: &[String]| authorities.iter().map(|a| &a.name).eq(names);
        named(&self.members, &issuing.members) && named(&self.clients, &issuing.clients)
    }
}

/// The files of authorities, as they are to be.
pub struct Trust {
    /// The content of the peer port's; None where its authorities are brought.
    pub members: Option<String>,
    /// The same of those who answer on the client port.
    pub servers: Option<String>,
    files: Vec<(PathBuf, String)>,
}

impl Trust {
    pub fn of(authorities: &Authorities, issuing: &Issuing) -> Result<Self, String> {
        let members = anchors(&authorities.members)?;
        let clients = anchors(&authorities.clients)?;
        let further = |file: &Option<PathBuf>| {
            let read =
                file.as_ref().map(|file| fs::read_to_string(file).map_err(|e| format!("read {}: {e}", file.display())));
            read.transpose().map(Option::unwrap_or_default)
        };
        let (trusted, peer_trusted) = (further(&issuing.trusted)?, further(&issuing.peer_trusted)?);
        let ours = !authorities.members.is_empty();
        let peers = ours.then(|| format!("{members}{peer_trusted}"));
        let servers = ours.then(|| format!("{members}{trusted}"));
        let callers = (ours || !authorities.clients.is_empty()).then(|| format!("{members}{clients}{trusted}"));
        let files =
            [(issuing.members_pem(), &peers), (issuing.servers_pem(), &servers), (issuing.clients_pem(), &callers)];
        let files = files.into_iter().filter_map(|(file, text)| Some((file, text.clone()?))).collect();
        Ok(Self { members: peers, servers, files })
    }

    /// Replaces the files that are other ones.
    pub fn write(&self) -> Result<Changed, String> {
        let mut changed = Changed::Same;
        for (file, text) in &self.files {
            if put(file, text, 0o644)? == Changed::Replaced {
                changed = Changed::Replaced;
            }
        }
        Ok(changed)
    }
}

/// The certificates of all authorities, for people and for trust that is set up elsewhere. Nothing in it is secret.
///
/// # Errors
/// Why one is not to be had.
pub async fn print(config: &Config, issuing: &Issuing) -> Result<String, Trouble> {
    let authorities = Authorities::fetch(&mut Cloud::new(config.group.clone()), issuing).await?;
    let texts = [anchors(&authorities.members), anchors(&authorities.clients)];
    texts.into_iter().collect::<Result<_, _>>().map_err(Trouble::Wrong)
}

/// Whoever signs first: in another order the file would be another one, and etcd be taken for one that has not read it.
fn anchors(authorities: &[Authority]) -> Result<String, String> {
    let by_key: BTreeMap<_, _> = authorities.iter().map(|authority| (&authority.key, authority)).collect();
    let texts = by_key.into_values().map(|authority| {
        let anchor = authority.anchor().map_err(|e| format!("make the certificate of {}: {e}", authority.name))?;
        // Readers of PEM skip what stands between certificates.
        Ok(format!("# {} (key {})\n{anchor}", authority.name, authority.key))
    });
    texts.collect()
}

fn record_file(config: &Config) -> PathBuf {
    config.state_dir.join("authorities.json")
}

/// The authorities that the files were made of; None where that cannot be read: then they are asked for.
pub fn read_record(config: &Config) -> Option<Authorities> {
    serde_json::from_slice(&fs::read(record_file(config)).ok()?).ok()
}

pub fn write_record(config: &Config, authorities: &Authorities) -> Result<(), String> {
    let text = serde_json::to_string(authorities).map_err(|e| e.to_string())?;
    put(&record_file(config), &text, 0o644).map(drop)
}
