# A cluster of three in a VPC of its own, on the newest stable Flatcar.

terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.0"
    }
  }
}

variable "region" {
  description = "Where."
  type        = string
  default     = "eu-west-1"
}

variable "binary_url" {
  description = "Where `target/dist/etcd-bootstrap-x86_64-unknown-linux-musl` was uploaded to: s3://BUCKET/KEY or https://..."
  type        = string
}

variable "binary_sha512" {
  description = "What `make dist` says of it."
  type        = string
}

provider "aws" {
  region = var.region
}

data "aws_availability_zones" "available" {
  state = "available"

  # No local zones, which have no network load balancer.
  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

module "etcd" {
  source = "../.."

  name          = "etcd"
  create_vpc    = true
  azs           = slice(data.aws_availability_zones.available.names, 0, 3)
  binary_url    = var.binary_url
  binary_sha512 = var.binary_sha512
}

output "etcd" {
  description = "The endpoint, the security groups, the authorities, and where the snapshots are."
  value       = module.etcd
}
