//! Owns putting rules into the kernel through `nft` and `iptables-restore`, and looking whether they are there. Which
//! rules, and in which tool, is `masq`'s. Starts processes only when it is called.

pub mod iptables;
pub mod nft;
mod remove;
mod tool;

use tracing::debug;

use crate::adapters::packet_filter::tool::run;
use crate::model::addr::Vni;
use crate::rules::choice;
use crate::rules::choice::{Asked, Backend, Choice, Legacy, Seen, Variant, choose};
use crate::rules::desired::{Carries, RuleSet, Wanted};

/// How often rules are put in place in one go while somebody else changes them.
const TRIES: usize = 4;

/// RulesReconciler that could not be put in place.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No tool can carry them.
    #[error(transparent)]
    Choice(#[from] choice::Error),
    /// A tool could not be run, or said no.
    #[error(transparent)]
    Tool(#[from] tool::Error),
    /// They are not what was put there: this version writes them in another way, or somebody was quicker.
    #[error("{backend} does not show the rules that it has just been given: {difference}")]
    NotKept {
        /// Who carries them.
        backend: String,
        /// What is missing.
        difference: String,
    },
}

/// What a look at the rules has led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Who carries what; none where nothing is wanted.
    pub choice: Option<Choice>,
    /// Where rules had to be changed.
    pub changed: Vec<String>,
    /// What could not be put in place and is not needed as long as the host is as it is.
    pub lacking: Vec<String>,
}

/// What a script for `iptables-restore` is made from: the rules wanted, and those that are there.
type Script = fn(&RuleSet, &str) -> Option<String>;

/// One iptables and its programs.
#[derive(Debug, Clone)]
struct Programs {
    variant: Variant,
    save: &'static str,
    restore: &'static str,
}

/// The packet filter of this host, and what we know of it.
#[derive(Debug, Default)]
pub struct Firewall {
    /// Which iptables there are; not asked yet at first.
    programs: Option<Vec<Programs>>,
    usual: Option<Variant>,
    /// Our table as nft showed it after it was made. Versions of nft differ in their words.
    table: Option<(RuleSet, String)>,
    /// Whether nft has made our table once.
    nft_works: bool,
    /// Why nft could not make our table.
    nft_fails: Option<String>,
}

impl Firewall {
    /// Looks at the rules and puts them right. What an earlier run left in another tool goes, after the new is in place.
    ///
    /// # Errors
    /// No tool can carry what is wanted.
    pub async fn ensure(
        &mut self,
        wanted: &Wanted,
        asked: Asked,
        config: Option<bool>,
    ) -> Result<Outcome, Error> {
        let mut seen = self.look(wanted.vni).await?;
        let choice = match wanted.is_nothing() {
            true => None,
            false => self.choose(wanted, asked, config, &mut seen).await?,
        };
        let by_nft = choice
            .as_ref()
            .is_some_and(|choice| choice.masquerade == Backend::Nftables);
        let mut outcome = Outcome {
            choice,
            changed: Vec::new(),
            lacking: Vec::new(),
        };
        if std::mem::take(&mut seen.made) {
            outcome.note(Backend::Nftables.to_string());
        }
        // Everything that should be there stands before anything goes: there is no moment without rules.
        let without = self.put(wanted, &seen, &mut outcome).await?;
        self.clear(wanted, &seen, &mut outcome).await?;
        if let Some(choice) = &mut outcome.choice {
            choice.forward.retain(|carrier| !without.contains(carrier));
        }
        if !by_nft && seen.table.is_some() {
            run(
                &["nft", "-f", "-"],
                &nft::script(&RuleSet::none(wanted.vni)),
            )
            .await?;
            self.table = None;
            outcome.note(Backend::Nftables.to_string());
        }
        Ok(outcome)
    }

    /// Puts into each iptables what it has to carry. Goes on after a failure; answers the first, or else where forwarding is
    /// not accepted, which nobody needs there.
    async fn put(
        &self,
        wanted: &Wanted,
        seen: &Found,
        outcome: &mut Outcome,
    ) -> Result<Vec<Variant>, Error> {
        let mut first = Ok(());
        let mut without = Vec::new();
        for (variant, saved) in &seen.host.saved {
            let carries = outcome.carries(*variant);
            let rules = wanted.rules(carries);
            match self
                .restore(*variant, &rules, saved, iptables::missing)
                .await
            {
                Ok(true) => outcome.note(variant.to_string()),
                Ok(false) => {}
                Err(Error::Tool(error)) if self.can_do_without(*variant, &rules, saved).await => {
                    outcome.lacking.push(crate::error::chain(&error));
                    without.extend((!carries.masquerade).then_some(*variant));
                }
                Err(error) => first = first.and(Err(error)),
            }
        }
        first.map(|()| without)
    }

