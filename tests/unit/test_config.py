"""The member's file, credentials and keys: what is refused, and that errors name file and key."""

import datetime
import os
import re
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError
from signalexchange.config import load_config
from signalexchange.credentials import TlsFiles, load_signing_key
from signalexchange.errors import ConfigError
from signalexchange.settings import Address, Metrics, Section, read_settings

from exchange.pki import Authority, write_signing_key

WHOLE = """
member = "bank-a"
[hub]
target = "127.0.0.1:7400"
server_name = "localhost"
[custodians]
custodian-1 = "127.0.0.1:7501"
[tls]
certificate = "tls.pem"
key = "tls.key"
ca = "/etc/ca.pem"
[signing]
key_id = "2026"
key = "signing.pem"
[trust]
genesis = "genesis.note"
[journal]
path = "journal.db"
key = "journal.key"
[token_cache]
size = 5000
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "member.toml"
    path.write_text(text)
    return path


def test_paths_count_from_the_files_folder(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, WHOLE))
    assert config.tls.certificate == tmp_path / "tls.pem"
    assert config.tls.ca == Path("/etc/ca.pem")
    assert config.journal is not None
    assert config.journal.path == tmp_path / "journal.db"
    assert config.custodians == {"custodian-1": "127.0.0.1:7501"}
    assert config.token_cache.size == 5000


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('target = "127.0.0.1:7400"', "", "hub.target"),
        ('target = "127.0.0.1:7400"', 'targett = "x"', "hub.targett"),
        ("127.0.0.1:7400", "127.0.0.1:99999", "hub.target"),
        ("127.0.0.1:7400", "127.0.0.1:0", "hub.target"),
        ("127.0.0.1:7400", "127.0.0.1", "hub.target"),
        ("127.0.0.1:7501", "[::1]:65536", "custodians.custodian-1"),
        ('key_id = "2026"', "key_id = 2026", "signing.key_id"),
        ("size = 5000", "size = 0", "token_cache.size"),
        ("size = 5000", 'path = "cache.db"', "token_cache"),
        ('member = "bank-a"', 'member = ""', "member"),
        ('genesis = "genesis.note"', "", "trust.genesis"),
    ],
)
def test_errors_name_file_and_key(tmp_path: Path, old: str, new: str, key: str) -> None:
    path = write(tmp_path, WHOLE.replace(old, new))
    with pytest.raises(ConfigError, match=rf"member\.toml: .*{re.escape(key)}: "):
        load_config(path)


def test_not_toml_and_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a TOML file"):
        load_config(write(tmp_path, "member = "))
    with pytest.raises(ConfigError, match="can't read"):
        load_config(tmp_path / "none.toml")


def test_a_replays_clock_is_read_again_and_must_be_one(tmp_path: Path) -> None:
    path, clock = tmp_path / "member.toml", tmp_path / "clock"
    path.write_text(WHOLE + '[replay]\nclock = "clock"\n')
    config = load_config(path)
    for now in (1_500_000_000, 1_500_000_300):
        clock.write_text(f"{now}\n")
        assert config.now() == now
    clock.write_text("noon")
    with pytest.raises(ConfigError, match="Unix seconds"):
        config.now()
    clock.unlink()
    with pytest.raises(ConfigError, match="replay clock"):
        config.now()


def test_a_readable_signing_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "signing.pem"
    key = write_signing_key(path)
    message = b"signed"
    key.public_key().verify(load_signing_key(path)(message), message)
    path.chmod(0o640)
    with pytest.raises(ConfigError, match=r"signing\.pem: .* chmod 600"):
        load_signing_key(path)


def test_a_signing_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    files = Authority.create(tmp_path / "ca").issue(tmp_path / "a", "spiffe://exchange.test/party/a")
    with pytest.raises(ConfigError, match="must be an Ed25519 key"):
        load_signing_key(files.key)


def test_tls_files_belong_together_or_are_refused(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path / "ca")
    issued = authority.issue(
        tmp_path / "a", "spiffe://exchange.test/party/a", valid_for=datetime.timedelta(days=2)
    )
    other = authority.issue(tmp_path / "b", "spiffe://exchange.test/party/b")
    files = TlsFiles(issued.certificate, issued.key, issued.ca)
    assert files.load() is not None
    before = files.stamp()
    os.utime(issued.certificate, (1, 1))
    assert files.stamp() != before
    with pytest.raises(ConfigError, match="not the key of the certificate"):
        TlsFiles(issued.certificate, other.key, issued.ca).load()
    issued.key.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        files.load()
    issued.ca.write_text("nothing")
    issued.key.chmod(0o600)
    with pytest.raises(ConfigError, match="not a certificate"):
        files.load()


@pytest.mark.parametrize("address", ["127.0.0.1:65536", "127.0.0.1:99999", "[::1]:70000", "127.0.0.1", ":1"])
def test_an_address_whose_port_does_not_exist_is_refused(address: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Address).validate_python(address)


@pytest.mark.parametrize("address", ["127.0.0.1:0", "0.0.0.0:65535", "[::1]:8443", "hub.exchange.example:1"])
def test_an_address_to_listen_at(address: str) -> None:
    assert TypeAdapter(Address).validate_python(address) == address


@pytest.mark.parametrize(
    "address", ["0.0.0.0:9464", "[::]:9464", "192.0.2.1:9464", "hub.example:9464", "127.0.0.1:65536"]
)
def test_metrics_are_served_on_this_machine_only(tmp_path: Path, address: str) -> None:
    class WithMetrics(Section):
        metrics: Metrics

    path = write(tmp_path, f'[metrics]\nlisten = "{address}"\n')
    with pytest.raises(ConfigError, match=r"member\.toml: metrics\.listen: "):
        read_settings(path, WithMetrics)
    for local in ("127.0.0.1:9464", "127.9.9.9:0", "[::1]:9464", "localhost:9464"):
        assert Metrics(listen=local).listen == local
