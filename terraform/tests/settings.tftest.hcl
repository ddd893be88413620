# What the template has not, or only by its parameters. The rest is compared with it: template.tftest.hcl.

mock_provider "aws" {
  override_data {
    target = data.aws_subnet.given
    values = { vpc_id = "vpc-1" }
  }
  override_data {
    target = data.aws_ami.flatcar
    values = { id = "ami-newest" }
  }
  override_resource {
    target = aws_vpc.this
    values = { id = "vpc-2" }
  }
  override_resource {
    target = aws_lb.this
    values = { arn = "arn:aws:elasticloadbalancing", dns_name = "etcd.example.com" }
  }
  override_resource {
    target = aws_launch_template.this
    values = { id = "lt-1", latest_version = 7 }
  }
}

variables {
  name          = "etcd"
  binary_url    = "https://example.com/etcd-bootstrap"
  binary_sha512 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
}

run "clients_that_are_there" {
  variables {
    vpc_id                 = "vpc-1"
    subnet_ids             = ["subnet-1"]
    ami_id                 = "ami-mine"
    client_security_groups = { application = "sg-application" }
    create_snapshot_bucket = false
    snapshot_bucket        = "backups"
    instance_refresh       = true
  }

  assert {
    condition     = aws_vpc_security_group_ingress_rule.members_from_clients["application"].referenced_security_group_id == "sg-application"
    error_message = "The members let the named clients in."
  }

  assert {
    condition     = aws_vpc_security_group_ingress_rule.balancer_from_clients["application"].referenced_security_group_id == "sg-application"
    error_message = "The load balancer lets the named clients in."
  }

  assert {
    condition     = alltrue([for rule in aws_vpc_security_group_ingress_rule.members_from_clients : rule.to_port == 2379])
    error_message = "Clients reach etcd's client port alone."
  }

  assert {
    condition     = length(aws_vpc.this) + length(aws_subnet.this) + length(aws_s3_bucket.snapshots) + length(aws_iam_role_policy.binary) == 0
    error_message = "There is no network and no bucket but those that are given, and no right to a bucket with the binary."
  }

  assert {
    condition     = aws_launch_template.this.image_id == "ami-mine" && length(data.aws_ami.flatcar) == 0
    error_message = "The image is the one that is given."
  }

  # As docs/first-cluster.md begins one.
  assert {
    condition = (
      aws_autoscaling_group.this.instance_refresh[0].preferences[0].min_healthy_percentage == 100 &&
      aws_autoscaling_group.this.instance_refresh[0].preferences[0].max_healthy_percentage == 110 &&
      aws_autoscaling_group.this.instance_refresh[0].preferences[0].skip_matching &&
      jsonencode(aws_autoscaling_group.this.instance_refresh[0].preferences[0].checkpoint_percentages) == "[34,100]" &&
      aws_autoscaling_group.this.instance_refresh[0].preferences[0].checkpoint_delay == "600"
    )
    error_message = "A refresh brings the new instance before the old one goes, and stops after the first."
  }

  assert {
    condition     = aws_autoscaling_group.this.launch_template[0].version == "7"
    error_message = "The group has a numbered version of the launch template."
  }

  assert {
    condition     = output.endpoint == "https://etcd.example.com:2379" && output.snapshot_url == "s3://backups/etcd"
    error_message = "The outputs say where clients and snapshots go."
  }

  assert {
    condition     = output.authority_command == "etcd-bootstrap certificate --authority --member-authority=alias/etcd-members >etcd-ca.pem"
    error_message = "The command writes the certificate of the members' authority."
  }
}

