//! When to look again, when AWS and etcd may be asked again, and when patience is over.

use std::time::Duration;

use tokio::time::Instant;

use crate::cloud::Freshness;
use crate::model::Change;

/// Two looks at the founders' port are this far apart, so that a change is seen soon; nothing of AWS is asked.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// After a minute of waiting nobody minds a second.
const LOOK_AGAIN_LATE: Duration = Duration::from_secs(1);
const LATE: Duration = Duration::from_secs(60);

/// A learner of a small cluster is in sync within a few of these. One that waits for a large snapshot looks at itself
/// again after a tenth of the time that it has waited for the same thing, and at most after the last.
const LOOK_AT_SELF: Duration = Duration::from_millis(100);
const LOOK_AT_SELF_LAST: Duration = Duration::from_secs(2);

/// AWS is asked again after this long at first, twice as long each time, and at most after the last: seven nodes that
/// wait for hours then make four calls a second at most, well below EC2's refill of 20 a second.
const ASK_AWS: Backoff = Backoff { first: Duration::from_millis(100), factor: (2, 1), last: Duration::from_secs(5) };
/// While AWS throttles, each pause is four times the one before it, up to this: its bucket is that of the whole account
/// and region, and other nodes repair their cluster with what is left in it (F66).
const ASK_AWS_THROTTLED: Backoff = Backoff { factor: (4, 1), last: Duration::from_secs(60), ..ASK_AWS };

/// A change that etcd refuses is asked for again after this long at first, a quarter longer each time, and at most after
/// the last. A new leader refuses every change for some five seconds: twice as long each time could double them.
const CHANGE_AGAIN: Backoff =
    Backoff { first: Duration::from_millis(500), factor: (5, 4), last: Duration::from_secs(5) };

/// A tag that could not be written beside etcd's start: some calls a minute of a whole group, which can go on for ever.
const TAG_AGAIN: Backoff = Backoff { first: Duration::from_secs(1), factor: (2, 1), last: Duration::from_secs(60) };

/// A group that is well is looked at this often at most, and this often at least: two calls of AWS each time, less than
/// four a minute and node. The metadata tell what is urgent. One that changes is asked about as AWS otherwise is.
const LOOK_AT_GROUP: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(40));

/// How pauses grow.
#[derive(Debug, Clone, Copy)]
struct Backoff {
    first: Duration,
    factor: (u32, u32),
    last: Duration,
}

impl Backoff {
    fn after(self, pause: Duration) -> Duration {
        (pause * self.factor.0 / self.factor.1).min(self.last)
    }
}

/// What a command looks at while it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rhythm {
    /// Founders and members, who say something new now and then.
    Others,
    /// The own etcd.
    Myself,
    /// The life of the instance and of its group.
    Life,
}

/// What makes it worth looking again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// AWS's next reply alone.
    SecondRead,
    /// Something is about to change.
    News,
    /// Nothing.
    None,
}

/// The clock of one loop: plain numbers, told the time by who sleeps.
pub struct Pace {
    rhythm: Rhythm,
    started: Instant,
    /// Since when the decision has its reason.
    reason_since: Instant,
    fresh: Freshness,
    ask_aws_at: Instant,
    ask_aws_after: Duration,
    /// Whether AWS's last reply was that it was asked too often.
    throttled: bool,
    change_at: Instant,
    change_after: Option<Duration>,
}

impl Pace {
    pub fn new(rhythm: Rhythm, now: Instant) -> Self {
        Self {
            rhythm,
            started: now,
            reason_since: now,
            fresh: Freshness::Fresh,
            ask_aws_at: now,
            ask_aws_after: ASK_AWS.first,
            throttled: false,
            change_at: now,
            change_after: None,
        }
    }

    /// Whether the next pass asks AWS.
    pub fn fresh(&self) -> Freshness {
        self.fresh
    }

    pub fn throttled(&self) -> bool {
        self.throttled
    }

    /// The reason of the decision is another one from now on.
    pub fn new_reason(&mut self, now: Instant) {
        self.reason_since = now;
    }

    /// Whether a reason has stood for longer than it is waited for; never where `patience` is None.
    pub fn patience_is_over(&self, patience: Option<Duration>, now: Instant) -> bool {
        patience.is_some_and(|patience| self.reason_stands(now) >= patience)
    }

