"""Files of events: what is read, what is refused, and what is left after an interruption."""

from __future__ import annotations

import asyncio
import io
import json
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bridge.imports.importer
from bridge import ConfigError, InvalidEventError, OutboxError, OutboxFullError
from bridge.destinations.group import Destinations
from bridge.events.catalog import Catalog, EventMapping
from bridge.events.event import DAY, Event
from bridge.events.reader import SERVER_EVENT, EventReader
from bridge.imports import Importer, ProgressFile, Rejects, Source
from bridge.imports.lines import MAX_LINE, Line, LineReader
from bridge.imports.record import RecordReader
from bridge.imports.rejects import build_rejection
from bridge.imports.table import Table
from bridge.outbox import Delivery, SQLiteOutbox
from bridge.sandbox.event_rules import check_event
from bridge.sandbox.refusal import Refusal
from tests.factories import NOW, make_meta, unix_now
from tests.servers import DEADLINE

SALE: dict[str, Any] = {
    "event_name": "Purchase",
    "event_time": int(NOW) - DAY,
    "action_source": "physical_store",
    "user_data": {"email": "Mary@Example.com"},
    "custom_data": {"value": 12.5, "currency": "EUR"},
}


def read(
    content: bytes | dict[str, Any],
    table: Table | None = None,
    *,
    reader: EventReader | None = None,
    number: int = 7,
    **options: Any,
) -> Event:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    records = RecordReader(
        reader or EventReader(),
        table,
        on_removed=lambda *removed: None,
        on_dropped=lambda *dropped: None,
        **options,
    )
    return records.read(Line(number, 100, 100 + len(raw), raw), NOW)[0]


def refuse(content: bytes | dict[str, Any], table: Table | None = None) -> InvalidEventError:
    with pytest.raises(InvalidEventError) as caught:
        read(content, table)
    return caught.value


# Lines


def test_lines_know_their_place() -> None:
    lines = list(LineReader(io.BytesIO(b"a\r\n\nlast")))
    assert lines == [Line(1, 0, 3, b"a"), Line(2, 3, 4, b""), Line(3, 4, 8, b"last")]


def test_line_that_is_too_long_is_skipped() -> None:
    long = b"x" * (3 * MAX_LINE)
    lines = list(LineReader(io.BytesIO(b"a\n" + long + b"\nb\n")))
    assert [line.content for line in lines] == [b"a", None, b"b"]
    assert lines[2].offset == 2 + len(long) + 1


def test_stream_without_any_line_is_not_read_for_ever() -> None:
    with Path("/dev/zero").open("rb") as endless, pytest.raises(OSError, match="64 MiB"):
        next(iter(LineReader(endless)))


def test_longest_line_passes() -> None:
    content = b"x" * (MAX_LINE - 1)
    assert [line.content for line in LineReader(io.BytesIO(content + b"\nb"))] == [content, b"b"]


# JSON


def test_json_line_becomes_a_hashed_event() -> None:
    event = read({**SALE, "event_id": "A-1", "opt_out": None})
    assert (event.event_name, event.event_id) == ("Purchase", "A-1")
    [digest] = event.user_data.em
    assert len(digest) == 64
    assert read({**SALE, "user_data": {"em": digest}}).user_data == event.user_data


@pytest.mark.parametrize(
    "event_time",
    [
        int(NOW) - 60,
        str(int(NOW) - 60),
        float(int(NOW) - 60),
        datetime.fromtimestamp(NOW - 60, UTC).isoformat(),
        datetime.fromtimestamp(NOW - 60, UTC).strftime("%Y-%m-%d %H:%M:%SZ"),
    ],
    ids=repr,
)
def test_time_is_unix_seconds_or_iso_with_an_offset(event_time: object) -> None:
    assert read({**SALE, "event_time": event_time}).event_time == int(NOW) - 60


@pytest.mark.parametrize("amount", ["12.50", "12,5", "€ 12.50"])
def test_amount_as_text_is_a_number(amount: str) -> None:
    event = read({**SALE, "custom_data": {"value": amount, "currency": "EUR"}})
    assert event.custom_data["value"] == 12.5


