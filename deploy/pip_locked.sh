#!/bin/sh
# pip-locked PYTHON LOCK: install a hash-locked file of wheels into PYTHON's environment.
# Used inside `docker build` only. /wheels may hold wheels (named context), and the secret
# ca_bundle a certificate bundle; both are optional.
set -eu
if [ -s /run/secrets/ca_bundle ]; then
    export PIP_CERT=/run/secrets/ca_bundle
fi
exec /tools/bin/pip --python "$1" install --no-deps --require-hashes --only-binary :all: \
    --find-links /wheels --requirement "$2"
