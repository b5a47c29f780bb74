//! The members of etcd and the addresses that their names had last. Names are slow: they are looked up at the start, again
//! each second while one is unknown, and once a minute afterwards, never because an interface changed.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::{LocalBoxFuture, join_all};
use tokio::time::{Instant, sleep_until};

use crate::underlay::port::Resolver;
use crate::underlay::settings::EtcdHost;

/// Time between two attempts while an address is unknown. At boot, names may appear late.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Time between two lookups of names that are known.
const REFRESH_INTERVAL: Duration = Duration::from_secs(60);

/// What a lookup brought, by host: an address, or `None` if the host has no IPv4 address.
type Answer = Result<Option<Ipv4Addr>, String>;

pub(super) struct EtcdMembers<R> {
    resolver: Rc<R>,
    hosts: Vec<EtcdHost>,
    known: BTreeMap<String, Answer>,
    lookup: Option<LocalBoxFuture<'static, Vec<(String, Answer)>>>,
    next_lookup: Option<Instant>,
}

impl<R: Resolver + 'static> EtcdMembers<R> {
    pub(super) fn new(resolver: R, hosts: Vec<EtcdHost>) -> Self {
        let literal = hosts.iter().filter_map(|member| {
            let address = member.host.parse().ok()?;
            Some((member.host.clone(), Ok(Some(address))))
        });
        let known: BTreeMap<String, Answer> = literal.collect();
        let members = Self {
            resolver: Rc::new(resolver),
            hosts,
            known,
            lookup: None,
            next_lookup: None,
        };
        let has_names = !members.are_known();
        Self {
            next_lookup: has_names.then(Instant::now),
            ..members
        }
    }

    /// Whether each name was looked up at least once.
    pub(super) fn are_known(&self) -> bool {
        let mut hosts = self.hosts.iter();
        hosts.all(|member| self.known.contains_key(&member.host))
    }

    /// Returns each member's URL and address, in the order of the options.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (&str, Answer)> {
        self.hosts.iter().map(|member| {
            let answer = self.known.get(&member.host).cloned();
            let answer = answer.unwrap_or_else(|| Err("its name is not looked up yet".to_owned()));
            (member.url.as_str(), answer)
        })
    }

    /// Looks names up when it is time, and returns when an address is another one than before. Cancel-safe: a lookup that
    /// runs goes on with the next call.
    pub(super) async fn changed(&mut self) {
        loop {
            let Some(at) = self.next_lookup else {
                return std::future::pending().await;
            };
            if self.lookup.is_none() {
                sleep_until(at).await;
                self.lookup = Some(self.look_up());
            }
            let Some(lookup) = &mut self.lookup else {
                continue;
            };
            let answers = lookup.await;
            self.lookup = None;
            if self.take(answers) {
                return;
            }
        }
    }

    fn look_up(&self) -> LocalBoxFuture<'static, Vec<(String, Answer)>> {
        let lookups = self.hosts.iter().map(|member| {
            let (resolver, host) = (Rc::clone(&self.resolver), member.host.clone());
            async move {
                let answer = resolver.resolve(&host).await;
                (host, answer)
            }
        });
        let lookups: Vec<_> = lookups.collect();
        Box::pin(join_all(lookups))
    }

    /// Takes the answers. A name that is unknown now keeps the address that it had.
    fn take(&mut self, answers: Vec<(String, Answer)>) -> bool {
        let mut changed = false;
        for (host, answer) in answers {
            let before = self.known.get(&host);
            if before == Some(&answer) || (answer.is_err() && before.is_some_and(Result::is_ok)) {
                continue;
            }
            self.known.insert(host, answer);
            changed = true;
        }
        self.next_lookup = self.interval().map(|interval| Instant::now() + interval);
        changed
    }

    /// Time until the next lookup; `None` if the options hold addresses alone.
    fn interval(&self) -> Option<Duration> {
        if self.known.values().any(Result::is_err) {
            return Some(RETRY_INTERVAL);
        }
        let is_name = |member: &EtcdHost| member.host.parse::<Ipv4Addr>().is_err();
        self.hosts.iter().any(is_name).then_some(REFRESH_INTERVAL)
    }
}
