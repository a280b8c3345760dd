#!/usr/bin/env bash
# Bring LedgerFlux up on a local cluster, or take it down: `make up`, `make down`. docs/deploy.md says the same by hand.
set -euo pipefail
cd "$(dirname "$0")/.."

context=${CONTEXT:-minikube}
namespace=ledgerflux
overlay=kustomize/overlays/minikube

need() {
    command -v "$1" >/dev/null 2>&1 || {
        printf '%s is not installed; it is needed to %s\n' "$1" "$2" >&2
        exit 1
    }
}

in_cluster() {
    kubectl --context "$context" "$@"
}

start_cluster() {
    [ "$context" = minikube ] || return 0
    need minikube 'run a local cluster (or set CONTEXT to the context of another cluster)'
    minikube status >/dev/null 2>&1 || minikube start --cpus 4 --memory 6g --disk-size 50g
}

up() {
    need kubectl 'talk to the cluster'
    start_cluster
    if command -v skaffold >/dev/null 2>&1; then
        skaffold run --kube-context "$context"
        return
    fi
    need docker 'build the image (skaffold, if installed, does it too)'
    need minikube 'build the image where the cluster finds it (with another cluster, use skaffold)'
    # Into minikube's own image store, so that nothing has to be pushed.
    eval "$(minikube docker-env)"
    docker build --tag ledgerflux:dev .
    # A Job cannot be changed in place.
    in_cluster delete job migrate --namespace "$namespace" --ignore-not-found
    in_cluster apply --kustomize "$overlay"
    # The same tag with another content is not noticed.
    in_cluster rollout restart --namespace "$namespace" --selector app.kubernetes.io/name=ledgerflux deployment,statefulset
    for workload in $(in_cluster get deployment,statefulset --namespace "$namespace" --output name); do
        in_cluster rollout status --namespace "$namespace" --timeout 15m "$workload"
    done
}

down() {
    need kubectl 'talk to the cluster'
    in_cluster delete --kustomize "$overlay" --ignore-not-found
}

case "${1:-}" in
    up) up ;;
    down) down ;;
    *)
        printf 'usage: %s up|down\n' "$0" >&2
        exit 2
        ;;
esac
