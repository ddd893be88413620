//! What moto has of the stack, asked for by the AWS CLI.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

use super::{ACCOUNT, STACK, Stage, read, readme_json};
use crate::support::awscli::REGION;
use crate::support::skip;

/// In bytes, before base64 ("Run commands when you launch an EC2 instance with user data input", EC2 User Guide).
const USER_DATA: usize = 16_384;

#[tokio::test]
async fn a_stack_is_what_the_readme_asks_for() {
    let Some(stage) = Stage::set().await else { return };
    stage.create();
    let group = the_group(&stage);
    the_launch_template(&stage, &group);
    the_user_data(&stage, &group);
    the_role(&stage);
    the_clients_policy(&stage);
    the_ports(&stage);
    the_health_check(&stage);
    the_outputs(&stage);
    the_gaps(&stage);
}

fn the_group(stage: &Stage) -> Value {
    let groups = stage.aws("autoscaling describe-auto-scaling-groups")["AutoScalingGroups"].take();
    let group = &groups[0];
    assert_eq!(groups.as_array().unwrap().len(), 1);
    assert_eq!(group["AutoScalingGroupName"], STACK);
    assert_eq!([&group["MinSize"], &group["DesiredCapacity"], &group["MaxSize"]], [3, 3, 4]);
    assert_eq!(group["HealthCheckType"], "EC2", "a lost quorum must not terminate the members");
    assert_eq!(group["TargetGroupARNs"], json!([stage.physical("Targets")]));
    assert_eq!(group["LaunchTemplate"]["LaunchTemplateId"], stage.physical("LaunchTemplate"));
    assert_eq!(group["LaunchTemplate"]["Version"], "1", "no $Latest");
    assert_eq!(group["Instances"].as_array().unwrap().len(), 3);
    group.clone()
}

/// The newest version of the launch template, without its user data, and that.
fn launch_template(stage: &Stage, group: &Value) -> (Value, Vec<u8>) {
    let id = group["LaunchTemplate"]["LaunchTemplateId"].as_str().unwrap();
    let version = group["LaunchTemplate"]["Version"].as_str().unwrap();
    let words = "ec2 describe-launch-template-versions --query LaunchTemplateVersions[0].LaunchTemplateData";
    let mut data = stage.aws(&format!("{words} --launch-template-id {id} --versions {version}"));
    let user_data = data.as_object_mut().unwrap().remove("UserData").expect("it has user data");
    (data, STANDARD.decode(user_data.as_str().unwrap()).unwrap())
}

fn the_launch_template(stage: &Stage, group: &Value) {
    let profile = format!("arn:aws:iam::{ACCOUNT}:instance-profile/{}", stage.physical("Profile"));
    let disk = json!({ "Encrypted": true, "DeleteOnTermination": true, "VolumeSize": 20, "VolumeType": "gp3" });
    let wanted = json!({
        "ImageId": "ami-0f1a7ca4",
        "InstanceType": "t3.small",
        "IamInstanceProfile": { "Arn": profile },
        "SecurityGroupIds": [stage.physical("Members")],
        "MetadataOptions": { "HttpTokens": "required", "HttpPutResponseHopLimit": 1, "HttpEndpoint": "enabled" },
        "BlockDeviceMappings": [{ "DeviceName": "/dev/xvda", "Ebs": disk }],
    });
    assert_eq!(launch_template(stage, group).0, wanted);
}

