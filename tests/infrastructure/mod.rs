//! The CloudFormation template: applied to moto by the real AWS CLI (`stack`), read for what moto does not apply
//! (`template`), and every command of docs/first-cluster.md (`page`).

mod page;
mod stack;
mod template;

use std::cell::OnceCell;

use serde_json::{Value, json};

use crate::docs::{read, section};
use crate::moto::Moto;
use crate::support::awscli::{AwsCli, template_for_moto, tool};
use crate::support::ground::Directory;
use crate::support::skip;

/// moto's account.
const ACCOUNT: &str = "123456789012";
/// The stack, and so the group.
const STACK: &str = "etcd";

/// What the template asks for and moto's CloudFormation (5.2.5) does not do, by resource and property, and why it stays
/// untried. `template` reads these parts; of the plainest, `stack` sees that moto still cannot do them.
const GAPS: [(&str, &str); 18] = [
    ("Group/LifecycleHookSpecificationList", "it makes the group without its hooks"),
    ("Group/InstanceMaintenancePolicy", "it does not know the property"),
    ("Group/DefaultInstanceWarmup", "it does not know the property"),
    (
        "Group/UpdatePolicy",
        "it knows no policies: at any change it makes another group of the same name, without the agent's tags",
    ),
    ("Balancer/Type", "each load balancer is an application's"),
    ("Balancer/LoadBalancerAttributes", "it does not know the property"),
    ("Targets/TargetGroupAttributes", "it does not know the property"),
    ("Listener", "it refuses TCP, for it takes the load balancer for an application's: it gets the template without"),
    ("MembersKey/KeySpec", "each key is a symmetric one, and its policy is not what its KMS can read"),
    ("ClientsKey/KeySpec", "as the members' key"),
    ("Role/Policies", "it cannot leave one out of the list, as for a binary by https"),
    ("Snapshots/LifecycleConfiguration", "it does not know the property"),
    ("Snapshots/PublicAccessBlockConfiguration", "it does not know the property"),
    ("ClientPolicy", "it leaves the policy behind when it deletes a stack"),
    ("Targets", "it leaves the target group behind when it deletes a stack"),
    ("Rules", "it evaluates none, nor the constraints of parameters"),
    ("Subnets", "it fails at an update that keeps the value of a list: it gets that again"),
    ("Outputs", "it shows none of a stack that was made by a change set, as `aws cloudformation deploy` does"),
];

/// An account at moto, the AWS CLI, and a directory in which to call it.
struct Stage {
    _moto: Moto,
    cli: AwsCli,
    directory: Directory,
    resources: OnceCell<Value>,
}

impl Stage {
    /// None where a tool is not installed, and the test is skipped.
    async fn set() -> Option<Self> {
        if !tool("aws").is_file() {
            skip(format_args!("there is no {}: tests/tools/install aws", tool("aws").display()));
            return None;
        }
        let directory = Directory::new().unwrap();
        // The one image that a Flatcar is looked for among.
        let images = r#"[{"ami_id": "ami-0f1a7ca4", "name": "Flatcar-stable-4459.2.1-hvm", "owner_id": "075585003325",
            "architecture": "x86_64", "public": true, "virtualization_type": "hvm", "root_device_name": "/dev/xvda",
            "root_device_type": "ebs", "state": "available", "description": "", "image_type": "machine",
            "hypervisor": "xen", "creation_date": "2026-11-01T00:00:00.000Z"}]"#;
        let path = directory.path().join("images.json");
        std::fs::write(&path, images).unwrap();
        let moto = Moto::start_with(&[("MOTO_AMIS_PATH", &path.to_string_lossy())]).await?;
        let cli = AwsCli { url: moto.url.clone(), directory: directory.path().to_owned() };
        Some(Self { _moto: moto, cli, directory, resources: OnceCell::new() })
    }

    fn try_aws(&self, words: &str) -> Result<Value, String> {
        self.cli.call(words)
    }

    fn aws(&self, words: &str) -> Value {
        self.try_aws(words).unwrap_or_else(|why| panic!("{why}"))
    }

    /// The parameters that have no default, in the default VPC.
    fn parameters(&self) -> Vec<(&'static str, String)> {
        let subnets = self.aws("ec2 describe-subnets --query Subnets[].[SubnetId,VpcId]");
        let subnets = subnets.as_array().expect("there is a default VPC");
        let ids: Vec<&str> = subnets.iter().filter_map(|subnet| subnet[0].as_str()).collect();
        vec![
            ("Vpc", subnets[0][1].as_str().unwrap_or_default().to_owned()),
            ("Subnets", ids.join(",")),
            ("Image", "ami-0f1a7ca4".to_owned()),
            ("BinaryUrl", "s3://binaries/etcd-bootstrap-x86_64-unknown-linux-musl".to_owned()),
            ("BinarySha512", "0123456789abcdef".repeat(8)),
        ]
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.directory.path().join(name), text).unwrap();
    }

    /// Creates the stack.
    fn create(&self) {
        self.write("etcd.yaml", &template_for_moto());
        let parameters = self.parameters().into_iter();
        let parameters = parameters.map(|(key, value)| json!({ "ParameterKey": key, "ParameterValue": value }));
        self.write("parameters.json", &parameters.collect::<Value>().to_string());
        let words =
            "--template-body file://etcd.yaml --parameters file://parameters.json --capabilities CAPABILITY_IAM";
        self.aws(&format!("cloudformation create-stack --stack-name {STACK} {words}"));
        self.aws(&format!("cloudformation wait stack-create-complete --stack-name {STACK}"));
    }

    /// Makes or changes the stack by a change set, as docs/first-cluster.md does.
    fn try_deploy(&self, parameters: &[(&str, String)]) -> Result<Value, String> {
        self.write("etcd.yaml", &template_for_moto());
        let given: String = parameters.iter().map(|(name, value)| format!(" {name}={value}")).collect();
        let given = if given.is_empty() { given } else { format!("--parameter-overrides {given}") };
        let words = "--template-file etcd.yaml --capabilities CAPABILITY_IAM";
        self.try_aws(&format!("cloudformation deploy --stack-name {STACK} {words} {given}"))
    }

    fn deploy(&self, parameters: &[(&str, String)]) {
        self.try_deploy(parameters).unwrap_or_else(|why| panic!("{why}"));
    }

    /// The AWS name or id of a resource of the stack. They are asked for once: nothing replaces any.
    fn physical(&self, logical: &str) -> String {
        let resources = self.resources.get_or_init(|| {
            let words = "cloudformation describe-stack-resources --query StackResources --stack-name";
            self.aws(&format!("{words} {STACK}"))
        });
        let resources = resources.as_array().expect("it is a list");
        let resource = resources.iter().find(|resource| resource["LogicalResourceId"] == logical);
        let id = resource.and_then(|resource| resource["PhysicalResourceId"].as_str());
        id.unwrap_or_else(|| panic!("the stack has no {logical}")).to_owned()
    }
}

/// The JSON of a section of README.md whose fence follows these words, with names in place of its capitals.
fn readme_json(heading: &str, behind: &str, names: &[(&str, &str)]) -> Value {
    let section = section(heading);
    let rest = section.split_once(behind).unwrap_or_else(|| panic!("{heading} has no '{behind}'")).1;
    let json = rest.split("```json").nth(1).and_then(|rest| rest.split("```").next()).expect("it has JSON");
    let json = names.iter().fold(json.to_owned(), |json, (name, value)| json.replace(name, value));
    serde_json::from_str(&json).expect("it is JSON")
}
