"""archive/kept.py: a budget of bytes, whatever is put in."""

from filmroom.archive.kept import Kept


def test_what_is_kept_fits_its_budget():
    kept = Kept(100)
    for number in range(10):
        kept.put(number, number, 20)
    assert (kept.size_bytes, kept.get(0), kept.get(9)) == (100, None, 9)


def test_the_longest_unused_gives_way():
    kept = Kept(100)
    for number in range(5):
        kept.put(number, number, 20)
    assert kept.get(0) == 0
    kept.put(5, 5, 20)
    assert (kept.get(0), kept.get(1)) == (0, None)


def test_what_would_push_out_most_of_the_rest_is_not_kept():
    kept = Kept(100)
    kept.put("small", 1, 20)
    kept.put("large", 1, 51)
    assert (kept.get("large"), kept.get("small")) == (None, 1)


def test_what_is_dropped_gives_its_room_back():
    kept = Kept(100)
    kept.put("a", 1, 50)
    kept.drop("a")
    kept.drop("b")
    assert (kept.get("a"), kept.size_bytes) == (None, 0)
    kept.put("a", 2, 30)
    kept.clear()
    assert (kept.get("a"), kept.size_bytes) == (None, 0)
