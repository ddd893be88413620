//! What only looks: the dry run, `explain` and `status`.

use std::fs;

use serde_json::{Value, json};

use super::discovery::exactly;
use super::{GROUP, Scene, alone, dry_run, json as parsed, tree};
use crate::status::valid;
use crate::support::aws::{Action, Fault, Often};

#[tokio::test]
async fn a_dry_run_explains_everything_and_does_nothing() {
    let scene = Scene::new().await;
    let disk = tree(scene.node.dir());
    let report = dry_run(&scene.node).await;
    assert_eq!(report["decision"], "add", "{report:#}");
    assert!(report["reason"].get("joining").is_some(), "{report:#}");
    let call = report["calls"][0].as_str().unwrap();
    assert!(call.starts_with(&format!("MemberAdd http://{}:2380", scene.node.address)), "{call}");
    assert_eq!((report["instances"].as_array().unwrap().len(), report["members"].as_array().unwrap().len()), (2, 1));
    assert_eq!(report["file"], Value::Null, "what it would hold is known after the add");

    let run = scene.node.agent("run", &["--dry-run"]).await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let member = &scene.member;
    for words in [&member.instance, &member.address.to_string(), "decision", "add (joining)", "MemberAdd", "stays"] {
        assert!(run.stdout.contains(words), "{words}: {}", run.stdout);
    }
    assert_eq!(tree(scene.node.dir()), disk, "nothing is written");
    assert_eq!(scene.members().await, scene.before);
    assert_eq!(scene.rig.aws.count(Action::CreateOrUpdateTags), 0);
}

