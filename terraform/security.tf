# Who may reach whom. Every rule is a resource of its own: the groups name each other. A description has no apostrophe, at
# which EC2 refuses it.

resource "aws_security_group" "clients" {
  name_prefix = "${var.name}-clients-"
  description = "Clients of ${var.name}"
  vpc_id      = local.vpc_id

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_security_group" "members" {
  name_prefix = "${var.name}-members-"
  description = "Members of ${var.name}"
  vpc_id      = local.vpc_id

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_security_group" "balancer" {
  name_prefix = "${var.name}-balancer-"
  description = "Load balancer of ${var.name}"
  vpc_id      = local.vpc_id

  lifecycle {
    create_before_destroy = true
  }
}

locals {
  # Named, and not a set of ids: those may not be known before an apply.
  clients = merge({ (var.name) = aws_security_group.clients.id }, var.client_security_groups)
}

resource "aws_vpc_security_group_ingress_rule" "members_among_themselves" {
  security_group_id            = aws_security_group.members.id
  description                  = "etcd among its members"
  ip_protocol                  = "tcp"
  from_port                    = 2379
  to_port                      = 2380
  referenced_security_group_id = aws_security_group.members.id
}

resource "aws_vpc_security_group_ingress_rule" "members_from_clients" {
  for_each = local.clients

  security_group_id            = aws_security_group.members.id
  description                  = "clients of ${each.key}"
  ip_protocol                  = "tcp"
  from_port                    = 2379
  to_port                      = 2379
  referenced_security_group_id = each.value
}

resource "aws_vpc_security_group_ingress_rule" "members_from_balancer" {
  security_group_id            = aws_security_group.members.id
  description                  = "clients by the load balancer"
  ip_protocol                  = "tcp"
  from_port                    = 2379
  to_port                      = 2379
  referenced_security_group_id = aws_security_group.balancer.id
}

# etcd's health and metrics, without TLS: a check cannot show the certificate that port 2379 asks for.
resource "aws_vpc_security_group_ingress_rule" "health_from_balancer" {
  security_group_id            = aws_security_group.members.id
  description                  = "health check of the load balancer"
  ip_protocol                  = "tcp"
  from_port                    = 2381
  to_port                      = 2381
  referenced_security_group_id = aws_security_group.balancer.id
}

resource "aws_vpc_security_group_ingress_rule" "balancer_from_clients" {
  for_each = local.clients

  security_group_id            = aws_security_group.balancer.id
  description                  = "clients of ${each.key}"
  ip_protocol                  = "tcp"
  from_port                    = 2379
  to_port                      = 2379
  referenced_security_group_id = each.value
}

# The provider takes away the rule that AWS gives every group: everywhere out.
resource "aws_vpc_security_group_egress_rule" "this" {
  for_each = {
    clients  = aws_security_group.clients.id
    members  = aws_security_group.members.id
    balancer = aws_security_group.balancer.id
  }

  security_group_id = each.value
  ip_protocol       = "-1"
  cidr_ipv4         = "0.0.0.0/0"
}
