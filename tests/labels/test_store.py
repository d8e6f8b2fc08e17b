from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from inkfish.errors import DataError
from inkfish.labels.queue import answer, next_item, undo
from inkfish.labels.records import Candidate, Item, Label, check_item, check_label, shuffled
from inkfish.labels.store import Settings, Store

SCRIPTS = Path(__file__).parent


def item(number: int, n: int = 4) -> Item:
    return Item(
        "best", f"query {number}", tuple(Candidate(f"text {number}.{i}", (i, number)) for i in range(n))
    )


def label(of: Item, labeller: str = "ann", request: str = "r", best: int = 0) -> Label:
    return Label(request, of.key, labeller, "best", (best,))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "labels.sqlite", create=True) as made:
        made.add([item(i) for i in range(5)])
        yield made


def test_every_connection_writes_through(store: Store) -> None:
    pragmas = {
        name: store.db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
    }
    assert pragmas == {"journal_mode": "delete", "synchronous": 3}  # 3 is EXTRA
    with Store(store.path) as other:
        assert other.db.execute("PRAGMA synchronous").fetchone()[0] == 3


def test_items_come_back_as_they_were_and_once(store: Store) -> None:
    full = Item(
        "pair",
        "q",
        (Candidate("a", (1,), {"model": "m", "seed": 3}), Candidate("b")),
        (1, 2),
        (0,),
        {"x": [1]},
    )
    assert store.add([full, full]) == (1, 0)
    assert store.items()[-1] == full
    assert store.add([full]) == (0, 0)
    assert store.progress().items == 6


def test_labels_come_back_as_they_were(store: Store) -> None:
    first = store.items()[0]
    full = Label(
        "r1", first.key, "ann", "tie", (1, 2), None, "hm", (3, 1, 0, 2), 1.5, 2.5, "v1", "t", False, {"a": 1}
    )
    assert answer(store, full) == full
    assert store.labels() == [full]


def test_everybody_gets_an_order_of_their_own_and_always_the_same() -> None:
    orders = {shuffled(item(i), "ann") for i in range(60)}
    assert len(orders) > 15
    assert shuffled(item(1), "ann") == shuffled(item(1), "ann")
    assert len({shuffled(item(i), who) for i in range(1) for who in "abcdefgh"}) > 2


def test_an_item_stays_until_it_is_answered(store: Store) -> None:
    shown = next_item(store, "ann")
    assert shown is not None
    assert next_item(store, "ann") == shown
    answer(store, label(shown.item))
    after = next_item(store, "ann")
    assert after is not None
    assert after.item != shown.item


def test_two_labellers_share_the_work_and_with_overlap_see_the_same(store: Store) -> None:
    mine, yours = next_item(store, "ann"), next_item(store, "bob")
    assert mine is not None
    assert yours is not None
    assert mine.item != yours.item
    store.set(Settings(overlap=2))
    answer(store, label(mine.item))
    answer(store, label(yours.item, "bob", "r2"))
    again = next_item(store, "bob")
    assert again is not None
    assert again.item == mine.item  # what somebody has begun comes first
    answer(store, label(mine.item, "bob", "r3"))
    assert store.progress().complete == 1


def test_a_lease_runs_out(tmp_path: Path) -> None:
    now = [1000.0]
    with Store(tmp_path / "s", create=True, clock=lambda: now[0]) as store:
        store.add([item(0)])
        first = next_item(store, "ann")
        assert first is not None
        assert next_item(store, "bob") is None
        now[0] += 601
        assert next_item(store, "bob") is not None
        now[0] -= 5000  # a clock that jumps back lends nothing twice
        assert next_item(store, "cat") is None
        answer(store, label(first.item, "bob", "r1"))
        with pytest.raises(DataError, match="this item has its 1 labels already; go on with the next one"):
            answer(store, label(first.item, "ann", "r2"))
        assert [one.labeller for one in store.labels()] == ["bob"]


