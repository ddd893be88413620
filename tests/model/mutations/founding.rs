//! Wrong rules of the founding.

use etcd_bootstrap::agreement;
use etcd_bootstrap::model::{
    Action, Agreement, ClusterState, Decision, FOUNDING_TAG, Observation, OwnData, PeerAnswer, Reason, Record, Seen,
    Start,
};

use super::super::world::{Act, Left, World};
use super::{AS_DECIDED, KEPT, Mutation, SAME, USUAL, each_instance, each_member};

pub const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "the own row that has run is resumed",
        input: |o, _| {
            let Seen::Yes(me) = o.me.clone() else { return };
            agreed_to_what_is_seen(o);
            each_member(o, |m| {
                if m.peer_urls.iter().any(|url| me.addresses.hold(url)) {
                    m.client_urls.clear();
                }
            });
        },
        output: AS_DECIDED,
        disk: KEPT,
        begin: || World::formed(3, 3, true, Left { wipes: 1, ..Left::default() }),
        rules: USUAL,
        breaks: ("S1 no id", 3),
    },
    Mutation {
        name: "b02: a token knows no disks",
        input: |o, _| {
            if let Seen::Yes(record) = &mut o.record {
                "1".clone_into(&mut record.nonce);
            }
            for probe in &mut o.probes {
                if let PeerAnswer::Founding(theirs) = &mut probe.peer {
                    "1".clone_into(&mut theirs.nonce);
                }
            }
        },
        output: AS_DECIDED,
        disk: KEPT,
        begin: || World::formed(2, 2, true, Left { wipes: 2, untags: 1, restores: 1, ..Left::default() }),
        rules: USUAL,
        breaks: ("S1 no id names", 8),
    },
    Mutation {
        name: "a majority founds without a written tag",
        input: |o, _| o.before.iter_mut().for_each(|before| before.untaggable = false),
        output: |o, decision| match &decision.action {
            Action::TagGroup { tags, .. } if tags.contains_key(FOUNDING_TAG) => starts_as_agreed(o, decision),
            _ => decision,
        },
        disk: KEPT,
        begin: || World::formed(3, 3, false, Left { wipes: 2, reboots: 1, ..Left::default() }),
        rules: |rules| rules.tag = false,
        breaks: ("S1 no second", 10),
    },
    Mutation {
        name: "a wiped founder starts what the tag names",
        input: |o, _| {
            let tag = o.group.ok().and_then(|group| agreement::read_tag(group.founding_tag.as_deref()?));
            let me = o.me.ok().map(|me| me.instance.clone());
            let nonce = tag.zip(me).and_then(|(tag, me)| tag.nonce(&me).map(str::to_owned));
            if let (Seen::Yes(record), Some(nonce)) = (&mut o.record, nonce) {
                record.nonce = nonce;
            }
        },
        output: AS_DECIDED,
        disk: KEPT,
        begin: || World::tagged(3, Left { wipes: 1, reboots: 1, ..Left::default() }),
        rules: USUAL,
        breaks: ("S1 no id names", 8),
    },
    Mutation {
        name: "a founding that is not one's own is void at first sight",
        input: |o, _| {
            let own = o.me.ok().zip(o.record.ok()).map(|(me, record)| (me.instance.clone(), record.nonce.clone()));
            let Seen::Yes(group) = &mut o.group else { return };
            let is_own = |(me, nonce)| Some(agreement::read_tag(group.founding_tag.as_deref()?)?.nonce(&me)? == nonce);
            if own.and_then(is_own) != Some(true) {
                group.founding_tag = None;
            }
        },
        output: AS_DECIDED,
        disk: KEPT,
        begin: || World::led(3, 3, Left { wipes: 2, reboots: 1, ..Left::default() }),
        rules: USUAL,
        breaks: ("S1 no second", 11),
    },
    Mutation {
        name: "b03: a majority founds however long ago it was launched",
        input: |o, _| {
            let launched = o.me.ok().and_then(|me| o.ec2.ok()?.found.get(&me.instance)?.launched);
            if let Seen::Yes(group) = &mut o.group {
                group.date = launched;
            }
        },
        output: AS_DECIDED,
        disk: KEPT,
        begin: || {
            let left = Left { wipes: 2, reboots: 1, ..Left::default() };
            World { aged: true, ..World::formed(3, 3, false, left) }
        },
        rules: USUAL,
        breaks: ("S1 no second", 11),
    },
    Mutation {
        name: "a majority founds in any generation",
        input: |o, _| {
            let at = o.at;
            each_instance(o, |_, instance| instance.launched = Some(at));
        },
        output: AS_DECIDED,
        disk: KEPT,
        begin: || World::formed(3, 3, false, Left { terminations: 2, reboots: 1, ..Left::default() }),
        rules: USUAL,
        breaks: ("S1 no second", 15),
    },
    Mutation {
        name: "a founding that was given up leaves no trace on the disk",
        input: SAME,
        output: AS_DECIDED,
        disk: |act, machine| {
            if let (Act::GiveUp(_), Some(record)) = (act, &mut machine.record) {
                machine.given_up.clear();
                machine.nonces -= 1;
                record.nonce = machine.nonces;
            }
        },
        begin: || World::tagged(2, Left { terminations: 1, ..Left::default() }),
        rules: USUAL,
        breaks: ("L1", 1),
    },
    Mutation {
        name: "an untagged founding starts before the others have agreed",
        input: SAME,
        output: |o, decision| match decision.reason {
            Reason::FoundersAgreeing { .. } => starts_as_agreed(o, decision),
            _ => decision,
        },
        disk: KEPT,
        begin: || World::fresh(2, Left::default()),
        rules: |rules| rules.tag = false,
        breaks: ("L1", 3),
    },
    Mutation {
        name: "a founder with another disk is resumed",
        input: |o, _| agreed_to_what_is_seen(o),
        output: AS_DECIDED,
        disk: KEPT,
        begin: || World::led(3, 3, Left { wipes: 1, ..Left::default() }),
        rules: USUAL,
        breaks: ("S1 no id", 3),
    },
    Mutation {
        name: "a joiner does not see to the cluster's tag",
        input: |o, _| {
            if let Some(before) = &mut o.before {
                before.untaggable |= o.probes.iter().any(|probe| matches!(probe.peer, PeerAnswer::Member(_)));
            }
        },
        output: AS_DECIDED,
        disk: KEPT,
        begin: || World::led(2, 3, Left { wipes: 2, reboots: 1, ..Left::default() }),
        rules: USUAL,
        breaks: ("S1 no second", 16),
    },
];

