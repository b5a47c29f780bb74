//! Reads the `Backend` object of the network config. Pure.

use serde_json::Value;

use crate::model::addr::Vni;
use crate::model::network_config::error::ConfigError;
use crate::model::network_config::fields::Fields;
use crate::model::network_config::{VXLAN_OVERHEAD, VxlanConfig};

/// The UDP port that the Linux vxlan driver uses unless another is named. The port of RFC 7348 is
/// 4789.
const DEFAULT_PORT: u16 = 8472;
/// The smallest MTU that IPv4 allows (RFC 791).
const MIN_IPV4_MTU: u32 = 68;
/// The smallest MTU of a network that can carry the overlay.
const MIN_UNDERLAY_MTU: u32 = MIN_IPV4_MTU + VXLAN_OVERHEAD;
/// The largest MTU that a packet's 16-bit length allows.
const MAX_UNDERLAY_MTU: u32 = 65_535;

/// Reads the object. Also returns one sentence for each key that has no effect.
pub(super) fn read(mut fields: Fields) -> Result<(VxlanConfig, Vec<String>), ConfigError> {
    check_type(&mut fields)?;
    let config = VxlanConfig {
        vni: vni(&mut fields)?,
        port: port(&mut fields)?,
        mtu: mtu(&mut fields)?,
        gbp: fields.boolean("GBP")?.unwrap_or(false),
        learning: fields.boolean("Learning")?.unwrap_or(false),
    };
    let direct_routing = fields.boolean("DirectRouting")?.unwrap_or(false);
    let mut warnings = fields.unknown();
    if direct_routing {
        warnings.push(
            "Backend.DirectRouting is ignored: this daemon sends packets to all peers through VXLAN"
                .to_owned(),
        );
    }
    Ok((config, warnings))
}

fn check_type(fields: &mut Fields) -> Result<(), ConfigError> {
    match fields.string("Type")? {
        Some(kind) if !kind.eq_ignore_ascii_case("vxlan") => {
            let expected = "\"vxlan\" is the only backend of this daemon";
            Err(fields.refuse("Type", &Value::String(kind), expected))
        }
        Some(_) | None => Ok(()),
    }
}

fn vni(fields: &mut Fields) -> Result<Vni, ConfigError> {
    let Some(number) = fields.integer("VNI")? else {
        return Ok(Vni::DEFAULT);
    };
    u32::try_from(number)
        .ok()
        .and_then(|number| Vni::try_from(number).ok())
        .ok_or_else(|| {
            let expected = "expected a number from 0 to 16777215";
            fields.refuse("VNI", &number.into(), expected)
        })
}

fn port(fields: &mut Fields) -> Result<u16, ConfigError> {
    let Some(number) = fields.integer("Port")? else {
        return Ok(DEFAULT_PORT);
    };
    u16::try_from(number)
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(|| {
            let expected = "expected a UDP port from 1 to 65535";
            fields.refuse("Port", &number.into(), expected)
        })
}

fn mtu(fields: &mut Fields) -> Result<Option<u32>, ConfigError> {
    // flannel reads 0 as "not set".
    let Some(number) = fields.integer("MTU")?.filter(|number| *number != 0) else {
        return Ok(None);
    };
    u32::try_from(number)
        .ok()
        .filter(|mtu| (MIN_UNDERLAY_MTU..=MAX_UNDERLAY_MTU).contains(mtu))
        .map(Some)
        .ok_or_else(|| {
            let expected = format!(
                "expected the MTU of the underlying network, from {MIN_UNDERLAY_MTU} to {MAX_UNDERLAY_MTU}"
            );
            fields.refuse("MTU", &number.into(), &expected)
        })
}
