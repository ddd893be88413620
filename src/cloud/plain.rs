//! Instances that no Auto Scaling group launches. A tag is their group, and the group's tags are on each of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use aws_sdk_ec2::types::{Instance, Reservation};

use super::Place;
use super::aws::CallError;
use crate::errors::Failed;
use crate::model::{
    BlindKind, CLUSTER_TAG, Ec2State, FOUNDING_TAG, Group, InstanceId, InstanceTag, LifecycleState, Plain,
    REPLACED_TAG, read_replaced,
};

/// The group's tags. Nothing writes the founding's: see [`Plain`].
const MARKS: [&str; 3] = [CLUSTER_TAG, FOUNDING_TAG, REPLACED_TAG];

/// The instances that have a tag, in one VPC. That of a terminated one is not known any more.
pub(super) struct Tagged<'a> {
    tag: &'a InstanceTag,
    /// `region:owner:VPC`.
    place: String,
    instances: Vec<&'a Instance>,
}

impl<'a> Tagged<'a> {
    /// Those of this node's VPC; where it has no such tag, as a consumer's has not, or is no instance, those of the only VPC
    /// that has some.
    ///
    /// # Errors
    /// `Absent` where there are none, `Ambiguous` where several VPCs have some.
    pub(super) fn of(reply: &'a [Reservation], tag: &'a InstanceTag, place: &Place) -> Result<Self, CallError> {
        // EC2 takes the value for a pattern: what is no such tag is left out.
        let has_it = |i: &&Instance| value(i, &tag.key) == Some(&tag.value);
        let all = || reply.iter().flat_map(Reservation::instances).filter(has_it);
        let mine = all().find(|i| place.instance.is_some() && id(i) == place.instance).and_then(Instance::vpc_id);
        let vpcs: BTreeSet<&str> = match mine {
            Some(mine) => BTreeSet::from([mine]),
            None => all().filter_map(Instance::vpc_id).collect(),
        };
        let vpc =
            *vpcs.first().ok_or_else(|| refused(BlindKind::Absent, tag, "no instance has this tag".to_owned()))?;
        if vpcs.len() > 1 {
            let vpcs = vpcs.into_iter().collect::<Vec<_>>().join(", ");
            let why = format!("instances of several VPCs have this tag, and this one has not: {vpcs}");
            return Err(refused(BlindKind::Ambiguous, tag, why));
        }
        let owner = reply.iter().find_map(Reservation::owner_id).unwrap_or_default();
        // The addresses of another VPC may be the same, and are others.
        let instances = all().filter(|i| i.vpc_id().is_none_or(|of| of == vpc)).collect();
        Ok(Self { tag, place: format!("{}:{owner}:{vpc}", place.region), instances })
    }

    /// The instances, as EC2 has them.
    pub(super) fn instances(&self) -> impl Iterator<Item = &'a Instance> {
        self.instances.iter().copied()
    }

    /// Those that are there, or may come back.
    pub(super) fn staying(&self) -> impl Iterator<Item = &'a Instance> {
        self.instances().filter(|i| !state(i).has_ended())
    }

    /// The group's tags: what any of those has, or else the one of them that was launched last, for as long as EC2 knows
    /// it (about an hour: EC2 user guide, "Terminate an instance", read 2026-11-27).
    ///
    /// # Errors
    /// `Ambiguous` where two do not have the same.
    pub(super) fn marks(&self) -> Result<BTreeMap<String, String>, CallError> {
        let mut marks: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
        for (i, key, mark) in self.staying().flat_map(|i| marks_of(i).map(move |(key, mark)| (i, key, mark))) {
            let id = i.instance_id().unwrap_or_default();
            let (other, theirs) = *marks.entry(key).or_insert((id, mark));
            if theirs != mark {
                let why = format!(
                    "the tag {key} of {other} is '{theirs}' and that of {id} is '{mark}': remove the wrong one"
                );
                return Err(refused(BlindKind::Ambiguous, self.tag, why));
            }
        }
        let owned = |(key, mark): (&str, &str)| (key.to_owned(), mark.to_owned());
        if !marks.is_empty() {
            return Ok(marks.into_iter().map(|(key, (_, mark))| owned((key, mark))).collect());
        }
        let marked = self.instances().filter(|i| marks_of(i).next().is_some());
        let last = marked.max_by_key(|i| i.launch_time().map(|at| at.secs()));
        Ok(last.into_iter().flat_map(marks_of).map(owned).collect())
    }

    /// What stands for the Auto Scaling group.
    ///
    /// # Errors
    /// As [`Tagged::marks`].
    pub(super) fn group(&self, size: usize, read_at: SystemTime, date: Option<SystemTime>) -> Result<Group, CallError> {
        let mut marks = self.marks()?;
        let unmarked = self.staying().filter(|i| value(i, CLUSTER_TAG).is_none()).filter_map(id);
        Ok(Group {
            name: self.tag.to_string(),
            arn: format!("{}:{}", self.place, self.tag),
            desired: size,
            cluster_tag: marks.remove(CLUSTER_TAG),
            founding_tag: marks.remove(FOUNDING_TAG),
            replaced: marks.remove(REPLACED_TAG).map(|tag| read_replaced(&tag)).unwrap_or_default(),
            instances: self.instances().filter_map(|i| Some((id(i)?, lifecycle(&state(i))?))).collect(),
            plain: Some(Plain { unmarked: unmarked.collect() }),
            read_at,
            date,
        })
    }
}

fn refused(kind: BlindKind, tag: &InstanceTag, why: String) -> CallError {
    CallError::new(kind, Failed::new("look for the instances with the tag", tag, why))
}

pub(super) fn id(i: &Instance) -> Option<InstanceId> {
    i.instance_id().map(InstanceId::new)
}

pub(super) fn state(i: &Instance) -> Ec2State {
    i.state().and_then(|s| s.name()).map(|n| n.as_str()).unwrap_or_default().into()
}

/// Where an instance would be in a group's life cycle; None once it is terminated. One that is stopped is there again
/// when it is started, and is no founder until then.
fn lifecycle(state: &Ec2State) -> Option<LifecycleState> {
    match state {
        Ec2State::Pending | Ec2State::Running => Some(LifecycleState::InService),
        Ec2State::ShuttingDown => Some(LifecycleState::Terminating),
        Ec2State::Terminated => None,
        Ec2State::Stopping | Ec2State::Stopped | Ec2State::Other(_) => Some(LifecycleState::from(state.as_str())),
    }
}

fn value<'a>(i: &'a Instance, key: &str) -> Option<&'a str> {
    i.tags().iter().find(|tag| tag.key() == Some(key)).and_then(|tag| tag.value())
}

fn marks_of(i: &Instance) -> impl Iterator<Item = (&'static str, &str)> {
    MARKS.into_iter().filter_map(|key| Some((key, value(i, key)?)))
}
