"""`sigrl tag FILM`: tags the frames of films, and says when each tag is seen."""

import json
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sigrl.service.errors import ImageError, ParameterError
from sigrl.service.images.files import ImageLimits
from sigrl.service.images.films import Film, Frame, is_film, take_frames
from sigrl.service.terminal import NOTHING, Renderer, bar, complain, percent, printable

if TYPE_CHECKING:
    from sigrl.service.bulk.tag_sources import TagSource
    from sigrl.service.schemas.tagging import Tagging


@dataclass(frozen=True)
class Seen:
    """When a tag is seen in a film."""

    label: str
    probability: float
    """The highest of all frames."""
    times: tuple[tuple[float, float], ...]
    """(from, to) in seconds, in order: from a frame with the tag to the next one without it."""


def check_films(
    paths: Sequence[Path], *, alone: bool, vocabularies: Sequence[str], sheet: Path | None
) -> bool:
    """Whether films are to be tagged. `alone`: no option is given that films do not take. Raises
    ParameterError for options that exclude each other."""
    films = [path for path in paths if is_film(path)]
    if not films:
        return False
    if len(films) < len(paths):
        raise ParameterError("films and photographs are given together", "run the command once for each")
    if not alone or len(vocabularies) > 1 or (sheet is not None and len(films) > 1):
        raise ParameterError(
            "films take one vocabulary and no --out, --ray, --sidecar or --explain; --sheet draws one film",
            "omit these options",
        )
    return True


def tag_films(
    renderer: Renderer,
    opened: "AbstractContextManager[TagSource]",
    films: Sequence[Path],
    sheet: Path | None,
    top_k: int | None,
    *,
    as_json: bool,
) -> bool:
    """Prints when the tags of each film are seen, or draws the only film's contact sheet; returns whether
    some film failed. Raises what the source raises."""
    from sigrl.service.settings import load_settings

    settings = load_settings()
    limits, failed = ImageLimits.of(settings), False
    with opened as source:
        for path in films:
            with tempfile.TemporaryDirectory(prefix="sigrl-film-") as folder:
                try:
                    with renderer.phase("reading the film", 100) as progress:
                        film = take_frames(
                            path,
                            Path(folder),
                            limits,
                            settings.decode_seconds,
                            lambda share, progress=progress: progress(round(100 * (share or 0))),  # type: ignore[misc]
                        )
                except ImageError as error:
                    complain(printable(path), error)
                    failed = True
                    continue
                if film.error is not None:
                    complain(printable(path), film.error)
                    failed = True
                if sheet is not None:
                    _draw(renderer, source, film, sheet, top_k)
                else:
                    _print(renderer, path, film, _tagged(renderer, source, film.frames), as_json=as_json)
    return failed


def _draw(renderer: Renderer, source: "TagSource", film: Film, sheet: Path, top_k: int | None) -> None:
    from sigrl.service.commands.contact_sheet import draw_sheet
    from sigrl.service.commands.pictures import small_copy

    drawn = draw_sheet(source, [frame.path for frame in film.frames], sheet, top_k, small_copy, renderer)
    pages = ", ".join(printable(page) for page in drawn.pages)
    renderer.tell(f"{pages}: {drawn.photographs:,} frame{'' if drawn.photographs == 1 else 's'}")


def _tagged(renderer: Renderer, source: "TagSource", frames: Sequence[Frame]) -> "list[Tagging]":
    taggings: list[Tagging] = []
    with renderer.phase("tagging", len(frames)) as progress:
        for number, (_, result) in enumerate(source.tag([frame.path for frame in frames]), 1):
            if isinstance(result, ImageError):
                raise result
            renderer.warn(result)
            taggings += result
            progress(number)
    return taggings


def when_seen(film: Film, taggings: "Sequence[Tagging]") -> list[Seen]:
    """The accepted tags and the broader labels that they imply, the most probable first."""
    times: dict[str, list[tuple[float, float]]] = {}
    best: dict[str, float] = {}
    ends = [frame.seconds for frame in film.frames[1:]] + [film.seconds]
    for frame, end, tagging in zip(film.frames, ends, taggings, strict=True):
        for tag in (*tagging.tags, *tagging.implied):
            if not tag.accepted:
                continue
            best[tag.label] = max(best.get(tag.label, 0.0), tag.probability)
            spans = times.setdefault(tag.label, [])
            if spans and spans[-1][1] == frame.seconds:
                spans[-1] = spans[-1][0], end
            else:
                spans.append((frame.seconds, end))
    order = sorted(best, key=lambda label: -best[label])
    return [Seen(label, best[label], tuple(times[label])) for label in order]


def _print(
    renderer: Renderer, path: Path, film: Film, taggings: "Sequence[Tagging]", *, as_json: bool
) -> None:
    seen = when_seen(film, taggings)
    if as_json:
        frames = [
            {"seconds": frame.seconds, **tagging.model_dump(mode="json")}
            for frame, tagging in zip(film.frames, taggings, strict=True)
        ]
        tags = [{"label": s.label, "probability": s.probability, "times": s.times} for s in seen]
        print(json.dumps({"path": str(path), "tags": tags, "frames": frames}), flush=True)
        return
    renderer.tell(printable(path))
    width = max((len(each.label) for each in seen), default=0)
    for each in seen:
        spans = ", ".join(f"{_clock(start)}-{_clock(end)}" for start, end in each.times)
        measure = f"{bar(each.probability):20}  {percent(each.probability):>5}"
        renderer.tell(f"    {each.label:{width}}  {measure}  {spans}")
    if not seen:
        renderer.tell(f"  {NOTHING}")


def _clock(seconds: float) -> str:
    """Minutes and seconds, with hours where there are some."""
    hours, rest = divmod(round(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
