"""Products, and what follows them."""

from __future__ import annotations

import pytest

from counteract import Rejected
from domain import stock
from domain.products import (
    PriceUpdated,
    Product,
    ProductListed,
    ReplaceProduct,
    VersionListed,
    products,
    replace_with,
    set_price,
)
from domain.stock import ProductReplaced, StockItem

pytestmark = pytest.mark.unit

LISTED = ProductListed(seller_id="s-1", name="Lamp", product_version="v1", unit_price=1000, freight=100)


def offered(*more: VersionListed | PriceUpdated) -> Product:
    return products.fold([LISTED, *more])


def to_version(version: str) -> ReplaceProduct:
    return ReplaceProduct(product_id="p-1", product_version=version, unit_price=1200)


def test_a_price_changes_once() -> None:
    assert set_price(offered(), 900) == [PriceUpdated(unit_price=900)]
    assert set_price(offered(PriceUpdated(unit_price=900)), 900) == []


def test_what_was_never_listed_has_no_price_and_no_other_version() -> None:
    with pytest.raises(Rejected, match="not for sale"):
        set_price(Product(), 900)
    with pytest.raises(Rejected, match="not for sale"):
        replace_with(Product(), to_version("v2"))


def test_another_version_is_offered_once() -> None:
    (event,) = replace_with(offered(), to_version("v2"))
    assert event == VersionListed(product_version="v2", unit_price=1200)
    assert replace_with(offered(VersionListed(product_version="v2", unit_price=1200)), to_version("v2")) == []


def test_an_earlier_version_does_not_come_back() -> None:
    with pytest.raises(Rejected, match="offered before"):
        replace_with(offered(VersionListed(product_version="v2", unit_price=1200)), to_version("v1"))


def test_stock_follows_to_another_version_once_and_only_what_is_for_sale() -> None:
    assert stock.renew(StockItem(version="v1"), "v2") == [ProductReplaced(product_version="v2")]
    assert stock.renew(StockItem(version="v2"), "v2") == []
    assert stock.renew(StockItem(), "v2") == []
