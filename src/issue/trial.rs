//! A certificate of other authorities, and another trust, are tried on the others before they replace what works: etcd
//! reads its authorities at its start only, so one that shows a new one too early is not let in by anybody.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::Trouble;
use super::trust::Trust;
use crate::cloud::{Cloud, Freshness};
use crate::config::Config;
use crate::errors::chain;
use crate::etcd::user::Access;
use crate::model::{Absence, Identity, Instance, InstanceId, PeerAnswer, Role, Seen};
use crate::observe::Ports;
use crate::tls;

/// AWS is waited for as long.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks each instance of the group whose etcd answers.
pub async fn on_the_others(
    config: &Config,
    cloud: &mut Cloud,
    me: &Identity,
    trust: &Trust,
    node: &str,
) -> Result<(), Trouble> {
    let (group, ec2) = cloud.look(Freshness::Fresh, |_| BTreeSet::new(), Some(PATIENCE)).await;
    let (group, ec2) = match (group, ec2) {
        (Seen::Yes(group), Seen::Yes(ec2)) => (group, ec2),
        (Seen::No(blind), _) | (_, Seen::No(blind)) => return Err(blind.into()),
    };
    let (text, files) = match config.policy.role {
        Role::Member => (&trust.members, &config.peer_tls),
        Role::Consumer => (&trust.servers, &config.client_tls),
    };
    let Some(text) = text else { return Ok(()) };
    let tls = Arc::new(tls::of_texts(text, node, files.direct).map_err(|e| Trouble::Wrong(chain(&e)))?);
    let client = Access { tls: Some(tls.clone()), user: None };
    let ports = Ports::new(config.policy.clone(), Some(&tls), client);
    let others = ec2.found.iter().filter(|(id, _)| group.instances.contains_key(*id) && **id != me.instance);
    for (id, instance) in others {
        if let Some(why) = refuses(config, &ports, instance).await {
            return Err(Trouble::Refused(refusal(id, &why)));
        }
    }
    Ok(())
}

async fn refuses(config: &Config, ports: &Ports, instance: &Instance) -> Option<String> {
    match config.policy.role {
        Role::Member => match ports.ask_peer(&config.policy.peer_url(&instance.addresses)?).await {
            PeerAnswer::Absent(Absence::Tls(why)) => Some(why),
            PeerAnswer::Absent(_) | PeerAnswer::Etcd(_) | PeerAnswer::Agent(_) => None,
        },
        Role::Consumer => match ports.ask_client(&config.policy.client_url(&instance.addresses)?).await {
            Err(Absence::Tls(why)) => Some(why),
            Err(_) | Ok(_) => None,
        },
    }
}

fn refusal(id: &InstanceId, why: &str) -> String {
    format!(
        "{id} does not go along with the other authorities: {why}: first every node has to trust the new one and be \
         restarted, then it may sign, and only when all certificates are its own may the old one go"
    )
}
