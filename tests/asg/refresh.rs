//! Instance refresh: who is replaced when, and how many are in service meanwhile.

use super::*;
use crate::support::asg::refresh::{Preferences, Status};

impl Lab {
    fn start(&self, preferences: Preferences) {
        self.change(|world| world.start_refresh(GROUP, preferences));
    }

    fn status(&self) -> Option<Status> {
        self.rig.cloud.now().refresh_status(GROUP)
    }

    /// Moves on event by event until the refresh has ended. Returns each change of how many are in service, on their way
    /// in, and on their way out.
    fn watch(&self) -> Vec<[usize; 3]> {
        let mut seen = vec![self.counts()];
        while self.status() == Some(Status::InProgress) {
            assert!(self.change(World::step), "{:?}", self.lifecycles());
            let counts = self.counts();
            if seen.last() != Some(&counts) {
                seen.push(counts);
            }
        }
        seen
    }

    fn counts(&self) -> [usize; 3] {
        let states = self.lifecycles();
        ["InService", "Pending", "Terminating"].map(|of| states.iter().filter(|state| state.starts_with(of)).count())
    }
}

/// 3→4→3: one in, then one out, at every step at least the desired capacity in service.
#[tokio::test]
async fn launch_first_exceeds_the_desired_capacity_by_one_and_never_falls_below_it() {
    for desired in [1, 3, 5] {
        let lab = Lab::settled(desired, Scaling { warmup: seconds(120), ..Scaling::default() });
        let old = lab.members();
        lab.start(Preferences::LAUNCH_FIRST);
        let desired = desired as usize;
        let mut expected = vec![[desired, 0, 0], [desired, 1, 0], [desired + 1, 0, 0]];
        for _ in 1..desired {
            // The next launch comes with the termination: nobody waits for leavers.
            expected.extend([[desired, 1, 1], [desired + 1, 0, 1], [desired + 1, 0, 0]]);
        }
        expected.push([desired, 0, 1]);
        assert_eq!(lab.watch(), expected);
        assert_eq!(lab.status(), Some(Status::Successful));
        lab.advance(seconds(1));
        assert_eq!(lab.lifecycles(), vec!["InService"; desired]);
        assert!(lab.members().iter().all(|id| !old.contains(id)));
    }
}

/// 3→2→3, with AWS's defaults: out and in at the same time, one less in service.
#[tokio::test]
async fn by_default_one_is_terminated_and_its_replacement_launched_at_the_same_time() {
    for desired in [1, 3, 5] {
        let lab = Lab::settled(desired, Scaling { warmup: seconds(120), ..Scaling::default() });
        let old = lab.members();
        lab.start(Preferences::default());
        let desired = desired as usize;
        let mut expected = vec![[desired, 0, 0]];
        for _ in 0..desired {
            expected.extend([[desired - 1, 1, 1], [desired, 0, 1], [desired, 0, 0]]);
        }
        assert_eq!(lab.watch(), expected);
        assert_eq!(lab.status(), Some(Status::Successful));
        lab.advance(seconds(1));
        assert!(lab.members().iter().all(|id| !old.contains(id)));
    }
}

/// What the first step does, by the percentages: the order and the number at a time.
#[tokio::test]
async fn the_percentages_say_how_many_go_and_in_which_order() {
    for (desired, min, max, first) in [
        // As many in service, coming and going after the first step.
        (3, 90, None, [2, 1, 1]),
        (3, 100, None, [2, 1, 1]),
        (3, 100, Some(100), [3, 1, 0]),
        (3, 90, Some(100), [3, 1, 0]),
        (3, 100, Some(110), [3, 1, 0]),
        (3, 100, Some(200), [3, 3, 0]),
        (3, 50, None, [2, 1, 1]),
        (3, 50, Some(100), [2, 1, 1]),
        (3, 0, None, [0, 3, 3]),
        (5, 100, Some(110), [5, 1, 0]),
        (10, 100, Some(120), [10, 2, 0]),
        (10, 80, None, [8, 2, 2]),
        (10, 90, None, [9, 1, 1]),
    ] {
        let lab = Lab::settled(desired, Scaling::default());
        lab.start(Preferences { min, max, skip_matching: false });
        lab.advance(Duration::ZERO);
        assert_eq!(lab.counts(), first, "{desired} {min} {max:?}");
    }
}