#[tokio::test]
async fn a_dry_run_shows_the_very_file_that_the_run_writes() {
    let (rig, node) = alone();
    let disk = tree(node.dir());
    let report = dry_run(&node).await;
    assert_eq!(report["decision"], "start");
    let calls: Vec<&str> = report["calls"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let words = ["record", "is agreed", "CreateOrUpdateTags etcd-bootstrap/founding="];
    assert!(calls.len() == 3 && calls.iter().zip(words).all(|(call, word)| call.contains(word)), "{calls:?}");
    assert_eq!(tree(node.dir()), disk, "nothing is written");
    assert_eq!(rig.aws.count(Action::CreateOrUpdateTags), 0);
    let run = node.agent("run", &[]).await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
    // All but the token's end: each founding has its own.
    let but_token = |file: &str| {
        let end = file
            .split_once("ETCD_INITIAL_CLUSTER_TOKEN=")
            .and_then(|(_, rest)| rest.split_once('\n')?.0.split_once("/etcd-a/"));
        let (_, end) = end.unwrap_or_else(|| panic!("{file}"));
        assert_eq!(end.len(), 16, "{file}");
        file.replace(end, "")
    };
    let written = fs::read_to_string(node.environment_file()).unwrap();
    assert_eq!(but_token(report["file"].as_str().unwrap()), but_token(&written));
    // With the disk's record there, the run is repeated to the letter.
    assert_eq!(dry_run(&node).await["file"], written);
}

#[tokio::test]
async fn explain_decides_the_saved_observation_as_the_run_did() {
    let scene = Scene::new().await;
    scene.rig.aws.inject(Action::DescribeInstances, Fault::Deny, Often::Always);
    let (_lone_rig, lone) = alone();
    for (node, code, decision, reason) in
        [(&scene.node, 78, "wait", "ec2-blind"), (&lone, 0, "start", "agreed-founding")]
    {
        let run = node.agent("run", &[]).await.unwrap();
        assert_eq!(run.code, code, "{}", run.stderr);
        let said = format!("decision={decision} reason={reason}");
        assert!(run.stderr.contains(&said), "{}", run.stderr);
        let saved = node.environment_file().with_extension("observation.json");
        let saved = saved.display().to_string();
        let explained = parsed(&exactly(node, &format!("explain {saved} --output=json")).await);
        assert_eq!((&explained["decision"], explained["reason"].get(reason).is_some()), (&decision.into(), true));
        let text = exactly(node, &format!("explain {saved}")).await;
        assert!(text.stdout.contains(&format!("{decision} ({reason})")), "{}", text.stdout);
    }
    let run = exactly(&lone, "explain /nowhere/observation.json").await;
    assert_eq!(run.code, 64, "{}", run.stderr);
    assert!(run.stderr.contains("/nowhere/observation.json"), "{}", run.stderr);
}

#[tokio::test]
async fn a_region_is_for_status_from_outside_and_a_member_goes_by_its_metadata() {
    let (rig, node) = alone();
    let run = node.agent("status", &["--region=nowhere-1"]).await.unwrap();
    assert_eq!((run.code, run.stdout.as_str()), (64, ""), "{}", run.stderr);
    assert!(run.stderr.contains("--region needs --scaling-group-name"), "{}", run.stderr);
    assert!(node.imds.exchanges().is_empty() && rig.aws.calls().is_empty(), "nothing was asked");

    // Of another region the fake takes no call.
    let group = format!("--scaling-group-name={GROUP}");
    let run = node.agent("run", &["--region=nowhere-1", &group]).await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let run = node.agent("status", &["--region=nowhere-1", &group]).await.unwrap();
    assert_eq!(run.code, 69, "{}", run.stdout);
    // What has come to nothing here is no fault of the agent's.
    rig.aws.forgive();
}

#[tokio::test]
async fn status_says_in_one_line_whether_the_cluster_is_sound() {
    let scene = Scene::new().await;
    let disk = tree(scene.node.dir());
    let id = &scene.before.cluster_id;
    let run = scene.node.agent("status", &["--output=json"]).await.unwrap();
    assert_eq!(run.code, 75, "the group wants one more: {}", run.stdout);
    let status = valid(&run);
    assert_eq!((&status["sound"], status["nodes"].as_array().unwrap().len()), (&false.into(), 2));
    assert_eq!(status["ills"], json!(["1 of 1 members serve, 2 instances are desired"]));

    scene.rig.cloud.change(|world| world.set_desired(GROUP, 1));
    let run = scene.node.agent("status", &["--output=json"]).await.unwrap();
    assert_eq!(run.code, 0, "{}", run.stdout);
    let status = valid(&run);
    assert_eq!(status["sound"], true);
    let rows = status["nodes"].as_array().unwrap();
    let member = rows.iter().find(|row| row["instance"] == scene.member.instance).unwrap();
    let expected = [("lifecycle", "InService"), ("role", "leader"), ("health", "healthy")];
    assert!(expected.iter().all(|(column, value)| member[column] == *value), "{member}");
    assert_eq!(member["member"], format!("{:x}", scene.before.members[0].id));

    assert_eq!(
        (&status["schema_version"], &status["clusters"], &status["ills"]),
        (&1.into(), &json!([id]), &json!([]))
    );

    let text = scene.node.agent("status", &[]).await.unwrap().stdout;
    assert!(text.starts_with("instance") && text.trim_end().ends_with("1 of 1 members serve"), "{text}");
    assert!(text.contains(&format!("sound: cluster {id}")), "{text}");

    // Who cannot look does not call anybody sick.
    scene.rig.aws.inject(Action::DescribeAutoScalingGroups, Fault::Deny, Often::Always);
    let run = scene.node.agent("status", &["--output=json"]).await.unwrap();
    assert_eq!(run.code, 69, "{}", run.stdout);
    let status = valid(&run);
    assert_eq!((&status["sound"], &status["ills"]), (&json!(null), &json!([])));
    assert!(
        status["summary"].as_str().unwrap().starts_with("not known: autoscaling:DescribeAutoScalingGroups"),
        "{status}"
    );
    assert_eq!((tree(scene.node.dir()), scene.members().await), (disk, scene.before.clone()));
}
