//! What may happen next in a world, and the world after it: AWS, faults, time. Agents' own steps are in `agent.rs`.

use super::etcd;
use super::memory::{Agent, Watch};
use super::world::{Address, Disk, Life, Log, Machine, Node, Read, Rules, World};

/// One thing that happens.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Event {
    // An agent
    Look(Node, Read),
    /// A look whose tag is denied.
    Denied(Node),
    /// A look in whose first change of the own disk the machine boots.
    Interrupted(Node),
    Carry(Node),
    // A watch
    Watch(Node, Read),
    WatchDoes(Node),
    WatchDies(Node),
    // An etcd and what follows its start
    Publish(Node),
    Promote(Node),
    Tag(Node),
    StartTimesOut(Node),
    // A person who recovers
    Recover(Node, Read),
    MoveIn(Node),
    // AWS
    Leave(Node),
    Terminate(Node),
    Terminated(Node),
    Forget(Node),
    Launch(Address),
    ScaleIn(Node),
    ScaleOut,
    // Faults
    Reboot(Node),
    Wipe(Node),
    Restore(Node),
    Untag,
    LoseLog(Node),
    Damage(Node),
    Cut(Node, Node),
    Isolate(Node),
    Heal,
    // Time
    Minute,
}

impl World {
    /// Everything that may happen next.
    pub fn events(&self, rules: &Rules) -> Vec<Event> {
        let mut events = Vec::new();
        if self.broken.is_some() {
            return events;
        }
        for (n, m) in self.running() {
            self.steps(n, m, rules, &mut events);
            self.faults(n, m, rules, &mut events);
            self.recoveries(n, m, &mut events);
        }
        self.cloud(rules, &mut events);
        if !self.cut.is_empty() {
            events.push(Event::Heal);
        }
        let tagged = self.tags.cluster.is_some() || self.tags.founding.is_some();
        events.extend((self.left.untags > 0 && tagged).then_some(Event::Untag));
        // Calls to etcd have a deadline of seconds.
        if !rules.calls_are_prompt || !self.nodes.iter().any(Machine::calls) {
            events.push(Event::Minute);
        } else {
            events.retain(|event| !matches!(event, Event::Launch(_)));
        }
        events
    }

    /// What a node does by itself.
    pub fn steps(&self, n: Node, m: &Machine, rules: &Rules, events: &mut Vec<Event>) {
        match &m.agent {
            // Nothing else can start where a person recovers: the port is held.
            _ if m.mute || m.recovering.is_some() => {}
            Agent::Off | Agent::Waiting(_) if !m.etcd_runs => {
                events.extend(self.reads().map(|read| Event::Look(n, read)));
                events.extend((self.left.reboots > 0).then_some(Event::Interrupted(n)));
                events.extend((self.left.denials > 0).then_some(Event::Denied(n)));
            }
            Agent::Decided(..) => events.push(Event::Carry(n)),
            Agent::Off | Agent::Waiting(_) => {}
        }
        if let Some(watch) = &m.watch {
            events.extend(match &watch.act {
                None => self.reads().map(|read| Event::Watch(n, read)).collect(),
                Some(_) => vec![Event::WatchDoes(n)],
            });
        }
        if m.etcd_runs {
            events.extend(etcd::may_publish(self, n).then_some(Event::Publish(n)));
            events.extend(etcd::may_promote(self, n).then_some(Event::Promote(n)));
            events.extend((rules.tag && etcd::may_tag(self, n)).then_some(Event::Tag(n)));
            // A unit of etcd is started once its etcd has a leader; until then systemd's timeout ends it.
            events.extend(m.log().is_some_and(|log| !log.led).then_some(Event::StartTimesOut(n)));
        }
    }

    fn reads(&self) -> impl Iterator<Item = Read> {
        let odd = [Read::Nothing].into_iter().chain(self.late_reads()).filter(|_| self.left.odd_reads > 0);
        [Read::Now].into_iter().chain(odd)
    }

    fn late_reads(&self) -> impl Iterator<Item = Read> {
        let (group, tags) = (self.group_before.is_some(), self.tags_before.is_some());
        let group_alone = group.then_some(Read::OldGroup);
        let tags_alone = tags.then_some(Read::OldTags);
        group_alone.into_iter().chain(tags_alone).chain((group && tags).then_some(Read::Before))
    }

