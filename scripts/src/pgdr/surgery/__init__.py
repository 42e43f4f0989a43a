"""Row surgery: bring rows of the past home into a database that keeps working.

One core, several sources and scopes: the past is any database that answers SELECT (a scratch database restored from
an archive, a side instance that is still in recovery); the scope says which rows are meant (one tenant's, or
what is gone from some tables). The parts, from the bottom up:

model, catalog      tables, keys, references and unique rules as the database knows them
tenancy, ownership  which rows belong to a tenant, and the SQL that selects them
staging, diff       rows stream by COPY into temporary tables beside the live ones; what would change, and how
conflicts           what a change would break in rows that are not in the scope
images, apply       the before-image, then the change itself; checks: the proof, before the commit
home                what every way home has in common
kin                 which rows hang on rows that come back
restore, rows, undo, erase, export, handover    the operations
"""