run "user_data" {
  variables {
    vpc_id       = "vpc-1"
    subnet_ids   = ["subnet-1"]
    etcd_version = "v3.7.3"
  }

  assert {
    condition = [
      for file in jsondecode(base64decode(aws_launch_template.this.user_data)).storage.files :
      file.contents if file.path == "/opt/bin/etcd-bootstrap"
    ][0] == { source = "https://example.com/etcd-bootstrap", verification = { hash = "sha512-${var.binary_sha512}" } }
    error_message = "The nodes fetch the binary that is given, and no other."
  }

  assert {
    condition = [
      for file in jsondecode(base64decode(aws_launch_template.this.user_data)).storage.files :
      base64decode(split(",", file.contents.source)[1]) if file.path == "/etc/etcd-bootstrap/etcd-bootstrap.env"
      ][0] == join("", [
        "ETCD_BOOTSTRAP_ETCD_VERSION=v3.7.3\n",
        "ETCD_BOOTSTRAP_PRIVATE_ADDRESSES=true\n",
        "ETCD_BOOTSTRAP_MEMBER_AUTHORITY=alias/etcd-members\n",
        "ETCD_BOOTSTRAP_CLIENT_AUTHORITY=alias/etcd-clients\n",
        "ETCD_BOOTSTRAP_CERTIFICATE_NAMES=etcd.example.com\n",
        "ETCD_BOOTSTRAP_SNAPSHOT_TO=${output.snapshot_url}\n",
    ])
    error_message = "The agent has its options."
  }

  assert {
    condition     = length(base64decode(aws_launch_template.this.user_data)) < 16384
    error_message = "The user data is small enough."
  }

  assert {
    condition     = aws_launch_template.this.image_id == "ami-newest"
    error_message = "The image is the newest Flatcar where none is given."
  }
}

# A state of its own: Terraform moves no group to another VPC.
run "a_vpc_of_its_own" {
  module {
    source = "./examples/complete"
  }

  override_data {
    target = data.aws_availability_zones.available
    values = { names = ["eu-west-1a", "eu-west-1b", "eu-west-1c", "eu-west-1d"] }
  }

  override_resource {
    target = module.etcd.aws_vpc.this
    values = { id = "vpc-3" }
  }

  assert {
    condition     = output.etcd.vpc_id == "vpc-3" && length(output.etcd.subnet_ids) == 3
    error_message = "The example makes a VPC with a subnet in each of three zones."
  }
}

run "subnets_that_are_there" {
  variables {
    vpc_id                   = "vpc-1"
    subnet_ids               = ["subnet-1"]
    client_security_group_id = "sg-application"
    client_role              = "application"
    ami_id                   = "ami-mine"
    snapshot_bucket          = "backups"
  }

  module {
    source = "./examples/existing-vpc"
  }

  override_data {
    target = module.etcd.data.aws_subnet.given
    values = { vpc_id = "vpc-1" }
  }

  assert {
    condition     = startswith(output.endpoint, "https://")
    error_message = "The example has an endpoint."
  }
}

run "plain_instances" {
  variables {
    subnet_ids = ["subnet-1", "subnet-2", "subnet-3"]
    ami_id     = "ami-mine"
  }

  module {
    source = "./examples/plain-instances"
  }

  assert {
    condition     = length(aws_instance.this) == 3 && alltrue([for instance in aws_instance.this : instance.tags.etcd == "etcd"])
    error_message = "Each instance has the tag that makes it one of the group."
  }

  assert {
    condition = strcontains(
      [
        for file in jsondecode(base64decode(aws_instance.this[0].user_data_base64)).storage.files :
        base64decode(split(",", file.contents.source)[1]) if file.path == "/etc/etcd-bootstrap/etcd-bootstrap.env"
      ][0],
      "ETCD_BOOTSTRAP_CLUSTER_SIZE=3\nETCD_BOOTSTRAP_DISCOVER_TAG=etcd=etcd\n"
    )
    error_message = "The agent finds the others by the tag, and knows how many they are."
  }

  assert {
    condition = [
      for statement in jsondecode(aws_iam_role_policy.this.policy).Statement :
      statement.Condition.StringEquals if statement.Action == "ec2:CreateTags"
    ][0] == { "ec2:ResourceTag/etcd" = "etcd" }
    error_message = "The role may mark the instances with the tag, and no others."
  }
}
