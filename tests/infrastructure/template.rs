//! What the template says, read by the AWS CLI's own parser: above all what moto does not apply.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{GAPS, STACK, read, readme_json, section, tool};
use crate::support::awscli::template;
use crate::support::ground::Directory;
use crate::support::skip;

/// The limit of a template that is not in a bucket ("CloudFormation quotas", CloudFormation User Guide).
const INLINE: usize = 51_200;

/// The template as JSON, with intrinsic functions in their long form. None where the parser is not installed.
fn parsed() -> Option<Value> {
    const PARSE: &str = "import json, sys
from awscli.customizations.cloudformation.yamlhelper import yaml_parse
print(json.dumps(yaml_parse(sys.stdin.read())))";
    if !tool("aws").is_file() {
        skip(format_args!("there is no {}: tests/tools/install aws", tool("aws").display()));
        return None;
    }
    let mut python = Command::new(tool("python"));
    let mut child = python.args(["-c", PARSE]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(template().as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    Some(serde_json::from_slice(&done.stdout).expect("the template is YAML"))
}

#[test]
fn the_template_needs_no_bucket() {
    let size = template().len();
    assert!(size <= INLINE, "{size} bytes");
}

#[test]
fn every_gap_of_moto_is_a_part_of_the_template() {
    let Some(template) = parsed() else { return };
    for (part, why) in GAPS {
        let (name, property) = part.split_once('/').unwrap_or((part, ""));
        let places = [&template[name], &template["Resources"][name], &template["Parameters"][name]];
        let place = places.into_iter().find(|place| !place.is_null()).unwrap_or(&Value::Null);
        let there = property.is_empty() || !place["Properties"][property].is_null() || !place[property].is_null();
        assert!(!place.is_null() && there, "there is no {part}, of which is said: {why}");
    }
}

/// The hooks that README.md makes by hand, and its maintenance policy.
#[test]
fn the_group_begins_with_the_hooks_of_the_readme() {
    let Some(template) = parsed() else { return };
    let group = &template["Resources"]["Group"]["Properties"];
    let text = section("## Life cycle").replace("\\\n", " ");
    let commands: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.trim_start().starts_with("aws autoscaling"))
        .map(|line| line.split_whitespace().collect())
        .collect();
    let option = |words: &[&str], name: &str| {
        let at = words.iter().position(|word| *word == name).unwrap_or_else(|| panic!("{words:?} has no {name}"));
        words[at + 1].to_owned()
    };
    let number = |words: &[&str], name: &str| option(words, name).parse::<u64>().unwrap();
    let hooks: Vec<Value> = commands
        .iter()
        .filter(|words| words[2] == "put-lifecycle-hook")
        .map(|words| {
            json!({
                "LifecycleHookName": option(words, "--lifecycle-hook-name"),
                "LifecycleTransition": option(words, "--lifecycle-transition"),
                "HeartbeatTimeout": number(words, "--heartbeat-timeout"),
                "DefaultResult": option(words, "--default-result"),
            })
        })
        .collect();
    assert_eq!(hooks.len(), 2, "README.md has both");
    assert_eq!(group["LifecycleHookSpecificationList"], json!(hooks));
    let update = commands.iter().find(|words| words[2] == "update-auto-scaling-group").unwrap();
    assert_eq!(group["DefaultInstanceWarmup"], number(update, "--default-instance-warmup"));
    let policy = option(update, "--instance-maintenance-policy");
    for part in policy.split(',') {
        let (name, percent) = part.split_once('=').unwrap();
        assert_eq!(group["InstanceMaintenancePolicy"][name], percent.parse::<u64>().unwrap(), "{name}");
    }
}

/// Another group is another cluster.
#[test]
fn f08_no_update_replaces_the_group() {
    let Some(template) = parsed() else { return };
    let group = &template["Resources"]["Group"];
    let policy = json!({
        "AutoScalingReplacingUpdate": { "WillReplace": false },
        "AutoScalingScheduledAction": { "IgnoreUnmodifiedGroupSizeProperties": true },
    });
    assert_eq!(
        group["UpdatePolicy"], policy,
        "and no AutoScalingRollingUpdate, which terminates without the hooks' word"
    );
    assert_eq!(
        group["Properties"]["AutoScalingGroupName"],
        json!({ "Ref": "AWS::StackName" }),
        "it cannot be there twice"
    );
}

#[test]
fn the_load_balancer_leads_to_etcd_and_asks_for_its_health() {
    let Some(template) = parsed() else { return };
    let resources = &template["Resources"];
    let balancer = &resources["Balancer"]["Properties"];
    assert_eq!([&balancer["Type"], &balancer["Scheme"]], ["network", "internal"]);
    let crossing = json!([{ "Key": "load_balancing.cross_zone.enabled", "Value": "true" }]);
    assert_eq!(balancer["LoadBalancerAttributes"], crossing);
    let listener = json!({
        "LoadBalancerArn": { "Ref": "Balancer" },
        "Protocol": "TCP",
        "Port": 2379,
        "DefaultActions": [{ "Type": "forward", "TargetGroupArn": { "Ref": "Targets" } }],
    });
    assert_eq!(resources["Listener"]["Properties"], listener);
    let delay = json!([{ "Key": "deregistration_delay.timeout_seconds", "Value": "10" }]);
    assert_eq!(resources["Targets"]["Properties"]["TargetGroupAttributes"], delay);
}

#[test]
fn a_binary_by_https_gives_the_role_no_right_to_read_a_bucket() {
    let Some(template) = parsed() else { return };
    let policies = &template["Resources"]["Role"]["Properties"]["Policies"];
    let binary = policies[3]["Fn::If"].as_array().expect("the last policy depends on where the binary is");
    assert_eq!([&binary[0], &binary[1]["PolicyName"]], ["BinaryInBucket", "binary"]);
    assert_eq!(binary[2], json!({ "Ref": "AWS::NoValue" }));
    let scheme = json!({ "Fn::Select": [0, { "Fn::Split": ["://", { "Ref": "BinaryUrl" }] }] });
    assert_eq!(template["Conditions"]["BinaryInBucket"]["Fn::Equals"], json!([scheme, "s3"]));
}

#[test]
fn c21_the_authorities_are_keys_that_the_agent_can_sign_with() {
    let Some(template) = parsed() else { return };
    for (key, whose) in [("MembersKey", "members of etcd"), ("ClientsKey", "clients of etcd")] {
        let properties = &template["Resources"][key]["Properties"];
        let command = format!(
            "aws kms create-key --key-spec {} --key-usage {} --description '{whose}'",
            properties["KeySpec"].as_str().unwrap(),
            properties["KeyUsage"].as_str().unwrap(),
        );
        assert!(section("## Certificates").contains(&command), "{key}: README.md has no {command}");
        assert_eq!(properties["Description"], whose);
    }
}

#[test]
fn r14_the_snapshots_are_kept_as_the_readme_says_and_outlive_the_stack() {
    let Some(template) = parsed() else { return };
    let bucket = &template["Resources"]["Snapshots"];
    assert_eq!([&bucket["DeletionPolicy"], &bucket["UpdateReplacePolicy"]], ["Retain", "Retain"]);
    let rules = bucket["Properties"]["LifecycleConfiguration"]["Rules"].as_array().unwrap();
    // The same in the words of S3's API.
    let said = rules.iter().map(|rule| {
        let prefix = rule["Prefix"]["Fn::Sub"].as_str().unwrap().replace("${AWS::StackName}", STACK);
        let mut said = json!({ "ID": rule["Id"], "Status": rule["Status"], "Filter": { "Prefix": prefix } });
        if !rule["ExpirationInDays"].is_null() {
            said["Expiration"] = json!({ "Days": rule["ExpirationInDays"] });
        }
        if !rule["AbortIncompleteMultipartUpload"].is_null() {
            said["AbortIncompleteMultipartUpload"] = rule["AbortIncompleteMultipartUpload"].clone();
        }
        said
    });
    let readme = readme_json("## Snapshots", "<!-- bucket lifecycle -->", &[("PREFIX", STACK)]);
    assert_eq!(json!({ "Rules": said.collect::<Vec<_>>() }), readme);
    let blocked = bucket["Properties"]["PublicAccessBlockConfiguration"].as_object().unwrap();
    assert_eq!(blocked.values().filter(|value| **value == true).count(), 4);
}

// ---------------------------------------------------------------- parameters

/// A parameter, whether the value is taken, and the value.
const VALUES: [(&str, bool, &str); 33] = [
    ("Size", true, "1"),
    ("Size", true, "7"),
    ("Size", false, "2"),
    ("Size", false, "9"),
    ("InstanceType", true, "t4g.small"),
    ("InstanceType", true, "u-3tb1.56xlarge"),
    ("InstanceType", false, "small"),
    ("VolumeSize", true, "10"),
    ("VolumeSize", false, "9"),
    ("VolumeSize", false, "1025"),
    ("KeyName", true, ""),
    ("KeyName", true, "Me 2026"),
    ("KeyName", false, "a\"b"),
    ("BinaryUrl", true, "s3://bucket/some/etcd-bootstrap"),
    ("BinaryUrl", true, "https://example.com/etcd-bootstrap"),
    ("BinaryUrl", false, "http://example.com/etcd-bootstrap"),
    ("BinaryUrl", false, "s3://bucket/a\",\"b"),
    ("BinaryUrl", false, "https://example.com/?signature=1"),
    ("BinarySha512", false, ""),
    ("BinarySha512", false, "0123456789ABCDEF0123456789ABCDEF"),
    ("EtcdVersion", true, "v3.5.26"),
    ("EtcdVersion", true, "v3.6.16"),
    ("EtcdVersion", true, "v3.7.0"),
    ("EtcdVersion", false, "3.6.16"),
    ("EtcdVersion", false, "v3.4.40"),
    ("EtcdVersion", false, "v3.5.25"),
    ("EtcdVersion", false, "v3.6.5"),
    ("EtcdVersion", false, "v3.8.0"),
    ("EtcdVersion", false, "v3.6.16%0A"),
    ("SnapshotBucket", true, ""),
    ("SnapshotBucket", true, "snapshots.example"),
    ("SnapshotBucket", false, "s3://snapshots"),
    ("SnapshotBucket", false, "Snapshots"),
];

/// moto does not look at them: cfn-lint holds each value, as a default, against the parameter's constraints (E2015). It
/// looks for a pattern anywhere in the value; AWS matches the whole, hence the `^` and `$`.
#[test]
fn a_value_that_would_break_the_nodes_is_refused_with_a_sentence() {
    let Some(template) = parsed() else { return };
    let directory = Directory::new().unwrap();
    let path = |number: usize| directory.path().join(format!("{number}.json"));
    for (number, (name, _, value)) in VALUES.iter().enumerate() {
        let mut parameter = template["Parameters"][name].clone();
        let whole = value.parse::<u64>().ok().filter(|_| parameter["Type"] == "Number");
        parameter["Default"] = whole.map_or_else(|| json!(value), Value::from);
        let handle = json!({ "Type": "AWS::CloudFormation::WaitConditionHandle" });
        let alone = json!({ "Parameters": { *name: parameter }, "Resources": { "Nothing": handle } });
        std::fs::write(path(number), alone.to_string()).unwrap();
    }
    let mut lint = Command::new(tool("cfn-lint"));
    // Of what it finds, this alone is asked for: the parameters are used nowhere here.
    lint.args(["--format", "json", "--ignore-checks", "W", "--template"]).args((0..VALUES.len()).map(path));
    let done = lint.output().unwrap();
    let found: Vec<Value> = serde_json::from_slice(&done.stdout).expect("it tells what it found");
    for (number, (name, taken, value)) in VALUES.iter().enumerate() {
        let path = path(number);
        let found: Vec<_> = found.iter().filter(|found| found["Filename"] == *path.to_string_lossy()).collect();
        let refused = found.iter().any(|found| found["Rule"]["Id"] == "E2015");
        assert!(found.iter().all(|found| found["Rule"]["Id"] == "E2015"), "{name}={value}: {found:?}");
        assert_eq!(refused, !taken, "{name}={value}: {found:?}");
    }
}

/// What a person has to choose has a sentence, and so has each refusal; what gets into the nodes' config has a pattern.
#[test]
fn every_parameter_says_what_it_is_and_what_it_must_be() {
    let Some(template) = parsed() else { return };
    let user_data = &template["Resources"]["LaunchTemplate"]["Properties"]["LaunchTemplateData"]["UserData"];
    let user_data = user_data["Fn::Base64"]["Fn::Sub"][0].as_str().expect("it is filled in by Fn::Sub");
    for (name, parameter) in template["Parameters"].as_object().unwrap() {
        assert!(parameter["Description"].as_str().is_some_and(|text| text.len() > 10), "{name}");
        let aws_checks = parameter["Type"].as_str().unwrap().contains("AWS::EC2::");
        let sentence = parameter["ConstraintDescription"].as_str();
        assert!(aws_checks || sentence.is_some_and(|text| text.starts_with("must ")), "{name}");
        let tried = VALUES.iter().any(|(tried, taken, _)| tried == name && !taken);
        assert!(aws_checks || tried, "no wrong value of {name} is tried");
        let pattern = parameter["AllowedPattern"].as_str();
        assert!(!user_data.contains(&format!("${{{name}}}")) || pattern.is_some(), "{name} gets into the user data");
        assert!(pattern.is_none_or(|text| text.starts_with('^') && text.ends_with('$')), "{name}");
    }
    let rule = &template["Rules"]["SubnetsOfTheVpc"]["Assertions"][0];
    let of_subnets = json!({ "Fn::ValueOfAll": ["AWS::EC2::Subnet::Id", "VpcId"] });
    assert_eq!(rule["Assert"]["Fn::EachMemberIn"], json!([of_subnets, { "Fn::RefAll": "AWS::EC2::VPC::Id" }]));
    assert_eq!(rule["AssertDescription"], "All Subnets must be in the Vpc");
    let page = read("docs/first-cluster.md");
    let unsaid = template["Parameters"].as_object().unwrap().keys();
    let unsaid: Vec<_> =
        unsaid.filter(|name| !page.contains(&format!("`{name}`")) && !page.contains(&format!("{name}="))).collect();
    assert!(unsaid.is_empty(), "docs/first-cluster.md does not say {unsaid:?}");
}

/// One more than the size, for a refresh.
#[test]
fn every_size_has_room_for_a_refresh() {
    let Some(template) = parsed() else { return };
    for size in template["Parameters"]["Size"]["AllowedValues"].as_array().unwrap() {
        let size = size.as_str().unwrap();
        assert_eq!(template["Mappings"]["Largest"][size]["Size"], size.parse::<u64>().unwrap() + 1);
    }
}
