"""What was asked, how it went, and how far the proxy can be trusted, as the record has it.

What no record knows is said to be unknown: nothing here is guessed.
"""

import json
import statistics
from collections import Counter
from collections.abc import Mapping
from typing import Any

from nas_fpn.record import Entry, History
from nas_fpn.report.calibrated_text import trust_said
from nas_fpn.report.markup import Markup, join, tag
from nas_fpn.report.noise import noise_of
from nas_fpn.report.opened import Opened
from nas_fpn.report.verdict import proxy_checks

__all__ = ["ended", "plan_section", "progress", "trust_section"]


def plan_section(run: Opened) -> Markup:
    """Space, controller, budget, proxy and data; how the trials ended; every setting."""
    settings, header = run.settings, run.header
    machine: Mapping[str, Any] = header.get("machine", {})
    proxy: Mapping[str, Any] = settings.get("proxy", {})
    given = settings.get("controller_settings") or {}
    limits = {k: v for k, v in (settings.get("limits") or {}).items() if v is not None}
    halving = settings.get("halving")
    rows = {
        "space": settings.get("space"),
        "controller": " ".join([str(settings.get("controller")), *_pairs(given)]),
        "objective": ", ".join(run.objectives),
        "trials": progress(run),
        "how they ended": _ends(run),
        "training time": _time(run),
        "proxy": ", ".join(_pairs(proxy, "steps", "image_size", "batch_size", "evaluations")),
        "backbone": (settings.get("backbone") or {}).get("name"),
        "halving": "none: every trial is trained to the end" if not halving else _given(halving),
        "limits": ", ".join(_pairs(limits)) or "none",
        "seed": header.get("seed"),
        "machine": ", ".join(_pairs(machine, "cpus", "cuda", "platform")),
        "packages": ", ".join(_pairs(header.get("packages") or {})),
    }
    shown = {name: str(value) for name, value in rows.items() if value not in (None, "", "None")}
    whole = json.dumps(settings, indent=2, ensure_ascii=False)
    return join(
        tag("dl", {}, (join(tag("dt", {}, k), tag("dd", {}, v)) for k, v in shown.items())),
        tag(
            "details",
            {},
            tag("summary", {}, "Every setting on record"),
            tag("pre", {"tabindex": "0"}, whole),
        ),
    )


def trust_section(run: Opened) -> Markup:
    """Noise as far as it was measured, what is not known, and the notes of the run."""
    checks = proxy_checks(run.history.events)
    objective = run.objectives[0]
    trust = trust_said(run.history)
    noise = noise_of(run.history.entries, checks, objective)
    said = [
        "Noise: unknown. Every neck was trained once, with one seed, and no check with new seeds "
        "is on record."
        if noise is None
        else f"Noise: the {objective} of one training has a standard deviation of {noise.sd:.4f} "
        f"({noise.source}); necks that differ by less than {noise.band:.4f} may well be equal."
    ]
    if checks:
        check = checks[-1]
        for side, what in (("trial", "best neck found"), ("control", "best baseline")):
            said.append(_noise(what, check["scores"][side], check))
    said += [
        "The backbone is frozen and the training short: whether the proxy ranks necks as a full "
        "training would is not known; this run did not measure it (nas-fpn calibrate does)."
        if trust is None
        else trust,
        "The best of many is chosen on the val set that it is scored on, so its score there is "
        "flattering.",
        *(f"Note: {note}" for note in run.settings.get("notes", [])),
        *(f"Missing: {one}." for one in run.missing),
    ]
    if run.history.torn is not None:
        said.append(run.history.torn)
    return tag("ul", {}, (tag("li", {}, one) for one in said))


def progress(run: Opened) -> str:
    """How many of the trials that were asked for have ended, as the budget counts them."""
    beside = []
    if free := sum(e.outcome is not None and e.outcome.is_free for e in _proposals(run)):
        beside.append(f"{free} answered without training")
    controls = len(run.history.entries) - len(_proposals(run))
    beside.append(f"{controls} baseline{'' if controls == 1 else 's'}")
    done = ended(run)
    wanted = "" if run.trials_wanted is None else f" of {run.trials_wanted}"
    said = f"{done}{wanted} trials have ended"
    if run.trials_wanted is not None and (time_is_over(run.history) or done > run.trials_wanted):
        said = f"{done} trials have ended, {run.trials_wanted} were planned"
    under_way = sum(entry.outcome is None for entry in run.history.entries)
    still = f"; {under_way} under way or paused" if under_way else ""
    return f"{said}, beside {' and '.join(beside)}{still}"


def ended(run: Opened) -> int:
    """How many proposals have ended that were trained; the others cost nothing of the budget."""
    outcomes = (entry.outcome for entry in _proposals(run))
    return sum(one is not None and not one.is_free for one in outcomes)


def time_is_over(history: History) -> bool:
    """Whether the record says that its time is over, and nobody has gone on since."""
    for line in reversed(history.events):
        if line["event"] == "over":
            return True
        if line["event"] in {"ask", "tell", "plan"}:  # trials alone give it no time
            return False
    return False


def _proposals(run: Opened) -> list[Entry]:
    return [entry for entry in run.history.entries if not entry.is_baseline]


def _ends(run: Opened) -> str:
    states = Counter(entry.outcome.state for entry in run.history.entries if entry.outcome)
    reasons = Counter(
        (entry.outcome.reason or "no reason given").partition("\n")[0]
        for entry in run.history.entries
        if entry.outcome and entry.outcome.state in {"failed", "rejected"}
    )
    said = [f"{count} {state}" for state, count in states.most_common()]
    return ", ".join(said) + "".join(f"; {n} × {why}" for why, n in reasons.most_common(5))


def _time(run: Opened) -> str:
    seconds = sum(entry.outcome.seconds for entry in run.history.entries if entry.outcome)
    hours, minutes = divmod(round(seconds / 60), 60)
    shown = f"{hours} h {minutes:02} min" if seconds >= 60 else f"{seconds:.1f} s"
    return f"{shown}, all trials added up" if seconds else ""


def _noise(what: str, scores: list[float], check: Mapping[str, Any]) -> str:
    head = f"The {what}: {check['objective']} on {check['split']}"
    if len(scores) < 2:
        return f"{head} with one new seed: {scores[0]:.4f}; one says nothing about noise."
    return (
        f"{head} with {len(scores)} new seeds has mean {statistics.fmean(scores):.4f} and standard "
        f"deviation {statistics.stdev(scores):.4f} ({', '.join(f'{one:.4f}' for one in scores)})."
    )


def _pairs(values: Mapping[str, Any], *names: str) -> list[str]:
    return [f"{k} {_given(values[k])}" for k in names or values if values.get(k) is not None]


def _given(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
