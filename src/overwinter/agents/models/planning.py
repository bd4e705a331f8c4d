"""What the offline model does next: a plan read off the names of the tools and what they have answered so far."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec

from overwinter.agents.models.extraction import best_sentences, extract
from overwinter.agents.models.material import Material, fill, from_result, text_of
from overwinter.agents.models.prose import sentences_of
from overwinter.agents.models.protocol import Message, ToolCall

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from overwinter.agents.models.protocol import ModelRequest, ToolSpec

__all__ = ["next_message"]

_SURVEY = frozenset({"list", "count", "measure", "describe", "survey"})
_READ = frozenset({"read", "open", "get", "fetch"})
_NOTE = frozenset({"note", "highlight"})
_WRITE = frozenset({"write", "save", "submit", "publish"})

_READING_STEPS = 8
_ATTEMPTS = 2
_MOST_READINGS = 10_000


class _Call(msgspec.Struct, frozen=True):
    """A call that was made, and its answer, or ``None`` where there is none yet."""

    name: str
    arguments: dict[str, Any]
    answer: str | None

    @property
    def failed(self) -> bool:
        return self.answer is None or self.answer.startswith("Error")

    @property
    def result(self) -> Any:
        """The answer as data, or as it is when it is not JSON."""
        try:
            return msgspec.json.decode(self.answer or "")
        except (msgspec.DecodeError, RecursionError):
            return self.answer


def next_message(request: ModelRequest) -> Message:
    """The offline model's reply to *request*: calls of tools, or an answer. It depends on nothing else."""
    return _Plan(request).message()


