"""The cloud side of PostgreSQL backup and disaster recovery: components, policy documents, estimates."""
