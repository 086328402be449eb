# shellcheck shell=bash
# A Docker engine of our own, for a Debian machine that runs none: sourced by test_images.sh.
# Nothing is installed: Debian's packages are unpacked into $WORK, and go with it. The engine, the
# compose and the buildx plugin are of a newer release than bookworm (named build contexts need
# BuildKit 0.11), runc is the host's own, as it needs the host's C library.
# Needs: WORK (empty directory), root, apt, and the Debian archive key of that newer release.

ENGINE_SUITE=${ENGINE_SUITE:-trixie}
BASE_IMAGE=python:3.11-slim-bookworm
BASE_SUITE=bookworm

debian_mirror() {
    # shellcheck disable=SC2016  # apt's own placeholders
    apt-get indextargets --format '$(ORIGIN) $(COMPONENT) $(LABEL) $(SITE)' 'Created-By: Packages' |
        awk '$1 == "Debian" && $2 == "main" && $3 == "Debian" {print $4; exit}'
}

unpack_engine() {
    local apt="$WORK/apt" mirror
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$WORK/debs" "$WORK/root" \
        "$WORK/bin" "$DOCKER_CONFIG/cli-plugins"
    apt-get update -qq
    mirror=$(debian_mirror)
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
        "$mirror $ENGINE_SUITE main" >"$apt/sources.list"
    local newer=(-q -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o "Dir::State::lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root)
    apt-get "${newer[@]}" update >/dev/null
    (cd "$WORK/debs" && apt-get "${newer[@]}" download \
        docker.io docker-cli docker-compose docker-buildx containerd tini >/dev/null)
    (cd "$WORK/debs" && apt-get -q -o APT::Sandbox::User=root download runc debootstrap >/dev/null)
    local deb
    for deb in "$WORK"/debs/*.deb; do dpkg-deb -x "$deb" "$WORK/root"; done
    cp "$WORK"/root/usr/bin/{docker,containerd,containerd-shim-runc-v2} \
        "$WORK"/root/usr/sbin/{dockerd,docker-proxy,runc} "$WORK/bin/"
    cp "$WORK/root/usr/bin/tini-static" "$WORK/bin/docker-init"
    cp "$WORK"/root/usr/libexec/docker/cli-plugins/docker-* "$DOCKER_CONFIG/cli-plugins/"
}

# No packet filter, no default bridge, no forwarding: the machine's network stays as it is.
# Published ports go through docker-proxy, builds use the host's network.
start_engine() {
    echo '{}' >"$WORK/daemon.json"
    setsid dockerd --config-file "$WORK/daemon.json" --data-root "$WORK/data" \
        --exec-root "$WORK/exec" --pidfile "$WORK/dockerd.pid" --host "$DOCKER_HOST" \
        --iptables=false --ip6tables=false --bridge=none --ip-forward=false \
        >"$WORK/dockerd.log" 2>&1 &
    ENGINE_PID=$!
    local _
    for _ in $(seq 60); do
        if docker version >/dev/null 2>&1; then return; fi
        kill -0 "$ENGINE_PID" 2>/dev/null || break
        sleep 0.5
    done
    tail -20 "$WORK/dockerd.log" >&2
    return 1
}

stop_engine() {
    [[ -n "${ENGINE_PID:-}" ]] || return 0
    docker ps --all --quiet | xargs --no-run-if-empty docker rm --force --volumes >/dev/null || true
    docker network prune --force >/dev/null || true
    kill "$ENGINE_PID" 2>/dev/null || true
    wait "$ENGINE_PID" 2>/dev/null || true
    ENGINE_PID=
}

# The real base image, or where no registry answers a stand-in of the same name: Debian's Python
# 3.11 on the same Debian release.
provide_base() {
    if timeout 120 docker pull --quiet "$BASE_IMAGE" >/dev/null 2>&1; then
        echo "pulled"
        return
    fi
    local base="$WORK/base" name
    DEBOOTSTRAP_DIR="$WORK/root/usr/share/debootstrap" "$WORK/root/usr/sbin/debootstrap" \
        --variant=minbase --include=python3,python3-venv,ca-certificates \
        "$BASE_SUITE" "$base" "$(debian_mirror)" >"$WORK/debootstrap.log" 2>&1 ||
        { tail -5 "$WORK/debootstrap.log" >&2; return 1; }
    for name in python python3 python3.11; do
        ln -s /usr/bin/python3.11 "$base/usr/local/bin/$name"
    done
    rm -rf "$base"/var/cache/apt/* "$base"/var/lib/apt/lists/* "$base"/usr/share/{doc,man,locale}
    tar --directory "$base" --numeric-owner --create . |
        docker import --change 'CMD ["python3"]' --change 'LABEL halflight.stand-in=true' \
            --change 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin' \
            - "$BASE_IMAGE" >/dev/null
    rm -rf "$base"
    echo "stand-in made by debootstrap"
}
