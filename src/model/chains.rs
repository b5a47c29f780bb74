//! The names of our chains in iptables, and of a chain of Docker's beside which one of them stands. Pure.

use crate::model::addr::Vni;

/// Our chain that accepts forwarded packets, in the instance with the default VNI.
pub(crate) const FORWARD: &str = "FLANNEL-FWD";

/// The chain in which administrators say what may not reach containers. Docker calls it before its own.
pub(crate) const DOCKER_USER: &str = "DOCKER-USER";

/// Returns the name of a chain in the instance with this VNI. The default VNI uses flannel's own names, so that what flannel
/// left behind is taken over; the names of other instances end with their VNI.
pub(crate) fn name(base: &str, vni: Vni) -> String {
    if vni == Vni::DEFAULT {
        base.to_owned()
    } else {
        format!("{base}-{vni}")
    }
}
