//! Any bytes as the network's configuration: refused with a reason, or coherent.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(parsed) = flanneld::model::network_config::parse(data) else {
        return;
    };
    let config = parsed.config;
    assert!(
        config.network.contains(config.subnet_min) && config.network.contains(config.subnet_max)
    );
    assert!(config.subnet_min <= config.subnet_max);
    // Whatever is accepted hands out subnets of its own.
    let subnet = flanneld::lease::pick::pick(&config, &[], 0.5).expect("nothing is taken");
    assert!(config.fits(subnet));
    assert!(config.differences(&config).is_empty());
});