    /// Removes from each iptables what it has not to carry any more. Goes on after a failure; answers the first.
    async fn clear(
        &self,
        wanted: &Wanted,
        seen: &Found,
        outcome: &mut Outcome,
    ) -> Result<(), Error> {
        let mut first = Ok(());
        for (variant, saved) in &seen.host.saved {
            let rules = wanted.rules(outcome.carries(*variant));
            match self
                .restore(*variant, &rules, saved, iptables::superfluous)
                .await
            {
                Ok(true) => outcome.note(variant.to_string()),
                Ok(false) => {}
                Err(error) => first = first.and(Err(error)),
            }
        }
        first
    }

    /// Whether nothing is missing, after a failure, that somebody depends on.
    async fn can_do_without(&self, variant: Variant, rules: &RuleSet, saved: &str) -> bool {
        let Some(programs) = self.programs(variant) else {
            return false;
        };
        // Where nothing can be read nothing could be before.
        let now = run(&[programs.save], "").await.ok().flatten();
        iptables::essential(rules, now.as_deref().unwrap_or(saved)).is_none()
    }

    /// Chooses, and puts the table in place where nftables is the choice: whether it can, shows then.
    async fn choose(
        &mut self,
        wanted: &Wanted,
        asked: Asked,
        config: Option<bool>,
        seen: &mut Found,
    ) -> Result<Option<Choice>, Error> {
        loop {
            let choice = match choose(asked, config, &seen.host) {
                // Forwarding alone is there to pass the rules of others: without any tool there are none.
                Err(choice::Error::Nothing(_)) if !wanted.masquerade => return Ok(None),
                other => other?,
            };
            if choice.masquerade != Backend::Nftables {
                return Ok(Some(choice));
            }
            let rules = wanted.rules(Carries {
                masquerade: true,
                forward: false,
            });
            match self.put_table(&rules, seen.table.as_deref()).await {
                Ok(made) => {
                    seen.made = made;
                    return Ok(Some(choice));
                }
                Err(error) if asked == Asked::Auto && config.is_none() && !self.nft_works => {
                    let reason = crate::error::chain(&error);
                    self.nft_fails = Some(reason.clone());
                    seen.host.no_nft = Some(reason);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes our table anew unless it is as we left it. Answers whether it did.
    async fn put_table(&mut self, rules: &RuleSet, found: Option<&str>) -> Result<bool, Error> {
        let known = self
            .table
            .as_ref()
            .filter(|(known, _)| known == rules)
            .map(|(_, text)| text.as_str());
        if known.is_some() && known == found {
            return Ok(false);
        }
        run(&["nft", "-f", "-"], &nft::script(rules)).await?;
        let listing = run(&list(rules.vni).each_ref().map(String::as_str), "")
            .await?
            .unwrap_or_default();
        let (expected, shown) = (nft::count(rules), nft::listed(&listing));
        if expected != shown {
            let difference = format!("{shown} instead of {expected}");
            return Err(Error::NotKept {
                backend: Backend::Nftables.to_string(),
                difference,
            });
        }
        self.nft_works = true;
        self.table = Some((rules.clone(), listing));
        Ok(true)
    }

    /// Puts chains of one iptables right, and looks whether they are. Answers whether there was something to do.
    ///
    /// Docker, which starts when we are ready, puts its own jumps first at that very moment: a few more tries are no failure.
    async fn restore(
        &self,
        variant: Variant,
        rules: &RuleSet,
        saved: &str,
        script: Script,
    ) -> Result<bool, Error> {
        let Some(mut difference) = script(rules, saved) else {
            return Ok(false);
        };
        let Some(programs) = self.programs(variant) else {
            return Ok(false);
        };
        for _ in 0..TRIES {
            run(&[programs.restore, "--wait", "--noflush"], &difference).await?;
            let saved = run(&[programs.save], "").await?.unwrap_or_default();
            match script(rules, &saved) {
                None => return Ok(true),
                Some(again) => difference = again,
            }
        }
        Err(Error::NotKept {
            backend: variant.to_string(),
            difference: difference.replace('\n', "; "),
        })
    }

    /// Whether rules may change without the kernel saying so: those of iptables-legacy.
    pub fn needs_polling(&self) -> bool {
        tool::legacy() == Legacy::Used && self.programs(Variant::Legacy).is_some()
    }

    fn programs(&self, variant: Variant) -> Option<&Programs> {
        self.programs
            .iter()
            .flatten()
            .find(|programs| programs.variant == variant)
    }

    async fn look(&mut self, vni: Vni) -> Result<Found, Error> {
        if self.programs.is_none() {
            self.find_programs().await?;
        }
        let (table, no_nft) = match run(&list(vni).each_ref().map(String::as_str), "").await {
            Ok(Some(listing)) => (Some(listing), None),
            Ok(None) => (None, Some("nft is not installed".to_owned())),
            Err(tool::Error::Refused { output, .. })
                if output.contains("No such file or directory") =>
            {
                (None, None)
            }
            // What has worked once is there; somebody changes rules while they are being read, say.
            Err(error) if self.nft_works => return Err(error.into()),
            Err(error) => (None, Some(crate::error::chain(&error))),
        };
        let no_nft = no_nft.or_else(|| self.nft_fails.clone());
        let legacy = self
            .programs(Variant::Legacy)
            .map_or(Legacy::Unused, |_| tool::legacy());
        let mut saved = Vec::new();
        for programs in self.programs.iter().flatten() {
            // Without a table there is no rule, and no need for a process. What is hidden from us is hidden from it.
            let blank = programs.variant == Variant::Legacy && legacy != Legacy::Used;
            let text = if blank {
                None
            } else {
                run(&[programs.save], "").await?
            };
            saved.push((programs.variant, text.unwrap_or_default()));
        }
        Ok(Found {
            host: Seen {
                no_nft,
                usual: self.usual,
                saved,
                legacy,
            },
            table,
            made: false,
        })
    }

    /// Finds out once which iptables there are: by their names, and what the plain name means.
    async fn find_programs(&mut self) -> Result<(), Error> {
        const NAMES: [(&str, &str); 3] = [
            ("iptables-nft-save", "iptables-nft-restore"),
            ("iptables-legacy-save", "iptables-legacy-restore"),
            ("iptables-save", "iptables-restore"),
        ];
        let mut found: Vec<Programs> = Vec::new();
        for (save, restore) in NAMES {
            let Ok(Some(version)) = run(&[save, "--version"], "").await else {
                continue;
            };
            let variant = if version.contains("nf_tables") {
                Variant::Nft
            } else {
                Variant::Legacy
            };
            if save == "iptables-save" {
                self.usual = Some(variant);
            }
            if !found.iter().any(|programs| programs.variant == variant)
                && works(variant, save).await
            {
                found.push(Programs {
                    variant,
                    save,
                    restore,
                });
            }
        }
        self.usual = self
            .usual
            .filter(|usual| found.iter().any(|programs| programs.variant == *usual));
        debug!(?found, usual = ?self.usual, "iptables on this host");
        self.programs = Some(found);
        Ok(())
    }
}

impl Outcome {
    /// Notes a place where rules were changed, once.
    fn note(&mut self, place: String) {
        if !self.changed.contains(&place) {
            self.changed.push(place);
        }
    }

    fn carries(&self, variant: Variant) -> Carries {
        self.choice
            .as_ref()
            .map_or_else(Carries::default, |choice| choice.carries(variant))
    }
}

/// What a look has found.
struct Found {
    host: Seen,
    /// Our table in nftables, if it is there.
    table: Option<String>,
    /// Whether our table was made since.
    made: bool,
}

/// The command that shows our table.
fn list(vni: Vni) -> [String; 5] {
    ["nft", "list", "table", "ip", &nft::table(vni)].map(str::to_owned)
}

/// A program may be there for a part of the packet filter that the kernel does not have.
async fn works(variant: Variant, save: &str) -> bool {
    variant == Variant::Legacy || run(&[save], "").await.is_ok()
}
