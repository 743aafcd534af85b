#!/bin/sh
# Finds a Python, keeps nox in a cached virtual environment and hands all arguments on to nox:
#     sh scripts/bootstrap.sh -s demo
# Without arguments it lists the sessions. With --which it prints the Python that it would take, and makes nothing.
#
# Reads MLX_PUBLISH_PYTHON (take this one and no other), MLX_PUBLISH_CACHE (where the environments are kept; handed on
# to the noxfile) and MLX_PUBLISH_SEARCH_ROOT (put before the fixed places below; for the tests).
# Exit codes: 2 when MLX_PUBLISH_PYTHON is no good, 4 when the surroundings are not fit, else those of nox.
set -eu

# Text of other programs commands neither a terminal nor a runner, which reads "##[" anywhere in a line and passes over
# what nobody sees; here all bytes outside of ASCII count as that. Before it come C1 controls and reversed text.
c1=$(printf '\302[\200-\237]') bidi=$(printf '\342\200[\252-\256]') isolates=$(printf '\342\201[\246-\251]')
harmless() {
  LC_ALL=C sed "s/$c1/?/g; s/$bidi/?/g; s/$isolates/?/g"'; s/[[:cntrl:]]/?/g; s/#\([^!-~]*#[^!-~]*\[\)/#\\\1/g'
}

# The prefix keeps a line from beginning with "::", the other command.
say() { printf '%s\n' "$1" | harmless | sed 's/^/bootstrap: /' >&2; }

# Inside a job also as an annotation and in its summary, where people look first.
give_up() {
  say "$2"
  if [ "${GITHUB_ACTIONS:-}" = true ]; then
    printf '%s\n' "$2" | harmless | sed -n 's/%/%25/g; s/^/::error::bootstrap: /; 1p' >&2
    printf '### mlx-publish: error\n\n~~~text\n%s\n~~~\n' "$(printf '%s\n' "$2" | harmless | sed 's/~~~/~ ~~/g')" \
      >>"${GITHUB_STEP_SUMMARY:-/dev/null}"
  fi
  exit "$1"
}

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
newline='
'
places=${MLX_PUBLISH_SEARCH_ROOT:-}
home=${HOME:-/nonexistent}
uv=${UV_PYTHON_INSTALL_DIR:-${XDG_DATA_HOME:-$home/.local/share}/uv/python}
pyenv=${PYENV_ROOT:-$home/.pyenv}

# Every program that may be a fitting Python, one a line. launchd gives a runner no more than /usr/bin:/bin as PATH, so
# the places of Homebrew, python.org, uv, pyenv and MacPorts follow. The last round finds what is too old or too new.
candidates() {
  for name in python3.13 python3.12 python3.11 python3.10 python3.14 python3.15 python3 python; do
    (IFS=: && set -f && for folder in $PATH; do printf '%s\n' "$folder/$name"; done)
  done
  for v in 3.13 3.12 3.11 3.10 3.14 3.15 3; do
    for brew in "$places/opt/homebrew" "$places/usr/local"; do
      printf '%s\n' "$brew/bin/python$v" "$brew"/opt/python@"$v"*/bin/python"$v"
    done
    printf '%s\n' "$places"/Library/Frameworks/Python.framework/Versions/"$v"*/bin/python"$v" \
      "$uv"/cpython-"$v"*/bin/python"$v" "$pyenv"/versions/"$v"*/bin/python"$v" \
      "$home/.local/bin/python$v" "$places/opt/local/bin/python$v"
  done
}

# Has to run under every Python, 2.7 too, so that the message can name its version. The base executable is asked for
# because an activated environment may be gone tomorrow. Under Rosetta the kernel's name still says ARM64.
probe='
import os, sys
problem = ""
for module in ("venv", "ensurepip"):
    try:
        __import__(module)
    except ImportError:
        problem = "has no module " + module
if "t" in getattr(sys, "abiflags", ""):
    problem = "is free-threaded, for which too few wheels exist"
