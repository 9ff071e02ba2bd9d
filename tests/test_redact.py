import pytest

from mixkd.redact import redact


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("export WANDB_API_KEY=abcd1234", "export WANDB_API_KEY=***"),
        ("AWS_SECRET_ACCESS_KEY=abc/4def+", "AWS_SECRET_ACCESS_KEY=***"),
        ("to https://me:word@host:80/x?token=ab1&y=2", "to https://***@host:80/x?token=***&y=2"),
        ("https://me:p@ss@host", "https://***@host"),
        ("https://token@host", "https://***@host"),
        (f"a hf_{'aB3' * 11} b", "a *** b"),
        (f"a sk-proj-{'aB3-' * 11}x b", "a *** b"),
        ('{"api_key": "abc1", "n": 1}', '{"api_key": "***", "n": 1}'),
        ("network.args={token:abc123secret,depth:8}", "network.args={token:***,depth:8}"),
        ("network.args.access_key=AKIA99", "network.args.access_key=***"),
        ("Authorization: Bearer abc.12", "Authorization: Bearer ***"),
        ("--token abc1", "--token ***"),
        ("with the-Planted-value.", "with ***."),
        # No secrets.
        ("args.class_token=false reg_token=4 pool_token=avgmax pool=token", None),
        ("token: got 3; takes a name", None),
        ("short and git@host:x/y at 12:30", None),
        ("runs/digits/resnet20-erm-s0-4b7b5e21b0 seed=0", None),
        ("/data/hf_imagenet_subset_100 runs/hf_vit_base_patch16_224-x /data/sk-image-net-1", None),
        ("trainer.select=accuracy, in the-Planted-values of postgres", None),
    ],
)
def test_secrets_in_texts_are_redacted(
    text: str, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_TOKEN", "the-Planted-value")
    # Found in words that have nothing to do with it.
    monkeypatch.setenv("OTHER_TOKEN", "short")
    monkeypatch.setenv("SORT_KEY", "accuracy")
    monkeypatch.setenv("DB_PASSWORD", "postgres")
    monkeypatch.setenv("A_SECRET", "/data/hf_imagenet_subset_100")
    assert redact(text) == (text if expected is None else expected)


def test_secrets_in_values_of_any_form_are_redacted() -> None:
    value = {"token": "x1", "image_key": "img1", "pool_token": "avg", "class_token": True, "n": 0.5,
             "list": ["password=a1", {"b": "c"}]}  # fmt: skip
    expected = {"token": "***", "list": ["password=***", {"b": "c"}]}
    assert redact(value) == value | expected
