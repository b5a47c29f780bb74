#!/usr/bin/env bash
# Turns a Debian 12 machine into an etcd or a node of the overlay, as an administrator would by hand:
#
#   provision.sh etcd ADDRESS               etcd that listens on ADDRESS, with a network configuration
#   provision.sh node PACKAGE ETCD-ADDRESS  Docker, and flanneld from PACKAGE, which uses that etcd
#
# Vagrant runs it on its machines, and `make test` on nodes of its own. It is safe to run again.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive

# Installs only packages that are missing, so that it works without a network if none are.
need() {
    local name missing=()
    for name in "$@"; do
        dpkg-query --show --showformat='${db:Status-Status}' "$name" 2>/dev/null | grep -qx installed || missing+=("$name")
    done
    if [[ ${#missing[@]} -gt 0 ]]; then
        apt-get update --quiet=2
        apt-get install --yes --quiet=2 --no-install-recommends "${missing[@]}"
    fi
}

# Sets NAME="VALUE" in a file of variables and removes earlier lines for NAME, commented out or not.
set_option() {
    local file=$1 name=$2 value=$3
    touch "$file"
    sed -i "/^#\?$name=/d" "$file"
    echo "$name=\"$value\"" >>"$file"
}

# etcd cannot listen on an address that does not exist yet, and an interface may get its address late in the boot.
wait_for_address() {
    local address=$1 deadline=$((SECONDS + 30))
    until ip -4 -oneline address show | grep -qF " $address/"; do
        if ((SECONDS >= deadline)); then
            echo "provision: no interface has the address $address" >&2
            exit 1
        fi
        sleep 0.1
    done
}

provision_etcd() {
    local address=$1
    need etcd-server etcd-client
    wait_for_address "$address"
    set_option /etc/default/etcd ETCD_LISTEN_CLIENT_URLS "http://127.0.0.1:2379,http://$address:2379"
    set_option /etc/default/etcd ETCD_ADVERTISE_CLIENT_URLS "http://$address:2379"
    systemctl enable etcd
    systemctl restart etcd
    export ETCDCTL_API=3
    local config=/coreos.com/network/config
    if [[ -z $(etcdctl get --print-value-only "$config") ]]; then
        etcdctl put "$config" '{"Network": "10.5.0.0/16", "Backend": {"Type": "vxlan"}}'
    fi
}

provision_node() {
    local package=$1 etcd=$2
    need docker.io iptables nftables
    # If a newer package has a newer options file, keep the one with the settings below.
    dpkg --force-confold --install "$package"
    local defaults=/etc/default/flanneld
    # The first interface of every Vagrant machine is a NAT with the address 10.0.2.15 and the default route. flanneld uses the
    # interface that leads to etcd instead, so no --iface is needed.
    set_option "$defaults" FLANNELD_ETCD_ENDPOINTS "http://$etcd:2379"
    set_option "$defaults" FLANNELD_IP_MASQ true
    # Machines cloned from one image may share /etc/machine-id, from which the node id is derived.
    set_option "$defaults" FLANNELD_NODE_ID "$(hostname)"
    systemctl enable --now flanneld docker
    # Docker may have started before the package was installed, without the leased address.
    if ! grep -qs bip /run/flanneld-docker.env; then systemctl restart docker; fi
}

case ${1-} in
etcd) provision_etcd "$2" ;;
node) provision_node "$2" "$3" ;;
*) sed -n '2,8s/^# \?//p' "$0" >&2 && exit 64 ;;
esac
