//! The loop of every command: observe, decide, change one thing, again.
//!
//! Owns the only deadline, the only retry, and the log of what is decided. Every rule is in `decide`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::pace::{Pace, Rhythm, Urgency, jitter};
use super::tell::{ended, fail, fail_for, notify, status};
use crate::apply::{Applied, apply};
use crate::clock::now;
use crate::cloud::{Cloud, Freshness};
use crate::decide::{deeds_that_count, doubts, holds_port, remember, statement};
use crate::exit::Exit;
use crate::files::saved::{self, Format, Record};
use crate::founders::Voice;
use crate::model::{
    Action, Blind, BlindKind, Change, Decision, Deeds, History, InstanceId, Observation, Policy, Reason, Role, Seen,
    UNTAGGED,
};
use crate::observe::{Given, Inside, Observer, OwnPorts, Ports, Scope};
use crate::report::name;
use crate::setup::Setup;

/// Nodes that saw the same at the same moment must not all ask at once (F44).
const SPREAD: Duration = Duration::from_millis(50);

/// The timer of a consumer is its retry: a fleet of them must not turn an outage of etcd into one of EC2's API (F104).
const LOOKS_OF_A_CONSUMER: u32 = 2;

/// What a loop is about.
#[derive(Clone, Copy)]
pub struct Course {
    /// A pure decider.
    pub decide: fn(&Observation, &Policy) -> Decision,
    pub scope: Scope,
    /// The first course of a loop says it for all.
    pub own_ports: OwnPorts,
    pub rhythm: Rhythm,
    pub without_tag: WithoutTag,
    /// Whether it goes on whatever is seen, refused or denied, until it is told to stop.
    pub endless: bool,
    /// Is told of each pass.
    pub after_pass: fn(&Setup, &Observation, &Decision),
}

/// What becomes of a run that may not tag the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithoutTag {
    /// It goes on: a replacement must not fail for want of the tag, and founders can do with the word of all.
    GoesOn,
    /// It fails: the tag is what it is for.
    Fails,
}

/// One loop, and what it keeps between passes.
pub struct Drive<'a> {
    pub setup: &'a Setup,
    pub ports: Arc<Ports>,
    cloud: Cloud,
    observer: Observer,
    /// None where nobody is to hear of this node.
    voice: Option<Voice>,
    saves: bool,
    course: Course,
    pace: Pace,
    started: Instant,
    /// None for ever.
    deadline: Option<Instant>,
    history: Option<History>,
    last: Option<Decision>,
    deeds: Deeds,
    /// What was said to the last change, if it was refused.
    refusal: Option<String>,
    stop: Arc<Notify>,
    /// How many passes of this course got beyond the metadata.
    looks: u32,
    /// Whom EC2 is asked about in each pass, whoever else is.
    also: BTreeSet<InstanceId>,
}

enum Next {
    LookAgain,
    Pause,
    End(Exit),
}

impl<'a> Drive<'a> {
    pub fn new(setup: &'a Setup, course: Course) -> Self {
        let (ports, config) = (setup.ports(), &setup.config);
        let started = Instant::now();
        Self {
            cloud: setup.cloud().in_region(config.region.clone().filter(|_| course.scope == Scope::Outside)),
            observer: setup.observer(ports.clone(), course.own_ports),
            voice: None,
            saves: false,
            // One that the clock cannot hold is none.
            deadline: config.deadline.filter(|_| !course.endless).and_then(|deadline| started.checked_add(deadline)),
            setup,
            ports,
            pace: Pace::new(course.rhythm, started),
            course,
            started,
            history: None,
            last: None,
            deeds: Deeds::default(),
            refusal: None,
            stop: Arc::default(),
            looks: 0,
            also: BTreeSet::new(),
        }
    }

    /// Asks EC2 about these in each pass, from the first on.
    #[must_use]
    pub fn asking_about(mut self, instances: BTreeSet<InstanceId>) -> Self {
        self.history = Some(History { member_instances: instances.clone(), ..History::default() });
        self.also = instances;
        self
    }

    /// Saves what each decision rests on.
    #[must_use]
    pub fn saving(self) -> Self {
        Self { saves: true, ..self }
    }

    /// Says on the peer port, while it is free, what this node has to say.
    #[must_use]
    pub fn speaking(self) -> Self {
        let port = self.setup.config.policy.peer_port;
        Self { voice: Some(Voice::new(self.setup.peer_tls(), port)), ..self }
    }

    /// Notified, it ends the loop at its next pause, as done: a change on its way is not cut off.
    pub fn stop(&self) -> Arc<Notify> {
        self.stop.clone()
    }

