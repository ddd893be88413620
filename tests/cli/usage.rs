//! Options, values and variables that are wrong.

use std::fs;

use etcd_bootstrap::cli;

use super::discovery::{discovery_rig, exactly};
use super::{GROUP, alone, refuses, rig, starts, with_data};

#[tokio::test]
async fn an_unknown_option_or_value_is_a_usage_error() {
    let (rig, node) = alone();
    let cases: [(&[&str], &str); 10] = [
        (&["--bogus"], "--bogus"),
        (&["-bogus=1"], "--bogus"),
        (&["frobnicate"], "frobnicate"),
        (&["-etcd-client-schema=ftp"], "'ftp' is neither http nor https"),
        (&["--deadline=soon"], "--deadline"),
        (&["-proxy-mode=maybe"], "'maybe' is neither true nor false"),
        (&["-etcd-client-port=70000"], "--etcd-client-port"),
        (&["--proxy-mode"], "--scaling-group-name"),
        (&["--peer-cert-file=/x"], "--peer-key-file"),
        (&["--etcd-version=3.6"], "'3.6' is no version such as 3.6.16"),
    ];
    for (arguments, word) in cases {
        refuses(&node, arguments, 64, &[word]).await;
    }
    assert!(node.imds.exchanges().is_empty() && rig.aws.calls().is_empty(), "nothing was asked");
}

#[tokio::test]
async fn f78_a_config_file_that_hides_the_environment_is_refused() {
    let mut rig = rig();
    rig.group(GROUP, 1);
    rig.setup.agent_environment.insert("ETCD_CONFIG_FILE".into(), "/etc/etcd.yaml".into());
    let node = rig.launch(Some(GROUP)).unwrap();
    refuses(&node, &[], 64, &["ETCD_CONFIG_FILE=/etc/etcd.yaml", "unset it"]).await;
}

#[tokio::test]
async fn b23_f101_a_misspelt_variable_is_a_usage_error_that_names_the_nearest_option() {
    let cases = [
        ("INITIAL_CLUSTER", "never", "--initial-cluster-policy"),
        ("FOUNDNG", "unanimous", "--founding"),
        ("XYZZY", "1", "see --help"),
    ];
    for (name, value, meant) in cases {
        let mut rig = rig();
        rig.group(GROUP, 1);
        rig.setup.agent_environment.insert(format!("ETCD_BOOTSTRAP_{name}"), value.into());
        let node = rig.launch(Some(GROUP)).unwrap();
        refuses(&node, &[], 64, &[&format!("there is no variable ETCD_BOOTSTRAP_{name}"), meant]).await;
        assert!(rig.aws.calls().is_empty(), "nothing was asked");
    }
}

#[tokio::test]
async fn b23_f101_an_empty_variable_is_none_for_every_option() {
    let mut rig = rig();
    rig.group(GROUP, 1);
    let empty = cli::variables().into_iter().map(|variable| (variable, String::new()));
    rig.setup.agent_environment.extend(empty);
    for name in ["ETCD_BOOTSTRAP_XYZZY", "ETCD_CONFIG_FILE", "ETCD_DISCOVERY"] {
        rig.setup.agent_environment.insert(name.into(), String::new());
    }
    let node = rig.launch(Some(GROUP)).unwrap();
    let run = node.agent("run", &[]).await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(!run.stderr.contains("ETCD_DISCOVERY"), "an empty variable is not warned of: {}", run.stderr);
}

#[tokio::test]
async fn b23_f101_both_spellings_of_a_scheme_are_variables() {
    for (client, peer) in [("ETCD_CLIENT_SCHEME", "ETCD_PEER_SCHEMA"), ("ETCD_CLIENT_SCHEMA", "ETCD_PEER_SCHEME")] {
        let mut rig = discovery_rig("");
        for variable in [client, peer] {
            rig.setup.agent_environment.insert(format!("ETCD_BOOTSTRAP_{variable}"), "http".into());
        }
        rig.group(GROUP, 1);
        let node = rig.launch(Some(GROUP)).unwrap();
        let file = node.dir().join("written");
        let run = exactly(&node, &format!("-environment-file={}", file.display())).await;
        assert_eq!(run.code, 0, "{}", run.stderr);
        let written = fs::read_to_string(&file).unwrap();
        assert!(written.contains("=http://") && !written.contains("https://"), "{client}, {peer}: {written}");
    }
}

#[tokio::test]
async fn b27_a_deadline_that_no_clock_can_hold_is_none() {
    let (_rig, node) = with_data().await;
    starts(&node, &["--deadline=500000000000y", "--founding-grace=500000000000y"]).await;
    for command in ["status", "ready"] {
        let run = node.agent(command, &["--deadline=500000000000y", "--dry-run"]).await.unwrap();
        assert!(!run.stderr.contains("panicked"), "{command}: {}", run.stderr);
    }
}

#[tokio::test]
async fn b32_a_deadline_that_no_majority_can_wait_for_is_warned_of() {
    let (_rig, node) = with_data().await;
    let warns = async |more: &[&str]| starts(&node, more).await.stderr.contains("is not longer than --founding-grace=");
    assert!(warns(&["--deadline=60s"]).await);
    assert!(!warns(&["--deadline=61s"]).await);
    assert!(!warns(&["--deadline=infinity"]).await);
    assert!(!warns(&["--deadline=20s", "--founding-grace=10s"]).await);
    assert!(!warns(&["--deadline=60s", "--founding=unanimous"]).await);
}

#[tokio::test]
async fn b18_f99_paths_that_the_file_cannot_hold_are_usage_errors() {
    let (rig, node) = alone();
    for option in ["data-dir", "wal-dir", "trusted-ca-file", "peer-trusted-ca-file"] {
        refuses(&node, &[&format!("--{option}=/var/lib/my etcd")], 64, &[&format!("--{option}"), "' '"]).await;
    }
    assert!(rig.aws.calls().is_empty(), "nothing was asked");
}
