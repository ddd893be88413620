//! The ways of an instance between its states of rest. Each is the same: begun, waiting for hooks, proceeding, there.

use std::time::Duration;

use super::hooks::{Action, Transition};
use super::{Member, Scaling};
use crate::support::cloud::{Ec2State, World};

/// From where to where (AS:ec2-auto-scaling-lifecycle, AS:warm-pool-instance-lifecycle).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Road {
    /// Into service. Out of a warm pool too: "when your Auto Scaling group scales out, Amazon EC2 Auto Scaling puts one or
    /// more warm pool instances into a wait state (Pending:Wait) before the instances transition into the InService state".
    Launch,
    /// New, into the warm pool: "a wait state (Warmed:Pending:Wait) before the instances transition into the Stopped or
    /// Running state".
    Warm,
    /// Out of service into the warm pool. The terminating hook is the one that it waits for.
    Return,
    /// Out of service, for good.
    Terminate,
    /// Out of the warm pool, for good.
    TerminateWarm,
}

impl Road {
    fn name(self) -> &'static str {
        match self {
            Self::Launch => "Pending",
            Self::Warm | Self::Return => "Warmed:Pending",
            Self::Terminate => "Terminating",
            Self::TerminateWarm => "Warmed:Terminating",
        }
    }

    fn transition(self) -> Transition {
        match self {
            Self::Launch | Self::Warm => Transition::Launching,
            Self::Return | Self::Terminate | Self::TerminateWarm => Transition::Terminating,
        }
    }

    /// `target-lifecycle-state`: a steady state, told from the moment when the instance "prepares to transition" to it
    /// (AS:retrieving-target-lifecycle-state-through-imds).
    fn target(self, scaling: &Scaling) -> &'static str {
        match self {
            Self::Launch => "InService",
            Self::Warm | Self::Return => scaling.warm_pool.map_or("Warmed:Stopped", super::WarmPool::state),
            Self::Terminate => "Terminated",
            Self::TerminateWarm => "Warmed:Terminated",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Begun,
    /// `:Wait`, until every action has ended.
    Waiting,
    /// `:Proceed`.
    Proceeding,
    /// EC2 shuts it down. The group says what it said before.
    ShuttingDown,
}

/// A way that an instance is on.
#[derive(Clone, Debug)]
pub(super) struct Journey {
    pub(super) road: Road,
    stage: Stage,
    /// When this stage ends by itself; None while it waits.
    due: Option<Duration>,
    pub(super) actions: Vec<Action>,
    /// Whether it ends in `:Retained`.
    pub(super) retained: bool,
}

impl Journey {
    pub(super) fn begin(road: Road, due: Duration) -> Self {
        Self { road, stage: Stage::Begun, due: Some(due), actions: Vec::new(), retained: false }
    }

    /// The moment at which something happens to it, if nobody does anything.
    pub(super) fn due(&self) -> Option<Duration> {
        self.due.into_iter().chain(self.actions.iter().map(Action::deadline)).min()
    }

    /// The hooks are done with.
    pub(super) fn proceed(&mut self, due: Duration) {
        (self.stage, self.due) = (Stage::Proceeding, Some(due));
    }

    fn suffix(&self) -> &'static str {
        match self.stage {
            Stage::Begun => "",
            Stage::Waiting => ":Wait",
            Stage::Proceeding | Stage::ShuttingDown => ":Proceed",
        }
    }
}

impl World {
    /// Puts a member on a road, whatever it was on before: a launch that is terminated waits for its launch hooks no more.
    pub(super) fn set_out(&mut self, group: &str, id: &str, road: Road) {
        let due = self.clock + self.scaling[group].delay;
        self.member_mut(group, id).journey = Some(Journey::begin(road, due));
        self.tell(group, id);
    }

    /// Sends a member away for good. One that is on its way out already stays on it, but for a retained one.
    pub(super) fn begin_leaving(&mut self, group: &str, id: &str) {
        let lifecycle = self.lifecycle(id).to_owned();
        let road = if lifecycle.starts_with("Warmed:") { Road::TerminateWarm } else { Road::Terminate };
        if lifecycle.ends_with(":Retained") {
            // Its hooks have had their time (chosen).
            self.set_out(group, id, road);
            self.shut_down(group, id);
        } else if !lifecycle.contains("Terminating") {
            self.set_out(group, id, road);
        }
    }

