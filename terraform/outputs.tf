output "endpoint" {
  description = "For clients in one of the security groups, with a certificate of the clients' authority."
  value       = "https://${aws_lb.this.dns_name}:2379"
}

output "autoscaling_group_name" {
  description = "The name of the Auto Scaling group."
  value       = aws_autoscaling_group.this.name
}

output "autoscaling_group_arn" {
  description = "The ARN of the Auto Scaling group. Another one is another cluster."
  value       = aws_autoscaling_group.this.arn
}

output "launch_template_id" {
  description = "The launch template, for an instance refresh by hand."
  value       = aws_launch_template.this.id
}

output "client_security_group_id" {
  description = "The security group for clients."
  value       = aws_security_group.clients.id
}

output "member_security_group_id" {
  description = "The security group of the members."
  value       = aws_security_group.members.id
}

output "balancer_security_group_id" {
  description = "The security group of the load balancer."
  value       = aws_security_group.balancer.id
}

output "client_policy_arn" {
  description = "The policy for the roles of clients."
  value       = aws_iam_policy.clients.arn
}

output "members_authority" {
  description = "The key that makes a member."
  value       = local.authorities.members
}

output "clients_authority" {
  description = "The key that makes a client."
  value       = local.authorities.clients
}

output "authority_command" {
  description = "Writes the certificate of the members' authority, for trust that is set up elsewhere. To be run on an instance whose role has the policy for clients."
  value       = "etcd-bootstrap certificate --authority --member-authority=${local.authorities.members} >${var.name}-ca.pem"
}

output "snapshot_url" {
  description = "Where the snapshots are."
  value       = "s3://${local.bucket}/${var.name}"
}

output "vpc_id" {
  description = "The VPC of the cluster."
  value       = local.vpc_id
}

output "subnet_ids" {
  description = "The subnets of the cluster."
  value       = local.subnet_ids
}