    /// Goes on with another course, and with what this one has learnt.
    pub fn turn_to(&mut self, course: Course) {
        self.pace = Pace::new(course.rhythm, Instant::now());
        (self.course, self.last, self.looks) = (course, None, 0);
    }

    /// Ends the run so, for its metrics too.
    pub fn ends(&self, command: &str, exit: Exit) -> Exit {
        ended(&self.setup.config, command, self.elapsed(), exit, self.last.as_ref())
    }

    /// Whether the deadline has passed.
    pub fn is_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    /// How long this has taken.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Looks and changes until there is nothing left to change: returns what is to be done in the end.
    ///
    /// # Errors
    /// The exit code, where it ends otherwise; why is logged.
    pub async fn until_done(&mut self) -> Result<(Observation, Decision), Exit> {
        loop {
            let (observation, decision) = self.look().await.ok_or_else(|| self.give_up())?;
            let next = match &decision.action {
                Action::Start(_) | Action::Follow(_) | Action::Serve { .. } | Action::Rest => {
                    return Ok((observation, decision));
                }
                Action::Refuse => Next::End(self.give_up()),
                Action::Wait => self.wait(&decision.reason),
                Action::Change(change) => self.change(change, &decision.reason).await,
            };
            match next {
                Next::LookAgain => {}
                Next::Pause => self.pause(&observation, &decision.reason).await?,
                Next::End(exit) => return Err(exit),
            }
            self.remember(&observation);
        }
    }

    /// Sleeps until it is worth looking again: sooner when another founder, or the metadata, say something new.
    ///
    /// # Errors
    /// The exit code when it is told to stop.
    async fn pause(&mut self, observation: &Observation, reason: &Reason) -> Result<(), Exit> {
        let urgency = urgency(reason);
        let target = observation.me.ok().and_then(|me| me.target_lifecycle_state.as_ref());
        let news = async {
            match (&self.voice, self.course.scope) {
                (Some(voice), _) => voice.news().await,
                (None, Scope::LifeCycle) => self.cloud.wait_for_notice(target, &observation.notices).await,
                (None, Scope::Everything | Scope::Myself | Scope::Group | Scope::Last | Scope::Outside) => {
                    std::future::pending().await
                }
            }
        };
        let heard = tokio::select! {
            () = tokio::time::sleep(self.pace.pause(urgency, Instant::now())) => false,
            () = news => true,
            () = self.stop.notified() => return Err(Exit::Done),
        };
        self.pace.paused(heard || urgency == Urgency::SecondRead, Instant::now());
        Ok(())
    }

    /// A few looks and no change. None when the deadline cuts them short, which is logged.
    pub async fn look_twice(&mut self, between: Duration) -> Option<Observation> {
        self.look_anew().await?;
        tokio::time::sleep(between).await;
        self.look_anew().await
    }

    /// One look, at a fresh reply of AWS, and no change. None when the deadline cuts it short, which is logged.
    pub async fn look_anew(&mut self) -> Option<Observation> {
        self.pace.ask_aws_now();
        let seen = self.observe().await;
        match &seen {
            Some(observation) => self.remember(observation),
            None => error!("the deadline came before a look was over: AWS or the metadata did not answer in time"),
        }
        seen
    }

    /// One pass and what is decided of it; None when the deadline cuts it short or has passed.
    async fn look(&mut self) -> Option<(Observation, Decision)> {
        let observation = self.observe().await?;
        let decision = (self.course.decide)(&observation, &self.setup.config.policy);
        self.report(&observation, &decision);
        if let Some(decision) = &self.last {
            notify(&[NotifyState::Status(&status(decision, self.pace.reason_stands(Instant::now())))]);
        }
        (self.course.after_pass)(self.setup, &observation, &decision);
        if let Some(voice) = self.voice.as_mut().filter(|_| holds_port(&observation.own_data, Some(&decision.reason))) {
            let others = observation.group.ok().map(|group| group.instances.keys().cloned().collect());
            voice.say(statement(&observation, &self.setup.config.policy), others.unwrap_or_default());
        }
        Some((observation, decision))
    }

    async fn observe(&mut self) -> Option<Observation> {
        // A pass on AWS's last reply may have nothing to wait for, and a timeout cuts only what waits.
        if self.is_over() {
            return None;
        }
        let (began, fresh) = (Instant::now(), self.pace.fresh());
        let deadline = self.deadline;
        let pass = self.pass(fresh);
        let observation = match deadline {
            None => pass.await,
            Some(deadline) => tokio::time::timeout_at(deadline, pass).await.ok()?,
        };
        self.looks += u32::from(observation.me.ok().is_some() || self.course.scope == Scope::Last);
        if fresh == Freshness::Fresh {
            self.pace.asked_aws(began, observation.is_throttled());
        }
        Some(observation)
    }