    /// Takes every step that is due.
    pub(super) fn move_on(&mut self, group: &str) {
        let now = self.clock;
        let due =
            |member: &Member| member.journey.as_ref().and_then(|journey| journey.due).is_some_and(|due| due <= now);
        let members = self.scaling[group].members.iter();
        let moving: Vec<_> = members.filter(|(_, member)| due(member)).map(|(id, _)| id.clone()).collect();
        for id in moving {
            self.take_step(group, &id);
        }
    }

    fn take_step(&mut self, group: &str, id: &str) {
        let journey = self.member_mut(group, id).journey.clone().expect("only who is on a road moves");
        match journey.stage {
            Stage::Begun => self.meet_hooks(group, id, journey.road),
            Stage::Waiting => {}
            Stage::Proceeding => self.arrive(group, id, &journey),
            Stage::ShuttingDown => self.leave(group, id),
        }
    }

    /// Waits for the hooks that the group has at this moment; where it has none there is no `:Wait` and no `:Proceed`.
    fn meet_hooks(&mut self, group: &str, id: &str, road: Road) {
        let instance = self.instance_mut(id);
        if instance.state == Ec2State::Pending {
            instance.state = Ec2State::Running;
        }
        let (now, scaling) = (self.clock, &self.scaling[group]);
        let hooks = scaling.hooks.iter().filter(|hook| hook.transition == road.transition());
        let actions: Vec<_> = hooks.map(|hook| Action::of(hook, now, scaling.lag)).collect();
        let journey = self.member_mut(group, id).journey.as_mut().expect("only who is on a road meets hooks");
        if actions.is_empty() {
            let journey = journey.clone();
            return self.arrive(group, id, &journey);
        }
        (journey.stage, journey.due, journey.actions) = (Stage::Waiting, None, actions);
        self.tell(group, id);
    }

    /// A retained one stays, after `:Proceed` (AS:manage-retained-instances).
    fn arrive(&mut self, group: &str, id: &str, journey: &Journey) {
        if journey.retained {
            let lifecycle = format!("{}:Retained", journey.road.name());
            return self.rest(group, id, &lifecycle);
        }
        match journey.road {
            Road::Launch => {
                let warm = self.clock + self.scaling[group].warmup;
                self.member_mut(group, id).warm = warm;
                self.rest(group, id, "InService");
            }
            Road::Warm | Road::Return => {
                let state = journey.road.target(&self.scaling[group]);
                if state == "Warmed:Stopped" {
                    self.instance_mut(id).state = Ec2State::Stopped;
                }
                self.rest(group, id, state);
            }
            Road::Terminate | Road::TerminateWarm => self.shut_down(group, id),
        }
    }

    fn rest(&mut self, group: &str, id: &str, lifecycle: &str) {
        self.member_mut(group, id).journey = None;
        self.set_lifecycle(id, lifecycle);
    }

    /// EC2 terminates it. What is gone already leaves the group at once.
    fn shut_down(&mut self, group: &str, id: &str) {
        let instance = self.instance_mut(id);
        if instance.state == Ec2State::Terminated {
            return self.leave(group, id);
        }
        instance.state = Ec2State::ShuttingDown;
        let due = self.clock + self.scaling[group].delay;
        let journey = self.member_mut(group, id).journey.as_mut().expect("only who is on a road is shut down");
        (journey.stage, journey.due) = (Stage::ShuttingDown, Some(due));
    }

    fn leave(&mut self, group: &str, id: &str) {
        self.terminate(id);
        self.scaling_mut(group).members.remove(id);
    }

    /// Shows where on its road a member is, to those who ask the API and to its own metadata.
    pub(super) fn tell(&mut self, group: &str, id: &str) {
        let scaling = &self.scaling[group];
        let journey = scaling.members[id].journey.as_ref().expect("only who is on a road is told of");
        let (road, suffix) = (journey.road, journey.suffix());
        let target = road.target(scaling);
        let place = self.instance_mut(id).place.as_mut().expect("a member is in its group");
        place.lifecycle = format!("{}{suffix}", road.name());
        target.clone_into(&mut place.target);
    }

    pub(super) fn lifecycle(&self, id: &str) -> &str {
        let place = self.instance(id).and_then(|instance| instance.place.as_ref());
        place.map_or("", |place| &place.lifecycle)
    }

    pub(super) fn member_mut(&mut self, group: &str, id: &str) -> &mut Member {
        self.scaling_mut(group).members.get_mut(id).expect("the instance is a member")
    }
}
