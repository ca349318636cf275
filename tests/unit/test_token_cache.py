"""The token cache: bounded, no dictionary, encrypted at rest."""

import os
from collections import OrderedDict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signalexchange.errors import ConfigError, MalformedError, VerificationError
from signalexchange.token_cache import TokenCache
from signalexchange.tokens import Token

PHONE = "+8613800138000"


def token(number: int, epoch: int = 1) -> Token:
    return Token(1, epoch, number.to_bytes(32, "big"), bytes(32))


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "cache.key"
    path.write_text(os.urandom(32).hex() + "\n")
    path.chmod(0o600)
    return path


def filled(path: Path, key: Path, count: int = 3) -> TokenCache:
    cache = TokenCache.open(path, key)
    for number in range(count):
        cache.put(f"{PHONE}{number}", token(number))
    cache.save()
    return cache


@given(st.integers(1, 4), st.lists(st.tuples(st.booleans(), st.integers(0, 6)), max_size=40))
def test_the_least_recently_used_leave_first(size: int, steps: list[tuple[bool, int]]) -> None:
    cache, model = TokenCache(size), OrderedDict[int, Token]()
    for put, number in steps:
        if put:
            cache.put(str(number), token(number))
            model[number] = token(number)
            model.move_to_end(number)
            while len(model) > size:
                model.popitem(last=False)
        else:
            assert cache.get(1, 1, str(number)) == model.get(number)
            if number in model:
                model.move_to_end(number)
        assert len(cache) == len(model)


def test_type_epoch_and_value_all_count() -> None:
    cache = TokenCache()
    cache.put(PHONE, token(1))
    assert cache.get(1, 1, PHONE) == token(1)
    assert cache.get(2, 1, PHONE) is None
    assert cache.get(1, 2, PHONE) is None
    assert cache.get(1, 1, PHONE + "1") is None


def test_keys_in_memory_are_no_dictionary() -> None:
    """Two processes hold different keys for the same identifier, and none is the identifier."""
    first, second = TokenCache(), TokenCache()
    for cache in (first, second):
        cache.put(PHONE, token(1))
    assert first._tokens.keys() != second._tokens.keys()
    assert PHONE.encode() not in next(iter(first._tokens))


def test_a_size_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError):
        TokenCache(0)


def test_without_a_file_nothing_is_written(tmp_path: Path) -> None:
    cache = TokenCache()
    cache.put(PHONE, token(1))
    cache.save()
    assert list(tmp_path.iterdir()) == []


def test_a_saved_cache_comes_back_in_order(tmp_path: Path, key: Path) -> None:
    path = tmp_path / "cache"
    cache = filled(path, key)
    cache.get(1, 1, f"{PHONE}0")
    cache.save()
    assert path.stat().st_mode & 0o777 == 0o600
    assert PHONE.encode() not in path.read_bytes()
    assert token(1).value not in path.read_bytes()
    again = TokenCache.open(path, key, size=1)
    assert again.get(1, 1, f"{PHONE}0") == token(0)  # the most recently used
    assert len(again) == 1
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["cache", "cache.key"]


def test_another_key_is_refused_and_the_file_kept(tmp_path: Path, key: Path) -> None:
    path = tmp_path / "cache"
    filled(path, key)
    before = path.read_bytes()
    key.write_text(os.urandom(32).hex())
    with pytest.raises(VerificationError):
        TokenCache.open(path, key)
    assert path.read_bytes() == before


@given(data=st.data())
@settings(max_examples=60)
def test_a_damaged_file_is_an_error(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("cache")
    key = folder / "key"
    key.write_text("00" * 32)
    key.chmod(0o600)
    path = folder / "cache"
    filled(path, key, count=2)
    whole = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    else:
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
        path.write_bytes(whole)
    with pytest.raises((MalformedError, VerificationError)):
        TokenCache.open(path, key)


@pytest.mark.parametrize("text", ["", "00", "zz" * 32, "00" * 33])
def test_keys_of_another_form_are_refused(tmp_path: Path, key: Path, text: str) -> None:
    key.write_text(text)
    with pytest.raises(ConfigError):
        TokenCache.open(tmp_path / "cache", key)


def test_a_key_that_others_can_read_is_refused(tmp_path: Path, key: Path) -> None:
    key.chmod(0o644)
    with pytest.raises(ConfigError):
        TokenCache.open(tmp_path / "cache", key)


def test_a_folder_that_is_gone_is_named(tmp_path: Path, key: Path) -> None:
    cache = TokenCache.open(tmp_path / "gone" / "cache", key)
    cache.put(PHONE, token(1))
    with pytest.raises(ConfigError, match="gone"):
        cache.save()
