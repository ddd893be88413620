# The members.

data "aws_ami" "flatcar" {
  count = var.ami_id == null ? 1 : 0

  most_recent = true
  owners      = ["075585003325"]

  filter {
    name   = "name"
    values = ["Flatcar-stable-*"]
  }

  filter {
    name   = "architecture"
    values = [var.architecture]
  }
}

module "user_data" {
  source = "./modules/user-data"

  binary_url    = var.binary_url
  binary_sha512 = var.binary_sha512
  etcd_version  = var.etcd_version

  options = {
    ETCD_BOOTSTRAP_MEMBER_AUTHORITY = local.authorities.members
    ETCD_BOOTSTRAP_CLIENT_AUTHORITY = local.authorities.clients
    # Clients come by the load balancer's name too.
    ETCD_BOOTSTRAP_CERTIFICATE_NAMES = aws_lb.this.dns_name
    ETCD_BOOTSTRAP_SNAPSHOT_TO       = "s3://${local.bucket}/${var.name}"
  }

  load_balancer = true
  snapshots     = true
}

resource "aws_launch_template" "this" {
  name                   = var.name
  image_id               = var.ami_id == null ? data.aws_ami.flatcar[0].id : var.ami_id
  instance_type          = var.instance_type
  key_name               = var.key_name
  vpc_security_group_ids = [aws_security_group.members.id]
  user_data              = base64encode(module.user_data.ignition)

  iam_instance_profile {
    arn = aws_iam_instance_profile.this.arn
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  # The root of Flatcar's images.
  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_type           = "gp3"
      volume_size           = var.volume_size
      encrypted             = true
      delete_on_termination = true
    }
  }
}

resource "aws_autoscaling_group" "this" {
  name                = var.name
  min_size            = var.size
  desired_capacity    = var.size
  vpc_zone_identifier = local.subnet_ids
  # A refresh launches the new instance before the old one goes: one more than the size has to be allowed.
  max_size = var.size + 1

  launch_template {
    id = aws_launch_template.this.id
    # A number, not $Latest: what an instance was launched from can be told.
    version = aws_launch_template.this.latest_version
  }

  # A group that is late must not fail: the provider would call it tainted, and the next apply replace it.
  wait_for_capacity_timeout = "0"

  # Not ELB: where the quorum is lost every member fails its check, and the group would terminate them all.
  health_check_type = "EC2"
  # As AWS has it. The provider's own default is five minutes.
  health_check_grace_period = 0

  target_group_arns = [aws_lb_target_group.this.arn]

  # Here, and not as resources of their own, which would come after the first instances.
  initial_lifecycle_hook {
    name                 = "etcd-bootstrap-launch"
    lifecycle_transition = "autoscaling:EC2_INSTANCE_LAUNCHING"
    heartbeat_timeout    = 1800
    default_result       = "ABANDON"
  }

  initial_lifecycle_hook {
    name                 = "etcd-bootstrap-terminate"
    lifecycle_transition = "autoscaling:EC2_INSTANCE_TERMINATING"
    heartbeat_timeout    = 120
    default_result       = "CONTINUE"
  }

  default_instance_warmup = 120

  # Also where the group moves instances between zones: the new one comes first, and the hooks let one go at a time. So
  # no process has to be suspended.
  instance_maintenance_policy {
    min_healthy_percentage = 100
    max_healthy_percentage = 110
  }

  dynamic "instance_refresh" {
    for_each = var.instance_refresh ? [true] : []

    content {
      strategy = "Rolling"

      preferences {
        min_healthy_percentage = 100
        max_healthy_percentage = 110
        skip_matching          = true
        checkpoint_percentages = [34, 100]
        checkpoint_delay       = 600
      }
    }
  }

  tag {
    key                 = "Name"
    value               = var.name
    propagate_at_launch = true
  }

  depends_on = [
    aws_iam_role_policy.group,
    aws_iam_role_policy.certificates,
    aws_iam_role_policy.snapshots,
    aws_iam_role_policy.binary,
    aws_lb_listener.this,
    aws_route.internet,
    aws_route_table_association.this,
    aws_vpc_security_group_egress_rule.this,
    aws_vpc_security_group_ingress_rule.members_among_themselves,
  ]

  # Never create_before_destroy, which needs a new name: another ARN is another group, and so another, empty cluster.
  lifecycle {
    ignore_changes = [
      # The agent's: they are what the cluster is known by.
      tag,
      # At a change of these the provider replaces the group (ForceNew in its internal/service/autoscaling/group.go). To
      # change a hook of a group that is there, put it by hand.
      initial_lifecycle_hook,
    ]
  }
}
