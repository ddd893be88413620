//! Auto Scaling groups that act on the [`World`]: they launch, terminate and replace, and wait for their lifecycle
//! hooks. Nothing happens by itself: a test moves the clock with [`World::advance`].
//!
//! A group acts once [`World::act`] has told how. Any other group stays a list that the test writes.
//!
//! Where the rules come from: `AS:x` is the page x of docs.aws.amazon.com/autoscaling/ec2/userguide, `API:x` that of
//! docs.aws.amazon.com/autoscaling/ec2/APIReference, `EC2:x` that of docs.aws.amazon.com/AWSEC2/latest/UserGuide, read
//! on 2026-11-26 from stored copies (the user guide also from awsdocs/amazon-ec2-auto-scaling-user-guide@0b8b3ae);
//! `SDK:x` is the text in aws-sdk-autoscaling 1.140.0, `src/types/x`. "Seen" is what a third party made of its captures of
//! real Auto Scaling: radkawar/stackd@9dc356f, `internal/services/autoscaling` and `testdata/aws/autoscaling`. "Chosen" is
//! what nobody tells: there the fake does what is harder for the agent. We compared none of it with AWS.

mod capacity;
mod hooks;
mod journey;
pub mod refresh;

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};

use super::cloud::{Ec2State, InstanceId, World};

pub use hooks::{Hook, Outcome};
use journey::Journey;
use refresh::Refresh;

/// How a group acts, and what it is doing.
#[derive(Clone, Debug)]
pub struct Scaling {
    pub hooks: Vec<Hook>,
    /// `DefaultInstanceWarmup`: how long after `InService` an instance counts as ready for a refresh.
    pub warmup: Duration,
    /// `TerminateHookAbandon=retain` (API:RetentionTriggers).
    pub retains: bool,
    /// Capacity Rebalancing.
    pub rebalances: bool,
    pub warm_pool: Option<WarmPool>,
    /// How long each step of an instance takes.
    pub delay: Duration,
    /// How long `CompleteLifecycleAction` and `RecordLifecycleActionHeartbeat` refuse although the group already says
    /// `:Wait`. Happens on AWS: PrairieLearn/PrairieLearn#15586.
    pub lag: Duration,
    /// The version of the launch template that the next instance is launched by.
    pub template: u32,
    /// Which addresses launched instances get, in this order. A group without any launches nothing.
    pub addresses: VecDeque<Ipv4Addr>,
    /// The last refresh, also once it has ended.
    pub refresh: Option<Refresh>,
    pub members: BTreeMap<InstanceId, Member>,
}

impl Default for Scaling {
    fn default() -> Self {
        Self {
            hooks: Vec::new(),
            warmup: Duration::ZERO,
            retains: false,
            rebalances: false,
            warm_pool: None,
            delay: Duration::from_millis(200),
            lag: Duration::ZERO,
            template: 1,
            addresses: VecDeque::new(),
            refresh: None,
            members: BTreeMap::new(),
        }
    }
}

/// A warm pool (AS:ec2-auto-scaling-warm-pools).
#[derive(Clone, Copy, Debug)]
pub struct WarmPool {
    /// `MaxGroupPreparedCapacity`: the pool is what is missing from the desired capacity to this many.
    pub prepared: u32,
    /// Whether its instances run (`Warmed:Running`) or are stopped (`Warmed:Stopped`).
    pub running: bool,
    /// `ReuseOnScaleIn`: whether a scale-in returns instances to the pool.
    pub reuses: bool,
}

impl WarmPool {
    fn state(self) -> &'static str {
        if self.running { "Warmed:Running" } else { "Warmed:Stopped" }
    }
}

/// What the group knows of an instance and tells nobody.
#[derive(Clone, Debug)]
pub struct Member {
    template: u32,
    /// None at rest.
    journey: Option<Journey>,
    /// When its warm-up ends.
    warm: Duration,
}

/// What the metadata service tells of an instance's future.
#[derive(Clone, Debug, Default)]
pub struct Notices {
    pub spot: Option<Interruption>,
    /// Since when the instance has a rebalance recommendation.
    pub rebalance: Option<SystemTime>,
    /// The entries of `events/maintenance/scheduled`, as JSON.
    pub maintenance: Vec<serde_json::Value>,
}

/// A notice of a spot interruption.
#[derive(Clone, Debug)]
pub struct Interruption {
    /// `terminate` or `stop`.
    pub action: &'static str,
    /// What the notice says.
    pub time: SystemTime,
    /// The same on the world's clock. None once it has happened.
    due: Option<Duration>,
}

/// "A warning that is issued two minutes before Amazon EC2 stops or terminates your Spot Instance"
/// (EC2:spot-instance-termination-notices).
const NOTICE: Duration = Duration::from_secs(120);

impl World {
    /// Makes a group act from now on. The instances that it has are as if it had launched them.
    ///
    /// # Panics
    /// When the group was not created.
    pub fn act(&mut self, group: &str, mut scaling: Scaling) {
        assert!(self.groups.contains_key(group), "the group was created");
        let in_group = self.instances.iter().filter(|one| one.place.as_ref().is_some_and(|place| place.group == group));
        let member = Member { template: scaling.template, journey: None, warm: Duration::ZERO };
        scaling.members = in_group.map(|instance| (instance.id.clone(), member.clone())).collect();
        self.scaling.insert(group.to_owned(), scaling);
    }

