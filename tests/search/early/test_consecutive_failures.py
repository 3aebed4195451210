"""When a search whose trials fail is stopped, and when it goes on."""

from __future__ import annotations

from typing import Any

from launcher.search.early.consecutive_failures import Alike


def failed(reason: str) -> dict[str, Any]:
    return {"status": "failed", "reason": reason}


def test_the_numbers_in_a_reason_do_not_make_it_another() -> None:
    alike = Alike(3)
    for number, step in ((4, "12"), (2, "1.5e-3")):
        alike.ended(number, failed(f"the loss is nan at step {step}\nand more"))
        assert alike.said is None
    alike.ended(9, failed("the loss is nan at step 7"))
    assert alike.said is not None
    assert "its first trials (2, 4, 9) all failed alike: the loss is nan at step 7" in alike.said


def test_other_reasons_and_one_that_came_to_its_end_go_on() -> None:
    others = Alike(2)
    for number in range(6):
        others.ended(number, failed("odd" if number % 2 else "even"))
    good = Alike(2)
    good.ended(0, failed("odd"))
    good.ended(1, {"status": "pruned", "reason": "pruned"})
    never, before = Alike(None), Alike(2, good_before=True)
    for number in range(6):
        for each in (good, never, before):
            each.ended(number, failed("odd"))
    assert [each.said for each in (others, good, never, before)] == [None] * 4
