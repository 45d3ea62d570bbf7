"""What became of a server under each attack, as rows of tables."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.faults.victim import Answer
from benchmarks.faults.watching import Seen

COLUMNS = (
    "attack",
    "times",
    "outcomes",
    "honest clients got",
    "our 5xx",
    "longest answer, s",
    "worst /healthz p99, ms",
    "peak RSS, MiB",
    "RSS after it, MiB",
)


@dataclass
class Row:
    """One attack, over all rounds."""

    times: int = 0
    answers: list[Answer] = field(default_factory=list)
    honest: Counter[str] = field(default_factory=Counter)
    longest: float = 0.0
    probe_p99: float = 0.0
    failed_probes: int = 0
    peak_bytes: int = 0
    bytes_after: int = 0
    deaths: int = 0

    def add(self, answers: Sequence[Answer], seen: Seen, bytes_after: int) -> None:
        """One more time."""
        self.times += 1
        self.answers += answers
        self.honest += seen.honest_outcomes
        self.longest = max([self.longest, *(each.seconds for each in (*answers, *seen.honest))])
        self.probe_p99 = max(self.probe_p99, seen.probe_p99)
        self.failed_probes += seen.failed_probes
        self.peak_bytes = max(self.peak_bytes, seen.peak_bytes)
        self.bytes_after = bytes_after

    @property
    def failures(self) -> int:
        """Of the server, not of those who ask."""
        outcomes = Counter(each.outcome.split()[-1] for each in self.answers)
        of_attackers = sum(count for name, count in outcomes.items() if name[0] == "5" and name != "504")
        of_honest = sum(count for name, count in self.honest.items() if _is_failure(name))
        return of_attackers + self.failed_probes + of_honest

    def cells(self, name: str) -> list[str]:
        """As in the table of one server, whose columns are `COLUMNS`."""
        return [
            name,
            str(self.times),
            counted(Counter(each.outcome for each in self.answers)),
            counted(self.honest),
            str(self.failures),
            f"{self.longest:.1f}",
            f"{self.probe_p99:.0f}" if self.probe_p99 else "no probe",
            f"{self.peak_bytes >> 20:,}",
            f"{self.bytes_after >> 20:,}",
        ]

    @property
    def verdict(self) -> str:
        """As in the table that compares servers."""
        if self.deaths:
            return f"**died** ({self.deaths} of {self.times})"
        healthy = f"/healthz {self.probe_p99:,.0f} ms, peak {self.peak_bytes >> 20:,} MiB"
        return f"{self.failures} failures, {healthy}" if self.failures else f"held: {healthy}"


def _is_failure(outcome: str) -> bool:
    """Whether an honest client may complain; 429 tells it to come again."""
    return not outcome.startswith(("2", "4"))


def counted(outcomes: Counter[str]) -> str:
    """For example `3 x 200, 1 x 422`."""
    return ", ".join(f"{count} x {name}" for name, count in sorted(outcomes.items())) or "nothing"
