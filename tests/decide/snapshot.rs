//! Whose turn the snapshot of now is, and when there was none for too long.

use std::time::{Duration, SystemTime};

use etcd_bootstrap::decide::snapshot::{Sight, Turn, by_hand, due, newest, overdue};
use etcd_bootstrap::model::{Absence, BlindKind, Class, ClientView, MemberId, Seen, Snapshot, SnapshotName};

use super::{OURS, blind, learner, no_answer, voter};

const HOUR: Duration = Duration::from_secs(3600);

fn at(text: &str) -> SystemTime {
    humantime::parse_rfc3339(text).unwrap()
}

/// The view of member 1 of three, which member `leader` leads.
fn view(leader: u64) -> ClientView {
    ClientView {
        cluster_id: OURS,
        member_id: MemberId(1),
        version: "3.6.16".to_owned(),
        leader: Some(MemberId(leader)),
        learner: false,
        quorum_list: Seen::Yes(vec![voter(1), voter(2), voter(3)]),
        commit: None,
        applied: None,
        faults: Vec::new(),
        database: None,
    }
}

fn kept(class: Class, time: &str) -> Snapshot {
    Snapshot { name: SnapshotName { class, cluster: OURS, at: at(time), by: None }, bytes: 1024 }
}

fn turn(view: &ClientView, kept: &[Snapshot], now: &str) -> Turn {
    due(&Sight { own: &Ok(view.clone()), kept, now: at(now), every: HOUR })
}

fn taken(turn: &Turn) -> String {
    match turn {
        Turn::Take(name) => name.to_string(),
        Turn::Rest(reason) => format!("rest: {}", reason.code()),
        Turn::Stop(reason) => format!("stop: {} {}", reason.code(), reason.exit() as u8),
    }
}

#[test]
fn a_follower_takes_what_is_missing_and_nobody_what_is_there() {
    let follower = view(2);
    let day = [kept(Class::Daily, "2026-11-24T00:00:00Z")];
    assert_eq!(taken(&turn(&follower, &day, "2026-11-24T12:00:01Z")), "recent/c1/20261124T120000Z.db");
    assert_eq!(taken(&turn(&follower, &day, "2026-11-24T12:59:59Z")), "recent/c1/20261124T120000Z.db");
    for time in ["2026-11-24T12:00:00Z", "2026-11-24T12:59:59Z"] {
        let there = [kept(Class::Recent, time)];
        assert_eq!(taken(&turn(&follower, &there, "2026-11-24T12:30:00Z")), "rest: snapshot-kept");
    }
}

#[test]
fn the_first_of_a_day_is_kept_for_longer_whenever_it_is_taken() {
    let follower = view(2);
    let day_before = [kept(Class::Daily, "2026-11-23T00:00:00Z"), kept(Class::Recent, "2026-11-23T23:00:00Z")];
    for (now, name) in [
        ("2026-11-24T00:10:00Z", "daily/c1/20261124T000000Z.db"),
        // Nobody could take that of midnight.
        ("2026-11-24T07:10:00Z", "daily/c1/20261124T070000Z.db"),
    ] {
        assert_eq!(taken(&turn(&follower, &day_before, now)), name);
    }
    assert_eq!(taken(&turn(&follower, &[], "2026-11-24T07:10:00Z")), "daily/c1/20261124T070000Z.db");
}

#[test]
fn the_leader_leaves_it_to_the_followers_for_half_of_the_slot() {
    let (leader, day) = (view(1), [kept(Class::Daily, "2026-11-24T00:00:00Z")]);
    assert_eq!(taken(&turn(&leader, &day, "2026-11-24T12:29:59Z")), "rest: snapshot-left-to-followers");
    assert_eq!(taken(&turn(&leader, &day, "2026-11-24T12:30:00Z")), "recent/c1/20261124T120000Z.db");
    // A learner takes none, so it is no follower to wait for.
    let alone = ClientView { quorum_list: Seen::Yes(vec![voter(1), learner(2)]), ..leader };
    assert_eq!(taken(&turn(&alone, &day, "2026-11-24T12:00:00Z")), "recent/c1/20261124T120000Z.db");
}

