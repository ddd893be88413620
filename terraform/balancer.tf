# One address for clients. Of the network kind: TLS with client certificates has to reach etcd unbroken.

resource "aws_lb" "this" {
  name               = var.name
  load_balancer_type = "network"
  internal           = true
  subnets            = local.subnet_ids
  security_groups    = [aws_security_group.balancer.id]
  # Or an address would answer nothing while the one member of its zone is replaced.
  enable_cross_zone_load_balancing = true

  lifecycle {
    precondition {
      condition     = length(distinct(data.aws_subnet.given[*].availability_zone)) == length(var.subnet_ids)
      error_message = "The subnet_ids must each be in a zone of its own."
    }
  }
}

# It sends clients to the members that can serve them, and no more. Where the quorum is lost none can, and then it sends
# to all ("Health checks for Network Load Balancer target groups", user guide).
resource "aws_lb_target_group" "this" {
  name        = var.name
  vpc_id      = local.vpc_id
  protocol    = "TCP"
  port        = 2379
  target_type = "instance"
  # A watch ends with its member only. Waiting for it would hold a refresh up by five minutes an instance.
  deregistration_delay = 10

  health_check {
    protocol = "HTTP"
    port     = "2381"
    # Not /livez, which a learner passes too; not /health, which fails at any alarm, though all can be read.
    path                = "/readyz"
    interval            = 10
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}

resource "aws_lb_listener" "this" {
  load_balancer_arn = aws_lb.this.arn
  protocol          = "TCP"
  port              = 2379

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.this.arn
  }
}
