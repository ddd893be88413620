# What the module refuses, each with a sentence.

mock_provider "aws" {
  override_data {
    target = data.aws_subnet.given
    values = { vpc_id = "vpc-1", availability_zone = "eu-west-1a" }
  }
}

variables {
  name          = "etcd"
  vpc_id        = "vpc-1"
  subnet_ids    = ["subnet-1"]
  ami_id        = "ami-0f1a7ca4"
  binary_url    = "https://example.com/etcd-bootstrap"
  binary_sha512 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
}

run "a_name_in_capitals" {
  command = plan

  variables {
    name = "Etcd"
  }

  expect_failures = [var.name]
}

run "a_name_too_long_for_a_load_balancer" {
  command = plan

  variables {
    name = "etcd-of-the-whole-wide-world"
  }

  expect_failures = [var.name]
}

run "a_name_that_aws_keeps" {
  command = plan

  variables {
    name = "internal-etcd"
  }

  expect_failures = [var.name]
}

run "a_name_of_a_security_group" {
  command = plan

  variables {
    name = "sg-etcd"
  }

  expect_failures = [var.name]
}

run "clients_whose_name_ec2_refuses" {
  command = plan

  variables {
    client_security_groups = { "the app's" = "sg-1" }
  }

  expect_failures = [var.client_security_groups]
}

run "clients_in_the_name_of_the_cluster" {
  command = plan

  variables {
    client_security_groups = { etcd = "sg-1" }
  }

  expect_failures = [var.client_security_groups]
}

run "an_even_size" {
  command = plan

  variables {
    size = 4
  }

  expect_failures = [var.size]
}

run "no_member" {
  command = plan

  variables {
    size = 0
  }

  expect_failures = [var.size]
}

run "too_many_members" {
  command = plan

  variables {
    size = 9
  }

  expect_failures = [var.size]
}

run "no_instance_type" {
  command = plan

  variables {
    instance_type = "small"
  }

  expect_failures = [var.instance_type]
}

run "a_volume_too_small" {
  command = plan

  variables {
    volume_size = 5
  }

  expect_failures = [var.volume_size]
}

run "half_a_gibibyte" {
  command = plan

  variables {
    volume_size = 20.5
  }

  expect_failures = [var.volume_size]
}

run "a_key_name_with_quotes" {
  command = plan

  variables {
    key_name = "a\"b"
  }

  expect_failures = [var.key_name]
}

run "a_binary_by_http" {
  command = plan

  variables {
    binary_url = "http://example.com/etcd-bootstrap"
  }

  expect_failures = [var.binary_url]
}

run "a_binary_url_with_quotes" {
  command = plan

  variables {
    binary_url = "https://example.com/\""
  }

  expect_failures = [var.binary_url]
}

run "a_checksum_too_short" {
  command = plan

  variables {
    binary_sha512 = "0123"
  }

  expect_failures = [var.binary_sha512]
}

run "an_etcd_too_old" {
  command = plan

  variables {
    etcd_version = "v3.5.25"
  }

  expect_failures = [var.etcd_version]
}

run "an_etcd_without_a_v" {
  command = plan

  variables {
    etcd_version = "3.6.16"
  }

  expect_failures = [var.etcd_version]
}

run "an_unknown_architecture" {
  command = plan

  variables {
    architecture = "aarch64"
  }

  expect_failures = [var.architecture]
}

run "a_bucket_that_is_none" {
  command = plan

  variables {
    snapshot_bucket        = "s3://backups"
    create_snapshot_bucket = false
  }

  expect_failures = [var.snapshot_bucket]
}

run "two_buckets" {
  command = plan

  variables {
    snapshot_bucket = "backups"
  }

  expect_failures = [var.snapshot_bucket]
}

run "no_bucket" {
  command = plan

  variables {
    snapshot_bucket        = null
    create_snapshot_bucket = false
  }

  expect_failures = [var.snapshot_bucket]
}

run "no_vpc" {
  command = plan

  variables {
    vpc_id = null
  }

  expect_failures = [var.vpc_id]
}

run "two_vpcs" {
  command = plan

  variables {
    vpc_id     = "vpc-1"
    create_vpc = true
    subnet_ids = []
    azs        = ["eu-west-1a"]
  }

  expect_failures = [var.vpc_id]
}

run "no_subnets" {
  command = plan

  variables {
    subnet_ids = []
  }

  expect_failures = [var.subnet_ids]
}

run "subnets_in_a_vpc_that_is_not_there_yet" {
  command = plan

  variables {
    subnet_ids = ["subnet-1"]
    create_vpc = true
    vpc_id     = null
    azs        = ["eu-west-1a"]
  }

  expect_failures = [var.subnet_ids]
}

run "a_vpc_without_zones" {
  command = plan

  variables {
    azs        = []
    create_vpc = true
    vpc_id     = null
    subnet_ids = []
  }

  expect_failures = [var.azs]
}

run "zones_without_a_vpc" {
  command = plan

  variables {
    azs = ["eu-west-1a"]
  }

  expect_failures = [var.azs]
}

run "one_zone_twice" {
  command = plan

  variables {
    azs        = ["eu-west-1a", "eu-west-1a"]
    create_vpc = true
    vpc_id     = null
    subnet_ids = []
  }

  expect_failures = [var.azs]
}

run "a_vpc_too_small" {
  command = plan

  variables {
    vpc_cidr   = "10.0.0.0/30"
    create_vpc = true
    vpc_id     = null
    subnet_ids = []
    azs        = ["eu-west-1a"]
  }

  expect_failures = [var.vpc_cidr]
}

run "a_subnet_of_another_vpc" {
  command = plan

  variables {
    vpc_id = "vpc-2"
  }

  expect_failures = [data.aws_subnet.given]
}

run "two_subnets_in_one_zone" {
  command = plan

  variables {
    subnet_ids = ["subnet-1", "subnet-2"]
  }

  expect_failures = [aws_lb.this]
}