    /// For how long the reason has been the same.
    pub fn reason_stands(&self, now: Instant) -> Duration {
        now - self.reason_since
    }

    /// AWS was asked at that moment, which tells when it is asked next.
    pub fn asked_aws(&mut self, asked: Instant, throttled: bool) {
        self.throttled = throttled;
        let backoff = if throttled { ASK_AWS_THROTTLED } else { ASK_AWS };
        let after = self.ask_aws_after.min(backoff.last);
        self.ask_aws_at = asked + half_to_all(after);
        self.ask_aws_after = backoff.after(after);
    }

    /// The next pass asks AWS, however soon it is.
    pub fn ask_aws_now(&mut self) {
        self.fresh = Freshness::Fresh;
    }

    /// A change has been made: something is new that AWS shows, or only this disk.
    pub fn changed(&mut self, change: &Change) {
        match change {
            Change::BeginRecord | Change::Agree(_) | Change::GiveUp { .. } => self.fresh = Freshness::LastReply,
            Change::Add { .. }
            | Change::Remove { .. }
            | Change::SetDataAside { .. }
            | Change::TagGroup { .. }
            | Change::Promote { .. }
            | Change::MoveLeader { .. }
            | Change::MarkLeft(_)
            | Change::CompleteHook { .. }
            | Change::KeepWaiting { .. } => {
                self.fresh = Freshness::Fresh;
                self.ask_aws_after = ASK_AWS.first;
                self.change_after = None;
            }
        }
    }

    /// A change was refused. Asking again at once would have AWS asked as well each time, for every change rests on a
    /// fresh reply (F104).
    pub fn refused(&mut self, change: &Change, now: Instant) {
        let (backoff, spread) = match (self.rhythm, change) {
            // It is refused until the learner is in sync, which is soon, and costs AWS nothing.
            (_, Change::Promote { .. }) => return,
            // All nodes of a fresh group are here in the same second.
            (Rhythm::Myself, Change::TagGroup { .. }) => (TAG_AGAIN, half_to_all as fn(Duration) -> Duration),
            (Rhythm::Others | Rhythm::Myself | Rhythm::Life, _) => {
                (CHANGE_AGAIN, std::convert::identity as fn(Duration) -> Duration)
            }
        };
        let after = self.change_after.map_or(backoff.first, |last| backoff.after(last));
        self.change_at = now + spread(after);
        self.change_after = Some(after);
    }

    /// Whether a change that was refused has to wait.
    pub fn change_rests(&self, now: Instant) -> bool {
        now < self.change_at
    }

    /// How long to wait until it is worth looking again.
    pub fn pause(&self, urgency: Urgency, now: Instant) -> Duration {
        match self.rhythm {
            Rhythm::Myself if self.change_rests(now) => self.change_at - now,
            Rhythm::Myself => ((now - self.reason_since) / 10).clamp(LOOK_AT_SELF, LOOK_AT_SELF_LAST),
            Rhythm::Others if urgency == Urgency::SecondRead => ASK_AWS.first,
            Rhythm::Life if urgency == Urgency::None && !self.throttled => {
                LOOK_AT_GROUP.0 + jitter(LOOK_AT_GROUP.1 - LOOK_AT_GROUP.0)
            }
            Rhythm::Life => (self.ask_aws_at - now).max(ASK_AWS.first),
            Rhythm::Others => {
                let look_again = if now - self.started > LATE { LOOK_AGAIN_LATE } else { LOOK_AGAIN };
                look_again / 2 + jitter(look_again)
            }
        }
    }

    /// The pause is over; `soon` is whether there is a reason to ask AWS soon.
    pub fn paused(&mut self, soon: bool, now: Instant) {
        if soon && !self.throttled {
            self.ask_aws_at = self.ask_aws_at.min(now + ASK_AWS.first);
        }
        self.fresh =
            if now >= self.ask_aws_at || self.rhythm == Rhythm::Life { Freshness::Fresh } else { Freshness::LastReply };
    }
}

/// A random part of a time.
pub fn jitter(most: Duration) -> Duration {
    most.mul_f64(fastrand::f64())
}

