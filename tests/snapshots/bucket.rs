//! S3: as moto has it, as versitygw has it, which checks signatures, and as it fails.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_kms::config::{Credentials, SharedCredentialsProvider};
use bytes::Bytes;
use etcd_bootstrap::cloud::{Bucket, Stored};
use etcd_bootstrap::model::{Blind, BlindKind};
use tokio::sync::mpsc;

use super::{ONE_SLOT, assert_whole, files, fill, leader, snapshot};
use crate::moto::Moto;
use crate::recovery::{BUMP, cluster_tag, counted, fill as fill_keys, lose_all, tool};
use crate::scenario::{cluster_id, form, on_one_etcd, tagged, whole};
use crate::support::http::{Answer, serve};
use crate::support::link::{Link, Trouble, Way};
use crate::support::rig::{Rig, addresses};
use crate::support::s3::{self, ACCESS_KEY, BUCKET, REGION, S3, SECRET_KEY};

on_one_etcd!(
    r15_a_snapshot_in_s3_becomes_a_new_cluster,
    r24_what_s3_refuses_is_named,
    an_s3_that_stands_still_ends_the_run_and_not_the_next,
);

const MIB: usize = 1 << 20;

async fn bucket(url: &str) -> Bucket {
    let credentials = Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "test");
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .endpoint_url(url)
        .build();
    Bucket::new(&config, BUCKET).await.unwrap()
}

/// Puts these bytes, in chunks as etcd sends them; ends after so many.
async fn put(bucket: &Bucket, key: &str, content: &[u8], sent: usize) -> Result<Stored, Blind> {
    let (sender, receiver) = mpsc::channel(1);
    let feed = async move {
        for chunk in content[..sent].chunks(32 * 1024) {
            if sender.send(Bytes::copy_from_slice(chunk)).await.is_err() {
                return;
            }
        }
    };
    let (stored, ()) = tokio::join!(bucket.put(key, content.len() as u64, receiver), feed);
    stored.map_err(Blind::from)
}

async fn get(bucket: &Bucket, key: &str) -> Result<Vec<u8>, Blind> {
    let mut download = bucket.get(key).await?;
    let mut content = Vec::new();
    while let Some(chunk) = download.chunk().await? {
        content.extend_from_slice(&chunk);
    }
    Ok(content)
}

/// Whether an object whose body is cut off is none, as in AWS's S3.
#[derive(PartialEq, Eq)]
enum Atomic {
    Yes,
    /// versitygw 1.8.0 keeps what came of it.
    No,
}

/// Every call that the agent makes, judged by somebody else's S3.
async fn judge(bucket: Bucket, is_atomic: Atomic) {
    let in_parts = bucket.clone().in_parts(6 * MIB as u64, 5 * MIB as u64);
    for (bucket, bytes) in [(&bucket, 3 * MIB + 17), (&in_parts, 12 * MIB + 17)] {
        let content: Vec<u8> = (0..bytes).map(|_| fastrand::u8(..)).collect();
        let key = format!("p/{bytes}.db");
        if is_atomic == Atomic::Yes {
            assert!(put(bucket, &key, &content, bytes - 32).await.is_err(), "it ended before its end");
            assert_eq!(bucket.list("p/").await.unwrap().iter().filter(|object| object.key == key).count(), 0);
        }
        assert_eq!(put(bucket, &key, &content, bytes).await, Ok(Stored::Written));
        // Who refuses before all is sent may hang up on what is still on its way: the agent looks what is there then.
        let again = put(bucket, &key, &vec![0; bytes], bytes).await;
        let hung_up = matches!(&again, Err(Blind { kind: BlindKind::Unreachable, .. })) && is_atomic == Atomic::No;
        assert!(again == Ok(Stored::Exists) || hung_up, "{again:?}");
        assert!(get(bucket, &key).await.unwrap() == content, "what was written first stays");
    }
    let listed: Vec<u64> = bucket.list("p/").await.unwrap().into_iter().map(|object| object.bytes).collect();
    assert_eq!(listed, [12 * MIB as u64 + 17, 3 * MIB as u64 + 17]);
    assert_eq!(bucket.list("q/").await.unwrap(), []);
    assert_eq!(get(&bucket, "p/none.db").await.unwrap_err().kind, BlindKind::Absent);
}

