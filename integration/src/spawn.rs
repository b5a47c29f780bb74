//! Starts processes that cannot outlive the test process. It starts and does nothing else.
//!
//! The kernel can kill a process when its parent dies, but "parent" is the *thread* that forked
//! it (prctl(2), `PR_SET_PDEATHSIG`), and a test's thread ends long before the test process. So
//! one thread, which lives as long as the process, does all forking.

use std::io;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use anyhow::{Context, Result};

/// A command to start, and where to send what became of it.
type Order = (Command, Sender<io::Result<Child>>);

/// Builds a command that is killed with the test process. The process id stays that of `argv`,
/// because `setpriv` executes it in place.
pub(crate) fn mortal(argv: &[String]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).args(argv);
    command
}

/// Starts a command on the thread that lives as long as this process.
pub(crate) fn spawn(command: Command) -> Result<Child> {
    let what = format!("{command:?}");
    let (answer, child) = channel();
    spawner()
        .send((command, answer))
        .context("the spawning thread is gone")?;
    child
        .recv()
        .context("the spawning thread is gone")?
        .with_context(|| format!("failed to start {what}"))
}

fn spawner() -> &'static Sender<Order> {
    static SPAWNER: OnceLock<Sender<Order>> = OnceLock::new();
    SPAWNER.get_or_init(|| {
        let (orders, inbox) = channel();
        thread::spawn(|| serve(inbox));
        orders
    })
}

fn serve(inbox: Receiver<Order>) {
    for (mut command, answer) in inbox {
        if let Err(unwanted) = answer.send(command.spawn()) {
            // The caller has gone: without this, the process would run on.
            discard(unwanted.0);
        }
    }
}

fn discard(unwanted: io::Result<Child>) {
    if let Ok(mut child) = unwanted {
        let _ = child.kill();
        let _ = child.wait();
    }
}
