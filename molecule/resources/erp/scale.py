"""How many of each thing make a database of a wanted size.

Everything follows from the number of tenants and of sales orders. What a thing costs was measured (PostgreSQL 16,
8 kB pages, all indexes and dependent rows, after VACUUM); a test holds the result to 20 %.
"""

from __future__ import annotations

from dataclasses import dataclass

from pgdr.errors import RefusedError

MIB = 2**20
_EMPTY = 13 * MIB  # catalogs, empty relations, rows that depend on nothing
_FEWEST_ORDERS = 500
_BYTES: dict[str, int] = {
    "tenants": 61_900,
    "orders": 2_841,
    "users": 2_250,
    "roles": 2_520,
    "partners": 1_237,
    "departments": 369,
    "employees": 298,
    "documents": 16_946,
    "tags": 563,
    "accounts": 494,
    "tax_rates": 529,
    "categories": 956,
    "products": 1_563,
    "warehouses": 901,
    "price_lists": 1_236,
    "purchase_orders": 612,
    "projects": 7_946,
    "timesheets": 151,
    "events": 140,
}


@dataclass(frozen=True)
class Scale:
    """Numbers of things by name, as the SQL files ask for them."""

    counts: dict[str, int]

    @classmethod
    def for_size(cls, size_mb: int, tenants: int) -> Scale:
        """Work out the counts for a database of about ``size_mb`` MiB.

        Raises:
            RefusedError: so many tenants do not fit into so little space.
        """
        wanted = size_mb * MIB
        smallest = cls.for_orders(_FEWEST_ORDERS, tenants)
        if smallest.bytes > wanted:
            raise RefusedError(
                f"{tenants} tenants do not fit into {size_mb} MiB",
                remedy=f"--size-mb {-(-smallest.bytes // MIB)} or more, or fewer --tenants",
            )
        low, high = _FEWEST_ORDERS, wanted // _BYTES["orders"]
        while low < high:
            middle = (low + high + 1) // 2
            if cls.for_orders(middle, tenants).bytes <= wanted:
                low = middle
            else:
                high = middle - 1
        return cls.for_orders(low, tenants)

    @classmethod
    def for_orders(cls, orders: int, tenants: int) -> Scale:
        """Work out the counts that go with a number of sales orders."""

        def each(orders_per_thing: int, at_least: int) -> int:
            """As many for every tenant, since things are dealt to the tenants in turn."""
            return tenants * max(at_least, orders // (tenants * orders_per_thing))

        return cls(
            {
                "tenants": tenants,
                "orders": orders,
                "users": each(60, 4),
                "roles": 4 + 2 * tenants,
                "partners": each(12, 10),
                "departments": 4 * tenants,
                "employees": each(60, 6),
                "documents": max(10, orders // 40),
                "tags": 10 + 3 * tenants,
                "accounts": 40 * (tenants + 1),
                "tax_rates": 24 + 2 * tenants,
                "categories": each(2000, 6),
                "products": each(25, 20),
                "warehouses": 2 * tenants,
                "price_lists": 3 + tenants,
                "purchase_orders": max(20, orders // 5),
                "projects": each(400, 1),
                "timesheets": max(20, orders // 3),
                "events": 2 * orders,
            }
        )

    @property
    def bytes(self) -> int:
        """What a database with these counts takes."""
        return _EMPTY + sum(count * _BYTES[name] for name, count in self.counts.items())
