//! Every state of groups that have a cluster: joining it, losing members, removing them.

use super::etcd::Strict;
use super::world::{Left, World};
use super::{Scenario, properties};

// ---------------------------------------------------------------- joining

#[test]
fn two_joiners_at_once_into_three() {
    let left = Left { terminations: 1, ..Left::default() };
    Scenario::new(World::formed(3, 5, true, left))
        .sometimes(&[properties::ALL_JOINED, properties::REPLACED])
        .explore(22_109, &["add joining"]);
}

#[test]
fn two_joiners_at_once_into_three_on_an_older_etcd() {
    let left = Left { reboots: 1, ..Left::default() };
    Scenario::new(World::formed(3, 5, true, left))
        .rules(|rules| rules.strict = Strict::AllVoters)
        .sometimes(&[properties::ALL_JOINED])
        .explore(1_740, &["add joining"]);
}

#[test]
fn two_joiners_at_once_into_one() {
    let left = Left { terminations: 1, wipes: 1, ..Left::default() };
    Scenario::new(World::formed(1, 3, true, left))
        .rules(|rules| rules.addresses_are_reused = true)
        .sometimes(&[properties::ALL_JOINED])
        .explore(82_258, &["add joining"]);
}

// ---------------------------------------------------------------- losing and removing

#[test]
fn b24_two_of_three_replaced_and_no_tag() {
    let left = Left { terminations: 2, ..Left::default() };
    Scenario::new(World::formed(3, 3, false, left))
        .rules(|rules| rules.tag = false)
        .sometimes(&[properties::REPLACED])
        .explore(11_236, &["add joining"]);
}

#[test]
#[ignore = "many states: make model"]
fn two_of_three_replaced_one_of_them_unreachable_and_no_tag() {
    let left = Left { terminations: 2, cuts: 1, ..Left::default() };
    Scenario::new(World::formed(3, 3, false, left))
        .rules(|rules| rules.tag = false)
        .sometimes(&[properties::REPLACED])
        .explore(589_042, &["add joining"]);
}

#[test]
fn one_terminated_and_forgotten_while_another_is_wiped() {
    let left = Left { terminations: 1, wipes: 1, forgotten: 1, ..Left::default() };
    Scenario::new(World::formed(3, 3, true, left))
        .sometimes(&[properties::REPLACED, properties::WIPED_RETURNS])
        .explore(9_442, &["add joining"]);
}

#[test]
#[ignore = "many states: make model"]
fn one_terminated_while_another_is_silent_or_wiped() {
    let left = Left { terminations: 1, reboots: 1, wipes: 1, forgotten: 1, ..Left::default() };
    Scenario::new(World::formed(3, 3, true, left))
        .rules(|rules| rules.addresses_are_reused = true)
        .sometimes(&[properties::REPLACED, properties::WIPED_RETURNS])
        .explore(279_257, &["add joining"]);
}

#[test]
fn f130_one_is_wiped_while_another_is_cut_off_from_the_leader() {
    let left = Left { wipes: 1, reboots: 1, ..Left::default() };
    Scenario::new(World::one_cut_off(left))
        .sometimes(&[properties::WIPED_RETURNS])
        .explore(3_619, &["add joining", "wait outdated-member"]);
}

#[test]
fn f114_a_log_is_damaged_while_another_node_goes() {
    let left = Left { damages: 1, terminations: 1, reboots: 1, ..Left::default() };
    Scenario::new(World::formed(3, 3, true, left))
        .sometimes(&[properties::REPLACED, properties::ALL_JOINED])
        .explore(63_797, &["set-data-aside damaged-log-aside", "wait log-damaged", "remove replaces-own-lost-disk"]);
}

#[test]
fn scaled_in_and_out_while_aws_lags() {
    let left = Left { scale_ins: 1, scale_outs: 1, odd_reads: 1, ..Left::default() };
    Scenario::new(World::formed(3, 3, true, left))
        .rules(|rules| rules.leaves_slowly = true)
        .sometimes(&[properties::ALL_JOINED])
        .explore(1_584, &["add joining"]);
}

#[test]
fn all_replaced_finds_the_tag_and_creates_nothing() {
    let left = Left { terminations: 2, ..Left::default() };
    Scenario::new(World::formed(2, 2, true, left))
        .sometimes(&[properties::NOTHING_IS_LEFT])
        .explore(1_551, &["wait cluster-tagged"]);
}
