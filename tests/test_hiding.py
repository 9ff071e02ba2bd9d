import pytest

from mixkd.hiding import hidden, hide


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("export WANDB_API_KEY=abcd1234", "export WANDB_API_KEY=***"),
        ("to https://me:word@host:80/x?token=ab1&y=2", "to https://***@host:80/x?token=***&y=2"),
        ("https://token@host", "https://***@host"),
        ("a hf_abcdefghijklmnopqrstuv b", "a *** b"),
        ('{"api_key": "abc", "n": 1}', '{"api_key": "***", "n": 1}'),
        ("with the-planted-value.", "with ***."),
        # No secrets.
        ("args.class_token=false reg_token=4 pool=token", None),
        ("token: got 3; takes a name", None),
        ("short and git@host:x/y at 12:30", None),
        ("runs/digits/resnet20-erm-s0-4b7b5e21b0 seed=0", None),
    ],
)
def test_texts(text: str, shown: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "the-planted-value")
    monkeypatch.setenv("OTHER_KEY", "short")  # found in words that have nothing to do with it
    assert hide(text) == (text if shown is None else shown)


def test_values_of_any_form() -> None:
    value = {"token": "x", "class_token": True, "n": 0.5, "list": ["password=a", {"b": "c"}]}
    assert hidden(value) == value | {"token": "***", "list": ["password=***", {"b": "c"}]}