    fn faults(&self, n: Node, m: &Machine, rules: &Rules, events: &mut Vec<Event>) {
        let left = &self.left;
        events.extend((left.reboots > 0).then_some(Event::Reboot(n)));
        events.extend((left.dead_watches > 0 && m.watch.is_some()).then_some(Event::WatchDies(n)));
        let too_soon = rules.disks_outlast_publication && etcd::ran_unseen(self, m.address);
        let something = m.disk != Disk::Empty || m.record.is_some();
        events.extend((left.wipes > 0 && something && !too_soon).then_some(Event::Wipe(n)));
        events.extend((left.log_losses > 0 && m.log().is_some() && !too_soon).then_some(Event::LoseLog(n)));
        events.extend((left.damages > 0 && m.log().is_some() && !m.damaged && !too_soon).then_some(Event::Damage(n)));
        events.extend((left.restores > 0 && m.saved.is_some() && !too_soon).then_some(Event::Restore(n)));
        if left.cuts > 0 {
            let others = self.running().map(|(other, _)| other).filter(|other| *other != n);
            events.extend(others.filter(|o| self.reaches(n, *o)).map(|other| Event::Cut(n, other)));
            events.push(Event::Isolate(n));
        }
        match m.life {
            Life::InService => {
                if left.terminations > 0 {
                    events.push(Event::Terminate(n));
                    events.extend(rules.leaves_slowly.then_some(Event::Leave(n)));
                }
                events.extend((left.scale_ins > 0 && self.desired > 1).then_some(Event::ScaleIn(n)));
            }
            Life::Leaving => events.push(Event::Terminate(n)),
            Life::ShuttingDown | Life::Terminated | Life::Forgotten => {}
        }
    }

    /// What a person may try where etcd's unit is stopped.
    fn recoveries(&self, n: Node, m: &Machine, events: &mut Vec<Event>) {
        events.extend(m.recovering.map(|_| Event::MoveIn(n)));
        if self.left.recoveries > 0 && !m.mute && !m.etcd_runs && m.recovering.is_none() {
            events.push(Event::Recover(n, Read::Now));
            events.extend(self.late_reads().map(|read| Event::Recover(n, read)));
        }
    }

    /// What AWS does by itself.
    pub fn cloud(&self, rules: &Rules, events: &mut Vec<Event>) {
        for (n, m) in self.all() {
            match m.life {
                Life::ShuttingDown => events.push(Event::Terminated(n)),
                Life::Terminated if self.left.forgotten > 0 => events.push(Event::Forget(n)),
                Life::InService | Life::Leaving | Life::Terminated | Life::Forgotten => {}
            }
        }
        if self.left.scale_outs > 0 {
            events.push(Event::ScaleOut);
        }
        let in_service = self.all().filter(|(_, m)| m.life == Life::InService).count();
        if in_service < self.desired {
            let held = |a: &Address| self.all().any(|(_, m)| m.address == *a && m.life.runs());
            let fresh = self.nodes.iter().map(|m| m.address + 1).max().unwrap_or(0);
            events.push(Event::Launch(fresh));
            if rules.addresses_are_reused {
                let too_soon = |a: &Address| rules.disks_outlast_publication && etcd::ran_unseen(self, *a);
                events.extend((0..fresh).filter(|a| !held(a) && !too_soon(a)).map(Event::Launch));
            }
        }
    }

