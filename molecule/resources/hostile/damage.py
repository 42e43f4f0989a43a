"""The accident: what happens to one tenant's rows, and what another tenant goes on doing."""

from __future__ import annotations

from psycopg import sql

from hostile.ddl import PAYLOAD, TENANT, UNIQUE, Made
from hostile.rows import Filling, Row
from hostile.spec import TableSpec


def work(filling: Filling, owner: str) -> list[sql.Composed]:
    """Honest work of a tenant: new rows, and changes of old ones."""
    found = []
    for table in filling.made.spec.tables:
        if table.kind == "shared":
            continue
        for row in list(filling.rows[table.number]):
            if row.owner == owner and filling.chance.random() < 0.3:
                found.append(_change(filling, table, row, PAYLOAD, f"work {filling.chance.random()}"))
        if filling.chance.random() < 0.6:
            row = filling.add(table, owner)
            filling.refer(table, row)
            found.append(filling.insert(row))
    return found


def accident(filling: Filling, owner: str) -> list[sql.Composed]:
    """Rows of a tenant deleted, changed, swapped, re-keyed, doubled and invented."""
    chance = filling.chance
    found = []
    held = _held(filling, owner)
    for table in filling.made.spec.tables:
        if table.kind == "shared":
            continue
        mine = [row for row in filling.rows[table.number] if row.owner == owner]
        everything = filling.made.spec.mode == "all"
        # The server would not let a row go that another tenant's row refers to.
        free = [row for row in mine if (table.number, row.key) not in held]
        lost = [row for row in free if everything or chance.random() < 0.3]
        left = [row for row in mine if row not in lost]
        found += [_delete(filling, table, row) for row in lost]
        swapped = left[:2] if len(left) > 1 and table.unique else []
        for row in left:
            if chance.random() < 0.4:
                found.append(_change(filling, table, row, PAYLOAD, chance.choice(("", "1.0", "damaged"))))
            elif (
                row in free
                and row not in swapped
                and chance.random() < 0.2
                and table.key in {"default", "serial", "text"}
            ):
                found.append(_rekey(filling, table, row, str(90_000 + next(filling.numbers))))
        if swapped:
            found += _swap(filling, table, *swapped)
        if table.key == "none" and left and chance.random() < 0.5:
            copy = Row(table.number, owner, (), {**left[0].values, filling.made.roles[table.number][UNIQUE]: None})
            found.append(filling.insert(copy))
        if chance.random() < 0.4:
            row = filling.add(table, owner)
            filling.refer(table, row)
            found.append(filling.insert(row))
    return found


def _held(filling: Filling, owner: str) -> set[tuple[int, tuple[str | None, ...]]]:
    """Tables and keys that rows of others refer to."""
    made = filling.made
    return {
        (ref.parent, tuple(row.values[name] for name in made.refs[table.number, position]))
        for table in made.spec.tables
        for position, ref in enumerate(table.refs)
        for row in filling.rows[table.number]
        if row.owner != owner
    }


def referred_by_others(filling: Filling, owner: str) -> list[Row]:
    """A tenant's rows that rows of others refer to."""
    held = _held(filling, owner)
    return [
        row for rows in filling.rows.values() for row in rows if (row.table, row.key) in held and row.owner == owner
    ]


def heal(filling: Filling, owner: str, past: set[int]) -> list[sql.Composed]:
    """What foreign keys would have done: rows that refer to nothing are removed, or lose the reference.

    Args:
        filling: all rows.
        owner: whose rows had the accident.
        past: keys (numbers are unique) of rows that the past has: only such a row is still known without its owner.
    """
    found = []
    made = filling.made
    for table in made.spec.tables:
        for position, ref in enumerate(table.refs):
            columns = made.refs[table.number, position]
            parent = made.spec.tables[ref.parent]
            dangling = sql.SQL("{} is not null and not exists (select from {} as the_parent where {})").format(
                sql.Identifier("the_child", columns[0]),
                made.identifier(parent),
                sql.SQL(" and ").join(
                    sql.SQL("{} = {}").format(sql.Identifier("the_parent", key), sql.Identifier("the_child", column))
                    for key, column in zip(made.keys[parent.number], columns, strict=True)
                ),
            )
            if table.kind == "tenant":
                tenant = sql.Identifier("the_child", made.roles[table.number][TENANT])
                dangling += sql.SQL(" and {}::text = {}").format(tenant, sql.Literal(owner))
            if ref.nullable and (table.kind != "child" or position > 0):
                found.append(_forget(made, table, columns, dangling))
            elif ref.nullable and made.keys[table.number] and filling.chance.random() < 0.5:
                key = made.keys[table.number][0]
                known = [row.values[key] for row in filling.rows[table.number] if id(row) in past]
                among = sql.SQL(" and {}::text = any ({})").format(sql.Identifier("the_child", key), sql.Literal(known))
                found.append(_forget(made, table, columns, dangling + among))
            found.append(sql.SQL("delete from {} as the_child where {}").format(made.identifier(table), dangling))
    return found * (len(made.spec.tables) + 1)  # what is removed leaves others dangling


def _forget(made: Made, table: TableSpec, columns: tuple[str, ...], where: sql.Composed) -> sql.Composed:
    return sql.SQL("update {} as the_child set {} where {}").format(
        made.identifier(table),
        sql.SQL(", ").join(sql.SQL("{} = null").format(sql.Identifier(column)) for column in columns),
        where,
    )


def _one(filling: Filling, table: TableSpec, row: Row) -> sql.Composed:
    """The condition that means one row: by its key, or the first one with the same content."""
    names = filling.made.keys[table.number] or tuple(row.values)
    terms = sql.SQL(" and ").join(
        sql.SQL("{}::text is not distinct from {}").format(sql.Identifier(name), sql.Literal(row.values[name]))
        for name in names
    )
    return sql.SQL("(tableoid, ctid) = (select tableoid, ctid from {} where {} limit 1)").format(
        filling.made.identifier(table), terms
    )


def _delete(filling: Filling, table: TableSpec, row: Row) -> sql.Composed:
    return sql.SQL("delete from {} where {}").format(filling.made.identifier(table), _one(filling, table, row))


def _change(filling: Filling, table: TableSpec, row: Row, role: str, value: str) -> sql.Composed:
    column = filling.made.roles[table.number][role]
    statement = _set(filling, table, row, column, value)
    if not filling.made.keys[table.number]:
        row.values = {**row.values, column: value}
    return statement


def _set(filling: Filling, table: TableSpec, row: Row, column: str, value: str | None) -> sql.Composed:
    return sql.SQL("update {} set {} = {} where {}").format(
        filling.made.identifier(table), sql.Identifier(column), sql.Literal(value), _one(filling, table, row)
    )


def _rekey(filling: Filling, table: TableSpec, row: Row, value: str) -> sql.Composed:
    return _set(filling, table, row, filling.made.keys[table.number][0], value)


def _swap(filling: Filling, table: TableSpec, one: Row, other: Row) -> list[sql.Composed]:
    """Two rows swap a unique value."""
    column = filling.made.roles[table.number][UNIQUE]
    if not filling.made.keys[table.number] or one.values[column] is None or other.values[column] is None:
        return []
    return [
        _set(filling, table, one, column, None),
        _set(filling, table, other, column, one.values[column]),
        _set(filling, table, one, column, other.values[column]),
    ]