class _Plan:
    """One look at a conversation, from the last thing the user said."""

    def __init__(self, request: ModelRequest) -> None:
        self._tools = request.tools
        self._task, self._calls = _last_turn(request.messages)
        self._made_before = sum(len(message.tool_calls) for message in request.messages)

    def message(self) -> Message:
        calls = self._surveys() or [*self._notes(), *self._next_readings()] or self._writings()
        return self._calling(calls) if calls else Message("assistant", self._answer())

    def _surveys(self) -> list[tuple[ToolSpec, dict[str, Any]]]:
        made = {call.name for call in self._calls}
        return [
            (tool, {})
            for tool in self._of(_SURVEY)
            if tool.name not in made and not tool.parameters.get("required")
        ]

    def _next_readings(self) -> list[tuple[ToolSpec, dict[str, Any]]]:
        made = [(call.name, call.arguments) for call in self._calls]
        wanted = [(tool, arguments) for tool in self._of(_READ) for arguments in self._readings(tool)]
        left = [(tool, arguments) for tool, arguments in wanted if (tool.name, arguments) not in made]
        return left[: max(1, len(wanted) // _READING_STEPS)]

    def _readings(self, tool: ToolSpec) -> list[dict[str, Any]]:
        """Every call of a reading tool that is worth making."""
        required: Sequence[str] = tool.parameters.get("required", ())
        if not required:
            return [{}]
        name = required[0]
        kind = tool.parameters["properties"][name].get("type")
        if len(required) == 1 and kind == "integer":
            return [{name: number} for number in range(1, self._count(f"{name}s") + 1)]
        if len(required) == 1 and kind == "string":
            return [{name: value} for value in self._values(name)]
        return []

    def _notes(self) -> list[tuple[ToolSpec, dict[str, Any]]]:
        """The best sentence of each text that was read and not noted yet."""
        notes: list[tuple[ToolSpec, dict[str, Any]]] = []
        for tool in self._of(_NOTE):
            names = set(tool.parameters.get("properties", ()))
            noted = [_only(names, call.arguments) for call in self._calls if call.name == tool.name]
            for call in self._read():
                key = _only(names, call.arguments)
                if key and not any(key.items() <= made.items() for made in noted):
                    sentence = best_sentences(sentences_of(text_of(call.result)), 1)
                    notes += [
                        (tool, fill(tool.parameters, Material(summary=one.text, given=key)))
                        for one in sentence
                    ]
        return notes

    def _writings(self) -> list[tuple[ToolSpec, dict[str, Any]]]:
        for tool in self._of(_WRITE):
            made = [call for call in self._calls if call.name == tool.name]
            if len(made) < _ATTEMPTS and all(call.failed for call in made):
                return [(tool, fill(tool.parameters, self._material()))]
        return []

    def _answer(self) -> str:
        writers = {tool.name for tool in self._of(_WRITE)}
        written = [call for call in self._calls if call.name in writers]
        if not written:
            return (
                self._material().summary
                if self._read()
                else extract(self._task) or "There is nothing to summarise."
            )
        if written[-1].failed:
            return f"It could not be written. {written[-1].answer}"
        said = f"“{written[-1].arguments.get('title', 'Untitled')}” is written."
        missed = sum(call.failed for call in self._calls if call.name not in writers)
        calls = "1 call" if missed == 1 else f"{missed} calls"
        return f"{said} {calls} failed on the way." if missed else said

    def _material(self) -> Material:
        read = self._read()
        title = next((str(found) for found in self._found("title") if found), "")
        if any(isinstance(value, str) for call in read for value in call.arguments.values()):
            sources = [from_result(call.result, given=call.arguments) for call in read]
            return Material.of_sources(sources, [*self._counted_words()])
        return Material.of_text("\n\n".join(text_of(call.result) for call in read), title=title)

    def _read(self) -> list[_Call]:
        readers = {tool.name for tool in self._of(_READ)}
        return [call for call in self._calls if call.name in readers and not call.failed]

    def _of(self, verbs: frozenset[str]) -> list[ToolSpec]:
        return [tool for tool in self._tools if tool.name.partition("_")[0] in verbs]

    def _count(self, name: str) -> int:
        counts = [found for found in self._found(name) if isinstance(found, int)]
        return min(max(counts, default=1), _MOST_READINGS)

    def _values(self, name: str) -> list[str]:
        values = [found for found in self._found(name) if isinstance(found, str)]
        return list(dict.fromkeys(values))[:_MOST_READINGS]

    def _counted_words(self) -> Iterator[tuple[str, int]]:
        """The words that a survey tool counted, and in how many documents each stands."""
        for word, held in zip(self._found("word"), self._found("documents"), strict=False):
            if isinstance(word, str) and isinstance(held, int):
                yield word, held

    def _found(self, name: str) -> Iterator[Any]:
        """What the survey tools said under *name*, at any depth."""
        surveys = {tool.name for tool in self._of(_SURVEY)}
        for call in self._calls:
            if call.name in surveys and not call.failed:
                yield from _look_up(call.result, name)

    def _calling(self, calls: Sequence[tuple[ToolSpec, dict[str, Any]]]) -> Message:
        made = tuple(
            ToolCall(f"offline_{number}", tool.name, msgspec.json.encode(arguments).decode())
            for number, (tool, arguments) in enumerate(calls, self._made_before + 1)
        )
        return Message("assistant", tool_calls=made)


def _last_turn(messages: Sequence[Message]) -> tuple[str, list[_Call]]:
    task = ""
    made: list[ToolCall] = []
    answers: dict[str, str] = {}
    for message in messages:
        if message.role == "user":
            task = message.content
            made, answers = [], {}
        elif message.role == "tool":
            answers[message.tool_call_id] = message.content
        else:
            made.extend(message.tool_calls)
    return task, [_Call(call.name, _arguments(call), answers.get(call.id)) for call in made]


def _arguments(call: ToolCall) -> dict[str, Any]:
    try:
        return msgspec.json.decode(call.arguments or "{}", type=dict[str, Any])
    except msgspec.MsgspecError:
        return {}


def _only(names: set[str], arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value for name, value in arguments.items() if name in names and isinstance(value, (str, int))
    }


def _look_up(value: Any, name: str) -> Iterator[Any]:
    if isinstance(value, list):
        items: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
        for item in items:
            yield from _look_up(item, name)
    elif isinstance(value, dict):
        for key, item in cast("Mapping[str, Any]", value).items():
            if key == name:
                yield item
            else:
                yield from _look_up(item, name)
