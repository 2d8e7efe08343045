"""Many runs side by side that share one language model: their prompts are answered in batches, and each only once.

One run at a time holds the floor and hands it on when it asks the model something, so that everything stays as
deterministic as one after the other. Knows nothing of what the runs do.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from gedanken.agent.llm.protocol import Completion, LanguageModel
from gedanken.agent.llm.relay import Relay, Settings

T = TypeVar("T")
ALIKE = 32
"""Most prompts that are sent at a time."""


class _Ended(BaseException):
    """The reader of the results has gone. No Exception, so that nothing swallows it."""


@dataclass
class _Task(Generic[T]):
    """A run in a thread of its own, which stands still unless it has the floor."""

    work: Callable[[], T]
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    asked: tuple[list[str], Settings] | None = None
    result: T | None = None
    error: BaseException | None = None
    over: bool = False
    thread: threading.Thread | None = None


class Together(Relay):
    """A `LanguageModel` over another one, see the module; `memory` holds every answer given so far.

    At most `most` runs are under way at once, where that is said.
    """

    def __init__(self, llm: LanguageModel, most: int | None = None) -> None:
        super().__init__(llm)
        self.most = most
        self.memory: dict[tuple[str, Settings], list[Completion]] = {}
        self.seconds = 0.0  # spent in the language model
        self._floor = threading.Semaphore(0)
        self._current: _Task[object] | None = None
        self._ended = False

    def relayed(self, prompts: list[str], settings: Settings) -> list[list[Completion]]:
        """See `Relay`. `seconds` of a completion is its prompt's share of the batch."""
        task = self._current
        if task is None:
            self._answer([(prompts, settings)])
        elif any((prompt, settings) not in self.memory for prompt in prompts):
            task.asked = prompts, settings
            self._floor.release()
            task.go.acquire()
            if self._ended:
                raise _Ended
            if task.error is not None:
                error, task.error = task.error, None
                raise error
        return [list(self.memory[prompt, settings]) for prompt in prompts]

    def run(self, works: Iterable[Callable[[], T]], width: int) -> Iterator[tuple[int, T]]:
        """Yield (index, result) of every work as it ends, `width` of them side by side. Raises what a work raises."""
        width = min(width, self.most or width)
        following = enumerate(works)
        live: list[tuple[int, _Task[T]]] = []
        self._ended = False
        try:
            while True:
                for index, work in following:
                    live.append((index, _Task(work)))
                    yield from self._advance(live, [live[-1]])
                    if len(live) >= width:
                        break
                if not live:
                    return
                self._answer_all([task for _, task in live])
                yield from self._advance(live, list(live))
        finally:
            self._ended = True
            for _, task in live:
                task.go.release()
                if task.thread is not None:
                    task.thread.join(timeout=60)
            self._current = None

    def _advance(self, live: list[tuple[int, _Task[T]]], turn: list[tuple[int, _Task[T]]]) -> Iterator[tuple[int, T]]:
        """Give each task the floor until it asks something or ends."""
        for index, task in turn:
            self._current = task  # type: ignore[assignment]
            if task.thread is None:
                task.thread = threading.Thread(target=self._work, args=(task,), name=f"run-{index}", daemon=True)
                task.thread.start()
            else:
                task.go.release()
            self._floor.acquire()
            self._current = None
            if task.over:
                live.remove((index, task))
                if task.error is not None:
                    raise task.error
                yield index, task.result  # type: ignore[misc]

    def _work(self, task: _Task[T]) -> None:
        try:
            task.result = task.work()
        except BaseException as error:  # handed to the reader, who raises it
            task.error = error
        task.over = True
        self._floor.release()

    def _answer_all(self, tasks: Sequence[_Task[T]]) -> None:
        """Answer what the tasks have asked; an error of the model is raised where its answer was asked for."""
        try:
            self._answer([task.asked for task in tasks if task.asked])
        except Exception as error:
            for task in tasks:
                task.error = error

    def _answer(self, questions: Sequence[tuple[list[str], Settings]]) -> None:
        wanted: dict[Settings, list[str]] = {}
        for prompts, settings in questions:
            wanted.setdefault(settings, []).extend(p for p in prompts if (p, settings) not in self.memory)
        for settings, unanswered in wanted.items():
            distinct = list(dict.fromkeys(unanswered))
            for start in range(0, len(distinct), ALIKE):
                self._send(distinct[start : start + ALIKE], settings)

    def _send(self, prompts: list[str], settings: Settings) -> None:
        began = time.perf_counter()
        answers = settings.ask(self.llm, prompts)
        elapsed = time.perf_counter() - began
        self.seconds += elapsed
        share = elapsed / len(prompts)
        for prompt, completions in zip(prompts, answers, strict=True):
            self.memory[prompt, settings] = [replace(completion, seconds=share) for completion in completions]
