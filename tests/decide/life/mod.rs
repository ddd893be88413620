//! What goes along with an instance's life: who leaves, who stays, who removes the dead, and when the group may go on.
//!
//! This node is 1, and a voter of a cluster that it leads, unless said. The traps T1 to T28 are those of the design.

mod departure;
mod leaving;
mod mark;
mod prune;
mod ready;
mod turns;
mod walk;

use std::time::Duration;

use etcd_bootstrap::decide::leave::by_hand;
use etcd_bootstrap::decide::ready::released;
use etcd_bootstrap::decide::watch;
use etcd_bootstrap::model::{
    Action, BlindKind, CLUSTER_TAG, Change, ClientView, Decision, Deeds, Hook, Interruption, Member, MemberId, Notices,
    OwnData, Seen, Transition,
};

use super::scene::Scene;
use super::{blind, id, log, voter};

const LAUNCH: &str = "etcd-bootstrap-launch";
const TERMINATE: &str = "etcd-bootstrap-terminate";

/// A decision in a line: what is done to whom, and why.
fn told(decision: &Decision) -> String {
    let done = match &decision.action {
        Action::Wait => "wait".to_owned(),
        Action::Refuse => "refuse".to_owned(),
        Action::Rest => "rest".to_owned(),
        Action::Change(Change::Remove { member, .. }) => format!("remove {}", member.0),
        Action::Change(Change::MoveLeader { to, .. }) => format!("move to {}", to.0),
        Action::Change(Change::MarkLeft(left)) => format!("mark {}", left.member.0),
        Action::Change(Change::CompleteHook { hook, instance, .. }) => {
            format!("complete {} of {}", short(hook), instance.as_str().trim_start_matches("i-0000000"))
        }
        Action::Change(Change::KeepWaiting { hook, instance, .. }) => {
            format!("keep {} of {}", short(hook), instance.as_str().trim_start_matches("i-0000000"))
        }
        Action::Change(Change::TagGroup { tags, .. }) if tags.contains_key(CLUSTER_TAG) => "tag".to_owned(),
        other => format!("{other:?}"),
    };
    format!("{done}: {}", decision.reason.code())
}

fn short(hook: &str) -> &str {
    match hook {
        LAUNCH => "launch",
        TERMINATE => "terminate",
        other => other,
    }
}

fn hook(name: &str, transition: Transition, seconds: u64) -> Hook {
    Hook { name: name.to_owned(), transition, timeout: Duration::from_secs(seconds) }
}

/// What this program documents.
fn both_hooks() -> Vec<Hook> {
    vec![hook(LAUNCH, Transition::Launching, 1800), hook(TERMINATE, Transition::Terminating, 120)]
}

impl Scene {
    /// Nodes 1 to n are the group and its voters, in service, with nothing ill and both hooks.
    fn voters(n: u64) -> Self {
        let list: Vec<Member> = (1..=n).map(voter).collect();
        let mut scene = Self::group(n).data(log(1, true)).listing(&list).hooks(both_hooks());
        scene.o.notices = Seen::Yes(Notices::default());
        scene
    }

    /// Nodes 1 to n, of which this one waits in its group for the hook that ends it.
    fn leaver(n: u64) -> Self {
        Self::voters(n).state(1, "Terminating:Wait").target("Terminated")
    }

    /// The cluster has these members, and all that are published and have an instance answer.
    fn listing(mut self, list: &[Member]) -> Self {
        self.o.probes.clear();
        let answering: Vec<u64> = list.iter().filter(|m| m.published()).map(|m| m.id.0).collect();
        self.serving(list, answering)
    }

    fn state(self, n: u64, lifecycle: &str) -> Self {
        let lifecycle = lifecycle.into();
        self.asg(|group| drop(group.instances.insert(id(n), lifecycle)))
    }

    fn target(self, lifecycle: &str) -> Self {
        let lifecycle = Some(lifecycle.into());
        self.identity(|me| me.target_lifecycle_state = lifecycle)
    }

    fn spot(mut self, action: &str) -> Self {
        let spot = Some(Interruption::from(action));
        self.o.notices = Seen::Yes(Notices { spot, ..Notices::default() });
        self
    }

    fn hooks(mut self, hooks: Vec<Hook>) -> Self {
        self.o.hooks = Seen::Yes(hooks);
        self
    }

    /// The right to describe the hooks is missing.
    fn hooks_hidden(mut self) -> Self {
        self.o.hooks = Seen::No(blind(BlindKind::Denied));
        self
    }

    fn desired(self, n: usize) -> Self {
        self.asg(|group| group.desired = n)
    }

    /// What every member that answers says of the leader, and of whatever else.
    fn clients(mut self, change: impl Fn(&mut ClientView)) -> Self {
        for probe in &mut self.o.probes {
            if let Some(Ok(view)) = &mut probe.client {
                change(view);
            }
        }
        self
    }

    fn client(self, n: u64, change: impl Fn(&mut ClientView)) -> Self {
        self.clients(|view| {
            if view.member_id == MemberId(n) {
                change(view);
            }
        })
    }

    fn led_by(self, n: u64) -> Self {
        self.clients(|view| view.leader = Some(MemberId(n)))
    }

    /// Which instance was launched when, seconds from the scene's begin.
    fn launched(self, n: u64, after: u64) -> Self {
        let at = self.o.taken_at + Duration::from_secs(after);
        self.ec2(|ec2| ec2.found.get_mut(&id(n)).expect("it is known").launched = Some(at))
    }

    /// No member confirms the list, for this reason.
    fn unconfirmed(self, kind: BlindKind) -> Self {
        self.clients(|view| {
            view.quorum_list = Seen::No(blind(kind));
            view.leader = view.leader.filter(|_| kind == BlindKind::Denied);
        })
    }

    /// What this run has done so far.
    fn deeds(mut self, change: impl FnOnce(&mut Deeds)) -> Self {
        change(&mut self.o.history.get_or_insert_default().deeds);
        self
    }

    /// This run has completed the hook of node n.
    fn completed(self, n: u64) -> Self {
        self.deeds(|deeds| {
            deeds.completed.insert(id(n));
        })
    }

    /// Several passes, one after another, which see the same.
    fn passes(self, times: u64, apart: u64) -> Self {
        (0..times).fold(self, |s, _| s.again(apart))
    }

    fn watch(&self) -> String {
        told(&watch(&self.o, &self.p))
    }

    fn by_hand(&self) -> String {
        told(&by_hand(&self.o, &self.p))
    }

    fn released(&self) -> String {
        told(&released(&self.o, &self.p))
    }

    /// The member whom this node would ask to remove somebody, if it did so now.
    fn asked_to_remove(&self) -> Option<String> {
        match watch(&self.o, &self.p).action {
            Action::Change(Change::Remove { via, .. }) => Some(via.to_string()),
            _ => None,
        }
    }
}

/// The data of a node that has none, or none that tells its member.
fn without_log() -> [OwnData; 2] {
    [OwnData::Empty, OwnData::NoLog]
}

#[track_caller]
fn same(told: String, expected: &str) {
    assert_eq!(told, expected);
}

#[test]
fn f40_a_sound_group_is_watched_and_nothing_is_done() {
    for n in [1, 2, 3, 5] {
        same(Scene::voters(n).watch(), "wait: watching");
        same(Scene::voters(n).passes(5, 30).watch(), "wait: watching");
    }
}
