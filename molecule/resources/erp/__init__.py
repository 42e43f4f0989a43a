"""The ERP sample of the lab: a database that looks like the one this project protects, and work on it.

``create`` fills nine schemas with data that depends on nothing but a seed and a size, ``load`` keeps committing
business transactions and writes down what each of them changed, ``ledger`` says from that record what a restored
database must hold.
"""
