//! What users get, on machines that boot with systemd: the package, its units, Docker and its containers. Needs root, and
//! the base images of nodes, which the first run builds. Figures are printed.
//!
//! All tests run on nodes of each suite of Debian, which differ in Docker, systemd and nftables. Those of a suite share one
//! rack, since it takes long to boot; each puts back what it changes, so that each also runs alone:
//! `cargo test -p integration --test nodes NAME`, with `sid::` in front for one suite. Those of trixie run only when the name
//! has `trixie` in it: they take five minutes, and Docker 26 writes its rules as 20.10 does.

mod disturbances;
mod docker;
mod docker_events;
mod failures;
mod firewall;
mod leftovers;
mod life;
mod networks;
mod overlay;
mod package;
mod reach;
mod recipes;
mod support;
mod unit;
mod web;

use std::process::ExitCode;

use anyhow::Result;
use integration::{Rack, SharedRack, Suite, harness};

type Test = fn(&mut Rack) -> Result<()>;

/// Pairs each function with its name.
macro_rules! tests {
    ($($path:path),* $(,)?) => { [$((stringify!($path), $path as Test)),*] };
}

const TESTS: &[(&str, Test)] = &tests![
    overlay::the_first_ping_between_containers_of_any_two_nodes_is_answered,
    overlay::docker_has_the_subnet_that_the_node_leased,
    overlay::a_full_packet_passes_and_one_byte_more_does_not,
    overlay::a_node_port_answers_through_the_node_that_was_asked,
    unit::the_journal_of_a_start_reads_well,
    unit::the_daemon_runs_without_root_and_with_two_capabilities,
    unit::a_reload_puts_rules_and_files_back,
    unit::the_watchdog_ends_a_daemon_that_stands_still,
    disturbances::a_restart_loses_no_packet,
    disturbances::kill_9_loses_no_packet,
    disturbances::the_end_of_the_whole_control_group_loses_no_packet,
    disturbances::a_restart_of_etcd_loses_no_packet,
    disturbances::network_managers_leave_the_device_alone,
    docker::an_exec_start_of_the_administrator_wins_and_is_reported,
    docker::docker_starts_without_a_daemon_that_is_not_enabled,
    docker::a_new_subnet_restarts_docker_once,
    failures::docker_comes_up_after_a_file_that_was_late,
    failures::docker_comes_up_after_a_typo_is_mended,
    failures::docker_that_was_stopped_stays_stopped,
    reach::members_reach_all_ports_of_containers_and_others_the_published_ones,
    reach::a_machine_outside_reaches_no_more_than_docker_allows,
    reach::docker_user_holds_over_the_overlay_and_for_published_ports,
    docker_events::flushing_the_raw_table_loses_no_packet,
    docker_events::a_restarted_container_and_a_new_network_disturb_nobody,
    docker_events::a_restart_of_docker_disturbs_no_other_node,
    docker_events::a_restart_of_docker_with_live_restore_loses_no_packet,
    docker_events::without_the_userland_proxy_all_is_reached,
    docker_events::with_iptables_legacy_all_is_reached,
    networks::compose_has_networks_in_half_of_the_subnet,
    networks::a_network_of_ones_own_has_the_whole_subnet,
    life::a_reboot_keeps_addresses_and_changes_nothing_on_peers,
    life::a_boot_without_etcd_brings_containers_up,
    package::an_upgrade_loses_no_packet,
    package::a_removal_leaves_containers_connected,
    package::an_installation_after_a_removal_starts_what_is_enabled,
    package::a_purge_leaves_nothing,
    package::the_migration_from_another_flanneld_touches_no_docker,
    leftovers::a_drop_in_of_go_flannel_is_named,
    leftovers::drop_ins_that_keep_the_unit_from_starting_are_named,
    leftovers::docker_has_an_address_of_its_own_again_after_a_purge,
    recipes::the_cni_recipe_of_the_documentation_works,
    firewall::firewalld_is_named_and_cured_by_the_commands_of_the_message,
    firewall::ufw_is_named_and_cured_by_the_commands_of_the_message,
    firewall::iptables_legacy_works_without_root,
];

fn main() -> ExitCode {
    let selection = match harness::Selection::from_args() {
        Ok(selection) => selection,
        Err(error) => {
            eprintln!("{error:#}");
            return ExitCode::FAILURE;
        }
    };
    let tests: Vec<(String, (Suite, Test))> = Suite::ALL
        .iter()
        .filter(|suite| **suite != Suite::Trixie || selection.names("trixie"))
        .flat_map(|&suite| {
            let name = move |name| format!("{suite}::{name}");
            TESTS
                .iter()
                .map(move |&(test_name, test)| (name(test_name), (suite, test)))
        })
        .collect();
    let mut rack = None;
    let summary = harness::run(&selection, &tests, |&(suite, test)| {
        rack_of(suite, &mut rack).run(test)
    });
    // All machines have ended before the result is printed.
    drop(rack);
    summary.report()
}

/// The rack of the test before if it has the suite; else that one ends first, for two of them need much memory.
fn rack_of(suite: Suite, current: &mut Option<SharedRack>) -> &mut SharedRack {
    current.take_if(|rack| rack.suite() != suite);
    current.get_or_insert_with(|| SharedRack::new(suite, 3, support::prepare, support::settled))
}
