//! Owns putting rules into the kernel through `nft` and `iptables-restore`, and looking whether they are there. Which
//! rules, and in which tool, is `masq`'s. Starts processes only when it is called.

mod tool;

use tracing::{debug, info};

use crate::addr::Vni;
use crate::masq::choice::{self, Asked, Backend, Choice, Seen, Variant, choose};
use crate::masq::{Carries, RuleSet, Wanted, iptables, nft};
use tool::run;

/// How often rules are put in place in one go while somebody else changes them.
const TRIES: usize = 4;

/// Rules that could not be put in place.
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
}

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
    pub async fn ensure(&mut self, wanted: &Wanted, asked: Asked, config: Option<bool>) -> Result<Outcome, Error> {
        let mut seen = self.look(wanted.vni).await?;
        let choice = match wanted.is_nothing() {
            true => None,
            false => self.choose(wanted, asked, config, &mut seen).await?,
        };
        let by_nft = choice.as_ref().is_some_and(|choice| choice.masquerade == Backend::Nftables);
        let mut changed = Vec::new();
        if std::mem::take(&mut seen.made) {
            changed.push(Backend::Nftables.to_string());
        }
        for (variant, saved) in &seen.host.saved {
            let carries = choice.as_ref().map_or_else(Carries::default, |choice| choice.carries(*variant));
            if self.restore(*variant, &wanted.rules(carries), saved).await? {
                changed.push(variant.to_string());
            }
        }
        if !by_nft && seen.table.is_some() {
            run(&["nft", "-f", "-"], &nft::script(&RuleSet::none(wanted.vni))).await?;
            self.table = None;
            changed.push(Backend::Nftables.to_string());
        }
        Ok(Outcome { choice, changed })
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
            let rules = wanted.rules(Carries { masquerade: true, forward: false });
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
        let known = self.table.as_ref().filter(|(known, _)| known == rules).map(|(_, text)| text.as_str());
        if known.is_some() && known == found {
            return Ok(false);
        }
        run(&["nft", "-f", "-"], &nft::script(rules)).await?;
        let listing = run(&list(rules.vni).each_ref().map(String::as_str), "").await?.unwrap_or_default();
        let (expected, shown) = (nft::count(rules), nft::listed(&listing));
        if expected != shown {
            let difference = format!("{shown} instead of {expected}");
            return Err(Error::NotKept { backend: Backend::Nftables.to_string(), difference });
        }
        self.nft_works = true;
        self.table = Some((rules.clone(), listing));
        Ok(true)
    }

    /// Puts chains of one iptables right, and looks whether they are. Answers whether there was something to do.
    ///
    /// Docker, which starts when we are ready, puts its own jumps first at that very moment: a few more tries are no failure.
    async fn restore(&self, variant: Variant, rules: &RuleSet, saved: &str) -> Result<bool, Error> {
        let Some(mut script) = iptables::script(rules, saved) else { return Ok(false) };
        let Some(programs) = self.programs.iter().flatten().find(|programs| programs.variant == variant) else {
            return Ok(false);
        };
        for _ in 0..TRIES {
            run(&[programs.restore, "--wait", "--noflush"], &script).await?;
            let saved = run(&[programs.save], "").await?.unwrap_or_default();
            match iptables::script(rules, &saved) {
                None => return Ok(true),
                Some(again) => script = again,
            }
        }
        Err(Error::NotKept { backend: variant.to_string(), difference: script.replace('\n', "; ") })
    }

    /// Whether rules may change without the kernel saying so: those of iptables-legacy.
    pub fn needs_polling(&self) -> bool {
        tool::legacy_is_in_use() && self.has(Variant::Legacy)
    }

    fn has(&self, variant: Variant) -> bool {
        self.programs.iter().flatten().any(|programs| programs.variant == variant)
    }

    async fn look(&mut self, vni: Vni) -> Result<Found, Error> {
        if self.programs.is_none() {
            self.find_programs().await?;
        }
        let (table, no_nft) = match run(&list(vni).each_ref().map(String::as_str), "").await {
            Ok(Some(listing)) => (Some(listing), None),
            Ok(None) => (None, Some("nft is not installed".to_owned())),
            Err(tool::Error::Refused { output, .. }) if output.contains("No such file or directory") => (None, None),
            // What has worked once is there; somebody changes rules while they are being read, say.
            Err(error) if self.nft_works => return Err(error.into()),
            Err(error) => (None, Some(crate::error::chain(&error))),
        };
        let no_nft = no_nft.or_else(|| self.nft_fails.clone());
        let mut saved = Vec::new();
        for programs in self.programs.iter().flatten() {
            // Without a table there is no rule, and no need for a process.
            let blank = programs.variant == Variant::Legacy && !tool::legacy_is_in_use();
            let text = if blank { None } else { run(&[programs.save], "").await? };
            saved.push((programs.variant, text.unwrap_or_default()));
        }
        Ok(Found { host: Seen { no_nft, usual: self.usual, saved }, table, made: false })
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
            let Ok(Some(version)) = run(&[save, "--version"], "").await else { continue };
            let variant = if version.contains("nf_tables") { Variant::Nft } else { Variant::Legacy };
            if save == "iptables-save" {
                self.usual = Some(variant);
            }
            if !found.iter().any(|programs| programs.variant == variant) && works(variant, save).await {
                found.push(Programs { variant, save, restore });
            }
        }
        self.usual = self.usual.filter(|usual| found.iter().any(|programs| programs.variant == *usual));
        debug!(?found, usual = ?self.usual, "iptables on this host");
        self.programs = Some(found);
        Ok(())
    }

    /// Removes all rules of one instance, from wherever they are. Tries everything; answers what it removed, and what failed.
    pub async fn remove(&mut self, vni: Vni) -> (Vec<String>, Vec<Error>) {
        let (mut removed, mut failed) = (Vec::new(), Vec::new());
        let seen = match self.look(vni).await {
            Ok(seen) => seen,
            Err(error) => return (removed, vec![error]),
        };
        let none = RuleSet::none(vni);
        for (variant, saved) in &seen.host.saved {
            match self.restore(*variant, &none, saved).await {
                Ok(true) => {
                    removed.push(format!("rules in {variant}"));
                    failed.extend(self.remove_emptied(*variant, saved).await.err());
                }
                Ok(false) => {}
                Err(error) => failed.push(error),
            }
        }
        if seen.table.is_some() {
            match run(&["nft", "-f", "-"], &nft::script(&none)).await {
                Ok(_) => removed.push(format!("nftables table ip {}", nft::table(vni))),
                Err(error) => failed.push(error.into()),
            }
        }
        (removed, failed)
    }

    /// iptables-nft makes a table when its first rule comes, and leaves it empty when the last one goes. Tables of
    /// iptables-legacy stay for as long as the kernel runs.
    async fn remove_emptied(&self, variant: Variant, before: &str) -> Result<(), Error> {
        let programs = self.programs.iter().flatten().find(|programs| programs.variant == variant);
        let Some(programs) = programs.filter(|_| variant == Variant::Nft) else { return Ok(()) };
        let after = run(&[programs.save], "").await?.unwrap_or_default();
        for table in iptables::emptied(before, &after) {
            info!(table, "removing the table of iptables that is empty now");
            run(&["nft", "delete", "table", "ip", table], "").await?;
        }
        Ok(())
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