if hasattr(sys, "pypy_version_info"):
    problem = "is PyPy, for which MLX has no wheels"
if os.uname()[0] == "Darwin" and "ARM64" in os.uname()[3] and os.uname()[4] != "arm64":
    problem = "runs as an Intel program, MLX needs arm64"
base = getattr(sys, "_base_executable", None) or sys.executable
print("%d.%d.%d|%s|%s" % (tuple(sys.version_info[:3]) + (problem, base if os.path.exists(base) else sys.executable)))
'

is_program() { [ -x "$1" ] && [ ! -d "$1" ]; }

# Looks at one candidate: keeps it when it is better than the best so far, else notes why not.
python='' version='' rank=9 rejected='' problem=''
consider() {
  # Without Xcode's tools, Apple's python3 is a stub that opens a window and waits for a person.
  if [ "$1" = /usr/bin/python3 ] && [ "$(uname -s)" = Darwin ] && ! xcode-select -p >/dev/null 2>&1; then
    answer="?|needs Xcode's command line tools|"
  else  # from / so that no module in the caller's folder is imported
    answer=$(cd / && "$1" -E -s -c "$probe" 2>/dev/null </dev/null) || answer="?|does not run (exit $?)|"
  fi
  IFS='|' read -r its_version problem its_path <<EOF
$answer
EOF
  case $its_version in
    3.1[1-3].*) its_rank=1 ;;
    3.10.*) its_rank=2 ;;  # the newest mlx-lm needs 3.11
    3.1[4-9].* | 3.[2-9][0-9].*) its_rank=3 ;;  # too few wheels
    [0-9]*) problem='is older than 3.10' ;;
    *) problem=${problem:-'does not answer like a Python'} ;;
  esac
  if [ -n "$problem" ]; then
    rejected="$rejected
  $1 ($its_version) $problem"
  elif [ "$its_rank" -lt "$rank" ]; then
    python=$its_path version=$its_version rank=$its_rank
  fi
}

