"""What the stacks are made of; infra/*/__main__.py only call these."""
