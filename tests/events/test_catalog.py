"""The catalog against the documents' tables: ``tests/golden`` holds what was checked by hand."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge import Bridge, ConfigError, InvalidEventError
from bridge.destinations import Segment
from bridge.destinations.base import EncodingContext
from bridge.destinations.group import Destinations
from bridge.enrichment import Enricher
from bridge.events.catalog import EVENTS, Catalog, EventMapping
from bridge.events.event import STANDARD_EVENTS, Event
from bridge.events.reader import BROWSER_REPORT, SERVER_EVENT, Entrance, EventReader
from bridge.events.standard import ENVELOPE as OF_THE_EVENT
from bridge.outbox import SQLiteOutbox
from tests.factories import NOW, make_bridge, make_meta
from tests.goldens import CASES, ENVELOPE, build_event, build_message, make_golden_visitor

# reference/segment.md (b), "Event name mapping".
SPEC_TO_META = {
    "Products Searched": "Search",
    "Product List Viewed": "ViewContent",
    "Product Viewed": "ViewContent",
    "Product Added": "AddToCart",
    "Product Added to Wishlist": "AddToWishlist",
    "Checkout Started": "InitiateCheckout",
    "Payment Info Entered": "AddPaymentInfo",
    "Order Completed": "Purchase",
    "Signed Up": "CompleteRegistration",
    "Lead Generated": "Lead",
}
SAID = {name: case for name, case in CASES.items() if "said" in case}
SEGMENT = Segment("write-key")

catalog = Catalog()


@pytest.fixture
async def bridge(outbox: SQLiteOutbox) -> Bridge:
    return make_bridge(outbox, follow_segment=True)


Completed = tuple[Event, EncodingContext]


def complete(bridge: Bridge, name: str, properties: dict[str, Any], **options: Any) -> Completed:
    """The event of the goldens' visitor, from its properties in either language."""
    reader = EventReader(options.pop("catalog", catalog))
    destinations = options.pop("destinations", [SEGMENT])
    enricher = Enricher(reader, Destinations(destinations), counters=Counter())
    given = {**ENVELOPE["event"], "event_name": name, "custom_data": properties}
    return enricher.complete(given, make_golden_visitor(bridge), now=NOW)


def read_meta(completed: Completed) -> Any:
    return msgspec.json.decode(make_meta().encode(completed[0]))


def read_segment(completed: Completed) -> Any:
    """The message, without its own id."""
    message = msgspec.json.decode(SEGMENT.encode(*completed))
    del message["messageId"]
    return message


def test_goldens_cover_every_standard_event_and_every_row_of_the_table() -> None:
    assert {case["meta"]["event_name"] for case in CASES.values()} > STANDARD_EVENTS
    said = {case["said"]["event"]: case["meta"]["event_name"] for case in SAID.values()}
    assert {name: said[name] for name in SPEC_TO_META} == SPEC_TO_META


@pytest.mark.parametrize("case", SAID.values(), ids=SAID)
async def test_golden_said_in_segments_words(bridge: Bridge, case: dict[str, Any]) -> None:
    completed = complete(bridge, case["said"]["event"], case["said"]["properties"])
    assert read_meta(completed) == build_event(case["meta"])
    assert read_segment(completed) == build_message(case["segment"])


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_golden_said_in_metas_words(bridge: Bridge, case: dict[str, Any]) -> None:
    completed = complete(bridge, case["meta"]["event_name"], case["meta"]["custom_data"])
    assert read_meta(completed) == build_event(case["meta"])
    assert read_segment(completed) == build_message(case.get("from_meta", case["segment"]))


# Names


@pytest.mark.parametrize(("spec", "meta"), SPEC_TO_META.items())
def test_spec_name_is_known_in_any_case_order_and_with_underscores(spec: str, meta: str) -> None:
    *thing, action = spec.split()
    if spec == "Product Added to Wishlist":
        swapped = "Added Product to Wishlist"
    else:
        swapped = " ".join([action, *thing])
    for name in (spec, swapped):
        for told in (name, name.lower(), name.upper(), name.title()):
            for separator in (" ", "_"):
                translated = catalog.to_meta(told.replace(" ", separator), {})
                assert translated.name == meta
                assert catalog.to_spec(meta, {}, said=told).name == spec


def test_classic_pixels_other_name_for_a_list_is_known() -> None:
    for name in ("Viewed Product Category", "product_category_viewed"):
        assert catalog.to_meta(name, {"category": "Games"}).name == "ViewContent"
        assert catalog.to_spec("ViewContent", {}, said=name).name == "Product List Viewed"


