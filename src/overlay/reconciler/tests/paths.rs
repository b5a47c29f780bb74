use std::rc::Rc;

use super::*;
use crate::conditions::Reason;
use crate::overlay::paths::PathAnswer;
use crate::overlay::paths::route::{ForeignRoute, MAIN_TABLE, RouteKind};
use crate::overlay::port::KernelChange;

/// `ip route add 10.5.40.0/24 via GATEWAY dev eth0`
fn static_route(gateway: [u8; 4]) -> ForeignRoute {
    ForeignRoute {
        table: MAIN_TABLE,
        destination: lease(40).subnet,
        metric: 0,
        kind: RouteKind::Unicast,
        protocol: 3,
        gateway: Some(gateway.into()),
        device: Some(Rc::from("eth0")),
        source: None,
    }
}

impl Rig {
    fn paths_clear(&self) -> Condition {
        let conditions = self.paths.borrow();
        conditions.get(ConditionType::PathsClear).clone()
    }

    /// Another program adds or removes routes, and the kernel announces it.
    async fn set_foreign_routes(&self, routes: Vec<ForeignRoute>) {
        self.kernel.shared.borrow_mut().foreign.routes = routes;
        let change = KernelChange::ForeignRoute(MAIN_TABLE, lease(40).subnet);
        self.kernel.report(KernelEvent::Changed(change));
        pass(Duration::from_millis(30)).await;
    }
}

#[test]
fn paths_are_unknown_before_the_first_look_and_clear_afterwards() {
    on_paused_time(async {
        let mut rig = Rig::start();
        assert_eq!(rig.paths_clear().status, ConditionStatus::Unknown);
        rig.join(vec![lease(40)]).await;
        rig.wait_for_sync().await;
        assert_eq!(rig.paths_clear().status, ConditionStatus::True);
        assert_eq!(
            rig.kernel.shared.borrow().lookups,
            0,
            "no suspect, no question"
        );
    });
}

#[test]
fn a_route_of_others_is_named_by_its_event_and_forgotten_with_it() {
    on_paused_time(async {
        let rig = Rig::in_sync(vec![lease(40)]).await;
        let elsewhere = PathAnswer::Through("eth0".to_owned());
        let sample = Ipv4Addr::new(10, 5, 40, 2);
        let answers = [(sample, elsewhere)].into();
        rig.kernel.shared.borrow_mut().answers = answers;
        let applied = rig.kernel.shared.borrow().applied;
        rig.set_foreign_routes(vec![static_route([10, 99, 0, 9])])
            .await;
        let condition = rig.paths_clear();
        assert_eq!(condition.status, ConditionStatus::False);
        assert_eq!(condition.reason, Reason::Shadowed);
        assert!(
            condition
                .message
                .contains("10.5.40.0/24 via 10.99.0.9 dev eth0")
        );
        assert_eq!(
            rig.kernel.shared.borrow().applied,
            applied,
            "a foreign entry is not touched"
        );
        rig.set_foreign_routes(Vec::new()).await;
        assert_eq!(rig.paths_clear().status, ConditionStatus::True);
    });
}

#[test]
fn what_the_kernel_itself_refutes_is_not_named() {
    on_paused_time(async {
        let rig = Rig::in_sync(vec![lease(40)]).await;
        rig.set_foreign_routes(vec![static_route([10, 99, 0, 9])])
            .await;
        assert_eq!(rig.paths_clear().status, ConditionStatus::True);
        assert_eq!(rig.kernel.shared.borrow().lookups, 1);
    });
}

#[test]
fn a_direct_route_of_go_flannel_goes_once_ours_is_there() {
    on_paused_time(async {
        let mut rig = Rig::start();
        let left = static_route(lease(40).public_ip.octets());
        rig.kernel.shared.borrow_mut().foreign.routes = vec![left];
        rig.join(vec![lease(40)]).await;
        rig.wait_for_sync().await;
        assert_eq!(rig.kernel.shared.borrow().foreign.routes, []);
        assert_eq!(rig.paths_clear().status, ConditionStatus::True);
    });
}

#[test]
fn a_foreign_route_in_the_very_place_of_ours_is_not_replaced_but_named() {
    on_paused_time(async {
        let mut rig = Rig::start();
        let in_our_place = static_route([10, 99, 0, 9]);
        let refused = PathAnswer::Refused("Invalid argument".to_owned());
        {
            let mut kernel = rig.kernel.shared.borrow_mut();
            kernel.foreign.routes = vec![in_our_place];
            kernel.answers = [(Ipv4Addr::new(10, 5, 40, 2), refused)].into();
        }
        rig.join(vec![lease(40)]).await;
        rig.wait_for_sync().await;
        assert!(!rig.kernel.text().contains("10.5.40.0/24 via"));
        assert_eq!(rig.paths_clear().status, ConditionStatus::False);
        rig.set_foreign_routes(Vec::new()).await;
        assert_eq!(rig.paths_clear().status, ConditionStatus::True);
        assert_eq!(rig.kernel.text(), format!("{DEVICE}{PEER_40}"));
    });
}

#[test]
fn an_old_device_of_ours_goes_when_the_new_one_stands_and_others_stay() {
    on_paused_time(async {
        let mut rig = Rig::start();
        let alias = settings(PeerMode::Eager).alias;
        rig.kernel.shared.borrow_mut().other_devices = vec![
            ("flannel.7".to_owned(), alias.clone()),
            ("flannel.8".to_owned(), "flanneld /other".to_owned()),
            ("flannel.9".to_owned(), String::new()),
        ];
        rig.join(vec![lease(40)]).await;
        rig.wait_for_sync().await;
        let kernel = rig.kernel.shared.borrow();
        let left = kernel.other_devices.iter();
        let left: Vec<&str> = left.map(|(name, _)| name.as_str()).collect();
        assert_eq!(left, ["flannel.8", "flannel.9"]);
        assert_eq!(
            kernel.devices_listed, 2,
            "asked until there is none, and not again"
        );
    });
}

#[test]
fn a_route_of_others_through_the_device_is_removed() {
    on_paused_time(async {
        let rig = Rig::in_sync(vec![lease(40)]).await;
        let stray = ForeignRoute {
            destination: "0.0.0.0/0".parse().expect("a network"),
            device: Some(Rc::from("flannel.1")),
            metric: 208,
            ..static_route([192, 168, 1, 254])
        };
        rig.kernel.shared.borrow_mut().foreign.strays = vec![stray];
        let change = KernelChange::Stray(true);
        rig.kernel.report(KernelEvent::Changed(change));
        pass(Duration::from_millis(30)).await;
        assert!(rig.kernel.shared.borrow().foreign.strays.is_empty());
        let applied = rig.kernel.shared.borrow().applied;
        rig.kernel
            .report(KernelEvent::Changed(KernelChange::Stray(false)));
        pass(Duration::from_secs(1)).await;
        assert_eq!(rig.kernel.shared.borrow().applied, applied, "our own echo");
    });
}
