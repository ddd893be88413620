# What the nodes may do: the README's policies. The group waits for all of them.

locals {
  group_arns = "arn:${local.partition}:autoscaling:${local.region}:${local.account}:autoScalingGroup:*:autoScalingGroupName/${var.name}"
  bucket_arn = "arn:${local.partition}:s3:::${local.bucket}"

  # Where the binary is fetched from a bucket: BUCKET/KEY.
  binary_object = one(regexall("^s3://(.+)$", var.binary_url)[*][0])

  sign_raw = { StringEquals = { "kms:SigningAlgorithm" = "ECDSA_SHA_256", "kms:MessageType" = "RAW" } }
}

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

resource "aws_iam_role_policy" "group" {
  name = "group"
  role = aws_iam_role.this.name

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect = "Allow"
        Action = [
          "autoscaling:DescribeAutoScalingInstances",
          "autoscaling:DescribeAutoScalingGroups",
          "autoscaling:DescribeLifecycleHooks",
          "ec2:DescribeInstances",
        ]
        Resource = "*"
      },
      {
        Effect   = "Allow"
        Action   = ["autoscaling:CompleteLifecycleAction", "autoscaling:RecordLifecycleActionHeartbeat"]
        Resource = local.group_arns
      },
      {
        Effect   = "Allow"
        Action   = "autoscaling:CreateOrUpdateTags"
        Resource = local.group_arns
        Condition = {
          "ForAllValues:StringEquals" = {
            "aws:TagKeys" = ["etcd-bootstrap/founding", "etcd-bootstrap/cluster-id", "etcd-bootstrap/replaced"]
          }
        }
      },
    ]
  })
}

resource "aws_iam_role_policy" "certificates" {
  name = "certificates"
  role = aws_iam_role.this.name

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect   = "Allow"
        Action   = "kms:GetPublicKey"
        Resource = [aws_kms_key.members.arn, aws_kms_key.clients.arn]
      },
      {
        Effect    = "Allow"
        Action    = "kms:Sign"
        Resource  = aws_kms_key.members.arn
        Condition = local.sign_raw
      },
    ]
  })
}

resource "aws_iam_role_policy" "snapshots" {
  name = "snapshots"
  role = aws_iam_role.this.name

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect    = "Allow"
        Action    = "s3:ListBucket"
        Resource  = local.bucket_arn
        Condition = { StringLike = { "s3:prefix" = "${var.name}/*" } }
      },
      {
        Effect   = "Allow"
        Action   = ["s3:PutObject", "s3:GetObject", "s3:AbortMultipartUpload"]
        Resource = "${local.bucket_arn}/${var.name}/*"
      },
    ]
  })
}

resource "aws_iam_role_policy" "binary" {
  count = local.binary_object == null ? 0 : 1

  name = "binary"
  role = aws_iam_role.this.name

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Effect = "Allow", Action = "s3:GetObject", Resource = "arn:${local.partition}:s3:::${local.binary_object}" },
    ]
  })
}

# For the roles of clients, with the security group of clients: to find the members, and to be one of their clients.
resource "aws_iam_policy" "clients" {
  name_prefix = "${var.name}-clients-"
  description = "Find the members of ${var.name} and get a certificate of its clients"

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect   = "Allow"
        Action   = ["autoscaling:DescribeAutoScalingGroups", "ec2:DescribeInstances"]
        Resource = "*"
      },
      {
        Effect   = "Allow"
        Action   = "kms:GetPublicKey"
        Resource = [aws_kms_key.members.arn, aws_kms_key.clients.arn]
      },
      {
        Effect    = "Allow"
        Action    = "kms:Sign"
        Resource  = aws_kms_key.clients.arn
        Condition = local.sign_raw
      },
    ]
  })
}
