"""Limits how much a call may be given and a path may build: a short plan can ask for more than any memory holds.

Paths are evaluated and inputs resolved at once, while nothing else in the process runs. So all of it is counted, and
ends where it is more than a moment's work.
"""

from collections.abc import Iterable
from itertools import chain
from typing import Any, Final

from jmespath import Options, functions
from jmespath.visitor import TreeInterpreter

from agentic_workflows.errors import UnresolvedReferenceError
from agentic_workflows.graph.values import MAX_DEPTH, MAX_PARTS

MOST: Final = MAX_PARTS
"""Parts of all values that one call is given and that its paths build on the way to them; what stands in a text counts
by its length."""
_CHARACTERS: Final = 50
"""So many characters of a text count as one part."""
_BUILDS: Final = frozenset({"multi_select_list", "multi_select_dict", "function_expression", "literal"})
"""Parts of a path whose result can be larger than what they are given."""
_ARRANGES: Final = frozenset({"function_expression", "flatten"})
"""Where these give a list, all that is in it was there before, or was counted as it was built."""


class Budget:
    """What is left of what one call may be given."""

    def __init__(self) -> None:
        self._left = MOST

    def take(self, parts: int) -> None:
        """Use up so many parts.

        Raises:
            UnresolvedReferenceError: there are not so many left.

        """
        self._left -= parts
        if self._left < 0:
            raise UnresolvedReferenceError(f"It would be more than {MOST:,} parts; give less of it.")

    def take_value(self, value: Any, depth: int = 0) -> None:
        """Use up the parts of a value, which stands at a depth inside an argument.

        Raises:
            UnresolvedReferenceError: there are not so many left, or it would be nested more than `MAX_DEPTH` levels.

        """
        if not isinstance(value, dict | list):
            self.take(1 + len(value) // _CHARACTERS if isinstance(value, str) else 1)
            return
        level: Iterable[Any] = (value,)
        while level:
            parts, characters, inside = 0, 0, list[Any]()
            for one in level:
                if isinstance(one, str):
                    characters += len(one)
                elif isinstance(one, dict):
                    parts, characters = parts + len(one), characters + sum(map(len, one))
                    inside.append(one.values())
                elif isinstance(one, list):
                    parts += len(one)
                    inside.append(one)
            self.take(parts + characters // _CHARACTERS)
            if inside and depth >= MAX_DEPTH:
                raise UnresolvedReferenceError(f"It would be nested more than {MAX_DEPTH} levels deep.")
            level, depth = list(chain.from_iterable(inside)), depth + 1


def search(tree: dict[str, Any], value: Any, budget: Budget) -> Any:
    """Return what a parsed path gives on a value, as `jmespath` does, and use up what it builds.

    Raises:
        UnresolvedReferenceError: it would build too much.
        JMESPathError: it cannot be evaluated; other errors come out of the library, too.

    """
    return _Counting(budget).visit(tree, value)


class _Counting(TreeInterpreter):
    def __init__(self, budget: Budget) -> None:
        super().__init__(Options(custom_functions=_Functions(budget)))
        self._budget = budget

    def visit(self, node: Any, *args: Any, **kwargs: Any) -> Any:
        self._budget.take(1)
        found = super().visit(node, *args, **kwargs)
        if node["type"] in _ARRANGES and isinstance(found, list):
            self._budget.take(len(found))
        elif node["type"] in _BUILDS and isinstance(found, str | dict | list):
            self._budget.take_value(found)
        return found


class _Functions(functions.Functions):
    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    def call_function(self, function_name: str, resolved_args: Iterable[Any]) -> Any:
        match function_name, resolved_args:
            case "join", [str(separator), list(texts)]:  # the only one that repeats what it is given
                self._budget.take(len(separator) * len(texts) // _CHARACTERS)
        return super().call_function(function_name, resolved_args)