/// It is `member.ign`, but for what a stack decides.
fn the_user_data(stage: &Stage, group: &Value) {
    let user_data = launch_template(stage, group).1;
    println!("the user data has {} bytes", user_data.len());
    assert!(user_data.len() < USER_DATA, "{} bytes", user_data.len());
    validate(stage, &user_data);
    let config: Value = serde_json::from_slice(&user_data).unwrap();
    let member: Value = serde_json::from_str(&read("ignition/member.ign")).unwrap();

    let sources = |config: &Value| -> Vec<(String, Value)> {
        let files = config["storage"]["files"].as_array().unwrap().iter();
        files.map(|file| (file["path"].as_str().unwrap().to_owned(), file.clone())).collect()
    };
    let (member_files, files) = (sources(&member), sources(&config));
    let changed: Vec<_> =
        files.iter().filter(|file| !member_files.contains(file)).map(|(path, _)| path.as_str()).collect();
    let drop_ins = "/etc/systemd/system/etcd-member.service.d";
    let (image, metrics) = (format!("{drop_ins}/20-image.conf"), format!("{drop_ins}/30-metrics.conf"));
    let options = "/etc/etcd-bootstrap/etcd-bootstrap.env";
    assert_eq!(changed, ["/opt/bin/etcd-bootstrap", options, &image, &metrics]);
    assert_eq!(files.len(), member_files.len() + 1);
    assert_eq!(config["storage"]["directories"], member["storage"]["directories"]);
    let mut units = member["systemd"]["units"].as_array().unwrap().clone();
    units.push(json!({ "name": "etcd-bootstrap-snapshot.timer", "enabled": true }));
    assert_eq!(config["systemd"]["units"], json!(units));

    let file = |path: &str| &files.iter().find(|(name, _)| name == path).unwrap().1["contents"];
    let binary = file("/opt/bin/etcd-bootstrap");
    assert_eq!(binary["source"], "s3://binaries/etcd-bootstrap-x86_64-unknown-linux-musl");
    assert_eq!(binary["verification"]["hash"], format!("sha512-{}", "0123456789abcdef".repeat(8)));
    let balancer = stage.aws("elbv2 describe-load-balancers --query LoadBalancers[0].DNSName");
    let lines = [
        // Those of member.bu, for these names are the stack's too.
        "ETCD_BOOTSTRAP_ETCD_VERSION=v3.6.16",
        "ETCD_BOOTSTRAP_PRIVATE_ADDRESSES=true",
        "ETCD_BOOTSTRAP_MEMBER_AUTHORITY=alias/etcd-members",
        "ETCD_BOOTSTRAP_CLIENT_AUTHORITY=alias/etcd-clients",
        &format!("ETCD_BOOTSTRAP_CERTIFICATE_NAMES={}", balancer.as_str().unwrap()),
        &format!("ETCD_BOOTSTRAP_SNAPSHOT_TO=s3://{}/{STACK}", stage.physical("Snapshots")),
    ];
    assert_eq!(plain(file(options)), lines.map(|line| format!("{line}\n")).concat());
    assert!(read("ignition/member.bu").contains(&lines[..4].join("\n          ")), "member.bu has the first four");
    assert_eq!(plain(file(&image)), "[Service]\nEnvironment=ETCD_IMAGE_TAG=v3.6.16\n");
    assert_eq!(plain(file(&metrics)), "[Service]\nEnvironment=ETCD_LISTEN_METRICS_URLS=http://0.0.0.0:2381\n");
}

/// The text of a `data:,` URL.
fn plain(contents: &Value) -> String {
    let source = contents["source"].as_str().unwrap().strip_prefix("data:,").expect("it is not compressed");
    percent_encoding::percent_decode_str(source).decode_utf8().unwrap().into_owned()
}

fn validate(stage: &Stage, config: &[u8]) {
    let validator = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/ignition-validate");
    if !validator.is_file() {
        return skip(format_args!("there is no {}: tests/tools/install config", validator.display()));
    }
    let path = stage.directory.path().join("user-data.ign");
    std::fs::write(&path, config).unwrap();
    let done = Command::new(validator).arg(path).output().unwrap();
    // It is content with what it only warns of.
    assert!(done.status.success() && done.stdout.is_empty() && done.stderr.is_empty(), "{done:?}");
}

/// A policy of the role. moto prints it as Python does.
fn policy(stage: &Stage, role: &str, name: &str) -> Value {
    let words = format!("iam get-role-policy --role-name {role} --policy-name {name}");
    let document = stage.aws(&words)["PolicyDocument"].take();
    let json = document.as_str().unwrap_or_default().replace('\'', "\"");
    serde_json::from_str(&json).unwrap_or(document)
}

