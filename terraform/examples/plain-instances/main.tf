# Three instances that no Auto Scaling group launches: a tag makes them a group ("Plain instances" in the README). Nobody
# replaces what is dead but another apply, after `-replace=aws_instance.this[0]`. Replace one at a time: three new ones at
# once are another cluster.

terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.0"
    }
  }
}

variable "name" {
  description = "What the names begin with, and the value of the tag."
  type        = string
  default     = "etcd"
}

variable "subnet_ids" {
  description = "A subnet for each instance, all of one VPC, with a way to the APIs of AWS and to quay.io."
  type        = list(string)

  validation {
    condition     = contains([1, 3, 5, 7], length(var.subnet_ids))
    error_message = "There must be 1, 3, 5 or 7 subnet_ids, one for each member."
  }
}

variable "ami_id" {
  description = "An image of Flatcar."
  type        = string
}

variable "binary_url" {
  description = "Where `target/dist/etcd-bootstrap-x86_64-unknown-linux-musl` was uploaded to, by https."
  type        = string

  validation {
    condition     = startswith(var.binary_url, "https://")
    error_message = "The binary_url must begin with https://, for the role has no right to read a bucket."
  }
}

variable "binary_sha512" {
  description = "What `make dist` says of it."
  type        = string
}

locals {
  tag  = { key = "etcd", value = var.name }
  keys = toset(["members", "clients"])
}

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

data "aws_subnet" "first" {
  id = var.subnet_ids[0]
}

# ---------------------------------------------------------------- who may reach whom

# The clients have this group, and all of them reach port 2379 alone.
resource "aws_security_group" "clients" {
  name_prefix = "${var.name}-clients-"
  description = "Clients of ${var.name}"
  vpc_id      = data.aws_subnet.first.vpc_id
}

resource "aws_security_group" "members" {
  name_prefix = "${var.name}-members-"
  description = "Members of ${var.name}"
  vpc_id      = data.aws_subnet.first.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "members" {
  security_group_id            = aws_security_group.members.id
  ip_protocol                  = "tcp"
  from_port                    = 2379
  to_port                      = 2380
  referenced_security_group_id = aws_security_group.members.id
}

resource "aws_vpc_security_group_ingress_rule" "clients" {
  security_group_id            = aws_security_group.members.id
  ip_protocol                  = "tcp"
  from_port                    = 2379
  to_port                      = 2379
  referenced_security_group_id = aws_security_group.clients.id
}

resource "aws_vpc_security_group_egress_rule" "members" {
  security_group_id = aws_security_group.members.id
  ip_protocol       = "-1"
  cidr_ipv4         = "0.0.0.0/0"
}

# ---------------------------------------------------------------- the authorities

resource "aws_kms_key" "this" {
  for_each = local.keys

  description              = "${each.key} of etcd"
  customer_master_key_spec = "ECC_NIST_P256"
  key_usage                = "SIGN_VERIFY"
}

resource "aws_kms_alias" "this" {
  for_each = local.keys

  name          = "alias/${var.name}-${each.key}"
  target_key_id = aws_kms_key.this[each.key].key_id
}

# ---------------------------------------------------------------- what the nodes may do

resource "aws_iam_role" "this" {
  name_prefix = "${var.name}-"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Effect = "Allow", Principal = { Service = "ec2.amazonaws.com" }, Action = "sts:AssumeRole" },
    ]
  })
}

resource "aws_iam_instance_profile" "this" {
  name_prefix = "${var.name}-"
  role        = aws_iam_role.this.name
}

resource "aws_iam_role_policy" "this" {
  name = "etcd-bootstrap"
  role = aws_iam_role.this.name

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Effect = "Allow", Action = "ec2:DescribeInstances", Resource = "*" },
      {
        Effect   = "Allow"
        Action   = "ec2:CreateTags"
        Resource = "arn:${data.aws_partition.current.partition}:ec2:${data.aws_region.current.region}:${data.aws_caller_identity.current.account_id}:instance/*"
        Condition = {
          StringEquals                = { "ec2:ResourceTag/${local.tag.key}" = local.tag.value }
          "ForAllValues:StringEquals" = { "aws:TagKeys" = ["etcd-bootstrap/cluster-id", "etcd-bootstrap/replaced"] }
        }
      },
      {
        Effect   = "Allow"
        Action   = "kms:GetPublicKey"
        Resource = [aws_kms_key.this["members"].arn, aws_kms_key.this["clients"].arn]
      },
      {
        Effect    = "Allow"
        Action    = "kms:Sign"
        Resource  = aws_kms_key.this["members"].arn
        Condition = { StringEquals = { "kms:SigningAlgorithm" = "ECDSA_SHA_256", "kms:MessageType" = "RAW" } }
      },
    ]
  })
}

# ---------------------------------------------------------------- the members

module "user_data" {
  source = "../../modules/user-data"

  binary_url    = var.binary_url
  binary_sha512 = var.binary_sha512
  etcd_version  = "v3.6.16"

  options = {
    ETCD_BOOTSTRAP_DISCOVER_TAG     = "${local.tag.key}=${local.tag.value}"
    ETCD_BOOTSTRAP_CLUSTER_SIZE     = length(var.subnet_ids)
    ETCD_BOOTSTRAP_MEMBER_AUTHORITY = aws_kms_alias.this["members"].name
    ETCD_BOOTSTRAP_CLIENT_AUTHORITY = aws_kms_alias.this["clients"].name
  }
}

resource "aws_instance" "this" {
  count = length(var.subnet_ids)

  ami                    = var.ami_id
  instance_type          = "t3.small"
  subnet_id              = var.subnet_ids[count.index]
  vpc_security_group_ids = [aws_security_group.members.id]
  iam_instance_profile   = aws_iam_instance_profile.this.name
  user_data_base64       = base64encode(module.user_data.ignition)

  # At the launch, and not after it: an instance without the tag is none of the group's.
  tags = { Name = var.name, (local.tag.key) = local.tag.value }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  root_block_device {
    volume_type = "gp3"
    volume_size = 20
    encrypted   = true
  }

  depends_on = [
    aws_iam_role_policy.this,
    aws_vpc_security_group_egress_rule.members,
    aws_vpc_security_group_ingress_rule.members,
  ]

  lifecycle {
    ignore_changes = [
      # The agent's are among them.
      tags,
      # All instances at once would be replaced, or stopped, by a change of these: they are for the next one.
      ami, user_data_base64,
    ]
  }
}

output "instance_ids" {
  description = "The members."
  value       = aws_instance.this[*].id
}

output "client_security_group_id" {
  description = "The security group for clients."
  value       = aws_security_group.clients.id
}
