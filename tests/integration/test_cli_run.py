"""Swarms of files, run by the command in processes of its own: cut off, gone on with, watched."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.commands import PATIENCE, directly, on_a_terminal, run, started
from tests.support.openai_server import Answer, Hold, OpenAIServer, Status, ToolUse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tests.support.openai_server import Behaviour

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and terminals of POSIX systems")

PRESS = """\
[swarm]
name = "press"
pattern = "SequentialWorkflow"
members = ["first", "pair", "last"]
durability = "sync"

[defaults]
model = "MODEL"

[[agents]]
name = "first"
system_prompt = "You are first."

[[swarms]]
name = "pair"
pattern = "ConcurrentWorkflow"
members = ["left", "right"]

[[agents]]
name = "left"
system_prompt = "You are left."

[[agents]]
name = "right"
system_prompt = "You are right."

[[agents]]
name = "last"
system_prompt = "You are last."
"""


def who(body: Mapping[str, Any]) -> str:
    """Whose request it is, by the system prompt."""
    return str(body["messages"][0]["content"]).removeprefix("You are ").rstrip(".")


def plain(shown: str) -> str:
    """What a terminal was sent, without what steers it."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)


class Members:
    """The model of all members: each answers its name, but those that are held, and every request is counted."""

    def __init__(self) -> None:
        self.held: dict[str, Behaviour] = {}
        self.server = OpenAIServer(responder=self._answer)

    @property
    def asked(self) -> Counter[str]:
        """Who was asked how often."""
        return Counter(who(request.body) for request in self.server.requests)

    def _answer(self, body: Mapping[str, Any]) -> Behaviour:
        return self.held.get(who(body)) or Answer(f"said {who(body)}")


@pytest.fixture
def members(tmp_path: Path) -> Iterator[Members]:
    """The model, and the file of the swarm."""
    (tmp_path / "press.toml").write_text(PRESS.replace("MODEL", "gpt-4o-mini"))
    found = Members()
    with found.server:
        yield found


def cut_off(tmp_path: Path, members: Members, at: str, how: Callable[[Any], object]) -> tuple[int, str]:
    """Run the swarm, and end it while *at* is being asked; the exit code and what it told."""
    members.held[at] = hold = Hold(Answer("too late"))
    command = ("run", "press.toml", "--task", "Do it.")
    with started(tmp_path, *command, env=directly(members.server)) as process:
        assert hold.reached.wait(PATIENCE)
        how(process)
        _, told = process.communicate(timeout=PATIENCE)
    del members.held[at]
    hold.release()
    return process.returncode, told


class TestARun:
    def test_the_result_goes_to_standard_output_alone(self, tmp_path: Path) -> None:
        """Y32: `run` prints the result alone on standard output; how it is getting on goes to the other."""
        (tmp_path / "press.toml").write_text(PRESS.replace("MODEL", "offline"))
        done = run(tmp_path, "run", "press.toml", "--task", "Bees fly. Bees make honey in summer.")
        assert done.returncode == 0
        assert done.stdout.strip()
        assert "press: first begins 1-first" in done.stderr
        assert "pair: left finished left" in done.stderr
        assert "press finished: 3 pieces of work" in done.stderr
        assert "begins" not in done.stdout

    def test_with_json_there_is_one_document(self, tmp_path: Path) -> None:
        (tmp_path / "press.toml").write_text(PRESS.replace("MODEL", "offline"))
        done = run(tmp_path, "run", "press.toml", "--task", "Bees fly.", "--json")
        assert (done.returncode, done.stderr) == (0, "")
        told = json.loads(done.stdout)
        assert (told["swarm"], told["status"]) == ("press", "finished")
        assert [work["member"] for work in told["members"]] == ["first", "pair", "last"]

    def test_the_task_may_come_from_a_file_and_the_model_from_the_command(self, tmp_path: Path) -> None:
        (tmp_path / "press.toml").write_text(PRESS)
        (tmp_path / "task.txt").write_text("Bees fly. Ants walk.")
        command = ("run", "press.toml", "--model", "offline")
        assert run(tmp_path, *command, "--task-file", "task.txt").returncode == 0
        assert "there is no task: give one with --task" in run(tmp_path, *command).stderr
        both = run(tmp_path, *command, "--task", "x", "--task-file", "task.txt")
        assert (both.returncode, both.stderr) == (2, "error: give either --task or --task-file\n")

    def test_a_wrong_file_is_refused_before_any_work(self, tmp_path: Path) -> None:
        """Y33: a wrong file is refused with exit code 2 and a line for each problem, and nothing is created."""
        (tmp_path / "press.toml").write_text(PRESS.replace("pattern", "patern"))
        done = run(tmp_path, "run", "press.toml", "--task", "x")
        assert (done.returncode, done.stdout) == (2, "")
        assert "error: press.toml:3: the swarm has an unknown key 'patern'" in done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "agent_workspace").exists()
        (tmp_path / "press.py").write_text("print(1)")
        assert "start it with python" in run(tmp_path, "run", "press.py", "--task", "x").stderr

    @posix
    def test_a_terminal_shows_a_table(self, tmp_path: Path) -> None:
        """Y34: on a terminal `run` shows a table of the members while they work, and the result after it."""
        (tmp_path / "press.toml").write_text(PRESS.replace("MODEL", "offline"))
        code, shown = on_a_terminal(tmp_path, "run", "press.toml", "--task", "Bees fly. Bees make honey.")
        assert code == 0
        assert "press  SequentialWorkflow" in plain(shown)
        assert "│   ├── left" in plain(shown)
        assert "press finished: 3 pieces of work" in plain(shown)
        table = plain(shown).partition("press finished")[0].replace("\r", "\n")
        assert all(len(line) <= 80 for line in table.splitlines())
        assert shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l")