@pytest.mark.parametrize(("text", "amount"), [("12,50", 12.5), ("1.208,44", 1208.44)])
@pytest.mark.parametrize("name", ["Purchase", "Order Completed"])
def test_import_reads_the_amounts_that_track_reads(name: str, text: str, amount: float) -> None:
    line = {"id": "a", "item_price": text, "price": text}
    cells = {
        "event_name": name,
        "event_time": str(int(NOW)),
        "action_source": "physical_store",
        "email": "mary@example.com",
        **dict.fromkeys(("value", "net_revenue", "predicted_ltv"), text),
        "currency": "EUR",
        "contents": json.dumps([line]),
        "num_items": "2.0",
    }
    table = Table("\t".join(cells).encode(), ignore_columns=False)
    row = "\t".join(f'"{each.replace(chr(34), chr(34) * 2)}"' for each in cells.values())
    read_row = read(row.encode(), table).custom_data
    assert read_row == {
        **dict.fromkeys(("value", "net_revenue", "predicted_ltv"), amount),
        "currency": "EUR",
        "contents": [{"id": "a", "item_price": amount, "price": amount}],
        "num_items": 2,
    }
    given = {key: cells[key] for key in read_row} | {"contents": [line]}
    tracked = EventReader().read(name, given, SERVER_EVENT, lambda *found: None).custom_data
    assert read_row == tracked


def test_event_in_segments_words_becomes_metas_by_the_apps_catalog() -> None:
    reader = EventReader(Catalog([EventMapping("Plan Bought", "Subscribe", value=("fee",))]))
    event = read(
        {**SALE, "event_name": "plan_bought", "custom_data": {"fee": "5.50", "currency": "eur"}},
        reader=reader,
    )
    assert event.event_name == "Subscribe"
    assert event.custom_data == {"value": 5.5, "currency": "EUR"}


def test_event_id_is_the_line_and_its_place() -> None:
    raw = json.dumps(SALE).encode()
    first, again = read(raw), read(raw)
    assert first.event_id == again.event_id
    assert read(raw, number=8).event_id != first.event_id


def test_default_action_source_holds_for_silent_lines_only() -> None:
    silent = {key: value for key, value in SALE.items() if key != "action_source"}
    assert read(silent, action_source="other").action_source == "other"
    assert read(SALE, action_source="other").action_source == "physical_store"


def test_private_parts_of_a_page_do_not_leave() -> None:
    url = "https://a.example/x?email=mary%40example.com&p=1&mine=2"
    reader = EventReader(private_parameters=frozenset({"email", "mine"}))
    event = read({**SALE, "event_source_url": url}, reader=reader)
    assert event.event_source_url == "https://a.example/x?p=1"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        pytest.param({"event_time": None}, "event_time", id="no time"),
        pytest.param({"event_time": "2026-11-20T10:00:00"}, "event_time", id="no offset"),
        pytest.param({"event_time": int(NOW) - 63 * DAY}, "event_time", id="over 62 days"),
        pytest.param(
            {"event_time": int(NOW) - 8 * DAY, "action_source": "other"},
            "event_time",
            id="over 7 days",
        ),
        pytest.param({"event_time": int(NOW) + DAY}, "event_time", id="future"),
        pytest.param({"action_source": "shop"}, "action_source", id="unknown source"),
        pytest.param({"user_data": {}}, "user_data", id="nobody"),
        pytest.param({"user_data": "Mary"}, "user_data", id="user data as text"),
        pytest.param({"user_data": {"emial": "x"}}, "user_data.emial", id="unknown user key"),
        pytest.param({"custom_data": {"value": 1}}, "custom_data.currency", id="no currency"),
        pytest.param(
            {"custom_data": {**SALE["custom_data"], "a": 2**70}}, "custom_data.a", id="huge number"
        ),
        pytest.param({"event_id": "mary@example.com"}, "event_id", id="address as id"),
        pytest.param({"event_source_url": "shop"}, "event_source_url", id="no URL"),
        pytest.param({"value": 1}, "value", id="unknown key"),
    ],
)
def test_bad_line_names_its_field(changes: dict[str, Any], field: str) -> None:
    assert refuse({**SALE, **changes}).field == field