def test_the_same_request_again_gets_the_same_answer(store: Store) -> None:
    first = store.items()[0]
    one = answer(store, label(first))
    assert answer(store, replace(label(first), best=(3,))) == one
    assert store.progress().labels == 1
    with pytest.raises(DataError, match="ann has labelled this item already; undo that first"):
        answer(store, label(first, request="another"))


def test_undo_brings_the_item_back_and_may_be_sent_twice(store: Store) -> None:
    assert undo(store, "ann", "u0") is None
    shown = next_item(store, "ann")
    assert shown is not None
    given = answer(store, label(shown.item))
    assert undo(store, "ann", "u1") == given
    assert undo(store, "ann", "u1") == given
    assert store.labels() == []
    assert store.progress().complete == 0
    again = next_item(store, "ann")
    assert again is not None
    assert again.item == shown.item
    answer(store, label(shown.item, request="r2", best=1))
    assert [one.best for one in store.labels()] == [(1,)]
    (rows,) = store.db.execute("SELECT count(*) FROM labels").fetchone()
    assert rows == 2  # nothing is ever taken away


def test_repeats_come_after_so_many(store: Store) -> None:
    store.set(Settings(repeat_every=2))
    seen = []
    for number in range(7):
        shown = next_item(store, "ann")
        assert shown is not None
        seen.append((shown.item.query[-1], shown.repeat))
        given = answer(store, label(shown.item, request=f"r{number}"))
        assert given.repeat == shown.repeat
    assert seen == [
        ("0", False),
        ("1", False),
        ("0", True),
        ("2", False),
        ("3", False),
        ("1", True),
        ("4", False),
    ]
    assert next_item(store, "ann") is None


def test_what_one_has_chosen_comes_to_everybody_in_between(store: Store) -> None:
    with pytest.raises(DataError, match=r"eve has chosen nothing in .*; label some items first"):
        store.make_gold("eve")
    for number in range(2):
        shown = next_item(store, "eve")
        assert shown is not None
        answer(store, label(shown.item, "eve", request=f"e{number}", best=3))
    assert store.make_gold("eve") == 2
    store.set(Settings(gold_every=2))
    seen = []
    while shown := next_item(store, "ann"):
        seen.append((shown.item.query[-1], shown.item.gold))
        answer(store, label(shown.item, request=f"r{len(seen)}"))
    # the overlap is 1, so that an item of eve's comes to ann only because the best of it is known
    assert seen == [("2", None), ("3", None), ("0", (3,)), ("4", None)]
    with pytest.raises(DataError, match="this item has its 1 labels already; go on with the next one"):
        answer(store, label(item(1), request="unasked"))


@pytest.mark.parametrize("overlap", [2, 3])
def test_known_items_come_only_when_one_is_due(tmp_path: Path, overlap: int) -> None:
    known = [replace(item(i), gold=(0,)) for i in range(4)]
    with Store(tmp_path / "s", create=True) as store:
        store.add([*known, *(item(i) for i in range(4, 12))])
        store.add([], [label(one, "eve", f"e{i}") for i, one in enumerate(known)])
        store.set(Settings(overlap=overlap, gold_every=3))
        for who in ("ann", "bob"):
            seen = []
            while shown := next_item(store, who):
                seen.append("known" if shown.item.gold else "plain")
                answer(store, label(shown.item, who, f"{who}{len(seen)}"))
            assert seen == ["plain", "plain", "plain", "known"] * 2 + ["plain", "plain"]
        assert store.progress().complete == (12 if overlap == 2 else 4)


