# A cluster of five on Graviton in subnets that are there, with clients that are there and a bucket of one's own. The
# instances are refreshed as soon as the launch template changes; so the image is a given one.

terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.0"
    }
  }
}

variable "vpc_id" {
  description = "The VPC."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets, each in a zone of its own, with a NAT gateway."
  type        = list(string)
}

variable "client_security_group_id" {
  description = "The security group of the cluster's clients."
  type        = string
}

variable "client_role" {
  description = "The name of their role."
  type        = string
}

variable "ami_id" {
  description = "An image of Flatcar for arm64."
  type        = string
}

variable "snapshot_bucket" {
  description = "A bucket of the region, with the lifecycle rules of the README."
  type        = string
}

variable "binary_url" {
  description = "Where `target/dist/etcd-bootstrap-aarch64-unknown-linux-musl` was uploaded to."
  type        = string
}

variable "binary_sha512" {
  description = "What `make dist ARCH=aarch64` says of it."
  type        = string
}

module "etcd" {
  source = "../.."

  name                   = "etcd"
  size                   = 5
  vpc_id                 = var.vpc_id
  subnet_ids             = var.subnet_ids
  client_security_groups = { application = var.client_security_group_id }
  ami_id                 = var.ami_id
  instance_type          = "t4g.small"
  instance_refresh       = true
  binary_url             = var.binary_url
  binary_sha512          = var.binary_sha512
  create_snapshot_bucket = false
  snapshot_bucket        = var.snapshot_bucket
}

resource "aws_iam_role_policy_attachment" "client" {
  role       = var.client_role
  policy_arn = module.etcd.client_policy_arn
}

output "endpoint" {
  description = "For the clients."
  value       = module.etcd.endpoint
}
