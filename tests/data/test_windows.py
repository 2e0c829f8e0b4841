"""Every word is owned once, by the window that sees it with most context."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from determined_ner.data.windows import plan_windows


@st.composite
def cases(draw):
    capacity = draw(st.integers(1, 12))
    stride = draw(st.integers(0, capacity - 1))
    sizes = draw(st.lists(st.lists(st.integers(1, capacity), min_size=1, max_size=40), min_size=1, max_size=4))
    pieces = np.array([p for document in sizes for p in document], np.int64)
    documents = np.concatenate([[0], np.cumsum([len(d) for d in sizes])])
    return pieces, documents, capacity, stride


@given(cases())
@settings(max_examples=500, deadline=None)
def test_every_word_is_owned_once_in_reading_order(case):
    pieces, documents, capacity, stride = case
    windows = plan_windows(pieces, documents, capacity, stride)
    owned = np.concatenate([np.arange(b, e) for b, e in zip(windows.own_begin, windows.own_end, strict=True)])
    assert owned.tolist() == list(range(len(pieces)))
    assert (windows.own_end > windows.own_begin).all()


@given(cases())
@settings(max_examples=500, deadline=None)
def test_windows_fit_and_stay_within_their_document(case):
    pieces, documents, capacity, stride = case
    windows = plan_windows(pieces, documents, capacity, stride)
    for begin, end, own_begin, own_end in zip(*vars(windows).values(), strict=True):
        assert pieces[begin:end].sum() <= capacity
        assert begin <= own_begin and own_end <= end
        document = np.searchsorted(documents, begin, side="right")
        assert end <= documents[document]


@given(cases())
@settings(max_examples=500, deadline=None)
def test_the_owner_is_the_window_with_most_context_on_its_poorer_side(case):
    pieces, documents, capacity, stride = case
    # Windows that own nothing are left out by the plan, so the judge works the plan's windows out from their owners.
    windows = plan_windows(pieces, documents, capacity, stride)
    total = np.concatenate([[0], np.cumsum(pieces)])
    seen = list(zip(*vars(windows).values(), strict=True))

    def context(window, word):
        begin, end = window[:2]
        left = total[word] - total[begin] if begin not in documents else np.inf
        right = total[end] - total[word + 1] if end not in documents else np.inf
        return min(left, right)

    for window in seen:
        for word in range(window[2], window[3]):
            assert context(window, word) == max(context(w, word) for w in seen if w[0] <= word < w[1])


@given(cases())
@settings(max_examples=300, deadline=None)
def test_neighbours_overlap_by_the_stride_as_far_as_word_borders_allow(case):
    _, _, capacity, stride = case
    pieces = np.ones(100, np.int64)
    windows = plan_windows(pieces, np.array([0, 100]), capacity, stride)
    # With one piece a word nothing stands in the way, but that a middle window may own no word and is left out.
    overlap = windows.end[:-1] - windows.begin[1:]
    if 2 * stride < capacity:
        assert (overlap == stride).all()


def test_a_short_document_is_one_window():
    windows = plan_windows(np.array([2, 3, 1]), np.array([0, 2, 3]), 5, 2)
    assert windows.begin.tolist() == [0, 2] and windows.end.tolist() == [2, 3]


def test_a_known_case():
    windows = plan_windows(np.ones(10, np.int64), np.array([0, 10]), 4, 2)
    assert list(zip(windows.begin, windows.end, strict=True)) == [(0, 4), (2, 6), (4, 8), (6, 10)]
    # Words 2 and 3 are seen by the first two windows; word 2 has one piece after it in the first and none before it
    # in the second, so the first owns it.
    assert windows.own_end.tolist() == [3, 5, 7, 10]
