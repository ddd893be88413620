//! Wrong rules, made on the input or the output of the shipped `decide`.

use etcd_bootstrap::model::{Decision, Observation, Policy};

pub struct Mutation {
    pub input: fn(&mut Observation, &mut Policy),
    pub output: fn(&Observation, Decision) -> Decision,
}
