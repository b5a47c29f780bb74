//! The lab of booted machines: nodes and an etcd on one network, made by the script that also makes Vagrant's machines. It
//! owns them all, and shows their journals when a test fails.

use std::net::Ipv4Addr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};

use crate::netns::Netns;
use crate::node::{BOOT, Node};
use crate::package::{self, Suite};
use crate::scratch::Scratch;
use crate::tools;

/// What a failing test wants to know of each machine. A unit or a device that is missing is part of the answer.
const QUESTIONS: [&str; 9] = [
    "systemctl --failed --no-pager; systemctl list-jobs --no-pager",
    "systemctl status --no-pager --lines=0 flanneld docker etcd",
    "journalctl --no-pager --boot --lines=150 -u flanneld -u flanneld-docker -u docker -u etcd",
    "journalctl --no-pager --boot -p warning --lines=50",
    "tail -n +1 /run/flannel/*.env /run/flanneld-docker.env",
    "ip -d link; ip -4 address; ip -4 route; ip neigh; bridge fdb",
    "nft list ruleset; iptables-save",
    "docker ps -a",
    "networkctl --no-pager",
];

/// Nodes and an etcd that share a network.
#[derive(Debug)]
pub struct Rack {
    /// The machine with etcd, 192.168.56.10.
    pub etcd: Node,
    nodes: Vec<Node>,
    /// What the nodes run.
    pub suite: Suite,
    /// The package of the daemon under test.
    pub package: PathBuf,
    switch: Arc<Netns>,
    // Last, so that it outlives all who write into it.
    dir: Scratch,
}

/// A rack that tests use one after another, because it takes long to boot. It boots when the first of
/// them runs. A test that fails may leave anything behind: the next one gets a new rack.
#[derive(Debug)]
pub struct SharedRack {
    suite: Suite,
    nodes: u8,
    prepare: fn(&Rack) -> Result<()>,
    settled: fn(&Rack) -> Result<()>,
    state: State,
}

#[derive(Debug)]
enum State {
    NotBooted,
    Booted(Box<Rack>),
    /// It would not boot the next time either, and each try takes minutes.
    Broken,
}

impl SharedRack {
    /// Describes a rack of `nodes` that run `suite`. `prepare` sets up what the tests share; `settled` waits until that
    /// is in order, and runs after each test.
    pub fn new(
        suite: Suite,
        nodes: u8,
        prepare: fn(&Rack) -> Result<()>,
        settled: fn(&Rack) -> Result<()>,
    ) -> Self {
        Self {
            suite,
            nodes,
            prepare,
            settled,
            state: State::NotBooted,
        }
    }

    /// What its nodes run.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// Runs a test, and shows the journals of all nodes when it fails or panics.
    ///
    /// # Errors
    /// When the rack does not boot, or the test fails or leaves the rack in disorder.
    pub fn run(&mut self, test: fn(&mut Rack) -> Result<()>) -> Result<()> {
        let mut rack = match std::mem::replace(&mut self.state, State::Broken) {
            State::Booted(rack) => rack,
            State::NotBooted => Box::new(self.boot()?),
            State::Broken => {
                eprintln!("the nodes of this test did not boot: see the first failure");
                bail!("no rack");
            }
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            test(&mut rack)?;
            (self.settled)(&rack).context("the test left the nodes in disorder")
        }));
        let outcome = outcome.unwrap_or_else(|_| Err(anyhow!("the test panicked, see above")));
        self.state = match &outcome {
            Ok(()) => State::Booted(rack),
            Err(error) => {
                rack.print_evidence(&format!("{error:#}"));
                State::NotBooted
            }
        };
        outcome
    }

    fn boot(&self) -> Result<Rack> {
        let started = Instant::now();
        let mut rack =
            Rack::new(self.suite, self.nodes).inspect_err(|error| eprintln!("{error:#}"))?;
        let booted = rack
            .start()
            .and_then(|()| (self.prepare)(&rack))
            .and_then(|()| (self.settled)(&rack));
        if let Err(error) = &booted {
            rack.print_evidence(&format!("{error:#}"));
        }
        println!(
            "figure: {} nodes of {} and an etcd were up after {:.1} s",
            self.nodes,
            self.suite,
            started.elapsed().as_secs_f64()
        );
        booted.map(|()| rack)
    }
}

