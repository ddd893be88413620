//! Instance refresh: every instance is replaced, some at a time (AS:instance-refresh-overview).

use std::time::Duration;

use crate::support::cloud::{InstanceId, World};

/// How a refresh replaces (SDK:_refresh_preferences.rs).
#[derive(Clone, Copy, Debug)]
pub struct Preferences {
    /// `MinHealthyPercentage`.
    pub min: u32,
    /// `MaxHealthyPercentage`. "Explicitly setting MaxHealthyPercentage to 100 is not equivalent to omitting it."
    pub max: Option<u32>,
    /// `SkipMatching`: who was launched by the present template stays.
    pub skip_matching: bool,
}

impl Default for Preferences {
    /// AWS's: 90 percent, "or the percentage set in the instance maintenance policy", and no maximum.
    fn default() -> Self {
        Self { min: 90, max: None, skip_matching: false }
    }
}

impl Preferences {
    /// Launch before terminate, as the console and the README ask for it.
    pub const LAUNCH_FIRST: Self = Self { min: 100, max: Some(110), skip_matching: false };

    /// How many must be ready before one may go, and how many there may be. The minimum is rounded up, the maximum down
    /// (seen). Where this leaves no room at all, a maximum that is set is exceeded by one: AWS "launches a new instance
    /// before terminating an old one (temporarily exceeding the desired capacity)". One that is omitted is not: AWS
    /// "terminates an instance and launches its replacement simultaneously". AS:instance-refresh-overview says that a
    /// minimum of 100 alone launches first. It does not: alphagov/tech-ops#211, terraform-aws-autoscaling#157.
    fn bounds(self, desired: usize) -> (usize, usize) {
        let lower = (desired * self.min as usize).div_ceil(100);
        let upper = desired * self.max.unwrap_or(100) as usize / 100;
        match self.max {
            _ if lower < desired || upper > desired => (lower, upper),
            Some(_) => (lower, upper + 1),
            None => (desired.saturating_sub(1), upper),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    InProgress,
    Successful,
    Failed,
    Cancelled,
}

/// A refresh of a group.
#[derive(Clone, Debug)]
pub struct Refresh {
    pub status: Status,
    preferences: Preferences,
    /// Who is to be replaced.
    old: Vec<InstanceId>,
    /// When it last came on, and how many were ready then.
    came_on: (Duration, usize),
}

impl Refresh {
    /// A refresh that cannot go on fails after an hour (AS:asg-instance-refresh, limitations). Chosen: waiting for a launch
    /// hook is no going on, whatever its heartbeats.
    const PATIENCE: Duration = Duration::from_hours(1);

    /// When it fails, should nothing happen until then.
    pub(super) fn gives_up(&self) -> Option<Duration> {
        (self.status == Status::InProgress).then_some(self.came_on.0 + Self::PATIENCE)
    }
}

impl World {
    /// `StartInstanceRefresh`.
    ///
    /// # Panics
    /// When the group does not act, or when a refresh is in progress.
    pub fn start_refresh(&mut self, group: &str, preferences: Preferences) {
        let running =
            self.scaling_mut(group).refresh.as_ref().is_some_and(|refresh| refresh.status == Status::InProgress);
        assert!(!running, "InstanceRefreshInProgress");
        let template = self.scaling[group].template;
        let members = &self.scaling[group].members;
        let mut old = self.counted(group);
        old.retain(|id| !(preferences.skip_matching && members[id].template == template));
        let came_on = (self.clock, self.ready(group).len());
        self.scaling_mut(group).refresh = Some(Refresh { status: Status::InProgress, preferences, old, came_on });
    }

    /// `CancelInstanceRefresh`: what was begun goes on, nothing more is replaced.
    ///
    /// # Panics
    /// When the group has no refresh.
    pub fn cancel_refresh(&mut self, group: &str) {
        self.refresh_mut(group).status = Status::Cancelled;
    }

    /// How a group's refresh stands; None when there was none.
    pub fn refresh_status(&self, group: &str) -> Option<Status> {
        Some(self.scaling.get(group)?.refresh.as_ref()?.status)
    }

    /// Takes one step of the refresh. Auto Scaling "waits until the instances pass your health checks and complete warmup
    /// before it moves on to replacing other instances" (AS:asg-instance-refresh). That it waits for those that it
    /// terminates too is said nowhere, and it does not here (chosen).
    pub(super) fn refresh_one(&mut self, group: &str) -> bool {
        let Some(refresh) = self.scaling[group].refresh.clone().filter(|refresh| refresh.status == Status::InProgress)
        else {
            return false;
        };
        let counted = self.counted(group);
        let ready = self.ready(group);
        if ready.len() != refresh.came_on.1 {
            self.refresh_mut(group).came_on = (self.clock, ready.len());
            return true;
        }
        let desired = self.groups[group].desired as usize;
        let old: Vec<_> = refresh.old.iter().filter(|id| counted.contains(id)).collect();
        if old.is_empty() && ready.len() >= desired {
            self.refresh_mut(group).status = Status::Successful;
            return true;
        }
        if refresh.gives_up().is_some_and(|end| end <= self.clock) {
            self.refresh_mut(group).status = Status::Failed;
            return true;
        }
        let (lower, upper) = refresh.preferences.bounds(desired);
        if let Some(&id) = old.iter().find(|id| ready.contains(id)).filter(|_| ready.len() > lower) {
            self.begin_leaving(group, id);
            return true;
        }
        let ahead = counted.len().saturating_sub(desired);
        counted.len() >= desired && counted.len() < upper && ahead < old.len() && self.launch_one(group)
    }

    /// Up to how many instances a refresh in progress keeps from being scaled in.
    pub(super) fn refresh_ceiling(&self, group: &str) -> usize {
        let refresh = self.scaling[group].refresh.as_ref().filter(|refresh| refresh.status == Status::InProgress);
        refresh.map_or(0, |refresh| refresh.preferences.bounds(self.groups[group].desired as usize).1)
    }

    /// "In service, healthy, and ready to use": its warm-up is over.
    pub fn ready(&self, group: &str) -> Vec<InstanceId> {
        let mut ready = self.at_rest(group, |lifecycle| lifecycle == "InService");
        ready.retain(|id| self.scaling[group].members[id].warm <= self.clock);
        ready
    }

    fn refresh_mut(&mut self, group: &str) -> &mut Refresh {
        self.scaling_mut(group).refresh.as_mut().expect("the group has had a refresh")
    }
}