class TestCutOff:
    @posix
    def test_after_ctrl_c_the_same_command_finishes_it(self, tmp_path: Path, members: Members) -> None:
        """Y35: after Ctrl-C (exit code 130) all is saved, and the same command goes on where it was; nobody who had
        finished is asked again."""
        code, told = cut_off(tmp_path, members, "last", lambda process: process.send_signal(signal.SIGINT))
        assert code == 130
        assert "interrupted; all is saved, and the same command goes on" in told
        again = run(tmp_path, "run", "press.toml", "--task", "Do it.", env=members.server.environment())
        assert (again.returncode, again.stdout) == (0, "said last\n")
        assert "goes on with run" in again.stderr
        assert members.asked == {"first": 1, "left": 1, "right": 1, "last": 2}

    def test_after_a_kill_resume_finishes_it(self, tmp_path: Path, members: Members) -> None:
        """Y36: after kill -9, within a swarm of the swarm, `run --resume` and `resume NAME` finish it; nobody who had
        finished is asked again."""

        def kill_when_left_is_done(process: Any) -> None:
            while "left finished left" not in process.stderr.readline():
                assert process.poll() is None
            process.kill()

        cut_off(tmp_path, members, "right", kill_when_left_is_done)
        env = directly(members.server)
        again = run(tmp_path, "run", "press.toml", "--resume", env=env)
        assert (again.returncode, again.stdout) == (0, "said last\n")
        assert members.asked == {"first": 1, "left": 1, "right": 2, "last": 1}
        assert "nothing to resume" in run(tmp_path, "run", "press.toml", "--resume", env=env).stderr
        cut_off(tmp_path, members, "right", lambda process: process.kill())
        (tmp_path / "press.toml").unlink()
        assert run(tmp_path, "resume", "press", env=env).stdout == "said last\n"

    def test_another_task_is_another_run(self, tmp_path: Path, members: Members) -> None:
        """Y37: with another task a new run begins, and it is said how to go on with the one that was cut off."""
        cut_off(tmp_path, members, "last", lambda process: process.kill())
        env = directly(members.server)
        other = run(tmp_path, "run", "press.toml", "--task", "Something else.", env=env)
        assert (other.returncode, other.stdout) == (0, "said last\n")
        assert "its last run was cut off, with another task" in other.stderr
        assert members.asked["first"] == 2

    def test_a_run_of_a_name_is_done_once(self, tmp_path: Path, members: Members) -> None:
        """Y38: with `--run-id`, what has finished is told and not done again."""
        command = ("run", "press.toml", "--task", "Do it.", "--run-id", "monday")
        env = directly(members.server)
        assert (
            run(tmp_path, *command, env=env).stdout
            == run(tmp_path, *command, env=env).stdout
            == "said last\n"
        )
        assert set(members.asked.values()) == {1}

    def test_a_failure_names_the_member_and_how_to_go_on(self, tmp_path: Path, members: Members) -> None:
        """Y39: when a member fails for good, its name and why are told, and how to go on; the exit code is 1."""
        members.held["left"] = Status(401, "Incorrect API key")
        env = directly(members.server)
        done = run(tmp_path, "run", "press.toml", "--task", "Do it.", env=env)
        assert done.returncode == 1
        assert "'left'" in done.stderr
        assert "go on with:  " in done.stderr
        assert "Traceback" not in done.stderr
        del members.held["left"]
        assert run(tmp_path, "run", "press.toml", "--resume", env=env).stdout == "said last\n"

    def test_where_a_run_was_refused_there_is_nothing_to_go_on_with(self, tmp_path: Path) -> None:
        """Y52: where a run is refused before it begins, no command is told that would go on with it."""
        (tmp_path / "press.toml").write_text(PRESS.replace("MODEL", "offline"))
        command = ("run", "press.toml", "--run-id", "one", "--task")
        assert run(tmp_path, *command, "Bees fly.").returncode == 0
        refused = run(tmp_path, *command, "Ants walk.")
        assert (refused.returncode, "go on with" in refused.stderr) == (1, False)

    def test_what_goes_on_has_the_options_of_the_first_command(self, tmp_path: Path) -> None:
        """Y53: the command that goes on with a run names the workspace and the model that were given."""
        text = PRESS.replace("MODEL", "none").replace(
            "SequentialWorkflow", 'HierarchicalSwarm"\ndirector = "last'
        )
        (tmp_path / "a press.toml").write_text(text.replace('"pair", "last"]', '"pair"]'))
        done = run(tmp_path, "run", "a press.toml", "--model", "offline", "-w", "w s", "--task", "Do it.")
        assert done.returncode == 1
        told = "run 'a press.toml' --model offline --workspace 'w s' --resume"
        assert f"go on with:  overwinter {told}\n" in done.stderr

    def test_a_member_may_ask_a_person(self, tmp_path: Path, members: Members) -> None:
        """Y40: a run in which a member asks a person pauses (exit code 3), and goes on when it is answered."""
        path = tmp_path / "press.toml"
        path.write_text(path.read_text() + 'tools = ["ask_human"]\n')
        members.held["last"] = Answer(calls=[ToolUse("ask_human", {"question": "Really?"})])
        env = directly(members.server)
        paused = run(tmp_path, "run", "press.toml", "--task", "Do it.", env=env)
        assert (paused.returncode, paused.stdout) == (3, "")
        assert "It waits for a person" in paused.stderr
        assert "Really?" in run(tmp_path, "pending").stdout
        assert run(tmp_path, "resume", "--all", env=env).stdout.startswith("Nothing was cut off")
        answered = run(tmp_path, "answer", "press", "Yes.")
        assert (answered.returncode, answered.stdout.split("\n")[1]) == (
            0,
            "Go on with:  overwinter resume press",
        )
        del members.held["last"]
        assert run(tmp_path, "run", "press.toml", "--resume", env=env).stdout == "said last\n"

    def test_a_run_at_its_limit_goes_on_when_the_file_raises_it(self, tmp_path: Path) -> None:
        """Y47: a run that is paused at a limit (exit code 3) goes on with `--resume` when the file has a higher one."""
        path = tmp_path / "press.toml"
        limited = PRESS.replace("MODEL", "offline").replace('"press"', '"press"\nbudget = { tokens = 40 }', 1)
        path.write_text(limited)
        paused = run(tmp_path, "run", "press.toml", "--task", "Bees fly. Bees make honey. They dance.")
        assert (paused.returncode, paused.stdout) == (3, "")
        assert "It is paused at the limit tokens: raise that in the file, and go on with:" in paused.stderr
        path.write_text(limited.replace("40", "40000"))
        done = run(tmp_path, "run", "press.toml", "--resume")
        assert (done.returncode, "press finished: 3 pieces of work" in done.stderr) == (0, True)


class TestWatchingIt:
    @posix
    def test_a_swarm_is_watched_from_another_terminal(self, tmp_path: Path, members: Members) -> None:
        """Y41: `watch` shows the members of a swarm that another process runs, and Ctrl-C ends it with 130."""
        members.held["left"] = hold = Hold(Answer("at last"))
        command = ("run", "press.toml", "--task", "Do it.")
        with started(tmp_path, *command, env=directly(members.server)) as process:
            assert hold.reached.wait(PATIENCE)
            code, shown = on_a_terminal(tmp_path, "watch", "press", "--interval", "0.1", until="asks the")
            assert code == 130
            assert "├── pair  ConcurrentWorkflow" in plain(shown)
            told = json.loads(run(tmp_path, "watch", "press", "--json").stdout)["rows"][0]
            assert (told["status"], told["held_by"]["pid"]) == ("running", process.pid)
            assert "is at work in process" in run(tmp_path, *command).stderr
            hold.release()
            out, _ = process.communicate(timeout=PATIENCE)
        assert (process.returncode, out) == (0, "said last\n")
        assert list((tmp_path / "agent_workspace" / ".runtimes").iterdir()) == []
