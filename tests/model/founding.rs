//! Every state of groups that create their cluster: before the founding tag with two founders, after it with three.

use etcd_bootstrap::model::{FoundingRule, Policy};

use super::world::{Left, World};
use super::{Scenario, properties};

/// Without the graces that only a majority waits for.
const UNANIMOUS: fn(&mut Policy) = |policy| policy.founding = FoundingRule::Unanimous;

// ---------------------------------------------------------------- before the tag

#[test]
fn two_founders_replaced_before_or_after() {
    let left = Left { terminations: 1, odd_reads: 1, ..Left::default() };
    Scenario::new(World::fresh(2, left))
        .rules(|rules| rules.addresses_are_reused = true)
        .sometimes(&[properties::ALL_JOINED])
        .explore(101_865, &["start-new agreed-founding"]);
}

#[test]
fn f87_two_founders_wiped_and_rebooted_whose_tags_cross() {
    let left = Left { wipes: 1, reboots: 1, ..Left::default() };
    Scenario::new(World::fresh(2, left))
        .rules(|rules| rules.tags_are_prompt = false)
        .sometimes(&[properties::ALL_JOINED])
        .explore(26_302, &["start-new agreed-founding"]);
}

#[test]
fn f87_two_founders_one_of_which_is_denied_the_tag() {
    let left = Left { denials: 2, wipes: 1, ..Left::default() };
    Scenario::new(World::fresh(2, left))
        .sometimes(&[properties::ALL_JOINED])
        .explore(10_195, &["start-new agreed-founding"]);
}

#[test]
fn b24_f87_two_founders_without_the_right_to_tag() {
    let left = Left { wipes: 1, terminations: 1, ..Left::default() };
    Scenario::new(World::fresh(2, left))
        .rules(|rules| rules.tag = false)
        .sometimes(&[properties::ALL_JOINED])
        .explore(38_710, &["start-new agreed-founding"]);
}

#[test]
fn b24_f87_three_founders_without_the_right_to_tag_one_wiped() {
    let left = Left { wipes: 1, ..Left::default() };
    Scenario::new(World::fresh(3, left))
        .rules(|rules| rules.tag = false)
        .sometimes(&[properties::ALL_JOINED])
        .explore(26_048, &["start-new agreed-founding"]);
}

#[test]
fn f87_three_founders_without_the_right_to_tag_one_rebooted() {
    let left = Left { reboots: 1, ..Left::default() };
    Scenario::new(World::fresh(3, left))
        .rules(|rules| rules.tag = false)
        .sometimes(&[properties::ALL_JOINED])
        .explore(7_891, &["start-new agreed-founding"]);
}

#[test]
#[ignore = "many states: make model"]
fn f87_three_founders_one_of_them_replaced() {
    let left = Left { terminations: 1, ..Left::default() };
    Scenario::new(World::fresh(3, left))
        .policy(UNANIMOUS)
        .sometimes(&[properties::ALL_JOINED, properties::REPLACED, properties::LATE_FOUNDER])
        .explore(242_446, &["start-new agreed-founding"]);
}

#[test]
#[ignore = "many states: make model"]
fn three_founders_one_of_them_replaced_slowly() {
    let left = Left { terminations: 1, ..Left::default() };
    Scenario::new(World::fresh(3, left))
        .rules(|rules| rules.leaves_slowly = true)
        .sometimes(&[properties::ALL_JOINED, properties::REPLACED, properties::LATE_FOUNDER])
        .explore(661_798, &["start-new agreed-founding"]);
}

#[test]
#[ignore = "many states: make model"]
fn three_founders_behind_failing_links_one_wiped() {
    let left = Left { cuts: 1, wipes: 1, ..Left::default() };
    Scenario::new(World::fresh(3, left))
        .sometimes(&[properties::ALL_JOINED, properties::WIPED_RETURNS])
        .explore(1_443_682, &["start-new agreed-founding"]);
}

// ---------------------------------------------------------------- without an Auto Scaling group

#[test]
fn f116_two_plain_instances_one_replaced_one_wiped() {
    let left = Left { wipes: 1, terminations: 1, ..Left::default() };
    Scenario::new(World::fresh(2, left).plain())
        .sometimes(&[properties::ALL_JOINED])
        .explore(40_193, &["start-new agreed-founding"]);
}

#[test]
fn f116_plain_instances_that_lose_their_marks_one_replaced_one_wiped() {
    let left = Left { wipes: 1, terminations: 1, untags: 1, ..Left::default() };
    Scenario::new(World::formed(2, 2, true, left).plain())
        .sometimes(&[properties::ALL_JOINED])
        .explore(2_863, &["tag-group untagged"]);
}

// ---------------------------------------------------------------- after the tag

#[test]
fn b24_f87_a_tagged_founding_one_of_whose_founders_is_replaced() {
    let left = Left { terminations: 1, ..Left::default() };
    Scenario::new(World::tagged(3, left))
        .policy(UNANIMOUS)
        .sometimes(&[properties::ALL_JOINED, properties::REPLACED])
        .explore(121_594, &["start-new agreed-founding"]);
}

#[test]
fn b24_f87_a_tagged_founding_two_of_whose_disks_are_lost() {
    let left = Left { wipes: 2, ..Left::default() };
    Scenario::new(World::tagged(3, left))
        .policy(UNANIMOUS)
        .sometimes(&[properties::ALL_JOINED])
        .explore(93_061, &["give-up founding-lost"]);
}

