//! The states of instances, in AWS's words. The sets of words grow: what is not known is kept as it came.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! state {
    ($(#[$doc:meta])* $name:ident { $($variant:ident => $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(into = "String", from = "String")]
        pub enum $name {
            $(#[doc = concat!("`", $word, "`.")] $variant,)+
            /// None of these words.
            Other(String),
        }

        impl $name {
            /// The word as AWS writes it.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)+
                    Self::Other(word) => word,
                }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::Other(String::new())
            }
        }

        impl From<&str> for $name {
            fn from(word: &str) -> Self {
                match word {
                    $($word => Self::$variant,)+
                    other => Self::Other(other.to_owned()),
                }
            }
        }

        impl From<String> for $name {
            fn from(word: String) -> Self {
                Self::from(word.as_str())
            }
        }

        impl From<$name> for String {
            fn from(state: $name) -> Self {
                state.as_str().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

state! {
    /// The state of an EC2 instance (EC2 API reference, `InstanceState`, read 2026-11-26).
    Ec2State {
        Pending => "pending",
        Running => "running",
        ShuttingDown => "shutting-down",
        Terminated => "terminated",
        Stopping => "stopping",
        Stopped => "stopped",
    }
}

state! {
    /// Where an instance is in its group's life cycle (Auto Scaling user guide, "Amazon EC2 Auto Scaling instance
    /// lifecycle", read 2026-11-26).
    LifecycleState {
        Pending => "Pending",
        PendingWait => "Pending:Wait",
        PendingProceed => "Pending:Proceed",
        InService => "InService",
        Terminating => "Terminating",
        TerminatingWait => "Terminating:Wait",
        TerminatingProceed => "Terminating:Proceed",
        TerminatingRetained => "Terminating:Retained",
        Terminated => "Terminated",
        EnteringStandby => "EnteringStandby",
        Standby => "Standby",
        Detaching => "Detaching",
        Detached => "Detached",
        WarmedPending => "Warmed:Pending",
        WarmedPendingWait => "Warmed:Pending:Wait",
        WarmedPendingProceed => "Warmed:Pending:Proceed",
        WarmedRunning => "Warmed:Running",
        WarmedStopped => "Warmed:Stopped",
        WarmedHibernated => "Warmed:Hibernated",
        WarmedTerminating => "Warmed:Terminating",
        WarmedTerminatingWait => "Warmed:Terminating:Wait",
        WarmedTerminatingProceed => "Warmed:Terminating:Proceed",
        WarmedTerminated => "Warmed:Terminated",
    }
}

state! {
    /// What a lifecycle hook holds up (Auto Scaling API reference, `LifecycleHook`, read 2026-11-26).
    Transition {
        Launching => "autoscaling:EC2_INSTANCE_LAUNCHING",
        Terminating => "autoscaling:EC2_INSTANCE_TERMINATING",
    }
}

state! {
    /// What becomes of an interrupted spot instance (EC2 user guide, "Spot Instance interruption notices", read
    /// 2026-11-26).
    Interruption {
        Terminate => "terminate",
        Stop => "stop",
        Hibernate => "hibernate",
    }
}

impl Ec2State {
    /// Whether the instance is gone for good or will be (F37).
    pub fn has_ended(&self) -> bool {
        matches!(self, Self::ShuttingDown | Self::Terminated)
    }
}

impl LifecycleState {
    /// Whether the instance is or will be part of the group. States that are not known are kept and not counted (F43).
    pub fn counts_for_group(&self) -> bool {
        matches!(self, Self::Pending | Self::PendingWait | Self::PendingProceed | Self::InService)
    }

    /// Whether the group terminates the instance, which "can't be put back into service" (Auto Scaling user guide, "Amazon
    /// EC2 Auto Scaling instance lifecycle"). One in the warm pool has never been in service, or is told as a target.
    pub fn is_terminating(&self) -> bool {
        *self == Self::Terminated || *self == Self::Terminating || self.as_str().starts_with("Terminating:")
    }

    /// Whether a person has taken the instance out of service, or does so.
    pub fn is_set_aside(&self) -> bool {
        matches!(self, Self::EnteringStandby | Self::Standby | Self::Detaching | Self::Detached)
    }

    /// Whether the instance leaves the warm pool by way of termination.
    pub fn leaves_warm_pool(&self) -> bool {
        *self == Self::WarmedTerminated || self.as_str().starts_with("Warmed:Terminating")
    }

    /// Whether the instance waits for a hook of this transition. A member that goes back into the warm pool waits there for
    /// the terminating one (Auto Scaling user guide, "Lifecycle state transitions for instances in a warm pool", read
    /// 2026-11-26).
    pub fn waits_for(&self, transition: &Transition) -> bool {
        self.waits_for_hook()
            && match transition {
                Transition::Launching => matches!(self, Self::PendingWait | Self::WarmedPendingWait),
                Transition::Terminating | Transition::Other(_) => *self != Self::PendingWait,
            }
    }

    /// Whether the instance waits for a lifecycle hook.
    pub fn waits_for_hook(&self) -> bool {
        self.as_str().ends_with(":Wait")
    }

    /// Whether its root volume is being replaced: it comes back with its address, and maybe with its data (Auto Scaling
    /// user guide, "Replace root volume", read 2026-11-26).
    pub fn replaces_root_volume(&self) -> bool {
        self.as_str().starts_with("ReplacingRootVolume")
    }

    /// Whether the instance waits in the warm pool, or leaves it by way of termination (F69).
    pub fn is_warm(&self) -> bool {
        self.as_str().starts_with("Warmed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f43_a_state_that_is_not_known_is_kept_as_it_came_and_not_counted() {
        for word in ["Quarantined", "Warmed:Somehow", ""] {
            let state = LifecycleState::from(word);
            assert_eq!((state.as_str(), state.counts_for_group()), (word, false));
            let saved = serde_json::to_string(&state).expect("a word");
            assert_eq!(serde_json::from_str::<LifecycleState>(&saved).expect("as it was written"), state);
        }
        assert!(LifecycleState::from("Warmed:Somehow").is_warm());
        assert!(LifecycleState::from("Pending:Wait").counts_for_group());
        assert!(Ec2State::from("shutting-down").has_ended() && !Ec2State::from("stopping").has_ended());
    }
}