@pytest.mark.parametrize("name", sorted(STANDARD_EVENTS))
def test_metas_own_name_is_itself(name: str) -> None:
    assert catalog.find(name) is None
    assert catalog.to_meta(name, {"revenue": 5}) == (name, {"revenue": 5})


@pytest.mark.parametrize(
    "name", ["Order", "Completed", "Order Refunded", "Orders Completed", "ordre"]
)
def test_other_name_stays_as_it_is(name: str) -> None:
    assert catalog.to_meta(name, {"products": [{}]}) == (name, {"products": [{}]})
    assert catalog.to_spec(name, {"value": 5}) == (name, {"value": 5})


async def test_metas_name_in_another_case_is_refused(bridge: Bridge) -> None:
    with pytest.raises(InvalidEventError, match="Purchase"):
        complete(bridge, "purchase", {"value": 1, "currency": "EUR"})


# What is refused


PURCHASE = {"revenue": 5, "currency": "EUR", "products": [{"product_id": "a"}]}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        pytest.param({"currency": None}, "currency", id="no currency"),
        pytest.param({"currency": ""}, "currency", id="empty currency"),
        pytest.param({"currency": "XYZ"}, "currency", id="unknown currency"),
        pytest.param({"currency": "€"}, "currency", id="sign as currency"),
        pytest.param({"currency": 978}, "currency", id="currency as a number"),
        pytest.param({"revenue": None}, "value", id="no value"),
        pytest.param({"revenue": -1}, "value", id="negative value"),
        pytest.param({"revenue": "-1"}, "revenue", id="negative text"),
        pytest.param({"revenue": True}, "value", id="a switch as value"),
        pytest.param({"revenue": float("nan")}, "revenue", id="no number"),
        pytest.param({"revenue": "1,234"}, "revenue", id="two amounts in one text"),
        pytest.param({"products": []}, "contents", id="empty products"),
        pytest.param({"products": {"product_id": "a"}}, "products", id="products no list"),
        pytest.param({"products": ["a"]}, r"products\[0\]", id="product no object"),
        pytest.param({"products": [{"name": "A"}]}, r"products\[0\]", id="product without id"),
        pytest.param({"products": [{"product_id": ""}]}, r"products\[0\]", id="empty id"),
        pytest.param({"products": [{"product_id": ["a"]}]}, r"products\[0\]", id="list as id"),
        pytest.param({"products": [{"product_id": True}]}, r"products\[0\]", id="switch as id"),
        pytest.param({"products": [{"product_id": 1.5}]}, r"products\[0\]", id="broken id"),
        pytest.param(
            {"products": [{"product_id": "a", "quantity": -1}]}, "quantity", id="negative quantity"
        ),
        pytest.param(
            {"products": [{"product_id": "a", "quantity": 1.5}]}, "quantity", id="broken quantity"
        ),
        pytest.param(
            {"products": [{"product_id": "a", "quantity": "two"}]}, "quantity", id="word quantity"
        ),
        pytest.param(
            {"products": [{"product_id": "a", "quantity": True}]}, "quantity", id="switch quantity"
        ),
        pytest.param(
            {"products": [{"product_id": "a", "price": [1]}]}, "price", id="list as price"
        ),
        pytest.param(
            {"products": [{"product_id": "a", "price": -1}]}, "price", id="negative price"
        ),
    ],
)
async def test_order_that_meta_would_refuse_or_count_wrong_is_refused(
    bridge: Bridge, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidEventError, match=field):
        complete(bridge, "Order Completed", {**PURCHASE, **changes})
    with pytest.raises(InvalidEventError, match=field):
        bridge.enrich(
            {"event": "Order Completed", "properties": {**PURCHASE, **changes}},
            visitor=make_golden_visitor(bridge),
        )


async def test_value_that_is_not_there_counts_as_not_told(bridge: Bridge) -> None:
    """Shops serialize objects: half of the keys are ``None``."""
    nothing: dict[str, Any] = dict.fromkeys(
        ("total", "contents", "content_ids", "content_type", "num_items", "category", "event_id")
    )
    product = {"product_id": None, "sku": "s", "quantity": None, "price": None}
    said = {**nothing, "revenue": 5, "currency": "EUR", "products": [product]}
    completed = complete(bridge, "Order Completed", said)
    assert completed[0].custom_data == {
        "value": 5,
        "currency": "EUR",
        "content_type": "product",
        "content_ids": ["s"],
        "contents": [{"id": "s", "quantity": 1}],
        "num_items": 1,
    }
    properties = read_segment(completed)["properties"]
    assert (properties["total"], properties["revenue"], properties["event_id"]) == (5, 5, "1001")
    assert properties["products"][0]["product_id"] == "s"