#[tokio::test]
async fn r26_moto_takes_every_call() {
    let Some(moto) = Moto::start_if_there().await else { return };
    moto.create_bucket(BUCKET).await;
    judge(bucket(&moto.url).await, Atomic::Yes).await;
}

#[tokio::test]
async fn r13_r26_versitygw_takes_every_call_and_its_signature_and_lists_in_pages() {
    let rig =
        Rig::start(crate::support::node::Programs { agent: "/bin/false".into(), etcd: "/bin/false".into() }).unwrap();
    let s3 = S3::start(rig.cloud_address()).await.unwrap();
    judge(bucket(&s3.url()).await, Atomic::No).await;
    std::fs::create_dir(s3.files.join("many")).unwrap();
    for n in 0..2001 {
        std::fs::write(s3.files.join(format!("many/{n:05}.db")), "x").unwrap();
    }
    let listed = bucket(&s3.url()).await.list("many/").await.unwrap();
    assert_eq!(listed.len(), 2001, "S3 tells of a thousand at a time");
}

async fn r15_a_snapshot_in_s3_becomes_a_new_cluster(mut rig: Rig) {
    let s3 = S3::start(rig.cloud_address()).await.unwrap();
    rig.setup.agent_environment.extend(s3::environment(&s3.url()));
    let nodes = form(&rig, 3).await;
    tagged(&nodes).await;
    let old = cluster_id(&rig, &nodes).await;
    let mut client = fill_keys(&rig, &nodes, 100).await;
    let (keys, revision) = counted(&mut client).await;
    let to = format!("s3://{BUCKET}/etcd");
    let follower = (leader(&rig.judge, &nodes).await + 1) % 3;
    let run = async |n: usize| snapshot(&nodes[n], &to, &[ONE_SLOT]).await;
    let runs = tokio::join!(run(follower), run((follower + 1) % 3));
    assert_eq!((runs.0.code, runs.1.code), (0, 0), "{}{}", runs.0.stderr, runs.1.stderr);
    let there = files(&s3.files);
    assert!(there.len() == 1 && there[0].starts_with(&format!("etcd/daily/{old}/")), "{there:?}");
    assert_whole(&std::fs::read(s3.files.join(&there[0])).unwrap(), &there[0]);

    let nodes = lose_all(&rig, nodes).await;
    nodes[0].shut_down().await;
    let (place, tool, yes) = (format!("--snapshot-to={to}"), tool("etcdutl"), format!("--yes={old}"));
    let plan = nodes[0].agent("recover", &[&place, &tool]).await.unwrap();
    let name = there[0].strip_prefix("etcd/").unwrap();
    assert!(plan.code == 0 && plan.stdout.contains(&format!("there is    {name}")), "{}{}", plan.stdout, plan.stderr);
    // A certain one; and one of another cluster, which the key tells.
    let strangers = there[0].replace(&old, "ab");
    std::fs::create_dir_all(s3.files.join(&strangers).parent().unwrap()).unwrap();
    std::fs::copy(s3.files.join(&there[0]), s3.files.join(&strangers)).unwrap();
    for (key, is_strange) in [(&there[0], false), (&strangers, true)] {
        let plan = nodes[0].agent("recover", &[&format!("--from=s3://{BUCKET}/{key}"), &tool]).await.unwrap();
        assert_eq!(plan.code, 0, "{}", plan.stderr);
        assert_eq!(plan.stdout.contains("(foreign-snapshot)"), is_strange, "{}", plan.stdout);
    }
    let run = nodes[0].agent("recover", &[&place, &tool, &yes]).await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
    nodes[0].boot();
    whole(&rig, &nodes).await;
    assert_ne!(cluster_tag(&rig), old);
    let mut client = rig.judge.client(&addresses(&nodes)).await.unwrap();
    let (kept, now) = counted(&mut client).await;
    assert!(kept == keys && now >= revision + BUMP, "{kept} of {keys} keys, revision {now} after {revision}");
    assert_eq!(files(&s3.files).len(), 2, "nothing is deleted");
}

