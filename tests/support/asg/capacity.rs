//! How many instances a group has, and whom it launches and sends away for that.

use super::Member;
use super::journey::Road;
use crate::support::cloud::{Ec2State, InstanceId, World};

impl World {
    /// Drops who is in the group no more by somebody else's doing. Returns whether there was anybody.
    pub(super) fn forget_strangers(&mut self, group: &str) -> bool {
        let members = self.scaling[group].members.keys();
        let gone: Vec<_> = members.filter(|id| self.lifecycle(id).is_empty()).cloned().collect();
        for id in &gone {
            self.scaling_mut(group).members.remove(id);
        }
        !gone.is_empty()
    }

    /// Sends away one whom EC2 does not call running: terminated, stopped and what leads there is unhealthy
    /// (AS:ec2-auto-scaling-health-checks). It is replaced at once, whatever the maintenance policy says: "terminate and
    /// launch" (AS:instance-maintenance-policy-overview-and-considerations). Standby is not looked at.
    pub(super) fn replace_unhealthy(&mut self, group: &str) -> bool {
        let unhealthy = self.counted(group).into_iter().find(|id| {
            let state = self.instance(id).map(|instance| instance.state);
            !matches!(state, Some(Ec2State::Pending | Ec2State::Running))
        });
        unhealthy.inspect(|id| self.begin_leaving(group, id)).is_some()
    }

    /// Launches or sends away one, where the group has too few or too many. Instances that terminate, stand by, are
    /// retained or warmed do not count: with a terminating hook the replacement is launched at once
    /// (AutoSpotting#354, and seen). Others that wait for a launch hook do count, and delay nobody.
    pub(super) fn fit_capacity(&mut self, group: &str) -> bool {
        let (has, wants) = (self.counted(group).len(), self.groups[group].desired as usize);
        if has < wants {
            self.launch_one(group)
        } else if has > wants.max(self.refresh_ceiling(group)) {
            self.scale_in(group)
        } else {
            false
        }
    }

    /// From the warm pool, and only "if the demand on your application depletes the warm pool" a new instance "directly into
    /// the Auto Scaling group" (AS:warm-pool-instance-lifecycle).
    pub(super) fn launch_one(&mut self, group: &str) -> bool {
        let warmed = self.at_rest(group, |lifecycle| matches!(lifecycle, "Warmed:Stopped" | "Warmed:Running"));
        if let Some(id) = warmed.into_iter().next() {
            self.instance_mut(&id).state = Ec2State::Running;
            self.set_out(group, &id, Road::Launch);
            return true;
        }
        self.launch_new(group, Road::Launch)
    }

    fn launch_new(&mut self, group: &str, road: Road) -> bool {
        let scaling = self.scaling_mut(group);
        let Some(address) = scaling.addresses.pop_front() else {
            return false;
        };
        let template = scaling.template;
        let id = self.launch(Some(group), address);
        self.instance_mut(&id).state = Ec2State::Pending;
        let member = Member { template, journey: None, warm: self.clock };
        self.scaling_mut(group).members.insert(id.clone(), member);
        self.set_out(group, &id, road);
        true
    }

    /// Whose launch template is the oldest goes first, of those the one that was launched first (AS:ec2-auto-scaling-
    /// termination-policies, default policy, but for its Availability Zones). Only who is in service goes (chosen).
    fn scale_in(&mut self, group: &str) -> bool {
        let in_service = self.at_rest(group, |lifecycle| lifecycle == "InService");
        let Some(id) = in_service.into_iter().min_by_key(|id| self.scaling[group].members[id].template) else {
            return false;
        };
        if self.scaling[group].warm_pool.is_some_and(|pool| pool.reuses) {
            self.set_out(group, &id, Road::Return);
        } else {
            self.begin_leaving(group, &id);
        }
        true
    }

    /// Fills or empties the warm pool by one: Auto Scaling "uses the difference between the MaxGroupPreparedCapacity and the
    /// desired capacity" (SDK:_warm_pool_configuration.rs).
    pub(super) fn fit_warm_pool(&mut self, group: &str) -> bool {
        let Some(pool) = self.scaling[group].warm_pool else {
            return false;
        };
        let wants = pool.prepared.saturating_sub(self.groups[group].desired) as usize;
        let is_warm = |lifecycle: &str| {
            lifecycle.starts_with("Warmed:") && !lifecycle.contains("Terminating") && !lifecycle.ends_with(":Retained")
        };
        let has = self.of_group(group, is_warm).len();
        if has < wants {
            return self.launch_new(group, Road::Warm);
        }
        let resting = self.at_rest(group, is_warm).into_iter().next().filter(|_| has > wants);
        resting.inspect(|id| self.begin_leaving(group, id)).is_some()
    }

    /// Who counts towards the desired capacity.
    pub(super) fn counted(&self, group: &str) -> Vec<InstanceId> {
        self.of_group(group, |lifecycle| lifecycle == "InService" || lifecycle.starts_with("Pending"))
    }

    pub(super) fn at_rest(&self, group: &str, is: impl Fn(&str) -> bool) -> Vec<InstanceId> {
        let members = &self.scaling[group].members;
        let mut found = self.of_group(group, is);
        found.retain(|id| members[id].journey.is_none());
        found
    }

    /// The members in such a state, in the order of their launch.
    fn of_group(&self, group: &str, is: impl Fn(&str) -> bool) -> Vec<InstanceId> {
        let members = &self.scaling[group].members;
        let instances = self.instances.iter().filter(|instance| members.contains_key(&instance.id));
        instances.filter(|instance| is(self.lifecycle(&instance.id))).map(|instance| instance.id.clone()).collect()
    }
}
