#!/bin/sh
# Makes the virtual environment DIRECTORY, or makes it anew where a stopped run left half of one.
# usage: environment.sh DIRECTORY [PYTHON]
set -eu
venv=$1
asked=${2:-}
# While packages are being installed this file exists: see the Makefile.
mark=$venv/.unfinished

version_of() {
  "$1" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null || echo none
}

fits() {
  case $(version_of "$1") in
    3.11.* | 3.12.*) return 0 ;;
    *) return 1 ;;
  esac
}

refuse() {
  found=${asked:-python3}
  version=$(version_of "$found")
  {
    echo "Halflight needs CPython 3.11 or 3.12."
    if [ "$version" = none ]; then echo "$found does not run."; else echo "$found is $version."; fi
    echo "Install one of the two (Debian: apt-get install python3.11), or name it:"
    echo "  make setup PYTHON=/path/to/python3.11"
  } >&2
  exit 1
}

python=
# One that is named is looked at even where nothing needs to be made: it must not be ignored.
if [ -n "$asked" ]; then
  fits "$asked" || refuse
  python=$asked
fi

if [ -x "$venv/bin/python" ] && [ ! -e "$mark" ] && fits "$venv/bin/python" &&
  "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
  if [ -n "$python" ] && [ "$(version_of "$python")" != "$(version_of "$venv/bin/python")" ]; then
    echo "$venv is of Python $(version_of "$venv/bin/python"), $python is $(version_of "$python")." >&2
    echo "Remove $venv, or name another place with VENV=." >&2
    exit 1
  fi
  exit 0
fi

if [ -z "$python" ]; then
  for candidate in python3.11 python3.12 python3; do
    if fits "$candidate"; then
      python=$candidate
      break
    fi
  done
fi
[ -n "$python" ] || refuse

if [ -d "$venv" ] && [ ! -e "$venv/pyvenv.cfg" ] &&
  ls -A "$venv" | grep -qvxE 'bin|include|lib|lib64|share|\.unfinished'; then
  echo "$venv holds something else than an environment: name another place with VENV=" >&2
  exit 1
fi
if [ -e "$venv" ] || [ -L "$venv" ]; then
  echo "$venv is not complete: making it anew with $python ($(version_of "$python"))"
  rm -rf "$venv"
else
  echo "making $venv with $python ($(version_of "$python"))"
fi
# A Debian without python3-venv has no ensurepip: then the machine's own pip fills the environment.
if ! "$python" -m venv "$venv" 2>/dev/null; then
  rm -rf "$venv"
  "$python" -m venv --without-pip "$venv"
  "$python" -m pip --python "$venv/bin/python" install --quiet pip==26.0
fi