find_python() {
  chosen=${MLX_PUBLISH_PYTHON:-}
  if [ -n "$chosen" ]; then
    case $chosen in /*) ;; */*) chosen=$PWD/$chosen ;; *) chosen=$(command -v -- "$chosen" || echo "$chosen") ;; esac
    if is_program "$chosen"; then consider "$chosen"; else problem='is no program'; fi
    [ -n "$python" ] ||
      give_up 2 "MLX_PUBLISH_PYTHON: $MLX_PUBLISH_PYTHON $problem; name a Python >= 3.10 or unset it"
    return 0
  fi
  while [ "$rank" -gt 1 ] && IFS= read -r candidate; do
    # A relative entry of PATH would be a program out of the caller's folder.
    case $candidate in /*) ;; *) continue ;; esac
    if is_program "$candidate"; then consider "$candidate"; fi
  done <<EOF
$(candidates)
EOF
  [ -n "$python" ] ||
    give_up 4 "no fitting Python. Needed is CPython >= 3.10, best 3.11 to 3.13, with venv and ensurepip.
Looked on PATH ($PATH) and in the places of Homebrew, python.org, uv, pyenv and MacPorts. Found:${rejected:- nothing}
On a Mac: brew install python@3.13, or an installer from https://www.python.org/downloads/
On Debian or Ubuntu: apt-get install python3 python3-venv
If there is one elsewhere: MLX_PUBLISH_PYTHON=/path/to/python3"
}

# The first place that nobody else can change: MLX_PUBLISH_CACHE and no other, or the tool cache of the runner, that of
# the user, or this checkout. What lies there is looked at before it is used, since it runs with the job's tokens.
find_cache() {
  answer=$("$python" -I -S "$root/scripts/mlx_publish/children/private_folder.py" "$root" "$@") ||
    give_up 4 "${answer:-the folders for the environments could not be looked at}"
  cache=${answer#*"$newline"} state=${answer%%"$newline"*} env=${answer#*"$newline"}/$1
  lock=$env.lock
}

# The lock is a link whose target is its owner's process id: both come into being in one step.
take_lock() {
  waited=0
  until ln -s "$$" "$lock" 2>/dev/null; do
    owner=$(readlink "$lock" || true)
    # Only who holds the second lock removes a dead one, or two would each remove the other's new one.
    if [ -n "$owner" ] && ! kill -0 "$owner" 2>/dev/null && mkdir "$lock.dead" 2>/dev/null; then
      if [ "$(readlink "$lock" || true)" = "$owner" ]; then rm -f "$lock"; fi
      rmdir "$lock.dead"
      continue
    fi
    [ "$waited" -gt 0 ] || say "waiting for process ${owner:-?}, which is making $env"
    [ "$waited" -lt 120 ] || give_up 4 "process ${owner:-?} is still making $env; run again, or remove $lock*"
    sleep 1
    waited=$((waited + 1))
  done
}

attempt() {
  what=$1
  shift
  output=$("$@" 2>&1) || give_up 4 "$what failed (exit $?); network or disk? It is safe to run again. Its last lines:
$(printf '%s\n' "$output" | tail -n 6)"
}

# Made in its final place, since an environment cannot be moved; the marker, written last, says that it is whole.
# mkdir fails where something is there, so that nothing can be put there before: only what is made here is filled.
make_environment() {
  take_lock
  trap '[ -f "$env/.complete" ] || rm -rf "$env"; rm -f "$lock"' EXIT
  trap 'exit 130' HUP INT TERM
  find_cache "${env##*/}" quietly  # another process may have made it meanwhile
  if [ "$state" != ready ]; then
    say "making the environment of nox with Python $version in $env (once)"
    attempt "emptying $env" rm -rf "$env"
    attempt "making $env" mkdir -m 700 "$env"
    # Others might exchange what is unpacked in a TMPDIR that all may write.
    attempt 'python -m venv' env TMPDIR="$env" "$python" -I -m venv "$env"
    say "its packages come from $("$env/bin/python" -I "$root/scripts/indexes.py"), and have to have the lock's hashes"
    "$python" -I -S "$root/scripts/lock.py" nox >"$env/requirements.txt"
    # Settings meant for the user's own Python would put nox somewhere else.
    attempt 'pip install nox' env TMPDIR="$env" PIP_USER=0 PIP_TARGET= PIP_PREFIX= "$env/bin/python" -I -m pip install --quiet \
      --disable-pip-version-check --require-hashes --only-binary :all: --requirement "$env/requirements.txt"
    echo 'Made by scripts/bootstrap.sh of mlx-publish. Can be deleted at any time.' >"$cache/README"
    : >"$env/.complete"
  fi
  rm -f "$lock"
  trap - EXIT HUP INT TERM
}

# mlx-lm wants to raise the limit itself, and cannot be imported where it may not.
# shellcheck disable=SC3045  # -n is not in POSIX, but in every sh that macOS and Linux have
raise_open_files() {
  case $(ulimit -S -n) in unlimited) return 0 ;; esac
  [ "$(ulimit -S -n)" -lt 4096 ] || return 0
  ulimit -S -n 4096 2>/dev/null ||
    say "mlx-lm needs 4096 open files; no more than $(ulimit -H -n) are allowed here: raise that hard limit"
}

find_python
if [ "${1:-}" = --which ]; then
  printf '%s %s\n' "$python" "$version"
  exit 0
fi
if [ $# -eq 0 ] && [ -z "${NOXSESSION:-}" ]; then
  exec "$python" -I -S "$root/scripts/sessions.py"
fi
key=$({ cat "$root/requirements.lock" && printf '%s\n' "$python"; } | cksum | cut -d ' ' -f 1)
find_cache "nox-${version%.*}-$key"
[ "$state" = ready ] || make_environment
raise_open_files
export MLX_PUBLISH_CACHE="$cache" PATH="$PATH:$env/bin"
# -I: a module in the caller's folder, which may be a model's, is never imported.
exec "$env/bin/python" -I -m nox --noxfile "$root/noxfile.py" "$@"
