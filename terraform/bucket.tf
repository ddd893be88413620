# Snapshots, if the bucket is to be made here. It is what a lost cluster is recovered from: a destroy fails at it as long
# as there is anything in it, and how long that is kept is the README's.

resource "aws_s3_bucket" "snapshots" {
  count = var.create_snapshot_bucket ? 1 : 0

  bucket_prefix = "${var.name}-snapshots-"
}

resource "aws_s3_bucket_public_access_block" "snapshots" {
  count = var.create_snapshot_bucket ? 1 : 0

  bucket                  = aws_s3_bucket.snapshots[0].bucket
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_lifecycle_configuration" "snapshots" {
  count = var.create_snapshot_bucket ? 1 : 0

  bucket = aws_s3_bucket.snapshots[0].bucket

  rule {
    id     = "recent"
    status = "Enabled"

    filter {
      prefix = "${var.name}/recent/"
    }

    expiration {
      days = 7
    }
  }

  rule {
    id     = "daily"
    status = "Enabled"

    filter {
      prefix = "${var.name}/daily/"
    }

    expiration {
      days = 400
    }
  }

  rule {
    id     = "parts"
    status = "Enabled"

    filter {
      prefix = "${var.name}/"
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }
}
