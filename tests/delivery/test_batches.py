from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.delivery.batches import Batch, cut, split
from bridge.outbox import Delivery
from tests.factories import make_delivery

LEADS = [make_delivery(str(i)) for i in range(1000)]
Blame = Callable[[list[int]], Sequence[int]]


def deliver(poison: Iterable[int], blame: Blame) -> tuple[list[str], list[str], list[int]]:
    """Send 1000 to a destination that refuses each batch with poison.

    Returns what it accepted, what was buried, and the size of each request.

    ``blame`` is what it names, of the places of the poison in the batch.
    """
    bad, accepted, buried = {str(i) for i in poison}, list[str](), list[str]()
    requests: list[int] = []
    batches = [Batch(LEADS)]
    while batches:
        batch = batches[0]
        requests.append(len(batch.deliveries))
        ids = [delivery.event_id for delivery in batch.deliveries]
        places = [place for place, event_id in enumerate(ids) if event_id in bad]
        if places and len(ids) > 1:
            batches[:1] = split(batch, blame(places))
            continue
        (buried if places else accepted).extend(ids)
        batches.pop(0)
    return accepted, buried, requests


def first(places: list[int]) -> list[int]:
    return places[:1]


def nothing(places: list[int]) -> list[int]:
    return []


@pytest.mark.parametrize(("blame", "most"), [(first, 3), (nothing, 21)])
def test_poison_at_every_place_stands_alone(blame: Blame, most: int) -> None:
    for place in range(1000):
        accepted, buried, requests = deliver([place], blame)
        assert buried == [str(place)]
        assert sorted(accepted, key=int) == [str(i) for i in range(1000) if i != place]
        assert len(requests) <= most


@pytest.mark.parametrize("blame", [first, nothing])
def test_all_poison_costs_two_requests_each_or_three_with_hints(blame: Blame) -> None:
    accepted, buried, requests = deliver(range(1000), blame)
    assert (accepted, len(set(buried)), len(buried)) == ([], 1000, 1000)
    assert len(requests) <= 3000
    assert sum(requests) <= 1000 * 25  # no event is sent much more often than 2 * log2(1000) times


@given(
    poison=st.sets(st.integers(0, 999), max_size=20),
    wrong=st.lists(st.integers(-5, 2000), max_size=5),
    is_right=st.booleans(),
)
def test_each_event_gets_one_end_whatever_is_blamed(
    poison: set[int], wrong: list[int], is_right: bool
) -> None:
    accepted, buried, _ = deliver(poison, lambda places: places if is_right else wrong)
    assert sorted(buried, key=int) == [str(i) for i in sorted(poison)]
    assert sorted([*accepted, *buried], key=int) == [lead.event_id for lead in LEADS]


def sizes(batches: list[Batch]) -> list[int]:
    return [len(batch.deliveries) for batch in batches]


def test_claim_is_cut_by_count_and_keeps_its_order() -> None:
    batches = cut(LEADS, batch_size=300)
    assert sizes(batches) == [300, 300, 300, 100]
    assert [each for batch in batches for each in batch.deliveries] == LEADS
    assert cut([], batch_size=300) == []


def test_claim_is_cut_by_bytes() -> None:
    bodies = [b"x" * size for size in (4, 4, 10, 1, 3, 4)]
    deliveries = [make_delivery(str(i), body=body) for i, body in enumerate(bodies)]
    batches = cut(deliveries, batch_size=1000, max_bytes=9)
    assert sizes(batches) == [2, 1, 2, 1]  # 4 + comma + 4, one too large, 1 + comma + 3, 4
    for batch in (batches[0], batches[2]):
        assert len(b",".join(each.body for each in batch.deliveries)) <= 9


@pytest.mark.parametrize(
    ("attempts", "expected"),
    [(1, [16]), (2, [4] * 4), (3, [1] * 16), (99, [1] * 16)],
)
def test_what_failed_often_travels_in_smaller_company(attempts: int, expected: list[int]) -> None:
    deliveries = [make_delivery(str(i), attempts=attempts) for i in range(16)]
    assert sizes(cut(deliveries, batch_size=16)) == expected


def test_what_failed_often_goes_alone_among_fresh_ones() -> None:
    def make(attempts: int) -> Delivery:
        return make_delivery(attempts=attempts)

    deliveries = [make(1), make(1), make(50), make(1), make(1), make(1)]
    assert sizes(cut(deliveries, batch_size=16)) == [2, 1, 3]
