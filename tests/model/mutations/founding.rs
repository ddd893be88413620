//! Wrong rules of the founding.

use etcd_bootstrap::decide::remember;
use etcd_bootstrap::model::agreement::{self, Tagged};
use etcd_bootstrap::model::{
    Action, Agreement, Change, ClusterState, Decision, Ec2State, FOUNDING_TAG, InstanceId, MemberUrl, Observation,
    OwnData, PeerAnswer, Reason, Record, Scheme, Seen, Start,
};

use super::super::world::{Act, Disk, Left, World};
use super::{AS_DECIDED, Done, KEPT, Mutation, SAME, USUAL, each_instance, each_member, hide};

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
                if let PeerAnswer::Agent(theirs) = &mut probe.peer {
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
        input: |o, _| o.history.iter_mut().for_each(|before| before.deeds.untaggable = false),
        output: |o, decision| match &decision.action {
            Action::Change(Change::TagGroup { tags, .. }) if tags.contains_key(FOUNDING_TAG) => {
                starts_as_agreed(o, decision)
            }
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
        breaks: ("S1 no id names", 3),
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
            let at = o.taken_at;
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
        disk: |done, machine| {
            if let (Done::Whole(Act::GiveUp(_)), Some(record)) = (done, &mut machine.record) {
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
            if let Some(before) = &mut o.history {
                before.deeds.untaggable |= o.probes.iter().any(|probe| matches!(probe.peer, PeerAnswer::Etcd(_)));
            }
        },
        output: AS_DECIDED,
        disk: KEPT,
        begin: || World::led(2, 3, Left { wipes: 2, reboots: 1, ..Left::default() }),
        rules: USUAL,
        breaks: ("S1 no second", 16),
    },
    Mutation {
        name: "a founding starts before its tag",
        input: SAME,
        output: |o, decision| match &decision.action {
            Action::Change(Change::TagGroup { tags, .. }) if tags.contains_key(FOUNDING_TAG) => {
                starts_as_agreed(o, decision)
            }
            _ => decision,
        },
        disk: KEPT,
        begin: || World::fresh(2, Left::default()),
        rules: USUAL,
        breaks: ("L1", 3),
    },
    Mutation {
        name: "who is silent has another disk now",
        input: |o, _| {
            hide_tag_unless(
                o,
                |o, tag, founder| {
                    o.probes.iter().filter(|probe| probe.instance.as_ref() == Some(founder)).any(|probe| {
                        match &probe.peer {
                            PeerAnswer::Agent(said) => tag.nonce(founder) == Some(&said.nonce),
                            PeerAnswer::Etcd(_) => true,
                            PeerAnswer::Absent(_) => false,
                        }
                    })
                },
                1,
            );
        },
        output: AS_DECIDED,
        disk: KEPT,
        begin: || World::led(3, 3, Left { wipes: 2, reboots: 1, ..Left::default() }),
        rules: USUAL,
        breaks: ("S1 no second", 11),
    },
    Mutation {
        name: "who is gone gave it up",
        input: |o, _| {
            let Some(needed) = tagged(o).map(|tag| tag.founders.len() / 2 + 1) else { return };
            hide_tag_unless(
                o,
                |o, _, founder| {
                    let found = o.ec2.ok().and_then(|ec2| ec2.found.get(founder));
                    found.is_some_and(|instance| instance.state != Ec2State::Terminated)
                },
                needed,
            );
        },
        output: AS_DECIDED,
        disk: KEPT,
        begin: World::two_replaced_beside_the_last,
        // A stop and start makes an instance look launched anew.
        rules: |rules| rules.replacements_are_late = false,
        breaks: ("S1 no second", 8),
    },
    Mutation {
        name: "an instance that shuts down is gone",
        input: |o, _| {
            each_instance(o, |_, instance| {
                if instance.state == Ec2State::ShuttingDown {
                    instance.state = Ec2State::Terminated;
                }
            });
        },
        output: AS_DECIDED,
        disk: KEPT,
        begin: || World { detached: true, ..World::led(1, 1, Left { terminations: 1, ..Left::default() }) },
        rules: USUAL,
        breaks: ("S1 no second", 6),
    },
    Mutation {
        name: "a founding that was given up is forgotten",
        input: SAME,
        output: AS_DECIDED,
        disk: |done, machine| {
            if matches!(done, Done::Whole(Act::GiveUp(_))) {
                machine.given_up.clear();
            }
        },
        begin: || World::majority(3, Left { wipes: 1, ..Left::default() }).with_a_mute_one(),
        rules: USUAL,
        breaks: ("L1", 1),
    },
    Mutation {
        name: "whoever gives up a founding stays the disk that agreed to it",
        input: SAME,
        output: AS_DECIDED,
        disk: |done, machine| {
            if let (Done::Whole(Act::GiveUp(_)), Some(record)) = (done, &mut machine.record) {
                machine.nonces -= 1;
                record.nonce = machine.nonces;
            }
        },
        begin: || World::tagged(2, Left { scale_ins: 1, ..Left::default() }),
        rules: USUAL,
        breaks: ("L1", 1),
    },
    Mutation {
        name: "data is set aside and its founding is not given up",
        input: SAME,
        output: |_, decision| match decision.action {
            Action::Change(Change::SetDataAside { .. }) => {
                Decision { action: Action::Change(Change::SetDataAside { gives_up: None }), ..decision }
            }
            _ => decision,
        },
        disk: KEPT,
        begin: || World::majority(3, Left { wipes: 1, ..Left::default() }).with_a_mute_one(),
        rules: USUAL,
        breaks: ("L1", 1),
    },
    Mutation {
        name: "data is set aside before its founding is given up",
        input: SAME,
        output: AS_DECIDED,
        disk: |done, machine| {
            if let Done::Half(Act::SetAside { gives_up: Some(cluster) }) = done {
                machine.given_up.retain(|known| known != cluster);
                machine.loses(Disk::Empty);
            }
        },
        begin: || World::majority(3, Left { wipes: 1, reboots: 1, ..Left::default() }).with_a_mute_one(),
        rules: USUAL,
        breaks: ("L1", 6),
    },
    Mutation {
        name: "an agreement is said and not kept",
        input: SAME,
        output: AS_DECIDED,
        disk: |done, machine| {
            if let (Done::Boot, Some(record)) = (done, &mut machine.record) {
                record.agreed = None;
            }
        },
        begin: || World::fresh(2, Left { reboots: 1, ..Left::default() }),
        rules: |rules| rules.tag = false,
        breaks: ("L1", 5),
    },
    Mutation {
        name: "a founder that one reply lacks is gone",
        input: |o, p| {
            let mut forgotten = remember(o, p).forgotten_founders;
            for standing in forgotten.values_mut() {
                standing.first_seen -= p.founding_grace;
                standing.last_read -= p.founding_grace;
            }
            o.history.iter_mut().for_each(|before| before.forgotten_founders.clone_from(&forgotten));
        },
        output: AS_DECIDED,
        disk: KEPT,
        begin: || World::one_that_replies_lack(Left { odd_reads: 2, wipes: 1, reboots: 1, ..Left::default() }),
        rules: USUAL,
        breaks: ("S1 no second", 6),
    },
    Mutation {
        name: "an old disk is taken in beside another cluster",
        input: |o, _| {
            let OwnData::Log { cluster_id: mine, .. } = o.own_data else { return };
            hide(o, |view| view.cluster_id != mine);
        },
        output: AS_DECIDED,
        disk: KEPT,
        begin: || World::founded_again(3, Left { restores: 1, ..Left::default() }),
        rules: USUAL,
        breaks: ("S1 no acknowledged", 3),
    },
];

/// Rules that save time or calls and are needed for nothing else.
pub const ECONOMIES: &[Mutation] = &[
    Mutation {
        name: "never-led data waits for no founders",
        input: SAME,
        output: |o, decision| match decision.reason {
            Reason::FoundersNotBack { .. } => starts_again(o, decision),
            _ => decision,
        },
        disk: KEPT,
        begin: || World::tagged(2, Left { terminations: 1, reboots: 1, wipes: 1, ..Left::default() }),
        rules: USUAL,
        breaks: ("nothing", 0),
    },
    Mutation {
        name: "a tag just written is written again",
        input: |o, _| o.history.iter_mut().for_each(|before| drop(before.deeds.tagged.remove(FOUNDING_TAG))),
        output: AS_DECIDED,
        disk: KEPT,
        begin: || World::fresh(2, Left { wipes: 1, odd_reads: 1, ..Left::default() }),
        rules: |rules| rules.tags_are_prompt = false,
        breaks: ("nothing", 0),
    },
];

fn tagged(o: &Observation) -> Option<Tagged> {
    o.group.ok().and_then(|group| agreement::read_tag(group.founding_tag.as_deref()?))
}

/// Hides a founding tag that is another disk's where less than `needed` of its founders are as they must be.
fn hide_tag_unless(o: &mut Observation, is: impl Fn(&Observation, &Tagged, &InstanceId) -> bool, needed: usize) {
    let (Some(tag), Some(me), Some(record)) = (tagged(o), o.me.ok(), o.record.ok()) else { return };
    if tag.nonce(&me.instance) == Some(&record.nonce) {
        return;
    }
    if tag.founders.iter().filter(|(founder, _)| is(o, &tag, founder)).count() < needed
        && let Seen::Yes(group) = &mut o.group
    {
        group.founding_tag = None;
    }
}

/// The own data is started, whatever was decided.
fn starts_again(o: &Observation, decision: Decision) -> Decision {
    let Some(own) = o.me.ok().and_then(|me| Some((me.instance.clone(), me.addresses.ip()?))) else { return decision };
    let peer_url = MemberUrl::new(Scheme::Http, &own.1.to_string(), 2380);
    let start = Start {
        initial_cluster: vec![(own.0.to_string(), peer_url.clone())],
        name: own.0,
        state: ClusterState::Existing,
        token: String::new(),
        client_url: peer_url.clone(),
        peer_url,
        listen: own.1,
        after: None,
    };
    Decision { action: Action::Start(start), reason: Reason::OwnDataNobodyObjects }
}

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