impl Rack {
    fn new(suite: Suite, nodes: u8) -> Result<Self> {
        tools::check()?;
        package::check()?;
        let base = package::node_image(suite)?;
        // etcd is the same beside all of them.
        let base_of_etcd = package::node_image(Suite::Bookworm)?;
        let dir = Scratch::new()?;
        let package = package::package(dir.path(), "0.1.0")?;
        let switch = Arc::new(Netns::new("switch", dir.path(), None)?);
        switch.sh("ip link add br0 type bridge; ip link set br0 up")?;
        let machine = |name: &str, last, base: &Path| {
            Node::new(
                name,
                Ipv4Addr::new(192, 168, 56, last),
                base,
                dir.path(),
                &switch,
            )
        };
        let etcd = machine("etcd", 10, &base_of_etcd)?;
        let nodes = (1..=nodes)
            .map(|number| machine(&format!("node{number}"), 10 + number, &base))
            .collect::<Result<_>>()?;
        Ok(Self {
            etcd,
            nodes,
            suite,
            package,
            switch,
            dir,
        })
    }

    /// Boots all, then provisions etcd, then the nodes: as `vagrant up` does, only at once.
    fn start(&mut self) -> Result<()> {
        let script = package::provision_script()?;
        let machines = std::iter::once(&mut self.etcd).chain(&mut self.nodes);
        at_once(machines, |machine| {
            machine.boot()?;
            machine.put(&script, "/root/provision.sh")
        })?;
        self.etcd.sh_within(
            BOOT,
            &format!("bash /root/provision.sh etcd {}", self.etcd.address()),
        )?;
        let (package, etcd) = (&self.package, self.etcd.address());
        at_once(self.nodes.iter_mut(), |node| {
            node.put(package, "/root/flanneld.deb")?;
            node.sh_within(
                BOOT,
                &format!("bash /root/provision.sh node /root/flanneld.deb {etcd}"),
            )?;
            node.wait_running()
        })
    }

    /// Node `number`, counted from 1.
    ///
    /// # Panics
    /// When there is no such node: that is an error of the test itself.
    pub fn node(&self, number: usize) -> &Node {
        &self.nodes[number - 1]
    }

    /// The same, to boot it or switch it off.
    ///
    /// # Panics
    /// See [`Rack::node`].
    pub fn node_mut(&mut self, number: usize) -> &mut Node {
        &mut self.nodes[number - 1]
    }

    /// All nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A machine on the network that the nodes share, which is none of them: 192.168.56.200. There is one at a time. It always
    /// has the same MAC address, since nodes remember that of the one before.
    ///
    /// # Errors
    /// When it cannot be connected.
    pub fn machine_outside(&self) -> Result<Netns> {
        let machine = Netns::new("outside", self.dir(), None)?;
        self.switch.sh(&format!(
            "ip link delete outside 2> /dev/null || true
             ip link add outside type veth peer name eth1 address 02:00:00:00:56:c8 netns {}
             ip link set outside master br0 up",
            machine.pid()
        ))?;
        machine.sh("ip address add 192.168.56.200/24 dev eth1; ip link set eth1 up")?;
        Ok(machine)
    }

    /// The directory of logs and disks; it goes with the rack.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Asks etcd by its own client.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn etcdctl(&self, words: &str) -> Result<String> {
        self.etcd.sh(&format!("ETCDCTL_API=3 etcdctl {words}"))
    }

    fn print_evidence(&self, reason: &str) {
        eprintln!(
            "\n===== evidence of the nodes in {:?}; failed: {reason}",
            self.dir()
        );
        for machine in std::iter::once(&self.etcd).chain(&self.nodes) {
            for question in QUESTIONS {
                let answer = machine.sh(&format!("{{ {question}; }} 2>&1 || true"));
                let answer = answer.unwrap_or_else(|error| format!("{error:#}"));
                eprintln!(
                    "\n## {} $ {question}\n{}",
                    machine.name(),
                    answer.trim_end()
                );
            }
        }
        eprintln!("===== end of the evidence; failed: {reason}");
    }
}

/// Does the same on several machines, and waits for all of them.
fn at_once<'a>(
    machines: impl Iterator<Item = &'a mut Node>,
    act: impl Fn(&mut Node) -> Result<()> + Sync,
) -> Result<()> {
    thread::scope(|scope| {
        let act = &act;
        let all: Vec<_> = machines
            .map(|machine| scope.spawn(move || act(machine)))
            .collect();
        let ended = all
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?);
        ended
            .collect::<Vec<Result<()>>>()
            .into_iter()
            .collect::<Result<()>>()
            .context("not all machines came up")
    })
}