/// The own disk claims to have agreed to the cluster that answers.
fn agreed_to_what_is_seen(o: &mut Observation) {
    let seen = super::views(o).map(|view| view.cluster_id).next();
    if let (Some(cluster), OwnData::Empty) = (seen, &o.own_data) {
        let agreed = Some(Agreement { cluster, founders: Vec::new() });
        o.record = Seen::Yes(Record { nonce: "9".to_owned(), given_up: Vec::new(), agreed });
    }
}

/// What is agreed to is started, and not what was decided.
fn starts_as_agreed(o: &Observation, decision: Decision) -> Decision {
    let seen = (o.me.ok(), o.group.ok(), o.record.ok().and_then(|record| record.agreed.as_ref()));
    let (Some(me), Some(group), Some(agreed)) = seen else { return decision };
    let Some(own) = agreed.founders.iter().find(|f| f.instance == me.instance) else { return decision };
    let start = Start {
        name: me.instance.clone(),
        state: ClusterState::New,
        initial_cluster: agreed.initial_cluster(),
        token: agreement::token(&group.arn, &agreed.founders),
        client_url: own.peer_url.clone(),
        peer_url: own.peer_url.clone(),
        listen: me.addresses.ip().expect("it has one"),
        after: None,
    };
    Decision { action: Action::Start(start), reason: Reason::AgreedFounding { cluster: agreed.cluster } }
}