def test_a_skip_leaves_the_place_to_others(store: Store) -> None:
    store.set(Settings(repeat_every=1))
    shown = next_item(store, "ann")
    assert shown is not None
    skip = replace(label(shown.item), verdict="skip", best=())
    answer(store, skip)
    assert (store.progress().complete, store.progress().skipped) == (0, 1)
    after = next_item(store, "ann")
    assert after is not None
    assert (after.item == shown.item, after.repeat) == (
        False,
        False,
    )  # it does not come back, as no repeat either
    undo(store, "ann", "undo-1")
    again = next_item(store, "ann")
    assert again is not None
    assert (again.item, again.repeat, store.progress().skipped) == (shown.item, False, 0)
    answer(store, replace(skip, request="again"))
    yours = next_item(store, "bob")
    assert yours is not None
    assert yours.item == shown.item
    answer(store, label(shown.item, "bob", "b"))
    undo(store, "ann", "undo-2")
    assert (store.progress().complete, store.progress().skipped) == (1, 0)
    undo(store, "bob", "undo-3")
    assert store.progress().complete == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"verdict": "maybe"}, "verdict is 'maybe'; it must be one of best, tie, bad, skip, rating"),
        ({"best": (4,)}, "this item's candidates are 0 to 3"),
        ({"best": ()}, "a label 'best' names 0 candidates; it must name 1"),
        ({"best": (0, 1)}, "a label 'best' names 2 candidates; it must name 1"),
        ({"verdict": "tie"}, "a label 'tie' names 1 candidates; it must name 2 to 4"),
        ({"verdict": "tie", "best": (1, 1)}, r"best is \[1, 1\]"),
        ({"verdict": "bad"}, "a label 'bad' names 1 candidates; it must name 0"),
        ({"labeller": " "}, "labeller must be a name of 1 to 100 characters"),
        ({"order": (0, 1)}, r"order is \[0, 1\]; it must be an order of 0 to 3"),
        ({"rating": 3.0}, "a label 'best' has a rating"),
        (
            {"verdict": "rating", "best": (), "rating": 7.0},
            "verdict is 'rating' on an item 'best'; it must be best, tie, bad or skip",
        ),
        ({"item": "0" * 64}, "there is no item '00000000000000000000' in labels.sqlite"),
    ],
)
def test_labels_that_say_nothing_are_refused(store: Store, change: dict[str, object], words: str) -> None:
    wrong = replace(label(store.items()[0]), **change)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=words):
        answer(store, wrong)
    with pytest.raises(DataError, match=words):
        store.add([item(77)], [wrong])
    assert store.progress() == replace(store.progress(), items=5, labels=0)
    answer(store, label(store.items()[0]))


def test_what_a_label_may_say() -> None:
    for good in (
        label(item(0)),
        replace(label(item(0)), verdict="tie", best=(0, 3)),
        replace(label(item(0)), verdict="bad", best=()),
        replace(label(item(0)), verdict="skip", best=()),
    ):
        check_label(item(0), good)
    check_label(RATED, RATING)
    check_label(RATED, replace(RATING, verdict="skip", rating=None))
    assert replace(label(item(0), best=2), order=(3, 2, 1, 0)).slot == 1


RATED = Item("rating", "query", (Candidate("text"),))
RATING = Label("r", RATED.key, "ann", "rating", rating=7.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rating": None}, "a label 'rating' lacks its rating"),
        ({"rating": 8.0}, "rating is 8.0; it must be from 1 to 7"),
        (
            {"verdict": "best", "best": (0,), "rating": None},
            "verdict is 'best' on an item 'rating'; it must be rating or skip",
        ),
    ],
)
def test_ratings_that_say_nothing_are_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        check_label(RATED, replace(RATING, **change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (replace(item(0), kind="worst"), "kind is 'worst'; it must be one of best, pair, rating"),  # type: ignore[arg-type]
        (replace(item(0), kind="pair"), "an item 'pair' has 4 candidates; it must have 2"),
        (replace(item(0), kind="rating"), "an item 'rating' has 4 candidates; it must have 1"),
        (item(0, n=1), "an item 'best' has 1 candidates; it must have 2 or more"),
        (
            replace(item(0), gold=(9,)),
            r"gold is \[9\]; this item's candidates are 0 to 3, each named once at",
        ),
    ],
)
def test_items_that_are_not_what_their_kind_says(wrong: Item, words: str) -> None:
    with pytest.raises(DataError, match=words):
        check_item(wrong)
    check_item(item(0))


