//! Lifecycle hooks: what an instance waits for, and how the waiting ends.

use std::time::Duration;

use super::journey::{Journey, Road};
use crate::support::cloud::World;

/// A lifecycle hook of a group (API:LifecycleHook).
#[derive(Clone, Debug)]
pub struct Hook {
    pub name: String,
    pub transition: Transition,
    /// How long an instance waits without a heartbeat.
    pub heartbeat: Duration,
    /// What a timeout means.
    pub default: Outcome,
}

impl Hook {
    pub fn launching(name: &str, heartbeat: Duration, default: Outcome) -> Self {
        Self { name: name.to_owned(), transition: Transition::Launching, heartbeat, default }
    }

    pub fn terminating(name: &str, heartbeat: Duration, default: Outcome) -> Self {
        Self { name: name.to_owned(), transition: Transition::Terminating, heartbeat, default }
    }

    /// `GlobalTimeout`: "172800 seconds (48 hours) or 100 times HeartbeatTimeout, whichever is smaller"
    /// (API:LifecycleHook).
    pub fn global(&self) -> Duration {
        (self.heartbeat * 100).min(Duration::from_hours(48))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    Launching,
    Terminating,
}

impl Transition {
    pub fn name(self) -> &'static str {
        match self {
            Self::Launching => "autoscaling:EC2_INSTANCE_LAUNCHING",
            Self::Terminating => "autoscaling:EC2_INSTANCE_TERMINATING",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Continue,
    Abandon,
}

impl Outcome {
    pub fn name(self) -> &'static str {
        match self {
            Self::Continue => "CONTINUE",
            Self::Abandon => "ABANDON",
        }
    }

    /// The outcome of that name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Continue, Self::Abandon].into_iter().find(|outcome| outcome.name() == name)
    }
}

/// One instance's waiting for one hook. It keeps what the hook said when it began.
#[derive(Clone, Debug)]
pub(super) struct Action {
    hook: Hook,
    /// From when on calls find it.
    open: Duration,
    /// When it times out, unless there is a heartbeat.
    deadline: Duration,
    /// When it times out whatever the heartbeats.
    end: Duration,
}

impl Action {
    pub(super) fn of(hook: &Hook, now: Duration, lag: Duration) -> Self {
        let (deadline, end) = (now + hook.heartbeat, now + hook.global());
        Self { hook: hook.clone(), open: now + lag, deadline: deadline.min(end), end }
    }

    pub(super) fn deadline(&self) -> Duration {
        self.deadline
    }
}

impl World {
    /// `CompleteLifecycleAction`, by instance.
    ///
    /// # Errors
    /// The message of AWS's `ValidationError`: no such group, or no action that is open for calls.
    pub fn complete(&mut self, group: &str, hook: &str, id: &str, outcome: Outcome) -> Result<(), String> {
        self.open_action(group, hook, id)?;
        self.finish(group, hook, id, outcome);
        Ok(())
    }

    /// `RecordLifecycleActionHeartbeat`, by instance: "extends the timeout by the length of time defined using the
    /// PutLifecycleHook API call" (API:RecordLifecycleActionHeartbeat), counted from now (seen), to the global timeout at
    /// most.
    ///
    /// # Errors
    /// As [`World::complete`].
    pub fn heartbeat(&mut self, group: &str, hook: &str, id: &str) -> Result<(), String> {
        let now = self.clock;
        let action = self.open_action(group, hook, id)?;
        action.deadline = (now + action.hook.heartbeat).min(action.end);
        Ok(())
    }

    fn open_action(&mut self, group: &str, hook: &str, id: &str) -> Result<&mut Action, String> {
        if !self.groups.contains_key(group) {
            return Err(format!("AutoScalingGroup name not found - AutoScalingGroup {group} not found"));
        }
        let now = self.clock;
        let member = self.scaling.get_mut(group).and_then(|scaling| scaling.members.get_mut(id));
        let journey = member.and_then(|member| member.journey.as_mut());
        let mut actions = journey.into_iter().flat_map(|journey| journey.actions.iter_mut());
        // The text is that of every report of it, convox/rack#2432 for one. A hook of another name has no action either.
        let open = actions.find(|action| action.hook.name == hook && action.open <= now && now < action.deadline);
        open.ok_or_else(|| format!("No active Lifecycle Action found with instance ID {id}"))
    }

    /// Ends one action. All hooks of a transition have to continue (seen: each has an action of its own). "If the instance
    /// is launching, … ABANDON indicates that your custom actions were unsuccessful, and that the instance can be
    /// terminated": it is, its terminating hooks run (seen), and it is replaced. "If the instance is terminating, both
    /// ABANDON and CONTINUE allow the instance to terminate. However, ABANDON stops any remaining actions, such as other
    /// lifecycle hooks, while CONTINUE allows any other lifecycle hooks to complete" (AS:lifecycle-hooks).
    fn finish(&mut self, group: &str, hook: &str, id: &str, outcome: Outcome) {
        let now = self.clock;
        let scaling = self.scaling_mut(group);
        let (retains, delay) = (scaling.retains, scaling.delay);
        let member = scaling.members.get_mut(id).expect("an action is a member's");
        let journey = member.journey.as_mut().expect("an action is part of a journey");
        journey.actions.retain(|action| action.hook.name != hook && outcome == Outcome::Continue);
        let road = journey.road;
        match (outcome, road) {
            (Outcome::Abandon, Road::Launch | Road::Warm) => return self.begin_leaving(group, id),
            (Outcome::Abandon, Road::Return | Road::Terminate | Road::TerminateWarm) => journey.retained = retains,
            (Outcome::Continue, _) => {}
        }
        if journey.actions.is_empty() {
            journey.proceed(now + delay);
            self.tell(group, id);
        }
    }

    /// Applies the default result of each action that nobody ended in time.
    pub(super) fn expire_actions(&mut self, group: &str) {
        while let Some((id, hook)) = self.expired(group) {
            self.finish(group, &hook.name, &id, hook.default);
        }
    }

    fn expired(&self, group: &str) -> Option<(String, Hook)> {
        self.scaling[group].members.iter().find_map(|(id, member)| {
            let actions = &member.journey.as_ref()?.actions;
            let expired = actions.iter().find(|action| action.deadline <= self.clock)?;
            Some((id.clone(), expired.hook.clone()))
        })
    }

    /// Deletes a hook, which completes its actions: a launch is abandoned, a termination goes on (seen).
    ///
    /// # Panics
    /// When the group does not act.
    pub fn delete_hook(&mut self, group: &str, hook: &str) {
        self.scaling_mut(group).hooks.retain(|other| other.name != hook);
        let waits = |journey: &Journey| journey.actions.iter().find(|action| action.hook.name == hook).cloned();
        let members = self.scaling[group].members.iter();
        let waiting: Vec<_> =
            members.filter_map(|(id, member)| Some((id.clone(), waits(member.journey.as_ref()?)?))).collect();
        for (id, action) in waiting {
            let outcome = match action.hook.transition {
                Transition::Launching => Outcome::Abandon,
                Transition::Terminating => Outcome::Continue,
            };
            self.finish(group, hook, &id, outcome);
        }
    }
}
