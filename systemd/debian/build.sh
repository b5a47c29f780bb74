#!/usr/bin/env bash
# Builds the Debian package from the compiled program: build.sh BINARY PAGES OUTPUT-DIRECTORY. Prints the package's path.
# Needs dpkg-deb and gzip, but not root.
set -euo pipefail
umask 022
readonly binary=$1 pages=$2 output=$3
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
readonly here systemd=$here/.. top=$here/../..

version=${DEB_VERSION:-$("$binary" --version | cut -d' ' -f2)}
architecture=$(dpkg --print-architecture)
# The newest version of glibc that the program needs.
glibc=$(grep -aoE 'GLIBC_2\.[0-9]+' "$binary" | sort -uV | tail -n1 | cut -d_ -f2)

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 0755 "$root"

put() { install -D -m "$1" "$2" "$root/$3"; }
packed() { install -d "$(dirname "$root/$2")" && gzip -9nc "$1" >"$root/$2.gz"; }

put 0755 "$binary" usr/sbin/flanneld
# Release builds have no symbols; development builds have 100 MB of them.
if command -v strip >/dev/null; then strip "$root/usr/sbin/flanneld"; fi
put 0644 "$systemd/flanneld.service" usr/lib/systemd/system/flanneld.service
put 0644 "$systemd/docker/00-flanneld.conf" usr/lib/systemd/system/docker.service.d/00-flanneld.conf
put 0755 "$systemd/docker/docker-wait" usr/lib/flanneld/docker-wait
put 0755 "$systemd/docker/docker-options" usr/lib/flanneld/docker-options
put 0644 "$systemd/docker/flanneld-docker.path" usr/lib/systemd/system/flanneld-docker.path
put 0644 "$systemd/docker/flanneld-docker.service" usr/lib/systemd/system/flanneld-docker.service
put 0644 "$systemd/flanneld.sysusers" usr/lib/sysusers.d/flanneld.conf
put 0644 "$systemd/flanneld.tmpfiles" usr/lib/tmpfiles.d/flanneld.conf
put 0644 "$systemd/flanneld.sysctl" usr/lib/sysctl.d/50-flanneld.conf
put 0644 "$systemd/network/70-flannel.link" usr/lib/systemd/network/70-flannel.link
put 0644 "$systemd/network/05-flannel.network" usr/lib/systemd/network/05-flannel.network
put 0644 "$systemd/NetworkManager/flannel.conf" usr/lib/NetworkManager/conf.d/flannel.conf
put 0644 "$systemd/flanneld.default" etc/default/flanneld

put 0644 "$pages/flanneld.bash" usr/share/bash-completion/completions/flanneld
put 0644 "$pages/_flanneld" usr/share/zsh/vendor-completions/_flanneld
put 0644 "$pages/flanneld.fish" usr/share/fish/vendor_completions.d/flanneld.fish
for page in "$pages"/*.8; do packed "$page" "usr/share/man/man8/$(basename "$page")"; done
# The tree of docs/ as it is, so that links between the documents work.
(cd "$top/docs" && find . -name '*.md' -printf '%P\0' | sort -z) |
    while IFS= read -r -d '' text; do put 0644 "$top/docs/$text" "usr/share/doc/flanneld/$text"; done
packed "$top/CHANGELOG.md" usr/share/doc/flanneld/changelog
put 0644 "$systemd/iptables-legacy.conf" usr/share/doc/flanneld/iptables-legacy.conf
put 0644 "$here/copyright" usr/share/doc/flanneld/copyright

install -d "$root/DEBIAN"
for script in preinst postinst prerm postrm; do install -m 0755 "$here/$script" "$root/DEBIAN/$script"; done
echo /etc/default/flanneld >"$root/DEBIAN/conffiles"
(cd "$root" && find . -type f ! -path './DEBIAN/*' ! -path ./etc/default/flanneld -printf '%P\0' | sort -z |
    xargs -0 md5sum >DEBIAN/md5sums)
cat >"$root/DEBIAN/control" <<END
Package: flanneld
Version: $version
Architecture: $architecture
Maintainer: the authors of flanneld <flanneld@localhost>
Section: net
Priority: optional
Installed-Size: $(du -sk --exclude=DEBIAN "$root" | cut -f1)
Depends: libc6 (>= $glibc), libgcc-s1, systemd (>= 247), nftables | iptables
Recommends: iptables, ca-certificates
Suggests: docker.io, etcd-client, containernetworking-plugins
Description: VXLAN overlay network for containers, with leases in etcd
 Connects the containers of many hosts in one network. Each host leases a
 subnet in etcd, and the Linux kernel carries packets between the hosts in
 VXLAN. Keys, values and files are those of Flannel's etcd mode. Docker
 starts with the leased subnet.
END

mkdir -p "$output"
dpkg-deb --root-owner-group "-Z${DEB_COMPRESSION:-xz}" --build "$root" "$output" >/dev/null
echo "$output/flanneld_${version}_$architecture.deb"