async def test_empty_category_without_products_is_no_product(bridge: Bridge) -> None:
    completed = complete(bridge, "Product List Viewed", {"category": "", "list_id": "1"})
    assert "contents" not in completed[0].custom_data


def test_text_id_that_is_empty_gives_way_to_the_next_everywhere() -> None:
    said = {"products": [{"product_id": "", "sku": "s"}]}
    meta = catalog.to_meta("Order Completed", said)
    spec = catalog.to_spec(*meta, said="Order Completed", properties=said)
    assert spec.properties["products"] == [{"product_id": "s", "sku": "s", "quantity": 1}]


def test_ids_beside_contents_are_kept() -> None:
    data = {"content_ids": ["a", "b"], "contents": [{"id": "a", "quantity": 2}]}
    products = catalog.to_spec("Purchase", data).properties["products"]
    assert [line["product_id"] for line in products] == ["a", "b"]


# Round trips

ONE_PRODUCT = ("ViewContent", "AddToCart", "AddToWishlist")

TEXT = st.text("abcXYZ 019-_é", min_size=1, max_size=8)
AMOUNT = st.integers(0, 10**6) | st.floats(0, 1e6).map(lambda number: round(number, 2))
LINE = st.fixed_dictionaries(
    {"product_id": TEXT},
    optional={
        "quantity": st.integers(1, 9),
        "price": AMOUNT,
        "sku": TEXT,
        "name": TEXT,
        "brand": TEXT,
        "delivery_category": st.sampled_from(["in_store", "curbside", "home_delivery"]),
    },
)
SPEC_PROPERTIES = st.fixed_dictionaries(
    {"currency": st.sampled_from(["EUR", "USD", "JPY"])},
    optional={
        "revenue": AMOUNT,
        "value": AMOUNT,
        "total": AMOUNT,
        "price": AMOUNT,
        "query": TEXT,
        "category": TEXT,
        "name": TEXT,
        "order_id": TEXT,
        "coupon": TEXT,
        "product_id": TEXT,
        "quantity": st.integers(1, 9),
        "products": st.lists(LINE, min_size=1, max_size=3),
    },
)
META_PROPERTIES = st.fixed_dictionaries(
    {"currency": st.sampled_from(["EUR", "USD"])},
    optional={
        "value": AMOUNT,
        "content_ids": st.lists(TEXT, max_size=3, unique=True),
        "contents": st.lists(
            st.fixed_dictionaries(
                {"id": TEXT, "quantity": st.integers(1, 9)},
                optional={"item_price": AMOUNT},
            ),
            max_size=3,
        ),
        "content_type": st.sampled_from(["product", "product_group"]),
        "content_name": TEXT,
        "content_category": TEXT,
        "num_items": st.integers(0, 9),
        "order_id": TEXT,
        "predicted_ltv": AMOUNT,
        "search_string": TEXT,
        "custom": TEXT,
    },
)


def agrees(mine: Any, theirs: Any) -> bool:
    """Whether ``theirs`` says all that ``mine`` does; it may say more."""
    if isinstance(mine, dict):
        return isinstance(theirs, dict) and all(agrees(v, theirs.get(k)) for k, v in mine.items())
    if isinstance(mine, list):
        return len(mine) == len(theirs) and all(map(agrees, mine, theirs))
    return bool(mine == theirs) and type(mine) is type(theirs)


def as_the_spec_says(name: str, said: dict[str, Any]) -> dict[str, Any]:
    """Of one product or of several, never of both."""
    several = "product_id", "quantity", "price", "name"
    left_out = (
        ("products",) if SPEC_TO_META[name] in ONE_PRODUCT and "List" not in name else several
    )
    return {key: told for key, told in said.items() if key not in left_out}