    /// The world after an event that is no agent's.
    pub fn happen(&mut self, event: &Event, rules: &Rules) {
        match *event {
            Event::Look(..)
            | Event::Denied(_)
            | Event::Interrupted(_)
            | Event::Carry(_)
            | Event::Watch(..)
            | Event::WatchDoes(_)
            | Event::Recover(..)
            | Event::MoveIn(_) => {
                unreachable!("agents and persons do these")
            }
            Event::Publish(n) => etcd::publish(self, n),
            Event::Promote(n) => etcd::promote(self, n),
            Event::Tag(n) => {
                let cluster = self.machine(n).log().expect("it runs").cluster;
                let id = self.clusters[cluster].id;
                self.aws_changes(|w| w.tags.cluster = Some(id));
            }
            Event::Untag => {
                self.left.untags -= 1;
                self.aws_changes(|w| (w.tags.cluster, w.tags.founding) = (None, None));
            }
            Event::StartTimesOut(n) | Event::Reboot(n) => {
                self.left.reboots -= u8::from(matches!(event, Event::Reboot(_)));
                self.machine_mut(n).boots();
            }
            Event::Wipe(n) => {
                self.left.wipes -= 1;
                let kept = self.left.restores > 0;
                let machine = self.machine_mut(n);
                machine.boots();
                machine.saved = machine.log().filter(|_| kept).map(|log| (log.clone(), machine.record.clone()));
                machine.loses(Disk::Empty);
                machine.given_up.clear();
                machine.left = None;
            }
            Event::Restore(n) => {
                self.left.restores -= 1;
                let machine = self.machine_mut(n);
                machine.boots();
                let (log, record) = machine.saved.take().expect("it was saved");
                machine.disk = Disk::Log(Log { fresh: false, ..log });
                machine.record = record;
                machine.put_back = true;
            }
            Event::LoseLog(n) => {
                self.left.log_losses -= 1;
                self.machine_mut(n).boots();
                self.machine_mut(n).disk = Disk::Backend;
                // The record lies beside the backend: it is set aside together with it.
            }
            Event::Damage(n) => {
                self.left.damages -= 1;
                self.machine_mut(n).boots();
                self.machine_mut(n).damaged = true;
            }
            Event::Leave(n) => {
                self.left.terminations -= 1;
                self.aws_changes(|w| w.machine_mut(n).life = Life::Leaving);
            }
            Event::Terminate(n) => {
                self.left.terminations -= u8::from(self.machine(n).life == Life::InService);
                self.aws_changes(|w| w.machine_mut(n).life = Life::ShuttingDown);
            }
            Event::ScaleIn(n) => {
                self.left.scale_ins -= 1;
                let life = if rules.leaves_slowly { Life::Leaving } else { Life::ShuttingDown };
                self.aws_changes(|w| w.machine_mut(n).life = life);
                self.desired -= 1;
            }
            Event::Terminated(n) => self.aws_changes(|w| {
                let machine = w.machine_mut(n);
                machine.boots();
                machine.life = Life::Terminated;
                machine.loses(Disk::Empty);
                machine.given_up.clear();
                machine.saved = None;
                machine.nonces = 0;
                (machine.watch, machine.left) = (None, None);
                w.cut.retain(|(from, to)| *from != n && *to != n);
            }),
            Event::Forget(n) => {
                self.left.forgotten -= 1;
                self.aws_changes(|w| w.machine_mut(n).life = Life::Forgotten);
            }
            Event::ScaleOut => {
                self.left.scale_outs -= 1;
                self.aws_changes(|w| w.desired += 1);
            }
            Event::WatchDies(n) => {
                self.left.dead_watches -= 1;
                self.machine_mut(n).watch = None;
            }
            Event::Launch(address) => {
                let watch = rules.watched.then(Watch::default);
                let machine = Machine { watch, ..Machine::new(address, rules.replacements_are_late) };
                self.aws_changes(|w| w.nodes.push(machine));
            }
            Event::Cut(from, to) => {
                self.left.cuts -= 1;
                self.cut_links([(from, to)]);
            }
            Event::Isolate(n) => {
                self.left.cuts -= 1;
                let others: Vec<Node> = self.running().map(|(other, _)| other).filter(|other| *other != n).collect();
                self.cut_links(others.into_iter().flat_map(|other| [(n, other), (other, n)]));
            }
            Event::Heal => self.cut.clear(),
            Event::Minute => self.minute(),
        }
        etcd::settle(self);
    }

    fn cut_links(&mut self, links: impl IntoIterator<Item = (Node, Node)>) {
        self.cut.extend(links);
        self.cut.sort_unstable();
        self.cut.dedup();
    }

    /// Enough time for every grace. AWS's reads have caught up by then.
    fn minute(&mut self) {
        (self.group_before, self.tags_before) = (None, None);
        for machine in &mut self.nodes {
            if let Agent::Waiting(memory) | Agent::Decided(memory, _) = &mut machine.agent {
                memory.before.ages();
            }
            machine.watch.iter_mut().for_each(|watch| watch.before.ages());
            machine.left.iter_mut().for_each(|(.., old)| *old = true);
        }
    }
}
