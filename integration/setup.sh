#!/usr/bin/env bash
# Installs what building the daemon and running the lab need, on Debian and its relatives.
# Says in one line that nothing is missing, and then has changed nothing.
set -euo pipefail

# A command that shows that the packages behind it are there.
readonly NEEDS=(
    "cc        gcc libc6-dev"
    "protoc    protobuf-compiler libprotobuf-dev"
    "etcd      etcd-server"
    "etcdctl   etcd-client"
    "ip        iproute2"
    "nft       nftables"
    "iptables  iptables"
    "ping      iputils-ping"
    "iperf3    iperf3"
    "ethtool   ethtool"
    "nginx     nginx-light"
    "haproxy   haproxy"
    "wrk       wrk"
    "curl      curl"
    "nsenter   util-linux"
    "openssl   openssl"
    "ps        procps"
    "debootstrap    debootstrap"
    "systemd-nspawn systemd-container"
    "dpkg-deb       dpkg"
    "strip          binutils"
)

# On Debian, a user's PATH lacks the folders where iptables and nft lie.
PATH=$PATH:/usr/sbin:/sbin

missing_packages() {
    local need name packages
    for need in "${NEEDS[@]}"; do
        read -r name packages <<<"$need"
        command -v "$name" >/dev/null || printf '%s ' "$packages"
    done
}

as_root() {
    if [[ $EUID -eq 0 ]]; then "$@"; else sudo "$@"; fi
}

has_systemd() {
    [[ -d /run/systemd/system ]]
}

# Debian starts a server as soon as its package is installed. The lab starts its own etcd, nginx and HAProxy, and one
# on the machine would be a surprise. A runtime mask keeps systemd from starting them: it lies in /run
# and concerns these units only, unlike a policy-rc.d, which is a file that changes the installation
# of every package and may exist already. The mask goes in any case; the units stay disabled.
keep_from_starting() {
    has_systemd && [[ $# -gt 0 ]] || return 0
    as_root systemctl --quiet mask --runtime "$@"
    # shellcheck disable=SC2064 # the units as they are now
    trap "as_root systemctl --quiet unmask --runtime $*" EXIT
}

leave_disabled() {
    has_systemd && [[ $# -gt 0 ]] || return 0
    as_root systemctl --quiet disable "$@"
}

# The units of the servers among some packages.
servers() {
    local package
    for package in "$@"; do
        case $package in
            etcd-server) echo etcd.service ;;
            nginx-light) echo nginx.service ;;
            haproxy) echo haproxy.service ;;
        esac
    done
}

# Without systemd, RUNLEVEL=1 tells invoke-rc.d that this is not the time to start servers.
install() {
    as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install --yes --quiet=2 --no-install-recommends "$@"
}

main() {
    local missing
    read -ra missing <<<"$(missing_packages)"
    if [[ ${#missing[@]} -eq 0 ]]; then
        echo "setup: nothing is missing"
        return
    fi
    if ! command -v apt-get >/dev/null; then
        echo "setup: no apt here; install what these Debian packages hold: ${missing[*]}" >&2
        exit 1
    fi
    echo "setup: installing ${missing[*]}"
    as_root apt-get update --quiet=2
    local units
    mapfile -t units < <(servers "${missing[@]}")
    keep_from_starting "${units[@]}"
    install "${missing[@]}"
    leave_disabled "${units[@]}"
    echo "setup: done"
}

main