@pytest.mark.parametrize("content", [b"x", b"[]", b'{"a":', b"\xff", b"[" * 100_000, b"1"])
def test_line_that_is_no_object_is_refused(content: bytes) -> None:
    assert refuse(content).field == "line"


@pytest.mark.parametrize(
    "line",
    [
        {"event_time": 491721234567890},
        {"event_time": "mary@example.com"},
        {"action_source": "mary@example.com"},
        {"event_name": "mary@example.com"},
        {"user_data": {"mary@example.com": 1}},
        {"user_data": {"491721234567890": 1}},
        {"custom_data": {"value": "mary@example.com"}},
        {"custom_data": {"currency": "mary@example.com", "value": 1}},
        {"mary@example.com": 1},
        {"messaging_channel": "mary@example.com"},
        {"app_data": {"vendor_id": "mary@example.com 491721234567890"}},
    ],
    ids=str,
)
def test_rejection_holds_no_personal_value(line: dict[str, Any]) -> None:
    rejection = build_rejection(Line(7, 0, 1, b""), refuse({**SALE, **line}))
    assert "mary" not in str(rejection)
    assert "4917212345" not in str(rejection)
    assert rejection.line == 7


# Few characters, so that addresses, numbers and paths come up by chance.
TEXTS = st.text("aM1@.%4:/_- é\x00\u2028💧", max_size=20)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner),
    max_leaves=8,
)
KEYS = st.sampled_from(
    [*SALE, "event_id", "app_data", "custom_data", "event_source_url", "opt_out", "x"]
)


@given(changes=st.dictionaries(KEYS, JSON_VALUES, max_size=3))
def test_any_object_is_an_event_that_meta_takes_or_is_refused(changes: dict[str, Any]) -> None:
    raw = json.dumps({**SALE, **changes}).encode()
    try:
        event = read(raw)
    except InvalidEventError:
        return
    sent = json.loads(make_meta().encode(event))
    assert [f for f in check_event(sent, "data[0]", NOW) if isinstance(f, Refusal)] == []


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    table = Table(
        b"event_name,event_time,value,extinfo".replace(b"extinfo", b"app_data.extinfo"),
        ignore_columns=False,
    )
    for columns in (None, table):
        with pytest.raises(InvalidEventError):
            read(content, columns)


# CSV

HEADER = b"event_name,event_time,action_source,email,value,currency,custom_data.till"


def test_csv_row_becomes_the_same_event() -> None:
    row = f"Purchase,{SALE['event_time']},physical_store,mary@example.com,12.50,EUR,3".encode()
    event = read(row, Table(HEADER, ignore_columns=False))
    same = read({**SALE, "custom_data": {**SALE["custom_data"], "till": "3"}})
    assert (event.user_data, event.custom_data) == (same.user_data, same.custom_data)


def test_csv_may_be_written_by_a_spreadsheet() -> None:
    header = '\ufeff"Event Name";event-time;"First Name";email;content_ids;contents'.encode()
    row = ";".join(
        ['"Lead"', str(int(NOW)), "Mary", "mary@example.com", '"a, b"', '"[{""id"": ""a""}]"']
    )
    event = read(row.encode(), Table(header, ignore_columns=False), action_source="other")
    assert event.user_data.fn
    assert event.custom_data == {"content_ids": ["a", "b"], "contents": [{"id": "a"}]}


def test_csv_holds_an_app_event() -> None:
    header = b"event_name\tevent_time\taction_source\tmadid\tapp_data.extinfo"
    header += b"\tapp_data.advertiser_tracking_enabled\tdata_processing_options"
    header += b"\tdata_processing_options_country\tdata_processing_options_state"
    extinfo = json.dumps(["a2", "", "", "", "15", *[""] * 11]).replace('"', '""')
    row = f'Lead\t{int(NOW)}\tapp\tabc-1\t"{extinfo}"\t1\tLDU\t0\t0'
    event = read(row.encode(), Table(header, ignore_columns=False))
    assert event.app_data is not None
    assert event.app_data["advertiser_tracking_enabled"] is True
    assert event.data_processing_options == ["LDU"]