/// What README.md's capitals are in this stack.
fn names(stage: &Stage) -> [(&'static str, String); 7] {
    let key = |key: &str| format!("arn:aws:kms:{REGION}:{ACCOUNT}:key/{}", stage.physical(key));
    [
        ("REGION", REGION.to_owned()),
        ("ACCOUNT", ACCOUNT.to_owned()),
        ("GROUP", STACK.to_owned()),
        ("MEMBERS-KEY-ARN", key("MembersKey")),
        ("CLIENTS-KEY-ARN", key("ClientsKey")),
        ("BUCKET", stage.physical("Snapshots")),
        ("PREFIX", STACK.to_owned()),
    ]
}

fn the_role(stage: &Stage) {
    let role = stage.physical("Role");
    let names = names(stage);
    let names: Vec<(&str, &str)> = names.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(policy(stage, &role, "group"), readme_json("## IAM", "", &names));
    let certificates = readme_json("## Certificates", "besides the [policy]", &names);
    assert_eq!(policy(stage, &role, "certificates")["Statement"], certificates);
    let snapshots = readme_json("## Snapshots", "<!-- snapshot policy -->", &names);
    // The third is for a bucket with a key of KMS.
    assert_eq!(policy(stage, &role, "snapshots")["Statement"], json!(snapshots.as_array().unwrap()[..2]));
    let binary = json!([{
        "Effect": "Allow",
        "Action": "s3:GetObject",
        "Resource": "arn:aws:s3:::binaries/etcd-bootstrap-x86_64-unknown-linux-musl",
    }]);
    assert_eq!(policy(stage, &role, "binary")["Statement"], binary);
    let all = stage.aws(&format!("iam list-role-policies --role-name {role}"));
    assert_eq!(all["PolicyNames"], json!(["group", "certificates", "snapshots", "binary"]));
    let attached = stage.aws(&format!("iam list-attached-role-policies --role-name {role}"));
    assert_eq!(attached["AttachedPolicies"], json!([]));
}

/// As README.md says of a consumer: the two reads, both public keys, the clients' signature.
fn the_clients_policy(stage: &Stage) {
    let arn = stage.physical("ClientPolicy");
    let document = stage.aws(&format!("iam get-policy-version --version-id v1 --policy-arn {arn}"));
    let statements = &document["PolicyVersion"]["Document"]["Statement"];
    let names = names(stage);
    let names: Vec<(&str, &str)> = names.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut wanted = readme_json("## Certificates", "besides the [policy]", &names);
    wanted[1]["Resource"] = json!(names[4].1);
    let reads = ["autoscaling:DescribeAutoScalingGroups", "ec2:DescribeInstances"];
    assert_eq!(statements[0], json!({ "Effect": "Allow", "Action": reads, "Resource": "*" }));
    assert_eq!(json!(statements.as_array().unwrap()[1..]), wanted);
}

/// Each group's rules, as "ports from group", and nothing is open to an address.
fn the_ports(stage: &Stage) {
    let ids = ["Members", "Clients", "Doorstep"].map(|name| (name, stage.physical(name)));
    let name = |id: &Value| ids.iter().find(|(_, own)| id == own).map_or("a stranger", |(name, _)| name);
    let wanted: [(&str, &[&str]); 3] = [
        (
            "Members",
            &["2379-2379 from Clients", "2379-2379 from Doorstep", "2379-2380 from Members", "2381-2381 from Doorstep"],
        ),
        ("Clients", &[]),
        ("Doorstep", &["2379-2379 from Clients"]),
    ];
    for (group, rules) in wanted {
        let id = stage.physical(group);
        let words = format!("ec2 describe-security-groups --group-ids {id} --query SecurityGroups[0].IpPermissions");
        let mut found = Vec::new();
        for rule in stage.aws(&words).as_array().unwrap() {
            assert_eq!(rule["IpProtocol"], "tcp");
            assert!(["IpRanges", "Ipv6Ranges", "PrefixListIds"].iter().all(|kind| rule[kind] == json!([])), "{rule}");
            for from in rule["UserIdGroupPairs"].as_array().unwrap() {
                found.push(format!("{}-{} from {}", rule["FromPort"], rule["ToPort"], name(&from["GroupId"])));
            }
        }
        found.sort();
        assert_eq!(found, rules, "{group}");
    }
}

fn the_health_check(stage: &Stage) {
    let targets = stage.aws("elbv2 describe-target-groups --query TargetGroups[0]");
    let wanted = json!({
        "Protocol": "TCP",
        "Port": 2379,
        "TargetType": "instance",
        "HealthCheckProtocol": "HTTP",
        "HealthCheckPort": "2381",
        "HealthCheckPath": "/readyz",
        "HealthCheckIntervalSeconds": 10,
        "HealthyThresholdCount": 2,
        "UnhealthyThresholdCount": 2,
    });
    for (name, value) in wanted.as_object().unwrap() {
        assert_eq!(&targets[name], value, "{name}");
    }
    let balancer = stage.aws("elbv2 describe-load-balancers --query LoadBalancers[0]");
    assert_eq!([&balancer["Scheme"], &balancer["SecurityGroups"][0]], ["internal", &stage.physical("Doorstep")]);
}

fn the_outputs(stage: &Stage) {
    let outputs = stage.aws("cloudformation describe-stacks --query Stacks[0].Outputs");
    let outputs = outputs.as_array().unwrap().iter();
    let outputs: Vec<_> =
        outputs.map(|output| [&output["OutputKey"], &output["OutputValue"]].map(|v| v.as_str().unwrap())).collect();
    let balancer = stage.aws("elbv2 describe-load-balancers --query LoadBalancers[0].DNSName");
    let wanted = [
        ("Endpoint", format!("https://{}:2379", balancer.as_str().unwrap())),
        ("Group", STACK.to_owned()),
        ("ClientSecurityGroup", stage.physical("Clients")),
        ("ClientPolicy", stage.physical("ClientPolicy")),
        ("MembersAuthority", "alias/etcd-members".to_owned()),
        ("ClientsAuthority", "alias/etcd-clients".to_owned()),
        ("SnapshotUrl", format!("s3://{}/{STACK}", stage.physical("Snapshots"))),
    ];
    assert_eq!(outputs, wanted.each_ref().map(|(name, value)| [name, value.as_str()]));
}

/// What is listed as a gap is one: the day that moto fills it, the test of the stack can look there.
fn the_gaps(stage: &Stage) {
    let hooks = stage.aws(&format!("autoscaling describe-lifecycle-hooks --auto-scaling-group-name {STACK}"));
    assert_eq!(hooks["LifecycleHooks"], json!([]), "moto makes the hooks: look at them");
    let group = stage.aws("autoscaling describe-auto-scaling-groups --query AutoScalingGroups[0]");
    for property in ["InstanceMaintenancePolicy", "DefaultInstanceWarmup"] {
        assert_eq!(group[property], Value::Null, "moto knows {property}: look at it");
    }
    let balancer = stage.aws("elbv2 describe-load-balancers --query LoadBalancers[0].Type");
    assert_eq!(balancer, "application", "moto makes network load balancers: give it the listener");
    let bucket = stage.physical("Snapshots");
    assert!(stage.try_aws(&format!("s3api get-bucket-lifecycle-configuration --bucket {bucket}")).is_err());
    assert!(stage.try_aws(&format!("s3api get-public-access-block --bucket {bucket}")).is_err());
}

#[tokio::test]
async fn a_second_deploy_changes_nothing_and_a_new_etcd_the_launch_template_alone() {
    let Some(stage) = Stage::set().await else { return };
    let resources = || {
        let names = "StackResources[].[LogicalResourceId,PhysicalResourceId]";
        stage.aws(&format!("cloudformation describe-stack-resources --stack-name {STACK} --query {names}"))
    };
    let group = || stage.aws("autoscaling describe-auto-scaling-groups --query AutoScalingGroups[0]");
    stage.deploy(&stage.parameters());
    let before = (resources(), group());
    let again = stage.try_deploy(&[]).expect_err("there is nothing to change");
    assert!(again.contains("No updates are to be performed"), "{again}");
    assert_eq!((resources(), group()), before);

    // moto's gap: it cannot take the subnets of before.
    stage.deploy(&[stage.parameters().swap_remove(1), ("EtcdVersion", "v3.7.3".to_owned())]);
    assert_eq!(resources(), before.0, "nothing is replaced");
    let after = group();
    assert_eq!(after["LaunchTemplate"]["Version"], "2");
    let (settings, user_data) = launch_template(&stage, &after);
    let (settings_before, user_data_before) = launch_template(&stage, &before.1);
    assert_eq!(settings, settings_before);
    let (text, text_before) = (String::from_utf8(user_data).unwrap(), String::from_utf8(user_data_before).unwrap());
    assert_eq!(text, text_before.replace("v3.6.16", "v3.7.3"));
    assert_eq!(text.matches("v3.7.3").count(), 2, "the agent's option and the image's tag");
}

#[tokio::test]
async fn a_deleted_stack_leaves_the_snapshots() {
    let Some(stage) = Stage::set().await else { return };
    stage.deploy(&stage.parameters());
    let (bucket, policy) = (stage.physical("Snapshots"), stage.physical("ClientPolicy"));
    let (targets, keys) = (stage.physical("Targets"), ["MembersKey", "ClientsKey"].map(|key| stage.physical(key)));
    stage.aws(&format!("s3api put-object --bucket {bucket} --key {STACK}/daily/1/20261127T000000Z.db"));
    stage.aws(&format!("cloudformation delete-stack --stack-name {STACK}"));
    stage.aws(&format!("cloudformation wait stack-delete-complete --stack-name {STACK}"));

    assert_eq!(stage.aws("s3api list-buckets --query Buckets[].Name"), json!([bucket]));
    for nothing in [
        "autoscaling describe-auto-scaling-groups --query AutoScalingGroups[]",
        "ec2 describe-launch-templates --query LaunchTemplates[]",
        "ec2 describe-instances --query Reservations[].Instances[?State.Name!='terminated'][]",
        "ec2 describe-security-groups --query SecurityGroups[?GroupName!='default']",
        "elbv2 describe-load-balancers --query LoadBalancers[]",
        "iam list-roles --query Roles[]",
        "iam list-instance-profiles --query InstanceProfiles[]",
        "kms list-aliases --query Aliases[?starts_with(AliasName,'alias/etcd')]",
    ] {
        assert_eq!(stage.aws(nothing), json!([]), "{nothing}");
    }
    let left = stage.aws("kms list-keys --query Keys[].KeyId");
    assert!(keys.iter().all(|key| !left.as_array().unwrap().contains(&json!(key))), "KMS keeps them for 30 days");
    // moto's gaps: AWS deletes them.
    assert_eq!(stage.aws("iam list-policies --scope Local --query Policies[].Arn"), json!([policy]));
    assert_eq!(stage.aws("elbv2 describe-target-groups --query TargetGroups[].TargetGroupArn"), json!([targets]));
}
