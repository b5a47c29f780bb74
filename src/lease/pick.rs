//! Picks a free subnet. Pure: the random number is an argument. What is taken is decided by `claim`.

use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use crate::model::addr::overlap;
use crate::model::network_config::NetworkConfig;

/// Returns a free subnet between `SubnetMin` and `SubnetMax`, each free one equally likely, or `None` if all are taken.
/// `taken` may hold subnets of any length, also single addresses, anywhere, in any order; `random` is uniform in 0..1.
///
/// The choice is random so that hosts that start together seldom pick the same subnet. O(n log n) in `taken`, whatever
/// the size of the network.
pub fn pick(config: &NetworkConfig, taken: &[Ipv4Network], random: f64) -> Option<Ipv4Network> {
    let slots = Slots::new(config);
    let used = slots.used(taken);
    let free = slots.count
        - used
            .iter()
            .map(|(first, last)| last - first + 1)
            .sum::<u64>();
    if free == 0 {
        return None;
    }
    slots.subnet(nth_free(&used, scale(free, random)))
}

/// Whether `subnet` can be leased: it fits the configuration and overlaps nothing that is taken.
pub fn is_free(config: &NetworkConfig, taken: &[Ipv4Network], subnet: Ipv4Network) -> bool {
    config.fits(subnet) && !taken.iter().any(|other| overlap(*other, subnet))
}

/// Returns a number below `count`, which is at least 1.
fn scale(count: u64, random: f64) -> u64 {
    const UNIT: u64 = 1 << 32;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 <= random < 1, so below 2^32"
    )]
    let unit = (random.clamp(0.0, 1.0) * 4_294_967_296.0) as u64;
    // A network has fewer than 2^31 subnets, so that the product fits.
    (count * unit / UNIT).min(count - 1)
}

/// Returns the `n`th number from 0 on that is in no range. The ranges are sorted and disjoint.
fn nth_free(used: &[(u64, u64)], n: u64) -> u64 {
    used.iter().fold(n, |n, (first, last)| {
        if *first <= n {
            n + (last - first + 1)
        } else {
            n
        }
    })
}

/// The subnets that may be handed out, numbered from 0.
struct Slots {
    min: u64,
    size: u64,
    count: u64,
    prefix: u8,
}

impl Slots {
    fn new(config: &NetworkConfig) -> Self {
        let (min, max) = (
            u64::from(u32::from(config.subnet_min)),
            u64::from(u32::from(config.subnet_max)),
        );
        let size = 1u64 << (32 - config.subnet_len);
        Self {
            min,
            size,
            count: (max - min) / size + 1,
            prefix: config.subnet_len,
        }
    }

    /// Returns the slots that `taken` overlaps, as sorted and disjoint ranges.
    fn used(&self, taken: &[Ipv4Network]) -> Vec<(u64, u64)> {
        let mut ranges: Vec<_> = taken.iter().filter_map(|net| self.touched(*net)).collect();
        ranges.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some((_, end)) if first <= *end + 1 => *end = last.max(*end),
                Some(_) | None => merged.push((first, last)),
            }
        }
        merged
    }

    fn touched(&self, net: Ipv4Network) -> Option<(u64, u64)> {
        let first = u64::from(u32::from(net.network()));
        let last = u64::from(u32::from(net.broadcast()));
        let end = self.min + self.count * self.size - 1;
        let apart = last < self.min || first > end;
        (!apart).then(|| {
            (
                (first.max(self.min) - self.min) / self.size,
                (last.min(end) - self.min) / self.size,
            )
        })
    }

    fn subnet(&self, slot: u64) -> Option<Ipv4Network> {
        let address = u32::try_from(self.min + slot * self.size).ok()?;
        Ipv4Network::new(Ipv4Addr::from(address), self.prefix).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn config(json: &str) -> NetworkConfig {
        crate::model::network_config::parse(json.as_bytes())
            .expect("a configuration in a test")
            .config
    }

    fn nets(texts: &[&str]) -> Vec<Ipv4Network> {
        texts
            .iter()
            .map(|text| text.parse().expect("a network in a test"))
            .collect()
    }

    fn check(json: &str, taken: &[&str], random: f64, expected: Option<&str>) {
        let picked = pick(&config(json), &nets(taken), random).map(|net| net.to_string());
        assert_eq!(picked.as_deref(), expected, "{json} {taken:?} {random}");
    }

    const FOUR: &str = r#"{"Network":"10.5.0.0/16","SubnetMin":"10.5.4.0","SubnetMax":"10.5.7.0"}"#;

    #[test]
    fn picks_any_free_subnet_between_min_and_max() {
        check(FOUR, &[], 0.0, Some("10.5.4.0/24"));
        check(FOUR, &[], 0.999_999, Some("10.5.7.0/24"));
        check(
            FOUR,
            &["10.5.4.0/24", "10.5.6.0/24"],
            0.0,
            Some("10.5.5.0/24"),
        );
        check(
            FOUR,
            &["10.5.4.0/24", "10.5.6.0/24"],
            0.6,
            Some("10.5.7.0/24"),
        );
    }

    #[test]
    fn avoids_taken_subnets_of_other_lengths() {
        check(
            FOUR,
            &["10.5.4.0/23", "10.5.6.128/25"],
            0.0,
            Some("10.5.7.0/24"),
        );
        check(FOUR, &["10.0.0.0/8"], 0.5, None);
    }

    #[test]
    fn finds_none_when_all_are_taken() {
        check(
            FOUR,
            &["10.5.4.0/24", "10.5.5.0/24", "10.5.6.0/24", "10.5.7.0/24"],
            0.5,
            None,
        );
    }

    proptest! {
        #[test]
        fn every_picked_subnet_is_free(
            taken in proptest::collection::vec((any::<u32>(), 9u8..=32), 0..40), random in 0.0f64..1.0,
        ) {
            let config = config(r#"{"Network":"10.0.0.0/8"}"#);
            let taken: Vec<_> = taken.into_iter()
                .filter_map(|(low, prefix)| crate::model::addr::network_of(Ipv4Addr::from(low & 0xff_ffff | 10 << 24), prefix))
                .collect();
            if let Some(subnet) = pick(&config, &taken, random) {
                prop_assert!(is_free(&config, &taken, subnet));
            }
        }

        #[test]
        fn finds_the_last_free_one(free in 0usize..255, random in 0.0f64..1.0) {
            let config = config(r#"{"Network":"10.5.0.0/16"}"#);
            let mut all: Vec<_> = (1..=255).map(|n| format!("10.5.{n}.0/24").parse().expect("a subnet")).collect();
            let expected = all.remove(free);
            prop_assert_eq!(pick(&config, &all, random), Some(expected));
        }
    }
}
