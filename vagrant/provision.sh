#!/usr/bin/env bash
# Makes a machine with Debian 12 an etcd or a node of the overlay, as an administrator would by hand:
#
#   provision.sh etcd ADDRESS               etcd that listens on ADDRESS, with a configuration of the overlay
#   provision.sh node PACKAGE ETCD-ADDRESS  Docker, and flanneld from the package, joined to that etcd
#
# Vagrant runs it on its machines, and `make test` on nodes of its own. It may be run again.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive

# What is there is not asked for: without a network nothing can be downloaded.
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

# Puts NAME=VALUE into a file of variables, in place of a line that says NAME=, commented or not.
set_option() {
    local file=$1 name=$2 value=$3
    touch "$file"
    sed -i "/^#\?$name=/d" "$file"
    echo "$name=\"$value\"" >>"$file"
}

# An interface may get its address a moment after the machine is up, and etcd cannot listen on one that is not there.
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
    # A newer package may have a newer file of options; what is set here stays.
    dpkg --force-confold --install "$package"
    local defaults=/etc/default/flanneld
    # The first interface of every Vagrant machine is a NAT of its own with the address 10.0.2.15, and has the default route.
    # flanneld takes the way to etcd instead; no --iface is needed.
    set_option "$defaults" FLANNELD_ETCD_ENDPOINTS "http://$etcd:2379"
    set_option "$defaults" FLANNELD_IP_MASQ true
    # Machines that were cloned from one image may share /etc/machine-id, from which a host's name is derived.
    set_option "$defaults" FLANNELD_NODE_ID "$(hostname)"
    systemctl enable --now flanneld docker
    # A Docker that ran before has taken no notice of us yet.
    if ! grep -qs bip /run/flanneld-docker.env; then systemctl restart docker; fi
}

case ${1-} in
etcd) provision_etcd "$2" ;;
node) provision_node "$2" "$3" ;;
*) sed -n '2,8s/^# \?//p' "$0" >&2 && exit 64 ;;
esac
