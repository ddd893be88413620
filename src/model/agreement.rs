//! What makes a founding one of its own: the token and the ids that follow from its founders and their disks, and the
//! group's tag that names it. Pure.
//!
//! etcd derives a founder's id from its peer URLs and the token, and the cluster's id from its founders' ids. With the
//! group's name alone for a token, a cluster that is created again on the same instances has the ids of the lost one,
//! and an old disk is taken in as its member (F84).

use std::collections::BTreeSet;

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use super::{Agreement, ClusterId, Founder, InstanceId, MemberId, MemberUrl};

/// The longest value of a tag (Auto Scaling user guide, "Tag naming and usage restrictions", read 2026-11-25).
const TAG_LIMIT: usize = 256;

/// What the founding tag says: the cluster, and each founder with the nonce of its disk, None for one that was silent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tagged {
    /// The cluster that the founders make.
    pub cluster: ClusterId,
    /// Sorted by instance, as they agreed.
    pub founders: Vec<(InstanceId, Option<String>)>,
}

/// The founding by these founders of the group with this ARN.
pub fn agree(arn: &str, founders: Vec<Founder>) -> Agreement {
    let cluster = cluster_of(&token(arn, &founders), founders.iter().map(|f| &f.peer_url));
    Agreement { cluster, founders }
}

/// The cluster that founders with these peer URLs, one each, begin with this token.
pub fn cluster_of<'a>(token: &str, peer_urls: impl Iterator<Item = &'a MemberUrl>) -> ClusterId {
    cluster_id(&peer_urls.map(|url| member_id(std::slice::from_ref(url), token)).collect())
}

/// The cluster token: the group's ARN, which no other group ever has (F11), less the characters that would need quotes,
/// and what no other founding of the group has.
pub fn token(arn: &str, founders: &[Founder]) -> String {
    let disks = founders.iter().map(|f| disk(&f.instance, f.nonce.as_deref()));
    let disks = disks.collect::<Vec<_>>().join(",");
    format!("{}/{:016x}", plain(arn), hash(disks.as_bytes()))
}

/// A group's ARN less the characters that would need quotes.
pub fn plain(arn: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, ':' | '/' | '-' | '_' | '.') { c } else { '_' };
    arn.chars().map(plain).collect()
}

/// The id of a founder: the hash of its sorted peer URLs and the token (`computeMemberID`,
/// server/etcdserver/api/membership/member.go:62, v3.7.1).
fn member_id(peer_urls: &[MemberUrl], token: &str) -> MemberId {
    let mut urls: Vec<String> = peer_urls.iter().map(ToString::to_string).collect();
    urls.sort_unstable();
    urls.push(token.to_owned());
    MemberId(hash(urls.concat().as_bytes()))
}

/// The id of a cluster: the hash of its founders' sorted ids (`genID`, membership/cluster.go:231, v3.7.1).
pub fn cluster_id(founders: &BTreeSet<MemberId>) -> ClusterId {
    let bytes: Vec<u8> = founders.iter().flat_map(|id| id.0.to_be_bytes()).collect();
    ClusterId(hash(&bytes))
}

/// The first eight bytes of the SHA-1, as etcd takes them.
fn hash(bytes: &[u8]) -> u64 {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes);
    u64::from_be_bytes(*hash.as_ref().first_chunk().expect("SHA-1 has 20 bytes"))
}

/// The tag's text, `ID i-0a=NONCE i-0b= ...`; None where it is longer than a tag may be, with nine founders or more.
pub fn tag_of(agreement: &Agreement) -> Option<String> {
    let disks = agreement.founders.iter().map(|f| disk(&f.instance, f.nonce.as_deref()));
    let words: Vec<String> = std::iter::once(agreement.cluster.to_string()).chain(disks).collect();
    Some(words.join(" ")).filter(|text| text.len() <= TAG_LIMIT)
}

/// Reads the tag; None where somebody else has written it.
pub fn read_tag(text: &str) -> Option<Tagged> {
    let mut words = text.split_ascii_whitespace();
    let cluster = ClusterId::try_from(words.next()?.to_owned()).ok()?;
    let founder = |word: &str| {
        let (instance, nonce) = word.split_once('=')?;
        let nonce = Some(nonce).filter(|nonce| !nonce.is_empty()).map(str::to_owned);
        Some((InstanceId::from_member_name(instance)?, nonce))
    };
    let founders: Vec<_> = words.map(founder).collect::<Option<_>>()?;
    (!founders.is_empty()).then_some(Tagged { cluster, founders })
}