#[test]
fn f87_a_tagged_founding_behind_failing_links_one_rebooted() {
    let left = Left { cuts: 1, reboots: 1, ..Left::default() };
    Scenario::new(World::tagged(3, left))
        .policy(UNANIMOUS)
        .sometimes(&[properties::ALL_JOINED])
        .explore(122_392, &["start-new agreed-founding"]);
}

#[test]
#[ignore = "many states: make model"]
fn b24_f87_a_tagged_founding_one_founder_replaced_another_wiped() {
    let left = Left { terminations: 1, wipes: 1, ..Left::default() };
    Scenario::new(World::tagged(3, left))
        .policy(UNANIMOUS)
        .sometimes(&[properties::ALL_JOINED])
        .explore(1_092_343, &["give-up founding-lost"]);
}

#[test]
fn b24_f87_a_tagged_founding_of_two_one_replaced_another_wiped() {
    let left = Left { terminations: 1, wipes: 1, ..Left::default() };
    Scenario::new(World::tagged(2, left))
        .policy(UNANIMOUS)
        .sometimes(&[properties::ALL_JOINED])
        .explore(33_901, &["give-up founding-lost"]);
}

#[test]
fn f87_a_majority_whose_last_founder_is_mute_for_ever() {
    let left = Left { wipes: 1, reboots: 1, ..Left::default() };
    Scenario::new(World::majority(3, left).with_a_mute_one()).sometimes(&[properties::ALL_JOINED]).explore(
        3_666,
        &["give-up founding-lost", "set-data-aside never-led-founders-lost", "agree founders-majority"],
    );
}

#[test]
fn f87_a_majority_whose_last_founder_is_late_one_wiped() {
    let left = Left { wipes: 1, ..Left::default() };
    Scenario::new(World::majority(3, left))
        .sometimes(&[properties::ALL_JOINED, properties::LATE_FOUNDER])
        .explore(19_320, &["give-up founding-lost"]);
}

#[test]
#[ignore = "many states: make model"]
fn f87_a_majority_whose_last_founder_is_late_two_wiped() {
    let left = Left { wipes: 2, ..Left::default() };
    Scenario::new(World::majority(3, left))
        .sometimes(&[properties::ALL_JOINED, properties::LATE_FOUNDER])
        .explore(158_688, &["give-up founding-lost"]);
}

#[test]
fn f87_a_tagged_founding_scaled_in() {
    let left = Left { scale_ins: 1, reboots: 1, ..Left::default() };
    Scenario::new(World::tagged(2, left))
        .policy(UNANIMOUS)
        .sometimes(&[properties::ALL_JOINED])
        .explore(1_820, &["give-up founding-lost"]);
}

// ---------------------------------------------------------------- after the first leader

#[test]
fn f87_just_led_all_detached_and_terminated() {
    let left = Left { terminations: 2, ..Left::default() };
    Scenario::new(World { detached: true, ..World::led(2, 2, left) })
        .policy(UNANIMOUS)
        .sometimes(&[properties::REPLACED])
        .explore(4_359, &["wait others-founding"]);
}

#[test]
fn f87_just_led_two_replaced_beside_the_last() {
    Scenario::new(World::two_replaced_beside_the_last())
        .rules(|rules| rules.replacements_are_late = false)
        .explore(152, &["wait others-founding"]);
}

#[test]
fn f112_just_led_by_one_that_replies_lack() {
    let left = Left { odd_reads: 2, wipes: 1, reboots: 1, ..Left::default() };
    Scenario::new(World::one_that_replies_lack(left))
        .sometimes(&[properties::ALL_JOINED])
        .explore(2_472, &["wait others-founding"]);
}

#[test]
fn b02_f84_an_old_disk_put_back_beside_the_next_cluster() {
    let left = Left { restores: 1, reboots: 1, ..Left::default() };
    Scenario::new(World::founded_again(3, left))
        .sometimes(&[properties::ALL_JOINED])
        .explore(20, &["refuse other-clusters-data"]);
}

#[test]
fn b03_f85_untagged_nodes_of_long_ago_two_wiped() {
    let left = Left { wipes: 2, reboots: 1, ..Left::default() };
    Scenario::new(World { aged: true, ..World::formed(3, 3, false, left) })
        .sometimes(&[properties::WIPED_RETURNS])
        .explore(6_937, &["wait founders-silent"]);
}

#[test]
fn f87_a_group_that_cannot_be_tagged_two_wiped() {
    let left = Left { wipes: 2, reboots: 1, ..Left::default() };
    Scenario::new(World::formed(3, 3, false, left))
        .rules(|rules| rules.tag = false)
        .sometimes(&[properties::WIPED_RETURNS])
        .explore(13_034, &["wait founders-silent"]);
}

#[test]
fn f87_just_led_one_founder_replaced_another_wiped() {
    let left = Left { terminations: 1, wipes: 1, ..Left::default() };
    Scenario::new(World::led(3, 3, left))
        .policy(UNANIMOUS)
        .sometimes(&[properties::ALL_JOINED])
        .explore(8_586, &["tag-group untagged"]);
}

#[test]
fn b02_f84_an_old_disk_put_back_after_the_group_was_founded_again() {
    let left = Left { wipes: 2, restores: 1, untags: 1, ..Left::default() };
    Scenario::new(World::formed(2, 2, true, left))
        .policy(UNANIMOUS)
        .sometimes(&[properties::ALL_JOINED])
        .explore(1_139, &["start-new agreed-founding"]);
}

#[test]
fn b02_f84_an_old_disk_put_back_while_its_cluster_lives() {
    let left = Left { wipes: 1, restores: 1, ..Left::default() };
    Scenario::new(World::formed(3, 3, true, left)).sometimes(&[properties::ALL_JOINED]).explore(55, &["add joining"]);
}
