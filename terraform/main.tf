# One etcd cluster: a group of a fixed size, its launch template, role, keys, security groups, load balancer and bucket.
# It is the group of cloudformation/etcd.yaml, and `make terraform-test` compares the two. Where they differ without a
# reason that is written there, the template is right.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  region    = data.aws_region.current.region

  vpc_id     = var.create_vpc ? aws_vpc.this[0].id : var.vpc_id
  subnet_ids = var.create_vpc ? aws_subnet.this[*].id : var.subnet_ids

  bucket = var.create_snapshot_bucket ? aws_s3_bucket.snapshots[0].bucket : var.snapshot_bucket

  # Not by their ids: an id does not say what it is for, in a log or in a policy of somebody else's.
  authorities = {
    members = aws_kms_alias.members.name
    clients = aws_kms_alias.clients.name
  }
}