@settings(deadline=None)
@given(st.sampled_from(sorted(SPEC_TO_META)), SPEC_PROPERTIES)
def test_round_trip_over_meta_keeps_what_both_can_say(name: str, said: dict[str, Any]) -> None:
    said = as_the_spec_says(name, said)
    meta = catalog.to_meta(name, said)
    back = catalog.to_spec(*meta)
    again = catalog.to_meta(*back)
    assert again.name == meta.name == SPEC_TO_META[name]
    assert agrees(meta.properties, again.properties)
    for key in ("currency", "order_id", "coupon"):
        assert back.properties.get(key) == said.get(key)
    if SPEC_TO_META[name] in ("Purchase", "InitiateCheckout", "AddPaymentInfo"):
        told = [said[key] for key in ("revenue", "value", "total") if key in said]
        assert back.properties.get("revenue") == (told[0] if told else None)
        lines = back.properties.get("products", [])
        assert len(lines) == len(said.get("products", []))
        for line, product in zip(lines, said.get("products", []), strict=True):
            for key in ("product_id", "price", "delivery_category"):
                assert line.get(key) == product.get(key)
            assert line["quantity"] == product.get("quantity", 1)


@settings(deadline=None)
@given(st.sampled_from(sorted(SPEC_TO_META)), SPEC_PROPERTIES)
def test_message_says_all_that_the_app_said_and_leads_back(name: str, said: dict[str, Any]) -> None:
    said = as_the_spec_says(name, said)
    meta = catalog.to_meta(name, said)
    spec = catalog.to_spec(*meta, said=name, properties=said)
    assert spec.name == name
    assert agrees(said, spec.properties)
    assert agrees(meta.properties, catalog.to_meta(*spec).properties)


@settings(deadline=None)
@given(st.sampled_from(sorted(STANDARD_EVENTS)), META_PROPERTIES)
def test_round_trip_over_segment_keeps_metas_words(name: str, data: dict[str, Any]) -> None:
    spec = catalog.to_spec(name, data)
    meta = catalog.to_meta(*spec)
    assert meta.name == name
    # Ids and contents say the same thing twice: what stands in either is in both.
    ids = {*data.get("content_ids", ()), *(line["id"] for line in data.get("contents", ()))}
    found = {*meta.properties.get("content_ids", ())}
    found |= {line["id"] for line in meta.properties.get("contents", ())}
    assert ids <= found
    said_twice = ("content_ids", "contents")
    # Of nothing it says nothing.
    left_out = said_twice if ids else (*said_twice, "content_type")
    rest = {k: v for k, v in data.items() if k not in left_out}
    assert agrees(rest, meta.properties)
    lines = {line["id"]: line for line in meta.properties.get("contents", ())}
    if len({line["id"] for line in data.get("contents", ())}) == len(data.get("contents", ())):
        for line in data.get("contents", ()):
            assert agrees(line, lines[line["id"]])


# An app's own rows


def test_own_row_adds_an_event_in_both_directions() -> None:
    own = EventMapping(
        "Plan Bought", "Subscribe", value=("amount",), rename={"plan": "content_name"}
    )
    catalog = Catalog([own])
    said = {"amount": 9, "currency": "EUR", "plan": "Pro", "seats": 3}
    meta = catalog.to_meta("bought_plan", said)
    assert meta == (
        "Subscribe",
        {"value": 9, "currency": "EUR", "content_name": "Pro", "seats": 3},
    )
    assert catalog.to_spec(*meta) == ("Plan Bought", said)
    assert catalog.to_meta("Order Completed", {"revenue": 1}) == ("Purchase", {"value": 1})


def test_own_row_without_metas_name_is_a_custom_event() -> None:
    catalog = Catalog(
        [EventMapping("Quiz Finished", aliases=("Quiz Done",), rename={"s": "score"})]
    )
    assert catalog.to_meta("done quiz", {"s": 7}) == ("Quiz Finished", {"score": 7})
    assert catalog.to_spec("Quiz Finished", {"score": 7}) == ("Quiz Finished", {"s": 7})


@pytest.mark.parametrize("name", ["Order Completed", "order_completed", "Completed Order"])
def test_own_row_overrides_the_tables(name: str) -> None:
    catalog = Catalog([EventMapping(name, "OrderPlaced", value=("total",), lines="products")])
    said = {"total": 9, "revenue": 8, "currency": "EUR", "products": [{"sku": "a"}]}
    meta = catalog.to_meta("Order Completed", said)
    assert meta == (
        "OrderPlaced",
        {
            "value": 9,
            "revenue": 8,
            "currency": "EUR",
            "content_type": "product",
            "content_ids": ["a"],
            "contents": [{"id": "a", "quantity": 1}],
        },
    )
    assert catalog.to_spec("OrderPlaced", {}).name == name
    # What nothing leads to comes from nowhere either.
    assert catalog.to_spec("Purchase", {"value": 1}) == ("Purchase", {"value": 1})