def test_what_was_undone_comes_back_where_it_is_added_again(store: Store) -> None:
    first = store.items()[0]
    given = label(first)
    assert store.add([], [given]) == (0, 1)
    undo(store, "ann", "u1")
    assert store.progress().labels == 0
    assert store.add([], [given]) == (0, 1)
    assert store.labels() == [given]
    assert store.add([], [given]) == (0, 0)
    undo(store, "ann", "u2")
    answer(store, label(first, request="r2", best=1))  # ann has changed her mind
    assert store.add([], [given]) == (0, 0)
    assert [one.best for one in store.labels()] == [(1,)]


def test_strange_texts_stay_texts(store: Store) -> None:
    strange = "'); DROP TABLE labels; -- <script>alert(1)</script> \0 \u2028 =cmd()"
    odd = Item("best", strange, (Candidate(strange), Candidate("b")))
    store.add([odd], [Label("x", odd.key, "'; --", "best", (0,), note="n" * 1_000_000)])
    assert store.items()[-1] == odd
    (found,) = store.labels()
    assert (found.labeller, len(found.note)) == ("'; --", 10_000)


def test_files_that_are_no_stores_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no label store .*; inkfish prefer sample makes one"):
        Store(tmp_path / "missing")
    (tmp_path / "text").write_text("hello, this is not a database at all" * 100)
    with pytest.raises(DataError, match="can't be used as a label store: file is not a database"):
        Store(tmp_path / "text")
    other = sqlite3.connect(tmp_path / "other")
    other.execute("CREATE TABLE x(y)")
    other.close()
    with pytest.raises(DataError, match="is a database of another program"):
        Store(tmp_path / "other")
    with Store(tmp_path / "newer", create=True) as store:
        store.db.execute("PRAGMA user_version = 9")
    with pytest.raises(DataError, match="has format 9, this inkfish reads 1; update inkfish"):
        Store(tmp_path / "newer")


def test_a_whole_import_or_nothing(store: Store) -> None:
    good = [item(50), item(51)]
    labels = [label(good[0], request="a"), replace(label(good[1], request="b"), best=(9,))]
    with pytest.raises(DataError, match="best is"):
        store.add(good, labels)
    assert store.progress().items == 5


WRITER = """
import sys
from pathlib import Path
from inkfish.labels.queue import answer, next_item
from inkfish.labels.records import Label
from inkfish.labels.store import Store

store, who = Store(Path(sys.argv[1])), sys.argv[2]
number = 0
while (shown := next_item(store, who)) is not None:
    request = f"{who}-{sys.argv[3]}-{number}"
    answer(store, Label(request, shown.item.key, who, "best", (number % 4,)))
    print(request, flush=True)
    number += 1
"""


def writer(path: Path, who: str, run: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), who, str(run)], stdout=subprocess.PIPE, text=True
    )


def test_eight_writers_lose_and_double_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with Store(path, create=True) as store:
        store.set(Settings(overlap=2))
        store.add([item(i) for i in range(60)])
        writers = [writer(path, f"w{i}", 0) for i in range(8)]
        acknowledged = [line for w in writers for line in w.communicate()[0].split()]
        assert [w.returncode for w in writers] == [0] * 8
        labels = store.labels()
        assert sorted(one.request for one in labels) == sorted(acknowledged)
        assert len({(one.item, one.labeller) for one in labels}) == len(labels) == 120
        assert store.progress().complete == 60


def test_every_acknowledged_label_survives_kill_9(tmp_path: Path) -> None:
    path, acknowledged = tmp_path / "s", []
    with Store(path, create=True) as store:
        store.add([item(i) for i in range(2000)])
    for run in range(6):
        with writer(path, "ann", run) as process:
            assert process.stdout is not None
            for _ in range(3 + 4 * run):
                acknowledged.append(process.stdout.readline().strip())
            process.kill()
            acknowledged += process.stdout.read().split()
    with Store(path) as store:
        assert store.db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        found = [one.request for one in store.labels()]
        assert len(set(found)) == len(found)
        assert set(acknowledged) <= set(found)
        assert len(found) <= len(acknowledged) + 6  # at most the one being written at each kill
