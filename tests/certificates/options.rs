//! The options of certificates: which of them go together, and what the commands do with them.

use super::common::{issues, snapshot, some};
use crate::cli;
use crate::support::aws::{Action, Fault, Often};
use crate::support::node::{Node, Run};
use crate::support::tls::KEYS;

/// The program with exactly these words.
async fn exactly(node: &Node, words: &[&str]) -> Run {
    node.agent_exactly(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>()).await.unwrap()
}

#[tokio::test]
async fn options_that_make_no_certificate_are_refused_before_anything_is_asked() {
    let (rig, node) = cli::alone();
    let (members, clients) = ("--member-authority=alias/etcd-members", "--client-authority=alias/etcd-clients");
    let command = "--certificate-command=sign it";
    let (consumer, group) = ("--proxy-mode=true", "--scaling-group-name=etcd-a");
    let (ca, peer_ca) = ("--trusted-ca-file=/ca.pem", "--peer-trusted-ca-file=/ca.pem");
    let cases: [(&[&str], &str); 12] = [
        (&[members, "--cert-file=/a.pem"], "--cert-file"),
        (&[members, "--key-file=/a.pem"], "--key-file"),
        (&[members, "--peer-cert-file=/a.pem"], "--peer-cert-file"),
        (&[members, "--peer-key-file=/a.pem"], "--peer-key-file"),
        (&[command, ca, peer_ca, "--cert-file=/a.pem"], "--cert-file"),
        (&[members, command, ca, peer_ca], "--certificate-command"),
        (&[clients], "--client-authority alone makes no member"),
        (&[command], "--trusted-ca-file"),
        (&[command, ca], "--peer-trusted-ca-file"),
        (&[command, consumer, group], "--trusted-ca-file"),
        (&[members, consumer, group], "a consumer's certificate needs --client-authority"),
        (&[members, clients, "--certificate-life=soon"], "--certificate-life"),
    ];
    for (more, said) in cases {
        for word in ["run", "certificate", "status"] {
            let run = exactly(&node, &[&[word], more].concat()).await;
            assert_eq!(run.code, 64, "{word} {more:?}: {}", run.stderr);
            assert!(run.stderr.contains(said), "{word} {more:?}: {}", run.stderr);
        }
    }
    for more in [&["certificate", "--force", "--authority"][..], &["run", "--force"]] {
        let run = exactly(&node, more).await;
        assert_eq!(run.code, 64, "{more:?}: {}", run.stderr);
    }
    assert!(node.imds.exchanges().is_empty() && rig.aws.calls().is_empty(), "nothing was asked");
}

/// The timer is there on every node.
#[tokio::test]
async fn with_certificates_that_are_brought_nothing_is_issued() {
    let (rig, node) = cli::alone();
    for more in [&[][..], &["--force"]] {
        let run = node.agent("certificate", more).await.unwrap();
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert!(run.stderr.contains("brought"), "{}", run.stderr);
    }
    let run = node.agent("certificate", &["--authority"]).await.unwrap();
    assert_eq!(run.code, 64, "{}", run.stderr);
    assert!(run.stderr.contains("--member-authority"), "{}", run.stderr);
    assert!(rig.aws.calls().is_empty() && node.imds.exchanges().is_empty() && !node.certificates().exists());
}

#[tokio::test]
async fn the_authorities_are_printed_with_the_right_to_ask_alone() {
    let (rig, nodes) = some(1);
    let node = &nodes[0];
    rig.aws.inject(Action::Sign, Fault::Deny, Often::Always);
    let print = async || node.agent("certificate", &["--authority"]).await.unwrap();
    let (first, second) = (print().await, print().await);
    assert_eq!((first.code, second.code), (0, 0), "{}", first.stderr);
    assert_eq!(first.stdout, second.stdout);
    assert_eq!(first.stdout.matches("BEGIN CERTIFICATE").count(), 2, "{}", first.stdout);
    assert!(KEYS.iter().all(|key| first.stdout.contains(key)) && !first.stdout.contains("PRIVATE"), "{}", first.stdout);
    assert_eq!(rig.aws.count(Action::Sign), 0);
    assert!(!node.certificates().exists(), "nothing is written");
    rig.aws.heal();
    issues(node, &[]).await;
    assert_eq!(snapshot(node)["clients.pem"].1, first.stdout, "it is what etcd trusts");
    assert!(first.stdout.starts_with(&snapshot(node)["members.pem"].1));
    // The region comes from the metadata.
    node.imds.unplug().await;
    let run = print().await;
    assert_eq!((run.code, run.stdout.as_str()), (69, ""), "{}", run.stderr);
}

#[tokio::test]
async fn a_dry_run_and_what_only_looks_issue_nothing() {
    let (rig, nodes) = some(1);
    let node = &nodes[0];
    let run = node.agent("certificate", &["--dry-run"]).await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
    for (command, more) in [("run", &["--dry-run"][..]), ("status", &[]), ("certificate", &["--dry-run", "--force"])] {
        let _ = node.agent(command, more).await.unwrap();
        assert!(!node.certificates().exists(), "{command}");
    }
    issues(node, &[]).await;
    let before = snapshot(node);
    rig.aws.forget_calls();
    // With what would be due, too.
    for more in [&[][..], &["--certificate-names=balancer"]] {
        for (command, dry) in [("run", &["--dry-run"][..]), ("status", &[]), ("certificate", &["--dry-run", "--force"])]
        {
            let _ = node.agent(command, &[dry, more].concat()).await.unwrap();
        }
    }
    assert_eq!((rig.aws.count(Action::Sign), rig.aws.count(Action::GetPublicKey)), (0, 0));
    assert_eq!(snapshot(node), before);
}
