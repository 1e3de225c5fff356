"""Schedules of chains of unequal stages: the exact optimum, against a search through all states."""

import heapq
import random

import pytest
from wengert import _core


class Chain:
    def __init__(self, stages, states, cotangents):
        self.stages, self.states, self.cotangents = stages, states, cotangents

    @classmethod
    def drawn(cls, draw, size):
        states = [draw.randint(1, 6) for _ in range(size + 1)]
        return cls(
            [
                (
                    draw.randint(1, 9),
                    draw.randint(1, 9),
                    states[i + 1] + draw.randint(0, 9),
                    draw.randint(0, 3),
                    draw.randint(0, 3),
                )
                for i in range(size)
            ],
            states,
            [draw.randint(0, 6) for _ in range(size)] + [0],
        )

    def schedule(self, limit, slots=1000):
        return _core._chain_schedule(self.stages, self.states, self.cotangents, limit, slots)


def run(chain, limit, operations):
    """Carries the operations out on counted memory; the seconds. Asserts that each finds what it
    reads and that no more than ``limit`` is ever in use."""
    size, seconds = len(chain.stages), 0
    inputs, full = {0}, set()
    position, left = 0, size  # what is there besides; stages still to be reversed
    for kind, s in operations:
        forward, backward, kept, forward_room, backward_room = chain.stages[s]
        used = sum(chain.states[i] for i in inputs if i) + sum(chain.stages[i][2] for i in full)
        there = s in inputs or s - 1 in full or position == s
        assert there
        loose = position == s and s not in inputs and s - 1 not in full
        own = chain.states[s] if loose else 0
        if kind == "reverse":
            assert s in full and s == left - 1
            used += chain.cotangents[s + 1] + chain.cotangents[s] + backward_room + own
            seconds += backward
            full.discard(s)
            inputs.discard(s) if s else None
            left, position = s, -1
        else:
            made = kept if kind == "keep_all" else chain.states[s + 1]
            used += chain.cotangents[left] + own + made + forward_room
            seconds += forward
            if kind != "drop_input" and loose:
                inputs.add(s)
            assert kind != "drop_input" or loose
            if kind == "keep_all":
                full.add(s)
            position = s + 1
        assert used <= limit
    assert left == 0 and not full
    return seconds


def searched(chain, limit, bound):
    """The least seconds below ``bound`` of all ways to reverse the chain in ``limit`` bytes that
    give a stored value up only when its stage is reversed; None if there is none. Dijkstra's search
    through the states of the memory, the remaining first forwards as a bound."""
    size = len(chain.stages)
    forward = [stage[0] for stage in chain.stages]
    total_backward = [0]
    for stage in chain.stages:
        total_backward.append(total_backward[-1] + stage[1])
    known = {}

    def bound_of(left, full):
        return total_backward[left] + sum(forward[i] for i in range(left) if not full >> i & 1)

    start = (size, 1, 0, 0)  # left, inputs and full histories as bits, the loose state or -1
    queue = [(bound_of(size, 0), 0, start)]
    while queue:
        _, seconds, state = heapq.heappop(queue)
        if known.get(state, bound + 1) < seconds:
            continue
        left, inputs, full, loose = state
        if left == 0:
            return seconds
        used = sum(chain.states[i] for i in range(1, size) if inputs >> i & 1)
        used += sum(chain.stages[i][2] for i in range(size) if full >> i & 1)
        nexts = []
        s = left - 1
        if full >> s & 1 and (inputs >> s & 1 or (s and full >> (s - 1) & 1)):
            peak = used + chain.cotangents[left] + chain.cotangents[s] + chain.stages[s][4]
            if peak <= limit:
                rest = inputs if s == 0 else inputs & ~(1 << s)
                nexts.append((chain.stages[s][1], (s, rest, full & ~(1 << s), -1)))
        for p in range(left):
            stored = inputs >> p & 1 or (p and full >> (p - 1) & 1)
            if not stored and loose != p:
                continue
            own = 0 if stored else chain.states[p]
            base = used + own + chain.cotangents[left] + chain.stages[p][3]
            kept = inputs if stored else inputs | 1 << p
            if not full >> p & 1 and base + chain.stages[p][2] <= limit:
                nexts.append((forward[p], (left, kept, full | 1 << p, -1)))
            if p + 1 < left and base + chain.states[p + 1] <= limit:
                nexts.append((forward[p], (left, kept, full, p + 1)))
                if not stored:
                    nexts.append((forward[p], (left, inputs, full, p + 1)))
        for cost, after in nexts:
            found = seconds + cost
            expected = found + bound_of(after[0], after[2])
            if expected <= bound and found < known.get(after, bound + 1):
                known[after] = found
                heapq.heappush(queue, (expected, found, after))
    return None


@pytest.mark.parametrize("seed", range(10))
def test_random_chains_against_exhaustive_search(seed):
    draw = random.Random(seed)
    for _ in range(20):
        chain = Chain.drawn(draw, draw.choice([1, 2, 3, 4, 5, 5, 6, 6, 7, 8, 12]))
        most = sum(stage[2] for stage in chain.stages) + 20
        limit = draw.randint(most // 4, most)
        found = chain.schedule(limit)
        if found is None:
            everything = sum(stage[0] for stage in chain.stages) * len(chain.stages) * 40
            assert searched(chain, limit, everything) is None
            continue
        seconds, operations = found
        assert run(chain, limit, operations) == seconds
        assert searched(chain, limit, seconds) == seconds


def test_more_memory_never_costs_time():
    draw = random.Random(0)
    chain = Chain.drawn(draw, 20)
    before = None
    for limit in range(0, 400, 7):
        found = chain.schedule(limit)
        if found is None:
            assert before is None
            continue
        assert run(chain, limit, found[1]) == found[0] and (before is None or found[0] <= before)
        before = found[0]
    assert before == sum(stage[0] + stage[1] for stage in chain.stages)


def test_slots_are_never_over_the_limit():
    draw = random.Random(1)
    for slots in (10, 37, 100):
        chain = Chain.drawn(draw, 9)
        for limit in (60, 90, 130):
            if (found := chain.schedule(limit, slots)) is not None:
                assert run(chain, limit, found[1]) == found[0]
                assert found[0] >= chain.schedule(limit)[0]


def test_equal_stages_and_ends():
    chain = Chain([(1, 1, 1, 0, 0)] * 4, [1] * 5, [0] * 5)
    assert chain.schedule(4)[0] == 8
    assert chain.schedule(3)[0] == 10
    assert chain.schedule(0) is None
    assert Chain([], [1], [0]).schedule(0) == (0.0, [])
