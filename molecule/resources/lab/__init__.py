"""The lab: database hosts with real systemd and a real S3 server, in containers on one machine."""
