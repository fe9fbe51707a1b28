"""PS3.8 Table 9-10: every cell, as printed in the standard."""

import pytest

from filmroom.dimse.errors import LocalProtocolError
from filmroom.dimse.upper_layer import NEXT_STATE, TRANSITIONS, Action, Event, State, UpperLayer

TABLE_9_10 = """
       Sta1 Sta2 Sta3 Sta4 Sta5 Sta6 Sta7 Sta8 Sta9 Sta10 Sta11 Sta12 Sta13
Evt1   AE-1 -    -    -    -    -    -    -    -    -     -     -     -
Evt2   -    -    -    AE-2 -    -    -    -    -    -     -     -     -
Evt3   -    AA-1 AA-8 -    AE-3 AA-8 AA-8 AA-8 AA-8 AA-8  AA-8  AA-8  AA-6
Evt4   -    AA-1 AA-8 -    AE-4 AA-8 AA-8 AA-8 AA-8 AA-8  AA-8  AA-8  AA-6
Evt5   AE-5 -    -    -    -    -    -    -    -    -     -     -     -
Evt6   -    AE-6 AA-8 -    AA-8 AA-8 AA-8 AA-8 AA-8 AA-8  AA-8  AA-8  AA-7
Evt7   -    -    AE-7 -    -    -    -    -    -    -     -     -     -
Evt8   -    -    AE-8 -    -    -    -    -    -    -     -     -     -
Evt9   -    -    -    -    -    DT-1 -    AR-7 -    -     -     -     -
Evt10  -    AA-1 AA-8 -    AA-8 DT-2 AR-6 AA-8 AA-8 AA-8  AA-8  AA-8  AA-6
Evt11  -    -    -    -    -    AR-1 -    -    -    -     -     -     -
Evt12  -    AA-1 AA-8 -    AA-8 AR-2 AR-8 AA-8 AA-8 AA-8  AA-8  AA-8  AA-6
Evt13  -    AA-1 AA-8 -    AA-8 AA-8 AR-3 AA-8 AA-8 AR-10 AR-3  AA-8  AA-6
Evt14  -    -    -    -    -    -    -    AR-4 AR-9 -     -     AR-4  -
Evt15  -    -    AA-1 AA-2 AA-1 AA-1 AA-1 AA-1 AA-1 AA-1  AA-1  AA-1  -
Evt16  -    AA-2 AA-3 -    AA-3 AA-3 AA-3 AA-3 AA-3 AA-3  AA-3  AA-3  AA-2
Evt17  -    AA-5 AA-4 AA-4 AA-4 AA-4 AA-4 AA-4 AA-4 AA-4  AA-4  AA-4  AR-5
Evt18  -    AA-2 -    -    -    -    -    -    -    -     -     -     AA-2
Evt19  -    AA-1 AA-8 -    AA-8 AA-8 AA-8 AA-8 AA-8 AA-8  AA-8  AA-8  AA-7
"""

# Tables 9-6 to 9-9: where each action leads.
LEADS_TO = {
    "AE-1": 4,
    "AE-2": 5,
    "AE-3": 6,
    "AE-4": 1,
    "AE-5": 2,
    "AE-6": 3,
    "AE-7": 6,
    "AE-8": 13,
    "DT-1": 6,
    "DT-2": 6,
    "AR-1": 7,
    "AR-2": 8,
    "AR-3": 1,
    "AR-4": 13,
    "AR-5": 1,
    "AR-6": 7,
    "AR-7": 8,
    "AR-8": 10,
    "AR-9": 11,
    "AR-10": 12,
    "AA-1": 13,
    "AA-2": 1,
    "AA-3": 1,
    "AA-4": 1,
    "AA-5": 1,
    "AA-6": 13,
    "AA-7": 13,
    "AA-8": 13,
}


def cells():
    header, *rows = (line.split() for line in TABLE_9_10.strip().splitlines())
    for name, *actions in rows:
        for state, action in zip(header, actions, strict=True):
            yield State(int(state[3:])), Event(int(name[3:])), action


def placed_in(state, *, is_requestor=False):
    machine = UpperLayer(is_requestor=is_requestor)
    machine.state = state
    return machine


@pytest.mark.parametrize(
    ("state", "event", "action"),
    [pytest.param(*cell, id=f"Sta{cell[0].value}-Evt{cell[1].value}") for cell in cells()],
)
def test_every_cell_of_the_table(state, event, action):
    machine = placed_in(state)
    if action == "-":
        with pytest.raises(LocalProtocolError, match=event.name):
            machine.advance(event)
        assert machine.state is state
        return
    assert machine.advance(event) is Action(action)
    assert machine.state is State(LEADS_TO[action])


def test_the_table_has_no_cell_of_our_own():
    ours = {(state, event) for state, row in TRANSITIONS.items() for event in row}
    assert ours == {(state, event) for state, event, action in cells() if action != "-"}
    assert set(NEXT_STATE) == set(Action)


@pytest.mark.parametrize(("is_requestor", "leads_to"), [(True, 9), (False, 10)])
def test_a_release_collision_depends_on_who_requested_the_association(is_requestor, leads_to):
    machine = placed_in(State.AWAITING_RELEASE_RP, is_requestor=is_requestor)
    assert machine.advance(Event.RELEASE_RQ_RECEIVED) is Action.INDICATE_RELEASE_COLLISION
    assert machine.state is State(leads_to)


def test_pynetdicom_reads_the_table_as_we_do():
    fsm = pytest.importorskip("pynetdicom.fsm")
    theirs = {
        (State(int(state[3:])), Event(int(event[3:]))): action
        for (event, state), action in fsm.TRANSITION_TABLE.items()
    }
    ours = {(s, e): action.value for s, row in TRANSITIONS.items() for e, action in row.items()}
    assert ours == theirs