    async fn pass(&mut self, fresh: Freshness) -> Observation {
        let inside = self.observer.look_inside(&mut self.cloud, fresh, self.course.scope).await;
        let port_trouble = self.hold_port(&inside).await;
        let statement = self.voice.as_ref().and_then(Voice::statement);
        let given = Given { history: self.history.take(), statement, port_trouble };
        self.observer.look_around(&mut self.cloud, fresh, self.course.scope, inside, given).await
    }

    /// While this node has no data, or none that is worth an etcd, it says so on its peer port.
    async fn hold_port(&mut self, inside: &Inside) -> Option<String> {
        let last = self.last.as_ref().map(|decision| &decision.reason);
        let voice = self.voice.as_mut()?;
        if !holds_port(&inside.own_data, last) {
            // On a node with data a port that is taken is etcd's own affair.
            voice.free_port();
            return None;
        }
        voice.hold_port(inside.me.ok()?).await.err()
    }

    fn wait(&mut self, reason: &Reason) -> Next {
        let now = Instant::now();
        if *reason == Reason::FreshReplyNeeded && !self.pace.change_rests(now) {
            self.pace.ask_aws_now();
            Next::LookAgain
        } else if !self.course.endless && self.pace.patience_is_over(reason.patience(), now)
            || self.timer_looks_again(reason)
        {
            Next::End(self.give_up())
        } else {
            Next::Pause
        }
    }

    /// Whether a consumer leaves the rest to its timer. The metadata, which are its own alone, it waits for.
    /// A first read that needs a second is not the end: the timer's next run would get no further.
    fn timer_looks_again(&self, reason: &Reason) -> bool {
        let enough = if self.pace.throttled() { 1 } else { LOOKS_OF_A_CONSUMER };
        let second_read = matches!(reason, Reason::SecondRead { .. });
        self.setup.config.policy.role == Role::Consumer && self.looks >= enough && !second_read
    }

    async fn change(&mut self, change: &Change, reason: &Reason) -> Next {
        let is_tag = matches!(change, Change::TagGroup { .. });
        let goes_on = is_tag && self.course.without_tag == WithoutTag::GoesOn;
        let patience_is_over = self.pace.patience_is_over(reason.patience(), Instant::now());
        if patience_is_over && !goes_on && !self.course.endless {
            return Next::End(self.give_up());
        }
        if is_shared(change) {
            if self.pace.change_rests(Instant::now()) {
                return Next::Pause;
            }
            if self.course.rhythm == Rhythm::Others {
                tokio::time::sleep(jitter(SPREAD)).await;
            }
        }
        match apply(change, &mut self.cloud, &self.setup.access(), self.setup.directories()).await {
            Ok(Applied::Done(what)) => {
                info!("{what}");
                self.changed(change);
                Next::LookAgain
            }
            Ok(Applied::Refused(blind)) if goes_on && (patience_is_over || blind.kind == BlindKind::Denied) => {
                warn!("{blind}: {UNTAGGED}; going on without it");
                self.deeds.untaggable = true;
                Next::LookAgain
            }
            Ok(Applied::Refused(blind)) if blind.kind == BlindKind::Denied && !is_tag && !self.course.endless => {
                Next::End(fail_for(&denial(change, blind)))
            }
            Ok(Applied::Refused(blind)) => {
                self.refused(change, blind);
                Next::Pause
            }
            Err(why) if self.course.endless => {
                self.refused(change, Blind { kind: BlindKind::Unreachable, why });
                Next::Pause
            }
            Err(why) => Next::End(fail(&why)),
        }
    }

    fn changed(&mut self, change: &Change) {
        self.pace.changed(change);
        if is_shared(change) {
            self.refusal = None;
            (self.deeds.refusals, self.deeds.tag_refused) = (0, None);
        }
        // A read that lags does not show them yet.
        if let Change::TagGroup { tags, .. } = change {
            self.deeds.tagged.extend(tags.clone());
        }
        if let Change::KeepWaiting { .. } = change {
            self.deeds.heartbeat = Some(now());
        }
        if let Change::CompleteHook { instance, .. } = change {
            self.deeds.completed.insert(instance.clone());
        }
    }

    fn refused(&mut self, change: &Change, blind: Blind) {
        if self.refusal.as_ref() == Some(&blind.why) {
            debug!(why = blind.why, "the change is still not taken, looking again");
        } else if self.course.endless && blind.kind == BlindKind::Denied {
            error!("{blind}");
        } else {
            info!(why = blind.why, "the change is not taken now, looking again");
        }
        self.refusal = Some(blind.why.clone());
        self.deeds.refusals = self.deeds.refusals.saturating_add(1);
        self.deeds.tag_refused = Some(blind).filter(|_| matches!(change, Change::TagGroup { .. }));
        self.pace.refused(change, Instant::now());
    }

