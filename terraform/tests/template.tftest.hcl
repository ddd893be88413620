# The module as it is by its defaults, applied with mocks. tests/tools/terraform-compare reads what this prints, and holds
# it against the CloudFormation template. The names and ids are its too.

mock_provider "aws" {
  override_data {
    target = data.aws_caller_identity.current
    values = { account_id = "123456789012" }
  }
  override_data {
    target = data.aws_partition.current
    values = { partition = "aws" }
  }
  override_data {
    target = data.aws_region.current
    values = { region = "eu-west-1" }
  }
  override_data {
    target = data.aws_subnet.given
    values = { vpc_id = "vpc-1" }
  }
  override_resource {
    target = aws_security_group.clients
    values = { id = "Clients" }
  }
  override_resource {
    target = aws_security_group.members
    values = { id = "Members" }
  }
  override_resource {
    target = aws_security_group.balancer
    values = { id = "Doorstep" }
  }
  override_resource {
    target = aws_kms_key.members
    values = { key_id = "MembersKey", arn = "MembersKey.Arn" }
  }
  override_resource {
    target = aws_kms_key.clients
    values = { key_id = "ClientsKey", arn = "ClientsKey.Arn" }
  }
  override_resource {
    target = aws_iam_role.this
    values = { name = "Role" }
  }
  override_resource {
    target = aws_iam_policy.clients
    values = { arn = "ClientPolicy" }
  }
  override_resource {
    target = aws_iam_instance_profile.this
    values = { arn = "Profile.Arn" }
  }
  override_resource {
    target = aws_s3_bucket.snapshots
    values = { bucket = "Snapshots" }
  }
  override_resource {
    target = aws_lb.this
    values = { arn = "Balancer", dns_name = "Balancer.DNSName" }
  }
  override_resource {
    target = aws_lb_target_group.this
    values = { arn = "Targets" }
  }
  override_resource {
    target = aws_launch_template.this
    values = { id = "LaunchTemplate", latest_version = 1 }
  }
}

run "defaults" {
  variables {
    name          = "etcd"
    vpc_id        = "vpc-1"
    subnet_ids    = ["subnet-1"]
    ami_id        = "ami-0f1a7ca4"
    binary_url    = "s3://binaries/etcd-bootstrap-x86_64-unknown-linux-musl"
    binary_sha512 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
  }
}

run "otherwise" {
  variables {
    name                   = "main"
    size                   = 5
    vpc_id                 = "vpc-1"
    subnet_ids             = ["subnet-1"]
    ami_id                 = "ami-0f1a7ca5"
    instance_type          = "t4g.large"
    volume_size            = 40
    key_name               = "somebody"
    binary_url             = "https://example.com/etcd-bootstrap-aarch64-unknown-linux-musl"
    binary_sha512          = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
    etcd_version           = "v3.5.27"
    create_snapshot_bucket = false
    snapshot_bucket        = "backups"
  }
}
