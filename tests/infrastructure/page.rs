//! Every command of docs/first-cluster.md that calls AWS, in its order, in one shell, with moto as AWS.

use std::collections::BTreeSet;

use serde_json::json;

use super::{STACK, Stage, read, template_for_moto};

const PAGE: &str = "docs/first-cluster.md";

/// Calls that moto (5.2.5) cannot answer, and why. The CLI holds them against its model of the API all the same.
const GAPS: [(&str, &str); 2] = [
    ("autoscaling start-instance-refresh", "it has no instance refreshes"),
    ("autoscaling describe-instance-refreshes", "it has no instance refreshes"),
];

/// What a person has before: what `make dist` has made, an instance in the VPC, and its role.
const BEFORE: &str = r#"
mkdir -p target/dist/cloudformation
echo binary >target/dist/etcd-bootstrap-x86_64-unknown-linux-musl
(cd target/dist && sha512sum etcd-bootstrap-x86_64-unknown-linux-musl >etcd-bootstrap-x86_64-unknown-linux-musl.sha512)
mv etcd.yaml target/dist/cloudformation/
ROLE=app
command aws iam create-role --role-name $ROLE --assume-role-policy-document '{}' >role
GROUP=$(command aws ec2 describe-security-groups --query 'SecurityGroups[0].GroupId' --output text)
INSTANCE=$(command aws ec2 run-instances --image-id ami-0f1a7ca4 --security-group-ids $GROUP \
	--query 'Instances[0].InstanceId' --output text)
"#;

/// Counts each call, and makes it; those that moto cannot answer have to end with its fault. A deploy gets the subnets again, which
/// moto cannot take from the one before.
const WRAPPED: &str = r#"
aws() {
	echo "$1 $2" >>calls
	if [[ " $GAPS " == *" $1-$2 "* ]]; then
		! told=$(AWS_MAX_ATTEMPTS=1 command aws "$@" 2>&1)
		[[ $told == *'Internal Server Error'* ]] || { echo "no gap: $told" >&2; exit 1; }
	elif [ $2 = deploy ]; then
		command aws "$@" Subnets=$SUBNETS
	else
		command aws "$@"
	fi
}
"#;

/// The page's blocks of code that call AWS. What they consist of besides is shell.
fn blocks(page: &str) -> Vec<String> {
    let mut blocks = vec![String::new()];
    for line in page.lines() {
        match line.strip_prefix("    ") {
            Some(code) => blocks.last_mut().unwrap().push_str(&format!("{code}\n")),
            None => blocks.push(String::new()),
        }
    }
    blocks.retain(|block| block.contains("aws "));
    blocks
}

#[tokio::test]
async fn every_command_of_the_page_that_calls_aws_works() {
    let Some(stage) = Stage::set().await else { return };
    stage.write("etcd.yaml", &template_for_moto());
    let page = read(PAGE);
    let blocks = blocks(&page);
    let script = format!("set -euo pipefail\n{BEFORE}{WRAPPED}set -x\n{}", blocks.concat());
    let mut shell = stage.cli.command("bash");
    shell.env("GAPS", GAPS.map(|(call, _)| call.replace(' ', "-")).join(" "));
    let done = shell.args(["-c", &script]).output().unwrap();
    let told = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(done.status.success(), "{}\n{}", told(&done.stdout), told(&done.stderr));
    // What a query does not find is None.
    let trace = told(&done.stderr);
    let lost: Vec<&str> = trace.lines().filter(|line| line.starts_with('+') && line.ends_with("=None")).collect();
    assert!(lost.is_empty(), "{lost:?}");

    let calls = std::fs::read_to_string(stage.directory.path().join("calls")).unwrap();
    let calls: Vec<&str> = calls.lines().collect();
    let written = blocks.concat().lines().map(|line| line.matches("aws ").count()).sum::<usize>();
    assert_eq!(calls.len(), written, "each is called, and once: {calls:?}");
    let unused: Vec<_> = GAPS.iter().filter(|(call, _)| !calls.contains(call)).collect();
    assert!(unused.is_empty(), "the page has no {unused:?}");

    // At its end everything is removed, and in between it was there.
    assert!(told(&done.stdout).contains("InService"), "{}", told(&done.stdout));
    let groups = stage.aws("autoscaling describe-auto-scaling-groups --query AutoScalingGroups[].AutoScalingGroupName");
    assert_eq!(groups, json!([]), "{STACK} is gone");
    assert_eq!(stage.aws("s3api list-buckets --query Buckets[].Name"), json!([]));
    // AWS deletes no policy that is attached and no security group that is in use; moto does not mind.
    assert_eq!(stage.aws("iam list-attached-role-policies --role-name app")["AttachedPolicies"], json!([]));
    let groups = "Reservations[].Instances[?State.Name=='running'][].SecurityGroups[].GroupName";
    assert_eq!(stage.aws(&format!("ec2 describe-instances --query {groups}")), json!(["default"]));
}

/// In running text too: what is named as a command is one of the CLI's that the page runs, or a way back from it.
#[test]
fn no_command_hides_in_the_text_of_the_page() {
    let page = read(PAGE);
    let named: BTreeSet<&str> = page.split('`').skip(1).step_by(2).filter(|words| words.starts_with("aws ")).collect();
    assert_eq!(named, BTreeSet::from(["aws kms cancel-key-deletion"]));
    let fenced = page.contains("```");
    assert!(!fenced, "code is indented, so that the test finds it");
}
