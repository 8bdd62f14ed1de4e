"""What people write down about faults: alert rules, causes and log signatures, read and checked before anything runs."""
