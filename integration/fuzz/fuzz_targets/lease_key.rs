//! Any text as the name of a lease's key: what is accepted for IPv4 is written the same way.
#![no_main]

use flanneld::model::lease::key::{key_name, parse_key_name};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|name: &str| {
    if let Ok(subnet) = parse_key_name(name) {
        assert_eq!(parse_key_name(&key_name(subnet)), Ok(subnet));
        assert_eq!(subnet.ip(), subnet.network());
    }
});
