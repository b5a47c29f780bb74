//! How soon a host learns what it missed while no packet passed between it and etcd. Needs root.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use integration::underlay::ADDRESS;
use integration::wait::pass;
use integration::{CONFIG, CONFIG_KEY, Lease, eventually, in_lab, messages};

/// What counts as at once after the end of a disturbance.
const SOON: Duration = Duration::from_secs(2);

/// Each is just after etcd's kernel has repeated in vain what was lost: 0.2, 0.6, 1.4, 3.0, 6.2 seconds after the first
/// try, so that waiting for the next repetition takes longest.
const CUTS: [f64; 3] = [1.5, 3.2, 6.4];

#[test]
fn knows_within_two_seconds_what_it_missed_while_it_was_cut_off() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let _daemon = lab.host(1).flanneld().start_ready()?;
        for (number, cut) in (100..).zip(CUTS) {
            let peer = Lease::numbered(number);
            let (key, value) = peer.entry();
            lab.underlay.cut(lab.host(1).address(), ADDRESS)?;
            lab.etcd.put(&key, &value)?;
            // How long the cut lasts is what is tested.
            pass(Duration::from_secs_f64(cut));
            lab.underlay.heal()?;
            let healed = Instant::now();
            lab.host(1).wait_for_route(&peer)?;
            let took = healed.elapsed();
            ensure!(took < SOON, "{took:?} after a cut of {cut} s");
        }
        Ok(())
    })
}

#[test]
fn a_dead_network_is_detected_soon_and_retried() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let daemon = lab.host(1).flanneld().start_ready()?;
        lab.underlay.cut(lab.host(1).address(), ADDRESS)?;
        let fails = |times: usize, within: Duration| {
            eventually(within, format_args!("failure {times}"), || {
                let log = daemon.log()?;
                let first = log.matches(messages::ETCD_IS_UNREACHABLE).count();
                let further = log.matches(messages::ETCD_IS_STILL_UNREACHABLE).count();
                ensure!(first + further >= times, "{log}");
                Ok(())
            })
        };
        // By the kernel: HTTP/2 would take up to 8 s.
        fails(1, Duration::from_secs(5))?;
        // Each try ends after a second, not after the 5 s of a request, and the next one begins within 1.5 s.
        fails(5, Duration::from_secs(12))
    })
}
