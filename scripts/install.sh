#!/usr/bin/env bash
# Makes the virtual environment $1 and installs the package in it, editable, with messages. $2 (optional) names the Python to use.
# Installs a missing compiler, CMake, Python headers or venv module with apt-get where it may.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=${1:-.venv}
wanted=${2:-}

say() { printf '%s\n' "$*" >&2; }
usable() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' >/dev/null 2>&1; }

# apt_install REASON PACKAGE...: with root or password-free sudo, else one sentence on what to do.
apt_install() {
    local reason=$1 run=()
    shift
    if ! command -v apt-get >/dev/null; then
        say "$reason; please install what your system calls: $*."
        exit 1
    elif [ "$(id -u)" = 0 ]; then
        run=(env DEBIAN_FRONTEND=noninteractive)
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        run=(sudo DEBIAN_FRONTEND=noninteractive)
    else
        say "$reason; please run: sudo apt-get install $*"
        exit 1
    fi
    say "$reason: installing $*."
    "${run[@]}" apt-get update -qq || true
    if ! "${run[@]}" apt-get install -y -qq --no-install-recommends "$@" >/dev/null; then
        say "apt-get could not install $*; please install them by hand and run this again."
        exit 1
    fi
}

if [ -x "$venv/bin/python" ] && usable "$venv/bin/python" && [ -z "$wanted" ]; then
    python=$venv/bin/python
else
    python=
    for candidate in ${wanted:-python3 python3.11 python3.12 python3.13}; do
        if usable "$candidate"; then
            python=$candidate
            break
        fi
    done
    if [ -z "$python" ]; then
        say "Python 3.11, 3.12 or 3.13 is needed${wanted:+ and $wanted is none of them}; please install one and run make PYTHON=python3.11."
        exit 1
    fi
fi

base=$("$python" -c 'import sys; print(f"python3.{sys.version_info.minor}")')
missing=()
"$python" -c 'import venv, ensurepip' 2>/dev/null || missing+=("$base-venv")
"$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' || missing+=("$base-dev")
command -v c++ >/dev/null || missing+=(g++)
command -v cmake >/dev/null || missing+=(cmake)
command -v make >/dev/null || missing+=(make)
if [ ${#missing[@]} -gt 0 ]; then apt_install "Building the ROS messages needs more than is here" "${missing[@]}"; fi

if [ ! -x "$venv/bin/python" ] || ! usable "$venv/bin/python" || [ -n "$wanted" ]; then
    "$python" -m venv --clear "$venv"
fi
python=$venv/bin/python
# Of another, sourced environment of the same kind: its library path must not reach ours.
unset _ROS_WHEELS_BOOTSTRAP_COMPLETE PYTHONPATH

pip() { "$python" -m pip --disable-pip-version-check install --quiet --constraint constraints.txt "$@"; }

# Dependencies first, so that the messages are built with the very packages they will run with.
say "Installing the pinned dependencies in $venv ..."
pip setuptools wheel
BIOMECH_FIT_MESSAGES=off pip --no-build-isolation --editable '.[ros,dev]'
if [ -d "$venv/share/ament_cmake_core" ]; then
    say "Building the messages ..."
    BIOMECH_FIT_MESSAGES=on pip --no-build-isolation --no-deps --editable .
else
    say "PyPI has no ROS 2 for this machine, so biomech_fit is installed without messages and nodes; a sourced ROS 2 and colcon build give them."
fi
