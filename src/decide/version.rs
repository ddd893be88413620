//! Which versions of etcd can be in one cluster.

use super::view::Cluster;
use crate::model::{EtcdVersion, MemberUrl, Observation, PeerView, Reason};

/// etcd itself ends one that is below the cluster's version, but only after its add (cluster_util.go:199, v3.7.3).
pub(super) fn too_old(mine: EtcdVersion, cluster: Option<EtcdVersion>) -> Option<Reason> {
    let cluster = cluster.filter(|cluster| mine.line() < cluster.line())?;
    Some(Reason::VersionTooOld { mine: mine.to_string(), cluster: cluster.to_string() })
}

/// The first of the others that this node's etcd cannot be in one cluster with. An etcd publishes itself in words that
/// one two minors below does not have: 3.6 and later make every 3.4 panic, again at each restart, and 3.7 panics itself
/// among 3.5 (seen with 3.4.23, 3.5.35, 3.6.16 and 3.7.3).
pub(super) fn clash(mine: EtcdVersion, others: &[(String, EtcdVersion)]) -> Option<Reason> {
    others.iter().find_map(|(who, version)| {
        let (this, other) = (format!("this node's etcd {mine}"), format!("{who} with etcd {version}"));
        match (follows(mine, *version), follows(*version, mine)) {
            (true, true) => None,
            (false, _) => Some(Reason::VersionSkipsAMinor { newer: this, older: other }),
            (true, false) => Some(Reason::VersionSkipsAMinor { newer: other, older: this }),
        }
    })
}

/// Whether an etcd is not more than one minor above another: what etcd supports
/// (<https://etcd.io/docs/v3.6/upgrades/upgrading-etcd/>, read 2026-11-25).
pub(super) fn follows(newer: EtcdVersion, older: EtcdVersion) -> bool {
    newer.line() <= older.line() || newer.line() == (older.major, older.minor.saturating_add(1))
}

/// The patches that every member should have before an upgrade, or it may fail on what older ones left in the log
/// (<https://etcd.io/blog/2025/zombie_members_upgrade/>, <https://etcd.io/docs/v3.7/upgrades/upgrade_3_7/>).
pub(super) fn upgrade_trap(mine: EtcdVersion, cluster: &Cluster<'_>) -> Option<String> {
    let first = match mine.line() {
        (3, 6) => EtcdVersion::new(3, 5, 26),
        (3, 7) => EtcdVersion::new(3, 6, 11),
        _ => return None,
    };
    let members = versions(cluster.views.iter().copied());
    let (member, version) = members.iter().find(|(_, version)| *version < first)?;
    Some(format!("{member} has etcd {version}, and all should have {first} or later before one has {mine}"))
}

/// The etcds of members, less those that tell none that is understood.
pub(super) fn versions<'a>(views: impl Iterator<Item = (&'a MemberUrl, &'a PeerView)>) -> Vec<(String, EtcdVersion)> {
    let version =
        |(url, view): (&MemberUrl, &PeerView)| Some((format!("member {url}"), view.server_version.parse().ok()?));
    views.filter_map(version).collect()
}

/// The cluster's own version as its members tell it. 3.0 says nothing: a cluster begins with it where not all founders
/// answer (version/monitor.go, v3.6.16).
pub(super) fn cluster_versions(cluster: &Cluster<'_>) -> impl Iterator<Item = EtcdVersion> {
    let told = cluster.views.iter().filter_map(|(_, view)| view.cluster_version.as_ref()?.parse().ok());
    told.filter(|version: &EtcdVersion| version.line() != (3, 0))
}

/// None where it is not known, or not asked.
pub(super) fn own_version(o: &Observation) -> Option<EtcdVersion> {
    o.etcd.as_ref()?.ok().copied()
}