@pytest.mark.parametrize(
    ("cells", "field"),
    [
        pytest.param("Lead,1", "line", id="too few cells"),
        pytest.param('Lead,1,"open', "line", id="open quote"),
        pytest.param("Lead,{now},other,m@e.com,12,EUR,3,4", "line", id="too many cells"),
        pytest.param(
            'Lead,{now},other,m@e.com,"1,500",EUR,3',
            "custom_data.value",
            id="thousands or decimals",
        ),
        pytest.param("Lead,,other,m@example.com,1,EUR,3", "event_time", id="blank time"),
    ],
)
def test_bad_row_names_its_field(cells: str, field: str) -> None:
    row = cells.replace("{now}", str(int(NOW))).encode()
    assert refuse(row, Table(HEADER, ignore_columns=False)).field == field


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (b"event_name,event_time,emial", "did you mean email"),
        (b"event_name,event_time,user_data.emial", "unknown column"),
        (b"event_name,event_time,email,em,email", "twice"),
        (b"event_name,event_time,custom_data.email", "personal"),
        (b"Lead,1,other", "unknown column"),
        (b"event_name,email", "no column event_time"),
        (b'"event_name', "not one row of CSV"),
        (b"\xff,event_time", "not UTF-8"),
    ],
)
def test_header_is_refused_with_advice(header: bytes, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Table(header, ignore_columns=False)


def test_unknown_columns_can_be_left_out() -> None:
    table = Table(b"event_name,event_time,email,shoe size", ignore_columns=True)
    event = read(f"Lead,{int(NOW)},m@example.com,43".encode(), table, action_source="other")
    assert event.custom_data == {}


# Sources


@pytest.mark.parametrize(
    ("name", "content", "format_"),
    [
        ("a.csv", b"event_name,event_time\n", "csv"),
        ("a.jsonl", b"{}", "json"),
        ("a.txt", b"\n {}\n", "json"),
        ("a.txt", b"event_name,event_time\n", "csv"),
    ],
)
def test_format_is_told_by_name_or_first_line(
    tmp_path: Path, name: str, content: bytes, format_: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    source = Source(path)
    assert source.format == format_
    source.close()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"[{}]", "jq"),
        ("event_name".encode("utf-16"), "UTF-8"),
        (b"PK\x03\x04\0\0", "UTF-8"),
        (b"x" * (MAX_LINE + 1), "1 MiB"),
    ],
)
def test_file_of_something_else_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        Source(path)


# Importing


class Shop:
    """One file on its way into one outbox."""

    def __init__(self, folder: Path, outbox: SQLiteOutbox | None) -> None:
        self.path = folder / "sales.jsonl"
        self.rejected = folder / "sales.jsonl.rejected.jsonl"
        self.progress = folder / "sales.jsonl.progress.json"
        self.outbox = outbox
        self.pixel_id = "1234567890123456"

    def write(self, *lines: Mapping[str, Any] | str) -> None:
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        self.path.write_text("".join(f"{text}\n" for text in texts))

    def build(self, **changes: Any) -> Importer:
        self.source = Source(self.path)
        self.rejects = Rejects(self.rejected)
        values: dict[str, Any] = {
            "progress_file": ProgressFile(self.progress),
            "rejects": self.rejects,
            **changes,
        }
        destination = make_meta(pixel_id=self.pixel_id)
        return Importer(
            self.source, EventReader(), Destinations([destination]), self.outbox, **values
        )

    async def run(self, **changes: Any) -> Importer:
        try:
            importer = await asyncio.to_thread(self.build, **changes)
            await importer.run()
        finally:
            self.source.close()
            self.rejects.close()
        return importer

    async def ids(self) -> list[str]:
        """What stands in the outbox, by event id."""
        assert self.outbox is not None
        claimed = await self.outbox.claim(
            "meta:1234567890123456", 100_000, now=time.time() + 1, lease=0
        )
        return sorted(each.event_id for each in claimed)


