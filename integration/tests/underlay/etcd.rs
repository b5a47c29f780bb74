//! The connection to etcd when the address that it came from leaves the host.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use integration::{Lease, in_lab};

use crate::support::start;

/// What counts as at once.
const SOON: Duration = Duration::from_secs(1);

#[test]
fn the_watch_goes_on_over_a_new_connection_at_once() -> Result<()> {
    in_lab(2, |lab| {
        let pair = start(lab, |first| first)?;
        let host = lab.host(1);
        for (number, (old, new)) in (100..).zip([
            ("10.99.1.1", "10.99.2.1"),
            ("10.99.2.1", "10.99.3.1"),
            ("10.99.3.1", "10.99.1.1"),
        ]) {
            // A peer whose lease is written while the connection is dead.
            let peer = Lease::numbered(number);
            let (key, value) = peer.entry();
            host.sh(&format!(
                "ip address add {new}/16 dev eth0; ip address del {old}/16 dev eth0
                 ip route replace default via 10.99.0.1"
            ))?;
            lab.etcd.put(&key, &value)?;
            let started = Instant::now();
            host.wait_for_route(&peer)?;
            let took = started.elapsed();
            println!(
                "figure: a lease that was written after our address to etcd had changed: seen after {} ms",
                took.as_millis()
            );
            ensure!(took < SOON, "{took:?}");
        }
        let log = pair.daemon.log()?;
        ensure!(
            !log.contains(integration::messages::ETCD_IS_UNREACHABLE),
            "{log}"
        );
        Ok(())
    })
}