def test_tables_row_answers_for_metas_name_that_an_own_row_shares() -> None:
    """Segment's own destination knows that one."""
    catalog = Catalog([EventMapping("Basket Paid", "Purchase")])
    assert catalog.to_meta("Basket Paid", {}).name == "Purchase"
    assert catalog.to_spec("Purchase", {}).name == "Order Completed"
    assert catalog.to_spec("Purchase", {}, said="basket paid").name == "Basket Paid"


def test_product_id_and_num_items_can_be_configured() -> None:
    said = {"products": [{"product_id": "p", "sku": "s", "quantity": 3}, {"sku": "t"}]}
    by_sku = Catalog(product_id="sku", num_items="lines")
    data = by_sku.to_meta("Order Completed", said).properties
    assert (data["content_ids"], data["num_items"]) == (["s", "t"], 2)
    assert catalog.to_meta("Order Completed", said).properties["num_items"] == 4


async def test_unknown_event_can_be_forbidden(bridge: Bridge) -> None:
    strict = Catalog([EventMapping("Quiz Finished")], forbid_unknown=True)
    for name in ("Order Completed", "completed order", "Lead", "PageView", "quiz_finished"):
        data = PURCHASE if "rder" in name else {}
        complete(bridge, name, data, catalog=strict)
    for name, hint in (
        ("Order Complete", "did you mean Order Completed"),
        ("Puchase", "did you mean Purchase"),
        ("Quiz Finish", "did you mean Quiz Finished"),
        ("zzzzzz", "EventMapping"),
    ):
        with pytest.raises(InvalidEventError, match=hint):
            complete(bridge, name, {}, catalog=strict)
    complete(bridge, "zzzzzz", {})


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({"mappings": ["Order Completed"]}, id="text"),
        pytest.param({"mappings": [("A", "B")]}, id="tuple"),
        pytest.param({"mappings": EventMapping("A")}, id="one without a list"),
        pytest.param({"mappings": [EventMapping("")]}, id="empty name"),
        pytest.param({"mappings": [EventMapping("a\nb")]}, id="control character"),
        pytest.param({"mappings": [EventMapping("x" * 101)]}, id="long name"),
        pytest.param({"mappings": [EventMapping("A", "x" * 101)]}, id="long name of Meta's"),
        pytest.param({"mappings": [EventMapping("A", aliases=("",))]}, id="empty alias"),
        pytest.param({"mappings": [EventMapping("A", aliases="Beta")]}, id="alias no list"),  # type: ignore[arg-type]
        pytest.param({"mappings": [EventMapping("A", value="amount")]}, id="value no list"),  # type: ignore[arg-type]
        pytest.param({"mappings": [EventMapping("A", rename=("a", "b"))]}, id="rename no object"),  # type: ignore[arg-type]
        pytest.param({"mappings": [EventMapping("A", rename={"a": 1})]}, id="rename to no text"),  # type: ignore[dict-item]
        pytest.param({"mappings": [EventMapping("A", lines="all")]}, id="unknown lines"),  # type: ignore[arg-type]
        pytest.param({"mappings": [EventMapping("Lead", "Quiz")]}, id="a row for Meta's own name"),
        pytest.param({"mappings": [EventMapping("A", "purchase")]}, id="Meta's name miswritten"),
        pytest.param({"product_id": ()}, id="no product id"),
        pytest.param({"product_id": ""}, id="empty product id"),
        pytest.param({"product_id": [1]}, id="product id no text"),
        pytest.param({"product_id": 5}, id="product id no list"),
        pytest.param({"num_items": "sum"}, id="unknown num_items"),
    ],
)
def test_argument_that_cannot_be_right_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"mappings|product_id|num_items"):
        Catalog(**arguments)


# For the script


