# shellcheck shell=bash disable=SC2034,SC2154
# What the scripts of this folder and `just` share: where things are kept, and how they talk. Sourced, not run.
# Data goes to stdout, everything said to people goes to stderr.

# Everything fetched or built once lives here, outside the checkout.
cache=${PULLPASS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pullpass}

# The Kubernetes that Debian 12 has the source of.
kubernetes_version=1.20.2
kubernetes_folder=$cache/kubernetes-$kubernetes_version

# Where Debian puts the Go package that the Kubernetes build takes in place of its own copy.
reflect2=/usr/share/gocode/src/github.com/modern-go/reflect2

buf_version=1.75.0
buf_folder=$cache/buf-$buf_version

say() { printf '%s\n' "$*" >&2; }

die() {
  say "error: $*"
  exit 1
}

# locked NAME: goes on only when no other run holds the lock NAME; gives it back at exit.
locked() {
  mkdir -p "$cache"
  exec {lock}>"$cache/$1.lock"
  until flock --wait 15 "$lock" || ! say "waiting for another run to finish with $1"; do :; done
}

# step WHAT COMMAND…: runs COMMAND with its output in $log and a sign of life; on failure shows the end of the log.
step() {
  local what=$1 started=$SECONDS
  shift
  say "$what …"
  set -m # a process group of its own, for stop_step
  "$@" </dev/null >>"$log" 2>&1 &
  step_group=$!
  set +m
  while kill -0 "$step_group" 2>/dev/null; do
    sleep 0.5
    show_life "$((SECONDS - started))"
  done
  wait "$step_group" || step_failed "$what"
  step_group=
  say "$what: done in $((SECONDS - started)) s"
}

# show_life SECONDS: on a terminal a line that counts, elsewhere a new line every 15 s.
show_life() {
  if [[ -t 2 ]]; then
    printf '  %s s\r' "$1" >&2
  elif (($1 >= ${next_sign:=15})); then
    say "  still at it after $1 s"
    next_sign=$(($1 + 15))
  fi
}

step_failed() {
  step_group=
  say "… the end of $log:"
  tail -n 25 "$log" >&2
  die "$1: failed; the whole log is $log"
}

# Nothing keeps running when we are interrupted.
stop_step() { [[ -z ${step_group-} ]] || kill -- "-$step_group" 2>/dev/null || true; }
trap stop_step EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
