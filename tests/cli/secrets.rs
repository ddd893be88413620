//! What no log and no file holds.

use super::{alone, contents};
use crate::support::aws::{Fault, Often};
use crate::support::imds::CREDENTIALS;

#[tokio::test]
async fn secrets_never_reach_a_log_or_a_file() {
    let (rig, node) = alone();
    let secrets = ["secret-of-the-fake", "session-token-of-the-fake", "AQAEA", "AWS4-HMAC"];
    let quiet = async |what: &str, more: &[&str]| {
        for format in ["glog", "json", "journald"] {
            let format = format!("--log-format={format}");
            let run = node.agent("run", &[&["-v=10", &format], more].concat()).await.unwrap();
            assert!(run.stderr.lines().count() > 2, "{what}: it says something: {}", run.stderr);
            let files = contents(node.dir());
            for secret in secrets {
                assert!(!run.stderr.contains(secret), "{what}: {secret} in {}", run.stderr);
                assert!(!files.contains(secret), "{what}: {secret} on the disk");
            }
        }
    };
    quiet("a good run", &[]).await;
    for fault in [Fault::Deny, Fault::Malform, Fault::Drop] {
        rig.aws.inject_everywhere(&fault, Often::Always);
        quiet(&format!("{fault:?}"), &[]).await;
        rig.aws.heal();
    }
    let half =
        "{\"Code\":\"Success\",\"SecretAccessKey\":\"secret-of-the-fake\",\"Token\":\"session-token-of-the-fake\"";
    for document in [half.to_owned(), format!("{half}}}"), format!("{half},\"Expiration\":7}}")] {
        node.imds.answer(&format!("{CREDENTIALS}etcd-node"), 200, &document);
        quiet(&document, &[]).await;
    }
}
