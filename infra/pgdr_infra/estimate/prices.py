"""The price table: data with a date, not code."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pgdr.errors import ConfigError

DEFAULT = Path(__file__).with_name("prices.yml")
Price = Annotated[float, Field(ge=0)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RegionPrices(_Table):
    """Prices of one region, in the table's currency."""

    storage: dict[str, Price] = Field(description="Per GiB and month, by storage class.")
    put_per_1000: Price = Field(description="Per 1000 requests that add objects.")
    transfer_to_region_per_gb: Price = Field(description="Per GiB that leaves for another region.")
    key_per_month: Price = Field(description="Per customer key and month.")


class Prices(_Table):
    """The whole table."""

    date: date
    source: str
    currency: str
    regions: dict[str, RegionPrices]
    time_control_per_gb: Price
    minimum_days: dict[str, int]

    def of(self, region: str) -> RegionPrices:
        """Return the prices of a region.

        Raises:
            ConfigError: the table does not have it.
        """
        if region not in self.regions:
            known = ", ".join(sorted(self.regions))
            raise ConfigError(f"no prices for the region {region}", remedy=f"known: {known}; add it to the table")
        return self.regions[region]


def load_prices(path: Path = DEFAULT) -> Prices:
    """Read a price table.

    Raises:
        ConfigError: the file is missing or is no price table.
    """
    try:
        return Prices.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", remedy="name the file with --prices") from error
    except (yaml.YAMLError, ValidationError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no price table: {' '.join(str(error).split())}") from error
