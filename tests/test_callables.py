"""Callables by dotted paths: imported, held against their signatures, called."""

import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest

from mixkd.config.parts import PartConfig
from mixkd.errors import UserError
from mixkd.parts import function_of, import_callable, made, source_of


def scaled(student: float, teacher: float, *, alpha: float = 1.0, label: int = 0) -> float:
    return alpha * (student - teacher) + label


class Scaled:
    def __init__(self, alpha: float, beta: float = 0.0) -> None:
        self.alpha, self.beta = alpha, beta

    def __call__(self, student: float, teacher: float) -> float:
        return self.alpha * student + self.beta * teacher

    @classmethod
    def doubled(cls) -> "Scaled":
        return cls(2.0)


def needs(alpha: float, classes: int) -> tuple[float, int]:
    return alpha, classes


def fails(alpha: float) -> None:
    raise ValueError(f"alpha is {alpha}")


def part(name: str, **args: Any) -> PartConfig:
    return PartConfig(factory=f"{__name__}.{name}", args=args)


def test_a_class_a_function_and_what_a_class_holds_are_found() -> None:
    assert import_callable("collections.OrderedDict", "key") is OrderedDict
    assert import_callable(f"{__name__}.Scaled.doubled", "key")().alpha == 2


def test_the_working_folder_is_looked_through() -> None:
    Path("parts_of_mine.py").write_text("def one():\n    return 1\n")
    assert import_callable("parts_of_mine.one", "key")() == 1
    assert source_of("parts_of_mine.one", "key") == Path("parts_of_mine.py").resolve()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no_such_module.f", "got 'no_such_module.f'; takes package.module.function"),
        ("collections.OrderedDcit", "did you mean OrderedDict?"),
        ("collections.abc", "collections.abc is no callable"),
        ("sys.maxsize", "sys.maxsize is no callable"),
    ],
)
def test_what_is_no_callable_is_refused(path: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        import_callable(path, "metrics.f1.factory")
    assert caught.value.problems[0].key == "metrics.f1.factory"
    assert message in caught.value.problems[0].text


def test_what_fails_when_it_is_imported_says_why() -> None:
    Path("broken_part.py").write_text("import no_such_package\n")
    with pytest.raises(UserError, match="No module named 'no_such_package'"):
        import_callable("broken_part.f", "key")
    assert "broken_part" not in sys.modules


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("wrong_syntax", "def f(:\n", "fails when it is imported: SyntaxError: invalid syntax"),
        ("without_licence", "raise RuntimeError('no licence')\n", "RuntimeError: no licence"),
    ],
)
def test_a_module_that_cannot_be_imported_says_why(name: str, text: str, message: str) -> None:
    Path(f"{name}.py").write_text(text)
    with pytest.raises(UserError, match=message):
        import_callable(f"{name}.f", "callbacks.mine.factory")


def test_arguments_are_held_against_the_signature() -> None:
    with pytest.raises(UserError) as caught:
        made(part("needs", alhpa=2), "optimizer")
    keys = {problem.key: problem.text for problem in caught.value.problems}
    assert (
        "no such argument (did you mean alpha?); takes alpha, classes"
        in keys["optimizer.args.alhpa"]
    )
    assert "needs alpha, classes" in keys["optimizer.args"]
    with pytest.raises(UserError, match=r"optimizer\.args: .*fails fails with.*alpha is 3"):
        made(part("fails", alpha=3), "optimizer")


def test_what_is_offered_is_given_where_it_is_taken_and_the_user_gives_none() -> None:
    assert made(part("needs", alpha=2), "key", classes=10, other=0) == (2, 10)
    assert made(part("needs", alpha=2, classes=3), "key", classes=10) == (2, 3)


def test_arguments_may_be_made_too() -> None:
    inner = {"_target_": f"{__name__}.Scaled", "alpha": 3.0}
    alpha, classes = made(part("needs", alpha=inner, classes=[1, {"a": 2}]), "key")
    assert isinstance(alpha, Scaled)
    assert classes == [1, {"a": 2}]
    wrong = {"_target_": f"{__name__}.Scaled", "gamma": 3.0}
    with pytest.raises(UserError, match=r"key\.args: .*gamma"):
        made(part("needs", alpha=wrong, classes=1), "key")


def test_a_function_is_called_later_and_a_class_is_made_first() -> None:
    offered = ("label", "lam")
    for name, value in (("scaled", 4), ("Scaled", 6)):
        later = function_of(part(name, alpha=2), "d", 2, offered=offered)
        assert later(3, 1) == value
    with pytest.raises(UserError, match=r"d\.args\.gamma: .*takes alpha, label"):
        function_of(part("scaled", gamma=2), "d", 2, offered=offered)
    with pytest.raises(UserError, match=r"d\.factory: .*needs gives tuple, which cannot be called"):
        function_of(part("needs", alpha=1, classes=1), "d", 2, offered=offered)


def test_what_mixkd_gives_is_not_the_users() -> None:
    with pytest.raises(UserError, match=r"d\.args\.label: mixkd gives label itself"):
        function_of(part("scaled", label=3), "d", 2, offered=("label",))


def other(logits: float, answers: float, weight: float) -> float:
    return weight * (logits - answers)


def test_what_is_given_first_may_have_any_name() -> None:
    assert function_of(part("other", weight=2), "d", 2, offered=())(3, 1) == 4
    with pytest.raises(UserError, match=r"d\.args: .*other needs weight"):
        function_of(part("other"), "d", 2, offered=())
    with pytest.raises(
        UserError, match=r"needs weight; takes weight; mixkd gives label, lam by na"
    ):
        function_of(part("other"), "d", 2, offered=("label", "lam"))
