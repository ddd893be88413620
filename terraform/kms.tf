# The authorities. A key that is destroyed can be had back for 30 days. The policy is the one that KMS gives by itself: who
# may do what is up to the policies of the account's roles.

locals {
  key_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { AWS = "arn:${local.partition}:iam::${local.account}:root" }
      Action    = "kms:*"
      Resource  = "*"
    }]
  })
}

resource "aws_kms_key" "members" {
  description              = "members of etcd"
  customer_master_key_spec = "ECC_NIST_P256"
  key_usage                = "SIGN_VERIFY"
  policy                   = local.key_policy
}

resource "aws_kms_alias" "members" {
  name          = "alias/${var.name}-members"
  target_key_id = aws_kms_key.members.key_id
}

resource "aws_kms_key" "clients" {
  description              = "clients of etcd"
  customer_master_key_spec = "ECC_NIST_P256"
  key_usage                = "SIGN_VERIFY"
  policy                   = local.key_policy
}

resource "aws_kms_alias" "clients" {
  name          = "alias/${var.name}-clients"
  target_key_id = aws_kms_key.clients.key_id
}
