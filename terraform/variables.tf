# The patterns are those of cloudformation/etcd.yaml: values go into the nodes' Ignition config and into URLs as they are.

variable "name" {
  description = "The name of the Auto Scaling group, and what all other names begin with. Another name is another cluster."
  type        = string

  validation {
    # A load balancer's name has at most 32 characters, the beginning of a bucket's 37. AWS keeps internal- for load
    # balancers and sg- for security groups.
    condition     = can(regex("^[a-z][a-z0-9-]{0,24}[a-z0-9]$", var.name)) && !can(regex("^(internal|sg)-", var.name))
    error_message = "The name must have 2 to 26 lower-case letters, digits and dashes, begin with a letter, end with no dash, and not begin with internal- or sg-."
  }
}

variable "size" {
  description = "How many members. An even number bears no more losses than the odd one below it."
  type        = number
  default     = 3

  validation {
    condition     = contains([1, 3, 5, 7], var.size)
    error_message = "The size must be 1, 3, 5 or 7."
  }
}

# ---------------------------------------------------------------- the network

variable "create_vpc" {
  description = "Make a VPC with a public subnet in each of the azs, instead of using vpc_id and subnet_ids."
  type        = bool
  default     = false
}

variable "vpc_cidr" {
  description = "The addresses of the VPC that is made."
  type        = string
  default     = "10.0.0.0/16"

  validation {
    condition     = can(cidrsubnet(var.vpc_cidr, 4, 15))
    error_message = "The vpc_cidr must be an IPv4 network that can be divided by sixteen, such as 10.0.0.0/16."
  }
}

variable "azs" {
  description = "The availability zones of the VPC that is made, as many as there are to be subnets."
  type        = list(string)
  default     = []

  validation {
    condition     = var.create_vpc == (length(var.azs) > 0)
    error_message = "The azs are needed where create_vpc is true, and mean nothing where it is false."
  }

  validation {
    condition     = length(var.azs) == length(distinct(var.azs)) && length(var.azs) <= 16
    error_message = "The azs must be different, and at most sixteen."
  }
}

variable "vpc_id" {
  description = "The VPC of the cluster and of its clients, where it is there already."
  type        = string
  default     = null

  validation {
    condition     = var.create_vpc == (var.vpc_id == null)
    error_message = "Either create_vpc is true or there is a vpc_id, and never both."
  }
}

variable "subnet_ids" {
  description = "Subnets of vpc_id, each in a zone of its own, with a way to the APIs of AWS and to quay.io."
  type        = list(string)
  default     = []

  validation {
    condition     = var.create_vpc == (length(var.subnet_ids) == 0)
    error_message = "The subnet_ids are needed with a vpc_id, and must be empty where create_vpc is true."
  }
}

variable "client_security_groups" {
  description = "Security groups whose members are clients too, besides the one that the module makes: a name of your choice, and the id."
  type        = map(string)
  default     = {}

  validation {
    # They stand in the descriptions of rules.
    condition     = alltrue([for name in keys(var.client_security_groups) : can(regex("^[A-Za-z0-9 ._-]{1,100}$", name))])
    error_message = "The names of client_security_groups must have letters, digits, blanks, dots, dashes and underscores only, and 100 at most."
  }

  validation {
    condition     = !contains(keys(var.client_security_groups), var.name)
    error_message = "The client_security_groups must not have the cluster's name, which stands for the group that the module makes."
  }
}

# ---------------------------------------------------------------- the instances

variable "ami_id" {
  description = "An image of Flatcar for the architecture of the instance type and of the binary. Without one: the newest stable one at each apply."
  type        = string
  default     = null
}

variable "architecture" {
  description = "The architecture of the image, where no ami_id is given: x86_64 or arm64."
  type        = string
  default     = "x86_64"

  validation {
    condition     = contains(["x86_64", "arm64"], var.architecture)
    error_message = "The architecture must be x86_64 or arm64."
  }
}

variable "instance_type" {
  description = "The type of the instances."
  type        = string
  default     = "t3.small"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]*\\.[a-z0-9-]+$", var.instance_type))
    error_message = "The instance_type must be one, such as t3.small."
  }
}

variable "volume_size" {
  description = "The root volume in GiB. It holds etcd's data, its snapshots beside it, and the system."
  type        = number
  default     = 20

  validation {
    condition     = var.volume_size >= 10 && var.volume_size <= 1024 && floor(var.volume_size) == var.volume_size
    error_message = "The volume_size must be 10 to 1024 GiB."
  }
}

variable "key_name" {
  description = "A key pair to log in with. No port is opened for it."
  type        = string
  default     = null

  validation {
    condition     = var.key_name == null || can(regex("^[A-Za-z0-9 ._-]*$", var.key_name))
    error_message = "The key_name must be the name of a key pair."
  }
}

variable "instance_refresh" {
  description = "Whether a change of the launch template begins an instance refresh by itself. The README says how to begin one by hand."
  type        = bool
  default     = false
}

# ---------------------------------------------------------------- what runs on them

variable "binary_url" {
  description = "Where the nodes fetch etcd-bootstrap from. Of a private bucket the role may read this object alone."
  type        = string

  validation {
    condition     = can(regex("^(s3|https)://[A-Za-z0-9._/-]+$", var.binary_url))
    error_message = "The binary_url must begin with s3:// or https://, and have letters, digits, dots, dashes and slashes only."
  }
}

variable "binary_sha512" {
  description = "The binary's sha512. A node does not boot with another one."
  type        = string

  validation {
    condition     = can(regex("^[0-9a-f]{128}$", var.binary_sha512))
    error_message = "The binary_sha512 must be 128 hexadecimal digits, as sha512sum prints them."
  }
}

variable "etcd_version" {
  description = "The version of etcd, a tag of quay.io/coreos/etcd."
  type        = string
  default     = "v3.6.16"

  validation {
    # From these on nodes join as learners, and the load balancer can tell a learner from a voter.
    condition     = can(regex("^v3\\.(5\\.(2[6-9]|[3-9][0-9])|6\\.([6-9]|[1-9][0-9])|7\\.[0-9]+)$", var.etcd_version))
    error_message = "The etcd_version must be v3.5.26, v3.6.6, v3.7.0 or a later one of these three."
  }
}

# ---------------------------------------------------------------- snapshots

variable "create_snapshot_bucket" {
  description = "Make the bucket for snapshots, instead of using snapshot_bucket."
  type        = bool
  default     = true
}

variable "snapshot_bucket" {
  description = "A bucket of this region for the snapshots. How long it keeps what is yours to say."
  type        = string
  default     = null

  validation {
    condition     = var.create_snapshot_bucket == (var.snapshot_bucket == null)
    error_message = "Either create_snapshot_bucket is true or there is a snapshot_bucket, and never both."
  }

  validation {
    condition     = var.snapshot_bucket == null || can(regex("^([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])?$", var.snapshot_bucket))
    error_message = "The snapshot_bucket must be the name of a bucket in this region."
  }
}