def test_table_for_the_script_agrees_with_the_rows() -> None:
    own = EventMapping("Quiz <Finished>", "QuizDone", rename={"s": "score"}, lines="self")
    catalog = Catalog([own], product_id=("sku", "id"), num_items="lines")
    text = catalog.to_json()
    assert "<" not in text
    table = json.loads(text)
    assert table["ids"] == ["sku", "id"]
    assert table["lines"] == 1
    assert len(table["rows"]) == len(EVENTS) + 1
    for (names, *rest), row in zip(table["rows"], [*EVENTS, own], strict=True):
        lines = {"none": 0, "self": 1, "either": 1, "products": 2}[row.lines]
        rename = {**row.rename, "name": "content_name", "category": "content_category"}
        assert rest == [row.meta, [*row.value], lines, rename, int(row.counts)]
        for name in names:
            assert name == "".join(name.lower().split())
            assert catalog.to_meta(name, {}).name == row.meta
    names = [name for row in table["rows"] for name in row[0]]
    assert len(names) == len(set(names))
    for spec in SPEC_TO_META:
        assert "".join(spec.lower().split()) in names


EVERY = [*(row.spec for row in EVENTS), "Plan Bought"]
OWN = Catalog([EventMapping("Plan Bought", "Subscribe")])


@pytest.mark.parametrize("name", EVERY)
def test_revenue_is_a_value_on_every_event(name: str) -> None:
    told = {"revenue": 5, "currency": "EUR"}
    assert OWN.to_meta(name, told).properties == {"value": 5, "currency": "EUR"}
    reading = EventReader(OWN).read(name, {**told, "revenue": "5,50"}, SERVER_EVENT, print)
    assert reading.custom_data == {"value": 5.5, "currency": "EUR"}


@pytest.mark.parametrize("name", EVERY)
def test_name_and_category_mean_the_same_on_every_event(name: str) -> None:
    said = OWN.to_meta(name, {"name": "Fern", "category": "Plants"}).properties
    group = {
        key: said.pop(key) for key in ("contents", "content_ids", "content_type") if key in said
    }
    assert said == {"content_name": "Fern", "content_category": "Plants"}
    assert any(group) is (name == "Product List Viewed")
    back = OWN.to_spec(OWN.to_meta(name, {}).name, said, said=name).properties
    assert back == {"name": "Fern", "category": "Plants"}


def test_apps_own_words_come_before_those_of_every_event() -> None:
    own = EventMapping("Plan Bought", "Subscribe", rename={"plan": "content_name", "name": "coach"})
    said = Catalog([own]).to_meta("Plan Bought", {"plan": "Gold", "name": "Mo", "category": "x"})
    assert said.properties == {"content_name": "Gold", "coach": "Mo", "content_category": "x"}


@pytest.mark.parametrize("key", ["product_id", "sku"])
def test_search_of_one_product_has_contents(key: str) -> None:
    said = catalog.to_meta("Products Searched", {"query": "fern", key: "a", "price": 5}).properties
    assert said == {
        "search_string": "fern",
        "content_type": "product",
        "content_ids": ["a"],
        "contents": [{"id": "a", "quantity": 1, "item_price": 5}],
    }
    listed = {"query": "fern", "products": [{key: "a"}, {key: "b"}]}
    assert catalog.to_meta("Products Searched", listed).properties["content_ids"] == ["a", "b"]
    assert catalog.to_meta("Products Searched", {"query": "fern"}).properties == {
        "search_string": "fern"
    }


@pytest.mark.parametrize("entrance", [SERVER_EVENT, BROWSER_REPORT], ids=["server", "page"])
@pytest.mark.parametrize("name", ["Purchase", "Order Completed", "Quiz Done"])
@pytest.mark.parametrize("key", sorted(OF_THE_EVENT))
def test_what_belongs_to_the_event_never_ends_in_its_custom_data(
    key: str, name: str, entrance: Entrance
) -> None:
    given = {"value": 5, "currency": "EUR", "mine": 1, key: "1"}
    reading = EventReader(catalog).read(name, given, entrance, lambda *found: None)
    assert reading.custom_data == {"value": 5, "currency": "EUR", "mine": 1}


def test_what_belongs_to_the_event_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    given = {"event_id": "1", "fbp": "fb.1.1.2"}
    EventReader(catalog).read("Lead", given, SERVER_EVENT, lambda *found: None)
    [record] = caplog.records
    assert record.getMessage() == (
        "custom_data: event_id, fbp belong to the event itself and are left out; pass them beside"
        " its properties"
    )


def test_own_row_in_place_of_product_lists_breaks_no_view() -> None:
    catalog = Catalog([EventMapping("Product Category Viewed", "ViewContent")])
    name, _ = catalog.to_spec("ViewContent", {"content_ids": ["a", "b"]})
    assert name in ("Product Viewed", "Product Category Viewed")
