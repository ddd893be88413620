//! The initial cluster that an etcd starts with.

use std::collections::BTreeSet;

use etcd_bootstrap::etcd::environment;
use etcd_bootstrap::model::ClusterState::{Existing, New};
use etcd_bootstrap::model::{
    AddressForm, Addresses, Founder, Member, MemberId, MemberUrl, Start, agreement, render_initial_cluster,
};

use super::scene::Scene;
use super::{ARN, added, founding_of, id, learner, named, peer, unstarted, url, voter};

fn resumed(list: &[Member]) -> Start {
    Scene::group(3).serving(list, 2..=3).starts(Existing, "resume")
}

#[test]
fn f17_nameless_members_get_names_of_their_own() {
    let twin = named(&id(2).to_string(), voter(3));
    let hostile = named("a,b=c", voter(6));
    let list = [added(1), voter(2), twin, unstarted(4), unstarted(5), hostile, named(&id(1).to_string(), voter(7))];
    let start = resumed(&list);
    let names: BTreeSet<&String> = start.initial_cluster.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), list.len());
    assert!(names.iter().all(|name| !name.is_empty() && !name.contains([',', '='])));
    let mine = start.initial_cluster.iter().find(|(name, _)| *name == start.name.to_string());
    assert_eq!(mine.map(|(_, url)| url), Some(&peer(1)));
}

#[test]
fn b13_f98_names_that_no_file_can_hold_are_replaced() {
    for name in ["bob's", "bob\"s", "bob`s", "bob\\s", "bob s", "bob\u{a0}s", "bo\u{7}b", "böb", "a,b", "a=b"] {
        let start = resumed(&[added(1), named(name, voter(2)), voter(3)]);
        let text = render_initial_cluster(&start.initial_cluster);
        assert!(text.contains(&format!("member-{}={}", MemberId(2), peer(2))), "{name}: {text}");
        let variables = [("ETCD_INITIAL_CLUSTER".to_owned(), text)].into();
        environment::render(&variables).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

#[test]
fn f18_learners_and_unstarted_members_are_listed() {
    let start = resumed(&[added(1), voter(2), voter(3), learner(4), unstarted(5)]);
    let urls: BTreeSet<MemberUrl> = start.initial_cluster.into_iter().map(|(_, url)| url).collect();
    assert_eq!(urls, (1..=5).map(peer).collect());
}

#[test]
fn f19_every_peer_url_is_listed_under_its_members_name() {
    let two = Member { peer_urls: vec![peer(2), peer(20)], ..voter(2) };
    let entries = resumed(&[added(1), two, voter(3)]).initial_cluster;
    let second: Vec<&MemberUrl> =
        entries.iter().filter(|(name, _)| *name == id(2).to_string()).map(|(_, u)| u).collect();
    assert_eq!((second, entries.len()), (vec![&peer(2), &peer(20)], 4));
}

#[test]
fn f30_ipv6_addresses_are_in_brackets() {
    let v6 = |n: u64| Addresses { ipv4: None, ipv6: format!("fd00::{n}").parse().ok(), dns_name: None };
    let scene = Scene::group(1).identity(|me| me.addresses = v6(1)).ec2(|ec2| {
        ec2.found.get_mut(&id(1)).expect("the scene has it").addresses = v6(1);
    });
    let start = scene.again(1).creates("founders-agree");
    assert_eq!(render_initial_cluster(&start.initial_cluster), format!("{}=http://[fd00::1]:2380", id(1)));
    assert_eq!(start.client_url.to_string(), "http://[fd00::1]:2379");
    // Another spelling of the same address is the same address.
    let mine = Member { peer_urls: vec![url("http://[fd00:0:0::1]:2380")], ..added(1) };
    let scene = Scene::group(3).identity(|me| me.addresses = v6(1)).serving(&[mine, voter(2), voter(3)], 2..=3);
    assert_eq!(scene.starts(Existing, "resume").peer_url.to_string(), "http://[fd00::1]:2380");
}

#[test]
fn f29_the_lists_form_of_an_address_is_kept() {
    let by_name = |n: u64| url(&format!("http://ip-10-0-0-{n}.ec2.internal:2380"));
    let founders = founding_of(1..=3).founders.into_iter().zip(1..);
    let founders = founders.map(|(f, n)| Founder { peer_url: by_name(n), ..f }).collect();
    let agreed = agreement::agree(ARN, founders);
    let start = Scene::group(3).tagged(&agreed).record(|r| r.agreed = Some(agreed)).starts(New, "agreed-founding");
    assert_eq!(start.peer_url, by_name(1));
    assert!(start.initial_cluster.contains(&(id(1).to_string(), by_name(1))));
    // And a group that asks for names gets names.
    let named = Scene::group(1).policy(|p| p.address_form = AddressForm::DnsNames).again(1);
    assert_eq!(named.creates("founders-agree").initial_cluster, [(id(1).to_string(), by_name(1))]);
}