fn half_to_all(time: Duration) -> Duration {
    time / 2 + jitter(time / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn removal() -> Change {
        let via = "http://10.0.0.1:2379".parse().expect("a URL");
        Change::Remove { member: crate::model::MemberId(1), via }
    }

    /// How often a loop that only waits asks AWS within this time; the end of it is `now`.
    fn asks(pace: &mut Pace, now: &mut Instant, time: Duration, throttled: bool) -> usize {
        let end = *now + time;
        let mut asks = 0;
        while *now < end {
            if pace.fresh() == Freshness::Fresh {
                asks += 1;
                pace.asked_aws(*now, throttled);
            }
            *now += pace.pause(Urgency::News, *now);
            pace.paused(false, *now);
        }
        asks
    }

    #[test]
    fn f66_who_waits_for_an_hour_asks_aws_every_few_seconds_and_about_once_a_minute_where_throttled() {
        let mut now = Instant::now();
        let asked = asks(&mut Pace::new(Rhythm::Others, now), &mut now, HOUR, false);
        assert!((600..=1500).contains(&asked), "{asked}");
        let asked = asks(&mut Pace::new(Rhythm::Others, now), &mut now, HOUR, true);
        assert!((55..=130).contains(&asked), "{asked}");
    }

    #[test]
    fn a_group_that_is_well_is_asked_about_less_than_twice_a_minute() {
        let (mut now, mut asks) = (Instant::now(), 0);
        let end = now + HOUR;
        let mut pace = Pace::new(Rhythm::Life, now);
        while now < end {
            asks += 1;
            pace.asked_aws(now, false);
            now += pace.pause(Urgency::None, now);
            pace.paused(false, now);
            assert_eq!(pace.fresh(), Freshness::Fresh);
        }
        assert!((90..=120).contains(&asks), "{asks} passes, of two calls each");
    }

    #[test]
    fn news_are_a_reason_to_ask_aws_soon_but_not_where_it_throttles() {
        for throttled in [false, true] {
            let mut now = Instant::now();
            let mut pace = Pace::new(Rhythm::Others, now);
            asks(&mut pace, &mut now, HOUR, throttled);
            pace.asked_aws(now, throttled);
            pace.paused(true, now);
            pace.paused(false, now + ASK_AWS.first);
            assert_eq!(pace.fresh() == Freshness::Fresh, !throttled);
        }
    }

    #[test]
    fn f104_a_refused_change_rests_longer_each_time_and_not_after_one_that_was_made() {
        let mut now = Instant::now();
        let mut pace = Pace::new(Rhythm::Others, now);
        let mut rests = Vec::new();
        for _ in 0..12 {
            pace.refused(&removal(), now);
            rests.push(pace.change_at - now);
            now = pace.change_at;
            assert!(!pace.change_rests(now));
        }
        assert_eq!((rests[0], rests[11]), (CHANGE_AGAIN.first, CHANGE_AGAIN.last));
        assert!(rests.is_sorted(), "{rests:?}");
        pace.changed(&removal());
        pace.refused(&removal(), now);
        assert_eq!(pace.change_at - now, CHANGE_AGAIN.first);
    }

    #[test]
    fn f94_a_tag_beside_etcds_start_is_tried_again_for_hours_at_some_calls_a_minute() {
        let began = Instant::now();
        let (mut pace, mut now, mut tries) = (Pace::new(Rhythm::Myself, began), began, 0);
        while now - began < HOUR {
            pace.refused(&Change::TagGroup { group: "etcd".into(), tags: [].into() }, now);
            now += pace.pause(Urgency::News, now);
            tries += 1;
        }
        assert!((60..=135).contains(&tries), "{tries}");
    }

    #[test]
    fn who_waits_for_its_own_etcd_looks_soon_at_first_and_every_two_seconds_in_the_end() {
        let now = Instant::now();
        let pace = Pace::new(Rhythm::Myself, now);
        assert_eq!(pace.pause(Urgency::News, now), LOOK_AT_SELF);
        assert_eq!(pace.pause(Urgency::News, now + HOUR), LOOK_AT_SELF_LAST);
    }

    #[test]
    fn patience_ends_with_the_reason_and_not_with_the_run() {
        let began = Instant::now();
        let mut pace = Pace::new(Rhythm::Others, began);
        let (minute, later) = (Some(Duration::from_secs(60)), began + Duration::from_secs(90));
        assert!(pace.patience_is_over(minute, later) && !pace.patience_is_over(None, later));
        pace.new_reason(later);
        assert!(!pace.patience_is_over(minute, later));
    }
}
