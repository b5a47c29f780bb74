//! A packet filter in memory for tests. It runs the scripts of `nft` and `iptables-restore`, shows what `iptables-save`
//! would show, sends the kernel's messages, fails on demand, and lets other programs change rules.

mod iptables;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::rc::Rc;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::model::addr::Vni;
use crate::model::docker;
use crate::rules::change::RuleSetChange;
use crate::rules::fake::iptables::FakeIptables;
use crate::rules::observed::{LegacyTables, ObservedRules, ObservedTable};
use crate::rules::plan::RuleOp;
use crate::rules::port::{RuleEvents, RuleTable, RuleTableError};
use crate::rules::tool::{IptablesVariant, RuleTool};

/// What another program does right after an operation of ours.
type OtherProgram = fn(&mut FakeHost);

/// The state of the packet filter, and what was done to it.
#[derive(Debug)]
pub(crate) struct FakeHost {
    /// Our table in nftables.
    pub(crate) table: Option<String>,
    pub(crate) iptables: BTreeMap<IptablesVariant, FakeIptables>,
    /// Why `nft -f` fails.
    pub(crate) nft_failure: Option<&'static str>,
    /// Whether it ends by a signal when it fails.
    pub(crate) nft_crashes: bool,
    /// Observations from now on that fail.
    pub(crate) failing_observations: usize,
    /// Operations on iptables from now on that fail.
    pub(crate) failing_restores: usize,
    /// Runs after each operation from now on, once for each entry.
    pub(crate) other_programs: VecDeque<OtherProgram>,
    pub(crate) needs_polling: bool,
    /// Whether Docker's nftables backend has its table.
    pub(crate) docker_table: bool,
    /// When everything was observed.
    pub(crate) observed_at: Vec<Instant>,
    /// Commands that were tried.
    pub(crate) applied: Vec<String>,
    events: VecDeque<io::Result<Option<Vec<RuleSetChange>>>>,
}

impl Default for FakeHost {
    fn default() -> Self {
        let variants = [IptablesVariant::Nft, IptablesVariant::Legacy];
        Self {
            table: None,
            iptables: variants
                .map(|variant| (variant, FakeIptables::default()))
                .into(),
            nft_failure: None,
            nft_crashes: false,
            failing_observations: 0,
            failing_restores: 0,
            other_programs: VecDeque::new(),
            needs_polling: false,
            docker_table: false,
            observed_at: Vec::new(),
            applied: Vec::new(),
            events: VecDeque::new(),
        }
    }
}

impl FakeHost {
    /// The text of `iptables-save`.
    pub(crate) fn saved(&self, variant: IptablesVariant) -> String {
        self.iptables[&variant].save()
    }

    /// Runs a script for `iptables-restore --noflush`. The kernel announces changes of iptables-nft only.
    ///
    /// # Errors
    /// The first line that cannot be run.
    pub(crate) fn restore(&mut self, variant: IptablesVariant, script: &str) -> Result<(), String> {
        let iptables = self.iptables.get_mut(&variant).expect("both are there");
        let (changes, result) = iptables.restore(script);
        if variant == IptablesVariant::Nft {
            self.announce(changes);
        }
        result
    }

    /// `nft delete table`, by another program.
    pub(crate) fn delete_table(&mut self) {
        self.table = None;
        self.announce(vec![change("flannel.1", None)]);
    }

    /// Queues a message of the kernel.
    pub(crate) fn announce(&mut self, changes: Vec<RuleSetChange>) {
        self.events.push_back(Ok(Some(changes)));
    }

    pub(crate) fn lose_events(&mut self) {
        self.events.push_back(Ok(None));
    }

    pub(crate) fn break_events(&mut self) {
        self.events.push_back(Err(io::Error::other("Bad file")));
    }