async fn r24_what_s3_refuses_is_named(mut rig: Rig) {
    let address = SocketAddr::from((rig.cloud_address(), 7070));
    rig.setup.agent_environment.extend([("AWS_ENDPOINT_URL_S3".to_owned(), format!("http://{address}"))]);
    let nodes = form(&rig, 1).await;
    for (status, code, message, exit, words) in [
        (403, "AccessDenied", "Access Denied", 78, "allow s3:ListBucket in the instance's role"),
        (
            403,
            "AccessDenied",
            "not authorized to perform kms:GenerateDataKey",
            78,
            "allow kms:GenerateDataKey and kms:Decrypt",
        ),
        (301, "PermanentRedirect", "must be addressed using the specified endpoint", 78, "see --snapshot-region"),
        (400, "AuthorizationHeaderMalformed", "the region is wrong", 78, "see --snapshot-region"),
        (404, "NoSuchBucket", "The specified bucket does not exist", 78, "NoSuchBucket"),
        (403, "RequestTimeTooSkewed", "The difference is too large", 69, "this node's clock is wrong"),
        (403, "InvalidAccessKeyId", "does not exist in our records", 78, "the credentials are not valid here"),
        (400, "KMS.DisabledException", "is disabled", 78, "look at the key that the bucket encrypts by"),
        (503, "SlowDown", "Please reduce your request rate", 69, "SlowDown"),
    ] {
        let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>");
        let answer = move |_| {
            let body = Bytes::from(body.clone());
            async move { Answer::Reply { status, content_type: "application/xml", headers: Vec::new(), body } }
        };
        let server = serve(TcpListener::bind(address).unwrap(), answer).unwrap();
        let run = snapshot(&nodes[0], "s3://snapshots/etcd", &[]).await;
        assert!(
            run.code == exit && run.stderr.contains("reason=snapshots-blind"),
            "{code}: {} {}",
            run.code,
            run.stderr
        );
        assert!(run.stderr.contains(words), "{code}: {}", run.stderr);
        server.close().await;
    }
}

async fn an_s3_that_stands_still_ends_the_run_and_not_the_next(mut rig: Rig) {
    let Some(moto) = Moto::start_if_there().await else { return };
    moto.create_bucket(BUCKET).await;
    let there = async || bucket(&moto.url).await.list("").await.unwrap();
    // Beside the cloud's own address.
    let here = SocketAddr::from((Ipv4Addr::from(u32::from(rig.cloud_address()) + 1), 7070));
    let link = |after| Link::start(here, moto.address(), Way::There, after, Trouble::Stall).unwrap();
    let stalled = link(3 << 20);
    rig.setup.agent_environment.extend(s3::environment(&format!("http://{here}")));
    let nodes = form(&rig, 1).await;
    // More than fits into the buffers on the way.
    fill(&rig, &nodes, 40).await;
    let to = format!("s3://{BUCKET}/etcd");
    let run = snapshot(&nodes[0], &to, &[]).await;
    assert!(run.code == 69 && run.stderr.contains("nothing was taken for 30 s"), "{} {}", run.code, run.stderr);
    assert!(run.took < Duration::from_secs(60), "{:?}", run.took);
    stalled.close().await;
    assert_eq!(there().await, []);
    let _whole = link(u64::MAX);
    let run = snapshot(&nodes[0], &to, &[]).await;
    assert_eq!(run.code, 0, "{}", run.stderr);
    let there = there().await;
    assert_eq!(there.len(), 1, "{there:?}");
    assert_whole(&get(&bucket(&moto.url).await, &there[0].key).await.unwrap(), &there[0].key);
}