@pytest.fixture
def shop(tmp_path: Path, outbox: SQLiteOutbox, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setattr(bridge.imports.importer, "BATCH_LINES", 10)
    return Shop(tmp_path, outbox)


def sell(event_id: str, **changes: Any) -> dict[str, Any]:
    return {**SALE, "event_id": event_id, "event_time": unix_now() - 60, **changes}


async def test_good_lines_are_stored_and_bad_ones_told(shop: Shop) -> None:
    shop.write(*(sell(f"{i:02}") for i in range(25)), "", sell("bad", user_data={}), "nonsense")
    importer = await shop.run()
    assert await shop.ids() == [f"{i:02}" for i in range(25)]
    tally = importer.tally
    assert (tally.lines, tally.stored, tally.repeated, tally.rejected) == (27, 25, 0, 2)
    rejected = [json.loads(line) for line in shop.rejected.read_text().splitlines()]
    assert [(each["line"], each["field"]) for each in rejected] == [(27, "user_data"), (28, "line")]


async def test_second_run_stores_nothing(shop: Shop) -> None:
    shop.write(*(sell(str(i)) for i in range(25)))
    await shop.run()
    again = await shop.run()
    assert again.progress.finished
    assert (again.tally.lines, again.tally.stored) == (25, 25)


class Falling(SQLiteOutbox):
    """An outbox whose machine fails at a given ``put``, before or after its commit."""

    fails_at, after = 0, False

    async def put(self, deliveries: Any, now: float, *, connection: Any = None) -> list[bool]:
        self.fails_at -= 1
        if self.fails_at == 0 and not self.after:
            raise OutboxError("the power went")
        stored = await super().put(deliveries, now)
        if self.fails_at == 0:
            raise OutboxError("the power went")
        return stored


@pytest.mark.parametrize("after", [False, True], ids=["before the commit", "after the commit"])
@pytest.mark.parametrize("batch", [1, 2, 3])
async def test_interrupted_import_goes_on_and_repeats_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int, after: bool
) -> None:
    monkeypatch.setattr(bridge.imports.importer, "BATCH_LINES", 10)
    outbox = Falling(tmp_path / "bridge.db")
    shop = Shop(tmp_path, outbox)
    # Without ids of their own, and every seventh of them bad.
    lines = [sell(f"{i:02}") for i in range(28)]
    for i, line in enumerate(lines):
        del line["event_id"]
        more = {"order_id": str(i), "customer_email": "ada@example.com"}
        line["custom_data"] = {**line["custom_data"], **more}
        line["user_data"] = {**line["user_data"], "ph": "12"}
        if i % 7 == 0:
            line["event_time"] = 1
    shop.write(*lines)
    outbox.fails_at, outbox.after = batch, after
    with pytest.raises(OutboxError):
        await shop.run()
    importer = await shop.run()
    assert len(await shop.ids()) == 24
    tally = importer.tally
    assert (tally.lines, tally.stored + tally.repeated, tally.rejected) == (28, 24, 4)
    assert sum(tally.reasons.values()) == 4
    assert tally.removed == {"custom_data.customer_email (key)": 28}
    assert tally.left_out == {"ph": 28}
    assert bool(tally.repeated) == after
    rejected = [json.loads(line)["line"] for line in shop.rejected.read_text().splitlines()]
    assert rejected == [1, 8, 15, 22]
    await outbox.close()


async def test_stop_ends_between_batches_and_the_next_run_goes_on(shop: Shop) -> None:
    shop.write(*(sell(str(i)) for i in range(25)))
    importer = await asyncio.to_thread(shop.build)
    importer.stop()
    await importer.run()
    assert importer.tally.lines == 0
    shop.source.close()
    assert (await shop.run()).tally.stored == 25


async def test_file_that_has_changed_is_refused_with_advice(shop: Shop) -> None:
    shop.write(sell("1"), sell("2"))
    await shop.run()
    shop.write(sell("1"), sell("2"), sell("3"))
    with pytest.raises(ConfigError, match=r"has changed.*--restart"):
        await shop.run()


