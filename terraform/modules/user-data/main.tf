# A node's user data: ignition/member.ign with what a cluster decides by its variables, as cloudformation/render has it. No
# unit is written down twice.

terraform {
  required_version = ">= 1.9"
}

variable "binary_url" {
  description = "Where the node fetches etcd-bootstrap from."
  type        = string
}

variable "binary_sha512" {
  description = "The binary's sha512."
  type        = string
}

variable "etcd_version" {
  description = "The version of etcd, a tag of quay.io/coreos/etcd."
  type        = string
}

variable "options" {
  description = "The agent's options, besides those of ignition/member.bu."
  type        = map(string)
}

variable "load_balancer" {
  description = "Whether a load balancer asks for etcd's health on port 2381."
  type        = bool
  default     = false
}

variable "snapshots" {
  description = "Whether the timer of snapshots is on."
  type        = bool
  default     = false
}

locals {
  config = jsondecode(file("${path.module}/../../../ignition/member.ign"))

  # What the config is made of: it has the text of the two files in plain, which is compressed in the config.
  source  = yamldecode(file("${path.module}/../../../ignition/member.bu"))
  inline  = { for file in local.source.storage.files : file.path => file.contents.inline if can(file.contents.inline) }
  env     = "/etc/etcd-bootstrap/etcd-bootstrap.env"
  drop_in = "/etc/systemd/system/etcd-member.service.d"
  image   = "${local.drop_in}/20-image.conf"

  # In their order, each option once.
  lines   = [for line in compact(split("\n", local.inline[local.env])) : regex("^([A-Z0-9_]+)=(.*)$", line)]
  given   = { for line in local.lines : line[0] => line[1] }
  options = merge(local.given, { ETCD_BOOTSTRAP_ETCD_VERSION = var.etcd_version }, var.options)
  names   = distinct(concat(local.lines[*][0], keys(local.options)))
  version = local.given.ETCD_BOOTSTRAP_ETCD_VERSION

  binary = { source = var.binary_url, verification = { hash = "sha512-${var.binary_sha512}" } }

  texts = {
    (local.env)   = join("", [for name in local.names : "${name}=${local.options[name]}\n"])
    (local.image) = replace(local.inline[local.image], local.version, var.etcd_version)
  }

  # Where the load balancer asks for /readyz.
  metrics = {
    path     = "${local.drop_in}/30-metrics.conf"
    mode     = 420
    contents = { source = "data:;base64,${base64encode("[Service]\nEnvironment=ETCD_LISTEN_METRICS_URLS=http://0.0.0.0:2381\n")}" }
  }

  files = [
    for file in local.config.storage.files : merge(file, {
      contents = (
        file.path == "/opt/bin/etcd-bootstrap" ? jsonencode(local.binary) :
        contains(keys(local.texts), file.path) ? jsonencode({ source = "data:;base64,${base64encode(local.texts[file.path])}" }) :
        jsonencode(file.contents)
      )
    })
  ]

  json = jsonencode(merge(local.config, {
    storage = merge(local.config.storage, {
      # A conditional has one type: each content is JSON until here.
      files = concat(
        [for file in local.files : merge(file, { contents = jsondecode(file.contents) })],
        var.load_balancer ? [local.metrics] : []
      )
    })
    systemd = merge(local.config.systemd, {
      units = concat(
        local.config.systemd.units,
        var.snapshots ? [{ name = "etcd-bootstrap-snapshot.timer", enabled = true }] : []
      )
    })
  }))
}

output "ignition" {
  description = "The Ignition config, as JSON."
  value       = local.json

  precondition {
    # "Run commands when you launch an EC2 instance with user data input", EC2 User Guide.
    condition     = length(local.json) <= 16384
    error_message = "The user data must not be more than 16 KiB: use shorter options."
  }
}
