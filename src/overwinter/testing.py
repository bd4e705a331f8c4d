"""What you need to test your own agents and actors: no network, no waiting."""

from __future__ import annotations

from overwinter.agents.models.scripted import ScriptedCall, ScriptedModel, ScriptGate
from overwinter.runtime.fake_clock import FakeClock

__all__ = ["FakeClock", "ScriptGate", "ScriptedCall", "ScriptedModel"]