    /// How this group acts, to be changed: its template, a hook, the lag.
    ///
    /// # Panics
    /// When it does not act.
    pub fn scaling_mut(&mut self, group: &str) -> &mut Scaling {
        self.scaling.get_mut(group).expect("the group acts")
    }

    /// Moves the clock, and does what becomes due on the way, each thing at its own time.
    pub fn advance(&mut self, by: Duration) {
        let end = self.clock + by;
        while self.next_due().is_some_and(|due| due <= end) {
            self.step();
        }
        self.clock = end;
    }

    /// Moves the clock to the next moment at which something happens, and lets it happen. False when nothing ever will
    /// without somebody else's doing.
    pub fn step(&mut self) -> bool {
        let Some(due) = self.next_due() else {
            return false;
        };
        self.clock = self.clock.max(due);
        for id in self.interrupted() {
            self.interrupt_now(&id);
        }
        let groups: Vec<_> = self.scaling.keys().cloned().collect();
        for group in &groups {
            self.expire_actions(group);
            self.move_on(group);
            self.reconcile(group);
        }
        true
    }

    /// When the next thing happens; now, where a group would do something at once.
    fn next_due(&self) -> Option<Duration> {
        let interruptions = self.notices.values().filter_map(|notices| notices.spot.as_ref()?.due);
        let of_groups = self.scaling.iter().flat_map(|(name, scaling)| {
            let members = scaling.members.values();
            let journeys = members.clone().filter_map(|member| member.journey.as_ref()?.due());
            let warm = members.map(|member| member.warm).filter(|warm| *warm > self.clock);
            let refresh = scaling.refresh.as_ref().and_then(Refresh::gives_up);
            let at_once = self.would_act(name).then_some(self.clock);
            journeys.chain(warm).chain(refresh).chain(at_once)
        });
        interruptions.chain(of_groups).min()
    }

    /// Whether a group would change something without any time going by.
    fn would_act(&self, group: &str) -> bool {
        self.clone().reconcile(group)
    }

    /// Does all that the group does at this moment. Returns whether there was anything.
    fn reconcile(&mut self, group: &str) -> bool {
        let mut acted = false;
        while self.forget_strangers(group)
            || self.replace_unhealthy(group)
            || self.refresh_one(group)
            || self.fit_capacity(group)
            || self.fit_warm_pool(group)
        {
            acted = true;
        }
        acted
    }

    /// Announces that the instance will be interrupted in two minutes: `terminate` or `stop`. With Capacity Rebalancing
    /// "Amazon EC2 Auto Scaling calls the termination lifecycle hook and attempts to launch a replacement immediately";
    /// without, it "doesn't replace Spot Instances until after the Amazon EC2 Spot service interrupts the instances and
    /// their health check fails" (AS:ec2-auto-scaling-capacity-rebalancing). "A lifecycle hook does not prevent" the
    /// interruption, and "you must still complete the lifecycle action" (AS:lifecycle-hooks).
    pub fn announce_interruption(&mut self, id: &str, action: &'static str) {
        let due = Some(self.clock + NOTICE);
        let notice = Interruption { action, time: SystemTime::now() + NOTICE, due };
        self.notices.entry(id.to_owned()).or_default().spot = Some(notice);
        if let Some(group) = self.acting_group_of(id).filter(|group| self.scaling[group].rebalances) {
            self.begin_leaving(&group, id);
        }
    }

    /// Whose spot notice has run out.
    fn interrupted(&self) -> Vec<InstanceId> {
        let due =
            |notices: &Notices| notices.spot.as_ref().and_then(|spot| spot.due).is_some_and(|due| due <= self.clock);
        self.notices.iter().filter(|(_, notices)| due(notices)).map(|(id, _)| id.clone()).collect()
    }

    fn interrupt_now(&mut self, id: &str) {
        let spot = self.notices.get_mut(id).and_then(|notices| notices.spot.as_mut());
        let spot = spot.expect("only who has a notice is interrupted");
        spot.due = None;
        match spot.action {
            "terminate" => self.terminate_by_hand(id),
            _ => self.instance_mut(id).state = Ec2State::Stopped,
        }
    }

    /// Terminates an instance past its group, as the EC2 console does: "EC2 will terminate the instance first", and the
    /// group finds out later and runs the hook (getsocial-rnd/ecs-drain-lambda#6).
    pub fn terminate_by_hand(&mut self, id: &str) {
        let instance = self.instance_mut(id);
        instance.state = Ec2State::Terminated;
        instance.address = None;
    }

    /// `TerminateInstanceInAutoScalingGroup` without a smaller desired capacity. A retained instance goes at once: it
    /// remains "until you call TerminateInstanceInAutoScalingGroup" (API:RetentionTriggers).
    ///
    /// # Panics
    /// When the instance is in no group that acts.
    pub fn terminate_in_group(&mut self, id: &str) {
        let group = self.acting_group_of(id).expect("the instance is in a group that acts");
        self.begin_leaving(&group, id);
    }

    fn acting_group_of(&self, id: &str) -> Option<String> {
        let group = self.instance(id)?.place.as_ref()?.group.clone();
        self.scaling.contains_key(&group).then_some(group)
    }

    /// The lifecycle states of the group's instances, in the order of their launch.
    pub fn lifecycles(&self, group: &str) -> Vec<&str> {
        let places = self.instances.iter().filter_map(|instance| instance.place.as_ref());
        places.filter(|place| place.group == group).map(|place| place.lifecycle.as_str()).collect()
    }
}