#[test]
fn r10_none_is_taken_of_a_member_that_may_lack_something() {
    let follower = view(2);
    for (view, said) in [
        (ClientView { learner: true, ..follower.clone() }, "stop: learner-here 75"),
        (
            ClientView { quorum_list: Seen::No(blind(BlindKind::Unreachable)), ..follower.clone() },
            "stop: not-serving 75",
        ),
        (ClientView { quorum_list: Seen::No(blind(BlindKind::Denied)), ..follower.clone() }, "stop: denied 78"),
        (
            ClientView { faults: vec!["memberID:2 alarm:CORRUPT".to_owned()], ..follower.clone() },
            "stop: cluster-corrupt 78",
        ),
        // A full one is a reason to have a snapshot.
        (
            ClientView { faults: vec!["memberID:2 alarm:NOSPACE".to_owned()], ..follower.clone() },
            "daily/c1/20261124T120000Z.db",
        ),
    ] {
        assert_eq!(taken(&turn(&view, &[], "2026-11-24T12:10:00Z")), said);
        // The rule for those by hand is the same.
        let now = at("2026-11-24T12:10:00Z");
        let by_hand = taken(&by_hand(&Ok(view), now, false));
        assert!(by_hand == said || (by_hand.starts_with("manual/") && said.starts_with("daily/")), "{by_hand}");
    }
    for (absence, said) in [(no_answer(), "not-serving"), (Absence::Denied("no".into()), "denied")] {
        let turn = due(&Sight { own: &Err(absence), kept: &[], now: at("2026-11-24T12:00:00Z"), every: HOUR });
        assert!(matches!(&turn, Turn::Stop(reason) if reason.code() == said), "{turn:?}");
    }
}

#[test]
fn by_hand_it_is_taken_of_a_survivor_only_where_that_is_said() {
    let now = at("2026-11-24T12:34:56Z");
    let survivor = ClientView { leader: None, quorum_list: Seen::No(blind(BlindKind::Unreachable)), ..view(2) };
    assert_eq!(taken(&by_hand(&Ok(survivor.clone()), now, true)), "manual/c1/20261124T123456Z-1.db");
    assert_eq!(taken(&by_hand(&Ok(survivor), now, false)), "stop: not-serving 75");
    assert_eq!(taken(&by_hand(&Err(no_answer()), now, true)), "stop: not-serving 75");
}

#[test]
fn after_two_slots_without_one_everybody_says_so() {
    let since = at("2026-11-24T08:00:00Z");
    let last = kept(Class::Recent, "2026-11-24T10:00:00Z");
    assert_eq!(overdue(Some(&last), since, at("2026-11-24T12:00:00Z"), HOUR), None);
    let reason = overdue(Some(&last), since, at("2026-11-24T12:00:01Z"), HOUR).expect("two slots have gone by");
    assert_eq!((reason.code(), reason.exit() as u8), ("snapshot-overdue", 75));
    assert_eq!(
        reason.to_string(),
        "the newest snapshot is from 2h 1s ago, and one is due every 1h: recent/c1/20261124T100000Z.db"
    );
    assert_eq!(overdue(None, since, at("2026-11-24T10:00:00Z"), HOUR), None);
    let never = overdue(None, since, at("2026-11-24T10:00:01Z"), HOUR).expect("there never was one");
    assert_eq!(never.to_string(), "there is no snapshot after 2h 1s, and one is due every 1h");
}

#[test]
fn r13_a_name_from_the_future_silences_nobody() {
    let wrong = kept(Class::Daily, "2099-01-01T00:00:00Z");
    let all = [wrong.clone(), kept(Class::Recent, "2026-11-24T10:00:00Z")];
    let now = at("2026-11-24T12:30:00Z");
    assert_eq!(newest(&all, now, HOUR), Some(&all[1]));
    assert_eq!(newest(&all[..1], now, HOUR), None);
    assert_eq!(taken(&turn(&view(2), &[wrong], "2026-11-24T12:30:00Z")), "daily/c1/20261124T120000Z.db");
}
