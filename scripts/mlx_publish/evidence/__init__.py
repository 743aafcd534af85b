"""What is known of a variant: findings, reports, digests, evidence."""
