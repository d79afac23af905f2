"""CPU counts from fake cgroup trees."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.model.cpus import available_cpus, cpu_model

ALL = len(os.sched_getaffinity(0))


def write(directory: Path, **files: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (directory / name.replace("__", ".")).write_text(text)


@pytest.fixture
def membership(tmp_path: Path) -> Path:
    """What /proc/self/cgroup says inside a container: the root of its own namespace."""
    path = tmp_path / "membership"
    path.write_text("0::/\n")
    return path


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("max 100000", ALL),
        ("100000 100000", 1),
        ("50000 100000", 1),
        ("150000 100000", min(ALL, 2)),
        ("6400000 100000", ALL),
        ("1000 100000", 1),
        ("garbage", ALL),
        ("", ALL),
    ],
)
def test_version_2_quota_limits_the_count(tmp_path: Path, membership: Path, quota: str, expected: int) -> None:
    """A fraction counts as one more CPU; no quota or an unreadable one leaves what affinity allows."""
    write(tmp_path / "cgroup", cpu__max=quota)
    assert available_cpus(tmp_path / "cgroup", membership) == expected


@pytest.mark.parametrize(("quota", "expected"), [("-1", ALL), ("100000", 1), ("50000", 1), ("9900000", ALL)])
def test_version_1_quota_limits_the_count(tmp_path: Path, membership: Path, quota: str, expected: int) -> None:
    """The older layout says the same in two files."""
    write(tmp_path / "cgroup" / "cpu", cpu__cfs_quota_us=quota, cpu__cfs_period_us="100000")
    assert available_cpus(tmp_path / "cgroup", membership) == expected


@pytest.mark.parametrize("holder", ["system.slice/unit.service", "system.slice"])
def test_a_quota_on_our_group_or_above_it_counts(tmp_path: Path, membership: Path, holder: str) -> None:
    """Outside a container the quota stands in the group that systemd made, or in one of its parents."""
    membership.write_text("0::/system.slice/unit.service\n")
    write(tmp_path / "cgroup" / "system.slice" / "unit.service", cpu__max="max 100000")
    write(tmp_path / "cgroup" / holder, cpu__max="100000 100000")
    assert available_cpus(tmp_path / "cgroup", membership) == 1


def test_a_version_1_group_below_the_mount_counts(tmp_path: Path, membership: Path) -> None:
    """Controllers other than cpu are no concern of ours."""
    membership.write_text("5:memory:/other\n4:cpu,cpuacct:/docker/abc\n")
    write(tmp_path / "cgroup" / "cpu" / "docker" / "abc", cpu__cfs_quota_us="100000", cpu__cfs_period_us="100000")
    assert available_cpus(tmp_path / "cgroup", membership) == 1


def test_the_lowest_of_nested_quotas_wins(tmp_path: Path, membership: Path) -> None:
    """A generous group inside a tight one is tight."""
    membership.write_text("0::/pod/container\n")
    write(tmp_path / "cgroup" / "pod", cpu__max="100000 100000")
    write(tmp_path / "cgroup" / "pod" / "container", cpu__max="6400000 100000")
    assert available_cpus(tmp_path / "cgroup", membership) == 1


def test_without_cgroups_affinity_decides(tmp_path: Path) -> None:
    """Not every system has them."""
    assert available_cpus(tmp_path / "none", tmp_path / "none") == ALL


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model name\t: Fast 9000\nflags\t\t: fpu avx2 amx_int8 sse\n", "Fast 9000 amx_int8 avx2"),
        ("Features : fp asimd i8mm bf16\n", "asimd bf16 i8mm"),
        (None, ""),
    ],
)
def test_a_cpu_is_known_by_its_name_and_arithmetic(tmp_path: Path, text: str | None, expected: str) -> None:
    """Where no name is given, the platform's; where there is no file at all, that alone."""
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    assert cpu_model(tmp_path / "cpuinfo").endswith(expected)
    assert cpu_model(tmp_path / "cpuinfo")
