"""What an examination leaves behind: places, evidence, rulings and findings, as plain data without torch.

A check measures `Evidence`, judges it into a `Ruling`, and the examination wraps both into a `Finding`. Findings go
into the journal as JSON and every view reads them from there.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Mapping, Sequence
from typing import Any

from trainrecipe.picture import Picture

SCHEMA_VERSION = 1


class Severity(enum.StrEnum):
    """How sure and how serious: `error` violates an identity, `warning` is probably a bug, `note` a habit worth knowing."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"

    @property
    def rank(self) -> int:
        """0 for the gravest, so that sorting by rank puts errors first."""
        return list(Severity).index(self)

    def at_least(self, floor: Severity) -> bool:
        """Whether this is as grave as `floor` or graver."""
        return self.rank <= floor.rank


class Verdict(enum.StrEnum):
    """The answer of a check. `unsure` and `skip` are never a pass: both say why."""

    PASS = "pass"
    FINDING = "finding"
    UNSURE = "unsure"
    SKIP = "skip"


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """A line of the user's code: absolute `file`, 1-based `line`, the stripped `source` of that line, the `function`."""

    file: str
    line: int
    source: str = ""
    function: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclasses.dataclass(frozen=True, slots=True)
class Evidence:
    """What a check measured, ready for JSON: `data` for judging and drawing, `place` in the user's code.

    `missing` is the reason why nothing could be measured; it turns into a skip.
    """

    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    place: Place | None = None
    missing: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", plain(self.data))

    def __getitem__(self, key: str) -> Any:
        return self.data[key]

    def get(self, key: str, default: Any = None) -> Any:
        """The measured value under `key`, or `default`."""
        return self.data.get(key, default)


@dataclasses.dataclass(frozen=True, slots=True)
class Ruling:
    """The verdict on evidence. Build one with `passed`, `found`, `unsure` or `skipped`."""

    verdict: Verdict
    says: str
    severity: Severity | None = None
    expected: str = ""
    observed: str = ""
    fix: str = ""
    causes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.verdict is Verdict.FINDING:
            empty = [f for f in ("says", "expected", "observed", "fix", "severity") if not getattr(self, f)]
            if empty:
                raise ValueError(f"a ruling that finds something must fill {', '.join(empty)}: {self.says!r}")
        elif not self.says:
            raise ValueError(f"a ruling of {self.verdict.value!r} must say why")

    @classmethod
    def passed(cls, says: str) -> Ruling:
        """The hypothesis held; `says` tells what was seen."""
        return cls(Verdict.PASS, says)

    @classmethod
    def unsure(cls, says: str) -> Ruling:
        """The measurement does not decide; `says` tells why."""
        return cls(Verdict.UNSURE, says)

    @classmethod
    def skipped(cls, says: str) -> Ruling:
        """Nothing could be measured; `says` tells why and, where possible, what would help."""
        return cls(Verdict.SKIP, says)

    @classmethod
    def found(
        cls,
        severity: Severity,
        says: str,
        *,
        expected: str,
        observed: str,
        fix: str,
        causes: Sequence[str] = (),
    ) -> Ruling:
        """Something is wrong: one sentence, expected against observed, how to fix it, one to three candidate causes."""
        return cls(Verdict.FINDING, says, severity, expected, observed, fix, tuple(causes))


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One check's answer about one subject: what every view shows and the journal keeps.

    `why` is the check's "Why it matters"; `waived` the reason with which the user silenced it (None when not waived);
    `related` holds findings of other checks that saw the same fault and are listed beneath this one. `explains` and
    `price` are the check's, kept here so that a record can be read without it.
    """

    check: str
    title: str
    ruling: Ruling
    evidence: Evidence
    why: str = ""
    version: int = 1
    picture: Picture | None = None
    seconds: float = 0.0
    seed: int = 0
    waived: str | None = None
    related: tuple[Finding, ...] = ()
    explains: tuple[str, ...] = ()
    price: str = "free"

    @property
    def verdict(self) -> Verdict:
        """Pass, finding, unsure or skip."""
        return self.ruling.verdict

    @property
    def severity(self) -> Severity | None:
        """The severity of a finding; None for the other verdicts."""
        return self.ruling.severity

    @property
    def place(self) -> Place | None:
        """The user's line that the evidence points at."""
        return self.evidence.place

    def counts(self, floor: Severity) -> bool:
        """Whether this makes a run fail under `--fail-on floor`: an unwaived finding at or above the floor."""
        return self.severity is not None and self.waived is None and self.severity.at_least(floor)

    def to_json(self) -> dict[str, Any]:
        """The stable machine-readable form, with the fields that `--format json` promises."""
        r = self.ruling
        return {
            "check": self.check,
            "version": self.version,
            "verdict": r.verdict.value,
            "severity": r.severity.value if r.severity else None,
            "title": self.title,
            "says": r.says,
            "expected": r.expected,
            "observed": r.observed,
            "why": self.why,
            "fix": r.fix,
            "causes": list(r.causes),
            "place": dataclasses.asdict(self.place) if self.place else None,
            "evidence": dict(self.evidence.data),
            "picture": self.picture.to_json() if self.picture else None,
            "seconds": round(self.seconds, 4),
            "seed": self.seed,
            "waived": self.waived,
            "related": [f.to_json() for f in self.related],
            "explains": list(self.explains),
            "price": self.price,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Finding:
        """Rebuild a finding from `to_json`; raises KeyError naming the field that is missing."""
        place = Place(**data["place"]) if data["place"] else None
        severity = Severity(data["severity"]) if data["severity"] else None
        return cls(
            check=data["check"],
            version=data["version"],
            title=data["title"],
            why=data["why"],
            ruling=Ruling(
                Verdict(data["verdict"]),
                data["says"],
                severity,
                data["expected"],
                data["observed"],
                data["fix"],
                tuple(data["causes"]),
            ),
            evidence=Evidence(data["evidence"], place, data["says"] if data["verdict"] == "skip" else ""),
            picture=Picture.from_json(data["picture"]) if data["picture"] else None,
            seconds=data["seconds"],
            seed=data["seed"],
            waived=data["waived"],
            related=tuple(cls.from_json(f) for f in data["related"]),
            explains=tuple(data["explains"]),
            price=data["price"],
        )


def plain(value: Any) -> Any:
    """`value` as JSON can hold it: tuples become lists, keys strings, not-finite floats the strings nan, inf, -inf.

    Raises TypeError for anything that is not plain data, so that no tensor slips into a finding.
    """
    if value is None or isinstance(value, bool | str):
        return value if not isinstance(value, enum.Enum) else value.value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    raise TypeError(f"evidence must be plain data (numbers, text, lists, dicts), not {type(value).__name__}: {value!r}")