    pub(crate) fn run_nft(&mut self, script: &str) -> Result<(), String> {
        // The kernel announces a failed attempt, too, if something was made before it failed.
        self.announce(vec![change("flannel.1", None)]);
        if let Some(reason) = self.nft_failure {
            return Err(reason.to_owned());
        }
        let rules = script.find("{\n");
        self.table = rules.map(|_| {
            script
                .lines()
                .skip(2)
                .map(|line| format!("{line}\n"))
                .collect()
        });
        Ok(())
    }

    fn observe_table(&self) -> ObservedTable {
        match &self.table {
            Some(listing) => ObservedTable::Listed(listing.clone()),
            None => ObservedTable::Absent,
        }
    }
}

/// A change as the kernel announces it.
pub(crate) fn change(table: &str, chain: Option<&str>) -> RuleSetChange {
    RuleSetChange {
        ipv4: true,
        table: table.to_owned(),
        chain: chain.map(str::to_owned),
    }
}

/// The tools and the messages of one host. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct FakePacketFilter {
    host: Rc<RefCell<FakeHost>>,
    wake: Rc<Notify>,
}

impl FakePacketFilter {
    /// Reads or changes the host, as another program does.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut FakeHost) -> R) -> R {
        let result = act(&mut self.host.borrow_mut());
        self.wake.notify_one();
        result
    }
}

impl RuleTable for FakePacketFilter {
    async fn observe(&mut self, _: Vni) -> Result<ObservedRules, RuleTableError> {
        let mut host = self.host.borrow_mut();
        host.observed_at.push(Instant::now());
        if host.failing_observations > 0 {
            host.failing_observations -= 1;
            return Err(RuleTableError {
                command: "iptables-save".to_owned(),
                reason: "out of memory".to_owned(),
                crashed: false,
            });
        }
        let saved = host
            .iptables
            .keys()
            .map(|variant| (*variant, host.saved(*variant)));
        Ok(ObservedRules {
            table: host.observe_table(),
            default_variant: Some(IptablesVariant::Nft),
            saved: saved.collect(),
            legacy: LegacyTables::Used,
            docker_nftables: false,
        })
    }

    async fn refresh(
        &mut self,
        _: Vni,
        tool: RuleTool,
        observed: &mut ObservedRules,
    ) -> Result<(), RuleTableError> {
        let host = self.host.borrow();
        match tool {
            RuleTool::Nftables => observed.table = host.observe_table(),
            RuleTool::Iptables(variant) => {
                observed.saved.insert(variant, host.saved(variant));
            }
        }
        Ok(())
    }

    async fn apply(&mut self, op: &RuleOp) -> Result<(), RuleTableError> {
        let mut host = self.host.borrow_mut();
        host.applied.push(op.summary());
        let result = match op.tool() {
            RuleTool::Nftables => host.run_nft(op.script()),
            RuleTool::Iptables(_) if host.failing_restores > 0 => {
                host.failing_restores -= 1;
                host.announce(vec![change("nat", None)]);
                Err("Resource temporarily unavailable".to_owned())
            }
            RuleTool::Iptables(variant) => host.restore(variant, op.script()),
        };
        if let Some(other_program) = host.other_programs.pop_front() {
            other_program(&mut host);
        }
        self.wake.notify_one();
        let command = op.command();
        let crashed = host.nft_crashes && op.tool() == RuleTool::Nftables;
        result.map_err(|reason| RuleTableError {
            command,
            reason,
            crashed,
        })
    }

    fn needs_polling(&self) -> bool {
        self.host.borrow().needs_polling
    }
}

impl RuleEvents for FakePacketFilter {
    async fn next(&mut self) -> io::Result<Option<Vec<RuleSetChange>>> {
        loop {
            if let Some(event) = self.host.borrow_mut().events.pop_front() {
                return event;
            }
            self.wake.notified().await;
        }
    }

    fn has_table(&self, name: &str) -> bool {
        self.host.borrow().docker_table && name == docker::NFT_TABLE
    }
}