#[tokio::test]
async fn a_refresh_waits_for_the_launch_hook_and_for_the_warm_up_and_not_for_leavers() {
    let lab = Lab::settled(3, Scaling { warmup: seconds(120), ..both_hooks() });
    lab.start(Preferences::LAUNCH_FIRST);
    lab.advance(seconds(50));
    assert_eq!(lab.counts(), [3, 1, 0]);
    let new = &lab.members()[3];
    lab.change(|world| world.complete(GROUP, LAUNCH, new, Outcome::Continue)).unwrap();
    lab.step();
    assert_eq!(lab.counts(), [4, 0, 0]);
    lab.advance(seconds(119));
    assert_eq!(lab.counts(), [4, 0, 0]);
    lab.advance(seconds(1));
    assert_eq!(lab.counts(), [3, 1, 1]);
    lab.step();
    assert_eq!(lab.lifecycles(), ["Terminating:Wait", "InService", "InService", "InService", "Pending:Wait"]);
}

#[tokio::test]
async fn a_refresh_that_cannot_go_on_fails_after_an_hour() {
    let hooks = vec![Hook::launching(LAUNCH, seconds(7200), Outcome::Abandon)];
    let lab = Lab::settled(3, Scaling { hooks, ..Scaling::default() });
    lab.start(Preferences::LAUNCH_FIRST);
    lab.advance(seconds(3599));
    assert_eq!(lab.status(), Some(Status::InProgress));
    lab.advance(seconds(1));
    assert_eq!(lab.status(), Some(Status::Failed));
    // Who came for it is one too many now.
    lab.change(|world| world.complete(GROUP, LAUNCH, &world.instances[3].id.clone(), Outcome::Continue)).unwrap();
    lab.advance(seconds(2));
    assert_eq!(lab.counts(), [3, 0, 0]);
}

#[tokio::test]
async fn what_a_cancelled_refresh_has_begun_goes_on_and_nothing_more_begins() {
    let lab = Lab::settled(3, Scaling::default());
    let old = lab.members();
    lab.start(Preferences::default());
    lab.advance(Duration::ZERO);
    lab.change(|world| world.cancel_refresh(GROUP));
    lab.advance(Duration::from_hours(2));
    assert_eq!(lab.status(), Some(Status::Cancelled));
    assert_eq!(lab.counts(), [3, 0, 0]);
    assert_eq!(lab.members()[..2], old[1..]);
}

#[tokio::test]
async fn with_skip_matching_who_has_the_present_template_stays() {
    let lab = Lab::settled(2, Scaling::default());
    lab.change(|world| {
        world.scaling_mut(GROUP).template = 2;
        world.set_desired(GROUP, 3);
    });
    lab.advance(seconds(1));
    let matching = lab.members()[2].clone();
    lab.start(Preferences { skip_matching: true, ..Preferences::LAUNCH_FIRST });
    lab.watch();
    lab.advance(seconds(1));
    assert_eq!(lab.members()[0], matching);
    assert_eq!(lab.counts(), [3, 0, 0]);
}

/// A broken image: joiners that never complete their launch hook, in both orders.
#[tokio::test]
async fn a_broken_image_stops_a_refresh_at_its_first_replacement_unless_the_hook_says_continue() {
    let refresh = |default, preferences| {
        let hooks = vec![launch_hook(default), terminate_hook(Outcome::Continue)];
        let lab = Lab::settled(3, Scaling { hooks, ..Scaling::default() });
        let old = lab.members();
        lab.start(preferences);
        lab.watch();
        let world = lab.rig.cloud.now();
        let in_service = |id: &&String| world.ready(GROUP).contains(id);
        (lab.status(), old.iter().filter(in_service).count())
    };
    let failed = Some(Status::Failed);
    assert_eq!(refresh(Outcome::Abandon, Preferences::LAUNCH_FIRST), (failed, 3));
    assert_eq!(refresh(Outcome::Abandon, Preferences::default()), (failed, 2));
    // With CONTINUE everything is replaced by what does not work.
    assert_eq!(refresh(Outcome::Continue, Preferences::LAUNCH_FIRST), (Some(Status::Successful), 0));
}
