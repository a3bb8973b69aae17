"""Store: the study on the disk or in a database, its trials, leases, weights and half-trained models."""