async def run_halfway(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Import the first ten lines, as if interrupted then; return the progress."""
    importer = await asyncio.to_thread(shop.build)
    save = importer._progress_file.save

    def save_once(progress: Any) -> None:
        save(progress)
        if progress.line:
            importer.stop()

    monkeypatch.setattr(importer._progress_file, "save", save_once)
    await importer.run()
    shop.source.close()
    found: dict[str, Any] = json.loads(shop.progress.read_text())
    assert (found["line"], found["finished"]) == (10, False)
    return found


@pytest.mark.parametrize(("number", "is_refused"), [(9, True), (20, False)])
async def test_edit_of_the_same_length_is_refused_where_it_was_imported(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, number: int, is_refused: bool
) -> None:
    # So long that the edit is far from the beginning.
    custom = {**SALE["custom_data"], "a": "x" * 5000, "b": "y" * 4000}
    lines = [sell(f"{i:02}", custom_data=custom) for i in range(40)]
    shop.write(*lines)
    await run_halfway(shop, monkeypatch)
    shop.write(*lines[:number], {**lines[number], "event_id": "XX"}, *lines[number + 1 :])
    if is_refused:
        with pytest.raises(ConfigError, match=r"has changed.*--restart"):
            await shop.run()
    else:
        assert (await shop.run()).tally.stored == 40
        assert "XX" in await shop.ids()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b'{"size":', id="cut off"),
        pytest.param(b'{"format":"\xff"}', id="not UTF-8"),
        pytest.param(b'{"tally":{"x":' + b"[" * 50_000, id="nested without end"),
    ],
)
async def test_damaged_progress_is_refused_with_advice(shop: Shop, content: bytes) -> None:
    shop.write(sell("1"))
    shop.progress.write_bytes(content)
    with pytest.raises(ConfigError, match=r"damaged.*--restart"):
        await shop.run()


@pytest.mark.parametrize(
    ("changes", "moved"),
    [
        pytest.param({"offset": 10**9}, 0, id="behind the end"),
        pytest.param({}, 1, id="inside a line"),
        pytest.param({}, -1, id="before a line's end"),
        pytest.param({"offset": -1}, 0, id="before the beginning"),
        pytest.param({"offset": 0, "finished": True}, 0, id="finished without a line"),
        pytest.param({"finished": True}, 0, id="finished halfway"),
        pytest.param({"line": 3}, 0, id="another line"),
        pytest.param({"rejected_bytes": -9}, 0, id="rejected less than nothing"),
        pytest.param({"tally": {"lines": -1}}, 0, id="fewer lines than none"),
    ],
)
async def test_progress_that_cannot_be_is_refused_as_damaged(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], moved: int
) -> None:
    shop.write(*(sell(f"{i:02}") for i in range(25)))
    found = await run_halfway(shop, monkeypatch)
    found["offset"] += moved
    shop.progress.write_text(json.dumps({**found, **changes}))
    with pytest.raises(ConfigError, match=r"damaged.*--restart"):
        await shop.run()
    again = await shop.run(progress_file=ProgressFile(shop.progress, restart=True))
    assert (again.tally.stored, again.tally.repeated) == (15, 10)


async def test_progress_is_not_written_through_a_link(shop: Shop, tmp_path: Path) -> None:
    shop.write(sell("1"))
    precious = tmp_path / "precious"
    precious.write_text("mine")
    shop.progress.with_name(shop.progress.name + ".tmp").symlink_to(precious)
    await shop.run()
    assert precious.read_text() == "mine"
    assert json.loads(shop.progress.read_text())["finished"]


async def test_file_is_imported_by_one_at_a_time(shop: Shop) -> None:
    shop.write(sell("1"))
    first = await asyncio.to_thread(shop.build)
    source = shop.source
    for restart in (False, True):
        with pytest.raises(OSError, match="is being imported already"):
            await shop.run(progress_file=ProgressFile(shop.progress, restart=restart))
    await first.run()
    assert first.tally.stored == 1
    source.close()
    assert (await shop.run()).progress.finished


async def test_other_destination_does_not_go_on(shop: Shop) -> None:
    shop.write(sell("1"))
    await shop.run()
    shop.pixel_id = "2"
    with pytest.raises(ConfigError, match="begun as json to meta:1234567890123456"):
        await shop.run()


async def test_restart_forgets_the_progress_and_the_outbox_refuses_repeats(shop: Shop) -> None:
    shop.write(sell("1"), sell("2"))
    await shop.run()
    again = await shop.run(progress_file=ProgressFile(shop.progress, restart=True))
    assert (again.tally.stored, again.tally.repeated) == (0, 2)


def sell_unnamed(number: int, **changes: Any) -> dict[str, Any]:
    """A line without an event id."""
    line = sell("", custom_data={**SALE["custom_data"], "order_id": str(number)}, **changes)
    del line["event_id"]
    return line


async def test_same_line_in_the_same_place_of_another_file_is_another_event(shop: Shop) -> None:
    at = unix_now() - 60
    shop.write(*(sell_unnamed(i, event_time=at) for i in (1, 3)))
    await shop.run()
    other = Shop(shop.path.parent, shop.outbox)
    other.path, other.progress = other.path.with_name("b"), other.path.with_name("b.json")
    other.write(*(sell_unnamed(i, event_time=at) for i in (2, 3)))
    assert (await other.run()).tally.stored == 2


@pytest.mark.parametrize("ending", ["\n", "\r\n"], ids=repr)
async def test_copy_under_another_name_is_known(shop: Shop, ending: str) -> None:
    shop.write(*(sell_unnamed(i) for i in range(5)))
    await shop.run()
    other = Shop(shop.path.parent, shop.outbox)
    other.path, other.progress = other.path.with_name("b"), other.path.with_name("b.json")
    other.path.write_bytes(shop.path.read_bytes().replace(b"\n", ending.encode()))
    assert (await other.run()).tally.repeated == 5


@pytest.mark.parametrize("mended", [0, 3])
async def test_lines_that_stayed_are_known_when_one_was_mended(shop: Shop, mended: int) -> None:
    lines = [sell_unnamed(i) for i in range(5)]
    bad = {**lines[mended], "user_data": {}}
    shop.write(*lines[:mended], bad, *lines[mended + 1 :])
    assert (await shop.run()).tally.stored == 4
    shop.write(*lines, sell_unnamed(5))
    again = await shop.run(progress_file=ProgressFile(shop.progress, restart=True))
    assert (again.tally.stored, again.tally.repeated) == (2, 4)


async def test_file_that_grows_is_read_as_it_was(shop: Shop) -> None:
    shop.write(*(sell(f"{i:02}") for i in range(25)))
    importer = await asyncio.to_thread(shop.build)
    with shop.path.open("a") as file:
        file.write(json.dumps(sell("late")) + "\n")
    await importer.run()
    assert (importer.tally.lines, importer.progress.finished) == (25, True)
    assert shop.source.has_grown
    assert "late" not in await shop.ids()
    shop.source.close()


async def test_half_a_line_is_not_imported(shop: Shop) -> None:
    shop.path = shop.path.with_name("sales.csv")
    shop.path.write_text(
        "event_name,event_time,action_source,email,value,currency,order_id\n"
        + f"Purchase,{unix_now()},other,m@example.com,12,EUR,A-1\n" * 12
        + f"Purchase,{unix_now()},other,m@example.com,12,EUR,A-1"
    )
    importer = await asyncio.to_thread(shop.build)
    with shop.path.open("a") as file:
        file.write("2345\n")
    with pytest.raises(OSError, match=r"still being written.*--restart"):
        await importer.run()
    shop.source.close()
    assert (importer.tally.stored, importer.progress.finished) == (12, False)
    with pytest.raises(ConfigError, match=r"has changed.*--restart"):
        await shop.run()
    again = await shop.run(progress_file=ProgressFile(shop.progress, restart=True))
    assert (again.tally.stored, again.tally.repeated) == (1, 12)


async def test_last_line_needs_no_end(shop: Shop) -> None:
    shop.path.write_text(json.dumps(sell("1")) + "\n" + json.dumps(sell("2")))
    assert (await shop.run()).tally.stored == 2
    assert (await shop.run()).progress.finished


async def test_file_that_is_cut_meanwhile_is_told(shop: Shop) -> None:
    # Longer than what is read ahead.
    shop.write(
        *(sell(str(i), custom_data={**SALE["custom_data"], "a": "y" * 5000}) for i in range(150))
    )
    importer = await asyncio.to_thread(shop.build)
    os.truncate(shop.path, shop.path.stat().st_size // 2)
    with pytest.raises(OSError, match="has become shorter"):
        await importer.run()
    assert not importer.progress.finished
    shop.source.close()
    shop.rejects.close()


async def test_header_that_is_still_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("event_name,event_time,emai")
    monkeypatch.setattr(Source, "has_grown", True)
    with pytest.raises(OSError, match="still being written"):
        await asyncio.to_thread(Source, path)


async def test_missing_folder_is_told_before_anything_is_stored(shop: Shop) -> None:
    shop.write(sell("1"))
    shop.progress = shop.progress.parent / "gone" / "progress.json"
    with pytest.raises(OSError, match="cannot write"):
        await shop.run()
    assert await shop.ids() == []


async def test_reading_pauses_while_too_much_waits(
    shop: Shop, outbox: SQLiteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.imports.importer, "POLL", 0.01)
    shop.write(*(sell(f"{i:02}") for i in range(50)))
    importer = await asyncio.to_thread(shop.build, max_waiting=20)
    running = asyncio.create_task(importer.run())
    most, delivered = 0, 0
    while not running.done() or delivered < 50:
        most = max(most, await importer.count_waiting())
        batch: list[Delivery] = await outbox.claim(
            "meta:1234567890123456", 5, now=time.time() + 1, lease=1
        )
        await outbox.ack(batch, time.time())
        delivered += len(batch)
    await running
    assert 10 <= most <= 20
    shop.source.close()


async def test_waits_until_its_own_events_are_settled(
    shop: Shop, outbox: SQLiteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.imports.importer, "POLL", 0.01)
    shop.write(sell("1"))
    importer = await shop.run()
    waiting = asyncio.create_task(importer.wait_until_delivered())
    # A visitor's event, stored later, may wait on.
    later = time.time() + 60
    batch = await outbox.claim("meta:1234567890123456", 5, now=time.time() + 1, lease=1)
    visitor = Delivery(
        destination="meta:1234567890123456",
        event_name="Lead",
        event_id="v",
        body=b"{}",
        due=later,
        expires=later,
    )
    await outbox.put([visitor], later)
    assert not waiting.done()
    await outbox.ack(batch, time.time())
    async with asyncio.timeout(DEADLINE):
        await waiting
    assert (await outbox.count(time.time(), with_delivered=True))[
        "meta:1234567890123456"
    ].waiting == 1


async def test_full_outbox_stops_and_the_next_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge.imports.importer, "BATCH_LINES", 10)
    small = SQLiteOutbox(tmp_path / "bridge.db", capacity=15)
    shop = Shop(tmp_path, small)
    shop.write(*(sell(f"{i:02}") for i in range(25)))
    with pytest.raises(OutboxFullError):
        await shop.run()
    await small.close()
    shop.outbox = SQLiteOutbox(tmp_path / "bridge.db")
    assert (await shop.run()).tally.stored == 25
    assert len(await shop.ids()) == 25
    await shop.outbox.close()


async def test_without_an_outbox_lines_are_only_checked(tmp_path: Path) -> None:
    shop = Shop(tmp_path, None)
    shop.write(sell("1"), sell("2", user_data={}))
    importer = await shop.run(progress_file=ProgressFile(None), rejects=Rejects(None))
    assert (importer.tally.stored, importer.tally.rejected) == (1, 1)
    assert os.listdir(tmp_path) == ["sales.jsonl"]
    assert sum(importer.tally.reasons.values()) == 1
