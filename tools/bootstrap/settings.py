"""Hand pip's configuration to uv, which reads none of it. What uv is configured with itself takes precedence."""

from __future__ import annotations

import ast
import ssl
import tomllib
from collections.abc import Mapping
from pathlib import Path

# pip's option -> uv's variable and the separator of its values
INDEXES = {"index-url": ("UV_DEFAULT_INDEX", " "), "extra-index-url": ("UV_INDEX", " ")}
OTHERS = {
    "find-links": ("UV_FIND_LINKS", ","),
    "constraint": ("UV_CONSTRAINT", " "),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "timeout": ("UV_HTTP_TIMEOUT", " "),
    "default-timeout": ("UV_HTTP_TIMEOUT", " "),
    "retries": ("UV_HTTP_RETRIES", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "client-cert": ("SSL_CLIENT_CERT", " "),
    "proxy": ("ALL_PROXY", " "),
}
UV_INDEX_SETTINGS = {"UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "index", "index-url"}


def pip_settings(config_list: str) -> dict[str, str]:
    """Read `pip config list`: the section of `pip install` overrides the global one, and variables override both."""
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in config_list.splitlines():
        name, _, value = line.partition("=")
        section, _, option = name.partition(".")
        if section in sections:
            sections[section][option] = str(ast.literal_eval(value))
    return {**sections["global"], **sections["install"], **sections[":env:"]}


def uv_toml_keys(environment: Mapping[str, str]) -> set[str]:
    """Return the names of what the user's and the system's uv.toml set."""
    user = Path(environment.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "uv" / "uv.toml"
    named = environment.get("UV_CONFIG_FILE")
    keys: set[str] = set()
    for path in [Path(named)] if named else [user, Path("/etc/uv/uv.toml")]:
        if path.is_file():
            table = tomllib.loads(path.read_text(encoding="utf-8"))
            keys |= {*table, *table.get("pip", {})}
    return keys


def uv_environment(pip: Mapping[str, str], environment: Mapping[str, str], toml_keys: set[str]) -> dict[str, str]:
    """Return the environment in which uv finds packages where pip does."""
    configured = {*environment, *toml_keys}
    translated = OTHERS if configured & {*UV_INDEX_SETTINGS, "extra-index-url"} else {**INDEXES, **OTHERS}
    added = {
        variable: separator.join(pip[option].split())
        for option, (variable, separator) in translated.items()
        if option in pip and option not in toml_keys
    }
    if "UV_INDEX" in added:
        added["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # as pip does: the newest of all indexes
    if ssl.get_default_verify_paths().cafile:
        added["UV_SYSTEM_CERTS"] = "true"  # as pip does
    # The environment to write into is named on the command line.
    return {**added, **{name: value for name, value in environment.items() if name != "UV_SYSTEM_PYTHON"}}
