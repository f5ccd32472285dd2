"""How well the checker tells a carried sentence from a changed one: `python -m tests.benchmarks.checking [--wrong KIND]`.

Prints for each kind how many pass as supported, are whispered of and are alarmed of, with 95 % intervals (Wilson), for the half that
thresholds were looked for on and the half that was held out, and the milliseconds a sentence takes.
"""

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt

from rag.domain.support import Support, Verdict, check
from tests.benchmarks.checking_set import FACTS, SCIFACT, Pair, pairs, scifact


@dataclass(frozen=True, slots=True)
class Checked:
    pair: Pair
    found: Support

    @property
    def passed(self) -> bool:
        return self.found.verdict is Verdict.SUPPORTED


def checked(all_pairs: Iterable[Pair]) -> list[Checked]:
    """Each pair with what the checker says of it."""
    return [Checked(pair, check(pair.sentence, [pair.passage])) for pair in all_pairs]


def interval(hits: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    if not count:
        return 0.0, 1.0
    z, p = 1.96, hits / count
    middle = (p + z * z / (2 * count)) / (1 + z * z / count)
    width = z * sqrt(p * (1 - p) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return max(0.0, middle - width), min(1.0, middle + width)


def _share(hits: int, count: int) -> str:
    low, high = interval(hits, count)
    return f"{hits / count if count else 0:.3f} ({low:.2f}-{high:.2f})"


def report(found: Sequence[Checked]) -> str:
    """The table of one half."""
    lines = [f"{'kind':22}{'pairs':>6}  {'supported':20}{'whispered':>10}{'alarm':>8}"]
    kinds = sorted({each.pair.kind for each in found}, key=lambda kind: (kind not in TRUE_KINDS, kind))
    for kind in kinds:
        own = [each for each in found if each.pair.kind == kind]
        alarms = sum(each.found.alarm for each in own)
        passed = sum(each.passed for each in own)
        whispered = len(own) - alarms - passed
        lines.append(f"{kind:22}{len(own):>6}  {_share(passed, len(own)):20}{whispered:>10}{alarms:>8}")
    true = [each for each in found if each.pair.kind in TRUE_KINDS]
    changed = [each for each in found if each.pair.kind not in TRUE_KINDS]
    facts = [each for each in changed if each.pair.kind in FACTS]
    quiet = sum(not each.found.alarm for each in true)
    alarmed = sum(each.found.alarm for each in changed)
    lines += [
        f"true sentences without alarm   {_share(quiet, len(true))}",
        f"true sentences supported       {_share(sum(e.passed for e in true), len(true))}",
        f"changed sentences caught       {_share(sum(not e.passed for e in changed), len(changed))}   (not supported)",
        f"changed sentences alarmed of   {_share(alarmed, len(changed))}",
        f"precision of an alarm          {_share(alarmed, alarmed + len(true) - quiet)}",
        f"numbers and dates that passed  {sum(e.passed for e in facts)} of {len(facts)}",
    ]
    return "\n".join(lines)


TRUE_KINDS = frozenset({"verbatim", "paraphrase", "joined", "formats", "units", "claim"})


def milliseconds(all_pairs: Sequence[Pair]) -> tuple[float, float]:
    """Median and 95th percentile of processor time for a sentence, its passage read for the first time."""
    from rag.domain.reading import read

    taken = []
    for pair in all_pairs:
        read.cache_clear()
        began = time.thread_time()
        check(pair.sentence, [pair.passage])
        taken.append((time.thread_time() - began) * 1000)
    taken.sort()
    return taken[len(taken) // 2], taken[int(len(taken) * 0.95)]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--wrong", help="print the sentences of this kind of the first half that were judged wrongly")
    wanted = options.parse_args()
    own = pairs()
    sets = {"sample documents and by hand": own}
    if SCIFACT.is_dir():
        sets["SciFact"] = scifact()
    else:
        print("SciFact is not beside the checkout: left out.", file=sys.stderr)
    for name, members in sets.items():
        found = checked(members)
        for held_out in (False, True):
            half = [each for each in found if each.pair.held_out is held_out]
            print(f"\n{name}, {'held out' if held_out else 'looked at'}: {len(half)} pairs\n{report(half)}")
            if wanted.wrong and not held_out:
                for each in half:
                    true = each.pair.kind in TRUE_KINDS
                    if each.pair.kind == wanted.wrong and (each.found.alarm if true else each.passed):
                        print(
                            f"- {each.found.verdict.value} | {each.pair.sentence} | {each.found.reason} | {each.pair.origin}"
                        )
    median, high = milliseconds(own)
    print(f"\nmilliseconds a sentence, its passage read anew: {median:.2f}, 95th percentile {high:.2f}")


if __name__ == "__main__":
    main()
