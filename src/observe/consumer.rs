//! Whom a consumer asks: client ports, and as few as will do.

use std::collections::BTreeMap;

use tokio::task::JoinSet;

use super::{Observer, targets};
use crate::model::{Ec2, Followed, Group, InstanceId, MemberUrl, Probe, Seen};

impl Observer {
    /// Asks the client port of every instance of the group, and those that were followed last: where AWS does not answer,
    /// they may.
    pub(super) async fn probe_clients(&self, group: &Seen<Group>, ec2: &Seen<Ec2>) -> Vec<Probe> {
        let policy = &self.sources.policy;
        let of_group = targets(policy, group, ec2).into_iter().map(|t| (policy.client_url_beside(&t.url), t.instance));
        let last = self.last().into_iter().flat_map(|last| &last.ports);
        let mut asked: BTreeMap<MemberUrl, Option<InstanceId>> = last.map(|url| (url.clone(), None)).collect();
        asked.extend(of_group);
        by_url(self.probe_these(asked).await)
    }

    /// One voter of the cluster that was followed last is enough, or else one of the seeds. The others are asked where it
    /// tells nothing: ten thousand consumers look each minute.
    pub(super) async fn probe_last(&self) -> Vec<Probe> {
        let seeds = &self.sources.policy.seeds;
        let mut first: Vec<&MemberUrl> = self.last().map_or(seeds, |last| &last.ports).iter().collect();
        fastrand::shuffle(&mut first);
        let mut probes = Vec::new();
        if let Some(one) = first.pop() {
            let probe = self.ports.probe_client(None, one.clone()).await;
            if self.is_enough(&probe) {
                return vec![probe];
            }
            probes.push(probe);
        }
        let asked = probes.first().map(|probe| probe.asked.clone());
        let others = first.into_iter().chain(seeds).filter(|url| Some(*url) != asked.as_ref());
        probes.extend(self.probe_these(others.map(|url| (url.clone(), None)).collect()).await);
        by_url(probes)
    }

    fn last(&self) -> Option<&Followed> {
        self.sources.consumer.as_ref()?.followed.as_ref()
    }

    /// Whether a quorum is behind an answer, of the cluster that was followed last where there is one.
    fn is_enough(&self, probe: &Probe) -> bool {
        let Some(Ok(view)) = &probe.client else { return false };
        view.quorum_list.ok().is_some() && self.last().is_none_or(|last| last.cluster == view.cluster_id)
    }

    async fn probe_these(&self, urls: BTreeMap<MemberUrl, Option<InstanceId>>) -> Vec<Probe> {
        let mut asked = JoinSet::new();
        for (url, instance) in urls {
            let ports = self.ports.clone();
            asked.spawn(async move { ports.probe_client(instance, url).await });
        }
        asked.join_all().await
    }
}

/// In one order, whoever answered first.
fn by_url(mut probes: Vec<Probe>) -> Vec<Probe> {
    probes.sort_by(|a, b| a.asked.cmp(&b.asked));
    probes
}
