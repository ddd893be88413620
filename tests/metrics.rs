//! What commands leave for Prometheus, on real etcd, and the alerts on it, by Prometheus's own tool.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use etcd_bootstrap::decide::decide;
use etcd_bootstrap::exit::Exit;
use etcd_bootstrap::files::saved::{Record, read_record};
use etcd_bootstrap::model::Calls;
use etcd_bootstrap::report::{Ended, metrics, run_metrics};

use crate::docs::read;
use crate::scenario::{GROUP, PATIENCE, form, on_one_etcd, tagged};
use crate::support::etcd::until;
use crate::support::rig::Rig;
use crate::support::skip;

/// Prometheus's tool; None where this machine cannot have it, and the test is skipped.
fn promtool() -> Option<PathBuf> {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/promtool");
    if !tool.is_file() {
        skip(format_args!("there is no {}: tests/tools/install alerts", tool.display()));
        return None;
    }
    Some(tool)
}

/// A file of metrics is what Prometheus reads, and by its own taste.
fn is_well_formed(text: &str) {
    let Some(tool) = promtool() else { return };
    let mut child = Command::new(tool).args(["check", "metrics"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{text}");
}

on_one_etcd!(each_command_leaves_metrics_of_its_own);

async fn each_command_leaves_metrics_of_its_own(mut rig: Rig) {
    let file = rig.directory.path().join("etcd-bootstrap.prom");
    rig.setup.agent_arguments.push(format!("--metrics-file={}", file.display()));
    rig.setup.watches = true;
    let nodes = form(&rig, 1).await;
    tagged(&nodes).await;
    let has = async |name: &str, lines: &[&str]| {
        let file = if name.is_empty() { file.clone() } else { file.with_extension(format!("{name}.prom")) };
        let written = || fs::read_to_string(&file).unwrap_or_default();
        let check = async || match lines.iter().find(|line| !written().lines().any(|told| told == **line)) {
            Some(missing) => Err(format!("{} lacks {missing}: {}", file.display(), written())),
            None => Ok(()),
        };
        until(PATIENCE, check).await.unwrap();
        is_well_formed(&written());
    };
    has("run", &["etcd_bootstrap_run_exit_code{command=\"run\"} 0"]).await;
    has("ready", &["etcd_bootstrap_run_exit_code{command=\"ready\"} 0"]).await;
    has("", &["etcd_bootstrap_voters 1", "etcd_bootstrap_desired_members 1", "etcd_bootstrap_cluster_tagged 1"]).await;

    rig.group("consumers", 1);
    let consumer = rig.launch(Some("consumers")).unwrap();
    let follow = ["--proxy-mode", "--scaling-group-name", GROUP];
    consumer.agent("run", &follow).await.unwrap();
    let zero = "etcd_bootstrap_run_exit_code{command=\"consumer\"} 0";
    has("consumer", &[zero, "etcd_bootstrap_consumer_endpoints 1"]).await;
    nodes[0].cut_power().await;
    consumer.agent("run", &follow).await.unwrap();
    let reason = "etcd_bootstrap_run_reason{command=\"consumer\",reason=\"no-member-answers\"} 1";
    has("consumer", &["etcd_bootstrap_run_exit_code{command=\"consumer\"} 75", reason]).await;

    // One that does not come to look has an end too.
    let fresh = rig.launch(Some("consumers")).unwrap();
    for command in ["run", "ready"] {
        fresh.agent(command, &["--user=root", "--password-file=/nowhere"]).await.unwrap();
        has(command, &[&format!("etcd_bootstrap_run_exit_code{{command=\"{command}\"}} 78")]).await;
    }
}

#[test]
fn the_alerts_fire_when_they_should_and_not_before() {
    let Some(tool) = promtool() else { return };
    for (what, file) in [("check", "alerts.yaml"), ("test", "alerts.test.yaml")] {
        let judged = Command::new(&tool).args([what, "rules", file]).current_dir("prometheus").output().unwrap();
        assert!(judged.status.success(), "{}", String::from_utf8_lossy(&[judged.stdout, judged.stderr].concat()));
    }
}

#[test]
fn the_alerts_and_the_readme_name_metrics_that_there_are() {
    let Record { policy, observation, .. } =
        read_record(Path::new("tests/observations/start-own-data-listed.json")).unwrap();
    let decision = decide(&observation, &policy);
    let calls = BTreeMap::from([("ec2:DescribeInstances".to_owned(), Calls { made: 3, throttled: 1 })]);
    let ended = Ended {
        command: "run",
        at: observation.taken_at,
        took: Duration::ZERO,
        exit: Exit::Done,
        decision: Some(&decision),
        calls: &calls,
    };
    let record: Record = read_record(Path::new("tests/observations/follow-endpoints.json")).unwrap();
    let followed = decide(&record.observation, &record.policy);
    let told = [
        metrics(&observation, &policy, &decision, None, Some(observation.taken_at), &calls),
        run_metrics(&ended),
        run_metrics(&Ended { decision: Some(&followed), ..ended }),
    ];
    is_well_formed(&told[0]);
    is_well_formed(&told[1]);
    let throttled = "etcd_bootstrap_aws_throttled_calls_total{action=\"ec2:DescribeInstances\"} 1";
    assert!(told[0].lines().any(|line| line == throttled), "{}", told[0]);
    let names: BTreeSet<&str> =
        told.iter().flat_map(|text| text.lines()).filter_map(|line| line.split(' ').nth(2)).collect();
    for file in ["prometheus/alerts.yaml", "README.md"] {
        let text = read(file);
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for word in words.filter(|word| word.starts_with("etcd_bootstrap_") && !word.contains("snapshot")) {
            assert!(names.contains(word), "{file} names {word}; there are {names:?}");
        }
    }
}