    fn give_up(&self) -> Exit {
        match &self.last {
            Some(decision) => fail_for(&decision.reason),
            None => {
                error!("the deadline came before the first look was over: AWS or the metadata did not answer in time");
                Exit::Unavailable
            }
        }
    }

    /// One line a change of decision, and the observation behind it for `explain`.
    fn report(&mut self, observation: &Observation, decision: &Decision) {
        if matches!(decision.reason, Reason::FreshReplyNeeded) {
            // Over at once; what was decided before stands meanwhile.
            return debug!(reason = decision.reason.code(), "{}", decision.reason);
        }
        // It is looked for once there is no data: at first, or after that was set aside.
        let set_aside = |last: &Decision| matches!(last.action, Action::Change(Change::SetDataAside { .. }));
        let first = self.last.as_ref().is_none_or(set_aside);
        if let Some(Seen::No(blind)) = observation.etcd.as_ref().filter(|_| first) {
            warn!("{blind}; proceeding without knowing whether this node's etcd fits the others': see --etcd-version");
        }
        let before = self.last.replace(decision.clone());
        if before.as_ref() == Some(decision) {
            return debug!(reason = decision.reason.code(), "{}", decision.reason);
        }
        if self.saves {
            self.save_record(observation);
        }
        let same_reason = before.as_ref().is_some_and(|before| is_same(&before.reason, &decision.reason));
        if !same_reason {
            self.pace.new_reason(Instant::now());
        }
        if same_reason && before.is_some_and(|before| is_as_told(&before.action, &decision.action)) {
            return debug!(reason = decision.reason.code(), "{}", decision.reason);
        }
        info!(decision = name(&decision.action), reason = decision.reason.code(), "{}", decision.reason);
        for doubt in doubts(observation, &self.setup.config.policy, decision) {
            warn!("{doubt}; proceeding anyway");
        }
    }

    fn save_record(&self, observation: &Observation) {
        let record =
            Record { format: Format, policy: self.setup.config.policy.clone(), observation: observation.clone() };
        let file = self.setup.config.record_file();
        if let Err(e) = saved::write_record(&file, &record) {
            warn!("save the observation {}: {e}, ignoring", file.display());
        }
    }

    fn remember(&mut self, observation: &Observation) {
        self.deeds = deeds_that_count(&self.deeds, observation);
        let mut seen = remember(observation, &self.setup.config.policy);
        seen.member_instances.extend(self.also.iter().cloned());
        self.history = Some(History { deeds: self.deeds.clone(), ..seen });
    }
}

/// Whether two decisions wait for the same thing: what the own etcd still lacks changes step by step, and each is told.
fn is_same(one: &Reason, other: &Reason) -> bool {
    one.code() == other.code() && (one == other || !matches!(other, Reason::NotServing { .. }))
}

fn urgency(reason: &Reason) -> Urgency {
    if matches!(reason, Reason::SecondRead { .. }) {
        Urgency::SecondRead
    } else if matches!(
        reason,
        Reason::Watching { .. } | Reason::Aside { .. } | Reason::WarmPool { .. } | Reason::LastMember { .. }
    ) {
        Urgency::None
    } else {
        Urgency::News
    }
}

/// Whether a person has been told of an action: waiting, and having the group wait too, are one.
fn is_as_told(one: &Action, other: &Action) -> bool {
    let waits = |action: &Action| matches!(action, Action::Wait | Action::Change(Change::KeepWaiting { .. }));
    one == other || (waits(one) && waits(other))
}

/// Why a change was denied, for a person.
fn denial(change: &Change, blind: Blind) -> Reason {
    if matches!(change, Change::CompleteHook { .. } | Change::KeepWaiting { .. }) {
        return Reason::HookRefused(blind);
    }
    Reason::Denied { why: blind.why }
}

/// Whether others may be about to make the same change.
fn is_shared(change: &Change) -> bool {
    match change {
        Change::Add { .. }
        | Change::Remove { .. }
        | Change::TagGroup { .. }
        | Change::MoveLeader { .. }
        | Change::CompleteHook { .. }
        | Change::KeepWaiting { .. } => true,
        Change::Promote { .. }
        | Change::MarkLeft(_)
        | Change::SetDataAside { .. }
        | Change::BeginRecord
        | Change::Agree(_)
        | Change::GiveUp { .. } => false,
    }
}
