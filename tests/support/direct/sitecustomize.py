"""For programs that name their model: they ask it over HTTP themselves, and not through litellm.

Python imports this before the program, where this folder is on its path (`tests.support.examples.directly`). litellm
takes some seconds of the processor to import; what a program does with the answers is the same with both, and one run
of each program in the tests does go through litellm.
"""

from __future__ import annotations

from overwinter.agents.models import litellm_model
from overwinter.agents.models.openai_compatible import OpenAICompatible

litellm_model.LiteLLMModel = OpenAICompatible  # type: ignore[assignment, misc]
