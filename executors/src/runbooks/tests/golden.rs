//! The golden transcripts.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use millrace_schemas::topics::actions::{Action, ActionKind, StepOutcome};

use super::script::{create, fail_over, failed, play, rejoin, well};

fn check(name: &str, action: &Action) {
    let good = play(action, well);
    let mut text = format!("all goes well\n{}", good.transcript);
    for step in &good.steps {
        for (how, outcome) in [("fails", failed()), ("times out", StepOutcome::TimedOut {})] {
            let played = play(action, |one| if one.number == step.number { outcome.clone() } else { well(one) });
            let _ = write!(
                text,
                "\nstep {}, {} on {}, {how}\n{}",
                step.number,
                step.step.name(),
                step.instance,
                played.transcript
            );
        }
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/runbooks/golden/{name}.txt"));
    if std::env::var("MILLRACE_GOLDEN").is_ok_and(|value| value == "write") {
        fs::write(&file, &text).expect("written");
    }
    let known = fs::read_to_string(&file).unwrap_or_default();
    assert!(known == text, "{} differs from what is done now:\n{text}", file.display());
}

#[test]
fn create_cluster() {
    check("create_cluster", &create());
}

#[test]
fn fail_over_to_the_most_advanced() {
    check("fail_over", &super::script::action(ActionKind::FailOver(Box::new(fail_over()))));
}

#[test]
fn rejoin_of_an_old_primary() {
    check("rejoin", &rejoin());
}