fn disk(instance: &InstanceId, nonce: Option<&str>) -> String {
    format!("{instance}={}", nonce.unwrap_or_default())
}

impl Tagged {
    /// The nonce of an instance's disk; None where it is no founder, or was silent.
    pub fn nonce(&self, instance: &InstanceId) -> Option<&str> {
        self.founders.iter().find(|(id, _)| id == instance)?.1.as_deref()
    }

    /// The list that this tag stands for, given each founder's peer URL; None where the URLs are not those of the
    /// agreement.
    pub fn with_urls(&self, arn: &str, peer_urls: Vec<MemberUrl>) -> Option<Agreement> {
        let founders = self.founders.iter().zip(peer_urls);
        let founder = |((instance, nonce), peer_url): (&(InstanceId, Option<String>), MemberUrl)| Founder {
            instance: instance.clone(),
            peer_url,
            nonce: nonce.clone(),
        };
        Some(agree(arn, founders.map(founder).collect())).filter(|a| a.cluster == self.cluster)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:autoscaling:eu-west-1:1:autoScalingGroup:u:autoScalingGroupName/etcd";

    fn founder(n: u8, nonce: Option<&str>) -> Founder {
        let peer_url = format!("http://10.0.0.{n}:2380").parse().expect("a URL");
        Founder { instance: InstanceId::new(format!("i-{n:08}")), peer_url, nonce: nonce.map(str::to_owned) }
    }

    #[test]
    fn f02_the_founders_of_a_cluster_are_told_from_a_part_of_them() {
        // What an etcd with nothing but its defaults has had for ids since 2.0.
        let (alone, other) = (MemberId(0x8e9e_05c5_2164_694d), MemberId(0x8211_f1d0_f64f_3269));
        assert_eq!(cluster_id(&BTreeSet::from([alone])), ClusterId(0xcdf8_1819_4e3a_8c32));
        assert_ne!(cluster_id(&BTreeSet::from([alone, other])), cluster_id(&BTreeSet::from([alone])));
        assert_ne!(cluster_id(&BTreeSet::new()), cluster_id(&BTreeSet::from([alone])));
    }

    /// etcd's own: `default=http://localhost:2380` with the token `etcd-cluster`.
    #[test]
    fn f84_a_founders_id_is_etcds_own() {
        let url = "http://localhost:2380".parse().expect("a URL");
        assert_eq!(member_id(&[url], "etcd-cluster"), MemberId(0x8e9e_05c5_2164_694d));
    }

    #[test]
    fn b02_f84_another_disk_makes_another_cluster() {
        let first = agree(ARN, vec![founder(1, Some("aa")), founder(2, Some("bb"))]);
        let again = agree(ARN, vec![founder(1, Some("aa")), founder(2, Some("cc"))]);
        assert_ne!(first.cluster, again.cluster);
        assert_eq!(first, agree(ARN, first.founders.clone()));
    }

    #[test]
    fn a_tag_is_read_as_it_was_written() {
        let agreement = agree(ARN, vec![founder(1, Some("aa")), founder(2, None)]);
        let tagged = tag_of(&agreement).as_deref().and_then(read_tag).expect("it fits");
        assert_eq!((tagged.cluster, tagged.nonce(&InstanceId::new("i-00000001"))), (agreement.cluster, Some("aa")));
        assert_eq!(tagged.nonce(&InstanceId::new("i-00000002")), None);
        let urls = |ns: [u8; 2]| ns.map(|n| founder(n, None).peer_url).to_vec();
        assert_eq!(tagged.with_urls(ARN, urls([1, 2])), Some(agreement));
        assert_eq!(tagged.with_urls(ARN, urls([1, 3])), None);
        for other in ["", "c1", "c1 i-00000001", "c1 host=aa", "no i-00000001=aa"] {
            assert_eq!(read_tag(other), None, "{other:?}");
        }
        let many = (1..=9)
            .map(|n| Founder { instance: InstanceId::new(format!("i-{n:017}")), ..founder(n, Some("12345678")) });
        assert_eq!(tag_of(&agree(ARN, many.clone().collect())), None);
        assert!(tag_of(&agree(ARN, many.take(8).collect())).is_some());
    }
}
