"""How rows belong to tenants: what the catalog of the database cannot say by itself."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import model_validator

from pgdr.policy.base import Identifier, Label, SchemaName, Section, described
from pgdr.policy.text import Words

# It runs inside the transaction of a restore, with the rights of pgdr: one statement, and no way out of that.
HookSql = Annotated[
    str,
    Words(
        r"^(SELECT|select|UPDATE|update|CALL|call|WITH|with)\s[^;\u0000]+$",
        "one statement (SELECT, UPDATE, CALL, WITH), no semicolon",
    ),
]
NullMeaning = Literal["shared", "parents"]
PLACEHOLDER = "{tenant}"
SequencePattern = Annotated[
    str,
    Words(
        r"^[^\u0000-\u001f\u007f\u2028\u2029{}]*\{tenant\}[^\u0000-\u001f\u007f\u2028\u2029{}]*$",
        "a name with {tenant} in it, once",
    ),
]


class Table(Section):
    """A table by schema and name, so that a dot in a name is no riddle."""

    schema_: SchemaName = described("Schema.", "core", alias="schema")
    table: Identifier = described("Table.", "currencies")


class TenantTable(Table):
    """A table whose tenant column has another name, or where NULL in it has another meaning."""

    column: Identifier = described("Its tenant column.", "company_id")
    null: NullMeaning | None = described(
        "What NULL in it means: the row is shared by all tenants, or belongs to whom its parents belong. "
        "Left out: as tenancy.null says.",
        "parents",
        default=None,
    )


class OwnedTable(Table):
    """A table without tenant column whose references lead to several parents: which of them own its rows."""

    by: tuple[tuple[Identifier, ...], ...] = described(
        "Columns of the foreign keys (or declared references) that lead to an owner; all others are references only.",
        [["order_id"], ["invoice_id"]],
        min_length=1,
    )


class Columns(Table):
    """Columns of a table."""

    columns: tuple[Identifier, ...] = described("Columns.", ["id"], min_length=1)


class Reference(Columns):
    """A reference that the database does not know of."""

    to: Columns = described("What it refers to.", {"schema": "sales", "table": "orders", "columns": ["id"]})

    @model_validator(mode="after")
    def _pairs(self) -> Reference:
        if len(self.columns) != len(self.to.columns):
            raise ValueError(f"{len(self.columns)} columns refer to {len(self.to.columns)}")
        return self


class PolymorphicModel(Table):
    """One of the tables that a polymorphic reference may lead to."""

    name: Identifier = described("What stands for it in the reference.", "sale.order")
    column: Identifier = described("Column that the reference holds.", "id", default="id")


class PolymorphicReference(Table):
    """A reference whose target stands in the row: text such as "sale.order,42", or a type and an id."""

    column: Identifier = described("Column with `model,id`, or with the model alone where id_column is given.", "ref")
    id_column: Identifier | None = described("Column with the id.", "res_id", default=None)
    separator: Annotated[str, Words(r"^[^\u0000-\u001f]{1,4}$", "1-4 characters")] = described(
        "What stands between model and id.", ",", default=","
    )
    models: tuple[PolymorphicModel, ...] = described(
        "The tables.", [{"name": "sale.order", "schema": "sales", "table": "orders"}], min_length=1
    )


class TenantSequence(Section):
    """Sequences of which each tenant has one of its own."""

    schema_: SchemaName = described("Schema.", "sales", alias="schema")
    name: SequencePattern = described("Name, with {tenant} where the tenant's id stands in it.", "invoice_no_{tenant}")
    other_characters: Annotated[str, Words(r"^[A-Za-z0-9_]{0,4}$", "0-4 letters, digits, underscores")] | None = (
        described(
            "What stands in the name for each character of the id that is no letter, digit or underscore, such as "
            "a UUID's dashes. Left out: they stand there themselves.",
            "_",
            default=None,
        )
    )

    def of(self, tenant: str) -> str:
        """The name of a tenant's sequence."""
        known = tenant
        if self.other_characters is not None:
            known = re.sub(r"[^A-Za-z0-9_]", lambda _: self.other_characters or "", tenant)
        return self.name.replace(PLACEHOLDER, known)

    def tenant_of(self, name: str) -> str | None:
        """Whose sequence this is, as far as its name says; ``None`` for a name that is not of this kind."""
        head, tail = self.name.split(PLACEHOLDER)
        found = re.fullmatch(f"{re.escape(head)}(.+){re.escape(tail)}", name, re.DOTALL)
        return None if found is None else found[1]


class Hook(Section):
    """A statement that puts right what rows alone cannot carry, for example the numbers of a nested set."""

    name: Label = described("Name in the plan.", "renumber-categories")
    sql: HookSql = described(
        "Run in the restore's transaction when all rows are in place, triggers off. "
        "The tenant is current_setting('pgdr.tenant'). Names need their schema.",
        "SELECT core.renumber_categories(current_setting('pgdr.tenant')::uuid)",
    )
    tables: tuple[Columns, ...] = described(
        "Tables that it changes, and the columns. These are compared with the past no more, and only of this tenant's "
        "rows it may change anything.",
        [{"schema": "core", "table": "categories", "columns": ["lft", "rgt"]}],
        default=(),
    )


class Tenancy(Section):
    """How rows belong to tenants. Used by `pgdr restore tenant` and its siblings."""

    column: Identifier = described("Column that names the tenant.", "tenant_id")
    null: NullMeaning = described(
        "What NULL in a tenant column means: the row is shared by all tenants, or belongs to whom its parents belong.",
        "shared",
        default="shared",
    )
    tables: tuple[TenantTable, ...] = described(
        "Tables whose tenant column has another name.",
        [{"schema": "auth", "table": "users", "column": "company_id"}],
        default=(),
    )
    shared: tuple[Table, ...] = described(
        "Tables whose rows belong to all tenants.", [{"schema": "core", "table": "currencies"}], default=()
    )
    owners: tuple[OwnedTable, ...] = described(
        "Tables without tenant column that could belong to several parents. Left out: found from the foreign keys.",
        [{"schema": "core", "table": "attachments", "by": [["order_id"], ["invoice_id"]]}],
        default=(),
    )
    references: tuple[Reference, ...] = described(
        "References without a foreign key.",
        [
            {
                "schema": "sales",
                "table": "orders_history",
                "columns": ["order_id"],
                "to": {"schema": "sales", "table": "orders", "columns": ["id"]},
            }
        ],
        default=(),
    )
    polymorphic: tuple[PolymorphicReference, ...] = described(
        "References whose target table stands in the row.",
        [
            {
                "schema": "core",
                "table": "messages",
                "column": "ref",
                "models": [{"name": "sale.order", "schema": "sales", "table": "orders"}],
            }
        ],
        default=(),
    )
    history: tuple[Table, ...] = described(
        "Audit trails and other records that only grow: a restore adds what is missing and never removes or changes.",
        [{"schema": "system", "table": "audit_logs"}],
        default=(),
    )
    sequences: tuple[TenantSequence, ...] = described(
        "Sequences of which each tenant has one of its own, found by their names: a restore moves them on, so that no "
        "number is given out twice, and makes those again that are gone; an erasure removes them.",
        [{"schema": "sales", "name": "invoice_no_{tenant}"}],
        default=(),
    )
    hooks: tuple[Hook, ...] = described(
        "Statements that finish a restore.",
        [{"name": "renumber", "sql": "SELECT core.renumber(current_setting('pgdr.tenant'))"}],
        default=(),
    )
