//! The client for browsers and Node, against a scripted server and a clock that is turned by hand.

use super::{Context, Outcome, suite};
use crate::{demo, run};

const DIRECTORY: &str = "sdk/js";

/// Builds the package and runs its tests.
pub fn tests(context: &Context) -> Outcome {
    demo::install_npm(DIRECTORY)?;
    let seeds = if context.full { "2000" } else { "" };
    let program = run::program("npm").args(["--prefix", DIRECTORY, "test", "--silent"]).env("SEEDS", seeds);
    suite::run("sdk", program.echo())
}
